// SPDX-License-Identifier: Apache-2.0

package config

import (
	"net/netip"
	"slices"
	"time"

	"github.com/lvs-fnat/lvs/vrrp"
)

// VRRP is what the process of virtual routers runs. It is empty when the file
// has nothing of it.
type VRRP struct {
	Instances []Instance
	Groups    []SyncGroup

	// What instances and groups track beside files; only what one of them refers to.
	Scripts   []TrackScript
	Processes []TrackProcess

	Static      Static
	TrackGroups []TrackGroup
	Delays      []LinkDelay
	Linkbeats   []Linkbeat

	// Faults are the errors in all of this, without their places. What they are in has a default or
	// is missing: a daemon that runs well may rather go on as it is.
	Faults []string
}

// NewFaults gives those of now that were not there before: who runs with a fault of the file
// has no reason to keep another file with it out.
func NewFaults(before, now []string) []string {
	before = slices.Clone(before)
	var out []string
	for _, f := range now {
		if i := slices.Index(before, f); i >= 0 {
			before = slices.Delete(before, i, i+1)
			continue
		}
		out = append(out, f)
	}
	return out
}

// Empty tells whether there is nothing to run.
func (v *VRRP) Empty() bool {
	s := &v.Static
	return len(v.Instances) == 0 && len(v.Groups) == 0 && len(s.Addrs) == 0 && len(s.Routes) == 0 && len(s.Rules) == 0
}

// VRRPGlobal is what global_defs says to the process as a whole; defaults of
// instances are resolved into them.
type VRRPGlobal struct {
	StartupDelay      time.Duration
	DelayAfterBoot    time.Duration // since the host's boot
	DynamicInterfaces bool
	LogUnknownVRIDs   bool
	DisableLocalIGMP  bool
	GARPInterval      time.Duration // between two gratuitous ARP packets of one interface
	GNAInterval       time.Duration
	LinkIntervals     map[string]LinkInterval // garp_group, by interface
	Firewall          Firewall
	Netlink           Buffers // of the sockets for links, addresses, routes and rules
	RxBufs            RxBufs
	VMACPrefix        string // of names of links; "": vrrp
	VMACAddrPrefix    string // of those that have addresses only; "": VMACPrefix
}

// RxBufs says how large the receive buffer of a socket for advertisements is, for each
// instance on it that has no size of its own.
type RxBufs struct {
	Policy     RxPolicy
	Size       int // bytes, with RxSize
	Multiplier int // of the others; 0: 3
}

// RxPolicy is what a buffer is measured by.
type RxPolicy int

// The policies of vrrp_rx_bufs_policy; without one the kernel decides.
const (
	RxKernel RxPolicy = iota
	RxMTU             // of the link
	RxAdvert          // the longest advertisement of the instance
	RxSize
)

// Firewall says how addresses that accept nothing are guarded.
type Firewall struct {
	Table    string // of nftables
	Priority int
	Counters bool
	ByIndex  bool // nftables_ifindex: link local addresses by the index of their link, not its name
}

// LinkInterval are the gaps of a garp_group.
type LinkInterval struct{ GARP, GNA time.Duration }

// LinkDelay is one line of interface_up_down_delays.
type LinkDelay struct {
	Interface string
	Down, Up  time.Duration
}

// Instance is one vrrp_instance with every default filled in. Its Machine lacks
// Source, which only the host knows.
type Instance struct {
	Pos     Pos
	Machine vrrp.Config
	Family  Family

	Interface   string // "": any, for unicast from SourceAddr
	VRF         string
	WantMaster  bool // state MASTER
	VMAC        *VMAC
	AddrVMAC    bool       // use_vmac_addr: addresses on other links are on links of the router's own there
	SourceAddr  netip.Addr // mcast_src_ip or unicast_src_ip; zero: the interface's first
	TrackSource bool
	Multicast   netip.Addr // group of advertisements
	Unicast     bool       // Peers instead of Multicast
	Peers       []vrrp.Peer
	FaultNoPeer bool // unicast_fault_no_peer
	UnicastTTL  int  // -1: the kernel's default

	Auth               vrrp.AuthType
	Password           [8]byte
	HMAC               *vrrp.HMAC // auth_hmac; nil: not in force
	CheckUnicastSrc    bool
	SkipCheckAdvAddr   bool
	Checksum           vrrp.Checksum
	OldUnicastChecksum bool
	Strict             bool
	NoAccept           bool

	Addrs    []Address // in advertisements
	Excluded []Address
	Routes   []Route
	Rules    []Rule

	NoTrackPrimary     bool // dont_track_primary
	PromoteSecondaries bool
	GARPExtra          time.Duration // garp_extra_if; 0: off
	GARPExtraAll       bool
	RxBufSize          int // kernel_rx_buf_size; 0: RxBufs

	Track  Track
	Notify Notify
}

// Track is what moves the priority of an instance or group, or fails it.
type Track struct {
	Interfaces, Scripts, Files, Processes []Tracked
	Sessions                              []Tracked // of BFD
}

// Tracked is one line of a track_ block.
type Tracked struct {
	Name    string
	Weight  int // 0: a failure is a fault
	Reverse bool
	// Implied says that no line names it: an address, a route or a rule is on that link.
	Implied bool
}

// Notify is whom to tell what.
type Notify struct {
	Master, Backup, Fault, Stop, Deleted Script
	Any                                  Script // with four words appended
	RxLowerPrio                          Script
	PriorityChanges                      bool
	SMTPAlert                            bool
}

// SyncGroup is one vrrp_sync_group.
type SyncGroup struct {
	Pos            Pos
	Name           string
	Members        []string // names of instances
	TrackingWeight bool     // sync_group_tracking_weight
	Track          Track
	Notify         Notify
}

// TrackScript is one vrrp_script.
type TrackScript struct {
	Pos      Pos
	Name     string
	Script   Script
	Interval time.Duration
	Timeout  time.Duration
	Weight   int
	Reverse  bool
	Rise     int
	Fall     int
	InitFail bool
}

// TrackProcess is one vrrp_track_process.
type TrackProcess struct {
	Pos            Pos
	Name           string
	Process        string
	Params         []string
	ParamMatch     string // "", exact, initial or partial; "" ignores parameters
	FullCommand    bool
	Weight         int
	Reverse        bool
	Quorum         int
	QuorumMax      int
	TerminateDelay time.Duration
	ForkDelay      time.Duration
}

// TrackGroup is one track_group: instances that need the static objects which name
// it.
type TrackGroup struct {
	Pos       Pos
	Name      string
	Instances []string
}

// BeatMethod is how the state of a link is asked for; 0: the first that the link
// knows.
type BeatMethod uint8

// The methods, best first.
const (
	BeatMII BeatMethod = iota + 1
	BeatEthtool
	BeatIOCTL
)

// String gives the word of linkbeat_use_polling.
func (m BeatMethod) String() string { return [...]string{"any", "MII", "ETHTOOL", "IOCTL"}[m] }

// Linkbeat says that a link is asked for its state, beside what netlink tells.
type Linkbeat struct {
	Interface string // "": every link
	Method    BeatMethod
}

// Static are addresses, routes and rules that exist while the process runs.
type Static struct {
	Addrs  []Address
	Routes []Route
	Rules  []Rule
}
