// SPDX-License-Identifier: Apache-2.0

package netif

import (
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lvs-fnat/lvs/internal/config"
)

var routeTypes = map[string]int{
	"unicast": unix.RTN_UNICAST, "local": unix.RTN_LOCAL, "broadcast": unix.RTN_BROADCAST, "anycast": unix.RTN_ANYCAST,
	"multicast": unix.RTN_MULTICAST, "throw": unix.RTN_THROW, "unreachable": unix.RTN_UNREACHABLE,
	"prohibit": unix.RTN_PROHIBIT, "blackhole": unix.RTN_BLACKHOLE, "nat": unix.RTN_NAT,
}

// AddRoute adds a route, or replaces the one with the same key. index gives the
// number of a link by its name.
func (h *Host) AddRoute(r config.Route, index func(string) (int, error)) error {
	n, err := h.route(r, index)
	if err != nil {
		return err
	}
	switch r.Add {
	case "add":
		err = h.nl.RouteAdd(n)
	case "append":
		err = h.nl.RouteAppend(n)
	case "prepend":
		// NLM_F_CREATE alone puts a route before those with the same key.
		err = h.nl.RouteAddEcmp(n)
	default:
		err = h.nl.RouteReplace(n)
	}
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add route %s: %w", r.Dest, err)
	}
	return nil
}

// DelRoute removes a route. One that is not there, such as one that went with
// its link, is no error.
func (h *Host) DelRoute(r config.Route, index func(string) (int, error)) error {
	n, err := h.route(r, index)
	if err != nil {
		return err
	}
	if err := h.nl.RouteDel(n); err != nil && !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove route %s: %w", r.Dest, err)
	}
	return nil
}

// route is netlinkRoute with the table of the VRF.
func (h *Host) route(r config.Route, index func(string) (int, error)) (*netlink.Route, error) {
	if r.VRF != "" {
		table, err := h.VRFTable(r.VRF)
		if err != nil {
			return nil, fmt.Errorf("route %s: %w", r.Dest, err)
		}
		r.Table = table
	}
	return netlinkRoute(r, index)
}

func netlinkRoute(r config.Route, index func(string) (int, error)) (*netlink.Route, error) {
	a := r.Attrs
	n := &netlink.Route{
		Family: int(r.Family), Type: routeTypes[r.Type], Dst: ipNet(r.Dest), Tos: r.TOS, Table: int(r.Table),
		Protocol: netlink.RouteProtocol(r.Protocol), Priority: r.Metric,
		MTU: a.MTU, MTULock: a.MTULock, AdvMSS: a.AdvMSS, Hoplimit: a.HopLimit, Window: a.Window, Cwnd: a.Cwnd,
		Ssthresh: a.Ssthresh, Reordering: a.Reordering, InitCwnd: a.InitCwnd, InitRwnd: a.InitRwnd, Congctl: a.CongCtl,
		Rtt: int(a.RTT / (time.Millisecond / 8)), RttVar: int(a.RTTVar / (time.Millisecond / 4)), RtoMin: int(a.RTOMin / time.Millisecond),
	}
	if n.Table == 0 {
		n.Table = unix.RT_TABLE_MAIN
	}
	if a.ECN {
		n.Features |= 1 // RTAX_FEATURE_ECN
	}
	if a.QuickACK {
		n.QuickACK = 1
	}
	if r.OnLink {
		n.Flags |= int(netlink.FLAG_ONLINK)
	}
	if r.Source.IsValid() {
		n.Src = r.Source.AsSlice()
	}
	if r.Via.IsValid() {
		if config.FamilyOf(r.Via) == r.Family {
			n.Gw = r.Via.AsSlice()
		} else {
			n.Via = &netlink.Via{AddrFamily: int(config.FamilyOf(r.Via)), Addr: r.Via.AsSlice()}
		}
	}
	n.Scope = netlink.Scope(scopeOf(r))
	var err error
	if r.Interface != "" {
		if n.LinkIndex, err = index(r.Interface); err != nil {
			return nil, fmt.Errorf("route %s: %w", r.Dest, err)
		}
	}
	for _, hop := range r.NextHops {
		info := &netlink.NexthopInfo{Hops: hop.Weight - 1}
		if hop.Via.IsValid() {
			info.Gw = hop.Via.AsSlice()
		}
		if hop.OnLink {
			info.Flags |= int(netlink.FLAG_ONLINK)
		}
		if hop.Interface != "" {
			if info.LinkIndex, err = index(hop.Interface); err != nil {
				return nil, fmt.Errorf("route %s: %w", r.Dest, err)
			}
		}
		n.MultiPath = append(n.MultiPath, info)
	}
	return n, nil
}

// scopeOf is what iproute2 fills in where none is written: how far the
// destination is depends on whether there is a gateway.
func scopeOf(r config.Route) int {
	switch {
	case r.Scope >= 0:
		return r.Scope
	case r.Family == config.IPv6:
		return unix.RT_SCOPE_UNIVERSE
	case r.Type == "local":
		return unix.RT_SCOPE_HOST
	case r.Type == "broadcast" || r.Type == "multicast" || r.Type == "anycast":
		return unix.RT_SCOPE_LINK
	case r.Type == "unicast" && !r.Via.IsValid() && len(r.NextHops) == 0:
		return unix.RT_SCOPE_LINK
	}
	return unix.RT_SCOPE_UNIVERSE
}

// AddRule adds a policy rule. One that is there already is no error.
func (h *Host) AddRule(r config.Rule) error {
	if err := h.nl.RuleAdd(netlinkRule(r)); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add rule %d: %w", r.Preference, err)
	}
	return nil
}

// DelRule removes a policy rule. One that is not there is no error.
func (h *Host) DelRule(r config.Rule) error {
	if err := h.nl.RuleDel(netlinkRule(r)); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove rule %d: %w", r.Preference, err)
	}
	return nil
}

func netlinkRule(r config.Rule) *netlink.Rule {
	n := netlink.NewRule()
	n.Family, n.Priority, n.Table, n.Tos = int(r.Family), r.Preference, int(r.Table), uint(r.TOS)
	n.Invert, n.IifName, n.OifName, n.TunID = r.Not, r.In, r.Out, uint(r.TunnelID)
	n.SuppressPrefixlen, n.SuppressIfgroup, n.Protocol = r.SuppressPrefix, r.SuppressGroup, uint8(r.Protocol)
	if r.Goto > 0 {
		n.Goto = r.Goto
	}
	if r.MarkSet {
		n.Mark, n.Mask = r.Mark, &r.Mask
	}
	if r.From.IsValid() {
		n.Src = ipNet(r.From)
	}
	if r.To.IsValid() {
		n.Dst = ipNet(r.To)
	}
	if r.IPProto >= 0 {
		n.IPProto = r.IPProto
	}
	if !r.SrcPort.IsZero() {
		n.Sport = netlink.NewRulePortRange(r.SrcPort.Min, r.SrcPort.Max)
	}
	if !r.DstPort.IsZero() {
		n.Dport = netlink.NewRulePortRange(r.DstPort.Min, r.DstPort.Max)
	}
	if r.UIDs != nil {
		n.UIDRange = netlink.NewRuleUIDRange(r.UIDs[0], r.UIDs[1])
	}
	n.Type = uint8(routeTypes[r.Type])
	return n
}
