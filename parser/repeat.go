// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"strconv"
	"strings"
)

// Bounds of ~SEQ and ~LST lines, nested ones included.
const (
	maxRepeat      = 65536
	maxRepeatLevel = 4
)

// repeat handles ~SEQ(VAR, START [, STEP], END) line, its hexadecimal twin
// ~SEQx and ~LST(VAR, item...) line: the line once per value, $VAR set to it.
func (p *reader) repeat(text string, level int) {
	col := len(text) - len(strings.TrimLeft(text, " \t")) + 1
	if level >= maxRepeatLevel {
		p.fault(Error, col, "~SEQ and ~LST nested more than %d deep: line ignored", maxRepeatLevel)
		return
	}
	s, ok := p.expand(strings.TrimLeft(text, " \t"))
	if !ok {
		return
	}
	open, closing := strings.IndexByte(s, '('), strings.IndexByte(s, ')')
	if open < 0 || closing < open {
		p.fault(Error, col, "'%s': expected ~SEQ(VAR, START, END) or ~LST(VAR, ITEM...) and a line: line ignored", s)
		return
	}
	var names []string
	var rows [][]string
	switch kind := strings.TrimSpace(s[:open]); kind {
	case "~SEQ", "~SEQx":
		args := splitItems(s[open+1 : closing])
		var values []string
		if names = args[:1]; len(args) > 1 {
			values, ok = sequence(args[1:], kind == "~SEQx")
		} else {
			ok = false
		}
		for _, v := range values {
			rows = append(rows, []string{v})
		}
	case "~LST":
		names, rows, ok = list(splitItems(s[open+1 : closing]))
	default:
		ok = false
	}
	for _, name := range names {
		ok = ok && name != "" && nameLen(name) == len(name)
	}
	if !ok {
		p.fault(Error, col, "'%s': expected ~SEQ(VAR, START [, STEP], END) with at most %d values, or ~LST(VAR, ITEM...): line ignored", s[:closing+1], maxRepeat)
		return
	}
	p.each(names, rows, s[closing+1:], level)
}

// splitItems cuts at the commas outside braces.
func splitItems(s string) []string {
	var items []string
	depth, start := 0, 0
	for i := range len(s) {
		switch s[i] {
		case '{':
			depth++
		case '}':
			depth--
		case ',':
			if depth == 0 {
				items = append(items, strings.TrimSpace(s[start:i]))
				start = i + 1
			}
		}
	}
	return append(items, strings.TrimSpace(s[start:]))
}

// list takes the arguments of ~LST: VAR and items, or {VAR, VAR...} and items
// of as many values; values that are missing are empty.
func list(args []string) (names []string, rows [][]string, ok bool) {
	if len(args) < 2 {
		return nil, nil, false
	}
	names = tuple(args[0])
	for _, item := range args[1:] {
		row := tuple(item)
		if len(row) > len(names) {
			return nil, nil, false
		}
		rows = append(rows, append(row, make([]string, len(names)-len(row))...))
	}
	return names, rows, true
}

// tuple gives the values between braces, or s itself.
func tuple(s string) []string {
	if !strings.HasPrefix(s, "{") || !strings.HasSuffix(s, "}") {
		return []string{s}
	}
	return splitItems(s[1 : len(s)-1])
}

// each runs line for every row of values; the variables have their old
// meaning afterwards.
func (p *reader) each(names []string, rows [][]string, line string, level int) {
	old := map[string]string{}
	for _, name := range names {
		if v, had := p.defs[name]; had {
			old[name] = v
		}
	}
	for _, row := range rows {
		if p.repeats++; p.repeats > maxRepeat || p.ended() != nil {
			p.fault(Error, 1, "~SEQ and ~LST lines give more than %d lines: the rest is ignored", maxRepeat)
			break
		}
		for i, name := range names {
			p.defs[name] = row[i]
		}
		p.logical(line, level+1)
	}
	for _, name := range names {
		delete(p.defs, name)
	}
	for name, v := range old {
		p.defs[name] = v
	}
}

// sequence gives the values from START, 1 if it is left out, to END, both
// included, up or down. The numbers are decimal or 0x..., the values decimal or
// hexadecimal.
func sequence(args []string, hex bool) ([]string, bool) {
	if len(args) > 3 {
		return nil, false
	}
	var n [3]int64
	for i, a := range args {
		v, err := strconv.ParseInt(a, 0, 32)
		if err != nil {
			return nil, false
		}
		n[i] = v
	}
	start, step, end := n[0], n[1], n[2]
	switch len(args) {
	case 1:
		start, end = 1, n[0]
	case 2:
		end = n[1]
	}
	if len(args) < 3 {
		if step = 1; end < start {
			step = -1
		}
	}
	if step == 0 || (end-start)/step < 0 || step > 0 && end < start || step < 0 && end > start || (end-start)/step >= maxRepeat {
		return nil, false
	}
	base := 10
	if hex {
		base = 16
	}
	var out []string
	for v := start; step > 0 && v <= end || step < 0 && v >= end; v += step {
		out = append(out, strconv.FormatInt(v, base))
	}
	return out, true
}
