// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"errors"
	"sync"
)

// BFD is what a BFD_CHECK follows.
type BFD struct {
	// Session is the name of the session that [Engine.Session] tells of. Until it
	// has told, the check has not run.
	Session string
}

func (b *BFD) validate() error {
	if b == nil || b.Session == "" {
		return errors.New("no session: give name")
	}
	return nil
}

func judgeSession(up bool) result {
	if up {
		return passed()
	}
	return failed(func(t *Target) string { return msgBFD(t, false) })
}

// sessionWatch has checks run at once when they are told of their session. Its
// methods may be called from any goroutine.
type sessionWatch struct {
	mu     sync.Mutex // guards what follows
	up     map[string]bool
	checks map[string]map[*check]bool // by session
}

func newSessionWatch() *sessionWatch {
	return &sessionWatch{up: map[string]bool{}, checks: map[string]map[*check]bool{}}
}

func (w *sessionWatch) watch(c *check) {
	w.mu.Lock()
	defer w.mu.Unlock()
	name := c.target.Spec.BFD.Session
	if w.checks[name] == nil {
		w.checks[name] = map[*check]bool{}
	}
	w.checks[name][c] = true
}

func (w *sessionWatch) forget(c *check) {
	w.mu.Lock()
	defer w.mu.Unlock()
	name := c.target.Spec.BFD.Session
	if delete(w.checks[name], c); len(w.checks[name]) == 0 {
		delete(w.checks, name)
	}
}

func (w *sessionWatch) state(name string) (up, known bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	up, known = w.up[name]
	return up, known
}

func (w *sessionWatch) told(name string, up bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if was, known := w.up[name]; known && was == up {
		return
	}
	w.up[name] = up
	for c := range w.checks[name] {
		c.shard.loop.Post(func() {
			if !c.removed.Load() && !c.suspended {
				c.shard.loop.Stop(&c.timer)
				c.start()
			}
		})
	}
}

// Session tells whether a BFD session is up, to all checks that follow it, now
// and later.
func (e *Engine) Session(name string, up bool) { e.bfds.told(name, up) }
