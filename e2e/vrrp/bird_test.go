// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testvm"
)

// bird runs Debian's BIRD 2 with a session to node 0 over each family; it keeps to RFC
// 5881, as keepalived does not in all.
func (n *node) bird() {
	n.t.Helper()
	conf := `log stderr all;
router id 192.168.50.2;
protocol device {}
protocol bfd {
	interface "eth0" { min rx interval 300 ms; min tx interval 300 ms; idle tx interval 1 s; multiplier 10; };
	neighbor 192.168.50.1 dev "eth0" local 192.168.50.2;
	neighbor 2001:db8:50::1 dev "eth0" local 2001:db8:50::2;
}
`
	testnet.Must(n.t, os.WriteFile(n.path("bird.conf"), []byte(conf), 0o644))
	n.run(foreign(filepath.Join(testvm.Cache(), "peers"), "/usr/sbin/bird", "-f", "-c", n.path("bird.conf"), "-s", n.path("bird.ctl"), "-P", n.path("bird.pid")))
}

// TestBIRD: sessions with BIRD come up over both families; a loss is found by both
// ends and heals; an interval that we change is agreed on by a poll without taking the
// session down; when BIRD ends it says so; when ours ends BIRD finds out. What is
// tracked follows all of it.
func TestBIRD(t *testing.T) {
	t.Parallel()
	b := newBed(t, ours, ours) // the second is BIRD
	n, peer := b.nodes[0], b.nodes[1]
	for i, n := range b.nodes {
		testnet.Must(t, n.AddAddr("eth0", prefix(fmt.Sprintf("2001:db8:50::%d/64", i+1))))
		mac, err := b.nodes[1-i].MAC("eth0")
		testnet.Must(t, err, n.AddNeighbour("eth0", netip.MustParseAddr(fmt.Sprintf("2001:db8:50::%d", 2-i)), mac))
	}
	conf := func(tx int) string {
		one := func(name, net, more string) string {
			return fmt.Sprintf("bfd_instance %s {\n neighbor_ip %s2\n source_ip %s1\n min_rx 300\n min_tx %d\n multiplier 10\n %s\n}\n", name, net, net, tx, more)
		}
		return vi{prio: 150, outside: one("P4", "192.168.50.", "") + one("P6", "2001:db8:50::", "hoplimit 255"),
			more: "track_bfd {\n P4 weight -60\n P6 weight -30\n }"}.conf()
	}
	speaks := func(priority uint8, since time.Time) {
		t.Helper()
		b.await(fmt.Sprintf("priority %d", priority), func(f []frame) bool { return len(pick(f, from(0), prio(priority), after(since))) > 0 })
	}
	began := time.Now()
	n.start(conf(300))
	speaks(60, began)
	peer.bird()
	b.sessionsUp(began)
	speaks(150, began)

	// What BIRD sends over IPv4 is lost.
	cut := time.Now()
	b.set(func(from, _ int, f *frame) []time.Duration {
		if from == 1 && f.what == bfd && f.src.Is4() {
			return nil
		}
		return []time.Duration{0}
	})
	b.await("the loss is found", func(f []frame) bool {
		return len(pick(f, from(0), says(false, stateDown, diagExpired), after(cut))) > 0 && len(pick(f, from(1), says(false, stateDown, diagSignaled), after(cut))) > 0
	})
	speaks(90, cut)
	n.until("(P4) Entering Down state (Local diagnostic - Control Detection Time Expired", 1)
	healed := time.Now()
	b.set(nil)
	b.sessionsUp(healed)
	speaks(150, healed)

	downs, reloaded := n.said("Entering Down state"), time.Now()
	n.reload(conf(600))
	b.await("the new interval is agreed on", func(f []frame) bool {
		final := func(f frame) bool { return f.payload[1]&0x10 != 0 }
		return len(pick(f, from(1), says(false, stateUp, 0), after(reloaded), final)) > 0 && len(pick(f, from(1), says(true, stateUp, 0), after(reloaded), final)) > 0
	})
	if got := n.said("Entering Down state"); got != downs {
		t.Error("the reload took sessions down")
	}

	ended := time.Now()
	peer.stop()
	speaks(60, ended)
	again := time.Now()
	peer.bird()
	b.sessionsUp(again)
	speaks(150, again)

	stopped := time.Now()
	n.stop()
	b.await("BIRD finds it gone", func(f []frame) bool {
		return len(pick(f, from(1), says(false, stateDown, diagExpired), after(stopped))) > 0 && len(pick(f, from(1), says(true, stateDown, diagExpired), after(stopped))) > 0
	})
}
