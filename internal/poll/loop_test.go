// SPDX-License-Identifier: Apache-2.0

package poll

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// on makes a function a Handler.
type on func(Events)

func (f on) Ready(ev Events) { f(ev) }

func pipe(t testing.TB) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

// TestEventsBeforeTimers is the rule that keeps a stalled process from taking
// its own lateness for a dead peer.
func TestEventsBeforeTimers(t *testing.T) {
	clock := newManual()
	l := testLoop(t, clock.now)
	r, w := pipe(t)
	var order []string
	var timeout Timer
	timeout.E = call(func() { order = append(order, "timeout") })
	fd := int(r.Fd())
	err := l.Watch(fd, In, on(func(Events) {
		order = append(order, "answer")
		l.Stop(&timeout)
		l.Forget(fd)
	}))
	if err != nil {
		t.Fatal(err)
	}
	l.Arm(&timeout, time.Second)
	w.Write([]byte("x"))
	clock.advance(time.Minute) // the process stood still
	turn(t, l)
	if !slices.Equal(order, []string{"answer"}) {
		t.Errorf("after a stall the loop saw %v, want the answer and no timeout", order)
	}
}

// TestLate: a timer that is late by a stall is told once; one on time is not.
func TestLate(t *testing.T) {
	clock := newManual()
	l := testLoop(t, clock.now)
	var tm Timer
	tm.E = call(func() {})
	for _, late := range []time.Duration{0, 300 * time.Millisecond, 0} {
		l.Arm(&tm, time.Second)
		clock.advance(time.Second + late)
		turn(t, l)
		if got := l.Late(); got != late {
			t.Errorf("late by %v, want %v", got, late)
		}
	}
}

// TestDrain: more events than one epoll_wait takes are all seen before any
// timer.
func TestDrain(t *testing.T) {
	clock := newManual()
	l := testLoop(t, clock.now)
	const pipes = batch + 100
	seen, early := 0, 0
	for range pipes {
		r, w := pipe(t)
		fd := int(r.Fd())
		if err := l.Watch(fd, In, on(func(Events) { seen++; Read(fd, make([]byte, 1)) })); err != nil {
			t.Fatal(err)
		}
		w.Write([]byte("x"))
	}
	var tm Timer
	tm.E = call(func() { early = pipes - seen })
	l.Arm(&tm, tick)
	clock.advance(time.Second)
	turn(t, l)
	if seen != pipes || early != 0 {
		t.Errorf("%d of %d events seen, %d of them after the timer", seen, pipes, early)
	}
}

// TestStaleEvent: when a handler closes another's descriptor and the number is
// used again at once, the old event does not reach the new user.
func TestStaleEvent(t *testing.T) {
	l := testLoop(t, nil)
	var fds [2]*os.File
	for i := range fds {
		r, w := pipe(t)
		fds[i] = r
		w.Write([]byte("x"))
	}
	handled := 0
	for i := range fds {
		other := fds[1-i]
		err := l.Watch(int(fds[i].Fd()), In, on(func(Events) {
			handled++
			if handled > 1 {
				return
			}
			l.Forget(int(other.Fd()))
			number := int(other.Fd())
			other.Close()
			r, _ := pipe(t)
			// the very number, whatever the system would have given
			if int(r.Fd()) != number {
				if err := unix.Dup3(int(r.Fd()), number, unix.O_CLOEXEC); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { unix.Close(number) })
			}
			if err := l.Watch(number, In, on(func(Events) { t.Error("new user got the old event") })); err != nil {
				t.Fatal(err)
			}
		}))
		if err != nil {
			t.Fatal(err)
		}
	}
	turn(t, l)
	if handled != 1 {
		t.Errorf("%d handlers ran, want 1", handled)
	}
}

// TestPost: closures from many goroutines run on the loop, those of one
// goroutine in order.
func TestPost(t *testing.T) {
	l := testLoop(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	const senders, each = 8, 500
	got := make([][]int, senders)
	var all sync.WaitGroup
	for s := range senders {
		all.Go(func() {
			var last sync.WaitGroup
			last.Add(1)
			for i := range each {
				l.Post(func() {
					got[s] = append(got[s], i)
					if i == each-1 {
						last.Done()
					}
				})
			}
			last.Wait()
		})
	}
	all.Wait()
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for s := range got {
		if len(got[s]) != each || !slices.IsSorted(got[s]) {
			t.Errorf("sender %d: %d closures ran, in order: %v", s, len(got[s]), slices.IsSorted(got[s]))
		}
	}
	l.Close()
	if l.Post(func() {}) {
		t.Error("a closed loop took a closure")
	}
	if err := l.Close(); !errors.Is(err, ErrClosed) {
		t.Errorf("second Close says %v", err)
	}
}

// TestRealTimer: with the real clock a timer runs, and at its time.
func TestRealTimer(t *testing.T) {
	l := testLoop(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var tm Timer
	start := time.Now()
	tm.E = call(cancel)
	l.Arm(&tm, 30*time.Millisecond)
	if err := l.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(start); d < 30*time.Millisecond {
		t.Errorf("a timer of 30ms ran after %v", d)
	}
}

// TestAlarm: a loop that runs wakes for the next timer, also when an alarm for a
// later one is set, and when the one it was set for has been moved on and on.
func TestAlarm(t *testing.T) {
	l := testLoop(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	var order []string
	var early, late, moved Timer
	begin := time.Now()
	note := func(name string, least time.Duration) Expirer {
		return call(func() {
			if d := time.Since(begin); d < least {
				t.Errorf("%s after %v, want %v", name, d, least)
			}
			order = append(order, name)
		})
	}
	// Far enough apart that the second closure runs before any is due.
	const unit = 500 * time.Millisecond
	late.E, early.E = note("late", 3*unit), note("early", 2*unit)
	moved.E = call(func() { order = append(order, "moved"); cancel() })
	l.Post(func() {
		l.ArmAt(&late, begin.Add(3*unit))
		l.ArmAt(&moved, begin.Add(unit))
		l.Post(func() {
			l.ArmAt(&early, begin.Add(2*unit))
			l.ArmAt(&moved, begin.Add(4*unit))
		})
	})
	if err := l.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if want := []string{"early", "late", "moved"}; !slices.Equal(order, want) {
		t.Errorf("expired %v, want %v", order, want)
	}
	// One that is over already expires with the next tick.
	done := false
	early.E = call(func() { done = true })
	l.ArmAt(&early, begin)
	for !done {
		if err := l.Turn(time.Minute); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRelease: a socket that goes on to be used elsewhere wakes the loop no more.
func TestRelease(t *testing.T) {
	l, err := New(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[1])
	if err := l.Watch(pair[0], Out, ringing{}); err != nil {
		t.Fatal(err)
	}
	if n, err := l.take(); n != 1 || err != nil {
		t.Fatalf("%d events of a socket that can be written to, %v", n, err)
	}
	other, err := unix.Dup(pair[0])
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(other)
	if err := l.Release(pair[0]); err != nil {
		t.Fatal(err)
	}
	unix.Close(pair[0])
	if n, err := l.take(); n != 0 || err != nil {
		t.Errorf("%d events after it was given away, %v", n, err)
	}
}
