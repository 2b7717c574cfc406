// SPDX-License-Identifier: Apache-2.0

package config

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/lvs-fnat/lvs/parser"
)

func TestKernelNamesFitAndDiffer(t *testing.T) {
	names := []string{"g", "g6", "fifteen_bytes_x", "sixteen_bytes_xy", "sixteen_bytes_xz", strings.Repeat("long", 20)}
	seen := map[string]string{}
	for _, n := range names {
		for _, f := range []Family{IPv4, IPv6} {
			k := KernelName(n, f)
			if len(k) > 15 || k == "" {
				t.Errorf("%s %s: %q does not fit the kernel's 15 bytes", n, f, k)
			}
			if other, dup := seen[k]; dup {
				t.Errorf("%q names both %s and %s %s", k, other, n, f)
			}
			seen[k] = n + " " + f.String()
		}
	}
	if got := KernelName("laddr_g1", IPv4); got != "laddr_g1" {
		t.Errorf("a name that fits became %q", got)
	}
}

const fnatService = `
virtual_server %s 80 {
    lb_algo rr
    lb_kind FNAT
    protocol TCP
    local_address {
        %s
    }
    real_server %s 80 {
        weight 1
    }
}
`

// A reload must not rename the group of an inline block when other addresses
// come, go or change places: connections hang on the group.
func TestInlineGroupNameIsStable(t *testing.T) {
	name := func(vip, rs, addrs string) string {
		c, diags := parse(t, fmt.Sprintf(fnatService, vip, addrs, rs))
		if len(diags) > 0 || len(c.LaddrGroups) != 1 {
			t.Fatalf("%s: %v %v", addrs, diags, c.LaddrGroups)
		}
		if got := c.VirtualServers[0].Endpoints[0].LaddrGroup; got != c.LaddrGroups[0].Name {
			t.Errorf("service uses %q, group is %q", got, c.LaddrGroups[0].Name)
		}
		return c.LaddrGroups[0].Name
	}
	v4 := name("203.0.113.1", "10.0.0.1", "192.168.100.100")
	if len(v4) > 15 || v4 != name("203.0.113.9", "10.0.0.2", "192.168.100.107\n192.168.100.100-104 2000-3000") {
		t.Errorf("IPv4 name %q is too long or not stable", v4)
	}
	long := "2001:db8:1111:2222:3333:4444:5555:6666"
	v6 := name("2001:db8::1", "2001:db8::2", long)
	if len(v6) > 15 || v6 != name("2001:db8::9", "2001:db8::2", "2001:db8:ffff::1\n"+long) {
		t.Errorf("IPv6 name %q is too long or not stable", v6)
	}
	if v6 == name("2001:db8::1", "2001:db8::2", long[:len(long)-1]+"7") {
		t.Errorf("two addresses share the name %q", v6)
	}
}

func TestOverlappingInlineGroups(t *testing.T) {
	c, diags := parse(t, fmt.Sprintf(fnatService, "203.0.113.1", "192.0.2.1\n192.0.2.2", "10.0.0.1")+
		fmt.Sprintf(fnatService, "203.0.113.2", "192.0.2.2\n192.0.2.3", "10.0.0.1"))
	want := "(k.conf: Line 20) local address 192.0.2.2 is already in the local_address block at line 6 of k.conf: an address can be in one group only, use one group for both (column 9)"
	if len(diags) != 1 || diags[0].String() != want || diags[0].Severity != Error {
		t.Errorf("diagnostics %v, want %s", diags, want)
	}
	if len(c.VirtualServers) != 1 || len(c.LaddrGroups) != 1 {
		t.Errorf("%d servers and %d groups left, want the first of each", len(c.VirtualServers), len(c.LaddrGroups))
	}
}

func TestClash(t *testing.T) {
	e, _ := testPorts()
	for _, c := range []struct{ in, want string }{
		{"1024-32767", ""}, {"1024-32768", "32768"}, {"61000-65535", ""}, {"60999", "60999"},
		{"40000-49999", ""}, {"39000-41000", "39000-39999"}, {"44000-52000", "50000-52000"},
		{"1024-65535", "32768-39999"}, {"42000", ""},
	} {
		r, err := parser.ParsePortRange(c.in)
		if err != nil {
			t.Fatal(err)
		}
		got, bad := e.Clash(r)
		if got.String() != c.want || bad != (c.want != "") {
			t.Errorf("%s: %q %v, want %q", c.in, got, bad, c.want)
		}
	}
}

func TestReadEphemeral(t *testing.T) {
	files := map[string]string{localRangeFile: "32768\t60999\n", reservedFile: "40000-40009,50000\n"}
	read := func(name string) ([]byte, error) {
		if s, ok := files[name]; ok {
			return []byte(s), nil
		}
		return nil, os.ErrNotExist
	}
	got, err := ReadEphemeral(read)
	want := Ephemeral{Local: parser.PortRange{Min: 32768, Max: 60999}, Reserved: []parser.PortRange{{Min: 40000, Max: 40009}, {Min: 50000, Max: 50000}}}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v, -want +got:\n%s", err, d)
	}
	files[reservedFile] = "\n"
	if got, err := ReadEphemeral(read); err != nil || got.Reserved != nil {
		t.Errorf("nothing reserved reads as %v, %v", got, err)
	}
	files[localRangeFile] = "x"
	if _, err := ReadEphemeral(read); err == nil || !strings.Contains(err.Error(), localRangeFile) {
		t.Errorf("a bad sysctl reads without error naming it: %v", err)
	}
	delete(files, localRangeFile)
	if _, err := ReadEphemeral(read); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing sysctl: %v", err)
	}
	if _, err := ReadEphemeral(nil); err != nil {
		t.Errorf("this host: %v", err)
	}
}

// A host whose sysctls cannot be read is no reason to refuse a range, but is said.
func TestEphemeralUnknown(t *testing.T) {
	text := "local_address_group g {\n  192.0.2.1 40000-50000\n}\n"
	c, diags, err := Parse(context.Background(), "k", text, Options{
		Ephemeral: func() (Ephemeral, error) { return Ephemeral{}, os.ErrPermission },
	})
	if err != nil || len(c.LaddrGroups) != 1 || len(diags) != 1 || diags[0].Severity != Warning || diags[0].Pos.Line != 2 {
		t.Errorf("%v %v %v", err, c, diags)
	}
}

func TestDiagnosticsNameTheIncludedFile(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"main.conf": "bogus1\ninclude sub.conf\nbogus3\ninclude sub.conf\n", // whose fault is told once
		"sub.conf":  "\nbogus2\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	_, diags, err := Load(context.Background(), filepath.Join(dir, "main.conf"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range diags {
		got = append(got, strings.ReplaceAll(d.String(), dir, "D"))
	}
	want := []string{
		"(D/main.conf: Line 1) Unknown keyword 'bogus1' (column 1)",
		"(D/main.conf: Line 3) Unknown keyword 'bogus3' (column 1)",
		"(D/sub.conf: Line 2) Unknown keyword 'bogus2' (column 1)",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestLoadOfNothing(t *testing.T) {
	c, diags, err := Load(context.Background(), "/nonexistent/keepalived.conf", Options{})
	if !errors.Is(err, os.ErrNotExist) || c != nil || diags != nil {
		t.Errorf("%v %v %v", c, diags, err)
	}
	c, diags = parse(t, "")
	if len(diags) != 0 || len(c.VirtualServers) != 0 {
		t.Errorf("an empty file: %v %v", c, diags)
	}
}

func TestWorst(t *testing.T) {
	if _, ok := Worst(nil); ok {
		t.Error("nothing has a worst")
	}
	diags := []Diagnostic{{Severity: Info}, {Severity: Error}, {Severity: Warning}}
	if w, _ := Worst(diags); w != Error {
		t.Errorf("worst %v", w)
	}
}

// corpus gives the texts of the cases that are compared with the original, most
// of them with a fault.
func corpus(t testing.TB) map[string]string {
	t.Helper()
	archives, err := filepath.Glob("../../keepalived/testdata/original/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatal("no cases: ", err)
	}
	m := map[string]string{}
	for _, file := range archives {
		ar, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range ar.Files {
			m[filepath.Base(file)+"/"+f.Name] = string(f.Data)
		}
	}
	return m
}

// TestCorpus: none of 700 files, and none of them cut off anywhere in a line,
// gives a diagnostic without a place; and -t agrees with a reload: what it ends
// with 2 for is refused, and what it is content with is not.
func TestCorpus(t *testing.T) {
	texts := corpus(t)
	if len(texts) < 700 {
		t.Fatalf("%d cases", len(texts))
	}
	for name, text := range texts {
		for _, cut := range []int{len(text), len(text) / 2, len(text) / 3} {
			_, diags := parse(t, text[:cut])
			for _, d := range diags {
				if d.Class != Security && (d.Pos.Line < 1 || d.Pos.Line > strings.Count(text[:cut], "\n")+1 || d.Pos.Column < 1) {
					t.Errorf("%s: no place in %+v", name, d)
				}
			}
			code := ExitCode(diags)
			_, refused := Refused(diags)
			include := slices.ContainsFunc(diags, func(d Diagnostic) bool { return d.Class == Include && d.Severity == Fatal })
			if refused && code == 0 || !refused && (code == exitMissing || include) {
				t.Errorf("%s: -t ends with %d, and a reload is refused: %t", name, code, refused)
			}
		}
	}
}

func FuzzConfig(f *testing.F) {
	seeds, err := filepath.Glob("testdata/*.golden")
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range seeds {
		text, err := os.ReadFile(s)
		if err != nil {
			f.Fatal(err)
		}
		input, _, _ := strings.Cut(string(text), "\n---\n")
		f.Add(input)
	}
	for _, text := range corpus(f) {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, diags := parse(t, text)
		lines := strings.Count(text, "\n") + 1
		for _, d := range diags {
			if d.Class == Security {
				continue // about the whole
			}
			if d.Pos.Line < 1 || d.Pos.Line > lines || d.Pos.File != "k.conf" || d.Text == "" {
				t.Errorf("diagnostic without a place: %+v", d)
			}
		}
		groups := map[string]Family{}
		for _, g := range c.LaddrGroups {
			if _, dup := groups[g.Name]; dup || g.Name == "" || len(g.Name) > 15 || len(g.Addrs) == 0 {
				t.Errorf("kernel group %q twice, unnamed, too long or empty", g.Name)
			}
			groups[g.Name] = g.Family
		}
		for _, vs := range c.VirtualServers {
			for _, e := range vs.Endpoints {
				if f, ok := groups[e.LaddrGroup]; (vs.Method == FNAT) != ok || ok && f != e.Family {
					t.Errorf("%s: method %s, group %q of %s", vs.Name, vs.Method, e.LaddrGroup, f)
				}
			}
			if vs.Quorum < 1 || len(vs.Endpoints) == 0 || vs.Scheduler == "" || vs.Method == 0 {
				t.Errorf("incomplete server %+v", vs)
			}
		}
	})
}

// BenchmarkParse10k reads 10,000 FNAT servers of two real servers with a check each.
func BenchmarkParse10k(b *testing.B) {
	text := large(10_000)
	b.ReportAllocs()
	for b.Loop() {
		c, diags := parse(b, text)
		if len(diags) > 0 || len(c.VirtualServers) != 10_000 {
			b.Fatal(diags[0], len(c.VirtualServers))
		}
	}
}

func large(n int) string {
	var b strings.Builder
	b.WriteString("local_address_group g1 {\n  192.168.0.1-200\n}\n")
	for i := range n {
		fmt.Fprintf(&b, "virtual_server 10.%d.%d.%d 80 {\n    delay_loop 7\n    lb_algo wrr\n    lb_kind FNAT\n    protocol TCP\n    laddr_group_name g1\n    alpha\n", i>>16, i>>8&255, i&255)
		for r := range 2 {
			fmt.Fprintf(&b, "    real_server 172.16.%d.%d 8080 {\n        weight 100\n        TCP_CHECK {\n            connect_timeout 3\n            retry 2\n        }\n    }\n", i>>8&255, r)
		}
		b.WriteString("}\n")
	}
	return b.String()
}
