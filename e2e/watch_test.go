// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testpkt"
	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/ipvs/uapi"
)

// TestForecast: how full a group is, and the events that tell it.
func TestForecast(t *testing.T) {
	needOurs(t)
	each(t, "forecast", caseForecast)
	each(t, "forecast_fullest_server", caseForecastServers)
	each(t, "forecast_again", caseForecastAgain)
}

// listen collects events until stop is called, which returns them.
func (r *rig) listen(t *testing.T) (stop func() []ipvs.Event) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan struct{}), make(chan struct{})
	var got []ipvs.Event
	go func() {
		defer close(done)
		for e, err := range r.x.Events(ctx, func() { close(ready) }) {
			if err != nil {
				if !errors.Is(err, context.Canceled) {
					t.Errorf("events: %v", err)
				}
				return
			}
			got = append(got, e)
		}
	}()
	select {
	case <-ready:
	case <-done:
		t.Fatal("the stream of events ended before it began")
	}
	return func() []ipvs.Event {
		time.Sleep(100 * time.Millisecond) // what was sent is in the socket already; the reader needs a turn
		cancel()
		<-done
		return got
	}
}

func caseForecast(t *testing.T, r *rig) {
	r.serve(t, setup{lips: 2, ports: [2]uint16{5000, 5009}})
	group := func() ipvs.LGroup {
		t.Helper()
		g, err := r.x.LGroup(t.Context(), group)
		testnet.Must(t, err)
		return g
	}
	if g := group(); g.Ports != 20 || g.PortsUsed != 0 || g.RS.IsValid() || g.Used() != 0 {
		t.Errorf("an idle group is %+v", g)
	}
	stop := r.listen(t)
	fill := func(from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			r.front.Send(t, testpkt.NewPeer(netip.AddrPortFrom(r.cip[i%20], uint16(4000+i)), netip.AddrPortFrom(r.vip, 80), 7).Syn(testpkt.MSS(1400)))
		}
		r.back.Drain()
	}
	fill(0, 15)
	if g := group(); g.Ports != 20 || g.PortsUsed != 15 || g.RS != netip.AddrPortFrom(r.rip[0], rport) || g.RSProtocol != ipvs.TCP || g.Used() != 0.75 {
		t.Errorf("with 15 connections the group is %+v", g)
	}
	fill(15, 16) // 80 %
	fill(16, 19) // 95 %
	fill(19, 20)
	fill(20, 23) // none left; said once
	if g := group(); g.PortsUsed != 20 || g.Used() != 1 {
		t.Errorf("full, the group is %+v", g)
	}
	n, err := r.x.DeleteConns(t.Context(), ipvs.ConnFilter{})
	if err != nil || n != 20 {
		t.Fatalf("%d deleted, %v", n, err)
	}
	if g := group(); g.PortsUsed != 0 || g.RS.IsValid() {
		t.Errorf("empty again, the group is %+v", g)
	}
	fill(30, 46) // and again 80 %
	// One address less, and the same 16 ports are all there are.
	r.apply(t, r.laddrFlags(r.lip[1], ipvs.LaddrNoNew))
	if g := group(); g.Ports != 10 || g.PortsUsed != 16 || g.Used() != 1 {
		t.Errorf("with half the addresses draining the group is %+v", g)
	}
	want := []ipvs.EventKind{ipvs.EventPorts80, ipvs.EventPorts95, ipvs.EventPortsFull, ipvs.EventPorts80}
	var kinds []ipvs.EventKind
	for _, e := range stop() {
		kinds = append(kinds, e.Kind)
		if e.LGroup.Name != "g" || e.LGroup.Ports != 20 || e.LGroup.RS != netip.AddrPortFrom(r.rip[0], rport) || e.LGroup.PortsUsed < 16 {
			t.Errorf("event %+v", e)
		}
	}
	if !slices.Equal(kinds, want) {
		t.Errorf("events %v, want %v", kinds, want)
	}
}

// caseForecastServers: ports are used up towards one real server; what others use
// does not count, and the fullest is named.
func caseForecastServers(t *testing.T, r *rig) {
	key := r.serve(t, setup{servers: 2, ports: [2]uint16{5000, 5009}})
	stop := r.listen(t)
	n := 0
	fill := func(more int) {
		t.Helper()
		for range more {
			r.front.Send(t, r.syns(n))
			r.back.Recv(t)
			n++
		}
	}
	wantGroup := func(used uint32, rs netip.Addr) {
		t.Helper()
		g, err := r.x.LGroup(t.Context(), group)
		testnet.Must(t, err)
		if g.Ports != 10 || g.PortsUsed != used || g.RS.Addr() != rs {
			t.Errorf("with %d connections the group is %+v, want %d ports used towards %v", n, g, used, rs)
		}
	}
	fill(8)
	r.apply(t, r.dest(ipvs.SetDest, key, r.rip[0], 0))
	fill(2)
	wantGroup(6, r.rip[1])
	fill(2) // 80 % towards that one
	r.apply(t, r.dest(ipvs.SetDest, key, r.rip[0], 1), r.dest(ipvs.SetDest, key, r.rip[1], 0))
	fill(5) // 90 % towards the other, which is told of by itself
	wantGroup(9, r.rip[0])
	var told []string
	for _, e := range stop() {
		told = append(told, fmt.Sprint(e.Kind, " ", e.LGroup.RS.Addr(), " ", e.LGroup.PortsUsed))
	}
	want := []string{fmt.Sprint(ipvs.EventPorts80, " ", r.rip[1], " 8"), fmt.Sprint(ipvs.EventPorts80, " ", r.rip[0], " 8")}
	if !slices.Equal(told, want) {
		t.Errorf("events %q, want %q", told, want)
	}
}

// caseForecastAgain: each step is told once, and again when the share was five per
// cent below it; that nothing is left is told once a second.
func caseForecastAgain(t *testing.T, r *rig) {
	r.serve(t, setup{lips: 2, ports: [2]uint16{5000, 5009}})
	stop := r.listen(t)
	var clients []netip.AddrPort
	more := func(n int) {
		t.Helper()
		for range n {
			p := r.syns(len(clients))
			r.front.Send(t, p)
			r.back.Recv(t)
			clients = append(clients, p.Src)
		}
	}
	fewer := func(n int) {
		t.Helper()
		for _, c := range clients[len(clients)-n:] {
			gone, err := r.x.DeleteConns(t.Context(), ipvs.ConnFilter{Client: netip.PrefixFrom(c.Addr(), c.Addr().BitLen()), ClientPort: c.Port()})
			if err != nil || gone != 1 {
				t.Fatalf("%d connections of %v ended, %v", gone, c, err)
			}
		}
		clients = clients[:len(clients)-n]
	}
	late := func() {
		t.Helper()
		r.front.Send(t, r.syns(100+int(r.freshPort())))
		r.back.Quiet(t)
	}
	more(16) // 80 %
	fewer(2)
	more(2) // never below 75 %
	fewer(3)
	more(3) // was below, and 80 % again
	more(3) // 95 %
	fewer(2)
	more(2) // never below 90 %
	fewer(3)
	more(3) // was below, and 95 % again
	more(1)
	late() // none left
	late()
	time.Sleep(1100 * time.Millisecond)
	late() // and still none
	want := []ipvs.EventKind{ipvs.EventPorts80, ipvs.EventPorts80, ipvs.EventPorts95, ipvs.EventPorts95, ipvs.EventPortsFull, ipvs.EventPortsFull}
	used := []uint32{16, 16, 19, 19, 20, 20}
	got := stop()
	for i, e := range got {
		if i < len(want) && (e.Kind != want[i] || e.LGroup.PortsUsed != used[i] || e.LGroup.RSProtocol != ipvs.TCP || e.LGroup.Family != ipvs.FamilyOf(r.vip)) {
			t.Errorf("event %d is %+v, want %v with %d in use", i, e, want[i], used[i])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d events, want %d: %+v", len(got), len(want), got)
	}
}

// TestWatch: what operators look at.
func TestWatch(t *testing.T) {
	needOurs(t)
	each(t, "proc_files", caseProc)
	each(t, "proc_laddr", caseProcLaddr)
	each(t, "tracepoints", caseTrace)
	each(t, "tracepoint_synproxy", caseTraceSynproxy)
	t.Run("guide_v4", func(t *testing.T) { caseGuide(t, newRig(t, fam4)) })
}

// read reads a file of /proc/net as a process of the director would.
func (r *rig) read(t *testing.T, name string) string {
	t.Helper()
	var text []byte
	testnet.Must(t, r.d.Do(func() (err error) {
		text, err = os.ReadFile("/proc/thread-self/net/" + name)
		return err
	}))
	return string(text)
}

func hexAddr(a netip.Addr) string {
	if a.Is4() {
		return fmt.Sprintf("%X", a.AsSlice())
	}
	return a.StringExpanded()
}

func caseProc(t *testing.T, r *rig) {
	r.serve(t, setup{lips: 2, ports: [2]uint16{5000, 5999}})
	f := r.open(t, 0, 4000)
	f.talk(t)
	lines := strings.Split(strings.TrimSpace(r.read(t, "ip_vs_x_conn")), "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[0], "Pro FromIP   FPrt ToIP     TPrt LocalIP  LPrt DestIP   DPrt State") {
		t.Fatalf("ip_vs_x_conn:\n%s", strings.Join(lines, "\n"))
	}
	want := []string{"TCP"}
	for _, end := range []netip.AddrPort{f.c.Local, f.vip, f.lip, f.s.Local} {
		want = append(want, hexAddr(end.Addr()), fmt.Sprintf("%04X", end.Port()))
	}
	want = append(want, "ESTABLISHED")
	if got := strings.Fields(lines[1]); len(got) != len(want)+1 || !slices.Equal(got[:len(want)], want) {
		t.Errorf("ip_vs_x_conn has\n%q, want\n%q", got, want)
	} else if s, err := strconv.Atoi(got[len(want)]); err != nil || s < 800 || s > 900 {
		t.Errorf("it ends in %q seconds, %v; want 15 minutes or a little less", got[len(want)], err)
	}
	laddrs := strings.Split(strings.TrimSpace(r.read(t, "ip_vs_x_laddr")), "\n")
	if len(laddrs) != 3 {
		t.Fatalf("ip_vs_x_laddr:\n%s", strings.Join(laddrs, "\n"))
	}
	conns := 0
	for i, l := range laddrs[1:] {
		got := strings.Fields(l)
		if len(got) != 9 || got[0] != "g" || got[1] != r.lip[i].String() || got[2] != "5000" || got[3] != "5999" || got[4] != "00" {
			t.Errorf("ip_vs_x_laddr has %q", got)
			continue
		}
		if got[5] == "1" {
			conns++
		}
	}
	if conns != 1 {
		t.Errorf("ip_vs_x_laddr counts %d addresses with a connection:\n%s", conns, strings.Join(laddrs, "\n"))
	}
	// The counters, by the names that the command has for them.
	stats, err := r.x.ExtStats(t.Context())
	testnet.Must(t, err)
	names := map[string]uint64{}
	for line := range strings.Lines(r.read(t, "ip_vs_x_stats")) {
		var name string
		var n uint64
		if _, err := fmt.Sscan(line, &name, &n); err != nil {
			t.Errorf("ip_vs_x_stats has %q: %v", line, err)
		}
		names[name] = n
	}
	for number, n := range stats {
		if got, ok := names[ipvs.ExtStatName(number)]; !ok || got != n {
			t.Errorf("ip_vs_x_stats says %d of %s, netlink %d", got, ipvs.ExtStatName(number), n)
		}
	}
	if len(names) != len(stats) || names["lport_ok"] != 1 {
		t.Errorf("ip_vs_x_stats has %d counters, netlink %d: %v", len(names), len(stats), names)
	}
	// Another namespace sees nothing of it, and its stock files keep their format.
	o := newRig(t, r.fam)
	if text := o.read(t, "ip_vs_x_conn"); strings.Count(text, "\n") != 1 {
		t.Errorf("another namespace shows\n%s", text)
	}
	if text := r.read(t, "ip_vs_conn"); !strings.HasPrefix(text, "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData\n") {
		t.Errorf("the stock file begins\n%.200s", text)
	}
}

// caseProcLaddr: the file tells of each address, in each group, what netlink does, on
// however many pages.
func caseProcLaddr(t *testing.T, r *rig) {
	r.serve(t, setup{ports: [2]uint16{5000, 5001}})
	r.open(t, 0, 4000)
	f := r.open(t, 1, 4000)
	r.start(t, 2, 4000) // no port
	f.finish(t)
	r.dial(t, 3, 4000) // takes one back
	other := r.group("other_group_of15", r.fam)
	other.Name = other.Name[:uapi.ExtNameMax]
	ops := []ipvs.Op{{Kind: ipvs.AddLGroup, LGroup: other}}
	a := netip.MustParseAddr("10.9.0.1")
	if r.v6() {
		a = netip.MustParseAddr("2001:db8:9:9:9:9:9:1")
	}
	const many = 150
	for i := range uint16(many) {
		ops = append(ops, ipvs.Op{Kind: ipvs.AddLaddr, LGroup: other, Laddr: ipvs.Laddr{
			Addr: a, PortMin: 1 + i, PortMax: 65535, Flags: ipvs.LaddrForce | ipvs.LaddrFlags(i%2)*ipvs.LaddrNoNew}})
		a = a.Next()
	}
	r.apply(t, ops...)
	var want []string
	for _, g := range []string{group, other.Name} {
		all, err := r.x.Laddrs(t.Context(), g)
		testnet.Must(t, err)
		for _, l := range all {
			want = append(want, fmt.Sprintf("%s %v %d %d %02X %d %d %d %d", g, l.Addr, l.PortMin, l.PortMax, uint32(l.Flags), l.Conns, l.Conflict, l.Full, l.Reclaim))
		}
	}
	if l := want[0]; !strings.Contains(l, " 5000 5001 00 2 ") || strings.HasSuffix(l, " 0") || len(want) != 1+many {
		t.Fatalf("netlink lists %d addresses, first\n%s\nwant %d, and numbers to compare", len(want), l, 1+many)
	}
	var got []string
	for _, line := range strings.Split(strings.TrimSpace(r.read(t, "ip_vs_x_laddr")), "\n")[1:] {
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	if !slices.Equal(got, want) {
		t.Errorf("ip_vs_x_laddr has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// tracefs mounts the file system of traces once.
func tracefs(t *testing.T) string {
	t.Helper()
	const dir = "/sys/kernel/tracing"
	if _, err := os.Stat(filepath.Join(dir, "trace")); err != nil {
		if err := unix.Mount("tracefs", dir, "tracefs", 0, ""); err != nil && !errors.Is(err, syscall.EBUSY) {
			t.Fatalf("mount tracefs: %v", err)
		}
	}
	return dir
}

func caseTrace(t *testing.T, r *rig) {
	dir := tracefs(t)
	events := filepath.Join(dir, "events/ip_vs_x")
	write := func(file, text string) {
		t.Helper()
		testnet.Must(t, os.WriteFile(file, []byte(text), 0o644))
	}
	key := r.serve(t, setup{ports: [2]uint16{5000, 5001}, more: invalid(ipvs.InvalidDrop)})
	write(filepath.Join(dir, "trace"), "")
	write(filepath.Join(events, "enable"), "1")
	defer write(filepath.Join(events, "enable"), "0")
	f := r.open(t, 0, 4000)
	r.open(t, 1, 4001)
	late, _ := r.start(t, 2, 4002)
	r.back.Quiet(t)
	stray := r.strays(3000)[0]
	r.front.Send(t, stray)
	r.front.Quiet(t)
	r.set(t, key, limits(ipvs.ExtFieldConnLimit, ipvs.Limits{ConnLimit: 1}))
	r.start(t, 3, 4003)
	r.front.Quiet(t)
	text, err := os.ReadFile(filepath.Join(dir, "trace"))
	testnet.Must(t, err)
	for _, want := range []string{
		fmt.Sprintf("ip_vs_x_conn_new: proto=6 client=%v vip=%v lip=%v rip=%v", f.c.Local, f.vip, f.lip, f.s.Local),
		fmt.Sprintf("ip_vs_x_lport_full: proto=6 client=%v rip=%v group=g", netip.AddrPortFrom(late.c.Local.Addr(), 0), netip.AddrPortFrom(r.rip[0], rport)),
		fmt.Sprintf("ip_vs_x_drop: proto=6 client=%v vip=%v reason=invalid_drop", stray.Src, stray.Dst),
		fmt.Sprintf("ip_vs_x_drop: proto=6 client=%v vip=%v reason=limit_drop", netip.AddrPortFrom(r.cip[3], 4003), f.vip),
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if n := strings.Count(string(text), "ip_vs_x_conn_new:"); n != 2 {
		t.Errorf("%d connections traced, want 2", n)
	}
	if _, err := os.Stat(filepath.Join(events, "ip_vs_x_synproxy/format")); err != nil {
		t.Error(err)
	}
	r.counts(t, map[uint16]uint64{uapi.ExtStatLportFull: 1, uapi.ExtStatInvalidDrop: 1, uapi.ExtStatLimitDrop: 1})
}

// caseTraceSynproxy: what the SYN proxy does with a SYN, a cookie and a stray ACK.
func caseTraceSynproxy(t *testing.T, r *rig) {
	dir := tracefs(t)
	enable := filepath.Join(dir, "events/ip_vs_x/ip_vs_x_synproxy/enable")
	r.proxied(t, proxy{})
	testnet.Must(t, os.WriteFile(filepath.Join(dir, "trace"), nil, 0o644), os.WriteFile(enable, []byte("1"), 0o644))
	defer os.WriteFile(enable, []byte("0"), 0o644)
	f := r.linux(t, 0, 4000)
	f.ack(t, "")
	bad := testpkt.NewPeer(netip.AddrPortFrom(r.cip[1], 4000), f.vip, 1)
	r.front.Send(t, bad.Bare())
	if rst := r.front.Recv(t); rst.Flags != testpkt.RST {
		t.Errorf("a stray ACK was answered by\n%v", rst)
	}
	text, err := os.ReadFile(filepath.Join(dir, "trace"))
	testnet.Must(t, err)
	for _, want := range []string{
		fmt.Sprintf("client=%v vip=%v reason=sp_syn\n", f.c.Local, f.vip),
		fmt.Sprintf("client=%v vip=%v reason=sp_ack_ok\n", f.c.Local, f.vip),
		fmt.Sprintf("client=%v vip=%v reason=sp_ack_bad\n", bad.Local, f.vip),
	} {
		if strings.Count(string(text), want) != 1 {
			t.Errorf("not once %q in\n%s", want, text)
		}
	}
}

// TestSync: backups and X connections. Case 70.
func TestSync(t *testing.T) {
	needOurs(t)
	each(t, "70_stock_backup", caseStockBackup)
}

// caseStockBackup: a master with connections of both kinds, and a backup whose part
// of the protocol is the distribution's. It gets the NAT connection and the
// persistence template, and nothing that it would take for NAT.
func caseStockBackup(t *testing.T, r *rig) {
	b, err := testnet.Open(fmt.Sprintf("b%d", rigCount))
	testnet.Must(t, err)
	defer b.Close()
	testnet.Must(t, testnet.Veth(r.d, "sync0", b, "sync0"),
		r.d.AddAddr("sync0", netip.MustParsePrefix("10.7.0.1/24")), b.AddAddr("sync0", netip.MustParsePrefix("10.7.0.2/24")),
		r.d.Sysctl("net.ipv4.vs.sync_threshold", "1 3"), r.d.Sysctl("net.ipv4.ip_forward", "1"), r.d.Sysctl("net.ipv6.conf.all.forwarding", "1"))
	back, err := ipvs.Config{NetNS: b.FD()}.Dial(t.Context())
	testnet.Must(t, err)
	defer back.Close()

	fnatKey := r.serve(t, setup{flags: ipvs.FlagPersistent, timeout: 5 * time.Minute})
	plainKey, ops := r.operations(setup{plain: true, port: 81})
	r.apply(t, ops...)
	// The backup has both services, as stock tools make them.
	for _, k := range []ipvs.ServiceKey{fnatKey, plainKey} {
		svc := r.addService(k, 0, "")
		if k == fnatKey {
			svc = r.addService(k, ipvs.FlagPersistent, "")
		}
		testnet.Must(t, back.Apply(t.Context(), svc, r.dest(ipvs.AddDest, k, r.rip[0], 1)))
	}
	daemon := func(s ipvs.SyncState) ipvs.Op {
		return ipvs.Op{Kind: ipvs.StartDaemon, Daemon: ipvs.Daemon{State: s, Interface: "sync0", SyncID: 7}}
	}
	testnet.Must(t, back.Apply(t.Context(), daemon(ipvs.SyncBackup)))
	r.apply(t, daemon(ipvs.SyncMaster))

	f := r.open(t, 0, 4000)
	for range 6 {
		f.talk(t)
	}
	c := testpkt.NewPeer(netip.AddrPortFrom(r.cip[1], 4001), netip.AddrPortFrom(r.vip, 81), 9000)
	r.front.Send(t, c.Syn(testpkt.MSS(1400)))
	syn := r.back.Recv(t)
	s := testpkt.NewPeer(syn.Dst, syn.Src, 100)
	s.Took(syn)
	r.back.Send(t, s.Syn(testpkt.MSS(1400)))
	c.Took(r.front.Recv(t))
	for range 6 {
		r.front.Send(t, c.Data("x"))
		r.back.Recv(t)
	}
	lines := func() []string {
		var text []byte
		testnet.Must(t, b.Do(func() (err error) {
			text, err = os.ReadFile("/proc/thread-self/net/ip_vs_conn")
			return err
		}))
		return strings.Split(strings.TrimSpace(string(text)), "\n")[1:]
	}
	client := func(l string, a netip.AddrPort) bool {
		got := strings.Fields(l)
		return got[1] == hexAddr(a.Addr()) && got[2] == fmt.Sprintf("%04X", a.Port())
	}
	testnet.Eventually(t, 30*time.Second, func() error {
		all := lines()
		if !slices.ContainsFunc(all, func(l string) bool { return client(l, c.Local) }) {
			return fmt.Errorf("the backup has no NAT connection:\n%s", strings.Join(all, "\n"))
		}
		if !slices.ContainsFunc(all, func(l string) bool { return client(l, netip.AddrPortFrom(r.cip[0], 0)) }) {
			return fmt.Errorf("the backup has no template:\n%s", strings.Join(all, "\n"))
		}
		return nil
	})
	time.Sleep(5 * time.Second)
	for _, l := range lines() {
		if client(l, f.c.Local) {
			t.Errorf("the backup has made of an X connection\n%s", l)
		}
	}
	r.apply(t, ipvs.Op{Kind: ipvs.StopDaemon, Daemon: ipvs.Daemon{State: ipvs.SyncMaster}})
	testnet.Must(t, back.Apply(t.Context(), ipvs.Op{Kind: ipvs.StopDaemon, Daemon: ipvs.Daemon{State: ipvs.SyncBackup}}))
}
