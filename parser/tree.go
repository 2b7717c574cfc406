// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"fmt"
	"strings"
)

// Pos is a place in a configuration file. Line and Column start at 1; the zero
// value is "nowhere". Column counts bytes of the line as it stands after
// $NAME substitution.
type Pos struct {
	File         string
	Line, Column int
}

// String gives file:line:column.
func (p Pos) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column) }

// Word is one word of a statement, its double quotes removed.
type Word struct {
	Text   string
	Column int32
	Quoted bool // at least one part stood in double quotes
}

// Node is one statement: a keyword, its arguments, and the block that follows, if any.
//
// A large file has hundreds of thousands of these: each word more here is
// megabytes there.
type Node struct {
	Words    []Word  // at least one, except in a block that had no keyword
	Children []*Node // the statements of the block
	Raw      string  // text behind the keyword with quotes and escapes as written, for Unquote
	file     *string
	Line     int32
	HasBlock bool // a { followed, even when Children is empty
}

// File is the name of the file that the statement stands in.
func (n *Node) File() string {
	if n.file == nil {
		return ""
	}
	return *n.file
}

// Key is the first word, or "" in a block without keyword.
func (n *Node) Key() string { return n.Arg(0) }

// Arg is word i (the keyword is word 0), or "" when there are fewer.
func (n *Node) Arg(i int) string {
	if i < 0 || i >= len(n.Words) {
		return ""
	}
	return n.Words[i].Text
}

// Pos is the place of the statement's first word.
func (n *Node) Pos() Pos { return n.ArgPos(0) }

// ArgPos is the place of word i; for a word that is missing, the place of the last one there is.
func (n *Node) ArgPos(i int) Pos {
	p := Pos{File: n.File(), Line: int(n.Line), Column: 1}
	if len(n.Words) > 0 {
		p.Column = int(n.Words[max(0, min(i, len(n.Words)-1))].Column)
	}
	return p
}

// Tree is a parsed configuration, included files merged at the place of their include.
type Tree struct {
	Nodes []*Node
	Files []string // every file read, in order; the first is the main file
	// Blocks are the whole texts of Nodes that are blocks, from the line of the
	// keyword to that of the closing brace with its line break, where all of that means
	// the same wherever it stands: a block of its own, on lines of its own, that
	// nothing is substituted in. Others have "". Without [Options.Known] there are none.
	Blocks []string
}

// Rereader reads texts of Tree.Blocks once more. It belongs to one goroutine; the zero
// value is good.
type Rereader struct{ p reader }

// Read gives n, whose text is block, with its Children. What it gives is valid until the
// next call.
func (r *Rereader) Read(n *Node, block string) *Node {
	p := &r.p
	p.ended = func() error { return nil }
	p.name, p.source, p.line = n.File(), n.file, int(n.Line)-1
	p.rewind() // what the last call has given
	p.mark = p.arenas
	p.lines(block)
	root := p.stack[0]
	p.stack = p.stack[:0]
	return root
}

// Format writes the tree in one normal form: a tab per level, one space
// between words, quotes only where needed. Parsing the result gives the same
// words and blocks again.
func (t *Tree) Format() string {
	var b strings.Builder
	for _, n := range t.Nodes {
		n.format(&b, 0)
	}
	return b.String()
}

func (n *Node) format(b *strings.Builder, level int) {
	for range level {
		b.WriteByte('\t')
	}
	for i, w := range n.Words {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(quote(w, i == 0))
	}
	if n.HasBlock {
		if len(n.Words) > 0 {
			b.WriteByte(' ')
		}
		b.WriteString("{\n")
		for _, c := range n.Children {
			c.format(b, level+1)
		}
		for range level {
			b.WriteByte('\t')
		}
		b.WriteByte('}')
	}
	b.WriteByte('\n')
}

// quote adds the double quotes w needs to be read as the same single word.
func quote(w Word, first bool) string {
	special := strings.ContainsAny(w.Text, " \t\r\f\v{}!#$") || w.Text == ""
	if first && !special {
		special = strings.HasPrefix(w.Text, "@") || strings.HasPrefix(w.Text, "~") || strings.HasPrefix(w.Text, "include")
	}
	if special {
		return `"` + w.Text + `"`
	}
	return w.Text
}

// Severity says what a fault costs.
type Severity uint8

// The severities, the lightest first.
const (
	Note    Severity = iota // the original says so too, and thinks nothing of it
	Warning                 // something was skipped that the original skips as well
	Error                   // text was lost
	Fatal                   // an include that must find something did not: the original ends here
)

// Fault is one thing wrong with the text.
type Fault struct {
	Pos      Pos
	Severity Severity
	Text     string
}

// Error gives file:line:column: text.
func (f *Fault) Error() string { return f.Pos.String() + ": " + f.Text }
