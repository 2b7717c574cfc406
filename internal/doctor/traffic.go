// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/ipvs"
)

// families of a virtual server's packets, and what the kernel calls their
// forwarding.
var families = []struct {
	family config.Family
	sysctl string
	file   string
}{
	{config.IPv4, "net.ipv4.ip_forward", "proc/sys/net/ipv4/ip_forward"},
	{config.IPv6, "net.ipv6.conf.all.forwarding", "proc/sys/net/ipv6/conf/all/forwarding"},
}

// behind calls f for each real server whose replies come back through this host
// as a router, as with NAT.
func (e *exam) behind(f func(*config.VirtualServer, *config.RealServer)) {
	e.services(func(vs *config.VirtualServer) {
		if vs.Method == config.FNAT {
			return
		}
		for i := range vs.RealServers {
			if r := &vs.RealServers[i]; r.Method == config.NAT {
				f(vs, r)
			}
		}
	})
}

// forwarding: replies of NAT are packets to clients, so the host must forward.
func (e *exam) forwarding() {
	for _, fam := range families {
		var first *config.VirtualServer
		e.behind(func(vs *config.VirtualServer, r *config.RealServer) {
			if config.FamilyOf(r.Addr.Addr()) != fam.family || first != nil {
				return
			}
			if _, local, err := e.sys.Network.Route(r.Addr.Addr()); err != nil || !local {
				first = vs
			}
		})
		if first == nil {
			continue
		}
		switch on, ok := e.number(fam.file); {
		case !ok:
			e.unseen("forwarding", errors.New(fam.sysctl+" cannot be read"))
		case on == 0:
			e.add("forwarding", Error, "sysctl -w "+fam.sysctl+"=1",
				"%s is 0: replies of real servers with NAT are not sent on to clients, as of virtual server %s (%s)", fam.sysctl, first.Name, at(first.Pos))
		default:
			e.add("forwarding", OK, "", "%s is %d", fam.sysctl, on)
		}
	}
	e.redirects()
}

// redirects: with NAT in one network the host tells real servers that clients are
// their neighbours, and replies go past it.
func (e *exam) redirects() {
	told := map[string]bool{}
	e.behind(func(vs *config.VirtualServer, r *config.RealServer) {
		link, local, err := e.sys.Network.Route(r.Addr.Addr())
		if err != nil || local || told[link] || !r.Addr.Addr().Is4() {
			return
		}
		for _, ep := range vs.Endpoints {
			if e.addrs[ep.Addr.Addr()] != link {
				continue
			}
			all, _ := e.number("proc/sys/net/ipv4/conf/all/send_redirects")
			own, _ := e.number("proc/sys/net/ipv4/conf/" + link + "/send_redirects")
			if all == 0 && own == 0 {
				continue
			}
			told[link] = true
			e.add("forwarding", Warning, "sysctl -w net.ipv4.conf.all.send_redirects=0 net.ipv4.conf."+link+".send_redirects=0, or use FNAT",
				"virtual server %s and its real servers with NAT are both on %s, which sends redirects: replies may go past this host (%s)", vs.Name, link, at(vs.Pos))
		}
	})
}

// links are those that packets of services come by: of the addresses, and towards
// the real servers.
func (e *exam) links() []string {
	all := map[string]bool{}
	for _, g := range e.cfg.LaddrGroups {
		for _, a := range g.Addrs {
			all[e.addrs[a.Addr]] = true
		}
	}
	e.services(func(vs *config.VirtualServer) {
		for _, ep := range vs.Endpoints {
			all[e.addrs[ep.Addr.Addr()]] = true
		}
		for i := range vs.RealServers {
			link, _, err := e.sys.Network.Route(vs.RealServers[i].Addr.Addr())
			if err == nil {
				all[link] = true
			}
		}
	})
	delete(all, "")
	delete(all, "lo")
	return slices.Sorted(maps.Keys(all))
}

// reversePath: a strict filter drops what comes by another way than the route
// back, and counts it; nothing else tells.
func (e *exam) reversePath() {
	const dir = "proc/sys/net/ipv4/conf/"
	every, _ := e.number(dir + "all/rp_filter")
	var strict []string
	links := e.links()
	for _, l := range links {
		if own, ok := e.number(dir + l + "/rp_filter"); ok && max(own, every) == 1 {
			strict = append(strict, l)
		}
	}
	dropped := e.netstat("TcpExt", "IPReversePathFilter")
	switch {
	case len(strict) == 0 && len(links) > 0:
		e.add("rp_filter", OK, "", "no strict filter on %s", some(links))
	case len(strict) == 0:
	case dropped == 0:
		e.add("rp_filter", Note, "", "strict on %s, which has dropped nothing: good as long as packets come by the way that the route back takes", some(strict))
	default:
		remedy := "sysctl -w net.ipv4.conf.all.rp_filter=2"
		e.add("rp_filter", Warning, remedy+", unless these are forged packets",
			"strict on %s, and it has dropped %d packets: where they come by another way than the route back, clients or real servers are not heard", some(strict), dropped)
	}
}

// netstat reads a counter of /proc/net/netstat, 0 if it is not there.
func (e *exam) netstat(group, name string) uint64 {
	text, _ := e.read("proc/thread-self/net/netstat")
	var heads []string
	for l := range strings.Lines(text) {
		f := strings.Fields(l)
		switch {
		case len(f) == 0 || f[0] != group+":":
		case heads == nil:
			heads = f
		default:
			i := slices.Index(heads, name)
			if i < 1 || i >= len(f) {
				return 0
			}
			n, err := strconv.ParseUint(f[i], 10, 64)
			if err != nil {
				return 0
			}
			return n
		}
	}
	return 0
}

// merging: what LRO merges cannot be sent on. Forwarding switches it off; FNAT
// needs no forwarding, so nobody does.
func (e *exam) merging() {
	if len(e.cfg.VirtualServers) == 0 {
		return
	}
	links, err := e.sys.Network.Links()
	if err != nil {
		e.unseen("lro", err)
		return
	}
	var on []string
	for _, l := range links {
		if lro, err := e.sys.Network.LRO(l); err == nil && lro {
			on = append(on, l)
		}
	}
	switch {
	case len(on) == 0:
		e.add("lro", OK, "", "no link merges packets by LRO")
	case e.any(isFNAT):
		e.add("lro", Error, "ethtool -K LINK lro off, for each; GRO may stay", "LRO is on at %s: FNAT drops what it merges", some(on))
	default:
		e.add("lro", Warning, "ethtool -K LINK lro off, for each; GRO may stay", "LRO is on at %s: what it merges cannot be sent on", some(on))
	}
}

// conntrack: whether it is in the way, and how full.
func (e *exam) conntrack() {
	const dir = "proc/sys/net/netfilter/"
	used, tracks := e.number(dir + "nf_conntrack_count")
	limit, bounded := e.number(dir + "nf_conntrack_max")
	asked, _ := e.number("proc/sys/net/ipv4/vs/conntrack")
	before := len(e.findings)
	if tracks && bounded && limit > 0 && float64(used) >= nearlyFull*float64(limit) {
		s := Warning
		if used >= limit {
			s = Error
		}
		e.add("conntrack", s, "sysctl -w net.netfilter.nf_conntrack_max="+strconv.FormatInt(2*limit, 10)+", or keep services out of it by notrack rules",
			"%d of %d entries of connection tracking are in use: when it is full, new connections are dropped", used, limit)
	}
	if tracks && used > 0 && e.any(isFNAT) {
		e.add("conntrack", Note, "nft add rule inet FILTER PREROUTING ip daddr { LOCAL ADDRESSES, SERVICES } notrack, in a chain at priority raw",
			"connections are tracked here, those of FNAT are not: a rule that drops what is invalid drops their packets")
	}
	if asked == 1 {
		nat := e.any(func(vs *config.VirtualServer) bool { return !isFNAT(vs) })
		if nat {
			e.add("conntrack", Note, "sysctl -w net.ipv4.vs.conntrack=0, unless rules need it",
				"net.ipv4.vs.conntrack is 1: each connection also has an entry of connection tracking, %d of %d in use", used, limit)
		} else if len(e.cfg.VirtualServers) > 0 {
			e.add("conntrack", Note, "sysctl -w net.ipv4.vs.conntrack=0", "net.ipv4.vs.conntrack is 1, which has no effect on FNAT")
		}
	}
	if before == len(e.findings) {
		e.add("conntrack", OK, "", "connection tracking is not in the way")
	}
}

// synproxy: whether handshakes are dealt with before packets are routed. Only the
// counters tell that, of all packets since ip_vs was loaded.
func (e *exam) synproxy() {
	// Without the extension module has said so.
	if e.running.Extended == nil || !e.any(func(vs *config.VirtualServer) bool { return vs.Ext.Synproxy != ipvs.SynproxyOff }) {
		return
	}
	settings, err := e.sys.Tables.ExtConfig(e.ctx)
	if err != nil {
		e.unseen("synproxy", err)
		return
	}
	if settings.Set&ipvs.ExtConfigSPEarly == 0 {
		return // a module from before there was any
	}
	stats, err := e.sys.Tables.ExtStats(e.ctx)
	if err != nil {
		e.unseen("synproxy", err)
		return
	}
	early, syns := stats[ipvs.StatSPEarly], stats[ipvs.StatSPSyn]
	if settings.SPEarly == ipvs.SynproxyAuto && early < syns/2 {
		e.add("synproxy", Note, "'nft list hooks' tells whose (Debian's 6.1 cannot; 'nft list ruleset' tells of rules); 'synproxy_early on' in global_defs, if none of them needs to see handshakes: a flood costs half as much then",
			"synproxy_early is auto, and %d packets were dealt with before they were routed while %d SYNs came: other hooks of netfilter are in the way", early, syns)
		return
	}
	e.add("synproxy", OK, "", "synproxy_early is %v, %d packets were dealt with before they were routed, %d SYNs came", settings.SPEarly, early, syns)
}

// sync: connections of FNAT are not copied.
func (e *exam) sync() {
	if d := e.cfg.Global.LVSSyncDaemon; d != nil && e.any(isFNAT) {
		e.add("sync", Note, "", "lvs_sync_daemon copies no connections of FNAT: a take-over ends them (%s)", at(d.Pos))
	}
}

func isUDP(vs *config.VirtualServer) bool { return vs.Protocol == config.UDP }

// connections is how many ip_vs has now.
func (e *exam) connections() uint64 {
	if e.sys.Tables == nil {
		return 0
	}
	services, err := e.sys.Tables.Services(e.ctx)
	if err != nil {
		return 0
	}
	var n uint64
	for _, s := range services {
		dests, err := e.sys.Tables.Dests(e.ctx, s.ServiceKey)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return n
		}
		for _, d := range dests {
			n += uint64(d.ActiveConns) + uint64(d.InactConns)
		}
	}
	return n
}

var _ Tables = (*ipvs.Client)(nil)
