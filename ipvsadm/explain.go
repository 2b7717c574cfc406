// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/lvs-fnat/lvs/internal/schedule"
	"github.com/lvs-fnat/lvs/ipvs"
)

// Certainty says how sure an explanation is of what it says.
const (
	certain = "certain" // the tables decide, as they are now
	likely  = "likely"  // something that no table tells decides with them
)

// explanation is what becomes of the first packet of a client's connection.
type explanation struct {
	service  ipvs.Service
	protocol ipvs.Protocol
	client   netip.AddrPort // port 0: any
	virtual  netip.AddrPort // port 0: any
	mark     uint32         // instead of protocol and virtual; 0 = none

	verdict  string // see the constants below
	sure     string
	because  string
	server   *ipvs.DestKey // nil: refused, or one of several
	lips     []lipChance
	servers  []serverChance
	checks   []checkResult // what is in the way of a connection, or may be
	forward  string
	timeouts time.Duration // of the connection that decides, if one does
}

// Verdicts.
const (
	verdictAccepted  = "accepted"
	verdictRefused   = "refused"
	verdictConnected = "connected" // by a connection or a persistence template
	verdictElsewhere = "not balanced"
)

type serverChance struct {
	dest    ipvs.Dest
	share   float64
	against string
}

type lipChance struct {
	laddr   ipvs.Laddr
	share   float64
	against string
}

// checkResult is one condition of a connection.
type checkResult struct {
	name   string
	passes string // "yes", "no", "perhaps"
	text   string
}

// explain is --explain. Nothing is sent: it reads the tables, and says of what
// they do not tell that it is only likely. The exit code is 1 if there would be
// no connection.
func (a *app) explain(ctx context.Context, c *call) error {
	e, err := a.explained(ctx, c)
	if err != nil {
		return err
	}
	if c.set.has(colJSON) {
		err = putJSON(a.stdout, jsonMember{"explanation", e.json()})
	} else {
		e.print(ctx, a, c.set.has(colNumeric))
	}
	if err == nil && (e.verdict == verdictRefused || e.verdict == verdictElsewhere) {
		err = &failure{code: 1, ends: true}
	}
	return err
}

func (a *app) explained(ctx context.Context, c *call) (*explanation, error) {
	key := c.service.ServiceKey
	e := &explanation{protocol: key.Protocol, mark: key.FWMark, client: netip.AddrPortFrom(c.filter.Client.Addr(), c.filter.ClientPort)}
	e.virtual = netip.AddrPortFrom(key.Addr, key.Port)
	s, err := a.serviceFor(ctx, key)
	switch {
	case errors.Is(err, syscall.ESRCH):
		return e, a.explainNone(ctx, e)
	case err != nil:
		return nil, listFailed(err)
	}
	e.service = s
	ext := ipvs.Ext{}
	ours, err := a.extended(ctx)
	if err != nil {
		return nil, listFailed(err)
	}
	if ours {
		found, err := a.kernel.ExtService(ctx, s.ServiceKey)
		if err != nil {
			return nil, listFailed(err)
		}
		ext = found.Ext
	}
	dests, err := a.kernel.Dests(ctx, s.ServiceKey)
	if err != nil {
		return nil, destsFailed(err)
	}
	if err := a.marks(ctx, e); err != nil {
		return nil, err
	}
	known, err := a.known(ctx, e)
	if err != nil {
		return nil, err
	}
	if known != nil {
		e.connected(known, dests, ext)
		if known.Local.IsValid() && known.Local != known.Client {
			e.lips = []lipChance{{laddr: ipvs.Laddr{Addr: known.Local.Addr(), PortMin: known.Local.Port(), PortMax: known.Local.Port()}, share: 1}}
		}
		if !known.template {
			return e, nil
		}
	}
	e.admission(ext)
	if known == nil {
		e.schedule(dests)
	}
	if e.verdict == verdictRefused {
		return e, nil
	}
	return e, a.chooseLaddr(ctx, e, ext)
}

// explainNone: no service is there for the packet; the module may drop it then.
func (a *app) explainNone(ctx context.Context, e *explanation) error {
	e.verdict, e.sure, e.because = verdictElsewhere, certain, "no service has this address, protocol and port"
	if e.mark != 0 {
		e.because = "no service has this mark"
		return nil
	}
	ours, err := a.extended(ctx)
	if err != nil {
		return listFailed(err)
	}
	if ours && e.virtual.IsValid() {
		cfg, err := a.kernel.ExtConfig(ctx)
		if err != nil {
			return listFailed(err)
		}
		services, err := a.kernel.Services(ctx)
		if err != nil {
			return listFailed(err)
		}
		isVIP := slices.ContainsFunc(services, func(s ipvs.Service) bool { return s.FWMark == 0 && s.Addr == e.virtual.Addr() })
		if cfg.DropVIP && isVIP && e.protocol != ipvs.SCTP {
			e.refuse(certain, "the address is a vip and no service has this port (--drop-vip)")
		}
	}
	return a.marks(ctx, e)
}

// serviceFor finds the service of a packet as the kernel does: that of the
// very port, else that of any port.
func (a *app) serviceFor(ctx context.Context, key ipvs.ServiceKey) (ipvs.Service, error) {
	s, err := a.kernel.Service(ctx, key)
	if errors.Is(err, syscall.ESRCH) && key.FWMark == 0 && key.Port != 0 {
		key.Port = 0
		s, err = a.kernel.Service(ctx, key)
	}
	return s, err
}

// marks warns of services by firewall mark, which come before all others: the
// mark is made by rules that nothing here knows.
func (a *app) marks(ctx context.Context, e *explanation) error {
	if e.mark != 0 {
		return nil
	}
	services, err := a.kernel.Services(ctx)
	if err != nil {
		return listFailed(err)
	}
	var marks []string
	family := ipvs.FamilyOf(e.virtual.Addr())
	for _, s := range services {
		if s.FWMark != 0 && s.Family == family {
			marks = append(marks, fmt.Sprint(s.FWMark))
		}
	}
	if len(marks) > 0 {
		e.checks = append(e.checks, checkResult{"firewall mark", "perhaps", "rules may give the packet a mark that has a service of its own: " + strings.Join(marks, ", ")})
	}
	return nil
}

// knownConn is a connection that decides for the packet, or the template of a
// persistent service.
type knownConn struct {
	connLine
	ipvs.Conn
	template bool
}

// known looks for the connection of the packet, then for a template.
func (a *app) known(ctx context.Context, e *explanation) (*knownConn, error) {
	f, err := os.Open(a.connFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, listFailed(err)
	}
	defer f.Close()
	var found *knownConn
	in := bufio.NewReader(f)
	for {
		line, readErr := in.ReadString('\n')
		if c, ok := parseConn(line); ok {
			switch {
			case e.isConn(&c):
				found = &knownConn{connLine: c}
				return found, a.localOf(ctx, e, found)
			case found == nil && e.isTemplate(&c):
				found = &knownConn{connLine: c, template: true}
			}
		}
		if errors.Is(readErr, io.EOF) {
			return found, nil
		}
		if readErr != nil {
			return nil, listFailed(readErr)
		}
	}
}

func (e *explanation) isConn(c *connLine) bool {
	return e.client.Port() != 0 && e.service.FWMark == 0 && c.client == e.client && c.virtual == e.virtual &&
		connProtocol(c.protocol) == e.protocol
}

// isTemplate: a template has no port of the client, and its address by the
// service's mask. A mark stands where the address would.
func (e *explanation) isTemplate(c *connLine) bool {
	if e.service.Flags&ipvs.FlagPersistent == 0 || c.client.Port() != 0 || c.client.Addr() != masked(e.client.Addr(), e.service.Netmask) {
		return false
	}
	if m := e.service.FWMark; m != 0 {
		return word(c.virtual.Addr()) == m
	}
	return connProtocol(c.protocol) == e.protocol && c.virtual.Addr() == e.virtual.Addr() &&
		(c.virtual.Port() == e.service.Port || c.virtual.Port() == 0)
}

// masked is the client's address as persistence counts it.
func masked(a netip.Addr, mask uint32) netip.Addr {
	if a.Is4() {
		m := word(a) & mask
		return netip.AddrFrom4([4]byte{byte(m >> 24), byte(m >> 16), byte(m >> 8), byte(m)})
	}
	p, err := a.Prefix(int(min(mask, fullMask6)))
	if err != nil {
		return a
	}
	return p.Addr()
}

// localOf finds the local address of a connection.
func (a *app) localOf(ctx context.Context, e *explanation, k *knownConn) error {
	if ours, err := a.extended(ctx); err != nil || !ours {
		return err
	}
	host := func(ap netip.AddrPort) netip.Prefix { return netip.PrefixFrom(ap.Addr(), ap.Addr().BitLen()) }
	f := ipvs.ConnFilter{Protocol: e.protocol, Client: host(e.client), ClientPort: e.client.Port(), Virtual: host(e.virtual), VirtualPort: e.virtual.Port()}
	for c, err := range a.kernel.Conns(ctx, f) {
		if err != nil {
			return listFailed(err)
		}
		k.Conn = c
	}
	return nil
}

// connected: a connection or a template has decided already.
func (e *explanation) connected(k *knownConn, dests []ipvs.Dest, ext ipvs.Ext) {
	e.verdict, e.sure = verdictConnected, certain
	e.timeouts = time.Duration(k.expires) * time.Second
	e.because = fmt.Sprintf("the packet belongs to a connection in state %s", k.connLine.state)
	if k.template {
		e.because = "a persistence template remembers this client"
	}
	server := ipvs.DestKey{Family: ipvs.FamilyOf(k.server.Addr()), Addr: k.server.Addr(), Port: k.server.Port()}
	e.server = &server
	for i := range dests {
		d := dests[i]
		if d.Addr == server.Addr && (d.Port == server.Port || server.Port == 0 || d.Port == 0) {
			if server.Port == 0 {
				e.server = &d.DestKey
			}
			e.forward = forwardWord(&d, ext)
			if state, why := schedule.StateOf(&d); k.template && state != schedule.Usable {
				e.sure = likely
				e.because += fmt.Sprintf("; but %v has %s: with net.ipv4.vs.expire_quiescent_template the client gets another", d.DestKey, why)
			}
			e.servers = append(e.servers, serverChance{dest: d, share: 1})
			continue
		}
		e.servers = append(e.servers, serverChance{dest: d, against: "the client has its real server already"})
	}
}

// admission is what the extension asks before anyone is scheduled.
func (e *explanation) admission(ext ipvs.Ext) {
	add := func(name, passes, format string, args ...any) {
		e.checks = append(e.checks, checkResult{name, passes, fmt.Sprintf(format, args...)})
	}
	if ext.Flags&ipvs.ExtSynproxy != 0 {
		switch {
		case ext.Flags.Synproxy() == ipvs.SynproxyAuto && !ext.SP.Active:
			add("SYNPROXY", "yes", "auto, not active now: %d half-open connections, active above %d", ext.SP.HalfOpen, ext.SP.AutoOn)
		default:
			add("SYNPROXY", "perhaps", "the client must answer a SYN cookie first")
		}
	}
	if ext.ACL != ipvs.ACLOff {
		set := ext.ACLSet4
		if e.client.Addr().Is6() {
			set = ext.ACLSet6
		}
		must := "must be"
		if ext.ACL == ipvs.ACLBlack {
			must = "must not be"
		}
		add("list", "perhaps", "the client %s in the ipset %s, which this asks: ipset test %[2]s %[3]s", must, set, e.client.Addr())
	}
	if ext.ConnLimit != 0 {
		passes := "yes"
		if ext.NConn >= ext.ConnLimit {
			passes = "no"
		}
		add("connection limit", passes, "%d of %d connections", ext.NConn, ext.ConnLimit)
	}
	if ext.CPS != 0 {
		passes := "yes"
		if e.service.Stats.CPS >= uint64(ext.CPS) {
			passes = "perhaps"
		}
		add("rate limit", passes, "%d of %d new connections per second", e.service.Stats.CPS, ext.CPS)
	}
	for _, b := range []struct {
		name       string
		is, limits uint64
	}{{"bandwidth in", e.service.Stats.InBPS, ext.BPSIn}, {"bandwidth out", e.service.Stats.OutBPS, ext.BPSOut}} {
		if b.limits != 0 {
			passes := "yes"
			if b.is >= b.limits {
				passes = "perhaps"
			}
			add(b.name, passes, "%d of %d bytes per second", b.is, b.limits)
		}
	}
	for _, c := range e.checks {
		switch {
		case c.passes == "no":
			e.refuse(certain, c.name+": "+c.text)
			return
		case c.passes == "perhaps":
			e.sure = likely
		}
	}
}

func (e *explanation) refuse(sure, because string) {
	e.verdict, e.sure, e.because, e.server = verdictRefused, sure, because, nil
}

// schedule asks the model of the scheduler.
func (e *explanation) schedule(dests []ipvs.Dest) {
	c := schedule.Choose(&e.service, dests, schedule.Packet{Client: e.client, Virtual: e.virtual.Addr()})
	for i := range dests {
		e.servers = append(e.servers, serverChance{dest: dests[i], against: c.Against[i]})
	}
	for k, i := range c.Servers {
		e.servers[i].share = c.Shares[k]
	}
	if e.verdict == verdictRefused {
		return
	}
	if !c.Certain || e.client.Port() == 0 && e.service.Flags&ipvs.FlagSched2 != 0 {
		e.sure = likely
	}
	if e.sure == "" {
		e.sure = certain
	}
	e.because = c.Because
	switch len(c.Servers) {
	case 0:
		e.refuse(e.sure, c.Because)
	case 1:
		e.server = &dests[c.Servers[0]].DestKey
		fallthrough
	default:
		e.verdict = verdictAccepted
	}
}

func forwardWord(d *ipvs.Dest, ext ipvs.Ext) string {
	l := lister{fnat: map[ipvs.ServiceKey]ipvs.Ext{{}: ext}, current: &ipvs.Service{}}
	return l.forward(d)
}

// chooseLaddr tells the local address, if one is needed.
func (a *app) chooseLaddr(ctx context.Context, e *explanation, ext ipvs.Ext) error {
	words := map[string]bool{}
	for i := range e.servers {
		if e.servers[i].share > 0 {
			words[forwardWord(&e.servers[i].dest, ext)] = true
		}
	}
	if len(words) == 1 {
		for w := range words {
			e.forward = w
		}
	}
	if ext.Flags&fnat == 0 || !words["FullNat"] {
		return nil
	}
	laddrs, err := a.kernel.Laddrs(ctx, ext.LGroup)
	if err != nil {
		return listFailed(err)
	}
	var pick []int
	for i, l := range laddrs {
		chance := lipChance{laddr: l}
		switch {
		case l.Flags&ipvs.LaddrNoNew != 0:
			chance.against = "draining (no-new)"
		case l.Flags&ipvs.LaddrForeign != 0:
			chance.against = "another director's (foreign)"
		default:
			pick = append(pick, i)
		}
		e.lips = append(e.lips, chance)
	}
	switch n := len(pick); {
	case n == 0:
		e.refuse(certain, "no local address of group "+ext.LGroup+" takes new connections")
		return nil
	case n == 1:
		e.lips[pick[0]].share = 1
	case ext.Select == ipvs.SelectSrc:
		first := pick[schedule.LaddrOf(e.client.Addr(), n)]
		e.lips[first].share = 1
		for _, i := range pick {
			if i != first {
				e.lips[i].against = "the hash of the client's address is that of another; taken only if that has no port free"
			}
		}
	default:
		for _, i := range pick {
			e.lips[i].share = 1 / float64(n)
			if cpus := laddrs[i].CPUs; ext.Select == ipvs.SelectCPU && cpus != "" {
				e.lips[i].against = "only on CPUs " + cpus
			}
		}
	}
	return a.portsLeft(ctx, e, ext)
}

// portsLeft judges whether there is a port: a local port serves each real
// server once, so the group's fullest server tells the worst.
func (a *app) portsLeft(ctx context.Context, e *explanation, ext ipvs.Ext) error {
	groups, err := a.groups(ctx)
	if err != nil {
		return err
	}
	for _, g := range namedGroups(groups, ext.LGroup) {
		if !g.RS.IsValid() {
			continue
		}
		text := fmt.Sprintf("%d of %d ports of group %s in use towards %s", g.PortsUsed, g.Ports, g.Name, g.RS)
		passes := "yes"
		if g.PortsUsed >= g.Ports {
			passes = "perhaps"
			if e.server != nil && g.RS == netip.AddrPortFrom(e.server.Addr, e.server.Port) && g.RSProtocol == e.protocol {
				text += ": only a connection that closes gives its port away"
			}
			e.sure = likely
		}
		e.checks = append(e.checks, checkResult{"ports", passes, text})
	}
	return nil
}
