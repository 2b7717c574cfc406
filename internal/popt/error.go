// SPDX-License-Identifier: Apache-2.0

package popt

import (
	"fmt"
	"strings"
)

// Kind is what is wrong with an option.
type Kind uint8

// Kinds of errors.
const (
	Unknown Kind = iota + 1
	Missing
	Unwanted
	Ambiguous // getopt_long only
)

// Error is an option that cannot be read. Its text is the library's, as
// scripts know it, without the program's name in front.
type Error struct {
	Mode       Mode
	Kind       Kind
	Word       string   // the whole word, as typed
	Option     string   // "--name", as typed or in full as getopt_long does, or one letter
	Candidates []string // of an ambiguous abbreviation, with dashes
}

// Error implements error.
func (e *Error) Error() string {
	if e.Mode == Popt {
		return e.Word + ": " + map[Kind]string{
			Unknown:  "unknown option",
			Missing:  "missing argument",
			Unwanted: "option does not take an argument",
		}[e.Kind]
	}
	long := strings.HasPrefix(e.Option, "--")
	switch {
	case e.Kind == Unknown && long:
		return fmt.Sprintf("unrecognized option '%s'", e.Option)
	case e.Kind == Unknown:
		return fmt.Sprintf("invalid option -- '%s'", e.Option)
	case e.Kind == Missing && long:
		return fmt.Sprintf("option '%s' requires an argument", e.Option)
	case e.Kind == Missing:
		return fmt.Sprintf("option requires an argument -- '%s'", e.Option)
	case e.Kind == Unwanted:
		return fmt.Sprintf("option '%s' doesn't allow an argument", e.Option)
	}
	return fmt.Sprintf("option '%s' is ambiguous; possibilities: '%s'", e.Option, strings.Join(e.Candidates, "' '"))
}
