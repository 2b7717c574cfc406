// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math/bits"
	"slices"
	"strings"
	"sync"

	"github.com/lvs-fnat/lvs/internal/popt"
	"github.com/lvs-fnat/lvs/ipvs"
)

// command is what a call does: a column of the table of allowed options.
type command int

// Commands, in the order of the columns of optionRows.
const (
	cmdAdd command = iota
	cmdEdit
	cmdDelete
	cmdFlush
	cmdList
	cmdAddDest
	cmdDelDest
	cmdEditDest
	cmdTimeout
	cmdStartDaemon
	cmdStopDaemon
	cmdRestore
	cmdSave
	cmdZero
	cmdAddLaddr
	cmdDelLaddr
	cmdGetLaddr
	cmdSetExt
	cmdKill
	cmdExplain
	cmdTop
	cmdHelp
	cmdVersion
)

// commandRow describes one command.
type commandRow struct {
	cmd   command
	name  string // in messages
	long  string
	short string // letters, each an alias
	arg   popt.Arg
	help  string
}

var commandRows = []commandRow{
	{cmdAdd, "add-service", "add-service", "A", popt.None, "add a virtual service"},
	{cmdEdit, "edit-service", "edit-service", "E", popt.None, "replace the settings of a virtual service"},
	{cmdDelete, "delete-service", "delete-service", "D", popt.None, "delete a virtual service"},
	{cmdFlush, "flush", "clear", "C", popt.None, "delete all services and local address groups"},
	{cmdList, "list", "list", "Ll", popt.None, "list the table"},
	{cmdAddDest, "add-server", "add-server", "a", popt.None, "add a real server to a service"},
	{cmdDelDest, "delete-server", "delete-server", "d", popt.None, "delete a real server"},
	{cmdEditDest, "edit-server", "edit-server", "e", popt.None, "replace the settings of a real server"},
	{cmdTimeout, "set", "set", "", popt.None, "set the timeouts TCP TCPFIN UDP, in seconds"},
	{cmdStartDaemon, "start-daemon", "start-daemon", "", popt.Required, "start a connection sync daemon"},
	{cmdStopDaemon, "stop-daemon", "stop-daemon", "", popt.Required, "stop a connection sync daemon"},
	{cmdRestore, "restore", "restore", "R", popt.None, "read commands from standard input"},
	{cmdSave, "save", "save", "S", popt.None, "print the table as commands"},
	{cmdZero, "zero", "zero", "Z", popt.None, "zero the counters of a service, or of all"},
	{cmdAddLaddr, "add-laddr", "add-laddr", "P", popt.None, "add a local address to a service or group"},
	{cmdDelLaddr, "del-laddr", "del-laddr", "Q", popt.None, "delete a local address, or a group"},
	{cmdGetLaddr, "get-laddr", "get-laddr", "G", popt.None, "list local addresses"},
	{cmdSetExt, "set-ext", "set-ext", "", popt.None, "change settings of the module for all services"},
	{cmdKill, "kill", "kill", "", popt.None, "end connections of FNAT and SYNPROXY, by filter"},
	{cmdExplain, "explain", "explain", "", popt.None, "tell which server a client's next connection would get, and why"},
	{cmdTop, "top", "top", "", popt.None, "show services and servers by their rates, live"},
	{cmdHelp, "help", "help", "h", popt.None, "print this text"},
	{cmdVersion, "version", "version", "v", popt.None, "print the version"},
}

// column is a row of the table of allowed options: options that exclude each
// other by their nature share one.
type column int

// Columns in the order in which they are checked; messages name them.
const (
	colNumeric column = iota
	colConnection
	colService
	colScheduler
	colPersistent
	colNetmask
	colServer
	colForward
	colWeight
	colUThreshold
	colLThreshold
	colMcastInterface
	colTimeout
	colDaemon
	colStats
	colRate
	colThresholds
	colPersistentConn
	colNosort
	colSyncID
	colExact
	colOps
	colPE
	colSchedFlags
	colMcastGroup
	colMcastPort
	colMcastTTL
	colSyncMaxLen
	colTunInfo
	colTunType
	colTunPort
	colTunNoCsum
	colTunCsum
	colTunRemCsum
	colLocalAddress
	colLGroup
	colLaddrFlags
	colLaddrCPUs
	colFullNAT
	colTOA
	colTOASyn
	colTOAKind4
	colTOAKind6
	colSeqAdjust
	colTimestamps
	colMSS
	colLaddrSelect
	colExhaustRST
	colInvalid
	colSynproxy
	colSPDefer
	colSPMSS
	colSPWScale
	colSPOpts
	colSPWindow
	colSPTTL
	colSPRetries
	colSPQueue
	colSPAutoOn
	colSPAutoOff
	colRSTOnExpire
	colEstTimeout
	colCPS
	colCPSBurst
	colBPSIn
	colBPSOut
	colConnLimit
	colACL
	colACLSet4
	colACLSet6
	colDropVIP
	colSPMemory
	colSPEarly
	colCookieKey
	colPrevCookieKey
	colLaddrProbes
	colLaddrReclaim
	colExt
	colStatsExt
	colBy
	colInterval
	colCount
	colAtomic
	colDryRun
	colJSON
	colClient
	colVIP
	colLIP
	colRIP
	colState
	colProtocol
	numColumns
	colSort = -1 // --sort and -6 may stand anywhere, any number of times
)

// rule says whether a command takes an option.
const (
	allowed  = ' '
	refused  = 'x'
	required = '+'
	atMost1  = '1'
)

// columnRow holds one rule per command in their order; commands behind the
// end of rules refuse the option.
type columnRow struct{ name, rules string }

func (r columnRow) rule(cmd command) byte {
	if int(cmd) < len(r.rules) {
		return r.rules[cmd]
	}
	return refused
}

// The first 34 rows and 14 letters are the contract of ipvsadm 1.31.
var columnRows = [numColumns]columnRow{
	//                                        AEDCLade=+-RSZPQG
	colNumeric:        {"numeric", "xxxx xxxxxxx xxx xx  "},
	colConnection:     {"connection", "xxxx1xxxxxxxxxxxx"},
	colService:        {"service-address", "+++x1+++xxxxx    xx+ "},
	colScheduler:      {"scheduler", "  xxxxxxxxxxxxxxx"},
	colPersistent:     {"persistent", "  xxxxxxxxxxxxxxx"},
	colNetmask:        {"netmask", "  xxxxxxxxxxxxxxx"},
	colServer:         {"real-server", "xxxxx+++xxxxxxxxx"},
	colForward:        {"forwarding-method", "xxxxx x xxxxxxxxx"},
	colWeight:         {"weight", "xxxxx x xxxxxxxxx"},
	colUThreshold:     {"u-threshold", "xxxxx x xxxxxxxxx"},
	colLThreshold:     {"l-threshold", "xxxxx x xxxxxxxxx"},
	colMcastInterface: {"mcast-interface", "xxxxxxxxx xxxxxxx"},
	colTimeout:        {"timeout", "xxxx1xxxxxxxxxxxx"},
	colDaemon:         {"daemon", "xxxx1xxxxxxxxxxxx"},
	colStats:          {"stats", "xxxx xxxxxxxxxxxx"},
	colRate:           {"rate", "xxxx xxxxxxxxxxxx"},
	colThresholds:     {"thresholds", "xxxx xxxxxxxxxxxx"},
	colPersistentConn: {"persistent-conn", "xxxx xxxxxxxxxxxx"},
	colNosort:         {"nosort", "xxxx xxxxxxxxxxxx"},
	colSyncID:         {"syncid", "xxxx xxxx  xxxxxx"},
	colExact:          {"exact", "xxxx xxxxxxxxxxxx"},
	colOps:            {"ops", "  xxxxxxxxxxxxxxx"},
	colPE:             {"pe", "  xxxxxxxxxxxxxxx"},
	colSchedFlags:     {"sched-flags", "  xxxxxxxxxxxxxxx"},
	colMcastGroup:     {"mcast-group", "xxxxxxxxx xxxxxxx"},
	colMcastPort:      {"mcast-port", "xxxxxxxxx xxxxxxx"},
	colMcastTTL:       {"mcast-ttl", "xxxxxxxxx xxxxxxx"},
	colSyncMaxLen:     {"sync-maxlen", "xxxxxxxxx xxxxxxx"},
	colTunInfo:        {"tun-info", "xxxx xxxxxxxxxxxx"},
	colTunType:        {"tun-type", "xxxxx x xxxxxxxxx"},
	colTunPort:        {"tun-port", "xxxxx x xxxxxxxxx"},
	colTunNoCsum:      {"tun-nocsum", "xxxxx x xxxxxxxxx"},
	colTunCsum:        {"tun-csum", "xxxxx x xxxxxxxxx"},
	colTunRemCsum:     {"tun-remcsum", "xxxxx x xxxxxxxxx"},
	//                                        AEDCLade=+-RSZPQG
	colLocalAddress: {"local-address", "xxxxxxxxxxxxxx  x"},
	colLGroup:       {"lgroup", "  xxxxxxxxxxxx   "},
	colLaddrFlags:   {"laddr-flags", "xxxxxxxxxxxxxx xx"},
	colLaddrCPUs:    {"laddr-cpus", "xxxxxxxxxxxxxx xx"},
	colFullNAT:      {"fullnat", "  xxxxxxxxxxxxxxx"},
	colTOA:          {"toa", "  xxxxxxxxxxxxxxx"},
	colTOASyn:       {"toa-syn", "  xxxxxxxxxxxxxxx"},
	colTOAKind4:     {"toa-kind4", "  xxxxxxxxxxxxxxx"},
	colTOAKind6:     {"toa-kind6", "  xxxxxxxxxxxxxxx"},
	colSeqAdjust:    {"seq-adjust", "  xxxxxxxxxxxxxxx"},
	colTimestamps:   {"timestamps", "  xxxxxxxxxxxxxxx"},
	colMSS:          {"mss", "  xxxxxxxxxxxxxxx"},
	colLaddrSelect:  {"laddr-select", "  xxxxxxxxxxxxxxx"},
	colExhaustRST:   {"exhaust-rst", "  xxxxxxxxxxxxxxx"},
	colInvalid:      {"invalid", "  "},
	colSynproxy:     {"synproxy", "  "},
	colSPDefer:      {"synproxy-defer", "  "},
	colSPMSS:        {"synproxy-mss", "  "},
	colSPWScale:     {"synproxy-wscale", "  "},
	colSPOpts:       {"synproxy-opts", "  "},
	colSPWindow:     {"synproxy-window", "  "},
	colSPTTL:        {"synproxy-ttl", "  "},
	colSPRetries:    {"synproxy-retries", "  "},
	colSPQueue:      {"synproxy-queue", "  "},
	colSPAutoOn:     {"synproxy-auto-on", "  "},
	colSPAutoOff:    {"synproxy-auto-off", "  "},
	colRSTOnExpire:  {"rst-on-expire", "  "},
	colEstTimeout:   {"est-timeout", "  "},
	colCPS:          {"cps", "  "},
	colCPSBurst:     {"cps-burst", "  "},
	colBPSIn:        {"bps-in", "  "},
	colBPSOut:       {"bps-out", "  "},
	colConnLimit:    {"conn-limit", "  "},
	colACL:          {"acl", "  "},
	colACLSet4:      {"acl-set4", "  "},
	colACLSet6:      {"acl-set6", "  "},
	colDropVIP:      {"drop-vip", "xxxxxxxxxxxxxxxxx "},
	//                                        AEDCLade=+-RSZPQG=
	colSPMemory:      {"synproxy-memory", "xxxxxxxxxxxxxxxxx "},
	colSPEarly:       {"synproxy-early", "xxxxxxxxxxxxxxxxx "},
	colCookieKey:     {"cookie-key", "xxxxxxxxxxxxxxxxx "},
	colPrevCookieKey: {"previous-cookie-key", "xxxxxxxxxxxxxxxxx "},
	colLaddrProbes:   {"laddr-probes", "xxxxxxxxxxxxxxxxx "},
	colLaddrReclaim:  {"laddr-reclaim", "xxxxxxxxxxxxxxxxx "},
	colExt:           {"ext", "xxxx1"},
	colStatsExt:      {"stats-ext", "xxxx "},
	//                                        AEDCLade=+-RSZPQG
	colBy:       {"by", "xxxxxxxxxxxxxxxxxxxx "},
	colInterval: {"interval", "xxxxxxxxxxxxxxxxxxxx "},
	colCount:    {"count", "xxxxxxxxxxxxxxxxxxxx "},
	colAtomic:   {"atomic", "xxxxxxxxxxx "},
	colDryRun:   {"dry-run", "xxxxxxxxxxx "},
	colJSON:     {"json", "xxxx xxxxxxxxxxx xx "},
	colClient:   {"client", "xxxx xxxxxxxxxxxxx +"},
	colVIP:      {"vip", "xxxx xxxxxxxxxxxxx "},
	colLIP:      {"lip", "xxxx xxxxxxxxxxxxx "},
	colRIP:      {"rip", "xxxx xxxxxxxxxxxxx "},
	colState:    {"state", "xxxx xxxxxxxxxxxxx "},
	colProtocol: {"protocol", "xxxx xxxxxxxxxxxxx "},
}

// optionRow describes one option that is no command.
type optionRow struct {
	long  string
	short string
	arg   popt.Arg
	col   column
	value string // what help calls the value
	help  string
	set   func(*call, string, bool) error // judges and keeps the value
	own   bool                            // of FNAT: needs our module
	extra bool                            // not in stock ipvsadm, but works on its module
	dest  bool                            // only with -a and -e, where -b is FNAT
}

// optionRows is the one table that the scanner, the checks, the help text and
// the tests of man page and completion read.
var optionRows = []optionRow{
	{long: "tcp-service", short: "t", arg: popt.Required, col: colService, value: "ADDRESS", help: "TCP service, address:port", set: (*call).setTCP},
	{long: "udp-service", short: "u", arg: popt.Required, col: colService, value: "ADDRESS", help: "UDP service", set: (*call).setUDP},
	{long: "sctp-service", arg: popt.Required, col: colService, value: "ADDRESS", help: "SCTP service", set: (*call).setSCTP},
	{long: "fwmark-service", short: "f", arg: popt.Required, col: colService, value: "MARK", help: "service of a firewall mark, 1 or more", set: (*call).setFWMark},
	{long: "ipv6", short: "6", col: colSort, help: "the firewall mark's service is IPv6", set: (*call).setIPv6},
	{long: "scheduler", short: "s", arg: popt.Required, col: colScheduler, value: "NAME", help: "scheduler (wlc if not given)", set: (*call).setScheduler},
	{long: "pe", arg: popt.Required, col: colPE, value: "NAME", help: "persistence engine", set: (*call).setPE},
	{long: "persistent", short: "p", arg: popt.Optional, col: colPersistent, value: "[SECONDS]", help: "a client keeps its server (360 s if not given)", set: (*call).setPersistent},
	{long: "netmask", short: "M", arg: popt.Required, col: colNetmask, value: "MASK", help: "clients of one net count as one; IPv6: prefix length", set: (*call).setNetmask},
	{long: "real-server", short: "r", arg: popt.Required, col: colServer, value: "ADDRESS", help: "real server, address[:port]", set: (*call).setServer},
	{long: "gatewaying", short: "g", col: colForward, help: "direct routing (the default)", set: (*call).setGateway},
	{long: "ipip", short: "i", col: colForward, help: "tunnel", set: (*call).setTunnel},
	{long: "masquerading", short: "m", col: colForward, help: "NAT", set: (*call).setMasq},
	{long: "fullnat", short: "b", col: colForward, help: "FNAT: NAT, with a local address as client", set: (*call).setFullNAT, own: true, dest: true},
	{long: "tun-type", arg: popt.Required, col: colTunType, value: "TYPE", help: "ipip, gue or gre", set: (*call).setTunType},
	{long: "tun-port", arg: popt.Required, col: colTunPort, value: "PORT", help: "destination port of gue", set: (*call).setTunPort},
	{long: "tun-nocsum", col: colTunNoCsum, help: "tunnel without checksum", set: (*call).setTunNoCsum},
	{long: "tun-csum", col: colTunCsum, help: "tunnel with checksum", set: (*call).setTunCsum},
	{long: "tun-remcsum", col: colTunRemCsum, help: "tunnel with remote checksum offload", set: (*call).setTunRemCsum},
	{long: "weight", short: "w", arg: popt.Required, col: colWeight, value: "N", help: "weight of the server (1)", set: (*call).setWeight},
	{long: "u-threshold", short: "x", arg: popt.Required, col: colUThreshold, value: "N", help: "connections at which it gets no more", set: (*call).setUThreshold},
	{long: "l-threshold", short: "y", arg: popt.Required, col: colLThreshold, value: "N", help: "connections at which it gets some again", set: (*call).setLThreshold},
	{long: "mcast-interface", arg: popt.Required, col: colMcastInterface, value: "NAME", help: "interface of the sync daemon (eth0)", set: (*call).setMcastInterface},
	{long: "mcast-group", arg: popt.Required, col: colMcastGroup, value: "ADDRESS", help: "multicast group of the sync daemon", set: (*call).setMcastGroup},
	{long: "mcast-port", arg: popt.Required, col: colMcastPort, value: "PORT", help: "port of the sync daemon", set: (*call).setMcastPort},
	{long: "mcast-ttl", arg: popt.Required, col: colMcastTTL, value: "N", help: "TTL of the sync daemon's packets", set: (*call).setMcastTTL},
	{long: "sync-maxlen", arg: popt.Required, col: colSyncMaxLen, value: "BYTES", help: "longest message of the sync daemon", set: (*call).setSyncMaxLen},
	{long: "syncid", arg: popt.Required, col: colSyncID, value: "N", help: "number of the sync daemon, 0..255", set: (*call).setSyncID},
	{long: "connection", short: "c", col: colConnection, help: "list connections", set: (*call).setNothing},
	{long: "timeout", col: colTimeout, help: "list timeouts", set: (*call).setNothing},
	{long: "daemon", col: colDaemon, help: "list sync daemons", set: (*call).setNothing},
	{long: "stats", col: colStats, help: "list counters", set: (*call).setNothing},
	{long: "rate", col: colRate, help: "list rates per second", set: (*call).setNothing},
	{long: "exact", short: "X", col: colExact, help: "all digits of a number", set: (*call).setNothing},
	{long: "thresholds", col: colThresholds, help: "list thresholds", set: (*call).setNothing},
	{long: "persistent-conn", col: colPersistentConn, help: "list persistent connections", set: (*call).setNothing},
	{long: "tun-info", col: colTunInfo, help: "list tunnels", set: (*call).setNothing},
	{long: "sort", col: colSort, help: "sort the list (it always is)", set: (*call).setNothing},
	{long: "nosort", col: colNosort, help: "list in the kernel's order", set: (*call).setNothing},
	{long: "numeric", short: "n", col: colNumeric, help: "addresses and ports as numbers", set: (*call).setNothing},
	{long: "ops", short: "o", col: colOps, help: "schedule each packet for itself (UDP)", set: (*call).setOps},
	{long: "sched-flags", short: "b", arg: popt.Required, col: colSchedFlags, value: "FLAGS", help: "flags of the scheduler, with commas (with -A and -E)", set: (*call).setSchedFlags},

	{long: "atomic", col: colAtomic, help: "with -R: make the tables what the input says, all or nothing", set: (*call).setNothing, extra: true},
	{long: "dry-run", col: colDryRun, help: "with --atomic: print what would change", set: (*call).setNothing, extra: true},
	{long: "by", arg: popt.Required, col: colBy, value: "KEY", help: "with --top: sort by cps, pps, bps or conns", set: (*call).setBy, extra: true},
	{long: "interval", arg: popt.Required, col: colInterval, value: "SECONDS", help: "with --top: between two looks, 1..3600 (2)", set: (*call).setInterval, extra: true},
	{long: "count", arg: popt.Required, col: colCount, value: "N", help: "with --top: write N tables as text", set: (*call).setCount, extra: true},
	{long: "json", col: colJSON, help: "list as JSON (docs/json.md)", set: (*call).setNothing, extra: true},
	{long: "client", arg: popt.Required, col: colClient, value: "NET[:PORT]", help: "only connections of these clients", set: (*call).setClient, extra: true},
	{long: "vip", arg: popt.Required, col: colVIP, value: "NET[:PORT]", help: "only connections to these virtual addresses", set: (*call).setVIP, extra: true},
	{long: "lip", arg: popt.Required, col: colLIP, value: "NET[:PORT]", help: "only connections through these local addresses", set: (*call).setLIP, extra: true},
	{long: "rip", arg: popt.Required, col: colRIP, value: "NET[:PORT]", help: "only connections to these real servers", set: (*call).setRIP, extra: true},
	{long: "state", arg: popt.Required, col: colState, value: "NAMES", help: "only connections in these states, with commas", set: (*call).setState, extra: true},
	{long: "protocol", arg: popt.Required, col: colProtocol, value: "NAME", help: "only connections of tcp, udp or sctp", set: (*call).setProtocol, extra: true},

	{long: "local-address", short: "z", arg: popt.Required, col: colLocalAddress, value: "ADDRESS[:MIN-MAX]", help: "local address and its ports", set: (*call).setLocalAddress, own: true},
	{long: "lgroup", arg: popt.Required, col: colLGroup, value: "NAME", help: "group of local addresses; '' with -E detaches", set: (*call).setLGroup, own: true},
	{long: "laddr-flags", arg: popt.Required, col: colLaddrFlags, value: "FLAGS", help: "no-new, foreign, force, or none", set: (*call).setLaddrFlags, own: true},
	{long: "laddr-cpus", arg: popt.Required, col: colLaddrCPUs, value: "LIST", help: "CPUs that may take the address, as 0-3,8", set: (*call).setLaddrCPUs, own: true},
	{long: "fullnat", col: colFullNAT, help: "switch FNAT on in the service", set: extFlag(flagOn, fnat), own: true},
	{long: "no-fullnat", col: colFullNAT, help: "switch FNAT off in the service", set: extFlag(flagOff, fnat), own: true},
	{long: "toa", col: colTOA, help: "tell TCP servers the client's address", set: extFlag(flagOn, toa), own: true},
	{long: "no-toa", col: colTOA, help: "do not", set: extFlag(flagOff, toa), own: true},
	{long: "toa-syn", col: colTOASyn, help: "tell it on the SYN too", set: extFlag(flagOn, toaSyn), own: true},
	{long: "no-toa-syn", col: colTOASyn, help: "do not", set: extFlag(flagOff, toaSyn), own: true},
	{long: "toa-kind4", arg: popt.Required, col: colTOAKind4, value: "N", help: "TCP option for IPv4 clients, 9..254", set: (*call).setTOAKind4, own: true},
	{long: "toa-kind6", arg: popt.Required, col: colTOAKind6, value: "N", help: "TCP option for IPv6 clients, 9..254", set: (*call).setTOAKind6, own: true},
	{long: "seq-adjust", col: colSeqAdjust, help: "new sequence numbers towards servers", set: extFlag(flagOn, seqAdjust), own: true},
	{long: "no-seq-adjust", col: colSeqAdjust, help: "the client's own sequence numbers", set: extFlag(flagOff, seqAdjust), own: true},
	{long: "timestamps", arg: popt.Required, col: colTimestamps, value: "MODE", help: "keep, strip or rebase TCP timestamps", set: (*call).setTimestamps, own: true},
	{long: "mss", arg: popt.Required, col: colMSS, value: "BYTES", help: "clamp the MSS, 88..65495; 0 = do not", set: (*call).setMSS, own: true},
	{long: "laddr-select", arg: popt.Required, col: colLaddrSelect, value: "WAY", help: "local address by rr, source or cpu", set: (*call).setLaddrSelect, own: true},
	{long: "exhaust-rst", col: colExhaustRST, help: "answer RST when no port is free", set: extFlag(flagOn, exhaustRST), own: true},
	{long: "no-exhaust-rst", col: colExhaustRST, help: "answer nothing", set: extFlag(flagOff, exhaustRST), own: true},
	{long: "synproxy", short: "j", arg: popt.Required, col: colSynproxy, value: "MODE", help: "answer SYNs with cookies: enable, disable or auto", set: (*call).setSynproxy, own: true},
	{long: "synproxy-defer", col: colSPDefer, help: "wait for data, not only an ACK", set: extFlag(flagOn, ipvs.ExtSPDefer), own: true},
	{long: "no-synproxy-defer", col: colSPDefer, help: "do not", set: extFlag(flagOff, ipvs.ExtSPDefer), own: true},
	{long: "synproxy-mss", arg: popt.Required, col: colSPMSS, value: "BYTES", help: "cap of the MSS that a cookie offers; 0 = none", set: (*call).setSPMSS, own: true},
	{long: "synproxy-wscale", arg: popt.Required, col: colSPWScale, value: "N", help: "window scale that it offers, 0..14 or off (7)", set: (*call).setSPWScale, own: true},
	{long: "synproxy-opts", arg: popt.Required, col: colSPOpts, value: "LIST", help: "sack, no-sack, ts, no-ts, with commas", set: (*call).setSPOpts, own: true},
	{long: "synproxy-window", arg: popt.Required, col: colSPWindow, value: "BYTES", help: "what a client may send ahead, 0..65535 (14600)", set: (*call).setSPWindow, own: true},
	{long: "synproxy-ttl", arg: popt.Required, col: colSPTTL, value: "N", help: "TTL of cookies, 1..255 (64)", set: (*call).setSPTTL, own: true},
	{long: "synproxy-retries", arg: popt.Required, col: colSPRetries, value: "N", help: "SYNs sent again to a server, 0..8 (3)", set: (*call).setSPRetries, own: true},
	{long: "synproxy-queue", arg: popt.Required, col: colSPQueue, value: "N", help: "packets held until it answers, 0..64 (16)", set: (*call).setSPQueue, own: true},
	{long: "synproxy-auto-on", arg: popt.Required, col: colSPAutoOn, value: "N", help: "half-open connections that start auto (1024)", set: (*call).setSPAutoOn, own: true},
	{long: "synproxy-auto-off", arg: popt.Required, col: colSPAutoOff, value: "N", help: "and that stop it, fewer (512)", set: (*call).setSPAutoOff, own: true},
	{long: "invalid", arg: popt.Required, col: colInvalid, value: "POLICY", help: "TCP without connection: accept, drop or rst", set: (*call).setInvalid, own: true},
	{long: "rst-on-expire", col: colRSTOnExpire, help: "end idle TCP connections with RST to both sides", set: extFlag(flagOn, ipvs.ExtRSTOnExpire), own: true},
	{long: "no-rst-on-expire", col: colRSTOnExpire, help: "end them silently", set: extFlag(flagOff, ipvs.ExtRSTOnExpire), own: true},
	{long: "est-timeout", arg: popt.Required, col: colEstTimeout, value: "SECONDS", help: "of established connections, 0 = that of --set", set: (*call).setEstTimeout, own: true},
	{long: "cps", arg: popt.Required, col: colCPS, value: "N", help: "new connections per second, 0 = no limit", set: setCPS, own: true},
	{long: "cps-burst", arg: popt.Required, col: colCPSBurst, value: "N", help: "that may come at once, 0 = a twentieth of --cps", set: setCPSBurst, own: true},
	{long: "bps-in", arg: popt.Required, col: colBPSIn, value: "BYTES", help: "of requests per second, 0 = no limit", set: setBPSIn, own: true},
	{long: "bps-out", arg: popt.Required, col: colBPSOut, value: "BYTES", help: "of replies per second, 0 = no limit", set: setBPSOut, own: true},
	{long: "conn-limit", arg: popt.Required, col: colConnLimit, value: "N", help: "connections of all servers, 0 = no limit", set: setConnLimit, own: true},
	{long: "acl", arg: popt.Required, col: colACL, value: "MODE", help: "admit only clients in the ipset (white), or all others (black); off", set: (*call).setACL, own: true},
	{long: "acl-set4", arg: popt.Required, col: colACLSet4, value: "NAME", help: "ipset of IPv4 clients, '' = none", set: (*call).setACLSet4, own: true},
	{long: "acl-set6", arg: popt.Required, col: colACLSet6, value: "NAME", help: "ipset of IPv6 clients, '' = none", set: (*call).setACLSet6, own: true},
	{long: "drop-vip", col: colDropVIP, help: "drop what comes to a vip and to none of its services", set: setDropVIP(true), own: true},
	{long: "no-drop-vip", col: colDropVIP, help: "leave it to this machine", set: setDropVIP(false), own: true},
	{long: "synproxy-memory", arg: popt.Required, col: colSPMemory, value: "BYTES", help: "most that all services hold for clients", set: (*call).setSPMemory, own: true},
	{long: "synproxy-early", arg: popt.Required, col: colSPEarly, value: "MODE", help: "handshakes before packets are routed: off, on or auto", set: (*call).setSPEarly, own: true},
	{long: "cookie-key", arg: popt.Required, col: colCookieKey, value: "FILE", help: "secret of cookies, 32 hexadecimal digits", set: (*call).setCookieKey, own: true},
	{long: "previous-cookie-key", arg: popt.Required, col: colPrevCookieKey, value: "FILE", help: "that of cookies which are still taken", set: (*call).setPrevCookieKey, own: true},
	{long: "laddr-probes", arg: popt.Required, col: colLaddrProbes, value: "N", help: "ports tried for a connection, 1..255 (64)", set: (*call).setLaddrProbes, own: true},
	{long: "laddr-reclaim", col: colLaddrReclaim, help: "take ports of closing connections when none is free", set: setReclaim(true), own: true},
	{long: "no-laddr-reclaim", col: colLaddrReclaim, help: "do not", set: setReclaim(false), own: true},
	{long: "ext", col: colExt, help: "list what the module is and its settings", set: (*call).setNothing, own: true},
	{long: "stats-ext", col: colStatsExt, help: "list the counters of the module", set: (*call).setNothing, own: true},
}

// optionBase is the scanner's number of optionRows[0]; commands are below.
const optionBase = 100

// plainOptions and destOptions are what the scanner knows before and after
// a command that makes -b mean FNAT. They are made when they are needed.
var plainOptions, destOptions = scanner{}, scanner{dest: true}

type scanner struct {
	dest  bool
	table *popt.Table
}

// get is not safe for concurrent use.
func (s *scanner) get() *popt.Table {
	if s.table == nil {
		s.table = popt.NewTable(scanTable(s.dest))
	}
	return s.table
}

// scanTable gives -b and --fullnat the meaning they have with -a and -e (dest)
// or with every other command.
func scanTable(dest bool) []popt.Option {
	table := make([]popt.Option, 0, 2*len(commandRows)+len(optionRows))
	for i := range commandRows {
		row := &commandRows[i]
		table = append(table, popt.Option{Long: row.long, Arg: row.arg, ID: int(row.cmd)})
		for i := range len(row.short) {
			table = append(table, popt.Option{Short: row.short[i], Arg: row.arg, ID: int(row.cmd)})
		}
	}
	for i := range optionRows {
		row := &optionRows[i]
		opt := popt.Option{Long: row.long, Arg: row.arg, ID: optionBase + i}
		if row.short != "" && (row.short != "b" || row.dest == dest) {
			opt.Short = row.short[0]
		}
		if row.long == "fullnat" && row.dest != dest {
			continue
		}
		table = append(table, opt)
	}
	return table
}

// columnSet is a set of columns.
type columnSet [2]uint64

func (s columnSet) has(c column) bool { return c >= 0 && s[c/64]&(1<<uint(c%64)) != 0 }

func (s *columnSet) add(c column) {
	if c >= 0 {
		s[c/64] |= 1 << uint(c%64)
	}
}

// onlyStock tells that the set has nothing but columns of ipvsadm 1.31.
func (s columnSet) onlyStock() bool { return s[0]>>uint(colLocalAddress) == 0 && s[1] == 0 }

// any tells whether the set has one of columns.
func (s columnSet) any(columns []column) bool { return slices.ContainsFunc(columns, s.has) }

// stockSettings are the columns that make -E replace the stock settings even
// when options of our own stand beside them.
var stockSettings = []column{colScheduler, colPersistent, colNetmask, colOps, colPE, colSchedFlags}

// destColumns are the columns that make -e replace the settings of a server
// even when -b stands beside them.
var destColumns = []column{colWeight, colUThreshold, colLThreshold}

// demand is a column of the table of allowed options.
type demand struct {
	once                      sync.Once
	required, refused, single columnSet // single: at most one of them
}

// demands are filled in when they are needed: a restore asks for each line.
var demands [cmdVersion + 1]demand

// met tells that nothing is to be said about set.
func (d *demand) met(set columnSet) bool {
	ones := 0
	for i := range set {
		if set[i]&d.refused[i] != 0 || d.required[i]&^set[i] != 0 {
			return false
		}
		ones += bits.OnesCount64(set[i] & d.single[i])
	}
	return ones <= 1
}

func demandOf(cmd command) *demand {
	d := &demands[cmd]
	d.once.Do(func() { d.fill(cmd) })
	return d
}

func (d *demand) fill(cmd command) {
	for i := range columnRows {
		switch columnRows[i].rule(cmd) {
		case required:
			d.required.add(column(i))
		case refused:
			d.refused.add(column(i))
		case atMost1:
			d.single.add(column(i))
		}
	}
}

// check applies the table of allowed options; the first offending row speaks.
func check(cmd command, set columnSet) error {
	if demandOf(cmd).met(set) {
		return nil
	}
	last := column(-1)
	for col, row := range columnRows {
		col := column(col)
		switch row.rule(cmd) {
		case required:
			if !set.has(col) {
				return usagef(msgNeedOption, row.name, cmd)
			}
		case refused:
			if set.has(col) {
				return usagef(msgIllegalOption, row.name, cmd)
			}
		case atMost1:
			if !set.has(col) {
				continue
			}
			if last >= 0 {
				return usagef(msgConflict, row.name, columnRows[last].name, cmd)
			}
			last = col
		}
	}
	return nil
}

// String returns the name that messages use.
func (c command) String() string {
	for _, row := range commandRows {
		if row.cmd == c {
			return row.name
		}
	}
	return "unknown"
}

// usage prints the option table; argv0 is the program as it was called.
func usage(argv0 string) string {
	var b strings.Builder
	b.WriteString(strings.ReplaceAll(synopsis, "$0", argv0))
	b.WriteString("\nCommands (the first option is one of them):\n")
	for _, row := range commandRows {
		value := ""
		if row.arg == popt.Required {
			value = "master|backup"
		}
		helpLine(&b, row.short, row.long, value, row.help)
	}
	b.WriteString("\nOptions:\n")
	for _, row := range optionRows {
		if !row.own && !row.extra {
			helpLine(&b, row.short, row.long, row.value, row.help)
		}
	}
	b.WriteString("\nOptions that stock ipvsadm does not have:\n")
	for _, row := range optionRows {
		if row.extra {
			helpLine(&b, row.short, row.long, row.value, row.help)
		}
	}
	b.WriteString("\nOptions of FNAT (they need the ip_vs module of the package lvs-dkms):\n")
	for _, row := range optionRows {
		if row.own {
			helpLine(&b, row.short, row.long, row.value, row.help)
		}
	}
	return b.String()
}

func helpLine(b *strings.Builder, short, long, value, help string) {
	names := "    "
	for i := range len(short) {
		if i == 0 {
			names = "-" + short[:1] + "  "
		}
	}
	left := "  " + names + "--" + long
	if value != "" {
		left += " " + value
	}
	if len(short) > 1 {
		help += " (also -" + short[1:] + ")"
	}
	if pad := 38 - len(left); pad > 0 {
		left += strings.Repeat(" ", pad)
	}
	b.WriteString(left + " " + help + "\n")
}
