// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"syscall"
	"time"

	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/poll"
)

// scriptState is one vrrp_script at work.
type scriptState struct {
	t       *tracks
	cfg     config.TrackScript
	timer   poll.Timer
	running bool
	stopped bool
	known   bool // it has a result, or init_fail
	up      bool
	count   int  // results in a row against the present state
	last    int  // exit code of the last run, -1 before
	barred  bool // the last run could not begin
}

func (t *tracks) buildScripts(list []config.TrackScript) {
	old := t.scripts
	t.scripts = map[string]*scriptState{}
	for _, cfg := range list {
		if s := old[cfg.Name]; s != nil && same(s.cfg, cfg) {
			t.scripts[cfg.Name] = s
			delete(old, cfg.Name)
			continue
		}
		s := &scriptState{t: t, cfg: cfg, known: cfg.InitFail, last: -1}
		if o := old[cfg.Name]; o != nil { // it changed: what is known stays until the next result
			s.known, s.up = o.known, o.up
		}
		s.timer.E = s
		t.scripts[cfg.Name] = s
		if t.e.started {
			s.start()
		}
	}
	for _, s := range old {
		s.stop()
	}
}

func (s *scriptState) start() {
	if !s.timer.Armed() {
		s.Expire()
	}
}

func (s *scriptState) stop() {
	s.stopped = true
	s.t.e.loop.Stop(&s.timer)
}

// Expire runs the script; one that still runs is left alone.
func (s *scriptState) Expire() {
	if s.stopped {
		return
	}
	s.t.e.loop.Arm(&s.timer, s.cfg.Interval)
	if s.running {
		return
	}
	s.running = true
	e := s.t.e
	e.commands.Go(func() {
		code, err := e.run(s.cfg.Script, s.cfg.Timeout)
		e.loop.Post(func() {
			s.running = false
			s.result(code, err)
		})
	})
}

// killAfter is how long a script that was told to end may go on.
const killAfter = 2 * time.Second

var errTimeout = errors.New("timed out")

// errBarred is of a program that cannot be run. It has found nothing ill, and takes no
// router down, as with the original.
var errBarred = errors.New("it cannot be run")

// notFound is the exit status of a shell that has not found a command.
const notFound = 127

// run waits for a command, which it ends after the timeout, with all it has
// started.
func (e *Engine) run(sc config.Script, timeout time.Duration) (code int, err error) {
	cmd, err := e.opts.Command(context.Background(), sc) // ended below, gently
	if err != nil {
		return -1, err
	}
	if err := cmd.Start(); errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, exec.ErrNotFound) || errors.Is(err, syscall.ENOEXEC) {
		return 0, fmt.Errorf("%w: %w", errBarred, err)
	} else if err != nil {
		return -1, err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	ctx, cancel := context.WithTimeout(e.cmdCtx, timeout)
	defer cancel()
	select {
	case err = <-done:
	case <-ctx.Done():
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		kill := time.AfterFunc(killAfter, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
		<-done
		kill.Stop()
		return -1, errTimeout
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if exit.ExitCode() < 0 {
			return -1, fmt.Errorf("due to signal %d", exit.Sys().(syscall.WaitStatus).Signal())
		}
		if _, shell := sc.Shell(); shell && exit.ExitCode() == notFound {
			return 0, fmt.Errorf("%w: the shell has not found a command", errBarred)
		}
		return exit.ExitCode(), fmt.Errorf("exited with status %d", exit.ExitCode())
	}
	return 0, err
}

// result counts rise and fall.
func (s *scriptState) result(code int, err error) {
	if s.stopped || s.t.e.stopping {
		return
	}
	if code != s.last {
		s.t.e.log.Info(fmt.Sprintf("Script `%s` now returning %d", s.cfg.Name, max(code, 0)))
		s.last = code
	}
	barred := errors.Is(err, errBarred)
	if barred && !s.barred {
		s.t.e.log.Warn(fmt.Sprintf("Script `%s` counts as good: %v", s.cfg.Name, err))
	}
	s.barred = barred
	good := err == nil || barred
	first := !s.known
	if !first && good == s.up {
		s.count = 0
		return
	}
	s.count++
	need := s.cfg.Fall
	if good {
		need = s.cfg.Rise
	}
	if !first && s.count < need {
		return
	}
	s.known, s.up, s.count = true, good, 0
	if errors.Is(err, errTimeout) {
		s.t.e.log.Info(fmt.Sprintf("VRRP_Script(%s) timed_out", s.cfg.Name))
	} else if good {
		s.t.e.log.Info(fmt.Sprintf("VRRP_Script(%s) succeeded", s.cfg.Name))
	} else {
		s.t.e.log.Info(fmt.Sprintf("VRRP_Script(%s) failed (%v)", s.cfg.Name, err))
	}
	s.t.changed(kindScript, s.cfg.Name)
}
