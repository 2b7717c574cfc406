// SPDX-License-Identifier: Apache-2.0

package poll

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Network is the kind of socket that reaches a peer.
type Network uint8

// The networks.
const (
	TCP  Network = iota
	UDP          // errors of the network come back by Read and Write
	ICMP         // raw, of the peer's family; needs privilege; ports are ignored
)

// Peer is where a connection goes and how it leaves this host. It is plain and
// comparable.
type Peer struct {
	// Network is TCP unless set.
	Network Network
	// Addr is the far end.
	Addr netip.AddrPort
	// Bind is the local address and port; the zero value leaves both, port 0
	// leaves the port to the kernel.
	Bind netip.AddrPort
	// Device is an interface to bind to (SO_BINDTODEVICE, needs privilege).
	Device string
	// Mark is a firewall mark (SO_MARK, needs privilege), 0 for none.
	Mark uint32
}

// LocalError is trouble on this host, descriptors, ports, memory or an
// address that is not here, that says nothing about the peer.
type LocalError struct {
	Op  string // the system call
	Err error
}

// Error names the call and the trouble.
func (e *LocalError) Error() string { return e.Op + ": " + e.Err.Error() }

// Unwrap returns the system's error.
func (e *LocalError) Unwrap() error { return e.Err }

// Target is a Peer made ready for the kernel, so that each connection costs
// no allocation. It belongs to one goroutine.
type Target struct {
	peer     Peer
	family   int
	to, from unix.Sockaddr
}

// NewTarget prepares p. It fails when the families of Addr and Bind differ or
// an address is missing.
func NewTarget(p Peer) (*Target, error) {
	if !p.Addr.IsValid() {
		return nil, errors.New("no address to connect to")
	}
	if p.Network == ICMP {
		// A raw socket takes a port for a protocol number and refuses it.
		p.Addr = netip.AddrPortFrom(p.Addr.Addr(), 0)
		p.Bind = netip.AddrPortFrom(p.Bind.Addr(), 0)
	}
	t := &Target{peer: p, family: unix.AF_INET6}
	if p.Addr.Addr().Unmap().Is4() {
		t.family = unix.AF_INET
	}
	var err error
	if t.to, err = sockaddr(p.Addr); err != nil {
		return nil, err
	}
	if !p.Bind.Addr().IsValid() {
		if p.Bind.Port() != 0 {
			p.Bind = netip.AddrPortFrom(t.unspecified(), p.Bind.Port())
		}
	} else if p.Bind.Addr().Unmap().Is4() != (t.family == unix.AF_INET) {
		return nil, fmt.Errorf("cannot connect to %s from %s: families differ", p.Addr.Addr(), p.Bind.Addr())
	}
	if p.Bind.Addr().IsValid() {
		if t.from, err = sockaddr(p.Bind); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func (t *Target) unspecified() netip.Addr {
	if t.family == unix.AF_INET {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

func sockaddr(a netip.AddrPort) (unix.Sockaddr, error) {
	ip := a.Addr().Unmap()
	if ip.Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: ip.As4()}, nil
	}
	sa := &unix.SockaddrInet6{Port: int(a.Port()), Addr: ip.As16()}
	if zone := ip.Zone(); zone != "" {
		ifi, err := net.InterfaceByName(zone)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", ip, err)
		}
		sa.ZoneId = uint32(ifi.Index)
	}
	return sa, nil
}

// Connect opens a non-blocking socket and begins to connect it. The socket
// becomes writable when the connection stands or has failed; [Outcome] then
// tells which. Trouble that is this host's own is a [*LocalError]; any other
// error is the network's answer.
func (t *Target) Connect() (fd int, err error) {
	kind, proto := t.socketType()
	fd, err = unix.Socket(t.family, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		return -1, &LocalError{"socket", err}
	}
	if err := t.prepare(fd); err != nil {
		unix.Close(fd)
		return -1, err
	}
	for {
		err = unix.Connect(fd, t.to)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil && err != unix.EINPROGRESS {
		unix.Close(fd)
		if local(err) {
			return -1, &LocalError{"connect", err}
		}
		return -1, err
	}
	return fd, nil
}

func (t *Target) socketType() (kind, proto int) {
	switch {
	case t.peer.Network == UDP:
		return unix.SOCK_DGRAM, unix.IPPROTO_UDP
	case t.peer.Network == ICMP && t.family == unix.AF_INET:
		return unix.SOCK_RAW, unix.IPPROTO_ICMP
	case t.peer.Network == ICMP:
		return unix.SOCK_RAW, unix.IPPROTO_ICMPV6
	}
	return unix.SOCK_STREAM, unix.IPPROTO_TCP
}

func (t *Target) prepare(fd int) error {
	if t.peer.Device != "" {
		if err := unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, t.peer.Device); err != nil {
			return &LocalError{"bind to " + t.peer.Device, err}
		}
	}
	if t.peer.Mark != 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(t.peer.Mark)); err != nil {
			return &LocalError{"set mark", err}
		}
	}
	if t.from == nil {
		return nil
	}
	if t.peer.Network == ICMP {
		if err := unix.Bind(fd, t.from); err != nil {
			return &LocalError{"bind", err}
		}
		return nil
	}
	opt, level := unix.IP_BIND_ADDRESS_NO_PORT, unix.IPPROTO_IP
	if t.peer.Bind.Port() != 0 {
		opt, level = unix.SO_REUSEADDR, unix.SOL_SOCKET
	}
	// Without the no-port option bind takes a port that no other target may
	// use, and all targets together share one port range.
	if err := unix.SetsockoptInt(fd, level, opt, 1); err != nil {
		return &LocalError{"setsockopt", err}
	}
	if err := unix.Bind(fd, t.from); err != nil {
		return &LocalError{"bind", err}
	}
	return nil
}

// local tells errors of connect that arise on this host before a packet went
// out. EADDRNOTAVAIL and EAGAIN mean that the port range is used up.
func local(err error) bool {
	switch err {
	case unix.EADDRNOTAVAIL, unix.EAGAIN, unix.EADDRINUSE, unix.ENOBUFS, unix.ENOMEM, unix.EMFILE, unix.ENFILE:
		return true
	}
	return false
}

// Outcome returns how a connection begun with Connect ended, given the events
// it was woken with: nil when it stands.
func Outcome(fd int, ev Events) error {
	if ev&(Error|Hangup) == 0 {
		return nil
	}
	errno, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return err
	}
	if errno != 0 {
		return unix.Errno(errno)
	}
	return nil
}

// Read reads what has arrived. It returns io.EOF at the end, and 0 and no
// error when nothing is there yet.
func Read(fd int, p []byte) (int, error) {
	n, err := unix.Read(fd, p)
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return 0, nil
	case err != nil:
		return 0, err
	case n == 0 && len(p) > 0:
		return 0, io.EOF
	}
	return n, nil
}

// Write sends what fits and returns how much; 0 and no error when nothing
// does. A closed peer is an error, not a signal.
func Write(fd int, p []byte) (int, error) {
	n, err := unix.SendmsgN(fd, p, nil, nil, unix.MSG_NOSIGNAL)
	if err == unix.EAGAIN || err == unix.EINTR {
		return 0, nil
	}
	return max(n, 0), err
}

// Close closes a socket. With reset the connection ends by RST and leaves no
// TIME_WAIT behind, of which 10,000 checks a second would gather 600,000.
func Close(fd int, reset bool) {
	if reset {
		unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	unix.Close(fd)
}
