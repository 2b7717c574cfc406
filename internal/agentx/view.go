// SPDX-License-Identifier: Apache-2.0

package agentx

import (
	"context"
	"slices"
	"sort"
)

// Table describes a conceptual table whose rows are made of an R each; with one row of
// index 0 it describes scalars.
type Table[R any] struct {
	// Entry is where the columns are: that of the entry of the table, or of the group
	// of scalars.
	Entry   OID
	Columns []Column[R]
}

// Column describes one object of a table.
type Column[R any] struct {
	ID uint32 // below the entry
	// Value reads the object; the zero Value says that this row has none. It is called by
	// one goroutine at a time, but not by the one that has made the rows.
	Value func(R) Value
	// Set is what a new value would do, or why it cannot be; nil for an object that is
	// only read.
	Set func(R, Value) (Change, Status)
}

// Change is one that a master agent asks for; both are called by the session's
// goroutine.
type Change struct {
	Do   func(context.Context) error
	Undo func(context.Context) error // after Do went well; nil: it cannot be undone
}

// Row is one row of a table.
type Row[R any] struct {
	Index OID
	Of    R
}

// column is one of a view, whatever its rows are made of.
type column struct {
	oid   OID
	rows  int
	index func(int) OID
	value func(int) Value
	set   func(int, Value) (Change, Status) // nil: none
}

// View is what there is at a moment. It is not changed once requests are answered from
// it.
type View struct {
	columns []column
	sorted  bool
}

// Add adds a table with its rows, in any order, to a view. Of rows with the same index
// the first stays. It keeps rows and sorts them.
func Add[R any](v *View, t *Table[R], rows []Row[R]) {
	slices.SortStableFunc(rows, func(a, b Row[R]) int { return a.Index.Compare(b.Index) })
	rows = slices.CompactFunc(rows, func(a, b Row[R]) bool { return a.Index.Compare(b.Index) == 0 })
	for i := range t.Columns {
		c := &t.Columns[i]
		col := column{
			oid: t.Entry.Append(c.ID), rows: len(rows),
			index: func(i int) OID { return rows[i].Index },
			value: func(i int) Value { return c.Value(rows[i].Of) },
		}
		if c.Set != nil {
			col.set = func(i int, x Value) (Change, Status) { return c.Set(rows[i].Of, x) }
		}
		v.columns = append(v.columns, col)
	}
	v.sorted = false
}

// AddScalars adds a group of scalars.
func AddScalars[R any](v *View, t *Table[R], of R) { Add(v, t, []Row[R]{{OID{0}, of}}) }

func (v *View) sort() {
	if !v.sorted {
		slices.SortFunc(v.columns, func(a, b column) int { return a.oid.Compare(b.oid) })
		v.sorted = true
	}
}

// at finds the column that name is in, and the row there; row is -1 if there is none.
func (v *View) at(name OID) (c *column, row int) {
	v.sort()
	i, found := sort.Find(len(v.columns), func(i int) int { return name.Compare(v.columns[i].oid) })
	if !found {
		i--
	}
	if i < 0 || !v.columns[i].oid.Contains(name) {
		return nil, -1
	}
	c = &v.columns[i]
	index := name[len(c.oid):]
	row, found = sort.Find(c.rows, func(i int) int { return index.Compare(c.index(i)) })
	if !found {
		return c, -1
	}
	return c, row
}

// Get returns the object of exactly that name.
func (v *View) Get(name OID) VarBind {
	c, row := v.at(name)
	switch {
	case c == nil:
		return VarBind{name, Value{Kind: KindNoSuchObject}}
	case row >= 0:
		if value := c.value(row); value.Kind != 0 {
			return VarBind{name, value}
		}
	}
	return VarBind{name, Value{Kind: KindNoSuchInstance}}
}

// Next returns the first object in a range.
func (v *View) Next(r Range) VarBind {
	v.sort()
	after := func(name OID) bool {
		d := name.Compare(r.Start)
		return d > 0 || d == 0 && r.Include
	}
	// The last column that does not begin behind Start may have a row behind it.
	first := max(0, sort.Search(len(v.columns), func(i int) bool { return v.columns[i].oid.Compare(r.Start) > 0 })-1)
	for i := first; i < len(v.columns); i++ {
		c := &v.columns[i]
		if len(r.End) > 0 && c.oid.Compare(r.End) >= 0 {
			break
		}
		row := sort.Search(c.rows, func(j int) bool { return after(c.oid.Append(c.index(j)...)) })
		for ; row < c.rows; row++ {
			value := c.value(row)
			if value.Kind == 0 {
				continue
			}
			if name := c.oid.Append(c.index(row)...); len(r.End) == 0 || name.Compare(r.End) < 0 {
				return VarBind{name, value}
			}
			break
		}
	}
	return VarBind{r.Start, Value{Kind: KindEndOfView}}
}

// test asks what a new value of an object would do.
func (v *View) test(b VarBind) (Change, Status) {
	c, row := v.at(b.Name)
	if c == nil || row < 0 || c.set == nil || c.value(row).Kind == 0 {
		return Change{}, StatusNotWritable
	}
	if c.value(row).Kind != b.Value.Kind {
		return Change{}, StatusWrongType
	}
	return c.set(row, b.Value)
}
