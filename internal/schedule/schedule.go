// SPDX-License-Identifier: Apache-2.0

// Package schedule tells which real server the schedulers of the kernel's ip_vs
// (net/netfilter/ipvs/ip_vs_*.c of 6.1 and 6.12) would give a new connection to,
// as far as the tables tell: what a scheduler remembers is not in them.
package schedule

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/lvs-fnat/lvs/ipvs"
)

// Packet is what a scheduler looks at: the first one of a connection.
type Packet struct {
	Client  netip.AddrPort
	Virtual netip.Addr
}

// Choice is what is known of a scheduler's choice.
type Choice struct {
	// Servers are those that may be chosen, as indexes of the dests, in their
	// order; none if the connection would be refused.
	Servers []int
	// Shares says how often each of Servers is chosen in the long run; they add
	// up to 1.
	Shares []float64
	// Certain is true if the tables alone decide. They may change: counters
	// do with each connection.
	Certain bool
	// Because is one line that says what was compared and what decided.
	Because string
	// Against has for each of the dests why it is not chosen; "" for Servers.
	Against []string
}

// State says whether a dest takes new connections.
type State uint8

// States of a dest.
const (
	Usable State = iota
	Unknown
	Unusable
)

// StateOf tells whether d takes new connections and, if not or if that is not
// known, why. A dest between its thresholds is overloaded if it has come from
// above; the tables do not say.
func StateOf(d *ipvs.Dest) (State, string) {
	if int32(d.Weight) <= 0 {
		return Unusable, "weight 0, which takes no new connections"
	}
	total, high := uint64(d.ActiveConns)+uint64(d.InactConns), uint64(d.UpperThreshold)
	low, what := uint64(d.LowerThreshold), "the lower threshold"
	if low == 0 {
		low, what = (3*high+3)/4, "three quarters of that"
	}
	switch {
	case high == 0 || total < low:
		return Usable, ""
	case total >= high:
		return Unusable, fmt.Sprintf("full: %d connections, upper threshold %d", total, high)
	}
	return Unknown, fmt.Sprintf("%d connections: if it has had %d, the upper threshold, it takes none until there are fewer than %d, %s", total, high, low, what)
}

// Choose tells where the scheduler of s would send p. dests are in the kernel's
// order, as [ipvs.Client.Dests] returns them: the schedulers go by it.
func Choose(s *ipvs.Service, dests []ipvs.Dest, p Packet) Choice {
	usable, perhaps := make([]bool, len(dests)), make([]bool, len(dests))
	against := make([]string, len(dests))
	var unknown []string
	for i := range dests {
		state, why := StateOf(&dests[i])
		usable[i], perhaps[i] = state == Usable, state != Unusable
		if state == Unknown {
			unknown = append(unknown, fmt.Sprintf("%v has %s", dests[i].DestKey, why))
		}
		against[i] = why
	}
	choice := choose(s, dests, perhaps, p)
	if len(unknown) > 0 {
		choice = either(choice, choose(s, dests, usable, p), unknown, len(dests))
	}
	for i := range dests {
		if !perhaps[i] {
			choice.Against[i] = against[i]
		}
	}
	for i := range dests {
		if choice.Against[i] == "" {
			choice.Against[i] = choice.Because
		}
	}
	for _, i := range choice.Servers {
		choice.Against[i] = ""
	}
	return choice
}

// either is a if the dests that unknown tells of take connections, and b if they do
// not: nobody knows which.
func either(a, b Choice, unknown []string, n int) Choice {
	weight := make([]float64, n)
	for _, c := range []Choice{a, b} {
		for k, i := range c.Servers {
			weight[i] += c.Shares[k] / 2
		}
	}
	out := Choice{Certain: a.Certain && b.Certain && len(a.Servers) == len(b.Servers), Because: a.Because, Against: a.Against}
	total := 0.0
	for _, w := range weight {
		total += w
	}
	for i, w := range weight {
		if w > 0 {
			out.Servers = append(out.Servers, i)
			out.Shares = append(out.Shares, w/total)
		}
	}
	if len(out.Servers) > 1 {
		out.Certain = false
	}
	if !out.Certain {
		out.Because = fmt.Sprintf("%s; if it takes this one: %s; if not: %s", strings.Join(unknown, "; "), a.Because, b.Because)
	}
	return out
}

func choose(s *ipvs.Service, dests []ipvs.Dest, usable []bool, p Packet) Choice {
	var any bool
	for _, u := range usable {
		any = any || u
	}
	c := Choice{Against: make([]string, len(dests))}
	switch {
	case s.Scheduler == "" || s.Scheduler == "none":
		c.Certain, c.Because = true, "the service has no scheduler"
		return c
	case len(dests) == 0:
		c.Certain, c.Because = true, "the service has no real server"
		return c
	case !any:
		c.Certain, c.Because = true, "no real server takes new connections"
		return c
	}
	switch s.Scheduler {
	case "rr":
		c.turns(dests, usable, false, "real servers take turns (rr), and whose turn it is no table tells")
	case "wrr":
		c.turns(dests, usable, true, "real servers take turns in proportion to their weights (wrr), and whose turn it is no table tells")
	case "lc":
		c.least(dests, usable, leastConnections)
	case "wlc":
		c.least(dests, usable, weightedLeastConnections)
	case "sed":
		c.least(dests, usable, shortestDelay)
	case "nq":
		c.neverQueue(dests, usable)
	case "fo":
		c.heaviest(dests, usable, "failover (fo): the highest weight, %d")
	case "ovf":
		c.overflow(dests, usable)
	case "sh":
		c.sourceHash(s, dests, usable, p)
	case "dh":
		c.destHash(dests, usable, p)
	case "mh":
		c.maglev(s, dests, usable, p)
	default:
		c.turns(dests, usable, false, fmt.Sprintf("the tables do not tell how %s chooses", s.Scheduler))
		c.Certain = c.Certain && len(c.Servers) == 1
	}
	return c
}

// one is a choice that the tables decide.
func (c *Choice) one(i int, because string) {
	c.Servers, c.Shares, c.Certain, c.Because = []int{i}, []float64{1}, true, because
}

// turns: where the turn is now is the scheduler's secret.
func (c *Choice) turns(dests []ipvs.Dest, usable []bool, weighted bool, because string) {
	total := 0.0
	for i := range dests {
		if !usable[i] {
			continue
		}
		share := 1.0
		if weighted {
			share = float64(dests[i].Weight)
		}
		total += share
		c.Servers = append(c.Servers, i)
		c.Shares = append(c.Shares, share)
	}
	for k := range c.Shares {
		c.Shares[k] /= total
	}
	c.Certain = len(c.Servers) == 1
	c.Because = because
	if c.Certain {
		c.Because = "the only real server that takes new connections"
	}
}

// measure is what a scheduler compares: value/weight, the least wins.
type measure struct {
	value    func(*ipvs.Dest) uint64
	weighted bool
	best     string                  // what the least one is
	counts   func(*ipvs.Dest) string // what it is made of
	name     string                  // of the quotient
	formula  string
}

var (
	leastConnections         = measure{overhead, false, "the least loaded (lc)", connections, "load", "active x 256 + inactive"}
	weightedLeastConnections = measure{overhead, true, "the least loaded for its weight (wlc)", connections, "load", "active x 256 + inactive, divided by the weight"}
	shortestDelay            = measure{expected, true, "the shortest expected delay (sed)", active, "delay", "active + 1, divided by the weight"}
)

func connections(d *ipvs.Dest) string {
	return fmt.Sprintf("%d active and %d inactive connections", d.ActiveConns, d.InactConns)
}

func active(d *ipvs.Dest) string {
	if d.ActiveConns == 1 {
		return "1 active connection"
	}
	return fmt.Sprintf("%d active connections", d.ActiveConns)
}

// overhead: an active connection counts as 256 inactive ones.
func overhead(d *ipvs.Dest) uint64 { return uint64(d.ActiveConns)<<8 + uint64(d.InactConns) }

// expected has the connection in it that is to come.
func expected(d *ipvs.Dest) uint64 { return uint64(d.ActiveConns) + 1 }

func (m *measure) weight(d *ipvs.Dest) uint64 {
	if m.weighted {
		return uint64(d.Weight)
	}
	return 1
}

// less compares as the kernel does, without dividing.
func (m *measure) less(a, b *ipvs.Dest) bool { return m.value(a)*m.weight(b) < m.value(b)*m.weight(a) }

// quotient has as many digits as tell it from other's, if it is another.
func (m *measure) quotient(d, other *ipvs.Dest) string {
	of := func(d *ipvs.Dest, digits int) string {
		text := strconv.FormatFloat(float64(m.value(d))/float64(m.weight(d)), 'f', digits, 64)
		if digits > 0 {
			text = strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
		}
		return text
	}
	digits := 2
	for digits < 18 && (m.less(d, other) || m.less(other, d)) && of(d, digits) == of(other, digits) {
		digits++
	}
	return of(d, digits)
}

// result is what d counts and the quotient it has for that.
func (m *measure) result(d, other *ipvs.Dest) string {
	counts := m.counts(d)
	if m.weighted {
		counts += fmt.Sprintf(", weight %d", d.Weight)
	}
	return fmt.Sprintf("%s: %s %s", counts, m.name, m.quotient(d, other))
}

// least takes the first of those with the least of what m measures.
func (c *Choice) least(dests []ipvs.Dest, usable []bool, m measure) {
	best := -1
	for i := range dests {
		if usable[i] && (best < 0 || m.less(&dests[i], &dests[best])) {
			best = i
		}
	}
	winner := &dests[best]
	c.one(best, fmt.Sprintf("%s: %s (%s)", m.best, m.result(winner, winner), m.formula))
	for i := range dests {
		d := &dests[i]
		switch {
		case i == best:
		case m.weight(d) == 0: // it is not usable
		case m.less(winner, d):
			c.Against[i] = m.result(d, winner) + ", more than " + m.quotient(winner, d)
		default:
			c.Against[i] = m.result(d, winner) + ", the same, but it comes later in the table"
		}
	}
}

// neverQueue takes the first that is idle, else the shortest expected delay.
func (c *Choice) neverQueue(dests []ipvs.Dest, usable []bool) {
	for i := range dests {
		if usable[i] && dests[i].ActiveConns == 0 {
			c.one(i, "the first in the table without an active connection (nq)")
			for k := range dests {
				switch {
				case k == i:
				case dests[k].ActiveConns == 0:
					c.Against[k] = "no active connection either, but it comes later in the table"
				default:
					c.Against[k] = active(&dests[k]) + ", and a server without any goes first"
				}
			}
			return
		}
	}
	c.least(dests, usable, shortestDelay)
	c.Because = "each has active connections (nq), so " + c.Because
}

// heaviest takes the first of those with the highest weight. how has a place for it.
func (c *Choice) heaviest(dests []ipvs.Dest, usable []bool, how string) {
	best := -1
	for i := range dests {
		if usable[i] && (best < 0 || dests[i].Weight > dests[best].Weight) {
			best = i
		}
	}
	weight := dests[best].Weight
	c.one(best, fmt.Sprintf(how, weight))
	for i := range dests {
		switch {
		case i == best:
		case dests[i].Weight == weight:
			c.Against[i] = fmt.Sprintf("weight %d, the same, but it comes later in the table", weight)
		default:
			c.Against[i] = fmt.Sprintf("weight %d, less than %d", dests[i].Weight, weight)
		}
	}
}

// overflow is heaviest among those that have no more active connections than
// their weight.
func (c *Choice) overflow(dests []ipvs.Dest, usable []bool) {
	room, any := make([]bool, len(dests)), false
	for i := range dests {
		room[i] = usable[i] && dests[i].ActiveConns <= dests[i].Weight
		any = any || room[i]
	}
	if any {
		c.heaviest(dests, room, "overflow (ovf): the highest weight, %d, of those with no more active connections than their weight")
	} else {
		c.Certain, c.Because = true, "overflow (ovf): every real server has more active connections than its weight"
	}
	for i := range dests {
		if usable[i] && !room[i] {
			c.Against[i] = fmt.Sprintf("%s, more than its weight %d", active(&dests[i]), dests[i].Weight)
		}
	}
}
