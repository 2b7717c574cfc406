// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// large is a file of n virtual servers with two real servers each, 35 lines a server.
func large(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "virtual_server 10.%d.%d.%d 80 {\n    delay_loop 7\n    lb_algo wrr\n    lb_kind FNAT\n    protocol TCP\n    laddr_group_name g1\n    alpha\n    quorum 1\n\n", i>>16, i>>8&255, i&255)
		for r := range 2 {
			fmt.Fprintf(&b, "    real_server 172.16.%d.%d 8080 {\n        weight 100\n        inhibit_on_failure\n        TCP_CHECK {\n            connect_timeout 3\n            retry 2 ! as before\n            delay_before_retry 1\n            connect_port 8080\n        }\n    }\n\n", i>>8&255, r)
		}
		b.WriteString("}\n\n")
	}
	return b.String()
}

// BenchmarkParse reads 10,000 virtual servers. Allocations per server is the
// number that decides how long a reload stops everything else.
func BenchmarkParse(b *testing.B) {
	const n = 10_000
	text := large(n)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		tree, faults, err := Parse(context.Background(), "k.conf", text, Options{})
		if err != nil || len(faults) > 0 || len(tree.Nodes) != n {
			b.Fatal(err, faults, len(tree.Nodes))
		}
	}
}

// TestParseAllocations holds what the arenas are for.
func TestParseAllocations(t *testing.T) {
	const n = 1000
	text := large(n)
	perServer := testing.AllocsPerRun(3, func() {
		if _, _, err := Parse(context.Background(), "k.conf", text, Options{}); err != nil {
			t.Fatal(err)
		}
	}) / n
	if perServer > 2 {
		t.Errorf("%.1f allocations per virtual server, want at most 2", perServer)
	}
}
