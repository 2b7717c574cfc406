// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/healthcheck"
	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/logline"
	"github.com/lvs-fnat/lvs/internal/notify"
	"github.com/lvs-fnat/lvs/internal/supervise"
	"github.com/lvs-fnat/lvs/ipvs/ipvstest"
)

// logbook is the log of a daemon, which a test can wait for.
type logbook struct {
	mu    sync.Mutex
	lines []string
	moved chan struct{}
}

func newLogbook() *logbook { return &logbook{moved: make(chan struct{})} }

func (b *logbook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for l := range strings.Lines(string(p)) {
		_, text, _ := strings.Cut(l, ": ") // behind the date
		b.lines = append(b.lines, strings.TrimRight(text, "\n"))
	}
	close(b.moved)
	b.moved = make(chan struct{})
	return len(p), nil
}

func (b *logbook) all() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.lines)
}

// wait returns when a line from number from on has text in it, with the number
// of the next line.
func (b *logbook) wait(t *testing.T, from int, text string) int {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		b.mu.Lock()
		for ; from < len(b.lines); from++ {
			if strings.Contains(b.lines[from], text) {
				b.mu.Unlock()
				return from + 1
			}
		}
		moved := b.moved
		b.mu.Unlock()
		select {
		case <-moved:
		case <-deadline:
			t.Fatalf("no %q in the log:\n%s", text, strings.Join(b.all(), "\n"))
		}
	}
}

// fakeEngine is a set of checks whose results the test says.
type fakeEngine struct {
	mu      sync.Mutex
	targets []*healthcheck.Target
	state   map[string]bool // by server
	poked   chan struct{}
	sets    int
	off     []bool
	closed  bool
	runErr  chan error
}

func newFakeEngine() *fakeEngine {
	return &fakeEngine{state: map[string]bool{}, poked: make(chan struct{}, 100), runErr: make(chan error, 1)}
}

func (e *fakeEngine) Set(targets []*healthcheck.Target) ([]healthcheck.Status, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range targets {
		if err := targets[i].Validate(); err != nil {
			return nil, err
		}
	}
	e.targets = targets
	e.sets++
	return e.status(), nil
}

func (e *fakeEngine) status() []healthcheck.Status {
	status := make([]healthcheck.Status, len(e.targets))
	for i, target := range e.targets {
		up, known := e.state[target.Server]
		status[i] = healthcheck.Status{Up: up || !known && !target.Spec.Timing.Alpha, Known: known}
	}
	return status
}

func (e *fakeEngine) Status() []healthcheck.Status {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.status()
}

func (e *fakeEngine) Run(ctx context.Context, sink func([]healthcheck.Event)) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-e.runErr:
			return err
		case <-e.poked:
			sink(nil)
		}
	}
}

func (e *fakeEngine) Late() time.Duration { return 7 * time.Millisecond }

func (e *fakeEngine) Suspend(off []bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.off = slices.Clone(off)
}

// Session turns the servers whose BFD_CHECK follows the session.
func (e *fakeEngine) Session(name string, up bool) {
	e.mu.Lock()
	for _, t := range e.targets {
		if b := t.Spec.BFD; b != nil && b.Session == name {
			e.state[t.Server] = up
		}
	}
	e.mu.Unlock()
	e.poked <- struct{}{}
}

func (e *fakeEngine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	return nil
}

// turn says what the checks of a server find from now on.
func (e *fakeEngine) turn(server string, up bool) {
	e.mu.Lock()
	e.state[server] = up
	e.mu.Unlock()
	e.poked <- struct{}{}
}

// fakeProcess is a child in a goroutine of the test.
type fakeProcess struct {
	conn    *supervise.Conn
	signals chan os.Signal
	exit    chan supervise.Exit
}

func startFake(a *app, k *kind, o *options, text []byte) (process, error) {
	near, far, err := supervise.Pair()
	if err != nil {
		return nil, err
	}
	conn, err := supervise.NewConn(far)
	if err != nil {
		return nil, err
	}
	p := &fakeProcess{conn: near, signals: make(chan os.Signal, 16), exit: make(chan supervise.Exit, 1)}
	go func() {
		p.exit <- supervise.Exit{Code: a.childRun(context.Background(), o, k.name, conn, p.signals, text)}
	}()
	return p, nil
}

func (p *fakeProcess) Pid() int                 { return os.Getpid() }
func (p *fakeProcess) Conn() *supervise.Conn    { return p.conn }
func (p *fakeProcess) Signal(s os.Signal) error { p.signals <- s; return nil }
func (p *fakeProcess) Wait() supervise.Exit     { return <-p.exit }

// testDaemon is a program on a fake kernel with fake checks.
type testDaemon struct {
	t        *testing.T
	app      *app
	table    *ipvstest.Table
	checks   *fakeEngine
	log      *logbook
	signals  chan os.Signal
	retry    chan time.Time
	tick     chan time.Time
	file     string
	pid      string
	childPID string
	code     chan int
	seen     int // lines of the log that wait has passed
}

var noSyslog = func(string, int) (logline.Writer, error) { return nil, errors.New("no syslog here") }

func testApp(stdout, stderr io.Writer) *app {
	return &app{
		hasLink: func(name string) bool { return name != "nosuch0" },
		stdout:  stdout, stderr: stderr,
		config:         config.Options{Ephemeral: func() (config.Ephemeral, error) { return config.Ephemeral{}, nil }},
		load:           func(context.Context) error { return errors.New("no module here") },
		syslog:         noSyslog,
		now:            time.Now,
		localAddresses: func() (map[netip.Addr]bool, error) { return nil, nil },
		kinds:          kinds(),
		embody:         func(birth) error { return nil },
		detach:         func() (int, error) { return 1, errors.New("no background here") },
	}
}

func newDaemon(t *testing.T, table *ipvstest.Table, conf string) *testDaemon {
	t.Helper()
	dir := t.TempDir()
	d := &testDaemon{
		t: t, table: table, checks: newFakeEngine(), log: newLogbook(),
		signals: make(chan os.Signal), retry: make(chan time.Time), tick: make(chan time.Time),
		file: filepath.Join(dir, "k.conf"), pid: filepath.Join(dir, "pid"), childPID: filepath.Join(dir, "checkers.pid"),
		code: make(chan int, 1),
	}
	d.app = testApp(io.Discard, d.log)
	d.app.dial = func(context.Context, string) (kernel, error) { return d.table, nil }
	d.app.engine = func(*slog.Logger, *atomic.Pointer[notify.Policy], *config.Processes) (engine, error) {
		return d.checks, nil
	}
	d.app.signals = func(bool) (<-chan os.Signal, func()) { return d.signals, func() {} }
	d.app.start = func(k *kind, o *options, _ string, text []byte) (process, error) {
		return startFake(d.app, k, o, text)
	}
	d.app.after = func(time.Duration) <-chan time.Time { return d.retry }
	d.app.every = func(time.Duration) (<-chan time.Time, func()) { return d.tick, func() {} }
	d.write(conf)
	return d
}

func (d *testDaemon) write(conf string) {
	d.t.Helper()
	if err := os.WriteFile(d.file, []byte(conf), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// run starts the daemon and does not wait.
func (d *testDaemon) run(args ...string) {
	args = append([]string{"keepalived", "-n", "-l", "-f", d.file, "-p", d.pid, "-c", d.childPID}, args...)
	go func() { d.code <- d.app.run(context.Background(), args) }()
	d.t.Cleanup(func() {
		select {
		case d.signals <- syscall.SIGTERM:
		case <-time.After(time.Millisecond):
		}
	})
}

func (d *testDaemon) wait(text string) {
	d.t.Helper()
	d.seen = d.log.wait(d.t, d.seen, text)
}

// waitAll waits for lines in any order: each process writes its own when it can.
func (d *testDaemon) waitAll(texts ...string) {
	d.t.Helper()
	from := d.seen
	for _, text := range texts {
		d.seen = max(d.seen, d.log.wait(d.t, from, text))
	}
}

// start runs the daemon until it is up.
func (d *testDaemon) start(args ...string) {
	d.t.Helper()
	d.run(args...)
	d.wait(msgStarted)
}

func (d *testDaemon) reload(conf, until string) {
	d.t.Helper()
	d.write(conf)
	d.signals <- syscall.SIGHUP
	d.wait(until)
}

// ends waits for the end with this exit code.
func (d *testDaemon) ends(code int) {
	d.t.Helper()
	select {
	case got := <-d.code:
		if got != code {
			d.t.Errorf("exit code %d, want %d; log:\n%s", got, code, strings.Join(d.log.all(), "\n"))
		}
	case <-time.After(time.Minute):
		d.t.Fatalf("the daemon does not end; log:\n%s", strings.Join(d.log.all(), "\n"))
	}
}

func (d *testDaemon) stop() {
	d.t.Helper()
	d.signals <- syscall.SIGTERM
	d.ends(exitOK)
}

// holds waits until the tables are want.
func (d *testDaemon) holds(want string) {
	d.t.Helper()
	for range 12_000 {
		if d.table.String() == want {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	d.t.Fatalf("tables:\n%swant:\n%s", d.table.String(), want)
}
