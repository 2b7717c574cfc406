// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/lvs-fnat/lvs/ipvs"
)

// connFilter selects connections; the zero value selects all.
type connFilter struct {
	ipvs.ConnFilter
	states []string // in capitals; none = any
}

// filterColumns are the options that make a connFilter.
var filterColumns = []column{colClient, colVIP, colLIP, colRIP, colState, colProtocol}

// match tells whether c, with the local address that the extension gave it or
// none, is selected.
func (f *connFilter) match(c *connLine, local netip.AddrPort) bool {
	return f.inState(c.state) && f.Match(ipvs.Conn{Protocol: connProtocol(c.protocol), Client: c.client, Virtual: c.virtual, Local: local, Dest: c.server})
}

func (f *connFilter) inState(state string) bool {
	return len(f.states) == 0 || slices.Contains(f.states, state)
}

func (c *call) setClient(v string, _ bool) error {
	return c.setEnd(v, "client", &c.filter.Client, &c.filter.ClientPort)
}

func (c *call) setVIP(v string, _ bool) error {
	return c.setEnd(v, "vip", &c.filter.Virtual, &c.filter.VirtualPort)
}

func (c *call) setLIP(v string, _ bool) error {
	return c.setEnd(v, "lip", &c.filter.Local, &c.filter.LocalPort)
}

func (c *call) setRIP(v string, _ bool) error {
	return c.setEnd(v, "rip", &c.filter.Dest, &c.filter.DestPort)
}

// setEnd keeps one end of the connections that are meant. The kernel needs
// their family once, so all ends must be of one.
func (c *call) setEnd(v, name string, prefix *netip.Prefix, port *uint16) error {
	p, n, ok := endNet(v)
	if !ok {
		return usagef(msgNet, name, v)
	}
	if p.IsValid() {
		family := ipvs.FamilyOf(p.Addr())
		if c.filter.Family != 0 && c.filter.Family != family {
			return usagef(msgNetFamily, name, v)
		}
		c.filter.Family = family
	}
	*prefix, *port = p, n
	return nil
}

// endNet reads an address or a net with or without port: "10.0.0.0/8",
// "10.0.0.1:80", "2001:db8::/32", "[2001:db8::]/32:80", "[2001:db8::1]:80", or
// ":80" for any address. A port is 1 to 65535; 0 stands for none.
func endNet(v string) (p netip.Prefix, port uint16, ok bool) {
	host := v
	if i := strings.LastIndexByte(v, ':'); i >= 0 && (strings.Count(v, ":") == 1 || v[0] == '[' && i > strings.IndexByte(v, ']')) {
		n, good := number(v[i+1:], 1, 65535)
		if !good {
			return p, 0, false
		}
		host, port = v[:i], uint16(n)
		if host == "" {
			return p, port, true
		}
	}
	host = strings.Replace(strings.TrimPrefix(host, "["), "]", "", 1)
	if a, err := netip.ParseAddr(host); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()), port, true
	}
	p, err := netip.ParsePrefix(host)
	return p.Masked(), port, err == nil
}

// connStates are the names that the kernel has for states of connections
// (net/netfilter/ipvs/ip_vs_proto*.c), those of TCP and UDP first.
var connStates = []string{
	"NONE", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT", "TIME_WAIT", "CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "SYNACK", "UDP", "ASSURED",
	"INIT1", "INIT", "COOKIE_SENT", "COOKIE_REPLIED", "COOKIE_WAIT", "COOKIE", "COOKIE_ECHOED",
	"SHUTDOWN_SENT", "SHUTDOWN_RECEIVED", "SHUTDOWN_ACK_SENT", "REJECTED", "CLOSED",
}

// setState takes no name that no connection can have: a --kill would end none
// and a listing be empty, as if there were none.
func (c *call) setState(v string, _ bool) error {
	c.filter.states = strings.Split(strings.ToUpper(v), ",")
	for _, s := range c.filter.states {
		if !slices.Contains(connStates, s) {
			return usagef(msgState, s, strings.Join(connStates, " "))
		}
	}
	return nil
}

func (c *call) setProtocol(v string, _ bool) error {
	c.filter.Protocol = connProtocol(v)
	if c.filter.Protocol == 0 {
		return usagef(msgProtocol, v)
	}
	return nil
}

// agreeFilter wants a list of connections for what filters it.
func (c *call) agreeFilter() error {
	if c.cmd == cmdList && c.set.any(filterColumns) && !c.set.has(colConnection) {
		return usagef(msgNeedOption, columnRows[colConnection].name, c.cmd)
	}
	return nil
}
