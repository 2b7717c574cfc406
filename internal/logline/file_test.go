// SPDX-License-Identifier: Apache-2.0

package logline

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestFile: a file that is moved away gets no more lines; a new one takes its
// place.
func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f, err := OpenFile(path, true)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 22, 10, 29, 33, 0, time.UTC)
	write := func(line string) {
		t.Helper()
		if err := f.WriteLine(at, slog.LevelInfo, line); err != nil {
			t.Fatal(err)
		}
	}
	read := func(name, want string) {
		t.Helper()
		if b, err := os.ReadFile(name); err != nil || string(b) != want {
			t.Errorf("%s has %q %v, want %q", name, b, err, want)
		}
	}
	write("one")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	write("two")
	read(path+".1", "Sun Nov 22 10:29:33 2026: one\n")
	read(path, "Sun Nov 22 10:29:33 2026: two\n")
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if _, err := OpenFile(filepath.Join(path, "x"), false); err == nil {
		t.Error("a file below a file could be opened")
	}
}
