// SPDX-License-Identifier: Apache-2.0

package vrrp

import "time"

func (m *Machine) timeout(now time.Time) {
	due := func(t time.Time) bool { return !t.IsZero() && !now.Before(t) }
	if due(m.down) {
		m.masterGone(now)
		return
	}
	if due(m.advert) {
		if m.overtaken(now) {
			return
		}
		m.advertise(now)
	}
	if due(m.garp) {
		m.do(Action{Kind: Announce, Repeat: m.garpRepeat})
		m.garp = time.Time{}
	}
	if due(m.refresh) {
		m.do(Action{Kind: Announce, Repeat: max(1, m.cfg.GARPRefreshRepeat)})
		m.refresh = now.Add(m.cfg.GARPMasterRefresh)
	}
}

// overtaken has a master step down for which timer_expired_backup says that another
// must be master by now: it was not heard for that one's master down interval.
func (m *Machine) overtaken(now time.Time) bool {
	if m.cfg.TimerExpiredBackup == 0 || m.cfg.Priority == Owner {
		return false
	}
	silent := now.Sub(m.advert) + m.cfg.Interval
	if silent <= time.Duration(m.cfg.DownTimerAdverts)*m.cfg.Interval+m.skew(m.cfg.TimerExpiredBackup, m.cfg.Interval) {
		return false
	}
	m.logf("advertisement timer expired %v late: another may have taken over", now.Sub(m.advert))
	m.toBackup(now)
	return true
}

func (m *Machine) masterGone(now time.Time) {
	m.wants = true
	if !m.mayLead() {
		m.down = now.Add(m.MasterDown())
		return
	}
	m.toMaster(now)
}

func (m *Machine) received(now time.Time, r *Received) {
	switch m.state {
	case Backup:
		m.backupReceived(now, r)
	case Master:
		if m.overtaken(now) { // what it says may have waited for us
			m.backupReceived(now, r)
			return
		}
		m.masterReceived(now, r)
	}
}

func (m *Machine) backupReceived(now time.Time, r *Received) {
	own := m.Priority()
	switch {
	case r.Advert.Priority == ReleasePriority:
		m.logf("Backup received priority 0 advertisement")
		m.preempt = time.Time{}
		m.down = now.Add(m.Skew())
	case r.Advert.Priority >= own || m.cfg.NoPreempt:
		m.preempt = time.Time{}
		m.follow(now, r.Advert)
	case m.delayed(now):
		m.follow(now, r.Advert)
	default:
		m.logf("received lower priority (%d) advert from %v - discarding", r.Advert.Priority, r.Src)
	}
}

// delayed is whether preempt_delay, counted from the first advertisement of a
// lower master, still runs.
func (m *Machine) delayed(now time.Time) bool {
	if m.cfg.PreemptDelay == 0 {
		return false
	}
	if m.preempt.IsZero() {
		m.preempt = now.Add(m.cfg.PreemptDelay)
	}
	return now.Before(m.preempt)
}

// follow waits anew for the master. Version 3 learns its interval: a receiver
// of version 2 drops any other than its own.
func (m *Machine) follow(now time.Time, a Advert) {
	if m.cfg.Version == 3 && a.Interval > 0 && a.Interval != m.interval {
		m.logf("advertisement interval updated from %v to %v by master", m.interval, a.Interval)
		m.interval = a.Interval
	}
	m.wants = false
	m.down = now.Add(m.MasterDown())
}

func (m *Machine) masterReceived(now time.Time, r *Received) {
	own, theirs := m.Priority(), r.Advert.Priority
	switch {
	case own == Owner && m.cfg.OwnerIgnoreAdverts:
	case theirs == ReleasePriority:
		m.advertise(now)
	case theirs > own || theirs == own && m.cfg.Source.Less(r.Src.WithZone("")):
		m.logf("Master received advert from %v with higher priority %d, ours %d", r.Src, theirs, own)
		if m.cfg.HigherPrioSendAdvert {
			m.advertise(now)
		}
		m.toBackup(now)
		m.follow(now, r.Advert)
	case theirs == own && m.cfg.Source == r.Src.WithZone(""):
		// Our own packet come back, or a second host with our address: to answer
		// would answer ourselves for ever.
		m.logf("received an advert with our own priority from our own address %v", r.Src)
	default:
		m.lowerReceived(now, r)
	}
}

func (m *Machine) lowerReceived(now time.Time, r *Received) {
	m.logf("Received advert from %v with lower priority %d, ours %d, forcing new election", r.Src, r.Advert.Priority, m.Priority())
	if !m.cfg.LowerPrioNoAdvert {
		m.advertise(now)
	}
	m.do(Action{Kind: NotifyLowerPrio})
	if n := m.cfg.GARPLowerPrioRepeat; n > 0 {
		if m.cfg.GARPLowerPrioDelay == 0 {
			m.do(Action{Kind: Announce, Repeat: n})
		} else if m.garp.IsZero() {
			m.garp, m.garpRepeat = now.Add(m.cfg.GARPLowerPrioDelay), n
		}
	}
}
