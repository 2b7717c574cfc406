// SPDX-License-Identifier: Apache-2.0

package director

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/healthcheck"
	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/ipvs"
)

// checker is a check that asks for nothing.
func checker(kind config.CheckKind, to netip.AddrPort) config.Checker {
	return config.Checker{Connect: to, CheckTraits: &config.CheckTraits{Kind: kind}, Probe: &config.Probe{}}
}

// oneService is a service of one server with one check.
func oneService(traits config.RealTraits) *config.Config {
	rs := config.RealServer{Addr: netip.MustParseAddrPort("10.0.2.1:80"), RealTraits: &traits}
	rs.Checkers = []config.Checker{checker(config.TCPCheck, rs.Addr)}
	return &config.Config{VirtualServers: []*config.VirtualServer{{
		Name: "[10.0.1.1]:tcp:80", VirtualTraits: &config.VirtualTraits{Protocol: config.TCP, Quorum: 1, Method: config.NAT},
		Endpoints:   []config.Endpoint{{Addr: netip.MustParseAddrPort("10.0.1.1:80"), Family: config.IPv4}},
		RealServers: []config.RealServer{rs},
	}}}
}

// TestSlowStart: who comes back grows to its weight; who was there from the start
// has it at once, and a reload does not begin anew.
func TestSlowStart(t *testing.T) {
	cfg := oneService(config.RealTraits{Weight: 100, SlowStart: 10 * time.Second})
	d, now := New(cfg), time.Unix(1000, 0)
	weight := func(up bool) string {
		d.At(now)
		d.Observe([]healthcheck.Status{{Up: up, Known: true}})
		if dests := d.Tables().Services[0].Dests; len(dests) > 0 {
			return fmt.Sprint(dests[0].Weight, d.Growing())
		}
		return "none"
	}
	got := []string{weight(true), weight(false), weight(true)}
	for range 3 {
		now = now.Add(2500 * time.Millisecond)
		got = append(got, weight(true))
	}
	d, _ = d.Reload(oneService(config.RealTraits{Weight: 200, SlowStart: 10 * time.Second}))
	got = append(got, weight(true))
	now = now.Add(2500 * time.Millisecond)
	got = append(got, weight(true))
	if want := []string{"100 false", "none", "1 true", "25 true", "50 true", "75 true", "150 true", "200 false"}; !slices.Equal(got, want) {
		t.Errorf("weights %q, want %q", got, want)
	}
}

// TestDrop: a server that goes down has its connections selected, by service and
// server; one that comes back, or does not ask for it, has not.
func TestDrop(t *testing.T) {
	d := New(oneService(config.RealTraits{Weight: 1, RSTOnFailure: true}))
	drops := func(up bool) (list []ipvs.ConnFilter) {
		for _, n := range d.Observe([]healthcheck.Status{{Up: up, Known: true}}) {
			list = append(list, n.Drop...)
		}
		return list
	}
	want := []ipvs.ConnFilter{{
		Family: ipvs.IPv4, Protocol: ipvs.TCP, Virtual: netip.MustParsePrefix("10.0.1.1/32"), VirtualPort: 80,
		Dest: netip.MustParsePrefix("10.0.2.1/32"), DestPort: 80,
	}}
	if a, b, c := drops(true), drops(false), drops(true); a != nil || !slices.Equal(b, want) || c != nil {
		t.Errorf("selected %v, then %v, then %v; want %v in the middle", a, b, c, want)
	}
	d = New(oneService(config.RealTraits{Weight: 1}))
	if a, b := drops(true), drops(false); a != nil || b != nil {
		t.Errorf("without rst_on_failure: %v, %v", a, b)
	}
}

// TestTargetsOfElsewhere: a FILE_CHECK finds its file, checks leave from a local
// address of FNAT, and SSL_GET shows the certificate of the SSL block.
func TestTargetsOfElsewhere(t *testing.T) {
	cfg := oneService(config.RealTraits{Weight: 10})
	vs := cfg.VirtualServers[0]
	vs.RealServers[0].FileChecks = []config.FileCheck{{TrackFile: "f", Weight: 2}}
	cfg.TrackFiles = []config.TrackFile{{Name: "f", Path: "/some/file"}}
	cfg.SSL = config.SSL{Certificate: "/c", Key: "/k", Password: "p"}
	cfg.LaddrGroups = []config.LaddrGroup{{Name: "g", Family: config.IPv4, Addrs: []config.Laddr{
		{Addr: netip.MustParseAddr("10.0.2.201")}, {Addr: netip.MustParseAddr("10.0.2.202")}}}}
	vs.CheckFromLaddr, vs.Endpoints[0].LaddrGroup = true, "g"
	rs := &vs.RealServers[0]
	bound := checker(config.TCPCheck, rs.Addr)
	bound.BindTo = netip.MustParseAddrPort("10.0.2.9:0")
	web := checker(config.SSLGet, rs.Addr)
	web.TLS = &healthcheck.TLS{}
	rs.Checkers = append(rs.Checkers, bound, web)
	d := New(cfg)
	list := d.Targets()
	if from := list[0].Spec.Conn.Bind.Addr().String(); from != "10.0.2.202" { // of 10.0.2.1
		t.Errorf("a check leaves from %s", from)
	}
	if from := list[1].Spec.Conn.Bind.Addr().String(); from != "10.0.2.9" {
		t.Errorf("bindto was changed to %s", from)
	}
	if tls := list[2].Spec.TLS; tls.Certificate != "/c" || tls.Key != "/k" || tls.Password != "p" || rs.Checkers[2].TLS.Key != "" {
		t.Errorf("SSL_GET has %+v; the configuration %+v", tls, rs.Checkers[2].TLS)
	}
	if f := list[3].Spec.File; f == nil || *f != (healthcheck.File{Path: "/some/file", Weight: 2}) {
		t.Errorf("FILE_CHECK has %+v", f)
	}
	if err := list[3].Validate(); err != nil {
		t.Error(err)
	}
	up := healthcheck.Status{Up: true, Known: true}
	file := up
	file.Adds = -3
	d.Observe([]healthcheck.Status{up, up, up, file})
	if w := d.Tables().Services[0].Dests[0].Weight; w != 7 {
		t.Errorf("weight %d, want 7", w)
	}
	if list, _ := New(oneService(config.RealTraits{Weight: 1})).Targets(), 0; list[0].Spec.Conn.Bind.IsValid() {
		t.Error("a check is bound although nobody asked for it")
	}
}

// TestSuspended: the checks of a service with ha_suspend rest while its address
// is elsewhere; those of groups and marks never do.
func TestSuspended(t *testing.T) {
	cfg := oneService(config.RealTraits{Weight: 1})
	cfg.VirtualServers = append(cfg.VirtualServers, oneService(config.RealTraits{Weight: 1}).VirtualServers[0], oneService(config.RealTraits{Weight: 1}).VirtualServers[0])
	cfg.VirtualServers[1].HASuspend = true
	cfg.VirtualServers[2].HASuspend, cfg.VirtualServers[2].Endpoints = true, []config.Endpoint{{FWMark: 1, Family: config.IPv4}}
	d := New(cfg)
	here := map[netip.Addr]bool{}
	off := func() []bool { return d.Suspended(func(a netip.Addr) bool { return here[a] }) }
	if got := off(); !d.Suspends() || !slices.Equal(got, []bool{false, true, false}) {
		t.Errorf("with the address elsewhere: %v", got)
	}
	here[netip.MustParseAddr("10.0.1.1")] = true
	if got := off(); slices.Contains(got, true) {
		t.Errorf("with the address here: %v", got)
	}
}
