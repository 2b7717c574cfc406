// SPDX-License-Identifier: Apache-2.0

package testpkt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/lvs-fnat/lvs/internal/testnet"
)

// Wait is how long Recv waits for a packet, on the guest's clock.
const Wait = 2 * time.Second

// Silence is how long Quiet looks for packets that must not come.
const Silence = 50 * time.Millisecond

const (
	vnetLen = 10 // struct virtio_net_hdr
	ethLen  = 14

	vnetNeedsCsum = 1
	vnetGSOv4     = 1
	vnetGSOv6     = 4
)

// Port is one end of a wire: packets leave and arrive by a link of a namespace.
// Its methods may be called from one goroutine at a time.
type Port struct {
	name     string
	fd       int
	mac      net.HardwareAddr
	peer     net.HardwareAddr
	pending  []Packet // taken off the socket, not yet asked for
	receives []byte
}

// Open binds a port to link in n. Frames are sent to peer.
func Open(n *testnet.NS, link string, peer net.HardwareAddr) (*Port, error) {
	p := &Port{name: n.Name + "/" + link, fd: -1, peer: peer, receives: make([]byte, 80<<10)}
	l, err := n.Link.LinkByName(link)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.name, err)
	}
	p.mac = l.Attrs().HardwareAddr
	err = n.Do(func() error {
		var err error
		p.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: packet socket: %w", p.name, err)
	}
	err = errors.Join(
		unix.SetsockoptInt(p.fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1),
		unix.SetsockoptInt(p.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20),
		unix.Bind(p.fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: l.Attrs().Index}),
	)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: packet socket: %w", p.name, err), p.Close())
	}
	return p, nil
}

func htons(n uint16) uint16 { return n<<8 | n>>8 }

// Close closes the socket.
func (p *Port) Close() error { return unix.Close(p.fd) }

// SetPeer changes where frames are sent to.
func (p *Port) SetPeer(mac net.HardwareAddr) { p.peer = mac }

// Write sends one packet.
func (p *Port) Write(pkt Packet) error {
	ip := pkt.Encode()
	b := make([]byte, vnetLen+ethLen, vnetLen+ethLen+len(ip))
	if pkt.Sum == SumPartial {
		l4 := len(ip) - len(pkt.transport())
		hlen := l4 + 20 + len(pkt.Options)
		b[0] = vnetNeedsCsum
		if pkt.GSO != 0 {
			b[1] = vnetGSOv4
			if pkt.V6() {
				b[1] = vnetGSOv6
			}
			binary.NativeEndian.PutUint16(b[2:], uint16(ethLen+hlen))
			binary.NativeEndian.PutUint16(b[4:], pkt.GSO)
		}
		binary.NativeEndian.PutUint16(b[6:], uint16(ethLen+l4))
		binary.NativeEndian.PutUint16(b[8:], uint16(sumOffset(pkt.Proto)))
	}
	copy(b[vnetLen:], p.peer)
	copy(b[vnetLen+6:], p.mac)
	etype := uint16(unix.ETH_P_IP)
	if pkt.V6() {
		etype = unix.ETH_P_IPV6
	}
	binary.BigEndian.PutUint16(b[vnetLen+12:], etype)
	b = append(b, ip...)
	_, err := unix.Write(p.fd, b)
	for errors.Is(err, unix.EAGAIN) {
		// What was sent before is still on its way through the other machine.
		poll := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLOUT}}
		if n, _ := unix.Poll(poll, int(Wait/time.Millisecond)); n == 0 {
			break
		}
		_, err = unix.Write(p.fd, b)
	}
	if err != nil {
		return fmt.Errorf("%s: send: %w\n%v", p.name, err, pkt)
	}
	return nil
}

// Read returns the next packet that tells something, or os.ErrDeadlineExceeded's
// like when wait is over. It passes over ARP, neighbour discovery and what else
// machines say unasked.
func (p *Port) Read(wait time.Duration) (Packet, error) {
	if len(p.pending) > 0 {
		pkt := p.pending[0]
		p.pending = p.pending[1:]
		return pkt, nil
	}
	deadline := time.Now().Add(wait)
	for {
		n, err := unix.Read(p.fd, p.receives)
		switch {
		case errors.Is(err, unix.EAGAIN):
			left := time.Until(deadline)
			if left <= 0 {
				return Packet{}, fmt.Errorf("%s: no packet within %v", p.name, wait)
			}
			poll := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
			if _, err := unix.Poll(poll, int(left/time.Millisecond)+1); err != nil && !errors.Is(err, unix.EINTR) {
				return Packet{}, fmt.Errorf("%s: poll: %w", p.name, err)
			}
			continue
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return Packet{}, fmt.Errorf("%s: receive: %w", p.name, err)
		}
		if pkt, ok := p.frame(p.receives[:n]); ok {
			return pkt, nil
		}
	}
}

func (p *Port) frame(b []byte) (Packet, bool) {
	if len(b) < vnetLen+ethLen {
		return Packet{}, false
	}
	eth := b[vnetLen:]
	if etype := binary.BigEndian.Uint16(eth[12:]); etype != unix.ETH_P_IP && etype != unix.ETH_P_IPV6 {
		return Packet{}, false
	}
	o := offload{
		partial: b[0]&vnetNeedsCsum != 0,
		start:   int(binary.NativeEndian.Uint16(b[6:])) - ethLen,
		off:     int(binary.NativeEndian.Uint16(b[8:])),
		gsoType: b[1],
	}
	if b[1] != 0 {
		o.gso = binary.NativeEndian.Uint16(b[4:])
	}
	pkt := decode(eth[ethLen:], o)
	switch {
	case pkt.Proto == unix.IPPROTO_IGMP:
		return pkt, false
	case pkt.Proto == ICMPv6 && (pkt.Type >= 130 && pkt.Type <= 136 || pkt.Type == 143):
		return pkt, false
	}
	return pkt, true
}

// Send sends packets in order and fails t if the kernel does not take one.
func (p *Port) Send(t testing.TB, pkts ...Packet) {
	t.Helper()
	for _, pkt := range pkts {
		if err := p.Write(pkt); err != nil {
			t.Fatal(err)
		}
	}
}

// Recv returns the next packet; it fails t when none comes within Wait or the
// packet has faults.
func (p *Port) Recv(t testing.TB) Packet {
	t.Helper()
	pkt, err := p.Read(Wait)
	if err != nil {
		t.Fatal(err)
	}
	if len(pkt.Faults) > 0 {
		t.Fatalf("%s: a packet that is wrong in itself:\n%v", p.name, pkt)
	}
	return pkt
}

// Expect fails t unless the next packet is want, in every field.
func (p *Port) Expect(t testing.TB, want Packet) {
	t.Helper()
	got, err := p.Read(Wait)
	if err != nil {
		t.Fatalf("%v, want\n%v", err, want)
	}
	if d := Diff(want, got); d != "" {
		t.Fatalf("%s: packet differs:\n%s", p.name, d)
	}
}

// Rest returns the packets that come until there is silence.
func (p *Port) Rest() []Packet {
	var all []Packet
	for {
		pkt, err := p.Read(Silence)
		if err != nil {
			return all
		}
		all = append(all, pkt)
	}
}

// Quiet fails t if a packet is there or comes within Silence.
func (p *Port) Quiet(t testing.TB) {
	t.Helper()
	var got []string
	for _, pkt := range p.Rest() {
		got = append(got, pkt.String())
	}
	if len(got) > 0 {
		t.Errorf("%s: %d packets, want none:\n%s", p.name, len(got), strings.Join(got[:min(len(got), 8)], "\n"))
	}
}

// Drain throws away what has come, or is on its way, and returns it.
func (p *Port) Drain() []Packet {
	all := p.Come()
	// What is on its way may be with a thread of the kernel, which needs a turn.
	time.Sleep(50 * time.Microsecond)
	return append(all, p.Come()...)
}

// Come is Drain for who keeps time: it waits for nothing.
func (p *Port) Come() []Packet {
	var all []Packet
	for {
		pkt, err := p.Read(0)
		if err != nil {
			return all
		}
		all = append(all, pkt)
	}
}

// Offloads are device features that Offload switches, by their ethtool command.
var Offloads = map[string]uint32{
	"tx": unix.ETHTOOL_STXCSUM, "rx": unix.ETHTOOL_SRXCSUM, "sg": unix.ETHTOOL_SSG,
	"tso": unix.ETHTOOL_STSO, "gso": unix.ETHTOOL_SGSO, "gro": unix.ETHTOOL_SGRO,
}

// Offload switches features of a link on or off, in the order given: with tx off
// a kernel completes checksums before packets leave by the link.
func Offload(n *testnet.NS, link string, on bool, features ...string) error {
	return n.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for _, f := range features {
			value := struct{ cmd, data uint32 }{cmd: Offloads[f]}
			if on {
				value.data = 1
			}
			var req struct {
				name [unix.IFNAMSIZ]byte
				data uintptr
				_    [16]byte
			}
			copy(req.name[:unix.IFNAMSIZ-1], link)
			req.data = uintptr(unsafe.Pointer(&value))
			if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req))); e != 0 {
				return fmt.Errorf("%s: %s of %s: %w", n.Name, f, link, e)
			}
		}
		return nil
	})
}

// Unordered receives n packets and returns them sorted by their text: for cases
// where several may overtake each other.
func (p *Port) Unordered(t testing.TB, n int) []Packet {
	t.Helper()
	var all []Packet
	for range n {
		all = append(all, p.Recv(t))
	}
	slices.SortFunc(all, func(a, b Packet) int { return strings.Compare(a.String(), b.String()) })
	return all
}
