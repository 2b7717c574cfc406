// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"
	"strings"

	"github.com/lvs-fnat/lvs/ipvs"
)

// synproxyMode reads a mode in alibaba's words or ours.
func synproxyMode(v string) (ipvs.SynproxyMode, error) {
	word, ok := map[string]string{"enable": "on", "disable": "off"}[v]
	if !ok {
		word = v
	}
	return ipvs.ParseSynproxyMode(word)
}

// setSynproxy is -j.
func (c *call) setSynproxy(v string, _ bool) error {
	mode, err := synproxyMode(v)
	if err != nil {
		return usagef(msgSynproxy, v)
	}
	c.ext.SetSynproxy(mode)
	return nil
}

// setSP keeps a number of SYNPROXY's.
func setSP[T uint8 | uint16 | uint32](c *call, v, name string, low, high int64, to *T, field ipvs.ExtField) error {
	n, ok := number(v, low, high)
	if !ok {
		return usagef(msgNumber, name, v, low, high)
	}
	*to = T(n)
	c.ext.Set |= field
	return nil
}

func (c *call) setSPMSS(v string, _ bool) error {
	n, ok := number(v, 0, 65495)
	if !ok || n != 0 && n < 88 {
		return usagef(msgSPMSS, v)
	}
	c.ext.SP.MSS = uint16(n)
	c.ext.Set |= ipvs.ExtFieldSPMSS
	return nil
}

func (c *call) setSPWScale(v string, _ bool) error {
	n, ok := number(v, 0, 14)
	switch {
	case v == "off":
		n = ipvs.SPWScaleOff
	case !ok:
		return usagef(msgSPWScale, v)
	}
	c.ext.SP.WScale = uint8(n)
	c.ext.Set |= ipvs.ExtFieldSPWScale
	return nil
}

// spOptWords are the options that cookies have room for.
var spOptWords = []struct {
	word string
	opt  ipvs.SPOpts
}{{"sack", ipvs.SPOptSACK}, {"ts", ipvs.SPOptTS}}

func (c *call) setSPOpts(v string, _ bool) error {
words:
	for word := range strings.SplitSeq(v, ",") {
		name, off := strings.CutPrefix(word, "no-")
		for _, o := range spOptWords {
			if name != o.word {
				continue
			}
			c.ext.SP.OptsMask |= o.opt
			if c.ext.SP.Opts &^= o.opt; !off {
				c.ext.SP.Opts |= o.opt
			}
			continue words
		}
		return usagef(msgSPOpts, word)
	}
	c.ext.Set |= ipvs.ExtFieldSPOpts
	return nil
}

func (c *call) setSPWindow(v string, _ bool) error {
	return setSP(c, v, "synproxy-window", 0, math.MaxUint16, &c.ext.SP.Window, ipvs.ExtFieldSPWindow)
}

func (c *call) setSPTTL(v string, _ bool) error {
	return setSP(c, v, "synproxy-ttl", 1, 255, &c.ext.SP.TTL, ipvs.ExtFieldSPTTL)
}

func (c *call) setSPRetries(v string, _ bool) error {
	return setSP(c, v, "synproxy-retries", 0, 8, &c.ext.SP.SYNRetries, ipvs.ExtFieldSPRetries)
}

func (c *call) setSPQueue(v string, _ bool) error {
	return setSP(c, v, "synproxy-queue", 0, 64, &c.ext.SP.Queue, ipvs.ExtFieldSPQueue)
}

func (c *call) setSPAutoOn(v string, _ bool) error {
	return setSP(c, v, "synproxy-auto-on", 1, math.MaxUint32, &c.ext.SP.AutoOn, ipvs.ExtFieldSPAutoOn)
}

func (c *call) setSPAutoOff(v string, _ bool) error {
	return setSP(c, v, "synproxy-auto-off", 0, math.MaxUint32-1, &c.ext.SP.AutoOff, ipvs.ExtFieldSPAutoOff)
}

// invalidWords are the policies for packets without connection, by number.
var invalidWords = []string{"accept", "drop", "rst"}

func (c *call) setInvalid(v string, _ bool) error {
	for i, word := range invalidWords {
		if v == word {
			c.ext.Invalid = ipvs.InvalidPolicy(i)
			c.ext.Set |= ipvs.ExtFieldInvalid
			return nil
		}
	}
	return usagef(msgInvalid, v)
}

// agreeSynproxy refuses what the kernel would refuse with less to say.
func (c *call) agreeSynproxy() error {
	const both = ipvs.ExtFieldSPAutoOn | ipvs.ExtFieldSPAutoOff
	if c.ext.Set&both == both && c.ext.SP.AutoOff >= c.ext.SP.AutoOn {
		return usagef(msgSPAuto)
	}
	if c.ext.Flags&ipvs.ExtSPDefer != 0 && c.ext.Set&ipvs.ExtFieldSPWindow != 0 && c.ext.SP.Window == 0 {
		return usagef(msgSPDefer)
	}
	return nil
}

// usualSynproxy is what the module makes of a service that says nothing.
var usualSynproxy = ipvs.Synproxy{WScale: 7, Opts: ipvs.SPOptSACK, Window: 14600, TTL: 64, SYNRetries: 3, Queue: 16,
	AutoOn: 1024, AutoOff: 512}

// synproxyWords are the options of SYNPROXY, each with a blank in front, that
// -S needs for e; none of a module that does not know them.
func synproxyWords(e ipvs.Ext) string {
	var b strings.Builder
	if mode := e.Flags.Synproxy(); mode != ipvs.SynproxyOff {
		b.WriteString(" --synproxy " + mode.String())
	}
	if e.Flags&ipvs.ExtSPDefer != 0 {
		b.WriteString(" --synproxy-defer")
	}
	sp, usual := e.SP, usualSynproxy
	put := func(field ipvs.ExtField, name string, value, usually uint32) {
		if e.Set&field != 0 && value != usually {
			fmt.Fprintf(&b, " --synproxy-%s %d", name, value)
		}
	}
	put(ipvs.ExtFieldSPMSS, "mss", uint32(sp.MSS), uint32(usual.MSS))
	if sp.WScale == ipvs.SPWScaleOff {
		b.WriteString(" --synproxy-wscale off")
	} else {
		put(ipvs.ExtFieldSPWScale, "wscale", uint32(sp.WScale), uint32(usual.WScale))
	}
	if words := spOptText(sp.Opts, sp.Opts^usual.Opts); words != "" && e.Set&ipvs.ExtFieldSPOpts != 0 {
		b.WriteString(" --synproxy-opts " + words)
	}
	put(ipvs.ExtFieldSPWindow, "window", uint32(sp.Window), uint32(usual.Window))
	put(ipvs.ExtFieldSPTTL, "ttl", uint32(sp.TTL), uint32(usual.TTL))
	put(ipvs.ExtFieldSPRetries, "retries", uint32(sp.SYNRetries), uint32(usual.SYNRetries))
	put(ipvs.ExtFieldSPQueue, "queue", uint32(sp.Queue), uint32(usual.Queue))
	put(ipvs.ExtFieldSPAutoOn, "auto-on", sp.AutoOn, usual.AutoOn)
	put(ipvs.ExtFieldSPAutoOff, "auto-off", sp.AutoOff, usual.AutoOff)
	if e.Invalid != ipvs.InvalidAccept && int(e.Invalid) < len(invalidWords) {
		b.WriteString(" --invalid " + invalidWords[e.Invalid])
	}
	return b.String()
}

// spOptText is the value of --synproxy-opts that makes opts of those in mask.
func spOptText(opts, mask ipvs.SPOpts) string {
	var words []string
	for _, o := range spOptWords {
		switch {
		case mask&o.opt == 0:
		case opts&o.opt != 0:
			words = append(words, o.word)
		default:
			words = append(words, "no-"+o.word)
		}
	}
	return strings.Join(words, ",")
}

// jsonSynproxy is SYNPROXY of one service.
type jsonSynproxy struct {
	Mode     string   `json:"mode"`
	Active   bool     `json:"active"`
	HalfOpen uint32   `json:"half_open"`
	Defer    bool     `json:"defer"`
	MSS      uint16   `json:"mss"`
	WScale   *uint8   `json:"window_scale"`
	Opts     []string `json:"options"`
	Window   uint16   `json:"window"`
	TTL      uint8    `json:"ttl"`
	Retries  uint8    `json:"retries"`
	Queue    uint8    `json:"queue"`
	AutoOn   uint32   `json:"auto_on"`
	AutoOff  uint32   `json:"auto_off"`
}

// synproxyOf is null of a module without SYNPROXY.
func synproxyOf(e ipvs.Ext) *jsonSynproxy {
	if e.Set&ipvs.ExtFieldSP == 0 {
		return nil
	}
	sp := e.SP
	j := &jsonSynproxy{
		Mode: e.Flags.Synproxy().String(), Active: sp.Active, HalfOpen: sp.HalfOpen, Defer: e.Flags&ipvs.ExtSPDefer != 0,
		MSS: sp.MSS, Opts: []string{}, Window: sp.Window, TTL: sp.TTL, Retries: sp.SYNRetries, Queue: sp.Queue,
		AutoOn: sp.AutoOn, AutoOff: sp.AutoOff,
	}
	if sp.WScale != ipvs.SPWScaleOff {
		j.WScale = &sp.WScale
	}
	for _, o := range spOptWords {
		if sp.Opts&o.opt != 0 {
			j.Opts = append(j.Opts, o.word)
		}
	}
	return j
}
