// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Group is a vrrp_sync_group: its members are in one state together. It belongs
// to one goroutine, and members are driven through it alone.
type Group struct {
	name    string
	state   State
	members []*Machine
}

// MemberAction is an action of the member with that index, or of the group
// itself with Member -1, which comes after those of the members but at the start.
type MemberAction struct {
	Member int
	Action
}

// NewGroup takes over machines that are in Init and in no other group.
func NewGroup(name string, members ...*Machine) (*Group, error) {
	g := &Group{name: name, members: members}
	for _, m := range members {
		if m.state != Init || m.mayLeadGroup != nil {
			return nil, fmt.Errorf("group %s: %s is started or in another group", name, m.cfg.Name)
		}
	}
	for _, m := range members {
		m.mayLeadGroup = func() bool { return g.mayLead(m) }
	}
	return g, nil
}

// State is that of all members.
func (g *Group) State() State { return g.state }

// mayLead: a group starts as master only if all of it owns its addresses;
// later each of the others has to be waiting for it.
func (g *Group) mayLead(asks *Machine) bool {
	for _, m := range g.members {
		switch {
		case m == asks || m.wants || m.state == Master:
		case asks.state == Init && m.cfg.Priority == Owner && len(m.faults) == 0:
		default:
			return false
		}
	}
	return true
}

// Next is when [Group.Timeout] is due; zero: never.
func (g *Group) Next() time.Time {
	var next time.Time
	for _, m := range g.members {
		if t := m.Next(); !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	return next
}

// Start starts all members.
func (g *Group) Start(now time.Time) []MemberAction {
	return g.all(now, Start{})
}

// Stop stops all members.
func (g *Group) Stop(now time.Time) []MemberAction {
	return g.all(now, Stop{})
}

// Timeout hands [Timeout] to all members; those without a due timer do nothing.
func (g *Group) Timeout(now time.Time) []MemberAction {
	return g.all(now, Timeout{})
}

func (g *Group) all(now time.Time, ev Event) []MemberAction {
	var out []MemberAction
	_, start := ev.(Start)
	failed := start && !g.faultless()
	for i, m := range g.members {
		if failed && m.state == Init { // straight to where the group has to be
			m.out = m.out[:0]
			m.enterFault()
			for _, a := range m.out {
				out = append(out, MemberAction{i, a})
			}
			continue
		}
		out = g.one(out, now, i, ev)
	}
	out = g.settle(out, now, g.first(ev))
	if start {
		// At the start, and only then, keepalived tells of the group first.
		slices.SortStableFunc(out, func(a, b MemberAction) int { return cmp.Compare(rank(a), rank(b)) })
	}
	return out
}

func rank(a MemberAction) int {
	if a.Kind == NotifyGroup {
		return 0
	}
	return 1
}

// first is the member whose state the others follow after an event for all: one
// that left the state of the group.
func (g *Group) first(ev Event) int {
	if _, ok := ev.(Start); ok {
		for i, m := range g.members {
			if m.state == Fault {
				return i
			}
		}
	}
	for i, m := range g.members {
		if m.state != g.state {
			return i
		}
	}
	return 0
}

// Handle hands an event to one member and makes the others follow. [Start],
// [Timeout] and [Stop] are for all, whatever the member.
func (g *Group) Handle(now time.Time, member int, ev Event) []MemberAction {
	switch ev.(type) {
	case Start, Timeout, Stop:
		return g.all(now, ev)
	}
	return g.settle(g.one(nil, now, member, ev), now, member)
}

func (g *Group) one(out []MemberAction, now time.Time, i int, ev Event) []MemberAction {
	for _, a := range g.members[i].Handle(now, ev) {
		out = append(out, MemberAction{i, a})
	}
	return out
}

// settle brings all members to the state of the leader.
func (g *Group) settle(out []MemberAction, now time.Time, leader int) []MemberAction {
	if len(g.members) == 0 {
		return out
	}
	state := g.members[leader].state
	if state == Fault && g.faultless() {
		state = Backup
	}
	if state != g.state && state != Init {
		out = append(out, MemberAction{-1, Action{Kind: Log, Text: fmt.Sprintf("VRRP_Group(%s) Syncing instances to %v state", g.name, state)}})
	}
	for i, m := range g.members {
		m.out = m.out[:0]
		m.follows(now, state)
		for _, a := range m.out {
			out = append(out, MemberAction{i, a})
		}
	}
	if state != g.state {
		g.state = state
		if state != Init {
			out = append(out, MemberAction{-1, Action{Kind: NotifyGroup, State: state}})
		}
	}
	return out
}

func (g *Group) faultless() bool {
	for _, m := range g.members {
		if len(m.faults) > 0 {
			return false
		}
	}
	return true
}

// follows brings a member to the state of its group.
func (m *Machine) follows(now time.Time, state State) {
	if m.state == state {
		return
	}
	switch {
	case state == Master:
		m.toMaster(now)
	case state == Fault && m.state == Init:
		m.enterFault()
	case state == Fault:
		m.fault()
	case state == Backup && m.state == Master:
		m.toBackup(now)
	case state == Backup && m.state == Fault:
		m.recover(now)
	case state == Backup:
		m.enterBackup(now)
	}
}
