// SPDX-License-Identifier: Apache-2.0

package bfd

import (
	"encoding/binary"
	"fmt"
	"time"
)

// Ports of control packets: over one hop (RFC 5881 4), and over several (RFC 5883 5).
const (
	Port         = 3784
	PortMultihop = 4784
)

// Length is that of a control packet without authentication, in bytes.
const Length = 24

const (
	protocolVersion = 1
	authLength      = 26 // of a packet with an empty authentication section
)

// State of a session, with its number on the wire (RFC 5880 4.1).
type State uint8

// The states.
const (
	AdminDown State = iota
	Down
	Init
	Up
)

var stateNames = [...]string{"AdminDown", "Down", "Init", "Up"}

// String gives the name that keepalived logs.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// Diag says why a session went down, with its number on the wire (RFC 5880 4.1).
type Diag uint8

// The diagnostics that a [Session] gives.
const (
	DiagNone             Diag = 0
	DiagExpired          Diag = 1
	DiagNeighborSignaled Diag = 3
)

var diagNames = [...]string{
	"No Diagnostic", "Control Detection Time Expired", "Echo Function Failed", "Neighbor Signaled Session Down", "Forwarding Plane Reset",
	"Path Down", "Concatenated Path Down", "Administratively Down", "Reverse Concatenated Path Down",
}

// String gives the name of the RFC; numbers above 8 are reserved.
func (d Diag) String() string {
	if int(d) < len(diagNames) {
		return diagNames[d]
	}
	return fmt.Sprintf("Diagnostic %d", uint8(d))
}

// Packet is a control packet (RFC 5880 4.1). Intervals have whole microseconds, up
// to 2^32-1 of them.
type Packet struct {
	State       State
	Diag        Diag // 0 to 31
	Poll, Final bool
	// ControlPlaneIndependent and Demand are the bits C and D.
	ControlPlaneIndependent, Demand bool
	Multiplier                      uint8
	My, Your                        uint32 // discriminators
	MinTx, MinRx, MinEchoRx         time.Duration
}

// Bits of the second byte.
const (
	bitPoll = 1 << (5 - iota)
	bitFinal
	bitControlPlane
	bitAuth
	bitDemand
	bitMultipoint
)

// Fault is the check that a packet has not passed.
type Fault uint8

// The checks of RFC 5880 6.8.6, in its order, and those of 6.8.7 and of RFC 5881 5.
const (
	FaultVersion Fault = iota + 1
	FaultLength
	FaultMultiplier
	FaultMultipoint
	FaultMy
	FaultYour // zero in a state that knows its neighbour
	FaultAuth
	FaultFlags   // poll and final in one packet
	FaultTTL     // sent from too far away
	FaultSession // for nobody here
)

// Malformed is the error of a packet that is discarded. Text is a line for people.
type Malformed struct {
	Fault Fault
	Text  string
}

// Error gives Text.
func (m *Malformed) Error() string { return m.Text }

func malformed(f Fault, format string, args ...any) error {
	return &Malformed{f, fmt.Sprintf(format, args...)}
}

// Parse reads the payload of a datagram and applies the checks that need no
// session. What follows the packet is ignored. The error is a *[Malformed].
func Parse(b []byte) (Packet, error) {
	if len(b) < Length {
		return Packet{}, malformed(FaultLength, "Packet is too small: %d bytes", len(b))
	}
	flags, length := b[1], int(b[3])
	least := Length
	if flags&bitAuth != 0 {
		least = authLength
	}
	p := Packet{
		Diag: Diag(b[0] & 0x1f), State: State(flags >> 6), Poll: flags&bitPoll != 0, Final: flags&bitFinal != 0,
		ControlPlaneIndependent: flags&bitControlPlane != 0, Demand: flags&bitDemand != 0, Multiplier: b[2],
		My: binary.BigEndian.Uint32(b[4:]), Your: binary.BigEndian.Uint32(b[8:]),
		MinTx: interval(b[12:]), MinRx: interval(b[16:]), MinEchoRx: interval(b[20:]),
	}
	switch version := b[0] >> 5; {
	case version != protocolVersion:
		return p, malformed(FaultVersion, "Packet is of unsupported version: %d", version)
	case length < least:
		return p, malformed(FaultLength, "Packet's length field is too small: %d bytes", length)
	case length > len(b):
		return p, malformed(FaultLength, "Packet size mismatch: length field: %d bytes, buffer size: %d bytes", length, len(b))
	case p.Multiplier == 0:
		return p, malformed(FaultMultiplier, "Packet 'detection multiplier' field is zero")
	case flags&bitMultipoint != 0:
		return p, malformed(FaultMultipoint, "Packet has 'multipoint' flag")
	case p.My == 0:
		return p, malformed(FaultMy, "Packet 'my discriminator' field is zero")
	case p.Your == 0 && p.State != Down && p.State != AdminDown:
		return p, malformed(FaultYour, "Packet 'your discriminator' field is zero and 'state' field is not Down or AdminDown")
	case flags&bitAuth != 0:
		return p, malformed(FaultAuth, "auth bit is set, but no authentication is in use")
	case p.Poll && p.Final:
		return p, malformed(FaultFlags, "Packet has both poll and final flags set")
	}
	return p, nil
}

func interval(b []byte) time.Duration {
	return time.Duration(binary.BigEndian.Uint32(b)) * time.Microsecond
}

// Append adds the packet to b.
func (p *Packet) Append(b []byte) []byte {
	flags := byte(p.State) << 6
	for _, f := range []struct {
		set bool
		bit byte
	}{{p.Poll, bitPoll}, {p.Final, bitFinal}, {p.ControlPlaneIndependent, bitControlPlane}, {p.Demand, bitDemand}} {
		if f.set {
			flags |= f.bit
		}
	}
	b = append(b, protocolVersion<<5|byte(p.Diag)&0x1f, flags, p.Multiplier, Length)
	b = binary.BigEndian.AppendUint32(b, p.My)
	b = binary.BigEndian.AppendUint32(b, p.Your)
	for _, d := range []time.Duration{p.MinTx, p.MinRx, p.MinEchoRx} {
		b = binary.BigEndian.AppendUint32(b, uint32(d.Microseconds()))
	}
	return b
}
