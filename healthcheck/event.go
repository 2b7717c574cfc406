// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"sync"
	"time"
)

// Event says that a check changed its mind about a server, or about the weight
// of one that stays up.
type Event struct {
	Service, Server string
	Kind            Kind
	// Up is the new state.
	Up bool
	// Reason is one line for people about the result that decided.
	Reason string
	// At is when.
	At time.Time
}

// Status is where a check stands.
type Status struct {
	// Up is the state. A check that has not run has the state it starts in.
	Up bool
	// Known is set once the check has run.
	Known bool
	// Weighted is set while the check says what the server's weight is
	// instead of the one configured, and Weight, 0 to 253, is that.
	Weighted bool
	Weight   uint8
	// Adds is what a FILE_CHECK adds to the weight, negative for less.
	Adds int
}

// queue carries events from the loops to the caller. It has no bound, so that
// a slow caller never stalls a loop; each check adds one entry per change.
type queue struct {
	mu     sync.Mutex
	items  []queued
	signal chan struct{} // one token: items may not be empty
}

type queued struct {
	c  *check
	ev Event
}

func newQueue() *queue { return &queue{signal: make(chan struct{}, 1)} }

func (q *queue) put(c *check, ev Event) {
	q.mu.Lock()
	q.items = append(q.items, queued{c, ev})
	q.mu.Unlock()
	select {
	case q.signal <- struct{}{}:
	default:
	}
}

// take returns what is queued, without the events of checks that have been
// removed meanwhile.
func (q *queue) take() []Event {
	q.mu.Lock()
	items := q.items
	q.items = nil
	q.mu.Unlock()
	events := make([]Event, 0, len(items))
	for _, it := range items {
		if !it.c.removed.Load() {
			events = append(events, it.ev)
		}
	}
	return events
}
