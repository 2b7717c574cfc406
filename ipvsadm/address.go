// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"net/netip"
	"strconv"
	"strings"

	"github.com/lvs-fnat/lvs/ipvs"
)

// number reads s as C's strtol with base 10 does when the whole word must be
// used: blanks and a sign in front are fine, anything behind is not.
func number(s string, low, high int64) (int64, bool) {
	for s != "" && (s[0] == ' ' || '\t' <= s[0] && s[0] <= '\r') {
		s = s[1:]
	}
	unsigned := s
	if s != "" && (s[0] == '+' || s[0] == '-') {
		unsigned = s[1:]
	}
	if unsigned == "" || unsigned[0] < '0' || unsigned[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && low <= n && n <= high
}

// atoi reads the leading digits of s, 0 if there are none, as C's does where a long
// has 64 bits: it keeps 32 of them, and what is beyond 64 is the largest.
func atoi(s string) int64 {
	s = strings.TrimLeft(s, " \t\n\v\f\r")
	end := 0
	for end < len(s) && (s[end] >= '0' && s[end] <= '9' || end == 0 && (s[0] == '-' || s[0] == '+')) {
		end++
	}
	n, _ := strconv.ParseInt(s[:end], 10, 64) // out of range: the nearest
	return int64(int32(n))
}

// inetAton reads an IPv4 address as the C function of that name does: one to
// four parts, each decimal, octal or hexadecimal, text after a blank ignored.
func inetAton(s string) (netip.Addr, bool) {
	if a, ok := dotted(s); ok {
		return a, true
	}
	if i := strings.IndexAny(s, " \t\n\v\f\r"); i >= 0 {
		s = s[:i]
	}
	var addr uint64
	for i := 0; ; i++ {
		part, rest, more := strings.Cut(s, ".")
		n, ok := cNumber(part)
		limit, shift := uint64(0xff), 8*(3-i)
		if !more {
			limit, shift = 1<<(8*(4-i))-1, 0
		}
		if !ok || n > limit || more && i == 3 {
			return netip.Addr{}, false
		}
		addr |= n << shift
		if !more {
			break
		}
		s = rest
	}
	return netip.AddrFrom4([4]byte{byte(addr >> 24), byte(addr >> 16), byte(addr >> 8), byte(addr)}), true
}

// dotted reads what nearly all addresses are: four decimal numbers.
func dotted(s string) (netip.Addr, bool) {
	var b [4]byte
	part, n, digits := 0, 0, 0
	for i := 0; ; i++ {
		switch {
		case i < len(s) && '0' <= s[i] && s[i] <= '9':
			if n == 0 && digits > 0 {
				return netip.Addr{}, false // octal
			}
			n = 10*n + int(s[i]-'0')
			if digits++; n > 255 {
				return netip.Addr{}, false
			}
			continue
		case digits == 0 || part == 3 != (i == len(s)) || i < len(s) && s[i] != '.':
			return netip.Addr{}, false
		}
		b[part] = byte(n)
		if i == len(s) {
			return netip.AddrFrom4(b), true
		}
		part, n, digits = part+1, 0, 0
	}
}

// cNumber reads an unsigned number as C writes it: 10, 0x0a or 012.
func cNumber(s string) (uint64, bool) {
	base := 10
	switch {
	case len(s) > 2 && (s[:2] == "0x" || s[:2] == "0X"):
		base, s = 16, s[2:]
	case len(s) > 1 && s[0] == '0':
		base, s = 8, s[1:]
	}
	for _, c := range []byte(s) {
		if c == '+' || c == '-' || c == '_' {
			return 0, false
		}
	}
	n, err := strconv.ParseUint(s, base, 33)
	return n, err == nil
}

// inet6 reads an IPv6 literal as inet_pton does: no zones, no IPv4.
func inet6(s string) (netip.Addr, bool) {
	if strings.Count(s, ":") < 2 {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(s)
	if err != nil || !a.Is6() || a.Zone() != "" {
		return netip.Addr{}, false
	}
	return a, true
}

// endpoint is what address text says; port counts only if hasPort.
type endpoint struct {
	addr    netip.Addr
	port    uint16
	hasPort bool
}

// endpoint reads the address of a service or server: see the manual page,
// section ADDRESSES. proto is zero while the protocol is unknown; then service
// names do not count.
func (n *names) endpoint(ctx context.Context, s string, proto ipvs.Protocol) (endpoint, bool) {
	if digits(s) {
		return endpoint{}, false
	}
	host, port := s, ""
	hasPort := false
	if s[0] == '[' {
		inside, rest, ok := strings.Cut(s[1:], "]")
		if !ok || !strings.HasPrefix(rest, ":") {
			return endpoint{}, false
		}
		if a, ok := inet6(inside); ok {
			p, ok := n.port(rest[1:], proto)
			return endpoint{a, p, true}, ok
		}
		host = inside
	}
	if a, ok := inet6(host); ok {
		return endpoint{addr: a}, true
	}
	if i := strings.LastIndexByte(host, ':'); i >= 0 {
		host, port, hasPort = host[:i], host[i+1:], true
	}
	a, ok := n.host4(ctx, host)
	if !ok {
		return endpoint{}, false
	}
	e := endpoint{addr: a, hasPort: hasPort}
	if hasPort {
		e.port, ok = n.port(port, proto)
	}
	return e, ok
}

// digits tells whether s has nothing else.
func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// host4 is an IPv4 address in numbers, or that of a host name.
func (n *names) host4(ctx context.Context, s string) (netip.Addr, bool) {
	if s == "" {
		return netip.Addr{}, false
	}
	if a, ok := inetAton(s); ok {
		return a, true
	}
	return n.lookupHost(ctx, s)
}

func (n *names) port(s string, proto ipvs.Protocol) (uint16, bool) {
	if p, ok := number(s, 0, 65535); ok {
		return uint16(p), true
	}
	return n.servicePort(s, proto)
}

// laddr reads ADDR, ADDR:MIN-MAX or [ADDR6]:MIN-MAX: a local address. Names
// are not resolved, as in the program it comes from.
func laddr(s string) (ipvs.Laddr, bool) {
	host, ports, hasPorts := s, "", false
	if strings.HasPrefix(s, "[") {
		inside, rest, ok := strings.Cut(s[1:], "]")
		if !ok {
			return ipvs.Laddr{}, false
		}
		host = inside
		if rest != "" {
			if rest[0] != ':' {
				return ipvs.Laddr{}, false
			}
			ports, hasPorts = rest[1:], true
		}
	} else if strings.Count(s, ":") == 1 {
		host, ports, hasPorts = strings.Cut(s, ":")
	}
	addr, err := netip.ParseAddr(host)
	if err != nil || addr.Zone() != "" || addr.Is4In6() || addr.IsUnspecified() || addr.IsMulticast() {
		return ipvs.Laddr{}, false
	}
	l := ipvs.Laddr{Addr: addr}
	if hasPorts {
		low, high, ok := strings.Cut(ports, "-")
		a, okA := number(low, 1, 65535)
		b, okB := number(high, 1, 65535)
		if !ok || !okA || !okB || a > b {
			return ipvs.Laddr{}, false
		}
		l.PortMin, l.PortMax = uint16(a), uint16(b)
	}
	return l, true
}
