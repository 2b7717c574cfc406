// SPDX-License-Identifier: Apache-2.0

package bfd

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func fast(name string) Config {
	return Config{Name: name, MinRx: 100 * time.Millisecond, MinTx: 100 * time.Millisecond, IdleTx: time.Second, Multiplier: 3, TTL: 255}
}

func middle() float64 { return 0.5 }

// pair is two sessions and the way between them.
type pair struct {
	now  time.Time
	a, b *Session
	down func(from *Session) bool // whether a packet is lost
	log  []string
	sent map[*Session]int
}

func newPair(a, b Config, jitter func() float64) *pair {
	return &pair{now: time.Unix(1000, 0), a: New(a, 11, jitter), b: New(b, 22, jitter), sent: map[*Session]int{}}
}

func (p *pair) start() {
	p.do(p.a, p.a.Start(p.now))
	p.do(p.b, p.b.Start(p.now))
}

func (p *pair) do(s *Session, acts []Action) {
	for _, a := range acts {
		switch a.Kind {
		case Send:
			p.sent[s]++
			to := map[*Session]*Session{p.a: p.b, p.b: p.a}[s]
			got, err := Parse(a.Packet.Append(nil))
			if err != nil {
				panic(err)
			}
			if got.Your != 0 && got.Your != to.Local() || p.down != nil && p.down(s) {
				continue
			}
			p.do(to, to.Receive(p.now, got))
		case Changed:
			p.log = append(p.log, fmt.Sprintf("%s %v", s.Config().Name, a.State))
		case Log:
			if strings.Contains(a.Text, "Detection time is") {
				continue
			}
			p.log = append(p.log, a.Text)
		}
	}
}

// run lets time pass until d is over or stop says so, and returns how long it took.
func (p *pair) run(d time.Duration, stop func() bool) time.Duration {
	began := p.now
	for {
		if stop != nil && stop() {
			return p.now.Sub(began)
		}
		next := began.Add(d)
		for _, s := range []*Session{p.a, p.b} {
			if n := s.Next(); !n.IsZero() && n.Before(next) {
				next = n
			}
		}
		if next.After(p.now) {
			p.now = next
		}
		if !p.now.Before(began.Add(d)) {
			return d
		}
		p.do(p.a, p.a.Timeout(p.now))
		p.do(p.b, p.b.Timeout(p.now))
	}
}

func (p *pair) up() bool { return p.a.State() == Up && p.b.State() == Up }

// TestUpAndDown: two sessions come up by the three states, speed up by a poll, and
// go down when one is silent for the detection time.
func TestUpAndDown(t *testing.T) {
	p := newPair(fast("A"), fast("B"), middle)
	p.start()
	if d := p.run(time.Minute, p.up); d > time.Second {
		t.Fatalf("up after %v: %v", d, p.log)
	}
	p.run(time.Second, nil)
	if p.a.DetectionTime() != 300*time.Millisecond || p.a.TxInterval() != 100*time.Millisecond || p.a.polling || p.b.polling {
		t.Errorf("agreed on %v, %v", p.a.DetectionTime(), p.a.TxInterval())
	}
	n := p.sent[p.a]
	p.run(10*time.Second, nil)
	if got := p.sent[p.a] - n; got < 100 || got > 134 {
		t.Errorf("%d packets in 10 s", got)
	}
	p.log = nil
	p.down = func(from *Session) bool { return from == p.a }
	lost := p.run(time.Minute, func() bool { return p.b.State() == Down })
	if lost < 200*time.Millisecond || lost > 300*time.Millisecond {
		t.Errorf("down after %v", lost)
	}
	want := "(B) Expired after 300 ms (0 usec overdue)|(B) Entering Down state (Local diagnostic - Control Detection Time Expired, Remote diagnostic - No Diagnostic)|B Down|" +
		"(A) Entering Down state (Local diagnostic - Neighbor Signaled Session Down, Remote diagnostic - Control Detection Time Expired)|A Down"
	if got := strings.Join(p.log, "|"); got != want {
		t.Errorf("log\n%s\nwant\n%s", got, want)
	}
	p.down = nil
	if d := p.run(time.Minute, p.up); d > 2*time.Second {
		t.Errorf("up again after %v", d)
	}
}

// TestPassive: a passive session says nothing before it has heard something, nor
// after its neighbour has gone.
func TestPassive(t *testing.T) {
	quiet := fast("A")
	quiet.Passive = true
	p := newPair(quiet, fast("B"), middle)
	p.down = func(*Session) bool { return true }
	p.start()
	p.run(10*time.Second, nil)
	if n := p.sent[p.a]; n > 0 {
		t.Fatalf("%d packets before the first was heard", n)
	}
	p.down = nil
	p.run(time.Minute, p.up)
	p.down = func(*Session) bool { return true }
	p.run(time.Minute, func() bool { return p.a.State() == Down })
	p.run(time.Second, nil)
	n := p.sent[p.a]
	p.run(10*time.Second, nil)
	if p.sent[p.a] != n {
		t.Error("it goes on after its neighbour has gone")
	}
}

// TestSlower: a change to longer intervals takes effect when the other has
// confirmed it, and the session stays up.
func TestSlower(t *testing.T) {
	p := newPair(fast("A"), fast("B"), middle)
	p.start()
	p.run(3*time.Second, nil)
	deaf := true
	p.down = func(from *Session) bool { return deaf && from == p.b }
	slow := fast("A")
	slow.MinTx, slow.MinRx = 2*time.Second, 20*time.Millisecond
	p.log = nil
	p.do(p.a, p.a.Reconfigure(p.now, slow))
	if !p.a.polling || p.a.TxInterval() != 100*time.Millisecond || p.a.DetectionTime() != 300*time.Millisecond {
		t.Errorf("before the answer: polling %v, interval %v, detection %v", p.a.polling, p.a.TxInterval(), p.a.DetectionTime())
	}
	p.run(150*time.Millisecond, nil)
	deaf = false
	p.run(200*time.Millisecond, nil)
	if p.a.polling || p.a.TxInterval() != 2*time.Second || p.a.DetectionTime() != 300*time.Millisecond || p.b.DetectionTime() != 6*time.Second {
		t.Errorf("after it: polling %v, interval %v, detection %v and %v", p.a.polling, p.a.TxInterval(), p.a.DetectionTime(), p.b.DetectionTime())
	}
	p.run(time.Minute, nil)
	if !p.up() || len(p.log) != 0 && strings.Contains(strings.Join(p.log, ""), "Down") {
		t.Errorf("not up: %v", p.log)
	}
}

// TestAdminDown: a neighbour that is taken out of service takes the session down,
// once, and it does not come up meanwhile.
func TestAdminDown(t *testing.T) {
	s := New(fast("A"), 11, middle)
	now := time.Unix(1000, 0)
	heard := func(st State) []Action {
		now = now.Add(50 * time.Millisecond)
		return s.Receive(now, Packet{State: st, Multiplier: 3, My: 22, Your: 11, MinTx: time.Second, MinRx: time.Second})
	}
	s.Start(now)
	heard(Down)
	heard(Init)
	if s.State() != Up {
		t.Fatalf("%v", s.State())
	}
	downs := 0
	for range 3 {
		for _, a := range heard(AdminDown) {
			if a.Kind == Changed {
				downs++
			}
		}
	}
	if s.State() != Down || s.diag != DiagNeighborSignaled || downs != 1 {
		t.Errorf("%v, %v, told %d times", s.State(), s.diag, downs)
	}
	heard(Up)
	if s.State() != Down {
		t.Errorf("%v after Up", s.State())
	}
}

// TestJitter: RFC 5880 6.8.7.
func TestJitter(t *testing.T) {
	for _, c := range []struct {
		multiplier int
		jitter     float64
		want       time.Duration
	}{{3, 0, 99}, {3, 1, 75}, {1, 0, 89}, {1, 1, 75}} {
		cfg := fast("A")
		cfg.Multiplier = c.multiplier
		s := New(cfg, 1, func() float64 { return c.jitter })
		if got := s.jittered(100 * time.Millisecond); got != c.want*time.Millisecond {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func anyConfig(t *rapid.T, name string) Config {
	ms := rapid.SampledFrom([]time.Duration{1, 10, 100, 1500})
	return Config{
		Name: name, MinRx: ms.Draw(t, "min_rx") * time.Millisecond, MinTx: ms.Draw(t, "min_tx") * time.Millisecond,
		IdleTx:     rapid.SampledFrom([]time.Duration{time.Second, 3 * time.Second}).Draw(t, "idle_tx"),
		Multiplier: rapid.SampledFrom([]int{1, 2, 5}).Draw(t, "multiplier"), Passive: rapid.Bool().Draw(t, "passive"),
	}
}

func anyPacket(t *rapid.T) Packet {
	us := rapid.SampledFrom([]time.Duration{0, 1, 1000, 100_000, 1_000_000, 1<<32 - 1})
	return Packet{
		State: State(rapid.IntRange(0, 3).Draw(t, "state")), Poll: rapid.IntRange(0, 4).Draw(t, "poll") == 0, Final: false,
		Diag: Diag(rapid.IntRange(0, 31).Draw(t, "diag")), Demand: rapid.IntRange(0, 9).Draw(t, "demand") == 0,
		Multiplier: rapid.Uint8Range(1, 255).Draw(t, "multiplier"), My: rapid.Uint32Range(1, 3).Draw(t, "my"), Your: 11,
		MinTx: us.Draw(t, "min_tx") * time.Microsecond, MinRx: us.Draw(t, "min_rx") * time.Microsecond,
	}
}

// TestRandomEvents drives a session with anything, in any order, and checks what
// must hold after each.
func TestRandomEvents(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := New(anyConfig(t, "A"), 11, func() float64 { return 0.3 })
		now := time.Unix(1000, 0)
		told, last := Down, now
		apply := func(acts []Action, answers bool) {
			finals := 0
			for _, a := range acts {
				switch a.Kind {
				case Changed:
					if a.State == told || a.State == AdminDown {
						t.Fatalf("told %v after %v", a.State, told)
					}
					if told = a.State; a.State == Init && s.state == Down {
						t.Fatal("a state was not told")
					}
				case Send:
					p, err := Parse(a.Packet.Append(nil))
					if err != nil || p != a.Packet {
						t.Fatalf("sends %+v: %v", a.Packet, err)
					}
					if p.Final {
						finals++
					}
					if p.State != Up && p.MinTx < time.Second {
						t.Fatalf("announces %v while %v", p.MinTx, p.State)
					}
					last = now
				}
			}
			if want := map[bool]int{true: 1}[answers]; finals != want {
				t.Fatalf("%d answers to a poll, want %d", finals, want)
			}
		}
		apply(s.Start(now), false)
		for range rapid.IntRange(1, 60).Draw(t, "events") {
			now = now.Add(rapid.SampledFrom([]time.Duration{0, time.Millisecond, 70 * time.Millisecond, time.Second, 10 * time.Second}).Draw(t, "passes"))
			switch rapid.IntRange(0, 5).Draw(t, "event") {
			case 0, 1:
				p := anyPacket(t)
				apply(s.Receive(now, p), p.Poll)
			case 2:
				p := anyPacket(t)
				p.Poll, p.Final = false, true
				apply(s.Receive(now, p), false)
			case 3:
				apply(s.Reconfigure(now, anyConfig(t, "A")), false)
			default:
				if n := s.Next(); !n.IsZero() && n.After(now) && rapid.Bool().Draw(t, "due") {
					now = n
				}
				apply(s.Timeout(now), false)
				if n := s.Next(); !n.IsZero() && !n.After(now) {
					t.Fatalf("due again %v after what was due was done", now.Sub(n))
				}
			}
			if told != s.State() {
				t.Fatalf("told %v, is %v", told, s.State())
			}
			if (s.state == Up || s.state == Init) && s.expires.IsZero() {
				t.Fatalf("%v, and silence would not be noticed", s.state)
			}
			if s.sends() && s.next.IsZero() {
				t.Fatalf("%v, and no packet will follow", s.state)
			}
			if !s.sends() && !s.next.IsZero() {
				t.Fatal("it would send what it must not")
			}
			if gap := s.next.Sub(last); !s.next.IsZero() && gap > s.TxInterval() && s.next.After(now) {
				t.Fatalf("next packet %v after the last, interval %v", gap, s.TxInterval())
			}
		}
	})
}

// TestAnyPair: two sessions of any configuration, not both passive, come up, stay
// up, and notice a cut within their detection time.
func TestAnyPair(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyConfig(t, "A"), anyConfig(t, "B")
		if a.Passive && b.Passive {
			b.Passive = false
		}
		p := newPair(a, b, func() float64 { return rapid.Float64Range(0, 0.999).Draw(t, "jitter") })
		p.start()
		if p.run(20*time.Second, p.up); !p.up() {
			t.Fatalf("not up: %v", p.log)
		}
		p.run(3*time.Second, nil)
		p.log = nil
		p.run(5*time.Second, nil)
		if !p.up() || len(p.log) > 0 {
			t.Fatalf("not stable: %v", p.log)
		}
		limit := max(p.a.DetectionTime(), p.b.DetectionTime())
		p.down = func(*Session) bool { return true }
		took := p.run(time.Hour, func() bool { return p.a.State() == Down && p.b.State() == Down })
		if took > limit {
			t.Fatalf("down after %v, detection time %v", took, limit)
		}
	})
}
