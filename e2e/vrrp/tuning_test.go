// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/lvs-fnat/lvs/internal/testnet"
)

// TestTuning: the VRRP process has the priorities, the processors, the locked memory and
// the name that the file gives it, as the original's has, and each thread of it.
func TestTuning(t *testing.T) {
	for name, words := range map[string]string{
		"nice":      "vrrp_priority -5\n vrrp_cpu_affinity 0",
		"real time": "vrrp_rt_priority 3\n vrrp_no_swap",
		"name":      "vrrp_process_name router",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seen := make(chan struct {
				program
				text string
			}, 2)
			t.Run("nodes", func(t *testing.T) {
				each(t, func(t *testing.T, b *bed, n *node) {
					began := time.Now()
					n.start(vi{prio: 150, globalDefs: words}.conf())
					b.await("node 0 is master", func(f []frame) bool { return masterSince(f, 0, began) })
					seen <- struct {
						program
						text string
					}{n.program, n.tuned()}
				})
			})
			close(seen)
			all := map[program]string{}
			for s := range seen {
				all[s.program] = s.text
			}
			t.Log(all[c])
			if d := cmp.Diff(all[c], all[ours]); d != "" {
				t.Errorf("-original +ours:\n%s", d)
			}
		})
	}
}

var locked = regexp.MustCompile(`VmLck:\s+(\d+)`)

// tuned tells how the kernel runs the VRRP process: what is different among its threads.
func (n *node) tuned() string {
	n.t.Helper()
	pid := n.child()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	testnet.Must(n.t, err)
	var ways []string
	for _, task := range tasks {
		tid, err := strconv.Atoi(filepath.Base(task))
		testnet.Must(n.t, err)
		var cpus unix.CPUSet
		attr, err := unix.SchedGetAttr(tid, 0)
		if err != nil || unix.SchedGetaffinity(tid, &cpus) != nil {
			continue // the thread has ended
		}
		ways = append(ways, fmt.Sprintf("policy %d priority %d nice %d processors %d", attr.Policy, attr.Priority, attr.Nice, cpus.Count()))
	}
	slices.Sort(ways)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	testnet.Must(n.t, err)
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	testnet.Must(n.t, err)
	called := map[bool]string{true: "router", false: "otherwise"}[strings.TrimSpace(string(name)) == "router"]
	m := locked.FindSubmatch(status)
	return fmt.Sprintf("%v locked %t called %s", slices.Compact(ways), m != nil && string(m[1]) != "0", called)
}
