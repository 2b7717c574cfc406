// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"errors"
	"fmt"
	"io"

	"github.com/lvs-fnat/lvs/internal/poll"
)

// DefaultPayload is what keepalived sends where nothing else is given.
const DefaultPayload = "keepalived check - keepalived ch"

// UDP is what a UDP_CHECK sends and expects.
type UDP struct {
	// Payload is the datagram; it may be empty.
	Payload string
	// RequireReply has silence be a failure. Without it, only an error from
	// the network is, and any reply is good.
	RequireReply bool
	// Reply is what a reply begins with, in the bits that are set in Mask.
	Reply, Mask string
	// MinReply and MaxReply bound a required reply, in bytes.
	MinReply, MaxReply int
}

func (u *UDP) validate() error {
	switch {
	case u == nil:
		return errors.New("nothing to send is given")
	case len(u.Payload) > 65507:
		return fmt.Errorf("payload of %d bytes is longer than a datagram can be, 65507", len(u.Payload))
	case len(u.Reply) != len(u.Mask):
		return errors.New("reply and mask are not of one length")
	case u.MinReply < 0 || u.MaxReply < u.MinReply:
		return fmt.Errorf("min_reply_length %d is above max_reply_length %d", u.MinReply, u.MaxReply)
	}
	return nil
}

// accepts tells whether p is the reply that is required.
func (u *UDP) accepts(p []byte) bool {
	if len(p) < u.MinReply || len(p) > u.MaxReply || len(p) < len(u.Reply) {
		return false
	}
	for i := range len(u.Reply) {
		if (p[i]^u.Reply[i])&u.Mask[i] != 0 {
			return false
		}
	}
	return true
}

// packet is the part of a dialogue that sends one datagram, which may be empty.
type packet struct {
	payload []byte
	gone    bool
}

func (p *packet) sent() bool { return p.gone }

func (p *packet) send(fd int) error {
	n, err := poll.Write(fd, p.payload)
	p.gone = err == nil && n == len(p.payload)
	return err
}

// readPacket reads one datagram, which may be empty; some is false when there
// is none.
func readPacket(fd int, buf []byte) (p []byte, some bool, err error) {
	n, err := poll.Read(fd, buf)
	if err == io.EOF {
		return nil, true, nil
	}
	return buf[:n], n > 0, err
}

// datagram is the dialogue of UDP_CHECK.
type datagram struct {
	packet
	udp *UDP
}

func newDatagram(u *UDP) *datagram {
	return &datagram{packet: packet{payload: []byte(u.Payload)}, udp: u}
}

func (d *datagram) receive(fd int, buf []byte) (result, bool) {
	p, some, err := readPacket(fd, buf)
	switch {
	case err != nil:
		return failed(lineUDP), true
	case !some:
		return result{}, false
	case d.udp.RequireReply && !d.udp.accepts(p):
		n := len(p)
		return failed(func(t *Target) string { return msgUDPReply(t, n) }), true
	}
	return passed(), true
}

func (d *datagram) timeout() result {
	if d.udp.RequireReply || !d.gone {
		return failed(func(t *Target) string { return msgUDP(t, "timeout") })
	}
	return passed()
}

func (d *datagram) lineWrite(t *Target) string { return lineUDP(t) }
func lineUDP(t *Target) string                 { return msgUDP(t, "failed") }
