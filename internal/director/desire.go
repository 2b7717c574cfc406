// SPDX-License-Identifier: Apache-2.0

package director

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/ipvs"
)

// Tables is what the kernel shall hold now.
func (d *Director) Tables() Tables {
	t := Tables{Groups: wantedGroups(d.cfg), Config: d.cfg.Global.Ext}
	if lt := d.cfg.Global.LVSTimeouts; lt != nil {
		t.Timeouts = ipvs.Timeouts{TCP: lt.TCP, TCPFin: lt.TCPFin, UDP: lt.UDP}
	}
	t.Services = make([]*Service, 0, len(d.virtuals))
	for _, v := range d.virtuals {
		t.Services = append(t.Services, d.services(v)...)
	}
	return t
}

// standing is what of a server is in the tables.
type standing struct {
	up     bool
	weight uint32
}

// services are those of all endpoints, made anew where something else is wanted
// than the last time. What they refer to is never changed.
func (d *Director) services(v *virtual) []*Service {
	now := d.now
	stand := func(i int) standing {
		if i == len(v.servers) {
			return standing{up: v.sorry()}
		}
		s := v.servers[i]
		return standing{s.alive, uint32(s.given(now))}
	}
	same := v.made != nil
	for i := 0; same && i < len(v.stood); i++ {
		same = v.stood[i] == stand(i)
	}
	if same {
		return v.made
	}
	v.made, v.stood = make([]*Service, 0, len(v.served())), make([]standing, len(v.servers)+1)
	for i := range v.stood {
		v.stood[i] = stand(i)
	}
	for _, e := range v.served() {
		v.made = append(v.made, &Service{ServiceKey: endpointKey(v.cfg, e), Settings: d.settingsOf(v.cfg, e), Dests: v.dests(e, now)})
	}
	return v.made
}

// settingsKey is all that the settings of a service are made of.
type settingsKey struct {
	traits *config.VirtualTraits
	family config.Family
	group  string
}

// settingsOf are those of an endpoint, the same for all that share them.
func (d *Director) settingsOf(vs *config.VirtualServer, e config.Endpoint) *Settings {
	key := settingsKey{vs.VirtualTraits, e.Family, e.LaddrGroup}
	s := d.settings[key]
	if s == nil {
		s = &Settings{Main: wantedService(vs.VirtualTraits, e.Family), Ext: wantedExt(vs.VirtualTraits, e.LaddrGroup)}
		d.settings[key] = s
	}
	return s
}

// endpointKey is the kernel's name of an endpoint.
func endpointKey(vs *config.VirtualServer, e config.Endpoint) ipvs.ServiceKey {
	if e.FWMark != 0 {
		return ipvs.ServiceKey{Family: ipvs.Family(e.Family), FWMark: e.FWMark}
	}
	return ipvs.ServiceKey{
		Family: ipvs.Family(e.Family), Protocol: ipvs.Protocol(vs.Protocol), Addr: e.Addr.Addr(), Port: e.Addr.Port(),
	}
}

func wantedService(vs *config.VirtualTraits, family config.Family) ipvs.Service {
	s := ipvs.Service{
		Scheduler: vs.Scheduler,
		PEName:    vs.PersistenceEngine,
		Flags:     ipvs.ServiceFlags(vs.SchedFlags) * ipvs.FlagSched1,
		Netmask:   netmask(family, vs.PersistenceGranularity, vs.PersistenceMask),
	}
	if vs.OnePacket {
		s.Flags |= ipvs.FlagOnePacket
	}
	if vs.PersistenceTimeout > 0 {
		s.Flags |= ipvs.FlagPersistent
		s.Timeout = vs.PersistenceTimeout
	}
	return s
}

// netmask turns a prefix length, 0 for whole addresses, or a mask that is none
// into the kernel's form: IPv6 has the length itself, IPv4 the mask as a number.
func netmask(f config.Family, bits int, mask netip.Addr) uint32 {
	if f == config.IPv4 && mask.IsValid() {
		b := mask.As4()
		return binary.BigEndian.Uint32(b[:])
	}
	if f == config.IPv6 {
		if bits == 0 {
			bits = 128
		}
		return uint32(bits)
	}
	if bits == 0 {
		bits = 32
	}
	return ^uint32(0) << (32 - min(bits, 32))
}

// dests are those of one endpoint. A server that is down is absent, or there
// with weight 0 if it inhibits; while the sorry server stands in, so is every
// other.
func (v *virtual) dests(e config.Endpoint, now time.Time) []Dest {
	n := len(v.servers)
	if v.cfg.SorryServer != nil {
		n++
	}
	list := make([]Dest, 0, n)
	var seen map[ipvs.DestKey]bool
	if len(v.servers) > 32 { // fewer are found sooner without
		seen = make(map[ipvs.DestKey]bool, len(v.servers))
	}
	has := func(k ipvs.DestKey) bool {
		if seen == nil {
			return slices.ContainsFunc(list, func(d Dest) bool { return d.DestKey == k })
		}
		defer func() { seen[k] = true }()
		return seen[k]
	}
	add := func(rs *config.RealServer, weight int) {
		if rs.Method != config.TUN && config.FamilyOf(rs.Addr.Addr()) != e.Family {
			return // of a group with endpoints of both families
		}
		if d := wantedDest(rs, e, weight); !has(d.DestKey) {
			list = append(list, d)
		}
	}
	sorry := v.cfg.SorryServer
	if v.sorry() {
		add(sorry, sorry.Weight)
	}
	for _, s := range v.servers {
		switch {
		case s.alive && !v.sorry():
			add(s.cfg, s.given(now))
		case s.cfg.InhibitOnFailure:
			add(s.cfg, 0)
		}
	}
	if sorry != nil && !v.sorry() && v.cfg.SorryServerInhibit {
		add(sorry, 0)
	}
	return list
}

var forwards = map[config.Method]ipvs.Forward{
	config.NAT: ipvs.Masq, config.FNAT: ipvs.Masq, config.DR: ipvs.DirectRoute, config.TUN: ipvs.Tunnel,
}

var tunnelTypes = map[string]ipvs.TunnelType{"ipip": ipvs.TunnelIPIP, "gue": ipvs.TunnelGUE, "gre": ipvs.TunnelGRE}

// tunnelFlags are the numbers of IP_VS_TUNNEL_ENCAP_FLAG_* in linux/ip_vs.h.
var tunnelFlags = map[string]uint16{"nocsum": 0, "csum": 1, "remcsum": 2}

func wantedDest(rs *config.RealServer, e config.Endpoint, weight int) Dest {
	port := rs.Addr.Port()
	switch {
	case port == 0 && e.FWMark == 0:
		port = e.Addr.Port()
	case e.FWMark != 0 && rs.Method != config.NAT && rs.Method != config.FNAT:
		port = 0 // that of the packet: what is not translated keeps it
	}
	d := Dest{
		DestKey:        destKeyOf(netip.AddrPortFrom(rs.Addr.Addr(), port)),
		Forward:        forwards[rs.Method],
		Weight:         uint32(weight),
		UpperThreshold: uint32(rs.UThreshold),
		LowerThreshold: uint32(rs.LThreshold),
	}
	if d.Forward == ipvs.Tunnel {
		d.TunType, d.TunPort, d.TunFlags = tunnelTypes[rs.Tunnel.Type], rs.Tunnel.Port, tunnelFlags[rs.Tunnel.Checksum]
	}
	return d
}

func destKeyOf(a netip.AddrPort) ipvs.DestKey {
	return ipvs.DestKey{Family: ipvs.FamilyOf(a.Addr()), Addr: a.Addr(), Port: a.Port()}
}
