// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lvs-fnat/lvs/internal/testnet"
)

// notice is what a kernel sends on its own account.
type notice struct {
	node   int
	mac    [6]byte
	kind   string // igmp, mld, solicit (a router), neighbour (an advertisement)
	target netip.Addr
}

// kernelNotice reads one off a frame.
func kernelNotice(b []byte) (notice, bool) {
	if len(b) < 14+40 {
		return notice{}, false
	}
	k, body := notice{mac: [6]byte(b[6:12])}, b[14:]
	switch binary.BigEndian.Uint16(b[12:]) {
	case unix.ETH_P_IP:
		k.kind = "igmp"
		return k, body[9] == unix.IPPROTO_IGMP
	case unix.ETH_P_IPV6:
		next, icmp := body[6], body[40:]
		if next == unix.IPPROTO_HOPOPTS && len(icmp) >= 9 {
			next, icmp = icmp[0], icmp[8:]
		}
		if next != unix.IPPROTO_ICMPV6 || len(icmp) == 0 {
			return k, false
		}
		switch k.kind = map[byte]string{131: "mld", 132: "mld", 143: "mld", 133: "solicit", 136: "neighbour"}[icmp[0]]; {
		case k.kind == "neighbour" && len(icmp) >= 24:
			k.target = netip.AddrFrom16([16]byte(icmp[8:24]))
		}
		return k, k.kind != ""
	}
	return k, false
}

// notices are those of a node so far.
func (l *lan) notices(node int) []notice {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(l.kernels), func(k notice) bool { return k.node != node })
}

// setting reads a sysctl of the node; "" if there is none.
func (n *node) setting(key string) string {
	var text string
	testnet.Must(n.t, n.Do(func() error {
		b, err := os.ReadFile(filepath.Join("/proc/sys/net", key))
		text = strings.TrimSpace(string(b))
		if os.IsNotExist(err) {
			err = nil
		}
		return err
	}))
	return text
}

// links tells what the programs may have made of the links of a node: those of
// virtual routers whole, of the others addresses and settings.
func (n *node) links() string {
	n.t.Helper()
	list, err := n.Link.LinkList()
	testnet.Must(n.t, err)
	names := map[int]string{}
	for _, l := range list {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	var out []string
	for _, l := range list {
		a := l.Attrs()
		var text strings.Builder
		fmt.Fprintf(&text, "%s %s", a.Name, l.Type())
		if m, ok := l.(*netlink.Macvlan); ok {
			fmt.Fprintf(&text, " mode %d on %s at %s group %d up %t", m.Mode, names[a.ParentIndex], a.HardwareAddr, a.Group, a.Flags&net.FlagUp != 0)
		}
		addrs, err := n.Link.AddrList(l, netlink.FAMILY_ALL)
		testnet.Must(n.t, err)
		var lines []string
		for _, x := range addrs {
			// Since 6.15 the kernel gives a protocol of addresses, too.
			lines = append(lines, fmt.Sprintf("  %v flags %#x scope %d preferred %t", x.IPNet, x.Flags&^unix.IFA_F_TENTATIVE, x.Scope, x.PreferedLft != 0))
		}
		slices.Sort(lines)
		for _, s := range []string{"arp_ignore", "arp_filter", "accept_local", "promote_secondaries"} {
			lines = append(lines, fmt.Sprintf("  %s %s", s, n.setting("ipv4/conf/"+a.Name+"/"+s)))
		}
		lines = append(lines, "  addr_gen_mode "+n.setting("ipv6/conf/"+a.Name+"/addr_gen_mode"), "  disable_ipv6 "+n.setting("ipv6/conf/"+a.Name+"/disable_ipv6"))
		// The kernel takes the stricter of two; the original forgets links that no router is on.
		if a.Name != "lo" && a.Name != "eth1" {
			lines = append(lines, "  rp_filter "+max(n.setting("ipv4/conf/all/rp_filter"), n.setting("ipv4/conf/"+a.Name+"/rp_filter")))
		}
		out = append(out, text.String()+"\n"+strings.Join(lines, "\n"))
	}
	slices.Sort(out)
	return strings.Join(out, "\n") + "\nigmp_link_local_mcast_reports " + n.setting("ipv4/igmp_link_local_mcast_reports") + "\n"
}

// another is one more virtual router.
func another(name, link string, id, version int, vip, more string) string {
	return fmt.Sprintf("vrrp_instance %s {\n interface %s\n virtual_router_id %d\n version %d\n priority 100\n virtual_ipaddress {\n %s\n }\n %s\n}\n", name, link, id, version, vip, more)
}

// TestVMACLinks: the links that virtual routers have for themselves, what they are
// called, their hardware and other addresses and all settings of theirs and of the
// links below are the same from both programs: while one is master, after a reload
// with other addresses, and when another process has found what a dead one has left.
// Ours leaves the host as it was.
func TestVMACLinks(t *testing.T) {
	t.Parallel()
	elsewhere := []string{vip, "10.60.0.100/24 dev eth1"}
	for name, s := range map[string]struct {
		router, next vi // next: after a reload; without vips: no reload
		before       func(n *node)
	}{
		"IPv4":     {router: vi{more: "use_vmac"}, next: vi{more: "use_vmac", vips: []string{vip, "192.168.50.101/24"}}},
		"IPv6":     {router: vi{version: 3, vips: vips6, more: "use_vmac"}, next: vi{version: 3, vips: vips6[:1], more: "use_vmac"}},
		"base":     {router: vi{more: "use_vmac\n vmac_xmit_base"}},
		"base6":    {router: vi{version: 3, vips: vips6, more: "use_vmac\n vmac_xmit_base"}},
		"named":    {router: vi{more: "use_vmac mine 02:00:00:00:00:07"}},
		"prefixes": {router: vi{vips: elsewhere, globalDefs: "vmac_prefix foo\n vmac_addr_prefix bar", more: "use_vmac\n use_vmac_addr"}},
		"elsewhere": {router: vi{vips: elsewhere, more: "use_vmac_addr"},
			next: vi{vips: []string{vip, "10.60.0.101/24 dev eth1"}, more: "use_vmac_addr"}},
		"elsewhere6": {router: vi{version: 3, vips: []string{"fe80::50:64", "2001:db8:60::64/64 dev eth1"}, more: "use_vmac\n use_vmac_addr"}},
		"stays":      {router: vi{vips: elsewhere, more: "use_vmac"}},
		"address":    {router: vi{vips: []string{vip, "192.168.50.101 use_vmac", "10.60.0.101/24 dev eth1 use_vmac"}}},
		"mixed":      {router: vi{more: "use_vmac\n virtual_ipaddress_excluded {\n 2001:db8:50::65\n }"}},
		"unicast": {router: vi{more: "use_vmac\n unicast_peer {\n 192.168.50.2\n }"}, before: func(n *node) { // who is not there
			testnet.Must(n.t, n.AddNeighbour("eth0", netip.MustParseAddr("192.168.50.2"), net.HardwareAddr{2, 0, 0, 0, 0, 2}))
		}},
		"unicast6": {router: vi{version: 3, vips: vips6, more: "use_vmac\n unicast_src_ip fe80::50:1\n unicast_peer {\n fe80::50:2\n }"}, before: func(n *node) {
			testnet.Must(n.t, n.AddNeighbour("eth0", netip.MustParseAddr("fe80::50:2"), net.HardwareAddr{2, 0, 0, 0, 0, 2}))
		}},
		"names": {router: vi{more: "use_vmac", outside: another("A", "eth1", 51, 2, "10.60.0.101", "use_vmac") +
			another("B", "eth0", 51, 3, "fe80::50:65", "use_vmac") + another("C", "eth1", 51, 3, "fe80::50:66", "use_vmac")}},
		"taken": {router: vi{more: "use_vmac"}, before: func(n *node) {
			attrs := netlink.NewLinkAttrs()
			attrs.Name = "vrrp.51"
			testnet.Must(n.t, n.AddLink(&netlink.Bridge{LinkAttrs: attrs}))
		}},
		"reverse path": {router: vi{more: "use_vmac"}, before: func(n *node) { testnet.Must(n.t, n.Sysctl("net/ipv4/conf/all/rp_filter", "1")) }},
		"local igmp":   {router: vi{globalDefs: "disable_local_igmp", more: "use_vmac"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			type seen struct{ Master, Reloaded, Again string }
			alike(t, func(t *testing.T, b *bed, n *node) seen {
				b.wire(n, "eth1", "10.60.0.1/24", "fe80::60:1/64")
				b.set(func(int, int, *frame) []time.Duration { return nil }) // two networks, not one
				if s.before != nil {
					s.before(n)
				}
				host := n.links()
				s.router.prio, s.next.prio = 150, 150
				conf := s.router.conf()
				var got seen
				n.start(conf)
				masters := 1 + strings.Count(s.router.outside, "vrrp_instance")
				n.until("Entering MASTER STATE", masters)
				got.Master = b.settled(n, masters)
				n.kill()
				// The original takes a number that the host has not reaped for a running one.
				for _, name := range []string{"pid", "vrrp.pid"} {
					_ = os.Remove(n.path(name))
				}
				n.start(conf)
				n.until("Entering BACKUP STATE (init)", 2*masters)
				if n.said("Entering MASTER STATE") == masters && n.has(vip) {
					t.Error("a backup has the address of the dead master")
				}
				n.until("Entering MASTER STATE", 2*masters)
				got.Again = b.settled(n, masters)
				if got.Again != got.Master {
					t.Errorf("after a kill, -first +second:\n%s", cmp.Diff(got.Master, got.Again))
				}
				if s.next.vips != nil || s.next.more != "" {
					n.reload(s.next.conf())
					got.Reloaded = b.settled(n, masters)
				}
				n.stop()
				if now := n.links(); n.program == ours && now != host {
					// What the dead process has changed is what the second one found.
					host = strings.NewReplacer("arp_ignore 1", "arp_ignore 0", "arp_filter 1", "arp_filter 0").Replace(host)
					now = strings.NewReplacer("arp_ignore 1", "arp_ignore 0", "arp_filter 1", "arp_filter 0", "mcast_reports 0", "mcast_reports 1").Replace(now)
					if d := cmp.Diff(host, now); d != "" {
						t.Errorf("-before +after:\n%s", d)
					}
				}
				return got
			})
		})
	}
}

// settled is links when each of the routers of the node has advertised twice more: what
// comes with a new state or configuration is there then.
func (b *bed) settled(n *node, routers int) string {
	n.t.Helper()
	at := time.Now()
	b.await("more adverts", func(f []frame) bool {
		count := map[string]int{}
		for _, x := range pick(f, from(n.index), alive, after(at)) {
			count[fmt.Sprintf("%d %x %s", x.vrid, x.mac, x.src)]++
		}
		twice := 0
		for _, k := range count {
			if k >= 2 {
				twice++
			}
		}
		return twice == routers
	})
	return n.links()
}

// TestVMACSilence: of the link of a virtual router only advertisements and
// announcements are seen: the kernel's reports of membership leave by the link below,
// from its hardware address, and it solicits no router. With disable_local_igmp there
// is no report of the group at all.
func TestVMACSilence(t *testing.T) {
	t.Parallel()
	for name, quiet := range map[string]bool{"diverted": false, "none": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			each(t, func(t *testing.T, b *bed, n *node) {
				conf := vi{prio: 150, more: "use_vmac", outside: another("SIX", "eth0", 52, 3, "fe80::50:65", "use_vmac")}
				if quiet {
					conf.globalDefs = "disable_local_igmp"
				}
				began := time.Now()
				n.start(conf.conf())
				b.await("adverts", func(f []frame) bool { return len(pick(f, from(0), alive, after(began), vrid(51))) >= 10 })
				base, err := n.MAC("eth0")
				testnet.Must(t, err)
				count := map[string]int{}
				for _, k := range b.notices(0) {
					count[k.kind]++
					if k.kind != "neighbour" && k.mac != [6]byte(base) {
						t.Errorf("%s from %x, want it from %s", k.kind, k.mac, base)
					}
				}
				if count["mld"] == 0 || count["igmp"] == 0 != quiet {
					t.Errorf("reports: %v", count)
				}
			})
		})
	}
}

// TestVMACNeighbour: a backup is asked for the link local address that its link of
// the virtual router shares with the one below. It answers from the one below alone:
// else switches would look for the router's hardware address at the backup. The
// original has this since 2.2.8.
func TestVMACNeighbour(t *testing.T) {
	t.Parallel()
	b := newBed(t, ours, ours)
	n, asker := b.nodes[0], b.nodes[1]
	n.start(vi{prio: 150, version: 3, vips: vips6, more: "use_vmac"}.conf())
	n.until("Entering MASTER STATE", 1)
	target := netip.MustParseAddr("fe80::50:1")
	link, err := asker.Link.LinkByName("eth0")
	testnet.Must(t, err, asker.Link.NeighDel(&netlink.Neigh{LinkIndex: link.Attrs().Index, IP: target.AsSlice()}))
	testnet.Must(t, asker.Do(func() error {
		conn, err := net.Dial("udp", net.JoinHostPort(target.String()+"%eth0", strconv.Itoa(9)))
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write([]byte("who are you?"))
		return err
	}))
	base, err := n.MAC("eth0")
	testnet.Must(t, err)
	answers := func() (macs []string) {
		for _, k := range b.notices(0) {
			if k.kind == "neighbour" && k.target == target {
				macs = append(macs, net.HardwareAddr(k.mac[:]).String())
			}
		}
		return macs
	}
	testnet.Eventually(t, limit, func() error {
		if got := answers(); len(got) == 0 {
			return fmt.Errorf("nobody has answered for %s", target)
		}
		return nil
	})
	// An answer of the other link would come with the first.
	at := time.Now()
	b.await("one more advert", func(f []frame) bool { return len(pick(f, from(0), alive, after(at))) > 0 })
	for _, mac := range answers() {
		if mac != base.String() {
			t.Errorf("%s answers for %s, want %s alone", mac, target, base)
		}
	}
}

// TestVMACOrphan: an address that a dead process has left on a link which today's
// configuration has under another name, or no more at all, goes with the next start.
func TestVMACOrphan(t *testing.T) {
	t.Parallel()
	for name, next := range map[string]vi{"another name": {more: "use_vmac other"}, "none": {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, ours)
			n := b.nodes[0]
			n.start(vi{prio: 150, more: "use_vmac"}.conf())
			n.until("Entering MASTER STATE", 1)
			b.holds(vip, 0)
			n.kill()
			next.prio, next.noPreempt = 100, true
			next.globalDefs = "vrrp_startup_delay 3"
			n.start(next.conf())
			n.until("Delaying startup", 1)
			if n.has(vip) {
				t.Error("the address of the dead master is there before anybody is master")
			}
			n.until("Entering MASTER STATE", 2)
			links := n.links()
			if strings.Contains(links, "vrrp.51") == (name == "another name") {
				t.Errorf("links:\n%s", links)
			}
		})
	}
}

// TestVMACGroup: use_vmac can say of which group the link is; else it is that of the
// link below.
func TestVMACGroup(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]struct {
		words string
		want  string
	}{"own": {"use_vmac name mine group 77 netlink_notify_msg", "mine macvlan"}, "base's": {"use_vmac", "vrrp.51 macvlan"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, ours)
			n := b.nodes[0]
			link, err := n.Link.LinkByName("eth0")
			testnet.Must(t, err, n.Link.LinkSetGroup(link, 33))
			n.start(vi{prio: 150, more: s.words}.conf())
			n.until("Entering MASTER STATE", 1)
			group := map[string]string{"own": "group 77 ", "base's": "group 33 "}[name]
			if links := n.links(); !strings.Contains(links, s.want) || !strings.Contains(links, group) {
				t.Errorf("want %s with %s:\n%s", s.want, group, links)
			}
		})
	}
}

// TestVMACKillChild: the VRRP process of a master with a link of its own dies; the next
// one replaces link and address, begins as a backup, and advertises from the router's
// hardware address again. Never are there two masters for longer than with the originals.
func TestVMACKillChild(t *testing.T) {
	t.Parallel()
	asOriginals(t, combinations(t, func(t *testing.T, b *bed) int {
		conf := vi{prio: 100, more: "use_vmac"}
		began := time.Now()
		b.nodes[1].start(conf.conf())
		b.nodes[1].until("Entering BACKUP STATE", 1)
		conf.prio = 150
		high := b.nodes[0]
		high.start(conf.conf())
		b.await("node 0 is master", func(f []frame) bool { return masterSince(f, 0, began) })
		b.holds(vip, 0)
		testnet.Must(t, unix.Kill(high.child(), unix.SIGKILL))
		high.until("Starting VRRP child process", 2)
		killed := time.Now()
		frames := b.await("node 0 is master again", func(f []frame) bool { return masterSince(f, 0, killed) })
		b.holds(vip, 0)
		for _, f := range pick(frames, from(0), is(advert)) {
			if f.mac != [6]byte{0, 0, 0x5e, 0, 1, 51} {
				t.Errorf("from %x: %v", f.mac, f)
			}
		}
		return contested(pick(frames, after(killed)), 51)
	}))
}
