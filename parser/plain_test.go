// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// TestPlain: a line means the same with a comment behind it, which has it take
// the way of all lines that are not plain words and braces.
func TestPlain(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	const letters = "aab{}  \t\r\"'\\\fi@"
	for range 3_000 {
		lines := make([]string, 1+rnd.IntN(6))
		for i := range lines {
			b := make([]byte, rnd.IntN(9))
			for k := range b {
				b[k] = letters[rnd.IntN(len(letters))]
			}
			// A backslash there, or an open quote, would make the comment's sign a letter.
			lines[i] = strings.TrimRight(string(b), `\`)
			if strings.Count(lines[i], `"`)%2 != 0 {
				lines[i] += `"`
			}
		}
		plain, faults, err := Parse(context.Background(), "k", strings.Join(lines, "\n"), Options{})
		if err != nil {
			t.Fatal(err)
		}
		commented, others, err := Parse(context.Background(), "k", strings.Join(lines, " #\n")+" #", Options{})
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(commented, plain, cmpopts.EquateEmpty(), cmp.AllowUnexported(Node{})) + cmp.Diff(others, faults); d != "" {
			t.Fatalf("%q: -with comments +without:\n%s", lines, d)
		}
	}
}
