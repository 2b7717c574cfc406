// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"io"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// deaf returns an address whose listener never answers a SYN: its backlog is
// full.
func deaf(t testing.TB) netip.AddrPort {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(sa.(*syscall.SockaddrInet4).Port))
	for {
		c, err := net.DialTimeout("tcp", addr.String(), 200*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { c.Close() })
	}
}

// unused returns an address nobody listens on.
func unused(t testing.TB) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func hold(c net.Conn) { io.Copy(io.Discard, c) }

// TestTCP checks servers that live, refuse, and never answer.
func TestTCP(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{Shards: 1})
	alive, alive6 := server(t, "127.0.0.1:0", hold), server(t, "[::1]:0", hold)
	refusing, mute := unused(t), deaf(t)
	alpha := quick
	alpha.Alpha = true
	got, err := r.Set([]Target{
		tcpTarget(alive, quick), tcpTarget(alive6, alpha), tcpTarget(refusing, quick), tcpTarget(mute, hasty),
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []Status{{Up: true}, {Up: false}, {Up: true}, {Up: true}}; !slices.Equal(got, want) {
		t.Errorf("states before the first run %v, want %v", got, want)
	}
	events := []string{r.next(t), r.next(t), r.next(t)}
	slices.Sort(events)
	want := []string{"DOWN " + name(refusing), "DOWN " + name(mute), "UP " + name(alive6)}
	slices.Sort(want)
	if !slices.Equal(events, want) {
		t.Errorf("events %v, want %v", events, want)
	}
	r.quiet(t, 200*time.Millisecond)
	lines := r.log.lines()
	slices.Sort(lines)
	wantLines := []string{
		"TCP connection to " + name(alive) + " success.",
		"TCP connection to " + name(alive6) + " success.",
		"TCP connection to " + name(refusing) + " failed.",
		"TCP_CHECK on service " + name(refusing) + " failed.",
		"TCP connection to " + name(mute) + " timeout.",
		"TCP_CHECK on service " + name(mute) + " failed.",
	}
	slices.Sort(wantLines)
	if !slices.Equal(lines, wantLines) {
		t.Errorf("log\n got %q\nwant %q", lines, wantLines)
	}
}

// TestTCPDownAndBack: a server that goes away is retried, reported once, and
// comes back with its first answer.
func TestTCPDownAndBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{Shards: 1, Reset: true})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().(*net.TCPAddr).AddrPort()
	timing := quick
	timing.Retry = 3
	if _, err := r.Set([]Target{tcpTarget(addr, timing)}); err != nil {
		t.Fatal(err)
	}
	await(t, "runs", func() bool { return r.Stats().Runs > 2 })
	l.Close()
	if ev := r.next(t); ev != "DOWN "+name(addr) {
		t.Errorf("event %s", ev)
	}
	if n := r.Stats().Failures; n != 4 {
		t.Errorf("reported after %d failures, want 4: one and three retries", n)
	}
	if l, err = net.Listen("tcp", addr.String()); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if ev := r.next(t); ev != "UP "+name(addr) {
		t.Errorf("event %s", ev)
	}
	want := []string{
		"TCP connection to " + name(addr) + " success.", // the first time, although it was taken for that
		"TCP connection to " + name(addr) + " failed.",
		"TCP_CHECK on service " + name(addr) + " failed after 3 retries.",
		"TCP connection to " + name(addr) + " success.",
	}
	if got := r.log.lines(); !slices.Equal(got, want) {
		t.Errorf("log\n got %q\nwant %q", got, want)
	}
}

// TestLogAllFailures: with it each failure has its line, without it only the
// one that counts.
func TestLogAllFailures(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{Shards: 1})
	addr := unused(t)
	timing := quick
	timing.LogAllFailures = true
	if _, err := r.Set([]Target{tcpTarget(addr, timing)}); err != nil {
		t.Fatal(err)
	}
	await(t, "five lines", func() bool { return len(r.log.lines()) >= 5 })
	for i, line := range r.log.lines() {
		want := "TCP connection to " + name(addr) + " failed."
		if i == 1 {
			want = "TCP_CHECK on service " + name(addr) + " failed."
		}
		if line != want {
			t.Errorf("line %d is %q, want %q", i, line, want)
		}
	}
}

// TestBind: the server sees the check come from bindto, and from bind_port.
func TestBind(t *testing.T) {
	t.Parallel()
	from := make(chan netip.AddrPort, 100)
	addr := server(t, "127.0.0.1:0", func(c net.Conn) {
		from <- c.RemoteAddr().(*net.TCPAddr).AddrPort()
		hold(c)
	})
	port := unused(t).Port()
	for _, bind := range []netip.AddrPort{
		netip.AddrPortFrom(netip.MustParseAddr("127.0.0.77"), 0),
		netip.AddrPortFrom(netip.MustParseAddr("127.0.0.78"), port),
		netip.AddrPortFrom(netip.Addr{}, port),
	} {
		r := newRig(t, Options{Shards: 1, Reset: true})
		target := tcpTarget(addr, quick)
		target.Spec.Conn.Bind = bind
		if _, err := r.Set([]Target{target}); err != nil {
			t.Fatal(err)
		}
		got := <-from
		if bind.Addr().IsValid() && got.Addr() != bind.Addr() || bind.Port() != 0 && got.Port() != bind.Port() {
			t.Errorf("bound to %v the check came from %v", bind, got)
		}
		if _, err := r.Set(nil); err != nil {
			t.Fatal(err)
		}
		for len(from) > 0 {
			<-from
		}
	}
}

// TestLocalTrouble: an address that is not on this host says nothing about
// the server. It is logged once and the server stays up.
func TestLocalTrouble(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{Shards: 1})
	target := tcpTarget(unused(t), quick)
	target.Spec.Conn.Bind = netip.AddrPortFrom(netip.MustParseAddr("192.0.2.99"), 0)
	if _, err := r.Set([]Target{target}); err != nil {
		t.Fatal(err)
	}
	await(t, "postponed runs", func() bool { return r.Stats().Postponed > 5 })
	r.quiet(t, 50*time.Millisecond)
	want := "TCP_CHECK on service " + target.Server + " not run: bind: cannot assign requested address. Rescheduling."
	if got := r.log.lines(); len(got) != 1 || got[0] != want {
		t.Errorf("log %q, want %q once", got, want)
	}
	if n := r.Stats().Failures; n != 0 {
		t.Errorf("%d failures counted", n)
	}
}

// TestDescriptorsRunOut: a process without descriptors must not take its
// servers for dead.
func TestDescriptorsRunOut(t *testing.T) {
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	mute, refusing := deaf(t), unused(t)
	r := newRig(t, Options{Shards: 1})
	none := before
	none.Cur = 3 // below what is open already
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	restore := func() { syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before) }
	t.Cleanup(restore)
	if _, err := r.Set([]Target{tcpTarget(mute, hasty), tcpTarget(refusing, quick)}); err != nil {
		t.Fatal(err)
	}
	await(t, "postponed runs", func() bool { return r.Stats().Postponed > 5 })
	r.quiet(t, 50*time.Millisecond)
	restore()
	got := []string{r.next(t), r.next(t)}
	if r.Stats().Failures < 2 {
		t.Errorf("events %v without failures", got)
	}
}

// TestReset: the server sees a reset, which leaves no TIME_WAIT behind, or a
// clean end, as the option says.
func TestReset(t *testing.T) {
	t.Parallel()
	for _, reset := range []bool{true, false} {
		var resets, ends atomic.Int64
		addr := server(t, "127.0.0.1:0", func(c net.Conn) {
			if _, err := c.Read(make([]byte, 1)); err == io.EOF {
				ends.Add(1)
			} else {
				resets.Add(1)
			}
		})
		r := newRig(t, Options{Shards: 1, Reset: reset})
		if _, err := r.Set([]Target{tcpTarget(addr, quick)}); err != nil {
			t.Fatal(err)
		}
		await(t, "connections", func() bool { return resets.Load()+ends.Load() >= 5 })
		if reset && ends.Load() > 0 || !reset && resets.Load() > 0 {
			t.Errorf("reset %v: server saw %d resets and %d clean ends", reset, resets.Load(), ends.Load())
		}
	}
}
