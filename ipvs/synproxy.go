// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/lvs-fnat/lvs/ipvs/uapi"
)

// SynproxyMode says when a service answers SYNs with cookies, before there is
// a connection. It is made of two flags, see [ExtFlags.Synproxy].
type SynproxyMode uint8

// Modes of SYNPROXY.
const (
	SynproxyOff  SynproxyMode = iota
	SynproxyOn                // each SYN
	SynproxyAuto              // while more handshakes are open than Synproxy.AutoOn says
)

var synproxyWords = [...]string{SynproxyOff: "off", SynproxyOn: "on", SynproxyAuto: "auto"}

// String returns "off", "on" or "auto".
func (m SynproxyMode) String() string {
	if int(m) < len(synproxyWords) {
		return synproxyWords[m]
	}
	return strconv.Itoa(int(m))
}

// ParseSynproxyMode reads what String writes.
func ParseSynproxyMode(word string) (SynproxyMode, error) {
	for m, w := range synproxyWords {
		if w == word {
			return SynproxyMode(m), nil
		}
	}
	return 0, fmt.Errorf("%w: SYNPROXY %q: it is off, on or auto", errInvalid, word)
}

// Synproxy returns the mode that the flags spell.
func (f ExtFlags) Synproxy() SynproxyMode {
	switch {
	case f&ExtSynproxy == 0:
		return SynproxyOff
	case f&ExtSPAuto != 0:
		return SynproxyAuto
	}
	return SynproxyOn
}

// SetSynproxy asks for mode, and for nothing else that the flags say.
func (e *Ext) SetSynproxy(mode SynproxyMode) {
	const both = ExtSynproxy | ExtSPAuto
	e.Flags &^= both
	switch mode {
	case SynproxyOn:
		e.Flags |= ExtSynproxy
	case SynproxyAuto:
		e.Flags |= both
	}
	e.FlagsMask |= both
	e.Set |= ExtFieldFlags
}

// SPOpts are TCP options that cookies may offer to clients (IPVS_EXT_SP_OPT_*).
type SPOpts uint32

// Options of cookies.
const (
	SPOptSACK SPOpts = 1 << 0
	SPOptTS   SPOpts = 1 << 1 // not with TSStrip
	SPOptECN  SPOpts = 1 << 2 // no cookie has room for it: the kernel refuses it
)

// SPWScaleOff is the WScale of a service whose cookies offer no window scaling.
const SPWScaleOff = uapi.ExtSpWscaleOff

// Synproxy is how a service answers SYNs with cookies, and how it then opens
// the connection to the real server. Bits of Ext.Set say which fields are sent.
type Synproxy struct {
	MSS        uint16 // cap of the MSS offered; 0 = none, else 88..65495
	WScale     uint8  // window scale offered, 0..14 or [SPWScaleOff]
	Opts       SPOpts
	OptsMask   SPOpts // sent: which of Opts are meant; read: which the module knows
	Window     uint16 // bytes a client may send before the server has answered; 0 = none
	TTL        uint8  // of the cookie, 1..255
	SYNRetries uint8  // to the real server, after 1, 2, 4 … seconds, 0..8
	Queue      uint8  // packets held per connection until the server answers, 0..64
	AutoOn     uint32 // half-open connections above which mode auto sends cookies
	AutoOff    uint32 // and below which it stops; less than AutoOn

	Active   bool   // read only: SYNs are answered with cookies now
	HalfOpen uint32 // read only: half-open connections when last counted
}

// CookieKey is the secret of SYN cookies. Directors that serve the same
// addresses share one, so that each takes back the cookies of the others.
// It prints as "(hidden)"; the kernel never tells it.
type CookieKey [uapi.ExtCookieKeyLen]byte

// ParseCookieKey reads 32 hexadecimal digits.
func ParseCookieKey(text string) (CookieKey, error) {
	var k CookieKey
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(k) {
		// The text is not quoted: it is most of a secret.
		return k, fmt.Errorf("%w: a cookie key has %d hexadecimal digits", errInvalid, 2*len(k))
	}
	copy(k[:], b)
	return k, nil
}

// String returns "(hidden)".
func (CookieKey) String() string { return "(hidden)" }

// GoString returns "(hidden)".
func (CookieKey) GoString() string { return "(hidden)" }

func (s Synproxy) encode(set ExtField, ae *encoder) error {
	if set&ExtFieldSPOpts != 0 {
		if unknown := s.OptsMask &^ uapi.ExtSpOptAll; unknown != 0 {
			return fmt.Errorf("%w: unknown options of cookies %#x", errInvalid, uint32(unknown))
		}
		ae.Pair(uapi.ExtSvcSpOpts, uint32(s.Opts&s.OptsMask), uint32(s.OptsMask))
	}
	if set&ExtFieldSPMSS != 0 {
		ae.Uint16(uapi.ExtSvcSpMss, s.MSS)
	}
	if set&ExtFieldSPWindow != 0 {
		ae.Uint16(uapi.ExtSvcSpWindow, s.Window)
	}
	for _, f := range []struct {
		field ExtField
		typ   uint16
		value uint8
	}{
		{ExtFieldSPWScale, uapi.ExtSvcSpWscale, s.WScale},
		{ExtFieldSPTTL, uapi.ExtSvcSpTtl, s.TTL},
		{ExtFieldSPRetries, uapi.ExtSvcSpSynRetries, s.SYNRetries},
		{ExtFieldSPQueue, uapi.ExtSvcSpQueue, s.Queue},
	} {
		if set&f.field != 0 {
			ae.Uint8(f.typ, f.value)
		}
	}
	if set&ExtFieldSPAutoOn != 0 {
		ae.Uint32(uapi.ExtSvcSpAutoOn, s.AutoOn)
	}
	if set&ExtFieldSPAutoOff != 0 {
		ae.Uint32(uapi.ExtSvcSpAutoOff, s.AutoOff)
	}
	return nil
}

// decode reads the attribute that ad stands at, if it is one of SYNPROXY's, and
// returns its field.
func (s *Synproxy) decode(ad *decoder) ExtField {
	switch ad.Type() {
	case uapi.ExtSvcSpMss:
		s.MSS = ad.Uint16()
		return ExtFieldSPMSS
	case uapi.ExtSvcSpWscale:
		s.WScale = ad.Uint8()
		return ExtFieldSPWScale
	case uapi.ExtSvcSpOpts:
		v, mask := ad.Pair()
		s.Opts, s.OptsMask = SPOpts(v), SPOpts(mask)
		return ExtFieldSPOpts
	case uapi.ExtSvcSpWindow:
		s.Window = ad.Uint16()
		return ExtFieldSPWindow
	case uapi.ExtSvcSpTtl:
		s.TTL = ad.Uint8()
		return ExtFieldSPTTL
	case uapi.ExtSvcSpSynRetries:
		s.SYNRetries = ad.Uint8()
		return ExtFieldSPRetries
	case uapi.ExtSvcSpQueue:
		s.Queue = ad.Uint8()
		return ExtFieldSPQueue
	case uapi.ExtSvcSpAutoOn:
		s.AutoOn = ad.Uint32()
		return ExtFieldSPAutoOn
	case uapi.ExtSvcSpAutoOff:
		s.AutoOff = ad.Uint32()
		return ExtFieldSPAutoOff
	case uapi.ExtSvcSpActive:
		s.Active = ad.Uint8() != 0
	case uapi.ExtSvcSpHalfOpen:
		s.HalfOpen = ad.Uint32()
	}
	return 0
}

// options are the settings in set, each with a blank before it.
func (s Synproxy) options(set ExtField) string {
	var b strings.Builder
	number := func(field ExtField, option string, value uint64) {
		if set&field != 0 {
			fmt.Fprintf(&b, " --synproxy-%s %d", option, value)
		}
	}
	number(ExtFieldSPMSS, "mss", uint64(s.MSS))
	if s.WScale == SPWScaleOff {
		if set&ExtFieldSPWScale != 0 {
			b.WriteString(" --synproxy-wscale off")
		}
	} else {
		number(ExtFieldSPWScale, "wscale", uint64(s.WScale))
	}
	if set&ExtFieldSPOpts != 0 {
		b.WriteString(" --synproxy-opts " + s.optWords())
	}
	number(ExtFieldSPWindow, "window", uint64(s.Window))
	number(ExtFieldSPTTL, "ttl", uint64(s.TTL))
	number(ExtFieldSPRetries, "retries", uint64(s.SYNRetries))
	number(ExtFieldSPQueue, "queue", uint64(s.Queue))
	number(ExtFieldSPAutoOn, "auto-on", uint64(s.AutoOn))
	number(ExtFieldSPAutoOff, "auto-off", uint64(s.AutoOff))
	return b.String()
}

// optWords: "sack,no-ts", or "none" for a change of no option.
func (s Synproxy) optWords() string {
	var words []string
	for i, w := range []string{"sack", "ts", "ecn"} {
		switch bit := SPOpts(1) << i; {
		case s.OptsMask&bit == 0:
		case s.Opts&bit != 0:
			words = append(words, w)
		default:
			words = append(words, "no-"+w)
		}
	}
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ",")
}
