// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

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
	benchTime      = 20 * time.Second
)

// measure runs a pair with all virtual routers of one link; node 0 is master of all.
func measure(t *testing.T, p program) [2]cost {
	b := newBed(t, p, p)
	conf := func(prio int) string {
		out := ""
		for id := 1; id <= benchInstances; id++ {
			out += vi{name: fmt.Sprintf("V%d", id), id: id, prio: prio, version: 3, interval: benchInterval,
				vips: []string{fmt.Sprintf("10.50.0.%d", id)}, more: "garp_master_delay 0\n garp_master_repeat 1"}.conf()
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
	b.forget()
	time.Sleep(2 * time.Second) // the start is over
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
	t.Logf("%s: %v in all, master %+v, backup %+v", p, time.Since(began), to[0], to[1])
	return to
}

// forget empties the record, which would grow by thousands a second.
func (l *lan) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen, l.deaf = nil, true
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
	theirs := measure(t, c)
	mine := measure(t, ours)
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
}
