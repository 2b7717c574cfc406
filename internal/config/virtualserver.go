// SPDX-License-Identifier: Apache-2.0

package config

import (
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/lvs-fnat/lvs/parser"
)

// draft is a virtual_server block while it is read: values that were not
// written are still unset, references not yet resolved.
type draft struct {
	vs     VirtualServer
	traits VirtualTraits // of vs, until it is complete
	timing timing
	// foreign is set for a service of another program's that there is none of here.
	foreign bool
	broken  bool // its identity could not be read: everything in it is read only to report faults

	mark      uint32 // of virtual_server fwmark
	family    Family // of ip_family
	familyAt  Pos
	protoAt   Pos
	methodAt  Pos
	methodBad bool // lb_kind was there and could not be read
	weight    int
	host      string
	groupName string // laddr_group_name
	groupAt   Pos
	inline    *laddrSource
	ext       extDraft
	syn       synDraft
	limit     limitDraft
	reals     []*realDraft
	pool      []*realDraft // all there have been; the first used of them are taken
	used      int
	unread    []Pos // of real servers whose address could not be read
	sorry     *realDraft
	// sorryMethod is that of the sorry server alone.
	sorryMethod   Method
	sorryTunnel   Tunnel
	sorryMethodAt Pos
	smtpAlert     opt[bool]
	slowStart     time.Duration // of real servers that do not say
	rst           bool
}

// opt is a value that may not have been written.
type opt[T any] struct {
	v   T
	set bool
	at  Pos
}

func (o *opt[T]) put(v T) { o.v, o.set = v, true }

// or gives the value written, else the first one set of the others, else def.
func (o opt[T]) or(def T, others ...opt[T]) T {
	if o.set {
		return o.v
	}
	for _, x := range others {
		if x.set {
			return x.v
		}
	}
	return def
}

// timing holds what checkers inherit from real server and virtual server.
type timing struct {
	delayLoop, delayBeforeRetry, warmup, connectTimeout opt[time.Duration]
	retry                                               opt[int]
	alpha, inhibit, logAll                              opt[bool]
}

// or gives what t says, and of what it does not, def.
func (t *timing) or(def Timing) Timing {
	return Timing{
		DelayLoop: t.delayLoop.or(def.DelayLoop), DelayBeforeRetry: t.delayBeforeRetry.or(def.DelayBeforeRetry),
		Warmup: t.warmup.or(def.Warmup), ConnectTimeout: t.connectTimeout.or(def.ConnectTimeout), Retry: t.retry.or(def.Retry),
	}
}

// timed are the keywords that the three levels share.
func timed[T any](of func(*T) *timing) keywords[T] {
	return keywords[T]{
		"delay_loop":         secondsInto(tick, longTime, func(t *T, v time.Duration) { of(t).delayLoop.put(v) }),
		"delay_before_retry": secondsInto(0, longTime, func(t *T, v time.Duration) { of(t).delayBeforeRetry.put(v) }),
		"warmup":             secondsInto(0, longTime, func(t *T, v time.Duration) { of(t).warmup.put(v) }),
		"connect_timeout":    secondsInto(tick, longestConnect, func(t *T, v time.Duration) { of(t).connectTimeout.put(v) }),
		"retry":              intInto(0, math.MaxUint32, func(t *T, v int) { of(t).retry.put(v) }),
		"alpha":              boolInto(func(t *T, v bool) { of(t).alpha.put(v) }),
	}
}

// atLeastOne is retry outside of checkers, where 0 has no meaning.
func atLeastOne[T any](of func(*T) *timing) keyword[T] {
	return intInto(1, math.MaxUint32, func(t *T, v int) { of(t).retry.put(v) })
}

// with adds the keywords of more to k, which it returns.
func (k keywords[T]) with(more keywords[T]) keywords[T] {
	for w, r := range more {
		k[w] = r
	}
	return k
}

var serverKeywords keywords[draft]

func init() {
	serverKeywords = timed(func(d *draft) *timing { return &d.timing }).with(extKeywords).
		with(synproxyKeywords).with(limitKeywords).with(keywords[draft]{
		"retry": atLeastOne(func(d *draft) *timing { return &d.timing }),
		"ip_family": {read: func(l *loader, n *parser.Node, d *draft) {
			if k, ok := l.oneOf(n, 1, "inet", "inet6"); ok {
				d.family, d.familyAt = [...]Family{IPv4, IPv6}[k], n.Pos()
			}
		}},
		"protocol":                {read: readProtocol},
		"lb_algo":                 {read: readScheduler},
		"lvs_sched":               {read: readScheduler},
		"ops":                     flagInto(func(d *draft) { d.vs.OnePacket = true }),
		"flag-1":                  flagInto(func(d *draft) { d.vs.SchedFlags |= 1 }),
		"flag-2":                  flagInto(func(d *draft) { d.vs.SchedFlags |= 2 }),
		"flag-3":                  flagInto(func(d *draft) { d.vs.SchedFlags |= 4 }),
		"sh-fallback":             hashFlag("sh", 1),
		"mh-fallback":             hashFlag("mh", 1),
		"sh-port":                 hashFlag("sh", 2),
		"mh-port":                 hashFlag("mh", 2),
		"lb_kind":                 {read: readServerMethod},
		"lvs_method":              {read: readServerMethod},
		"persistence_timeout":     {read: readPersistence},
		"persistence_granularity": {read: readGranularity},
		"persistence_engine": {read: func(l *loader, n *parser.Node, d *draft) {
			v, ok := l.word(n, 1, "name")
			if ok && len(v) > 15 {
				l.error(n.ArgPos(1), "persistence_engine: '%s' is longer than 15 bytes", v)
			} else if ok {
				d.vs.PersistenceEngine = v
			}
		}},
		"quorum":             intInto(1, math.MaxUint32, func(d *draft, v int) { d.vs.Quorum = v }),
		"hysteresis":         intInto(0, math.MaxUint32, func(d *draft, v int) { d.vs.Hysteresis = v }),
		"quorum_up":          scriptInto(func(d *draft) *Script { return &d.vs.QuorumUp }),
		"quorum_down":        scriptInto(func(d *draft) *Script { return &d.vs.QuorumDown }),
		"alpha":              flagInto(func(d *draft) { d.timing.alpha.put(true) }),
		"omega":              flagInto(func(d *draft) { d.vs.Omega = true }),
		"inhibit_on_failure": flagInto(func(d *draft) { d.timing.inhibit.put(true) }),
		"weight":             intInto(1, math.MaxInt32, func(d *draft, v int) { d.weight = v }),
		"virtualhost":        cleanInto(func(d *draft, v string) { d.host = v }),
		"sorry_server":       {read: readSorry},
		"sorry_server_inhibit": {read: func(l *loader, n *parser.Node, d *draft) {
			if d.sorry == nil {
				l.warn(n.Pos(), "Ignoring sorry_server_inhibit used before or without sorry_server: write it behind")
				return
			}
			d.vs.SorryServerInhibit = true
		}},
		"sorry_server_lvs_method": {read: func(l *loader, n *parser.Node, d *draft) {
			m, t, ok := l.method(n)
			switch {
			case !ok:
			case d.sorry == nil:
				l.warn(n.Pos(), "Ignoring sorry_server_lvs_method used before or without sorry_server: write it behind")
			default:
				d.sorryMethod, d.sorryTunnel, d.sorryMethodAt = m, t, n.Pos()
			}
		}},
		"ha_suspend":       flagInto(func(d *draft) { d.vs.HASuspend = true }),
		"slow_start":       secondsInto(0, longTime, func(d *draft, v time.Duration) { d.slowStart = v }),
		"rst_on_failure":   boolInto(func(d *draft, v bool) { d.rst = v }),
		"check_from_laddr": boolInto(func(d *draft, v bool) { d.vs.CheckFromLaddr = v }),
		"smtp_alert":       boolInto(func(d *draft, v bool) { d.smtpAlert.put(v) }),
		"snmp_name":        stringInto(func(d *draft, v string) { d.vs.SNMPName = v }),
		// The original reads it, too, and does nothing.
		"hashed": {read: func(l *loader, n *parser.Node, d *draft) {
			if d.vs.Scheduler != "sh" && d.vs.Scheduler != "mh" {
				l.warn(n.Pos(), "hashed has no effect: remove it")
			}
		}},
		"real_server": {block: true, read: readRealServer},
		"laddr_group_name": {read: func(l *loader, n *parser.Node, d *draft) {
			d.groupName, _ = l.word(n, 1, "name of a local_address_group")
			d.groupAt = n.Pos()
		}},
		"local_address": {block: true, read: readInline},
	})
}

// readInline takes the local_address block of the original FULLNAT slides.
func readInline(l *loader, n *parser.Node, d *draft) {
	if d.inline != nil {
		l.error(n.Pos(), "local_address stands already at line %d: write all addresses into one block", d.inline.pos.Line)
		return
	}
	d.inline = l.readLaddrs(n)
}

// readVirtualServer leaves the block for later: what it refers to may stand behind it.
func readVirtualServer(l *loader, n *parser.Node, _ *Config) {
	l.servers = append(l.servers, n)
}

// readServer reads virtual_server ADDRESS [PORT], fwmark NUMBER or group NAME
// into d, whatever was in it before.
func readServer(l *loader, n *parser.Node, d *draft) {
	*d = draft{weight: 1, pool: d.pool, reals: d.reals[:0]}
	d.vs.VirtualTraits = &d.traits
	d.vs.Pos = n.Pos()
	d.vs.Quorum = 1
	d.syn.sp = synproxyDefaults()
	switch n.Arg(1) {
	case "fwmark":
		mark, ok := l.int(n, 2, 1, math.MaxUint32)
		d.mark, d.broken = uint32(mark), !ok
	case "group":
		name, ok := l.word(n, 2, "name of a virtual_server_group")
		d.vs.Group, d.broken = name, !ok
	case "match":
		l.error(n.ArgPos(1), "virtual_server match: SNAT services of dpvs are not supported: SNAT is a matter of nftables")
		d.foreign = true
	default:
		ap, ok := l.addrPort(n, 1)
		if d.broken = !ok; ok {
			d.vs.Endpoints = []Endpoint{{Addr: ap, Family: FamilyOf(ap.Addr()), Pos: n.Pos()}}
		}
	}
	d.foreign = d.foreign || slices.ContainsFunc(n.Children, func(c *parser.Node) bool { return c.Key() == "snat_rule" })
	walk(l, n.Children, "virtual_server", serverKeywords, d)
}

func readProtocol(l *loader, n *parser.Node, d *draft) {
	s, ok := l.word(n, 1, "TCP, UDP or SCTP")
	if !ok {
		return
	}
	p, ok := map[string]Protocol{"TCP": TCP, "UDP": UDP, "SCTP": SCTP}[strings.ToUpper(s)]
	if !ok {
		l.error(n.ArgPos(1), "Unknown protocol '%s': expected TCP, UDP or SCTP", s)
		d.broken = true
		return
	}
	d.vs.Protocol, d.protoAt = p, n.Pos()
}

func readScheduler(l *loader, n *parser.Node, d *draft) {
	s, ok := l.word(n, 1, "scheduler")
	if !ok {
		return
	}
	if s == "conhash" { // of dpvs
		l.info(n.ArgPos(1), "lb_algo conhash: 'mh' does the same here, and is used")
		s = "mh"
	}
	if !slices.Contains(schedulers, s) {
		l.error(n.ArgPos(1), "Invalid lvs_scheduler '%s': expected one of %s", s, strings.Join(schedulers, " "))
		return
	}
	d.vs.Scheduler = s
}

// hashFlag is a flag of sh or of mh. With the other of the two it does nothing, which is
// no fault to the original.
func hashFlag(sched string, bit uint8) keyword[draft] {
	return keyword[draft]{read: func(l *loader, n *parser.Node, d *draft) {
		switch d.vs.Scheduler {
		case sched:
		case "sh", "mh":
			l.info(n.Pos(), "%s has no effect with lb_algo %s", n.Key(), d.vs.Scheduler)
			return
		default:
			l.error(n.Pos(), "%s: only for lb_algo %s, which must stand before it", n.Key(), sched)
			return
		}
		d.vs.SchedFlags |= bit
	}}
}

// readServerMethod leaves a service whose method cannot be read to the default,
// NAT, as the original does. One that has local addresses is not to be served
// so: see fnat.
func readServerMethod(l *loader, n *parser.Node, d *draft) {
	if m, t, ok := l.method(n); ok {
		d.vs.Method, d.vs.Tunnel, d.methodAt = m, t, n.Pos()
		return
	}
	d.methodBad = true
}

// method reads NAT, DR, FNAT or TUN with its encapsulation.
func (l *loader) method(n *parser.Node) (Method, Tunnel, bool) {
	s, ok := l.word(n, 1, "NAT, DR, TUN or FNAT")
	if !ok {
		return 0, Tunnel{}, false
	}
	m, ok := map[string]Method{"NAT": NAT, "DR": DR, "TUN": TUN, "FNAT": FNAT}[s]
	if !ok {
		l.error(n.ArgPos(1), "%s: unknown [%s] routing method: expected NAT, DR, TUN or FNAT", n.Key(), s)
		return 0, Tunnel{}, false
	}
	if m != TUN {
		if len(n.Words) > 2 {
			l.warn(n.ArgPos(2), "%s: '%s' is ignored: options are for TUN only", n.Key(), n.Arg(2))
		}
		return m, Tunnel{}, true
	}
	t, ok := l.tunnel(n)
	if !ok {
		t = plainTunnel
	}
	return m, t, true
}

// plainTunnel is one without words, or with words that make no sense.
var plainTunnel = Tunnel{Type: "ipip", Checksum: "nocsum"}

func (l *loader) tunnel(n *parser.Node) (Tunnel, bool) {
	t := plainTunnel
	for i := 2; i < len(n.Words); i++ {
		switch w := n.Arg(i); w {
		case "type":
			i++
			if _, ok := l.mildWord(n, i, "type of tunnel"); !ok {
				return t, false
			}
			if _, ok := l.oneOf(n, i, "ipip", "gue", "gre"); !ok {
				return t, false
			}
			t.Type = n.Arg(i)
		case "port":
			i++
			if _, ok := l.mildWord(n, i, "port"); !ok {
				return t, false
			}
			p, ok := l.int(n, i, 1, 65535)
			if !ok {
				return t, false
			}
			t.Port = uint16(p)
		case "nocsum", "csum", "remcsum":
			t.Checksum = w
		default:
			l.error(n.ArgPos(i), "%s: unknown word '%s' behind TUN: expected type, port, nocsum, csum or remcsum", n.Key(), w)
			return t, false
		}
	}
	switch {
	case t.Type == "gue" && t.Port == 0:
		l.error(n.Pos(), "%s: TUN type gue needs a port: add 'port NUMBER'", n.Key())
		return t, false
	case t.Type != "gue" && (t.Port != 0 || t.Checksum == "remcsum"):
		l.error(n.Pos(), "%s: port and remcsum are for TUN type gue only", n.Key())
		return t, false
	case t.Type == "ipip" && t.Checksum != "nocsum":
		l.error(n.Pos(), "%s: %s is for TUN type gue and gre only", n.Key(), t.Checksum)
		return t, false
	}
	return t, true
}

// persistenceDefault is what persistence_timeout without a number, and a
// virtual server for every port, get.
const persistenceDefault = 360 * time.Second

func readPersistence(l *loader, n *parser.Node, d *draft) {
	d.vs.PersistenceTimeout = persistenceDefault
	if len(n.Words) < 2 {
		return
	}
	v, ok := l.int(n, 1, 1, int64(LVSTimeoutMax/time.Second))
	if ok {
		d.vs.PersistenceTimeout = time.Duration(v) * time.Second
	}
}

// readGranularity takes an IPv4 netmask or an IPv6 prefix length.
func readGranularity(l *loader, n *parser.Node, d *draft) {
	s, ok := l.word(n, 1, "netmask or prefix length")
	if !ok {
		return
	}
	if !strings.Contains(s, ".") {
		if v, ok := l.int(n, 1, 1, 128); ok {
			d.vs.PersistenceGranularity = int(v)
		}
		return
	}
	mask, err := netip.ParseAddr(s)
	if err != nil || !mask.Is4() {
		l.error(n.ArgPos(1), "persistence_granularity: invalid netmask '%s': expected one such as 255.255.255.0, or a prefix length", s)
		return
	}
	d.vs.PersistenceGranularity, d.vs.PersistenceMask = 0, mask
	if bits, ok := maskBits(mask); ok {
		d.vs.PersistenceGranularity, d.vs.PersistenceMask = bits, netip.Addr{}
	}
}

// maskBits counts the ones of a netmask other than 0.0.0.0 that has no holes.
func maskBits(a netip.Addr) (int, bool) {
	for n := 1; n <= 32; n++ {
		if p, _ := netip.MustParseAddr("255.255.255.255").Prefix(n); p.Addr() == a {
			return n, true
		}
	}
	return 0, false
}

// scriptInto reads SCRIPT-STRING [USER [GROUP]], whose quoting differs from
// that of all other lines.
func scriptInto[T any](of func(*T) *Script) keyword[T] {
	return keyword[T]{read: func(l *loader, n *parser.Node, to *T) {
		words, err := parser.Unquote(n.Raw)
		if err != nil {
			l.error(n.ArgPos(1), "%s: %v", n.Key(), err)
			return
		}
		if len(words) == 0 {
			_, _ = l.word(n, 1, "command")
			return
		}
		s := of(to)
		if s.Command != "" {
			l.warn(n.Pos(), "%s is already set: this one is ignored", n.Key())
			return
		}
		words = append(words, "", "")
		*s = Script{Command: words[0], User: words[1], Group: words[2]}
		if of, word, ok := s.forShell(); ok {
			l.info(n.ArgPos(1), "%s: no shell is between: '%s' is an argument of %s: write sh -c '...', or a script", n.Key(), word, of)
		}
	}}
}

// forShell finds a word that only a shell would take apart, as keepalived before 2.0 had
// one do, and files for alibaba/LVS still count on.
func (s *Script) forShell() (of, word string, ok bool) {
	if strings.ContainsAny(s.Command, `'"\\`) {
		return "", "", false // it is meant as it is
	}
	words := strings.Fields(s.Command)
	if i := slices.IndexFunc(words, func(w string) bool { return strings.Contains(w, ";") || w == "&&" || w == "||" || w == "|" }); i > 0 {
		return words[0], words[i], true
	}
	return "", "", false
}
