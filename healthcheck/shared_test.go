// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestMerged: what many services ask of one server is asked once, told to all of
// them and logged once; what differs in anything is asked for itself.
func TestMerged(t *testing.T) {
	s := newStill(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().(*net.TCPAddr).AddrPort()
	l.Close() // nobody is there
	timing := Timing{DelayLoop: time.Minute, ConnectTimeout: time.Second}
	list := make([]Target, 5)
	for i := range list {
		list[i] = tcpTarget(at, timing)
		list[i].Service = string(rune('a' + i))
	}
	list[3].Spec.Timing.Retry = 3
	list[4].Spec.Conn.FwMark = 1
	s.set(list...)
	if n := len(s.checks); n != 3 {
		t.Fatalf("%d checks for %d targets, want 3", n, len(list))
	}
	list = list[:3]
	s.set(list...)
	for range 1000 {
		if s.pass(50 * time.Millisecond); s.Stats().Failures > 0 {
			break
		}
	}
	var services []string
	for _, ev := range s.queue.take() {
		services = append(services, ev.Service)
	}
	slices.Sort(services)
	if st := s.Stats(); !slices.Equal(services, []string{"a", "b", "c"}) || st.Runs != 1 || len(s.log.lines()) != 2 {
		t.Errorf("told %v after %d runs; log %q", services, st.Runs, s.log.lines())
	}
	if got, err := s.Set(list[1:]); err != nil || len(got) != 2 || got[0].Up || got[1].Up {
		t.Errorf("states %v %v, want both down", got, err)
	}
	// The timing of one changes: the state goes with those that stay together.
	moved := list[1]
	moved.Spec.Timing.Retry = 9
	if got, err := s.Set([]Target{list[2], moved}); err != nil || got[0].Up || !got[1].Up || len(s.checks) != 2 {
		t.Errorf("after a split: %v %v, %d checks", got, err, len(s.checks))
	}
	list[2].Spec.Timing.Retry = 5
	if got, err := s.Set(list[2:]); err != nil || got[0].Up {
		t.Errorf("an edited timing has lost its state: %v %v", got, err)
	}
}

// TestSuspend: a check that rests asks nothing, keeps its state, and goes on.
func TestSuspend(t *testing.T) {
	s := newStill(t)
	var asked atomic.Int32
	timing := Timing{DelayLoop: time.Second, ConnectTimeout: time.Second}
	a := tcpTarget(server(t, "127.0.0.1:0", func(net.Conn) { asked.Add(1) }), timing)
	b := tcpTarget(deaf(t), timing)
	b.Spec.Timing.ConnectTimeout = time.Hour
	s.set(a, b)
	s.pass(2 * time.Second)
	s.Suspend([]bool{true, true})
	s.pass(time.Millisecond)
	if n := s.Stats().InFlight; n != 0 {
		t.Errorf("%d runs in flight while all rest", n)
	}
	// All runs but that of b have been seen by the server.
	await(t, "the probes", func() bool { n := asked.Load(); return n > 0 && uint64(n) == s.Stats().Runs-1 })
	before := asked.Load()
	s.pass(time.Minute)
	if asked.Load() != before {
		t.Error("a check that rests has asked")
	}
	s.Suspend([]bool{false, true})
	s.pass(time.Millisecond)
	s.pass(3 * time.Second)
	await(t, "a probe after the rest", func() bool { return asked.Load() > before })
	if log := strings.Join(s.log.lines(), "\n"); strings.Count(log, "Suspending healthchecker") != 1 || strings.Count(log, "Deactivating healthchecker") != 1 {
		t.Errorf("log: %q", s.log.lines())
	}
	// Who shares a check with one that does not rest is served by it.
	c := a
	c.Service = "another"
	s.set(a, c)
	s.Suspend([]bool{true, false})
	s.pass(time.Millisecond)
	before = asked.Load()
	s.pass(3 * time.Second)
	await(t, "a probe for the other", func() bool { return asked.Load() > before })
}

// TestProxyProtocol: the header goes out first, in TCP_CHECK, in HTTP_GET and
// before a handshake.
func TestProxyProtocol(t *testing.T) {
	headers := map[uint8]string{1: "PROXY UNKNOWN\r\n", 2: "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"}
	for version, header := range headers {
		for kind, after := range map[Kind]string{TCPCheck: "", HTTPGet: "GET ", SSLGet: "\x16\x03\x01"} {
			heard := make(chan string, 100)
			want := len(header) + len(after)
			at := server(t, "127.0.0.1:0", func(c net.Conn) {
				buf := make([]byte, len(header)+4)
				n, _ := io.ReadAtLeast(c, buf, want)
				select {
				case heard <- string(buf[:n]):
				default:
				}
				io.WriteString(c, "HTTP/1.0 200 OK\r\n\r\n")
				c.(*net.TCPConn).CloseWrite()
				io.Copy(io.Discard, c)
			})
			r := newRig(t, Options{Shards: 1})
			target := httpTarget(at, quick, URL{Path: "/"})
			target.Spec.Kind, target.Spec.TLS, target.Spec.Conn.Proxy = kind, &TLS{}, version
			if _, err := r.Set([]Target{target}); err != nil {
				t.Fatal(err)
			}
			if got := <-heard; !strings.HasPrefix(got, header+after) {
				t.Errorf("%s, version %d: heard %q", kind, version, got)
			}
			if kind != SSLGet {
				await(t, "a good result", func() bool { st := r.Status()[0]; return st.Known && st.Up })
			}
		}
	}
}

// TestFileCheck: the number in a file decides at once, however it is replaced.
func TestFileCheck(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "number")
	target := Target{Service: "v", Server: "[192.0.2.1]:tcp:80", Spec: Spec{Kind: FileCheck, File: &File{Path: path},
		Timing: Timing{DelayLoop: time.Hour, ConnectTimeout: time.Second}}}
	weighted := target
	weighted.Server = "[192.0.2.2]:tcp:80"
	weighted.Spec.File = &File{Path: path, Weight: 2, Reverse: true}
	r := newRig(t, Options{Shards: 1})
	if _, err := r.Set([]Target{target, weighted}); err != nil {
		t.Fatal(err)
	}
	is := func(up bool, weightedUp bool, adds int) func() bool {
		return func() bool {
			s := r.Status()
			return s[0].Known && s[1].Known && s[0].Up == up && s[1].Up == weightedUp && (!weightedUp || s[1].Adds == adds)
		}
	}
	await(t, "a missing file, which counts as 0", is(true, true, 0))
	write := func(text string) {
		t.Helper()
		tmp := filepath.Join(dir, "tmp")
		if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(tmp, path); err != nil {
			t.Fatal(err)
		}
	}
	write("7\n")
	await(t, "7", is(false, true, -14))
	write("-3")
	await(t, "-3", is(false, true, 6))
	write("99999")
	await(t, "a product at the limit", is(false, false, 0))
	write("-99999")
	await(t, "a product beyond the other limit", is(false, true, 65534))
	write("what")
	await(t, "no number", is(true, true, 0))
	if err := os.WriteFile(path, []byte("1"), 0o600); err != nil { // in place
		t.Fatal(err)
	}
	await(t, "1", is(false, true, -2))
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	await(t, "a file that is gone", is(true, true, 0))
}

// TestSharedGoesOn: a check goes on for the service that is left, and tells that one.
func TestSharedGoesOn(t *testing.T) {
	s := newStill(t)
	timing := Timing{DelayLoop: time.Minute, ConnectTimeout: time.Second}
	first := tcpTarget(unused(t), timing)
	second := first
	first.Service, second.Service = "first", "second"
	s.set(first, second)
	s.set(second)
	if n := len(s.checks); n != 1 || s.others != nil {
		t.Fatalf("%d checks, others %v", n, s.others)
	}
	for range 1000 {
		if s.pass(50 * time.Millisecond); s.Stats().Failures > 0 {
			break
		}
	}
	if events := s.queue.take(); len(events) != 1 || events[0].Service != "second" {
		t.Errorf("told %v", events)
	}
}
