// SPDX-License-Identifier: Apache-2.0

package agentx

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// limit is how long a test waits for what must come.
const limit = 30 * time.Second

// lines collects a log.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), s)
}

// master is a fake master agent with a session.
type master struct {
	t       *testing.T
	dialled chan net.Conn // connections as they are made
	refuse  chan struct{} // holds one for each dial that fails
	timers  chan timer
	conn    net.Conn // of the session of now
	log     *lines
	s       *Session
	peers   map[string]int
	mu      sync.Mutex
	views   atomic.Int64 // that were made
	later   atomic.Int64 // the time, in nanoseconds
	end     func()
}

// timer is one that the session has asked for.
type timer struct {
	d    time.Duration
	fire chan time.Time
}

var errRefused = errors.New("connection refused")

// newMaster runs a session against a master agent of the test.
func newMaster(t *testing.T, refused int) *master {
	m := &master{t: t, dialled: make(chan net.Conn), refuse: make(chan struct{}, 10), timers: make(chan timer, 1000), log: &lines{}, peers: map[string]int{}}
	for range refused {
		m.refuse <- struct{}{}
	}
	s, err := New(Options{
		Log: slog.New(slog.NewTextHandler(m.log, nil)), Name: "Keepalived",
		Dial: func(ctx context.Context) (net.Conn, error) {
			select {
			case <-m.refuse:
				return nil, errRefused
			default:
			}
			a, b := pair(t)
			select {
			case m.dialled <- b:
				return a, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		},
		Clock: Clock{After: func(d time.Duration) (<-chan time.Time, func()) {
			x := timer{d, make(chan time.Time, 1)}
			m.timers <- x
			return x.fire, func() {}
		}, Now: func() time.Time { return time.Unix(0, m.later.Load()) }},
		Regions: []Region{{base.Append(1), "first"}, {base.Append(2), ""}},
		View: func(context.Context) (*View, error) {
			m.views.Add(1)
			return sample(func(p *peer, n int) error {
				m.mu.Lock()
				defer m.mu.Unlock()
				if n == 99 {
					return errors.New("not 99")
				}
				m.peers[p.name] = n
				return nil
			}), nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	m.s = s
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	m.end = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(m.end)
	return m
}

// pair is two ends of a connection that takes what is written without a reader.
func pair(t *testing.T) (a, b net.Conn) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Error(err)
		return nil, nil
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		if ends[i], err = net.FileConn(f); err != nil {
			t.Error(err)
		}
		_ = f.Close()
	}
	return ends[0], ends[1]
}

func (m *master) accept() {
	m.t.Helper()
	select {
	case m.conn = <-m.dialled:
	case <-time.After(limit):
		m.t.Fatal("nobody dials")
	}
}

func (m *master) read() *Message {
	m.t.Helper()
	if err := m.conn.SetReadDeadline(time.Now().Add(limit)); err != nil {
		m.t.Fatal(err)
	}
	x, err := Read(m.conn)
	if err != nil {
		m.t.Fatal(err)
	}
	return x
}

func (m *master) write(x *Message) {
	m.t.Helper()
	if _, err := m.conn.Write(x.Append(nil)); err != nil {
		m.t.Fatal(err)
	}
}

// respond answers what the subagent asks next, and returns that.
func (m *master) respond(status Status) *Message {
	m.t.Helper()
	x := m.read()
	r := x.reply(nil)
	r.Session, r.Status = 42, status
	m.write(r)
	return x
}

// open takes the session through its beginning.
func (m *master) open() {
	m.t.Helper()
	m.accept()
	for _, want := range []string{"1 [] Keepalived", "3 [1 3 6 1 4 1 9586 1] ", "16 [1 3 6 1 4 1 9586 1] first", "3 [1 3 6 1 4 1 9586 2] "} {
		x := m.respond(StatusOK)
		if got := fmt.Sprintf("%d %d %s", x.Verb, x.ID, x.Text); got != want {
			m.t.Fatalf("it says %q, want %q", got, want)
		}
	}
}

// ask sends a request and returns the response.
func (m *master) ask(x *Message) *Message {
	m.t.Helper()
	x.Session, x.Packet = 42, 1000
	m.write(x)
	r := m.read()
	if r.Verb != VerbResponse || r.Packet != 1000 || r.Transaction != x.Transaction {
		m.t.Fatalf("answer: %+v", r)
	}
	return r
}

// fire lets the timers of that length end.
func (m *master) fire(d time.Duration) {
	m.t.Helper()
	for {
		select {
		case x := <-m.timers:
			if x.d == d {
				x.fire <- time.Now()
				return
			}
		case <-time.After(limit):
			m.t.Fatalf("nobody waits %v", d)
		}
	}
}

func names(list []VarBind) (out []string) {
	for _, b := range list {
		out = append(out, strings.TrimPrefix(b.Name.String(), base.String()+".")+" = "+b.Value.String())
	}
	return out
}

// TestRequests: Get, GetNext and GetBulk, several objects at once; another context and
// what cannot be parsed are refused without the end of the session.
func TestRequests(t *testing.T) {
	m := newMaster(t, 0)
	m.open()
	r := m.ask(&Message{Verb: VerbGet, Ranges: []Range{{Start: base.Append(1, 1, 0)}, {Start: base.Append(1, 1, 1)}, {Start: base.Append(7)}}})
	if got := names(r.VarBinds); !slices.Equal(got, []string{`1.1.0 = STRING: "one"`, "1.1.1 = kind 129: 0", "7 = kind 128: 0"}) {
		t.Errorf("get: %q", got)
	}
	r = m.ask(&Message{Verb: VerbGetNext, Ranges: []Range{{Start: base}, {Start: base.Append(1, 6), End: base.Append(2)}, {Start: base.Append(1, 6, 0)}}})
	if got := names(r.VarBinds); !slices.Equal(got, []string{`1.1.0 = STRING: "one"`, "1.6.0 = kind 66: 6", "1.6.0 = kind 130: 0"}) {
		t.Errorf("next: %q", got)
	}
	r = m.ask(&Message{Verb: VerbGetBulk, NonRepeaters: 1, Repetitions: 3, Ranges: []Range{{Start: base}, {Start: base.Append(1, 5, 1, 2)}, {Start: base.Append(1, 5, 1, 7, 3)}}})
	if got, want := names(r.VarBinds), []string{`1.1.0 = STRING: "one"`, `1.5.1.2.2 = STRING: "a"`, "1.5.1.7.10 = INTEGER: 2", `1.5.1.2.10 = STRING: "b"`, "1.6.0 = kind 66: 6", "1.5.1.7.2 = INTEGER: 1", "1.6.0 = kind 130: 0"}; !slices.Equal(got, want) {
		t.Errorf("bulk: %q, want %q", got, want)
	}
	if r = m.ask(&Message{Verb: VerbGet, Context: "x", Ranges: []Range{{Start: base}}}); r.Status != StatusUnsupportedContext {
		t.Errorf("context: %v", r.Status)
	}
	bad := (&Message{Verb: VerbGet, Session: 42, Packet: 5, Ranges: []Range{{Start: base}}}).Append(nil)
	bad[headerLen] = 200
	if _, err := m.conn.Write(bad); err != nil {
		t.Fatal(err)
	}
	if r = m.read(); r.Status != StatusParseError || r.Packet != 5 {
		t.Errorf("what is no message: %+v", r)
	}
	if r = m.ask(&Message{Verb: VerbPing}); r.Status != StatusProcessingError {
		t.Errorf("a ping of the master, which sends none: %v", r.Status)
	}
}

// TestSet: all of a set or nothing of it.
func TestSet(t *testing.T) {
	m := newMaster(t, 0)
	m.open()
	weight := func(row uint32, v Value) VarBind { return VarBind{base.Append(1, 5, 1, 7, row), v} }
	has := func(want map[string]int) {
		t.Helper()
		m.mu.Lock()
		defer m.mu.Unlock()
		if fmt.Sprint(m.peers) != fmt.Sprint(want) {
			t.Errorf("weights %v, want %v", m.peers, want)
		}
	}
	id := uint32(0)
	verb := func(v Verb, list ...VarBind) string {
		t.Helper()
		r := m.ask(&Message{Verb: v, Transaction: id, VarBinds: list})
		return fmt.Sprint(uint16(r.Status), r.Index)
	}
	for _, tc := range []struct {
		list []VarBind
		want string
	}{
		{[]VarBind{weight(2, Integer(5)), weight(4, Integer(5))}, "17 2"},
		{[]VarBind{weight(2, Integer(-5))}, "10 1"},
		{[]VarBind{weight(2, Gauge32(5))}, "7 1"},
		{[]VarBind{{base.Append(1, 1, 0), Octets("x")}}, "17 1"},
		{[]VarBind{{base.Append(3), Octets("x")}}, "17 1"},
	} {
		id++
		if got := verb(VerbTestSet, tc.list...); got != tc.want {
			t.Errorf("%v: %s, want %s", tc.list, got, tc.want)
		}
		m.write(&Message{Verb: VerbCleanupSet, Session: 42, Transaction: id})
	}
	has(map[string]int{})

	id++
	if a, b := verb(VerbTestSet, weight(2, Integer(5)), weight(10, Integer(6))), verb(VerbCommitSet); a != "0 0" || b != "0 0" {
		t.Errorf("a good set: %s, %s", a, b)
	}
	m.write(&Message{Verb: VerbCleanupSet, Session: 42, Transaction: id})
	has(map[string]int{"a": 5, "b": 6})

	id++
	if a, b, c := verb(VerbTestSet, weight(2, Integer(7)), weight(10, Integer(99))), verb(VerbCommitSet), verb(VerbUndoSet); a != "0 0" || b != "14 2" || c != "0 0" {
		t.Errorf("a set that fails: %s, %s, %s", a, b, c)
	}
	has(map[string]int{"a": 1, "b": 6}) // what the view said it was
	if got := verb(VerbCommitSet); got != "14 0" {
		t.Errorf("a set that is over: %s", got)
	}
	for range maxTransactions {
		id++
		verb(VerbTestSet, weight(2, Integer(1)))
	}
	id++
	if got := verb(VerbTestSet, weight(2, Integer(1))); got != "5 1" {
		t.Errorf("one set too many: %s", got)
	}
}

// TestNotify: events come in their order with their objects; a master agent need not
// answer, and its request meanwhile is answered.
func TestNotify(t *testing.T) {
	m := newMaster(t, 0)
	m.open()
	for i := range 3 {
		m.s.Notify(base.Append(0, uint32(i)), VarBind{base.Append(2), Integer(i)})
	}
	for i := range 3 {
		x := m.read()
		if x.Verb != VerbNotify || x.Session != 42 || len(x.VarBinds) != 2 {
			t.Fatalf("event %d: %+v", i, x)
		}
		if got := fmt.Sprint(x.VarBinds[0].Name, x.VarBinds[0].Value, x.VarBinds[1].Value); got != fmt.Sprintf("1.3.6.1.6.3.1.1.4.1.0 OID: %v INTEGER: %d", base.Append(0, uint32(i)), i) {
			t.Errorf("event %d: %s", i, got)
		}
	}
	r := &Message{Verb: VerbResponse, Session: 42, Packet: 5}
	m.write(r)
	m.ask(&Message{Verb: VerbGet, Ranges: []Range{{Start: base}}})
}

// TestAway: a master agent that is not there is looked for again and again and logged
// once; one that goes is found again; events of the time between are forgotten.
func TestAway(t *testing.T) {
	m := newMaster(t, 3)
	for range 3 {
		m.fire(RetryEvery)
	}
	m.open()
	m.ask(&Message{Verb: VerbGet, Ranges: []Range{{Start: base}}})
	if got := m.log.count("no master agent: connection refused"); got != 1 {
		t.Errorf("%d lines say that nobody is there, want 1", got)
	}
	m.refuse <- struct{}{}
	_ = m.conn.Close()
	m.fire(RetryEvery)
	m.s.Notify(base)
	m.fire(RetryEvery)
	m.open()
	m.ask(&Message{Verb: VerbGet, Ranges: []Range{{Start: base}}})
	if got := m.log.count("it has closed the connection"); got != 1 {
		t.Errorf("%d lines say that it has gone, want 1", got)
	}
	if got := m.log.count("AgentX subagent connected"); got != 2 {
		t.Errorf("%d lines say that it is there, want 2", got)
	}
	// Its word that it closes the session is the same.
	m.write(&Message{Verb: VerbClose, Session: 42, Reason: 5})
	m.fire(RetryEvery)
	m.open()
}

// TestPing: a silent master agent is asked; one that does not answer is given up.
func TestPing(t *testing.T) {
	m := newMaster(t, 0)
	m.open()
	m.fire(pingEvery)
	if x := m.respond(StatusOK); x.Verb != VerbPing {
		t.Fatalf("it says %+v, want a ping", x)
	}
	m.fire(pingEvery)
	if x := m.read(); x.Verb != VerbPing {
		t.Fatalf("it says %+v, want a ping", x)
	}
	m.fire(answerTime)
	m.fire(RetryEvery)
	m.open()
	if m.log.count("it does not answer") != 1 {
		t.Error("the log does not say that it was given up")
	}
}

// TestRegister: a region that somebody else has is logged, and the other is there; a
// session that is refused is tried again.
func TestRegister(t *testing.T) {
	m := newMaster(t, 0)
	m.accept()
	m.respond(StatusOK)
	m.respond(StatusDuplicateRegistered)
	if x := m.respond(StatusOK); x.Verb != VerbRegister || !slices.Equal(x.ID, base.Append(2)) {
		t.Fatalf("it says %+v", x)
	}
	m.ask(&Message{Verb: VerbGet, Ranges: []Range{{Start: base}}})
	if m.log.count("1.3.6.1.4.1.9586.1 is not registered: another subagent has it") != 1 {
		t.Error("the log does not say what is not registered")
	}
	_ = m.conn.Close()
	m.fire(RetryEvery)
	m.accept()
	m.respond(267)
	m.fire(RetryEvery)
	m.open()
}

// TestView: many questions are answered from one view, until it is old, or something
// was set.
func TestView(t *testing.T) {
	m := newMaster(t, 0)
	m.open()
	ask := func(want int64) {
		t.Helper()
		m.ask(&Message{Verb: VerbGet, Ranges: []Range{{Start: base}}})
		if got := m.views.Load(); got != want {
			t.Errorf("%d views, want %d", got, want)
		}
	}
	ask(1)
	ask(1)
	m.later.Add(int64(ViewAge - 1))
	ask(1)
	m.later.Add(1)
	ask(2)
	m.ask(&Message{Verb: VerbTestSet, Transaction: 1, VarBinds: []VarBind{{base.Append(1, 5, 1, 7, 2), Integer(5)}}})
	ask(2)
	m.ask(&Message{Verb: VerbCommitSet, Transaction: 1})
	ask(3)
}

// TestLastEvents: what has happened before the end is told, then comes the goodbye.
func TestLastEvents(t *testing.T) {
	m := newMaster(t, 0)
	m.open()
	m.ask(&Message{Verb: VerbGet, Ranges: []Range{{Start: base}}})
	for range 3 {
		m.s.Notify(base)
	}
	m.end()
	for i := range 4 {
		if x := m.read(); x.Verb != VerbNotify && i < 3 || i == 3 && x.Verb != VerbClose {
			t.Errorf("message %d: %+v", i, x)
		}
	}
}

// TestEnd: the end of the context says goodbye, wherever the session is.
func TestEnd(t *testing.T) {
	m := newMaster(t, 0)
	m.open()
	m.ask(&Message{Verb: VerbGet, Ranges: []Range{{Start: base}}})
	go m.end()
	if x := m.read(); x.Verb != VerbClose || x.Reason != reasonShutdown {
		t.Errorf("it says %+v, want a goodbye", x)
	}
	m.end()
	for _, refused := range []int{0, 1} {
		newMaster(t, refused).end() // while it dials, or waits
	}
	m = newMaster(t, 0)
	m.accept()
	m.read()
	m.end() // while it waits for an answer
}

// TestAddress: how the place of a master agent is written.
func TestAddress(t *testing.T) {
	for in, want := range map[string]string{
		"unix:/var/agentx/master": "unix /var/agentx/master", "/run/master": "unix /run/master", "tcp:127.0.0.1:705": "tcp 127.0.0.1:705",
		"tcp6:[::1]:705": "tcp6 [::1]:705", "udp:127.0.0.1:705": "", "tcp:localhost": "", "": "", "unix:": "", "master": "",
	} {
		network, address, err := parseAddress(in)
		if got := strings.TrimSpace(network + " " + address); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	if _, err := New(Options{Address: "udp:127.0.0.1:705"}); err == nil {
		t.Error("a session over UDP")
	}
}

// TestDial: a real socket.
func TestDial(t *testing.T) {
	path := filepath.Join(t.TempDir(), "master")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s, err := New(Options{Address: "unix:" + path, Log: slog.New(slog.DiscardHandler), Name: "x", View: func(context.Context) (*View, error) { return sample(nil), nil }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	m := &master{t: t, conn: conn}
	m.respond(StatusOK)
	if got := names(m.ask(&Message{Verb: VerbGet, Ranges: []Range{{Start: base.Append(1, 1, 0)}}}).VarBinds); !slices.Equal(got, []string{`1.1.0 = STRING: "one"`}) {
		t.Errorf("get: %q", got)
	}
	cancel()
	<-done
}
