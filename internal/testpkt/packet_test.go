// SPDX-License-Identifier: Apache-2.0

package testpkt

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/lvs-fnat/lvs/internal/testnet"
)

var (
	a4 = netip.MustParseAddrPort("10.0.1.2:4000")
	b4 = netip.MustParseAddrPort("10.0.1.100:80")
	a6 = netip.MustParseAddrPort("[2001:db8:1::2]:4000")
	b6 = netip.MustParseAddrPort("[2001:db8:1::100]:80")
)

func samples() map[string]Packet {
	c4, c6 := NewPeer(a4, b4, 1000), NewPeer(a6, b6, 1000)
	syn := c4.Syn(MSS(1460), SACKPermitted(), Timestamps(1, 2), NOP(), WScale(7))
	data := c6.Segment(ACK|PSH, "hello, world")
	hop := Datagram(a6, b6, "x")
	hop.Ext = []byte{0, 0, 1, 4, 0, 0, 0, 0}
	zero := Datagram(a4, b4, "no sum")
	zero.Sum = SumZero
	odd := c4.Segment(ACK, "odd")
	odd.Options = Options(SACK(1, 2, 3, 4), TOA(254, a4))
	routed := c4.Segment(ACK, "with options")
	routed.IPOpts = []byte{7, 7, 8, 10, 0, 1, 1, 1, 1, 1, 1, 0}
	return map[string]Packet{
		"options": routed, "syn": syn, "data6": data, "hop-by-hop": hop, "udp": Datagram(a4, b4, "payload"), "udp zero": zero, "odd": odd,
		"error":  Error(b4.Addr(), TooBig, 1400, odd, 28),
		"error6": Error(b6.Addr(), TooBig, 1400, data, 0),
	}
}

func TestEncodeDecode(t *testing.T) {
	for name, p := range samples() {
		t.Run(name, func(t *testing.T) {
			if d := Diff(p, Decode(p.Encode())); d != "" {
				t.Error(d)
			}
			if strings.Contains(p.String(), "quote: transport") || len(p.Faults) > 0 {
				t.Errorf("faults in\n%v", p)
			}
		})
	}
}

// A known packet, from RFC 1071's arithmetic by another program (a SYN captured
// with tcpdump on Linux).
func TestDecodeCaptured(t *testing.T) {
	b, err := hex.DecodeString("4500003c1c4640004006b1e6ac100a63ac100a0c")
	if err != nil {
		t.Fatal(err)
	}
	p := Decode(append(b, make([]byte, 40)...))
	for _, f := range p.Faults {
		if strings.Contains(f, "IP header checksum") {
			t.Errorf("%s in a header whose checksum is right", f)
		}
	}
}

// Every flipped byte is noticed, by a fault or as a different packet.
func TestDecodeNoticesEveryByte(t *testing.T) {
	for name, p := range samples() {
		whole := p.Encode()
		for i := range whole {
			b := bytes.Clone(whole)
			b[i] ^= 0x41
			if d := Diff(p, Decode(b)); d == "" {
				t.Errorf("%s: byte %d changed unseen", name, i)
			}
		}
	}
}

func TestDecodeBadSum(t *testing.T) {
	for name, p := range samples() {
		p.Sum = SumBad
		got := Decode(p.Encode())
		if len(got.Faults) == 0 || !strings.Contains(got.Faults[0], "transport checksum") {
			t.Errorf("%s: wrong checksum unseen:\n%v", name, got)
		}
	}
}

// Any bytes decode to something, without a panic.
func FuzzDecode(f *testing.F) {
	for _, p := range samples() {
		f.Add(p.Encode())
	}
	f.Fuzz(func(t *testing.T, b []byte) { _ = Decode(b).String() })
}

func TestFragmentReassemble(t *testing.T) {
	for _, p := range []Packet{Datagram(a4, b4, strings.Repeat("abc", 700)), Datagram(a6, b6, strings.Repeat("abc", 700))} {
		p.ID, p.DF = 77, false
		fs := p.Fragment(1000)
		if len(fs) != 3 {
			t.Fatalf("%d fragments", len(fs))
		}
		for i := range fs {
			fs[i] = Decode(fs[i].Encode())
		}
		got, err := Reassemble(fs...)
		if err != nil {
			t.Fatal(err)
		}
		if d := Diff(p, got); d != "" {
			t.Error(d)
		}
		if _, err := Reassemble(fs[1], fs[0], fs[2]); err == nil {
			t.Error("fragments out of order were put together")
		}
	}
}

func TestDiffMarksLines(t *testing.T) {
	p := samples()["syn"]
	q := p
	q.Seq++
	got := Diff(p, q)
	if strings.Count(got, "-want ") != 1 || strings.Count(got, "+got ") != 1 || !strings.Contains(got, "seq 1001") {
		t.Errorf("diff:\n%s", got)
	}
}

// TestNetnsPort sends every kind of packet over a veth pair, with checksums
// complete and left to the other side.
func TestNetnsPort(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to make namespaces")
	}
	a, b := testnet.New(t, "pa"), testnet.New(t, "pb")
	testnet.Must(t, testnet.Veth(a, "eth0", b, "eth0"))
	mac, err := b.MAC("eth0")
	testnet.Must(t, err)
	pa, err := Open(a, "eth0", mac)
	testnet.Must(t, err)
	defer pa.Close()
	pb, err := Open(b, "eth0", mac)
	testnet.Must(t, err)
	defer pb.Close()
	for name, p := range samples() {
		t.Run(name, func(t *testing.T) {
			pa.Send(t, p)
			pb.Expect(t, p)
			if p.Sum == SumZero || p.Proto == ICMP || p.Proto == ICMPv6 {
				return
			}
			p.Sum = SumPartial
			pa.Send(t, p)
			pb.Expect(t, p)
		})
	}
	big := NewPeer(a4, b4, 5).Segment(ACK, strings.Repeat("0123456789", 1000))
	big.Sum, big.GSO = SumPartial, 1400
	pa.Send(t, big)
	pb.Expect(t, big)
	pb.Quiet(t)
	testnet.Must(t, Offload(a, "eth0", false, "tx"))
}
