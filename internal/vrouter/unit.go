// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"slices"
	"time"

	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/poll"
	"github.com/lvs-fnat/lvs/vrrp"
)

// unit is what is driven as one: a sync group, or an instance outside of any.
type unit struct {
	e       *Engine
	name    string
	group   *vrrp.Group // nil for an instance alone
	cfg     *config.SyncGroup
	members []*instance
	timer   poll.Timer
	running bool
}

func (u *unit) add(in *instance) {
	in.unit, in.member = u, len(u.members)
	u.members = append(u.members, in)
}

// start begins once nothing is awaited: the first result of scripts without weight.
func (u *unit) start() {
	if u.running || !u.e.started || u.e.stopping {
		return
	}
	for _, in := range u.members {
		if u.e.tracks.pending(in) {
			return
		}
	}
	u.running = true
	// Members of a group that a reload has put together may be in different states.
	if u.group != nil && slices.ContainsFunc(u.members, func(in *instance) bool { return in.m.State() != vrrp.Init }) {
		u.apply(u.group.Join(time.Now()))
		u.arm()
		return
	}
	u.handle(0, vrrp.Start{})
}

// handle gives an event to a member, or to all, and does what comes of it.
func (u *unit) handle(member int, ev vrrp.Event) {
	now := time.Now()
	if u.group == nil {
		in := u.members[0]
		in.apply(in.m.Handle(now, ev)...)
	} else {
		u.apply(u.group.Handle(now, member, ev))
	}
	u.arm()
}

func (u *unit) apply(actions []vrrp.MemberAction) {
	for _, a := range actions {
		switch {
		case a.Member >= 0:
			u.members[a.Member].apply(a.Action)
		case a.Kind == vrrp.Log:
			u.e.log.Info(a.Text)
		case a.Kind == vrrp.NotifyGroup:
			u.e.trapGroup(u, int(a.State))
			u.e.notifyGroup(u, a.State.String())
		}
	}
}

func (u *unit) next() time.Time {
	if u.group != nil {
		return u.group.Next()
	}
	return u.members[0].m.Next()
}

func (u *unit) arm() {
	if next := u.next(); next.IsZero() {
		u.e.loop.Stop(&u.timer)
	} else {
		u.e.loop.ArmAt(&u.timer, next)
	}
}

// Expire is the end of the unit's timer. What has arrived is heard first: a
// process that was stopped for a while must not take its own lateness for a
// dead master.
func (u *unit) Expire() {
	if next := u.next(); !next.IsZero() && u.e.opts.Late != nil {
		u.e.opts.Late(time.Since(next))
	}
	for _, in := range u.members {
		if s := in.rx; s != nil && in.m.State() != vrrp.Master && poll.Pending(s.FD, poll.In) != 0 {
			s.Ready(poll.In)
		}
	}
	if next := u.next(); next.IsZero() || time.Now().Before(next) {
		u.arm()
		return
	}
	u.handle(0, vrrp.Timeout{})
}

// resign ends the members and then the group.
func (u *unit) resign() {
	u.e.loop.Stop(&u.timer)
	if u.running {
		u.handle(0, vrrp.Stop{})
		u.e.loop.Stop(&u.timer)
		if u.group != nil {
			u.e.trapGroup(u, trapStop)
			u.e.notifyGroup(u, stateStop)
		}
	}
	u.running = false
}
