// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/lvs-fnat/lvs/internal/busapi"
	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/notify"
	"github.com/lvs-fnat/lvs/internal/supervise"
	"github.com/lvs-fnat/lvs/internal/vrouter"
	"github.com/lvs-fnat/lvs/vrrp"
)

// Signals of keepalived beside those with names: SIGRTMIN+2 and SIGRTMAX-1.
const (
	signalJSON  = syscall.Signal(36)
	signalClear = syscall.Signal(63)
)

// settleTime is how long after a start, a reload or a dump its memory is given
// back: links are up then, and the first elections over.
const settleTime = 5 * time.Second

// collectAt has the heap collected when it has grown by that percentage: the work
// of virtual routers makes hardly any garbage, so it costs nothing to keep it small.
const collectAt = 25

// routers is the child process of virtual routers at work.
type routers struct {
	*child
	cfg    *config.Config
	engine *vrouter.Engine
	herald *herald
	sync   *syncDaemons
	daemon *config.SyncDaemon // of the configuration in force; the loop's
	policy atomic.Pointer[notify.Policy]
	auto   autoPriority // the loop's
	// bus is nil without enable_dbus, and requests come from there.
	bus      *busapi.Service
	requests chan busapi.Request
	snmp     subagent
	global   atomic.Bool // the objects of the program are told by this child
	cancel   context.CancelFunc
	done     chan error
}

// needsVRRP tells whether cfg has anything for the child.
func needsVRRP(cfg *config.Config) bool { return !cfg.VRRP.Empty() }

// run is the life of the process.
func (r *routers) run(ctx context.Context) error {
	defer debug.SetGCPercent(debug.SetGCPercent(collectAt))
	return runSteps(ctx, r.logger, []step{
		{do: r.readConfig},
		{
			do: func(context.Context) error {
				r.herald = newHerald(r.log, &r.policy, func(f *config.FIFOs) config.FIFO { return f.VRRP })
				return nil
			},
			undo: func(context.Context) error { r.herald.close(true); return nil },
		},
		{
			do: func(context.Context) error {
				r.sync = newSyncDaemons(r.log, func(ctx context.Context) (kernel, error) {
					return r.connect(ctx, r.cfg.Root.NetNamespaceIPVS)
				})
				return nil
			},
			undo: func(context.Context) error { r.sync.close(); return nil },
		},
		{do: r.openBus, undo: r.closeBus},
		{do: r.open, undo: r.close},
		{do: r.openSNMP, undo: r.closeSNMP},
		{do: r.start, undo: r.stop},
	}, func(ctx context.Context) error {
		if err := r.ready(); err != nil {
			return err
		}
		if needsBFD(r.cfg) {
			r.askBFD()
		}
		return r.serve(ctx)
	})
}

func (r *routers) readConfig(ctx context.Context) (err error) {
	r.cfg, err = r.loadConfig(ctx, r.opts, r.log, false)
	return err
}

func (r *routers) open(ctx context.Context) (err error) {
	r.engine, err = vrouter.Open(ctx, r.cfg, vrouter.Options{
		Log: r.log, Adopt: r.adopt, Tell: r.tell, Changed: r.changed, Trap: r.snmp.notify, RouterID: routerID, Command: r.command, Late: r.late, LogAddresses: r.opts.monitor, KeepAddresses: r.opts.keepAddresses,
	})
	var bad *vrouter.ConfigError
	if errors.As(err, &bad) {
		return &exit{exitConfig, err}
	}
	return err
}

// adopt is the start of a configuration, by the engine's loop.
func (r *routers) adopt(cfg *config.Config) {
	r.busFollow(cfg)
	r.herald.follow(cfg)
	r.auto.follow(&cfg.Global.Processes)
	r.daemon = cfg.Global.LVSSyncDaemon
	if r.daemon != nil && r.daemon.Instance == "" {
		r.sync.follow(r.daemon, 0, vrrp.Backup)
	}
	if r.daemon == nil {
		r.sync.follow(nil, 0, vrrp.Init)
	}
}

// late raises the priority of the process when the kernel lets it run too late.
func (r *routers) late(d time.Duration) {
	if priority, ok := r.auto.late(d); ok {
		r.log.Info(fmt.Sprintf("A thread timer expired %.6f seconds ago", d.Seconds()))
		if priority > 0 {
			t := supervise.Tuning{RTPriority: priority, RTLimit: r.auto.limit}
			if err := t.Apply(); err != nil {
				r.warn(err)
				return
			}
			r.log.Info(fmt.Sprintf("Set realtime priority %d", priority))
		}
	}
}

// changed has the daemons of connections follow their instance.
func (r *routers) changed(name string, vrid uint8, state vrrp.State) {
	r.busChanged(name, state)
	if r.daemon != nil && r.daemon.Instance == name {
		r.sync.follow(r.daemon, vrid, state)
	}
}

// tell runs on the engine's loop, as follow does: the herald has one user at a time.
func (r *routers) tell(n vrouter.Notice) {
	for _, c := range n.Scripts {
		if c.Script.Command == "" {
			continue
		}
		cmd, err := command(c.Script)
		if err != nil {
			r.warn(err)
			continue
		}
		cmd.Args = append(cmd.Args, c.Args...)
		r.herald.scripts.Start(cmd)
	}
	for _, p := range []*pipe{r.herald.all, r.herald.own} {
		if p != nil && n.FIFO != "" {
			p.fifo.Write(n.FIFO)
		}
	}
	if n.Subject != "" {
		router := orDefault(r.herald.router, hostname())
		r.herald.mailer.Send(r.herald.mail, notify.Alert{Subject: "[" + router + "] " + n.Subject, Body: n.Body})
	}
}

// command is a tracked script under the policy of the moment.
func (r *routers) command(ctx context.Context, sc config.Script) (*exec.Cmd, error) {
	cmd, err := judged(sc)
	if err != nil {
		return nil, err
	}
	return r.policy.Load().Prepare(ctx, cmd)
}

func (r *routers) close(context.Context) error { return r.engine.Close() }

// start has the engine run beside the signals.
func (r *routers) start(context.Context) error {
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel, r.done = cancel, make(chan error, 1)
	go func() { r.done <- r.engine.Run(ctx) }()
	return nil
}

func (r *routers) stop(context.Context) error {
	r.cancel()
	return <-r.done
}

func (r *routers) serve(ctx context.Context) error {
	settled := time.NewTimer(settleTime)
	defer settled.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-settled.C:
			r.warn(supervise.ReleaseMemory())
		case err := <-r.done:
			r.done <- err
			return err
		case q := <-r.requests:
			r.answer(ctx, q)
			settled.Reset(settleTime)
		case sig := <-r.heard:
			switch sig {
			case syscall.SIGTERM, syscall.SIGINT:
				return nil
			case syscall.SIGHUP:
				r.reloaded(r.around("vrrp", &r.cfg.Global.Reload, r.dumpState(ctx), func() error { return r.reload(ctx) }))
			default:
				r.warn(r.dump(ctx, sig))
			}
			settled.Reset(settleTime)
		case m := <-r.relayed:
			if w, ok := r.hearBFD(m); ok {
				r.engine.Session(w.Name, w.Up)
			}
		}
	}
}

// routersDump is the file that a signal asks the routers for, and what the log
// calls it.
func routersDump(sig os.Signal, p place, d *config.Dump) (path, title string) {
	switch sig {
	case syscall.SIGUSR1:
		return orDefault(d.State, dumpPath("", ".data", p, d)), "data"
	case signalJSON:
		return orDefault(d.JSON, dumpPath("", ".json", p, d)), "as json"
	}
	return orDefault(d.Stats, dumpPath("", ".stats", p, d)), "stats"
}

// dump writes what a signal asks for.
func (r *routers) dump(ctx context.Context, sig os.Signal) error {
	d := &r.cfg.Global.Dump
	path, title := routersDump(sig, placeOf(r.opts, &r.cfg.Root), d)
	var write func(io.Writer) error
	switch sig {
	case syscall.SIGUSR1:
		write = r.engine.WriteData
	case syscall.SIGUSR2, signalClear:
		write = func(w io.Writer) error { return r.engine.WriteStats(w, sig == signalClear) }
	case signalJSON:
		write = func(w io.Writer) error { return r.engine.WriteJSON(w, d.JSONVersion) }
	default:
		return nil
	}
	r.log.Info(fmt.Sprintf("Printing VRRP %s for process(%d) on signal", title, os.Getpid()))
	var b bytes.Buffer
	if err := r.engine.Do(ctx, func() error { return write(&b) }); err != nil {
		return err
	}
	return writeDump(path, func(w io.Writer) { _, _ = b.WriteTo(w) })
}

// dumpState gives what writes the state of the routers.
func (r *routers) dumpState(ctx context.Context) func(io.Writer) {
	return func(w io.Writer) { r.warn(r.engine.Do(ctx, func() error { return r.engine.WriteData(w) })) }
}

// reload reads the file beside the running routers. One with errors in the part
// for them that they do not run with already, or that this host cannot run, changes nothing.
func (r *routers) reload(ctx context.Context) error {
	cfg, err := r.loadConfig(ctx, r.opts, r.log, false)
	if err == nil {
		if faults := config.NewFaults(r.cfg.VRRP.Faults, cfg.VRRP.Faults); len(faults) > 0 {
			err = fmt.Errorf("%s has %d new error(s) for VRRP, see above", r.opts.file, len(faults))
		}
	}
	if err == nil {
		err = r.engine.Reload(ctx, cfg)
	}
	if err == nil {
		if r.bus != nil {
			r.bus.Reloaded()
		}
		r.cfg = cfg
		r.followSNMP()
	}
	return err
}
