// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"time"

	"github.com/lvs-fnat/lvs/internal/agentx"
	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/vrrp"
)

// newMaster is why an instance has become master (vrrpv3StatisticsNewMasterReason of
// RFC 6527).
type newMaster int

// The reasons; byPriority says that the former master has resigned.
const (
	notMaster newMaster = iota
	byPriority
	preempted
	noResponse
)

// protoError is what was wrong with the last packet that was refused for a reason that
// RFC 6527 knows (vrrpv3StatisticsProtoErrReason).
type protoError int

var protoErrors = map[error]protoError{vrrp.ErrTTL: 1, vrrp.ErrVersion: 2, vrrp.ErrChecksum: 3, vrrp.ErrVRID: 4}

// operState is the state in both of these MIBs.
func (r *instanceRow) operState() agentx.Value {
	switch r.state {
	case vrrp.Backup:
		return agentx.Integer(2)
	case vrrp.Master:
		return agentx.Integer(3)
	}
	return agentx.Integer(1)
}

func (r *instanceRow) hardware() agentx.Value {
	if !r.ethernet {
		return agentx.Value{}
	}
	return agentx.Octets(r.mac[:])
}

// rowActive is the RowStatus of all that is there.
func rowActive[R any](R) agentx.Value { return agentx.Integer(1) }

// routerGlobals are the counters of no single instance.
type routerGlobals struct {
	traps    bool
	counters vrrp.Counters
}

// globals adds up what RFC 2787 and RFC 6527 count for the router as a whole.
func (e *Engine) globals() routerGlobals {
	g := routerGlobals{traps: e.cfg.Global.SNMP.Traps, counters: e.strays}
	for _, in := range e.instances() {
		c := &in.accept.Counters
		g.counters.Checksum += c.Checksum
		g.counters.Version += c.Version
		g.counters.VRID += c.VRID
	}
	return g
}

var v2Globals = agentx.Table[routerGlobals]{Entry: VRRPMIB.Append(1), Columns: []agentx.Column[routerGlobals]{
	{ID: 1, Value: func(routerGlobals) agentx.Value { return agentx.Integer(2) }},
	{ID: 2, Value: func(g routerGlobals) agentx.Value { return agentx.Truth(g.traps) }},
}}

var v2Errors = agentx.Table[routerGlobals]{Entry: VRRPMIB.Append(2), Columns: []agentx.Column[routerGlobals]{
	{ID: 1, Value: func(g routerGlobals) agentx.Value { return agentx.Counter32(g.counters.Checksum) }},
	{ID: 2, Value: func(g routerGlobals) agentx.Value { return agentx.Counter32(g.counters.Version) }},
	{ID: 3, Value: func(g routerGlobals) agentx.Value { return agentx.Counter32(g.counters.VRID) }},
}}

var v2Table = agentx.Table[*instanceRow]{Entry: VRRPMIB.Append(1, 3, 1), Columns: []agentx.Column[*instanceRow]{
	{ID: 2, Value: (*instanceRow).hardware},
	{ID: 3, Value: (*instanceRow).operState},
	{ID: 4, Value: func(*instanceRow) agentx.Value { return agentx.Integer(1) }}, // up
	{ID: 5, Value: func(r *instanceRow) agentx.Value { return agentx.Integer(int(r.m.Priority)) }},
	{ID: 6, Value: func(r *instanceRow) agentx.Value { return agentx.Integer(len(r.cfg.Addrs)) }},
	{ID: 7, Value: func(r *instanceRow) agentx.Value {
		if r.state == vrrp.Master { // as the original: only who follows one names it
			return agentx.IPAddress(unspecified(false))
		}
		return agentx.IPAddress(r.master)
	}},
	{ID: 8, Value: func(r *instanceRow) agentx.Value { return agentx.IPAddress(r.source) }},
	{ID: 9, Value: func(r *instanceRow) agentx.Value { return agentx.Integer(int(r.cfg.Auth) + 1) }},
	{ID: 11, Value: func(r *instanceRow) agentx.Value { return agentx.Integer(int(r.m.Interval / time.Second)) }},
	{ID: 12, Value: func(r *instanceRow) agentx.Value { return agentx.Truth(!r.m.NoPreempt) }},
	{ID: 13, Value: func(r *instanceRow) agentx.Value { return agentx.TimeTicks(r.begun) }},
	{ID: 14, Value: func(*instanceRow) agentx.Value { return agentx.Integer(1) }}, // IP
	{ID: 15, Value: rowActive[*instanceRow]},
}}

var v2Addresses = agentx.Table[struct{}]{Entry: VRRPMIB.Append(1, 4, 1), Columns: []agentx.Column[struct{}]{{ID: 2, Value: rowActive[struct{}]}}}

var v2Stats = agentx.Table[*instanceRow]{Entry: VRRPMIB.Append(2, 4, 1), Columns: []agentx.Column[*instanceRow]{
	{ID: 1, Value: func(r *instanceRow) agentx.Value { return agentx.Counter32(r.totals.BecameMaster) }},
	{ID: 2, Value: func(r *instanceRow) agentx.Value { return agentx.Counter32(r.counters.Received) }},
	{ID: 3, Value: func(r *instanceRow) agentx.Value { return agentx.Counter32(r.counters.Interval) }},
	{ID: 4, Value: func(r *instanceRow) agentx.Value { return agentx.Counter32(r.counters.AuthFailure) }},
	{ID: 5, Value: func(r *instanceRow) agentx.Value { return agentx.Counter32(r.counters.TTL) }},
	{ID: 6, Value: func(r *instanceRow) agentx.Value { return agentx.Counter32(r.counters.PriorityZero) }},
	{ID: 7, Value: func(r *instanceRow) agentx.Value { return agentx.Counter32(r.totals.PriorityZeroSent) }},
	{ID: 8, Value: func(r *instanceRow) agentx.Value { return agentx.Counter32(r.counters.Type) }},
	{ID: 9, Value: func(r *instanceRow) agentx.Value { return agentx.Counter32(r.counters.Addrs) }},
	{ID: 10, Value: func(r *instanceRow) agentx.Value { return agentx.Counter32(r.counters.AuthType) }},
	{ID: 11, Value: func(r *instanceRow) agentx.Value { return agentx.Counter32(r.counters.AuthMatch) }},
	{ID: 12, Value: func(r *instanceRow) agentx.Value { return agentx.Counter32(r.counters.Length) }},
}}

// addVRRPv2 adds the instances of version 2 that have a link.
func (e *Engine) addVRRPv2(v *agentx.View, all []*instanceRow) {
	g := e.globals()
	agentx.AddScalars(v, &v2Globals, g)
	agentx.AddScalars(v, &v2Errors, g)
	var rows, stats []agentx.Row[*instanceRow]
	var addrs []agentx.Row[struct{}]
	for _, r := range all {
		if r.m.Version != 2 || r.index == 0 || r.cfg.Family != config.IPv4 {
			continue
		}
		index := agentx.OID{uint32(r.index), uint32(r.m.VRID)}
		rows = append(rows, agentx.Row[*instanceRow]{Index: index, Of: r})
		for _, a := range r.cfg.Addrs {
			addrs = append(addrs, agentx.Row[struct{}]{Index: index.Append(agentx.AddrIndex(a.Prefix.Addr())...)})
		}
	}
	stats = append(stats, rows...)
	agentx.Add(v, &v2Table, rows)
	agentx.Add(v, &v2Addresses, addrs)
	agentx.Add(v, &v2Stats, stats)
}

// tick is a hundredth of a second, the unit of intervals in RFC 6527.
const tick = 10 * time.Millisecond

var v3Table = agentx.Table[*instanceRow]{Entry: VRRPv3MIB.Append(1, 1, 1, 1), Columns: []agentx.Column[*instanceRow]{
	{ID: 3, Value: func(r *instanceRow) agentx.Value {
		if r.master.IsValid() {
			return agentx.Addr(r.master)
		}
		return agentx.Addr(unspecified(r.cfg.Family == config.IPv6))
	}},
	{ID: 4, Value: func(r *instanceRow) agentx.Value { return agentx.Addr(r.source) }},
	{ID: 5, Value: (*instanceRow).hardware},
	{ID: 6, Value: (*instanceRow).operState},
	{ID: 7, Value: func(r *instanceRow) agentx.Value { return agentx.Gauge32(uint64(r.m.Priority)) }},
	{ID: 8, Value: func(r *instanceRow) agentx.Value { return agentx.Integer(len(r.cfg.Addrs)) }},
	{ID: 9, Value: func(r *instanceRow) agentx.Value { return agentx.Integer(int(r.m.Interval / tick)) }},
	{ID: 10, Value: func(r *instanceRow) agentx.Value { return agentx.Truth(!r.m.NoPreempt) }},
	{ID: 11, Value: func(r *instanceRow) agentx.Value { return agentx.Truth(!r.cfg.NoAccept) }},
	{ID: 12, Value: func(r *instanceRow) agentx.Value { return agentx.TimeTicks(r.age) }},
	{ID: 13, Value: rowActive[*instanceRow]},
}}

var v3Addresses = agentx.Table[struct{}]{Entry: VRRPv3MIB.Append(1, 1, 2, 1), Columns: []agentx.Column[struct{}]{{ID: 2, Value: rowActive[struct{}]}}}

var v3Errors = agentx.Table[routerGlobals]{Entry: VRRPv3MIB.Append(1, 2), Columns: []agentx.Column[routerGlobals]{
	{ID: 1, Value: func(g routerGlobals) agentx.Value { return agentx.Counter64(g.counters.Checksum) }},
	{ID: 2, Value: func(g routerGlobals) agentx.Value { return agentx.Counter64(g.counters.Version) }},
	{ID: 3, Value: func(g routerGlobals) agentx.Value { return agentx.Counter64(g.counters.VRID) }},
	{ID: 4, Value: func(routerGlobals) agentx.Value { return agentx.TimeTicks(0) }}, // nothing has made them begin anew
}}

var v3Stats = agentx.Table[*instanceRow]{Entry: VRRPv3MIB.Append(1, 2, 5, 1), Columns: []agentx.Column[*instanceRow]{
	{ID: 1, Value: func(r *instanceRow) agentx.Value { return agentx.Counter32(r.totals.BecameMaster) }},
	{ID: 2, Value: func(r *instanceRow) agentx.Value { return agentx.Integer(int(r.reason)) }},
	{ID: 3, Value: func(r *instanceRow) agentx.Value { return agentx.Counter64(r.counters.Received) }},
	{ID: 4, Value: func(r *instanceRow) agentx.Value { return agentx.Counter64(r.counters.Interval) }},
	{ID: 5, Value: func(r *instanceRow) agentx.Value { return agentx.Counter64(r.counters.TTL) }},
	{ID: 6, Value: func(r *instanceRow) agentx.Value { return agentx.Integer(int(r.fault)) }},
	{ID: 7, Value: func(r *instanceRow) agentx.Value { return agentx.Counter64(r.counters.PriorityZero) }},
	{ID: 8, Value: func(r *instanceRow) agentx.Value { return agentx.Counter64(r.totals.PriorityZeroSent) }},
	{ID: 9, Value: func(r *instanceRow) agentx.Value { return agentx.Counter64(r.counters.Type) }},
	{ID: 10, Value: func(r *instanceRow) agentx.Value { return agentx.Counter64(r.counters.Addrs) }},
	{ID: 11, Value: func(r *instanceRow) agentx.Value { return agentx.Counter64(r.counters.Length) }},
	{ID: 12, Value: func(*instanceRow) agentx.Value { return agentx.TimeTicks(0) }},
	{ID: 13, Value: func(r *instanceRow) agentx.Value { return agentx.Gauge32(uint64(r.m.Interval.Milliseconds())) }},
}}

// index3 is the index of an instance in VRRPv3-MIB.
func index3(link int, vrid uint8, six bool) agentx.OID {
	return agentx.OID{uint32(link), uint32(vrid), uint32(agentx.AddrType(six).Int())}
}

// addVRRPv3 adds all instances that have a link: as the original, also those of
// version 2, whose users want one table.
func (e *Engine) addVRRPv3(v *agentx.View, all []*instanceRow) {
	agentx.AddScalars(v, &v3Errors, e.globals())
	var rows, stats []agentx.Row[*instanceRow]
	var addrs []agentx.Row[struct{}]
	for _, r := range all {
		if r.index == 0 {
			continue
		}
		index := index3(r.index, r.m.VRID, r.cfg.Family == config.IPv6)
		rows = append(rows, agentx.Row[*instanceRow]{Index: index, Of: r})
		for _, a := range r.cfg.Addrs {
			addrs = append(addrs, agentx.Row[struct{}]{Index: index.Append(agentx.AddrIndex(a.Prefix.Addr())...)})
		}
	}
	stats = append(stats, rows...)
	agentx.Add(v, &v3Table, rows)
	agentx.Add(v, &v3Addresses, addrs)
	agentx.Add(v, &v3Stats, stats)
}
