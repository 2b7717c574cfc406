// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// DefaultUser runs commands that name nobody, if the host has it.
const DefaultUser = "keepalived_script"

// patience is how long commands may go on after Close.
const patience = 3 * time.Second

// Command is a program to run.
type Command struct {
	// Name is the command as it was written, for messages.
	Name string
	// Args are the program and its arguments; no shell is between.
	Args []string
	// User and Group are whom to run it as; empty is what the policy says.
	User, Group string
}

// Policy says whom commands run as, and which may run at all. The zero value
// runs all of them.
type Policy struct {
	// User and Group are those of commands that name none (script_user). Empty is
	// [DefaultUser] if the host has it, else this process's own.
	User, Group string
	// Security refuses programs that would run as root although somebody else
	// could change them (enable_script_security).
	Security bool
	// SymlinkPaths runs a program by the path that was written, and not by where
	// its links lead (use_symlink_paths).
	SymlinkPaths bool
	// SupplementaryGroups gives a command all groups of its user, not only one.
	SupplementaryGroups bool
	// Start starts what Run and a [Reader] run, in another network namespace than this
	// process's; nil: there.
	Start func(*exec.Cmd) error
}

// run runs cmd and waits for its end.
func (p *Policy) run(cmd *exec.Cmd) error {
	start := p.Start
	if start == nil {
		start = (*exec.Cmd).Start
	}
	if err := start(cmd); err != nil {
		return err
	}
	return cmd.Wait()
}

// ErrInsecure is why a command is refused under Security.
var ErrInsecure = errors.New("insecure")

// Credential is whom a command with these names runs as; nil is this process's
// own user.
func (p *Policy) Credential(name, group string) (*syscall.Credential, error) {
	if name == "" {
		name, group = p.User, p.Group
	}
	if name == "" {
		if _, err := user.Lookup(DefaultUser); err != nil {
			return nil, nil
		}
		name = DefaultUser
	}
	u, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	gid := u.Gid
	if group != "" {
		g, err := user.LookupGroup(group)
		if err != nil {
			return nil, err
		}
		gid = g.Gid
	}
	cred := &syscall.Credential{}
	if cred.Uid, err = number(u.Uid); err != nil {
		return nil, err
	}
	if cred.Gid, err = number(gid); err != nil || !p.SupplementaryGroups {
		return cred, err
	}
	ids, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("groups of %s: %w", name, err)
	}
	for _, id := range ids {
		n, err := number(id)
		if err != nil {
			return nil, err
		}
		cred.Groups = append(cred.Groups, n)
	}
	return cred, nil
}

func number(id string) (uint32, error) {
	n, err := strconv.ParseUint(id, 10, 32)
	return uint32(n), err
}

// Check tells why the program at path may not run as cred; the error is then
// [ErrInsecure] or that of the file system.
func (p *Policy) Check(path string, cred *syscall.Credential) error {
	if !p.Security || cred != nil && cred.Uid != 0 || cred == nil && os.Geteuid() != 0 {
		return nil
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	// Who can write to the file or to any folder on the way to it says what root
	// runs.
	for at := real; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		if err != nil {
			return err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return fmt.Errorf("%s: %w: its owner is unknown", at, ErrInsecure)
		}
		shared := info.Mode()&os.ModeSticky != 0 && info.IsDir()
		if st.Uid != 0 || st.Mode&0o020 != 0 && st.Gid != 0 && !shared || st.Mode&0o002 != 0 && !shared {
			return fmt.Errorf("%s: %w: not only root can write to it", at, ErrInsecure)
		}
		if at == filepath.Dir(at) {
			return nil
		}
	}
}

// Prepare makes c ready to start, in a process group of its own.
func (p *Policy) Prepare(ctx context.Context, c Command) (*exec.Cmd, error) {
	if len(c.Args) == 0 || c.Args[0] == "" {
		return nil, errors.New("no command")
	}
	cred, err := p.Credential(c.User, c.Group)
	if err != nil {
		return nil, err
	}
	program := c.Args[0]
	if err := p.Check(program, cred); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, program, c.Args[1:]...)
	if !p.SymlinkPaths {
		if real, err := filepath.EvalSymlinks(program); err == nil {
			cmd.Path = real
		}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred, Setpgid: true}
	return cmd, nil
}

// Run runs c and waits for its end, at most for limit; then it is killed.
func (p *Policy) Run(ctx context.Context, c Command, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd, err := p.Prepare(ctx, c)
	if err != nil {
		return err
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	if err := p.run(cmd); ctx.Err() != nil {
		return fmt.Errorf("timed out after %v", limit)
	} else if err != nil {
		return err
	}
	return nil
}

// Scripts starts commands, in the order they are given, and waits for them. Its
// methods belong to one goroutine.
type Scripts struct {
	log    *slog.Logger
	policy Policy
	ctx    context.Context // of the processes, not of a call: they outlive it
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// NewScripts returns one that logs what fails. The caller must Close it.
func NewScripts(log *slog.Logger) *Scripts {
	s := &Scripts{log: log}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// SetPolicy is for the commands started from now on.
func (s *Scripts) SetPolicy(p Policy) { s.policy = p }

// Start runs c and does not wait for its end. Without Args it does nothing.
func (s *Scripts) Start(c Command) {
	if len(c.Args) == 0 {
		return
	}
	cmd, err := s.policy.Prepare(s.ctx, c)
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		s.log.Error(fmt.Sprintf(msgScript, c.Name, err))
		return
	}
	s.wg.Go(func() {
		if err := cmd.Wait(); err != nil {
			s.log.Warn(fmt.Sprintf(msgScript, c.Name, err))
		}
	})
}

// Close waits for the commands that still run, and ends them when its patience
// is over.
func (s *Scripts) Close() {
	end := time.AfterFunc(patience, s.cancel)
	s.wg.Wait()
	end.Stop()
	s.cancel()
}

const msgScript = "Running script '%s' failed: %v"
