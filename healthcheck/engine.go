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
}

// Engine runs checks. Its methods may be called from any goroutine.
type Engine struct {
	log    *slog.Logger
	shards []*shard
	queue  *queue
	// scripts and sessions are shared by the shards.
	scripts, sessions *pool
	seed              maphash.Seed

	mu     sync.Mutex // guards checks, order, phase, closed
	checks map[identity]*entry
	order  []*check // as the last Set listed them
	// phase is where within its warmup the next new check begins, 0 to 1.
	phase  float64
	closed bool
}

// entry is a check and the timing it was last told.
type entry struct {
	c      *check
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
		seed:     maphash.MakeSeed(),
		checks:   make(map[identity]*entry),
		// Two directors with the same file should not check in step.
		phase: rand.Float64(),
	}
	for range o.Shards {
		loop, err := poll.New(o.Clock)
		if err != nil {
			return nil, errors.Join(err, e.Close())
		}
		e.shards = append(e.shards, &shard{
			loop: loop, log: o.Log, queue: e.queue, reset: o.Reset,
			scripts: e.scripts, sessions: e.sessions, credential: o.Credential, buf: make([]byte, readBuffer),
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
	for _, en := range e.checks {
		en.c.stop()
	}
	e.scripts.close()
	e.sessions.close()
	var errs []error
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
	return errors.Join(errs...)
}

// Set makes targets the complete list of checks. Checks that were there before
// go on undisturbed, with their state and, unless their Timing differs, their
// timers; new ones begin a second later, spread over their Warmup; the others
// end. A target that is listed twice is checked once.
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
	next := make(map[identity]*entry, len(targets))
	status := make([]Status, len(targets))
	order := make([]*check, len(targets))
	var added []*check
	retimed := make(map[*check]Timing)
	for i := range targets {
		t := &targets[i]
		if err := t.Validate(); err != nil {
			return nil, err
		}
		id := t.identity()
		en, twice := next[id]
		if !twice {
			old, known := e.checks[id]
			if known {
				en = &entry{old.c, t.Spec.Timing}
				if old.timing != t.Spec.Timing {
					retimed[old.c] = t.Spec.Timing
				}
			} else {
				c, err := newCheck(e.shardOf(id), *t)
				if err != nil {
					return nil, err
				}
				en = &entry{c, t.Spec.Timing}
				added = append(added, c)
			}
			next[id] = en
		}
		status[i], order[i] = en.c.read(), en.c
	}
	e.order = order
	e.apply(next, added, retimed)
	return status, nil
}

// Status returns where the checks stand, in the order of the last Set. Who has
// been told by an event that something changed can ask here for the whole,
// and need not count.
func (e *Engine) Status() []Status {
	e.mu.Lock()
	defer e.mu.Unlock()
	status := make([]Status, len(e.order))
	for i, c := range e.order {
		status[i] = c.read()
	}
	return status
}

func (e *Engine) shardOf(id identity) *shard {
	return e.shards[maphash.Comparable(e.seed, id)%uint64(len(e.shards))]
}

// apply moves from e.checks to next.
func (e *Engine) apply(next map[identity]*entry, added []*check, retimed map[*check]Timing) {
	work := make(map[*shard][]func())
	for id, en := range e.checks {
		if next[id] == nil {
			c := en.c
			c.removed.Store(true)
			work[c.shard] = append(work[c.shard], c.stop)
		}
	}
	for _, c := range added {
		part := e.part()
		e.log.Info(msgActivating(&c.target))
		work[c.shard] = append(work[c.shard], func() {
			c.shard.loop.Arm(&c.timer, firstRun+time.Duration(part*float64(c.target.Spec.Timing.Warmup)))
		})
	}
	for c, t := range retimed {
		part := e.part()
		work[c.shard] = append(work[c.shard], func() { c.retime(t, part) })
	}
	e.checks = next
	for s, todo := range work {
		s.loop.Post(func() {
			for _, f := range todo {
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
