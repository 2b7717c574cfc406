// SPDX-License-Identifier: Apache-2.0

package logline

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestFile: a file that is moved away gets no more lines; a new one takes its
// place.
func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "folder", "log")
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
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
	if err := os.Rename(filepath.Dir(path), filepath.Dir(path)+".gone"); err != nil {
		t.Fatal(err)
	}
	write("three") // no file can be made there: the one that is open gets it
	read(filepath.Dir(path)+".gone/log", "Sun Nov 22 10:29:33 2026: two\nSun Nov 22 10:29:33 2026: three\n")
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if _, err := OpenFile(filepath.Join(path, "x"), false); err == nil {
		t.Error("a file below a file could be opened")
	}
}

// TestRotation: while somebody moves the file away again and again, each line comes into
// one of the files, once, and none is out of order.
func TestRotation(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	f, err := OpenFile(path, false)
	if err != nil {
		t.Fatal(err)
	}
	const lines = 3000
	q := NewQueue(f)
	moved := 0
	for i := range lines {
		if err := q.WriteLine(time.Time{}, slog.LevelInfo, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
		// The queue is still at earlier lines.
		if i%50 == 0 && os.Rename(path, fmt.Sprintf("%s.%03d", path, moved)) == nil {
			moved++
		}
	}
	q.Close()
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	next := 0
	for i := range moved + 1 {
		name := fmt.Sprintf("%s.%03d", path, i)
		if i == moved {
			name = path
		}
		b, err := os.ReadFile(name)
		if err != nil && i < moved { // the last may have had no line
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			if want := fmt.Sprintf(": %d\n", next); !strings.HasSuffix(line, want) {
				t.Fatalf("%s has %q, want %q", name, line, want)
			}
			next++
		}
	}
	if next != lines {
		t.Errorf("%d lines, want %d", next, lines)
	}
}
