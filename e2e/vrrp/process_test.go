// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/internal/testnet"
)

// idle runs a program that ends with its input, which is when the function it returns
// is called.
func idle(t *testing.T, program string) (end func()) {
	t.Helper()
	cmd := exec.Command(program)
	in, err := cmd.StdinPipe()
	testnet.Must(t, err, cmd.Start())
	end = sync.OnceFunc(func() {
		in.Close()
		_ = cmd.Wait()
	})
	t.Cleanup(end)
	return end
}

// TestTrackProcess: a program that is not there is a fault, or with a weight costs its
// priority; both end when it is started, and too many of it count as none.
func TestTrackProcess(t *testing.T) {
	for name, weight := range map[string]string{"fault": "", "weight": "weight -60\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, ours, ours)
			// The process table of the host is shared: nobody else has one of this name.
			who := fmt.Sprintf("vrtrack%d", beds.Add(1))
			program := b.nodes[0].path(who)
			cat, err := os.ReadFile("/bin/cat")
			testnet.Must(t, err, os.WriteFile(program, cat, 0o755))
			began := time.Now()
			b.nodes[1].start(vi{prio: 100}.conf())
			b.nodes[0].start(vi{prio: 150, outside: "vrrp_track_process p {\n process " + program + "\n quorum_max 1\n " + weight + "}",
				more: "track_process {\n p\n }"}.conf())
			turn := func(what string, node int, at time.Time) {
				t.Helper()
				b.await(what, func(f []frame) bool { return masterSince(f, node, at) })
				b.holds(vip, node)
			}
			turn("without the program", 1, began)
			at := time.Now()
			first := idle(t, program)
			turn("with it", 0, at)
			at = time.Now()
			second := idle(t, program)
			turn("with two of it", 1, at)
			at = time.Now()
			second()
			turn("with one again", 0, at)
			at = time.Now()
			first()
			turn("without it again", 1, at)
		})
	}
}
