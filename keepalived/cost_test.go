// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/healthcheck"
	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/director"
	"github.com/lvs-fnat/lvs/ipvs/ipvstest"
)

// virtualServers is a file of n virtual servers with two real servers and
// their checks, 0.6 KB each.
func virtualServers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "virtual_server 10.%d.%d.%d 80 {\n    delay_loop 7\n    lb_algo wrr\n    lb_kind NAT\n    protocol TCP\n    quorum 1\n", i>>16, i>>8&255, i&255)
		for r := range 2 {
			fmt.Fprintf(&b, "    real_server 172.16.%d.%d 8080 {\n        weight 100\n        inhibit_on_failure\n        TCP_CHECK {\n            connect_timeout 3\n            retry 2\n            delay_before_retry 1\n            connect_port 8080\n        }\n    }\n", i>>8&255, r+1)
		}
		b.WriteString("}\n")
	}
	return b.String()
}

// cost is what a command takes, of five runs: the least time, the most memory.
type cost struct {
	cpu    time.Duration
	memory int64 // KiB at the peak
}

func measure(t *testing.T, command ...string) cost {
	t.Helper()
	var least cost
	for range 5 {
		cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		peak := make(chan int64)
		done := make(chan struct{})
		go func() { peak <- watchMemory(cmd.Process.Pid, done) }()
		err := cmd.Wait()
		close(done)
		c := cost{cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), <-peak}
		if err != nil {
			t.Fatalf("%v: %v\n%s", command, err, out.Bytes())
		}
		if least.cpu == 0 || c.cpu < least.cpu {
			least.cpu = c.cpu
		}
		least.memory = max(least.memory, c.memory) // who looks late sees less
	}
	return least
}

// watchMemory gives the peak of a process's memory in KiB as it was last seen.
// What the kernel tells of a process that has ended counts its parent's memory,
// which the two shared before exec.
func watchMemory(pid int, done <-chan struct{}) int64 {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	peak := int64(0)
	for {
		select {
		case <-done:
			return peak
		case <-tick.C:
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue
		}
		if m := highWater.FindSubmatch(status); m != nil {
			kib, _ := strconv.ParseInt(string(m[1]), 10, 64)
			peak = max(peak, kib)
		}
	}
}

var highWater = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

// TestCostOfConfigTest holds -t of 10,000 virtual servers to half of the
// original's CPU time and two and a half times its memory.
func TestCostOfConfigTest(t *testing.T) {
	dir := t.TempDir()
	ours := filepath.Join(dir, "keepalived")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", ours, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	file := filepath.Join(dir, "k.conf")
	if err := os.WriteFile(file, []byte(virtualServers(10_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	o := measure(t, append(stockKeepalived(t), "-t", "-f", file)...)
	c := measure(t, ours, "-t", "-f", file)
	cpu, memory := c.cpu.Seconds()/o.cpu.Seconds(), float64(c.memory)/float64(o.memory)
	t.Logf("-t of 10,000 virtual servers: %v and %d KiB, original %v and %d KiB: %.2f of the CPU time, %.2f of the memory",
		c.cpu, c.memory, o.cpu, o.memory, cpu, memory)
	if cpu > 0.5 || memory > 2.5 {
		t.Errorf("%.2f of the original's CPU time and %.2f of its memory, want at most 0.5 and 2.5", cpu, memory)
	}
}

// reloadCost gives the CPU time of taking over a configuration of n virtual
// servers once more, with one weight changed: reading, comparing, and all that
// is told to the checks and to the kernel.
func reloadCost(t *testing.T, n int) time.Duration {
	t.Helper()
	ctx := t.Context()
	text := virtualServers(n)
	load := func(text string) *config.Config {
		cfg, diags, err := config.Parse(ctx, "k.conf", text, config.Options{})
		if err != nil || len(diags) > 0 {
			t.Fatal(err, diags)
		}
		return cfg
	}
	checks, err := healthcheck.New(healthcheck.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer checks.Close()
	table := ipvstest.NewStock()
	mirror := director.NewMirror(table)
	dir := director.New(load(text))
	status, err := checks.Set(dir.Targets())
	if err != nil {
		t.Fatal(err)
	}
	dir.Observe(status)
	if err := mirror.Sync(ctx, dir.Tables()); err != nil {
		t.Fatal(err)
	}
	text = strings.Replace(text, "weight 100", "weight 7", 1)
	table.Forget()
	runtime.GC()
	begin := cpuTime(t)
	next, _ := dir.Reload(load(text))
	if status, err = checks.Set(next.Targets()); err != nil {
		t.Fatal(err)
	}
	next.Observe(status)
	if err := mirror.Sync(ctx, next.Tables()); err != nil {
		t.Fatal(err)
	}
	took := cpuTime(t) - begin
	if done := table.Lines(); len(done) != 1 {
		t.Fatalf("%d operations", len(done))
	}
	return took
}

func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestCostOfReload: a reload costs in proportion to its size. LVS_BENCH=1
// measures the large sizes.
func TestCostOfReload(t *testing.T) {
	sizes := []int{500, 2000}
	if os.Getenv("LVS_BENCH") != "" {
		sizes = []int{1000, 5000, 10_000, 40_000}
	}
	var costs []time.Duration
	for _, n := range sizes {
		least := min(reloadCost(t, n), reloadCost(t, n))
		t.Logf("reload of %d virtual servers, one weight changed: %v of CPU time", n, least)
		costs = append(costs, least)
	}
	first, last := costs[0].Seconds()/float64(sizes[0]), costs[len(costs)-1].Seconds()/float64(sizes[len(sizes)-1])
	if last > 3*first {
		t.Errorf("%v for %v virtual servers is not in proportion", costs, sizes)
	}
}
