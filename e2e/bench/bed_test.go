// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testpkt"
	"github.com/lvs-fnat/lvs/internal/testvm"
	"github.com/lvs-fnat/lvs/ipvs"
)

// network is the addresses of a bed.
type network struct {
	bits                                int // of prefixes
	vip, lip, client, server            netip.Addr
	front, back, clientSide, serverSide netip.Addr // the director's own
}

var (
	net4 = network{
		24, netip.MustParseAddr("10.0.1.100"), netip.MustParseAddr("10.0.2.201"), netip.MustParseAddr("10.8.0.2"), netip.MustParseAddr("10.9.0.11"),
		netip.MustParseAddr("10.0.1.1"), netip.MustParseAddr("10.0.2.1"), netip.MustParseAddr("10.8.0.1"), netip.MustParseAddr("10.9.0.1"),
	}
	net6 = network{
		64, netip.MustParseAddr("2001:db8:1::100"), netip.MustParseAddr("2001:db8:2::201"), netip.MustParseAddr("2001:db8:8::2"), netip.MustParseAddr("2001:db8:9::11"),
		netip.MustParseAddr("2001:db8:1::1"), netip.MustParseAddr("2001:db8:2::1"), netip.MustParseAddr("2001:db8:8::1"), netip.MustParseAddr("2001:db8:9::1"),
	}
)

const (
	vport = 80
	rport = 8080
	// sinks are dummy links: what the director sends there is counted and freed.
	toClient, toServer = "toclient", "toserver"
	nowhere            = "-" // the sink of packets that must be dropped
)

// bed is a director between a sender and two sinks. Requests come in by front and
// go out to the real server, replies come in by back and go out to the client; no
// packet wakes anything that would be measured with it.
//
//	      ┌── front ═ veth ═ front ──┐   ┌── toserver (sink)
//	flood ┤                          ├ d ┤
//	      └── back ═ veth ═ back ────┘   └── toclient (sink)
type bed struct {
	network
	d, w *testnet.NS
	x    *ipvs.Client // nil without ip_vs
	// heads are the Ethernet headers of frames sent by a link
	heads map[string][]byte
}

var beds int

// newBed builds a bed for the modules that are loaded.
func newBed(t *testing.T, n network) *bed {
	t.Helper()
	beds++
	b := &bed{network: n, heads: map[string][]byte{}}
	var errD, errW error
	b.d, errD = testnet.Open(fmt.Sprintf("d%d", beds))
	b.w, errW = testnet.Open(fmt.Sprintf("w%d", beds))
	testnet.Must(t, errD, errW)
	testnet.Must(t, b.w.Sysctl("net.ipv6.conf.default.disable_ipv6", "1"),
		b.d.Sysctl("net.ipv4.ip_forward", "1"), b.d.Sysctl("net.ipv6.conf.all.forwarding", "1"),
		b.d.Sysctl("net.ipv4.conf.all.rp_filter", "0"), b.d.Sysctl("net.ipv4.conf.default.rp_filter", "0"),
		testnet.Veth(b.d, "front", b.w, "front"), testnet.Veth(b.d, "back", b.w, "back"))
	one := n.vip.BitLen()
	testnet.Must(t, b.d.AddAddr("front", netip.PrefixFrom(n.front, n.bits), netip.PrefixFrom(n.vip, one)),
		b.d.AddAddr("back", netip.PrefixFrom(n.back, n.bits), netip.PrefixFrom(n.lip, one)))
	b.sink(t, toClient, n.clientSide, n.client)
	b.sink(t, toServer, n.serverSide, n.server)
	for _, link := range []string{"front", "back"} {
		far, err := b.d.MAC(link)
		testnet.Must(t, err)
		near, err := b.w.MAC(link)
		testnet.Must(t, err)
		kind := []byte{8, 0}
		if n.vip.Is6() {
			kind = []byte{0x86, 0xdd}
		}
		b.heads[link] = slices.Concat(far, near, kind)
	}
	loaded, err := testvm.Loaded()
	testnet.Must(t, err)
	if slices.Contains(loaded, "ip_vs") {
		b.x, err = ipvs.Config{NetNS: b.d.FD()}.Dial(t.Context())
		testnet.Must(t, err)
	}
	// What the kernel has put off (addresses, routes, namespaces that went) is
	// done before anything is measured.
	time.Sleep(5 * time.Second)
	shrink(t)
	return b
}

// shrink empties the slabs of connections: how many there are would be left to
// what was measured before, and with it the work that a new connection is.
func shrink(t *testing.T) {
	t.Helper()
	files, err := filepath.Glob("/sys/kernel/slab/ip_vs*conn/shrink")
	testnet.Must(t, err)
	for _, f := range files {
		testnet.Must(t, os.WriteFile(f, []byte("1"), 0))
	}
}

// sink adds a link behind which far is, as a neighbour that is never asked for.
func (b *bed) sink(t *testing.T, link string, own, far netip.Addr) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = link
	testnet.Must(t, b.d.AddLink(&netlink.Dummy{LinkAttrs: attrs}), b.d.AddAddr(link, netip.PrefixFrom(own, b.bits)),
		b.d.AddNeighbour(link, far, net.HardwareAddr{2, 0, 0, 0, 0, 1}))
}

// close takes the bed down, and its connections with it.
func (b *bed) close(t *testing.T) {
	t.Helper()
	if b.x != nil {
		testnet.Must(t, b.x.Close())
	}
	testnet.Must(t, b.d.Close(), b.w.Close())
}

// serve sets one service with one real server up, with FNAT if ext says so.
func (b *bed) serve(t *testing.T, proto ipvs.Protocol, ext ipvs.ExtFlags) ipvs.ServiceKey {
	t.Helper()
	family := ipvs.FamilyOf(b.vip)
	svc := ipvs.Service{ServiceKey: ipvs.ServiceKey{Family: family, Protocol: proto, Addr: b.vip, Port: vport}, Scheduler: "rr", Netmask: 0xffffffff}
	if family == ipvs.IPv6 {
		svc.Netmask = 128
	}
	ops := []ipvs.Op{{Kind: ipvs.AddService, Service: svc}}
	if ext != 0 {
		g := ipvs.LGroup{Name: "g", Family: family}
		ops = append(ops,
			ipvs.Op{Kind: ipvs.AddLGroup, LGroup: g}, ipvs.Op{Kind: ipvs.AddLaddr, LGroup: g, Laddr: ipvs.Laddr{Addr: b.lip}},
			ipvs.Op{Kind: ipvs.SetExt, Service: svc, Ext: ipvs.Ext{Set: ipvs.ExtFieldFlags | ipvs.ExtFieldLGroup, Flags: ext, FlagsMask: ext, LGroup: g.Name}})
	}
	dest := ipvs.Dest{DestKey: ipvs.DestKey{Family: family, Addr: b.server, Port: rport}, Weight: 1, Forward: ipvs.Masq}
	testnet.Must(t, b.x.Apply(t.Context(), append(ops, ipvs.Op{Kind: ipvs.AddDest, Service: svc, Dest: dest})...))
	return svc.ServiceKey
}

// flood sends count packets of pkts in turn by link and returns instructions per
// packet: the least of so many rounds, so that a tick of some timer is not in it.
// All packets must come out at sink, if it is not nowhere.
func (b *bed) flood(t *testing.T, link, sink string, pkts []testpkt.Packet, count, rounds int) float64 {
	t.Helper()
	var file []byte
	for _, p := range pkts {
		frame := b.frame(link, p)
		file = append(binary.BigEndian.AppendUint16(file, uint16(len(frame))), frame...)
	}
	name := filepath.Join(t.TempDir(), "frames")
	testnet.Must(t, os.WriteFile(name, file, 0o600))
	return b.send(t, link, sink, name, count, rounds)
}

// frame is p as it goes out by link.
func (b *bed) frame(link string, p testpkt.Packet) []byte {
	return slices.Concat(b.heads[link], p.Encode())
}

// send is flood with frames that a file has.
func (b *bed) send(t *testing.T, link, sink, name string, count, rounds int) float64 {
	t.Helper()
	// Until flood ends this process has nothing to do, and the serial line has
	// nothing to say; waiting costs nothing.
	runtime.GC()
	time.Sleep(time.Second)
	ns := func(n *testnet.NS) string { return "/run/netns/" + n.Name }
	out, err := exec.CommandContext(t.Context(), floodProgram, name, strconv.Itoa(count), strconv.Itoa(rounds), ns(b.w), link, ns(b.d), sink).CombinedOutput()
	if err != nil {
		t.Fatalf("flood: %v: %s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != rounds {
		t.Fatalf("flood ran %d rounds, want %d:\n%s", len(lines), rounds, out)
	}
	var per []float64
	for _, l := range lines {
		var took, arrived int
		if _, err := fmt.Sscan(l, &took, &arrived); err != nil {
			t.Fatalf("flood: %q: %v", l, err)
		}
		if arrived != count {
			t.Fatalf("%d of %d packets came out at %s", arrived, count, sink)
		}
		per = append(per, float64(took)/float64(count))
	}
	return slices.Min(per)
}
