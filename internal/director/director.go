// SPDX-License-Identifier: Apache-2.0

package director

import (
	"net/netip"
	"time"

	"github.com/lvs-fnat/lvs/healthcheck"
	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/firewall"
	"github.com/lvs-fnat/lvs/ipvs"
)

// Director holds one configuration and what is known of its servers. It is
// not safe for concurrent use.
type Director struct {
	cfg      *config.Config
	virtuals []*virtual
	targets  []*healthcheck.Target
	// passing is where each of targets stood.
	passing []bool
	// now is the time of the last Observe.
	now time.Time
	// name is the router_id of mails.
	name string
	// marks are those of the virtual servers that have one; the next gets nextMark.
	marks    []firewall.Mark
	nextMark uint32
	// settings are those that services have been given.
	settings map[settingsKey]*Settings
}

// virtual is a virtual server with its state.
type virtual struct {
	cfg     *config.VirtualServer
	servers []*server
	// quorum is set while enough servers are alive. With it unset, the sorry
	// server has the place.
	quorum bool
	// made are its services as Tables gave them last, when the servers stood as in
	// stood.
	made  []*Service
	stood []standing
	// voted is set once the quorum has been looked at.
	voted bool
	// mark stands for all addresses of a group, if it is not 0: see number.
	mark      uint32
	endpoints []config.Endpoint
	marks     []firewall.Mark
}

// server is a real server of one virtual server with its state.
type server struct {
	cfg *config.RealServer
	// first and count are its checks within Director.targets.
	first, count int32
	alive        bool
	// seen is set once alive has been told by a check's status, tried once every
	// check has run.
	seen, tried bool
	// back is when it has come back, zero if it has been there from the start.
	back time.Time
	// known says that its part of Director.passing is filled.
	known bool
	// late says that a reload has brought it.
	late bool
	// held keeps it out: see config.RealServer.Held.
	held bool
	// extra is what the checks add to the configured weight, negative for less.
	extra int
	// hand is the weight that somebody has set in place of the one configured; nil:
	// nobody has.
	hand *int
}

// base is the weight before the checks add to it.
func (s *server) base() int {
	if s.hand != nil {
		return *s.hand
	}
	return s.cfg.Weight
}

// weight is the weight in force, never below 0, without a slow start: the quorum
// counts it whole.
func (s *server) weight() int { return max(0, s.base()+s.extra) }

// given is the weight for the kernel at now: a server that has come back begins
// with little, so that it is not met by all new connections at once.
func (s *server) given(now time.Time) int {
	w := s.weight()
	if !s.growing(now) || w == 0 {
		return w
	}
	return max(1, int(int64(w)*int64(now.Sub(s.back))/int64(s.cfg.SlowStart)))
}

func (s *server) growing(now time.Time) bool {
	return !s.back.IsZero() && now.Before(s.back.Add(s.cfg.SlowStart))
}

// virtualKey is what a virtual server is told by when the configuration
// changes; never its place in the file.
type virtualKey struct {
	group    string
	protocol config.Protocol
	endpoint ipvs.ServiceKey
}

func (v *virtual) key() virtualKey { return keyOf(v.cfg) }

func keyOf(vs *config.VirtualServer) virtualKey {
	if vs.Group != "" {
		return virtualKey{group: vs.Group, protocol: vs.Protocol}
	}
	return virtualKey{endpoint: endpointKey(vs, vs.Endpoints[0])}
}

// Named gives the name of mails if the configuration has no router_id, which is
// the host's.
func (d *Director) Named(host string) {
	if d.name == "" {
		d.name = host
	}
}

// New returns a director for cfg that knows nothing about health yet. What
// [Director.Observe] is told first decides.
func New(cfg *config.Config) *Director {
	d := newDirector(cfg, nil, nil)
	d.number(func(*virtual) uint32 { return 0 })
	return d
}

// newDirector is New with the virtual servers of former, whole, that cfg has the very
// same of, by former.same.
func newDirector(cfg *config.Config, former *Director, same map[*config.VirtualServer]*virtual) *Director {
	servers, targets := 0, 0
	for _, vs := range cfg.VirtualServers {
		servers += len(vs.RealServers)
		for i := range vs.RealServers {
			rs := &vs.RealServers[i]
			targets += len(rs.Checkers) + len(rs.FileChecks) + len(rs.BFDChecks)
		}
	}
	d := &Director{
		cfg: cfg, name: cfg.Global.RouterID,
		virtuals: make([]*virtual, 0, len(cfg.VirtualServers)),
		targets:  make([]*healthcheck.Target, 0, targets),
		passing:  make([]bool, targets),
		settings: map[settingsKey]*Settings{},
	}
	virtuals, all := make([]virtual, len(cfg.VirtualServers)), make([]server, servers)
	pointers := make([]*server, servers)
	for i, vs := range cfg.VirtualServers {
		n := len(vs.RealServers)
		v := &virtuals[i]
		v.cfg, v.servers = vs, pointers[:n:n]
		for k := range v.servers {
			v.servers[k] = &all[k]
		}
		all, pointers = all[n:], pointers[n:]
		if old := same[vs]; old != nil {
			d.take(v, old, former)
		} else {
			for k, s := range v.servers {
				d.addServer(v, s, &vs.RealServers[k])
			}
		}
		d.virtuals = append(d.virtuals, v)
	}
	return d
}

// same finds the virtual servers of d that are the very ones of cfg.
func (d *Director) same(cfg *config.Config) map[*config.VirtualServer]*virtual {
	mine := make(map[*config.VirtualServer]*virtual, len(d.virtuals))
	for _, v := range d.virtuals {
		mine[v.cfg] = v
	}
	same := make(map[*config.VirtualServer]*virtual, len(d.virtuals))
	for _, vs := range cfg.VirtualServers {
		if v := mine[vs]; v != nil {
			same[vs] = v
		}
	}
	return same
}

// take gives v the targets and the state of old, one of former's.
func (d *Director) take(v, old *virtual, former *Director) {
	v.quorum, v.voted, v.made, v.stood = old.quorum, old.voted, old.made, old.stood
	v.mark, v.endpoints, v.marks = old.mark, old.endpoints, old.marks
	for k, s := range v.servers {
		*s = *old.servers[k]
		s.first = int32(len(d.targets))
		s.hand = nil // as after any other reload
		from := old.servers[k].first
		copy(d.passing[s.first:], former.passing[from:from+s.count])
		d.targets = append(d.targets, former.targets[from:from+s.count]...)
	}
}

func (d *Director) addServer(v *virtual, s *server, rs *config.RealServer) {
	s.cfg, s.first, s.held = rs, int32(len(d.targets)), rs.Held
	for i := range rs.Checkers {
		t := target(v.name(), v.serverName(rs), &rs.Checkers[i])
		d.complete(t, v)
		d.targets = append(d.targets, t)
	}
	for i := range rs.FileChecks {
		d.targets = append(d.targets, d.fileTarget(v.name(), v.serverName(rs), &rs.FileChecks[i]))
	}
	for i := range rs.BFDChecks {
		d.targets = append(d.targets, bfdTarget(v.name(), v.serverName(rs), &rs.BFDChecks[i]))
	}
	s.count = int32(len(d.targets)) - s.first
	for _, t := range d.targets[s.first:] {
		_ = t.Prepare() // the engine will say why not
	}
}

// Targets are the checks to run. Observe wants their states in this order.
func (d *Director) Targets() []*healthcheck.Target { return d.targets }

// Config is the configuration the director was made of.
func (d *Director) Config() *config.Config { return d.cfg }

// Reload returns a director for cfg that takes over the state of servers and
// quorums that stay, and notices about what does not. d is left as it is.
// Its Observe must be called before Tables.
func (d *Director) Reload(cfg *config.Config) (*Director, []Notice) {
	same := d.same(cfg)
	next := newDirector(cfg, d, same)
	next.Named(d.name)
	next.At(d.now)
	old := make(map[virtualKey]*virtual)
	for _, v := range d.virtuals {
		if same[v.cfg] == nil {
			old[v.key()] = v
		}
	}
	next.nextMark = d.nextMark
	next.number(func(v *virtual) uint32 {
		if o := old[v.key()]; o != nil {
			return o.mark
		}
		return v.mark
	})
	var notices []Notice
	for _, v := range next.virtuals {
		if same[v.cfg] != nil {
			continue
		}
		if o := old[v.key()]; o != nil {
			notices = append(notices, d.inherit(v, o)...)
			delete(old, v.key())
			continue
		}
		for _, s := range v.servers {
			s.late = true
		}
	}
	for _, v := range d.virtuals {
		if same[v.cfg] != nil || old[v.key()] != v {
			continue
		}
		notices = append(notices, d.trapGone(v)...)
		notices = append(notices, Notice{Text: v.msgGone()})
		for _, s := range v.servers {
			notices = append(notices, d.left(v, s))
		}
		if v.quorum {
			notices = append(notices, Notice{Script: v.cfg.QuorumDown, FIFO: v.fifoQuorum(false), Mail: d.mailQuorum(v, false, v.msgLost(0))})
		}
	}
	return next, notices
}

// left is the notice about a server that a reload takes away: as if it had gone down, if
// it was up.
func (d *Director) left(v *virtual, s *server) Notice {
	n := Notice{}
	if s.alive || s.cfg.InhibitOnFailure { // it is in the table
		n.Text = v.msgRemoved(s)
	}
	if s.alive {
		n.Script, n.FIFO, n.Mail = s.cfg.NotifyDown, v.fifoServer(s, false), d.mailRemoved(v, s)
	}
	return n
}

// swapped is what becomes of the sorry servers of o and of v, which replaces it, while
// the quorum is lost.
func (v *virtual) swapped(o *virtual) []Notice {
	var notices []Notice
	was, is := o.cfg.SorryServer, v.cfg.SorryServer
	same := was != nil && is != nil && was.Addr == is.Addr
	if is != nil && !same {
		notices = append(notices, Notice{Text: v.msgSorryIn()})
	}
	if was != nil && !same {
		notices = append(notices, Notice{Text: o.msgSorryOut()})
	}
	return notices
}

// inherit takes over what was known of the virtual server o, which v replaces.
func (d *Director) inherit(v, o *virtual) []Notice {
	v.quorum, v.voted = o.quorum, o.voted
	old := make(map[netip.AddrPort]*server, len(o.servers))
	for _, s := range o.servers {
		old[s.cfg.Addr] = s
	}
	var notices []Notice
	for _, s := range v.servers {
		was := old[s.cfg.Addr]
		if was == nil {
			s.late = true
			continue
		}
		delete(old, s.cfg.Addr)
		s.alive, s.seen, s.tried, s.back = was.alive, was.seen, was.tried, was.back
		s.held = s.held && !was.alive // alpha is about how a server begins
		switch {
		case was.extra != 0:
			// The weight that the checks said stays until Observe knows better.
			s.extra = was.weight() - s.cfg.Weight
		case was.base() != s.cfg.Weight:
			notices = append(notices, Notice{Text: v.msgWeight(s, was.base())})
		}
	}
	if o.voted && !o.quorum {
		notices = append(notices, v.swapped(o)...)
	}
	for _, s := range o.servers {
		if old[s.cfg.Addr] == s {
			n := d.left(o, s)
			if s.alive && d.traps() {
				n.Trap = d.trapServer(o, s, false, o.up()-1)
			}
			notices = append(notices, Notice{Text: o.msgServerGone(s)}, n)
		}
	}
	return notices
}

// At sets the time for what follows.
func (d *Director) At(now time.Time) { d.now = now }

// Growing tells whether some server is in its slow start: then Tables gives other
// weights as time goes by.
func (d *Director) Growing() bool {
	for _, v := range d.virtuals {
		for _, s := range v.servers {
			if s.alive && s.growing(d.now) {
				return true
			}
		}
	}
	return false
}

// Observe takes the states of all checks, in the order of Targets, and returns
// what they change. It may be told the same states again.
func (d *Director) Observe(status []healthcheck.Status) []Notice {
	begins := 0 // with a notice each
	for _, v := range d.virtuals {
		if !v.voted {
			begins++
		}
	}
	notices := make([]Notice, 0, begins)
	for _, v := range d.virtuals {
		for _, s := range v.servers {
			notices = append(notices, d.observe(v, s, status[s.first:s.first+s.count])...)
		}
		notices = append(notices, d.vote(v)...)
	}
	return notices
}

// observe has a server alive while none of its checks fails and none that alpha waits
// for is missing, with the weight that they say.
func (d *Director) observe(v *virtual, s *server, checks []healthcheck.Status) []Notice {
	alive, tried, extra := !s.held, true, 0
	for _, c := range checks {
		alive, tried = alive && c.Up, tried && c.Known
		if c.Weighted {
			extra += int(c.Weight) - s.base()
		}
		extra += c.Adds
	}
	var notices []Notice
	if was := s.weight(); extra != s.extra {
		s.extra = extra
		if s.weight() != was {
			notices = append(notices, Notice{Text: v.msgWeight(s, was)})
		}
	}
	changed, first := s.seen && alive != s.alive, !s.seen
	// Who begins as down is said to be so once the checks know it.
	found := s.seen && tried && !s.tried && !alive && !changed && d.tellsOfItself(s, checks)
	s.alive, s.seen, s.tried = alive, true, s.tried || tried
	known := s.known
	kind, others := d.compare(v, s, checks, changed)
	switch {
	case changed:
		if s.back = (time.Time{}); alive {
			s.back = d.now
		}
		n := d.notice(v, s)
		if !alive && s.cfg.RSTOnFailure {
			n.Drop = v.dropped(s)
		}
		n.Text = v.msgTurn(s)
		if known || !alive { // that a reload has taken away what had failed is not mailed
			n.Mail = d.mailServer(v, s, alive, kind)
		}
		notices = append(notices, n)
	case found, first && d.cfg.Global.RSInitNotifies:
		notices = append(notices, d.notice(v, s))
	}
	if (changed || found) && d.traps() {
		notices[len(notices)-1].Trap = d.trapServer(v, s, alive, v.up())
	}
	return append(notices, others...)
}

// tellsOfItself tells whether a check has failed that says so also if it is its first
// run, and the server has not been taken for alive. After a reload one that has been
// retried does not.
func (d *Director) tellsOfItself(s *server, checks []healthcheck.Status) bool {
	for i, c := range checks {
		spec := &d.targets[int(s.first)+i].Spec
		if !c.Up && spec.Kind != healthcheck.HTTPGet && spec.Kind != healthcheck.SSLGet && (!s.late || spec.Timing.Retry == 0) {
			return true
		}
	}
	return false
}

// notice is what commands and FIFOs are told of a server.
func (d *Director) notice(v *virtual, s *server) Notice {
	n := Notice{Script: s.cfg.NotifyDown, FIFO: v.fifoServer(s, s.alive)}
	if s.alive {
		n.Script = s.cfg.NotifyUp
	}
	return n
}

// compare looks at each check for itself. kind is the one that turned as the
// server did, if it did; others are mails about the rest.
func (d *Director) compare(v *virtual, s *server, checks []healthcheck.Status, changed bool) (kind healthcheck.Kind, others []Notice) {
	known, passing := s.known, d.passing[s.first:s.first+s.count]
	s.known = true
	for i, c := range checks {
		turned := known && c.Up != passing[i]
		passing[i] = c.Up
		switch {
		case !turned:
		case changed && kind == 0 && c.Up == s.alive:
			kind = d.targets[int(s.first)+i].Spec.Kind
		case !d.cfg.Global.Mail.NoChecker:
			if m := d.mailServer(v, s, c.Up, d.targets[int(s.first)+i].Spec.Kind); m.Subject != "" {
				others = append(others, Notice{Mail: m})
			}
		}
	}
	return kind, others
}

// Stop returns what is to be said and run at the end: with omega the commands
// of servers that are up, and of quorums.
func (d *Director) Stop() []Notice {
	var notices []Notice
	for _, v := range d.virtuals {
		for _, s := range v.servers {
			n := Notice{Text: v.msgShutdown(s)}
			if v.cfg.Omega && s.alive {
				n.Script, n.FIFO = s.cfg.NotifyDown, v.fifoServer(s, false)
			}
			notices = append(notices, n)
		}
		if v.cfg.Omega { // whether it has its quorum or not
			notices = append(notices, Notice{Script: v.cfg.QuorumDown, FIFO: v.fifoQuorum(false)})
		}
		notices = append(notices, d.trapEnd(v)...)
	}
	return notices
}
