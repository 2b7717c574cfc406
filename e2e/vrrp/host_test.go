// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/lvs-fnat/lvs/internal/testnet"
)

// TestAddressLost: somebody removes the address of the master, which says that it
// resigns; who is best takes the address, and is the only one in the end.
func TestAddressLost(t *testing.T) {
	t.Parallel()
	asOriginals(t, combinations(t, func(t *testing.T, b *bed) int {
		b.pair(100, 150)
		lost := time.Now()
		testnet.Must(t, b.nodes[0].DelAddr("eth0", prefix(vip+"/32")))
		frames := b.await("node 0 resigns", func(f []frame) bool { return len(pick(f, from(0), prio(0))) == 1 })
		resigned := pick(frames, from(0), prio(0))[0].at
		frames = b.await("node 0 is master again", func(f []frame) bool { return masterSince(f, 0, resigned) })
		within(t, "who comes next", pick(frames, alive, after(resigned))[0].at.Sub(resigned), 0, time.Second)
		b.holds(vip, 0)
		b.quiet(0, 3)
		return contested(pick(frames, after(lost)), 51)
	}))
}

// TestTracking: a link and the number in a file move the priority; what belongs
// to a link that goes down takes the whole router along.
func TestTracking(t *testing.T) {
	t.Parallel()
	asOriginals(t, combinations(t, func(t *testing.T, b *bed) int {
		n := b.nodes[0]
		b.wire(n, "eth1", "10.60.0.1/24")
		b.wire(n, "eth2", "10.61.0.1/24")
		number := n.path("number")
		put := func(v string) { testnet.Must(t, os.WriteFile(number, []byte(v+"\n"), 0o644)) }
		put("0")
		began := time.Now()
		b.nodes[1].start(vi{prio: 100}.conf())
		n.start(vi{prio: 150, outside: "track_file w {\n file " + number + "\n weight 2\n}",
			more: "track_interface {\n eth1 weight -60\n }\n track_file {\n w\n }\n virtual_ipaddress_excluded {\n 10.61.0.100/24 dev eth2\n }"}.conf())
		turn := func(what string, node int, do func()) {
			t.Helper()
			at := time.Now()
			do()
			b.await(what, func(f []frame) bool { return masterSince(f, node, at) })
			b.holds(vip, node)
		}
		b.await("node 0 is master", func(f []frame) bool { return masterSince(f, 0, began) })
		b.holds("10.61.0.100", 0)
		turn("a link down", 1, func() { testnet.Must(t, n.Down("eth1")) })
		turn("it is up again", 0, func() { testnet.Must(t, n.Up("eth1")) })
		turn("a number below", 1, func() { put("-40") })
		turn("a number above", 0, func() { put("3") })
		b.await("priority 156", func(f []frame) bool { return len(pick(f, from(0), prio(156))) > 0 })
		turn("the link of an address down", 1, func() { testnet.Must(t, n.Down("eth2")) })
		turn("it is up again", 0, func() { testnet.Must(t, n.Up("eth2")) })
		b.holds("10.61.0.100", 0)
		return contested(b.all(), 51)
	}))
}

// TestOnTheHost: static addresses, routes and rules are there while the program
// runs, virtual routes and rules while it is the master, and what a dead one has
// left goes at the next start; all as from the original.
func TestOnTheHost(t *testing.T) {
	t.Parallel()
	type host struct{ Running, Ended string }
	seen := make(chan [2]any, 2)
	t.Run("nodes", func(t *testing.T) {
		for _, p := range []program{c, ours} {
			t.Run(string(p), func(t *testing.T) {
				t.Parallel()
				b := newBed(t, p)
				n := b.nodes[0]
				conf := vi{prio: 150, vips: []string{vip + "/24 label eth0:v", "192.168.50.101 brd 192.168.50.255 scope link"},
					outside: "static_ipaddress {\n 10.70.0.1/24 dev eth0\n}\nstatic_routes {\n 10.71.0.0/24 via 10.70.0.2 dev eth0\n}\n" +
						"static_rules {\n from 10.70.0.0/24 table 70 preference 700\n}",
					more: "virtual_routes {\n 10.72.0.0/24 via 192.168.50.2 dev eth0 metric 7\n blackhole 10.73.0.0/24\n 10.74.0.0/24 via 192.168.50.2 dev eth0 table 74\n }\n" +
						" virtual_rules {\n to 10.72.0.0/24 table 74 preference 740\n from 10.75.0.0/24 blackhole preference 750\n }",
				}.conf()
				began := time.Now()
				n.start(conf)
				b.await("master", func(f []frame) bool { return masterSince(f, 0, began) })
				running := n.network()
				n.kill()
				// The original takes a number that the host has not reaped for a running one.
				for _, name := range []string{"pid", "vrrp.pid"} {
					_ = os.Remove(n.path(name))
				}
				// Another start finds what the dead one has left.
				n.start(strings.Replace(conf, "priority 150", "priority 150\n nopreempt", 1))
				n.until("Entering BACKUP STATE (init)", 2)
				if n.has(vip) {
					t.Error("a backup has the address of the dead master")
				}
				began = time.Now()
				b.await("master again", func(f []frame) bool { return masterSince(f, 0, began) })
				if again := n.network(); again != running {
					t.Errorf("after a kill:\n%s\nbefore:\n%s", again, running)
				}
				n.stop()
				seen <- [2]any{p, host{running, n.network()}}
			})
		}
	})
	close(seen)
	all := map[program]host{}
	for s := range seen {
		all[s[0].(program)] = s[1].(host)
	}
	if all[c].Running != all[ours].Running {
		t.Errorf("running, original:\n%s\nours:\n%s", all[c].Running, all[ours].Running)
	}
	if all[c].Ended != all[ours].Ended {
		t.Errorf("ended, original:\n%s\nours:\n%s", all[c].Ended, all[ours].Ended)
	}
}

// network is what the programs may have put on the host.
func (n *node) network() string {
	n.t.Helper()
	var out strings.Builder
	addrs, err := n.Link.AddrList(nil, netlink.FAMILY_V4)
	testnet.Must(n.t, err)
	for _, a := range addrs {
		fmt.Fprintf(&out, "address %v scope %d label %s broadcast %v\n", a.IPNet, a.Scope, a.Label, a.Broadcast)
	}
	for _, table := range []int{254, 74} {
		routes, err := n.Link.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: table}, netlink.RT_FILTER_TABLE)
		testnet.Must(n.t, err)
		for _, r := range routes {
			if r.Protocol == 18 {
				fmt.Fprintf(&out, "route %v via %v table %d metric %d type %d scope %v\n", r.Dst, r.Gw, r.Table, r.Priority, r.Type, r.Scope)
			}
		}
	}
	rules, err := n.Link.RuleList(netlink.FAMILY_V4)
	testnet.Must(n.t, err)
	for _, r := range rules {
		if r.Protocol == 18 {
			fmt.Fprintf(&out, "rule %d from %v to %v table %d type %d\n", r.Priority, r.Src, r.Dst, r.Table, r.Type)
		}
	}
	return out.String()
}

// TestDynamicInterfaces: a link that does not exist yet is waited for, and one
// that goes away is a fault until it is back.
func TestDynamicInterfaces(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bed, n *node) {
		n.start(vi{prio: 150, link: "dyn0", vips: []string{"10.80.0.100"}, globalDefs: "dynamic_interfaces"}.conf())
		n.until("Startup complete", 1)
		for range 2 {
			at := time.Now()
			b.wire(n, "dyn0", "10.80.0.1/24")
			b.await("it is master", func(f []frame) bool { return masterSince(f, 0, at) })
			b.holds("10.80.0.100", 0)
			link, err := n.Link.LinkByName("dyn0")
			testnet.Must(t, err, n.Link.LinkDel(link))
			n.until("Entering FAULT STATE", 1)
		}
	})
}

// TestStartupDelay: nothing is sent and nothing taken over before it is over.
func TestStartupDelay(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bed, n *node) {
		began := time.Now()
		n.start(vi{prio: 255, state: "MASTER", globalDefs: "vrrp_startup_delay 3"}.conf())
		frames := b.await("it is master", func(f []frame) bool { return masterSince(f, 0, began) })
		within(t, "the owner's first advert", firstAdvert(frames, 0, began).Sub(began), 3*time.Second, 7*time.Second)
	})
}

// TestAddressMonitoring: -a logs addresses that come and go.
func TestAddressMonitoring(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *bed, n *node) {
		n.start(vi{prio: 150}.conf(), "-a")
		n.until("Startup complete", 1)
		testnet.Must(t, n.AddAddr("eth0", prefix("10.90.0.1/24")))
		n.until("reports IP 10.90.0.1 added to eth0", 1)
		testnet.Must(t, n.DelAddr("eth0", prefix("10.90.0.1/24")))
		n.until("reports IP 10.90.0.1 removed from eth0", 1)
	})
}

// TestNetNamespace: a daemon that is started elsewhere works in the namespace that the
// file names, or the command line, which wins; so do all its commands.
func TestNetNamespace(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]func(ns string) (words string, args []string){
		"file":    func(ns string) (string, []string) { return "net_namespace " + ns + "\n", nil },
		"command": func(ns string) (string, []string) { return "", []string{"-s", ns} },
		"both":    func(ns string) (string, []string) { return "net_namespace nosuch\n", []string{"-s", ns} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			each(t, func(t *testing.T, b *bed, n *node) {
				elsewhere := *n
				elsewhere.NS = b.sw
				t.Cleanup(elsewhere.kill)
				words, args := s(n.Name)
				began := time.Now()
				at := func(name, then string) string {
					return fmt.Sprintf("\"/bin/sh -c 'stat -L -c %%i /proc/self/ns/net >%s; %s'\"\n", n.path(name), then)
				}
				elsewhere.start(words+vi{
					prio:       150,
					globalDefs: "startup_script " + at("startup", "") + "shutdown_script " + at("shutdown", "") + "notify_fifo " + n.path("pipe") + "\nnotify_fifo_script " + at("reader", "exec cat"),
					more:       "notify " + at("notify", ""),
				}.conf(), args...)
				b.await("node 0 is master", func(f []frame) bool { return masterSince(f, 0, began) })
				b.holds(vip, 0)
				elsewhere.stop()
				b.holds(vip, -1)
				var there syscall.Stat_t
				testnet.Must(t, syscall.Fstat(n.FD(), &there))
				for _, script := range []string{"startup", "notify", "reader", "shutdown"} {
					if text, err := os.ReadFile(n.path(script)); err != nil || string(text) != fmt.Sprintln(there.Ino) {
						t.Errorf("%s ran in namespace %q %v, want %d", script, text, err, there.Ino)
					}
				}
			})
		})
	}
}
