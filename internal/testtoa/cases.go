// SPDX-License-Identifier: Apache-2.0

package testtoa

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The peers of the cases. A receiver under test trusts TrustedNet4 and
// TrustedNet6 and nobody else.
var (
	TrustedNet4 = netip.MustParsePrefix("10.77.8.0/24")
	TrustedNet6 = netip.MustParsePrefix("fd77:0:8::/48")

	director4 = netip.MustParseAddr("10.77.8.9")
	director6 = netip.MustParseAddr("fd77:0:8::9")
	stranger4 = netip.MustParseAddr("10.77.9.9")
	stranger6 = netip.MustParseAddr("fd77:0:9::9")

	client4 = netip.MustParseAddrPort("198.51.100.7:4711")
	client6 = netip.MustParseAddrPort("[2001:db8::7]:4712")
)

// Option builds a TOA option of the given kind.
func Option(kind byte, client netip.AddrPort) []byte {
	addr := client.Addr().AsSlice()
	o := []byte{kind, byte(4 + len(addr)), byte(client.Port() >> 8), byte(client.Port())}
	return append(o, addr...)
}

// A Socket is what accept() writes into: a family, and whether an IPv6 socket
// takes IPv4 connections too.
type Socket struct {
	name   string
	family int
	v6only int
}

// The three kinds of sockets servers listen on.
var (
	Inet4 = Socket{"inet4", unix.AF_INET, 0}
	Inet6 = Socket{"inet6", unix.AF_INET6, 1}
	Dual  = Socket{"dual", unix.AF_INET6, 0}
)

// listen is for any address and a free port. net.Listen would not do: it falls
// back to IPv4 for good when the host had no IPv6 as it looked first.
func (s Socket) listen() (net.Listener, error) {
	fd, err := unix.Socket(s.family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), s.name)
	defer f.Close()
	var wildcard unix.Sockaddr = &unix.SockaddrInet4{}
	if s.family == unix.AF_INET6 {
		wildcard = &unix.SockaddrInet6{}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, s.v6only); err != nil {
			return nil, err
		}
	}
	if err := unix.Bind(fd, wildcard); err != nil {
		return nil, err
	}
	if err := unix.Listen(fd, 16); err != nil {
		return nil, err
	}
	return net.FileListener(f)
}

type oneCase struct {
	name string
	on   []Socket
	from netip.Addr
	opt  []byte
	data bool           // lose the ACK: the option is on data only
	want netip.AddrPort // zero: the peer itself
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func allCases() []oneCase {
	v4, v6, both := []Socket{Inet4, Dual}, []Socket{Inet6, Dual}, []Socket{Dual}
	timestamps := []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0}
	toa4 := Option(254, client4)
	return []oneCase{
		{"254/8", v4, director4, toa4, false, client4},
		{"252/8", v4, director4, Option(252, client4), false, client4},
		{"253/8", v4, director4, Option(253, client4), false, client4},
		{"200/8", v4, director4, Option(200, client4), false, client4},
		{"254/20", v6, director6, Option(254, client6), false, client6},
		{"253/20", v6, director6, Option(253, client6), false, client6},
		{"200/20", v6, director6, Option(200, client6), false, client6},
		{"v6 client over v4", both, director4, Option(254, client6), false, client6},
		{"v6 client on an inet4 socket", []Socket{Inet4}, director4, Option(254, client6), false, netip.AddrPort{}},
		{"v4 client over v6", v6, director6, toa4, false, client4},
		{"behind other options", v4, director4, join(timestamps, toa4), false, client4},
		{"first of two", v4, director4, join(toa4, Option(254, netip.MustParseAddrPort("203.0.113.1:1"))), false, client4},
		{"behind a strange 254", v4, director4, join([]byte{254, 4, 0xf9, 0x89}, toa4), false, client4},
		{"all 40 bytes", v4, director4, join(bytes.Repeat([]byte{1}, 32), toa4), false, client4},
		{"on data only", v4, director4, toa4, true, client4},
		{"v6 on data only", v6, director6, Option(254, client6), true, client6},
		{"none", v4, director4, nil, false, netip.AddrPort{}},
		{"v6 none", v6, director6, nil, false, netip.AddrPort{}},
		{"unknown kind", v4, director4, Option(251, client4), false, netip.AddrPort{}},
		{"behind end of list", v4, director4, join([]byte{1, 1, 1, 0}, toa4), false, netip.AddrPort{}},
		{"length 0", v4, director4, join([]byte{99, 0, 1, 1}, toa4), false, netip.AddrPort{}},
		{"runs over the end", v4, director4, []byte{254, 20, 1, 1, 1, 1, 1, 1}, false, netip.AddrPort{}},
		{"only a kind at the end", v4, director4, []byte{1, 1, 1, 254}, false, netip.AddrPort{}},
		{"port 0", v4, director4, Option(254, netip.AddrPortFrom(client4.Addr(), 0)), false, netip.AddrPort{}},
		{"loopback", v4, director4, Option(254, netip.MustParseAddrPort("127.0.0.1:80")), false, netip.AddrPort{}},
		{"untrusted", v4, stranger4, toa4, false, netip.AddrPort{}},
		{"v6 untrusted", v6, stranger6, Option(254, client6), false, netip.AddrPort{}},
	}
}

// Receive runs all cases against the receiver that is active on this host,
// once as the kernel is and once with SYN cookies for every connection.
func Receive(t *testing.T, p *Peer) {
	for _, cookies := range []string{"1", "2"} {
		t.Run("syncookies="+cookies, func(t *testing.T) {
			Cookies(t, p, cookies)
			for _, c := range allCases() {
				for _, l := range c.on {
					t.Run(c.name+" "+l.name, func(t *testing.T) { c.run(t, p, l) })
				}
			}
		})
	}
}

// Cookies sets net.ipv4.tcp_syncookies of the peer's namespace.
func Cookies(t *testing.T, p *Peer, value string) {
	t.Helper()
	err := p.Do(func() error {
		return os.WriteFile("/proc/sys/net/ipv4/tcp_syncookies", []byte(value), 0)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (c oneCase) run(t *testing.T, p *Peer, l Socket) {
	h := Handshake{Src: netip.AddrPortFrom(c.from, 0), ACK: c.opt, Data: c.opt, LoseACK: c.data}
	conn, src := Accept(t, p, l, h)
	defer conn.Close()
	want := c.want
	if !want.IsValid() {
		want = src
	}
	Shows(t, conn, want)
}

// Accept listens, dials h with Dst filled in, and returns the accepted
// connection and the address it was dialled from.
func Accept(t *testing.T, p *Peer, s Socket, h Handshake) (*net.TCPConn, netip.AddrPort) {
	t.Helper()
	var conn net.Conn
	var src netip.AddrPort
	err := p.Do(func() error {
		ln, err := s.listen()
		if err != nil {
			return err
		}
		defer ln.Close()
		host := Host4
		if h.Src.Addr().Is6() {
			host = Host6
		}
		h.Dst = netip.AddrPortFrom(host, ln.Addr().(*net.TCPAddr).AddrPort().Port())
		if src, err = p.Dial(h); err != nil {
			return err
		}
		if err := ln.(*net.TCPListener).SetDeadline(time.Now().Add(time.Minute)); err != nil {
			return err
		}
		conn, err = ln.Accept()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return conn.(*net.TCPConn), src
}

// Shows fails the test unless accept() and getpeername() showed want.
func Shows(t *testing.T, conn *net.TCPConn, want netip.AddrPort) {
	t.Helper()
	if got := unmap(conn.RemoteAddr().(*net.TCPAddr).AddrPort()); got != want {
		t.Errorf("accept shows %v, want %v", got, want)
	}
	got, err := Peername(conn)
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("getpeername shows %v, want %v", got, want)
	}
}

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// Peername asks the kernel again who the peer of conn is.
func Peername(conn *net.TCPConn) (netip.AddrPort, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return netip.AddrPort{}, err
	}
	var sa unix.Sockaddr
	if cerr := raw.Control(func(fd uintptr) { sa, err = unix.Getpeername(int(fd)) }); cerr != nil {
		return netip.AddrPort{}, cerr
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)), err
	case *unix.SockaddrInet6:
		return unmap(netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port))), err
	}
	return netip.AddrPort{}, fmt.Errorf("getpeername: %T: %w", sa, err)
}
