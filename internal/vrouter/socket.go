// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/netif"
	"github.com/lvs-fnat/lvs/internal/poll"
	"github.com/lvs-fnat/lvs/vrrp"
)

// socketKey tells sockets apart; instances that agree in it share one.
type socketKey struct {
	six   bool
	link  int // 0: any
	proto int
}

// socket is one raw socket with the instances it serves.
type socket struct {
	*netif.Socket
	e     *Engine
	key   socketKey
	users []*instance
	byID  [256][]*instance
}

// listen finds or opens the socket of an instance.
func (e *Engine) listen(in *instance) (*socket, error) {
	key := socketKey{six: in.six(), proto: vrrp.Protocol}
	if in.cfg.Auth == vrrp.AuthAH {
		key.proto = vrrp.ProtocolAH
	}
	if in.via != nil {
		key.link = in.via.Index
	}
	s := e.sockets[key]
	if s == nil {
		raw, err := netif.Listen(key.six, key.proto, in.via)
		if err != nil {
			return nil, err
		}
		s = &socket{Socket: raw, e: e, key: key}
		if err := e.loop.Watch(raw.FD, poll.In, s); err != nil {
			return nil, errors.Join(err, raw.Close())
		}
		e.sockets[key] = s
	}
	s.users = append(s.users, in)
	vrid := in.cfg.Machine.VRID
	s.byID[vrid] = append(s.byID[vrid], in)
	s.resize()
	if !in.cfg.Unicast && in.via != nil {
		if err := s.Join(in.cfg.Multicast, in.via.Index); err != nil {
			s.release(in)
			return nil, err
		}
	}
	return s, nil
}

// release closes the socket after its last user.
func (s *socket) release(in *instance) {
	is := func(x *instance) bool { return x == in }
	s.users = slices.DeleteFunc(s.users, is)
	for id := range s.byID {
		s.byID[id] = slices.DeleteFunc(s.byID[id], is)
	}
	if len(s.users) > 0 {
		s.resize()
	} else {
		s.e.loop.Forget(s.FD)
		s.e.warn(s.Close())
		delete(s.e.sockets, s.key)
	}
}

// resize gives the socket the receive buffer that its instances ask for together.
func (s *socket) resize() {
	total := 0
	for _, in := range s.users {
		total += in.rxBuffer()
	}
	if total > 0 {
		s.e.warn(s.SetReadBuffer(total))
	}
}

// rxBuffer is the part of the receive buffer that is for the instance, in bytes; 0: the
// kernel's default.
func (in *instance) rxBuffer() int {
	r := &in.e.cfg.Global.VRRP.RxBufs
	times := cmp.Or(r.Multiplier, 3)
	switch {
	case in.cfg.RxBufSize > 0:
		return in.cfg.RxBufSize
	case r.Policy == config.RxSize:
		return r.Size
	case r.Policy == config.RxMTU && in.via != nil:
		return in.via.MTU * times
	case r.Policy == config.RxAdvert:
		size := ipHeader + vrrpHeader + len(in.cfg.Machine.Addrs)*len(netip.IPv4Unspecified().AsSlice())
		if in.six() {
			size = vrrpHeader + len(in.cfg.Machine.Addrs)*len(netip.IPv6Unspecified().AsSlice())
		}
		if in.cfg.Machine.Version == 2 {
			size += authData
		}
		if in.cfg.Auth == vrrp.AuthAH {
			size += authHeader
		}
		return size * times
	}
	return 0
}

// Sizes of the parts of an advertisement: RFC 791 3.1, RFC 5798 5.1, RFC 2338 5.3, RFC
// 2402 2 with the digest of RFC 2403.
const (
	ipHeader   = 20
	vrrpHeader = 8
	authData   = 8
	authHeader = 24
)

// burst bounds how many packets one turn reads from one socket, so that a flood
// cannot keep timers from running.
const burst = 1024

// Ready reads what is there.
func (s *socket) Ready(poll.Events) {
	for range burst / netif.InboxSize {
		n, err := s.Receive(s.e.inbox)
		if err != nil {
			// Such as ENETDOWN: the link's own event says more.
			s.e.log.Debug(fmt.Sprintf("receive: %v", err))
			return
		}
		for i := range n {
			if d, err := s.e.inbox.Packet(i); err != nil {
				s.stray(err)
			} else {
				s.dispatch(d)
			}
			if len(s.users) == 0 {
				return // the last one has gone, and the socket with it
			}
		}
		if n < netif.InboxSize {
			return
		}
	}
}

// stray counts what is no packet for anybody.
func (s *socket) stray(err error) {
	var bad *vrrp.Malformed
	if errors.As(err, &bad) {
		s.e.strays.Count(bad.Class)
	} else {
		s.e.log.Debug(fmt.Sprintf("receive: %v", err))
	}
}

func (s *socket) dispatch(d vrrp.Datagram) {
	vrid, ok := vrrp.PeekVRID(d)
	if !ok {
		s.e.strays.Count(vrrp.ErrLength)
		return
	}
	found := false
	// By index: what a packet brings about may release an instance.
	for i := 0; i < len(s.byID[vrid]); i++ {
		in := s.byID[vrid][i]
		if in.cfg.Unicast == !d.Dst.IsMulticast() && (in.cfg.Unicast || d.Dst == in.cfg.Multicast) {
			found = true
			in.received(d)
		}
	}
	if !found {
		s.e.strays.Count(vrrp.ErrVRID)
		if s.e.cfg.Global.VRRP.LogUnknownVRIDs {
			s.e.log.Info(fmt.Sprintf("Unknown VRID(%d) received from %s", vrid, d.Src))
		}
	}
}

// now is the time for machines; it has the monotonic clock.
func (e *Engine) now() time.Time { return time.Now() }
