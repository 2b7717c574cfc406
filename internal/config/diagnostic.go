// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"
	"fmt"
	"slices"

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
	// Error: the configuration cannot mean what was written. An object is
	// missing from the Config or has a default where a value was meant; a
	// daemon should not start, and not reload, with it.
	Error
)

// String gives info, warning or error.
func (s Severity) String() string { return [...]string{"info", "warning", "error"}[s] }

// Diagnostic is one remark about the configuration, in one line, with its remedy.
type Diagnostic struct {
	Pos      Pos
	Severity Severity
	Text     string
	// Missing says that a keyword lacks its word, for which the original has
	// an exit code of its own.
	Missing bool
}

// String gives (FILE: Line N) text, the form of the original program.
func (d Diagnostic) String() string {
	return fmt.Sprintf("(%s: Line %d) %s", d.Pos.File, d.Pos.Line, d.Text)
}

// Worst gives the highest severity among diags, and false when there are none.
func Worst(diags []Diagnostic) (Severity, bool) {
	if len(diags) == 0 {
		return Info, false
	}
	return slices.MaxFunc(diags, func(a, b Diagnostic) int { return cmp.Compare(a.Severity, b.Severity) }).Severity, true
}

// Errors counts the diagnostics of severity Error.
func Errors(diags []Diagnostic) int {
	n := 0
	for _, d := range diags {
		if d.Severity == Error {
			n++
		}
	}
	return n
}

func (l *loader) report(p Pos, s Severity, format string, args ...any) {
	l.diags = append(l.diags, Diagnostic{Pos: p, Severity: s, Text: fmt.Sprintf(format, args...)})
}

func (l *loader) info(p Pos, format string, args ...any)  { l.report(p, Info, format, args...) }
func (l *loader) warn(p Pos, format string, args ...any)  { l.report(p, Warning, format, args...) }
func (l *loader) error(p Pos, format string, args ...any) { l.report(p, Error, format, args...) }

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
