// SPDX-License-Identifier: Apache-2.0

package agentx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Verb is what a message of the protocol is (RFC 2741, 6.1).
type Verb uint8

// The messages that are sent or understood.
const (
	VerbOpen       Verb = 1
	VerbClose      Verb = 2
	VerbRegister   Verb = 3
	VerbGet        Verb = 5
	VerbGetNext    Verb = 6
	VerbGetBulk    Verb = 7
	VerbTestSet    Verb = 8
	VerbCommitSet  Verb = 9
	VerbUndoSet    Verb = 10
	VerbCleanupSet Verb = 11
	VerbNotify     Verb = 12
	VerbPing       Verb = 13
	VerbAddCaps    Verb = 16
	VerbResponse   Verb = 18
)

const (
	version         = 1
	headerLen       = 20
	flagContext     = 1 << 3
	flagBigEndian   = 1 << 4
	maxPayload      = 1 << 20 // more than any request that makes sense
	registerDefault = 127     // priority (RFC 2741, 6.2.3)
	reasonShutdown  = 5
)

// Range is what a request wants: with GetNext the first object from Start, without it
// unless Include, and before End; an empty End bounds nothing.
type Range struct {
	Start, End OID
	Include    bool
}

// Message is one message, with the fields that its verb has.
type Message struct {
	Verb        Verb
	Flags       uint8
	Session     uint32
	Transaction uint32
	Packet      uint32

	Context string // "": the default one

	Ranges       []Range   // Get, GetNext, GetBulk
	NonRepeaters int       // GetBulk
	Repetitions  int       // GetBulk
	VarBinds     []VarBind // TestSet, Notify, Response

	ID     OID    // Open, Register, AddCaps
	Text   string // Open, AddCaps
	Reason uint8  // Close

	Uptime uint32 // Response
	Status Status // Response
	Index  int    // Response: of the variable that failed, from 1
}

// errShort says that a message ends before what it has to hold.
var errShort = errors.New("message too short")

// reader takes fields off a payload; the first fault stays.
type reader struct {
	b     []byte
	order binary.ByteOrder
	err   error
}

// take returns the next n bytes, nil after a fault.
func (r *reader) take(n int) []byte {
	if r.err != nil {
		return nil
	}
	if n < 0 || n > len(r.b) {
		r.err = errShort
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) u8() uint8 {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return r.order.Uint16(b)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return r.order.Uint32(b)
	}
	return 0
}

// oid reads an identifier and its mark "include".
func (r *reader) oid() (OID, bool) {
	head := r.take(4)
	if head == nil {
		return nil, false
	}
	n, prefix, include := int(head[0]), head[1], head[2]
	var o OID
	if prefix != 0 {
		o = internet.Append(uint32(prefix))
	}
	if len(o)+n > maxSubIDs {
		r.err = fmt.Errorf("identifier of %d numbers", len(o)+n)
		return nil, false
	}
	if len(r.b) < 4*n {
		r.err = errShort
		return nil, false
	}
	for range n {
		o = append(o, r.u32())
	}
	return o, include != 0
}

func (r *reader) octets() string {
	n := r.u32()
	if uint64(n) > uint64(len(r.b)) {
		if r.err == nil {
			r.err = errShort
		}
		return ""
	}
	s := string(r.take(int(n)))
	r.take(padding(int(n)))
	return s
}

func padding(n int) int { return -n & 3 }

func (r *reader) varBind() VarBind {
	kind := Kind(r.u16())
	r.take(2)
	name, _ := r.oid()
	v := Value{Kind: kind}
	switch kind {
	case KindInteger, KindCounter32, KindGauge32, KindTimeTicks:
		v.num = uint64(r.u32())
	case KindCounter64:
		if b := r.take(8); b != nil {
			v.num = r.order.Uint64(b)
		}
	case KindOctets, KindIPAddress, KindOpaque:
		v.text = r.octets()
	case KindOID:
		v.oid, _ = r.oid()
	case KindNull, KindNoSuchObject, KindNoSuchInstance, KindEndOfView:
	default:
		if r.err == nil {
			r.err = fmt.Errorf("value of unknown type %d", kind)
		}
	}
	return VarBind{name, v}
}

func (r *reader) varBinds() (out []VarBind) {
	for r.err == nil && len(r.b) > 0 {
		out = append(out, r.varBind())
	}
	return out
}

func (r *reader) ranges() (out []Range) {
	for r.err == nil && len(r.b) > 0 {
		start, include := r.oid()
		end, _ := r.oid()
		out = append(out, Range{start, end, include})
	}
	return out
}

// ParseError says that a message is not one. Message has its header.
type ParseError struct {
	Message *Message
	Err     error
}

// Error names the message.
func (e *ParseError) Error() string {
	return fmt.Sprintf("AgentX message %d: %v", e.Message.Verb, e.Err)
}

// Unwrap gives what is wrong.
func (e *ParseError) Unwrap() error { return e.Err }

// Read reads one message. After a *ParseError the next can be read; after any other
// error nothing can.
func Read(from io.Reader) (*Message, error) {
	var head [headerLen]byte
	if _, err := io.ReadFull(from, head[:]); err != nil {
		return nil, err
	}
	if head[0] != version {
		return nil, fmt.Errorf("AgentX version %d", head[0])
	}
	m := &Message{Verb: Verb(head[1]), Flags: head[2]}
	r := &reader{order: binary.LittleEndian}
	if m.Flags&flagBigEndian != 0 {
		r.order = binary.BigEndian
	}
	m.Session, m.Transaction, m.Packet = r.order.Uint32(head[4:]), r.order.Uint32(head[8:]), r.order.Uint32(head[12:])
	n := r.order.Uint32(head[16:])
	if n > maxPayload || n%4 != 0 {
		return nil, fmt.Errorf("AgentX message of %d bytes", n)
	}
	r.b = make([]byte, n)
	if _, err := io.ReadFull(from, r.b); err != nil {
		return nil, err
	}
	m.parse(r)
	if r.err != nil {
		return m, &ParseError{m, r.err}
	}
	return m, nil
}

func (m *Message) parse(r *reader) {
	if m.Flags&flagContext != 0 && m.Verb != VerbResponse && m.Verb != VerbOpen && m.Verb != VerbClose {
		m.Context = r.octets()
	}
	switch m.Verb {
	case VerbGet, VerbGetNext:
		m.Ranges = r.ranges()
	case VerbGetBulk:
		m.NonRepeaters, m.Repetitions = int(r.u16()), int(r.u16())
		m.Ranges = r.ranges()
	case VerbTestSet, VerbNotify:
		m.VarBinds = r.varBinds()
	case VerbResponse:
		m.Uptime, m.Status, m.Index = r.u32(), Status(r.u16()), int(r.u16())
		m.VarBinds = r.varBinds()
	case VerbOpen:
		r.take(4)
		m.ID, _ = r.oid()
		m.Text = r.octets()
	case VerbAddCaps:
		m.ID, _ = r.oid()
		m.Text = r.octets()
	case VerbRegister:
		r.take(4)
		m.ID, _ = r.oid()
	case VerbClose:
		m.Reason = r.u8()
		r.take(3)
	}
}

// writer appends fields, in the order of the network.
type writer struct{ b []byte }

func (w *writer) u8(n ...uint8) { w.b = append(w.b, n...) }
func (w *writer) u16(n uint16)  { w.b = binary.BigEndian.AppendUint16(w.b, n) }
func (w *writer) u32(n uint32)  { w.b = binary.BigEndian.AppendUint32(w.b, n) }
func (w *writer) u64(n uint64)  { w.b = binary.BigEndian.AppendUint64(w.b, n) }
func (w *writer) bool(v bool)   { w.u8(map[bool]uint8{true: 1}[v]) }
func (w *writer) pad(to int)    { w.b = append(w.b, make([]byte, padding(to))...) }
func (w *writer) octets(s string) {
	w.u32(uint32(len(s)))
	w.b = append(w.b, s...)
	w.pad(len(s))
}

func (w *writer) oid(o OID, include bool) {
	prefix := uint8(0)
	if len(o) > len(internet) && internet.Contains(o) && o[len(internet)] > 0 && o[len(internet)] < 256 {
		prefix = uint8(o[len(internet)])
		o = o[len(internet)+1:]
	}
	w.u8(uint8(len(o)), prefix)
	w.bool(include)
	w.u8(0)
	for _, n := range o {
		w.u32(n)
	}
}

func (w *writer) varBinds(list []VarBind) {
	for _, v := range list {
		w.u16(uint16(v.Value.Kind))
		w.u16(0)
		w.oid(v.Name, false)
		switch v.Value.Kind {
		case KindInteger, KindCounter32, KindGauge32, KindTimeTicks:
			w.u32(uint32(v.Value.num))
		case KindCounter64:
			w.u64(v.Value.num)
		case KindOctets, KindIPAddress, KindOpaque:
			w.octets(v.Value.text)
		case KindOID:
			w.oid(v.Value.oid, false)
		}
	}
}

func (w *writer) ranges(list []Range) {
	for _, r := range list {
		w.oid(r.Start, r.Include)
		w.oid(r.End, false)
	}
}

// Append appends the message as it goes over the wire, in the order of the network.
func (m *Message) Append(b []byte) []byte {
	start := len(b)
	w := &writer{b}
	flags := m.Flags&^flagContext | flagBigEndian
	if m.Context != "" {
		flags |= flagContext
	}
	w.u8(version, uint8(m.Verb), flags, 0)
	w.u32(m.Session)
	w.u32(m.Transaction)
	w.u32(m.Packet)
	w.u32(0)
	if m.Context != "" {
		w.octets(m.Context)
	}
	switch m.Verb {
	case VerbGet, VerbGetNext:
		w.ranges(m.Ranges)
	case VerbGetBulk:
		w.u16(uint16(m.NonRepeaters))
		w.u16(uint16(m.Repetitions))
		w.ranges(m.Ranges)
	case VerbTestSet, VerbNotify:
		w.varBinds(m.VarBinds)
	case VerbResponse:
		w.u32(m.Uptime)
		w.u16(uint16(m.Status))
		w.u16(uint16(m.Index))
		w.varBinds(m.VarBinds)
	case VerbOpen:
		w.u8(0, 0, 0, 0)
		w.oid(m.ID, false)
		w.octets(m.Text)
	case VerbAddCaps:
		w.oid(m.ID, false)
		w.octets(m.Text)
	case VerbRegister:
		w.u8(0, registerDefault, 0, 0)
		w.oid(m.ID, false)
	case VerbClose:
		w.u8(m.Reason, 0, 0, 0)
	}
	binary.BigEndian.PutUint32(w.b[start+16:], uint32(len(w.b)-start-headerLen))
	return w.b
}

// reply is a response to m.
func (m *Message) reply(list []VarBind) *Message {
	return &Message{Verb: VerbResponse, Session: m.Session, Transaction: m.Transaction, Packet: m.Packet, VarBinds: slices.Clip(list)}
}
