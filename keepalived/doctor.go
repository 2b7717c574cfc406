// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/doctor"
	"github.com/lvs-fnat/lvs/internal/netif"
	"github.com/lvs-fnat/lvs/internal/supervise"
	"github.com/lvs-fnat/lvs/ipvs"
)

// Words of --doctor.
const (
	doctorText = "text"
	doctorJSON = "json"
)

// examine is --doctor: what of this host cannot serve the configuration, or
// serves it badly.
func (a *app) examine(ctx context.Context, o *options) int {
	opts := a.config
	// The doctor compares ports itself; here they would cost the service.
	opts.Ephemeral = func() (config.Ephemeral, error) { return config.Ephemeral{}, nil }
	cfg, diags, err := config.Load(ctx, o.file, opts)
	if err != nil {
		fmt.Fprintf(a.stderr, msgNoFile+"\n", err)
		return exitFatal
	}
	sys, closeSystem, err := a.system(ctx, o, cfg)
	if err != nil {
		fmt.Fprintf(a.stderr, "%v\n", err)
		return exitFatal
	}
	defer closeSystem()
	findings := doctor.Examine(ctx, sys, cfg, diags)
	write := doctor.WriteText
	if o.doctor == doctorJSON {
		write = doctor.WriteJSON
	}
	if err := write(a.stdout, findings); err != nil {
		fmt.Fprintf(a.stderr, "%v\n", err)
		return exitFatal
	}
	if doctor.Worst(findings) == doctor.Error {
		return exitFatal
	}
	return exitOK
}

// systemOf is this host, in the network namespace in which ip_vs is to balance. The
// calling goroutine stays there.
func systemOf(ctx context.Context, o *options, cfg *config.Config) (*doctor.System, func(), error) {
	place := placeOf(o, &cfg.Root)
	ns := place.netns
	if cfg.Root.NetNamespaceIPVS != "" {
		ns = cfg.Root.NetNamespaceIPVS
	}
	if err := supervise.Enter(netnsFile(ns)); err != nil {
		return nil, nil, err
	}
	host, err := netif.Open()
	if err != nil {
		return nil, nil, err
	}
	sys := &doctor.System{Files: os.DirFS("/"), Network: network{host}}
	if text, err := os.ReadFile(place.pidFile(o.checkersPID, "checkers")); err == nil {
		if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			sys.Daemon = strconv.Itoa(pid)
		}
	}
	// To ask for the tables would load a module that is not there.
	if _, err := os.Stat("/sys/module/ip_vs"); err != nil {
		sys.TablesError = ipvs.ErrNoIPVS
		return sys, host.Close, nil
	}
	client, err := ipvs.Dial(ctx)
	if err != nil {
		sys.TablesError = err
		return sys, host.Close, nil
	}
	sys.Tables = client
	return sys, func() { _ = client.Close(); host.Close() }, nil
}

// network is the host's as the doctor asks for it.
type network struct{ *netif.Host }

func (n network) Links() ([]string, error) {
	links, err := n.Host.Links()
	names := make([]string, 0, len(links))
	for _, l := range links {
		names = append(names, l.Name)
	}
	return names, err
}

func (n network) Addrs() (map[netip.Addr]string, error) {
	links, err := n.Host.Links()
	if err != nil {
		return nil, err
	}
	names := map[int]string{}
	for _, l := range links {
		names[l.Index] = l.Name
	}
	addrs, err := n.Host.Addrs()
	if err != nil {
		return nil, err
	}
	all := map[netip.Addr]string{}
	for _, a := range addrs {
		all[a.Prefix.Addr()] = names[a.Link]
	}
	return all, nil
}

func (network) IPSet(name string) (ipvs.Family, error) {
	family, err := netif.IPSet(name)
	return ipvs.Family(family), err
}
