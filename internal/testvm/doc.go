// SPDX-License-Identifier: Apache-2.0

// Package testvm boots Debian kernels in QEMU and runs Go tests in them.
//
// The test binary of the calling package is the guest's init. A package that
// wants guests has three things:
//
//	func TestMain(m *testing.M) { testvm.Main(m) }
//
//	// TestGuests… runs on the host and boots a guest per kernel.
//	func TestGuests(t *testing.T) {
//		for _, kernel := range testvm.Kernels() {
//			t.Run(kernel, func(t *testing.T) {
//				t.Parallel()
//				testvm.Run(t, testvm.Config{Kernel: kernel, Module: testvm.Ours})
//			})
//		}
//	}
//
//	// Everything else runs in a guest only.
//	func TestFNAT(t *testing.T) { … }
//
// In such a package only tests named TestGuests… and TestHost… run on the host;
// the others run in guests and are reported as TestGuests/6.1/TestFNAT, subtests
// included. `go test -run FNAT` boots and runs only what matches FNAT, as does
// `go test -run TestGuests/6.12/FNAT`. A run of all tests fails when it leaves one
// out, on the host and in guests. Parallel tests wait for a place: as many guests run
// as there are processors, in all packages that `make test` runs together.
//
// # What a run proves beyond its tests
//
// A guest fails as a whole, with its log, when it panics, hangs, ends early,
// leaves a test without a result, when the kernel logs anything that looks like a
// bug (charged to the test that ran at that moment), when ip_vs or toa cannot be
// unloaded after the last test, or when the kernel's taint is not what the loaded
// modules explain. slub_debug is on for the caches of ip_vs and of ours; KFENCE
// where the kernel has it.
//
// # Time
//
// In a Counted guest one instruction is one nanosecond and idle time is skipped: a
// run repeats to the byte however busy the host is, and an hour of waiting is
// free. Timeouts given to tests are the guest's. The host only watches that
// output keeps coming.
package testvm
