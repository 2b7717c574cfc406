// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/fsnotify/fsnotify"

	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/trackfile"
)

// fileWatch follows the numbers in track files. A file that is missing, or has
// no number, counts as 0.
type fileWatch struct {
	e      *Engine
	values map[string]int // by name of the track_file
	paths  map[string][]string
	notify *fsnotify.Watcher
	wg     sync.WaitGroup
}

// buildFiles follows the files that some instance or group tracks.
func (t *tracks) buildFiles(cfg *config.Config) {
	used := map[string]bool{}
	note := func(tr config.Track) {
		for _, x := range tr.Files {
			used[x.Name] = true
		}
	}
	for i := range cfg.VRRP.Instances {
		note(cfg.VRRP.Instances[i].Track)
	}
	for i := range cfg.VRRP.Groups {
		note(cfg.VRRP.Groups[i].Track)
	}
	t.files.close()
	f := &fileWatch{e: t.e, values: map[string]int{}, paths: map[string][]string{}}
	t.files = f
	for _, c := range cfg.TrackFiles {
		if used[c.Name] {
			f.paths[c.Path] = append(f.paths[c.Path], c.Name)
			f.init(c)
		}
	}
	if len(f.paths) == 0 {
		return
	}
	var err error
	if f.notify, err = fsnotify.NewWatcher(); err != nil {
		t.e.warn(fmt.Errorf("track files: %w", err))
	} else {
		for path := range f.paths {
			// The directory and not the file: editors replace files.
			if err := f.notify.Add(filepath.Dir(path)); err != nil {
				t.e.warn(fmt.Errorf("track file %s: %w", path, err))
			}
		}
		f.wg.Go(f.follow)
	}
	for path := range f.paths {
		f.read(path)
	}
}

// init writes the first value where init_file asks for it.
func (f *fileWatch) init(c config.TrackFile) {
	if c.Init == nil || f.e.started {
		return
	}
	if _, err := os.Stat(c.Path); err == nil && !c.Overwrite {
		return
	}
	if err := os.WriteFile(c.Path, []byte(strconv.Itoa(*c.Init)+"\n"), 0o644); err != nil {
		f.e.warn(fmt.Errorf("track file %s: %w", c.Name, err))
	}
}

func (f *fileWatch) follow() {
	trackfile.Follow(f.notify,
		func(path string) bool { return f.paths[path] != nil },
		func(path string) { f.e.loop.Post(func() { f.read(path) }) },
		func(err error) {
			f.e.loop.Post(func() {
				f.e.warn(fmt.Errorf("track files: %w", err))
				for path := range f.paths { // events may be missing
					f.read(path)
				}
			})
		})
}

// read takes in the number of a file.
func (f *fileWatch) read(path string) {
	v := 0
	b, err := os.ReadFile(path)
	if err == nil {
		text := strings.TrimSpace(string(b))
		if v, err = strconv.Atoi(text); err != nil && text != "" {
			f.e.log.Warn(fmt.Sprintf("track file %s: '%.20s' is no number: counts as 0", path, text))
		}
	}
	for _, name := range f.paths[path] {
		if f.values[name] != v {
			f.values[name] = v
			f.e.tracks.changed(kindFile, name)
		}
	}
}

func (f *fileWatch) value(name string) int { return f.values[name] }

func (f *fileWatch) close() {
	if f == nil || f.notify == nil {
		return
	}
	f.notify.Close()
	f.wg.Wait()
}
