// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/ipvs/ipvstest"
)

func TestLargeNumber(t *testing.T) {
	for _, tc := range []struct {
		n            uint64
		short, exact string
	}{
		{0, "        0", "        0"},
		{99_999_999, " 99999999", " 99999999"},
		{100_000_000, "  100000K", " 100000000"},
		{999_999_999, "  999999K", " 999999999"},
		{1_000_000_000, "    1000M", " 1000000000"},
		{99_999_999_999, "   99999M", " 99999999999"},
		{100_000_000_000, "     100G", " 100000000000"},
		{99_999_999_999_999, "   99999G", " 99999999999999"},
		{100_000_000_000_000, "     100T", " 100000000000000"},
		{math.MaxUint64, "18446744T", " 18446744073709551615"},
	} {
		if got := largeNumber(tc.n, false); got != tc.short {
			t.Errorf("%d: got %q, want %q", tc.n, got, tc.short)
		}
		if got := largeNumber(tc.n, true); got != tc.exact {
			t.Errorf("%d exactly: got %q, want %q", tc.n, got, tc.exact)
		}
	}
}

// Distances beyond 2^31 turn round, so 192.168.0.1 stands before 10.0.0.1.
func TestOrder(t *testing.T) {
	var list []ipvs.Service
	add := func(proto ipvs.Protocol, addr string, port uint16, mark uint32) {
		s := ipvs.Service{}
		s.Family, s.Protocol, s.FWMark, s.Port = ipvs.IPv4, proto, mark, port
		if addr != "" {
			s.Addr = netip.MustParseAddr(addr)
			s.Family = ipvs.FamilyOf(s.Addr)
		}
		list = append(list, s)
	}
	add(0, "", 0, 7)
	add(ipvs.TCP, "2001:db8::2", 80, 0)
	add(ipvs.TCP, "2001:db8::1", 80, 0)
	add(ipvs.UDP, "10.0.0.1", 53, 0)
	add(ipvs.TCP, "10.0.0.1", 443, 0)
	add(ipvs.TCP, "10.0.0.1", 80, 0)
	add(ipvs.TCP, "192.168.0.1", 80, 0)
	add(0, "", 0, 3<<30)
	sortServices(list)
	var got []string
	for _, s := range list {
		got = append(got, fmt.Sprintf("%d/%v:%d/%d", s.Protocol, s.Addr, s.Port, s.FWMark))
	}
	want := []string{
		"0/invalid IP:0/3221225472",
		"6/192.168.0.1:80/0", "6/10.0.0.1:80/0", "6/10.0.0.1:443/0", "17/10.0.0.1:53/0",
		"6/2001:db8::1:80/0", "6/2001:db8::2:80/0", "0/invalid IP:0/7",
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// busyKernel has counted something, which a fake table never does.
type busyKernel struct {
	*ipvstest.Table
	service ipvs.Service
	dest    ipvs.Dest
}

func (k busyKernel) Services(context.Context) ([]ipvs.Service, error) {
	return []ipvs.Service{k.service}, nil
}

func (k busyKernel) Dests(context.Context, ipvs.ServiceKey) ([]ipvs.Dest, error) {
	return []ipvs.Dest{k.dest}, nil
}

func (k busyKernel) AppendDests(ctx context.Context, to []ipvs.Dest, key ipvs.ServiceKey, _ bool) ([]ipvs.Dest, error) {
	return append(to, k.dest), nil
}

func TestCountersLines(t *testing.T) {
	key := ipvs.ServiceKey{Family: ipvs.IPv4, Protocol: ipvs.TCP, Addr: netip.MustParseAddr("10.0.0.1"), Port: 80}
	stats := ipvs.Stats{Conns: 1, InPkts: 123456789, OutPkts: 1234567890, InBytes: 3, OutBytes: math.MaxUint64, CPS: 5, InPPS: 123456789, OutPPS: 7, InBPS: 123456789, OutBPS: 9}
	k := busyKernel{
		ipvstest.New(), ipvs.Service{ServiceKey: key, Scheduler: "rr", Stats: stats},
		ipvs.Dest{DestKey: ipvs.DestKey{Family: ipvs.IPv4, Addr: netip.MustParseAddr("10.1.0.1"), Port: 80}, Stats: stats, ActiveConns: 12345678901 & math.MaxUint32},
	}
	a, _, out := newTestApp(t, k, "")
	for _, args := range []string{"-Ln --stats", "-Ln --rate", "-Ln --stats -X"} {
		if code := a.run(context.Background(), append([]string{"ipvsadm"}, strings.Fields(args)...)); code != 0 {
			t.Fatalf("%s: exit code %d", args, code)
		}
	}
	for _, want := range []string{
		"TCP  10.0.0.1:80                         1  123456K    1234M        318446744T\n",
		"  -> 10.1.0.1:80                         1  123456K    1234M        318446744T\n",
		"TCP  10.0.0.1:80                         5  123456K        7  123456K        9\n",
		"  -> 10.1.0.1:80                         5 123456789        7  123456K        9\n",
		"TCP  10.0.0.1:80                         1 123456789 1234567890        3 18446744073709551615\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no line\n%sin\n%s", want, out)
		}
	}
}

// newTestApp is the program on k, with standard input.
func newTestApp(t testing.TB, k kernel, stdin string) (a *app, stderr, stdout *bytes.Buffer) {
	t.Helper()
	stderr, stdout = new(bytes.Buffer), new(bytes.Buffer)
	a = testApp(k, t.TempDir(), strings.NewReader(stdin), stdout, stderr)
	a.stdout = bufio.NewWriter(stdout)
	return a, stderr, stdout
}

// The words of addresses are compared as signed distances: what is more than
// 2^31 away comes first.
func TestOrderOfServers(t *testing.T) {
	var list []ipvs.Dest
	for _, a := range []string{"2001:db8::9", "2001:db8::f000:1", "2001:db8::5", "192.168.0.1", "10.0.0.1"} {
		list = append(list, ipvs.Dest{DestKey: ipvs.DestKey{Addr: netip.MustParseAddr(a), Port: 80}})
	}
	sortDests(list, nil)
	var got []string
	for _, d := range list {
		got = append(got, d.Addr.String())
	}
	if want := "192.168.0.1 10.0.0.1 2001:db8::f000:1 2001:db8::5 2001:db8::9"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

// TestSortIsTheMergeSort: by indexes or not, the order is the same.
func TestSortIsTheMergeSort(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for n := range 40 {
		var list []ipvs.Service
		for i := range n {
			key := ipvs.ServiceKey{Family: ipvs.IPv4, Protocol: ipvs.TCP, Port: uint16(random.IntN(3)), Addr: netip.AddrFrom4([4]byte{byte(random.IntN(256)), 0, 0, byte(random.IntN(2))})}
			list = append(list, ipvs.Service{ServiceKey: key, Timeout: time.Duration(i)})
		}
		want := slices.Clone(list)
		mergeSort(want, make([]ipvs.Service, n), compareServices)
		sortServices(list)
		if !slices.Equal(list, want) {
			t.Fatalf("%d services: got %v, want %v", n, list, want)
		}
	}
}

// Counters of servers beyond 32 bits are told as they are.
func TestLargeCounters(t *testing.T) {
	key := ipvs.ServiceKey{Family: ipvs.IPv4, Protocol: ipvs.TCP, Addr: netip.MustParseAddr("10.0.0.1"), Port: 80}
	const n = 1<<32 + 7
	k := busyKernel{
		ipvstest.New(), ipvs.Service{ServiceKey: key, Scheduler: "rr"},
		ipvs.Dest{DestKey: ipvs.DestKey{Family: ipvs.IPv4, Addr: netip.MustParseAddr("10.1.0.1"), Port: 80},
			Stats: ipvs.Stats{Conns: n, InPkts: n, OutPkts: n, InBytes: n, OutBytes: n, CPS: n, InPPS: n, OutPPS: n, InBPS: n, OutBPS: n}},
	}
	for args, want := range map[string]string{
		"-Ln --stats -X": "  -> 10.1.0.1:80                  4294967303 4294967303 4294967303 4294967303 4294967303\n",
		"-Ln --rate -X":  "  -> 10.1.0.1:80                  4294967303 4294967303 4294967303 4294967303 4294967303\n",
	} {
		a, stderr, out := newTestApp(t, k, "")
		if code := a.run(t.Context(), append([]string{"ipvsadm"}, strings.Fields(args)...)); code != 0 || !strings.Contains(out.String(), want) {
			t.Errorf("%s: %d, %s, no line\n%sin\n%s", args, code, stderr, want, out)
		}
	}
}
