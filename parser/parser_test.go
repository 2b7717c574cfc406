// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// files is a file system for include tests; its Glob knows * as "anything".
type files map[string]string

func (f files) options() Options {
	return Options{
		ReadFile: func(name string) ([]byte, error) {
			if s, ok := f[name]; ok {
				return []byte(s), nil
			}
			return nil, os.ErrNotExist
		},
		Glob: func(pattern string) ([]string, error) {
			var out []string
			for name := range f {
				if ok, err := filepath.Match(pattern, name); err != nil {
					return nil, err
				} else if ok {
					out = append(out, name)
				}
			}
			slices.Sort(out)
			return out, nil
		},
	}
}

func (f files) load(t *testing.T) (*Tree, []string) {
	t.Helper()
	tree, faults, err := Load(context.Background(), "/etc/k/main.conf", f.options())
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, f := range faults {
		texts = append(texts, f.Error())
	}
	return tree, texts
}

func TestIncludeIsRelativeAndKeepsPositions(t *testing.T) {
	tree, faults := files{
		"/etc/k/main.conf":     "a 1\ninclude vs/*.conf\nz 9\n",
		"/etc/k/vs/one.conf":   "\nb 2\ninclude sub/x.conf\n",
		"/etc/k/vs/two.conf":   "c 3\n",
		"/etc/k/vs/sub/x.conf": "d 4\n",
	}.load(t)
	if faults != nil {
		t.Errorf("faults: %v", faults)
	}
	var got []string
	for _, n := range tree.Nodes {
		got = append(got, n.Pos().String()+" "+n.Key()+n.Arg(1))
	}
	want := []string{
		"/etc/k/main.conf:1:1 a1", "/etc/k/vs/one.conf:2:1 b2", "/etc/k/vs/sub/x.conf:1:1 d4",
		"/etc/k/vs/two.conf:1:1 c3", "/etc/k/main.conf:3:1 z9",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestIncludeInsideBlockMayCloseIt(t *testing.T) {
	tree, faults := files{
		"/etc/k/main.conf": "outer {\ninclude inner\nafter\n",
		"/etc/k/inner":     "x 1\n}\n",
	}.load(t)
	if faults != nil {
		t.Errorf("faults: %v", faults)
	}
	if got, want := tree.Format(), "outer {\n\tx 1\n}\nafter\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestIncludeBraces(t *testing.T) {
	tree, faults := files{
		"/etc/k/main.conf": "include {b,a}.c\ninclude none{1,2}",
		"/etc/k/a.c":       "a",
		"/etc/k/b.c":       "b",
	}.load(t)
	if got := tree.Format(); got != "b\na\n" {
		t.Errorf("tree %q", got)
	}
	want := []string{"/etc/k/main.conf:2:1: Config files missing 'none{1,2}'."}
	if d := cmp.Diff(want, faults); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

// TestIncludeMustMatch has what keepalived 2.2.7 was seen to do.
func TestIncludeMustMatch(t *testing.T) {
	for line, want := range map[string]Severity{
		"include x": Note, "includer x": Note, "includem x": Fatal, "includew x": Fatal, "includeb x": Note, "includea x": Fatal,
		"include x*": Note, "includer x*": Note, "includem x*": Note, "includew x*": Fatal, "includeb x*": Note, "includea x*": Fatal,
		"include {x,y}": Note, "includem {x,y}": Note, "includew {x,y}": Note, "includeb {x,y}": Fatal, "includea {x,y}": Fatal,
		"include {x,a.c}": Note, "includeb {x,a.c}": Fatal,
		"include bad": Note, "includer bad": Fatal, "includem bad": Fatal,

		"include_check\ninclude x*":                               Fatal,
		"include_check match\ninclude x*":                         Note,
		"include_check wildcard_match\ninclude x*":                Fatal,
		"include_check +match\ninclude_check -match\ninclude x":   Note,
		"g { include_check brace_match\n}\ninclude {a.c,x}":       Fatal,
		"g { include_check brace_match\n}\ninclude {a.c,\"a.c\"}": Fatal,
	} {
		opts := files{"a.c": ""}.options()
		opts.Glob = func(pattern string) ([]string, error) {
			if pattern == "a.c" || pattern == "bad" {
				return []string{pattern}, nil
			}
			return nil, nil
		}
		_, faults, err := Parse(context.Background(), "k", line, opts)
		if err != nil {
			t.Fatal(err)
		}
		if len(faults) != 1 || faults[0].Severity != want {
			t.Errorf("%s: faults %v, want one of severity %d", line, faults, want)
		}
	}
	opts := files{}.options()
	opts.Include = IncludeAll
	if _, faults, err := Parse(context.Background(), "k", "include x", opts); err != nil || len(faults) != 1 || faults[0].Severity != Fatal {
		t.Errorf("with all checks asked for: %v %v", faults, err)
	}
}

// TestSubstitutionIsBounded: a few lines cannot ask for gigabytes.
func TestSubstitutionIsBounded(t *testing.T) {
	text := "$A=" + strings.Repeat("x", 1000) + "\n$B=" + strings.Repeat("${A}", 50) + "\n~SEQ(I, 1, 60000) key $B $I\n"
	tree, faults, err := Parse(context.Background(), "k", text, Options{})
	if err != nil || len(faults) != 1 || !strings.Contains(faults[0].Text, "16 MiB of $ substitutions") {
		t.Errorf("%v %v", faults, err)
	}
	if n := len(tree.Nodes); n == 0 || n > 500 {
		t.Errorf("%d statements", n)
	}
}

func TestIncludeOfItselfEnds(t *testing.T) {
	_, faults := files{"/etc/k/main.conf": "include main.conf\nx\n"}.load(t)
	if len(faults) != 1 || !strings.Contains(faults[0], "does /etc/k/main.conf include itself?") {
		t.Errorf("faults %v", faults)
	}
}

// The bound is on nesting, not on how many files a directory of snippets has.
func TestManyIncludes(t *testing.T) {
	f := files{"/etc/k/main.conf": strings.Repeat("include x\n", 3*maxInclude), "/etc/k/x": "a\n"}
	if tree, faults := f.load(t); faults != nil || len(tree.Nodes) != 3*maxInclude {
		t.Errorf("%d statements, faults %v", len(tree.Nodes), faults)
	}
}

func TestOnlyRegularNonExecutableFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	main := write("main", "include inc.*\n", 0o644)
	write("inc.a", "a\n", 0o644)
	write("inc.b", "b\n", 0o755)
	if err := os.Mkdir(filepath.Join(dir, "inc.c"), 0o755); err != nil {
		t.Fatal(err)
	}
	tree, faults, err := Load(context.Background(), main, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if tree.Format() != "a\n" {
		t.Errorf("tree %q", tree.Format())
	}
	if len(faults) != 2 || !strings.HasSuffix(faults[0].Text, "inc.b' is not a regular non-executable file - skipping") {
		t.Errorf("faults %v", faults)
	}
	if _, _, err := Load(context.Background(), dir, Options{}); err == nil || !strings.HasPrefix(err.Error(), dir+": ") {
		t.Errorf("a directory loads: %v", err)
	}
	if _, _, err := Load(context.Background(), filepath.Join(dir, "none"), Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

func TestDefinitionCircleEnds(t *testing.T) {
	for _, text := range []string{
		"$A=${A}${A}\nx $A\ny",
		"$A=${B}\n$B=$A\nx ${A}\ny",
	} {
		tree, faults, err := Parse(context.Background(), "k", text, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if len(faults) != 1 || tree.Format() != "y\n" {
			t.Errorf("%q: faults %v tree %q", text, faults, tree.Format())
		}
	}
}

func TestCancelledParse(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := Parse(ctx, "k", "a\nb\n", Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("err %v", err)
	}
}

func TestRandomStaysInBounds(t *testing.T) {
	for range 100 {
		tree, _, err := Parse(context.Background(), "k", "x ${_RANDOM 5 6}", Options{})
		if err != nil {
			t.Fatal(err)
		}
		if v := tree.Nodes[0].Arg(1); v != "5" && v != "6" {
			t.Fatalf("random %q", v)
		}
	}
}

func TestColumnsPointAtWords(t *testing.T) {
	tree, _, err := Parse(context.Background(), "k", "\n\tkey \"a b\"  c { d 5 }", Options{})
	if err != nil {
		t.Fatal(err)
	}
	n := tree.Nodes[0]
	if p := n.ArgPos(2); p != (Pos{"k", 2, 13}) {
		t.Errorf("c at %v", p)
	}
	if p := n.Children[0].ArgPos(1); p != (Pos{"k", 2, 19}) {
		t.Errorf("5 at %v", p)
	}
	if p := n.ArgPos(7); p != (Pos{"k", 2, 13}) {
		t.Errorf("a missing word is at %v, want the last one", p)
	}
}

func TestUnquote(t *testing.T) {
	for raw, want := range map[string][]string{
		``:                          nil,
		`a b`:                       {"a", "b"},
		`"/bin/x -a 'q'" user grp`:  {"/bin/x -a 'q'", "user", "grp"},
		`'a "b" \n' c`:              {`a "b" \n`, "c"},
		`a\ b \x41\102\cA\t\q "\""`: {"a b", "AB\x01\tq", `"`},
		`ab"c d"e`:                  {"abc de"},
	} {
		got, err := Unquote(raw)
		if err != nil {
			t.Errorf("%s: %v", raw, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: -want +got:\n%s", raw, d)
		}
	}
	for _, raw := range []string{`"a`, `'a`, `a\`, `\xzz`, `\777`} {
		if got, err := Unquote(raw); err == nil {
			t.Errorf("%s: accepted as %q", raw, got)
		}
	}
}
