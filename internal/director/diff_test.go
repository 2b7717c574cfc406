// SPDX-License-Identifier: Apache-2.0

package director

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/ipvs/ipvstest"
	"pgregory.net/rapid"
)

// drawTables makes tables of few enough names that two draws share many.
func drawTables(t *rapid.T, label string) Tables {
	var tab Tables
	free := map[ipvs.Family][]netip.Addr{}
	for i := range 4 {
		free[ipvs.IPv4] = append(free[ipvs.IPv4], netip.AddrFrom4([4]byte{10, 0, 2, byte(201 + i)}))
		free[ipvs.IPv6] = append(free[ipvs.IPv6], netip.MustParseAddr(fmt.Sprintf("2001:db8:2::%d", 201+i)))
	}
	for _, name := range []string{"a", "b", "a/6", "b/6"} {
		family := ipvs.IPv4
		if strings.HasSuffix(name, "/6") {
			family = ipvs.IPv6
		}
		n := rapid.IntRange(0, min(3, len(free[family]))).Draw(t, label+" addresses of "+name)
		if n == 0 {
			continue
		}
		g := Group{Name: name, Family: family}
		for range n {
			k := rapid.IntRange(0, len(free[family])-1).Draw(t, "address")
			a := ipvs.Laddr{Addr: free[family][k]}
			free[family] = slices.Delete(free[family], k, k+1)
			if rapid.Bool().Draw(t, "with ports") {
				a.PortMin, a.PortMax = 2000, 3000
			}
			g.Laddrs = append(g.Laddrs, a)
		}
		tab.Groups = append(tab.Groups, g)
	}
	for i, vip := range []string{"10.0.1.100", "10.0.1.101", "2001:db8:1::100"} {
		if rapid.Bool().Draw(t, label+" "+vip) {
			tab.Services = append(tab.Services, drawService(t, tab.Groups, netip.MustParseAddr(vip), uint16(80+i)))
		}
	}
	return tab
}

func drawService(t *rapid.T, groups []Group, vip netip.Addr, port uint16) *Service {
	s := &Service{ServiceKey: ipvs.ServiceKey{Family: ipvs.FamilyOf(vip), Protocol: ipvs.TCP, Addr: vip, Port: port}, Settings: &Settings{Main: ipvs.Service{
		Scheduler: rapid.SampledFrom([]string{"rr", "wlc"}).Draw(t, "scheduler"),
		Netmask:   netmask(2, 0, netip.Addr{}),
	}}}
	if vip.Is6() {
		s.Main.Netmask = 128
	}
	var usable []string
	for _, g := range groups {
		if g.Family == s.Family {
			usable = append(usable, g.Name)
		}
	}
	switch kind := rapid.IntRange(0, 3).Draw(t, "kind"); {
	case kind > 0 && len(usable) > 0:
		s.Ext = ipvs.Ext{Flags: ipvs.ExtFNAT, LGroup: rapid.SampledFrom(usable).Draw(t, "group")}
		if rapid.Bool().Draw(t, "toa") {
			s.Ext.Flags |= ipvs.ExtTOA
			s.Ext.TOAKind4, s.Ext.TOAKind6 = 254, rapid.SampledFrom([]uint8{253, 254}).Draw(t, "kind6")
		}
		s.Ext.TSMode = rapid.SampledFrom([]ipvs.TSMode{ipvs.TSKeep, ipvs.TSStrip}).Draw(t, "timestamps")
	case rapid.Bool().Draw(t, "ops"):
		s.Main.Flags |= ipvs.FlagOnePacket
	case rapid.Bool().Draw(t, "persistent"):
		s.Main.Flags, s.Main.Timeout = s.Main.Flags|ipvs.FlagPersistent, 300*time.Second
	}
	for i := range 3 {
		if !rapid.Bool().Draw(t, "dest") {
			continue
		}
		rip := netip.AddrFrom4([4]byte{10, 0, 2, byte(11 + i)})
		if vip.Is6() {
			rip = netip.MustParseAddr(fmt.Sprintf("2001:db8:2::%d", 11+i))
		}
		s.Dests = append(s.Dests, Dest{
			DestKey: destKeyOf(netip.AddrPortFrom(rip, 80)),
			Weight:  rapid.Uint32Range(0, 2).Draw(t, "weight"),
		})
	}
	return s
}

func apply(t interface{ Fatalf(string, ...any) }, table *ipvstest.Table, ops []ipvs.Op) {
	if err := table.Apply(context.Background(), ops...); err != nil {
		t.Fatalf("%v\nof:\n%s", err, lines(ops))
	}
}

func lines(ops []ipvs.Op) string {
	var b strings.Builder
	for _, op := range ops {
		fmt.Fprintln(&b, op)
	}
	return b.String()
}

func readAll(t interface{ Fatalf(string, ...any) }, table *ipvstest.Table, scope ...Tables) Tables {
	m := NewMirror(table)
	var want Tables
	for _, s := range scope {
		want = union(want, s)
	}
	got, err := m.read(context.Background(), want, nil)
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	return got
}

// TestDiffReaches: the difference of a and b, applied to a, gives b; and then
// there is no difference any more.
func TestDiffReaches(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawTables(t, "a"), drawTables(t, "b")
		table := ipvstest.New()
		apply(t, table, Diff(Tables{}, a))
		apply(t, table, Diff(a, b))
		if again := Diff(b, b); len(again) != 0 {
			t.Fatalf("unchanged tables give\n%s", lines(again))
		}
		if rest := Diff(readAll(t, table, a, b), b); len(rest) != 0 {
			t.Fatalf("the kernel still differs by\n%s", lines(rest))
		}
		apply(t, table, Diff(b, Tables{}))
		if got := table.String(); got != "" {
			t.Fatalf("left after the end:\n%s", got)
		}
	})
}

// TestDiffNeverPlainNAT: at no step of a change, a start or an end has a
// service that is to be FNAT before or after, and is never anything else, dests
// while FNAT is off.
func TestDiffNeverPlainNAT(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawTables(t, "a"), drawTables(t, "b")
		fnat := map[ipvs.ServiceKey]bool{}
		for _, tab := range []Tables{a, b} {
			for _, s := range tab.Services {
				fnat[s.ServiceKey] = true
			}
		}
		for _, tab := range []Tables{a, b} {
			for _, s := range tab.Services {
				fnat[s.ServiceKey] = fnat[s.ServiceKey] && s.Ext.Flags&ipvs.ExtFNAT != 0
			}
		}
		table := ipvstest.New()
		for _, ops := range [][]ipvs.Op{Diff(Tables{}, a), Diff(a, b), Diff(b, Tables{})} {
			for i, op := range ops {
				apply(t, table, []ipvs.Op{op})
				for _, s := range readAll(t, table, a, b).Services {
					if fnat[s.ServiceKey] && s.Ext.Flags&ipvs.ExtFNAT == 0 && len(s.Dests) > 0 {
						t.Fatalf("plain NAT after step %d of\n%s", i, lines(ops))
					}
				}
			}
		}
	})
}

// TestDiffKeepsConnections: what is in both is never deleted, and all that is
// added comes before all that goes, addresses that change their group excepted.
func TestDiffKeepsConnections(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawTables(t, "a"), drawTables(t, "b")
		stay := map[string]bool{}
		for _, s := range a.Services {
			for _, w := range b.Services {
				if s.ServiceKey == w.ServiceKey {
					stay[s.ServiceKey.String()] = true
					for _, d := range s.Dests {
						if slices.ContainsFunc(w.Dests, func(x Dest) bool { return x.DestKey == d.DestKey }) {
							stay[s.ServiceKey.String()+d.DestKey.String()] = true
						}
					}
				}
			}
		}
		ops := Diff(a, b)
		gone := false
		for _, op := range ops {
			switch op.Kind {
			case ipvs.DelService:
				gone = true
				if stay[op.Service.ServiceKey.String()] {
					t.Fatalf("deletes a service that stays:\n%s", lines(ops))
				}
			case ipvs.DelDest:
				gone = true
				if stay[op.Service.ServiceKey.String()+op.Dest.DestKey.String()] {
					t.Fatalf("deletes a dest that stays:\n%s", lines(ops))
				}
			case ipvs.DelLaddr, ipvs.DelLGroup:
			default:
				if gone {
					t.Fatalf("%s after something has gone:\n%s", op, lines(ops))
				}
			}
		}
	})
}

// TestDiffStockKernel: without FNAT nothing goes to the extension.
func TestDiffStockKernel(t *testing.T) {
	want := Tables{Services: []*Service{{
		ServiceKey: ipvs.ServiceKey{Family: ipvs.IPv4, FWMark: 7},
		Settings:   &Settings{Main: ipvs.Service{Scheduler: "rr", Netmask: netmask(2, 0, netip.Addr{})}},
		Dests:      []Dest{{DestKey: destKeyOf(netip.MustParseAddrPort("10.0.2.11:0")), Weight: 1}},
	}}}
	table := ipvstest.NewStock()
	apply(t, table, Diff(Tables{}, want))
	apply(t, table, Diff(want, Tables{}))
}

// TestDiffOrder shows one start, one reload and the end as a person reads them.
func TestDiffOrder(t *testing.T) {
	svc := func(vip string, dests ...string) *Service {
		a := netip.MustParseAddr(vip)
		s := &Service{
			ServiceKey: ipvs.ServiceKey{Family: ipvs.IPv4, Protocol: ipvs.TCP, Addr: a, Port: 80},
			Settings: &Settings{
				Main: ipvs.Service{Scheduler: "rr", Netmask: netmask(2, 0, netip.Addr{})},
				Ext:  ipvs.Ext{Flags: ipvs.ExtFNAT, LGroup: "back"},
			},
		}
		for _, d := range dests {
			s.Dests = append(s.Dests, Dest{DestKey: destKeyOf(netip.MustParseAddrPort(d)), Weight: 1})
		}
		return s
	}
	group := Group{Name: "back", Family: ipvs.IPv4, Laddrs: []ipvs.Laddr{{Addr: netip.MustParseAddr("10.0.2.201")}}}
	a := Tables{Groups: []Group{group}, Services: []*Service{svc("10.0.1.100", "10.0.2.11:80")}}
	b := Tables{Groups: []Group{group}, Services: []*Service{svc("10.0.1.100", "10.0.2.12:80"), svc("10.0.1.101", "10.0.2.11:80")}}
	b.Groups[0].Laddrs = []ipvs.Laddr{{Addr: netip.MustParseAddr("10.0.2.202")}}
	kinds := func(ops []ipvs.Op) string {
		var s []string
		for _, op := range ops {
			s = append(s, op.Kind.String())
		}
		return strings.Join(s, ", ")
	}
	for name, c := range map[string]struct {
		ops  []ipvs.Op
		want string
	}{
		"start":  {Diff(Tables{}, a), "add local address group, add local address, add service, set extended service, add dest"},
		"reload": {Diff(a, b), "add local address, add dest, add service, set extended service, add dest, delete dest, delete local address"},
		"end":    {Diff(a, Tables{}), "delete dest, delete service, delete local address, delete local address group"},
	} {
		if got := kinds(c.ops); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, c.want)
		}
	}
}

// TestPortsBackToDefault: the kernel chooses ports for a new address only.
func TestPortsBackToDefault(t *testing.T) {
	group := func(min, max uint16) Tables {
		return Tables{Groups: []Group{{Name: "back", Family: ipvs.IPv4,
			Laddrs: []ipvs.Laddr{{Addr: netip.MustParseAddr("10.0.2.201"), PortMin: min, PortMax: max}}}}}
	}
	for _, c := range []struct {
		ops  []ipvs.Op
		want []ipvs.OpKind
	}{
		{Diff(group(2000, 3000), group(0, 0)), []ipvs.OpKind{ipvs.DelLaddr, ipvs.AddLaddr}},
		{Diff(group(2000, 3000), group(2000, 4000)), []ipvs.OpKind{ipvs.SetLaddr}},
		{Diff(group(0, 0), group(2000, 3000)), []ipvs.OpKind{ipvs.SetLaddr}},
	} {
		var got []ipvs.OpKind
		for _, op := range c.ops {
			got = append(got, op.Kind)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: want %v", lines(c.ops), c.want)
		}
	}
}

// manyTables are n services with two dests each.
func manyTables(n int) Tables {
	var tab Tables
	for i := range n {
		vip := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
		s := &Service{ServiceKey: ipvs.ServiceKey{Family: ipvs.IPv4, Protocol: ipvs.TCP, Addr: vip, Port: 80}, Settings: &Settings{Main: ipvs.Service{Scheduler: "wrr"}}}
		for r := range 2 {
			s.Dests = append(s.Dests, Dest{DestKey: destKeyOf(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 2, byte(r), byte(i)}), 80)), Weight: 1})
		}
		tab.Services = append(tab.Services, s)
	}
	return tab
}

// TestPortions: a mirror never holds more than a portion of the operations, does
// what Diff says, and takes back earlier portions when one is refused.
func TestPortions(t *testing.T) {
	want := manyTables(portion)
	ops := Diff(Tables{}, want)
	if len(ops) != 3*portion {
		t.Fatalf("%d operations", len(ops))
	}
	table := ipvstest.NewStock()
	m := NewMirror(table)
	if err := diffInto(Tables{}, want, func(ops []ipvs.Op) error {
		if len(ops) != portion {
			t.Errorf("a portion of %d", len(ops))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	table.FailAt(2*portion+1, syscall.ENOMEM)
	if err := m.Sync(t.Context(), want); !errors.Is(err, syscall.ENOMEM) {
		t.Fatal(err)
	}
	if got := table.String(); got != "" {
		t.Fatalf("left after a refusal:\n%s", got)
	}
	table.Forget()
	if err := m.Sync(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	if got := table.Applied(); lines(got) != lines(ops) {
		t.Errorf("got\n%swant\n%s", lines(got), lines(ops))
	}
	if err := m.Remove(t.Context()); err != nil || table.String() != "" {
		t.Errorf("%v, left after the end:\n%s", err, table)
	}
}
