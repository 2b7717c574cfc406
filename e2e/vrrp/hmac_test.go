// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/internal/testnet"
)

// sealed is a node's instance with auth_hmac; the first key is in a file.
func (n *node) sealed(v vi, active int, words string) string {
	n.t.Helper()
	file := n.path("key")
	testnet.Must(n.t, os.WriteFile(file, []byte(strings.Repeat("k", 32)+"\n"), 0o600))
	v.more += fmt.Sprintf("\n auth_hmac {\n key 1 file:%s\n key 2 hex:%s\n active_key %d\n %s\n }", file, strings.Repeat("a1", 40), active, words)
	return v.conf()
}

// TestAuthHMAC: routers with the same keys hear each other, over both families and
// versions; what is replayed changes nothing; the active key can be changed one
// node after the other; a key that the other does not have is not believed.
func TestAuthHMAC(t *testing.T) {
	for name, v := range map[string]vi{
		"v2":     {},
		"v3":     {version: 3},
		"v3 ip6": {version: 3, vips: []string{"fe80::50:99", "2001:db8:50::99"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, ours, ours)
			conf := func(node, active int, words string) string {
				v := v
				v.prio = 150 - 50*node
				return b.nodes[node].sealed(v, active, words)
			}
			address := vip
			if v.vips != nil {
				address = v.vips[1]
			}
			began := time.Now()
			b.nodes[0].start(conf(0, 1, "time_window 60"))
			b.await("node 0 is master", func(f []frame) bool { return masterSince(f, 0, began) })
			b.nodes[1].start(conf(1, 1, "time_window 60"))
			b.nodes[1].until("Entering BACKUP STATE", 1)
			b.quiet(0, 6)
			b.holds(address, 0)
			// Each packet comes once more, later.
			b.set(func(int, int, *frame) []time.Duration { return []time.Duration{0, 700 * time.Millisecond} })
			b.nodes[1].until("replayed", 3)
			b.set(nil)
			b.nodes[0].reload(conf(0, 2, "mode permissive\n time_window 60"))
			b.nodes[1].reload(conf(1, 2, "time_window 60"))
			b.quiet(0, 4)
			b.holds(address, 0)
			if n := b.nodes[1].said("Entering MASTER STATE"); n > 0 {
				t.Errorf("node 1 was master %d times", n)
			}
			// Somebody without the keys is not heard by who enforces them.
			without := v
			without.prio = 200
			at := time.Now()
			b.nodes[0].reload(without.conf())
			b.await("node 1 is master too", func(f []frame) bool { return masterSince(f, 1, at) })
			b.nodes[1].until("no trailer of auth_hmac", 1)
			b.nodes[0].reload(conf(0, 2, "mode receive-only\n time_window 60"))
			b.nodes[1].reload(conf(1, 2, "mode receive-only\n time_window 60"))
			b.holds(address, 0)
		})
	}
}
