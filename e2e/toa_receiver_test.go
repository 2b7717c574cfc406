// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testtoa"
	"github.com/lvs-fnat/lvs/internal/testvm"
)

// toaGuest marks the guests that have what the receivers' tests need.
const toaGuest = "LVS_TOA_GUEST"

// TestGuestsToaReceiver runs both receivers against crafted handshakes: design
// cases 59 to 64, without a director.
func TestGuestsToaReceiver(t *testing.T) {
	t.Parallel()
	bpf := filepath.Join(t.TempDir(), "toa-bpf")
	build := exec.Command("go", "build", "-o", bpf, "../kmod/toa/bpf")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build toa-bpf: %v\n%s", err, out)
	}
	for _, kernel := range testvm.Kernels() {
		for _, mode := range []testvm.Mode{testvm.Counted, testvm.SMP} {
			t.Run(kernel+"/"+mode.String(), func(t *testing.T) {
				t.Parallel()
				testvm.Run(t, testvm.Config{
					Kernel: kernel, Mode: mode, Module: testvm.Ours, Patches: true,
					Run: "^TestToa(Module|BPF)", Env: []string{toaGuest + "=1"},
					Load: []string{"tun"}, Modules: []string{"tun"},
					Files: map[string]string{"/bin/toa-bpf": bpf},
				})
			})
		}
	}
}

var toaClient = netip.MustParseAddrPort("198.51.100.7:4711")

// toaDirector is a peer the receivers are told to trust.
var toaDirector = netip.AddrPortFrom(testtoa.TrustedNet4.Addr().Next(), 0)

func toaPeer(t *testing.T) *testtoa.Peer {
	t.Helper()
	if os.Getenv(toaGuest) == "" {
		t.Skip("this guest is not one of TestGuestsToaReceiver's: no tun driver, no toa-bpf")
	}
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

// toaModule loads toa.ko with the trusted networks and unloads it at the end.
func toaModule(t *testing.T) {
	t.Helper()
	trust := fmt.Sprintf("trust=%v,%v", testtoa.TrustedNet4, testtoa.TrustedNet6)
	if err := testvm.Modprobe("toa", trust); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := toaUnload(); err != nil && !errors.Is(err, unix.ENOENT) {
			t.Errorf("unload toa: %v", err)
		}
	})
}

func toaUnload() error { return unix.DeleteModule("toa", unix.O_NONBLOCK) }

// toaCounters reads /proc/net/toa_stats, summed over the CPUs.
func toaCounters(t *testing.T) map[string]uint64 {
	t.Helper()
	f, err := os.Open("/proc/net/toa_stats")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sums := map[string]uint64{}
	for s := bufio.NewScanner(f); s.Scan(); {
		name, values, ok := strings.Cut(s.Text(), ":")
		if !ok {
			continue
		}
		for v := range strings.FieldsSeq(values) {
			var n uint64
			if _, err := fmt.Sscan(v, &n); err != nil {
				t.Fatalf("%s: %v", s.Text(), err)
			}
			sums[strings.TrimSpace(name)] += n
		}
	}
	return sums
}

// Cases 59, 60, 61, 63.
func TestToaModuleReceive(t *testing.T) {
	p := toaPeer(t)
	toaModule(t)
	testtoa.Receive(t, p)
	c := toaCounters(t)
	for _, name := range []string{
		"syn_recv_sock_toa", "syn_recv_sock_no_toa", "toa_untrusted", "toa_malformed",
		"getname_toa_ok", "getname_toa_empty", "getname_toa_mismatch", "getname_toa_bypass",
	} {
		if c[name] == 0 {
			t.Errorf("counter %s is 0 after all cases", name)
		}
	}
	// Sockets that end meanwhile are counted by another processor.
	testnet.Eventually(t, time.Minute, func() error {
		c := toaCounters(t)
		if got, want := c["toa_released"]+c["toa_entries"], c["syn_recv_sock_toa"]; got != want {
			return fmt.Errorf("released + remembered = %d, want the %d that were read", got, want)
		}
		return nil
	})
}

// Nothing is remembered for longer than its socket lives.
func TestToaModuleForgets(t *testing.T) {
	p := toaPeer(t)
	toaModule(t)
	const n = 50
	var conns []*net.TCPConn
	for range n {
		conn, _ := testtoa.Accept(t, p, testtoa.Dual, testtoa.Handshake{
			Src: toaDirector, ACK: testtoa.Option(254, toaClient),
		})
		conns = append(conns, conn)
	}
	if got := toaCounters(t)["toa_entries"]; got != n {
		t.Errorf("%d entries with %d connections", got, n)
	}
	for _, c := range conns {
		// A reset: the socket goes at once.
		if err := errors.Join(c.SetLinger(0), c.Close()); err != nil {
			t.Fatal(err)
		}
	}
	testnet.Eventually(t, time.Minute, func() error {
		if n := toaCounters(t)["toa_entries"]; n != 0 {
			return fmt.Errorf("%d entries left with all connections closed", n)
		}
		return nil
	})
}

// share gives the socket to another user of the kernel's one pointer for users of
// sockets: a map of BPF.
func share(t *testing.T, conn *net.TCPConn) {
	t.Helper()
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.SockMap, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if cerr := raw.Control(func(fd uintptr) { err = m.Put(uint32(0), uint32(fd)) }); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
}

// A socket has one pointer for its user, which is another's.
func TestToaModuleSharesSocket(t *testing.T) {
	p := toaPeer(t)
	toaModule(t)
	conn, src := testtoa.Accept(t, p, testtoa.Inet4, testtoa.Handshake{Src: toaDirector, ACK: testtoa.Option(254, toaClient)})
	share(t, conn)
	testtoa.Shows(t, conn, toaClient)
	if err := toaUnload(); err != nil {
		t.Fatal(err)
	}
	if got, err := testtoa.Peername(conn); err != nil || got != src {
		t.Errorf("without the module getpeername shows %v, %v, want %v", got, err, src)
	}
	if err := errors.Join(conn.SetLinger(0), conn.Close()); err != nil {
		t.Error(err)
	}
}

// Case 62: the module goes with live sockets, which then show the director.
func TestToaModuleUnload(t *testing.T) {
	p := toaPeer(t)
	toaModule(t)
	conn, src := testtoa.Accept(t, p, testtoa.Dual, testtoa.Handshake{
		Src: toaDirector, ACK: testtoa.Option(254, toaClient),
	})
	testtoa.Shows(t, conn, toaClient)
	if err := toaUnload(); err != nil {
		t.Fatal(err)
	}
	if got, err := testtoa.Peername(conn); err != nil || got != src {
		t.Errorf("without the module getpeername shows %v, %v, want %v", got, err, src)
	}
	toaModule(t)
	if got, err := testtoa.Peername(conn); err != nil || got != src {
		t.Errorf("a module loaded later shows %v, %v for an old connection, want %v", got, err, src)
	}
	if err := errors.Join(conn.SetLinger(0), conn.Close()); err != nil {
		t.Error(err)
	}
}

// The module comes and goes while names are asked for without a pause: whenever the
// kernel rewrites a function, some processor is about to call it.
func TestToaModuleUnloadUnderLoad(t *testing.T) {
	p := toaPeer(t)
	toaModule(t)
	conn, src := testtoa.Accept(t, p, testtoa.Dual, testtoa.Handshake{
		Src: toaDirector, ACK: testtoa.Option(254, toaClient),
	})
	defer conn.Close()
	stop := make(chan struct{})
	var askers sync.WaitGroup
	for range 4 {
		askers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if got, err := testtoa.Peername(conn); err != nil || got != src && got != toaClient {
					t.Errorf("getpeername shows %v, %v", got, err)
					return
				}
			}
		})
	}
	for range 5 {
		for range 10 {
			c, _ := testtoa.Accept(t, p, testtoa.Inet4, testtoa.Handshake{
				Src: toaDirector, ACK: testtoa.Option(254, toaClient),
			})
			testtoa.Shows(t, c, toaClient)
			if err := errors.Join(c.SetLinger(0), c.Close()); err != nil {
				t.Error(err)
			}
		}
		if err := toaUnload(); err != nil {
			t.Errorf("unload: %v", err)
			break
		}
		toaModule(t)
	}
	close(stop)
	askers.Wait()
}

// The list of trusted directors is edited while the module works.
func TestToaModuleTrust(t *testing.T) {
	p := toaPeer(t)
	if err := testvm.Modprobe("toa"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := toaUnload(); err != nil {
			t.Error(err)
		}
	}()
	shows := func(want bool) {
		t.Helper()
		conn, src := testtoa.Accept(t, p, testtoa.Inet4, testtoa.Handshake{
			Src: toaDirector, ACK: testtoa.Option(254, toaClient),
		})
		defer conn.Close()
		if want {
			src = toaClient
		}
		testtoa.Shows(t, conn, src)
	}
	edit := func(text string) error { return os.WriteFile("/proc/net/toa", []byte(text), 0) }
	list := func(want string) {
		t.Helper()
		if got, err := os.ReadFile("/proc/net/toa"); err != nil || string(got) != want {
			t.Errorf("/proc/net/toa: %q, %v, want %q", got, err, want)
		}
	}
	shows(false)
	if err := edit("add 10.77.8.0/24\nadd fd77:0:8::/48\n"); err != nil {
		t.Fatal(err)
	}
	list("10.77.8.0/24\nfd77:0:8::/48\n")
	shows(true)
	for _, bad := range []string{
		"add 10.0.0.1/24", "add ten", "add 10.0.0.0/33", "add", "put 10.0.0.0/8", "flush all",
		"add 10.77.8.0/24", "del 10.1.0.0/16", "add 10.1.0.0/16\nadd x",
	} {
		if err := edit(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	list("10.77.8.0/24\nfd77:0:8::/48\n")
	if err := edit("del 10.77.8.0/24"); err != nil {
		t.Fatal(err)
	}
	shows(false)
	if err := edit("flush"); err != nil {
		t.Fatal(err)
	}
	list("")
}

// Parameters a module cannot work with keep it from loading.
func TestToaModuleBadParameters(t *testing.T) {
	toaPeer(t)
	for _, bad := range []string{"trust=10.0.0.1/24", "trust=x", "trust=::/129", "kinds=1", "kinds=256"} {
		if err := testvm.Modprobe("toa", bad); err == nil {
			t.Errorf("loaded with %s", bad)
			if err := toaUnload(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// toaCommand runs toa-bpf.
func toaCommand(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("/bin/toa-bpf", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("toa-bpf %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Cases 59 to 63 with the BPF receiver.
func TestToaBPFReceive(t *testing.T) {
	p := toaPeer(t)
	cgroup, bpffs := t.TempDir(), t.TempDir()
	for _, m := range []struct{ dir, kind string }{{cgroup, "cgroup2"}, {bpffs, "bpf"}} {
		if err := unix.Mount(m.kind, m.dir, m.kind, 0, ""); err != nil {
			t.Fatalf("mount %s: %v", m.kind, err)
		}
		defer func() {
			if err := unix.Unmount(m.dir, 0); err != nil {
				t.Error(err)
			}
		}()
	}
	pin := filepath.Join(bpffs, "toa")
	toaCommand(t, "run", "--cgroup", cgroup, "--pin", pin, "--saved-syn",
		"--trust", testtoa.TrustedNet4.String(), "--trust", testtoa.TrustedNet6.String())
	testtoa.Receive(t, p)

	conn, src := testtoa.Accept(t, p, testtoa.Dual, testtoa.Handshake{
		Src: toaDirector, SYN: testtoa.Option(254, toaClient),
	})
	defer conn.Close()
	// With SYN cookies there is no SYN to look into: the last of the cases left
	// them on for all.
	testtoa.Shows(t, conn, src)
	testtoa.Cookies(t, p, "1")
	conn2, src := testtoa.Accept(t, p, testtoa.Dual, testtoa.Handshake{
		Src: toaDirector, SYN: testtoa.Option(254, toaClient),
	})
	defer conn2.Close()
	testtoa.Shows(t, conn2, toaClient)
	share(t, conn2)
	testtoa.Shows(t, conn2, toaClient)

	t.Log(toaCommand(t, "stats", "--pin", pin))
	toaCommand(t, "detach", "--pin", pin)
	if got, err := testtoa.Peername(conn2); err != nil || got != src {
		t.Errorf("after detach getpeername shows %v, %v, want %v", got, err, src)
	}
}
