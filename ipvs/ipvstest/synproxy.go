// SPDX-License-Identifier: Apache-2.0

package ipvstest

import (
	"fmt"

	"github.com/lvs-fnat/lvs/ipvs"
)

// newSynproxy is how a service would answer that nobody has asked to.
func newSynproxy() ipvs.Synproxy {
	return ipvs.Synproxy{WScale: 7, Opts: ipvs.SPOptSACK, OptsMask: ipvs.SPOptSACK | ipvs.SPOptTS, Window: 14600,
		TTL: 64, SYNRetries: 3, Queue: 16, AutoOn: 1024, AutoOff: 512}
}

// synproxyField copies one setting from another, and tells them apart.
type synproxyField struct {
	field   ipvs.ExtField
	set     func(to *ipvs.Synproxy, from ipvs.Synproxy)
	differs func(a, b ipvs.Synproxy) bool
}

func synproxyOf[T comparable](field ipvs.ExtField, at func(*ipvs.Synproxy) *T) synproxyField {
	return synproxyField{field,
		func(to *ipvs.Synproxy, from ipvs.Synproxy) { *at(to) = *at(&from) },
		func(a, b ipvs.Synproxy) bool { return *at(&a) != *at(&b) }}
}

var synproxyFields = []synproxyField{
	synproxyOf(ipvs.ExtFieldSPMSS, func(s *ipvs.Synproxy) *uint16 { return &s.MSS }),
	synproxyOf(ipvs.ExtFieldSPWScale, func(s *ipvs.Synproxy) *uint8 { return &s.WScale }),
	synproxyOf(ipvs.ExtFieldSPWindow, func(s *ipvs.Synproxy) *uint16 { return &s.Window }),
	synproxyOf(ipvs.ExtFieldSPTTL, func(s *ipvs.Synproxy) *uint8 { return &s.TTL }),
	synproxyOf(ipvs.ExtFieldSPRetries, func(s *ipvs.Synproxy) *uint8 { return &s.SYNRetries }),
	synproxyOf(ipvs.ExtFieldSPQueue, func(s *ipvs.Synproxy) *uint8 { return &s.Queue }),
	synproxyOf(ipvs.ExtFieldSPAutoOn, func(s *ipvs.Synproxy) *uint32 { return &s.AutoOn }),
	synproxyOf(ipvs.ExtFieldSPAutoOff, func(s *ipvs.Synproxy) *uint32 { return &s.AutoOff }),
	{ipvs.ExtFieldSPOpts,
		func(to *ipvs.Synproxy, from ipvs.Synproxy) {
			to.Opts = to.Opts&^from.OptsMask | from.Opts&from.OptsMask
		},
		func(a, b ipvs.Synproxy) bool { return a.Opts != b.Opts }},
}

func setSynproxy(to *ipvs.Synproxy, from ipvs.Synproxy, set ipvs.ExtField) {
	for _, f := range synproxyFields {
		if set&f.field != 0 {
			f.set(to, from)
		}
	}
}

// changedSynproxy returns what differs from d, and has OptsMask name it.
func changedSynproxy(s *ipvs.Synproxy, d ipvs.Synproxy) (set ipvs.ExtField) {
	for _, f := range synproxyFields {
		if f.differs(*s, d) {
			set |= f.field
		}
	}
	s.OptsMask = s.Opts ^ d.Opts
	return set
}

// allowedSynproxy checks in the kernel's order.
func (s *service) allowedSynproxy(op ipvs.Op, e ipvs.Ext) error {
	sp := e.SP
	switch {
	case e.Set&ipvs.ExtFieldSP == 0: // a module without SYNPROXY
		return nil
	case sp.MSS != 0 && (sp.MSS < 88 || sp.MSS > 65495):
		return op.Fail(erange, "SP_MSS is 0 or 88 to 65495")
	case sp.WScale > 14 && sp.WScale != ipvs.SPWScaleOff:
		return op.Fail(erange, "SP_WSCALE is 0 to 14, or 255 for none")
	case sp.TTL == 0 || sp.SYNRetries > 8 || sp.Queue > 64:
		return op.Fail(erange, "integer out of range")
	case sp.Opts&ipvs.SPOptECN != 0:
		return op.Fail(eopnot, "a cookie has no room for ECN")
	case sp.AutoOff >= sp.AutoOn:
		return op.Fail(einval, "SP_AUTO_OFF must be less than SP_AUTO_ON")
	case e.Flags&ipvs.ExtSynproxy == 0:
		if e.Flags&(ipvs.ExtSPDefer|ipvs.ExtSPAuto) != 0 {
			return op.Fail(einval, "SP_DEFER and SP_AUTO need SYNPROXY")
		}
		return nil
	case e.Flags&ipvs.ExtSPDefer != 0 && sp.Window == 0:
		return op.Fail(einval, "SP_DEFER waits for data, which SP_WINDOW 0 forbids")
	case !s.tcp():
		return op.Fail(eproto, "SYNPROXY is TCP only")
	case s.Flags&ipvs.FlagOnePacket != 0:
		return op.Fail(eopnot, "one-packet scheduling has no reply path for SYNPROXY")
	case s.PEName != "" || s.Port == 21:
		return op.Fail(eopnot, "not with application helpers")
	}
	for _, d := range s.dests {
		if d.Forward != ipvs.Masq {
			return op.Fail(eopnot, fmt.Sprintf("SYNPROXY needs NAT or FNAT destinations: dest %v is %s", d.DestKey, method(d.Forward)))
		}
	}
	return nil
}

func method(f ipvs.Forward) string {
	switch f {
	case ipvs.Tunnel:
		return "TUN"
	case ipvs.DirectRoute:
		return "DR"
	case ipvs.LocalNode:
		return "LOCALNODE"
	}
	return "BYPASS"
}
