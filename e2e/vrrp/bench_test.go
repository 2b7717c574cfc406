// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lvs-fnat/lvs/healthcheck"
	"github.com/lvs-fnat/lvs/internal/testnet"
)

// cost is what the VRRP process of a node has used.
type cost struct {
	cpu      time.Duration // user and system
	resident int           // KiB
	private  int           // of it, KiB that belong to this process alone
	sent     int           // adverts
	received int
	switches int // became master more than once for each instance
}

// benchInstances and benchInterval are the most there is on one link, at a
// rate that is common.
const (
	benchInstances = 255
	benchInterval  = "0.1"
	benchTime      = 20 * time.Second // beside checks
	benchWindow    = 6 * time.Second
	benchWindows   = 7
)

// crowd starts all virtual routers of one link on each node: node 0 is master of all,
// the others are backups. global is for global_defs.
func (b *bed) crowd(global string) {
	b.t.Helper()
	conf := func(prio int) string {
		out := "global_defs {\n " + global + "\n}\n"
		for id := 1; id <= benchInstances; id++ {
			out += vi{name: fmt.Sprintf("V%d", id), id: id, prio: prio, version: 3, interval: benchInterval,
				vips: []string{fmt.Sprintf("10.50.0.%d", id)}, more: "garp_master_delay 0\n garp_master_repeat 1"}.conf()
		}
		return out
	}
	b.nodes[0].start(conf(150))
	b.await("node 0 is master of all", func(f []frame) bool {
		seen := map[uint8]bool{}
		for _, x := range f {
			if x.node == 0 && x.what == advert {
				seen[x.vrid] = true
			}
		}
		return len(seen) == benchInstances
	})
	for _, n := range b.nodes[1:] {
		n.start(conf(100))
		n.until("Entering BACKUP STATE (init)", benchInstances)
	}
	b.forget()
}

// counted sums up what the switch has counted since forget, and gives the longest
// pause between two adverts of one router.
func (b *bed) counted() (adverts int, longest time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.tally {
		adverts += c.adverts
		longest = max(longest, c.longest)
	}
	return adverts, longest
}

// cpu is what the VRRP process has used so far, of all its threads, as the kernel
// accounts for it: in nanoseconds, and not in ticks as /proc gives it.
func (n *node) cpu() time.Duration {
	n.t.Helper()
	const perProcess = 2 // CPUCLOCK_SCHED of linux/posix-timers_types.h
	var ts unix.Timespec
	testnet.Must(n.t, unix.ClockGettime(int32(^n.child()<<3|perProcess), &ts))
	return time.Duration(ts.Nano())
}

// usage is what one process has used in one window.
type usage struct {
	cpu     time.Duration
	adverts int
}

func (u usage) per() float64 { return float64(u.cpu.Nanoseconds()) / 1000 / float64(max(1, u.adverts)) }

// crowds runs two beds at the same time, one with each program as the master, and
// both as backups in each: what two backups of a bed hear are the same packets, and
// what the host does beside it comes upon all. It gives what each has used, by window.
func crowds(t *testing.T) (beds map[program]*bed, used map[*node][]usage) {
	beds, used = map[program]*bed{c: newBed(t, c, c, ours), ours: newBed(t, ours, c, ours)}, map[*node][]usage{}
	for _, b := range beds {
		b.crowd("")
	}
	time.Sleep(7 * time.Second) // the start is over, and the memory that only it needed given back
	snapshot := func() (map[*node]time.Duration, map[*bed]int) {
		cpu, adverts := map[*node]time.Duration{}, map[*bed]int{}
		for _, b := range beds {
			adverts[b], _ = b.counted()
			for _, n := range b.nodes {
				cpu[n] = n.cpu()
			}
		}
		return cpu, adverts
	}
	cpu, adverts := snapshot()
	for range benchWindows {
		time.Sleep(benchWindow)
		cpuNow, advertsNow := snapshot()
		for _, b := range beds {
			for _, n := range b.nodes {
				used[n] = append(used[n], usage{cpuNow[n] - cpu[n], advertsNow[b] - adverts[b]})
			}
		}
		cpu, adverts = cpuNow, advertsNow
	}
	return beds, used
}

// beside runs a pair of one program beside checks.
func beside(t *testing.T, p program, checks int) (nodes [2]cost, longest time.Duration) {
	b := newBed(t, p, p)
	b.crowd("vrrp_priority -20") // as a site sets it that has both on one machine
	done := check(t, checks)
	time.Sleep(2 * time.Second) // their start is over
	b.forget()
	var from [2]cost
	for i, n := range b.nodes {
		from[i] = n.cost()
	}
	time.Sleep(benchTime)
	for i, n := range b.nodes {
		nodes[i] = n.cost()
		nodes[i].cpu -= from[i].cpu
		nodes[i].sent -= from[i].sent
		nodes[i].received -= from[i].received
	}
	_, longest = b.counted()
	t.Logf("%s: beside %s checks, master %+v, backup %+v", p, done(), nodes[0], nodes[1])
	return nodes, longest
}

// cost reads it from the kernel and from the statistics.
func (n *node) cost() cost {
	n.t.Helper()
	pid := n.child()
	c := cost{cpu: n.cpu()}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	testnet.Must(n.t, err)
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			_, err := fmt.Sscan(rest, &c.resident)
			testnet.Must(n.t, err)
		}
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			_, err := fmt.Sscan(rest, &c.private)
			testnet.Must(n.t, err)
		}
	}
	_ = os.Remove(n.path("keepalived.stats"))
	n.signal(syscall.SIGUSR2)
	var text string
	testnet.Eventually(n.t, limit, func() error {
		b, err := os.ReadFile(n.path("keepalived.stats"))
		if text = string(b); err == nil && strings.Count(text, "Priority Zero") < benchInstances {
			err = fmt.Errorf("incomplete")
		}
		return err
	})
	// Of "Priority Zero" too, which are none.
	for line := range strings.Lines(text) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), ": ")
		x, _ := strconv.Atoi(v)
		switch k {
		case "Sent":
			c.sent += x
		case "Received":
			c.received += x
		case "Became master":
			c.switches += x
		}
	}
	return c
}

// TestBench measures what an advert costs beside the original's, and how many are
// missed beside many checks. It is for make bench.
func TestBench(t *testing.T) {
	if os.Getenv("LVS_BENCH") == "" {
		return // numbers of one host
	}
	beds, used := crowds(t)
	t.Logf("%d instances, adverts every %s s, %d windows of %v, all at the same time", benchInstances, benchInterval, benchWindows, benchWindow)
	compare := func(role string, mine, theirs *node) {
		var ratios []float64
		for i, u := range used[mine] {
			ratios = append(ratios, u.per()/used[theirs][i].per())
		}
		slices.Sort(ratios)
		median := ratios[len(ratios)/2]
		m, o := mine.cost(), theirs.cost()
		t.Logf("%s: CPU per advert %.1f us, original %.1f us, ratio %.2f (%.2f to %.2f); resident %d KiB (private %d), original %d KiB (private %d), ratio %.2f; adverts %d, original %d",
			role, used[mine][0].per(), used[theirs][0].per(), median, ratios[0], ratios[len(ratios)-1], m.resident, m.private, o.resident, o.private,
			float64(m.resident)/float64(o.resident), m.sent+m.received, o.sent+o.received)
		if median > 1.5 {
			t.Errorf("%s: CPU per advert %.2f times the original's, at most 1.5 is promised", role, median)
		}
		if m.resident > 3*o.resident {
			t.Errorf("%s: %d KiB resident, original %d, at most 3 times that is promised", role, m.resident, o.resident)
		}
		if role != "master" && m.switches > o.switches {
			t.Errorf("%s took over %d times, original %d", role, m.switches, o.switches)
		}
	}
	compare("master", beds[ours].nodes[0], beds[c].nodes[0])
	compare("backup of the original", beds[c].nodes[2], beds[c].nodes[1])
	compare("backup of ours", beds[ours].nodes[2], beds[ours].nodes[1])
	for _, b := range beds {
		for _, n := range b.nodes {
			n.stop()
		}
	}
	for _, p := range []program{c, ours} {
		nodes, longest := beside(t, p, benchChecks)
		// The two statistics are not of one moment: what is under way is no loss.
		lost := max(0, nodes[0].sent-nodes[1].received-benchInstances)
		t.Logf("%s beside %d checks: %d adverts of %d due sent, %d not received, longest pause %v, take-overs %d", p, benchChecks,
			nodes[0].sent, benchInstances*int(benchTime/(100*time.Millisecond)), lost, longest, nodes[1].switches)
		if p == ours && (lost > 0 || nodes[1].switches > 0) {
			t.Errorf("%d adverts missed, %d take-overs beside %d checks", lost, nodes[1].switches, benchChecks)
		}
	}
}

// benchChecks TCP checks, each every benchDelay.
const (
	benchChecks = 20000
	benchDelay  = 6 * time.Second
)

// checksEnv makes the test binary a process of that many checks.
const checksEnv = "LVS_BENCH_CHECKS"

// check has a process of its own, in a namespace of its own, check servers of its
// own; the function that it returns ends it and tells how many checks it has made.
func check(t *testing.T, n int) func() string {
	ns := testnet.New(t, fmt.Sprintf("vrchecks%d", beds.Add(1)))
	testnet.Must(t, ns.Up("lo"))
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", checksEnv, n))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	testnet.Must(t, err)
	out, err := cmd.StdoutPipe()
	testnet.Must(t, err)
	testnet.Must(t, ns.Start(cmd))
	lines := bufio.NewReader(out)
	end := sync.OnceValue(func() string {
		in.Close()
		text, _ := lines.ReadString('\n')
		_ = cmd.Wait()
		return strings.TrimSpace(text)
	})
	t.Cleanup(func() { end() })
	return end
}

// runChecks checks addresses of this host until standard input ends.
func runChecks(n int) error {
	l, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	e, err := healthcheck.New(healthcheck.Options{Reset: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx, func([]healthcheck.Event) {}) }()
	targets := make([]*healthcheck.Target, n)
	port := uint16(l.Addr().(*net.TCPAddr).Port)
	for i := range targets {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1, byte(i >> 8), byte(i)}), port)
		targets[i] = &healthcheck.Target{Service: "checked", Server: addr.String(), Spec: healthcheck.Spec{
			Kind: healthcheck.TCPCheck, Conn: healthcheck.Conn{Addr: addr},
			Timing: healthcheck.Timing{DelayLoop: benchDelay, ConnectTimeout: 5 * time.Second, Warmup: benchDelay},
		}}
	}
	if _, err := e.Set(targets); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	st := e.Stats()
	fmt.Printf("%d (%d failed, %d postponed)\n", st.Runs, st.Failures, st.Postponed)
	cancel()
	return errors.Join(<-done, e.Close(), l.Close())
}
