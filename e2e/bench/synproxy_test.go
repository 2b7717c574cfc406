// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testpkt"
	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/ipvs/uapi"
)

// countSynproxy counts what SYN proxy costs: a SYN answered with a cookie, an ACK
// without one dropped, an ACK with one that makes a connection and a SYN to the
// real server, that server's SYN/ACK, and packets with both deltas.
func countSynproxy(t *testing.T, k kind) {
	b := newBed(t, k.net)
	key := b.serve(t, ipvs.TCP, ipvs.ExtFNAT|ipvs.ExtSynproxy)
	// With the policy accept a stray ACK would be answered by the director's own stack.
	testnet.Must(t, b.x.Apply(t.Context(), ipvs.Op{Kind: ipvs.SetExt, Service: ipvs.Service{ServiceKey: key},
		Ext: ipvs.Ext{Set: ipvs.ExtFieldInvalid, Invalid: ipvs.InvalidDrop}}))
	f := newFlows(b, k, path{name: "synproxy"}, manyPorts, many)
	var syns, bad, good []testpkt.Packet
	for i := range f.n {
		syn := f.packet(netip.AddrPortFrom(f.client, uint16(f.first+i)), netip.AddrPortFrom(f.vip, vport), opening)
		syn.Flags, syn.Seq = testpkt.SYN, 1000
		syns = append(syns, syn)
		ack := f.packet(syn.Src, syn.Dst, segment)
		ack.Seq, ack.Ack = 1001, uint32(i)*0x9e3779b1
		bad = append(bad, ack)
	}
	f.report("new", b.flood(t, "front", toClient, syns, f.n, rounds))
	cookies := b.cookies(t, func() { b.flood(t, "front", toClient, syns, f.n, 1) })
	for _, p := range bad {
		p.Ack = cookies[p.Src.Port()] + 1
		good = append(good, p)
	}
	f.report("bad-ack", b.flood(t, "front", nowhere, bad, f.n, rounds))
	f.report("handshake", b.flood(t, "front", toServer, good, f.n, 1))
	var answers []testpkt.Packet
	f.lports = map[uint16]netip.AddrPort{}
	for c, err := range b.x.Conns(t.Context(), ipvs.ConnFilter{}) {
		testnet.Must(t, err)
		f.lports[c.Client.Port()] = c.Local
		p := f.packet(netip.AddrPortFrom(f.server, rport), c.Local, opening)
		p.Seq, p.Ack = 5000, 1001+c.ISNDelta
		answers = append(answers, p)
	}
	if len(answers) != f.n {
		t.Fatalf("%d connections, want %d", len(answers), f.n)
	}
	f.report("answer", b.flood(t, "back", toClient, answers, f.n, 1))
	f.report("request", f.request(t, segment, rounds))
	f.report("reply", f.reply(t, segment, rounds))
	s, err := b.x.ExtStats(t.Context())
	testnet.Must(t, err)
	if n := uint64(f.n); s[uapi.ExtStatSpDone] != n || s[uapi.ExtStatSpAckBad] != rounds*n {
		t.Errorf("%d handshakes, %d bad ACKs; want %d, %d", s[uapi.ExtStatSpDone], s[uapi.ExtStatSpAckBad], n, rounds*n)
	}
	b.close(t)
}

// cookies are the sequence numbers of the SYN/ACKs that send makes the director
// send, by the client's port.
func (b *bed) cookies(t *testing.T, send func()) map[uint16]uint32 {
	t.Helper()
	fd := -1
	testnet.Must(t, b.d.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(unix.ETH_P_ALL>>8|unix.ETH_P_ALL<<8&0xff00))
		return err
	}))
	defer unix.Close(fd)
	testnet.Must(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20))
	send()
	time.Sleep(time.Second)
	found := map[uint16]uint32{}
	buf := make([]byte, 2048)
	// Ethernet, and IP without options or extension headers
	etype, at := uint16(unix.ETH_P_IP), 14+20
	if b.vip.Is6() {
		etype, at = unix.ETH_P_IPV6, 14+40
	}
	for {
		n, err := unix.Read(fd, buf)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		testnet.Must(t, err)
		if tcp := buf[at:]; n >= at+20 && binary.BigEndian.Uint16(buf[12:]) == etype && testpkt.Flags(tcp[13]) == testpkt.SYN|testpkt.ACK {
			found[binary.BigEndian.Uint16(tcp[2:])] = binary.BigEndian.Uint32(tcp[4:])
		}
	}
	if len(found) != many {
		t.Fatalf("%d cookies, want %d", len(found), many)
	}
	return found
}
