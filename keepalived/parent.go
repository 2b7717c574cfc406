// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/notify"
	"github.com/lvs-fnat/lvs/internal/supervise"
)

// childPatience is how long a new child waits for an old one to be gone.
const childPatience = 5 * time.Second

// process is a running child. [*supervise.Process] is one.
type process interface {
	Pid() int
	Conn() *supervise.Conn
	Signal(os.Signal) error
	Wait() supervise.Exit
}

// parent keeps the children running that the configuration wants, and is what
// the service manager and the user's signals reach. Only the goroutine of serve
// touches it; those of the children report by events.
type parent struct {
	*app
	opts   *options
	log    *slog.Logger
	cfg    *config.Config
	text   []byte // what cfg was read from, encoded for children
	former config.Former
	// place is what it was at the start: it does not change.
	place place

	heard  <-chan os.Signal
	fifo   *pipe
	slots  []*slot
	events chan event
	ended  chan struct{} // closed when all children have ended
	wg     sync.WaitGroup

	// braked is set while a configuration with lvs_max_changes is in force:
	// then it is the child that says whether there is no work left for it.
	braked bool
	// reloadMark is the file that is there while a reload is under way.
	reloadMark string
	schedule   schedule
	loads      int  // configurations read
	up         bool // everything has been up once
	reloading  bool
	queued     bool // a SIGHUP came while reloading
	kept       error
	stopping   bool
}

// slot is the place of one kind of child, filled or not.
type slot struct {
	kind *kind
	proc process // nil while none runs
	// text is the configuration in force there, encoded; former is the one before
	// while text has not proved itself.
	text, former []byte
	// wanted is set while the configuration wants one.
	wanted bool
	// ready is set once the running process has said so, proven once any has.
	ready, proven bool
	// again is set while a process that died over a reload has a successor that begins with
	// what was in force before, and is asked for the reload once it is ready.
	again bool
	// asked is set until the child has answered a reload.
	asked   bool
	leaving bool // told to end
	restart supervise.Restart
}

// event is what the goroutine of a child has to say: a message, an exit, or that
// the pause before a restart is over.
type event struct {
	slot *slot
	msg  supervise.Message
	exit *supervise.Exit
	due  bool
}

// parentProcess runs until a signal ends it, and returns the exit code. All that
// was started is taken back in the reverse order, whatever ended it.
func (a *app) parentProcess(ctx context.Context, o *options) int {
	log, closeLog := a.logger(o, identParent, o.logFile)
	p := &parent{app: a, opts: o, log: log, events: make(chan event), ended: make(chan struct{})}
	defer func() { closeLog() }()
	p.log.Info(fmt.Sprintf(msgStarting, version))
	for _, k := range a.kinds {
		p.slots = append(p.slots, &slot{kind: k})
	}
	var unhear func()
	var pid *supervise.PIDFile
	steps := []step{
		{
			// Before anything can be left half done: a signal that nobody listens
			// for ends the process. What comes before serve waits for it.
			do:   func(context.Context) error { p.heard, unhear = a.signals(false); return nil },
			undo: func(context.Context) error { unhear(); return nil },
		},
		{do: func(ctx context.Context) (err error) { p.cfg, p.text, _, err = p.load(ctx); return err }},
		{do: func(context.Context) error {
			p.place = placeOf(o, &p.cfg.Root)
			if s := p.place.suffix(); s != "" {
				p.log.Info(fmt.Sprintf(msgIdent, identParent+s))
				closeLog()
				p.log, closeLog = a.logger(o, identParent+s, p.place.logFile(o.logFile, ""))
			}
			return p.appear()
		}},
		{
			do: func(context.Context) (err error) {
				path := p.place.pidFile(o.pidFile, "keepalived")
				if err := makePIDDir(path); err != nil {
					return err
				}
				pid, err = supervise.CreatePIDFile(path)
				if errors.Is(err, supervise.ErrRunning) {
					p.log.Error(msgRunning)
				}
				return err
			},
			undo: func(context.Context) error {
				return errors.Join(pid.Remove(), leavePIDDir(p.place.pidFile(o.pidFile, "keepalived")))
			},
		},
		{
			do:   func(ctx context.Context) error { p.script(ctx, "startup"); return nil },
			undo: func(context.Context) error { p.script(context.WithoutCancel(ctx), "shutdown"); return nil },
		},
		{do: p.openFIFO, undo: p.closeFIFO},
		{
			do:   func(context.Context) error { p.followSchedule(&p.cfg.Global.Reload); return nil },
			undo: func(context.Context) error { return p.schedule.close() },
		},
		{undo: p.stopChildren}, // also of a start that fails half way
		{do: p.startChildren},
	}
	err := runSteps(ctx, func() *slog.Logger { return p.log }, steps, func(ctx context.Context) error {
		err := p.serve(ctx)
		p.log.Info(msgStopping)
		p.warn(supervise.Stopping())
		return err
	})
	if err != nil {
		p.log.Error(err.Error())
	}
	p.log.Info(fmt.Sprintf(msgStopped, version))
	return exitCode(err)
}

// appear makes this process what the configuration says of all processes.
func (p *parent) appear() error {
	g := &p.cfg.Global.Processes
	b := birth{Umask: umaskOf(p.opts, g), Tuning: supervise.Tuning{Name: g.Name}}
	p.warn(p.embody(b))
	if p.opts.coreDump {
		p.warn(supervise.CoreDump(p.opts.corePattern))
	}
	return nil
}

// policy is that of the parent's own commands, which run where the children do.
func (p *parent) policy(cfg *config.Config) notify.Policy {
	pol := policy(&cfg.Global)
	if ns := netnsFile(p.place.netns); ns != "" {
		pol.Start = func(cmd *exec.Cmd) error { return supervise.StartIn(ns, cmd) }
	}
	return pol
}

// script runs the startup or shutdown script, and waits for it.
func (p *parent) script(ctx context.Context, which string) {
	s := &p.cfg.Global.Scripts
	sc, limit := s.Startup, s.StartupTimeout
	if which == "shutdown" {
		sc, limit = s.Shutdown, s.ShutdownTimeout
	}
	if sc.Command == "" {
		return
	}
	p.log.Info(fmt.Sprintf("Running %s script %s", which, sc.Command))
	cmd, err := judged(sc)
	if err == nil {
		pol := p.policy(p.cfg)
		err = pol.Run(ctx, cmd, limit)
	}
	if err != nil {
		p.log.Error(fmt.Sprintf("%s script %s failed: %v", which, sc.Command, err))
	}
}

// openFIFO makes the FIFO that all children write to, and starts its reader, once
// for all of them.
func (p *parent) openFIFO(context.Context) error {
	follow(&p.fifo, p.cfg.Global.FIFOs.All, p.policy(p.cfg), true, p.log)
	return nil
}

func (p *parent) closeFIFO(context.Context) error {
	p.fifo.close(true, p.log)
	return nil
}

// load reads the configuration, and keeps what it was read from for children that
// are started later.
func (p *parent) load(ctx context.Context) (cfg *config.Config, text []byte, diags []config.Diagnostic, err error) {
	var read config.Text
	defer supervise.HoldMemory()()
	a := *p.app
	a.config = a.config.Record(&read)
	a.config.Verdict, a.config.Former = true, &p.former
	if cfg, diags, err = a.readConfig(ctx, p.opts, p.log, true); err == nil {
		text, err = encodeText(&read)
		p.archive(&cfg.Global.Reload, &read)
	}
	return cfg, text, diags, err
}

// wants tells whether a child of kind k is to run.
func (p *parent) wants(k *kind) bool {
	return p.opts.subsystems&k.option != 0 && (p.opts.all || k.wanted(p.cfg))
}

func (p *parent) startChildren(context.Context) error {
	for _, s := range p.slots {
		if s.wanted = p.wants(s.kind); s.wanted {
			s.text = p.text
			if err := p.fill(s); err != nil {
				return err
			}
		}
	}
	return nil
}

// fill starts a child.
func (p *parent) fill(s *slot) error {
	b := p.birthOf(s.kind)
	m, err := b.message()
	if err == nil {
		err = makePIDDir(b.PIDFile)
	}
	if err != nil {
		return err
	}
	proc, err := p.start(s.kind, p.opts, netnsFile(p.place.netns), s.text)
	if err != nil {
		return err
	}
	p.warn(proc.Conn().Send(m))
	s.proc, s.ready, s.asked, s.leaving = proc, false, false, false
	s.restart.Started(p.now())
	p.log.Info(fmt.Sprintf(msgStartingChild, s.kind.title, proc.Pid()))
	p.wg.Go(func() { p.attend(s, proc) })
	return nil
}

// attend reports what a child says, and its end. The parent takes events until it
// has that of every child.
func (p *parent) attend(s *slot, proc process) {
	for {
		m, err := proc.Conn().Receive()
		if err != nil {
			break
		}
		p.events <- event{slot: s, msg: m}
	}
	exit := proc.Wait()
	// Nothing was written since Receive saw the end.
	_ = proc.Conn().Close()
	p.events <- event{slot: s, exit: &exit}
}

// serve follows children and signals until one says stop.
func (p *parent) serve(ctx context.Context) error {
	p.settle(ctx)
	for {
		select {
		case <-ctx.Done():
			return nil
		case sig := <-p.heard:
			switch sig {
			case syscall.SIGINT:
				if !p.opts.ignoreSIGINT {
					return nil
				}
			case syscall.SIGTERM:
				return nil
			case syscall.SIGUSR1:
				p.log.Info(fmt.Sprintf(msgDump, "parent", os.Getpid()))
				p.warn(writeDump(dumpFile("_parent", p.place, &p.cfg.Global.Dump), p.dump))
				p.forward(sig)
			case syscall.SIGHUP:
				p.reload(ctx)
			default:
				p.forward(sig)
			}
		case <-p.schedule.due:
			p.onSchedule(ctx)
		case <-p.schedule.moved:
			p.readSchedule()
		case e := <-p.events:
			if err := p.take(e); err != nil {
				return err
			}
			p.settle(ctx)
		}
	}
}

// take works off an event. An error ends the daemon.
func (p *parent) take(e event) error {
	s := e.slot
	switch {
	case e.exit != nil:
		return p.lost(s, *e.exit)
	case e.due:
		if s.proc == nil && s.wanted && !p.stopping {
			return p.fill(s)
		}
	case e.msg.Verb == supervise.VerbUp:
		s.ready, s.proven, s.former = true, true, nil
		if s.again {
			s.again, s.asked = false, true
			p.warn(s.proc.Signal(syscall.SIGHUP))
		}
	case e.msg.Verb == supervise.VerbReloaded:
		if s.asked {
			s.text = p.text
		}
		s.asked = false
	case e.msg.Verb == supervise.VerbKept:
		if s.asked {
			p.keep(fmt.Errorf("%s: %s", s.kind.title, e.msg.Text))
		}
		s.asked = false
	case e.msg.Verb == supervise.VerbRelay:
		p.relay(s, e.msg)
	}
	return nil
}

func (p *parent) keep(err error) { p.kept = errors.Join(p.kept, err) }

func (p *parent) tellAll(m supervise.Message) {
	for _, s := range p.slots {
		if s.proc != nil {
			p.warn(s.proc.Conn().Send(m))
		}
	}
}

// relay passes a word from one child on to another.
func (p *parent) relay(from *slot, m supervise.Message) {
	for _, s := range p.slots {
		if s.kind.name == m.To && s.proc != nil {
			m.From = from.kind.name
			p.warn(s.proc.Conn().Send(m))
		}
	}
}

// lost takes the end of a child. One that has never been ready and says that it
// cannot be ends the daemon; any other is started again.
func (p *parent) lost(s *slot, x supervise.Exit) error {
	pid := s.proc.Pid()
	permanent := x.Signal == 0 && (x.Code == exitFatal || x.Code == exitConfig || x.Code == exitPermission)
	switch {
	case s.asked && s.kind.traces:
		s.again = true
	case s.asked:
		// It died over a reload, which its successor begins with.
		s.text, s.former = p.text, s.text
	case permanent && !s.ready && s.former != nil:
		s.text, s.former = s.former, nil
	}
	s.proc, s.ready, s.asked = nil, false, false
	switch {
	case s.leaving || p.stopping:
		return nil
	case x.Signal != 0:
		p.log.Error(fmt.Sprintf(msgChildSignal, pid, int(x.Signal), x.Signal))
	case permanent && !s.proven && p.reloading:
		// What a reload brings must not end what ran before it.
		s.wanted = false
		p.keep(fmt.Errorf("%s child process ended with code %d, see above", s.kind.title, x.Code))
		return nil
	case permanent && !s.proven:
		return &exit{x.Code, line(fmt.Sprintf(msgChildPermanent, pid, x.Code))}
	default:
		p.log.Error(fmt.Sprintf(msgChildExit, pid, x.Code))
	}
	if !s.wanted {
		return nil
	}
	if p.opts.dontRespawn {
		return &exit{exitFatal, line(fmt.Sprintf(msgChildDied, s.kind.title, pid, "not respawning"))}
	}
	p.log.Error(fmt.Sprintf(msgChildDied, s.kind.title, pid, "Respawning"))
	pause := s.restart.Delay(p.now())
	if pause == 0 {
		return p.fill(s)
	}
	p.log.Info(fmt.Sprintf(msgChildDelay, s.kind.title, pause/time.Second))
	due := p.after(pause)
	p.wg.Go(func() { p.remind(s, due) })
	return nil
}

// remind says when a pause is over.
func (p *parent) remind(s *slot, due <-chan time.Time) {
	select {
	case <-due:
		select {
		case p.events <- event{slot: s, due: true}:
		case <-p.ended:
		}
	case <-p.ended:
	}
}

// forward passes a signal on to every child.
func (p *parent) forward(sig os.Signal) {
	for _, s := range p.slots {
		if s.proc != nil {
			p.warn(s.proc.Signal(sig))
		}
	}
}

// reload reads the configuration and has the children take it over. If it has
// faults, or a child refuses it, that child's running configuration stays.
func (p *parent) reload(ctx context.Context) {
	if p.reloading || !p.up {
		p.queued = true
		return
	}
	p.log.Info(msgReloading)
	p.warn(supervise.Reloading())
	p.reloading, p.kept = true, nil
	p.markReload()
	cfg, text, diags, err := p.load(ctx)
	if err == nil && p.cfg.Global.Reload.Check {
		err = p.check(diags)
	}
	if err != nil {
		p.keep(err)
	} else {
		if placeOf(p.opts, &cfg.Root) != p.place || cfg.Root.NetNamespaceIPVS != p.cfg.Root.NetNamespaceIPVS {
			p.log.Warn(msgPlace)
		}
		p.cfg, p.text = cfg, text
		follow(&p.fifo, cfg.Global.FIFOs.All, p.policy(cfg), true, p.log)
		p.hand()
	}
	p.followSchedule(&p.cfg.Global.Reload)
	p.settle(ctx)
}

// check is reload_check_config: a configuration that -t is not content with is
// not taken over. The remarks also go to the file that it names.
func (p *parent) check(diags []config.Diagnostic) error {
	if file := p.cfg.Global.Reload.CheckLog; file != "" {
		p.warn(writeRemarks(file, diags))
	}
	if code := config.ExitCode(diags); code != exitOK {
		return fmt.Errorf("reload_check_config: the configuration has faults, -t ends with %d", code)
	}
	return nil
}

// mayRefuse tells whether a child that runs is to be asked although there is no
// work left for it: lvs_max_changes may forbid that, and what an error keeps
// out of the configuration may be what it does.
func (p *parent) mayRefuse(k *kind) bool {
	return k.option == subsystemChecker && (p.braked || len(p.cfg.Lost) > 0)
}

// markReload is reload_file: the file exists while a reload is under way.
func (p *parent) markReload() {
	r := &p.cfg.Global.Reload
	if !r.File {
		return
	}
	if p.reloadMark = r.FilePath; p.reloadMark == "" {
		p.reloadMark = filepath.Join(pidDir, "keepalived"+p.place.suffix()+".reload")
	}
	f, err := os.OpenFile(p.reloadMark, os.O_CREATE|os.O_WRONLY|syscall.O_NOFOLLOW, 0o644)
	if err == nil {
		err = f.Close()
	}
	p.warn(err)
}

func (p *parent) unmarkReload() {
	if p.reloadMark != "" {
		p.warn(os.Remove(p.reloadMark))
		p.reloadMark = ""
	}
}

// hand has the children follow a new configuration.
func (p *parent) hand() {
	for _, s := range p.slots {
		was := s.wanted
		s.wanted = p.wants(s.kind) || was && p.mayRefuse(s.kind)
		switch {
		case s.wanted && s.proc == nil:
			s.text = p.text
			s.proven = s.proven && was
			if err := p.fill(s); err != nil {
				s.wanted = false
				p.keep(err)
			}
		case s.wanted && !s.leaving:
			s.asked = true
			p.warn(s.proc.Signal(syscall.SIGHUP))
		case s.proc != nil:
			s.leaving = true
			p.warn(s.proc.Signal(syscall.SIGTERM))
		}
	}
}

// settle says that the start or a reload is over, once every child has done its
// part.
func (p *parent) settle(ctx context.Context) {
	if p.up && !p.reloading {
		return
	}
	for _, s := range p.slots {
		switch {
		case s.leaving && s.proc == nil && s.wanted:
			// It came back into the configuration while it was ending.
			if err := p.fill(s); err != nil {
				p.keep(err)
				s.wanted = false
				continue
			}
			return
		case s.asked, s.again && s.wanted, s.leaving && s.proc != nil:
			return
		case s.wanted && !s.ready && (s.proc != nil || !p.up):
			return
		}
	}
	if !p.up {
		p.up = true
		p.braked = p.cfg.Global.LVSMaxChanges > 0
		p.log.Info(msgStarted)
		p.warn(supervise.Status(msgStarted))
		if p.opts.dumpConf {
			p.logDump()
		}
		if supervise.Detached() {
			p.tellAll(supervise.Message{Verb: supervise.VerbSilence})
		}
		p.warn(supervise.Up())
	} else {
		p.reloading = false
		p.unmarkReload()
		if p.kept != nil {
			p.log.Error(fmt.Sprintf(msgKept, p.kept))
			p.warn(supervise.Status(fmt.Sprintf(msgKept, p.kept)))
		} else {
			p.braked = p.cfg.Global.LVSMaxChanges > 0
			p.log.Info(msgReloaded)
			p.warn(supervise.Status(msgReloaded))
		}
	}
	p.warn(supervise.Ready())
	if p.queued {
		p.queued = false
		p.reload(ctx)
		return
	}
	p.warn(supervise.ReleaseMemory())
}

// logDump is -d.
func (p *parent) logDump() {
	var b strings.Builder
	p.dump(&b)
	for l := range strings.Lines(b.String()) {
		p.log.Info(strings.TrimRight(l, "\n"))
	}
}

// stopChildren ends them all, by force those that take too long.
func (p *parent) stopChildren(context.Context) error {
	p.stopping = true
	p.forward(syscall.SIGTERM)
	force := p.after(p.cfg.Root.ChildWaitTime)
	for p.running() {
		select {
		case e := <-p.events:
			p.warn(p.take(e))
		case <-force:
			p.forward(syscall.SIGKILL)
		}
	}
	close(p.ended)
	p.wg.Wait()
	return nil
}

func (p *parent) running() bool {
	for _, s := range p.slots {
		if s.proc != nil {
			return true
		}
	}
	return false
}

func (p *parent) warn(err error) {
	if err != nil {
		p.log.Warn(err.Error())
	}
}
