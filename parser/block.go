// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"fmt"
	"strings"
)

// tree is the part of the reader that builds nodes. Finished nodes of open
// blocks wait on one stack; closing a block moves its nodes into a slice of
// exact size, so a large file costs few allocations.
type tree struct {
	root   []*Node
	blocks []string // of stack, while no block is open; short by those at the end
	stack  []*Node
	frames []frame
	arenas
	mark    arenas // as they were where the outermost block began
	repeats int
}

// arenas are handed out from the front, and replaced when used up.
type arenas struct {
	nodes []Node
	words []Word
	ptrs  []*Node
}

// rewind takes back what was handed out since the mark, as far as it lies in the same
// arenas. Nobody may have it any more.
func (t *tree) rewind() {
	m := &t.mark
	if n, used := len(t.nodes), len(m.nodes)-len(t.nodes); n > 0 && used >= 0 && &m.nodes[len(m.nodes)-1] == &t.nodes[n-1] {
		clear(m.nodes[:used])
		t.nodes = m.nodes
	}
	if cap(m.words) > 0 && len(m.words) <= len(t.words) && cap(m.words) == cap(t.words) && &m.words[:1][0] == &t.words[:1][0] {
		t.words = m.words
	}
	if n := len(t.ptrs); n > 0 && n <= len(m.ptrs) && &m.ptrs[len(m.ptrs)-1] == &t.ptrs[n-1] {
		t.ptrs = m.ptrs
	}
	*m = arenas{}
}

type frame struct {
	node  *Node
	start int // index in stack of the block's first statement
}

const arenaSize = 512

// statement splits one line at braces: each piece between them is a
// statement of its own, and only its first word can be a keyword.
func (p *reader) statement(text string) {
	base := 0
	for {
		// A pattern's own braces are not blocks.
		if rest := strings.TrimLeft(text[base:], " \t"); strings.HasPrefix(rest, "include") && isInclude(rest) {
			p.includeLine(rest, len(text)-len(rest)+1)
			return
		}
		cut, ok := p.brace(text[base:])
		if !ok {
			return
		}
		if cut < 0 {
			p.piece(text, base, len(text))
			return
		}
		cut += base
		p.piece(text, base, cut)
		if text[cut] == '{' {
			p.open(cut + 1)
		} else {
			p.close(cut + 1)
		}
		base = cut + 1
	}
}

// brace finds the first brace outside quotes that is not part of an unknown
// ${NAME}. Not ok: a quote is open at the end of the line, and the line is lost.
func (p *reader) brace(s string) (int, bool) {
	if !strings.ContainsAny(s, "{}\"") {
		return -1, true
	}
	cut, quoted := -1, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			quoted = !quoted
		case quoted || cut >= 0:
		case c == '$' && strings.HasPrefix(s[i:], "${") && strings.IndexByte(s[i:], '}') > 0:
			i += strings.IndexByte(s[i:], '}')
		case c == '{' || c == '}':
			cut = i
		}
	}
	if quoted {
		p.fault(Error, strings.LastIndexByte(s, '"')+1, "Unterminated quote '%s'", strings.TrimSpace(s))
		return 0, false
	}
	return cut, true
}

// isInclude says whether the line's first word is one of the include family.
func isInclude(s string) bool {
	if i := strings.IndexAny(s, " \t"); i >= 0 {
		s = s[:i]
	}
	_, ok := includeKinds[s]
	return ok
}

// includeLine takes the rest of the line as the pattern, blanks included.
func (p *reader) includeLine(s string, col int) {
	key, pattern, _ := strings.Cut(strings.ReplaceAll(s, "\t", " "), " ")
	pattern = strings.TrimSpace(pattern)
	if n := len(pattern); n >= 2 && pattern[0] == '"' && pattern[n-1] == '"' {
		pattern = pattern[1 : n-1]
	}
	if pattern == "" {
		p.fault(Error, col, "%s: file name or pattern missing", key)
		return
	}
	p.include(key, pattern, col)
}

// piece adds text[from:to] as a statement.
func (p *reader) piece(text string, from, to int) {
	words, raw := p.split(text[from:to], from)
	if len(words) == 0 {
		return
	}
	if words[0].Text == "include_check" {
		p.includeCheck(words)
	}
	p.add(words, raw)
}

// add makes a statement the last of the block that is open.
func (p *reader) add(words []Word, raw string) *Node {
	if len(p.nodes) == 0 {
		p.nodes = make([]Node, arenaSize)
	}
	n := &p.nodes[0] // zero as made
	p.nodes = p.nodes[1:]
	n.Words, n.Raw, n.file, n.Line = words, raw, p.source, int32(p.line)
	p.stack = append(p.stack, n)
	return n
}

// split gives the words of s, a slice of the arena, and what follows the first
// word, verbatim. The words of one line never straddle two arenas.
func (p *reader) split(s string, offset int) (words []Word, raw string) {
	if cap(p.words)-len(p.words) < len(s)/2+1 {
		p.words = make([]Word, 0, max(arenaSize, len(s)))
	}
	first := len(p.words)
	for i := 0; i < len(s); {
		if s[i] == ' ' || s[i] == '\t' || s[i] == '\r' {
			i++
			continue
		}
		start, quoted := i, false
		for inQuote := false; i < len(s) && (inQuote || s[i] != ' ' && s[i] != '\t' && s[i] != '\r'); i++ {
			if s[i] == '"' {
				quoted, inQuote = true, !inQuote
			}
		}
		text := s[start:i]
		if quoted {
			text = strings.ReplaceAll(text, `"`, "")
		}
		p.words = append(p.words, Word{Text: text, Column: int32(offset + start + 1), Quoted: quoted})
		if len(p.words) == first+1 {
			raw = strings.Trim(s[i:], " \t\r")
		}
	}
	return p.words[first:len(p.words):len(p.words)], raw
}

// open starts the block of the statement before the brace, on the same or on an earlier line.
func (p *reader) open(col int) {
	start := 0
	if k := len(p.frames); k > 0 {
		start = p.frames[k-1].start
	}
	var n *Node
	if len(p.stack) > start {
		n = p.stack[len(p.stack)-1]
	}
	if n == nil || n.HasBlock {
		p.fault(Error, col, "Unexpected '{' - ignoring: no keyword stands before this block")
		n = p.add(nil, "")
	}
	n.HasBlock = true
	p.frames = append(p.frames, frame{node: n, start: len(p.stack)})
}

func (p *reader) close(col int) {
	k := len(p.frames)
	if k == 0 {
		p.fault(Error, col, "Extra '}' found")
		return
	}
	f := p.frames[k-1]
	p.frames = p.frames[:k-1]
	f.node.Children = p.take(f.start)
}

// keep notes the text of the last statement outside of blocks.
func (p *reader) keep(text string) {
	p.blocks = append(p.blocks, make([]string, len(p.stack)-len(p.blocks))...)
	p.blocks[len(p.stack)-1] = text
}

// take moves the statements from index start of the stack into a slice of their own.
func (p *reader) take(start int) []*Node {
	n := len(p.stack) - start
	if n == 0 {
		return nil
	}
	if len(p.ptrs) < n {
		p.ptrs = make([]*Node, max(arenaSize, n))
	}
	out := p.ptrs[:n:n]
	p.ptrs = p.ptrs[n:]
	copy(out, p.stack[start:])
	p.stack = p.stack[:start]
	return out
}

// finish closes what the text left open. The original accepts missing braces at the end.
func (p *reader) finish() {
	if k := len(p.frames); k > 0 {
		n := p.frames[k-1].node
		p.faults = append(p.faults, &Fault{Pos: n.Pos(), Severity: Error,
			Text: fmt.Sprintf("There are %d missing '}'s or extra '{'s: the block '%s' opened here is not closed", k, n.Key())})
	}
	for len(p.frames) > 0 {
		f := p.frames[len(p.frames)-1]
		p.frames = p.frames[:len(p.frames)-1]
		f.node.Children = p.take(f.start)
	}
	if p.root = p.take(0); p.opts.blocks() {
		p.blocks = append(p.blocks, make([]string, len(p.root)-len(p.blocks))...)
	}
}
