// SPDX-License-Identifier: Apache-2.0

package popt

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
)

var table = []Option{
	{Long: "add-service", Short: 'A', ID: 'A'},
	{Long: "list", Short: 'L', ID: 'L'},
	{Short: 'l', ID: 'L'},
	{Long: "numeric", Short: 'n', ID: 'n'},
	{Long: "tcp-service", Short: 't', Arg: Required, ID: 't'},
	{Long: "scheduler", Short: 's', Arg: Required, ID: 's'},
	{Long: "weight", Short: 'w', Arg: Required, ID: 'w'},
	{Long: "ipip", Short: 'i', ID: 'i'},
	{Long: "persistent", Short: 'p', Arg: Optional, ID: 'p'},
	{Long: "persistent-conn", ID: 'C'},
	{Long: "config-test", Arg: Optional, ID: 'T'},
}

// scan prints what a command line means: one token an option, words after a
// bar. Errors are tokens too.
func scan(mode Mode, args ...string) string {
	s := New(mode, NewTable(table), args)
	var out []string
	for {
		m, err := s.Next()
		var bad *Error
		switch {
		case errors.Is(err, io.EOF):
			if w := s.Words(); len(w) > 0 {
				out = append(out, "|", strings.Join(w, " "))
			}
			return strings.Join(out, " ")
		case errors.As(err, &bad):
			out = append(out, "("+err.Error()+")")
		case m.HasValue:
			out = append(out, fmt.Sprintf("%c=%q", m.ID, m.Value))
		default:
			out = append(out, fmt.Sprintf("%c", m.ID))
		}
	}
}

// The rows come from recordings of programs linked with the two libraries.
func TestScan(t *testing.T) {
	for _, tc := range []struct{ line, popt, getopt string }{
		{"-At 1.2.3.4:80 -srr", `A t="1.2.3.4:80" s="rr"`, `A t="1.2.3.4:80" s="rr"`},
		{"-Ln", "L n", "L n"},
		{"-w=5", `w="5"`, `w="=5"`},
		{"-s==rr", `s="=rr"`, `s="==rr"`},
		{"-s =rr", `s="=rr"`, `s="=rr"`},
		{"-At=10.0.0.1:80", `A t="10.0.0.1:80"`, `A t="=10.0.0.1:80"`},
		{"-p 300", `p="300"`, "p | 300"},
		{"-p -s rr", `p s="rr"`, `p s="rr"`},
		{"-p300", `p="300"`, `p="300"`},
		{"-p=60", `p="60"`, `p="=60"`},
		{"-p -5", "p (-5: unknown option)", "p (invalid option -- '5')"},
		{"-ps rr", `p="s" | rr`, `p="s" | rr`},
		{"-A -p 10.0.0.1:80", `A p="10.0.0.1:80"`, "A p | 10.0.0.1:80"},
		{"--persistent=60", `p="60"`, `p="60"`},
		{"--persistent=", `p=""`, `p=""`},
		{"--persistent", "p", "p"},
		{"--scheduler=", `s=""`, `s=""`},
		{"--add-serv", "(--add-serv: unknown option)", "A"},
		{"--persis", "(--persis: unknown option)", "(option '--persis' is ambiguous; possibilities: '--persistent' '--persistent-conn')"},
		{"--NUMERIC", "(--NUMERIC: unknown option)", "(unrecognized option '--NUMERIC')"},
		{"--numeric=1", "(--numeric=1: option does not take an argument)", "(option '--numeric' doesn't allow an argument)"},
		{"-Lnq", "L n (-Lnq: unknown option)", "L n (invalid option -- 'q')"},
		{"-n=1", "(-n=1: option does not take an argument)", "n (invalid option -- '=') (invalid option -- '1')"},
		{"-list", `L i s="t"`, `L i s="t"`},
		{"-t -s rr", `t="-s" | rr`, `t="-s" | rr`},
		{"-w -1", `w="-1"`, `w="-1"`},
		{"-A -t", "A (-t: missing argument)", "A (option requires an argument -- 't')"},
		{"-At", "A (-At: missing argument)", "A (option requires an argument -- 't')"},
		{"--weight", "(--weight: missing argument)", "(option '--weight' requires an argument)"},
		{"--wei", "(--wei: unknown option)", "(option '--weight' requires an argument)"},
		{"- a -n b", "n | - a b", "n | - a b"},
		{"-n -- -L --x", "n | -L --x", "n | -L --x"},
		{"--config-test=/x", `T="/x"`, `T="/x"`},
		{"--config-test /x", `T="/x"`, "T | /x"},
		{"--config-te=/x", "(--config-te=/x: unknown option)", `T="/x"`},
		{"--foo=bar", "(--foo=bar: unknown option)", "(unrecognized option '--foo=bar')"},
		{"", "", ""},
	} {
		args := strings.Fields(tc.line)
		if got := scan(Popt, args...); got != tc.popt {
			t.Errorf("popt %q:\n got %s\nwant %s", tc.line, got, tc.popt)
		}
		if got := scan(GetoptLong, args...); got != tc.getopt {
			t.Errorf("getopt_long %q:\n got %s\nwant %s", tc.line, got, tc.getopt)
		}
	}
}

func TestEmptyWordIsAnOptionalValue(t *testing.T) {
	if got, want := scan(Popt, "-p", ""), `p=""`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestSetOptionsWithinCluster(t *testing.T) {
	s := New(Popt, NewTable([]Option{{Short: 'a', ID: 'a'}, {Short: 'b', Arg: Required, ID: 'b'}}), []string{"-ab", "x"})
	if m, err := s.Next(); err != nil || m.ID != 'a' {
		t.Fatalf("got %v, %v", m, err)
	}
	s.SetOptions(NewTable([]Option{{Short: 'b', ID: 'B'}}))
	if m, err := s.Next(); err != nil || m.ID != 'B' || m.HasValue {
		t.Fatalf("got %v, %v: the new table does not count", m, err)
	}
	if got := s.Word(); got != "-ab" {
		t.Errorf("word %q, want the cluster", got)
	}
}

// Whatever the words are, the scan ends and loses none of them.
// TestStopAtWord: with POSIXLY_CORRECT all behind the first word is a word.
func TestStopAtWord(t *testing.T) {
	s := New(Popt, NewTable([]Option{{Short: 'n', ID: 1}}), []string{"-n", "word", "-n", "--", "x"})
	s.StopAtWord()
	if m, err := s.Next(); err != nil || m.ID != 1 {
		t.Fatalf("got %v, %v", m, err)
	}
	if m, err := s.Next(); err != io.EOF {
		t.Fatalf("got %v, %v", m, err)
	}
	if got := strings.Join(s.Words(), " "); got != "word -n -- x" {
		t.Errorf("words %q", got)
	}
}

func FuzzScan(f *testing.F) {
	f.Add("-At\x001.2.3.4:80\x00-srr", true)
	f.Add("--persis\x00--\x00-x", false)
	f.Add("-p\x00\x00-=\x00-", true)
	f.Fuzz(func(t *testing.T, line string, getopt bool) {
		mode := Popt
		if getopt {
			mode = GetoptLong
		}
		args := strings.Split(line, "\x00")
		s := New(mode, NewTable(table), args)
		for range len(line) + len(args) + 1 {
			_, err := s.Next()
			if errors.Is(err, io.EOF) {
				for _, w := range s.Words() {
					if !slices.Contains(args, w) {
						t.Fatalf("word %q was never typed", w)
					}
				}
				return
			}
			var bad *Error
			if errors.As(err, &bad) && bad.Error() == "" {
				t.Fatal("an error without text")
			}
		}
		t.Fatalf("%q: no end", args)
	})
}
