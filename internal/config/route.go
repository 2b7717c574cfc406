// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bufio"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lvs-fnat/lvs/parser"
)

// RouteProtocol marks what this program adds, with the number that rt_protos
// has for keepalived.
const RouteProtocol = 18

// Route is one line of virtual_routes or static_routes.
type Route struct {
	Pos        Pos
	Type       string // unicast, local, broadcast, anycast, multicast, throw, unreachable, prohibit, blackhole
	Family     Family
	Dest       netip.Prefix // zero length: default
	Via        netip.Addr
	Source     netip.Addr // preferred
	Interface  string     // "": the instance's where the route needs one
	TOS        int
	Table      uint32 // 0: main
	Protocol   int
	Scope      int // -1: by what the route is
	Metric     int
	OnLink     bool
	Attrs      RouteAttrs
	NextHops   []NextHop
	NoTrack    bool
	TrackGroup string // of a static route; "": none
	VRF        string // whose table it is in; "": Table
	Add        string // add, prepend, append; "": replace
}

// RouteAttrs are the metrics of a route, 0 or "" when not written.
type RouteAttrs struct {
	MTU, AdvMSS, HopLimit, Window, Cwnd, Ssthresh, Reordering int
	InitCwnd, InitRwnd                                        int
	RTT, RTTVar, RTOMin                                       time.Duration
	MTULock, ECN, QuickACK                                    bool
	CongCtl                                                   string
}

// NextHop is one of several gateways.
type NextHop struct {
	Via       netip.Addr
	Interface string
	Weight    int // 1 to 256
	OnLink    bool
}

// Rule is one line of virtual_rules or static_rules.
type Rule struct {
	Pos              Pos
	Family           Family
	From, To         netip.Prefix // zero: all
	Table            uint32
	Not              bool
	Preference       int
	TOS              int
	Mark, Mask       uint32
	MarkSet          bool
	SuppressPrefix   int // -1: off
	SuppressGroup    int // -1: off
	In, Out          string
	TunnelID         int
	UIDs             *[2]uint32
	IPProto          int
	SrcPort, DstPort parser.PortRange
	Protocol         int
	Goto             int // 0: none
	Type             string
	NoTrack          bool
	TrackGroup       string // of a static rule; "": none
}

var routeTypes = strings.Fields("unicast local broadcast anycast multicast throw unreachable prohibit blackhole nat")

// tables gives the number of a routing table by its name: the kernel's own, and
// those the host names in rt_tables.
func (l *loader) table(w *words) (uint32, bool) {
	s, ok := w.value()
	if !ok {
		return 0, false
	}
	if v, err := strconv.ParseUint(s, 0, 32); err == nil {
		return uint32(v), true
	}
	if v, ok := map[string]uint32{"main": 254, "default": 253, "local": 255}[s]; ok {
		return v, true
	}
	if v, ok := l.hostName("rt_tables", s); ok {
		return v, true
	}
	l.error(w.at(), "unknown routing table '%s': expected a number, or a name of /etc/iproute2/rt_tables", s)
	return 0, false
}

// hostName looks up what the host calls a number: in the file of iproute_etc_dir, then in
// that of iproute_usr_dir, or where iproute2 looks.
func (l *loader) hostName(file, name string) (uint32, bool) {
	dirs := []string{l.cfg.Global.IPRoute.EtcDir}
	if dirs[0] == "" {
		dirs[0] = "/etc/iproute2"
	}
	if usr := l.cfg.Global.IPRoute.UsrDir; usr != "" {
		dirs = append(dirs, usr)
	} else {
		dirs = append(dirs, "/usr/share/iproute2", "/usr/lib/iproute2")
	}
	for _, dir := range dirs {
		if v, ok := lookupName(filepath.Join(dir, file), name); ok {
			return v, true
		}
	}
	return 0, false
}

func lookupName(file, name string) (uint32, bool) {
	f, err := os.Open(file)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		line, _, _ := strings.Cut(s.Text(), "#")
		if w := strings.Fields(line); len(w) == 2 && w[1] == name {
			v, err := strconv.ParseUint(w[0], 0, 32)
			return uint32(v), err == nil
		}
	}
	return 0, false
}

func readRoutes(l *loader, n *parser.Node, to *[]Route) {
	for _, c := range n.Children {
		if c.Key() == "" {
			continue
		}
		if r, ok := l.route(c); ok {
			*to = append(*to, r)
		}
	}
}

func (l *loader) route(n *parser.Node) (Route, bool) {
	r := Route{Pos: n.Pos(), Type: "unicast", Protocol: RouteProtocol, Scope: -1}
	w := words{l: l, n: n, i: -1}
	dest := ""
	for w.next() {
		switch key := w.key(); {
		case dest == "" && slices.Contains(routeTypes, key):
			r.Type = key
		case dest == "" && key == "to":
		case key == "inet" || key == "inet6":
			r.Family = map[string]Family{"inet": IPv4, "inet6": IPv6}[key]
		case dest == "" && !routeWord[key] && !slices.Contains([]string{"src", "via", "gw", "dev", "oif"}, key):
			dest = key
			if !l.routeDest(&w, &r) {
				return r, false
			}
		default:
			if !l.routeOption(&w, &r) {
				return r, false
			}
		}
	}
	return r, l.completeRoute(&r, dest)
}

// routeWord are the words a destination cannot be.
var routeWord = map[string]bool{"table": true, "metric": true, "scope": true, "nexthop": true, "protocol": true}

func (l *loader) routeDest(w *words, r *Route) bool {
	switch w.key() {
	case "default", "any", "all":
		return true
	case "default6":
		r.Family = IPv6
		return true
	}
	p, ok := parsePrefix(w.key())
	if !ok {
		l.error(w.at(), "invalid destination '%s': expected default, ADDRESS or ADDRESS/LENGTH", w.key())
		return false
	}
	r.Dest = p.Masked()
	return true
}

// completeRoute settles the family: that of the first address there is.
func (l *loader) completeRoute(r *Route, dest string) bool {
	if dest == "" {
		l.error(r.Pos, "a route without destination: begin the line with default, ADDRESS or ADDRESS/LENGTH")
		return false
	}
	addrs := []netip.Addr{r.Dest.Addr(), r.Via, r.Source}
	for _, h := range r.NextHops {
		addrs = append(addrs, h.Via)
	}
	for _, a := range addrs {
		f := FamilyOf(a)
		if f == 0 {
			continue
		}
		if r.Family == 0 {
			r.Family = f
		}
		// A gateway of the other family is the kernel's "via inet6", for IPv4 only.
		if f != r.Family && (a != r.Via || r.Family != IPv4) {
			l.error(r.Pos, "route to %s: %s is not %s", dest, a, r.Family)
			return false
		}
	}
	if r.Family == 0 {
		r.Family = IPv4
	}
	if !r.Dest.IsValid() {
		r.Dest = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if r.Family == IPv6 {
			r.Dest = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
	}
	return true
}

func (l *loader) routeOption(w *words, r *Route) (ok bool) {
	a := &r.Attrs
	if to := map[string]*int{
		"advmss": &a.AdvMSS, "hoplimit": &a.HopLimit, "window": &a.Window, "cwnd": &a.Cwnd, "ssthresh": &a.Ssthresh,
		"reordering": &a.Reordering, "initcwnd": &a.InitCwnd, "initrwnd": &a.InitRwnd, "mtu": &a.MTU,
		"metric": &r.Metric, "priority": &r.Metric, "preference": &r.Metric,
	}[w.key()]; to != nil {
		if w.n.Arg(w.i+1) == "lock" {
			if w.key() != "mtu" {
				l.error(w.at(), "%s lock is not in force here: remove lock", w.key())
				return false
			}
			w.next()
			a.MTULock = true
		}
		v, ok := w.number(0, math.MaxUint32)
		*to = int(v)
		return ok
	}
	switch key := w.key(); key {
	case "via", "gw":
		if f := w.n.Arg(w.i + 1); f == "inet" || f == "inet6" {
			w.next()
		}
		r.Via, ok = w.addr()
		return ok
	case "src":
		r.Source, ok = w.addr()
		return ok
	case "dev", "oif":
		if r.Interface, ok = w.value(); ok && l.lacksLink(r.Interface) {
			l.warn(w.at(), "WARNING - interface %s for VROUTE nexthop doesn't exist: create it, or write dynamic_interfaces", r.Interface)
		}
		return ok
	case "vrf":
		r.VRF, ok = w.value()
		return ok
	case "congctl":
		a.CongCtl, ok = w.value()
		return ok
	case "table":
		r.Table, ok = l.table(w)
		return ok
	case "scope":
		r.Scope, ok = w.scope()
		return ok
	case "tos", "dsfield":
		v, ok := w.number(0, 255)
		r.TOS = int(v)
		return ok
	case "protocol":
		r.Protocol, ok = l.routeProtocol(w)
		return ok
	case "rtt", "rttvar", "rto_min":
		to := map[string]*time.Duration{"rtt": &a.RTT, "rttvar": &a.RTTVar, "rto_min": &a.RTOMin}[key]
		*to, ok = l.routeTime(w)
		return ok
	case "quickack":
		v, ok := w.number(0, 1)
		a.QuickACK = v == 1
		return ok
	case "features":
		s, ok := w.value()
		if ok && s != "ecn" {
			l.error(w.at(), "features: unknown feature '%s': expected ecn", s)
			return false
		}
		a.ECN = true
		return ok
	case "nexthop":
		return l.nextHop(w, r)
	case "or":
		l.warn(w.at(), "'or' is deprecated: write nexthop via ADDRESS")
		h := NextHop{Weight: 1}
		h.Via, ok = w.addr()
		r.NextHops = append(r.NextHops, h)
		return ok
	case "add", "prepend", "append":
		r.Add = key
	case "onlink":
		r.OnLink = true
	case "track_group":
		r.TrackGroup, ok = w.value()
		return ok
	case "no_track":
		r.NoTrack = true
	case "encap", "expires", "from", "realms", "pref", "ttl-propagate", "fastopen_no_cookie":
		l.error(w.at(), "'%s' of a route is known but not in force in this version: the route is left out", key)
		return false
	default:
		l.error(w.at(), "unknown word '%s' in a route: expected via, dev, src, table, metric and the like", key)
		return false
	}
	return true
}

func (l *loader) routeProtocol(w *words) (int, bool) {
	s, ok := w.value()
	if !ok {
		return 0, false
	}
	v, known := map[string]int{"redirect": 1, "kernel": 2, "boot": 3, "static": 4, "keepalived": RouteProtocol}[s]
	if known {
		return v, true
	}
	n, err := strconv.ParseUint(s, 0, 8)
	if err != nil {
		l.error(w.at(), "invalid protocol '%s': expected boot, static, keepalived or 0 to 255", s)
	}
	return int(n), err == nil
}

func (l *loader) routeTime(w *words) (time.Duration, bool) {
	s, ok := w.value()
	if !ok {
		return 0, false
	}
	text, unit := s, time.Millisecond
	if t, found := strings.CutSuffix(s, "ms"); found {
		text = t
	} else if t, found := strings.CutSuffix(s, "s"); found {
		text, unit = t, time.Second
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || v < 0 || v > 1e6 {
		l.error(w.at(), "invalid time '%s': expected such as 20ms or 1s", s)
		return 0, false
	}
	return time.Duration(v * float64(unit)), true
}

// nextHop reads via ADDRESS [dev IF] [weight N] [onlink]; the first word that is
// none of these ends it.
func (l *loader) nextHop(w *words, r *Route) bool {
	h := NextHop{Weight: 1}
	for ok := true; ; {
		switch w.n.Arg(w.i + 1) {
		case "via":
			w.next()
			if f := w.n.Arg(w.i + 1); f == "inet" || f == "inet6" {
				w.next()
			}
			h.Via, ok = w.addr()
		case "dev":
			w.next()
			h.Interface, ok = w.value()
		case "weight":
			var v int64
			w.next()
			v, ok = w.number(1, 256)
			h.Weight = int(v)
		case "onlink":
			w.next()
			h.OnLink = true
		default:
			if !h.Via.IsValid() && h.Interface == "" {
				l.error(w.at(), "nexthop: expected via ADDRESS or dev INTERFACE")
				return false
			}
			r.NextHops = append(r.NextHops, h)
			return true
		}
		if !ok {
			return false
		}
	}
}

// firstPreference is where the rules begin that name none; they go downwards.
const firstPreference = 16384

func readRules(l *loader, n *parser.Node, to *[]Rule) {
	for _, c := range n.Children {
		if c.Key() == "" {
			continue
		}
		r, ok := l.rule(c)
		if !ok {
			continue
		}
		if r.Preference < 0 {
			r.Preference = firstPreference - l.vrrp.plainRules
			l.vrrp.plainRules++
			l.info(c.Pos(), "rule without preference: using %d", r.Preference)
		}
		*to = append(*to, r)
	}
}

func (l *loader) rule(n *parser.Node) (Rule, bool) {
	r := Rule{Pos: n.Pos(), Preference: -1, SuppressPrefix: -1, SuppressGroup: -1, Protocol: RouteProtocol, IPProto: -1}
	for w := (words{l: l, n: n, i: -1}); w.next(); {
		if !l.ruleWord(&w, &r) {
			return r, false
		}
	}
	for _, p := range []netip.Prefix{r.From, r.To} {
		switch f := FamilyOf(p.Addr()); {
		case f == 0:
		case r.Family == 0:
			r.Family = f
		case r.Family != f:
			l.error(r.Pos, "rule: %s is not %s", p, r.Family)
			return r, false
		}
	}
	if r.Family == 0 {
		r.Family = IPv4
	}
	if r.Table == 0 && r.Goto == 0 && r.Type == "" {
		l.error(r.Pos, "a rule needs an action: table NAME, goto NUMBER, blackhole, unreachable or prohibit")
		return r, false
	}
	return r, true
}

func (l *loader) ruleWord(w *words, r *Rule) (ok bool) {
	prefix := func(to *netip.Prefix) bool {
		if w.n.Arg(w.i+1) == "all" || w.n.Arg(w.i+1) == "any" || w.n.Arg(w.i+1) == "default" {
			w.next()
			return true
		}
		p, ok := w.prefix()
		*to = p
		return ok
	}
	number := func(to *int, lo, hi int64) bool {
		v, ok := w.number(lo, hi)
		*to = int(v)
		return ok
	}
	switch key := w.key(); key {
	case "inet", "inet6":
		r.Family = map[string]Family{"inet": IPv4, "inet6": IPv6}[key]
	case "from":
		return prefix(&r.From)
	case "to":
		return prefix(&r.To)
	case "table", "lookup":
		r.Table, ok = l.table(w)
		return ok
	case "not":
		r.Not = true
	case "preference", "priority", "order":
		return number(&r.Preference, 0, math.MaxUint32)
	case "tos", "dsfield":
		return number(&r.TOS, 0, 255)
	case "fwmark":
		return l.ruleMark(w, r)
	case "sup_pl", "suppress_prefixlength":
		return number(&r.SuppressPrefix, 0, math.MaxInt32)
	case "sup_group", "suppress_ifgroup":
		return number(&r.SuppressGroup, 0, math.MaxInt32)
	case "iif", "dev":
		r.In, ok = w.value()
		return ok
	case "oif":
		r.Out, ok = w.value()
		return ok
	case "tunnel-id":
		return number(&r.TunnelID, 0, math.MaxInt32)
	case "uidrange":
		return l.ruleUIDs(w, r)
	case "protocol":
		r.Protocol, ok = l.routeProtocol(w)
		return ok
	case "ipproto", "ip_proto":
		return l.ruleIPProto(w, r)
	case "sport":
		return l.rulePorts(w, &r.SrcPort)
	case "dport":
		return l.rulePorts(w, &r.DstPort)
	case "goto":
		return number(&r.Goto, 1, math.MaxUint32)
	case "type":
	case "blackhole", "unreachable", "prohibit":
		r.Type = key
	case "track_group":
		r.TrackGroup, ok = w.value()
		return ok
	case "no_track":
		r.NoTrack = true
	case "realms", "l3mdev", "nop":
		l.error(w.at(), "'%s' of a rule is known but not in force in this version: the rule is left out", key)
		return false
	default:
		l.error(w.at(), "unknown word '%s' in a rule: expected from, to, table, fwmark and the like", key)
		return false
	}
	return true
}

func (l *loader) ruleMark(w *words, r *Rule) bool {
	s, ok := w.value()
	if !ok {
		return false
	}
	mark, mask, masked := strings.Cut(s, "/")
	v, err := strconv.ParseUint(mark, 0, 32)
	m := uint64(math.MaxUint32)
	if err == nil && masked {
		m, err = strconv.ParseUint(mask, 0, 32)
	}
	if err != nil {
		l.error(w.at(), "invalid fwmark '%s': expected NUMBER or NUMBER/MASK", s)
		return false
	}
	r.Mark, r.Mask, r.MarkSet = uint32(v), uint32(m), true
	return true
}

func (l *loader) ruleUIDs(w *words, r *Rule) bool {
	s, ok := w.value()
	if !ok {
		return false
	}
	from, to, found := strings.Cut(s, "-")
	a, err := strconv.ParseUint(from, 10, 32)
	b := a
	if err == nil && found {
		b, err = strconv.ParseUint(to, 10, 32)
	}
	if err != nil || b < a {
		l.error(w.at(), "invalid uidrange '%s': expected FIRST-LAST", s)
		return false
	}
	r.UIDs = &[2]uint32{uint32(a), uint32(b)}
	return true
}

func (l *loader) ruleIPProto(w *words, r *Rule) bool {
	s, ok := w.value()
	if !ok {
		return false
	}
	v, known := map[string]int{"icmp": 1, "tcp": 6, "udp": 17, "ipv6-icmp": 58, "sctp": 132}[strings.ToLower(s)]
	if !known {
		n, err := strconv.ParseUint(s, 0, 8)
		if err != nil {
			l.error(w.at(), "invalid ipproto '%s': expected tcp, udp, icmp, sctp or 0 to 255", s)
			return false
		}
		v = int(n)
	}
	r.IPProto = v
	return true
}

func (l *loader) rulePorts(w *words, to *parser.PortRange) bool {
	s, ok := w.value()
	if !ok {
		return false
	}
	r, err := parser.ParsePortRange(s)
	if err != nil {
		l.error(w.at(), "invalid ports %v", err)
		return false
	}
	*to = r
	return true
}
