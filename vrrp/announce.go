// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// AllNodes is where neighbour advertisements go that nobody asked for.
var AllNodes = netip.MustParseAddr("ff02::1")

// protocolICMPv6 is IP protocol 58; its checksum has the pseudo header of IPv6.
const protocolICMPv6 = 58

// GratuitousARP is the body of an ARP request of addr for itself, to be sent
// to the Ethernet broadcast address with type 0x0806. The target hardware
// address is all ones, as keepalived fills it.
func GratuitousARP(addr netip.Addr, mac [6]byte) ([]byte, error) {
	if !addr.Is4() {
		return nil, fmt.Errorf("%v: ARP is for IPv4", addr)
	}
	b := []byte{0, 1, 8, 0, 6, 4, 0, 1}
	b = append(append(b, mac[:]...), addr.AsSlice()...)
	b = append(b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
	return append(b, addr.AsSlice()...), nil
}

// NeighbourAdvert is the ICMPv6 message with which addr tells [AllNodes] its
// link layer address (RFC 4861 4.4): override, not solicited; router where the
// host forwards.
func NeighbourAdvert(addr netip.Addr, mac [6]byte, router bool) ([]byte, error) {
	if !addr.Is6() || addr.Is4In6() {
		return nil, fmt.Errorf("%v: neighbour advertisements are for IPv6", addr)
	}
	flags := byte(0x20)
	if router {
		flags |= 0x80
	}
	b := append([]byte{136, 0, 0, 0, flags, 0, 0, 0}, addr.AsSlice()...)
	b = append(append(b, 2, 1), mac[:]...)
	pseudo := words(addr.AsSlice()) + words(AllNodes.AsSlice()) + uint32(len(b)) + protocolICMPv6
	binary.BigEndian.PutUint16(b[2:], checksum(b, pseudo))
	return b, nil
}
