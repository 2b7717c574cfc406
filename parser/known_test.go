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
// blocks have. Some texts are not those of the file. So it is with blocks that are left
// for later.
func TestKnown(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	lines := []string{"a x {\nc\n}\n", "a y {\nb {\n1\n}\n}\n", "a x {\n", "a y {\n", "a x {\n", "    b {\n", "b 1\n", "c\n", "    }\n", "}\n", "}\n", "}\n", " }\n", "\n", "# r\n", "$X=1\n", "d $X\n", "@w e {\n", "f \"g\"\n", "~SEQ(i, 1, 2) h ${i}\n", "{\n", "a x { b }\n", "\x00\n", "} }\n", "}",
		"include x\n", "\tb\t{ \r\n", "b{\n", "b}\n", "{ b\n", "} c\n", "b { {\n", "\f\n", "@b\n", "b {  \t\n", "}\r\n", "a x y {\n", "a x {\n", "}\n", "}\n"}
	known, skipped, left := 0, 0, 0
	for range 8000 {
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
		var again Rereader
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
			if own := again.Read(n, text); !reflect.DeepEqual(n, own) {
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
				part.Nodes[i] = new(Rereader).Read(n, part.Blocks[i])
			}
		}
		later, laterFaults := parse(Options{Later: "a"})
		for i, n := range later.Nodes {
			if later.Blocks[i] != "" && n.Key() == "a" {
				if len(n.Children) > 0 {
					t.Fatalf("%q: node %d has children", text, i)
				}
				left++
				later.Nodes[i] = new(Rereader).Read(n, later.Blocks[i])
			}
		}
		if !reflect.DeepEqual(whole, later) || !reflect.DeepEqual(faults, laterFaults) {
			t.Fatalf("%q: -whole +later:\n%s%s", text, cmp.Diff(whole, later, cmp.AllowUnexported(Node{})), cmp.Diff(faults, laterFaults))
		}
		if !reflect.DeepEqual(whole, part) || !reflect.DeepEqual(faults, others) {
			t.Fatalf("%q: -nothing known +blocks known:\n%s%s", text, cmp.Diff(whole, part, cmp.AllowUnexported(Node{})), cmp.Diff(faults, others))
		}
	}
	if known < 500 || skipped < 500 || left < 500 {
		t.Errorf("%d blocks had a text, %d were skipped, %d left for later: too few to tell", known, skipped, left)
	}
}

// TestLater: blocks of all sizes that are read one after the other by one reader are
// those of the whole tree.
func TestLater(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	var b strings.Builder
	for range 300 {
		b.WriteString("a x {\n")
		for i := range rnd.IntN(80) * rnd.IntN(20) {
			b.WriteString([]string{"b 1 2 3\n", "b {\nc d\n}\n", "c\n"}[(i+rnd.IntN(2))%3])
		}
		b.WriteString([]string{"}\n", "# not plain\n}\n"}[rnd.IntN(4)/3] + "d {\n}\n")
	}
	parse := func(o Options) *Tree {
		tree, faults, err := Parse(context.Background(), "k", b.String(), o)
		if err != nil || len(faults) > 0 {
			t.Fatal(err, faults)
		}
		return tree
	}
	whole, later := parse(Options{}), parse(Options{Later: "a"})
	var r Rereader
	left := 0
	for i, n := range later.Nodes {
		if later.Blocks[i] != "" && n.Key() == "a" {
			left++
			n = r.Read(n, later.Blocks[i])
		}
		if !reflect.DeepEqual(whole.Nodes[i], n) {
			t.Fatalf("block %d: -whole +later:\n%s", i, cmp.Diff(whole.Nodes[i], n, cmp.AllowUnexported(Node{})))
		}
	}
	if left < 200 {
		t.Errorf("%d of 300 blocks were left for later", left)
	}
}
