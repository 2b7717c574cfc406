// SPDX-License-Identifier: Apache-2.0

// Package supervise has what makes a program a daemon: its pid file, its way
// into the background, and its word to the service manager.
package supervise

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ErrRunning means that another process holds the pid file.
var ErrRunning = errors.New("daemon is already running")

// PIDFile is a file with the number of this process, locked while it lives.
type PIDFile struct{ f *os.File }

// CreatePIDFile writes this process's number into the file at path. A file
// that a dead process left is taken over; [ErrRunning] if a living one has it.
func CreatePIDFile(path string) (*PIDFile, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("pid file: %w", err)
	}
	p := &PIDFile{f}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrRunning
		}
		return nil, errors.Join(fmt.Errorf("pid file %s: %w", path, err), f.Close())
	}
	err = errors.Join(f.Chmod(0o644), f.Truncate(0)) // whatever the umask: others may read it
	if err == nil {
		_, err = fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("pid file: %w", err), f.Close())
	}
	return p, nil
}

// WaitPIDFile is CreatePIDFile that waits while another process has the file,
// but not longer than patience.
func WaitPIDFile(ctx context.Context, path string, patience time.Duration) (*PIDFile, error) {
	// A lock that is given up tells nobody; the wait is short and rare.
	const again = 20 * time.Millisecond
	for deadline := time.Now().Add(patience); ; {
		p, err := CreatePIDFile(path)
		if !errors.Is(err, ErrRunning) || time.Now().After(deadline) {
			return p, err
		}
		select {
		case <-time.After(again):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Remove deletes the file and gives it free.
func (p *PIDFile) Remove() error {
	return errors.Join(os.Remove(p.f.Name()), p.f.Close())
}
