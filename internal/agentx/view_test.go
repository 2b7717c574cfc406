// SPDX-License-Identifier: Apache-2.0

package agentx

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

type peer struct {
	name   string
	weight int
}

var base = OID{1, 3, 6, 1, 4, 1, 9586}

// sample has scalars, and among them a table without a value in one place.
func sample(set func(*peer, int) error) *View {
	v := &View{}
	AddScalars(v, &Table[string]{Entry: base.Append(1), Columns: []Column[string]{
		{ID: 1, Value: func(s string) Value { return Octets(s) }},
		{ID: 6, Value: func(string) Value { return Gauge32(6) }},
	}}, "one")
	Add(v, &Table[*peer]{Entry: base.Append(1, 5, 1), Columns: []Column[*peer]{
		{ID: 2, Value: func(p *peer) Value { return Text(p.name) }},
		{ID: 7, Value: func(p *peer) Value { return Integer(p.weight) }, Set: func(p *peer, x Value) (Change, Status) {
			if x.Int() < 0 {
				return Change{}, StatusWrongValue
			}
			old := p.weight
			return Change{
				Do:   func(context.Context) error { return set(p, x.Int()) },
				Undo: func(context.Context) error { return set(p, old) },
			}, StatusOK
		}},
	}}, []Row[*peer]{{OID{10}, &peer{"b", 2}}, {OID{2}, &peer{"a", 1}}, {OID{3}, &peer{"", 3}}, {OID{2}, &peer{"twice", 9}}})
	Add(v, &Table[int]{Entry: base.Append(2, 1), Columns: []Column[int]{{ID: 1, Value: func(n int) Value { return Integer(n) }}}}, nil)
	return v
}

func walk(v *View, r Range) string {
	var out []string
	for {
		b := v.Next(r)
		if b.Value.Kind == KindEndOfView {
			return strings.Join(out, "\n")
		}
		out = append(out, strings.TrimPrefix(b.Name.String(), base.String()+".")+" = "+b.Value.String())
		r.Start, r.Include = b.Name, false
	}
}

const whole = `1.1.0 = STRING: "one"
1.5.1.2.2 = STRING: "a"
1.5.1.2.10 = STRING: "b"
1.5.1.7.2 = INTEGER: 1
1.5.1.7.3 = INTEGER: 3
1.5.1.7.10 = INTEGER: 2
1.6.0 = kind 66: 6`

func TestWalk(t *testing.T) {
	v := sample(nil)
	lines := strings.Split(whole, "\n")
	for _, tc := range []struct {
		r        Range
		from, to int
	}{
		{Range{Start: OID{1}}, 0, 7},
		{Range{Start: base}, 0, 7},
		{Range{Start: base.Append(1, 1, 0)}, 1, 7},
		{Range{Start: base.Append(1, 1, 0), Include: true}, 0, 7},
		{Range{Start: base.Append(1, 1)}, 0, 7},
		{Range{Start: base.Append(1, 5, 1, 2, 2, 0)}, 2, 7},
		{Range{Start: base.Append(1, 5, 1, 3)}, 3, 7},
		{Range{Start: base.Append(1, 5, 1, 2, 3), Include: true}, 2, 7},
		{Range{Start: base, End: base.Append(1, 5, 1, 7, 10)}, 0, 5},
		{Range{Start: base, End: base.Append(1, 5, 1, 7)}, 0, 3},
		{Range{Start: base.Append(1, 6, 0)}, 7, 7},
		{Range{Start: OID{2}}, 7, 7},
	} {
		if got, want := walk(v, tc.r), strings.Join(lines[tc.from:tc.to], "\n"); got != want {
			t.Errorf("%v to %v:\n%s\nwant\n%s", tc.r.Start, tc.r.End, got, want)
		}
	}
}

func TestGet(t *testing.T) {
	v := sample(nil)
	for name, want := range map[string]string{
		"1.1.0": `STRING: "one"`, "1.5.1.7.10": "INTEGER: 2", "1.5.1.2.3": "kind 129: 0", "1.5.1.2.4": "kind 129: 0", "1.5.1.2": "kind 129: 0",
		"1.5.1.9.1": "kind 128: 0", "9.1": "kind 128: 0", "1.1": "kind 129: 0", "1.1.0.0": "kind 129: 0", "2.1.1.1": "kind 129: 0",
	} {
		o := base.Append()
		for _, n := range strings.Split(name, ".") {
			var x uint32
			fmt.Sscan(n, &x)
			o = o.Append(x)
		}
		if got := v.Get(o).Value.String(); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestAddrIndex(t *testing.T) {
	if got := AddrIndex(netip.MustParseAddr("192.0.2.1")).String(); got != "192.0.2.1" {
		t.Error(got)
	}
	if got := AddrIndex(netip.MustParseAddr("fe80::1")).String(); got != "254.128.0.0.0.0.0.0.0.0.0.0.0.0.0.1" {
		t.Error(got)
	}
}
