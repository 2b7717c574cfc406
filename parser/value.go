// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"fmt"
	"iter"
	"net/netip"
	"strconv"
	"strings"
	"sync"

	"github.com/alecthomas/participle/v2"
	"github.com/alecthomas/participle/v2/lexer"
)

// ValueError says what is wrong with one value and at which byte of it.
type ValueError struct {
	Value  string
	Offset int // byte in Value, from 0
	Reason string
}

// Error gives 'value': reason.
func (e *ValueError) Error() string { return "'" + e.Value + "': " + e.Reason }

func valueErr(v string, offset int, format string, args ...any) *ValueError {
	return &ValueError{Value: v, Offset: offset, Reason: fmt.Sprintf(format, args...)}
}

// PortRange is Min to Max, both included. The zero value means "not given".
type PortRange struct{ Min, Max uint16 }

// IsZero says that no range was given.
func (r PortRange) IsZero() bool { return r == PortRange{} }

// Overlaps says whether the two ranges share a port; a range not given shares none.
func (r PortRange) Overlaps(o PortRange) bool {
	return !r.IsZero() && !o.IsZero() && r.Min <= o.Max && o.Min <= r.Max
}

// String gives MIN-MAX, or one number, or "" for the zero value.
func (r PortRange) String() string {
	switch {
	case r.IsZero():
		return ""
	case r.Min == r.Max:
		return strconv.Itoa(int(r.Min))
	}
	return fmt.Sprintf("%d-%d", r.Min, r.Max)
}

// AddrRange is From to To, both included and of one family.
type AddrRange struct{ From, To netip.Addr }

// All gives every address of the range in order.
func (r AddrRange) All() iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		for a := r.From; a.IsValid() && a.Compare(r.To) <= 0; a = a.Next() {
			if !yield(a) {
				return
			}
		}
	}
}

// The grammars. Tokens are shared; an IPv6 address needs two colons, so that
// ADDRESS:PORT stays an IPv4 address, a colon and a number.
type (
	endpointValue struct {
		BareAddr string  `parser:"@V6"`
		Addr     string  `parser:"| ( @V4 | '[' @V6 ']' )"`
		Port     *string `parser:"( ':' @Num )?"`
	}
	rangeValue struct {
		From string  `parser:"@( V4 | V6 )"`
		To   *string `parser:"( '-' @( V4 | V6 | Num | Hex )"`
		Bits *string `parser:"| '/' @Num )?"`
	}
	portsValue struct {
		Min string  `parser:"@Num"`
		Max *string `parser:"( '-' @Num )?"`
	}
)

var valueLexer = lexer.MustSimple([]lexer.SimpleRule{
	{Name: "V6", Pattern: `[0-9a-fA-F]*(:[0-9a-fA-F.]*){2,}(%[A-Za-z0-9_.\-]+)?`},
	{Name: "V4", Pattern: `[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+`},
	{Name: "Num", Pattern: `[0-9]+\b`},
	{Name: "Hex", Pattern: `[0-9a-fA-F]+`},
	{Name: "Punct", Pattern: `[\[\]:/\-]`},
})

// Built on first use: the commands that read no configuration do not pay for them.
var (
	endpointGrammar = sync.OnceValue(func() *participle.Parser[endpointValue] {
		return participle.MustBuild[endpointValue](participle.Lexer(valueLexer))
	})
	rangeGrammar = sync.OnceValue(func() *participle.Parser[rangeValue] {
		return participle.MustBuild[rangeValue](participle.Lexer(valueLexer))
	})
	portsGrammar = sync.OnceValue(func() *participle.Parser[portsValue] {
		return participle.MustBuild[portsValue](participle.Lexer(valueLexer))
	})
)

// match runs a grammar and turns its error into ours.
func match[T any](g *participle.Parser[T], v, want string) (*T, error) {
	out, err := g.ParseString("", v)
	if err == nil {
		return out, nil
	}
	offset := 0
	if pe, ok := err.(participle.Error); ok {
		offset = min(max(pe.Position().Offset, 0), len(v))
	}
	return nil, valueErr(v, offset, "expected %s", want)
}

// ParseAddr reads one IPv4 or IPv6 address, never a name. The zone of a
// link-local address is kept.
func ParseAddr(v string) (netip.Addr, error) {
	a, err := netip.ParseAddr(v)
	if err != nil {
		return netip.Addr{}, valueErr(v, 0, "expected an IPv4 or IPv6 address")
	}
	return a, nil
}

// ParsePort reads a port number, 0 to 65535.
func ParsePort(v string) (uint16, error) {
	n, err := strconv.ParseUint(v, 10, 16)
	if err != nil || v[0] == '+' {
		return 0, valueErr(v, 0, "expected a port number from 0 to 65535")
	}
	return uint16(n), nil
}

// ParseAddrPort reads ADDRESS, IPV4:PORT or [IPV6]:PORT. The port is 0 when it is not given.
func ParseAddrPort(v string) (netip.AddrPort, error) {
	if a, err := netip.ParseAddr(v); err == nil {
		return netip.AddrPortFrom(a, 0), nil
	}
	e, err := match(endpointGrammar(), v, "an address, IPV4:PORT or [IPV6]:PORT")
	if err != nil {
		return netip.AddrPort{}, err
	}
	a, err := ParseAddr(e.Addr + e.BareAddr)
	if err != nil {
		return netip.AddrPort{}, valueErr(v, 0, "expected an IPv4 or IPv6 address")
	}
	if e.Port == nil {
		return netip.AddrPortFrom(a, 0), nil
	}
	port, err := ParsePort(*e.Port)
	if err != nil {
		return netip.AddrPort{}, valueErr(v, strings.LastIndexByte(v, ':')+1, "expected a port number from 0 to 65535")
	}
	return netip.AddrPortFrom(a, port), nil
}

// ParsePortRange reads PORT or MIN-MAX, ports from 1, the smaller first.
func ParsePortRange(v string) (PortRange, error) {
	r, err := match(portsGrammar(), v, "PORT or MIN-MAX")
	if err != nil {
		return PortRange{}, err
	}
	lo, err := ParsePort(r.Min)
	if err != nil || lo == 0 {
		return PortRange{}, valueErr(v, 0, "expected ports from 1 to 65535")
	}
	hi, at := lo, 0
	if r.Max != nil {
		at = len(r.Min) + 1
		if hi, err = ParsePort(*r.Max); err != nil {
			return PortRange{}, valueErr(v, at, "expected ports from 1 to 65535")
		}
	}
	if hi < lo {
		return PortRange{}, valueErr(v, at, "the range ends before it begins")
	}
	return PortRange{Min: lo, Max: hi}, nil
}

// ParseAddrRange reads ADDRESS, ADDRESS-LAST, ADDRESS-ADDRESS or ADDRESS/BITS.
// LAST replaces the last octet of an IPv4 address (decimal) or the last 16 bits
// of an IPv6 address (hexadecimal), as in keepalived.conf(5). ADDRESS/BITS is
// every address of the network, without the network and broadcast address
// for IPv4 networks that have them.
func ParseAddrRange(v string) (AddrRange, error) {
	if a, err := netip.ParseAddr(v); err == nil {
		return AddrRange{a, a}, nil
	}
	r, err := match(rangeGrammar(), v, "ADDRESS, ADDRESS-LAST, ADDRESS-ADDRESS or ADDRESS/BITS")
	if err != nil {
		return AddrRange{}, err
	}
	from, err := netip.ParseAddr(r.From)
	if err != nil {
		return AddrRange{}, valueErr(v, 0, "expected an IPv4 or IPv6 address")
	}
	at := len(r.From) + 1
	switch {
	case r.Bits != nil:
		return network(v, from, *r.Bits, at)
	case r.To != nil:
		to, err := rangeEnd(from, *r.To)
		if err != nil {
			return AddrRange{}, valueErr(v, at, "%v", err)
		}
		if to.Less(from) {
			return AddrRange{}, valueErr(v, at, "the range ends before it begins")
		}
		return AddrRange{from, to}, nil
	}
	return AddrRange{from, from}, nil
}

// ParsePrefix reads ADDRESS/BITS; a bare address has all its bits.
func ParsePrefix(v string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(v); err == nil {
		return netip.PrefixFrom(a.WithZone(""), a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(v)
	if err != nil {
		return netip.Prefix{}, valueErr(v, 0, "expected ADDRESS or ADDRESS/BITS")
	}
	return p, nil
}

func network(v string, a netip.Addr, bits string, at int) (AddrRange, error) {
	n, err := strconv.Atoi(bits)
	if err != nil || n < 0 || n > a.BitLen() {
		return AddrRange{}, valueErr(v, at, "expected a prefix length from 0 to %d", a.BitLen())
	}
	p := netip.PrefixFrom(a.WithZone(""), n).Masked()
	first, last := p.Addr(), lastAddr(p)
	if a.Is4() && n < 31 {
		first, last = first.Next(), last.Prev()
	}
	return AddrRange{first, last}, nil
}

func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

func rangeEnd(from netip.Addr, to string) (netip.Addr, error) {
	if strings.ContainsAny(to, ":.") {
		a, err := netip.ParseAddr(to)
		if err != nil {
			return a, fmt.Errorf("expected an IPv4 or IPv6 address")
		}
		if a.Is4() != from.Is4() {
			return a, fmt.Errorf("both ends must be of one family")
		}
		return a, nil
	}
	b := from.As16()
	if from.Is4() {
		n, err := strconv.ParseUint(to, 10, 8)
		if err != nil {
			return from, fmt.Errorf("expected the last octet, 0 to 255")
		}
		b[15] = byte(n)
		return netip.AddrFrom16(b).Unmap(), nil
	}
	n, err := strconv.ParseUint(to, 16, 16)
	if err != nil {
		return from, fmt.Errorf("expected the last 16 bits, 0 to ffff")
	}
	b[14], b[15] = byte(n>>8), byte(n)
	return netip.AddrFrom16(b).WithZone(from.Zone()), nil
}
