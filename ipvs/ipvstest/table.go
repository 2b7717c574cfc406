// SPDX-License-Identifier: Apache-2.0

// Package ipvstest has a fake of the kernel's tables: it applies operations by
// the kernel's rules, answers reads, and prints itself as the ipvsadm lines
// that would build it.
package ipvstest

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/ipvs/uapi"
)

// Table is a kernel's ip_vs. Make one with [New] or [NewStock]; safe for
// concurrent use.
type Table struct {
	mu       sync.Mutex
	ext      *ipvs.ExtInfo
	services map[ipvs.ServiceKey]*service
	groups   map[string]*group
	daemons  map[ipvs.SyncState]ipvs.Daemon
	timeouts ipvs.Timeouts
	config   ipvs.ExtConfig
	conns    []ipvs.Conn
	applied  []ipvs.Op
	failAt   int
	failErr  error
	failOn   map[ipvs.OpKind]error
	gone     bool
	// events has the channel of each Events stream; sets the ipsets by name.
	events map[chan ipvs.Event]bool
	sets   map[string]ipvs.Family
}

type service struct {
	ipvs.Service
	ext    ipvs.Ext
	chosen ipvs.Ext // what requests named, as Set and FlagsMask
	dests  []ipvs.Dest
}

// tcp is what the kernel takes a service by mark for, too.
func (s *service) tcp() bool { return s.FWMark != 0 || s.Protocol == ipvs.TCP }

type group struct {
	ipvs.LGroup
	laddrs []laddr
}

// laddr is a local address and whether the kernel chose its ports.
type laddr struct {
	ipvs.Laddr
	anyPort bool
}

// asked is the address as the request that adds it has it.
func (l laddr) asked() ipvs.Laddr {
	if l.anyPort {
		l.PortMin, l.PortMax = 0, 0
	}
	return l.Laddr
}

var (
	_ ipvs.Applier = (*Table)(nil)
	_ ipvs.Reader  = (*Table)(nil)

	_ ipvs.ConnDeleter = (*Table)(nil)
)

// Features are those of the tables that [New] makes.
const Features = uapi.ExtFeatFnat | uapi.ExtFeatToa | uapi.ExtFeatTsMode | uapi.ExtFeatMss | uapi.ExtFeatGetConn |
	uapi.ExtFeatSynproxy | uapi.ExtFeatLimits | uapi.ExtFeatAcl | uapi.ExtFeatEvents | uapi.ExtFeatExpireRst |
	uapi.ExtFeatDelConn | uapi.ExtFeatFlood | uapi.ExtFeatForecast | uapi.ExtFeatSpEarly

// New returns the empty tables of our module.
func New() *Table { return NewWith(Features) }

// NewWith returns the empty tables of a module that has just these features
// (IPVS_EXT_FEAT_*), as an older one would; what it has not it refuses as the
// client does.
func NewWith(features uint64) *Table {
	t := NewStock()
	t.ext = &ipvs.ExtInfo{ABI: uapi.ExtAbi, Build: "ipvstest", TabBits: 12, ConnSize: 384, Features: features}
	if t.has(uapi.ExtFeatSynproxy) {
		t.config.Set |= ipvs.ExtConfigSPQMem
		t.config.SPQMem = 16 << 20
	}
	if t.has(uapi.ExtFeatFlood) {
		t.config.Set |= ipvs.ExtConfigDropVIP
	}
	if t.has(uapi.ExtFeatSpEarly) {
		t.config.Set |= ipvs.ExtConfigSPEarly
		t.config.SPEarly = ipvs.SynproxyAuto
	}
	return t
}

// has tells whether the module has all these features.
func (t *Table) has(features uint64) bool { return features&^t.ext.Features == 0 }

// NewStock returns the empty tables of a distribution's module: whatever
// concerns the extension fails with [ipvs.ErrNoExt].
func NewStock() *Table {
	return &Table{
		services: map[ipvs.ServiceKey]*service{},
		groups:   map[string]*group{},
		daemons:  map[ipvs.SyncState]ipvs.Daemon{},
		timeouts: ipvs.Timeouts{TCP: 900 * time.Second, TCPFin: 120 * time.Second, UDP: 300 * time.Second},
		config:   ipvs.ExtConfig{Set: ipvs.ExtConfigProbes | ipvs.ExtConfigReclaim, Probes: 64, Reclaim: true},
		failAt:   -1,
		failOn:   map[ipvs.OpKind]error{},
		events:   map[chan ipvs.Event]bool{},
		sets:     map[string]ipvs.Family{},
	}
}

// FailAt lets the operation with that number, counted from 0 over all calls of
// Apply from now on, fail with err; the one time only.
func (t *Table) FailAt(n int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failAt, t.failErr = n, err
}

// FailOn lets the next operation of that kind fail with err; the one time only.
func (t *Table) FailOn(kind ipvs.OpKind, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failOn[kind] = err
}

// Unload lets every further call fail with [ipvs.ErrNoIPVS].
func (t *Table) Unload() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.gone = true
}

// Applied returns the operations carried out, in order.
func (t *Table) Applied() []ipvs.Op {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.applied)
}

// Lines returns the operations carried out, in order, as ipvsadm lines.
func (t *Table) Lines() []string {
	var lines []string
	for _, op := range t.Applied() {
		lines = append(lines, op.String())
	}
	return lines
}

// Forget empties what Applied and Lines return.
func (t *Table) Forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.applied = nil
}

// SetConns says what Conns returns.
func (t *Table) SetConns(conns ...ipvs.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.conns = slices.Clone(conns)
}

// AddSet makes an ipset of client addresses known, as "ipset create" does.
func (t *Table) AddSet(name string, family ipvs.Family) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sets[name] = family
}

// SetDestConns says how many connections a dest has; ENOENT if there is none.
func (t *Table) SetDestConns(k ipvs.ServiceKey, d ipvs.DestKey, active, inactive uint32) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.services[key(k)]
	if s == nil {
		return esrch
	}
	at := s.find(d)
	if at < 0 {
		return enoent
	}
	s.dests[at].ActiveConns, s.dests[at].InactConns = active, inactive
	return nil
}

// SetStats says what has been counted of a service or, if d is not nil, of one
// of its dests; ENOENT or ESRCH if there is none.
func (t *Table) SetStats(k ipvs.ServiceKey, d *ipvs.DestKey, stats ipvs.Stats) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.services[key(k)]
	switch {
	case s == nil:
		return esrch
	case d == nil:
		s.Stats = stats
		return nil
	}
	at := s.find(*d)
	if at < 0 {
		return enoent
	}
	s.dests[at].Stats = stats
	return nil
}

// SetUse says how many ports of a group are in use towards which real server;
// ENOENT if there is no such group.
func (t *Table) SetUse(name string, used uint32, rs netip.AddrPort, protocol ipvs.Protocol) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.groups[name]
	if g == nil {
		return enoent
	}
	g.PortsUsed, g.RS, g.RSProtocol = used, rs, protocol
	return nil
}

// Close does nothing.
func (t *Table) Close() error { return nil }

// HasExt tells whether these are the tables of our module.
func (t *Table) HasExt() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ext != nil
}

// Apply carries ops out until one fails; those behind it are not tried.
func (t *Table) Apply(ctx context.Context, ops ...ipvs.Op) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, op := range ops {
		err := ctx.Err()
		if err == nil {
			err = t.step(op)
		}
		if err != nil {
			return &ipvs.BatchError{Index: i, Op: op, Acked: i, Err: op.Failed(err)}
		}
		t.applied = append(t.applied, op)
	}
	return nil
}

// Each is Apply that goes on behind failures and tells failed of them.
func (t *Table) Each(ctx context.Context, ops []ipvs.Op, failed func(i int, err *ipvs.OpError)) error {
	for i, op := range ops {
		if err := t.Apply(ctx, op); err != nil {
			failed(i, op.Failed(err))
		}
	}
	return ctx.Err()
}

func (t *Table) step(op ipvs.Op) error {
	if t.gone {
		return ipvs.ErrNoIPVS
	}
	if t.failAt >= 0 {
		if t.failAt--; t.failAt < 0 {
			return t.failErr
		}
	}
	if err := t.failOn[op.Kind]; err != nil {
		delete(t.failOn, op.Kind)
		return err
	}
	if op.Kind.Ext() {
		return t.stepExt(op)
	}
	return t.stepMain(op)
}

// String prints the tables as the lines that build them: groups and their
// addresses by name, then each service with its settings and its dests.
func (t *Table) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(t.groups)) {
		g := t.groups[name]
		fmt.Fprintln(&b, ipvs.Op{Kind: ipvs.AddLGroup, LGroup: g.LGroup})
		for _, l := range sorted(g.laddrs, func(l laddr) string { return l.Addr.String() }) {
			fmt.Fprintln(&b, ipvs.Op{Kind: ipvs.AddLaddr, LGroup: g.LGroup, Laddr: l.asked()})
		}
	}
	for _, s := range t.sorted() {
		fmt.Fprintln(&b, ipvs.Op{Kind: ipvs.AddService, Service: s.Service})
		if ext := s.changed(); ext.Set != 0 {
			fmt.Fprintln(&b, ipvs.Op{Kind: ipvs.SetExt, Service: s.Service, Ext: ext})
		}
		for _, d := range sorted(s.dests, func(d ipvs.Dest) string { return d.DestKey.String() }) {
			fmt.Fprintln(&b, ipvs.Op{Kind: ipvs.AddDest, Service: s.Service, Dest: d})
		}
	}
	return b.String()
}

func sorted[T any](list []T, by func(T) string) []T {
	return slices.SortedFunc(slices.Values(list), func(a, b T) int { return strings.Compare(by(a), by(b)) })
}

func (t *Table) sorted() []*service {
	return sorted(slices.Collect(maps.Values(t.services)), func(s *service) string {
		return ipvs.Op{Kind: ipvs.DelService, Service: s.Service}.String()
	})
}

// changed keeps of the settings what differs from those that a service gets
// when nothing or just FNAT is asked for.
func (s *service) changed() ipvs.Ext {
	e, d := s.ext, ipvs.Ext{TOAKind4: 254, TOAKind6: 254}
	if e.Set&ipvs.ExtFieldSP != 0 {
		d.SP = newSynproxy()
	}
	if e.Flags&ipvs.ExtFNAT != 0 && s.tcp() {
		d.Flags, d.TSMode = ipvs.ExtSeq, ipvs.TSStrip
	}
	e.Set = 0
	for field, differs := range map[ipvs.ExtField]bool{
		ipvs.ExtFieldFlags: e.Flags != d.Flags, ipvs.ExtFieldLGroup: e.LGroup != d.LGroup,
		ipvs.ExtFieldSelect: e.Select != d.Select, ipvs.ExtFieldInvalid: e.Invalid != d.Invalid,
		ipvs.ExtFieldTSMode: e.TSMode != d.TSMode, ipvs.ExtFieldMSSClamp: e.MSSClamp != d.MSSClamp,
		ipvs.ExtFieldTOAKind4: e.TOAKind4 != d.TOAKind4, ipvs.ExtFieldTOAKind6: e.TOAKind6 != d.TOAKind6,
		ipvs.ExtFieldTimeoutEst: e.TimeoutEst != 0, ipvs.ExtFieldCPS: e.CPS != 0, ipvs.ExtFieldCPSBurst: e.CPSBurst != 0,
		ipvs.ExtFieldBPSIn: e.BPSIn != 0, ipvs.ExtFieldBPSOut: e.BPSOut != 0, ipvs.ExtFieldConnLimit: e.ConnLimit != 0,
		ipvs.ExtFieldACLMode: e.ACL != ipvs.ACLOff, ipvs.ExtFieldACLSet4: e.ACLSet4 != "", ipvs.ExtFieldACLSet6: e.ACLSet6 != "",
	} {
		if differs {
			e.Set |= field
		}
	}
	e.Set |= changedSynproxy(&e.SP, d.SP)
	e.FlagsMask = e.Flags ^ d.Flags
	return e
}

// newExt are the settings of a service that nobody has changed: the fields and
// flags that the module has.
func (t *Table) newExt() ipvs.Ext {
	e := ipvs.Ext{TOAKind4: 254, TOAKind6: 254}
	if t.ext == nil {
		return e
	}
	if t.has(uapi.ExtFeatSynproxy) {
		e.SP = newSynproxy()
	}
	for field := ipvs.ExtFieldFlags; field <= ipvs.ExtFieldACLSet6; field <<= 1 {
		if op := (ipvs.Op{Kind: ipvs.SetExt, Ext: ipvs.Ext{Set: field}}); t.has(op.Needs()) {
			e.Set |= field
		}
	}
	for flag := ipvs.ExtFNAT; flag <= uapi.ExtSvcFAll; flag <<= 1 {
		if op := (ipvs.Op{Kind: ipvs.SetExt, Ext: ipvs.Ext{Set: ipvs.ExtFieldFlags, FlagsMask: flag}}); t.has(op.Needs()) {
			e.FlagsMask |= flag
		}
	}
	return e
}

// Conns streams what SetConns gave, as far as the filter lets it.
func (t *Table) Conns(ctx context.Context, filter ipvs.ConnFilter) iter.Seq2[ipvs.Conn, error] {
	return func(yield func(ipvs.Conn, error) bool) {
		t.mu.Lock()
		conns, err := slices.Clone(t.conns), t.readable(ctx, true)
		t.mu.Unlock()
		if err != nil {
			yield(ipvs.Conn{}, &ipvs.OpError{Op: "list connections", Err: err})
			return
		}
		for _, c := range conns {
			if filter.Match(c) && !yield(c, nil) {
				return
			}
		}
	}
}

// DeleteConns takes out of what SetConns gave what the filter selects.
func (t *Table) DeleteConns(ctx context.Context, filter ipvs.ConnFilter) (uint64, error) {
	return read(ctx, t, ipvs.OpError{Op: "delete connections"}, true, func() (uint64, error) {
		if !t.has(uapi.ExtFeatDelConn) {
			return 0, missing(eopnot, "the running ip_vs has no DEL_CONN")
		}
		before := len(t.conns)
		t.conns = slices.DeleteFunc(t.conns, filter.Match)
		return uint64(before - len(t.conns)), nil
	})
}

// Emit gives an event to all who listen; it waits for none who is slow.
func (t *Table) Emit(e ipvs.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := range t.events {
		select {
		case c <- e:
		default:
		}
	}
}

// eventQueue is how many events wait for a listener before some are lost.
const eventQueue = 64

// Events streams what Emit gives, until the context ends.
func (t *Table) Events(ctx context.Context, ready func()) iter.Seq2[ipvs.Event, error] {
	return func(yield func(ipvs.Event, error) bool) {
		fail := func(err error) { yield(ipvs.Event{}, &ipvs.OpError{Op: "listen to events", Err: err}) }
		c := make(chan ipvs.Event, eventQueue)
		t.mu.Lock()
		err := t.readable(ctx, true)
		if err == nil && !t.has(uapi.ExtFeatEvents) {
			err = eopnot
		}
		if err == nil {
			t.events[c] = true
		}
		t.mu.Unlock()
		if err != nil {
			fail(err)
			return
		}
		defer func() {
			t.mu.Lock()
			defer t.mu.Unlock()
			delete(t.events, c)
		}()
		if ready != nil {
			ready()
		}
		for {
			select {
			case e := <-c:
				if !yield(e, nil) {
					return
				}
			case <-ctx.Done():
				fail(ctx.Err())
				return
			}
		}
	}
}

func (t *Table) readable(ctx context.Context, ext bool) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case t.gone:
		return ipvs.ErrNoIPVS
	case ext && t.ext == nil:
		return ipvs.ErrNoExt
	}
	return nil
}

// Sentinels of the kernel in its own words.
const (
	enoent   = syscall.ENOENT
	esrch    = syscall.ESRCH
	eexist   = syscall.EEXIST
	einval   = syscall.EINVAL
	eopnot   = syscall.EOPNOTSUPP
	erange   = syscall.ERANGE
	ebusy    = syscall.EBUSY
	eaf      = syscall.EAFNOSUPPORT
	eproto   = syscall.EPROTONOSUPPORT
	noSvc    = "no such virtual service"
	noGroup  = "no such local address group"
	needsGrp = "FNAT needs a local address group"
)
