// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"io"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testpkt"
	"github.com/lvs-fnat/lvs/internal/testvm"
	"github.com/lvs-fnat/lvs/ipvs/uapi"
)

// unfit are cases that need what that kernel has not: its clock ticks 100 times a
// second and rounds long timers up by more than they allow, a jump over idle time can
// pass a packet that is on its way, and while it works its time is the host's, in which
// no rate can be told to a few per cent; it knows neither several ways to a network nor
// any by source. The other kernels run them.
const unfit = "^Test(FNAT|ICMP|Lifecycle|Unload|Flood|Limit|SynproxyEarly)$/^(equal_ways|07_port_exhaustion|timeouts|32_service_deleted|65_rst_is_rate_limited|66_cps|bps_)"

// plant is the module that makes them.
const plant = "ip_vs_x_plant"

// planted are the bugs that kmod/sanitize/ip_vs_x_plant.c makes, and the words by
// which that kernel tells of them.
var planted = map[string]string{
	"use_after_free":   "KASAN: use-after-free",
	"out_of_bounds":    "KASAN: slab-out-of-bounds",
	"leak":             "Objects remaining in ip_vs_x_plant",
	"lost":             "unreferenced object",
	"lock_inversion":   "possible circular locking dependency",
	"sleep_in_atomic":  "sleeping function called from invalid context",
	"mutex_in_rcu":     "sleeping function called from invalid context",
	"rcu_unlocked":     "suspicious RCU usage",
	"live_timer_freed": "ODEBUG: free active",
	"shift":            "UBSAN: shift-out-of-bounds",
	"none":             "",
}

// sanitizeRun matches the tests of the module but those that need kprobes or two
// processors, or last for hours there.
const sanitizeRun = "^Test(FNAT|ICMP|TOA$|Tools|Errors|Lifecycle|LRO|Synproxy|Flood|Limit|List|Forecast|Watch|Sync|Traps|Counters|ProxyWith|NoMemory|Unload)"

// TestGuestsSanitize runs acceptance cases on the sanitised user-mode kernel if
// LVS_SANITIZE says so (`make sanitize`), and shows that it would find a bug.
func TestGuestsSanitize(t *testing.T) {
	config := testvm.Config{Kernel: testvm.SanitizedKernel, Mode: testvm.Sanitized, Module: testvm.Ours, Load: []string{}, Run: sanitizeRun}
	if os.Getenv("LVS_SANITIZE") == "" {
		t.Log("make sanitize runs it")
		testvm.Elsewhere(t, config)
		return
	}
	self, err := testvm.StaticSelf(t.Context(), "github.com/lvs-fnat/lvs/internal/testvm/bare", t.TempDir())
	testnet.Must(t, err)
	for kind, words := range planted {
		t.Run("planted_"+kind, func(t *testing.T) {
			_, err := testvm.Exec(t.Context(), self, config, []string{"/sbin/modprobe", plant, "kind=" + kind}, io.Discard)
			if words == "" && err != nil {
				t.Errorf("no bug was made, yet: %v", err)
			}
			if words != "" && (err == nil || !strings.Contains(err.Error(), words)) {
				t.Errorf("want %q, got: %v", words, err)
			}
		})
	}
	config.Programs, config.Args = true, []string{"-test.skip=" + unfit}
	config.Load, config.Files = []string{"ip_vs", "nf_tables"}, ipvsadmFiles(t, "ours")
	config.Modules, config.Timeout = []string{"xt_ipvs", plant}, 24*time.Hour
	maps.Copy(config.Files, guidePages)
	testvm.Run(t, config)
}

// TestLRO: a packet that a device has merged by LRO cannot be sent as it is, and is
// dropped and counted, both ways.
func TestLRO(t *testing.T) {
	each(t, "lro", func(t *testing.T, r *rig) {
		key := r.serve(t, setup{})
		f := r.open(t, 0, 4000)
		traced := tracedDrops(t)
		testnet.Must(t, r.d.Do(func() error { return testvm.Modprobe(plant, "kind=lro") }))
		defer func() { testnet.Must(t, testvm.Rmmod(plant, 10*time.Second)) }()
		for i, send := range []func(testpkt.Packet){
			func(p testpkt.Packet) { r.front.Send(t, p) },
			func(p testpkt.Packet) { r.back.Send(t, p) },
		} {
			p := []*testpkt.Peer{f.c, f.s}[i].Segment(testpkt.ACK, strings.Repeat("m", 20000))
			p.Sum, p.GSO = testpkt.SumPartial, 1380
			send(p)
			r.front.Quiet(t)
			r.back.Quiet(t)
			if n := r.ofService(t, key, uapi.ExtStatLroDrop); n != uint64(i+1) {
				t.Errorf("%d packets are counted, want %d", n, i+1)
			}
		}
		all, err := r.x.ExtStats(t.Context())
		testnet.Must(t, err)
		sameDrops(t, all, traced())
	})
}
