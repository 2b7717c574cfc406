// SPDX-License-Identifier: Apache-2.0

// Package doctor compares a host with a configuration of keepalived: what there is
// that cannot serve it, or serves it badly, and what to do. It looks through a
// [System] and changes nothing.
package doctor

import (
	"context"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/ipvs"
)

// Severity says what a finding means for the services that are configured.
type Severity uint8

// The severities, the lightest first.
const (
	OK      Severity = iota // looked at, and as it should be
	Note                    // worth knowing
	Warning                 // works, and will not under some load or event
	Error                   // a configured service does not work
)

// String gives ok, note, warning or error.
func (s Severity) String() string { return [...]string{"ok", "note", "warning", "error"}[s] }

// Finding is one thing that was looked at.
type Finding struct {
	Check    string // what was looked at, in a word
	Severity Severity
	Seen     string // one line
	Remedy   string // what to do, one line; "" for OK and some notes
}

// System is what can be seen of a host. All of it is that of one network
// namespace: the one in which ip_vs is to balance.
type System struct {
	Files fs.FS // the root of its files, /proc and /sys included
	// Daemon is the number of the daemon that checks; "": none runs, and the limits
	// of this process count.
	Daemon string
	// Tables are those of the running ip_vs, nil with TablesError.
	Tables      Tables
	TablesError error
	Network     Network
}

// Tables is what is asked of the running ip_vs; an [ipvs.Client] and
// ipvstest.Table answer.
type Tables interface {
	Info(ctx context.Context) (ipvs.Info, error)
	Services(ctx context.Context) ([]ipvs.Service, error)
	Dests(ctx context.Context, key ipvs.ServiceKey) ([]ipvs.Dest, error)
	LGroups(ctx context.Context) ([]ipvs.LGroup, error)
	// ExtConfig and ExtStats are asked of an ip_vs with the extension alone.
	ExtConfig(ctx context.Context) (ipvs.ExtConfig, error)
	ExtStats(ctx context.Context) (ipvs.ExtStats, error)
}

// Network is what is asked about links, addresses and routes.
type Network interface {
	// Links are the names of all links, loopback included.
	Links() ([]string, error)
	// Addrs tells the link of each address of the host.
	Addrs() (map[netip.Addr]string, error)
	// Route is where a packet to dst goes: the link, and whether the host itself
	// takes it.
	Route(dst netip.Addr) (link string, local bool, err error)
	// LRO tells whether the link merges what it receives.
	LRO(link string) (bool, error)
	// IPSet tells the family of an ipset; fs.ErrNotExist if there is none of the name.
	IPSet(name string) (ipvs.Family, error)
}

// exam is the state of one Examine.
type exam struct {
	ctx      context.Context
	sys      *System
	cfg      *config.Config
	findings []Finding

	release string                // of the running kernel, as uname -r prints it
	running ipvs.Info             // of ip_vs; zero if it does not answer
	ext     bool                  // the configuration needs more than stock ip_vs
	addrs   map[netip.Addr]string // of the host
	vrrp    map[netip.Addr]bool   // addresses that VRRP brings
}

// Examine looks at everything, in the order in which one would repair it.
func Examine(ctx context.Context, sys *System, cfg *config.Config, diags []config.Diagnostic) []Finding {
	e := &exam{ctx: ctx, sys: sys, cfg: cfg, vrrp: vrrpAddrs(cfg)}
	e.release, _ = e.read("proc/sys/kernel/osrelease")
	e.configuration(diags)
	e.module()
	e.addresses()
	e.localAddresses()
	e.lists()
	e.forwarding()
	e.reversePath()
	e.merging()
	e.conntrack()
	e.synproxy()
	e.table()
	e.openFiles()
	e.sysctls()
	e.sync()
	return e.findings
}

// Worst is the highest severity of findings; OK for none.
func Worst(findings []Finding) Severity {
	worst := OK
	for _, f := range findings {
		worst = max(worst, f.Severity)
	}
	return worst
}

func (e *exam) add(check string, s Severity, remedy, format string, args ...any) {
	e.findings = append(e.findings, Finding{check, s, fmt.Sprintf(format, args...), remedy})
}

// unseen notes that something could not be looked at: nobody knows whether it works.
func (e *exam) unseen(check string, err error) {
	e.add(check, Warning, "run it as root, on the host of the daemon", "not looked at: %v", err)
}

// configuration passes on what -t says; what an error keeps out does not work.
func (e *exam) configuration(diags []config.Diagnostic) {
	const remedy = "correct the line; 'keepalived -t' checks the file"
	before := len(e.findings)
	for _, d := range diags {
		switch d.Severity {
		case config.Warning, config.Error:
			e.add("configuration", Warning, remedy, "%s", d)
		case config.Fatal:
			e.add("configuration", Error, remedy, "%s", d)
		}
	}
	for _, l := range e.cfg.Lost {
		switch {
		case l.Server != "":
			e.add("configuration", Error, remedy, "real server %s of %s is left out, for an error (%s)", l.Server, l.Service, at(l.Pos))
		case l.Service != "":
			e.add("configuration", Error, remedy, "virtual server %s is left out, for an error (%s)", l.Service, at(l.Pos))
		default:
			e.add("configuration", Error, remedy, "something is left out, for an error (%s)", at(l.Pos))
		}
	}
	if before == len(e.findings) {
		e.add("configuration", OK, "", "%s, without faults", count(len(e.cfg.VirtualServers), "virtual server"))
	}
}

// services calls f for each virtual server.
func (e *exam) services(f func(*config.VirtualServer)) {
	for i := range e.cfg.VirtualServers {
		f(e.cfg.VirtualServers[i])
	}
}

// any tells whether f holds for a virtual server.
func (e *exam) any(f func(*config.VirtualServer) bool) bool {
	for i := range e.cfg.VirtualServers {
		if f(e.cfg.VirtualServers[i]) {
			return true
		}
	}
	return false
}

func isFNAT(vs *config.VirtualServer) bool { return vs.Method == config.FNAT }

// vrrpAddrs are the addresses that VRRP has while it is the master.
func vrrpAddrs(cfg *config.Config) map[netip.Addr]bool {
	all := map[netip.Addr]bool{}
	for _, i := range cfg.VRRP.Instances {
		for _, a := range slices.Concat(i.Addrs, i.Excluded) {
			all[a.Prefix.Addr()] = true
		}
	}
	for _, a := range cfg.VRRP.Static.Addrs {
		all[a.Prefix.Addr()] = true
	}
	return all
}

// read returns a file's text without the blanks around; ok is false if there is
// none.
func (e *exam) read(name string) (text string, ok bool) {
	b, err := fs.ReadFile(e.sys.Files, name)
	return strings.TrimSpace(string(b)), err == nil
}

// number is read for files that hold one number.
func (e *exam) number(name string) (n int64, ok bool) {
	text, ok := e.read(name)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil
}

// glob lists files; no file is no error.
func (e *exam) glob(pattern string) []string {
	names, err := fs.Glob(e.sys.Files, pattern)
	if err != nil {
		panic(err) // a pattern of ours is malformed
	}
	return names
}

// count gives "1 virtual server", "2 virtual servers", "2 addresses".
func count(n int, what string) string {
	switch {
	case n == 1:
	case strings.HasSuffix(what, "s"):
		what += "es"
	default:
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// at is where in the configuration something stands.
func at(p config.Pos) string { return fmt.Sprintf("%s: Line %d", p.File, p.Line) }

// some joins the first few of names.
func some(names []string) string {
	const most = 5
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}
