// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"fmt"
	"testing"
	"time"
)

// TestReconfigure: the state stays; a master advertises the new values at once,
// a backup waits for the master anew, and a bad configuration changes nothing.
func TestReconfigure(t *testing.T) {
	change := func(m *Machine, f func(*Config)) ([]Action, error) {
		c := m.Config()
		f(&c)
		return m.Reconfigure(epoch.Add(500*time.Millisecond), c)
	}
	backup := newMachine(t, nil)
	backup.Handle(epoch, Start{})
	if acts, err := change(backup, func(c *Config) { c.Priority = 200 }); err != nil || len(acts) != 0 || backup.State() != Backup {
		t.Errorf("backup: %v %v %v", acts, err, backup.State())
	}
	if want := epoch.Add(500*time.Millisecond + 3*time.Second + 56*time.Second/256); !backup.Next().Equal(want) {
		t.Errorf("backup waits until %v, want %v", backup.Next(), want)
	}
	master := newMachine(t, nil)
	master.Handle(epoch, Start{})
	master.Handle(epoch.Add(4*time.Second), Timeout{})
	acts, err := change(master, func(c *Config) { c.Priority = 90 })
	if err != nil || fmt.Sprint(acts) != "[advert 90]" || master.State() != Master {
		t.Errorf("master: %v %v %v", acts, err, master.State())
	}
	if _, err := change(master, func(c *Config) { c.Interval = time.Millisecond }); err == nil || master.Priority() != 90 {
		t.Errorf("a bad interval: %v, priority %d", err, master.Priority())
	}
	owner := newMachine(t, nil)
	owner.Handle(epoch, Start{})
	if _, err := change(owner, func(c *Config) { c.Priority = Owner }); err != nil || !owner.Next().Equal(epoch.Add(500*time.Millisecond)) {
		t.Errorf("who becomes the owner waits until %v: %v", owner.Next(), err)
	}
}

// TestRegroup: machines that run are put into a group, which brings them to the
// lowest of their states; released they go on alone.
func TestRegroup(t *testing.T) {
	a, b := newMachine(t, nil), newMachine(t, nil)
	a.Handle(epoch, Start{})
	a.Handle(epoch.Add(4*time.Second), Timeout{})
	b.Handle(epoch, Start{})
	g := Regroup("G", a, b)
	now := epoch.Add(4500 * time.Millisecond)
	g.Join(now)
	if a.State() != Backup || b.State() != Backup || g.State() != Backup {
		t.Errorf("a master and a backup: %v %v %v", a.State(), b.State(), g.State())
	}
	g.Release()
	b.Handle(now.Add(4*time.Second), Timeout{})
	if a.State() != Backup || b.State() != Master {
		t.Errorf("released: %v %v", a.State(), b.State())
	}
	b.Handle(now, Down{"eth0"})
	c := newMachine(t, nil)
	g = Regroup("G", a, b, c)
	g.Join(now)
	if a.State() != Fault || c.State() != Fault || g.State() != Fault {
		t.Errorf("with one that has failed: %v %v %v", a.State(), c.State(), g.State())
	}
}
