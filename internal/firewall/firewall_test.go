// SPDX-License-Identifier: Apache-2.0

package firewall

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"

	"github.com/lvs-fnat/lvs/internal/testnet"
)

// rules lists what the namespace has: chains with their hook, priority and number
// of rules, and the addresses of each set.
func rules(t *testing.T) string {
	t.Helper()
	c, err := nftables.New()
	testnet.Must(t, err)
	tables, err := c.ListTables()
	testnet.Must(t, err)
	var out []string
	for _, table := range tables {
		name := fmt.Sprintf("%d %s", table.Family, table.Name)
		out = append(out, name)
		chains, err := c.ListChainsOfTableFamily(table.Family)
		testnet.Must(t, err)
		for _, chain := range chains {
			if chain.Table.Name == table.Name {
				list, err := c.GetRules(table, chain)
				testnet.Must(t, err)
				out = append(out, fmt.Sprintf("%s %s hook %d priority %d rules %d", name, chain.Name, *chain.Hooknum, *chain.Priority, len(list)))
			}
		}
		sets, err := c.GetSets(table)
		testnet.Must(t, err)
		for _, set := range sets {
			elements, err := c.GetSetElements(set)
			testnet.Must(t, err)
			for _, e := range elements {
				a, _ := netip.AddrFromSlice(e.Key)
				out = append(out, fmt.Sprintf("%s %s %s", name, set.Name, a))
			}
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// eth is where the addresses are.
var eth = Link{7, "eth0"}

// TestNetnsGuard: addresses come and go, twice is once, what a dead process has
// left goes with the next start, and tables of others stay.
func TestNetnsGuard(t *testing.T) {
	ns := testnet.New(t, "guard")
	four, six := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	const others = "2 others"
	err := ns.Do(func() error {
		c, err := nftables.New()
		testnet.Must(t, err)
		c.AddTable(&nftables.Table{Name: "others", Family: nftables.TableFamilyIPv4})
		testnet.Must(t, c.Flush())
		want := func(what, text string) {
			t.Helper()
			if d := cmp.Diff(text, rules(t)); d != "" {
				t.Errorf("%s, -want +got:\n%s", what, d)
			}
		}
		g, err := New(Options{Priority: -5})
		testnet.Must(t, err)
		want("nothing is there before the first address", others)
		testnet.Must(t, g.Add(four, eth), g.Add(four, eth), g.Add(six, eth))
		const chains = "10 keepalived\n10 keepalived in hook 1 priority -5 rules 3\n10 keepalived out hook 3 priority -5 rules 3\n"
		const four4 = "2 keepalived\n2 keepalived in hook 1 priority -5 rules 1\n2 keepalived out hook 3 priority -5 rules 1\n"
		want("two addresses", chains+"10 keepalived vips 2001:db8::1\n"+four4+"2 keepalived vips 192.0.2.1\n"+others)
		testnet.Must(t, g.Del(six, 7), g.Del(six, 7), g.Del(netip.MustParseAddr("192.0.2.9"), 7))
		want("one is gone", chains+four4+"2 keepalived vips 192.0.2.1\n"+others)

		// The process dies; the next has another name for its table, then the same.
		other, err := New(Options{Table: "mine"})
		testnet.Must(t, err, other.Add(four, eth), other.Close())
		want("another guard", chains+four4+"2 keepalived vips 192.0.2.1\n"+others)
		g, err = New(Options{Counters: true})
		testnet.Must(t, err)
		want("a start after a death", others)
		testnet.Must(t, g.Add(four, eth), g.Close(), g.Close(), g.Del(four, 7))
		want("the end", others)
		return nil
	})
	testnet.Must(t, err)
}

// TestNetnsLinkLocal: a link local address is guarded on each of its links by itself, by
// name or by index; a link that is called otherwise meanwhile is not guarded twice.
func TestNetnsLinkLocal(t *testing.T) {
	for _, byIndex := range []bool{false, true} {
		ns := testnet.New(t, fmt.Sprintf("local%t", byIndex))
		testnet.Must(t, ns.Do(func() error {
			g, err := New(Options{ByIndex: byIndex})
			testnet.Must(t, err)
			a := netip.MustParseAddr("fe80::1")
			want := func(what string, n int) {
				t.Helper()
				list, err := g.conn.GetSetElements(g.families[true].scopedVIPs)
				testnet.Must(t, err)
				if len(list) != n {
					t.Errorf("by index %t, %s: %d elements, want %d", byIndex, what, len(list), n)
				}
			}
			testnet.Must(t, g.Add(a, eth), g.Add(a, eth), g.Add(a, Link{8, "eth1"}))
			want("two links", 2)
			testnet.Must(t, g.Add(a, Link{7, "lan"}))
			want("another name", 2)
			testnet.Must(t, g.Del(a, 7), g.Del(a, 7), g.Del(a, 9))
			want("one has gone", 1)
			return g.Close()
		}))
	}
}

// TestNetnsOwn: links of virtual routers come and go in the rules of the families that
// they have; addresses guarded before or after them stay guarded.
func TestNetnsOwn(t *testing.T) {
	ns := testnet.New(t, "own")
	testnet.Must(t, ns.Do(func() error {
		g, err := New(Options{Priority: -1})
		testnet.Must(t, err)
		four := netip.MustParseAddr("192.0.2.1")
		o := Own{Link: 7, Base: 2, Local: netip.MustParseAddr("fe80::1")}
		testnet.Must(t, g.Add(four, eth), g.AddOwn(o, false), g.AddOwn(o, false), g.AddOwn(o, true), g.Add(netip.MustParseAddr("2001:db8::1"), eth))
		elements := func(six bool, name string) int {
			t.Helper()
			f := g.families[six]
			list, err := g.conn.GetSetElements(map[string]*nftables.Set{reportsName: f.reports, ownName: f.own, localsName: f.locals, setName: f.vips}[name])
			testnet.Must(t, err)
			return len(list)
		}
		want := func(what string, reports, six int) {
			t.Helper()
			got := []int{elements(false, reportsName), elements(true, reportsName), elements(true, ownName), elements(false, setName), elements(true, setName)}
			if !slices.Equal(got, []int{reports, six, six, 1, 1}) {
				t.Errorf("%s: %v", what, got)
			}
		}
		want("a link of both families", 1, 1)
		if n := elements(true, localsName); n != 1 {
			t.Errorf("%d link local addresses", n)
		}
		list, err := g.conn.GetRules(g.families[true].table, g.families[true].chains["out"])
		testnet.Must(t, err)
		if len(list) != 7 {
			t.Errorf("%d rules for IPv6 at the way out, want 4 of links, then 3 of addresses", len(list))
		}
		testnet.Must(t, g.DelOwn(o, true), g.DelOwn(o, true))
		want("without IPv6", 1, 0)
		testnet.Must(t, g.DelOwn(o, false), g.AddOwn(Own{Link: 8, Base: 2}, true))
		want("another link", 0, 1)
		testnet.Must(t, g.Close())
		if left := rules(t); left != "" {
			t.Errorf("after the end:\n%s", left)
		}
		return nil
	}))
}
