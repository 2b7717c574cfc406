// SPDX-License-Identifier: Apache-2.0

package ipvstest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"syscall"

	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/ipvs/uapi"
)

// key fills in what the client fills in when it sends.
func key(k ipvs.ServiceKey) ipvs.ServiceKey {
	switch {
	case k.Family != 0:
	case k.Addr.IsValid():
		k.Family = ipvs.FamilyOf(k.Addr)
	default:
		k.Family = ipvs.IPv4
	}
	return k
}

func destKey(k ipvs.DestKey) ipvs.DestKey {
	if k.Family == 0 {
		k.Family = ipvs.FamilyOf(k.Addr)
	}
	return k
}

func (s *service) find(k ipvs.DestKey) int {
	return slices.IndexFunc(s.dests, func(d ipvs.Dest) bool { return d.DestKey == destKey(k) })
}

func (t *Table) stepMain(op ipvs.Op) error {
	k := key(op.Service.ServiceKey)
	s := t.services[k]
	switch op.Kind {
	case ipvs.AddService:
		return t.addService(k, s, op)
	case ipvs.SetTimeouts:
		t.setTimeouts(op.Times)
		return nil
	case ipvs.StartDaemon:
		if _, ok := t.daemons[op.Daemon.State]; ok {
			return eexist
		}
		t.daemons[op.Daemon.State] = completed(op.Daemon)
		return nil
	case ipvs.StopDaemon:
		if _, ok := t.daemons[op.Daemon.State]; !ok {
			return esrch
		}
		delete(t.daemons, op.Daemon.State)
		return nil
	case ipvs.Flush:
		clear(t.services)
		return nil
	case ipvs.Zero:
		return t.zero(op.Service.ServiceKey, s)
	}
	if s == nil {
		return esrch
	}
	switch op.Kind {
	case ipvs.SetService:
		if !modules(op.Service) {
			return enoent
		}
		stats := s.Stats
		s.Service = op.Service
		s.complete(k, stats)
	case ipvs.DelService:
		delete(t.services, k)
	default:
		return s.stepDest(op)
	}
	return nil
}

func (t *Table) addService(k ipvs.ServiceKey, old *service, op ipvs.Op) error {
	if old != nil {
		return eexist
	}
	if k.FWMark == 0 && k.Port == 0 && op.Service.Flags&ipvs.FlagPersistent == 0 {
		return einval
	}
	if !modules(op.Service) {
		return enoent
	}
	s := &service{Service: op.Service, ext: t.newExt()}
	s.complete(k, ipvs.Stats{})
	t.services[k] = s
	return nil
}

// complete makes of a request what the kernel lists.
func (s *service) complete(k ipvs.ServiceKey, stats ipvs.Stats) {
	s.ServiceKey, s.Stats = k, stats
	s.Flags |= ipvs.FlagHashed
	if s.Scheduler == "none" {
		s.Scheduler = ""
	}
}

// schedulers are those of the kernels that the project supports; "" is none.
var schedulers = []string{"", "none", "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq", "fo", "ovf", "twos"}

// modules tells whether the kernel finds the scheduler and the persistence
// engine of s.
func modules(s ipvs.Service) bool {
	return slices.Contains(schedulers, s.Scheduler) && (s.PEName == "" || s.PEName == "sip")
}

// completed has the kernel's choices, on a link with an MTU of 1500.
func completed(d ipvs.Daemon) ipvs.Daemon {
	d.MaxLen = cmp.Or(d.MaxLen, 1472)
	d.Port, d.TTL = cmp.Or(d.Port, 8848), cmp.Or(d.TTL, 1)
	if !d.Group.IsValid() {
		d.Group = netip.AddrFrom4([4]byte{224, 0, 0, 81})
	}
	return d
}

func (t *Table) setTimeouts(set ipvs.Timeouts) {
	if set.TCP != 0 {
		t.timeouts.TCP = set.TCP
	}
	if set.TCPFin != 0 {
		t.timeouts.TCPFin = set.TCPFin
	}
	if set.UDP != 0 {
		t.timeouts.UDP = set.UDP
	}
}

func (t *Table) zero(k ipvs.ServiceKey, s *service) error {
	if k == (ipvs.ServiceKey{}) {
		for _, s := range t.services {
			s.zero()
		}
		return nil
	}
	if s == nil {
		return esrch
	}
	s.zero()
	return nil
}

func (s *service) zero() {
	s.Stats = ipvs.Stats{}
	for i := range s.dests {
		s.dests[i].Stats = ipvs.Stats{}
	}
}

func (s *service) stepDest(op ipvs.Op) error {
	d := op.Dest
	d.DestKey = destKey(d.DestKey)
	at := s.find(d.DestKey)
	if op.Kind != ipvs.DelDest && s.ext.Flags&ipvs.ExtSynproxy != 0 && d.Forward != ipvs.Masq && d.Forward <= ipvs.Bypass {
		return eopnot
	}
	if op.Kind != ipvs.DelDest && (d.Forward > ipvs.Bypass || d.LowerThreshold > d.UpperThreshold) {
		if d.Forward > ipvs.Bypass {
			return einval
		}
		return erange
	}
	switch op.Kind {
	case ipvs.AddDest:
		if at >= 0 {
			return eexist
		}
		s.dests = append(s.dests, d)
		return nil
	case ipvs.SetDest, ipvs.DelDest:
		if at < 0 {
			return enoent
		}
		if op.Kind == ipvs.DelDest {
			s.dests = slices.Delete(s.dests, at, at+1)
			return nil
		}
		s.dests[at] = d
		return nil
	}
	return einval
}

func (t *Table) stepExt(op ipvs.Op) error {
	if t.ext == nil {
		return ipvs.ErrNoExt
	}
	if lacks := op.Needs() &^ t.ext.Features; lacks != 0 {
		return op.Fail(eopnot, "the running ip_vs has no "+strings.Join(ipvs.FeatureNames(lacks), ", "))
	}
	s := t.services[key(op.Service.ServiceKey)]
	g := t.groups[op.LGroup.Name]
	switch op.Kind {
	case ipvs.SetExt:
		if s == nil {
			return op.Fail(esrch, noSvc)
		}
		return t.setExt(op, s)
	case ipvs.ZeroExt:
		if s == nil && op.Service.ServiceKey != (ipvs.ServiceKey{}) {
			return op.Fail(esrch, noSvc)
		}
		return nil
	case ipvs.AddLGroup:
		if op.LGroup.Name == "" || len(op.LGroup.Name) > uapi.ExtNameMax {
			return einval
		}
		if g != nil {
			return op.Fail(eexist, "local address group exists")
		}
		t.groups[op.LGroup.Name] = &group{LGroup: ipvs.LGroup{Name: op.LGroup.Name, Family: op.LGroup.Family}}
		return nil
	case ipvs.SetExtConfig:
		return t.setConfig(op)
	case ipvs.DelLGroup:
		if g == nil {
			return op.Fail(enoent, noGroup)
		}
		if n := t.refs(g.Name); n > 0 {
			return op.Fail(ebusy, fmt.Sprintf("used by %d services", n))
		}
		delete(t.groups, g.Name)
		return nil
	}
	if g == nil {
		return op.Fail(enoent, noGroup)
	}
	return t.stepLaddr(op, g)
}

func (t *Table) setConfig(op ipvs.Op) error {
	if op.Config.Set&ipvs.ExtConfigSPEarly != 0 {
		if op.Config.SPEarly > ipvs.SynproxyAuto {
			return op.Fail(erange, "integer out of range")
		}
		t.config.SPEarly = op.Config.SPEarly
	}
	if op.Config.Set&ipvs.ExtConfigProbes != 0 {
		if op.Config.Probes == 0 {
			return op.Fail(erange, "integer out of range")
		}
		t.config.Probes = op.Config.Probes
	}
	if op.Config.Set&ipvs.ExtConfigReclaim != 0 {
		t.config.Reclaim = op.Config.Reclaim
	}
	if op.Config.Set&ipvs.ExtConfigSPQMem != 0 {
		t.config.SPQMem = op.Config.SPQMem
	}
	if op.Config.Set&ipvs.ExtConfigDropVIP != 0 {
		t.config.DropVIP = op.Config.DropVIP
	}
	return nil
}

// ports are those that new connections may get.
func (g *group) ports() (n uint32) {
	for _, l := range g.laddrs {
		if l.Flags&(ipvs.LaddrNoNew|ipvs.LaddrForeign) == 0 {
			n += uint32(l.PortMax-l.PortMin) + 1
		}
	}
	return n
}

func (t *Table) refs(name string) (n uint32) {
	for _, s := range t.services {
		if s.ext.LGroup == name {
			n++
		}
	}
	return n
}

func (t *Table) stepLaddr(op ipvs.Op, g *group) error {
	at := slices.IndexFunc(g.laddrs, func(l laddr) bool { return l.Addr == op.Laddr.Addr })
	switch {
	case op.Kind == ipvs.AddLaddr:
		return t.addLaddr(op, g)
	case at < 0:
		return op.Fail(enoent, "no such local address in the group")
	case op.Kind == ipvs.DelLaddr:
		g.laddrs = slices.Delete(g.laddrs, at, at+1)
		return nil
	}
	l, old := laddr{Laddr: op.Laddr}, g.laddrs[at]
	named := l.PortMin != 0 || l.PortMax != 0
	if !named {
		l.PortMin, l.PortMax, l.anyPort = old.PortMin, old.PortMax, old.anyPort
	}
	// The kernel judges old ports again only where a flag excused them.
	if excuses := ipvs.LaddrForce | ipvs.LaddrForeign; named || (l.Flags^old.Flags)&excuses != 0 {
		if err := checkRange(op, l.Laddr); err != nil {
			return err
		}
	}
	g.laddrs[at] = l
	return nil
}

func (t *Table) addLaddr(op ipvs.Op, g *group) error {
	l := laddr{Laddr: op.Laddr}
	if f := ipvs.FamilyOf(l.Addr); f != g.Family {
		return op.Fail(eaf, fmt.Sprintf("local address group is %s, address is %s", word(g.Family), word(f)))
	}
	for _, other := range t.groups {
		if !slices.ContainsFunc(other.laddrs, func(o laddr) bool { return o.Addr == l.Addr }) {
			continue
		}
		if other == g {
			return op.Fail(eexist, "address is in the group already")
		}
		return op.Fail(eexist, "address is in group "+other.Name)
	}
	if l.PortMin == 0 && l.PortMax == 0 {
		l.PortMin, l.PortMax, l.anyPort = lowestPort, ephemeralMin-1, true
	} else if err := checkRange(op, l.Laddr); err != nil {
		return err
	}
	g.laddrs = append(g.laddrs, l)
	return nil
}

// The ports of sockets as net.ipv4.ip_local_port_range has them by default,
// and the lowest that the extension takes unforced.
const (
	lowestPort                 = 1024
	ephemeralMin, ephemeralMax = 32768, 60999
)

func checkRange(op ipvs.Op, l ipvs.Laddr) error {
	switch {
	case l.PortMin == 0 || l.PortMin > l.PortMax:
		return op.Fail(erange, "port range is empty")
	case l.Flags&ipvs.LaddrForce != 0:
		return nil
	case l.PortMin < lowestPort:
		return op.Fail(erange, "port range begins below 1024; use FORCE")
	case l.Flags&ipvs.LaddrForeign == 0 && l.PortMin <= ephemeralMax && l.PortMax >= ephemeralMin:
		return op.Fail(syscall.EADDRINUSE, "range overlaps net.ipv4.ip_local_port_range; reserve it with ip_local_reserved_ports")
	}
	return nil
}

// setExt changes all or nothing.
func (t *Table) setExt(op ipvs.Op, s *service) error {
	e, in := s.ext, op.Ext
	for _, f := range []struct {
		field ipvs.ExtField
		do    func()
	}{
		{ipvs.ExtFieldFlags, func() { e.Flags = e.Flags&^in.FlagsMask | in.Flags&in.FlagsMask }},
		{ipvs.ExtFieldLGroup, func() { e.LGroup = in.LGroup }},
		{ipvs.ExtFieldSelect, func() { e.Select = in.Select }},
		{ipvs.ExtFieldInvalid, func() { e.Invalid = in.Invalid }},
		{ipvs.ExtFieldTSMode, func() { e.TSMode = in.TSMode }},
		{ipvs.ExtFieldMSSClamp, func() { e.MSSClamp = in.MSSClamp }},
		{ipvs.ExtFieldTOAKind4, func() { e.TOAKind4 = in.TOAKind4 }},
		{ipvs.ExtFieldTOAKind6, func() { e.TOAKind6 = in.TOAKind6 }},
		{ipvs.ExtFieldTimeoutEst, func() { e.TimeoutEst = in.TimeoutEst }},
		{ipvs.ExtFieldCPS, func() { e.CPS = in.CPS }},
		{ipvs.ExtFieldCPSBurst, func() { e.CPSBurst = in.CPSBurst }},
		{ipvs.ExtFieldBPSIn, func() { e.BPSIn = in.BPSIn }},
		{ipvs.ExtFieldBPSOut, func() { e.BPSOut = in.BPSOut }},
		{ipvs.ExtFieldConnLimit, func() { e.ConnLimit = in.ConnLimit }},
		{ipvs.ExtFieldACLMode, func() { e.ACL = in.ACL }},
		{ipvs.ExtFieldACLSet4, func() { e.ACLSet4 = in.ACLSet4 }},
		{ipvs.ExtFieldACLSet6, func() { e.ACLSet6 = in.ACLSet6 }},
	} {
		if in.Set&f.field != 0 {
			f.do()
		}
	}
	setSynproxy(&e.SP, in.SP, in.Set)
	chosen := s.chosen
	chosen.Set |= in.Set
	if in.Set&ipvs.ExtFieldFlags != 0 {
		chosen.FlagsMask |= in.FlagsMask
	}
	if e.Flags&^s.ext.Flags&ipvs.ExtFNAT != 0 && s.tcp() {
		if chosen.FlagsMask&ipvs.ExtSeq == 0 {
			e.Flags |= ipvs.ExtSeq
		}
		if chosen.Set&ipvs.ExtFieldTSMode == 0 {
			e.TSMode = ipvs.TSStrip
		}
	}
	if err := t.allowed(op, s, e); err != nil {
		return err
	}
	e.SP.Active = e.Flags.Synproxy() == ipvs.SynproxyOn
	s.ext, s.chosen = e, chosen
	return nil
}

// allowed checks in the kernel's order.
func (t *Table) allowed(op ipvs.Op, s *service, e ipvs.Ext) error {
	g := t.groups[e.LGroup]
	toa, toaSyn := e.Flags&ipvs.ExtTOA != 0, e.Flags&ipvs.ExtTOASyn != 0
	switch {
	case e.LGroup != "" && g == nil:
		return op.Fail(enoent, noGroup)
	case g != nil && g.Family != s.Family:
		return op.Fail(eaf, fmt.Sprintf("local address group is %s, service is %s", word(g.Family), word(s.Family)))
	case limits(op, s, e) != nil:
		return limits(op, s, e)
	case t.allowedACL(op, s, e) != nil:
		return t.allowedACL(op, s, e)
	case e.MSSClamp != 0 && (e.MSSClamp < 88 || e.MSSClamp > 65495):
		return op.Fail(erange, "MSS_CLAMP is 0 or 88 to 65495")
	case (toa || toaSyn) && !s.tcp():
		return op.Fail(eproto, "TOA is TCP only")
	case toaSyn && !toa:
		return op.Fail(einval, "TOA_SYN needs TOA")
	}
	if err := s.allowedSynproxy(op, e); err != nil {
		return err
	}
	switch {
	case e.Flags&ipvs.ExtFNAT != 0:
		return t.allowedFNAT(op, s, e)
	case toa:
		return op.Fail(einval, "TOA needs FNAT")
	}
	return nil
}

// limits checks what concerns package ipvs's Limits.
func limits(op ipvs.Op, s *service, e ipvs.Ext) error {
	forwarded := e.Flags&(ipvs.ExtFNAT|ipvs.ExtSynproxy) != 0
	switch {
	case e.Invalid > ipvs.InvalidRST || e.ACL > ipvs.ACLBlack:
		return op.Fail(erange, "integer out of range")
	case e.TimeoutEst > ipvs.MaxTimeoutEst:
		return op.Fail(erange, "TIMEOUT_EST is at most 1048576 seconds")
	case e.BPSIn > ipvs.MaxBPS || e.BPSOut > ipvs.MaxBPS:
		return op.Fail(erange, "BPS_IN and BPS_OUT are at most 10^12 bytes per second")
	case (e.BPSIn != 0 || e.BPSOut != 0) && !forwarded:
		return op.Fail(einval, "BPS_IN and BPS_OUT need FNAT or SYNPROXY")
	case e.TimeoutEst != 0 && !forwarded:
		return op.Fail(einval, "TIMEOUT_EST needs FNAT or SYNPROXY")
	case e.Flags&ipvs.ExtRSTOnExpire != 0 && !forwarded:
		return op.Fail(einval, "RST_ON_EXPIRE needs FNAT or SYNPROXY")
	case e.Flags&ipvs.ExtRSTOnExpire != 0 && !s.tcp():
		return op.Fail(eproto, "RST_ON_EXPIRE is TCP only")
	case e.Invalid != ipvs.InvalidAccept && !s.tcp():
		return op.Fail(eproto, "INVALID is TCP only")
	}
	return nil
}

func (t *Table) allowedACL(op ipvs.Op, s *service, e ipvs.Ext) error {
	for _, set := range []struct {
		name   string
		family ipvs.Family
	}{{e.ACLSet4, ipvs.IPv4}, {e.ACLSet6, ipvs.IPv6}} {
		family, known := t.sets[set.name]
		switch {
		case set.name == "":
		case !known:
			return op.Fail(enoent, fmt.Sprintf("ipset '%s' not found", set.name))
		case family != set.family:
			return op.Fail(eaf, fmt.Sprintf("ipset '%s' is not %s", set.name, word(set.family)))
		}
	}
	name, option := e.ACLSet4, "ACL_SET4"
	if s.Family == ipvs.IPv6 {
		name, option = e.ACLSet6, "ACL_SET6"
	}
	if e.ACL != ipvs.ACLOff && name == "" {
		return op.Fail(einval, "ACL_MODE needs "+option)
	}
	return nil
}

func (t *Table) allowedFNAT(op ipvs.Op, s *service, e ipvs.Ext) error {
	g := t.groups[e.LGroup]
	same := s.ext.Flags&ipvs.ExtFNAT != 0 && s.ext.LGroup == e.LGroup
	switch {
	case !s.tcp() && s.Protocol != ipvs.UDP:
		return op.Fail(eproto, "FNAT supports TCP and UDP")
	case s.Flags&ipvs.FlagOnePacket != 0:
		return op.Fail(eopnot, "one-packet scheduling has no reply path for FNAT")
	case s.PEName != "" || s.Port == 21:
		return op.Fail(eopnot, "not with application helpers")
	case g == nil || len(g.laddrs) == 0 && !same:
		return op.Fail(einval, needsGrp)
	}
	return nil
}

func word(f ipvs.Family) string {
	if f == ipvs.IPv6 {
		return "IPv6"
	}
	return "IPv4"
}

// read runs f on the locked tables.
func read[T any](ctx context.Context, t *Table, op ipvs.OpError, ext bool, f func() (T, error)) (T, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.readable(ctx, ext)
	var v T
	if err == nil {
		v, err = f()
	}
	if err != nil {
		op.Err = err
		var said *ipvs.OpError
		if errors.As(err, &said) {
			op.Err, op.Message = said.Err, said.Message
		}
		return v, &op
	}
	return v, nil
}

// missing is a read of what is not there, in the kernel's words.
func missing(errno syscall.Errno, text string) error {
	return &ipvs.OpError{Message: text, Err: errno}
}

// Info answers as the kernel does.
func (t *Table) Info(ctx context.Context) (ipvs.Info, error) {
	return read(ctx, t, ipvs.OpError{Op: "read info"}, false, func() (ipvs.Info, error) {
		info := ipvs.Info{Version: 0x010201, TabSize: 4096}
		if t.ext != nil {
			ext := *t.ext
			info.Extended = &ext
		}
		return info, nil
	})
}

// AppendDests is Dests behind those in to.
func (t *Table) AppendDests(ctx context.Context, to []ipvs.Dest, key ipvs.ServiceKey, _ bool) ([]ipvs.Dest, error) {
	dests, err := t.Dests(ctx, key)
	return append(to, dests...), err
}

// Version is Info without Extended.
func (t *Table) Version(ctx context.Context) (ipvs.Info, error) {
	info, err := t.Info(ctx)
	info.Extended = nil
	return info, err
}

// Services lists the services in the order of String.
func (t *Table) Services(ctx context.Context) ([]ipvs.Service, error) {
	return read(ctx, t, ipvs.OpError{Op: "list services"}, false, func() (list []ipvs.Service, _ error) {
		for _, s := range t.sorted() {
			list = append(list, s.Service)
		}
		return list, nil
	})
}

// Service reads one service; ESRCH if there is none.
func (t *Table) Service(ctx context.Context, k ipvs.ServiceKey) (ipvs.Service, error) {
	return read(ctx, t, ipvs.OpError{Op: "read service", Service: k}, false, func() (ipvs.Service, error) {
		if s := t.services[key(k)]; s != nil {
			return s.Service, nil
		}
		return ipvs.Service{}, esrch
	})
}

// Dests lists the dests in the order they were added; ESRCH without service.
func (t *Table) Dests(ctx context.Context, k ipvs.ServiceKey) ([]ipvs.Dest, error) {
	return read(ctx, t, ipvs.OpError{Op: "list dests", Service: k}, false, func() ([]ipvs.Dest, error) {
		if s := t.services[key(k)]; s != nil {
			return slices.Clone(s.dests), nil
		}
		return nil, esrch
	})
}

// Timeouts reads the timeouts of connections.
func (t *Table) Timeouts(ctx context.Context) (ipvs.Timeouts, error) {
	return read(ctx, t, ipvs.OpError{Op: "read timeouts"}, false, func() (ipvs.Timeouts, error) { return t.timeouts, nil })
}

// Daemons lists the running sync daemons, the master first.
func (t *Table) Daemons(ctx context.Context) ([]ipvs.Daemon, error) {
	return read(ctx, t, ipvs.OpError{Op: "list daemons"}, false, func() (list []ipvs.Daemon, _ error) {
		for _, state := range []ipvs.SyncState{ipvs.SyncMaster, ipvs.SyncBackup} {
			if d, ok := t.daemons[state]; ok {
				list = append(list, d)
			}
		}
		return list, nil
	})
}

// ExtServices lists the extension's settings of all services.
func (t *Table) ExtServices(ctx context.Context) ([]ipvs.ExtService, error) {
	return read(ctx, t, ipvs.OpError{Op: "list extended services"}, true, func() (list []ipvs.ExtService, _ error) {
		for _, s := range t.sorted() {
			list = append(list, ipvs.ExtService{ServiceKey: s.ServiceKey, Ext: s.ext})
		}
		return list, nil
	})
}

// StreamExtServices is ExtServices, one by one.
func (t *Table) StreamExtServices(ctx context.Context) iter.Seq2[ipvs.ExtService, error] {
	return func(yield func(ipvs.ExtService, error) bool) {
		list, err := t.ExtServices(ctx)
		if err != nil {
			yield(ipvs.ExtService{}, err)
			return
		}
		for _, s := range list {
			if !yield(s, nil) {
				return
			}
		}
	}
}

// ExtService reads the extension's settings of one service.
func (t *Table) ExtService(ctx context.Context, k ipvs.ServiceKey) (ipvs.ExtService, error) {
	return read(ctx, t, ipvs.OpError{Op: "read extended service", Service: k}, true, func() (ipvs.ExtService, error) {
		if s := t.services[key(k)]; s != nil {
			return ipvs.ExtService{ServiceKey: s.ServiceKey, Ext: s.ext}, nil
		}
		return ipvs.ExtService{}, missing(esrch, noSvc)
	})
}

// LGroups lists the groups by name, with the number of their users.
func (t *Table) LGroups(ctx context.Context) ([]ipvs.LGroup, error) {
	return read(ctx, t, ipvs.OpError{Op: "list local address groups"}, true, func() (list []ipvs.LGroup, _ error) {
		for _, g := range t.groups {
			lg := g.LGroup
			lg.Refs = t.refs(g.Name)
			if t.has(uapi.ExtFeatForecast) {
				lg.Ports = g.ports()
			}
			list = append(list, lg)
		}
		return sorted(list, func(g ipvs.LGroup) string { return g.Name }), nil
	})
}

// Laddrs lists the addresses of a group; ENOENT if there is none.
func (t *Table) Laddrs(ctx context.Context, name string) ([]ipvs.Laddr, error) {
	return read(ctx, t, ipvs.OpError{Op: "list local addresses", LGroup: name}, true, func() ([]ipvs.Laddr, error) {
		g := t.groups[name]
		if g == nil {
			return nil, missing(enoent, noGroup)
		}
		var list []ipvs.Laddr
		for _, l := range g.laddrs {
			list = append(list, l.Laddr)
		}
		return list, nil
	})
}

// ExtStats are all zero: no packet passes a fake.
func (t *Table) ExtStats(ctx context.Context) (ipvs.ExtStats, error) {
	return read(ctx, t, ipvs.OpError{Op: "read extended counters"}, true, func() (ipvs.ExtStats, error) {
		stats := ipvs.ExtStats{}
		for n := uint16(1); n <= uapi.ExtStatMax; n++ {
			if n != uapi.ExtStatPad {
				stats[n] = 0
			}
		}
		return stats, nil
	})
}

// ServiceExtStats are all zero: no packet passes a fake.
func (t *Table) ServiceExtStats(ctx context.Context, k ipvs.ServiceKey) (ipvs.ExtStats, error) {
	if _, err := t.ExtService(ctx, k); err != nil {
		return nil, err
	}
	return t.ExtStats(ctx)
}

// ExtConfig reads the extension's settings of the namespace.
func (t *Table) ExtConfig(ctx context.Context) (ipvs.ExtConfig, error) {
	return read(ctx, t, ipvs.OpError{Op: "read extended configuration"}, true, func() (ipvs.ExtConfig, error) { return t.config, nil })
}
