// SPDX-License-Identifier: Apache-2.0

package trackfile

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
)

// A file that is written anew is told of once, when there is something in it; one that
// stays empty, a while later; one that is not followed, never.
func TestFollow(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		n := &fsnotify.Watcher{Events: make(chan fsnotify.Event), Errors: make(chan error)}
		var mu sync.Mutex // guards told
		var told []string
		var trouble error
		end := make(chan struct{})
		go func() {
			defer close(end)
			Follow(n, func(path string) bool { return filepath.Base(path) != "other" },
				func(path string) {
					mu.Lock()
					defer mu.Unlock()
					told = append(told, filepath.Base(path))
				}, func(err error) { trouble = err })
		}()
		write := func(name, text string) {
			t.Helper()
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			n.Events <- fsnotify.Event{Name: path, Op: fsnotify.Write}
		}
		want := func(names ...string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(told, names) {
				t.Errorf("told of %q, want %q", told, names)
			}
		}
		write("other", "1")
		write("number", "")
		want()
		write("number", "1")
		want("number")
		time.Sleep(time.Second)
		want("number")
		write("empty", "")
		want("number")
		time.Sleep(time.Second)
		want("number", "empty")
		lost := errors.New("lost")
		n.Errors <- lost
		close(n.Events)
		<-end
		if trouble != lost {
			t.Errorf("trouble %v, want %v", trouble, lost)
		}
	})
}
