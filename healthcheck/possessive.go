// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"regexp"
	"strings"
)

var (
	// repetition is what may stand behind an atom, repeat with numbers in braces.
	repetition = regexp.MustCompile(`^(?:[*+?]|\{\d+(?:,\d*)?\})`)
	// escaped is an atom that begins with a backslash.
	escaped = regexp.MustCompile(`^\\(?:[xopPkg]\{[^}]*\}|k<[^>]*>|x[0-9a-fA-F]{0,2}|c.|[0-7]{1,3}|.)`)
	// class is an atom in brackets.
	class = regexp.MustCompile(`^\[\^?\]?(?:\[:[^:\]]*:\]|\\.|[^\]\\])*\]`)
)

// withoutPossessive writes each possessive repetition of an expression, as a++ or (ab)*+, as the atomic group that it
// stands for, (?>a+), which package regexp2 knows. It is for expressions outside of (?x), with no \Q.
func withoutPossessive(expr string) string {
	var out []byte
	var groups []int // where those that are open begin
	atom := -1       // where the last atom begins, -1 where nothing can be repeated
	for rest := expr; rest != ""; {
		if q := repetition.FindString(rest); q != "" && atom >= 0 {
			out, rest = append(out, q...), rest[len(q):]
			if after, ok := strings.CutPrefix(rest, "+"); ok {
				repeated := string(out[atom:])
				out, rest = append(out[:atom], "(?>"+repeated+")"...), after
			} else if after, ok := strings.CutPrefix(rest, "?"); ok {
				out, rest = append(out, '?'), after
			}
			atom = -1
			continue
		}
		word := rest[:1]
		switch rest[0] {
		case '\\':
			word = escaped.FindString(rest)
		case '[':
			word = class.FindString(rest)
		}
		if word == "" { // it is no expression
			return expr
		}
		switch at := len(out); word {
		case "(":
			groups, atom = append(groups, at), -1
			if strings.HasPrefix(rest, "(?") || strings.HasPrefix(rest, "(*") { // whose second sign repeats nothing
				word = rest[:2]
			}
		case ")":
			if len(groups) == 0 {
				return expr
			}
			atom, groups = groups[len(groups)-1], groups[:len(groups)-1]
		case "|":
			atom = -1
		default:
			atom = at
		}
		out, rest = append(out, word...), rest[len(word):]
	}
	return string(out)
}
