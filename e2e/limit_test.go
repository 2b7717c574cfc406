// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testpkt"
	"github.com/lvs-fnat/lvs/internal/testvm"
	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/ipvs/uapi"
)

// TestGuestsLimits runs what concerns flood policies, limits, lists, forecasts and
// what they show, on our ip_vs.
func TestGuestsLimits(t *testing.T) {
	t.Parallel()
	files := ipvsadmFiles(t, "ours")
	maps.Copy(files, guidePages)
	for _, kernel := range testvm.Kernels() {
		modules := []string{"ip_set", "ip_set_hash_net", "ip_set_hash_ip", "ip_set_hash_ipport", "ip_set_bitmap_ip", "ip_set_list_set"}
		if kernel == "6.12" { // Debian's 6.1 is built without
			modules = append(modules, "nfnetlink_hook")
		}
		t.Run(kernel, func(t *testing.T) {
			t.Parallel()
			testvm.Run(t, testvm.Config{
				Kernel: kernel, Module: testvm.Ours, Programs: true, Run: "^Test(Flood|Limit|List|Forecast|Watch|Sync|Traps|Counters|ProxyWith)", Files: files,
				Modules: modules, Patches: true, Env: []string{fuzzSeed + "=" + os.Getenv(fuzzSeed)},
			})
		})
	}
}

// guidePages are the guides whose commands run in these guests: where they find
// them, and where they are here.
var guidePages = map[string]string{"/fnat.md": "../docs/fnat.md", "/synproxy.md": "../docs/synproxy.md"}

// TestLimit: limits of a service, and how long its connections live.
func TestLimit(t *testing.T) {
	needOurs(t)
	for _, c := range []struct {
		name string
		run  func(*testing.T, *rig)
	}{
		{"66_cps", caseCPS},
		{"66_cps_plain_nat", caseCPSPlain},
		{"bps_in", caseBPSIn},
		{"bps_out", caseBPSOut},
		{"conn_limit", caseConnLimit},
		{"conn_limit_plain_nat", caseConnLimitPlain},
		{"persistent", caseLimitPersistent},
		{"timeout_est", caseTimeoutEst},
		{"68_rst_on_expire", caseRSTOnExpire},
		{"del_conn", caseDelConn},
		{"del_conn_by_each", caseDelConnByEach},
	} {
		each(t, c.name, c.run)
	}
}

func limits(set ipvs.ExtField, l ipvs.Limits) ipvs.Ext { return ipvs.Ext{Set: set, Limits: l} }

// set changes settings of a service.
func (r *rig) set(t *testing.T, key ipvs.ServiceKey, e ipvs.Ext) {
	t.Helper()
	r.apply(t, ipvs.Op{Kind: ipvs.SetExt, Service: ipvs.Service{ServiceKey: key}, Ext: e})
}

// ofService reads one counter of a service.
func (r *rig) ofService(t *testing.T, key ipvs.ServiceKey, number uint16) uint64 {
	t.Helper()
	s, err := r.x.ServiceExtStats(t.Context(), key)
	testnet.Must(t, err)
	return s[number]
}

// seconds sends n packets a second, evenly, and returns how many of each second
// come out at the other side.
func seconds(t *testing.T, in, out *testpkt.Port, count, n int, packet func(i int) testpkt.Packet) []int {
	t.Helper()
	got := make([]int, count)
	start := time.Now()
	for i := range count * n {
		time.Sleep(time.Until(start.Add(time.Duration(i) * time.Second / time.Duration(n))))
		in.Send(t, packet(i))
		got[i/n] += len(out.Come())
	}
	got[count-1] += len(out.Drain())
	return got
}

// syns makes SYNs of different clients.
func (r *rig) syns(i int) testpkt.Packet {
	src := netip.AddrPortFrom(r.cip[i%len(r.cip)], uint16(2000+i/len(r.cip)))
	return testpkt.NewPeer(src, netip.AddrPortFrom(r.vip, 80), uint32(i)).Syn(testpkt.MSS(1400))
}

func wantRate(t *testing.T, got []int, rate, slack int) {
	t.Helper()
	for i, n := range got {
		if n < rate-slack || n > rate+slack {
			t.Errorf("%d passed in second %d, want %d±%d", n, i+1, rate, slack)
		}
	}
}

// caseCPS: of 1,000 SYNs a second 100 pass, in each of three seconds.
func caseCPS(t *testing.T, r *rig) {
	key := r.serve(t, setup{more: limits(ipvs.ExtFieldCPS, ipvs.Limits{CPS: 100})})
	got := seconds(t, r.front, r.back, 3, 1000, r.syns)
	wantRate(t, got, 100, 5)
	total := uint64(got[0] + got[1] + got[2])
	r.counts(t, map[uint16]uint64{uapi.ExtStatCpsDrop: 3000 - total, uapi.ExtStatLportOk: total})
	if n := r.ofService(t, key, uapi.ExtStatCpsDrop); n != 3000-total {
		t.Errorf("the service counts %d drops, want %d", n, 3000-total)
	}
	// A connection that is there is none of its business, and other settings leave the bucket as it is.
	r.set(t, key, ipvs.Ext{Set: ipvs.ExtFieldSelect, Select: ipvs.SelectSrc})
	for i := range 20 {
		r.front.Send(t, r.syns(5000+i))
	}
	if n := len(r.back.Drain()); n > 6 {
		t.Errorf("%d of 20 at once passed after the limit was reached, want its burst of 5 at most", n)
	}
	// A burst of 50 lets 50 at once through; no limit lets all.
	time.Sleep(time.Second)
	r.set(t, key, limits(ipvs.ExtFieldCPSBurst, ipvs.Limits{CPSBurst: 50}))
	for i := range 200 {
		r.front.Send(t, r.syns(6000+i))
	}
	if n := len(r.back.Drain()); n < 50 || n > 60 {
		t.Errorf("%d of 200 at once passed with a burst of 50", n)
	}
	r.set(t, key, limits(ipvs.ExtFieldCPS, ipvs.Limits{}))
	for i := range 200 {
		r.front.Send(t, r.syns(7000+i))
	}
	if n := len(r.back.Rest()); n != 200 {
		t.Errorf("%d of 200 passed without a limit", n)
	}
}

// plainService is a NAT service without anything of ours but e.
func (r *rig) plainService(t *testing.T, e ipvs.Ext) ipvs.ServiceKey {
	t.Helper()
	testnet.Must(t, r.d.Sysctl("net.ipv4.ip_forward", "1"), r.d.Sysctl("net.ipv6.conf.all.forwarding", "1"))
	key := r.serve(t, setup{plain: true})
	r.set(t, key, e)
	return key
}

// caseCPSPlain: the limit needs no FNAT.
func caseCPSPlain(t *testing.T, r *rig) {
	key := r.plainService(t, limits(ipvs.ExtFieldCPS, ipvs.Limits{CPS: 100}))
	got := seconds(t, r.front, r.back, 2, 1000, r.syns)
	wantRate(t, got, 100, 5)
	if n := r.ofService(t, key, uapi.ExtStatCpsDrop); n != uint64(2000-got[0]-got[1]) {
		t.Errorf("the service counts %d drops, %v passed of 2000", n, got)
	}
}

// caseBPSIn: of 1,000 datagrams of 1,000 bytes a second 100 pass.
func caseBPSIn(t *testing.T, r *rig) {
	payload, header := strings.Repeat("q", 972), 28
	if r.v6() {
		payload, header = payload[20:], 48
	}
	size := uint64(len(payload) + header)
	key := r.serve(t, setup{proto: ipvs.UDP, more: limits(ipvs.ExtFieldBPSIn, ipvs.Limits{BPSIn: 100 * size})})
	request := func(int) testpkt.Packet {
		return testpkt.Datagram(netip.AddrPortFrom(r.cip[0], 4000), netip.AddrPortFrom(r.vip, 80), payload)
	}
	got := seconds(t, r.front, r.back, 3, 1000, request)
	wantRate(t, got[1:], 100, 5)
	if got[0] < 95 || got[0] > 125 { // the bucket of a tenth of a second comes on top
		t.Errorf("%d passed in the first second", got[0])
	}
	if n, want := r.ofService(t, key, uapi.ExtStatBpsDrop), uint64(3000-got[0]-got[1]-got[2]); n != want {
		t.Errorf("%d packets dropped, want %d", n, want)
	}
	r.counts(t, map[uint16]uint64{uapi.ExtStatBpsDrop: uint64(3000 - got[0] - got[1] - got[2])})
	// Live: a connection that is there feels a change at once.
	r.set(t, key, limits(ipvs.ExtFieldBPSIn, ipvs.Limits{}))
	for range 100 {
		r.front.Send(t, request(0))
	}
	if n := len(r.back.Rest()); n != 100 {
		t.Errorf("%d of 100 passed without a limit", n)
	}
}

// caseBPSOut: the same for replies; requests are not touched.
func caseBPSOut(t *testing.T, r *rig) {
	key := r.serve(t, setup{proto: ipvs.UDP})
	sent, got := r.datagram(t, 0, 4000, "question", testpkt.SumFull)
	reply := testpkt.Datagram(got.Dst, got.Src, strings.Repeat("a", 900))
	r.set(t, key, limits(ipvs.ExtFieldBPSOut, ipvs.Limits{BPSOut: 100 * uint64(len(reply.Encode()))}))
	rate := seconds(t, r.back, r.front, 3, 1000, func(int) testpkt.Packet { return reply })
	wantRate(t, rate[1:], 100, 5)
	for range 50 {
		r.front.Send(t, sent)
	}
	if n := len(r.back.Rest()); n != 50 {
		t.Errorf("%d of 50 requests passed", n)
	}
	if n, want := r.ofService(t, key, uapi.ExtStatBpsDrop), uint64(3000-rate[0]-rate[1]-rate[2]); n != want {
		t.Errorf("%d packets dropped, want %d", n, want)
	}
}

func (r *rig) nconn(t *testing.T, key ipvs.ServiceKey) uint32 {
	t.Helper()
	s, err := r.x.ExtService(t.Context(), key)
	testnet.Must(t, err)
	return s.NConn
}

// caseConnLimit: three connections, a fourth only when one of them is gone.
func caseConnLimit(t *testing.T, r *rig) {
	key := r.serve(t, setup{servers: 2, more: limits(ipvs.ExtFieldConnLimit, ipvs.Limits{ConnLimit: 3})})
	for i := range 3 {
		r.open(t, i, 4000)
	}
	f, syn := r.start(t, 3, 4000)
	r.back.Quiet(t)
	r.front.Quiet(t)
	r.counts(t, map[uint16]uint64{uapi.ExtStatLimitDrop: 1})
	if n := r.nconn(t, key); n != 3 {
		t.Errorf("the service has %d connections, want 3", n)
	}
	n, err := r.x.DeleteConns(t.Context(), ipvs.ConnFilter{Client: netip.PrefixFrom(r.cip[1], r.vip.BitLen())})
	if err != nil || n != 1 {
		t.Fatalf("%d deleted, %v", n, err)
	}
	r.front.Send(t, syn)
	f.meet(t, syn)
	f.establish(t)
	if n := r.ofService(t, key, uapi.ExtStatLimitDrop); n != 1 {
		t.Errorf("the service counts %d refused", n)
	}
	r.set(t, key, limits(ipvs.ExtFieldConnLimit, ipvs.Limits{}))
	r.open(t, 5, 4000)
}

func caseConnLimitPlain(t *testing.T, r *rig) {
	key := r.plainService(t, limits(ipvs.ExtFieldConnLimit, ipvs.Limits{ConnLimit: 2}))
	for i := range 5 {
		r.front.Send(t, r.syns(i))
	}
	if n := len(r.back.Rest()); n != 2 {
		t.Errorf("%d of 5 SYNs passed, want 2", n)
	}
	if drops, n := r.ofService(t, key, uapi.ExtStatLimitDrop), r.nconn(t, key); drops != 3 || n != 2 {
		t.Errorf("%d refused, %d connections; want 3 and 2", drops, n)
	}
}

// caseLimitPersistent: of a persistent service each connection counts, and the
// template, which is none, does not; a client who stays with his real server does not
// stay with a local address that drains.
func caseLimitPersistent(t *testing.T, r *rig) {
	key := r.serve(t, setup{servers: 2, lips: 2, flags: ipvs.FlagPersistent, timeout: time.Minute, more: limits(ipvs.ExtFieldConnLimit, ipvs.Limits{ConnLimit: 2})})
	a, b := r.open(t, 0, 4000), r.open(t, 0, 4001)
	r.start(t, 0, 4002)
	r.start(t, 1, 4000)
	r.back.Quiet(t)
	r.counts(t, counts{uapi.ExtStatLimitDrop: 2})
	if n := r.nconn(t, key); n != 2 {
		t.Errorf("the service has %d connections, want 2", n)
	}
	if a.s.Local != b.s.Local || a.lip.Addr() == b.lip.Addr() {
		t.Fatalf("servers %v and %v from %v and %v, want one, from two addresses", a.s.Local, b.s.Local, a.lip, b.lip)
	}
	// A burst of two, and a client who has his server is refused like others.
	r.set(t, key, limits(ipvs.ExtFieldConnLimit|ipvs.ExtFieldCPS|ipvs.ExtFieldCPSBurst, ipvs.Limits{CPS: 1, CPSBurst: 2}))
	for i := range 4 {
		r.front.Send(t, testpkt.NewPeer(netip.AddrPortFrom(r.cip[0], 4010+uint16(i)), a.vip, 7).Syn(testpkt.MSS(1400)))
	}
	if n := len(r.back.Rest()); n != 2 {
		t.Errorf("%d of 4 passed a burst of 2", n)
	}
	r.counts(t, counts{uapi.ExtStatCpsDrop: 2})
	r.set(t, key, limits(ipvs.ExtFieldCPS|ipvs.ExtFieldCPSBurst, ipvs.Limits{}))
	r.apply(t, r.laddrFlags(a.lip.Addr(), ipvs.LaddrNoNew))
	for i := range 4 {
		c := r.dial(t, 0, 4020+uint16(i))
		if c.lip.Addr() != b.lip.Addr() || c.s.Local != a.s.Local {
			t.Errorf("connection %d is from %v to %v, want %v and %v", i, c.lip, c.s.Local, b.lip.Addr(), a.s.Local)
		}
	}
	r.apply(t, r.laddrFlags(b.lip.Addr(), ipvs.LaddrNoNew))
	r.start(t, 0, 4030)
	r.back.Quiet(t)
	r.counts(t, counts{uapi.ExtStatNoLaddr: 1})
	a.talk(t)
	b.talk(t)
}

// expires returns for how long the only connection will live.
func (r *rig) expires(t *testing.T) time.Duration {
	t.Helper()
	all := r.conns(t)
	if len(all) != 1 {
		t.Fatalf("%d connections, want 1", len(all))
	}
	return all[0].Expires
}

// caseTimeoutEst: an idle connection lives as long as its service says, TCP and
// UDP; one that is closing as long as ip_vs says.
func caseTimeoutEst(t *testing.T, r *rig) {
	key := r.serve(t, setup{more: limits(ipvs.ExtFieldTimeoutEst, ipvs.Limits{TimeoutEst: 90 * time.Second})})
	f := r.dial(t, 0, 4000)
	if d := r.expires(t); d <= 50*time.Second || d > time.Minute {
		t.Errorf("half open it expires in %v, want ip_vs' minute", d)
	}
	f.establish(t)
	f.talk(t)
	if d := r.expires(t); d <= 85*time.Second || d > 90*time.Second {
		t.Errorf("expires in %v, want 90s", d)
	}
	// Live: a change reaches what is there with its next packet.
	r.set(t, key, limits(ipvs.ExtFieldTimeoutEst, ipvs.Limits{TimeoutEst: 20 * time.Second}))
	f.reply(t, f.s.Data("more"))
	if d := r.expires(t); d <= 15*time.Second || d > 20*time.Second {
		t.Errorf("expires in %v, want 20s", d)
	}
	time.Sleep(17 * time.Second)
	if n := len(r.conns(t)); n != 1 {
		t.Error("gone after 17 of 20 seconds")
	}
	time.Sleep(6 * time.Second)
	if n := len(r.conns(t)); n != 0 {
		t.Error("still there after 23 of 20 seconds")
	}
	r.front.Quiet(t) // RST_ON_EXPIRE is off
	r.back.Quiet(t)
	r.set(t, key, limits(ipvs.ExtFieldTimeoutEst, ipvs.Limits{}))
	r.open(t, 1, 4000).talk(t)
	if d := r.expires(t); d < 800*time.Second || d > 900*time.Second {
		t.Errorf("expires in %v, want ip_vs' 900s", d)
	}
	_, err := r.x.DeleteConns(t.Context(), ipvs.ConnFilter{})
	testnet.Must(t, err)
	// The longest is twelve days.
	r.set(t, key, limits(ipvs.ExtFieldTimeoutEst, ipvs.Limits{TimeoutEst: ipvs.MaxTimeoutEst}))
	r.open(t, 1, 4001).talk(t)
	// far out the timer wheel is coarse
	if d := r.expires(t); d < ipvs.MaxTimeoutEst-time.Minute || d > ipvs.MaxTimeoutEst+ipvs.MaxTimeoutEst/8 {
		t.Errorf("expires in %v, want %v", d, ipvs.MaxTimeoutEst)
	}
	_, err = r.x.DeleteConns(t.Context(), ipvs.ConnFilter{})
	testnet.Must(t, err)

	_, ops := r.operations(setup{proto: ipvs.UDP, more: limits(ipvs.ExtFieldTimeoutEst, ipvs.Limits{TimeoutEst: 5 * time.Second})})
	r.apply(t, ops[2:]...) // the group is there
	r.datagram(t, 2, 4000, "q", testpkt.SumFull)
	if d := r.expires(t); d <= 3*time.Second || d > 5*time.Second {
		t.Errorf("UDP expires in %v, want 5s", d)
	}
}

// caseRSTOnExpire: both ends of an idle connection get an RST that they take: with
// the number that each expects next.
func caseRSTOnExpire(t *testing.T, r *rig) {
	key := r.serve(t, setup{ext: ipvs.ExtRSTOnExpire, more: limits(ipvs.ExtFieldTimeoutEst, ipvs.Limits{TimeoutEst: 20 * time.Second})})
	f := r.open(t, 0, 4000)
	f.talk(t)
	f.request(t, f.c.Data("a longer request"))
	f.reply(t, f.s.Data("and an answer"))
	time.Sleep(25 * time.Second)
	f.wantResets(t)
	r.counts(t, map[uint16]uint64{uapi.ExtStatExpireRst: 1})
	if n := r.ofService(t, key, uapi.ExtStatExpireRst); n != 1 {
		t.Errorf("the service counts %d", n)
	}
	if n := len(r.conns(t)); n != 0 {
		t.Errorf("%d connections are left", n)
	}
	// One that ended in time gets none, nor one that is half open.
	f = r.open(t, 1, 4000)
	f.finish(t)
	r.dial(t, 2, 4000)
	time.Sleep(200 * time.Second)
	r.front.Quiet(t)
	r.back.Quiet(t)
	// Switched off, it is off for what is there.
	r.open(t, 3, 4000)
	r.set(t, key, ipvs.Ext{Set: ipvs.ExtFieldFlags, FlagsMask: ipvs.ExtRSTOnExpire})
	time.Sleep(25 * time.Second)
	r.counts(t, map[uint16]uint64{uapi.ExtStatExpireRst: 1})
}

// wantResets wants the RSTs of an end that neither side asked for.
func (f *flow) wantResets(t *testing.T) {
	t.Helper()
	got := f.r.front.Recv(t)
	want := testpkt.Packet{Src: f.vip, Dst: f.c.Local, Proto: testpkt.TCP, TTL: 64, DF: !f.r.v6(),
		Flags: testpkt.RST | testpkt.ACK, Seq: f.c.Ack, Ack: f.c.Seq, ID: got.ID}
	if d := testpkt.Diff(want, got); d != "" {
		t.Errorf("the RST to the client differs:\n%s", d)
	}
	got = f.r.back.Recv(t)
	want = testpkt.Packet{Src: f.lip, Dst: f.s.Local, Proto: testpkt.TCP, TTL: 64, DF: !f.r.v6(),
		Flags: testpkt.RST | testpkt.ACK, Seq: f.s.Ack, Ack: f.s.Seq, ID: got.ID}
	if d := testpkt.Diff(want, got); d != "" {
		t.Errorf("the RST to the real server differs:\n%s", d)
	}
}

// caseDelConn: the kernel ends what the filter selects, tells how many, and leaves
// the rest.
func caseDelConn(t *testing.T, r *rig) {
	key := r.serve(t, setup{servers: 2, lips: 2})
	var flows []*flow
	for i := range 6 {
		flows = append(flows, r.open(t, i, 4000+uint16(i%2)))
	}
	bits := r.vip.BitLen()
	del := func(f ipvs.ConnFilter, want uint64) {
		t.Helper()
		if n, err := r.x.DeleteConns(t.Context(), f); err != nil || n != want {
			t.Errorf("%+v: %d deleted, %v; want %d", f, n, err, want)
		}
	}
	del(ipvs.ConnFilter{ClientPort: 9}, 0)
	del(ipvs.ConnFilter{Protocol: ipvs.UDP}, 0)
	del(ipvs.ConnFilter{Virtual: netip.PrefixFrom(r.vip, bits), VirtualPort: 81}, 0)
	del(ipvs.ConnFilter{Client: netip.PrefixFrom(flows[0].c.Local.Addr(), bits)}, 1)
	del(ipvs.ConnFilter{Local: netip.PrefixFrom(flows[1].lip.Addr(), bits), LocalPort: flows[1].lip.Port(), Dest: netip.PrefixFrom(flows[1].s.Local.Addr(), bits)}, 1)
	left := r.conns(t)
	if len(left) != 4 || slices.ContainsFunc(left, func(c ipvs.Conn) bool { return c.Client == flows[0].c.Local || c.Client == flows[1].c.Local }) {
		t.Errorf("left are %+v", left)
	}
	for _, f := range flows[2:] {
		f.talk(t)
	}
	p := flows[0].s.Data("late") // nobody's any more
	r.back.Send(t, p)
	expectReset(t, r.back, p)
	// Those of a service with RST_ON_EXPIRE end at both ends.
	r.set(t, key, ipvs.Ext{Set: ipvs.ExtFieldFlags, Flags: ipvs.ExtRSTOnExpire, FlagsMask: ipvs.ExtRSTOnExpire})
	flows[2].talk(t)
	del(ipvs.ConnFilter{Client: netip.PrefixFrom(flows[2].c.Local.Addr(), bits)}, 1)
	flows[2].wantResets(t)
	del(ipvs.ConnFilter{}, 3)
	if n := len(r.conns(t)); n != 0 {
		t.Errorf("%d connections are left", n)
	}
	if n := slabObjects(t, "ip_vs_x_use"); n != 0 {
		testnet.Eventually(t, 10*time.Second, func() error {
			if n := slabObjects(t, "ip_vs_x_use"); n != 0 {
				return fmt.Errorf("%d counters of ports without a connection", n)
			}
			return nil
		})
	}
}

// caseDelConnByEach: each part of a filter selects by itself, ports without an
// address and prefixes that end inside a byte too; what it selects is what the same
// filter lists, and what it does not select stays.
func caseDelConnByEach(t *testing.T, r *rig) {
	_, ops := r.operations(setup{servers: 2, lips: 2})
	for _, s := range []setup{{servers: 2, lips: 2, port: 81}, {servers: 2, lips: 2, proto: ipvs.UDP}} {
		_, more := r.operations(s)
		ops = append(ops, more[3:]...) // the group is there
	}
	r.apply(t, ops...)
	fill := func() []ipvs.Conn {
		t.Helper()
		for i := range 12 {
			client := netip.AddrPortFrom(r.cip[i], 4000+uint16(i%3))
			p := testpkt.NewPeer(client, netip.AddrPortFrom(r.vip, 80+uint16(i%2)), 7).Syn(testpkt.MSS(1400))
			if i%4 == 0 {
				p = testpkt.Datagram(client, netip.AddrPortFrom(r.vip, 80), "x")
			}
			r.front.Send(t, p)
			r.back.Recv(t)
		}
		all := r.conns(t)
		if len(all) != 12 {
			t.Fatalf("%d connections, want 12", len(all))
		}
		return all
	}
	bits := r.vip.BitLen()
	part := func(a netip.Addr, bits int) netip.Prefix {
		t.Helper()
		p, err := a.Prefix(bits)
		testnet.Must(t, err)
		return p
	}
	for _, by := range []struct {
		name string
		f    func(one ipvs.Conn) ipvs.ConnFilter
	}{
		{"protocol", func(ipvs.Conn) ipvs.ConnFilter { return ipvs.ConnFilter{Protocol: ipvs.UDP} }},
		{"the other protocol", func(ipvs.Conn) ipvs.ConnFilter { return ipvs.ConnFilter{Protocol: ipvs.TCP} }},
		{"client", func(one ipvs.Conn) ipvs.ConnFilter { return ipvs.ConnFilter{Client: part(one.Client.Addr(), bits)} }},
		{"client's network", func(one ipvs.Conn) ipvs.ConnFilter { return ipvs.ConnFilter{Client: part(one.Client.Addr(), bits-3)} }},
		{"client's port", func(one ipvs.Conn) ipvs.ConnFilter { return ipvs.ConnFilter{ClientPort: one.Client.Port()} }},
		{"service's port", func(ipvs.Conn) ipvs.ConnFilter { return ipvs.ConnFilter{VirtualPort: 81} }},
		{"service", func(ipvs.Conn) ipvs.ConnFilter { return ipvs.ConnFilter{Virtual: part(r.vip, bits), VirtualPort: 81} }},
		{"local address", func(one ipvs.Conn) ipvs.ConnFilter { return ipvs.ConnFilter{Local: part(one.Local.Addr(), bits)} }},
		{"local port", func(one ipvs.Conn) ipvs.ConnFilter { return ipvs.ConnFilter{LocalPort: one.Local.Port()} }},
		{"real server", func(one ipvs.Conn) ipvs.ConnFilter { return ipvs.ConnFilter{Dest: part(one.Dest.Addr(), bits)} }},
		{"real server and port", func(one ipvs.Conn) ipvs.ConnFilter {
			return ipvs.ConnFilter{Dest: part(one.Dest.Addr(), bits), DestPort: rport}
		}},
		{"all of them", func(one ipvs.Conn) ipvs.ConnFilter {
			return ipvs.ConnFilter{
				Family: ipvs.FamilyOf(r.vip), Protocol: one.Protocol, Client: part(one.Client.Addr(), bits), ClientPort: one.Client.Port(),
				Virtual: part(r.vip, bits), VirtualPort: one.Virtual.Port(), Local: part(one.Local.Addr(), bits), LocalPort: one.Local.Port(),
				Dest: part(one.Dest.Addr(), bits), DestPort: rport,
			}
		}},
	} {
		before := fill()
		name, f := by.name, by.f(before[5])
		var stay []netip.AddrPort
		for _, c := range before {
			if !f.Match(c) {
				stay = append(stay, c.Client)
			}
		}
		if len(stay) == 0 || len(stay) == len(before) {
			t.Fatalf("%s: %+v leaves %d of %d: it tells nothing", name, f, len(stay), len(before))
		}
		n, err := r.x.DeleteConns(t.Context(), f)
		if want := uint64(len(before) - len(stay)); err != nil || n != want {
			t.Errorf("%s: %d ended, %v; want %d", name, n, err, want)
		}
		for _, c := range r.conns(t) {
			i := slices.Index(stay, c.Client)
			if i < 0 {
				t.Errorf("%s: %v is still there", name, c.Client)
				continue
			}
			stay = slices.Delete(stay, i, i+1)
		}
		if len(stay) > 0 {
			t.Errorf("%s: also gone are %v", name, stay)
		}
	}
	// Of the other family there is none, and a port that nobody has ends nothing.
	other := ipvs.IPv6
	if r.v6() {
		other = ipvs.IPv4
	}
	for name, f := range map[string]ipvs.ConnFilter{"family": {Family: other}, "real server's port": {DestPort: rport + 1}} {
		if n, err := r.x.DeleteConns(t.Context(), f); n != 0 || err != nil {
			t.Errorf("by another %s: %d ended, %v", name, n, err)
		}
	}
}
