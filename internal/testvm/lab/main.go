// SPDX-License-Identifier: Apache-2.0

// Command lab boots a guest with a client, a director and two real servers that
// know no way to the client, and opens a shell in it, or runs a script.
//
//	go run ./internal/testvm/lab
//	go run ./internal/testvm/lab -script FILE [ARGUMENT…]
//
// A script runs with bash; its output and exit status become lab's.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lvs-fnat/lvs/internal/testvm"
)

func main() {
	testvm.Guest(setup)
	status, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		status = max(status, 1)
	}
	os.Exit(status)
}

func run() (int, error) {
	var c testvm.Config
	var mode, script string
	var stock bool
	flag.StringVar(&c.Kernel, "kernel", "6.1", "kernel `line` of kmod/kernels, or a release in the cache")
	flag.StringVar(&mode, "mode", "", "counted (repeatable, idle time is skipped) or smp (the host's clock); a script runs counted, a shell smp")
	flag.StringVar(&script, "script", "", "run this `file` with bash instead of a shell")
	flag.BoolVar(&stock, "stock", false, "use the distribution's ip_vs even if ours is built")
	flag.IntVar(&c.Memory, "memory", 0, "`MiB` of the guest")
	flag.Func("file", "`GUEST=HOST`: put a file into the guest (may repeat)", func(s string) error {
		guest, host, ok := strings.Cut(s, "=")
		if !ok {
			return fmt.Errorf("%q is not GUEST=HOST", s)
		}
		if c.Files == nil {
			c.Files = map[string]string{}
		}
		c.Files[guest] = host
		return nil
	})
	flag.Parse()
	c.Programs = true
	if err := choose(&c, mode, script, stock); err != nil {
		return 2, err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	dir, err := os.MkdirTemp("", "lab")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	program, err := testvm.StaticSelf(ctx, "github.com/lvs-fnat/lvs/internal/testvm/lab", dir)
	if err != nil {
		return 1, err
	}
	if script != "" {
		if c.Files == nil {
			c.Files = map[string]string{}
		}
		c.Files["/root/script"] = script
		return testvm.Exec(ctx, program, c, append([]string{"/bin/bash", "/root/script"}, flag.Args()...), os.Stdout)
	}
	c.Env = append(c.Env, size()...)
	fmt.Fprintln(os.Stderr, "Booting; Ctrl-A X ends the guest at once.")
	// What the last command typed returned is no failure of the lab's.
	_, err = testvm.Shell(ctx, program, c, []string{"/bin/bash", "--rcfile", profile, "-i"})
	return 0, err
}

func choose(c *testvm.Config, mode, script string, stock bool) error {
	switch {
	case mode == "smp", mode == "" && script == "":
		c.Mode = testvm.SMP
	case mode == "counted", mode == "":
		c.Mode = testvm.Counted
	default:
		return fmt.Errorf("-mode %s: it is counted or smp", mode)
	}
	if script == "" && flag.NArg() > 0 {
		return fmt.Errorf("arguments %q are for -script", flag.Args())
	}
	release, err := testvm.Release(c.Kernel)
	if err != nil {
		return err
	}
	root, err := testvm.Root()
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(root, "kmod", "build", release, "ip_vs.ko")); err == nil && !stock {
		c.Module = testvm.Ours
	} else if !stock {
		fmt.Fprintf(os.Stderr, "lab: no kmod/build/%s/ip_vs.ko, using the distribution's ip_vs; make kmod builds ours\n", release)
	}
	return nil
}

// size tells the guest how large the terminal is; a serial line cannot.
func size() []string {
	w, err := unix.IoctlGetWinsize(int(os.Stdout.Fd()), unix.TIOCGWINSZ)
	if err != nil || w.Row == 0 {
		return nil
	}
	return []string{fmt.Sprintf("LAB_ROWS=%d", w.Row), fmt.Sprintf("LAB_COLUMNS=%d", w.Col), "TERM=xterm"}
}
