// SPDX-License-Identifier: Apache-2.0

package config

import (
	_ "embed"
	"strings"
	"sync"

	"github.com/lvs-fnat/lvs/parser"
)

// keywordList names every keyword of keepalived.conf by its path of blocks:
// those of all releases up to 2.4, of the full-NAT dialects, and the removed ones.
//
//go:embed keywords.txt
var keywordList string

// known maps each path of the list to true, and each last word to the paths it ends.
var known = sync.OnceValue(func() (k struct {
	paths map[string]bool
	homes map[string][]string
}) {
	k.paths, k.homes = map[string]bool{}, map[string][]string{}
	for path := range strings.Lines(keywordList) {
		if path = strings.TrimSpace(path); strings.HasPrefix(path, "#") {
			continue
		}
		k.paths[path] = true
		at := strings.LastIndexByte(path, '/') + 1
		k.homes[path[at:]] = append(k.homes[path[at:]], strings.TrimSuffix(path[:at], "/"))
	}
	return k
})

// keyword is how one word of a block is read into T.
type keyword[T any] struct {
	read  func(l *loader, n *parser.Node, to *T)
	block bool // a { must follow
}

type keywords[T any] map[string]keyword[T]

// walk reads the statements of one block. path is the block's own path.
func walk[T any](l *loader, nodes []*parser.Node, path string, table keywords[T], to *T) {
	for _, n := range nodes {
		if n.Key() == "" {
			continue // the parser has reported the block without a keyword
		}
		k, ok := table[n.Key()]
		switch {
		case !ok:
			l.unread(n, path, wordsOf(table))
		case k.block && !n.HasBlock:
			l.error(n.Pos(), "Missing '{' at beginning of configuration block: %s needs a block", n.Key())
		default:
			if n.HasBlock && !k.block {
				l.warn(n.Pos(), "Unexpected '{' - ignoring: %s has no block", n.Key())
			}
			k.read(l, n, to)
		}
	}
}

func wordsOf[T any](table keywords[T]) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for w := range table {
			if !yield(w) {
				return
			}
		}
	}
}

// unread reports a keyword that no table has: one of the original that is not
// in force here, or one that does not exist. Its block, if any, is skipped whole.
func (l *loader) unread(n *parser.Node, path string, here func(func(string) bool)) {
	key := n.Key()
	full := strings.TrimPrefix(path+"/"+key, "/")
	if !known().paths[full] {
		h, ok := l.hints[full]
		if !ok {
			h = hint(key, path, here)
			l.hints[full] = h
		}
		l.warn(n.Pos(), "Unknown keyword '%s'%s", key, h)
		return
	}
	l.notYet(n, path)
}

// notYet says once per path that a keyword does nothing.
func (l *loader) notYet(n *parser.Node, path string) {
	full := strings.TrimPrefix(path+"/"+n.Key(), "/")
	remedy := remedies[full]
	if remedy != "" {
		remedy = ": " + remedy
	}
	l.note(n.Pos(), full, "Keyword '%s' is known but not in force in this version%s", n.Key(), remedy)
}

// hint names the keyword that was probably meant, or the block where this one belongs.
func hint(key, path string, here func(func(string) bool)) string {
	best, bestDist := "", 3
	consider := func(w string) {
		d := distance(strings.ToLower(key), strings.ToLower(w))
		if d < bestDist && d*2 < len(w) || d == bestDist && best != "" && w < best {
			best, bestDist = w, d
		}
	}
	for w := range here {
		consider(w)
	}
	for w, homes := range known().homes {
		for _, home := range homes {
			if home == path {
				consider(w)
			}
		}
	}
	if best != "" {
		return "; did you mean '" + best + "'?"
	}
	if homes := known().homes[key]; len(homes) > 0 {
		if homes[0] == "" {
			return "; it belongs outside of any block"
		}
		return "; it belongs in " + homes[0]
	}
	return ""
}

// distance is the number of letters to insert, delete or change to get from a
// to b, 9 for words of very different length.
func distance(a, b string) int {
	if len(a)-len(b) > 3 || len(b)-len(a) > 3 || len(a) > 64 {
		return 9
	}
	prev := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diag := prev[0]
		prev[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diag
			if a[i-1] != b[j-1] {
				cost++
			}
			diag = prev[j]
			prev[j] = min(cost, prev[j]+1, prev[j-1]+1)
		}
	}
	return prev[len(b)]
}
