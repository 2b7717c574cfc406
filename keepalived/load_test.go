// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/ipvs/ipvstest"
)

// A process that has sinkKernel in its environment is a keepalived of its own on a
// kernel that takes everything and keeps nothing; one that has checkedServer is
// the servers it checks.
const (
	sinkKernel    = "KEEPALIVED_TEST_SINK"
	checkedServer = "KEEPALIVED_TEST_CHECKED"
)

// sink is that kernel.
type sink struct{ *ipvstest.Table }

func (sink) Apply(context.Context, ...ipvs.Op) error { return nil }

func sinkApp() *app {
	a := newApp(os.Stdout, os.Stderr)
	a.syslog = noSyslog
	a.dial = func(context.Context, string) (kernel, error) { return sink{ipvstest.NewStock()}, nil }
	// Nobody compares the tables with what is kept.
	a.every = func(time.Duration) (<-chan time.Time, func()) { return nil, func() {} }
	return a
}

// serveChecked accepts on every address. It prints its port, and for each line of
// its input how many connections there have been; it ends with its input.
func serveChecked() int {
	l, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(l.Addr().(*net.TCPAddr).Port)
	var count atomic.Uint64
	var loops sync.WaitGroup
	for range 2 {
		loops.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				count.Add(1)
				c.Close()
			}
		})
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		fmt.Println(count.Load())
	}
	l.Close()
	loops.Wait()
	return 0
}

// checked are the servers in a process of their own.
type checked struct {
	t    *testing.T
	in   io.Writer
	out  *bufio.Reader
	port int
}

func startChecked(t *testing.T, ns *testnet.NS, program string) *checked {
	t.Helper()
	cmd := exec.Command(program)
	cmd.Env, cmd.Stderr = append(os.Environ(), checkedServer+"=1"), os.Stderr
	in, err := cmd.StdinPipe()
	testnet.Must(t, err)
	out, err := cmd.StdoutPipe()
	testnet.Must(t, err)
	testnet.Must(t, ns.Start(cmd))
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
	})
	c := &checked{t: t, in: in, out: bufio.NewReader(out)}
	c.port = int(c.number())
	return c
}

func (c *checked) number() (n uint64) {
	c.t.Helper()
	_, err := fmt.Fscanln(c.out, &n)
	testnet.Must(c.t, err)
	return n
}

// count is how many checks have reached the servers.
func (c *checked) count() uint64 {
	c.t.Helper()
	_, err := fmt.Fprintln(c.in)
	testnet.Must(c.t, err)
	return c.number()
}

// until waits for so many, at most for limit.
func (c *checked) until(n uint64, limit time.Duration) {
	c.t.Helper()
	testnet.Eventually(c.t, limit, func() error {
		if got := c.count(); got < n {
			return fmt.Errorf("%d of %d checks", got, n)
		}
		return nil
	})
}

// checkedServers is a file of n virtual servers with two real servers each, which
// are checked every interval.
func checkedServers(n, port int, interval time.Duration) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "virtual_server 10.%d.%d.%d 80 {\n    delay_loop %g\n    lb_algo wrr\n    lb_kind NAT\n    protocol TCP\n    quorum 1\n", i>>16, i>>8&255, i&255, interval.Seconds())
		for r := range 2 {
			a := netip.AddrFrom4([4]byte{127, byte(1 + r), byte(i >> 8), byte(i)})
			fmt.Fprintf(&b, "    real_server %s %d {\n        weight 100\n        inhibit_on_failure\n        TCP_CHECK {\n            connect_timeout 5\n            retry 2\n            delay_before_retry 1\n            connect_port %d\n        }\n    }\n", a, port, port)
		}
		b.WriteString("}\n")
	}
	return b.String()
}

// memory is what a process takes, in bytes.
type memory struct{ anon, peak, pss uint64 }

func (u memory) String() string {
	return fmt.Sprintf("RssAnon %.1f MB, VmHWM %.1f MB, Pss %.1f MB", float64(u.anon)/1e6, float64(u.peak)/1e6, float64(u.pss)/1e6)
}

func memoryOf(t *testing.T, pid int) memory {
	t.Helper()
	field := func(file, name string) uint64 {
		t.Helper()
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
		testnet.Must(t, err)
		m := regexp.MustCompile(`(?m)^` + name + `:\s+(\d+) kB$`).FindSubmatch(text)
		if m == nil {
			t.Fatalf("no %s in %s", name, file)
		}
		kb, err := strconv.ParseUint(string(m[1]), 10, 64)
		testnet.Must(t, err)
		return kb << 10
	}
	return memory{field("status", "RssAnon"), field("status", "VmHWM"), field("smaps_rollup", "Pss")}
}

// cpuOf is the CPU time of a process.
func cpuOf(t *testing.T, pid int) time.Duration {
	t.Helper()
	var ts unix.Timespec
	// The clock of a process, as clock_getcpuclockid(3) numbers it.
	testnet.Must(t, unix.ClockGettime(int32(^pid<<3|2), &ts))
	return time.Duration(ts.Nano())
}

// buildProgram builds this test without the race detector, which would be most of
// what a process takes.
var buildProgram = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "keepalived")
	if err != nil {
		return "", err
	}
	builtIn = dir
	program := filepath.Join(dir, "keepalived")
	if out, err := exec.Command("go", "test", "-c", "-o", program, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return program, nil
})

// builtIn is the folder of buildProgram, to be removed.
var builtIn string

// load runs the daemon, parent and checkers, with n virtual servers of two checks each,
// all of which are made every interval, so many rounds.
func load(t *testing.T, program string, n int, interval time.Duration, rounds int) {
	ns := testnet.New(t, fmt.Sprintf("kload%d", n))
	testnet.Must(t, ns.Up("lo"))
	servers := startChecked(t, ns, program)
	dir := t.TempDir()
	testnet.Must(t, os.WriteFile(dir+"/k.conf", []byte(checkedServers(n, servers.port, interval)), 0o600))
	log, err := os.Create(dir + "/log")
	testnet.Must(t, err)
	defer log.Close()
	cmd := exec.Command(program, "-n", "-l", "-f", dir+"/k.conf", "-p", dir+"/pid", "-c", dir+"/checkers.pid")
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), sinkKernel+"=1"), log, log
	testnet.Must(t, ns.Start(cmd))
	ended := false
	t.Cleanup(func() {
		if !ended {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	limit := 2*time.Duration(rounds+1)*interval + 2*time.Minute
	servers.until(uint64(2*n), limit)
	text, err := os.ReadFile(dir + "/checkers.pid")
	testnet.Must(t, err)
	child, err := strconv.Atoi(strings.TrimSpace(string(text)))
	testnet.Must(t, err)

	first, begin, cpu := servers.count(), time.Now(), cpuOf(t, child)
	servers.until(first+uint64(2*n*rounds), limit)
	made, took, used := servers.count()-first, time.Since(begin), cpuOf(t, child)-cpu
	t.Logf("%d targets, %d checks at %.0f/s of %.0f/s asked, %v of the checkers' CPU time for each", 2*n, made, float64(made)/took.Seconds(), float64(2*n)/interval.Seconds(), used/time.Duration(made))
	kept := memoryOf(t, child)
	t.Logf("checkers: %v; parent: %v", kept, memoryOf(t, cmd.Process.Pid))
	if kept.anon > anonLimit {
		t.Errorf("the checkers keep %.1f MB for %d targets, want at most %.0f", float64(kept.anon)/1e6, 2*n, anonLimit/1e6)
	}

	testnet.Must(t, cmd.Process.Signal(unix.SIGTERM))
	ended = true
	if err := cmd.Wait(); err != nil {
		t.Errorf("the end: %v", err)
	}
	lines, err := os.ReadFile(dir + "/log")
	testnet.Must(t, err)
	if found := strings.Count(string(lines), "Activating healthchecker"); found != 2*n {
		t.Errorf("%d checks were begun, want %d", found, 2*n)
	}
	if bad := regexp.MustCompile(`(?m)^.*(failed|timeout|Removing service|trouble).*$`).FindString(string(lines)); bad != "" {
		t.Errorf("of servers that are all healthy the log says: %s", bad)
	}
}

// anonLimit is what the checkers may keep of 20,000 targets, in bytes.
const anonLimit = 40e6

// TestCostOfChecks runs the whole daemon, parent and checkers, on a kernel that keeps
// nothing. With LVS_BENCH set it has 20,000 targets, each checked at 10,000 and
// 15,000 a second, and tells what that takes.
func TestCostOfChecks(t *testing.T) {
	program, err := buildProgram()
	testnet.Must(t, err)
	if os.Getenv("LVS_BENCH") == "" {
		load(t, program, 1000, 2*time.Second, 2)
		return
	}
	t.Run("10000", func(t *testing.T) { load(t, program, 10_000, 2*time.Second, 5) })
	t.Run("15000", func(t *testing.T) { load(t, program, 10_000, 4*time.Second/3, 5) })
}
