// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"syscall"
	"time"

	"github.com/lvs-fnat/lvs/ipvs/uapi"
	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// EventKind says what an [Event] is about (IPVS_EXT_EVENT_*).
type EventKind uint32

// Kinds of events. The kernel may send others; they have a number for a name.
const (
	EventSynproxyOn  EventKind = uapi.ExtEventSpOn      // Service: mode auto sends cookies; HalfOpen says why
	EventSynproxyOff EventKind = uapi.ExtEventSpOff     // Service: and does so no longer
	EventPorts80     EventKind = uapi.ExtEventPorts80   // LGroup: 80 % of the ports towards one real server are in use
	EventPorts95     EventKind = uapi.ExtEventPorts95   // LGroup: 95 %
	EventPortsFull   EventKind = uapi.ExtEventPortsFull // LGroup: a connection got no port
	EventRSFail      EventKind = uapi.ExtEventRsFail    // Service, Dest: the real server did not take a handshake of the SYN proxy; at most one a second
)

var eventNames = [...]string{
	EventSynproxyOn: "synproxy_on", EventSynproxyOff: "synproxy_off",
	EventPorts80: "ports_80", EventPorts95: "ports_95", EventPortsFull: "ports_full",
	EventRSFail: "rs_fail",
}

// String returns the header's name in lower case, or "event" and the number.
func (k EventKind) String() string {
	if int(k) < len(eventNames) && eventNames[k] != "" {
		return eventNames[k]
	}
	return fmt.Sprintf("event%d", uint32(k))
}

// Event is something that an operator wants to know of when it happens.
// Service, Dest and LGroup are zero unless the kind is about one.
type Event struct {
	Kind    EventKind
	Service ServiceKey
	Dest    DestKey
	LGroup  LGroup // with the forecast; Refs is not told
	// HalfOpen are the half-open connections of Service.
	HalfOpen uint32
}

// Events streams what the kernel reports from now on, until the context ends,
// which is the error of the last round. [ErrEventsLost] in between means that
// the reader was too slow; the stream goes on. ready, if not nil, is called
// once the kernel is listened to. The client may be used inside the loop.
//
// The error is [ErrNoExt] on a stock module and EOPNOTSUPP on one without
// events; a module that goes away is not noticed.
func (c *Client) Events(ctx context.Context, ready func()) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		op := OpError{Op: "listen to events"}
		fail := func(err error) { yield(Event{}, op.fill(err)) }
		side, err := c.listen(ctx)
		if err != nil {
			fail(err)
			return
		}
		defer side.Close()
		if ready != nil {
			ready()
		}
		for {
			events, err := side.next(ctx)
			switch {
			case ctx.Err() != nil:
				fail(ctx.Err())
				return
			case errors.Is(err, syscall.ENOBUFS):
				if !yield(Event{}, op.fill(ErrEventsLost)) {
					return
				}
				continue
			case err != nil:
				fail(err)
				return
			}
			for _, e := range events {
				if !yield(e, nil) {
					return
				}
			}
		}
	}
}

// listener is a socket that has joined the group. It waits, so it is the
// library's, which the runtime's poller wakes.
type listener struct {
	*netlink.Conn
	ext uint16
}

func (c *Client) listen(ctx context.Context) (*listener, error) {
	side, err := c.beside(ctx, true)
	if err != nil {
		return nil, err
	}
	defer side.Close()
	if err := side.info.check(uapi.ExtFeatEvents); err != nil {
		return nil, err
	}
	raw, ok := side.sock.(*rawSocket)
	if !ok {
		return nil, fmt.Errorf("a %T hears no events: %w", side.sock, errors.ErrUnsupported)
	}
	netns, err := raw.netns()
	if err != nil {
		return nil, err
	}
	defer unix.Close(netns)
	conn, err := netlink.Dial(unix.NETLINK_GENERIC, &netlink.Config{NetNS: netns})
	if err != nil {
		return nil, fmt.Errorf("open generic netlink: %w", err)
	}
	l := &listener{conn, side.ext}
	if err := l.join(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (l *listener) join() error {
	f, err := genetlink.NewConn(l.Conn).GetFamily(uapi.ExtGenlName)
	if err != nil {
		return err
	}
	for _, g := range f.Groups {
		if g.Name == uapi.ExtMcgrpEvents {
			return l.JoinGroup(g.ID)
		}
	}
	return fmt.Errorf("IPVS_EXT has no multicast group %q", uapi.ExtMcgrpEvents)
}

// next waits for events or the context's end.
func (l *listener) next(ctx context.Context) (events []Event, err error) {
	// A deadline in the past is how a blocked socket is woken.
	wake := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(wake)
		_ = l.SetDeadline(time.Unix(1, 0)) // fails only on a closed socket
	})
	defer func() {
		if !stop() {
			<-wake
		}
	}()
	msgs, err := l.Receive()
	if err != nil {
		return nil, err
	}
	for _, m := range msgs {
		if m.Header.Type != netlink.HeaderType(l.ext) || len(m.Data) < genlHeader || m.Data[0] != uapi.ExtCmdEvent {
			continue
		}
		if err := (message{data: m.Data}).decode(new(decoder), func(ad *decoder) error {
			e, err := decodeEvent(ad)
			events = append(events, e)
			return err
		}); err != nil {
			return nil, err
		}
	}
	return events, nil
}

func decodeEvent(ad *decoder) (Event, error) {
	var e Event
	for ad.Next() {
		switch ad.Type() {
		case uapi.ExtAEvent:
			e.Kind = EventKind(ad.Uint32())
		case uapi.ExtASvc:
			ad.Nested(func(nad *decoder) error {
				s, err := decodeService(nad)
				e.Service = s.ServiceKey
				return err
			})
		case uapi.ExtADest:
			ad.Nested(func(nad *decoder) error {
				d, err := decodeDest(nad, e.Service.Family, false)
				e.Dest = d.DestKey
				return err
			})
		case uapi.ExtAExt:
			ad.Nested(func(nad *decoder) error {
				var ext Ext
				err := ext.decode(nad)
				e.HalfOpen = ext.SP.HalfOpen
				return err
			})
		case uapi.ExtALgroup:
			ad.Nested(func(nad *decoder) (err error) {
				e.LGroup, err = decodeLGroup(nad)
				return err
			})
		}
	}
	if err := ad.Err(); err != nil {
		return Event{}, err
	}
	if e.Kind == 0 {
		return Event{}, errMissing
	}
	return e, nil
}
