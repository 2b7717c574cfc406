// SPDX-License-Identifier: Apache-2.0

package config

import (
	"math"
	"net/netip"
	"time"

	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/parser"
)

// Global is what global_defs says about the whole program and the balancer.
type Global struct {
	RouterID  string // "": the host's name
	Processes Processes
	Scripts   Scripts
	FIFOs     FIFOs
	Mail      Mail
	Reload    Reload
	Dump      Dump
	SNMP      SNMP
	DBus      DBus
	IPRoute   IPRouteDirs

	VRRP                  VRRPGlobal
	LVSTimeouts           *LVSTimeouts // nil: the kernel's values stay
	LVSFlush              bool         // empty the whole IPVS table at start
	LVSFlushOnStop        FlushOnStop
	LVSSyncDaemon         *SyncDaemon // nil: none
	LVSMaxChanges         int         // percent of the real servers that one reload may take away; 0: all
	LVSRepair             bool        // put back what others changed in the kernel's table
	LVSNetlink            Buffers
	Ext                   ipvs.ExtConfig // settings of the extension for all services; only what is in Set is asked for
	ExtPos                Pos            // of the first of them
	NFTables              *NFTables      // nil: no marks for groups of addresses
	CheckerLogAllFailures bool
	RSInitNotifies        bool // notify of the first state of a real server, too
}

// Root is what stands outside of any block.
type Root struct {
	Instance           string // name of this one among several daemons of a host
	NetNamespace       string // network namespace of the daemon
	NetNamespaceIPVS   string // that of the IPVS tables; "": NetNamespace
	NamespaceWithIPSet bool
	UsePIDDir          bool          // pid files below /run/keepalived
	ChildWaitTime      time.Duration // at the end, before a child is killed
}

// LVSTimeoutMax is the longest connection timeout that ip_vs takes.
const LVSTimeoutMax = 31 * 24 * time.Hour

// NFTables is nftables_ipvs: the addresses of a virtual_server_group get a firewall
// mark, and are one service.
type NFTables struct {
	On          bool
	Table       string // "": keepalived_ipvs
	Priority    int
	StartFWMark uint32
}

// IPRouteDirs are where the names of routing tables and protocols are looked up; "": as iproute2 does.
type IPRouteDirs struct{ UsrDir, EtcDir string }

// Buffers are receive buffers of a netlink socket.
type Buffers struct {
	Command, Monitor           int // bytes; 0: the kernel's default
	CommandForce, MonitorForce bool
}

// SyncDaemon is lvs_sync_daemon. Zero values are the kernel's defaults.
type SyncDaemon struct {
	Interface string
	Instance  string // VRRP instance whose state decides the role; "": both roles always
	ID        int    // -1: the virtual router id of Instance, else 0
	MaxLen    uint16
	Port      uint16
	TTL       uint8
	Group     netip.Addr
	Pos       Pos
}

// SSL is the client's side of every SSL_GET.
type SSL struct{ Password, CA, Certificate, Key string }

var rootKeywords keywords[Config]

// Filled here and not in the declaration, which would be a cycle: a block's reader walks its own table.
func init() {
	rootKeywords = keywords[Config]{
		"global_defs": {block: true, read: func(l *loader, n *parser.Node, c *Config) {
			walk(l, n.Children, "global_defs", globalKeywords, &c.Global)
		}},
		"local_address_group":  {block: true, read: readLaddrGroup},
		"deny_address_group":   {block: true, read: readClients},
		"allow_address_group":  {block: true, read: readClients},
		"virtual_server_group": {block: true, read: readServerGroup},
		"virtual_server":       {block: true, read: readVirtualServer},
		"bfd_instance":         {block: true, read: readBFDInstance},
		"track_file":           {block: true, read: readTrackFile},
		"vrrp_track_file":      {block: true, read: readTrackFile},
		"SSL": {block: true, read: func(l *loader, n *parser.Node, c *Config) {
			c.SSL = SSL{}
			walk(l, n.Children, "SSL", tlsKeywords, &c.SSL)
			if s := &c.SSL; (s.Certificate == "") != (s.Key == "") {
				l.error(n.Pos(), "SSL needs both a certificate and a key: checks show neither")
				s.Certificate, s.Key = "", ""
			}
		}},

		"instance":           onceInto(func(c *Config) *string { return &c.Root.Instance }),
		"net_namespace":      onceInto(func(c *Config) *string { return &c.Root.NetNamespace }),
		"net_namespace_ipvs": onceInto(func(c *Config) *string { return &c.Root.NetNamespaceIPVS }),
		// For kernels before 3.13, whose sets knew no namespaces.
		"namespace_with_ipsets": flagInto(func(c *Config) { c.Root.NamespaceWithIPSet = true }),
		"use_pid_dir":           flagInto(func(c *Config) { c.Root.UsePIDDir = true }),
		"child_wait_time": intInto(0, math.MaxUint32, func(c *Config, v int) {
			c.Root.ChildWaitTime = time.Duration(v) * time.Second
		}),
	}
	rootKeywords.with(vrrpRoots)
	globalKeywords = keywords[Global]{
		"router_id":                stringInto(func(g *Global, v string) { g.RouterID = v }),
		"lvs_id":                   stringInto(func(g *Global, v string) { g.RouterID = v }),
		"checker_log_all_failures": boolInto(func(g *Global, v bool) { g.CheckerLogAllFailures = v }),
		"rs_init_notifies":         flagInto(func(g *Global) { g.RSInitNotifies = true }),
		"nftables_ipvs": keyword[Global]{read: func(_ *loader, n *parser.Node, g *Global) {
			f := g.nftables()
			f.On, f.Table = true, n.Arg(1)
		}},
		"nftables_ipvs_priority": intInto(math.MinInt32, math.MaxInt32, func(g *Global, v int) {
			g.nftables().Priority = v
		}),
		"nftables_ipvs_start_fwmark": intInto(1, math.MaxUint32, func(g *Global, v int) {
			g.nftables().StartFWMark = uint32(v)
		}),
		"lvs_flush":                flagInto(func(g *Global) { g.LVSFlush = true }),
		"lvs_flush_on_stop":        {read: readFlushOnStop},
		"lvs_flush_onstop":         {read: readFlushOnStop},
		"lvs_timeouts":             {read: readTimeouts},
		"lvs_sync_daemon":          {read: readSyncDaemon},
		"laddr_probes":             intInto(1, 255, func(g *Global, v int) { g.Ext.Probes = uint8(v) }).ext(ipvs.ExtConfigProbes),
		"laddr_reclaim":            boolInto(func(g *Global, v bool) { g.Ext.Reclaim = v }).ext(ipvs.ExtConfigReclaim),
		"synproxy_memory":          intInto(0, math.MaxInt64, func(g *Global, v int) { g.Ext.SPQMem = uint64(v) }).ext(ipvs.ExtConfigSPQMem),
		"synproxy_early":           keyword[Global]{read: readSynproxyEarly}.ext(ipvs.ExtConfigSPEarly),
		"drop_vip":                 boolInto(func(g *Global, v bool) { g.Ext.DropVIP = v }).ext(ipvs.ExtConfigDropVIP),
		"lvs_netlink_cmd_rcv_bufs": intInto(0, math.MaxInt32, func(g *Global, v int) { g.LVSNetlink.Command = v }),
		"lvs_netlink_cmd_rcv_bufs_force": boolInto(func(g *Global, v bool) {
			g.LVSNetlink.CommandForce = v
		}),
		"lvs_netlink_monitor_rcv_bufs": intInto(0, math.MaxInt32, func(g *Global, v int) { g.LVSNetlink.Monitor = v }),
		"lvs_netlink_monitor_rcv_bufs_force": boolInto(func(g *Global, v bool) {
			g.LVSNetlink.MonitorForce = v
		}),
	}.with(processKeywords).with(scriptKeywords).with(fifoKeywords).with(mailKeywords).
		with(reloadKeywords).with(dumpKeywords).with(snmpKeywords).with(vrrpGlobals())
}

// ext is k, which reads a setting of the extension for all services; field is it.
func (k keyword[T]) ext(field ipvs.ExtConfigField) keyword[T] {
	read := k.read
	k.read = func(l *loader, n *parser.Node, to *T) {
		before := len(l.diags)
		read(l, n, to)
		if g, ok := any(to).(*Global); ok && len(l.diags) == before {
			if g.Ext.Set |= field; g.ExtPos == (Pos{}) {
				g.ExtPos = n.Pos()
			}
		}
	}
	return k
}

// setDefaults fills in what is not zero when nothing is written.
func (c *Config) setDefaults() {
	c.Root.ChildWaitTime = 5 * time.Second
	g := &c.Global
	g.VRRP.Firewall = Firewall{Table: "keepalived", Priority: -1}
	g.Scripts.StartupTimeout, g.Scripts.ShutdownTimeout = 10*time.Second, 10*time.Second
	g.Mail.ConnectTimeout = 30 * time.Second
	g.Processes.MinAutoPriorityDelay = time.Second
	g.Dump.JSONVersion = 1
	g.SNMP.Socket = "unix:/var/agentx/master"
	g.SNMP.VSInterval = 5 * time.Second
}

// nftables gives what nftables_ipvs and its kin have set so far.
func (g *Global) nftables() *NFTables {
	if g.NFTables == nil {
		g.NFTables = &NFTables{Priority: -1, StartFWMark: 1000}
	}
	return g.NFTables
}

// globalKeywords is complete after init.
var globalKeywords keywords[Global]

var tlsKeywords = keywords[SSL]{
	"password": replacing(func(s *SSL) *string { return &s.Password }),
	// Nothing is verified; the original only opens it.
	"ca":          replacing(func(s *SSL) *string { return &s.CA }),
	"certificate": replacing(func(s *SSL) *string { return &s.Certificate }),
	"key":         replacing(func(s *SSL) *string { return &s.Key }),
}

// replacing is for words of which the last line counts, and two are a mistake.
func replacing(of func(*SSL) *string) keyword[SSL] {
	return keyword[SSL]{read: func(l *loader, n *parser.Node, s *SSL) {
		v, ok := l.word(n, 1, "value")
		if !ok {
			return
		}
		if *of(s) != "" {
			l.warn(n.Pos(), "SSL %s already specified - replacing", n.Key())
		}
		*of(s) = v
	}}
}

func readFlushOnStop(l *loader, n *parser.Node, g *Global) {
	switch n.Arg(1) {
	case "":
		g.LVSFlushOnStop = FlushAll
	case "VS":
		g.LVSFlushOnStop = FlushVS
	default:
		l.error(n.ArgPos(1), "%s: invalid value '%s': expected VS or nothing", n.Key(), n.Arg(1))
	}
}

// readTimeouts takes pairs of name and seconds, 0 to 31 days.
func readTimeouts(l *loader, n *parser.Node, g *Global) {
	t := LVSTimeouts{}
	if len(n.Words) == 1 {
		l.error(n.Pos(), "lvs_timeouts: expected at least one of tcp, tcpfin, udp with seconds")
		return
	}
	for i := 1; i < len(n.Words); i += 2 {
		to := map[string]*time.Duration{"tcp": &t.TCP, "tcpfin": &t.TCPFin, "udp": &t.UDP}[n.Arg(i)]
		if to == nil {
			l.error(n.ArgPos(i), "lvs_timeouts: unknown word '%s': expected tcp, tcpfin or udp", n.Arg(i))
			return
		}
		v, ok := l.int(n, i+1, 0, int64(LVSTimeoutMax/time.Second))
		if !ok {
			return
		}
		*to = time.Duration(v) * time.Second
	}
	g.LVSTimeouts = &t
}

// readSyncDaemon takes IFNAME [INSTANCE [ID]] and pairs of word and value.
func readSyncDaemon(l *loader, n *parser.Node, g *Global) {
	if g.LVSSyncDaemon != nil {
		l.warn(n.Pos(), "lvs_sync_daemon has already been specified at line %d: this one is ignored", g.LVSSyncDaemon.Pos.Line)
		return
	}
	name, ok := l.word(n, 1, "interface name")
	if !ok {
		return
	}
	d := SyncDaemon{Interface: name, ID: -1, Pos: n.Pos()}
	number := func(i int, hi int64, set func(int)) bool {
		v, ok := l.int(n, i, 0, hi)
		if ok {
			set(int(v))
		}
		return ok
	}
	for i := 2; i < len(n.Words); i += 2 {
		ok := true
		switch w := n.Arg(i); {
		case w == "inst":
			d.Instance, ok = l.word(n, i+1, "name of a vrrp_instance")
		case w == "id":
			ok = number(i+1, 255, func(v int) { d.ID = v })
		case w == "maxlen":
			ok = number(i+1, 65507, func(v int) { d.MaxLen = uint16(v) })
		case w == "port":
			ok = number(i+1, 65535, func(v int) { d.Port = uint16(v) })
		case w == "ttl":
			ok = number(i+1, 255, func(v int) { d.TTL = uint8(v) })
		case w == "group":
			if d.Group, ok = l.addr(n, i+1); ok && !d.Group.IsMulticast() {
				l.error(n.ArgPos(i+1), "lvs_sync_daemon: group '%s' is not a multicast address", d.Group)
				ok = false
			}
		case i == 2: // the old form: the instance's name, then the id, without words
			d.Instance = w
			i--
		case i == 3 && d.Instance != "":
			l.warn(n.ArgPos(i), "lvs_sync_daemon: the id without a word is deprecated: write 'id %s'", w)
			ok = number(i, 255, func(v int) { d.ID = v })
			i--
		default:
			l.error(n.ArgPos(i), "lvs_sync_daemon: unknown word '%s': expected inst, id, maxlen, port, ttl or group", w)
			ok = false
		}
		if !ok {
			return
		}
	}
	g.LVSSyncDaemon = &d
}
