// SPDX-License-Identifier: Apache-2.0

package bfd

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"
	"time"
)

// sample is a packet as keepalived 2.2.7 sends it when it has come up: state Up, a
// poll, 3 times 100 ms.
const sample = "20e00318112512fb52b34b40000186a0000186a000000000"

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParse(t *testing.T) {
	want := Packet{State: Up, Poll: true, Multiplier: 3, My: 0x112512fb, Your: 0x52b34b40, MinTx: 100 * time.Millisecond, MinRx: 100 * time.Millisecond}
	got, err := Parse(unhex(t, sample))
	if err != nil || got != want {
		t.Fatalf("%+v, %v; want %+v", got, err, want)
	}
	if b := got.Append(nil); !bytes.Equal(b, unhex(t, sample)) {
		t.Errorf("packed again: %x", b)
	}
}

// TestChecks changes one thing of a good packet for each check.
func TestChecks(t *testing.T) {
	set := func(i int, v byte) func([]byte) []byte {
		return func(b []byte) []byte { b[i] = v; return b }
	}
	zero := func(from, to int) func([]byte) []byte {
		return func(b []byte) []byte { clear(b[from:to]); return b }
	}
	then := func(a, b func([]byte) []byte) func([]byte) []byte {
		return func(p []byte) []byte { return b(a(p)) }
	}
	for _, c := range []struct {
		name   string
		change func([]byte) []byte
		want   Fault
	}{
		{"empty", func([]byte) []byte { return nil }, FaultLength},
		{"a byte short", func(b []byte) []byte { return b[:23] }, FaultLength},
		{"a byte long", func(b []byte) []byte { return append(b, 0) }, 0},
		{"version 0", set(0, 0), FaultVersion},
		{"version 2", set(0, 2<<5), FaultVersion},
		{"length below a header", set(3, 23), FaultLength},
		{"length beyond the payload", set(3, 25), FaultLength},
		{"authentication, but no room for it", set(1, 0xe4), FaultLength},
		{"authentication", then(set(1, 0xc4), func(b []byte) []byte { b[3] = 26; return append(b, 1, 2) }), FaultAuth},
		{"multiplier 0", set(2, 0), FaultMultiplier},
		{"multipoint", set(1, 0xc1), FaultMultipoint},
		{"no own discriminator", zero(4, 8), FaultMy},
		{"Up without ours", zero(8, 12), FaultYour},
		{"Init without ours", then(set(1, 0x80), zero(8, 12)), FaultYour},
		{"Down without ours", then(set(1, 0x40), zero(8, 12)), 0},
		{"AdminDown without ours", then(set(1, 0), zero(8, 12)), 0},
		{"poll and final", set(1, 0xf0), FaultFlags},
		{"a reserved diagnostic", set(0, 0x3f), 0},
		{"demand", set(1, 0xc2), 0},
	} {
		_, err := Parse(c.change(unhex(t, sample)))
		var m *Malformed
		if errors.As(err, &m); c.want == 0 && err != nil || c.want != 0 && (m == nil || m.Fault != c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// FuzzParse: what is accepted passes every check, and is packed to what it was.
func FuzzParse(f *testing.F) {
	for _, s := range []string{sample, "20400318112512fb00000000000f4240000186a000000000", "2044031a112512fb00000000000f4240000186a0000000000102", "20"} {
		b, err := hex.DecodeString(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Parse(b)
		if err != nil {
			if m := (*Malformed)(nil); !errors.As(err, &m) || m.Fault == 0 || m.Text == "" {
				t.Fatalf("%#v", err)
			}
			return
		}
		if p.My == 0 || p.Multiplier == 0 || p.Your == 0 && p.State > Down || p.Poll && p.Final {
			t.Fatalf("%+v accepted", p)
		}
		if b[3] == Length {
			if again := p.Append(nil); !bytes.Equal(again, b[:Length]) {
				t.Fatalf("%x packed as %x", b[:Length], again)
			}
		}
	})
}
