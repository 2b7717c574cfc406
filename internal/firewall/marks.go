// SPDX-License-Identifier: Apache-2.0

package firewall

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Mark is what packets for a range of addresses and one port carry once they have
// come in.
type Mark struct {
	Protocol    uint8      // number of IP: TCP, UDP or SCTP
	First, Last netip.Addr // of one family
	Port        uint16
	Mark        uint32
}

// Compare orders by family, protocol, port and address.
func (m Mark) Compare(o Mark) int {
	return cmp.Or(cmp.Compare(m.First.BitLen(), o.First.BitLen()), cmp.Compare(m.Protocol, o.Protocol), cmp.Compare(m.Port, o.Port),
		m.First.Compare(o.First), m.Last.Compare(o.Last), cmp.Compare(m.Mark, o.Mark))
}

// String is an element of a map as nft(8) writes it.
func (m Mark) String() string {
	addr := m.First.String()
	if m.Last != m.First {
		addr += "-" + m.Last.String()
	}
	return fmt.Sprintf("%s . %d : %d", addr, m.Port, m.Mark)
}

// MarkOptions say how the rules look.
type MarkOptions struct {
	Table    string // "": keepalived_ipvs
	Priority int    // of the chains
	Counters bool
	NetNS    int // descriptor of a network namespace; 0: this one
}

// marksTable is what keepalived calls its own.
const marksTable = "keepalived_ipvs"

// Marker has nftables set marks where ip_vs looks for them next. It belongs to one
// goroutine, but Read may be called by others, too.
type Marker struct {
	opts MarkOptions
	conn *nftables.Conn
}

// transports are the protocols with ports, and the names of their maps.
var transports = []struct {
	protocol uint8
	name     string
}{{unix.IPPROTO_TCP, "tcp"}, {unix.IPPROTO_UDP, "udp"}, {unix.IPPROTO_SCTP, "sctp"}}

// NewMarker changes nothing yet.
func NewMarker(o MarkOptions) (*Marker, error) {
	if o.Table == "" {
		o.Table = marksTable
	}
	opts := []nftables.ConnOption{nftables.WithSockOptions(roomy)}
	if o.NetNS != 0 {
		opts = append(opts, nftables.WithNetNSFd(o.NetNS))
	}
	conn, err := nftables.New(opts...)
	if err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	return &Marker{opts: o, conn: conn}, nil
}

// roomy lets a socket send all marks in one message: a transaction is one. 65,536
// addresses apart, as many as a group may have, are 8 MB.
func roomy[C interface{ SetWriteBuffer(int) error }](c C) error { return c.SetWriteBuffer(32 << 20) }

// Lines are commands of nft(8) that make want of have.
func (o MarkOptions) Lines(have, want []Mark) []string {
	if o.Table == "" {
		o.Table = marksTable
	}
	var lines []string
	each := func(verb string, list, but []Mark) {
		stays := make(map[Mark]bool, len(but))
		for _, m := range but {
			stays[m] = true
		}
		for _, m := range list {
			if stays[m] {
				continue
			}
			family, name := "ip", ""
			if m.First.Is6() {
				family = "ip6"
			}
			for _, tr := range transports {
				if tr.protocol == m.Protocol {
					name = tr.name
				}
			}
			lines = append(lines, fmt.Sprintf("nft %s element %s %s %s_map { %s }", verb, family, o.Table, name, m))
		}
	}
	each("delete", have, want)
	each("add", want, have)
	return lines
}

// elementsPerMessage keeps an attribute below the 64 KB it may have.
const elementsPerMessage = 400

// Set replaces all there is, of a dead process too, by want, in one step: no packet
// meets anything in between.
func (m *Marker) Set(want []Mark) error {
	for _, six := range []bool{false, true} {
		t := m.table(six)
		m.conn.AddTable(t)
		m.conn.DelTable(t)
		var chain *nftables.Chain
		for _, tr := range transports {
			elements := elementsOf(want, six, tr.protocol)
			if len(elements) == 0 {
				continue
			}
			if chain == nil {
				priority := nftables.ChainPriority(m.opts.Priority)
				m.conn.AddTable(t)
				chain = m.conn.AddChain(&nftables.Chain{Name: chainName, Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput, Priority: &priority})
			}
			if err := m.transport(chain, tr.name, tr.protocol, elements); err != nil {
				return fmt.Errorf("nftables: map of %s: %w", tr.name, err)
			}
		}
	}
	if err := m.conn.Flush(); err != nil {
		return fmt.Errorf("nftables: marks of virtual_server_groups: %w", err)
	}
	return nil
}

// chainName is that of the chain at the hook where ip_vs takes packets, before it.
const chainName = "in"

func (m *Marker) table(six bool) *nftables.Table {
	t := &nftables.Table{Name: m.opts.Table, Family: nftables.TableFamilyIPv4}
	if six {
		t.Family = nftables.TableFamilyIPv6
	}
	return t
}

// elementsOf gives the elements of one map.
func elementsOf(marks []Mark, six bool, protocol uint8) []nftables.SetElement {
	var list []nftables.SetElement
	for _, k := range marks {
		if k.First.Is6() == six && k.Protocol == protocol {
			list = append(list, nftables.SetElement{
				Key: markKey(k.First, k.Port), KeyEnd: markKey(k.Last, k.Port), Val: binary.BigEndian.AppendUint32(nil, k.Mark),
			})
		}
	}
	return list
}

// markKey is an address and a port, each in whole registers.
func markKey(a netip.Addr, port uint16) []byte {
	return append(binary.BigEndian.AppendUint16(a.AsSlice(), port), 0, 0)
}

// transport adds the map of one protocol, and the rule that looks into it.
func (m *Marker) transport(chain *nftables.Chain, name string, protocol uint8, elements []nftables.SetElement) error {
	addr, length, at := nftables.TypeIPAddr, uint32(4), uint32(16)
	if chain.Table.Family == nftables.TableFamilyIPv6 {
		addr, length, at = nftables.TypeIP6Addr, 16, 24
	}
	key, err := nftables.ConcatSetType(addr, nftables.TypeInetService)
	if err != nil {
		return err
	}
	set := &nftables.Set{Table: chain.Table, Name: name + "_map", IsMap: true, Interval: true, Concatenation: true, Counter: m.opts.Counters, KeyType: key, DataType: nftables.TypeMark}
	if err := m.conn.AddSet(set, nil); err != nil {
		return err
	}
	for part := range slices.Chunk(elements, elementsPerMessage) {
		if err := m.conn.SetAddElements(set, part); err != nil {
			return err
		}
	}
	// Registers of four bytes, of which the key takes the first ones.
	const first = unix.NFT_REG32_00
	port := first + length/4
	exprs := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: first},
		&expr.Cmp{Op: expr.CmpOpEq, Register: first, Data: []byte{protocol}},
		&expr.Payload{DestRegister: first, Base: expr.PayloadBaseNetworkHeader, Offset: at, Len: length},
		&expr.Payload{DestRegister: port, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Lookup{SourceRegister: first, DestRegister: first, IsDestRegSet: true, SetName: set.Name, SetID: set.ID},
		// nft(8) takes the values of a map for big-endian unless the map says that they
		// are not, which the library cannot have it say.
		&expr.Byteorder{SourceRegister: first, DestRegister: first, Op: expr.ByteorderNtoh, Len: 4, Size: 4},
		&expr.Meta{Key: expr.MetaKeyMARK, Register: first, SourceRegister: true},
	}
	if m.opts.Counters {
		exprs = append(exprs, &expr.Counter{})
	}
	m.conn.AddRule(&nftables.Rule{Table: chain.Table, Chain: chain, Exprs: append(exprs, &expr.Verdict{Kind: expr.VerdictReturn})})
	return nil
}

// Read gives the marks that are set, in order. A map without the rule that looks
// into it sets none.
func (m *Marker) Read() ([]Mark, error) {
	var list []Mark
	for _, six := range []bool{false, true} {
		found, err := m.read(m.table(six))
		if err != nil && !gone(err) {
			return nil, fmt.Errorf("nftables: read table %s: %w", m.opts.Table, err)
		}
		list = append(list, found...)
	}
	slices.SortFunc(list, Mark.Compare)
	return list, nil
}

// gone says that what was to be read is not there, or that this kernel knows no
// nftables.
func gone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT)
}

func (m *Marker) read(t *nftables.Table) ([]Mark, error) {
	all, err := m.conn.ListTablesOfFamily(t.Family)
	if err != nil || !slices.ContainsFunc(all, func(o *nftables.Table) bool { return o.Name == t.Name }) {
		return nil, err
	}
	rules, err := m.conn.GetRules(t, &nftables.Chain{Name: chainName, Table: t})
	if err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for _, r := range rules {
		for _, e := range r.Exprs {
			if l, ok := e.(*expr.Lookup); ok {
				used[l.SetName] = true
			}
		}
	}
	var list []Mark
	for _, tr := range transports {
		if !used[tr.name+"_map"] {
			continue
		}
		elements, err := m.conn.GetSetElements(&nftables.Set{Table: t, Name: tr.name + "_map"})
		if err != nil {
			return nil, err
		}
		for _, e := range elements {
			if k, ok := markOf(e, tr.protocol); ok {
				list = append(list, k)
			}
		}
	}
	return list, nil
}

// markOf reads an element; not ok: it is none of ours.
func markOf(e nftables.SetElement, protocol uint8) (Mark, bool) {
	addr := func(key []byte) (netip.Addr, bool) { return netip.AddrFromSlice(key[:max(0, len(key)-4)]) }
	first, ok := addr(e.Key)
	if !ok || len(e.Val) != 4 {
		return Mark{}, false
	}
	last, ok := addr(e.KeyEnd)
	if !ok {
		last = first
	}
	return Mark{protocol, first, last, binary.BigEndian.Uint16(e.Key[len(e.Key)-4:]), binary.BigEndian.Uint32(e.Val)}, true
}
