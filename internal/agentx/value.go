// SPDX-License-Identifier: Apache-2.0

package agentx

import (
	"fmt"
	"net/netip"
	"time"
)

// Kind is the type of a value (RFC 2741, 5.4).
type Kind uint16

// The kinds of values. The last three say why there is none.
const (
	KindInteger        Kind = 2
	KindOctets         Kind = 4
	KindNull           Kind = 5
	KindOID            Kind = 6
	KindIPAddress      Kind = 64
	KindCounter32      Kind = 65
	KindGauge32        Kind = 66
	KindTimeTicks      Kind = 67
	KindOpaque         Kind = 68
	KindCounter64      Kind = 70
	KindNoSuchObject   Kind = 128
	KindNoSuchInstance Kind = 129
	KindEndOfView      Kind = 130
)

// Value is one value of an object. The zero Value says that a row has none.
type Value struct {
	Kind Kind
	num  uint64
	text string
	oid  OID
}

// Integer is an INTEGER or Integer32.
func Integer(n int) Value { return Value{Kind: KindInteger, num: uint64(uint32(int32(n)))} }

// Octets is an OCTET STRING.
func Octets[T ~string | ~[]byte](s T) Value { return Value{Kind: KindOctets, text: string(s)} }

// Text is an OCTET STRING, and no value if s is empty.
func Text(s string) Value {
	if s == "" {
		return Value{}
	}
	return Octets(s)
}

// Addr is an InetAddress, and no value if a is none.
func Addr(a netip.Addr) Value {
	if !a.IsValid() {
		return Value{}
	}
	return Octets(a.AsSlice())
}

// ObjectID is an OBJECT IDENTIFIER.
func ObjectID(o OID) Value { return Value{Kind: KindOID, oid: o} }

// IPAddress is an IpAddress; what is no IPv4 address is 0.0.0.0.
func IPAddress(a netip.Addr) Value {
	if !a.Is4() {
		a = netip.IPv4Unspecified()
	}
	return Value{Kind: KindIPAddress, text: string(a.AsSlice())}
}

// Counter32 is a Counter32: the low half of n.
func Counter32(n uint64) Value { return Value{Kind: KindCounter32, num: n & 0xffffffff} }

// Gauge32 is a Gauge32 or Unsigned32: the low half of n.
func Gauge32(n uint64) Value { return Value{Kind: KindGauge32, num: n & 0xffffffff} }

// Counter64 is a Counter64.
func Counter64(n uint64) Value { return Value{Kind: KindCounter64, num: n} }

// Truth is a TruthValue (RFC 2579), and what MIBs have as enabled and disabled: 1 and 2.
func Truth(on bool) Value {
	if on {
		return Integer(1)
	}
	return Integer(2)
}

// Seconds is how many whole ones d has, as a Gauge32.
func Seconds(d time.Duration) Value { return Gauge32(uint64(d / time.Second)) }

// AddrType is an InetAddressType (RFC 4001): ipv6, or ipv4.
func AddrType(six bool) Value { return Truth(!six) }

// TimeTicks is a time in hundredths of seconds.
func TimeTicks(d time.Duration) Value {
	return Value{Kind: KindTimeTicks, num: uint64(d/(10*time.Millisecond)) & 0xffffffff}
}

// Int returns the number of a KindInteger.
func (v Value) Int() int { return int(int32(uint32(v.num))) }

// Uint returns the number of any kind that is one.
func (v Value) Uint() uint64 { return v.num }

// Bytes returns what a value of bytes holds.
func (v Value) Bytes() string { return v.text }

// OID returns what a KindOID holds.
func (v Value) OID() OID { return v.oid }

// String is for logs and tests.
func (v Value) String() string {
	switch v.Kind {
	case KindInteger:
		return fmt.Sprintf("INTEGER: %d", v.Int())
	case KindOctets:
		return fmt.Sprintf("STRING: %q", v.text)
	case KindOID:
		return "OID: " + v.oid.String()
	case KindIPAddress, KindOpaque:
		return fmt.Sprintf("kind %d: %x", v.Kind, v.text)
	}
	return fmt.Sprintf("kind %d: %d", v.Kind, v.num)
}

// VarBind is an object with its value.
type VarBind struct {
	Name  OID
	Value Value
}

// Trap is an event that a subagent tells, with its objects; without Event there is none.
type Trap struct {
	Event   OID
	Objects []VarBind
}

// Status is how a request went (RFC 2741, 7.2.4 and 6.2.16).
type Status uint16

// The statuses that are made or looked at here.
const (
	StatusOK                  Status = 0
	StatusGenErr              Status = 5
	StatusNoAccess            Status = 6
	StatusWrongType           Status = 7
	StatusWrongValue          Status = 10
	StatusCommitFailed        Status = 14
	StatusUndoFailed          Status = 15
	StatusNotWritable         Status = 17
	StatusUnsupportedContext  Status = 262
	StatusDuplicateRegistered Status = 263
	StatusParseError          Status = 266
	StatusProcessingError     Status = 268
)

var statusTexts = map[Status]string{
	256: "open failed", 257: "not open", StatusUnsupportedContext: "unsupported context", StatusDuplicateRegistered: "another subagent has it",
	264: "unknown registration", 265: "unknown capabilities", StatusParseError: "parse error", 267: "request denied", StatusProcessingError: "processing error",
}

// String is for logs.
func (s Status) String() string {
	if text, ok := statusTexts[s]; ok {
		return text
	}
	return fmt.Sprintf("error %d", uint16(s))
}
