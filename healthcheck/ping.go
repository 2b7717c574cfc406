// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"encoding/binary"
	"math/rand/v2"
)

// Types of ICMP messages (RFC 792, RFC 4443).
const (
	echoRequest4, echoReply4 = 8, 0
	echoRequest6, echoReply6 = 128, 129
)

// echoData is how many bytes a request carries behind its header of eight.
const echoData = 128

// echo is the dialogue of PING_CHECK. Each run has a socket of its own, so that
// bindto, bind_if and fwmark work as with other checks.
type echo struct {
	packet
	v4    bool
	token uint32 // identifier and sequence number
}

func newEcho(s *Spec) *echo {
	e := &echo{v4: s.Conn.Addr.Addr().Unmap().Is4(), token: rand.Uint32()}
	p := make([]byte, 8+echoData)
	p[0] = echoRequest6
	binary.BigEndian.PutUint32(p[4:], e.token)
	if e.v4 {
		// The kernel fills in the checksum of ICMPv6 alone.
		p[0] = echoRequest4
		binary.BigEndian.PutUint16(p[2:], checksum(p))
	}
	e.payload = p
	return e
}

// checksum is that of RFC 1071 over an even number of bytes.
func checksum(p []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(p); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// answers tells whether p, as a raw socket gives it, is the reply.
func (e *echo) answers(p []byte) bool {
	want := byte(echoReply6)
	if e.v4 {
		// IPv4 comes with its header.
		if len(p) < 20 || len(p) < int(p[0]&15)*4 {
			return false
		}
		p, want = p[int(p[0]&15)*4:], echoReply4
	}
	return len(p) == 8+echoData && p[0] == want && p[1] == 0 && binary.BigEndian.Uint32(p[4:]) == e.token
}

func (e *echo) receive(fd int, buf []byte) (result, bool) {
	p, some, err := readPacket(fd, buf)
	switch {
	case err != nil:
		return failed(linePing), true
	case some && e.answers(p):
		return passed(), true
	}
	return result{}, false
}

func (e *echo) timeout() result {
	return failed(func(t *Target) string { return msgPing(t, "timeout") })
}

func (e *echo) lineWrite(t *Target) string { return linePing(t) }
func linePing(t *Target) string            { return msgPing(t, "failed") }
