// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testpkt"
	"github.com/lvs-fnat/lvs/internal/testvm"
	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/ipvs/uapi"
)

// TestNoMemory: each allocation of the module fails in turn, in the module that
// `make sanitize` builds (kmod/sanitize/ip_vs_x_fail.h). The packet is dropped, the
// request refused; what was there works on, and nothing is lost.
func TestNoMemory(t *testing.T) {
	needOurs(t)
	if _, err := os.Stat(failParam); err != nil {
		t.Fatalf("%v: this module's allocations do not fail on demand", err)
	}
	t.Run("72_module_load", caseFailLoad)
	t.Run("72_namespace", caseFailNamespace)
	for _, f := range fams {
		t.Run("72_each_allocation_"+f.name, func(t *testing.T) { caseFailEach(t, f) })
	}
	t.Run("72_none_left_out", caseFailedAll)
}

const failParam = "/sys/module/ip_vs/parameters/fail"

// failAfter makes the nth allocation from now on fail; 0 lets all succeed.
func failAfter(t *testing.T, n int) {
	t.Helper()
	testnet.Must(t, os.WriteFile(failParam, []byte(strconv.Itoa(n)), 0))
}

// failed reports whether the one has failed, and lets all succeed again.
func failed(t *testing.T) bool {
	t.Helper()
	text, err := os.ReadFile(failParam)
	testnet.Must(t, err)
	failAfter(t, 0)
	return strings.TrimSpace(string(text)) == "0"
}

// caseFailLoad: without memory the module does not load, and leaves nothing that
// would keep it from loading the next time.
func caseFailLoad(t *testing.T) {
	testnet.Must(t, unloadSchedulers(), testvm.Rmmod("ip_vs", 30*time.Second))
	for n := 1; ; n++ {
		if n > 200 {
			t.Fatal("loading takes more allocations than this test can believe")
		}
		err := testvm.Modprobe("ip_vs", "fail="+strconv.Itoa(n))
		if err == nil {
			if failed(t) {
				t.Errorf("the module is loaded, though allocation %d failed", n)
				continue
			}
			t.Logf("%d allocations", n-1)
			break
		}
		if loaded, lerr := testvm.Loaded(); lerr != nil || slices.Contains(loaded, "ip_vs") {
			t.Fatalf("modprobe failed, %v, and the module is there: %v", err, lerr)
		}
	}
}

// caseFailNamespace: there is no namespace, or all of it.
func caseFailNamespace(t *testing.T) {
	for n := 1; ; n++ {
		failAfter(t, n)
		ns, err := testnet.Open("short")
		missed := !failed(t)
		if (err == nil) != missed {
			t.Errorf("allocation %d failed: %v, the namespace: %v", n, !missed, err)
		}
		if err == nil {
			testnet.Must(t, ns.Close())
		} else if !errors.Is(err, syscall.ENOMEM) {
			t.Errorf("allocation %d: %v, want %v", n, err, syscall.ENOMEM)
		}
		if missed {
			t.Logf("%d allocations", n-1)
			return
		}
	}
}

// caseFailEach: whatever the module does, with one allocation less each time.
func caseFailEach(t *testing.T, f fam) {
	counted := counts{uapi.ExtStatMem: 0, uapi.ExtStatToaFail: 0}
	for n := 1; ; n++ {
		if n%20 == 0 {
			t.Logf("%d allocations have failed, each in its turn", n-1) // who waits sees that it goes on
		}
		r := buildRig(t, f)
		traced := tracedDrops(t)
		failAfter(t, n)
		all := r.everything(t)
		missed := !failed(t)
		stats, err := r.x.ExtStats(t.Context())
		testnet.Must(t, err)
		sameDrops(t, stats, traced())
		if missed && !all.whole() {
			t.Errorf("no allocation failed, and not all went well: %+v", all)
		} else if missed {
			t.Logf("with memory: %+v", all)
		}
		for number := range counted {
			counted[number] += r.stat(t, number)
		}
		// What failed is over: the same again, with memory.
		if n%10 == 1 || missed {
			testnet.Must(t, r.x.Apply(t.Context(), ipvs.Op{Kind: ipvs.Flush}))
			_, err := r.x.DeleteConns(t.Context(), ipvs.ConnFilter{})
			testnet.Must(t, err)
			if all := r.everything(t); !all.whole() {
				t.Errorf("after allocation %d had failed, with memory: %+v", n, all)
			}
		}
		testnet.Must(t, r.front.Close(), r.back.Close(), r.x.Close(), r.d.Close(), r.w.Close())
		for _, cache := range []string{"ip_vs_x_conn", "ip_vs_x_sp", "ip_vs_x_svc", "ip_vs_x_limit", "ip_vs_x_laddr", "ip_vs_x_lgroup",
			"ip_vs_x_use", "ip_vs_x_uses", "ip_vs_x_set", "ip_vs_conn"} {
			testnet.Eventually(t, 30*time.Second, func() error {
				// The namespaces' own limits stay while they are there.
				if have := slabObjects(t, cache); have != 0 && cache != "ip_vs_x_limit" {
					return fmt.Errorf("after allocation %d had failed %d objects of %s are left", n, have, cache)
				}
				return nil
			})
		}
		if missed {
			t.Logf("%d allocations", n-1)
			for number, n := range counted {
				if n == 0 {
					t.Errorf("%s was never counted", ipvs.ExtStatName(number))
				}
			}
			return
		}
		if n > 1000 {
			t.Fatal("more allocations than this test can believe")
		}
	}
}

// deedsDone is what came of everything.
type deedsDone struct {
	Refused []string // requests that were not granted
	Conns   []string // connections that were made
	Sent    int      // packets that came out
	Counted []string // by the extension
}

// Of a module that has memory.
func (d deedsDone) whole() bool { return len(d.Refused) == 0 && len(d.Conns) >= 10 && d.Sent >= 40 }

// everything configures all there is, sends packets of every kind that needs memory,
// and reads all back. Nothing is expected of it: some allocation fails.
func (r *rig) everything(t *testing.T) deedsDone {
	t.Helper()
	ctx := t.Context()
	var d deedsDone
	note := func(what string, err error) {
		if err != nil {
			d.Refused = append(d.Refused, what+": "+err.Error())
		}
	}
	r.makeSet(t, "nobody", "hash:net", r.nf(), r.cip[19])
	_, ops := r.operations(setup{lips: 2, ports: [2]uint16{5000, 5009}, ext: ipvs.ExtTOA,
		more: limits(ipvs.ExtFieldCPS|ipvs.ExtFieldBPSIn, ipvs.Limits{CPS: 100000, BPSIn: 1000000000000})})
	tcp := r.key(ipvs.TCP, 80)
	_, more := r.operations(setup{port: 81, ext: ipvs.ExtTOA | ipvs.ExtSynproxy, more: ipvs.Ext{
		Set: ipvs.ExtFieldSPRetries, SP: ipvs.Synproxy{SYNRetries: 1}}})
	for _, op := range append(ops, more...) {
		if op.Kind == ipvs.AddLGroup || op.Kind == ipvs.AddLaddr {
			err := r.x.Apply(ctx, op)
			if !errors.Is(err, syscall.EEXIST) {
				note("group", err)
			}
			continue
		}
		note("service", r.x.Apply(ctx, op))
	}
	_, udp := r.operations(setup{proto: ipvs.UDP, port: 82, plain: true})
	for _, op := range udp {
		note("plain service", r.x.Apply(ctx, op))
	}
	svc := ipvs.Service{ServiceKey: tcp}
	for _, e := range []ipvs.Ext{
		r.acl(ipvs.ACLBlack, "nobody"),
		limits(ipvs.ExtFieldTimeoutEst, ipvs.Limits{TimeoutEst: 3 * time.Second}),
		{Set: ipvs.ExtFieldFlags, Flags: ipvs.ExtRSTOnExpire, FlagsMask: ipvs.ExtRSTOnExpire},
		invalid(ipvs.InvalidRST),
	} {
		note("settings", r.x.Apply(ctx, ipvs.Op{Kind: ipvs.SetExt, Service: svc, Ext: e}))
	}
	note("address", r.x.Apply(ctx, r.laddrFlags(r.lip[1], ipvs.LaddrNoNew)))
	note("address of a CPU", r.x.Apply(ctx, ipvs.Op{Kind: ipvs.SetLaddr, LGroup: ipvs.LGroup{Name: group}, Laddr: ipvs.Laddr{Addr: r.lip[1], CPUs: "0"}}))
	_, err := r.x.Laddrs(ctx, group)
	note("addresses", err)
	note("keys", r.x.Apply(ctx, ipvs.Op{Kind: ipvs.SetExtConfig, Config: ipvs.ExtConfig{Set: ipvs.ExtConfigCookieKey, CookieKey: ipvs.CookieKey{1}}}))
	_, err = r.x.Info(ctx)
	note("info", err)
	_, err = r.x.ExtService(ctx, tcp)
	note("one service", err)
	_, err = r.x.ExtStats(ctx)
	note("counters", err)
	_, err = r.x.LGroup(ctx, group)
	note("one group", err)

	listening, done := make(chan struct{}), make(chan struct{})
	ears, deaf := context.WithCancel(ctx)
	go func() {
		defer close(done)
		for _, err := range r.x.Events(ears, func() { close(listening) }) {
			if err != nil {
				return
			}
		}
	}()
	select {
	case <-listening:
	case <-done:
	}
	d.Sent += r.everyPacket(t)
	deaf()
	<-done

	for c, err := range r.x.Conns(ctx, ipvs.ConnFilter{}) {
		if err != nil {
			note("connections", err)
			break
		}
		d.Conns = append(d.Conns, fmt.Sprint(c.Client, " ", c.State))
	}
	time.Sleep(20 * time.Second) // handshakes are given up, idle connections reset
	d.Sent += len(r.front.Drain()) + len(r.back.Drain())
	stats, err := r.x.ExtStats(ctx)
	note("counters, again", err)
	for number, n := range stats {
		if n != 0 {
			d.Counted = append(d.Counted, fmt.Sprint(ipvs.ExtStatName(number), "=", n))
		}
	}
	note("end", r.x.Apply(ctx, ipvs.Op{Kind: ipvs.Flush}))
	return d
}

// everyPacket sends what makes the module allocate, and counts what comes out.
func (r *rig) everyPacket(t *testing.T) int {
	t.Helper()
	sent := 0
	service := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(r.vip, port) }
	answers := func(p *testpkt.Port) []testpkt.Packet {
		all := p.Drain()
		sent += len(all)
		return all
	}
	// FNAT with TOA: a handshake, a request with no room for the option, a reply
	// too large for the client's link, then nothing until it is over.
	c := testpkt.NewPeer(netip.AddrPortFrom(r.cip[0], r.freshPort()), service(80), 1000)
	r.front.Send(t, c.Syn(synOptions(r.fam)...))
	for _, syn := range answers(r.back) {
		s := testpkt.NewPeer(syn.Dst, syn.Src, 5000)
		s.Took(syn)
		r.back.Send(t, s.Syn(testpkt.MSS(1400)))
		for _, p := range answers(r.front) {
			c.Took(p)
		}
		r.front.Send(t, c.Bare(), c.Data(strings.Repeat("q", int(r.mss()))))
		answers(r.back)
		s.Ack = syn.Seq + 1
		r.back.Send(t, s.Data("200 OK"))
	}
	r.front.Send(t, testpkt.Datagram(netip.AddrPortFrom(r.cip[0], r.freshPort()), service(82), "no extension"))
	// SYN proxy: a server that answers, one that forgot, one that refuses, one that is
	// mute; data before the answer, and an ACK of each again.
	for i, kind := range []string{"answers", "stray", "refuses", "mute", "reset"} {
		c := testpkt.NewPeer(netip.AddrPortFrom(r.cip[2+i], r.freshPort()), service(81), 1000)
		r.front.Send(t, c.Syn(synOptions(r.fam)...))
		for _, p := range answers(r.front) {
			c.Took(p)
		}
		if i%2 == 0 {
			r.front.Send(t, c.Data("early"))
		} else {
			r.front.Send(t, c.Bare())
		}
		for _, syn := range answers(r.back) {
			s := testpkt.NewPeer(syn.Dst, syn.Src, 5000)
			s.Took(syn)
			switch kind {
			case "stray":
				stray := s.Bare()
				stray.Ack += 7777
				r.back.Send(t, stray)
				answers(r.back)
				r.back.Send(t, s.Syn(testpkt.MSS(1400)))
			case "answers":
				r.back.Send(t, s.Syn(testpkt.MSS(1400), testpkt.SACKPermitted()))
			case "refuses":
				r.back.Send(t, s.Reset())
			case "reset":
				r.front.Send(t, c.Reset())
			}
		}
		answers(r.front)
		answers(r.back)
	}
	// Ports run out, which is told.
	for range 14 {
		r.front.Send(t, testpkt.NewPeer(netip.AddrPortFrom(r.cip[1], r.freshPort()), service(80), 7).Syn(testpkt.MSS(1400)))
	}
	r.front.Send(t, r.strays(3000)...)
	answers(r.front)
	answers(r.back)
	return sent
}

// caseFailedAll: of all sites in the module none is left that has not failed.
func caseFailedAll(t *testing.T) {
	files, err := filepath.Glob("/lib/modules/*/updates/ip_vs.ko")
	if err != nil || len(files) != 1 {
		t.Fatalf("the module is %v, %v; want one", files, err)
	}
	ko, err := elf.Open(files[0])
	testnet.Must(t, err)
	defer ko.Close()
	section := ko.Section("ip_vs_x_sites")
	if section == nil {
		t.Fatal("the module has no section ip_vs_x_sites")
	}
	names, err := section.Data()
	testnet.Must(t, err)
	log := make([]byte, 4<<20)
	n, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, log)
	testnet.Must(t, err)
	seen := map[string]int{}
	for _, m := range regexp.MustCompile(`ip_vs_x_fail: no memory for (\S+)`).FindAllSubmatch(log[:n], -1) {
		seen[string(m[1])]++
	}
	sites := 0
	for _, name := range bytes.Split(names, []byte{0}) {
		if len(name) == 0 {
			continue
		}
		sites++
		if site := filepath.Base(string(name)); seen[site] == 0 {
			t.Errorf("the allocation at %s never failed", site)
		}
	}
	if sites < 40 {
		t.Errorf("%d sites: are they still marked?", sites)
	}
	t.Logf("%d sites, %v", sites, seen)
}
