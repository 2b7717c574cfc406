// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/internal/testnet"
)

// twice says for a node that has become master: it sends adverts in a row.
func masterSince(frames []frame, node int, since time.Time) bool {
	return len(pick(frames, from(node), alive, after(since))) >= 2
}

// firstAdvert is when the node began to advertise after a time.
func firstAdvert(frames []frame, node int, since time.Time) time.Time {
	if list := pick(frames, from(node), alive, after(since)); len(list) > 0 {
		return list[0].at
	}
	return time.Time{}
}

// lastAdvert is when the node last advertised before a time.
func lastAdvert(frames []frame, node int, until time.Time) time.Time {
	var at time.Time
	for _, f := range pick(frames, from(node), alive) {
		if f.at.Before(until) {
			at = f.at
		}
	}
	return at
}

// contested counts the adverts that one node sent between two of another: what
// is seen of two masters at a time. Where one yields to the other, an advert of
// its may just have been under way: it and the one that it crosses are not counted.
func contested(frames []frame, id uint8) int {
	adverts := pick(frames, is(advert), vrid(id), alive)
	n, row := 0, 0
	for i := 1; i+1 < len(adverts); i++ {
		if a, b, c := adverts[i-1], adverts[i], adverts[i+1]; a.node == c.node && b.node != a.node {
			row++
			continue
		}
		n, row = n+max(0, row-2), 0
	}
	return n + max(0, row-2)
}

// slack is what an overloaded host may add to a protocol's time before a test
// takes it for a fault.
const slack = 5 * time.Second

// within fails unless a time that was measured lies where the protocol says.
func within(t testing.TB, what string, got, low, high time.Duration) {
	t.Helper()
	t.Logf("%s took %v, the protocol says %v to %v", what, got.Round(time.Millisecond), low.Round(time.Millisecond), high.Round(time.Millisecond))
	const early = 50 * time.Millisecond // the sender's timer against our clock
	switch wrong := fmt.Sprintf("%s took %v, want %v to %v", what, got, low, high); {
	case got < low-early:
		t.Error(wrong)
	case got > high+slack:
		blame(t, stalled(time.Now().Add(-got)), wrong)
	}
}

// masterDown is the time after which a backup of that priority takes over, with
// an interval of 1 s.
func masterDown(prio int) time.Duration {
	return 3*time.Second + time.Duration(256-prio)*time.Second/256
}

// announcements checks the burst of a new master: five rounds right after the
// first advert, all addresses in each, and before the second advert.
func announcements(t testing.TB, frames []frame, node int, since time.Time, kind what, vips ...string) {
	t.Helper()
	adverts := pick(frames, from(node), alive, after(since))
	if len(adverts) < 2 {
		t.Fatalf("node %d has not sent two adverts: %v", node, adverts)
	}
	var got []string
	for _, f := range pick(frames, from(node), is(kind), after(since)) {
		if f.at.Before(adverts[0].at) {
			t.Errorf("node %d announced before its first advert: %v", node, f)
		}
		if f.at.Before(adverts[1].at) {
			got = append(got, f.addr.String())
		}
	}
	var want []string
	for range 5 {
		want = append(want, vips...)
	}
	if !slices.Equal(got, want) {
		t.Errorf("node %d announced %v between its first two adverts, want %v", node, got, want)
	}
}

// variant is one way to speak VRRP.
type variant struct {
	router   func(index int) vi // without priority
	kind     what               // of announcements
	vips     []string
	dst      []string // of adverts, by sending node
	ttl      uint8    // 0: 255
	mac      [6]byte  // of announcements and adverts; zero: the link's
	fromBase bool     // adverts have the link's all the same
	version  uint8
	interval time.Duration
	skew     time.Duration // of priority 100
}

var variants = map[string]variant{
	"v2":   {router: same(vi{}), kind: garp, vips: []string{vip}, version: 2, interval: time.Second, skew: skew2},
	"PASS": {router: same(vi{more: "authentication {\n auth_type PASS\n auth_pass secret\n }"}), kind: garp, vips: []string{vip}, version: 2, interval: time.Second, skew: skew2},
	"AH":   {router: same(vi{more: "authentication {\n auth_type AH\n auth_pass secret\n }"}), kind: garp, vips: []string{vip}, version: 2, interval: time.Second, skew: skew2},
	"v3":   {router: same(vi{version: 3, vips: []string{vip, "192.168.50.101/24"}}), kind: garp, vips: []string{vip, "192.168.50.101"}, version: 3, interval: time.Second, skew: skew2},
	// Not faster: who stands still for 1.5 s with this is rightly taken for dead.
	"v3fast": {router: same(vi{version: 3, interval: "0.5"}), kind: garp, vips: []string{vip}, version: 3, interval: time.Second / 2,
		skew: skew2 / 2},
	"IPv6": {router: same(vi{version: 3, vips: vips6}), kind: na, vips: vips6, dst: []string{"ff02::12", "ff02::12"}, version: 3,
		interval: time.Second, skew: skew2},
	"vmac": {router: same(vi{more: "use_vmac"}), kind: garp, vips: []string{vip}, version: 2, interval: time.Second, skew: skew2,
		mac: [6]byte{0, 0, 0x5e, 0, 1, 51}},
	"vmac_base": {router: same(vi{version: 3, more: "use_vmac\n vmac_xmit_base"}), kind: garp, vips: []string{vip}, version: 3,
		interval: time.Second, skew: skew2, mac: [6]byte{0, 0, 0x5e, 0, 1, 51}, fromBase: true},
	"vmac6": {router: same(vi{version: 3, vips: vips6, more: "use_vmac"}), kind: na, vips: vips6, dst: []string{"ff02::12", "ff02::12"}, version: 3,
		interval: time.Second, skew: skew2, mac: [6]byte{0, 0, 0x5e, 0, 2, 51}},
	"unicast": {router: func(i int) vi {
		return vi{more: fmt.Sprintf("unicast_src_ip 192.168.50.%d\n unicast_peer {\n 192.168.50.%d\n }", i+1, 2-i)}
	}, kind: garp, vips: []string{vip}, dst: []string{"192.168.50.2", "192.168.50.1"}, version: 2, interval: time.Second, skew: skew2},
	"unicast6": {router: func(i int) vi {
		return vi{version: 3, vips: vips6, more: fmt.Sprintf("unicast_src_ip fe80::50:%d\n unicast_peer {\n fe80::50:%d\n }", i+1, 2-i)}
	}, kind: na, vips: vips6, dst: []string{"fe80::50:2", "fe80::50:1"}, ttl: 64, version: 3, interval: time.Second, skew: skew2},
}

// skew2 is that of priority 100 with an interval of 1 s.
const skew2 = 156 * time.Second / 256

var vips6 = []string{"fe80::50:64", "2001:db8:50::64"}

func same(v vi) func(int) vi { return func(int) vi { return v } }

// TestFailover: the better node starts first, the other stays quiet; the better
// one ends, the other takes over after its skew; the better one comes back and
// takes it again.
func TestFailover(t *testing.T) {
	for name, v := range variants {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			combinations(t, func(t *testing.T, b *bed) int { failover(t, b, v); return 0 })
		})
	}
}

// TestFailoverNewer: the same with keepalived 2.3.3 as the other half.
func TestFailoverNewer(t *testing.T) {
	for _, name := range []string{"PASS", "v3", "IPv6", "vmac", "unicast"} {
		for _, pair := range [][2]program{{ours, newer}, {newer, ours}} {
			t.Run(fmt.Sprintf("%s/%s-%s", name, pair[0], pair[1]), func(t *testing.T) {
				t.Parallel()
				failover(t, newBed(t, pair[:]...), variants[name])
			})
		}
	}
}

func failover(t *testing.T, b *bed, v variant) {
	if v.dst == nil {
		v.dst = []string{"224.0.0.18", "224.0.0.18"}
	}
	if v.ttl == 0 {
		v.ttl = 255
	}
	high, low := b.nodes[0], b.nodes[1]
	conf := func(i, prio int) string {
		r := v.router(i)
		r.prio = prio
		return r.conf()
	}
	began := time.Now()
	high.start(conf(0, 150))
	b.await("node 0 is master", func(f []frame) bool { return masterSince(f, 0, began) })
	low.start(conf(1, 100))
	low.until("Entering BACKUP STATE", 1)
	joined := time.Now()
	frames := b.await("node 0 goes on", func(f []frame) bool { return len(pick(f, from(0), alive, after(joined))) >= 5 })
	if list := pick(frames, from(1), is(advert)); len(list) > 0 {
		b.late("the backup has sent %v", list)
	}
	b.holds(v.vips[0], 0)
	announcements(t, frames, 0, began, v.kind, v.vips...)
	// Five more after garp_master_delay.
	b.await("second burst", func(f []frame) bool { return len(pick(f, from(0), is(v.kind))) >= 10*len(v.vips) })

	stopped := time.Now()
	high.stop()
	frames = b.await("node 1 takes over", func(f []frame) bool { return masterSince(f, 1, stopped) })
	zero := pick(frames, from(0), prio(0))
	if len(zero) != 1 {
		t.Fatalf("the master resigned with %v", zero)
	}
	within(t, "take-over after priority 0", firstAdvert(frames, 1, stopped).Sub(zero[0].at), v.skew, v.skew)
	if list := pick(frames, from(0), is(advert), after(zero[0].at)); len(list) > 0 {
		t.Errorf("adverts after priority 0: %v", list)
	}
	announcements(t, frames, 1, stopped, v.kind, v.vips...)
	for _, a := range v.vips {
		b.holds(a, 1)
	}

	again := time.Now()
	high.start(conf(0, 150))
	frames = b.await("node 0 preempts", func(f []frame) bool { return masterSince(f, 0, again) })
	for _, a := range v.vips {
		b.holds(a, 0)
	}
	first := firstAdvert(frames, 0, again)
	if d, least := first.Sub(again), 3*v.interval; d < least {
		t.Errorf("preemption took %v, want at least %v", d, least)
	}
	b.quiet(0, 2)
	frames = b.all()
	// One may have been under way.
	if list := pick(frames, from(1), alive, after(first)); len(list) > 1 {
		b.late("the lower master went on: %v", list)
	}
	for _, f := range frames {
		own, err := b.nodes[f.node].MAC("eth0")
		testnet.Must(t, err)
		want := v.mac
		if want == [6]byte{} || v.fromBase && f.what == advert {
			want = [6]byte(own)
		}
		// Other nodes' requests for an address look like announcements of it, but for the source.
		if f.mac != want && (f.what == advert || slices.Contains(v.vips, f.addr.String())) {
			t.Errorf("from %x, want %x: %v", f.mac, want, f)
		}
	}
	for _, f := range pick(frames, is(advert)) {
		if f.ttl != v.ttl || f.dst.String() != v.dst[f.node] || f.version != v.version || int(f.count) != len(v.vips) {
			t.Errorf("advert %+v", f)
		}
	}
	if n := contested(frames, 51); n > 0 {
		b.late("%d adverts of a second master", n)
	}
}

// TestFailoverTime: with 100 ms adverts, from the last packet of the master to the first
// announcement of the next one it takes no longer than where both are the original, at
// the same time on the same host; whether the master resigns or dies. Each is judged by
// its best: the host may be busy at any, and rarely at all of them.
func TestFailoverTime(t *testing.T) {
	t.Parallel()
	const interval, most = 100 * time.Millisecond, 30
	const skew = interval * 156 / 256
	type best struct{ Resigned, Dead time.Duration }
	protocol := best{skew, 3*interval + skew}
	late := func(b, than best) bool { return b.Resigned > than.Resigned+interval/2 || b.Dead > than.Dead+interval/2 }
	all := combinations(t, func(t *testing.T, b *bed) best {
		high, low := b.nodes[0], b.nodes[1]
		conf := func(prio int) string { return vi{prio: prio, version: 3, interval: "0.1"}.conf() }
		low.start(conf(100))
		out := best{time.Hour, time.Hour}
		for i := 0; i < 2 || i < 2*most && late(out, protocol); i++ {
			began := time.Now()
			high.start(conf(150))
			b.await("node 0 is master", func(f []frame) bool { return masterSince(f, 0, began) })
			b.holds(vip, 0)
			ended := time.Now()
			resigns := i%2 == 0
			if resigns {
				high.stop()
			} else {
				high.kill()
				// As with its host, the address is gone; and the original takes a number
				// that nobody has reaped for a running one.
				testnet.Must(t, high.DelAddr("eth0", prefix(vip+"/32")))
				for _, name := range []string{"pid", "vrrp.pid"} {
					_ = os.Remove(high.path(name))
				}
			}
			frames := b.await("node 1 takes over", func(f []frame) bool {
				return masterSince(f, 1, ended) && len(pick(f, from(1), is(garp), after(ended))) > 0
			})
			last := time.Time{}
			for _, f := range pick(frames, from(0), is(advert)) {
				last = f.at
			}
			took := pick(frames, from(1), is(garp), after(ended))[0].at.Sub(last)
			// Less is of a backup that took over before, since the host was busy.
			if resigns && took >= protocol.Resigned-time.Millisecond {
				out.Resigned = min(out.Resigned, took)
			} else if !resigns && took >= protocol.Dead-time.Millisecond {
				out.Dead = min(out.Dead, took)
			}
		}
		return out
	})
	limit := best{max(protocol.Resigned, all["C-C"].Resigned), max(protocol.Dead, all["C-C"].Dead)}
	for name, b := range all {
		t.Logf("%s: resigned %v, dead %v", name, b.Resigned, b.Dead)
		if late(b, limit) {
			t.Errorf("%s took %+v, the originals %+v", name, b, all["C-C"])
		}
	}
}

// TestKill: the master dies without a word; the backup takes over after its
// master-down time, and the dead one's address is gone when it starts again.
func TestKill(t *testing.T) {
	t.Parallel()
	combinations(t, func(t *testing.T, b *bed) int {
		high, low := b.nodes[0], b.nodes[1]
		b.pair(100, 150)
		killed := time.Now()
		high.kill()
		frames := b.await("node 1 takes over", func(f []frame) bool { return masterSince(f, 1, killed) })
		gap := firstAdvert(frames, 1, killed).Sub(lastAdvert(frames, 0, time.Now()))
		within(t, "take-over after a death", gap, masterDown(100), masterDown(100))
		if !high.has(vip) || !low.has(vip) {
			t.Error("the dead node has lost its address, or the new master has none")
		}
		high.start(vi{prio: 150, noPreempt: true}.conf())
		b.holds(vip, 1)
		return 0
	})
}

// TestKillChild: the VRRP process of the master dies; the parent starts it again within a
// second, it removes the address and begins as a backup, and never are there two masters
// for longer than one advert, and not for longer than where both are the original.
func TestKillChild(t *testing.T) {
	t.Parallel()
	two := combinations(t, func(t *testing.T, b *bed) int {
		high := b.nodes[0]
		b.pair(100, 150)
		child, died := high.child(), time.Now()
		testnet.Must(t, syscall.Kill(child, syscall.SIGKILL))
		testnet.Eventually(t, limit, func() error {
			if high.child() == child {
				return errors.New("no new VRRP process")
			}
			return nil
		})
		within(t, "restart", time.Since(died), 0, time.Second)
		high.until("Starting VRRP child process", 2)
		testnet.Eventually(t, limit, func() error {
			if high.has(vip) && high.said("Entering MASTER STATE") < 2 {
				return errors.New("the new process has left the address of the dead one")
			}
			return nil
		})
		killed := time.Now()
		frames := b.await("node 0 is master again", func(f []frame) bool { return masterSince(f, 0, killed) })
		// From its start it is 3.4 s, of which we may have missed some.
		if d := firstAdvert(frames, 0, killed).Sub(killed); d < 2*time.Second {
			t.Errorf("master again after %v, without asking", d)
		}
		b.holds(vip, 0)
		n := contested(pick(frames, after(died)), 51)
		if n > 1 {
			b.late("%d adverts of a second master", n)
		}
		return n
	})
	asOriginals(t, two)
}

// TestKillOverReload: the VRRP process dies when it is to take over other addresses. The one
// that comes has those, and none of the dead one's is left; the reload is complete then.
func TestKillOverReload(t *testing.T) {
	t.Parallel()
	b := newBed(t, ours)
	n := b.nodes[0]
	n.start(vi{prio: 255, vips: []string{vip, "192.168.50.101"}}.conf())
	b.holds(vip, 0)
	b.holds("192.168.50.101", 0)
	child := n.child()
	testnet.Must(t, syscall.Kill(child, syscall.SIGSTOP)) // so that it cannot answer
	n.write(vi{prio: 255, vips: []string{"192.168.50.101", "192.168.50.102"}}.conf())
	n.signal(syscall.SIGHUP)
	n.until("Reloading ...", 1)
	testnet.Must(t, syscall.Kill(child, syscall.SIGKILL))
	n.until("Reload complete", 1)
	b.holds("192.168.50.101", 0)
	b.holds("192.168.50.102", 0)
	b.holds(vip, -1)
	n.reload(vi{prio: 255}.conf()) // nothing waits for the dead one
	b.holds(vip, 0)
	b.holds("192.168.50.101", -1)
	n.stop()
	b.holds(vip, -1)
}

// pair starts both nodes and waits until node 0 is the master.
func (b *bed) pair(low, high int) {
	b.t.Helper()
	began := time.Now()
	b.nodes[1].start(vi{prio: low}.conf())
	b.nodes[1].until("Entering BACKUP STATE", 1)
	b.nodes[0].start(vi{prio: high}.conf())
	b.await("node 0 is master", func(f []frame) bool { return masterSince(f, 0, began) })
	b.holds(vip, 0)
}
