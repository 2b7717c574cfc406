// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"fmt"
	"strings"
	"time"

	"github.com/lvs-fnat/lvs/ipvs/uapi"
)

// ACLMode says what an ipset of client addresses is for.
type ACLMode uint8

// Modes of an access list.
const (
	ACLOff   ACLMode = 0
	ACLWhite ACLMode = 1 // only clients in the set may make connections
	ACLBlack ACLMode = 2 // clients in the set may not
)

// Limits of one service. Zero is "no limit", and for TimeoutEst the kernel's
// own value. Each is a field of [Ext] and sent if its bit is in Ext.Set.
type Limits struct {
	// TimeoutEst is how long an idle connection of an FNAT service lives, TCP
	// in state ESTABLISHED or UDP; whole seconds, at most 2^20.
	TimeoutEst time.Duration
	CPS        uint32 // new connections a second
	// CPSBurst is how many may come at once; 0 is CPS / 20, at least 1.
	CPSBurst  uint32
	BPSIn     uint64 // bytes a second of requests, as [Stats] counts them; FNAT only
	BPSOut    uint64 // bytes a second of replies
	ConnLimit uint32 // connections of all dests together

	ACL ACLMode
	// ACLSet4 and ACLSet6 are names of ipsets, at most 31 bytes; "" is none. The
	// set of the service's family decides; the other may stay empty.
	ACLSet4, ACLSet6 string
}

// Bounds of [Limits]: the kernel answers ERANGE beyond them.
const (
	MaxTimeoutEst = (1 << 20) * time.Second
	MaxBPS        = 1_000_000_000_000
)

// limitFields are the bits of Limits' fields.
const limitFields = ExtFieldTimeoutEst | ExtFieldCPS | ExtFieldCPSBurst | ExtFieldBPSIn |
	ExtFieldBPSOut | ExtFieldConnLimit

const aclFields = ExtFieldACLMode | ExtFieldACLSet4 | ExtFieldACLSet6

func (l Limits) encode(ae *encoder, set ExtField) error {
	if set&ExtFieldTimeoutEst != 0 {
		n, err := wholeSeconds(l.TimeoutEst)
		if err != nil {
			return fmt.Errorf("timeout of established connections: %w", err)
		}
		ae.Uint32(uapi.ExtSvcTimeoutEst, n)
	}
	for _, f := range []struct {
		field ExtField
		typ   uint16
		value uint32
	}{
		{ExtFieldCPS, uapi.ExtSvcCps, l.CPS},
		{ExtFieldCPSBurst, uapi.ExtSvcCpsBurst, l.CPSBurst},
		{ExtFieldConnLimit, uapi.ExtSvcConnLimit, l.ConnLimit},
	} {
		if set&f.field != 0 {
			ae.Uint32(f.typ, f.value)
		}
	}
	if set&ExtFieldBPSIn != 0 {
		ae.Uint64(uapi.ExtSvcBpsIn, l.BPSIn)
	}
	if set&ExtFieldBPSOut != 0 {
		ae.Uint64(uapi.ExtSvcBpsOut, l.BPSOut)
	}
	if set&ExtFieldACLMode != 0 {
		ae.Uint8(uapi.ExtSvcAclMode, uint8(l.ACL))
	}
	for _, f := range []struct {
		field ExtField
		typ   uint16
		name  string
	}{
		{ExtFieldACLSet4, uapi.ExtSvcAclSet4, l.ACLSet4},
		{ExtFieldACLSet6, uapi.ExtSvcAclSet6, l.ACLSet6},
	} {
		if set&f.field == 0 {
			continue
		}
		if len(f.name) > uapi.ExtSetMax {
			return fmt.Errorf("%w: ipset %q: a name has at most %d bytes", errInvalid, f.name, uapi.ExtSetMax)
		}
		ae.String(f.typ, f.name)
	}
	return nil
}

// decode reads the attribute at hand, if it is one of Limits', and returns its bit.
func (l *Limits) decode(ad *decoder) ExtField {
	switch ad.Type() {
	case uapi.ExtSvcTimeoutEst:
		l.TimeoutEst = seconds(ad.Uint32())
		return ExtFieldTimeoutEst
	case uapi.ExtSvcCps:
		l.CPS = ad.Uint32()
		return ExtFieldCPS
	case uapi.ExtSvcCpsBurst:
		l.CPSBurst = ad.Uint32()
		return ExtFieldCPSBurst
	case uapi.ExtSvcBpsIn:
		l.BPSIn = ad.Uint64()
		return ExtFieldBPSIn
	case uapi.ExtSvcBpsOut:
		l.BPSOut = ad.Uint64()
		return ExtFieldBPSOut
	case uapi.ExtSvcConnLimit:
		l.ConnLimit = ad.Uint32()
		return ExtFieldConnLimit
	case uapi.ExtSvcAclMode:
		l.ACL = ACLMode(ad.Uint8())
		return ExtFieldACLMode
	case uapi.ExtSvcAclSet4:
		l.ACLSet4 = ad.String()
		return ExtFieldACLSet4
	case uapi.ExtSvcAclSet6:
		l.ACLSet6 = ad.String()
		return ExtFieldACLSet6
	}
	return 0
}

// options are the settings in set, each with a blank before it.
func (l Limits) options(set ExtField) string {
	var b strings.Builder
	number := func(field ExtField, option string, n uint64) {
		if set&field != 0 {
			fmt.Fprintf(&b, " --%s %d", option, n)
		}
	}
	number(ExtFieldTimeoutEst, "est-timeout", uint64(l.TimeoutEst/time.Second))
	number(ExtFieldCPS, "cps", uint64(l.CPS))
	number(ExtFieldCPSBurst, "cps-burst", uint64(l.CPSBurst))
	number(ExtFieldBPSIn, "bps-in", l.BPSIn)
	number(ExtFieldBPSOut, "bps-out", l.BPSOut)
	number(ExtFieldConnLimit, "conn-limit", uint64(l.ConnLimit))
	text := func(field ExtField, option, value string) {
		if set&field != 0 {
			if value == "" {
				value = "''"
			}
			b.WriteString(" --" + option + " " + value)
		}
	}
	text(ExtFieldACLMode, "acl", l.ACL.String())
	text(ExtFieldACLSet4, "acl-set4", l.ACLSet4)
	text(ExtFieldACLSet6, "acl-set6", l.ACLSet6)
	return b.String()
}

// String returns "off", "white" or "black".
func (m ACLMode) String() string {
	switch m {
	case ACLOff:
		return "off"
	case ACLWhite:
		return "white"
	case ACLBlack:
		return "black"
	}
	return fmt.Sprintf("mode %d", uint8(m))
}
