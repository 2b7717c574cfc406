// SPDX-License-Identifier: Apache-2.0

package bfd

import (
	"fmt"
	"net/netip"
	"time"
)

// Config is one session.
type Config struct {
	Name     string
	Neighbor netip.Addr
	Source   netip.Addr // zero: as the host routes
	MinRx    time.Duration
	MinTx    time.Duration
	// IdleTx is the interval while the session is not up, a second at least.
	IdleTx     time.Duration
	Multiplier int // 1 to 255
	// Passive has the session wait for the neighbour's first packet.
	Passive bool
	TTL     int // of packets sent, 1 to 255
	// MaxHops is how much less than TTL a packet may arrive with; -1: any.
	MaxHops  int
	Multihop bool // RFC 5883: its port, and any path
}

// ActionKind is what an [Action] asks for.
type ActionKind uint8

// The actions.
const (
	// Send sends Packet.
	Send ActionKind = iota + 1
	// Changed tells that the session has a new State.
	Changed
	// Log is a line for people.
	Log
	// Detail is a line for those who want to know everything.
	Detail
)

// Action is something to be done outside of the session.
type Action struct {
	Kind   ActionKind
	Packet Packet
	State  State
	Text   string
}

// Session is one end of a session: RFC 5880 6.8 without demand mode of our own,
// echo and authentication. It has no clock: each call says what time it is, which
// must not go backwards. It is not for several goroutines.
type Session struct {
	cfg Config
	// jitter gives a number of 0 to 1, below 1, for each packet.
	jitter func() float64

	state State
	diag  Diag
	local uint32 // discriminator

	remote      uint32 // discriminator, 0: not known
	remoteState State
	remoteDiag  Diag
	remoteMinTx time.Duration
	// remoteMinRx is 1 µs until the neighbour says (RFC 5880 6.8.1); 0: send nothing.
	remoteMinRx      time.Duration
	remoteMultiplier uint8
	remoteDemand     bool

	// minTx and minRx are as announced; txUsed and rxUsed as in force, which lag
	// behind until the neighbour has confirmed a change (RFC 5880 6.8.3).
	minTx, minRx   time.Duration
	txUsed, rxUsed time.Duration
	polling        bool

	sent     time.Time     // the last packet
	pace     time.Duration // the interval that next was computed with
	next     time.Time     // of the next packet
	expires  time.Time     // of the detection time
	lastSeen time.Time
	last     Packet // sent, without poll and final

	acts []Action
}

// New makes a session that is down. local is its discriminator, unique on the
// host and not 0; jitter gives numbers of 0 to 1, below 1.
func New(cfg Config, local uint32, jitter func() float64) *Session {
	s := &Session{cfg: cfg, jitter: jitter, local: local, state: Down}
	s.forget()
	s.minTx, s.minRx = s.wantTx(), cfg.MinRx
	s.txUsed, s.rxUsed = s.minTx, s.minRx
	return s
}

// Config is the configuration in force.
func (s *Session) Config() Config { return s.cfg }

// State is the state of the session.
func (s *Session) State() State { return s.state }

// Local is the session's own discriminator.
func (s *Session) Local() uint32 { return s.local }

// Next is when Timeout must be called; zero: not before something else happens.
func (s *Session) Next() time.Time {
	if s.next.IsZero() || !s.expires.IsZero() && s.expires.Before(s.next) {
		return s.expires
	}
	return s.next
}

// forget is the neighbour as it is before its first packet.
func (s *Session) forget() {
	s.remote, s.remoteState, s.remoteMinRx, s.remoteDemand = 0, Down, time.Microsecond, false
}

// wantTx is the interval to send at. RFC 5880 6.8.3: not below a second unless up.
func (s *Session) wantTx() time.Duration {
	if s.state == Up {
		return s.cfg.MinTx
	}
	return max(s.cfg.IdleTx, s.cfg.MinTx)
}

// TxInterval is the time between two packets, before jitter.
func (s *Session) TxInterval() time.Duration { return max(s.txUsed, s.remoteMinRx) }

// DetectionTime is how long the neighbour may be silent; 0 before its first packet.
func (s *Session) DetectionTime() time.Duration {
	return time.Duration(s.remoteMultiplier) * max(s.rxUsed, s.remoteMinTx)
}

// remoteDetectionTime is how long the neighbour waits for us.
func (s *Session) remoteDetectionTime() time.Duration {
	return time.Duration(s.cfg.Multiplier) * s.TxInterval()
}

// sends tells whether packets go out periodically (RFC 5880 6.8.7).
func (s *Session) sends() bool {
	switch {
	case s.cfg.Passive && s.remote == 0, s.remoteMinRx == 0:
		return false
	case s.remoteDemand && s.state == Up && s.remoteState == Up:
		return s.polling
	}
	return true
}

func (s *Session) done() []Action {
	acts := s.acts
	s.acts = nil
	return acts
}

func (s *Session) log(k ActionKind, format string, args ...any) {
	s.acts = append(s.acts, Action{Kind: k, Text: "(" + s.cfg.Name + ") " + fmt.Sprintf(format, args...)})
}

// Start begins to send, unless the session is passive.
func (s *Session) Start(now time.Time) []Action {
	if s.sends() {
		s.send(now, false)
	}
	s.schedule(now)
	return s.done()
}

// Receive takes a packet that [Parse] has accepted and whose discriminator or
// addresses are this session's (RFC 5880 6.8.6).
func (s *Session) Receive(now time.Time, p Packet) []Action {
	detection, tx := s.DetectionTime(), s.TxInterval()
	was := [...]any{s.remoteMinTx, s.remoteMinRx, s.remoteMultiplier}
	s.remote, s.remoteState, s.remoteDiag, s.remoteDemand = p.My, p.State, p.Diag, p.Demand
	s.remoteMinTx, s.remoteMinRx, s.remoteMultiplier = p.MinTx, p.MinRx, p.Multiplier
	if s.polling && p.Final {
		s.polling = false
		s.txUsed, s.rxUsed = s.minTx, s.minRx
	}
	s.lastSeen = now
	switch {
	case p.State == AdminDown:
		s.fall(DiagNeighborSignaled)
	case s.state == Down && p.State == Down:
		s.state = Init
		s.tell()
	case s.state == Down && p.State == Init, s.state == Init && p.State >= Init:
		s.rise()
	case s.state == Up && p.State == Down:
		s.fall(DiagNeighborSignaled)
	}
	s.expires = now.Add(s.DetectionTime())
	if was != [...]any{s.remoteMinTx, s.remoteMinRx, s.remoteMultiplier} || tx != s.TxInterval() || detection != s.DetectionTime() {
		s.parameters(detection)
	}
	if p.Poll {
		s.send(now, true)
	}
	s.flush(now)
	s.schedule(now)
	return s.done()
}

// parameters logs what the two have agreed on; before is the detection time until now.
func (s *Session) parameters(before time.Duration) {
	us := func(d time.Duration) int64 { return d.Microseconds() }
	pad := len(s.cfg.Name) + 2
	s.log(Detail, "---------------< Session parameters >--------------")
	s.acts = append(s.acts,
		Action{Kind: Detail, Text: fmt.Sprintf("%*s          min_tx  min_rx  tx_intv  mult  detect_time", pad, "")},
		Action{Kind: Detail, Text: fmt.Sprintf("%*s local  %8d %7d %8d %5d %12d", pad, "", us(s.minTx), us(s.minRx), us(s.TxInterval()), s.cfg.Multiplier, us(s.DetectionTime()))},
		Action{Kind: Detail, Text: fmt.Sprintf("%*s remote %8d %7d %8d %5d %12d", pad, "", us(s.remoteMinTx), us(s.remoteMinRx), us(max(s.remoteMinTx, s.minRx)), s.remoteMultiplier, us(s.remoteDetectionTime()))})
	if now := s.DetectionTime(); now != before {
		s.acts = append(s.acts, Action{Kind: Log, Text: fmt.Sprintf("%*s Detection time is %d us (was %d us)", pad, "", us(now), us(before))})
	}
}

// rise is the way up.
func (s *Session) rise() {
	s.state, s.diag = Up, DiagNone
	s.log(Log, "Entering Up state")
	s.tell()
	s.agree()
}

// fall is the way down, with the reason.
func (s *Session) fall(d Diag) {
	if s.state == Down {
		return
	}
	s.state, s.diag, s.polling = Down, d, false
	s.log(Log, "Entering Down state (Local diagnostic - %v, Remote diagnostic - %v)", s.diag, s.remoteDiag)
	s.tell()
	s.agree()
}

func (s *Session) tell() { s.acts = append(s.acts, Action{Kind: Changed, State: s.state}) }

// agree announces the intervals that state and configuration ask for. While the
// session is up neither side may rely on a change to the worse before the other
// has confirmed it: a poll sequence begins (RFC 5880 6.8.3). Else nothing hangs
// on it, for a session that is not up sends slowly and is not missed.
func (s *Session) agree() {
	tx, rx := s.wantTx(), s.cfg.MinRx
	if tx == s.minTx && rx == s.minRx {
		return
	}
	s.minTx, s.minRx = tx, rx
	if s.state != Up {
		s.txUsed, s.rxUsed = tx, rx
		return
	}
	s.txUsed, s.rxUsed = min(s.txUsed, tx), max(s.rxUsed, rx)
	if !s.polling {
		s.log(Detail, "Starting poll sequence")
	}
	s.polling = true
}

// packet is what to send now.
func (s *Session) packet() Packet {
	return Packet{
		State: s.state, Diag: s.diag, Multiplier: uint8(s.cfg.Multiplier), My: s.local, Your: s.remote, MinTx: s.minTx, MinRx: s.minRx,
	}
}

func (s *Session) send(now time.Time, final bool) {
	p := s.packet()
	s.last, s.sent = p, now
	p.Final = final
	p.Poll = s.polling && !final
	s.acts = append(s.acts, Action{Kind: Send, Packet: p})
	s.pace = 0
}

// flush sends at once what the neighbour does not know yet (RFC 5880 6.8.7), and
// asks for the answer to a poll.
func (s *Session) flush(now time.Time) {
	if s.sends() && s.last != s.packet() {
		s.send(now, false)
	}
}

// schedule sets when the next packet is due. One that was due later than the
// interval in force now comes earlier.
func (s *Session) schedule(now time.Time) {
	if !s.sends() {
		s.next, s.pace = time.Time{}, 0
		return
	}
	if pace := s.TxInterval(); s.next.IsZero() || s.pace != pace {
		s.pace = pace
		s.next = s.sent.Add(s.jittered(pace))
		if s.sent.IsZero() || s.next.Before(now) {
			s.next = now
		}
	}
}

// resolution is how much later than asked for a timer of [poll.Loop] may run out.
const resolution = time.Millisecond

// jittered takes up to a quarter off, with a multiplier of 1 a tenth at least:
// else the neighbour's detection time could run out first (RFC 5880 6.8.7).
func (s *Session) jittered(d time.Duration) time.Duration {
	least, most := d*3/4, d
	if s.cfg.Multiplier == 1 {
		most = d * 9 / 10
	}
	most = max(least, most-resolution)
	return most - time.Duration(s.jitter()*float64(most-least))
}

// Timeout does what is due. It is safe to call it early.
func (s *Session) Timeout(now time.Time) []Action {
	if !s.expires.IsZero() && !now.Before(s.expires) {
		late := now.Sub(s.expires)
		s.expires = time.Time{}
		if s.state == Init || s.state == Up {
			s.log(Log, "Expired after %d ms (%d usec overdue)", s.DetectionTime().Milliseconds(), late.Microseconds())
			s.fall(DiagExpired)
		}
		s.forget()
		s.flush(now)
		s.schedule(now)
	}
	if !s.next.IsZero() && !now.Before(s.next) && s.sends() {
		s.send(now, false)
	}
	s.schedule(now)
	return s.done()
}

// Reconfigure takes over other values; addresses are not among them. The state
// stays.
func (s *Session) Reconfigure(now time.Time, cfg Config) []Action {
	s.cfg = cfg
	s.agree()
	if !s.expires.IsZero() { // it may have grown at once
		s.expires = s.lastSeen.Add(s.DetectionTime())
	}
	s.flush(now)
	s.schedule(now)
	return s.done()
}
