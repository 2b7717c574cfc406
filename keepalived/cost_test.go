// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"log/slog"
	"os"
	"runtime"
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

// reloadCost gives the CPU time and the bytes allocated of taking over a
// configuration of n virtual servers once more, with one weight changed:
// reading, comparing, and all that is told to the checks and to the kernel.
func reloadCost(t *testing.T, n int) (time.Duration, uint64) {
	t.Helper()
	ctx := t.Context()
	text := virtualServers(n)
	var former config.Former
	load := func(text string) *config.Config {
		cfg, diags, err := config.Parse(ctx, "k.conf", text, config.Options{Former: &former})
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
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	begin := cpuTime(t)
	next, _ := dir.Reload(load(text))
	if status, err = checks.Set(next.Targets()); err != nil {
		t.Fatal(err)
	}
	next.Observe(status)
	if err := mirror.Reload(ctx, next.Tables()); err != nil {
		t.Fatal(err)
	}
	took := cpuTime(t) - begin
	runtime.ReadMemStats(&after)
	if done := table.Lines(); len(done) != 1 {
		t.Fatalf("%d operations", len(done))
	}
	return took, after.TotalAlloc - before.TotalAlloc
}

// TestCostOfMemory holds what the process of the checkers keeps of a configuration:
// itself, what a reload is compared with, checks, tables and the state of servers.
func TestCostOfMemory(t *testing.T) {
	heap := func() uint64 {
		runtime.GC()
		runtime.GC() // what the first has found to be without use is gone after the second
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	const n = 2000
	before := heap()
	var former config.Former
	cfg, diags, err := config.Parse(t.Context(), "k.conf", virtualServers(n), config.Options{Former: &former})
	if err != nil || len(diags) > 0 {
		t.Fatal(err, diags)
	}
	dir := director.New(cfg)
	checks, err := healthcheck.New(healthcheck.Options{Log: slog.New(slog.DiscardHandler), Shards: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer checks.Close()
	status, err := checks.Set(dir.Targets())
	if err != nil {
		t.Fatal(err)
	}
	dir.Observe(status)
	mirror := director.NewMirror(sink{ipvstest.NewStock()})
	if err := mirror.Sync(t.Context(), dir.Tables()); err != nil {
		t.Fatal(err)
	}
	kept := (heap() - before) / (2 * n)
	t.Logf("%d bytes for each of %d checked servers, two to a virtual server", kept, 2*n)
	if kept > keptLimit {
		t.Errorf("%d bytes for each of %d checked servers, want at most %d", kept, 2*n, keptLimit)
	}
	runtime.KeepAlive(&former)
	runtime.KeepAlive(dir)
	runtime.KeepAlive(mirror)
}

// keptLimit is in bytes, for each checked server with half its virtual server. 20,000 of
// them are 26 MB then.
const keptLimit = 1300

func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestCostOfReload: a reload costs in proportion to its size. What is asserted
// is memory, which no other load on the machine changes. LVS_BENCH=1 measures
// the large sizes.
func TestCostOfReload(t *testing.T) {
	sizes := []int{500, 2000}
	if os.Getenv("LVS_BENCH") != "" {
		sizes = []int{1000, 5000, 10_000, 40_000}
	}
	var costs []float64 // bytes for each virtual server
	for _, n := range sizes {
		took, bytes := reloadCost(t, n)
		t.Logf("reload of %d virtual servers, one weight changed: %v of CPU time, %d KiB", n, took, bytes>>10)
		costs = append(costs, float64(bytes)/float64(n))
	}
	if first, last := costs[0], costs[len(costs)-1]; last > 1.5*first {
		t.Errorf("%.0f bytes for each virtual server are not in proportion", costs)
	}
}
