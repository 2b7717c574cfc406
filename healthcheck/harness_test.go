// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// logbook collects log lines.
type logbook struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logbook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// lines returns the messages so far, but those about activation.
func (b *logbook) lines() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []string
	for line := range strings.Lines(b.buf.String()) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "Activating ") {
			out = append(out, line)
		}
	}
	return out
}

// plain is a slog handler that writes nothing but messages.
type plain struct{ *logbook }

func (plain) Enabled(context.Context, slog.Level) bool { return true }
func (p plain) WithAttrs([]slog.Attr) slog.Handler     { return p }
func (p plain) WithGroup(string) slog.Handler          { return p }
func (p plain) Handle(_ context.Context, r slog.Record) error {
	_, err := fmt.Fprintln(p, r.Message)
	return err
}

// rig is an engine at work, and what it said.
type rig struct {
	*Engine
	log    *logbook
	events chan Event
}

// newRig runs an engine on one loop until the test ends.
func newRig(t testing.TB, o Options) *rig {
	t.Helper()
	r := &rig{log: new(logbook), events: make(chan Event, 100)}
	o.Log = slog.New(plain{r.log})
	var err error
	if r.Engine, err = New(o); err != nil {
		t.Fatal(err)
	}
	r.runUntilEnd(t)
	return r
}

// pointers are targets for an engine, which keeps them.
func pointers(targets []Target) []*Target {
	list := make([]*Target, len(targets))
	for i, t := range targets {
		t.hash = 0 // it may be another one than before
		list[i] = &t
	}
	return list
}

// Set gives the engine targets that the test may go on to change.
func (r *rig) Set(targets []Target) ([]Status, error) { return r.Engine.Set(pointers(targets)) }

// runUntilEnd runs the engine until the test ends, and then looks after what
// is left.
func (r *rig) runUntilEnd(t testing.TB) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- r.Run(ctx, func(events []Event) {
			for _, ev := range events {
				r.events <- ev
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if n := r.Stats().InFlight; n != 0 {
			t.Errorf("%d sockets are left open", n)
		}
	})
}

// next returns the next event, as "UP" or "DOWN" and the server's name.
func (r *rig) next(t testing.TB) string {
	t.Helper()
	select {
	case ev := <-r.events:
		if ev.Up {
			return "UP " + ev.Server
		}
		return "DOWN " + ev.Server
	case <-time.After(patience):
		t.Fatalf("no event; log: %q", r.log.lines())
		return ""
	}
}

// quiet fails the test if there is an event within d.
func (r *rig) quiet(t testing.TB, d time.Duration) {
	t.Helper()
	select {
	case ev := <-r.events:
		t.Fatalf("unexpected event %+v", ev)
	case <-time.After(d):
	}
}

// await fails the test if cond does not become true.
func await(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited in vain: " + what)
		}
	}
}

// quick is a timing for tests, with a second's delay before the first run
// that no timing can shorten.
var quick = Timing{
	DelayLoop:        20 * time.Millisecond,
	DelayBeforeRetry: 10 * time.Millisecond,
	ConnectTimeout:   10 * time.Second,
	Retry:            1,
}

// hasty is quick for servers that do not answer. Those that do get the longer
// timeout: this host may be busy, and it is they that would be late.
var hasty = Timing{
	DelayLoop:        20 * time.Millisecond,
	DelayBeforeRetry: 10 * time.Millisecond,
	ConnectTimeout:   300 * time.Millisecond,
	Retry:            1,
}

// patience is how long a test waits for what must come.
const patience = time.Minute

// server listens and hands each connection to serve, in its own goroutine,
// until the test ends.
func server(t testing.TB, addr string, serve func(net.Conn)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[c] = true
			mu.Unlock()
			all.Go(func() {
				serve(c)
				mu.Lock()
				delete(open, c)
				mu.Unlock()
				c.Close()
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for c := range open {
			c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// name is how keepalived would write a server.
func name(a netip.AddrPort) string { return fmt.Sprintf("[%s]:tcp:%d", a.Addr(), a.Port()) }

func tcpTarget(a netip.AddrPort, timing Timing) Target {
	return Target{
		Service: "[192.0.2.1]:tcp:80",
		Server:  name(a),
		Spec:    Spec{Kind: TCPCheck, Conn: Conn{Addr: a}, Timing: timing},
	}
}

func httpTarget(a netip.AddrPort, timing Timing, urls ...URL) Target {
	t := tcpTarget(a, timing)
	t.Spec.Kind, t.Spec.HTTP.URLs = HTTPGet, urls
	return t
}
