// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"os"
	"path/filepath"
	"testing"
)

// TestText: what was recorded reads the same when the files are gone.
func TestText(t *testing.T) {
	dir := t.TempDir()
	main := filepath.Join(dir, "k.conf")
	for name, text := range map[string]string{"k.conf": "include *.inc\nlast\n", "a.inc": "one\n", "b.inc": "include deeper/c\n", "deeper/c": "two\n"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	words := func(o Options) (all string) {
		t.Helper()
		tree, faults, err := Load(t.Context(), main, o)
		if err != nil || len(faults) > 0 {
			t.Fatal(err, faults)
		}
		for _, n := range tree.Nodes {
			all += n.Key() + " "
		}
		return all
	}
	var text Text
	want := "one two last "
	if got := words(Options{}.Record(&text)); got != want {
		t.Errorf("recorded %q, want %q", got, want)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if got := words(Options{}.Replay(&text)); got != want {
		t.Errorf("replayed %q, want %q", got, want)
	}
	if _, _, err := Load(t.Context(), main+".other", Options{}.Replay(&text)); err == nil {
		t.Error("a file that was not read is there")
	}
}
