// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/ipvs"
)

// TestFNATKernel: the stacks of clients and real servers are the kernel's own.
func TestFNATKernel(t *testing.T) {
	needOurs(t)
	for _, f := range fams {
		t.Run("03_bulk_"+f.name, func(t *testing.T) { caseBulk(t, f) })
	}
	for _, f := range fams {
		name := "14_15_narrow_path_v4"
		if f.v6() {
			name = "16_narrow_path_v6"
		}
		t.Run(name, func(t *testing.T) { caseNarrowPath(t, f) })
	}
}

// bulk is how much goes each way: emulation is slow, so it is not the gigabyte of
// the design page, but a thousand large packets and more.
const bulk = 64 << 20

// caseBulk: GRO and GSO are on, as they are by default; every byte arrives, and
// nobody meets a wrong checksum.
func caseBulk(t *testing.T, f fam) {
	top := testnet.NewTopology(t, testnet.Plan{Neighbours: true})
	fnatTopology(t, top, f, ipvs.ExtTOA)
	all := []*testnet.NS{top.C[0].NS, top.D.NS, top.R[0].NS}
	before := checksumErrors(t, all)
	up, down := transfer(t, top.C[0].NS, top.R[0].NS, f, bulk)
	t.Logf("MSS of the client %d, of the real server %d", up.mss, down.mss)
	if after := checksumErrors(t, all); after != before {
		t.Errorf("checksum errors went from %s to %s", before, after)
	}
	nothingLost(t, up.retransmitted+down.retransmitted, top.C[0].NS, top.R[0].NS)
}

// nothingLost fails t unless both ends of a transfer had, of all segments that were sent
// again, the first copy already. A sender that waits too long for an answer, for want
// of a processor or because time jumped, asks by sending again (RFC 8985, RFC 6298);
// the other end tells it that the segment is a duplicate (RFC 2883). Two copies of one
// that come at once are told once, so what the other end has seen counts, too; that
// counts packets, of which one may be several segments.
func nothingLost(t *testing.T, again uint32, ends ...*testnet.NS) {
	t.Helper()
	testnet.Eventually(t, 10*time.Second, func() error {
		told, seen := netstat(t, "TCPDSACKRecvSegs", ends...), netstat(t, "TCPDSACKOldSent", ends...)+netstat(t, "TCPDSACKOfoSent", ends...)
		twice, syns := max(told, seen), netstat(t, "TCPSynRetrans", ends...)
		if uint64(again) > twice+syns {
			return fmt.Errorf("%d segments were sent again on a path that loses nothing, %d of them had arrived before, %d are of handshakes", again, twice, syns)
		}
		return nil
	})
}

// netstat sums a counter of /proc/net/netstat of all machines.
func netstat(t *testing.T, counter string, all ...*testnet.NS) (n uint64) {
	t.Helper()
	for _, ns := range all {
		testnet.Must(t, ns.Do(func() error {
			text, err := os.ReadFile("/proc/thread-self/net/netstat")
			for l := range strings.Lines(string(text)) {
				if c := columnOf(string(text), l, counter); c != "" {
					_, value, _ := strings.Cut(c, "=")
					v, perr := strconv.ParseUint(value, 10, 64)
					n, err = n+v, errors.Join(err, perr)
				}
			}
			return err
		}))
	}
	return n
}

// checksumErrors are the counters of wrong checksums of every protocol and machine.
func checksumErrors(t *testing.T, all []*testnet.NS) string {
	t.Helper()
	var out []string
	for _, n := range all {
		testnet.Must(t, n.Do(func() error {
			snmp, err := os.ReadFile("/proc/thread-self/net/snmp")
			snmp6, err6 := os.ReadFile("/proc/thread-self/net/snmp6")
			for l := range strings.Lines(string(snmp)) {
				if c := columnOf(string(snmp), l, "InCsumErrors"); c != "" {
					out = append(out, n.Name+" "+c)
				}
			}
			for l := range strings.Lines(string(snmp6)) {
				if strings.Contains(l, "Csum") {
					out = append(out, n.Name+" "+strings.Join(strings.Fields(l), "="))
				}
			}
			return errors.Join(err, err6)
		}))
	}
	return strings.Join(out, ", ")
}

// columnOf returns "Proto name=value" for a line of values of /proc/net/snmp.
func columnOf(all, line, name string) string {
	values := strings.Fields(line)
	if len(values) < 2 {
		return ""
	}
	if _, err := strconv.ParseInt(values[1], 10, 64); err != nil {
		return ""
	}
	for l := range strings.Lines(all) {
		heads := strings.Fields(l)
		if len(heads) != len(values) || heads[0] != values[0] || heads[1] == values[1] {
			continue
		}
		for i, h := range heads {
			if h == name {
				return values[0] + name + "=" + values[i]
			}
		}
	}
	return ""
}

// ending is what TCP_INFO says of one end when all is through.
type ending struct{ mss, retransmitted, pmtu uint32 }

func endOf(c net.Conn) (ending, error) {
	info, err := tcpInfo(c)
	if err != nil {
		return ending{}, err
	}
	return ending{mss: info.Snd_mss, retransmitted: info.Total_retrans, pmtu: info.Pmtu}, nil
}

func tcpInfo(c net.Conn) (*unix.TCPInfo, error) {
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		return nil, err
	}
	var info *unix.TCPInfo
	if cerr := raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }); cerr != nil {
		return nil, cerr
	}
	return info, err
}

// acknowledged waits until all that was written to c is.
func acknowledged(t *testing.T, c net.Conn) {
	t.Helper()
	testnet.Eventually(t, 10*time.Second, func() error {
		info, err := tcpInfo(c)
		if err == nil && info.Unacked != 0 {
			err = fmt.Errorf("%d segments are not acknowledged", info.Unacked)
		}
		return err
	})
}

// stream writes n bytes that depend on their place and returns their checksum.
func stream(w io.Writer, seed byte, n int) (uint32, error) {
	block := make([]byte, 64<<10)
	sum := crc32.NewIEEE()
	for sent := 0; sent < n; {
		for i := range block {
			block[i] = seed + byte(i) + byte(i>>8) + byte(sent>>16)
		}
		b := block[:min(len(block), n-sent)]
		sum.Write(b)
		m, err := w.Write(b)
		if err != nil {
			return 0, fmt.Errorf("after %d bytes: %w", sent+m, err)
		}
		sent += m
	}
	return sum.Sum32(), nil
}

// transfer sends n bytes to the service and n back, one after the other, and fails
// t unless all arrive as they were. It returns how both ends' stacks fared.
func transfer(t *testing.T, client, server *testnet.NS, f fam, n int) (up, down ending) {
	t.Helper()
	l, err := server.Listen(t.Context(), "tcp", netip.AddrPortFrom(f.rip[0], rport).String())
	testnet.Must(t, err)
	defer l.Close()
	type result struct {
		sum uint32
		end ending
		err error
	}
	served := make(chan result, 2)
	go func() {
		c, err := l.Accept()
		if err != nil {
			served <- result{err: err}
			return
		}
		defer c.Close()
		sum := crc32.NewIEEE()
		_, err = io.CopyN(sum, c, int64(n))
		served <- result{sum: sum.Sum32(), err: err}
		sent, werr := stream(c, 77, n)
		_, rerr := io.ReadFull(c, make([]byte, 1)) // the client has it all
		end, ierr := endOf(c)
		served <- result{sent, end, errors.Join(werr, rerr, ierr)}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := client.DialContext(ctx, "tcp", netip.AddrPortFrom(f.vip, 80).String())
	testnet.Must(t, err)
	defer c.Close()
	testnet.Must(t, c.SetDeadline(time.Now().Add(5*time.Minute)))
	sent, err := stream(c, 5, n)
	testnet.Must(t, err)
	got := <-served
	testnet.Must(t, got.err)
	if got.sum != sent {
		t.Errorf("%d bytes to the real server: checksum %#x, want %#x", n, got.sum, sent)
	}
	back := crc32.NewIEEE()
	_, err = io.CopyN(back, c, int64(n))
	testnet.Must(t, err)
	_, err = c.Write([]byte{0})
	testnet.Must(t, err)
	reply := <-served
	testnet.Must(t, reply.err)
	if back.Sum32() != reply.sum {
		t.Errorf("%d bytes to the client: checksum %#x, want %#x", n, back.Sum32(), reply.sum)
	}
	up, err = endOf(c)
	testnet.Must(t, err)
	return up, reply.end
}

// caseNarrowPath: routers with a narrow link between them on both sides of the
// director. Neither end knows before; both are told, through the director.
//
//	c ══ n1 ── n2 ══ d ══ n3 ── n4 ══ r     ══ 1500   ── 1300
func caseNarrowPath(t *testing.T, f fam) {
	const narrow = 1300
	var ns []*testnet.NS
	names := []string{"c", "n1", "n2", "d", "n3", "n4", "r"}
	for _, name := range names {
		ns = append(ns, testnet.New(t, "path-"+name))
	}
	// Link i joins ns[i] and ns[i+1]; the ends are called right and left.
	addr := func(link, end int) netip.Addr {
		if f.v6() {
			return netip.MustParseAddr(fmt.Sprintf("2001:db8:%x::%x", 0x100+link, 1+end))
		}
		return netip.MustParseAddr(fmt.Sprintf("10.10.%d.%d", link, 1+end))
	}
	bits, any := 24, netip.MustParsePrefix("0.0.0.0/0")
	if f.v6() {
		bits, any = 64, netip.MustParsePrefix("::/0")
	}
	for i := range len(ns) - 1 {
		testnet.Must(t, testnet.Veth(ns[i], "right", ns[i+1], "left"),
			ns[i].AddAddr("right", netip.PrefixFrom(addr(i, 0), bits)), ns[i+1].AddAddr("left", netip.PrefixFrom(addr(i, 1), bits)))
		if i == 1 || i == 4 {
			testnet.Must(t, ns[i].MTU("right", narrow), ns[i+1].MTU("left", narrow))
		}
	}
	for i, n := range ns {
		if names[i][0] == 'n' {
			testnet.Must(t, n.Sysctl("net.ipv4.ip_forward", "1"), n.Sysctl("net.ipv6.conf.all.forwarding", "1"))
		}
	}
	// Towards the director from either side, and from it to both ends.
	for i := range 3 {
		testnet.Must(t, ns[i].AddRoute(any, addr(i, 1)))
		testnet.Must(t, ns[6-i].AddRoute(any, addr(5-i, 0)))
	}
	net := func(link int) netip.Prefix { return netip.PrefixFrom(addr(link, 0), bits).Masked() }
	testnet.Must(t, ns[2].AddRoute(net(0), addr(1, 0)), ns[3].AddRoute(net(0), addr(2, 0)),
		ns[4].AddRoute(net(5), addr(4, 1)), ns[3].AddRoute(net(5), addr(3, 1)))
	// vip and lip are the director's own on these links.
	g := f
	g.vip, g.lip, g.rip = addr(2, 9), []netip.Addr{addr(3, 8)}, []netip.Addr{addr(5, 1)}
	testnet.Must(t, ns[3].AddAddr("left", netip.PrefixFrom(g.vip, g.vip.BitLen())), ns[3].AddAddr("right", netip.PrefixFrom(g.lip[0], g.lip[0].BitLen())))

	x, err := ipvs.Config{NetNS: ns[3].FD()}.Dial(t.Context())
	testnet.Must(t, err)
	defer x.Close()
	_, ops := (&rig{fam: g}).operations(setup{ext: ipvs.ExtTOA})
	testnet.Must(t, x.Apply(t.Context(), ops...))
	before := checksumErrors(t, ns)
	up, down := transfer(t, ns[0], ns[6], g, 300<<10)
	t.Logf("client: MSS %d, path MTU %d; real server: MSS %d, path MTU %d", up.mss, up.pmtu, down.mss, down.pmtu)
	header := uint32(40)
	if f.v6() {
		header = 60
	}
	for name, e := range map[string]ending{"client": up, "real server": down} {
		if e.mss > narrow-header || e.mss < narrow-header-40 {
			t.Errorf("MSS of the %s is %d, want about %d: it was not told of the narrow link", name, e.mss, narrow-header)
		}
		if e.retransmitted == 0 {
			t.Errorf("%s sent nothing again: was the path narrow?", name)
		}
	}
	if after := checksumErrors(t, ns); after != before {
		t.Errorf("checksum errors went from %s to %s", before, after)
	}
}
