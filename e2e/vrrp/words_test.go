// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/vrrp"
)

// each runs a scenario of one node with the original and with ours.
func each(t *testing.T, scenario func(t *testing.T, b *bed, n *node)) {
	t.Helper()
	for _, p := range []program{c, ours} {
		t.Run(string(p), func(t *testing.T) {
			t.Parallel()
			b := newBed(t, p)
			scenario(t, b, b.nodes[0])
		})
	}
}

// alike runs a scenario of one node with the original and with ours, and wants both to
// see the same.
func alike[S any](t *testing.T, scenario func(t *testing.T, b *bed, n *node) S) {
	t.Helper()
	type result struct {
		program
		seen S
	}
	results := make(chan result, 2)
	t.Run("nodes", func(t *testing.T) {
		each(t, func(t *testing.T, b *bed, n *node) { results <- result{n.program, scenario(t, b, n)} })
	})
	close(results)
	all := map[program]S{}
	for r := range results {
		all[r.program] = r.seen
	}
	if d := cmp.Diff(all[c], all[ours]); d != "" {
		t.Errorf("-original +ours:\n%s", d)
	}
}

// TestPreemptDelay: a better backup lets the master be for that long.
func TestPreemptDelay(t *testing.T) {
	t.Parallel()
	combinations(t, func(t *testing.T, b *bed) int {
		began := time.Now()
		b.nodes[1].start(vi{prio: 100}.conf())
		b.await("node 1 is master", func(f []frame) bool { return masterSince(f, 1, began) })
		joined := time.Now()
		b.nodes[0].start(vi{prio: 150, more: "preempt_delay 4"}.conf())
		frames := b.await("node 0 preempts", func(f []frame) bool { return masterSince(f, 0, joined) })
		within(t, "preemption", firstAdvert(frames, 0, joined).Sub(joined), 4*time.Second, 4*time.Second+2*masterDown(150))
		b.holds(vip, 0)
		return 0
	})
}

// TestGARPInterval: on one link announcements keep their distance, those of all
// instances together, and an address that waits for its turn is not put in line again.
// Judged by the whole series: one that is late comes closer to the next.
func TestGARPInterval(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bed, n *node) {
		const interval, addresses = 200 * time.Millisecond, 10
		first := vi{prio: 255, state: "MASTER", globalDefs: "vrrp_garp_interval 0.2", more: "garp_master_delay 0"}
		for i := range addresses {
			first.vips = append(first.vips, fmt.Sprintf("192.168.50.%d", 100+i))
		}
		const last = "192.168.50.120"
		second := vi{name: "VI2", id: 52, prio: 255, state: "MASTER", vips: []string{last}, more: "garp_master_delay 0"}.conf()
		n.start(first.conf() + second)
		of := func(f []frame, addr string) int {
			return len(pick(f, is(garp), func(f frame) bool { return f.addr.String() == addr }))
		}
		// In any order: who becomes master when nobody has announced for so long has a turn at once.
		frames := pick(b.await("announcements of all", func(f []frame) bool {
			return !slices.ContainsFunc(append(first.vips, last), func(addr string) bool { return of(f, addr) == 0 })
		}), is(garp))
		gaps := time.Duration(len(frames) - 1)
		if d := frames[gaps].at.Sub(frames[0].at); d < gaps*interval*3/4 {
			t.Errorf("%d announcements within %v: %v", len(frames), d, frames)
		}
		// The first goes at once and then once more, and as many again may where the host
		// pauses between two of them; five rounds were asked for.
		at := time.Now()
		frames = b.await("it goes on", func(f []frame) bool { return len(pick(f, from(0), vrrpID(51), after(at))) >= 2 })
		if k := len(pick(frames, is(garp))); k > 2*(addresses+2) {
			t.Errorf("%d announcements of %d addresses", k, addresses+1)
		}
	})
}

// TestGARPRefresh: a master announces again and again, as many times each.
func TestGARPRefresh(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bed, n *node) {
		n.start(vi{prio: 255, state: "MASTER", more: "garp_master_delay 0\n garp_master_repeat 1\n garp_master_refresh 4\n garp_master_refresh_repeat 3"}.conf())
		frames := pick(b.await("announcements", func(f []frame) bool { return len(pick(f, is(garp))) >= 7 }), is(garp))
		// Any may have been sent late: 8 s from the first to the fifth.
		if d := frames[4].at.Sub(frames[0].at); d < 5*time.Second {
			t.Errorf("two refreshes within %v", d)
		}
		for _, i := range []int{2, 3, 5, 6} {
			if d := frames[i].at.Sub(frames[i-1].at); d > 3*time.Second {
				t.Errorf("announcement %d after %v, want at once", i, d)
			}
		}
	})
}

// TestLowerPrio: who hears a master of lower priority announces as often as told.
func TestLowerPrio(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bed, n *node) {
		n.start(vi{prio: 255, state: "MASTER", more: "garp_master_delay 0\n garp_master_repeat 1\n garp_lower_prio_delay 0\n garp_lower_prio_repeat 3"}.conf())
		b.await("node 0 is master", func(f []frame) bool { return len(pick(f, alive)) >= 3 && len(pick(f, is(garp))) >= 1 })
		lower := vrrp.Advert{Version: 2, VRID: 51, Priority: 100, Interval: time.Second, Addrs: []netip.Addr{netip.MustParseAddr(vip)}}
		packet, err := lower.AppendIPv4(nil, netip.MustParseAddr("192.168.50.9"), vrrp.MulticastIPv4, 1, vrrp.TTL, vrrp.ChecksumPseudo, [8]byte{}, 0)
		testnet.Must(t, err)
		at := time.Now()
		b.inject(0, packet)
		b.await("announcements", func(f []frame) bool { return len(pick(f, is(garp), after(at))) >= 3 })
		began := time.Now()
		frames := b.await("it goes on", func(f []frame) bool { return len(pick(f, alive, after(began))) >= 2 })
		if n := len(pick(frames, is(garp), after(at))); n != 3 {
			t.Errorf("%d announcements, want 3", n)
		}
	})
}

// TestKeepAddresses: with -V a master leaves its addresses there, and does not ask
// others to take them.
func TestKeepAddresses(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bed, n *node) {
		began := time.Now()
		n.start(vi{prio: 150}.conf(), "-V")
		b.await("node 0 is master", func(f []frame) bool { return masterSince(f, 0, began) })
		b.holds(vip, 0)
		n.stop()
		if !n.has(vip) {
			t.Error("the address has gone")
		}
		if zero := pick(b.all(), prio(0)); len(zero) != 0 {
			t.Errorf("it resigned with %v", zero)
		}
	})
}

// TestPromoteSecondaries: the link of a master has that setting while it is one.
func TestPromoteSecondaries(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bed, n *node) {
		setting := func() (v string) {
			testnet.Must(t, n.Do(func() error {
				text, err := os.ReadFile("/proc/sys/net/ipv4/conf/eth0/promote_secondaries")
				v = strings.TrimSpace(string(text))
				return err
			}))
			return v
		}
		testnet.Must(t, n.Sysctl("net/ipv4/conf/eth0/promote_secondaries", "0"))
		began := time.Now()
		n.start(vi{prio: 150, vips: []string{vip + "/24", "192.168.50.101/24"}, more: "promote_secondaries"}.conf())
		b.await("node 0 is master", func(f []frame) bool { return masterSince(f, 0, began) })
		b.holds("192.168.50.101", 0)
		if v := setting(); v != "1" {
			t.Errorf("the setting of a master is %q", v)
		}
		n.stop()
		if v := setting(); v != "0" {
			t.Errorf("the setting is %q after the end", v)
		}
		if list, err := n.Link.AddrList(nil, netlink.FAMILY_V4); err != nil || len(list) != 2 || !n.has("192.168.50.1") { // with lo's
			t.Errorf("addresses after the end: %v %v", list, err)
		}
	})
}
