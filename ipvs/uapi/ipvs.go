// SPDX-License-Identifier: Apache-2.0

// Package uapi holds the numbers that user space and ip_vs agree on. Those of
// the mainline family come from the Linux header uapi/linux/ip_vs.h (6.1 and
// 6.12 are alike); those of IPVS_EXT are generated from kmod/src/uapi/ip_vs_ext.h.
package uapi

//go:generate go run ./gen -o ext.go ../../kmod/src/uapi/ip_vs_ext.h

// The mainline family: IPVS_GENL_NAME and IPVS_GENL_VERSION.
const (
	GenlName    = "IPVS"
	GenlVersion = 1
)

// Commands of the mainline family (IPVS_CMD_*).
const (
	CmdNewService = iota + 1
	CmdSetService
	CmdDelService
	CmdGetService
	CmdNewDest
	CmdSetDest
	CmdDelDest
	CmdGetDest
	CmdNewDaemon
	CmdDelDaemon
	CmdGetDaemon
	CmdSetConfig
	CmdGetConfig
	CmdSetInfo
	CmdGetInfo
	CmdZero
	CmdFlush
)

// Top level attributes of the mainline family (IPVS_CMD_ATTR_*).
const (
	AttrService       = iota + 1 // nest
	AttrDest                     // nest
	AttrDaemon                   // nest
	AttrTimeoutTCP               // u32, seconds
	AttrTimeoutTCPFin            // u32, seconds
	AttrTimeoutUDP               // u32, seconds
)

// Attributes of a service (IPVS_SVC_ATTR_*).
const (
	SvcAF        = iota + 1 // u16
	SvcProtocol             // u16
	SvcAddr                 // 4 or 16 bytes; the kernel sends 16
	SvcPort                 // be16
	SvcFWMark               // u32
	SvcSchedName            // string
	SvcFlags                // u32 flags, u32 mask
	SvcTimeout              // u32, seconds
	SvcNetmask              // be32 for IPv4; u32 prefix length for IPv6
	SvcStats                // nest, 32 bit
	SvcPEName               // string
	SvcStats64              // nest
)

// Attributes of a dest (IPVS_DEST_ATTR_*).
const (
	DestAddr         = iota + 1 // 4 or 16 bytes; the kernel sends 16
	DestPort                    // be16
	DestFwdMethod               // u32
	DestWeight                  // u32
	DestUThresh                 // u32
	DestLThresh                 // u32
	DestActiveConns             // u32
	DestInactConns              // u32
	DestPersistConns            // u32
	DestStats                   // nest, 32 bit
	DestAddrFamily              // u16
	DestStats64                 // nest
	DestTunType                 // u8
	DestTunPort                 // be16
	DestTunFlags                // u16
)

// Attributes of a sync daemon (IPVS_DAEMON_ATTR_*).
const (
	DaemonState       = iota + 1 // u32
	DaemonMcastIfn               // string
	DaemonSyncID                 // u32
	DaemonSyncMaxLen             // u16
	DaemonMcastGroup             // 4 bytes
	DaemonMcastGroup6            // 16 bytes
	DaemonMcastPort              // u16, host order
	DaemonMcastTTL               // u8
)

// Attributes of counters (IPVS_STATS_ATTR_*): u64 in the 64 bit nest; in the
// older one all but the bytes are u32.
const (
	StatsConns = iota + 1
	StatsInPkts
	StatsOutPkts
	StatsInBytes
	StatsOutBytes
	StatsCPS
	StatsInPPS
	StatsOutPPS
	StatsInBPS
	StatsOutBPS
)

// Attributes of GET_INFO's answer (IPVS_INFO_ATTR_*).
const (
	InfoVersion     = iota + 1 // u32
	InfoConnTabSize            // u32
)

// Socket options at the level IP (IP_VS_SO_*), the interface before netlink.
const (
	soBase = 64 + 1024 + 64

	SoSetAdd         = soBase + 2
	SoSetEdit        = soBase + 3
	SoSetDel         = soBase + 4
	SoSetFlush       = soBase + 5
	SoSetAddDest     = soBase + 7
	SoSetDelDest     = soBase + 8
	SoSetEditDest    = soBase + 9
	SoSetTimeout     = soBase + 10
	SoSetStartDaemon = soBase + 11
	SoSetStopDaemon  = soBase + 12
	SoSetZero        = soBase + 15

	SoGetInfo     = soBase + 1
	SoGetServices = soBase + 2
	SoGetService  = soBase + 3
	SoGetDests    = soBase + 4
	SoGetTimeout  = soBase + 6
	SoGetDaemon   = soBase + 7
)
