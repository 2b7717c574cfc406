// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"os"
	"strings"

	"github.com/lvs-fnat/lvs/parser"
)

// Ephemeral is which ports the host gives to its own sockets.
type Ephemeral struct {
	Local    parser.PortRange   // net.ipv4.ip_local_port_range
	Reserved []parser.PortRange // net.ipv4.ip_local_reserved_ports
}

// The files behind the two sysctls; both hold for IPv6 as well.
const (
	localRangeFile = "/proc/sys/net/ipv4/ip_local_port_range"
	reservedFile   = "/proc/sys/net/ipv4/ip_local_reserved_ports"
)

// ReadEphemeral reads the running kernel's values of the current network
// namespace through readFile; nil means os.ReadFile.
func ReadEphemeral(readFile func(string) ([]byte, error)) (Ephemeral, error) {
	if readFile == nil {
		readFile = os.ReadFile
	}
	local, err := readFile(localRangeFile)
	if err != nil {
		return Ephemeral{}, err
	}
	var e Ephemeral
	if e.Local, err = parser.ParsePortRange(strings.Join(strings.Fields(string(local)), "-")); err != nil {
		return Ephemeral{}, fmt.Errorf("%s: %w", localRangeFile, err)
	}
	reserved, err := readFile(reservedFile)
	if err != nil {
		return Ephemeral{}, err
	}
	for part := range strings.FieldsFuncSeq(string(reserved), func(r rune) bool { return r == ',' || r == '\n' || r == ' ' }) {
		r, err := parser.ParsePortRange(part)
		if err != nil {
			return Ephemeral{}, fmt.Errorf("%s: %w", reservedFile, err)
		}
		e.Reserved = append(e.Reserved, r)
	}
	return e, nil
}

// Clash gives the first run of ports of r that the host may use for its own
// sockets: inside the ephemeral range and not reserved. The kernel refuses
// such a range, because one of the host's connections could then have the
// same addresses and ports as a client's.
func (e Ephemeral) Clash(r parser.PortRange) (parser.PortRange, bool) {
	if !r.Overlaps(e.Local) {
		return parser.PortRange{}, false
	}
	first, last := int(max(r.Min, e.Local.Min)), int(min(r.Max, e.Local.Max))
	for moved := true; moved; {
		moved = false
		for _, s := range e.Reserved {
			if int(s.Min) <= first && first <= int(s.Max) {
				first, moved = int(s.Max)+1, true
			}
		}
	}
	if first > last {
		return parser.PortRange{}, false
	}
	for _, s := range e.Reserved {
		if int(s.Min) > first && int(s.Min) <= last {
			last = int(s.Min) - 1
		}
	}
	return parser.PortRange{Min: uint16(first), Max: uint16(last)}, true
}

// ephemeralPorts asks the host once per load.
func (l *loader) ephemeralPorts(at Pos) Ephemeral {
	if l.ephemeral != nil {
		return *l.ephemeral
	}
	ask := l.opts.Ephemeral
	if ask == nil {
		ask = func() (Ephemeral, error) { return ReadEphemeral(nil) }
	}
	e, err := ask()
	if err != nil {
		l.warn(at, "port range not compared with the host's own ports: %v", err)
	}
	l.ephemeral = &e
	return e
}

// checkPorts refuses what the kernel would refuse for the ports of a local address.
func (l *loader) checkPorts(at Pos, r parser.PortRange) bool {
	if r.Min < 1024 {
		l.error(at, "port range %s begins below 1024: start it at 1024 or above", r)
		return false
	}
	clash, bad := l.ephemeralPorts(at).Clash(r)
	if bad {
		l.error(at, "port range %s overlaps the host's ephemeral ports %s (net.ipv4.ip_local_port_range): "+
			"choose other ports or add %s to net.ipv4.ip_local_reserved_ports", r, l.ephemeral.Local, clash)
	}
	return !bad
}
