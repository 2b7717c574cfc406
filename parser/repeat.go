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
	args := strings.Split(s[open+1:closing], ",")
	for i := range args {
		args[i] = strings.TrimSpace(args[i])
	}
	var values []string
	switch kind := strings.TrimSpace(s[:open]); kind {
	case "~SEQ", "~SEQx":
		values, ok = sequence(args[1:], kind == "~SEQx")
	case "~LST":
		values, ok = args[1:], len(args) > 1
	default:
		ok = false
	}
	if name := args[0]; !ok || name == "" || nameLen(name) != len(name) {
		p.fault(Error, col, "'%s': expected ~SEQ(VAR, START [, STEP], END) with at most %d values, or ~LST(VAR, ITEM...): line ignored", s[:closing+1], maxRepeat)
		return
	}
	p.each(args[0], values, s[closing+1:], level)
}

// each runs line for every value; the variable has its old meaning afterwards.
func (p *reader) each(name string, values []string, line string, level int) {
	old, had := p.defs[name]
	for _, v := range values {
		if p.repeats++; p.repeats > maxRepeat || p.ended() != nil {
			p.fault(Error, 1, "~SEQ and ~LST lines give more than %d lines: the rest is ignored", maxRepeat)
			break
		}
		p.defs[name] = v
		p.logical(line, level+1)
	}
	if delete(p.defs, name); had {
		p.defs[name] = old
	}
}

// sequence gives the values from START to END, both included, up or down.
func sequence(args []string, hex bool) ([]string, bool) {
	base := 10
	if hex {
		base = 16
	}
	if len(args) != 2 && len(args) != 3 {
		return nil, false
	}
	var n [3]int64
	for i, a := range args {
		v, err := strconv.ParseInt(a, base, 32)
		if err != nil {
			return nil, false
		}
		n[i] = v
	}
	start, step, end := n[0], n[1], n[2]
	if len(args) == 2 {
		start, step, end = n[0], 1, n[1]
		if end < start {
			step = -1
		}
	}
	if step == 0 || (end-start)/step < 0 || (end-start)/step >= maxRepeat {
		return nil, false
	}
	var out []string
	for v := start; step > 0 && v <= end || step < 0 && v >= end; v += step {
		out = append(out, strconv.FormatInt(v, base))
	}
	return out, true
}
