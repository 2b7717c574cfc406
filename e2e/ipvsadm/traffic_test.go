// SPDX-License-Identifier: Apache-2.0

package ipvsadm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	moby "github.com/moby/ipvs"
	"golang.org/x/sys/unix"
)

// senders make the traffic of cases, each in the namespace of the calling thread, from
// the ports 40000, 40001 and so on, and with a firewall mark.
var senders = map[string]func(to []string, mark int) error{
	"sends": func(to []string, mark int) error {
		return requests("udp", to, mark)
	},
	"connects": func(to []string, mark int) error {
		return requests("tcp", to, mark)
	},
	"inits":  inits,
	"floods": flood,
}

// dialer binds to the i-th port, in a network, and marks what it sends.
func dialer(network string, i, mark int) *net.Dialer {
	d := &net.Dialer{LocalAddr: &net.UDPAddr{Port: 40000 + i}}
	if network == "tcp" {
		d.LocalAddr = &net.TCPAddr{Port: 40000 + i}
	}
	d.Control = func(_, _ string, c syscall.RawConn) (err error) {
		return errors.Join(c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, mark)
		}), err)
	}
	return d
}

// requests sends one of SIP to each address. That a port refuses makes no difference
// to ip_vs.
func requests(network string, to []string, mark int) error {
	for i, addr := range to {
		conn, err := dialer(network, i, mark).Dial(network, addr)
		if errors.Is(err, syscall.ECONNREFUSED) {
			continue
		}
		if err != nil {
			return err
		}
		_, err = conn.Write([]byte("OPTIONS sip:a@b SIP/2.0\r\nCall-ID: 5ac1@c\r\n\r\n"))
		if err := errors.Join(err, conn.Close()); err != nil {
			return err
		}
	}
	return nil
}

// inits sends the INIT of an association to each IPv4 address: RFC 9260, 3.3.2. The
// kernel need know SCTP only as far as ip_vs does.
func inits(to []string, mark int) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	if err := unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_MARK, mark); err != nil {
		return err
	}
	for i, addr := range to {
		ap, err := netip.ParseAddrPort(addr)
		if err != nil {
			return err
		}
		p := binary.BigEndian.AppendUint16(nil, uint16(40000+i))
		p = binary.BigEndian.AppendUint16(p, ap.Port())
		p = append(p, 0, 0, 0, 0, 0, 0, 0, 0)              // tag, checksum
		p = append(p, 1, 0, 0, 20, 0, 0, 0, 7, 0, 1, 0, 0) // INIT, its tag, window
		p = append(p, 0, 1, 0, 1, 0, 0, 0, 9)              // streams, first number
		sum := crc32.Checksum(p, crc32.MakeTable(crc32.Castagnoli))
		binary.LittleEndian.PutUint32(p[8:], sum)
		if err := unix.Sendto(s, p, 0, &unix.SockaddrInet4{Addr: ap.Addr().As4()}); err != nil {
			return err
		}
	}
	return nil
}

// floodBytes is a datagram of a flood, without headers of UDP and IPv4.
const floodBytes = 65000

func flood(to []string, mark int) error {
	for i, what := range to {
		addr, times, _ := strings.Cut(what, "*")
		n, err := strconv.Atoi(times)
		if err != nil {
			return err
		}
		conn, err := dialer("udp", i, mark).Dial("udp", addr)
		if err != nil {
			return err
		}
		for b := make([]byte, floodBytes); n > 0 && err == nil; n-- {
			// A port that refuses says so at the next datagram, which has not gone then.
			if _, err = conn.Write(b); errors.Is(err, syscall.ECONNREFUSED) {
				n, err = n+1, nil
			}
		}
		if err := errors.Join(err, conn.Close()); err != nil {
			return err
		}
	}
	return nil
}

// counted waits until the kernel has counted what is under way: it adds up every two
// seconds, and the sum is the whole when it stays.
func (s *space) counted() error {
	var last uint64
	for range 60 {
		var sum uint64
		if err := s.do(func() error {
			w, err := moby.New("")
			if err != nil {
				return err
			}
			defer w.Close()
			services, err := w.GetServices()
			for _, svc := range services {
				sum += svc.Stats.BytesIn
			}
			return err
		}); err != nil {
			return err
		}
		if sum != 0 && sum == last {
			return nil
		}
		last = sum
		time.Sleep(3 * time.Second) // of the guest's clock, where idle time is free
	}
	return fmt.Errorf("after minutes the kernel still counts, %d bytes so far", last)
}
