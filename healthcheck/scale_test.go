// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// serveEnv makes the test binary the server of the scale tests: their CPU
// time and descriptors are then not those of the engine.
const serveEnv = "HEALTHCHECK_TEST_SERVE"

func TestMain(m *testing.M) {
	if os.Getenv(serveEnv) != "" {
		serveScale()
		return
	}
	os.Exit(m.Run())
}

// scalePorts are the ports of the server of the scale tests.
type scalePorts struct{ tcp, http, tls, grpc uint16 }

// of is where checks of a kind go to.
func (p *scalePorts) of(kind Kind) uint16 {
	return map[Kind]uint16{TCPCheck: p.tcp, HTTPGet: p.http, SSLGet: p.tls, GRPCCheck: p.grpc}[kind]
}

// serveScale accepts on every address of this host, prints its ports, for TCP,
// HTTP, HTTP over TLS and gRPC over TLS, and ends when standard input does.
func serveScale() {
	cert, err := newCertificate(time.Now().Add(time.Hour))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	answer := func(c net.Conn) {
		if _, err := c.Read(make([]byte, 1024)); err == nil {
			io.WriteString(c, "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello")
		}
	}
	conf := &tls.Config{Certificates: []tls.Certificate{cert}}
	for _, serve := range []func(net.Conn){
		func(c net.Conn) { c.Close() },
		func(c net.Conn) { answer(c); c.Close() },
		func(c net.Conn) {
			go func() { // handshakes wait for each other's processor, not for each other
				t := tls.Server(c, conf)
				answer(t)
				t.Close()
			}()
		},
	} {
		l, err := net.Listen("tcp4", "0.0.0.0:0")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		for range 4 {
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					serve(c)
				}
			}()
		}
		fmt.Println(l.Addr().(*net.TCPAddr).Port)
	}
	l, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	health := http.Server{Handler: &healthServer{code: 200, status: "0", body: answerOf(1)}, TLSConfig: conf}
	go health.ServeTLS(l, "", "")
	fmt.Println(l.Addr().(*net.TCPAddr).Port)
	io.Copy(io.Discard, os.Stdin)
	health.Close()
}

// scaleServer starts serveScale in a process of its own until the test ends.
func scaleServer(t testing.TB) (ports scalePorts) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), serveEnv+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	if _, err := fmt.Fscan(bufio.NewReader(out), &ports.tcp, &ports.http, &ports.tls, &ports.grpc); err != nil {
		t.Fatal(err)
	}
	return ports
}

// cpu is the CPU time this process has used, its system calls included.
func cpu(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// plainConnect is the CPU time of one connection made and reset by nothing but
// blocking system calls: what no checker can go below.
func plainConnect(t testing.TB, port uint16) time.Duration {
	t.Helper()
	const n = 2000
	before := cpu(t)
	for i := range n {
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Connect(fd, &syscall.SockaddrInet4{Port: int(port), Addr: scaleAddr(i).As4()}); err != nil {
			t.Fatal(err)
		}
		syscall.SetsockoptLinger(fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1})
		syscall.Close(fd)
	}
	return (cpu(t) - before) / n
}

// plainTLS is the CPU time of one connection on which a session is resumed and a page
// fetched, by crypto/tls with nothing around it.
func plainTLS(t testing.TB, port uint16) time.Duration {
	t.Helper()
	conf := handshakes(1)
	addr := netip.AddrPortFrom(scaleAddr(0), port).String()
	buf := make([]byte, 1024)
	fetch := func() (resumed bool) {
		c, err := net.Dial("tcp4", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.(*net.TCPConn).SetLinger(0)
		s := tls.Client(c, conf)
		if _, err := io.WriteString(s, "GET / HTTP/1.0\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAtLeast(s, buf, len("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello")); err != nil {
			t.Fatal(err)
		}
		return s.ConnectionState().DidResume
	}
	fetch() // a whole handshake
	const n = 2000
	before := cpu(t)
	for range n {
		if !fetch() {
			t.Fatal("a session was not resumed")
		}
	}
	return (cpu(t) - before) / n
}

func scaleAddr(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{127, byte(1 + i>>16), byte(i >> 8), byte(i)})
}

// resident is the memory of this process at its peak, in MiB.
func resident(t testing.TB) int64 {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return u.Maxrss >> 10
}

// scale runs n checks of a kind, each every interval, for so many rounds.
func scale(t *testing.T, kind Kind, n int, interval time.Duration, rounds int) {
	ports := scaleServer(t)
	port := ports.of(kind)
	bare := plainConnect(t, ports.tcp)
	e, err := New(Options{Reset: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{Engine: e, events: make(chan Event, n)}
	r.runUntilEnd(t)

	timing := Timing{DelayLoop: interval, ConnectTimeout: 5 * time.Second, Warmup: interval}
	if kind != TCPCheck {
		timing.ConnectTimeout = time.Minute // of a host that may be busy: this is about what they cost
	}
	var m0, m1, m2 runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m0)
	targets := make([]*Target, n)
	for i := range targets {
		target := tcpTarget(netip.AddrPortFrom(scaleAddr(i), port), timing)
		targets[i] = &target
		if s := &target.Spec; kind != TCPCheck {
			s.Kind, s.TLS, s.GRPC, s.HTTP.URLs = kind, &TLS{}, &GRPC{TLS: true}, []URL{{Path: "/", Status: []StatusRange{{200, 200}}}}
		}
	}
	if _, err := e.Set(targets); err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&m1)
	kept := m1.HeapInuse - min(m1.HeapInuse, m0.HeapInuse)

	start, cpu0, runs0 := time.Now(), cpu(t), uint64(0)
	want := uint64(n * rounds)
	// Twice the time the rate asks for, and a minute for a busy host.
	limit := start.Add(2*time.Duration(rounds)*interval + time.Minute)
	until := func(runs uint64) {
		for e.Stats().Runs < runs && time.Now().Before(limit) {
			time.Sleep(20 * time.Millisecond)
		}
	}
	secure := kind == SSLGet || kind == GRPCCheck
	if secure {
		until(uint64(n)) // whole handshakes; all behind them resume a session
		cpu0, runs0 = cpu(t), e.Stats().Runs
	}
	until(want)
	took, used, st := time.Since(start)-firstRun, cpu(t)-cpu0, e.Stats()
	runtime.ReadMemStats(&m2)
	runtime.KeepAlive(targets)

	perCheck := used / time.Duration(max(st.Runs-runs0, 1))
	allocs := float64(m2.Mallocs-m1.Mallocs) / float64(max(st.Runs, 1))
	t.Logf("%d targets, %d checks at %.0f/s of %.0f/s asked", n, st.Runs,
		float64(st.Runs)/took.Seconds(), float64(n)/interval.Seconds())
	t.Logf("CPU per check %v, %.2f times that of the bare system calls (%v)", perCheck, float64(perCheck)/float64(bare), bare)
	if secure && os.Getenv("LVS_BENCH") != "" {
		floor := plainTLS(t, ports.tls)
		t.Logf("%.2f times that of sessions resumed one after the other with nothing around them (%v)", float64(perCheck)/float64(floor), floor)
	}
	t.Logf("%.2f allocations per check, %d bytes per target; %d MiB resident at the peak, those of tests before included", allocs, kept/uint64(n), resident(t))
	t.Logf("false downs %d, postponed %d, answers found in time by looking again %d", st.Failures, st.Postponed, st.Rescued)

	if st.Runs < want {
		t.Errorf("%d of %d checks in %v", st.Runs, want, took)
	}
	if st.Failures != 0 || len(r.events) != 0 {
		t.Errorf("%d failures and %d events of servers that are all healthy", st.Failures, len(r.events))
	}
	if st.Postponed != 0 {
		t.Errorf("%d checks did not run for want of descriptors or ports", st.Postponed)
	}
	if kind != TCPCheck {
		return
	}
	if allocs >= 1 {
		t.Errorf("%.2f allocations per check, want less than 1", allocs)
	}
	if per := kept / uint64(n); per > 2048 {
		t.Errorf("%d bytes per target, want at most 2048", per)
	}
}

// TestScale runs 2,000 targets at 2,000 checks a second; with
// LVS_BENCH set, 20,000 targets at 10,000 checks a second, which is the promise:
// one host, and no healthy server called dead. That takes the better part of two
// cores for some ten seconds, which a busy machine does not have.
func TestScale(t *testing.T) {
	if os.Getenv("LVS_BENCH") == "" {
		scale(t, TCPCheck, 2000, time.Second, 2)
		return
	}
	t.Run("10000", func(t *testing.T) { scale(t, TCPCheck, 20_000, 2*time.Second, 5) })
	t.Run("15000", func(t *testing.T) { scale(t, TCPCheck, 20_000, 4*time.Second/3, 5) })
}

// TestScaleOfKinds runs checks that say something after they have connected; with
// LVS_BENCH set so many that what one takes can be told: 5,000 pages a second, and 500
// sessions of TLS.
func TestScaleOfKinds(t *testing.T) {
	sizes, rounds := map[Kind]int{HTTPGet: 100, SSLGet: 100, GRPCCheck: 100}, 2
	if os.Getenv("LVS_BENCH") != "" {
		sizes, rounds = map[Kind]int{HTTPGet: 10_000, SSLGet: 1000, GRPCCheck: 1000}, 5
	}
	for _, kind := range []Kind{HTTPGet, SSLGet, GRPCCheck} {
		t.Run(kind.String(), func(t *testing.T) { scale(t, kind, sizes[kind], 2*time.Second, rounds) })
	}
}

// BenchmarkSet reloads 20,000 checks of which nothing has changed.
func BenchmarkSet(b *testing.B) {
	e, err := New(Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	list := make([]Target, 20_000)
	for i := range list {
		list[i] = tcpTarget(netip.AddrPortFrom(scaleAddr(i), 80), quick)
		list[i].Service = strings.Repeat("v", 1+i%40)
	}
	targets := pointers(list)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Set(targets); err != nil {
			b.Fatal(err)
		}
	}
}
