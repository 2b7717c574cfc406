// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// packetServer answers each datagram with what reply returns; nil is silence.
func packetServer(t testing.TB, addr string, reply func([]byte) []byte) netip.AddrPort {
	t.Helper()
	c, err := net.ListenPacket("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			if p := reply(buf[:n]); p != nil {
				c.WriteTo(p, from)
			}
		}
	}()
	t.Cleanup(func() { c.Close(); <-done })
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}

// unusedUDP is an address where datagrams are refused.
func unusedUDP(t testing.TB) netip.AddrPort {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}

// verdicts runs one check of each spec, begun as down when it should come up
// and as up when it should fail, and fails the test unless each does.
func verdicts(t *testing.T, cases map[string]struct {
	spec Spec
	up   bool
}) *rig {
	t.Helper()
	r := newRig(t, Options{Shards: 1})
	var targets []Target
	var want []string
	for name, c := range cases {
		c.spec.Timing = quick
		if c.spec.Kind != MiscCheck && strings.Contains(name, "mute") {
			c.spec.Timing = hasty
		}
		c.spec.Timing.Alpha = c.up
		targets = append(targets, Target{Service: "[192.0.2.1]:tcp:80", Server: name, Spec: c.spec})
		want = append(want, map[bool]string{true: "UP ", false: "DOWN "}[c.up]+name)
	}
	if _, err := r.Set(targets); err != nil {
		t.Fatal(err)
	}
	var got []string
	for range want {
		got = append(got, r.next(t))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("events\n got %q\nwant %q\nlog %q", got, want, r.log.lines())
	}
	return r
}

func TestUDP(t *testing.T) {
	t.Parallel()
	echo := packetServer(t, "127.0.0.1:0", func(p []byte) []byte { return append([]byte("ok "), p...) })
	echo6 := packetServer(t, "[::1]:0", func(p []byte) []byte { return append([]byte("ok "), p...) })
	mute := packetServer(t, "127.0.0.1:0", func([]byte) []byte { return nil })
	empty := packetServer(t, "127.0.0.1:0", func([]byte) []byte { return []byte{} })
	spec := func(a netip.AddrPort, u UDP) Spec { return Spec{Kind: UDPCheck, Conn: Conn{Addr: a}, UDP: &u} }
	ask := UDP{Payload: "x", RequireReply: true, MaxReply: 255}
	expect, other, long := ask, ask, ask
	expect.Reply, expect.Mask = "oK", "\xff\x0f"
	other.Reply, other.Mask = "oK", "\xff\xff"
	long.MinReply = 5
	verdicts(t, map[string]struct {
		spec Spec
		up   bool
	}{
		"answers":            {spec(echo, ask), true},
		"answers IPv6":       {spec(echo6, ask), true},
		"no payload":         {spec(echo, UDP{}), true},
		"expected":           {spec(echo, expect), true},
		"not expected":       {spec(echo, other), false},
		"too short":          {spec(echo, long), false},
		"empty answer":       {spec(empty, ask), true},
		"mute, none needed":  {spec(mute, UDP{}), true},
		"mute, one needed":   {spec(mute, ask), false},
		"refuses":            {spec(unusedUDP(t), UDP{}), false},
		"refuses the demand": {spec(unusedUDP(t), ask), false},
	})
}

// dnsReply answers p with a code and the identifier changed by skew.
func dnsReply(p []byte, code dnsmessage.RCode, skew uint16) []byte {
	var m dnsmessage.Message
	if m.Unpack(p) != nil || len(m.Questions) != 1 {
		return nil
	}
	m.Header.ID += skew
	m.Header.Response, m.Header.RCode = true, code
	out, _ := m.Pack()
	return out
}

func TestDNS(t *testing.T) {
	t.Parallel()
	asked := make(chan dnsmessage.Question, 1)
	good := packetServer(t, "127.0.0.1:0", func(p []byte) []byte {
		var m dnsmessage.Message
		if m.Unpack(p) == nil {
			select {
			case asked <- m.Questions[0]:
			default:
			}
		}
		return dnsReply(p, 0, 0)
	})
	with := func(f func([]byte) []byte) netip.AddrPort { return packetServer(t, "127.0.0.1:0", f) }
	spec := func(a netip.AddrPort) Spec {
		return Spec{Kind: DNSCheck, Conn: Conn{Addr: a}, DNS: &DNS{Name: "www.example", Type: "AAAA"}}
	}
	verdicts(t, map[string]struct {
		spec Spec
		up   bool
	}{
		"answers":           {spec(good), true},
		"SERVFAIL":          {spec(with(func(p []byte) []byte { return dnsReply(p, 2, 0) })), false},
		"NXDOMAIN":          {spec(with(func(p []byte) []byte { return dnsReply(p, 3, 0) })), false},
		"mute: other id":    {spec(with(func(p []byte) []byte { return dnsReply(p, 0, 1) })), false},
		"mute: the query":   {spec(with(func(p []byte) []byte { return p })), false},
		"mute: half answer": {spec(with(func(p []byte) []byte { return dnsReply(p, 0, 0)[:7] })), false},
		"mute":              {spec(with(func([]byte) []byte { return nil })), false},
		"refuses":           {spec(unusedUDP(t)), false},
	})
	if q := <-asked; q.Name.String() != "www.example." || q.Type != dnsmessage.TypeAAAA {
		t.Errorf("asked for %v", q)
	}
}

func TestPing(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("a raw socket needs root")
	}
	spec := func(a string) Spec {
		return Spec{Kind: PingCheck, Conn: Conn{Addr: netip.AddrPortFrom(netip.MustParseAddr(a), 80)}}
	}
	bound := spec("127.0.0.1")
	bound.Conn.Bind = netip.MustParseAddrPort("127.0.0.2:0")
	verdicts(t, map[string]struct {
		spec Spec
		up   bool
	}{
		"IPv4": {spec("127.0.0.1"), true}, "IPv6": {spec("::1"), true}, "bound": {bound, true},
	})
}

// TestPingAnswers: only the reply to this very request counts.
func TestPingAnswers(t *testing.T) {
	for _, addr := range []string{"192.0.2.1", "2001:db8::1"} {
		e := newEcho(&Spec{Conn: Conn{Addr: netip.AddrPortFrom(netip.MustParseAddr(addr), 0)}})
		reply := slices.Clone(e.payload)
		header := 0
		reply[0] = echoReply6
		if e.v4 {
			reply[0] = echoReply4
			header = 20
			reply = append(append([]byte{0x45}, make([]byte, 19)...), reply...)
		}
		if !e.answers(reply) {
			t.Errorf("%s: the reply is not taken", addr)
		}
		for i := range reply {
			if e.answers(reply[:i]) {
				t.Errorf("%s: %d bytes of the reply are taken", addr, i)
			}
		}
		for _, i := range []int{0, 1, 4, 5, 6, 7} {
			wrong := slices.Clone(reply)
			wrong[header+i] ^= 1
			if e.answers(wrong) {
				t.Errorf("%s: taken with byte %d wrong", addr, i)
			}
		}
	}
}

func FuzzDNS(f *testing.F) {
	q := newQuery(&DNS{Name: ".", Type: "SOA"})
	f.Add(q.payload)
	f.Add(dnsReply(q.payload, 0, 0))
	f.Add(dnsReply(q.payload, 2, 0))
	f.Fuzz(func(t *testing.T, p []byte) {
		if _, ok := q.answer(p); ok && (len(p) < 12 || p[2]&0x80 == 0) {
			t.Errorf("%x is taken for an answer", p)
		}
	})
}

func FuzzPing(f *testing.F) {
	e := newEcho(&Spec{Conn: Conn{Addr: netip.MustParseAddrPort("192.0.2.1:0")}})
	f.Add(append([]byte{0x45}, make([]byte, 30)...))
	f.Fuzz(func(t *testing.T, p []byte) {
		if e.answers(p) && len(p) < 20+8+echoData {
			t.Errorf("%x is taken for an answer", p)
		}
	})
}
