// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/supervise"
	"github.com/lvs-fnat/lvs/ipvs/ipvstest"
)

// player is a kind of child that does what the test says. A configuration
// wants it when its router_id has its name.
type player struct {
	name   string
	mu     sync.Mutex
	starts int
	// play is run for each start, counted from 1.
	play func(ctx context.Context, c *child, start int) error
}

func (p *player) kind(t *testing.T) *kind {
	dir := t.TempDir()
	return &kind{
		name: p.name, title: strings.ToUpper(p.name), ident: "Keepalived_" + p.name, option: subsystemVRRP,
		pidFile: func(*options) string { return dir + "/" + p.name + ".pid" },
		wanted:  func(cfg *config.Config) bool { return strings.Contains(cfg.Global.RouterID, p.name) },
		run: func(ctx context.Context, c *child) error {
			p.mu.Lock()
			p.starts++
			n := p.starts
			p.mu.Unlock()
			return p.play(ctx, c, n)
		},
	}
}

// serve is ready, refuses the reloads that a configuration named "refuse" asks
// for, and ends when it is told.
func serve(ctx context.Context, c *child) error {
	if err := c.ready(); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case sig := <-c.heard:
			switch sig {
			case syscall.SIGTERM:
				return nil
			case syscall.SIGHUP:
				cfg, err := c.loadConfig(ctx, c.opts, c.log, false)
				if err == nil && strings.Contains(cfg.Global.RouterID, "refuse") {
					err = errors.New("not this one")
				}
				c.reloaded(err)
			default:
				c.log.Info(fmt.Sprintf("%s heard %d", c.kind.name, sig))
			}
		case m := <-c.relayed:
			c.log.Info(fmt.Sprintf("%s was told %s by %s", c.kind.name, m.Data, m.From))
		}
	}
}

func always(ctx context.Context, c *child, _ int) error { return serve(ctx, c) }

func named(words string) string { return "global_defs {\nrouter_id " + words + "\n}\n" }

func newFamily(t *testing.T, conf string, players ...*player) *testDaemon {
	d := newDaemon(t, ipvstest.NewStock(), named(conf))
	d.app.kinds = nil
	for _, p := range players {
		d.app.kinds = append(d.app.kinds, p.kind(t))
	}
	return d
}

// TestFamily: a child runs while the configuration has work for it; signals and
// words between children are passed on.
func TestFamily(t *testing.T) {
	a, b := &player{name: "a", play: always}, &player{name: "b"}
	b.play = func(ctx context.Context, c *child, _ int) error {
		if err := c.relay("a", []byte("hello")); err != nil {
			return err
		}
		return serve(ctx, c)
	}
	d := newFamily(t, "a", a, b)
	d.start()
	d.reload(named("a+b"), msgReloaded)
	d.waitAny("a was told hello by b")
	if a.starts != 1 || b.starts != 1 {
		t.Errorf("starts: a %d, b %d", a.starts, b.starts)
	}
	d.signals <- syscall.Signal(36)
	d.waitAny("a heard 36")
	d.waitAny("b heard 36")
	d.reload(named("b"), msgReloaded)
	if d.exists(d.app.kinds[0].pidFile(nil)) || !d.exists(d.app.kinds[1].pidFile(nil)) {
		t.Error("a is to be gone after the reload, and b to be there")
	}
	d.reload(named("a+b"), msgReloaded)
	d.stop()
	if a.starts != 2 || b.starts != 1 {
		t.Errorf("starts: a %d, b %d", a.starts, b.starts)
	}
}

func (d *testDaemon) exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// waitAny is wait for lines whose place among the others is open.
func (d *testDaemon) waitAny(text string) {
	d.t.Helper()
	d.log.wait(d.t, 0, text)
}

// TestReloadOfSome: one child refuses, and the daemon says so, but goes on.
func TestReloadOfSome(t *testing.T) {
	a := &player{name: "a", play: always}
	b := &player{name: "b", play: func(ctx context.Context, c *child, _ int) error {
		return &exit{exitConfig, errors.New("cannot begin")}
	}}
	d := newFamily(t, "a", a, b)
	d.start()
	d.reload(named("a+refuse"), "Reload failed, the running configuration stays in force: A: not this one")
	d.reload(named("a+b"), "Reload failed, the running configuration stays in force: B child process ended with code 2")
	d.reload(named("a"), msgReloaded)
	d.stop()
}

// TestPermanent: a child that cannot start ends the daemon with its code, and
// the others with it.
func TestPermanent(t *testing.T) {
	a := &player{name: "a", play: always}
	for _, code := range []int{exitFatal, exitConfig, exitPermission} {
		b := &player{name: "b", play: func(context.Context, *child, int) error { return &exit{code, errors.New("no way")} }}
		d := newFamily(t, "a+b", a, b)
		d.run()
		d.ends(code)
		d.waitAny(fmt.Sprintf("exited with permanent error %d. Terminating", code))
		if d.exists(d.app.kinds[0].pidFile(nil)) {
			t.Error("a still runs")
		}
	}
}

// TestRespawn: a child that dies is started again, at once the first time.
func TestRespawn(t *testing.T) {
	a := &player{name: "a"}
	a.play = func(ctx context.Context, c *child, n int) error {
		if n > 3 {
			return serve(ctx, c)
		}
		if err := c.ready(); err != nil {
			return err
		}
		return errors.New("stumbled")
	}
	d := newFamily(t, "a", a)
	paused := make(chan time.Duration)
	d.app.after = func(p time.Duration) <-chan time.Time {
		if p == 5*time.Second { // of the end
			return nil
		}
		paused <- p
		return d.retry
	}
	d.run()
	for i, want := range []time.Duration{1, 2} {
		if p := <-paused; p != want*time.Second {
			t.Errorf("pause %d is %v, want %v s", i, p, int(want))
		}
		d.wait(fmt.Sprintf("Restart of A process delayed %d seconds", want))
		d.retry <- time.Time{}
	}
	for range 12_000 {
		if a.mu.Lock(); a.starts == 4 {
			a.mu.Unlock()
			break
		}
		a.mu.Unlock()
		time.Sleep(5 * time.Millisecond)
	}
	d.stop()

	d = newFamily(t, "a", &player{name: "a", play: func(ctx context.Context, c *child, n int) error {
		return errors.Join(c.ready(), errors.New("stumbled"))
	}})
	d.run("-R")
	d.ends(exitFatal)
	d.waitAny("not respawning")
}

// TestFallback: who is started again runs what was in force: not the file that was
// refused, and not a configuration whose taking over has killed two.
func TestFallback(t *testing.T) {
	fragile := func(ctx context.Context, c *child, _ int) error {
		cfg, err := c.loadConfig(ctx, c.opts, c.log, false)
		if err != nil {
			return err
		}
		if strings.Contains(cfg.Global.RouterID, "die") {
			return &exit{exitConfig, errors.New("cannot begin")}
		}
		c.log.Info("running " + cfg.Global.RouterID)
		if err := c.ready(); err != nil {
			return err
		}
		for sig := range c.heard {
			switch sig {
			case syscall.SIGTERM:
				return nil
			case syscall.SIGHUP:
				cfg, err := c.loadConfig(ctx, c.opts, c.log, false)
				switch {
				case err != nil:
				case strings.Contains(cfg.Global.RouterID, "refuse"):
					err = errors.New("not this one")
				case strings.Contains(cfg.Global.RouterID, "die"):
					return errors.New("stumbled over it")
				}
				c.reloaded(err)
			default:
				return errors.New("stumbled")
			}
		}
		return nil
	}
	d := newFamily(t, "a-one", &player{name: "a", play: fragile})
	d.start()
	d.reload(named("a-refuse"), "Reload failed, the running configuration stays in force: A: not this one")
	d.signals <- syscall.Signal(36)
	d.wait("stumbled")
	d.wait("running a-one")
	d.stop()

	d = newFamily(t, "a-one", &player{name: "a", play: fragile})
	d.start()
	d.write(named("a-die"))
	d.signals <- syscall.SIGHUP
	d.wait("stumbled over it")
	d.wait("cannot begin")
	d.retry <- time.Time{}
	d.wait("running a-one")
	d.reload(named("a-two"), msgReloaded)
	d.stop()
}

// TestStubborn: who does not end when told is killed.
func TestStubborn(t *testing.T) {
	a := &player{name: "a", play: func(ctx context.Context, c *child, _ int) error {
		if err := c.ready(); err != nil {
			return err
		}
		for sig := range c.heard {
			if sig == syscall.SIGKILL {
				return nil
			}
		}
		return nil
	}}
	d := newFamily(t, "a", a)
	d.app.after = func(time.Duration) <-chan time.Time { return d.retry }
	d.start()
	d.signals <- syscall.SIGTERM
	d.wait(msgStopping)
	d.retry <- time.Time{}
	d.ends(exitOK)
}

// TestParentGone: a child whose parent has died ends and takes nothing back.
func TestParentGone(t *testing.T) {
	table := ipvstest.NewStock()
	d := newDaemon(t, table, nat)
	near, far, err := supervise.Pair()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := supervise.NewConn(far)
	if err != nil {
		t.Fatal(err)
	}
	o, err := parseOptions([]string{"-n", "-l", "-f", d.file, "-c", d.childPID})
	if err != nil {
		t.Fatal(err)
	}
	m, err := birth{PIDFile: d.childPID}.message()
	if err == nil {
		err = near.Send(m)
	}
	if err != nil {
		t.Fatal(err)
	}
	go func() { d.code <- d.app.childRun(context.Background(), o, "checkers", conn, nil, nil) }()
	if m, err := near.Receive(); err != nil || m.Verb != supervise.VerbUp {
		t.Fatalf("the child says %v, %v", m, err)
	}
	if err := near.Close(); err != nil {
		t.Fatal(err)
	}
	d.ends(exitOK)
	d.holds(natLines)
	if d.exists(d.childPID) {
		t.Error("the pid file is left")
	}
}

// TestServiceManager: it is told of the start, of each reload and its end, also of one
// that is refused, and of the end.
func TestServiceManager(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	told := func(want string) {
		t.Helper()
		if err := l.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 1000)
		n, err := l.Read(buf)
		if err != nil || !strings.HasPrefix(string(buf[:n]), want) {
			t.Errorf("the service manager was told %q, %v; want %q", buf[:n], err, want)
		}
	}
	d := newFamily(t, "a", &player{name: "a", play: always})
	d.start()
	told("STATUS=Startup complete")
	told("READY=1")
	for conf, text := range map[string]string{named("a b"): msgReloaded, named("a+refuse"): "Reload failed"} {
		d.reload(conf, text)
		told("RELOADING=1\nMONOTONIC_USEC=")
		told("STATUS=" + text)
		told("READY=1")
	}
	d.stop()
	told("STOPPING=1")
}
