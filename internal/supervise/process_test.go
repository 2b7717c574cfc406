// SPDX-License-Identifier: Apache-2.0

package supervise

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// player is what a child does in these tests.
func player(name string, conn *Conn) int {
	switch name {
	case "echo": // says what it has inherited, then what it hears
		ns, err := os.Readlink("/proc/self/ns/net")
		if err != nil {
			return 8
		}
		data, err := ChildData()
		if err != nil {
			return 8
		}
		_, marked := os.LookupEnv(childName)
		_, service := os.LookupEnv("NOTIFY_SOCKET")
		_, detached := os.LookupEnv(background)
		if conn.Send(Message{Verb: VerbUp, Text: fmt.Sprint(name, " ", ns, " ", marked || service || detached), Data: data[:min(len(data), 10)]}) != nil {
			return 8
		}
		for {
			m, err := conn.Receive()
			if errors.Is(err, io.EOF) {
				return 3
			}
			if err != nil || conn.Send(m) != nil {
				return 8
			}
		}
	case "tune":
		t := Tuning{Name: "tuned", Nice: 7, CPUs: []int{0}, RTLimit: time.Second}
		err := t.Apply()
		comm, _ := os.ReadFile("/proc/self/comm")
		said := fmt.Sprintf("%v %s", err, strings.TrimSpace(string(comm)))
		tasks, _ := os.ReadDir("/proc/self/task")
		for _, task := range tasks {
			var tid int
			fmt.Sscan(task.Name(), &tid)
			nice, _ := unix.Getpriority(unix.PRIO_PROCESS, tid) // 20 less the value
			var set unix.CPUSet
			err := unix.SchedGetaffinity(tid, &set)
			if nice != 13 || err != nil || set.Count() != 1 || !set.IsSet(0) {
				said += fmt.Sprintf("; thread %d: nice %d, %d CPUs, %v", tid, 20-nice, set.Count(), err)
			}
		}
		if conn.Send(Message{Verb: VerbUp, Text: said}) != nil {
			return 8
		}
		return 0
	case "sleep":
		time.Sleep(time.Minute)
	}
	return 9
}

func start(t *testing.T, s Spec) *Process {
	t.Helper()
	p, err := Start(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func receive(t *testing.T, c *Conn) Message {
	t.Helper()
	m, err := c.Receive()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestChild(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "/nowhere")
	p := start(t, Spec{Name: "echo", Data: bytes.Repeat([]byte("0123456789"), 1<<16)})
	ns, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	if m := receive(t, p.Conn()); m.Verb != VerbUp || string(m.Data) != "0123456789" || m.Text != "echo "+ns+" false" {
		t.Errorf("the child says %+v", m)
	}
	for _, want := range []Message{{Verb: VerbKept, Text: "line\nline"}, {Verb: VerbRelay, To: "x", Data: make([]byte, 40<<10)}} {
		if err := p.Conn().Send(want); err != nil {
			t.Fatal(err)
		}
		if got := receive(t, p.Conn()); got.Verb != want.Verb || got.Text != want.Text || got.To != want.To || len(got.Data) != len(want.Data) {
			t.Errorf("echo of %s: %s %q %q, %d bytes", want.Verb, got.Verb, got.Text, got.To, len(got.Data))
		}
	}
	if err := p.Conn().Send(Message{Data: make([]byte, MaxMessage)}); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("a message too long: %v", err)
	}
	// The end of the parent is the end of the stream.
	if err := p.Conn().Close(); err != nil {
		t.Fatal(err)
	}
	if x := p.Wait(); x != (Exit{Code: 3}) {
		t.Errorf("the child ended with %+v", x)
	}
	if err := p.Signal(syscall.SIGHUP); err != nil {
		t.Errorf("signal to a child that is gone: %v", err)
	}
}

func TestChildKilled(t *testing.T) {
	p := start(t, Spec{Name: "sleep"})
	if err := p.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Conn().Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("the socket of a killed child: %v", err)
	}
	if x := p.Wait(); x.Signal != syscall.SIGKILL {
		t.Errorf("ended with %+v", x)
	}
	if err := p.Conn().Close(); err != nil {
		t.Error(err)
	}
}

// TestNetnsChild: the child is in the namespace, this process is not.
func TestNetnsChild(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("making a network namespace needs root")
	}
	file := filepath.Join(t.TempDir(), "ns")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	made := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open("/proc/thread-self/ns/net")
		if err == nil {
			defer home.Close()
			err = unix.Unshare(unix.CLONE_NEWNET)
		}
		if err == nil {
			err = errors.Join(
				unix.Mount(fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid()), file, "", unix.MS_BIND, ""),
				unix.Setns(int(home.Fd()), unix.CLONE_NEWNET))
		}
		if err == nil {
			runtime.UnlockOSThread()
		}
		made <- err
	}()
	if err := <-made; err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(file, unix.MNT_DETACH)
	before, _ := os.Readlink("/proc/thread-self/ns/net")
	p := start(t, Spec{Name: "echo", NetNS: file})
	_, there, _ := strings.Cut(receive(t, p.Conn()).Text, " ")
	if strings.HasPrefix(there, before) {
		t.Errorf("the child is in this process's namespace, %s", there)
	}
	if err := p.Conn().Close(); err != nil {
		t.Fatal(err)
	}
	p.Wait()
	if after, _ := os.Readlink("/proc/thread-self/ns/net"); after != before {
		t.Errorf("this process has moved from %s to %s", before, after)
	}
	if _, err := Start(Spec{Name: "echo", NetNS: file + ".gone"}); err == nil || !strings.Contains(err.Error(), "network namespace") {
		t.Errorf("a namespace that is not there: %v", err)
	}
}

// TestTuning: every thread of the process is as it should be.
func TestTuning(t *testing.T) {
	p := start(t, Spec{Name: "tune"})
	if m := receive(t, p.Conn()); m.Text != "<nil> tuned" {
		t.Errorf("the child says %s", m.Text)
	}
	p.Wait()
	if err := p.Conn().Close(); err != nil {
		t.Error(err)
	}
}

func TestRestart(t *testing.T) {
	var r Restart
	now := time.Unix(1e9, 0)
	var got []time.Duration
	for range 9 {
		r.Started(now)
		now = now.Add(time.Second)
		d := r.Delay(now)
		got = append(got, d/time.Second)
		now = now.Add(d)
	}
	if s := fmt.Sprint(got); s != "[0s 1ns 2ns 4ns 8ns 16ns 32ns 60ns 60ns]" {
		t.Errorf("pauses: %s", s)
	}
	r.Started(now)
	if d := r.Delay(now.Add(91 * time.Second)); d != 0 {
		t.Errorf("after a long life: %v", d)
	}
}

// TestWaitPIDFile: who comes second gets the file when the first is gone, or
// gives up.
func TestWaitPIDFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pid")
	first, err := CreatePIDFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := WaitPIDFile(t.Context(), path, 50*time.Millisecond); !errors.Is(err, ErrRunning) {
		t.Errorf("a file that stays: %v", err)
	}
	got := make(chan error, 1)
	go func() {
		p, err := WaitPIDFile(t.Context(), path, time.Minute)
		if err == nil {
			_, err = os.Stat(path)
			err = errors.Join(err, p.Remove())
		}
		got <- err
	}()
	select {
	case err := <-got:
		t.Fatalf("did not wait: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	if err := first.Remove(); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Errorf("the second: %v", err)
	}
}
