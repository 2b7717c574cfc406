// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"syscall"

	"golang.org/x/term"
)

// screen is a terminal in raw mode.
type screen struct {
	*os.File
	before *term.State
}

// openScreen takes the terminal at path over: keys come one by one, unechoed.
// It is opened so that reading can have a deadline.
func openScreen(path string) (terminal, error) {
	f, err := os.OpenFile(path, os.O_RDWR|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	s := &screen{File: f}
	raw, err := f.SyscallConn()
	if err == nil {
		var rawErr error
		err = raw.Control(func(fd uintptr) { s.before, rawErr = term.MakeRaw(int(fd)) })
		if err == nil {
			err = rawErr
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return s, nil
}

// Size returns columns and lines.
func (s *screen) Size() (width, height int, err error) {
	err = s.control(func(fd int) (e error) {
		width, height, e = term.GetSize(fd)
		return e
	})
	if err == nil && (width == 0 || height == 0) {
		width, height = 80, 24 // a terminal that does not know
	}
	return width, height, err
}

// Close makes the terminal what it was.
func (s *screen) Close() error {
	err := s.control(func(fd int) error { return term.Restore(fd, s.before) })
	if closeErr := s.File.Close(); err == nil {
		err = closeErr
	}
	return err
}

func (s *screen) control(f func(fd int) error) error {
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// systemTerminal is the user's terminal if standard output goes there and it can
// do more than write; else nil.
func systemTerminal() terminal {
	if t := os.Getenv("TERM"); t == "" || t == "dumb" || !term.IsTerminal(int(os.Stdout.Fd())) {
		return nil
	}
	s, err := openScreen("/dev/tty")
	if err != nil {
		return nil // text will do
	}
	return s
}
