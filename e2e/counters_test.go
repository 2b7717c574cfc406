// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testpkt"
	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/ipvs/uapi"
)

// counts is what counters of the extension have counted, by their numbers.
type counts map[uint16]uint64

// deed makes counters count.
type deed struct {
	name string
	do   func(*testing.T, *rig)
	want counts // all of them that are not 0 afterwards
	// ofNobody are counted where no service is known, or none any more.
	ofNobody bool
}

// drops are the counters of packets and connections that were refused, or could not
// be sent: each has its trace.
var drops = []uint16{
	uapi.ExtStatLportFull, uapi.ExtStatNoLaddr, uapi.ExtStatSpQdrop, uapi.ExtStatSpNodest, uapi.ExtStatAckStorm,
	uapi.ExtStatInvalidDrop, uapi.ExtStatInvalidRst, uapi.ExtStatAclDrop, uapi.ExtStatCpsDrop, uapi.ExtStatBpsDrop,
	uapi.ExtStatLimitDrop, uapi.ExtStatLroDrop, uapi.ExtStatMtuIcmp, uapi.ExtStatTtlIcmp, uapi.ExtStatRouteFail,
	uapi.ExtStatCsumBad, uapi.ExtStatMem, uapi.ExtStatBadPkt, uapi.ExtStatOpsDrop, uapi.ExtStatVipDrop,
}

// tracedDrops begins to trace what is dropped, and returns what ends that and says how
// often each reason was given.
func tracedDrops(t *testing.T) func() map[string]uint64 {
	t.Helper()
	dir := tracefs(t)
	trace, enable := filepath.Join(dir, "trace"), filepath.Join(dir, "events/ip_vs_x/ip_vs_x_drop/enable")
	testnet.Must(t, os.WriteFile(trace, nil, 0o644), os.WriteFile(enable, []byte("1"), 0o644))
	end := sync.OnceValue(func() error { return os.WriteFile(enable, []byte("0"), 0o644) })
	t.Cleanup(func() { testnet.Must(t, end()) })
	return func() map[string]uint64 {
		t.Helper()
		text, err := os.ReadFile(trace)
		testnet.Must(t, end(), err)
		reasons := map[string]uint64{}
		for line := range strings.Lines(string(text)) {
			if _, why, ok := strings.Cut(line, " ip_vs_x_drop: "); ok {
				_, reason, _ := strings.Cut(strings.TrimSpace(why), " reason=")
				reasons[reason]++
			}
		}
		return reasons
	}
}

// sameDrops fails t unless each drop that was counted was traced, and nothing else.
func sameDrops(t *testing.T, counted ipvs.ExtStats, traced map[string]uint64) {
	t.Helper()
	want := map[string]uint64{}
	for _, number := range drops {
		if n := counted[number]; n != 0 {
			want[ipvs.ExtStatName(number)] = n
		}
	}
	if !maps.Equal(traced, want) {
		t.Errorf("drops traced: %v, counted: %v", traced, want)
	}
}

// toCome is said of counters that this module does not show, as they cannot count.
const toCome = "of the fast path or of synchronisation, which are to come"

// listed is how many counters are shown: all but those to come, and one number that
// is none.
const listed = uapi.ExtStatMax - 5

// uncounted are counters that no deed here can move, and why.
var uncounted = map[uint16]string{
	uapi.ExtStatFastIn:    toCome,
	uapi.ExtStatFastOut:   toCome,
	uapi.ExtStatSyncRx:    toCome,
	uapi.ExtStatSyncClash: toCome,
	uapi.ExtStatMem:       "of allocations that fail: TestNoMemory",
	uapi.ExtStatLroDrop:   "no device here merges by LRO: TestLRO",
	uapi.ExtStatPad:       "no counter",
}

// made is what a connection by FNAT counts that is opened and talks once.
var made = counts{uapi.ExtStatLportOk: 1, uapi.ExtStatOutHit: 2}

// proxiedConn is what a SYN proxy counts for a connection up to its end of both handshakes.
var proxiedConn = counts{
	uapi.ExtStatSpSyn: 1, uapi.ExtStatSpSynack: 1, uapi.ExtStatSpAckOk: 1, uapi.ExtStatSpRsSyn: 1, uapi.ExtStatSpDone: 1,
	uapi.ExtStatLportOk: 1, uapi.ExtStatOutHit: 1,
}

// and is the sum.
func (c counts) and(more ...counts) counts {
	sum := maps.Clone(c)
	for _, m := range more {
		for number, n := range m {
			sum[number] += n
		}
	}
	return sum
}

// opened makes a connection and has it talk.
func opened(t *testing.T, r *rig, s setup) *flow {
	t.Helper()
	r.serve(t, s)
	f := r.open(t, 0, r.freshPort())
	f.reply(t, f.s.Bare())
	return f
}

// freshPort is a client port that no deed has used.
func (r *rig) freshPort() uint16 {
	r.used++
	return 20000 + r.used
}

// noForwarding has the director forward nothing by itself again.
func (r *rig) noForwarding(t *testing.T) {
	t.Helper()
	testnet.Must(t, r.d.Sysctl("net.ipv4.ip_forward", "0"), r.d.Sysctl("net.ipv6.conf.all.forwarding", "0"))
}

// unanswered sends the SYN of a client, and wants nothing to come of it.
func (r *rig) unanswered(t *testing.T) {
	t.Helper()
	r.start(t, 1, r.freshPort())
	r.back.Quiet(t)
	r.front.Quiet(t)
}

// half is a connection of SYN proxy whose real server has the SYN.
func (r *rig) half(t *testing.T, p proxy, payload string) *spFlow {
	t.Helper()
	r.proxied(t, p)
	f := r.linux(t, 0, r.freshPort())
	f.ack(t, payload)
	return f
}

// shutOut leaves the director no route for what has the source address a, not even
// to itself, until the test ends.
func (r *rig) shutOut(t *testing.T, a netip.Addr) {
	t.Helper()
	family := "-4"
	if a.Is6() {
		family = "-6"
	}
	for _, rule := range []string{"add pref 20 lookup local", "add pref 10 from " + a.String() + " unreachable", "del pref 0"} {
		r.d.Exec(t, "ip", append([]string{family, "rule"}, strings.Fields(rule)...)...)
	}
	t.Cleanup(func() {
		for _, rule := range []string{"add pref 0 lookup local", "del pref 10", "del pref 20"} {
			_, err := r.d.Run(context.WithoutCancel(t.Context()), "ip", append([]string{family, "rule"}, strings.Fields(rule)...)...)
			testnet.Must(t, err)
		}
	})
}

var deeds = []deed{
	// before a deed leaves the namespace marked as one that has had policy rules
	{"early", func(t *testing.T, r *rig) {
		r.early(t, ipvs.SynproxyAuto)
		defer r.early(t, ipvs.SynproxyOff)
		r.proxied(t, proxy{})
		r.linux(t, 0, r.freshPort())
	}, counts{uapi.ExtStatSpSyn: 1, uapi.ExtStatSpSynack: 1, uapi.ExtStatSpEarly: 1}, false},
	{"connection", func(t *testing.T, r *rig) { opened(t, r, setup{}) }, made, false},
	{"port_in_use", func(t *testing.T, r *rig) {
		// One port: the second finds it taken, and a second time when it looks for one to take back.
		opened(t, r, setup{ports: [2]uint16{5000, 5000}})
		r.unanswered(t)
	}, made.and(counts{uapi.ExtStatLportConflict: 2, uapi.ExtStatLportFull: 1}), false},
	{"client_port_in_use", func(t *testing.T, r *rig) {
		// Without FNAT the server sees the client's port, which his connection with a
		// service that has gone still has.
		nat := proxy{nat: true}
		key := r.proxied(t, nat)
		defer r.noForwarding(t)
		f := r.linux(t, 0, r.freshPort())
		f.nat = true
		f.ack(t, "")
		r.apply(t, ipvs.Op{Kind: ipvs.DelService, Service: ipvs.Service{ServiceKey: key}}, ipvs.Op{Kind: ipvs.ZeroExt})
		nat.port = 81
		r.proxied(t, nat)
		c := testpkt.NewPeer(f.c.Local, netip.AddrPortFrom(r.vip, 81), 1)
		r.front.Send(t, c.Syn())
		c.Took(r.front.Recv(t))
		r.front.Send(t, c.Bare())
		r.front.Quiet(t)
		r.back.Quiet(t)
	}, counts{uapi.ExtStatSpSyn: 1, uapi.ExtStatSpSynack: 1, uapi.ExtStatSpAckOk: 1, uapi.ExtStatLportConflict: 1, uapi.ExtStatLportFull: 1}, false},
	{"port_taken_back", func(t *testing.T, r *rig) {
		r.serve(t, setup{ports: [2]uint16{5000, 5000}})
		f := r.open(t, 0, r.freshPort())
		f.finish(t)
		r.dial(t, 1, r.freshPort())
	}, made.and(counts{uapi.ExtStatLportConflict: 1, uapi.ExtStatLportReclaim: 1}), false},
	{"exhaust_rst", func(t *testing.T, r *rig) {
		opened(t, r, setup{ports: [2]uint16{5000, 5000}, ext: ipvs.ExtExhaustRST})
		r.start(t, 1, r.freshPort())
		if p := r.front.Recv(t); p.Flags&testpkt.RST == 0 {
			t.Errorf("the SYN was answered by\n%v", p)
		}
	}, made.and(counts{uapi.ExtStatLportConflict: 2, uapi.ExtStatLportFull: 1, uapi.ExtStatExhaustRst: 1}), false},
	{"no_address", func(t *testing.T, r *rig) {
		r.serve(t, setup{})
		r.apply(t, r.laddrFlags(r.lip[0], ipvs.LaddrNoNew))
		r.unanswered(t)
	}, counts{uapi.ExtStatNoLaddr: 1}, false},
	{"toa", func(t *testing.T, r *rig) {
		r.serve(t, setup{ext: ipvs.ExtTOA})
		f := r.toaDial(t, 0, r.freshPort())
		f.request(t, f.c.Bare())
	}, counts{uapi.ExtStatLportOk: 1, uapi.ExtStatOutHit: 1, uapi.ExtStatToaOk: 1}, false},
	{"toa_carrier", func(t *testing.T, r *rig) {
		r.serve(t, setup{ext: ipvs.ExtTOA})
		f := r.toaDial(t, 0, r.freshPort())
		f.carried(t, f.c.Data(strings.Repeat("q", int(r.mss()))))
	}, counts{uapi.ExtStatLportOk: 1, uapi.ExtStatOutHit: 1, uapi.ExtStatToaCarrier: 1}, false},
	{"toa_fail", func(t *testing.T, r *rig) {
		// A header without room, to a server on the director, and no way there for the carrier.
		key := r.serve(t, setup{ext: ipvs.ExtTOA})
		// its SYN/ACK is not sent again, nor that it has waited too long told, however long this takes
		testnet.Must(t, r.d.Sysctl("net.ipv4.tcp_synack_retries", "0"))
		r.d.Exec(t, "nft", "table inet mute { chain c { type filter hook output priority -300; tcp flags & rst == rst drop; }; }")
		defer func() {
			r.d.Exec(t, "nft", "delete table inet mute")
			testnet.Must(t, r.d.Sysctl("net.ipv4.tcp_synack_retries", "5"))
		}()
		r.apply(t, r.dest(ipvs.AddDest, key, r.fam.back, 1), r.dest(ipvs.DelDest, key, r.rip[0], 0))
		l, err := r.d.Listen(t.Context(), "tcp", netip.AddrPortFrom(r.fam.back, rport).String())
		testnet.Must(t, err)
		t.Cleanup(func() { l.Close() })
		c := testpkt.NewPeer(netip.AddrPortFrom(r.cip[0], r.freshPort()), netip.AddrPortFrom(r.vip, 80), 700)
		r.front.Send(t, c.Syn())
		c.Took(r.front.Recv(t))
		r.shutOut(t, r.lip[0])
		p := c.Bare()
		p.Options = bytes.Repeat(testpkt.NOP(), 40)
		r.front.Send(t, p)
		r.front.Quiet(t)
	}, counts{uapi.ExtStatLportOk: 1, uapi.ExtStatOutHit: 1, uapi.ExtStatToaFail: 1}, false},
	{"cookie", func(t *testing.T, r *rig) {
		r.proxied(t, proxy{})
		r.linux(t, 0, r.freshPort())
	}, counts{uapi.ExtStatSpSyn: 1, uapi.ExtStatSpSynack: 1}, false},
	{"handshakes", func(t *testing.T, r *rig) { r.half(t, proxy{}, "").accept(t) }, proxiedConn, false},
	{"no_cookie", func(t *testing.T, r *rig) {
		r.proxied(t, proxy{})
		p := r.strays(r.freshPort())[0]
		r.front.Send(t, p)
		expectReset(t, r.front, p)
	}, counts{uapi.ExtStatSpAckBad: 1}, false},
	{"server_mute", func(t *testing.T, r *rig) {
		r.half(t, proxy{set: ipvs.ExtFieldSPRetries, sp: ipvs.Synproxy{SYNRetries: 1}}, "")
		for _, p := range []*testpkt.Port{r.back, r.front} { // the SYN again, and the end
			_, err := p.Read(10 * time.Second)
			testnet.Must(t, err)
		}
	}, counts{uapi.ExtStatSpSyn: 1, uapi.ExtStatSpSynack: 1, uapi.ExtStatSpAckOk: 1, uapi.ExtStatSpRsSyn: 1, uapi.ExtStatLportOk: 1,
		uapi.ExtStatSpRsRetrans: 1, uapi.ExtStatSpRsTimeout: 1}, false},
	{"server_refuses", func(t *testing.T, r *rig) {
		f := r.half(t, proxy{}, "")
		r.back.Send(t, f.s.Reset())
		if p := r.front.Recv(t); p.Flags&testpkt.RST == 0 {
			t.Errorf("the client got\n%v", p)
		}
	}, counts{uapi.ExtStatSpSyn: 1, uapi.ExtStatSpSynack: 1, uapi.ExtStatSpAckOk: 1, uapi.ExtStatSpRsSyn: 1, uapi.ExtStatLportOk: 1,
		uapi.ExtStatOutHit: 1, uapi.ExtStatSpRsRst: 1}, false},
	{"data_held", func(t *testing.T, r *rig) {
		r.proxied(t, proxy{})
		f := r.linux(t, 0, r.freshPort())
		p := f.c.Data("early")
		r.front.Send(t, p)
		f.meetServer(t, p)
		f.accept(t, p)
	}, proxiedConn.and(counts{uapi.ExtStatSpQueued: 1}), false},
	{"data_not_held", func(t *testing.T, r *rig) {
		f := r.half(t, proxy{set: ipvs.ExtFieldSPQueue}, "early")
		f.c.Seq = f.isn + 1
		f.accept(t)
	}, proxiedConn.and(counts{uapi.ExtStatSpQdrop: 1}), false},
	{"reuse", func(t *testing.T, r *rig) {
		f := r.half(t, proxy{}, "")
		r.again(t, f, 77).ack(t, "")
	}, counts{uapi.ExtStatSpSyn: 2, uapi.ExtStatSpSynack: 2, uapi.ExtStatSpAckOk: 2, uapi.ExtStatSpRsSyn: 2, uapi.ExtStatLportOk: 1,
		uapi.ExtStatSpReuse: 1}, false},
	{"no_server", func(t *testing.T, r *rig) {
		key := r.proxied(t, proxy{})
		r.apply(t, r.dest(ipvs.SetDest, key, r.rip[0], 0))
		r.front.Send(t, testpkt.NewPeer(netip.AddrPortFrom(r.cip[0], r.freshPort()), netip.AddrPortFrom(r.vip, 80), 1).Syn())
		r.front.Quiet(t)
	}, counts{uapi.ExtStatSpSyn: 1, uapi.ExtStatSpNodest: 1}, false},
	{"storm", func(t *testing.T, r *rig) {
		f := r.half(t, proxy{}, "")
		f.accept(t)
		for range 129 {
			f.reply(t, f.s.Bare())
		}
		r.back.Send(t, f.s.Bare())
		r.front.Quiet(t)
	}, proxiedConn.and(counts{uapi.ExtStatOutHit: 130, uapi.ExtStatAckStorm: 1}), false},
	{"invalid_drop", func(t *testing.T, r *rig) {
		r.serve(t, setup{more: invalid(ipvs.InvalidDrop)})
		r.front.Send(t, r.strays(r.freshPort())[0])
		r.front.Quiet(t)
	}, counts{uapi.ExtStatInvalidDrop: 1}, false},
	{"invalid_rst", func(t *testing.T, r *rig) {
		r.serve(t, setup{more: invalid(ipvs.InvalidRST)})
		p := r.strays(r.freshPort())[0]
		r.front.Send(t, p)
		expectReset(t, r.front, p)
	}, counts{uapi.ExtStatInvalidRst: 1}, false},
	{"not_on_the_list", func(t *testing.T, r *rig) {
		r.makeSet(t, "clients", "hash:net", r.nf(), r.cip[1])
		r.serve(t, setup{more: r.acl(ipvs.ACLBlack, "clients")})
		r.unanswered(t)
	}, counts{uapi.ExtStatAclDrop: 1}, false},
	{"cps", func(t *testing.T, r *rig) {
		r.serve(t, setup{more: limits(ipvs.ExtFieldCPS, ipvs.Limits{CPS: 1})})
		r.dial(t, 0, r.freshPort())
		r.unanswered(t)
	}, counts{uapi.ExtStatLportOk: 1, uapi.ExtStatCpsDrop: 1}, false},
	{"bps", func(t *testing.T, r *rig) {
		key := r.serve(t, setup{proto: ipvs.UDP})
		r.datagram(t, 0, r.freshPort(), "first", testpkt.SumFull)
		r.set(t, key, limits(ipvs.ExtFieldBPSIn, ipvs.Limits{BPSIn: 1}))
		big := testpkt.Datagram(netip.AddrPortFrom(r.cip[0], 20000+r.used), netip.AddrPortFrom(r.vip, 80), strings.Repeat("x", 1400))
		for n := 0; ; n++ {
			r.front.Send(t, big)
			if len(r.back.Drain()) == 0 {
				break
			}
			if n > 5 { // its bucket holds two, and may be overdrawn
				t.Fatal("there is no limit")
			}
		}
	}, counts{uapi.ExtStatLportOk: 1, uapi.ExtStatBpsDrop: 1}, false},
	{"conn_limit", func(t *testing.T, r *rig) {
		opened(t, r, setup{more: limits(ipvs.ExtFieldConnLimit, ipvs.Limits{ConnLimit: 1})})
		r.unanswered(t)
	}, made.and(counts{uapi.ExtStatLimitDrop: 1}), false},
	{"too_big", func(t *testing.T, r *rig) {
		f := opened(t, r, setup{})
		testnet.Must(t, r.d.MTU("front", 1400))
		defer func() { testnet.Must(t, r.d.MTU("front", 1500)) }()
		r.back.Send(t, f.s.Data(strings.Repeat("x", 1400)))
		r.back.Recv(t)
	}, made.and(counts{uapi.ExtStatOutHit: 1, uapi.ExtStatMtuIcmp: 1}), false},
	{"ttl", func(t *testing.T, r *rig) {
		f := opened(t, r, setup{})
		p := f.s.Bare()
		p.TTL = 1
		r.back.Send(t, p)
		r.back.Recv(t)
	}, made.and(counts{uapi.ExtStatOutHit: 1, uapi.ExtStatTtlIcmp: 1}), false},
	{"no_route", func(t *testing.T, r *rig) {
		f := opened(t, r, setup{})
		one := netip.PrefixFrom(f.c.Local.Addr(), r.vip.BitLen())
		r.d.Exec(t, "ip", "route", "add", "unreachable", one.String())
		defer r.d.Exec(t, "ip", "route", "del", "unreachable", one.String())
		r.back.Send(t, f.s.Bare())
		r.front.Quiet(t)
	}, made.and(counts{uapi.ExtStatOutHit: 1, uapi.ExtStatRouteFail: 1}), false},
	{"request_ttl", func(t *testing.T, r *rig) {
		f := opened(t, r, setup{})
		p := f.c.Bare()
		p.TTL = 1
		r.front.Send(t, p)
		r.front.Recv(t)
	}, made.and(counts{uapi.ExtStatTtlIcmp: 1}), false},
	{"request_no_route", func(t *testing.T, r *rig) {
		f := opened(t, r, setup{})
		one := netip.PrefixFrom(r.rip[0], r.vip.BitLen())
		r.d.Exec(t, "ip", "route", "add", "unreachable", one.String())
		defer r.d.Exec(t, "ip", "route", "del", "unreachable", one.String())
		r.front.Send(t, f.c.Bare())
		r.back.Quiet(t)
	}, made.and(counts{uapi.ExtStatRouteFail: 1}), false},
	{"cookie_no_route", func(t *testing.T, r *rig) {
		r.proxied(t, proxy{})
		one := netip.PrefixFrom(r.cip[1], r.vip.BitLen())
		r.d.Exec(t, "ip", "route", "add", "unreachable", one.String())
		defer r.d.Exec(t, "ip", "route", "del", "unreachable", one.String())
		r.front.Send(t, testpkt.NewPeer(netip.AddrPortFrom(r.cip[1], r.freshPort()), netip.AddrPortFrom(r.vip, 80), 1).Syn())
		r.front.Quiet(t)
	}, counts{uapi.ExtStatSpSyn: 1, uapi.ExtStatRouteFail: 1}, false},
	{"cookie_no_server", func(t *testing.T, r *rig) {
		key := r.proxied(t, proxy{})
		f := r.linux(t, 0, r.freshPort())
		r.apply(t, r.dest(ipvs.SetDest, key, r.rip[0], 0))
		p := f.c.Bare()
		r.front.Send(t, p)
		expectReset(t, r.front, p)
	}, counts{uapi.ExtStatSpSyn: 1, uapi.ExtStatSpSynack: 1, uapi.ExtStatSpAckOk: 1, uapi.ExtStatSpNodest: 1}, false},
	{"server_bad_packet", func(t *testing.T, r *rig) {
		f := r.half(t, proxy{}, "")
		p := f.s.Syn(testpkt.MSS(1400))
		p.Sum = testpkt.SumBad
		r.back.Send(t, p)
		r.front.Quiet(t)
	}, counts{uapi.ExtStatSpSyn: 1, uapi.ExtStatSpSynack: 1, uapi.ExtStatSpAckOk: 1, uapi.ExtStatSpRsSyn: 1, uapi.ExtStatLportOk: 1,
		uapi.ExtStatOutHit: 1, uapi.ExtStatBadPkt: 1}, false},
	{"bad_icmp", func(t *testing.T, r *rig) {
		f := opened(t, r, setup{})
		bad := testpkt.Error(r.cip[0], testpkt.HostUnreachable, 0, f.toClient(f.s.Data("answer")), 0)
		bad.Sum = testpkt.SumBad
		r.front.Send(t, bad)
		r.back.Quiet(t)
	}, made.and(counts{uapi.ExtStatCsumBad: 1}), false},
	{"expire_rst", func(t *testing.T, r *rig) {
		f := opened(t, r, setup{ext: ipvs.ExtRSTOnExpire})
		if n, err := r.x.DeleteConns(t.Context(), ipvs.ConnFilter{}); n != 1 || err != nil {
			t.Fatalf("%d deleted, %v", n, err)
		}
		f.wantResets(t)
	}, made.and(counts{uapi.ExtStatExpireRst: 1}), false},
	{"bad_packet", func(t *testing.T, r *rig) {
		r.proxied(t, proxy{})
		p := testpkt.NewPeer(netip.AddrPortFrom(r.cip[0], r.freshPort()), netip.AddrPortFrom(r.vip, 80), 1).Syn()
		p.Sum = testpkt.SumBad
		r.front.Send(t, p)
		r.front.Quiet(t)
	}, counts{uapi.ExtStatSpSyn: 1, uapi.ExtStatBadPkt: 1}, false},
	{"one_packet", func(t *testing.T, r *rig) {
		_, ops := r.operations(setup{proto: ipvs.UDP})
		r.apply(t, ops...)
		for _, op := range ops {
			if op.Kind == ipvs.AddService {
				op.Kind, op.Service.Flags = ipvs.SetService, ipvs.FlagOnePacket
				r.apply(t, op)
			}
		}
		r.front.Send(t, testpkt.Datagram(netip.AddrPortFrom(r.cip[0], r.freshPort()), netip.AddrPortFrom(r.vip, 80), "x"))
		r.back.Quiet(t)
	}, counts{uapi.ExtStatOpsDrop: 1}, false},
	{"drop_vip", func(t *testing.T, r *rig) {
		r.serve(t, setup{})
		drop := func(on bool) {
			r.apply(t, ipvs.Op{Kind: ipvs.SetExtConfig, Config: ipvs.ExtConfig{Set: ipvs.ExtConfigDropVIP, DropVIP: on}})
		}
		drop(true)
		defer drop(false)
		r.front.Send(t, testpkt.NewPeer(netip.AddrPortFrom(r.cip[0], r.freshPort()), netip.AddrPortFrom(r.vip, 81), 1).Syn())
		r.front.Quiet(t)
	}, counts{uapi.ExtStatVipDrop: 1}, true},
}

// TestCounters: each counter counts what it is for, once, and nothing else: all of
// them are compared after each deed, of the namespace and of the service, and so is
// what /proc shows.
func TestCounters(t *testing.T) {
	needOurs(t)
	for _, f := range fams {
		t.Run("counters_"+f.name, func(t *testing.T) {
			r := newRig(t, f)
			// TestSynproxyEarly compares what is counted in each mode
			r.early(t, ipvs.SynproxyOff)
			for _, d := range deeds {
				t.Run(d.name, func(t *testing.T) { r.count(t, d) })
			}
		})
	}
	moved := counts{}
	for _, d := range deeds {
		moved = moved.and(d.want)
	}
	r := newRig(t, fam4)
	shown, err := r.x.ExtStats(t.Context())
	testnet.Must(t, err)
	for number := uint16(1); number <= uapi.ExtStatMax; number++ {
		if _, ok := shown[number]; ok == (uncounted[number] == toCome || number == uapi.ExtStatPad) {
			t.Errorf("counter %s is listed: %v", ipvs.ExtStatName(number), ok)
		}
		if strings.HasSuffix(ipvs.ExtStatName(number), "_drop") && !slices.Contains(drops, number) {
			t.Errorf("counter %s is of no drop", ipvs.ExtStatName(number))
		}
		if why := uncounted[number]; (why == "") == (moved[number] == 0) {
			t.Errorf("counter %s: moved %d times, and %q", ipvs.ExtStatName(number), moved[number], why)
		}
	}
}

// clean leaves the rig as it was before a deed.
func (r *rig) clean(t *testing.T) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context()) // also when the test is over
	_, err := r.x.DeleteConns(ctx, ipvs.ConnFilter{})
	testnet.Must(t, err, r.x.Apply(ctx, ipvs.Op{Kind: ipvs.Flush}, ipvs.Op{Kind: ipvs.ZeroExt}))
	err = r.x.Apply(ctx, ipvs.Op{Kind: ipvs.DelLGroup, LGroup: ipvs.LGroup{Name: group}})
	if !errors.Is(err, os.ErrNotExist) { // without FNAT there is none
		testnet.Must(t, err)
	}
	r.front.Drain()
	r.back.Drain()
}

// count does one deed and leaves the rig as it was.
func (r *rig) count(t *testing.T, d deed) {
	t.Helper()
	t.Cleanup(func() { r.clean(t) })
	traced := tracedDrops(t)
	d.do(t, r)
	all, err := r.x.ExtStats(t.Context())
	testnet.Must(t, err)
	same(t, "the namespace", all, d.want)
	sameDrops(t, all, traced())
	services, err := r.x.ExtServices(t.Context())
	testnet.Must(t, err)
	of := d.want
	if d.ofNobody {
		of = counts{}
	}
	of = maps.Clone(of)
	// The table of replies is the namespace's: it is looked into before anybody knows whose.
	delete(of, uapi.ExtStatOutHit)
	for _, s := range services {
		same(t, "the service", s.Stats, of)
	}
	shown := map[string]bool{}
	for line := range strings.Lines(r.read(t, "ip_vs_x_stats")) {
		shown[strings.Join(strings.Fields(line), " ")] = true
	}
	for number, n := range d.want {
		if want := fmt.Sprintf("%s %d", ipvs.ExtStatName(number), n); !shown[want] {
			t.Errorf("ip_vs_x_stats has no %q", want)
		}
	}
}

// same compares all counters.
func same(t *testing.T, whose string, got ipvs.ExtStats, want counts) {
	t.Helper()
	numbers := slices.Sorted(maps.Keys(got))
	for _, number := range numbers {
		if got[number] != want[number] {
			t.Errorf("%s counts %d of %s, want %d", whose, got[number], ipvs.ExtStatName(number), want[number])
		}
	}
	if len(numbers) != listed {
		t.Errorf("%s has %d counters", whose, len(numbers))
	}
}
