// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"fmt"
	"regexp"
	"time"

	"github.com/dlclark/regexp2"
)

// backtrackTime bounds one search with an expression that only backtracking can
// find: one that runs away must not hold up the checks of everybody else.
const backtrackTime = 100 * time.Millisecond

// pattern is the expression of a URL. Package regexp, whose time is in proportion
// to the page, does what it can; look-around and references back are for the
// other one.
type pattern struct {
	linear *regexp.Regexp
	back   *regexp2.Regexp
}

// CheckRegex tells whether a URL may have the expression: the syntax is that of
// package regexp, with look-around, references back, atomic groups, possessive
// repetitions and (?x) besides.
func CheckRegex(expr string) error {
	_, err := newPattern(expr)
	return err
}

func newPattern(expr string) (*pattern, error) {
	re, err := regexp.Compile(expr)
	if err == nil {
		return &pattern{linear: re}, nil
	}
	back, backErr := regexp2.Compile(string(bytesAsRunes([]byte(expr))), regexp2.None)
	if backErr != nil {
		back, backErr = regexp2.Compile(string(bytesAsRunes([]byte(withoutPossessive(expr)))), regexp2.None)
	}
	if backErr != nil {
		return nil, fmt.Errorf("%w; with backtracking: %w", err, backErr)
	}
	back.MatchTimeout = backtrackTime
	return &pattern{back: back}, nil
}

// find gives where the first match at or behind from begins, -1 without one.
func (p *pattern) find(body []byte, from int) (int, error) {
	if p.linear != nil {
		if at := p.linear.FindIndex(body[from:]); at != nil {
			return from + at[0], nil
		}
		return -1, nil
	}
	m, err := p.back.FindRunesMatchStartingAt(bytesAsRunes(body), from)
	switch {
	case err != nil:
		return -1, err
	case m == nil:
		return -1, nil
	}
	return m.Index, nil
}

// bytesAsRunes has each byte be a character, as for PCRE2 without its UTF mode.
func bytesAsRunes(p []byte) []rune {
	r := make([]rune, len(p))
	for i, b := range p {
		r[i] = rune(b)
	}
	return r
}
