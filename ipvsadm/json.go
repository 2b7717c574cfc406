// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/lvs-fnat/lvs/ipvs"
)

// jsonFormat is the number of the form that docs/json.md describes. Members
// may be added within a format; what is there keeps its name and type.
const jsonFormat = 1

// jsonDoc writes one JSON object whose last member is a list, an element at a
// time: no listing is held in memory.
type jsonDoc struct {
	w     io.Writer
	count int
}

// newJSONDoc begins the document; head are its members before the list.
func newJSONDoc(w io.Writer, list string, head ...jsonMember) (*jsonDoc, error) {
	fmt.Fprintf(w, `{"format":%d,`, jsonFormat)
	for _, m := range head {
		text, err := json.Marshal(m.value)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(w, "\n%q:%s,", m.name, text)
	}
	fmt.Fprintf(w, "\n%q:[", list)
	return &jsonDoc{w: w}, nil
}

type jsonMember struct {
	name  string
	value any
}

// add writes one element, on a line of its own.
func (d *jsonDoc) add(v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	separator := ",\n"
	if d.count == 0 {
		separator = "\n"
	}
	d.count++
	io.WriteString(d.w, separator)
	d.w.Write(text)
	return nil
}

func (d *jsonDoc) end() { io.WriteString(d.w, "\n]}\n") }

// The types below are the form that docs/json.md describes, and the schema in
// it that a test checks them with. Numbers are numbers; what is absent is null.

type jsonIPVS struct {
	Version   string         `json:"version"`
	TableSize uint32         `json:"table_size"`
	Extension *jsonExtension `json:"extension"`
}

type jsonExtension struct {
	ABI      uint32   `json:"abi"`
	Build    string   `json:"build"`
	Features []string `json:"features"`
}

type jsonEnd struct {
	Address string `json:"address"`
	Port    uint16 `json:"port"`
}

// jsonKey names a service. Of a firewall mark there are no protocol, address
// and port; of all others there is no mark.
type jsonKey struct {
	Family   string  `json:"family"`
	Protocol *string `json:"protocol"`
	Address  *string `json:"address"`
	Port     *uint16 `json:"port"`
	FWMark   *uint32 `json:"fwmark"`
}

type jsonService struct {
	jsonKey
	Scheduler      string           `json:"scheduler"`
	SchedulerFlags []string         `json:"scheduler_flags"`
	Persistence    *jsonPersistence `json:"persistence"`
	OnePacket      bool             `json:"one_packet"`
	Stats          jsonStats        `json:"stats"`
	Rates          jsonRates        `json:"rates"`
	Extension      *jsonExt         `json:"extension"`
	RealServers    []jsonServer     `json:"real_servers"`
}

type jsonPersistence struct {
	Timeout int64   `json:"timeout"`
	Netmask string  `json:"netmask"`
	Engine  *string `json:"engine"`
}

type jsonStats struct {
	Conns    uint64 `json:"conns"`
	InPkts   uint64 `json:"in_packets"`
	OutPkts  uint64 `json:"out_packets"`
	InBytes  uint64 `json:"in_bytes"`
	OutBytes uint64 `json:"out_bytes"`
}

type jsonRates struct {
	CPS    uint64 `json:"conns"`
	InPPS  uint64 `json:"in_packets"`
	OutPPS uint64 `json:"out_packets"`
	InBPS  uint64 `json:"in_bytes"`
	OutBPS uint64 `json:"out_bytes"`
}

type jsonServer struct {
	jsonEnd
	Forward        string      `json:"forward"`
	Weight         uint32      `json:"weight"`
	UpperThreshold uint32      `json:"upper_threshold"`
	LowerThreshold uint32      `json:"lower_threshold"`
	ActiveConns    uint32      `json:"active_conns"`
	InactiveConns  uint32      `json:"inactive_conns"`
	PersistConns   uint32      `json:"persistent_conns"`
	Tunnel         *jsonTunnel `json:"tunnel"`
	Stats          jsonStats   `json:"stats"`
	Rates          jsonRates   `json:"rates"`
}

type jsonTunnel struct {
	Type     string `json:"type"`
	Port     uint16 `json:"port"`
	Checksum string `json:"checksum"`
}

type jsonConn struct {
	Protocol string   `json:"protocol"`
	Client   jsonEnd  `json:"client"`
	Virtual  jsonEnd  `json:"virtual"`
	Local    *jsonEnd `json:"local"`
	Server   jsonEnd  `json:"real_server"`
	State    string   `json:"state"`
	Expires  int64    `json:"expires"`
	Engine   *string  `json:"engine"`
	Data     *string  `json:"engine_data"`
}

type jsonDaemon struct {
	Role      string `json:"role"`
	Interface string `json:"interface"`
	SyncID    uint32 `json:"syncid"`
	MaxLen    uint16 `json:"sync_maxlen"`
	Group     string `json:"group"`
	Port      uint16 `json:"port"`
	TTL       uint8  `json:"ttl"`
}

type jsonGroup struct {
	Name     string      `json:"name"`
	Family   string      `json:"family"`
	Services uint32      `json:"services"`
	Ports    uint32      `json:"ports"`
	Used     uint32      `json:"ports_used"`
	Fullest  *jsonEnd    `json:"fullest_real_server"`
	Protocol *string     `json:"fullest_protocol"`
	Laddrs   []jsonLaddr `json:"local_addresses"`
}

type jsonLaddr struct {
	Address   string   `json:"address"`
	PortMin   uint16   `json:"port_min"`
	PortMax   uint16   `json:"port_max"`
	CPUs      *string  `json:"cpus"`
	Flags     []string `json:"flags"`
	Conns     uint32   `json:"conns"`
	Conflicts uint64   `json:"conflicts"`
	Full      uint64   `json:"full"`
	Reclaimed uint64   `json:"reclaimed"`
}

func endOf(ap netip.AddrPort) jsonEnd { return jsonEnd{ap.Addr().String(), ap.Port()} }

func orNull[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

func familyWord(f ipvs.Family) string {
	if f == ipvs.IPv6 {
		return "ipv6"
	}
	return "ipv4"
}

func keyOf(k ipvs.ServiceKey) jsonKey {
	if k.FWMark != 0 {
		return jsonKey{Family: familyWord(k.Family), FWMark: &k.FWMark}
	}
	protocol, addr := protocolWord(k.Protocol), k.Addr.String()
	return jsonKey{Family: familyWord(k.Family), Protocol: &protocol, Address: &addr, Port: &k.Port}
}

func statsOf(s *ipvs.Stats) jsonStats {
	return jsonStats{s.Conns, s.InPkts, s.OutPkts, s.InBytes, s.OutBytes}
}

func ratesOf(s *ipvs.Stats) jsonRates {
	return jsonRates{s.CPS, s.InPPS, s.OutPPS, s.InBPS, s.OutBPS}
}

func infoOf(i ipvs.Info) jsonIPVS {
	j := jsonIPVS{Version: versionText(i.Version), TableSize: i.TabSize}
	if e := i.Extended; e != nil {
		j.Extension = &jsonExtension{e.ABI, e.Build, ipvs.FeatureNames(e.Features)}
	}
	return j
}

// jsonService is s without its servers.
func (l *lister) jsonService(s *ipvs.Service) jsonService {
	j := jsonService{
		jsonKey: keyOf(s.ServiceKey), Scheduler: schedulerName(s), SchedulerFlags: []string{},
		OnePacket: s.Flags&ipvs.FlagOnePacket != 0, Stats: statsOf(&s.Stats), Rates: ratesOf(&s.Stats),
		RealServers: []jsonServer{},
	}
	for _, f := range schedFlags {
		named := s.Scheduler == "sh" || s.Scheduler == "mh"
		if s.Flags&f.flag != 0 && (f.scheduler == s.Scheduler || f.scheduler == "" && (!named || f.flag == ipvs.FlagSched3)) {
			j.SchedulerFlags = append(j.SchedulerFlags, f.word)
		}
	}
	if s.Flags&ipvs.FlagPersistent != 0 {
		mask := maskText(s)
		switch {
		case mask == "" && s.Family == ipvs.IPv6:
			mask = "128"
		case mask == "":
			mask = "255.255.255.255"
		}
		j.Persistence = &jsonPersistence{int64(s.Timeout / time.Second), mask, orNull(s.PEName)}
	}
	return j
}

// jsonServer is d, a server of l.current.
func (l *lister) jsonServer(d *ipvs.Dest) jsonServer {
	j := jsonServer{
		jsonEnd: jsonEnd{d.Addr.String(), d.Port}, Forward: forwardJSON(l.forward(d)),
		Weight: d.Weight, UpperThreshold: d.UpperThreshold, LowerThreshold: d.LowerThreshold,
		ActiveConns: d.ActiveConns, InactiveConns: d.InactConns, PersistConns: d.PersistConns,
		Stats: statsOf(&d.Stats), Rates: ratesOf(&d.Stats),
	}
	if d.Forward == ipvs.Tunnel {
		kind := map[ipvs.TunnelType]string{ipvs.TunnelIPIP: "ipip", ipvs.TunnelGUE: "gue", ipvs.TunnelGRE: "gre"}[d.TunType]
		if kind == "" {
			kind = "unknown"
		}
		j.Tunnel = &jsonTunnel{kind, d.TunPort, [...]string{"none", "full", "remote"}[min(d.TunFlags, 2)]}
	}
	return j
}

// listJSON is -L --json: the table, or one service of it.
func (l *lister) listJSON(ctx context.Context, c *call) error {
	var services []ipvs.Service
	var err error
	if c.set.has(colService) {
		services = make([]ipvs.Service, 1)
		if services[0], err = l.kernel.Service(ctx, c.service.ServiceKey); err != nil {
			return destsFailed(err)
		}
	} else {
		if services, err = l.kernel.Services(ctx); err != nil {
			return listFailed(err)
		}
		if !l.nosort {
			sortServices(services)
		}
	}
	if err := l.learn(ctx); err != nil {
		return err
	}
	doc, err := newJSONDoc(l.w, "services", jsonMember{"ipvs", infoOf(l.info)})
	if err != nil {
		return err
	}
	for i := range services {
		dests, err := l.kernel.Dests(ctx, services[i].ServiceKey)
		if err != nil {
			return destsFailed(err)
		}
		if !l.nosort {
			sortDests(dests, nil)
		}
		l.current = &services[i]
		j := l.jsonService(l.current)
		if l.info.Extended != nil {
			e, err := l.kernel.ExtService(ctx, l.current.ServiceKey)
			if err != nil {
				return destsFailed(err)
			}
			j.Extension = extOf(e.Ext)
		}
		for k := range dests {
			j.RealServers = append(j.RealServers, l.jsonServer(&dests[k]))
		}
		if err := doc.add(j); err != nil {
			return err
		}
	}
	doc.end()
	return nil
}

func connOf(c *connLine, local netip.AddrPort) jsonConn {
	j := jsonConn{
		Protocol: c.protocol, Client: endOf(c.client), Virtual: endOf(c.virtual), Server: endOf(c.server),
		State: c.state, Expires: c.expires, Engine: orNull(c.pe), Data: orNull(c.peData),
	}
	if local.IsValid() {
		l := endOf(local)
		j.Local = &l
	}
	return j
}

// putJSON writes a document without a list.
func putJSON(w io.Writer, members ...jsonMember) error {
	fmt.Fprintf(w, `{"format":%d`, jsonFormat)
	for _, m := range members {
		text, err := json.Marshal(m.value)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, ",\n%q:%s", m.name, text)
	}
	io.WriteString(w, "}\n")
	return nil
}

// timeoutsJSON is -L --timeout --json.
func timeoutsJSON(w io.Writer, t ipvs.Timeouts) error {
	return putJSON(w, jsonMember{"timeouts", struct {
		TCP    int64 `json:"tcp"`
		TCPFin int64 `json:"tcp_fin"`
		UDP    int64 `json:"udp"`
	}{int64(t.TCP / time.Second), int64(t.TCPFin / time.Second), int64(t.UDP / time.Second)}})
}

// daemonsJSON is -L --daemon --json.
func daemonsJSON(w io.Writer, daemons []ipvs.Daemon) error {
	doc, err := newJSONDoc(w, "daemons")
	if err != nil {
		return err
	}
	for _, d := range daemons {
		group := ""
		if d.Group.IsValid() {
			group = d.Group.String()
		}
		if err := doc.add(jsonDaemon{d.State.String(), d.Interface, d.SyncID, d.MaxLen, group, d.Port, d.TTL}); err != nil {
			return err
		}
	}
	doc.end()
	return nil
}

// groupsJSON is -G --json: the groups with their addresses, of one service or
// all. Which service uses which group is in the listing of services.
func (l *lister) groupsJSON(ctx context.Context, groups []ipvs.LGroup) error {
	doc, err := newJSONDoc(l.w, "groups")
	if err != nil {
		return err
	}
	for _, g := range groups {
		laddrs, err := l.kernel.Laddrs(ctx, g.Name)
		if err != nil {
			return listFailed(err)
		}
		j := jsonGroup{Name: g.Name, Family: familyWord(g.Family), Services: g.Refs, Ports: g.Ports, Used: g.PortsUsed, Laddrs: []jsonLaddr{}}
		if g.RS.IsValid() {
			rs := endOf(g.RS)
			j.Fullest, j.Protocol = &rs, orNull(protocolWord(g.RSProtocol))
		}
		for _, a := range laddrs {
			flags := []string{}
			for _, f := range laddrFlagWords {
				if a.Flags&f.flag != 0 {
					flags = append(flags, f.word)
				}
			}
			j.Laddrs = append(j.Laddrs, jsonLaddr{a.Addr.String(), a.PortMin, a.PortMax, orNull(a.CPUs), flags,
				a.Conns, a.Conflict, a.Full, a.Reclaim})
		}
		if err := doc.add(j); err != nil {
			return err
		}
	}
	doc.end()
	return nil
}

// jsonExt is what the extension knows of a service.
type jsonExt struct {
	FullNAT     bool    `json:"fullnat"`
	LGroup      *string `json:"local_address_group"`
	LaddrSelect string  `json:"local_address_selection"`
	ExhaustRST  bool    `json:"exhaust_rst"`
	TOA         bool    `json:"toa"`
	TOASyn      bool    `json:"toa_syn"`
	TOAKind4    uint8   `json:"toa_kind4"`
	TOAKind6    uint8   `json:"toa_kind6"`
	SeqAdjust   bool    `json:"seq_adjust"`
	Timestamps  string  `json:"timestamps"`
	MSS         uint16  `json:"mss"`
	Conns       uint32  `json:"conns"`

	Synproxy *jsonSynproxy `json:"synproxy"`
	Invalid  string        `json:"invalid"`

	RSTOnExpire bool       `json:"rst_on_expire"`
	TimeoutEst  int64      `json:"established_timeout"`
	Limits      jsonLimits `json:"limits"`
	ACL         jsonACL    `json:"acl"`
}

func extOf(e ipvs.Ext) *jsonExt {
	return &jsonExt{
		FullNAT: e.Flags&fnat != 0, LGroup: orNull(e.LGroup), LaddrSelect: wordOf(laddrWays, e.Select),
		ExhaustRST: e.Flags&exhaustRST != 0, TOA: e.Flags&toa != 0, TOASyn: e.Flags&toaSyn != 0,
		TOAKind4: e.TOAKind4, TOAKind6: e.TOAKind6, SeqAdjust: e.Flags&seqAdjust != 0,
		Timestamps: wordOf(tsModes, e.TSMode), MSS: e.MSSClamp, Conns: e.NConn,
		Synproxy: synproxyOf(e), Invalid: wordOf(invalidWords, e.Invalid),
		RSTOnExpire: e.Flags&ipvs.ExtRSTOnExpire != 0, TimeoutEst: int64(e.TimeoutEst / time.Second),
		Limits: limitsOf(e.Limits), ACL: aclOf(e.Limits),
	}
}

// wordOf is the word for a number; a newer module may know more of them.
func wordOf[T ~uint8](words []string, n T) string {
	if int(n) < len(words) {
		return words[n]
	}
	return fmt.Sprint(uint8(n))
}

// namedGroups keeps of groups what a call of -G asks for.
func namedGroups(groups []ipvs.LGroup, name string) []ipvs.LGroup {
	return slices.DeleteFunc(groups, func(g ipvs.LGroup) bool { return g.Name != name })
}
