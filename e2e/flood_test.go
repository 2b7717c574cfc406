// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testpkt"
	"github.com/lvs-fnat/lvs/internal/testvm"
	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/ipvs/uapi"
)

// TestFlood: packets that belong to no connection.
func TestFlood(t *testing.T) {
	needOurs(t)
	each(t, "65_invalid", caseInvalid)
	each(t, "65_rst_is_rate_limited", caseInvalidRate)
	each(t, "65_fwmark_and_plain_nat", caseInvalidPlain)
	each(t, "drop_vip", caseDropVIP)
}

func invalid(p ipvs.InvalidPolicy) ipvs.Ext {
	return ipvs.Ext{Set: ipvs.ExtFieldInvalid, Invalid: p}
}

// strays are TCP segments that no connection is for.
func (r *rig) strays(cport uint16) []testpkt.Packet {
	var all []testpkt.Packet
	for i, flags := range []testpkt.Flags{testpkt.ACK, testpkt.ACK | testpkt.PSH, testpkt.FIN | testpkt.ACK, testpkt.RST,
		testpkt.RST | testpkt.ACK, testpkt.SYN | testpkt.ACK, testpkt.FIN, 0, testpkt.SYN | testpkt.FIN} {
		c := testpkt.NewPeer(netip.AddrPortFrom(r.cip[i], cport), netip.AddrPortFrom(r.vip, 80), 5000)
		c.Ack = 777
		all = append(all, c.Segment(flags, ""))
	}
	return all
}

// caseInvalid: each policy with every kind of segment; connections that are there
// and new ones are not touched.
func caseInvalid(t *testing.T, r *rig) {
	key := r.serve(t, setup{})
	f := r.open(t, 0, 4000)
	n := uint64(len(r.strays(0)))

	// accept: as without us, the director's own stack answers.
	r.front.Send(t, r.strays(3000)[0])
	expectReset(t, r.front, r.strays(3000)[0])

	r.set(t, key, invalid(ipvs.InvalidDrop))
	r.front.Send(t, r.strays(3001)...)
	r.front.Quiet(t)
	r.back.Quiet(t)
	r.counts(t, map[uint16]uint64{uapi.ExtStatInvalidDrop: n, uapi.ExtStatInvalidRst: 0})
	f.talk(t)
	r.open(t, 1, 4000).talk(t)

	r.set(t, key, invalid(ipvs.InvalidRST))
	var resets uint64
	for _, p := range r.strays(3002) {
		r.front.Send(t, p)
		if p.Flags&testpkt.RST != 0 {
			r.front.Quiet(t) // never answered, by nobody
			continue
		}
		resets++
		got := r.front.Recv(t)
		want := testpkt.Packet{Src: p.Dst, Dst: p.Src, Proto: testpkt.TCP, TTL: 64, DF: !r.v6(), Flags: testpkt.RST, ID: got.ID}
		if p.Flags&testpkt.ACK != 0 {
			want.Seq = p.Ack
		} else {
			want.Flags, want.Ack = testpkt.RST|testpkt.ACK, p.Seq+p.Len()
		}
		if d := testpkt.Diff(want, got); d != "" {
			t.Errorf("the answer to %v differs:\n%s", p.Flags, d)
		}
	}
	r.counts(t, map[uint16]uint64{uapi.ExtStatInvalidDrop: n + n - resets, uapi.ExtStatInvalidRst: resets})
	if a, b := r.ofService(t, key, uapi.ExtStatInvalidDrop), r.ofService(t, key, uapi.ExtStatInvalidRst); a != n+n-resets || b != resets {
		t.Errorf("the service counts %d dropped and %d reset", a, b)
	}
	if n := len(r.conns(t)); n != 2 {
		t.Errorf("%d connections, want the 2 that were made", n)
	}
}

// caseInvalidRate: a flood of ACKs is not answered one by one.
func caseInvalidRate(t *testing.T, r *rig) {
	key := r.serve(t, setup{more: invalid(ipvs.InvalidRST)})
	const flood = 2000
	for i := range flood {
		c := testpkt.NewPeer(netip.AddrPortFrom(r.cip[i%len(r.cip)], uint16(5000+i)), netip.AddrPortFrom(r.vip, 80), 5000)
		r.front.Send(t, c.Segment(testpkt.ACK, ""))
	}
	answers := uint64(len(r.front.Drain()))
	rst, drop := r.ofService(t, key, uapi.ExtStatInvalidRst), r.ofService(t, key, uapi.ExtStatInvalidDrop)
	if rst != answers || rst+drop != flood || rst < 50 || rst > flood/2 {
		t.Errorf("%d answers to %d ACKs, %d and %d counted", answers, flood, rst, drop)
	}
	// 1,000 a second: a while later there is an answer again.
	time.Sleep(time.Second)
	p := r.strays(3000)[0]
	r.front.Send(t, p)
	r.front.Recv(t)
}

// caseInvalidPlain: the policy needs no FNAT, and knows a service by its mark.
func caseInvalidPlain(t *testing.T, r *rig) {
	r.plainService(t, invalid(ipvs.InvalidDrop))
	r.front.Send(t, r.strays(3000)...)
	r.front.Quiet(t)
	r.back.Quiet(t)
	r.counts(t, map[uint16]uint64{uapi.ExtStatInvalidDrop: uint64(len(r.strays(0)))})
	r.apply(t, ipvs.Op{Kind: ipvs.Flush})
	key := r.serve(t, setup{plain: true, fwmark: 7})
	r.set(t, key, invalid(ipvs.InvalidDrop))
	p := r.strays(3001)[0]
	r.front.Send(t, p)
	expectReset(t, r.front, p) // without the mark: nobody's
	mark := testnetMark(t, r, 7)
	r.front.Send(t, p)
	r.front.Quiet(t)
	mark()
	r.counts(t, map[uint16]uint64{uapi.ExtStatInvalidDrop: uint64(len(r.strays(0))) + 1})
}

// testnetMark has the director mark what comes in, until the function it returns is called.
func testnetMark(t *testing.T, r *rig, mark int) func() {
	t.Helper()
	r.d.Exec(t, "nft", fmt.Sprintf("table inet m { chain c { type filter hook prerouting priority -150; meta mark set %d; }; }", mark))
	return func() { r.d.Exec(t, "nft", "delete table inet m") }
}

// caseDropVIP: what comes to a vip and to none of its services gets no answer; the
// director's other addresses are as they were.
func caseDropVIP(t *testing.T, r *rig) {
	key := r.serve(t, setup{})
	drop := func(on bool) {
		r.apply(t, ipvs.Op{Kind: ipvs.SetExtConfig, Config: ipvs.ExtConfig{Set: ipvs.ExtConfigDropVIP, DropVIP: on}})
	}
	to := func(a netip.Addr, port uint16) []testpkt.Packet {
		dst := netip.AddrPortFrom(a, port)
		c := testpkt.NewPeer(netip.AddrPortFrom(r.cip[0], 4000), dst, 5000)
		syn := c.Syn(testpkt.MSS(1400))
		c.Ack = 99
		return []testpkt.Packet{syn, c.Bare(), testpkt.Datagram(netip.AddrPortFrom(r.cip[0], 4000), dst, "x")}
	}
	answered := func(pkts []testpkt.Packet) {
		t.Helper()
		for _, p := range pkts {
			r.front.Send(t, p)
			got := r.front.Recv(t)
			if got.Dst.Addr() != r.cip[0] {
				t.Errorf("the answer to\n%v is\n%v", p, got)
			}
		}
	}
	answered(to(r.vip, 81))
	drop(true)
	r.front.Send(t, to(r.vip, 81)...)
	r.front.Quiet(t)
	r.counts(t, map[uint16]uint64{uapi.ExtStatVipDrop: 3})
	answered(to(r.fam.front, 81))
	r.open(t, 1, 4000).talk(t)
	// UDP to the port of a TCP service is for no service either.
	r.front.Send(t, to(r.vip, 80)[2])
	r.front.Quiet(t)
	r.counts(t, map[uint16]uint64{uapi.ExtStatVipDrop: 4})
	// A UDP service gets its first packets as always, and its connections end.
	_, udp := r.operations(setup{proto: ipvs.UDP, port: 82})
	r.apply(t, udp[2:]...)
	r.front.Send(t, to(r.vip, 82)[2])
	if got := r.back.Recv(t); got.Proto != testpkt.UDP || got.Dst != netip.AddrPortFrom(r.rip[0], rport) {
		t.Errorf("a datagram to a service became\n%v", got)
	}
	r.counts(t, map[uint16]uint64{uapi.ExtStatVipDrop: 4})
	r.apply(t, ipvs.Op{Kind: ipvs.DelService, Service: ipvs.Service{ServiceKey: r.key(ipvs.UDP, 82)}})
	// An address without services is no vip any more.
	r.apply(t, ipvs.Op{Kind: ipvs.DelService, Service: ipvs.Service{ServiceKey: key}})
	r.apply(t, r.addService(ipvs.ServiceKey{Family: key.Family, Protocol: ipvs.UDP, Addr: r.fam.front, Port: 9}, 0, ""))
	answered(to(r.vip, 81))
	r.front.Send(t, to(r.fam.front, 81)...)
	r.front.Quiet(t)
	// A vip is one in its own namespace.
	o := newRig(t, r.fam)
	o.serve(t, setup{})
	answered(to(r.vip, 81))
	// Nor is it about what has no ports.
	ping := testpkt.Packet{Src: netip.AddrPortFrom(r.cip[0], 0), Dst: netip.AddrPortFrom(r.fam.front, 0), Proto: testpkt.ICMP, TTL: 64, Type: 8, Rest: 7 << 16}
	if r.v6() {
		ping.Proto, ping.Type = testpkt.ICMPv6, 128
	}
	answered([]testpkt.Packet{ping})
	drop(false)
	answered(to(r.fam.front, 81))
	cfg, err := r.x.ExtConfig(t.Context())
	if err != nil || cfg.DropVIP {
		t.Errorf("configuration %+v, %v", cfg, err)
	}
}

// TestList: clients by ipset.
func TestList(t *testing.T) {
	needOurs(t)
	each(t, "67_white", func(t *testing.T, r *rig) { caseACL(t, r, ipvs.ACLWhite) })
	each(t, "67_black", func(t *testing.T, r *rig) { caseACL(t, r, ipvs.ACLBlack) })
	each(t, "67_before_a_cookie", caseACLCookie)
	each(t, "67_swap_under_traffic", caseACLSwap)
	each(t, "67_which_sets", caseACLSets)
	each(t, "67_namespace_with_lists", caseACLNamespace)
}

// ipset runs f on the sets of the director.
func (r *rig) ipset(t *testing.T, f func() error) {
	t.Helper()
	testnet.Must(t, r.d.Do(f))
}

func (r *rig) makeSet(t *testing.T, name, typ string, family uint8, members ...netip.Addr) {
	t.Helper()
	r.ipset(t, func() error {
		if err := netlink.IpsetCreate(name, typ, netlink.IpsetCreateOptions{Family: family, Replace: true}); err != nil {
			return fmt.Errorf("create ipset %s: %w", name, err)
		}
		for _, a := range members {
			if err := netlink.IpsetAdd(name, &netlink.IPSetEntry{IP: net.IP(a.AsSlice()), CIDR: uint8(a.BitLen()), Replace: true}); err != nil {
				return fmt.Errorf("add %v to ipset %s: %w", a, name, err)
			}
		}
		return nil
	})
}

// makeSetOfSets makes a list:set, which the library cannot.
func (r *rig) makeSetOfSets(t *testing.T, name string, members ...string) {
	t.Helper()
	send := func(cmd int, more ...*nl.RtAttr) error {
		req := nl.NewNetlinkRequest(cmd|unix.NFNL_SUBSYS_IPSET<<8, nl.GetIpsetFlags(cmd))
		req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_NETLINK, Version: nl.NFNETLINK_V0})
		req.AddData(nl.NewRtAttr(nl.IPSET_ATTR_PROTOCOL, nl.Uint8Attr(nl.IPSET_PROTOCOL)))
		req.AddData(nl.NewRtAttr(nl.IPSET_ATTR_SETNAME, nl.ZeroTerminated(name)))
		for _, a := range more {
			req.AddData(a)
		}
		_, err := req.Execute(unix.NETLINK_NETFILTER, 0)
		return err
	}
	data := func() *nl.RtAttr { return nl.NewRtAttr(nl.IPSET_ATTR_DATA|int(nl.NLA_F_NESTED), nil) }
	r.ipset(t, func() error {
		err := send(nl.IPSET_CMD_CREATE, nl.NewRtAttr(nl.IPSET_ATTR_TYPENAME, nl.ZeroTerminated("list:set")),
			nl.NewRtAttr(nl.IPSET_ATTR_REVISION, nl.Uint8Attr(3)), nl.NewRtAttr(nl.IPSET_ATTR_FAMILY, nl.Uint8Attr(unix.NFPROTO_UNSPEC)), data())
		for _, m := range members {
			d := data()
			d.AddChild(nl.NewRtAttr(nl.IPSET_ATTR_NAME, nl.ZeroTerminated(m)))
			err = errors.Join(err, send(nl.IPSET_CMD_ADD, d))
		}
		return err
	})
}

func (r *rig) nf() uint8 {
	if r.v6() {
		return unix.NFPROTO_IPV6
	}
	return unix.NFPROTO_IPV4
}

// acl names a set for the rig's family.
func (r *rig) acl(mode ipvs.ACLMode, set string) ipvs.Ext {
	if r.v6() {
		return limits(ipvs.ExtFieldACLMode|ipvs.ExtFieldACLSet6, ipvs.Limits{ACL: mode, ACLSet6: set})
	}
	return limits(ipvs.ExtFieldACLMode|ipvs.ExtFieldACLSet4, ipvs.Limits{ACL: mode, ACLSet4: set})
}

// caseACL: clients 0 and 1 are in the set.
func caseACL(t *testing.T, r *rig, mode ipvs.ACLMode) {
	r.makeSet(t, "clients", "hash:net", r.nf(), r.cip[0], r.cip[1])
	key := r.serve(t, setup{more: r.acl(mode, "clients")})
	in := mode == ipvs.ACLWhite
	refused := uint64(0)
	try := func(n int, cport uint16, pass bool) {
		t.Helper()
		if pass {
			r.open(t, n, cport).talk(t)
			return
		}
		r.start(t, n, cport)
		r.back.Quiet(t)
		r.front.Quiet(t)
		refused++
	}
	for n := range 4 {
		try(n, 4000, in == (n < 2))
	}
	r.counts(t, map[uint16]uint64{uapi.ExtStatAclDrop: refused})
	// The set is the kernel's: what is added to it or taken out counts at once.
	r.ipset(t, func() error {
		e := netlink.IPSetEntry{IP: net.IP(r.cip[2].AsSlice()), CIDR: uint8(r.vip.BitLen())}
		f := netlink.IPSetEntry{IP: net.IP(r.cip[0].AsSlice()), CIDR: uint8(r.vip.BitLen())}
		return errors.Join(netlink.IpsetAdd("clients", &e), netlink.IpsetDel("clients", &f))
	})
	try(2, 4001, in)
	try(0, 4001, !in)
	if n := r.ofService(t, key, uapi.ExtStatAclDrop); n != refused {
		t.Errorf("the service counts %d refused, want %d", n, refused)
	}
	s, err := r.x.ExtService(t.Context(), key)
	if err != nil || s.ACL != mode || s.ACLSet4+s.ACLSet6 != "clients" {
		t.Errorf("the service is listed as %+v, %v", s.Ext, err)
	}
	// In use it cannot be destroyed; switched off it can.
	r.ipset(t, func() error {
		if err := netlink.IpsetDestroy("clients"); err == nil {
			return errors.New("a set in use was destroyed")
		}
		return nil
	})
	r.set(t, key, r.acl(ipvs.ACLOff, ""))
	for n := range 4 {
		try(n, 4002, true)
	}
	testnet.Eventually(t, 10*time.Second, func() error {
		return r.d.Do(func() error { return netlink.IpsetDestroy("clients") })
	})
}

// caseACLCookie: a client whom the list refuses gets no cookie either.
func caseACLCookie(t *testing.T, r *rig) {
	r.makeSet(t, "clients", "hash:net", r.nf(), r.cip[0])
	r.proxied(t, proxy{setup: setup{more: r.acl(ipvs.ACLBlack, "clients")}})
	r.front.Send(t, testpkt.NewPeer(netip.AddrPortFrom(r.cip[0], 4000), netip.AddrPortFrom(r.vip, 80), 1).Syn(synOptions(r.fam)...))
	r.front.Quiet(t)
	f := r.linux(t, 1, 4000)
	f.ack(t, "")
	f.accept(t)
	r.counts(t, map[uint16]uint64{uapi.ExtStatAclDrop: 1, uapi.ExtStatSpSyn: 1, uapi.ExtStatSpSynack: 1, uapi.ExtStatSpAckOk: 1})
	// Who is put on the list with a cookie in his hand is refused, too; who is connected goes on.
	g := r.linux(t, 2, 4000)
	r.ipset(t, func() error {
		var errs []error
		for _, a := range r.cip[1:3] {
			errs = append(errs, netlink.IpsetAdd("clients", &netlink.IPSetEntry{IP: net.IP(a.AsSlice()), CIDR: uint8(a.BitLen())}))
		}
		return errors.Join(errs...)
	})
	r.front.Send(t, g.c.Bare())
	r.front.Quiet(t)
	r.back.Quiet(t)
	r.counts(t, counts{uapi.ExtStatAclDrop: 2, uapi.ExtStatSpRsSyn: 1})
	f.talk(t)
}

// caseACLSwap: two sets change places while clients connect: each connection meets
// the one or the other, and after the swap all meet the new one.
func caseACLSwap(t *testing.T, r *rig) {
	r.makeSet(t, "now", "hash:net", r.nf(), r.cip[:10]...)
	r.makeSet(t, "next", "hash:net", r.nf(), r.cip[10:]...)
	r.serve(t, setup{more: r.acl(ipvs.ACLWhite, "now")})
	passed, refused := 0, 0
	// syns has the clients from first to last connect.
	syns := func(round, first, last int) {
		for i := first; i <= last; i++ {
			r.front.Send(t, testpkt.NewPeer(netip.AddrPortFrom(r.cip[i], uint16(3000+round)), netip.AddrPortFrom(r.vip, 80), 7).Syn(testpkt.MSS(1400)))
		}
	}
	// judged waits until each SYN that was sent has passed or been refused, and
	// returns how many passed since it was asked last.
	judged := func(sent int) int {
		n := passed
		testnet.Eventually(t, 10*time.Second, func() error {
			passed += len(r.back.Come())
			refused = int(r.stat(t, uapi.ExtStatAclDrop))
			if passed+refused != sent {
				return fmt.Errorf("%d passed and %d were refused, of %d", passed, refused, sent)
			}
			return nil
		})
		return passed - n
	}
	last, sent := len(r.cip)-1, 0
	for round := range 20 {
		// One is on its way while the sets change places, and meets the one or the other.
		syns(round, 0, 9)
		sent += 10
		before := judged(sent)
		syns(round, 10, 10)
		r.ipset(t, func() error { return netlink.IpsetSwap("now", "next") })
		syns(round, 11, last)
		sent += last - 9
		after := judged(sent)
		want, others := 10, last-10
		if round%2 == 1 {
			want, others = 0, 0
		}
		if before != want || after < others || after > others+1 {
			t.Errorf("round %d: %d SYNs passed before the swap, want %d, and %d after it, want %d and perhaps the one between", round, before, want, after, others)
		}
	}
	// An even number of swaps: the first ten.
	for i := range r.cip {
		r.front.Send(t, testpkt.NewPeer(netip.AddrPortFrom(r.cip[i], 3900), netip.AddrPortFrom(r.vip, 80), 7).Syn(testpkt.MSS(1400)))
	}
	judged(sent + len(r.cip))
	all := map[netip.Addr]bool{}
	for _, c := range r.conns(t) {
		if c.Client.Port() == 3900 {
			all[c.Client.Addr()] = true
		}
	}
	for i, a := range r.cip {
		if all[a] != (i < 10) {
			t.Errorf("client %d: connected %v", i, all[a])
		}
	}
}

// caseACLSets: which sets will do.
func caseACLSets(t *testing.T, r *rig) {
	other, us := uint8(unix.NFPROTO_IPV6), "IPv4"
	if r.v6() {
		other, us = unix.NFPROTO_IPV4, "IPv6"
	}
	key := r.serve(t, setup{})
	try := func(set string) error {
		return r.x.Apply(t.Context(), ipvs.Op{Kind: ipvs.SetExt, Service: ipvs.Service{ServiceKey: key}, Ext: r.acl(ipvs.ACLBlack, set)})
	}
	wantErrno(t, try("nobody"), syscall.ENOENT, "ipset 'nobody' not found")
	r.makeSet(t, "wrong", "hash:net", other)
	wantErrno(t, try("wrong"), syscall.EAFNOSUPPORT, "ipset 'wrong' is not "+us)
	r.makeSet(t, "ports", "hash:ip,port", r.nf())
	wantErrno(t, try("ports"), syscall.EINVAL, "ipset 'ports' has more than an address")
	r.makeSet(t, "hosts", "hash:ip", r.nf(), r.cip[3])
	testnet.Must(t, try("hosts"), try("hosts"))
	r.start(t, 3, 4000)
	r.back.Quiet(t)
	r.open(t, 2, 4000)
	// A set of sets is of both families, and so are its members, one of which counts.
	if testvm.Kernel() != testvm.SanitizedKernel { // which knows no such set
		r.makeSetOfSets(t, "both", "wrong", "hosts")
		testnet.Must(t, try("both"))
		r.start(t, 3, 4001)
		r.back.Quiet(t)
		r.open(t, 2, 4001)
		testnet.Must(t, try("hosts"))
		testnet.Eventually(t, 10*time.Second, func() error {
			return r.d.Do(func() error { return netlink.IpsetDestroy("both") })
		})
	}
	// What was refused is not held.
	for _, set := range []string{"wrong", "ports"} {
		testnet.Eventually(t, 10*time.Second, func() error {
			return r.d.Do(func() error { return netlink.IpsetDestroy(set) })
		})
	}
	// The service goes, and lets go.
	r.apply(t, ipvs.Op{Kind: ipvs.DelService, Service: ipvs.Service{ServiceKey: key}})
	testnet.Eventually(t, 10*time.Second, func() error {
		return r.d.Do(func() error { return netlink.IpsetDestroy("hosts") })
	})
}

// caseACLNamespace: a namespace goes with lists in use; nothing of it stays.
func caseACLNamespace(t *testing.T, r *rig) {
	o := buildRig(t, r.fam)
	o.makeSet(t, "clients", "hash:net", o.nf(), o.cip[0])
	o.serve(t, setup{more: o.acl(ipvs.ACLWhite, "clients")})
	o.open(t, 0, 4000).talk(t)
	testnet.Must(t, o.front.Close(), o.back.Close(), o.x.Close(), o.d.Close(), o.w.Close())
	testnet.Eventually(t, 30*time.Second, func() error {
		if n := slabObjects(t, "ip_vs_x_set"); n != 0 {
			return fmt.Errorf("%d lists are left", n)
		}
		return nil
	})
}
