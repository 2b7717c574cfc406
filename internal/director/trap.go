// SPDX-License-Identifier: Apache-2.0

package director

import (
	"github.com/lvs-fnat/lvs/internal/agentx"
	"github.com/lvs-fnat/lvs/internal/config"
)

// The events, and an object of another part of the MIB that each of them has.
var (
	serverEvent    = CheckMIB.Append(5, 0, 1)
	quorumEvent    = CheckMIB.Append(5, 0, 2)
	routerIDObject = agentx.OID{1, 3, 6, 1, 4, 1, 9586, 100, 5, 1, 2, 0}
)

// The numbers of virtualServerQuorumStatus.
const (
	quorumMet = iota + 1
	quorumNotMet
	quorumShutdown
)

// traps tells whether events of SNMP are wanted.
func (d *Director) traps() bool { return d.cfg.Global.SNMP.Traps && d.cfg.Global.SNMP.Checker }

// column is an object of an event; as the original, without the row.
func column(entry agentx.OID, id uint32, value agentx.Value) agentx.VarBind {
	return agentx.VarBind{Name: entry.Append(id), Value: value}
}

// trapService is what events say of v: what it is, and its protocol, which is UDP for
// all but TCP there, marks and SCTP too.
func (v *virtual) trapService() []agentx.VarBind {
	entry, first := virtualTable.Entry, v.cfg.Endpoints[0]
	out := []agentx.VarBind{column(entry, 2, agentx.Integer(typeOf(v.cfg)))}
	switch typeOf(v.cfg) {
	case typeGroup:
		out = append(out, column(entry, 3, agentx.Octets(v.cfg.Group)))
	case typeMark:
		out = append(out, column(entry, 4, agentx.Gauge32(uint64(first.FWMark))))
	default:
		out = append(out, column(entry, 5, addrType(first.Family)), column(entry, 6, agentx.Addr(first.Addr.Addr())),
			column(entry, 7, agentx.Gauge32(uint64(first.Addr.Port()))))
	}
	return append(out, column(entry, 8, agentx.Truth(v.cfg.Protocol == config.TCP)))
}

// trapCounts ends every event.
func (d *Director) trapCounts(v *virtual, up int) []agentx.VarBind {
	entry := virtualTable.Entry
	return []agentx.VarBind{
		column(entry, 21, agentx.Gauge32(uint64(up))), column(entry, 20, agentx.Gauge32(uint64(len(v.servers)))),
		{Name: routerIDObject, Value: agentx.Octets(d.name)},
	}
}

// trapServer tells that s is alive or not, and how many of v are then; if traps.
func (d *Director) trapServer(v *virtual, s *server, alive bool, up int) agentx.Trap {
	entry, a := serverTable.Entry, s.cfg.Addr
	out := []agentx.VarBind{
		column(entry, 3, addrType(config.FamilyOf(a.Addr()))), column(entry, 4, agentx.Addr(a.Addr())),
		column(entry, 5, portOf(v.cfg, s.cfg)), column(entry, 6, agentx.Truth(alive)),
	}
	return agentx.Trap{Event: serverEvent, Objects: append(append(out, v.trapService()...), d.trapCounts(v, up)...)}
}

// trapQuorum tells how the quorum of v stands; if traps.
func (d *Director) trapQuorum(v *virtual, status, up int) agentx.Trap {
	entry := virtualTable.Entry
	out := append(v.trapService(), column(entry, 23, agentx.Integer(status)), column(entry, 22, agentx.Gauge32(uint64(v.cfg.Quorum))))
	return agentx.Trap{Event: quorumEvent, Objects: append(out, d.trapCounts(v, up)...)}
}

// trapGone tells that v with all its servers is not in a new configuration: of its
// quorum that it is lost, if it had it.
func (d *Director) trapGone(v *virtual) []Notice {
	list := d.trapEnd(v)
	if len(list) == 0 {
		return nil
	}
	last := len(list) - 1
	if !v.quorum {
		return list[:last]
	}
	list[last].Trap = d.trapQuorum(v, quorumNotMet, 0)
	return list
}

// trapEnd tells that v with all its servers goes.
func (d *Director) trapEnd(v *virtual) []Notice {
	if !d.traps() {
		return nil
	}
	var list []Notice
	up := v.up()
	for _, s := range v.servers {
		if s.alive {
			up--
			list = append(list, Notice{Trap: d.trapServer(v, s, false, up)})
		}
	}
	return append(list, Notice{Trap: d.trapQuorum(v, quorumShutdown, up)})
}
