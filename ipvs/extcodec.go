// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/lvs-fnat/lvs/ipvs/uapi"
)

// featureNames are the words of the IPVS_EXT_FEAT_* bits, by bit.
var featureNames = []string{"FNAT", "TOA", "TS_MODE", "MSS", "GET_CONN", "SYNPROXY",
	"LIMITS", "ACL", "EVENTS", "FAST", "EXPIRE_RST", "DEL_CONN", "FLOOD", "FORECAST", "SP_EARLY"}

// FeatureNames returns the words of the IPVS_EXT_FEAT_* bits in features,
// lowest bit first; a bit this program does not know is written as its number.
func FeatureNames(features uint64) []string {
	var names []string
	for i := range 64 {
		switch {
		case features>>i&1 == 0:
		case i < len(featureNames):
			names = append(names, featureNames[i])
		default:
			names = append(names, fmt.Sprintf("bit%d", i))
		}
	}
	return names
}

// needs returns the features that the settings in Set rest on.
func (e Ext) needs() uint64 {
	var need uint64
	for _, f := range []struct {
		set  bool
		feat uint64
	}{
		{e.Set&(ExtFieldLGroup|ExtFieldSelect) != 0, uapi.ExtFeatFnat},
		{e.Set&ExtFieldInvalid != 0, uapi.ExtFeatFlood},
		{e.Set&ExtFieldSP != 0, uapi.ExtFeatSynproxy},
		{e.Set&ExtFieldTSMode != 0, uapi.ExtFeatTsMode},
		{e.Set&ExtFieldMSSClamp != 0, uapi.ExtFeatMss},
		{e.Set&(ExtFieldTOAKind4|ExtFieldTOAKind6) != 0, uapi.ExtFeatToa},
		{e.Set&limitFields != 0, uapi.ExtFeatLimits},
		{e.Set&aclFields != 0, uapi.ExtFeatAcl},
	} {
		if f.set {
			need |= f.feat
		}
	}
	if e.Set&ExtFieldFlags != 0 {
		need |= e.FlagsMask.needs()
	}
	return need
}

func (f ExtFlags) needs() uint64 {
	var need uint64
	for flag, feat := range map[ExtFlags]uint64{
		ExtFNAT | ExtSeq | ExtExhaustRST:     uapi.ExtFeatFnat,
		ExtTOA | ExtTOASyn:                   uapi.ExtFeatToa,
		ExtSynproxy | ExtSPDefer | ExtSPAuto: uapi.ExtFeatSynproxy,
		ExtRSTOnExpire:                       uapi.ExtFeatExpireRst,
		ExtFast:                              uapi.ExtFeatFast,
	} {
		if f&flag != 0 {
			need |= feat
		}
	}
	return need
}

// needs returns the features that the settings in Set rest on.
func (c ExtConfig) needs() uint64 {
	need := uint64(uapi.ExtFeatFnat)
	if c.Set&(ExtConfigSPQMem|ExtConfigCookieKey|ExtConfigCookieKeyPrev) != 0 {
		need |= uapi.ExtFeatSynproxy
	}
	if c.Set&ExtConfigDropVIP != 0 {
		need |= uapi.ExtFeatFlood
	}
	if c.Set&ExtConfigSPEarly != 0 {
		need |= uapi.ExtFeatSpEarly
	}
	return need
}

// check refuses what the module said it does not have.
func (i ExtInfo) check(need uint64) error {
	if missing := need &^ i.Features; missing != 0 {
		return &kernelError{errno: syscall.EOPNOTSUPP,
			text: "the running ip_vs has no " + strings.Join(FeatureNames(missing), ", ")}
	}
	return nil
}

func (e Ext) encode(ae *encoder) error {
	if e.Set&ExtFieldFlags != 0 {
		if unknown := e.FlagsMask &^ uapi.ExtSvcFAll; unknown != 0 {
			return fmt.Errorf("%w: unknown service flags %#x", errInvalid, uint32(unknown))
		}
		ae.Pair(uapi.ExtSvcFlags, uint32(e.Flags&e.FlagsMask), uint32(e.FlagsMask))
	}
	if e.Set&ExtFieldLGroup != 0 {
		if len(e.LGroup) > uapi.ExtNameMax {
			return errGroupName(e.LGroup)
		}
		ae.String(uapi.ExtSvcLgroup, e.LGroup)
	}
	for _, f := range []struct {
		field ExtField
		typ   uint16
		value uint8
	}{
		{ExtFieldSelect, uapi.ExtSvcLaddrSel, uint8(e.Select)},
		{ExtFieldInvalid, uapi.ExtSvcInvalid, uint8(e.Invalid)},
		{ExtFieldTSMode, uapi.ExtSvcTsMode, uint8(e.TSMode)},
		{ExtFieldTOAKind4, uapi.ExtSvcToaKind4, e.TOAKind4},
		{ExtFieldTOAKind6, uapi.ExtSvcToaKind6, e.TOAKind6},
	} {
		if e.Set&f.field != 0 {
			ae.Uint8(f.typ, f.value)
		}
	}
	if e.Set&ExtFieldMSSClamp != 0 {
		ae.Uint16(uapi.ExtSvcMssClamp, e.MSSClamp)
	}
	if err := e.SP.encode(e.Set, ae); err != nil {
		return err
	}
	return e.Limits.encode(ae, e.Set)
}

func (e *Ext) decode(ad *decoder) error {
	for ad.Next() {
		switch ad.Type() {
		case uapi.ExtSvcFlags:
			v, mask := ad.Pair()
			e.Flags, e.FlagsMask = ExtFlags(v), ExtFlags(mask)
			e.Set |= ExtFieldFlags
		case uapi.ExtSvcLgroup:
			e.LGroup = ad.String()
			e.Set |= ExtFieldLGroup
		case uapi.ExtSvcLaddrSel:
			e.Select = LaddrSelect(ad.Uint8())
			e.Set |= ExtFieldSelect
		case uapi.ExtSvcInvalid:
			e.Invalid = InvalidPolicy(ad.Uint8())
			e.Set |= ExtFieldInvalid
		case uapi.ExtSvcTsMode:
			e.TSMode = TSMode(ad.Uint8())
			e.Set |= ExtFieldTSMode
		case uapi.ExtSvcMssClamp:
			e.MSSClamp = ad.Uint16()
			e.Set |= ExtFieldMSSClamp
		case uapi.ExtSvcToaKind4:
			e.TOAKind4 = ad.Uint8()
			e.Set |= ExtFieldTOAKind4
		case uapi.ExtSvcToaKind6:
			e.TOAKind6 = ad.Uint8()
			e.Set |= ExtFieldTOAKind6
		case uapi.ExtSvcNconn:
			e.NConn = ad.Uint32()
		default:
			e.Set |= e.SP.decode(ad) | e.Limits.decode(ad)
		}
	}
	return nil
}

func (c ExtConfig) encode(ae *encoder) error {
	if c.Set&ExtConfigProbes != 0 {
		ae.Uint8(uapi.ExtConfigProbes, c.Probes)
	}
	if c.Set&ExtConfigReclaim != 0 {
		ae.Uint8(uapi.ExtConfigReclaim, flag(c.Reclaim))
	}
	if c.Set&ExtConfigDropVIP != 0 {
		ae.Uint8(uapi.ExtConfigDropVip, flag(c.DropVIP))
	}
	if c.Set&ExtConfigSPEarly != 0 {
		ae.Uint8(uapi.ExtConfigSpEarly, uint8(c.SPEarly))
	}
	if c.Set&ExtConfigSPQMem != 0 {
		ae.Uint64(uapi.ExtConfigSpQmem, c.SPQMem)
	}
	if c.Set&ExtConfigCookieKey != 0 {
		ae.Bytes(uapi.ExtConfigCookieKey, c.CookieKey[:])
	}
	if c.Set&ExtConfigCookieKeyPrev != 0 {
		ae.Bytes(uapi.ExtConfigCookieKeyPrev, c.CookieKeyPrev[:])
	}
	return nil
}

func flag(on bool) uint8 {
	if on {
		return 1
	}
	return 0
}

func decodeExtConfig(ad *decoder) (ExtConfig, error) {
	var c ExtConfig
	for ad.Next() {
		switch ad.Type() {
		case uapi.ExtConfigProbes:
			c.Probes = ad.Uint8()
			c.Set |= ExtConfigProbes
		case uapi.ExtConfigReclaim:
			c.Reclaim = ad.Uint8() != 0
			c.Set |= ExtConfigReclaim
		case uapi.ExtConfigSpQmem:
			c.SPQMem = ad.Counter()
			c.Set |= ExtConfigSPQMem
		case uapi.ExtConfigDropVip:
			c.DropVIP = ad.Uint8() != 0
			c.Set |= ExtConfigDropVIP
		case uapi.ExtConfigSpEarly:
			c.SPEarly = SynproxyMode(ad.Uint8())
			c.Set |= ExtConfigSPEarly
		}
	}
	return c, ad.Err()
}

func errGroupName(name string) error {
	return fmt.Errorf("%w: local address group %q: a name has 1 to %d bytes", errInvalid, name, uapi.ExtNameMax)
}

func encodeGroupName(name string) func(*encoder) error {
	return func(ae *encoder) error {
		if name == "" || len(name) > uapi.ExtNameMax {
			return errGroupName(name)
		}
		ae.String(uapi.ExtLgroupName, name)
		return nil
	}
}

func (g LGroup) encode(ae *encoder) error {
	if err := encodeGroupName(g.Name)(ae); err != nil {
		return err
	}
	ae.Uint16(uapi.ExtLgroupAf, uint16(g.Family))
	return nil
}

func decodeLGroup(ad *decoder) (LGroup, error) {
	var g LGroup
	var addr []byte
	var port uint16
	for ad.Next() {
		switch ad.Type() {
		case uapi.ExtLgroupName:
			g.Name = ad.String()
		case uapi.ExtLgroupAf:
			g.Family = Family(ad.Uint16())
		case uapi.ExtLgroupRefs:
			g.Refs = ad.Uint32()
		case uapi.ExtLgroupPorts:
			g.Ports = ad.Uint32()
		case uapi.ExtLgroupPortsUsed:
			g.PortsUsed = ad.Uint32()
		case uapi.ExtLgroupRsAddr:
			addr = ad.Bytes()
		case uapi.ExtLgroupRsPort:
			port = ad.Port()
		case uapi.ExtLgroupRsProto:
			g.RSProtocol = Protocol(ad.Uint16())
		}
	}
	if err := ad.Err(); err != nil || addr == nil {
		return g, err
	}
	rs, err := getAddr(g.Family, addr)
	if err != nil {
		return LGroup{}, err
	}
	g.RS = netip.AddrPortFrom(rs, port)
	return g, nil
}

func (l Laddr) encodeKey(ae *encoder) error {
	if !l.Addr.IsValid() {
		return fmt.Errorf("%w: a local address is missing", errInvalid)
	}
	ae.Uint16(uapi.ExtLaddrAf, uint16(FamilyOf(l.Addr)))
	ae.Bytes(uapi.ExtLaddrAddr, l.Addr.AsSlice())
	return nil
}

func (l Laddr) encode(ae *encoder) error {
	if err := l.encodeKey(ae); err != nil {
		return err
	}
	if l.PortMin != 0 || l.PortMax != 0 {
		ae.Uint16(uapi.ExtLaddrPortMin, l.PortMin)
		ae.Uint16(uapi.ExtLaddrPortMax, l.PortMax)
	}
	if l.CPUs != "" {
		ae.String(uapi.ExtLaddrCpus, l.CPUs)
	}
	if unknown := l.Flags &^ uapi.ExtLaddrFAll; unknown != 0 {
		return fmt.Errorf("%w: unknown local address flags %#x", errInvalid, uint32(unknown))
	}
	ae.Pair(uapi.ExtLaddrFlags, uint32(l.Flags), uapi.ExtLaddrFAll)
	return nil
}

// encodeSet also says "all CPUs", which when adding goes without saying.
func (l Laddr) encodeSet(ae *encoder) error {
	if l.CPUs == "" {
		ae.String(uapi.ExtLaddrCpus, "")
	}
	return l.encode(ae)
}

func decodeLaddr(ad *decoder) (Laddr, error) {
	var l Laddr
	var family Family
	var addr []byte
	for ad.Next() {
		switch ad.Type() {
		case uapi.ExtLaddrAf:
			family = Family(ad.Uint16())
		case uapi.ExtLaddrAddr:
			addr = ad.Bytes()
		case uapi.ExtLaddrPortMin:
			l.PortMin = ad.Uint16()
		case uapi.ExtLaddrPortMax:
			l.PortMax = ad.Uint16()
		case uapi.ExtLaddrCpus:
			l.CPUs = ad.String()
		case uapi.ExtLaddrFlags:
			v, _ := ad.Pair()
			l.Flags = LaddrFlags(v)
		case uapi.ExtLaddrConns:
			l.Conns = ad.Uint32()
		case uapi.ExtLaddrConflict:
			l.Conflict = ad.Counter()
		case uapi.ExtLaddrFull:
			l.Full = ad.Counter()
		case uapi.ExtLaddrReclaim:
			l.Reclaim = ad.Counter()
		}
	}
	if err := ad.Err(); err != nil {
		return Laddr{}, err
	}
	var err error
	l.Addr, err = getAddr(family, addr)
	return l, err
}

// endpoints are the four ends of a connection in the order of the ABI.
const endpoints = 4

func decodeConn(ad *decoder) (Conn, error) {
	var c Conn
	var family Family
	var addrs [endpoints][]byte
	var ports [endpoints]uint16
	for ad.Next() {
		switch t := ad.Type(); t {
		case uapi.ExtConnAf:
			family = Family(ad.Uint16())
		case uapi.ExtConnProto:
			c.Protocol = Protocol(ad.Uint16())
		case uapi.ExtConnCaddr, uapi.ExtConnVaddr, uapi.ExtConnLaddr, uapi.ExtConnDaddr:
			addrs[(t-uapi.ExtConnCaddr)/2] = ad.Bytes()
		case uapi.ExtConnCport, uapi.ExtConnVport, uapi.ExtConnLport, uapi.ExtConnDport:
			ports[(t-uapi.ExtConnCport)/2] = ad.Port()
		case uapi.ExtConnState:
			c.State = ad.String()
		case uapi.ExtConnFlags:
			c.Flags = ad.Uint32()
		case uapi.ExtConnExpires:
			c.Expires = time.Duration(ad.Uint32()) * time.Millisecond
		case uapi.ExtConnIsnDelta:
			c.ISNDelta = ad.Uint32()
		case uapi.ExtConnSpDelta:
			c.SPDelta = ad.Uint32()
		case uapi.ExtConnInpkts:
			c.InPkts = ad.Uint32()
		}
	}
	if err := ad.Err(); err != nil {
		return Conn{}, err
	}
	for i, to := range [endpoints]*netip.AddrPort{&c.Client, &c.Virtual, &c.Local, &c.Dest} {
		addr, err := getAddr(family, addrs[i])
		if err != nil {
			return Conn{}, err
		}
		*to = netip.AddrPortFrom(addr, ports[i])
	}
	return c, nil
}

func (f ConnFilter) encode(ae *encoder) error {
	if f.Family != 0 {
		ae.Uint16(uapi.ExtFilterAf, uint16(f.Family))
	}
	if f.Protocol != 0 {
		ae.Uint16(uapi.ExtFilterProto, uint16(f.Protocol))
	}
	ports := [endpoints]uint16{f.ClientPort, f.VirtualPort, f.LocalPort, f.DestPort}
	for i, p := range [endpoints]netip.Prefix{f.Client, f.Virtual, f.Local, f.Dest} {
		at := uint16(uapi.ExtFilterCaddr + 3*i)
		if p.IsValid() {
			if f.Family != 0 && FamilyOf(p.Addr()) != f.Family {
				return fmt.Errorf("%w: filter %v is not of family %d", errInvalid, p, f.Family)
			}
			ae.Bytes(at, p.Masked().Addr().AsSlice())
			ae.Uint8(at+1, uint8(p.Bits()))
		}
		if ports[i] != 0 {
			ae.Port(at+2, ports[i])
		}
	}
	return nil
}

// family of the filter: the kernel needs one to read an address.
func (f ConnFilter) complete() ConnFilter {
	for _, p := range []netip.Prefix{f.Client, f.Virtual, f.Local, f.Dest} {
		if f.Family == 0 && p.IsValid() {
			f.Family = FamilyOf(p.Addr())
		}
	}
	return f
}

func decodeExtStats(ad *decoder) (ExtStats, error) {
	stats := ExtStats{}
	for ad.Next() {
		if t := ad.Type(); t != uapi.ExtStatPad {
			stats[t] = ad.Counter()
		}
	}
	return stats, ad.Err()
}

func decodeExtService(ad *decoder) (ExtService, error) {
	var s ExtService
	var seen bool
	for ad.Next() {
		switch ad.Type() {
		case uapi.ExtASvc:
			seen = true
			ad.Nested(func(nad *decoder) error {
				svc, err := decodeService(nad)
				s.ServiceKey = svc.ServiceKey
				return err
			})
		case uapi.ExtAExt:
			ad.Nested(s.Ext.decode)
		case uapi.ExtAStats:
			ad.Nested(func(nad *decoder) (err error) {
				s.Stats, err = decodeExtStats(nad)
				return err
			})
		}
	}
	if err := ad.Err(); err != nil {
		return ExtService{}, err
	}
	if !seen {
		return ExtService{}, errMissing
	}
	return s, nil
}

func decodeExtInfo(ad *decoder) (ExtInfo, error) {
	var i ExtInfo
	for ad.Next() {
		switch ad.Type() {
		case uapi.ExtAAbi:
			i.ABI = ad.Uint32()
		case uapi.ExtAFeatures:
			i.Features = ad.Uint64()
		case uapi.ExtABuild:
			i.Build = ad.String()
		case uapi.ExtATabBits:
			i.TabBits = ad.Uint32()
		case uapi.ExtAConnSize:
			i.ConnSize = ad.Uint32()
		}
	}
	return i, ad.Err()
}

// extStatNames are the words of the counters, by number (IPVS_EXT_STAT_*).
var extStatNames = sync.OnceValue(func() []string {
	return strings.Fields(`- lport_ok lport_conflict lport_full lport_reclaim no_laddr out_hit
	fast_in fast_out toa_ok toa_carrier toa_fail sp_syn sp_synack sp_ack_ok sp_ack_bad sp_rs_syn
	sp_rs_retrans sp_rs_timeout sp_rs_rst sp_done sp_queued sp_qdrop sp_reuse sp_nodest ack_storm
	invalid_drop invalid_rst acl_drop cps_drop bps_drop limit_drop lro_drop mtu_icmp ttl_icmp
	route_fail csum_bad sync_rx sync_clash expire_rst mem exhaust_rst bad_pkt ops_drop - vip_drop sp_early`)
})

// ExtStatName returns the word of a counter of [ExtStats]: the header's name
// in lower case, or "stat" and the number if this program does not know it.
func ExtStatName(n uint16) string {
	names := extStatNames()
	if int(n) >= len(names) || names[n] == "-" {
		return fmt.Sprintf("stat%d", n)
	}
	return names[n]
}

// Match tells whether the filter lets c pass, as the kernel's GET_CONN does.
func (f ConnFilter) Match(c Conn) bool {
	f = f.complete()
	if f.Family != 0 && f.Family != FamilyOf(c.Client.Addr()) || f.Protocol != 0 && f.Protocol != c.Protocol {
		return false
	}
	for _, end := range []struct {
		prefix netip.Prefix
		port   uint16
		of     netip.AddrPort
	}{
		{f.Client, f.ClientPort, c.Client}, {f.Virtual, f.VirtualPort, c.Virtual},
		{f.Local, f.LocalPort, c.Local}, {f.Dest, f.DestPort, c.Dest},
	} {
		if end.prefix.IsValid() && !end.prefix.Contains(end.of.Addr()) || end.port != 0 && end.port != end.of.Port() {
			return false
		}
	}
	return true
}
