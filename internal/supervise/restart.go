// SPDX-License-Identifier: Apache-2.0

package supervise

import "time"

// Restart says how long to wait before a process that has died is started
// again: not at all the first time, then a second, and twice as long each time
// after, up to MaxRestart. Who lives longer than the last pause and half a minute
// begins anew. The zero value is good.
type Restart struct {
	next    time.Duration
	started time.Time
}

// MaxRestart is the longest pause between two starts.
const MaxRestart = time.Minute

// calm is how long a process must live beyond its last pause.
const calm = 30 * time.Second

// Started notes a start.
func (r *Restart) Started(now time.Time) { r.started = now }

// Delay is the pause before the next start of the process that died at now.
func (r *Restart) Delay(now time.Time) time.Duration {
	if now.Sub(r.started) >= r.next+calm {
		r.next = 0
	}
	d := r.next
	r.next = min(max(2*r.next, time.Second), MaxRestart)
	return d
}
