// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"crypto/hmac"
	"crypto/md5"
	"encoding/binary"
	"net/netip"
)

// An authentication header: next header, length in words less two, two reserved
// bytes, security parameter index, sequence number, 96 bits of HMAC-MD5
// (RFC 2402, 2403). The index is the sender's address, as keepalived has it.
const (
	ahLen     = 24
	ahWords   = ahLen/4 - 2
	ahICV     = 12
	ahICVLen  = 12
	ipv4Head  = 20
	ipv4TOS   = 0xc0 // internetwork control
	ahLenByte = 1
)

type authHeader struct {
	sequence uint32
	at       int // of the header in the IP packet
}

// splitAH gives the VRRP message and, where there is one, what stands before it.
func splitAH(d Datagram) ([]byte, *authHeader, error) {
	if !d.AH {
		return d.Payload, nil, nil
	}
	if !d.Src.Is4() || len(d.IP) < ipv4Head+len(d.Payload) {
		return nil, nil, malformed(ErrAuthType, "authentication header without an IPv4 packet")
	}
	b := d.Payload
	if len(b) < ahLen || b[ahLenByte] != ahWords {
		return nil, nil, malformed(ErrLength, "authentication header in %d bytes", len(b))
	}
	if b[0] != Protocol {
		return nil, nil, malformed(ErrType, "protocol %d after the authentication header", b[0])
	}
	return b[ahLen:], &authHeader{binary.BigEndian.Uint32(b[8:]), len(d.IP) - len(b)}, nil
}

// verify checks index, digest and that the sequence is larger than the last.
func (h *authHeader) verify(d Datagram, key [8]byte, last uint32) error {
	if spi := netip.AddrFrom4([4]byte(d.Payload[4:8])); spi != d.Src {
		return malformed(ErrAuth, "security index %v from %v", spi, d.Src)
	}
	want := ahDigest(d.IP, h.at, key)
	if !hmac.Equal(want[:], d.Payload[ahICV:][:ahICVLen]) {
		return malformed(ErrAuth, "wrong digest")
	}
	if h.sequence <= last {
		return malformed(ErrAuth, "sequence %d after %d: replayed", h.sequence, last)
	}
	return nil
}

// ahDigest covers the packet with TOS, fragment field, header checksum and the
// digest itself as zeros. RFC 2402 would have the TTL zero too; keepalived
// leaves it, as its captures show, and so its peers must.
func ahDigest(packet []byte, at int, key [8]byte) [ahICVLen]byte {
	b := append([]byte(nil), packet...)
	b[1] = 0
	clear(b[6:8])
	clear(b[10:12])
	clear(b[at+ahICV:][:ahICVLen])
	m := hmac.New(md5.New, key[:])
	m.Write(b)
	return [ahICVLen]byte(m.Sum(nil))
}

// AppendIPv4 appends a whole IPv4 packet around the advertisement, with an
// authentication header where a.Auth says so: key and sequence are used only
// then, and the sequence must grow by at least one with each packet.
func (a Advert) AppendIPv4(b []byte, src, dst netip.Addr, id uint16, ttl uint8, sum Checksum, key [8]byte, sequence uint32) ([]byte, error) {
	if !src.Is4() {
		return b, malformed(ErrSource, "%v is no IPv4 address", src)
	}
	at := len(b)
	b = append(b, 0x45, ipv4TOS, 0, 0)
	b = binary.BigEndian.AppendUint16(b, id)
	b = append(b, 0, 0, ttl, Protocol, 0, 0)
	b = append(append(b, src.AsSlice()...), dst.AsSlice()...)
	withAH := a.Version == 2 && a.Auth == AuthAH
	if withAH {
		b[at+9] = ProtocolAH
		b = append(b, Protocol, ahWords, 0, 0)
		b = binary.BigEndian.AppendUint32(append(b, src.AsSlice()...), sequence)
		b = append(b, make([]byte, ahICVLen)...)
	}
	b, err := a.Append(b, src, dst, sum)
	if err != nil {
		return b[:at], err
	}
	p := b[at:]
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	binary.BigEndian.PutUint16(p[10:], checksum(p[:ipv4Head], 0))
	if withAH {
		digest := ahDigest(p, ipv4Head, key)
		copy(p[ipv4Head+ahICV:], digest[:])
	}
	return b, nil
}
