// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/binary"
	"errors"
	"math"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testpkt"
	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/ipvs/uapi"
)

// kind is what an attribute's value is made of.
type kind int

const (
	anU8 kind = iota
	anU16
	anU32
	anU64
	aBitfield
	aGroupName
	aSetName
	aCPUList
	anAddress
	aKey
	aPort
	aNest
)

// known is an attribute of a place in a request: its edges are the values at which
// something changes, next to those of its type.
type known struct {
	typ   uint16
	kind  kind
	edges []uint64
	nest  []known
}

var (
	knownService = []known{
		{uapi.SvcAF, anU16, []uint64{unix.AF_INET, unix.AF_INET6}, nil},
		{uapi.SvcProtocol, anU16, []uint64{unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_SCTP}, nil},
		{uapi.SvcAddr, anAddress, nil, nil},
		{uapi.SvcPort, aPort, nil, nil},
		{uapi.SvcFWMark, anU32, []uint64{7}, nil},
	}
	knownExt = []known{
		{uapi.ExtSvcFlags, aBitfield, []uint64{uapi.ExtSvcFFnat, uapi.ExtSvcFSynproxy, uapi.ExtSvcFToa, uapi.ExtSvcFAll &^ uapi.ExtSvcFFast, uapi.ExtSvcFAll}, nil},
		{uapi.ExtSvcLgroup, aGroupName, nil, nil},
		{uapi.ExtSvcLaddrSel, anU8, []uint64{2, 3}, nil},
		{uapi.ExtSvcInvalid, anU8, []uint64{2, 3}, nil},
		{uapi.ExtSvcTsMode, anU8, []uint64{2, 3}, nil},
		{uapi.ExtSvcMssClamp, anU16, []uint64{87, 88, 65495, 65496}, nil},
		{uapi.ExtSvcToaKind4, anU8, []uint64{8, 9, 253, 254, 255}, nil},
		{uapi.ExtSvcToaKind6, anU8, []uint64{8, 9, 253, 254, 255}, nil},
		{uapi.ExtSvcSpMss, anU16, []uint64{87, 88, 65495, 65496}, nil},
		{uapi.ExtSvcSpWscale, anU8, []uint64{14, 15, 255}, nil},
		{uapi.ExtSvcSpOpts, aBitfield, []uint64{uapi.ExtSpOptSack, uapi.ExtSpOptTs, uapi.ExtSpOptAll}, nil},
		{uapi.ExtSvcSpWindow, anU16, nil, nil},
		{uapi.ExtSvcSpTtl, anU8, nil, nil},
		{uapi.ExtSvcSpSynRetries, anU8, []uint64{8, 9}, nil},
		{uapi.ExtSvcSpQueue, anU8, []uint64{64, 65}, nil},
		{uapi.ExtSvcTimeoutEst, anU32, []uint64{86400 * 31, 86400*31 + 1, math.MaxUint32 / 250, math.MaxUint32/250 + 1}, nil},
		{uapi.ExtSvcCps, anU32, []uint64{1000000, 1000000000}, nil},
		{uapi.ExtSvcCpsBurst, anU32, nil, nil},
		{uapi.ExtSvcBpsIn, anU64, []uint64{1 << 40, 1000000000000}, nil},
		{uapi.ExtSvcBpsOut, anU64, []uint64{1 << 40, 1000000000000}, nil},
		{uapi.ExtSvcConnLimit, anU32, nil, nil},
		{uapi.ExtSvcAclMode, anU8, []uint64{2, 3}, nil},
		{uapi.ExtSvcAclSet4, aSetName, nil, nil},
		{uapi.ExtSvcAclSet6, aSetName, nil, nil},
		{uapi.ExtSvcSpAutoOn, anU32, nil, nil},
		{uapi.ExtSvcSpAutoOff, anU32, nil, nil},
	}
	knownGroup = []known{{uapi.ExtLgroupName, aGroupName, nil, nil}, {uapi.ExtLgroupAf, anU16, []uint64{unix.AF_INET, unix.AF_INET6}, nil}}
	knownLaddr = []known{
		{uapi.ExtLaddrAf, anU16, []uint64{unix.AF_INET, unix.AF_INET6}, nil},
		{uapi.ExtLaddrAddr, anAddress, nil, nil},
		{uapi.ExtLaddrPortMin, anU16, []uint64{1023, 1024, 5000, 32767, 32768, 60999, 61000}, nil},
		{uapi.ExtLaddrPortMax, anU16, []uint64{1023, 1024, 5000, 32767, 32768, 60999, 61000}, nil},
		{uapi.ExtLaddrCpus, aCPUList, nil, nil},
		{uapi.ExtLaddrFlags, aBitfield, []uint64{uapi.ExtLaddrFNoNew, uapi.ExtLaddrFForeign, uapi.ExtLaddrFForce, uapi.ExtLaddrFAll}, nil},
	}
	knownConfig = []known{
		{uapi.ExtConfigCookieKey, aKey, nil, nil}, {uapi.ExtConfigCookieKeyPrev, aKey, nil, nil}, {uapi.ExtConfigSpQmem, anU64, nil, nil},
		{uapi.ExtConfigProbes, anU8, nil, nil}, {uapi.ExtConfigReclaim, anU8, nil, nil}, {uapi.ExtConfigDropVip, anU8, nil, nil}, {uapi.ExtConfigSpEarly, anU8, nil, nil},
	}
	knownFilter = []known{
		{uapi.ExtFilterAf, anU16, []uint64{unix.AF_INET, unix.AF_INET6}, nil}, {uapi.ExtFilterProto, anU16, []uint64{6, 17}, nil},
		{uapi.ExtFilterCaddr, anAddress, nil, nil}, {uapi.ExtFilterCplen, anU8, []uint64{32, 33, 128, 129}, nil}, {uapi.ExtFilterCport, aPort, nil, nil},
		{uapi.ExtFilterVaddr, anAddress, nil, nil}, {uapi.ExtFilterVplen, anU8, []uint64{32, 33, 128, 129}, nil}, {uapi.ExtFilterVport, aPort, nil, nil},
		{uapi.ExtFilterLaddr, anAddress, nil, nil}, {uapi.ExtFilterLplen, anU8, []uint64{32, 33, 128, 129}, nil}, {uapi.ExtFilterLport, aPort, nil, nil},
		{uapi.ExtFilterDaddr, anAddress, nil, nil}, {uapi.ExtFilterDplen, anU8, []uint64{32, 33, 128, 129}, nil}, {uapi.ExtFilterDport, aPort, nil, nil},
	}
	aService = known{uapi.ExtASvc, aNest, nil, knownService}
	aGroup   = known{uapi.ExtALgroup, aNest, nil, knownGroup}
	aLaddr   = known{uapi.ExtALaddr, aNest, nil, knownLaddr}
	aFilter  = known{uapi.ExtAFilter, aNest, nil, knownFilter}
)

// command is a request that the module knows.
type command struct {
	cmd   uint8
	dump  bool
	often int // of all requests, this many parts
	takes []known
}

var knownCommands = []command{
	{uapi.ExtCmdGetInfo, false, 1, nil},
	{uapi.ExtCmdSetConfig, false, 4, []known{{uapi.ExtAConfig, aNest, nil, knownConfig}}},
	{uapi.ExtCmdGetConfig, false, 1, nil},
	{uapi.ExtCmdSetService, false, 30, []known{aService, {uapi.ExtAExt, aNest, nil, knownExt}}},
	{uapi.ExtCmdGetService, false, 4, []known{aService}},
	{uapi.ExtCmdGetService, true, 1, nil},
	{uapi.ExtCmdNewLgroup, false, 6, []known{aGroup}},
	{uapi.ExtCmdDelLgroup, false, 3, []known{aGroup}},
	{uapi.ExtCmdGetLgroup, false, 2, []known{aGroup}},
	{uapi.ExtCmdGetLgroup, true, 1, nil},
	{uapi.ExtCmdNewLaddr, false, 16, []known{aGroup, aLaddr}},
	{uapi.ExtCmdSetLaddr, false, 10, []known{aGroup, aLaddr}},
	{uapi.ExtCmdDelLaddr, false, 5, []known{aGroup, aLaddr}},
	{uapi.ExtCmdGetLaddr, false, 3, []known{aGroup, aLaddr}},
	{uapi.ExtCmdGetLaddr, true, 2, []known{aGroup}},
	{uapi.ExtCmdGetConn, true, 2, []known{aFilter}},
	{uapi.ExtCmdDelConn, false, 2, []known{aFilter}},
	{uapi.ExtCmdGetStats, false, 2, []known{aService}},
	{uapi.ExtCmdGetStats, true, 1, nil},
	{uapi.ExtCmdZeroStats, false, 1, []known{aService}},
}

// fuzzPorts are those of the services that the requests find: with FNAT, plain, one
// that a helper may want, and UDP with one packet per connection.
var fuzzPorts = []uint16{80, 81, 21, 82}

// knowing: requests that may well be right.
func (z fuzzer) knowing(t *testing.T) {
	r := buildRig(t, fam4)
	services := func() {
		_, ops := r.operations(setup{lips: 1})
		for _, p := range fuzzPorts[1:3] {
			_, more := r.operations(setup{port: p, plain: true})
			ops = append(ops, more...)
		}
		_, udp := r.operations(setup{port: fuzzPorts[3], proto: ipvs.UDP, plain: true, flags: ipvs.FlagOnePacket})
		_, marked := r.operations(setup{fwmark: 7, plain: true})
		for _, op := range slices.Concat(ops, udp, marked) {
			// what the requests left may refuse it, in words of 6.2
			var no syscall.Errno
			if err := r.x.Apply(t.Context(), op); err != nil && (!errors.As(err, &no) || !slices.Contains(knownErrnos, no)) {
				t.Errorf("%v: %v", op.Kind, err)
			}
		}
	}
	services()
	r.makeSet(t, "v4", "hash:net", unix.NFPROTO_IPV4, r.cip[0])
	r.makeSet(t, "v6", "hash:net", unix.NFPROTO_IPV6)
	parts := 0
	for _, c := range knownCommands {
		parts += c.often
	}
	batches := 0
	answers := z.send(t, r, trees/2, func(seq uint32) []byte { return z.request(seq, parts) }, func() {
		if batches++; batches%20 != 0 {
			return
		}
		// What is set meets packets: clients, strays, and what comes back.
		for i, p := range fuzzPorts {
			c := testpkt.NewPeer(netip.AddrPortFrom(r.cip[(batches+i)%len(r.cip)], uint16(2000+batches)), netip.AddrPortFrom(r.vip, p), 1000)
			r.front.Send(t, c.Syn(synOptions(r.fam)...), testpkt.Datagram(c.Local, c.Remote, "q"))
			for _, got := range r.front.Drain() {
				if got.Flags == testpkt.SYN|testpkt.ACK && got.Dst == c.Local {
					c.Took(got)
					r.front.Send(t, c.Data("with a cookie"))
				}
			}
			for _, got := range r.back.Drain() {
				if got.Proto == testpkt.TCP && got.Flags == testpkt.SYN {
					s := testpkt.NewPeer(got.Dst, got.Src, 5000)
					s.Took(got)
					r.back.Send(t, s.Syn(testpkt.MSS(1400)), s.Data("x"))
				}
			}
			r.front.Send(t, c.Fin())
		}
		r.front.Drain()
		r.back.Drain()
		if batches%100 == 0 {
			r.apply(t, ipvs.Op{Kind: ipvs.Flush})
			services()
		}
		r.readable(t)
	})
	good := answers[0]
	for errno, n := range answers {
		if errno != 0 && !slices.Contains(knownErrnos, errno) {
			t.Errorf("%d answers are %v", n, errno)
		}
	}
	if good < trees/2/10 {
		t.Errorf("only %d of %d requests were granted: nothing much is tried", good, trees/2)
	}
	t.Logf("answers: %v", answers)
	r.readable(t)
	// All of it can be taken away, and nothing stays.
	r.apply(t, ipvs.Op{Kind: ipvs.Flush})
	groups, err := r.x.LGroups(t.Context())
	testnet.Must(t, err)
	for _, g := range groups {
		testnet.Must(t, r.x.Apply(t.Context(), ipvs.Op{Kind: ipvs.DelLGroup, LGroup: g}))
	}
	testnet.Must(t, r.front.Close(), r.back.Close(), r.x.Close(), r.d.Close(), r.w.Close())
	for _, cache := range []string{"ip_vs_conn", "ip_vs_x_conn", "ip_vs_x_sp", "ip_vs_x_set", "ip_vs_x_use"} {
		testnet.Eventually(t, 30*time.Second, func() error { return left(t, cache) })
	}
}

// knownErrnos are what a request can be refused with.
var knownErrnos = []syscall.Errno{
	unix.EINVAL, unix.ERANGE, unix.EOPNOTSUPP, unix.ENOENT, unix.ESRCH, unix.EAFNOSUPPORT, unix.EEXIST, unix.EBUSY,
	unix.EADDRNOTAVAIL, unix.EADDRINUSE, unix.EPROTONOSUPPORT, unix.E2BIG, unix.ENOSPC,
}

// readable: everything there is can be read, and adds up.
func (r *rig) readable(t *testing.T) {
	t.Helper()
	refs := map[string]int{}
	services, err := r.x.ExtServices(t.Context())
	testnet.Must(t, err)
	for _, s := range services {
		if s.LGroup != "" {
			refs[s.LGroup]++
		}
		if s.Flags&ipvs.ExtFNAT != 0 && s.LGroup == "" {
			t.Errorf("%v has FNAT and no group", s.ServiceKey)
		}
	}
	groups, err := r.x.LGroups(t.Context())
	testnet.Must(t, err)
	for _, g := range groups {
		if int(g.Refs) != refs[g.Name] {
			t.Errorf("group %q has %d references, %d services use it", g.Name, g.Refs, refs[g.Name])
		}
		_, err := r.x.Laddrs(t.Context(), g.Name)
		testnet.Must(t, err)
	}
	for _, err := range r.x.Conns(t.Context(), ipvs.ConnFilter{}) {
		testnet.Must(t, err)
	}
	_, err = r.x.ExtStats(t.Context())
	testnet.Must(t, err)
	_, err = r.x.ExtConfig(t.Context())
	testnet.Must(t, err)
}

// request is one of the commands with some of what it takes; now and then with
// something that another one takes.
func (z fuzzer) request(seq uint32, parts int) []byte {
	n := z.IntN(parts)
	var c command
	for _, c = range knownCommands {
		if n -= c.often; n < 0 {
			break
		}
	}
	body := []byte{c.cmd, uapi.ExtGenlVersion, 0, 0}
	for _, k := range c.takes {
		if z.IntN(20) != 0 {
			body = append(body, z.value(k)...)
		}
	}
	if z.IntN(40) == 0 {
		body = append(body, z.value(aFilter)...)
	}
	flags := uint16(unix.NLM_F_REQUEST | unix.NLM_F_ACK)
	if c.dump {
		flags |= unix.NLM_F_DUMP
	}
	return z.frame(seq, flags, body)
}

// value is an attribute with a value that its place may have.
func (z fuzzer) value(k known) []byte {
	switch k.kind {
	case aNest:
		return exact(k.typ|unix.NLA_F_NESTED, z.some(k))
	case anU8:
		return exact(k.typ, []byte{byte(z.number(k, math.MaxUint8))})
	case anU16:
		return exact(k.typ, binary.NativeEndian.AppendUint16(nil, uint16(z.number(k, math.MaxUint16))))
	case aPort:
		return exact(k.typ, binary.BigEndian.AppendUint16(nil, pick(z, append([]uint16{0, 4000, 65535}, fuzzPorts...))))
	case anU32:
		return exact(k.typ, binary.NativeEndian.AppendUint32(nil, uint32(z.number(k, math.MaxUint32))))
	case anU64:
		return exact(k.typ, binary.NativeEndian.AppendUint64(nil, z.number(k, math.MaxUint64)))
	case aBitfield:
		v, mask := uint32(z.number(k, 0x1f)), uint32(z.number(k, 0x1f))
		if z.IntN(4) != 0 {
			mask |= v
		}
		return exact(k.typ, binary.NativeEndian.AppendUint32(binary.NativeEndian.AppendUint32(nil, v&mask), mask))
	case aGroupName:
		return exact(k.typ, append([]byte(pick(z, []string{group, group, group, "h", "six", "none", "fifteen_letters", ""})), 0))
	case aSetName:
		return exact(k.typ, append([]byte(pick(z, []string{"v4", "v6", "", "", "none"})), 0))
	case aCPUList:
		return exact(k.typ, append([]byte(pick(z, []string{"", "0", "0-3", "0-100000", "x", "3-1", "0,"})), 0))
	case aKey:
		b := make([]byte, uapi.ExtCookieKeyLen)
		b[0] = byte(z.Uint32())
		return exact(k.typ, b)
	default:
		a := pick(z, []netip.Addr{fam4.lip[0], fam4.lip[1], fam4.lip[1], fam4.vip, fam4.vip, fam4.vip, fam4.rip[0], fam4.cip[0], fam6.lip[0], fam6.vip,
			netip.IPv4Unspecified(), netip.IPv6Unspecified(), netip.MustParseAddr("224.0.0.1"), netip.MustParseAddr("255.255.255.255"),
			netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("ff02::1"), netip.MustParseAddr("203.0.113.1")})
		return exact(k.typ, a.AsSlice())
	}
}

// some are attributes of a nest: those that name a thing mostly all and consistent, of
// the others a few.
func (z fuzzer) some(nest known) []byte {
	var b []byte
	few := len(nest.nest) > 8
	for i, k := range nest.nest {
		if few && z.IntN(len(nest.nest)) > 2 || !few && z.IntN(12) == 0 {
			continue
		}
		switch {
		case z.IntN(6) == 0:
		case nest.typ == uapi.ExtASvc && k.typ == uapi.SvcFWMark:
			continue
		case k.kind == anU16 && (i == 0 || nest.typ == uapi.ExtALgroup) && !few:
			b = append(b, exact(k.typ, binary.NativeEndian.AppendUint16(nil, unix.AF_INET))...)
			continue
		case nest.typ == uapi.ExtASvc && k.typ == uapi.SvcAddr:
			b = append(b, exact(k.typ, fam4.vip.AsSlice())...)
			continue
		case nest.typ == uapi.ExtASvc && k.typ == uapi.SvcProtocol:
			b = append(b, exact(k.typ, binary.NativeEndian.AppendUint16(nil, unix.IPPROTO_TCP))...)
			continue
		case nest.typ == uapi.ExtALaddr && (k.kind == anU16 || k.kind == aCPUList):
			continue
		}
		b = append(b, z.value(k)...)
	}
	return b
}

// number is at an edge, or anything up to top.
func (z fuzzer) number(k known, top uint64) uint64 {
	if len(k.edges) > 0 && z.IntN(2) == 0 {
		return pick(z, k.edges)
	}
	switch z.IntN(5) {
	case 0:
		return 0
	case 1:
		return 1
	case 2:
		return top
	case 3:
		return z.Uint64() % 1000 & top
	}
	return z.Uint64() & top
}

func pick[T any](z fuzzer, from []T) T { return from[z.IntN(len(from))] }

// exact frames a value, with the length it has.
func exact(typ uint16, v []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(v)))
	b = append(binary.NativeEndian.AppendUint16(b, typ), v...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}
