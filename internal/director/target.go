// SPDX-License-Identifier: Apache-2.0

package director

import (
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
}

var httpProtocols = map[string]healthcheck.Protocol{
	"1.0": healthcheck.HTTP10, "1.0C": healthcheck.HTTP10Close, "1.1": healthcheck.HTTP11,
}

// target is the check c of a server, in the words of healthcheck.
func target(service, server string, c *config.Checker) healthcheck.Target {
	t := healthcheck.Target{
		Service: service,
		Server:  server,
		Spec: healthcheck.Spec{
			Kind: checkKinds[c.Kind],
			Conn: healthcheck.Conn{Addr: c.Connect, Bind: c.BindTo, BindIf: c.BindIf, FwMark: c.FWMark},
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
		},
	}
	if c.HTTP != nil {
		t.Spec.HTTP = httpTarget(c.HTTP)
	}
	return t
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
		for _, r := range u.StatusCodes {
			url.Status = append(url.Status, healthcheck.StatusRange{Low: uint16(r.Min), High: uint16(r.Max)})
		}
		to.URLs = append(to.URLs, url)
	}
	return to
}
