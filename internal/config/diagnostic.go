// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/lvs-fnat/lvs/parser"
)

// Pos is a place in a configuration file.
type Pos = parser.Pos

// Severity says what a diagnostic means for the run.
type Severity uint8

// The severities, the lightest first.
const (
	// Info: something is read but not in force in this version, or a deprecated word.
	Info Severity = iota
	// Warning: the original grumbles here too and runs on, without the line or with a default.
	Warning
	// Error: the configuration cannot mean what was written. A value has its
	// default, or an object is missing; the rest is in force. See [Config.Lost].
	Error
	// Fatal: no daemon starts with it, and none reloads it.
	Fatal
)

// String gives info, warning, error or fatal.
func (s Severity) String() string { return [...]string{"info", "warning", "error", "fatal"}[s] }

// Class sorts diagnostics by the exit code that the original has for them.
type Class uint8

// The classes.
const (
	Plain    Class = iota
	Missing        // a keyword lacks its word
	Include        // an include found nothing and had to
	Security       // commands run as root that others than root can change
)

// Exit codes of -t.
const (
	exitMissing = 2
	exitFaults  = 5
	exitSevere  = 6
)

// Diagnostic is one remark about the configuration, in one line, with its remedy.
type Diagnostic struct {
	Pos      Pos    // the zero Pos: about the whole
	Word     string // the word at Pos, "" if there is none
	Severity Severity
	Class    Class
	Text     string
}

// String gives (FILE: Line N) text, the form of the original program, with the
// column and, where the text does not name it, the word behind.
func (d Diagnostic) String() string {
	if d.Pos.Line == 0 {
		return d.Text
	}
	at := fmt.Sprintf("column %d", d.Pos.Column)
	if d.Word != "" && !strings.Contains(d.Text, d.Word) {
		at += ": '" + d.Word + "'"
	}
	return fmt.Sprintf("(%s: Line %d) %s (%s)", d.Pos.File, d.Pos.Line, d.Text, at)
}

// Worst gives the highest severity among diags, and false when there are none.
func Worst(diags []Diagnostic) (Severity, bool) {
	if len(diags) == 0 {
		return Info, false
	}
	return slices.MaxFunc(diags, func(a, b Diagnostic) int { return cmp.Compare(a.Severity, b.Severity) }).Severity, true
}

// ExitCode is that of -t, as the original has it: 2 when a word is missing, 6
// when an include found nothing that it had to find or commands are insecure,
// 5 for any other warning or error, 0 for a configuration without fault.
func ExitCode(diags []Diagnostic) int {
	code := 0
	for _, d := range diags {
		switch {
		case d.Class == Include && d.Severity == Fatal:
			return exitSevere
		case d.Class == Missing && d.Severity == Fatal:
			code = exitMissing
		case code == exitMissing:
		case d.Class == Security:
			code = exitSevere
		case d.Severity > Info && code == 0:
			code = exitFaults
		}
	}
	return code
}

// Refused gives what keeps a daemon from starting with the configuration, and
// false when nothing does.
func Refused(diags []Diagnostic) (first Diagnostic, refused bool) {
	i := slices.IndexFunc(diags, func(d Diagnostic) bool { return d.Severity == Fatal })
	if i < 0 {
		return Diagnostic{}, false
	}
	return diags[i], true
}

func (l *loader) report(p Pos, s Severity, format string, args ...any) *Diagnostic {
	l.diags = append(l.diags, Diagnostic{Pos: p, Severity: s, Text: fmt.Sprintf(format, args...)})
	return &l.diags[len(l.diags)-1]
}

func (l *loader) info(p Pos, format string, args ...any)  { l.report(p, Info, format, args...) }
func (l *loader) warn(p Pos, format string, args ...any)  { l.report(p, Warning, format, args...) }
func (l *loader) error(p Pos, format string, args ...any) { l.report(p, Error, format, args...) }

// place is a line of a file.
type place struct {
	file string
	line int
}

// addWords looks up the words that the diagnostics are about.
func addWords(diags []Diagnostic, nodes []*parser.Node) {
	if len(diags) == 0 {
		return
	}
	at := map[place][]int{}
	for i, d := range diags {
		p := place{d.Pos.File, d.Pos.Line}
		at[p] = append(at[p], i)
	}
	var walk func([]*parser.Node)
	walk = func(nodes []*parser.Node) {
		for _, n := range nodes {
			for _, i := range at[place{n.File(), int(n.Line)}] {
				for _, w := range n.Words {
					if c := int(w.Column); c <= diags[i].Pos.Column && diags[i].Pos.Column < c+max(1, len(w.Text)) {
						diags[i].Word = w.Text
					}
				}
			}
			walk(n.Children)
		}
	}
	walk(nodes)
}

// once drops what says the same about the same place as one before it.
func once(diags []Diagnostic) []Diagnostic {
	type key struct {
		pos  Pos
		text string
	}
	seen := make(map[key]bool, len(diags))
	return slices.DeleteFunc(diags, func(d Diagnostic) bool {
		k := key{d.Pos, d.Text}
		dup := seen[k]
		seen[k] = true
		return dup
	})
}

// sortDiagnostics puts the remarks into reading order: file after file as they
// were read, then by line; what was found later about one line stays behind.
func sortDiagnostics(diags []Diagnostic, files []string) {
	order := make(map[string]int, len(files))
	for i, f := range files {
		if _, ok := order[f]; !ok {
			order[f] = i
		}
	}
	slices.SortStableFunc(diags, func(a, b Diagnostic) int {
		return cmp.Or(cmp.Compare(order[a.Pos.File], order[b.Pos.File]), cmp.Compare(a.Pos.Line, b.Pos.Line))
	})
}
