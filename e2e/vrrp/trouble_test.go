// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/internal/testnet"
)

// asOriginals fails for each combination that saw more adverts of a second
// master than the two originals in the same scenario. One more is let pass.
func asOriginals(t *testing.T, two map[string]int) {
	t.Helper()
	for name, n := range two {
		if n > two["C-C"]+1 {
			// No scenario takes longer than some of its waits.
			blame(t, stalled(time.Now().Add(-limit)), fmt.Sprintf("%s: %d adverts of a second master, the originals had %d", name, n, two["C-C"]))
		}
	}
}

// quiet waits until a node has sent some adverts and checks that the other has
// sent none meanwhile.
func (b *bed) quiet(master, count int) {
	b.t.Helper()
	began := time.Now()
	frames := b.await("the master goes on", func(f []frame) bool { return len(pick(f, from(master), alive, after(began))) >= count })
	if list := pick(frames, from(1-master), is(advert), after(began)); len(list) > 0 {
		b.late("node %d has sent %v", 1-master, list)
	}
}

// TestLinkDown: the link of the master goes down, first on its side, then at the
// switch: the backup takes over, and gives back when the link is up again.
func TestLinkDown(t *testing.T) {
	t.Parallel()
	asOriginals(t, combinations(t, func(t *testing.T, b *bed) int {
		b.pair(100, 150)
		for _, cut := range []struct {
			ns   *testnet.NS
			link string
		}{{b.nodes[0].NS, "eth0"}, {b.sw, portName(b.nodes[0], "eth0")}} {
			down := time.Now()
			testnet.Must(t, cut.ns.Down(cut.link))
			frames := b.await("node 1 takes over", func(f []frame) bool { return masterSince(f, 1, down) })
			gap := firstAdvert(frames, 1, down).Sub(lastAdvert(frames, 0, time.Now()))
			within(t, "take-over after a cut", gap, masterDown(100), masterDown(100))
			b.holds(vip, 1) // the other has given it up, though nobody could tell it to
			up := time.Now()
			testnet.Must(t, cut.ns.Up(cut.link))
			b.await("node 0 preempts", func(f []frame) bool { return masterSince(f, 0, up) })
			b.holds(vip, 0)
		}
		return contested(b.all(), 51)
	}))
}

// TestPartition: nothing passes between the two, both are masters; then it does
// again, and the lower one yields at once. At equal priorities the lower address
// is the lower one.
func TestPartition(t *testing.T) {
	for name, prios := range map[string][2]int{"higher": {150, 100}, "equal": {100, 100}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asOriginals(t, combinations(t, func(t *testing.T, b *bed) int {
				winner := 0
				if prios[0] == prios[1] {
					winner = 1
				}
				b.set(func(int, int, *frame) []time.Duration { return nil })
				began := time.Now()
				for i, n := range b.nodes {
					n.start(vi{prio: prios[i]}.conf())
				}
				b.await("two masters", func(f []frame) bool { return masterSince(f, 0, began) && masterSince(f, 1, began) })
				healed := time.Now()
				b.set(nil)
				b.holds(vip, winner)
				frames := b.await("one master", func(f []frame) bool {
					last := lastAdvert(f, 1-winner, time.Now())
					return len(pick(f, from(winner), alive, after(last))) >= 4
				})
				// A winner that has heard the other tells the net again where the address is.
				if heard := pick(frames, from(1-winner), alive, after(healed)); len(heard) > 0 {
					b.await("announcements", func(f []frame) bool { return len(pick(f, from(winner), is(garp), after(healed))) >= 5 })
				}
				return contested(pick(frames, after(healed)), 51)
			}))
		})
	}
}

// TestOneWayLoss: the backup does not hear the master, but the master hears it:
// it answers each of its adverts at once; when the loss ends the backup yields.
func TestOneWayLoss(t *testing.T) {
	t.Parallel()
	type seen struct{ answers, adverts int }
	all := combinations(t, func(t *testing.T, b *bed) seen {
		b.pair(100, 150)
		b.set(func(from, to int, f *frame) []time.Duration {
			if from == 0 && f.what == advert {
				return nil
			}
			return []time.Duration{0}
		})
		lost := time.Now()
		frames := b.await("node 1 advertises", func(f []frame) bool { return len(pick(f, from(1), alive, after(lost))) >= 5 })
		s := seen{}
		for _, f := range pick(frames, from(1), alive, after(lost)) {
			s.adverts++
			// At once is far from the next due advert, which would be a second later.
			for _, g := range pick(frames, from(0), alive, after(f.at)) {
				if g.at.Sub(f.at) < 500*time.Millisecond {
					s.answers++
					break
				}
			}
		}
		if !b.nodes[0].has(vip) {
			t.Error("the higher master has given the address up")
		}
		b.set(nil)
		b.holds(vip, 0)
		b.quiet(0, 3)
		return s
	})
	for name, s := range all {
		if s.answers < s.adverts-2 {
			t.Errorf("%s: %d of %d adverts of lower priority were answered at once; originals: %+v", name, s.answers, s.adverts, all["C-C"])
		}
	}
}

// TestDuplicates: adverts that come twice and out of order change nothing.
func TestDuplicates(t *testing.T) {
	t.Parallel()
	combinations(t, func(t *testing.T, b *bed) int {
		b.set(func(_, _ int, f *frame) []time.Duration {
			if f.what != advert {
				return []time.Duration{0}
			}
			return []time.Duration{0, 10 * time.Millisecond, 1500 * time.Millisecond}
		})
		b.pair(100, 150)
		b.quiet(0, 8)
		b.holds(vip, 0)
		return 0
	})
}

// TestNoPreempt: who comes back leaves the other alone, whatever its priority.
func TestNoPreempt(t *testing.T) {
	t.Parallel()
	combinations(t, func(t *testing.T, b *bed) int {
		b.pair(100, 150)
		stopped := time.Now()
		b.nodes[0].stop()
		b.await("node 1 takes over", func(f []frame) bool { return masterSince(f, 1, stopped) })
		b.nodes[0].start(vi{prio: 150, noPreempt: true}.conf())
		b.nodes[0].until("Entering BACKUP STATE (init)", 2)
		b.quiet(1, 6)
		b.holds(vip, 1)
		// It takes over all the same when the other ends.
		stopped = time.Now()
		b.nodes[1].stop()
		b.await("node 0 takes over", func(f []frame) bool { return masterSince(f, 0, stopped) })
		b.holds(vip, 0)
		return 0
	})
}

// TestOwner: priority 255 is the master at once, whoever was before, and again
// after a stop.
func TestOwner(t *testing.T) {
	t.Parallel()
	asOriginals(t, combinations(t, func(t *testing.T, b *bed) int {
		began := time.Now()
		b.nodes[1].start(vi{prio: 254}.conf())
		b.await("node 1 is master", func(f []frame) bool { return masterSince(f, 1, began) })
		owner := time.Now()
		b.nodes[0].start(vi{prio: 255, state: "MASTER"}.conf())
		frames := b.await("node 0 is master", func(f []frame) bool { return masterSince(f, 0, owner) })
		within(t, "owner", firstAdvert(frames, 0, owner).Sub(owner), 0, 2*time.Second)
		b.holds(vip, 0)
		return contested(frames, 51)
	}))
}

// TestScript: a script that fails takes its weight away, and the other node takes
// over; a script without weight that fails is a fault. Both end with the script.
func TestScript(t *testing.T) {
	for name, weight := range map[string]string{"weight": "-60", "fault": "0"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asOriginals(t, combinations(t, func(t *testing.T, b *bed) int {
				ok := b.nodes[0].path("ok")
				testnet.Must(t, os.WriteFile(ok, nil, 0o644))
				conf := vi{prio: 150, outside: "vrrp_script chk {\n script \"/bin/ls " + ok + "\"\n interval 1\n weight " + weight + "\n fall 2\n rise 2\n}",
					more: "track_script {\n chk\n }"}.conf()
				began := time.Now()
				b.nodes[1].start(vi{prio: 100}.conf())
				b.nodes[0].start(conf)
				b.await("node 0 is master", func(f []frame) bool { return masterSince(f, 0, began) })
				b.holds(vip, 0)
				failed := time.Now()
				testnet.Must(t, os.Remove(ok))
				frames := b.await("node 1 takes over", func(f []frame) bool { return masterSince(f, 1, failed) })
				b.holds(vip, 1)
				if zero := pick(frames, from(0), prio(0)); (len(zero) > 0) != (weight == "0") {
					t.Errorf("adverts of priority 0 with weight %s: %v", weight, zero)
				}
				if low := pick(frames, from(0), prio(90)); (len(low) > 0) != (weight != "0") {
					t.Errorf("adverts of priority 90 with weight %s: %v", weight, low)
				}
				good := time.Now()
				testnet.Must(t, os.WriteFile(ok, nil, 0o644))
				frames = b.await("node 0 takes it back", func(f []frame) bool { return len(pick(f, from(0), prio(150), after(good))) >= 2 })
				b.holds(vip, 0)
				return contested(frames, 51)
			}))
		})
	}
}

// TestSyncGroup: two instances on two links; the second link fails, and both
// go over together.
func TestSyncGroup(t *testing.T) {
	t.Parallel()
	asOriginals(t, combinations(t, func(t *testing.T, b *bed) int {
		const vip2 = "10.60.0.100"
		for i, n := range b.nodes {
			b.wire(n, "eth1", map[int]string{0: "10.60.0.1/24", 1: "10.60.0.2/24"}[i])
		}
		conf := func(prio int) string {
			second := vi{name: "VI2", link: "eth1", id: 52, prio: prio, vips: []string{vip2},
				outside: "vrrp_sync_group G {\n group {\n VI\n VI2\n }\n}"}.conf()
			return vi{prio: prio}.conf() + second
		}
		began := time.Now()
		b.nodes[1].start(conf(100))
		b.nodes[0].start(conf(150))
		b.await("node 0 is master of both", func(f []frame) bool {
			return masterSince(pick(f, vrrpID(51)), 0, began) && masterSince(pick(f, vrrpID(52)), 0, began)
		})
		b.holds(vip, 0)
		b.holds(vip2, 0)
		down := time.Now()
		testnet.Must(t, b.nodes[0].Down("eth1"))
		frames := b.await("node 1 is master of both", func(f []frame) bool {
			return masterSince(pick(f, vrrpID(51)), 1, down) && masterSince(pick(f, vrrpID(52)), 1, down)
		})
		b.holds(vip, 1)
		b.holds(vip2, 1)
		// The link that still works tells the other node at once.
		if zero := pick(frames, from(0), vrrpID(51), prio(0), after(down)); len(zero) != 1 {
			t.Errorf("node 0 resigned with %v", zero)
		}
		up := time.Now()
		testnet.Must(t, b.nodes[0].Up("eth1"))
		frames = b.await("node 0 is master of both again", func(f []frame) bool {
			return masterSince(pick(f, vrrpID(51)), 0, up) && masterSince(pick(f, vrrpID(52)), 0, up)
		})
		b.holds(vip, 0)
		b.holds(vip2, 0)
		return contested(frames, 51) + contested(frames, 52)
	}))
}

// vrrpID takes the adverts of one router only.
func vrrpID(id uint8) func(frame) bool {
	return func(f frame) bool { return f.what == advert && f.vrid == id }
}

// TestReload: priorities, addresses and instances change while both run; a
// configuration that cannot be leaves ours as it is.
func TestReload(t *testing.T) {
	t.Parallel()
	asOriginals(t, combinations(t, func(t *testing.T, b *bed) int {
		b.pair(100, 150)
		high, low := b.nodes[0], b.nodes[1]

		// The same again: no change of state, one advert at once.
		at := time.Now()
		high.reload(vi{prio: 150}.conf())
		frames := b.await("the master goes on", func(f []frame) bool { return len(pick(f, from(0), alive, after(at))) >= 3 })
		if list := pick(frames, from(0), after(at), prio(0)); len(list) > 0 {
			t.Errorf("a reload of the same resigned: %v", list)
		}
		low.reload(vi{prio: 100}.conf())
		b.quiet(0, 4)

		// One address more, one less.
		const more = "192.168.50.101"
		low.reload(vi{prio: 100, vips: []string{vip, more}}.conf())
		high.reload(vi{prio: 150, vips: []string{vip, more}}.conf())
		b.holds(more, 0)
		high.reload(vi{prio: 150}.conf())
		low.reload(vi{prio: 100}.conf())
		b.holds(more, -1)
		b.holds(vip, 0)

		// The backup becomes the better one, and loses that again.
		at = time.Now()
		low.reload(vi{prio: 200}.conf())
		b.await("node 1 takes over", func(f []frame) bool { return masterSince(f, 1, at) })
		b.holds(vip, 1)
		at = time.Now()
		low.reload(vi{prio: 90}.conf())
		b.await("node 0 takes over", func(f []frame) bool { return masterSince(f, 0, at) })
		b.holds(vip, 0)

		// An instance more, and less.
		const other = "192.168.50.120"
		second := vi{name: "VI2", id: 52, prio: 150, vips: []string{other}}.conf()
		high.reload(vi{prio: 150}.conf() + second)
		b.holds(other, 0)
		at = time.Now()
		high.reload(vi{prio: 150}.conf())
		b.holds(other, -1)
		frames = b.await("the first goes on", func(f []frame) bool { return len(pick(f, from(0), vrrpID(51), alive, after(at))) >= 2 })
		if list := pick(frames, from(0), vrrpID(52), alive, after(at.Add(slack))); len(list) > 0 {
			t.Errorf("the removed instance goes on: %v", list)
		}

		if high.program == ours {
			at = time.Now()
			for _, bad := range []string{
				vi{prio: 150, link: "eth9"}.conf(),
				vi{prio: 150, vips: []string{"nonsense"}}.conf(),
				"vrrp_instance VI {\n interface eth0\n}\n",
			} {
				kept := high.said("the running configuration stays in force")
				high.write(bad)
				high.signal(1)
				high.until("the running configuration stays in force", kept+1)
			}
			frames = b.await("the master goes on", func(f []frame) bool { return len(pick(f, from(0), prio(150), after(at))) >= 3 })
			if list := pick(frames, from(0), after(at), prio(0)); len(list) > 0 {
				t.Errorf("a bad file made it resign: %v", list)
			}
			b.holds(vip, 0)
		}
		return contested(b.all(), 51)
	}))
}

// TestNoMulticast: on a link without multicast a router that speaks by it does nothing, and says
// why, and one with unicast peers works; ours begins once the link has it, and neither minds
// when it goes.
func TestNoMulticast(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bed, n *node) {
		link, err := n.Link.LinkByName("eth0")
		testnet.Must(t, err, n.Link.LinkSetMulticastOff(link))
		other := "vrrp_instance UNI {\n interface eth0\n virtual_router_id 52\n priority 50\n unicast_peer {\n 192.168.50.9\n }\n virtual_ipaddress {\n 192.168.50.101\n }\n}\n"
		began := time.Now()
		n.start(vi{prio: 250, outside: other}.conf())
		n.until("(VI) interface eth0 does not support multicast, specify unicast peers - disabling", 1)
		n.until("(UNI) Entering MASTER STATE", 1) // which the other one would be before
		testnet.Eventually(t, limit, func() error {
			if !n.has("192.168.50.101") {
				return errors.New("no address for the router with peers")
			}
			return nil
		})
		if n.has(vip) || n.said("(VI) Entering MASTER STATE") > 0 {
			t.Error("a router that cannot be heard is master")
		}
		if got := pick(b.all(), after(began), is(advert), vrid(51)); len(got) > 0 {
			t.Errorf("%d adverts by multicast", len(got))
		}
		testnet.Must(t, n.Link.LinkSetMulticastOn(link))
		if n.program == c {
			n.stop()
			n.start(vi{prio: 250, outside: other}.conf())
		}
		n.until("(VI) Entering MASTER STATE", 1)
		testnet.Must(t, n.Link.LinkSetMulticastOff(link))
		seen := time.Now()
		b.await("three more adverts", func(f []frame) bool { return len(pick(f, after(seen), is(advert), vrid(51))) >= 3 })
		b.holds(vip, 0)
	})
}

// TestReloadFaults: a file that both start with in spite of a fault may change elsewhere, as with
// the original; with ours a new fault keeps it out, also in place of the old one.
func TestReloadFaults(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bed, n *node) {
		conf := func(fault string, vips ...string) string {
			return vi{prio: 255, vips: vips, more: "track_script {\n " + fault + "\n}"}.conf()
		}
		n.start(conf("nosuch", vip))
		b.holds(vip, 0)
		n.reload(conf("nosuch", "192.168.50.101"))
		b.holds("192.168.50.101", 0)
		b.holds(vip, -1)
		if n.program == ours {
			for i, fault := range []string{"other", "nosuch\nother"} {
				n.write(conf(fault, vip))
				n.signal(syscall.SIGHUP)
				n.until("has 1 new error(s) for VRRP", i+1)
				n.until("the running configuration stays in force", i+1)
			}
			b.holds("192.168.50.101", 0)
		}
	})
}
