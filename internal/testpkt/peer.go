// SPDX-License-Identifier: Apache-2.0

package testpkt

import "net/netip"

// Peer is one side of a TCP connection that the test plays: it numbers what it
// sends and acknowledges what it is told it got, and does nothing by itself.
type Peer struct {
	Local, Remote netip.AddrPort
	Seq           uint32 // of the next byte to send
	Ack           uint32 // next byte expected
	Window        uint16
	TTL           uint8
	Options       []byte // of everything but SYNs
	Sum           Sum    // of everything
}

// NewPeer returns a peer whose first segment has the sequence number isn.
func NewPeer(local, remote netip.AddrPort, isn uint32) *Peer {
	return &Peer{Local: local, Remote: remote, Seq: isn, Window: 65000, TTL: 64}
}

// Segment makes the peer's next segment and moves on by its length. It has ACK set
// unless it is the first SYN or a RST without.
func (p *Peer) Segment(f Flags, payload string) Packet {
	pkt := Packet{
		Src: p.Local, Dst: p.Remote, Proto: TCP, TTL: p.TTL, DF: !p.Local.Addr().Is6(),
		Seq: p.Seq, Flags: f, Window: p.Window, Options: p.Options, Payload: []byte(payload), Sum: p.Sum,
	}
	if f&ACK != 0 {
		pkt.Ack = p.Ack
	}
	p.Seq += pkt.Len()
	return pkt.Clone()
}

// Syn makes the SYN, or SYN/ACK once the peer got one, with these options.
func (p *Peer) Syn(options ...[]byte) Packet {
	f := SYN
	if p.Ack != 0 {
		f |= ACK
	}
	saved := p.Options
	p.Options = Options(options...)
	pkt := p.Segment(f, "")
	p.Options = saved
	return pkt
}

// Data makes a segment with payload.
func (p *Peer) Data(payload string) Packet { return p.Segment(ACK|PSH, payload) }

// Bare makes an acknowledgement without data.
func (p *Peer) Bare() Packet { return p.Segment(ACK, "") }

// Fin makes the segment that ends the peer's half.
func (p *Peer) Fin() Packet { return p.Segment(FIN|ACK, "") }

// Reset makes a RST that acknowledges.
func (p *Peer) Reset() Packet { return p.Segment(RST|ACK, "") }

// Took notes that the peer got pkt: the next segments acknowledge it.
func (p *Peer) Took(pkt Packet) { p.Ack = pkt.Seq + pkt.Len() }

// Datagram is a UDP packet.
func Datagram(src, dst netip.AddrPort, payload string) Packet {
	return Packet{Src: src, Dst: dst, Proto: UDP, TTL: 64, DF: !src.Addr().Is6(), Payload: []byte(payload)}
}

// Codes of the ICMP errors that Error makes, the same in words for both families.
type Problem uint8

// ICMP errors.
const (
	PortUnreachable Problem = iota
	TooBig                  // fragmentation needed, or packet too big
	TimeExceeded
	HostUnreachable
)

var problems = map[Problem][2][2]uint8{ // {v4, v6}{type, code}
	PortUnreachable: {{3, 3}, {1, 4}},
	TooBig:          {{3, 4}, {2, 0}},
	TimeExceeded:    {{11, 0}, {3, 0}},
	HostUnreachable: {{3, 1}, {1, 3}},
}

// Error is the ICMP error about quoted that from sends to quoted's source. It
// quotes the first limit bytes, or all for 0; rest is the MTU of TooBig.
func Error(from netip.Addr, what Problem, rest uint32, quoted Packet, limit int) Packet {
	quoted.Sum = SumFull
	b := quoted.Encode()
	if limit > 0 && limit < len(b) {
		b = b[:limit]
	}
	p := Packet{
		Src: netip.AddrPortFrom(from, 0), Dst: netip.AddrPortFrom(quoted.Src.Addr(), 0),
		Proto: ICMP, TTL: 64, Rest: rest, Payload: b,
	}
	tc := problems[what][0]
	if from.Is6() {
		p.Proto, tc = ICMPv6, problems[what][1]
	}
	p.Type, p.Code = tc[0], tc[1]
	return p
}
