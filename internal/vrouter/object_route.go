// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"net/netip"
	"strconv"
	"time"

	"github.com/lvs-fnat/lvs/internal/agentx"
	"github.com/lvs-fnat/lvs/internal/config"
)

// routeRow is one virtual or static route.
type routeRow struct {
	r     config.Route
	index int // of its own link, 0: none
	set   bool
}

// tableMain is the table of routes that name none.
const tableMain = 254

// routeTypes are the numbers of RouteType.
var routeTypes = map[string]int{"unicast": 1, "blackhole": 3, "anycast": 4, "multicast": 5, "broadcast": 6, "unreachable": 7, "prohibit": 8, "throw": 9, "nat": 10}

var routeTable = agentx.Table[routeRow]{Entry: vrrpObjects.Append(7, 1), Columns: []agentx.Column[routeRow]{
	{ID: 2, Value: func(r routeRow) agentx.Value { return agentx.AddrType(r.r.Family == config.IPv6) }},
	{ID: 3, Value: func(r routeRow) agentx.Value { return agentx.Addr(r.r.Dest.Addr()) }},
	{ID: 4, Value: func(r routeRow) agentx.Value { return agentx.Gauge32(uint64(r.r.Dest.Bits())) }},
	{ID: 5, Value: func(r routeRow) agentx.Value { return agentx.Addr(r.r.Via) }},
	{ID: 7, Value: func(r routeRow) agentx.Value { return agentx.Addr(r.r.Source) }},
	{ID: 8, Value: func(r routeRow) agentx.Value { return agentx.Gauge32(uint64(r.r.Metric)) }},
	{ID: 9, Value: func(r routeRow) agentx.Value { return scopeType(max(r.r.Scope, 0)) }},
	{ID: 10, Value: func(r routeRow) agentx.Value {
		if len(r.r.NextHops) > 0 {
			return agentx.Integer(2)
		}
		return agentx.Integer(routeTypes[r.r.Type])
	}},
	{ID: 11, Value: func(r routeRow) agentx.Value { return linkIndex(r.index) }},
	{ID: 12, Value: func(r routeRow) agentx.Value { return agentx.Text(r.r.Interface) }},
	{ID: 13, Value: func(r routeRow) agentx.Value {
		if r.r.Table == 0 {
			return agentx.Gauge32(tableMain)
		}
		return agentx.Gauge32(uint64(r.r.Table))
	}},
	{ID: 14, Value: func(r routeRow) agentx.Value { return agentx.Truth(r.set) }},
	{ID: 17, Value: func(r routeRow) agentx.Value { return positive(r.r.TOS) }},
	{ID: 18, Value: func(r routeRow) agentx.Value { return agentx.Integer(r.r.Protocol + 1) }},
	{ID: 19, Value: func(r routeRow) agentx.Value { return agentx.Truth(r.r.Attrs.ECN) }},
	{ID: 20, Value: func(r routeRow) agentx.Value { return agentx.Truth(r.r.Attrs.QuickACK) }},
	{ID: 22, Value: func(r routeRow) agentx.Value { return positive(r.r.Attrs.MTU) }},
	{ID: 23, Value: func(r routeRow) agentx.Value { return lock(r.r.Attrs.MTU > 0, r.r.Attrs.MTULock) }},
	{ID: 24, Value: func(r routeRow) agentx.Value { return positive(r.r.Attrs.HopLimit) }},
	{ID: 25, Value: func(r routeRow) agentx.Value { return positive(r.r.Attrs.AdvMSS) }},
	{ID: 26, Value: func(r routeRow) agentx.Value { return lock(r.r.Attrs.AdvMSS > 0, false) }},
	{ID: 27, Value: func(r routeRow) agentx.Value { return millis(r.r.Attrs.RTT) }},
	{ID: 28, Value: func(r routeRow) agentx.Value { return lock(r.r.Attrs.RTT > 0, false) }},
	{ID: 29, Value: func(r routeRow) agentx.Value { return millis(r.r.Attrs.RTTVar) }},
	{ID: 30, Value: func(r routeRow) agentx.Value { return lock(r.r.Attrs.RTTVar > 0, false) }},
	{ID: 31, Value: func(r routeRow) agentx.Value { return positive(r.r.Attrs.Reordering) }},
	{ID: 32, Value: func(r routeRow) agentx.Value { return lock(r.r.Attrs.Reordering > 0, false) }},
	{ID: 33, Value: func(r routeRow) agentx.Value { return positive(r.r.Attrs.Window) }},
	{ID: 34, Value: func(r routeRow) agentx.Value { return positive(r.r.Attrs.Cwnd) }},
	{ID: 35, Value: func(r routeRow) agentx.Value { return lock(r.r.Attrs.Cwnd > 0, false) }},
	{ID: 36, Value: func(r routeRow) agentx.Value { return positive(r.r.Attrs.Ssthresh) }},
	{ID: 37, Value: func(r routeRow) agentx.Value { return lock(r.r.Attrs.Ssthresh > 0, false) }},
	{ID: 38, Value: func(r routeRow) agentx.Value { return millis(r.r.Attrs.RTOMin) }},
	{ID: 39, Value: func(r routeRow) agentx.Value { return lock(r.r.Attrs.RTOMin > 0, false) }},
	{ID: 40, Value: func(r routeRow) agentx.Value { return positive(r.r.Attrs.InitCwnd) }},
	{ID: 41, Value: func(r routeRow) agentx.Value { return positive(r.r.Attrs.InitRwnd) }},
	{ID: 42, Value: func(r routeRow) agentx.Value { return agentx.Text(r.r.Attrs.CongCtl) }},
}}

// positive is a number that is there when it was written.
func positive(n int) agentx.Value {
	if n <= 0 {
		return agentx.Value{}
	}
	return agentx.Gauge32(uint64(n))
}

func millis(d time.Duration) agentx.Value { return positive(int(d / time.Millisecond)) }

// lock says of a metric that is there whether the kernel may not change it.
func lock(there, locked bool) agentx.Value {
	if !there {
		return agentx.Value{}
	}
	return agentx.Truth(locked)
}

// hopRow is one of several gateways.
type hopRow struct {
	h     config.NextHop
	index int
}

var hopTable = agentx.Table[hopRow]{Entry: vrrpObjects.Append(11, 1), Columns: []agentx.Column[hopRow]{
	{ID: 2, Value: func(r hopRow) agentx.Value { return agentx.AddrType(r.h.Via.Is6()) }},
	{ID: 3, Value: func(r hopRow) agentx.Value { return agentx.Addr(r.h.Via) }},
	{ID: 4, Value: func(r hopRow) agentx.Value { return linkIndex(r.index) }},
	{ID: 5, Value: func(r hopRow) agentx.Value { return agentx.Text(r.h.Interface) }},
	{ID: 6, Value: func(r hopRow) agentx.Value {
		if r.h.Weight == 1 { // as when none is written
			return agentx.Value{}
		}
		return agentx.Gauge32(uint64(r.h.Weight))
	}},
	{ID: 7, Value: func(r hopRow) agentx.Value { return agentx.Truth(r.h.OnLink) }},
}}

// ruleRow is one virtual or static rule.
type ruleRow struct {
	r   config.Rule
	set bool
}

// prefixColumns are type, address and length of one prefix of a rule.
func prefixColumns(id uint32, of func(*config.Rule) netip.Prefix) []agentx.Column[ruleRow] {
	column := func(id uint32, value func(netip.Prefix) agentx.Value) agentx.Column[ruleRow] {
		return agentx.Column[ruleRow]{ID: id, Value: func(r ruleRow) agentx.Value {
			p := of(&r.r)
			if !p.IsValid() {
				return agentx.Value{}
			}
			return value(p)
		}}
	}
	return []agentx.Column[ruleRow]{
		column(id, func(p netip.Prefix) agentx.Value { return agentx.AddrType(p.Addr().Is6()) }),
		column(id+1, func(p netip.Prefix) agentx.Value { return agentx.Addr(p.Addr()) }),
		column(id+2, func(p netip.Prefix) agentx.Value { return agentx.Gauge32(uint64(p.Bits())) }),
	}
}

// What a rule does, by the numbers of RuleAction.
var ruleActions = map[string]int{"": 1, "nop": 3, "blackhole": 6, "unreachable": 7, "prohibit": 8}

const actionGoto = 2

func (r ruleRow) table() agentx.Value {
	if r.r.Goto > 0 || r.r.Type != "" {
		return agentx.Value{}
	}
	return agentx.Gauge32(uint64(r.r.Table))
}

var ruleTable = agentx.Table[ruleRow]{Entry: vrrpObjects.Append(8, 1), Columns: append(append(append([]agentx.Column[ruleRow]{
	{ID: 2, Value: func(r ruleRow) agentx.Value {
		switch from, to := r.r.From.IsValid(), r.r.To.IsValid(); {
		case from && to:
			return agentx.Octets("both")
		case from:
			return agentx.Octets("from")
		case to:
			return agentx.Octets("to")
		}
		return agentx.Octets("")
	}},
	{ID: 6, Value: ruleRow.table},
	{ID: 7, Value: func(r ruleRow) agentx.Value { return agentx.Truth(r.set) }},
	{ID: 8, Value: func(r ruleRow) agentx.Value { return agentx.Truth(r.r.Not) }},
	{ID: 15, Value: func(r ruleRow) agentx.Value { return agentx.Gauge32(uint64(r.r.TOS)) }},
	{ID: 16, Value: func(r ruleRow) agentx.Value { return marked(r, r.r.Mark) }},
	{ID: 17, Value: func(r ruleRow) agentx.Value { return marked(r, r.r.Mask) }},
	{ID: 20, Value: func(r ruleRow) agentx.Value { return agentx.Text(r.r.In) }},
	{ID: 21, Value: func(r ruleRow) agentx.Value { return agentx.Text(r.r.Out) }},
	{ID: 22, Value: func(r ruleRow) agentx.Value { return positive(r.r.Goto) }},
	{ID: 23, Value: func(r ruleRow) agentx.Value {
		if r.r.Goto > 0 {
			return agentx.Integer(actionGoto)
		}
		return agentx.Integer(ruleActions[r.r.Type])
	}},
	{ID: 24, Value: ruleRow.table},
	{ID: 25, Value: func(r ruleRow) agentx.Value { return agentx.Gauge32(uint64(r.r.Preference)) }},
	{ID: 26, Value: func(r ruleRow) agentx.Value {
		if r.r.SuppressPrefix < 0 {
			return agentx.Value{}
		}
		return agentx.Gauge32(uint64(r.r.SuppressPrefix))
	}},
	{ID: 27, Value: func(r ruleRow) agentx.Value {
		if r.r.SuppressGroup < 0 {
			return agentx.Value{}
		}
		return agentx.Octets(strconv.Itoa(r.r.SuppressGroup))
	}},
	{ID: 28, Value: func(r ruleRow) agentx.Value { return tunnel(r, r.r.TunnelID>>32) }},
	{ID: 29, Value: func(r ruleRow) agentx.Value { return tunnel(r, r.r.TunnelID) }},
	{ID: 30, Value: func(r ruleRow) agentx.Value { return user(r, 0) }},
	{ID: 31, Value: func(r ruleRow) agentx.Value { return user(r, 1) }},
	{ID: 34, Value: func(r ruleRow) agentx.Value { return positive(r.r.IPProto) }},
	{ID: 35, Value: func(r ruleRow) agentx.Value { return positive(int(r.r.SrcPort.Min)) }},
	{ID: 36, Value: func(r ruleRow) agentx.Value { return positive(int(r.r.SrcPort.Max)) }},
	{ID: 37, Value: func(r ruleRow) agentx.Value { return positive(int(r.r.DstPort.Min)) }},
	{ID: 38, Value: func(r ruleRow) agentx.Value { return positive(int(r.r.DstPort.Max)) }},
},
	// The obsolete objects know one prefix.
	prefixColumns(3, func(r *config.Rule) netip.Prefix {
		if r.To.IsValid() {
			return r.To
		}
		return r.From
	})...), prefixColumns(9, func(r *config.Rule) netip.Prefix { return r.To })...), prefixColumns(12, func(r *config.Rule) netip.Prefix { return r.From })...)}

func marked(r ruleRow, n uint32) agentx.Value {
	if !r.r.MarkSet {
		return agentx.Value{}
	}
	return agentx.Gauge32(uint64(n))
}

// tunnel is a half of the number of a tunnel.
func tunnel(r ruleRow, half int) agentx.Value {
	if r.r.TunnelID == 0 {
		return agentx.Value{}
	}
	return agentx.Gauge32(uint64(half))
}

func user(r ruleRow, i int) agentx.Value {
	if r.r.UIDs == nil {
		return agentx.Value{}
	}
	return agentx.Gauge32(uint64(r.r.UIDs[i]))
}

// addRoutes adds the static routes and rules as those of instance 0.
func (e *Engine) addRoutes(v *agentx.View) {
	var routes []agentx.Row[routeRow]
	var hops []agentx.Row[hopRow]
	var rules []agentx.Row[ruleRow]
	index := func(name string) int {
		if l := e.links.named(name); name != "" && l != nil {
			return l.Index
		}
		return 0
	}
	add := func(of uint32, rs []config.Route, us []config.Rule, set func(line string) bool) {
		for i, r := range rs {
			routes = append(routes, agentx.Row[routeRow]{Index: agentx.OID{of, number1(i)}, Of: routeRow{r, index(r.Interface), set(routeLine(r))}})
			for k, h := range r.NextHops {
				hops = append(hops, agentx.Row[hopRow]{Index: agentx.OID{of, number1(i), number1(k)}, Of: hopRow{h, index(h.Interface)}})
			}
		}
		for i, r := range us {
			rules = append(rules, agentx.Row[ruleRow]{Index: agentx.OID{of, number1(i)}, Of: ruleRow{r, set(ruleLine(r))}})
		}
	}
	add(0, e.cfg.VRRP.Static.Routes, e.cfg.VRRP.Static.Rules, func(line string) bool { return !e.statics.refused[line] })
	for n, in := range e.instances() {
		add(number1(n), in.cfg.Routes, in.cfg.Rules, func(line string) bool { return in.routed[line] })
	}
	agentx.Add(v, &routeTable, routes)
	agentx.Add(v, &hopTable, hops)
	agentx.Add(v, &ruleTable, rules)
}
