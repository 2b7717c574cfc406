// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/lvs-fnat/lvs/ipvs"
)

// connLine is one line of /proc/net/ip_vs_conn.
type connLine struct {
	protocol                string
	client, virtual, server netip.AddrPort
	state                   string
	expires                 int64 // seconds
	pe, peData              string
}

// parseConn reads a line of /proc/net/ip_vs_conn: protocol, three addresses
// each with its port in hex, state, seconds, and maybe a persistence engine
// with its data.
func parseConn(line string) (connLine, bool) {
	f := strings.Fields(line)
	if len(f) < 9 {
		return connLine{}, false
	}
	c := connLine{protocol: f[0], state: f[7]}
	for i, to := range []*netip.AddrPort{&c.client, &c.virtual, &c.server} {
		addr, ok := hexAddr(f[1+2*i])
		port, err := strconv.ParseUint(f[2+2*i], 16, 16)
		if !ok || err != nil {
			return connLine{}, false
		}
		*to = netip.AddrPortFrom(addr, uint16(port))
	}
	seconds, err := strconv.ParseInt(f[8], 10, 64)
	if err != nil {
		return connLine{}, false
	}
	c.expires = seconds
	if len(f) > 10 {
		c.pe, c.peData = f[9], strings.Join(f[10:], " ")
	}
	return c, true
}

// hexAddr reads the kernel's 0A000001, or its IPv6 with all zeros written.
func hexAddr(s string) (netip.Addr, bool) {
	if strings.Contains(s, ":") {
		return inet6(s)
	}
	n, err := strconv.ParseUint(s, 16, 32)
	if err != nil || len(s) != 8 {
		return netip.Addr{}, false
	}
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}), true
}

// connKey finds the connection of a line among those of the extension.
type connKey struct {
	protocol                ipvs.Protocol
	client, virtual, server netip.AddrPort
}

// localTable finds the local address of a connection. The kernel lists connections
// and local addresses in different orders, so that the one must be kept while the
// other streams: in 16 bytes for each, of which there may be millions. A connection
// is known by a hash of 64 bits: of a million, two are mistaken for each other in
// one listing of thirty million.
type localTable struct {
	seed    maphash.Seed
	entries []localEntry // by hash, once they are sorted
	addrs   []netip.Addr
	numbers map[netip.Addr]uint32 // of addrs
}

type localEntry struct {
	hash uint64
	addr uint32
	port uint16
}

func newLocalTable() *localTable {
	return &localTable{seed: maphash.MakeSeed(), numbers: map[netip.Addr]uint32{}}
}

func (l *localTable) add(key connKey, local netip.AddrPort) {
	n, known := l.numbers[local.Addr()]
	if !known {
		n = uint32(len(l.addrs))
		l.numbers[local.Addr()] = n
		l.addrs = append(l.addrs, local.Addr())
	}
	l.entries = append(l.entries, localEntry{maphash.Comparable(l.seed, key), n, local.Port()})
}

// sort comes behind the last add and before the first find.
func (l *localTable) sort() {
	slices.SortFunc(l.entries, func(a, b localEntry) int { return cmp.Compare(a.hash, b.hash) })
}

// find returns no address for a connection that has none. A nil table has none at all.
func (l *localTable) find(key connKey) netip.AddrPort {
	if l == nil || len(l.entries) == 0 {
		return netip.AddrPort{}
	}
	hash := maphash.Comparable(l.seed, key)
	i, found := slices.BinarySearchFunc(l.entries, hash, func(e localEntry, hash uint64) int { return cmp.Compare(e.hash, hash) })
	if !found {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(l.addrs[l.entries[i].addr], l.entries[i].port)
}

// locals are those of connections that the extension forwards; nil on a stock module.
func (a *app) locals(ctx context.Context, filter connFilter) (*localTable, error) {
	if ours, err := a.extended(ctx); err != nil {
		return nil, listFailed(err)
	} else if !ours {
		return nil, nil
	}
	locals := newLocalTable()
	for c, err := range a.kernel.Conns(ctx, filter.ConnFilter) {
		if err != nil {
			return nil, listFailed(err)
		}
		// SYNPROXY without FNAT leaves a client its own address.
		if filter.inState(c.State) && c.Local != c.Client {
			locals.add(connKey{c.Protocol, c.Client, c.Virtual, c.Dest}, c.Local)
		}
	}
	locals.sort()
	return locals, nil
}

// connProtocol is the protocol of a line, by which ports have names.
func connProtocol(word string) ipvs.Protocol {
	for _, p := range []ipvs.Protocol{ipvs.TCP, ipvs.UDP, ipvs.SCTP} {
		if strings.EqualFold(word, protocolWord(p)) {
			return p
		}
	}
	return 0
}

// listConns is -L -c. The column of local addresses comes last and only if
// there is something in it: without FNAT the listing is stock's to the byte.
func (a *app) listConns(ctx context.Context, c *call) error {
	locals, err := a.locals(ctx, c.filter)
	if err != nil {
		return err
	}
	f, err := os.Open(a.connFile)
	if err != nil {
		return &failure{code: 1, text: fmt.Sprintf(msgConnOpen, a.connFile), ends: true, err: err}
	}
	defer f.Close()
	in := bufio.NewReader(f)
	if _, err := in.ReadString('\n'); err != nil {
		return &failure{code: 1, text: fmt.Sprintf(msgConnInput, a.connFile), ends: true, err: err}
	}
	t := connTable{app: a, numeric: c.set.has(colNumeric), pe: c.set.has(colPersistentConn), locals: locals}
	put, end := func(e *connLine, _ netip.AddrPort) error { t.print(ctx, e); return nil }, func() {}
	if c.set.has(colJSON) {
		doc, err := newJSONDoc(a.stdout, "connections")
		if err != nil {
			return err
		}
		put, end = func(e *connLine, local netip.AddrPort) error { return doc.add(connOf(e, local)) }, doc.end
	} else {
		t.head()
	}
	for {
		line, err := in.ReadString('\n')
		if entry, ok := parseConn(line); ok {
			if local := t.local(&entry); c.filter.match(&entry, local) {
				if err := put(&entry, local); err != nil {
					return err
				}
			}
		}
		if errors.Is(err, io.EOF) {
			end()
			return nil
		}
		if err != nil {
			return &failure{code: 1, text: fmt.Sprintf("%s: %v", a.connFile, err), ends: true, err: err}
		}
	}
}

type connTable struct {
	*app
	numeric, pe bool
	locals      *localTable
}

func (t *connTable) head() {
	io.WriteString(t.stdout, "IPVS connection entries\n")
	columns := []string{"source", "virtual", "destination"}
	if t.pe {
		columns = append(columns, "pe name", "pe_data")
	}
	if t.locals != nil && len(t.locals.entries) > 0 {
		columns = append(columns, "local")
	}
	t.row("pro", "expire", "state", columns, 18, 16)
}

// row pads all columns but the last. With data of an engine the head and the
// entries differ in the width of the two columns before it, as in stock.
func (t *connTable) row(protocol, expire, state string, columns []string, destination, engine int) {
	fmt.Fprintf(t.stdout, "%-3s %-6s %-11s", protocol, expire, state)
	for i, text := range columns {
		width := 18
		switch {
		case i == len(columns)-1:
			width = 0
		case t.pe && len(columns) > 3 && i == 2:
			width = destination
		case t.pe && i == 3:
			width = engine
		}
		fmt.Fprintf(t.stdout, " %-*s", width, text)
	}
	io.WriteString(t.stdout, "\n")
}

// local is the local address of a connection; that of most has none.
func (t *connTable) local(c *connLine) netip.AddrPort {
	return t.locals.find(connKey{connProtocol(c.protocol), c.client, c.virtual, c.server})
}

func (t *connTable) print(ctx context.Context, c *connLine) {
	proto := connProtocol(c.protocol)
	text := func(ap netip.AddrPort) string {
		return t.endpointText(ctx, ap.Addr(), ap.Port(), proto, t.numeric)
	}
	columns := []string{text(c.client), text(c.virtual), text(c.server)}
	local := t.local(c)
	ok := local.IsValid()
	if t.pe && (c.pe != "" || ok) {
		columns = append(columns, c.pe, c.peData)
	}
	if ok {
		columns = append(columns, text(local))
	}
	t.row(c.protocol, fmt.Sprintf("%02d:%02d", c.expires/60, c.expires%60), c.state, columns, 16, 18)
}
