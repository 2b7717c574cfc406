// SPDX-License-Identifier: Apache-2.0

// Package supervise has what makes a program a daemon: its pid file, its way
// into the background, and its word to the service manager.
package supervise

import (
	"errors"
	"fmt"
	"os"

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
	err = f.Truncate(0)
	if err == nil {
		_, err = fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("pid file: %w", err), f.Close())
	}
	return p, nil
}

// Remove deletes the file and gives it free.
func (p *PIDFile) Remove() error {
	return errors.Join(os.Remove(p.f.Name()), p.f.Close())
}
