// SPDX-License-Identifier: Apache-2.0

package config

import (
	"math"
	"net/netip"
	"strings"

	"github.com/lvs-fnat/lvs/parser"
)

// maxEndpoints bounds what the ranges of one virtual_server_group can give.
const maxEndpoints = 65536

// serverGroup is a virtual_server_group: addresses and marks that share real servers.
type serverGroup struct {
	pos       Pos
	members   []GroupMember
	endpoints []Endpoint
	broken    bool
}

func readServerGroup(l *loader, n *parser.Node, cfg *Config) {
	name, ok := l.word(n, 1, "name of the group")
	if !ok {
		return
	}
	if first, dup := l.vsGrp[name]; dup {
		l.info(n.ArgPos(1), "virtual_server_group '%s' is already defined at line %d of %s: this one is ignored", name, first.pos.Line, first.pos.File)
		return
	}
	g := &serverGroup{pos: n.Pos()}
	l.vsGrp[name] = g
	for _, c := range n.Children {
		if !l.readEntry(c, g) {
			g.broken = true
		}
	}
	if len(g.endpoints) == 0 && !g.broken {
		l.error(g.pos, "virtual_server_group '%s' has no addresses: write lines of ADDRESS PORT or fwmark NUMBER into it", name)
		g.broken = true
	}
	if !g.broken {
		cfg.ServerGroups = append(cfg.ServerGroups, ServerGroup{Name: name, Members: g.members})
	}
}

// readEntry reads ADDRESS[-LAST] [PORT[-PORT]] or fwmark NUMBER [inet|inet6].
func (l *loader) readEntry(n *parser.Node, g *serverGroup) bool {
	if n.Key() == "fwmark" {
		mark, ok := l.int(n, 1, 1, math.MaxUint32)
		if !ok {
			return false
		}
		e := Endpoint{FWMark: uint32(mark), Pos: n.Pos()}
		if len(n.Words) > 2 {
			k, ok := l.oneOf(n, 2, "inet", "inet6")
			if !ok {
				return false
			}
			e.Family = [...]Family{IPv4, IPv6}[k]
		}
		g.endpoints = append(g.endpoints, e)
		g.members = append(g.members, GroupMember{FWMark: e.FWMark})
		return true
	}
	addrs, err := parser.ParseAddrRange(n.Key())
	if err != nil {
		l.error(n.Pos(), "bad virtual server address %v", err)
		return false
	}
	ports, ok := l.entryPorts(n)
	if !ok {
		return false
	}
	m := GroupMember{Ports: ports}
	for a := range addrs.All() {
		if m.Last = a.Unmap(); !m.First.IsValid() {
			m.First = m.Last
		}
		for p := int(ports.Min); p <= int(ports.Max); p++ {
			if len(g.endpoints) == maxEndpoints {
				l.error(n.Pos(), "more than %d addresses and ports in one virtual_server_group: make the ranges smaller", maxEndpoints)
				return false
			}
			a := a.Unmap()
			g.endpoints = append(g.endpoints, Endpoint{Addr: netip.AddrPortFrom(a, uint16(p)), Family: FamilyOf(a), Pos: n.Pos()})
		}
	}
	g.members = append(g.members, m)
	return true
}

// entryPorts gives 0 to 0, every port in one service, when no port stands there.
func (l *loader) entryPorts(n *parser.Node) (parser.PortRange, bool) {
	if len(n.Words) < 2 || n.Arg(1) == "0" {
		return parser.PortRange{}, true
	}
	r, err := parser.ParsePortRange(n.Arg(1))
	if err != nil {
		l.error(n.ArgPos(1), "bad port %v", err)
	}
	return r, err == nil
}

// schedulers are the ones mainline kernels have.
var schedulers = strings.Fields("rr wrr lc wlc lblc lblcr sh mh dh fo ovf sed nq twos")
