// SPDX-License-Identifier: Apache-2.0

package firewall

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Own is a link that a virtual router has made for itself. Its hardware address may
// be seen only where the router is master, or switches send to the wrong node. So
// what the kernel sends on its own account leaves by the link below: reports of
// group membership. Router solicitations do not leave at all, nor do neighbour
// advertisements for the link local address that it shares with the link below.
type Own struct {
	Link, Base int        // indexes
	Local      netip.Addr // zero: none
}

// Names of what is for own links, in the table of each family.
const (
	reportsName = "vmac_map"    // from link to the one below
	ownName     = "vmac_set"    // links
	localsName  = "vmac_locals" // link local addresses
)

// AddOwn has the rules apply to a link, for one family. One that they apply to
// already is no error.
func (g *Guard) AddOwn(o Own, six bool) error {
	f := g.family(six)
	if f.reports == nil {
		if err := g.divert(f); err != nil {
			return err
		}
	}
	err := g.conn.SetAddElements(f.reports, []nftables.SetElement{{Key: index(o.Link), Val: index(o.Base)}})
	if err == nil && six {
		err = g.conn.SetAddElements(f.own, []nftables.SetElement{{Key: index(o.Link)}})
	}
	if err == nil && six && o.Local.IsValid() {
		err = g.conn.SetAddElements(f.locals, []nftables.SetElement{{Key: o.Local.AsSlice()}})
	}
	if err != nil {
		return fmt.Errorf("nftables: link %d: %w", o.Link, err)
	}
	return g.flush()
}

// DelOwn forgets a link. One that is not known is no error. Its link local address
// stays in the set: other links may have it, too.
func (g *Guard) DelOwn(o Own, six bool) error {
	f := g.families[six]
	if f == nil || f.reports == nil {
		return nil
	}
	err := g.conn.SetDeleteElements(f.reports, []nftables.SetElement{{Key: index(o.Link)}})
	if err == nil && six {
		err = g.conn.SetDeleteElements(f.own, []nftables.SetElement{{Key: index(o.Link)}})
	}
	if err != nil {
		return fmt.Errorf("nftables: forget link %d: %w", o.Link, err)
	}
	if err := g.flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

func index(i int) []byte { return binaryutil.NativeEndian.PutUint32(uint32(i)) }

// Registers of the rules.
const (
	regLink = 1
	regBase = 2
	regDst  = 3
)

// divert makes the sets and rules of a family with its first link. They stand
// before those for addresses, which let neighbour discovery pass.
func (g *Guard) divert(f *family) error {
	table, out := g.table(f), g.chain(f, "out", nftables.ChainHookOutput)
	reports := &nftables.Set{Table: table, Name: reportsName, IsMap: true, KeyType: nftables.TypeIFIndex, DataType: nftables.TypeIFIndex, KeyByteOrder: binaryutil.NativeEndian}
	err := g.conn.AddSet(reports, nil)
	own := &nftables.Set{Table: table, Name: ownName, KeyType: nftables.TypeIFIndex, KeyByteOrder: binaryutil.NativeEndian}
	locals := &nftables.Set{Table: table, Name: localsName, KeyType: nftables.TypeIP6Addr}
	if f.six {
		err = errors.Join(err, g.conn.AddSet(own, nil), g.conn.AddSet(locals, nil))
	}
	if err != nil {
		return fmt.Errorf("nftables: sets of links: %w", err)
	}
	rule := func(exprs ...expr.Any) { g.conn.InsertRule(&nftables.Rule{Table: table, Chain: out, Exprs: exprs}) }
	link := &expr.Meta{Key: expr.MetaKeyOIF, Register: regLink}
	ours := func() []expr.Any {
		return []expr.Any{link, &expr.Lookup{SourceRegister: regLink, SetName: own.Name, SetID: own.ID}}
	}
	drop := &expr.Verdict{Kind: expr.VerdictDrop}
	report := func(match []expr.Any) {
		rule(append(match, link,
			&expr.Lookup{SourceRegister: regLink, DestRegister: regBase, IsDestRegSet: true, SetName: reports.Name, SetID: reports.ID},
			&expr.Payload{DestRegister: regDst, Base: expr.PayloadBaseNetworkHeader, Offset: f.dst, Len: f.length},
			&expr.Dup{RegAddr: regDst, RegDev: regBase, IsRegDevSet: true}, drop)...)
	}
	if f.six {
		report(icmp6(reportV1, doneV1))
		report(icmp6(reportV2, reportV2))
		rule(append(append(icmp6(routerSolicitation, routerSolicitation), ours()...), drop)...)
		target := &expr.Payload{DestRegister: regLink, Base: expr.PayloadBaseTransportHeader, Offset: targetOffset, Len: f.length}
		rule(append(append(icmp6(advertisement, advertisement), ours()...), target,
			&expr.Lookup{SourceRegister: regLink, SetName: locals.Name, SetID: locals.ID}, drop)...)
	} else {
		report([]expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_IGMP}},
		})
	}
	if err := g.flush(); err != nil {
		return err
	}
	f.reports, f.own, f.locals = reports, own, locals
	return nil
}

// Types of ICMPv6: RFC 2710 3.1, RFC 4861 4.1, RFC 3810 5.2; and where an
// advertisement has its target, RFC 4861 4.4.
const (
	reportV1           = 131
	doneV1             = 132
	routerSolicitation = 133
	reportV2           = 143
	targetOffset       = 8
)

// icmp6 matches types of ICMPv6.
func icmp6(from, to byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_ICMPV6}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
		&expr.Range{Op: expr.CmpOpEq, Register: 1, FromData: []byte{from}, ToData: []byte{to}},
	}
}
