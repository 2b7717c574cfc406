// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testpkt"
	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/ipvs/uapi"
)

const (
	// Of each kind and family: together a million SYNs and a million ACKs in one run.
	floodPackets = 500000
	floodSources = 20000
	floodClients = 200 // requests of a client who means it, while SYNs come; as many with the ACKs
)

// TestSynflood: in both families together a million SYNs of clients that do not exist, and a million ACKs of
// connections that do not. They leave nothing, and keep nobody out.
func TestSynflood(t *testing.T) {
	needOurs(t)
	for _, f := range fams {
		t.Run("37_flood_"+f.name, func(t *testing.T) { caseSPFlood(t, f) })
	}
}

func caseSPFlood(t *testing.T, f fam) {
	top := testnet.NewTopology(t, testnet.Plan{Neighbours: true, Servers: 1})
	x, err := ipvs.Config{NetNS: top.D.FD()}.Dial(t.Context())
	testnet.Must(t, err)
	defer x.Close()
	r := &rig{fam: f, x: x}
	r.serve(t, setup{ext: ipvs.ExtSynproxy})
	echo(t, top.R[0].NS, netip.AddrPortFrom(f.rip[0], rport))

	// The flood comes by a link of its own; what answers it goes to nowhere.
	src := testnet.New(t, "flood")
	testnet.Must(t, src.Sysctl("net.ipv6.conf.default.disable_ipv6", "1"), testnet.Veth(top.D.NS, "flood", src, "flood"))
	for _, s := range []string{"net.ipv4.conf.all.rp_filter", "net.ipv4.conf.flood.rp_filter"} {
		testnet.Must(t, top.D.Sysctl(s, "0"))
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "void"
	own, hop, strangers := netip.MustParsePrefix("198.51.100.1/24"), netip.MustParseAddr("198.51.100.2"), netip.MustParsePrefix("198.18.0.0/15")
	if f.v6() {
		own, hop, strangers = netip.MustParsePrefix("2001:db8:51::1/64"), netip.MustParseAddr("2001:db8:51::2"), netip.MustParsePrefix("2001:db8:18::/48")
	}
	testnet.Must(t, top.D.AddLink(&netlink.Dummy{LinkAttrs: attrs}), top.D.AddAddr("void", own),
		top.D.AddNeighbour("void", hop, net.HardwareAddr{2, 0, 0, 0, 0, 1}), top.D.AddRoute(strangers, hop))

	before := unreclaimable(t)
	for _, flags := range []testpkt.Flags{testpkt.SYN, testpkt.ACK} {
		frames := floodFrames(t, top.D.NS, src, f, strangers.Addr(), flags)
		cmd := exec.CommandContext(t.Context(), floodProgram, frames, strconv.Itoa(floodPackets), "1",
			"/run/netns/"+src.Name, "flood", "/run/netns/"+top.D.Name, "-")
		cmd.Env = append(os.Environ(), "FLOOD_FAIR=1")
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &out
		testnet.Must(t, cmd.Start())
		lost := 0
		for n := range floodClients {
			if err := ping(t.Context(), top.C[0].NS, netip.AddrPortFrom(f.vip, 80), fmt.Sprint("request ", n), patience); err != nil {
				t.Errorf("request %d while %v came: %v", n, flags, err)
				if lost++; lost > 5 {
					break
				}
			}
		}
		if err := cmd.Wait(); err != nil {
			t.Fatalf("flood: %v: %s", err, &out)
		}
	}
	all := r.conns(t)
	for _, c := range all {
		if !slices.Contains(f.cip, c.Client.Addr()) {
			t.Fatalf("the flood has made a connection, one of %d: %+v", len(all), c)
		}
	}
	s, err := x.ExtStats(t.Context())
	testnet.Must(t, err)
	// a guess may be right, once in 2^22 or so
	if syn, bad := s[uapi.ExtStatSpSyn], s[uapi.ExtStatSpAckBad]; syn < floodPackets+2*floodClients || bad < floodPackets-10 {
		t.Errorf("%d SYNs and %d bad ACKs arrived of %d each", syn, bad, floodPackets)
	}
	if s[uapi.ExtStatSpDone] < 2*floodClients || s[uapi.ExtStatSpSynack] != s[uapi.ExtStatSpSyn] {
		t.Errorf("%d handshakes ended well, %d cookies sent for %d SYNs", s[uapi.ExtStatSpDone], s[uapi.ExtStatSpSynack], s[uapi.ExtStatSpSyn])
	}
	// 400 connections of the client in CLOSE or so are 150 kB
	if after := unreclaimable(t); after > before+2<<10 {
		t.Errorf("the kernel's memory went from %d kB to %d kB", before, after)
	}
}

// unreclaimable is the slab memory that the kernel cannot give back, in kB.
func unreclaimable(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/meminfo")
	testnet.Must(t, err)
	for line := range strings.Lines(string(text)) {
		var kb int
		if _, err := fmt.Sscanf(line, "SUnreclaim: %d kB", &kb); err == nil {
			return kb
		}
	}
	t.Fatal("/proc/meminfo has no SUnreclaim")
	return 0
}

// floodFrames writes frames of sources that do not exist, from first on, and returns
// their file.
func floodFrames(t *testing.T, to, from *testnet.NS, f fam, first netip.Addr, flags testpkt.Flags) string {
	t.Helper()
	far, err := to.MAC("flood")
	testnet.Must(t, err)
	near, err := from.MAC("flood")
	testnet.Must(t, err)
	head := slices.Concat(far, near, []byte{8, 0})
	if f.v6() {
		head = slices.Concat(far, near, []byte{0x86, 0xdd})
	}
	var file []byte
	for i := range uint32(floodSources) {
		a := first.AsSlice()
		low := a[len(a)-4:]
		binary.BigEndian.PutUint32(low, binary.BigEndian.Uint32(low)+i*6+1)
		addr, _ := netip.AddrFromSlice(a)
		p := testpkt.Packet{
			Src: netip.AddrPortFrom(addr, uint16(1024+i%60000)), Dst: netip.AddrPortFrom(f.vip, 80),
			Proto: testpkt.TCP, TTL: 64, DF: !f.v6(), Flags: flags, Seq: i * 0x9e3779b1, Window: 65000,
		}
		if flags == testpkt.SYN {
			p.Options = testpkt.Options(synOptions(f)...)
		} else {
			p.Ack = ^p.Seq * 0x85ebca6b
		}
		frame := slices.Concat(head, p.Encode())
		file = append(binary.BigEndian.AppendUint16(file, uint16(len(frame))), frame...)
	}
	name := filepath.Join(t.TempDir(), "frames")
	testnet.Must(t, os.WriteFile(name, file, 0o600))
	return name
}
