// SPDX-License-Identifier: Apache-2.0

// Package opt runs the user-space tests of the module's option parser.
package opt

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestOptionParser(t *testing.T) {
	// What the test itself looks at is what makes a cached result stale.
	for _, name := range []string{"opt.c", "../toa_opt.h"} {
		if _, err := os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
	}
	bin := filepath.Join(t.TempDir(), "opt")
	build := exec.Command("cc", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-Wno-missing-field-initializers",
		"-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-o", bin, "opt.c")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build opt.c: %v (needs gcc; run: make deps)\n%s", err, out)
	}
	if out, err := exec.Command(bin).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
