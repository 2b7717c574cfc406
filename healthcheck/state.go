// SPDX-License-Identifier: Apache-2.0

package healthcheck

import "time"

// change is what a result did to a check's state.
type change uint8

const (
	unchanged change = iota
	wentUp
	wentDown
)

// state is what a check knows of its server. It has no clock: step says when
// to run next.
type state struct {
	up bool
	// hasRun is set once a result has counted.
	hasRun bool
	// proving is set while a server that was down must answer every URL once
	// more, from the first, before it counts as up.
	proving bool
	// late says that a reload has brought the check: its first run is retried as any
	// other.
	late    bool
	retried uint32
	url     int32
	// weight is the last one the server told, -1 when there is none.
	weight int32
	// adds is what the server's weight grows by.
	adds int32
}

// weigh keeps the weight that a result tells. A failure forgets it, so that a
// server comes back with the one configured or a fresh one.
func (s *state) weigh(r result) {
	s.adds = r.adds
	switch {
	case r.ok:
		s.weight = int32(r.weight)
	case !s.up:
		s.weight = -1
	}
}

// newState is the state of a check that has not run. Without alpha a server
// is taken for alive until a check says otherwise.
func newState(alpha bool) state { return state{up: !alpha, proving: alpha, weight: -1} }

// plan is the part of a spec that step needs.
type plan struct {
	timing *Timing
	// urls is how many requests make a full round; 1 for TCP_CHECK.
	urls int
	// twice has a failed request answered and then a full round besides
	// before the server is up again.
	twice bool
	fast  bool
	// restless goes through its retries again and again also while the server is down.
	restless bool
	// patient has the first run retried as any other, so that who does not answer
	// yet is not taken out at once.
	patient bool
}

func (s *Spec) plan() plan {
	if s.Kind == HTTPGet || s.Kind == SSLGet {
		return plan{timing: &s.Timing, urls: len(s.HTTP.URLs), twice: true, fast: s.HTTP.FastRecovery}
	}
	return plan{timing: &s.Timing, urls: 1, restless: s.Kind == TCPCheck || s.Kind == SMTPCheck, patient: s.Kind == SMTPCheck}
}

// step takes one result and returns the pause before the next run.
func (s *state) step(p plan, ok bool) (time.Duration, change) {
	known := s.hasRun
	if ok {
		s.hasRun, s.retried = true, 0
		return s.succeed(p)
	}
	// A page that was wrong is asked for every delay_loop until it is right once.
	waiting := !s.up && !s.proving && !p.restless
	if (known || p.patient || s.late) && !waiting && s.retried < p.timing.Retry {
		s.retried++
		return p.timing.DelayBeforeRetry, unchanged
	}
	was := s.up
	s.hasRun, s.up, s.proving, s.retried = true, false, false, 0
	next := p.timing.DelayLoop
	if p.twice {
		if p.fast {
			next = p.timing.DelayBeforeRetry
		} else {
			next = max(next, p.timing.DelayBeforeRetry)
		}
	}
	// A check that begins as down says so once, when it first knows; as with
	// keepalived, one of pages does not, nor one that has needed retries.
	if was || !known && !p.twice && (!s.late || p.timing.Retry == 0) {
		return next, wentDown
	}
	return next, unchanged
}

func (s *state) succeed(p plan) (time.Duration, change) {
	next := p.timing.DelayLoop
	if s.up {
		s.url = (s.url + 1) % int32(p.urls)
		return next, unchanged
	}
	if p.twice && !s.proving {
		s.proving, s.url = true, 0
	} else if s.url++; s.url >= int32(p.urls) {
		s.up, s.proving, s.url = true, false, 0
		return next, wentUp
	}
	if p.fast {
		next = 0
	}
	return next, unchanged
}
