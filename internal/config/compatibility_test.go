// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/lvs-fnat/lvs/parser"
)

const ledger = "../../docs/compatibility.md"

// The section of the ledger that is made here stands between these lines.
const ledgerBegin, ledgerEnd = "<!-- keepalived.conf: written by TestCompatibility -->\n", "<!-- end of keepalived.conf -->\n"

// remark is a line of testdata/compatibility.tsv: what is to be said about
// keywords, and which tests besides the ones found by themselves show it. A
// path may end with *; then each keyword has those of the tests that have it.
// Where a test has it under another word, that stands behind its name: TestSeed:seed.
type remark struct{ path, state, tests, note string }

func remarks(t *testing.T) []remark {
	t.Helper()
	var list []remark
	for l := range strings.Lines(readFile(t, "testdata/compatibility.tsv")) {
		l = strings.TrimSuffix(l, "\n")
		if l == "" || strings.HasPrefix(l, "#") {
			continue
		}
		f := strings.Split(l, "\t")
		if len(f) != 4 {
			t.Fatalf("%q has %d fields, want path, state, tests, note", l, len(f))
		}
		list = append(list, remark{f[0], f[1], f[2], f[3]})
	}
	return list
}

func (r remark) about(path string) bool {
	if prefix, ok := strings.CutSuffix(r.path, "*"); ok {
		return strings.HasPrefix(path, prefix)
	}
	return r.path == path
}

// used gives the paths of all keywords in a configuration; words that stand on
// a keyword's line are paths below it.
func used(t *testing.T, text string) map[string]bool {
	t.Helper()
	tree, _, err := parser.Parse(context.Background(), "k.conf", text, parser.Options{
		ReadFile: func(string) ([]byte, error) { return nil, os.ErrNotExist },
		Glob:     func(string) ([]string, error) { return nil, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]bool{}
	var walk func([]*parser.Node, string)
	walk = func(nodes []*parser.Node, path string) {
		for _, n := range nodes {
			full := strings.TrimPrefix(path+"/"+n.Key(), "/")
			m[full] = true
			for _, w := range n.Words[min(1, len(n.Words)):] {
				m[full+"/"+w.Text] = true
			}
			walk(n.Children, full)
		}
	}
	walk(tree.Nodes, "")
	return m
}

// evidence gives, by name of a test, the keywords that its input has.
func evidence(t *testing.T) map[string]map[string]bool {
	t.Helper()
	m := map[string]map[string]bool{}
	goldens, err := filepath.Glob("testdata/*.golden")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range goldens {
		text, _, _ := strings.Cut(readFile(t, file), "\n---\n")
		m["TestGolden/"+strings.TrimSuffix(filepath.Base(file), ".golden")] = used(t, text)
	}
	archives, err := filepath.Glob("../../keepalived/testdata/original/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range archives {
		ar, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all := map[string]bool{}
		for _, f := range ar.Files {
			maps.Copy(all, used(t, string(f.Data)))
		}
		m["TestAgainstOriginal/"+strings.TrimSuffix(filepath.Base(file), ".txtar")] = all
	}
	return m
}

// state says whether a keyword is in force; a word on a keyword's line is if the
// keyword is.
func state(path string, read map[string]bool) string {
	inForce, ok := read[path]
	at := strings.LastIndexByte(path, '/')
	switch {
	case inForce:
		return "same"
	case !ok && at > 0 && !isBlock(path[:at]):
		return state(path[:at], read)
	}
	return "not yet"
}

// isForeign says that a keyword, or the block that it stands in, is of another
// program or of a release long gone, with a remedy.
func isForeign(path string) bool {
	for p := path; ; {
		if remedies[p] != "" {
			return true
		}
		at := strings.LastIndexByte(p, '/')
		if at < 0 {
			return false
		}
		p = p[:at]
	}
}

// TestCompatibility: docs/compatibility.md has one row for each keyword of
// keywords.txt, with its state as the tables have it and tests that have it in
// their input, or in what the test function has, uses of its package's tests, and names of testdata.
// With -update the rows are written.
func TestCompatibility(t *testing.T) {
	read, have, said, sources := readKeywords(), evidence(t), remarks(t), testSources(t)
	tests := slices.Sorted(maps.Keys(have))
	count := map[string]int{}
	var rows strings.Builder
	for _, path := range slices.Sorted(maps.Keys(known().paths)) {
		r := remark{state: state(path, read)}
		for _, s := range said {
			if s.about(path) {
				r.state, r.note = cmp.Or(s.state, r.state), cmp.Or(s.note, r.note)
				for name := range strings.FieldsSeq(s.tests) {
					name, word, _ := strings.Cut(name, ":")
					word = cmp.Or(word, path[strings.LastIndexByte(path, '/')+1:])
					switch has := sources[name]; {
					case has == "":
						t.Errorf("there is no test %s, which %s names", name, s.path)
					case strings.Contains(has, plain(word)):
						r.tests += " " + name
					case !strings.HasSuffix(s.path, "*"): // of many keywords some tests have some
						t.Errorf("%s names %s, which does not have %s", path, name, word)
					}
				}
			}
		}
		if r.state == "not yet" && isForeign(path) {
			r.state = "not here"
		}
		names := strings.Fields(r.tests)
		for _, name := range tests {
			if have[name][path] {
				names = append(names, name)
			}
		}
		out := r.state == "not yet" || r.state == "not here"
		if out {
			names = append(names, "TestEveryKeywordIsKnown")
		}
		if len(names) == 0 {
			t.Errorf("%s is in force and no test has it", path)
		}
		if inForce := state(path, read) == "same"; inForce == out {
			t.Errorf("%s is %q in testdata/compatibility.tsv, and in force is %t", path, r.state, inForce)
		}
		count[r.state]++
		note := cmp.Or(r.note, remedies[path])
		fmt.Fprintf(&rows, "| `%s` | %s | %s | %s |\n", path, r.state, strings.Join(names, ", "), note)
	}
	var states []string
	for _, s := range []string{"same", "differs", "not yet", "not here"} {
		states = append(states, fmt.Sprintf("%d %s", count[s], s))
	}
	section := fmt.Sprintf("%d keywords: %s.\n\n| keyword | state | tests | remark |\n|---|---|---|---|\n%s",
		len(known().paths), strings.Join(states, ", "), rows.String())
	doc := readFile(t, ledger)
	before, rest, ok := strings.Cut(doc, ledgerBegin)
	old, after, ok2 := strings.Cut(rest, ledgerEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has no section between %q and %q", ledger, ledgerBegin, ledgerEnd)
	}
	if *update {
		if err := os.WriteFile(ledger, []byte(before+ledgerBegin+section+ledgerEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if old != section {
		t.Errorf("%s does not say what is so: go test ./internal/config -run Compatibility -update", ledger)
	}
}

// plain is a keyword, or what has it, without what Go spells in another way:
// connect_timeout is ConnectTimeout there.
func plain(text string) string {
	return strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(text))
}

// TestEveryKeywordIsKnown writes each keyword of keywords.txt into a
// configuration, at its place. None is unknown, and one that is not in force
// has one line that says so.
func TestEveryKeywordIsKnown(t *testing.T) {
	read := readKeywords()
	for path := range known().paths {
		parts := strings.Split(path, "/")
		// Words that stand on the line of a keyword, or are values in a list, have no line of their own.
		if parent := strings.Join(parts[:len(parts)-1], "/"); parent != "" && !isBlock(parent) || !isWord(parts[len(parts)-1]) {
			continue
		}
		text := ""
		for _, p := range parts[:len(parts)-1] {
			text += p + " " + cmp.Or(map[string]string{"virtual_server": "10.0.0.1 80", "real_server": "10.0.0.2 80"}[p], "x") + " {\n"
		}
		last := parts[len(parts)-1]
		if text += last; isBlock(path) {
			text += " x {\n" + map[string]string{"FILE_CHECK": "track_file x\n", "BFD_CHECK": "name x\n"}[last] + "}"
		}
		text += "\n" + strings.Repeat("}\n", len(parts)-1)
		_, diags := parse(t, text)
		told := 0
		for _, d := range diags {
			if strings.Contains(d.Text, "Unknown keyword '"+last+"'") {
				t.Errorf("%s: %s", path, d)
			}
			if strings.Contains(d.Text, "known but not in force") && strings.Contains(d.Text, last) {
				told++
			}
		}
		inBlock := func() bool { // whose first line has said it for all of it
			for p := path; strings.Contains(p, "/"); {
				p = p[:strings.LastIndexByte(p, '/')]
				if inForce, ok := read[p]; !ok || !inForce {
					return true
				}
			}
			return false
		}
		if state(path, read) == "not yet" && told == 0 && !inBlock() {
			t.Errorf("%s is not in force, and nothing says so:\n%s%v", path, text, diags)
		}
	}
}

// isBlock says that keywords stand below path, each on its line.
func isBlock(path string) bool {
	if inLine[path] {
		return false
	}
	for p := range known().paths {
		if strings.HasPrefix(p, path+"/") {
			return true
		}
	}
	return slices.Contains([]string{"blklst_addr_group", "deny_address_group", "allow_address_group", "whtlst_addr_group", "local_address_group", "virtual_server_group"}, path)
}

// inLine are the keywords whose words stand on their own line.
var inLine = map[string]bool{
	"global_defs/dynamic_interfaces": true, "global_defs/lvs_flush_on_stop": true, "global_defs/lvs_sync_daemon": true,
	"global_defs/lvs_timeouts": true, "track_file/init_file": true, "vrrp_track_file/init_file": true,
	"vrrp_track_process/param_match": true, "vrrp_instance/use_vmac": true, "vrrp_instance/use_ipvlan": true,
}

func isWord(s string) bool { return regexp.MustCompile(`^[A-Za-z][\w-]*$`).MatchString(s) }
