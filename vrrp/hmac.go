// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"slices"
	"time"
)

// The trailer that auth_hmac of keepalived 2.4 puts behind an advertisement of any
// version: type, key, two zeros, a sequence of 64 bits, and half of an HMAC-SHA256.
const (
	trailerLen    = 28
	trailerDigest = 12 // where the digest is
	digestLen     = 16
	trailerSHA256 = 1
	checksumAt    = 6
	checksumLen   = 2
)

// HMACMode is what auth_hmac demands.
type HMACMode uint8

// HMACEnforce refuses advertisements without trailer, HMACPermissive takes them,
// and HMACReceiveOnly sends none besides.
const (
	HMACEnforce HMACMode = iota
	HMACPermissive
	HMACReceiveOnly
)

// String gives the keyword's argument.
func (m HMACMode) String() string { return [...]string{"enforce", "permissive", "receive-only"}[m] }

// HMAC is auth_hmac: keys of 32 to 64 bytes by number, one of which signs.
type HMAC struct {
	Keys   map[uint8][]byte
	Active uint8
	// Window is how far the sender's clock may be from ours. Monotonic does without
	// clocks: then only growth counts, and a packet from before a sender's restart may
	// be replayed to whoever has not heard it.
	Window    time.Duration
	Monotonic bool
	Mode      HMACMode
}

// Seal signs one advertisement. All copies of it, to whatever peers, have one
// sequence.
type Seal struct {
	Key      []byte
	ID       uint8
	Sequence uint64 // seconds of the Unix epoch, 16 bits of their fraction, 16 to tell packets apart
}

// append signs the message b[at:] from src, whose checksum does not matter.
func (s *Seal) append(b []byte, at int, src netip.Addr) []byte {
	end := len(b)
	b = append(b, trailerSHA256, s.ID, 0, 0)
	b = binary.BigEndian.AppendUint64(b, s.Sequence)
	b = append(b, make([]byte, digestLen)...)
	digest := trailerHMAC(s.Key, b[at:], src)
	copy(b[end+trailerDigest:], digest[:])
	return b
}

// trailerHMAC covers family, version, router and source, and then the message with
// its trailer, the checksum and the digest as zeros: the checksum of IPv6 is of the
// whole, and the copies to unicast peers differ in it.
func trailerHMAC(key, message []byte, src netip.Addr) [digestLen]byte {
	var head [20]byte
	head[0], head[1], head[2] = 6, message[0]>>4, message[1]
	if src.Is4() {
		head[0] = 4
	}
	copy(head[4:], src.AsSlice())
	var zeros [digestLen]byte
	m := hmac.New(sha256.New, key)
	m.Write(head[:])
	m.Write(message[:checksumAt])
	m.Write(zeros[:checksumLen])
	m.Write(message[checksumAt+checksumLen : len(message)-digestLen])
	m.Write(zeros[:])
	return [digestLen]byte(m.Sum(nil))
}

// sequenceOf is the sequence that a clock gives.
func sequenceOf(t time.Time) uint64 {
	return uint64(uint32(t.Unix()))<<32 | uint64(t.Nanosecond())<<16/1_000_000_000<<16
}

// later compares sequences as RFC 1982 does: they may wrap.
func later(a, b uint64) bool { return int64(a-b) > 0 }

// apart is how many seconds a is ahead of b.
func apart(a, b uint64) time.Duration {
	return time.Duration(int32(uint32(a>>32)-uint32(b>>32))) * time.Second
}

// mark is the last sequence of one sender.
type mark struct {
	src      netip.Addr
	sequence uint64
}

// spareMarks is how many senders are remembered beside the unicast peers: of one
// virtual router more than two at a time are rare.
const spareMarks = 4

func (r *Receiver) now() time.Time {
	if r.Now != nil {
		return r.Now()
	}
	return time.Now()
}

// Seal gives what the next advertisement of this router is signed with; nil without
// auth_hmac.
func (r *Receiver) Seal() *Seal {
	h := r.HMAC
	if h == nil || h.Mode == HMACReceiveOnly {
		return nil
	}
	now := sequenceOf(r.now())
	// A clock that was set back would leave us where nobody believes us any more.
	if later(now, r.sealed) || !h.Monotonic && apart(r.sealed, now) > h.Window {
		r.sealed = now
	} else {
		r.sealed++
	}
	return &Seal{h.Keys[h.Active], h.Active, r.sealed}
}

// checkHMAC looks at what follows the message of that length; the mark is to be
// kept once everything else is right.
func (r *Receiver) checkHMAC(pdu []byte, length int, src netip.Addr) (m mark, sealed bool, err error) {
	h := r.HMAC
	if len(pdu) != length+trailerLen {
		if h.Mode == HMACEnforce {
			return m, false, malformed(ErrAuthMatch, "no trailer of auth_hmac")
		}
		return m, false, nil
	}
	t := pdu[length:]
	if t[0] != trailerSHA256 || t[2] != 0 || t[3] != 0 {
		return m, false, malformed(ErrAuthType, "trailer of type %d", t[0])
	}
	m = mark{src, binary.BigEndian.Uint64(t[4:])}
	// Before the digest, which costs more: this grants nothing.
	now := sequenceOf(r.now())
	if d := apart(m.sequence, now); !h.Monotonic && (d > h.Window || d < -h.Window) {
		return m, false, malformed(ErrAuth, "its clock is %v from ours, %v are allowed", d, h.Window)
	}
	key, ok := h.Keys[t[1]]
	if !ok {
		return m, false, malformed(ErrAuth, "key %d is not configured", t[1])
	}
	want := trailerHMAC(key, pdu, src)
	if !hmac.Equal(want[:], t[trailerDigest:]) {
		return m, false, malformed(ErrAuth, "wrong digest by key %d", t[1])
	}
	for _, old := range r.marks {
		// One that is out of the window only orders what the window refuses; without it
		// a sender whose clock was set back is heard again.
		if d := apart(old.sequence, now); old.src == src && !later(m.sequence, old.sequence) && (h.Monotonic || d <= h.Window && d >= -h.Window) {
			return m, false, malformed(ErrAuth, "sequence %#x after %#x: replayed", m.sequence, old.sequence)
		}
	}
	return m, true, nil
}

// keep remembers a mark as the latest; the oldest goes when there are too many.
func (r *Receiver) keep(m mark) {
	r.marks = slices.DeleteFunc(r.marks, func(old mark) bool { return old.src == m.src })
	if len(r.marks) >= spareMarks+len(r.Peers) {
		r.marks = slices.Delete(r.marks, 0, 1)
	}
	r.marks = append(r.marks, m)
}
