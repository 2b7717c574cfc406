// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lvs-fnat/lvs/internal/testtoa"
)

// cgroup makes a cgroup with this process in it, until the test ends.
func cgroup(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("attaching BPF programs needs root")
	}
	root := cgroup2Root(t)
	old := filepath.Join(root, ownCgroup(t))
	dir, err := os.MkdirTemp(root, "toa-test-")
	if err != nil {
		t.Fatal(err)
	}
	move(t, dir)
	t.Cleanup(func() {
		move(t, old)
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func cgroup2Root(t *testing.T) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); f[2] == "cgroup2" {
			return f[1]
		}
	}
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "cgroup2", 0, ""); err != nil {
		t.Fatalf("mount cgroup2: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func ownCgroup(t *testing.T) string {
	t.Helper()
	all, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(all)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return path
		}
	}
	t.Fatalf("/proc/self/cgroup has no line of cgroup v2: %s", all)
	return ""
}

func move(t *testing.T, dir string) {
	t.Helper()
	pid := strconv.Itoa(os.Getpid())
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(pid), 0); err != nil {
		t.Fatal(err)
	}
}

func peer(t *testing.T) *testtoa.Peer {
	t.Helper()
	p, err := testtoa.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func started(t *testing.T, c config) *receiver {
	t.Helper()
	r, err := start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func counted(t *testing.T, r *receiver) map[string]uint64 {
	t.Helper()
	all, err := stats(r.table())
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]uint64{}
	for name, n := range all {
		m[name] = n
	}
	return m
}

var trusted = []netip.Prefix{testtoa.TrustedNet4, testtoa.TrustedNet6}

func TestNetnsReceive(t *testing.T) {
	r := started(t, config{Cgroup: cgroup(t), Trust: trusted})
	testtoa.Receive(t, peer(t))
	c := counted(t, r)
	for _, name := range []string{"accepted", "none", "untrusted", "malformed", "shown", "mismatch"} {
		if c[name] == 0 {
			t.Errorf("counter %s is 0 after all cases", name)
		}
	}
}

func TestNetnsSavedSYN(t *testing.T) {
	client := netip.MustParseAddrPort("198.51.100.7:4711")
	dir, p := cgroup(t), peer(t)
	h := testtoa.Handshake{
		Src: netip.AddrPortFrom(testtoa.TrustedNet4.Addr().Next(), 0),
		SYN: testtoa.Option(254, client),
	}
	show := func(want func(src netip.AddrPort) netip.AddrPort) {
		conn, src := testtoa.Accept(t, p, testtoa.Dual, h)
		testtoa.Shows(t, conn, want(src))
		conn.Close()
	}
	t.Run("off", func(t *testing.T) {
		started(t, config{Cgroup: dir, Trust: trusted})
		show(func(src netip.AddrPort) netip.AddrPort { return src })
	})
	t.Run("on", func(t *testing.T) {
		r := started(t, config{Cgroup: dir, Trust: trusted, SavedSYN: true})
		show(func(netip.AddrPort) netip.AddrPort { return client })
		if n := counted(t, r)["from_syn"]; n != 1 {
			t.Errorf("from_syn is %d, want 1", n)
		}
	})
}

// Kinds given at the start replace those the object comes with.
func TestNetnsKinds(t *testing.T) {
	client := netip.MustParseAddrPort("198.51.100.7:4711")
	started(t, config{Cgroup: cgroup(t), Trust: trusted, Kinds: []byte{111}})
	p := peer(t)
	for _, kind := range []byte{111, 254, 200} {
		conn, want := testtoa.Accept(t, p, testtoa.Dual, testtoa.Handshake{
			Src: netip.AddrPortFrom(testtoa.TrustedNet4.Addr().Next(), 0),
			ACK: testtoa.Option(kind, client),
		})
		if kind == 111 {
			want = client
		}
		testtoa.Shows(t, conn, want)
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Detaching is always possible: live connections show the director again.
func TestNetnsDetach(t *testing.T) {
	client := netip.MustParseAddrPort("198.51.100.7:4711")
	dir, p := cgroup(t), peer(t)
	r := started(t, config{Cgroup: dir, Trust: trusted})
	conn, src := testtoa.Accept(t, p, testtoa.Dual, testtoa.Handshake{
		Src: netip.AddrPortFrom(testtoa.TrustedNet4.Addr().Next(), 0),
		ACK: testtoa.Option(254, client),
	})
	defer conn.Close()
	testtoa.Shows(t, conn, client)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r.links = nil
	got, err := testtoa.Peername(conn)
	if err != nil || got != src {
		t.Errorf("after detach getpeername shows %v, %v, want %v", got, err, src)
	}
}

func command(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out strings.Builder
	err := run(context.Background(), args, &out)
	return out.String(), err
}

func must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := command(t, args...)
	if err != nil {
		t.Fatalf("toa-bpf %s: %v", strings.Join(args, " "), err)
	}
	return out
}

// A pinned receiver outlives the command and is managed by later ones.
func TestNetnsPinned(t *testing.T) {
	dir, p := cgroup(t), peer(t)
	pin := filepath.Join(bpffs(t), "toa-test-"+strconv.Itoa(os.Getpid()))
	must(t, "run", "--cgroup", dir, "--trust", "10.77.9.0/24", "--pin", pin)
	defer func() {
		must(t, "detach", "--pin", pin)
		if _, err := os.Stat(pin); err == nil {
			t.Errorf("%s is still there after detach", pin)
		}
	}()

	if _, err := command(t, "run", "--cgroup", dir, "--trust", "::1", "--pin", pin); err == nil ||
		!strings.Contains(err.Error(), "detach it first") {
		t.Errorf("second run on the same pin: %v", err)
	}
	must(t, "trust", "--pin", pin, "add", testtoa.TrustedNet4.String(), testtoa.TrustedNet6.String())
	must(t, "trust", "--pin", pin, "del", "10.77.9.0/24")
	if _, err := command(t, "trust", "--pin", pin, "del", "10.77.9.0/24"); err == nil {
		t.Error("a prefix that is not listed could be deleted")
	}
	want := testtoa.TrustedNet4.String() + "\n" + testtoa.TrustedNet6.String() + "\n"
	if got := must(t, "list", "--pin", pin); got != want {
		t.Errorf("list: %q, want %q", got, want)
	}
	testtoa.Receive(t, p)
	if got := must(t, "stats", "--pin", pin); !strings.Contains(got, "accepted") || strings.Contains(got, "accepted   0\n") {
		t.Errorf("stats: %s", got)
	}
}

// bpffs mounts a BPF file system until the test ends.
func bpffs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("bpf", dir, "bpf", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestBadInput(t *testing.T) {
	for _, tt := range []struct {
		args string
		want string
	}{
		{"", "no command"},
		{"start", `no command "start"`},
		{"run", "no --trust"},
		{"run --trust 10.0.0.1/24", "did you mean 10.0.0.0/24 or 10.0.0.1?"},
		{"run --trust ten", `"ten" is neither`},
		{"run --trust fe80::1%lo", "is neither"},
		{"run --trust ::ffff:10.0.0.0/104", "not mapped"},
		{"run --trust ::1 --kinds 254,x", `"x" is not a TCP option kind`},
		{"run --trust ::1 --kinds 1", `"1" is not a TCP option kind`},
		{"run --trust ::1 --kinds 2,3,4,5,6,7,8,9,10", "9 kinds"},
		{"run --trust ::1 extra", "unexpected number of arguments"},
		{"run --trust ::1 --cgroup /nowhere", "/nowhere: no such file"},
		{"run --trust ::1 --cgroup /proc", "not in a cgroup v2 tree"},
		{"stats --pin /nowhere", "no receiver is pinned there"},
		{"detach --pin /nowhere", "no receiver is pinned there"},
		{"trust add", "unexpected number of arguments"},
	} {
		_, err := command(t, strings.Fields(tt.args)...)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("toa-bpf %s: %v, want %q", tt.args, err, tt.want)
		}
	}
}
