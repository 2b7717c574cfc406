// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/lvs-fnat/lvs/internal/poll"
)

// firstRun is how long after it was set a check begins at the earliest.
const firstRun = time.Second

// readBuffer is the size of the one buffer that the replies of a shard's
// checks pass through.
const readBuffer = 64 << 10

// Options are the settings of an engine; the zero value is good.
type Options struct {
	// Shards is the number of loops; 0 means one per CPU.
	Shards int
	// Log gets the lines keepalived would log; nil means slog.Default.
	// A handler that blocks makes checks late, but not wrong.
	Log *slog.Logger
	// Clock is the time; nil means time.Now.
	Clock func() time.Time
	// Reset closes connections by RST, so that no TIME_WAIT stays behind on
	// this host. Servers may log it.
	Reset bool
	// Credential tells whom the command of a MISC_CHECK runs as; both names may
	// be empty. An error has the check fail. nil, and a nil result, mean this process's own user. It is
	// called by several goroutines at a time.
	Credential func(*Misc) (*syscall.Credential, error)
	// Seed has the first runs begin at the same times in each process that has it;
	// nil means at times of its own.
	Seed *uint32
}

// Engine runs checks. Its methods may be called from any goroutine.
type Engine struct {
	log    *slog.Logger
	shards []*shard
	queue  *queue
	// scripts and sessions are shared by the shards.
	scripts, sessions *pool
	files             *fileWatch
	bfds              *sessionWatch

	mu     sync.Mutex // guards checks, order, asked, others, begun, phase, closed
	checks []*check   // each once
	order  []*check   // as the last Set listed them
	asked  []*Target  // what the last Set listed
	// others are the names of the services that a check is for besides that of its
	// target, if there are any.
	others map[*check][]string
	// begun is set once checks have been set: others come by a reload.
	begun bool
	// phase is where within its warmup the next new check begins, 0 to 1.
	phase  float64
	closed bool
}

// shard is one loop with its share of the checks.
type shard struct {
	loop  *poll.Loop
	log   *slog.Logger
	queue *queue
	reset bool
	// scripts and sessions do what would block the loop.
	scripts, sessions *pool
	files             *fileWatch
	bfds              *sessionWatch
	credential        func(*Misc) (*syscall.Credential, error)
	buf               []byte
	dialer            poll.Dialer

	runs, failures, postponed, rescued atomic.Uint64
	inFlight                           atomic.Int64

	mu   sync.Mutex // guards todo
	todo []errand   // what Set and Suspend have asked for, in their order
}

// Stats are counts since the engine was made.
type Stats struct {
	// Runs counts the runs begun, Failures those that failed.
	Runs, Failures uint64
	// Postponed counts runs that this host's own trouble prevented.
	Postponed uint64
	// Rescued counts answers that were found when the time was already over,
	// because this process was late and not the server.
	Rescued uint64
	// InFlight is the number of runs in progress, each with a socket.
	InFlight int64
}

// New makes an engine without checks. The caller must Close it.
func New(o Options) (*Engine, error) {
	if o.Shards <= 0 {
		o.Shards = runtime.GOMAXPROCS(0)
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	e := &Engine{
		log:   o.Log,
		queue: newQueue(),

		scripts:  newPool(scriptLimit),
		sessions: newPool(sessionLimit),
		files:    newFileWatch(),
		bfds:     newSessionWatch(),
		// Two directors with the same file should not check in step.
		phase: rand.Float64(),
	}
	if o.Seed != nil {
		e.phase = rand.New(rand.NewPCG(uint64(*o.Seed), 0)).Float64()
	}
	for range o.Shards {
		loop, err := poll.New(o.Clock)
		if err != nil {
			return nil, errors.Join(err, e.Close())
		}
		e.shards = append(e.shards, &shard{
			loop: loop, log: o.Log, queue: e.queue, reset: o.Reset,
			scripts: e.scripts, sessions: e.sessions, files: e.files, bfds: e.bfds, credential: o.Credential, buf: make([]byte, readBuffer),
		})
	}
	return e, nil
}

// Close releases what the engine holds, after Run has returned.
func (e *Engine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil
	}
	e.closed = true
	for _, c := range e.checks {
		c.stop()
	}
	e.scripts.close()
	e.sessions.close()
	errs := []error{e.files.close()}
	for _, s := range e.shards {
		errs = append(errs, s.loop.Close())
	}
	return errors.Join(errs...)
}

// Run runs the checks until ctx ends, which is not an error. It calls sink
// with the events that have come up, oldest first, from one goroutine and
// never twice at a time. Run may be called once.
func (e *Engine) Run(ctx context.Context, sink func([]Event)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var loops sync.WaitGroup
	errs := make([]error, len(e.shards))
	for i, s := range e.shards {
		loops.Go(func() {
			errs[i] = s.loop.Run(ctx)
			cancel()
		})
	}
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-e.queue.signal:
			if events := e.queue.take(); len(events) > 0 {
				sink(events)
			}
		}
	}
	loops.Wait()
	// A check that was taken out at the last moment has a socket to close.
	for _, s := range e.shards {
		s.loop.Drain()
		for s.work() {
		}
	}
	return errors.Join(errs...)
}

// Set makes targets the complete list of checks. Checks that were there before
// go on undisturbed, with their state and, unless their Timing differs, their
// timers; new ones begin a second later, spread over their Warmup; the others
// end. Equal targets, of one service or of many, are checked once: one probe
// tells all of them, and its lines are logged once.
//
// The returned states stand in the order of targets. Events of a check that
// Set has ended are not delivered any more, except those in the hands of a
// sink that is running at the moment. The engine keeps the targets, which must not
// be changed any more, and their list.
//
// On error nothing has changed.
func (e *Engine) Set(targets []*Target) ([]Status, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, poll.ErrClosed
	}
	for _, t := range targets {
		if err := t.Prepare(); err != nil {
			return nil, err
		}
	}
	if slices.Equal(e.asked, targets) {
		e.begun = true
		return e.states(), nil
	}
	plan := changes{index: make(map[uint64]*wanted, len(targets)), list: make([]wanted, 0, len(targets))}
	order := make([]*wanted, len(targets))
	for i, t := range targets {
		order[i] = plan.want(t)
	}
	// What is at work and not wanted with its timing may be with another.
	plan.spare = make(map[uint64][]*check)
	for _, c := range e.checks {
		if w := plan.find(c.named); w != nil {
			w.c = c
		} else {
			plan.spare[c.named.hash] = append(plan.spare[c.named.hash], c)
		}
	}
	for i := range plan.list {
		if err := plan.place(e, &plan.list[i]); err != nil {
			return nil, err
		}
	}
	e.begun = true
	e.asked, e.order = targets, make([]*check, len(targets))
	status := make([]Status, len(targets))
	for i, w := range order {
		e.order[i], status[i] = w.c, w.c.read()
	}
	e.apply(&plan)
	return status, nil
}

func (e *Engine) states() []Status {
	status := make([]Status, len(e.order))
	for i, c := range e.order {
		status[i] = c.read()
	}
	return status
}

// changes is what one Set does to the checks at work.
type changes struct {
	index map[uint64]*wanted // by the hash of the target
	list  []wanted           // in the order of the first target of each
	spare map[uint64][]*check
}

// wanted is one check of a Set: the first of its targets, and the names of the
// services of the others.
type wanted struct {
	target *Target
	others []string
	c      *check
	next   *wanted // of the same hash
	// added and retimed say that c is new, or has had another timing.
	added, retimed bool
}

// find gives the check that serves t.
func (p *changes) find(t *Target) *wanted {
	w := p.index[t.hash]
	for w != nil && !w.target.shared(t) {
		w = w.next
	}
	return w
}

// want asks for a check that serves t.
func (p *changes) want(t *Target) *wanted {
	if w := p.find(t); w != nil {
		w.others = append(w.others, t.Service)
		return w
	}
	p.list = append(p.list, wanted{target: t, next: p.index[t.hash]}) // there is room for all
	w := &p.list[len(p.list)-1]
	p.index[t.hash] = w
	return w
}

// place finds the check for w among those at work, or makes one.
func (p *changes) place(e *Engine, w *wanted) error {
	if w.c != nil {
		return nil
	}
	// Of several, that which was this service's.
	list, n := p.spare[w.target.hash], -1
	for i, c := range list {
		if !c.named.same(w.target) {
			continue
		}
		if c.named.Service == w.target.Service || slices.Contains(e.others[c], w.target.Service) {
			n = i
			break
		}
		if n < 0 {
			n = i
		}
	}
	if n >= 0 {
		w.c, w.retimed = list[n], true
		p.spare[w.target.hash] = slices.Delete(list, n, n+1)
		return nil
	}
	c, err := newCheck(e.shardOf(w.target), w.target)
	if err != nil {
		return err
	}
	c.state.late = e.begun
	w.c, w.added = c, true
	return nil
}

// Status returns where the checks stand, in the order of the last Set. Who has
// been told by an event that something changed can ask here for the whole,
// and need not count.
func (e *Engine) Status() []Status {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.states()
}

func (e *Engine) shardOf(t *Target) *shard { return e.shards[t.hash>>1%uint64(len(e.shards))] }

// deed is what becomes of a check.
type deed uint8

const (
	toGoOn deed = iota
	toEnd
	toRest
	toWake
)

// errand is what one Set or Suspend has a shard do about a check.
type errand struct {
	c      *check
	deed   deed
	target *Target // that it goes on for
	others []string
	// first is when one that is added has its first run.
	first time.Duration
	// part of its interval is when it runs at the latest if its timing is another, or
	// if it has rested.
	part           float64
	added, retimed bool
}

func (r *errand) run() {
	switch r.deed {
	case toEnd:
		r.c.stop()
		return
	case toRest, toWake:
		r.c.suspend(r.deed == toRest, r.part)
		return
	}
	r.c.rename(r.target, r.others)
	if r.added {
		r.c.begin(r.first)
	}
	if r.retimed {
		r.c.retime(r.part)
	}
}

// errandsPerTurn is how many errands a loop runs before it looks after its checks
// again, some 0.5 ms: a reload that takes 80,000 on would hold them up for 70.
const errandsPerTurn = 512

// send has the shard run errands, which it keeps, after all that were sent before.
func (s *shard) send(list []errand) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.todo) > 0 {
		s.todo = append(s.todo, list...)
		return
	}
	s.todo = list
	s.loop.Post(s.turn)
}

func (s *shard) turn() {
	if s.work() {
		s.loop.Post(s.turn)
	}
}

// work runs the errands of one turn, and tells whether there are more. On the
// shard's loop, or when that has ended.
func (s *shard) work() bool {
	s.mu.Lock()
	now := s.todo[:min(errandsPerTurn, len(s.todo))]
	if s.todo = s.todo[len(now):]; len(s.todo) == 0 {
		s.todo = nil
	}
	more := s.todo != nil
	s.mu.Unlock()
	for i := range now {
		now[i].run()
	}
	clear(now)
	return more
}

// apply moves from e.checks to those of p.
func (e *Engine) apply(p *changes) {
	work := make(map[*shard][]errand)
	kept := make(map[*check]bool, len(e.checks))
	checks := make([]*check, 0, len(p.list))
	was := e.others
	e.others = nil
	for i := range p.list {
		w := &p.list[i]
		c, r := w.c, errand{c: w.c, target: w.target, others: w.others, added: w.added, retimed: w.retimed}
		checks = append(checks, c)
		if w.others != nil {
			if e.others == nil {
				e.others = map[*check][]string{}
			}
			e.others[c] = w.others
		}
		switch {
		case w.added:
			if c.source() == nil { // else it costs the server nothing, and runs at once
				r.first = firstRun + time.Duration(e.part()*float64(w.target.Spec.Timing.Warmup))
			}
			e.log.Info(msgActivating(w.target))
		case w.retimed:
			r.part = e.part()
			fallthrough
		default:
			kept[c] = true
			if !w.retimed && c.named == w.target && slices.Equal(was[c], w.others) {
				continue
			}
		}
		c.named = w.target
		work[c.shard] = append(work[c.shard], r)
	}
	for _, c := range e.checks {
		if !kept[c] {
			c.removed.Store(true)
			work[c.shard] = append(work[c.shard], errand{c: c, deed: toEnd})
		}
	}
	e.checks = checks
	for s, errands := range work {
		s.send(errands)
	}
}

// Suspend has the checks whose place in the last Set is set in off rest, with
// their state, and the others go on. A check that several targets share rests
// when all of them do. Set leaves this as it is; new checks run.
func (e *Engine) Suspend(off []bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	rest := make(map[*check]bool, len(e.order))
	for i, c := range e.order {
		was, seen := rest[c]
		rest[c] = i < len(off) && off[i] && (was || !seen)
	}
	work := make(map[*shard][]errand)
	for c, off := range rest {
		r := errand{c: c, deed: toWake, part: e.part()}
		if off {
			r.deed = toRest
		}
		work[c.shard] = append(work[c.shard], r)
	}
	for s, errands := range work {
		s.send(errands)
	}
}

// part returns the next of a sequence of numbers of 0 to 1 that lie evenly
// however many are taken: multiples of the golden section.
func (e *Engine) part() float64 {
	_, e.phase = math.Modf(e.phase + 1/math.Phi)
	return e.phase
}

// Late gives by how much a check began or ended late at most since Late was last
// called, because this process was busy: the longest pause of the loops.
func (e *Engine) Late() time.Duration {
	var late time.Duration
	for _, s := range e.shards {
		late = max(late, s.loop.Late())
	}
	return late
}

// Stats returns the counts of all shards. They are read one by one and need
// not be of the same moment.
func (e *Engine) Stats() Stats {
	var t Stats
	for _, s := range e.shards {
		t.Runs += s.runs.Load()
		t.Failures += s.failures.Load()
		t.Postponed += s.postponed.Load()
		t.Rescued += s.rescued.Load()
		t.InFlight += s.inFlight.Load()
	}
	return t
}
