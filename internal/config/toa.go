// SPDX-License-Identifier: Apache-2.0

package config

import "github.com/lvs-fnat/lvs/parser"

// extDraft is what a virtual_server says to the extended module, before defaults.
type extDraft struct {
	toa, toaSyn, seqAdjust, exhaustRST opt[bool]
	kind4, kind6                       opt[uint8]
	timestamps                         opt[TSMode]
	mssClamp                           opt[uint16]
	laddrSelect                        opt[LaddrSelect]
}

// Ranges of IPVS_EXT_SVC_TOA_KIND* and IPVS_EXT_SVC_MSS_CLAMP.
const (
	toaKindMin, toaKindMax   = 9, 254
	mssClampMin, mssClampMax = 88, 65495
	toaKindDefault           = 254
)

var extKeywords = keywords[draft]{
	"toa":         extBool(func(e *extDraft) *opt[bool] { return &e.toa }),
	"toa_syn":     extBool(func(e *extDraft) *opt[bool] { return &e.toaSyn }),
	"seq_adjust":  extBool(func(e *extDraft) *opt[bool] { return &e.seqAdjust }),
	"exhaust_rst": extBool(func(e *extDraft) *opt[bool] { return &e.exhaustRST }),
	"toa_kind":    toaKind(true, true),
	"toa_kind4":   toaKind(true, false),
	"toa_kind6":   toaKind(false, true),
	"mss_clamp": {read: func(l *loader, n *parser.Node, d *draft) {
		if v, ok := l.mss(n); ok {
			d.ext.mssClamp = opt[uint16]{v: v, set: true, at: n.Pos()}
		}
	}},
	"timestamps": {read: func(l *loader, n *parser.Node, d *draft) {
		if k, ok := l.oneOf(n, 1, tsModes...); ok {
			d.ext.timestamps = opt[TSMode]{v: TSMode(k), set: true, at: n.Pos()}
		}
	}},
	"laddr_select": {read: func(l *loader, n *parser.Node, d *draft) {
		if k, ok := l.oneOf(n, 1, laddrSelects...); ok {
			d.ext.laddrSelect = opt[LaddrSelect]{v: LaddrSelect(k), set: true, at: n.Pos()}
		}
	}},
}

// mss reads off, which is 0, or what a clamp can be.
func (l *loader) mss(n *parser.Node) (uint16, bool) {
	if n.Arg(1) == "off" {
		return 0, true
	}
	v, ok := l.int(n, 1, mssClampMin, mssClampMax)
	return uint16(v), ok
}

func extBool(of func(*extDraft) *opt[bool]) keyword[draft] {
	return keyword[draft]{read: func(l *loader, n *parser.Node, d *draft) {
		if v, ok := l.bool(n, 1); ok {
			*of(&d.ext) = opt[bool]{v: v, set: true, at: n.Pos()}
		}
	}}
}

func toaKind(four, six bool) keyword[draft] {
	return keyword[draft]{read: func(l *loader, n *parser.Node, d *draft) {
		v, ok := l.int(n, 1, toaKindMin, toaKindMax)
		if !ok {
			return
		}
		o := opt[uint8]{v: uint8(v), set: true, at: n.Pos()}
		if four {
			d.ext.kind4 = o
		}
		if six {
			d.ext.kind6 = o
		}
	}}
}

// resolveExt fills in the defaults of FNAT. What has no meaning here is dropped
// with an error, and the service is served without it; false: it must not be.
func (l *loader) resolveExt(d *draft) bool {
	l.resolveSynproxy(d)
	if d.vs.Method == FNAT {
		l.resolveFNAT(d)
	} else {
		l.needsFNAT(&d.ext)
	}
	return l.resolveLimits(d)
}

func (l *loader) resolveFNAT(d *draft) {
	e, x, tcp := &d.ext, &d.vs.Ext, d.vs.Protocol != UDP
	if e.toa.v && !tcp {
		l.error(e.toa.at, "toa is for TCP only, this service is udp: it is ignored")
	}
	x.TOA = tcp && e.toa.or(true)
	x.TOASyn = e.toaSyn.v && x.TOA
	x.TOAKind4 = e.kind4.or(toaKindDefault)
	x.TOAKind6 = e.kind6.or(toaKindDefault)
	x.SeqAdjust = e.seqAdjust.or(tcp)
	x.Timestamps = TSKeep
	if tcp {
		x.Timestamps = e.timestamps.or(TSStrip)
	}
	x.MSSClamp = e.mssClamp.v
	x.ExhaustRST = e.exhaustRST.v
	x.LaddrSelect = e.laddrSelect.v
}

// needsFNAT tells of the settings that only FNAT gives a meaning; off is always fine.
func (l *loader) needsFNAT(e *extDraft) {
	for _, s := range []struct {
		word string
		on   bool
		at   Pos
	}{
		{"toa", e.toa.v, e.toa.at}, {"toa_syn", e.toaSyn.v, e.toaSyn.at}, {"seq_adjust", e.seqAdjust.v, e.seqAdjust.at},
		{"exhaust_rst", e.exhaustRST.v, e.exhaustRST.at}, {"timestamps", e.timestamps.v != TSKeep, e.timestamps.at},
		{"mss_clamp", e.mssClamp.v != 0, e.mssClamp.at}, {"laddr_select", e.laddrSelect.v != SelectRR, e.laddrSelect.at},
	} {
		if s.on {
			l.error(s.at, "%s needs FNAT: write 'lb_kind FNAT' or remove it; it is ignored", s.word)
		}
	}
}
