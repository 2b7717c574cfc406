// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"errors"
	"net/netip"

	"github.com/lvs-fnat/lvs/internal/agentx"
	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/vrrp"
)

// The numbers of the events, and of the states that only events have.
var (
	groupEvent     = vrrpObjects.Append(10, 0, 1)
	instanceEvent  = vrrpObjects.Append(10, 0, 2)
	v2MasterEvent  = VRRPMIB.Append(0, 1)
	v2AuthEvent    = VRRPMIB.Append(0, 2)
	v3MasterEvent  = VRRPv3MIB.Append(0, 1)
	v3ErrorEvent   = VRRPv3MIB.Append(0, 2)
	routerIDObject = KeepalivedMIB.Append(1, 2, 0)
)

// trapStop is the state of what ends.
const trapStop = 5

// trap tells an event, if anybody listens.
func (e *Engine) trap(event agentx.OID, list ...agentx.VarBind) {
	if e.opts.Trap != nil && e.cfg.Global.SNMP.Traps {
		e.opts.Trap(agentx.Trap{Event: event, Objects: list})
	}
}

func (e *Engine) routerID() agentx.VarBind {
	return agentx.VarBind{Name: routerIDObject, Value: agentx.Octets(e.opts.RouterID(e.cfg))}
}

// trapInstance tells the new state of an instance; as the original, with columns
// whose rows are not said.
func (in *instance) trapInstance(state int) {
	s := &in.e.cfg.Global.SNMP
	if in.e.opts.Trap == nil || !s.Traps {
		return
	}
	if s.VRRP {
		initial := (&instanceRow{cfg: in.cfg}).initial()
		in.e.trap(instanceEvent, agentx.VarBind{Name: instanceTable.Entry.Append(2), Value: agentx.Octets(in.name())},
			agentx.VarBind{Name: instanceTable.Entry.Append(4), Value: agentx.Integer(state)},
			agentx.VarBind{Name: instanceTable.Entry.Append(5), Value: initial}, in.e.routerID())
	}
	if state != int(vrrp.Master) || in.link == nil {
		return
	}
	if m := &in.cfg.Machine; s.RFCv2 && m.Version == 2 && !in.six() {
		in.e.trap(v2MasterEvent, agentx.VarBind{Name: v2Table.Entry.Append(7, uint32(in.link.Index), uint32(m.VRID)), Value: agentx.IPAddress(in.source())})
	}
	if s.RFCv3 {
		index := index3(in.link.Index, in.cfg.Machine.VRID, in.six())
		in.e.trap(v3MasterEvent, agentx.VarBind{Name: v3Table.Entry.Append(3).Append(index...), Value: agentx.Addr(in.source())},
			agentx.VarBind{Name: v3Stats.Entry.Append(2).Append(index...), Value: agentx.Integer(int(in.reason))})
	}
}

// trapGroup tells the new state of a group.
func (e *Engine) trapGroup(u *unit, state int) {
	if e.cfg.Global.SNMP.VRRP {
		e.trap(groupEvent, agentx.VarBind{Name: groupTable.Entry.Append(2), Value: agentx.Octets(u.name)},
			agentx.VarBind{Name: groupTable.Entry.Append(3), Value: agentx.Integer(state)}, e.routerID())
	}
}

// authErrors are the numbers of vrrpTrapAuthErrorType.
var authErrors = map[error]int{vrrp.ErrAuthType: 1, vrrp.ErrAuthMatch: 2, vrrp.ErrAuth: 3}

// refused notes why a packet was not taken, and tells it.
func (in *instance) refused(src netip.Addr, err error) {
	var bad *vrrp.Malformed
	if !errors.As(err, &bad) {
		return
	}
	s := &in.e.cfg.Global.SNMP
	if n := authErrors[bad.Class]; n != 0 && s.RFCv2 && in.cfg.Machine.Version == 2 {
		in.e.trap(v2AuthEvent, agentx.VarBind{Name: VRRPMIB.Append(1, 5, 0), Value: agentx.IPAddress(src)},
			agentx.VarBind{Name: VRRPMIB.Append(1, 6, 0), Value: agentx.Integer(n)})
	}
	if n := protoErrors[bad.Class]; n != 0 {
		in.protoFault = n
		if s.RFCv3 && in.link != nil {
			index := index3(in.link.Index, in.cfg.Machine.VRID, in.cfg.Family == config.IPv6)
			in.e.trap(v3ErrorEvent, agentx.VarBind{Name: v3Stats.Entry.Append(6).Append(index...), Value: agentx.Integer(int(n))})
		}
	}
}

// learn notes what would make the instance master.
func (in *instance) learn(a *vrrp.Advert) {
	switch {
	case in.m.State() != vrrp.Backup:
	case a.Priority == vrrp.ReleasePriority:
		in.next = byPriority
	case a.Priority < in.m.Priority() && !in.m.Config().NoPreempt:
		in.next = preempted
	default:
		in.next = noResponse
	}
}

// entered notes why the instance is in its new state.
func (in *instance) entered(state vrrp.State) {
	in.reason = notMaster
	if state == vrrp.Master {
		in.reason = in.next
	}
	in.next = noResponse
}
