// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/ipvs"

	"github.com/lvs-fnat/lvs/internal/testnet"
)

// programsRun is what the distribution's programs say on its own ip_vs; that of
// TestStockPrograms must be the same on ours. "-- NAME --" begins what one step
// says. A changed file is proved by TestGuestsStock, never by ours.
const programsRun = "testdata/stockprograms.txt"

// programsFile is where guests find it.
const programsFile = "/stockprograms.txt"

// programsConf is for the distribution's keepalived: NAT over both families, with
// and without persistence, UDP, direct routing, weights, a sorry server, a quorum.
const programsConf = `global_defs {
    router_id stock
    vrrp_version 3
}
virtual_server 10.0.1.100 80 {
    delay_loop 1
    lb_algo wrr
    lb_kind NAT
    protocol TCP
    quorum 1
    sorry_server 10.0.2.1 99
    real_server 10.0.2.11 80 {
        weight 2
        TCP_CHECK { connect_timeout 1
            retry 0 }
    }
    real_server 10.0.2.12 80 {
        weight 1
        uthreshold 100
        lthreshold 50
        TCP_CHECK { connect_timeout 1
            retry 0 }
    }
}
virtual_server 2001:db8:1::100 80 {
    delay_loop 1
    lb_algo rr
    lb_kind NAT
    protocol TCP
    persistence_timeout 50
    persistence_granularity 64
    real_server 2001:db8:2::11 80 {
        inhibit_on_failure
        TCP_CHECK { connect_timeout 1
            retry 0 }
    }
    real_server 2001:db8:2::12 80 {
        TCP_CHECK { connect_timeout 1
            retry 0 }
    }
}
virtual_server 10.0.1.100 53 {
    lb_algo rr
    lb_kind NAT
    protocol UDP
    real_server 10.0.2.11 53 { }
}
virtual_server 10.0.1.100 54 {
    lb_algo mh
    mh-port
    lb_kind NAT
    protocol UDP
    real_server 10.0.2.11 54 { }
    real_server 10.0.2.12 54 { }
}
virtual_server 10.0.1.100 81 {
    delay_loop 1
    lb_algo wlc
    lb_kind DR
    protocol UDP
    real_server 10.0.2.11 81 { }
    real_server 10.0.2.12 81 { weight 3 }
}
virtual_server fwmark 7 {
    lb_algo sh
    lb_kind TUN
    real_server 10.0.2.11 0 { }
}
`

// programs is a run of the distribution's programs, with what they said.
type programs struct {
	*testnet.Topology
	t    *testing.T
	said strings.Builder
}

// step notes what a step has said.
func (p *programs) step(name, text string) {
	fmt.Fprintf(&p.said, "-- %s --\n%s", name, text)
}

// ipvsadm runs stock ipvsadm and notes what it says and its exit code, if that is
// not 0.
func (p *programs) ipvsadm(stdin string, args ...string) string {
	p.t.Helper()
	var out bytes.Buffer
	cmd := exec.CommandContext(p.t.Context(), "ipvsadm.stock", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &out
	testnet.Must(p.t, p.D.Start(cmd))
	var e *exec.ExitError
	if err := cmd.Wait(); errors.As(err, &e) {
		fmt.Fprintf(&out, "exit code %d\n", e.ExitCode())
	} else {
		testnet.Must(p.t, err)
	}
	return out.String()
}

func (p *programs) list(name string, args ...string) {
	p.t.Helper()
	p.step(name+": ipvsadm "+strings.Join(args, " "), p.ipvsadm("", args...))
}

// Numbers that differ from run to run: ports of clients and what is left of a
// timeout.
var (
	clientPort = regexp.MustCompile(`(10\.0\.1\.2|\[2001:db8:1::2\]):\d+`)
	expires    = regexp.MustCompile(`^(\w+) +\d\d:\d\d `)
)

// conns notes the connections, sorted: the kernel's order is that of a hash with a
// secret.
func (p *programs) conns(name string) {
	p.t.Helper()
	lines := strings.SplitAfter(p.ipvsadm("", "-Lcn"), "\n")
	for i, l := range lines {
		lines[i] = expires.ReplaceAllString(clientPort.ReplaceAllString(l, "$1:PORT"), "$1 MM:SS ")
	}
	slices.Sort(lines[min(2, len(lines)):])
	p.step(name+": ipvsadm -Lcn", strings.Join(lines, ""))
}

// echo answers datagrams at addr in n as they come.
func (p *programs) echo(n *testnet.NS, addr string) {
	p.t.Helper()
	c, err := n.ListenPacket(p.t.Context(), "udp", addr)
	testnet.Must(p.t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 100)
		for {
			size, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			c.WriteTo(buf[:size], from)
		}
	})
	p.t.Cleanup(func() { c.Close(); wg.Wait() })
}

// counted waits until a service of UDP and its servers together have counted n
// bytes of requests: the kernel adds its counters up every two seconds.
func (p *programs) counted(port uint16, n int) {
	p.t.Helper()
	testnet.Eventually(p.t, 30*time.Second, func() error {
		sum, list := 0, p.ipvsadm("", "-Ln", "--stats", "-u", netip.AddrPortFrom(testnet.VIP4, port).String())
		for l := range strings.Lines(list) {
			// Address, connections, packets and bytes either way; a title has no numbers.
			if f := strings.Fields(l); len(f) > 2 {
				if bytes, err := strconv.Atoi(f[len(f)-2]); err == nil {
					sum += bytes
				}
			}
		}
		if sum != 2*n {
			return fmt.Errorf("%d bytes of requests, want %d:\n%s", sum, 2*n, list)
		}
		return nil
	})
}

// datagram sends one of ten bytes to the service, and waits for the answer.
func (p *programs) datagram(port uint16) {
	p.t.Helper()
	c, err := p.C[0].DialContext(p.t.Context(), "udp", netip.AddrPortFrom(testnet.VIP4, port).String())
	testnet.Must(p.t, err)
	defer c.Close()
	testnet.Must(p.t, c.SetDeadline(time.Now().Add(5*time.Second)))
	_, err = c.Write([]byte("0123456789"))
	testnet.Must(p.t, err)
	if _, err := c.Read(make([]byte, 100)); err != nil {
		p.t.Errorf("port %d: %v", port, err)
	}
}

// keepalivedLine is the date in front of a line of its log, and what differs from
// run to run.
var keepalivedLine = regexp.MustCompile(`(?m)^\w+ \w+ +\d+ [\d:]+ \d+: |pid[= ]+\d+|\(\d+\)|used [\d.]+ user time, [\d.]+ system time|v[\d.]+ .*$| \d[-+]\d=\d [<>]=? \d`)

// TestStockPrograms runs the distribution's keepalived and ipvsadm, and a library
// that knows nothing of us, through one scenario, on the distribution's ip_vs and on
// ours: tables, connections, counters, refusals and what checks do must be the same
// to the letter.
func TestStockPrograms(t *testing.T) {
	want, err := os.ReadFile(programsFile)
	testnet.Must(t, err)
	p := &programs{Topology: testnet.NewTopology(t, testnet.Plan{Gateway: true, Neighbours: true}), t: t}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("all that was said:\n%s", p.said.String())
		}
	})
	p.servers()
	p.keepalived()
	p.byHand()
	p.library()
	if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(p.said.String(), "\n")); d != "" {
		t.Errorf("not as on the distribution's ip_vs: -want +got\n%s", d)
	}
}

// web is a real server's program at its port 80, which can be stopped.
type web struct {
	listeners []net.Listener
	wg        sync.WaitGroup
}

func (w *web) start(t *testing.T, h *testnet.Host) {
	t.Helper()
	for _, a := range []netip.Addr{h.V4, h.V6} {
		l, err := h.Listen(t.Context(), "tcp", netip.AddrPortFrom(a, 80).String())
		testnet.Must(t, err)
		w.listeners = append(w.listeners, l)
		w.wg.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				fmt.Fprintf(c, "%s %s\n", h.Name, c.RemoteAddr())
				c.Close()
			}
		})
	}
}

func (w *web) stop() {
	for _, l := range w.listeners {
		l.Close()
	}
	w.listeners = nil
	w.wg.Wait()
}

// servers are what answers but the web servers, and the way back of direct routing:
// past the director, whose own the source is.
func (p *programs) servers() {
	for _, r := range p.R {
		p.echo(r.NS, netip.AddrPortFrom(r.V4, 53).String())
		testnet.Must(p.t, r.AddAddr("lo", netip.PrefixFrom(testnet.VIP4, 32)))
		p.echo(r.NS, netip.AddrPortFrom(testnet.VIP4, 81).String())
	}
	testnet.Must(p.t, p.D.Sysctl("net.ipv4.conf.back.accept_local", "1"))
}

func (p *programs) keepalived() {
	t := p.t
	webs := []*web{{}, {}}
	for i, w := range webs {
		w.start(t, p.R[i])
		t.Cleanup(w.stop)
	}
	dir := t.TempDir()
	conf := filepath.Join(dir, "k.conf")
	write := func(text string) { testnet.Must(t, os.WriteFile(conf, []byte(text), 0o600)) }
	write(programsConf)
	var mu sync.Mutex
	var log bytes.Buffer
	cmd := exec.Command("keepalived.stock", "-n", "-l", "-G", "-C", "-f", conf, "-p", filepath.Join(dir, "pid"), "-c", filepath.Join(dir, "checkers.pid"))
	cmd.Stderr = writerFunc(func(b []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return log.Write(b)
	})
	testnet.Must(t, p.D.Start(cmd))
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			cmd.Process.Kill()
		}
	})
	// wait returns when ipvsadm -Sn has a line with text, or has none.
	wait := func(text string, there bool) {
		t.Helper()
		testnet.Eventually(t, 30*time.Second, func() error {
			if got := p.ipvsadm("", "-Sn"); strings.Contains(got, text) != there {
				mu.Lock()
				defer mu.Unlock()
				return fmt.Errorf("want %q: %v in\n%s\n%s", text, there, got, log.String())
			}
			return nil
		})
	}
	wait("-a -f 7 -r 10.0.2.11:0 -i -w 1", true)
	wait("10.0.2.1:99", false)
	wait("-a -t 10.0.1.100:80 -r 10.0.2.12:80", true)
	p.list("started", "-Ln")
	p.list("started", "-Sn")
	p.list("started", "-Ln", "--thresholds")

	for range 3 {
		ask(t, p.C[0].NS, netip.AddrPortFrom(testnet.VIP4, 80))
		ask(t, p.C[0].NS, netip.AddrPortFrom(testnet.VIP6, 80))
		for _, port := range []uint16{53, 81} {
			p.datagram(port)
		}
	}
	p.conns("used")
	p.list("used", "-Ln", "--persistent-conn")
	p.counted(53, 114)
	p.counted(81, 114)
	p.list("used", "-Ln", "--stats", "-u", "10.0.1.100:53")
	p.list("used", "-Ln", "--stats", "-u", "10.0.1.100:81")
	p.list("used", "-Ln", "--exact", "--stats", "-u", "10.0.1.100:53")

	webs[0].stop()
	wait("-a -t 10.0.1.100:80 -r 10.0.2.11:80", false)
	wait("-a -t [2001:db8:1::100]:80 -r [2001:db8:2::11]:80 -m -w 0", true)
	p.list("a server dies", "-Sn")
	webs[1].stop()
	wait("10.0.2.1:99", true)
	wait("[2001:db8:2::12]:80", false)
	p.list("all die", "-Sn")
	webs[0].start(t, p.R[0])
	webs[1].start(t, p.R[1])
	wait("-a -t 10.0.1.100:80 -r 10.0.2.11:80", true)
	wait("-a -t 10.0.1.100:80 -r 10.0.2.12:80", true)
	wait("-a -t [2001:db8:1::100]:80 -r [2001:db8:2::11]:80 -m -w 1", true)
	wait("[2001:db8:2::12]:80", true)
	p.list("both are back", "-Sn")

	write(strings.NewReplacer("lb_algo wrr", "lb_algo wlc", "weight 2", "weight 5", "lb_kind TUN", "lb_kind DR").Replace(programsConf))
	testnet.Must(t, cmd.Process.Signal(syscall.SIGHUP))
	wait("-w 5", true)
	wait("-a -f 7 -r 10.0.2.11:0 -g", true)
	p.list("after a reload", "-Sn")
	testnet.Must(t, cmd.Process.Signal(syscall.SIGTERM))
	select {
	case err := <-done:
		testnet.Must(t, err)
	case <-time.After(30 * time.Second):
		t.Fatal("keepalived does not end")
	}
	p.list("after the end", "-Ln")
	var lines []string
	for l := range strings.Lines(keepalivedLine.ReplaceAllString(log.String(), "")) {
		if strings.Contains(l, "service") || strings.Contains(l, "uorum") || strings.Contains(l, "IPVS") || strings.Contains(l, "sorry") {
			lines = append(lines, l)
		}
	}
	slices.Sort(lines)
	p.step("log", strings.Join(slices.Compact(lines), ""))
}

// writerFunc is an io.Writer.
type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// byHand types commands, wrong ones among them.
func (p *programs) byHand() {
	const table = `-A -t 10.0.1.100:80 -s wlc -p 60 -M 255.255.255.0
-a -t 10.0.1.100:80 -r 10.0.2.11:80 -m -w 3 -x 10 -y 5
-a -t 10.0.1.100:80 -r 10.0.2.12:80 -g -w 1
-A -u 10.0.1.100:53 -s rr -o
-a -u 10.0.1.100:53 -r 10.0.2.11:53 -m -w 1
-A --sctp-service 10.0.1.100:90 -s sed
-A -f 9 -6 -s mh -b mh-fallback,mh-port
-a -f 9 -6 -r [2001:db8:2::11]:0 -m -w 1
`
	p.step("restore", p.ipvsadm(table, "-R"))
	for _, line := range []string{
		"-Sn", "-Ln", "-A -t 10.0.1.100:80 -s rr", "-A -t 10.0.1.101:80 -s nosuch", "-a -t 10.0.1.100:80 -r 10.0.2.11:80 -m", "-a -t 10.0.1.99:80 -r 10.0.2.11:80 -m",
		"-e -t 10.0.1.100:80 -r 10.0.2.99:80 -m", "-a -t 10.0.1.100:80 -r [2001:db8:2::11]:80 -m", "-A -t 10.0.1.100:0 -s rr",
		"-E -t 10.0.1.100:80 -s rr", "-e -t 10.0.1.100:80 -r 10.0.2.11:80 -i -w 0 --tun-type gue --tun-port 6080", "-d -t 10.0.1.100:80 -r 10.0.2.12:80", "-D -f 9 -6",
		"--set 900 120 300", "-Ln --timeout", "--set 0 0 1", "-Ln --timeout", "-Z", "-Ln --daemon", "--start-daemon master --mcast-interface front --syncid 7",
		"--start-daemon master --mcast-interface front", "-Ln --daemon", "--stop-daemon master", "-Ln --daemon", "-Sn", "-Ln --tun-info", "-C", "-Ln",
	} {
		p.list("by hand", strings.Fields(line)...)
	}
}

// library does the same through moby's client.
func (p *programs) library() {
	t := p.t
	w := witness(t, p.D.NS)
	s := &ipvs.Service{AddressFamily: syscall.AF_INET, Protocol: syscall.IPPROTO_TCP, Address: net.IP(testnet.VIP4.AsSlice()), Port: 80, SchedName: "wrr", Netmask: 0xffffffff, Flags: 1, Timeout: 90}
	d := &ipvs.Destination{AddressFamily: syscall.AF_INET, Address: net.IP(p.R[0].V4.AsSlice()), Port: 80, Weight: 4, UpperThreshold: 9, LowerThreshold: 3}
	dr := *d
	dr.Address, dr.ConnectionFlags = net.IP(p.R[1].V4.AsSlice()), ipvs.ConnFwdDirectRoute
	var b strings.Builder
	say := func(what string, err error) { fmt.Fprintf(&b, "%s: %v\n", what, err) }
	say("new service", w.NewService(s))
	say("the same again", w.NewService(s))
	say("new destination", w.NewDestination(s, d))
	say("another", w.NewDestination(s, &dr))
	say("the same again", w.NewDestination(s, &dr))
	d.Weight = 0
	say("update destination", w.UpdateDestination(s, d))
	s.SchedName = "sh"
	say("update service", w.UpdateService(s))
	say("a timeout", w.SetConfig(&ipvs.Config{TimeoutTCP: time.Hour, TimeoutTCPFin: time.Minute, TimeoutUDP: time.Minute}))
	config, err := w.GetConfig()
	testnet.Must(t, err)
	say(fmt.Sprintf("timeouts %+v", *config), nil)
	services, err := w.GetServices()
	say("services", err)
	for _, s := range services {
		fmt.Fprintf(&b, "%+v\n", *s)
		dests, err := w.GetDestinations(s)
		say("destinations", err)
		for _, d := range dests {
			fmt.Fprintf(&b, "%+v\n", *d)
		}
	}
	say("delete destination", w.DelDestination(s, d))
	say("the same again", w.DelDestination(s, d))
	say("delete service", w.DelService(s))
	say("the same again", w.DelService(s))
	say("is it present", func() error {
		if w.IsServicePresent(s) {
			return errors.New("yes")
		}
		return nil
	}())
	say("flush", w.Flush())
	p.step("library", b.String())
}
