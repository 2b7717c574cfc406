// SPDX-License-Identifier: Apache-2.0

package testvm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Exec boots a guest, runs argv in it and copies what argv prints to out. Init is a
// program that needs no libraries and calls Guest first thing (StaticSelf makes
// one); in the guest it is /init, so argv may be {"/init", …}. Exec returns argv's
// exit status, and an error when the guest was at fault: it ended early, its kernel
// complained, or modules could not be unloaded.
func Exec(ctx context.Context, init string, c Config, argv []string, out io.Writer) (int, error) {
	return c.start(ctx, init, mission{Argv: argv}, nil, out)
}

// Shell is Exec with argv on the guest's console, which is connected to this
// process' terminal until argv ends.
func Shell(ctx context.Context, init string, c Config, argv []string) (int, error) {
	return c.start(ctx, init, mission{Argv: argv, Console: true}, os.Stdin, os.Stderr)
}

func (c Config) start(ctx context.Context, init string, todo mission, tty *os.File, out io.Writer) (int, error) {
	release, err := Release(c.Kernel)
	if err != nil {
		return 1, err
	}
	todo.Kernel, todo.Mode, todo.Ours, todo.Load, todo.Env = c.Kernel, c.Mode.String(), c.Module == Ours, c.loads(), c.Env
	conf, err := json.Marshal(todo)
	if err != nil {
		return 1, err
	}
	if tty == nil {
		leave, err := place(ctx)
		if err != nil {
			return 1, err
		}
		defer leave()
	}
	dir, err := os.MkdirTemp("", "testvm")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	initrd := filepath.Join(dir, "initrd")
	if err := image(initrd, init, c, release, conf); err != nil {
		return 1, fmt.Errorf("image of guest %s: %w", c.Kernel, err)
	}
	m := c.machine(release, initrd)
	var console logBuffer
	p := &copier{out: out}
	m.stdin, m.console, m.results = tty, &console, p
	if tty != nil {
		m.quiet = 0
	}
	err = m.run(ctx)
	p.flush()
	if err == nil && p.exit == nil {
		err = errors.New("the guest ended without a word: panic or reset")
	}
	for _, f := range p.fails {
		err = errors.Join(err, errors.New(f))
	}
	if err != nil {
		if log := console.tail(60); log != "" {
			err = fmt.Errorf("%w\n--- end of its console:\n%s", err, log)
		}
		return 1, err
	}
	return *p.exit, nil
}

// StaticSelf returns a program file of package pkg (an import path of this tree)
// that needs no libraries: the running one if it is such, or one built for the
// purpose in dir.
func StaticSelf(ctx context.Context, pkg, dir string) (string, error) {
	if self, err := os.Executable(); err == nil && isStatic(self) {
		return self, nil
	}
	file := filepath.Join(dir, "init")
	return file, goBuild(ctx, "build", "-o", file, pkg)
}

// copier passes output on and takes events out of it.
type copier struct {
	out     io.Writer
	partial []byte
	blank   bool // an empty line that may belong to an event
	fails   []string
	exit    *int
}

// Write implements io.Writer.
func (c *copier) Write(b []byte) (int, error) {
	c.partial = append(c.partial, b...)
	for {
		i := strings.IndexByte(string(c.partial), '\n')
		if i < 0 {
			return len(b), nil
		}
		line := string(c.partial[:i+1])
		c.partial = c.partial[i+1:]
		if err := c.line(line); err != nil {
			return 0, err
		}
	}
}

func (c *copier) line(l string) error {
	text, isEvent := strings.CutPrefix(l, eventMark)
	if !isEvent {
		if c.blank {
			l = "\n" + l
		}
		if c.blank = strings.HasSuffix(l, "\n\n") || l == "\n"; c.blank {
			l = l[:len(l)-1]
		}
		_, err := io.WriteString(c.out, l)
		return err
	}
	c.blank = false
	var e event
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		c.fails = append(c.fails, "unreadable event: "+text)
		return nil
	}
	switch {
	case e.Fail != "":
		c.fails = append(c.fails, e.Fail)
	case e.Kernel != "":
		c.fails = append(c.fails, "the kernel said: "+e.Kernel)
	case e.Exit != nil:
		c.exit = e.Exit
	}
	return nil
}

func (c *copier) flush() {
	if len(c.partial) > 0 {
		_, _ = c.out.Write(c.partial)
		c.partial = nil
	}
}
