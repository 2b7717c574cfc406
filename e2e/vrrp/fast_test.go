// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lvs-fnat/lvs/internal/testnet"
)

// TestFast: version 3 with 100 ms adverts, of which a busy host may well hold back some:
// what is sent is the same to the byte whoever sends it, adverts keep their distance over
// a whole series, and whatever happens the right one is the master in the end: start,
// end, return, partition and heal, death.
func TestFast(t *testing.T) {
	for name, v := range map[string]variant{
		"IPv4": {router: same(vi{version: 3, interval: "0.1"}), kind: garp, vips: []string{vip}},
		"IPv6": {router: same(vi{version: 3, interval: "0.1", vips: vips6}), kind: na, vips: vips6},
	} {
		v.interval = 100 * time.Millisecond
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := combinations(t, func(t *testing.T, b *bed) []string { return fast(t, b, v) })
			for name, sent := range all {
				if d := cmp.Diff(all["C-C"], sent); d != "" {
					t.Errorf("messages, -C-C +%s:\n%s", name, d)
				}
			}
		})
	}
}

// fast runs the scenario and gives all different messages of each node.
func fast(t *testing.T, b *bed, v variant) []string {
	high, low := b.nodes[0], b.nodes[1]
	conf := func(i, prio int) string {
		r := v.router(i)
		r.prio = prio
		return r.conf()
	}
	holds := func(index int) {
		for _, a := range v.vips {
			b.holds(a, index)
		}
	}
	const series = 30
	high.start(conf(0, 150))
	frames := pick(b.await("node 0 advertises", func(f []frame) bool { return len(pick(f, from(0), alive)) >= series }), from(0), alive)
	// The first may have been seen late.
	if d := frames[series-1].at.Sub(frames[0].at); d < (series-1)*v.interval*3/4 {
		t.Errorf("%d adverts within %v", series, d)
	}
	b.await("announcements", func(f []frame) bool { return len(pick(f, from(0), is(v.kind))) >= 5*len(v.vips) })
	low.start(conf(1, 100))
	low.until("Entering BACKUP STATE", 1)
	holds(0)

	stopped := time.Now()
	high.stop()
	frames = b.await("node 1 takes over", func(f []frame) bool { return masterSince(f, 1, stopped) })
	if zero := pick(frames, from(0), prio(0)); len(zero) != 1 {
		t.Errorf("the master resigned with %v", zero)
	}
	holds(1)
	again := time.Now()
	high.start(conf(0, 150))
	b.await("node 0 preempts", func(f []frame) bool { return masterSince(f, 0, again) })
	holds(0)

	cut := time.Now()
	b.set(func(int, int, *frame) []time.Duration { return nil })
	b.await("two masters", func(f []frame) bool { return masterSince(f, 0, cut) && masterSince(f, 1, cut) })
	b.set(nil)
	b.await("one master", func(f []frame) bool {
		return len(pick(f, from(0), alive, after(lastAdvert(f, 1, time.Now())))) >= 10
	})
	holds(0)

	killed := time.Now()
	high.kill()
	for _, a := range v.vips { // as with its host
		testnet.Must(t, high.DelAddr("eth0", prefix(a+map[what]string{garp: "/32", na: "/128"}[v.kind])))
	}
	for _, name := range []string{"pid", "vrrp.pid"} {
		_ = os.Remove(high.path(name))
	}
	b.await("node 1 takes over", func(f []frame) bool { return masterSince(f, 1, killed) })
	holds(1)
	low.stop()
	frames = b.await("node 1 resigns", func(f []frame) bool { return len(pick(f, from(1), prio(0))) > 0 })
	holds(-1)
	var sent []string
	for _, f := range pick(frames, is(advert)) {
		if f.ttl != 255 {
			t.Errorf("hop limit %d: %v", f.ttl, f)
		}
		sent = append(sent, fmt.Sprintf("node %d %v>%v %s", f.node, f.src, f.dst, hex.EncodeToString(f.payload)))
	}
	slices.Sort(sent)
	return slices.Compact(sent)
}
