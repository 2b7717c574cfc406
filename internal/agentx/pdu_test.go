// SPDX-License-Identifier: Apache-2.0

package agentx

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var exact = cmp.AllowUnexported(Value{})

// messages has one of each verb, and each kind of value.
var messages = []*Message{
	{Verb: VerbOpen, Text: "Keepalived"},
	{Verb: VerbClose, Session: 7, Reason: reasonShutdown},
	{Verb: VerbRegister, Session: 7, Packet: 2, ID: OID{1, 3, 6, 1, 4, 1, 9586, 100, 5, 2}},
	{Verb: VerbGet, Session: 7, Transaction: 3, Packet: 4, Context: "other", Ranges: []Range{{Start: OID{1, 3, 6, 1, 2, 1, 68}}, {Start: OID{1, 3}}}},
	{Verb: VerbGetNext, Ranges: []Range{{OID{1, 3, 6, 1, 4, 1, 9586}, OID{1, 3, 6, 1, 4, 1, 9587}, true}}},
	{Verb: VerbGetBulk, NonRepeaters: 1, Repetitions: 10, Ranges: []Range{{Start: OID{1, 3, 6, 1, 4}}, {Start: OID{1, 3, 6, 1, 300, 1}}}},
	{Verb: VerbTestSet, VarBinds: []VarBind{{OID{1, 3, 6, 1, 4, 7}, Integer(-1)}}},
	{Verb: VerbCommitSet, Transaction: 9}, {Verb: VerbUndoSet, Transaction: 9}, {Verb: VerbCleanupSet, Transaction: 9},
	{Verb: VerbNotify, VarBinds: []VarBind{
		{snmpTrapOID, ObjectID(OID{1, 3, 6, 1, 2, 1, 68, 0, 1})}, {OID{1}, Octets("odd")}, {OID{2}, IPAddress(netip.MustParseAddr("192.0.2.1"))},
		{OID{3}, Counter32(1<<32 + 5)}, {OID{4}, Gauge32(7)}, {OID{5}, TimeTicks(1500 * time.Millisecond)}, {OID{6}, Counter64(1 << 40)},
		{OID{7}, Value{Kind: KindNull}}, {OID{8}, Value{Kind: KindEndOfView}},
	}},
	{Verb: VerbPing, Session: 7},
	{Verb: VerbAddCaps, ID: OID{1, 3, 6, 1, 2, 1, 68}, Text: "VRRP"},
	{Verb: VerbResponse, Uptime: 100, Status: StatusDuplicateRegistered, Index: 2, VarBinds: []VarBind{{OID{1, 2}, Integer(3)}}},
}

// TestMessages: what is written is read as the same, whole and one after the other.
func TestMessages(t *testing.T) {
	var b []byte
	for _, m := range messages {
		b = m.Append(b)
	}
	r := bytes.NewReader(b)
	for _, want := range messages {
		got, err := Read(r)
		if err != nil {
			t.Fatalf("verb %d: %v", want.Verb, err)
		}
		got.Flags &^= flagBigEndian | flagContext
		if d := cmp.Diff(want, got, exact); d != "" {
			t.Errorf("verb %d, -written +read:\n%s", want.Verb, d)
		}
	}
	if _, err := Read(r); err != io.EOF {
		t.Errorf("at the end: %v, want EOF", err)
	}
}

// TestWire has bytes as RFC 2741 draws them: a GetNext in either order, and ours.
func TestWire(t *testing.T) {
	for name, text := range map[string]string{
		"big":    "01 06 10 00 00000001 00000002 00000003 00000018  02 04 01 00 00000001 00002572  01 04 00 00 00000002 00000000",
		"little": "01 06 00 00 01000000 02000000 03000000 18000000  02 04 01 00 01000000 72250000  01 04 00 00 02000000 00000000",
	} {
		raw, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		raw = raw[:len(raw)-4] // the line is padded for the eye
		raw[map[string]int{"big": 19, "little": 16}[name]] = 20
		m, err := Read(bytes.NewReader(raw))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		m.Flags = 0
		if d := cmp.Diff(&Message{Verb: VerbGetNext, Session: 1, Transaction: 2, Packet: 3, Ranges: []Range{{OID{1, 3, 6, 1, 4, 1, 9586}, OID{1, 3, 6, 1, 4, 2}, true}}}, m, exact); d != "" {
			t.Errorf("%s, -want +got:\n%s", name, d)
		}
	}
	got := hex.EncodeToString((&Message{Verb: VerbRegister, Session: 1, Packet: 2, ID: OID{1, 3, 6, 1, 2, 1, 68}}).Append(nil))
	if want := "01031000" + "00000001" + "00000000" + "00000002" + "00000010" + "007f0000" + "02020000" + "00000001" + "00000044"; got != want {
		t.Errorf("register: %s, want %s", got, want)
	}
}

// TestBadMessages: no length is believed.
func TestBadMessages(t *testing.T) {
	whole := (&Message{Verb: VerbTestSet, VarBinds: []VarBind{{OID{1, 3, 6, 1, 4, 7}, Octets("1234567")}}}).Append(nil)
	with := func(at int, b ...byte) []byte {
		out := bytes.Clone(whole)
		copy(out[at:], b)
		return out
	}
	for name, tc := range map[string]struct {
		b     []byte
		parse bool
	}{
		"version":      {with(0, 2), false},
		"huge":         {with(16, 0x7f), false},
		"odd length":   {with(19, whole[19]-1), false},
		"cut":          {whole[:len(whole)-4], false},
		"cut header":   {whole[:10], false},
		"text longer":  {with(len(whole)-12, 0, 0, 0, 200), true},
		"text huge":    {with(len(whole)-12, 0xff, 0xff, 0xff, 0xff), true},
		"oid longer":   {with(headerLen+4, 100), true},
		"oid too long": {with(headerLen+4, 255), true},
		"type":         {with(headerLen, 0, 99), true},
	} {
		_, err := Read(bytes.NewReader(tc.b))
		var p *ParseError
		if err == nil || errors.As(err, &p) != tc.parse {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzRead: nothing that comes breaks the reader, and what it understands is written
// as what it reads again.
func FuzzRead(f *testing.F) {
	for _, m := range messages {
		f.Add(m.Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Read(bytes.NewReader(b))
		if err != nil {
			return
		}
		again, err := Read(bytes.NewReader(m.Append(nil)))
		if err != nil {
			t.Fatalf("written again: %v", err)
		}
		again.Flags, m.Flags = 0, 0
		if d := cmp.Diff(m, again, exact); d != "" {
			t.Errorf("-read +read again:\n%s", d)
		}
	})
}
