// SPDX-License-Identifier: Apache-2.0

package director

import (
	"maps"
	"net/netip"

	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/ipvs"
)

// managed are the flags a configuration decides.
const managed = ipvs.ExtFNAT | ipvs.ExtSynproxy | ipvs.ExtSPAuto | ipvs.ExtSPDefer | ipvs.ExtTOA | ipvs.ExtTOASyn | ipvs.ExtSeq |
	ipvs.ExtExhaustRST | ipvs.ExtRSTOnExpire | ipvs.ExtFast

// active are the flags without which local addresses, TOA, timestamps and
// cookies mean nothing.
const active = ipvs.ExtFNAT | ipvs.ExtSynproxy

// diffExt returns the settings to send. Of a service that is served by the
// extension already only what differs is sent. One that was not has settings
// nobody looked at, the kernel's defaults or older ones, and is told all; one
// that will not be keeps them. Limits, lists and the policy for stray packets
// hold for every service, and are none in one that nobody has touched.
func diffExt(have, want *ipvs.Ext) (ipvs.Ext, bool) {
	var e ipvs.Ext
	e.FlagsMask = (have.Flags ^ want.Flags) & managed
	if want.Flags&^have.Flags&ipvs.ExtFNAT != 0 {
		e.FlagsMask |= ipvs.ExtSeq // unnamed, it would come with FNAT
	}
	if e.FlagsMask != 0 {
		e.Set, e.Flags = ipvs.ExtFieldFlags, want.Flags&e.FlagsMask
	}
	set(&e, ipvs.ExtFieldLGroup, &e.LGroup, have.LGroup, want.LGroup, false)
	set(&e, ipvs.ExtFieldInvalid, &e.Invalid, have.Invalid, want.Invalid, false)
	diffLimits(&e, have.Limits, want.Limits)
	if want.Flags&active == 0 {
		return e, e.Set != 0
	}
	all := have.Flags&active == 0
	set(&e, ipvs.ExtFieldSelect, &e.Select, have.Select, want.Select, all)
	set(&e, ipvs.ExtFieldTSMode, &e.TSMode, have.TSMode, want.TSMode, all)
	set(&e, ipvs.ExtFieldMSSClamp, &e.MSSClamp, have.MSSClamp, want.MSSClamp, all)
	if want.Flags&ipvs.ExtTOA != 0 {
		all := have.Flags&ipvs.ExtTOA == 0
		set(&e, ipvs.ExtFieldTOAKind4, &e.TOAKind4, have.TOAKind4, want.TOAKind4, all)
		set(&e, ipvs.ExtFieldTOAKind6, &e.TOAKind6, have.TOAKind6, want.TOAKind6, all)
	}
	if want.Flags&ipvs.ExtSynproxy != 0 {
		diffSynproxy(&e, have.SP, want.SP, have.Flags&ipvs.ExtSynproxy == 0)
	}
	return e, e.Set != 0
}

// untouched tells that nothing is asked of the extension.
func untouched(e *ipvs.Ext) bool {
	return e.Flags&managed == 0 && e.LGroup == "" && e.Invalid == 0 && e.Limits == (ipvs.Limits{})
}

func diffLimits(e *ipvs.Ext, have, want ipvs.Limits) {
	to := &e.Limits
	set(e, ipvs.ExtFieldTimeoutEst, &to.TimeoutEst, have.TimeoutEst, want.TimeoutEst, false)
	set(e, ipvs.ExtFieldCPS, &to.CPS, have.CPS, want.CPS, false)
	set(e, ipvs.ExtFieldCPSBurst, &to.CPSBurst, have.CPSBurst, want.CPSBurst, false)
	set(e, ipvs.ExtFieldBPSIn, &to.BPSIn, have.BPSIn, want.BPSIn, false)
	set(e, ipvs.ExtFieldBPSOut, &to.BPSOut, have.BPSOut, want.BPSOut, false)
	set(e, ipvs.ExtFieldConnLimit, &to.ConnLimit, have.ConnLimit, want.ConnLimit, false)
	set(e, ipvs.ExtFieldACLMode, &to.ACL, have.ACL, want.ACL, false)
	set(e, ipvs.ExtFieldACLSet4, &to.ACLSet4, have.ACLSet4, want.ACLSet4, false)
	set(e, ipvs.ExtFieldACLSet6, &to.ACLSet6, have.ACLSet6, want.ACLSet6, false)
}

func diffSynproxy(e *ipvs.Ext, have, want ipvs.Synproxy, all bool) {
	to := &e.SP
	const known = ipvs.SPOptSACK | ipvs.SPOptTS
	set(e, ipvs.ExtFieldSPMSS, &to.MSS, have.MSS, want.MSS, all)
	set(e, ipvs.ExtFieldSPWScale, &to.WScale, have.WScale, want.WScale, all)
	if set(e, ipvs.ExtFieldSPOpts, &to.Opts, have.Opts&known, want.Opts, all); e.Set&ipvs.ExtFieldSPOpts != 0 {
		to.OptsMask = known
	}
	set(e, ipvs.ExtFieldSPWindow, &to.Window, have.Window, want.Window, all)
	set(e, ipvs.ExtFieldSPTTL, &to.TTL, have.TTL, want.TTL, all)
	set(e, ipvs.ExtFieldSPRetries, &to.SYNRetries, have.SYNRetries, want.SYNRetries, all)
	set(e, ipvs.ExtFieldSPQueue, &to.Queue, have.Queue, want.Queue, all)
	set(e, ipvs.ExtFieldSPAutoOn, &to.AutoOn, have.AutoOn, want.AutoOn, all)
	set(e, ipvs.ExtFieldSPAutoOff, &to.AutoOff, have.AutoOff, want.AutoOff, all)
}

func set[T comparable](e *ipvs.Ext, field ipvs.ExtField, to *T, have, want T, always bool) {
	if always || have != want {
		e.Set |= field
		*to = want
	}
}

// wantedExt is what the extension shall know of an endpoint with that group of
// local addresses.
func wantedExt(vs *config.VirtualTraits, group string) ipvs.Ext {
	x := &vs.Ext
	ext := ipvs.Ext{
		LGroup:   group,
		Select:   ipvs.LaddrSelect(x.LaddrSelect),
		TSMode:   ipvs.TSMode(x.Timestamps),
		MSSClamp: x.MSSClamp,
		TOAKind4: x.TOAKind4,
		TOAKind6: x.TOAKind6,
		Invalid:  x.Invalid,
		Limits:   x.Limits,
		SP:       x.SP,
	}
	for _, f := range []struct {
		on   bool
		flag ipvs.ExtFlags
	}{
		{vs.Method == config.FNAT, ipvs.ExtFNAT}, {x.TOA, ipvs.ExtTOA},
		{x.TOASyn, ipvs.ExtTOASyn}, {x.SeqAdjust, ipvs.ExtSeq}, {x.ExhaustRST, ipvs.ExtExhaustRST},
		{x.Synproxy != ipvs.SynproxyOff, ipvs.ExtSynproxy}, {x.Synproxy == ipvs.SynproxyAuto, ipvs.ExtSPAuto},
		{x.SPDefer, ipvs.ExtSPDefer}, {x.RSTOnExpire, ipvs.ExtRSTOnExpire}, {x.Fast, ipvs.ExtFast},
	} {
		if f.on {
			ext.Flags |= f.flag
		}
	}
	return ext
}

// wantedGroups are the groups of a configuration. One that no service refers
// to is made too: ipvsadm may use it.
func wantedGroups(cfg *config.Config) []Group {
	var groups []Group
	for _, g := range cfg.LaddrGroups {
		to := Group{Name: g.Name, Family: ipvs.Family(g.Family)}
		for _, a := range g.Addrs {
			to.Laddrs = append(to.Laddrs, ipvs.Laddr{Addr: a.Addr, PortMin: a.Ports.Min, PortMax: a.Ports.Max, CPUs: a.CPUs, Flags: a.Flags})
		}
		groups = append(groups, to)
	}
	return groups
}

// growGroups makes groups and fills them. An address can be in one group only,
// so one that moves leaves the old group first; a flow that begins in between
// may find no local address and is dropped, never forwarded as plain NAT.
func (d *differ) growGroups(have, want []Group) {
	home := map[netip.Addr]string{}
	old := map[netip.Addr]ipvs.Laddr{}
	hand := map[netip.Addr]ipvs.LaddrFlags{}
	for _, g := range have {
		maps.Copy(hand, g.Hand)
		for _, a := range g.Laddrs {
			home[a.Addr], old[a.Addr] = g.Name, a
		}
	}
	for i := range want {
		g := &want[i]
		if d.haveGroups[g.Name] == nil && d.wantGroups[g.Name] == g {
			d.emit(ipvs.Op{Kind: ipvs.AddLGroup, LGroup: ipvs.LGroup{Name: g.Name, Family: g.Family}})
		}
	}
	for _, g := range want {
		for _, a := range g.Laddrs {
			at, known := home[a.Addr]
			op := ipvs.Op{Kind: ipvs.AddLaddr, LGroup: ipvs.LGroup{Name: g.Name}, Laddr: a}
			switch {
			case known && at == g.Name && sameLaddr(old[a.Addr], a):
				continue
			case known && at == g.Name && !backToDefault(old[a.Addr], a):
				op.Kind = ipvs.SetLaddr
				op.Laddr.Flags |= hand[a.Addr]
			case known:
				d.delLaddr(at, a.Addr)
			}
			d.emit(op)
		}
	}
}

// backToDefault tells whether the kernel shall choose the ports again. It
// does so for a new address only; connections keep the old one.
func backToDefault(have, want ipvs.Laddr) bool { return want.PortMax == 0 && have.PortMax != 0 }

func (d *differ) delLaddr(group string, a netip.Addr) {
	d.emit(ipvs.Op{Kind: ipvs.DelLaddr, LGroup: ipvs.LGroup{Name: group}, Laddr: ipvs.Laddr{Addr: a}})
}

// shrinkGroups removes what is left over once no service needs it.
func (d *differ) shrinkGroups(have []Group) {
	wanted := map[netip.Addr]bool{}
	for _, g := range d.wantGroups {
		for _, a := range g.Laddrs {
			wanted[a.Addr] = true
		}
	}
	for _, g := range have {
		for _, a := range g.Laddrs {
			if !wanted[a.Addr] { // else it has moved, or stays
				d.delLaddr(g.Name, a.Addr)
			}
		}
		if d.wantGroups[g.Name] == nil {
			d.emit(ipvs.Op{Kind: ipvs.DelLGroup, LGroup: ipvs.LGroup{Name: g.Name}})
		}
	}
}
