// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// world is what the actions of one machine have made of its host.
type world struct {
	addrs   bool
	last    State
	adverts int
}

func (w *world) apply(t *rapid.T, a Action) {
	switch a.Kind {
	case AddAddrs:
		if w.addrs {
			t.Fatal("addresses added twice")
		}
		w.addrs = true
	case DelAddrs:
		if !w.addrs {
			t.Fatal("addresses removed that are not there")
		}
		w.addrs = false
	case Announce:
		if !w.addrs || a.Repeat < 1 {
			t.Fatalf("%v with addresses %v", a, w.addrs)
		}
	case Notify:
		w.last = a.State
	case NotifyStop:
		w.last = Init
	case SendAdvert:
		w.adverts++
	}
}

// check is what holds after each event.
func check(t *rapid.T, m *Machine, w *world, now time.Time) {
	if w.addrs != (m.State() == Master) {
		t.Fatalf("%v with addresses %v", m.State(), w.addrs)
	}
	if w.last != m.State() {
		t.Fatalf("told %v, is %v", w.last, m.State())
	}
	if (m.State() == Master) != !m.advert.IsZero() || (m.State() == Backup) != !m.down.IsZero() {
		t.Fatalf("%v: advert %v, down %v", m.State(), m.advert, m.down)
	}
	if m.State() != Master && (!m.garp.IsZero() || !m.refresh.IsZero()) {
		t.Fatalf("%v announces", m.State())
	}
	if d := m.advert.Sub(now); !m.advert.IsZero() && d > m.cfg.Interval {
		t.Fatalf("next advert in %v", d)
	}
	if d, limit := m.down.Sub(now), time.Duration(m.cfg.DownTimerAdverts+1)*max(m.interval, time.Second); !m.down.IsZero() && d > limit {
		t.Fatalf("master down in %v", d)
	}
	if n := m.Totals(); n.Sent != uint64(w.adverts) || (n.BecameMaster-n.ReleasedMaster == 1) != (m.State() == Master) {
		t.Fatalf("%v: totals %+v, %d sent", m.State(), n, w.adverts)
	}
	if m.State() == Master && len(m.faults) > 0 {
		t.Fatalf("master with faults %v", m.faults)
	}
}

func anyConfig(t *rapid.T) Config {
	c := config()
	c.Version = rapid.SampledFrom([]int{2, 3}).Draw(t, "version")
	c.Priority = rapid.SampledFrom([]uint8{1, 100, 150, 254, 255}).Draw(t, "priority")
	c.NoPreempt = rapid.Bool().Draw(t, "nopreempt")
	c.PreemptDelay = rapid.SampledFrom([]time.Duration{0, 2 * time.Second, time.Minute}).Draw(t, "preempt_delay")
	c.TimerExpiredBackup = rapid.SampledFrom([]uint8{0, 1, 254}).Draw(t, "timer_expired_backup")
	c.LowerPrioNoAdvert = rapid.Bool().Draw(t, "lower_prio_no_advert")
	c.HigherPrioSendAdvert = rapid.Bool().Draw(t, "higher_prio_send_advert")
	c.OwnerIgnoreAdverts = rapid.Bool().Draw(t, "owner_ignore_adverts")
	c.GARPMasterRefresh = rapid.SampledFrom([]time.Duration{0, 3 * time.Second}).Draw(t, "refresh")
	c.GARPLowerPrioDelay = rapid.SampledFrom([]time.Duration{0, 5 * time.Second}).Draw(t, "lower delay")
	return c
}

func anyEvent(t *rapid.T, version int) Event {
	switch rapid.IntRange(0, 9).Draw(t, "event") {
	case 0:
		return Start{}
	case 1, 2, 3:
		a := Advert{Version: version, Priority: rapid.SampledFrom([]uint8{0, 1, 99, 100, 150, 151, 254, 255}).Draw(t, "theirs"), Interval: time.Second}
		if version == 3 {
			a.Interval = rapid.SampledFrom([]time.Duration{10 * time.Millisecond, time.Second, 40950 * time.Millisecond}).Draw(t, "interval")
		}
		return Received{a, rapid.SampledFrom(addrs("192.168.50.0", "192.168.50.1", "192.168.50.2")).Draw(t, "src")}
	case 4:
		return Down{rapid.SampledFrom([]string{"a", "b"}).Draw(t, "what")}
	case 5:
		return Up{rapid.SampledFrom([]string{"a", "b"}).Draw(t, "what")}
	case 6:
		return Weight{rapid.SampledFrom([]string{"s", "f"}).Draw(t, "what"), rapid.IntRange(-254, 254).Draw(t, "delta")}
	case 7:
		return AddressLost{vrrpSrc}
	case 8:
		if rapid.IntRange(0, 5).Draw(t, "really") == 0 {
			return Stop{}
		}
	}
	return Timeout{}
}

func TestRandomEvents(t *testing.T) { rapid.Check(t, randomEvents) }

// FuzzEvents is the same, led by what code it reaches.
func FuzzEvents(f *testing.F) { f.Fuzz(rapid.MakeFuzz(randomEvents)) }

// randomEvents gives one machine any events at any times.
func randomEvents(t *rapid.T) {
	cfg := anyConfig(t)
	m, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w, now := &world{}, epoch
	for range rapid.IntRange(1, 60).Draw(t, "steps") {
		now = elapse(t, now, m.Next())
		ev := anyEvent(t, cfg.Version)
		before, state, base := w.adverts, m.State(), m.Next()
		for _, a := range m.Handle(now, ev) {
			w.apply(t, a)
		}
		check(t, m, w, now)
		if _, ok := ev.(Timeout); ok && !base.IsZero() && now.Before(base) && (w.adverts != before || m.State() != state) {
			t.Fatal("a timeout before its time did something")
		}
	}
}

// elapse lets some time pass: none, a little, or up to the next timer.
func elapse(t *rapid.T, now, next time.Time) time.Time {
	switch rapid.IntRange(0, 2).Draw(t, "wait") {
	case 0:
		return now
	case 1:
		return now.Add(time.Duration(rapid.IntRange(1, 3000).Draw(t, "ms")) * time.Millisecond)
	}
	if next.Before(now) {
		return now
	}
	return next
}

func TestRandomGroups(t *testing.T) { rapid.Check(t, randomGroups) }

// FuzzGroups is the same, led by what code it reaches.
func FuzzGroups(f *testing.F) { f.Fuzz(rapid.MakeFuzz(randomGroups)) }

// randomGroups gives the members of a sync group any events at any times.
func randomGroups(t *rapid.T) {
	var members []*Machine
	var worlds []*world
	for range rapid.IntRange(1, 3).Draw(t, "members") {
		m, err := New(anyConfig(t))
		if err != nil {
			t.Fatal(err)
		}
		members, worlds = append(members, m), append(worlds, &world{})
	}
	g, err := NewGroup("G", members...)
	if err != nil {
		t.Fatal(err)
	}
	now, told := epoch, Init
	for range rapid.IntRange(1, 60).Draw(t, "steps") {
		now = elapse(t, now, g.Next())
		i := rapid.IntRange(0, len(members)-1).Draw(t, "member")
		for _, a := range g.Handle(now, i, anyEvent(t, members[i].cfg.Version)) {
			if a.Member >= 0 {
				worlds[a.Member].apply(t, a.Action)
			} else if a.Kind == NotifyGroup {
				told = a.State
			}
		}
		for i, m := range members {
			check(t, m, worlds[i], now)
			if m.State() != g.State() {
				t.Fatalf("group %v, member %d %v", g.State(), i, m.State())
			}
		}
		if g.State() != Init && told != g.State() {
			t.Fatalf("told %v, is %v", told, g.State())
		}
	}
}

// TestRandomPairs: on a network that loses nothing, two routers with any
// priorities end with one master, the one that the rules name.
func TestRandomPairs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var pair [2]*Machine
		for i := range pair {
			c := config()
			c.Version = 3
			c.Source = []Config{{Source: vrrpSrc}, {Source: vrrpPeer}}[i].Source
			c.Priority = uint8(rapid.IntRange(1, 255).Draw(t, "priority"))
			c.Interval = time.Duration(rapid.SampledFrom([]int{1, 10, 100, 400}).Draw(t, "interval")) * 10 * time.Millisecond
			pair[i], _ = New(c)
		}
		now := epoch
		deliver := func(i int, actions []Action) {
			for len(actions) > 0 {
				var answers []Action
				for _, a := range actions {
					if a.Kind == SendAdvert {
						c := pair[i].Config()
						answers = append(answers, pair[1-i].Handle(now, Received{c.Advert(a.Priority, AuthNone, [8]byte{}), c.Source})...)
					}
				}
				i, actions = 1-i, answers
			}
		}
		first := rapid.IntRange(0, 1).Draw(t, "first")
		deliver(first, pair[first].Handle(now, Start{}))
		now = now.Add(time.Duration(rapid.IntRange(0, 20000).Draw(t, "later")) * time.Millisecond)
		deliver(1-first, pair[1-first].Handle(now, Start{}))
		for end := now.Add(2 * time.Minute); now.Before(end); {
			i := 0
			if a, b := pair[0].Next(), pair[1].Next(); !b.IsZero() && (a.IsZero() || b.Before(a)) {
				i = 1
			}
			if next := pair[i].Next(); next.After(now) {
				now = next
			}
			deliver(i, pair[i].Handle(now, Timeout{}))
		}
		want := 0
		if pair[1].Priority() > pair[0].Priority() {
			want = 1
		}
		masters := 0
		for _, m := range pair {
			if m.State() == Master {
				masters++
			}
		}
		equal := pair[0].Priority() == pair[1].Priority()
		if masters != 1 || !equal && pair[want].State() != Master {
			t.Fatalf("priorities %d and %d: %v and %v", pair[0].Priority(), pair[1].Priority(), pair[0].State(), pair[1].State())
		}
	})
}
