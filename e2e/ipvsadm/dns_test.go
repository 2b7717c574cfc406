// SPDX-License-Identifier: Apache-2.0

package ipvsadm

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"

	"golang.org/x/net/dns/dnsmessage"
)

// dnsServer answers from a zone, testdata/dns.zone, on 127.0.0.1:53 of a namespace, by
// UDP and TCP. Lines of the zone, with # before a comment, names with a dot at the end:
//
//	NAME A|AAAA|PTR|CNAME VALUE   a record; for PTR, NAME is an address
//	NAME refuse|fail|mute|long    what it does when asked: REFUSED, SERVFAIL, no answer,
//	                              the whole answer by TCP only
//
// All else does not exist.
type dnsServer struct {
	zone    map[string][]dnsmessage.Resource // by name in lower case
	manners map[string]string
	udp     net.PacketConn
	tcp     net.Listener
	running sync.WaitGroup
}

// serveDNS starts one in the namespace of the calling thread.
func serveDNS(file string) (*dnsServer, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	s := &dnsServer{zone: map[string][]dnsmessage.Resource{}, manners: map[string]string{}}
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		if words := strings.Fields(line); len(words) > 1 {
			if err := s.add(words); err != nil {
				return nil, err
			}
		}
	}
	if s.udp, err = net.ListenPacket("udp4", "127.0.0.1:53"); err != nil {
		return nil, err
	}
	if s.tcp, err = net.Listen("tcp4", "127.0.0.1:53"); err != nil {
		return nil, errors.Join(err, s.udp.Close())
	}
	s.running.Go(s.datagrams)
	s.running.Go(s.streams)
	return s, nil
}

func (s *dnsServer) close() error {
	err := errors.Join(s.udp.Close(), s.tcp.Close())
	s.running.Wait()
	return err
}

func (s *dnsServer) add(words []string) error {
	owner := words[0]
	if a, err := netip.ParseAddr(owner); err == nil {
		owner = reverseName(a)
	}
	key := strings.ToLower(owner)
	if len(words) == 2 {
		s.manners[key] = words[1]
		return nil
	}
	name, err := dnsmessage.NewName(owner)
	if err != nil {
		return err
	}
	r := dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: 60}}
	switch words[1] {
	case "A":
		r.Body = &dnsmessage.AResource{A: netip.MustParseAddr(words[2]).As4()}
	case "AAAA":
		r.Body = &dnsmessage.AAAAResource{AAAA: netip.MustParseAddr(words[2]).As16()}
	default:
		to, err := dnsmessage.NewName(words[2])
		if err != nil {
			return err
		}
		r.Body = &dnsmessage.CNAMEResource{CNAME: to}
		if words[1] == "PTR" {
			r.Body = &dnsmessage.PTRResource{PTR: to}
		}
	}
	s.zone[key] = append(s.zone[key], r)
	return nil
}

// reverseName is where the names of an address are.
func reverseName(a netip.Addr) string {
	const digits = "0123456789abcdef"
	var labels []string
	b := a.AsSlice()
	for i := len(b) - 1; i >= 0; i-- {
		if a.Is4() {
			labels = append(labels, netip.AddrFrom4([4]byte{0, 0, 0, b[i]}).String()[len("0.0.0."):])
		} else {
			labels = append(labels, digits[b[i]&15:][:1], digits[b[i]>>4:][:1])
		}
	}
	if a.Is4() {
		return strings.Join(labels, ".") + ".in-addr.arpa."
	}
	return strings.Join(labels, ".") + ".ip6.arpa."
}

// answer is what to say to a query, nil for nothing.
func (s *dnsServer) answer(query []byte, stream bool) []byte {
	var m dnsmessage.Message
	if m.Unpack(query) != nil || len(m.Questions) != 1 {
		return nil
	}
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	q := m.Questions[0]
	name := strings.ToLower(q.Name.String())
	switch s.manners[name] {
	case "mute":
		return nil
	case "refuse":
		m.RCode = dnsmessage.RCodeRefused
	case "fail":
		m.RCode = dnsmessage.RCodeServerFailure
	default:
		if _, known := s.zone[name]; !known {
			m.RCode = dnsmessage.RCodeNameError
		}
		if m.Truncated = s.manners[name] == "long" && !stream; !m.Truncated {
			m.Answers = s.records(name, q.Type)
		}
	}
	b, err := m.Pack()
	if err != nil {
		return nil
	}
	return b
}

// records are those of a name, behind the aliases that lead there.
func (s *dnsServer) records(name string, typ dnsmessage.Type) (list []dnsmessage.Resource) {
	for _, r := range s.zone[name] {
		r.Header.Type = typ
		switch body := r.Body.(type) {
		case *dnsmessage.CNAMEResource:
			r.Header.Type = dnsmessage.TypeCNAME
			return append(append(list, r), s.records(strings.ToLower(body.CNAME.String()), typ)...)
		case *dnsmessage.AResource:
			if typ != dnsmessage.TypeA {
				continue
			}
		case *dnsmessage.AAAAResource:
			if typ != dnsmessage.TypeAAAA {
				continue
			}
		case *dnsmessage.PTRResource:
			if typ != dnsmessage.TypePTR {
				continue
			}
		}
		list = append(list, r)
	}
	return list
}

func (s *dnsServer) datagrams() {
	b := make([]byte, 1500)
	for {
		n, from, err := s.udp.ReadFrom(b)
		if err != nil {
			return
		}
		if reply := s.answer(b[:n], false); reply != nil {
			_, _ = s.udp.WriteTo(reply, from) // who has gone needs none
		}
	}
}

func (s *dnsServer) streams() {
	for {
		conn, err := s.tcp.Accept()
		if err != nil {
			return
		}
		for {
			var head [2]byte
			if _, err := io.ReadFull(conn, head[:]); err != nil {
				break
			}
			query := make([]byte, binary.BigEndian.Uint16(head[:]))
			if _, err := io.ReadFull(conn, query); err != nil {
				break
			}
			reply := s.answer(query, true)
			if reply == nil {
				break
			}
			if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)); err != nil {
				break
			}
		}
		_ = conn.Close()
	}
}
