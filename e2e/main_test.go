// SPDX-License-Identifier: Apache-2.0

// Package e2e tests the whole system in guests: real kernels, real modules, real
// commands. See package testvm for how, and `make test` for all of it.
package e2e

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/lvs-fnat/lvs/internal/testvm"
)

func TestMain(m *testing.M) { testvm.Main(m) }

// TestGuestsStock runs the tests named TestStock… and those of our ipvsadm on the
// distribution's own ip_vs: they prove the lab, and what we must not change.
func TestGuestsStock(t *testing.T) {
	t.Parallel()
	files := ipvsadmFiles(t, "stock")
	for _, kernel := range testvm.Kernels() {
		t.Run(kernel, func(t *testing.T) {
			t.Parallel()
			testvm.Run(t, testvm.Config{Kernel: kernel, Run: "^Test(Stock|Ipvsadm(Agrees|Scripts))", Programs: true, Files: files})
		})
	}
}

// TestGuestsOurs runs the acceptance cases of docs/acceptance.md on our ip_vs, in
// one guest per kernel.
func TestGuestsOurs(t *testing.T) {
	t.Parallel()
	files := ipvsadmFiles(t, "ours")
	for _, kernel := range testvm.Kernels() {
		t.Run(kernel, func(t *testing.T) {
			t.Parallel()
			testvm.Run(t, testvm.Config{
				Kernel: kernel, Module: testvm.Ours, Programs: true, Run: acceptance,
				Modules: acceptanceModules, Load: []string{"ip_vs", "nf_tables"}, Files: files,
			})
		})
	}
}

// TestGuestsSynproxy runs the cases of SYN proxy, in a guest of their own: its
// clock leaps ahead, and its floods would be in the others' logs.
func TestGuestsSynproxy(t *testing.T) {
	t.Parallel()
	for _, kernel := range testvm.Kernels() {
		t.Run(kernel, func(t *testing.T) {
			t.Parallel()
			testvm.Run(t, testvm.Config{Kernel: kernel, Module: testvm.Ours, Programs: true, Run: synproxyRun})
		})
	}
}

// TestGuestsSynflood runs the flood, whose sender is that of the measurements. Nobody
// watches memory packet by packet: it would take hours.
func TestGuestsSynflood(t *testing.T) {
	t.Parallel()
	flood := filepath.Join(t.TempDir(), "flood")
	if out, err := exec.CommandContext(t.Context(), "gcc", "-O2", "-Wall", "-Werror", "-static", "-o", flood, "bench/flood.c").CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v; is it there? run: make deps\n%s", err, out)
	}
	for _, kernel := range testvm.Kernels() {
		t.Run(kernel, func(t *testing.T) {
			t.Parallel()
			testvm.Run(t, testvm.Config{
				Kernel: kernel, Module: testvm.Ours, Bare: true, Run: "^TestSynflood", Files: map[string]string{floodProgram: flood},
			})
		})
	}
}

// floodProgram is where the guest finds it.
const floodProgram = "/flood"

// TestGuestsRace runs the tests that look for races, on two processors.
func TestGuestsRace(t *testing.T) {
	t.Parallel()
	for _, kernel := range testvm.Kernels() {
		t.Run(kernel, func(t *testing.T) {
			t.Parallel()
			testvm.Run(t, testvm.Config{
				Kernel: kernel, Mode: testvm.SMP, Module: testvm.Ours, Programs: true, Run: "^Test(Race|Unload)",
				Load: []string{"ip_vs", "nf_tables"},
			})
		})
	}
}

// acceptance matches the tests that hold acceptance cases.
const acceptance = "^Test(StockPrograms|FNAT|ICMP|TOA|Tools|Errors|Ipvsadm|Lifecycle|Unload)"

// synproxyRun matches the tests of SYN proxy.
const synproxyRun = "^TestSynproxy"

// acceptanceModules are at hand in the guests of TestGuestsOurs.
var acceptanceModules = []string{"xt_ipvs", "ip_tables", "ip6_tables", "iptable_filter", "nft_compat"}
