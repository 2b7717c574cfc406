// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func newGroup(t testing.TB, changes ...func(*Config)) *Group {
	t.Helper()
	var members []*Machine
	for i, change := range changes {
		members = append(members, newMachine(t, func(c *Config) {
			c.Name, c.VRID = fmt.Sprintf("V%d", i), uint8(51+i)
			if change != nil {
				change(c)
			}
		}))
	}
	g, err := NewGroup("G", members...)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func groupSeen(actions []MemberAction) string {
	var out []string
	for _, a := range actions {
		if a.Kind != Log {
			out = append(out, fmt.Sprintf("%d %v", a.Member, a.Action))
		}
	}
	return strings.Join(out, ", ")
}

func owner(c *Config) { c.Priority = Owner }

func TestGroup(t *testing.T) {
	type at struct {
		after  time.Duration
		member int
		ev     Event
		want   string
		state  State
	}
	const master = "0 advert 150, 0 add, 0 announce 5, 0 notify MASTER"
	begin := at{0, 0, Start{}, "-1 notify group BACKUP, 0 notify BACKUP, 1 notify BACKUP", Backup}
	for _, c := range []struct {
		name    string
		members []func(*Config)
		steps   []at
	}{
		{"one hears its master, so none leads", []func(*Config){nil, nil}, []at{
			begin,
			{3 * time.Second, 1, heard(200), "", Backup},
			{time.Second, 0, Timeout{}, "", Backup},
			{2600 * time.Millisecond, 0, Timeout{}, "1 advert 150, 1 add, 1 announce 5, 1 notify MASTER, " + master + ", -1 notify group MASTER", Master},
		}},
		{"both time out at once", []func(*Config){nil, nil}, []at{
			begin,
			{3500 * time.Millisecond, 0, Timeout{}, "1 advert 150, 1 add, 1 announce 5, 1 notify MASTER, " + master + ", -1 notify group MASTER", Master},
			{time.Second / 2, 1, heard(200), "1 del, 1 notify BACKUP, 0 del, 0 notify BACKUP, -1 notify group BACKUP", Backup},
		}},
		{"the wish ends with a master", []func(*Config){nil, nil}, []at{
			begin,
			{3 * time.Second, 1, heard(200), "", Backup},
			{time.Second, 0, Timeout{}, "", Backup},
			{time.Second, 0, heard(200), "", Backup},
			{1600 * time.Millisecond, 0, Timeout{}, "", Backup},
		}},
		{"only owners start as master", []func(*Config){owner, owner}, []at{
			{0, 0, Start{}, "-1 notify group MASTER, 0 advert 255, 0 add, 0 announce 5, 0 notify MASTER, 1 advert 255, 1 add, 1 announce 5, 1 notify MASTER", Master},
		}},
		{"one owner waits", []func(*Config){owner, nil}, []at{begin}},
		{"a fault takes all along, and all must be well again", []func(*Config){owner, owner}, []at{
			{0, 0, Start{}, "-1 notify group MASTER, 0 advert 255, 0 add, 0 announce 5, 0 notify MASTER, 1 advert 255, 1 add, 1 announce 5, 1 notify MASTER", Master},
			{1, 1, Down{"eth1"}, "1 advert 0, 1 del, 1 notify FAULT, 0 advert 0, 0 del, 0 notify FAULT, -1 notify group FAULT", Fault},
			{1, 0, Down{"eth0"}, "", Fault},
			{1, 1, Up{"eth1"}, "", Fault},
			{1, 0, Up{"eth0"}, "0 notify BACKUP, 1 notify BACKUP, -1 notify group BACKUP", Backup},
		}},
		{"a fault before the start", []func(*Config){nil, nil}, []at{
			{0, 1, Down{"eth1"}, "", Init},
			{0, 0, Start{}, "-1 notify group FAULT, 0 notify FAULT, 1 notify FAULT", Fault},
		}},
		{"no owner leads while another fails", []func(*Config){owner, owner}, []at{
			{0, 1, Down{"eth1"}, "", Init},
			{0, 0, Start{}, "-1 notify group FAULT, 0 notify FAULT, 1 notify FAULT", Fault},
		}},
		{"stop", []func(*Config){owner, owner}, []at{
			{0, 0, Start{}, "-1 notify group MASTER, 0 advert 255, 0 add, 0 announce 5, 0 notify MASTER, 1 advert 255, 1 add, 1 announce 5, 1 notify MASTER", Master},
			{1, 0, Stop{}, "0 advert 0, 0 del, 0 notify stop, 1 advert 0, 1 del, 1 notify stop", Init},
		}},
		{"weights do not count", []func(*Config){nil, func(c *Config) { c.SyncTrackingWeight = true }}, []at{
			begin,
			{1, 0, Weight{"s", -20}, "", Backup},
			{1, 1, Weight{"s", -20}, "1 notify priority 130", Backup},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g, now := newGroup(t, c.members...), epoch
			for i, s := range c.steps {
				now = now.Add(s.after)
				if got := groupSeen(g.Handle(now, s.member, s.ev)); got != s.want || g.State() != s.state {
					t.Fatalf("step %d: %v\n got %s\nwant %s", i, g.State(), got, s.want)
				}
			}
		})
	}
}

func TestGroupRefusesSharedMembers(t *testing.T) {
	m := newMachine(t, nil)
	if _, err := NewGroup("A", m); err != nil {
		t.Fatal(err)
	}
	if _, err := NewGroup("B", m); err == nil {
		t.Error("a member of two groups")
	}
}
