// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testpkt"
)

// dialed is what a kernel socket came to.
type dialed struct {
	conn net.Conn
	err  error
}

// caseClientOnDirector: the client is a socket of the director itself.
func caseClientOnDirector(t *testing.T, r *rig) {
	r.serve(t, setup{})
	local := netip.AddrPortFrom(r.fam.front, 4000)
	done := make(chan dialed, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	go func() {
		c, err := r.d.Dial(ctx, &net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(local)}, "tcp", netip.AddrPortFrom(r.vip, 80).String())
		done <- dialed{c, err}
	}()
	syn := r.back.Recv(t)
	if syn.Flags != testpkt.SYN || syn.Src.Addr() != r.lip[0] || syn.Dst != netip.AddrPortFrom(r.rip[0], rport) || syn.TTL != 63 {
		t.Fatalf("the director's own SYN became\n%v", syn)
	}
	if _, ts := syn.Option(8); ts {
		t.Errorf("the SYN still has timestamps:\n%v", syn)
	}
	s := testpkt.NewPeer(syn.Dst, syn.Src, 900)
	s.Took(syn)
	r.back.Send(t, s.Syn(testpkt.MSS(1400)))
	ack := r.back.Recv(t)
	if ack.Flags != testpkt.ACK || ack.Src != syn.Src || ack.Seq != syn.Seq+1 || ack.Ack != 901 {
		t.Fatalf("the handshake ended with\n%v", ack)
	}
	d := <-done
	testnet.Must(t, d.err)
	defer d.conn.Close()
	if got := d.conn.RemoteAddr().String(); got != netip.AddrPortFrom(r.vip, 80).String() {
		t.Errorf("the client is connected to %s", got)
	}
	_, err := d.conn.Write([]byte("question"))
	testnet.Must(t, err)
	q := r.back.Recv(t)
	if string(q.Payload) != "question" || q.Seq != syn.Seq+1 || q.Src != syn.Src {
		t.Errorf("the request became\n%v", q)
	}
	s.Took(q)
	r.back.Send(t, s.Data("answer"))
	buf := make([]byte, 16)
	n, err := d.conn.Read(buf)
	testnet.Must(t, err)
	if string(buf[:n]) != "answer" {
		t.Errorf("the client read %q", buf[:n])
	}
	if ack := r.back.Recv(t); ack.Flags != testpkt.ACK || ack.Ack != s.Seq {
		t.Errorf("the answer was acknowledged by\n%v", ack)
	}
	testnet.Must(t, d.conn.(*net.TCPConn).SetLinger(0), d.conn.Close())
	if rst := r.back.Recv(t); rst.Flags&testpkt.RST == 0 || rst.Src != syn.Src {
		t.Errorf("the client's reset became\n%v", rst)
	}
	r.front.Quiet(t)
}

// caseServerOnDirector: the real server is a socket of the director itself.
func caseServerOnDirector(t *testing.T, r *rig) {
	key, ops := r.operations(setup{})
	ops[len(ops)-1] = r.dest(ops[len(ops)-1].Kind, key, r.fam.back, 1)
	r.apply(t, ops...)
	l, err := r.d.Listen(t.Context(), "tcp", netip.AddrPortFrom(r.fam.back, rport).String())
	testnet.Must(t, err)
	defer l.Close()
	done := make(chan dialed, 1)
	go func() {
		c, err := l.Accept()
		done <- dialed{c, err}
	}()
	vip := netip.AddrPortFrom(r.vip, 80)
	c := testpkt.NewPeer(netip.AddrPortFrom(r.cip[0], 4000), vip, 700)
	r.front.Send(t, c.Syn(synOptions(r.fam)...))
	sa := r.front.Recv(t)
	if sa.Flags != testpkt.SYN|testpkt.ACK || sa.Src != vip || sa.Dst != c.Local || sa.Ack != 701 {
		t.Fatalf("the SYN was answered by\n%v", sa)
	}
	if _, ts := sa.Option(8); ts {
		t.Errorf("the server answers timestamps that the SYN must not have had:\n%v", sa)
	}
	c.Took(sa)
	r.front.Send(t, c.Bare(), c.Data("question"))
	d := <-done
	testnet.Must(t, d.err)
	defer d.conn.Close()
	peer, err := netip.ParseAddrPort(d.conn.RemoteAddr().String())
	testnet.Must(t, err)
	if peer.Addr() != r.lip[0] {
		t.Errorf("the server's peer is %v, want the local address", peer)
	}
	buf := make([]byte, 16)
	n, err := d.conn.Read(buf)
	testnet.Must(t, err)
	if string(buf[:n]) != "question" {
		t.Errorf("the server read %q", buf[:n])
	}
	if ack := r.front.Recv(t); ack.Flags != testpkt.ACK || ack.Ack != c.Seq || ack.Src != vip {
		t.Errorf("the question was acknowledged by\n%v", ack)
	}
	_, err = d.conn.Write([]byte("answer"))
	testnet.Must(t, err)
	a := r.front.Recv(t)
	if string(a.Payload) != "answer" || a.Src != vip || a.Dst != c.Local || a.Seq != sa.Seq+1 || a.Ack != c.Seq {
		t.Errorf("the answer became\n%v", a)
	}
	c.Took(a)
	r.front.Send(t, c.Bare())
	// An ACK that comes after the end would be answered by another reset.
	acknowledged(t, d.conn)
	testnet.Must(t, d.conn.(*net.TCPConn).SetLinger(0), d.conn.Close())
	if rst := r.front.Recv(t); rst.Flags&testpkt.RST == 0 || rst.Src != vip || rst.Seq != c.Ack {
		t.Errorf("the server's reset became\n%v", rst)
	}
	r.back.Quiet(t)
}
