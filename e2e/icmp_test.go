// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testpkt"
	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/ipvs/uapi"
)

// TestICMP: errors about what the director rewrote, both ways, and errors of the
// director itself; each down to the last quoted byte.
func TestICMP(t *testing.T) {
	needOurs(t)
	for _, c := range []struct {
		name string
		run  func(*testing.T, *rig)
	}{
		{"13_unreachable_to_client", caseUnreachableToClient},
		{"13_unreachable_to_client_udp", caseUnreachableUDP},
		{"13_unreachable_to_server", caseUnreachableToServer},
		{"hop_to_client", caseHopToClient},
		{"bad_quotes", caseBadQuotes},
		{"echo", caseEcho},
	} {
		each(t, c.name, c.run)
	}
	for _, f := range fams {
		names := []string{"14_too_big_to_client_v4", "14_too_big_director_v4", "15_too_big_reply_v4", "15_too_big_from_client_side_v4"}
		if f.v6() {
			names = []string{"16_too_big_to_client_v6", "16_too_big_director_v6", "16_too_big_reply_v6", "16_too_big_from_client_side_v6"}
		}
		for i, run := range []func(*testing.T, *rig){caseTooBigToClient, caseTooBigRequest, caseTooBigReply, caseTooBigFromClientSide} {
			t.Run(names[i], func(t *testing.T) { run(t, newRig(t, f)) })
		}
	}
}

// limits are how much of a packet senders of errors quote: 0 is all, 28 the least
// that RFC 792 asks for.
func (f fam) limits() []int {
	if f.v6() {
		return []int{0, 48, 60}
	}
	return []int{0, 28, 40}
}

// errorToClient sends an error about what the real server got for sent, and
// expects it at the client, quoting what he sent.
func (f *flow) errorToClient(t *testing.T, from netip.Addr, what testpkt.Problem, rest, wantRest uint32, sent testpkt.Packet, limit int) {
	t.Helper()
	f.r.back.Send(t, testpkt.Error(from, what, rest, f.toRS(sent), limit))
	quote := sent.Clone()
	quote.TTL--
	want := testpkt.Error(f.vip.Addr(), what, wantRest, quote, limit)
	want.TTL--
	f.r.front.Expect(t, want)
}

// errorToServer sends an error about what the client got for sent, and expects it
// at the real server, quoting what that sent.
func (f *flow) errorToServer(t *testing.T, from netip.Addr, what testpkt.Problem, rest uint32, sent testpkt.Packet, limit int) {
	t.Helper()
	f.r.front.Send(t, testpkt.Error(from, what, rest, f.toClient(sent), limit))
	quote := sent.Clone()
	quote.TTL--
	want := testpkt.Error(f.lip.Addr(), what, rest, quote, limit)
	want.Dst = netip.AddrPortFrom(f.s.Local.Addr(), 0)
	want.TTL--
	f.r.back.Expect(t, want)
}

func caseUnreachableToClient(t *testing.T, r *rig) {
	r.serve(t, setup{})
	f := r.open(t, 0, 4000)
	p := f.c.Data("a request that somebody quotes")
	f.request(t, p)
	for _, limit := range r.limits() {
		f.errorToClient(t, f.s.Local.Addr(), testpkt.PortUnreachable, 0, 0, p, limit)
	}
	f.talk(t)
	// About a SYN, the first packet of all.
	g, syn := r.start(t, 1, 4000, testpkt.MSS(1460))
	g.meet(t, syn)
	g.errorToClient(t, g.s.Local.Addr(), testpkt.HostUnreachable, 0, 0, syn, r.limits()[1])
}

func caseUnreachableUDP(t *testing.T, r *rig) {
	r.serve(t, setup{proto: ipvs.UDP})
	for i, sum := range []testpkt.Sum{testpkt.SumFull, testpkt.SumZero} {
		if sum == testpkt.SumZero && r.v6() {
			continue
		}
		sent, got := r.datagram(t, 0, 4000+uint16(i), "who is there", sum)
		for _, limit := range r.limits() {
			e := testpkt.Error(got.Dst.Addr(), testpkt.PortUnreachable, 0, got, limit)
			quote := sent.Clone()
			quote.TTL--
			if sum == testpkt.SumZero {
				e = zeroSumError(got.Dst.Addr(), got, limit)
			}
			r.back.Send(t, e)
			want := testpkt.Error(r.vip, testpkt.PortUnreachable, 0, quote, limit)
			if sum == testpkt.SumZero {
				want = zeroSumError(r.vip, quote, limit)
			}
			want.TTL--
			r.front.Expect(t, want)
		}
	}
}

// zeroSumError is an error whose quote keeps the zero checksum.
func zeroSumError(from netip.Addr, quoted testpkt.Packet, limit int) testpkt.Packet {
	e := testpkt.Error(from, testpkt.PortUnreachable, 0, quoted, 0)
	e.Payload = quoted.Encode()
	if limit > 0 {
		e.Payload = e.Payload[:limit]
	}
	return e
}

func caseUnreachableToServer(t *testing.T, r *rig) {
	r.serve(t, setup{})
	f := r.open(t, 0, 4000)
	f.request(t, f.c.Data("question"))
	p := f.s.Data("an answer that nobody wants")
	f.reply(t, p)
	for _, limit := range r.limits() {
		f.errorToServer(t, r.cip[0], testpkt.PortUnreachable, 0, p, limit)
	}
	f.talk(t)
}

// A router between director and real server speaks; to the client it is the vip.
func caseHopToClient(t *testing.T, r *rig) {
	r.serve(t, setup{})
	f := r.open(t, 0, 4000)
	p := f.c.Data("x")
	f.request(t, p)
	f.errorToClient(t, r.hop, testpkt.HostUnreachable, 0, 0, p, 0)
	f.errorToClient(t, r.hop, testpkt.TimeExceeded, 0, 0, p, 0)
}

// The path from the director to the real server is narrow: the client hears of it,
// and of the room that TOA takes while it is still sent.
func caseTooBigToClient(t *testing.T, r *rig) {
	less := uint32(8)
	if r.v6() {
		less = 20
	}
	r.serve(t, setup{ext: ipvs.ExtTOA})
	f := r.dial(t, 0, 4000)
	f.mssLess = uint16(less)
	f.reply(t, f.s.Syn(testpkt.MSS(1400)))
	f.toa = 254
	p := f.c.Data(strings.Repeat("x", 1200))
	f.request(t, p)
	// The quoted length is that behind the director, with the option.
	limit := r.limits()[1]
	p.Payload = append(p.Payload, make([]byte, less)...)
	f.toa = 0
	f.errorToClient(t, r.hop, testpkt.TooBig, 1400, 1400-less, p, limit)
	// The real server has answered data: TOA ends, and the MTU is what it is.
	f.reply(t, f.s.Bare())
	p = f.c.Data(strings.Repeat("y", 1300))
	f.request(t, p)
	f.errorToClient(t, r.hop, testpkt.TooBig, 1290, 1290, p, limit)
	f.errorToClient(t, r.hop, testpkt.TooBig, 1290, 1290, p, 0)
}

// The director's own link to the real servers is narrow.
func caseTooBigRequest(t *testing.T, r *rig) {
	r.serve(t, setup{})
	f := r.open(t, 0, 4000)
	testnet.Must(t, r.d.MTU("back", 1400))
	p := f.c.Data(strings.Repeat("x", 1400))
	r.front.Send(t, p)
	got := r.front.Recv(t)
	quote := p.Clone()
	quote.TTL-- // stock ip_vs lowers it before it tests the MTU
	want := testpkt.Error(r.vip, testpkt.TooBig, 1400, quote, quoteLimit(p))
	want.Dst = netip.AddrPortFrom(p.Src.Addr(), 0)
	want.TTL, want.TOS, want.ID = got.TTL, got.TOS, got.ID
	if d := testpkt.Diff(want, got); d != "" {
		t.Errorf("too big about a request differs:\n%s", d)
	}
	r.back.Quiet(t)
	r.counts(t, map[uint16]uint64{uapi.ExtStatMtuIcmp: 1})
	f.c.Seq -= p.Len()
	f.request(t, f.c.Data(strings.Repeat("x", 1300)))
}

// The director's link to the client is narrow: the real server hears of it, in its
// own numbers.
func caseTooBigReply(t *testing.T, r *rig) {
	r.serve(t, setup{})
	f := r.open(t, 0, 4000)
	f.request(t, f.c.Data("question"))
	testnet.Must(t, r.d.MTU("front", 1400))
	p := f.s.Data(strings.Repeat("x", 1400))
	r.back.Send(t, p)
	got := r.back.Recv(t)
	want := testpkt.Error(f.lip.Addr(), testpkt.TooBig, 1400, p, quoteLimit(p))
	want.TTL, want.TOS, want.ID = got.TTL, got.TOS, got.ID
	if d := testpkt.Diff(want, got); d != "" {
		t.Errorf("too big about a reply differs:\n%s", d)
	}
	r.front.Quiet(t)
	r.counts(t, map[uint16]uint64{uapi.ExtStatMtuIcmp: 1})
	f.s.Seq -= p.Len()
	if !r.v6() {
		// Without DF it is cut up.
		p.DF, p.ID = false, 0x1234
		r.back.Send(t, p)
		whole, err := testpkt.Reassemble(r.front.Recv(t), r.front.Recv(t))
		testnet.Must(t, err)
		w := f.toClient(p)
		if d := testpkt.Diff(w, whole); d != "" {
			t.Errorf("reply without DF differs:\n%s", d)
		}
	}
	f.reply(t, f.s.Data(strings.Repeat("x", 1300)))
	// A packet of many segments that fit is no problem, one of too large ones is.
	big := f.s.Data(strings.Repeat("x", 9000))
	big.Sum, big.GSO = testpkt.SumPartial, 1300
	f.reply(t, big)
	big = f.s.Data(strings.Repeat("x", 9000))
	big.Sum, big.GSO = testpkt.SumPartial, 1400
	r.back.Send(t, big)
	if e := r.back.Recv(t); e.Rest != 1400 || e.Proto == testpkt.TCP {
		t.Errorf("segments of 1400 bytes on a path of 1400 were answered by\n%v", e)
	}
	r.front.Quiet(t)
	r.counts(t, map[uint16]uint64{uapi.ExtStatMtuIcmp: 2})
}

// A router on the client's side has a narrow link.
func caseTooBigFromClientSide(t *testing.T, r *rig) {
	r.serve(t, setup{})
	f := r.open(t, 0, 4000)
	f.request(t, f.c.Data("question"))
	p := f.s.Data(strings.Repeat("x", 1380))
	f.reply(t, p)
	for _, limit := range r.limits() {
		f.errorToServer(t, r.cip[9], testpkt.TooBig, 1300, p, limit)
	}
}

// Errors that are wrong in themselves, or quote too little, or somebody else's.
func caseBadQuotes(t *testing.T, r *rig) {
	r.serve(t, setup{})
	f := r.open(t, 0, 4000)
	p := f.c.Data("question")
	f.request(t, p)
	a := f.s.Data("answer")
	f.reply(t, a)

	bad := testpkt.Error(r.hop, testpkt.HostUnreachable, 0, f.toRS(p), 0)
	bad.Sum = testpkt.SumBad
	r.back.Send(t, bad)
	bad = testpkt.Error(r.cip[0], testpkt.HostUnreachable, 0, f.toClient(a), 0)
	bad.Sum = testpkt.SumBad
	r.front.Send(t, bad)
	r.front.Quiet(t)
	r.back.Quiet(t)
	r.counts(t, map[uint16]uint64{uapi.ExtStatCsumBad: 2})

	ip := 20
	if r.v6() {
		ip = 40
	}
	for _, limit := range []int{1, 8, ip - 1, ip, ip + 3} {
		r.back.Send(t, testpkt.Error(r.hop, testpkt.HostUnreachable, 0, f.toRS(p), limit))
		r.front.Send(t, testpkt.Error(r.cip[0], testpkt.HostUnreachable, 0, f.toClient(a), limit))
	}
	stranger := f.toRS(p)
	stranger.Src = netip.AddrPortFrom(stranger.Src.Addr(), stranger.Src.Port()+1)
	r.back.Send(t, testpkt.Error(r.hop, testpkt.HostUnreachable, 0, stranger, 0))
	r.front.Quiet(t)
	r.back.Quiet(t)
	// Ports alone say whose it is.
	f.errorToClient(t, r.hop, testpkt.HostUnreachable, 0, 0, p, ip+4)
	f.talk(t)
}

// Questions to vip and lip are the director's own to answer.
func caseEcho(t *testing.T, r *rig) {
	r.serve(t, setup{})
	f := r.open(t, 0, 4000)
	for _, c := range []struct {
		port     *testpkt.Port
		src, dst netip.Addr
	}{{r.front, r.cip[0], r.vip}, {r.back, r.rip[0], f.lip.Addr()}} {
		p := testpkt.Packet{
			Src: netip.AddrPortFrom(c.src, 0), Dst: netip.AddrPortFrom(c.dst, 0), Proto: testpkt.ICMP, TTL: 64,
			Type: 8, Rest: 0x12340001, Payload: []byte("echo"),
		}
		answer := uint8(0)
		if r.v6() {
			p.Proto, p.Type, answer = testpkt.ICMPv6, 128, 129
		}
		c.port.Send(t, p)
		got := c.port.Recv(t)
		want := p.Clone()
		want.Src, want.Dst, want.Type, want.ID, want.Sum = p.Dst, p.Src, answer, got.ID, got.Sum
		if d := testpkt.Diff(want, got); d != "" {
			t.Error(d)
		}
	}
}
