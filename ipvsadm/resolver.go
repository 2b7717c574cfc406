// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"slices"
)

// lookupIPv4 returns the addresses of a host name in the order in which the hosts file
// or the name server has them, which is that of gethostbyname(3). The resolver of
// package net puts first what this host reaches best, RFC 6724: as the address of a
// service that would be another one.
func lookupIPv4(ctx context.Context, host string) ([]netip.Addr, error) {
	var said []netip.Addr
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, server string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, server)
		if udp, ok := c.(*net.UDPConn); ok {
			return &overheardUDP{udp, &said}, err
		}
		if c == nil {
			return nil, err
		}
		return &overheardTCP{c, &said}, err
	}}
	addrs, err := r.LookupNetIP(ctx, "ip4", host)
	if err != nil {
		return nil, err // a query may go on, if ctx has ended
	}
	if len(said) == 0 {
		said = hostsFile(host)
	}
	slices.SortStableFunc(addrs, func(a, b netip.Addr) int { return place(said, a) - place(said, b) })
	return addrs, nil
}

// place is where a stands among those said, the end if it does not.
func place(said []netip.Addr, a netip.Addr) int {
	if i := slices.Index(said, a.Unmap()); i >= 0 {
		return i
	}
	return len(said)
}

// overheardUDP and overheardTCP note the addresses in the answers they receive.
type overheardUDP struct {
	*net.UDPConn
	said *[]netip.Addr
}

func (c *overheardUDP) Read(b []byte) (int, error) {
	n, err := c.UDPConn.Read(b)
	*c.said = appendAnswers(*c.said, b[:n])
	return n, err
}

type overheardTCP struct {
	net.Conn
	said *[]netip.Addr
}

// Read fills b, which is as long as the length of a message, or as a message.
func (c *overheardTCP) Read(b []byte) (int, error) {
	n, err := io.ReadFull(c.Conn, b)
	*c.said = appendAnswers(*c.said, b[:n])
	return n, err
}

// appendAnswers adds the addresses of the A records in the answer of a DNS message,
// RFC 1035 4.1; of what is no such message none.
func appendAnswers(list []netip.Addr, b []byte) []netip.Addr {
	const header, question, record = 12, 4, 10 // without names
	const typeA, classIN = 1, 1
	if len(b) < header {
		return list
	}
	questions, answers := binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint16(b[6:])
	b = b[header:]
	for range questions {
		if b = skipName(b); len(b) < question {
			return list
		}
		b = b[question:]
	}
	for range answers {
		if b = skipName(b); len(b) < record {
			return list
		}
		size := int(binary.BigEndian.Uint16(b[8:]))
		if len(b) < record+size {
			return list
		}
		if binary.BigEndian.Uint16(b) == typeA && binary.BigEndian.Uint16(b[2:]) == classIN && size == 4 {
			list = append(list, netip.AddrFrom4([4]byte(b[record:])))
		}
		b = b[record+size:]
	}
	return list
}

// skipName returns what stands behind a name, nil if it does not end.
func skipName(b []byte) []byte {
	const pointer = 0xc0
	for len(b) > 0 {
		size := int(b[0])
		switch {
		case size&pointer == pointer:
			return b[min(2, len(b)):]
		case size == 0:
			return b[1:]
		case len(b) < 1+size:
			return nil
		}
		b = b[1+size:]
	}
	return nil
}
