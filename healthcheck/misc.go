// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"syscall"
	"time"
)

// Misc is what a MISC_CHECK runs.
type Misc struct {
	// Args are the command and its arguments; no shell is between.
	Args []string
	// Shell is what /bin/sh runs in place of Args, which then stand in messages alone.
	Shell string
	// User and Group are whom to run it as; see [Options.Credential].
	User, Group string
	// Dynamic has an exit status of 2 to 255 mean that the server is up with
	// the weight of the status less 2.
	Dynamic bool
}

func (m *Misc) validate() error {
	if m == nil || len(m.Args) == 0 || m.Args[0] == "" {
		return errors.New("no command: give misc_path")
	}
	return nil
}

// killAfter is how long a command that was asked to end may take over it.
const killAfter = 2 * time.Second

// command is one run of a MISC_CHECK, in the words of one moment of the loop.
type command struct {
	*Misc
	timeout    time.Duration
	credential func(*Misc) (*syscall.Credential, error)
}

// run runs the command and judges it, in a goroutine of the pool.
func (m command) run(ctx context.Context) result {
	if err := ctx.Err(); err != nil {
		return result{local: err}
	}
	cmd := exec.Command(m.Args[0], m.Args[1:]...)
	if m.Shell != "" {
		cmd = exec.Command("/bin/sh", "-c", m.Shell)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if m.credential != nil {
		cred, err := m.credential(m.Misc)
		if err != nil {
			return missed("failed", fmt.Sprintf(": %v", err))
		}
		cmd.SysProcAttr.Credential = cred
	}
	if err := cmd.Start(); err != nil {
		if exhausted(err) {
			return result{local: err}
		}
		if barred(err) {
			return unasked(err)
		}
		return missed("failed", fmt.Sprintf(": %v", err))
	}
	if !finishInTime(ctx, cmd, m.timeout) {
		return missed("timed out", "")
	}
	return m.judge(cmd.ProcessState.ExitCode())
}

// exhausted tells the errors of a host that can start nothing now.
func exhausted(err error) bool {
	for _, e := range []error{syscall.EAGAIN, syscall.ENOMEM, syscall.EMFILE, syscall.ENFILE} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// barred tells the errors of a program that cannot be run. It has found nothing ill, and
// takes no server down, as with the original.
func barred(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, exec.ErrNotFound) || errors.Is(err, syscall.ENOEXEC)
}

// notFound is the exit status of a shell that has not found a command.
const notFound = 127

// judge takes an exit status, -1 for an end by a signal.
func (m *Misc) judge(status int) result {
	switch {
	case status == 0:
		return passed()
	case m.Shell != "" && status == notFound:
		return unasked(errors.New("the shell has not found a command"))
	case m.Dynamic && status >= 2:
		return result{ok: true, weight: status - 2}
	}
	if status < 0 {
		return missed("failed", " (ended by a signal)")
	}
	return missed("failed", fmt.Sprintf(" (exited with status %d)", status))
}

// unasked is the result of a command that could not be run, and so has nothing against the server.
func unasked(err error) result {
	r := passed()
	r.unasked = err
	return r
}

// missed is the result of a command that found the server ill, or nothing.
func missed(what, why string) result {
	r := failed(func(t *Target) string { return msgMisc(t, what, "", why) })
	r.down = func(t *Target, retries uint32) string { return msgMisc(t, what, afterRetries(t, retries), why) }
	return r
}

// finishInTime waits for the end of cmd, which it forces, together with that of
// its process group, when the time is over or ctx ends.
func finishInTime(ctx context.Context, cmd *exec.Cmd, limit time.Duration) bool {
	done := make(chan struct{})
	go func() {
		// How it ended is in cmd.ProcessState.
		_ = cmd.Wait()
		close(done)
	}()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	select {
	case <-done:
		return true
	case <-ctx.Done():
	case <-deadline.C:
	}
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		// The group may be gone, which is what is wanted.
		_ = syscall.Kill(-cmd.Process.Pid, sig)
		select {
		case <-done:
			return false
		case <-time.After(killAfter):
		}
	}
	<-done
	return false
}
