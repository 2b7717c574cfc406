// SPDX-License-Identifier: Apache-2.0

package director

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/ipvs"
)

// Tables is what the kernel shall hold now.
func (d *Director) Tables() Tables {
	t := Tables{Groups: wantedGroups(d.cfg)}
	if lt := d.cfg.Global.LVSTimeouts; lt != nil {
		t.Timeouts = ipvs.Timeouts{TCP: lt.TCP, TCPFin: lt.TCPFin, UDP: lt.UDP}
	}
	for _, v := range d.virtuals {
		for _, e := range v.cfg.Endpoints {
			t.Services = append(t.Services, Service{Service: wantedService(v.cfg, e), Ext: wantedExt(v.cfg, e), Dests: v.dests(e, d.now)})
		}
	}
	return t
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

func wantedService(vs *config.VirtualServer, e config.Endpoint) ipvs.Service {
	s := ipvs.Service{
		ServiceKey: endpointKey(vs, e),
		Scheduler:  vs.Scheduler,
		PEName:     vs.PersistenceEngine,
		Flags:      ipvs.ServiceFlags(vs.SchedFlags) * ipvs.FlagSched1,
		Netmask:    netmask(e.Family, vs.PersistenceGranularity, vs.PersistenceMask),
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
func (v *virtual) dests(e config.Endpoint, now time.Time) []ipvs.Dest {
	var list []ipvs.Dest
	seen := map[ipvs.DestKey]bool{}
	add := func(rs *config.RealServer, weight int) {
		if rs.Method != config.TUN && config.FamilyOf(rs.Addr.Addr()) != e.Family {
			return // of a group with endpoints of both families
		}
		d := wantedDest(rs, e, weight)
		if !seen[d.DestKey] {
			seen[d.DestKey] = true
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

func wantedDest(rs *config.RealServer, e config.Endpoint, weight int) ipvs.Dest {
	port := rs.Addr.Port()
	if port == 0 && e.FWMark == 0 {
		port = e.Addr.Port()
	}
	d := ipvs.Dest{
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
