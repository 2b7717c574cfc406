// SPDX-License-Identifier: Apache-2.0

package agentx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"
)

// How long the session waits.
const (
	// RetryEvery is how long after a master agent was not there the next try is.
	RetryEvery = 5 * time.Second
	// pingEvery is how long the master agent may be silent before it is asked whether
	// it is there.
	pingEvery = 15 * time.Second
	// ViewAge is how old what is told may be: a walk asks for each object by itself.
	ViewAge = time.Second
	// answerTime bounds the wait for an answer, and for a message to be taken.
	answerTime = 10 * time.Second
	// goodbyeTime bounds the same at the end: nobody waits for the program to go
	// because of this.
	goodbyeTime = time.Second
)

// queueLength bounds the notifications that wait to be sent.
const queueLength = 4096

// Clock is the time that a session keeps; the zero Clock is that of the host.
type Clock struct {
	// After returns a channel that says when d is over, and what ends that.
	After func(d time.Duration) (<-chan time.Time, func())
	Now   func() time.Time
}

func (c Clock) now() time.Time {
	if c.Now != nil {
		return c.Now()
	}
	return time.Now()
}

func (c Clock) after(d time.Duration) (<-chan time.Time, func()) {
	if c.After != nil {
		return c.After(d)
	}
	t := time.NewTimer(d)
	return t.C, func() { t.Stop() }
}

// Region is a part of the tree that a session answers for.
type Region struct {
	OID  OID
	Text string // what the master agent says of it (sysORDescr); "": nothing
}

// Options are the surroundings of a Session.
type Options struct {
	Log *slog.Logger
	// Address is where the master agent listens: unix:PATH, tcp:HOST:PORT, tcp6:[HOST]:PORT
	// or PATH.
	Address string
	Dial    func(context.Context) (net.Conn, error) // nil: Address is dialled
	Clock   Clock
	Name    string // of the program, for the master agent
	Regions []Region
	// View returns what there is. The session's goroutine calls it when it is asked
	// something, and answers from the same for [ViewAge], or until it has changed
	// something itself.
	View func(context.Context) (*View, error)
}

// Session speaks with a master agent, as long as it runs.
type Session struct {
	opts  Options
	queue chan []VarBind

	// What follows is of the goroutine of Run.
	conn    net.Conn
	id      uint32
	packet  uint32
	said    bool // that there is no master agent
	changes map[uint32]*transaction
	buf     []byte
	view    *View // nil: none
	viewed  time.Time
}

// transaction is a set of changes that is under way (RFC 2741, 7.2.4).
type transaction struct {
	changes []Change
	done    int
}

// New makes a session; Run runs it.
func New(opts Options) (*Session, error) {
	if opts.Dial == nil {
		network, address, err := parseAddress(opts.Address)
		if err != nil {
			return nil, err
		}
		opts.Dial = func(ctx context.Context) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, answerTime)
			defer cancel()
			return (&net.Dialer{}).DialContext(ctx, network, address)
		}
	}
	return &Session{opts: opts, queue: make(chan []VarBind, queueLength)}, nil
}

// parseAddress reads where a master agent is.
func parseAddress(s string) (network, address string, err error) {
	network, address, found := strings.Cut(s, ":")
	switch {
	case strings.HasPrefix(s, "/"):
		return "unix", s, nil
	case found && network == "unix" && address != "":
		return "unix", address, nil
	case found && (network == "tcp" || network == "tcp6"):
		if _, _, err := net.SplitHostPort(address); err != nil {
			return "", "", fmt.Errorf("address %s of the SNMP master agent: %w", s, err)
		}
		return network, address, nil
	}
	return "", "", fmt.Errorf("address %s of the SNMP master agent: write unix:PATH or tcp:HOST:PORT", s)
}

// Notify tells an event, objects included, if a master agent is there. It may be
// called from any goroutine and does not wait.
func (s *Session) Notify(event OID, list ...VarBind) {
	list = append([]VarBind{{snmpTrapOID, ObjectID(event)}}, list...)
	select {
	case s.queue <- list:
	default: // as many wait as make sense
	}
}

// snmpTrapOID says which event a notification is of (RFC 3418).
var snmpTrapOID = OID{1, 3, 6, 1, 6, 3, 1, 1, 4, 1, 0}

// Run speaks with the master agent until ctx ends, and looks for one every some
// seconds while there is none. It logs only what is new.
func (s *Session) Run(ctx context.Context) {
	for {
		err := s.connected(ctx)
		if ctx.Err() != nil {
			return
		}
		if !s.said {
			s.said = true
			s.opts.Log.Warn(fmt.Sprintf("SNMP: %v; trying again every %v", err, RetryEvery))
		}
		again, stop := s.opts.Clock.after(RetryEvery)
		select {
		case <-ctx.Done():
			stop()
			return
		case <-again:
		}
		s.drop()
	}
}

// drop forgets events that nobody has heard of in time. Those from before the first
// try are kept: they are what the program begins with.
func (s *Session) drop() {
	for {
		select {
		case <-s.queue:
		default:
			return
		}
	}
}

// incoming is a message, or why there is none.
type incoming struct {
	m   *Message
	err error
}

// connected is the life of one connection; the error says why it has ended.
func (s *Session) connected(ctx context.Context) error {
	conn, err := s.opts.Dial(ctx)
	if err != nil {
		return fmt.Errorf("no master agent: %w", err)
	}
	s.conn, s.changes = conn, map[uint32]*transaction{}
	messages := make(chan incoming)
	ended, end := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		read(ended, conn, messages)
	}()
	defer func() {
		end()
		_ = conn.Close() // which ends the reader
		<-done
	}()
	if err := s.open(ctx, messages); err != nil {
		return fmt.Errorf("master agent: %w", err)
	}
	s.said = false
	s.opts.Log.Info("AgentX subagent connected")
	if err := s.serve(ctx, messages); err != nil {
		return fmt.Errorf("master agent: %w", err)
	}
	return nil
}

// read passes on what comes, until nothing can.
func read(ctx context.Context, conn io.Reader, to chan<- incoming) {
	for {
		m, err := Read(conn)
		select {
		case to <- incoming{m, err}:
		case <-ctx.Done():
			return
		}
		if err != nil && m == nil {
			return
		}
	}
}

// open begins the session and registers what it answers for. A region that the master
// agent refuses is logged: the others are worth having.
func (s *Session) open(ctx context.Context, messages <-chan incoming) error {
	s.id = 0
	m, err := s.ask(ctx, messages, &Message{Verb: VerbOpen, Text: s.opts.Name})
	if err != nil {
		return err
	}
	if m.Status != StatusOK {
		return fmt.Errorf("it refuses: %v", m.Status)
	}
	s.id = m.Session
	for _, r := range s.opts.Regions {
		m, err := s.ask(ctx, messages, &Message{Verb: VerbRegister, ID: r.OID})
		if err == nil && m.Status != StatusOK {
			s.opts.Log.Warn(fmt.Sprintf("SNMP: %v is not registered: %v", r.OID, m.Status))
			continue
		}
		if err == nil && r.Text != "" {
			_, err = s.ask(ctx, messages, &Message{Verb: VerbAddCaps, ID: r.OID, Text: r.Text})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// errSilent says that an answer did not come.
var errSilent = errors.New("it does not answer")

// ask sends a message and waits for its response; requests that come meanwhile are
// answered.
func (s *Session) ask(ctx context.Context, messages <-chan incoming, m *Message) (*Message, error) {
	s.packet++
	m.Session, m.Packet = s.id, s.packet
	if err := s.send(m); err != nil {
		return nil, err
	}
	late, stop := s.opts.Clock.after(answerTime)
	defer stop()
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-late:
			return nil, errSilent
		case in := <-messages:
			if in.err == nil && in.m.Verb == VerbResponse {
				if in.m.Packet == m.Packet {
					return in.m, nil
				}
				continue
			}
			if err := s.handle(ctx, in); err != nil {
				return nil, err
			}
		}
	}
}

// send writes one message.
func (s *Session) send(m *Message) error { return s.sendWithin(answerTime, m) }

func (s *Session) sendWithin(d time.Duration, m *Message) error {
	if err := s.conn.SetWriteDeadline(time.Now().Add(d)); err != nil {
		return err
	}
	s.buf = m.Append(s.buf[:0])
	_, err := s.conn.Write(s.buf)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errSilent
	}
	return err
}

// serve answers requests and sends notifications until the connection or ctx ends.
func (s *Session) serve(ctx context.Context, messages <-chan incoming) error {
	for {
		silent, stop := s.opts.Clock.after(pingEvery)
		var err error
		select {
		case <-ctx.Done():
			stop()
			s.flush()
			// Whoever goes says so; that it is heard is not needed.
			_ = s.sendWithin(goodbyeTime, &Message{Verb: VerbClose, Session: s.id, Reason: reasonShutdown})
			return nil
		case in := <-messages:
			err = s.handle(ctx, in)
		case list := <-s.queue:
			err = s.send(s.notification(list))
		case <-silent:
			_, err = s.ask(ctx, messages, &Message{Verb: VerbPing})
		}
		stop()
		if err != nil {
			return err
		}
	}
}

func (s *Session) notification(list []VarBind) *Message {
	s.packet++
	return &Message{Verb: VerbNotify, Session: s.id, Packet: s.packet, VarBinds: list}
}

// flush sends the events that wait at the end.
func (s *Session) flush() {
	for {
		select {
		case list := <-s.queue:
			if s.sendWithin(goodbyeTime, s.notification(list)) != nil {
				return
			}
		default:
			return
		}
	}
}

// look returns what is told now.
func (s *Session) look(ctx context.Context) (*View, error) {
	now := s.opts.Clock.now()
	if s.view != nil && now.Sub(s.viewed) < ViewAge && !now.Before(s.viewed) {
		return s.view, nil
	}
	v, err := s.opts.View(ctx)
	if err != nil {
		return nil, err
	}
	s.view, s.viewed = v, now
	return v, nil
}
