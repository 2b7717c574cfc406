// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
)

// Bounds of $NAME substitution: definitions may refer to each other, and a
// circle or a doubling chain must end with a message, not with the memory.
const (
	maxExpandDepth = 16
	maxExpandLen   = 64 << 10
	maxExpandTotal = 16 << 20 // of all lines together
)

// reader holds the state that runs through all files of one parse.
type reader struct {
	ended  func() error // the context's Err
	opts   Options
	defs   map[string]string // $NAME definitions, global over files, later ones win
	faults []*Fault
	files  []string

	name   string  // current file
	source *string // the same, for its nodes
	line   int
	// block is the rest of the source from where the outermost block began, "" if
	// that is not in this file or not plain; opened is its node.
	block  string
	opened *Node
	depth  int // of includes

	expanded int // bytes that substitution has given

	checks IncludeCheck // in force for every include from here on

	tree
}

func (p *reader) fault(s Severity, col int, format string, args ...any) {
	p.faults = append(p.faults, &Fault{
		Pos:      Pos{File: p.name, Line: max(p.line, 1), Column: max(col, 1)},
		Severity: s,
		Text:     fmt.Sprintf(format, args...),
	})
}

// file reads one file's lines; include calls it in the middle of another's.
func (p *reader) file(name, src string) {
	p.files = append(p.files, name)
	oldName, oldLine, oldSource := p.name, p.line, p.source
	p.name, p.line, p.source = name, 0, &name
	p.depth++
	src = strings.TrimPrefix(src, "\ufeff")
	p.lines(src)
	p.depth--
	p.name, p.line, p.source = oldName, oldLine, oldSource
}

// lines reads whole lines of one file.
func (p *reader) lines(src string) {
	p.block = ""
	for lines := 0; src != ""; lines++ {
		if lines%checkEvery == 0 && p.ended() != nil {
			break
		}
		if rest, done := p.known(src); done {
			src = rest
			continue
		}
		if p.block != "" {
			if rest, done := p.leave(src); done {
				src = rest
				continue
			}
		}
		if rest, done := p.plain(src); done {
			p.note(src, rest)
			src = rest
			continue
		}
		p.block = ""
		var text string
		text, src = p.next(src)
		if rest, def := p.definition(text, src); def {
			src = rest
			continue
		}
		p.logical(text, 0)
	}
	p.block = ""
}

// note follows a plain line, which src begins with and rest does not, so that a
// block that has only such lines gets its text.
func (p *reader) note(src, rest string) {
	if !p.opts.blocks() {
		return
	}
	switch len(p.frames) {
	case 0:
		// With its line break: without one, more might follow the brace elsewhere.
		if text := p.block[:max(0, len(p.block)-len(rest))]; strings.HasSuffix(text, "\n") {
			p.keep(text)
			if n := p.stack[len(p.stack)-1]; p.opts.Later != "" && n.Key() == p.opts.Later {
				n.Children = nil
				p.rewind()
			}
		}
		p.block = ""
	case 1:
		if n := p.frames[0].node; n != p.opened && len(n.Words) > 0 {
			p.opened = n
			if p.block = ""; n.file == p.source && int(n.Line) == p.line {
				p.block = src
				p.mark = p.arenas
			}
		}
	}
}

// known takes a whole block that src begins with and that is known.
func (p *reader) known(src string) (rest string, done bool) {
	if p.opts.Known == nil || len(p.frames) > 0 {
		return "", false
	}
	end := strings.IndexByte(src, '\n') + 1
	if end == 0 || class[src[0]] != 0 {
		return "", false
	}
	text := src[:p.opts.Known(src)]
	if text == "" {
		return "", false
	}
	if _, plain := p.plain(src[:end]); !plain {
		return "", false
	}
	if len(p.frames) != 1 { // no block, so not of a former parse
		return src[end:], true
	}
	p.frames = p.frames[:0]
	p.keep(text)
	p.line += strings.Count(text, "\n") - 1
	return src[len(text):], true
}

// leave leaves a block that is for later, and that src is the inside of, to a
// Rereader, without so much as a look at its words.
func (p *reader) leave(src string) (rest string, done bool) {
	if p.opts.Later == "" || len(p.frames) != 1 || p.frames[0].start != len(p.stack) || p.frames[0].node.Key() != p.opts.Later {
		return "", false
	}
	size, lines := skim(src)
	if size == 0 {
		return "", false
	}
	rest = src[size:]
	p.frames = p.frames[:0]
	p.keep(p.block[:len(p.block)-len(rest)])
	p.line += lines
	p.block = ""
	return rest, true
}

// skim gives the size of what is in a block, with the line that closes it, and how
// many lines that is, if each is one that plain would take; else 0.
func skim(src string) (size, lines int) {
	depth := 1
	for i := 0; ; lines++ {
		i = skip(src, i)
		if i == len(src) {
			return 0, 0
		}
		switch c := src[i]; {
		case class[c] == newline:
		case c == '}':
			i = skip(src, i+1)
			depth--
		case class[c] != 0 || rewritten(src[i:]):
			return 0, 0
		default:
			for i++; i < len(src) && class[src[i]]&(special|brace|newline) == 0; i++ {
			}
			if i < len(src) && src[i] == '{' {
				i = skip(src, i+1)
				depth++
			}
		}
		if i == len(src) || src[i] != '\n' {
			return 0, 0
		}
		i++
		if depth == 0 {
			return i, lines + 1
		}
	}
}

// skip gives where in src, from i on, there is something but blanks.
func skip(src string, i int) int {
	for i < len(src) && class[src[i]] == blank {
		i++
	}
	return i
}

// checkEvery is after how many lines the context is asked.
const checkEvery = 1024

// Classes of bytes that are not simply part of a word.
const (
	special = 1 << iota // comment, substitution, quote, NUL, a blank that parts no words
	brace
	blank
	newline
)

var class = func() (c [256]uint8) {
	for _, b := range "!#$\"\x00\f\v" {
		c[b] = special
	}
	for _, b := range "{}" {
		c[b] = brace
	}
	for _, b := range " \t\r" {
		c[b] = blank
	}
	c['\n'] = newline
	return c
}()

// plain takes the first line of src if it consists of words, perhaps with a
// block that opens behind them, or of a brace that closes one: nearly every
// line there is. Other lines it leaves as they are.
func (p *reader) plain(src string) (rest string, done bool) {
	first, raw, last := len(p.words), 0, 0 // index of the first word; where what follows it begins, and ends
	open, closing := 0, 0                  // columns of the braces
	i := 0
	for i < len(src) {
		switch k := class[src[i]]; {
		case k == blank:
			i = skip(src, i+1)
			continue
		case k == newline:
		case k == special || open+closing > 0:
			return p.undo(first)
		case src[i] == '{' && len(p.words) > first:
			i++
			open = i
			continue
		case src[i] == '}' && len(p.words) == first:
			i++
			closing = i
			continue
		case k == brace:
			return p.undo(first)
		default:
			start := i
			for i++; i < len(src) && class[src[i]] == 0; i++ {
			}
			text := src[start:i]
			if len(p.words) == first {
				if rewritten(text) {
					return "", false
				}
				raw = i
			}
			last = i
			first = p.word(Word{Text: text, Column: int32(start + 1)}, first)
			continue
		}
		break
	}
	p.line++
	if i < len(src) {
		rest = src[i+1:]
	}
	if n := len(p.words); n > first {
		for raw < last && class[src[raw]] == blank {
			raw++
		}
		p.add(p.words[first:n:n], src[raw:last])
	}
	switch {
	case open > 0:
		p.open(open)
	case closing > 0:
		p.close(closing)
	}
	return rest, true
}

// rewritten tells whether a line with this first word is not read as it stands.
func rewritten(word string) bool {
	return word[0] == '@' || word[0] == '~' || word[0] == 'i' && strings.HasPrefix(word, "include")
}

// undo gives back the words from first on, for a line that is not plain.
func (p *reader) undo(first int) (rest string, done bool) {
	p.words = p.words[:first]
	return "", false
}

// word adds one to the words of a line, which begin at first and stay in one
// arena; it gives their new beginning.
func (p *reader) word(w Word, first int) int {
	if len(p.words) == cap(p.words) {
		line := p.words[first:]
		p.words = append(make([]Word, 0, max(arenaSize, 2*len(line))), line...)
		first = 0
	}
	p.words = append(p.words, w)
	return first
}

// next cuts one line off src, its comment and trailing blanks removed.
func (p *reader) next(src string) (line, rest string) {
	p.line++
	line = src
	if i := strings.IndexByte(src, '\n'); i >= 0 {
		line, rest = src[:i], src[i+1:]
	}
	if i := strings.IndexByte(line, 0); i >= 0 {
		p.fault(Error, i+1, "NUL byte in line: remove it, the line is ignored")
		return "", rest
	}
	return stripComment(line), rest
}

// stripComment cuts at the first ! or # outside double quotes, in the middle of
// a word too; \! and \# stand for the bare character.
func stripComment(s string) string {
	if !strings.ContainsAny(s, "!#") {
		return strings.TrimRight(s, " \t\r\f\v")
	}
	quoted, escaped := false, false
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			quoted = !quoted
		case '!', '#':
			if quoted {
				continue
			}
			if i > 0 && s[i-1] == '\\' {
				escaped = true
				continue
			}
			s = s[:i]
		}
	}
	if escaped {
		s = strings.NewReplacer(`\!`, "!", `\#`, "#").Replace(s)
	}
	return strings.TrimRight(s, " \t\r\f\v")
}

// definition takes a $NAME=value line, with its continuation lines, from the
// source. A line behind an @condition may be a definition too; logical comes
// back for it through define.
func (p *reader) definition(text, src string) (rest string, ok bool) {
	name, value, ok := cutDefinition(p.condition(text))
	if !ok {
		return src, false
	}
	parts := []string{}
	for strings.HasSuffix(value, `\`) && src != "" {
		parts = append(parts, strings.TrimSuffix(value, `\`))
		value, src = p.next(src)
		value = strings.TrimLeft(value, " \t")
	}
	if parts = append(parts, strings.TrimSuffix(value, `\`)); len(parts) > 1 && parts[0] == "" {
		parts = parts[1:]
	}
	p.defs[name] = strings.Join(parts, "\n")
	return src, true
}

func cutDefinition(text string) (name, value string, ok bool) {
	text = strings.TrimLeft(text, " \t")
	if !strings.HasPrefix(text, "$") {
		return "", "", false
	}
	n := nameLen(text[1:])
	if n == 0 {
		return "", "", false
	}
	name, value = text[1:1+n], text[1+n:]
	if !strings.HasPrefix(value, "=") {
		return "", "", false
	}
	return name, strings.TrimLeft(value[1:], " \t"), true
}

// nameLen is the length of the definition name s starts with.
func nameLen(s string) int {
	n := 0
	for n < len(s) && (s[n] == '_' || s[n]|0x20 >= 'a' && s[n]|0x20 <= 'z' || n > 0 && s[n] >= '0' && s[n] <= '9') {
		n++
	}
	return n
}

// condition applies @WORD and @^WORD: the rest of the line, or "" when it is not for us.
func (p *reader) condition(text string) string {
	s := strings.TrimLeft(text, " \t")
	if !strings.HasPrefix(s, "@") {
		return text
	}
	word, rest, _ := strings.Cut(s[1:], " ")
	if w, r, ok := strings.Cut(s[1:], "\t"); ok && len(w) < len(word) {
		word, rest = w, r
	}
	want := true
	if inverse, ok := strings.CutPrefix(word, "^"); ok {
		word, want = inverse, false
	}
	if (word == p.opts.ConfigID) != want {
		return ""
	}
	return rest
}

// logical does what remains of a line: condition, substitution, include, words and braces.
func (p *reader) logical(text string, level int) {
	text = p.condition(text)
	if strings.HasPrefix(strings.TrimLeft(text, " \t"), "~") {
		p.repeat(text, level)
		return
	}
	if strings.Contains(text, "$") {
		expanded, ok := p.expand(text)
		if !ok {
			return
		}
		text = expanded
	}
	// A definition of several lines, which repeat may have put in before.
	for part := range strings.SplitSeq(text, "\n") {
		p.statement(part)
	}
}

// expand substitutes definitions until nothing changes. Unknown names stay as
// they are, so that the reader of the value reports them where they stand.
func (p *reader) expand(text string) (string, bool) {
	for range maxExpandDepth {
		if p.expanded > maxExpandTotal {
			return "", false
		}
		next, changed := p.expandOnce(text)
		if p.expanded += len(next); p.expanded > maxExpandTotal {
			p.fault(Error, 1, "more than %d MiB of $ substitutions in all: this line and others like it are ignored", maxExpandTotal>>20)
			return "", false
		}
		if len(next) > maxExpandLen {
			p.fault(Error, 1, "line longer than %d bytes after $ substitution: line ignored", maxExpandLen)
			return "", false
		}
		if !changed {
			return next, true
		}
		text = next
	}
	p.fault(Error, 1, "$ definitions nested more than %d deep: does one refer to itself? line ignored", maxExpandDepth)
	return "", false
}

func (p *reader) expandOnce(text string) (string, bool) {
	var b strings.Builder
	changed := false
	for {
		i := strings.IndexByte(text, '$')
		if i < 0 {
			break
		}
		b.WriteString(text[:i])
		text = text[i:]
		value, used := p.reference(text)
		if used == 0 {
			b.WriteByte('$')
			text = text[1:]
			continue
		}
		b.WriteString(value)
		text, changed = text[used:], true
		if b.Len() > maxExpandLen {
			break
		}
	}
	b.WriteString(text)
	return b.String(), changed
}

// reference resolves the $NAME or ${NAME} that s starts with and says how
// many bytes it took; 0 when it names nothing known.
func (p *reader) reference(s string) (value string, used int) {
	if strings.HasPrefix(s, "${") {
		end := strings.IndexByte(s, '}')
		if end < 0 {
			return "", 0
		}
		if v, ok := p.lookup(s[2:end]); ok {
			return v, end + 1
		}
		return "", 0
	}
	n := nameLen(s[1:])
	if n == 0 || len(s) > 1+n && !strings.ContainsRune(" \t,)", rune(s[1+n])) {
		return "", 0
	}
	if v, ok := p.lookup(s[1 : 1+n]); ok {
		return v, 1 + n
	}
	return "", 0
}

func (p *reader) lookup(ref string) (string, bool) {
	if v, ok := p.defs[ref]; ok {
		return v, true
	}
	words := strings.Fields(ref)
	if len(words) == 0 {
		return "", false
	}
	switch words[0] {
	case "_PWD":
		dir, err := filepath.Abs(filepath.Dir(p.name))
		return dir, err == nil
	case "_INSTANCE":
		return p.opts.Instance, true
	case "_HASH":
		return "#", true
	case "_BANG":
		return "!", true
	case "_RANDOM":
		return random(words[1:])
	case "_ENV":
		if p.opts.Getenv != nil && len(words) == 2 {
			return p.opts.Getenv(words[1])
		}
	}
	return "", false
}

// random is ${_RANDOM [MIN [MAX]]}; 0..32767 without bounds.
func random(bounds []string) (string, bool) {
	lo, hi := 0, 32767
	var err error
	if len(bounds) > 0 {
		if lo, err = strconv.Atoi(bounds[0]); err != nil {
			return "", false
		}
	}
	if len(bounds) > 1 {
		if hi, err = strconv.Atoi(bounds[1]); err != nil {
			return "", false
		}
	}
	if lo < 0 || hi < lo || hi > 1<<31-1 {
		return "", false
	}
	return strconv.Itoa(lo + rand.IntN(hi-lo+1)), true
}
