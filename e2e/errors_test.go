// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testvm"
	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/ipvs/uapi"
)

// TestErrors: every refusal of the family IPVS_EXT, with errno and the text that
// the kernel gives; and that a refusal changes nothing. Case 71.
func TestErrors(t *testing.T) {
	needOurs(t)
	for _, f := range fams {
		t.Run("71_errors_"+f.name, func(t *testing.T) {
			r := newRig(t, f)
			r.prepareErrors(t)
			for _, c := range r.refusals(t) {
				t.Run(c.name, func(t *testing.T) {
					before := r.table(t)
					err := r.x.Apply(t.Context(), c.op)
					wantErrno(t, err, c.errno, c.text)
					if after := r.table(t); after != before {
						t.Errorf("a refused request changed\n%s\nto\n%s", before, after)
					}
				})
			}
		})
	}
	t.Run("71_port_ranges_v4", portRanges)
	t.Run("71_unsupported_v4", unsupported)
	t.Run("71_strict_v4", strictness)
	t.Run("71_edges_v4", edges)
	t.Run("71_filters_v4", filters)
	t.Run("71_privilege_v4", privilege)
}

func wantErrno(t *testing.T, err error, errno syscall.Errno, text string) {
	t.Helper()
	var e *ipvs.OpError
	switch {
	case err == nil:
		t.Error("accepted")
	case !errors.Is(err, errno):
		t.Errorf("answered %v, want %v", err, errno)
	case !errors.As(err, &e):
		t.Errorf("error of type %T: %v", err, err)
	case e.Message != text:
		t.Errorf("text %q, want %q", e.Message, text)
	}
}

// table is all that is configured, as text.
func (r *rig) table(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	services, err := r.x.ExtServices(t.Context())
	testnet.Must(t, err)
	for _, s := range services {
		s.Stats = nil
		fmt.Fprintf(&b, "%+v\n", s)
		dests, err := r.x.Dests(t.Context(), s.ServiceKey)
		testnet.Must(t, err)
		for _, d := range dests {
			fmt.Fprintf(&b, "  %v %v %d\n", d.DestKey, d.Forward, d.Weight)
		}
	}
	groups, err := r.x.LGroups(t.Context())
	testnet.Must(t, err)
	for _, g := range groups {
		addrs, err := r.x.Laddrs(t.Context(), g.Name)
		testnet.Must(t, err)
		fmt.Fprintf(&b, "%+v %+v\n", g, addrs)
	}
	return b.String()
}

// The ports of the services of prepareErrors.
const (
	svcPlain = 80
	svcOPS   = 81
	svcUDP   = 82
	svcFNAT  = 83
)

func (r *rig) key(proto ipvs.Protocol, port uint16) ipvs.ServiceKey {
	return ipvs.ServiceKey{Family: ipvs.FamilyOf(r.vip), Protocol: proto, Addr: r.vip, Port: port}
}

func (r *rig) addService(key ipvs.ServiceKey, flags ipvs.ServiceFlags, pe string) ipvs.Op {
	s := ipvs.Service{ServiceKey: key, Scheduler: "rr", Flags: flags, PEName: pe, Netmask: 0xffffffff}
	if r.v6() {
		s.Netmask = 128
	}
	if flags&ipvs.FlagPersistent != 0 {
		s.Timeout = time.Minute
	}
	return ipvs.Op{Kind: ipvs.AddService, Service: s}
}

func (r *rig) group(name string, f fam) ipvs.LGroup {
	return ipvs.LGroup{Name: name, Family: ipvs.FamilyOf(f.vip)}
}

func (r *rig) prepareErrors(t *testing.T) {
	t.Helper()
	testnet.Must(t, testvm.Modprobe("ip_vs_pe_sip"))
	other := fam6
	if r.v6() {
		other = fam4
	}
	r.apply(t,
		ipvs.Op{Kind: ipvs.AddLGroup, LGroup: r.group("full", r.fam)},
		ipvs.Op{Kind: ipvs.AddLaddr, LGroup: r.group("full", r.fam), Laddr: ipvs.Laddr{Addr: r.lip[0]}},
		ipvs.Op{Kind: ipvs.AddLGroup, LGroup: r.group("empty", r.fam)},
		ipvs.Op{Kind: ipvs.AddLGroup, LGroup: r.group("other", other)},
		ipvs.Op{Kind: ipvs.AddLaddr, LGroup: r.group("other", other), Laddr: ipvs.Laddr{Addr: other.lip[0], Flags: ipvs.LaddrForce}},
		r.addService(r.key(ipvs.TCP, svcPlain), 0, ""),
		r.addService(r.key(ipvs.UDP, svcOPS), ipvs.FlagOnePacket, ""),
		r.addService(r.key(ipvs.UDP, svcUDP), 0, ""),
		r.addService(r.key(ipvs.TCP, 21), ipvs.FlagPersistent, ""),
		r.addService(r.key(ipvs.UDP, 5060), ipvs.FlagPersistent, "sip"),
		r.addService(r.key(ipvs.SCTP, 80), 0, ""),
		r.addService(r.key(ipvs.TCP, svcFNAT), 0, ""),
		setExt(r.key(ipvs.TCP, svcFNAT), ipvs.ExtFNAT, "full"),
	)
}

// setExt asks for flags and a group; an empty name asks for none.
func setExt(key ipvs.ServiceKey, flags ipvs.ExtFlags, name string) ipvs.Op {
	op := ipvs.Op{Kind: ipvs.SetExt, Service: ipvs.Service{ServiceKey: key}, Ext: ipvs.Ext{Set: ipvs.ExtFieldFlags, Flags: flags, FlagsMask: flags}}
	if name != "" {
		op.Ext.Set |= ipvs.ExtFieldLGroup
		op.Ext.LGroup = name
	}
	return op
}

func limitOp(key ipvs.ServiceKey, set ipvs.ExtField, l ipvs.Limits) ipvs.Op {
	return ipvs.Op{Kind: ipvs.SetExt, Service: ipvs.Service{ServiceKey: key}, Ext: ipvs.Ext{Set: set, Limits: l}}
}

type refusal struct {
	name  string
	op    ipvs.Op
	errno syscall.Errno
	text  string
}

func (r *rig) refusals(t *testing.T) []refusal {
	us, them := "IPv4", "IPv6"
	if r.v6() {
		us, them = them, us
	}
	full, empty := r.group("full", r.fam), r.group("empty", r.fam)
	laddr := func(kind ipvs.OpKind, g ipvs.LGroup, a netip.Addr, min, max uint16) ipvs.Op {
		return ipvs.Op{Kind: kind, LGroup: g, Laddr: ipvs.Laddr{Addr: a, PortMin: min, PortMax: max}}
	}
	mss := ipvs.Op{Kind: ipvs.SetExt, Service: ipvs.Service{ServiceKey: r.key(ipvs.TCP, svcPlain)}, Ext: ipvs.Ext{Set: ipvs.ExtFieldMSSClamp, MSSClamp: 87}}
	return []refusal{
		{"no_service", setExt(r.key(ipvs.TCP, 9999), ipvs.ExtFNAT, "full"), syscall.ESRCH, "no such virtual service"},
		{"no_group", setExt(r.key(ipvs.TCP, svcPlain), ipvs.ExtFNAT, ""), syscall.EINVAL, "FNAT needs a local address group"},
		{"empty_group", setExt(r.key(ipvs.TCP, svcPlain), ipvs.ExtFNAT, "empty"), syscall.EINVAL, "FNAT needs a local address group"},
		{"unknown_group", setExt(r.key(ipvs.TCP, svcPlain), ipvs.ExtFNAT, "nosuch"), syscall.ENOENT, "no such local address group"},
		{"ops", setExt(r.key(ipvs.UDP, svcOPS), ipvs.ExtFNAT, "full"), syscall.EOPNOTSUPP, "one-packet scheduling has no reply path for FNAT"},
		{"ftp", setExt(r.key(ipvs.TCP, 21), ipvs.ExtFNAT, "full"), syscall.EOPNOTSUPP, "not with application helpers"},
		{"sip", setExt(r.key(ipvs.UDP, 5060), ipvs.ExtFNAT, "full"), syscall.EOPNOTSUPP, "not with application helpers"},
		{"sctp", setExt(r.key(ipvs.SCTP, 80), ipvs.ExtFNAT, "full"), syscall.EPROTONOSUPPORT, "FNAT supports TCP and UDP"},
		{"toa_udp", setExt(r.key(ipvs.UDP, svcUDP), ipvs.ExtFNAT|ipvs.ExtTOA, "full"), syscall.EPROTONOSUPPORT, "TOA is TCP only"},
		{"toa_alone", setExt(r.key(ipvs.TCP, svcPlain), ipvs.ExtTOA, ""), syscall.EINVAL, "TOA needs FNAT"},
		{"toa_syn_alone", setExt(r.key(ipvs.TCP, svcPlain), ipvs.ExtFNAT|ipvs.ExtTOASyn, "full"), syscall.EINVAL, "TOA_SYN needs TOA"},
		{"group_family", setExt(r.key(ipvs.TCP, svcPlain), ipvs.ExtFNAT, "other"), syscall.EAFNOSUPPORT, "local address group is " + them + ", service is " + us},
		{"mss", mss, syscall.ERANGE, "MSS_CLAMP is 0 or 88 to 65495"},
		{"ipset_unknown", limitOp(r.key(ipvs.TCP, svcPlain), ipvs.ExtFieldACLMode|ipvs.ExtFieldACLSet4|ipvs.ExtFieldACLSet6, ipvs.Limits{ACL: ipvs.ACLWhite, ACLSet4: "nobody"}), syscall.ENOENT, "ipset 'nobody' not found"},
		{"acl_without_set", limitOp(r.key(ipvs.TCP, svcPlain), ipvs.ExtFieldACLMode, ipvs.Limits{ACL: ipvs.ACLBlack}), syscall.EINVAL, "ACL_MODE needs ACL_SET" + us[3:]},
		{"bps_without_fnat", limitOp(r.key(ipvs.TCP, svcPlain), ipvs.ExtFieldBPSIn, ipvs.Limits{BPSIn: 1}), syscall.EINVAL, "BPS_IN and BPS_OUT need FNAT or SYNPROXY"},
		{"bps_range", limitOp(r.key(ipvs.TCP, svcFNAT), ipvs.ExtFieldBPSOut, ipvs.Limits{BPSOut: ipvs.MaxBPS + 1}), syscall.ERANGE, "BPS_IN and BPS_OUT are at most 10^12 bytes per second"},
		{"timeout_without_fnat", limitOp(r.key(ipvs.TCP, svcPlain), ipvs.ExtFieldTimeoutEst, ipvs.Limits{TimeoutEst: time.Second}), syscall.EINVAL, "TIMEOUT_EST needs FNAT or SYNPROXY"},
		{"timeout_range", limitOp(r.key(ipvs.TCP, svcFNAT), ipvs.ExtFieldTimeoutEst, ipvs.Limits{TimeoutEst: ipvs.MaxTimeoutEst + time.Second}), syscall.ERANGE, "TIMEOUT_EST is at most 1048576 seconds"},
		{"rst_without_fnat", setExt(r.key(ipvs.TCP, svcPlain), ipvs.ExtRSTOnExpire, ""), syscall.EINVAL, "RST_ON_EXPIRE needs FNAT or SYNPROXY"},
		{"rst_udp", setExt(r.key(ipvs.UDP, svcUDP), ipvs.ExtFNAT|ipvs.ExtRSTOnExpire, "full"), syscall.EPROTONOSUPPORT, "RST_ON_EXPIRE is TCP only"},
		{"invalid_udp", ipvs.Op{Kind: ipvs.SetExt, Service: ipvs.Service{ServiceKey: r.key(ipvs.UDP, svcUDP)}, Ext: ipvs.Ext{Set: ipvs.ExtFieldInvalid, Invalid: ipvs.InvalidDrop}}, syscall.EPROTONOSUPPORT, "INVALID is TCP only"},
		{"not_local", laddr(ipvs.AddLaddr, full, r.rip[0], 0, 0), syscall.EADDRNOTAVAIL, "address is not local; use FORCE or FOREIGN"},
		{"range_empty", laddr(ipvs.AddLaddr, full, r.lip[1], 3000, 2000), syscall.ERANGE, "port range is empty"},
		{"range_low", laddr(ipvs.AddLaddr, full, r.lip[1], 1000, 2000), syscall.ERANGE, "port range begins below 1024; use FORCE"},
		{"range_ephemeral", laddr(ipvs.AddLaddr, full, r.lip[1], 32000, 33000), syscall.EADDRINUSE, "range overlaps net.ipv4.ip_local_port_range; reserve it with ip_local_reserved_ports"},
		{"other_group", laddr(ipvs.AddLaddr, empty, r.lip[0], 0, 0), syscall.EEXIST, "address is in group full"},
		{"same_group", laddr(ipvs.AddLaddr, full, r.lip[0], 0, 0), syscall.EEXIST, "address is in the group already"},
		{"del_missing", laddr(ipvs.DelLaddr, full, r.lip[1], 0, 0), syscall.ENOENT, "no such local address in the group"},
		{"set_missing", laddr(ipvs.SetLaddr, full, r.lip[1], 0, 0), syscall.ENOENT, "no such local address in the group"},
		{"group_in_use", ipvs.Op{Kind: ipvs.DelLGroup, LGroup: full}, syscall.EBUSY, "used by 1 services"},
		{"group_missing", ipvs.Op{Kind: ipvs.DelLGroup, LGroup: r.group("nosuch", r.fam)}, syscall.ENOENT, "no such local address group"},
		{"group_twice", ipvs.Op{Kind: ipvs.AddLGroup, LGroup: full}, syscall.EEXIST, "local address group exists"},
		{"wrong_family", laddr(ipvs.AddLaddr, r.group("other", r.fam), r.lip[1], 0, 0), syscall.EAFNOSUPPORT, "local address group is " + them + ", address is " + us},
	}
}

// Ranges that touch the ephemeral ports, and what makes them acceptable.
func portRanges(t *testing.T) {
	r := newRig(t, fam4)
	g := r.group("g", r.fam)
	r.apply(t, ipvs.Op{Kind: ipvs.AddLGroup, LGroup: g})
	add := func(i int, min, max uint16, flags ipvs.LaddrFlags) error {
		return r.x.Apply(t.Context(), ipvs.Op{Kind: ipvs.AddLaddr, LGroup: g, Laddr: ipvs.Laddr{Addr: r.lip[i], PortMin: min, PortMax: max, Flags: flags}})
	}
	const text = "range overlaps net.ipv4.ip_local_port_range; reserve it with ip_local_reserved_ports"
	wantErrno(t, add(0, 60999, 61001, 0), syscall.EADDRINUSE, text)
	wantErrno(t, add(0, 1024, 32768, 0), syscall.EADDRINUSE, text)
	testnet.Must(t, r.d.Sysctl("net.ipv4.ip_local_reserved_ports", "40000-40998"))
	wantErrno(t, add(0, 40000, 40999, 0), syscall.EADDRINUSE, text)
	testnet.Must(t, r.d.Sysctl("net.ipv4.ip_local_reserved_ports", "40000-40999"))
	testnet.Must(t, add(0, 40000, 40999, 0), add(1, 33000, 34000, ipvs.LaddrForce), add(2, 61000, 65535, 0))
	testnet.Must(t, r.d.Sysctl("net.ipv4.ip_local_port_range", "2000 20000"))
	testnet.Must(t, add(3, 0, 0, 0))
	all, err := r.x.Laddrs(t.Context(), "g")
	testnet.Must(t, err)
	want := map[netip.Addr][2]uint16{
		r.lip[0]: {40000, 40999}, r.lip[1]: {33000, 34000}, r.lip[2]: {61000, 65535},
		r.lip[3]: {20001, 65535}, // the larger gap
	}
	for _, l := range all {
		if w := want[l.Addr]; l.PortMin != w[0] || l.PortMax != w[1] {
			t.Errorf("%v has ports %d-%d, want %v", l.Addr, l.PortMin, l.PortMax, w)
		}
	}
	if len(all) != len(want) {
		t.Errorf("%d addresses, want %d", len(all), len(want))
	}
}

// raw sends requests that the client would not.
type raw struct {
	c *genetlink.Conn
	f genetlink.Family
}

func (r *rig) raw(t *testing.T) raw {
	t.Helper()
	c, err := genetlink.Dial(&netlink.Config{NetNS: r.d.FD()})
	testnet.Must(t, err)
	t.Cleanup(func() { c.Close() })
	testnet.Must(t, c.SetOption(netlink.ExtendedAcknowledge, true))
	f, err := c.GetFamily(uapi.ExtGenlName)
	testnet.Must(t, err)
	return raw{c, f}
}

type attrs func(ae *netlink.AttributeEncoder)

func (r raw) do(t *testing.T, cmd uint8, a attrs) error {
	t.Helper()
	ae := netlink.NewAttributeEncoder()
	a(ae)
	b, err := ae.Encode()
	testnet.Must(t, err)
	_, err = r.c.Execute(genetlink.Message{Header: genetlink.Header{Command: cmd, Version: uapi.ExtGenlVersion}, Data: b}, r.f.ID, netlink.Request|netlink.Acknowledge)
	return err
}

func nest(typ uint16, f attrs) attrs {
	return func(ae *netlink.AttributeEncoder) {
		ae.Nested(typ, func(n *netlink.AttributeEncoder) error { f(n); return nil })
	}
}

func svcAttrs(key ipvs.ServiceKey) attrs {
	return nest(uapi.ExtASvc, func(n *netlink.AttributeEncoder) {
		n.Uint16(uapi.SvcAF, uint16(key.Family))
		n.Uint16(uapi.SvcProtocol, uint16(key.Protocol))
		n.Bytes(uapi.SvcAddr, key.Addr.AsSlice())
		n.Bytes(uapi.SvcPort, binary.BigEndian.AppendUint16(nil, key.Port))
	})
}

func bitfield(value, mask uint32) []byte {
	return binary.NativeEndian.AppendUint32(binary.NativeEndian.AppendUint32(nil, value), mask)
}

func wantRaw(t *testing.T, name string, err error, errno syscall.Errno, text string, offset bool) {
	t.Helper()
	var e *netlink.OpError
	switch {
	case err == nil:
		t.Errorf("%s: accepted", name)
	case !errors.Is(err, errno):
		t.Errorf("%s: answered %v, want %v", name, err, errno)
	case !errors.As(err, &e):
		t.Errorf("%s: error of type %T: %v", name, err, err)
	case text != "" && e.Message != text:
		t.Errorf("%s: text %q, want %q", name, e.Message, text)
	case offset && e.Offset == 0:
		t.Errorf("%s: the answer does not say which attribute", name)
	}
}

// At the edge of each range of numbers the last value is taken, and listed as it was
// given, and the next refused.
func edges(t *testing.T) {
	r := newRig(t, fam4)
	key := r.key(ipvs.TCP, svcPlain)
	r.apply(t, ipvs.Op{Kind: ipvs.AddLGroup, LGroup: r.group("g", r.fam)}, ipvs.Op{Kind: ipvs.AddLaddr, LGroup: r.group("g", r.fam), Laddr: ipvs.Laddr{Addr: r.lip[0]}},
		r.addService(key, 0, ""), setExt(key, ipvs.ExtFNAT|ipvs.ExtSynproxy, "g"))
	w := r.raw(t)
	set := func(typ uint16, size int, n uint64) error {
		b := binary.NativeEndian.AppendUint64(nil, n)[:size]
		return w.do(t, uapi.ExtCmdSetService, func(ae *netlink.AttributeEncoder) {
			svcAttrs(key)(ae)
			nest(uapi.ExtAExt, func(n *netlink.AttributeEncoder) { n.Bytes(typ, b) })(ae)
		})
	}
	listed := func() ipvs.Ext {
		t.Helper()
		s, err := r.x.ExtService(t.Context(), key)
		testnet.Must(t, err)
		return s.Ext
	}
	for _, c := range []struct {
		name     string
		typ      uint16
		size     int
		good     []uint64
		bad      []uint64
		asListed func(e ipvs.Ext) uint64
	}{
		{"LADDR_SEL", uapi.ExtSvcLaddrSel, 1, []uint64{2, 0}, []uint64{3, 255}, func(e ipvs.Ext) uint64 { return uint64(e.Select) }},
		{"INVALID", uapi.ExtSvcInvalid, 1, []uint64{2, 0}, []uint64{3, 255}, func(e ipvs.Ext) uint64 { return uint64(e.Invalid) }},
		{"TS_MODE", uapi.ExtSvcTsMode, 1, []uint64{2, 0}, []uint64{3, 255}, func(e ipvs.Ext) uint64 { return uint64(e.TSMode) }},
		{"MSS_CLAMP", uapi.ExtSvcMssClamp, 2, []uint64{88, 65495, 0}, []uint64{1, 87, 65496, 65535}, func(e ipvs.Ext) uint64 { return uint64(e.MSSClamp) }},
		{"TOA_KIND4", uapi.ExtSvcToaKind4, 1, []uint64{9, 254}, []uint64{0, 8, 255}, func(e ipvs.Ext) uint64 { return uint64(e.TOAKind4) }},
		{"TOA_KIND6", uapi.ExtSvcToaKind6, 1, []uint64{9, 254}, []uint64{0, 8, 255}, func(e ipvs.Ext) uint64 { return uint64(e.TOAKind6) }},
		{"SP_MSS", uapi.ExtSvcSpMss, 2, []uint64{88, 65495, 0}, []uint64{1, 87, 65496, 65535}, func(e ipvs.Ext) uint64 { return uint64(e.SP.MSS) }},
		{"SP_WSCALE", uapi.ExtSvcSpWscale, 1, []uint64{0, 14, 255}, []uint64{15, 254}, func(e ipvs.Ext) uint64 { return uint64(e.SP.WScale) }},
		{"SP_WINDOW", uapi.ExtSvcSpWindow, 2, []uint64{0, 65535}, nil, func(e ipvs.Ext) uint64 { return uint64(e.SP.Window) }},
		{"SP_TTL", uapi.ExtSvcSpTtl, 1, []uint64{1, 255}, []uint64{0}, func(e ipvs.Ext) uint64 { return uint64(e.SP.TTL) }},
		{"SP_SYN_RETRIES", uapi.ExtSvcSpSynRetries, 1, []uint64{0, 8}, []uint64{9, 255}, func(e ipvs.Ext) uint64 { return uint64(e.SP.SYNRetries) }},
		{"SP_QUEUE", uapi.ExtSvcSpQueue, 1, []uint64{0, 64}, []uint64{65, 255}, func(e ipvs.Ext) uint64 { return uint64(e.SP.Queue) }},
		{"SP_AUTO_OFF", uapi.ExtSvcSpAutoOff, 4, []uint64{1023, 0}, []uint64{1024, 1<<32 - 1}, func(e ipvs.Ext) uint64 { return uint64(e.SP.AutoOff) }},
		{"SP_AUTO_ON", uapi.ExtSvcSpAutoOn, 4, []uint64{1, 1<<32 - 1}, []uint64{0}, func(e ipvs.Ext) uint64 { return uint64(e.SP.AutoOn) }},
		{"TIMEOUT_EST", uapi.ExtSvcTimeoutEst, 4, []uint64{1, 1048576, 0}, []uint64{1048577, 1<<32 - 1}, func(e ipvs.Ext) uint64 { return uint64(e.TimeoutEst / time.Second) }},
		{"CPS", uapi.ExtSvcCps, 4, []uint64{1, 1<<32 - 1, 0}, nil, func(e ipvs.Ext) uint64 { return uint64(e.CPS) }},
		{"CPS_BURST", uapi.ExtSvcCpsBurst, 4, []uint64{1, 1<<32 - 1, 0}, nil, func(e ipvs.Ext) uint64 { return uint64(e.CPSBurst) }},
		{"BPS_IN", uapi.ExtSvcBpsIn, 8, []uint64{1, 1e12, 0}, []uint64{1e12 + 1, 1<<64 - 1}, func(e ipvs.Ext) uint64 { return e.BPSIn }},
		{"BPS_OUT", uapi.ExtSvcBpsOut, 8, []uint64{1, 1e12, 0}, []uint64{1e12 + 1, 1<<64 - 1}, func(e ipvs.Ext) uint64 { return e.BPSOut }},
		{"CONN_LIMIT", uapi.ExtSvcConnLimit, 4, []uint64{1, 1<<32 - 1, 0}, nil, func(e ipvs.Ext) uint64 { return uint64(e.ConnLimit) }},
		{"ACL_MODE", uapi.ExtSvcAclMode, 1, []uint64{0}, []uint64{3, 255}, func(e ipvs.Ext) uint64 { return uint64(e.ACL) }},
	} {
		for _, n := range c.good {
			if err := set(c.typ, c.size, n); err != nil {
				t.Errorf("%s %d: %v", c.name, n, err)
			} else if got := c.asListed(listed()); got != n {
				t.Errorf("%s %d is listed as %d", c.name, n, got)
			}
		}
		before := r.table(t)
		for _, n := range c.bad {
			if err := set(c.typ, c.size, n); !errors.Is(err, syscall.ERANGE) && !errors.Is(err, syscall.EINVAL) {
				t.Errorf("%s %d: answered %v, want a refusal", c.name, n, err)
			}
		}
		if after := r.table(t); after != before {
			t.Errorf("refused values of %s changed\n%s\nto\n%s", c.name, before, after)
		}
	}
	config := func(typ uint16, b []byte) error {
		return w.do(t, uapi.ExtCmdSetConfig, nest(uapi.ExtAConfig, func(n *netlink.AttributeEncoder) { n.Bytes(typ, b) }))
	}
	for name, err := range map[string]error{
		"a key of 15 bytes":          config(uapi.ExtConfigCookieKey, make([]byte, 15)),
		"a key of 17 bytes":          config(uapi.ExtConfigCookieKey, make([]byte, 17)),
		"a previous key of 15 bytes": config(uapi.ExtConfigCookieKeyPrev, make([]byte, 15)),
		"DROP_VIP 2":                 config(uapi.ExtConfigDropVip, []byte{2}),
		"RECLAIM 2":                  config(uapi.ExtConfigReclaim, []byte{2}),
		"SP_EARLY 3":                 config(uapi.ExtConfigSpEarly, []byte{3}),
		"a set's name of 32 bytes":   setName(t, w, key, strings.Repeat("s", 32)),
	} {
		if !errors.Is(err, syscall.ERANGE) && !errors.Is(err, syscall.EINVAL) {
			t.Errorf("%s: answered %v, want a refusal", name, err)
		}
	}
	wantRaw(t, "a set's name of 31 bytes", setName(t, w, key, strings.Repeat("s", 31)), syscall.ENOENT, "ipset '"+strings.Repeat("s", 31)+"' not found", false)
	testnet.Must(t, config(uapi.ExtConfigProbes, []byte{255}), config(uapi.ExtConfigSpQmem, binary.NativeEndian.AppendUint64(nil, 1<<64-1)))
	cfg, err := r.x.ExtConfig(t.Context())
	if err != nil || cfg.Probes != 255 || cfg.SPQMem != 1<<63-1 || cfg.DropVIP || !cfg.Reclaim || cfg.SPEarly != ipvs.SynproxyAuto {
		t.Errorf("the configuration is %+v, %v", cfg, err)
	}
}

// setName names a set for IPv4.
func setName(t *testing.T, w raw, key ipvs.ServiceKey, name string) error {
	t.Helper()
	return w.do(t, uapi.ExtCmdSetService, func(ae *netlink.AttributeEncoder) {
		svcAttrs(key)(ae)
		nest(uapi.ExtAExt, func(n *netlink.AttributeEncoder) { n.String(uapi.ExtSvcAclSet4, name) })(ae)
	})
}

// A filter that makes no sense ends no connection, nor does its absence.
func filters(t *testing.T) {
	r := newRig(t, fam4)
	r.serve(t, setup{})
	f := r.open(t, 0, 4000)
	w := r.raw(t)
	four, six := fam4.cip[0].AsSlice(), fam6.cip[0].AsSlice()
	for _, c := range []struct {
		name  string
		a     attrs
		errno syscall.Errno
		text  string
	}{
		{"none", func(*netlink.AttributeEncoder) {}, syscall.EINVAL, "the request needs FILTER"},
		{"unknown family", nest(uapi.ExtAFilter, func(n *netlink.AttributeEncoder) { n.Uint16(uapi.ExtFilterAf, 3) }), syscall.EAFNOSUPPORT, "AF is neither IPv4 nor IPv6"},
		{"length alone", nest(uapi.ExtAFilter, func(n *netlink.AttributeEncoder) { n.Uint8(uapi.ExtFilterVplen, 0) }), syscall.EINVAL,
			"the request needs the address that a prefix length belongs to"},
		{"IPv4 beyond 32", nest(uapi.ExtAFilter, func(n *netlink.AttributeEncoder) {
			n.Bytes(uapi.ExtFilterLaddr, four)
			n.Uint8(uapi.ExtFilterLplen, 33)
		}), syscall.ERANGE, "prefix length is longer than the address"},
		{"IPv6 beyond 128", nest(uapi.ExtAFilter, func(n *netlink.AttributeEncoder) {
			n.Bytes(uapi.ExtFilterDaddr, six)
			n.Uint8(uapi.ExtFilterDplen, 129)
		}), syscall.ERANGE, "prefix length is longer than the address"},
		{"two families", nest(uapi.ExtAFilter, func(n *netlink.AttributeEncoder) {
			n.Bytes(uapi.ExtFilterCaddr, four)
			n.Bytes(uapi.ExtFilterVaddr, six)
		}), syscall.EINVAL, "the address does not have the length of its AF"},
		{"five bytes", nest(uapi.ExtAFilter, func(n *netlink.AttributeEncoder) { n.Bytes(uapi.ExtFilterCaddr, append(four, 1)) }), syscall.EINVAL,
			"the address does not have the length of its AF"},
	} {
		wantRaw(t, c.name, w.do(t, uapi.ExtCmdDelConn, c.a), c.errno, c.text, false)
	}
	f.talk(t)
	// A prefix of no bits is every address of its family.
	for _, c := range []struct {
		of   fam
		want uint64
	}{{fam6, 0}, {fam4, 1}} {
		if n, err := r.x.DeleteConns(t.Context(), ipvs.ConnFilter{Client: netip.PrefixFrom(c.of.cip[9], 0)}); n != c.want || err != nil {
			t.Errorf("of all clients with %s %d connections are ended, %v; want %d", c.of.name, n, err, c.want)
		}
	}
}

// privilege: who may not configure the network may not even look.
func privilege(t *testing.T) {
	r := newRig(t, fam4)
	z := fuzzer{family: r.raw(t).f.ID}
	answers, errs := map[unix.Errno]int{}, make(chan error)
	sent := 0
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread goes, and what it may not do with it
		errs <- func() error {
			var hdr = unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
			var caps [2]unix.CapUserData
			if err := unix.Capget(&hdr, &caps[0]); err != nil {
				return err
			}
			caps[0].Effective &^= 1 << unix.CAP_NET_ADMIN
			if err := unix.Capset(&hdr, &caps[0]); err != nil {
				return err
			}
			fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_GENERIC)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			for cmd := uint8(uapi.ExtCmdGetInfo); cmd <= uapi.ExtCmdZeroStats; cmd++ {
				flags := uint16(unix.NLM_F_REQUEST | unix.NLM_F_ACK)
				if cmd == uapi.ExtCmdGetConn {
					flags |= unix.NLM_F_DUMP
				}
				sent++
				if err := unix.Sendto(fd, z.frame(uint32(sent), flags, []byte{cmd, uapi.ExtGenlVersion, 0, 0}), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
					return err
				}
				if err := collect(fd, 1, answers); err != nil {
					return err
				}
			}
			return nil
		}()
	}()
	testnet.Must(t, <-errs)
	if answers[unix.EPERM] != sent || sent < 16 {
		t.Errorf("%d requests without CAP_NET_ADMIN were answered %v", sent, answers)
	}
}

// What later versions will take is refused by name, never ignored.
func unsupported(t *testing.T) {
	r := newRig(t, fam4)
	r.apply(t, r.addService(r.key(ipvs.TCP, svcPlain), 0, ""))
	w := r.raw(t)
	const (
		fast = "the fast path is not supported by this module"
		sync = "sync of extended connections is not supported by this module"
	)
	set := func(name, text string, a attrs) {
		t.Helper()
		err := w.do(t, uapi.ExtCmdSetService, func(ae *netlink.AttributeEncoder) {
			svcAttrs(r.key(ipvs.TCP, svcPlain))(ae)
			nest(uapi.ExtAExt, a)(ae)
		})
		wantRaw(t, name, err, syscall.EOPNOTSUPP, text, false)
	}
	for flag, text := range map[uint32]string{
		uapi.ExtSvcFFast: fast,
	} {
		set(fmt.Sprintf("flag %#x", flag), text, func(n *netlink.AttributeEncoder) { n.Bytes(uapi.ExtSvcFlags, bitfield(flag, flag)) })
	}
	for _, c := range []struct {
		name, text string
		a          attrs
	}{
		{"FAST", fast, func(n *netlink.AttributeEncoder) { n.Uint8(uapi.ExtConfigFast, 1) }},
		{"SYNC_OPT", sync, func(n *netlink.AttributeEncoder) { n.Uint8(uapi.ExtConfigSyncOpt, 1) }},
	} {
		wantRaw(t, c.name, w.do(t, uapi.ExtCmdSetConfig, nest(uapi.ExtAConfig, c.a)), syscall.EOPNOTSUPP, c.text, false)
	}
}

// Nothing unknown, out of range or misplaced is accepted.
func strictness(t *testing.T) {
	r := newRig(t, fam4)
	r.apply(t, r.addService(r.key(ipvs.TCP, svcPlain), 0, ""))
	w := r.raw(t)
	before := r.table(t)
	set := func(a attrs) error {
		return w.do(t, uapi.ExtCmdSetService, func(ae *netlink.AttributeEncoder) {
			svcAttrs(r.key(ipvs.TCP, svcPlain))(ae)
			nest(uapi.ExtAExt, a)(ae)
		})
	}
	for name, err := range map[string]error{
		"unknown flag":           set(func(n *netlink.AttributeEncoder) { n.Bytes(uapi.ExtSvcFlags, bitfield(1<<20, 1<<20)) }),
		"value outside the mask": set(func(n *netlink.AttributeEncoder) { n.Bytes(uapi.ExtSvcFlags, bitfield(1, 0)) }),
		"unknown attribute":      set(func(n *netlink.AttributeEncoder) { n.Uint32(60, 1) }),
		"unknown top attribute":  w.do(t, uapi.ExtCmdGetInfo, func(ae *netlink.AttributeEncoder) { ae.Uint32(40, 1) }),
		"short FLAGS":            set(func(n *netlink.AttributeEncoder) { n.Uint32(uapi.ExtSvcFlags, 1) }),
		"long group name":        set(func(n *netlink.AttributeEncoder) { n.String(uapi.ExtSvcLgroup, "0123456789abcdef") }),
		"LADDR_SEL 3":            set(func(n *netlink.AttributeEncoder) { n.Uint8(uapi.ExtSvcLaddrSel, 3) }),
		"TS_MODE 3":              set(func(n *netlink.AttributeEncoder) { n.Uint8(uapi.ExtSvcTsMode, 3) }),
		"TOA kind 8":             set(func(n *netlink.AttributeEncoder) { n.Uint8(uapi.ExtSvcToaKind4, 8) }),
		"TOA kind 255":           set(func(n *netlink.AttributeEncoder) { n.Uint8(uapi.ExtSvcToaKind6, 255) }),
		"MSS of two sizes":       set(func(n *netlink.AttributeEncoder) { n.Uint32(uapi.ExtSvcMssClamp, 1000) }),
		"NCONN is not set":       set(func(n *netlink.AttributeEncoder) { n.Uint32(uapi.ExtSvcNconn, 1) }),
		"no nest": w.do(t, uapi.ExtCmdSetService, func(ae *netlink.AttributeEncoder) {
			ae.Bytes(uapi.ExtASvc, nil)
			ae.Bytes(uapi.ExtAExt, nil)
		}),
		"without EXT": w.do(t, uapi.ExtCmdSetService, svcAttrs(r.key(ipvs.TCP, svcPlain))),
		"without SVC": w.do(t, uapi.ExtCmdSetService, nest(uapi.ExtAExt, func(n *netlink.AttributeEncoder) { n.Uint8(uapi.ExtSvcTsMode, 1) })),
		"misplaced": w.do(t, uapi.ExtCmdGetInfo, nest(uapi.ExtALgroup, func(n *netlink.AttributeEncoder) {
			n.String(uapi.ExtLgroupName, "g")
		})),
		"PROBES 0": w.do(t, uapi.ExtCmdSetConfig, nest(uapi.ExtAConfig, func(n *netlink.AttributeEncoder) { n.Uint8(uapi.ExtConfigProbes, 0) })),
	} {
		var e *netlink.OpError
		switch {
		case err == nil:
			t.Errorf("%s: accepted", name)
		case !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ERANGE):
			t.Errorf("%s: answered %v, want EINVAL or ERANGE", name, err)
		case errors.As(err, &e) && e.Message == "" && e.Offset == 0:
			t.Errorf("%s: %v says neither why nor where", name, err)
		}
	}
	if after := r.table(t); after != before {
		t.Errorf("refused requests changed\n%s\nto\n%s", before, after)
	}
	// Commands that are only reserved, and unknown ones.
	for _, cmd := range []uint8{uapi.ExtCmdSetDest, uapi.ExtCmdGetDest, uapi.ExtCmdEvent, 99} {
		err := w.do(t, cmd, func(*netlink.AttributeEncoder) {})
		wantRaw(t, fmt.Sprintf("command %d", cmd), err, syscall.EOPNOTSUPP, "", false)
	}
}
