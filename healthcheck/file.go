// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/fsnotify/fsnotify"

	"github.com/lvs-fnat/lvs/internal/trackfile"
)

// File is what a FILE_CHECK looks at.
type File struct {
	// Path is the file. One that is missing or has no number counts as 0.
	Path string
	// Weight multiplies the number, the product is added to the server's weight;
	// Reverse turns its sign. With 0 any number but 0 is a failure.
	Weight  int
	Reverse bool
}

// fileFault is where a product says that the server is down, and the largest one
// that may be added.
const fileFault = 65535

func (f *File) validate() error {
	if f == nil || f.Path == "" {
		return errors.New("no file: give track_file")
	}
	return nil
}

// judge reads the file.
func (f *File) judge() result {
	v := f.value()
	if f.Weight == 0 {
		if (v != 0) != f.Reverse {
			return failed(func(t *Target) string { return msgFile(t, v) })
		}
		return passed()
	}
	product := int64(v) * int64(f.Weight)
	if f.Reverse {
		product = -product
	}
	if product <= -fileFault {
		return failed(func(t *Target) string { return msgFile(t, v) })
	}
	r := passed()
	r.adds = int32(min(product, fileFault-1))
	return r
}

func (f *File) value() int {
	b, err := os.ReadFile(f.Path)
	if err != nil {
		return 0
	}
	// A number beyond what is sensible is still one.
	v, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 32)
	if errors.Is(err, strconv.ErrSyntax) {
		return 0
	}
	return int(v)
}

// fileWatch has checks run at once when their file changes. The engine owns its
// goroutine. watch and forget may be called from any goroutine.
type fileWatch struct {
	mu     sync.Mutex // guards what follows
	notify *fsnotify.Watcher
	checks map[string]map[*check]bool // by cleaned path
	dirs   map[string]int             // checks with files in it
	wg     sync.WaitGroup
}

func newFileWatch() *fileWatch {
	return &fileWatch{checks: map[string]map[*check]bool{}, dirs: map[string]int{}}
}

// watch begins to follow the file of c. Without it the file is read at the check's
// interval, so a failure is only said.
func (w *fileWatch) watch(c *check) {
	w.mu.Lock()
	defer w.mu.Unlock()
	path := filepath.Clean(c.target.Spec.File.Path)
	if w.checks[path] == nil {
		w.checks[path] = map[*check]bool{}
	}
	w.checks[path][c] = true
	if err := w.follow(filepath.Dir(path)); err != nil {
		c.shard.log.Warn(fmt.Sprintf("FILE_CHECK of %s: %s is read every %v only: %v", c.target.Server, path, c.target.Spec.Timing.DelayLoop, err))
	}
}

func (w *fileWatch) follow(dir string) error {
	if w.notify == nil {
		n, err := fsnotify.NewWatcher()
		if err != nil {
			return err
		}
		w.notify = n
		w.wg.Go(func() { w.listen(n) })
	}
	if w.dirs[dir]++; w.dirs[dir] > 1 {
		return nil
	}
	// The folder and not the file: editors replace files.
	return w.notify.Add(dir)
}

func (w *fileWatch) forget(c *check) {
	w.mu.Lock()
	defer w.mu.Unlock()
	path := filepath.Clean(c.target.Spec.File.Path)
	if !w.checks[path][c] {
		return
	}
	delete(w.checks[path], c)
	dir := filepath.Dir(path)
	if w.dirs[dir]--; w.dirs[dir] == 0 && w.notify != nil {
		delete(w.dirs, dir)
		// It may be gone, which is what is wanted.
		_ = w.notify.Remove(dir)
	}
}

func (w *fileWatch) listen(n *fsnotify.Watcher) {
	trackfile.Follow(n, w.follows, func(path string) { w.changed(filepath.Clean(path)) }, func(error) {
		// Events may be missing: look at all files.
		w.mu.Lock()
		paths := make([]string, 0, len(w.checks))
		for p := range w.checks {
			paths = append(paths, p)
		}
		w.mu.Unlock()
		for _, p := range paths {
			w.changed(p)
		}
	})
}

func (w *fileWatch) follows(path string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.checks[filepath.Clean(path)]) > 0
}

func (w *fileWatch) changed(path string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.checks[path] {
		c.shard.loop.Post(func() {
			if !c.removed.Load() && !c.suspended && c.phase == idle {
				c.shard.loop.Stop(&c.timer)
				c.start()
			}
		})
	}
}

func (w *fileWatch) close() error {
	w.mu.Lock()
	n := w.notify
	w.mu.Unlock()
	if n == nil {
		return nil
	}
	err := n.Close()
	w.wg.Wait()
	return err
}
