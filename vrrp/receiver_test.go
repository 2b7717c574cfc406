// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
	"time"
)

// packetOf sends what a peer with that advertisement would.
func packetOf(t *testing.T, a Advert, dst netip.Addr, ttl uint8, sum Checksum) Datagram {
	t.Helper()
	b, err := a.AppendIPv4(nil, vrrpSrc, dst, 1, ttl, sum, secret, 1)
	if err != nil {
		t.Fatal(err)
	}
	d, err := ParseIPv4(b)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// reseal repairs the checksum of a version 2 message after a change.
func reseal(b []byte) {
	b[6], b[7] = 0, 0
	binary.BigEndian.PutUint16(b[6:], checksum(b, 0))
}

func TestAcceptRefuses(t *testing.T) {
	v2, pass, ah := captures4[0].advert, captures4[2].advert, captures4[3].advert
	v3 := captures4[5].advert
	for _, c := range []struct {
		name   string
		advert Advert
		rules  func(*Rules)
		packet func(*Datagram)
		want   error
		count  func(*Counters) uint64
	}{
		{"short header", v2, nil, func(d *Datagram) { d.Payload = d.Payload[:7] }, ErrLength, func(c *Counters) uint64 { return c.Length }},
		{"authentication data missing", v2, nil, func(d *Datagram) { d.Payload = d.Payload[:12] }, ErrLength, func(c *Counters) uint64 { return c.Length }},
		{"fewer addresses than said", v2, nil, func(d *Datagram) { d.Payload[3] = 9 }, ErrLength, func(c *Counters) uint64 { return c.Length }},
		{"version 1", v2, nil, func(d *Datagram) { d.Payload[0] = 0x11 }, ErrVersion, func(c *Counters) uint64 { return c.Version }},
		{"version 3 at 2", v3, func(r *Rules) { r.Version = 2 }, nil, ErrVersion, func(c *Counters) uint64 { return c.Version }},
		{"type 2", v2, nil, func(d *Datagram) { d.Payload[0] = 0x22 }, ErrType, func(c *Counters) uint64 { return c.Type }},
		{"router 0", v2, nil, func(d *Datagram) { d.Payload[1] = 0 }, ErrVRID, func(c *Counters) uint64 { return c.VRID }},
		{"another router", v2, func(r *Rules) { r.VRID = 52 }, nil, ErrVRID, func(c *Counters) uint64 { return c.VRID }},
		{"TTL 254", v2, nil, func(d *Datagram) { d.TTL = 254 }, ErrTTL, func(c *Counters) uint64 { return c.TTL }},
		{"flipped bit", v2, nil, func(d *Datagram) { d.Payload[9] ^= 1 }, ErrChecksum, func(c *Counters) uint64 { return c.Checksum }},
		{"v3 without pseudo header", v3, func(r *Rules) { r.Checksum = ChecksumPlain }, nil, ErrChecksum, func(c *Counters) uint64 { return c.Checksum }},
		{"v2 other interval", v2, func(r *Rules) { r.Interval = 2 * time.Second }, nil, ErrInterval, func(c *Counters) uint64 { return c.Interval }},
		{"interval 0", v2, nil, func(d *Datagram) { d.Payload[5] = 0; reseal(d.Payload) }, ErrInterval, func(c *Counters) uint64 { return c.Interval }},
		{"addresses, old rule", v2, func(r *Rules) { r.Addrs, r.AddrCheck = addrs("192.168.50.7"), AddrDrop }, nil, ErrAddrs, func(c *Counters) uint64 { return c.Addrs }},
		{"authentication 3", v2, nil, func(d *Datagram) { d.Payload[4] = 3; reseal(d.Payload) }, ErrAuthType, func(c *Counters) uint64 { return c.AuthType }},
		{"PASS at none", pass, func(r *Rules) { r.Auth = AuthNone }, nil, ErrAuthMatch, func(c *Counters) uint64 { return c.AuthMatch }},
		{"says AH without header", v2, func(r *Rules) { r.Auth = AuthAH }, func(d *Datagram) { d.Payload[4] = 2; reseal(d.Payload) }, ErrAuthMatch, func(c *Counters) uint64 { return c.AuthMatch }},
		{"another password", pass, func(r *Rules) { r.Password[7] = 'x' }, nil, ErrAuth, func(c *Counters) uint64 { return c.AuthFailure }},
		{"AH another key", ah, func(r *Rules) { r.Password[0] = 'x' }, nil, ErrAuth, func(c *Counters) uint64 { return c.AuthFailure }},
		{"AH flipped bit", ah, nil, func(d *Datagram) { d.IP[len(d.IP)-1] ^= 1 }, ErrAuth, func(c *Counters) uint64 { return c.AuthFailure }},
		{"AH of another sender", ah, nil, func(d *Datagram) { d.Payload[7]++ }, ErrAuth, func(c *Counters) uint64 { return c.AuthFailure }},
		{"AH cut off", ah, nil, func(d *Datagram) { d.Payload = d.Payload[:20] }, ErrLength, func(c *Counters) uint64 { return c.Length }},
		{"AH before TCP", ah, nil, func(d *Datagram) { d.Payload[0] = 6 }, ErrType, func(c *Counters) uint64 { return c.Type }},
		{"no peer", v2, func(r *Rules) { r.Peers, r.CheckUnicastSrc = []Peer{{vrrpPeer, 0, 255}}, true }, func(d *Datagram) { d.Dst = vrrpPeer }, ErrSource, func(c *Counters) uint64 { return c.Source }},
		{"multicast at unicast peers", v2, func(r *Rules) { r.Peers = []Peer{{vrrpSrc, 0, 255}} }, func(d *Datagram) { d.TTL = 254 }, ErrTTL, func(c *Counters) uint64 { return c.TTL }},
		{"peer with min_ttl", v2, func(r *Rules) { r.Peers = []Peer{{vrrpSrc, 255, 255}} }, func(d *Datagram) { d.Dst, d.TTL = vrrpPeer, 254 }, ErrTTL, func(c *Counters) uint64 { return c.TTL }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := receiverOf(c.advert)
			if c.rules != nil {
				c.rules(&r.Rules)
			}
			d := packetOf(t, c.advert, MulticastIPv4, TTL, ChecksumPseudo)
			if c.packet != nil {
				c.packet(&d)
			}
			_, _, err := r.Accept(d)
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if got := c.count(&r.Counters); got != 1 || sum(r.Counters) != 1 {
				t.Errorf("counters %+v", r.Counters)
			}
		})
	}
}

func TestAcceptTolerates(t *testing.T) {
	v2, v3 := captures4[0].advert, captures4[6].advert
	for _, c := range []struct {
		name   string
		advert Advert
		sum    Checksum
		dst    netip.Addr
		rules  func(*Rules)
		packet func(*Datagram)
		notice string
	}{
		{"padding", v2, 0, MulticastIPv4, nil, func(d *Datagram) { d.Payload = append(d.Payload, 1, 2, 3) }, ""},
		{"unicast over routers", v2, 0, vrrpPeer, func(r *Rules) { r.Peers = []Peer{{vrrpSrc, 0, 255}} }, func(d *Datagram) { d.TTL = 3 }, ""},
		{"AH with DF and another TOS", captures4[3].advert, 0, MulticastIPv4, nil, func(d *Datagram) { d.IP[1], d.IP[6] = 0, 0x40 }, ""},
		{"v3 reserved bits", v3, ChecksumPlain, MulticastIPv4, func(r *Rules) { r.Checksum = ChecksumPlain }, func(d *Datagram) { d.Payload[4] |= 0xf0; reseal(d.Payload) }, ""},
		{"v3 other interval", v3, 0, MulticastIPv4, func(r *Rules) { r.Interval = 2 * time.Second }, nil, "interval"},
		{"other addresses", v2, 0, MulticastIPv4, func(r *Rules) { r.Addrs = addrs("192.168.50.7") }, nil, "addrs"},
		{"more addresses", v2, 0, MulticastIPv4, func(r *Rules) { r.Addrs = nil }, nil, "addrs"},
		{"addresses not looked at", v2, 0, MulticastIPv4, func(r *Rules) { r.Addrs, r.AddrCheck = nil, AddrSkip }, nil, ""},
		{"v3_checksum_as_v2", v3, ChecksumPlain, MulticastIPv4, func(r *Rules) { r.Checksum = ChecksumPlain }, nil, ""},
		{"either checksum", v3, ChecksumPlain, MulticastIPv4, func(r *Rules) { r.AcceptEitherChecksum = true }, nil, ""},
		{"old_unicast_checksum", v3, 0, MulticastIPv4, func(r *Rules) { r.Peers, r.OldUnicastChecksum = []Peer{{vrrpSrc, 0, 255}}, true }, func(d *Datagram) { d.Dst = vrrpPeer }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := receiverOf(c.advert)
			if c.rules != nil {
				c.rules(&r.Rules)
			}
			d := packetOf(t, c.advert, c.dst, TTL, c.sum)
			if c.packet != nil {
				c.packet(&d)
			}
			_, n, err := r.Accept(d)
			if err != nil || n.Interval != (c.notice == "interval") || (n.Addrs != nil) != (c.notice == "addrs") || r.Counters.Received != 1 {
				t.Errorf("%v, notice %+v, counters %+v", err, n, r.Counters)
			}
		})
	}
}

// TestReplay: a recorded packet is good once, a later one is good, and what is
// sent next continues the count.
func TestReplay(t *testing.T) {
	r := receiverOf(captures4[3].advert)
	for _, c := range []struct {
		packet string
		want   error
	}{{captures4[3].packet, nil}, {captures4[3].packet, ErrAuth}, {captures4[4].packet, nil}, {captures4[3].packet, ErrAuth}} {
		d, err := ParseIPv4(unhex(t, c.packet))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := r.Accept(d); !errors.Is(err, c.want) {
			t.Errorf("got %v, want %v", err, c.want)
		}
	}
	if n := r.NextSequence(); n != 5 {
		t.Errorf("next sequence %d after 4", n)
	}
}

func TestSkipCheckAdvAddr(t *testing.T) {
	r := receiverOf(captures4[0].advert)
	r.SkipCheckAdvAddr = true
	other := captures4[0].advert
	other.Addrs = addrs("192.168.50.9")
	for i, c := range []struct {
		advert Advert
		odd    bool
	}{{other, true}, {captures4[0].advert, false}, {other, false}} {
		if _, n, err := r.Accept(packetOf(t, c.advert, MulticastIPv4, TTL, 0)); err != nil || (n.Addrs != nil) != c.odd {
			t.Errorf("advert %d: %v %v", i, n.Addrs, err)
		}
	}
}

func TestParseIPv4Refuses(t *testing.T) {
	good := unhex(t, captures4[0].packet)
	for _, c := range []struct {
		name   string
		change func([]byte) []byte
		want   error
	}{
		{"empty", func([]byte) []byte { return nil }, ErrLength},
		{"version 6", func(b []byte) []byte { b[0] = 0x65; return b }, ErrLength},
		{"header of 16", func(b []byte) []byte { b[0] = 0x44; return b }, ErrLength},
		{"cut off", func(b []byte) []byte { return b[:30] }, ErrLength},
		{"total below header", func(b []byte) []byte { b[3] = 19; return b }, ErrLength},
		{"fragment", func(b []byte) []byte { b[6] = 0x20; return b }, ErrLength},
		{"UDP", func(b []byte) []byte { b[9] = 17; return b }, ErrType},
	} {
		if _, err := ParseIPv4(c.change(append([]byte(nil), good...))); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
}
