// SPDX-License-Identifier: Apache-2.0

package director

import (
	"net/netip"

	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/ipvs"
)

// managed are the flags a configuration decides; the others stay as they are.
const managed = ipvs.ExtFNAT | ipvs.ExtSynproxy | ipvs.ExtTOA | ipvs.ExtTOASyn | ipvs.ExtSeq | ipvs.ExtExhaustRST

// active are the flags without which all other settings mean nothing.
const active = ipvs.ExtFNAT | ipvs.ExtSynproxy

// diffExt returns the settings to send. Of a service that is served by the
// extension already only what differs is sent. One that was not has settings
// nobody looked at, the kernel's defaults or older ones, and is told all; one
// that will not be keeps them.
func diffExt(have, want ipvs.Ext) (ipvs.Ext, bool) {
	var e ipvs.Ext
	e.FlagsMask = (have.Flags ^ want.Flags) & managed
	if want.Flags&^have.Flags&ipvs.ExtFNAT != 0 {
		e.FlagsMask |= ipvs.ExtSeq // unnamed, it would come with FNAT
	}
	if e.FlagsMask != 0 {
		e.Set, e.Flags = ipvs.ExtFieldFlags, want.Flags&e.FlagsMask
	}
	set(&e, ipvs.ExtFieldLGroup, &e.LGroup, have.LGroup, want.LGroup, false)
	if want.Flags&active == 0 {
		return e, e.Set != 0
	}
	all := have.Flags&active == 0
	set(&e, ipvs.ExtFieldSelect, &e.Select, have.Select, want.Select, all)
	set(&e, ipvs.ExtFieldTSMode, &e.TSMode, have.TSMode, want.TSMode, all)
	set(&e, ipvs.ExtFieldMSSClamp, &e.MSSClamp, have.MSSClamp, want.MSSClamp, all)
	if want.Flags&ipvs.ExtTOA != 0 {
		all = have.Flags&ipvs.ExtTOA == 0
		set(&e, ipvs.ExtFieldTOAKind4, &e.TOAKind4, have.TOAKind4, want.TOAKind4, all)
		set(&e, ipvs.ExtFieldTOAKind6, &e.TOAKind6, have.TOAKind6, want.TOAKind6, all)
	}
	return e, e.Set != 0
}

func set[T comparable](e *ipvs.Ext, field ipvs.ExtField, to *T, have, want T, always bool) {
	if always || have != want {
		e.Set |= field
		*to = want
	}
}

// wantedExt is what the extension shall know of an endpoint of vs.
func wantedExt(vs *config.VirtualServer, e config.Endpoint) ipvs.Ext {
	x := &vs.Ext
	ext := ipvs.Ext{
		LGroup:   e.LaddrGroup,
		Select:   ipvs.LaddrSelect(x.LaddrSelect),
		TSMode:   ipvs.TSMode(x.Timestamps),
		MSSClamp: x.MSSClamp,
		TOAKind4: x.TOAKind4,
		TOAKind6: x.TOAKind6,
	}
	for _, f := range []struct {
		on   bool
		flag ipvs.ExtFlags
	}{
		{vs.Method == config.FNAT, ipvs.ExtFNAT}, {x.SynProxy, ipvs.ExtSynproxy}, {x.TOA, ipvs.ExtTOA},
		{x.TOASyn, ipvs.ExtTOASyn}, {x.SeqAdjust, ipvs.ExtSeq}, {x.ExhaustRST, ipvs.ExtExhaustRST},
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
			to.Laddrs = append(to.Laddrs, ipvs.Laddr{Addr: a.Addr, PortMin: a.Ports.Min, PortMax: a.Ports.Max, CPUs: a.CPUs})
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
	for _, g := range have {
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
				op.Laddr.Flags = old[a.Addr].Flags
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
