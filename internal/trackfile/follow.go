// SPDX-License-Identifier: Apache-2.0

// Package trackfile follows files that others write numbers into.
package trackfile

import (
	"os"
	"time"

	"github.com/fsnotify/fsnotify"
)

// emptyFor is how long a file may be empty before it counts as such: who writes one
// anew empties it first.
const emptyFor = 50 * time.Millisecond

// Follow calls changed with the path of each file that has changed, as n names it, if
// ours says that it is followed, and trouble when events may be missing. It returns
// when n is closed. All are called from the caller's goroutine.
func Follow(n *fsnotify.Watcher, ours func(path string) bool, changed func(path string), trouble func(error)) {
	empty := map[string]bool{}
	again := time.NewTimer(emptyFor)
	defer again.Stop()
	for {
		select {
		case ev, ok := <-n.Events:
			if !ok {
				return
			}
			if !ours(ev.Name) {
				continue
			}
			if info, err := os.Stat(ev.Name); err == nil && info.Size() == 0 {
				empty[ev.Name] = true
				again.Reset(emptyFor)
				continue
			}
			delete(empty, ev.Name)
			changed(ev.Name)
		case <-again.C:
			for path := range empty {
				changed(path)
			}
			clear(empty)
		case err, ok := <-n.Errors:
			if !ok {
				return
			}
			trouble(err)
		}
	}
}
