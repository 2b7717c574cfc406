// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lvs-fnat/lvs/internal/agentx"
	"github.com/lvs-fnat/lvs/internal/testnet"
)

// keepalivedMIB is where KEEPALIVED-MIB begins.
var keepalivedMIB = agentx.OID{1, 3, 6, 1, 4, 1, 9586, 100, 5}

// master is an agent of SNMP with one that answers for a part of what it tells.
type master struct {
	t       *testing.T
	l       net.Listener
	conn    net.Conn
	packet  uint32
	answers chan *agentx.Message
	ended   chan struct{} // closed when the other has gone
	writes  sync.Mutex
	events  []string // until ended, of the goroutine that reads
}

func newMaster(t *testing.T) *master {
	t.Helper()
	m := &master{t: t, answers: make(chan *agentx.Message, 16), ended: make(chan struct{})}
	var err error
	m.l, err = net.Listen("unix", filepath.Join(t.TempDir(), "master"))
	testnet.Must(t, err)
	t.Cleanup(func() { m.l.Close() })
	return m
}

func (m *master) send(x *agentx.Message) error {
	m.writes.Lock()
	defer m.writes.Unlock()
	_, err := m.conn.Write(x.Append(nil))
	return err
}

// accept takes the other, and answers what it says.
func (m *master) accept() {
	m.t.Helper()
	testnet.Must(m.t, m.l.(*net.UnixListener).SetDeadline(time.Now().Add(2*time.Minute)))
	var err error
	m.conn, err = m.l.Accept()
	testnet.Must(m.t, err)
	m.t.Cleanup(func() { m.conn.Close(); <-m.ended })
	go m.listen()
}

func (m *master) listen() {
	defer close(m.ended)
	for {
		x, err := agentx.Read(m.conn)
		if err != nil {
			return
		}
		switch x.Verb {
		case agentx.VerbResponse:
			select {
			case m.answers <- x:
			default: // nobody has asked
			}
			continue
		case agentx.VerbNotify:
			var out []string
			for _, b := range x.VarBinds {
				if b.Value.Kind != agentx.KindTimeTicks {
					out = append(out, strings.TrimPrefix(b.Name.String(), keepalivedMIB.String())+" = "+b.Value.String())
				}
			}
			m.events = append(m.events, strings.Join(out, "\n"))
		}
		_ = m.send(&agentx.Message{Verb: agentx.VerbResponse, Session: 1, Transaction: x.Transaction, Packet: x.Packet})
	}
}

// ask sends a question and waits for its answer.
func (m *master) ask(x *agentx.Message) *agentx.Message {
	m.t.Helper()
	m.packet++
	x.Session, x.Packet = 1, m.packet
	testnet.Must(m.t, m.send(x))
	limit := time.After(2 * time.Minute)
	for {
		select {
		case r := <-m.answers:
			if r.Packet == x.Packet { // the original's library answers what needs no answer, too
				return r
			}
		case <-m.ended:
			m.t.Fatal("who answers has gone")
		case <-limit:
			m.t.Fatal("no answer")
		}
	}
}

// walk gives all objects below one.
func (m *master) walk(below ...uint32) map[string]string {
	m.t.Helper()
	out := map[string]string{}
	at := keepalivedMIB.Append(below...)
	end := at.Append()
	end[len(end)-1]++
	for {
		r := m.ask(&agentx.Message{Verb: agentx.VerbGetBulk, Repetitions: 50, Ranges: []agentx.Range{{Start: at, End: end}}})
		if len(r.VarBinds) == 0 {
			m.t.Fatalf("nothing behind %v: status %v", at, r.Status)
		}
		for _, b := range r.VarBinds {
			if b.Value.Kind == agentx.KindEndOfView {
				return out
			}
			at = b.Name
			out[strings.TrimPrefix(at.String(), keepalivedMIB.String())] = b.Value.String()
		}
	}
}

// await waits until an object has a value; it asks seldom, for each question keeps
// the guest's processor busy.
func (m *master) await(want agentx.Value, object ...uint32) {
	m.t.Helper()
	limit, every := time.After(3*time.Minute), time.NewTicker(250*time.Millisecond)
	defer every.Stop()
	for {
		r := m.ask(&agentx.Message{Verb: agentx.VerbGet, Ranges: []agentx.Range{{Start: keepalivedMIB.Append(object...)}}})
		if len(r.VarBinds) == 1 && r.VarBinds[0].Value.String() == want.String() {
			return
		}
		select {
		case <-every.C:
		case <-limit:
			m.t.Fatalf("%v is %+v, want %v", object, r.VarBinds, want)
		}
	}
}

// set tells how a change goes: the statuses of its test and, after that, of its commit.
func (m *master) set(v agentx.Value, object ...uint32) string {
	m.t.Helper()
	m.packet++
	transaction := m.packet
	r := m.ask(&agentx.Message{Verb: agentx.VerbTestSet, Transaction: transaction, VarBinds: []agentx.VarBind{{Name: keepalivedMIB.Append(object...), Value: v}}})
	out := fmt.Sprintf("%v to %v: %d", object, v, r.Status)
	if r.Status == agentx.StatusOK {
		r = m.ask(&agentx.Message{Verb: agentx.VerbCommitSet, Transaction: transaction})
		out += fmt.Sprintf(" %d", r.Status)
	}
	m.packet++
	testnet.Must(m.t, m.send(&agentx.Message{Verb: agentx.VerbCleanupSet, Session: 1, Transaction: transaction, Packet: m.packet}))
	return out
}

// snmpConf has something of each table.
const snmpConf = `global_defs {
 router_id test
 script_user root
 enable_script_security
 snmp_socket SOCKET
 enable_traps
 enable_snmp_checker
INTERVALS
 lvs_timeouts tcp 100 tcpfin 20 udp 30
 lvs_sync_daemon sync0 id 5
}
virtual_server_group g {
 10.0.1.1 80
 10.0.1.2-3 81
 fwmark 7
}
virtual_server 10.0.1.100 80 {
 delay_loop 1
 lb_algo wrr
 lb_kind NAT
 persistence_timeout 50
 persistence_granularity 255.255.255.0
 protocol TCP
 snmp_name web
 quorum 2
 hysteresis 1
 quorum_up "/usr/lib/original/busybox true up"
 quorum_down "/usr/lib/original/busybox true down"
 alpha
 omega
 ha_suspend
 virtualhost www.example.com
 sorry_server 10.1.0.9 80
 retry 3
 delay_before_retry 2
 connect_timeout 4
 warmup 1
 real_server 10.1.0.1 80 {
  weight 3
  snmp_name one
  notify_up "/usr/lib/original/busybox true rsup"
  notify_down "/usr/lib/original/busybox true rsdown"
  uthreshold 100
  lthreshold 10
  TCP_CHECK {
   connect_timeout 2
  }
 }
 real_server 10.1.0.2 80 {
  inhibit_on_failure
  TCP_CHECK {
   connect_port 9
   retry 0
  }
 }
}
virtual_server group g {
 lb_algo sh
 sh-port
 sh-fallback
 lb_kind DR
 protocol UDP
 ops
 real_server 10.1.0.1 80 {
  weight 2
  virtualhost one.example.com
 }
}
virtual_server fwmark 9 {
 lb_algo mh
 lb_kind TUN
 protocol TCP
 real_server 10.1.0.1 80 {
 }
}
virtual_server 10.0.1.101 80 {
 lb_algo wlc
 lb_kind TUN type gue port 6080 csum
 protocol TCP
 quorum 5
 hysteresis 4
 sorry_server 10.1.0.9
 real_server 10.1.0.1 80 {
  weight 10
  retry 2
  delay_loop 2.5
  alpha
  TCP_CHECK {
   connect_port 9
  }
 }
}
virtual_server 10.0.1.102 80 {
 lb_algo rr
 lb_kind NAT
 protocol TCP
 quorum_up "/usr/lib/original/busybox true zero"
 real_server 10.1.0.1 80 {
  weight 0
 }
 real_server 10.1.0.2 80 {
  weight 0
 }
}
virtual_server 2001:db8:1::100 443 {
 lb_algo lc
 lb_kind NAT
 protocol SCTP
 persistence_timeout 60
 persistence_granularity 64
 real_server 2001:db8:2::1 443 {
  weight 1
 }
}
`

// without takes the first block away that begins so.
func without(conf, block string) string {
	begin := strings.Index(conf, block)
	depth, end := 0, begin
	for ; end == begin || depth > 0 || conf[end-1] != '}'; end++ {
		switch conf[end] {
		case '{':
			depth++
		case '}':
			depth--
		}
	}
	return conf[:begin] + conf[end:]
}

// snmpDiffers are the objects in which ours differs from keepalived 2.2.7, by their
// beginning, and why; afterDiffers those after the reload.
var (
	snmpDiffers = map[string]string{
		".1.1.0":      "another version",
		".3.3.1.22.5": "of a service whose servers weigh nothing the original makes the quorum 0; ours keeps 1",
		".3.3.1.23.5": "which it then has",
		".3.3.1.26.5": "and its hysteresis the largest number there is",
	}
	afterDiffers = map[string]string{".3.3.1.22.3": "as above", ".3.3.1.23.3": "as above", ".3.3.1.26.3": "as above"}
)

// TestOnStockKeepalivedSNMP: a master agent is told the same about virtual servers,
// real servers and groups whether keepalived 2.2.7 answers for them or ours, setting
// weights goes the same, and so do the events of servers and quorums that go up, down
// and away. What was counted is in it: connections from the host itself.
func TestOnStockKeepalivedSNMP(t *testing.T) {
	t.Parallel()
	type seen struct {
		Objects, After map[string]string
		Sets           []string
		Events         []string
	}
	// keepalived 2.2.7 does not know these words, which are newer; its interval is 5 s.
	intervals := [2]string{"", " snmp_vs_stats_update_interval 1\n snmp_rs_stats_update_interval 2"}
	// Which of two servers is checked first is chance: the one that is down tells how many
	// are up, 0 or 1.
	const firstFailure, upCount = `.3.4.1.4 = STRING: "\n\x01\x00\x02"`, ".3.3.1.21 = kind 66: "
	const weightless = `.3.3.1.6 = STRING: "\n\x00\x01f"`
	var got [2]seen
	t.Run("programs", func(t *testing.T) {
		for i, program := range [][]string{
			{original + "/ld.so", "--library-path", original, original + "/keepalived"}, {"/usr/sbin/keepalived"},
		} {
			t.Run([]string{"original", "ours"}[i], func(t *testing.T) {
				t.Parallel()
				n, peer := testnet.New(t, fmt.Sprintf("snmp%d", i)), testnet.New(t, fmt.Sprintf("snmpsync%d", i))
				testnet.Must(t, testnet.Veth(n, "sync0", peer, "sync0"))
				testnet.Must(t, n.AddAddr("lo", netip.MustParsePrefix("10.1.0.1/32"), netip.MustParsePrefix("10.1.0.2/32"),
					netip.MustParsePrefix("10.0.1.100/32"), netip.MustParsePrefix("2001:db8:2::1/128")))
				var l net.Listener
				listen := func() {
					testnet.Must(t, n.Do(func() (err error) { l, err = net.Listen("tcp", "10.1.0.1:80"); return err }))
				}
				listen()
				defer func() { l.Close() }()
				m := newMaster(t)
				text := strings.NewReplacer("SOCKET", "unix:"+m.l.Addr().String(), "INTERVALS", intervals[i]).Replace(snmpConf)
				d := startPart(t, n, "-C", program, text)
				m.accept()
				alive, dead := agentx.Integer(1), agentx.Integer(2)
				m.await(alive, 3, 4, 1, 6, 1, 2)
				m.await(agentx.Gauge32(1), 3, 4, 1, 13, 1, 3)
				m.await(agentx.Gauge32(1), 3, 4, 1, 13, 4, 2)
				m.await(alive, 3, 3, 1, 23, 1)
				s := &got[i]
				s.Objects = map[string]string{}
				for _, part := range []uint32{1, 3} {
					for name, value := range m.walk(part) {
						s.Objects[name] = value
					}
				}
				for range 3 {
					testnet.Must(t, n.Do(func() error {
						c, err := net.DialTimeout("tcp", "10.0.1.100:80", time.Minute)
						if err != nil {
							return err
						}
						return c.Close()
					}))
				}
				m.await(agentx.Counter64(3), 3, 3, 1, 38, 1)
				m.await(agentx.Counter64(3), 3, 4, 1, 27, 1, 2)
				weight := func(server uint32) []uint32 { return []uint32{3, 4, 1, 7, 1, server} }
				for _, x := range []struct {
					v      agentx.Value
					server uint32
				}{
					{agentx.Integer(5), 1}, {agentx.Integer(200), 2}, {agentx.Gauge32(1), 2}, {agentx.Integer(7), 3},
				} {
					s.Sets = append(s.Sets, m.set(x.v, weight(x.server)...))
				}
				m.await(agentx.Integer(200), weight(2)...)
				m.await(agentx.Integer(7), weight(3)...)
				s.Sets = append(s.Sets, m.set(agentx.Integer(2), 3, 3, 1, 60, 1))
				if i == 1 {
					// Of the original a server that is not there sets the next one, and a weight
					// is what its lowest byte says.
					for object, want := range map[uint32]string{2: "[3 4 1 7 1 2] to INTEGER: -1: 10", 9: "[3 4 1 7 1 9] to INTEGER: -1: 17"} {
						if out := m.set(agentx.Integer(-1), weight(object)...); out != want {
							t.Errorf("%s, want %s", out, want)
						}
					}
				}
				l.Close()
				m.await(dead, 3, 4, 1, 6, 1, 2)
				m.await(dead, 3, 3, 1, 23, 1)
				listen()
				m.await(alive, 3, 4, 1, 6, 1, 2)
				m.await(alive, 3, 3, 1, 23, 1)
				// A reload takes a real server away that is down, one that is up, and two
				// virtual servers.
				conf := text
				for _, block := range []string{"real_server 10.1.0.2 80", "real_server 10.1.0.2 80", "virtual_server fwmark 9", "virtual_server 10.0.1.101 80"} {
					conf = without(conf, block)
				}
				testnet.Must(t, os.WriteFile(d.cmd.Args[slices.Index(d.cmd.Args, "-f")+1], []byte(conf), 0o600))
				testnet.Must(t, d.cmd.Process.Signal(syscall.SIGHUP))
				testnet.Eventually(t, 3*time.Minute, func() error {
					if s.After = m.walk(3, 3); s.After[".3.3.1.10.5"] != "" {
						return errors.New("a virtual server is still there")
					}
					return nil
				})
				for name, value := range m.walk(3, 4) {
					s.After[name] = value
				}
				// Rates are of the moment, and the original tells more than is asked.
				maps.DeleteFunc(s.After, func(name, _ string) bool {
					var part, column uint32
					_, err := fmt.Sscanf(name, ".3.%d.1.%d.", &part, &column)
					return err != nil || part == 3 && column > 26 || part == 4 && column > 13
				})
				testnet.Must(t, d.cmd.Process.Signal(syscall.SIGTERM))
				testnet.Must(t, errors.Join(<-d.done))
				<-m.ended
				for _, e := range m.events {
					if strings.Contains(e, firstFailure) {
						e = strings.Replace(e, upCount+"1", upCount+"0", 1)
					}
					if strings.Contains(e, weightless) {
						e = strings.Replace(e, ".3.3.1.22 = kind 66: 0", ".3.3.1.22 = kind 66: 1", 1) // as with objects
					}
					s.Events = append(s.Events, e)
				}
				slices.Sort(s.Events)
			})
		}
	})
	mark := func(objects map[string]string, differs map[string]string) {
		for name := range objects {
			for prefix := range differs {
				if strings.HasPrefix(name, prefix) {
					objects[name] = "differs"
				}
			}
		}
	}
	for _, s := range got {
		mark(s.Objects, snmpDiffers)
		mark(s.After, afterDiffers)
	}
	if d := cmp.Diff(got[0], got[1]); d != "" {
		t.Errorf("-original +ours:\n%s", d)
	}
	if n, e := len(got[1].Objects), len(got[1].Events); n < 500 || e < 20 {
		t.Errorf("only %d objects and %d events were compared", n, e)
	}
}
