// SPDX-License-Identifier: Apache-2.0

package bfd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/lvs-fnat/lvs/internal/poll"
)

// Options are the surroundings of an [Engine].
type Options struct {
	Log *slog.Logger
	// Changed is told of each session whether it is up: when Run begins, at each
	// change, and after a Reload. The loop calls it: it must not wait.
	Changed func(Report)
}

// Report says where a session stands.
type Report struct {
	Name string
	Up   bool
	// Fresh is set while a session that is down has not been so for long enough to
	// know anything: it has just begun, and the neighbour had no time to answer.
	Fresh bool
	At    time.Time
}

// Engine runs sessions in the network namespace of the process. Only Do
// and Run may be called from any goroutine.
type Engine struct {
	opts      Options
	log       *slog.Logger
	loop      *poll.Loop
	listeners map[listenKey]*listener
	peers     []*peer // in the order of the configuration
	started   bool
	buf       []byte
}

type listenKey struct {
	six  bool
	port int
}

// peer is a session at work.
type peer struct {
	e     *Engine
	s     *Session
	out   *sender
	timer poll.Timer
	// fresh is set until the session has been up, or grace has run out.
	fresh bool
	grace poll.Timer
	up    bool // as was told
	// failing is set while sending fails, so that it is logged once.
	failing bool
}

// Open makes the sessions of list; none runs yet. Close the Engine.
func Open(list []Config, opts Options) (*Engine, error) {
	e := &Engine{opts: opts, log: opts.Log, listeners: map[listenKey]*listener{}}
	var err error
	if e.loop, err = poll.New(nil); err != nil {
		return nil, err
	}
	if err := e.use(list); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// same tells whether c is the session of p: then it keeps its state.
func (p *peer) same(c *Config) bool {
	o := p.s.Config()
	return o.Name == c.Name && o.Neighbor == c.Neighbor && o.Source == c.Source && o.Multihop == c.Multihop
}

// use goes from the sessions that are there to those of list. What can fail does
// before anything changes.
func (e *Engine) use(list []Config) error {
	opened := map[listenKey]*listener{}
	senders := make([]*sender, len(list))
	fail := func(err error) error {
		for _, l := range opened {
			err = errors.Join(err, l.close())
		}
		for _, s := range senders {
			if s != nil {
				err = errors.Join(err, s.close())
			}
		}
		return err
	}
	wanted := map[listenKey]bool{}
	next := make([]*peer, len(list))
	for i := range list {
		c := &list[i]
		key := listenKey{c.Neighbor.Is6(), Port}
		if c.Multihop {
			key.port = PortMultihop
		}
		wanted[key] = true
		if e.listeners[key] == nil && opened[key] == nil {
			l, err := listen(key.six, key.port)
			if err != nil {
				return fail(err)
			}
			opened[key] = l
		}
		if k := slices.IndexFunc(e.peers, func(p *peer) bool { return p.same(c) }); k >= 0 {
			next[i] = e.peers[k]
		}
		if next[i] == nil || next[i].s.Config().TTL != c.TTL {
			out, err := dial(c)
			if err != nil {
				return fail(fmt.Errorf("(%s) %w", c.Name, err))
			}
			senders[i] = out
		}
	}
	for key, l := range opened {
		if err := e.loop.Watch(l.fd, poll.In, &reader{e, l}); err != nil {
			for k := range opened {
				if k != key {
					e.loop.Forget(opened[k].fd)
				}
			}
			return fail(err)
		}
	}
	for key, l := range opened {
		e.listeners[key] = l
	}
	e.drop(next, wanted)
	e.adopt(list, next, senders)
	return nil
}

// drop ends what is not wanted any more. A session ends in silence, as
// keepalived's do: who withdraws a route when this host stops has to notice.
func (e *Engine) drop(next []*peer, wanted map[listenKey]bool) {
	for _, p := range e.peers {
		if !slices.Contains(next, p) {
			e.loop.Stop(&p.timer)
			e.loop.Stop(&p.grace)
			e.warn(p.out.close())
		}
	}
	for key, l := range e.listeners {
		if !wanted[key] {
			delete(e.listeners, key)
			e.loop.Forget(l.fd)
			e.warn(l.close())
		}
	}
}

func (e *Engine) adopt(list []Config, next []*peer, senders []*sender) {
	e.peers = next
	for i := range list {
		p := next[i]
		if p != nil {
			if senders[i] != nil {
				e.warn(p.out.close())
				p.out = senders[i]
			}
			p.do(p.s.Reconfigure(time.Now(), list[i]))
			continue
		}
		p = &peer{e: e, out: senders[i], fresh: true}
		p.s = New(list[i], e.discriminator(), rand.Float64)
		p.timer.E, p.grace.E = p, (*grace)(p)
		next[i] = p
		if e.started {
			p.start()
		}
	}
}

// discriminator is one that no session has.
func (e *Engine) discriminator() uint32 {
	for {
		d := rand.Uint32()
		if d != 0 && e.byDiscriminator(d) == nil {
			return d
		}
	}
}

func (e *Engine) byDiscriminator(d uint32) *peer {
	for _, p := range e.peers {
		if p != nil && p.s.Local() == d {
			return p
		}
	}
	return nil
}

// byAddress finds a session for a first packet (RFC 5881 3). One that names its
// own address wins over one that does not.
func (e *Engine) byAddress(d *datagram, multihop bool) *peer {
	var found *peer
	for _, p := range e.peers {
		c := p.s.Config()
		if c.Neighbor.WithZone("") != d.src || c.Multihop != multihop {
			continue
		}
		switch {
		case c.Source.IsValid() && c.Source.WithZone("") == d.dst:
			return p
		case !c.Source.IsValid():
			found = p
		}
	}
	return found
}

// Run runs the sessions until ctx ends.
func (e *Engine) Run(ctx context.Context) error {
	e.loop.Post(func() {
		e.started = true
		for _, p := range e.peers {
			p.start()
		}
		e.Tell()
	})
	return e.loop.Run(ctx)
}

// Tell says the states of all sessions to Options.Changed. It belongs to the
// loop: see Do.
func (e *Engine) Tell() {
	for _, p := range e.peers {
		p.tell()
	}
}

func (p *peer) tell() {
	up := p.s.State() == Up
	p.e.opts.Changed(Report{p.s.Config().Name, up, p.fresh && !up, time.Now()})
}

// start lets the session begin. Its neighbour has as long as it had if the session
// were up and slow.
func (p *peer) start() {
	c := p.s.Config()
	p.e.loop.Arm(&p.grace, time.Duration(c.Multiplier)*p.s.wantTx())
	p.do(p.s.Start(time.Now()))
}

// grace is a peer as the handler of its second timer.
type grace peer

// Expire is when a session that has not come up is down for certain.
func (g *grace) Expire() {
	if p := (*peer)(g); p.fresh {
		p.fresh = false
		p.tell()
	}
}

// Do runs f on the loop's goroutine and waits for it.
func (e *Engine) Do(ctx context.Context, f func() error) error { return e.loop.Do(ctx, f) }

// Reload takes over another list while the engine runs: a session with the same
// name and addresses keeps its state. On an error nothing has changed. It belongs
// to the loop: see Do.
func (e *Engine) Reload(list []Config) error {
	if err := e.use(list); err != nil {
		return err
	}
	e.Tell()
	return nil
}

// Close closes the sockets, after Run has returned.
func (e *Engine) Close() error {
	var errs []error
	for _, p := range e.peers {
		errs = append(errs, p.out.close())
	}
	for _, l := range e.listeners {
		errs = append(errs, l.close())
	}
	return errors.Join(append(errs, e.loop.Close())...)
}

func (e *Engine) warn(err error) {
	if err != nil {
		e.log.Warn(err.Error())
	}
}

// reader is the handler of a listener.
type reader struct {
	e *Engine
	l *listener
}

// burst bounds how many datagrams are read before timers have their turn.
const burst = 64

// Ready reads what has arrived.
func (r *reader) Ready(poll.Events) {
	for range burst {
		d, err := r.l.receive()
		if errors.Is(err, errEmpty) {
			return
		}
		if err == nil {
			err = r.e.receive(&d, r.l)
		}
		if err != nil {
			from := ""
			if d.src.IsValid() {
				from = " from " + netip.AddrPortFrom(d.src, d.port).String()
			}
			r.e.log.Debug(fmt.Sprintf("Discarding packet%s: %v", from, err))
			if m := (*Malformed)(nil); !errors.As(err, &m) {
				return
			}
		}
	}
}

// receive finds the session of a datagram and hands it over.
func (e *Engine) receive(d *datagram, l *listener) error {
	p, err := Parse(d.payload)
	if err != nil {
		return err
	}
	multihop := l.port == PortMultihop
	to := e.byAddress(d, multihop)
	if p.Your != 0 {
		to = e.byDiscriminator(p.Your)
	}
	if to == nil {
		return malformed(FaultSession, "session is not found - your discriminator field is 0x%08x", p.Your)
	}
	c := to.s.Config()
	// RFC 5881 3 would let any address speak for a discriminator; nobody needs that.
	if c.Neighbor.WithZone("") != d.src || c.Multihop != multihop {
		return malformed(FaultSession, "it is not from %s, the neighbor of %s", c.Neighbor, c.Name)
	}
	if c.MaxHops >= 0 && d.ttl < c.TTL-c.MaxHops {
		return malformed(FaultTTL, "Packet %s(%d) < %d - discarding", hopName(l.six), d.ttl, c.TTL-c.MaxHops)
	}
	to.do(to.s.Receive(time.Now(), p))
	return nil
}

func hopName(six bool) string {
	if six {
		return "hop_limit"
	}
	return "ttl"
}

// do carries out what a session asks for, and arms its timer.
func (p *peer) do(acts []Action) {
	for _, a := range acts {
		switch a.Kind {
		case Send:
			p.e.buf = a.Packet.Append(p.e.buf[:0])
			err := p.out.send(p.e.buf)
			if err != nil && !p.failing {
				p.e.log.Error(fmt.Sprintf("(%s) Error sending packet: %v", p.s.Config().Name, err))
			}
			p.failing = err != nil
		case Changed:
			// From Down to Init nothing changes for those who only want to know whether
			// the neighbour is there.
			if up := a.State == Up; up != p.up {
				p.up = up
				p.fresh = p.fresh && !up
				p.tell()
			}
		case Log:
			p.e.log.Info(a.Text)
		case Detail:
			p.e.log.Debug(a.Text)
		}
	}
	if next := p.s.Next(); next.IsZero() {
		p.e.loop.Stop(&p.timer)
	} else {
		p.e.loop.Arm(&p.timer, max(0, time.Until(next)))
	}
}

// Expire is the end of the session's timer. What has arrived is heard first: a
// process that was stopped for a while must not take its own lateness for a
// neighbour that is gone.
func (p *peer) Expire() {
	for _, l := range p.e.ordered() {
		for n := 0; poll.Pending(l.fd, poll.In) != 0 && n < burst; n++ {
			(&reader{p.e, l}).Ready(poll.In)
		}
	}
	p.do(p.s.Timeout(time.Now()))
}

func (e *Engine) ordered() []*listener {
	list := make([]*listener, 0, len(e.listeners))
	for _, l := range e.listeners {
		list = append(list, l)
	}
	slices.SortFunc(list, func(a, b *listener) int { return cmp.Compare(a.fd, b.fd) })
	return list
}
