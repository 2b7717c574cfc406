// SPDX-License-Identifier: Apache-2.0

package config

import (
	"math"
	"net/netip"

	"github.com/lvs-fnat/lvs/parser"
)

// realDraft is a real_server or sorry_server while it is read.
type realDraft struct {
	rs       RealServer
	timing   timing
	methodAt Pos
	host     opt[string]
	checks   []*checkDraft
}

var realKeywords keywords[realDraft]

func init() {
	realKeywords = timed(func(r *realDraft) *timing { return &r.timing }).with(keywords[realDraft]{
		"weight":             intInto(0, math.MaxInt32, func(r *realDraft, v int) { r.rs.Weight = v }),
		"uthreshold":         intInto(0, math.MaxUint32, func(r *realDraft, v int) { r.rs.UThreshold = v }),
		"lthreshold":         intInto(0, math.MaxUint32, func(r *realDraft, v int) { r.rs.LThreshold = v }),
		"inhibit_on_failure": boolInto(func(r *realDraft, v bool) { r.timing.inhibit.put(v) }),
		"notify_up":          scriptInto(func(r *realDraft) *Script { return &r.rs.NotifyUp }),
		"notify_down":        scriptInto(func(r *realDraft) *Script { return &r.rs.NotifyDown }),
		"virtualhost":        stringInto(func(r *realDraft, v string) { r.host.put(v) }),
		"lvs_method": {read: func(l *loader, n *parser.Node, r *realDraft) {
			if m, t, ok := l.method(n); ok {
				r.rs.Method, r.rs.Tunnel, r.methodAt = m, t, n.Pos()
			}
		}},
		"TCP_CHECK":  {block: true, read: readTCPCheck},
		"HTTP_GET":   {block: true, read: readHTTPGet},
		"SSL_GET":    {block: true, read: readSSLGet},
		"SMTP_CHECK": {block: true, read: readSMTPCheck},
		"DNS_CHECK":  {block: true, read: readDNSCheck},
		"MISC_CHECK": {block: true, read: readMiscCheck},
		"UDP_CHECK":  {block: true, read: readUDPCheck},
		"PING_CHECK": {block: true, read: readPingCheck},
		"FILE_CHECK": {block: true, read: readForeignCheck},
		"BFD_CHECK":  {block: true, read: readForeignCheck},
	})
}

func readRealServer(l *loader, n *parser.Node, d *draft) {
	ap, ok := l.addrPort(n, 1)
	// The weight of the virtual server counts for the real servers behind it only.
	r := &realDraft{rs: RealServer{Pos: n.Pos(), Addr: ap, Weight: d.weight}}
	walk(l, n.Children, "virtual_server/real_server", realKeywords, r)
	if !ok {
		return // faults inside are reported all the same
	}
	d.reals = append(d.reals, r)
}

func readSorry(l *loader, n *parser.Node, d *draft) {
	if ap, ok := l.addrPort(n, 1); ok {
		d.sorry = &realDraft{rs: RealServer{Pos: n.Pos(), Addr: ap, Weight: 1}}
	}
}

// readForeignCheck warns per real server, not once: each line is a server that is not watched.
func readForeignCheck(l *loader, n *parser.Node, r *realDraft) {
	l.warn(n.Pos(), "%s is known but not in force in this version: %s is not checked by it", n.Key(), r.rs.Addr)
}

// completeReals resolves the real servers of d; those that cannot work are left out.
func (l *loader) completeReals(d *draft) {
	seen := map[netip.AddrPort]Pos{}
	for _, r := range d.reals {
		if !l.completeReal(d, r) {
			continue
		}
		key := r.rs.Addr
		if first, dup := seen[key]; dup {
			l.warn(r.rs.Pos, "real_server %s stands already at line %d: this one is ignored", r.rs.Addr, first.Line)
			continue
		}
		seen[key] = r.rs.Pos
		d.vs.RealServers = append(d.vs.RealServers, r.rs)
	}
	if d.sorry != nil && l.completeReal(d, d.sorry) {
		d.vs.SorryServer = &d.sorry.rs
	}
}
