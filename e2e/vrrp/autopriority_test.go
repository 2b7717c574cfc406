// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lvs-fnat/lvs/internal/testnet"
)

// TestAutoPriority: a process of virtual routers that was kept from running has a higher
// real-time priority each time it runs again, up to that of the file. The original does
// not notice each time.
func TestAutoPriority(t *testing.T) {
	t.Parallel()
	n := newBed(t, ours).nodes[0]
	const highest = 2
	n.start(vi{prio: 150, globalDefs: "max_auto_priority 2\n min_auto_priority_delay 700000"}.conf())
	n.until("Entering MASTER STATE", 1)
	pid := n.child()
	priority := func() uint32 {
		attr, err := unix.SchedGetAttr(pid, 0)
		testnet.Must(t, err)
		if attr.Policy != unix.SCHED_RR && attr.Priority > 0 {
			t.Errorf("policy %d", attr.Policy)
		}
		return attr.Priority
	}
	for i := 1; i <= highest+1; i++ {
		before := n.said("A thread timer expired")
		testnet.Must(t, syscall.Kill(pid, syscall.SIGSTOP))
		stopped := time.Now()
		testnet.Eventually(t, limit, func() error { // an advert is due after a second
			if d := time.Since(stopped); d < 2500*time.Millisecond {
				return fmt.Errorf("stopped for %v only", d)
			}
			return nil
		})
		testnet.Must(t, syscall.Kill(pid, syscall.SIGCONT))
		n.until("A thread timer expired", before+1)
		if i <= highest {
			n.until("Set realtime priority", i)
		}
	}
	if p := priority(); p != highest {
		t.Errorf("priority %d, want %d", p, highest)
	}
	if k := n.said("Set realtime priority"); k != highest {
		t.Errorf("it was raised %d times, want %d", k, highest)
	}
}
