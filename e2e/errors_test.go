// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"

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
