// SPDX-License-Identifier: Apache-2.0

// Package daemon tests keepalived in guests, with the topology and the
// configuration of the demo.
package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testvm"
	"github.com/lvs-fnat/lvs/ipvs"
)

func TestMain(m *testing.M) { testvm.Main(m) }

// TestGuestsKeepalived runs our keepalived on our ip_vs, and for its refusals
// on the distribution's.
func TestGuestsKeepalived(t *testing.T) {
	root, err := testvm.Root()
	testnet.Must(t, err)
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", dir, "./keepalived", "./ipvsadm")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	files := map[string]string{
		"/usr/sbin/keepalived": filepath.Join(dir, "keepalived"),
		"/sbin/ipvsadm":        filepath.Join(dir, "ipvsadm"),
		"/etc/demo.conf":       filepath.Join(root, "testdata/demo/keepalived.conf"),
	}
	for _, name := range []string{"dpvs.conf", "alibaba.conf", "alibaba.d/laddr.conf", "alibaba.d/rs.conf"} {
		files["/etc/dialects/"+name] = filepath.Join(root, "e2e/daemon/testdata", name)
	}
	for i, kernel := range testvm.Kernels() {
		t.Run(kernel, func(t *testing.T) {
			t.Parallel()
			runs := map[testvm.Module]string{testvm.Ours: "^TestKeepalived", testvm.Stock: "^TestOnStockKeepalived"}
			if i == len(testvm.Kernels())-1 { // what no kernel changes
				runs[testvm.Ours] += "|^Test(Dialects|Namespaces)"
			}
			for module, run := range runs {
				t.Run(map[testvm.Module]string{testvm.Ours: "ours", testvm.Stock: "stock"}[module], func(t *testing.T) {
					t.Parallel()
					files := maps.Clone(files)
					if module == testvm.Stock {
						maps.Copy(files, originalFiles(t))
					}
					testvm.Run(t, testvm.Config{Kernel: kernel, Module: module, Run: run, Files: files, Load: []string{}, Modules: []string{"vrf", "ipvlan", "bonding"}})
				})
			}
		})
	}
}

// balanced is the topology with real servers that say who asked.
type balanced struct {
	*testnet.Topology
	t       *testing.T
	servers []*realServer
	conf    string
}

func newBalanced(t *testing.T) *balanced {
	b := &balanced{Topology: testnet.NewTopology(t, testnet.Plan{}), t: t, conf: filepath.Join(t.TempDir(), "k.conf")}
	demo, err := os.ReadFile("/etc/demo.conf")
	testnet.Must(t, err)
	b.write(string(demo))
	for _, r := range b.R {
		s := &realServer{host: r}
		s.start(t)
		t.Cleanup(s.stop)
		b.servers = append(b.servers, s)
	}
	return b
}

func (b *balanced) write(conf string) {
	b.t.Helper()
	testnet.Must(b.t, os.WriteFile(b.conf, []byte(conf), 0o600))
}

// read returns the configuration in force, for an edit.
func (b *balanced) read() string {
	b.t.Helper()
	text, err := os.ReadFile(b.conf)
	testnet.Must(b.t, err)
	return string(text)
}

// realServer answers HTTP with its name and the peer it sees, and UDP port 53
// with its name.
type realServer struct {
	host *testnet.Host
	http *http.Server
	udp  []net.PacketConn
	wg   sync.WaitGroup
	// sick has it fail its check and serve all else.
	sick atomic.Bool
}

func (s *realServer) start(t *testing.T) {
	t.Helper()
	s.http = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.sick.Load() && r.URL.Path == "/health" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprintf(w, "%s %s", s.host.Name, r.RemoteAddr)
	}), ReadHeaderTimeout: 10 * time.Second}
	for _, addr := range []netip.Addr{s.host.V4, s.host.V6} {
		l, err := s.host.Listen(t.Context(), "tcp", netip.AddrPortFrom(addr, 80).String())
		testnet.Must(t, err)
		s.wg.Go(func() { s.http.Serve(l) })
		p, err := s.host.ListenPacket(t.Context(), "udp", netip.AddrPortFrom(addr, 53).String())
		testnet.Must(t, err)
		s.udp = append(s.udp, p)
		s.wg.Go(func() {
			buf := make([]byte, 100)
			for {
				n, from, err := p.ReadFrom(buf)
				if err != nil {
					return
				}
				p.WriteTo(append([]byte(s.host.Name+" "), buf[:n]...), from)
			}
		})
	}
}

func (s *realServer) stop() {
	s.http.Close()
	for _, p := range s.udp {
		p.Close()
	}
	s.udp = nil
	s.wg.Wait()
}

// daemon is a running keepalived with its log.
type daemon struct {
	t    *testing.T
	cmd  *exec.Cmd
	mu   sync.Mutex
	log  bytes.Buffer
	seen int
	done chan error
}

func (d *daemon) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.log.Write(p)
}

func (d *daemon) text() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.log.String()
}

func (b *balanced) run(args ...string) *daemon {
	b.t.Helper()
	return b.runIn(b.D.NS, append([]string{"-p", b.conf + ".pid"}, args...)...)
}

// runIn is run with no more than args, in another namespace than the director's.
func (b *balanced) runIn(ns *testnet.NS, args ...string) *daemon {
	b.t.Helper()
	d := &daemon{t: b.t, done: make(chan error, 1)}
	d.cmd = exec.Command("/usr/sbin/keepalived", append([]string{"-n", "-l", "-f", b.conf}, args...)...)
	d.cmd.Stderr = d
	testnet.Must(b.t, ns.Start(d.cmd))
	go func() { d.done <- d.cmd.Wait() }()
	b.t.Cleanup(func() {
		if d.cmd.ProcessState == nil {
			d.cmd.Process.Kill()
		}
		if b.t.Failed() {
			b.t.Logf("log of keepalived:\n%s", d.text())
		}
	})
	return d
}

// wait returns when the log has text behind what was waited for before.
func (d *daemon) wait(text string) {
	d.t.Helper()
	testnet.Eventually(d.t, 30*time.Second, func() error {
		log := d.text()
		i := strings.Index(log[d.seen:], text)
		if i < 0 {
			return fmt.Errorf("no %q in the log behind\n%s", text, log[:d.seen])
		}
		d.seen += i + len(text)
		return nil
	})
}

func (d *daemon) signal(sig os.Signal) {
	d.t.Helper()
	testnet.Must(d.t, d.cmd.Process.Signal(sig))
}

func (d *daemon) ends(code int) {
	d.t.Helper()
	select {
	case <-d.done:
		if got := d.cmd.ProcessState.ExitCode(); got != code {
			d.t.Errorf("keepalived ended with %d, want %d", got, code)
		}
	case <-time.After(30 * time.Second):
		d.t.Fatal("keepalived does not end")
	}
}

// get asks the service at vip n times and counts answers per real server.
func (b *balanced) get(vip netip.Addr, n int) (map[string]int, error) {
	b.t.Helper()
	client := &http.Client{
		Transport: &http.Transport{DialContext: b.C[0].DialContext, DisableKeepAlives: true},
		Timeout:   5 * time.Second,
	}
	count := map[string]int{}
	for range n {
		resp, err := client.Get("http://" + netip.AddrPortFrom(vip, 80).String() + "/")
		if err != nil {
			return count, err
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			return count, err
		}
		name, peer, _ := strings.Cut(string(body), " ")
		count[name]++
		at, err := netip.ParseAddrPort(peer)
		if err != nil {
			return count, err
		}
		if !testnet.BackNet4.Contains(at.Addr()) && !testnet.BackNet6.Contains(at.Addr()) {
			b.t.Errorf("%s saw %s, no local address", name, at)
		}
	}
	return count, nil
}

// ask sends one datagram to the UDP service at vip and returns who answered.
func (b *balanced) ask(vip netip.Addr) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 5*time.Second)
	defer cancel()
	c, err := b.C[0].DialContext(ctx, "udp", netip.AddrPortFrom(vip, 53).String())
	testnet.Must(b.t, err)
	defer c.Close()
	testnet.Must(b.t, c.SetDeadline(time.Now().Add(5*time.Second)))
	_, err = c.Write([]byte("who"))
	testnet.Must(b.t, err)
	buf := make([]byte, 100)
	n, err := c.Read(buf)
	testnet.Must(b.t, err)
	name, _, _ := strings.Cut(string(buf[:n]), " ")
	return name
}

// left is what the director's tables hold: services and groups.
func (b *balanced) left() (services []ipvs.Service, groups []ipvs.LGroup) {
	b.t.Helper()
	ctx := b.t.Context()
	client, err := ipvs.Config{NetNS: b.D.FD()}.Dial(ctx)
	if errors.Is(err, ipvs.ErrNoIPVS) {
		return nil, nil
	}
	testnet.Must(b.t, err)
	defer client.Close()
	services, err = client.Services(ctx)
	testnet.Must(b.t, err)
	if testvm.HasOurs() {
		groups, err = client.LGroups(ctx)
		testnet.Must(b.t, err)
	}
	return services, groups
}

func (b *balanced) empty() {
	b.t.Helper()
	if services, groups := b.left(); len(services)+len(groups) > 0 {
		b.t.Errorf("left in the tables: %v %v", services, groups)
	}
}

func (b *balanced) both(what string, vip netip.Addr, n int) {
	b.t.Helper()
	got, err := b.get(vip, n)
	if err != nil {
		b.t.Fatalf("%s: %v", what, err)
	}
	if got["r1"] == 0 || got["r2"] == 0 {
		b.t.Errorf("%s: answers per real server: %v", what, got)
	}
}

// TestKeepalivedDemo: the demo's configuration, from a kernel that has not even
// loaded ip_vs to the empty tables at the end, with a server that dies, and
// comes back.
func TestKeepalivedDemo(t *testing.T) {
	b := newBalanced(t)
	d := b.run()
	d.wait("Startup complete")
	for _, vip := range []netip.Addr{testnet.VIP4, testnet.VIP6} {
		b.both("at the start", vip, 4)
		if a, z := b.ask(vip), b.ask(vip); a == z {
			t.Errorf("UDP: both datagrams went to %s", a)
		}
	}
	b.servers[0].stop()
	for _, name := range []string{"[10.0.2.11]:tcp:80", "[2001:db8:2::11]:tcp:80"} {
		d.waitAny("Removing service " + name + " from VS")
	}
	for _, vip := range []netip.Addr{testnet.VIP4, testnet.VIP6} {
		got, err := b.get(vip, 6)
		if err != nil || got["r2"] != 6 {
			t.Errorf("with r1 down: %v %v", got, err)
		}
		if got := b.ask(vip); got != "r2" {
			t.Errorf("UDP with r1 down: answer of %s", got)
		}
	}
	b.servers[0].start(t)
	for _, name := range []string{"[10.0.2.11]:tcp:80", "[2001:db8:2::11]:tcp:80"} {
		d.waitAny("Adding service " + name + " to VS")
	}
	b.both("with r1 back", testnet.VIP4, 4)
	d.signal(syscall.SIGTERM)
	d.ends(0)
	b.empty()
}

// waitAny is wait for lines whose order is open.
func (d *daemon) waitAny(text string) {
	d.t.Helper()
	testnet.Eventually(d.t, 60*time.Second, func() error {
		if !strings.Contains(d.text(), text) {
			return fmt.Errorf("no %q in the log", text)
		}
		return nil
	})
}

// hold opens a connection that is to outlive what happens to the daemon; probe
// sends a request over it.
func (b *balanced) hold(vip netip.Addr) (probe func(what string)) {
	b.t.Helper()
	c, err := b.C[0].DialContext(b.t.Context(), "tcp", netip.AddrPortFrom(vip, 80).String())
	testnet.Must(b.t, err)
	b.t.Cleanup(func() { c.Close() })
	return func(what string) {
		b.t.Helper()
		testnet.Must(b.t, c.SetDeadline(time.Now().Add(5*time.Second)))
		_, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		testnet.Must(b.t, err)
		buf := make([]byte, 1000)
		if n, err := c.Read(buf); err != nil || !strings.HasPrefix(string(buf[:n]), "HTTP/1.1 200") {
			b.t.Errorf("%s: the connection of before: %q %v", what, buf[:n], err)
		}
	}
}

// TestKeepalivedReload: connections and service go on across reloads, good and
// bad, and across a kill and a new start.
func TestKeepalivedReload(t *testing.T) {
	b := newBalanced(t)
	d := b.run()
	d.wait("Startup complete")
	four, six := b.hold(testnet.VIP4), b.hold(testnet.VIP6)
	four("at the start")
	six("at the start")

	good := b.read()
	b.write(strings.ReplaceAll(good, "lb_algo wrr", "lb_algo rr"))
	d.signal(syscall.SIGHUP)
	d.wait("Reload complete")
	four("after a reload")
	six("after a reload")
	b.both("after a reload", testnet.VIP4, 4)

	for text, conf := range map[string]string{
		"scheduler missing":  strings.Replace(good, "lb_algo wrr", "lb_algo", 1),
		"address is not loc": strings.Replace(good, "    10.0.2.201-202\n", "    10.0.2.201-202\n    10.0.2.99\n", 1),
	} {
		b.write(conf)
		d.signal(syscall.SIGHUP)
		d.wait("the running configuration stays in force")
		d.waitAny(text)
		four(text)
		b.both(text, testnet.VIP6, 4)
	}
	if _, groups := b.left(); len(groups) != 2 {
		t.Errorf("groups after refused reloads: %v", groups)
	}

	b.write(good)
	d.signal(syscall.SIGKILL)
	d.ends(-1)
	four("without a daemon")
	d = b.run()
	d.wait("Startup complete")
	four("after a kill and a new start")
	six("after a kill and a new start")
	b.both("after a kill and a new start", testnet.VIP6, 4)
	d.signal(syscall.SIGTERM)
	d.ends(0)
	b.empty()
}

// TestKeepalivedHalfStart: a start that the kernel refuses leaves nothing, and
// its line names the place.
func TestKeepalivedHalfStart(t *testing.T) {
	b := newBalanced(t)
	b.write(strings.Replace(b.read(), "    2001:db8:2::202\n", "    2001:db8:2::99\n", 1))
	d := b.run()
	d.ends(1)
	d.wait("k.conf: Line 17) back/6: add local address 2001:db8:2::99: address is not local; use FORCE or FOREIGN: " +
		"cannot assign requested address: give the address to an interface of this host first")
	b.empty()
}

// TestKeepalivedBackground: without -n the command returns when the service
// stands, and not before.
func TestKeepalivedBackground(t *testing.T) {
	b := newBalanced(t)
	pidFile := b.conf + ".pid"
	out, err := b.D.Run(t.Context(), "/usr/sbin/keepalived", "-f", b.conf, "-p", pidFile)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b.both("when the command has returned", testnet.VIP4, 4)
	text, err := os.ReadFile(pidFile)
	testnet.Must(t, err)
	var pid int
	_, err = fmt.Sscan(string(text), &pid)
	testnet.Must(t, err)
	if out, err := b.D.Run(t.Context(), "/usr/sbin/keepalived", "-f", b.conf, "-p", pidFile); err == nil || !strings.Contains(out, "daemon is already running") {
		t.Errorf("a second one: %v\n%s", err, out)
	}
	testnet.Must(t, syscall.Kill(pid, syscall.SIGTERM))
	testnet.Eventually(t, 10*time.Second, func() error {
		if _, err := os.Stat(pidFile); err == nil {
			return errors.New("the pid file is still there")
		}
		return nil
	})
	b.empty()
}

// doctor runs --doctor in the director and returns what it says, and its exit status.
func (b *balanced) doctor() (text string, code int) {
	b.t.Helper()
	out, err := b.D.Run(b.t.Context(), "/usr/sbin/keepalived", "--doctor", "-f", b.conf)
	var e *exec.ExitError
	if err != nil && !errors.As(err, &e) {
		b.t.Fatalf("%v\n%s", err, out)
	}
	if e != nil {
		code = e.ExitCode()
	}
	return out, code
}

func (b *balanced) wantFindings(want int, lines ...string) {
	b.t.Helper()
	out, code := b.doctor()
	if code != want {
		b.t.Errorf("--doctor exits with %d, want %d", code, want)
	}
	if left := unsaid(out, lines); len(left) > 0 {
		b.t.Errorf("--doctor does not say %q:\n%s", left, out)
	}
}

// unsaid are those of lines that the doctor does not say, however it sets them.
func unsaid(out string, lines []string) []string {
	out = strings.Join(strings.Fields(out), " ")
	return slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return strings.Contains(out, l) })
}

// TestKeepalivedDoctor: what the doctor says of the demo's director; then with one
// thing broken after the other, as the kernel tells it.
func TestKeepalivedDoctor(t *testing.T) {
	b := newBalanced(t)
	d := b.run()
	d.wait("Startup complete")
	b.wantFindings(0, "ok module ip_vs ", "of /lib/modules/"+release(t)+"/updates/ip_vs.ko; it has FNAT TOA", "ok kernels", "ok address 2 service addresses here",
		"ok laddr 4 local addresses here", "ok lro", "ok conn_tab_bits the table has 4096 heads", "ok nofile the daemon may open", " 0 errors, 1 warning")

	testnet.Must(t, b.D.DelAddr("back", netip.MustParsePrefix("10.0.2.202/32")))
	b.wantFindings(1, "error laddr local address 10.0.2.202 is not an address of this host", "remedy: ip address add 10.0.2.202/32 dev INTERFACE")
	good := b.read()
	b.write(strings.NewReplacer("10.0.2.201-202", "10.0.2.201 30000-40000", "    protocol TCP", "    acl black\n    acl_set4 nosuch\n    acl_set6 nosuch\n    protocol TCP").Replace(good))
	b.wantFindings(1, "error laddr ports 30000-40000 of local address 10.0.2.201 overlap net.ipv4.ip_local_port_range", "remedy: sysctl -w net.ipv4.ip_local_reserved_ports=",
		"error acl there is no ipset nosuch")
	b.write(strings.NewReplacer("lb_kind FNAT", "lb_kind NAT", "    laddr_group_name back\n", "", "    toa on\n", "").Replace(good))
	testnet.Must(t, errors.Join(b.D.Sysctl("net.ipv4.ip_forward", "0"), b.D.Sysctl("net.ipv6.conf.all.forwarding", "0"), b.D.Sysctl("net.ipv4.vs.drop_entry", "3")))
	b.wantFindings(1, "error forwarding net.ipv4.ip_forward is 0", "error forwarding net.ipv6.conf.all.forwarding is 0", "warning sysctl net.ipv4.vs.drop_entry is 3",
		"warning sysctl net.ipv4.vs.expire_nodest_conn is 0")
	b.write(good)
	d.signal(syscall.SIGTERM)
	d.ends(0)
}

func release(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/sys/kernel/osrelease")
	testnet.Must(t, err)
	return strings.TrimSpace(string(text))
}

// TestOnStockKeepalivedDoctor: services that stock ip_vs cannot have, and the way
// out. It is the first to run here: ip_vs is not loaded, and to look does not load it.
func TestOnStockKeepalivedDoctor(t *testing.T) {
	b := newBalanced(t)
	const lacks = "it has no FNAT, toa, timestamps, which virtual server [10.0.1.100]:tcp:80 need ("
	b.wantFindings(1, "error module ip_vs is not loaded, and Linux "+release(t)+" has only its own: "+lacks, "remedy: install lvs-dkms, linux-headers-"+release(t))
	testnet.Must(t, testvm.Modprobe("ip_vs"))
	b.wantFindings(1, "error module the kernel's own ip_vs is loaded: "+lacks, "and 3 more", "remedy: install lvs-dkms, linux-headers-"+release(t), "the module is built then")
}

// TestOnStockKeepalived: the distribution's ip_vs serves NAT; FNAT is refused
// before anything is configured, at the start and at a reload.
func TestOnStockKeepalived(t *testing.T) {
	b := newBalanced(t)
	fnat := b.read()
	d := b.run()
	d.ends(1)
	d.wait("k.conf: Line 20) Virtual server [10.0.1.100]:tcp:80 needs FNAT: the running ip_vs has no FNAT; " +
		"install the package lvs-dkms and load its ip_vs module (and 3 more)")
	b.empty()

	nat := strings.ReplaceAll(strings.ReplaceAll(fnat, "lb_kind FNAT", "lb_kind NAT"), "laddr_group_name back\n    toa on\n", "\n")
	begin, end := strings.Index(nat, "local_address_group"), strings.Index(nat, "virtual_server")
	nat = nat[:begin] + nat[end:]
	b.write(nat)
	d = b.run()
	d.wait("Startup complete")
	if services, _ := b.left(); len(services) != 4 {
		t.Errorf("services: %v", services)
	}
	b.write(fnat)
	d.signal(syscall.SIGHUP)
	d.wait("the running configuration stays in force")
	d.wait("lvs-dkms")
	if services, _ := b.left(); len(services) != 4 {
		t.Errorf("services after a refused reload: %v", services)
	}
	d.signal(syscall.SIGTERM)
	d.ends(0)
	b.empty()
}
