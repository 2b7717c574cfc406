// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"net/netip"
	"time"
)

// Family is an address family as the kernel numbers it (AF_INET, AF_INET6).
type Family uint16

// Address families of services, dests and local addresses.
const (
	IPv4 Family = 2
	IPv6 Family = 10
)

// FamilyOf returns the family of addr; an IPv4-mapped IPv6 address is IPv6.
func FamilyOf(addr netip.Addr) Family {
	if addr.Is4() {
		return IPv4
	}
	return IPv6
}

// Protocol is an IP protocol number. Zero stands for "none": fwmark services.
type Protocol uint16

// Protocols that ip_vs balances.
const (
	TCP  Protocol = 6
	UDP  Protocol = 17
	SCTP Protocol = 132
)

// ServiceKey names one virtual service. It is comparable.
//
// Either FWMark is set (then Protocol, Addr and Port are zero and Family
// tells IPv4 from IPv6), or Protocol, Addr and Port are.
type ServiceKey struct {
	Family   Family
	Protocol Protocol
	Addr     netip.Addr // vip
	Port     uint16     // vport; 0 = any port (persistent services only)
	FWMark   uint32
}

// ServiceFlags are the IP_VS_SVC_F_* bits a user may set (uapi/linux/ip_vs.h).
type ServiceFlags uint32

// Service flags. The meaning of the Sched bits is the scheduler's own.
const (
	FlagPersistent ServiceFlags = 0x0001
	FlagHashed     ServiceFlags = 0x0002 // set by the kernel
	FlagOnePacket  ServiceFlags = 0x0004
	FlagSched1     ServiceFlags = 0x0008 // sh-fallback, mh-fallback
	FlagSched2     ServiceFlags = 0x0010 // sh-port, mh-port
	FlagSched3     ServiceFlags = 0x0020
)

// Service is a virtual service of the mainline family.
type Service struct {
	ServiceKey
	Scheduler string // "" is sent as "none" and means no scheduler
	PEName    string // persistence engine, "" for none
	Flags     ServiceFlags
	Timeout   time.Duration // persistence, whole seconds
	// Netmask groups clients for persistence. IPv4: the mask as a big-endian
	// number (0xffffffff = /32, holes allowed); IPv6: the prefix length.
	Netmask uint32
	// NoMask says that a Netmask of 0 is meant although nothing is persistent; else
	// it stands for the mask of single clients. IPv4 only.
	NoMask bool
	Stats  Stats // read only
}

// Forward is the forwarding method of a dest (IP_VS_CONN_F_FWD_MASK values).
type Forward uint32

// Forwarding methods of the mainline family. FNAT is none of them: it is a
// property of the service, see [Ext]; its dests are Masq.
const (
	Masq        Forward = 0
	LocalNode   Forward = 1
	Tunnel      Forward = 2
	DirectRoute Forward = 3
	Bypass      Forward = 4
)

// TunnelType is the encapsulation of a Tunnel dest (IP_VS_CONN_F_TUNNEL_TYPE_*).
type TunnelType uint8

// Tunnel types.
const (
	TunnelIPIP TunnelType = 0
	TunnelGUE  TunnelType = 1
	TunnelGRE  TunnelType = 2
)

// DestKey names a dest within its service. It is comparable.
type DestKey struct {
	Family Family
	Addr   netip.Addr // rip
	Port   uint16     // rport
}

// Dest is a real server of one service.
type Dest struct {
	DestKey
	Forward        Forward
	Weight         uint32
	UpperThreshold uint32 // connections, 0 = none
	LowerThreshold uint32
	TunType        TunnelType
	TunPort        uint16
	TunFlags       uint16 // 0 nocsum, 1 csum, 2 remcsum (IP_VS_TUNNEL_ENCAP_FLAG_*)

	ActiveConns  uint32 // read only, as are those below
	InactConns   uint32
	PersistConns uint32
	Stats        Stats
}

// Stats are counters since the last zeroing, and rates per second as the
// kernel's estimator sees them.
type Stats struct {
	Conns, InPkts, OutPkts, InBytes, OutBytes uint64
	CPS, InPPS, OutPPS, InBPS, OutBPS         uint64 // BPS: bytes per second
}

// Timeouts of connections; zero leaves the kernel's value as it is.
type Timeouts struct {
	TCP, TCPFin, UDP time.Duration // whole seconds
}

// SyncState is the role of a sync daemon.
type SyncState uint32

// Sync daemon roles (IP_VS_STATE_*).
const (
	SyncMaster SyncState = 1
	SyncBackup SyncState = 2
)

// Daemon is a running sync daemon, or the settings to start one with.
type Daemon struct {
	State     SyncState
	Interface string
	SyncID    uint32
	MaxLen    uint16     // 0 = default
	Group     netip.Addr // zero = 224.0.0.81
	Port      uint16     // 0 = 8848
	TTL       uint8      // 0 = 1
}

// Info is what the mainline family tells about itself.
type Info struct {
	Version  uint32 // 0x010201 = 1.2.1
	TabSize  uint32 // heads of the connection table
	Extended *ExtInfo
}

// ExtFlags are the service flags of IPVS_EXT (IPVS_EXT_SVC_F_*).
type ExtFlags uint32

// Service flags of the extension.
const (
	ExtFNAT        ExtFlags = 1 << 0
	ExtSynproxy    ExtFlags = 1 << 1
	ExtTOA         ExtFlags = 1 << 2
	ExtTOASyn      ExtFlags = 1 << 3
	ExtSeq         ExtFlags = 1 << 4
	ExtRSTOnExpire ExtFlags = 1 << 5
	ExtExhaustRST  ExtFlags = 1 << 6
	ExtSPDefer     ExtFlags = 1 << 7
	ExtFast        ExtFlags = 1 << 8
	ExtSPAuto      ExtFlags = 1 << 9 // with ExtSynproxy: SynproxyAuto
)

// LaddrSelect says how a connection gets its local address.
type LaddrSelect uint8

// Ways to select a local address.
const (
	SelectRR  LaddrSelect = 0 // in turn
	SelectSrc LaddrSelect = 1 // by client address
	SelectCPU LaddrSelect = 2 // by the CPU that handles the packet
)

// TSMode says what happens to TCP timestamps of clients.
type TSMode uint8

// Timestamp modes.
const (
	TSKeep   TSMode = 0
	TSStrip  TSMode = 1
	TSRebase TSMode = 2
)

// InvalidPolicy says what happens to TCP packets that belong to no connection.
type InvalidPolicy uint8

// Policies for packets without a connection.
const (
	InvalidAccept InvalidPolicy = 0
	InvalidDrop   InvalidPolicy = 1
	InvalidRST    InvalidPolicy = 2
)

// Ext is what IPVS_EXT knows of one service. Only those fields are sent
// whose bit is in Set; the kernel fills all it knows and so sets their bits.
//
// A service that nobody has set anything of has no flag and group, [TSKeep],
// the TOA kinds 254 and the Synproxy defaults of docs/synproxy.md. When FNAT is switched on in a TCP service, the kernel also
// sets [ExtSeq] and [TSStrip], each unless it was ever named in a request.
type Ext struct {
	Set       ExtField
	Flags     ExtFlags
	FlagsMask ExtFlags // sent: which of Flags are meant; read: which the module knows
	LGroup    string   // at most 15 bytes; "" detaches
	Select    LaddrSelect
	Invalid   InvalidPolicy
	TSMode    TSMode
	MSSClamp  uint16 // 0 = off, else 88..65495
	TOAKind4  uint8  // 9..254
	TOAKind6  uint8
	SP        Synproxy
	Limits

	NConn uint32 // read only: connections of all dests
	Stats ExtStats
}

// ExtField is a set of fields of [Ext].
type ExtField uint32

// Fields of Ext.
const (
	ExtFieldFlags ExtField = 1 << iota
	ExtFieldLGroup
	ExtFieldSelect
	ExtFieldInvalid
	ExtFieldTSMode
	ExtFieldMSSClamp
	ExtFieldTOAKind4
	ExtFieldTOAKind6
	ExtFieldSPMSS
	ExtFieldSPWScale
	ExtFieldSPOpts
	ExtFieldSPWindow
	ExtFieldSPTTL
	ExtFieldSPRetries
	ExtFieldSPQueue
	ExtFieldSPAutoOn
	ExtFieldSPAutoOff
	ExtFieldTimeoutEst
	ExtFieldCPS
	ExtFieldCPSBurst
	ExtFieldBPSIn
	ExtFieldBPSOut
	ExtFieldConnLimit
	ExtFieldACLMode
	ExtFieldACLSet4
	ExtFieldACLSet6
)

// ExtFieldSP are the fields of [Synproxy].
const ExtFieldSP = ExtFieldSPMSS | ExtFieldSPWScale | ExtFieldSPOpts | ExtFieldSPWindow | ExtFieldSPTTL |
	ExtFieldSPRetries | ExtFieldSPQueue | ExtFieldSPAutoOn | ExtFieldSPAutoOff

// ExtService is a service as the extension lists it.
type ExtService struct {
	ServiceKey
	Ext
}

// ExtConfig are settings of the extension that hold for the network namespace.
// Only those are sent whose bit is in Set.
type ExtConfig struct {
	Set     ExtConfigField
	Probes  uint8 // ports tried for a connection before it is refused, 1..255
	Reclaim bool  // take ports of closing connections when none is free
	// SPQMem bounds the bytes held for clients, of all services together,
	// until real servers answer.
	SPQMem uint64
	// CookieKey is written only. The key that was there becomes the previous
	// one unless CookieKeyPrev is set with it. Without any the kernel has one
	// that nobody knows.
	CookieKey CookieKey
	// CookieKeyPrev is written only: its cookies are taken, not handed out.
	CookieKeyPrev CookieKey
	DropVIP       bool // drop TCP and UDP that comes to a vip and to none of its services
	// SPEarly says when handshakes of SYNPROXY are dealt with before packets are
	// routed; auto: while no other hook of the kernel would have seen them.
	SPEarly SynproxyMode
}

// ExtConfigField is a set of fields of [ExtConfig].
type ExtConfigField uint8

// Fields of ExtConfig.
const (
	ExtConfigProbes ExtConfigField = 1 << iota
	ExtConfigReclaim
	ExtConfigSPQMem
	ExtConfigCookieKey
	ExtConfigCookieKeyPrev
	ExtConfigDropVIP
	ExtConfigSPEarly
)

// LaddrFlags are the flags of a local address (IPVS_EXT_LADDR_F_*).
type LaddrFlags uint32

// Flags of a local address.
const (
	LaddrNoNew   LaddrFlags = 1 << 0 // draining: no new connections
	LaddrForeign LaddrFlags = 1 << 1 // another director's; never allocated from
	LaddrForce   LaddrFlags = 1 << 2 // skip the kernel's sanity checks
)

// LGroup is a local address group; all its addresses are of one family.
type LGroup struct {
	Name   string // 1..15 bytes
	Family Family
	Refs   uint32 // read only, as are those below: services that use it

	// The forecast: how full the group is towards the real server that most of
	// its ports are in use towards. A port serves every real server, so this is
	// the share that runs out first. PortsUsed may exceed Ports while an address
	// that is draining or was deleted still has connections.
	Ports      uint32 // that new connections may get, of all addresses together
	PortsUsed  uint32
	RS         netip.AddrPort // zero: no connection
	RSProtocol Protocol
}

// Used is the share of the group's ports in use towards its fullest real
// server, 0 to 1.
func (g LGroup) Used() float64 {
	if g.Ports == 0 {
		return 0
	}
	return min(1, float64(g.PortsUsed)/float64(g.Ports))
}

// Laddr is one local address (lip) of a group.
type Laddr struct {
	Addr netip.Addr
	// PortMin and PortMax, both 0: an address that is added gets the larger gap
	// around ip_local_port_range, which is then listed as its range; an address
	// that is set keeps the range it has. To have the kernel choose again,
	// delete and add it.
	PortMin uint16
	PortMax uint16
	CPUs    string // cpulist, "" = all; the kernel lists it normalised: "0-1"
	Flags   LaddrFlags

	Conns                   uint32 // read only, as are those below
	Conflict, Full, Reclaim uint64
}

// Conn is one connection that the extension forwards.
type Conn struct {
	Protocol          Protocol
	Client, Virtual   netip.AddrPort
	Local, Dest       netip.AddrPort
	State             string // ip_vs' own word: ESTABLISHED, TIME_WAIT, UDP …
	Flags             uint32
	Expires           time.Duration
	ISNDelta, SPDelta uint32
	InPkts            uint32
}

// ConnFilter selects connections; the zero value selects all.
// A prefix with zero bits in an invalid state (netip.Prefix{}) means any.
type ConnFilter struct {
	Family                       Family
	Protocol                     Protocol
	Client, Virtual, Local, Dest netip.Prefix
	ClientPort, VirtualPort      uint16
	LocalPort, DestPort          uint16
}
