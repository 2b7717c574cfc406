// SPDX-License-Identifier: Apache-2.0

package director

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/lvs-fnat/lvs/ipvs"
)

// Tables is the state of the balancer that one daemon answers for: wanted, or
// found in a kernel. What others put into the kernel is not in it.
type Tables struct {
	// Timeouts of connections; zero parts are nobody's business.
	Timeouts ipvs.Timeouts
	// Config of the extension; what is not in its Set is nobody's business.
	Config ipvs.ExtConfig
	// Groups of local addresses, by name once only.
	Groups []Group
	// Services, by key once only.
	// What they refer to is never changed: tables share it.
	Services []*Service
}

// Group is a local address group with its addresses.
type Group struct {
	Name   string
	Family ipvs.Family
	Laddrs []ipvs.Laddr
	// Hand are flags that somebody has set by hand. They stay: who drains an
	// address with ipvsadm does not want a reload to undo that.
	Hand map[netip.Addr]ipvs.LaddrFlags
}

// Service is a virtual service and its dests.
type Service struct {
	ipvs.ServiceKey
	*Settings
	Dests []Dest
}

// Settings are all of a service but its name. Those of a large configuration are
// nearly all the same: services share them, and nobody changes them.
type Settings struct {
	Main ipvs.Service // without key and counters
	Ext  ipvs.Ext     // zero on a stock kernel
}

// Dest is what can be set of a dest: a table has no counters, which are more than
// half of what the kernel tells.
type Dest struct {
	ipvs.DestKey
	Forward                        ipvs.Forward
	Weight                         uint32
	UpperThreshold, LowerThreshold uint32
	TunType                        ipvs.TunnelType
	TunPort, TunFlags              uint16
}

// main is s as the mainline family names it.
func (s *Service) main() ipvs.Service {
	m := s.Main
	m.ServiceKey = s.ServiceKey
	return m
}

// foundService is a service as the kernel has it.
func foundService(s ipvs.Service, ext ipvs.Ext, dests []Dest) *Service {
	key := s.ServiceKey
	s.ServiceKey, s.Stats = ipvs.ServiceKey{}, ipvs.Stats{}
	return &Service{ServiceKey: key, Settings: &Settings{Main: s, Ext: ext}, Dests: dests}
}

// foundDests are dests as the kernel has them.
func foundDests(list []ipvs.Dest) []Dest {
	dests := make([]Dest, len(list))
	for i := range list {
		d := &list[i]
		dests[i] = Dest{d.DestKey, d.Forward, d.Weight, d.UpperThreshold, d.LowerThreshold, d.TunType, d.TunPort, d.TunFlags}
	}
	return dests
}

// dest is d for an operation.
func (d *Dest) dest() ipvs.Dest {
	return ipvs.Dest{DestKey: d.DestKey, Forward: d.Forward, Weight: d.Weight, UpperThreshold: d.UpperThreshold,
		LowerThreshold: d.LowerThreshold, TunType: d.TunType, TunPort: d.TunPort, TunFlags: d.TunFlags}
}

// byKey indexes a list; of equal keys the first counts.
func byKey[K comparable, V any](list []V, key func(*V) K) map[K]*V {
	m := make(map[K]*V, len(list))
	for i := len(list) - 1; i >= 0; i-- {
		m[key(&list[i])] = &list[i]
	}
	return m
}

// servicesByKey is byKey for services.
func servicesByKey(list []*Service) map[ipvs.ServiceKey]*Service {
	m := make(map[ipvs.ServiceKey]*Service, len(list))
	for _, s := range slices.Backward(list) {
		m[s.ServiceKey] = s
	}
	return m
}

func groupName(g *Group) string    { return g.Name }
func destKey(d *Dest) ipvs.DestKey { return d.DestKey }

// sameService compares what a user can set. The kernel adds FlagHashed, and
// has a netmask even where nothing is persistent.
func sameService(a, b *ipvs.Service) bool {
	canon := func(s ipvs.Service) ipvs.Service {
		s.ServiceKey, s.Stats = ipvs.ServiceKey{}, ipvs.Stats{}
		s.Flags &^= ipvs.FlagHashed
		if s.Flags&ipvs.FlagPersistent == 0 {
			s.Timeout, s.Netmask, s.NoMask = 0, 0, false
		}
		if s.Scheduler == "none" {
			s.Scheduler = ""
		}
		return s
	}
	return canon(*a) == canon(*b)
}

// sameDest compares all but what means nothing without a tunnel.
func sameDest(a, b *Dest) bool {
	canon := func(d Dest) Dest {
		if d.Forward != ipvs.Tunnel {
			d.TunType, d.TunPort, d.TunFlags = 0, 0, 0
		}
		return d
	}
	return *a == *b || canon(*a) == canon(*b)
}

// sameLaddr compares what a configuration can set. Ports that the kernel chose
// have been put back to none by [Mirror], see undefault, so that ports that go
// out of a configuration are told from them; and flags that others have set are
// in [Group.Hand].
func sameLaddr(a, b ipvs.Laddr) bool { return a.Flags == b.Flags && samePorts(a, b) }

func samePorts(a, b ipvs.Laddr) bool {
	return a.Addr == b.Addr && a.PortMin == b.PortMin && a.PortMax == b.PortMax && sameCPUs(a.CPUs, b.CPUs)
}

// sameCPUs compares two lists such as 0-3,8 by what they mean.
func sameCPUs(a, b string) bool {
	return a == b || maps.Equal(cpuSet(a), cpuSet(b))
}

// cpuSet reads a list the configuration or the kernel has found right.
func cpuSet(list string) map[int]bool {
	set := map[int]bool{}
	for part := range strings.SplitSeq(list, ",") {
		lo, hi, isRange := strings.Cut(part, "-")
		if !isRange {
			hi = lo
		}
		first, err1 := strconv.Atoi(lo)
		last, err2 := strconv.Atoi(hi)
		if err1 != nil || err2 != nil || last-first > 1<<16 {
			continue
		}
		for i := first; i <= last; i++ {
			set[i] = true
		}
	}
	return set
}

// sorted returns a copy of t in an order that does not depend on who made it.
func (t Tables) sorted() Tables {
	t.Groups, t.Services = slices.Clone(t.Groups), slices.Clone(t.Services)
	slices.SortFunc(t.Groups, func(a, b Group) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(t.Services, func(a, b *Service) int { return compareKeys(a.ServiceKey, b.ServiceKey) })
	return t
}

func compareKeys(a, b ipvs.ServiceKey) int {
	return cmp.Or(cmp.Compare(a.FWMark, b.FWMark), cmp.Compare(a.Family, b.Family), cmp.Compare(a.Protocol, b.Protocol),
		a.Addr.Compare(b.Addr), cmp.Compare(a.Port, b.Port))
}
