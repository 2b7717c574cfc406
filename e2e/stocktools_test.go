// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/ipvs"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testpkt"
	"github.com/lvs-fnat/lvs/internal/testvm"
	ours "github.com/lvs-fnat/lvs/ipvs"
)

// TestTools: tools, libraries and modules that know nothing of us, on our ip_vs.
func TestTools(t *testing.T) {
	needOurs(t)
	for _, c := range []struct {
		name string
		run  func(*testing.T, *rig)
	}{
		{"30_stock_tool_edits_weight", caseStockEdits},
		{"30_witness_reads", caseWitnessReads},
		{"31_alien_methods", caseAlienMethods},
		{"29_dr_beside_fnat", caseDRBeside},
		{"stock_setsockopt", caseSockopt},
	} {
		each(t, c.name, c.run)
	}
	t.Run("35_stock_modules", stockModules)
	t.Run("26_conntrack_v4", func(t *testing.T) { caseConntrack(t, newRig(t, fam4)) })
	t.Run("26_conntrack_v6", func(t *testing.T) { caseConntrack(t, newRig(t, fam6)) })
}

// moby's words for the service of a rig.
func (r *rig) mobyService() *ipvs.Service {
	s := &ipvs.Service{AddressFamily: family(r.vip), Protocol: syscall.IPPROTO_TCP, Address: net.IP(r.vip.AsSlice()), Port: 80, SchedName: "rr", Netmask: 0xffffffff}
	if r.v6() {
		s.Netmask = 128
	}
	return s
}

func (r *rig) mobyDest(a netip.Addr, method uint32) *ipvs.Destination {
	return &ipvs.Destination{AddressFamily: family(a), Address: net.IP(a.AsSlice()), Port: rport, Weight: 1, ConnectionFlags: method}
}

// stock runs the distribution's ipvsadm.
func (r *rig) stock(t *testing.T, args ...string) string {
	t.Helper()
	return r.d.Exec(t, "ipvsadm.stock", args...)
}

func caseStockEdits(t *testing.T, r *rig) {
	r.serve(t, setup{})
	f := r.open(t, 0, 4000)
	vip, rip := netip.AddrPortFrom(r.vip, 80).String(), netip.AddrPortFrom(r.rip[0], rport).String()
	list := r.stock(t, "-Ln")
	if !strings.Contains(list, vip) || !strings.Contains(list, "Masq") || strings.Contains(list, r.lip[0].String()) {
		t.Errorf("stock ipvsadm lists\n%s", list)
	}
	r.stock(t, "-e", "-t", vip, "-r", rip, "-m", "-w", "7")
	if list := r.stock(t, "-Ln"); !strings.Contains(list, "Masq    7") {
		t.Errorf("after the edit stock ipvsadm lists\n%s", list)
	}
	f.talk(t)
	r.open(t, 1, 4000).talk(t)
	// A scheduler, a timeout, a second dest: FNAT stays with all of it.
	r.stock(t, "-E", "-t", vip, "-s", "wlc")
	r.stock(t, "-d", "-t", vip, "-r", rip)
	r.stock(t, "-a", "-t", vip, "-r", netip.AddrPortFrom(r.rip[1], rport).String(), "-m")
	g := r.open(t, 2, 4000)
	if g.s.Local.Addr() != r.rip[1] {
		t.Errorf("the new connection went to %v", g.s.Local)
	}
	g.talk(t)
	if conns := r.stock(t, "-Lcn"); !strings.Contains(conns, "ESTABLISHED") || !strings.Contains(conns, r.rip[1].String()) {
		t.Errorf("stock ipvsadm lists connections\n%s", conns)
	}
	saved := r.stock(t, "-Sn")
	if !strings.Contains(saved, "-m -w 1") {
		t.Errorf("stock ipvsadm saves\n%s", saved)
	}
}

func caseWitnessReads(t *testing.T, r *rig) {
	r.serve(t, setup{servers: 2})
	w := witness(t, r.d)
	services, err := w.GetServices()
	testnet.Must(t, err)
	if len(services) != 1 || services[0].Port != 80 || services[0].SchedName != "rr" {
		t.Fatalf("the witness sees services %+v", services)
	}
	dests, err := w.GetDestinations(services[0])
	testnet.Must(t, err)
	for _, d := range dests {
		if d.ConnectionFlags&ipvs.ConnFwdMask != ipvs.ConnFwdMasq {
			t.Errorf("the witness sees method %d, want masquerading", d.ConnectionFlags&ipvs.ConnFwdMask)
		}
	}
	f := r.open(t, 0, 4000)
	f.talk(t)
	testnet.Eventually(t, 5*time.Second, func() error {
		got, err := w.GetService(r.mobyService())
		if err != nil {
			return err
		}
		if s := got.Stats; s.Connections != 1 || s.PacketsIn != 3 || s.PacketsOut != 2 {
			return errors.New("statistics are not 1 connection, 3 packets in, 2 out")
		}
		return nil
	})
	testnet.Must(t, w.UpdateDestination(r.mobyService(), r.mobyDest(r.rip[0], ipvs.ConnFwdMasq)))
	f.talk(t)
}

// Other FNATs used forwarding methods 5 and up; here they would lose every packet.
func caseAlienMethods(t *testing.T, r *rig) {
	r.serve(t, setup{})
	w := witness(t, r.d)
	for _, method := range []uint32{5, 6, 7} {
		if err := w.NewDestination(r.mobyService(), r.mobyDest(r.rip[1], method)); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("add with method %d: %v, want EINVAL", method, err)
		}
		if err := w.UpdateDestination(r.mobyService(), r.mobyDest(r.rip[0], method)); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("edit with method %d: %v, want EINVAL", method, err)
		}
	}
	dests, err := w.GetDestinations(r.mobyService())
	testnet.Must(t, err)
	if len(dests) != 1 || dests[0].ConnectionFlags&ipvs.ConnFwdMask != ipvs.ConnFwdMasq {
		t.Errorf("dests are %+v, want the first alone, as it was", dests)
	}
	r.open(t, 0, 4000).talk(t)
}

// A direct-routing dest in an FNAT service is what it is elsewhere.
func caseDRBeside(t *testing.T, r *rig) {
	r.serve(t, setup{servers: 1})
	w := witness(t, r.d)
	dr := r.mobyDest(r.rip[1], ipvs.ConnFwdDirectRoute)
	dr.Port = 80
	testnet.Must(t, w.NewDestination(r.mobyService(), dr))
	seen := map[bool]int{}
	for i := range 4 {
		f, syn := r.start(t, i, 4000)
		got := r.back.Recv(t)
		if got.Dst == syn.Dst {
			want := syn.Clone()
			want.TTL-- // stock: the director is a hop
			if d := testpkt.Diff(want, got); d != "" {
				t.Errorf("a direct-routing packet was changed:\n%s", d)
			}
			seen[true]++
			continue
		}
		f.learn(t, syn, got)
		if d := testpkt.Diff(f.toRS(syn), got); d != "" {
			t.Error(d)
		}
		seen[false]++
	}
	if seen[true] != 2 || seen[false] != 2 {
		t.Errorf("%d by direct routing and %d by FNAT, want 2 and 2", seen[true], seen[false])
	}
	if n := len(r.conns(t)); n != 2 {
		t.Errorf("the extension lists %d connections, want the 2 of its own", n)
	}
}

// The old interface of setsockopt, which stock ipvsadm uses without netlink, and
// the numbers alibaba put behind it.
func caseSockopt(t *testing.T, r *rig) {
	r.serve(t, setup{})
	const base = 64 + 1024 + 64
	err := r.d.Do(func() error {
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_RAW, syscall.IPPROTO_RAW)
		if err != nil {
			return err
		}
		defer syscall.Close(fd)
		for _, opt := range []int{base + 16, base + 17} {
			err := syscall.SetsockoptString(fd, syscall.IPPROTO_IP, opt, strings.Repeat("\x00", 64))
			if !errors.Is(err, syscall.ENOPROTOOPT) {
				t.Errorf("setsockopt base+%d: %v, want ENOPROTOOPT", opt-base, err)
			}
		}
		return nil
	})
	testnet.Must(t, err)
}

// stockModules loads every module of the distribution that stands on ip_vs, and
// uses each scheduler once.
func stockModules(t *testing.T) {
	for _, m := range []string{"ip_vs_ftp", "ip_vs_pe_sip", "xt_ipvs"} {
		testnet.Must(t, testvm.Modprobe(m))
	}
	for _, s := range []string{"rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq", "fo", "ovf"} {
		t.Run(s, func(t *testing.T) {
			testnet.Must(t, testvm.Modprobe("ip_vs_"+s))
			r := newRig(t, fam4)
			r.serve(t, setup{sched: s, servers: 2})
			for i := range 3 {
				f := r.open(t, i, 4000)
				f.talk(t)
			}
			r.apply(t, ours.Op{Kind: ours.Flush})
		})
	}
	loaded, err := testvm.Loaded()
	testnet.Must(t, err)
	for _, m := range loaded {
		if m == "xt_ipvs" || strings.HasPrefix(m, "ip_vs_") {
			if err := testvm.Rmmod(m, 10*time.Second); err != nil {
				t.Errorf("unload %s: %v", m, err)
			}
		}
	}
}

// caseConntrack: with connection tracking and a firewall that drops what is
// invalid to it, packets to local addresses and to vips need the rules of
// docs/fnat.md; with them all is as without a firewall. Tracking also verifies
// checksums in software: such packets reach ip_vs as CHECKSUM_COMPLETE, which is
// case 56's third kind.
func caseConntrack(t *testing.T, r *rig) {
	r.d.Exec(t, "nft", `
		table inet t {
			chain in { type filter hook input priority 0; policy accept; ct state invalid drop; }
			chain out { type filter hook output priority 0; policy accept; ct state invalid drop; }
		}`)
	r.serve(t, setup{ext: ours.ExtTOA})
	// The SYN/ACK belongs to nothing that tracking has seen.
	f := r.dial(t, 0, 4000)
	r.back.Send(t, f.s.Syn(testpkt.MSS(1400)))
	r.front.Quiet(t)

	r.notrack(t, r.lip...)
	f = r.toaDial(t, 1, 4000)
	for _, sum := range []testpkt.Sum{testpkt.SumFull, testpkt.SumPartial} {
		f.c.Sum, f.s.Sum = sum, sum
		f.request(t, f.c.Data("through a firewall"))
	}
	f.reply(t, f.s.Bare())
	f.toa = 0
	f.c.Sum, f.s.Sum = testpkt.SumFull, testpkt.SumFull
	f.talk(t)
	// Requests go to the real server before tracking has confirmed their
	// connection: each is the first, and a FIN cannot be that.
	fin := f.c.Fin()
	r.front.Send(t, fin)
	r.back.Quiet(t)

	r.notrack(t, r.vip)
	f.request(t, fin)
	f.reply(t, f.s.Fin())
	f.request(t, f.c.Bare())
	g := r.toaDial(t, 2, 4000)
	g.request(t, g.c.Data("untracked"))
}

// notrack keeps connection tracking away from what goes to these addresses.
func (r *rig) notrack(t *testing.T, addrs ...netip.Addr) {
	t.Helper()
	ip := "ip"
	if r.v6() {
		ip = "ip6"
	}
	var set []string
	for _, a := range addrs {
		set = append(set, a.String())
	}
	r.d.Exec(t, "nft", `add table inet n
		add chain inet n pre { type filter hook prerouting priority raw; }
		add rule inet n pre `+ip+` daddr { `+strings.Join(set, ", ")+` } notrack`)
}
