// SPDX-License-Identifier: Apache-2.0

// Package vrrp runs pairs of keepalived, ours and Debian's in every combination,
// in network namespaces of this host, and compares what they send.
package vrrp

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testvm"
)

// program is what a node runs.
type program string

const (
	ours program = "ours"
	c    program = "C"
	// newer is keepalived of the next Debian, 2.3.3.
	newer program = "C2.3"
)

// built is where TestMain has built our keepalived.
var built string

func TestMain(m *testing.M) {
	flag.Parse()
	if n, err := strconv.Atoi(os.Getenv(checksEnv)); err == nil {
		if err := runChecks(n); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	// The scenarios mostly wait.
	if err := flag.Set("test.parallel", "64"); err != nil {
		panic(err)
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "vrrp")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	root, err := testvm.Root()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	built = filepath.Join(dir, "keepalived")
	build := exec.Command("go", "build", "-trimpath", "-o", built, "./keepalived")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build keepalived: %v\n%s", err, out)
		return 1
	}
	defer watchHost()()
	return m.Run()
}

// command runs the program in the foreground; C's is the one of the guests' root.
func (p program) command(args ...string) *exec.Cmd {
	switch p {
	case ours:
		return exec.Command(built, args...)
	case newer:
		// It looks for a file of its package in /etc; the mount goes with the process.
		root := filepath.Join(testvm.Cache(), "newer")
		cmd := foreign(root, "/usr/sbin/keepalived", args...)
		const etc = `mount -t overlay newer -o "lowerdir=$0/etc:/etc" /etc && exec "$@"`
		return exec.Command("unshare", append([]string{"--mount", "sh", "-c", etc, root}, cmd.Args...)...)
	}
	return foreign(filepath.Join(testvm.Cache(), "guest"), "/usr/sbin/keepalived.stock", args...)
}

// foreign runs a program that fetch.sh has unpacked to a folder, with the libraries it
// came with.
func foreign(root, path string, args ...string) *exec.Cmd {
	libs := root + "/lib/x86_64-linux-gnu:" + root + "/usr/lib/x86_64-linux-gnu"
	args = append([]string{"--library-path", libs, root + path}, args...)
	return exec.Command(root+"/lib64/ld-linux-x86-64.so.2", args...)
}

// node is one router of a bed.
type node struct {
	*testnet.NS
	t       testing.TB
	index   int
	program program
	dir     string
	log     string
	env     []string // beside that of the test
	cmd     *exec.Cmd
	done    chan struct{}
}

// bed is a LAN with routers.
type bed struct {
	*lan
	sw    *testnet.NS
	nodes []*node
	made  time.Time
}

var beds atomic.Int32

// newBed makes a LAN 192.168.50.0/24, 2001:db8:50::/64 with a node for each
// program; nothing runs yet. The first node has the lowest address.
//
//	node 0  eth0 .1 ──┐
//	node 1  eth0 .2 ──┤ switch in this process
//	node 2  eth0 .3 ──┘
func newBed(t *testing.T, programs ...program) *bed {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to make namespaces")
	}
	id := beds.Add(1)
	b := &bed{lan: &lan{t: t, changed: make(chan struct{})}, sw: testnet.New(t, fmt.Sprintf("vrsw%d", id)), made: time.Now()}
	t.Cleanup(b.close)
	for i, p := range programs {
		n := &node{NS: testnet.New(t, fmt.Sprintf("vr%d-%d", id, i)), t: t, index: i, program: p, dir: t.TempDir()}
		n.log = filepath.Join(n.dir, "log")
		b.nodes = append(b.nodes, n)
		b.wire(n, "eth0", fmt.Sprintf("192.168.50.%d/24", i+1), fmt.Sprintf("fe80::50:%d/64", i+1))
		t.Cleanup(func() {
			n.kill()
			if t.Failed() {
				if text, err := os.ReadFile(n.log); err == nil {
					t.Logf("node %d (%s):\n%s", n.index, n.program, text)
				}
			}
		})
	}
	// Else the first unicast advert would wait for its neighbour's answer.
	for _, n := range b.nodes {
		for _, m := range b.nodes {
			if n != m {
				mac, err := m.MAC("eth0")
				testnet.Must(t, err, n.AddNeighbour("eth0", netip.MustParseAddr(fmt.Sprintf("192.168.50.%d", m.index+1)), mac),
					n.AddNeighbour("eth0", netip.MustParseAddr(fmt.Sprintf("fe80::50:%d", m.index+1)), mac))
			}
		}
	}
	return b
}

// wire gives a node a link to the switch; in the namespace of the switch, only
// bytes pass: its ends have no addresses.
func (b *bed) wire(n *node, link string, addrs ...string) {
	b.t.Helper()
	end := portName(n, link)
	testnet.Must(b.t,
		b.sw.Sysctl("net/ipv6/conf/default/disable_ipv6", "1"),
		n.Sysctl("net/ipv6/conf/default/addr_gen_mode", "1"))
	testnet.Must(b.t, testnet.Veth(n.NS, link, b.sw, end))
	testnet.Must(b.t, n.Do(func() error { return checksums(link) }))
	for _, a := range addrs {
		testnet.Must(b.t, n.AddAddr(link, netip.MustParsePrefix(a)))
	}
	b.plug(b.sw, end, n.index)
}

// portName is the name of a node's end at the switch.
func portName(n *node, link string) string { return fmt.Sprintf("p%d-%s", n.index, link) }

func (n *node) path(name string) string { return filepath.Join(n.dir, name) }

// write puts the configuration down without anyone reading it.
func (n *node) write(conf string) {
	n.t.Helper()
	testnet.Must(n.t, os.WriteFile(n.path("keepalived.conf"), []byte(conf), 0o644))
}

// start runs the program with a configuration.
func (n *node) start(conf string, args ...string) {
	n.t.Helper()
	n.write(conf)
	args = append([]string{"-n", "-l", "-D", "-P", "-f", n.path("keepalived.conf"), "-p", n.path("pid"), "-r", n.path("vrrp.pid"),
		"-c", n.path("checkers.pid"), "-b", n.path("bfd.pid")}, args...)
	n.run(n.program.command(args...))
}

// run runs a command as what the node runs.
func (n *node) run(cmd *exec.Cmd) {
	n.t.Helper()
	out, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	testnet.Must(n.t, err)
	defer out.Close()
	cmd.Stdout, cmd.Stderr, cmd.Dir = out, out, n.dir
	cmd.Env = append(os.Environ(), "TMPDIR="+n.dir)
	cmd.Env = append(cmd.Env, n.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	testnet.Must(n.t, n.NS.Start(cmd))
	n.cmd, n.done = cmd, make(chan struct{})
	go func(done chan struct{}) { _ = cmd.Wait(); close(done) }(n.done)
}

// signal reaches the parent process.
func (n *node) signal(s syscall.Signal) {
	n.t.Helper()
	testnet.Must(n.t, n.cmd.Process.Signal(s))
}

// stop ends the program and waits for its end.
func (n *node) stop() {
	n.t.Helper()
	n.signal(syscall.SIGTERM)
	n.wait()
}

func (n *node) wait() {
	n.t.Helper()
	select {
	case <-n.done:
	case <-time.After(limit):
		n.t.Fatalf("node %d has not ended", n.index)
	}
}

// kill ends the parent and its children at once.
func (n *node) kill() {
	if n.cmd == nil {
		return
	}
	_ = syscall.Kill(-n.cmd.Process.Pid, syscall.SIGKILL)
	<-n.done
	n.cmd = nil
}

// child is the number of the VRRP process.
func (n *node) child() int {
	n.t.Helper()
	var pid int
	testnet.Eventually(n.t, limit, func() error {
		b, err := os.ReadFile(n.path("vrrp.pid"))
		if err != nil {
			return err
		}
		_, err = fmt.Sscan(string(b), &pid)
		return err
	})
	return pid
}

// reload has the program read a new configuration, and waits until it says so.
func (n *node) reload(conf string) {
	n.t.Helper()
	before := n.said("Reload complete")
	n.write(conf)
	n.signal(syscall.SIGHUP)
	n.until("Reload complete", before+1)
}

// said counts the lines of the log that contain text.
func (n *node) said(text string) int {
	b, err := os.ReadFile(n.log)
	if err != nil {
		return 0
	}
	return strings.Count(string(b), text)
}

// until waits for the count-th line that contains text.
func (n *node) until(text string, count int) {
	n.t.Helper()
	testnet.Eventually(n.t, limit, func() error {
		if k := n.said(text); k < count {
			return fmt.Errorf("node %d has said %q %d times, want %d", n.index, text, k, count)
		}
		return nil
	})
}

// has tells whether some link of the node has the address.
func (n *node) has(addr string) bool {
	n.t.Helper()
	list, err := n.Link.AddrList(nil, netlink.FAMILY_ALL)
	testnet.Must(n.t, err)
	for _, a := range list {
		if a.IP.Equal(net.ParseIP(addr)) {
			return true
		}
	}
	return false
}

// holds waits until exactly the node of that index has the address; -1: none.
func (b *bed) holds(addr string, index int) {
	b.t.Helper()
	testnet.Eventually(b.t, limit, func() error {
		var errs []error
		for _, n := range b.nodes {
			if n.has(addr) != (n.index == index) {
				errs = append(errs, fmt.Errorf("node %d (%s) has %s: %v", n.index, n.program, addr, n.has(addr)))
			}
		}
		return errors.Join(errs...)
	})
}

// vi is an instance of the pair, for conf.
type vi struct {
	name       string
	link       string
	id, prio   int
	interval   string
	vips       []string
	more       string
	state      string
	noPreempt  bool
	version    int
	outside    string // blocks beside the instance
	globalDefs string
}

// conf writes keepalived.conf.
func (v vi) conf() string {
	def := func(s *string, d string) {
		if *s == "" {
			*s = d
		}
	}
	def(&v.name, "VI")
	def(&v.link, "eth0")
	def(&v.interval, "1")
	def(&v.state, "BACKUP")
	if v.id == 0 {
		v.id = 51
	}
	if v.vips == nil {
		v.vips = []string{vip}
	}
	if v.noPreempt {
		v.more += "\n nopreempt"
	}
	if v.version != 0 {
		v.more += fmt.Sprintf("\n version %d", v.version)
	}
	return fmt.Sprintf(`global_defs {
 router_id test
 script_user root
 %s
}
%s
vrrp_instance %s {
 state %s
 interface %s
 virtual_router_id %d
 priority %d
 advert_int %s
 virtual_ipaddress {
  %s
 }
 %s
}
`, v.globalDefs, v.outside, v.name, v.state, v.link, v.id, v.prio, v.interval, strings.Join(v.vips, "\n  "), v.more)
}

const vip = "192.168.50.100"

// combinations runs a scenario with each, all at the same time, and returns what
// each has measured, by name. The pair of two originals is the measure.
func combinations[T any](t *testing.T, scenario func(t *testing.T, b *bed) T) map[string]T {
	t.Helper()
	type result struct {
		name string
		v    T
	}
	all := [][2]program{{c, c}, {ours, c}, {c, ours}, {ours, ours}}
	results := make(chan result, len(all))
	t.Run("pairs", func(t *testing.T) {
		for _, pair := range all {
			name := fmt.Sprintf("%s-%s", pair[0], pair[1])
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				results <- result{name, scenario(t, newBed(t, pair[:]...))}
			})
		}
	})
	close(results)
	out := map[string]T{}
	for r := range results {
		out[r.name] = r.v
	}
	return out
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// knows tells whether the neighbour table has the address at that hardware address.
func (n *node) knows(addr string, mac net.HardwareAddr) bool {
	n.t.Helper()
	list, err := n.Link.NeighList(0, 0)
	testnet.Must(n.t, err)
	for _, x := range list {
		if x.IP.Equal(net.ParseIP(addr)) && x.HardwareAddr.String() == mac.String() {
			return true
		}
	}
	return false
}

// checksums has a link compute the checksums of what it sends: the switch passes
// on bytes, and not what the kernel knows of a packet beside them.
func checksums(link string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	value := [2]uint32{unix.ETHTOOL_STXCSUM, 0}
	var req struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}
	copy(req.name[:], link)
	req.data = unsafe.Pointer(&value)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req))); errno != 0 {
		return fmt.Errorf("checksums of %s: %w", link, errno)
	}
	return nil
}
