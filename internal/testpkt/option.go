// SPDX-License-Identifier: Apache-2.0

package testpkt

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
)

// Kinds of TCP options (IANA).
const (
	optEnd = iota
	optNOP
	optMSS
	optWScale
	optSACKPermitted
	optSACK
	optTimestamps = 8
)

// Options joins options and pads them with NOPs to a multiple of four bytes.
func Options(opts ...[]byte) []byte {
	var b []byte
	for _, o := range opts {
		b = append(b, o...)
	}
	for len(b)%4 != 0 {
		b = append(b, optNOP)
	}
	return b
}

// NOP is the option that does nothing.
func NOP() []byte { return []byte{optNOP} }

// MSS is the option of a SYN that limits the segment size.
func MSS(n uint16) []byte { return binary.BigEndian.AppendUint16([]byte{optMSS, 4}, n) }

// WScale is the option of a SYN that scales windows by 2^n.
func WScale(n uint8) []byte { return []byte{optWScale, 3, n} }

// SACKPermitted is the option of a SYN that allows SACK.
func SACKPermitted() []byte { return []byte{optSACKPermitted, 2} }

// Timestamps is the option of RFC 7323.
func Timestamps(val, ecr uint32) []byte {
	b := binary.BigEndian.AppendUint32([]byte{optTimestamps, 10}, val)
	return binary.BigEndian.AppendUint32(b, ecr)
}

// SACK lists pairs of sequence numbers, left edge and right edge.
func SACK(edges ...uint32) []byte {
	b := []byte{optSACK, byte(2 + 4*len(edges))}
	for _, e := range edges {
		b = binary.BigEndian.AppendUint32(b, e)
	}
	return b
}

// TOA is the option that carries a client's address to a real server: kind,
// length, port, address.
func TOA(kind uint8, client netip.AddrPort) []byte {
	a := client.Addr().AsSlice()
	b := binary.BigEndian.AppendUint16([]byte{kind, byte(4 + len(a))}, client.Port())
	return append(b, a...)
}

// Option returns the value of the first option of that kind, without kind and
// length, and whether there is one.
func (p Packet) Option(kind uint8) ([]byte, bool) {
	for o := p.Options; len(o) > 0; {
		switch {
		case o[0] == optEnd:
			return nil, false
		case o[0] == optNOP:
			o = o[1:]
			continue
		case len(o) < 2 || o[1] < 2 || int(o[1]) > len(o):
			return nil, false
		case o[0] == kind:
			return o[2:o[1]], true
		}
		o = o[o[1]:]
	}
	return nil, false
}

func optionText(o []byte) string {
	var out []string
	for len(o) > 0 {
		if o[0] == optNOP {
			out, o = append(out, "nop"), o[1:]
			continue
		}
		if o[0] == optEnd || len(o) < 2 || o[1] < 2 || int(o[1]) > len(o) {
			out = append(out, fmt.Sprintf("end %x", o))
			break
		}
		v := o[2:o[1]]
		switch {
		case o[0] == optMSS && len(v) == 2:
			out = append(out, fmt.Sprintf("mss %d", binary.BigEndian.Uint16(v)))
		case o[0] == optWScale && len(v) == 1:
			out = append(out, fmt.Sprintf("wscale %d", v[0]))
		case o[0] == optSACKPermitted && len(v) == 0:
			out = append(out, "sackOK")
		case o[0] == optTimestamps && len(v) == 8:
			out = append(out, fmt.Sprintf("ts %d:%d", binary.BigEndian.Uint32(v), binary.BigEndian.Uint32(v[4:])))
		case o[0] == optSACK && len(v)%8 == 0:
			s := "sack"
			for ; len(v) > 0; v = v[8:] {
				s += fmt.Sprintf(" %d-%d", binary.BigEndian.Uint32(v), binary.BigEndian.Uint32(v[4:]))
			}
			out = append(out, s)
		default:
			out = append(out, fmt.Sprintf("kind %d %x", o[0], v))
		}
		o = o[o[1]:]
	}
	return strings.Join(out, ", ")
}
