// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/internal/poll"
)

// still is an engine on one loop that nobody runs, with a clock that moves by
// hand: the test turns the loop itself.
type still struct {
	*Engine
	t   testing.TB
	now time.Time
	log *logbook
}

func newStill(t testing.TB) *still {
	t.Helper()
	s := &still{t: t, now: time.Unix(1000, 0), log: new(logbook)}
	e, err := New(Options{Shards: 1, Log: slog.New(plain{s.log}), Clock: func() time.Time { return s.now }})
	if err != nil {
		t.Fatal(err)
	}
	s.Engine = e
	t.Cleanup(func() { e.Close() })
	return s
}

// pass moves the clock on and does what is due.
func (s *still) pass(d time.Duration) {
	s.t.Helper()
	for end := s.now.Add(d); s.now.Before(end); {
		s.now = s.now.Add(min(50*time.Millisecond, end.Sub(s.now)))
		if err := s.shards[0].loop.Turn(0); err != nil {
			s.t.Fatal(err)
		}
	}
}

// Set gives the engine targets that the test may go on to change.
func (s *still) Set(targets []Target) ([]Status, error) { return s.Engine.Set(pointers(targets)) }

func (s *still) set(targets ...Target) []Status {
	s.t.Helper()
	status, err := s.Set(targets)
	if err != nil {
		s.t.Fatal(err)
	}
	s.pass(50 * time.Millisecond)
	return status
}

// TestFirstRunsAreSpread: new checks begin after a second and evenly over
// their warmup, in each part of it.
func TestFirstRunsAreSpread(t *testing.T) {
	s := newStill(t)
	addr := unused(t)
	timing := Timing{DelayLoop: time.Hour, ConnectTimeout: time.Second, Warmup: 10 * time.Second}
	var targets []Target
	for i := range 1000 {
		target := tcpTarget(addr, timing)
		target.Spec.Conn.FwMark = 0
		target.Server = strings.Repeat("x", i)
		targets = append(targets, target)
	}
	s.set(targets...)
	s.pass(900 * time.Millisecond)
	if n := s.Stats().Runs; n != 0 {
		t.Errorf("%d checks began within the first second", n)
	}
	s.pass(50 * time.Millisecond)
	for second := range 10 {
		before := s.Stats().Runs
		s.pass(time.Second)
		if n := s.Stats().Runs - before; n < 90 || n > 110 {
			t.Errorf("%d of 1000 checks began in second %d, want about 100", n, second+1)
		}
	}
	s.pass(time.Second)
	if n := s.Stats().Runs; n != 1000 {
		t.Errorf("%d checks began in all, want 1000", n)
	}
}

// TestSeed: engines of one seed begin at the same times.
func TestSeed(t *testing.T) {
	phase := func(seed uint32) float64 {
		e, err := New(Options{Shards: 1, Seed: &seed})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		return e.phase
	}
	if a, b, other := phase(7), phase(7), phase(8); a != b || a == other {
		t.Errorf("%v and %v, with another seed %v", a, b, other)
	}
}

// TestSetKeepsUnchanged: a reload leaves the state and the timer of a check
// that is still there alone, whatever its place in the list.
func TestSetKeepsUnchanged(t *testing.T) {
	s := newStill(t)
	timing := Timing{DelayLoop: time.Minute, ConnectTimeout: time.Second, Warmup: 0}
	a, b, c := tcpTarget(unused(t), timing), tcpTarget(unused(t), timing), tcpTarget(unused(t), timing)
	s.set(a, b)
	s.pass(5 * time.Second) // both have run, failed, and wait a minute
	if n := s.Stats().Runs; n != 2 {
		t.Fatalf("%d runs, want 2", n)
	}
	s.pass(50 * time.Second)
	got := s.set(c, b)
	if want := []Status{{Up: true}, {Up: false, Known: true}}; !slices.Equal(got, want) {
		t.Errorf("states after reload %v, want %v", got, want)
	}
	s.pass(4 * time.Second)
	if n := s.Stats().Runs; n != 3 {
		t.Errorf("%d runs, want 3: of those only the new check ran", n)
	}
	if got, want := s.Status(), []Status{{Known: true}, {Known: true}}; !slices.Equal(got, want) {
		t.Errorf("Status %v, want %v", got, want)
	}
	s.pass(5 * time.Second)
	if n := s.Stats().Runs; n != 4 {
		t.Errorf("%d runs, want 4: the kept check ran at its old time, the removed one not", n)
	}
}

// TestSetTiming: a check whose timing is edited keeps its state, and does not
// wait for the old interval.
func TestSetTiming(t *testing.T) {
	s := newStill(t)
	timing := Timing{DelayLoop: time.Hour, ConnectTimeout: time.Second}
	a := tcpTarget(unused(t), timing)
	s.set(a)
	s.pass(2 * time.Second)
	a.Spec.Timing.DelayLoop = 5 * time.Second
	if got := s.set(a); got[0] != (Status{Up: false, Known: true}) {
		t.Errorf("state after the edit %v", got)
	}
	s.pass(12 * time.Second)
	if n := s.Stats().Runs; n < 3 || n > 4 {
		t.Errorf("%d runs, want 3 or 4", n)
	}
}

// TestSetAgain: a check that was taken out and comes back begins anew, and
// events of its former life are not delivered.
func TestSetAgain(t *testing.T) {
	s := newStill(t)
	a := tcpTarget(unused(t), Timing{DelayLoop: time.Minute, ConnectTimeout: time.Second})
	s.set(a, a) // twice is once
	s.pass(2 * time.Second)
	if n := s.Stats().Runs; n != 1 {
		t.Errorf("%d runs, want 1", n)
	}
	s.set()
	if got := s.set(a); got[0] != (Status{Up: true}) {
		t.Errorf("state %v, want that of a check that has not run", got[0])
	}
	if events := s.queue.take(); len(events) != 0 {
		t.Errorf("events of a removed check: %v", events)
	}
	s.pass(2 * time.Second)
	if events := s.queue.take(); len(events) != 1 || events[0].Up || events[0].Server != a.Server {
		t.Errorf("events %v, want one", events)
	}
}

// TestSetInTurns: however much a reload changes, the loop gets back to its checks in
// between; what comes after it waits for its turn.
func TestSetInTurns(t *testing.T) {
	s := newStill(t)
	shard, n := s.shards[0], 5*errandsPerTurn/2
	list := make([]Target, n)
	for i := range list {
		list[i] = tcpTarget(netip.AddrPortFrom(scaleAddr(i), 80), Timing{DelayLoop: time.Hour, ConnectTimeout: time.Second, Warmup: time.Hour})
	}
	armed := func(checks []*check) (k int) {
		for _, c := range checks {
			if c.timer.Armed() {
				k++
			}
		}
		return k
	}
	turn := func() {
		t.Helper()
		if err := shard.loop.Turn(0); err != nil {
			t.Fatal(err)
		}
	}
	set := func(list []Target) {
		t.Helper()
		if _, err := s.Engine.Set(pointers(list)); err != nil {
			t.Fatal(err)
		}
	}
	set(list)
	for _, want := range []int{errandsPerTurn, 2 * errandsPerTurn, n, n} {
		turn()
		if got := armed(s.checks); got != want {
			t.Fatalf("%d of %d checks are planned, want %d", got, n, want)
		}
	}
	all := s.checks
	set(nil)
	set(list)
	s.Suspend(slices.Repeat([]bool{true}, n))
	for range 3*n/errandsPerTurn + 1 {
		turn()
	}
	if got := armed(all); got != 0 {
		t.Errorf("%d of %d checks that are gone are planned", got, n)
	}
	for _, c := range s.order {
		if c.timer.Armed() || !c.suspended {
			t.Fatalf("%s does not rest as it was told after it had been added", c.target.Server)
		}
	}
}

// TestSetInFlight: a check that is removed while it runs closes its socket.
func TestSetInFlight(t *testing.T) {
	s := newStill(t)
	s.set(tcpTarget(deaf(t), Timing{DelayLoop: time.Minute, ConnectTimeout: 30 * time.Second}))
	s.pass(2 * time.Second)
	if n := s.Stats().InFlight; n != 1 {
		t.Fatalf("%d runs in flight, want 1", n)
	}
	s.set()
	if n := s.Stats().InFlight; n != 0 {
		t.Errorf("%d runs in flight after removal", n)
	}
}

// answered waits until each run in flight can go on; one that reads, until all of the
// answer is there and its end.
func (s *still) answered() {
	s.t.Helper()
	for _, c := range s.checks {
		want := c.awaited()
		if want == poll.In {
			want = syscall.EPOLLRDHUP // which poll knows by the same number
		}
		await(s.t, "an answer to "+c.target.Server, func() bool { return c.fd < 0 || poll.Pending(int(c.fd), want) != 0 })
	}
}

// TestStall is the decisive case: this process stands still for longer than
// the timeout while healthy servers answer. None may be called dead.
func TestStall(t *testing.T) {
	s := newStill(t)
	timing := Timing{DelayLoop: time.Minute, ConnectTimeout: time.Second}
	tcp := tcpTarget(server(t, "127.0.0.1:0", hold), timing)
	body := strings.Repeat("y", 40_000) // fits into the socket
	web := httpTarget(server(t, "127.0.0.1:0", reply("HTTP/1.0 200 OK\r\n\r\n"+body)), timing,
		URL{Path: "/", Digest: md5hex(body)})
	s.set(tcp, web)
	for round := range 5 {
		// Each turn comes an hour late, with timers due as well as answers.
		for range 6 {
			s.now = s.now.Add(time.Hour)
			if err := s.shards[0].loop.Turn(0); err != nil {
				t.Fatal(err)
			}
			s.answered()
		}
		if n := s.Stats().Failures; n != 0 {
			t.Fatalf("round %d: %d false failures in %d runs; log %q", round, n, s.Stats().Runs, s.log.lines())
		}
	}
	if n := s.Stats().Runs; n < 10 {
		t.Errorf("only %d runs", n)
	}
}

// TestExpireLooksAgain: even when the loop has not seen the answer, the
// timeout itself looks at the socket before it gives up.
func TestExpireLooksAgain(t *testing.T) {
	s := newStill(t)
	a := tcpTarget(server(t, "127.0.0.1:0", hold), Timing{DelayLoop: time.Minute, ConnectTimeout: time.Second})
	s.set(a)
	c := s.checks[0]
	s.shards[0].loop.Stop(&c.timer)
	c.Expire() // starts
	s.answered()
	s.shards[0].loop.Stop(&c.timer)
	c.Expire() // times out, with the answer there
	if st := s.Stats(); st.Failures != 0 || st.Rescued != 1 || !c.state.up || !c.state.hasRun {
		t.Errorf("stats %+v, state %+v; want one rescue and no failure", st, c.state)
	}
}

// TestValidate: each bad target is refused with its names, the place and the
// remedy, and changes nothing.
func TestValidate(t *testing.T) {
	good := tcpTarget(netip.MustParseAddrPort("192.0.2.7:80"), quick)
	web := httpTarget(netip.MustParseAddrPort("192.0.2.7:80"), quick, URL{Path: "/"})
	for _, tt := range []struct {
		base Target
		edit func(*Spec)
		want string
	}{
		{good, func(s *Spec) { s.Kind = 99 }, "no such kind"},
		{good, func(s *Spec) { s.Conn.Addr = netip.AddrPort{} }, "connect_ip"},
		{good, func(s *Spec) { s.Conn.Addr = netip.MustParseAddrPort("192.0.2.7:0") }, "connect_port"},
		{good, func(s *Spec) { s.Conn.Bind = netip.MustParseAddrPort("[::1]:0") }, "bindto ::1"},
		{good, func(s *Spec) { s.Timing.DelayLoop = 0 }, "delay_loop 0s is less"},
		{good, func(s *Spec) { s.Timing.ConnectTimeout = -1 }, "connect_timeout"},
		{good, func(s *Spec) { s.Timing.Warmup = -1 }, "warmup"},
		{web, func(s *Spec) { s.HTTP.URLs = nil }, "no url"},
		{web, func(s *Spec) { s.HTTP.URLs = []URL{{}} }, "url 1: no path"},
		{web, func(s *Spec) { s.HTTP.URLs = []URL{{Path: "/ HTTP/1.0\r\nX: y"}} }, "%20"},
		{web, func(s *Spec) { s.HTTP.VirtualHost = "a b" }, "virtualhost \"a b\""},
		{web, func(s *Spec) { s.HTTP.URLs = []URL{{Path: "/", Digest: "abc"}} }, "32 hex"},
		{web, func(s *Spec) { s.HTTP.URLs = []URL{{Path: "/", Digest: strings.Repeat("g", 32)}} }, "32 hex"},
		{web, func(s *Spec) { s.HTTP.URLs = []URL{{Path: "/", Status: []StatusRange{{200, 600}}}} }, "status_code 200-600"},
		{web, func(s *Spec) { s.HTTP.Protocol = 7 }, "http_protocol"},
	} {
		s := newStill(t)
		s.set(good)
		bad := tt.base
		tt.edit(&bad.Spec)
		_, err := s.Set([]Target{web, bad})
		if err == nil || !strings.Contains(err.Error(), tt.want) ||
			!strings.HasPrefix(err.Error(), bad.Server+" of "+bad.Service+": ") {
			t.Errorf("error %v, want one with %q and both names", err, tt.want)
		}
		if len(s.checks) != 1 {
			t.Errorf("a list refused left %d checks, want the one of before", len(s.checks))
		}
	}
}
