// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"context"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestKnown: a file that is read with its blocks known has the same tree, faults
// included, but for the children of the blocks, and these are what the texts of the
// blocks have. Some texts are not those of the file.
func TestKnown(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	lines := []string{"a x {\nc\n}\n", "a y {\nb {\n1\n}\n}\n", "a x {\n", "a y {\n", "a x {\n", "    b {\n", "b 1\n", "c\n", "    }\n", "}\n", "}\n", "}\n", " }\n", "\n", "# r\n", "$X=1\n", "d $X\n", "@w e {\n", "f \"g\"\n", "~SEQ(i, 1, 2) h ${i}\n", "{\n", "a x { b }\n", "\x00\n", "} }\n", "}"}
	known, skipped := 0, 0
	for range 3000 {
		var b strings.Builder
		for range 1 + rnd.IntN(14) {
			b.WriteString(lines[rnd.IntN(len(lines))])
		}
		text := b.String()
		parse := func(o Options) (*Tree, []*Fault) {
			tree, faults, err := Parse(context.Background(), "k", text, o)
			if err != nil {
				t.Fatal(err)
			}
			return tree, faults
		}
		plain, _ := parse(Options{})
		whole, faults := parse(Options{Known: func(string) int { return 0 }})
		if !reflect.DeepEqual(plain.Nodes, whole.Nodes) || plain.Blocks != nil {
			t.Fatalf("%q: another tree with its blocks", text)
		}
		blocks := map[string]string{}
		for i, n := range whole.Nodes {
			text := whole.Blocks[i]
			if text == "" {
				continue
			}
			known++
			if own, copied := n.Own(text); !reflect.DeepEqual(n, own) || copied != text {
				t.Fatalf("%q: -node +from its own text:\n%s", text, cmp.Diff(n, own, cmp.AllowUnexported(Node{})))
			}
			line := text[:strings.IndexByte(text, '\n')+1]
			if blocks[line] = text; rnd.IntN(4) == 0 {
				blocks[line] = line + "c\n}\n"
			}
		}
		part, others := parse(Options{Known: func(text string) int {
			if b := blocks[text[:strings.IndexByte(text, '\n')+1]]; strings.HasPrefix(text, b) {
				return len(b)
			}
			return 0
		}})
		for i, n := range part.Nodes {
			if len(n.Children) == 0 && i < len(whole.Nodes) && len(whole.Nodes[i].Children) > 0 {
				skipped++
				part.Nodes[i], _ = n.Own(part.Blocks[i])
			}
		}
		if !reflect.DeepEqual(whole, part) || !reflect.DeepEqual(faults, others) {
			t.Fatalf("%q: -nothing known +blocks known:\n%s%s", text, cmp.Diff(whole, part, cmp.AllowUnexported(Node{})), cmp.Diff(faults, others))
		}
	}
	if known < 500 || skipped < 500 {
		t.Errorf("%d blocks had a text, %d were skipped: too few to tell", known, skipped)
	}
}
