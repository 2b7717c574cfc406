// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/internal/testnet"
)

// TestLinkDelays: with interface_up_down_delays a link that is down for less than its
// delay has not been; one that is down for longer takes the master along then, and
// counts as up only a while after it is. The original keeps to delays of a second or two,
// longer ones end as early.
func TestLinkDelays(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bed, n *node) {
		const down, up = 2 * time.Second, time.Second
		began := time.Now()
		n.start(vi{prio: 150, outside: "interface_up_down_delays {\n eth0 2 1\n}"}.conf())
		b.await("master", func(f []frame) bool { return masterSince(f, 0, began) })
		b.holds(vip, 0)
		port := portName(n, "eth0")
		testnet.Must(t, b.sw.Down(port), b.sw.Up(port))
		flapped := time.Now()
		b.await("it goes on", func(f []frame) bool { return len(pick(f, from(0), alive, after(flapped))) >= 6 })
		if !n.has(vip) || n.said("Entering FAULT STATE") > 0 {
			t.Error("a flap was taken for a fault")
		}
		cut := time.Now()
		testnet.Must(t, b.sw.Down(port))
		b.holds(vip, -1)
		if d := time.Since(cut); d < down/2 {
			t.Errorf("a fault after %v, want %v", d, down)
		}
		n.until("Entering FAULT STATE", 1)
		mended := time.Now()
		testnet.Must(t, b.sw.Up(port))
		frames := b.await("master again", func(f []frame) bool { return masterSince(f, 0, mended) })
		within(t, "mastership after the link is up", firstAdvert(frames, 0, mended).Sub(mended), up/2+masterDown(150), up+masterDown(150))
	})
}

// TestFaultWithoutPeer: unicast without a peer is a fault with unicast_fault_no_peer, else
// multicast.
func TestFaultWithoutPeer(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bed, n *node) {
		more := "unicast_peer {\n }"
		second := vi{name: "VI2", id: 52, prio: 150, vips: []string{"192.168.50.120"}, more: more}.conf()
		began := time.Now()
		n.start(vi{prio: 150, more: more + "\n unicast_fault_no_peer"}.conf() + second)
		frames := b.await("the second is master", func(f []frame) bool { return len(pick(f, vrrpID(52), after(began))) >= 4 })
		if list := pick(frames, vrrpID(51)); len(list) > 0 {
			t.Errorf("without a peer: %v", list)
		}
		for _, f := range pick(frames, vrrpID(52)) {
			if f.dst.String() != "224.0.0.18" {
				t.Errorf("%v", f)
			}
		}
		if n.has(vip) || n.said("(VI) Entering FAULT STATE")+n.said("(VI) Cannot use unicast without any peers - going to fault state") == 0 {
			t.Error("no fault without a peer")
		}
	})
}
