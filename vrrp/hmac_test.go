// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"testing"
	"time"
)

// sealedAt is the time of the packets below, computed apart from this code by the
// layout that docs/vrrp.md gives: keys count up from 0.
var sealedAt = time.Unix(1700000000, 500_000_000)

func countUp(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

var sealedPackets = []struct {
	name     string
	packet   string
	advert   Advert
	src, dst netip.Addr
}{
	{"IPv4", "3134c80100640a20c0a84d64010700006553f100800000003948888a1f6f22ec81241dc18addd125",
		Advert{Version: 3, VRID: 52, Priority: 200, Interval: time.Second, Addrs: addrs("192.168.77.100")},
		netip.MustParseAddr("192.168.77.1"), MulticastIPv4},
	{"IPv6", "313396010064c7dffe800000000000000000000000000064010700006553f100800000004a6671281b59b3004779c794c5833d91",
		Advert{Version: 3, VRID: 51, Priority: 150, Interval: time.Second, Addrs: addrs("fe80::64")},
		netip.MustParseAddr("fe80::1"), MulticastIPv6},
}

// sealing is a receiver with auth_hmac at a time that the test moves.
func sealing(a Advert, now *time.Time) *Receiver {
	return &Receiver{
		Rules: Rules{Version: a.Version, VRID: a.VRID, Interval: a.Interval, Addrs: a.Addrs,
			HMAC: &HMAC{Keys: map[uint8][]byte{7: countUp(32)}, Active: 7, Window: 5 * time.Second}},
		Now: func() time.Time { return *now },
	}
}

func TestSeal(t *testing.T) {
	for _, c := range sealedPackets {
		t.Run(c.name, func(t *testing.T) {
			now := sealedAt
			r := sealing(c.advert, &now)
			a := c.advert
			a.Seal = r.Seal()
			got, err := a.Append(nil, c.src, c.dst, ChecksumPseudo)
			if err != nil || hex.EncodeToString(got) != c.packet {
				t.Fatalf("%x, %v; want %s", got, err, c.packet)
			}
			d := Datagram{Src: c.src, Dst: c.dst, TTL: TTL, Payload: got}
			if _, _, err := r.Accept(d); err != nil {
				t.Fatal(err)
			}
			if _, _, err := r.Accept(d); !errors.Is(err, ErrAuth) {
				t.Errorf("once more: %v", err)
			}
			if r.Counters.AuthFailure != 1 || r.Counters.Received != 1 {
				t.Errorf("%+v", r.Counters)
			}
		})
	}
}

// TestSealDraft: the packets of the appendix of draft-cassen-vrrp-auth-hmac, which
// keepalived 2.4 tests itself with, come out byte by byte and are believed. The checksum
// over IPv4 is that of RFC 9568, over IPv6 that towards one unicast peer.
func TestSealDraft(t *testing.T) {
	key := countUp(32)
	const sequence = 0x6800000080000000
	for _, c := range []struct {
		name, packet  string
		src, dst, vip string
		sum           Checksum
	}{
		{"IPv4", "3133c80100644402c0000264" + "010100006800000080000000" + "1b84bc4e8e43892dc6d98448f8ee2265",
			"198.51.100.10", "198.51.100.20", "192.0.2.100", ChecksumPlain},
		{"IPv6", "3133c8010064a2e9fe800000000000000000000000000100" + "010100006800000080000000" + "c8c56146ebfd66ee10ec4d8186461b78",
			"fe80::10", "fe80::20", "fe80::100", ChecksumPseudo},
	} {
		t.Run(c.name, func(t *testing.T) {
			src, dst := netip.MustParseAddr(c.src), netip.MustParseAddr(c.dst)
			a := Advert{Version: 3, VRID: 51, Priority: 200, Interval: time.Second, Addrs: addrs(c.vip), Seal: &Seal{key, 1, sequence}}
			got, err := a.Append(nil, src, dst, c.sum)
			if err != nil || hex.EncodeToString(got) != c.packet {
				t.Fatalf("%x, %v; want %s", got, err, c.packet)
			}
			now := time.Unix(sequence>>32, 0)
			r := &Receiver{Rules: Rules{Version: 3, VRID: 51, Interval: a.Interval, Addrs: a.Addrs, Checksum: c.sum, Peers: []Peer{{Addr: src, MaxTTL: TTL}},
				HMAC: &HMAC{Keys: map[uint8][]byte{1: key}, Window: 5 * time.Second}}, Now: func() time.Time { return now }}
			if _, _, err := r.Accept(Datagram{Src: src, Dst: dst, TTL: TTL, Payload: got}); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestSealBroken: no bit of a packet can be changed, but for those of IPv4's
// checksum, which the checksum itself guards.
func TestSealBroken(t *testing.T) {
	for _, c := range sealedPackets {
		packet, err := hex.DecodeString(c.packet)
		if err != nil {
			t.Fatal(err)
		}
		for bit := range len(packet) * 8 {
			now := sealedAt
			r := sealing(c.advert, &now)
			b := bytes.Clone(packet)
			b[bit/8] ^= 1 << (bit % 8)
			if _, _, err := r.Accept(Datagram{Src: c.src, Dst: c.dst, TTL: TTL, Payload: b}); err == nil {
				t.Errorf("%s: bit %d changed and believed", c.name, bit)
			}
			if len(r.marks) > 0 {
				t.Fatalf("%s: bit %d: a refused packet is remembered", c.name, bit)
			}
		}
	}
}

func TestAntiReplay(t *testing.T) {
	c := sealedPackets[0]
	at := func(when time.Time, sequence uint64, id uint8) Datagram {
		a := c.advert
		if sequence == 0 {
			sequence = sequenceOf(when)
		}
		a.Seal = &Seal{countUp(32), id, sequence}
		b, err := a.Append(nil, c.src, c.dst, ChecksumPseudo)
		if err != nil {
			t.Fatal(err)
		}
		return Datagram{Src: c.src, Dst: c.dst, TTL: TTL, Payload: b}
	}
	bare := c.advert
	plain, err := bare.Append(nil, c.src, c.dst, ChecksumPseudo)
	if err != nil {
		t.Fatal(err)
	}
	unsealed := Datagram{Src: c.src, Dst: c.dst, TTL: TTL, Payload: plain}
	later := sealedAt.Add(time.Second)
	for _, s := range []struct {
		name  string
		rules func(*HMAC)
		first Datagram
		clock time.Duration // of the receiver, after the first
		d     Datagram
		want  error
	}{
		{"the next", nil, at(sealedAt, 0, 7), 0, at(later, 0, 7), nil},
		{"the one before", nil, at(later, 0, 7), 0, at(sealedAt, 0, 7), ErrAuth},
		{"one more in the same moment", nil, at(sealedAt, 0, 7), 0, at(sealedAt, sequenceOf(sealedAt)+1, 7), nil},
		{"too old", nil, at(sealedAt, 0, 7), 7 * time.Second, at(later, 0, 7), ErrAuth},
		{"from the future", nil, at(sealedAt, 0, 7), 0, at(sealedAt.Add(6*time.Second), 0, 7), ErrAuth},
		{"old, by growth alone", func(h *HMAC) { h.Monotonic = true }, at(sealedAt, 0, 7), time.Hour, at(later, 0, 7), nil},
		{"replayed, by growth alone", func(h *HMAC) { h.Monotonic = true }, at(later, 0, 7), time.Hour, at(sealedAt, 0, 7), ErrAuth},
		{"a sender whose clock was set back", nil, at(sealedAt.Add(4*time.Second), 0, 7), -2 * time.Second, at(sealedAt.Add(-3*time.Second), 0, 7), nil},
		{"another key", nil, at(sealedAt, 0, 7), 0, at(later, 0, 8), ErrAuth},
		{"no trailer", nil, at(sealedAt, 0, 7), 0, unsealed, ErrAuthMatch},
		{"no trailer, permissive", func(h *HMAC) { h.Mode = HMACPermissive }, at(sealedAt, 0, 7), 0, unsealed, nil},
		{"a bad one, permissive", func(h *HMAC) { h.Mode = HMACPermissive }, at(sealedAt, 0, 7), 0, at(sealedAt, 0, 7), ErrAuth},
		{"no trailer, receive-only", func(h *HMAC) { h.Mode = HMACReceiveOnly }, at(sealedAt, 0, 7), 0, unsealed, nil},
	} {
		now := sealedAt
		r := sealing(c.advert, &now)
		if s.rules != nil {
			s.rules(r.HMAC)
		}
		if _, _, err := r.Accept(s.first); err != nil {
			t.Fatalf("%s: the first: %v", s.name, err)
		}
		now = now.Add(s.clock)
		if _, _, err := r.Accept(s.d); !errors.Is(err, s.want) || s.want == nil && err != nil {
			t.Errorf("%s: %v, want %v", s.name, err, s.want)
		}
		if receiveOnly := r.HMAC.Mode == HMACReceiveOnly; (r.Seal() == nil) != receiveOnly {
			t.Errorf("%s: seals %v", s.name, !receiveOnly)
		}
	}
}

// TestSealSequence: it grows whatever the clock does, but does not stay ahead of a
// clock that was set back for longer than the window.
func TestSealSequence(t *testing.T) {
	now := sealedAt
	r := sealing(sealedPackets[0].advert, &now)
	last := r.Seal().Sequence
	for _, step := range []time.Duration{0, 0, time.Millisecond, -time.Second, 0, 3 * time.Second} {
		now = now.Add(step)
		if next := r.Seal().Sequence; !later(next, last) {
			t.Fatalf("%x after %x, step %v", next, last, step)
		} else {
			last = next
		}
	}
	now = now.Add(-time.Hour)
	if next := r.Seal().Sequence; next != sequenceOf(now) {
		t.Errorf("%x after an hour back", next)
	}
	r.HMAC.Monotonic = true
	last = r.Seal().Sequence
	now = now.Add(-time.Hour)
	if next := r.Seal().Sequence; next != last+1 {
		t.Errorf("%x after %x, by growth alone", next, last)
	}
}

// TestMarks: many senders do not fill the memory, and the latest are remembered.
func TestMarks(t *testing.T) {
	r := &Receiver{}
	for i := range 20 {
		r.keep(mark{netip.AddrFrom4([4]byte{10, 0, 0, byte(i % 7)}), uint64(i)})
	}
	if len(r.marks) != spareMarks || r.marks[spareMarks-1].sequence != 19 || r.marks[0].sequence != 16 {
		t.Errorf("%v", r.marks)
	}
}
