// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/lvs-fnat/lvs/ipvs"
)

// tables is a whole configuration: what the kernel has, or what a file wants.
// Each part knows the line it comes from.
type tables struct {
	ext        bool // there is an extension
	config     ipvs.ExtConfig
	configLine int
	groups     ordered[string, tableGroup]
	services   ordered[ipvs.ServiceKey, tableService]

	timeouts     ipvs.Timeouts // zero: as they are
	timeoutsLine int
	daemons      ordered[ipvs.SyncState, tableDaemon]
}

type tableGroup struct {
	line   int
	family ipvs.Family
	laddrs ordered[netip.Addr, tableLaddr]
}

type tableLaddr struct {
	line  int
	laddr ipvs.Laddr
}

type tableService struct {
	line    int
	service ipvs.Service
	extLine int
	ext     ipvs.Ext
	named   ipvs.Ext // what was asked for, as Set and FlagsMask
	dests   ordered[ipvs.DestKey, tableDest]
}

type tableDest struct {
	line int
	dest ipvs.Dest
}

// tableDaemon is a sync daemon that must run, or must not.
type tableDaemon struct {
	line   int
	runs   bool
	daemon ipvs.Daemon
}

// newExt is what the extension makes of a service that nobody has asked.
func newExt() ipvs.Ext {
	return ipvs.Ext{TOAKind4: defaultTOAKind, TOAKind6: defaultTOAKind, SP: usualSynproxy}
}

// extField is one setting of ipvs.Ext.
type extField struct {
	field ipvs.ExtField
	set   func(to, from *ipvs.Ext)
	same  func(a, b *ipvs.Ext) bool
}

func extFieldOf[T comparable](field ipvs.ExtField, at func(*ipvs.Ext) *T) extField {
	return extField{field,
		func(to, from *ipvs.Ext) { *at(to) = *at(from) },
		func(a, b *ipvs.Ext) bool { return *at(a) == *at(b) }}
}

// extFields are all settings but the flags; made when they are needed, for most
// calls need none.
var extFields = sync.OnceValue(func() []extField {
	return []extField{
		extFieldOf(ipvs.ExtFieldLGroup, func(e *ipvs.Ext) *string { return &e.LGroup }),
		extFieldOf(ipvs.ExtFieldSelect, func(e *ipvs.Ext) *ipvs.LaddrSelect { return &e.Select }),
		extFieldOf(ipvs.ExtFieldInvalid, func(e *ipvs.Ext) *ipvs.InvalidPolicy { return &e.Invalid }),
		extFieldOf(ipvs.ExtFieldTSMode, func(e *ipvs.Ext) *ipvs.TSMode { return &e.TSMode }),
		extFieldOf(ipvs.ExtFieldMSSClamp, func(e *ipvs.Ext) *uint16 { return &e.MSSClamp }),
		extFieldOf(ipvs.ExtFieldTOAKind4, func(e *ipvs.Ext) *uint8 { return &e.TOAKind4 }),
		extFieldOf(ipvs.ExtFieldTOAKind6, func(e *ipvs.Ext) *uint8 { return &e.TOAKind6 }),
		extFieldOf(ipvs.ExtFieldSPMSS, func(e *ipvs.Ext) *uint16 { return &e.SP.MSS }),
		extFieldOf(ipvs.ExtFieldSPWScale, func(e *ipvs.Ext) *uint8 { return &e.SP.WScale }),
		extFieldOf(ipvs.ExtFieldSPWindow, func(e *ipvs.Ext) *uint16 { return &e.SP.Window }),
		extFieldOf(ipvs.ExtFieldSPTTL, func(e *ipvs.Ext) *uint8 { return &e.SP.TTL }),
		extFieldOf(ipvs.ExtFieldSPRetries, func(e *ipvs.Ext) *uint8 { return &e.SP.SYNRetries }),
		extFieldOf(ipvs.ExtFieldSPQueue, func(e *ipvs.Ext) *uint8 { return &e.SP.Queue }),
		extFieldOf(ipvs.ExtFieldSPAutoOn, func(e *ipvs.Ext) *uint32 { return &e.SP.AutoOn }),
		extFieldOf(ipvs.ExtFieldSPAutoOff, func(e *ipvs.Ext) *uint32 { return &e.SP.AutoOff }),
		extFieldOf(ipvs.ExtFieldTimeoutEst, func(e *ipvs.Ext) *time.Duration { return &e.TimeoutEst }),
		extFieldOf(ipvs.ExtFieldCPS, func(e *ipvs.Ext) *uint32 { return &e.CPS }),
		extFieldOf(ipvs.ExtFieldCPSBurst, func(e *ipvs.Ext) *uint32 { return &e.CPSBurst }),
		extFieldOf(ipvs.ExtFieldBPSIn, func(e *ipvs.Ext) *uint64 { return &e.BPSIn }),
		extFieldOf(ipvs.ExtFieldBPSOut, func(e *ipvs.Ext) *uint64 { return &e.BPSOut }),
		extFieldOf(ipvs.ExtFieldConnLimit, func(e *ipvs.Ext) *uint32 { return &e.ConnLimit }),
		extFieldOf(ipvs.ExtFieldACLMode, func(e *ipvs.Ext) *ipvs.ACLMode { return &e.ACL }),
		extFieldOf(ipvs.ExtFieldACLSet4, func(e *ipvs.Ext) *string { return &e.ACLSet4 }),
		extFieldOf(ipvs.ExtFieldACLSet6, func(e *ipvs.Ext) *string { return &e.ACLSet6 }),
		{ipvs.ExtFieldSPOpts,
			func(to, from *ipvs.Ext) {
				to.SP.Opts = to.SP.Opts&^from.SP.OptsMask | from.SP.Opts&from.SP.OptsMask
			},
			func(a, b *ipvs.Ext) bool { return a.SP.Opts == b.SP.Opts }},
	}
})

// setExt asks for in, as the kernel takes it: FNAT brings what TCP needs with
// it unless that was ever named.
func (s *tableService) setExt(in ipvs.Ext) {
	for _, f := range extFields() {
		if in.Set&f.field != 0 {
			f.set(&s.ext, &in)
		}
	}
	s.named.Set |= in.Set
	if in.Set&ipvs.ExtFieldFlags == 0 {
		return
	}
	s.named.FlagsMask |= in.FlagsMask
	on := in.Flags & in.FlagsMask &^ s.ext.Flags
	s.ext.Flags = s.ext.Flags&^in.FlagsMask | in.Flags&in.FlagsMask
	if on&fnat == 0 || !isTCP(s.service.ServiceKey) {
		return
	}
	if s.named.FlagsMask&seqAdjust == 0 {
		s.ext.Flags |= seqAdjust
	}
	if s.named.Set&ipvs.ExtFieldTSMode == 0 {
		s.ext.TSMode = ipvs.TSStrip
	}
}

// know takes over what the module tells; what it has not is as if never set.
func (s *tableService) know(e ipvs.Ext) {
	for _, f := range extFields() {
		if e.Set&f.field != 0 {
			f.set(&s.ext, &e)
		}
	}
	s.ext.Flags = e.Flags
}

// isTCP tells whether the service may carry TCP: a mark may.
func isTCP(k ipvs.ServiceKey) bool { return k.FWMark != 0 || k.Protocol == ipvs.TCP }

// present reads the kernel's tables.
func (a *app) present(ctx context.Context) (*tables, error) {
	ours, err := a.extended(ctx)
	if err != nil {
		return nil, err
	}
	t := &tables{ext: ours}
	services, err := a.kernel.Services(ctx)
	if err != nil {
		return nil, err
	}
	for i := range services {
		s := tableService{service: settingsOf(services[i]), ext: newExt()}
		dests, err := a.kernel.Dests(ctx, s.service.ServiceKey)
		if errors.Is(err, syscall.ESRCH) {
			continue // gone since
		}
		if err != nil {
			return nil, err
		}
		for _, d := range dests {
			s.dests.put(d.DestKey, tableDest{dest: destSettings(d)})
		}
		t.services.put(s.service.ServiceKey, s)
	}
	for _, f := range []func(context.Context, *tables) error{a.presentDaemons, a.presentExt} {
		if err := f(ctx, t); err != nil {
			return nil, err
		}
	}
	t.timeouts, err = a.kernel.Timeouts(ctx)
	return t, err
}

func (a *app) presentDaemons(ctx context.Context, t *tables) error {
	daemons, err := a.kernel.Daemons(ctx)
	for _, state := range []ipvs.SyncState{ipvs.SyncMaster, ipvs.SyncBackup} {
		t.daemons.put(state, tableDaemon{daemon: ipvs.Daemon{State: state}})
	}
	for _, d := range daemons {
		t.daemons.put(d.State, tableDaemon{runs: true, daemon: d})
	}
	return err
}

func (a *app) presentExt(ctx context.Context, t *tables) error {
	if !t.ext {
		return nil
	}
	exts, err := a.exts(ctx, func(*ipvs.ExtService) bool { return true })
	if err != nil {
		return err
	}
	for key, s := range t.services.all() {
		if e, ok := exts[key]; ok {
			s.know(e)
		}
	}
	if t.config, err = a.kernel.ExtConfig(ctx); err != nil {
		return err
	}
	groups, err := a.groups(ctx)
	if err != nil {
		return err
	}
	for _, g := range groups {
		laddrs, err := a.kernel.Laddrs(ctx, g.Name)
		if errors.Is(err, syscall.ENOENT) {
			continue
		}
		if err != nil {
			return err
		}
		group := t.groups.put(g.Name, tableGroup{family: g.Family})
		for _, l := range laddrs {
			group.laddrs.put(l.Addr, tableLaddr{laddr: laddrSettings(l)})
		}
	}
	return nil
}

// The three below leave what a user can set, in one form.

func settingsOf(s ipvs.Service) ipvs.Service {
	s.Stats = ipvs.Stats{}
	s.Flags &^= ipvs.FlagHashed
	if s.Scheduler == "none" {
		s.Scheduler = ""
	}
	return s
}

func destSettings(d ipvs.Dest) ipvs.Dest {
	d.Stats, d.ActiveConns, d.InactConns, d.PersistConns = ipvs.Stats{}, 0, 0, 0
	if d.Forward != ipvs.Tunnel {
		d.TunType, d.TunPort, d.TunFlags = 0, 0, 0
	}
	return d
}

func laddrSettings(l ipvs.Laddr) ipvs.Laddr {
	return ipvs.Laddr{Addr: l.Addr, PortMin: l.PortMin, PortMax: l.PortMax, CPUs: l.CPUs, Flags: l.Flags}
}

// filledIn is d with the kernel's choices for what it leaves open.
func filledIn(d, running ipvs.Daemon) ipvs.Daemon {
	d.MaxLen, d.Port, d.TTL = cmp.Or(d.MaxLen, running.MaxLen), cmp.Or(d.Port, running.Port), cmp.Or(d.TTL, running.TTL)
	if !d.Group.IsValid() {
		d.Group = running.Group
	}
	return d
}
