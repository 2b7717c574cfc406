// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"context"
	"os"
	"path/filepath"
	"testing"
)

// FuzzParse: no text panics or hangs, every fault and statement has a line
// number inside the text, and the normal form reads back as itself.
func FuzzParse(f *testing.F) {
	seeds, err := filepath.Glob("testdata/*.golden")
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range seeds {
		text, err := os.ReadFile(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	opts := Options{
		ReadFile: func(string) ([]byte, error) { return nil, os.ErrNotExist },
		Glob:     func(string) ([]string, error) { return nil, nil },
	}
	f.Fuzz(func(t *testing.T, text string) {
		tree, faults, err := Parse(context.Background(), "k", text, opts)
		if err != nil {
			t.Fatal(err)
		}
		lines := 1
		for _, c := range text {
			if c == '\n' {
				lines++
			}
		}
		for _, x := range faults {
			if x.Pos.Line < 1 || x.Pos.Line > lines || x.Pos.Column < 1 || x.Pos.File != "k" {
				t.Errorf("fault without a place: %+v", x)
			}
		}
		each(tree.Nodes, func(n *Node) {
			if n.Line < 1 || int(n.Line) > lines {
				t.Errorf("statement without a place: %+v", n)
			}
		})
		once := tree.Format()
		again, _, err := Parse(context.Background(), "k", once, opts)
		if err != nil {
			t.Fatal(err)
		}
		if twice := again.Format(); twice != once {
			t.Errorf("normal form is not stable:\n%q\n%q", once, twice)
		}
	})
}

func each(nodes []*Node, do func(*Node)) {
	for _, n := range nodes {
		do(n)
		each(n.Children, do)
	}
}

// FuzzValues: no one-line value panics, and what is accepted prints as something accepted.
func FuzzValues(f *testing.F) {
	for _, s := range []string{"10.0.0.1-5", "[::1]:80", "1-2", "::/0", "10.0.0.0/8", "a\\x41'"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if r, err := ParseAddrRange(s); err == nil && r.To.Less(r.From) {
			t.Errorf("%q: empty range", s)
		}
		if r, err := ParsePortRange(s); err == nil {
			if back, err := ParsePortRange(r.String()); err != nil || back != r {
				t.Errorf("%q: %v reads back as %v, %v", s, r, back, err)
			}
		}
		if ap, err := ParseAddrPort(s); err == nil && !ap.Addr().IsValid() {
			t.Errorf("%q: accepted without an address", s)
		}
		_, _ = ParsePrefix(s)
		_, _ = Unquote(s)
	})
}
