// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/netip"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/internal/testpkt"
	"github.com/lvs-fnat/lvs/ipvs"
)

// TestTraps: what other load balancers fell into, see the second table of
// docs/acceptance.md; and the case of services by mark.
func TestTraps(t *testing.T) {
	needOurs(t)
	for _, c := range []struct {
		name string
		run  func(*testing.T, *rig)
	}{
		{"20_fwmark", caseFWMark},
		{"bare_header_carries_toa", caseBareHeader},
		{"request_with_fin_carries_toa", caseRequestWithFin},
		{"addresses_do_not_march_with_servers", caseSpread},
		{"connections_survive_every_edit", caseEdits},
		{"drain_by_weight", caseDrainByWeight},
	} {
		each(t, c.name, c.run)
	}
}

// caseFWMark: the service is a mark; address and port come from the packet.
func caseFWMark(t *testing.T, r *rig) {
	r.serve(t, setup{fwmark: 7})
	unmark := testnetMark(t, r, 7)
	defer unmark()
	f := r.open(t, 0, 4000)
	f.talk(t)
	sent, got := r.datagram(t, 1, 4001, "question", testpkt.SumFull)
	r.answer(t, sent, got, "answer", testpkt.SumFull)
	for _, c := range r.conns(t) {
		if c.Virtual != netip.AddrPortFrom(r.vip, 80) || c.Local.Addr() != r.lip[0] {
			t.Errorf("connection %+v", c)
		}
	}
}

// caseBareHeader: a client without any option, whose headers are 20 bytes long.
func caseBareHeader(t *testing.T, r *rig) {
	r.serve(t, setup{ext: ipvs.ExtTOA})
	f := r.dial(t, 0, 4000, [][]byte{}...)
	f.toa, f.mssLess = 254, r.toaLen()
	f.reply(t, f.s.Syn())
	f.request(t, f.c.Bare())
	f.request(t, f.c.Data("GET /"))
}

// caseRequestWithFin: the handshake's ACK is lost, and all that the real server
// gets is one segment with the request and FIN.
func caseRequestWithFin(t *testing.T, r *rig) {
	r.serve(t, setup{ext: ipvs.ExtTOA})
	f := r.dial(t, 0, 4000)
	f.toa, f.mssLess = 254, r.toaLen()
	f.reply(t, f.s.Syn(testpkt.MSS(1400)))
	f.request(t, f.c.Segment(testpkt.FIN|testpkt.ACK|testpkt.PSH, "GET /"))
}

// caseSpread: as many addresses as real servers, both in turn: each real server
// sees each address, or it would have the ports of one alone.
func caseSpread(t *testing.T, r *rig) {
	r.serve(t, setup{lips: 4, servers: 4})
	for i := range 64 {
		r.front.Send(t, r.syns(i))
	}
	for range 64 {
		r.back.Recv(t)
	}
	pairs := map[[2]netip.Addr]int{}
	for _, c := range r.conns(t) {
		pairs[[2]netip.Addr{c.Local.Addr(), c.Dest.Addr()}]++
	}
	if len(pairs) != 16 {
		t.Errorf("%d of 16 pairs of local address and real server are used", len(pairs))
	}
	for p, n := range pairs {
		if n < 2 || n > 6 {
			t.Errorf("%v has %d of 64 connections", p, n)
		}
	}
}

// caseEdits: whatever of a service is changed, what is there goes on.
func caseEdits(t *testing.T, r *rig) {
	key := r.serve(t, setup{lips: 2})
	f := r.open(t, 0, 4000)
	svc := ipvs.Service{ServiceKey: key, Scheduler: "wlc", Netmask: 0xffffffff}
	if r.v6() {
		svc.Netmask = 128
	}
	for _, op := range []ipvs.Op{
		{Kind: ipvs.SetService, Service: svc},
		r.dest(ipvs.SetDest, key, r.rip[0], 9), r.dest(ipvs.AddDest, key, r.rip[1], 1),
		{Kind: ipvs.SetExt, Service: svc, Ext: ipvs.Ext{Set: ipvs.ExtFieldTSMode | ipvs.ExtFieldMSSClamp | ipvs.ExtFieldSelect,
			TSMode: ipvs.TSKeep, MSSClamp: 1000, Select: ipvs.SelectSrc}},
		{Kind: ipvs.SetExt, Service: svc, Ext: limits(ipvs.ExtFieldCPS|ipvs.ExtFieldConnLimit|ipvs.ExtFieldTimeoutEst,
			ipvs.Limits{CPS: 1, ConnLimit: 1, TimeoutEst: time.Minute})},
		r.laddrFlags(r.lip[0], ipvs.LaddrNoNew), r.laddrFlags(r.lip[1], ipvs.LaddrNoNew),
		{Kind: ipvs.DelLaddr, LGroup: ipvs.LGroup{Name: group}, Laddr: ipvs.Laddr{Addr: r.lip[0]}},
		{Kind: ipvs.SetExt, Service: svc, Ext: ipvs.Ext{Set: ipvs.ExtFieldFlags, FlagsMask: ipvs.ExtSeq}},
		r.dest(ipvs.SetDest, key, r.rip[0], 0),
	} {
		r.apply(t, op)
		f.talk(t)
	}
}

// caseDrainByWeight: a client that reuses its port at once keeps coming while the
// real server drains: a new connection goes elsewhere.
func caseDrainByWeight(t *testing.T, r *rig) {
	key := r.serve(t, setup{})
	f := r.open(t, 0, 4000)
	f.talk(t)
	r.apply(t, r.dest(ipvs.SetDest, key, r.rip[0], 0), r.dest(ipvs.AddDest, key, r.rip[1], 1))
	f.talk(t)
	f.finish(t)
	g := r.open(t, 0, 4000)
	if g.s.Local.Addr() != r.rip[1] {
		t.Errorf("the same client and port got %v, which drains", g.s.Local)
	}
	g.talk(t)
}
