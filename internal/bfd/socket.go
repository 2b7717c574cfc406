// SPDX-License-Identifier: Apache-2.0

package bfd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Source ports of control packets (RFC 5881 4); a session keeps its own.
const (
	sourcePortMin = 49152
	sourcePorts   = 65536 - sourcePortMin
)

// tosControl is internetwork control, which routers queue first, and
// priorityControl is TC_PRIO_CONTROL of linux/pkt_sched.h.
const (
	tosControl      = 0xc0
	priorityControl = 7
)

// errEmpty says that nothing more is to be read now.
var errEmpty = errors.New("no packet")

// datagram is what was received, valid until the next one.
type datagram struct {
	src, dst netip.Addr // dst invalid: not told
	port     uint16     // of src
	ttl      int
	payload  []byte
}

// listener receives the control packets of one family and port. It does not block.
type listener struct {
	fd   int
	six  bool
	port int
	buf  [512]byte
	oob  [256]byte
}

func socket(six bool) (int, error) {
	family := unix.AF_INET
	if six {
		family = unix.AF_INET6
	}
	return unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
}

func sockaddr(a netip.Addr, port int) (unix.Sockaddr, error) {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4(), Port: port}, nil
	}
	to := &unix.SockaddrInet6{Addr: a.As16(), Port: port}
	if zone := a.Zone(); zone != "" {
		link, err := net.InterfaceByName(zone)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", a, err)
		}
		to.ZoneId = uint32(link.Index)
	}
	return to, nil
}

func unspecified(six bool) netip.Addr {
	if six {
		return netip.IPv6Unspecified()
	}
	return netip.IPv4Unspecified()
}

func listen(six bool, port int) (*listener, error) {
	fd, err := socket(six)
	if err != nil {
		return nil, fmt.Errorf("open UDP socket: %w", err)
	}
	l := &listener{fd: fd, six: six, port: port}
	var errs []error
	set := func(level, name int) { errs = append(errs, unix.SetsockoptInt(fd, level, name, 1)) }
	if six {
		set(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY)
		set(unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT)
		set(unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO)
	} else {
		set(unix.IPPROTO_IP, unix.IP_RECVTTL)
		set(unix.IPPROTO_IP, unix.IP_PKTINFO)
	}
	at, err := sockaddr(unspecified(six), port)
	errs = append(errs, err)
	if err := errors.Join(errs...); err != nil {
		return nil, errors.Join(fmt.Errorf("UDP socket: %w", err), l.close())
	}
	if err := unix.Bind(fd, at); err != nil {
		return nil, errors.Join(fmt.Errorf("listen on UDP port %d: %w: is another BFD daemon running?", port, err), l.close())
	}
	return l, nil
}

func (l *listener) close() error { return unix.Close(l.fd) }

// receive reads one datagram; errEmpty when there is none.
func (l *listener) receive() (datagram, error) {
	n, oobn, flags, from, err := unix.Recvmsg(l.fd, l.buf[:], l.oob[:], unix.MSG_DONTWAIT)
	switch {
	case errors.Is(err, unix.EAGAIN):
		return datagram{}, errEmpty
	case err != nil:
		return datagram{}, err
	}
	d := datagram{payload: l.buf[:n], ttl: -1}
	switch a := from.(type) {
	case *unix.SockaddrInet4:
		d.src, d.port = netip.AddrFrom4(a.Addr), uint16(a.Port)
	case *unix.SockaddrInet6:
		d.src, d.port = netip.AddrFrom16(a.Addr), uint16(a.Port)
	}
	switch {
	case !d.src.IsValid():
		return d, malformed(FaultSession, "no source address")
	case flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0:
		return d, malformed(FaultLength, "message truncated")
	}
	messages, err := unix.ParseSocketControlMessage(l.oob[:oobn])
	if err != nil {
		return d, err
	}
	for _, m := range messages {
		switch level, kind := m.Header.Level, m.Header.Type; {
		case (level == unix.IPPROTO_IP && kind == unix.IP_TTL || level == unix.IPPROTO_IPV6 && kind == unix.IPV6_HOPLIMIT) && len(m.Data) >= 4:
			d.ttl = int(binary.NativeEndian.Uint32(m.Data))
		case level == unix.IPPROTO_IP && kind == unix.IP_PKTINFO && len(m.Data) >= unix.SizeofInet4Pktinfo:
			d.dst = netip.AddrFrom4([4]byte(m.Data[8:12]))
		case level == unix.IPPROTO_IPV6 && kind == unix.IPV6_PKTINFO && len(m.Data) >= unix.SizeofInet6Pktinfo:
			d.dst = netip.AddrFrom16([16]byte(m.Data[:16]))
		}
	}
	if d.ttl < 0 {
		return d, malformed(FaultTTL, "no TTL")
	}
	return d, nil
}

// sender is the socket that one session sends from.
type sender struct {
	fd int
	to unix.Sockaddr
}

// dial opens the socket of a session, with a source port of its own. The source
// address need not be there yet.
func dial(c *Config) (*sender, error) {
	port := Port
	if c.Multihop {
		port = PortMultihop
	}
	to, err := sockaddr(c.Neighbor, port)
	if err != nil {
		return nil, err
	}
	six := c.Neighbor.Is6()
	fd, err := socket(six)
	if err != nil {
		return nil, fmt.Errorf("open UDP socket: %w", err)
	}
	s := &sender{fd: fd, to: to}
	var errs []error
	set := func(level, name, value int) { errs = append(errs, unix.SetsockoptInt(fd, level, name, value)) }
	set(unix.SOL_SOCKET, unix.SO_PRIORITY, priorityControl)
	if six {
		set(unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, c.TTL)
		set(unix.IPPROTO_IPV6, unix.IPV6_TCLASS, tosControl)
		set(unix.IPPROTO_IPV6, unix.IPV6_FREEBIND, 1)
	} else {
		set(unix.IPPROTO_IP, unix.IP_TTL, c.TTL)
		set(unix.IPPROTO_IP, unix.IP_TOS, tosControl)
		set(unix.IPPROTO_IP, unix.IP_FREEBIND, 1)
	}
	// Whatever is sent to the port is for the listener.
	set(unix.SOL_SOCKET, unix.SO_RCVBUF, 0)
	if err := errors.Join(errs...); err != nil {
		return nil, errors.Join(fmt.Errorf("UDP socket: %w", err), s.close())
	}
	if err := s.bind(c, six); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// bind looks for a free port from a random one on.
func (s *sender) bind(c *Config, six bool) error {
	source := c.Source
	if !source.IsValid() {
		source = unspecified(six)
	}
	first := rand.IntN(sourcePorts)
	for i := range sourcePorts {
		at, err := sockaddr(source, sourcePortMin+(first+i)%sourcePorts)
		if err == nil {
			err = unix.Bind(s.fd, at)
		}
		if !errors.Is(err, unix.EADDRINUSE) {
			if err != nil {
				err = fmt.Errorf("bind to %s: %w", source, err)
			}
			return err
		}
	}
	return fmt.Errorf("no port from %d on is free", sourcePortMin)
}

func (s *sender) send(b []byte) error { return unix.Sendto(s.fd, b, 0, s.to) }
func (s *sender) close() error        { return unix.Close(s.fd) }
