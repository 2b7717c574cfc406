// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testvm"
)

// Where the MIBs are.
const (
	keepalivedMIB = ".1.3.6.1.4.1.9586.100.5"
	vrrpMIB       = ".1.3.6.1.2.1.68"
	vrrpv3MIB     = ".1.3.6.1.2.1.207"
)

// manager is SNMP beside a node: Debian's agent, who asks it, and who hears its events.
type manager struct {
	n      *node
	agent  *exec.Cmd
	events string // the file of what was heard
}

// tool is a program of net-snmp that reads no configuration and no MIB of the host.
func (m *manager) tool(path string, args ...string) *exec.Cmd {
	cmd := foreign(filepath.Join(testvm.Cache(), "peers"), path, args...)
	cmd.Env = append(os.Environ(), "MIBS=", "SNMPCONFPATH="+m.n.dir, "SNMP_PERSISTENT_DIR="+m.n.path("snmp"))
	cmd.Dir = m.n.dir
	return cmd
}

// spawn runs a tool until the test ends, its output in a file.
func (m *manager) spawn(out, path string, args ...string) *exec.Cmd {
	t := m.n.t
	t.Helper()
	f, err := os.OpenFile(out, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	testnet.Must(t, err)
	defer f.Close()
	cmd := m.tool(path, args...)
	cmd.Stdout, cmd.Stderr = f, f
	testnet.Must(t, m.n.NS.Start(cmd))
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd
}

// manage begins to listen for events, and runs the agent.
func (n *node) manage() *manager {
	n.t.Helper()
	m := &manager{n: n, events: n.path("events")}
	for name, text := range map[string]string{
		"snmpd.conf": fmt.Sprintf("agentaddress udp:127.0.0.1:161\nrocommunity public\nrwcommunity private\nmaster agentx\nagentXSocket %s\ntrap2sink 127.0.0.1:162 public\n", m.socket()),
		"trapd.conf": "disableAuthorization yes\n",
	} {
		testnet.Must(n.t, os.WriteFile(n.path(name), []byte(text), 0o644))
	}
	m.spawn(m.events, "/usr/sbin/snmptrapd", "-f", "-Lo", "-C", "-c", n.path("trapd.conf"), "-On", "-F", "%v\n", "-p", n.path("trapd.pid"), "udp:127.0.0.1:162")
	// What comes before it listens is lost.
	testnet.Eventually(n.t, limit, func() error {
		return n.NS.Do(func() error {
			b, err := os.ReadFile("/proc/thread-self/net/udp")
			if err == nil && !strings.Contains(string(b), ":00A2 ") {
				err = errors.New("nobody listens for events")
			}
			return err
		})
	})
	m.serve()
	return m
}

// socket is where the agent meets those who answer for it.
func (m *manager) socket() string { return "unix:" + m.n.path("agentx") }

// serve runs the agent, and waits until it answers.
func (m *manager) serve() {
	m.n.t.Helper()
	m.agent = m.spawn(m.n.path("snmpd"), "/usr/sbin/snmpd", "-f", "-Lo", "-C", "-c", m.n.path("snmpd.conf"), "-I", "-smux", "-p", m.n.path("snmpd.pid"))
	testnet.Eventually(m.n.t, limit, func() error {
		if out := m.ask("/usr/bin/snmpget", "public", ".1.3.6.1.2.1.1.3.0"); !strings.Contains(out, "Timeticks") {
			return fmt.Errorf("the agent says %q", out)
		}
		return nil
	})
}

// ask gives what a tool says about objects.
func (m *manager) ask(path, community string, args ...string) string {
	m.n.t.Helper()
	var out bytes.Buffer
	cmd := m.tool(path, append([]string{"-v2c", "-c", community, "-On", "-t", "20", "127.0.0.1"}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &out
	testnet.Must(m.n.t, m.n.NS.Start(cmd))
	_ = cmd.Wait() // what is wrong is in the output
	return out.String()
}

// walk gives all objects below one, by their names.
func (m *manager) walk(below string) map[string]string {
	m.n.t.Helper()
	out := map[string]string{}
	for line := range strings.Lines(m.ask("/usr/bin/snmpwalk", "public", below)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " = "); ok && !strings.HasPrefix(value, "No ") {
			out[name] = value
		}
	}
	return out
}

// await waits until an object has a value.
func (m *manager) await(object, value string) {
	m.n.t.Helper()
	testnet.Eventually(m.n.t, limit, func() error {
		if got := m.walk(object)[object]; got != value {
			return fmt.Errorf("%s of %s is %q, want %q", object, m.n.program, got, value)
		}
		return nil
	})
}

// heard gives the events of these MIBs, sorted, once there are as many.
func (m *manager) heard(count int) (out []string) {
	m.n.t.Helper()
	testnet.Eventually(m.n.t, limit, func() error {
		b, err := os.ReadFile(m.events)
		out = nil
		for line := range strings.Lines(string(b)) {
			_, event, ok := strings.Cut(line, ".1.3.6.1.6.3.1.1.4.1.0 = OID: ")
			if ok && slices.ContainsFunc([]string{keepalivedMIB, vrrpMIB, vrrpv3MIB}, func(mib string) bool { return strings.HasPrefix(event, mib+".") }) {
				out = append(out, strings.TrimSpace(event))
			}
		}
		if err == nil && len(out) < count {
			err = fmt.Errorf("%d events of %s, want %d: %q", len(out), m.n.program, count, out)
		}
		return err
	})
	slices.Sort(out)
	return out
}

// snmpConf has something of each table. Every instance is of version 3 but one: of
// several of version 2 the original shows the first alone in VRRP-MIB.
const snmpConf = `global_defs {
 router_id test
 script_user root
 enable_script_security
 notification_email {
  a@example.com
  b@example.com
 }
 notification_email_from lvs@example.com
 smtp_server 192.0.2.9 2525
 smtp_connect_timeout 30
 snmp_socket SOCKET
 enable_traps
 enable_snmp_vrrp
 enable_snmp_rfc
}
vrrp_script chk {
 script "/usr/bin/true"
 interval 5
 weight 3
 rise 2
 fall 3
}
vrrp_track_file tf {
 file DIR/number
 weight 2
}
vrrp_track_process sh {
 process nothing-of-that-name 100
 weight -3
 quorum 1
}
bfd_instance B1 {
 neighbor_ip 192.168.50.77
 weight -5
}
static_ipaddress {
 10.99.0.1/32 dev eth1
}
static_routes {
 10.98.0.0/24 via 10.60.0.2 dev eth1
}
static_rules {
 from 10.97.0.0/24 table 97 preference 90
}
vrrp_sync_group G {
 group {
  VI
 }
 notify_master "/usr/bin/true m"
 track_interface {
  eth1
 }
 track_script {
  chk weight 0
 }
}
vrrp_instance VI {
 state BACKUP
 interface eth0
 virtual_router_id 51
 priority 150
 advert_int 1
 authentication {
  auth_type PASS
  auth_pass secret
 }
 virtual_ipaddress {
  192.168.50.100/24 dev eth0 label eth0:1
  192.168.50.101 scope link
  192.168.50.102 scope site
 }
 virtual_ipaddress_excluded {
  10.60.0.100/24 dev eth1
 }
 virtual_routes {
  10.7.0.0/24 via 192.168.50.2 dev eth0 metric 5 mtu 1400 hoplimit 60 advmss 1200 reordering 5 window 1000 cwnd 10 ssthresh 20 initcwnd 7 initrwnd 8 quickack 1 features ecn
  blackhole 10.8.0.0/24
  10.9.0.0/24 nexthop via 192.168.50.3 weight 2 nexthop via 192.168.50.4 dev eth0
 }
 virtual_rules {
  from 10.7.0.0/24 to 10.6.0.0/24 table 7 preference 98
  iif eth1 fwmark 4/15 table 8 preference 99
  from 10.7.0.0/24 goto 200 preference 100
  to 10.7.0.0/24 blackhole preference 101
  not from 10.8.0.1 tos 4 table 9 preference 102 suppress_prefixlength 4 suppress_ifgroup 3 uidrange 1-5
 }
 notify_master "/usr/bin/true master"
 notify "/usr/bin/true any"
 smtp_alert
}
vrrp_instance V6 {
 state MASTER
 interface eth0
 version 3
 virtual_router_id 52
 priority 100
 advert_int 0.5
 garp_master_delay 3
 preempt_delay 7
 virtual_ipaddress {
  fe80::50:64
  2001:db8:50::100/64
 }
 track_interface {
  eth1 weight 10 reverse
 }
 track_script {
  chk
 }
 track_file {
  tf
 }
 track_process {
  sh
 }
 track_bfd {
  B1
 }
}
vrrp_instance V4b {
 state BACKUP
 interface eth1
 version 3
 virtual_router_id 53
 priority 90
 advert_int 0.25
 nopreempt
 virtual_ipaddress {
  10.60.0.200
 }
 notify_stop "/usr/bin/true stop"
 notify_fault "/usr/bin/true fault"
 notify_backup "/usr/bin/true backup"
 notify_deleted "/usr/bin/true deleted"
 notify_master_rx_lower_pri "/usr/bin/true lower"
 unicast_src_ip 10.60.0.1
 unicast_peer {
  10.60.0.2
 }
}
`

// snmpDiffers are the objects in which ours differs from keepalived 2.2.7, by their
// beginning, and why.
var snmpDiffers = map[string]string{
	keepalivedMIB + ".1.1.0":      "another version",
	keepalivedMIB + ".2.6.1.11.":  "the original says of all addresses of all instances but the first that they are not advertised",
	keepalivedMIB + ".2.21.1.12.": "the original says of every process that its full command is looked at",
	vrrpMIB + ".1.3.1.13.":        "a time",
	vrrpv3MIB + ".1.1.1.1.12.":    "a time",
	vrrpMIB + ".1.3.1.2.":         "a hardware address",
	vrrpv3MIB + ".1.1.1.1.5.":     "a hardware address",
	keepalivedMIB + ".2.13.1.3.":  "a path of the test",
	vrrpMIB + ".2.4.1.2.":         "adverts are counted",
	vrrpv3MIB + ".1.2.5.1.3.":     "adverts are counted",
	vrrpMIB + ".2.3.0":            "packets of the other test's routers",
	keepalivedMIB + ".2.21.1.13.": "processes of the host",
}

// eventCount is how many events keepalived 2.2.7 has in TestSNMP.
const eventCount = 28

// TestSNMP: Debian's snmpd tells the same about virtual routers whether keepalived
// 2.2.7 answers for them or ours: the part of KEEPALIVED-MIB, VRRP-MIB and VRRPv3-MIB,
// what is set, and the events of a link that goes down and of the end. Then, ours
// alone: SNMP is turned off and on by reloads, and found again when snmpd starts anew.
func TestSNMP(t *testing.T) {
	t.Parallel()
	type seen struct {
		Objects map[string]string
		Set     []string
		Events  []string
	}
	results := make(chan [2]any, 2)
	t.Run("nodes", func(t *testing.T) {
		for _, p := range []program{c, ours} {
			t.Run(string(p), func(t *testing.T) {
				t.Parallel()
				b := newBed(t, p)
				n := b.nodes[0]
				b.wire(n, "eth1", "10.60.0.1/24")
				n.env = []string{"SNMP_PERSISTENT_DIR=" + n.path("snmp")}
				testnet.Must(t, os.WriteFile(n.path("number"), []byte("4\n"), 0o644))
				m := n.manage()
				conf := strings.NewReplacer("SOCKET", m.socket(), "DIR", n.dir).Replace(snmpConf)
				n.start(conf)
				masters := func(value string) {
					t.Helper()
					for i := 1; i <= 3; i++ {
						m.await(fmt.Sprintf(keepalivedMIB+".2.3.1.4.%d", i), value)
					}
				}
				const master, fault = "INTEGER: 2", "INTEGER: 3"
				masters(master)
				m.await(keepalivedMIB+".2.3.1.8.2", "INTEGER: 93") // 4 times 2 and 3 more, less 3, less 5, less 10
				m.await(keepalivedMIB+".2.9.1.6.1", "INTEGER: 3")
				var s seen
				s.Objects = map[string]string{}
				for _, below := range []string{keepalivedMIB, vrrpMIB, vrrpv3MIB} {
					for name, value := range m.walk(below) {
						s.Objects[name] = value
					}
				}
				for _, x := range [][3]string{
					{".2.3.1.7.1", "i", "160"}, {".2.3.1.7.1", "i", "0"}, {".2.3.1.7.1", "i", "256"}, {".2.3.1.7.1", "u", "100"}, {".2.3.1.7.9", "i", "100"},
					{".2.3.1.13.1", "i", "2"}, {".2.3.1.13.1", "i", "3"}, {".2.3.1.8.1", "i", "7"}, {".2.3.1.27.2", "i", "2"}, {".2.3.1.33.1", "i", "1"},
				} {
					out := m.ask("/usr/bin/snmpset", "private", append([]string{}, keepalivedMIB+x[0], x[1], x[2])...)
					s.Set = append(s.Set, fmt.Sprint(x, " ", strings.TrimSpace(out)))
				}
				m.await(keepalivedMIB+".2.3.1.7.1", "INTEGER: 160")
				m.await(keepalivedMIB+".2.3.1.8.1", "INTEGER: 160")
				m.await(keepalivedMIB+".2.3.1.13.1", "INTEGER: 2")

				testnet.Must(t, n.Down("eth1"))
				m.await(keepalivedMIB+".2.3.1.4.1", fault)
				m.await(keepalivedMIB+".2.3.1.4.3", fault)
				testnet.Must(t, n.Up("eth1"))
				masters(master)
				if p == ours {
					n.reload(strings.ReplaceAll(conf, " enable_snmp", "#"))
					testnet.Eventually(t, limit, func() error {
						if got := m.walk(keepalivedMIB); len(got) > 0 {
							return fmt.Errorf("there are %d objects without SNMP", len(got))
						}
						return nil
					})
					n.reload(conf)
					masters(master)
					_ = m.agent.Process.Signal(syscall.SIGTERM)
					n.until("SNMP: master agent: ", 1)
					m.serve()
					masters(master)
				}
				n.stop()
				s.Events = m.heard(eventCount)
				results <- [2]any{p, s}
			})
		}
	})
	close(results)
	got := map[program]seen{}
	for r := range results {
		got[r[0].(program)] = r[1].(seen)
	}
	for _, s := range got {
		for name := range s.Objects {
			for prefix := range snmpDiffers {
				if strings.HasPrefix(name, prefix) {
					s.Objects[name] = "differs"
				}
			}
		}
	}
	if d := cmp.Diff(got[c], got[ours]); d != "" {
		t.Errorf("-keepalived 2.2.7 +ours:\n%s", d)
	}
	if n := len(got[ours].Objects); n < 400 {
		t.Errorf("only %d objects were compared", n)
	}
}
