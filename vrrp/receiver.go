// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// The classes of refused packets; ask with errors.Is. Each has its counter in
// [Counters].
var (
	ErrLength    = errors.New("length")
	ErrVersion   = errors.New("version")
	ErrType      = errors.New("type")
	ErrVRID      = errors.New("virtual router id")
	ErrTTL       = errors.New("TTL")
	ErrChecksum  = errors.New("checksum")
	ErrInterval  = errors.New("advertisement interval")
	ErrAddrs     = errors.New("address list")
	ErrAuthType  = errors.New("invalid authentication type")
	ErrAuthMatch = errors.New("authentication type mismatch")
	ErrAuth      = errors.New("authentication")
	ErrSource    = errors.New("source")
)

// Malformed is a packet that was refused.
type Malformed struct {
	Class error // one of the Err… of this package
	Text  string
}

// Error names the class and what was found.
func (m *Malformed) Error() string { return m.Class.Error() + ": " + m.Text }

// Unwrap gives the class.
func (m *Malformed) Unwrap() error { return m.Class }

func malformed(class error, format string, args ...any) error {
	return &Malformed{class, fmt.Sprintf(format, args...)}
}

// Counters count packets of one instance. Names follow the statistics of
// keepalived; the last four have no place there.
type Counters struct {
	Received, PriorityZero           uint64
	Length, TTL, Type                uint64
	Interval, Addrs                  uint64
	AuthType, AuthMatch, AuthFailure uint64

	Version, VRID, Checksum, Source uint64
}

func (c *Counters) of(class error) *uint64 {
	switch class {
	case ErrLength:
		return &c.Length
	case ErrVersion:
		return &c.Version
	case ErrType:
		return &c.Type
	case ErrVRID:
		return &c.VRID
	case ErrTTL:
		return &c.TTL
	case ErrChecksum:
		return &c.Checksum
	case ErrInterval:
		return &c.Interval
	case ErrAddrs:
		return &c.Addrs
	case ErrAuthType:
		return &c.AuthType
	case ErrAuthMatch:
		return &c.AuthMatch
	case ErrAuth:
		return &c.AuthFailure
	}
	return &c.Source
}

// Peer is one unicast peer; a TTL outside MinTTL…MaxTTL is refused. Limits of
// 0 and 255 let every TTL pass, which is keepalived's default.
type Peer struct {
	Addr           netip.Addr
	MinTTL, MaxTTL uint8
}

// AddrCheck says what to do with an advertisement that lists other addresses.
type AddrCheck uint8

// AddrCount counts and believes, as keepalived does since 2.3.3 and RFC 5798
// 7.1 allows; AddrDrop drops, as older ones do: two masters are the result.
// AddrSkip does not look.
const (
	AddrCount AddrCheck = iota
	AddrDrop
	AddrSkip
)

// Rules are what an instance expects of the packets of its peers.
type Rules struct {
	Version  int
	VRID     uint8
	Auth     AuthType
	Password [8]byte       // of AuthPass, and the key of AuthAH; padded with zeros
	HMAC     *HMAC         // nil without auth_hmac
	Interval time.Duration // version 2 drops any other
	Addrs    []netip.Addr
	Peers    []Peer // not empty: unicast

	CheckUnicastSrc      bool // refuse unicast from others than Peers
	AddrCheck            AddrCheck
	SkipCheckAdvAddr     bool // believe the addresses of a master once they were checked
	Checksum             Checksum
	OldUnicastChecksum   bool // unicast version 3 may be summed for the multicast group, as keepalived before 1.3.6
	AcceptEitherChecksum bool // take version 3 over IPv4 with and without pseudo header
	Multicast            netip.Addr
}

// Datagram is a received packet.
type Datagram struct {
	Src, Dst netip.Addr
	TTL      uint8
	// IP is the whole IPv4 packet; an authentication header needs it. Nil with
	// IPv6, whose sockets give no header.
	IP      []byte
	Payload []byte // what follows the IP header
	AH      bool   // Payload begins with an authentication header
}

// ParseIPv4 splits a packet of a raw IPv4 socket. The packet is kept, not
// copied. Errors are *[Malformed].
func ParseIPv4(b []byte) (Datagram, error) {
	if len(b) < 20 || b[0]>>4 != 4 {
		return Datagram{}, malformed(ErrLength, "%d bytes are no IPv4 packet", len(b))
	}
	head, total := int(b[0]&0xf)*4, int(binary.BigEndian.Uint16(b[2:]))
	if head < 20 || total < head || total > len(b) {
		return Datagram{}, malformed(ErrLength, "IPv4 header of %d bytes, total length %d, received %d", head, total, len(b))
	}
	if binary.BigEndian.Uint16(b[6:])&0x3fff != 0 {
		return Datagram{}, malformed(ErrLength, "a fragment")
	}
	if b[9] != Protocol && b[9] != ProtocolAH {
		return Datagram{}, malformed(ErrType, "IP protocol %d", b[9])
	}
	return Datagram{
		Src: netip.AddrFrom4([4]byte(b[12:16])), Dst: netip.AddrFrom4([4]byte(b[16:20])),
		TTL: b[8], IP: b[:total], Payload: b[head:total], AH: b[9] == ProtocolAH,
	}, nil
}

// Receiver decides what to believe. It belongs to one goroutine.
type Receiver struct {
	Rules
	Counters Counters
	// Now is the time of the host, for auth_hmac; nil means time.Now.
	Now func() time.Time

	addrs    []netip.Addr // of the last packet, so that the next needs no memory
	checked  netip.Addr   // last master whose addresses were right
	sequence uint32       // of AuthAH: the last one accepted or given out
	sealed   uint64       // of auth_hmac: the last sequence given out
	marks    []mark       // of auth_hmac, the latest sender last
}

// Notice is what was odd about an advertisement that is believed all the same.
type Notice struct {
	Interval bool  // version 3: differs from ours, to be learned
	Addrs    error // other addresses than ours; nil when they agree
}

// Accept checks in keepalived's order and counts what it refuses. An error is
// always *[Malformed], and the packet must then not reach a [Machine]. The list of
// addresses is valid until the next call.
func (r *Receiver) Accept(d Datagram) (Advert, Notice, error) {
	a, n, err := r.accept(d)
	if err != nil {
		var m *Malformed
		errors.As(err, &m)
		*r.Counters.of(m.Class)++
		return Advert{}, Notice{}, err
	}
	r.Counters.Received++
	if a.Priority == ReleasePriority {
		r.Counters.PriorityZero++
	}
	return a, n, nil
}

// NextSequence is the number of the next packet this router sends with AuthAH.
// Sending and receiving share one counter, so that whoever takes over goes on
// where the last master stopped and no peer takes its packets for replayed ones.
func (r *Receiver) NextSequence() uint32 {
	r.sequence++
	return r.sequence
}

func (r *Receiver) accept(d Datagram) (Advert, Notice, error) {
	if !d.Src.IsValid() || !d.Dst.IsValid() || d.Src.Is4() != d.Dst.Is4() {
		return Advert{}, Notice{}, malformed(ErrSource, "%v to %v", d.Src, d.Dst)
	}
	if err := r.checkTTL(d); err != nil {
		return Advert{}, Notice{}, err
	}
	pdu, ah, err := splitAH(d)
	if err != nil {
		return Advert{}, Notice{}, err
	}
	a, length, err := parse(pdu, d.Src, r.addrs[:0])
	if err != nil {
		return a, Notice{}, err
	}
	r.addrs = a.Addrs
	if a.Version != r.Version {
		return a, Notice{}, malformed(ErrVersion, "received %d, expected %d", a.Version, r.Version)
	}
	if a.VRID != r.VRID {
		return a, Notice{}, malformed(ErrVRID, "received %d, expected %d", a.VRID, r.VRID)
	}
	var m mark
	sealed := false
	if r.HMAC != nil {
		if m, sealed, err = r.checkHMAC(pdu, length, d.Src); err != nil {
			return a, Notice{}, err
		}
	}
	if err := r.checkAuth(a, d, ah); err != nil {
		return a, Notice{}, err
	}
	if sealed && d.Src.Is6() {
		length += trailerLen
	}
	if !r.checksumGood(a, pdu[:length], d) {
		return a, Notice{}, malformed(ErrChecksum, "received %#04x", binary.BigEndian.Uint16(pdu[6:]))
	}
	var n Notice
	if a.Interval == 0 {
		return a, n, malformed(ErrInterval, "received 0")
	}
	if n.Interval = a.Interval != r.Interval; n.Interval && a.Version == 2 {
		return a, n, malformed(ErrInterval, "received %v, expected %v", a.Interval, r.Interval)
	}
	if n.Addrs = r.checkAddrs(a, d.Src); n.Addrs != nil && r.AddrCheck == AddrDrop {
		return a, n, n.Addrs
	}
	if n.Addrs != nil {
		r.Counters.Addrs++
	}
	// Last of all, so that no packet that is refused spoils the window.
	if ah != nil {
		r.sequence = ah.sequence
	}
	if sealed {
		r.keep(m)
	}
	return a, n, nil
}

func (r *Receiver) checkTTL(d Datagram) error {
	if len(r.Peers) == 0 || d.Dst.IsMulticast() {
		if d.TTL != TTL {
			return malformed(ErrTTL, "received %d, expected %d", d.TTL, TTL)
		}
		return nil
	}
	i := slices.IndexFunc(r.Peers, func(p Peer) bool { return p.Addr == d.Src.WithZone(p.Addr.Zone()) })
	if i < 0 {
		if r.CheckUnicastSrc {
			return malformed(ErrSource, "%v is no unicast peer", d.Src)
		}
		return nil
	}
	if p := r.Peers[i]; d.TTL < p.MinTTL || d.TTL > p.MaxTTL {
		return malformed(ErrTTL, "received %d, expected %d to %d from %v", d.TTL, p.MinTTL, p.MaxTTL, p.Addr)
	}
	return nil
}

func (r *Receiver) checkAuth(a Advert, d Datagram, ah *authHeader) error {
	if a.Version == 3 {
		if ah != nil {
			return malformed(ErrAuthMatch, "authentication header with version 3")
		}
		return nil
	}
	if a.Auth > AuthAH {
		return malformed(ErrAuthType, "received %v", a.Auth)
	}
	if a.Auth != r.Auth || (ah != nil) != (a.Auth == AuthAH) {
		return malformed(ErrAuthMatch, "received %v, expected %v", a.Auth, r.Auth)
	}
	switch r.Auth {
	case AuthPass:
		if subtle.ConstantTimeCompare(a.Password[:], r.Password[:]) == 0 {
			return malformed(ErrAuth, "invalid password")
		}
	case AuthAH:
		return ah.verify(d, r.Password, r.sequence)
	}
	return nil
}

// checksumGood tries what the rules allow. A good sum over data that holds its
// own checksum is zero.
func (r *Receiver) checksumGood(a Advert, pdu []byte, d Datagram) bool {
	good := func(dst netip.Addr, sum Checksum) bool {
		return checksum(pdu, a.pseudo(d.Src, dst, sum, len(pdu))) == 0
	}
	if good(d.Dst, r.Checksum) {
		return true
	}
	if a.Version != 3 || d.Src.Is6() {
		return false
	}
	if r.OldUnicastChecksum && len(r.Peers) > 0 && good(r.group(), ChecksumPseudo) {
		return true
	}
	return r.AcceptEitherChecksum && (good(d.Dst, ChecksumPlain) || good(d.Dst, ChecksumPseudo))
}

func (r *Receiver) group() netip.Addr {
	if r.Multicast.IsValid() {
		return r.Multicast
	}
	return MulticastIPv4
}

// checkAddrs compares as sets: RFC 5798 asks for no order but the first.
func (r *Receiver) checkAddrs(a Advert, src netip.Addr) error {
	if r.AddrCheck == AddrSkip || r.SkipCheckAdvAddr && src == r.checked {
		return nil
	}
	if len(a.Addrs) != len(r.Addrs) {
		return malformed(ErrAddrs, "expected %d VIPs but received %d", len(r.Addrs), len(a.Addrs))
	}
	for _, addr := range r.Addrs {
		if !slices.Contains(a.Addrs, addr) {
			return malformed(ErrAddrs, "%v is missing", addr)
		}
	}
	r.checked = src
	return nil
}

// Count adds one to the counter of a class.
func (c *Counters) Count(class error) { *c.of(class)++ }

// PeekVRID reads for which virtual router a packet is, without believing it;
// false when it is too short to say.
func PeekVRID(d Datagram) (uint8, bool) {
	pdu, _, err := splitAH(d)
	if err != nil || len(pdu) < 2 {
		return 0, false
	}
	return pdu[1], true
}
