// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"testing"

	"github.com/lvs-fnat/lvs/internal/testvm"
)

func TestMain(m *testing.M) {
	testvm.Guest(nil)
	if testvm.InGuest() {
		os.Exit(inGuest())
	}
	os.Exit(m.Run())
}

// TestDemo plays the demo on each kernel; what it measures is its verdict.
func TestDemo(t *testing.T) {
	root, err := testvm.Root()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", bin, "./keepalived", "./ipvsadm")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build.Args, err, out)
	}
	for _, kernel := range testvm.Kernels() {
		t.Run(kernel, func(t *testing.T) {
			t.Parallel()
			if err := run(t.Context(), options{kernel: kernel, bin: bin}, t.Output()); err != nil {
				t.Error(err)
			}
		})
	}
}
