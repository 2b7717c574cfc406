// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// failed is the events of a test below others that failed with what it said.
func failed(pkg, test, said string) string {
	var out strings.Builder
	parts := strings.Split(test, "/")
	for i := range parts {
		fmt.Fprintf(&out, "{\"Action\":\"run\",\"Package\":%q,\"Test\":%q}\n", pkg, strings.Join(parts[:i+1], "/"))
	}
	fmt.Fprintf(&out, "{\"Action\":\"output\",\"Package\":%q,\"Test\":%q,\"Output\":%q}\n", pkg, test, said+"\n")
	for i := len(parts); i > 0; i-- {
		fmt.Fprintf(&out, "{\"Action\":\"fail\",\"Package\":%q,\"Test\":%q}\n", pkg, strings.Join(parts[:i], "/"))
	}
	fmt.Fprintf(&out, "{\"Action\":\"fail\",\"Package\":%q}\n", pkg)
	return out.String()
}

const passed = `{"Action":"run","Package":"p","Test":"TestZ"}
{"Action":"pass","Package":"p","Test":"TestZ"}
`

func TestAgain(t *testing.T) {
	for name, c := range map[string]struct {
		events string
		second func(pkg, pattern string) string // the events of the second run
		runs   []string
		want   string // the closing line
	}{
		"host stood still": {
			events: passed + failed("p", "TestPair/ours/late", "no advert in 1s"),
			runs:   []string{"-race -run ^TestPair$ p"}, want: "2 passed, 0 failed, 0 skipped",
		},
		"one of a guest, with two subtests": {
			events: failed("e", "TestGuestsX/6.12/stock/TestY/a/b", "late") + failed("e", "TestGuestsX/6.12/stock/TestY/c.d", "late") + passed,
			runs:   []string{"-race -run ^TestGuestsX$/^6\\.12$/^stock$/^TestY$ e"}, want: "3 passed, 0 failed, 0 skipped",
		},
		"broken": {
			events: passed + failed("p", "TestA", "wrong"), second: func(pkg, _ string) string { return failed(pkg, "TestA", "wrong") },
			runs: []string{"-race -run ^TestA$ p"}, want: "1 passed, 1 failed, 0 skipped",
		},
		"skipped the second time": {
			events: passed + failed("p", "TestA", "wrong"),
			second: func(string, string) string { return `{"Action":"skip","Package":"p","Test":"TestA"}` },
			runs:   []string{"-race -run ^TestA$ p"}, want: "1 passed, 1 failed, 0 skipped",
		},
		"nothing runs the second time": {
			events: passed + failed("p", "TestA", "wrong"), second: func(string, string) string { return "" },
			runs: []string{"-race -run ^TestA$ p"}, want: "1 passed, 1 failed, 0 skipped",
		},
		"data race":         {events: passed + failed("p", "TestA", "WARNING: DATA RACE"), want: "1 passed, 1 failed, 0 skipped"},
		"kernel":            {events: passed + failed("e", "TestGuestsX/6.1/ours/TestY", "while this test ran, the kernel said:\n\tBUG"), want: "1 passed, 1 failed, 0 skipped"},
		"guest":             {events: passed + failed("e", "TestGuestsX/6.1", "guest: the guest ended without a word"), want: "1 passed, 1 failed, 0 skipped"},
		"panic":             {events: passed + failed("p", "TestA", "odd") + `{"Action":"output","Package":"p","Output":"panic: oh\n"}` + "\n", want: "1 passed, 1 failed, 0 skipped"},
		"does not build":    {events: passed + failed("p", "TestA", "odd") + `{"Action":"fail","Package":"q"}` + "\n", want: "1 passed, 1 failed, 0 skipped"},
		"too many to blame": {events: passed + failed("p", "TestA", "") + failed("p", "TestB", "") + failed("p", "TestC", "") + failed("p", "TestD", ""), want: "1 passed, 4 failed, 0 skipped"},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			s := newSummary(&out)
			s.flags = []string{"-race"}
			if err := s.read(strings.NewReader(c.events)); err != nil {
				t.Fatal(err)
			}
			var runs []string
			ok := s.again(t.Context(), func(_ context.Context, second *summary, flags []string, args ...string) bool {
				args = append(slices.Clone(flags), args...)
				runs = append(runs, strings.Join(args, " "))
				events := passed
				if c.second != nil {
					events = c.second(args[len(args)-1], args[len(args)-2])
				}
				return second.read(strings.NewReader(events)) == nil
			})
			if !slices.Equal(runs, c.runs) {
				t.Errorf("ran %q, want %q", runs, c.runs)
			}
			code := s.close(ok)
			lines := strings.Split(strings.TrimSpace(out.String()), "\n")
			if got := lines[len(lines)-1]; got != c.want {
				t.Errorf("closed with %q, want %q", got, c.want)
			}
			if forgiven := strings.Contains(out.String(), "passed when run again"); forgiven != (code == 0) || forgiven != strings.Contains(c.want, " 0 failed") {
				t.Errorf("exit code %d after\n%s", code, out.String())
			}
		})
	}
}
