// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/internal/testnet"
)

// What a control packet says (RFC 5880 4.1).
const (
	stateAdminDown = 0
	stateDown      = 1
	stateUp        = 3
	diagExpired    = 1
	diagSignaled   = 3
)

// says matches control packets of a state with a diagnostic, over IPv4 or IPv6.
func says(six bool, state, diag byte) func(frame) bool {
	return func(f frame) bool {
		return f.what == bfd && f.src.Is6() == six && f.payload[1]>>6 == state && f.payload[0]&0x1f == diag
	}
}

// The sessions of these tests: a host that is busy stands still for a while.
const (
	bfdInterval  = 300 * time.Millisecond
	bfdDetection = 10 * bfdInterval
)

// sessions are two bfd_instance of a node of two: P4 and P6.
func sessions(node int) string {
	one := func(name, net string, more string) string {
		return fmt.Sprintf("bfd_instance %s {\n neighbor_ip %s%d\n source_ip %s%d\n min_rx 300\n min_tx 300\n multiplier 10\n %s\n}\n", name, net, 2-node, net, node+1, more)
	}
	return one("P4", "192.168.50.", "") + one("P6", "2001:db8:50::", "vrrp")
}

// bfdPair starts two nodes with sessions, of which node 0 tracks one, and waits
// until they are up and node 0 is master.
func bfdPair(b *bed, more0 string) {
	b.t.Helper()
	for i, n := range b.nodes {
		testnet.Must(b.t, n.AddAddr("eth0", prefix(fmt.Sprintf("2001:db8:50::%d/64", i+1))))
		mac, err := b.nodes[1-i].MAC("eth0")
		testnet.Must(b.t, err, n.AddNeighbour("eth0", netip.MustParseAddr(fmt.Sprintf("2001:db8:50::%d", 2-i)), mac))
	}
	began := time.Now()
	b.nodes[0].start(vi{prio: 150, outside: sessions(0), more: "track_bfd {\n " + more0 + "\n }"}.conf())
	b.nodes[1].start(vi{prio: 100, outside: sessions(1)}.conf())
	b.sessionsUp(began)
	b.await("node 0 is master", func(f []frame) bool { return len(pick(f, from(0), prio(150), after(began))) > 0 })
	b.holds(vip, 0)
}

func (b *bed) sessionsUp(since time.Time) {
	b.t.Helper()
	b.await("sessions are up", func(f []frame) bool {
		up := true
		for node := range 2 {
			for _, six := range []bool{false, true} {
				up = up && len(pick(f, from(node), says(six, stateUp, 0), after(since))) > 0
			}
		}
		return up
	})
}

// expired checks how long after the last packet of node 1 node 0 has found its
// session over IPv4 gone.
func (b *bed) expired(frames []frame, last time.Time) {
	b.t.Helper()
	down := pick(frames, from(0), says(false, stateDown, diagExpired), after(last))
	took := down[0].at.Sub(last)
	// Both ends may be late on a busy host; and some packets that were sent before the
	// cut may have waited in the switch, and be lost too.
	if took < bfdDetection/2 || took > bfdDetection+10*time.Second {
		b.t.Errorf("found gone after %v, want %v", took, bfdDetection)
	}
}

// TestBFD: sessions over both families between ours and the original come up, find
// a loss within the detection time, and are up again when it ends; the router that
// tracks one yields meanwhile. Who stops does so in silence.
func TestBFD(t *testing.T) {
	t.Parallel()
	combinations(t, func(t *testing.T, b *bed) struct{} {
		bfdPair(b, "P4 weight -60")
		for i, n := range b.nodes {
			f := pick(b.all(), from(i), is(bfd))
			for _, x := range f {
				if want := map[bool]uint8{false: 255, true: 64}[x.src.Is6()]; x.ttl != want {
					t.Fatalf("TTL %d: %v", x.ttl, x)
				}
				if n.program == ours && x.port < 49152 {
					t.Fatalf("port %d: %v", x.port, x)
				}
			}
		}
		lossy := func(from, _ int, f *frame) []time.Duration {
			if from == 1 && f.what == bfd && f.src.Is4() {
				return nil
			}
			return []time.Duration{0}
		}
		passed := pick(b.all(), from(1), is(bfd), func(f frame) bool { return f.src.Is4() })
		last := passed[len(passed)-1].at
		b.set(lossy)
		cut := time.Now()
		frames := b.await("the loss is found", func(f []frame) bool {
			return len(pick(f, from(0), says(false, stateDown, diagExpired), after(cut))) > 0 && len(pick(f, from(1), says(false, stateDown, diagSignaled), after(cut))) > 0
		})
		for _, f := range pick(frames, from(1), is(bfd), func(f frame) bool { return f.src.Is4() }) {
			if f.at.Before(cut) {
				last = f.at
			}
		}
		b.expired(frames, last)
		b.await("node 1 takes over", func(f []frame) bool { return masterSince(f, 1, cut) })
		b.await("node 0 has sent 90", func(f []frame) bool { return len(pick(f, from(0), prio(90), after(cut))) > 0 })
		b.holds(vip, 1)
		b.nodes[0].until("(P4) Entering Down state (Local diagnostic - Control Detection Time Expired", 1)
		b.nodes[0].until("VRRP_Instance(VI) Tracked BFD instance P4 is DOWN", 1)
		b.nodes[1].until("(P4) Entering Down state (Local diagnostic - Neighbor Signaled Session Down", 1)
		healed := time.Now()
		b.set(nil)
		b.sessionsUp(healed)
		b.await("node 0 is master again", func(f []frame) bool { return masterSince(f, 0, healed) })
		b.holds(vip, 0)
		b.nodes[1].stop()
		ended := time.Now()
		frames = b.await("node 0 finds it gone", func(f []frame) bool {
			return len(pick(f, from(0), says(false, stateDown, diagExpired), after(healed))) > 0
		})
		for _, state := range []byte{stateAdminDown, stateDown} {
			if x := pick(frames, from(1), is(bfd), after(healed.Add(bfdDetection)), func(f frame) bool { return f.src.Is4() && f.payload[1]>>6 == state }); len(x) > 0 && x[len(x)-1].at.After(ended.Add(-bfdInterval)) {
				t.Errorf("its last words: %v", x)
			}
		}
		return struct{}{}
	})
}

// TestBFDProcesses: the routers of a sync group that tracks a session without
// weight are in FAULT while it is down. A process of VRRP or BFD that dies is
// started again, and knows how things are; a reload changes the intervals of a
// session that is up; the dump says so.
func TestBFDProcesses(t *testing.T) {
	t.Parallel()
	b := newBed(t, ours, ours)
	group := func(node int, interval string) string {
		return strings.ReplaceAll(sessions(node), "min_tx 300", "min_tx "+interval) + "vrrp_sync_group G {\n group {\n VI\n }\n track_bfd {\n P4\n P6 weight 0\n }\n}"
	}
	for i, n := range b.nodes {
		testnet.Must(t, n.AddAddr("eth0", prefix(fmt.Sprintf("2001:db8:50::%d/64", i+1))))
	}
	n := b.nodes[0]
	began := time.Now()
	n.start(vi{prio: 150, outside: group(0, "300")}.conf())
	n.until("(VI) Entering FAULT STATE", 1)
	b.nodes[1].start(vi{prio: 100, outside: sessions(1)}.conf())
	b.sessionsUp(began)
	b.holds(vip, 0)

	// A new process of VRRP asks for the sessions. On a busy host it may know how they are
	// before it begins: then it is never in FAULT.
	testnet.Must(t, syscall.Kill(n.child(), syscall.SIGKILL))
	n.until("VRRP_Instance(VI) Tracked BFD instance P4 is UP", 2)
	b.holds(vip, 0)
	// A new one of BFD begins with sessions that are down.
	var pid int
	text, err := os.ReadFile(n.path("bfd.pid"))
	testnet.Must(t, err)
	_, err = fmt.Sscan(string(text), &pid)
	testnet.Must(t, err)
	died, faults := time.Now(), n.said("(VI) Entering FAULT STATE")
	testnet.Must(t, syscall.Kill(pid, syscall.SIGKILL))
	n.until("VRRP_Instance(VI) Tracked BFD instance P4 is UP", 3)
	n.until("(VI) Entering FAULT STATE", faults+1)
	b.sessionsUp(died)
	b.holds(vip, 0)

	downs := n.said("Entering Down state")
	reloaded := time.Now()
	n.reload(vi{prio: 150, outside: group(0, "600")}.conf())
	b.await("the new interval is agreed on", func(f []frame) bool {
		return len(pick(f, from(1), says(false, stateUp, 0), after(reloaded), func(f frame) bool { return f.payload[1]&0x10 != 0 })) > 0
	})
	n.signal(syscall.SIGUSR1)
	want := []string{" BFD Instance = P4\n   Neighbor IP = 192.168.50.2\n   Source IP = 192.168.50.1\n", "Desired min TX interval = 600000 us\n", "TTL = 255\n", "hoplimit = 64\n",
		"send event to checker process = No\n", "local state = Up\n   remote state = Up\n", "local tx intv = 600000 us\n", "remote detection time = 6000000 us\n"}
	testnet.Eventually(t, limit, func() error {
		dump, err := os.ReadFile(n.path("keepalived_bfd.data"))
		if err != nil {
			return err
		}
		for _, w := range want {
			if !strings.Contains(string(dump), w) {
				return fmt.Errorf("no %q in\n%s", w, dump)
			}
		}
		data, err := os.ReadFile(n.path("keepalived.data"))
		if w := " VRRP Track BFD = P4\n   Weight = 0\n   Bfd is up\n   Tracking VRRP instances :\n     VI, weight 0\n"; err == nil && !strings.Contains(string(data), w) {
			err = fmt.Errorf("no %q in\n%s", w, data)
		}
		return err
	})
	if got := n.said("Entering Down state"); got != downs {
		t.Errorf("the reload took sessions down")
	}
	b.holds(vip, 0)
	// Nobody is left to speak to, and the routers fail.
	b.nodes[1].stop()
	b.holds(vip, -1)
}
