// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/lvs-fnat/lvs/ipvs/uapi"
	"pgregory.net/rapid"
)

var compareAddrs = cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}, netip.Prefix{})

func drawFamily(t *rapid.T) Family {
	return rapid.SampledFrom([]Family{IPv4, IPv6}).Draw(t, "family")
}

func drawAddr(t *rapid.T, family Family) netip.Addr {
	n := 4
	if family == IPv6 {
		n = 16
	}
	addr, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, "address"))
	return addr
}

func drawKey(t *rapid.T) ServiceKey {
	k := ServiceKey{Family: drawFamily(t)}
	if rapid.Bool().Draw(t, "by mark") {
		k.FWMark = rapid.Uint32Min(1).Draw(t, "mark")
		return k
	}
	k.Protocol = Protocol(rapid.Uint16().Draw(t, "protocol"))
	k.Addr, k.Port = drawAddr(t, k.Family), rapid.Uint16().Draw(t, "port")
	return k
}

// text is what the kernel takes for a name: no NUL.
func drawText(t *rapid.T, label string, least, most int) string {
	return rapid.StringMatching(fmt.Sprintf(`[!-~]{%d,%d}`, least, most)).Draw(t, label)
}

func drawService(t *rapid.T) Service {
	s := Service{ServiceKey: drawKey(t), Flags: ServiceFlags(rapid.Uint32().Draw(t, "flags")) | FlagPersistent,
		Scheduler: drawText(t, "scheduler", 0, 15), PEName: drawText(t, "pe", 0, 15),
		Timeout: seconds(rapid.Uint32().Draw(t, "timeout")), Netmask: rapid.Uint32Min(1).Draw(t, "netmask")}
	if s.Scheduler == noScheduler {
		s.Scheduler = "rr"
	}
	return s
}

func drawDest(t *rapid.T) Dest {
	k := DestKey{Family: drawFamily(t), Port: rapid.Uint16().Draw(t, "port")}
	k.Addr = drawAddr(t, k.Family)
	d := Dest{DestKey: k, Forward: Forward(rapid.Uint32Max(4).Draw(t, "forward")), Weight: rapid.Uint32().Draw(t, "weight"),
		UpperThreshold: rapid.Uint32().Draw(t, "upper"), LowerThreshold: rapid.Uint32().Draw(t, "lower")}
	if d.Forward == Tunnel {
		d.TunType = TunnelType(rapid.Uint8().Draw(t, "tunnel"))
		d.TunPort, d.TunFlags = rapid.Uint16().Draw(t, "tunnel port"), rapid.Uint16().Draw(t, "tunnel flags")
	}
	return d
}

func drawDaemon(t *rapid.T) Daemon {
	d := Daemon{State: SyncState(rapid.Uint32().Draw(t, "state")), Interface: drawText(t, "interface", 1, 15),
		SyncID: rapid.Uint32().Draw(t, "id"), MaxLen: rapid.Uint16().Draw(t, "length"),
		Port: rapid.Uint16().Draw(t, "port"), TTL: rapid.Uint8().Draw(t, "ttl")}
	if rapid.Bool().Draw(t, "has group") {
		d.Group = drawAddr(t, drawFamily(t))
	}
	return d
}

func drawExt(t *rapid.T) Ext {
	e := Ext{Set: ExtField(rapid.Uint32Max(uint32(ExtFieldACLSet6<<1-1)).Draw(t, "set"))}
	draw := func(field ExtField, f func()) {
		if e.Set&field != 0 {
			f()
		}
	}
	draw(ExtFieldFlags, func() {
		e.FlagsMask = ExtFlags(rapid.Uint32Max(uapi.ExtSvcFAll).Draw(t, "mask"))
		e.Flags = ExtFlags(rapid.Uint32Max(uapi.ExtSvcFAll).Draw(t, "flags")) & e.FlagsMask
	})
	draw(ExtFieldLGroup, func() { e.LGroup = drawText(t, "group", 0, 15) })
	draw(ExtFieldSelect, func() { e.Select = LaddrSelect(rapid.Uint8().Draw(t, "select")) })
	draw(ExtFieldInvalid, func() { e.Invalid = InvalidPolicy(rapid.Uint8().Draw(t, "invalid")) })
	draw(ExtFieldTSMode, func() { e.TSMode = TSMode(rapid.Uint8().Draw(t, "ts")) })
	draw(ExtFieldMSSClamp, func() { e.MSSClamp = rapid.Uint16().Draw(t, "mss") })
	draw(ExtFieldTOAKind4, func() { e.TOAKind4 = rapid.Uint8().Draw(t, "kind4") })
	draw(ExtFieldTOAKind6, func() { e.TOAKind6 = rapid.Uint8().Draw(t, "kind6") })
	draw(ExtFieldSPMSS, func() { e.SP.MSS = rapid.Uint16().Draw(t, "sp mss") })
	draw(ExtFieldSPWScale, func() { e.SP.WScale = rapid.Uint8().Draw(t, "sp wscale") })
	draw(ExtFieldSPOpts, func() {
		e.SP.OptsMask = SPOpts(rapid.Uint32Max(uapi.ExtSpOptAll).Draw(t, "sp opts mask"))
		e.SP.Opts = SPOpts(rapid.Uint32Max(uapi.ExtSpOptAll).Draw(t, "sp opts")) & e.SP.OptsMask
	})
	draw(ExtFieldSPWindow, func() { e.SP.Window = rapid.Uint16().Draw(t, "sp window") })
	draw(ExtFieldSPTTL, func() { e.SP.TTL = rapid.Uint8().Draw(t, "sp ttl") })
	draw(ExtFieldSPRetries, func() { e.SP.SYNRetries = rapid.Uint8().Draw(t, "sp retries") })
	draw(ExtFieldSPQueue, func() { e.SP.Queue = rapid.Uint8().Draw(t, "sp queue") })
	draw(ExtFieldSPAutoOn, func() { e.SP.AutoOn = rapid.Uint32().Draw(t, "sp auto on") })
	draw(ExtFieldSPAutoOff, func() { e.SP.AutoOff = rapid.Uint32().Draw(t, "sp auto off") })
	draw(ExtFieldTimeoutEst, func() { e.TimeoutEst = seconds(rapid.Uint32().Draw(t, "timeout")) })
	draw(ExtFieldCPS, func() { e.CPS = rapid.Uint32().Draw(t, "cps") })
	draw(ExtFieldCPSBurst, func() { e.CPSBurst = rapid.Uint32().Draw(t, "burst") })
	draw(ExtFieldBPSIn, func() { e.BPSIn = rapid.Uint64().Draw(t, "bps in") })
	draw(ExtFieldBPSOut, func() { e.BPSOut = rapid.Uint64().Draw(t, "bps out") })
	draw(ExtFieldConnLimit, func() { e.ConnLimit = rapid.Uint32().Draw(t, "limit") })
	draw(ExtFieldACLMode, func() { e.ACL = ACLMode(rapid.Uint8().Draw(t, "acl")) })
	draw(ExtFieldACLSet4, func() { e.ACLSet4 = drawText(t, "set4", 0, 31) })
	draw(ExtFieldACLSet6, func() { e.ACLSet6 = drawText(t, "set6", 0, 31) })
	return e
}

func drawLaddr(t *rapid.T) Laddr {
	return Laddr{Addr: drawAddr(t, drawFamily(t)), PortMin: rapid.Uint16().Draw(t, "min"), PortMax: rapid.Uint16().Draw(t, "max"),
		CPUs: rapid.StringMatching(`([0-9]+(-[0-9]+)?)?`).Draw(t, "cpus"), Flags: LaddrFlags(rapid.Uint32Max(uapi.ExtLaddrFAll).Draw(t, "flags"))}
}

// packed gives what enc packs, as a decoder sees it.
func packed(t *rapid.T, enc func(*encoder) error) *decoder {
	m, err := genlMessage(1, 1, enc)
	if err != nil {
		t.Fatal(err)
	}
	return &decoder{b: m.Data[genlHeader:]}
}

func returns[T any](draw func(*rapid.T) T, enc func(T) func(*encoder) error, dec func(*decoder) (T, error)) func(*testing.T) {
	return func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			want := draw(t)
			got, err := dec(packed(t, enc(want)))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, compareAddrs); diff != "" {
				t.Fatalf("-packed +unpacked:\n%s", diff)
			}
		})
	}
}

// TestUnpackReturnsWhatWasPacked: all that can be said of an object comes back.
func TestUnpackReturnsWhatWasPacked(t *testing.T) {
	t.Run("service", returns(drawService, func(s Service) func(*encoder) error { return s.encode }, decodeService))
	t.Run("dest", returns(drawDest, func(d Dest) func(*encoder) error { return d.encode },
		func(ad *decoder) (Dest, error) { return decodeDest(ad, 0, true) }))
	t.Run("daemon", returns(drawDaemon, func(d Daemon) func(*encoder) error { return d.encode }, decodeDaemon))
	t.Run("ext", returns(drawExt, func(e Ext) func(*encoder) error { return e.encode },
		func(ad *decoder) (e Ext, err error) { return e, e.decode(ad) }))
	t.Run("laddr", returns(drawLaddr, func(l Laddr) func(*encoder) error { return l.encode }, decodeLaddr))
	t.Run("laddr set", returns(drawLaddr, func(l Laddr) func(*encoder) error { return l.encodeSet }, decodeLaddr))
	t.Run("lgroup", returns(func(t *rapid.T) LGroup {
		return LGroup{Name: drawText(t, "name", 1, 15), Family: drawFamily(t)}
	}, func(g LGroup) func(*encoder) error { return g.encode }, decodeLGroup))
	t.Run("forecast", returns(drawForecast, packForecast, decodeLGroup))
	t.Run("event", returns(func(t *rapid.T) Event {
		return Event{Kind: EventKind(rapid.Uint32Min(1).Draw(t, "kind")), Service: drawKey(t), LGroup: drawForecast(t)}
	}, func(e Event) func(*encoder) error {
		return func(ae *encoder) error {
			ae.Uint32(15, uint32(e.Kind))
			ae.Nested(1, e.Service.encode)
			ae.Nested(3, packForecast(e.LGroup))
			return nil
		}
	}, decodeEvent))
	t.Run("timeouts", returns(func(t *rapid.T) Timeouts {
		return Timeouts{TCP: seconds(rapid.Uint32().Draw(t, "tcp")), TCPFin: seconds(rapid.Uint32().Draw(t, "fin")), UDP: seconds(rapid.Uint32().Draw(t, "udp"))}
	}, func(v Timeouts) func(*encoder) error { return v.encode }, decodeTimeouts))
	t.Run("config", returns(func(t *rapid.T) ExtConfig {
		// keys are not told
		c := ExtConfig{Set: ExtConfigField(rapid.Uint8Max(127).Draw(t, "set")) &^ (ExtConfigCookieKey | ExtConfigCookieKeyPrev)}
		if c.Set&ExtConfigProbes != 0 {
			c.Probes = rapid.Uint8().Draw(t, "probes")
		}
		c.Reclaim = c.Set&ExtConfigReclaim != 0 && rapid.Bool().Draw(t, "reclaim")
		if c.Set&ExtConfigSPQMem != 0 {
			c.SPQMem = rapid.Uint64().Draw(t, "memory")
		}
		if c.Set&ExtConfigSPEarly != 0 {
			c.SPEarly = SynproxyMode(rapid.Uint8Max(2).Draw(t, "early"))
		}
		c.DropVIP = c.Set&ExtConfigDropVIP != 0 && rapid.Bool().Draw(t, "drop vip")
		return c
	}, func(c ExtConfig) func(*encoder) error { return c.encode }, decodeExtConfig))
	t.Run("conn", returns(drawConn, packConn, decodeConn))
	t.Run("counters", returns(func(t *rapid.T) Stats {
		n := func(l string) uint64 { return rapid.Uint64().Draw(t, l) }
		return Stats{n("a"), n("b"), n("c"), n("d"), n("e"), n("f"), n("g"), n("h"), n("i"), n("j")}
	}, func(s Stats) func(*encoder) error {
		return func(e *encoder) error { e.Nested(1, packStats(s)); return nil }
	}, func(ad *decoder) (s Stats, err error) {
		for ad.Next() {
			ad.fail(s.decode(ad.Bytes()))
		}
		return s, ad.Err()
	}))
}

func drawForecast(t *rapid.T) LGroup {
	g := LGroup{Name: drawText(t, "name", 1, 15), Family: drawFamily(t), Refs: rapid.Uint32().Draw(t, "refs"),
		Ports: rapid.Uint32().Draw(t, "ports"), PortsUsed: rapid.Uint32().Draw(t, "used")}
	if g.PortsUsed != 0 {
		g.RS = netip.AddrPortFrom(drawAddr(t, g.Family), rapid.Uint16().Draw(t, "port"))
		g.RSProtocol = Protocol(rapid.Uint16().Draw(t, "protocol"))
	}
	return g
}

// packForecast writes a group as the kernel does.
func packForecast(g LGroup) func(*encoder) error {
	return func(e *encoder) error {
		e.String(1, g.Name)
		e.Uint16(2, uint16(g.Family))
		e.Uint32(3, g.Refs)
		e.Uint32(4, g.Ports)
		e.Uint32(5, g.PortsUsed)
		if g.RS.IsValid() {
			e.Bytes(6, g.RS.Addr().AsSlice())
			e.Port(7, g.RS.Port())
			e.Uint16(8, uint16(g.RSProtocol))
		}
		return nil
	}
}

func drawConn(t *rapid.T) Conn {
	family := drawFamily(t)
	end := func(l string) netip.AddrPort {
		return netip.AddrPortFrom(drawAddr(t, family), rapid.Uint16().Draw(t, l))
	}
	return Conn{Protocol: Protocol(rapid.Uint16().Draw(t, "protocol")), Client: end("client"), Virtual: end("virtual"),
		Local: end("local"), Dest: end("dest"), State: drawText(t, "state", 0, 15), Flags: rapid.Uint32().Draw(t, "flags"),
		Expires:  time.Duration(rapid.Uint32().Draw(t, "expires")) * time.Millisecond,
		ISNDelta: rapid.Uint32().Draw(t, "isn"), SPDelta: rapid.Uint32().Draw(t, "sp"), InPkts: rapid.Uint32().Draw(t, "packets")}
}

// packConn writes a connection as the kernel does: nobody else ever does.
func packConn(c Conn) func(*encoder) error {
	return func(e *encoder) error {
		e.Uint16(1, uint16(FamilyOf(c.Client.Addr())))
		e.Uint16(2, uint16(c.Protocol))
		for i, end := range []netip.AddrPort{c.Client, c.Virtual, c.Local, c.Dest} {
			e.Bytes(uint16(3+2*i), end.Addr().AsSlice())
			e.Bytes(uint16(4+2*i), binary.BigEndian.AppendUint16(nil, end.Port()))
		}
		e.String(11, c.State)
		e.Uint32(12, c.Flags)
		e.Uint32(13, uint32(c.Expires/time.Millisecond))
		e.Uint32(14, c.ISNDelta)
		e.Uint32(15, c.SPDelta)
		e.Uint32(16, c.InPkts)
		return nil
	}
}

// packStats writes IPVS_STATS_ATTR_* as ip_vs does in STATS64.
func packStats(s Stats) func(*encoder) error {
	return func(e *encoder) error {
		for i, n := range []uint64{s.Conns, s.InPkts, s.OutPkts, s.InBytes, s.OutBytes, s.CPS, s.InPPS, s.OutPPS, s.InBPS, s.OutBPS} {
			e.Uint64(uint16(1+i), n)
		}
		return nil
	}
}

// TestWideCountersWin: both nests come, in either order; those of 64 bits count.
func TestWideCountersWin(t *testing.T) {
	wide := Stats{Conns: 1 << 40, InBytes: math.MaxUint64, OutBPS: 5}
	narrow := func(e *encoder) error { e.Uint32(uapi.StatsConns, 7); e.Uint64(uapi.StatsInBytes, 9); return nil }
	key := svc("10.0.0.1", 80).ServiceKey
	for _, order := range [][2]uint16{{uapi.SvcStats, uapi.SvcStats64}, {uapi.SvcStats64, uapi.SvcStats}} {
		m, err := genlMessage(1, 1, func(e *encoder) error {
			for _, typ := range order {
				if typ == uapi.SvcStats {
					e.Nested(typ, narrow)
				} else {
					e.Nested(typ, packStats(wide))
				}
			}
			return key.encode(e)
		})
		if err != nil {
			t.Fatal(err)
		}
		var got Service
		if err := (message{data: m.Data}).decode(new(decoder), func(ad *decoder) (err error) { got, err = decodeService(ad); return err }); err != nil || got.Stats != wide {
			t.Errorf("%+v, %v", got.Stats, err)
		}
	}
}

// TestMatchIsTheFilter: a connection passes exactly if each part that the filter
// names agrees.
func TestMatchIsTheFilter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawConn(t)
		f := ConnFilter{Protocol: c.Protocol}
		f.Local = netip.PrefixFrom(c.Local.Addr(), rapid.IntRange(0, c.Local.Addr().BitLen()).Draw(t, "bits"))
		f.VirtualPort = c.Virtual.Port()
		if !f.Match(c) {
			t.Fatalf("%+v does not match %+v", f, c)
		}
		other := c
		if other.Virtual = netip.AddrPortFrom(c.Virtual.Addr(), c.Virtual.Port()+1); f.VirtualPort != 0 && f.Match(other) {
			t.Fatalf("%+v matches %+v", f, other)
		}
	})
}
