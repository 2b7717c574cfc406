// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// socket carries whole datagrams to and from the kernel's generic netlink.
type socket interface {
	// send sends one datagram of one or more messages.
	send(b []byte) error
	// receive fills b with the next datagram. There is one, or the error is
	// EAGAIN: the kernel answers within send, and goes on with a listing within
	// receive.
	receive(b []byte) (n int, err error)
	// beside opens another socket in the same network namespace.
	beside() (socket, error)
	setReadBuffer(bytes int) error
	Close() error
}

// rawSocket is a socket without the runtime's poller. Nothing ever waits on it:
// a request is carried out by the thread that sends it. With mdlayher/netlink's,
// each datagram is asked for its length before it is read, each gets memory of
// its own, and a command that makes one request starts a poller for it.
type rawSocket struct{ fd int }

// openSocket opens one in the network namespace that is open as netns, or if
// that is 0 in that of the calling thread.
func openSocket(netns int) (*rawSocket, error) {
	fd := -1
	err := inNetNS(netns, func() (err error) {
		fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_GENERIC)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open generic netlink: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1); err != nil {
		return nil, errors.Join(fmt.Errorf("ask for netlink's extended errors: %w", err), unix.Close(fd))
	}
	return &rawSocket{fd}, nil
}

// inNetNS calls f on a thread in the network namespace netns; 0 is where it is.
func inNetNS(netns int, f func() error) error {
	if netns == 0 {
		return f()
	}
	runtime.LockOSThread()
	here, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("find the network namespace of a thread: %w", err)
	}
	defer unix.Close(here)
	if err := unix.Setns(netns, unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter a network namespace: %w", err)
	}
	err = f()
	if back := unix.Setns(here, unix.CLONE_NEWNET); back != nil {
		return errors.Join(err, back) // a thread that cannot go back stays locked, and ends with its goroutine
	}
	runtime.UnlockOSThread()
	return err
}

// netns opens the socket's namespace, so that none need be kept.
func (s *rawSocket) netns() (int, error) {
	fd, err := unix.IoctlRetInt(s.fd, unix.SIOCGSKNS)
	if err != nil {
		return 0, fmt.Errorf("find the network namespace of a socket: %w", err)
	}
	return fd, nil
}

func (s *rawSocket) beside() (socket, error) {
	netns, err := s.netns()
	if err != nil {
		return nil, err
	}
	defer unix.Close(netns)
	return openSocket(netns)
}

// send needs no address: a netlink socket that is not connected speaks to the kernel.
func (s *rawSocket) send(b []byte) error {
	for {
		_, err := unix.Write(s.fd, b)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func (s *rawSocket) receive(b []byte) (int, error) {
	for {
		n, err := unix.Read(s.fd, b)
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

func (s *rawSocket) setReadBuffer(bytes int) error {
	if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bytes) == nil {
		return nil
	}
	return unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, bytes)
}

func (s *rawSocket) Close() error {
	fd := s.fd
	s.fd = -1
	return unix.Close(fd)
}

// Sizes of messages.
const (
	nlHeader   = 16 // struct nlmsghdr
	genlHeader = 4  // struct genlmsghdr
	// receiveBytes is how much of a listing the kernel packs into a datagram: as
	// much as the reader has room for. With what the kernel keeps beside it, it is
	// two pages there, which it clears for each: of 32 KiB, the most that it ever
	// packs, clearing them was a twentieth of what a listing costs. No single
	// message is as long; one that were would be found cut off.
	receiveBytes = 8<<10 - 512
)

// message is one that was received.
type message struct {
	typ, flags uint16
	seq        uint32
	data       []byte // behind the header
}

// cutMessage takes the first message off a datagram.
func cutMessage(b []byte) (m message, rest []byte, err error) {
	if len(b) < nlHeader {
		return message{}, nil, fmt.Errorf("%d bytes behind the last netlink message", len(b))
	}
	size := int(binary.NativeEndian.Uint32(b))
	if size < nlHeader || size > len(b) {
		return message{}, nil, fmt.Errorf("a netlink message of %d bytes in %d", size, len(b))
	}
	m = message{
		typ: binary.NativeEndian.Uint16(b[4:]), flags: binary.NativeEndian.Uint16(b[6:]),
		seq: binary.NativeEndian.Uint32(b[8:]), data: b[nlHeader:size],
	}
	return m, b[min((size+attrHeader-1)&^(attrHeader-1), len(b)):], nil
}

// refused is the error in an answer of type NLMSG_ERROR, nil in an
// acknowledgement; struct nlmsgerr, then perhaps a text.
func (m message) refused() error {
	if len(m.data) < 4 {
		return fmt.Errorf("a netlink error of %d bytes", len(m.data))
	}
	errno := -int32(binary.NativeEndian.Uint32(m.data))
	if errno == 0 {
		return nil
	}
	e := &kernelError{errno: syscall.Errno(errno)}
	if m.flags&unix.NLM_F_ACK_TLVS == 0 || len(m.data) < 4+nlHeader {
		return e
	}
	behind := 4 + nlHeader // the header of the request, and unless capped all of it
	if m.flags&unix.NLM_F_CAPPED == 0 {
		behind = 4 + int(binary.NativeEndian.Uint32(m.data[4:])+attrHeader-1)&^(attrHeader-1)
	}
	if behind < 4+nlHeader || behind > len(m.data) {
		return e
	}
	for ad := (decoder{b: m.data[behind:]}); ad.Next(); {
		if ad.Type() == unix.NLMSGERR_ATTR_MSG {
			e.text = ad.String()
		}
	}
	return e
}

// drain reads what an abandoned request left behind, a listing that goes on
// included.
func (c *Client) drain() error {
	for c.dirty {
		switch _, err := c.sock.receive(c.room()); {
		case errors.Is(err, syscall.EAGAIN):
			c.dirty = false
		case err != nil && !errors.Is(err, syscall.ENOBUFS):
			return err
		}
	}
	return nil
}

// room is where datagrams are received; what was there is gone.
func (c *Client) room() []byte {
	if c.buf == nil {
		c.buf = make([]byte, receiveBytes)
	}
	return c.buf
}

// errUnanswered is a request that the kernel did not answer.
var errUnanswered = errors.New("the kernel did not answer")

// exchange sends msg and gives the attributes of each answer to each: of one, or
// for a dump of all to its end. What each is given is overwritten by the next.
// Without an answer, the error is the kernel's, or [errMissing].
func (c *Client) exchange(ctx context.Context, msg []byte, each func(*decoder) error) error {
	seq, dump := c.seq, binary.NativeEndian.Uint16(msg[6:])&unix.NLM_F_DUMP == unix.NLM_F_DUMP
	if err := c.sock.send(msg); err != nil {
		return err
	}
	interrupted := false
	for {
		if err := ctx.Err(); err != nil {
			c.dirty = true
			return err
		}
		n, err := c.sock.receive(c.room())
		if errors.Is(err, syscall.EAGAIN) {
			return errUnanswered
		}
		if err != nil {
			c.dirty = true
			return err
		}
		for b := c.buf[:n]; len(b) > 0; {
			var m message
			if m, b, err = cutMessage(b); err != nil {
				c.dirty = true
				return err
			}
			if m.seq != seq {
				continue
			}
			interrupted = interrupted || m.flags&unix.NLM_F_DUMP_INTR != 0
			switch m.typ {
			case unix.NLMSG_ERROR:
				return m.refused()
			case unix.NLMSG_DONE:
				if len(m.data) >= 4 {
					if errno := -int32(binary.NativeEndian.Uint32(m.data)); errno > 0 {
						return &kernelError{errno: syscall.Errno(errno)}
					}
				}
				if interrupted {
					return ErrInterrupted
				}
				return nil
			}
			if err := m.decode(&c.ad, each); err != nil {
				c.dirty = c.dirty || dump
				return err
			}
			if !dump {
				return nil
			}
		}
	}
}

// decode gives a generic message's attributes to each, by way of ad.
func (m message) decode(ad *decoder, each func(*decoder) error) error {
	if len(m.data) < genlHeader {
		return fmt.Errorf("a generic netlink message of %d bytes", len(m.data))
	}
	*ad = decoder{b: m.data[genlHeader:]}
	if err := each(ad); err != nil {
		return err
	}
	return ad.Err()
}
