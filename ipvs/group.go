// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"encoding/base32"
	"fmt"
	"hash/fnv"
	"strings"
)

// serviceGroupMark begins the names of groups that belong to one service.
const serviceGroupMark = "@"

// ServiceGroup returns the name of the local address group that belongs to
// the service key alone: at most 15 bytes, always the same for the same
// service, so that every program finds the group another one made. A program
// that is free to choose names must not begin one with "@".
//
//	IPv4      @t0a000001-0050       protocol t, u or s; address and port in hex
//	IPv6      @T and 13 characters  protocol T, U or S; FNV-1a of address and port
//	fwmark    @f00000007 (IPv4), @F00000007 (IPv6)
//
// Families share one name space in the kernel, hence the capitals.
func ServiceGroup(key ServiceKey) string {
	if key.FWMark != 0 {
		letter := "f"
		if key.Family == IPv6 {
			letter = "F"
		}
		return fmt.Sprintf("%s%s%08x", serviceGroupMark, letter, key.FWMark)
	}
	letter := protocolLetter(key.Protocol)
	if key.Family == IPv6 {
		h := fnv.New64a()
		addr := key.Addr.As16()
		h.Write(addr[:])
		h.Write([]byte{byte(key.Port >> 8), byte(key.Port)})
		sum := base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(h.Sum(nil))
		return serviceGroupMark + strings.ToUpper(letter) + strings.ToLower(sum)
	}
	var addr [4]byte
	if key.Addr.Is4() {
		addr = key.Addr.As4()
	}
	return fmt.Sprintf("%s%s%x-%04x", serviceGroupMark, letter, addr, key.Port)
}

// IsServiceGroup tells whether name has the form of [ServiceGroup].
func IsServiceGroup(name string) bool { return strings.HasPrefix(name, serviceGroupMark) }

func protocolLetter(p Protocol) string {
	switch p {
	case TCP:
		return "t"
	case UDP:
		return "u"
	case SCTP:
		return "s"
	}
	return "x"
}
