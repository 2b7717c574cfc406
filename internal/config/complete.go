// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// serviceID is what the kernel tells services apart by.
type serviceID struct {
	proto  Protocol
	addr   netip.AddrPort
	mark   uint32
	family Family
}

// identify resolves what a virtual server is: endpoints, protocol, method.
// It comes before the local addresses are sorted into groups.
func (l *loader) identify(d *draft) bool {
	vs := &d.vs
	switch {
	case d.broken:
		return false
	case vs.Group != "":
		g, ok := l.vsGrp[vs.Group]
		if !ok {
			l.error(vs.Pos, "virtual_server group '%s': no such virtual_server_group%s", vs.Group, defined(maps.Keys(l.vsGrp)))
		}
		if !ok || g.broken {
			return false
		}
		vs.Endpoints = slices.Clone(g.endpoints)
	case d.mark != 0:
		vs.Endpoints = []Endpoint{{FWMark: d.mark, Family: d.family, Pos: vs.Pos}}
	}
	for i := range vs.Endpoints {
		if e := &vs.Endpoints[i]; e.Family == 0 {
			e.Family = d.realFamily()
		}
	}
	l.defaults(d)
	vs.Name = d.name()
	return true
}

// realFamily is the family a mark gets that does not say: that of the first real server.
func (d *draft) realFamily() Family {
	if d.family == 0 && len(d.reals) > 0 {
		return FamilyOf(d.reals[0].rs.Addr.Addr())
	}
	if d.family == 0 {
		return IPv4
	}
	return d.family
}

// onlyMarks says that every endpoint is a firewall mark, for which a protocol has no meaning.
func (d *draft) onlyMarks() bool {
	return !slices.ContainsFunc(d.vs.Endpoints, func(e Endpoint) bool { return e.FWMark == 0 })
}

func (d *draft) name() string {
	switch vs := &d.vs; {
	case vs.Group != "":
		return vs.Group
	case d.mark != 0:
		return fmt.Sprintf("FWM %d", d.mark)
	default:
		return NameOf(vs.Endpoints[0].Addr, vs.Protocol)
	}
}

// NameOf is a as lines of the log name it: "[192.0.2.1]:tcp:80".
func NameOf(a netip.AddrPort, p Protocol) string {
	b := make([]byte, 0, 64)
	b = append(b, '[')
	b = a.Addr().AppendTo(b)
	b = append(b, "]:"...)
	b = append(b, p.String()...)
	b = append(b, ':')
	return string(strconv.AppendUint(b, uint64(a.Port()), 10))
}

// defaults fills in what was not written; the original grumbles about the same four.
func (l *loader) defaults(d *draft) {
	vs := &d.vs
	switch {
	case d.onlyMarks() && vs.Protocol != 0:
		l.warn(d.protoAt, "Warning: virtual server %s: protocol will be ignored for a fwmark", d.label())
		vs.Protocol = 0
	case !d.onlyMarks() && vs.Protocol == 0:
		vs.Protocol = UDP
		l.warn(vs.Pos, "Virtual server %s: no protocol set: using UDP", d.label())
	}
	if vs.Scheduler == "" {
		vs.Scheduler = "wlc"
		l.warn(vs.Pos, "Virtual server %s: no scheduler set, setting default 'wlc'", d.label())
	}
	if vs.Method == 0 {
		vs.Method, d.methodAt = NAT, vs.Pos
		l.warn(vs.Pos, "Virtual server %s: no forwarding method set, setting default NAT", d.label())
	}
	wide := func(e Endpoint) bool { return e.FWMark == 0 && e.Addr.Port() == 0 }
	// A granularity is for persistence, which it switches on; an engine does nothing without.
	if vs.PersistenceTimeout == 0 && (vs.PersistenceGranularity != 0 || vs.PersistenceMask.IsValid()) {
		vs.PersistenceTimeout = persistenceDefault
	}
	if vs.PersistenceTimeout == 0 && slices.ContainsFunc(vs.Endpoints, wide) {
		vs.PersistenceTimeout = persistenceDefault
		l.warn(vs.Pos, "Virtual server %s: a service for every port must be persistent: setting persistence_timeout 360", d.label())
	}
	if vs.PersistenceTimeout == 0 {
		vs.PersistenceEngine = ""
	}
	if a := vs.Endpoints[0].Addr.Addr(); vs.Group == "" && a.IsValid() && d.family != 0 && d.family != FamilyOf(a) {
		l.warn(d.familyAt, "Virtual server %s: ip_family is not that of the address: it is ignored", d.label())
	}
	if vs.OnePacket && vs.Protocol != UDP && vs.Protocol != 0 {
		vs.OnePacket = false
		l.warn(vs.Pos, "Virtual server %s: one packet scheduling requires UDP - resetting", d.label())
	}
	if vs.CheckFromLaddr && vs.Method != FNAT {
		l.warn(vs.Pos, "Virtual server %s: check_from_laddr has no effect without FNAT: write 'lb_kind FNAT'", d.label())
		vs.CheckFromLaddr = false
	}
	if vs.Hysteresis >= vs.Quorum && vs.Hysteresis > 0 {
		l.warn(vs.Pos, "Virtual server %s: hysteresis %d must be less than quorum %d: setting %d", d.label(), vs.Hysteresis, vs.Quorum, vs.Quorum-1)
		vs.Hysteresis = vs.Quorum - 1
	}
}

// label names the server before its protocol is known to be right.
func (d *draft) label() string {
	if len(d.vs.Endpoints) > 0 || d.vs.Group != "" {
		return d.name()
	}
	return "?"
}

// defined lists names for a message about one that does not exist.
func defined(names func(func(string) bool)) string {
	list := slices.Sorted(names)
	if len(list) == 0 {
		return ", none is defined"
	}
	if len(list) > 8 {
		list = append(list[:8], "...")
	}
	return "; defined: " + strings.Join(list, ", ")
}

// families of the endpoints, IPv4 first.
func (d *draft) families() []Family {
	var out []Family
	for _, f := range []Family{IPv4, IPv6} {
		if slices.ContainsFunc(d.vs.Endpoints, func(e Endpoint) bool { return e.Family == f }) {
			out = append(out, f)
		}
	}
	return out
}

// inlineAddresses keeps of an inline block what its service can use, so that
// no kernel group comes to be that nothing refers to.
func (l *loader) inlineAddresses(d *draft) {
	s := d.inline
	if s == nil {
		return
	}
	if d.vs.Method != FNAT {
		l.warn(s.pos, "local_address has no effect without FNAT: write 'lb_kind FNAT'")
		s.addrs = nil
		return
	}
	have := d.families()
	foreign := func(a Laddr) bool { return !slices.Contains(have, FamilyOf(a.Addr)) }
	if i := slices.IndexFunc(s.addrs, foreign); i >= 0 && !s.broken {
		a := s.addrs[i]
		l.error(a.Pos, "local address %s is %s, virtual server %s is not: remove it", a.Addr, FamilyOf(a.Addr), d.vs.Name)
		s.broken = true
	}
}

// complete resolves the rest of an identified draft. False: it cannot be
// configured, and a diagnostic says why.
func (l *loader) complete(d *draft) bool {
	vs := &d.vs
	if !l.fnat(d) || !l.resolveExt(d) {
		return false
	}
	vs.Alpha = d.timing.alpha.v
	vs.InhibitOnFailure = d.timing.inhibit.v
	vs.Timing = l.shared(d.timing.or(Timing{DelayLoop: delayLoopDefault, ConnectTimeout: connectTimeoutDefault}))
	vs.VirtualHost, vs.Weight = d.host, d.weight
	vs.SMTPAlert = d.smtpAlert.or(l.cfg.Global.Mail.alert(false))
	l.completeReals(d)
	switch {
	case len(vs.RealServers) > 0:
	case vs.SorryServer == nil:
		l.warn(vs.Pos, "Virtual server %s has no real servers: ignored", vs.Name)
		return false
	default:
		l.warn(vs.Pos, "Virtual server %s has no real servers: its sorry server stands in", vs.Name)
	}
	l.quorum(vs)
	return true
}

// shared keeps t: thousands of servers in a row have the same.
func (l *loader) shared(t Timing) *Timing {
	if l.timed == nil || *l.timed != t {
		own := t
		l.timed = &own
	}
	return l.timed
}

func (l *loader) quorum(vs *VirtualServer) {
	total := 0
	for _, r := range vs.RealServers {
		total += r.Weight
	}
	if len(vs.RealServers) > 0 && total == 0 {
		l.warn(vs.Pos, "Virtual server %s: all real servers have weight 0: no client is served until a check or ipvsadm changes that", vs.Name)
	}
	if want := max(1, total); len(vs.RealServers) > 0 && vs.Quorum > want {
		l.warn(vs.Pos, "Virtual server %s: quorum %d is above the weight of all real servers: setting %d", vs.Name, vs.Quorum, want)
		vs.Quorum = want
		vs.Hysteresis = min(vs.Hysteresis, vs.Quorum-1)
	}
}

// fnat resolves the local addresses of an FNAT virtual server and refuses what
// the kernel side would refuse.
func (l *loader) fnat(d *draft) bool {
	vs := &d.vs
	if d.methodBad && vs.Method != FNAT && (d.groupName != "" || d.inline != nil) {
		l.error(d.methodAt, "Virtual server %s: left out, as it has local addresses and no FNAT: write 'lb_kind FNAT'", vs.Name)
		return false
	}
	if vs.Method != FNAT {
		if d.groupName != "" {
			l.warn(d.groupAt, "laddr_group_name has no effect without FNAT: write 'lb_kind FNAT'")
		}
		return true
	}
	helper := func(e Endpoint) bool { return e.FWMark == 0 && e.Addr.Port() == 21 }
	switch {
	case vs.Protocol == SCTP:
		l.error(d.methodAt, "Virtual server %s: FNAT supports TCP and UDP, not SCTP: use lb_kind NAT, DR or TUN", vs.Name)
	case vs.OnePacket:
		l.error(d.methodAt, "Virtual server %s: FNAT has no reply path with ops: remove ops", vs.Name)
	case vs.PersistenceEngine != "" || slices.ContainsFunc(vs.Endpoints, helper):
		l.error(d.methodAt, "Virtual server %s: FNAT does not work with application helpers (port 21, persistence_engine): use lb_kind NAT", vs.Name)
	case d.groupName != "" && d.inline != nil:
		l.error(d.inline.pos, "Virtual server %s has laddr_group_name and local_address: keep one of them", vs.Name)
	case d.groupName == "" && d.inline == nil:
		l.error(d.methodAt, "Virtual server %s: FNAT needs local addresses: add 'laddr_group_name NAME' or 'local_address { ADDRESS }'", vs.Name)
	default:
		return l.attach(d)
	}
	return false
}

// attach gives each endpoint the kernel group of its family.
func (l *loader) attach(d *draft) bool {
	s, at := d.inline, Pos{}
	if s == nil {
		at = d.groupAt
		if s = l.byName[d.groupName]; s == nil {
			l.error(at, "laddr_group_name '%s': no such local_address_group%s", d.groupName, defined(maps.Keys(l.byName)))
			return false
		}
	} else {
		at = s.pos
	}
	if s.broken {
		return false // what is wrong with the group has been said
	}
	for _, f := range d.families() {
		if s.kernel[f] == "" {
			l.error(at, "Virtual server %s is %s, but %s has no %s address: add one", d.vs.Name, f, s, f)
			return false
		}
	}
	for i := range d.vs.Endpoints {
		e := &d.vs.Endpoints[i]
		e.LaddrGroup = s.kernel[e.Family]
	}
	return true
}

// unique drops the endpoints of vs another virtual server has already, as the
// kernel would; false when none is left.
func (l *loader) unique(d *draft, seen map[serviceID]Pos) bool {
	vs := &d.vs
	vs.Endpoints = slices.DeleteFunc(vs.Endpoints, func(e Endpoint) bool { return !l.claim(vs, &e, seen) })
	return len(vs.Endpoints) > 0
}

// claim gives the endpoint e to vs unless another has it.
func (l *loader) claim(vs *VirtualServer, e *Endpoint, seen map[serviceID]Pos) bool {
	id := serviceID{proto: vs.Protocol, addr: e.Addr}
	if e.FWMark != 0 {
		id = serviceID{mark: e.FWMark, family: e.Family}
	}
	first, dup := seen[id]
	if dup {
		l.info(e.Pos, "Virtual server %s: service %s is already defined at line %d of %s: this one is ignored", vs.Name, id, first.Line, first.File)
		return false
	}
	seen[id] = e.Pos
	return true
}

// String names a service in a message.
func (id serviceID) String() string {
	if id.mark != 0 {
		return fmt.Sprintf("fwmark %d (%s)", id.mark, id.family)
	}
	return fmt.Sprintf("%s %s", id.proto, id.addr)
}

// completeReal resolves one real server; false: it is left out.
func (l *loader) completeReal(d *draft, r *realDraft) bool {
	rs, vs := &r.rs, &d.vs
	if !l.realMethod(d, r) {
		return false
	}
	if fs := d.families(); rs.Method != TUN && !slices.Contains(fs, FamilyOf(rs.Addr.Addr())) {
		l.error(rs.Pos, "real_server %s is %s, virtual server %s is %s: both must be of one family, except with TUN",
			rs.Addr.Addr(), FamilyOf(rs.Addr.Addr()), vs.Name, fs[0])
		return false
	}
	// Checks go where it was written, also when the port is another one afterwards.
	r.checked = rs.Addr.Port()
	l.realPort(d, r)
	if r.checked == 0 {
		r.checked = rs.Addr.Port()
	}
	rs.SlowStart = r.slowStart.or(d.slowStart)
	rs.RSTOnFailure = r.rst.or(d.rst)
	rs.InhibitOnFailure = r.timing.inhibit.or(vs.InhibitOnFailure)
	rs.Alpha = r.timing.alpha.or(vs.Alpha)
	rs.VirtualHost = r.host.v
	rs.Timing = l.shared(r.timing.or(*vs.Timing))
	rs.SMTPAlert = r.smtpAlert.or(l.cfg.Global.Mail.alert(true))
	if rs.LThreshold > rs.UThreshold {
		l.warn(rs.Pos, "real_server %s: lthreshold %d is above uthreshold %d: raise uthreshold", rs.Addr, rs.LThreshold, rs.UThreshold)
		rs.LThreshold = 0
	}
	rs.Checkers = l.checkers.take(len(r.checks))
	for _, c := range r.checks {
		if check, ok := l.completeCheck(d, r, c); ok {
			check.CheckTraits = l.checkTraits.get(check.CheckTraits)
			if check.Probe = &noProbe; c.probe != noProbe {
				own := c.probe
				detach(&own)
				check.Probe = &own
			}
			rs.Checkers = append(rs.Checkers, check)
		}
	}
	l.completeFiles(r)
	return true
}

// noProbe is never written to.
var noProbe Probe

func (l *loader) realMethod(d *draft, r *realDraft) bool {
	rs, vs := &r.rs, &d.vs
	if rs.Method == FNAT && vs.Method != FNAT {
		l.error(r.methodAt, "real_server %s: FNAT belongs to the whole virtual server: write 'lb_kind FNAT' there", rs.Addr)
		return false
	}
	if rs.Method == 0 {
		rs.Method, rs.Tunnel = vs.Method, vs.Tunnel
	}
	if rs.Method == FNAT {
		rs.Method = NAT
	}
	return true
}

// realPort fills in the port of the service; DR and TUN cannot change it.
func (l *loader) realPort(d *draft, r *realDraft) {
	rs, vs := &r.rs, &d.vs
	if len(vs.Endpoints) != 1 {
		return
	}
	if vs.Endpoints[0].FWMark != 0 {
		if rs.Method != NAT && rs.Addr.Port() != 0 && vs.Group == "" {
			l.warn(rs.Pos, "real_server %s: %s cannot change the port, which with a mark may be any: setting 0", rs.Addr, rs.Method)
			rs.Addr = netip.AddrPortFrom(rs.Addr.Addr(), 0)
		}
		return
	}
	port := vs.Endpoints[0].Addr.Port()
	if rs.Method != NAT && rs.Addr.Port() != 0 && rs.Addr.Port() != port {
		l.warn(rs.Pos, "real_server %s: %s cannot change the port: setting %d", rs.Addr, rs.Method, port)
		rs.Addr = netip.AddrPortFrom(rs.Addr.Addr(), 0)
	}
	if rs.Addr.Port() == 0 {
		rs.Addr = netip.AddrPortFrom(rs.Addr.Addr(), port)
	}
}
