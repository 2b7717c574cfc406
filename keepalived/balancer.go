// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/lvs-fnat/lvs/healthcheck"
	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/director"
	"github.com/lvs-fnat/lvs/internal/notify"
	"github.com/lvs-fnat/lvs/internal/supervise"
)

// retryEvery is how long after a failed change of the tables the next try is.
const retryEvery = time.Second

// growEvery is how often the weight of a server in its slow start grows.
const growEvery = time.Second

// The heap is collected when it has grown by collectChecking percent: checks make hardly
// any garbage. A reload makes some, and to collect that as often would cost more than the
// reload.
const collectChecking, collectReloading = 15, 100

// kernelTime bounds one change of the tables.
const kernelTime = time.Minute

// balancer is the daemon at work. Only the goroutine of serve touches it; the
// checks report by a token in changed.
type balancer struct {
	*child
	dir    *director.Director
	herald *herald
	policy atomic.Pointer[notify.Policy]
	checks engine
	kernel kernel           // nil while no configuration needed one
	mirror *director.Mirror // of kernel
	marks  marks

	changed    chan struct{}
	stopEngine context.CancelFunc
	engineDone chan error

	suspension suspension

	snmp     subagent
	counters counters
	// calls are what the session of SNMP has serve do.
	calls chan func(context.Context)

	// cannotDrop is set once a refusal to end connections was logged.
	cannotDrop bool

	// broken is set when the work has ended by an error.
	broken bool

	// behind is the last error of the tables, until they are right again.
	behind string

	lookout lookout
	workers sync.WaitGroup // of lookout
	control *control
	forced  bool // the next reload may change any number of servers
}

// run is the life of the process.
func (b *balancer) run(ctx context.Context) error {
	defer debug.SetGCPercent(debug.SetGCPercent(collectChecking))
	resume := supervise.HoldMemory()
	defer resume()
	return runSteps(ctx, b.logger, []step{
		{do: b.readConfig},
		{do: b.openHerald, undo: b.closeHerald},
		{do: b.openEngine, undo: b.closeEngine},
		{undo: b.closeKernel},
		{do: b.openKernel},
		{do: b.openMarks, undo: b.closeMarks},
		{do: b.openSNMP, undo: b.closeSNMP},
		{do: b.fill, undo: b.empty},
		{do: b.startChecks, undo: b.stopChecks},
		{do: b.startSuspension, undo: b.stopSuspension},
		{do: b.openLookout, undo: b.closeLookout},
		{do: b.openControl, undo: b.closeControl},
	}, func(ctx context.Context) error {
		err := b.ready()
		resume()
		b.warn(supervise.ReleaseMemory())
		if err == nil {
			if needsBFD(b.dir.Config()) {
				b.askBFD()
			}
			err = b.serve(ctx)
		}
		b.broken = err != nil
		return err
	})
}

func (b *balancer) readConfig(ctx context.Context) error {
	cfg, err := b.loadConfig(ctx, b.opts, b.log, false)
	if err == nil {
		b.text = nil // it will not be read again
		b.dir = director.New(cfg)
		b.dir.Named(hostname())
	}
	runtime.GC() // the text, and what reading it took
	return err
}

func (b *balancer) openHerald(context.Context) error {
	b.herald = newHerald(b.log, &b.policy, func(f *config.FIFOs) config.FIFO { return f.LVS })
	b.herald.trap = b.snmp.notify
	b.herald.follow(b.dir.Config())
	return nil
}

func (b *balancer) closeHerald(ctx context.Context) error {
	// A successor goes on with the FIFOs; their readers need not notice.
	b.herald.close(!b.broken && ctx.Err() == nil)
	return nil
}

func (b *balancer) openEngine(context.Context) (err error) {
	b.checks, err = b.engine(b.log, &b.policy, &b.dir.Config().Global.Processes)
	return err
}

func (b *balancer) closeEngine(context.Context) error { return b.checks.Close() }

// openKernel reaches the kernel and asks whether it can do what is configured,
// before anything is changed. Without a virtual server no kernel is needed.
func (b *balancer) openKernel(ctx context.Context) error {
	return b.kernelFor(ctx, b.dir.Config())
}

func (b *balancer) kernelFor(ctx context.Context, cfg *config.Config) error {
	if !needsKernel(cfg) {
		return nil
	}
	if b.kernel == nil {
		k, err := b.connect(ctx, cfg.Root.NetNamespaceIPVS)
		if err != nil {
			return fmt.Errorf(msgNoIPVS, err)
		}
		b.kernel, b.mirror = k, director.NewMirror(k)
	}
	if k, ok := b.kernel.(buffered); ok && cfg.Global.LVSNetlink.Command > 0 {
		b.warn(k.SetReadBuffer(cfg.Global.LVSNetlink.Command))
	}
	info, err := b.kernel.Info(ctx)
	if err != nil {
		return fmt.Errorf(msgNoIPVS, err)
	}
	if d, missing := director.Unsupported(cfg, info); missing {
		return line(d.String())
	}
	return nil
}

func (b *balancer) closeKernel(context.Context) error {
	if b.kernel == nil {
		return nil
	}
	return b.kernel.Close()
}

// fill brings the tables to the state of the start, adopting what a former
// run has left.
func (b *balancer) fill(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, kernelTime)
	defer cancel()
	if b.mirror != nil && b.dir.Config().Global.LVSFlush {
		if err := b.mirror.Flush(ctx); err != nil {
			return err
		}
	}
	status, err := b.checks.Set(b.dir.Targets())
	if err != nil {
		return err
	}
	runtime.GC() // what it took to begin the checks
	b.dir.At(b.now())
	notices := b.dir.Observe(status)
	if b.mirror != nil {
		if err := b.mirror.Sync(ctx, b.dir.Tables()); err != nil {
			return &exit{exitCode(err), line(b.dir.Explain(err))}
		}
	}
	b.marks.ours = b.marks.marker != nil
	b.herald.tell(notices)
	b.herald.execute(notices)
	return nil
}

// empty removes what the daemon has put into the tables. Without the parent it
// must not: whoever killed that did not ask for the services to end. Nor after
// an error: the parent starts another one, which takes over.
func (b *balancer) empty(ctx context.Context) error {
	if ctx.Err() != nil || b.broken {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, kernelTime)
	defer cancel()
	notices := b.dir.Stop()
	b.herald.tell(notices)
	var err error
	if b.mirror != nil && !b.opts.keepTable {
		if b.dir.Config().Global.LVSFlushOnStop == config.FlushAll {
			err = b.mirror.Flush(ctx)
		}
		if err = errors.Join(err, b.mirror.Remove(ctx)); err != nil {
			err = fmt.Errorf("remove virtual servers: %s", b.dir.Explain(err))
		}
	}
	b.herald.execute(notices)
	return err
}

// startChecks begins to run the checks that fill has set.
func (b *balancer) startChecks(ctx context.Context) error {
	ctx, b.stopEngine = context.WithCancel(ctx)
	b.changed = make(chan struct{}, 1)
	b.engineDone = make(chan error, 1)
	go func() {
		b.engineDone <- b.checks.Run(ctx, func([]healthcheck.Event) {
			select {
			case b.changed <- struct{}{}:
			default: // a token is there: what it stands for includes this
			}
		})
	}()
	return nil
}

func (b *balancer) startSuspension(context.Context) error {
	b.followAddresses()
	return nil
}

func (b *balancer) stopSuspension(context.Context) error {
	b.suspension.close()
	return nil
}

func (b *balancer) stopChecks(context.Context) error {
	b.stopEngine()
	return <-b.engineDone
}

func (b *balancer) openLookout(context.Context) error {
	b.lookout.seen = make(chan drift, 1)
	return nil
}

func (b *balancer) closeLookout(context.Context) error {
	b.workers.Wait()
	return nil
}

// openControl does without the socket if it cannot be: services are worth more
// than --plan.
func (b *balancer) openControl(context.Context) error {
	c, err := openControl(b.log, controlPath(b.birth.PIDFile))
	if err != nil {
		b.warn(fmt.Errorf("no --plan, no --force-reload: %w", err))
		c = &control{}
	}
	b.control = c
	return nil
}

func (b *balancer) closeControl(context.Context) error { return b.control.close() }

// serve follows the checks and the signals until one says stop.
func (b *balancer) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends a comparison that is under way
	tick, stop := b.every(driftEvery)
	defer stop()
	var retry, grow <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-b.engineDone:
			b.engineDone <- err // stopChecks waits for it, too
			if err != nil {
				err = fmt.Errorf("health checks ended: %w", err)
			}
			return err
		case sig := <-b.heard:
			switch {
			case sig == syscall.SIGTERM:
				return nil
			case sig == syscall.SIGHUP:
				b.reload(ctx)
			case sig == syscall.SIGUSR1:
				b.log.Info(fmt.Sprintf(msgDump, "checker", os.Getpid()))
				b.warn(writeDump(dumpFile("_check", placeOf(b.opts, &b.dir.Config().Root), &b.dir.Config().Global.Dump), b.dump))
				b.look(ctx)
			}
		case m := <-b.relayed:
			if w, ok := b.hearBFD(m); ok {
				b.checks.Session(w.Name, w.Up)
			}
		case <-b.changed:
			b.follow(ctx)
		case <-retry:
			b.follow(ctx)
		case <-grow:
			grow = nil
			b.follow(ctx)
		case <-b.suspension.moved:
			b.suspend()
		case <-tick:
			b.look(ctx)
		case d := <-b.lookout.seen:
			b.drifted(ctx, d)
		case q := <-b.control.asked:
			b.answer(ctx, q)
		case f := <-b.calls:
			f(ctx)
		}
		if retry = nil; b.behind != "" {
			retry = b.after(retryEvery)
		}
		if grow == nil && b.dir.Growing() {
			grow = b.after(growEvery)
		}
	}
}

// follow brings the tables to what the checks say now. Failing is no reason to
// stop: it tries again.
func (b *balancer) follow(ctx context.Context) {
	b.dir.At(b.now())
	notices := b.dir.Observe(b.checks.Status())
	b.herald.tell(notices)
	if b.mirror != nil {
		ctx, cancel := context.WithTimeout(ctx, kernelTime)
		defer cancel()
		b.settle(b.mirror.Update(ctx, b.dir.Tables()))
		b.drop(ctx, notices)
	}
	b.herald.execute(notices)
}

// drop ends the connections to servers that went down, after these are out of the
// tables: a client that comes again gets another.
func (b *balancer) drop(ctx context.Context, notices []director.Notice) {
	for _, n := range notices {
		for _, f := range n.Drop {
			count, err := b.kernel.DeleteConns(ctx, f)
			switch {
			case err == nil:
				b.log.Info(fmt.Sprintf(msgDropped, count, f.Dest.Addr(), f.DestPort))
			case !b.cannotDrop:
				b.cannotDrop = true
				b.log.Warn(fmt.Sprintf("rst_on_failure: %v", err))
			}
		}
	}
}

// settle notes how a change of the tables went, and logs what is new about it.
func (b *balancer) settle(err error) {
	text := ""
	if err != nil {
		text = b.dir.Explain(err)
	}
	switch {
	case text == b.behind:
	case text == "":
		b.log.Info(msgApplied)
	default:
		b.log.Error(fmt.Sprintf(msgApply, text, retryEvery))
	}
	b.behind = text
}

// reload takes over a new configuration, or, after any fault, keeps the old.
func (b *balancer) reload(ctx context.Context) {
	b.log.Info(msgChildReloading)
	defer debug.SetGCPercent(debug.SetGCPercent(collectReloading))
	b.reloaded(b.around("check", &b.dir.Config().Global.Reload, b.dump, func() error { return b.replace(ctx) }))
}

// vet reads a configuration and says why it must not be taken over.
func (b *balancer) vet(ctx context.Context, o *options) (*config.Config, error) {
	cfg, err := b.loadConfig(ctx, o, b.log, false)
	if err != nil {
		return nil, err
	}
	if !sameTable(b.dir.Config(), cfg) {
		return nil, line(msgMarksTable)
	}
	removed := b.dir.Removed(cfg)
	if d, spoilt := removed.Spoilt(cfg); spoilt {
		return nil, line(d.String())
	}
	// The brake in force counts: a file that is cut short has none.
	if text, tooMany := removed.TooMany(b.dir.Config().Global.LVSMaxChanges); tooMany && !b.forced {
		return nil, line(text)
	}
	return cfg, b.kernelFor(ctx, cfg)
}

// replace does all that can fail before it changes anything; the last that
// can, the tables, is taken back.
func (b *balancer) replace(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, kernelTime)
	defer cancel()
	cfg, err := b.vet(ctx, b.opts)
	b.forced = false
	if err != nil {
		return err
	}
	next, notices := b.dir.Reload(cfg)
	status, err := b.checks.Set(next.Targets())
	if err != nil {
		return err
	}
	next.At(b.now())
	notices = append(notices, next.Observe(status)...)
	if b.mirror != nil {
		bring := b.mirror.Reload
		if b.behind != "" || len(b.lookout.said) > 0 {
			bring = b.mirror.Sync // somebody has been at the tables
		}
		if err := bring(ctx, next.Tables()); err != nil {
			return errors.Join(line(next.Explain(err)), b.restore(ctx))
		}
	}
	if err := b.remark(cfg, next.Marks()); err != nil {
		return errors.Join(err, b.restore(ctx))
	}
	b.dir = next
	b.herald.follow(cfg)
	b.followSNMP()
	b.followAddresses()
	b.herald.tell(notices)
	b.settle(nil)
	b.herald.execute(notices)
	return nil
}

// restore returns to the checks of the configuration that stays.
func (b *balancer) restore(ctx context.Context) error {
	status, err := b.checks.Set(b.dir.Targets())
	if err != nil {
		return err
	}
	notices := b.dir.Observe(status)
	b.herald.tell(notices)
	b.settle(b.mirror.Sync(ctx, b.dir.Tables()))
	b.herald.execute(notices)
	b.suspend()
	return nil
}
