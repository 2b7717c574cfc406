// SPDX-License-Identifier: Apache-2.0

package testvm

import (
	"context"
	"fmt"
	"os/exec"
)

// threads says how the processors of an SMP guest run: QEMU's "multi", in parallel,
// or "single", taking turns.
//
// QEMU before 8.1 (seen with 7.2.22 of Debian 12, not with 10.0.2) translates a guest's code without locking its
// page. It misses what another processor writes there meanwhile, and the translation
// of the old bytes stays. A kernel that rewrites a busy function puts a breakpoint
// there for a moment; all processors can then run into that breakpoint for ever,
// though memory has none. Switching the function tracer on and off for a function
// that four processes call all the time is enough.
func threads(ctx context.Context, program string, patches bool) (string, error) {
	if !patches {
		return "multi", nil
	}
	text, err := exec.CommandContext(ctx, program, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", program, err)
	}
	ok, err := locksPages(string(text))
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", program, err)
	}
	if ok {
		return "multi", nil
	}
	return "single", nil
}

// locksPages reports whether the QEMU of this version translates correctly.
func locksPages(version string) (bool, error) {
	var major, minor int
	if _, err := fmt.Sscanf(version, "QEMU emulator version %d.%d", &major, &minor); err != nil {
		return false, fmt.Errorf("%q: %w", version, err)
	}
	return major > 8 || major == 8 && minor >= 1, nil
}
