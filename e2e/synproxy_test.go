// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testpkt"
	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/ipvs/uapi"
)

// TestSynproxy: SYN cookies, the handshake with the real server, and what becomes
// of packets between two ends that never agreed on their numbers.
func TestSynproxy(t *testing.T) {
	needOurs(t)
	for _, c := range []struct {
		name string
		run  func(*testing.T, *rig)
	}{
		{"36_synack", caseSPSynAck},
		{"36_options", caseSPOptions},
		{"38_bad_ack", caseSPBadAck},
		{"38_policies", caseSPPolicies},
		{"39_old_cookie", caseSPOldCookie},
		{"40_server_syn", caseSPServerSyn},
		{"41_early_data", caseSPEarlyData},
		{"41_queue", caseSPQueue},
		{"41_queue_bytes", caseSPQueueBytes},
		{"42_server_closed", caseSPServerClosed},
		{"43_server_mute", caseSPServerMute},
		{"43_server_mute_longest", caseSPServerMuteLongest},
		{"43_server_slow", caseSPServerSlow},
		{"44_banner", caseSPBanner},
		{"45_sack", caseSPSack},
		{"45_wrap", caseSPWrap},
		{"46_scales", caseSPScales},
		{"46_bare_server", caseSPBareServer},
		{"46_timestamps", caseSPTimestamps},
		{"47_reuse", caseSPReuse},
		{"47_reuse_mode_0", caseSPReuseMode},
		{"47_reuse_near", caseSPReuseNear},
		{"48_spoofed_syn", caseSPSpoofedSyn},
		{"49_shared_key", caseSPSharedKey},
		{"50_zero_window", caseSPZeroWindow},
		{"51_rotation", caseSPRotation},
		{"52_refusals", caseSPRefusals},
		{"53_too_big", caseSPTooBig},
		{"54_nat", caseSPNat},
		{"54_nat_handshakes", caseSPNatHandshakes},
		{"56_toa", caseSPToa},
		{"auto", caseSPAuto},
		{"client_reset", caseSPClientReset},
		{"defer", caseSPDefer},
		{"no_dest", caseSPNoDest},
		{"failing", caseSPFailing},
		{"overloaded", caseSPOverloaded},
		{"per_service", caseSPPerService},
		{"storm", caseSPStorm},
		{"stray", caseSPStray},
	} {
		each(t, c.name, c.run)
	}
}

// proxy is a setup with SYN proxy, changed by more.
type proxy struct {
	setup
	nat bool // no FNAT: the real server sees the client, and replies pass by FORWARD
	sp  ipvs.Synproxy
	set ipvs.ExtField // fields of sp
}

// Defaults of a service (docs/synproxy.md).
const (
	spWindow = 14600
	spWScale = 7
	rsWScale = 9 // of the test's real servers
)

// proxied makes the service.
func (r *rig) proxied(t *testing.T, p proxy) ipvs.ServiceKey {
	t.Helper()
	p.more.Set |= p.set | ipvs.ExtFieldFlags
	p.more.SP = p.sp
	p.more.Flags |= ipvs.ExtSynproxy
	p.more.FlagsMask |= p.more.Flags
	if !p.nat {
		return r.serve(t, p.setup)
	}
	testnet.Must(t, r.d.Sysctl("net.ipv4.ip_forward", "1"), r.d.Sysctl("net.ipv6.conf.all.forwarding", "1"))
	p.plain = true
	key := r.serve(t, p.setup)
	p.more.Flags |= p.ext
	p.more.FlagsMask |= p.ext
	r.apply(t, ipvs.Op{Kind: ipvs.SetExt, Service: ipvs.Service{ServiceKey: key}, Ext: p.more})
	return key
}

// mss is what both ends of a link of 1500 bytes offer.
func (f fam) mss() uint16 {
	if f.v6() {
		return 1440
	}
	return 1460
}

// spFlow is a flow whose client has a cookie.
type spFlow struct {
	*flow
	isn, cookie uint32
	nat         bool
	scaled      bool     // as are window scales
	ws          int      // the client's
	opts        [][]byte // what the SYN to the real server must have
}

// knock sends the SYN of client n and takes the cookie, all of which is
// compared: opts are the options that it must have.
func (r *rig) knock(t *testing.T, n int, cport uint16, syn, opts [][]byte) *spFlow {
	t.Helper()
	f, got := r.tryKnock(t, n, cport, syn)
	want := testpkt.Packet{
		Src: f.vip, Dst: f.c.Local, Proto: testpkt.TCP, TTL: 64, DF: !r.v6(), Flags: testpkt.SYN | testpkt.ACK,
		Seq: got.Seq, Ack: f.isn + 1, Window: spWindow, Options: testpkt.Options(opts...),
	}
	if d := testpkt.Diff(want, got); d != "" {
		t.Fatalf("the cookie differs:\n%s", d)
	}
	return f
}

// tryKnock is knock without a look at what comes.
func (r *rig) tryKnock(t *testing.T, n int, cport uint16, syn [][]byte) (*spFlow, testpkt.Packet) {
	t.Helper()
	f := &spFlow{flow: &flow{r: r, vip: netip.AddrPortFrom(r.vip, 80)}}
	f.c = testpkt.NewPeer(netip.AddrPortFrom(r.cip[n], cport), f.vip, 0xfffffff0+1000*uint32(n)+uint32(cport))
	f.isn = f.c.Seq
	r.front.Send(t, f.c.Syn(syn...))
	got := r.front.Recv(t)
	f.cookie = got.Seq
	f.c.Took(got)
	return f, got
}

// cookieOptions is what a Linux client gets by default.
func cookieOptions(f fam) [][]byte {
	return [][]byte{testpkt.MSS(f.mss()), testpkt.SACKPermitted(), testpkt.NOP(), testpkt.NOP(), testpkt.NOP(), testpkt.WScale(spWScale)}
}

// serverOptions is what the real server is offered for that client.
func serverOptions(f fam) [][]byte { return cookieOptions(f) }

// linux is knock with a client like Linux at a service with defaults.
func (r *rig) linux(t *testing.T, n int, cport uint16) *spFlow {
	t.Helper()
	f := r.knock(t, n, cport, synOptions(r.fam), cookieOptions(r.fam))
	f.opts, f.scaled, f.ws = serverOptions(r.fam), true, 7
	return f
}

// ack returns the cookie with payload and meets the SYN at the real server.
func (f *spFlow) ack(t *testing.T, payload string) {
	t.Helper()
	p := f.c.Bare()
	if payload != "" {
		p = f.c.Data(payload)
	}
	f.r.front.Send(t, p)
	f.meetServer(t, p)
}

// meetServer takes the SYN that the ACK p has caused.
func (f *spFlow) meetServer(t *testing.T, p testpkt.Packet) {
	t.Helper()
	got := f.r.back.Recv(t)
	syn := testpkt.Packet{
		Src: p.Src, Dst: p.Dst, Proto: testpkt.TCP, TTL: p.TTL, DF: p.DF, Flags: testpkt.SYN, Seq: f.isn,
		Window: p.Window, Options: testpkt.Options(f.opts...),
	}
	if f.scaled {
		syn.Window = shifted(p.Window, f.ws)
	}
	if f.nat {
		f.lip, f.delta = got.Src, got.Seq-f.isn
		if f.lip != f.c.Local || f.delta != 0 {
			t.Fatalf("not the client's own address and number:\n%v", got)
		}
		f.s = testpkt.NewPeer(got.Dst, got.Src, 900000)
		f.s.Took(got)
	} else {
		f.learn(t, syn, got)
	}
	if d := testpkt.Diff(f.toRS(syn), got); d != "" {
		t.Fatalf("SYN at the real server differs:\n%s", d)
	}
}

// accept plays the real server's SYN/ACK: the ACK that must follow, unless held
// has what follows in its place, and the client's new window.
func (f *spFlow) accept(t *testing.T, held ...testpkt.Packet) {
	t.Helper()
	f.acceptWith(t, f.s.Syn(testpkt.MSS(1400), testpkt.SACKPermitted(), testpkt.NOP(), testpkt.WScale(rsWScale)), rsWScale, held...)
}

// acceptWith is accept with that SYN/ACK; ws is its scale, -1 for none.
func (f *spFlow) acceptWith(t *testing.T, synack testpkt.Packet, ws int, held ...testpkt.Packet) {
	t.Helper()
	f.sp = f.cookie - synack.Seq
	ours := 0
	if f.scaled {
		ours = spWScale
	}
	switch {
	case f.scaled && ws >= 0:
		f.winOut = ws - spWScale
	case f.scaled:
		f.winIn, f.winOut = f.ws, -spWScale
	}
	f.r.back.Send(t, synack)
	if len(held) == 0 {
		p := f.c.Segment(testpkt.ACK, "")
		p.Seq, p.Ack = f.isn+1, f.cookie+1
		p.DF = !f.r.v6()
		held = []testpkt.Packet{p}
	}
	for _, p := range held {
		want := f.toRS(p)
		f.r.back.Expect(t, want)
		f.s.Took(want)
	}
	f.r.front.Expect(t, testpkt.Packet{
		Src: f.vip, Dst: f.c.Local, Proto: testpkt.TCP, TTL: 64, DF: !f.r.v6(), Flags: testpkt.ACK,
		Seq: f.cookie + 1, Ack: f.isn + 1, Window: shifted(synack.Window, -ours),
	})
}

// established is a connection that SYN proxy made, up to the end of both
// handshakes.
func (r *rig) established(t *testing.T, n int, cport uint16, nat bool) *spFlow {
	t.Helper()
	f := r.linux(t, n, cport)
	f.nat = nat
	f.ack(t, "")
	f.accept(t)
	return f
}

// sameScale is established with a server whose scale is the cookie's: windows stay
// as they are, and so do those in what ICMP errors quote.
func (r *rig) sameScale(t *testing.T, n int, cport uint16, nat bool) *spFlow {
	t.Helper()
	f := r.linux(t, n, cport)
	f.nat = nat
	f.ack(t, "")
	f.acceptWith(t, f.s.Syn(testpkt.MSS(1400), testpkt.SACKPermitted(), testpkt.NOP(), testpkt.WScale(spWScale)), spWScale)
	return f
}

// A SYN is answered and leaves nothing behind.
func caseSPSynAck(t *testing.T, r *rig) {
	r.proxied(t, proxy{})
	noConnections(t) // of namespaces that go
	f := r.linux(t, 0, 4000)
	r.back.Quiet(t)
	if n := len(r.conns(t)); n != 0 {
		t.Errorf("%d connections, want none", n)
	}
	if n := slabObjects(t, "ip_vs_x_conn"); n != 0 {
		t.Errorf("%d connections in memory", n)
	}
	if n := slabObjects(t, "ip_vs_x_sp"); n != 0 {
		t.Errorf("%d pending handshakes in memory", n)
	}
	if got := f.cookie & 0xff; got != 7<<4|8|6 {
		t.Errorf("the cookie says %#x of the options", got)
	}
	r.counts(t, map[uint16]uint64{uapi.ExtStatSpSyn: 1, uapi.ExtStatSpSynack: 1, uapi.ExtStatSpAckOk: 0})
	// the same again is the same cookie, as long as t stays; another client's is not
	g := r.linux(t, 1, 4000)
	if f.cookie>>10 == g.cookie>>10 {
		t.Errorf("two clients got one cookie %#x", f.cookie)
	}
}

func caseSPServerSyn(t *testing.T, r *rig) {
	r.proxied(t, proxy{})
	f := r.linux(t, 0, 4000)
	f.ack(t, "")
	all := r.conns(t)
	if len(all) != 1 || all[0].State != "SYN_RECV" {
		t.Fatalf("connections %+v, want one in SYN_RECV", all)
	}
	f.accept(t)
	f.talk(t)
	f.reply(t, f.s.Data(strings.Repeat("a", 700)))
	f.request(t, f.c.Bare())
	if all = r.conns(t); len(all) != 1 || all[0].State != "ESTABLISHED" || all[0].SPDelta != f.sp || all[0].ISNDelta != f.delta {
		t.Errorf("connections %+v, want one that is established with %#x and %#x", all, f.delta, f.sp)
	}
	f.finish(t)
	r.counts(t, map[uint16]uint64{uapi.ExtStatSpAckOk: 1, uapi.ExtStatSpRsSyn: 1, uapi.ExtStatSpDone: 1, uapi.ExtStatSpRsRetrans: 0,
		uapi.ExtStatSpAckBad: 0})
	noneLeft(t, "ip_vs_x_sp")
}

// noneLeft waits for the last object of a cache: they are freed by RCU.
func noneLeft(t *testing.T, cache string) {
	t.Helper()
	testnet.Eventually(t, 2*time.Second, func() error { return left(t, cache) })
}

// left says how many objects of a cache there are, unless there is none.
func left(t *testing.T, cache string) error {
	t.Helper()
	if n := slabObjects(t, cache); n != 0 {
		return fmt.Errorf("%d objects of %s in memory, want none", n, cache)
	}
	return nil
}

// What a client may be offered, and what the real server hears of him then.
func caseSPOptions(t *testing.T, r *rig) {
	key := r.proxied(t, proxy{})
	set := func(field ipvs.ExtField, sp ipvs.Synproxy) {
		t.Helper()
		r.apply(t, ipvs.Op{Kind: ipvs.SetExt, Service: ipvs.Service{ServiceKey: key}, Ext: ipvs.Ext{Set: field, SP: sp}})
	}
	nop := testpkt.NOP()
	mss := func(n uint16) []byte { return testpkt.MSS(n) }
	v6 := uint16(0)
	if r.v6() {
		v6 = 20
	}
	sack4 := [][]byte{testpkt.SACKPermitted(), nop, nop}
	ws := func(n uint8) [][]byte { return [][]byte{nop, testpkt.WScale(n)} }
	join := func(first []byte, more ...[][]byte) [][]byte {
		return append([][]byte{first}, slices.Concat(more...)...)
	}
	port := uint16(4000)
	try := func(name string, syn, cookie, server [][]byte) {
		t.Helper()
		port++
		f := r.knock(t, 0, port, syn, cookie)
		f.opts = server
		if last := server[len(server)-1]; last[0] == 3 {
			f.scaled, f.ws = true, int(last[2])
		}
		f.ack(t, "")
		if t.Failed() {
			t.Fatalf("that was with %s", name)
		}
	}
	own := mss(r.mss())
	try("a client without options", nil, join(own), join(mss(536-v6)))
	try("an MSS between two of the table", [][]byte{mss(1410)}, join(own), join(mss(1400-v6)))
	try("a large MSS", [][]byte{mss(9000)}, join(own), join(mss(8960-v6)))
	try("SACK alone", join(own, sack4), join(own, sack4), join(own, sack4))
	try("a scale of 0", join(own, ws(0)), join(own, ws(spWScale)), join(own, ws(0)))
	try("a scale larger than any", join(own, ws(200)), join(own, ws(spWScale)), join(own, ws(14)))
	set(ipvs.ExtFieldSPMSS, ipvs.Synproxy{MSS: 1000})
	try("SP_MSS", [][]byte{own}, join(mss(1000)), join(own))
	set(ipvs.ExtFieldSPMSS, ipvs.Synproxy{})
	set(ipvs.ExtFieldSPWScale, ipvs.Synproxy{WScale: ipvs.SPWScaleOff})
	try("SP_WSCALE off", join(own, ws(7)), join(own), join(own))
	set(ipvs.ExtFieldSPWScale, ipvs.Synproxy{WScale: 3})
	try("SP_WSCALE 3", join(own, ws(7)), join(own, ws(3)), join(own, ws(7)))
	set(ipvs.ExtFieldSPOpts, ipvs.Synproxy{OptsMask: ipvs.SPOptSACK})
	try("SACK off", join(own, sack4), join(own), join(own))
	// a cookie has its own TTL and window
	set(ipvs.ExtFieldSPTTL|ipvs.ExtFieldSPWindow, ipvs.Synproxy{TTL: 200, Window: 777})
	_, got := r.tryKnock(t, 3, 4000, nil)
	if got.TTL != 200 || got.Window != 777 {
		t.Errorf("TTL %d and window %d, want 200 and 777", got.TTL, got.Window)
	}
}

// ack without a cookie: the service's policy, as for every stray packet. On a
// service without SYN proxy nobody looks for one.
func caseSPBadAck(t *testing.T, r *rig) {
	key := r.proxied(t, proxy{})
	f := r.linux(t, 0, 4000)
	bad := func(change func(p *testpkt.Packet)) {
		t.Helper()
		p := f.c.Bare()
		change(&p)
		r.front.Send(t, p)
		expectReset(t, r.front, p) // the director's own stack
		r.back.Quiet(t)
	}
	bad(func(p *testpkt.Packet) { p.Ack++ })
	bad(func(p *testpkt.Packet) { p.Seq++ })
	bad(func(p *testpkt.Packet) { p.Ack += 1 << 10 })
	bad(func(p *testpkt.Packet) { p.Ack ^= 1 << 31 })
	bad(func(p *testpkt.Packet) { p.Ack ^= 8 }) // says no SACK
	bad(func(p *testpkt.Packet) { p.Src = netip.AddrPortFrom(p.Src.Addr(), 4001) })
	bad(func(p *testpkt.Packet) { p.Src = netip.AddrPortFrom(r.cip[1], 4000) })
	r.counts(t, map[uint16]uint64{uapi.ExtStatSpAckBad: 7, uapi.ExtStatSpAckOk: 0})
	p := f.c.Bare()
	p.Sum = testpkt.SumBad
	r.front.Send(t, p)
	r.front.Quiet(t)
	r.back.Quiet(t)
	if n := len(r.conns(t)); n != 0 {
		t.Errorf("%d connections, want none", n)
	}
	// switched off, the good one is as stray as the others; also while another service
	// has cookies
	other := r.key(ipvs.TCP, 81)
	var on, off ipvs.Ext
	on.SetSynproxy(ipvs.SynproxyOn)
	r.apply(t, r.addService(other, 0, ""), ipvs.Op{Kind: ipvs.SetExt, Service: ipvs.Service{ServiceKey: other}, Ext: on})
	off.SetSynproxy(ipvs.SynproxyOff)
	r.apply(t, ipvs.Op{Kind: ipvs.SetExt, Service: ipvs.Service{ServiceKey: key}, Ext: off})
	before := r.stat(t, uapi.ExtStatSpAckBad)
	bad(func(*testpkt.Packet) {})
	if n := r.stat(t, uapi.ExtStatSpAckBad); n != before {
		t.Errorf("%d cookies were looked for on a service without SYN proxy", n-before)
	}
}

// What becomes of an ACK without a cookie is the service's to say; one with a cookie
// is welcome under each policy.
func caseSPPolicies(t *testing.T, r *rig) {
	key := r.proxied(t, proxy{})
	for i, policy := range []ipvs.InvalidPolicy{ipvs.InvalidDrop, ipvs.InvalidRST} {
		r.apply(t, ipvs.Op{Kind: ipvs.SetExt, Service: ipvs.Service{ServiceKey: key}, Ext: ipvs.Ext{Set: ipvs.ExtFieldInvalid, Invalid: policy}})
		f := r.linux(t, i, 4000)
		p := f.c.Bare()
		p.Ack++
		r.front.Send(t, p)
		if policy == ipvs.InvalidDrop {
			r.front.Quiet(t)
			r.counts(t, map[uint16]uint64{uapi.ExtStatSpAckBad: 1, uapi.ExtStatInvalidDrop: 1, uapi.ExtStatInvalidRst: 0})
		} else {
			expectReset(t, r.front, p)
			r.counts(t, map[uint16]uint64{uapi.ExtStatSpAckBad: 2, uapi.ExtStatInvalidDrop: 1, uapi.ExtStatInvalidRst: 1})
		}
		r.back.Quiet(t)
		f.ack(t, "")
		f.accept(t)
		f.talk(t)
	}
}

// A cookie lives for the step of 64 s it was made in, and the next.
func caseSPOldCookie(t *testing.T, r *rig) {
	r.proxied(t, proxy{})
	f := r.linux(t, 0, 4000)
	time.Sleep(63 * time.Second)
	f.ack(t, "")
	f.accept(t)
	g := r.linux(t, 1, 4000)
	time.Sleep(129 * time.Second)
	p := g.c.Bare()
	r.front.Send(t, p)
	expectReset(t, r.front, p)
	r.counts(t, map[uint16]uint64{uapi.ExtStatSpAckOk: 1, uapi.ExtStatSpAckBad: 1})
	// nor when t has gone round to where it was
	time.Sleep(127 * time.Second)
	r.front.Send(t, p)
	expectReset(t, r.front, p)
	r.back.Quiet(t)
}

// Data that comes before the real server has answered is delivered once, in order.
func caseSPEarlyData(t *testing.T, r *rig) {
	r.proxied(t, proxy{})
	f := r.linux(t, 0, 4000)
	first := f.c.Data("GET / HTTP/1.1\r\n")
	r.front.Send(t, first)
	f.meetServer(t, first)
	second, bare := f.c.Data("Host: example\r\n\r\n"), f.c.Bare()
	far := f.c.Bare()
	far.Seq += 70000
	far.Payload = []byte("outside of the window")
	r.front.Send(t, second, bare, far, f.c.Fin())
	f.c.Seq--
	r.back.Quiet(t)
	f.accept(t, first, second)
	r.back.Quiet(t)
	f.reply(t, f.s.Data("200 OK"))
	f.finish(t)
	r.counts(t, map[uint16]uint64{uapi.ExtStatSpQueued: 2, uapi.ExtStatSpQdrop: 0, uapi.ExtStatSpDone: 1})

	// one GSO packet of many segments is held as one
	g := r.linux(t, 1, 4000)
	big := g.c.Data(strings.Repeat("q", 14000))
	big.Sum, big.GSO = testpkt.SumPartial, 1400
	r.front.Send(t, big)
	g.meetServer(t, big)
	g.accept(t, big)
	g.reply(t, g.s.Data("200 OK"))
}

// The queue has its limits: packets of a connection, bytes of all.
func caseSPQueue(t *testing.T, r *rig) {
	r.proxied(t, proxy{set: ipvs.ExtFieldSPQueue, sp: ipvs.Synproxy{Queue: 2}})
	f := r.linux(t, 0, 4000)
	var all []testpkt.Packet
	for range 4 {
		all = append(all, f.c.Data("some data"))
	}
	r.front.Send(t, all...)
	f.meetServer(t, all[0])
	f.accept(t, all[:2]...)
	r.back.Quiet(t)
	f.request(t, all[2]) // as the client sends it again
	r.counts(t, map[uint16]uint64{uapi.ExtStatSpQueued: 2, uapi.ExtStatSpQdrop: 2})
	r.apply(t, ipvs.Op{Kind: ipvs.SetExtConfig, Config: ipvs.ExtConfig{Set: ipvs.ExtConfigSPQMem, SPQMem: 100}})
	g := r.linux(t, 1, 4000)
	p := g.c.Data("more than 100 bytes with its buffer")
	r.front.Send(t, p)
	g.meetServer(t, p)
	g.c.Seq = p.Seq
	g.accept(t)
	r.counts(t, map[uint16]uint64{uapi.ExtStatSpQueued: 2, uapi.ExtStatSpQdrop: 3})
	g.request(t, p)
}

// 64 KB are held for one client, to the byte; and what was held is not missing from
// the memory for the next, however a handshake has ended.
func caseSPQueueBytes(t *testing.T, r *rig) {
	r.proxied(t, proxy{})
	f := r.linux(t, 0, 4000)
	var all []testpkt.Packet
	for _, n := range []int{30000, 35535, 1} {
		p := f.c.Data(strings.Repeat("q", n))
		if n > 1400 {
			p.Sum, p.GSO = testpkt.SumPartial, 1400
		}
		all = append(all, p)
	}
	r.front.Send(t, all...)
	f.meetServer(t, all[0])
	f.accept(t, all[:2]...)
	r.counts(t, counts{uapi.ExtStatSpQueued: 2, uapi.ExtStatSpQdrop: 1})
	f.request(t, all[2])

	// Room for a few packets, and 18 that want it one after the other.
	r.apply(t, ipvs.Op{Kind: ipvs.SetExtConfig, Config: ipvs.ExtConfig{Set: ipvs.ExtConfigSPQMem, SPQMem: 4096}})
	for n := range 18 {
		g := r.linux(t, 1+n, 4001)
		p := g.c.Data("early")
		r.front.Send(t, p)
		g.meetServer(t, p)
		switch n % 3 {
		case 0:
			g.accept(t, p)
		case 1:
			r.back.Send(t, g.s.Reset())
			r.front.Expect(t, g.reset(len("early")))
		case 2:
			g.request(t, g.c.Segment(testpkt.RST, ""))
		}
	}
	r.counts(t, counts{uapi.ExtStatSpQueued: 20, uapi.ExtStatSpQdrop: 1})
}

// reset is the RST that a client gets whose connection to a server did not come
// about.
func (f *spFlow) reset(data int) testpkt.Packet {
	return testpkt.Packet{
		Src: f.vip, Dst: f.c.Local, Proto: testpkt.TCP, TTL: 64, DF: !f.r.v6(), Flags: testpkt.RST | testpkt.ACK,
		Seq: f.cookie + 1, Ack: f.isn + 1 + uint32(data),
	}
}

func caseSPServerClosed(t *testing.T, r *rig) {
	r.proxied(t, proxy{})
	f := r.linux(t, 0, 4000)
	f.ack(t, "hello")
	wrong := f.s.Reset()
	wrong.Ack += 5
	r.back.Send(t, wrong) // acknowledges what nobody sent
	r.front.Quiet(t)
	r.back.Send(t, f.s.Reset())
	r.front.Expect(t, f.reset(5))
	if all := r.conns(t); len(all) != 1 || all[0].State != "CLOSE" {
		t.Errorf("connections %+v, want one in CLOSE", all)
	}
	r.counts(t, map[uint16]uint64{uapi.ExtStatSpRsRst: 1, uapi.ExtStatSpDone: 0})
	noneLeft(t, "ip_vs_x_sp")
}

// The SYN comes at 0, 1, 3 and 7 seconds, the RST at 15.
func caseSPServerMute(t *testing.T, r *rig) {
	r.proxied(t, proxy{})
	f := r.linux(t, 0, 4000)
	p := f.c.Data("hello")
	start := time.Now()
	r.front.Send(t, p)
	f.meetServer(t, p)
	at := func(port *testpkt.Port, want testpkt.Packet, when time.Duration) {
		t.Helper()
		got, err := port.Read(20 * time.Second)
		testnet.Must(t, err)
		if d := testpkt.Diff(want, got); d != "" {
			t.Fatal(d)
		}
		// the timer wheel rounds up, by an eighth at most; seconds count from the last tick
		if after := time.Since(start); after < when-10*time.Millisecond || after > when+when/8+100*time.Millisecond {
			t.Errorf("after %v, want %v", after, when)
		}
	}
	syn := testpkt.Packet{
		Src: f.lip, Dst: f.s.Local, Proto: testpkt.TCP, TTL: 63, DF: !r.v6(), Flags: testpkt.SYN, Seq: f.isn + f.delta,
		Window: 65535, Options: testpkt.Options(f.opts...),
	}
	for _, s := range []time.Duration{1, 3, 7} {
		at(r.back, syn, s*time.Second)
	}
	at(r.front, f.reset(5), 15*time.Second)
	r.back.Quiet(t)
	r.counts(t, map[uint16]uint64{uapi.ExtStatSpRsSyn: 1, uapi.ExtStatSpRsRetrans: 3, uapi.ExtStatSpRsTimeout: 1})
	noneLeft(t, "ip_vs_x_sp")
}

// caseSPFailing: that a real server takes no handshakes is an event, once a second and
// service: of one that refuses, and of one that is mute.
func caseSPFailing(t *testing.T, r *rig) {
	key := r.proxied(t, proxy{setup: setup{servers: 2}, set: ipvs.ExtFieldSPRetries, sp: ipvs.Synproxy{SYNRetries: 1}})
	only := func(a, not int) {
		r.apply(t, r.dest(ipvs.SetDest, key, r.rip[a], 1), r.dest(ipvs.SetDest, key, r.rip[not], 0))
	}
	stop := r.listen(t)
	refused := func() {
		t.Helper()
		f := r.linux(t, 0, r.freshPort())
		f.ack(t, "")
		r.back.Send(t, f.s.Reset())
		if p := r.front.Recv(t); p.Flags&testpkt.RST == 0 {
			t.Errorf("the client got\n%v", p)
		}
	}
	only(0, 1)
	refused()
	refused() // told already
	only(1, 0)
	f := r.linux(t, 0, r.freshPort())
	f.ack(t, "")
	for _, port := range []*testpkt.Port{r.back, r.front} { // the SYN again, and the end
		_, err := port.Read(20 * time.Second)
		testnet.Must(t, err)
	}
	want := []string{fmt.Sprint("rs_fail ", r.rip[0]), fmt.Sprint("rs_fail ", r.rip[1])}
	var told []string
	for _, e := range stop() {
		told = append(told, fmt.Sprint(e.Kind, " ", e.Dest.Addr))
		if e.Service != key || e.Dest.Port != rport || e.Dest.Family != key.Family {
			t.Errorf("event %+v", e)
		}
	}
	if !slices.Equal(told, want) {
		t.Errorf("events %q, want %q", told, want)
	}
	r.counts(t, map[uint16]uint64{uapi.ExtStatSpRsRst: 2, uapi.ExtStatSpRsTimeout: 1})
}

// Eight SYNs again are the most, and 32 s the longest wait. The connection outlives
// the minute that ip_vs gives to half-open ones.
func caseSPServerMuteLongest(t *testing.T, r *rig) {
	r.proxied(t, proxy{set: ipvs.ExtFieldSPRetries, sp: ipvs.Synproxy{SYNRetries: 8}})
	f := r.linux(t, 0, 4000)
	start := time.Now()
	f.ack(t, "")
	due := time.Duration(0)
	for _, wait := range []time.Duration{1, 2, 4, 8, 16, 32, 32, 32, 32} {
		due += wait * time.Second
		port, want := r.back, testpkt.SYN
		if due > 150*time.Second {
			port, want = r.front, testpkt.RST|testpkt.ACK
		}
		got, err := port.Read(time.Minute)
		testnet.Must(t, err)
		// the timer wheel rounds up, by an eighth at most
		if after := time.Since(start); got.Flags != want || after < due-50*time.Millisecond || after > due+due/8+time.Second {
			t.Errorf("%v after %v, want %v after %v", got.Flags, after, want, due)
		}
	}
	r.back.Quiet(t)
	r.counts(t, counts{uapi.ExtStatSpRsRetrans: 8, uapi.ExtStatSpRsTimeout: 1})
}

// A slow server answers the second SYN; what was held is not late.
func caseSPServerSlow(t *testing.T, r *rig) {
	r.proxied(t, proxy{})
	f := r.linux(t, 0, 4000)
	p := f.c.Data("hello")
	r.front.Send(t, p)
	f.meetServer(t, p)
	_, err := r.back.Read(2 * time.Second)
	testnet.Must(t, err)
	f.accept(t, p)
	f.talk(t)
	// its first SYN/ACK, late: it is the client's to answer
	again := f.s.Syn(testpkt.MSS(1400))
	again.Seq = 900000
	f.s.Seq--
	f.reply(t, again)
	time.Sleep(5 * time.Second)
	r.back.Quiet(t)
}

// Who speaks first is the server.
func caseSPBanner(t *testing.T, r *rig) {
	r.proxied(t, proxy{})
	f := r.established(t, 0, 4000, false)
	f.reply(t, f.s.Data("220 mail.example ESMTP\r\n"))
	f.request(t, f.c.Data("EHLO client\r\n"))
	f.reply(t, f.s.Data("250 mail.example\r\n"))
	f.finish(t)
}

// sack has the server send lost behind late: in between the client tells what he has.
func (f *spFlow) sack(t *testing.T, lost, late string) {
	t.Helper()
	first, second := f.s.Data(lost), f.s.Data(late)
	f.reply(t, second)
	p := f.c.Bare()
	p.Ack = f.cookie + 1
	p.Options = testpkt.Options(testpkt.NOP(), testpkt.NOP(), testpkt.SACK(second.Seq+f.sp, second.Seq+f.sp+uint32(len(late))))
	f.request(t, p)
	f.reply(t, first)
}

// SACK blocks of either side name bytes of the other, in its own numbers.
func caseSPSack(t *testing.T, r *rig) {
	r.proxied(t, proxy{})
	f := r.established(t, 0, 4000, false)
	f.sack(t, "lost", "late")
	lost := f.c.Data("lost")
	late := f.c.Data("late")
	f.request(t, late)
	q := f.s.Bare()
	q.Ack = lost.Seq + f.delta
	q.Options = testpkt.Options(testpkt.NOP(), testpkt.NOP(), testpkt.SACK(late.Seq+f.delta, late.Seq+f.delta+4))
	f.reply(t, q)
	f.request(t, lost)
	f.talk(t)
}

// Numbers of both sides begin just below 2^32: data that is held, the window that it
// must lie in, and SACK blocks pass over it.
func caseSPWrap(t *testing.T, r *rig) {
	r.proxied(t, proxy{})
	f := r.linux(t, 0, 12) // see tryKnock
	if f.isn != 0xfffffffc {
		t.Fatalf("the client begins with %#x", f.isn)
	}
	first := f.c.Data("GET / HTTP/1.1\r\n")
	second := f.c.Data("Host: example\r\n\r\n")
	r.front.Send(t, first, second)
	f.meetServer(t, first)
	f.s.Seq = 0xfffffff8
	f.accept(t, first, second)
	r.counts(t, counts{uapi.ExtStatSpQueued: 2, uapi.ExtStatSpQdrop: 0})
	f.sack(t, "all of", "200 OK")
	f.talk(t)
	f.finish(t)
}

// The client was told a scale before anybody knew the server's.
func caseSPScales(t *testing.T, r *rig) {
	r.proxied(t, proxy{})
	for i, ws := range []int{-1, 0, 3, 7, 14} {
		f := r.linux(t, i, 4000)
		f.ack(t, "")
		opts := [][]byte{testpkt.MSS(1400)}
		if ws >= 0 {
			opts = append(opts, testpkt.NOP(), testpkt.WScale(uint8(ws)))
		}
		f.acceptWith(t, f.s.Syn(opts...), ws)
		for _, win := range []uint16{0, 1, 127, 128, 500, 40000, 65535} {
			f.s.Window, f.c.Window = win, win
			f.talk(t)
		}
	}
	// a client without scaling, and a server that would have it
	f := r.knock(t, 9, 4000, [][]byte{testpkt.MSS(r.mss())}, [][]byte{testpkt.MSS(r.mss())})
	f.opts = [][]byte{testpkt.MSS(r.mss())}
	f.ack(t, "")
	f.acceptWith(t, f.s.Syn(testpkt.MSS(1400)), -1)
	f.talk(t)
}

// With timestamps both ends have clocks that the other never saw.
func caseSPTimestamps(t *testing.T, r *rig) {
	r.proxied(t, proxy{
		setup: setup{more: ipvs.Ext{Set: ipvs.ExtFieldTSMode, TSMode: ipvs.TSKeep}},
		set:   ipvs.ExtFieldSPOpts, sp: ipvs.Synproxy{Opts: ipvs.SPOptTS, OptsMask: ipvs.SPOptTS},
	})
	f, got := r.tryKnock(t, 0, 4000, synOptions(r.fam))
	f.strip, f.scaled, f.ws = false, true, 7
	ts, ok := got.Option(8)
	if !ok || binary.BigEndian.Uint32(ts[4:]) != 0x11223344 {
		t.Fatalf("the cookie does not echo the client's clock:\n%v", got)
	}
	ours := binary.BigEndian.Uint32(ts)
	const clock, rsClock = 0x11223390, 5000
	stamp := func(val, ecr uint32) []byte {
		return testpkt.Options(testpkt.NOP(), testpkt.NOP(), testpkt.Timestamps(val, ecr))
	}
	f.c.Options = stamp(clock, ours+1)
	r.front.Send(t, f.c.Bare())
	r.front.Drain() // of the director's own stack: not the clock that it was told
	r.back.Quiet(t)
	f.c.Options = stamp(clock, ours)
	p := f.c.Data("GET /")
	f.opts = [][]byte{testpkt.MSS(r.mss()), testpkt.SACKPermitted(), testpkt.Timestamps(clock, 0), testpkt.NOP(), testpkt.WScale(7)}
	r.front.Send(t, p)
	f.meetServer(t, p)
	f.sp, f.tsp, f.winOut = f.cookie-f.s.Seq, ours-rsClock, rsWScale-spWScale
	r.back.Send(t, f.s.Syn(testpkt.MSS(1400), testpkt.SACKPermitted(), testpkt.Timestamps(rsClock, clock), testpkt.NOP(), testpkt.WScale(rsWScale)))
	r.back.Expect(t, f.toRS(p))
	f.s.Took(f.toRS(p))
	r.front.Expect(t, testpkt.Packet{
		Src: f.vip, Dst: f.c.Local, Proto: testpkt.TCP, TTL: 64, DF: !r.v6(), Flags: testpkt.ACK,
		Seq: f.cookie + 1, Ack: f.isn + 1, Window: 65000 >> spWScale, Options: stamp(ours, clock),
	})
	f.s.Options = stamp(rsClock+7, clock)
	f.reply(t, f.s.Data("200 OK"))
	f.c.Options = stamp(clock+9, ours+7)
	f.request(t, f.c.Data("more"))
	f.finish(t)
}

// The real server knows no option at all, and the cookie had them all: windows fit, and
// neither end's numbers change that are not its own.
func caseSPBareServer(t *testing.T, r *rig) {
	r.proxied(t, proxy{
		setup: setup{more: ipvs.Ext{Set: ipvs.ExtFieldTSMode, TSMode: ipvs.TSKeep}},
		set:   ipvs.ExtFieldSPOpts, sp: ipvs.Synproxy{Opts: ipvs.SPOptTS, OptsMask: ipvs.SPOptTS},
	})
	f, got := r.tryKnock(t, 0, 4000, synOptions(r.fam))
	f.strip, f.scaled, f.ws = false, true, 7
	ts, ok := got.Option(8)
	if !ok {
		t.Fatalf("a cookie without timestamps:\n%v", got)
	}
	const clock = 0x11223390
	ours := binary.BigEndian.Uint32(ts)
	stamp := testpkt.Options(testpkt.NOP(), testpkt.NOP(), testpkt.Timestamps(clock, ours))
	f.c.Options = stamp
	p := f.c.Data("GET /")
	f.opts = [][]byte{testpkt.MSS(r.mss()), testpkt.SACKPermitted(), testpkt.Timestamps(clock, 0), testpkt.NOP(), testpkt.WScale(7)}
	r.front.Send(t, p)
	f.meetServer(t, p)
	f.sp, f.winIn, f.winOut = f.cookie-f.s.Seq, 7, -spWScale
	f.s.Window = 5840
	r.back.Send(t, f.s.Syn())
	r.back.Expect(t, f.toRS(p))
	f.s.Took(f.toRS(p))
	r.front.Expect(t, testpkt.Packet{
		Src: f.vip, Dst: f.c.Local, Proto: testpkt.TCP, TTL: 64, DF: !r.v6(), Flags: testpkt.ACK,
		Seq: f.cookie + 1, Ack: f.isn + 1, Window: 5840 >> spWScale, Options: testpkt.Options(testpkt.NOP(), testpkt.NOP(), testpkt.Timestamps(ours, clock)),
	})
	f.reply(t, f.s.Data("200 OK"))
	for _, win := range []uint16{0, 1, 511, 512, 65535} {
		f.c.Window, f.s.Window = win, win
		f.talk(t)
	}
	f.finish(t)
}

// The 4-tuple of a connection comes again, from a client behind the same gateway.
func caseSPReuse(t *testing.T, r *rig) {
	r.proxied(t, proxy{})
	for i, c := range []struct {
		state string
		into  func(f *spFlow)
		alive func(f *spFlow) // after a SYN that nobody meant
	}{
		{"FIN_WAIT", func(f *spFlow) { f.reply(t, f.s.Fin()) }, func(f *spFlow) { f.request(t, f.c.Data("still")) }},
		{"CLOSE_WAIT", func(f *spFlow) { f.request(t, f.c.Fin()) }, func(f *spFlow) { f.reply(t, f.s.Data("still")) }},
		{"CLOSE", func(f *spFlow) { f.request(t, f.c.Reset()) }, func(*spFlow) {}},
	} {
		f := r.established(t, i, 4000, false)
		f.talk(t)
		c.into(f)
		old := r.conn(t, f)
		if old.State != c.state {
			t.Fatalf("the state is %s, want %s", old.State, c.state)
		}
		g := r.again(t, f, 77)
		if now := r.conn(t, f); now.State != c.state || now.ISNDelta != old.ISNDelta || now.SPDelta != old.SPDelta {
			t.Errorf("a SYN made of %+v\n%+v", old, now)
		}
		c.alive(f)
		g.ack(t, "")
		if g.lip != f.lip {
			t.Errorf("another local address %v than %v", g.lip, f.lip)
		}
		g.accept(t)
		g.talk(t)
	}
	r.counts(t, map[uint16]uint64{uapi.ExtStatSpReuse: 3})
	// in TIME_WAIT ip_vs makes a new one
	f := r.established(t, 5, 4000, false)
	f.finish(t)
	g := r.again(t, f, 77)
	time.Sleep(100 * time.Millisecond) // the old one ends by a timer
	g.ack(t, "")
	g.accept(t)
	g.talk(t)
	r.counts(t, map[uint16]uint64{uapi.ExtStatSpReuse: 3})
	// while the handshake with the server pends
	f = r.linux(t, 6, 4000)
	f.ack(t, "of the first")
	g = r.again(t, f, 77)
	p := g.c.Data("of the second")
	r.front.Send(t, p)
	g.meetServer(t, p)
	g.accept(t, p)
	g.talk(t)
	r.counts(t, map[uint16]uint64{uapi.ExtStatSpReuse: 4})
	noneLeft(t, "ip_vs_x_sp")
	// established: the server asks, and it is over when the client denies
	f = r.established(t, 7, 4000, false)
	f.talk(t)
	f.strip = true
	f.request(t, testpkt.NewPeer(f.c.Local, f.vip, 77).Syn(synOptions(r.fam)...))
	f.s.Ack = f.c.Seq + f.delta
	f.reply(t, f.s.Bare())
	f.request(t, f.c.Segment(testpkt.RST, ""))
	g = r.again(t, f, 77)
	g.ack(t, "")
	g.accept(t)
	g.talk(t)
	r.counts(t, map[uint16]uint64{uapi.ExtStatSpReuse: 5})
}

// With conn_reuse_mode 0 ip_vs keeps a connection in TIME_WAIT for whoever has its port
// again: for the proxy it is one more that is over.
func caseSPReuseMode(t *testing.T, r *rig) {
	testnet.Must(t, r.d.Sysctl("net.ipv4.vs.conn_reuse_mode", "0"))
	r.proxied(t, proxy{})
	f := r.established(t, 0, 4000, false)
	f.talk(t)
	f.finish(t)
	g := r.again(t, f, 77)
	if now := r.conn(t, f); now.State != "TIME_WAIT" || now.SPDelta != f.sp {
		t.Errorf("a SYN made of the connection %+v", now)
	}
	g.ack(t, "")
	if g.lip != f.lip {
		t.Errorf("another local address %v than %v", g.lip, f.lip)
	}
	g.accept(t)
	g.talk(t)
	r.counts(t, counts{uapi.ExtStatSpReuse: 1})
}

// The cookie that answers the client's next SYN may be any number, so one of those that
// his last connection uses, too.
func caseSPReuseNear(t *testing.T, r *rig) {
	testnet.Must(t, r.d.Sysctl("net.ipv4.vs.conn_reuse_mode", "0")) // ip_vs keeps TIME_WAIT
	r.proxied(t, proxy{})
	for i, c := range []struct {
		state string
		into  func(f *spFlow)
	}{
		{"FIN_WAIT", func(f *spFlow) { f.reply(t, f.s.Fin()) }},
		{"CLOSE_WAIT", func(f *spFlow) { f.request(t, f.c.Fin()) }},
		{"CLOSE", func(f *spFlow) { f.request(t, f.c.Reset()) }},
		{"TIME_WAIT", func(f *spFlow) { f.finish(t) }},
	} {
		f := r.established(t, i, 4000, false)
		f.talk(t)
		c.into(f)
		opening := f.c.Segment(testpkt.ACK, "")
		opening.Seq, opening.Ack = f.isn+1, f.cookie+1
		f.c.Ack += 1 << 30 // the server has sent much meanwhile
		f.request(t, f.c.Bare())
		f.request(t, opening) // it has come twice
		g := r.again(t, f, 77)
		f.c.Ack = g.c.Ack - 1000
		f.request(t, f.c.Bare()) // of the last connection, as its sequence says
		if now := r.conn(t, f); now.State != c.state || now.ISNDelta != f.delta || now.SPDelta != f.sp {
			t.Errorf("of a connection in %s became %+v", c.state, now)
		}
		g.ack(t, "")
		g.accept(t)
		g.talk(t)
		r.counts(t, counts{uapi.ExtStatSpReuse: uint64(i) + 1})
	}
	// while the handshake with the server pends
	f, g := r.twins(t, 5, 4000)
	f.ack(t, "of the first")
	p := g.c.Data("of the second")
	r.front.Send(t, p)
	g.meetServer(t, p)
	g.accept(t, p)
	g.talk(t)
	r.counts(t, counts{uapi.ExtStatSpReuse: 5})
	noneLeft(t, "ip_vs_x_sp")
}

// twins are two handshakes of one client and port whose cookies lie within a megabyte of
// each other, as among 256 there are, but once in eight million times.
func (r *rig) twins(t *testing.T, n int, cport uint16) (f, g *spFlow) {
	t.Helper()
	of := &spFlow{flow: &flow{r: r, vip: netip.AddrPortFrom(r.vip, 80)}}
	of.c = testpkt.NewPeer(netip.AddrPortFrom(r.cip[n], cport), of.vip, 0)
	all := make([]*spFlow, 256)
	for i := range all {
		all[i] = r.again(t, of, uint32(i)<<24)
	}
	slices.SortFunc(all, func(a, b *spFlow) int { return cmp.Compare(a.cookie, b.cookie) })
	f, g = all[0], all[1]
	for i := range all[1:] {
		if all[i+1].cookie-all[i].cookie < g.cookie-f.cookie {
			f, g = all[i], all[i+1]
		}
	}
	if g.cookie-f.cookie >= 1<<20 {
		t.Fatalf("of %d cookies no two are within %d", len(all), g.cookie-f.cookie)
	}
	return f, g
}

// conn is the one connection of f's client.
func (r *rig) conn(t *testing.T, f *spFlow) ipvs.Conn {
	t.Helper()
	for _, c := range r.conns(t) {
		if c.Client == f.c.Local {
			return c
		}
	}
	t.Fatalf("no connection of %v", f.c.Local)
	return ipvs.Conn{}
}

// again is linux for the addresses and ports of f, with another first number.
func (r *rig) again(t *testing.T, f *spFlow, isn uint32) *spFlow {
	t.Helper()
	g := &spFlow{flow: &flow{r: r, vip: f.vip, strip: true}, isn: isn, scaled: true, ws: 7, opts: serverOptions(r.fam)}
	g.c = testpkt.NewPeer(f.c.Local, f.vip, isn)
	r.front.Send(t, g.c.Syn(synOptions(r.fam)...))
	got := r.front.Recv(t)
	g.cookie = got.Seq
	if got.Flags != testpkt.SYN|testpkt.ACK || got.Ack != isn+1 {
		t.Fatalf("no cookie:\n%v", got)
	}
	g.c.Took(got)
	return g
}

// A forged SYN on a connection that lives: the server judges it, and it lives on.
func caseSPSpoofedSyn(t *testing.T, r *rig) {
	r.proxied(t, proxy{})
	f := r.established(t, 0, 4000, false)
	f.strip = true
	f.talk(t)
	forged := testpkt.NewPeer(f.c.Local, f.vip, 12345).Syn(synOptions(r.fam)...)
	f.request(t, forged)
	f.s.Ack = f.c.Seq + f.delta
	f.reply(t, f.s.Bare()) // RFC 5961
	if c := r.conn(t, f); c.State != "ESTABLISHED" {
		t.Errorf("the state is %s", c.State)
	}
	f.talk(t)
	f.finish(t)
}

// A cookie of one director is good at another that has its key; and at none that
// has not.
func caseSPSharedKey(t *testing.T, a *rig) {
	b := newRig(t, a.fam)
	key := ipvs.Op{Kind: ipvs.SetExtConfig, Config: ipvs.ExtConfig{Set: ipvs.ExtConfigCookieKey, CookieKey: ipvs.CookieKey{1, 2, 3}}}
	a.proxied(t, proxy{})
	b.proxied(t, proxy{})
	f := a.linux(t, 0, 4000)
	p := f.c.Bare()
	b.front.Send(t, p)
	expectReset(t, b.front, p)
	a.apply(t, key)
	b.apply(t, key)
	g := a.linux(t, 1, 4000)
	g.r = b
	g.ack(t, "")
	g.accept(t)
	g.talk(t)
}

// With a window of zero nothing has to be held.
func caseSPZeroWindow(t *testing.T, r *rig) {
	r.proxied(t, proxy{set: ipvs.ExtFieldSPWindow})
	f, got := r.tryKnock(t, 0, 4000, synOptions(r.fam))
	if got.Window != 0 {
		t.Fatalf("the cookie's window is %d", got.Window)
	}
	f.opts, f.scaled, f.ws = serverOptions(r.fam), true, 7
	f.ack(t, "")
	f.accept(t)
	f.talk(t)
	r.counts(t, map[uint16]uint64{uapi.ExtStatSpQueued: 0})
}

// A key is replaced between cookie and ACK; the one before the last is forgotten.
func caseSPRotation(t *testing.T, r *rig) {
	r.proxied(t, proxy{})
	rotate := func(k byte) {
		t.Helper()
		r.apply(t, ipvs.Op{Kind: ipvs.SetExtConfig, Config: ipvs.ExtConfig{Set: ipvs.ExtConfigCookieKey, CookieKey: ipvs.CookieKey{k}}})
	}
	f, g := r.linux(t, 0, 4000), r.linux(t, 1, 4000)
	rotate(1)
	f.ack(t, "")
	f.accept(t)
	rotate(2)
	p := g.c.Bare()
	r.front.Send(t, p)
	expectReset(t, r.front, p)
	// told to, a director takes a key that it never made a cookie with
	h, h2 := r.linux(t, 2, 4000), r.linux(t, 3, 4000)
	rotate(3)
	rotate(4)
	r.apply(t, ipvs.Op{Kind: ipvs.SetExtConfig, Config: ipvs.ExtConfig{Set: ipvs.ExtConfigCookieKeyPrev, CookieKeyPrev: ipvs.CookieKey{2}}})
	h.ack(t, "")
	h.accept(t)
	// both in one request: what made cookies until now is forgotten
	i := r.linux(t, 4, 4000)
	r.apply(t, ipvs.Op{Kind: ipvs.SetExtConfig, Config: ipvs.ExtConfig{Set: ipvs.ExtConfigCookieKey | ipvs.ExtConfigCookieKeyPrev,
		CookieKey: ipvs.CookieKey{5}, CookieKeyPrev: ipvs.CookieKey{2}}})
	p = i.c.Bare()
	r.front.Send(t, p)
	expectReset(t, r.front, p)
	h2.ack(t, "")
	h2.accept(t)
	cfg, err := r.x.ExtConfig(t.Context())
	testnet.Must(t, err)
	if cfg.CookieKey != (ipvs.CookieKey{}) || cfg.CookieKeyPrev != (ipvs.CookieKey{}) {
		t.Error("the kernel told a key")
	}
}

// An error about vip->cip names a byte of the server's own numbers.
func caseSPTooBig(t *testing.T, r *rig) {
	r.proxied(t, proxy{})
	f := r.sameScale(t, 0, 4000, false)
	f.request(t, f.c.Data("question"))
	p := f.s.Data(strings.Repeat("x", 1380))
	f.reply(t, p)
	for _, limit := range r.limits() {
		f.errorToServer(t, r.cip[9], testpkt.TooBig, 1300, p, limit)
	}
	f.errorToClient(t, r.hop, testpkt.HostUnreachable, 0, 0, f.c.Data("lost"), 0)
}

func caseSPNat(t *testing.T, r *rig) {
	r.proxied(t, proxy{nat: true})
	f := r.sameScale(t, 0, 4000, true)
	f.talk(t)
	p := f.s.Data(strings.Repeat("x", 1380))
	f.reply(t, p)
	f.errorToServer(t, r.cip[9], testpkt.TooBig, 1300, p, 0)
	f.finish(t)
	// TIME_WAIT, and the same client again
	g := r.again(t, f, 77)
	g.nat = true
	g.ack(t, "")
	g.accept(t)
	g.talk(t)
	r.counts(t, map[uint16]uint64{uapi.ExtStatLportOk: 0, uapi.ExtStatLportConflict: 0})
}

// Without FNAT the handshake with the real server has the client's own address and
// number, whatever becomes of it.
func caseSPNatHandshakes(t *testing.T, r *rig) {
	r.proxied(t, proxy{nat: true, set: ipvs.ExtFieldSPRetries, sp: ipvs.Synproxy{SYNRetries: 1}})
	knock := func(n int) *spFlow {
		t.Helper()
		f := r.linux(t, n, 4000)
		f.nat = true
		return f
	}
	held := knock(0) // data before the server has answered; the server speaks, too
	first := held.c.Data("GET / HTTP/1.1\r\n")
	r.front.Send(t, first)
	held.meetServer(t, first)
	second := held.c.Data("Host: example\r\n\r\n")
	r.front.Send(t, second)
	r.back.Quiet(t)
	held.accept(t, first, second)
	held.reply(t, held.s.Data("200 OK"))
	held.finish(t)

	refused := knock(1)
	refused.ack(t, "hello")
	r.back.Send(t, refused.s.Reset())
	r.front.Expect(t, refused.reset(5))

	stray := knock(2) // a connection that the server remembers
	stray.ack(t, "")
	p := stray.s.Bare()
	p.Ack = 4711
	r.back.Send(t, p)
	if rst := r.back.Recv(t); rst.Flags != testpkt.RST || rst.Seq != 4711 || rst.Src != stray.c.Local {
		t.Errorf("a stray ACK was answered by\n%v", rst)
	}
	_, err := r.back.Read(5 * time.Second) // the SYN again
	testnet.Must(t, err)
	stray.accept(t)
	stray.talk(t)

	gone := knock(3) // the client hangs up
	gone.ack(t, "hello")
	p = gone.c.Segment(testpkt.RST, "")
	r.front.Send(t, p)
	r.back.Expect(t, gone.toRS(p))

	mute := knock(4)
	mute.ack(t, "")
	_, err = r.back.Read(5 * time.Second)
	testnet.Must(t, err)
	end, err := r.front.Read(10 * time.Second)
	testnet.Must(t, err)
	if d := testpkt.Diff(mute.reset(0), end); d != "" {
		t.Errorf("the end of a handshake with a mute server:\n%s", d)
	}
	r.counts(t, counts{uapi.ExtStatSpRsSyn: 5, uapi.ExtStatSpDone: 2, uapi.ExtStatSpRsRst: 1, uapi.ExtStatSpRsTimeout: 1, uapi.ExtStatLportOk: 0})
	noneLeft(t, "ip_vs_x_sp")
}

// Two services of a namespace have settings of their own, and neither sees the
// other's.
func caseSPPerService(t *testing.T, r *rig) {
	all := ipvs.ExtFieldSPMSS | ipvs.ExtFieldSPWScale | ipvs.ExtFieldSPWindow | ipvs.ExtFieldSPTTL | ipvs.ExtFieldSPRetries | ipvs.ExtFieldSPQueue
	r.proxied(t, proxy{set: all, sp: ipvs.Synproxy{MSS: 1200, WScale: 3, Window: 5840, TTL: 99, SYNRetries: 0, Queue: 1}})
	other := r.key(ipvs.TCP, 81)
	e := ipvs.Ext{Set: ipvs.ExtFieldFlags | ipvs.ExtFieldLGroup | ipvs.ExtFieldSPOpts, LGroup: group, Flags: ipvs.ExtFNAT, SP: ipvs.Synproxy{OptsMask: ipvs.SPOptSACK}}
	e.SetSynproxy(ipvs.SynproxyOn)
	e.FlagsMask |= ipvs.ExtFNAT
	r.apply(t, r.addService(other, 0, ""), ipvs.Op{Kind: ipvs.SetExt, Service: ipvs.Service{ServiceKey: other}, Ext: e},
		r.dest(ipvs.AddDest, other, r.rip[0], 1))
	for _, c := range []struct {
		port    uint16
		ttl     uint8
		window  uint16
		options [][]byte
	}{
		{80, 99, 5840, [][]byte{testpkt.MSS(1200), testpkt.SACKPermitted(), testpkt.NOP(), testpkt.NOP(), testpkt.NOP(), testpkt.WScale(3)}},
		{81, 64, spWindow, [][]byte{testpkt.MSS(r.mss()), testpkt.NOP(), testpkt.WScale(spWScale)}},
	} {
		client := testpkt.NewPeer(netip.AddrPortFrom(r.cip[0], 4000), netip.AddrPortFrom(r.vip, c.port), 700)
		r.front.Send(t, client.Syn(synOptions(r.fam)...))
		got := r.front.Recv(t)
		if got.TTL != c.ttl || got.Window != c.window || string(got.Options) != string(testpkt.Options(c.options...)) {
			t.Errorf("the service of port %d answers\n%v, want TTL %d, window %d, options %x", c.port, got, c.ttl, c.window, c.options)
		}
		client.Took(got)
		data := []testpkt.Packet{client.Data("one"), client.Data("two")}
		r.front.Send(t, data...)
		if syn := r.back.Recv(t); syn.Flags != testpkt.SYN {
			t.Errorf("the server got\n%v", syn)
		}
	}
	// The server is mute: the first service asks it once, the second three times more.
	end, err := r.front.Read(5 * time.Second)
	testnet.Must(t, err)
	if end.Src.Port() != 80 || end.Flags&testpkt.RST == 0 {
		t.Errorf("after a second the client got\n%v", end)
	}
	end, err = r.front.Read(30 * time.Second)
	testnet.Must(t, err)
	if syns := r.back.Drain(); end.Src.Port() != 81 || end.Flags&testpkt.RST == 0 || len(syns) != 3 {
		t.Errorf("after %d more SYNs the client got\n%v", len(syns), end)
	}
	for port, want := range map[uint16]counts{
		80: {uapi.ExtStatSpQueued: 1, uapi.ExtStatSpQdrop: 1, uapi.ExtStatSpRsRetrans: 0},
		81: {uapi.ExtStatSpQueued: 2, uapi.ExtStatSpQdrop: 0, uapi.ExtStatSpRsRetrans: 3},
	} {
		for number, n := range want {
			if got := r.ofService(t, r.key(ipvs.TCP, port), number); got != n {
				t.Errorf("the service of port %d counts %d of %s, want %d", port, got, ipvs.ExtStatName(number), n)
			}
		}
	}
}

// All that the real server gets carries TOA, whoever made it.
func caseSPToa(t *testing.T, r *rig) {
	r.proxied(t, proxy{setup: setup{ext: ipvs.ExtTOA}})
	less := r.mss() - r.toaLen()
	cookie := cookieOptions(r.fam)
	cookie[0] = testpkt.MSS(less)
	start := func(n int) *spFlow {
		t.Helper()
		f := r.knock(t, n, 4000, synOptions(r.fam), cookie)
		f.opts, f.scaled, f.ws = serverOptions(r.fam), true, 7
		return f
	}
	f := start(0)
	f.ack(t, "")
	f.toa = 254
	f.accept(t)
	f.request(t, f.c.Data("GET /"))
	f.reply(t, f.s.Bare())
	f.toa = 0
	f.talk(t)
	// held data has the option itself, if it has the room
	g := start(1)
	p := g.c.Data("GET /")
	r.front.Send(t, p)
	g.meetServer(t, p)
	g.toa = 254
	g.accept(t, p)
	// and a bare ACK goes ahead of it, if not
	h := start(2)
	p = h.c.Data(strings.Repeat("q", 14000))
	p.Sum, p.GSO = testpkt.SumPartial, 1400
	r.front.Send(t, p)
	h.meetServer(t, p)
	h.sp, h.winOut = h.cookie-h.s.Seq, rsWScale-spWScale
	r.back.Send(t, h.s.Syn(testpkt.MSS(1400), testpkt.SACKPermitted(), testpkt.NOP(), testpkt.WScale(rsWScale)))
	carrier := r.back.Recv(t)
	big := r.back.Recv(t)
	if d := testpkt.Diff(h.toRS(p), big); d != "" {
		t.Error(d)
	}
	want := testpkt.TOA(254, h.c.Local)
	if string(carrier.Options) != string(want) || len(carrier.Payload) != 0 || carrier.Seq != big.Seq || carrier.Ack != big.Ack {
		t.Errorf("ahead of the data came\n%v, want a bare ACK with %x", carrier, want)
	}
	r.front.Recv(t)
}

// With DEFER a client who sends nothing costs the real server nothing.
func caseSPDefer(t *testing.T, r *rig) {
	r.proxied(t, proxy{setup: setup{ext: ipvs.ExtSPDefer}})
	f := r.linux(t, 0, 4000)
	r.front.Send(t, f.c.Bare())
	r.front.Quiet(t)
	r.back.Quiet(t)
	if n := len(r.conns(t)); n != 0 {
		t.Errorf("%d connections, want none", n)
	}
	p := f.c.Data("GET /")
	r.front.Send(t, p)
	f.meetServer(t, p)
	f.accept(t, p)
	r.counts(t, map[uint16]uint64{uapi.ExtStatSpAckOk: 1, uapi.ExtStatSpAckBad: 0})
}

// The client hangs up before the server has answered.
func caseSPClientReset(t *testing.T, r *rig) {
	r.proxied(t, proxy{})
	f := r.linux(t, 0, 4000)
	f.ack(t, "hello")
	blind := f.c.Segment(testpkt.RST, "")
	blind.Seq += 1 << 20
	r.front.Send(t, blind)
	r.back.Quiet(t)
	f.sp = 0
	p := f.c.Segment(testpkt.RST, "")
	r.front.Send(t, p)
	r.back.Expect(t, f.toRS(p))
	if c := r.conn(t, f); c.State != "CLOSE" {
		t.Errorf("the state is %s, want CLOSE", c.State)
	}
	r.back.Quiet(t)
	r.front.Quiet(t)
	noneLeft(t, "ip_vs_x_sp")
}

// The server still has a connection of the local port: it is told that it is over,
// and asked again.
func caseSPStray(t *testing.T, r *rig) {
	r.proxied(t, proxy{})
	f := r.linux(t, 0, 4000)
	f.ack(t, "")
	stray := f.s.Bare()
	stray.Ack = 4711
	r.back.Send(t, stray)
	r.back.Expect(t, testpkt.Packet{
		Src: f.lip, Dst: f.s.Local, Proto: testpkt.TCP, TTL: 63, DF: !r.v6(), Flags: testpkt.RST, Seq: 4711,
	})
	// so is a SYN/ACK that acknowledges something else
	stray = f.s.Segment(testpkt.SYN|testpkt.ACK, "")
	f.s.Seq--
	stray.Ack += 5
	r.back.Send(t, stray)
	r.back.Expect(t, testpkt.Packet{
		Src: f.lip, Dst: f.s.Local, Proto: testpkt.TCP, TTL: 63, DF: !r.v6(), Flags: testpkt.RST, Seq: stray.Ack,
	})
	r.front.Quiet(t)
	if c := r.conn(t, f); c.State != "SYN_RECV" {
		t.Errorf("the state is %s, want SYN_RECV", c.State)
	}
	_, err := r.back.Read(2 * time.Second) // the SYN again
	testnet.Must(t, err)
	f.accept(t)
	f.talk(t)
}

// One ACK for ever, as two ends make that cannot agree. A row that tells of a loss
// passes, and one of keepalives, however long.
func caseSPStorm(t *testing.T, r *rig) {
	r.proxied(t, proxy{})
	f := r.established(t, 0, 4000, false)
	f.talk(t)
	const most = 129
	for range most {
		f.reply(t, f.s.Bare())
	}
	for range 20 {
		r.back.Send(t, f.s.Bare())
	}
	r.front.Quiet(t)
	r.counts(t, map[uint16]uint64{uapi.ExtStatAckStorm: 20})
	f.reply(t, f.s.Data("something else"))
	f.s.Window--
	for range most {
		p := f.s.Bare()
		p.Options = testpkt.Options(testpkt.NOP(), testpkt.NOP(), testpkt.SACK(f.s.Ack+10, f.s.Ack+20))
		f.reply(t, p)
		f.reply(t, p)
	}
	for range most + 5 {
		f.reply(t, f.s.Bare())
		time.Sleep(3 * time.Second)
	}
	r.counts(t, map[uint16]uint64{uapi.ExtStatAckStorm: 20})
}

// No server, no cookie: the client must not believe to be connected.
func caseSPNoDest(t *testing.T, r *rig) {
	key := r.proxied(t, proxy{})
	f := r.linux(t, 0, 4000)
	r.apply(t, r.dest(ipvs.SetDest, key, r.rip[0], 0))
	r.front.Send(t, testpkt.NewPeer(netip.AddrPortFrom(r.cip[1], 4000), f.vip, 5).Syn())
	r.front.Quiet(t)
	// who has one already is told
	p := f.c.Bare()
	r.front.Send(t, p)
	expectReset(t, r.front, p)
	r.counts(t, map[uint16]uint64{uapi.ExtStatSpNodest: 2})
}

// Real servers that have all the connections they may have are none for a client who
// is to come; he gets his cookie when there is room again.
func caseSPOverloaded(t *testing.T, r *rig) {
	key := r.proxied(t, proxy{})
	d := r.dest(ipvs.SetDest, key, r.rip[0], 1)
	d.Dest.UpperThreshold = 1
	r.apply(t, d)
	f := r.established(t, 0, 4000, false)
	syn := testpkt.NewPeer(netip.AddrPortFrom(r.cip[1], 4000), f.vip, 5).Syn()
	r.front.Send(t, syn)
	r.front.Quiet(t)
	r.counts(t, counts{uapi.ExtStatSpSyn: 2, uapi.ExtStatSpSynack: 1, uapi.ExtStatSpNodest: 1})
	f.talk(t)
	if n, err := r.x.DeleteConns(t.Context(), ipvs.ConnFilter{}); n != 1 || err != nil {
		t.Fatalf("%d deleted, %v", n, err)
	}
	r.front.Send(t, syn)
	if got := r.front.Recv(t); got.Flags != testpkt.SYN|testpkt.ACK {
		t.Errorf("with room again the SYN is answered by\n%v", got)
	}
}

// What SYN proxy cannot do is refused, whoever asks and in which order.
func caseSPRefusals(t *testing.T, r *rig) {
	tcp, udp, ftp, dr := r.key(ipvs.TCP, 80), r.key(ipvs.UDP, 80), r.key(ipvs.TCP, 21), r.key(ipvs.TCP, 81)
	d := r.dest(ipvs.AddDest, dr, r.rip[0], 1)
	d.Dest.Forward = ipvs.DirectRoute
	r.apply(t, r.addService(tcp, 0, ""), r.addService(udp, 0, ""), r.addService(ftp, 0, ""), r.addService(dr, 0, ""), d,
		r.addService(r.key(ipvs.TCP, 82), ipvs.FlagOnePacket, ""))
	on := func(key ipvs.ServiceKey, more ipvs.Ext) ipvs.Op {
		more.SetSynproxy(ipvs.SynproxyOn)
		return ipvs.Op{Kind: ipvs.SetExt, Service: ipvs.Service{ServiceKey: key}, Ext: more}
	}
	before := r.table(t)
	sp := func(f ipvs.ExtField, s ipvs.Synproxy) ipvs.Ext { return ipvs.Ext{Set: f, SP: s} }
	for _, c := range []struct {
		op    ipvs.Op
		errno syscall.Errno
		text  string
	}{
		{on(dr, ipvs.Ext{}), syscall.EOPNOTSUPP, "SYNPROXY needs NAT or FNAT destinations: dest " + d.Dest.DestKey.String() + " is DR"},
		{on(udp, ipvs.Ext{}), syscall.EPROTONOSUPPORT, "SYNPROXY is TCP only"},
		{on(ftp, ipvs.Ext{}), syscall.EOPNOTSUPP, "not with application helpers"},
		{on(r.key(ipvs.TCP, 82), ipvs.Ext{}), syscall.EOPNOTSUPP, "one-packet scheduling has no reply path for SYNPROXY"},
		{on(tcp, sp(ipvs.ExtFieldSPMSS, ipvs.Synproxy{MSS: 87})), syscall.ERANGE, "SP_MSS is 0 or 88 to 65495"},
		{on(tcp, sp(ipvs.ExtFieldSPWScale, ipvs.Synproxy{WScale: 15})), syscall.ERANGE, "SP_WSCALE is 0 to 14, or 255 for none"},
		{on(tcp, sp(ipvs.ExtFieldSPTTL, ipvs.Synproxy{})), syscall.ERANGE, "integer out of range"},
		{on(tcp, sp(ipvs.ExtFieldSPOpts, ipvs.Synproxy{Opts: ipvs.SPOptECN, OptsMask: ipvs.SPOptECN})), syscall.EOPNOTSUPP, "a cookie has no room for ECN"},
		{on(tcp, sp(ipvs.ExtFieldSPAutoOff, ipvs.Synproxy{AutoOff: 1024})), syscall.EINVAL, "SP_AUTO_OFF must be less than SP_AUTO_ON"},
		{ipvs.Op{Kind: ipvs.SetExt, Service: ipvs.Service{ServiceKey: tcp}, Ext: ipvs.Ext{Set: ipvs.ExtFieldFlags, Flags: ipvs.ExtSPAuto, FlagsMask: ipvs.ExtSPAuto}},
			syscall.EINVAL, "SP_DEFER and SP_AUTO need SYNPROXY"},
		{on(tcp, ipvs.Ext{Set: ipvs.ExtFieldFlags | ipvs.ExtFieldSPWindow, Flags: ipvs.ExtSPDefer, FlagsMask: ipvs.ExtSPDefer}), syscall.EINVAL,
			"SP_DEFER waits for data, which SP_WINDOW 0 forbids"},
	} {
		wantErrno(t, r.x.Apply(t.Context(), c.op), c.errno, c.text)
	}
	if after := r.table(t); after != before {
		t.Errorf("refused requests changed\n%s\nto\n%s", before, after)
	}
	r.apply(t, on(tcp, ipvs.Ext{}))
	for _, method := range []ipvs.Forward{ipvs.DirectRoute, ipvs.Tunnel, ipvs.LocalNode, ipvs.Bypass} {
		d := r.dest(ipvs.AddDest, tcp, r.rip[0], 1)
		d.Dest.Forward = method
		wantErrno(t, r.x.Apply(t.Context(), d), syscall.EOPNOTSUPP, "")
	}
	r.apply(t, r.dest(ipvs.AddDest, tcp, r.rip[0], 1))
	d = r.dest(ipvs.SetDest, tcp, r.rip[0], 1)
	d.Dest.Forward = ipvs.DirectRoute
	wantErrno(t, r.x.Apply(t.Context(), d), syscall.EOPNOTSUPP, "")
}

// Mode auto: on when too many handshakes are open, off when it is quiet again;
// either is told, and shown.
func caseSPAuto(t *testing.T, r *rig) {
	const on, off = 20, 5
	key := r.proxied(t, proxy{
		setup: setup{ext: ipvs.ExtSPAuto}, set: ipvs.ExtFieldSPAutoOn | ipvs.ExtFieldSPAutoOff,
		sp: ipvs.Synproxy{AutoOn: on, AutoOff: off},
	})
	ctx, cancel := context.WithCancel(t.Context())
	events, listening := make(chan ipvs.Event, 16), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for e, err := range r.x.Events(ctx, func() { close(listening) }) {
			if err != nil {
				return
			}
			events <- e
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	<-listening
	show := func(active bool, half uint32) {
		t.Helper()
		s, err := r.x.ExtService(t.Context(), key)
		testnet.Must(t, err)
		if s.Flags.Synproxy() != ipvs.SynproxyAuto || s.SP.Active != active || s.SP.HalfOpen != half {
			t.Errorf("%v, active %t, %d half-open; want auto, %t, %d", s.Flags.Synproxy(), s.SP.Active, s.SP.HalfOpen, active, half)
		}
	}
	told := func(kind ipvs.EventKind, least, most uint32) {
		t.Helper()
		select {
		case e := <-events:
			if e.Kind != kind || e.Service != key || e.HalfOpen < least || e.HalfOpen > most {
				t.Errorf("event %+v, want %v of %v with %d to %d half-open", e, kind, key, least, most)
			}
		case <-time.After(5 * time.Second):
			t.Errorf("no event %v", kind)
		}
	}
	// cookies of mode on are taken when it becomes auto, and in the end nobody looks for one
	mode := func(m ipvs.SynproxyMode) {
		t.Helper()
		var e ipvs.Ext
		e.SetSynproxy(m)
		r.set(t, key, e)
	}
	mode(ipvs.SynproxyOn)
	i, late := r.linux(t, 6, 4000), r.linux(t, 7, 4000)
	mode(ipvs.SynproxyAuto)
	i.ack(t, "")
	i.accept(t)
	i.talk(t)
	bad := r.stat(t, uapi.ExtStatSpAckBad)
	time.Sleep(129 * time.Second)
	p := late.c.Bare()
	r.front.Send(t, p)
	expectReset(t, r.front, p)
	if n := r.stat(t, uapi.ExtStatSpAckBad); n != bad {
		t.Error("a cookie was looked for long after the last was sent")
	}
	show(false, 0)
	// ordinary connections are open to the server, and half-open ones count
	f := r.dial(t, 0, 3000)
	show(false, 1)
	f.establish(t)
	f.talk(t)
	show(false, 0)
	var open []*flow
	for i := range on {
		open = append(open, r.dial(t, 1, 4000+uint16(i)))
	}
	show(false, on)
	g := r.linux(t, 2, 4000) // the first one too many
	told(ipvs.EventSynproxyOn, on, on)
	show(true, on+1)
	g.ack(t, "")
	g.accept(t)
	show(true, on)
	f.talk(t) // what was there before goes on
	r.back.Quiet(t)
	// fewer than turned it on, as many as do not turn it off yet
	for _, o := range open[off:] {
		o.establish(t)
	}
	time.Sleep(15 * time.Second)
	show(true, off)
	r.linux(t, 2, 4001)
	// half-open ones time out after a minute, and the flood goes on with cookies
	for range 3 {
		time.Sleep(30 * time.Second)
		for i := range on {
			r.tryKnock(t, 3, 5000+uint16(i), nil)
		}
	}
	s, err := r.x.ExtService(t.Context(), key)
	testnet.Must(t, err)
	if !s.SP.Active || s.SP.HalfOpen < on {
		t.Errorf("active %t with %d half-open, and the flood goes on", s.SP.Active, s.SP.HalfOpen)
	}
	time.Sleep(60 * time.Second)
	h := r.linux(t, 4, 4000)
	time.Sleep(20 * time.Second)
	told(ipvs.EventSynproxyOff, 0, off-1)
	show(false, 0)
	r.dial(t, 5, 4000)
	// cookies sent before are taken for a while
	h.ack(t, "")
	h.accept(t)
	h.talk(t)
	select {
	case e := <-events:
		t.Errorf("event %+v that nothing has caused", e)
	default:
	}
}
