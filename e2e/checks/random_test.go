// SPDX-License-Identifier: Apache-2.0

package checks

import (
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/lvs-fnat/lvs/internal/testconf"
	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testvm"
)

// TestServersRandom starts keepalived 2.2.7 and ours with random configurations, and has
// them reload others: the kernel's table is the same after each.
//
// LVS_RANDOM is how many, LVS_SEED the first seed.
func TestServersRandom(t *testing.T) {
	for _, module := range strings.Fields("ip_vs ip_vs_rr ip_vs_wrr ip_vs_lc ip_vs_wlc ip_vs_lblc ip_vs_lblcr ip_vs_sh ip_vs_mh ip_vs_dh ip_vs_fo ip_vs_ovf ip_vs_sed ip_vs_nq ip_vs_pe_sip") {
		testnet.Must(t, testvm.Modprobe(module))
	}
	first, count := testconf.Seeds(t, 3)
	for i := range count {
		var seen [2][2]string
		var files [2]testconf.Config
		for k := range files {
			files[k] = testconf.Random(first+2*i+uint64(k), testconf.Rates{Values: 0.01 * float64(i%2), Settled: true})
		}
		for k, path := range []string{stock, ours} {
			p := runProgram(t, path, files[0]["main"])
			p.cpu() // until it is idle
			seen[k][0] = wholeTable(t)
			p.reload(files[1]["main"])
			p.cpu()
			seen[k][1] = wholeTable(t)
			testnet.Must(t, p.cmd.Process.Signal(syscall.SIGTERM))
			testnet.Must(t, p.cmd.Wait())
			testnet.Must(t, exec.CommandContext(t.Context(), "/sbin/ipvsadm.stock", "-C").Run())
		}
		for k := range files {
			if d := gocmp.Diff(seen[0][k], seen[1][k]); d != "" {
				t.Errorf("seed %d, state %d: -original +ours:\n%s\n%s", first+2*i+uint64(k), k, d, files[k])
			}
		}
	}
}

// wholeTable is what the distribution's ipvsadm saves, in order. Port 0 of a real server
// is that of its service, which ours writes out.
func wholeTable(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "/sbin/ipvsadm.stock", "-Sn").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	same := regexp.MustCompile(`^(-a -[tu] \S+:)(\d+)( -r \S+:)0 `)
	for i := range lines {
		lines[i] = same.ReplaceAllString(lines[i], "$1$2$3$2 ")
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
