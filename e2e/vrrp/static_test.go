// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/lvs-fnat/lvs/internal/testnet"
)

// routed waits until the node has, or has not, the route to 10.71.0.0/24.
func (n *node) routed(want bool) {
	n.t.Helper()
	testnet.Eventually(n.t, limit, func() error {
		list, err := n.Link.RouteList(nil, netlink.FAMILY_V4)
		if err != nil {
			return err
		}
		has := false
		for _, r := range list {
			has = has || r.Dst != nil && r.Dst.String() == "10.71.0.0/24"
		}
		if has != want {
			return fmt.Errorf("route %v, want %v", has, want)
		}
		return nil
	})
}

// TestTrackGroup: static objects that an instance needs are put back; while they
// cannot be, it is in FAULT. As the original.
func TestTrackGroup(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bed, n *node) {
		b.wire(n, "eth1", "10.60.0.1/24")
		began := time.Now()
		n.start(vi{prio: 150, outside: "track_group T {\n group {\n VI\n }\n}\nstatic_ipaddress {\n 10.70.0.1/24 dev eth1 track_group T\n}\n" +
			"static_routes {\n 10.71.0.0/24 via 10.70.0.2 dev eth1 track_group T\n}\nstatic_rules {\n from 10.70.0.0/24 table 70 preference 700 track_group T\n}"}.conf())
		b.await("master", func(f []frame) bool { return masterSince(f, 0, began) })
		b.holds(vip, 0)
		n.routed(true)
		testnet.Must(t, n.DelRoute(prefix("10.71.0.0/24"), netip.MustParseAddr("10.70.0.2")))
		n.routed(true)
		testnet.Must(t, n.DelAddr("eth1", prefix("10.70.0.1/24"))) // takes the route along
		testnet.Eventually(t, limit, func() error {
			if !n.has("10.70.0.1") {
				return fmt.Errorf("the address has not come back")
			}
			return nil
		})
		n.routed(true)
		testnet.Must(t, n.Down("eth1"))
		b.holds(vip, -1)
		testnet.Must(t, n.Up("eth1"))
		n.routed(true)
		b.holds(vip, 0)
	})
}

// TestExtraGARP: a master that has addresses on another link announces there, again
// and again.
func TestExtraGARP(t *testing.T) {
	t.Parallel()
	b := newBed(t, ours)
	n := b.nodes[0]
	b.wire(n, "eth1", "10.60.0.1/24")
	began := time.Now()
	n.start(vi{prio: 150, vips: []string{vip, "10.60.0.100/24 dev eth1", "10.60.0.101/24 dev eth1"},
		more: "garp_master_delay 0\n garp_master_repeat 1\n garp_extra_if all 1"}.conf())
	count := func(f []frame, addr string) int {
		return len(pick(f, is(garp), after(began), func(f frame) bool { return f.addr == netip.MustParseAddr(addr) }))
	}
	frames := b.await("announcements", func(f []frame) bool { return count(f, "10.60.0.100") >= 4 })
	if a, v := count(frames, "10.60.0.101"), count(frames, vip); a != 1 || v != 1 {
		t.Errorf("%d of the second address, %d of that beside the advertisements", a, v)
	}
	n.stop()
}

// TestTimerExpiredBackup: a master that stood still while another took over yields,
// and says nothing.
func TestTimerExpiredBackup(t *testing.T) {
	t.Parallel()
	b := newBed(t, ours, ours)
	began := time.Now()
	b.nodes[0].start(vi{prio: 150, noPreempt: true, more: "timer_expired_backup"}.conf())
	b.await("node 0 is master", func(f []frame) bool { return masterSince(f, 0, began) })
	b.nodes[1].start(vi{prio: 100, noPreempt: true}.conf())
	b.nodes[1].until("Entering BACKUP STATE", 1)
	child, stopped := b.nodes[0].child(), time.Now()
	testnet.Must(t, syscall.Kill(child, syscall.SIGSTOP))
	b.await("node 1 takes over", func(f []frame) bool { return masterSince(f, 1, stopped) })
	testnet.Must(t, syscall.Kill(child, syscall.SIGCONT))
	b.nodes[0].until("another may have taken over", 1)
	b.holds(vip, 1)
	b.quiet(1, 4)
	if list := pick(b.all(), from(0), alive, after(stopped.Add(2*time.Second))); len(list) > 0 {
		b.late("node 0 has sent %v", list)
	}
}

// TestLinkbeat: what the driver says counts as what netlink says.
func TestLinkbeat(t *testing.T) {
	t.Parallel()
	b := newBed(t, ours)
	n := b.nodes[0]
	began := time.Now()
	n.start(vi{prio: 150, outside: "linkbeat_interfaces {\n eth0\n nosuch ETHTOOL\n}"}.conf())
	b.await("master", func(f []frame) bool { return masterSince(f, 0, began) })
	n.until("linkbeat of eth0: using ETHTOOL", 1) // a veth has no transceiver
	testnet.Must(t, b.sw.Down(portName(n, "eth0")))
	b.holds(vip, -1)
	testnet.Must(t, b.sw.Up(portName(n, "eth0")))
	b.holds(vip, 0)
	if text, err := os.ReadFile(n.log); err != nil || strings.Contains(string(text), "linkbeat of nosuch") {
		t.Errorf("%v, %s", err, text)
	}
}
