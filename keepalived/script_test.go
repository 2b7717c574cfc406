// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// spoken is what the last run of a script has written.
type spoken struct{ out, err bytes.Buffer }

// TestScripted runs testdata/script:
//
//	run CODE ARGS...   runs keepalived and wants this exit code
//	said FILE          the whole standard error of run
//	printed FILE       the whole standard output of run
func TestScripted(t *testing.T) {
	of := func(ts *testscript.TestScript) *spoken { return ts.Value("spoken").(*spoken) }
	compare := func(what string, of func(*testscript.TestScript) string) func(*testscript.TestScript, bool, []string) {
		return func(ts *testscript.TestScript, _ bool, args []string) {
			if got, want := of(ts), ts.ReadFile(args[0]); got != want {
				ts.Fatalf("%s:\n%s\nwant:\n%s", what, got, want)
			}
		}
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Values["spoken"] = &spoken{}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"run": func(ts *testscript.TestScript, _ bool, args []string) {
				s := of(ts)
				*s = spoken{}
				a := testApp(&s.out, &s.err)
				a.config.Parser.ReadFile = func(name string) ([]byte, error) { return os.ReadFile(ts.MkAbs(name)) }
				got := strconv.Itoa(a.run(context.Background(), append([]string{"/usr/sbin/keepalived"}, args[1:]...)))
				fmt.Fprint(ts.Stdout(), s.out.String())
				fmt.Fprint(ts.Stderr(), s.err.String())
				if got != args[0] {
					ts.Fatalf("exit code %s, want %s", got, args[0])
				}
			},
			"said":    compare("standard error", func(ts *testscript.TestScript) string { return of(ts).err.String() }),
			"printed": compare("standard output", func(ts *testscript.TestScript) string { return of(ts).out.String() }),
		},
	})
}
