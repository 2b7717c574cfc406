// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/lvs-fnat/lvs/internal/poll"
)

// phase is what a check's timer and socket are for.
type phase uint8

const (
	idle       phase = iota // the timer starts the next run
	connecting              // the timer gives the connection up
	exchanging              // the timer gives the answer up
	away                    // a goroutine of the pool is at it; no timer
)

// check is one target at work. All but named, removed and status belongs to the
// goroutine of its shard's loop. There are tens of thousands: what few of them need
// is in more.
type check struct {
	shard *shard
	named *Target // of the engine, guarded by its lock; target follows it
	// target is never written to.
	target *Target
	timer  poll.Timer
	// talk is the dialogue in progress; nil otherwise.
	talk dialogue
	*more
	state state
	fd    int32
	// awaits is what fd is watched for.
	awaits poll.Events
	phase  phase
	// new is set until the server has been found well.
	new bool
	// suspended is set while it rests.
	suspended bool
	// postponed is set while this host's own trouble keeps the check from
	// running, so that it is logged once.
	postponed bool

	removed atomic.Bool
	status  atomic.Uint64
}

// more is what those checks have that say something, or are for several services.
type more struct {
	// asked is when the exchange began, or a command.
	asked time.Time
	// cancel ends the run that is away, and run tells it from earlier ones.
	cancel context.CancelFunc
	run    uint64
	// unasked is set while runs count that nobody was asked in.
	unasked bool
	// tls is made at the first run of SSL_GET, to keep its session.
	tls *tls.Config
	// patterns are the expressions of the URLs, nil without any.
	patterns []*pattern
	// others are the names of the services the check is for beside its target's.
	others []string
}

// none is for checks without, and never written to.
var none more

// own gives c more that can be written to.
func (c *check) own() *more {
	if c.more == &none {
		c.more = &more{}
	}
	return c.more
}

// Bits of check.status, which is a Status other goroutines can read.
const (
	statusUp = 1 << iota
	statusKnown
	statusWeighted
	// statusWeight is where the weight begins, of eight bits, and statusAdds the
	// number to add, of 32.
	statusWeight = iota + 5
	statusAdds   = 32
)

// result is how one run ended. line says why it failed; it is a function
// because most failures are not logged.
type result struct {
	ok   bool
	line func(*Target) string
	// down, if there is one, says alone that the server is down after retries.
	down func(t *Target, retries uint32) string
	// weight is what the server said its weight is; -1 when it said nothing.
	weight int
	// adds is what the server's weight grows by.
	adds int32
	// local is trouble of this host; then the run says nothing.
	local error
	// unasked is why a run counts that nobody was asked in.
	unasked error
}

// passed is the result of a check that found the server well.
func passed() result { return result{ok: true, weight: -1} }

// dialogue is what a check and a server say to each other over a socket, after
// the connection stands. It belongs to the loop.
type dialogue interface {
	// sent tells that nothing is to be sent now.
	sent() bool
	// send sends what fits.
	send(fd int) error
	// receive reads once and judges when it can. It reads once only, so that
	// a long reply does not hold up the other checks.
	receive(fd int, buf []byte) (r result, done bool)
	// timeout judges that nothing more came in time.
	timeout() result
	// lineWrite says that sending failed.
	lineWrite(t *Target) string
}

// outbox is the part of a dialogue that sends over a stream.
type outbox struct{ request []byte }

func (o *outbox) sent() bool { return len(o.request) == 0 }

func (o *outbox) send(fd int) error {
	n, err := poll.Write(fd, o.request)
	o.request = o.request[n:]
	return err
}

func failed(line func(*Target) string) result { return result{line: line, weight: -1} }

func lineConnect(t *Target) string        { return msgConnect(t, false) }
func lineConnectTimeout(t *Target) string { return msgConnect(t, true) }

func newCheck(s *shard, t *Target) (*check, error) {
	if t.Spec.Kind.connects() {
		p := t.Spec.peer()
		if err := p.Validate(); err != nil {
			return nil, err
		}
	}
	patterns, err := compile(t.Spec.HTTP.URLs)
	if err != nil {
		return nil, err
	}
	c := &check{new: true, more: &none, shard: s, named: t, target: t, fd: -1, state: newState(t.Spec.Timing.Alpha)}
	if patterns != nil {
		c.own().patterns = patterns
	}
	c.timer.E = c
	c.publish()
	return c, nil
}

// peer is where a check of s connects to, if it does.
func (s *Spec) peer() poll.Peer {
	p := poll.Peer{
		Addr:   s.Conn.Addr,
		Bind:   s.Conn.Bind,
		Device: s.Conn.BindIf,
		Mark:   s.Conn.FwMark,
	}
	switch s.Kind {
	case UDPCheck, DNSCheck:
		p.Network = poll.UDP
	case PingCheck:
		p.Network = poll.ICMP
	}
	return p
}

func (c *check) publish() {
	bits := uint64(uint32(c.state.adds)) << statusAdds
	if c.state.weight >= 0 {
		bits |= statusWeighted | uint64(c.state.weight)<<statusWeight
	}
	if c.state.up {
		bits |= statusUp
	}
	if c.state.hasRun {
		bits |= statusKnown
	}
	c.status.Store(bits)
}

// read returns the state, from any goroutine.
func (c *check) read() Status {
	bits := c.status.Load()
	return Status{
		Up:       bits&statusUp != 0,
		Known:    bits&statusKnown != 0,
		Weighted: bits&statusWeighted != 0,
		Weight:   uint8(bits >> statusWeight),
		Adds:     int(int32(bits >> statusAdds)),
	}
}

// rename has the check go on for t, which asks for the same, and for others besides.
func (c *check) rename(t *Target, others []string) {
	if c.target = t; others != nil || c.others != nil {
		c.own().others = others
	}
}

// retime follows a new timing. The next run comes no later than the new
// interval would have it; part, of 0 to 1, spreads those that come earlier.
func (c *check) retime(part float64) {
	if d := c.target.Spec.Timing.DelayLoop; c.phase == idle && c.shard.loop.Remaining(&c.timer) > d {
		c.shard.loop.Arm(&c.timer, time.Duration(part*float64(d)))
	}
}

// source has checks run at once when what they follow changes. Its methods may be
// called from any goroutine.
type source interface {
	watch(c *check)
	forget(c *check)
}

// source is what tells the check to run besides its timer, nil for most.
func (c *check) source() source {
	switch c.target.Spec.Kind {
	case FileCheck:
		return c.shard.files
	case BFDCheck:
		return c.shard.bfds
	}
	return nil
}

// begin plans the first run.
func (c *check) begin(after time.Duration) {
	if s := c.source(); s != nil {
		s.watch(c)
	}
	c.shard.loop.Arm(&c.timer, after)
}

// suspend has the check rest, or go on within part of its interval.
func (c *check) suspend(off bool, part float64) {
	if c.suspended == off {
		return
	}
	c.suspended = off
	t := c.target
	if off {
		c.shard.loop.Stop(&c.timer)
		c.hangUp()
		if c.state.hasRun {
			c.shard.log.Info(msgSuspending(t))
		} else {
			c.shard.log.Info(msgDeactivating(t))
		}
		return
	}
	c.shard.log.Info(msgActivating(t))
	c.shard.loop.Arm(&c.timer, time.Duration(part*float64(t.Spec.Timing.DelayLoop)))
}

// stop ends the check and closes its socket.
func (c *check) stop() {
	if s := c.source(); s != nil {
		s.forget(c)
	}
	c.shard.loop.Stop(&c.timer)
	c.hangUp()
}

func (c *check) hangUp() {
	if fd := int(c.fd); fd >= 0 {
		c.shard.loop.Forget(fd)
		poll.Close(fd, c.shard.reset)
	}
	if c.phase != idle {
		c.shard.inFlight.Add(-1)
	}
	if c.cancel != nil {
		c.cancel()
		c.cancel = nil
	}
	c.fd, c.talk, c.phase = -1, nil, idle
}

// Expire starts a run or ends one that took too long.
func (c *check) Expire() {
	if c.phase == idle {
		c.start()
		return
	}
	// The answer may be there although this loop has not seen it yet. What
	// can be read at this moment came in time as far as anybody can tell.
	for range rescues {
		ev := poll.Pending(int(c.fd), c.awaited())
		if ev == 0 {
			break
		}
		c.Ready(ev)
		if c.timer.Armed() {
			c.shard.rescued.Add(1)
			return
		}
	}
	if c.phase == connecting {
		c.finish(failed(lineConnectTimeout))
		return
	}
	c.finish(c.talk.timeout())
}

// rescues bounds how much of a reply that is late is still read, in buffers.
const rescues = 64

func (c *check) awaited() poll.Events {
	if c.phase == exchanging && c.talk.sent() {
		return poll.In
	}
	return poll.Out
}

func (c *check) start() {
	if c.target.Spec.Kind == BFDCheck {
		up, known := c.shard.bfds.state(c.target.Spec.BFD.Session)
		if !known {
			return // it runs when the session is told of
		}
		c.shard.runs.Add(1)
		c.shard.inFlight.Add(1)
		c.phase = away
		c.finish(judgeSession(up))
		return
	}
	c.shard.runs.Add(1)
	if c.target.Spec.Kind == MiscCheck {
		c.postponed = false
		c.shard.inFlight.Add(1)
		c.own().asked = c.shard.loop.Now()
		c.delegate(c.shard.scripts, command{c.target.Spec.Misc, c.target.Spec.Timing.ConnectTimeout, c.shard.credential}.run)
		return
	}
	if c.target.Spec.Kind == FileCheck {
		c.postponed = false
		c.shard.inFlight.Add(1)
		c.phase = away
		c.finish(c.target.Spec.File.judge())
		return
	}
	p := c.target.Spec.peer()
	fd, err := c.shard.dialer.Connect(&p)
	if err != nil {
		if local := (*poll.LocalError)(nil); errors.As(err, &local) {
			c.postpone(err)
		} else {
			c.finish(failed(lineConnect))
		}
		return
	}
	if err := c.shard.loop.Watch(fd, poll.Out, c); err != nil {
		poll.Close(fd, true)
		c.postpone(err)
		return
	}
	c.fd, c.phase, c.awaits, c.postponed = int32(fd), connecting, poll.Out, false
	c.shard.inFlight.Add(1)
	c.shard.loop.Arm(&c.timer, c.target.Spec.Timing.ConnectTimeout)
}

// postpone puts the run off without a result: a host that has no descriptor
// or port left knows nothing about its servers.
func (c *check) postpone(err error) {
	c.shard.postponed.Add(1)
	if !c.postponed {
		c.shard.log.Warn(msgPostponed(c.target, err))
	}
	c.postponed = true
	c.shard.loop.Arm(&c.timer, c.target.Spec.Timing.DelayLoop)
}

// Ready goes on with a run whose socket can.
func (c *check) Ready(ev poll.Events) {
	if c.phase == exchanging {
		c.exchange()
		return
	}
	if err := poll.Outcome(int(c.fd), ev); err != nil {
		c.finish(failed(lineConnect))
		return
	}
	switch s := &c.target.Spec; s.Kind {
	case TCPCheck:
		if s.Conn.Proxy == 0 {
			c.finish(passed())
			return
		}
		c.talk = &introduction{outbox{proxyHeader(s.Conn.Proxy)}}
	case HTTPGet:
		c.talk = newExchange(c.target, int(c.state.url), c.patterns)
	case UDPCheck:
		c.talk = newDatagram(s.UDP)
	case DNSCheck:
		c.talk = newQuery(s.DNS)
	case SMTPCheck:
		c.talk = newMailbox(s)
	case PingCheck:
		c.talk = newEcho(s)
	case SSLGet:
		c.handOver()
		return
	case GRPCCheck:
		c.handOverGRPC()
		return
	}
	c.phase, c.own().asked = exchanging, c.shard.loop.Now()
	c.shard.loop.Arm(&c.timer, c.target.Spec.Timing.ConnectTimeout)
	c.exchange()
}

// part is how long the next part of an answer may take that began so long ago. As
// with keepalived each has the whole time; but a server that drips for ever, of which
// keepalived never thinks worse, is given up.
func (t *Timing) part(elapsed time.Duration) time.Duration {
	return max(0, min(t.ConnectTimeout, max(t.DelayLoop, 10*t.ConnectTimeout)-elapsed))
}

// exchange carries the dialogue on as far as it goes now.
func (c *check) exchange() {
	d := c.talk
	if !d.sent() {
		if err := d.send(int(c.fd)); err != nil {
			c.finish(failed(d.lineWrite))
			return
		}
		if _, only := d.(*introduction); only && d.sent() {
			c.finish(passed())
			return
		}
	} else if c.awaits == poll.In {
		if r, done := d.receive(int(c.fd), c.shard.buf); done {
			if x, ok := d.(*exchange); ok {
				c.warnShort(x)
			}
			c.finish(r)
			return
		}
		if k := c.target.Spec.Kind; k == HTTPGet || k == SMTPCheck {
			c.shard.loop.Arm(&c.timer, c.target.Spec.Timing.part(c.shard.loop.Now().Sub(c.asked)))
		}
	}
	want := c.awaited()
	if want == c.awaits {
		return
	}
	c.awaits = want
	if err := c.shard.loop.Rewatch(int(c.fd), want); err != nil {
		c.hangUp()
		c.postpone(err)
	}
}

// warnShort says that a body was not as long as promised. As in keepalived
// this alone does not fail the check; a digest would.
func (c *check) warnShort(x *exchange) {
	if x.length >= 0 && x.got < x.length && x.ended {
		c.shard.log.Info(msgShort(c.target, x.url.Path, x.length, x.got))
	}
}

// delegate has job done by a goroutine of p. Its result comes back through the
// loop, unless the check has been stopped meanwhile.
func (c *check) delegate(p *pool, job func(context.Context) result) {
	c.own().run++
	c.phase = away
	run := c.run
	var ctx context.Context
	ctx, c.cancel = context.WithCancel(p.ctx)
	p.submit(func() {
		r := job(ctx)
		c.shard.loop.Post(func() {
			if c.phase == away && c.run == run {
				c.finish(r)
			}
		})
	})
}

// finish ends a run, moves the state and plans the next run.
func (c *check) finish(r result) {
	c.hangUp()
	if r.local != nil {
		c.postpone(r.local)
		return
	}
	if c.target.Spec.Kind == MiscCheck {
		if r.unasked != nil && !c.unasked {
			c.shard.log.Warn(msgUnasked(c.target, r.unasked))
		}
		c.unasked = r.unasked != nil
	}
	retries, plan := c.target.Spec.Timing.Retry, c.target.Spec.plan()
	if k := c.target.Spec.Kind; !c.state.hasRun && !plan.twice && !plan.patient && !c.state.late && k != MiscCheck {
		retries = 0 // of the others the original says so also of the first run
	}
	was := c.state
	next, ch := c.state.step(plan, r.ok)
	if c.target.Spec.Kind == MiscCheck {
		// Commands go by the clock, however long they take.
		next = max(0, next-c.shard.loop.Now().Sub(c.asked))
	}
	c.state.weigh(r)
	c.publish()
	if !r.ok {
		c.shard.failures.Add(1)
	}
	c.report(r, was, ch, retries)
	if ch == unchanged && (c.state.weight != was.weight || c.state.adds != was.adds) {
		c.tell("")
	}
	c.shard.loop.Arm(&c.timer, next)
}

// tell puts the state into the queue of events.
func (c *check) tell(reason string) {
	t := c.target
	ev := Event{
		Service: t.Service,
		Server:  t.Server,
		Kind:    t.Spec.Kind,
		Up:      c.state.up,
		Reason:  reason,
		At:      c.shard.loop.Now(),
	}
	c.shard.queue.put(c, ev)
	for _, ev.Service = range c.others {
		c.shard.queue.put(c, ev)
	}
}

// report logs a result that moved the state from was on, and tells of a change.
func (c *check) report(r result, was state, ch change, retries uint32) {
	t, log := c.target, c.shard.log
	if r.ok && ch == unchanged && !log.Enabled(context.Background(), slog.LevelInfo) {
		return
	}
	if r.ok && !was.up && len(t.Spec.HTTP.URLs) > 0 {
		log.Info(msgURL(t, &t.Spec.HTTP.URLs[was.url]))
	}
	line := ""
	switch {
	case ch == wentUp, r.ok && c.new && c.state.up && c.state.url == 0:
		if line = msgSuccess(t); ch == unchanged && !t.Spec.Kind.greets() {
			line = ""
		}
		c.new = false
	case ch == wentDown && r.down != nil:
		line = r.down(t, retries)
	case !r.ok && (ch == wentDown || t.Spec.Timing.LogAllFailures):
		line = r.line(t)
	}
	if line != "" {
		log.Info(line)
	}
	if ch == wentDown && r.down == nil {
		log.Info(msgDown(t, retries))
	}
	if ch != unchanged {
		c.tell(line)
	}
}
