// SPDX-License-Identifier: Apache-2.0

package config

import (
	"maps"
	"math"
	"strings"
	"time"

	"github.com/lvs-fnat/lvs/internal/bfd"
	"github.com/lvs-fnat/lvs/parser"
)

// BFD are the sessions of the file.
type BFD struct {
	Sessions []BFDInstance

	// Faults are the errors in them, as those of VRRP.
	Faults []string
}

// Configs are the sessions as package bfd wants them.
func (b *BFD) Configs() []bfd.Config {
	list := make([]bfd.Config, len(b.Sessions))
	for i := range b.Sessions {
		list[i] = b.Sessions[i].Session
	}
	return list
}

// Named finds a session, nil if there is none of that name.
func (b *BFD) Named(name string) *BFDInstance {
	for i := range b.Sessions {
		if b.Sessions[i].Session.Name == name {
			return &b.Sessions[i]
		}
	}
	return nil
}

// BFDInstance is one bfd_instance with every default filled in.
type BFDInstance struct {
	Pos     Pos
	Session bfd.Config
	// Weight and Reverse are for a track_bfd that does not say.
	Weight  int
	Reverse bool
	// VRRP and Checker tell which processes hear of the session.
	VRRP, Checker bool
}

// bfdDraft is a bfd_instance while it is read.
type bfdDraft struct {
	BFDInstance
	ttl    opt[int]
	broken bool
}

// Limits and defaults of bfd_instance.
const (
	bfdNameMax      = 31
	bfdIntervalMax  = math.MaxUint32 / 1000 * time.Millisecond
	bfdSensible     = 10 * time.Second
	bfdSensibleMult = 10
	bfdInterval     = 10 * time.Millisecond
	bfdIdle         = time.Second
	bfdMultiplier   = 5
	bfdTTL          = 255
	bfdHopLimit     = 64
)

var bfdInstanceKeywords = keywords[bfdDraft]{
	"neighbor_ip":  {read: readNeighbor},
	"neighbour_ip": {read: readNeighbor},
	"source_ip": {read: func(l *loader, n *parser.Node, d *bfdDraft) {
		if a, ok := l.addr(n, 1); ok {
			d.Session.Source = a
		}
	}},
	"min_rx":  bfdMillis(time.Millisecond, func(d *bfdDraft, v time.Duration) { d.Session.MinRx = v }),
	"min_tx":  bfdMillis(time.Millisecond, func(d *bfdDraft, v time.Duration) { d.Session.MinTx = v }),
	"idle_tx": bfdMillis(time.Second, func(d *bfdDraft, v time.Duration) { d.Session.IdleTx = v }),
	"multiplier": {read: func(l *loader, n *parser.Node, d *bfdDraft) {
		if v, ok := l.int(n, 1, 1, 255); ok {
			if d.Session.Multiplier = int(v); v > bfdSensibleMult {
				l.info(n.ArgPos(1), "Configuration warning: BFD instance %s multiplier %d is larger than max sensible (%d)", d.Session.Name, v, bfdSensibleMult)
			}
		}
	}},
	"passive":  flagInto(func(d *bfdDraft) { d.Session.Passive = true }),
	"ttl":      intInto(1, 255, func(d *bfdDraft, v int) { d.ttl.put(v) }),
	"hoplimit": intInto(1, 255, func(d *bfdDraft, v int) { d.ttl.put(v) }),
	"max_hops": intInto(-1, 255, func(d *bfdDraft, v int) { d.Session.MaxHops = v }),
	"multihop": boolInto(func(d *bfdDraft, v bool) { d.Session.Multihop = v }),
	"weight":   weightWords(weightMax, func(d *bfdDraft, v int, r bool) { d.Weight, d.Reverse = v, r }),
	"vrrp":     flagInto(func(d *bfdDraft) { d.VRRP = true }),
	"checker":  flagInto(func(d *bfdDraft) { d.Checker = true }),
}

func readNeighbor(l *loader, n *parser.Node, d *bfdDraft) {
	a, ok := l.addr(n, 1)
	d.broken = d.broken || !ok
	d.Session.Neighbor = a
}

// bfdMillis reads milliseconds; digits behind the third are rounded, with a remark.
func bfdMillis(least time.Duration, set func(*bfdDraft, time.Duration)) keyword[bfdDraft] {
	return keyword[bfdDraft]{read: func(l *loader, n *parser.Node, d *bfdDraft) {
		s, ok := l.word(n, 1, "milliseconds")
		if !ok {
			return
		}
		v, ok := parseSeconds(s)
		ms := int64(least / time.Millisecond)
		switch {
		case !ok:
			l.error(n.ArgPos(1), "%s: invalid number '%s': expected milliseconds, such as 100 or 16.7", n.Key(), s)
			return
		case v < least*1000 || v > bfdIntervalMax*1000:
			l.error(n.ArgPos(1), "%s: number '%s' outside range [%d, %d]", n.Key(), s, ms, bfdIntervalMax/time.Millisecond)
			return
		}
		if _, frac, _ := strings.Cut(s, "."); len(frac) > 3 {
			l.warn(n.ArgPos(1), "%s: number '%s' has more than 3 decimal places: rounded", n.Key(), s)
		}
		v = (v / 1000).Round(time.Microsecond)
		if v > bfdSensible {
			l.info(n.ArgPos(1), "Configuration warning: BFD instance %s %s value %s is larger than max sensible (%d)", d.Session.Name, n.Key(), s, bfdSensible/time.Millisecond)
		}
		set(d, v)
	}}
}

func readBFDInstance(l *loader, n *parser.Node, _ *Config) {
	defer l.noteFaults(&l.cfg.BFD.Faults, len(l.diags))
	name, ok := l.word(n, 1, "name of the session")
	if !ok {
		return
	}
	if len(name) > bfdNameMax {
		l.error(n.ArgPos(1), "bfd_instance: the name '%s' is longer than %d characters: this one is ignored", name, bfdNameMax)
		return
	}
	d := &bfdDraft{}
	d.Pos = n.Pos()
	d.Session = bfd.Config{Name: name, MinRx: bfdInterval, MinTx: bfdInterval, IdleTx: bfdIdle, Multiplier: bfdMultiplier}
	walk(l, n.Children, "bfd_instance", bfdInstanceKeywords, d)
	if other := l.cfg.BFD.Named(name); other != nil {
		l.error(n.ArgPos(1), "bfd_instance %s is already defined at line %d of %s: this one is ignored", name, other.Pos.Line, other.Pos.File)
		return
	}
	if d.broken || !l.completeBFD(d) {
		return
	}
	l.cfg.BFD.Sessions = append(l.cfg.BFD.Sessions, d.BFDInstance)
}

// completeBFD fills in what was not written; false: the session cannot be.
func (l *loader) completeBFD(d *bfdDraft) bool {
	s := &d.Session
	if !s.Neighbor.IsValid() {
		l.error(d.Pos, "bfd_instance %s has no neighbor: add 'neighbor_ip ADDRESS'", s.Name)
		return false
	}
	if s.Source.IsValid() && FamilyOf(s.Source) != FamilyOf(s.Neighbor) {
		l.error(d.Pos, "bfd_instance %s: source_ip %s and neighbor_ip %s are not of one family", s.Name, s.Source, s.Neighbor)
		return false
	}
	for i := range l.cfg.BFD.Sessions {
		o := &l.cfg.BFD.Sessions[i].Session
		if o.Neighbor == s.Neighbor && o.Multihop == s.Multihop && (!o.Source.IsValid() || !s.Source.IsValid() || o.Source == s.Source) {
			l.error(d.Pos, "bfd_instance %s has the same neighbor %s as %s: give both a source_ip of their own", s.Name, s.Neighbor, o.Name)
			return false
		}
	}
	ttl := bfdTTL
	if s.Neighbor.Is6() {
		ttl = bfdHopLimit
	}
	if s.TTL = d.ttl.or(ttl); s.MaxHops > s.TTL {
		l.warn(d.Pos, "BFD instance %s: max_hops exceeds ttl/hoplimit - setting to ttl/hoplimit", s.Name)
		s.MaxHops = s.TTL
	}
	if !d.VRRP && !d.Checker {
		d.VRRP, d.Checker = true, true
	}
	return true
}

// session finds a bfd_instance that words at a place refer to; heard tells whether
// it is for who asks.
func (l *loader) session(name string, at Pos, who string, heard func(*BFDInstance) bool) *BFDInstance {
	b := l.cfg.BFD.Named(name)
	if b == nil {
		names := map[string]bool{}
		for i := range l.cfg.BFD.Sessions {
			names[l.cfg.BFD.Sessions[i].Session.Name] = true
		}
		l.error(at, "%s %s: no such bfd_instance%s", who, name, defined(maps.Keys(names)))
		return nil
	}
	if !heard(b) {
		l.error(at, "%s %s: the bfd_instance is not for this process: add '%s' to it", who, name, map[bool]string{true: "vrrp", false: "checker"}[b.Checker])
		return nil
	}
	return b
}
