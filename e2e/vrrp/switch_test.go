// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/vrrp"
)

// lan is a switch in user space: what one port sends reaches all others, unless
// the test says otherwise. It records what passes, with the time at which the
// kernel took it from the sender.
type lan struct {
	t     testing.TB
	ports []*port

	mu                sync.Mutex
	seen              []frame
	kernels           []notice
	deaf              bool // record nothing any more, only count
	tally             map[uint8]*counted
	changed           chan struct{} // closed and made anew with every frame
	treat             func(from, to int, f *frame) []time.Duration
	carriers, delayed sync.WaitGroup
}

type port struct {
	f    *os.File
	node int
}

// what a frame is.
type what string

const (
	advert what = "advert"
	garp   what = "garp"
	na     what = "na"
	bfd    what = "bfd"
	other  what = "other"
)

// frame is one recorded packet.
type frame struct {
	at       time.Time
	node     int // that sent it
	what     what
	src, dst netip.Addr
	addr     netip.Addr // announced by garp and na
	vrid     uint8
	prio     uint8
	version  uint8
	count    uint8 // of addresses
	ttl      uint8
	payload  []byte // the VRRP message, or the BFD one
	port     uint16 // that a BFD packet comes from
	mac      [6]byte
}

// String is for failures.
func (f frame) String() string {
	if f.what == advert {
		return fmt.Sprintf("%s node %d: vrid %d prio %d %v>%v", f.at.Format("05.000"), f.node, f.vrid, f.prio, f.src, f.dst)
	}
	if f.what == bfd {
		return fmt.Sprintf("%s node %d: bfd %v>%v %x", f.at.Format("05.000"), f.node, f.src, f.dst, f.payload)
	}
	return fmt.Sprintf("%s node %d: %s %v", f.at.Format("05.000"), f.node, f.what, f.addr)
}

// plug connects a link of a namespace of the switch as the port of a node.
func (l *lan) plug(sw *testnet.NS, link string, node int) {
	l.t.Helper()
	var fd int
	testnet.Must(l.t, sw.Do(func() error {
		dev, err := sw.Link.LinkByName(link)
		if err != nil {
			return err
		}
		const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, all); err != nil {
			return err
		}
		return errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20),
			unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: dev.Attrs().Index}),
		)
	}))
	p := &port{os.NewFile(uintptr(fd), link), node}
	index := len(l.ports)
	l.mu.Lock()
	l.ports = append(l.ports, p)
	l.mu.Unlock()
	l.carriers.Go(func() { l.carry(index, p) })
}

// close takes all ports out and waits for what is under way.
func (l *lan) close() {
	for _, p := range l.ports {
		p.f.Close()
	}
	l.carriers.Wait()
	l.delayed.Wait()
}

// carry forwards what comes in at a port until it is closed.
func (l *lan) carry(index int, p *port) {
	conn, err := p.f.SyscallConn()
	if err != nil {
		l.t.Error(err)
		return
	}
	buf, oob := make([]byte, 4096), make([]byte, 256)
	for {
		var n, oobn int
		var failed error
		err := conn.Read(func(fd uintptr) bool {
			n, oobn, _, _, failed = unix.Recvmsg(int(fd), buf, oob, 0)
			return !errors.Is(failed, unix.EAGAIN)
		})
		if err != nil {
			return // closed
		}
		if failed != nil || n < 14 {
			continue // such as ENETDOWN while the link is down
		}
		f := parse(buf[:n])
		f.node, f.at = p.node, stamp(oob[:oobn])
		l.forward(index, slices.Clone(buf[:n]), f)
	}
}

func (l *lan) forward(from int, raw []byte, f frame) {
	l.mu.Lock()
	treat, ports := l.treat, l.ports
	if k, ok := kernelNotice(raw); ok && !l.deaf {
		k.node = f.node
		l.kernels = append(l.kernels, k)
	}
	if l.deaf && f.what == advert {
		l.count(&f)
	}
	if f.what != other && !l.deaf {
		l.seen = append(l.seen, f)
		close(l.changed)
		l.changed = make(chan struct{})
	}
	l.mu.Unlock()
	for to, p := range ports {
		if to == from {
			continue
		}
		copies := []time.Duration{0}
		if treat != nil {
			copies = treat(f.node, p.node, &f)
		}
		for _, after := range copies {
			if after == 0 {
				p.send(raw)
				continue
			}
			l.delayed.Add(1)
			time.AfterFunc(after, func() { defer l.delayed.Done(); p.send(raw) })
		}
	}
}

// counted is what a deaf switch keeps of one virtual router.
type counted struct {
	adverts int
	last    time.Time
	longest time.Duration // between two adverts
}

// count is called with l.mu held.
func (l *lan) count(f *frame) {
	c := l.tally[f.vrid]
	if c == nil {
		c = &counted{}
		l.tally[f.vrid] = c
	}
	if c.adverts++; c.adverts > 1 {
		c.longest = max(c.longest, f.at.Sub(c.last))
	}
	c.last = f.at
}

// forget empties the record, which would grow by thousands a second, and counts
// from now on.
func (l *lan) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen, l.deaf, l.tally = nil, true, map[uint8]*counted{}
}

func (p *port) send(raw []byte) {
	if conn, err := p.f.SyscallConn(); err == nil {
		_ = conn.Write(func(fd uintptr) bool {
			_, err := unix.Write(int(fd), raw)
			return !errors.Is(err, unix.EAGAIN)
		})
	}
}

// set changes how frames are treated: treat gives the delays of the copies that
// reach a port, none for a loss; nil for a plain switch.
func (l *lan) set(treat func(from, to int, f *frame) []time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.treat = treat
}

func stamp(oob []byte) time.Time {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return time.Now()
	}
	for _, m := range messages {
		if m.Header.Type == unix.SO_TIMESTAMPNS && len(m.Data) >= 16 {
			return time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:])))
		}
	}
	return time.Now()
}

func parse(b []byte) frame {
	f := frame{what: other, mac: [6]byte(b[6:12])}
	body := b[14:]
	switch binary.BigEndian.Uint16(b[12:]) {
	case unix.ETH_P_IP:
		if len(body) >= 28 && body[0] == 0x45 && body[9] == unix.IPPROTO_UDP {
			f.src, f.dst, f.ttl = netip.AddrFrom4([4]byte(body[12:16])), netip.AddrFrom4([4]byte(body[16:20])), body[8]
			f.datagram(body[20:])
			return f
		}
		d, err := vrrp.ParseIPv4(body)
		if err != nil {
			return f
		}
		f.src, f.dst, f.ttl = d.Src, d.Dst, d.TTL
		pdu := d.Payload
		if d.AH && len(pdu) > 24 {
			pdu = pdu[24:]
		}
		f.message(pdu)
	case unix.ETH_P_ARP:
		if len(body) >= 28 && slices.Equal(body[14:18], body[24:28]) {
			f.what, f.addr = garp, netip.AddrFrom4([4]byte(body[14:18]))
		}
	case unix.ETH_P_IPV6:
		if len(body) < 41 {
			return f
		}
		f.src, f.dst, f.ttl = netip.AddrFrom16([16]byte(body[8:24])), netip.AddrFrom16([16]byte(body[24:40])), body[7]
		switch {
		case body[6] == unix.IPPROTO_UDP && len(body) >= 48:
			f.datagram(body[40:])
		case body[6] == vrrp.Protocol:
			f.message(body[40:])
		case body[6] == unix.IPPROTO_ICMPV6 && body[40] == 136 && len(body) >= 64 && f.dst == vrrp.AllNodes:
			f.what, f.addr = na, netip.AddrFrom16([16]byte(body[48:64]))
		}
	}
	return f
}

// datagram is UDP, of which only BFD is of interest.
func (f *frame) datagram(udp []byte) {
	if binary.BigEndian.Uint16(udp[2:]) == 3784 && len(udp) >= 8+24 {
		f.what, f.port, f.payload = bfd, binary.BigEndian.Uint16(udp), slices.Clone(udp[8:])
	}
}

func (f *frame) message(pdu []byte) {
	if len(pdu) < 8 {
		return
	}
	f.what, f.version, f.vrid, f.prio, f.count, f.payload = advert, pdu[0]>>4, pdu[1], pdu[2], pdu[3], slices.Clone(pdu)
}

// all gives what has been seen so far, in the order of the kernel's stamps.
func (l *lan) all() []frame {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := slices.Clone(l.seen)
	slices.SortStableFunc(out, func(a, b frame) int { return a.at.Compare(b.at) })
	return out
}

// limit is how long anything may take on a host that is busy with other things.
const limit = 90 * time.Second

// await waits until check finds what it looks for in the record, and returns it.
func (l *lan) await(what string, check func([]frame) bool) []frame {
	l.t.Helper()
	deadline := time.After(limit)
	for {
		l.mu.Lock()
		changed := l.changed
		l.mu.Unlock()
		frames := l.all()
		if check(frames) {
			return frames
		}
		select {
		case <-changed:
		case <-deadline:
			if n := len(frames); n > 40 {
				frames = frames[n-40:]
			}
			l.t.Fatalf("not within %v: %s\n%v", limit, what, frames)
		}
	}
}

// pick gives the frames that match.
func pick(frames []frame, match ...func(frame) bool) []frame {
	var out []frame
	for _, f := range frames {
		ok := true
		for _, m := range match {
			ok = ok && m(f)
		}
		if ok {
			out = append(out, f)
		}
	}
	return out
}

func from(node int) func(frame) bool      { return func(f frame) bool { return f.node == node } }
func is(w what) func(frame) bool          { return func(f frame) bool { return f.what == w } }
func after(at time.Time) func(frame) bool { return func(f frame) bool { return f.at.After(at) } }
func vrid(v uint8) func(frame) bool {
	return func(f frame) bool { return f.what != advert || f.vrid == v }
}
func prio(p uint8) func(frame) bool {
	return func(f frame) bool { return f.what == advert && f.prio == p }
}
func alive(f frame) bool { return f.what == advert && f.prio != vrrp.ReleasePriority }
