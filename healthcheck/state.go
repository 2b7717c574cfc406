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
	up     bool
	hasRun bool
	// proving is set while a server that was down must answer every URL once
	// more, from the first, before it counts as up.
	proving bool
	retried uint32
	url     int
	// weight is the last one the server told, -1 when there is none.
	weight int
	// adds is what the server's weight grows by.
	adds int32
}

// weigh keeps the weight that a result tells. A failure forgets it, so that a
// server comes back with the one configured or a fresh one.
func (s *state) weigh(r result) {
	s.adds = r.adds
	switch {
	case r.ok:
		s.weight = r.weight
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
}

func (s *Spec) plan() plan {
	if s.Kind == HTTPGet || s.Kind == SSLGet {
		return plan{&s.Timing, len(s.HTTP.URLs), true, s.HTTP.FastRecovery}
	}
	return plan{timing: &s.Timing, urls: 1}
}

// step takes one result and returns the pause before the next run.
func (s *state) step(p plan, ok bool) (time.Duration, change) {
	first := !s.hasRun
	s.hasRun = true
	if ok {
		s.retried = 0
		return s.succeed(p)
	}
	if s.up && !first && s.retried < p.timing.Retry {
		s.retried++
		return p.timing.DelayBeforeRetry, unchanged
	}
	was := s.up
	s.up, s.proving, s.retried = false, false, 0
	next := p.timing.DelayLoop
	if p.twice {
		if p.fast {
			next = p.timing.DelayBeforeRetry
		} else {
			next = max(next, p.timing.DelayBeforeRetry)
		}
	}
	// A check that begins as down says so once, when it first knows.
	if was || first {
		return next, wentDown
	}
	return next, unchanged
}

func (s *state) succeed(p plan) (time.Duration, change) {
	next := p.timing.DelayLoop
	if s.up {
		s.url = (s.url + 1) % p.urls
		return next, unchanged
	}
	if p.twice && !s.proving {
		s.proving, s.url = true, 0
	} else if s.url++; s.url >= p.urls {
		s.up, s.proving, s.url = true, false, 0
		return next, wentUp
	}
	if p.fast {
		next = 0
	}
	return next, unchanged
}
