// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"io"
	"net"
	"strings"
	"testing"
)

func TestRegex(t *testing.T) {
	t.Parallel()
	const head = len("HTTP/1.0 200 OK\r\n\r\n") // which the offsets count
	serve := func(body string) func(net.Conn) {
		return func(c net.Conn) {
			c.Read(make([]byte, 4096))
			for _, part := range strings.SplitAfter("HTTP/1.0 200 OK\r\n\r\n"+body, "|") {
				io.WriteString(c, part)
			}
		}
	}
	a := server(t, "127.0.0.1:0", serve("0123|state=good|\n"))
	far := server(t, "127.0.0.1:0", serve(strings.Repeat("x", searchLimit)+"good"))
	spec := func(u URL) Spec {
		u.Path = "/"
		return Spec{Kind: HTTPGet, Conn: Conn{Addr: a}, HTTP: HTTP{URLs: []URL{u}}}
	}
	beyond := spec(URL{Regex: "good"})
	beyond.Conn.Addr = far
	for _, unknown := range []string{`a***`, `(?R)`, `(`, `a++(`} {
		if err := CheckRegex(unknown); err == nil {
			t.Errorf("%s is taken", unknown)
		}
	}
	// Of what takes for ever nothing is known, whatever was to be found.
	long := server(t, "127.0.0.1:0", serve(strings.Repeat("a", 5000)))
	runaway := spec(URL{Regex: `\n(a+)+\1b`})
	runaway.Conn.Addr = long
	runawayNot := spec(URL{Regex: `\n(a+)+\1b`, RegexNoMatch: true})
	runawayNot.Conn.Addr = long
	verdicts(t, map[string]struct {
		spec Spec
		up   bool
	}{
		"found":                {spec(URL{Regex: `st.te=good`}), true},
		"in the head":          {spec(URL{Regex: `^HTTP/1.0 200`}), true},
		"not found":            {spec(URL{Regex: `state=GOOD`}), false},
		"any case":             {spec(URL{Regex: `(?i)state=GOOD`}), true},
		"must not, found":      {spec(URL{Regex: `good`, RegexNoMatch: true}), false},
		"must not, not found":  {spec(URL{Regex: `bad`, RegexNoMatch: true}), true},
		"at the first byte":    {spec(URL{Regex: `state`, MinOffset: head + 5}), true},
		"before the first":     {spec(URL{Regex: `state`, MinOffset: head + 6}), false},
		"at the last":          {spec(URL{Regex: `state`, MatchBefore: head + 6}), true},
		"after the last":       {spec(URL{Regex: `state`, MatchBefore: head + 5}), false},
		"offset too large":     {spec(URL{Regex: `x*`, MinOffset: 5000}), false},
		"beyond the limit":     {beyond, false},
		"ahead":                {spec(URL{Regex: `state(?==good)`}), true},
		"possessive":           {spec(URL{Regex: `[a-z]++=go{2}+d\|`}), true},
		"possessive, too much": {spec(URL{Regex: `st.*+=good`}), false},
		"ahead, not there":     {spec(URL{Regex: `state(?!=good)`}), false},
		"behind":               {spec(URL{Regex: `(?<=state=)good`}), true},
		"behind an offset":     {spec(URL{Regex: `(?<=state=)good`, MinOffset: head + 11}), true},
		"back":                 {spec(URL{Regex: `(o)\1d`}), true},
		"back, at the last":    {spec(URL{Regex: `(o)\1d`, MatchBefore: head + 12}), false},
		"blanks without sense": {spec(URL{Regex: `(?x) st.te = good # ok`}), true},
		"bytes, not letters":   {spec(URL{Regex: `(?<=|)\xc3\xa4$`}), false},
		"it runs away":         {runaway, false},
		"it runs away, too":    {runawayNot, false},
	})
}

// TestPossessive: the rewritten expression is what PCRE2 says the other stands for.
func TestPossessive(t *testing.T) {
	t.Parallel()
	for expr, want := range map[string]string{
		`a++b`:               `(?>a+)b`,
		`a*+`:                `(?>a*)`,
		`xa?+b`:              `x(?>a?)b`,
		`a{2}+b{2,}+c{2,3}+`: `(?>a{2})(?>b{2,})(?>c{2,3})`,
		`a{x}++`:             `a{x(?>}+)`,
		`(a|b)*+c`:           `(?>(a|b)*)c`,
		`((a++)b)++`:         `(?>(((?>a+))b)+)`,
		`(?:ab)++`:           `(?>(?:ab)+)`,
		`[]+*]++`:            `(?>[]+*]+)`,
		`[^]a]*+`:            `(?>[^]a]*)`,
		`[[:alpha:]]++`:      `(?>[[:alpha:]]+)`,
		`[\]]++`:             `(?>[\]]+)`,
		`\++`:                `\++`,
		`\+++`:               `(?>\++)`,
		`\x{41}++`:           `(?>\x{41}+)`,
		`\x41++`:             `(?>\x41+)`,
		`\d*+`:               `(?>\d*)`,
		`a+?+`:               `a+?+`,
		`a+?b`:               `a+?b`,
		`a+`:                 `a+`,
		`(a`:                 `(a`,
		`a)++`:               `a)++`,
		`[a`:                 `[a`,
		`a\`:                 `a\`,
	} {
		if got := withoutPossessive(expr); got != want {
			t.Errorf("%s becomes %s, want %s", expr, got, want)
		}
	}
}
