// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"
)

var (
	vrrpSrc  = netip.MustParseAddr("192.168.50.1")
	vrrpPeer = netip.MustParseAddr("192.168.50.2")
	vrrpSrc6 = netip.MustParseAddr("fe80::51")
	secret   = [8]byte{'s', 'e', 'c', 'r', 'e', 't'}
)

func addrs(s ...string) (out []netip.Addr) {
	for _, a := range s {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// captures4 are whole IPv4 packets of keepalived 2.2.7, taken from a veth pair.
var captures4 = []struct {
	name     string
	packet   string
	advert   Advert
	dst      netip.Addr
	id       uint16
	sequence uint32
}{
	{"v2", "45c0002800010000ff70e7e8c0a83201e000001221339601000155bdc0a832640000000000000000",
		Advert{2, 51, 150, AuthNone, [8]byte{}, time.Second, addrs("192.168.50.100"), nil}, MulticastIPv4, 1, 0},
	{"v2 priority 0", "45c0002800050000ff70e7e4c0a83201e0000012213300010001ebbdc0a832640000000000000000",
		Advert{2, 51, 0, AuthNone, [8]byte{}, time.Second, addrs("192.168.50.100"), nil}, MulticastIPv4, 5, 0},
	{"v2 PASS", "45c0002c00010000ff70e7e4c0a83201e00000122133960201012562c0a83264c0a832657365637265740000",
		Advert{2, 51, 150, AuthPass, secret, time.Second, addrs("192.168.50.100", "192.168.50.101"), nil}, MulticastIPv4, 1, 0},
	{"v2 AH", "45c0004000010000ff33e80dc0a83201e000001270040000c0a83201000000017ce3ce3cfebbe7e26b1c30ff21339601020153bdc0a832640000000000000000",
		Advert{2, 51, 150, AuthAH, [8]byte{}, time.Second, addrs("192.168.50.100"), nil}, MulticastIPv4, 1, 1},
	{"v2 AH fourth", "45c0004000040000ff33e80ac0a83201e000001270040000c0a832010000000410a02cc0be27427a7c260c7c21339601020153bdc0a832640000000000000000",
		Advert{2, 51, 150, AuthAH, [8]byte{}, time.Second, addrs("192.168.50.100"), nil}, MulticastIPv4, 4, 4},
	{"v3 half a second", "45c0002000010000ff70e7f0c0a83201e00000123133960100327253c0a83264",
		Advert{3, 51, 150, 0, [8]byte{}, 500 * time.Millisecond, addrs("192.168.50.100"), nil}, MulticastIPv4, 1, 0},
	{"v3 unicast", "45c0002000010000ff70d558c0a83201c0a832023133960100645f89c0a83264",
		Advert{3, 51, 150, 0, [8]byte{}, time.Second, addrs("192.168.50.100"), nil}, vrrpPeer, 1, 0},
}

const capture6 = "3133960200640badfe80000000000000000000000000010020010db8000000000000000000000100"

var advert6 = Advert{3, 51, 150, 0, [8]byte{}, time.Second, addrs("fe80::100", "2001:db8::100"), nil}

// equal: a comparison that also knows nil and empty lists as one.
func equal(a, b Advert) bool {
	x, y := a, b
	x.Addrs, y.Addrs = nil, nil
	return slices.Equal(a.Addrs, b.Addrs) && x.Version == y.Version && x.VRID == y.VRID && x.Priority == y.Priority &&
		x.Auth == y.Auth && x.Password == y.Password && x.Interval == y.Interval
}

func TestPacketsOfKeepalived(t *testing.T) {
	for _, c := range captures4 {
		t.Run(c.name, func(t *testing.T) {
			want := unhex(t, c.packet)
			got, err := c.advert.AppendIPv4(nil, vrrpSrc, c.dst, c.id, TTL, ChecksumPseudo, secret, c.sequence)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("encode: %v\n got %x\nwant %x", err, got, want)
			}
			d, err := ParseIPv4(want)
			if err != nil {
				t.Fatal(err)
			}
			r := receiverOf(c.advert)
			if c.dst == vrrpPeer {
				r.Peers = []Peer{{vrrpSrc, 0, 255}}
			}
			a, n, err := r.Accept(d)
			if err != nil || n != (Notice{}) || !equal(a, c.advert) {
				t.Errorf("accept: %v %v\n got %+v\nwant %+v", err, n, a, c.advert)
			}
		})
	}
}

func TestPacketsOfKeepalivedIPv6(t *testing.T) {
	want := unhex(t, capture6)
	got, err := advert6.Append(nil, vrrpSrc6, MulticastIPv6, ChecksumPseudo)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("encode: %v\n got %x\nwant %x", err, got, want)
	}
	r := receiverOf(advert6)
	d := Datagram{Src: vrrpSrc6.WithZone("eth0"), Dst: MulticastIPv6, TTL: TTL, Payload: want}
	if a, n, err := r.Accept(d); err != nil || n != (Notice{}) || !equal(a, advert6) {
		t.Errorf("accept: %v %v %+v", err, n, a)
	}
}

func TestAppendRefuses(t *testing.T) {
	good := captures4[0].advert
	for _, c := range []struct {
		name   string
		change func(*Advert)
	}{
		{"version 1", func(a *Advert) { a.Version = 1 }},
		{"vrid 0", func(a *Advert) { a.VRID = 0 }},
		{"v2 half a second", func(a *Advert) { a.Interval = 500 * time.Millisecond }},
		{"v2 256 s", func(a *Advert) { a.Interval = 256 * time.Second }},
		{"v3 41 s", func(a *Advert) { a.Version, a.Interval = 3, 41*time.Second }},
		{"v3 5 ms", func(a *Advert) { a.Version, a.Interval = 3, 5*time.Millisecond }},
		{"IPv6 address", func(a *Advert) { a.Addrs = addrs("2001:db8::1") }},
		{"256 addresses", func(a *Advert) { a.Addrs = make([]netip.Addr, 256) }},
	} {
		a := good
		c.change(&a)
		if b, err := a.Append(nil, vrrpSrc, MulticastIPv4, ChecksumPseudo); err == nil || len(b) != 0 {
			t.Errorf("%s: got %x, %v", c.name, b, err)
		}
	}
}

func receiverOf(a Advert) *Receiver {
	r := &Receiver{Rules: Rules{Version: a.Version, VRID: a.VRID, Auth: a.Auth, Interval: a.Interval, Addrs: a.Addrs}}
	if a.Auth != AuthNone {
		r.Password = secret
	}
	return r
}

func TestGratuitousARPOfKeepalived(t *testing.T) {
	want := unhex(t, "00010800060400010a1abb74f3aec0a83264ffffffffffffc0a83264")
	got, err := GratuitousARP(netip.MustParseAddr("192.168.50.100"), [6]byte{0x0a, 0x1a, 0xbb, 0x74, 0xf3, 0xae})
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v\n got %x\nwant %x", err, got, want)
	}
	if _, err := GratuitousARP(vrrpSrc6, [6]byte{}); err == nil {
		t.Error("ARP for an IPv6 address")
	}
}

func TestNeighbourAdvertOfKeepalived(t *testing.T) {
	want := unhex(t, "880036472000000020010db8000000000000000000000100020106000647b69f")
	got, err := NeighbourAdvert(netip.MustParseAddr("2001:db8::100"), [6]byte{6, 0, 6, 0x47, 0xb6, 0x9f}, false)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v\n got %x\nwant %x", err, got, want)
	}
	if got, _ = NeighbourAdvert(netip.MustParseAddr("2001:db8::100"), [6]byte{}, true); got[4] != 0xa0 {
		t.Errorf("flags of a router: %#x", got[4])
	}
	if _, err := NeighbourAdvert(vrrpSrc, [6]byte{}, false); err == nil {
		t.Error("neighbour advertisement for an IPv4 address")
	}
}

// FuzzAccept: no packet crashes the reader, an error is counted exactly once,
// and what is believed can be sent again.
func FuzzAccept(f *testing.F) {
	for _, c := range captures4 {
		f.Add(unhex(f, c.packet), byte(c.advert.Version), byte(c.advert.Auth), false)
	}
	f.Add(unhex(f, capture6), byte(3), byte(0), true)
	f.Add(unhex(f, sealedPackets[1].packet), byte(3), byte(0x80), true)
	f.Fuzz(func(t *testing.T, b []byte, version, auth byte, six bool) {
		r := &Receiver{Rules: Rules{Version: int(version), VRID: 51, Auth: AuthType(auth & 0x7f), Password: secret, Interval: time.Second}}
		if auth&0x80 != 0 {
			r.HMAC = &HMAC{Keys: map[uint8][]byte{7: countUp(32)}, Active: 7, Window: 5 * time.Second, Mode: HMACPermissive}
			r.Now = func() time.Time { return sealedAt }
		}
		d := Datagram{Src: vrrpSrc6, Dst: MulticastIPv6, TTL: TTL, Payload: b}
		if !six {
			var err error
			if d, err = ParseIPv4(b); err != nil {
				if m := (*Malformed)(nil); !errors.As(err, &m) {
					t.Fatalf("%T: %v", err, err)
				}
				return
			}
		}
		a, n, err := r.Accept(d)
		refused, received := r.Counters, r.Counters.Received
		refused.Received, refused.PriorityZero = 0, 0
		if err == nil && n.Addrs != nil {
			refused.Addrs--
		}
		if total := sum(refused); err != nil && (total != 1 || received != 0) || err == nil && (total != 0 || received != 1) {
			t.Fatalf("%v counted as %+v", err, r.Counters)
		}
		if err != nil {
			return
		}
		again, err := a.Append(nil, d.Src, d.Dst, ChecksumPseudo)
		if err != nil {
			t.Fatalf("believed but cannot be sent: %v", err)
		}
		if back, err := Parse(again, d.Src); err != nil || !equal(back, a) {
			t.Fatalf("%v: got %+v, sent %+v", err, back, a)
		}
	})
}

func sum(c Counters) uint64 {
	return c.Received + c.PriorityZero + c.Length + c.TTL + c.Type + c.Interval + c.Addrs + c.AuthType + c.AuthMatch +
		c.AuthFailure + c.Version + c.VRID + c.Checksum + c.Source
}
