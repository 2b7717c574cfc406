// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testpkt"
	"github.com/lvs-fnat/lvs/internal/testvm"
	"github.com/lvs-fnat/lvs/ipvs"
)

const (
	// fewConns is what the table holds in one measurement, and in the other, with
	// which loadBudget compares it, manyConns, or with `make bench` mostConns.
	fewConns, manyConns, mostConns = 1000, 100000, 1000000
	loadEnv                        = "LVS_LOAD" // tells the guest how many
	// connsPerClient and connsPerLip are ports used of one address.
	connsPerClient, connsPerLip = 50000, 30000
)

// TestGuestsLoad: what a packet costs does not depend on how many connections there
// are, as long as the table is sized for them. A guest of its own, for modules that
// are loaded with other sizes; nothing else is measured in it.
func TestGuestsLoad(t *testing.T) {
	t.Parallel()
	flood, conns, memory := buildFlood(t), manyConns, 0
	if os.Getenv("LVS_BENCH") != "" {
		conns, memory = mostConns, 2560
	}
	for _, kernel := range testvm.Kernels() {
		t.Run(kernel, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			c := countConfig(kernel, flood)
			c.Run, c.Memory, c.Output, c.Env = "^TestLoad", memory, &out, []string{loadEnv + "=" + strconv.Itoa(conns)}
			testvm.Run(t, c)
			got := table{}
			if err := got.collect(kernel, &out); err != nil {
				t.Fatal(err)
			}
			for _, r := range got.rows() {
				fmt.Printf("%s\t%s\t%d %s\n", r.kernel, r.what, got[r].n, got[r].unit)
			}
			if len(got) != 8 {
				t.Errorf("%d numbers, want 8", len(got))
			}
			for _, complaint := range got.overLoad(conns) {
				t.Error(complaint)
			}
		})
	}
}

// TestLoad counts packets of connections that are a few of very many.
func TestLoad(t *testing.T) {
	testnet.Must(t, softirqFirst())
	countLoad(t)
}

// countLoad counts with few connections and with many, in a table sized for them.
func countLoad(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv(loadEnv))
	testnet.Must(t, err)
	for _, conns := range []int{fewConns, n} {
		size := bits.Len(uint(conns - 1))
		testnet.Must(t, testvm.Modprobe("ip_vs", "conn_tab_bits="+strconv.Itoa(size)))
		for _, p := range []path{{"nat", 0}, {"fnat", ipvs.ExtFNAT}} {
			t.Run(fmt.Sprintf("%s_%d", p.name, conns), func(t *testing.T) { countLoaded(t, p, conns) })
		}
		testnet.Must(t, unloadIPVS())
	}
}

// countLoaded makes connections by one datagram each, and counts the packets of
// those of the first client.
func countLoaded(t *testing.T, p path, conns int) {
	b := newBed(t, net4)
	defer b.close(t)
	b.serve(t, ipvs.UDP, p.ext)
	lip := b.lip
	for left := conns - connsPerLip; left > 0 && p.ext != 0; left -= connsPerLip {
		lip = lip.Next()
		testnet.Must(t, b.d.AddAddr("back", netip.PrefixFrom(lip, 32)), b.x.Apply(t.Context(),
			ipvs.Op{Kind: ipvs.AddLaddr, LGroup: ipvs.LGroup{Name: "g", Family: ipvs.IPv4}, Laddr: ipvs.Laddr{Addr: lip}}))
	}
	f := newFlows(b, kinds[0], p, manyPorts, min(conns, many))
	client := f.client
	for made := 0; made < conns; made += connsPerClient {
		b.open(t, client, min(connsPerClient, conns-made))
		client = client.Next()
		t.Logf("%d connections at most", made+connsPerClient) // a million take minutes: who waits sees that it goes on
	}
	report := func(what string, per float64) {
		report(fmt.Sprintf("%s udp %s of %d", p.name, what, conns), per, "instructions")
	}
	report("request", f.request(t, segment, rounds))
	if p.ext != 0 {
		f.lports = map[uint16]netip.AddrPort{}
		for c, err := range f.x.Conns(t.Context(), ipvs.ConnFilter{Client: netip.PrefixFrom(f.client, 32)}) {
			testnet.Must(t, err)
			f.lports[c.Client.Port()] = c.Local
		}
	}
	report("reply", f.reply(t, segment, rounds))
	svc, err := b.x.Services(t.Context())
	testnet.Must(t, err)
	if len(svc) != 1 {
		t.Fatalf("%d services", len(svc))
	}
	made := 0
	dests, err := b.x.Dests(t.Context(), svc[0].ServiceKey)
	testnet.Must(t, err)
	for _, d := range dests {
		made += int(d.ActiveConns) + int(d.InactConns)
	}
	if made != conns {
		t.Errorf("the table holds %d connections, want %d", made, conns)
	}
}

// open sends a datagram from each of n ports of client.
func (b *bed) open(t *testing.T, client netip.Addr, n int) {
	t.Helper()
	var file []byte
	frame := b.frame("front", testpkt.Datagram(netip.AddrPortFrom(client, manyPorts), netip.AddrPortFrom(b.vip, vport), "eighteen bytes, 18"))
	const sport, sum = 14 + 20, 14 + 20 + 6
	binary.BigEndian.PutUint16(frame[sum:], 0) // none, so that one frame serves for all ports
	for i := range n {
		binary.BigEndian.PutUint16(frame[sport:], uint16(manyPorts+i))
		file = append(binary.BigEndian.AppendUint16(file, uint16(len(frame))), frame...)
	}
	name := filepath.Join(t.TempDir(), "frames")
	testnet.Must(t, os.WriteFile(name, file, 0o600))
	b.send(t, "front", toServer, name, n, 1)
}

// loadBudget is by what factor a packet may cost more when the table is full.
const loadBudget = 1.1

// overLoad says which packets cost too much with so many connections.
func (tab table) overLoad(conns int) []string {
	var bad []string
	for _, r := range tab.rows() {
		what, found := strings.CutSuffix(r.what, fmt.Sprintf(" of %d", conns))
		few := tab[row{r.kernel, fmt.Sprintf("%s of %d", what, fewConns)}]
		if found && float64(tab[r].n) > loadBudget*float64(few.n) {
			bad = append(bad, fmt.Sprintf("%s, %s: %d %s, with %d connections %d: the promise is a factor of %.1f",
				r.kernel, r.what, tab[r].n, tab[r].unit, fewConns, few.n, loadBudget))
		}
	}
	return bad
}

// TestHostLoad: a number that grows with the table is noticed.
func TestHostLoad(t *testing.T) {
	tab := table{{"6.1", "nat udp request of 1000"}: {8000, "instructions"}, {"6.1", "nat udp request of 100000"}: {8800, "instructions"}}
	if bad := tab.overLoad(manyConns); bad != nil {
		t.Errorf("a tenth more is complained about: %q", bad)
	}
	tab[row{"6.1", "nat udp request of 100000"}] = number{8801, "instructions"}
	if bad := tab.overLoad(manyConns); len(bad) != 1 || !strings.HasPrefix(bad[0], "6.1, nat udp request of 100000: 8801") {
		t.Errorf("more than a tenth: complaints %q", bad)
	}
}
