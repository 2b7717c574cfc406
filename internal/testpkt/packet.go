// SPDX-License-Identifier: Apache-2.0

// Package testpkt sends and receives single packets: what a case says about a
// packet is said about every field of it, options, checksums and ICMP quotes
// included.
//
// A Packet is sent through a Port, an AF_PACKET socket on a link of a network
// namespace. The addresses it uses exist nowhere else, so no kernel answers in
// the test's place:
//
//	test ── Port on eth0 (no addresses) ── veth ── machine under test
//
// Both ways the socket speaks virtio_net_hdr, which tells what the wire does not:
// whether the checksum is in the packet or left to the hardware, and whether the
// packet stands for several segments.
package testpkt

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// IP protocols of packets.
const (
	ICMP   = unix.IPPROTO_ICMP
	TCP    = unix.IPPROTO_TCP
	UDP    = unix.IPPROTO_UDP
	ICMPv6 = unix.IPPROTO_ICMPV6
)

// Flags of a TCP segment (RFC 9293 3.1).
type Flags uint8

// TCP flags.
const (
	FIN Flags = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
)

// String writes the names: "SYN|ACK".
func (f Flags) String() string {
	if f == 0 {
		return "-"
	}
	var names []string
	for i, n := range []string{"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"} {
		if f>>i&1 == 1 {
			names = append(names, n)
		}
	}
	return strings.Join(names, "|")
}

// Sum says how a packet carries its transport checksum.
type Sum uint8

// Ways to carry a checksum. A received packet with a wrong one is SumFull and
// says so in Faults.
const (
	SumFull    Sum = iota // complete: CHECKSUM_NONE to the kernel that gets it
	SumPartial            // only the pseudo header: CHECKSUM_PARTIAL
	SumZero               // UDP without checksum
	SumBad                // complete and wrong
)

// String names the way.
func (s Sum) String() string { return [...]string{"full", "partial", "zero", "bad"}[s] }

// Packet is an IPv4 or IPv6 packet. Fields that its protocol does not have stay
// zero.
type Packet struct {
	Src, Dst netip.AddrPort // ports only of TCP and UDP, and not of fragments
	Proto    uint8
	TTL, TOS uint8 // hop limit and traffic class in IPv6
	ID       uint32
	DF, MF   bool
	Frag     bool   // a fragment: Payload is raw
	Offset   int    // of the fragment, in bytes
	Label    uint32 // IPv6 flow label
	Ext      []byte // IPv6 hop-by-hop header; its first byte is filled in
	IPOpts   []byte // IPv4 options, a multiple of four bytes

	Seq, Ack uint32
	Flags    Flags
	Window   uint16
	Options  []byte // TCP, a multiple of four bytes

	Type, Code uint8
	Rest       uint32 // of the ICMP header: MTU, or identifier and sequence

	Payload []byte
	Sum     Sum
	// GSO is the segment size when the packet stands for several segments, which
	// needs SumPartial.
	GSO uint16

	// Faults is what Decode found wrong: checksums, lengths, offloads.
	Faults []string
}

// V6 reports whether p is an IPv6 packet.
func (p Packet) V6() bool { return p.Src.Addr().Is6() }

// Clone returns a copy that shares nothing with p.
func (p Packet) Clone() Packet {
	p.Ext, p.IPOpts, p.Options, p.Payload = slices.Clone(p.Ext), slices.Clone(p.IPOpts), slices.Clone(p.Options), slices.Clone(p.Payload)
	p.Faults = slices.Clone(p.Faults)
	return p
}

// Len returns what p occupies of TCP's sequence space.
func (p Packet) Len() uint32 {
	n := uint32(len(p.Payload))
	if p.Flags&SYN != 0 {
		n++
	}
	if p.Flags&FIN != 0 {
		n++
	}
	return n
}

// isError reports whether p is an ICMP error, whose payload quotes a packet.
func (p Packet) isError() bool {
	switch p.Proto {
	case ICMP:
		return slices.Contains([]uint8{3, 4, 5, 11, 12}, p.Type)
	case ICMPv6:
		return p.Type < 128
	}
	return false
}

// String describes every field, one line per layer.
func (p Packet) String() string {
	var b strings.Builder
	p.write(&b, "")
	for _, f := range p.Faults {
		fmt.Fprintf(&b, "FAULT: %s\n", f)
	}
	return b.String()
}

func (p Packet) write(b *strings.Builder, indent string) {
	fmt.Fprintf(b, "%s%s > %s ttl %d tos %#x id %#x", indent, endpoint(p.Src), endpoint(p.Dst), p.TTL, p.TOS, p.ID)
	if p.DF {
		b.WriteString(" DF")
	}
	if p.Label != 0 {
		fmt.Fprintf(b, " label %#x", p.Label)
	}
	if p.Frag {
		fmt.Fprintf(b, " fragment of protocol %d at %d more %v", p.Proto, p.Offset, p.MF)
	}
	if len(p.Ext) > 0 {
		fmt.Fprintf(b, " hop-by-hop %x", p.Ext[1:])
	}
	if len(p.IPOpts) > 0 {
		fmt.Fprintf(b, " IP options %x", p.IPOpts)
	}
	b.WriteByte('\n')
	switch {
	case p.Frag:
	case p.Proto == TCP:
		fmt.Fprintf(b, "%sTCP %v seq %d ack %d win %d options [%s]\n", indent, p.Flags, p.Seq, p.Ack, p.Window, optionText(p.Options))
	case p.Proto == UDP:
		fmt.Fprintf(b, "%sUDP\n", indent)
	case p.Proto == ICMP || p.Proto == ICMPv6:
		fmt.Fprintf(b, "%sICMP type %d code %d rest %d\n", indent, p.Type, p.Code, p.Rest)
	default:
		fmt.Fprintf(b, "%sprotocol %d\n", indent, p.Proto)
	}
	fmt.Fprintf(b, "%schecksum %v", indent, p.Sum)
	if p.GSO != 0 {
		fmt.Fprintf(b, " segments of %d", p.GSO)
	}
	b.WriteByte('\n')
	if p.isError() {
		fmt.Fprintf(b, "%squotes:\n", indent)
		q := decodeQuote(p.Payload)
		q.write(b, indent+"    ")
		for _, f := range q.Faults {
			fmt.Fprintf(b, "%s    quote: %s\n", indent, f)
		}
	}
	fmt.Fprintf(b, "%spayload %s\n", indent, payloadText(p.Payload))
}

func endpoint(a netip.AddrPort) string {
	if a.Port() == 0 {
		return a.Addr().String()
	}
	return a.String()
}

func payloadText(b []byte) string {
	h := fnv.New32a()
	h.Write(b)
	if len(b) <= 24 {
		return fmt.Sprintf("%d %q", len(b), b)
	}
	return fmt.Sprintf("%d %q… #%08x", len(b), b[:16], h.Sum32())
}

// Diff returns "" if got is want in every field, or both as text with the lines
// that differ marked.
func Diff(want, got Packet) string {
	w, g := want.String(), got.String()
	if w == g {
		return ""
	}
	wl, gl := strings.Split(strings.TrimSpace(w), "\n"), strings.Split(strings.TrimSpace(g), "\n")
	var b strings.Builder
	for i := range max(len(wl), len(gl)) {
		switch {
		case i >= len(gl):
			fmt.Fprintf(&b, "-want %s\n", wl[i])
		case i >= len(wl):
			fmt.Fprintf(&b, "+got  %s\n", gl[i])
		case wl[i] == gl[i]:
			fmt.Fprintf(&b, "      %s\n", wl[i])
		default:
			fmt.Fprintf(&b, "-want %s\n+got  %s\n", wl[i], gl[i])
		}
	}
	return b.String()
}
