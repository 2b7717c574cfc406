// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"

	"github.com/lvs-fnat/lvs/internal/config"
)

// crowded is how many connections share a head of the table before it is too small:
// each but the first is one more cache miss for every packet.
const crowded = 4

// maxTabBits is the most that ip_vs of every kernel takes for conn_tab_bits.
const maxTabBits = 20

// table compares the heads of the connection table with the connections there are,
// or are allowed for.
func (e *exam) table() {
	tab, ok := e.number("sys/module/ip_vs/parameters/conn_tab_bits")
	if !ok || tab < 0 || tab > 62 {
		return // not loaded: what it would be is in no file
	}
	now, allowed := e.connections(), e.allowed()
	expected := max(now, allowed)
	why := fmt.Sprintf("there are %d connections", now)
	if allowed > now {
		why = fmt.Sprintf("the limits of the configuration allow %d connections", allowed)
	}
	want := min(bits.Len64(max(expected, 1)-1), maxTabBits)
	if expected > crowded<<tab && want > int(tab) {
		e.add("conn_tab_bits", Warning, fmt.Sprintf("echo 'options ip_vs conn_tab_bits=%d' >/etc/modprobe.d/ip_vs.conf, and load ip_vs anew", want),
			"the table has %d heads (conn_tab_bits=%d), and %s: each packet looks through a list", 1<<tab, tab, why)
		return
	}
	e.add("conn_tab_bits", OK, "", "the table has %d heads (conn_tab_bits=%d), and %s", 1<<tab, tab, why)
}

// allowed is how many connections the configuration lets through, as far as it
// says: conn_limit, or else the sum of uthreshold.
func (e *exam) allowed() uint64 {
	var n uint64
	e.services(func(vs *config.VirtualServer) {
		if vs.Ext.Limits.ConnLimit > 0 {
			n += uint64(vs.Ext.Limits.ConnLimit)
			return
		}
		for i := range vs.RealServers {
			n += uint64(max(vs.RealServers[i].UThreshold, 0))
		}
	})
	return n
}

// spare is how many files the daemon has open besides those of checks.
const spare = 64

// openFiles: each check that runs has a socket.
func (e *exam) openFiles() {
	checks := 0
	e.services(func(vs *config.VirtualServer) {
		for i := range vs.RealServers {
			checks += len(vs.RealServers[i].Checkers)
		}
	})
	if checks == 0 {
		return
	}
	whose := "the daemon"
	limit, ok := e.limit("proc/" + e.sys.Daemon)
	if e.sys.Daemon == "" || !ok {
		whose = "this shell"
		if limit, ok = e.limit("proc/self"); !ok {
			e.unseen("nofile", errors.New("/proc/self/limits cannot be read"))
			return
		}
	}
	if uint64(checks)+spare > limit {
		e.add("nofile", Warning, "LimitNOFILE="+strconv.Itoa(2*(checks+spare))+" in keepalived.service, or ulimit -n before the start",
			"%s may open %d files, and %s may need one each at once: without it a check fails, and the server is taken out", whose, limit, count(checks, "check"))
		return
	}
	e.add("nofile", OK, "", "%s may open %d files; there are %s", whose, limit, count(checks, "check"))
}

// limit reads the hard limit of open files of a process, to which the daemon
// raises its own.
func (e *exam) limit(process string) (uint64, bool) {
	text, _ := e.read(process + "/limits")
	for l := range strings.Lines(text) {
		f := strings.Fields(strings.TrimPrefix(l, "Max open files"))
		if strings.HasPrefix(l, "Max open files") && len(f) >= 2 {
			n, err := strconv.ParseUint(f[1], 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

// sysctlRow is a setting of ip_vs that can break what is configured.
type sysctlRow struct {
	name    string
	bad     int64
	good    int64
	matters func(*config.Config, *config.VirtualServer) bool
	what    string
}

func always(*config.Config, *config.VirtualServer) bool { return true }

var sysctlRows = []sysctlRow{
	{"drop_entry", 3, 0, always, "connections are ended at random, all the time"},
	{"drop_packet", 3, 0, always, "packets of new connections are dropped, one of each am_droprate"},
	{"secure_tcp", 3, 0, always, "connections have the short timeouts that are meant for attacks"},
	{"sloppy_tcp", 1, 0, always, "any stray segment makes a connection"},
	{"conn_reuse_mode", 0, 1, always, "a client that uses a port again gets the server of before, even one of weight 0"},
	{"expire_nodest_conn", 0, 1, func(_ *config.Config, vs *config.VirtualServer) bool { return isUDP(vs) },
		"a UDP client keeps asking a server that was taken out, for as long as it keeps its port"},
	{"expire_quiescent_template", 0, 1, func(_ *config.Config, vs *config.VirtualServer) bool {
		return vs.PersistenceTimeout > 0 && inhibits(vs)
	}, "persistent clients stay with a server that inhibit_on_failure has set to weight 0"},
	{"backup_only", 1, 0, func(c *config.Config, _ *config.VirtualServer) bool { return c.Global.LVSSyncDaemon != nil },
		"this host does not balance while its sync daemon is the backup"},
	{"run_estimation", 0, 1, always, "all rates (ipvsadm --rate) are 0"},
}

func inhibits(vs *config.VirtualServer) bool {
	if vs.InhibitOnFailure {
		return true
	}
	for i := range vs.RealServers {
		if vs.RealServers[i].InhibitOnFailure {
			return true
		}
	}
	return false
}

// sysctls: those of ip_vs are there once it is loaded.
func (e *exam) sysctls() {
	before, seen := len(e.findings), 0
	for _, r := range sysctlRows {
		v, ok := e.number("proc/sys/net/ipv4/vs/" + r.name)
		if !ok {
			continue
		}
		seen++
		if v == r.bad && e.any(func(vs *config.VirtualServer) bool { return r.matters(e.cfg, vs) }) {
			e.add("sysctl", Warning, fmt.Sprintf("sysctl -w net.ipv4.vs.%s=%d", r.name, r.good), "net.ipv4.vs.%s is %d: %s", r.name, v, r.what)
		}
	}
	if seen > 0 && before == len(e.findings) {
		e.add("sysctl", OK, "", "nothing in net.ipv4.vs breaks what is configured")
	}
}
