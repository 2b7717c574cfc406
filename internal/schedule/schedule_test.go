// SPDX-License-Identifier: Apache-2.0

package schedule

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/lvs-fnat/lvs/ipvs"
)

// dest makes a real server of its weight, connections and upper threshold.
func dest(n int, weight, active, inactive, upper uint32) ipvs.Dest {
	return ipvs.Dest{
		DestKey: ipvs.DestKey{Family: ipvs.IPv4, Addr: netip.AddrFrom4([4]byte{10, 1, 0, byte(n)}), Port: 8080},
		Weight:  weight, ActiveConns: active, InactConns: inactive, UpperThreshold: upper,
	}
}

func choice(scheduler string, flags ipvs.ServiceFlags, client string, dests ...ipvs.Dest) Choice {
	return Choose(&ipvs.Service{Scheduler: scheduler, Flags: flags}, dests,
		Packet{netip.MustParseAddrPort(client), netip.MustParseAddr("192.0.2.1")})
}

// TestChoose: what the counters and weights decide. What hashes decide is
// compared with kernels in package e2e; a few values keep it so here.
func TestChoose(t *testing.T) {
	const anyone = "198.51.100.7:40000"
	for _, tc := range []struct {
		name      string
		got       Choice
		servers   []int
		certain   bool
		because   string
		shareOf0  float64
		against   int
		againstIs string
	}{
		{"nobody", choice("rr", 0, anyone), nil, true, "the service has no real server", 0, -1, ""},
		{"no scheduler", choice("none", 0, anyone, dest(1, 1, 0, 0, 0)), nil, true, "the service has no scheduler", 0, -1, ""},
		{"all quiet", choice("wlc", 0, anyone, dest(1, 0, 0, 0, 0)), nil, true, "no real server takes new connections", 0, 0, "weight 0, which takes no new connections"},
		{"rr", choice("rr", 0, anyone, dest(1, 5, 0, 0, 0), dest(2, 0, 0, 0, 0), dest(3, 1, 0, 0, 0)), []int{0, 2}, false, "take turns (rr)", 0.5, 1, "weight 0, which takes no new connections"},
		{"wrr", choice("wrr", 0, anyone, dest(1, 3, 0, 0, 0), dest(2, 1, 0, 0, 0)), []int{0, 1}, false, "weights (wrr)", 0.75, -1, ""},
		{"lc counts an active one for 256", choice("lc", 0, anyone, dest(1, 9, 1, 0, 0), dest(2, 1, 0, 255, 0)), []int{1}, true, "the least loaded (lc): 0 active and 255 inactive connections: load 255 (active x 256 + inactive)", 0, 0, "1 active and 0 inactive connections: load 256, more than 255"},
		{"lc takes the first of equals", choice("lc", 0, anyone, dest(1, 1, 2, 0, 0), dest(2, 9, 2, 0, 0)), []int{0}, true, "", 1, -1, ""},
		{"wlc", choice("wlc", 0, anyone, dest(1, 1, 2, 0, 0), dest(2, 3, 5, 0, 0)), []int{1}, true, "5 active and 0 inactive connections, weight 3: load 426.67 (active", 0, 0, "2 active and 0 inactive connections, weight 1: load 512, more than 426.67"},
		{"wlc skips weight 0", choice("wlc", 0, anyone, dest(1, 0, 0, 0, 0), dest(2, 1, 99, 0, 0)), []int{1}, true, "", 0, 0, "weight 0, which takes no new connections"},
		{"wlc, nearly the same", choice("wlc", 0, anyone, dest(1, 30000, 1, 0, 0), dest(2, 29999, 1, 0, 0)), []int{0}, true, "load 0.01 (", 1, 1, "1 active and 0 inactive connections, weight 29999: load 0.008534, more than 0.008533"},
		{"wlc, the same", choice("wlc", 0, anyone, dest(1, 3, 3, 0, 0), dest(2, 1, 1, 0, 0)), []int{0}, true, "load 256 (", 1, 1, "1 active and 0 inactive connections, weight 1: load 256, the same, but it comes later in the table"},
		{"sed counts the new one", choice("sed", 0, anyone, dest(1, 1, 0, 0, 0), dest(2, 3, 1, 0, 0)), []int{1}, true, "1 active connection, weight 3: delay 0.67 (active + 1, divided by the weight)", 0, 0, "0 active connections, weight 1: delay 1, more than 0.67"},
		{"nq takes an idle one", choice("nq", 0, anyone, dest(1, 9, 1, 0, 0), dest(2, 1, 0, 7, 0)), []int{1}, true, "without an active connection (nq)", 0, 0, "1 active connection, and a server without any goes first"},
		{"nq without an idle one is sed", choice("nq", 0, anyone, dest(1, 1, 1, 0, 0), dest(2, 3, 1, 0, 0)), []int{1}, true, "each has active connections (nq), so the shortest expected delay (sed): 1 active connection, weight 3: delay 0.67", 0, -1, ""},
		{"fo", choice("fo", 0, anyone, dest(1, 1, 0, 0, 0), dest(2, 9, 99, 0, 0), dest(3, 9, 0, 0, 0)), []int{1}, true, "highest weight, 9", 0, 2, "weight 9, the same, but it comes later in the table"},
		{"ovf", choice("ovf", 0, anyone, dest(1, 1, 1, 0, 0), dest(2, 9, 10, 0, 0), dest(3, 2, 2, 0, 0)), []int{2}, true, "overflow", 0, 1, "10 active connections, more than its weight 9"},
		{"ovf full", choice("ovf", 0, anyone, dest(1, 1, 2, 0, 0)), nil, true, "more active connections", 0, 0, "2 active connections, more than its weight 1"},
		{"full", choice("fo", 0, anyone, dest(1, 9, 5, 5, 10), dest(2, 1, 0, 0, 0)), []int{1}, true, "", 0, 0, "full: 10 connections, upper threshold 10"},
		{"perhaps full", choice("fo", 0, anyone, dest(1, 9, 5, 3, 10), dest(2, 1, 0, 0, 0)), []int{0, 1}, false,
			"10.1.0.1:8080 has 8 connections: if it has had 10, the upper threshold, it takes none until there are fewer than 8, three quarters of that; " +
				"if it takes this one: failover (fo): the highest weight, 9; if not: failover (fo): the highest weight, 1", 0.5, -1, ""},
		{"perhaps full, but not the one", choice("fo", 0, anyone, dest(1, 9, 0, 0, 0), dest(2, 1, 5, 3, 10)), []int{0}, true, "", 1, -1, ""},
		{"alone and perhaps full", choice("fo", 0, anyone, dest(1, 9, 5, 3, 10)), []int{0}, false, "", 1, -1, ""},
		{"below the lower threshold", choice("fo", 0, anyone, dest(1, 9, 5, 2, 10)), []int{0}, true, "", 1, -1, ""},
		{"nobody knows", choice("twos", 0, anyone, dest(1, 1, 0, 0, 0), dest(2, 1, 0, 0, 0)), []int{0, 1}, false, "do not tell how twos", 0.5, -1, ""},
		{"sh", choice("sh", 0, anyone, dest(1, 1, 0, 0, 0), dest(2, 1, 0, 0, 0), dest(3, 1, 0, 0, 0)), []int{shHome}, true, "the hash of the client's address (sh) is this server's", -1, 1, "the hash of the client's address (sh) is another server's"},
		{"sh without fallback", choice("sh", 0, anyone, without(shHome)...), nil, true, "the hash of the client's address (sh) is that of 10.1.0.1:8080, which takes no new connections, and the service does not fall back on others (sh-fallback)", 0, shHome, "weight 0, which takes no new connections"},
		{"dh does not fall back", choice("dh", 0, anyone, dest(1, 0, 0, 0, 0)), nil, true, "no real server takes new connections", 0, -1, ""},
		{"mh", choice("mh", 0, anyone, dest(1, 1, 0, 0, 0), dest(2, 1, 0, 0, 0), dest(3, 1, 0, 0, 0)), []int{mhHome}, true, "the hash of the client's address (mh)", -1, -1, ""},
		{"mh with a quiet one", choice("mh", ipvs.FlagSched1, anyone, without(mhHome)...), []int{mhNext}, false, "this one is next by the hash (mh-fallback); 10.1.0.", -1, -1, ""},
	} {
		c := tc.got
		if !slices.Equal(c.Servers, tc.servers) || c.Certain != tc.certain || !strings.Contains(c.Because, tc.because) {
			t.Errorf("%s: %+v", tc.name, c)
			continue
		}
		if tc.shareOf0 > 0 && math.Abs(c.Shares[0]-tc.shareOf0) > 1e-9 {
			t.Errorf("%s: shares %v, want %v first", tc.name, c.Shares, tc.shareOf0)
		}
		if tc.against >= 0 && c.Against[tc.against] != tc.againstIs {
			t.Errorf("%s: against %d: %q, want %q", tc.name, tc.against, c.Against[tc.against], tc.againstIs)
		}
		for i, why := range c.Against {
			if (why == "") != slices.Contains(c.Servers, i) {
				t.Errorf("%s: against %d: %q", tc.name, i, why)
			}
		}
	}
}

// Indexes of three servers of weight 1 that kernels chose.
const shHome, mhHome, mhNext = 0, 1, 0

func without(n int) []ipvs.Dest {
	dests := []ipvs.Dest{dest(1, 1, 0, 0, 0), dest(2, 1, 0, 0, 0), dest(3, 1, 0, 0, 0)}
	dests[n].Weight = 0
	return dests
}

// TestMaglevIsFair: weights are what shares of the table are.
func TestMaglevIsFair(t *testing.T) {
	dests := []ipvs.Dest{dest(1, 1, 0, 0, 0), dest(2, 3, 0, 0, 0), dest(3, 4, 0, 0, 0)}
	count := map[int]int{}
	for _, i := range maglevTable(dests) {
		count[i]++
	}
	for i, want := range []float64{1. / 8, 3. / 8, 4. / 8} {
		if got := float64(count[i]) / mhSize; math.Abs(got-want) > 0.01 {
			t.Errorf("server %d has %.3f of the table, want %.3f", i, got, want)
		}
	}
}

// TestLaddrOf: values that the module chose.
func TestLaddrOf(t *testing.T) {
	got := ""
	for _, a := range []string{"198.51.100.7", "198.51.100.8", "2001:db8::7", "2001:db8::8"} {
		got += fmt.Sprint(LaddrOf(netip.MustParseAddr(a), 10))
	}
	if want := "6517"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
