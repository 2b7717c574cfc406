// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"

	"github.com/lvs-fnat/lvs/ipvs"
)

// Flags of a service that the options of FNAT switch.
const (
	fnat       = ipvs.ExtFNAT
	toa        = ipvs.ExtTOA
	toaSyn     = ipvs.ExtTOASyn
	seqAdjust  = ipvs.ExtSeq
	exhaustRST = ipvs.ExtExhaustRST
)

const (
	flagOff = false
	flagOn  = true
)

// extFlag makes the setter of one flag.
func extFlag(on bool, flag ipvs.ExtFlags) func(*call, string, bool) error {
	return func(c *call, _ string, _ bool) error {
		c.ext.Set |= ipvs.ExtFieldFlags
		c.ext.FlagsMask |= flag
		if on {
			c.ext.Flags |= flag
		}
		return nil
	}
}

// setFullNAT is -b of -a and -e.
func (c *call) setFullNAT(string, bool) error {
	c.fullNAT = true
	c.dest.Forward = ipvs.Masq
	return nil
}

func (c *call) setTOAKind4(v string, _ bool) error {
	return c.setKind(v, "toa-kind4", &c.ext.TOAKind4, ipvs.ExtFieldTOAKind4)
}

func (c *call) setTOAKind6(v string, _ bool) error {
	return c.setKind(v, "toa-kind6", &c.ext.TOAKind6, ipvs.ExtFieldTOAKind6)
}

func (c *call) setKind(v, name string, to *uint8, field ipvs.ExtField) error {
	n, ok := number(v, 9, 254)
	if !ok {
		return usagef(msgTOAKind, name, v)
	}
	*to = uint8(n)
	c.ext.Set |= field
	return nil
}

// Words of the values that stand for a number, in the order of the numbers.
var (
	tsModes   = []string{"keep", "strip", "rebase"}
	laddrWays = []string{"rr", "source", "cpu"}
)

func (c *call) setTimestamps(v string, _ bool) error {
	for i, word := range tsModes {
		if v == word {
			c.ext.TSMode = ipvs.TSMode(i)
			c.ext.Set |= ipvs.ExtFieldTSMode
			return nil
		}
	}
	return usagef(msgTimestamps, v)
}

func (c *call) setLaddrSelect(v string, _ bool) error {
	for i, word := range laddrWays {
		if v == word {
			c.ext.Select = ipvs.LaddrSelect(i)
			c.ext.Set |= ipvs.ExtFieldSelect
			return nil
		}
	}
	return usagef(msgLaddrSelect, v)
}

func (c *call) setMSS(v string, _ bool) error {
	n, ok := number(v, 0, 65495)
	if !ok || n != 0 && n < 88 {
		return usagef(msgMSS, v)
	}
	c.ext.MSSClamp = uint16(n)
	c.ext.Set |= ipvs.ExtFieldMSSClamp
	return nil
}

// setLGroup names the group; with -A and -E that is a setting of the service.
func (c *call) setLGroup(v string, _ bool) error {
	if len(v) > maxName || strings.ContainsAny(v, " \t\r\n") || v == "" && c.cmd != cmdEdit {
		return usagef(msgLGroup, v, maxName)
	}
	c.group = v
	if c.cmd == cmdAdd || c.cmd == cmdEdit {
		c.ext.LGroup = v
		c.ext.Set |= ipvs.ExtFieldLGroup
	}
	return nil
}

// setLocalAddress keeps the flags and CPUs that may have come before.
func (c *call) setLocalAddress(v string, _ bool) error {
	l, ok := laddr(v)
	if !ok {
		return usagef(msgLaddr, v)
	}
	c.laddr.Addr, c.laddr.PortMin, c.laddr.PortMax = l.Addr, l.PortMin, l.PortMax
	return nil
}

// laddrFlagWords are the words of --laddr-flags.
var laddrFlagWords = []struct {
	word string
	flag ipvs.LaddrFlags
}{
	{"no-new", ipvs.LaddrNoNew},
	{"foreign", ipvs.LaddrForeign},
	{"force", ipvs.LaddrForce},
}

func (c *call) setLaddrFlags(v string, _ bool) error {
	c.setFlags = true
	if v == "none" {
		return nil
	}
words:
	for word := range strings.SplitSeq(v, ",") {
		for _, f := range laddrFlagWords {
			if word == f.word {
				c.laddr.Flags |= f.flag
				continue words
			}
		}
		return usagef(msgLaddrFlags, word)
	}
	return nil
}

// laddrFlagText is the value of --laddr-flags that sets flags.
func laddrFlagText(flags ipvs.LaddrFlags) string {
	var words []string
	for _, f := range laddrFlagWords {
		if flags&f.flag != 0 {
			words = append(words, f.word)
		}
	}
	return strings.Join(words, ",")
}

// setLaddrCPUs looks at the form only: the kernel knows which CPUs there are.
func (c *call) setLaddrCPUs(v string, _ bool) error {
	c.setCPUs = true
	c.laddr.CPUs = v
	if v == "" {
		return nil
	}
	for part := range strings.SplitSeq(v, ",") {
		low, high, isRange := strings.Cut(part, "-")
		a, ok := number(low, 0, 8191)
		b := a
		if isRange {
			var okHigh bool
			b, okHigh = number(high, 0, 8191)
			ok = ok && okHigh
		}
		if !ok || a > b || strings.Trim(part, "0123456789-") != "" {
			return usagef(msgCPUs, v)
		}
	}
	return nil
}
