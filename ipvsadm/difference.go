// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/netip"
	"sync"

	"github.com/lvs-fnat/lvs/ipvs"
)

// difference plans what makes have what want describes, and touches nothing
// that is so already. The order is that of all FNAT: group, address, service,
// its settings, destination.
func difference(have, want *tables) plan {
	var p plan
	if have.ext {
		p.groups(have, want)
	}
	for key, w := range want.services.all() {
		h := have.services.get(key)
		if h == nil {
			h = &tableService{ext: newExt()}
			p.add(w.line, ipvs.Op{Kind: ipvs.AddService, Service: w.service})
			p.extension(h, w, true)
			p.dests(h, w, nil)
			continue
		}
		p.service(h, w)
	}
	p.settings(have, want)
	for key := range have.services.all() {
		if want.services.get(key) == nil {
			p.remove(0, ipvs.Op{Kind: ipvs.DelService, Service: ipvs.Service{ServiceKey: key}})
		}
	}
	if have.ext {
		p.oldGroups(have, want)
	}
	return p
}

// needForwarding are the settings that go with FNAT or SYNPROXY only; zero is
// without them.
const needForwarding = ipvs.ExtFieldTimeoutEst | ipvs.ExtFieldBPSIn | ipvs.ExtFieldBPSOut

// service changes a service that is there. What excludes FNAT and SYNPROXY
// comes after they are switched off, and goes before they are switched on.
func (p *plan) service(h, w *tableService) {
	const both = fnat | ipvs.ExtSynproxy
	off := h.ext.Flags &^ w.ext.Flags
	proxied := w.ext.Flags&ipvs.ExtSynproxy&^h.ext.Flags != 0
	if edited := h.service != w.service; off&both != 0 && (edited || proxied) {
		out := ipvs.Ext{Set: ipvs.ExtFieldFlags, FlagsMask: off}
		without := *h
		without.ext.Flags &^= off
		for _, f := range extFields() {
			if f.field&needForwarding != 0 && !f.same(&h.ext, &out) {
				out.Set |= f.field
				f.set(&without.ext, &out)
			}
		}
		p.add(w.extLine, setExt(w.service.ServiceKey, out))
		h = &without
	}
	if h.service != w.service {
		p.add(w.line, ipvs.Op{Kind: ipvs.SetService, Service: w.service})
	}
	var done map[ipvs.DestKey]bool
	if proxied {
		done = p.onlyNAT(h, w)
	}
	p.extension(h, w, false)
	p.dests(h, w, done)
}

// onlyNAT changes and deletes destinations that SYNPROXY cannot have, and
// returns them.
func (p *plan) onlyNAT(h, w *tableService) map[ipvs.DestKey]bool {
	key := ipvs.Service{ServiceKey: w.service.ServiceKey}
	done := map[ipvs.DestKey]bool{}
	for k, hd := range h.dests.all() {
		if hd.dest.Forward == ipvs.Masq {
			continue
		}
		done[k] = true
		if wd := w.dests.get(k); wd != nil {
			p.add(wd.line, ipvs.Op{Kind: ipvs.SetDest, Service: key, Dest: wd.dest})
		} else {
			p.add(0, ipvs.Op{Kind: ipvs.DelDest, Service: key, Dest: ipvs.Dest{DestKey: k}})
		}
	}
	return done
}

func (p *plan) dests(h, w *tableService, done map[ipvs.DestKey]bool) {
	key := ipvs.Service{ServiceKey: w.service.ServiceKey}
	for k, wd := range w.dests.all() {
		switch hd := h.dests.get(k); {
		case done[k]:
		case hd == nil:
			p.add(wd.line, ipvs.Op{Kind: ipvs.AddDest, Service: key, Dest: wd.dest})
		case hd.dest != wd.dest:
			p.add(wd.line, ipvs.Op{Kind: ipvs.SetDest, Service: key, Dest: wd.dest})
		}
	}
	for k := range h.dests.all() {
		if w.dests.get(k) == nil && !done[k] {
			p.remove(0, ipvs.Op{Kind: ipvs.DelDest, Service: key, Dest: ipvs.Dest{DestKey: k}})
		}
	}
}

// extension sends the settings that differ. FNAT that is switched on brings
// others with it unless they were ever named, which nobody can know of a
// service that is there already: so they are named then.
func (p *plan) extension(h, w *tableService, fresh bool) {
	var out ipvs.Ext
	out.FlagsMask = h.ext.Flags ^ w.ext.Flags
	brought := h.ext
	on := w.ext.Flags&^h.ext.Flags&fnat != 0 && isTCP(w.service.ServiceKey)
	if on && fresh {
		out.FlagsMask ^= seqAdjust
		brought.TSMode = ipvs.TSStrip
	} else if on {
		out.FlagsMask |= seqAdjust
	}
	if out.FlagsMask != 0 {
		out.Set |= ipvs.ExtFieldFlags
		out.Flags = w.ext.Flags & out.FlagsMask
	}
	for _, f := range extFields() {
		if !f.same(&brought, &w.ext) || on && !fresh && f.field == ipvs.ExtFieldTSMode {
			out.SP.OptsMask = h.ext.SP.Opts ^ w.ext.SP.Opts
			out.Set |= f.field
			from := w.ext
			from.SP.OptsMask = out.SP.OptsMask
			f.set(&out, &from)
		}
	}
	if out.Set != 0 {
		p.add(w.extLine, setExt(w.service.ServiceKey, out))
	}
}

func (p *plan) groups(have, want *tables) {
	owners := have.owners()
	for name, w := range want.groups.all() {
		g := ipvs.LGroup{Name: name, Family: w.family}
		h := have.groups.get(name)
		if have.replaced(name, want) {
			p.moves = append(p.moves, step{ipvs.Op{Kind: ipvs.DelLGroup, LGroup: g}, w.line})
			h = nil
		}
		if h == nil {
			h = &tableGroup{family: w.family}
			p.add(w.line, ipvs.Op{Kind: ipvs.AddLGroup, LGroup: g})
		}
		for addr, wl := range w.laddrs.all() {
			op := ipvs.Op{Kind: ipvs.AddLaddr, LGroup: g, Laddr: wl.laddr}
			if hl := h.laddrs.get(addr); hl != nil {
				if sameLaddr(hl.laddr, wl.laddr) {
					continue
				}
				op.Kind = ipvs.SetLaddr
			} else if from := owners[addr]; from != "" && !have.replaced(from, want) {
				p.moves = append(p.moves, step{ipvs.Op{Kind: ipvs.DelLaddr, LGroup: ipvs.LGroup{Name: from}, Laddr: ipvs.Laddr{Addr: addr}}, wl.line})
			}
			p.add(wl.line, op)
		}
	}
}

// owners tells which group has an address; one address is in one group only.
func (t *tables) owners() map[netip.Addr]string {
	owners := map[netip.Addr]string{}
	for name, g := range t.groups.all() {
		for addr := range g.laddrs.all() {
			owners[addr] = name
		}
	}
	return owners
}

// replaced tells whether the group must be deleted to become what want says.
func (t *tables) replaced(name string, want *tables) bool {
	h, w := t.groups.get(name), want.groups.get(name)
	return h != nil && w != nil && h.family != w.family
}

// sameLaddr: ports that want does not name are those that it has.
func sameLaddr(have, want ipvs.Laddr) bool {
	if want.PortMin == 0 && want.PortMax == 0 {
		want.PortMin, want.PortMax = have.PortMin, have.PortMax
	}
	return have == want
}

// oldGroups takes away addresses and groups that are not wanted, and which by
// then no service uses.
func (p *plan) oldGroups(have, want *tables) {
	owners := want.owners()
	for name, h := range have.groups.all() {
		w := want.groups.get(name)
		if w == nil {
			p.remove(0, ipvs.Op{Kind: ipvs.DelLGroup, LGroup: ipvs.LGroup{Name: name}})
			continue
		}
		if have.replaced(name, want) {
			continue // and gone already
		}
		for addr := range h.laddrs.all() {
			if owners[addr] == "" {
				p.remove(0, ipvs.Op{Kind: ipvs.DelLaddr, LGroup: ipvs.LGroup{Name: name}, Laddr: ipvs.Laddr{Addr: addr}})
			}
		}
	}
}

// configField is one setting of ipvs.ExtConfig.
type configField struct {
	field ipvs.ExtConfigField
	set   func(to, from *ipvs.ExtConfig)
	same  func(a, b *ipvs.ExtConfig) bool
}

func configFieldOf[T comparable](field ipvs.ExtConfigField, at func(*ipvs.ExtConfig) *T) configField {
	return configField{field,
		func(to, from *ipvs.ExtConfig) { *at(to) = *at(from) },
		func(a, b *ipvs.ExtConfig) bool { return *at(a) == *at(b) }}
}

var configFields = sync.OnceValue(func() []configField {
	return []configField{
		configFieldOf(ipvs.ExtConfigProbes, func(c *ipvs.ExtConfig) *uint8 { return &c.Probes }),
		configFieldOf(ipvs.ExtConfigReclaim, func(c *ipvs.ExtConfig) *bool { return &c.Reclaim }),
		configFieldOf(ipvs.ExtConfigSPQMem, func(c *ipvs.ExtConfig) *uint64 { return &c.SPQMem }),
		configFieldOf(ipvs.ExtConfigSPEarly, func(c *ipvs.ExtConfig) *ipvs.SynproxyMode { return &c.SPEarly }),
		configFieldOf(ipvs.ExtConfigDropVIP, func(c *ipvs.ExtConfig) *bool { return &c.DropVIP }),
		configFieldOf(ipvs.ExtConfigCookieKey, func(c *ipvs.ExtConfig) *ipvs.CookieKey { return &c.CookieKey }),
		configFieldOf(ipvs.ExtConfigCookieKeyPrev, func(c *ipvs.ExtConfig) *ipvs.CookieKey { return &c.CookieKeyPrev }),
	}
})

// settings are what holds for all services. Those that the description does
// not name stay: -C does not touch them either.
func (p *plan) settings(have, want *tables) {
	var out ipvs.ExtConfig
	for _, f := range configFields() {
		if want.config.Set&f.field != 0 && (have.config.Set&f.field == 0 || !f.same(&have.config, &want.config)) {
			f.set(&out, &want.config)
			out.Set |= f.field
		}
	}
	if out.Set != 0 {
		p.add(want.configLine, ipvs.Op{Kind: ipvs.SetExtConfig, Config: out})
	}
	var times ipvs.Timeouts
	if t := want.timeouts.TCP; t != 0 && t != have.timeouts.TCP {
		times.TCP = t
	}
	if t := want.timeouts.TCPFin; t != 0 && t != have.timeouts.TCPFin {
		times.TCPFin = t
	}
	if t := want.timeouts.UDP; t != 0 && t != have.timeouts.UDP {
		times.UDP = t
	}
	if times != (ipvs.Timeouts{}) {
		p.add(want.timeoutsLine, ipvs.Op{Kind: ipvs.SetTimeouts, Times: times})
	}
	for state, w := range want.daemons.all() {
		h := have.daemons.get(state)
		running := h.runs
		same := running && w.runs && filledIn(w.daemon, h.daemon) == h.daemon
		if running && !same {
			p.add(w.line, ipvs.Op{Kind: ipvs.StopDaemon, Daemon: h.daemon})
		}
		if w.runs && !same {
			p.add(w.line, ipvs.Op{Kind: ipvs.StartDaemon, Daemon: w.daemon})
		}
	}
}
