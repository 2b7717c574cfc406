// SPDX-License-Identifier: Apache-2.0

package ipvstest

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/ipvs/uapi"
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

func limit(set ipvs.ExtField, l ipvs.Limits) ipvs.Op {
	return ipvs.Op{Kind: ipvs.SetExt, Service: vip, Ext: ipvs.Ext{Set: set, Limits: l}}
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
		{limit(ipvs.ExtFieldBPSIn, ipvs.Limits{BPSIn: ipvs.MaxBPS + 1}), syscall.ERANGE, "BPS_IN and BPS_OUT are at most 10^12 bytes per second"},
		{limit(ipvs.ExtFieldTimeoutEst, ipvs.Limits{TimeoutEst: ipvs.MaxTimeoutEst + time.Second}), syscall.ERANGE, "TIMEOUT_EST is at most 1048576 seconds"},
		{limit(ipvs.ExtFieldACLMode, ipvs.Limits{ACL: ipvs.ACLBlack}), syscall.EINVAL, "ACL_MODE needs ACL_SET4"},
		{limit(ipvs.ExtFieldACLMode|ipvs.ExtFieldACLSet4, ipvs.Limits{ACL: ipvs.ACLBlack, ACLSet4: "nobody"}), syscall.ENOENT, "ipset 'nobody' not found"},
		{limit(ipvs.ExtFieldACLSet4, ipvs.Limits{ACLSet4: "six"}), syscall.EAFNOSUPPORT, "ipset 'six' is not IPv4"},
	} {
		table := New()
		if err := table.Apply(t.Context(), build()...); err != nil {
			t.Fatal(err)
		}
		table.AddSet("six", ipvs.IPv6)
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

// TestTableLimits: limits are kept, listed and printed; a module without them
// refuses them and lists none.
func TestTableLimits(t *testing.T) {
	op := limit(ipvs.ExtFieldCPS|ipvs.ExtFieldACLMode|ipvs.ExtFieldACLSet4, ipvs.Limits{CPS: 100, ACL: ipvs.ACLWhite, ACLSet4: "office"})
	table := New()
	table.AddSet("office", ipvs.IPv4)
	if err := table.Apply(t.Context(), append(build(), op)...); err != nil {
		t.Fatal(err)
	}
	s, err := table.ExtService(t.Context(), vip.ServiceKey)
	if err != nil || s.Limits != op.Ext.Limits || s.Set&ipvs.ExtFieldConnLimit == 0 {
		t.Errorf("%+v, %v", s, err)
	}
	if want := "-E -t 192.0.2.1:80 --lgroup g --fullnat --cps 100 --acl white --acl-set4 office\n"; !strings.Contains(table.String(), want) {
		t.Errorf("no %q in\n%s", want, table)
	}
	old := NewWith(Features &^ (uapi.ExtFeatLimits | uapi.ExtFeatAcl))
	if err := old.Apply(t.Context(), build()...); err != nil {
		t.Fatal(err)
	}
	var said *ipvs.OpError
	if err := old.Apply(t.Context(), op); !errors.Is(err, syscall.EOPNOTSUPP) || !errors.As(err, &said) || said.Message != "the running ip_vs has no LIMITS, ACL" {
		t.Errorf("got %v", err)
	}
	if s, err = old.ExtService(t.Context(), vip.ServiceKey); err != nil || s.Set&ipvs.ExtFieldCPS != 0 {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestTableDeletesConns: those that the filter selects, and their number.
func TestTableDeletesConns(t *testing.T) {
	table := New()
	conn := func(client string) ipvs.Conn {
		return ipvs.Conn{Protocol: ipvs.TCP, Client: netip.MustParseAddrPort(client)}
	}
	table.SetConns(conn("192.0.2.9:1"), conn("192.0.2.9:2"), conn("192.0.2.10:1"))
	n, err := table.DeleteConns(t.Context(), ipvs.ConnFilter{Client: netip.MustParsePrefix("192.0.2.9/32")})
	if err != nil || n != 2 {
		t.Errorf("%d deleted, %v", n, err)
	}
	for c := range table.Conns(t.Context(), ipvs.ConnFilter{}) {
		if c != conn("192.0.2.10:1") {
			t.Errorf("%v is left", c)
		}
	}
}

// TestTableEvents: who listens gets what is emitted from then on.
func TestTableEvents(t *testing.T) {
	table := New()
	want := ipvs.Event{Kind: ipvs.EventPorts80, LGroup: ipvs.LGroup{Name: "g"}}
	table.Emit(ipvs.Event{Kind: ipvs.EventPorts95})
	for got, err := range table.Events(t.Context(), func() { table.Emit(want) }) {
		if err != nil || got != want {
			t.Errorf("%+v, %v", got, err)
		}
		break
	}
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	for _, err := range table.Events(ctx, cancel) {
		if n++; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	}
	if n != 1 {
		t.Errorf("%d rounds after the context ended", n)
	}
}
