// SPDX-License-Identifier: Apache-2.0

package poll

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Events is a set of readiness conditions, in epoll's numbers
// (linux/eventpoll.h).
type Events uint32

// Conditions to wait for. Error and Hangup are always reported.
const (
	In     Events = unix.EPOLLIN
	Out    Events = unix.EPOLLOUT
	Error  Events = unix.EPOLLERR
	Hangup Events = unix.EPOLLHUP
)

// Handler is told when a descriptor it watches is ready.
type Handler interface {
	// Ready runs on the loop's goroutine. Readiness is level triggered.
	Ready(Events)
}

// Limits of one turn.
const (
	// expiries bounds how many timers run before events are looked at again:
	// each may start a check, and the answers to the first should not wait
	// for the last to be sent.
	expiries = 256
	// batch is how many events one epoll_wait takes.
	batch = 512
	// drains bounds how often one turn asks for more events, so that a flood
	// of them cannot keep timers from running for ever.
	drains = 64
)

// ErrClosed is the answer of a loop that has been closed.
var ErrClosed = errors.New("poll: loop is closed")

// Loop waits for descriptors and timers. Make one with [New]. Only [Loop.Post]
// and [Loop.Late] may be called from any goroutine; all other methods belong to the goroutine
// in [Loop.Run], or to the only user of a loop that does not run.
type Loop struct {
	ep, wake int
	// file is ep, which the runtime watches for Run; conn and look are made of it once.
	file   *os.File
	conn   syscall.RawConn
	look   func(uintptr) bool
	taken  int   // by look
	failed error // likewise
	// alarm is a timerfd in ep, set to go off at the tick due; 0 is never.
	alarm  int
	due    int64
	clock  func() time.Time
	start  time.Time
	now    time.Time
	wheel  wheel
	files  []file // indexed by descriptor
	gen    int32
	events [batch]unix.EpollEvent

	late atomic.Int64 // see Late, in ticks

	mu     sync.Mutex // guards posted, spare, closed
	posted []func()
	spare  []func()
	closed bool
}

// file is who watches a descriptor. gen tells this use of the number from
// earlier ones, whose events may still lie in a batch being worked off.
type file struct {
	h   Handler
	gen int32
}

// New makes a loop. clock is read once or twice a turn and must not go
// backwards; nil means time.Now. The caller must Close the loop.
func New(clock func() time.Time) (*Loop, error) {
	if clock == nil {
		clock = time.Now
	}
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(ep)
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	alarm, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("timerfd_create: %w", err), unix.Close(wake), unix.Close(ep))
	}
	l := &Loop{ep: ep, wake: wake, alarm: alarm, clock: clock, start: clock()}
	err = unix.SetNonblock(ep, true)
	l.file = os.NewFile(uintptr(ep), "epoll")
	if err == nil {
		l.conn, err = l.file.SyscallConn()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("epoll: %w", err), l.Close())
	}
	l.look = func(uintptr) bool {
		l.taken, l.failed = l.take()
		return l.taken != 0 || l.failed != nil
	}
	l.now = l.start
	l.wheel.init()
	// By edges: setting it again is all that it needs.
	if err := errors.Join(l.Watch(wake, In, (*waker)(l)), l.Watch(alarm, In|unix.EPOLLET, ringing{})); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Close releases the loop's own descriptors. Call it after Run has returned;
// closures posted but not run are dropped. Watched descriptors stay open.
func (l *Loop) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ErrClosed
	}
	l.closed, l.posted = true, nil
	return errors.Join(unix.Close(l.alarm), unix.Close(l.wake), l.file.Close())
}

// Run turns the loop until ctx ends, which is not an error.
//
// It waits in the poller of Go's runtime, and not in a system call of its own:
// a loop that wakes thousands of times a second from one would keep the
// runtime's monitor awake, which costs more than the loop's own work.
func (l *Loop) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { l.Post(func() {}) })
	defer stop()
	for ctx.Err() == nil {
		if err := l.await(); err != nil {
			return err
		}
	}
	return nil
}

// await is a turn that waits for as long as there is nothing to do.
func (l *Loop) await() error {
	if err := l.setAlarm(); err != nil {
		return err
	}
	err := l.conn.Read(l.look)
	if err = errors.Join(err, l.failed); err != nil {
		return fmt.Errorf("epoll_wait: %w", err)
	}
	n := l.taken
	for i := 0; ; i++ {
		l.now = l.clock()
		l.dispatch(l.events[:n])
		if n < batch || i == drains {
			break
		}
		if n, err = l.take(); err != nil {
			return fmt.Errorf("epoll_wait: %w", err)
		}
	}
	l.expire()
	return nil
}

// take reads what events there are, without waiting. It does not tell the runtime
// of the system call, which is over before that would be.
func (l *Loop) take() (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(l.ep), uintptr(unsafe.Pointer(&l.events)), batch, 0, 0, 0)
	if errno == unix.EINTR {
		return 0, nil
	}
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// setAlarm has the loop wake for its next timer. An alarm that is set for an
// earlier time is left alone: timers that are moved on and on, as those of
// whoever watches a peer, then cost no system call.
func (l *Loop) setAlarm() error {
	now := l.ticks(l.clock())
	wait := l.wheel.wait(now)
	if wait == math.MaxInt64 || l.due > now && l.due <= now+wait {
		return nil
	}
	l.due = now + wait
	at := unix.ItimerSpec{Value: unix.NsecToTimespec(max(1, l.due*int64(tick)-int64(l.clock().Sub(l.start))))}
	if _, _, errno := unix.RawSyscall6(unix.SYS_TIMERFD_SETTIME, uintptr(l.alarm), 0, uintptr(unsafe.Pointer(&at)), 0, 0, 0); errno != 0 {
		return fmt.Errorf("timerfd_settime: %w", errno)
	}
	return nil
}

// ringing is the handler of the alarm: every turn looks at the timers.
type ringing struct{}

// Ready has nothing to do.
func (ringing) Ready(Events) {}

// Post has f run on the loop's goroutine, after everything posted before it.
// It never blocks and may be called from any goroutine, also before Run. It
// reports false, and f will not run, when the loop is closed.
func (l *Loop) Post(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.posted = append(l.posted, f)
	if len(l.posted) == 1 {
		// The counter of an eventfd cannot overflow here: it is written only
		// when the queue was empty.
		one := [8]byte{1}
		unix.Write(l.wake, one[:])
	}
	return true
}

// Do runs f on the loop's goroutine and waits for it; an error that is not f's says
// that the loop is closed or ctx has ended. Not for that goroutine itself.
func (l *Loop) Do(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	if !l.Post(func() { done <- f() }) {
		return ErrClosed
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Drain runs what has been posted and not run, once Run has returned.
func (l *Loop) Drain() { (*waker)(l).Ready(In) }

// Now is the time of this turn, fresh enough for scheduling.
func (l *Loop) Now() time.Time { return l.now }

// Arm has t expire after d, rounded up to a millisecond and at least one. An
// armed timer is moved.
func (l *Loop) Arm(t *Timer, d time.Duration) {
	if t.Armed() {
		l.wheel.remove(t)
	}
	// From the clock and not from Now: a turn may be long, and a timeout must
	// not begin before what it guards.
	l.wheel.add(t, int64((l.clock().Sub(l.start)+max(d, 1)+tick-1)/tick))
}

// ArmAt has t expire at a time of the loop's clock, rounded as by [Loop.Arm];
// with the next tick when that is over. It does not ask the clock.
func (l *Loop) ArmAt(t *Timer, at time.Time) {
	if t.Armed() {
		l.wheel.remove(t)
	}
	l.wheel.add(t, max(l.wheel.pos, int64((at.Sub(l.start)+tick-1)/tick)))
}

// Stop disarms t; a timer that is not armed stays so.
func (l *Loop) Stop(t *Timer) {
	if t.Armed() {
		l.wheel.remove(t)
	}
}

// Remaining is how long t has still to run, or zero when it is not armed.
func (l *Loop) Remaining(t *Timer) time.Duration {
	if !t.Armed() {
		return 0
	}
	return max(0, time.Duration(t.due)*tick-l.now.Sub(l.start))
}

// Watch has h told when fd is ready. A descriptor has one handler at a time.
func (l *Loop) Watch(fd int, ev Events, h Handler) error {
	for fd >= len(l.files) {
		l.files = append(l.files, make([]file, max(64, len(l.files)))...)
	}
	l.gen++
	e := unix.EpollEvent{Events: uint32(ev), Fd: int32(fd), Pad: l.gen}
	if err := unix.EpollCtl(l.ep, unix.EPOLL_CTL_ADD, fd, &e); err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	l.files[fd] = file{h, l.gen}
	return nil
}

// Rewatch changes the conditions that fd is watched for.
func (l *Loop) Rewatch(fd int, ev Events) error {
	e := unix.EpollEvent{Events: uint32(ev), Fd: int32(fd), Pad: l.files[fd].gen}
	if err := unix.EpollCtl(l.ep, unix.EPOLL_CTL_MOD, fd, &e); err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	return nil
}

// Forget ends the watch of fd; its handler hears no more, not even of events
// already taken from the kernel. The caller must close fd right after: that
// is what takes it out of the kernel's set.
func (l *Loop) Forget(fd int) { l.files[fd] = file{} }

// Release is Forget for a descriptor that goes on to be used, by this or another number:
// the kernel would go on to tell the loop that it is ready, at once and for ever.
func (l *Loop) Release(fd int) error {
	l.Forget(fd)
	if err := unix.EpollCtl(l.ep, unix.EPOLL_CTL_DEL, fd, nil); err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	return nil
}

// Turn waits for something to do, at most for the given time, and does it:
// first all events and posted closures, then timers. Run calls it; a test
// with its own clock may, with zero.
func (l *Loop) Turn(atMost time.Duration) error {
	wait := l.timeout(atMost)
	for i := range drains {
		n, err := unix.EpollWait(l.ep, l.events[:], wait)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("epoll_wait: %w", err)
		}
		if i == 0 || n > 0 {
			l.now = l.clock()
		}
		l.dispatch(l.events[:max(n, 0)])
		if n < batch {
			break
		}
		wait = 0
	}
	l.expire()
	return nil
}

// expire works off the timers that are due, and notes how late they were.
func (l *Loop) expire() {
	l.wheel.advance(l.ticks(l.now), expiries)
	if late := l.wheel.late; late > l.late.Load() {
		l.late.Store(late)
	}
	l.wheel.late = 0
}

// Late gives by how much a timer was late at most since it was last asked,
// because the loop was busy or not given a processor; in whole milliseconds. It
// may be called from any goroutine.
func (l *Loop) Late() time.Duration { return time.Duration(l.late.Swap(0)) * tick }

// timeout is what epoll_wait should wait, in milliseconds, -1 for ever.
func (l *Loop) timeout(atMost time.Duration) int {
	ms := l.wheel.wait(l.ticks(l.clock()))
	// Rounded up: a wait that ends early would spin until the tick is over.
	most := int64(math.MaxInt64)
	if atMost < math.MaxInt64 {
		most = int64((atMost + tick - 1) / tick)
	}
	ms = min(ms, most)
	if ms == math.MaxInt64 {
		return -1
	}
	return int(min(ms, math.MaxInt32))
}

func (l *Loop) ticks(t time.Time) int64 { return int64(t.Sub(l.start) / tick) }

func (l *Loop) dispatch(events []unix.EpollEvent) {
	for i := range events {
		e := &events[i]
		if f := l.files[e.Fd]; f.h != nil && f.gen == e.Pad {
			f.h.Ready(Events(e.Events))
		}
	}
}

// waker is the loop as the handler of its own eventfd.
type waker Loop

// Ready runs what has been posted.
func (w *waker) Ready(Events) {
	l := (*Loop)(w)
	var buf [8]byte
	l.mu.Lock()
	// Read under the lock, so that the next Post sees an empty queue and
	// writes again.
	unix.Read(l.wake, buf[:])
	work := l.posted
	l.posted, l.spare = l.spare[:0], nil
	l.mu.Unlock()
	for _, f := range work {
		f()
	}
	clear(work)
	l.mu.Lock()
	l.spare = work[:0]
	l.mu.Unlock()
}

// Pending asks the kernel which of the conditions hold for fd right now. A
// handler whose time has run out calls it before it believes that the peer
// did not answer: the answer may have come after this turn took its events.
func Pending(fd int, ev Events) Events {
	p := [1]unix.PollFd{{Fd: int32(fd), Events: int16(ev)}}
	if n, err := unix.Poll(p[:], 0); err != nil || n == 0 {
		return 0
	}
	// poll and epoll share the numbers of the conditions used here.
	return Events(uint16(p[0].Revents))
}
