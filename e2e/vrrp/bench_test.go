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
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

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
	switches int           // became master more than once for each instance
	longest  time.Duration // between two adverts of an instance on the wire
}

// benchInstances and benchInterval are the most there is on one link, at a
// rate that is common.
const (
	benchInstances = 255
	benchInterval  = "0.1"
	benchTime      = 20 * time.Second
)

// measure runs a pair with all virtual routers of one link; node 0 is master of all.
// With checks, that many health checks run beside them.
func measure(t *testing.T, p program, checks int) [2]cost {
	b := newBed(t, p, p)
	conf := func(prio int) string {
		out := ""
		for id := 1; id <= benchInstances; id++ {
			out += vi{name: fmt.Sprintf("V%d", id), id: id, prio: prio, version: 3, interval: benchInterval,
				vips: []string{fmt.Sprintf("10.50.0.%d", id)}, more: "garp_master_delay 0\n garp_master_repeat 1"}.conf()
		}
		if checks > 0 { // as a site sets it that has both on one machine
			out = "global_defs {\n vrrp_priority -20\n}\n" + out
		}
		return out
	}
	began := time.Now()
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
	b.nodes[1].start(conf(100))
	b.nodes[1].until("Entering BACKUP STATE (init)", benchInstances)
	done := func() string { return "no" }
	if checks > 0 {
		done = check(t, checks)
	}
	time.Sleep(2 * time.Second) // the start is over
	b.forget()
	var from, to [2]cost
	for i, n := range b.nodes {
		from[i] = n.cost()
	}
	time.Sleep(benchTime)
	for i, n := range b.nodes {
		to[i] = n.cost()
		to[i].cpu -= from[i].cpu
		to[i].sent -= from[i].sent
		to[i].received -= from[i].received
	}
	b.mu.Lock()
	for _, c := range b.tally {
		to[0].longest = max(to[0].longest, c.longest)
	}
	b.mu.Unlock()
	t.Logf("%s: %v in all, beside %s checks, master %+v, backup %+v", p, time.Since(began), done(), to[0], to[1])
	return to
}

// cost reads it from the kernel and from the statistics.
func (n *node) cost() cost {
	n.t.Helper()
	pid := n.child()
	var c cost
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	testnet.Must(n.t, err)
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	for _, f := range fields[11:13] {
		ticks, err := strconv.Atoi(f)
		testnet.Must(n.t, err)
		c.cpu += time.Duration(ticks) * time.Second / 100 // USER_HZ
	}
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

// TestBench prints what an advert costs, beside the original's. It is for make bench.
func TestBench(t *testing.T) {
	if os.Getenv("LVS_BENCH") == "" {
		return // numbers, not a verdict
	}
	per := func(c cost) float64 { return float64(c.cpu.Microseconds()) / float64(max(1, c.sent+c.received)) }
	theirs := measure(t, c, 0)
	mine := measure(t, ours, 0)
	t.Logf("%d instances, adverts every %s s, %v", benchInstances, benchInterval, benchTime)
	for i, role := range []string{"master", "backup"} {
		t.Logf("%s: CPU per advert %.1f us, original %.1f us, ratio %.2f; resident %d KiB (private %d), original %d KiB (private %d), ratio %.2f; adverts %d, original %d; take-overs %d, original %d",
			role, per(mine[i]), per(theirs[i]), per(mine[i])/per(theirs[i]), mine[i].resident, mine[i].private, theirs[i].resident, theirs[i].private,
			float64(mine[i].resident)/float64(theirs[i].resident), mine[i].sent+mine[i].received, theirs[i].sent+theirs[i].received,
			mine[i].switches, theirs[i].switches)
	}
	if mine[1].switches > theirs[1].switches {
		t.Errorf("the backup took over %d times", mine[1].switches)
	}
	for _, p := range []program{c, ours} {
		beside := measure(t, p, benchChecks)
		// The two statistics are not of one moment: what is under way is no loss.
		lost := max(0, beside[0].sent-beside[1].received-benchInstances)
		t.Logf("%s beside %d checks: %d adverts of %d due sent, %d not received, longest pause %v, take-overs %d", p, benchChecks,
			beside[0].sent, benchInstances*int(benchTime/(100*time.Millisecond)), lost, beside[0].longest, beside[1].switches)
		if p == ours && (lost > 0 || beside[1].switches > 0) {
			t.Errorf("%d adverts missed, %d take-overs beside %d checks", lost, beside[1].switches, benchChecks)
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
	targets := make([]healthcheck.Target, n)
	port := uint16(l.Addr().(*net.TCPAddr).Port)
	for i := range targets {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1, byte(i >> 8), byte(i)}), port)
		targets[i] = healthcheck.Target{Service: "checked", Server: addr.String(), Spec: healthcheck.Spec{
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
