// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/lvs-fnat/lvs/ipvs"
)

// print writes the explanation for people: what happens first, then the
// conditions, then who gets nothing and why.
func (e *explanation) print(ctx context.Context, a *app, numeric bool) {
	l := &lister{app: a, w: a.stdout, numeric: numeric}
	end := func(ap netip.AddrPort) string { return a.endpointText(ctx, ap.Addr(), ap.Port(), e.protocol, numeric) }
	server := func(k ipvs.DestKey) string {
		if k.Port == 0 {
			return strings.TrimSuffix(end(netip.AddrPortFrom(k.Addr, 0)), ":0") + ", the packet's port"
		}
		return end(netip.AddrPortFrom(k.Addr, k.Port))
	}
	line := func(name, format string, args ...any) {
		fmt.Fprintf(a.stdout, "%-16s %s\n", name, fmt.Sprintf(format, args...))
	}
	ofAny := func(ap netip.AddrPort) string {
		if ap.Port() == 0 {
			return strings.TrimSuffix(end(ap), ":0") + ", any port"
		}
		return end(ap)
	}
	line("client", "%s", ofAny(e.client))
	if e.mark != 0 {
		line("to", "any packet with the mark %d", e.mark)
	} else {
		line("to", "%s %s", strings.ToUpper(protocolWord(e.protocol)), ofAny(e.virtual))
	}
	if e.service != (ipvs.Service{}) {
		line("service", "%s %s", l.serviceName(ctx, &e.service), schedulerName(&e.service))
	}
	line("verdict", "%s, %s", e.verdict, e.sure)
	line("because", "%s", e.because)
	if e.server != nil {
		line("real server", "%s", server(*e.server))
	}
	if e.forward != "" {
		line("path", "%s", e.forward)
	}
	if e.timeouts != 0 {
		line("expires", "in %d s without another packet", int(e.timeouts.Seconds()))
	}
	for _, c := range e.checks {
		line(c.name, "%s: %s", map[string]string{"yes": "passes", "no": "refuses", "perhaps": "may decide"}[c.passes], c.text)
	}
	for i := range e.servers {
		s := &e.servers[i]
		name := server(s.dest.DestKey)
		switch {
		case s.share == 0:
			line("  not", "%s: %s", name, s.against)
		case e.server == nil && e.verdict == verdictAccepted:
			line("  one of", "%s: %.0f%%", name, 100*s.share)
		}
	}
	for _, lip := range e.lips {
		text := laddrText(lip.laddr)
		switch {
		case lip.share == 0:
			line("  not from", "%s: %s", text, lip.against)
		case lip.share == 1:
			line("from", "%s", text)
		default:
			line("  from one of", "%s: %.0f%%%s", text, 100*lip.share, map[bool]string{true: ", " + lip.against}[lip.against != ""])
		}
	}
}

type jsonExplanation struct {
	Client    jsonEnd      `json:"client"`
	Virtual   *jsonEnd     `json:"virtual"`
	Service   *jsonKey     `json:"service"`
	Scheduler *string      `json:"scheduler"`
	Verdict   string       `json:"verdict"`
	Certainty string       `json:"certainty"`
	Because   string       `json:"because"`
	Server    *jsonEnd     `json:"real_server"`
	Forward   *string      `json:"forward"`
	Checks    []jsonCheck  `json:"checks"`
	Servers   []jsonChance `json:"real_servers"`
	Laddrs    []jsonChance `json:"local_addresses"`
}

type jsonCheck struct {
	Name   string `json:"name"`
	Passes string `json:"passes"`
	Text   string `json:"text"`
}

// jsonChance is how often a server or local address is taken, and why not.
type jsonChance struct {
	Address string  `json:"address"`
	Port    *uint16 `json:"port"`
	Share   float64 `json:"share"`
	Against *string `json:"against"`
}

func (e *explanation) json() jsonExplanation {
	j := jsonExplanation{
		Client: endOf(e.client), Verdict: e.verdict, Certainty: e.sure, Because: e.because,
		Checks: []jsonCheck{}, Servers: []jsonChance{}, Laddrs: []jsonChance{},
	}
	if e.virtual.Addr().IsValid() {
		v := endOf(e.virtual)
		j.Virtual = &v
	}
	if e.service != (ipvs.Service{}) {
		key, scheduler := keyOf(e.service.ServiceKey), schedulerName(&e.service)
		j.Service, j.Scheduler = &key, &scheduler
	}
	if e.server != nil {
		j.Server = &jsonEnd{e.server.Addr.String(), e.server.Port}
	}
	if e.forward != "" {
		j.Forward = orNull(forwardJSON(e.forward))
	}
	for _, c := range e.checks {
		j.Checks = append(j.Checks, jsonCheck{c.name, c.passes, c.text})
	}
	for i := range e.servers {
		s := &e.servers[i]
		j.Servers = append(j.Servers, jsonChance{s.dest.Addr.String(), &s.dest.Port, s.share, orNull(s.against)})
	}
	for _, l := range e.lips {
		j.Laddrs = append(j.Laddrs, jsonChance{l.laddr.Addr.String(), nil, l.share, orNull(l.against)})
	}
	return j
}

// forwardJSON is the word of a listing in JSON.
func forwardJSON(word string) string {
	if w, ok := map[string]string{"FullNat": "fullnat", "Masq": "masq", "Local": "local", "Tunnel": "tunnel", "Route": "route"}[word]; ok {
		return w
	}
	return "unknown"
}

// agreeExplain wants one client, of the service's family.
func (c *call) agreeExplain() error {
	if c.cmd != cmdExplain {
		return nil
	}
	p := c.filter.Client
	switch {
	case !p.IsValid() || p.Bits() != p.Addr().BitLen():
		return usagef(msgOneClient)
	case ipvs.FamilyOf(p.Addr()) != c.service.Family:
		return usagef(msgClientFamily)
	}
	return nil
}
