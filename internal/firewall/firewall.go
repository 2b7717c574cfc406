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
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Options say how the rules look.
type Options struct {
	Table    string // "": keepalived
	Priority int    // of the chains
	Counters bool
	// ByIndex has link local addresses be known by the index of their link, not by its
	// name: cheaper, and a link that is made anew under its name is another one.
	ByIndex bool
}

// Link is where an address is. It matters for link local ones alone, each of which may
// be on several links and mean another host there.
type Link struct {
	Index int
	Name  string
}

// Guard holds the rules. It belongs to one goroutine.
type Guard struct {
	opts     Options
	conn     *nftables.Conn
	families map[bool]*family // by "is IPv6"
	scoped   map[place][]byte // what the set has for each link local address
}

// place is a link local address on the link of that index.
type place struct {
	addr netip.Addr
	link int
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
	scopedVIPs  *nftables.Set // link local addresses, each with its link
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

// scopedName is the set of link local addresses with their links.
const scopedName = "vips_link_local"

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
	g := &Guard{opts: o, conn: conn, families: map[bool]*family{}, scoped: map[place][]byte{}}
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
	clear(g.scoped)
	return g.flush()
}

func (g *Guard) flush() error {
	if err := g.conn.Flush(); err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	return nil
}

// Add guards an address; a link local one on that link alone. One that is guarded
// already is no error.
func (g *Guard) Add(a netip.Addr, link Link) error {
	f, err := g.guarded(a.Is6())
	if err != nil {
		return err
	}
	set, key := f.vips, a.AsSlice()
	if scoped(a) {
		at := place{a, link.Index}
		key = slices.Concat(key, g.linkKey(link))
		if old := g.scoped[at]; old != nil && !slices.Equal(old, key) { // the link has another name now
			if err := g.remove(f.scopedVIPs, a, old); err != nil {
				return err
			}
		}
		set, g.scoped[at] = f.scopedVIPs, key
	}
	if err := g.conn.SetAddElements(set, []nftables.SetElement{{Key: key}}); err != nil {
		return fmt.Errorf("nftables: guard %s: %w", a, err)
	}
	return g.flush()
}

// Del lets an address go, a link local one on the link with that index. One that is not
// guarded is no error.
func (g *Guard) Del(a netip.Addr, link int) error {
	f := g.families[a.Is6()]
	if f == nil || f.vips == nil {
		return nil
	}
	if !scoped(a) {
		return g.remove(f.vips, a, a.AsSlice())
	}
	at := place{a, link}
	key := g.scoped[at]
	if key == nil {
		return nil
	}
	delete(g.scoped, at)
	return g.remove(f.scopedVIPs, a, key)
}

func (g *Guard) remove(set *nftables.Set, a netip.Addr, key []byte) error {
	if err := g.conn.SetDeleteElements(set, []nftables.SetElement{{Key: key}}); err != nil {
		return fmt.Errorf("nftables: let %s go: %w", a, err)
	}
	if err := g.flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

// scoped tells whether the address means something on its link only (RFC 4291 2.5.6).
func scoped(a netip.Addr) bool { return a.Is6() && a.IsLinkLocalUnicast() }

// linkKey is a link as the sets have it.
func (g *Guard) linkKey(link Link) []byte {
	if g.opts.ByIndex {
		return binaryutil.NativeEndian.PutUint32(uint32(link.Index))
	}
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, link.Name)
	return name
}

// linkType is the type of linkKey.
func (g *Guard) linkType() nftables.SetDatatype {
	if g.opts.ByIndex {
		return nftables.TypeIFIndex
	}
	return nftables.TypeIFName
}

// guarded makes table, sets and chains of a family with the first address.
func (g *Guard) guarded(six bool) (*family, error) {
	f := g.family(six)
	if f.vips != nil {
		return f, nil
	}
	table := g.table(f)
	vips := &nftables.Set{Table: table, Name: setName, KeyType: f.kind}
	if err := g.conn.AddSet(vips, nil); err != nil {
		return nil, fmt.Errorf("nftables: set: %w", err)
	}
	var local *nftables.Set
	if six {
		kind, err := nftables.ConcatSetType(f.kind, g.linkType())
		if err != nil {
			return nil, fmt.Errorf("nftables: set: %w", err)
		}
		local = &nftables.Set{Table: table, Name: scopedName, KeyType: kind, Concatenation: true}
		if err := g.conn.AddSet(local, nil); err != nil {
			return nil, fmt.Errorf("nftables: set: %w", err)
		}
	}
	for _, c := range []struct {
		name        string
		hook        *nftables.ChainHook
		offset      uint32
		index, link expr.MetaKey
	}{
		{"in", nftables.ChainHookInput, f.dst, expr.MetaKeyIIF, expr.MetaKeyIIFNAME},
		{"out", nftables.ChainHookOutput, f.src, expr.MetaKeyOIF, expr.MetaKeyOIFNAME},
	} {
		chain := g.chain(f, c.name, c.hook)
		if six {
			g.conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(icmp6(solicitation, advertisement), &expr.Verdict{Kind: expr.VerdictAccept})})
		}
		address := &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: c.offset, Len: f.length}
		drop := func(exprs ...expr.Any) {
			if g.opts.Counters {
				exprs = append(exprs, &expr.Counter{})
			}
			g.conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(exprs, &expr.Verdict{Kind: expr.VerdictDrop})})
		}
		drop(address, &expr.Lookup{SourceRegister: 1, SetName: vips.Name, SetID: vips.ID})
		if six {
			key := c.link
			if g.opts.ByIndex {
				key = c.index
			}
			// The second register follows the 16 bytes of the first.
			drop(address, &expr.Meta{Key: key, Register: 2}, &expr.Lookup{SourceRegister: 1, SetName: local.Name, SetID: local.ID})
		}
	}
	if err := g.flush(); err != nil {
		return nil, err
	}
	f.vips, f.scopedVIPs = vips, local
	return f, nil
}

// Types of neighbour solicitation and advertisement, RFC 4861 4.3 and 4.4.
const (
	solicitation  = 135
	advertisement = 136
)
