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

// Validate reports what keeps p from being connected to whatever the peer does: an
// address that is missing, families that differ, or a zone that is no interface.
func (p *Peer) Validate() error {
	if !p.Addr.IsValid() {
		return errors.New("no address to connect to")
	}
	if b := p.Bind.Addr(); b.IsValid() && b.Unmap().Is4() != p.Addr.Addr().Unmap().Is4() {
		return fmt.Errorf("cannot connect to %s from %s: families differ", p.Addr.Addr(), b)
	}
	for _, a := range []netip.Addr{p.Addr.Addr(), p.Bind.Addr()} {
		if zone := a.Zone(); zone != "" {
			if _, err := net.InterfaceByName(zone); err != nil {
				return fmt.Errorf("%s: %w", a, err)
			}
		}
	}
	return nil
}

// Dialer connects to peers. What the kernel is given lies in it, so that neither a
// connection nor a peer costs an allocation. It belongs to one goroutine; the
// zero value is good.
type Dialer struct {
	v4 unix.SockaddrInet4
	v6 unix.SockaddrInet6
}

// sockaddr gives a in the kernel's form, until the next call. fd is any socket.
func (d *Dialer) sockaddr(fd int, a netip.Addr, port uint16) (unix.Sockaddr, error) {
	if ip := a.Unmap(); ip.Is4() {
		d.v4.Port, d.v4.Addr = int(port), ip.As4()
		return &d.v4, nil
	}
	d.v6.Port, d.v6.Addr, d.v6.ZoneId = int(port), a.As16(), 0
	if zone := a.Zone(); zone != "" {
		// Each time anew: an interface that is made again has another number.
		q, err := unix.NewIfreq(zone)
		if err == nil {
			err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, q)
		}
		if err != nil {
			return nil, &LocalError{"interface " + zone, err}
		}
		d.v6.ZoneId = q.Uint32()
	}
	return &d.v6, nil
}

// Connect opens a non-blocking socket and begins to connect it to p, which is
// valid. The socket becomes writable when the connection stands or has failed;
// [Outcome] then tells which. Trouble that is this host's own is a [*LocalError];
// any other error is the network's answer.
func (d *Dialer) Connect(p *Peer) (fd int, err error) {
	family, kind, proto := p.socket()
	fd, err = unix.Socket(family, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		return -1, &LocalError{"socket", err}
	}
	if err := d.prepare(fd, p); err != nil {
		unix.Close(fd)
		return -1, err
	}
	port := p.Addr.Port()
	if p.Network == ICMP {
		port = 0 // a raw socket takes a port for a protocol number and refuses it
	}
	to, err := d.sockaddr(fd, p.Addr.Addr(), port)
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	for {
		err = unix.Connect(fd, to)
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

func (p *Peer) socket() (family, kind, proto int) {
	family, icmp := unix.AF_INET6, unix.IPPROTO_ICMPV6
	if p.Addr.Addr().Unmap().Is4() {
		family, icmp = unix.AF_INET, unix.IPPROTO_ICMP
	}
	switch p.Network {
	case UDP:
		return family, unix.SOCK_DGRAM, unix.IPPROTO_UDP
	case ICMP:
		return family, unix.SOCK_RAW, icmp
	}
	return family, unix.SOCK_STREAM, unix.IPPROTO_TCP
}

func (d *Dialer) prepare(fd int, p *Peer) error {
	if p.Device != "" {
		if err := unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, p.Device); err != nil {
			return &LocalError{"bind to " + p.Device, err}
		}
	}
	if p.Mark != 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(p.Mark)); err != nil {
			return &LocalError{"set mark", err}
		}
	}
	addr, port := p.Bind.Addr(), p.Bind.Port()
	if p.Network == ICMP {
		port = 0
	}
	if !addr.IsValid() {
		if port == 0 {
			return nil
		}
		if addr = netip.IPv6Unspecified(); p.Addr.Addr().Unmap().Is4() {
			addr = netip.IPv4Unspecified()
		}
	}
	from, err := d.sockaddr(fd, addr, port)
	if err != nil {
		return err
	}
	if p.Network != ICMP {
		opt, level := unix.IP_BIND_ADDRESS_NO_PORT, unix.IPPROTO_IP
		if port != 0 {
			opt, level = unix.SO_REUSEADDR, unix.SOL_SOCKET
		}
		// Without the no-port option bind takes a port that no other peer may
		// use, and all peers together share one port range.
		if err := unix.SetsockoptInt(fd, level, opt, 1); err != nil {
			return &LocalError{"setsockopt", err}
		}
	}
	if err := unix.Bind(fd, from); err != nil {
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
