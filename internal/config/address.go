// SPDX-License-Identifier: Apache-2.0

package config

import (
	"math"
	"net/netip"
	"strconv"
	"strings"

	"github.com/lvs-fnat/lvs/parser"
)

// Address is one line of virtual_ipaddress, virtual_ipaddress_excluded or
// static_ipaddress.
type Address struct {
	Pos           Pos
	Prefix        netip.Prefix
	Interface     string // "": the instance's
	Peer          netip.Prefix
	Broadcast     netip.Addr
	AutoBroadcast bool // brd +: computed from the prefix
	Scope         int  // of rt_scopes
	Label         string
	Home, DAD     bool // DAD: the word -nodad was written
	MngTmpAddr    bool
	NoPrefixRoute bool
	AutoJoin      bool
	NoTrack       bool
	TrackGroup    string // of a static address; "": none
	UseVMAC       bool
	Deprecated    bool   // preferred_lft 0
	PreferredLft  uint32 // seconds; 0: for ever
}

// Family is that of the address.
func (a Address) Family() Family { return FamilyOf(a.Prefix.Addr()) }

// scopes are the names of rt_scopes that every host has.
var scopes = map[string]int{"global": 0, "universe": 0, "site": 200, "link": 253, "host": 254, "nowhere": 255}

// words walks over the words of a line behind the first.
type words struct {
	l *loader
	n *parser.Node
	i int
}

func (w *words) next() bool  { w.i++; return w.i < len(w.n.Words) }
func (w *words) key() string { return w.n.Arg(w.i) }
func (w *words) at() Pos     { return w.n.ArgPos(w.i) }

// value is the argument of the present word.
func (w *words) value() (string, bool) {
	key := w.key()
	if w.i++; w.i >= len(w.n.Words) {
		w.l.error(w.n.ArgPos(w.i), "%s: value missing", key)
		return "", false
	}
	return w.n.Arg(w.i), true
}

func (w *words) number(lo, hi int64) (int64, bool) {
	key := w.key()
	s, ok := w.value()
	if !ok {
		return 0, false
	}
	v, err := strconv.ParseInt(s, 0, 64)
	if err != nil || v < lo || v > hi {
		w.l.error(w.at(), "%s: invalid number '%s': expected %d to %d", key, s, lo, hi)
		return 0, false
	}
	return v, true
}

func (w *words) addr() (netip.Addr, bool) {
	key := w.key()
	s, ok := w.value()
	if !ok {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		w.l.error(w.at(), "%s: invalid address '%s'", key, s)
		return netip.Addr{}, false
	}
	return a.Unmap(), true
}

func (w *words) prefix() (netip.Prefix, bool) {
	key := w.key()
	s, ok := w.value()
	if !ok {
		return netip.Prefix{}, false
	}
	p, ok := parsePrefix(s)
	if !ok {
		w.l.error(w.at(), "%s: invalid address '%s': expected ADDRESS or ADDRESS/LENGTH", key, s)
	}
	return p, ok
}

func (w *words) scope() (int, bool) {
	s, ok := w.value()
	if !ok {
		return 0, false
	}
	if v, ok := scopes[s]; ok {
		return v, true
	}
	v, err := strconv.ParseUint(s, 0, 8)
	if err != nil {
		w.l.error(w.at(), "invalid scope '%s': expected global, site, link, host, nowhere or 0 to 255", s)
	}
	return int(v), err == nil
}

// parsePrefix takes ADDRESS/LENGTH with host bits kept; an address alone is a host.
func parsePrefix(s string) (netip.Prefix, bool) {
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, false
		}
		return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), true
	}
	p, err := netip.ParsePrefix(s)
	return p, err == nil
}

// readAddresses reads a block of one address a line.
func readAddresses(l *loader, n *parser.Node, to *[]Address) {
	for _, c := range n.Children {
		if c.Key() == "" {
			continue
		}
		a, ok := l.address(c)
		if !ok {
			continue
		}
		if i := indexAddress(*to, a); i >= 0 {
			l.warn(c.Pos(), "%s is already at line %d: this one is ignored", a.Prefix, (*to)[i].Pos.Line)
			continue
		}
		*to = append(*to, a)
	}
}

func indexAddress(list []Address, a Address) int {
	for i, b := range list {
		if a.Prefix.Addr() == b.Prefix.Addr() && a.Interface == b.Interface {
			return i
		}
	}
	return -1
}

func (l *loader) address(n *parser.Node) (Address, bool) {
	p, ok := parsePrefix(n.Key())
	if !ok {
		l.error(n.Pos(), "invalid address '%s': expected ADDRESS or ADDRESS/LENGTH", n.Key())
		return Address{}, false
	}
	a := Address{Pos: n.Pos(), Prefix: p, Deprecated: p.Addr().Is6() && p.IsSingleIP()}
	for w := (words{l: l, n: n}); w.next(); {
		if !l.addressWord(&w, &a) {
			return a, false
		}
	}
	if a.Peer.IsValid() && !p.IsSingleIP() {
		l.error(a.Pos, "%s with peer %s: the length belongs to the peer", p, a.Peer)
		return a, false
	}
	return a, true
}

func (l *loader) addressWord(w *words, a *Address) (ok bool) {
	v4 := a.Prefix.Addr().Is4()
	only := func(want bool, family string) bool {
		if !want {
			l.warn(w.at(), "%s: '%s' is for %s: ignored", a.Prefix, w.key(), family)
		}
		return want
	}
	switch key := w.key(); key {
	case "dev":
		if a.Interface != "" {
			l.error(w.at(), "%s: dev is there twice", a.Prefix)
			return false
		}
		if a.Interface, ok = w.value(); ok && l.lacksLink(a.Interface) {
			l.warn(w.at(), "WARNING - interface %s for ip address %s doesn't exist: create it, or write dynamic_interfaces", a.Interface, a.Prefix.Addr())
		}
		return ok
	case "scope":
		v4 := only(v4, "IPv4")
		s, ok := w.scope()
		if v4 {
			a.Scope = s
		}
		return ok
	case "broadcast", "brd":
		if w.n.Arg(w.i+1) == "+" || w.n.Arg(w.i+1) == "-" {
			w.next()
			a.AutoBroadcast = w.key() == "+"
			return true
		}
		a.Broadcast, ok = w.addr()
		return ok
	case "label":
		s, ok := w.value()
		if ok && only(v4, "IPv4") {
			if len(s) > 15 {
				l.error(w.at(), "label '%s' has more than 15 characters", s)
				return false
			}
			a.Label = s
		}
		return ok
	case "track_group":
		a.TrackGroup, ok = w.value()
		return ok
	case "peer":
		a.Peer, ok = w.prefix()
		return ok
	case "preferred_lft":
		if w.n.Arg(w.i+1) == "forever" {
			w.next()
			a.Deprecated, a.PreferredLft = false, 0
			return true
		}
		v, ok := w.number(0, math.MaxUint32)
		a.PreferredLft, a.Deprecated = uint32(v), v == 0
		return ok
	}
	flag := map[string]*bool{
		"home": &a.Home, "-nodad": &a.DAD, "mngtmpaddr": &a.MngTmpAddr, "noprefixroute": &a.NoPrefixRoute,
		"autojoin": &a.AutoJoin, "no_track": &a.NoTrack, "use_vmac": &a.UseVMAC,
	}[w.key()]
	if flag == nil {
		l.error(w.at(), "Unknown configuration entry '%s' for ip address: one address a line, then words such as dev, label, brd", w.key())
		return false
	}
	*flag = true
	return true
}
