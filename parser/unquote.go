// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"fmt"
	"strconv"
	"strings"
)

// Unquote splits the raw text of a statement whose arguments are a command, a
// path or a regular expression (Node.Raw). There both '…' and "…" group, and a
// backslash outside '…' starts one of a b E f n r t v, one to three octal
// digits, xHH or cX for control-X; before any other character it is dropped.
func Unquote(raw string) ([]string, error) {
	var words []string
	for {
		raw = strings.TrimLeft(raw, " \t")
		if raw == "" {
			return words, nil
		}
		word, rest, err := unquoteWord(raw)
		if err != nil {
			return nil, err
		}
		words, raw = append(words, word), rest
	}
}

func unquoteWord(s string) (word, rest string, err error) {
	var b strings.Builder
	var quote byte
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == '\\' && quote != '\'':
			n, ch, err := escape(s[i+1:])
			if err != nil {
				return "", "", err
			}
			b.WriteByte(ch)
			i += 1 + n
			continue
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote == 0 && (c == ' ' || c == '\t'):
			return b.String(), s[i:], nil
		default:
			b.WriteByte(c)
		}
		i++
	}
	if quote != 0 {
		return "", "", fmt.Errorf("unmatched quote in '%s'", s)
	}
	return b.String(), "", nil
}

const plainEscapes = "a\ab\bE\x1bf\fn\nr\rt\tv\v"

// escape decodes what follows a backslash and says how many bytes it took.
func escape(s string) (n int, ch byte, err error) {
	if s == "" {
		return 0, 0, fmt.Errorf("backslash at the end of the line")
	}
	for i := 0; i < len(plainEscapes); i += 2 {
		if s[0] == plainEscapes[i] {
			return 1, plainEscapes[i+1], nil
		}
	}
	switch c := s[0]; {
	case c == 'c' && len(s) > 1:
		return 2, s[1] & 0x1f, nil
	case c == 'x':
		for n = 1; n < len(s) && n < 3 && strings.IndexByte("0123456789abcdefABCDEF", s[n]) >= 0; {
			n++
		}
		v, err := strconv.ParseUint(s[1:n], 16, 8)
		if err != nil {
			return 0, 0, fmt.Errorf("\\x needs one or two hex digits")
		}
		return n, byte(v), nil
	case c >= '0' && c <= '7':
		for n = 1; n < len(s) && n < 3 && s[n] >= '0' && s[n] <= '7'; {
			n++
		}
		v, err := strconv.ParseUint(s[:n], 8, 8)
		if err != nil {
			return 0, 0, fmt.Errorf("octal escape beyond 377")
		}
		return n, byte(v), nil
	}
	return 1, s[0], nil
}
