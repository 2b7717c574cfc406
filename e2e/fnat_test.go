// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testpkt"
	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/ipvs/uapi"
)

// portDefault is the range of a local address that was given none: the larger gap
// around the kernel's ip_local_port_range 32768-60999.
const (
	portDefaultMin = 1024
	portDefaultMax = 32767
)

// TestFNAT: full NAT of TCP and UDP, asserted packet by packet. Names carry the
// case's number in docs/acceptance.md.
func TestFNAT(t *testing.T) {
	needOurs(t)
	for _, c := range []struct {
		name string
		run  func(*testing.T, *rig)
	}{
		{"01_syn", caseSyn},
		{"01_syn_partial", caseSynPartial},
		{"02_synack", caseSynAck},
		{"03_segments", caseSegments},
		{"04_udp", caseUDP},
		{"05_same_cport", caseSameCport},
		{"06_same_lport_two_servers", caseSameLport},
		{"07_port_exhaustion", caseExhaustion},
		{"08_exhaust_rst", caseExhaustRST},
		{"09_no_new", caseNoNew},
		{"10_del_laddr", caseDelLaddr},
		{"11_select_source", caseSelectSource},
		{"12_reply_without_conn", caseReplyWithoutConn},
		{"17_ttl", caseTTL},
		{"18_fragments", caseFragments},
		{"21_persistent", casePersistent},
		{"22_client_on_director", caseClientOnDirector},
		{"23_server_on_director", caseServerOnDirector},
		{"27_server_in_time_wait", caseServerTimeWait},
		{"sequence_and_sack", caseSequence},
		{"ts_keep", caseTSKeep},
		{"ts_rebase", caseTSRebase},
		{"mss_clamp", caseMSSClamp},
		{"rst", caseRST},
		{"forged_toa", caseForgedTOA},
		{"malformed", caseMalformed},
	} {
		each(t, c.name, c.run)
	}
	t.Run("19_hop_by_hop_v6", func(t *testing.T) { caseHopByHop(t, newRig(t, fam6)) })
	t.Run("25_rp_filter_v4", func(t *testing.T) { caseRPFilter(t, newRig(t, fam4)) })
}

func caseSyn(t *testing.T, r *rig) {
	r.serve(t, setup{})
	f := r.dial(t, 0, 4000)
	if f.delta == 0 {
		t.Error("the sequence was not changed")
	}
	if p := f.lip.Port(); p < portDefaultMin || p > portDefaultMax {
		t.Errorf("local port %d is not in %d-%d", p, portDefaultMin, portDefaultMax)
	}
	r.counts(t, map[uint16]uint64{uapi.ExtStatLportOk: 1, uapi.ExtStatLportFull: 0, uapi.ExtStatOutHit: 0})
	want := ipvs.Conn{Protocol: ipvs.TCP, Client: f.c.Local, Virtual: f.vip, Local: f.lip, Dest: f.s.Local, State: "SYN_RECV", ISNDelta: f.delta}
	all := r.conns(t)
	if len(all) != 1 {
		t.Fatalf("%d connections, want 1", len(all))
	}
	got := all[0]
	if got.Expires <= 0 || got.Expires > time.Minute {
		t.Errorf("expires in %v, want at most a minute", got.Expires)
	}
	got.Expires, got.Flags, got.InPkts = 0, 0, 0
	if got != want {
		t.Errorf("connection is listed as\n%+v, want\n%+v", got, want)
	}
	// The same SYN again: the same connection, the same numbers.
	f.c.Seq--
	again := f.c.Syn(synOptions(r.fam)...)
	r.front.Send(t, again)
	r.back.Expect(t, f.toRS(again))
}

func caseSynPartial(t *testing.T, r *rig) {
	r.serve(t, setup{})
	f := &flow{r: r, vip: netip.AddrPortFrom(r.vip, 80), strip: true}
	f.c = testpkt.NewPeer(netip.AddrPortFrom(r.cip[0], 4000), f.vip, 5)
	f.c.Sum = testpkt.SumPartial
	syn := f.c.Syn(synOptions(r.fam)...)
	r.front.Send(t, syn)
	f.meet(t, syn)
	f.s.Sum = testpkt.SumPartial
	f.establish(t)
	f.talk(t)
}

func caseSynAck(t *testing.T, r *rig) {
	r.serve(t, setup{})
	f := r.dial(t, 0, 4000)
	isn := f.c.Seq - 1
	p := f.s.Syn(testpkt.MSS(1400), testpkt.SACKPermitted(), testpkt.NOP(), testpkt.WScale(9))
	r.back.Send(t, p)
	got := r.front.Recv(t)
	if got.Ack != isn+1 {
		t.Errorf("SYN/ACK acknowledges %d, want the client's ISN+1 %d", got.Ack, isn+1)
	}
	if d := testpkt.Diff(f.toClient(p), got); d != "" {
		t.Error(d)
	}
	r.counts(t, map[uint16]uint64{uapi.ExtStatOutHit: 1})
}

// Packets that stand for many segments pass in one piece, either way.
func caseSegments(t *testing.T, r *rig) {
	r.serve(t, setup{})
	f := r.open(t, 0, 4000)
	for _, n := range []int{3000, 20000, 60000} {
		p := f.c.Data(strings.Repeat("q", n))
		p.Sum, p.GSO = testpkt.SumPartial, 1400
		f.request(t, p)
		p = f.s.Data(strings.Repeat("a", n))
		p.Sum, p.GSO = testpkt.SumPartial, 1300
		f.reply(t, p)
	}
}

func caseUDP(t *testing.T, r *rig) {
	key := r.serve(t, setup{proto: ipvs.UDP})
	var sums = []testpkt.Sum{testpkt.SumFull, testpkt.SumPartial}
	if !r.v6() {
		sums = append(sums, testpkt.SumZero)
	}
	for i, s := range sums {
		sent, got := r.datagram(t, 0, 4000+uint16(i), "question", s)
		r.answer(t, sent, got, "answer", s)
		// Odd lengths, the empty one, and a payload that makes the sum zero.
		for _, payload := range []string{"", "odd", "\xff\xff"} {
			sent2, got2 := r.datagram(t, 0, 4000+uint16(i), payload, s)
			if got2.Src != got.Src {
				t.Errorf("the second datagram came from %v, the first from %v", got2.Src, got.Src)
			}
			r.answer(t, sent2, got2, payload, s)
		}
	}
	for _, c := range r.conns(t) {
		if c.Protocol != ipvs.UDP || c.State != "UDP" || c.Virtual.Port() != key.Port {
			t.Errorf("connection is listed as %+v", c)
		}
	}
	// Every checksum there is, so that a computed zero is among them.
	sent, got := r.datagram(t, 1, 4100, "\x00\x00", testpkt.SumFull)
	for i := range 1 << 7 {
		for j := range 4 {
			p := sent.Clone()
			p.Payload = []byte{byte(i << 1), byte(i*37 + j)}
			r.front.Send(t, p)
			p.Src, p.Dst, p.TTL = got.Src, got.Dst, p.TTL-1
			r.back.Expect(t, p)
		}
	}
}

func caseSameCport(t *testing.T, r *rig) {
	r.serve(t, setup{})
	a, b := r.open(t, 0, 4000), r.open(t, 1, 4000)
	if a.lip == b.lip || a.s.Local != b.s.Local {
		t.Errorf("both clients are %v and %v to servers %v and %v", a.lip, b.lip, a.s.Local, b.s.Local)
	}
	for range 2 {
		a.talk(t)
		b.talk(t)
	}
}

func caseSameLport(t *testing.T, r *rig) {
	r.serve(t, setup{servers: 2, ports: [2]uint16{5000, 5000}})
	a, b := r.open(t, 0, 4000), r.open(t, 1, 4001)
	if a.lip != b.lip || a.lip.Port() != 5000 || a.s.Local == b.s.Local {
		t.Fatalf("local %v and %v, servers %v and %v; want one local port for two servers", a.lip, b.lip, a.s.Local, b.s.Local)
	}
	for range 2 {
		a.talk(t)
		b.talk(t)
	}
}

func caseExhaustion(t *testing.T, r *rig) {
	r.serve(t, setup{ports: [2]uint16{5000, 5003}})
	var flows []*flow
	seen := map[netip.AddrPort]bool{}
	for i := range 4 {
		f := r.open(t, i, 4000)
		seen[f.lip] = true
		flows = append(flows, f)
	}
	if len(seen) != 4 {
		t.Fatalf("local ports %v, want 4 different", seen)
	}
	late, syn := r.start(t, 4, 4000)
	r.back.Quiet(t)
	r.front.Quiet(t)
	r.counts(t, map[uint16]uint64{uapi.ExtStatLportOk: 4, uapi.ExtStatLportFull: 1, uapi.ExtStatLportReclaim: 0, uapi.ExtStatExhaustRst: 0})
	for _, f := range flows {
		f.talk(t)
	}
	flows[2].finish(t)
	r.front.Send(t, syn)
	late.meet(t, syn)
	if late.lip != flows[2].lip {
		t.Errorf("got %v, want %v of the connection in TIME_WAIT", late.lip, flows[2].lip)
	}
	late.establish(t)
	late.talk(t)
	flows[0].talk(t)
	r.counts(t, map[uint16]uint64{uapi.ExtStatLportOk: 4, uapi.ExtStatLportFull: 1, uapi.ExtStatLportReclaim: 1})
	if n := len(r.conns(t)); n != 4 {
		t.Errorf("%d connections, want 4", n)
	}
	laddrs, err := r.x.Laddrs(t.Context(), group)
	testnet.Must(t, err)
	if l := laddrs[0]; l.Conns != 4 || l.Full != 2 || l.Reclaim != 1 {
		t.Errorf("the local address says %+v, want 4 connections, 2 times full, 1 reclaimed", l)
	}
	// TIME_WAIT lasts 120 s when nobody takes the port.
	flows[0].finish(t)
	time.Sleep(119 * time.Second)
	if n := len(r.conns(t)); n != 4 {
		t.Errorf("%d connections 119 s after TIME_WAIT began, want 4", n)
	}
	time.Sleep(4 * time.Second)
	if n := len(r.conns(t)); n != 3 {
		t.Errorf("%d connections 123 s after TIME_WAIT began, want 3", n)
	}
}

func caseExhaustRST(t *testing.T, r *rig) {
	r.serve(t, setup{ports: [2]uint16{5000, 5003}, ext: ipvs.ExtExhaustRST})
	for i := range 4 {
		r.open(t, i, 4000)
	}
	_, syn := r.start(t, 4, 4000)
	got := r.front.Recv(t)
	want := testpkt.Packet{
		Src: syn.Dst, Dst: syn.Src, Proto: testpkt.TCP, TTL: 64, DF: !r.v6(),
		Flags: testpkt.RST | testpkt.ACK, Ack: syn.Seq + 1,
	}
	want.ID = got.ID
	if d := testpkt.Diff(want, got); d != "" {
		t.Errorf("the answer to a SYN without a port differs:\n%s", d)
	}
	r.back.Quiet(t)
	r.counts(t, map[uint16]uint64{uapi.ExtStatLportFull: 1, uapi.ExtStatExhaustRst: 1})
}

func (r *rig) laddrFlags(a netip.Addr, flags ipvs.LaddrFlags) ipvs.Op {
	return ipvs.Op{Kind: ipvs.SetLaddr, LGroup: ipvs.LGroup{Name: group, Family: ipvs.FamilyOf(a)}, Laddr: ipvs.Laddr{Addr: a, Flags: flags}}
}

func caseNoNew(t *testing.T, r *rig) {
	r.serve(t, setup{lips: 2})
	a, b := r.open(t, 0, 4000), r.open(t, 1, 4000)
	if a.lip.Addr() == b.lip.Addr() {
		t.Fatalf("two connections in turn both got %v", a.lip.Addr())
	}
	r.apply(t, r.laddrFlags(a.lip.Addr(), ipvs.LaddrNoNew))
	for i := range 4 {
		if f := r.open(t, 2+i, 4000); f.lip.Addr() != b.lip.Addr() {
			t.Errorf("connection %d got the draining %v", i+1, f.lip)
		}
	}
	a.talk(t)
	b.talk(t)
	r.apply(t, r.laddrFlags(b.lip.Addr(), ipvs.LaddrNoNew))
	late, syn := r.start(t, 7, 4000)
	r.back.Quiet(t)
	r.counts(t, map[uint16]uint64{uapi.ExtStatNoLaddr: 1, uapi.ExtStatLportFull: 0})
	r.apply(t, r.laddrFlags(a.lip.Addr(), 0))
	r.front.Send(t, syn)
	late.meet(t, syn)
	if late.lip.Addr() != a.lip.Addr() {
		t.Errorf("got %v, want %v that takes connections again", late.lip, a.lip.Addr())
	}
	a.talk(t)
	// Nor is there anything new on an address that is another director's.
	r.apply(t, r.laddrFlags(b.lip.Addr(), ipvs.LaddrForeign))
	for i := range 4 {
		if f := r.open(t, 8+i, 4000); f.lip.Addr() != a.lip.Addr() {
			t.Errorf("connection %d got the foreign %v", i+1, f.lip)
		}
	}
	b.talk(t)
}

func caseDelLaddr(t *testing.T, r *rig) {
	r.serve(t, setup{lips: 2})
	a, b := r.open(t, 0, 4000), r.open(t, 1, 4000)
	gone := a.lip.Addr()
	r.apply(t, ipvs.Op{Kind: ipvs.DelLaddr, LGroup: ipvs.LGroup{Name: group, Family: ipvs.FamilyOf(gone)}, Laddr: ipvs.Laddr{Addr: gone}})
	laddrs, err := r.x.Laddrs(t.Context(), group)
	testnet.Must(t, err)
	if len(laddrs) != 1 || laddrs[0].Addr != b.lip.Addr() {
		t.Errorf("addresses of the group: %+v, want %v alone", laddrs, b.lip.Addr())
	}
	a.talk(t)
	for i := range 3 {
		if f := r.open(t, 2+i, 4000); f.lip.Addr() != b.lip.Addr() {
			t.Errorf("connection %d got the deleted %v", i+1, f.lip)
		}
	}
	a.talk(t)
	a.finish(t)
	// 120 s, which a clock of 100 ticks a second may make 125.12.
	time.Sleep(130 * time.Second)
	if slices.ContainsFunc(r.conns(t), func(c ipvs.Conn) bool { return c.Local.Addr() == gone }) {
		t.Error("the connection outlives TIME_WAIT")
	}
	// Nothing is left that would take its packets: the director's own stack does.
	p := a.s.Data("late")
	r.back.Send(t, p)
	expectReset(t, r.back, p)
	b.talk(t)
}

// expectReset wants the RST with which the director's own stack answers p. Its
// identification, and who completes its checksum, are the stack's business.
func expectReset(t *testing.T, port *testpkt.Port, p testpkt.Packet) {
	t.Helper()
	got := port.Recv(t)
	want := testpkt.Packet{
		Src: p.Dst, Dst: p.Src, Proto: testpkt.TCP, TTL: 64, DF: !p.V6(), Flags: testpkt.RST, Seq: p.Ack,
		ID: got.ID, Sum: got.Sum,
	}
	if d := testpkt.Diff(want, got); d != "" {
		t.Fatalf("the answer to what belongs to no connection differs:\n%s", d)
	}
}

func caseSelectSource(t *testing.T, r *rig) {
	r.serve(t, setup{lips: 2, more: ipvs.Ext{Set: ipvs.ExtFieldSelect, Select: ipvs.SelectSrc}})
	seen := map[netip.Addr]int{}
	for n := range 12 {
		a, b, c := r.dial(t, n, 4000), r.dial(t, n, 4001), r.dial(t, n, 65000)
		if a.lip.Addr() != b.lip.Addr() || a.lip.Addr() != c.lip.Addr() {
			t.Errorf("client %v got %v, %v, %v", r.cip[n], a.lip, b.lip, c.lip)
		}
		seen[a.lip.Addr()]++
	}
	if len(seen) != 2 {
		t.Errorf("12 clients got %v, want both addresses used", seen)
	}
}

func caseReplyWithoutConn(t *testing.T, r *rig) {
	r.serve(t, setup{})
	s := testpkt.NewPeer(netip.AddrPortFrom(r.rip[0], rport), netip.AddrPortFrom(r.lip[0], 5000), 7)
	s.Ack = 77
	for _, p := range []testpkt.Packet{s.Bare(), s.Data("x")} {
		r.back.Send(t, p)
		expectReset(t, r.back, p)
	}
	r.front.Quiet(t)
	// Nor does a reply find somebody else's connection.
	f := r.open(t, 0, 4000)
	for _, other := range []netip.AddrPort{
		netip.AddrPortFrom(f.s.Local.Addr(), rport+1), netip.AddrPortFrom(r.rip[1], rport),
	} {
		p := f.s.Bare()
		p.Src = other
		r.back.Send(t, p)
		expectReset(t, r.back, p)
	}
	f.talk(t)
}

func caseTTL(t *testing.T, r *rig) {
	r.serve(t, setup{})
	f := r.open(t, 0, 4000)
	for _, side := range []struct {
		name string
		port *testpkt.Port
		peer *testpkt.Peer
		from netip.Addr
		via  func(*testing.T, testpkt.Packet)
	}{
		{"request", r.front, f.c, r.vip, f.request}, {"reply", r.back, f.s, f.lip.Addr(), f.reply},
	} {
		low := side.peer.Data("too far")
		low.TTL = 1
		side.port.Send(t, low)
		got := side.port.Recv(t)
		want := testpkt.Error(side.from, testpkt.TimeExceeded, 0, low, quoteLimit(low))
		want.TTL, want.TOS, want.ID = got.TTL, got.TOS, got.ID
		if d := testpkt.Diff(want, got); d != "" {
			t.Errorf("time exceeded about a %s differs:\n%s", side.name, d)
		}
		low.TTL = 2
		side.via(t, low)
	}
	r.counts(t, map[uint16]uint64{uapi.ExtStatTtlIcmp: 2})
}

// quoteLimit is how much of p a Linux stack quotes: 576 bytes of IPv4 in all, 1280
// of IPv6.
func quoteLimit(p testpkt.Packet) int {
	if p.V6() {
		return 1280 - 48
	}
	return 576 - 28
}

func caseFragments(t *testing.T, r *rig) {
	r.serve(t, setup{proto: ipvs.UDP})
	sent, got := r.datagram(t, 0, 4000, "first", testpkt.SumFull)
	for _, dir := range []struct {
		name     string
		from, to *testpkt.Port
		src, dst netip.AddrPort
		nsrc     netip.AddrPort
		ndst     netip.AddrPort
	}{
		{"request", r.front, r.back, sent.Src, sent.Dst, got.Src, got.Dst},
		{"reply", r.back, r.front, got.Dst, got.Src, sent.Dst, sent.Src},
	} {
		p := testpkt.Datagram(dir.src, dir.dst, strings.Repeat("0123456789abcdef", 230))
		p.DF, p.ID = false, 0x4711
		fs := p.Fragment(1400)
		dir.from.Send(t, fs...)
		var back []testpkt.Packet
		for {
			f := dir.to.Recv(t)
			back = append(back, f)
			if !f.MF {
				break
			}
			if len(f.Payload) > 1480 {
				t.Errorf("a fragment of %d bytes", len(f.Payload))
			}
		}
		q, err := testpkt.Reassemble(back...)
		testnet.Must(t, err)
		want := p.Clone()
		want.Src, want.Dst, want.TTL, want.ID = dir.nsrc, dir.ndst, p.TTL-1, q.ID
		if d := testpkt.Diff(want, q); d != "" {
			t.Errorf("%s in fragments differs:\n%s", dir.name, d)
		}
	}
}

func caseHopByHop(t *testing.T, r *rig) {
	ext := []byte{0, 0, 1, 4, 0, 0, 0, 0}
	r.serve(t, setup{})
	f := &flow{r: r, vip: netip.AddrPortFrom(r.vip, 80), strip: true}
	f.c = testpkt.NewPeer(netip.AddrPortFrom(r.cip[0], 4000), f.vip, 5)
	syn := f.c.Syn(synOptions(r.fam)...)
	syn.Ext = ext
	r.front.Send(t, syn)
	f.meet(t, syn)
	reply := f.s.Syn(testpkt.MSS(1400))
	reply.Ext = ext
	f.reply(t, reply)
	data := f.c.Data("with a header before it")
	data.Ext = ext
	f.request(t, data)

	key, ops := r.operations(setup{proto: ipvs.UDP})
	_ = key
	r.apply(t, ops[2:]...)
	p := testpkt.Datagram(netip.AddrPortFrom(r.cip[0], 4000), netip.AddrPortFrom(r.vip, 80), "udp")
	p.Ext = ext
	r.front.Send(t, p)
	got := r.back.Recv(t)
	want := p.Clone()
	want.Src, want.Dst, want.TTL = got.Src, netip.AddrPortFrom(r.rip[0], rport), p.TTL-1
	if d := testpkt.Diff(want, got); d != "" {
		t.Error(d)
	}
	q := testpkt.Datagram(got.Dst, got.Src, "answer")
	q.Ext = ext
	r.back.Send(t, q)
	q.Src, q.Dst, q.TTL = p.Dst, p.Src, q.TTL-1
	r.front.Expect(t, q)
}

func caseRPFilter(t *testing.T, r *rig) {
	for _, link := range []string{"all", "front", "back"} {
		testnet.Must(t, r.d.Sysctl("net.ipv4.conf."+link+".rp_filter", "1"))
	}
	r.serve(t, setup{})
	f := r.open(t, 0, 4000)
	f.talk(t)
	f.finish(t)
}

// Sequence numbers, acknowledgements and SACK blocks, over the whole life of a
// connection and across the wrap.
func caseSequence(t *testing.T, r *rig) {
	r.serve(t, setup{})
	f := r.open(t, 0, 4000)
	f.talk(t)
	lost := f.c.Data("lost")
	f.request(t, f.c.Data("received"))
	sack := f.s.Bare()
	sack.Ack = lost.Seq + f.delta
	sack.Options = testpkt.Options(testpkt.NOP(), testpkt.NOP(), testpkt.SACK(lost.Seq+f.delta+4, lost.Seq+f.delta+12, 5, 6))
	f.reply(t, sack)
	// The client's own SACK blocks are in the real server's numbers already.
	back := f.c.Bare()
	back.Options = testpkt.Options(testpkt.NOP(), testpkt.SACK(f.s.Seq, f.s.Seq+10))
	f.request(t, back)
	odd := f.s.Bare()
	odd.Options = testpkt.Options(testpkt.NOP(), testpkt.SACK(1, 2, 3, 4))
	f.reply(t, odd)
	f.c.Seq = -f.delta - 3
	f.request(t, f.c.Data("around zero"))
	f.finish(t)
}

// A real server that still has the last user of a local port in TIME_WAIT takes a
// SYN only with a sequence number behind all it has seen; and without timestamps.
func caseServerTimeWait(t *testing.T, r *rig) {
	r.serve(t, setup{ports: [2]uint16{5000, 5000}})
	var last uint32
	for i := range 8 {
		f := r.dial(t, i, 4000)
		if isn := f.s.Ack - 1; i > 0 && int32(isn-last) <= 0 {
			t.Errorf("connection %d begins at %d, the last one ended at %d", i+1, isn, last)
		}
		f.establish(t)
		f.talk(t)
		f.finish(t)
		last = f.s.Ack
		time.Sleep(time.Duration(i) * time.Second)
	}
}

// A persistent service: a client's connections go to one real server, each with a
// local port of its own, until the template is over.
func casePersistent(t *testing.T, r *rig) {
	r.serve(t, setup{servers: 2, flags: ipvs.FlagPersistent, timeout: time.Minute})
	a, b := r.open(t, 0, 4000), r.open(t, 0, 4001)
	if a.s.Local != b.s.Local || a.lip == b.lip {
		t.Errorf("servers %v and %v from %v and %v; want one server, two ports", a.s.Local, b.s.Local, a.lip, b.lip)
	}
	a.talk(t)
	b.talk(t)
	if other := r.open(t, 1, 4000); other.s.Local == a.s.Local {
		t.Errorf("another client got %v, too", other.s.Local)
	}
	if n := len(r.conns(t)); n != 3 {
		t.Errorf("the extension lists %d connections, want 3: a template is none", n)
	}
	// The port comes again. ip_vs keeps the connection, as the template controls it; for
	// the real server it is another, whose numbers are behind all it has seen.
	a.finish(t)
	seen := a.c.Seq + a.delta
	again := r.open(t, 0, 4000)
	if again.lip != a.lip || again.s.Local != a.s.Local || int32(again.c.Seq-1+again.delta-seen) <= 0 {
		t.Errorf("the second connection is %v to %v from %#x, want %v to %v, behind %#x", again.lip, again.s.Local, again.c.Seq-1+again.delta, a.lip, a.s.Local, seen)
	}
	again.talk(t)
	if n := len(r.conns(t)); n != 3 {
		t.Errorf("the extension lists %d connections, want 3", n)
	}
	for _, f := range []*flow{again, b} {
		f.request(t, f.c.Reset())
	}
	time.Sleep(90 * time.Second)
	// Over: the scheduler chooses again, and that stays for the next.
	c := r.open(t, 0, 4002)
	if d := r.open(t, 0, 4003); d.s.Local != c.s.Local {
		t.Errorf("a new template gave %v and %v", c.s.Local, d.s.Local)
	}
}

func caseTSKeep(t *testing.T, r *rig) {
	r.serve(t, setup{more: ipvs.Ext{Set: ipvs.ExtFieldTSMode, TSMode: ipvs.TSKeep}})
	f, syn := r.start(t, 0, 4000)
	f.strip = false
	f.meet(t, syn)
	f.reply(t, f.s.Syn(testpkt.Timestamps(9, 0x11223344)))
	f.c.Options = testpkt.Options(testpkt.NOP(), testpkt.NOP(), testpkt.Timestamps(0x11223345, 9))
	f.request(t, f.c.Bare())
	f.talk(t)
}

// Timestamps of clients with unrelated clocks become those of one clock, and each
// client gets its own echoed.
func caseTSRebase(t *testing.T, r *rig) {
	r.serve(t, setup{more: ipvs.Ext{Set: ipvs.ExtFieldTSMode, TSMode: ipvs.TSRebase}})
	var last uint32
	for i, clock := range []uint32{0xf0000000, 5, 0x80000000} {
		f, syn := r.start(t, i, 4000, testpkt.MSS(1460), testpkt.Timestamps(clock, 0))
		f.strip = false
		got := r.back.Recv(t)
		ts := tsOf(t, got)
		shift := ts[0] - clock
		f.learn(t, syn, got)
		want := f.toRS(syn)
		want.Options = testpkt.Options(testpkt.MSS(1460), testpkt.Timestamps(clock+shift, 0))
		if d := testpkt.Diff(want, got); d != "" {
			t.Fatal(d)
		}
		if i > 0 && int32(ts[0]-last) < 0 {
			t.Errorf("client %d shows the real server %d, before it was %d", i+1, ts[0], last)
		}
		last = ts[0]
		p := f.s.Syn(testpkt.MSS(1400), testpkt.Timestamps(77, ts[0]))
		r.back.Send(t, p)
		back := f.toClient(p)
		back.Options = testpkt.Options(testpkt.MSS(1400), testpkt.Timestamps(77, clock))
		r.front.Expect(t, back)
		f.c.Took(back)
		ack := f.c.Data("x")
		ack.Options = testpkt.Options(testpkt.NOP(), testpkt.NOP(), testpkt.Timestamps(clock+10, 77))
		r.front.Send(t, ack)
		w := f.toRS(ack)
		w.Options = testpkt.Options(testpkt.NOP(), testpkt.NOP(), testpkt.Timestamps(clock+10+shift, 77))
		r.back.Expect(t, w)
		time.Sleep(20 * time.Millisecond)
	}
}

func tsOf(t *testing.T, p testpkt.Packet) [2]uint32 {
	t.Helper()
	v, ok := p.Option(8)
	if !ok {
		t.Fatalf("no timestamps in\n%v", p)
	}
	be := func(b []byte) uint32 {
		return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	}
	return [2]uint32{be(v), be(v[4:])}
}

func caseMSSClamp(t *testing.T, r *rig) {
	r.serve(t, setup{more: ipvs.Ext{Set: ipvs.ExtFieldMSSClamp, MSSClamp: 1200}})
	f, syn := r.start(t, 0, 4000, testpkt.MSS(1460))
	got := r.back.Recv(t)
	f.learn(t, syn, got)
	want := f.toRS(syn)
	want.Options = testpkt.MSS(1200)
	if d := testpkt.Diff(want, got); d != "" {
		t.Error(d)
	}
	p := f.s.Syn(testpkt.MSS(1400))
	r.back.Send(t, p)
	w := f.toClient(p)
	w.Options = testpkt.MSS(1200)
	r.front.Expect(t, w)
	// A smaller one stays.
	g, syn := r.start(t, 1, 4000, testpkt.MSS(536))
	g.meet(t, syn)
}

func caseRST(t *testing.T, r *rig) {
	r.serve(t, setup{})
	a, b := r.open(t, 0, 4000), r.open(t, 1, 4000)
	a.request(t, a.c.Reset())
	b.reply(t, b.s.Reset())
	for _, c := range r.conns(t) {
		if c.State != "CLOSE" {
			t.Errorf("after RST the connection is in %s", c.State)
		}
	}
	time.Sleep(12 * time.Second)
	if n := len(r.conns(t)); n != 0 {
		t.Errorf("%d connections 12 s after RST, want 0: CLOSE is 10 s", n)
	}
}

// What a client claims about itself in a TOA option never reaches a real server.
func caseForgedTOA(t *testing.T, r *rig) {
	r.serve(t, setup{})
	kinds := []uint8{254, 253, 252, 200}
	forged := netip.MustParseAddrPort("203.0.113.66:666")
	forged6 := netip.MustParseAddrPort("[2001:db8:bad::1]:666")
	for i, kind := range kinds {
		for j, opts := range [][]byte{
			testpkt.Options(testpkt.TOA(kind, forged)),
			testpkt.Options(testpkt.TOA(kind, forged6)),
			testpkt.Options(testpkt.NOP(), testpkt.NOP(), testpkt.Timestamps(1, 2), testpkt.TOA(kind, forged)),
			testpkt.Options(testpkt.TOA(kind, forged), testpkt.TOA(kind, forged6)),
			testpkt.Options(testpkt.NOP(), testpkt.TOA(kind, forged)),
		} {
			f, syn := r.start(t, i, 4000+uint16(j), testpkt.MSS(1460), testpkt.TOA(kind, forged))
			got := r.back.Recv(t)
			f.learn(t, syn, got)
			f.checkNoTOA(t, syn, got)
			f.reply(t, f.s.Syn(testpkt.MSS(1400)))
			p := f.c.Bare()
			p.Options = opts
			r.front.Send(t, p)
			f.checkNoTOA(t, p, r.back.Recv(t))
		}
	}
}

// checkNoTOA: got is sent as the real server must see it, with NOPs for the
// option.
func (f *flow) checkNoTOA(t *testing.T, sent, got testpkt.Packet) {
	t.Helper()
	want := f.toRS(sent)
	eachOption(want.Options, func(o []byte) {
		switch o[0] {
		case 254, 253, 252, 200:
			copy(o, strings.Repeat("\x01", len(o)))
		}
	})
	if d := testpkt.Diff(want, got); d != "" {
		t.Errorf("a forged option: %s", d)
	}
}

// Packets that are not what they say are dropped, and nothing else happens.
func caseMalformed(t *testing.T, r *rig) {
	r.serve(t, setup{})
	f := r.open(t, 0, 4000)
	for name, o := range map[string][]byte{
		"length 0":         {1, 1, 99, 0},
		"length 1":         {99, 1, 1, 1},
		"over the end":     {1, 1, 99, 8},
		"sack over":        {1, 1, 5, 34},
		"short timestamps": {8, 2, 1, 1},
	} {
		p := f.c.Bare()
		p.Options = o
		r.front.Send(t, p)
		if d := testpkt.Diff(f.toRS(p), r.back.Recv(t)); d != "" {
			t.Errorf("%s: not passed on unchanged:\n%s", name, d)
		}
	}
	f.talk(t)
}
