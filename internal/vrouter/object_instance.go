// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"context"
	"slices"
	"time"

	"github.com/lvs-fnat/lvs/internal/agentx"
	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/vrrp"
)

// groupRow is one sync group.
type groupRow struct {
	cfg   *config.SyncGroup
	state vrrp.State
}

var groupTable = agentx.Table[groupRow]{Entry: vrrpObjects.Append(1, 1), Columns: []agentx.Column[groupRow]{
	{ID: 2, Value: func(r groupRow) agentx.Value { return agentx.Octets(r.cfg.Name) }},
	{ID: 3, Value: func(r groupRow) agentx.Value { return agentx.Integer(int(r.state)) }},
	{ID: 4, Value: func(r groupRow) agentx.Value { return agentx.Truth(r.cfg.Notify.SMTPAlert) }},
	{ID: 5, Value: func(r groupRow) agentx.Value { return agentx.Truth(notifies(&r.cfg.Notify)) }},
	{ID: 6, Value: func(r groupRow) agentx.Value { return agentx.Text(command(r.cfg.Notify.Master)) }},
	{ID: 7, Value: func(r groupRow) agentx.Value { return agentx.Text(command(r.cfg.Notify.Backup)) }},
	{ID: 8, Value: func(r groupRow) agentx.Value { return agentx.Text(command(r.cfg.Notify.Fault)) }},
	{ID: 9, Value: func(r groupRow) agentx.Value { return agentx.Text(command(r.cfg.Notify.Any)) }},
	{ID: 10, Value: func(r groupRow) agentx.Value { return agentx.Truth(r.cfg.TrackingWeight) }},
	{ID: 11, Value: func(r groupRow) agentx.Value { return agentx.Text(command(r.cfg.Notify.Stop)) }},
}}

var memberTable = agentx.Table[string]{Entry: vrrpObjects.Append(2, 1), Columns: []agentx.Column[string]{
	{ID: 2, Value: func(name string) agentx.Value { return agentx.Octets(name) }},
}}

var instanceTable = agentx.Table[*instanceRow]{Entry: vrrpObjects.Append(3, 1), Columns: []agentx.Column[*instanceRow]{
	{ID: 2, Value: func(r *instanceRow) agentx.Value { return agentx.Octets(r.m.Name) }},
	{ID: 3, Value: func(r *instanceRow) agentx.Value { return agentx.Gauge32(uint64(r.m.VRID)) }},
	{ID: 4, Value: func(r *instanceRow) agentx.Value { return agentx.Integer(int(r.state)) }},
	{ID: 5, Value: func(r *instanceRow) agentx.Value { return r.initial() }},
	{ID: 6, Value: func(r *instanceRow) agentx.Value { return agentx.Integer(int(r.state)) }}, // it is where it wants to be
	{ID: 7, Value: func(r *instanceRow) agentx.Value { return agentx.Integer(int(r.m.Priority)) }, Set: func(r *instanceRow, v agentx.Value) (agentx.Change, agentx.Status) {
		if v.Int() < 1 || v.Int() > vrrp.Owner {
			return agentx.Change{}, agentx.StatusWrongValue
		}
		old := r.m.Priority
		return agentx.Change{
			Do:   func(ctx context.Context) error { return r.setBase(ctx, uint8(v.Int())) },
			Undo: func(ctx context.Context) error { return r.setBase(ctx, old) },
		}, agentx.StatusOK
	}},
	{ID: 8, Value: func(r *instanceRow) agentx.Value { return agentx.Integer(int(r.priority)) }},
	{ID: 9, Value: func(r *instanceRow) agentx.Value { return agentx.Truth(r.state == vrrp.Master) }},
	{ID: 10, Value: func(r *instanceRow) agentx.Value { return agentx.Text(r.link) }},
	{ID: 11, Value: func(r *instanceRow) agentx.Value {
		return agentx.Truth(slices.ContainsFunc(r.cfg.Track.Interfaces, func(x config.Tracked) bool { return !x.Implied }))
	}},
	{ID: 12, Value: func(r *instanceRow) agentx.Value {
		if r.m.Version == 3 {
			return agentx.Gauge32(uint64(r.m.Interval / (10 * time.Millisecond)))
		}
		return agentx.Seconds(r.m.Interval)
	}},
	{ID: 13, Value: func(r *instanceRow) agentx.Value { return agentx.Truth(!r.m.NoPreempt) }, Set: func(r *instanceRow, v agentx.Value) (agentx.Change, agentx.Status) {
		if v.Int() != 1 && v.Int() != 2 {
			return agentx.Change{}, agentx.StatusWrongValue
		}
		return agentx.Change{
			Do:   func(ctx context.Context) error { return r.setPreempt(ctx, v.Int() == 1) },
			Undo: func(ctx context.Context) error { return r.setPreempt(ctx, !r.m.NoPreempt) },
		}, agentx.StatusOK
	}},
	{ID: 14, Value: func(r *instanceRow) agentx.Value { return agentx.Seconds(r.m.PreemptDelay) }},
	{ID: 15, Value: func(r *instanceRow) agentx.Value { return agentx.Integer(int(r.cfg.Auth)) }},
	{ID: 16, Value: func(r *instanceRow) agentx.Value { return agentx.Truth(r.syncs != "") }},
	{ID: 17, Value: func(r *instanceRow) agentx.Value { return agentx.Text(r.syncs) }},
	{ID: 18, Value: func(r *instanceRow) agentx.Value { return agentx.Text(r.group) }},
	{ID: 19, Value: func(r *instanceRow) agentx.Value { return agentx.Seconds(r.m.GARPMasterDelay) }},
	{ID: 20, Value: func(r *instanceRow) agentx.Value { return agentx.Truth(r.cfg.Notify.SMTPAlert) }},
	{ID: 21, Value: func(r *instanceRow) agentx.Value { return agentx.Truth(notifies(&r.cfg.Notify)) }},
	{ID: 22, Value: func(r *instanceRow) agentx.Value { return agentx.Text(command(r.cfg.Notify.Master)) }},
	{ID: 23, Value: func(r *instanceRow) agentx.Value { return agentx.Text(command(r.cfg.Notify.Backup)) }},
	{ID: 24, Value: func(r *instanceRow) agentx.Value { return agentx.Text(command(r.cfg.Notify.Fault)) }},
	{ID: 25, Value: func(r *instanceRow) agentx.Value { return agentx.Text(command(r.cfg.Notify.Stop)) }},
	{ID: 26, Value: func(r *instanceRow) agentx.Value { return agentx.Text(command(r.cfg.Notify.Any)) }},
	// Version 2 has no such mode, for which the original says 0; nor may anybody set it.
	{ID: 27, Value: func(r *instanceRow) agentx.Value {
		if r.m.Version != 3 {
			return agentx.Integer(0)
		}
		return agentx.Truth(!r.cfg.NoAccept)
	}, Set: func(*instanceRow, agentx.Value) (agentx.Change, agentx.Status) {
		return agentx.Change{}, agentx.StatusNoAccess
	}},
	{ID: 28, Value: func(r *instanceRow) agentx.Value { return agentx.Truth(r.cfg.PromoteSecondaries) }},
	{ID: 29, Value: func(r *instanceRow) agentx.Value { return agentx.Truth(r.polled) }},
	{ID: 30, Value: func(r *instanceRow) agentx.Value { return agentx.Integer(r.m.Version) }},
	{ID: 31, Value: func(r *instanceRow) agentx.Value { return agentx.Text(command(r.cfg.Notify.RxLowerPrio)) }},
	{ID: 32, Value: func(r *instanceRow) agentx.Value { return agentx.Text(command(r.cfg.Notify.Deleted)) }},
	{ID: 33, Value: func(r *instanceRow) agentx.Value { return agentx.Truth(r.cfg.Notify.Deleted.Command != "") }},
	{ID: 34, Value: func(r *instanceRow) agentx.Value {
		if r.cfg.Unicast {
			return agentx.Value{}
		}
		return agentx.AddrType(r.cfg.Family == config.IPv6)
	}},
	{ID: 35, Value: func(r *instanceRow) agentx.Value {
		if r.cfg.Unicast {
			return agentx.Value{}
		}
		return agentx.Addr(r.cfg.Multicast)
	}},
}}

// initial is the state that the file asks for.
func (r *instanceRow) initial() agentx.Value {
	if r.cfg.WantMaster {
		return agentx.Integer(int(vrrp.Master))
	}
	return agentx.Integer(int(vrrp.Backup))
}

func (e *Engine) addInstances(v *agentx.View, rows []*instanceRow) {
	var groups []agentx.Row[groupRow]
	var members []agentx.Row[string]
	for _, u := range e.units {
		if u.group == nil {
			continue
		}
		i := number1(len(groups))
		groups = append(groups, agentx.Row[groupRow]{Index: agentx.OID{i}, Of: groupRow{u.cfg, u.group.State()}})
		for k, in := range u.members {
			members = append(members, agentx.Row[string]{Index: agentx.OID{i, number1(k)}, Of: in.name()})
		}
	}
	agentx.Add(v, &groupTable, groups)
	agentx.Add(v, &memberTable, members)
	var instances []agentx.Row[*instanceRow]
	for i, r := range rows {
		instances = append(instances, agentx.Row[*instanceRow]{Index: agentx.OID{number1(i)}, Of: r})
	}
	agentx.Add(v, &instanceTable, instances)
}

// addressRow is one virtual or static address.
type addressRow struct {
	a          config.Address
	link       string
	index      int // of the link, 0: none
	set        bool
	advertised bool
}

var addressTable = agentx.Table[addressRow]{Entry: vrrpObjects.Append(6, 1), Columns: []agentx.Column[addressRow]{
	{ID: 2, Value: func(r addressRow) agentx.Value { return agentx.AddrType(r.a.Prefix.Addr().Is6()) }},
	{ID: 3, Value: func(r addressRow) agentx.Value { return agentx.Addr(r.a.Prefix.Addr()) }},
	{ID: 4, Value: func(r addressRow) agentx.Value {
		switch {
		case r.a.Prefix.Addr().Is6():
			return agentx.Value{}
		case r.a.Broadcast.IsValid():
			return agentx.Addr(r.a.Broadcast)
		}
		return agentx.Octets([]byte{0, 0, 0, 0})
	}},
	{ID: 5, Value: func(r addressRow) agentx.Value { return agentx.Gauge32(uint64(r.a.Prefix.Bits())) }},
	{ID: 6, Value: func(r addressRow) agentx.Value { return scopeType(r.a.Scope) }},
	{ID: 7, Value: func(r addressRow) agentx.Value { return linkIndex(r.index) }},
	{ID: 8, Value: func(r addressRow) agentx.Value { return agentx.Text(r.link) }},
	{ID: 9, Value: func(r addressRow) agentx.Value { return agentx.Text(r.a.Label) }},
	{ID: 10, Value: func(r addressRow) agentx.Value { return agentx.Truth(r.set) }},
	{ID: 11, Value: func(r addressRow) agentx.Value { return agentx.Truth(r.advertised) }},
	{ID: 12, Value: func(r addressRow) agentx.Value { return agentx.Addr(r.a.Peer.Addr()) }},
}}

// scopeType is an InetScopeType of a scope of rt_scopes; 0 for what has none.
func scopeType(scope int) agentx.Value {
	return agentx.Integer(map[int]int{0: 14, 200: 5, 253: 2, 254: 1}[scope])
}

// linkIndex is an InterfaceIndex.
func linkIndex(index int) agentx.Value {
	if index == 0 {
		return agentx.Value{}
	}
	return agentx.Integer(index)
}

// addAddresses adds the static addresses as those of instance 0.
func (e *Engine) addAddresses(v *agentx.View) {
	var rows []agentx.Row[addressRow]
	for i, a := range e.cfg.VRRP.Static.Addrs {
		r := addressRow{a: a, link: staticLink(a), set: true}
		if l := e.links.named(r.link); l != nil {
			r.index = l.Index
			r.set = e.links.hasOn(l.Index, a.Prefix.Addr())
		}
		rows = append(rows, agentx.Row[addressRow]{Index: agentx.OID{0, number1(i)}, Of: r})
	}
	for n, in := range e.instances() {
		for i, a := range in.addresses() {
			r := addressRow{a: a, link: a.Interface, advertised: i < len(in.cfg.Addrs)}
			if r.link == "" {
				r.link = in.cfg.Interface
			}
			if l := in.place(a); l != nil {
				r.link, r.index = l.Name, l.Index
				_, r.set = in.held[heldKey{l.Index, a.Prefix.Addr()}]
			}
			rows = append(rows, agentx.Row[addressRow]{Index: agentx.OID{number1(n), number1(i)}, Of: r})
		}
	}
	agentx.Add(v, &addressTable, rows)
}
