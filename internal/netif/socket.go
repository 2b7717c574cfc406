// SPDX-License-Identifier: Apache-2.0

package netif

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/lvs-fnat/lvs/vrrp"
)

// tosControl is internetwork control, which routers queue first.
const tosControl = 0xc0

// priorityControl is TC_PRIO_CONTROL of linux/pkt_sched.h.
const priorityControl = 7

// Socket is a raw socket that sends and receives one IP protocol, on one link
// or, for unicast, on any. It does not block.
type Socket struct {
	FD  int
	Six bool
}

// Listen opens a socket for the protocol. link 0 is any.
func Listen(six bool, proto int, link *Link) (*Socket, error) {
	family := unix.AF_INET
	if six {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, proto)
	if err != nil {
		return nil, fmt.Errorf("open socket of protocol %d: %w", proto, err)
	}
	s := &Socket{FD: fd, Six: six}
	if err := s.prepare(link); err != nil {
		return nil, errors.Join(fmt.Errorf("socket of protocol %d: %w", proto, err), s.Close())
	}
	return s, nil
}

func (s *Socket) prepare(link *Link) error {
	var errs []error
	set := func(level, name, value int) { errs = append(errs, unix.SetsockoptInt(s.FD, level, name, value)) }
	if link != nil {
		errs = append(errs, unix.BindToDevice(s.FD, link.Name))
	}
	set(unix.SOL_SOCKET, unix.SO_PRIORITY, priorityControl)
	if !s.Six {
		set(unix.IPPROTO_IP, unix.IP_HDRINCL, 1)
		set(unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, 0)
		set(unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, vrrp.TTL)
		if link != nil {
			errs = append(errs, unix.SetsockoptIPMreqn(s.FD, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(link.Index)}))
		}
		return errors.Join(errs...)
	}
	set(unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, 0)
	set(unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, vrrp.TTL)
	set(unix.IPPROTO_IPV6, unix.IPV6_TCLASS, tosControl)
	set(unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1)
	set(unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
	if link != nil {
		set(unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, link.Index)
	}
	return errors.Join(errs...)
}

// Close closes the socket.
func (s *Socket) Close() error { return unix.Close(s.FD) }

// Unsent is how many bytes of memory the packets take that were sent and have not yet
// left the host: they wait in a queue of the kernel or in the ring of a driver that
// has not told of their end.
func (s *Socket) Unsent() (int, error) { return unix.IoctlGetInt(s.FD, unix.SIOCOUTQ) }

// SetReadBuffer asks for a receive buffer of that many bytes.
func (s *Socket) SetReadBuffer(n int) error {
	return unix.SetsockoptInt(s.FD, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, n)
}

// Join takes part in a multicast group on the link with that index. Having
// joined already is no error.
func (s *Socket) Join(group netip.Addr, link int) error {
	var err error
	if s.Six {
		err = unix.SetsockoptIPv6Mreq(s.FD, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, &unix.IPv6Mreq{Multiaddr: group.As16(), Interface: uint32(link)})
	} else {
		err = unix.SetsockoptIPMreqn(s.FD, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, &unix.IPMreqn{Multiaddr: group.As4(), Ifindex: int32(link)})
	}
	if err != nil && !errors.Is(err, unix.EADDRINUSE) {
		return fmt.Errorf("join %s: %w", group, err)
	}
	return nil
}

// Receive reads what has arrived, at most [InboxSize] packets at once, into the
// inbox, and says how many there are. None left over is certain only after fewer
// than that. It does not wait.
func (s *Socket) Receive(in *Inbox) (int, error) {
	in.six = s.Six
	for i := range in.slots[:] {
		in.prepare(i)
	}
	// The runtime is not told of a system call that ends at once.
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(s.FD), uintptr(unsafe.Pointer(&in.heads)), InboxSize, unix.MSG_DONTWAIT, 0, 0)
	switch {
	case errno == unix.EAGAIN || errno == unix.EINTR:
		return 0, nil
	case errno != 0:
		return 0, errno
	}
	return int(n), nil
}

// Send4 sends a whole IPv4 packet.
func (s *Socket) Send4(packet []byte, dst netip.Addr) error {
	to := unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: dst.As4()}
	// The runtime is not told of a system call that never waits.
	_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(s.FD), uintptr(unsafe.Pointer(unsafe.SliceData(packet))), uintptr(len(packet)),
		unix.MSG_DONTWAIT, uintptr(unsafe.Pointer(&to)), unix.SizeofSockaddrInet4)
	if errno != 0 {
		return errno
	}
	return nil
}

// Send6 sends what follows the IPv6 header from src through the link with that
// index. A hops of -1 leaves the kernel's default to unicast packets.
func (s *Socket) Send6(payload []byte, src, dst netip.Addr, link, hops int) error {
	info := unix.Inet6Pktinfo{Addr: src.As16(), Ifindex: uint32(link)}
	oob := control(unix.IPV6_PKTINFO, unsafe.Slice((*byte)(unsafe.Pointer(&info)), unix.SizeofInet6Pktinfo))
	if hops >= 0 {
		oob = append(oob, control(unix.IPV6_HOPLIMIT, binary.NativeEndian.AppendUint32(nil, uint32(hops)))...)
	}
	to := &unix.SockaddrInet6{Addr: dst.As16()}
	if dst.IsLinkLocalUnicast() || dst.IsMulticast() {
		to.ZoneId = uint32(link)
	}
	return unix.Sendmsg(s.FD, payload, oob, to, 0)
}

// control is one control message of IPv6.
func control(kind int32, data []byte) []byte {
	b := make([]byte, unix.CmsgSpace(len(data)))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = unix.IPPROTO_IPV6, kind
	h.SetLen(unix.CmsgLen(len(data)))
	copy(b[unix.CmsgLen(0):], data)
	return b
}

// Announcer sends gratuitous ARP and unsolicited neighbour advertisements.
type Announcer struct{ fd int }

// NewAnnouncer opens the packet socket; it receives nothing.
func NewAnnouncer() (*Announcer, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open packet socket: %w", err)
	}
	return &Announcer{fd}, nil
}

// Close closes the socket.
func (a *Announcer) Close() error { return unix.Close(a.fd) }

const (
	etherARP  = 0x0806
	etherIPv6 = 0x86dd
	icmpV6    = 58
)

// Announce tells the neighbours on link that addr is at the link's hardware
// address. router says whether the host forwards IPv6.
func (a *Announcer) Announce(link *Link, addr netip.Addr, router bool) error {
	frame, err := announcement(link, addr, router)
	if err != nil {
		return err
	}
	to := &unix.SockaddrLinklayer{Ifindex: link.Index, Halen: 6}
	copy(to.Addr[:], frame[:6])
	to.Protocol = binary.NativeEndian.Uint16(frame[12:14])
	if err := unix.Sendto(a.fd, frame, 0, to); err != nil {
		return fmt.Errorf("announce %s on %s: %w", addr, link.Name, err)
	}
	return nil
}

func announcement(link *Link, addr netip.Addr, router bool) ([]byte, error) {
	if !link.Ethernet {
		return nil, fmt.Errorf("announce %s: %s is no Ethernet link", addr, link.Name)
	}
	if addr.Is4() {
		arp, err := vrrp.GratuitousARP(addr, link.MAC)
		if err != nil {
			return nil, err
		}
		frame := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
		frame = append(frame, link.MAC[:]...)
		return append(binary.BigEndian.AppendUint16(frame, etherARP), arp...), nil
	}
	na, err := vrrp.NeighbourAdvert(addr, link.MAC, router)
	if err != nil {
		return nil, err
	}
	frame := []byte{0x33, 0x33, 0, 0, 0, 1} // ff02::1, RFC 2464 7
	frame = append(frame, link.MAC[:]...)
	frame = binary.BigEndian.AppendUint16(frame, etherIPv6)
	frame = append(frame, 0x60, 0, 0, 0)
	frame = binary.BigEndian.AppendUint16(frame, uint16(len(na)))
	frame = append(frame, icmpV6, vrrp.TTL)
	frame = append(append(frame, addr.AsSlice()...), vrrp.AllNodes.AsSlice()...)
	return append(frame, na...), nil
}
