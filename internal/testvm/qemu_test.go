// SPDX-License-Identifier: Apache-2.0

package testvm

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// abandonVar makes TestHostAbandoned the process that abandons its guest, in that
// directory and in that way.
const abandonVar, abandonHow = "LVS_TESTVM_ABANDON", "LVS_TESTVM_HOW"

// TestHostAbandoned: a guest ends with the process that has started it, however that
// ends: as a test does at its time limit, by a panic, or by a signal.
func TestHostAbandoned(t *testing.T) {
	if dir := os.Getenv(abandonVar); dir != "" {
		abandon(dir, os.Getenv(abandonHow))
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, how := range []string{"panic", "exit", "kill", "quit"} {
		t.Run(how, func(t *testing.T) {
			dir := t.TempDir()
			// It stands for a guest that is deaf, and says who it is.
			guest := "#!/bin/sh\ntrap '' HUP INT QUIT PIPE TERM\necho $$\nexec sleep 100000\n"
			if err := os.WriteFile(filepath.Join(dir, "guest"), []byte(guest), 0o755); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestHostAbandoned$")
			cmd.Env = append(os.Environ(), abandonVar+"="+dir, abandonHow+"="+how)
			var complaint bytes.Buffer
			cmd.Stderr = &complaint
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(out).ReadString('\n')
			pid, errPid := strconv.Atoi(strings.TrimSpace(line))
			if err != nil || errPid != nil {
				t.Fatalf("the guest says %q, %v; %s", line, err, complaint.String())
			}
			fd, err := unix.PidfdOpen(pid, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd)
			defer unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
			if err := in.Close(); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err == nil {
				t.Error("the process that was to fail did not")
			}
			poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			for deadline := time.Now().Add(time.Minute); ; {
				n, err := unix.Poll(poll, int(time.Until(deadline)/time.Millisecond))
				if err == unix.EINTR {
					continue
				}
				if n != 1 || err != nil {
					t.Errorf("the guest runs on, %v", err)
				}
				return
			}
		})
	}
}

// abandon starts the guest in dir and ends when its standard input does.
func abandon(dir, how string) {
	m := machine{mode: Sanitized, kernel: filepath.Join(dir, "guest"), initrd: filepath.Join(dir, "initrd"), console: os.Stdout, results: io.Discard}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		switch how {
		case "panic":
			panic("as at a time limit")
		case "kill":
			_ = unix.Kill(os.Getpid(), unix.SIGKILL)
		case "quit":
			_ = unix.Kill(os.Getpid(), unix.SIGQUIT)
		}
		os.Exit(1)
	}()
	fmt.Fprintln(os.Stderr, m.run(context.Background()))
	os.Exit(1)
}
