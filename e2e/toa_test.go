// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testpkt"
	"github.com/lvs-fnat/lvs/internal/testtoa"
	"github.com/lvs-fnat/lvs/internal/testvm"
	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/ipvs/uapi"
)

// TestTOA: what the director says about clients, packet by packet.
func TestTOA(t *testing.T) {
	needOurs(t)
	for _, c := range []struct {
		name string
		run  func(*testing.T, *rig)
	}{
		{"56_handshake", caseTOAHandshake(testpkt.SumFull)},
		{"56_handshake_partial", caseTOAHandshake(testpkt.SumPartial)},
		{"57_stops", caseTOAStops},
		{"57_at_most_16", caseTOABounded},
		{"58_carrier_full_segment", caseTOACarrierFull},
		{"58_carrier_gso", caseTOACarrierGSO},
		{"58_carrier_doff", caseTOACarrierDoff},
		{"63_kinds", caseTOAKinds},
		{"64_legacy_parsers", caseTOALegacy},
		{"syn", caseTOASyn},
		{"forged_replaced", caseTOAForged},
		{"not_on_rst", caseTOARst},
		{"reopened", caseTOAReopened},
	} {
		each(t, c.name, c.run)
	}
}

// toaLen is what the option takes.
func (f fam) toaLen() uint16 {
	if f.v6() {
		return 20
	}
	return 8
}

// toaDial is dial for a service that sends TOA: up to the client's sight of the
// SYN/ACK, with its lowered MSS.
func (r *rig) toaDial(t *testing.T, n int, cport uint16, opts ...[]byte) *flow {
	t.Helper()
	f := r.dial(t, n, cport, opts...)
	f.mssLess = r.toaLen()
	f.reply(t, f.s.Syn(testpkt.MSS(1400), testpkt.SACKPermitted(), testpkt.NOP(), testpkt.WScale(9)))
	f.toa = 254
	return f
}

func caseTOAHandshake(sum testpkt.Sum) func(*testing.T, *rig) {
	return func(t *testing.T, r *rig) {
		r.serve(t, setup{ext: ipvs.ExtTOA})
		f := r.toaDial(t, 0, 4000)
		f.c.Sum = sum
		ack := f.c.Bare()
		r.front.Send(t, ack)
		got := r.back.Recv(t)
		if d := testpkt.Diff(f.toRS(ack), got); d != "" {
			t.Fatal(d)
		}
		client := f.c.Local.Addr().AsSlice()
		want := append([]byte{254, byte(4 + len(client)), byte(4000 >> 8), byte(4000 & 0xff)}, client...)
		if string(got.Options) != string(want) {
			t.Errorf("options %x, want %x", got.Options, want)
		}
		for _, payload := range []string{"x", "odd", strings.Repeat("q", 700)} {
			f.request(t, f.c.Data(payload))
		}
		r.counts(t, map[uint16]uint64{uapi.ExtStatToaOk: 4, uapi.ExtStatToaCarrier: 0, uapi.ExtStatToaFail: 0})
	}
}

func caseTOAStops(t *testing.T, r *rig) {
	r.serve(t, setup{ext: ipvs.ExtTOA})
	f := r.toaDial(t, 0, 4000)
	f.request(t, f.c.Bare())
	// The SYN/ACK again proves nothing.
	again := f.s.Syn(testpkt.MSS(1400))
	f.s.Seq--
	again.Seq = f.s.Seq - 1
	f.reply(t, again)
	f.request(t, f.c.Data("one"))
	f.reply(t, f.s.Bare())
	f.toa = 0
	f.request(t, f.c.Data("two"))
	f.talk(t)
	f.finish(t)
	r.counts(t, map[uint16]uint64{uapi.ExtStatToaOk: 2})
}

func caseTOABounded(t *testing.T, r *rig) {
	r.serve(t, setup{ext: ipvs.ExtTOA})
	f := r.toaDial(t, 0, 4000)
	for range 16 {
		f.request(t, f.c.Bare())
	}
	f.toa = 0
	f.request(t, f.c.Bare())
	r.counts(t, map[uint16]uint64{uapi.ExtStatToaOk: 16})
}

// carried sends p and expects the bare ACK with the option, then p without.
func (f *flow) carried(t *testing.T, p testpkt.Packet) {
	t.Helper()
	f.r.front.Send(t, p)
	kind := f.toa
	f.toa = 0
	plain := f.toRS(p)
	f.toa = kind
	carrier := plain.Clone()
	carrier.Flags, carrier.Payload, carrier.Sum, carrier.GSO = testpkt.ACK, nil, testpkt.SumFull, 0
	carrier.Options = testpkt.TOA(kind, f.c.Local)
	eachOption(p.Options, func(o []byte) {
		if o[0] == 8 {
			carrier.Options = append(carrier.Options, testpkt.Options(testpkt.NOP(), testpkt.NOP(), o)...)
		}
	})
	f.r.back.Expect(t, carrier)
	f.r.back.Expect(t, plain)
	f.s.Took(plain)
}

func caseTOACarrierFull(t *testing.T, r *rig) {
	r.serve(t, setup{ext: ipvs.ExtTOA, more: ipvs.Ext{Set: ipvs.ExtFieldTSMode, TSMode: ipvs.TSKeep}})
	f, syn := r.start(t, 0, 4000)
	f.strip = false
	f.meet(t, syn)
	f.mssLess = r.toaLen()
	f.reply(t, f.s.Syn(testpkt.MSS(1400), testpkt.Timestamps(9, 0x11223344)))
	f.toa = 254
	room := 1500 - 40
	if r.v6() {
		room -= 20
	}
	f.carried(t, f.c.Data(strings.Repeat("f", room)))
	f.request(t, f.c.Data(strings.Repeat("f", room-int(r.toaLen()))))
	f.carried(t, f.c.Data(strings.Repeat("f", room-int(r.toaLen())+1)))
	f.c.Options = testpkt.Options(testpkt.NOP(), testpkt.NOP(), testpkt.Timestamps(0x11223345, 9))
	f.carried(t, f.c.Data(strings.Repeat("f", room-12)))
	f.c.Sum = testpkt.SumPartial
	f.carried(t, f.c.Data(strings.Repeat("f", room-12)))
	f.request(t, f.c.Data("small"))
	r.counts(t, map[uint16]uint64{uapi.ExtStatToaOk: 2, uapi.ExtStatToaCarrier: 4})
}

func caseTOACarrierGSO(t *testing.T, r *rig) {
	r.serve(t, setup{ext: ipvs.ExtTOA})
	f := r.toaDial(t, 0, 4000)
	p := f.c.Data(strings.Repeat("g", 20000))
	p.Sum, p.GSO = testpkt.SumPartial, 1380
	f.carried(t, p)
	r.counts(t, map[uint16]uint64{uapi.ExtStatToaOk: 0, uapi.ExtStatToaCarrier: 1})
}

func caseTOACarrierDoff(t *testing.T, r *rig) {
	r.serve(t, setup{ext: ipvs.ExtTOA})
	f := r.toaDial(t, 0, 4000)
	p := f.c.Bare()
	p.Options = testpkt.Options(testpkt.NOP(), testpkt.NOP(), testpkt.SACK(1, 2, 3, 4, 5, 6, 7, 8), []byte{99, 4, 1, 2})
	if len(p.Options) != 40 {
		t.Fatalf("%d bytes of options", len(p.Options))
	}
	f.carried(t, p)
	// The most that fits beside the option.
	fits := f.c.Bare()
	fits.Options = testpkt.Options(append([]byte{99, byte(40 - r.toaLen())}, make([]byte, 38-r.toaLen())...))
	f.request(t, fits)
}

func caseTOAKinds(t *testing.T, r *rig) {
	for i, kind := range []uint8{254, 253, 200, 77} {
		s := setup{ext: ipvs.ExtTOA, port: 80 + uint16(i), more: ipvs.Ext{
			Set: ipvs.ExtFieldTOAKind4 | ipvs.ExtFieldTOAKind6, TOAKind4: kind, TOAKind6: kind,
		}}
		_, ops := r.operations(s)
		if i > 0 {
			ops = ops[2:] // the group is there
		}
		r.apply(t, ops...)
		vip := netip.AddrPortFrom(r.vip, s.port)
		f := &flow{r: r, vip: vip, strip: true, c: testpkt.NewPeer(netip.AddrPortFrom(r.cip[i], 4000), vip, 1)}
		syn := f.c.Syn(testpkt.MSS(1460))
		r.front.Send(t, syn)
		f.meet(t, syn)
		f.mssLess = r.toaLen()
		f.reply(t, f.s.Syn(testpkt.MSS(1400)))
		f.toa = kind
		f.request(t, f.c.Bare())
	}
}

// legacyTOA reads options as the receivers in the field do: kind and length must
// match exactly, then port and address lie packed behind them.
func legacyTOA(options []byte, kind, size byte) (netip.AddrPort, bool) {
	for p := options; len(p) > 0; {
		switch p[0] {
		case 0:
			return netip.AddrPort{}, false
		case 1:
			p = p[1:]
			continue
		}
		if len(p) < 2 || p[1] < 2 || int(p[1]) > len(p) {
			return netip.AddrPort{}, false
		}
		if p[0] == kind && p[1] == size {
			a, ok := netip.AddrFromSlice(p[4:size])
			return netip.AddrPortFrom(a, binary.BigEndian.Uint16(p[2:])), ok
		}
		p = p[p[1]:]
	}
	return netip.AddrPort{}, false
}

// Receivers in the field: 254/8 of alibaba, Huawei and dpvs; 253/20 of alibaba and
// 254/20 of dpvs for IPv6.
func caseTOALegacy(t *testing.T, r *rig) {
	kinds := []uint8{254}
	if r.v6() {
		kinds = []uint8{254, 253}
	}
	for i, kind := range kinds {
		_, ops := r.operations(setup{ext: ipvs.ExtTOA, port: 80 + uint16(i), more: ipvs.Ext{Set: ipvs.ExtFieldTOAKind6, TOAKind6: kind}})
		if i > 0 {
			ops = ops[2:]
		}
		r.apply(t, ops...)
		vip := netip.AddrPortFrom(r.vip, 80+uint16(i))
		f := &flow{r: r, vip: vip, strip: true, c: testpkt.NewPeer(netip.AddrPortFrom(r.cip[i], 4711), vip, 1)}
		syn := f.c.Syn(synOptions(r.fam)...)
		r.front.Send(t, syn)
		f.meet(t, syn)
		f.mssLess = r.toaLen()
		f.reply(t, f.s.Syn(testpkt.MSS(1400)))
		ack := f.c.Bare()
		ack.Options = testpkt.Options(testpkt.NOP(), testpkt.NOP(), testpkt.SACK(5, 6))
		r.front.Send(t, ack)
		got := r.back.Recv(t)
		if client, ok := legacyTOA(got.Options, kind, byte(r.toaLen())); !ok || client != f.c.Local {
			t.Errorf("a receiver that looks for %d/%d reads %v, %v from %x; want %v", kind, r.toaLen(), client, ok, got.Options, f.c.Local)
		}
	}
}

func caseTOASyn(t *testing.T, r *rig) {
	r.serve(t, setup{ext: ipvs.ExtTOA | ipvs.ExtTOASyn})
	f, syn := r.start(t, 0, 4000, testpkt.MSS(1400))
	got := r.back.Recv(t)
	f.learn(t, syn, got)
	want := f.toRS(syn)
	want.Options = append(testpkt.TOA(254, f.c.Local), want.Options...)
	if d := testpkt.Diff(want, got); d != "" {
		t.Error(d)
	}
	f.mssLess = r.toaLen()
	f.reply(t, f.s.Syn(testpkt.MSS(1400)))
	f.toa = 254
	f.request(t, f.c.Bare())
}

// A client that says who it is is not believed: the true option comes first and
// alone.
func caseTOAForged(t *testing.T, r *rig) {
	r.serve(t, setup{ext: ipvs.ExtTOA})
	f := r.toaDial(t, 0, 4000)
	forged := testpkt.TOA(254, netip.MustParseAddrPort("203.0.113.66:666"))
	ack := f.c.Bare()
	ack.Options = testpkt.Options(forged)
	r.front.Send(t, ack)
	f.checkForged(t, ack)
	// Nor once the director has stopped sending its own.
	f.reply(t, f.s.Bare())
	f.toa = 0
	ack = f.c.Bare()
	ack.Options = testpkt.Options(forged)
	r.front.Send(t, ack)
	f.checkForged(t, ack)
}

func (f *flow) checkForged(t *testing.T, sent testpkt.Packet) {
	t.Helper()
	clean := sent.Clone()
	for i := range clean.Options {
		clean.Options[i] = 1
	}
	f.r.back.Expect(t, f.toRS(clean))
}

func caseTOARst(t *testing.T, r *rig) {
	r.serve(t, setup{ext: ipvs.ExtTOA})
	f := r.toaDial(t, 0, 4000)
	f.request(t, f.c.Reset())
	r.counts(t, map[uint16]uint64{uapi.ExtStatToaOk: 0})
}

// A new connection of the same client and port says it again.
func caseTOAReopened(t *testing.T, r *rig) {
	r.serve(t, setup{ext: ipvs.ExtTOA})
	for range 2 {
		f := r.toaDial(t, 0, 4000)
		f.request(t, f.c.Bare())
		f.request(t, f.c.Data("q"))
		f.reply(t, f.s.Data("a"))
		f.toa = 0
		f.finish(t)
	}
}

// TestTOAReceiver: clients, director and real servers with real sockets; what
// accept() and getpeername() show with toa.ko on the real server.
func TestTOAReceiver(t *testing.T) {
	needOurs(t)
	top := testnet.NewTopology(t, testnet.Plan{Neighbours: true})
	var trust []string
	for _, f := range fams {
		for _, a := range f.lip {
			trust = append(trust, netip.PrefixFrom(a, a.BitLen()).String())
		}
		fnatTopology(t, top, f, ipvs.ExtTOA)
	}
	testnet.Must(t, testvm.Modprobe("toa", "trust="+strings.Join(trust, ",")))
	loaded := true
	defer func() {
		if loaded {
			testnet.Must(t, toaUnload())
		}
	}()
	for _, c := range []struct {
		name, listen string
		f            fam
	}{
		{"v4", "0.0.0.0", fam4}, {"v6", "", fam6}, {"v4_mapped", "::", fam4},
	} {
		for _, cookies := range []string{"1", "2"} {
			name := "59_" + c.name
			if cookies == "2" {
				name = "60_syncookies_" + c.name
			}
			t.Run(name, func(t *testing.T) {
				testnet.Must(t, top.R[0].Sysctl("net.ipv4.tcp_syncookies", cookies))
				client, server := dialTOA(t, top, c.f, c.listen)
				testtoa.Shows(t, server, client)
			})
		}
	}
	t.Run("61_untrusted", func(t *testing.T) {
		testnet.Must(t, toaUnload(), testvm.Modprobe("toa", "trust=192.0.2.0/24"))
		_, server := dialTOA(t, top, fam4, "0.0.0.0")
		got, err := testtoa.Peername(server)
		testnet.Must(t, err)
		if got.Addr() != fam4.lip[0] {
			t.Errorf("a real server that trusts nobody here sees %v, want the local address", got)
		}
	})
	t.Run("62_unload_with_sockets", func(t *testing.T) {
		testnet.Must(t, toaUnload(), testvm.Modprobe("toa", "trust="+strings.Join(trust, ",")))
		client, server := dialTOA(t, top, fam4, "0.0.0.0")
		testtoa.Shows(t, server, client)
		testnet.Must(t, toaUnload())
		loaded = false
		got, err := testtoa.Peername(server)
		testnet.Must(t, err)
		if got.Addr() != fam4.lip[0] {
			t.Errorf("without the module getpeername shows %v, want the local address", got)
		}
	})
}

// fnatTopology gives top an FNAT service to r1 in one family.
func fnatTopology(t *testing.T, top *testnet.Topology, f fam, flags ipvs.ExtFlags) {
	t.Helper()
	x, err := ipvs.Config{NetNS: top.D.FD()}.Dial(t.Context())
	testnet.Must(t, err)
	defer x.Close()
	_, ops := (&rig{fam: f}).operations(setup{ext: flags})
	for i := range ops {
		if ops[i].LGroup.Name != "" {
			ops[i].LGroup.Name += f.name
		}
		if ops[i].Ext.LGroup != "" {
			ops[i].Ext.LGroup += f.name
		}
	}
	testnet.Must(t, x.Apply(t.Context(), ops...))
}

// dialTOA connects a client to the service and returns its address and the socket
// that the real server accepted.
func dialTOA(t *testing.T, top *testnet.Topology, f fam, listen string) (netip.AddrPort, *net.TCPConn) {
	t.Helper()
	network := "tcp"
	switch listen {
	case "0.0.0.0":
		network = "tcp4"
	case "":
		network, listen = "tcp6", "::"
	}
	l, err := top.R[0].Listen(t.Context(), network, net.JoinHostPort(listen, fmt.Sprint(rport)))
	testnet.Must(t, err)
	defer l.Close()
	c, err := top.C[0].DialContext(t.Context(), "tcp", netip.AddrPortFrom(f.vip, 80).String())
	testnet.Must(t, err)
	t.Cleanup(func() { c.Close() })
	_, err = c.Write([]byte("x"))
	testnet.Must(t, err)
	s, err := l.Accept()
	testnet.Must(t, err)
	t.Cleanup(func() { s.Close() })
	return c.LocalAddr().(*net.TCPAddr).AddrPort(), s.(*net.TCPConn)
}
