// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testpkt"
	"github.com/lvs-fnat/lvs/ipvs"
)

// TestLifecycle: services, connections and namespaces that go.
func TestLifecycle(t *testing.T) {
	needOurs(t)
	for _, c := range []struct {
		name string
		run  func(*testing.T, *rig)
	}{
		{"32_service_deleted", caseServiceDeleted},
		{"32_expire_nodest_conn", caseExpireNoDest},
		{"fnat_switched_off", caseSwitchedOff},
		{"timeouts", caseTimeouts},
	} {
		each(t, c.name, c.run)
	}
	for _, f := range fams {
		t.Run("33_namespace_deleted_"+f.name, func(t *testing.T) { caseNamespaceDeleted(t, f) })
	}
}

// As with stock: requests are dropped, replies pass, the connection waits for its
// timeout; the same service with the same real server takes it up again.
func caseServiceDeleted(t *testing.T, r *rig) {
	r.keepHooks(t)
	key, ops := r.operations(setup{})
	r.apply(t, ops...)
	f, g := r.open(t, 0, 4000), r.open(t, 1, 4000)
	r.apply(t, ipvs.Op{Kind: ipvs.DelService, Service: ipvs.Service{ServiceKey: key}})
	p := f.c.Data("into the void")
	r.front.Send(t, p)
	r.back.Quiet(t)
	f.reply(t, f.s.Data("still passes"))
	if n := len(r.conns(t)); n != 2 {
		t.Errorf("%d connections, want both", n)
	}
	services, err := r.x.ExtServices(t.Context())
	testnet.Must(t, err)
	if len(services) != 1 || services[0].Port == key.Port {
		t.Errorf("services left: %+v, want the other one", services)
	}
	groups, err := r.x.LGroups(t.Context())
	testnet.Must(t, err)
	if len(groups) != 1 || groups[0].Refs != 0 {
		t.Errorf("groups %+v, want the one, used by nobody", groups)
	}
	r.apply(t, ops[2:]...)
	f.request(t, p)
	f.talk(t)
	g.talk(t)

	r.apply(t, ipvs.Op{Kind: ipvs.Flush})
	time.Sleep(14*time.Minute + 50*time.Second)
	if n := len(r.conns(t)); n != 2 {
		t.Errorf("%d connections before 15 minutes are over, want 2", n)
	}
	time.Sleep(30 * time.Second) // the kernel rounds so long a timer up, by 16 s at most
	if n := len(r.conns(t)); n != 0 {
		t.Errorf("%d connections after 15 minutes, want 0", n)
	}
}

// keepHooks makes a service nobody uses: with the last service of a family ip_vs
// stops looking at packets.
func (r *rig) keepHooks(t *testing.T) {
	t.Helper()
	r.apply(t, r.addService(r.key(ipvs.TCP, 9), 0, ""))
}

func caseExpireNoDest(t *testing.T, r *rig) {
	testnet.Must(t, r.d.Sysctl("net.ipv4.vs.expire_nodest_conn", "1"))
	r.keepHooks(t)
	key := r.serve(t, setup{})
	f := r.open(t, 0, 4000)
	r.apply(t, ipvs.Op{Kind: ipvs.DelService, Service: ipvs.Service{ServiceKey: key}})
	p := f.c.Data("into the void")
	r.front.Send(t, p)
	// As with stock, it goes on to the director's own stack.
	expectReset(t, r.front, p)
	r.back.Quiet(t)
	testnet.Eventually(t, 2*time.Second, func() error {
		if n := len(r.conns(t)); n != 0 {
			return fmt.Errorf("%d connections after a packet, want 0", n)
		}
		return nil
	})
	// The stock table let go of it; the local address has, too.
	s := f.s.Data("nobody")
	r.back.Send(t, s)
	expectReset(t, r.back, s)
}

// Settings are for new connections; those that are there stay as they are.
func caseSwitchedOff(t *testing.T, r *rig) {
	key := r.serve(t, setup{ext: ipvs.ExtTOA})
	f := r.toaDial(t, 0, 4000)
	off := ipvs.Op{Kind: ipvs.SetExt, Service: ipvs.Service{ServiceKey: key}, Ext: ipvs.Ext{
		Set: ipvs.ExtFieldFlags | ipvs.ExtFieldLGroup, FlagsMask: ipvs.ExtFNAT | ipvs.ExtTOA,
	}}
	r.apply(t, off)
	f.request(t, f.c.Bare())
	// Now it is plain NAT: the client's own address and numbers.
	c := testpkt.NewPeer(netip.AddrPortFrom(r.cip[0], 4001), f.vip, 42)
	syn := c.Syn(synOptions(r.fam)...)
	r.front.Send(t, syn)
	want := syn.Clone()
	want.Dst = f.s.Local
	want.TTL--
	r.back.Expect(t, want)
	if n := len(r.conns(t)); n != 1 {
		t.Errorf("the extension lists %d connections, want its own", n)
	}
	f.reply(t, f.s.Bare())
	f.toa = 0
	f.talk(t)
}

// The timeouts of ipvsadm --set are those of FNAT's connections, too.
func caseTimeouts(t *testing.T, r *rig) {
	r.serve(t, setup{})
	r.apply(t, ipvs.Op{Kind: ipvs.SetTimeouts, Times: ipvs.Timeouts{TCP: 100 * time.Second, TCPFin: 20 * time.Second, UDP: 30 * time.Second}})
	f := r.open(t, 0, 4000)
	f.talk(t)
	for range 3 { // traffic keeps it alive
		time.Sleep(90 * time.Second)
		f.talk(t)
	}
	time.Sleep(98 * time.Second)
	if n := len(r.conns(t)); n != 1 {
		t.Errorf("%d connections 98 s after the last packet, want 1", n)
	}
	time.Sleep(7 * time.Second) // the kernel rounds such a timer up, by 2 s
	if n := len(r.conns(t)); n != 0 {
		t.Errorf("%d connections 105 s after the last packet, want 0", n)
	}
	p := f.s.Data("too late")
	r.back.Send(t, p)
	expectReset(t, r.back, p)
}

// load sends requests of ever new clients and replies of real servers until stop
// is closed or the wire is gone.
func (r *rig) load(t *testing.T, stop <-chan struct{}) *sync.WaitGroup {
	var wg sync.WaitGroup
	vip := netip.AddrPortFrom(r.vip, 80)
	// gone: the wire's other end is; a full queue is no reason to end.
	gone := func(p *testpkt.Port, pkt testpkt.Packet) bool {
		err := p.Write(pkt)
		if err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.ENETDOWN) && !errors.Is(err, unix.ENXIO) && !errors.Is(err, unix.ENODEV) {
			t.Errorf("load: %v", err)
		}
		return err != nil && !errors.Is(err, unix.ENOBUFS)
	}
	wg.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			case <-time.After(200 * time.Microsecond):
			}
			src := netip.AddrPortFrom(r.cip[n%len(r.cip)], uint16(2000+n/len(r.cip)%60000))
			syn := testpkt.NewPeer(src, vip, uint32(n)).Syn(testpkt.MSS(1460))
			if gone(r.front, syn) || gone(r.front, testpkt.Datagram(src, vip, "x")) {
				return
			}
			for _, pkt := range r.back.Drain() {
				if pkt.Flags != testpkt.SYN {
					continue
				}
				s := testpkt.NewPeer(pkt.Dst, pkt.Src, 9)
				s.Took(pkt)
				if gone(r.back, s.Syn(testpkt.MSS(1400))) {
					return
				}
			}
			r.front.Drain()
		}
	})
	return &wg
}

// bothServices gives the rig a TCP and a UDP service.
func (r *rig) bothServices(t *testing.T) {
	t.Helper()
	r.serve(t, setup{lips: 4, servers: 3, ext: ipvs.ExtTOA})
	_, ops := r.operations(setup{lips: 4, servers: 3, proto: ipvs.UDP})
	r.apply(t, ops[1+4:]...) // the group is there
}

// caseNamespaceDeleted: a director goes away with services, connections and
// traffic; nothing of it stays.
func caseNamespaceDeleted(t *testing.T, f fam) {
	for range 2 {
		r := buildRig(t, f)
		r.bothServices(t)
		stop := make(chan struct{})
		wg := r.load(t, stop)
		// under load a listing may name one twice and miss another: it is not compared
		// with the slab, which only has to show that its count is worth asking for
		testnet.Eventually(t, 2*time.Minute, func() error {
			listed, kept := len(r.conns(t)), slabObjects(t, "ip_vs_x_conn")
			if listed < 200 || kept < 200 {
				return fmt.Errorf("%d connections listed, %d objects of ip_vs_x_conn, want 200 of each", listed, kept)
			}
			return nil
		})
		testnet.Must(t, r.x.Close(), r.d.Close())
		noConnections(t)
		close(stop)
		wg.Wait()
		testnet.Must(t, r.front.Close(), r.back.Close(), r.w.Close())
	}
}

// noConnections waits until no connection of any namespace is left in memory.
func noConnections(t *testing.T) {
	t.Helper()
	for _, cache := range []string{"ip_vs_x_conn", "ip_vs_conn"} {
		testnet.Eventually(t, 2*time.Minute, func() error {
			if n := slabObjects(t, cache); n != 0 {
				return fmt.Errorf("%d objects of %s with all namespaces gone", n, cache)
			}
			return nil
		})
	}
}
