// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/lvs-fnat/lvs/ipvs"
)

// limitSetter makes the setter of a number that limits a service; 0 is none.
func limitSetter[T uint32 | uint64](name string, high int64, field ipvs.ExtField, at func(*ipvs.Limits) *T) func(*call, string, bool) error {
	return func(c *call, v string, _ bool) error {
		n, ok := number(v, 0, high)
		if !ok {
			return usagef(msgNumber, name, v, 0, high)
		}
		*at(&c.ext.Limits) = T(n)
		c.ext.Set |= field
		return nil
	}
}

var (
	setCPS       = limitSetter("cps", math.MaxUint32, ipvs.ExtFieldCPS, func(l *ipvs.Limits) *uint32 { return &l.CPS })
	setCPSBurst  = limitSetter("cps-burst", math.MaxUint32, ipvs.ExtFieldCPSBurst, func(l *ipvs.Limits) *uint32 { return &l.CPSBurst })
	setConnLimit = limitSetter("conn-limit", math.MaxUint32, ipvs.ExtFieldConnLimit, func(l *ipvs.Limits) *uint32 { return &l.ConnLimit })
	setBPSIn     = limitSetter("bps-in", ipvs.MaxBPS, ipvs.ExtFieldBPSIn, func(l *ipvs.Limits) *uint64 { return &l.BPSIn })
	setBPSOut    = limitSetter("bps-out", ipvs.MaxBPS, ipvs.ExtFieldBPSOut, func(l *ipvs.Limits) *uint64 { return &l.BPSOut })
)

func (c *call) setEstTimeout(v string, _ bool) error {
	const most = int64(ipvs.MaxTimeoutEst / time.Second)
	n, ok := number(v, 0, most)
	if !ok {
		return usagef(msgNumber, "est-timeout", v, 0, most)
	}
	c.ext.TimeoutEst = time.Duration(n) * time.Second
	c.ext.Set |= ipvs.ExtFieldTimeoutEst
	return nil
}

// aclModes are those that have a word.
var aclModes = []ipvs.ACLMode{ipvs.ACLOff, ipvs.ACLWhite, ipvs.ACLBlack}

func (c *call) setACL(v string, _ bool) error {
	for _, mode := range aclModes {
		if v == mode.String() {
			c.ext.ACL = mode
			c.ext.Set |= ipvs.ExtFieldACLMode
			return nil
		}
	}
	return usagef(msgACL, v)
}

func (c *call) setACLSet4(v string, _ bool) error {
	return c.setIPSet(v, "acl-set4", &c.ext.ACLSet4, ipvs.ExtFieldACLSet4)
}

func (c *call) setACLSet6(v string, _ bool) error {
	return c.setIPSet(v, "acl-set6", &c.ext.ACLSet6, ipvs.ExtFieldACLSet6)
}

// maxSetName is the longest name of an ipset, in bytes.
const maxSetName = 31

func (c *call) setIPSet(v, name string, to *string, field ipvs.ExtField) error {
	if len(v) > maxSetName || strings.ContainsAny(v, " \t\r\n") {
		return usagef(msgIPSet, name, v, maxSetName)
	}
	*to = v
	c.ext.Set |= field
	return nil
}

// limitWords are the options of limits and lists, each with a blank in front,
// that -S needs for e.
func limitWords(e ipvs.Ext) string {
	var b strings.Builder
	if e.Flags&ipvs.ExtRSTOnExpire != 0 {
		b.WriteString(" --rst-on-expire")
	}
	for _, f := range []struct {
		name  string
		value uint64
	}{
		{"est-timeout", uint64(e.TimeoutEst / time.Second)}, {"cps", uint64(e.CPS)}, {"cps-burst", uint64(e.CPSBurst)},
		{"bps-in", e.BPSIn}, {"bps-out", e.BPSOut}, {"conn-limit", uint64(e.ConnLimit)},
	} {
		if f.value != 0 {
			fmt.Fprintf(&b, " --%s %d", f.name, f.value)
		}
	}
	for _, f := range []struct{ name, value string }{{"acl-set4", e.ACLSet4}, {"acl-set6", e.ACLSet6}} {
		switch f.value {
		case "":
		case progName:
			fmt.Fprintf(&b, " --%s=%s", f.name, f.value) // a restore drops the word alone
		default:
			fmt.Fprintf(&b, " --%s %s", f.name, f.value)
		}
	}
	if e.ACL != ipvs.ACLOff {
		b.WriteString(" --acl " + e.ACL.String())
	}
	return b.String()
}

// jsonLimits are the limits of one service; 0 is none.
type jsonLimits struct {
	CPS       uint32 `json:"cps"`
	CPSBurst  uint32 `json:"cps_burst"`
	BPSIn     uint64 `json:"bps_in"`
	BPSOut    uint64 `json:"bps_out"`
	ConnLimit uint32 `json:"conns"`
}

type jsonACL struct {
	Mode string  `json:"mode"`
	Set4 *string `json:"set4"`
	Set6 *string `json:"set6"`
}

func limitsOf(l ipvs.Limits) jsonLimits {
	return jsonLimits{l.CPS, l.CPSBurst, l.BPSIn, l.BPSOut, l.ConnLimit}
}

func aclOf(l ipvs.Limits) jsonACL {
	return jsonACL{l.ACL.String(), orNull(l.ACLSet4), orNull(l.ACLSet6)}
}
