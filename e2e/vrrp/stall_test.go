// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// standstill is for how long a host may stand still before who is late is no more to
// blame: as long as the adverts of most tests are apart.
const standstill = time.Second

// stall is a time for which a processor of this host did not run who was due.
type stall struct {
	end time.Time
	d   time.Duration
}

// stalls are those that watchHost has seen.
var stalls struct {
	sync.Mutex
	list []stall
}

// watchHost has a thread on each processor sleep and wake until stop is called, and
// notes when one wakes late.
func watchHost() (stop func()) {
	const tick, worth = 10 * time.Millisecond, 200 * time.Millisecond
	var end atomic.Bool
	var threads sync.WaitGroup
	for cpu := range runtime.NumCPU() {
		threads.Go(func() {
			runtime.LockOSThread() // and never unlocked: it goes with what it is bound to
			var set unix.CPUSet
			set.Set(cpu)
			_ = unix.SchedSetaffinity(0, &set) // where it may not run, another stands for it
			pause := unix.NsecToTimespec(tick.Nanoseconds())
			for last := time.Now(); !end.Load(); {
				_ = unix.Nanosleep(&pause, nil) // a signal makes it shorter
				now := time.Now()
				if d := now.Sub(last) - tick; d > worth {
					stalls.Lock()
					stalls.list = append(stalls.list, stall{now, d})
					stalls.Unlock()
				}
				last = now
			}
		})
	}
	return func() { end.Store(true); threads.Wait() }
}

// stalled is the longest time for which this host stood still since then.
func stalled(since time.Time) time.Duration {
	stalls.Lock()
	defer stalls.Unlock()
	var worst time.Duration
	for _, s := range stalls.list {
		if s.end.After(since) {
			worst = max(worst, s.d)
		}
	}
	return worst
}

// expired is how both programs tell that they could not run when they were due.
var expired = regexp.MustCompile(`A thread timer expired ([0-9.]+) seconds ago`)

// stalled is the longest time for which the host, or one of the programs, stood still
// since the bed was made.
func (b *bed) stalled() time.Duration {
	worst := stalled(b.made)
	for _, n := range b.nodes {
		text, err := os.ReadFile(n.log)
		if err != nil {
			continue // it has not been started
		}
		for _, m := range expired.FindAllSubmatch(text, -1) {
			if s, err := strconv.ParseFloat(string(m[1]), 64); err == nil {
				worst = max(worst, time.Duration(s*float64(time.Second)))
			}
		}
	}
	return worst
}

// late fails the test for something that also a sound program does on a host that
// stands still, unless this one has; the log then tells.
func (b *bed) late(format string, args ...any) {
	b.t.Helper()
	blame(b.t, b.stalled(), fmt.Sprintf(format, args...))
}

// blame is late for who knows how long the host stood still.
func blame(t testing.TB, stood time.Duration, what string) {
	t.Helper()
	if stood >= standstill {
		t.Logf("not judged, since the host stood still for %v: %s", stood, what)
		return
	}
	t.Error(what)
}
