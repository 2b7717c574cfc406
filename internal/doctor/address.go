// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"io/fs"
	"net/netip"
	"slices"
	"strings"

	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/parser"
)

// addresses: a packet is only balanced if the host takes it for its own.
func (e *exam) addresses() {
	var err error
	if e.addrs, err = e.sys.Network.Addrs(); err != nil {
		e.unseen("address", err)
	}
	seen := map[netip.Addr]bool{}
	good := 0
	e.services(func(vs *config.VirtualServer) {
		for _, ep := range vs.Endpoints {
			vip := ep.Addr.Addr()
			if ep.FWMark != 0 || seen[vip] {
				continue
			}
			seen[vip] = true
			_, local, err := e.sys.Network.Route(vip)
			switch {
			case err == nil && local:
				good++
			case e.vrrp[vip]:
				e.add("address", OK, "", "%s of %s comes with VRRP and is not here now", vip, vs.Name)
			case vs.HASuspend || vs.QuorumUp.Command != "":
				e.add("address", Note, "", "%s of %s is not on this host now; ha_suspend or quorum_up of it wait for that (%s)", vip, vs.Name, at(vs.Pos))
			default:
				e.add("address", Error, "ip address add "+host(vip)+" dev INTERFACE, or have a vrrp_instance do it",
					"%s of virtual server %s is not an address of this host: its packets are not balanced (%s)", vip, vs.Name, at(vs.Pos))
			}
		}
	})
	if good > 0 {
		e.add("address", OK, "", "%s here", count(good, "service address"))
	}
}

// host is an address as a prefix of its own.
func host(a netip.Addr) string { return netip.PrefixFrom(a, a.BitLen()).String() }

// narrow is how few ports make a default range too small to be meant.
const narrow = 4096

// localAddresses: those of FNAT, their ports, and how full they are.
func (e *exam) localAddresses() {
	if len(e.cfg.LaddrGroups) == 0 {
		return
	}
	eph, err := config.ReadEphemeral(func(name string) ([]byte, error) {
		return fs.ReadFile(e.sys.Files, strings.TrimPrefix(name, "/"))
	})
	if err != nil {
		e.unseen("laddr", err)
		eph = config.Ephemeral{}
	}
	n := 0
	faults := len(e.findings)
	gapTold := false
	for _, g := range e.cfg.LaddrGroups {
		e.laddrsHere(g)
		for _, a := range g.Addrs {
			n++
			switch {
			case !a.Ports.IsZero():
				if clash, bad := eph.Clash(a.Ports); bad && a.Flags&ipvs.LaddrForce == 0 {
					e.add("laddr", Error, "sysctl -w net.ipv4.ip_local_reserved_ports="+reserve(eph, clash)+", or choose other ports",
						"ports %s of local address %s overlap net.ipv4.ip_local_port_range %s: ip_vs refuses them (%s)", a.Ports, a.Addr, eph.Local, at(a.Pos))
				}
			case err == nil && !gapTold && gap(eph.Local) < narrow:
				gapTold = true
				s, what := Warning, "which connections use up soon"
				if gap(eph.Local) == 0 {
					s, what = Error, "so ip_vs refuses it"
				}
				e.add("laddr", s, "sysctl -w net.ipv4.ip_local_port_range='32768 60999', or give the local addresses ranges",
					"beside net.ipv4.ip_local_port_range %s there are %d ports for local address %s, %s (%s)", eph.Local, gap(eph.Local), a.Addr, what, at(a.Pos))
			}
		}
	}
	e.forecast()
	if faults == len(e.findings) {
		e.add("laddr", OK, "", "%s here, with ports of their own beside %s", count(n, "local address"), eph.Local)
	}
}

// laddrsHere: replies of real servers come to them, so the host must take them.
func (e *exam) laddrsHere(g config.LaddrGroup) {
	var missing []string
	var first config.Laddr
	for _, a := range g.Addrs {
		if a.Flags&(ipvs.LaddrForce|ipvs.LaddrForeign) != 0 || e.vrrp[a.Addr] {
			continue
		}
		if _, local, err := e.sys.Network.Route(a.Addr); err == nil && local {
			continue
		}
		if len(missing) == 0 {
			first = a
		}
		missing = append(missing, a.Addr.String())
	}
	switch len(missing) {
	case 0:
	case 1:
		e.add("laddr", Error, "ip address add "+host(first.Addr)+" dev INTERFACE, the one towards the real servers",
			"local address %s is not an address of this host: ip_vs refuses it (%s)", first.Addr, at(first.Pos))
	default:
		e.add("laddr", Error, "ip address add "+host(first.Addr)+" dev INTERFACE, the one towards the real servers, and so on",
			"local addresses %s are not addresses of this host: ip_vs refuses them (%s)", some(missing), at(first.Pos))
	}
}

// reserve is what the sysctl holds, with ports added: writing it replaces all.
func reserve(eph config.Ephemeral, ports parser.PortRange) string {
	var all []string
	for _, r := range append(slices.Clone(eph.Reserved), ports) {
		all = append(all, r.String())
	}
	return strings.Join(all, ",")
}

// gap is how many ports the kernel gives a local address that names none: the
// larger side of the host's own, above 1023.
func gap(own parser.PortRange) int {
	return max(int(own.Min)-1024, 65535-int(own.Max), 0)
}

// nearlyFull is the share in use from which on something is to be done.
const nearlyFull = 0.80

// forecast warns of groups that run out of ports.
func (e *exam) forecast() {
	if e.sys.Tables == nil {
		return
	}
	groups, err := e.sys.Tables.LGroups(e.ctx)
	if errors.Is(err, ipvs.ErrNoExt) || errors.Is(err, ipvs.ErrNoIPVS) {
		return
	}
	if err != nil {
		e.unseen("laddr", err)
		return
	}
	for _, g := range groups {
		s := Warning
		switch used := g.Used(); {
		case used >= 1:
			s = Error
		case used < nearlyFull:
			continue
		}
		e.add("laddr", s, "add local addresses to the group, or widen their ranges",
			"group %s has %.0f %% of its ports in use towards %s: without a port a new connection is refused", g.Name, 100*g.Used(), g.RS)
	}
}

// lists: a list of clients that does not exist is refused with its service.
func (e *exam) lists() {
	good, bad := map[string]bool{}, 0
	e.services(func(vs *config.VirtualServer) {
		if vs.Ext.Limits.ACL == ipvs.ACLOff {
			return
		}
		for _, ep := range vs.Endpoints {
			name, family := vs.Ext.Limits.ACLSet4, ipvs.IPv4
			if ep.Family == config.IPv6 {
				name, family = vs.Ext.Limits.ACLSet6, ipvs.IPv6
			}
			if name == "" || good[name] {
				continue
			}
			got, err := e.sys.Network.IPSet(name)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				bad++
				e.add("acl", Error, "ipset create "+name+" hash:net"+map[bool]string{true: " family inet6"}[family == ipvs.IPv6],
					"there is no ipset %s, the list of virtual server %s (%s)", name, vs.Name, at(vs.Pos))
			case err != nil:
				e.unseen("acl", err)
			case got != 0 && got != family:
				bad++
				e.add("acl", Error, "name a set of the service's family", "ipset %s holds addresses of the other family than virtual server %s (%s)", name, vs.Name, at(vs.Pos))
			default:
				good[name] = true
			}
		}
	})
	if len(good) > 0 && bad == 0 {
		e.add("acl", OK, "", "%s here", count(len(good), "list"))
	}
}
