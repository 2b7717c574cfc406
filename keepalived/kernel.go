// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/director"
	"github.com/lvs-fnat/lvs/ipvs"
)

// kernel is an open way to the kernel's tables.
type kernel interface {
	director.Kernel
	DeleteConns(context.Context, ipvs.ConnFilter) (uint64, error)
	Close() error
}

// buffered is a kernel that is reached through a socket, such as [ipvs.Client].
type buffered interface{ SetReadBuffer(bytes int) error }

// dial reaches the tables of the network namespace in the file netns, "" for
// that of this process.
func dial(ctx context.Context, netns string) (kernel, error) {
	if netns == "" {
		return ipvs.Dial(ctx)
	}
	f, err := os.Open(netns)
	if err != nil {
		return nil, fmt.Errorf("net_namespace_ipvs: %w", err)
	}
	defer f.Close()
	return ipvs.Config{NetNS: int(f.Fd())}.Dial(ctx)
}

// modprobe is where the kernel's own loader is by convention; no search.
const modprobe = "/sbin/modprobe"

func loadModule(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, modprobe, "--", "ip_vs").CombinedOutput()
	if text := strings.TrimSpace(string(out)); err != nil && text != "" {
		return fmt.Errorf("%w: %s", err, text)
	}
	return err
}

// connect reaches the kernel, loading ip_vs if it is not there.
func (a *app) connect(ctx context.Context, netns string) (kernel, error) {
	netns = netnsFile(netns)
	k, err := a.dial(ctx, netns)
	if !errors.Is(err, ipvs.ErrNoIPVS) {
		return k, err
	}
	if loadErr := a.load(ctx); loadErr != nil {
		return nil, fmt.Errorf("%w (%s: %w)", err, modprobe, loadErr)
	}
	return a.dial(ctx, netns)
}

// needsKernel tells whether cfg says anything to the kernel.
func needsKernel(cfg *config.Config) bool {
	return cfg.Services > 0 || cfg.Global.Ext.Set != 0 || len(cfg.LaddrGroups) > 0
}
