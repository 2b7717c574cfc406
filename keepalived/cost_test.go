// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// virtualServers is a file of n virtual servers with two real servers and
// their checks, 0.6 KB each.
func virtualServers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "virtual_server 10.%d.%d.%d 80 {\n    delay_loop 7\n    lb_algo wrr\n    lb_kind NAT\n    protocol TCP\n    alpha\n    quorum 1\n", i>>16, i>>8&255, i&255)
		for r := range 2 {
			fmt.Fprintf(&b, "    real_server 172.16.%d.%d 8080 {\n        weight 100\n        inhibit_on_failure\n        TCP_CHECK {\n            connect_timeout 3\n            retry 2\n            delay_before_retry 1\n            connect_port 8080\n        }\n    }\n", i>>8&255, r+1)
		}
		b.WriteString("}\n")
	}
	return b.String()
}

// cost is what a command takes, of three runs: the least time, the most memory.
type cost struct {
	cpu    time.Duration
	memory int64 // KiB at the peak
}

func measure(t *testing.T, command ...string) cost {
	t.Helper()
	var least cost
	for range 3 {
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
