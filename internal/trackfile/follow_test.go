// SPDX-License-Identifier: Apache-2.0

package trackfile

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
)

// A file that stays empty is told of, though later; so is one that is written, and
// none that is not followed. The end of the watcher is Follow's.
func TestFollow(t *testing.T) {
	n, err := fsnotify.NewWatcher()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := n.Add(dir); err != nil {
		t.Fatal(err)
	}
	told, troubles, end := make(chan string, 100), make(chan error, 1), make(chan struct{})
	go func() {
		defer close(end)
		Follow(n, func(path string) bool { return filepath.Base(path) != "other" },
			func(path string) { told <- filepath.Base(path) }, func(err error) { troubles <- err })
	}()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	wait := func(want string) {
		t.Helper()
		for deadline := time.After(30 * time.Second); ; {
			select {
			case got := <-told:
				if got == "other" {
					t.Fatal("told of a file that is not followed")
				}
				if got == want {
					return
				}
			case <-deadline:
				t.Fatalf("not told of %q", want)
			}
		}
	}
	write("other", "1")
	write("number", "1")
	wait("number")
	write("empty", "")
	wait("empty")
	lost := errors.New("lost")
	n.Errors <- lost
	if err := <-troubles; err != lost {
		t.Errorf("trouble %v", err)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	<-end
}
