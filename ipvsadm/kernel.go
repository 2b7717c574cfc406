// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"os/exec"
	"syscall"

	"github.com/lvs-fnat/lvs/ipvs"
)

// kernel is what the command needs of the tables: an [*ipvs.Client], or the
// fake one of the tests.
type kernel interface {
	ipvs.Applier
	ipvs.Reader
	ipvs.ConnDeleter
	Version(context.Context) (ipvs.Info, error)
	AppendDests(ctx context.Context, to []ipvs.Dest, key ipvs.ServiceKey, stats bool) ([]ipvs.Dest, error)
	StreamExtServices(context.Context) iter.Seq2[ipvs.ExtService, error]
	Each(ctx context.Context, ops []ipvs.Op, failed func(i int, err *ipvs.OpError)) error
	ExtConfig(context.Context) (ipvs.ExtConfig, error)
	ServiceExtStats(context.Context, ipvs.ServiceKey) (ipvs.ExtStats, error)
	Close() error
}

// modprobe is where the kernel's own loader is by convention; no search.
const modprobe = "/sbin/modprobe"

// loadModule loads ip_vs; what modprobe has to say goes where ours would.
func loadModule(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, modprobe, "--", "ip_vs")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}

// connect reaches the kernel before any argument is looked at, loading the
// module if it must.
func (a *app) connect(ctx context.Context) error {
	err := a.dialInfo(ctx)
	if err == nil {
		return nil
	}
	if a.load(ctx) == nil {
		if err = a.dialInfo(ctx); err == nil {
			return nil
		}
	}
	var errno syscall.Errno
	text := generalText(syscall.ENOPROTOOPT)
	if !errors.Is(err, ipvs.ErrNoIPVS) && errors.As(err, &errno) {
		text = kernelText(cmdList, err)
	}
	return &failure{code: 2, text: fmt.Sprintf(msgInit, text), err: err}
}

func (a *app) dialInfo(ctx context.Context) error {
	k, err := a.dial(ctx)
	if err != nil {
		return err
	}
	info, err := k.Version(ctx)
	if err != nil {
		return errors.Join(err, k.Close())
	}
	a.kernel, a.info = k, info
	return nil
}

// extended tells whether the module is ours, of which a.info then knows more. It
// is asked when that matters: a call that changes the stock tables need not know.
func (a *app) extended(ctx context.Context) (bool, error) {
	if !a.extendedKnown {
		info, err := a.kernel.Info(ctx)
		if err != nil {
			return false, err
		}
		a.info, a.extendedKnown = info, true
	}
	return a.info.Extended != nil, nil
}

// oldestVersion is 1.1.4 as the kernel counts.
const oldestVersion = 0x010104

// versionText writes 0x010201 as 1.2.1.
func versionText(v uint32) string {
	return fmt.Sprintf("%d.%d.%d", v>>16&0xff, v>>8&0xff, v&0xff)
}
