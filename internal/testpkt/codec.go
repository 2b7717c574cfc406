// SPDX-License-Identifier: Apache-2.0

package testpkt

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

const (
	ip4Len, ip6Len = 20, 40
	fragHeader     = unix.IPPROTO_FRAGMENT
	hopByHop       = unix.IPPROTO_HOPOPTS
)

// fold is the one's complement sum of b added to sum, not complemented.
func fold(sum uint32, b []byte) uint32 {
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
		sum = sum&0xffff + sum>>16
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
		sum = sum&0xffff + sum>>16
	}
	return sum
}

func (p Packet) pseudo(length int) uint32 {
	sum := fold(0, p.Src.Addr().AsSlice())
	sum = fold(sum, p.Dst.Addr().AsSlice())
	return fold(sum, []byte{0, p.Proto, byte(length >> 24), byte(length >> 16), byte(length >> 8), byte(length)})
}

// sumOffset is where a protocol's checksum lies in its header, or -1.
func sumOffset(proto uint8) int {
	switch proto {
	case TCP:
		return 16
	case UDP:
		return 6
	case ICMP, ICMPv6:
		return 2
	}
	return -1
}

// Encode returns p as it is on the wire, from the IP header on.
func (p Packet) Encode() []byte {
	b := p.transport()
	if p.V6() {
		return p.encode6(b)
	}
	hlen := ip4Len + len(p.IPOpts)
	h := make([]byte, hlen, hlen+len(b))
	h[0], h[1] = 0x40|byte(hlen/4), p.TOS
	binary.BigEndian.PutUint16(h[2:], uint16(hlen+len(b)))
	binary.BigEndian.PutUint16(h[4:], uint16(p.ID))
	frag := uint16(p.Offset / 8)
	if p.DF {
		frag |= 0x4000
	}
	if p.MF {
		frag |= 0x2000
	}
	binary.BigEndian.PutUint16(h[6:], frag)
	h[8], h[9] = p.TTL, p.Proto
	copy(h[12:], p.Src.Addr().AsSlice())
	copy(h[16:], p.Dst.Addr().AsSlice())
	copy(h[ip4Len:], p.IPOpts)
	binary.BigEndian.PutUint16(h[10:], ^uint16(fold(0, h)))
	return append(h, b...)
}

func (p Packet) encode6(b []byte) []byte {
	next := p.Proto
	if p.Frag {
		f := []byte{next, 0, byte(p.Offset >> 8), byte(p.Offset)}
		if p.MF {
			f[3] |= 1
		}
		b = append(binary.BigEndian.AppendUint32(f, p.ID), b...)
		next = fragHeader
	}
	if len(p.Ext) > 0 {
		e := slices.Clone(p.Ext)
		e[0] = next
		b = append(e, b...)
		next = hopByHop
	}
	h := make([]byte, 8, ip6Len+len(b))
	binary.BigEndian.PutUint32(h, 6<<28|uint32(p.TOS)<<20|p.Label)
	binary.BigEndian.PutUint16(h[4:], uint16(len(b)))
	h[6], h[7] = next, p.TTL
	h = append(append(h, p.Src.Addr().AsSlice()...), p.Dst.Addr().AsSlice()...)
	return append(h, b...)
}

// transport is what follows the IP headers.
func (p Packet) transport() []byte {
	if p.Frag {
		return p.Payload
	}
	var b []byte
	switch p.Proto {
	case TCP:
		b = make([]byte, 20, 20+len(p.Options)+len(p.Payload))
		binary.BigEndian.PutUint32(b[4:], p.Seq)
		binary.BigEndian.PutUint32(b[8:], p.Ack)
		b[12], b[13] = byte(20+len(p.Options))/4<<4, byte(p.Flags)
		binary.BigEndian.PutUint16(b[14:], p.Window)
		b = append(b, p.Options...)
	case UDP:
		b = make([]byte, 8, 8+len(p.Payload))
		binary.BigEndian.PutUint16(b[4:], uint16(8+len(p.Payload)))
	case ICMP, ICMPv6:
		b = binary.BigEndian.AppendUint32([]byte{p.Type, p.Code, 0, 0}, p.Rest)
	}
	if p.Proto == TCP || p.Proto == UDP {
		binary.BigEndian.PutUint16(b[0:], p.Src.Port())
		binary.BigEndian.PutUint16(b[2:], p.Dst.Port())
	}
	b = append(b, p.Payload...)
	if at := sumOffset(p.Proto); at >= 0 {
		binary.BigEndian.PutUint16(b[at:], p.checksum(b))
	}
	return b
}

func (p Packet) checksum(b []byte) uint16 {
	var pseudo uint32
	if p.Proto != ICMP {
		pseudo = p.pseudo(len(b))
	}
	sum := ^uint16(fold(pseudo, b))
	if p.Proto == UDP && sum == 0 {
		sum = 0xffff
	}
	switch p.Sum {
	case SumPartial:
		return uint16(pseudo)
	case SumZero:
		return 0
	case SumBad:
		return sum ^ 0x5555
	}
	return sum
}

// offload is what virtio_net_hdr says about a packet; offsets from the IP header.
type offload struct {
	partial    bool
	start, off int
	gso        uint16
	gsoType    uint8
}

// Decode reads a packet whose checksum is complete.
func Decode(b []byte) Packet { return decode(b, offload{}) }

func (p *Packet) fault(format string, args ...any) {
	p.Faults = append(p.Faults, fmt.Sprintf(format, args...))
}

func decode(b []byte, o offload) Packet {
	var p Packet
	l4 := p.network(b, false)
	if l4 < 0 {
		return p
	}
	body := b[l4:]
	if p.Frag {
		p.Payload = slices.Clone(body)
		return p
	}
	if !p.header(body) {
		return p
	}
	p.GSO = o.gso
	at := sumOffset(p.Proto)
	if at < 0 {
		return p
	}
	got := binary.BigEndian.Uint16(body[at:])
	switch {
	case o.partial:
		p.Sum = SumPartial
		if o.start != l4 || o.off != at {
			p.fault("checksum offload at %d+%d, want %d+%d", o.start, o.off, l4, at)
		}
		// 0 and 0xffff are the same number to one's complement sums.
		if want := uint16(p.pseudo(len(body))); got%0xffff != want%0xffff {
			p.fault("partial checksum %#04x, want the pseudo header's %#04x", got, want)
		}
	case p.Proto == UDP && got == 0:
		p.Sum = SumZero
	default:
		p.verify(body, at)
	}
	if (o.gso != 0) != (o.gsoType != 0) || o.gso != 0 && !o.partial {
		p.fault("segments of %d, type %d, partial %v", o.gso, o.gsoType, o.partial)
	}
	return p
}

func (p *Packet) verify(body []byte, at int) {
	var pseudo uint32
	if p.Proto != ICMP {
		pseudo = p.pseudo(len(body))
	}
	if sum := fold(pseudo, body); sum != 0xffff {
		got := binary.BigEndian.Uint16(body[at:])
		want := ^uint16(fold(pseudo, append(append(slices.Clone(body[:at]), 0, 0), body[at+2:]...)))
		p.fault("transport checksum %#04x, want %#04x", got, want)
	}
}

// network reads the IP headers and returns the offset of what follows, or -1.
// Of a quote it accepts that the end is cut off.
func (p *Packet) network(b []byte, quote bool) int {
	switch {
	case len(b) >= ip4Len && b[0]>>4 == 4:
		return p.network4(b, quote)
	case len(b) >= ip6Len && b[0]>>4 == 6:
		return p.network6(b, quote)
	}
	p.fault("not IP: %x", b[:min(len(b), 40)])
	return -1
}

func (p *Packet) network4(b []byte, quote bool) int {
	p.Src = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[12:16])), 0)
	p.Dst = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[16:20])), 0)
	p.TOS, p.TTL, p.Proto = b[1], b[8], b[9]
	p.ID = uint32(binary.BigEndian.Uint16(b[4:]))
	frag := binary.BigEndian.Uint16(b[6:])
	p.DF, p.MF, p.Offset = frag&0x4000 != 0, frag&0x2000 != 0, int(frag&0x1fff)*8
	p.Frag = p.MF || p.Offset != 0
	hlen := int(b[0]&15) * 4
	if hlen < ip4Len || hlen > len(b) {
		p.fault("IP header of %d bytes in %d", hlen, len(b))
		return -1
	}
	if hlen > ip4Len {
		p.IPOpts = slices.Clone(b[ip4Len:hlen])
	}
	if fold(0, b[:hlen]) != 0xffff {
		p.fault("IP header checksum %#04x is wrong", binary.BigEndian.Uint16(b[10:]))
	}
	if total := int(binary.BigEndian.Uint16(b[2:])); total != len(b) && !quote {
		p.fault("IP length %d in %d bytes", total, len(b))
	}
	return hlen
}

func (p *Packet) network6(b []byte, quote bool) int {
	p.Src = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:24])), 0)
	p.Dst = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[24:40])), 0)
	first := binary.BigEndian.Uint32(b)
	p.TOS, p.TTL, p.Label = uint8(first>>20), b[7], first&0xfffff
	if n := int(binary.BigEndian.Uint16(b[4:])); n != len(b)-ip6Len && !quote {
		p.fault("IPv6 length %d in %d bytes", n, len(b)-ip6Len)
	}
	next, at := b[6], ip6Len
	if next == hopByHop && len(b) >= at+8 && len(b) >= at+8+int(b[at+1])*8 {
		p.Ext = slices.Clone(b[at : at+8+int(b[at+1])*8])
		next, at = b[at], at+len(p.Ext)
		p.Ext[0] = 0
	}
	if next == fragHeader && len(b) >= at+8 {
		off := binary.BigEndian.Uint16(b[at+2:])
		p.Frag, p.MF, p.Offset = true, off&1 != 0, int(off&^7)
		p.ID = binary.BigEndian.Uint32(b[at+4:])
		next, at = b[at], at+8
	}
	p.Proto = next
	return at
}

// header reads the transport header; false: there is not enough of it.
func (p *Packet) header(b []byte) bool {
	short := func(want int) bool {
		if len(b) < want {
			p.fault("protocol %d with %d bytes", p.Proto, len(b))
			p.Payload = slices.Clone(b)
			return true
		}
		return false
	}
	switch p.Proto {
	case TCP:
		if short(20) {
			return false
		}
		p.ports(b)
		p.Seq, p.Ack = binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])
		p.Flags, p.Window = Flags(b[13]), binary.BigEndian.Uint16(b[14:])
		hlen := int(b[12]>>4) * 4
		if hlen < 20 || short(hlen) {
			p.fault("TCP header of %d bytes in %d", hlen, len(b))
			return false
		}
		p.Options, p.Payload = slices.Clone(b[20:hlen]), slices.Clone(b[hlen:])
	case UDP:
		if short(8) {
			return false
		}
		p.ports(b)
		if n := int(binary.BigEndian.Uint16(b[4:])); n != len(b) {
			p.fault("UDP length %d in %d bytes", n, len(b))
		}
		p.Payload = slices.Clone(b[8:])
	case ICMP, ICMPv6:
		if short(8) {
			return false
		}
		p.Type, p.Code, p.Rest = b[0], b[1], binary.BigEndian.Uint32(b[4:])
		p.Payload = slices.Clone(b[8:])
	default:
		p.Payload = slices.Clone(b)
	}
	return true
}

func (p *Packet) ports(b []byte) {
	p.Src = netip.AddrPortFrom(p.Src.Addr(), binary.BigEndian.Uint16(b[0:]))
	p.Dst = netip.AddrPortFrom(p.Dst.Addr(), binary.BigEndian.Uint16(b[2:]))
}

// decodeQuote reads as much of a packet as an ICMP error quotes. Faults say what
// is wrong or cannot be told.
func decodeQuote(b []byte) Packet {
	var p Packet
	l4 := p.network(b, true)
	if l4 < 0 || l4 > len(b) {
		return p
	}
	body := b[l4:]
	if p.Frag {
		p.Payload = body
		return p
	}
	whole := p.V6() && int(binary.BigEndian.Uint16(b[4:]))+ip6Len == len(b) ||
		!p.V6() && int(binary.BigEndian.Uint16(b[2:])) == len(b)
	if p.Proto == TCP && len(body) >= 8 && len(body) < 20 {
		p.ports(body)
		p.Seq = binary.BigEndian.Uint32(body[4:])
		p.fault("cut after the sequence number")
		return p
	}
	if p.Proto == UDP && len(body) >= 8 && !whole {
		p.ports(body)
		p.Payload = body[8:]
		p.fault("cut after %d bytes", len(b))
		return p
	}
	if !p.header(body) {
		return p
	}
	if at := sumOffset(p.Proto); at >= 0 && whole && !(p.Proto == UDP && binary.BigEndian.Uint16(body[at:]) == 0) {
		p.verify(body, at)
	} else if !whole {
		p.fault("cut after %d bytes", len(b))
	}
	return p
}

// Fragment cuts p into fragments of at most size bytes of payload each.
func (p Packet) Fragment(size int) []Packet {
	size &^= 7
	body := p.transport()
	var out []Packet
	for at := 0; at < len(body); at += size {
		f := Packet{
			Src: netip.AddrPortFrom(p.Src.Addr(), 0), Dst: netip.AddrPortFrom(p.Dst.Addr(), 0),
			Proto: p.Proto, TTL: p.TTL, TOS: p.TOS, ID: p.ID, Ext: p.Ext,
			Frag: true, Offset: at, MF: at+size < len(body),
			Payload: body[at:min(at+size, len(body))],
		}
		out = append(out, f)
	}
	return out
}

// Reassemble puts fragments that came in order together again; a packet that is
// no fragment is returned as it is.
func Reassemble(fs ...Packet) (Packet, error) {
	if len(fs) == 1 && !fs[0].Frag {
		return fs[0], nil
	}
	var body []byte
	for i, f := range fs {
		if !f.Frag || f.Offset != len(body) || f.MF != (i < len(fs)-1) || f.ID != fs[0].ID || len(f.Faults) > 0 {
			return Packet{}, fmt.Errorf("fragment %d does not follow %d bytes:\n%v", i+1, len(body), f)
		}
		body = append(body, f.Payload...)
	}
	p := fs[0].Clone()
	p.Frag, p.MF, p.Offset = false, false, 0
	raw := p
	raw.Proto, raw.Payload = 253, body // no header of its own: transport copies the bytes
	b := raw.Encode()
	at := len(b) - len(body)
	q := Packet{}
	if l4 := q.network(b, false); l4 != at {
		return q, fmt.Errorf("reassembly: transport at %d, want %d", l4, at)
	}
	q.Proto = p.Proto
	if q.header(body) {
		if o := sumOffset(p.Proto); o >= 0 {
			if p.Proto == UDP && binary.BigEndian.Uint16(body[o:]) == 0 {
				q.Sum = SumZero
			} else {
				q.verify(body, o)
			}
		}
	}
	q.ID = p.ID
	return q, nil
}
