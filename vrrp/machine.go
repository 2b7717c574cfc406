// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"fmt"
	"time"
)

// Totals count what a machine did since New; they are the other half of
// keepalived's statistics, [Counters] the first.
type Totals struct {
	Sent             uint64 // advertisements, with those of priority 0
	PriorityZeroSent uint64
	BecameMaster     uint64
	ReleasedMaster   uint64
}

// Machine is the state of one instance. It belongs to one goroutine.
type Machine struct {
	cfg   Config
	state State

	faults   map[string]bool
	weights  map[string]int
	gained   int           // all weights together
	interval time.Duration // of the master, learned in version 3

	// Zero means not armed. advert is armed in Master only, down in Backup only.
	advert, down  time.Time
	garp, refresh time.Time
	garpRepeat    int
	preempt       time.Time   // end of preempt_delay, while a lower master is heard
	wants         bool        // Backup: its time has run out, but the group holds it
	mayLeadGroup  func() bool // nil outside of a group
	out           []Action
	totals        Totals
}

// New makes an instance in Init, or says what is wrong with its configuration.
func New(cfg Config) (*Machine, error) {
	if cfg.DownTimerAdverts == 0 {
		cfg.DownTimerAdverts = 3
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg.Source = cfg.Source.WithZone("")
	return &Machine{cfg: cfg, interval: cfg.Interval, faults: map[string]bool{}, weights: map[string]int{}}, nil
}

// State is the present state.
func (m *Machine) State() State { return m.state }

// Config is what New got, with defaults filled in.
func (m *Machine) Config() Config { return m.cfg }

// Totals are the present ones.
func (m *Machine) Totals() Totals { return m.totals }

// MasterInterval is the interval of the master as far as it is known.
func (m *Machine) MasterInterval() time.Duration { return m.interval }

// Priority is the effective one: the configured plus all weights, from 1 to
// 254. An owner's never changes.
func (m *Machine) Priority() uint8 {
	if m.cfg.Priority == Owner {
		return Owner
	}
	return uint8(min(max(int(m.cfg.Priority)+m.gained, 1), Owner-1))
}

// Skew is (256-priority)/256 of a second in version 2 and of the master's
// interval in version 3 (RFC 3768 6.1, RFC 5798 6.1).
func (m *Machine) Skew() time.Duration { return m.skew(m.Priority(), m.interval) }

// skew is that of a router of some priority.
func (m *Machine) skew(priority uint8, interval time.Duration) time.Duration {
	unit := time.Second
	if m.cfg.Version == 3 {
		unit = interval
	}
	return unit * time.Duration(256-int(priority)) / 256
}

// MasterDown is how long a backup waits for the master:
// DownTimerAdverts × the master's interval + [Machine.Skew].
func (m *Machine) MasterDown() time.Duration {
	return time.Duration(m.cfg.DownTimerAdverts)*m.interval + m.Skew()
}

// Next is when a [Timeout] is due; zero: never.
func (m *Machine) Next() time.Time {
	var next time.Time
	for _, t := range []time.Time{m.advert, m.down, m.garp, m.refresh} {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	return next
}

// Handle reacts to an event at a time; times must not go back. Whoever calls it
// must hand over every packet already received before a Timeout, or a busy
// process takes its own lateness for a dead master. The actions are valid until
// the next event.
func (m *Machine) Handle(now time.Time, ev Event) []Action {
	m.out = m.out[:0]
	switch ev := ev.(type) {
	case Start:
		m.start(now)
	case Received:
		m.received(now, &ev)
	case *Received: // which takes no memory
		m.received(now, ev)
	case Timeout:
		m.timeout(now)
	case Down:
		m.faults[ev.What] = true
		m.fault()
	case Up:
		m.up(now, ev.What)
	case Weight:
		m.weight(ev)
	case AddressLost:
		if m.state == Master && !m.cfg.IgnoreDeletedAddress {
			// Nobody has it now: who is best takes it as soon as after a resignation.
			m.logf("lost address %v", ev.Addr)
			m.do(Action{Kind: SendAdvert, Priority: ReleasePriority})
			m.toBackup(now)
			m.down = now.Add(m.Skew())
		}
	case Stop:
		m.stop()
	}
	return m.out
}

func (m *Machine) do(a Action) {
	m.out = append(m.out, a)
	if a.Kind == SendAdvert {
		m.totals.Sent++
		if a.Priority == ReleasePriority {
			m.totals.PriorityZeroSent++
		}
	}
}

func (m *Machine) logf(format string, args ...any) {
	m.do(Action{Kind: Log, Text: "(" + m.cfg.Name + ") " + fmt.Sprintf(format, args...)})
}

func (m *Machine) start(now time.Time) {
	if m.state != Init {
		return
	}
	if len(m.faults) > 0 {
		m.enterFault()
		return
	}
	if m.cfg.Priority == Owner && m.mayLead() {
		m.toMaster(now)
		return
	}
	m.logf("Entering BACKUP STATE (init)")
	m.enterBackup(now)
}

func (m *Machine) mayLead() bool { return m.mayLeadGroup == nil || m.mayLeadGroup() }

// quiet disarms every timer, before the state changes.
func (m *Machine) quiet() {
	if m.state == Master {
		m.totals.ReleasedMaster++
	}
	m.advert, m.down, m.garp, m.refresh, m.preempt = time.Time{}, time.Time{}, time.Time{}, time.Time{}, time.Time{}
	m.garpRepeat, m.wants = 0, false
}

func (m *Machine) enterBackup(now time.Time) {
	m.quiet()
	m.state = Backup
	m.down = now.Add(m.MasterDown())
	m.do(Action{Kind: Notify, State: Backup})
}

func (m *Machine) enterFault() {
	m.quiet()
	m.state = Fault
	m.logf("Entering FAULT STATE")
	m.do(Action{Kind: Notify, State: Fault})
}

// toBackup is a master's step down.
func (m *Machine) toBackup(now time.Time) {
	m.logf("Entering BACKUP STATE")
	m.do(Action{Kind: DelAddrs})
	m.enterBackup(now)
}

// toMaster advertises before it takes the addresses: the others then know
// first, and a second backup stops waiting.
func (m *Machine) toMaster(now time.Time) {
	m.quiet()
	m.totals.BecameMaster++
	m.state = Master
	m.interval = m.cfg.Interval
	m.logf("Receive advertisement timeout")
	m.logf("Entering MASTER STATE")
	m.advertise(now)
	m.do(Action{Kind: AddAddrs})
	m.do(Action{Kind: Announce, Repeat: max(1, m.cfg.GARPMasterRepeat)})
	if m.cfg.GARPMasterDelay > 0 {
		m.garp, m.garpRepeat = now.Add(m.cfg.GARPMasterDelay), max(1, m.cfg.GARPMasterRepeat)
	}
	if m.cfg.GARPMasterRefresh > 0 {
		m.refresh = now.Add(m.cfg.GARPMasterRefresh)
	}
	m.do(Action{Kind: Notify, State: Master})
}

// advertise re-arms from now, so a late timer never sends a burst.
func (m *Machine) advertise(now time.Time) {
	m.do(Action{Kind: SendAdvert, Priority: m.Priority()})
	m.advert = now.Add(m.cfg.Interval)
}

func (m *Machine) fault() {
	switch m.state {
	case Master:
		m.do(Action{Kind: SendAdvert, Priority: ReleasePriority})
		m.do(Action{Kind: DelAddrs})
		m.enterFault()
	case Backup:
		m.enterFault()
	}
}

func (m *Machine) up(now time.Time, what string) {
	delete(m.faults, what)
	// A group decides for its members when they leave.
	if m.state == Fault && len(m.faults) == 0 && m.mayLeadGroup == nil {
		m.recover(now)
	}
}

func (m *Machine) recover(now time.Time) {
	m.logf("Entering BACKUP STATE")
	m.enterBackup(now)
	if m.cfg.Priority == Owner {
		m.down = now
	}
}

// weight takes effect with the next advertisement or at the next arming of the
// timer: one lost script must not by itself make two masters.
func (m *Machine) weight(w Weight) {
	if m.mayLeadGroup != nil && !m.cfg.SyncTrackingWeight {
		return
	}
	before := m.Priority()
	m.gained += w.Delta - m.weights[w.What]
	if m.weights[w.What] = w.Delta; w.Delta == 0 {
		delete(m.weights, w.What)
	}
	if p := m.Priority(); p != before {
		m.logf("Changing effective priority from %d to %d", before, p)
		m.do(Action{Kind: NotifyPriority, Priority: p})
	}
}

func (m *Machine) stop() {
	if m.state == Master {
		// Who keeps its addresses does not ask others to take them.
		if !m.cfg.KeepAddressesWhenStop {
			m.do(Action{Kind: SendAdvert, Priority: ReleasePriority})
			m.logf("sent 0 priority")
			m.do(Action{Kind: DelAddrs})
		}
	}
	if m.state != Init {
		m.do(Action{Kind: NotifyStop})
	}
	m.quiet()
	m.state = Init
}
