// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"context"
	"errors"
	"hash/maphash"
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
	seed              maphash.Seed

	mu     sync.Mutex // guards checks, order, asked, services, phase, closed
	checks []*check   // each once
	order  []*check   // as the last Set listed them
	asked  []asking   // what the last Set listed
	// services are the names of those each check is for.
	services map[*check][]string
	// phase is where within its warmup the next new check begins, 0 to 1.
	phase  float64
	closed bool
}

// entryKey is what makes two targets one check at work: who asks for the same
// at the same times is served by one probe.
type entryKey struct {
	identity
	timing Timing
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

	runs, failures, postponed, rescued atomic.Uint64
	inFlight                           atomic.Int64
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
		seed:     maphash.MakeSeed(),
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
// sink that is running at the moment.
//
// On error nothing has changed.
func (e *Engine) Set(targets []Target) ([]Status, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, poll.ErrClosed
	}
	asked := make([]asking, len(targets))
	for i := range targets {
		t := &targets[i]
		asked[i] = asking{t.key, t.Service}
		if t.key == nil {
			if err := t.Validate(); err != nil {
				return nil, err
			}
			asked[i].key = &entryKey{t.identity(), t.Spec.Timing}
		}
	}
	if slices.EqualFunc(e.asked, asked, asking.same) {
		e.asked = asked
		return e.states(), nil
	}
	plan := changes{wanted: make(map[entryKey]*wanted, len(targets))}
	order := make([]*wanted, len(targets))
	for i, a := range asked {
		w := plan.wanted[*a.key]
		if w == nil {
			w = &wanted{key: a.key, target: &targets[i]}
			plan.wanted[*a.key], plan.list = w, append(plan.list, w)
		}
		w.services, order[i] = append(w.services, a.service), w
	}
	// What is at work and not wanted with its timing may be with another.
	plan.spare = make(map[identity][]*check)
	for _, c := range e.checks {
		if w := plan.wanted[*c.key]; w != nil {
			w.c = c
		} else {
			plan.spare[c.key.identity] = append(plan.spare[c.key.identity], c)
		}
	}
	for _, w := range plan.list {
		if err := plan.place(e, w); err != nil {
			return nil, err
		}
	}
	e.asked, e.order = asked, make([]*check, len(targets))
	status := make([]Status, len(targets))
	for i, w := range order {
		e.order[i], status[i] = w.c, w.c.read()
	}
	e.apply(&plan)
	return status, nil
}

// asking is a place in the list of a Set: which check, and for whom.
type asking struct {
	key     *entryKey
	service string
}

func (a asking) same(b asking) bool {
	return a.service == b.service && (a.key == b.key || *a.key == *b.key)
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
	wanted  map[entryKey]*wanted
	list    []*wanted // in the order of the first target of each
	spare   map[identity][]*check
	added   []*check
	retimed []retiming
}

// wanted is one check of a Set, the services it is for, and the first of its
// targets.
type wanted struct {
	key      *entryKey
	target   *Target
	services []string
	c        *check
}

type retiming struct {
	c      *check
	timing Timing
}

// place finds the check for w among those at work, or makes one.
func (p *changes) place(e *Engine, w *wanted) error {
	if w.c != nil {
		return nil
	}
	if list := p.spare[w.key.identity]; len(list) > 0 {
		// Of several, that which was this service's.
		n := max(0, slices.IndexFunc(list, func(c *check) bool { return slices.Contains(e.services[c], w.target.Service) }))
		w.c = list[n]
		p.spare[w.key.identity] = slices.Delete(list, n, n+1)
		p.retimed = append(p.retimed, retiming{w.c, w.key.timing})
		return nil
	}
	c, err := newCheck(e.shardOf(w.key.identity), *w.target)
	if err != nil {
		return err
	}
	w.c = c
	p.added = append(p.added, c)
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

func (e *Engine) shardOf(id identity) *shard {
	return e.shards[maphash.Comparable(e.seed, id)%uint64(len(e.shards))]
}

// apply moves from e.checks to those of p.
func (e *Engine) apply(p *changes) {
	work := make(map[*shard][]func())
	todo := func(c *check, f func()) { work[c.shard] = append(work[c.shard], f) }
	kept := make(map[*check]bool, len(p.list))
	checks := make([]*check, 0, len(p.list))
	e.services = make(map[*check][]string, len(p.list))
	for _, w := range p.list {
		c, services := w.c, w.services
		kept[c], c.key, e.services[c] = true, w.key, services
		checks = append(checks, c)
		todo(c, func() { c.services = services })
	}
	for _, c := range e.checks {
		if !kept[c] {
			c.removed.Store(true)
			todo(c, c.stop)
		}
	}
	for _, c := range p.added {
		first := firstRun + time.Duration(e.part()*float64(c.target.Spec.Timing.Warmup))
		if c.source() != nil {
			first = 0 // it costs the server nothing
		}
		e.log.Info(msgActivating(&c.target))
		todo(c, func() { c.begin(first) })
	}
	for _, r := range p.retimed {
		part := e.part()
		todo(r.c, func() { r.c.retime(r.timing, part) })
	}
	e.checks = checks
	for s, fs := range work {
		s.loop.Post(func() {
			for _, f := range fs {
				f()
			}
		})
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
	work := make(map[*shard][]func())
	for c, off := range rest {
		part := e.part()
		work[c.shard] = append(work[c.shard], func() { c.suspend(off, part) })
	}
	for s, fs := range work {
		s.loop.Post(func() {
			for _, f := range fs {
				f()
			}
		})
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
