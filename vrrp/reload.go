// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"net/netip"
	"slices"
	"time"
)

// SetSource tells the machine its own address, which breaks the tie of equal
// priorities; it may change at any time.
func (m *Machine) SetSource(a netip.Addr) { m.cfg.Source = a.WithZone("") }

// ClearTotals sets the totals to zero.
func (m *Machine) ClearTotals() { m.totals = Totals{} }

// Faults names what is down, sorted.
func (m *Machine) Faults() []string {
	out := make([]string, 0, len(m.faults))
	for f := range m.faults {
		out = append(out, f)
	}
	slices.Sort(out)
	return out
}

// Reconfigure takes over a new configuration in the present state, which does
// not change: a master advertises at once, so that the others learn the new
// values before their timers run out; a backup waits for its master anew. The
// addresses that came and went are the caller's. An error leaves all as it was.
func (m *Machine) Reconfigure(now time.Time, cfg Config) ([]Action, error) {
	if cfg.DownTimerAdverts == 0 {
		cfg.DownTimerAdverts = 3
	}
	if !cfg.Source.IsValid() {
		cfg.Source = m.cfg.Source
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg.Source = cfg.Source.WithZone("")
	before := m.cfg
	m.cfg, m.out = cfg, nil
	if cfg.Version == 2 || before.Version != cfg.Version || m.state == Master {
		m.interval = cfg.Interval
	}
	switch m.state {
	case Master:
		m.advertise(now)
		if cfg.GARPMasterRefresh != before.GARPMasterRefresh {
			m.refresh = time.Time{}
			if cfg.GARPMasterRefresh > 0 {
				m.refresh = now.Add(cfg.GARPMasterRefresh)
			}
		}
	case Backup:
		m.wants = false
		m.down = now.Add(m.MasterDown())
		if cfg.Priority == Owner {
			m.down = now
		}
		if cfg.PreemptDelay == 0 {
			m.preempt = time.Time{}
		}
	}
	return m.out, nil
}

// Release lets the members of a group go on alone, in the state they are in.
func (g *Group) Release() {
	for _, m := range g.members {
		m.mayLeadGroup, m.wants = nil, false
	}
	g.members = nil
}

// Regroup makes a group of machines that run already; [Group.Join] brings them
// to one state.
func Regroup(name string, members ...*Machine) *Group {
	g := &Group{name: name, members: members}
	for _, m := range members {
		m.mayLeadGroup = func() bool { return g.mayLead(m) }
	}
	if len(members) > 0 {
		g.state = members[0].state
	}
	for _, m := range members {
		if m.state != g.state {
			g.state = Init
		}
	}
	return g
}

// Join brings members that were in different states to the lowest of them:
// FAULT if anything is down, MASTER if all are, else BACKUP. Members that have
// not started do.
func (g *Group) Join(now time.Time) []MemberAction {
	var out []MemberAction
	leader := 0
	rank := map[State]int{Fault: 0, Backup: 1, Init: 1, Master: 2}
	for i, m := range g.members {
		if m.state == Init {
			out = g.one(out, now, i, Start{})
		}
		if rank[m.state] < rank[g.members[leader].state] {
			leader = i
		}
	}
	return g.settle(out, now, leader)
}
