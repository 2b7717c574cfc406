// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/lvs-fnat/lvs/ipvs/uapi"
	"github.com/mdlayher/netlink"
)

func serviceReply(s Service) netlink.Message {
	return genl(mainID, uapi.CmdNewService, func(ae *encoder) { ae.Nested(uapi.AttrService, s.encode) })
}

var dumpEnd = netlink.Message{Header: netlink.Header{Type: netlink.Done, Flags: netlink.Multi}, Data: make([]byte, 4)}

// listing answers a dump with services, the last of them interrupted or not.
func listing(interrupted bool, services ...Service) (out []netlink.Message) {
	for _, s := range services {
		m := serviceReply(s)
		m.Header.Flags = netlink.Multi
		if interrupted {
			m.Header.Flags |= netlink.DumpInterrupted
		}
		out = append(out, m)
	}
	return append(out, dumpEnd)
}

// TestAnswersOfAbandonedRequests: what was asked for before the context ended is
// not taken for the answer to the next request.
func TestAnswersOfAbandonedRequests(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	w := &wire{main: mainID, answer: func(netlink.Message) []netlink.Message { cancel(); return nil }}
	c := dial(t, w)
	first, second := svc("10.0.0.1", 1), svc("10.0.0.1", 2)
	if _, err := c.Service(ctx, first.ServiceKey); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	asked := w.sends[0][0]
	for _, m := range append([]netlink.Message{serviceReply(first)}, ack(asked)...) {
		m.Header.Sequence = asked.Header.Sequence
		w.queue = append(w.queue, m)
	}
	w.answer = func(m netlink.Message) []netlink.Message {
		return append([]netlink.Message{serviceReply(second)}, ack(m)...)
	}
	got, err := c.Service(t.Context(), second.ServiceKey)
	if err != nil || got.Port != 2 {
		t.Errorf("got %v, %v", got.ServiceKey, err)
	}
	// A refusal that comes late is nobody's either.
	late := refuse(asked, syscall.EPERM, "")[0]
	late.Header.Sequence = asked.Header.Sequence
	w.queue = append(w.queue, late)
	if err := c.Apply(t.Context(), Op{Kind: Flush}); err != nil {
		t.Errorf("after a late refusal: %v", err)
	}
	if _, err := c.Services(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
}

func TestInterruptedDumpIsReadAgain(t *testing.T) {
	old, now := svc("10.0.0.1", 1), []Service{svc("10.0.0.1", 2), svc("10.0.0.1", 3)}
	for _, tc := range []struct {
		interruptions int
		want          int
		err           error
	}{{0, 2, nil}, {1, 2, nil}, {dumpTries - 1, 2, nil}, {dumpTries, 0, ErrInterrupted}} {
		n := 0
		w := &wire{main: mainID, answer: func(netlink.Message) []netlink.Message {
			if n++; n <= tc.interruptions {
				return listing(true, old, old, old)
			}
			return listing(false, now...)
		}}
		got, err := dial(t, w).Services(t.Context())
		if len(got) != tc.want || !errors.Is(err, tc.err) || tc.err == nil && err != nil {
			t.Errorf("%d interruptions: %d services, %v", tc.interruptions, len(got), err)
		}
	}
}

// TestRepeatedService: a service that a dump tells twice is listed once.
func TestRepeatedService(t *testing.T) {
	one, two := svc("10.0.0.1", 1), svc("10.0.0.1", 2)
	w := &wire{main: mainID, answer: func(netlink.Message) []netlink.Message { return listing(false, one, two, two, one) }}
	got, err := dial(t, w).Services(t.Context())
	if err != nil || len(got) != 2 || got[0].Port != 1 || got[1].Port != 2 {
		t.Errorf("got %v, %v", got, err)
	}
}

// TestStreamTellsInterruption: a stream cannot take back what it gave out.
func TestStreamTellsInterruption(t *testing.T) {
	w := &wire{main: mainID, answer: func(netlink.Message) []netlink.Message { return listing(true, svc("10.0.0.1", 1)) }}
	var seen []error
	for _, err := range dial(t, w).StreamServices(t.Context()) {
		seen = append(seen, err)
	}
	if len(seen) != 2 || seen[0] != nil || !errors.Is(seen[1], ErrInterrupted) {
		t.Errorf("got %v", seen)
	}
}

// TestStreamLeavesClientFree: inside the loop the client works, and leaving the
// loop early leaves nothing behind.
func TestStreamLeavesClientFree(t *testing.T) {
	w := &wire{main: mainID, answer: func(m netlink.Message) []netlink.Message {
		if m.Header.Flags&netlink.Dump == netlink.Dump {
			return listing(false, svc("10.0.0.1", 1), svc("10.0.0.1", 2), svc("10.0.0.1", 3))
		}
		return append([]netlink.Message{serviceReply(svc("10.0.0.1", 9))}, ack(m)...)
	}}
	c := dial(t, w)
	var ports []uint16
	for s, err := range c.StreamServices(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Service(t.Context(), s.ServiceKey); err != nil {
			t.Fatal(err)
		}
		if ports = append(ports, s.Port); len(ports) == 2 {
			break
		}
	}
	if diff := cmp.Diff([]uint16{1, 2}, ports); diff != "" {
		t.Error(diff)
	}
	if got, err := c.Services(t.Context()); err != nil || len(got) != 3 {
		t.Errorf("afterwards: %d services, %v", len(got), err)
	}
}

// TestDecodeErrorEndsOneRequest: a reply that makes no sense is an error, and
// the next request works.
func TestDecodeErrorEndsOneRequest(t *testing.T) {
	bad := true
	w := &wire{main: mainID, answer: func(m netlink.Message) []netlink.Message {
		if bad {
			return append([]netlink.Message{genl(mainID, 1, func(ae *encoder) {
				ae.Nested(uapi.AttrService, func(e *encoder) error { e.Uint16(uapi.SvcAF, 99); return nil })
			})}, ack(m)...)
		}
		return append([]netlink.Message{serviceReply(svc("10.0.0.1", 9))}, ack(m)...)
	}}
	c := dial(t, w)
	if s, err := c.Service(t.Context(), svc("10.0.0.1", 9).ServiceKey); err == nil {
		t.Errorf("an address of family 99 gave %+v", s)
	}
	bad = false
	if s, err := c.Service(t.Context(), svc("10.0.0.1", 9).ServiceKey); err != nil || s.Port != 9 {
		t.Errorf("the next request: %+v, %v", s, err)
	}
}

// TestInvalidOperationsAreNotSent: what cannot be meant is refused with the
// place, and nothing of the batch goes out.
func TestInvalidOperationsAreNotSent(t *testing.T) {
	s, v6 := svc("10.0.0.1", 80), netip.MustParseAddr("2001:db8::1")
	long := strings.Repeat("g", 16)
	for _, op := range []Op{
		{Kind: 99},
		{Kind: AddService, Service: Service{ServiceKey: ServiceKey{Family: IPv4, Addr: v6}}},
		{Kind: AddService, Service: Service{ServiceKey: ServiceKey{Protocol: TCP, Port: 80, Family: IPv4}}},
		{Kind: AddService, Service: Service{ServiceKey: s.ServiceKey, Timeout: time.Millisecond}},
		{Kind: AddService, Service: Service{ServiceKey: s.ServiceKey, Scheduler: "r\x00r"}},
		{Kind: AddDest, Service: s, Dest: Dest{DestKey: DestKey{Addr: v6}, Forward: 5}},
		{Kind: DelDest, Service: s},
		{Kind: SetTimeouts, Times: Timeouts{TCP: -time.Second}},
		{Kind: AddLGroup, LGroup: LGroup{Name: long}}, {Kind: AddLGroup},
		{Kind: AddLaddr, LGroup: LGroup{Name: "g"}}, {Kind: DelLaddr, LGroup: LGroup{Name: long}, Laddr: Laddr{Addr: v6}},
		{Kind: SetExt, Service: s, Ext: Ext{Set: ExtFieldLGroup, LGroup: long}},
		{Kind: SetExt, Service: s, Ext: Ext{Set: ExtFieldFlags, FlagsMask: 1 << 20}},
		{Kind: AddLaddr, LGroup: LGroup{Name: "g"}, Laddr: Laddr{Addr: v6, Flags: 8}},
	} {
		w := &wire{main: mainID, ext: extID, answer: ack}
		c := dial(t, w)
		sent := len(w.sends)
		err := c.Apply(t.Context(), Op{Kind: Flush}, op)
		var b *BatchError
		if !errors.As(err, &b) || b.Index != 1 || b.Acked != 0 || !errors.Is(err, syscall.EINVAL) {
			t.Errorf("%v: got %v", op, err)
		}
		if len(w.sends) != sent {
			t.Errorf("%v: something was sent", op)
		}
	}
}

// TestOpString: an operation prints as what a person would type.
func TestOpString(t *testing.T) {
	s := svc("10.0.0.1", 80)
	s.Netmask = 0xffffffff
	udp, sctp, mark6 := s, s, Service{ServiceKey: ServiceKey{Family: IPv6, FWMark: 7}}
	udp.Protocol, sctp.Protocol = UDP, SCTP
	full := s
	full.Flags, full.Timeout, full.Netmask, full.PEName, full.Scheduler = FlagPersistent|FlagOnePacket|FlagSched1|FlagSched2, 90*time.Second, 0xffffff00, "sip", "sh"
	everybody, unused := s, s
	everybody.Netmask, everybody.NoMask, unused.Netmask = 0, true, 0xffff0000
	v6 := svc("2001:db8::1", 80)
	v6.Flags, v6.Timeout, v6.Netmask = FlagPersistent, time.Minute, 64
	addr := func(a string, p uint16) DestKey { return DestKey{Addr: netip.MustParseAddr(a), Port: p} }
	lip := netip.MustParseAddr("10.0.0.11")
	group := LGroup{Name: "g", Family: IPv6}
	for _, tc := range []struct {
		op   Op
		want string
	}{
		{Op{Kind: AddService, Service: s}, "-A -t 10.0.0.1:80 -s rr"},
		{Op{Kind: SetService, Service: full}, "-E -t 10.0.0.1:80 -s sh -p 90 -M 255.255.255.0 --pe sip -o -b sh-fallback,sh-port"},
		{Op{Kind: AddService, Service: everybody}, "-A -t 10.0.0.1:80 -s rr -M 0.0.0.0"},
		{Op{Kind: AddService, Service: unused}, "-A -t 10.0.0.1:80 -s rr -M 255.255.0.0"},
		{Op{Kind: AddService, Service: v6}, "-A -t [2001:db8::1]:80 -s rr -p 60 -M 64"},
		{Op{Kind: AddService, Service: mark6}, "-A -f 7 -6 -s none"},
		{Op{Kind: DelService, Service: udp}, "-D -u 10.0.0.1:80"},
		{Op{Kind: AddDest, Service: sctp, Dest: Dest{DestKey: addr("10.0.0.2", 8080), Weight: 3, UpperThreshold: 9, LowerThreshold: 8}},
			"-a --sctp-service 10.0.0.1:80 -r 10.0.0.2:8080 -m -w 3 -x 9 -y 8"},
		{Op{Kind: SetDest, Service: s, Dest: Dest{DestKey: addr("2001:db8::2", 1), Forward: Tunnel, TunType: TunnelGUE, TunPort: 6080, TunFlags: 1}},
			"-e -t 10.0.0.1:80 -r [2001:db8::2]:1 -i -w 0 --tun-type gue --tun-port 6080 --tun-csum"},
		{Op{Kind: SetDest, Service: s, Dest: Dest{DestKey: addr("10.0.0.2", 1), Forward: Tunnel, TunType: TunnelGRE}},
			"-e -t 10.0.0.1:80 -r 10.0.0.2:1 -i -w 0 --tun-type gre --tun-nocsum"},
		{Op{Kind: AddDest, Service: s, Dest: Dest{DestKey: addr("10.0.0.2", 1), Forward: DirectRoute, Weight: 1}}, "-a -t 10.0.0.1:80 -r 10.0.0.2:1 -g -w 1"},
		{Op{Kind: DelDest, Service: s, Dest: Dest{DestKey: addr("10.0.0.2", 1)}}, "-d -t 10.0.0.1:80 -r 10.0.0.2:1"},
		{Op{Kind: SetExt, Service: s, Ext: Ext{Set: 1<<8 - 1, Flags: ExtFNAT | ExtTOA, FlagsMask: ExtFNAT | ExtTOA | ExtSeq, LGroup: "g", Select: SelectSrc,
			TSMode: TSRebase, MSSClamp: 1400, TOAKind4: 254, TOAKind6: 253, Invalid: InvalidRST}},
			"-E -t 10.0.0.1:80 --lgroup g --fullnat --toa --no-seq-adjust --laddr-select source --invalid rst --timestamps rebase --mss 1400 --toa-kind4 254 --toa-kind6 253"},
		{Op{Kind: SetExt, Service: s, Ext: Ext{Set: ExtFieldLGroup}}, "-E -t 10.0.0.1:80 --lgroup ''"},
		{Op{Kind: AddLGroup, LGroup: group}, "-P --lgroup g -6"},
		{Op{Kind: DelLGroup, LGroup: group}, "-Q --lgroup g"},
		{Op{Kind: AddLaddr, LGroup: group, Laddr: Laddr{Addr: netip.MustParseAddr("2001:db8::b"), PortMin: 5, PortMax: 6}}, "-P --lgroup g -z [2001:db8::b]:5-6"},
		{Op{Kind: SetLaddr, LGroup: group, Laddr: Laddr{Addr: lip, Flags: LaddrNoNew | LaddrForce, CPUs: "0-3"}},
			"-P --lgroup g -z 10.0.0.11 --laddr-flags no-new,force --laddr-cpus 0-3"},
		{Op{Kind: SetLaddr, LGroup: group, Laddr: Laddr{Addr: lip}}, "-P --lgroup g -z 10.0.0.11 --laddr-flags none --laddr-cpus ''"},
		{Op{Kind: DelLaddr, LGroup: group, Laddr: Laddr{Addr: lip}}, "-Q --lgroup g -z 10.0.0.11"},
		{Op{Kind: SetTimeouts, Times: Timeouts{TCP: time.Minute, UDP: time.Second}}, "--set 60 0 1"},
		{Op{Kind: StartDaemon, Daemon: Daemon{State: SyncMaster, Interface: "eth0", SyncID: 4, MaxLen: 1000, Group: lip, Port: 9, TTL: 2}},
			"--start-daemon master --mcast-interface eth0 --syncid 4 --sync-maxlen 1000 --mcast-group 10.0.0.11 --mcast-port 9 --mcast-ttl 2"},
		{Op{Kind: StopDaemon, Daemon: Daemon{State: SyncBackup}}, "--stop-daemon backup"},
		{Op{Kind: Zero}, "-Z"}, {Op{Kind: ZeroExt, Service: s}, "-Z -t 10.0.0.1:80"}, {Op{Kind: Flush}, "-C"},
		{Op{Kind: SetExtConfig, Config: ExtConfig{Set: ExtConfigProbes | ExtConfigReclaim, Probes: 9}}, "--set-ext --laddr-probes 9 --no-laddr-reclaim"},
		{Op{Kind: SetExtConfig, Config: ExtConfig{Set: ExtConfigSPEarly, SPEarly: SynproxyAuto}}, "--set-ext --synproxy-early auto"},
		{Op{Kind: SetExtConfig, Config: ExtConfig{Set: ExtConfigDropVIP, DropVIP: true}}, "--set-ext --drop-vip"},
		{Op{Kind: SetExt, Service: svc("10.0.0.1", 80), Ext: Ext{Set: limitFields | aclFields | ExtFieldInvalid, Invalid: InvalidRST, Limits: Limits{
			TimeoutEst: 90 * time.Second, CPS: 100, CPSBurst: 5, BPSIn: 1 << 40, BPSOut: 7, ConnLimit: 9, ACL: ACLWhite, ACLSet4: "office"}}},
			"-E -t 10.0.0.1:80 --invalid rst --est-timeout 90 --cps 100 --cps-burst 5 --bps-in 1099511627776 --bps-out 7 --conn-limit 9 --acl white --acl-set4 office --acl-set6 ''"},
		{Op{Kind: 99}, "operation 99"},
	} {
		if got := tc.op.String(); got != tc.want {
			t.Errorf("got  %s\nwant %s", got, tc.want)
		}
	}
	for k := AddService; k <= SetExtConfig; k++ {
		if _, ok := k.command(); !ok || strings.HasPrefix(k.String(), "operation") {
			t.Errorf("kind %d has no command or no name: %v", k, k)
		}
	}
}

// TestNamesAreTheHeaders holds the words of counters and features to the header.
func TestNamesAreTheHeaders(t *testing.T) {
	header, err := os.ReadFile("../kmod/src/uapi/ip_vs_ext.h")
	if err != nil {
		t.Fatal(err)
	}
	var stats []string
	for _, m := range regexp.MustCompile(`(?m)^\tIPVS_EXT_STAT_(\w+),`).FindAllStringSubmatch(string(header), -1) {
		if m[1] != "UNSPEC" && m[1] != "PAD" {
			stats = append(stats, strings.ToLower(m[1]))
		}
	}
	var words []string
	for n := uint16(1); n <= uapi.ExtStatMax; n++ {
		if n != uapi.ExtStatPad {
			words = append(words, ExtStatName(n))
		}
	}
	if diff := cmp.Diff(stats, words); diff != "" || len(stats) < 40 {
		t.Errorf("counters -header +words:\n%s", diff)
	}
	if got := ExtStatName(uapi.ExtStatPad); got != fmt.Sprintf("stat%d", uapi.ExtStatPad) {
		t.Errorf("a counter nobody knows is %q", got)
	}
	var features []string
	for _, m := range regexp.MustCompile(`(?m)^#define IPVS_EXT_FEAT_(\w+)`).FindAllStringSubmatch(string(header), -1) {
		features = append(features, m[1])
	}
	if diff := cmp.Diff(features, FeatureNames(1<<len(features)-1)); diff != "" || len(features) < 12 {
		t.Errorf("features -header +words:\n%s", diff)
	}
}

// TestBatchWithTwoFailures: the first is told, all else in the send was done.
func TestBatchWithTwoFailures(t *testing.T) {
	n := 0
	w := &wire{main: mainID, answer: func(m netlink.Message) []netlink.Message {
		switch n++; n {
		case 11:
			return refuse(m, syscall.EEXIST, "")
		case 21:
			return refuse(m, syscall.ENOMEM, "")
		}
		return ack(m)
	}}
	var ops []Op
	for i := range uint16(30) {
		ops = append(ops, Op{Kind: AddService, Service: svc("10.0.0.1", i+1)})
	}
	err := dial(t, w).Apply(t.Context(), ops...)
	var b *BatchError
	if !errors.As(err, &b) || b.Index != 10 || b.Acked != 28 || !errors.Is(err, syscall.EEXIST) {
		t.Errorf("got %+v", err)
	}
}

// TestFlagsBesideTheMaskStayHome: the kernel refuses a value outside its mask.
func TestFlagsBesideTheMaskStayHome(t *testing.T) {
	m, err := genlMessage(1, 1, Ext{Set: ExtFieldFlags, Flags: ExtFNAT | ExtTOA, FlagsMask: ExtFNAT | ExtSeq}.encode)
	if err != nil {
		t.Fatal(err)
	}
	var got Ext
	if err := (message{data: m.Data}).decode(new(decoder), got.decode); err != nil || got.Flags != ExtFNAT || got.FlagsMask != ExtFNAT|ExtSeq {
		t.Errorf("sent %+v, %v", got, err)
	}
}

// TestSetLaddrNamesAllCPUs: an address bound to CPUs is free again when it is set
// without; one that is added is free anyhow.
func TestSetLaddrNamesAllCPUs(t *testing.T) {
	for kind, want := range map[OpKind]bool{AddLaddr: false, SetLaddr: true, DelLaddr: false} {
		w := &wire{main: mainID, ext: extID, answer: ack}
		if err := dial(t, w).Apply(t.Context(), Op{Kind: kind, LGroup: LGroup{Name: "g"}, Laddr: Laddr{Addr: svc("10.0.0.1", 0).Addr}}); err != nil {
			t.Fatal(err)
		}
		named := false
		sent := w.sends[len(w.sends)-1][0]
		if err := (message{data: sent.Data}).decode(new(decoder), inside(uapi.ExtALaddr, func(ad *decoder) error {
			for ad.Next() {
				named = named || ad.Type() == uapi.ExtLaddrCpus && ad.String() == ""
			}
			return nil
		})); err != nil || named != want {
			t.Errorf("%v names CPUs: %v, %v", kind, named, err)
		}
	}
}
