// SPDX-License-Identifier: Apache-2.0

// Package user_test runs the C tests of the module's pure packet functions, so
// that "go test ./..." counts them.
package user_test

import (
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// runMake compiles into a folder of its own: a run leaves nothing behind, and two
// runs do not meet.
func runMake(t *testing.T, compiler string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(compiler); err != nil {
		t.Fatalf("%s is not installed: run make deps", compiler)
	}
	out := t.TempDir()
	cmd := exec.Command("make", append(args, "OUT="+out)...)
	cmd.Env = append(os.Environ(), "MAKEFLAGS=")
	text, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("make %s: %v\n%s", strings.Join(args, " "), err, text)
	}
	return string(text)
}

func TestTables(t *testing.T) {
	text := runMake(t, "gcc", "check")
	results := regexp.MustCompile(`(?m)^ok (\d+)$`).FindAllStringSubmatch(text, -1)
	if len(results) != 3 {
		t.Fatalf("%d results in the output, want 3:\n%s", len(results), text)
	}
	for i, least := range []int{10000, 100, 5000} {
		if n, err := strconv.Atoi(results[i][1]); err != nil || n < least {
			t.Errorf("%q checks ran, want %d or more (%v)", results[i][1], least, err)
		}
	}
}

func TestFuzz(t *testing.T) {
	seconds := "30"
	if testing.Short() {
		seconds = "4"
	}
	text := runMake(t, "clang", "fuzz", "SECONDS="+seconds)
	runs := regexp.MustCompile(`(?m)^Done (\d+) runs`).FindAllStringSubmatch(text, -1)
	if len(runs) != 5 {
		t.Fatalf("%d fuzzers ran to their end, want 5:\n%s", len(runs), text)
	}
	for _, r := range runs {
		if n, err := strconv.Atoi(r[1]); err != nil || n < 1000 {
			t.Errorf("a fuzzer made only %q runs (%v)", r[1], err)
		}
	}
}
