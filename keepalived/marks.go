// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/firewall"
)

// marker is what the daemon needs of [firewall.Marker].
type marker interface {
	Set([]firewall.Mark) error
	Read() ([]firewall.Mark, error)
}

// marks has nftables set the marks of virtual_server_groups. The zero value is for a
// configuration that asks for none.
type marks struct {
	marker
	opts firewall.MarkOptions
	ns   *os.File // of opts.NetNS
	ours bool     // what is set goes with this process
}

// openMarker reaches nftables where the IPVS tables are.
func openMarker(o firewall.MarkOptions) (marker, error) { return firewall.NewMarker(o) }

// markOptions are those of a configuration that asks for marks.
func markOptions(cfg *config.Config) firewall.MarkOptions {
	f := cfg.Global.NFTables
	return firewall.MarkOptions{Table: f.Table, Priority: f.Priority, Counters: cfg.Global.VRRP.Firewall.Counters}
}

// open makes m ready for a configuration.
func (m *marks) open(a *app, cfg *config.Config) error {
	o := markOptions(cfg)
	if ns := netnsFile(cfg.Root.NetNamespaceIPVS); ns != "" && m.ns == nil {
		f, err := os.Open(ns)
		if err != nil {
			return fmt.Errorf("net_namespace_ipvs: %w", err)
		}
		m.ns = f
	}
	if m.ns != nil {
		o.NetNS = int(m.ns.Fd())
	}
	k, err := a.marker(o)
	if err == nil {
		m.marker, m.opts = k, o
	}
	return err
}

func (m *marks) close() error {
	if m.ns == nil {
		return nil
	}
	return m.ns.Close()
}

// bring sets want unless it is there already.
func (m *marks) bring(want []firewall.Mark) error {
	have, err := m.Read()
	if err != nil || slices.Equal(have, want) {
		return err
	}
	return m.Set(want)
}

// sameTable tells whether a reload from one to the other leaves the marks in their table.
func sameTable(from, to *config.Config) bool {
	table := func(cfg *config.Config) string {
		if f := cfg.Global.NFTables; f != nil && f.On {
			return "on " + f.Table
		}
		return ""
	}
	return table(from) == table(to)
}

// openMarks takes over the marks that a former run has left and sets what is missing:
// before the services, so that a refusal leaves nothing.
func (b *balancer) openMarks(context.Context) error {
	if !b.dir.Marked() {
		return nil
	}
	if err := b.marks.open(b.app, b.dir.Config()); err != nil {
		return err
	}
	left, err := b.marks.Read()
	if err != nil {
		return err
	}
	b.dir.Adopt(left)
	if slices.Equal(left, b.dir.Marks()) {
		return nil
	}
	b.marks.ours = true
	return b.marks.Set(b.dir.Marks())
}

// closeMarks removes the marks where the services are removed: see empty.
func (b *balancer) closeMarks(ctx context.Context) error {
	var err error
	if b.marks.ours && ctx.Err() == nil && !b.broken && !b.opts.keepTable {
		err = b.marks.Set(nil)
	}
	b.warn(b.marks.close())
	return err
}

// remark follows a reload: b.dir is still the old director. The new services are there.
func (b *balancer) remark(next *config.Config, want []firewall.Mark) error {
	if b.marks.marker == nil {
		return nil
	}
	o := markOptions(next)
	if o.NetNS = b.marks.opts.NetNS; o == b.marks.opts {
		return b.marks.bring(want)
	}
	old := b.marks
	if err := b.marks.open(b.app, next); err != nil {
		return err
	}
	err := b.marks.Set(want)
	if err != nil {
		b.marks = old
	}
	return err
}

// markLines are the commands that would bring the marks back.
func (b *balancer) markLines(have []firewall.Mark) []string {
	want := b.dir.Marks()
	for _, six := range []bool{false, true} {
		of := func(m firewall.Mark) bool { return m.First.Is6() == six }
		if slices.ContainsFunc(want, of) && !slices.ContainsFunc(have, of) {
			return []string{fmt.Sprintf("kill -HUP %d", os.Getppid())} // nft alone cannot: the map or the rule is gone
		}
	}
	return b.marks.opts.Lines(have, want)
}
