// SPDX-License-Identifier: Apache-2.0

package config

import (
	"math"
	"slices"

	"github.com/lvs-fnat/lvs/parser"
)

// TrackFile is a file whose number moves priorities and weights.
type TrackFile struct {
	Name    string
	Path    string
	Weight  int  // -254..254
	Reverse bool // the sign of value × weight is turned
	// Init is written to the file at the start when there is none, or always with Overwrite; nil: nothing is.
	Init      *int
	Overwrite bool
	VRRPOnly  bool // written as vrrp_track_file
	Pos       Pos
}

var trackFileKeywords = keywords[TrackFile]{
	"file": {read: func(l *loader, n *parser.Node, t *TrackFile) {
		words, err := parser.Unquote(n.Raw)
		switch {
		case err != nil:
			l.error(n.ArgPos(1), "file: %v", err)
		case len(words) == 0:
			_, _ = l.word(n, 1, "path")
		case t.Path != "":
			l.warn(n.Pos(), "file is already set: this one is ignored")
		default:
			t.Path = words[0]
		}
	}},
	"weight": {read: func(l *loader, n *parser.Node, t *TrackFile) {
		if t.Weight != 1 {
			l.warn(n.Pos(), "weight is already set to %d: this one is ignored", t.Weight)
			return
		}
		if v, rev, ok := l.trackWeight(n, 1, 254); ok {
			t.Weight, t.Reverse = v, rev
		}
	}},
	"init_file": {read: readInitFile},
}

// trackWeight reads WEIGHT [reverse].
func (l *loader) trackWeight(n *parser.Node, i int, limit int64) (weight int, reverse, ok bool) {
	if _, ok := l.mildWord(n, i, "number"); !ok {
		return 0, false, false
	}
	v, ok := l.int(n, i, -limit, limit)
	if !ok {
		return 0, false, false
	}
	switch w := n.Arg(i + 1); w {
	case "":
	case "reverse":
		reverse = true
	default:
		l.error(n.ArgPos(i+1), "%s: unknown word '%s' behind the number: expected reverse or nothing", n.Key(), w)
	}
	return int(v), reverse, true
}

func readInitFile(l *loader, n *parser.Node, t *TrackFile) {
	value := 0
	for i := 1; i < len(n.Words); i++ {
		if n.Arg(i) == "overwrite" {
			t.Overwrite = true
			continue
		}
		v, ok := l.int(n, i, math.MinInt32, math.MaxInt32)
		if !ok {
			return
		}
		value = int(v)
	}
	t.Init = &value
}

func readTrackFile(l *loader, n *parser.Node, c *Config) {
	name, ok := l.word(n, 1, "name of the file")
	t := TrackFile{Name: name, Weight: 1, VRRPOnly: n.Key() == "vrrp_track_file", Pos: n.Pos()}
	walk(l, n.Children, n.Key(), trackFileKeywords, &t)
	same := func(o TrackFile) bool { return o.Name == name }
	switch i := slices.IndexFunc(c.TrackFiles, same); {
	case !ok:
	case i >= 0:
		l.info(n.ArgPos(1), "%s '%s' is already defined at line %d of %s: this one is ignored",
			n.Key(), name, c.TrackFiles[i].Pos.Line, c.TrackFiles[i].Pos.File)
	case t.Path == "":
		l.error(n.Pos(), "%s '%s' has no file: add 'file PATH'", n.Key(), name)
	default:
		c.TrackFiles = append(c.TrackFiles, t)
	}
}
