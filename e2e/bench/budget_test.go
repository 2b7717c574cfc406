// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"strings"
	"testing"
)

// What the module promises, in numbers of one run.
const (
	// natTolerance is what plain NAT may cost more on our module than on the
	// distribution's: nothing, as far as two builds can be told apart.
	natTolerance = 0.005
	// fnatBudget is what FNAT may cost more than the distribution's NAT, in
	// instructions per packet, and openBudget for the first packet of a connection:
	// only there a local port and a sequence are chosen and options taken out.
	fnatBudget = 400
	openBudget = 2100
	// deltaBudget is what a packet may cost more whose sequence and acknowledgement
	// both change, behind a SYN proxy.
	deltaBudget = 600
	// Behind a SYN proxy, as shares of what the director does for a SYN that makes a
	// connection with the distribution's NAT, without the bed: a SYN answered with a
	// cookie, an ACK without one dropped, an ACK with one that makes a connection and
	// a SYN to the real server.
	cookieShare, badAckShare, handshakeShare = 0.6, 0.5, 1.5
	// connBytes is the memory of an FNAT connection.
	connBytes = 384
)

// overBudget says which promises are broken.
func (tab table) overBudget() []string {
	var bad []string
	complain := func(r row, limit float64, promise string) {
		if n := tab[r]; float64(n.n) > limit+1e-6 {
			bad = append(bad, fmt.Sprintf("%s, %s: %d %s, the promise is at most %.0f: %s", r.kernel, r.what, n.n, n.unit, limit, promise))
		}
	}
	for _, r := range tab.rows() {
		path, kind, _ := strings.Cut(r.what, " ")
		proto, _, _ := strings.Cut(kind, " ")
		stock := float64(tab[row{r.kernel, "stock " + kind}].n)
		shares := map[string]float64{"new": cookieShare, "bad-ack": badAckShare, "handshake": handshakeShare}
		switch {
		case path == "synproxy" && (what(kind) == "request" || what(kind) == "reply"):
			complain(r, stock+deltaBudget, "the distribution's NAT + 600")
		case path == "synproxy" && shares[what(kind)] != 0:
			bed := float64(tab[row{r.kernel, "forward " + proto + " elsewhere 4000"}].n)
			syn := float64(tab[row{r.kernel, "stock " + proto + " new 4000"}].n)
			complain(r, bed+shares[what(kind)]*(syn-bed), fmt.Sprintf("%.2f of a SYN with the distribution's NAT, without the bed", shares[what(kind)]))
		case path == "nat" && stock != 0:
			complain(r, stock*(1+natTolerance), "the distribution's NAT + 0.5 %")
		case path == "fnat" && kind == "connection size":
			complain(r, connBytes, "six cache lines")
		case path == "fnat" && strings.Contains(kind, " new "):
			complain(r, stock+openBudget, "the distribution's NAT + 2100")
		case path == "fnat" && stock != 0 && tab[r].unit == "instructions":
			complain(r, stock+fnatBudget, "the distribution's NAT + 400")
		}
	}
	return bad
}

// what is the packet in "tcp new 4000".
func what(kind string) string {
	if f := strings.Fields(kind); len(f) == 3 {
		return f[1]
	}
	return ""
}

// TestHostBudget: each broken promise is noticed, and kept ones are not.
func TestHostBudget(t *testing.T) {
	const kind = " tcp request 4000"
	kept := table{
		{"6.1", "stock" + kind}: {8000, "instructions"}, {"6.1", "nat" + kind}: {8040, "instructions"},
		{"6.1", "fnat" + kind}:        {8400, "instructions"},
		{"6.1", "stock tcp new 4000"}: {9000, "instructions"}, {"6.1", "fnat tcp new 4000"}: {11100, "instructions"},
		{"6.1", "synproxy" + kind}:            {8600, "instructions"},
		{"6.1", "forward tcp elsewhere 4000"}: {4000, "instructions"}, {"6.1", "synproxy tcp new 4000"}: {7000, "instructions"},
		{"6.1", "synproxy tcp bad-ack 4000"}: {6500, "instructions"}, {"6.1", "synproxy tcp handshake 4000"}: {11500, "instructions"},
		{"6.1", "stock tcp6 new 4000"}: {10000, "instructions"}, {"6.1", "forward tcp6 elsewhere 4000"}: {4000, "instructions"},
		{"6.1", "synproxy tcp6 new 4000"}:  {7600, "instructions"},
		{"6.1", "stock tcp6 request 4000"}: {8000, "instructions"}, {"6.1", "synproxy tcp6 request 4000"}: {8600, "instructions"},
		{"6.1", "stock connection size"}: {320, "bytes"}, {"6.1", "fnat connection size"}: {384, "bytes"},
	}
	if bad := kept.overBudget(); bad != nil {
		t.Errorf("kept promises are complained about: %q", bad)
	}
	for r := range kept {
		if strings.HasPrefix(r.what, "stock") || strings.HasPrefix(r.what, "forward") {
			continue
		}
		broken := table{}
		for k, v := range kept {
			broken[k] = v
		}
		broken[r] = number{kept[r].n + 1, kept[r].unit}
		if bad := broken.overBudget(); len(bad) != 1 || !strings.HasPrefix(bad[0], "6.1, "+r.what+": ") {
			t.Errorf("%s one more: complaints %q", r.what, bad)
		}
	}
}
