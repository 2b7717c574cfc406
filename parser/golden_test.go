// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the expected half of testdata/*.golden")

// TestGolden reads files of two halves, parted by a line of three dashes: a
// configuration, and the faults and normal form it must give.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.golden")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".golden"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			input, want, ok := strings.Cut(string(text), "\n---\n")
			if !ok && !*update {
				t.Fatal("no --- line")
			}
			got := render(t, input)
			if *update {
				if err := os.WriteFile(file, []byte(input+"\n---\n"+got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

func render(t *testing.T, input string) string {
	t.Helper()
	opts := Options{
		ConfigID: "main",
		Instance: "blue",
		Getenv:   func(k string) (string, bool) { return "env-" + k, k == "HOST" },
		ReadFile: func(name string) ([]byte, error) { return nil, os.ErrNotExist },
		Glob:     func(string) ([]string, error) { return nil, nil },
	}
	tree, faults, err := Parse(context.Background(), "k.conf", input, opts)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, f := range faults {
		b.WriteString(f.Error() + "\n")
	}
	b.WriteString(tree.Format())
	return b.String()
}
