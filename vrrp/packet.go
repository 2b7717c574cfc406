// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Protocol is the IP protocol number of VRRP, ProtocolAH the one of the
// authentication header that may stand before it (RFC 3768 5.2.4, RFC 4302).
const (
	Protocol   = 112
	ProtocolAH = 51
)

// TTL is the only value a router may send and, on multicast, accept: a packet
// from another network cannot have it (RFC 5798 5.1.1.3).
const TTL = 255

// Owner is the priority of the owner of the addresses; ReleasePriority tells
// the backups that the master leaves (RFC 5798 5.2.4).
const (
	Owner           = 255
	ReleasePriority = 0
)

// MulticastIPv4 and MulticastIPv6 are where advertisements go unless an
// instance has unicast peers or an address of its own.
var (
	MulticastIPv4 = netip.AddrFrom4([4]byte{224, 0, 0, 18})
	MulticastIPv6 = netip.MustParseAddr("ff02::12")
)

const (
	headerLen   = 8
	authLen     = 8
	typeAdvert  = 1
	maxAddrs    = 255
	maxInterval = 0xfff // centiseconds, version 3
)

// AuthType is how version 2 proves who speaks; version 3 has none.
type AuthType uint8

// The numbers are those of RFC 2338 5.3.6.
const (
	AuthNone AuthType = 0
	AuthPass AuthType = 1
	AuthAH   AuthType = 2
)

// String gives the word of keepalived.conf's auth_type.
func (a AuthType) String() string {
	switch a {
	case AuthNone:
		return "none"
	case AuthPass:
		return "PASS"
	case AuthAH:
		return "AH"
	}
	return fmt.Sprintf("type %d", uint8(a))
}

// Advert is one advertisement.
type Advert struct {
	Version  int
	VRID     uint8
	Priority uint8
	Auth     AuthType      // version 2 only
	Password [8]byte       // version 2 with AuthPass, padded with zeros
	Interval time.Duration // seconds in version 2, centiseconds up to 40.95 s in version 3
	Addrs    []netip.Addr  // all of one family; with IPv6 a link local one comes first
	Seal     *Seal         // nil without auth_hmac; for sending only
}

// Checksum says what the checksum of a version 3 packet over IPv4 covers.
// Version 2 never has a pseudo header, IPv6 always has one.
type Checksum uint8

// ChecksumPseudo follows RFC 5798, ChecksumPlain RFC 9568 and keepalived's
// v3_checksum_as_v2.
const (
	ChecksumPseudo Checksum = iota
	ChecksumPlain
)

// Append appends the advertisement as it follows the IP header. src and dst
// are those of that header: they enter the checksum of version 3 and decide the
// family. It refuses what the fields cannot carry.
func (a Advert) Append(b []byte, src, dst netip.Addr, sum Checksum) ([]byte, error) {
	interval, err := a.wireInterval()
	if err != nil {
		return b, err
	}
	if err := a.checkAddrs(src, dst); err != nil {
		return b, err
	}
	at := len(b)
	b = append(b, byte(a.Version)<<4|typeAdvert, a.VRID, a.Priority, byte(len(a.Addrs)), 0, 0, 0, 0)
	if a.Version == 2 {
		b[at+4], b[at+5] = byte(a.Auth), byte(interval)
	} else {
		binary.BigEndian.PutUint16(b[at+4:], interval)
	}
	for _, addr := range a.Addrs {
		b = append(b, addr.AsSlice()...)
	}
	if a.Version == 2 {
		password := a.Password
		if a.Auth != AuthPass {
			password = [8]byte{}
		}
		b = append(b, password[:]...)
	}
	// The sum covers the authentication data too (RFC 2338 5.3.8); a trailer only over
	// IPv6, whose sum is of all that follows the header.
	summed := len(b)
	if a.Seal != nil {
		if b = a.Seal.append(b, at, src); src.Is6() {
			summed = len(b)
		}
	}
	binary.BigEndian.PutUint16(b[at+checksumAt:], checksum(b[at:summed], a.pseudo(src, dst, sum, summed-at)))
	return b, nil
}

func (a Advert) wireInterval() (uint16, error) {
	switch a.Version {
	case 2:
		s := a.Interval / time.Second
		if s < 1 || s > 255 || a.Interval%time.Second != 0 {
			return 0, fmt.Errorf("interval %v: version 2 needs whole seconds from 1 to 255", a.Interval)
		}
		return uint16(s), nil
	case 3:
		cs := a.Interval / (10 * time.Millisecond)
		if cs < 1 || cs > maxInterval || a.Interval%(10*time.Millisecond) != 0 {
			return 0, fmt.Errorf("interval %v: version 3 needs whole centiseconds from 0.01 s to 40.95 s", a.Interval)
		}
		return uint16(cs), nil
	}
	return 0, fmt.Errorf("version %d: there is 2 and 3", a.Version)
}

func (a Advert) checkAddrs(src, dst netip.Addr) error {
	switch {
	case a.VRID == 0:
		return errors.New("virtual router 0: there is 1 to 255")
	case src.Is4() != dst.Is4() || !src.IsValid() || !dst.IsValid():
		return fmt.Errorf("source %v and destination %v: one family is needed", src, dst)
	case len(a.Addrs) > maxAddrs:
		return fmt.Errorf("%d addresses: at most %d fit; put the rest into virtual_ipaddress_excluded", len(a.Addrs), maxAddrs)
	}
	for _, addr := range a.Addrs {
		if addr.Is4() != src.Is4() || !addr.IsValid() {
			return fmt.Errorf("address %v: not of the family of source %v", addr, src)
		}
	}
	return nil
}

// pseudo is the sum over the pseudo header of a message of that length.
func (a Advert) pseudo(src, dst netip.Addr, sum Checksum, length int) uint32 {
	if src.Is4() && (a.Version == 2 || sum == ChecksumPlain) {
		return 0
	}
	s := uint32(length) + Protocol
	for _, addr := range [...]netip.Addr{src, dst} {
		if addr.Is4() {
			b := addr.As4()
			s += words(b[:])
		} else {
			b := addr.As16()
			s += words(b[:])
		}
	}
	return s
}

// words adds up b as numbers of 16 bits, the last byte of an odd length as the
// upper half of one.
func words(b []byte) uint32 {
	var s uint32
	for ; len(b) > 1; b = b[2:] {
		s += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	return s
}

// checksum is the Internet checksum (RFC 1071) of b and what was summed before,
// whose checksum field the caller has set to zero when it computes and left alone
// when it verifies.
func checksum(b []byte, before uint32) uint16 {
	s := before + words(b)
	for s>>16 != 0 {
		s = s&0xffff + s>>16
	}
	return ^uint16(s)
}

// Parse reads what follows the IP header of a packet from src to dst: form
// and length only. Whether it is to be believed is for [Receiver.Accept]. Bytes
// after the advertisement are padding and left out. Errors are *[Malformed].
func Parse(b []byte, src netip.Addr) (Advert, error) {
	a, _, err := parse(b, src, nil)
	return a, err
}

// parse also gives the length without padding. The addresses are appended to into.
func parse(b []byte, src netip.Addr, into []netip.Addr) (Advert, int, error) {
	if len(b) < headerLen {
		return Advert{}, 0, malformed(ErrLength, "%d bytes, a header has %d", len(b), headerLen)
	}
	a := Advert{Version: int(b[0] >> 4), VRID: b[1], Priority: b[2], Addrs: into}
	if a.Version != 2 && a.Version != 3 {
		return a, 0, malformed(ErrVersion, "version %d", a.Version)
	}
	if kind := b[0] & 0xf; kind != typeAdvert {
		return a, 0, malformed(ErrType, "type %d, expected %d", kind, typeAdvert)
	}
	if a.VRID == 0 {
		return a, 0, malformed(ErrVRID, "virtual router 0")
	}
	size := 4
	if src.Is6() {
		size = 16
	}
	n := headerLen + int(b[3])*size
	if a.Version == 2 {
		a.Auth, a.Interval = AuthType(b[4]), time.Duration(b[5])*time.Second
		n += authLen
	} else {
		a.Interval = time.Duration(binary.BigEndian.Uint16(b[4:])&maxInterval) * 10 * time.Millisecond
	}
	if len(b) < n {
		return a, 0, malformed(ErrLength, "%d bytes, expected %d for %d addresses", len(b), n, b[3])
	}
	for i := range int(b[3]) {
		addr, _ := netip.AddrFromSlice(b[headerLen+i*size:][:size])
		a.Addrs = append(a.Addrs, addr)
	}
	if a.Version == 2 && a.Auth == AuthPass {
		copy(a.Password[:], b[n-authLen:n])
	}
	return a, n, nil
}
