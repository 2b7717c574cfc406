// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testpkt"
	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/ipvs/uapi"
)

// stage says which packet of a flow is meant; UDP has one kind only.
type stage int

const (
	opening stage = iota // SYN and SYN/ACK, with the options of Linux
	segment              // ACK without data or options
	stamped              // the same with timestamps, as Linux sends it
)

// flows are connections from consecutive client ports by one path.
type flows struct {
	*bed
	kind
	path
	first, n int
	lports   map[uint16]netip.AddrPort // by client port, with FNAT
	in, out  int                       // packets sent: requests, replies
}

func newFlows(b *bed, k kind, p path, first, n int) *flows {
	return &flows{bed: b, kind: k, path: p, first: first, n: n}
}

// report reports a number under the name of path, kind, what and flows.
func (f *flows) report(what string, per float64) {
	report(fmt.Sprintf("%s %s %s %d", f.path.name, f.kind.name, what, f.n), per, "instructions")
}

// request sends the flows' requests, so many rounds, and returns instructions per
// packet.
func (f *flows) request(t *testing.T, s stage, rounds int) float64 {
	t.Helper()
	var pkts []testpkt.Packet
	for i := range f.n {
		client := netip.AddrPortFrom(f.client, uint16(f.first+i))
		to := netip.AddrPortFrom(f.vip, vport)
		if f.x == nil {
			to = netip.AddrPortFrom(f.server, rport)
		}
		p := f.packet(client, to, s)
		p.Seq, p.Ack = 1001, 5001
		if s == opening {
			p.Flags, p.Seq, p.Ack = p.Flags&testpkt.SYN, 1000, 0
		}
		pkts = append(pkts, p)
	}
	count := f.count(s)
	f.in += count * rounds
	return f.flood(t, "front", toServer, pkts, count, rounds)
}

// reply is request in the other direction.
func (f *flows) reply(t *testing.T, s stage, rounds int) float64 {
	t.Helper()
	var pkts []testpkt.Packet
	for i := range f.n {
		to := netip.AddrPortFrom(f.client, uint16(f.first+i))
		if f.lports != nil {
			to = f.lports[to.Port()]
		}
		p := f.packet(netip.AddrPortFrom(f.server, rport), to, s)
		p.Seq, p.Ack = 5001, 1001
		if s == opening {
			p.Seq = 5000
		}
		pkts = append(pkts, p)
	}
	count := f.count(s)
	f.out += count * rounds
	return f.flood(t, "back", toClient, pkts, count, rounds)
}

// count is how many packets are a round: a flow opens once.
func (f *flows) count(s stage) int {
	if s == opening {
		return f.n
	}
	return many
}

func (f *flows) packet(src, dst netip.AddrPort, s stage) testpkt.Packet {
	if f.proto == ipvs.UDP {
		return testpkt.Datagram(src, dst, "eighteen bytes, 18")
	}
	p := testpkt.Packet{Src: src, Dst: dst, Proto: testpkt.TCP, TTL: 64, DF: true, Flags: testpkt.ACK, Window: 65535}
	switch s {
	case opening:
		p.Flags |= testpkt.SYN
		p.Options = testpkt.Options(testpkt.MSS(1440), testpkt.SACKPermitted(), testpkt.Timestamps(1, 0), testpkt.NOP(), testpkt.WScale(7))
	case stamped:
		p.Options = testpkt.Options(testpkt.NOP(), testpkt.NOP(), testpkt.Timestamps(2, 3))
	}
	return p
}

// established counts what flows in progress send.
func (f *flows) established(t *testing.T) {
	t.Helper()
	// Now the real server has answered what no SYN/ACK is: no more TOA.
	f.reply(t, segment, 1)
	f.report("request", f.request(t, segment, rounds))
	f.report("reply", f.reply(t, segment, rounds))
	if f.proto == ipvs.TCP {
		f.report("request-stamped", f.request(t, stamped, rounds))
		f.report("reply-stamped", f.reply(t, stamped, rounds))
	}
}

// learn finds out to which local port the real server replies for each client.
func (f *flows) learn(t *testing.T) {
	t.Helper()
	if f.ext == 0 {
		return
	}
	f.lports = map[uint16]netip.AddrPort{}
	for c, err := range f.x.Conns(t.Context(), ipvs.ConnFilter{}) {
		testnet.Must(t, err)
		f.lports[c.Client.Port()] = c.Local
	}
	if len(f.lports) != f.n {
		t.Fatalf("%d connections with FNAT, want %d", len(f.lports), f.n)
	}
}

// verify: what was sent went by the path that was meant.
func (f *flows) verify(t *testing.T, key ipvs.ServiceKey) {
	t.Helper()
	time.Sleep(5 * time.Second) // the kernel sums up every two
	svc, err := f.x.Service(t.Context(), key)
	testnet.Must(t, err)
	if s := svc.Stats; int(s.Conns) != f.n || int(s.InPkts) != f.in || int(s.OutPkts) != f.out {
		t.Errorf("the service counted %d connections, %d requests, %d replies; sent %d, %d, %d",
			s.Conns, s.InPkts, s.OutPkts, f.n, f.in, f.out)
	}
	ext, err := f.x.ExtStats(t.Context())
	if errors.Is(err, ipvs.ErrNoExt) {
		return
	}
	testnet.Must(t, err)
	want := map[uint16]int{}
	if f.ext != 0 {
		want = map[uint16]int{uapi.ExtStatLportOk: f.n, uapi.ExtStatOutHit: f.out}
	}
	if f.ext&ipvs.ExtTOA != 0 && f.out > 0 {
		want[uapi.ExtStatToaOk] = f.toaSent()
	}
	for n, v := range ext {
		if int(v) != want[n] {
			t.Errorf("counter %s is %d, want %d", ipvs.ExtStatName(n), v, want[n])
		}
	}
}

// toaSent is how many packets carried TOA: the third of each handshake, and with
// one flow as many as may.
func (f *flows) toaSent() int {
	if f.n == 1 {
		return 16
	}
	return f.n
}
