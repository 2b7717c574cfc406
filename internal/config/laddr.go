// SPDX-License-Identifier: Apache-2.0

package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/parser"
)

const (
	kernelNameMax  = 15   // IPVS_EXT_NAME_MAX
	maxGroupLaddrs = 4096 // addresses in one block; more is a typing error in a range
)

// laddrSource is one local_address_group, or one inline local_address block, as written.
type laddrSource struct {
	name   string // "" inline
	pos    Pos
	addrs  []Laddr
	broken bool              // it has an error: services that use it are not configured
	kernel map[Family]string // kernel group of each family it has
}

// KernelName gives the name of the kernel group that holds the addresses of
// family f of local_address_group name. Kernel groups have one family and
// names of at most 15 bytes: IPv4 addresses go to the group NAME, IPv6 ones to
// NAME/6. A name that is too long keeps its first letters and gets a hash:
// ABCDEF~01234567, or ABCD~01234567/6. The name of one family does not depend
// on whether the other is there, so that adding addresses moves nothing.
func KernelName(name string, f Family) string {
	suffix := ""
	if f == IPv6 {
		suffix = "/6"
	}
	if room := kernelNameMax - len(suffix); len(name) > room {
		sum := sha256.Sum256([]byte(name))
		name = name[:room-9] + "~" + hex.EncodeToString(sum[:4])
	}
	return name + suffix
}

// inlineName names the kernel group of an inline local_address block after the
// lowest of its addresses of one family. Local addresses belong to one group only,
// so the name is unique, and it stays when other addresses come and go.
func inlineName(addrs []Laddr) string {
	low := slices.MinFunc(addrs, func(a, b Laddr) int { return a.Addr.Compare(b.Addr) }).Addr.String()
	if len(low) <= kernelNameMax {
		return low
	}
	sum := sha256.Sum256([]byte(low))
	return "@" + hex.EncodeToString(sum[:7])
}

func readLaddrGroup(l *loader, n *parser.Node, _ *Config) {
	name, ok := l.word(n, 1, "name of the group")
	if !ok {
		return
	}
	if first, dup := l.byName[name]; dup {
		l.error(n.ArgPos(1), "local_address_group '%s' is already defined at line %d of %s: this one is ignored", name, first.pos.Line, first.pos.File)
		return
	}
	s := l.readLaddrs(n)
	s.name = name
	l.byName[name] = s
	l.groups = append(l.groups, s)
}

// readLaddrs reads the lines of a group: ADDRESS[-LAST] [PORTS] [cpu LIST].
func (l *loader) readLaddrs(n *parser.Node) *laddrSource {
	s := &laddrSource{pos: n.Pos()}
	seen := map[netip.Addr]Pos{}
	for _, c := range n.Children {
		if !l.readLaddr(c, s, seen) {
			s.broken = true
		}
	}
	if len(s.addrs) == 0 && !s.broken {
		l.error(s.pos, "%s has no addresses: write one address per line into the block", n.Key())
		s.broken = true
	}
	return s
}

func (l *loader) readLaddr(n *parser.Node, s *laddrSource, seen map[netip.Addr]Pos) bool {
	r, err := parser.ParseAddrRange(n.Key())
	if err != nil {
		l.error(n.Pos(), "bad local address %v", err)
		return false
	}
	proto := Laddr{Pos: n.Pos()}
	if !l.laddrWords(n, &proto) {
		return false
	}
	for a := range r.All() {
		a = a.Unmap()
		if first, dup := seen[a]; dup {
			l.error(n.Pos(), "local address %s stands already in line %d: remove one of them", a, first.Line)
			return false
		}
		if a.IsUnspecified() || a.IsMulticast() || a.Zone() != "" {
			l.error(n.Pos(), "bad local address '%s': expected a unicast address without zone", a)
			return false
		}
		if len(seen) == maxGroupLaddrs {
			l.error(n.Pos(), "more than %d local addresses in one group: make the range smaller", maxGroupLaddrs)
			return false
		}
		seen[a] = n.Pos()
		proto.Addr = a
		s.addrs = append(s.addrs, proto)
	}
	return true
}

// laddrWords reads what follows the address. A word that is not a port range
// is the interface name of the dpvs dialect, which has no meaning here.
func (l *loader) laddrWords(n *parser.Node, a *Laddr) bool {
	var portsAt Pos
	for i := 1; i < len(n.Words); i++ {
		w := n.Arg(i)
		switch {
		case w == "cpu":
			i++
			if a.CPUs = n.Arg(i); !cpuList(a.CPUs) {
				l.error(n.ArgPos(i), "cpu: invalid list '%s': expected numbers and ranges, such as 0-3,8", a.CPUs)
				return false
			}
		case laddrFlags[w] != 0:
			a.Flags |= laddrFlags[w]
		case w[:min(1, len(w))] >= "0" && w[:min(1, len(w))] <= "9":
			r, err := parser.ParsePortRange(w)
			if err != nil {
				l.error(n.ArgPos(i), "bad port range %v; addresses stand one per line", err)
				return false
			}
			a.Ports, portsAt = r, n.ArgPos(i)
		default:
			l.note(n.ArgPos(i), "local_address_group/interface", "interface name '%s' behind a local address is ignored: the route decides", w)
		}
	}
	return a.Ports.IsZero() || a.Flags&ipvs.LaddrForce != 0 || l.checkPorts(portsAt, a.Ports)
}

// laddrFlags are the words of a local address that is not for new connections
// of this director.
var laddrFlags = map[string]ipvs.LaddrFlags{
	"drain": ipvs.LaddrNoNew, "foreign": ipvs.LaddrForeign, "force": ipvs.LaddrForce,
}

// note is info once per topic.
func (l *loader) note(p Pos, topic, format string, args ...any) {
	l.hostly = true // the first to say it may not be there next time
	if !l.noted[topic] {
		l.noted[topic] = true
		l.info(p, format, args...)
	}
}

func cpuList(s string) bool {
	for part := range strings.SplitSeq(s, ",") {
		lo, hi, isRange := strings.Cut(part, "-")
		var a, b int
		if _, err := fmt.Sscanf(lo+"\n", "%d\n", &a); err != nil || a < 0 || fmt.Sprint(a) != lo {
			return false
		}
		if !isRange {
			continue
		}
		if _, err := fmt.Sscanf(hi+"\n", "%d\n", &b); err != nil || b < a || fmt.Sprint(b) != hi {
			return false
		}
	}
	return true
}

// kernelGroups splits a source by family into kernel groups. Sources with
// exactly the same addresses of one family share a group, because the kernel
// lets an address be in one only; sources that share just some are errors.
func (l *loader) kernelGroups(s *laddrSource) {
	s.kernel = map[Family]string{}
	for _, f := range []Family{IPv4, IPv6} {
		if s.broken {
			break
		}
		addrs := slices.DeleteFunc(slices.Clone(s.addrs), func(a Laddr) bool { return FamilyOf(a.Addr) != f })
		if len(addrs) > 0 {
			l.kernelGroup(&l.grouped, s, f, addrs)
		}
	}
}

func newGroupTable() groupTable {
	return groupTable{byAddrs: map[string]string{}, byName: map[string]Pos{}, owner: map[netip.Addr]*laddrSource{}}
}

type groupTable struct {
	byAddrs map[string]string // kernel name of the group with exactly these addresses
	byName  map[string]Pos
	owner   map[netip.Addr]*laddrSource
}

func (l *loader) kernelGroup(t *groupTable, s *laddrSource, f Family, addrs []Laddr) {
	key := fingerprint(addrs)
	if name, ok := t.byAddrs[key]; ok {
		s.kernel[f] = name
		return
	}
	for _, a := range addrs {
		if o := t.owner[a.Addr]; o != nil {
			l.error(a.Pos, "local address %s is already in %s: an address can be in one group only, use one group for both", a.Addr, o)
			s.broken = true
			return
		}
	}
	g := LaddrGroup{Name: strings.Clone(KernelName(s.name, f)), Source: s.name, Family: f, Addrs: addrs, Pos: s.pos}
	if s.name == "" {
		g.Name = inlineName(addrs)
	}
	if other, dup := t.byName[g.Name]; dup {
		l.error(s.pos, "the kernel would name this group '%s', as the one at line %d of %s: choose another name", g.Name, other.Line, other.File)
		s.broken = true
		return
	}
	for _, a := range addrs {
		t.owner[a.Addr] = s
	}
	t.byAddrs[key], t.byName[g.Name], s.kernel[f] = g.Name, s.pos, g.Name
	l.cfg.LaddrGroups = append(l.cfg.LaddrGroups, g)
}

// String names the source in a message about another one.
func (s *laddrSource) String() string {
	what := "the local_address block"
	if s.name != "" {
		what = "local_address_group '" + s.name + "'"
	}
	return fmt.Sprintf("%s at line %d of %s", what, s.pos.Line, s.pos.File)
}

// fingerprint is equal for equal sets of addresses, in whatever order they stand.
func fingerprint(addrs []Laddr) string {
	lines := make([]string, len(addrs))
	for i, a := range addrs {
		lines[i] = fmt.Sprint(a.Addr, " ", a.Ports, " ", a.CPUs, " ", a.Flags)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
