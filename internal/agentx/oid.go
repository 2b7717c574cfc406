// SPDX-License-Identifier: Apache-2.0

package agentx

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// maxSubIDs bounds an identifier (RFC 2578, 3.5).
const maxSubIDs = 128

// OID is an object identifier.
type OID []uint32

// internet is the prefix that one byte of the protocol stands for, with the number
// that follows it (RFC 2741, 5.1).
var internet = OID{1, 3, 6, 1}

// Append returns o with more numbers at its end; o is not changed.
func (o OID) Append(more ...uint32) OID { return append(slices.Clip(slices.Clone(o)), more...) }

// Compare orders as SNMP does: number by number, what is shorter first.
func (o OID) Compare(p OID) int { return slices.Compare(o, p) }

// Contains tells whether p is o or below it.
func (o OID) Contains(p OID) bool { return len(p) >= len(o) && slices.Equal(o, p[:len(o)]) }

// String gives the numbers with dots between them.
func (o OID) String() string {
	var b strings.Builder
	for i, n := range o {
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(strconv.FormatUint(uint64(n), 10))
	}
	return b.String()
}

// AddrIndex is an address as part of an index, without its length: a number for each
// byte.
func AddrIndex(a netip.Addr) OID {
	var o OID
	for _, b := range a.AsSlice() {
		o = append(o, uint32(b))
	}
	return o
}
