// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/ipvs/uapi"
)

// TestRace: two processors and a kernel that preempts everywhere. New connections
// in parallel while the configuration changes, and namespaces that go away under
// load. What it looks for shows in the kernel's log and in slub's red zones; that
// no connection fails shows here.
func TestRace(t *testing.T) {
	needOurs(t)
	holdHooks(t)
	for _, f := range fams {
		t.Run("churn_"+f.name, func(t *testing.T) { raceChurn(t, f) })
		t.Run("exhaustion_"+f.name, func(t *testing.T) { raceExhaustion(t, f) })
		t.Run("synproxy_"+f.name, func(t *testing.T) { raceSynproxy(t, f) })
		t.Run("66_cps_"+f.name, func(t *testing.T) { raceRate(t, newRig(t, f)) })
		t.Run("select_cpu_"+f.name, func(t *testing.T) { raceSelectCPU(t, newRig(t, f)) })
		t.Run("33_namespace_deleted_"+f.name, func(t *testing.T) { caseNamespaceDeleted(t, f) })
	}
}

// holdHooks registers something at every hook of the first namespace, for as long
// as the guest runs. A hook that gets its first user, or loses its last, makes the
// kernel rewrite code that the other processor is running at that moment, and
// QEMU before 8.1 may then run the old code for ever (see testvm.Config.Patches).
func holdHooks(t *testing.T) {
	t.Helper()
	rules := "table inet hold {\n"
	for _, hook := range []string{"prerouting", "input", "forward", "output", "postrouting"} {
		rules += fmt.Sprintf("chain %s { type filter hook %s priority 0; }\n", hook, hook)
	}
	nft := exec.CommandContext(t.Context(), "nft", "-f", "-")
	nft.Stdin = strings.NewReader(rules + "}\n")
	if out, err := nft.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
}

// echo answers every connection with what it sends, in n.
func echo(t *testing.T, n *testnet.NS, addr netip.AddrPort) {
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
			wg.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(2 * patience))
				_, _ = io.Copy(c, c) // the client judges what came back
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
}

// patience is how long an answer may take that must come.
const patience = time.Minute

// ping opens a connection, sends payload, and reads it back within limit.
func ping(ctx context.Context, n *testnet.NS, addr netip.AddrPort, payload string, limit time.Duration) error {
	c, err := n.DialContext(ctx, "tcp", addr.String())
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(limit))
	if _, err := io.WriteString(c, payload); err != nil {
		return err
	}
	back := make([]byte, len(payload))
	if _, err := io.ReadFull(c, back); err != nil {
		return err
	}
	if string(back) != payload {
		return fmt.Errorf("sent %q, got %q", payload, back)
	}
	// A reset ends both ends at once; otherwise ports would run out.
	return c.(*net.TCPConn).SetLinger(0)
}

// raceTime is for how long a race runs, on the host's clock.
const raceTime = 6 * time.Second

// race returns what tells whether a race goes on: for raceTime, and on a busy host
// until it is one, but no longer than two minutes.
func race(enough func() bool) (goesOn func() bool) {
	began := time.Now()
	return func() bool {
		d := time.Since(began)
		return d < raceTime || !enough() && d < 2*time.Minute
	}
}

// raceChurn changes everything that may be changed without hurting connections,
// while clients connect: none of them fails.
func raceChurn(t *testing.T, f fam) {
	top := testnet.NewTopology(t, testnet.Plan{Neighbours: true, Clients: 2, Servers: 3})
	x, err := ipvs.Config{NetNS: top.D.FD()}.Dial(t.Context())
	testnet.Must(t, err)
	defer x.Close()
	r := &rig{fam: f, x: x}
	key := r.serve(t, setup{servers: 2})
	for i := range 2 {
		echo(t, top.R[i].NS, netip.AddrPortFrom(f.rip[i], rport))
	}
	var wg sync.WaitGroup
	var done atomic.Int64
	goesOn := race(func() bool { return done.Load() >= 100 })
	vip := netip.AddrPortFrom(f.vip, 80)
	for i := range 6 {
		wg.Go(func() {
			for n := 0; goesOn() && !t.Failed(); n++ {
				if err := ping(t.Context(), top.C[i%2].NS, vip, fmt.Sprintf("%d of %d", n, i), patience); err != nil {
					t.Errorf("connection %d of client %d: %v", n, i, err)
					return
				}
				done.Add(1)
			}
		})
	}
	for i, change := range []func(n int) []ipvs.Op{r.churnLaddrs, r.churnSettings(key), r.churnDests(key)} {
		wg.Go(func() {
			y, err := ipvs.Config{NetNS: top.D.FD()}.Dial(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			defer y.Close()
			for n := 0; goesOn() && !t.Failed(); n++ {
				if err := y.Apply(t.Context(), change(n)...); err != nil {
					t.Errorf("change %d of kind %d: %v", n, i, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if n := done.Load(); n < 100 {
		t.Errorf("%d connections, want 100 to call it a race", n)
	}
	t.Logf("%d connections", done.Load())
}

// churnLaddrs adds, drains and removes all local addresses but the first.
func (r *rig) churnLaddrs(n int) []ipvs.Op {
	g := ipvs.LGroup{Name: group, Family: ipvs.FamilyOf(r.vip)}
	var ops []ipvs.Op
	for i, a := range r.lip[1:] {
		port := uint16(2000 + 1000*(n%8) + 100*i)
		ops = append(ops,
			ipvs.Op{Kind: ipvs.AddLaddr, LGroup: g, Laddr: ipvs.Laddr{Addr: a, PortMin: port, PortMax: port + 500}},
			r.laddrFlags(a, ipvs.LaddrNoNew), r.laddrFlags(a, 0))
	}
	for _, a := range r.lip[1:] {
		ops = append(ops, ipvs.Op{Kind: ipvs.DelLaddr, LGroup: g, Laddr: ipvs.Laddr{Addr: a}})
	}
	return ops
}

func (r *rig) churnSettings(key ipvs.ServiceKey) func(n int) []ipvs.Op {
	return func(n int) []ipvs.Op {
		const may = ipvs.ExtTOA | ipvs.ExtSeq | ipvs.ExtExhaustRST
		e := ipvs.Ext{
			Set:       ipvs.ExtFieldFlags | ipvs.ExtFieldTSMode | ipvs.ExtFieldSelect | ipvs.ExtFieldMSSClamp,
			FlagsMask: may, TSMode: ipvs.TSMode(n % 3), Select: ipvs.LaddrSelect(n % 2), MSSClamp: uint16(n % 2 * 1200),
		}
		if n%2 == 0 {
			e.Flags = may
		}
		return []ipvs.Op{{Kind: ipvs.SetExt, Service: ipvs.Service{ServiceKey: key}, Ext: e}}
	}
}

// churnDests edits weights and adds and removes a real server that gets nothing.
func (r *rig) churnDests(key ipvs.ServiceKey) func(n int) []ipvs.Op {
	return func(n int) []ipvs.Op {
		return []ipvs.Op{
			r.dest(ipvs.SetDest, key, r.rip[n%2], uint32(1+n%5)),
			r.dest(ipvs.AddDest, key, r.rip[2], 0), r.dest(ipvs.DelDest, key, r.rip[2], 0),
		}
	}
}

// raceExhaustion: many clients fight for few ports. Nobody gets another's
// connection, and all ports come back.
func raceExhaustion(t *testing.T, f fam) {
	top := testnet.NewTopology(t, testnet.Plan{Neighbours: true, Clients: 2})
	x, err := ipvs.Config{NetNS: top.D.FD()}.Dial(t.Context())
	testnet.Must(t, err)
	defer x.Close()
	r := &rig{fam: f, x: x}
	r.serve(t, setup{ports: [2]uint16{5000, 5003}, ext: ipvs.ExtExhaustRST})
	echo(t, top.R[0].NS, netip.AddrPortFrom(f.rip[0], rport))
	var wg sync.WaitGroup
	var won, lost atomic.Int64
	goesOn := race(func() bool { return won.Load() > 0 && lost.Load() > 0 })
	for i := range 8 {
		wg.Go(func() {
			for n := 0; goesOn() && !t.Failed(); n++ {
				dial, stop := context.WithTimeout(t.Context(), 5*time.Second)
				err := ping(dial, top.C[i%2].NS, netip.AddrPortFrom(f.vip, 80), fmt.Sprintf("%d of %d", n, i), patience)
				stop()
				switch op := (*net.OpError)(nil); {
				case err == nil:
					won.Add(1)
				case errors.As(err, &op) && op.Op == "dial", errors.Is(err, context.DeadlineExceeded):
					lost.Add(1) // no port: reset, or a lost SYN
				default:
					t.Errorf("connection %d of client %d: %v", n, i, err)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d connections, %d refused", won.Load(), lost.Load())
	if won.Load() == 0 || lost.Load() == 0 {
		t.Error("want both: connections that got a port and ones that did not")
	}
	// CLOSE lasts 10 s, but SYN_RECV of a client that gave up a minute, and so does a
	// connection whose port was wanted while a packet held it.
	testnet.Eventually(t, 4*time.Minute, func() error {
		if n := len(r.conns(t)); n != 0 {
			return fmt.Errorf("%d connections left", n)
		}
		return nil
	})
	laddrs, err := x.Laddrs(t.Context(), group)
	testnet.Must(t, err)
	if laddrs[0].Conns != 0 {
		t.Errorf("the local address counts %d connections with none left", laddrs[0].Conns)
	}
}

// raceSynproxy: the service, its settings and the keys go away and come back while
// handshakes with real servers pend, one of which never answers. What a client
// meets then is not judged; that all is as before afterwards is, and that nothing is
// left in memory.
func raceSynproxy(t *testing.T, f fam) {
	top := testnet.NewTopology(t, testnet.Plan{Neighbours: true, Clients: 2})
	x, err := ipvs.Config{NetNS: top.D.FD()}.Dial(t.Context())
	testnet.Must(t, err)
	defer x.Close()
	r := &rig{fam: f, x: x}
	key, ops := r.operations(setup{servers: 1, ext: ipvs.ExtSynproxy | ipvs.ExtTOA})
	mute := r.dest(ipvs.AddDest, key, f.rip[3], 1)
	r.apply(t, append(ops, mute)...)
	// One that stays, and keeps the call-outs switched on: with QEMU before 8.1 two
	// emulated processors do not survive that code is changed many times a second
	// (an int3 of the kernel's patching is met after it is gone).
	stays := r.addService(ipvs.ServiceKey{Family: ipvs.FamilyOf(f.vip), Protocol: ipvs.TCP, Addr: f.vip, Port: 81}, 0, "")
	r.apply(t, stays, ipvs.Op{Kind: ipvs.SetExt, Service: stays.Service, Ext: invalid(ipvs.InvalidDrop)})
	echo(t, top.R[0].NS, netip.AddrPortFrom(f.rip[0], rport))
	var wg sync.WaitGroup
	var won atomic.Int64
	goesOn := race(func() bool { return won.Load() > 0 })
	vip := netip.AddrPortFrom(f.vip, 80)
	for i := range 6 {
		wg.Go(func() {
			for goesOn() {
				dial, stop := context.WithTimeout(t.Context(), 2*time.Second)
				if ping(dial, top.C[i%2].NS, vip, "hello", 5*time.Second) == nil {
					won.Add(1)
				}
				stop()
			}
		})
	}
	for n := byte(0); goesOn(); n++ {
		time.Sleep(50 * time.Millisecond)
		var auto ipvs.Ext
		auto.SetSynproxy(ipvs.SynproxyMode(n % 3))
		changes := []ipvs.Op{
			{Kind: ipvs.SetExtConfig, Config: ipvs.ExtConfig{Set: ipvs.ExtConfigCookieKey, CookieKey: ipvs.CookieKey{n}}},
			{Kind: ipvs.SetExt, Service: ipvs.Service{ServiceKey: key}, Ext: auto},
		}
		if n%4 == 3 {
			gone := ipvs.Op{Kind: ipvs.DelService, Service: ipvs.Service{ServiceKey: key}}
			changes = append(append([]ipvs.Op{gone}, ops[2:]...), mute)
		}
		r.apply(t, changes...)
	}
	wg.Wait()
	if won.Load() == 0 {
		t.Error("no connection came about")
	}
	var on ipvs.Ext
	on.SetSynproxy(ipvs.SynproxyOn)
	r.apply(t, ipvs.Op{Kind: ipvs.SetExt, Service: ipvs.Service{ServiceKey: key}, Ext: on}, r.dest(ipvs.DelDest, key, f.rip[3], 0))
	for n := range 20 {
		if err := ping(t.Context(), top.C[n%2].NS, vip, fmt.Sprint("afterwards ", n), patience); err != nil {
			t.Errorf("connection %d when all was over: %v", n, err)
		}
	}
	r.apply(t, ipvs.Op{Kind: ipvs.Flush})
	testnet.Eventually(t, 4*time.Minute, func() error {
		if n := slabObjects(t, "ip_vs_x_sp"); n != 0 {
			return fmt.Errorf("%d pending handshakes in memory", n)
		}
		return nil
	})
}

// raceRate: two processors send SYNs to a service that takes so many a second, from
// whichever they come. How long each send takes is the host's affair, so what must
// pass is computed from when they were sent.
func raceRate(t *testing.T, r *rig) {
	const rate, burst, each = 100, 5, 400
	r.serve(t, setup{more: limits(ipvs.ExtFieldCPS|ipvs.ExtFieldCPSBurst, ipvs.Limits{CPS: rate, CPSBurst: burst})})
	var sent [2][]time.Time
	var wg sync.WaitGroup
	start := time.Now()
	for cpu := range sent {
		wg.Go(func() {
			runtime.LockOSThread() // and never unlocked: the thread goes with what it is bound to
			var set unix.CPUSet
			set.Set(cpu)
			if err := unix.SchedSetaffinity(0, &set); err != nil {
				t.Errorf("processor %d: %v", cpu, err)
				return
			}
			for i := range each {
				sent[cpu] = append(sent[cpu], time.Now())
				// An even number of clients: each sends by one processor only.
				if err := r.front.Write(r.syns(2*i + cpu)); err != nil {
					t.Error(err)
					return
				}
				time.Sleep(2 * time.Millisecond)
			}
		})
	}
	wg.Wait()
	var passed, dropped uint64
	testnet.Eventually(t, 30*time.Second, func() error {
		passed, dropped = r.stat(t, uapi.ExtStatLportOk), r.stat(t, uapi.ExtStatCpsDrop)
		if passed+dropped != 2*each {
			return fmt.Errorf("%d passed and %d were dropped of %d", passed, dropped, 2*each)
		}
		return nil
	})
	most := burst + rate*time.Since(start).Seconds()
	least := passBucket(slices.Concat(sent[:]...), rate, burst)
	if float64(passed) > most+1 || float64(passed) < 0.7*float64(least)-burst {
		t.Errorf("%d of %d passed, want %d, and %.0f at most", passed, 2*each, least, most)
	}
	var by [2]int
	for _, c := range r.conns(t) {
		by[slices.Index(r.cip, c.Client.Addr())%2]++
	}
	if by[0] == 0 || by[1] == 0 {
		t.Errorf("%d passed of one processor, %d of the other: one got all", by[0], by[1])
	}
	t.Logf("%d of %d passed, %d and %d of each processor; %d by the times of sending", passed, 2*each, by[0], by[1], least)
	r.back.Drain()
}

// raceSelectCPU: with addresses bound to processors each takes its own, and those that
// are everybody's; what is only the other's it does not take.
func raceSelectCPU(t *testing.T, r *rig) {
	r.serve(t, setup{lips: 3, more: ipvs.Ext{Set: ipvs.ExtFieldSelect, Select: ipvs.SelectCPU}})
	for i, cpus := range []string{"0", "1"} {
		r.apply(t, ipvs.Op{Kind: ipvs.SetLaddr, LGroup: ipvs.LGroup{Name: group, Family: ipvs.FamilyOf(r.vip)}, Laddr: ipvs.Laddr{Addr: r.lip[i], CPUs: cpus}})
	}
	const each = 20
	for cpu := range 2 {
		done := make(chan error)
		go func() {
			runtime.LockOSThread() // and never unlocked, as in raceRate
			var set unix.CPUSet
			set.Set(cpu)
			err := unix.SchedSetaffinity(0, &set)
			for i := 0; err == nil && i < each; i++ {
				err = r.front.Write(r.syns(2*i + cpu))
			}
			done <- err
		}()
		testnet.Must(t, <-done)
	}
	testnet.Eventually(t, 30*time.Second, func() error {
		if n := len(r.conns(t)); n != 2*each {
			return fmt.Errorf("%d connections of %d", n, 2*each)
		}
		return nil
	})
	by := map[[2]int]int{} // processor and local address
	for _, c := range r.conns(t) {
		by[[2]int{slices.Index(r.cip, c.Client.Addr()) % 2, slices.Index(r.lip, c.Local.Addr())}]++
	}
	for cpu := range 2 {
		if by[[2]int{cpu, cpu}] == 0 || by[[2]int{cpu, 2}] == 0 || by[[2]int{cpu, 1 - cpu}] != 0 {
			t.Errorf("processor %d took the addresses of processor 0, of 1 and of all %d, %d and %d times",
				cpu, by[[2]int{cpu, 0}], by[[2]int{cpu, 1}], by[[2]int{cpu, 2}])
		}
	}
	r.back.Drain()
}

// passBucket is how many of what came at those times a bucket lets through that
// holds burst and gets rate a second.
func passBucket(at []time.Time, rate, burst float64) (n int) {
	slices.SortFunc(at, time.Time.Compare)
	tokens, last := burst, at[0]
	for _, now := range at {
		tokens = min(burst, tokens+rate*now.Sub(last).Seconds())
		last = now
		if tokens >= 1 {
			tokens--
			n++
		}
	}
	return n
}
