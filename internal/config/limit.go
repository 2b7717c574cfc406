// SPDX-License-Identifier: Apache-2.0

package config

import (
	"math"
	"strings"
	"time"

	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/parser"
)

// limitDraft is what a virtual_server says about limits, lists of clients and
// packets without a connection.
type limitDraft struct {
	limits      ipvs.Limits
	invalid     opt[ipvs.InvalidPolicy]
	rstOnExpire opt[bool]
	fast        opt[bool]
	estAt       Pos
	bpsAt       Pos
	aclAt       Pos
	aclBad      bool
	deny, allow opt[string] // names of address groups of the dpvs dialect
}

// ipsetNameMax is IPSET_MAXNAMELEN - 1.
const ipsetNameMax = 31

var limitKeywords = keywords[draft]{
	"established_timeout": {read: readEstablished},
	"est_timeout":         {read: readEstablished}, // alibaba
	"establish_timeout":   {read: readEstablished}, // dpvs
	"cps": {read: func(l *loader, n *parser.Node, d *draft) {
		rate, ok := l.int(n, 1, 0, math.MaxUint32)
		if !ok {
			return
		}
		var burst int64
		if len(n.Words) > 2 {
			if burst, ok = l.int(n, 2, 0, math.MaxUint32); !ok {
				return
			}
		}
		d.limit.limits.CPS, d.limit.limits.CPSBurst = uint32(rate), uint32(burst)
	}},
	"bps_in":  bps(func(to *ipvs.Limits, v uint64) { to.BPSIn = v }),
	"bps_out": bps(func(to *ipvs.Limits, v uint64) { to.BPSOut = v }),
	"conn_limit": {read: func(l *loader, n *parser.Node, d *draft) {
		if v, ok := l.int(n, 1, 0, math.MaxUint32); ok {
			d.limit.limits.ConnLimit = uint32(v)
		}
	}},
	"acl": {read: func(l *loader, n *parser.Node, d *draft) {
		k, ok := l.oneOf(n, 1, "off", "white", "black")
		d.limit.limits.ACL, d.limit.aclAt = ipvs.ACLMode(k), n.Pos()
		d.limit.aclBad = d.limit.aclBad || !ok
	}},
	"acl_set4": ipset(func(to *ipvs.Limits, v string) { to.ACLSet4 = v }),
	"acl_set6": ipset(func(to *ipvs.Limits, v string) { to.ACLSet6 = v }),
	"invalid": {read: func(l *loader, n *parser.Node, d *draft) {
		if k, ok := l.oneOf(n, 1, "accept", "drop", "rst"); ok {
			d.limit.invalid = opt[ipvs.InvalidPolicy]{v: ipvs.InvalidPolicy(k), set: true, at: n.Pos()}
		}
	}},
	"rst_on_expire":    limitBool(func(d *limitDraft) *opt[bool] { return &d.rstOnExpire }),
	"fast":             limitBool(func(d *limitDraft) *opt[bool] { return &d.fast }),
	"daddr_group_name": groupOfClients(func(d *limitDraft) *opt[string] { return &d.deny }),
	"waddr_group_name": groupOfClients(func(d *limitDraft) *opt[string] { return &d.allow }),
}

func readEstablished(l *loader, n *parser.Node, d *draft) {
	if v, ok := l.int(n, 1, 0, int64(ipvs.MaxTimeoutEst/time.Second)); ok {
		d.limit.limits.TimeoutEst, d.limit.estAt = time.Duration(v)*time.Second, n.Pos()
	}
}

func bps(set func(*ipvs.Limits, uint64)) keyword[draft] {
	return keyword[draft]{read: func(l *loader, n *parser.Node, d *draft) {
		if v, ok := l.int(n, 1, 0, ipvs.MaxBPS); ok {
			set(&d.limit.limits, uint64(v))
			d.limit.bpsAt = n.Pos()
		}
	}}
}

func ipset(set func(*ipvs.Limits, string)) keyword[draft] {
	return keyword[draft]{read: func(l *loader, n *parser.Node, d *draft) {
		v, ok := l.word(n, 1, "name of an ipset")
		if ok && len(v) > ipsetNameMax {
			l.error(n.ArgPos(1), "%s: '%s' is longer than the %d bytes of an ipset's name", n.Key(), v, ipsetNameMax)
			ok = false
		}
		if d.limit.aclBad = d.limit.aclBad || !ok; ok {
			set(&d.limit.limits, v)
		}
	}}
}

func limitBool(of func(*limitDraft) *opt[bool]) keyword[draft] {
	return keyword[draft]{read: func(l *loader, n *parser.Node, d *draft) {
		if v, ok := l.bool(n, 1); ok {
			*of(&d.limit) = opt[bool]{v: v, set: true, at: n.Pos()}
		}
	}}
}

func groupOfClients(of func(*limitDraft) *opt[string]) keyword[draft] {
	return keyword[draft]{read: func(l *loader, n *parser.Node, d *draft) {
		if v, ok := l.word(n, 1, "name of a group"); ok {
			*of(&d.limit) = opt[string]{v: v, set: true, at: n.Pos()}
		}
	}}
}

// clientGroup is a deny_address_group or allow_address_group.
type clientGroup struct {
	sets  []string // names of ipsets
	addrs int      // addresses and ranges, which only an ipset can hold here
}

// readClients reads lines of ADDRESS, ADDRESS-LAST or ipset:NAME.
func readClients(l *loader, n *parser.Node, _ *Config) {
	name, ok := l.word(n, 1, "name of the group")
	if !ok {
		return
	}
	g := &clientGroup{}
	for _, c := range n.Children {
		if set, ok := strings.CutPrefix(c.Key(), "ipset:"); ok {
			g.sets = append(g.sets, set)
			continue
		}
		if _, err := parser.ParseAddrRange(c.Key()); err != nil {
			l.error(c.Pos(), "bad address %v, and no ipset:NAME", err)
			continue
		}
		g.addrs++
	}
	l.clients[name] = g
}

// resolveLimits settles limits. One without a meaning here is dropped with an
// error; a list of clients that cannot be in force keeps the service out,
// false, because it would serve whom it must not.
func (l *loader) resolveLimits(d *draft) bool {
	m, x, vs := &d.limit, &d.vs.Ext, &d.vs
	x.Limits = m.limits
	forwarded := vs.Method == FNAT || x.Synproxy != ipvs.SynproxyOff
	if m.limits.TimeoutEst != 0 && !forwarded {
		l.error(m.estAt, "established_timeout needs lb_kind FNAT or syn_proxy: it is ignored")
		x.Limits.TimeoutEst = 0
	}
	if (m.limits.BPSIn != 0 || m.limits.BPSOut != 0) && !forwarded {
		l.error(m.bpsAt, "bps_in and bps_out need lb_kind FNAT or syn_proxy: they are ignored")
		x.Limits.BPSIn, x.Limits.BPSOut = 0, 0
	}
	switch {
	case !m.rstOnExpire.v:
	case !forwarded || vs.Protocol != TCP:
		l.error(m.rstOnExpire.at, "rst_on_expire needs protocol TCP with lb_kind FNAT or syn_proxy: it is ignored")
	default:
		x.RSTOnExpire = true
	}
	switch {
	case !m.fast.v:
	case vs.Method != FNAT:
		l.error(m.fast.at, "fast needs lb_kind FNAT: it is ignored")
	default:
		x.Fast = true
	}
	if m.invalid.v != ipvs.InvalidAccept && vs.Protocol != TCP {
		l.error(m.invalid.at, "invalid is for TCP only, this service is %s: it is ignored", vs.Protocol)
	} else {
		x.Invalid = m.invalid.v
	}
	return l.resolveACL(d)
}

func (l *loader) resolveACL(d *draft) bool {
	x := &d.vs.Ext.Limits
	switch served := l.foreignLists(d); {
	case d.limit.aclBad, !served:
		return false // the fault has been told
	case x.ACL == ipvs.ACLOff:
		return true
	}
	for _, f := range d.families() {
		if set := map[Family]string{IPv4: x.ACLSet4, IPv6: x.ACLSet6}[f]; set == "" {
			l.error(d.limit.aclAt, "Virtual server %s: acl %s has no %s set: add '%s NAME'", d.vs.Name, x.ACL, f,
				map[Family]string{IPv4: "acl_set4", IPv6: "acl_set6"}[f])
			return false
		}
	}
	return true
}

// foreignLists turns a group of the dpvs dialect that is one ipset into acl. With a
// list of those who alone may be served that cannot be, nobody is, false.
func (l *loader) foreignLists(d *draft) (served bool) {
	x := &d.vs.Ext.Limits
	served = true
	for _, g := range []struct {
		name opt[string]
		mode ipvs.ACLMode
		word string
	}{{d.limit.deny, ipvs.ACLBlack, "daddr_group_name"}, {d.limit.allow, ipvs.ACLWhite, "waddr_group_name"}} {
		if !g.name.set {
			continue
		}
		group := l.clients[g.name.v]
		fs := d.families()
		was := x.ACL
		switch {
		case group == nil:
			l.error(g.name.at, "%s '%s': no such group", g.word, g.name.v)
		case x.ACL != ipvs.ACLOff:
			l.error(g.name.at, "%s: a service has one list of clients: merge both into one ipset", g.word)
		case len(group.sets) != 1 || group.addrs > 0 || len(fs) != 1:
			l.error(g.name.at, "%s: not in force: put the addresses of group '%s' into an ipset and write one line 'ipset:NAME' there, or 'acl %s' with acl_set4 and acl_set6 here",
				g.word, g.name.v, g.mode)
		case fs[0] == IPv4:
			x.ACL, x.ACLSet4 = g.mode, group.sets[0]
		default:
			x.ACL, x.ACLSet6 = g.mode, group.sets[0]
		}
		if g.mode == ipvs.ACLWhite && x.ACL == was {
			l.error(g.name.at, "Virtual server %s: %s is not in force, and without it everybody would be served: the service is left out", d.vs.Name, g.word)
			served = false
		}
	}
	return served
}
