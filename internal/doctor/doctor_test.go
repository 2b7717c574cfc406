// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/ipvs"
)

const release = "6.12.117+deb12-amd64"

// fnat and nat are configurations that the host of newHost serves without a remark.
const (
	fnat = `local_address_group back {
    10.0.2.201
}
virtual_server 10.0.1.100 80 {
    lb_algo rr
    lb_kind FNAT
    protocol TCP
    laddr_group_name back
    real_server 10.0.2.11 80 {
        TCP_CHECK { connect_timeout 3 }
    }
}
`
	nat = `virtual_server 10.0.1.100 80 {
    lb_algo rr
    lb_kind NAT
    protocol TCP
    real_server 10.0.2.11 80 {
        TCP_CHECK { connect_timeout 3 }
    }
}
`
)

// fakeHost is a director with two links, which tests then break.
type fakeHost struct {
	files  fstest.MapFS
	addrs  map[netip.Addr]string
	lro    map[string]bool
	sets   map[string]ipvs.Family
	setErr error

	info     ipvs.Info
	groups   []ipvs.LGroup
	conns    uint32
	settings ipvs.ExtConfig
	stats    ipvs.ExtStats
	err      error // of the tables
	daemon   string
	netError error
	askErr   error // of the extension's settings and counters
}

func newHost() *fakeHost {
	h := &fakeHost{
		files: fstest.MapFS{}, lro: map[string]bool{}, sets: map[string]ipvs.Family{"crawlers": ipvs.IPv4},
		addrs:    map[netip.Addr]string{},
		settings: ipvs.ExtConfig{Set: ipvs.ExtConfigSPEarly, SPEarly: ipvs.SynproxyAuto},
		stats:    ipvs.ExtStats{ipvs.StatSPEarly: 30, ipvs.StatSPSyn: 20},
		info:     ipvs.Info{TabSize: 4096, Extended: &ipvs.ExtInfo{Features: 1<<15 - 1, Build: "abc on 6.12"}},
	}
	for addr, link := range map[string]string{
		"10.0.1.1": "eth0", "10.0.1.100": "eth0", "2001:db8:1::100": "eth0", "10.0.2.1": "eth1", "10.0.2.201": "eth1", "127.0.0.1": "lo",
	} {
		h.addrs[netip.MustParseAddr(addr)] = link
	}
	for name, text := range map[string]string{
		"proc/sys/kernel/osrelease":                 release,
		"proc/sys/net/ipv4/ip_local_port_range":     "32768\t60999",
		"proc/sys/net/ipv4/ip_local_reserved_ports": "",
		"proc/sys/net/ipv4/ip_forward":              "1",
		"proc/sys/net/ipv6/conf/all/forwarding":     "1",
		"proc/sys/net/ipv4/conf/all/rp_filter":      "0",
		"proc/sys/net/ipv4/conf/eth0/rp_filter":     "0",
		"proc/sys/net/ipv4/conf/eth1/rp_filter":     "2",
		"proc/sys/net/ipv4/conf/all/send_redirects": "1",
		"proc/sys/net/netfilter/nf_conntrack_count": "0",
		"proc/sys/net/netfilter/nf_conntrack_max":   "1000",
		"proc/sys/net/ipv4/vs/conntrack":            "0",
		"proc/sys/net/ipv4/vs/drop_entry":           "0",
		"proc/sys/net/ipv4/vs/drop_packet":          "0",
		"proc/sys/net/ipv4/vs/secure_tcp":           "0",
		"proc/sys/net/ipv4/vs/sloppy_tcp":           "0",
		"proc/sys/net/ipv4/vs/conn_reuse_mode":      "1",
		"proc/sys/net/ipv4/vs/expire_nodest_conn":   "0",
		"proc/sys/net/ipv4/vs/backup_only":          "0",
		"proc/sys/net/ipv4/vs/run_estimation":       "1",

		"proc/sys/net/ipv4/vs/expire_quiescent_template": "0",

		"proc/thread-self/net/netstat": "TcpExt: SyncookiesSent IPReversePathFilter X\nTcpExt: 5 0 7\nIpExt: InNoRoutes\nIpExt: 0",
		"proc/self/limits":             "Limit  Soft  Hard  Units\nMax open files            1024                 4096                 files",

		"sys/module/ip_vs/parameters/conn_tab_bits": "12",
		"sys/module/ip_vs/holders/ip_vs_rr":         "",

		"lib/modules/" + release + "/modules.dep":                        "kernel/net/netfilter/ipvs/ip_vs.ko.xz: x",
		"lib/modules/" + release + "/build/include/config/auto.conf":     "CONFIG_IP_VS=m",
		"lib/modules/" + release + "/updates/dkms/ip_vs.ko.xz":           "",
		"usr/lib/lvs-dkms/dkms-build":                                    "",
		"usr/src/lvs-1.2/dkms.conf":                                      "",
		"usr/src/linux-source-6.12.tar.xz":                               "",
		"usr/src/linux-headers-6.12.117+deb12-amd64/include/config.mk/x": "",
	} {
		h.write(name, text)
	}
	return h
}

func (h *fakeHost) write(name, text string) { h.files[name] = &fstest.MapFile{Data: []byte(text)} }
func (h *fakeHost) sysctl(name, text string) {
	h.write("proc/sys/net/"+strings.ReplaceAll(name, ".", "/"), text)
}
func (h *fakeHost) remove(names ...string) {
	for _, n := range names {
		delete(h.files, n)
	}
}

func (h *fakeHost) Info(context.Context) (ipvs.Info, error)           { return h.info, nil }
func (h *fakeHost) LGroups(context.Context) ([]ipvs.LGroup, error)    { return h.groups, nil }
func (h *fakeHost) ExtConfig(context.Context) (ipvs.ExtConfig, error) { return h.settings, h.askErr }
func (h *fakeHost) ExtStats(context.Context) (ipvs.ExtStats, error)   { return h.stats, h.askErr }
func (h *fakeHost) Services(context.Context) ([]ipvs.Service, error) {
	return []ipvs.Service{{}}, nil
}
func (h *fakeHost) Dests(context.Context, ipvs.ServiceKey) ([]ipvs.Dest, error) {
	return []ipvs.Dest{{ActiveConns: h.conns}}, nil
}
func (h *fakeHost) Links() ([]string, error)              { return []string{"lo", "eth0", "eth1"}, h.netError }
func (h *fakeHost) Addrs() (map[netip.Addr]string, error) { return h.addrs, h.netError }
func (h *fakeHost) LRO(link string) (bool, error)         { return h.lro[link], nil }
func (h *fakeHost) IPSet(name string) (ipvs.Family, error) {
	if f, ok := h.sets[name]; ok {
		return f, nil
	}
	if h.setErr != nil {
		return 0, h.setErr
	}
	return 0, fs.ErrNotExist
}
func (h *fakeHost) Route(dst netip.Addr) (string, bool, error) {
	if _, ok := h.addrs[dst]; ok {
		return "lo", true, nil
	}
	if netip.MustParsePrefix("10.0.2.0/24").Contains(dst) {
		return "eth1", false, nil
	}
	return "eth0", false, nil
}

// examine loads conf and has it examined on the host.
func (h *fakeHost) examine(t *testing.T, conf string) []Finding {
	t.Helper()
	cfg, diags, err := config.Parse(t.Context(), "k.conf", conf, config.Options{
		Ephemeral: func() (config.Ephemeral, error) { return config.Ephemeral{}, nil },
		Command:   func(name string) (string, error) { return name, nil },
		CPUs:      2,
	})
	if err != nil {
		t.Fatal(err)
	}
	sys := &System{Files: h.files, Daemon: h.daemon, Tables: h, Network: h}
	if h.err != nil {
		sys.Tables, sys.TablesError = nil, h.err
	}
	return Examine(t.Context(), sys, cfg, diags)
}

// TestHealthy: each check that looks at something says that it is well.
func TestHealthy(t *testing.T) {
	for name, c := range map[string]struct{ conf, want string }{
		"fnat":    {fnat, "configuration module kernels address laddr rp_filter lro conntrack conn_tab_bits nofile sysctl"},
		"proxied": {strings.Replace(nat, "    protocol TCP\n", "    protocol TCP\n    syn_proxy\n", 1), "configuration module kernels address forwarding rp_filter lro conntrack synproxy conn_tab_bits nofile sysctl"},
		"nat":     {nat, "configuration module address forwarding rp_filter lro conntrack conn_tab_bits nofile sysctl"},
	} {
		t.Run(name, func(t *testing.T) {
			var checks []string
			for _, f := range newHost().examine(t, c.conf) {
				checks = append(checks, f.Check)
				if f.Severity != OK || f.Remedy != "" || f.Seen == "" {
					t.Errorf("%s: %v %q, remedy %q", f.Check, f.Severity, f.Seen, f.Remedy)
				}
			}
			if got := strings.Join(checks, " "); got != c.want {
				t.Errorf("looked at %s\nwant      %s", got, c.want)
			}
		})
	}
}

// TestFindings breaks one thing at a time: it is found, and nothing else is.
func TestFindings(t *testing.T) {
	v6 := strings.NewReplacer("10.0.1.100", "2001:db8:1::100", "10.0.2.11", "2001:db8:2::11").Replace(nat)
	in := func(conf, line string) string {
		return strings.Replace(conf, "    protocol TCP\n", "    protocol TCP\n    "+line+"\n", 1)
	}
	const dkms = "lib/modules/" + release + "/updates/dkms/ip_vs.ko.xz"
	stock := func(h *fakeHost) { h.info.Extended = nil }
	for name, c := range map[string]struct {
		conf     string
		host     func(*fakeHost)
		severity Severity
		check    string
		seen     string
		remedy   string
	}{
		// the configuration
		"a server is lost": {strings.Replace(nat, "10.0.2.11 80", "10.0.2.11x 80", 1), nil, Error, "configuration", "is left out, for an error (k.conf: Line ", "keepalived -t"},

		// the module
		"stock with ours on the disk": {fnat, stock, Error, "module",
			"the kernel's own ip_vs is loaded: it has no FNAT, toa, timestamps, which virtual server [10.0.1.100]:tcp:80 needs (k.conf: Line 4)",
			"stop keepalived, then: ipvsadm --clear; modprobe -r ip_vs_rr ip_vs; modprobe ip_vs"},
		"stock, nothing built": {fnat, func(h *fakeHost) { stock(h); h.remove(dkms) }, Error, "module", "the kernel's own",
			"run 'dkms-build lvs 1.2 " + release + "' in /usr/lib/lvs-dkms: it builds the module, or says why it cannot"},
		"stock, no headers": {fnat, func(h *fakeHost) {
			stock(h)
			h.remove(dkms, "lib/modules/"+release+"/build/include/config/auto.conf")
		}, Error, "module", "the kernel's own", "install linux-headers-" + release + "; the module is built then"},
		"stock, no package": {fnat, func(h *fakeHost) {
			stock(h)
			h.remove(dkms, "usr/lib/lvs-dkms/dkms-build", "usr/src/linux-source-6.12.tar.xz")
		}, Error, "module", "the kernel's own", "install lvs-dkms, linux-source-6.12; the module is built then"},
		"stock of a kernel we do not know": {fnat, func(h *fakeHost) {
			stock(h)
			h.write("proc/sys/kernel/osrelease", "7.3.4-amd64")
			h.remove("lib/modules/" + release + "/modules.dep")
		}, Error, "module", "the kernel's own", "boot a kernel 6.1 or 6.12 of Debian"},
		"stock, SYNPROXY with NAT": {in(nat, "syn_proxy"), stock, Error, "module", "it has no syn_proxy, which virtual server", ""},
		"stock, a limit":           {in(nat, "cps 100"), stock, Error, "module", "it has no limits, which", ""},
		"stock, a list":            {in(nat, "acl black\n    acl_set4 crawlers"), stock, Error, "module", "it has no acl, which", ""},
		"stock, two services": {fnat + strings.Replace(fnat[strings.Index(fnat, "virtual_server"):], " 80 {", " 81 {", 1), stock, Error, "module",
			"virtual server [10.0.1.100]:tcp:80 need (k.conf: Line 4), and 1 more", ""},
		"stock is enough, ours is there": {nat, stock, Note, "module", "the kernel's own ip_vs is loaded, though /lib/modules/" + release + "/updates/dkms/ip_vs.ko.xz is installed", "; or reboot"},
		"ours is too old":                {in(fnat, "syn_proxy"), func(h *fakeHost) { h.info.Extended.Features &^= 0x20 }, Error, "module", "ip_vs abc on 6.12 is loaded: it has no syn_proxy", "update lvs-dkms, then stop keepalived"},
		"ours, no file":                  {fnat, func(h *fakeHost) { h.remove(dkms) }, Warning, "module", "the kernel's own comes back with the next boot", "dkms-build lvs 1.2"},
		"no answer":                      {nat, func(h *fakeHost) { h.err = errors.New("operation not permitted") }, Error, "module", "does not answer: operation not permitted", "root"},
		"not loaded, stock on the disk": {fnat, func(h *fakeHost) { h.err = ipvs.ErrNoIPVS; h.remove(dkms) }, Error, "module",
			"ip_vs is not loaded, and Linux " + release + " has only its own: it has no FNAT", "dkms-build"},
		"no modules": {nat, func(h *fakeHost) {
			h.err = ipvs.ErrNoIPVS
			h.remove("lib/modules/" + release + "/modules.dep")
		}, Error, "module", "has no modules here", "linux-image-" + release},
		"no ip_vs": {nat, func(h *fakeHost) {
			h.err = ipvs.ErrNoIPVS
			h.write("lib/modules/"+release+"/modules.dep", "kernel/net/dummy.ko:")
		}, Error, "module", "has no ip_vs", "boot a kernel with ip_vs"},
		"another kernel is bare": {fnat, func(h *fakeHost) { h.write("lib/modules/6.1.0-56-amd64/modules.dep", "") }, Warning, "kernels",
			"Linux 6.1.0-56-amd64 is installed without our ip_vs", "install linux-headers-6.1.0-56-amd64, linux-source-6.1"},

		// addresses
		"vip elsewhere":         {nat, func(h *fakeHost) { delete(h.addrs, netip.MustParseAddr("10.0.1.100")) }, Error, "address", "10.0.1.100 of virtual server [10.0.1.100]:tcp:80 is not an address of this host", "ip address add 10.0.1.100/32"},
		"vip waits for scripts": {in(nat, `quorum_up "/bin/true"`), func(h *fakeHost) { delete(h.addrs, netip.MustParseAddr("10.0.1.100")) }, Note, "address", "quorum_up of it wait", ""},
		"laddr elsewhere":       {fnat, func(h *fakeHost) { delete(h.addrs, netip.MustParseAddr("10.0.2.201")) }, Error, "laddr", "local address 10.0.2.201 is not an address of this host", "ip address add 10.0.2.201/32"},
		"laddrs elsewhere": {strings.Replace(fnat, "10.0.2.201\n", "10.0.2.202-208\n", 1), nil, Error, "laddr",
			"local addresses 10.0.2.202, 10.0.2.203, 10.0.2.204, 10.0.2.205, 10.0.2.206 and 2 more are not", "ip address add 10.0.2.202/32"},
		"ports of the host": {strings.Replace(fnat, "10.0.2.201\n", "10.0.2.201 20000-40000\n", 1), func(h *fakeHost) { h.sysctl("ipv4.ip_local_reserved_ports", "36000-36009") }, Error, "laddr",
			"ports 20000-40000 of local address 10.0.2.201 overlap net.ipv4.ip_local_port_range 32768-60999", "net.ipv4.ip_local_reserved_ports=36000-36009,32768-35999"},
		"no ports beside the host's":    {fnat, func(h *fakeHost) { h.sysctl("ipv4.ip_local_port_range", "1024 65535") }, Error, "laddr", "there are 0 ports for local address 10.0.2.201, so ip_vs refuses it", "ip_local_port_range="},
		"few ports beside the host's":   {fnat, func(h *fakeHost) { h.sysctl("ipv4.ip_local_port_range", "2000 65000") }, Warning, "laddr", "there are 976 ports", "ip_local_port_range="},
		"ports of the host are unknown": {fnat, func(h *fakeHost) { h.remove("proc/sys/net/ipv4/ip_local_port_range") }, Warning, "laddr", "not looked at", "root"},
		"ports run out":                 {fnat, func(h *fakeHost) { h.groups = []ipvs.LGroup{{Name: "back", Ports: 100, PortsUsed: 81}} }, Warning, "laddr", "group back has 81 % of its ports in use", "add local addresses"},
		"ports are used up":             {fnat, func(h *fakeHost) { h.groups = []ipvs.LGroup{{Name: "back", Ports: 100, PortsUsed: 100}} }, Error, "laddr", "group back has 100 %", ""},
		"no list":                       {in(nat, "acl black\n    acl_set4 robots"), nil, Error, "acl", "there is no ipset robots", "ipset create robots hash:net"},
		"list of the other family":      {in(nat, "acl black\n    acl_set4 crawlers"), func(h *fakeHost) { h.sets["crawlers"] = ipvs.IPv6 }, Error, "acl", "the other family", ""},
		"lists cannot be asked for":     {in(nat, "acl black\n    acl_set4 robots"), func(h *fakeHost) { h.setErr = errors.New("no right") }, Warning, "acl", "no right", ""},

		// the way of packets
		"no forwarding":       {nat, func(h *fakeHost) { h.sysctl("ipv4.ip_forward", "0") }, Error, "forwarding", "net.ipv4.ip_forward is 0", "sysctl -w net.ipv4.ip_forward=1"},
		"no forwarding, IPv6": {v6, func(h *fakeHost) { h.sysctl("ipv6.conf.all.forwarding", "0") }, Error, "forwarding", "net.ipv6.conf.all.forwarding is 0", "sysctl -w net.ipv6.conf.all.forwarding=1"},
		"forwarding unknown":  {nat, func(h *fakeHost) { h.remove("proc/sys/net/ipv4/ip_forward") }, Warning, "forwarding", "not looked at", ""},
		"redirects":           {strings.Replace(nat, "10.0.2.11", "10.0.1.11", 1), nil, Warning, "forwarding", "are both on eth0, which sends redirects", "send_redirects=0"},
		"strict and quiet":    {nat, func(h *fakeHost) { h.sysctl("ipv4.conf.eth0.rp_filter", "1") }, Note, "rp_filter", "strict on eth0, which has dropped nothing", ""},
		"strict and dropping": {nat, func(h *fakeHost) {
			h.sysctl("ipv4.conf.all.rp_filter", "1")
			h.write("proc/thread-self/net/netstat", "TcpExt: A IPReversePathFilter\nTcpExt: 5 12\n")
		}, Warning, "rp_filter", "strict on eth0, and it has dropped 12 packets", "rp_filter=2"},
		"LRO with FNAT":          {fnat, func(h *fakeHost) { h.lro["eth1"] = true }, Error, "lro", "LRO is on at eth1: FNAT drops", "ethtool -K LINK lro off"},
		"LRO with NAT":           {nat, func(h *fakeHost) { h.lro["eth1"] = true }, Warning, "lro", "LRO is on at eth1", "ethtool -K LINK lro off"},
		"tracking fills":         {nat, func(h *fakeHost) { h.sysctl("netfilter.nf_conntrack_count", "900") }, Warning, "conntrack", "900 of 1000", "nf_conntrack_max=2000"},
		"tracking is full":       {nat, func(h *fakeHost) { h.sysctl("netfilter.nf_conntrack_count", "1000") }, Error, "conntrack", "1000 of 1000", ""},
		"tracking and FNAT":      {fnat, func(h *fakeHost) { h.sysctl("netfilter.nf_conntrack_count", "3") }, Note, "conntrack", "drops what is invalid", "notrack"},
		"vs.conntrack":           {nat, func(h *fakeHost) { h.sysctl("ipv4.vs.conntrack", "1") }, Note, "conntrack", "net.ipv4.vs.conntrack is 1: each connection", "conntrack=0"},
		"vs.conntrack with FNAT": {fnat, func(h *fakeHost) { h.sysctl("ipv4.vs.conntrack", "1") }, Note, "conntrack", "no effect on FNAT", "conntrack=0"},

		// the SYN proxy
		"hooks in the way": {in(nat, "syn_proxy"), func(h *fakeHost) { h.stats = ipvs.ExtStats{ipvs.StatSPEarly: 9, ipvs.StatSPSyn: 20} }, Note, "synproxy",
			"synproxy_early is auto, and 9 packets were dealt with before they were routed while 20 SYNs came", "'synproxy_early on' in global_defs"},
		"counters are not told": {in(nat, "syn_proxy auto"), func(h *fakeHost) { h.askErr = errors.New("no right") }, Warning, "synproxy", "not looked at: no right", "root"},

		// capacity
		"many connections":  {nat, func(h *fakeHost) { h.conns = 100_000 }, Warning, "conn_tab_bits", "the table has 4096 heads (conn_tab_bits=12), and there are 100000 connections", "conn_tab_bits=17"},
		"many allowed":      {in(nat, "conn_limit 5000000"), nil, Warning, "conn_tab_bits", "allow 5000000 connections", "conn_tab_bits=20"},
		"many by threshold": {strings.Replace(nat, "        TCP_CHECK", "        uthreshold 65536\n        TCP_CHECK", 1), nil, Warning, "conn_tab_bits", "allow 65536", "conn_tab_bits=16"},
		"few files":         {nat, func(h *fakeHost) { h.write("proc/self/limits", "Max open files 10 50 files") }, Warning, "nofile", "this shell may open 50 files, and 1 check", "LimitNOFILE=130"},
		"few files of the daemon": {nat, func(h *fakeHost) {
			h.daemon = "77"
			h.write("proc/77/limits", "Max open files 10 40 files")
		}, Warning, "nofile", "the daemon may open 40 files", ""},
		"files unknown": {nat, func(h *fakeHost) { h.remove("proc/self/limits") }, Warning, "nofile", "not looked at", ""},

		// what the kernel is told
		"drop_entry":                 {nat, func(h *fakeHost) { h.sysctl("ipv4.vs.drop_entry", "3") }, Warning, "sysctl", "net.ipv4.vs.drop_entry is 3", "sysctl -w net.ipv4.vs.drop_entry=0"},
		"drop_packet":                {nat, func(h *fakeHost) { h.sysctl("ipv4.vs.drop_packet", "3") }, Warning, "sysctl", "net.ipv4.vs.drop_packet is 3", "=0"},
		"secure_tcp":                 {nat, func(h *fakeHost) { h.sysctl("ipv4.vs.secure_tcp", "3") }, Warning, "sysctl", "net.ipv4.vs.secure_tcp is 3", "=0"},
		"sloppy_tcp":                 {nat, func(h *fakeHost) { h.sysctl("ipv4.vs.sloppy_tcp", "1") }, Warning, "sysctl", "net.ipv4.vs.sloppy_tcp is 1", "=0"},
		"conn_reuse_mode":            {nat, func(h *fakeHost) { h.sysctl("ipv4.vs.conn_reuse_mode", "0") }, Warning, "sysctl", "net.ipv4.vs.conn_reuse_mode is 0", "=1"},
		"run_estimation":             {nat, func(h *fakeHost) { h.sysctl("ipv4.vs.run_estimation", "0") }, Warning, "sysctl", "all rates", "=1"},
		"UDP and expire_nodest_conn": {strings.Replace(nat, "TCP", "UDP", 1), nil, Warning, "sysctl", "a UDP client keeps asking", "sysctl -w net.ipv4.vs.expire_nodest_conn=1"},
		"persistence and weight 0":   {in(nat, "persistence_timeout 60\n    inhibit_on_failure"), nil, Warning, "sysctl", "persistent clients stay", "expire_quiescent_template=1"},
		"backup_only":                {"global_defs { lvs_sync_daemon eth0 }\n" + nat, func(h *fakeHost) { h.sysctl("ipv4.vs.backup_only", "1") }, Warning, "sysctl", "does not balance while", "=0"},
		"sync of FNAT":               {"global_defs { lvs_sync_daemon eth0 }\n" + fnat, nil, Note, "sync", "copies no connections of FNAT", ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost()
			if c.host != nil {
				c.host(h)
			}
			found := false
			findings := h.examine(t, c.conf)
			for _, f := range findings {
				switch {
				case f.Check == c.check && f.Severity == c.severity && strings.Contains(f.Seen, c.seen) && strings.Contains(f.Remedy, c.remedy):
					found = true
				case f.Severity > OK && (f.Check != c.check || f.Severity > c.severity):
					t.Errorf("also found: %v %s: %s", f.Severity, f.Check, f.Seen)
				}
				if f.Severity > Note && f.Remedy == "" {
					t.Errorf("no remedy: %s", f.Seen)
				}
			}
			if !found {
				t.Errorf("want %v %s: %q, remedy %q; found", c.severity, c.check, c.seen, c.remedy)
				for _, f := range findings {
					t.Logf("%v %s: %s\n  %s", f.Severity, f.Check, f.Seen, f.Remedy)
				}
			}
			if got := Worst(findings); got != c.severity {
				t.Errorf("the worst is %v, want %v", got, c.severity)
			}
		})
	}
}

// TestNothingWrong: what looks like a fault elsewhere and is none here.
func TestNothingWrong(t *testing.T) {
	vrrp := `vrrp_instance V { interface eth0
    virtual_router_id 7
    priority 100
    virtual_ipaddress { 10.0.1.100
        10.0.2.201 }
}
`
	away := func(h *fakeHost) {
		delete(h.addrs, netip.MustParseAddr("10.0.1.100"))
		delete(h.addrs, netip.MustParseAddr("10.0.2.201"))
	}
	for name, c := range map[string]struct {
		conf string
		host func(*fakeHost)
	}{
		"the backup has neither vip nor local address": {vrrp + fnat, away},
		"FNAT does not forward":                        {fnat, func(h *fakeHost) { h.sysctl("ipv4.ip_forward", "0") }},
		"DR does not forward":                          {strings.Replace(nat, "NAT", "DR", 1), func(h *fakeHost) { h.sysctl("ipv4.ip_forward", "0") }},
		"the host itself is the real server":           {strings.Replace(nat, "10.0.2.11", "10.0.2.1", 1), func(h *fakeHost) { h.sysctl("ipv4.ip_forward", "0") }},
		"ip_vs comes with the daemon":                  {fnat, func(h *fakeHost) { h.err = ipvs.ErrNoIPVS }},
		"stock serves NAT": {nat, func(h *fakeHost) {
			h.info.Extended = nil
			h.remove("lib/modules/" + release + "/updates/dkms/ip_vs.ko.xz")
		}},
		"a bare kernel matters to FNAT alone": {nat, func(h *fakeHost) { h.write("lib/modules/6.1.0-56-amd64/modules.dep", "") }},
		"reserved ports":                      {strings.Replace(fnat, "10.0.2.201\n", "10.0.2.201 40000-50000\n", 1), func(h *fakeHost) { h.sysctl("ipv4.ip_local_reserved_ports", "40000-50000") }},
		"a routed local address":              {strings.Replace(fnat, "10.0.2.201\n", "10.0.3.1 force\n", 1), nil},
		"the list is there":                   {strings.Replace(nat, "protocol TCP", "protocol TCP\n    acl white\n    acl_set4 crawlers", 1), nil},
		"SYNs are not to be early": {strings.Replace(nat, "protocol TCP", "protocol TCP\n    syn_proxy", 1), func(h *fakeHost) {
			h.settings.SPEarly, h.stats = ipvs.SynproxyOff, ipvs.ExtStats{ipvs.StatSPSyn: 20}
		}},
		"counters of a proxy that nobody uses": {nat, func(h *fakeHost) { h.stats, h.askErr = ipvs.ExtStats{ipvs.StatSPSyn: 20}, errors.New("asked") }},
		"a module without the early SYN proxy": {strings.Replace(nat, "protocol TCP", "protocol TCP\n    syn_proxy", 1), func(h *fakeHost) {
			h.settings.Set, h.stats = 0, ipvs.ExtStats{ipvs.StatSPSyn: 20}
		}},
		"a mark has no address": {strings.NewReplacer("virtual_server 10.0.1.100 80", "virtual_server fwmark 7", "    protocol TCP\n", "").Replace(nat), nil},
		"redirects are off":     {strings.Replace(nat, "10.0.2.11", "10.0.1.11", 1), func(h *fakeHost) { h.sysctl("ipv4.conf.all.send_redirects", "0") }},
		"nothing is configured": {"", away},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost()
			if c.host != nil {
				c.host(h)
			}
			for _, f := range h.examine(t, c.conf) {
				if f.Severity > OK {
					t.Errorf("%v %s: %s", f.Severity, f.Check, f.Seen)
				}
			}
		})
	}
}

// TestBlind: what cannot be looked at is told, and nothing panics.
func TestBlind(t *testing.T) {
	h := newHost()
	h.files, h.netError, h.err = fstest.MapFS{}, errors.New("no rights"), errors.New("no rights")
	findings := h.examine(t, fnat)
	if Worst(findings) != Error {
		t.Error("a service that nobody can judge is no good news")
	}
	var b bytes.Buffer
	if err := WriteText(&b, findings); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), "no rights"); n < 3 {
		t.Errorf("%d findings tell why:\n%s", n, &b)
	}
}

// TestReport: both forms, in full.
func TestReport(t *testing.T) {
	findings := []Finding{
		{"module", OK, "all is there", ""},
		{"conn_tab_bits", Warning, "too small", "echo '<x>'"},
		{"lro", Error, "on at eth0", "ethtool -K eth0 lro off"},
	}
	var text, doc bytes.Buffer
	if err := errors.Join(WriteText(&text, findings), WriteJSON(&doc, findings)); err != nil {
		t.Fatal(err)
	}
	const wantText = `ok       module         all is there
warning  conn_tab_bits  too small
                        remedy: echo '<x>'
error    lro            on at eth0
                        remedy: ethtool -K eth0 lro off
1 error, 1 warning
`
	if d := cmp.Diff(wantText, text.String()); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	const wantDoc = `{
  "errors": 1,
  "warnings": 1,
  "findings": [
    {
      "check": "module",
      "severity": "ok",
      "seen": "all is there",
      "remedy": ""
    },
    {
      "check": "conn_tab_bits",
      "severity": "warning",
      "seen": "too small",
      "remedy": "echo '<x>'"
    },
    {
      "check": "lro",
      "severity": "error",
      "seen": "on at eth0",
      "remedy": "ethtool -K eth0 lro off"
    }
  ]
}
`
	if d := cmp.Diff(wantDoc, doc.String()); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}
