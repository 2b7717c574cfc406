// SPDX-License-Identifier: Apache-2.0

package testnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

// The addresses of the topology. VIPs are on the director's front link, local
// addresses on its back link.
var (
	FrontNet4 = netip.MustParsePrefix("10.0.1.0/24")
	FrontNet6 = netip.MustParsePrefix("2001:db8:1::/64")
	BackNet4  = netip.MustParsePrefix("10.0.2.0/24")
	BackNet6  = netip.MustParsePrefix("2001:db8:2::/64")

	VIP4 = netip.MustParseAddr("10.0.1.100")
	VIP6 = netip.MustParseAddr("2001:db8:1::100")

	// LIP4 and LIP6 are the director's local addresses for FNAT.
	LIP4 = addrs("10.0.2.201", "10.0.2.202", "10.0.2.203", "10.0.2.204")
	LIP6 = addrs("2001:db8:2::201", "2001:db8:2::202", "2001:db8:2::203", "2001:db8:2::204")

	DirectorFront4 = netip.MustParseAddr("10.0.1.1")
	DirectorFront6 = netip.MustParseAddr("2001:db8:1::1")
	DirectorBack4  = netip.MustParseAddr("10.0.2.1")
	DirectorBack6  = netip.MustParseAddr("2001:db8:2::1")
)

func addrs(s ...string) []netip.Addr {
	var a []netip.Addr
	for _, x := range s {
		a = append(a, netip.MustParseAddr(x))
	}
	return a
}

// Plan says what NewTopology builds; the zero value is one client and two real
// servers that know no way to the client.
type Plan struct {
	Clients int // 0 is 1
	Servers int // 0 is 2
	// Gateway makes the director the real servers' default route, as NAT needs it
	// and FNAT does not.
	Gateway bool
	// Neighbours makes all neighbour entries permanent: no ARP, no neighbour
	// discovery on the wire, and equal runs look equal.
	Neighbours bool
}

// Host is one machine of the topology, with a link named eth0.
type Host struct {
	*NS
	V4, V6 netip.Addr
	MAC    net.HardwareAddr
}

// Topology is the network most tests and the lab use. Both switches are bridges in
// a namespace sw; it takes part in nothing.
//
//	 c  10.0.1.2                            r1  10.0.2.11
//	    2001:db8:1::2                           2001:db8:2::11
//	    eth0                                    eth0
//	      │                                       │
//	 ┌────┴────┐        ┌─────────────┐       ┌───┴────┐
//	 │  front  ├─ front ┤      d      ├ back ─┤  back  │
//	 └────┬────┘   .1   │ VIP    LIPs │  .1   └───┬────┘
//	      │        ::1  │ .100   .201 │  ::1      │
//	    eth0            │ ::100  …204 │         eth0
//	c2, c3, …           └─────────────┘     r2  10.0.2.12, r3, …
//	    10.0.1.3 …                              2001:db8:2::12
//
// Clients reach the back net through d; real servers have no route out of it
// (unless Plan.Gateway).
type Topology struct {
	C []*Host // clients
	D *Host   // the director; its links are front and back, MAC is front's
	R []*Host // real servers

	sw  *NS
	all []*NS
}

// Build makes the topology; Close removes it.
func Build(p Plan) (*Topology, error) {
	top := &Topology{}
	if err := top.build(p); err != nil {
		return nil, errors.Join(err, top.Close())
	}
	return top, nil
}

// NewTopology is Build for a test: it fails t on errors and closes when t ends.
func NewTopology(t testing.TB, p Plan) *Topology {
	t.Helper()
	top, err := Build(p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := top.Close(); err != nil {
			t.Error(err)
		}
	})
	return top
}

// Close removes all namespaces.
func (top *Topology) Close() error {
	var errs []error
	for _, n := range top.all {
		errs = append(errs, n.Close())
	}
	top.all = nil
	return errors.Join(errs...)
}

func (top *Topology) open(name string) (*NS, error) {
	n, err := Open(name)
	if err == nil {
		top.all = append(top.all, n)
	}
	return n, err
}

func (top *Topology) build(p Plan) error {
	p.Clients, p.Servers = max(p.Clients, 1), max(p.Servers, 2)
	if err := top.switches(); err != nil {
		return err
	}
	for i := range p.Clients {
		name := "c"
		if i > 0 {
			name = fmt.Sprintf("c%d", i+1)
		}
		h, err := top.host(name, "front", nth(FrontNet4, 2+i), nth(FrontNet6, 2+i))
		if err != nil {
			return err
		}
		top.C = append(top.C, h)
		if err := errors.Join(h.AddRoute(BackNet4, DirectorFront4), h.AddRoute(BackNet6, DirectorFront6)); err != nil {
			return err
		}
	}
	if err := top.director(); err != nil {
		return err
	}
	for i := range p.Servers {
		h, err := top.host(fmt.Sprintf("r%d", i+1), "back", nth(BackNet4, 11+i), nth(BackNet6, 0x11+i))
		if err != nil {
			return err
		}
		top.R = append(top.R, h)
		if p.Gateway {
			any4, any6 := netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)
			if err := errors.Join(h.AddRoute(any4, DirectorBack4), h.AddRoute(any6, DirectorBack6)); err != nil {
				return err
			}
		}
	}
	if p.Neighbours {
		return top.neighbours()
	}
	return nil
}

// nth returns the address of net whose last byte is n.
func nth(p netip.Prefix, n int) netip.Addr {
	b := p.Addr().AsSlice()
	b[len(b)-1] = byte(n)
	a, _ := netip.AddrFromSlice(b)
	return a
}

func (top *Topology) switches() error {
	sw, err := top.open("sw")
	if err != nil {
		return err
	}
	top.sw = sw
	if err := sw.Sysctl("net/ipv6/conf/default/disable_ipv6", "1"); err != nil {
		return err
	}
	for _, name := range []string{"front", "back"} {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		snoop := false
		if err := sw.AddLink(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snoop}); err != nil {
			return err
		}
	}
	return nil
}

// join connects a link of n, with a hardware address that does not change from run
// to run, to a switch.
func (top *Topology) join(n *NS, link, bridge string, v4 netip.Addr) (net.HardwareAddr, error) {
	port := bridge[:1] + "-" + n.Name
	if err := Veth(n, link, top.sw, port); err != nil {
		return nil, err
	}
	l, err := n.link(link)
	if err != nil {
		return nil, err
	}
	b := v4.As4()
	mac := net.HardwareAddr{2, 0, b[0], b[1], b[2], b[3]}
	if err := n.Link.LinkSetHardwareAddr(l, mac); err != nil {
		return nil, n.wrap(err, "address of %s", link)
	}
	br, err := top.sw.link(bridge)
	if err != nil {
		return nil, err
	}
	p, err := top.sw.link(port)
	if err != nil {
		return nil, err
	}
	return mac, top.sw.wrap(top.sw.Link.LinkSetMaster(p, br), "%s into %s", port, bridge)
}

func (top *Topology) host(name, bridge string, v4, v6 netip.Addr) (*Host, error) {
	n, err := top.open(name)
	if err != nil {
		return nil, err
	}
	mac, err := top.join(n, "eth0", bridge, v4)
	if err != nil {
		return nil, err
	}
	return &Host{NS: n, V4: v4, V6: v6, MAC: mac},
		n.AddAddr("eth0", netip.PrefixFrom(v4, 24), netip.PrefixFrom(v6, 64))
}

func (top *Topology) director() error {
	d, err := top.open("d")
	if err != nil {
		return err
	}
	mac, err := top.join(d, "front", "front", DirectorFront4)
	if err != nil {
		return err
	}
	if _, err := top.join(d, "back", "back", DirectorBack4); err != nil {
		return err
	}
	top.D = &Host{NS: d, V4: DirectorFront4, V6: DirectorFront6, MAC: mac}
	var errs []error
	for _, setting := range []string{"net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1",
		"net.ipv4.conf.all.send_redirects=0", "net.ipv4.conf.front.send_redirects=0", "net.ipv4.conf.back.send_redirects=0",
		"net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.front.rp_filter=0", "net.ipv4.conf.back.rp_filter=0"} {
		key, value, _ := strings.Cut(setting, "=")
		errs = append(errs, d.Sysctl(key, value))
	}
	front := []netip.Prefix{netip.PrefixFrom(DirectorFront4, 24), netip.PrefixFrom(DirectorFront6, 64), host(VIP4), host(VIP6)}
	back := []netip.Prefix{netip.PrefixFrom(DirectorBack4, 24), netip.PrefixFrom(DirectorBack6, 64)}
	for i := range LIP4 {
		back = append(back, host(LIP4[i]), host(LIP6[i]))
	}
	return errors.Join(append(errs, d.AddAddr("front", front...), d.AddAddr("back", back...))...)
}

func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// neighbours tells every machine the hardware address of all others on its nets.
func (top *Topology) neighbours() error {
	d := top.D
	back, err := d.NS.MAC("back")
	if err != nil {
		return err
	}
	var errs []error
	for _, h := range top.C {
		errs = append(errs, d.AddNeighbour("front", h.V4, h.MAC), d.AddNeighbour("front", h.V6, h.MAC))
		for _, a := range []netip.Addr{DirectorFront4, DirectorFront6, VIP4, VIP6} {
			errs = append(errs, h.AddNeighbour("eth0", a, d.MAC))
		}
	}
	for _, h := range top.R {
		errs = append(errs, d.AddNeighbour("back", h.V4, h.MAC), d.AddNeighbour("back", h.V6, h.MAC))
		for _, a := range append(append([]netip.Addr{DirectorBack4, DirectorBack6}, LIP4...), LIP6...) {
			errs = append(errs, h.AddNeighbour("eth0", a, back))
		}
	}
	return errors.Join(errs...)
}
