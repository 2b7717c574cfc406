// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/lvs-fnat/lvs/internal/testnet"
)

// explanation is what the test reads of --explain --json.
type explanation struct {
	Explanation struct {
		Verdict, Certainty, Because string
		Server                      *struct {
			Address string
			Port    uint16
		} `json:"real_server"`
		Servers []struct {
			Address string
			Share   float64
		} `json:"real_servers"`
	}
}

// TestIpvsadmExplain compares what --explain says with what the kernel then does,
// for each scheduler; for those that hash, with clients of both families.
func TestIpvsadmExplain(t *testing.T) {
	ns, err := testnet.Open("explain")
	testnet.Must(t, err)
	t.Cleanup(func() { testnet.Must(t, ns.Close()) })
	const clients, servers = 4, 5
	for _, f := range []string{"192.0.2.%d/32", "2001:db8:9::%d/128"} {
		for i := range clients + servers + 1 {
			testnet.Must(t, ns.AddAddr("lo", netip.MustParsePrefix(fmt.Sprintf(f, i+1))))
		}
	}
	adm := func(t *testing.T, stdin, line string) string {
		t.Helper()
		o, err := runIpvsadm(t.Context(), ns.Start, "ipvsadm", stdin, strings.Fields(line))
		testnet.Must(t, err)
		if o.code != 0 && !strings.HasPrefix(line, "--explain") || o.stderr != "" {
			t.Fatalf("ipvsadm %s: %v", line, o)
		}
		return o.out
	}
	port := 1000
	for _, tc := range []struct {
		scheduler string
		weights   [servers]int
		certain   bool
	}{
		{"rr", [servers]int{1, 1, 0, 1, 1}, false},
		{"wrr", [servers]int{1, 3, 0, 2, 5}, false},
		{"lc", [servers]int{1, 3, 0, 2, 5}, true},
		{"wlc", [servers]int{1, 3, 0, 2, 5}, true},
		{"sed", [servers]int{1, 3, 0, 2, 5}, true},
		{"nq", [servers]int{1, 3, 0, 2, 5}, true},
		{"fo", [servers]int{1, 3, 0, 9, 5}, true},
		{"ovf", [servers]int{1, 3, 0, 2, 5}, true},
		{"sh", [servers]int{1, 3, 7, 2, 5}, true},
		{"sh -b sh-port", [servers]int{1, 30, 7, 200, 5}, true},
		{"sh -b sh-fallback,sh-port", [servers]int{1, 0, 0, 2, 0}, true},
		{"sh", [servers]int{1, 0, 0, 2, 0}, true}, // refuses some
		{"dh", [servers]int{1, 3, 1, 2, 5}, true},
		{"mh", [servers]int{1, 3, 7, 2, 5}, true},
		{"mh -b mh-port", [servers]int{10, 3000, 70, 20, 50}, true},
		{"mh -b mh-fallback", [servers]int{1, 3, 7, 2, 5}, true},
	} {
		for _, v6 := range []bool{false, true} {
			if v6 && !strings.Contains(tc.scheduler, "h") {
				continue // addresses count for hashes only
			}
			port++
			addr := func(i int) string {
				if v6 {
					return fmt.Sprintf("[2001:db8:9::%d]", i)
				}
				return fmt.Sprintf("192.0.2.%d", i)
			}
			vip := fmt.Sprintf("%s:%d", addr(1), port)
			t.Run(fmt.Sprintf("%s_%v_%s", tc.scheduler, tc.weights, vip), func(t *testing.T) {
				rules := fmt.Sprintf("-A -u %s -s %s\n", vip, tc.scheduler)
				for i, w := range tc.weights {
					rules += fmt.Sprintf("-a -u %s -r %s:%d -m -w %d\n", vip, addr(2+i), 2000+i, w)
				}
				adm(t, rules, "-R")
				for i := range clients {
					client := netip.MustParseAddrPort(fmt.Sprintf("%s:%d", addr(2+servers+i), 40000+i))
					var said explanation
					text := adm(t, "", "--explain --json -u "+vip+" --client "+client.String())
					testnet.Must(t, json.Unmarshal([]byte(text), &said))
					e := said.Explanation
					if (e.Certainty == "certain") != tc.certain {
						t.Errorf("%v is %s", client, text)
					}
					c, err := ns.Dial(t.Context(), &net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(client)}, "udp", vip)
					testnet.Must(t, err)
					c.Write([]byte("x")) // a service that refuses tells the socket so
					testnet.Must(t, c.Close())
					var conns struct {
						Connections []struct {
							Server struct {
								Address string
								Port    uint16
							} `json:"real_server"`
						}
					}
					testnet.Must(t, json.Unmarshal([]byte(adm(t, "", "-L -c --json --protocol udp --vip "+vip+" --client "+client.String())), &conns))
					switch {
					case len(conns.Connections) == 0:
						if e.Verdict != "refused" {
							t.Errorf("%v was refused: %s", client, text)
						}
						continue
					case e.Verdict != "accepted":
						t.Errorf("%v got %v: %s", client, conns.Connections, text)
						continue
					}
					got := conns.Connections[0].Server
					if e.Server != nil && (e.Server.Address != got.Address || e.Server.Port != got.Port) {
						t.Errorf("%v got %v: %s", client, got, text)
					}
					possible := false
					for _, s := range e.Servers {
						possible = possible || s.Address == got.Address && s.Share > 0
					}
					if !possible {
						t.Errorf("%v got %v: %s", client, got, text)
					}
				}
			})
		}
	}
}
