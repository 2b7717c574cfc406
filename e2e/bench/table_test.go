// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	tableFile = "table.tsv"
	// growth is by how much a number may exceed the committed one. Another build
	// of the same source differs by up to 0.4 %: hash seeds, layout.
	growth = 0.01
)

// row names a number: "nat tcp request 4000" on kernel "6.1".
type row struct{ kernel, what string }

type number struct {
	n    int
	unit string // "instructions", "bytes"
}

// table is all numbers of a run.
type table map[row]number

func (tab table) rows() []row {
	return slices.SortedFunc(maps.Keys(tab), func(a, b row) int {
		return cmp.Or(strings.Compare(a.what, b.what), strings.Compare(a.kernel, b.kernel))
	})
}

func (tab table) save(file string) error {
	var b strings.Builder
	b.WriteString("kernel\twhat\tnumber\tunit\n")
	for _, r := range tab.rows() {
		fmt.Fprintf(&b, "%s\t%s\t%d\t%s\n", r.kernel, r.what, tab[r].n, tab[r].unit)
	}
	return os.WriteFile(file, []byte(b.String()), 0o644)
}

func load(file string) (table, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("%w; run: UPDATE=1 make bench", err)
	}
	tab := table{}
	for i, l := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		f := strings.Split(l, "\t")
		if len(f) != 4 {
			return nil, fmt.Errorf("%s:%d: %d columns, want 4", file, i+1, len(f))
		}
		if i == 0 {
			continue
		}
		n, err := strconv.Atoi(f[2])
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, i+1, err)
		}
		tab[row{f[0], f[1]}] = number{n, f[3]}
	}
	return tab, nil
}

// against says what is worse than want, new or gone. A kernel that was not
// measured is not missed.
func (tab table) against(want table) []string {
	var bad []string
	kernels := map[string]bool{}
	for _, r := range tab.rows() {
		kernels[r.kernel] = true
		got, w := tab[r], want[r]
		switch {
		case w.unit == "":
			bad = append(bad, fmt.Sprintf("%s, %s: %d %s, not in %s", r.kernel, r.what, got.n, got.unit, tableFile))
		case float64(got.n) > float64(w.n)*(1+growth):
			bad = append(bad, fmt.Sprintf("%s, %s: %d %s, %.1f %% more than %d in %s",
				r.kernel, r.what, got.n, got.unit, 100*(float64(got.n)/float64(w.n)-1), w.n, tableFile))
		}
	}
	for _, r := range want.rows() {
		if _, ok := tab[r]; !ok && kernels[r.kernel] {
			bad = append(bad, fmt.Sprintf("%s, %s: in %s, but not measured", r.kernel, r.what, tableFile))
		}
	}
	if len(bad) > 0 {
		bad = append(bad, "if this is meant, say why in the commit that carries the new table: UPDATE=1 make bench")
	}
	return bad
}

// keep adds the rows of old whose kernels were not measured.
func (tab table) keep(old table) {
	kernels := map[string]bool{}
	for r := range tab {
		kernels[r.kernel] = true
	}
	for r, n := range old {
		if !kernels[r.kernel] {
			tab[r] = n
		}
	}
}

// paths are the columns of the printed table.
var paths = []string{"forward", "stock", "nat", "nat-ext", "fnat", "toa", "synproxy"}

// text is the table as people read it, a block per kernel: a line per kind of
// packet, a column per path, and what FNAT takes beyond stock NAT.
func (tab table) text(kernels []string) string {
	var b strings.Builder
	for _, k := range kernels {
		var kinds []string
		for _, r := range tab.rows() {
			_, kind, _ := strings.Cut(r.what, " ")
			if r.kernel == k && !slices.Contains(kinds, kind) {
				kinds = append(kinds, kind)
			}
		}
		slices.Sort(kinds)
		fmt.Fprintf(&b, "%-24s", k)
		for _, p := range paths {
			fmt.Fprintf(&b, "%9s", p)
		}
		fmt.Fprintf(&b, "%12s\n", "fnat-stock")
		for _, kind := range kinds {
			fmt.Fprintf(&b, "%-24s", kind)
			for _, p := range paths {
				fmt.Fprintf(&b, "%9s", tab.cell(k, p, kind))
			}
			s, okS := tab[row{k, "stock " + kind}]
			f, okF := tab[row{k, "fnat " + kind}]
			if okS && okF {
				fmt.Fprintf(&b, "%+12d", f.n-s.n)
			}
			b.WriteByte('\n')
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func (tab table) cell(kernel, path, kind string) string {
	if n, ok := tab[row{kernel, path + " " + kind}]; ok {
		return strconv.Itoa(n.n)
	}
	return "-"
}

// TestHostTable: the comparison notices what it is for.
func TestHostTable(t *testing.T) {
	file := t.TempDir() + "/table.tsv"
	want := table{{"6.1", "nat udp request 1"}: {1000, "instructions"}, {"6.12", "nat udp request 1"}: {1000, "instructions"}}
	if err := want.save(file); err != nil {
		t.Fatal(err)
	}
	read, err := load(file)
	if err != nil || !maps.Equal(read, want) {
		t.Fatalf("read %v, %v; saved %v", read, err, want)
	}
	half := table{{"6.1", "nat udp request 1"}: {900, "instructions"}}
	half.keep(want)
	if len(half) != 2 || half[row{"6.1", "nat udp request 1"}].n != 900 {
		t.Errorf("an update of one kernel leaves %v", half)
	}
	for _, tc := range []struct {
		name string
		got  table
		want string // of the first complaint, "" for none
	}{
		{"same", want, ""},
		{"within 1 %", table{{"6.1", "nat udp request 1"}: {1010, "instructions"}}, ""},
		{"less", table{{"6.1", "nat udp request 1"}: {900, "instructions"}}, ""},
		{"more", table{{"6.1", "nat udp request 1"}: {1011, "instructions"}}, "1.1 % more than 1000"},
		{"new", table{{"6.1", "nat udp request 1"}: {1000, "instructions"}, {"6.1", "x"}: {1, "bytes"}}, "6.1, x: 1 bytes, not in"},
		{"gone", table{{"6.1", "x"}: {1, "bytes"}}, "not in table.tsv\n6.1, nat udp request 1: in table.tsv, but not measured"},
	} {
		got := strings.Join(tc.got.against(want), "\n")
		if (tc.want == "") != (got == "") || !strings.Contains(got, tc.want) {
			t.Errorf("%s: complaints %q, want %q", tc.name, got, tc.want)
		}
	}
	for name, text := range map[string]string{"columns": "h\n6.1\tx\n", "number": "kernel\twhat\tnumber\tunit\n6.1\tx\t1e3\tbytes\n"} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := load(file); err == nil || !strings.Contains(err.Error(), "table.tsv:") {
			t.Errorf("%s: error %v, want one that names the line", name, err)
		}
	}
}
