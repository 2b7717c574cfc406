// SPDX-License-Identifier: Apache-2.0

package checks

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testvm"
)

// The distribution's keepalived and ours, in the guest.
const (
	stock = "/usr/sbin/keepalived.stock"
	ours  = "/usr/sbin/keepalived"
)

// virtualServers is a file of n virtual servers with two real servers and
// their checks, 0.6 KB each. The checks run every hour, to leave the clock to
// what is measured.
func virtualServers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "virtual_server 10.%d.%d.%d 80 {\n    delay_loop 3600\n    lb_algo wrr\n    lb_kind NAT\n    protocol TCP\n    quorum 1\n", i>>16, i>>8&255, i&255)
		for r := range 2 {
			fmt.Fprintf(&b, "    real_server 172.16.%d.%d 8080 {\n        weight 100\n        inhibit_on_failure\n        TCP_CHECK {\n            connect_timeout 3\n            retry 2\n            delay_before_retry 1\n            connect_port 8080\n        }\n    }\n", i>>8&255, r+1)
		}
		b.WriteString("}\n")
	}
	return b.String()
}

// cost is what a command takes.
type cost struct {
	cpu    time.Duration // that is, instructions: this guest counts them
	memory float64       // at the peak, in a unit of busybox' time
}

// measure runs a command to its end. A process begins with the peak of the one
// that started it, so it is a small one that does.
func measure(t *testing.T, command ...string) cost {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/bin/busybox", append([]string{"time", "-f", "%M"}, command...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", command, err, out)
	}
	memory, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
	testnet.Must(t, err)
	return cost{cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), memory}
}

// TestCostOfConfigTest holds -t of 10,000 virtual servers to a fifth of the
// original's instructions, which on real processors is a third of its time, and
// to two and a half times its memory.
func TestCostOfConfigTest(t *testing.T) {
	file := filepath.Join(t.TempDir(), "k.conf")
	testnet.Must(t, os.WriteFile(file, []byte(virtualServers(10_000)), 0o600))
	o, c := measure(t, stock, "-t", "-f", file), measure(t, ours, "-t", "-f", file)
	cpu, memory := c.cpu.Seconds()/o.cpu.Seconds(), c.memory/o.memory
	t.Logf("-t of 10,000 virtual servers: %v for instructions, original %v: %.2f; %.2f of its memory", c.cpu, o.cpu, cpu, memory)
	if cpu > 0.25 || memory > 1.5 {
		t.Errorf("%.2f of the original's instructions and %.2f of its memory, want at most 0.25 and 1.5", cpu, memory)
	}
}

// program is a running keepalived.
type program struct {
	t    *testing.T
	cmd  *exec.Cmd
	conf string
	dir  string
	mu   sync.Mutex // guards log
	log  bytes.Buffer
	seen int
	// begun is when it was started, on the guest's clock.
	begun time.Time
}

func (p *program) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}

// runProgram starts one with a configuration, and waits until it is up.
func runProgram(t *testing.T, path, conf string) *program {
	t.Helper()
	p := startProgram(t, path, conf)
	p.wait("Startup complete")
	return p
}

func startProgram(t *testing.T, path, conf string) *program {
	t.Helper()
	p := &program{t: t, dir: t.TempDir()}
	p.conf = filepath.Join(p.dir, "k.conf")
	p.write(conf)
	p.cmd = exec.Command(path, "-n", "-C", "-l", "-G", "-f", p.conf, "-p", p.dir+"/parent.pid", "-c", p.dir+"/checkers.pid")
	p.cmd.Env = append(os.Environ(), "TMPDIR="+p.dir)
	p.cmd.Stderr, p.cmd.Stdout = p, p
	p.begun = time.Now()
	testnet.Must(t, p.cmd.Start())
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			p.cmd.Process.Kill()
			p.cmd.Wait()
		}
	})
	return p
}

func (p *program) write(conf string) {
	p.t.Helper()
	testnet.Must(p.t, os.WriteFile(p.conf, []byte(conf), 0o600))
}

func (p *program) wait(text string) {
	p.t.Helper()
	testnet.Eventually(p.t, 10*time.Minute, func() error {
		p.mu.Lock()
		defer p.mu.Unlock()
		log := p.log.String()
		i := strings.Index(log[p.seen:], text)
		if i < 0 {
			return fmt.Errorf("no %q in the end of the log:\n%s", text, log[max(p.seen, len(log)-2000):])
		}
		p.seen += i + len(text)
		return nil
	})
}

// cpu is what its two processes have used until they are idle.
func (p *program) cpu() time.Duration {
	p.t.Helper()
	time.Sleep(3 * time.Second)
	var sum time.Duration
	for _, name := range []string{"parent", "checkers"} {
		var ts unix.Timespec
		// The clock of a process, as clock_getcpuclockid(3) numbers it.
		testnet.Must(p.t, unix.ClockGettime(int32(^p.pid(name)<<3|2), &ts))
		sum += time.Duration(ts.Nano())
	}
	return sum
}

// pid is that of its process parent or checkers.
func (p *program) pid(process string) int {
	p.t.Helper()
	text, err := os.ReadFile(filepath.Join(p.dir, process+".pid"))
	testnet.Must(p.t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	testnet.Must(p.t, err)
	return pid
}

// memory tells what its processes keep for themselves, what of it is of no file, and
// what they had at the peak.
func (p *program) memory() string {
	p.t.Helper()
	var parts []string
	for _, name := range []string{"parent", "checkers"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid(name)))
		testnet.Must(p.t, err)
		mb := func(field string) float64 {
			p.t.Helper()
			m := regexp.MustCompile(`(?m)^` + field + `:\s+(\d+) kB$`).FindSubmatch(text)
			if m == nil {
				p.t.Fatalf("no %s of %s", field, name)
			}
			kb, err := strconv.Atoi(string(m[1]))
			testnet.Must(p.t, err)
			return float64(kb) * 1024 / 1e6
		}
		parts = append(parts, fmt.Sprintf("%s RssAnon %.1f MB, VmRSS %.1f MB, VmHWM %.1f MB", name, mb("RssAnon"), mb("VmRSS"), mb("VmHWM")))
	}
	return strings.Join(parts, "; ")
}

// reload has it take over a configuration, and gives what that cost.
func (p *program) reload(conf string) time.Duration {
	p.t.Helper()
	before := p.cpu()
	p.write(conf)
	testnet.Must(p.t, p.cmd.Process.Signal(syscall.SIGHUP))
	p.wait("Reload complete")
	return p.cpu() - before
}

func (p *program) stop() {
	p.t.Helper()
	testnet.Must(p.t, p.cmd.Process.Kill())
	p.cmd.Wait()
	testnet.Eventually(p.t, time.Minute, func() error {
		// Ours ends by itself when the parent is gone; the original's checkers do, too.
		text, err := os.ReadFile(filepath.Join(p.dir, "checkers.pid"))
		if err != nil {
			return nil
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		testnet.Must(p.t, err)
		_ = syscall.Kill(pid, syscall.SIGKILL)
		if syscall.Kill(pid, 0) == nil {
			return fmt.Errorf("%d is still there", pid)
		}
		return nil
	})
	if out, err := exec.Command("/sbin/ipvsadm.stock", "-C").CombinedOutput(); err != nil {
		p.t.Fatalf("ipvsadm: %v: %s", err, out)
	}
}

// costs are those of one program at one size, on the guest's clock.
type costs struct{ start, unchanged, weight time.Duration }

func costsOf(t *testing.T, path string, n int) costs {
	t.Helper()
	text := virtualServers(n)
	p := runProgram(t, path, text)
	c := costs{start: p.cpu()}
	c.unchanged = p.reload(text)
	c.weight = p.reload(strings.Replace(text, "weight 100", "weight 7", 1))
	p.stop()
	time.Sleep(trashTime)
	t.Logf("%s, %d virtual servers: start %v, reload %v, with one weight changed %v", path, n, c.start, c.unchanged, c.weight)
	return c
}

// What a start and a reload may take of the original's instructions at a size where
// the square of it, which the original pays, does not yet show.
const startShare, reloadShare = 1, 0.5

// TestCostOfReload holds start and reload of the running daemon to these shares, and
// to be in proportion to the size, which the original's are not. LVS_BENCH=1
// measures both at 1,000 and 5,000 virtual servers, and ours at 10,000 and 40,000.
func TestCostOfReload(t *testing.T) {
	testnet.Must(t, testvm.Modprobe("ip_vs"))
	testnet.Must(t, testvm.Modprobe("ip_vs_wrr"))
	both, large := []int{500}, []int{4000}
	if os.Getenv("LVS_BENCH") != "" {
		both, large = []int{1000, 5000}, []int{10_000, 40_000}
	}
	var first costs
	for _, n := range both {
		theirs, mine := costsOf(t, stock, n), costsOf(t, ours, n)
		for what, share := range map[string]struct {
			ours, theirs time.Duration
			limit        float64
		}{
			"a start": {mine.start, theirs.start, startShare}, "a reload": {mine.unchanged, theirs.unchanged, reloadShare},
			"a reload with one weight changed": {mine.weight, theirs.weight, reloadShare},
		} {
			of := share.ours.Seconds() / share.theirs.Seconds()
			t.Logf("%s of %d: %.3f of the original's instructions", what, n, of)
			if of > share.limit {
				t.Errorf("%s of %d takes %.2f of the original's instructions, want at most %v", what, n, of, share.limit)
			}
		}
		if n == both[0] {
			first = mine
		}
	}
	// That of the square would be eight times as long and more; a collection of garbage
	// that falls into one of them and not into the other is half as long again.
	for _, n := range large {
		c := costsOf(t, ours, n)
		if per, small := c.weight.Seconds()/float64(n), first.weight.Seconds()/float64(both[0]); per > 2.5*small {
			t.Errorf("a reload of %d takes %.2f times as long for each as one of %d", n, per/small, both[0])
		}
	}
}

// pauseLimit is the longest time that a reload may hold up a check. It is 6 to 16 ms
// by how collections of garbage fall, which any change of the program moves.
const pauseLimit = 20 * time.Millisecond

// TestCostOfPause: checks that run beside a reload of 2,000 virtual servers are
// on time, by pauseLimit. LVS_BENCH=1 has 10,000 and 40,000, too.
func TestCostOfPause(t *testing.T) {
	testnet.Must(t, testvm.Modprobe("ip_vs"))
	testnet.Must(t, testvm.Modprobe("ip_vs_wrr"))
	l, err := net.Listen("tcp", "127.0.0.1:8081")
	testnet.Must(t, err)
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	sizes := []int{2000}
	if os.Getenv("LVS_BENCH") != "" {
		sizes = append(sizes, 10_000, 40_000)
	}
	for _, n := range sizes {
		pauseOf(t, n)
	}
}

func pauseOf(t *testing.T, n int) {
	t.Helper()
	text := virtualServers(n) + "virtual_server 10.200.0.1 80 {\ndelay_loop 0.02\nlb_algo wrr\nlb_kind NAT\nprotocol TCP\n" +
		"real_server 127.0.0.1 8081 {\nTCP_CHECK {\nwarmup 0\n}\n}\n}\n"
	p := runProgram(t, ours, text)
	late := func() time.Duration {
		t.Helper()
		p.cpu()
		testnet.Must(t, os.RemoveAll(p.dir+"/keepalived_check.data"))
		testnet.Must(t, p.cmd.Process.Signal(syscall.SIGUSR1))
		var seconds float64
		testnet.Eventually(t, time.Minute, func() error {
			text, err := os.ReadFile(p.dir + "/keepalived_check.data")
			if err != nil {
				return err
			}
			_, after, ok := strings.Cut(string(text), "Longest delay of a check since the last dump = ")
			if !ok {
				return errors.New("the dump has no delay")
			}
			_, err = fmt.Sscanf(after, "%f", &seconds)
			return err
		})
		return time.Duration(seconds * float64(time.Second))
	}
	late() // of the start
	for what, conf := range map[string]string{
		"unchanged": text, "one weight changed": strings.Replace(text, "weight 100", "weight 7", 1), "half the servers gone": text[len(virtualServers(n/2)):],
	} {
		late()
		p.reload(conf)
		d := late()
		t.Logf("%d virtual servers, %s: the longest pause of the checks is %v", n, what, d)
		if d > pauseLimit {
			t.Errorf("%d virtual servers, %s: the longest pause of the checks is %v, want at most %v", n, what, d, pauseLimit)
		}
	}
	p.stop()
}
