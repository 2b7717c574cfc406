// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testpkt"
	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/ipvs/uapi"
)

// TestProxyWith: a SYN proxy together with what else a service can be, and with
// stacks of the kernel at both ends.
func TestProxyWith(t *testing.T) {
	needOurs(t)
	for _, c := range []struct {
		name string
		run  func(*testing.T, *rig)
	}{
		{"persistence", caseSPPersistent},
		{"fwmark", caseSPFWMark},
		{"cps", caseSPCPS},
		{"conn_limit", caseSPConnLimit},
		{"bps", caseSPBPS},
		{"rst_on_expire", caseSPExpire},
		{"client_on_director", caseSPClientOnDirector},
		{"server_on_director", caseSPServerOnDirector},
		{"no_port", caseSPNoPort},
		{"no_route", caseSPNoRoute},
	} {
		each(t, c.name, c.run)
	}
	for _, f := range fams {
		t.Run("45_loss_"+f.name, func(t *testing.T) { caseSPLoss(t, f) })
		t.Run("46_bulk_"+f.name, func(t *testing.T) { caseSPBulk(t, f) })
	}
}

// caseSPPersistent: a client stays with its real server, with a local port for each
// connection.
func caseSPPersistent(t *testing.T, r *rig) {
	r.proxied(t, proxy{setup: setup{servers: 2, flags: ipvs.FlagPersistent, timeout: time.Minute}})
	a := r.established(t, 0, 4000, false)
	b := r.established(t, 0, 4001, false)
	other := r.established(t, 1, 4000, false)
	if a.s.Local != b.s.Local || a.lip == b.lip || other.s.Local == a.s.Local {
		t.Errorf("servers %v, %v from %v, %v, and another client's %v; want one server, two ports, another server", a.s.Local, b.s.Local, a.lip, b.lip, other.s.Local)
	}
	for _, f := range []*spFlow{a, b, other} {
		f.talk(t)
	}
	if n := len(r.conns(t)); n != 3 {
		t.Errorf("%d connections, want 3", n)
	}
	// The port comes again. ip_vs keeps a connection that its template controls also
	// in TIME_WAIT: a SYN is answered with a cookie and changes nothing.
	a.finish(t)
	b.request(t, b.c.Reset())
	for _, f := range []*spFlow{a, b} {
		old := r.conn(t, f)
		g := r.again(t, f, 77)
		if now := r.conn(t, f); f == a && now.State != old.State {
			t.Errorf("a SYN made of %+v\n%+v", old, now)
		}
		g.ack(t, "")
		if g.s.Local != f.s.Local {
			t.Errorf("the client came to %v, and now to %v", f.s.Local, g.s.Local)
		}
		g.accept(t)
		g.talk(t)
	}
	if n := len(r.conns(t)); n != 3 {
		t.Errorf("%d connections, want 3", n)
	}
}

// caseSPFWMark: the service is a mark.
func caseSPFWMark(t *testing.T, r *rig) {
	r.proxied(t, proxy{setup: setup{fwmark: 7}})
	unmark := testnetMark(t, r, 7)
	defer unmark()
	f := r.established(t, 0, 4000, false)
	f.talk(t)
	f.finish(t)
	r.counts(t, proxiedConn.and(counts{uapi.ExtStatOutHit: 2}))
}

// caseSPCPS: it is connections that are counted, not SYNs: those of a flood take no
// token, and a client who is refused comes again with his cookie.
func caseSPCPS(t *testing.T, r *rig) {
	r.proxied(t, proxy{setup: setup{more: limits(ipvs.ExtFieldCPS, ipvs.Limits{CPS: 1})}})
	var flows []*spFlow
	for i := range 5 {
		flows = append(flows, r.linux(t, i, 4000))
	}
	flows[0].ack(t, "")
	for _, f := range flows[1:] {
		r.front.Send(t, f.c.Bare())
	}
	r.back.Quiet(t)
	r.front.Quiet(t)
	r.counts(t, counts{uapi.ExtStatSpSyn: 5, uapi.ExtStatSpSynack: 5, uapi.ExtStatLportOk: 1, uapi.ExtStatCpsDrop: 4})
	time.Sleep(1100 * time.Millisecond)
	r.back.Drain() // the first one's SYN, again
	flows[1].ack(t, "")
	flows[1].accept(t)
	flows[1].talk(t)
}

// caseSPConnLimit: a service that is full answers SYNs, and makes no connection.
func caseSPConnLimit(t *testing.T, r *rig) {
	key := r.proxied(t, proxy{setup: setup{more: limits(ipvs.ExtFieldConnLimit, ipvs.Limits{ConnLimit: 1})}})
	first := r.established(t, 0, 4000, false)
	second := r.linux(t, 1, 4000)
	r.front.Send(t, second.c.Bare())
	r.back.Quiet(t)
	r.front.Quiet(t)
	r.counts(t, counts{uapi.ExtStatLimitDrop: 1})
	first.talk(t)
	r.set(t, key, limits(ipvs.ExtFieldConnLimit, ipvs.Limits{ConnLimit: 2}))
	second.ack(t, "")
	second.accept(t)
	second.talk(t)
}

// caseSPBPS: data that is held until the server answers is subject to the limit as
// any other; what does not fit is lost, and nothing else.
func caseSPBPS(t *testing.T, r *rig) {
	key := r.proxied(t, proxy{})
	f := r.established(t, 0, 4000, false)
	r.set(t, key, limits(ipvs.ExtFieldBPSIn, ipvs.Limits{BPSIn: 1}))
	p := f.c.Data(string(make([]byte, 1300)))
	passed := 0
	for range 10 {
		r.front.Send(t, p)
		passed += len(r.back.Drain())
	}
	if passed < 2 || passed > 5 {
		t.Errorf("%d of 10 passed, want what the bucket of two packets holds", passed)
	}
	r.counts(t, counts{uapi.ExtStatBpsDrop: uint64(10 - passed)})
	r.set(t, key, limits(ipvs.ExtFieldBPSIn, ipvs.Limits{}))
	f.s.Took(f.toRS(p))
	f.talk(t)
}

// caseSPExpire: each end of an idle connection gets the RST in its own numbers, which
// pass 2^32 meanwhile; behind FNAT and behind NAT.
func caseSPExpire(t *testing.T, r *rig) {
	for i, nat := range []bool{false, true} {
		r.apply(t, ipvs.Op{Kind: ipvs.Flush})
		r.proxied(t, proxy{nat: nat, setup: setup{ext: ipvs.ExtRSTOnExpire, more: limits(ipvs.ExtFieldTimeoutEst, ipvs.Limits{TimeoutEst: 20 * time.Second})}})
		f := r.linux(t, 0, 12+uint16(i))
		f.nat = nat
		f.ack(t, "")
		f.s.Seq = 0xfffffff8
		f.accept(t)
		f.talk(t)
		f.talk(t)
		time.Sleep(25 * time.Second)
		f.wantResets(t)
		r.counts(t, counts{uapi.ExtStatExpireRst: uint64(i + 1)})
		if n := len(r.conns(t)); n != 0 {
			t.Errorf("%d connections are left", n)
		}
	}
}

// caseSPClientOnDirector: the client is a socket of the director.
func caseSPClientOnDirector(t *testing.T, r *rig) {
	r.proxied(t, proxy{})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	local := netip.AddrPortFrom(r.fam.front, 4000)
	c, err := r.d.Dial(ctx, &net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(local)}, "tcp", netip.AddrPortFrom(r.vip, 80).String())
	testnet.Must(t, err) // it has the cookie, before there is a server
	defer c.Close()
	syn := r.back.Recv(t)
	if syn.Flags != testpkt.SYN || syn.Src.Addr() != r.lip[0] || syn.Dst != netip.AddrPortFrom(r.rip[0], rport) {
		t.Fatalf("the SYN to the server is\n%v", syn)
	}
	s := testpkt.NewPeer(syn.Dst, syn.Src, 900)
	s.Took(syn)
	r.back.Send(t, s.Syn(testpkt.MSS(1400)))
	if ack := r.back.Recv(t); ack.Flags != testpkt.ACK || ack.Seq != syn.Seq+1 || ack.Ack != 901 {
		t.Fatalf("the server's handshake ended with\n%v", ack)
	}
	_, err = c.Write([]byte("question"))
	testnet.Must(t, err)
	q := r.back.Recv(t)
	if string(q.Payload) != "question" || q.Seq != syn.Seq+1 || q.Ack != 901 {
		t.Errorf("the request became\n%v", q)
	}
	s.Took(q)
	r.back.Send(t, s.Data("answer"))
	buf := make([]byte, 16)
	testnet.Must(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
	n, err := c.Read(buf)
	if err != nil || string(buf[:n]) != "answer" {
		t.Errorf("the client read %q, %v", buf[:n], err)
	}
	r.back.Recv(t) // the acknowledgement
	testnet.Must(t, c.(*net.TCPConn).SetLinger(0), c.Close())
	if rst := r.back.Recv(t); rst.Flags&testpkt.RST == 0 {
		t.Errorf("the client's reset became\n%v", rst)
	}
	r.counts(t, counts{uapi.ExtStatSpDone: 1})
}

// caseSPServerOnDirector: the real server is a socket of the director.
func caseSPServerOnDirector(t *testing.T, r *rig) {
	key := r.proxied(t, proxy{})
	r.apply(t, r.dest(ipvs.AddDest, key, r.fam.back, 1), r.dest(ipvs.DelDest, key, r.rip[0], 0))
	l, err := r.d.Listen(t.Context(), "tcp", netip.AddrPortFrom(r.fam.back, rport).String())
	testnet.Must(t, err)
	defer l.Close()
	done := make(chan dialed, 1)
	go func() {
		c, err := l.Accept()
		done <- dialed{c, err}
	}()
	f := r.linux(t, 0, 4000)
	r.front.Send(t, f.c.Data("question"))
	window := r.front.Recv(t)
	if window.Flags != testpkt.ACK || window.Seq != f.cookie+1 {
		t.Errorf("the client's window came as\n%v", window)
	}
	d := <-done
	testnet.Must(t, d.err)
	defer d.conn.Close()
	buf := make([]byte, 16)
	testnet.Must(t, d.conn.SetReadDeadline(time.Now().Add(10*time.Second)))
	n, err := d.conn.Read(buf)
	if err != nil || string(buf[:n]) != "question" {
		t.Errorf("the server read %q, %v", buf[:n], err)
	}
	_, err = d.conn.Write([]byte("answer"))
	testnet.Must(t, err)
	var got testpkt.Packet
	for len(got.Payload) == 0 {
		got = r.front.Recv(t)
	}
	if string(got.Payload) != "answer" || got.Src != f.vip || got.Seq != f.cookie+1 || got.Ack != f.c.Seq {
		t.Errorf("the answer became\n%v", got)
	}
	f.c.Took(got)
	r.front.Send(t, f.c.Bare())
	acknowledged(t, d.conn)
	testnet.Must(t, d.conn.(*net.TCPConn).SetLinger(0), d.conn.Close())
	if rst := r.front.Recv(t); rst.Flags&testpkt.RST == 0 || rst.Seq != f.c.Ack {
		t.Errorf("the server's reset became\n%v", rst)
	}
	r.back.Quiet(t)
}

// caseSPNoPort: a client has the cookie, and there is no port left for him: no
// connection, and as soon as there is one his ACK makes it.
func caseSPNoPort(t *testing.T, r *rig) {
	key := r.proxied(t, proxy{setup: setup{ports: [2]uint16{5000, 5000}}})
	first := r.established(t, 0, 4000, false)
	second := r.linux(t, 1, 4001)
	p := second.c.Bare()
	r.front.Send(t, p)
	r.back.Quiet(t)
	r.front.Quiet(t)
	want := proxiedConn.and(counts{uapi.ExtStatSpSyn: 1, uapi.ExtStatSpSynack: 1, uapi.ExtStatSpAckOk: 1, uapi.ExtStatLportConflict: 2, uapi.ExtStatLportFull: 1})
	r.counts(t, want)
	if n := len(r.conns(t)); n != 1 {
		t.Errorf("%d connections, want the first one's", n)
	}
	r.set(t, key, ipvs.Ext{Set: ipvs.ExtFieldFlags, Flags: ipvs.ExtExhaustRST, FlagsMask: ipvs.ExtExhaustRST})
	r.front.Send(t, p)
	expectReset(t, r.front, p)
	r.counts(t, counts{uapi.ExtStatLportFull: 2, uapi.ExtStatExhaustRst: 1})
	first.talk(t)
	first.finish(t)
	second.ack(t, "")
	second.accept(t)
	second.talk(t)
	noneLeft(t, "ip_vs_x_sp")
}

// caseSPNoRoute: a client has the cookie, and there is no way to the real server: his
// connection is kept for as long as the SYN is tried again, and no longer.
func caseSPNoRoute(t *testing.T, r *rig) {
	r.proxied(t, proxy{set: ipvs.ExtFieldSPRetries, sp: ipvs.Synproxy{SYNRetries: 2}})
	server := netip.PrefixFrom(r.rip[0], r.rip[0].BitLen()).String()
	route := func(verb string) { r.d.Exec(t, "ip", "route", verb, "unreachable", server) }
	route("add")
	f := r.linux(t, 0, 4000)
	p := f.c.Data("early")
	r.front.Send(t, p)
	r.back.Quiet(t)
	var end testpkt.Packet
	for told := 0; end.Proto != testpkt.TCP; told++ {
		// Each try ends with an error of ICMP to the client, as in a NAT without a route.
		if told > 3 {
			t.Fatalf("the client is told a fourth time\n%v", end)
		}
		var err error
		end, err = r.front.Read(10 * time.Second)
		testnet.Must(t, err)
	}
	if d := testpkt.Diff(f.reset(len("early")), end); d != "" {
		t.Errorf("the end of a handshake that had no route:\n%s", d)
	}
	r.counts(t, counts{uapi.ExtStatSpRsSyn: 1, uapi.ExtStatSpRsRetrans: 2, uapi.ExtStatSpRsTimeout: 1, uapi.ExtStatSpDone: 0, uapi.ExtStatRouteFail: 3})
	noneLeft(t, "ip_vs_x_sp")
	testnet.Eventually(t, time.Minute, func() error { // CLOSE, which lasts ten seconds
		if n := len(r.conns(t)); n != 0 {
			return fmt.Errorf("%d connections, want none", n)
		}
		return nil
	})
	// The route comes back in time: what he sent is there.
	g := r.linux(t, 1, 4001)
	q := g.c.Data("early")
	r.front.Send(t, q)
	r.back.Quiet(t)
	r.front.Recv(t) // the error
	route("del")
	g.meetServer(t, q)
	g.accept(t, q)
	g.talk(t)
}

// proxyTopology is a service with SYN proxy among machines with stacks of their own.
func proxyTopology(t *testing.T, f fam) (*testnet.Topology, *rig) {
	t.Helper()
	top := testnet.NewTopology(t, testnet.Plan{Neighbours: true, Servers: 1})
	x, err := ipvs.Config{NetNS: top.D.FD()}.Dial(t.Context())
	testnet.Must(t, err)
	t.Cleanup(func() { x.Close() })
	r := &rig{fam: f, x: x}
	r.serve(t, setup{ext: ipvs.ExtSynproxy})
	return top, r
}

// caseSPLoss: two packets of a hundred are lost on both sides of the director. What
// is sent again fits what the other end has, by SACK blocks in its own numbers.
func caseSPLoss(t *testing.T, f fam) {
	top, r := proxyTopology(t, f)
	for _, n := range []*testnet.NS{top.C[0].NS, top.D.NS, top.R[0].NS} {
		lose(t, n, 2)
	}
	// A link loses a whole bundle of segments at once, of which there are few: until both sides have lost one.
	const most = 20
	transfers := uint64(0)
	for lost := [2]bool{}; lost != [2]bool{true, true}; transfers++ {
		if transfers == most {
			t.Fatalf("in %d transfers something was lost upwards: %v, downwards: %v", most, lost[0], lost[1])
		}
		up, down := transfer(t, top.C[0].NS, top.R[0].NS, f, 4<<20)
		lost[0] = lost[0] || up.retransmitted > 0
		lost[1] = lost[1] || down.retransmitted > 0
	}
	if n := netstat(t, "TCPSACKDiscard", top.C[0].NS, top.R[0].NS); n != 0 {
		t.Errorf("%d SACK blocks were in nobody's numbers", n)
	}
	r.counts(t, counts{uapi.ExtStatSpDone: transfers, uapi.ExtStatAckStorm: 0})
}

// lose makes every link of n lose so many percent of what it sends.
func lose(t *testing.T, n *testnet.NS, percent float32) {
	t.Helper()
	links, err := n.Link.LinkList()
	testnet.Must(t, err)
	for _, l := range links {
		if l.Type() != "veth" {
			continue
		}
		q := netlink.NewNetem(netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Parent: netlink.HANDLE_ROOT, Handle: netlink.MakeHandle(1, 0)},
			netlink.NetemQdiscAttrs{Loss: percent, Limit: 10000})
		if err := n.Link.QdiscAdd(q); err != nil {
			t.Fatalf("netem on %s of %s: %v", l.Attrs().Name, n.Name, err)
		}
	}
}

// caseSPBulk: 64 MiB each way through real servers whose window scale is not the
// cookie's, and through one that has none: nothing stalls.
func caseSPBulk(t *testing.T, f fam) {
	for _, c := range []struct{ sysctl, value string }{
		{"net.ipv4.tcp_rmem", "4096 1048576 67108864"}, // a scale of 10 or so
		{"net.ipv4.tcp_window_scaling", "0"},
	} {
		t.Run(fmt.Sprint(c.sysctl, "=", c.value), func(t *testing.T) {
			top, r := proxyTopology(t, f)
			testnet.Must(t, top.R[0].Sysctl(c.sysctl, c.value))
			start := time.Now()
			up, down := transfer(t, top.C[0].NS, top.R[0].NS, f, bulk)
			// A window that is misread costs a persist timer each time: 200 ms and more.
			if took := time.Since(start); took > time.Minute {
				t.Errorf("64 MiB each way took %v: it stalls", took)
			}
			nothingLost(t, up.retransmitted+down.retransmitted, top.C[0].NS, top.R[0].NS)
			r.counts(t, counts{uapi.ExtStatSpDone: 1})
		})
	}
}
