// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// casesPage is the table of cases.
const casesPage = "../docs/acceptance.md"

// TestHostAcceptance: every test that docs/acceptance.md names exists and is among
// those that guests run, and every numbered test is in its table. That each of
// them ran is what the guests themselves are judged by: testvm fails a guest in
// which a test it was given did not run or did not end.
func TestHostAcceptance(t *testing.T) {
	page, err := os.ReadFile(casesPage)
	if err != nil {
		t.Fatal(err)
	}
	tops, names := inSource(t)
	named := map[string]bool{}
	for _, m := range regexp.MustCompile("`(Test[A-Za-z0-9]+)(?:/([a-zA-Z0-9_]+))?`").FindAllSubmatch(page, -1) {
		top, sub := string(m[1]), string(m[2])
		if strings.HasPrefix(top, "TestGuests") || strings.HasPrefix(top, "TestHost") {
			continue
		}
		named[top+"/"+sub] = true
		if !tops[top] {
			t.Errorf("%s names %s, which is no test of this package", casesPage, top)
		}
		if !runsInGuests.MatchString(top) {
			t.Errorf("%s names %s, which no guest runs", casesPage, top)
		}
		if sub != "" && !prefixes(names, sub) {
			t.Errorf("%s names %s/%s, which is not in the source", casesPage, top, sub)
		}
	}
	elsewhere := map[string]map[string]*guideSource{}
	for _, m := range regexp.MustCompile("`([a-z0-9/]+)\\.(Test\\w+)`").FindAllSubmatch(page, -1) {
		dir, name := string(m[1]), string(m[2])
		if elsewhere[dir] == nil {
			elsewhere[dir] = guideSources(t, filepath.Join("..", dir))
		}
		if elsewhere[dir][name] == nil {
			t.Errorf("%s names %s, which %s has not", casesPage, name, dir)
		}
	}
	if len(elsewhere) < 5 {
		t.Errorf("%s names tests of %d other packages: has its form changed?", casesPage, len(elsewhere))
	}
	if len(named) < 50 {
		t.Errorf("%s names %d tests: has its form changed?", casesPage, len(named))
	}
	numbered := regexp.MustCompile(`^[0-9]{2}_`)
	for name := range names {
		if numbered.MatchString(name) && !bytes.Contains(page, []byte("/"+strings.TrimRight(cutFamily(name), "_"))) {
			t.Errorf("%s does not list the case %s", casesPage, name)
		}
	}
}

// runsInGuests are the tests that some TestGuests… boots a guest for.
var runsInGuests = regexp.MustCompile(acceptance + "|^Test(Race|Unload|Synproxy|Synflood|Flood|Limit|List|Forecast|Watch|Sync|Traps|Counters|ProxyWith|NoMemory|LRO)|^TestToa(Module|BPF)")

// prefixes reports whether some name in the source is name, or name without the
// family that the table leaves out, or the stem that a family or mode completes.
func prefixes(names map[string]bool, name string) bool {
	for n := range names {
		if n == name || cutFamily(n) == name || strings.HasSuffix(n, "_") && n == name+"_" {
			return true
		}
	}
	return false
}

func cutFamily(name string) string {
	return strings.TrimSuffix(strings.TrimSuffix(name, "_v4"), "_v6")
}

// inSource returns the tests of this package and all their string literals that
// could be names of subtests.
func inSource(t *testing.T) (tops, names map[string]bool) {
	t.Helper()
	tops, names = map[string]bool{}, map[string]bool{}
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	word := regexp.MustCompile(`^[A-Za-z0-9_]+$`)
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if strings.HasPrefix(n.Name.Name, "Test") {
					tops[n.Name.Name] = true
				}
			case *ast.BasicLit:
				if s, err := strconv.Unquote(n.Value); err == nil && n.Kind == token.STRING && word.MatchString(s) {
					names[s] = true
				}
			}
			return true
		})
	}
	return tops, names
}
