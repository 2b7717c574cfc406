// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moby/ipvs"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testvm"
)

// witness returns the independent IPVS client on n's tables. It keeps the number of
// ip_vs' family for ever, so it serves only as long as ip_vs is not unloaded: tests
// with it stand before TestStockUnloads.
func witness(t *testing.T, n *testnet.NS) *ipvs.Handle {
	t.Helper()
	h, err := ipvs.New("/run/netns/" + n.Name)
	testnet.Must(t, err)
	t.Cleanup(h.Close)
	return h
}

// greeter answers every connection to addr in n with name and the peer it sees.
func greeter(t *testing.T, n *testnet.NS, addr netip.AddrPort, name string) {
	t.Helper()
	l, err := n.Listen(t.Context(), "tcp", addr.String())
	testnet.Must(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprintf(c, "%s %s\n", name, c.RemoteAddr())
			c.Close()
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
}

// ask connects from n and returns the greeter's two words.
func ask(t *testing.T, n *testnet.NS, addr netip.AddrPort) (name string, peer netip.Addr) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	c, err := n.DialContext(ctx, "tcp", addr.String())
	testnet.Must(t, err)
	defer c.Close()
	line, err := bufio.NewReader(c).ReadString('\n')
	testnet.Must(t, err)
	name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	ap, err := netip.ParseAddrPort(rest)
	testnet.Must(t, err)
	return name, ap.Addr()
}

func family(a netip.Addr) uint16 {
	if a.Is6() {
		return syscall.AF_INET6
	}
	return syscall.AF_INET
}

// TestStockNAT: the distribution's ip_vs balances through a director whose real
// servers route back through it, for both families, and counts what it did.
func TestStockNAT(t *testing.T) {
	top := testnet.NewTopology(t, testnet.Plan{Gateway: true, Neighbours: true})
	w := witness(t, top.D.NS)
	for _, fam := range []struct {
		name string
		vip  netip.Addr
		of   func(*testnet.Host) netip.Addr
	}{
		{"v4", testnet.VIP4, func(h *testnet.Host) netip.Addr { return h.V4 }},
		{"v6", testnet.VIP6, func(h *testnet.Host) netip.Addr { return h.V6 }},
	} {
		t.Run(fam.name, func(t *testing.T) {
			vip := netip.AddrPortFrom(fam.vip, 80)
			mask := uint32(0xffffffff)
			if fam.vip.Is6() {
				mask = 128
			}
			svc := &ipvs.Service{AddressFamily: family(fam.vip), Protocol: syscall.IPPROTO_TCP, Address: net.IP(fam.vip.AsSlice()), Port: 80, SchedName: "rr", Netmask: mask}
			testnet.Must(t, w.NewService(svc))
			for _, r := range top.R {
				greeter(t, r.NS, netip.AddrPortFrom(fam.of(r), 8080), r.Name)
				testnet.Must(t, w.NewDestination(svc, &ipvs.Destination{
					AddressFamily: family(fam.vip), Address: net.IP(fam.of(r).AsSlice()), Port: 8080, Weight: 1, ConnectionFlags: ipvs.ConnFwdMasq,
				}))
			}
			seen := map[string]int{}
			for range 10 {
				name, peer := ask(t, top.C[0].NS, vip)
				if want := fam.of(top.C[0]); peer != want {
					t.Errorf("%s saw %v, want the client %v", name, peer, want)
				}
				seen[name]++
			}
			if seen["r1"] != 5 || seen["r2"] != 5 {
				t.Errorf("answers %v, want 5 from each of r1, r2", seen)
			}
			// The kernel adds its processors' counters up every two seconds. SYN, ACK
			// and FIN at least, each way.
			testnet.Eventually(t, 5*time.Second, func() error {
				got, err := w.GetService(svc)
				if err != nil {
					return err
				}
				if s := got.Stats; s.Connections != 10 || s.PacketsIn < 30 || s.PacketsOut < 30 {
					return fmt.Errorf("statistics %+v, want 10 connections and 30 packets each way or more", s)
				}
				return nil
			})
		})
	}
}

// TestStockUnloads: a namespace that goes away with services and connections in its
// table lets go of the module.
func TestStockUnloads(t *testing.T) {
	top := testnet.NewTopology(t, testnet.Plan{Gateway: true})
	w := witness(t, top.D.NS)
	svc := &ipvs.Service{AddressFamily: syscall.AF_INET, Protocol: syscall.IPPROTO_TCP, Address: net.IP(testnet.VIP4.AsSlice()), Port: 80, SchedName: "rr", Netmask: 0xffffffff}
	testnet.Must(t, w.NewService(svc))
	testnet.Must(t, w.NewDestination(svc, &ipvs.Destination{
		AddressFamily: syscall.AF_INET, Address: net.IP(top.R[0].V4.AsSlice()), Port: 80, Weight: 1, ConnectionFlags: ipvs.ConnFwdMasq,
	}))
	greeter(t, top.R[0].NS, netip.AddrPortFrom(top.R[0].V4, 80), "r1")
	ask(t, top.C[0].NS, netip.AddrPortFrom(testnet.VIP4, 80))
	if err := testvm.Rmmod("ip_vs", 0); err == nil {
		t.Error("ip_vs was unloaded below a service")
	}
	w.Close()
	testnet.Must(t, top.Close(), unloadIPVS(), testvm.Modprobe("ip_vs"))
}

// TestStockIdleIsFree: an hour of guest time passes while the host waits seconds.
func TestStockIdleIsFree(t *testing.T) {
	if testvm.IsSMP() {
		t.Skip("time is the host's in an SMP guest")
	}
	start := time.Now()
	time.Sleep(time.Hour)
	if d := time.Since(start); d < time.Hour || d > time.Hour+time.Second {
		t.Errorf("an hour took %v", d)
	}
}
