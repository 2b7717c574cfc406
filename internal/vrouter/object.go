// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/lvs-fnat/lvs/internal/agentx"
	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/vrrp"
)

// Where the MIBs of SNMP have virtual routers.
var (
	// KeepalivedMIB is where KEEPALIVED-MIB begins; group 2 of it is that of the routers.
	KeepalivedMIB = agentx.OID{1, 3, 6, 1, 4, 1, 9586, 100, 5}
	// VRRPMIB is that of RFC 2787, which knows version 2 alone.
	VRRPMIB = agentx.OID{1, 3, 6, 1, 2, 1, 68}
	// VRRPv3MIB is that of RFC 6527.
	VRRPv3MIB = agentx.OID{1, 3, 6, 1, 2, 1, 207}

	vrrpObjects = KeepalivedMIB.Append(2)
)

// Objects adds what SNMP is asked for to v: of the MIBs that the configuration has
// enabled, by a copy of what there is. The loop calls it, or [Engine.Do]; v may be
// read by others then.
func (e *Engine) Objects(v *agentx.View) {
	s := &e.cfg.Global.SNMP
	rows := e.instanceRows()
	if s.VRRP {
		e.addInstances(v, rows)
		e.addAddresses(v)
		e.addRoutes(v)
		e.addTracks(v)
	}
	if s.RFCv2 {
		e.addVRRPv2(v, rows)
	}
	if s.RFCv3 {
		e.addVRRPv3(v, rows)
	}
}

// instanceRow is one instance as it was at a moment. What cfg points to does not
// change.
type instanceRow struct {
	e        *Engine // for changes only
	cfg      *config.Instance
	m        vrrp.Config
	state    vrrp.State
	priority uint8
	group    string
	link     string // where its addresses are
	mac      [6]byte
	ethernet bool
	index    int // of the link, 0: none
	polled   bool
	syncs    string // interface of lvs_sync_daemon, when the instance decides its role
	source   netip.Addr
	master   netip.Addr // who is the master, as far as is known
	counters vrrp.Counters
	totals   vrrp.Totals
	reason   newMaster
	fault    protoError
	begun    time.Duration // from the start of the engine to that of the instance
	age      time.Duration
}

// number1 is the position of a row as an index.
func number1(i int) uint32 { return uint32(i + 1) }

func (e *Engine) instanceRows() []*instanceRow {
	now := time.Now()
	var list []*instanceRow
	for _, in := range e.instances() {
		r := &instanceRow{
			e: e, cfg: in.cfg, m: in.m.Config(), state: in.m.State(), priority: in.m.Priority(), link: in.cfg.Interface,
			polled: e.beats.polled(in.cfg.Interface), source: in.source(), counters: in.accept.Counters, totals: in.m.Totals(),
			reason: in.reason, fault: in.protoFault, begun: in.born.Sub(e.born), age: now.Sub(in.born),
		}
		if in.unit != nil && in.unit.group != nil {
			r.group = in.unit.name
		}
		if in.link != nil {
			r.link, r.index, r.mac, r.ethernet = in.link.Name, in.link.Index, in.link.MAC, in.link.Ethernet
		}
		if d := e.cfg.Global.LVSSyncDaemon; d != nil && d.Instance == in.name() {
			r.syncs = d.Interface
		}
		switch r.state {
		case vrrp.Master:
			r.master = r.source
		case vrrp.Backup:
			r.master = in.heard.Src
		}
		list = append(list, r)
	}
	return list
}

// has tells whether anybody runs a script for n.
func notifies(n *config.Notify) bool {
	return slices.ContainsFunc([]config.Script{n.Master, n.Backup, n.Fault, n.Stop, n.Deleted, n.Any, n.RxLowerPrio}, func(s config.Script) bool { return s.Command != "" })
}

// setBase changes the configured priority of an instance until the next reload.
func (r *instanceRow) setBase(ctx context.Context, priority uint8) error {
	return r.e.amend(ctx, r.cfg.Machine.Name, func(c *config.Instance) {
		r.e.log.Info(fmt.Sprintf("(%s) base priority changed from %d to %d via SNMP.", c.Machine.Name, c.Machine.Priority, priority))
		c.Machine.Priority = priority
	})
}

// setPreempt likewise changes whether a lower master is preempted.
func (r *instanceRow) setPreempt(ctx context.Context, on bool) error {
	return r.e.amend(ctx, r.cfg.Machine.Name, func(c *config.Instance) {
		r.e.log.Info(fmt.Sprintf("(%s) preemption %sd with SNMP", c.Machine.Name, map[bool]string{true: "enable", false: "disable"}[on]))
		c.Machine.NoPreempt = !on
	})
}

// amend runs an instance by a changed copy of its configuration.
func (e *Engine) amend(ctx context.Context, name string, change func(*config.Instance)) error {
	return e.Do(ctx, func() error {
		in := e.byName[name]
		if in == nil {
			return fmt.Errorf("there is no vrrp_instance %s any more", name)
		}
		c := *in.cfg
		change(&c)
		if err := in.reconfigure(&c); err != nil {
			return err
		}
		if in.unit != nil {
			in.unit.arm()
		}
		return nil
	})
}
