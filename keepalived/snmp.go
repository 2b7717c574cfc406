// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/lvs-fnat/lvs/internal/agentx"
	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/vrouter"
)

// enableSNMP has cfg ask for what -x and -A say: all that there is to ask for, events
// excepted, and at that place, whatever the file says.
func (o *options) enableSNMP(cfg *config.Config) {
	s := &cfg.Global.SNMP
	if o.snmp {
		s.VRRP, s.RFCv2, s.RFCv3, s.Checker = true, true, true, true
	}
	if o.snmpSocket != "" {
		s.Socket = o.snmpSocket
	}
}

// subagent is what a child tells by SNMP. Its methods are for one goroutine, but for
// notify.
type subagent struct {
	log     *slog.Logger
	view    func(context.Context) (*agentx.View, error)
	key     agentKey
	session atomic.Pointer[agentx.Session] // nil: none
	cancel  context.CancelFunc
	done    chan struct{}
}

// agentKey is what a session is made of: another needs another session.
type agentKey struct {
	socket  string
	regions []agentx.Region
}

func (k agentKey) equal(o agentKey) bool {
	return k.socket == o.socket && slices.EqualFunc(k.regions, o.regions, func(a, b agentx.Region) bool { return a.OID.Compare(b.OID) == 0 })
}

// follow has a session for the regions, at that place; none for no regions.
func (s *subagent) follow(socket string, regions []agentx.Region) {
	key := agentKey{socket, regions}
	if s.key.equal(key) {
		return
	}
	s.close()
	s.key = key
	if len(regions) == 0 {
		return
	}
	session, err := agentx.New(agentx.Options{Log: s.log, Address: socket, Name: "Keepalived", Regions: regions, View: s.view})
	if err != nil {
		s.log.Error("SNMP: " + err.Error())
		return
	}
	s.log.Info("Starting SNMP subagent")
	var ctx context.Context
	ctx, s.cancel = context.WithCancel(context.Background())
	s.done = make(chan struct{})
	s.session.Store(session)
	go func(done chan struct{}) {
		defer close(done)
		session.Run(ctx)
	}(s.done)
}

// notify tells an event. It does not wait, and any goroutine may call it.
func (s *subagent) notify(t agentx.Trap) {
	if session := s.session.Load(); session != nil {
		session.Notify(t.Event, t.Objects...)
	}
}

// close ends the session, after what has been notified.
func (s *subagent) close() {
	s.key = agentKey{}
	if s.session.Swap(nil) == nil {
		return
	}
	s.cancel()
	<-s.done
}

// globalRegion is the part of KEEPALIVED-MIB about the program as a whole. One child
// answers for it: that of the checkers where there is one that speaks SNMP.
var globalRegion = agentx.Region{OID: vrouter.KeepalivedMIB.Append(1), Text: "The MIB module for Keepalived"}

// programRow is the program as a whole.
type programRow struct {
	cfg   *config.Config
	space string // network namespace, "": that of the host
}

func (r programRow) mail() *config.Mail { return &r.cfg.Global.Mail }

// server is the address of the mail server; without one, and by a name, as the
// original has it: none of no family.
func (r programRow) server() netip.Addr {
	a, err := netip.ParseAddr(r.mail().Server)
	if err != nil {
		return netip.IPv4Unspecified()
	}
	return a
}

// ableOr is a truth, and 3 for what is not written.
func ableOr(on *bool) agentx.Value {
	if on == nil {
		return agentx.Integer(3)
	}
	return agentx.Truth(*on)
}

// mailColumn is a number of the mail server, 0 while there is none.
func mailColumn(id uint32, number func(*config.Mail) int) agentx.Column[programRow] {
	return agentx.Column[programRow]{ID: id, Value: func(r programRow) agentx.Value {
		if r.mail().Server == "" {
			return agentx.Gauge32(0)
		}
		return agentx.Gauge32(uint64(number(r.mail())))
	}}
}

var programTable = agentx.Table[programRow]{Entry: globalRegion.OID, Columns: []agentx.Column[programRow]{
	{ID: 1, Value: func(programRow) agentx.Value { return agentx.Octets("Keepalived v" + version) }},
	{ID: 2, Value: func(r programRow) agentx.Value { return agentx.Octets(routerID(r.cfg)) }},
	{ID: 4, Value: func(r programRow) agentx.Value { return agentx.Truth(r.cfg.Global.SNMP.Traps) }},
	{ID: 5, Value: func(r programRow) agentx.Value { // netlink is 1, polling 2
		return agentx.Truth(!slices.ContainsFunc(r.cfg.VRRP.Linkbeats, func(b config.Linkbeat) bool { return b.Interface == "" }))
	}},
	{ID: 6, Value: func(r programRow) agentx.Value { return agentx.Truth(r.cfg.Global.LVSFlush) }},
	{ID: 7, Value: func(programRow) agentx.Value { return agentx.Integer(1) }}, // counters have 64 bits
	{ID: 8, Value: func(r programRow) agentx.Value { return agentx.Octets(r.space) }},
	{ID: 9, Value: func(r programRow) agentx.Value { return agentx.Truth(r.cfg.Global.DBus.Enable) }},
	{ID: 10, Value: func(r programRow) agentx.Value { return agentx.Truth(r.cfg.Global.VRRP.DynamicInterfaces) }},
	{ID: 11, Value: func(r programRow) agentx.Value {
		return agentx.Integer(map[config.FlushOnStop]int{config.FlushNone: 2, config.FlushAll: 1, config.FlushVS: 3}[r.cfg.Global.LVSFlushOnStop])
	}},
}}

var mailTable = agentx.Table[programRow]{Entry: globalRegion.OID.Append(3), Columns: []agentx.Column[programRow]{
	{ID: 1, Value: func(r programRow) agentx.Value { return agentx.Truth(r.server().Is4() && !r.server().IsUnspecified()) }}, // an InetAddressType
	{ID: 2, Value: func(r programRow) agentx.Value { return agentx.Addr(r.server()) }},
	mailColumn(3, func(m *config.Mail) int { return int(m.ConnectTimeout / time.Second) }),
	{ID: 4, Value: func(r programRow) agentx.Value { return agentx.Text(r.mail().From) }},
	mailColumn(6, func(m *config.Mail) int { return int(m.Port) }),
	{ID: 7, Value: func(r programRow) agentx.Value { return agentx.Truth(!r.mail().NoFaults) }},
	{ID: 8, Value: func(r programRow) agentx.Value { return ableOr(r.mail().Alert) }},
	{ID: 9, Value: func(r programRow) agentx.Value { return ableOr(r.mail().AlertVRRP) }},
	{ID: 10, Value: func(r programRow) agentx.Value { return ableOr(r.mail().AlertChecker) }},
}}

var mailToTable = agentx.Table[string]{Entry: globalRegion.OID.Append(3, 5, 1), Columns: []agentx.Column[string]{
	{ID: 2, Value: func(to string) agentx.Value { return agentx.Octets(to) }},
}}

// addProgram adds the objects of globalRegion.
func addProgram(v *agentx.View, r programRow) {
	agentx.AddScalars(v, &programTable, r)
	agentx.AddScalars(v, &mailTable, r)
	var to []agentx.Row[string]
	for i, a := range r.mail().To {
		to = append(to, agentx.Row[string]{Index: agentx.OID{uint32(i + 1)}, Of: a})
	}
	agentx.Add(v, &mailToTable, to)
}

// routerID is the name of the router.
func routerID(cfg *config.Config) string { return orDefault(cfg.Global.RouterID, hostname()) }

// openSNMP begins to tell what the routers are. It stands before the engine runs, whose
// first events it hears.
func (r *routers) openSNMP(context.Context) error {
	r.snmp.log, r.snmp.view = r.log, r.look
	r.followSNMP()
	return nil
}

func (r *routers) closeSNMP(context.Context) error {
	r.snmp.close()
	return nil
}

// tellsProgram tells whether this child answers for globalRegion: if that of the
// checkers does not.
func (r *routers) tellsProgram() bool {
	s := &r.cfg.Global.SNMP
	return s.VRRP && !(s.Checker && needsKernel(r.cfg) && r.opts.subsystems&subsystemChecker != 0)
}

// followSNMP has the session that the configuration in force asks for.
func (r *routers) followSNMP() {
	s := &r.cfg.Global.SNMP
	var regions []agentx.Region
	add := func(on bool, oid agentx.OID, text string) {
		if on {
			regions = append(regions, agentx.Region{OID: oid, Text: text})
		}
	}
	r.global.Store(r.tellsProgram())
	add(r.global.Load(), globalRegion.OID, globalRegion.Text)
	add(s.VRRP, vrouter.KeepalivedMIB.Append(2), "The MIB module for KEEPALIVED-VRRP")
	add(s.RFCv2, vrouter.VRRPMIB, "The MIB module for VRRP")
	add(s.RFCv3, vrouter.VRRPv3MIB, "The MIB module for VRRPV3")
	r.snmp.follow(s.Socket, regions)
}

// look copies what the routers are; the session's goroutine calls it.
func (r *routers) look(ctx context.Context) (*agentx.View, error) {
	v := &agentx.View{}
	err := r.engine.Do(ctx, func() error {
		if r.global.Load() {
			cfg := r.engine.Config()
			addProgram(v, programRow{cfg, placeOf(r.opts, &cfg.Root).netns})
		}
		r.engine.Objects(v)
		return nil
	})
	return v, err
}
