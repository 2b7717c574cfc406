// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/lvs-fnat/lvs/internal/testnet"
)

// bridge gives the node a bridge br0 over eth0, with its addresses.
func (n *node) bridge() {
	n.t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "br0"
	attrs.HardwareAddr = net.HardwareAddr{2, 0, 0, 0, 0, 0xb0}
	testnet.Must(n.t, n.AddLink(&netlink.Bridge{LinkAttrs: attrs}))
	br, err := n.Link.LinkByName("br0")
	testnet.Must(n.t, err)
	port, err := n.Link.LinkByName("eth0")
	testnet.Must(n.t, err, n.Link.LinkSetMaster(port, br))
	testnet.Must(n.t, n.AddAddr("br0", prefix("192.168.60.1/24"), prefix("fe80::60:1/64")))
}

// TestVMACBase: the link below that of a virtual router changes its MTU and its hardware
// address, which changes nothing for the router; then it is removed, with all on it, and
// made anew: the router is in FAULT meanwhile, and then master again, with a link as the
// first. Both programs leave the host alike at each step.
//
//	node br0 ── eth0 ── switch
//	      └ vrrp.51
func TestVMACBase(t *testing.T) {
	t.Parallel()
	type seen struct{ Master, Changed, Gone, Again string }
	alike(t, func(t *testing.T, b *bed, n *node) seen {
		n.bridge()
		router := [6]byte{0, 0, 0x5e, 0, 1, 51}
		const address = "192.168.60.100"
		n.start(vi{prio: 150, link: "br0", vips: []string{address}, more: "use_vmac\n garp_master_refresh 2", globalDefs: "dynamic_interfaces"}.conf())
		n.until("Entering MASTER STATE", 1)
		var got seen
		got.Master = b.settled(n, 1)

		br, err := n.Link.LinkByName("br0")
		testnet.Must(t, err, n.Link.LinkSetMTU(br, 1400), n.Link.LinkSetHardwareAddr(br, net.HardwareAddr{2, 0, 0, 0, 0, 0xb1}))
		changed := time.Now()
		b.await("announcements go on", func(f []frame) bool { return len(pick(f, is(garp), after(changed))) >= 2 })
		got.Changed = b.settled(n, 1)
		if k := n.said("Entering MASTER STATE"); k != 1 || n.said("Entering FAULT STATE") != 0 {
			t.Errorf("it changed its state: master %d times", k)
		}

		testnet.Must(t, n.Link.LinkDel(br))
		n.until("Entering FAULT STATE", 1)
		b.holds(address, -1)
		got.Gone = n.links()
		n.bridge()
		n.until("Entering MASTER STATE", 2)
		got.Again = b.settled(n, 1)
		for _, f := range pick(b.all(), is(advert)) {
			if f.mac != router {
				t.Errorf("from %x: %v", f.mac, f)
			}
		}
		for _, f := range pick(b.all(), is(garp)) {
			if f.addr.String() == address && f.mac != router {
				t.Errorf("from %x: %v", f.mac, f)
			}
		}
		n.stop()
		b.holds(address, -1)
		return got
	})
}

// TestBaseAddress: a master without a link of its own announces from the hardware
// address that its link has now.
func TestBaseAddress(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bed, n *node) {
		began := time.Now()
		n.start(vi{prio: 150, more: "garp_master_refresh 1"}.conf())
		b.await("node 0 is master", func(f []frame) bool { return masterSince(f, 0, began) })
		link, err := n.Link.LinkByName("eth0")
		mac := net.HardwareAddr{2, 0, 0, 0, 0, 0xe1}
		testnet.Must(t, err, n.Link.LinkSetHardwareAddr(link, mac))
		fromNew := func(f frame) bool { return f.mac == [6]byte(mac) }
		b.await("announcements and adverts from the new one", func(f []frame) bool {
			return len(pick(f, is(garp), fromNew)) >= 2 && len(pick(f, alive, fromNew)) >= 2
		})
		if n.said("Entering FAULT STATE") != 0 {
			t.Error("it has changed its state")
		}
	})
}

// TestReloadLocalIGMP: disable_local_igmp cannot change while the groups are joined: a
// reload that would is refused, and all stays as it is.
func TestReloadLocalIGMP(t *testing.T) {
	t.Parallel()
	const reports = "ipv4/igmp_link_local_mcast_reports"
	for name, words := range map[string][2]string{"set": {"", "disable_local_igmp"}, "taken back": {"disable_local_igmp", ""}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, ours)
			n := b.nodes[0]
			conf := vi{prio: 150, more: "use_vmac", globalDefs: words[0]}
			began := time.Now()
			n.start(conf.conf())
			b.await("node 0 is master", func(f []frame) bool { return masterSince(f, 0, began) })
			before := n.setting(reports)
			if want := map[string]string{"": "1", "disable_local_igmp": "0"}[words[0]]; before != want {
				t.Errorf("reports are %s, want %s", before, want)
			}
			next := conf
			next.globalDefs, next.prio = words[1], 200
			at := time.Now()
			n.write(next.conf())
			n.signal(syscall.SIGHUP)
			n.until("Cannot change disable_local_igmp at a reload", 1)
			frames := b.await("the master goes on", func(f []frame) bool { return len(pick(f, from(0), prio(150), after(at))) >= 3 })
			if list := pick(frames, after(at), func(f frame) bool { return f.what == advert && f.prio != 150 }); len(list) > 0 {
				t.Errorf("it goes by the file that was refused: %v", list)
			}
			if now := n.setting(reports); now != before {
				t.Errorf("reports are %s, were %s", now, before)
			}
			// The same as before is no change.
			conf.prio = 160
			n.reload(conf.conf())
			b.await("the new priority", func(f []frame) bool { return len(pick(f, from(0), prio(160))) >= 2 })
			n.stop()
			if now := n.setting(reports); now != "1" {
				t.Errorf("reports are %s after the end", now)
			}
		})
	}
}
