// SPDX-License-Identifier: Apache-2.0

package director

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/lvs-fnat/lvs/internal/agentx"
	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/ipvs"
)

// CheckMIB is where KEEPALIVED-MIB has virtual servers.
var CheckMIB = agentx.OID{1, 3, 6, 1, 4, 1, 9586, 100, 5, 3}

// Counters gives what the kernel has counted for a service and for a dest of it, as far
// as that can be read: 0 elsewhere.
type Counters struct {
	Service func(ipvs.ServiceKey) ipvs.Stats
	Dest    func(ipvs.ServiceKey, ipvs.DestKey) ipvs.Dest
}

// WeightOf is a change that SNMP asks for: the weight of a real server by hand. It
// stays until the next reload. Service and Server say which.
type WeightOf struct {
	Service *config.VirtualServer
	Server  *config.RealServer
	Weight  int
}

// Weigh makes the change w; Observe must be called before Tables. An error if there
// is no such server any more.
func (d *Director) Weigh(w WeightOf) ([]Notice, error) {
	for _, v := range d.virtuals {
		if v.cfg != w.Service {
			continue
		}
		for _, s := range v.servers {
			if s.cfg == w.Server {
				return v.weigh(s, w.Weight), nil
			}
		}
	}
	return nil, fmt.Errorf("real server %s of %s is no longer what it was", w.Server.Addr, w.Service.Name)
}

func (v *virtual) weigh(s *server, weight int) []Notice {
	was := s.weight()
	s.hand = &weight
	if s.weight() == was {
		return nil
	}
	return []Notice{{Text: v.msgWeight(s, was)}}
}

// virtualRow is one virtual server as it was at a moment. What cfg points to does not
// change.
type virtualRow struct {
	cfg    *config.VirtualServer
	quorum bool
	up     int
	// keys are the kernel's of endpoints, in their order.
	keys      []ipvs.ServiceKey
	endpoints []config.Endpoint
	counters  Counters
}

// serverRow is one real server of v, or its sorry server.
type serverRow struct {
	v      *virtualRow
	cfg    *config.RealServer
	sorry  bool
	alive  bool
	weight int
	failed int // of its checks
	weigh  func(context.Context, WeightOf) error
}

// Objects adds what SNMP is told of virtual servers to view: a copy of what there is,
// for another goroutine. counters and weigh are called by that one.
func (d *Director) Objects(view *agentx.View, counters Counters, weigh func(context.Context, WeightOf) error) {
	d.addGroups(view)
	virtuals := make([]agentx.Row[*virtualRow], 0, len(d.virtuals))
	var servers []agentx.Row[*serverRow]
	for i, v := range d.virtuals {
		row := &virtualRow{cfg: v.cfg, quorum: v.quorum, up: v.up(), endpoints: v.served(), counters: counters}
		for _, e := range v.served() {
			row.keys = append(row.keys, endpointKey(v.cfg, e))
		}
		n := uint32(i + 1)
		virtuals = append(virtuals, agentx.Row[*virtualRow]{Index: agentx.OID{n}, Of: row})
		k := uint32(0)
		add := func(s *serverRow) {
			k++
			servers = append(servers, agentx.Row[*serverRow]{Index: agentx.OID{n, k}, Of: s})
		}
		if v.cfg.SorryServer != nil {
			add(&serverRow{v: row, cfg: v.cfg.SorryServer, sorry: true})
		}
		for _, s := range v.servers {
			r := &serverRow{v: row, cfg: s.cfg, alive: s.alive, weight: s.weight(), weigh: weigh}
			for _, passing := range d.passing[s.first : s.first+s.count] {
				if !passing {
					r.failed++
				}
			}
			add(r)
		}
	}
	agentx.Add(view, &virtualTable, virtuals)
	agentx.Add(view, &serverTable, servers)
	agentx.AddScalars(view, &syncTable, d.cfg.Global.LVSSyncDaemon)
	agentx.AddScalars(view, &timeoutTable, d.cfg.Global.LVSTimeouts)
}

// up counts the servers alive.
func (v *virtual) up() int {
	n := 0
	for _, s := range v.servers {
		if s.alive {
			n++
		}
	}
	return n
}

// when is value where it has a meaning, and none elsewhere.
func when(on bool, value agentx.Value) agentx.Value {
	if !on {
		return agentx.Value{}
	}
	return value
}

func micros(d time.Duration) agentx.Value { return agentx.Gauge32(uint64(d / time.Microsecond)) }

// addrType is an InetAddressType.
func addrType(f config.Family) agentx.Value { return agentx.AddrType(f == config.IPv6) }

// scriptText is a command with each of its words in quotes.
func scriptText(s config.Script) agentx.Value {
	words, err := s.Args()
	if err != nil || len(words) == 0 {
		return agentx.Value{}
	}
	return agentx.Text("'" + strings.Join(words, "' '") + "'")
}

var groupTable = agentx.Table[string]{Entry: CheckMIB.Append(1, 1), Columns: []agentx.Column[string]{
	{ID: 2, Value: func(name string) agentx.Value { return agentx.Octets(name) }},
}}

// The numbers of virtualServerGroupMemberType.
const (
	memberMark = iota + 1
	memberAddress
	memberRange
)

func memberType(m config.GroupMember) int {
	switch {
	case m.FWMark != 0:
		return memberMark
	case m.First == m.Last:
		return memberAddress
	}
	return memberRange
}

var memberTable = agentx.Table[config.GroupMember]{Entry: CheckMIB.Append(2, 1), Columns: []agentx.Column[config.GroupMember]{
	{ID: 2, Value: func(m config.GroupMember) agentx.Value { return agentx.Integer(memberType(m)) }},
	{ID: 3, Value: func(m config.GroupMember) agentx.Value {
		return when(m.FWMark != 0, agentx.Gauge32(uint64(m.FWMark)))
	}},
	{ID: 4, Value: func(m config.GroupMember) agentx.Value {
		return when(m.FWMark == 0, addrType(config.FamilyOf(m.First)))
	}},
	{ID: 5, Value: func(m config.GroupMember) agentx.Value {
		return when(memberType(m) == memberAddress, agentx.Addr(m.First))
	}},
	{ID: 6, Value: func(m config.GroupMember) agentx.Value {
		return when(memberType(m) == memberRange, agentx.Addr(m.First))
	}},
	{ID: 7, Value: func(m config.GroupMember) agentx.Value {
		return when(memberType(m) == memberRange, agentx.Addr(m.Last))
	}},
	{ID: 8, Value: func(m config.GroupMember) agentx.Value {
		return when(m.FWMark == 0, agentx.Gauge32(uint64(m.Ports.Min)))
	}},
}}

// addGroups adds the groups of virtual servers, with the marks of each first.
func (d *Director) addGroups(view *agentx.View) {
	var names []agentx.Row[string]
	var members []agentx.Row[config.GroupMember]
	for i, g := range d.cfg.ServerGroups {
		n, k := uint32(i+1), uint32(0)
		names = append(names, agentx.Row[string]{Index: agentx.OID{n}, Of: g.Name})
		for _, marks := range []bool{true, false} {
			for _, m := range g.Members {
				if (m.FWMark != 0) == marks {
					k++
					members = append(members, agentx.Row[config.GroupMember]{Index: agentx.OID{n, k}, Of: m})
				}
			}
		}
	}
	agentx.Add(view, &groupTable, names)
	agentx.Add(view, &memberTable, members)
}

// The numbers of virtualServerType.
const (
	typeMark = iota + 1
	typeAddress
	typeGroup
)

func typeOf(vs *config.VirtualServer) int {
	switch {
	case vs.Group != "":
		return typeGroup
	case vs.Endpoints[0].FWMark != 0:
		return typeMark
	}
	return typeAddress
}

// algorithms are the numbers of virtualServerLoadBalancingAlgo.
var algorithms = map[string]int{
	"rr": 1, "wrr": 2, "lc": 3, "wlc": 4, "lblc": 5, "lblcr": 6, "dh": 7, "sh": 8, "sed": 9, "nq": 10, "fo": 11, "ovf": 12, "mh": 13, "twos": 14,
}

const algorithmUnknown = 99

// forwarding is a number of virtualServerLoadBalancingKind. FNAT, which the MIB does
// not know, is a NAT.
func forwarding(m config.Method) agentx.Value {
	if m == config.FNAT {
		m = config.NAT
	}
	return agentx.Integer(int(m))
}

// protocol is a number of virtualServerProtocol.
func protocol(p config.Protocol) agentx.Value {
	return agentx.Integer(map[config.Protocol]int{config.TCP: 1, config.UDP: 2, config.SCTP: 3, 0: 4}[p])
}

// granularity is the mask of clients as of family f; none when v is of the other.
// Marks and groups have both, as in the original, unless all of a group is IPv6.
func (r *virtualRow) granularity(f config.Family) (mask uint32, ok bool) {
	own := r.cfg.Endpoints[0].Family
	if own != f && (own == config.IPv6 || typeOf(r.cfg) == typeAddress) {
		return 0, false
	}
	return netmask(own, r.cfg.PersistenceGranularity, r.cfg.PersistenceMask), true
}

// stats are the sum of all its services.
func (r *virtualRow) stats() (sum ipvs.Stats) {
	for _, k := range r.keys {
		sum = addStats(sum, r.counters.Service(k))
	}
	return sum
}

func addStats(a, b ipvs.Stats) ipvs.Stats {
	return ipvs.Stats{
		Conns: a.Conns + b.Conns, InPkts: a.InPkts + b.InPkts, OutPkts: a.OutPkts + b.OutPkts, InBytes: a.InBytes + b.InBytes, OutBytes: a.OutBytes + b.OutBytes,
		CPS: a.CPS + b.CPS, InPPS: a.InPPS + b.InPPS, OutPPS: a.OutPPS + b.OutPPS, InBPS: a.InBPS + b.InBPS, OutBPS: a.OutBPS + b.OutBPS,
	}
}

// virtualTable is in the order of the file.
var virtualTable = agentx.Table[*virtualRow]{Entry: CheckMIB.Append(3, 1), Columns: append([]agentx.Column[*virtualRow]{
	{ID: 2, Value: func(r *virtualRow) agentx.Value { return agentx.Integer(typeOf(r.cfg)) }},
	{ID: 3, Value: func(r *virtualRow) agentx.Value { return agentx.Text(r.cfg.Group) }},
	{ID: 4, Value: func(r *virtualRow) agentx.Value {
		return when(typeOf(r.cfg) == typeMark, agentx.Gauge32(uint64(r.cfg.Endpoints[0].FWMark)))
	}},
	{ID: 5, Value: func(r *virtualRow) agentx.Value { return addrType(r.cfg.Endpoints[0].Family) }},
	{ID: 6, Value: func(r *virtualRow) agentx.Value {
		return when(typeOf(r.cfg) == typeAddress, agentx.Addr(r.cfg.Endpoints[0].Addr.Addr()))
	}},
	{ID: 7, Value: func(r *virtualRow) agentx.Value {
		return when(typeOf(r.cfg) == typeAddress, agentx.Gauge32(uint64(r.cfg.Endpoints[0].Addr.Port())))
	}},
	{ID: 8, Value: func(r *virtualRow) agentx.Value { return when(typeOf(r.cfg) != typeMark, protocol(r.cfg.Protocol)) }},
	{ID: 9, Value: func(r *virtualRow) agentx.Value {
		if n := algorithms[r.cfg.Scheduler]; n != 0 {
			return agentx.Integer(n)
		}
		return agentx.Integer(algorithmUnknown)
	}},
	{ID: 10, Value: func(r *virtualRow) agentx.Value { return forwarding(r.cfg.Method) }},
	{ID: 11, Value: func(*virtualRow) agentx.Value { return agentx.Integer(1) }}, // it is in the tables while there is a row
	{ID: 12, Value: func(r *virtualRow) agentx.Value { return agentx.Text(r.cfg.VirtualHost) }},
	{ID: 13, Value: func(r *virtualRow) agentx.Value { return agentx.Truth(r.cfg.PersistenceTimeout > 0) }},
	{ID: 14, Value: func(r *virtualRow) agentx.Value {
		return when(r.cfg.PersistenceTimeout > 0, agentx.Seconds(r.cfg.PersistenceTimeout))
	}},
	{ID: 15, Value: func(r *virtualRow) agentx.Value {
		mask, ok := r.granularity(config.IPv4)
		return when(ok, agentx.Octets(binary.BigEndian.AppendUint32(nil, mask)))
	}},
	{ID: 16, Value: func(r *virtualRow) agentx.Value { return agentx.Seconds(r.cfg.Timing.DelayLoop) }},
	{ID: 17, Value: func(r *virtualRow) agentx.Value { return agentx.Truth(r.cfg.HASuspend) }},
	{ID: 18, Value: func(r *virtualRow) agentx.Value { return agentx.Truth(r.cfg.Alpha) }},
	{ID: 19, Value: func(r *virtualRow) agentx.Value { return agentx.Truth(r.cfg.Omega) }},
	{ID: 20, Value: func(r *virtualRow) agentx.Value { return agentx.Gauge32(uint64(len(r.cfg.RealServers))) }},
	{ID: 21, Value: func(r *virtualRow) agentx.Value { return agentx.Gauge32(uint64(r.up)) }},
	{ID: 22, Value: func(r *virtualRow) agentx.Value { return agentx.Gauge32(uint64(r.cfg.Quorum)) }},
	{ID: 23, Value: func(r *virtualRow) agentx.Value { return agentx.Truth(r.quorum) }},
	{ID: 24, Value: func(r *virtualRow) agentx.Value { return scriptText(r.cfg.QuorumUp) }},
	{ID: 25, Value: func(r *virtualRow) agentx.Value { return scriptText(r.cfg.QuorumDown) }},
	{ID: 26, Value: func(r *virtualRow) agentx.Value { return agentx.Gauge32(uint64(r.cfg.Hysteresis)) }},
	{ID: 37, Value: func(r *virtualRow) agentx.Value { return agentx.Truth(r.cfg.OnePacket) }},
	{ID: 51, Value: func(r *virtualRow) agentx.Value {
		mask, ok := r.granularity(config.IPv6)
		return when(ok, agentx.Gauge32(uint64(mask)))
	}},
	{ID: 52, Value: func(*virtualRow) agentx.Value { return agentx.Truth(false) }}, // a flag of the kernel's own
	{ID: 53, Value: func(r *virtualRow) agentx.Value { return r.flag(1) }},
	{ID: 54, Value: func(r *virtualRow) agentx.Value { return r.flag(2) }},
	{ID: 55, Value: func(r *virtualRow) agentx.Value { return r.flag(4) }},
	{ID: 56, Value: func(r *virtualRow) agentx.Value { return agentx.Truth(!r.cfg.InhibitOnFailure) }}, // remove is 1
	{ID: 57, Value: func(r *virtualRow) agentx.Value { return agentx.Gauge32(uint64(r.cfg.Timing.Retry)) }},
	{ID: 58, Value: func(r *virtualRow) agentx.Value { return agentx.Seconds(r.cfg.Timing.DelayBeforeRetry) }},
	{ID: 59, Value: func(r *virtualRow) agentx.Value { return agentx.Seconds(r.cfg.Timing.Warmup) }},
	{ID: 60, Value: func(r *virtualRow) agentx.Value { return agentx.Integer(r.cfg.Weight) }},
	{ID: 61, Value: func(r *virtualRow) agentx.Value { return agentx.Truth(r.cfg.SMTPAlert) }},
	{ID: 62, Value: func(r *virtualRow) agentx.Value { return r.flag(1) }},
	{ID: 63, Value: func(r *virtualRow) agentx.Value { return r.flag(2) }},
	{ID: 64, Value: func(r *virtualRow) agentx.Value { return micros(r.cfg.Timing.DelayLoop) }},
	{ID: 65, Value: func(r *virtualRow) agentx.Value { return micros(r.cfg.Timing.DelayBeforeRetry) }},
	{ID: 66, Value: func(r *virtualRow) agentx.Value { return micros(r.cfg.Timing.Warmup) }},
	{ID: 67, Value: func(r *virtualRow) agentx.Value { return micros(r.cfg.Timing.ConnectTimeout) }},
	{ID: 68, Value: func(r *virtualRow) agentx.Value { return tunnelType(r.cfg.Method, &r.cfg.Tunnel) }},
	{ID: 69, Value: func(r *virtualRow) agentx.Value { return tunnelPort(r.cfg.Method, &r.cfg.Tunnel) }},
	{ID: 70, Value: func(r *virtualRow) agentx.Value { return tunnelChecksum(r.cfg.Method, &r.cfg.Tunnel) }},
	{ID: 71, Value: func(r *virtualRow) agentx.Value { return agentx.Text(r.cfg.SNMPName) }},
}, statColumns((*virtualRow).stats, 27, 28, 32, 38, 41)...)}

// flag tells whether the schedulers' flag of that bit is set. The first two are those of
// sh and mh by name, too, whatever the scheduler is.
func (r *virtualRow) flag(bit uint8) agentx.Value { return agentx.Truth(r.cfg.SchedFlags&bit != 0) }

func tunnelType(m config.Method, t *config.Tunnel) agentx.Value {
	return when(m == config.TUN, agentx.Integer(int(tunnelTypes[t.Type])+1))
}

func tunnelPort(m config.Method, t *config.Tunnel) agentx.Value {
	return when(m == config.TUN && t.Port != 0, agentx.Gauge32(uint64(t.Port)))
}

func tunnelChecksum(m config.Method, t *config.Tunnel) agentx.Value {
	return when(m == config.TUN && t.Type != "ipip", agentx.Integer(int(tunnelFlags[t.Checksum])+1))
}

// statColumns are the counters and rates of either table: from conns on one column,
// from packets on four, from rates on five, from wide on three with 64 bits, from split
// on ten with the halves of the rates.
func statColumns[R any](of func(R) ipvs.Stats, conns, packets, rates, wide, split uint32) []agentx.Column[R] {
	column := func(id uint32, kind func(uint64) agentx.Value, number func(*ipvs.Stats) uint64) agentx.Column[R] {
		return agentx.Column[R]{ID: id, Value: func(r R) agentx.Value {
			s := of(r)
			return kind(number(&s))
		}}
	}
	count := []func(*ipvs.Stats) uint64{
		func(s *ipvs.Stats) uint64 { return s.Conns }, func(s *ipvs.Stats) uint64 { return s.InPkts }, func(s *ipvs.Stats) uint64 { return s.OutPkts },
	}
	list := []agentx.Column[R]{
		column(conns, agentx.Gauge32, count[0]), column(packets, agentx.Counter32, count[1]), column(packets+1, agentx.Counter32, count[2]),
		column(packets+2, agentx.Counter64, func(s *ipvs.Stats) uint64 { return s.InBytes }),
		column(packets+3, agentx.Counter64, func(s *ipvs.Stats) uint64 { return s.OutBytes }),
	}
	for i, number := range count {
		list = append(list, column(wide+uint32(i), agentx.Counter64, number))
	}
	for i, number := range []func(*ipvs.Stats) uint64{
		func(s *ipvs.Stats) uint64 { return s.CPS }, func(s *ipvs.Stats) uint64 { return s.InPPS }, func(s *ipvs.Stats) uint64 { return s.OutPPS },
		func(s *ipvs.Stats) uint64 { return s.InBPS }, func(s *ipvs.Stats) uint64 { return s.OutBPS },
	} {
		high := func(n uint64) agentx.Value { return agentx.Gauge32(n >> 32) }
		list = append(list, column(rates+uint32(i), agentx.Gauge32, number),
			column(split+2*uint32(i), agentx.Gauge32, number), column(split+2*uint32(i)+1, high, number))
	}
	return list
}

// dest is what the kernel has counted for r, summed over the services of its virtual
// server.
func (r *serverRow) dest() (sum ipvs.Dest) {
	for i, k := range r.v.keys {
		d := r.v.counters.Dest(k, wantedDest(r.cfg, r.v.endpoints[i], 0).DestKey)
		sum.ActiveConns += d.ActiveConns
		sum.InactConns += d.InactConns
		sum.PersistConns += d.PersistConns
		sum.Stats = addStats(sum.Stats, d.Stats)
	}
	return sum
}

// portOf is the port of a real server; none for a mark whose packets keep their own.
func portOf(vs *config.VirtualServer, rs *config.RealServer) agentx.Value {
	if typeOf(vs) == typeMark {
		return agentx.Gauge32(uint64(wantedDest(rs, vs.Endpoints[0], 0).Port))
	}
	return agentx.Gauge32(uint64(rs.Addr.Port()))
}

func (r *serverRow) stats() ipvs.Stats { return r.dest().Stats }

// timing is that of the checks; a sorry server has none.
func (r *serverRow) timing() *config.Timing {
	if r.sorry {
		return &config.Timing{}
	}
	return r.cfg.Timing
}

// setWeight is what a new weight would do.
func setWeight(r *serverRow, v agentx.Value) (agentx.Change, agentx.Status) {
	if v.Int() < 0 {
		return agentx.Change{}, agentx.StatusWrongValue
	}
	to := func(weight int) func(context.Context) error {
		return func(ctx context.Context) error { return r.weigh(ctx, WeightOf{r.v.cfg, r.cfg, weight}) }
	}
	return agentx.Change{Do: to(v.Int()), Undo: to(r.weight)}, agentx.StatusOK
}

// serverTable has the real servers of each virtual server, its sorry server first.
var serverTable = agentx.Table[*serverRow]{Entry: CheckMIB.Append(4, 1), Columns: append([]agentx.Column[*serverRow]{
	{ID: 2, Value: func(r *serverRow) agentx.Value { return agentx.Truth(!r.sorry) }}, // regular is 1
	{ID: 3, Value: func(r *serverRow) agentx.Value { return addrType(config.FamilyOf(r.cfg.Addr.Addr())) }},
	{ID: 4, Value: func(r *serverRow) agentx.Value { return agentx.Addr(r.cfg.Addr.Addr()) }},
	{ID: 5, Value: func(r *serverRow) agentx.Value { return portOf(r.v.cfg, r.cfg) }},
	{ID: 6, Value: func(r *serverRow) agentx.Value { return when(!r.sorry, agentx.Truth(r.alive)) }},
	{ID: 7, Value: func(r *serverRow) agentx.Value { return when(!r.sorry, agentx.Integer(r.weight)) }, Set: setWeight},
	{ID: 8, Value: func(r *serverRow) agentx.Value {
		return when(r.cfg.UThreshold > 0, agentx.Gauge32(uint64(r.cfg.UThreshold)))
	}},
	{ID: 9, Value: func(r *serverRow) agentx.Value {
		return when(r.cfg.LThreshold > 0, agentx.Gauge32(uint64(r.cfg.LThreshold)))
	}},
	{ID: 10, Value: func(r *serverRow) agentx.Value { return when(!r.sorry, agentx.Truth(!r.cfg.InhibitOnFailure)) }}, // remove is 1
	{ID: 11, Value: func(r *serverRow) agentx.Value { return scriptText(r.cfg.NotifyUp) }},
	{ID: 12, Value: func(r *serverRow) agentx.Value { return scriptText(r.cfg.NotifyDown) }},
	{ID: 13, Value: func(r *serverRow) agentx.Value { return when(!r.sorry, agentx.Gauge32(uint64(r.failed))) }},
	{ID: 15, Value: func(r *serverRow) agentx.Value { return agentx.Gauge32(uint64(r.dest().ActiveConns)) }},
	{ID: 16, Value: func(r *serverRow) agentx.Value { return agentx.Gauge32(uint64(r.dest().InactConns)) }},
	{ID: 17, Value: func(r *serverRow) agentx.Value { return agentx.Gauge32(uint64(r.dest().PersistConns)) }},
	{ID: 40, Value: func(r *serverRow) agentx.Value { return forwarding(r.cfg.Method) }},
	{ID: 41, Value: func(r *serverRow) agentx.Value { return agentx.Text(r.cfg.VirtualHost) }},
	{ID: 42, Value: func(r *serverRow) agentx.Value { return agentx.Truth(!r.sorry && r.cfg.Alpha) }},
	{ID: 43, Value: func(r *serverRow) agentx.Value { return agentx.Gauge32(uint64(r.timing().Retry)) }},
	{ID: 44, Value: func(r *serverRow) agentx.Value { return agentx.Seconds(r.timing().DelayBeforeRetry) }},
	{ID: 45, Value: func(r *serverRow) agentx.Value { return agentx.Seconds(r.timing().Warmup) }},
	{ID: 46, Value: func(r *serverRow) agentx.Value { return agentx.Seconds(r.timing().DelayLoop) }},
	{ID: 47, Value: func(r *serverRow) agentx.Value { return agentx.Truth(!r.sorry && r.cfg.SMTPAlert) }},
	{ID: 48, Value: func(r *serverRow) agentx.Value { return micros(r.timing().DelayBeforeRetry) }},
	{ID: 49, Value: func(r *serverRow) agentx.Value { return micros(r.timing().Warmup) }},
	{ID: 50, Value: func(r *serverRow) agentx.Value { return micros(r.timing().DelayLoop) }},
	{ID: 51, Value: func(r *serverRow) agentx.Value { return micros(r.timing().ConnectTimeout) }},
	{ID: 52, Value: func(r *serverRow) agentx.Value { return tunnelType(r.cfg.Method, &r.cfg.Tunnel) }},
	{ID: 53, Value: func(r *serverRow) agentx.Value { return tunnelPort(r.cfg.Method, &r.cfg.Tunnel) }},
	{ID: 54, Value: func(r *serverRow) agentx.Value { return tunnelChecksum(r.cfg.Method, &r.cfg.Tunnel) }},
	{ID: 55, Value: func(r *serverRow) agentx.Value { return agentx.Text(r.cfg.SNMPName) }},
}, statColumns((*serverRow).stats, 14, 18, 22, 27, 30)...)}

// syncTable is lvs_sync_daemon; of none only that it is none.
var syncTable = agentx.Table[*config.SyncDaemon]{Entry: CheckMIB.Append(6), Columns: []agentx.Column[*config.SyncDaemon]{
	{ID: 1, Value: func(s *config.SyncDaemon) agentx.Value { return agentx.Truth(s != nil) }},
	syncColumn(2, func(s *config.SyncDaemon) agentx.Value { return agentx.Text(s.Interface) }),
	syncColumn(3, func(s *config.SyncDaemon) agentx.Value { return agentx.Text(s.Instance) }),
	syncColumn(4, func(s *config.SyncDaemon) agentx.Value { return when(s.ID >= 0, agentx.Integer(s.ID)) }),
	syncColumn(5, func(s *config.SyncDaemon) agentx.Value { return agentx.Integer(int(s.MaxLen)) }),
	syncColumn(6, func(s *config.SyncDaemon) agentx.Value { return agentx.Integer(int(s.Port)) }),
	syncColumn(7, func(s *config.SyncDaemon) agentx.Value { return agentx.Integer(int(s.TTL)) }),
	syncColumn(8, func(s *config.SyncDaemon) agentx.Value {
		return when(s.Group.IsValid(), addrType(config.FamilyOf(s.Group)))
	}),
	syncColumn(9, func(s *config.SyncDaemon) agentx.Value { return agentx.Addr(s.Group) }),
}}

func syncColumn(id uint32, value func(*config.SyncDaemon) agentx.Value) agentx.Column[*config.SyncDaemon] {
	return agentx.Column[*config.SyncDaemon]{ID: id, Value: func(s *config.SyncDaemon) agentx.Value {
		if s == nil {
			return agentx.Value{}
		}
		return value(s)
	}}
}

// timeoutTable is lvs_timeouts, as far as it says.
var timeoutTable = agentx.Table[*config.LVSTimeouts]{Entry: CheckMIB.Append(7), Columns: []agentx.Column[*config.LVSTimeouts]{
	timeoutColumn(1, func(t *config.LVSTimeouts) time.Duration { return t.TCP }),
	timeoutColumn(2, func(t *config.LVSTimeouts) time.Duration { return t.TCPFin }),
	timeoutColumn(3, func(t *config.LVSTimeouts) time.Duration { return t.UDP }),
}}

func timeoutColumn(id uint32, of func(*config.LVSTimeouts) time.Duration) agentx.Column[*config.LVSTimeouts] {
	return agentx.Column[*config.LVSTimeouts]{ID: id, Value: func(t *config.LVSTimeouts) agentx.Value {
		if t == nil {
			return agentx.Value{}
		}
		return when(of(t) > 0, agentx.Integer(int(of(t)/time.Second)))
	}}
}
