// SPDX-License-Identifier: Apache-2.0

// Package schedule tells which real server the schedulers of the kernel's ip_vs
// (net/netfilter/ipvs/ip_vs_*.c of 6.1 and 6.12) would give a new connection to,
// as far as the tables tell: what a scheduler remembers is not in them.
package schedule

import (
	"fmt"
	"net/netip"

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
	// Because is one line that says how the choice is made.
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
		return Unusable, "weight 0"
	}
	total, high := uint64(d.ActiveConns)+uint64(d.InactConns), uint64(d.UpperThreshold)
	low := uint64(d.LowerThreshold)
	if low == 0 {
		low = (3*high + 3) / 4
	}
	switch {
	case high == 0 || total < low:
		return Usable, ""
	case total >= high:
		return Unusable, fmt.Sprintf("%d connections, upper threshold %d", total, high)
	}
	return Unknown, fmt.Sprintf("%d connections: full until there are fewer than %d, if it has had %d", total, low, high)
}

// Choose tells where the scheduler of s would send p. dests are in the kernel's
// order, as [ipvs.Client.Dests] returns them: the schedulers go by it.
func Choose(s *ipvs.Service, dests []ipvs.Dest, p Packet) Choice {
	usable, perhaps := make([]bool, len(dests)), make([]bool, len(dests))
	against := make([]string, len(dests))
	open := false
	for i := range dests {
		state, why := StateOf(&dests[i])
		usable[i], perhaps[i] = state == Usable, state != Unusable
		open = open || state == Unknown
		against[i] = why
	}
	choice := choose(s, dests, perhaps, p)
	if open {
		choice = either(choice, choose(s, dests, usable, p), len(dests))
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

// either is the choice if one of two holds, nobody knows which.
func either(a, b Choice, n int) Choice {
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
		c.Certain, c.Because = true, "no real server takes connections"
		return c
	}
	switch s.Scheduler {
	case "rr":
		c.turns(dests, usable, false, "in turn")
	case "wrr":
		c.turns(dests, usable, true, "in turn, by weight")
	case "lc":
		c.least(dests, usable, overhead, false)
	case "wlc":
		c.least(dests, usable, overhead, true)
	case "sed":
		c.least(dests, usable, expected, true)
	case "nq":
		c.neverQueue(dests, usable)
	case "fo":
		c.heaviest(dests, usable, "failover")
	case "ovf":
		c.overflow(dests, usable)
	case "sh":
		c.sourceHash(s, dests, usable, p)
	case "dh":
		c.destHash(dests, usable, p)
	case "mh":
		c.maglev(s, dests, usable, p)
	default:
		c.turns(dests, usable, false, fmt.Sprintf("the tables do not say how %s chooses", s.Scheduler))
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
		c.Because = "the only real server that takes connections"
	}
}

// overhead is what lc and wlc compare: an active connection counts as 256.
func overhead(d *ipvs.Dest) uint64 { return uint64(d.ActiveConns)<<8 + uint64(d.InactConns) }

// expected is what sed and nq compare: the connection that is to come included.
func expected(d *ipvs.Dest) uint64 { return uint64(d.ActiveConns) + 1 }

// least takes the first of those with the least load.
func (c *Choice) least(dests []ipvs.Dest, usable []bool, load func(*ipvs.Dest) uint64, weighted bool) {
	weight := func(i int) uint64 {
		if weighted {
			return uint64(dests[i].Weight)
		}
		return 1
	}
	text := func(i int) string {
		if weighted {
			return fmt.Sprintf("load %d/%d", load(&dests[i]), weight(i))
		}
		return fmt.Sprintf("load %d", load(&dests[i]))
	}
	best := -1
	for i := range dests {
		if usable[i] && (best < 0 || load(&dests[best])*weight(i) > load(&dests[i])*weight(best)) {
			best = i
		}
	}
	c.one(best, "least "+text(best))
	for i := range dests {
		if i != best {
			c.Against[i] = fmt.Sprintf("%s, not less than %s", text(i), text(best)[len("load "):])
		}
	}
}

// neverQueue takes the first that is idle, else the least expected load.
func (c *Choice) neverQueue(dests []ipvs.Dest, usable []bool) {
	for i := range dests {
		if usable[i] && dests[i].ActiveConns == 0 {
			c.one(i, "the first idle one")
			for k := range dests {
				if k != i {
					c.Against[k] = "not the first idle one"
				}
			}
			return
		}
	}
	c.least(dests, usable, expected, true)
	c.Because = "none is idle; " + c.Because
}

// heaviest takes the first of those with the highest weight.
func (c *Choice) heaviest(dests []ipvs.Dest, usable []bool, how string) {
	best := -1
	for i := range dests {
		if usable[i] && (best < 0 || dests[i].Weight > dests[best].Weight) {
			best = i
		}
	}
	c.one(best, fmt.Sprintf("%s: highest weight, %d", how, dests[best].Weight))
	for i := range dests {
		if i != best {
			c.Against[i] = fmt.Sprintf("weight %d, not more than %d", dests[i].Weight, dests[best].Weight)
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
		c.heaviest(dests, room, "overflow")
	} else {
		c.Certain, c.Because = true, "every real server has more active connections than its weight"
	}
	for i := range dests {
		if usable[i] && !room[i] {
			c.Against[i] = fmt.Sprintf("%d active connections, weight %d", dests[i].ActiveConns, dests[i].Weight)
		}
	}
}
