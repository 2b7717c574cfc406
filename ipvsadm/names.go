// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/lvs-fnat/lvs/ipvs"
)

// names turns host and service names into numbers and back. Answers of the
// resolver are kept, so that one listing asks once for each address.
type names struct {
	forward func(ctx context.Context, host string) ([]netip.Addr, error)
	reverse func(ctx context.Context, addr string) ([]string, error)
	file    string // /etc/services

	hosts    map[netip.Addr]string
	services []serviceName // nil: not read yet
}

// serviceName is one line of /etc/services.
type serviceName struct {
	port     uint16
	protocol string
	words    []string // the name, then its aliases
}

// systemNames asks where nsswitch.conf says: the hosts file and DNS by itself, all
// else by the C library.
func systemNames() *names {
	return &names{
		forward: func(ctx context.Context, host string) ([]netip.Addr, error) {
			if asksLibrary() {
				return getentIPv4(ctx, host)
			}
			return lookupIPv4(ctx, host)
		},
		reverse: func(ctx context.Context, addr string) ([]string, error) {
			if asksLibrary() {
				return getentName(ctx, addr)
			}
			return net.DefaultResolver.LookupAddr(ctx, addr)
		},
		file: "/etc/services",
	}
}

// lookupHost returns the first IPv4 address of a host name.
func (n *names) lookupHost(ctx context.Context, host string) (netip.Addr, bool) {
	addrs, err := n.forward(ctx, host)
	if err != nil {
		return netip.Addr{}, false
	}
	for _, a := range addrs {
		if a = a.Unmap(); a.Is4() {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// host returns the name of an address, or the address in numbers.
func (n *names) host(ctx context.Context, a netip.Addr) string {
	if name, ok := n.hosts[a]; ok {
		return name
	}
	name := a.String()
	if found, err := n.reverse(ctx, name); err == nil && len(found) > 0 {
		if name = found[0]; name != "." {
			name = strings.TrimSuffix(name, ".")
		}
	}
	if n.hosts == nil {
		n.hosts = map[netip.Addr]string{}
	}
	n.hosts[a] = name
	return name
}

// servicePort returns the port of a service name of this very protocol.
func (n *names) servicePort(name string, proto ipvs.Protocol) (uint16, bool) {
	word := protocolWord(proto)
	for _, s := range n.load() {
		if s.protocol != word {
			continue
		}
		for _, w := range s.words {
			if w == name {
				return s.port, true
			}
		}
	}
	return 0, false
}

// serviceName returns the name of a port, or its number.
func (n *names) serviceName(port uint16, proto ipvs.Protocol) string {
	word := protocolWord(proto)
	for _, s := range n.load() {
		if port != 0 && s.port == port && s.protocol == word {
			return s.words[0]
		}
	}
	return strconv.Itoa(int(port))
}

// load reads the services file once; a file that is absent has no services.
func (n *names) load() []serviceName {
	if n.services != nil {
		return n.services
	}
	n.services = []serviceName{}
	f, err := os.Open(n.file)
	if err != nil {
		return n.services
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		text, _, _ := strings.Cut(lines.Text(), "#")
		words := strings.Fields(text)
		if len(words) < 2 {
			continue
		}
		number, protocol, ok := strings.Cut(words[1], "/")
		port, err := strconv.ParseUint(number, 10, 16)
		if !ok || err != nil {
			continue
		}
		n.services = append(n.services, serviceName{uint16(port), protocol, append(words[:1:1], words[2:]...)})
	}
	return n.services
}

// hostsFile returns the IPv4 addresses of a host name in /etc/hosts, in its order.
func hostsFile(host string) (list []netip.Addr) {
	f, err := os.Open("/etc/hosts")
	if err != nil {
		return nil
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		text, _, _ := strings.Cut(lines.Text(), "#")
		words := strings.Fields(text)
		if len(words) < 2 || !slices.ContainsFunc(words[1:], func(w string) bool { return strings.EqualFold(w, strings.TrimSuffix(host, ".")) }) {
			continue
		}
		if a, err := netip.ParseAddr(words[0]); err == nil && a.Is4() {
			list = append(list, a)
		}
	}
	return list
}

// protocolTitle is the name of a protocol as listings have it.
func protocolTitle(p ipvs.Protocol) string {
	switch p {
	case ipvs.TCP:
		return "TCP"
	case ipvs.UDP:
		return "UDP"
	case ipvs.SCTP:
		return "SCTP"
	}
	return ""
}

// protocolWord is the name of a protocol as /etc/services has it.
func protocolWord(p ipvs.Protocol) string {
	switch p {
	case ipvs.TCP:
		return "tcp"
	case ipvs.UDP:
		return "udp"
	case ipvs.SCTP:
		return "sctp"
	}
	return ""
}
