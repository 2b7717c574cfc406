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

// realDraft is a real_server or sorry_server while it is read.
type realDraft struct {
	rs       RealServer
	traits   RealTraits // of rs, until it is complete
	timing   timing
	methodAt Pos
	weight   opt[int]
	checked  uint16 // port that checks without connect_port ask
	host     opt[string]
	checks   []*checkDraft
	pool     []*checkDraft // all there have been; len(checks) of them are taken
	files    []*FileCheck
	bfds     []*bfdCheckDraft

	smtpAlert opt[bool]
	slowStart opt[time.Duration]
	rst       opt[bool]
}

var realKeywords keywords[realDraft]

func init() {
	realKeywords = timed(func(r *realDraft) *timing { return &r.timing }).with(keywords[realDraft]{
		"retry":              atLeastOne(func(r *realDraft) *timing { return &r.timing }),
		"weight":             intInto(0, math.MaxInt32, func(r *realDraft, v int) { r.weight.put(v) }),
		"uthreshold":         intInto(0, math.MaxUint32, func(r *realDraft, v int) { r.rs.UThreshold = v }),
		"lthreshold":         intInto(0, math.MaxUint32, func(r *realDraft, v int) { r.rs.LThreshold = v }),
		"inhibit_on_failure": boolInto(func(r *realDraft, v bool) { r.timing.inhibit.put(v) }),
		"notify_up":          scriptInto(func(r *realDraft) *Script { return &r.rs.NotifyUp }),
		"notify_down":        scriptInto(func(r *realDraft) *Script { return &r.rs.NotifyDown }),
		"virtualhost":        cleanInto(func(r *realDraft, v string) { r.host.put(v) }),
		"lvs_method": {read: func(l *loader, n *parser.Node, r *realDraft) {
			if m, t, ok := l.method(n); ok {
				r.rs.Method, r.rs.Tunnel, r.methodAt = m, t, n.Pos()
			}
		}},
		"TCP_CHECK":      {block: true, read: readTCPCheck},
		"HTTP_GET":       {block: true, read: readHTTPGet},
		"SSL_GET":        {block: true, read: readSSLGet},
		"SMTP_CHECK":     {block: true, read: readSMTPCheck},
		"DNS_CHECK":      {block: true, read: readDNSCheck},
		"MISC_CHECK":     {block: true, read: readMiscCheck},
		"UDP_CHECK":      {block: true, read: readUDPCheck},
		"PING_CHECK":     {block: true, read: readPingCheck},
		"FILE_CHECK":     {block: true, read: readFileCheck},
		"GRPC_CHECK":     {block: true, read: readGRPCCheck},
		"slow_start":     secondsInto(0, longTime, func(r *realDraft, v time.Duration) { r.slowStart.put(v) }),
		"rst_on_failure": boolInto(func(r *realDraft, v bool) { r.rst.put(v) }),
		"BFD_CHECK":      {block: true, read: readBFDCheck},
		"smtp_alert":     boolInto(func(r *realDraft, v bool) { r.smtpAlert.put(v) }),
		"snmp_name":      stringInto(func(r *realDraft, v string) { r.rs.SNMPName = v }),
	})
}

func readRealServer(l *loader, n *parser.Node, d *draft) {
	ap, ok := l.addrPort(n, 1)
	r := d.newReal()
	r.place(n, ap, 1)
	walk(l, n.Children, "virtual_server/real_server", realKeywords, r)
	if !ok {
		d.unread = append(d.unread, n.Pos()) // faults inside are reported all the same
		return
	}
	d.reals = append(d.reals, r)
}

// place begins an empty draft.
func (r *realDraft) place(n *parser.Node, at netip.AddrPort, weight int) {
	r.traits.Weight = weight
	r.rs = RealServer{Pos: n.Pos(), Addr: at, RealTraits: &r.traits}
}

// newReal gives an empty draft. Drafts are used again for the next virtual
// server: a large file has tens of thousands of them.
func (d *draft) newReal() *realDraft {
	if d.used == len(d.pool) {
		d.pool = append(d.pool, &realDraft{})
	}
	r := d.pool[d.used]
	d.used++
	*r = realDraft{pool: r.pool, checks: r.checks[:0]}
	return r
}

// newCheck gives the draft of a check, which is the last of r's.
func (r *realDraft) newCheck(n *parser.Node, kind CheckKind) *checkDraft {
	if len(r.checks) == len(r.pool) {
		r.pool = append(r.pool, &checkDraft{})
	}
	d := r.pool[len(r.checks)]
	*d = checkDraft{traits: CheckTraits{Kind: kind}}
	d.c = Checker{Pos: n.Pos(), CheckTraits: &d.traits, Probe: &d.probe}
	r.checks = append(r.checks, d)
	return d
}

func readSorry(l *loader, n *parser.Node, d *draft) {
	if ap, ok := l.addrPort(n, 1); ok {
		d.sorry = &realDraft{}
		d.sorry.place(n, ap, 1)
	}
}

var fileKeywords = keywords[FileCheck]{
	"track_file": stringInto(func(f *FileCheck, v string) { f.TrackFile = v }),
	"weight": {read: func(l *loader, n *parser.Node, f *FileCheck) {
		if v, rev, ok := l.trackWeight(n, 1, math.MaxInt32); ok {
			f.Weight, f.Reverse = v, rev
		}
	}},
}

// bfdCheckDraft is a BFD_CHECK while it is read.
type bfdCheckDraft struct {
	BFDCheck
	alpha opt[bool]
}

var bfdKeywords = keywords[bfdCheckDraft]{
	"name": {read: func(l *loader, n *parser.Node, b *bfdCheckDraft) {
		b.Name, _ = l.mildWord(n, 1, "name of a bfd_instance")
	}},
	"alpha": boolInto(func(b *bfdCheckDraft, v bool) { b.alpha.put(v) }),
}

func readFileCheck(l *loader, n *parser.Node, r *realDraft) {
	f := &FileCheck{Pos: n.Pos(), Weight: weightUnset}
	walk(l, n.Children, checkerPath+"FILE_CHECK", fileKeywords, f)
	if f.TrackFile == "" {
		l.error(n.Pos(), "FILE_CHECK has no file: add 'track_file NAME'")
		return
	}
	r.files = append(r.files, f)
}

func readBFDCheck(l *loader, n *parser.Node, r *realDraft) {
	b := &bfdCheckDraft{BFDCheck: BFDCheck{Pos: n.Pos()}}
	walk(l, n.Children, checkerPath+"BFD_CHECK", bfdKeywords, b)
	if b.Name == "" {
		l.error(n.Pos(), "BFD_CHECK has no session: add 'name NAME' of a bfd_instance")
		return
	}
	r.bfds = append(r.bfds, b)
}

// weightUnset stands for a weight that was not written, while one is read that may be any number.
const weightUnset = math.MinInt

// completeFiles resolves the FILE_CHECK blocks of r, whose track_file may stand behind them.
func (l *loader) completeFiles(r *realDraft) {
	for _, f := range r.files {
		i := slices.IndexFunc(l.cfg.TrackFiles, func(t TrackFile) bool { return t.Name == f.TrackFile })
		if i < 0 {
			l.error(f.Pos, "FILE_CHECK: track_file '%s' is not defined: add 'track_file %s { file PATH }'", f.TrackFile, f.TrackFile)
			continue
		}
		if f.Weight == weightUnset {
			f.Weight, f.Reverse = l.cfg.TrackFiles[i].Weight, l.cfg.TrackFiles[i].Reverse
		}
		f.TrackFile = strings.Clone(f.TrackFile)
		r.rs.FileChecks = append(r.rs.FileChecks, *f)
	}
	for _, b := range r.bfds {
		if l.session(b.Name, b.Pos, "BFD_CHECK", func(b *BFDInstance) bool { return b.Checker }) == nil {
			continue
		}
		b.Alpha, b.Name = b.alpha.or(r.rs.Alpha), strings.Clone(b.Name)
		r.rs.BFDChecks = append(r.rs.BFDChecks, b.BFDCheck)
	}
}

// completeReals resolves the real servers of d; those that cannot work are left out.
func (l *loader) completeReals(d *draft) {
	clear(l.realsSeen)
	seen := l.realsSeen
	d.vs.RealServers = l.reals.take(len(d.reals))
	for _, at := range d.unread {
		l.cfg.Lost = append(l.cfg.Lost, Lost{Pos: at, Service: d.vs.Name, Server: "?"})
	}
	for _, r := range d.reals {
		r.rs.Weight = r.weight.or(d.weight)
		if !l.completeReal(d, r) {
			l.cfg.Lost = append(l.cfg.Lost, Lost{Pos: r.rs.Pos, Service: d.vs.Name, Server: r.rs.Addr.String()})
			continue
		}
		key := r.rs.Addr
		if first, dup := seen[key]; dup {
			l.warn(r.rs.Pos, "real_server %s stands already at line %d: this one is ignored", r.rs.Addr, first.Line)
			continue
		}
		seen[key] = r.rs.Pos
		rs := r.rs
		rs.RealTraits = l.realTraits.get(&r.traits)
		d.vs.RealServers = append(d.vs.RealServers, rs)
	}
	if d.sorryMethod != 0 {
		d.sorry.rs.Method, d.sorry.rs.Tunnel, d.sorry.methodAt = d.sorryMethod, d.sorryTunnel, d.sorryMethodAt
	}
	if d.sorry != nil && l.completeReal(d, d.sorry) {
		rs := d.sorry.rs
		rs.RealTraits = l.realTraits.get(&d.sorry.traits)
		d.vs.SorryServer = &rs
	}
}
