// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// declared is a declaration of a package's tests: what it says, and the names that it uses.
type declared struct {
	text string // names and literals, without comments
	uses []string
}

// testPackage are the declarations of a folder's tests by name, methods with a dot in front; those
// of several types are taken together.
type testPackage struct {
	dir   string
	decls map[string]*declared
}

// testPackages reads the tests of the module.
func testPackages(t *testing.T) []*testPackage {
	t.Helper()
	byDir := map[string]*testPackage{}
	var list []*testPackage
	err := filepath.WalkDir("../..", func(path string, d os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		p := byDir[filepath.Dir(path)]
		if p == nil {
			p = &testPackage{filepath.Dir(path), map[string]*declared{}}
			byDir[p.dir] = p
			list = append(list, p)
		}
		for _, decl := range file.Decls {
			p.add(decl)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func (p *testPackage) add(decl ast.Decl) {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		name := d.Name.Name
		if d.Recv != nil {
			name = "." + name
		}
		p.put(name, d)
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				p.put(s.Name.Name, s)
			case *ast.ValueSpec:
				for _, name := range s.Names {
					p.put(name.Name, s)
				}
			}
		}
	}
}

func (p *testPackage) put(name string, node ast.Node) {
	d := p.decls[name]
	if d == nil {
		d = &declared{}
		p.decls[name] = d
	}
	var b strings.Builder
	var visit func(ast.Node) bool
	visit = func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr: // a method, or a name of another package
			d.uses = append(d.uses, "."+n.Sel.Name)
			fmt.Fprintln(&b, n.Sel.Name)
			ast.Inspect(n.X, visit)
			return false
		case *ast.KeyValueExpr: // a field, or what a map is asked for
			if field, ok := n.Key.(*ast.Ident); ok {
				fmt.Fprintln(&b, field.Name)
				ast.Inspect(n.Value, visit)
				return false
			}
		case *ast.Ident:
			d.uses = append(d.uses, n.Name)
			fmt.Fprintln(&b, n.Name)
		case *ast.BasicLit:
			text := n.Value
			if n.Kind == token.STRING {
				text, _ = strconv.Unquote(text)
				d.uses = append(d.uses, "\""+text)
			}
			fmt.Fprintln(&b, text)
		}
		return true
	}
	ast.Inspect(node, visit)
	d.text += b.String()
}

// says gives what a test has: its own source, that of all it uses of its package, and
// the files that these name.
func (p *testPackage) says(t *testing.T, test string) string {
	t.Helper()
	var b strings.Builder
	seen := map[string]bool{test: true}
	for todo := []string{test}; len(todo) > 0; todo = todo[1:] {
		name := todo[0]
		if file, ok := strings.CutPrefix(name, "\""); ok {
			b.WriteString(p.files(t, file))
			continue
		}
		d := p.decls[name]
		if d == nil {
			continue
		}
		b.WriteString(d.text)
		for _, u := range d.uses {
			if !seen[u] {
				seen[u] = true
				todo = append(todo, u)
			}
		}
	}
	return b.String()
}

// files gives the text of what a pattern names in testdata: files, or all in a folder.
func (p *testPackage) files(t *testing.T, pattern string) string {
	t.Helper()
	if !strings.HasPrefix(pattern, "testdata/") {
		return ""
	}
	paths, err := filepath.Glob(filepath.Join(p.dir, pattern))
	if err != nil {
		return "" // it is no pattern
	}
	var b strings.Builder
	for _, path := range paths {
		err := filepath.WalkDir(path, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				b.WriteString(readFile(t, path))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// testSources gives the plain text of what each test function of the module says; of several
// tests of one name, of all.
func testSources(t *testing.T) map[string]string {
	t.Helper()
	m := map[string]string{}
	for _, p := range testPackages(t) {
		for name := range p.decls {
			if strings.HasPrefix(name, "Test") {
				m[name] += plain(p.says(t, name))
			}
		}
	}
	return m
}
