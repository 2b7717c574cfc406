// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/vrrp"
)

// TestStrict: strict_mode takes back what the RFCs do not know: authentication, other
// timers, delays of preemption, an answer to what is lower; and a master that does not own
// its addresses does not answer for them. Unicast stays unicast.
func TestStrict(t *testing.T) {
	// With these in force nobody would take over, or preempt, within the limit of a test.
	const loose = "strict_mode\n down_timer_adverts 90\n preempt_delay 900\n garp_lower_prio_repeat 3\n higher_prio_send_advert\n" +
		"authentication {\n auth_type PASS\n auth_pass secret\n }"
	for name, version := range map[string]int{"v2": 2, "v3": 3, "unicast": 3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			combinations(t, func(t *testing.T, b *bed) int {
				high, low := b.nodes[0], b.nodes[1]
				began := time.Now()
				conf := func(i int) string {
					v := vi{prio: 150 - 50*i, version: version, state: "MASTER", more: loose}
					if name == "unicast" {
						v.more += fmt.Sprintf("\n unicast_src_ip 192.168.50.%d\n unicast_peer {\n 192.168.50.%d\n }", i+1, 2-i)
					}
					return v.conf()
				}
				high.start(conf(0))
				b.await("node 0 is master", func(f []frame) bool { return masterSince(f, 0, began) })
				if d := firstAdvert(b.all(), 0, began).Sub(began); d < 3*time.Second {
					t.Errorf("master after %v: it does not own its addresses", d)
				}
				low.start(conf(1))
				low.until("Entering BACKUP STATE", 1)
				b.quiet(0, 3)
				b.holds(vip, 0)
				for _, f := range pick(b.all(), is(advert)) {
					// Authentication is the fifth byte of version 2; of version 3 none are left over.
					if f.dst.IsMulticast() == (name == "unicast") || version == 2 && f.payload[4] != 0 || version == 3 && len(f.payload) != 12 {
						t.Errorf("%v %x", f, f.payload)
					}
				}
				err := dial(t, low, vip, 2*time.Second)
				if refused := errors.Is(err, syscall.ECONNREFUSED); refused {
					t.Errorf("the address answers %v", err)
				}

				// A master only discards an advert of lower priority.
				answered, rounds := 0, 6
				if name == "unicast" { // which hears its peers alone
					rounds = 0
				}
				for range rounds {
					lower := vrrp.Advert{Version: version, VRID: 51, Priority: 50, Interval: time.Second, Addrs: []netip.Addr{netip.MustParseAddr(vip)}}
					packet, err := lower.AppendIPv4(nil, netip.MustParseAddr("192.168.50.9"), vrrp.MulticastIPv4, 1, vrrp.TTL, vrrp.ChecksumPseudo, [8]byte{}, 0)
					testnet.Must(t, err)
					last := lastAdvert(b.all(), 0, time.Now())
					at := time.Now()
					b.inject(0, packet)
					frames := b.await("the next advert", func(f []frame) bool { return len(pick(f, from(0), alive, after(at))) > 0 })
					// What was due anyhow comes a second after the one before.
					if firstAdvert(frames, 0, at).Sub(last) < 700*time.Millisecond {
						answered++
					}
				}
				if answered > rounds/2 {
					t.Errorf("%d of %d adverts of lower priority were answered at once", answered, rounds)
				}

				killed := time.Now()
				high.kill()
				testnet.Must(t, high.DelAddr("eth0", prefix(vip+"/32"))) // as its host dies
				frames := b.await("node 1 takes over", func(f []frame) bool { return masterSince(f, 1, killed) })
				within(t, "take-over after a death", firstAdvert(frames, 1, killed).Sub(lastAdvert(frames, 0, time.Now())), masterDown(100), masterDown(100))
				again := time.Now()
				high.start(conf(0))
				b.await("node 0 preempts", func(f []frame) bool { return masterSince(f, 0, again) })
				b.holds(vip, 0)
				return 0
			})
		})
	}
}
