// SPDX-License-Identifier: Apache-2.0

// Package firewall drops what is sent to, and what this host would send from,
// virtual addresses that it holds and does not accept (RFC 5798 6.1
// Accept_Mode), by nftables. Neighbour discovery for them passes.
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
	opts Options
	conn *nftables.Conn
	sets map[bool]*nftables.Set // by "is IPv6"; made with the first address
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
	g := &Guard{opts: o, conn: conn, sets: map[bool]*nftables.Set{}}
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
	clear(g.sets)
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
	set := g.sets[a.Is6()]
	if set == nil {
		return nil
	}
	if err := g.conn.SetDeleteElements(set, []nftables.SetElement{{Key: a.AsSlice()}}); err != nil {
		return fmt.Errorf("nftables: let %s go: %w", a, err)
	}
	if err := g.flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

// set makes table, set and chains of a family with the first address.
func (g *Guard) set(six bool) (*nftables.Set, error) {
	if s := g.sets[six]; s != nil {
		return s, nil
	}
	family, kind, length, src, dst := nftables.TableFamilyIPv4, nftables.TypeIPAddr, uint32(4), uint32(12), uint32(16)
	if six {
		family, kind, length, src, dst = nftables.TableFamilyIPv6, nftables.TypeIP6Addr, 16, 8, 24
	}
	table := g.conn.AddTable(&nftables.Table{Name: g.opts.Table, Family: family})
	set := &nftables.Set{Table: table, Name: setName, KeyType: kind}
	if err := g.conn.AddSet(set, nil); err != nil {
		return nil, fmt.Errorf("nftables: set: %w", err)
	}
	priority := nftables.ChainPriority(g.opts.Priority)
	for _, c := range []struct {
		name   string
		hook   *nftables.ChainHook
		offset uint32
	}{{"in", nftables.ChainHookInput, dst}, {"out", nftables.ChainHookOutput, src}} {
		chain := g.conn.AddChain(&nftables.Chain{
			Name: c.name, Table: table, Type: nftables.ChainTypeFilter, Hooknum: c.hook, Priority: &priority,
		})
		if six {
			g.conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: discovery()})
		}
		exprs := []expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: c.offset, Len: length},
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
	g.sets[six] = set
	return set, nil
}

// Types of neighbour solicitation and advertisement, RFC 4861 4.3 and 4.4.
const (
	solicitation  = 135
	advertisement = 136
)

// discovery accepts neighbour discovery.
func discovery() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_ICMPV6}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
		&expr.Range{Op: expr.CmpOpEq, Register: 1, FromData: []byte{solicitation}, ToData: []byte{advertisement}},
		&expr.Verdict{Kind: expr.VerdictAccept},
	}
}
