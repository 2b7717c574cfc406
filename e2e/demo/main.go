// SPDX-License-Identifier: Apache-2.0

// Command demo boots one guest and shows FNAT at work in it: nginx on real servers
// that know no way to the client, curl as client, keepalived and ipvsadm of this
// tree on the director. It prints what it measured and ends with "demo: OK", or
// with what went wrong and a status that is not zero.
//
//	go run ./e2e/demo [-kernel 6.12]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lvs-fnat/lvs/internal/testvm"
)

const self = "github.com/lvs-fnat/lvs/e2e/demo"

// Where the guest finds what the host has.
const (
	guestConf      = "/etc/keepalived/keepalived.conf"
	guestDaemon    = "/usr/local/sbin/keepalived"
	guestIpvsadm   = "/usr/local/sbin/ipvsadm"
	hostConf       = "testdata/demo/keepalived.conf"
	limitOfTheDemo = 10 * time.Minute // on the guest's clock
)

func main() {
	testvm.Guest(nil)
	if testvm.InGuest() {
		os.Exit(inGuest())
	}
	if err := onHost(); err != nil {
		fmt.Fprintln(os.Stderr, "demo: FAILED:", err)
		os.Exit(1)
	}
	fmt.Println("demo: OK")
}

func onHost() error {
	var o options
	flag.StringVar(&o.kernel, "kernel", "6.1", "kernel `line` of kmod/kernels, or a release in the cache")
	flag.StringVar(&o.bin, "bin", "bin", "`folder` with keepalived and ipvsadm, below the top of the tree")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected arguments %q; -help lists the flags", flag.Args())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	return run(ctx, o, os.Stdout)
}

type options struct {
	kernel string
	bin    string // absolute, or below the top of the tree
}

// run boots the guest, runs the demo in it and copies its output to out.
func run(ctx context.Context, o options, out io.Writer) error {
	root, err := testvm.Root()
	if err != nil {
		return err
	}
	if !filepath.IsAbs(o.bin) {
		o.bin = filepath.Join(root, o.bin)
	}
	files := map[string]string{
		guestConf:    filepath.Join(root, hostConf),
		guestDaemon:  filepath.Join(o.bin, "keepalived"),
		guestIpvsadm: filepath.Join(o.bin, "ipvsadm"),
	}
	for _, f := range files {
		if _, err := os.Stat(f); err != nil {
			return fmt.Errorf("%w; run: make all", err)
		}
	}
	release, err := testvm.Release(o.kernel)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "demo")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	program, err := testvm.StaticSelf(ctx, self, dir)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Booting a virtual machine with Linux %s and our ip_vs; your own kernel is left alone.\n", release)
	// An instruction is a nanosecond in there and waiting costs nothing: the
	// seconds the guest measures do not depend on how busy the host is.
	c := testvm.Config{Kernel: o.kernel, Mode: testvm.Counted, Module: testvm.Ours, Programs: true, Patches: true, Files: files}
	status, err := testvm.Exec(ctx, program, c, []string{"/init"}, out)
	if err != nil {
		return err
	}
	if status != 0 {
		return errors.New("see above")
	}
	return nil
}

// inGuest runs the demo and returns its exit status.
func inGuest() int {
	ctx, cancel := context.WithTimeout(context.Background(), limitOfTheDemo)
	defer cancel()
	d := &demo{out: os.Stdout}
	if err := errors.Join(d.play(ctx), d.close()); err != nil {
		d.wrong("%v", err)
	}
	if len(d.faults) == 0 {
		return 0
	}
	fmt.Fprintln(d.out, "\nWhat failed:")
	for _, f := range d.faults {
		fmt.Fprintln(d.out, "  -", f)
	}
	if d.daemon != nil {
		fmt.Fprintf(d.out, "\nkeepalived's log:\n%s", d.daemon.log.text())
	}
	return 1
}
