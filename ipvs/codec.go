// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/lvs-fnat/lvs/ipvs/uapi"
)

// noScheduler is the kernel's word for a service without scheduler.
const noScheduler = "none"

// allFlags is the mask sent beside the flags: every bit is meant, as the
// stock command does; the kernel puts its own bits back.
const allFlags = 0xffffffff

// getAddr reads an address out of 4 bytes or the kernel's union of 16, whose
// first 4 are an IPv4 address.
func getAddr(family Family, b []byte) (netip.Addr, error) {
	switch {
	case family == IPv4 && (len(b) == 4 || len(b) == 16):
		return netip.AddrFrom4([4]byte(b[:4])), nil
	case family == IPv6 && len(b) == 16:
		return netip.AddrFrom16([16]byte(b)), nil
	}
	return netip.Addr{}, fmt.Errorf("an address of family %d with %d bytes", family, len(b))
}

func (k *ServiceKey) encode(ae *encoder) error {
	family := k.Family
	switch {
	case family != 0:
	case k.Addr.IsValid():
		family = FamilyOf(k.Addr)
	default:
		family = IPv4
	}
	ae.Uint16(uapi.SvcAF, uint16(family))
	if k.FWMark != 0 {
		ae.Uint32(uapi.SvcFWMark, k.FWMark)
		return nil
	}
	if !k.Addr.IsValid() || FamilyOf(k.Addr) != family {
		return fmt.Errorf("%w: a service of family %d needs an address of it, not %q", errInvalid, family, k.Addr)
	}
	ae.Uint16(uapi.SvcProtocol, uint16(k.Protocol))
	ae.Addr(uapi.SvcAddr, k.Addr)
	ae.Port(uapi.SvcPort, k.Port)
	return nil
}

func (s *Service) encode(ae *encoder) error {
	if err := s.ServiceKey.encode(ae); err != nil {
		return err
	}
	seconds, err := wholeSeconds(s.Timeout)
	if err != nil {
		return fmt.Errorf("persistence timeout: %w", err)
	}
	scheduler := s.Scheduler
	if scheduler == "" {
		scheduler = noScheduler
	}
	ae.String(uapi.SvcSchedName, scheduler)
	ae.Pair(uapi.SvcFlags, uint32(s.Flags), allFlags)
	ae.Uint32(uapi.SvcTimeout, seconds)
	mask := s.netmask()
	ae.Bytes(uapi.SvcNetmask, mask[:])
	if s.PEName != "" {
		ae.String(uapi.SvcPEName, s.PEName)
	}
	return nil
}

// netmask fills in "every client on its own" where the mask cannot be meant:
// the kernel refuses a prefix length of 0 even without persistence.
func (s *Service) netmask() (b [4]byte) {
	v6 := s.Family == IPv6 || s.Addr.Is6()
	switch {
	case v6 && s.Netmask == 0:
		binary.NativeEndian.PutUint32(b[:], 128)
	case v6:
		binary.NativeEndian.PutUint32(b[:], s.Netmask)
	case s.Netmask == 0 && s.Flags&FlagPersistent == 0 && !s.NoMask:
		binary.BigEndian.PutUint32(b[:], 0xffffffff)
	default:
		binary.BigEndian.PutUint32(b[:], s.Netmask)
	}
	return b
}

// hasNoMask says of a service that was read what NoMask says of one to be written.
func (s *Service) hasNoMask() bool {
	return s.Family == IPv4 && s.Netmask == 0 && s.Flags&FlagPersistent == 0
}

func wholeSeconds(d time.Duration) (uint32, error) {
	if d < 0 || d%time.Second != 0 || d/time.Second > 0xffffffff {
		return 0, fmt.Errorf("%w: %v is not a whole number of seconds", errInvalid, d)
	}
	return uint32(d / time.Second), nil
}

func seconds(n uint32) time.Duration { return time.Duration(n) * time.Second }

func decodeService(ad *decoder) (Service, error) {
	var s Service
	var addr, mask []byte
	var stats statsNest
	for ad.Next() {
		switch ad.Type() {
		case uapi.SvcAF:
			s.Family = Family(ad.Uint16())
		case uapi.SvcProtocol:
			s.Protocol = Protocol(ad.Uint16())
		case uapi.SvcAddr:
			addr = ad.Bytes()
		case uapi.SvcPort:
			s.Port = ad.Port()
		case uapi.SvcFWMark:
			s.FWMark = ad.Uint32()
		case uapi.SvcSchedName:
			s.Scheduler = schedulerText(ad.text())
		case uapi.SvcFlags:
			flags, _ := ad.Pair()
			s.Flags = ServiceFlags(flags)
		case uapi.SvcTimeout:
			s.Timeout = seconds(ad.Uint32())
		case uapi.SvcNetmask:
			mask = ad.Bytes()
		case uapi.SvcPEName:
			s.PEName = ad.String()
		case uapi.SvcStats:
			stats.narrow = ad.Bytes()
		case uapi.SvcStats64:
			stats.wide = ad.Bytes()
		}
	}
	ad.fail(stats.decode(&s.Stats))
	if err := ad.Err(); err != nil {
		return Service{}, err
	}
	if s.Scheduler == noScheduler {
		s.Scheduler = ""
	}
	if mask != nil {
		if len(mask) != 4 {
			return Service{}, fmt.Errorf("a netmask of %d bytes", len(mask))
		}
		s.Netmask = binary.BigEndian.Uint32(mask)
		if s.Family == IPv6 {
			s.Netmask = binary.NativeEndian.Uint32(mask)
		}
		s.NoMask = s.hasNoMask()
	}
	return s, s.setAddr(addr)
}

// schedulerText is a text; the usual schedulers' takes no memory.
func schedulerText(b []byte) string {
	switch string(b) {
	case "rr":
		return "rr"
	case "wrr":
		return "wrr"
	case "lc":
		return "lc"
	case "wlc":
		return "wlc"
	case "sh":
		return "sh"
	case "mh":
		return "mh"
	}
	return string(b)
}

// setAddr completes the key of a service that the kernel sent.
func (k *ServiceKey) setAddr(b []byte) (err error) {
	if k.FWMark != 0 {
		k.Protocol, k.Port, k.Addr = 0, 0, netip.Addr{}
		return nil
	}
	k.Addr, err = getAddr(k.Family, b)
	return err
}

// statsNest holds the counters of an object, which newer kernels tell twice, in
// 32 and in 64 bits.
type statsNest struct{ narrow, wide []byte }

func (n *statsNest) decode(to *Stats) error {
	if n.wide != nil {
		return to.decode(n.wide)
	}
	return to.decode(n.narrow)
}

// decode reads a nest of counters.
func (s *Stats) decode(b []byte) error {
	ad := decoder{b: b}
	for ad.Next() {
		switch ad.typ {
		case uapi.StatsConns:
			s.Conns = ad.Counter()
		case uapi.StatsInPkts:
			s.InPkts = ad.Counter()
		case uapi.StatsOutPkts:
			s.OutPkts = ad.Counter()
		case uapi.StatsInBytes:
			s.InBytes = ad.Counter()
		case uapi.StatsOutBytes:
			s.OutBytes = ad.Counter()
		case uapi.StatsCPS:
			s.CPS = ad.Counter()
		case uapi.StatsInPPS:
			s.InPPS = ad.Counter()
		case uapi.StatsOutPPS:
			s.OutPPS = ad.Counter()
		case uapi.StatsInBPS:
			s.InBPS = ad.Counter()
		case uapi.StatsOutBPS:
			s.OutBPS = ad.Counter()
		}
	}
	return ad.Err()
}

func (k *DestKey) encode(ae *encoder) error {
	if !k.Addr.IsValid() {
		return fmt.Errorf("%w: a dest needs an address", errInvalid)
	}
	family := k.Family
	if family == 0 {
		family = FamilyOf(k.Addr)
	}
	if FamilyOf(k.Addr) != family {
		return fmt.Errorf("%w: a dest of family %d needs an address of it, not %q", errInvalid, family, k.Addr)
	}
	ae.Uint16(uapi.DestAddrFamily, uint16(family))
	ae.Addr(uapi.DestAddr, k.Addr)
	ae.Port(uapi.DestPort, k.Port)
	return nil
}

// encode sends the tunnel's attributes with every tunnel, IPIP too: an absent
// one would mean "the default" to the kernel, whatever the dest was before.
func (d *Dest) encode(ae *encoder) error {
	if err := d.DestKey.encode(ae); err != nil {
		return err
	}
	if d.Forward > Bypass {
		return fmt.Errorf("%w: forwarding method %d is none of ip_vs", errInvalid, d.Forward)
	}
	ae.Uint32(uapi.DestFwdMethod, uint32(d.Forward))
	ae.Uint32(uapi.DestWeight, d.Weight)
	ae.Uint32(uapi.DestUThresh, d.UpperThreshold)
	ae.Uint32(uapi.DestLThresh, d.LowerThreshold)
	if d.Forward == Tunnel {
		ae.Uint8(uapi.DestTunType, uint8(d.TunType))
		ae.Port(uapi.DestTunPort, d.TunPort)
		ae.Uint16(uapi.DestTunFlags, d.TunFlags)
	}
	return nil
}

// decodeDest reads one dest; family is the service's, for kernels that do not
// tell the dest's own. Most listings show no counters: those are looked at only if
// counters says so.
func decodeDest(ad *decoder, family Family, counters bool) (Dest, error) {
	d := Dest{DestKey: DestKey{Family: family}}
	var addr []byte
	var stats statsNest
	for ad.Next() {
		switch ad.Type() {
		case uapi.DestAddr:
			addr = ad.Bytes()
		case uapi.DestPort:
			d.Port = ad.Port()
		case uapi.DestFwdMethod:
			d.Forward = Forward(ad.Uint32() & 7) // IP_VS_CONN_F_FWD_MASK
		case uapi.DestWeight:
			d.Weight = ad.Uint32()
		case uapi.DestUThresh:
			d.UpperThreshold = ad.Uint32()
		case uapi.DestLThresh:
			d.LowerThreshold = ad.Uint32()
		case uapi.DestActiveConns:
			d.ActiveConns = ad.Uint32()
		case uapi.DestInactConns:
			d.InactConns = ad.Uint32()
		case uapi.DestPersistConns:
			d.PersistConns = ad.Uint32()
		case uapi.DestAddrFamily:
			d.Family = Family(ad.Uint16())
		case uapi.DestTunType:
			d.TunType = TunnelType(ad.Uint8())
		case uapi.DestTunPort:
			d.TunPort = ad.Port()
		case uapi.DestTunFlags:
			d.TunFlags = ad.Uint16()
		case uapi.DestStats:
			stats.narrow = ad.Bytes()
		case uapi.DestStats64:
			stats.wide = ad.Bytes()
		}
	}
	if counters {
		ad.fail(stats.decode(&d.Stats))
	}
	if err := ad.Err(); err != nil {
		return Dest{}, err
	}
	var err error
	d.Addr, err = getAddr(d.Family, addr)
	return d, err
}

func (d Daemon) encode(ae *encoder) error {
	ae.Uint32(uapi.DaemonState, uint32(d.State))
	ae.String(uapi.DaemonMcastIfn, d.Interface)
	ae.Uint32(uapi.DaemonSyncID, d.SyncID)
	if d.MaxLen != 0 {
		ae.Uint16(uapi.DaemonSyncMaxLen, d.MaxLen)
	}
	switch {
	case d.Group.Is4():
		ae.Bytes(uapi.DaemonMcastGroup, d.Group.AsSlice())
	case d.Group.IsValid():
		ae.Bytes(uapi.DaemonMcastGroup6, d.Group.AsSlice())
	}
	if d.Port != 0 {
		ae.Uint16(uapi.DaemonMcastPort, d.Port)
	}
	if d.TTL != 0 {
		ae.Uint8(uapi.DaemonMcastTTL, d.TTL)
	}
	return nil
}

func decodeDaemon(ad *decoder) (Daemon, error) {
	var d Daemon
	group := func(f Family) (err error) {
		d.Group, err = getAddr(f, ad.Bytes())
		return err
	}
	for ad.Next() {
		switch ad.Type() {
		case uapi.DaemonState:
			d.State = SyncState(ad.Uint32())
		case uapi.DaemonMcastIfn:
			d.Interface = ad.String()
		case uapi.DaemonSyncID:
			d.SyncID = ad.Uint32()
		case uapi.DaemonSyncMaxLen:
			d.MaxLen = ad.Uint16()
		case uapi.DaemonMcastGroup:
			ad.fail(group(IPv4))
		case uapi.DaemonMcastGroup6:
			ad.fail(group(IPv6))
		case uapi.DaemonMcastPort:
			d.Port = ad.Uint16()
		case uapi.DaemonMcastTTL:
			d.TTL = ad.Uint8()
		}
	}
	return d, ad.Err()
}

func (t Timeouts) encode(ae *encoder) error {
	for i, d := range []time.Duration{t.TCP, t.TCPFin, t.UDP} {
		n, err := wholeSeconds(d)
		if err != nil {
			return fmt.Errorf("connection timeout: %w", err)
		}
		if n != 0 {
			ae.Uint32(uint16(uapi.AttrTimeoutTCP+i), n)
		}
	}
	return nil
}

func decodeTimeouts(ad *decoder) (Timeouts, error) {
	var t Timeouts
	for ad.Next() {
		switch ad.Type() {
		case uapi.AttrTimeoutTCP:
			t.TCP = seconds(ad.Uint32())
		case uapi.AttrTimeoutTCPFin:
			t.TCPFin = seconds(ad.Uint32())
		case uapi.AttrTimeoutUDP:
			t.UDP = seconds(ad.Uint32())
		}
	}
	return t, ad.Err()
}
