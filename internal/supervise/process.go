// SPDX-License-Identifier: Apache-2.0

package supervise

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// childName marks a process that Start has made. Its value is the child's name;
// the socket to the parent is descriptor childFD.
const (
	childName = "KEEPALIVED_CHILD"
	childData = "KEEPALIVED_CHILD_DATA"
	childFD   = 3
	// dataFD is a file with the data of Spec, if it has any.
	dataFD = 4
)

// Spec says what Start starts.
type Spec struct {
	// Name is what the child finds as its name, such as "checkers".
	Name string
	// NetNS is the network namespace to start it in, a file such as
	// /run/netns/blue; empty is that of this process.
	NetNS string
	// Data is what the child finds by [ChildData], of any length.
	Data []byte
}

// Process is a running child.
type Process struct {
	cmd  *exec.Cmd
	conn *Conn
}

// Start runs this program once more as a child, with the same arguments.
func Start(s Spec) (*Process, error) {
	conn, far, err := Pair()
	if err != nil {
		return nil, err
	}
	defer far.Close()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	// The child is nobody's background and no service of its own.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(kv string) bool {
		return strings.HasPrefix(kv, background+"=") || strings.HasPrefix(kv, "NOTIFY_SOCKET=")
	})
	cmd.Env = append(cmd.Env, childName+"="+s.Name)
	cmd.ExtraFiles = []*os.File{far}
	if len(s.Data) > 0 {
		f, err := memoryFile(s.Data)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("start %s: %w", s.Name, err), conn.Close())
		}
		defer f.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
		cmd.Env = append(cmd.Env, childData+"=1")
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := StartIn(s.NetNS, cmd); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", s.Name, err), conn.Close())
	}
	return &Process{cmd, conn}, nil
}

// memoryFile is a file without a name that holds p, at its beginning.
func memoryFile(p []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("keepalived", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), "data")
	_, err = f.Write(p)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// ChildData is the Data that this process was started with, nil without any. Only
// the first call says so.
func ChildData() ([]byte, error) {
	if _, ok := os.LookupEnv(childData); !ok {
		return nil, nil
	}
	f := os.NewFile(dataFD, "data")
	st, err := f.Stat()
	var p []byte
	if err == nil {
		p = make([]byte, st.Size()) // it can be large
		_, err = io.ReadFull(f, p)
	}
	return p, errors.Join(err, f.Close(), os.Unsetenv(childData))
}

// StartIn starts cmd in a network namespace, a file; "" is that of this process. It does so
// from a thread that is there: a process begins in the namespace of the thread that makes
// it, and has no thread in any other.
func StartIn(ns string, cmd *exec.Cmd) error {
	if ns == "" {
		return cmd.Start()
	}
	to, err := os.Open(ns)
	if err != nil {
		return fmt.Errorf("network namespace: %w", err)
	}
	defer to.Close()
	// The thread is nobody else's until it is back. If it cannot go back it stays
	// with this goroutine and ends with it.
	failed := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			runtime.UnlockOSThread()
			failed <- err
			return
		}
		defer home.Close()
		if err := unix.Setns(int(to.Fd()), unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread() // it never left
			failed <- fmt.Errorf("enter network namespace %s: %w", ns, err)
			return
		}
		err = cmd.Start()
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		failed <- err
	}()
	return <-failed
}

// Enter moves the calling goroutine into a network namespace, a file; "" is the one
// it is in. It stays on a thread of its own, and what it starts begins elsewhere: for
// commands that do one thing and end.
func Enter(ns string) error {
	runtime.LockOSThread()
	if ns == "" {
		return nil
	}
	to, err := os.Open(ns)
	if err != nil {
		return fmt.Errorf("network namespace: %w", err)
	}
	defer to.Close()
	if err := unix.Setns(int(to.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace %s: %w", ns, err)
	}
	return nil
}

// Pid is the child's number.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Conn is the socket to the child. The caller closes it after Wait.
func (p *Process) Conn() *Conn { return p.conn }

// Signal sends sig; a child that has ended is no error.
func (p *Process) Signal(sig os.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %d: %w", p.Pid(), err)
	}
	return nil
}

// Wait returns how the child has ended, once it has.
func (p *Process) Wait() Exit {
	// How it ended is in the state; that it failed is no failure to wait.
	_ = p.cmd.Wait()
	st, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ok && st.Signaled() {
		return Exit{Code: -1, Signal: st.Signal()}
	}
	return Exit{Code: p.cmd.ProcessState.ExitCode()}
}

// Exit is how a process ended: by Signal, unless that is 0, or else with Code.
type Exit struct {
	Code   int
	Signal syscall.Signal
}

// Child tells whether this process was made by Start, and if so its name and its
// socket to the parent. Commands that it runs do not inherit either. Only the
// first call says so.
func Child() (name string, conn *Conn, ok bool, err error) {
	name, ok = os.LookupEnv(childName)
	if !ok {
		return "", nil, false, nil
	}
	unix.CloseOnExec(childFD)
	conn, err = NewConn(os.NewFile(childFD, "parent"))
	return name, conn, true, errors.Join(err, os.Unsetenv(childName))
}
