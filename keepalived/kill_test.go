// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/rpc"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

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
	cmd     *exec.Cmd

	mu     sync.Mutex // guards what follows
	log    bytes.Buffer
	childs int // started so far
	child  int // pid of the last
	up     bool
	read   chan struct{} // closed at the end of the log
}

func (f *family) start() {
	f.t.Helper()
	f.cmd = exec.Command(f.program, "-n", "-l", "-f", f.dir+"/k.conf", "-p", f.dir+"/pid", "-c", f.dir+"/checkers.pid")
	f.cmd.Env = f.env
	r, w, err := os.Pipe()
	if err != nil {
		f.t.Fatal(err)
	}
	f.cmd.Stderr = w
	if err := f.cmd.Start(); err != nil {
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
		if _, pid, ok := strings.Cut(s.Text(), "Starting Healthcheck child process, pid="); ok {
			fmt.Sscan(pid, &f.child)
			f.childs++
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

// killChild kills the checkers and waits until the parent has made others.
func (f *family) killChild() {
	f.t.Helper()
	var n, pid int
	f.until("a child", func() bool { n, pid = f.childs, f.child; return pid > 0 })
	_ = syscall.Kill(pid, syscall.SIGKILL)
	f.until("another child", func() bool { return f.childs > n })
}

// killParent kills the parent, and starts another. What the children are at then is
// theirs: they end by themselves.
func (f *family) killParent() {
	f.t.Helper()
	_ = f.cmd.Process.Kill()
	_ = f.cmd.Wait()
	<-f.read // the children hold the log open
	f.mu.Lock()
	f.child = 0
	f.mu.Unlock()
	f.start()
}

// TestKill kills processes of the daemon a thousand times, at any moment, while
// configurations change. At no moment is a service without a server, and whoever
// comes next leaves the tables as they should be.
func TestKill(t *testing.T) {
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
		return text, lines
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
	f := &family{t: t, program: program, dir: dir, env: append(os.Environ(), tableSocket+"="+socket)}
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
		case roll < 55:
			change()
			// Before it listens a signal would end it, as any process.
			f.until("the start", func() bool { return f.up })
			_ = f.cmd.Process.Signal(syscall.SIGHUP)
			time.Sleep(time.Duration(dice.IntN(4)) * time.Millisecond)
			f.killChild()
		default:
			f.killChild()
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
	}
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
}
