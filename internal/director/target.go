// SPDX-License-Identifier: Apache-2.0

package director

import (
	"net/netip"
	"time"

	"github.com/lvs-fnat/lvs/healthcheck"
	"github.com/lvs-fnat/lvs/internal/config"
)

var checkKinds = map[config.CheckKind]healthcheck.Kind{
	config.TCPCheck:  healthcheck.TCPCheck,
	config.HTTPGet:   healthcheck.HTTPGet,
	config.SSLGet:    healthcheck.SSLGet,
	config.SMTPCheck: healthcheck.SMTPCheck,
	config.DNSCheck:  healthcheck.DNSCheck,
	config.UDPCheck:  healthcheck.UDPCheck,
	config.PingCheck: healthcheck.PingCheck,
	config.MiscCheck: healthcheck.MiscCheck,
	config.GRPCCheck: healthcheck.GRPCCheck,
}

var httpProtocols = map[string]healthcheck.Protocol{
	"1.0": healthcheck.HTTP10, "1.0C": healthcheck.HTTP10Close, "1.1": healthcheck.HTTP11,
}

// target is the check c of a server, in the words of healthcheck.
func target(service, server string, c *config.Checker) *healthcheck.Target {
	t := &healthcheck.Target{
		Service: service,
		Server:  server,
		Spec: healthcheck.Spec{
			Kind: checkKinds[c.Kind],
			Conn: healthcheck.Conn{Addr: c.Connect, Bind: c.BindTo, BindIf: c.BindIf, FwMark: c.FWMark, Proxy: c.Proxy},
			Timing: healthcheck.Timing{
				DelayLoop:        c.DelayLoop,
				ConnectTimeout:   c.ConnectTimeout,
				Retry:            uint32(c.Retry),
				DelayBeforeRetry: c.DelayBeforeRetry,
				Warmup:           c.Warmup,
				Alpha:            c.Alpha,
				LogAllFailures:   c.LogAllFailures,
			},
			TLS:  c.TLS,
			SMTP: c.SMTP,
			DNS:  c.DNS,
			UDP:  c.UDP,
			Misc: c.Misc,
			GRPC: c.GRPC,
		},
	}
	if c.HTTP != nil {
		t.Spec.HTTP = httpTarget(c.HTTP)
	}
	return t
}

// fileEvery is how often a file is read even if nothing says that it changed.
const fileEvery = time.Minute

// fileTarget is the FILE_CHECK f.
func (d *Director) fileTarget(service, server string, f *config.FileCheck) *healthcheck.Target {
	path := ""
	for i := range d.cfg.TrackFiles {
		if t := &d.cfg.TrackFiles[i]; t.Name == f.TrackFile {
			path = t.Path
		}
	}
	return &healthcheck.Target{Service: service, Server: server, Spec: healthcheck.Spec{
		Kind:   healthcheck.FileCheck,
		File:   &healthcheck.File{Path: path, Weight: f.Weight, Reverse: f.Reverse},
		Timing: healthcheck.Timing{DelayLoop: fileEvery, ConnectTimeout: fileEvery},
	}}
}

// bfdTarget is the BFD_CHECK b. It waits for no timer.
func bfdTarget(service, server string, b *config.BFDCheck) *healthcheck.Target {
	return &healthcheck.Target{Service: service, Server: server, Spec: healthcheck.Spec{
		Kind:   healthcheck.BFDCheck,
		BFD:    &healthcheck.BFD{Session: b.Name},
		Timing: healthcheck.Timing{DelayLoop: fileEvery, ConnectTimeout: fileEvery, Alpha: b.Alpha},
	}}
}

// complete adds to t what the configuration says elsewhere: the certificate of
// SSL, and the local address that v's checks leave from.
func (d *Director) complete(t *healthcheck.Target, v *virtual) {
	if s := &d.cfg.SSL; t.Spec.Kind == healthcheck.SSLGet && s.Certificate != "" {
		own := *t.Spec.TLS
		own.Certificate, own.Key, own.Password = s.Certificate, s.Key, s.Password
		t.Spec.TLS = &own
	}
	c := &t.Spec.Conn
	if !v.cfg.CheckFromLaddr || !c.Addr.IsValid() || c.Bind.Addr().IsValid() && !c.Bind.Addr().IsUnspecified() {
		return
	}
	if a := d.laddrFor(v, c.Addr.Addr()); a.IsValid() {
		c.Bind = netip.AddrPortFrom(a, c.Bind.Port())
	}
}

// laddrFor picks an address of v's groups for checks of the server at to, each
// time the same, and spread over the servers.
func (d *Director) laddrFor(v *virtual, to netip.Addr) netip.Addr {
	for _, e := range v.cfg.Endpoints {
		for i := range d.cfg.LaddrGroups {
			g := &d.cfg.LaddrGroups[i]
			if g.Name != e.LaddrGroup || g.Family != config.FamilyOf(to) || len(g.Addrs) == 0 {
				continue
			}
			b := to.As16()
			return g.Addrs[int(b[15])%len(g.Addrs)].Addr
		}
	}
	return netip.Addr{}
}

func httpTarget(h *config.HTTP) healthcheck.HTTP {
	to := healthcheck.HTTP{
		VirtualHost:  h.VirtualHost,
		Protocol:     httpProtocols[h.Protocol],
		FastRecovery: h.FastRecovery,
	}
	for _, u := range h.URLs {
		url := healthcheck.URL{Path: u.Path, VirtualHost: u.VirtualHost, Digest: u.Digest,
			Regex: u.Regex, RegexNoMatch: u.RegexNoMatch, MinOffset: u.MinOffset, MatchBefore: u.MatchBefore}
		if u.TLSCompliant != nil {
			url.Compliant = map[bool]uint8{true: 1, false: 2}[*u.TLSCompliant]
		}
		for _, r := range u.StatusCodes {
			url.Status = append(url.Status, healthcheck.StatusRange{Low: uint16(r.Min), High: uint16(r.Max)})
		}
		to.URLs = append(to.URLs, url)
	}
	return to
}
