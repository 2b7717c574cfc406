// SPDX-License-Identifier: Apache-2.0

package poll

import (
	"math"
	"math/bits"
	"time"
)

// tick is the resolution of timers, that of epoll_wait's timeout.
const tick = time.Millisecond

// slots is the length of the wheel in ticks. A timer further away than one
// revolution is passed over until its own revolution comes.
const slots = 4096

// Expirer is told when a timer it armed has run out.
type Expirer interface {
	// Expire runs on the loop's goroutine. It may arm the same timer again.
	Expire()
}

// Timer is one entry of a loop's wheel. It belongs to the loop's goroutine
// and must not be copied while armed. Arming and stopping do not allocate.
type Timer struct {
	// E is told when the timer runs out. It must be set before Arm.
	E Expirer

	next, prev *Timer
	due        int64 // in ticks since the wheel's start
}

// Armed reports whether the timer is waiting to run out.
func (t *Timer) Armed() bool { return t.next != nil }

// unlink takes an armed timer out of its ring.
func (t *Timer) unlink() {
	t.prev.next, t.next.prev = t.next, t.prev
	t.next, t.prev = nil, nil
}

// wheel is a hashed timing wheel. Each slot is a ring with a sentinel, and a
// bit map of the slots that may hold something lets it skip idle time.
type wheel struct {
	ring [slots]Timer
	used [slots / 64]uint64
	// pos is the first tick whose slot has not been visited.
	pos int64
	n   int
	// late is by how many ticks a timer was late at most in this turn.
	late int64
}

func (w *wheel) init() {
	for i := range w.ring {
		s := &w.ring[i]
		s.next, s.prev = s, s
	}
}

func (w *wheel) add(t *Timer, due int64) {
	t.due = due
	slot := due & (slots - 1)
	s := &w.ring[slot]
	t.prev, t.next = s.prev, s
	s.prev.next, s.prev = t, t
	w.used[slot/64] |= 1 << (slot % 64)
	w.n++
}

func (w *wheel) remove(t *Timer) {
	t.unlink()
	w.n--
	slot := t.due & (slots - 1)
	if s := &w.ring[slot]; s.next == s {
		w.used[slot/64] &^= 1 << (slot % 64)
	}
}

// advance expires timers due at or before now, at most limit of them, and
// reports how many. When it stops at the limit, pos stays where it was, so
// that the next call goes on there.
func (w *wheel) advance(now int64, limit int) int {
	done := 0
	// Two revolutions would visit the same slots twice: after a long stall
	// one is enough, since a slot gives up all it holds that is due.
	if now-w.pos >= slots {
		w.pos = now - slots + 1
	}
	for w.pos <= now {
		free := w.gap(w.pos)
		if int64(free) > now-w.pos {
			w.pos = now + 1
			break
		}
		w.pos += int64(free)
		n, more := w.visit(w.pos&(slots-1), now, limit-done)
		done += n
		if more {
			return done
		}
		w.pos++
	}
	return done
}

// visit expires what is due in one slot; more says the limit cut it short.
func (w *wheel) visit(slot, now int64, limit int) (done int, more bool) {
	s := &w.ring[slot]
	for {
		t := s.next
		for t != s && t.due > now {
			t = t.next
		}
		if t == s {
			break
		}
		if done == limit {
			return done, true
		}
		w.remove(t)
		w.late = max(w.late, now-t.due)
		done++
		// The handler may stop or arm any timer, also t's neighbours: start
		// from the sentinel again.
		t.E.Expire()
	}
	return done, false
}

// gap is the distance in ticks from pos to the next slot that may hold a
// timer; slots when all are empty.
func (w *wheel) gap(pos int64) int {
	start := int(pos & (slots - 1))
	word := w.used[start/64] >> (start % 64)
	if word != 0 {
		return bits.TrailingZeros64(word)
	}
	d := 64 - start%64
	for i := 1; i <= len(w.used); i++ {
		if word := w.used[(start/64+i)%len(w.used)]; word != 0 {
			return min(d+bits.TrailingZeros64(word), slots)
		}
		d += 64
	}
	return slots
}

// wait is how many ticks from now the wheel has nothing to do; MaxInt64 when
// no timer is armed. It may be shorter than the nearest timer, by whole
// revolutions, never longer.
func (w *wheel) wait(now int64) int64 {
	if w.n == 0 {
		return math.MaxInt64
	}
	return max(0, w.pos+int64(w.gap(w.pos))-now)
}
