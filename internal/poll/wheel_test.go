// SPDX-License-Identifier: Apache-2.0

package poll

import (
	"math/rand/v2"
	"testing"
	"time"
)

// manual is a clock that stands still until told.
type manual struct{ t time.Time }

func newManual() *manual { return &manual{time.Unix(1000, 0)} }

func (m *manual) now() time.Time          { return m.t }
func (m *manual) advance(d time.Duration) { m.t = m.t.Add(d) }

// call makes a function an Expirer.
type call func()

func (f call) Expire() { f() }

func testLoop(t testing.TB, clock func() time.Time) *Loop {
	t.Helper()
	l, err := New(clock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func turn(t testing.TB, l *Loop) {
	t.Helper()
	if err := l.Turn(0); err != nil {
		t.Fatal(err)
	}
}

// TestWheelRandom compares the wheel with the plain definition: a timer runs
// once, not before its time, and in the first turn after it.
func TestWheelRandom(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		clock := newManual()
		l := testLoop(t, clock.now)
		due := map[int]time.Time{} // what is armed
		timers := make([]Timer, 100)
		for i := range timers {
			timers[i].E = call(func() {
				want, ok := due[i]
				if !ok {
					t.Fatalf("seed %d: timer %d ran although not armed", seed, i)
				}
				if clock.now().Before(want) {
					t.Fatalf("seed %d: timer %d ran %v early", seed, i, want.Sub(clock.now()))
				}
				delete(due, i)
			})
		}
		for range 2000 {
			i := rnd.IntN(len(timers))
			switch rnd.IntN(4) {
			case 0, 1:
				d := time.Duration(rnd.Int64N(int64(3 * slots * tick)))
				l.Arm(&timers[i], d)
				due[i] = clock.now().Add(d)
			case 2:
				l.Stop(&timers[i])
				delete(due, i)
			}
			step := time.Duration(rnd.Int64N(int64(50 * tick)))
			if rnd.IntN(100) == 0 {
				step = time.Duration(rnd.Int64N(int64(3 * slots * tick)))
			}
			clock.advance(step)
			turn(t, l)
			for i, at := range due {
				// Rounding up to the tick, twice: arming and the clock's phase.
				if late := clock.now().Sub(at); late > 2*tick {
					t.Fatalf("seed %d: timer %d is %v late", seed, i, late)
				}
			}
		}
	}
}

// TestWheelOrder: timers of different times run in the order of their times,
// also when a stall has made all of them late.
func TestWheelOrder(t *testing.T) {
	clock := newManual()
	l := testLoop(t, clock.now)
	var got []int
	timers := make([]Timer, 50)
	for i := range timers {
		timers[i].E = call(func() { got = append(got, i) })
		l.Arm(&timers[i], time.Duration(100-i)*10*tick)
	}
	clock.advance(2 * time.Second)
	turn(t, l)
	if len(got) != len(timers) {
		t.Fatalf("%d of %d timers ran", len(got), len(timers))
	}
	for i, n := range got {
		if n != len(timers)-1-i {
			t.Fatalf("timers ran in the order %v", got)
		}
	}
}

// TestTurnIsBounded: a crowd of timers due together is worked off over
// several turns, and none is lost or run twice.
func TestTurnIsBounded(t *testing.T) {
	clock := newManual()
	l := testLoop(t, clock.now)
	if expiries > 500 {
		t.Fatalf("%d timers a turn are too many: answers wait behind them", expiries)
	}
	const crowd = 3*expiries + 10
	ran := 0
	timers := make([]Timer, crowd)
	for i := range timers {
		timers[i].E = call(func() { ran++ })
		l.Arm(&timers[i], 5*tick)
	}
	clock.advance(time.Hour)
	for want := expiries; ; want += expiries {
		turn(t, l)
		if ran != min(want, crowd) {
			t.Fatalf("%d timers ran after %d turns, want %d", ran, want/expiries, min(want, crowd))
		}
		if ran == crowd {
			break
		}
		if ms := l.timeout(time.Hour); ms != 0 {
			t.Fatalf("loop would sleep %d ms with timers due", ms)
		}
	}
	turn(t, l)
	if ran != crowd {
		t.Errorf("%d timers ran, %d were armed", ran, crowd)
	}
}

// TestTimerInHandler: a handler may arm its own timer, which does not run
// again in the same turn, and stop another that is due.
func TestTimerInHandler(t *testing.T) {
	clock := newManual()
	l := testLoop(t, clock.now)
	var self, other Timer
	ran, otherRan := 0, 0
	self.E = call(func() {
		ran++
		l.Stop(&other)
		l.Arm(&self, 0)
	})
	other.E = call(func() { otherRan++ })
	l.Arm(&self, tick)
	l.Arm(&other, tick)
	for want := 1; want < 4; want++ {
		clock.advance(2 * tick)
		turn(t, l)
		if ran != want || otherRan != 0 {
			t.Fatalf("turn %d: timer ran %d times, the stopped one %d times", want, ran, otherRan)
		}
	}
}

// TestIdleLoopSleeps: without timers the loop waits for ever, with one not
// longer than it has to run, and not in a busy loop.
func TestIdleLoopSleeps(t *testing.T) {
	clock := newManual()
	l := testLoop(t, clock.now)
	if ms := l.timeout(1<<63 - 1); ms != -1 {
		t.Errorf("loop without timers waits %d ms, want for ever", ms)
	}
	var tm Timer
	tm.E = call(func() {})
	for _, d := range []time.Duration{3 * time.Millisecond, 700 * time.Millisecond, 20 * time.Second} {
		l.Arm(&tm, d)
		ms := time.Duration(l.timeout(1<<63-1)) * time.Millisecond
		if ms > d || ms < min(d, slots*tick/2) {
			t.Errorf("with %v to go the loop waits %v", d, ms)
		}
		if got := l.Remaining(&tm); got < d || got > d+tick {
			t.Errorf("remaining %v, want %v", got, d)
		}
	}
	l.Stop(&tm)
	if got := l.Remaining(&tm); got != 0 {
		t.Errorf("a stopped timer has %v remaining", got)
	}
}

// BenchmarkTimer arms and moves timers among 100,000.
func BenchmarkTimer(b *testing.B) {
	clock := newManual()
	l := testLoop(b, clock.now)
	timers := make([]Timer, 100_000)
	e := call(func() {})
	for i := range timers {
		timers[i].E = e
		l.Arm(&timers[i], time.Duration(i)*tick)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		l.Arm(&timers[i%len(timers)], time.Duration(i%60_000)*tick)
		i++
	}
}

// TestTimerAllocatesNothing, neither armed nor run.
func TestTimerAllocatesNothing(t *testing.T) {
	clock := newManual()
	l := testLoop(t, clock.now)
	var tm Timer
	tm.E = call(func() {})
	n := testing.AllocsPerRun(100, func() {
		l.Arm(&tm, tick)
		clock.advance(3 * tick)
		turn(t, l)
	})
	if n != 0 || tm.Armed() {
		t.Errorf("%v allocations for each timer, armed %v; want 0, false", n, tm.Armed())
	}
}
