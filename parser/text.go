// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"io/fs"
	"maps"
	"slices"
)

// Text is a configuration as it was read: every file, and what each pattern
// found. The zero value is good; it is plain and can be encoded.
type Text struct {
	Files map[string][]byte
	Globs map[string][]string
	Order []string // of Files, as they were first read
}

// Record returns options that read as o does, and note in t what is read.
func (o Options) Record(t *Text) Options {
	o.fill()
	t.Files, t.Globs, t.Order = map[string][]byte{}, map[string][]string{}, nil
	read, glob := o.ReadFile, o.Glob
	o.ReadFile = func(path string) ([]byte, error) {
		b, err := read(path)
		if err == nil {
			if _, again := t.Files[path]; !again {
				t.Order = append(t.Order, path)
			}
			t.Files[path] = b
		}
		return b, err
	}
	o.Glob = func(pattern string) ([]string, error) {
		names, err := glob(pattern)
		if err == nil {
			t.Globs[pattern] = slices.Clone(names)
		}
		return names, err
	}
	return o
}

// Replay returns options that read t and no file.
func (o Options) Replay(t *Text) Options {
	files, globs := maps.Clone(t.Files), maps.Clone(t.Globs)
	o.ReadFile = func(path string) ([]byte, error) {
		if b, ok := files[path]; ok {
			return b, nil
		}
		return nil, &fs.PathError{Op: "read", Path: path, Err: fs.ErrNotExist}
	}
	o.Glob = func(pattern string) ([]string, error) { return slices.Clone(globs[pattern]), nil }
	return o
}
