// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unsafe"
)

// maxInclude bounds the nesting of include, so that a file that includes itself ends.
const maxInclude = 32

// Options are the surroundings of a parse. The zero value reads the real file
// system, knows no config id and no environment.
type Options struct {
	ConfigID string // what @WORD lines are compared with
	// Include are the checks that every include must pass; a file adds its own
	// with include_check.
	Include  IncludeCheck
	Instance string // value of ${_INSTANCE}

	// Getenv answers ${_ENV NAME}; nil: such references stay as they are.
	Getenv func(name string) (value string, ok bool)
	// ReadFile reads one file whole; nil: the file system, which refuses
	// anything but regular, non-executable files.
	ReadFile func(path string) ([]byte, error)
	// Known is given text that begins with a line of the file's outermost level, and
	// tells how many bytes of it are a whole block that was there before, whose text
	// Tree.Blocks had; 0: none. That block is skipped: its [Node] has no Children, and
	// that text in Tree.Blocks. nil: nothing is known.
	Known func(text string) (size int)
	// Later is a keyword whose blocks of the outermost level are left to a [Rereader]:
	// of one whose text is in Tree.Blocks, the Node has no Children. A large file has
	// little else, and as nodes takes many times its size. "": none.
	Later string
	// Glob lists the files of a pattern that has no braces left; nil: filepath.Glob.
	Glob func(pattern string) ([]string, error)
}

// blocks tells whether Tree.Blocks are wanted.
func (o *Options) blocks() bool { return o.Known != nil || o.Later != "" }

func (o *Options) fill() {
	if o.ReadFile == nil {
		o.ReadFile = readRegular
	}
	if o.Glob == nil {
		o.Glob = filepath.Glob
	}
}

// errNotRegular is worded as the original's message, which follows the file name.
type errNotRegular struct{}

func (errNotRegular) Error() string { return "is not a regular non-executable file - skipping" }

// readRegular refuses executables for the original's reason: a directory of
// configuration snippets may hold scripts and editors' leftovers.
func readRegular(path string) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Mode()&0o111 != 0 {
		return nil, &fs.PathError{Op: "read", Path: path, Err: errNotRegular{}}
	}
	return os.ReadFile(path)
}

// Load parses the file at path and all it includes. The error is non-nil when
// the main file cannot be read or ctx ends; faults in the text are returned
// beside a tree of everything that was sound.
func Load(ctx context.Context, path string, opts Options) (*Tree, []*Fault, error) {
	opts.fill()
	src, err := opts.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, pathless(err))
	}
	if len(src) == 0 {
		return Parse(ctx, path, "", opts)
	}
	// Nobody writes into src any more, and it can be large.
	return Parse(ctx, path, unsafe.String(&src[0], len(src)), opts)
}

// Parse is Load for text already read; name is the file name used in
// positions and the base of relative includes.
func Parse(ctx context.Context, name, src string, opts Options) (*Tree, []*Fault, error) {
	opts.fill()
	p := &reader{ended: ctx.Err, opts: opts, defs: map[string]string{}, checks: opts.Include}
	p.file(name, src)
	p.finish()
	if err := ctx.Err(); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	return &Tree{Nodes: p.root, Files: p.files, Blocks: p.blocks}, p.faults, nil
}

// pathless strips the operation and path of an os error: callers put the path first.
func pathless(err error) error {
	if pe, ok := err.(*fs.PathError); ok {
		return pe.Err
	}
	return err
}

// IncludeCheck says what an include must find; each failure of a check is Fatal.
type IncludeCheck uint8

// The checks of include_check, and of the letters behind include.
const (
	IncludeRead     IncludeCheck = 1 << iota // files found are readable: includer
	IncludeMatch                             // a plain name exists: includem
	IncludeWildcard                          // a pattern with * ? [ matches: includew, with IncludeMatch
	IncludeBrace                             // so does each alternative of a brace list: includeb
	IncludeAll      = IncludeRead | IncludeMatch | IncludeWildcard | IncludeBrace
)

// includeKinds are the words of the family with what they ask for.
var includeKinds = map[string]IncludeCheck{
	"include": 0, "includer": IncludeRead, "includem": IncludeMatch | IncludeRead,
	"includew": IncludeWildcard | IncludeMatch | IncludeRead, "includeb": IncludeBrace | IncludeRead, "includea": IncludeAll,
}

// includeWords are those of include_check.
var includeWords = map[string]IncludeCheck{
	"read": IncludeRead, "readable": IncludeRead, "match": IncludeMatch, "wildcard_match": IncludeWildcard, "brace_match": IncludeBrace,
}

// includeCheck follows a line of include_check: +WORD and WORD add a check,
// -WORD takes one away, no word asks for all.
func (p *reader) includeCheck(words []Word) {
	if len(words) == 1 {
		p.checks = IncludeAll
	}
	for _, w := range words[1:] {
		if name, ok := strings.CutPrefix(w.Text, "-"); ok {
			p.checks &^= includeWords[name]
			continue
		}
		p.checks |= includeWords[strings.TrimPrefix(w.Text, "+")]
	}
}

// include reads every file an include statement names, at the place of the
// statement: blocks may open in one file and close in another.
func (p *reader) include(key, pattern string, col int) {
	if p.depth >= maxInclude {
		p.fault(Error, col, "include nested more than %d deep: does %s include itself?", maxInclude, p.name)
		return
	}
	check := includeKinds[key] | p.checks
	level := func(must IncludeCheck) Severity {
		if check&must != 0 {
			return Fatal
		}
		return Note
	}
	alternatives := expandBraces(pattern)
	missing := 0
	for _, pat := range alternatives {
		found, err := p.includeOne(pat, col, level(IncludeRead))
		if err != nil {
			p.fault(Error, col, "include pattern '%s': %v", pattern, err)
			return
		}
		if !found {
			missing++
		}
	}
	switch {
	case missing == 0:
	case len(alternatives) > 1 && missing < len(alternatives):
		p.fault(level(IncludeBrace), col, "Some config files missing: \"%s\".", pattern)
	case len(alternatives) > 1:
		p.fault(level(IncludeBrace), col, "Config files missing '%s'.", pattern)
	case strings.ContainsAny(pattern, "*?["):
		p.fault(level(IncludeWildcard), col, "No config files matched '%s'.", pattern)
	default:
		p.fault(level(IncludeMatch), col, "Config files missing '%s'.", pattern)
	}
}

// includeOne reads the files of a pattern without braces; found tells whether
// there were any.
func (p *reader) includeOne(pat string, col int, unreadable Severity) (found bool, err error) {
	if !filepath.IsAbs(pat) {
		pat = filepath.Join(filepath.Dir(p.name), pat)
	}
	names, err := p.opts.Glob(pat)
	if err != nil {
		return false, err
	}
	for _, name := range names {
		found = true
		src, err := p.opts.ReadFile(name)
		if err != nil {
			p.fault(unreadable, col, "Configuration file '%s' %v", name, pathless(err))
			continue
		}
		p.file(name, string(src))
	}
	return found, nil
}

// expandBraces replaces a{b,c}d by abd and acd, nested lists included. Text
// with a brace that is not closed is returned as it is.
func expandBraces(s string) []string {
	open := strings.IndexByte(s, '{')
	if open < 0 {
		return []string{s}
	}
	var cuts []int
	depth, closing := 0, -1
	for i := open; i < len(s) && closing < 0; i++ {
		switch s[i] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				closing = i
			}
		case ',':
			if depth == 1 {
				cuts = append(cuts, i)
			}
		}
	}
	if closing < 0 {
		return []string{s}
	}
	var out []string
	start := open + 1
	for _, cut := range append(cuts, closing) {
		for _, tail := range expandBraces(s[start:cut] + s[closing+1:]) {
			if out = append(out, s[:open]+tail); len(out) > maxAlternatives {
				return out
			}
		}
		start = cut + 1
	}
	return out
}

// maxAlternatives bounds what one include line can expand to.
const maxAlternatives = 1024
