// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"os/user"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/lvs-fnat/lvs/internal/config"
)

// scriptUser runs commands that name no user, if the host has it; else they
// run as the daemon does.
const scriptUser = "keepalived_script"

// patience is how long commands may go on after the daemon has stopped.
const patience = 5 * time.Second

// scripts starts commands, in the order they are given, and waits for them.
type scripts struct {
	log    *slog.Logger
	ctx    context.Context // of the processes, not of a call: they outlive it
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

func newScripts(log *slog.Logger) *scripts {
	s := &scripts{log: log}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// start does not wait for the command's end.
func (s *scripts) start(sc config.Script) {
	if sc.Command == "" {
		return
	}
	cmd, err := s.command(sc)
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		s.log.Error(fmt.Sprintf(msgScript, sc.Command, err))
		return
	}
	s.wg.Go(func() {
		if err := cmd.Wait(); err != nil {
			s.log.Warn(fmt.Sprintf(msgScript, sc.Command, err))
		}
	})
}

func (s *scripts) command(sc config.Script) (*exec.Cmd, error) {
	words, err := sc.Args()
	if err != nil {
		return nil, err
	}
	if len(words) == 0 {
		return nil, errors.New("no command")
	}
	cmd := exec.CommandContext(s.ctx, words[0], words[1:]...)
	cred, err := credential(sc)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred, Setpgid: true}
	return cmd, err
}

// credential is whom to run as; nil is the daemon's own user.
func credential(sc config.Script) (*syscall.Credential, error) {
	name := sc.User
	if name == "" {
		if _, err := user.Lookup(scriptUser); err != nil {
			return nil, nil
		}
		name = scriptUser
	}
	u, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	gid := u.Gid
	if sc.Group != "" {
		g, err := user.LookupGroup(sc.Group)
		if err != nil {
			return nil, err
		}
		gid = g.Gid
	}
	uidN, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gidN, err2 := strconv.ParseUint(gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uidN), Gid: uint32(gidN)}, errors.Join(err1, err2)
}

// stop waits for the commands that still run, and ends them when patience is over.
func (s *scripts) stop() {
	end := time.AfterFunc(patience, s.cancel)
	s.wg.Wait()
	end.Stop()
	s.cancel()
}
