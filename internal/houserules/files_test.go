// SPDX-License-Identifier: Apache-2.0

package houserules

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// sources are the endings of files that must say their licence.
var sources = []string{".go", ".c", ".h", ".sh", ".patch"}

func tracked(t *testing.T) []string {
	t.Helper()
	cmd := exec.Command("git", "ls-files", "--cached", "--others", "--exclude-standard")
	cmd.Dir = filepath.Join("..", "..")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	return strings.Fields(string(out))
}

// TestLicenceOfEachFile: GPL-2.0-only below kmod, Apache-2.0 elsewhere; the Go
// command that loads the BPF object runs in user space and is Apache-2.0.
func TestLicenceOfEachFile(t *testing.T) {
	for _, name := range tracked(t) {
		if !slices.Contains(sources, filepath.Ext(name)) && filepath.Base(name) != "Makefile" && filepath.Base(name) != "Kbuild" {
			continue
		}
		want := "Apache-2.0"
		if strings.HasPrefix(name, "kmod/") && filepath.Ext(name) != ".go" {
			want = "GPL-2.0-only"
		}
		if got := licence(t, filepath.Join("..", "..", name)); got != want {
			t.Errorf("%s: SPDX-License-Identifier %q, want %q in the first 5 lines", name, got, want)
		}
	}
}

func licence(t *testing.T, name string) string {
	t.Helper()
	f, err := os.Open(name)
	if os.IsNotExist(err) {
		return "" // deleted, not yet committed
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s, n := bufio.NewScanner(f), 0; n < 5 && s.Scan(); n++ {
		if _, id, ok := strings.Cut(s.Text(), "SPDX-License-Identifier: "); ok {
			return strings.Fields(id)[0]
		}
	}
	return ""
}
