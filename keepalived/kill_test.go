// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"net/rpc"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/ipvs/ipvstest"
)

// tableSocket names the socket of a Tables. A process that has it is a keepalived
// of its own, with that for its kernel.
const tableSocket = "KEEPALIVED_TEST_TABLE"

func TestMain(m *testing.M) {
	socket := os.Getenv(tableSocket)
	switch {
	case os.Getenv(sinkKernel) != "":
		os.Exit(sinkApp().run(context.Background(), os.Args))
	case os.Getenv(checkedServer) != "":
		os.Exit(serveChecked())
	case socket == "":
		code := m.Run()
		if builtIn != "" {
			_ = os.RemoveAll(builtIn)
		}
		os.Exit(code)
	}
	a := newApp(os.Stdout, os.Stderr)
	a.syslog = noSyslog
	a.dial = func(context.Context, string) (kernel, error) {
		c, err := rpc.Dial("unix", socket)
		return &remoteTable{c}, err
	}
	a.after = func(d time.Duration) <-chan time.Time {
		if d != 5*time.Second { // which is child_wait_time
			d = time.Millisecond
		}
		return time.After(d)
	}
	os.Exit(a.run(context.Background(), os.Args))
}

// Tables is a kernel's table that outlives the processes that use it, and looks
// after each operation whether the services are served. It is exported for
// package rpc.
type Tables struct {
	mu    sync.Mutex
	table *ipvstest.Table
	seen  map[string]bool // services that have had a server
	fault error
}

// Apply does one operation: a batch can be cut off by a kill after any.
func (s *Tables) Apply(op ipvs.Op, _ *struct{}) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.table.Apply(context.Background(), op); err != nil {
		return err
	}
	text := s.table.String()
	now := map[string]bool{}
	for line := range strings.Lines(text) {
		if w := strings.Fields(line); w[0] == "-a" && w[len(w)-1] != "0" {
			now[w[2]] = true
			s.seen[w[2]] = true
		}
	}
	for service := range s.seen {
		if !now[service] && s.fault == nil {
			s.fault = fmt.Errorf("after %s nothing serves %s:\n%s", op.Kind, service, text)
		}
	}
	return nil
}

// Read answers what a kernel is asked for.
func (s *Tables) Read(_ struct{}, out *Found) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx := context.Background()
	if out.Info, err = s.table.Info(ctx); err != nil {
		return err
	}
	if out.Services, err = s.table.Services(ctx); err != nil {
		return err
	}
	for _, svc := range out.Services {
		d, err := s.table.Dests(ctx, svc.ServiceKey)
		if err != nil {
			return err
		}
		out.Dests = append(out.Dests, d)
	}
	return nil
}

func (s *Tables) state() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.table.String(), s.fault
}

// Found is the whole table.
type Found struct {
	Info     ipvs.Info
	Services []ipvs.Service
	Dests    [][]ipvs.Dest
}

// remoteTable is the kernel of a process under test.
type remoteTable struct{ c *rpc.Client }

func (r *remoteTable) read() (f Found, err error) {
	return f, r.c.Call("Tables.Read", struct{}{}, &f)
}

func (r *remoteTable) Apply(_ context.Context, ops ...ipvs.Op) error {
	for _, op := range ops {
		if err := r.c.Call("Tables.Apply", op, &struct{}{}); err != nil {
			return err
		}
	}
	return nil
}

func (r *remoteTable) Info(context.Context) (ipvs.Info, error) {
	f, err := r.read()
	return f.Info, err
}

func (r *remoteTable) Services(context.Context) ([]ipvs.Service, error) {
	f, err := r.read()
	return f.Services, err
}

func (r *remoteTable) Dests(_ context.Context, k ipvs.ServiceKey) ([]ipvs.Dest, error) {
	f, err := r.read()
	for i := range f.Services {
		if f.Services[i].ServiceKey == k {
			return f.Dests[i], err
		}
	}
	return nil, err
}

func (r *remoteTable) Timeouts(context.Context) (ipvs.Timeouts, error) { return ipvs.Timeouts{}, nil }
func (r *remoteTable) ExtConfig(context.Context) (ipvs.ExtConfig, error) {
	return ipvs.ExtConfig{}, nil
}
func (r *remoteTable) ExtServices(context.Context) ([]ipvs.ExtService, error) { return nil, nil }
func (r *remoteTable) LGroups(context.Context) ([]ipvs.LGroup, error)         { return nil, nil }
func (r *remoteTable) Laddrs(context.Context, string) ([]ipvs.Laddr, error)   { return nil, nil }
func (r *remoteTable) Close() error                                           { return r.c.Close() }
func (r *remoteTable) DeleteConns(context.Context, ipvs.ConnFilter) (uint64, error) {
	return 0, errors.New("no connections here")
}

// family is a daemon of real processes that are killed.
type family struct {
	t       *testing.T
	program string
	dir     string
	env     []string
	ns      *testnet.NS // with the link of the virtual router
	cmd     *exec.Cmd

	mu       sync.Mutex // guards what follows
	log      bytes.Buffer
	children map[string]*kin // by title
	up       bool
	read     chan struct{} // closed at the end of the log
}

// kin are the children of one kind.
type kin struct {
	started int // so far
	pid     int // of the last, 0 if there is none of this parent's
}

// titles are the kinds of children, with the names of their pid files.
var titles = map[string]string{"Healthcheck": "checkers.pid", "VRRP": "vrrp.pid", "BFD": "bfd.pid"}

// familyRouter is what the processes for VRRP and BFD have to do. The router is its address's owner, and
// so never waits for another.
const familyRouter = `bfd_instance peer {
neighbor_ip 192.168.9.2
}
vrrp_instance v {
state MASTER
interface v0
version 3
virtual_router_id 7
priority 255
advert_int 0.1
virtual_ipaddress {
192.168.9.9
}
}
`

func (f *family) start() {
	f.t.Helper()
	at := func(name string) string { return filepath.Join(f.dir, name) }
	f.cmd = exec.Command(f.program, "-n", "-l", "-f", at("k.conf"), "-p", at("pid"), "-c", at("checkers.pid"), "-r", at("vrrp.pid"), "-b", at("bfd.pid"))
	f.cmd.Env = f.env
	r, w, err := os.Pipe()
	if err != nil {
		f.t.Fatal(err)
	}
	f.cmd.Stderr = w
	if err := f.ns.Start(f.cmd); err != nil {
		f.t.Fatal(err)
	}
	w.Close()
	f.mu.Lock()
	f.up, f.read = false, make(chan struct{})
	f.mu.Unlock()
	go f.follow(r, f.read)
}

func (f *family) follow(r *os.File, done chan struct{}) {
	defer close(done)
	defer r.Close()
	for s := bufio.NewScanner(r); s.Scan(); {
		f.mu.Lock()
		fmt.Fprintln(&f.log, s.Text())
		for title, k := range f.children {
			if _, pid, ok := strings.Cut(s.Text(), "Starting "+title+" child process, pid="); ok {
				fmt.Sscan(pid, &k.pid)
				k.started++
			}
		}
		f.up = f.up || strings.Contains(s.Text(), msgStarted)
		f.mu.Unlock()
	}
}

// until waits for what is guarded by mu.
func (f *family) until(what string, ok func() bool) {
	f.t.Helper()
	for end := time.Now().Add(2 * time.Minute); ; {
		f.mu.Lock()
		done := ok()
		f.mu.Unlock()
		if done {
			return
		}
		if time.Now().After(end) {
			f.mu.Lock()
			log := f.log.String()
			f.mu.Unlock()
			f.t.Fatalf("waited in vain: %s; the end of the log:\n%s", what, log[max(0, len(log)-4000):])
		}
		time.Sleep(time.Millisecond)
	}
}

// killChild kills the process of that title and waits until the parent has made another.
func (f *family) killChild(title string) {
	f.t.Helper()
	k := f.children[title]
	var n, pid int
	f.until("a child for "+title, func() bool { n, pid = k.started, k.pid; return pid > 0 })
	_ = syscall.Kill(pid, syscall.SIGKILL)
	f.until("another child for "+title, func() bool { return k.started > n })
}

// killParent kills the parent and waits for the end of the children. What they are at then is
// theirs: they end by themselves.
func (f *family) killParent() {
	f.t.Helper()
	_ = f.cmd.Process.Kill()
	_ = f.cmd.Wait()
	select {
	case <-f.read: // which the children hold open
	case <-time.After(2 * time.Minute):
		f.t.Fatalf("processes %v outlive their parent", f.processes())
	}
	f.mu.Lock()
	for _, k := range f.children {
		k.pid = 0
	}
	f.mu.Unlock()
}

// addresses counts those of the virtual router on its link, and tells all there are.
func (f *family) addresses() (n int, all string) {
	f.t.Helper()
	list, err := f.ns.Link.AddrList(nil, syscall.AF_INET)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, a := range list {
		if all += " " + a.IPNet.String(); a.IP.String() == "192.168.9.9" {
			n++
		}
	}
	return n, all
}

// processes gives the ids of all processes of the daemon, in their order, of whatever parent.
func (f *family) processes() []int {
	f.t.Helper()
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		f.t.Fatal(err)
	}
	var pids []int
	for _, path := range commands {
		command, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(command, []byte(f.dir+"/k.conf")) {
			continue // it has ended, or is another program
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			f.t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	slices.Sort(pids)
	return pids
}

// whole tells whether the daemon has one process of each kind and none besides, their pid files
// name them, and the router has its address. f.mu is held.
func (f *family) whole() bool {
	want := []int{f.cmd.Process.Pid}
	files := map[string]int{"pid": f.cmd.Process.Pid}
	for title, k := range f.children {
		want = append(want, k.pid)
		files[titles[title]] = k.pid
	}
	slices.Sort(want)
	for name, pid := range files {
		if text, err := os.ReadFile(filepath.Join(f.dir, name)); err != nil || string(text) != fmt.Sprintln(pid) {
			return false
		}
	}
	n, _ := f.addresses()
	return n == 1 && slices.Equal(f.processes(), want)
}

// TestKill kills processes of the daemon, of each kind, a thousand times, at any moment, while
// configurations change. At no moment is a service without a server, and whoever
// comes next leaves the tables and the address of the virtual router as they should be, with one process of
// each kind. A router whose parent dies gives its address up.
func TestKill(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to make a namespace")
	}
	dir := t.TempDir()
	program, err := buildProgram() // without the race detector, which would cost minutes
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "table")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	tables := &Tables{table: ipvstest.NewStock(), seen: map[string]bool{}}
	server := rpc.NewServer()
	if err := server.Register(tables); err != nil {
		t.Fatal(err)
	}
	go server.Accept(l)
	t.Cleanup(func() { l.Close() })

	const services, servers = 4, 4
	conf := func(version int) (text, lines string) {
		for s := range services {
			algo := []string{"rr", "wrr"}[version%2]
			text += fmt.Sprintf("virtual_server 10.0.1.%d 80 {\nlb_algo %s\nlb_kind NAT\nprotocol TCP\n", s+1, algo)
			lines += fmt.Sprintf("-A -t 10.0.1.%d:80 -s %s\n", s+1, algo)
			for r := range servers {
				// Each version has other servers, in part, and other weights.
				addr := fmt.Sprintf("10.0.2.%d", 10+(version+r)%6)
				text += fmt.Sprintf("real_server %s 80 {\nweight %d\n}\n", addr, version%5+1)
				lines += fmt.Sprintf("-a -t 10.0.1.%d:80 -r %s:80 -m -w %d\n", s+1, addr, version%5+1)
			}
			text += "}\n"
		}
		return text + familyRouter, lines
	}
	sorted := func(lines string) string {
		var svc, out []string
		flush := func() {
			if len(svc) > 0 {
				head, rest := svc[0], svc[1:]
				out = append(out, head)
				for len(rest) > 0 {
					least := 0
					for i := range rest {
						if rest[i] < rest[least] {
							least = i
						}
					}
					out = append(out, rest[least])
					rest = append(rest[:least:least], rest[least+1:]...)
				}
			}
			svc = nil
		}
		for line := range strings.Lines(lines) {
			if strings.HasPrefix(line, "-A") {
				flush()
			}
			svc = append(svc, line)
		}
		flush()
		return strings.Join(out, "")
	}
	f := &family{t: t, program: program, dir: dir, env: append(os.Environ(), tableSocket+"="+socket), ns: testnet.New(t, "kill"), children: map[string]*kin{}}
	for title := range titles {
		f.children[title] = &kin{}
	}
	testnet.Must(t, testnet.Veth(f.ns, "v0", f.ns, "v1"), f.ns.AddAddr("v0", netip.MustParsePrefix("192.168.9.1/24")))
	version := 0
	change := func() {
		version++
		text, _ := conf(version)
		tmp := filepath.Join(dir, "new")
		if err := errors.Join(os.WriteFile(tmp, []byte(text), 0o600), os.Rename(tmp, filepath.Join(dir, "k.conf"))); err != nil {
			t.Fatal(err)
		}
	}
	change()
	f.start()
	t.Cleanup(func() {
		_ = f.cmd.Process.Kill()
		_ = f.cmd.Wait()
		for _, pid := range f.processes() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		<-f.read
	})
	const kills, every = 1000, 50
	dice := rand.New(rand.NewPCG(1, 2))
	for n := 1; n <= kills; n++ {
		// From at once to well after everything is settled.
		time.Sleep(time.Duration(dice.IntN(12)) * time.Millisecond)
		switch roll := dice.IntN(100); {
		case roll < 15:
			f.killParent()
			f.start()
		case roll < 45:
			change()
			// Before it listens a signal would end it, as any process.
			f.until("the start", func() bool { return f.up })
			_ = f.cmd.Process.Signal(syscall.SIGHUP)
			time.Sleep(time.Duration(dice.IntN(4)) * time.Millisecond)
			f.killChild([]string{"Healthcheck", "Healthcheck", "VRRP", "BFD"}[dice.IntN(4)])
		case roll < 65:
			f.killChild("VRRP")
		case roll < 75:
			f.killChild("BFD")
		default:
			f.killChild("Healthcheck")
		}
		if _, fault := tables.state(); fault != nil {
			t.Fatalf("kill %d: %v", n, fault)
		}
		if n%every > 0 {
			continue
		}
		_, want := conf(version)
		f.until(fmt.Sprintf("the tables of version %d after kill %d", version, n), func() bool {
			got, _ := tables.state()
			return f.up && sorted(got) == sorted(want)
		})
		f.until(fmt.Sprintf("one process of each kind and one address after kill %d", n), f.whole)
		f.killParent()
		if n, all := f.addresses(); n > 0 {
			t.Fatalf("nobody answers for the address of the router, which is on the link still: %s", all)
		}
		if left := f.processes(); len(left) > 0 {
			t.Fatalf("processes %v outlive their parent", left)
		}
		f.start()
	}
	f.until("the last start", f.whole)
	// An orderly end takes everything back.
	tables.mu.Lock()
	tables.seen = map[string]bool{}
	tables.mu.Unlock()
	_ = f.cmd.Process.Signal(syscall.SIGTERM)
	if err := f.cmd.Wait(); err != nil {
		t.Errorf("the end: %v", err)
	}
	if got, _ := tables.state(); got != "" {
		t.Errorf("left in the tables:\n%s", got)
	}
	<-f.read
	if n, all := f.addresses(); n > 0 || len(f.processes()) > 0 {
		t.Errorf("left on the link: %s; processes: %v", all, f.processes())
	}
	for _, name := range append(slices.Collect(maps.Values(titles)), "pid") {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left: %v", name, err)
		}
	}
}
