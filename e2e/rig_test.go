// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testpkt"
	"github.com/lvs-fnat/lvs/internal/testvm"
	"github.com/lvs-fnat/lvs/ipvs"
)

// fam is the network of a rig in one address family.
type fam struct {
	name          string
	vip           netip.Addr
	front, back   netip.Addr // the director's own
	cip, rip, lip []netip.Addr
	hop           netip.Addr // a router between director and real servers, for ICMP
}

func (f fam) v6() bool { return f.vip.Is6() }

func addresses(format string, from, n int) []netip.Addr {
	var all []netip.Addr
	for i := range n {
		all = append(all, netip.MustParseAddr(fmt.Sprintf(format, from+i)))
	}
	return all
}

var (
	fam4 = fam{
		"v4", testnet.VIP4, testnet.DirectorFront4, testnet.DirectorBack4,
		addresses("10.0.1.%d", 2, 20), addresses("10.0.2.%d", 11, 4), testnet.LIP4, netip.MustParseAddr("10.0.9.9"),
	}
	fam6 = fam{
		"v6", testnet.VIP6, testnet.DirectorFront6, testnet.DirectorBack6,
		addresses("2001:db8:1::%d", 2, 20), addresses("2001:db8:2::%d", 11, 4), testnet.LIP6, netip.MustParseAddr("2001:db8:9::9"),
	}
	fams = []fam{fam4, fam6}
)

// rig is a director alone with the test: clients and real servers are addresses
// that exist only in what the test sends.
//
//	test ─ front ═ veth ═ front ┐ d ┌ back ═ veth ═ back ─ test
//	clients                 VIP └───┘ LIPs           real servers
//
// d forwards nothing by itself (ip_forward=0: case 24 is every case), and at its
// end a rig wants every packet that d sent to have been asked for.
type rig struct {
	fam
	d, w        *testnet.NS
	front, back *testpkt.Port
	x           *ipvs.Client
	used        uint16 // client ports, see freshPort
}

var rigCount int

func newRig(t *testing.T, f fam) *rig {
	t.Helper()
	r := buildRig(t, f)
	t.Cleanup(func() {
		if !t.Failed() {
			r.front.Quiet(t)
			r.back.Quiet(t)
		}
		testnet.Must(t, r.front.Close(), r.back.Close(), r.x.Close(), r.d.Close(), r.w.Close())
	})
	return r
}

// buildRig is newRig for a test that takes the rig apart itself.
func buildRig(t *testing.T, f fam) *rig {
	t.Helper()
	rigCount++
	r := &rig{fam: f}
	var errs [2]error
	r.d, errs[0] = testnet.Open(fmt.Sprintf("d%d", rigCount))
	r.w, errs[1] = testnet.Open(fmt.Sprintf("w%d", rigCount))
	testnet.Must(t, errs[:]...)
	testnet.Must(t, r.w.Sysctl("net.ipv6.conf.default.disable_ipv6", "1"),
		testnet.Veth(r.d, "front", r.w, "front"), testnet.Veth(r.d, "back", r.w, "back"))
	for _, s := range []string{"net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding", "net.ipv6.auto_flowlabels",
		"net.ipv4.conf.all.rp_filter", "net.ipv4.conf.front.rp_filter", "net.ipv4.conf.back.rp_filter"} {
		testnet.Must(t, r.d.Sysctl(s, "0"))
	}
	bits := 24
	if f.v6() {
		bits = 64
	}
	own := func(link string, net netip.Addr, more ...netip.Addr) {
		testnet.Must(t, r.d.AddAddr(link, netip.PrefixFrom(net, bits)))
		for _, a := range more {
			testnet.Must(t, r.d.AddAddr(link, netip.PrefixFrom(a, a.BitLen())))
		}
	}
	own("front", f.front, f.vip)
	own("back", f.back, f.lip...)
	r.front = r.port(t, "front", f.cip)
	r.back = r.port(t, "back", append(slices.Clone(f.rip), f.hopNeighbour()))
	testnet.Must(t, r.d.AddRoute(netip.PrefixFrom(f.hop, f.hop.BitLen()), f.hopNeighbour()))
	var err error
	r.x, err = ipvs.Config{NetNS: r.d.FD()}.Dial(t.Context())
	testnet.Must(t, err)
	return r
}

// hopNeighbour is the address by which the director reaches hop.
func (f fam) hopNeighbour() netip.Addr { return f.rip[len(f.rip)-1].Next() }

// port opens the test's end of a link and makes the director believe that the
// addresses are behind it.
func (r *rig) port(t *testing.T, link string, there []netip.Addr) *testpkt.Port {
	t.Helper()
	far, err := r.d.MAC(link)
	testnet.Must(t, err)
	p, err := testpkt.Open(r.w, link, far)
	testnet.Must(t, err)
	mac, err := r.w.MAC(link)
	testnet.Must(t, err)
	for _, a := range there {
		testnet.Must(t, r.d.AddNeighbour(link, a, mac))
	}
	return p
}

// setup is a service with FNAT; the zero value is one TCP service with one local
// address and one real server.
type setup struct {
	proto   ipvs.Protocol // TCP
	port    uint16        // 80
	sched   string        // rr
	flags   ipvs.ServiceFlags
	timeout time.Duration
	fwmark  uint32
	lips    int // 1
	ports   [2]uint16
	servers int // 1
	ext     ipvs.ExtFlags
	more    ipvs.Ext // merged into what is set
	plain   bool     // no FNAT
}

const (
	group = "g"
	rport = 8080
)

// serve applies s and returns the service's key.
func (r *rig) serve(t *testing.T, s setup) ipvs.ServiceKey {
	t.Helper()
	key, ops := r.operations(s)
	testnet.Must(t, r.x.Apply(t.Context(), ops...))
	return key
}

func (r *rig) operations(s setup) (ipvs.ServiceKey, []ipvs.Op) {
	if s.proto == 0 {
		s.proto = ipvs.TCP
	}
	if s.port == 0 {
		s.port = 80
	}
	if s.sched == "" {
		s.sched = "rr"
	}
	s.lips, s.servers = max(s.lips, 1), max(s.servers, 1)
	key := ipvs.ServiceKey{Family: ipvs.FamilyOf(r.vip), Protocol: s.proto, Addr: r.vip, Port: s.port}
	if s.fwmark != 0 {
		key = ipvs.ServiceKey{Family: key.Family, FWMark: s.fwmark}
	}
	svc := ipvs.Service{ServiceKey: key, Scheduler: s.sched, Flags: s.flags, Timeout: s.timeout, Netmask: 0xffffffff}
	if r.v6() {
		svc.Netmask = 128
	}
	var ops []ipvs.Op
	if !s.plain {
		g := ipvs.LGroup{Name: group, Family: key.Family}
		ops = append(ops, ipvs.Op{Kind: ipvs.AddLGroup, LGroup: g})
		for _, a := range r.lip[:s.lips] {
			ops = append(ops, ipvs.Op{Kind: ipvs.AddLaddr, LGroup: g, Laddr: ipvs.Laddr{Addr: a, PortMin: s.ports[0], PortMax: s.ports[1]}})
		}
	}
	ops = append(ops, ipvs.Op{Kind: ipvs.AddService, Service: svc})
	if !s.plain {
		e := s.more
		e.Set |= ipvs.ExtFieldFlags | ipvs.ExtFieldLGroup
		e.LGroup = group
		e.Flags |= ipvs.ExtFNAT | s.ext
		e.FlagsMask |= e.Flags
		ops = append(ops, ipvs.Op{Kind: ipvs.SetExt, Service: svc, Ext: e})
	}
	for _, a := range r.rip[:s.servers] {
		ops = append(ops, r.dest(ipvs.AddDest, key, a, 1))
	}
	return key, ops
}

func (r *rig) dest(kind ipvs.OpKind, key ipvs.ServiceKey, a netip.Addr, weight uint32) ipvs.Op {
	return ipvs.Op{Kind: kind, Service: ipvs.Service{ServiceKey: key}, Dest: ipvs.Dest{
		DestKey: ipvs.DestKey{Family: ipvs.FamilyOf(a), Addr: a, Port: rport}, Weight: weight, Forward: ipvs.Masq,
	}}
}

func (r *rig) apply(t *testing.T, ops ...ipvs.Op) {
	t.Helper()
	testnet.Must(t, r.x.Apply(t.Context(), ops...))
}

// stat reads one of the extension's counters.
func (r *rig) stat(t *testing.T, number uint16) uint64 {
	t.Helper()
	s, err := r.x.ExtStats(t.Context())
	testnet.Must(t, err)
	return s[number]
}

// counts fails t unless the extension counted exactly this of each; it is given
// pairs of number and value.
func (r *rig) counts(t *testing.T, want map[uint16]uint64) {
	t.Helper()
	s, err := r.x.ExtStats(t.Context())
	testnet.Must(t, err)
	for number, n := range want {
		if s[number] != n {
			t.Errorf("counter %s is %d, want %d", ipvs.ExtStatName(number), s[number], n)
		}
	}
}

// conns lists the connections of the extension.
func (r *rig) conns(t *testing.T) []ipvs.Conn {
	t.Helper()
	var all []ipvs.Conn
	for c, err := range r.x.Conns(t.Context(), ipvs.ConnFilter{}) {
		testnet.Must(t, err)
		all = append(all, c)
	}
	return all
}

// flow is one connection through the director, both of whose ends the test plays.
type flow struct {
	r        *rig
	c, s     *testpkt.Peer
	vip, lip netip.AddrPort
	delta    uint32 // client's sequence numbers to the real server's view
	strip    bool   // timestamps of the SYN become NOPs
	toa      uint8  // kind that requests carry, 0: none
	mssLess  uint16 // by what the MSS of the SYN/ACK is lowered

	// Of a connection that SYN proxy made:
	sp            uint32 // the server's sequence numbers to the client's view
	tsp           uint32 // and its timestamps
	winIn, winOut int    // windows are shifted left, requests' and replies'
}

// shifted is a window in another scale.
func shifted(win uint16, left int) uint16 {
	if left < 0 {
		return win >> -left
	}
	return uint16(min(uint32(win)<<left, 65535))
}

// synOptions is what a Linux client offers.
func synOptions(f fam) [][]byte {
	mss := uint16(1460)
	if f.v6() {
		mss = 1440
	}
	return [][]byte{testpkt.MSS(mss), testpkt.SACKPermitted(), testpkt.Timestamps(0x11223344, 0), testpkt.NOP(), testpkt.WScale(7)}
}

// start sends the SYN of client number n and returns the flow as far as it is
// known then: nothing is expected yet.
func (r *rig) start(t *testing.T, n int, cport uint16, opts ...[]byte) (*flow, testpkt.Packet) {
	t.Helper()
	f := &flow{r: r, vip: netip.AddrPortFrom(r.vip, 80), strip: true}
	f.c = testpkt.NewPeer(netip.AddrPortFrom(r.cip[n], cport), f.vip, 1000000*uint32(n+1))
	if opts == nil {
		opts = synOptions(r.fam)
	}
	syn := f.c.Syn(opts...)
	r.front.Send(t, syn)
	return f, syn
}

// dial is start with the SYN expected at a real server: exactly one, from a local
// address and port, and everything else as it must be.
func (r *rig) dial(t *testing.T, n int, cport uint16, opts ...[]byte) *flow {
	t.Helper()
	f, syn := r.start(t, n, cport, opts...)
	f.meet(t, syn)
	return f
}

// meet takes the SYN off the back and learns local address, port and delta.
func (f *flow) meet(t *testing.T, syn testpkt.Packet) {
	t.Helper()
	got := f.r.back.Recv(t)
	f.learn(t, syn, got)
	if d := testpkt.Diff(f.toRS(syn), got); d != "" {
		t.Fatalf("SYN at the real server differs:\n%s", d)
	}
}

func (f *flow) learn(t *testing.T, syn, got testpkt.Packet) {
	t.Helper()
	if !slices.Contains(f.r.lip, got.Src.Addr()) || got.Dst.Port() != rport || !slices.Contains(f.r.rip, got.Dst.Addr()) {
		t.Fatalf("not from a local address to a real server:\n%v", got)
	}
	f.lip, f.delta = got.Src, got.Seq-syn.Seq
	f.s = testpkt.NewPeer(got.Dst, got.Src, 900000)
	f.s.Took(got)
}

// open is dial and the rest of the handshake.
func (r *rig) open(t *testing.T, n int, cport uint16, opts ...[]byte) *flow {
	t.Helper()
	f := r.dial(t, n, cport, opts...)
	f.establish(t)
	return f
}

// establish plays SYN/ACK and ACK.
func (f *flow) establish(t *testing.T) {
	t.Helper()
	f.reply(t, f.s.Syn(testpkt.MSS(1400), testpkt.SACKPermitted(), testpkt.NOP(), testpkt.WScale(9)))
	f.request(t, f.c.Bare())
}

// request sends p, which the client made, and expects it at the real server.
func (f *flow) request(t *testing.T, p testpkt.Packet) {
	t.Helper()
	f.r.front.Send(t, p)
	want := f.toRS(p)
	f.r.back.Expect(t, want)
	f.s.Took(want)
}

// reply sends p, which the real server made, and expects it at the client.
func (f *flow) reply(t *testing.T, p testpkt.Packet) {
	t.Helper()
	f.r.back.Send(t, p)
	want := f.toClient(p)
	f.r.front.Expect(t, want)
	f.c.Took(want)
}

// talk sends a request and a reply.
func (f *flow) talk(t *testing.T) {
	t.Helper()
	f.request(t, f.c.Data("GET /"))
	f.reply(t, f.s.Data("200 OK"))
}

// finish closes from the client's side: TIME_WAIT.
func (f *flow) finish(t *testing.T) {
	t.Helper()
	f.request(t, f.c.Fin())
	f.reply(t, f.s.Fin())
	f.request(t, f.c.Bare())
}

// toRS is what the real server must see of a request.
func (f *flow) toRS(p testpkt.Packet) testpkt.Packet {
	q := p.Clone()
	q.Src, q.Dst = f.lip, f.s.Local
	q.TTL--
	q.Seq += f.delta
	if q.Flags&testpkt.ACK != 0 {
		q.Ack -= f.sp
	}
	if q.Flags&testpkt.SYN == 0 {
		q.Window = shifted(q.Window, f.winIn)
	}
	eachOption(q.Options, func(o []byte) {
		switch o[0] {
		case 5: // SACK
			shiftSACK(o, -f.sp)
		case 8: // timestamps: the echo
			if q.Flags&testpkt.ACK != 0 && len(o) == 10 {
				binary.BigEndian.PutUint32(o[6:], binary.BigEndian.Uint32(o[6:])-f.tsp)
			}
		}
	})
	if f.strip && q.Flags&testpkt.SYN != 0 {
		stripTimestamps(q.Options)
	}
	if f.toa != 0 && q.Flags&(testpkt.SYN|testpkt.RST) == 0 {
		q.Options = append(testpkt.TOA(f.toa, f.c.Local), q.Options...)
	}
	return q
}

// toClient is what the client must see of a reply.
func (f *flow) toClient(p testpkt.Packet) testpkt.Packet {
	q := p.Clone()
	q.Src, q.Dst = f.vip, f.c.Local
	q.TTL--
	q.Seq += f.sp
	if q.Flags&testpkt.ACK != 0 {
		q.Ack -= f.delta
	}
	if q.Flags&testpkt.SYN == 0 {
		q.Window = shifted(q.Window, f.winOut)
	}
	eachOption(q.Options, func(o []byte) {
		switch o[0] {
		case 5: // SACK
			shiftSACK(o, -f.delta)
		case 8: // timestamps
			binary.BigEndian.PutUint32(o[2:], binary.BigEndian.Uint32(o[2:])+f.tsp)
		case 2: // MSS
			binary.BigEndian.PutUint16(o[2:], binary.BigEndian.Uint16(o[2:])-f.mssLess)
		}
	})
	return q
}

func shiftSACK(o []byte, by uint32) {
	for e := o[2:]; len(e) >= 4; e = e[4:] {
		binary.BigEndian.PutUint32(e, binary.BigEndian.Uint32(e)+by)
	}
}

// eachOption calls f for every option but NOPs, up to one that cannot be.
func eachOption(o []byte, f func(o []byte)) {
	for len(o) > 0 && o[0] != 0 {
		if o[0] == 1 {
			o = o[1:]
			continue
		}
		if len(o) < 2 || o[1] < 2 || int(o[1]) > len(o) {
			return
		}
		f(o[:o[1]])
		o = o[o[1]:]
	}
}

func stripTimestamps(o []byte) {
	eachOption(o, func(o []byte) {
		if o[0] == 8 {
			copy(o, strings.Repeat("\x01", len(o)))
		}
	})
}

// datagrams sends a UDP request and returns it and what the real server gets.
func (r *rig) datagram(t *testing.T, n int, cport uint16, payload string, sum testpkt.Sum) (sent, got testpkt.Packet) {
	t.Helper()
	sent = testpkt.Datagram(netip.AddrPortFrom(r.cip[n], cport), netip.AddrPortFrom(r.vip, 80), payload)
	sent.Sum = sum
	r.front.Send(t, sent)
	got = r.back.Recv(t)
	if !slices.Contains(r.lip, got.Src.Addr()) || !slices.Contains(r.rip, got.Dst.Addr()) || got.Dst.Port() != rport {
		t.Fatalf("not from a local address to a real server:\n%v", got)
	}
	want := sent.Clone()
	want.Src, want.Dst = got.Src, got.Dst
	want.TTL--
	if d := testpkt.Diff(want, got); d != "" {
		t.Fatalf("datagram at the real server differs:\n%s", d)
	}
	return sent, got
}

// answer sends a UDP reply to what the real server got and expects it at the
// client that sent.
func (r *rig) answer(t *testing.T, sent, got testpkt.Packet, payload string, sum testpkt.Sum) {
	t.Helper()
	p := testpkt.Datagram(got.Dst, got.Src, payload)
	p.Sum = sum
	r.back.Send(t, p)
	want := p.Clone()
	want.Src, want.Dst = sent.Dst, sent.Src
	want.TTL--
	r.front.Expect(t, want)
}

// slabObjects counts the live objects of a slab cache, by its allocations: it is
// exact because slub_debug=U is on for our caches.
func slabObjects(t *testing.T, cache string) int {
	t.Helper()
	if testvm.Kernel() == testvm.SanitizedKernel {
		// KASAN keeps what was freed for a while, to see who uses it.
		testnet.Must(t, os.WriteFile(filepath.Join("/sys/kernel/slab", cache, "shrink"), []byte("1"), 0))
	}
	text, err := os.ReadFile(filepath.Join("/sys/kernel/debug/slab", cache, "alloc_traces"))
	if errors.Is(err, os.ErrNotExist) {
		t.Fatalf("cache %s has no alloc_traces: is slub_debug=U on, and ip_vs loaded?", cache)
	}
	testnet.Must(t, err)
	n := 0
	for line := range strings.Lines(string(text)) {
		var count int
		if _, err := fmt.Sscanf(strings.TrimSpace(line), "%d ", &count); err == nil && strings.Contains(line, "+0x") {
			n += count
		}
	}
	return n
}

// each runs run once per family as name_v4 and name_v6, each with a rig.
func each(t *testing.T, name string, run func(*testing.T, *rig)) {
	t.Helper()
	for _, f := range fams {
		t.Run(name+"_"+f.name, func(t *testing.T) { run(t, newRig(t, f)) })
	}
}

// needOurs skips where the distribution's ip_vs runs.
func needOurs(t *testing.T) {
	t.Helper()
	if !testvm.HasOurs() {
		t.Skip("needs our ip_vs: this guest runs the distribution's")
	}
}
