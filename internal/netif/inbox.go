// SPDX-License-Identifier: Apache-2.0

package netif

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/lvs-fnat/lvs/vrrp"
)

// InboxSize is how many packets one system call reads.
const InboxSize = 16

const (
	// maxPacket is the largest packet read: headers and 255 IPv6 addresses.
	maxPacket = 4608
	// maxControl has room for hop limit and destination.
	maxControl = 128
)

// Inbox is memory for packets, for any number of sockets of one goroutine.
type Inbox struct {
	heads [InboxSize]multiHeader
	slots [InboxSize]slot
	six   bool // of the socket that was read last
}

// multiHeader is mmsghdr of recvmmsg(2).
type multiHeader struct {
	unix.Msghdr
	length uint32
	_      [4]byte
}

// slot is one packet with what the kernel says of it.
type slot struct {
	vec     unix.Iovec
	from    unix.RawSockaddrInet6
	control [maxControl]byte
	packet  [maxPacket]byte
}

// prepare gives the kernel the whole of a slot.
func (in *Inbox) prepare(i int) {
	s, h := &in.slots[i], &in.heads[i]
	s.vec.Base = &s.packet[0]
	s.vec.SetLen(len(s.packet))
	h.Iov = &s.vec
	h.SetIovlen(1)
	if in.six { // a header of IPv4 says it all
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&s.from)), unix.SizeofSockaddrInet6
		h.Control = &s.control[0]
		h.SetControllen(len(s.control))
	} else {
		h.Name, h.Namelen, h.Control = nil, 0, nil
		h.SetControllen(0)
	}
}

// Packet is the i-th of what the last [Socket.Receive] has read, valid until the
// next. One that is no IP packet is a *vrrp.Malformed.
func (in *Inbox) Packet(i int) (vrrp.Datagram, error) {
	s, h := &in.slots[i], &in.heads[i]
	if h.Flags&unix.MSG_TRUNC != 0 {
		return vrrp.Datagram{}, &vrrp.Malformed{Class: vrrp.ErrLength, Text: fmt.Sprintf("more than %d bytes", maxPacket)}
	}
	if !in.six {
		return vrrp.ParseIPv4(s.packet[:h.length])
	}
	if h.Namelen < unix.SizeofSockaddrInet6 || s.from.Family != unix.AF_INET6 {
		return vrrp.Datagram{}, &vrrp.Malformed{Class: vrrp.ErrSource, Text: "no source address"}
	}
	d := vrrp.Datagram{Src: netip.AddrFrom16(s.from.Addr), Payload: s.packet[:h.length]}
	return d, controls(&d, s.control[:h.Controllen])
}

// controls reads the hop limit and the destination.
func controls(d *vrrp.Datagram, b []byte) error {
	for len(b) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
		if h.Len < unix.SizeofCmsghdr || h.Len > uint64(len(b)) {
			return fmt.Errorf("control message of %d bytes in %d", h.Len, len(b))
		}
		data := b[unix.CmsgLen(0):h.Len]
		switch {
		case h.Level != unix.IPPROTO_IPV6:
		case h.Type == unix.IPV6_HOPLIMIT && len(data) >= 4:
			d.TTL = uint8(binary.NativeEndian.Uint32(data))
		case h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			d.Dst = netip.AddrFrom16([16]byte(data))
		}
		b = b[min(unix.CmsgSpace(len(data)), len(b)):]
	}
	return nil
}
