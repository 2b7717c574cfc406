// SPDX-License-Identifier: Apache-2.0

// Package firewall drops what is sent to, and what this host would send from,
// virtual addresses that it holds and does not accept (RFC 5798 6.1
// Accept_Mode), by nftables. Neighbour discovery for them passes. It also keeps
// what is not for virtual routers from leaving by links of their own.
package firewall

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Options say how the rules look.
type Options struct {
	Table    string // "": keepalived
	Priority int    // of the chains
	Counters bool
}

// Guard holds the rules. It belongs to one goroutine.
type Guard struct {
	opts     Options
	conn     *nftables.Conn
	families map[bool]*family // by "is IPv6"
}

// family is what there is of one family, each made when it is needed first.
type family struct {
	six         bool
	kind        nftables.SetDatatype // of addresses
	length      uint32               // of one
	src, dst    uint32               // where they are in the header
	table       *nftables.Table
	chains      map[string]*nftables.Chain
	vips        *nftables.Set
	reports     *nftables.Set // of own links, as the next two
	own, locals *nftables.Set
}

func (g *Guard) family(six bool) *family {
	f := g.families[six]
	if f == nil {
		f = &family{kind: nftables.TypeIPAddr, length: 4, src: 12, dst: 16, chains: map[string]*nftables.Chain{}}
		if six {
			f = &family{six: true, kind: nftables.TypeIP6Addr, length: 16, src: 8, dst: 24, chains: map[string]*nftables.Chain{}}
		}
		g.families[six] = f
	}
	return f
}

// table adds the table; one that is there already is no error.
func (g *Guard) table(f *family) *nftables.Table {
	if f.table == nil {
		f.table = &nftables.Table{Name: g.opts.Table, Family: nftables.TableFamilyIPv4}
		if f.six {
			f.table.Family = nftables.TableFamilyIPv6
		}
	}
	return g.conn.AddTable(f.table)
}

// chain adds a chain; one that is there already is no error.
func (g *Guard) chain(f *family, name string, hook *nftables.ChainHook) *nftables.Chain {
	c := f.chains[name]
	if c == nil {
		priority := nftables.ChainPriority(g.opts.Priority)
		c = &nftables.Chain{Name: name, Table: f.table, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: &priority}
		f.chains[name] = c
	}
	return g.conn.AddChain(c)
}

// defaultTable is what keepalived calls its own.
const defaultTable = "keepalived"

// setName is the set of addresses, in the table of each family.
const setName = "vips"

// New removes what a dead process has left. Without nftables in the kernel an
// error comes from the first Add only.
func New(o Options) (*Guard, error) {
	if o.Table == "" {
		o.Table = defaultTable
	}
	conn, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	g := &Guard{opts: o, conn: conn, families: map[bool]*family{}}
	if err := g.Close(); err != nil && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EPROTONOSUPPORT) {
		return nil, err
	}
	return g, nil
}

// Close removes all rules.
func (g *Guard) Close() error {
	tables, err := g.conn.ListTables()
	if err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	for _, t := range tables {
		if t.Name == g.opts.Table && (t.Family == nftables.TableFamilyIPv4 || t.Family == nftables.TableFamilyIPv6) {
			g.conn.DelTable(t)
		}
	}
	clear(g.families)
	return g.flush()
}

func (g *Guard) flush() error {
	if err := g.conn.Flush(); err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	return nil
}

// Add guards an address. One that is guarded already is no error.
func (g *Guard) Add(a netip.Addr) error {
	set, err := g.set(a.Is6())
	if err != nil {
		return err
	}
	if err := g.conn.SetAddElements(set, []nftables.SetElement{{Key: a.AsSlice()}}); err != nil {
		return fmt.Errorf("nftables: guard %s: %w", a, err)
	}
	return g.flush()
}

// Del lets an address go. One that is not guarded is no error.
func (g *Guard) Del(a netip.Addr) error {
	f := g.families[a.Is6()]
	if f == nil || f.vips == nil {
		return nil
	}
	if err := g.conn.SetDeleteElements(f.vips, []nftables.SetElement{{Key: a.AsSlice()}}); err != nil {
		return fmt.Errorf("nftables: let %s go: %w", a, err)
	}
	if err := g.flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

// set makes table, set and chains of a family with the first address.
func (g *Guard) set(six bool) (*nftables.Set, error) {
	f := g.family(six)
	if f.vips != nil {
		return f.vips, nil
	}
	table := g.table(f)
	set := &nftables.Set{Table: table, Name: setName, KeyType: f.kind}
	if err := g.conn.AddSet(set, nil); err != nil {
		return nil, fmt.Errorf("nftables: set: %w", err)
	}
	for _, c := range []struct {
		name   string
		hook   *nftables.ChainHook
		offset uint32
	}{{"in", nftables.ChainHookInput, f.dst}, {"out", nftables.ChainHookOutput, f.src}} {
		chain := g.chain(f, c.name, c.hook)
		if six {
			g.conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(icmp6(solicitation, advertisement), &expr.Verdict{Kind: expr.VerdictAccept})})
		}
		exprs := []expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: c.offset, Len: f.length},
			&expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID},
		}
		if g.opts.Counters {
			exprs = append(exprs, &expr.Counter{})
		}
		g.conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(exprs, &expr.Verdict{Kind: expr.VerdictDrop})})
	}
	if err := g.flush(); err != nil {
		return nil, err
	}
	f.vips = set
	return set, nil
}

// Types of neighbour solicitation and advertisement, RFC 4861 4.3 and 4.4.
const (
	solicitation  = 135
	advertisement = 136
)
