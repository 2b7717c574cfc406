// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/binary"
	"fmt"
	"maps"
	stdnet "net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testpkt"
	"github.com/lvs-fnat/lvs/internal/testvm"
	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/ipvs/uapi"
)

// TestSynproxyEarly: handshakes are dealt with before packets are routed where nobody
// can tell the difference, and where ip_vs always did elsewhere.
func TestSynproxyEarly(t *testing.T) {
	needOurs(t)
	testnet.Must(t, testvm.Modprobe("nf_tables"), testvm.Modprobe("macvlan"))
	for _, c := range []struct {
		name string
		run  func(*testing.T, *rig)
	}{
		{"same", caseEarlySame},
		{"setting", caseEarlySetting},
		{"filter", caseEarlyFilter},
		{"raw", caseEarlyRaw},
		{"between", caseEarlyBetween},
		{"conntrack", caseEarlyConntrack},
		{"rp_filter", caseEarlyRPFilter},
		{"rules", caseEarlyRules},
		{"tap", caseEarlyTap},
		{"odd", caseEarlyOdd},
		{"not_here", caseEarlyNotHere},
		{"spoofed", caseEarlySpoofed},
		{"fwmark", caseEarlyFwmark},
		{"alike", caseEarlyAlike},
		{"ip_options", caseEarlyIPOptions},
		{"merged", caseEarlyMerged},
		{"macvlan", caseEarlyMacvlan},
		{"elsewhere", caseEarlyElsewhere},
		{"ways", caseEarlyWays},
		{"equal_ways", caseEarlyEqualWays},
		{"learned", caseEarlyLearned},
		{"links", caseEarlyLinks},
		{"router", caseEarlyRouter},
	} {
		each(t, c.name, c.run)
	}
}

// early sets the mode.
func (r *rig) early(t *testing.T, mode ipvs.SynproxyMode) {
	t.Helper()
	r.apply(t, ipvs.Op{Kind: ipvs.SetExtConfig, Config: ipvs.ExtConfig{Set: ipvs.ExtConfigSPEarly, SPEarly: mode}})
}

// isEarly fails t unless n packets more than before were dealt with early.
func (r *rig) isEarly(t *testing.T, n uint64, do func()) {
	t.Helper()
	before := r.stat(t, uapi.ExtStatSpEarly)
	do()
	if got := r.stat(t, uapi.ExtStatSpEarly) - before; got != n {
		t.Errorf("%d packets were dealt with early, want %d", got, n)
	}
}

// hook adds a chain at a hook of the director, with one rule, and returns what takes
// it away again.
func (r *rig) hook(t *testing.T, hook *nftables.ChainHook, priority nftables.ChainPriority, rule ...expr.Any) func() {
	t.Helper()
	table := &nftables.Table{Name: "early", Family: nftables.TableFamilyINet}
	with := func(f func(*nftables.Conn)) {
		t.Helper()
		testnet.Must(t, r.d.Do(func() error {
			c, err := nftables.New()
			if err != nil {
				return err
			}
			f(c)
			return c.Flush()
		}))
	}
	with(func(c *nftables.Conn) {
		c.AddTable(table)
		chain := c.AddChain(&nftables.Chain{Name: "c", Table: table, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: &priority})
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: rule})
	})
	return func() { with(func(c *nftables.Conn) { c.DelTable(table) }) }
}

// dropSyn matches TCP with SYN alone, and drops it.
func dropSyn() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{testpkt.TCP}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{byte(testpkt.SYN)}},
		&expr.Verdict{Kind: expr.VerdictDrop},
	}
}

// unansweredSyn sends a SYN that nobody may answer.
func (r *rig) unansweredSyn(t *testing.T, from netip.Addr) {
	t.Helper()
	r.front.Send(t, testpkt.NewPeer(netip.AddrPortFrom(from, r.freshPort()), netip.AddrPortFrom(r.vip, 80), 1).Syn(synOptions(r.fam)...))
	r.front.Quiet(t)
	r.back.Quiet(t)
}

// handshake is a whole one, with a stray ACK and data before the server answers.
func (r *rig) handshake(t *testing.T, n int) {
	t.Helper()
	f := r.linux(t, n, 4000)
	bad := f.c.Bare()
	bad.Ack++
	r.front.Send(t, bad)
	r.front.Quiet(t)
	first := f.c.Data("GET / HTTP/1.1\r\n\r\n")
	r.front.Send(t, first)
	f.meetServer(t, first)
	f.accept(t, first)
	f.reply(t, f.s.Data("200 OK"))
	f.finish(t)
}

// The packets are the same in each mode, and so is what is counted.
func caseEarlySame(t *testing.T, r *rig) {
	key := r.proxied(t, proxy{setup: setup{more: ipvs.Ext{Set: ipvs.ExtFieldInvalid, Invalid: ipvs.InvalidDrop}}})
	counted := map[ipvs.SynproxyMode]ipvs.ExtStats{}
	for i, mode := range []ipvs.SynproxyMode{ipvs.SynproxyAuto, ipvs.SynproxyOff, ipvs.SynproxyOn} {
		r.early(t, mode)
		r.apply(t, ipvs.Op{Kind: ipvs.ZeroExt})
		early := uint64(3) // SYN, stray ACK, cookie
		if mode == ipvs.SynproxyOff {
			early = 0
		}
		r.isEarly(t, early, func() { r.handshake(t, i) })
		s, err := r.x.ExtStats(t.Context())
		testnet.Must(t, err)
		if n := r.ofService(t, key, uapi.ExtStatSpEarly); n != s[uapi.ExtStatSpEarly] {
			t.Errorf("%v: %d of the service, %d in all", mode, n, s[uapi.ExtStatSpEarly])
		}
		delete(s, uapi.ExtStatSpEarly)
		counted[mode] = s
	}
	for mode, s := range counted {
		if !maps.Equal(s, counted[ipvs.SynproxyOff]) {
			t.Errorf("%v counts %v, off %v", mode, s, counted[ipvs.SynproxyOff])
		}
	}
}

// The setting is auto at first, told by the kernel, and in force at once.
func caseEarlySetting(t *testing.T, r *rig) {
	want := func(mode ipvs.SynproxyMode) {
		t.Helper()
		c, err := r.x.ExtConfig(t.Context())
		testnet.Must(t, err)
		if c.Set&ipvs.ExtConfigSPEarly == 0 || c.SPEarly != mode {
			t.Errorf("the mode is %v, want %v", c.SPEarly, mode)
		}
	}
	want(ipvs.SynproxyAuto)
	r.early(t, ipvs.SynproxyOff)
	want(ipvs.SynproxyOff)
	key := r.proxied(t, proxy{})
	r.isEarly(t, 0, func() { r.linux(t, 0, 4000) })
	r.early(t, ipvs.SynproxyOn)
	want(ipvs.SynproxyOn)
	r.isEarly(t, 1, func() { r.linux(t, 1, 4000) })
	// it goes and comes with the proxies
	for i, mode := range []ipvs.SynproxyMode{ipvs.SynproxyOff, ipvs.SynproxyOn} {
		var e ipvs.Ext
		e.SetSynproxy(mode)
		r.apply(t, ipvs.Op{Kind: ipvs.SetExt, Service: ipvs.Service{ServiceKey: key}, Ext: e})
		if mode == ipvs.SynproxyOn {
			r.isEarly(t, 1, func() { r.linux(t, 2+i, 4000) })
		}
	}
}

// Where somebody filters what comes in, he sees what he always did.
func caseEarlyFilter(t *testing.T, r *rig) {
	r.proxied(t, proxy{})
	r.isEarly(t, 1, func() { r.linux(t, 0, 4000) })
	undo := r.hook(t, nftables.ChainHookInput, *nftables.ChainPriorityFilter, dropSyn()...)
	syns := r.stat(t, uapi.ExtStatSpSyn)
	r.isEarly(t, 0, func() { r.unansweredSyn(t, r.cip[1]) })
	if n := r.stat(t, uapi.ExtStatSpSyn); n != syns {
		t.Errorf("%d SYNs that a filter dropped were counted", n-syns)
	}
	r.early(t, ipvs.SynproxyOn)
	r.isEarly(t, 1, func() { r.linux(t, 2, 4000) })
	r.early(t, ipvs.SynproxyAuto)
	undo()
	r.isEarly(t, 1, func() { r.linux(t, 3, 4000) })
}

// A rule in raw comes first, whatever the mode.
func caseEarlyRaw(t *testing.T, r *rig) {
	r.proxied(t, proxy{})
	r.hook(t, nftables.ChainHookPrerouting, *nftables.ChainPriorityRaw, dropSyn()...)
	for _, mode := range []ipvs.SynproxyMode{ipvs.SynproxyAuto, ipvs.SynproxyOn} {
		r.early(t, mode)
		r.isEarly(t, 0, func() { r.unansweredSyn(t, r.cip[0]) })
	}
	r.counts(t, map[uint16]uint64{uapi.ExtStatSpSyn: 0})
}

// A hook that comes behind, as that of a table that sets marks, is waited for.
func caseEarlyBetween(t *testing.T, r *rig) {
	r.proxied(t, proxy{})
	undo := r.hook(t, nftables.ChainHookPrerouting, *nftables.ChainPriorityMangle, &expr.Counter{})
	r.isEarly(t, 0, func() { r.handshakeOf(t, 0) })
	undo()
	r.isEarly(t, 2, func() { r.handshakeOf(t, 1) })
}

// handshakeOf is one without anything beside it.
func (r *rig) handshakeOf(t *testing.T, n int) {
	t.Helper()
	r.established(t, n, 4000, false).talk(t)
}

// With connection tracking in the namespace it is tracking that comes first.
func caseEarlyConntrack(t *testing.T, r *rig) {
	r.proxied(t, proxy{})
	undo := r.hook(t, nftables.ChainHookOutput, *nftables.ChainPriorityFilter, &expr.Ct{Key: expr.CtKeySTATE, Register: 1})
	r.isEarly(t, 0, func() { r.handshakeOf(t, 0) })
	r.early(t, ipvs.SynproxyOn)
	r.isEarly(t, 2, func() { r.handshakeOf(t, 1) })
	undo()
}

// What rp_filter keeps out is not answered; what it lets in is.
func caseEarlyRPFilter(t *testing.T, r *rig) {
	if r.v6() {
		return // there is none
	}
	r.proxied(t, proxy{})
	set := func(v string) { testnet.Must(t, r.d.Sysctl("net.ipv4.conf.front.rp_filter", v)) }
	set("1")
	r.isEarly(t, 1, func() { r.linux(t, 0, 4000) })
	for _, mode := range []ipvs.SynproxyMode{ipvs.SynproxyOff, ipvs.SynproxyAuto, ipvs.SynproxyOn} {
		r.early(t, mode)
		r.isEarly(t, 0, func() { r.unansweredSyn(t, r.rip[0]) })
	}
	r.counts(t, map[uint16]uint64{uapi.ExtStatSpSyn: 1})
	set("2")
	// its way back is by the other link
	r.isEarly(t, 1, func() {
		r.front.Send(t, testpkt.NewPeer(netip.AddrPortFrom(r.rip[0], 4000), netip.AddrPortFrom(r.vip, 80), 1).Syn())
		if p := r.back.Recv(t); p.Flags != testpkt.SYN|testpkt.ACK {
			t.Errorf("instead of a cookie: %v", p)
		}
	})
}

// Policy routing has its say: IPv4 is asked, IPv6 is left to it.
func caseEarlyRules(t *testing.T, r *rig) {
	r.proxied(t, proxy{})
	rule := netlink.NewRule()
	rule.Family, rule.Priority, rule.Table = int(ipvs.FamilyOf(r.vip)), 1000, unix.RT_TABLE_MAIN
	testnet.Must(t, r.d.Link.RuleAdd(rule))
	n := uint64(2)
	if r.v6() {
		n = 0
	}
	r.isEarly(t, n, func() { r.handshakeOf(t, 0) })
	testnet.Must(t, r.d.Link.RuleDel(rule))
}

// Whoever listens to the device sees the packet as it came.
func caseEarlyTap(t *testing.T, r *rig) {
	r.proxied(t, proxy{})
	mac, err := r.d.MAC("front")
	testnet.Must(t, err)
	tap, err := testpkt.Open(r.d, "front", mac)
	testnet.Must(t, err)
	defer tap.Close()
	var f *spFlow
	r.isEarly(t, 2, func() {
		f = r.linux(t, 0, 4000)
		p := f.c.Data("hello")
		r.front.Send(t, p)
		f.meetServer(t, p)
		f.accept(t, p)
		f.c.Seq -= p.Len()
		again := f.c.Data("hello")
		syn := testpkt.NewPeer(f.c.Local, f.vip, f.isn).Syn(synOptions(r.fam)...)
		for _, want := range []testpkt.Packet{syn, again} {
			if d := testpkt.Diff(want, tap.Recv(t)); d != "" {
				t.Errorf("the tap saw another packet:\n%s", d)
			}
		}
	})
	f.reply(t, f.s.Data("bye"))
}

// What is not plain goes where it always did.
func caseEarlyOdd(t *testing.T, r *rig) {
	r.proxied(t, proxy{})
	syn := testpkt.NewPeer(netip.AddrPortFrom(r.cip[0], 4000), netip.AddrPortFrom(r.vip, 80), 1).Syn(synOptions(r.fam)...)
	pkts := []testpkt.Packet{syn}
	if r.v6() {
		pkts[0].Ext = make([]byte, 8)
		copy(pkts[0].Ext, []byte{0, 0, 1, 4}) // PadN
	} else {
		pkts[0].DF = false
		pkts = pkts[0].Fragment(24)
	}
	r.isEarly(t, 0, func() {
		r.front.Send(t, pkts...)
		if p := r.front.Recv(t); p.Flags != testpkt.SYN|testpkt.ACK {
			t.Errorf("instead of a cookie: %v", p)
		}
	})
	for _, flags := range []testpkt.Flags{testpkt.FIN | testpkt.ACK, testpkt.SYN | testpkt.ACK, testpkt.SYN | testpkt.FIN, testpkt.RST | testpkt.ACK, 0} {
		p := syn.Clone()
		p.Flags, p.Options = flags, nil
		r.isEarly(t, 0, func() { r.front.Send(t, p) })
	}
	// a SYN with an ACK makes a connection, as ever
	r.front.Drain()
	r.back.Drain()
}

// An address that is not here any more is nobody's to answer for, and is so again
// when it comes back: as in a failover.
func caseEarlyNotHere(t *testing.T, r *rig) {
	r.proxied(t, proxy{})
	r.isEarly(t, 1, func() { r.linux(t, 0, 4000) })
	vip := netip.PrefixFrom(r.vip, r.vip.BitLen())
	for i := range 2 {
		testnet.Must(t, r.d.DelAddr("front", vip))
		r.isEarly(t, 0, func() {
			r.front.Send(t, testpkt.NewPeer(netip.AddrPortFrom(r.cip[0], r.freshPort()), netip.AddrPortFrom(r.vip, 80), 1).Syn())
			r.front.Rest() // perhaps an ICMP error
		})
		testnet.Must(t, r.d.AddAddr("front", vip))
		r.isEarly(t, 1, func() { r.linux(t, 1+i, 4000) })
	}
}

// A packet from outside that bears an address of this host is none of ours.
func caseEarlySpoofed(t *testing.T, r *rig) {
	r.proxied(t, proxy{setup: setup{more: ipvs.Ext{Set: ipvs.ExtFieldInvalid, Invalid: ipvs.InvalidRST}}})
	for _, mode := range []ipvs.SynproxyMode{ipvs.SynproxyAuto, ipvs.SynproxyOn} {
		r.early(t, mode)
		r.isEarly(t, 0, func() {
			for _, from := range []netip.Addr{r.fam.front, r.fam.back, r.vip} {
				p := testpkt.NewPeer(netip.AddrPortFrom(from, r.freshPort()), netip.AddrPortFrom(r.vip, 80), 1)
				r.front.Send(t, p.Syn(), p.Bare())
			}
			r.front.Quiet(t)
			r.back.Quiet(t)
		})
	}
}

// A mark may be set later on, so services by fwmark are not early.
func caseEarlyFwmark(t *testing.T, r *rig) {
	r.proxied(t, proxy{setup: setup{fwmark: 5}})
	r.hook(t, nftables.ChainHookPrerouting, *nftables.ChainPriorityMangle,
		&expr.Immediate{Register: 1, Data: []byte{5, 0, 0, 0}}, &expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: 1})
	r.early(t, ipvs.SynproxyOn)
	r.isEarly(t, 0, func() { r.linux(t, 0, 4000) })
}

// rawTCP is an IPv4 packet like p, whose TCP part is what change makes of it.
func rawTCP(p testpkt.Packet, change func(tcp []byte) []byte) testpkt.Packet {
	whole := p.Encode()
	tcp := change(whole[len(whole)-20-len(p.Options)-len(p.Payload):])
	p.Src, p.Dst = netip.AddrPortFrom(p.Src.Addr(), 0), netip.AddrPortFrom(p.Dst.Addr(), 0)
	p.Options, p.Flags, p.Seq, p.Ack, p.Window = nil, 0, 0, 0, 0
	// the only fragment of IPv4 is none, and is sent as it is
	p.Payload, p.Frag = tcp, true
	return p
}

// caseEarlyAlike: what is strange about a packet is judged the same way, answered
// with the same packets and counted in the same place, whoever judges it.
func caseEarlyAlike(t *testing.T, r *rig) {
	r.proxied(t, proxy{setup: setup{more: ipvs.Ext{Set: ipvs.ExtFieldInvalid, Invalid: ipvs.InvalidRST}}})
	peer := func(src netip.Addr) *testpkt.Peer {
		return testpkt.NewPeer(netip.AddrPortFrom(src, 4000), netip.AddrPortFrom(r.vip, 80), 77)
	}
	syn, ack := peer(r.cip[0]).Syn(synOptions(r.fam)...), peer(r.cip[0]).Bare()
	like := func(p testpkt.Packet, change func(*testpkt.Packet)) testpkt.Packet {
		q := p.Clone()
		change(&q)
		return q
	}
	type one struct {
		name  string
		p     testpkt.Packet
		early bool
	}
	all := []one{
		{"SYN", syn, true},
		{"SYN with data", like(syn, func(p *testpkt.Packet) { p.Payload = []byte("GET / HTTP/1.1\r\n\r\n") }), true},
		{"SYN, checksum of the device", like(syn, func(p *testpkt.Packet) { p.Sum = testpkt.SumPartial }), true},
		{"SYN, wrong checksum", like(syn, func(p *testpkt.Packet) { p.Sum = testpkt.SumBad }), true},
		{"SYN that asks for ECN", like(syn, func(p *testpkt.Packet) { p.Flags |= testpkt.ECE | testpkt.CWR }), true},
		{"SYN with PSH and URG", like(syn, func(p *testpkt.Packet) { p.Flags |= testpkt.PSH | testpkt.URG }), true},
		{"SYN with options that are none", like(syn, func(p *testpkt.Packet) { p.Options = []byte{2, 40, 1, 1, 8, 0, 3, 3} }), true},
		{"ACK", ack, true},
		{"ACK with data", like(ack, func(p *testpkt.Packet) { p.Payload = []byte("x") }), true},
		{"ACK, wrong checksum", like(ack, func(p *testpkt.Packet) { p.Sum = testpkt.SumBad }), true},
		{"ACK with PSH, URG, ECE and CWR", like(ack, func(p *testpkt.Packet) { p.Flags |= testpkt.PSH | testpkt.URG | testpkt.ECE | testpkt.CWR }), true},
		{"FIN", like(ack, func(p *testpkt.Packet) { p.Flags |= testpkt.FIN }), false},
		{"RST", like(ack, func(p *testpkt.Packet) { p.Flags = testpkt.RST }), false},
	}
	odd := []netip.Addr{r.fam.front, r.vip}
	if r.v6() {
		odd = append(odd, netip.IPv6LinkLocalAllNodes(), netip.IPv6Loopback(), netip.IPv6Unspecified())
	} else {
		odd = append(odd, netip.MustParseAddr("10.0.1.255"), netip.MustParseAddr("255.255.255.255"),
			netip.MustParseAddr("224.0.0.1"), netip.MustParseAddr("127.0.0.1"), netip.IPv4Unspecified())
		stamped := like(ack, func(p *testpkt.Packet) {
			p.Options = testpkt.Options(testpkt.Timestamps(1, 2), testpkt.NOP(), testpkt.NOP())
		})
		for _, c := range []struct {
			name     string
			change   func(tcp []byte) []byte
			syn, ack bool // early
		}{
			{"a header of less than 20 bytes", func(tcp []byte) []byte { tcp[12] = 4 << 4; return tcp }, true, false},
			{"options that the packet does not have", func(tcp []byte) []byte { tcp[12] = 15 << 4; return tcp[:24] }, true, false},
			{"half a header", func(tcp []byte) []byte { return tcp[:12] }, false, false},
			{"nothing but ports", func(tcp []byte) []byte { return tcp[:4] }, false, false},
			{"no checksum", func(tcp []byte) []byte { tcp[16], tcp[17] = 0, 0; return tcp }, true, true},
		} {
			all = append(all, one{"SYN, " + c.name, rawTCP(syn, c.change), c.syn}, one{"ACK, " + c.name, rawTCP(stamped, c.change), c.ack})
		}
	}
	for _, a := range odd {
		// "::" is nobody's, nor is it kept out
		all = append(all, one{"SYN from " + a.String(), peer(a).Syn(), false},
			one{"ACK from " + a.String(), peer(a).Bare(), a == netip.IPv6Unspecified()})
	}
	told := func(mode ipvs.SynproxyMode, p testpkt.Packet) (packets []string, counted ipvs.ExtStats, early uint64) {
		t.Helper()
		r.early(t, mode)
		r.apply(t, ipvs.Op{Kind: ipvs.ZeroExt})
		r.front.Send(t, p)
		for _, port := range []*testpkt.Port{r.front, r.back} {
			for _, got := range port.Rest() {
				if got.Flags == testpkt.SYN|testpkt.ACK {
					got.Seq = 0 // the cookie knows the time
				}
				got.ID = 0
				packets = append(packets, got.String())
			}
		}
		counted, err := r.x.ExtStats(t.Context())
		testnet.Must(t, err)
		early = counted[uapi.ExtStatSpEarly]
		delete(counted, uapi.ExtStatSpEarly)
		return packets, counted, early
	}
	for _, c := range all {
		packets, counted, _ := told(ipvs.SynproxyOff, c.p)
		for _, mode := range []ipvs.SynproxyMode{ipvs.SynproxyAuto, ipvs.SynproxyOn} {
			p, n, early := told(mode, c.p)
			if !slices.Equal(p, packets) || !maps.Equal(n, counted) {
				t.Errorf("%s: %v answers %q and counts %v, off %q and %v", c.name, mode, p, n, packets, counted)
			}
			if (early == 1) != c.early {
				t.Errorf("%s: %v counts %d as early, want %v", c.name, mode, early, c.early)
			}
		}
	}
}

// caseEarlyIPOptions: packets with options of IP go where they always did, and their
// answers have none.
func caseEarlyIPOptions(t *testing.T, r *rig) {
	if r.v6() {
		return // the like of them is in odd
	}
	r.proxied(t, proxy{})
	r.isEarly(t, 0, func() {
		f := &spFlow{flow: &flow{r: r, vip: netip.AddrPortFrom(r.vip, 80)}, isn: 50, scaled: true, ws: 7, opts: serverOptions(r.fam)}
		f.c = testpkt.NewPeer(netip.AddrPortFrom(r.cip[0], 4000), f.vip, f.isn)
		syn := f.c.Syn(synOptions(r.fam)...)
		syn.IPOpts = []byte{1, 1, 1, 1}
		r.front.Send(t, syn)
		got := r.front.Recv(t)
		want := testpkt.Packet{Src: f.vip, Dst: f.c.Local, Proto: testpkt.TCP, TTL: 64, DF: true, Flags: testpkt.SYN | testpkt.ACK,
			Seq: got.Seq, Ack: f.isn + 1, Window: spWindow, Options: testpkt.Options(cookieOptions(r.fam)...)}
		if d := testpkt.Diff(want, got); d != "" {
			t.Fatalf("the cookie differs:\n%s", d)
		}
		f.cookie = got.Seq
		f.c.Took(got)
		p := f.c.Data("with options")
		p.IPOpts = []byte{1, 1, 1, 1}
		r.front.Send(t, p)
		f.meetServer(t, p)
		f.accept(t, p)
		f.talk(t)
	})
}

// caseEarlyMerged: a cookie that comes back with data in several segments, merged by
// who sent them and by who received them (GRO).
func caseEarlyMerged(t *testing.T, r *rig) {
	r.proxied(t, proxy{})
	data := strings.Repeat("0123456789abcdef", 150) // two segments
	for i, mode := range []ipvs.SynproxyMode{ipvs.SynproxyOff, ipvs.SynproxyAuto} {
		r.early(t, mode)
		early := 2 * uint64(i)
		r.isEarly(t, early, func() {
			f := r.linux(t, i, 4000)
			p := f.c.Data(data)
			p.Sum, p.GSO = testpkt.SumPartial, 1200
			r.front.Send(t, p)
			f.meetServer(t, p)
			f.accept(t, p)
			f.reply(t, f.s.Data("200 OK"))
		})
	}
	// veth merges what no device before it could have; the first segment waits for the second.
	testnet.Must(t, testpkt.Offload(r.w, "front", false, "tso"), testpkt.Offload(r.d, "front", true, "gro"))
	r.d.SysFS(t, "class/net/front/gro_flush_timeout", "20000000")
	for i, mode := range []ipvs.SynproxyMode{ipvs.SynproxyOff, ipvs.SynproxyAuto} {
		r.early(t, mode)
		r.isEarly(t, 2*uint64(i), func() {
			f := r.linux(t, 2+i, 4000)
			first := f.c.Segment(testpkt.ACK, data[:1200])
			second := f.c.Data(data[1200:])
			r.front.Send(t, first, second)
			f.meetServer(t, first)
			merged := second.Clone()
			merged.Seq, merged.ID, merged.Payload = first.Seq, first.ID, []byte(data)
			merged.Sum, merged.GSO = testpkt.SumPartial, 1200
			f.accept(t, merged)
			f.reply(t, f.s.Data("200 OK"))
		})
	}
}

// caseEarlyMacvlan: a device on top of another.
func caseEarlyMacvlan(t *testing.T, r *rig) {
	r.proxied(t, proxy{})
	parent, err := r.d.Link.LinkByName("front")
	testnet.Must(t, err)
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex = "mac0", parent.Attrs().Index
	testnet.Must(t, r.d.AddLink(&netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_BRIDGE}))
	if !r.v6() {
		for _, key := range []string{"net.ipv4.conf.mac0.rp_filter", "net.ipv4.conf.all.rp_filter"} {
			testnet.Must(t, r.d.Sysctl(key, "0"))
		}
	}
	mac, err := r.d.MAC("mac0")
	testnet.Must(t, err)
	r.front.SetPeer(mac)
	for i, mode := range []ipvs.SynproxyMode{ipvs.SynproxyOff, ipvs.SynproxyAuto} {
		r.early(t, mode)
		r.isEarly(t, 2*uint64(i), func() { r.handshakeOf(t, i) })
	}
}

// caseEarlyElsewhere: the vip is an address of another device than packets come by.
func caseEarlyElsewhere(t *testing.T, r *rig) {
	vips := map[string]netip.Addr{"lo": netip.MustParseAddr("10.0.5.1"), "back": netip.MustParseAddr("10.0.5.2")}
	if r.v6() {
		vips = map[string]netip.Addr{"lo": netip.MustParseAddr("2001:db8:5::1"), "back": netip.MustParseAddr("2001:db8:5::2")}
	}
	_, ops := r.operations(setup{})
	r.apply(t, ops[:2]...) // the group
	n := 0
	for link, vip := range vips {
		testnet.Must(t, r.d.AddAddr(link, netip.PrefixFrom(vip, vip.BitLen())))
		r.vip = vip
		_, ops := r.operations(setup{ext: ipvs.ExtSynproxy})
		r.apply(t, ops[2:]...)
		for i, mode := range []ipvs.SynproxyMode{ipvs.SynproxyOff, ipvs.SynproxyAuto} {
			r.early(t, mode)
			r.isEarly(t, 2*uint64(i), func() { r.handshakeOf(t, n) })
			n++
		}
	}
}

// afar is a client behind a router, and his network.
func (r *rig) afar() (c netip.Addr, net netip.Prefix) {
	if r.v6() {
		return netip.MustParseAddr("2001:db8:7::7"), netip.MustParsePrefix("2001:db8:7::/64")
	}
	return netip.MustParseAddr("10.0.7.7"), netip.MustParsePrefix("10.0.7.0/24")
}

// ip runs the command in the director.
func (r *rig) ip(t *testing.T, format string, args ...any) string {
	t.Helper()
	family := "-4"
	if r.v6() {
		family = "-6"
	}
	return r.d.Exec(t, "ip", append([]string{family}, strings.Fields(fmt.Sprintf(format, args...))...)...)
}

// answered sends a SYN of c in the modes off and auto, fails t unless the answer is the
// same packet by the same link and is counted in the same way, and returns it. early
// says what auto deals with itself.
func (r *rig) answered(t *testing.T, c netip.Addr, early bool) (p testpkt.Packet, link string) {
	t.Helper()
	return r.answeredAmid(t, c, early, func() {}, func() {})
}

// answeredAmid is answered with something that is done before and after each SYN.
func (r *rig) answeredAmid(t *testing.T, c netip.Addr, early bool, before, after func()) (p testpkt.Packet, link string) {
	t.Helper()
	syn := testpkt.NewPeer(netip.AddrPortFrom(c, r.freshPort()), netip.AddrPortFrom(r.vip, 80), 1).Syn(synOptions(r.fam)...)
	told := map[ipvs.SynproxyMode]string{}
	counted := map[ipvs.SynproxyMode]ipvs.ExtStats{}
	for _, mode := range []ipvs.SynproxyMode{ipvs.SynproxyOff, ipvs.SynproxyAuto} {
		r.early(t, mode)
		r.apply(t, ipvs.Op{Kind: ipvs.ZeroExt})
		before()
		r.front.Send(t, syn)
		after()
		p, link = testpkt.Packet{}, ""
		for name, port := range map[string]*testpkt.Port{"front": r.front, "back": r.back} {
			for _, got := range port.Rest() {
				if got.Proto == testpkt.TCP {
					p, link = got, name
				}
			}
		}
		same := p.Clone()
		same.Seq, same.ID, same.Sum = 0, 0, 0 // the cookie knows the time
		told[mode] = link + ": " + same.String()
		s, err := r.x.ExtStats(t.Context())
		testnet.Must(t, err)
		if n := s[uapi.ExtStatSpEarly]; (n == 1) != (early && mode == ipvs.SynproxyAuto) {
			t.Errorf("%v dealt with %d SYNs early, which is %v", mode, n, early)
		}
		delete(s, uapi.ExtStatSpEarly)
		counted[mode] = s
	}
	if auto, off := told[ipvs.SynproxyAuto], told[ipvs.SynproxyOff]; auto != off {
		t.Errorf("auto answers by %s, off by %s", auto, off)
	}
	if auto, off := counted[ipvs.SynproxyAuto], counted[ipvs.SynproxyOff]; !maps.Equal(auto, off) {
		t.Errorf("auto counts %v, off %v", auto, off)
	}
	return p, link
}

// wayIs fails t unless a SYN of c is answered by link, "" for none, in each mode.
func (r *rig) wayIs(t *testing.T, c netip.Addr, link string, early bool) {
	t.Helper()
	if _, got := r.answered(t, c, early); got != link {
		t.Errorf("the answer went out by %q, want %q", got, link)
	}
}

// caseEarlyWays: whatever the routes to the client are, and from one SYN to the next,
// the answer takes the way that any packet to him takes.
func caseEarlyWays(t *testing.T, r *rig) {
	r.proxied(t, proxy{})
	c, net := r.afar()
	one := netip.PrefixFrom(c, c.BitLen())
	front, back := fmt.Sprintf("via %v dev front", r.cip[1]), fmt.Sprintf("via %v dev back", r.rip[1])
	r.wayIs(t, c, "", false)
	for _, forwarding := range []string{"0", "1"} {
		testnet.Must(t, r.d.Sysctl("net.ipv4.ip_forward", forwarding), r.d.Sysctl("net.ipv6.conf.all.forwarding", forwarding))
		r.ip(t, "route add %v %s", net, front)
		r.wayIs(t, c, "front", true)
		r.ip(t, "route replace %v %s", net, back)
		r.wayIs(t, c, "back", true)
		r.ip(t, "route replace %v %s", net, front)
		r.wayIs(t, c, "front", true)
		for _, more := range []string{back, back + " mtu 1400"} {
			r.ip(t, "route add %v %s", one, more)
			r.wayIs(t, c, "back", true)
			r.ip(t, "route del %v", one)
			r.wayIs(t, c, "front", true)
		}
		r.ip(t, "route del %v", net)
		r.ip(t, "route add default %s", front)
		r.wayIs(t, c, "front", true)
		r.ip(t, "route add default %s metric 5", back)
		_, link := r.answered(t, c, true)
		if want := map[bool]string{false: "front", true: "back"}[r.v6()]; link != want { // no metric is 1024 there
			t.Errorf("of two default routes the one by %q was taken, want %q", link, want)
		}
		r.ip(t, "route del default %s metric 5", back)
		r.wayIs(t, c, "front", true)
		r.ip(t, "route del default")
		r.wayIs(t, c, "", false)
	}
	r.noForwarding(t)
	r.ip(t, "route add %v %s", net, front)

	r.ip(t, "nexthop add id 7 %s", back)
	r.ip(t, "route add %v nhid 7", one)
	r.wayIs(t, c, "back", true)
	r.ip(t, "nexthop replace id 7 via %v dev front", r.cip[2])
	r.wayIs(t, c, "front", true)
	r.ip(t, "nexthop replace id 7 blackhole")
	r.wayIs(t, c, "", false)
	r.ip(t, "nexthop del id 7")
	r.wayIs(t, c, "front", true)

	for _, none := range []string{"unreachable", "blackhole", "prohibit"} {
		r.ip(t, "route add %s %v", none, one)
		r.wayIs(t, c, "", false)
		r.ip(t, "route del %s %v", none, one)
		r.wayIs(t, c, "front", true)
	}
	r.ip(t, "route add local %v dev lo", one)
	r.answered(t, c, false)
	r.ip(t, "route del local %v dev lo", one)
	r.wayIs(t, c, "front", true)

	if r.v6() {
		r.ip(t, "route add %v %s expires 3600", one, back)
		r.wayIs(t, c, "back", true)
		r.ip(t, "route replace %v %s expires 1", one, back)
		testnet.Eventually(t, time.Minute, func() error {
			if _, link := r.answered(t, c, true); link != "front" {
				return fmt.Errorf("the answer goes out by %q, though the route has expired", link)
			}
			return nil
		})
	}
	// for IPv6 the namespace is one with rules from now on
	r.ip(t, "route add %v %s table 100", one, back)
	r.ip(t, "rule add to %v lookup 100", one)
	r.wayIs(t, c, "back", !r.v6())
	r.ip(t, "rule del to %v lookup 100", one)
	r.wayIs(t, c, "front", !r.v6())
}

// caseEarlyEqualWays: of two routes to the client, which ports choose from, each is taken;
// and such as are for some sources are taken by these, which IPv6 has without rules.
func caseEarlyEqualWays(t *testing.T, r *rig) {
	r.proxied(t, proxy{})
	c, net := r.afar()
	policy := "net.ipv4.fib_multipath_hash_policy"
	if r.v6() {
		policy = "net.ipv6.fib_multipath_hash_policy"
	}
	testnet.Must(t, r.d.Sysctl(policy, "1")) // ports have a say
	r.ip(t, "route add %v nexthop via %v dev front nexthop via %v dev back", net, r.cip[1], r.rip[1])
	used := map[string]int{}
	for range 24 {
		_, link := r.answered(t, c, true)
		used[link]++
	}
	if used["front"] == 0 || used["back"] == 0 || len(used) != 2 {
		t.Errorf("of two ways these were taken: %v", used)
	}
	r.ip(t, "route del %v", net)
	if !r.v6() {
		return
	}
	one, front, back := netip.PrefixFrom(c, c.BitLen()), fmt.Sprintf("via %v dev front", r.cip[1]), fmt.Sprintf("via %v dev back", r.rip[1])
	r.ip(t, "route add %v %s", net, front)
	r.ip(t, "route add %v from %v %s", one, r.vip, back)
	r.wayIs(t, c, "back", true)
	r.ip(t, "route del %v from %v %s", one, r.vip, back)
	r.ip(t, "route add %v from %v %s", one, r.rip[0], back)
	r.wayIs(t, c, "front", true)
	r.ip(t, "route del %v from %v %s", one, r.rip[0], back)
}

// caseEarlyLearned: what was learned of the way to a client counts for him, and him
// alone: that it is narrower than the link.
func caseEarlyLearned(t *testing.T, r *rig) {
	r.proxied(t, proxy{})
	c, net := r.afar()
	r.ip(t, "route add %v via %v dev front", net, r.cip[1])
	headers := uint16(40)
	if r.v6() {
		headers = 60
	}
	mss := func(c netip.Addr) uint16 {
		t.Helper()
		p, link := r.answered(t, c, true)
		if link != "front" || len(p.Options) < 4 || p.Options[0] != 2 {
			t.Fatalf("by %q came\n%v", link, p)
		}
		return binary.BigEndian.Uint16(p.Options[2:])
	}
	if n := mss(c); n != 1500-headers {
		t.Errorf("the MSS offered is %d, want %d", n, 1500-headers)
	}
	conn, err := r.d.Dial(t.Context(), &stdnet.Dialer{LocalAddr: stdnet.UDPAddrFromAddrPort(netip.AddrPortFrom(r.fam.front, 0))}, "udp", netip.AddrPortFrom(c, 9).String())
	testnet.Must(t, err)
	defer conn.Close()
	_, err = conn.Write(make([]byte, 1400))
	testnet.Must(t, err)
	r.front.Send(t, testpkt.Error(r.cip[1], testpkt.TooBig, 1400, r.front.Recv(t), 0))
	if n := mss(c); n != 1400-headers {
		t.Errorf("the MSS offered to him behind the narrow link is %d, want %d", n, 1400-headers)
	}
	if n := mss(c.Next()); n != 1500-headers {
		t.Errorf("the MSS offered to his neighbour is %d, want %d", n, 1500-headers)
	}
}

// caseEarlyLinks: a link that loses its carrier or goes down takes its routes with it,
// and a router that does not answer is not one for a host that has another.
func caseEarlyLinks(t *testing.T, r *rig) {
	r.proxied(t, proxy{})
	c, net := r.afar()
	one := netip.PrefixFrom(c, c.BitLen())
	r.ip(t, "route add %v via %v dev front", net, r.cip[1])
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "spare"
	testnet.Must(t, r.d.AddLink(&netlink.Dummy{LinkAttrs: attrs}),
		r.d.Sysctl("net.ipv4.conf.spare.ignore_routes_with_linkdown", "1"), r.d.Sysctl("net.ipv6.conf.spare.ignore_routes_with_linkdown", "1"))
	sent := func() uint64 {
		t.Helper()
		l, err := r.d.Link.LinkByName("spare")
		testnet.Must(t, err)
		return l.Attrs().Statistics.TxPackets
	}
	bySpare := func() {
		t.Helper()
		before := sent()
		r.wayIs(t, c, "", true)
		if n := sent() - before; n != 2 { // one in each mode
			t.Errorf("%d answers went out by the spare link, want 2", n)
		}
	}
	r.ip(t, "route add %v dev spare", one)
	bySpare()
	carrier := func(v string) {
		t.Helper()
		r.d.SysFS(t, "class/net/spare/carrier", v)
		testnet.Eventually(t, time.Minute, func() error {
			if text := r.ip(t, "route show %v", one); strings.Contains(text, "linkdown") != (v == "0") {
				return fmt.Errorf("with carrier %s the route is %q", v, text)
			}
			return nil
		})
	}
	carrier("0")
	r.wayIs(t, c, "front", true)
	carrier("1")
	bySpare()
	testnet.Must(t, r.d.Down("spare"))
	r.wayIs(t, c, "front", true)

	if !r.v6() {
		return // no route is left for a router that does not answer
	}
	gone := r.rip[0].Next().Next().Next().Next().Next().Next().Next()
	r.ip(t, "route add %v via %v dev back", one, gone)
	r.ip(t, "neigh replace %v dev back nud failed", gone)
	r.wayIs(t, c, "front", true)
	mac, err := r.w.MAC("back")
	testnet.Must(t, err, r.d.AddNeighbour("back", gone, mac))
	r.wayIs(t, c, "back", true)
	r.ip(t, "neigh replace %v dev back nud failed", gone)
	r.wayIs(t, c, "front", true)
}

// caseEarlyRouter: a host that forwards nothing asks whether the router to the client is
// there, and what it knows of him changes with every packet.
func caseEarlyRouter(t *testing.T, r *rig) {
	r.proxied(t, proxy{})
	r.noForwarding(t)
	c, net := r.afar()
	mac, err := r.w.MAC("front")
	testnet.Must(t, err)
	unknown := r.cip[len(r.cip)-1].Next()
	routers := []netip.Addr{unknown}
	if r.v6() {
		routers = append(routers, netip.MustParseAddr("fe80::7"))
	}
	for _, router := range routers {
		is := func(state string) func() { // with an address if that is known then
			return func() {
				t.Helper()
				address := "lladdr " + mac.String()
				if state == "failed" || state == "incomplete" {
					address = ""
				}
				r.ip(t, "neigh replace %v %s dev front nud %s", router, address, state)
			}
		}
		isUnknown := func() {
			t.Helper()
			is("failed")()
			r.ip(t, "neigh del %v dev front", router)
		}
		for _, to := range []string{net.String(), "default"} {
			r.ip(t, "route add %s via %v dev front", to, router)
			for _, state := range []string{"permanent", "noarp", "reachable", "stale", "delay", "probe"} {
				if _, link := r.answeredAmid(t, c, true, is(state), func() {}); link != "front" {
					t.Errorf("with %v in %s the answer went out by %q", router, state, link)
				}
			}
			for state, before := range map[string]func(){"none": isUnknown, "failed": is("failed"), "incomplete": is("incomplete")} {
				// it waits until he answers
				if _, link := r.answeredAmid(t, c, true, before, is("reachable")); link != "front" {
					t.Errorf("with %v at first in %s the answer went out by %q", router, state, link)
				}
			}
			is("permanent")()
			r.wayIs(t, c, "front", true)
			r.ip(t, "route del %s", to)
			r.wayIs(t, c, "", false)
		}
	}
}
