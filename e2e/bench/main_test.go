// SPDX-License-Identifier: Apache-2.0

// Package bench counts what a packet costs: instructions from the sender's system
// call to the sink behind the director, in guests in which a nanosecond is an
// instruction. Docs/scaling.md says how to read the numbers, `make bench` prints
// them, and the tests hold them to table.tsv and to the promises of budget_test.go.
package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/lvs-fnat/lvs/internal/testvm"
)

func TestMain(m *testing.M) { testvm.Main(m) }

// floodProgram is where guests find the sender.
const floodProgram = "/flood"

// TestGuestsTable measures on every kernel and compares with the committed table.
// UPDATE=1 writes the table instead, LVS_BENCH=1 prints it.
func TestGuestsTable(t *testing.T) {
	t.Parallel()
	flood, outs := buildFlood(t), map[string]*bytes.Buffer{}
	t.Cleanup(func() { judge(t, outs) }) // when all guests have ended
	for _, kernel := range testvm.Kernels() {
		out := new(bytes.Buffer)
		outs[kernel] = out
		t.Run(kernel, func(t *testing.T) {
			t.Parallel()
			c := countConfig(kernel, flood)
			c.Run, c.Output = "^TestCount", out
			testvm.Run(t, c)
		})
	}
}

// judge compares what the guests have printed with the committed table.
func judge(t *testing.T, outs map[string]*bytes.Buffer) {
	got := table{}
	for kernel, out := range outs {
		if err := got.collect(kernel, out); err != nil {
			t.Error(err)
		}
	}
	if os.Getenv("LVS_BENCH") != "" {
		fmt.Print(got.text(testvm.Kernels()))
	}
	if t.Failed() {
		return
	}
	for _, complaint := range got.overBudget() {
		t.Error(complaint)
	}
	want, err := load(tableFile)
	if os.Getenv("UPDATE") != "" {
		got.keep(want)
		if err := got.save(tableFile); err != nil {
			t.Error(err)
		}
		return
	}
	if err != nil {
		t.Error(err)
		return
	}
	for _, complaint := range got.against(want) {
		t.Error(complaint)
	}
}

// buildFlood compiles the sender and returns its path.
func buildFlood(t *testing.T) string {
	t.Helper()
	flood := filepath.Join(t.TempDir(), "flood")
	if out, err := exec.CommandContext(t.Context(), "gcc", "-O2", "-Wall", "-Werror", "-static", "-o", flood, "flood.c").CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v; is it there? run: make deps\n%s", err, out)
	}
	return flood
}

// countConfig is a guest in which counting is possible.
func countConfig(kernel, flood string) testvm.Config {
	return testvm.Config{
		Kernel: kernel, Module: testvm.Ours, Bare: true,
		Files: map[string]string{floodProgram: flood}, Load: []string{"veth", "dummy", "nf_conntrack", "nf_defrag_ipv6"},
	}
}

// resultMark begins a line of results among what guest tests print.
const resultMark = "bench\t"

// report prints one number for the host.
func report(what string, value float64, unit string) {
	fmt.Printf("\n%s%s\t%.0f\t%s\n", resultMark, what, value, unit)
}

// collect adds what a guest reported; one that ran and reported nothing is an error.
func (tab table) collect(kernel string, out *bytes.Buffer) error {
	before, ran := len(tab), out.Len() > 0
	for s := bufio.NewScanner(out); s.Scan(); {
		line, ok := strings.CutPrefix(s.Text(), resultMark)
		if !ok {
			continue
		}
		f := strings.Split(line, "\t")
		if len(f) != 3 {
			return fmt.Errorf("guest %s: result %q has %d columns, want 3", kernel, line, len(f))
		}
		n, err := strconv.Atoi(f[1])
		if err != nil {
			return fmt.Errorf("guest %s: result %q: %w", kernel, line, err)
		}
		tab[row{kernel, f[0]}] = number{n, f[2]}
	}
	if ran && len(tab) == before {
		return fmt.Errorf("guest %s: no results in its output", kernel)
	}
	return nil
}
