// SPDX-License-Identifier: Apache-2.0

package ipvstest

import (
	"errors"
	"io/fs"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/lvs-fnat/lvs/ipvs"
)

var (
	vip  = ipvs.Service{ServiceKey: ipvs.ServiceKey{Family: ipvs.IPv4, Protocol: ipvs.TCP, Addr: netip.MustParseAddr("192.0.2.1"), Port: 80}, Scheduler: "rr"}
	grp  = ipvs.LGroup{Name: "g", Family: ipvs.IPv4}
	lip  = ipvs.Laddr{Addr: netip.MustParseAddr("10.0.0.11"), PortMin: 5000, PortMax: 6000}
	dest = ipvs.Dest{DestKey: ipvs.DestKey{Family: ipvs.IPv4, Addr: netip.MustParseAddr("10.1.0.1"), Port: 8080}, Weight: 1}
	fnat = ipvs.Ext{Set: ipvs.ExtFieldFlags | ipvs.ExtFieldLGroup, Flags: ipvs.ExtFNAT, FlagsMask: ipvs.ExtFNAT, LGroup: "g"}
)

func build() []ipvs.Op {
	return []ipvs.Op{
		{Kind: ipvs.AddLGroup, LGroup: grp},
		{Kind: ipvs.AddLaddr, LGroup: grp, Laddr: lip},
		{Kind: ipvs.AddService, Service: vip},
		{Kind: ipvs.SetExt, Service: vip, Ext: fnat},
		{Kind: ipvs.AddDest, Service: vip, Dest: dest},
	}
}

func TestTablePrintsWhatBuildsIt(t *testing.T) {
	table := New()
	if err := table.Apply(t.Context(), build()...); err != nil {
		t.Fatal(err)
	}
	want := `-P --lgroup g
-P --lgroup g -z 10.0.0.11:5000-6000
-A -t 192.0.2.1:80 -s rr
-E -t 192.0.2.1:80 --lgroup g --fullnat
-a -t 192.0.2.1:80 -r 10.1.0.1:8080 -m -w 1
`
	if diff := cmp.Diff(want, table.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff(want, strings.Join(table.Lines(), "\n")+"\n"); diff != "" {
		t.Errorf("order -want +got:\n%s", diff)
	}
}

func TestTableRefusesAsTheKernel(t *testing.T) {
	for _, tc := range []struct {
		op    ipvs.Op
		errno syscall.Errno
		text  string
	}{
		{ipvs.Op{Kind: ipvs.AddService, Service: vip}, syscall.EEXIST, ""},
		{ipvs.Op{Kind: ipvs.DelDest, Service: vip, Dest: ipvs.Dest{DestKey: ipvs.DestKey{Addr: lip.Addr}}}, syscall.ENOENT, ""},
		{ipvs.Op{Kind: ipvs.DelService, Service: ipvs.Service{ServiceKey: ipvs.ServiceKey{FWMark: 3}}}, syscall.ESRCH, ""},
		{ipvs.Op{Kind: ipvs.DelLGroup, LGroup: grp}, syscall.EBUSY, "used by 1 services"},
		{ipvs.Op{Kind: ipvs.AddLaddr, LGroup: grp, Laddr: lip}, syscall.EEXIST, "address is in the group already"},
		{ipvs.Op{Kind: ipvs.AddLaddr, LGroup: ipvs.LGroup{Name: "no"}, Laddr: lip}, syscall.ENOENT, "no such local address group"},
		{ipvs.Op{Kind: ipvs.SetLaddr, LGroup: grp, Laddr: ipvs.Laddr{Addr: lip.Addr, PortMin: 30000, PortMax: 40000}}, syscall.EADDRINUSE, "range overlaps net.ipv4.ip_local_port_range; reserve it with ip_local_reserved_ports"},
		{ipvs.Op{Kind: ipvs.SetLaddr, LGroup: grp, Laddr: ipvs.Laddr{Addr: lip.Addr, PortMax: 40000}}, syscall.ERANGE, "port range is empty"},
		{ipvs.Op{Kind: ipvs.SetExt, Service: vip, Ext: ipvs.Ext{Set: ipvs.ExtFieldLGroup, LGroup: "no"}}, syscall.ENOENT, "no such local address group"},
		{ipvs.Op{Kind: ipvs.SetExt, Service: vip, Ext: ipvs.Ext{Set: ipvs.ExtFieldFlags, Flags: ipvs.ExtTOASyn, FlagsMask: ipvs.ExtTOASyn}}, syscall.EINVAL, "TOA_SYN needs TOA"},
		{ipvs.Op{Kind: ipvs.SetExt, Service: vip, Ext: ipvs.Ext{Set: ipvs.ExtFieldMSSClamp, MSSClamp: 87}}, syscall.ERANGE, "MSS_CLAMP is 0 or 88 to 65495"},
		{ipvs.Op{Kind: ipvs.SetExt, Service: vip, Ext: ipvs.Ext{Set: ipvs.ExtFieldLGroup}}, syscall.EINVAL, "FNAT needs a local address group"},
	} {
		table := New()
		if err := table.Apply(t.Context(), build()...); err != nil {
			t.Fatal(err)
		}
		before := table.String()
		err := table.Apply(t.Context(), tc.op)
		var op *ipvs.OpError
		if !errors.Is(err, tc.errno) || !errors.As(err, &op) || op.Message != tc.text {
			t.Errorf("%v: got %v", tc.op, err)
		}
		if diff := cmp.Diff(before, table.String()); diff != "" {
			t.Errorf("%v changed the table:\n%s", tc.op, diff)
		}
	}
}

func TestTableFailAt(t *testing.T) {
	table := New()
	table.FailAt(3, syscall.ENOMEM)
	err := table.Apply(t.Context(), build()...)
	var b *ipvs.BatchError
	if !errors.As(err, &b) || b.Index != 3 || !errors.Is(err, syscall.ENOMEM) || len(table.Applied()) != 3 {
		t.Errorf("got %v after %v", err, table.Lines())
	}
}

func TestStockTable(t *testing.T) {
	table := NewStock()
	if err := table.Apply(t.Context(), build()...); !errors.Is(err, ipvs.ErrNoExt) {
		t.Errorf("got %v", err)
	}
	if _, err := table.Dests(t.Context(), vip.ServiceKey); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// TestTableDefaults: FNAT brings sequence adjustment and stripped timestamps,
// unless a request ever named them, and an address a range of ports.
func TestTableDefaults(t *testing.T) {
	table := New()
	anyPort := ipvs.Laddr{Addr: netip.MustParseAddr("10.0.0.12")}
	plain := ipvs.Op{Kind: ipvs.AddService, Service: vip}
	plain.Service.Port = 81
	keep := ipvs.Op{Kind: ipvs.SetExt, Service: plain.Service, Ext: ipvs.Ext{Set: ipvs.ExtFieldTSMode}}
	on := ipvs.Op{Kind: ipvs.SetExt, Service: plain.Service, Ext: fnat}
	if err := table.Apply(t.Context(), append(build(), plain, keep, on, ipvs.Op{Kind: ipvs.AddLaddr, LGroup: grp, Laddr: anyPort})...); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		key ipvs.ServiceKey
		ts  ipvs.TSMode
	}{{vip.ServiceKey, ipvs.TSStrip}, {plain.Service.ServiceKey, ipvs.TSKeep}} {
		s, err := table.ExtService(t.Context(), tc.key)
		if err != nil || s.Flags != ipvs.ExtFNAT|ipvs.ExtSeq || s.TSMode != tc.ts || s.TOAKind4 != 254 || s.TOAKind6 != 254 {
			t.Errorf("%v: %+v, %v", tc.key, s.Ext, err)
		}
	}
	// No range in a change keeps the one there is.
	if err := table.Apply(t.Context(), ipvs.Op{Kind: ipvs.SetLaddr, LGroup: grp, Laddr: ipvs.Laddr{Addr: lip.Addr, Flags: ipvs.LaddrNoNew}}); err != nil {
		t.Fatal(err)
	}
	got, err := table.Laddrs(t.Context(), "g")
	if err != nil || len(got) != 2 || got[0].PortMin != 5000 || got[0].PortMax != 6000 || got[1].PortMin != 1024 || got[1].PortMax != 32767 {
		t.Errorf("%+v, %v", got, err)
	}
}
