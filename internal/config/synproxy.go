// SPDX-License-Identifier: Apache-2.0

package config

import (
	"math"
	"slices"

	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/parser"
)

// synDraft is what a virtual_server says about SYNPROXY.
type synDraft struct {
	mode opt[ipvs.SynproxyMode]
	sp   ipvs.Synproxy
	wait bool // synproxy_defer
	at   Pos  // of the last parameter; the zero Pos: none was written
}

// synproxyDefaults are those of a service of the module.
func synproxyDefaults() ipvs.Synproxy {
	return ipvs.Synproxy{
		WScale: 7, Opts: ipvs.SPOptSACK, Window: 14600, TTL: 64, SYNRetries: 3, Queue: 16, AutoOn: 1024, AutoOff: 512,
	}
}

var synproxyKeywords = keywords[draft]{
	"syn_proxy":         {read: readSynproxyMode},
	"synproxy":          {read: readSynproxyMode},
	"synproxy_defer":    synBool(func(s *synDraft, v bool) { s.wait = v }),
	"synproxy_options":  {read: readSynproxyOptions},
	"synproxy_mss":      {read: readSynproxyMSS},
	"synproxy_wscale":   {read: readSynproxyWScale},
	"synproxy_window":   synInt(0, 65535, func(s *ipvs.Synproxy, v int64) { s.Window = uint16(v) }),
	"synproxy_ttl":      synInt(1, 255, func(s *ipvs.Synproxy, v int64) { s.TTL = uint8(v) }),
	"synproxy_retries":  synInt(0, 8, func(s *ipvs.Synproxy, v int64) { s.SYNRetries = uint8(v) }),
	"synproxy_queue":    synInt(0, 64, func(s *ipvs.Synproxy, v int64) { s.Queue = uint8(v) }),
	"synproxy_auto_on":  synInt(1, math.MaxUint32, func(s *ipvs.Synproxy, v int64) { s.AutoOn = uint32(v) }),
	"synproxy_auto_off": synInt(0, math.MaxUint32, func(s *ipvs.Synproxy, v int64) { s.AutoOff = uint32(v) }),
}

func synInt(lo, hi int64, set func(*ipvs.Synproxy, int64)) keyword[draft] {
	return keyword[draft]{read: func(l *loader, n *parser.Node, d *draft) {
		if v, ok := l.int(n, 1, lo, hi); ok {
			set(&d.syn.sp, v)
			d.syn.at = n.Pos()
		}
	}}
}

func synBool(set func(*synDraft, bool)) keyword[draft] {
	return keyword[draft]{read: func(l *loader, n *parser.Node, d *draft) {
		if v, ok := l.bool(n, 1); ok {
			set(&d.syn, v)
			d.syn.at = n.Pos()
		}
	}}
}

// synproxyMode takes nothing, which is on, a bool, or auto.
func (l *loader) synproxyMode(n *parser.Node) (mode ipvs.SynproxyMode, ok bool) {
	if n.Arg(1) == "auto" {
		return ipvs.SynproxyAuto, true
	}
	v, ok := l.bool(n, 1)
	if v {
		mode = ipvs.SynproxyOn
	}
	return mode, ok
}

func readSynproxyMode(l *loader, n *parser.Node, d *draft) {
	if mode, ok := l.synproxyMode(n); ok {
		d.syn.mode = opt[ipvs.SynproxyMode]{v: mode, set: true, at: n.Pos()}
	}
}

func readSynproxyEarly(l *loader, n *parser.Node, g *Global) {
	if mode, ok := l.synproxyMode(n); ok {
		g.Ext.SPEarly = mode
	}
}

func readSynproxyOptions(l *loader, n *parser.Node, d *draft) {
	if _, ok := l.word(n, 1, "sack, timestamps or none"); !ok {
		return
	}
	var opts ipvs.SPOpts
	for i := 1; i < len(n.Words); i++ {
		switch n.Arg(i) {
		case "sack":
			opts |= ipvs.SPOptSACK
		case "timestamps":
			opts |= ipvs.SPOptTS
		case "none":
		default:
			l.error(n.ArgPos(i), "synproxy_options: unknown word '%s': expected sack, timestamps or none", n.Arg(i))
			return
		}
	}
	d.syn.sp.Opts, d.syn.at = opts, n.Pos()
}

func readSynproxyMSS(l *loader, n *parser.Node, d *draft) {
	if v, ok := l.mss(n); ok {
		d.syn.sp.MSS, d.syn.at = v, n.Pos()
	}
}

func readSynproxyWScale(l *loader, n *parser.Node, d *draft) {
	if n.Arg(1) == "off" {
		d.syn.sp.WScale, d.syn.at = ipvs.SPWScaleOff, n.Pos()
	} else if v, ok := l.int(n, 1, 0, 14); ok {
		d.syn.sp.WScale, d.syn.at = uint8(v), n.Pos()
	}
}

// resolveSynproxy settles SYNPROXY; what it cannot do is switched off with an
// error, and the service is served without.
func (l *loader) resolveSynproxy(d *draft) {
	s, x, vs := &d.syn, &d.vs.Ext, &d.vs
	foreign := func(r *realDraft) bool { return r.rs.Method == DR || r.rs.Method == TUN }
	switch {
	case s.mode.v == ipvs.SynproxyOff:
		if s.at != (Pos{}) && !s.mode.set {
			l.warn(s.at, "synproxy parameters have no effect: write 'syn_proxy on' or 'syn_proxy auto'")
		}
		return
	case vs.Protocol != TCP:
		l.error(s.mode.at, "syn_proxy is for TCP only, this service is %s: it is served without", vs.Protocol)
	case vs.Method != NAT && vs.Method != FNAT, slices.ContainsFunc(d.reals, foreign):
		l.error(s.mode.at, "syn_proxy needs lb_kind NAT or FNAT for every server, else the director does not see the replies: the service is served without")
	case s.mode.v == ipvs.SynproxyAuto && s.sp.AutoOff >= s.sp.AutoOn:
		l.error(s.at, "synproxy_auto_off %d must be below synproxy_auto_on %d: the service is served without syn_proxy", s.sp.AutoOff, s.sp.AutoOn)
	case s.wait && s.sp.Window == 0:
		l.error(s.at, "synproxy_defer waits for data, which synproxy_window 0 forbids: the service is served without syn_proxy")
	case s.sp.Opts&ipvs.SPOptTS != 0 && d.stripsTimestamps():
		l.error(s.at, "synproxy_options timestamps needs 'timestamps keep' or 'timestamps rebase': the service is served without syn_proxy")
	default:
		x.Synproxy, x.SP, x.SPDefer = s.mode.v, s.sp, s.wait
	}
}

func (d *draft) stripsTimestamps() bool {
	return d.vs.Method == FNAT && d.ext.timestamps.or(TSStrip) == TSStrip
}
