// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"fmt"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/internal/testnet"
)

// trios are those of three nodes that show each program in each place among the
// other's; the first is the measure.
var trios = [][]program{{c, c, c}, {ours, c, c}, {c, ours, c}, {c, c, ours}, {ours, c, ours}, {ours, ours, ours}}

// threeNodes runs a scenario with each trio, and compares how many adverts of a
// second master it has seen with what the originals show.
func threeNodes(t *testing.T, scenario func(t *testing.T, b *bed) int) {
	t.Helper()
	two := map[string]int{}
	seen := make(chan func(), len(trios))
	t.Run("trios", func(t *testing.T) {
		for i, p := range trios {
			name := fmt.Sprintf("%s-%s-%s", p[0], p[1], p[2])
			if i == 0 {
				name = "C-C" // as asOriginals calls it
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				n := scenario(t, newBed(t, p...))
				seen <- func() { two[name] = n }
			})
		}
	})
	close(seen)
	for f := range seen {
		f()
	}
	asOriginals(t, two)
}

// far are priorities whose skews lie a second apart for the last two: a host that
// stands still for less does not let the worst come first.
var far = []int{254, 250, 1}

// TestThreeNodes: who starts later and is better takes over; whoever ends is
// followed by the best of those that are left, and by nobody else, not even for
// one advert.
func TestThreeNodes(t *testing.T) {
	t.Parallel()
	threeNodes(t, func(t *testing.T, b *bed) int {
		conf := func(i int) string { return vi{prio: far[i]}.conf() }
		// turn waits for two adverts of a node after something was done, and checks
		// that nobody but it and the one before has sent any.
		turn := func(what string, to, from int, do func()) {
			t.Helper()
			at := time.Now()
			do()
			frames := b.await(what, func(f []frame) bool { return masterSince(f, to, at) })
			for _, f := range pick(frames, alive, after(at)) {
				if f.node != to && f.node != from {
					b.late("%s: node %d has sent %v", what, f.node, f)
				}
			}
			b.holds(vip, to)
		}
		turn("the worst is alone", 2, -1, func() { b.nodes[2].start(conf(2)) })
		turn("the best comes", 0, 2, func() { b.nodes[0].start(conf(0)) })
		b.nodes[1].start(conf(1))
		b.nodes[1].until("Entering BACKUP STATE", 1)
		turn("the best ends", 1, 0, func() { b.nodes[0].stop() })
		killed := time.Now()
		turn("the next dies", 2, 1, func() {
			b.nodes[1].kill()
			testnet.Must(t, b.nodes[1].DelAddr("eth0", prefix(vip+"/32"))) // as its host dies
		})
		within(t, "take-over after a death", firstAdvert(b.all(), 2, killed).Sub(lastAdvert(b.all(), 1, time.Now())), masterDown(far[2]), masterDown(far[2]))
		turn("the best is back", 0, 2, func() { b.nodes[0].start(conf(0)) })
		return contested(b.all(), 51)
	})
}

// TestThreePartition: two of three are cut off from the master; the better of
// them becomes one too, and steps down when the net is whole again. The third
// follows whom it hears.
func TestThreePartition(t *testing.T) {
	t.Parallel()
	threeNodes(t, func(t *testing.T, b *bed) int {
		began := time.Now()
		for i, n := range b.nodes {
			n.start(vi{prio: far[i]}.conf())
		}
		b.await("node 0 is master", func(f []frame) bool { return masterSince(f, 0, began) })
		b.holds(vip, 0)
		cut := time.Now()
		b.set(func(from, to int, _ *frame) []time.Duration {
			if (from == 0) != (to == 0) {
				return nil
			}
			return []time.Duration{0}
		})
		b.await("node 1 is master on its side", func(f []frame) bool { return masterSince(f, 1, cut) })
		frames := b.await("node 0 goes on", func(f []frame) bool {
			return len(pick(f, from(0), alive, after(firstAdvert(f, 1, cut)))) >= 3
		})
		if list := pick(frames, from(2), alive, after(cut)); len(list) > 0 {
			b.late("the worst has sent %v", list)
		}
		healed := time.Now()
		b.set(nil)
		b.holds(vip, 0)
		frames = b.await("one master", func(f []frame) bool {
			return len(pick(f, from(0), alive, after(lastAdvert(f, 1, time.Now())))) >= 4
		})
		if list := pick(frames, from(2), alive, after(healed)); len(list) > 0 {
			b.late("the worst has sent %v", list)
		}
		return contested(pick(frames, after(healed)), 51)
	})
}

// TestLinkFlap: the link of the master goes down and up again faster than
// anybody's timer; in the end there is one master, the better one, and its
// address.
func TestLinkFlap(t *testing.T) {
	t.Parallel()
	asOriginals(t, combinations(t, func(t *testing.T, b *bed) int {
		b.pair(100, 150)
		flapped := time.Now()
		for range 10 {
			testnet.Must(t, b.nodes[0].Down("eth0"))
			testnet.Must(t, b.nodes[0].Up("eth0"))
		}
		settled := time.Now()
		b.await("node 0 is master", func(f []frame) bool { return masterSince(f, 0, settled.Add(masterDown(150))) })
		b.holds(vip, 0)
		b.quiet(0, 3)
		return contested(pick(b.all(), after(flapped)), 51)
	}))
}

// TestReordered: adverts overtake each other, and one of a master that has ended
// comes after its resignation: it is followed for a while, and no longer.
func TestReordered(t *testing.T) {
	t.Parallel()
	asOriginals(t, combinations(t, func(t *testing.T, b *bed) int {
		// Every other advert is late, by more than an interval.
		count := 0
		b.set(func(from, to int, f *frame) []time.Duration {
			if f.what != advert || from != 0 {
				return []time.Duration{0}
			}
			if count++; count%2 == 0 && f.prio != 0 {
				return []time.Duration{1200 * time.Millisecond}
			}
			return []time.Duration{0}
		})
		b.pair(100, 150)
		b.quiet(0, 6)
		b.set(func(from, _ int, f *frame) []time.Duration {
			if from == 0 && f.what == advert && f.prio != 0 {
				return []time.Duration{0, 300 * time.Millisecond} // the second after the resignation
			}
			return []time.Duration{0}
		})
		at := time.Now()
		b.await("one more", func(f []frame) bool { return len(pick(f, from(0), alive, after(at))) >= 1 })
		b.nodes[0].stop()
		frames := b.await("node 1 takes over", func(f []frame) bool { return masterSince(f, 1, at) })
		gap := firstAdvert(frames, 1, at).Sub(pick(frames, from(0), prio(0))[0].at)
		within(t, "take-over after a late advert", gap, skew2, masterDown(100)+300*time.Millisecond)
		b.holds(vip, 1)
		return contested(frames, 51)
	}))
}
