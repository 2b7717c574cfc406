// SPDX-License-Identifier: Apache-2.0

// Package testtoa plays a director towards a TOA receiver on this host: it
// completes TCP handshakes against real listeners with option bytes of the
// test's choice, and runs the cases every receiver has to pass.
//
//	test ── tun device ── this host's TCP ── listener ── accept(), getpeername()
package testtoa

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The addresses of the test network. Everything in Net4 and Net6 but the host
// itself is reached through the tun device.
var (
	Host4 = netip.MustParseAddr("10.77.0.1")
	Host6 = netip.MustParseAddr("fd77::1")
	Net4  = netip.MustParsePrefix("10.77.0.0/16")
	Net6  = netip.MustParsePrefix("fd77::/32")
)

// A Peer sends and receives raw IP packets on a tun device in a network
// namespace of its own. It is not safe for concurrent use.
type Peer struct {
	f    *os.File
	ns   *os.File
	port uint16
}

// Open makes the namespace and in it the device toa0 with Host4 and Host6 on
// it. It needs root and the tun driver.
func Open() (*Peer, error) {
	p := &Peer{port: 20000}
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("new network namespace: %w", err)
		}
		var err error
		if p.ns, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		if p.f, err = openTun(); err != nil {
			return errors.Join(err, p.ns.Close())
		}
		if err := configure(); err != nil {
			return errors.Join(fmt.Errorf("toa0: %w", err), p.Close())
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// Do runs f on a thread in the peer's namespace: sockets f opens belong to it.
func (p *Peer) Do(f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(p.ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		return f()
	})
}

// onThread runs f on a thread that ends with it, so whatever f did to the
// thread ends as well. The first thread of a process is spared: it would not
// end, and /proc/self is what it sees.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			done <- onThread(f)
			runtime.UnlockOSThread()
			return
		}
		done <- f()
	}()
	return <-done
}

func openTun() (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/net/tun: %w (is the tun driver loaded?)", err)
	}
	ifr, err := unix.NewIfreq("toa0")
	if err == nil {
		ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = ioctl(fd, unix.TUNSETIFF, ifr)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("toa0: make tun device: %w", err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "toa0"), nil
}

func ioctl(fd int, req uintptr, ifr *unix.Ifreq) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), req, uintptr(unsafe.Pointer(ifr)))
	if errno != 0 {
		return errno
	}
	return nil
}

func configure() error {
	link, err := netlink.LinkByName("toa0")
	if err != nil {
		return err
	}
	for _, pfx := range []netip.Prefix{
		netip.PrefixFrom(Host4, Net4.Bits()), netip.PrefixFrom(Host6, Net6.Bits()),
	} {
		a := &netlink.Addr{Flags: unix.IFA_F_NODAD, IPNet: &net.IPNet{
			IP:   pfx.Addr().AsSlice(),
			Mask: net.CIDRMask(pfx.Bits(), pfx.Addr().BitLen()),
		}}
		if err := netlink.AddrAdd(link, a); err != nil {
			return err
		}
	}
	return netlink.LinkSetUp(link)
}

// Close removes the device and lets go of the namespace.
func (p *Peer) Close() error { return errors.Join(p.f.Close(), p.ns.Close()) }

// Handshake says which TCP options the packets of a connection carry. Options
// are padded with zeroes (end of list) to a multiple of four.
type Handshake struct {
	Src, Dst netip.AddrPort // Src port 0: the next free one
	SYN      []byte
	ACK      []byte
	// LoseACK leaves out the bare ACK, so that the data segment, with the
	// options of Data, ends the handshake.
	LoseACK bool
	Data    []byte
}

// Dial opens a connection and sends one byte on it. The peer's side is then
// forgotten: nothing answers the host any more. It returns the source.
func (p *Peer) Dial(h Handshake) (netip.AddrPort, error) {
	if h.Src.Port() == 0 {
		p.port++
		h.Src = netip.AddrPortFrom(h.Src.Addr(), p.port)
	}
	const isn = 1000
	var ack uint32
	// A host that is busy drops SYNs, and counts on clients to send them again.
	for try := 0; ; try++ {
		err := p.send(segment{h.Src, h.Dst, isn, 0, flagSYN, h.SYN, nil})
		if err != nil {
			return h.Src, err
		}
		if ack, err = p.synAck(h.Dst, h.Src); err == nil {
			break
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) || try == 60 {
			return h.Src, err
		}
	}
	if !h.LoseACK {
		if err := p.send(segment{h.Src, h.Dst, isn + 1, ack, flagACK, h.ACK, nil}); err != nil {
			return h.Src, err
		}
	}
	return h.Src, p.send(segment{h.Src, h.Dst, isn + 1, ack, flagACK | flagPSH, h.Data, []byte("x")})
}

// synAck waits a second for the SYN/ACK from src to dst and returns what to acknowledge.
func (p *Peer) synAck(src, dst netip.AddrPort) (uint32, error) {
	if err := p.f.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		return 0, err
	}
	buf := make([]byte, 2048)
	for {
		n, err := p.f.Read(buf)
		if err != nil {
			return 0, fmt.Errorf("%v: no SYN/ACK to %v: %w", src, dst, err)
		}
		s, ok := decode(buf[:n])
		if !ok || s.src != src || s.dst != dst {
			continue
		}
		if s.flags&flagRST != 0 {
			return 0, fmt.Errorf("%v: refused %v", src, dst)
		}
		if s.flags&(flagSYN|flagACK) == flagSYN|flagACK {
			return s.seq + 1, nil
		}
	}
}

func (p *Peer) send(s segment) error {
	_, err := p.f.Write(s.encode())
	return err
}

const (
	flagSYN = 0x02
	flagRST = 0x04
	flagPSH = 0x08
	flagACK = 0x10
)

type segment struct {
	src, dst netip.AddrPort
	seq, ack uint32
	flags    byte
	options  []byte
	payload  []byte
}

func (s segment) encode() []byte {
	options := append([]byte(nil), s.options...)
	for len(options)%4 != 0 {
		options = append(options, 0)
	}
	tcp := make([]byte, 20, 80)
	binary.BigEndian.PutUint16(tcp[0:], s.src.Port())
	binary.BigEndian.PutUint16(tcp[2:], s.dst.Port())
	binary.BigEndian.PutUint32(tcp[4:], s.seq)
	binary.BigEndian.PutUint32(tcp[8:], s.ack)
	tcp[12] = byte(20+len(options)) / 4 << 4
	tcp[13] = s.flags
	binary.BigEndian.PutUint16(tcp[14:], 65535)
	tcp = append(append(tcp, options...), s.payload...)

	pseudo := append(s.src.Addr().AsSlice(), s.dst.Addr().AsSlice()...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(tcp)))
	pseudo = binary.BigEndian.AppendUint32(pseudo, unix.IPPROTO_TCP)
	binary.BigEndian.PutUint16(tcp[16:], checksum(append(pseudo, tcp...)))
	return append(s.ipHeader(len(tcp)), tcp...)
}

func (s segment) ipHeader(payload int) []byte {
	if s.src.Addr().Is6() {
		h := make([]byte, 8, 40)
		h[0] = 6 << 4
		binary.BigEndian.PutUint16(h[4:], uint16(payload))
		h[6], h[7] = unix.IPPROTO_TCP, 64
		return append(append(h, s.src.Addr().AsSlice()...), s.dst.Addr().AsSlice()...)
	}
	h := make([]byte, 12, 20)
	h[0] = 4<<4 | 5
	binary.BigEndian.PutUint16(h[2:], uint16(20+payload))
	h[6] = 0x40 // do not fragment
	h[8], h[9] = 64, unix.IPPROTO_TCP
	h = append(append(h, s.src.Addr().AsSlice()...), s.dst.Addr().AsSlice()...)
	binary.BigEndian.PutUint16(h[10:], checksum(h))
	return h
}

// decode reads the headers of a TCP packet without IP options or extension
// headers; everything else is not ok.
func decode(b []byte) (segment, bool) {
	var src, dst netip.Addr
	switch {
	case len(b) >= 40 && b[0] == 4<<4|5 && b[9] == unix.IPPROTO_TCP:
		src, dst = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
		b = b[20:]
	case len(b) >= 60 && b[0]>>4 == 6 && b[6] == unix.IPPROTO_TCP:
		src, dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
		b = b[40:]
	default:
		return segment{}, false
	}
	return segment{
		src:   netip.AddrPortFrom(src, binary.BigEndian.Uint16(b[0:])),
		dst:   netip.AddrPortFrom(dst, binary.BigEndian.Uint16(b[2:])),
		seq:   binary.BigEndian.Uint32(b[4:]),
		ack:   binary.BigEndian.Uint32(b[8:]),
		flags: b[13],
	}, true
}

func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
