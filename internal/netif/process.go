// SPDX-License-Identifier: Apache-2.0

package netif

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// ProcessChange is what has happened to a process (linux/cn_proc.h, PROC_EVENT_*).
type ProcessChange uint32

// Changes of processes.
const (
	ProcessFork   ProcessChange = 0x00000001
	ProcessExec   ProcessChange = 0x00000002
	ProcessRename ProcessChange = 0x00000200
	ProcessExit   ProcessChange = 0x80000000

	processAck ProcessChange = 0
)

// ProcessEvent is one change. Threads are no processes.
type ProcessEvent struct {
	Change ProcessChange
	PID    int // of the child, with ProcessFork
	Parent int // with ProcessFork
}

// ProcessWatcher hands out the events of all processes of the host.
type ProcessWatcher struct {
	f  *os.File
	wg sync.WaitGroup
}

// connector is the index and the value of process events, and listen what starts
// them (linux/connector.h, linux/cn_proc.h).
const (
	connectorIndex = 1
	connectorValue = 1
	connectorStart = 1
)

// ErrNoProcessEvents says that the kernel tells this process of no others: it was
// built without, or this is not the first namespace of processes.
var ErrNoProcessEvents = errors.New("the kernel tells of no processes here")

// WatchProcesses calls post with each event, from one goroutine of its own. When the
// kernel has dropped events, lost is called by it. buffer is the size in bytes of what the
// kernel may hold back, 0 for its default; force takes more than the host's limit. The
// kernel tells of processes in the first network namespace alone; the socket is opened there.
func WatchProcesses(buffer int, force bool, post func(ProcessEvent), lost func(error)) (*ProcessWatcher, error) {
	fd, err := connect()
	if errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.EPROTONOSUPPORT) {
		fd, err = connectFirst()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoProcessEvents, err)
	}
	if buffer > 0 {
		option := unix.SO_RCVBUF
		if force {
			option = unix.SO_RCVBUFFORCE
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, buffer); err != nil {
			return nil, errors.Join(fmt.Errorf("buffer of process events: %w", err), unix.Close(fd))
		}
	}
	w := &ProcessWatcher{f: os.NewFile(uintptr(fd), "process events")}
	w.wg.Go(func() { w.receive(post, lost) })
	return w, nil
}

// connect opens the socket and asks for events. The kernel's answer is there when the
// request has been sent.
func connect() (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_CONNECTOR)
	if err != nil {
		return -1, err
	}
	if err := listenProcesses(fd); err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

func listenProcesses(fd int) error {
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (connectorIndex - 1)}); err != nil {
		return err
	}
	const length = connectorHead + 4
	var b []byte
	for _, word := range []uint32{length, unix.NLMSG_DONE, 0, 0, connectorIndex, connectorValue, 0, 0, 4, connectorStart} {
		b = binary.NativeEndian.AppendUint32(b, word) // two halves of the third to last are a length and no flags
	}
	if err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	buf := make([]byte, unix.Getpagesize())
	for {
		n, _, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return unix.EOPNOTSUPP
		case err != nil:
			return err
		default:
			if change, _, ok := parseProcess(buf[:n]); ok && change == processAck {
				return nil
			}
		}
	}
}

// connectFirst is connect in the network namespace of the first process.
func connectFirst() (fd int, err error) {
	var wg sync.WaitGroup
	wg.Go(func() {
		// A thread that has not come back ends with its goroutine.
		runtime.LockOSThread()
		var here, first *os.File
		if here, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return
		}
		defer here.Close()
		if first, err = os.Open("/proc/1/ns/net"); err != nil {
			return
		}
		defer first.Close()
		if err = unix.Setns(int(first.Fd()), unix.CLONE_NEWNET); err != nil {
			return
		}
		fd, err = connect()
		if unix.Setns(int(here.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	})
	wg.Wait()
	return fd, err
}

// Sizes of the headers in front of an event: netlink's, the connector's, and the event's
// own, which begins with the kind.
const (
	connectorHead = unix.SizeofNlMsghdr + 20
	processHead   = connectorHead + 16
)

// parseProcess reads a packet that holds one event. ok says that it does; event is nil
// for those that are of no interest.
func parseProcess(b []byte) (change ProcessChange, event *ProcessEvent, ok bool) {
	if len(b) < processHead || binary.NativeEndian.Uint32(b[unix.SizeofNlMsghdr:]) != connectorIndex {
		return 0, nil, false
	}
	change = ProcessChange(binary.NativeEndian.Uint32(b[connectorHead:]))
	word := func(i int) int {
		if at := processHead + 4*i; at+4 <= len(b) {
			return int(binary.NativeEndian.Uint32(b[at:]))
		}
		return 0
	}
	switch change {
	case ProcessFork: // parent's pid and tgid, child's pid and tgid
		if word(2) == word(3) {
			event = &ProcessEvent{Change: change, PID: word(3), Parent: word(1)}
		}
	case ProcessExec, ProcessRename, ProcessExit: // pid and tgid
		if word(0) == word(1) {
			event = &ProcessEvent{Change: change, PID: word(1)}
		}
	}
	return change, event, true
}

func (w *ProcessWatcher) receive(post func(ProcessEvent), lost func(error)) {
	buf := make([]byte, unix.Getpagesize())
	for {
		n, err := w.f.Read(buf)
		switch {
		case errors.Is(err, unix.ENOBUFS):
			lost(err)
			continue
		case err != nil:
			return // closed
		}
		if _, event, ok := parseProcess(buf[:n]); ok && event != nil {
			post(*event)
		}
	}
}

// Close ends the watch and waits for its goroutine.
func (w *ProcessWatcher) Close() error {
	err := w.f.Close()
	w.wg.Wait()
	return err
}
