// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/lvs-fnat/lvs/healthcheck"
	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/parser"
)

// Config is a whole configuration. It is plain data: nothing in it refers to
// the host, and it may be shared once it is loaded.
type Config struct {
	Global         Global
	Root           Root
	SSL            SSL           // of every SSL_GET
	TrackFiles     []TrackFile   // track_file and vrrp_track_file, in file order
	LaddrGroups    []LaddrGroup  // kernel groups to exist, those with a name first
	ServerGroups   []ServerGroup // virtual_server_group, in file order
	VirtualServers []*VirtualServer
	// Services is the number of virtual servers, which with [Options.Verdict] is all
	// there is of them.
	Services int
	VRRP     VRRP
	BFD      BFD

	// Lost are definitions that errors keep out of this. A running daemon may
	// not give up what it has for one of them.
	Lost []Lost
}

// Lost is a virtual or real server whose definition cannot be used, or text
// that may have been anything.
type Lost struct {
	Pos     Pos
	Service string // VirtualServer.Name; "": unknown
	Server  string // a real server alone: its address and port, or ? when they cannot be read
}

// LVSTimeouts are the kernel's connection timeouts; 0 leaves one as it is.
type LVSTimeouts struct{ TCP, TCPFin, UDP time.Duration }

// FlushOnStop says how the table is emptied at the end.
type FlushOnStop uint8

// Values of lvs_flush_on_stop.
const (
	FlushNone FlushOnStop = iota // delete every entry made, one by one
	FlushAll                     // flush the whole table
	FlushVS                      // delete own virtual servers only
)

// Family is an address family, with the number of Linux's AF_INET and AF_INET6.
type Family uint16

// The families. 0 is "not known yet".
const (
	IPv4 Family = 2
	IPv6 Family = 10
)

// String gives IPv4 or IPv6.
func (f Family) String() string {
	switch f {
	case IPv4:
		return "IPv4"
	case IPv6:
		return "IPv6"
	}
	return "no family"
}

// FamilyOf is the family of a, 0 for the zero Addr.
func FamilyOf(a netip.Addr) Family {
	switch {
	case a.Is4() || a.Is4In6():
		return IPv4
	case a.Is6():
		return IPv6
	}
	return 0
}

// Protocol is an IP protocol number.
type Protocol uint16

// Protocols a virtual server can have; 0 for a fwmark, where it has no meaning.
const (
	TCP  Protocol = 6
	UDP  Protocol = 17
	SCTP Protocol = 132
)

// String gives the name in lower case, as lines of the log have it.
func (p Protocol) String() string {
	switch p {
	case 0:
		return "none"
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case SCTP:
		return "sctp"
	}
	return fmt.Sprintf("protocol %d", uint16(p))
}

// Method is a forwarding method.
type Method uint8

// The forwarding methods. FNAT is a property of a virtual server; its real
// servers are NAT ones in the kernel's eyes.
const (
	NAT Method = iota + 1
	DR
	TUN
	FNAT
)

// String gives the keyword.
func (m Method) String() string { return [...]string{"", "NAT", "DR", "TUN", "FNAT"}[m] }

// Tunnel is the encapsulation of method TUN.
type Tunnel struct {
	Type     string // ipip, gue or gre
	Port     uint16 // of gue
	Checksum string // nocsum, csum or remcsum
}

// LaddrGroup is one group of local addresses as the kernel holds it: one
// family, a name of at most 15 bytes, no address in two groups. See KernelName.
type LaddrGroup struct {
	Name   string // of the kernel group
	Source string // name in the file; "" for an inline local_address block
	Family Family
	Addrs  []Laddr
	Pos    Pos
}

// Laddr is one local address.
type Laddr struct {
	Addr  netip.Addr
	Ports parser.PortRange // zero: the kernel's default, the larger gap beside the ephemeral ports
	CPUs  string           // list such as 0-3,8 for laddr_select cpu; "": every CPU
	// Flags that the file sets; a flag it does not name is left as it is.
	Flags ipvs.LaddrFlags
	Pos   Pos
}

// Endpoint is one service as the kernel keys it: an address and port, or a firewall mark.
type Endpoint struct {
	Addr       netip.AddrPort // invalid for a mark
	FWMark     uint32         // 0 for an address
	Family     Family
	LaddrGroup string // kernel group of local addresses; "" without FNAT
	Pos        Pos
}

// ServerGroup is a virtual_server_group as it is written; [VirtualServer.Endpoints] are
// what becomes of it.
type ServerGroup struct {
	Name    string
	Members []GroupMember
}

// GroupMember is one line of a virtual_server_group.
type GroupMember struct {
	FWMark      uint32     // 0 for addresses
	First, Last netip.Addr // the same but for a range
	Ports       parser.PortRange
}

// Timing is when checks run, as a virtual or real server gives it to those that do not
// say. A virtual server that says nothing has 60 s for DelayLoop, 5 s for ConnectTimeout,
// and 0 for the rest, which then is a matter of the kind of check.
type Timing struct {
	DelayLoop, DelayBeforeRetry, Warmup, ConnectTimeout time.Duration
	Retry                                               int
}

// VirtualServer is one virtual_server block: one set of real servers behind
// one or, with a virtual_server_group, several endpoints.
type VirtualServer struct {
	Pos       Pos
	Name      string // as messages name it: [10.0.0.1]:tcp:80, FWM 7, or the group
	Group     string // of virtual_server_group, or ""
	Endpoints []Endpoint
	*VirtualTraits
	SorryServer *RealServer
	RealServers []RealServer
}

// VirtualTraits are what a virtual server has in common with others: a large file has
// few that differ. All that have the same share them, so they must not be written to.
type VirtualTraits struct {
	Protocol   Protocol
	Scheduler  string
	SchedFlags uint8 // bit 0, 1, 2: flag-1, flag-2, flag-3
	OnePacket  bool  // ops
	Method     Method
	Tunnel     Tunnel

	PersistenceTimeout     time.Duration // 0: no persistence
	PersistenceGranularity int           // prefix length; 0: every client address for itself
	PersistenceMask        netip.Addr    // an IPv4 netmask that is not a prefix; else invalid
	PersistenceEngine      string

	Ext Ext

	// CheckFromLaddr has checks leave from a local address of FNAT, as the clients'
	// connections do.
	CheckFromLaddr bool

	HASuspend bool   // no checks while none of the addresses is on this host
	SMTPAlert bool   // mail about the quorum; default: smtp_alert_checker, smtp_alert, else no
	SNMPName  string // "" for none

	Timing      *Timing
	VirtualHost string // of checks that do not say, "" for none
	Weight      int    // of real servers that do not say: the last there is

	Quorum, Hysteresis   int
	QuorumUp, QuorumDown Script
	Alpha, Omega         bool
	InhibitOnFailure     bool
	SorryServerInhibit   bool
}

// TSMode is what happens to TCP timestamps; numbers as in IPVS_EXT.
type TSMode uint8

// The timestamp modes.
const (
	TSKeep TSMode = iota
	TSStrip
	TSRebase
)

// String gives the keyword's argument.
func (m TSMode) String() string { return tsModes[m] }

var tsModes = []string{"keep", "strip", "rebase"}

// LaddrSelect is how a local address is chosen; numbers as in IPVS_EXT.
type LaddrSelect uint8

// The ways to choose.
const (
	SelectRR LaddrSelect = iota
	SelectSource
	SelectCPU
)

// String gives the keyword's argument.
func (s LaddrSelect) String() string { return laddrSelects[s] }

var laddrSelects = []string{"rr", "source", "cpu"}

// Ext is what the extended module does beyond stock ip_vs. The zero value is
// nothing: a stock kernel serves such a virtual server.
type Ext struct {
	Synproxy    ipvs.SynproxyMode
	SP          ipvs.Synproxy // with Synproxy other than off
	SPDefer     bool          // wait for data before the real server is asked
	TOA         bool          // tell the real server the client's address; default with FNAT unless UDP
	TOASyn      bool          // on the SYN too
	TOAKind4    uint8
	TOAKind6    uint8
	SeqAdjust   bool
	Timestamps  TSMode
	MSSClamp    uint16 // 0: off
	ExhaustRST  bool   // reset instead of silence when the local ports are used up
	LaddrSelect LaddrSelect
	Invalid     ipvs.InvalidPolicy // TCP that belongs to no connection
	RSTOnExpire bool               // tell both sides when a connection times out
	Fast        bool               // past the kernel's routing, for connections that stand
	Limits      ipvs.Limits
}

// Script is a command to run on an event; the zero value is none.
type Script struct {
	Command     string // with its arguments, quotes of the file removed
	User, Group string
}

// Args splits the command into words; quotes group, as in the file.
func (s Script) Args() ([]string, error) { return parser.Unquote(s.Command) }

// shellText gives what a shell has to run, if the first word of a command is < and a path.
// That one stands as it is, the others are words of the shell. Tracked scripts, checks and the
// scripts of start and end are taken so, notifications are not.
func shellText(args []string) (text string, ok bool) {
	if len(args) == 0 {
		return "", false
	}
	path, ok := strings.CutPrefix(args[0], "<")
	if !ok || !strings.HasPrefix(strings.TrimLeft(path, " \t"), "/") {
		return "", false
	}
	var b strings.Builder
	b.WriteString(args[0])
	for _, a := range args[1:] {
		b.WriteString(" '" + strings.ReplaceAll(a, "'", `'\''`) + "'")
	}
	return b.String(), true
}

// Shell gives what /bin/sh has to run for a command that begins with < and a path, as
// in "</dev/tcp/192.0.2.1/80"; false: it is a program with arguments.
func (s Script) Shell() (text string, ok bool) {
	args, err := s.Args()
	if err != nil {
		return "", false
	}
	return shellText(args)
}

// RealServer is one destination. Values it inherits from its virtual server are filled in.
type RealServer struct {
	Pos  Pos
	Addr netip.AddrPort // port 0: the port of the endpoint
	*RealTraits
	Checkers   []Checker
	FileChecks []FileCheck
	BFDChecks  []BFDCheck
	// Held is set if a check with alpha was left out: it will never say that the server
	// is up, which then does not begin as one.
	Held bool
}

// RealTraits are to a real server what VirtualTraits are to a virtual one.
type RealTraits struct {
	Weight           int
	Method           Method // NAT under an FNAT virtual server unless it says DR or TUN
	Tunnel           Tunnel
	UThreshold       int // connections, 0: off
	LThreshold       int
	InhibitOnFailure bool
	// SlowStart is the time in which a server that has come back grows to its
	// weight; 0: at once.
	SlowStart time.Duration
	// RSTOnFailure ends the connections to the server when it goes down.
	RSTOnFailure bool
	Alpha        bool
	NotifyUp     Script
	NotifyDown   Script
	SMTPAlert    bool   // mail about this server; default: smtp_alert_checker, smtp_alert, else yes
	SNMPName     string // "" for none
	VirtualHost  string // of this server alone, "" for that of its virtual server
	Timing       *Timing
}

// CheckKind is the block name of a checker.
type CheckKind string

// The checkers in force.
const (
	TCPCheck  CheckKind = "TCP_CHECK"
	HTTPGet   CheckKind = "HTTP_GET"
	SSLGet    CheckKind = "SSL_GET"
	SMTPCheck CheckKind = "SMTP_CHECK"
	DNSCheck  CheckKind = "DNS_CHECK"
	UDPCheck  CheckKind = "UDP_CHECK"
	PingCheck CheckKind = "PING_CHECK"
	MiscCheck CheckKind = "MISC_CHECK"
	GRPCCheck CheckKind = "GRPC_CHECK"
)

// Checker is one health check; every value is resolved.
type Checker struct {
	Pos     Pos
	Connect netip.AddrPort // connect_ip and connect_port, else the real server; port 0 for a check without
	*CheckTraits
	*Probe
}

// CheckTraits are to a check what VirtualTraits are to a virtual server.
type CheckTraits struct {
	Kind   CheckKind
	BindTo netip.AddrPort // bindto and bind_port; invalid address: the kernel's choice
	BindIf string
	FWMark uint32
	Proxy  uint8 // version of the PROXY protocol; 0: none

	ConnectTimeout   time.Duration // of MISC_CHECK misc_timeout
	DelayLoop        time.Duration
	DelayBeforeRetry time.Duration
	Warmup           time.Duration // first run: within this time after start
	Retry            int           // failures in a row accepted before the check fails
	Alpha            bool          // failed until it has succeeded once
	LogAllFailures   bool
}

// Probe is what a check asks for, beyond a connection. Those that ask for nothing share
// an empty one.
type Probe struct {
	HTTP *HTTP // for HTTP_GET and SSL_GET

	// One of these belongs to the kind of its name, TLS to SSL_GET.
	TLS  *healthcheck.TLS
	SMTP *healthcheck.SMTP
	DNS  *healthcheck.DNS
	UDP  *healthcheck.UDP
	Misc *healthcheck.Misc
	GRPC *healthcheck.GRPC
}

// FileCheck is one FILE_CHECK of a real server.
type FileCheck struct {
	Pos       Pos
	TrackFile string // name of the track_file block, which exists
	Weight    int    // multiplies the file's value; 0: any value but 0 is a failure
	Reverse   bool   // the sign of the product is turned
}

// BFDCheck is one BFD_CHECK of a real server.
type BFDCheck struct {
	Pos   Pos
	Name  string // of the bfd_instance
	Alpha bool   // failed until the session is up
}

// HTTP is what HTTP_GET asks for.
type HTTP struct {
	VirtualHost  string // Host header; "": address and port
	Protocol     string // 1.0, 1.1 or 1.0C; the last two ask for Connection: close
	FastRecovery bool
	URLs         []URL // at least one; all must succeed
}

// URL is one url block.
type URL struct {
	Pos         Pos
	Path        string
	Digest      string // MD5 of the body in lower case hex; "": not compared
	StatusCodes []CodeRange
	VirtualHost string // "": the one of HTTP

	TLSCompliant *bool // of SSL_GET; nil: as the check says

	Regex        string // of healthcheck.CheckRegex, options in front; "": the body may be any
	RegexNoMatch bool
	MinOffset    int // where the search begins
	MatchBefore  int // a match begins before this byte; 0: anywhere
}

// CodeRange is a range of HTTP status codes, both ends included.
type CodeRange struct{ Min, Max int }
