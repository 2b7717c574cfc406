// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"github.com/lvs-fnat/lvs/ipvs"
)

// The first five columns are those of the programs that had -G before.
const (
	laddrHead = "%-20s %-8s %-20s %-10s %-10s %-10s %-10s %-11s %s\n"
	laddrLine = "%-20s %-8s %-20s %-10d %-10d %-10d %-10d %-11s %s\n"
)

// groups returns all groups, by name.
func (a *app) groups(ctx context.Context) ([]ipvs.LGroup, error) {
	groups, err := a.kernel.LGroups(ctx)
	if err != nil {
		return nil, listFailed(err)
	}
	slices.SortFunc(groups, func(a, b ipvs.LGroup) int { return strings.Compare(a.Name, b.Name) })
	return groups, nil
}

// listLaddrs is -G: services with the addresses they use, then the groups that
// no service uses; or one service, or one group.
func (a *app) listLaddrs(ctx context.Context, c *call) error {
	if err := a.needExt(ctx); err != nil {
		return err
	}
	l := a.lister(c)
	if err := l.learn(ctx); err != nil {
		return err
	}
	groups, err := a.groups(ctx)
	if err != nil {
		return err
	}
	var services []ipvs.Service
	switch {
	case c.set.has(colService):
		s, err := a.kernel.Service(ctx, c.service.ServiceKey)
		if err != nil {
			return destsFailed(err)
		}
		services, groups = []ipvs.Service{s}, namedGroups(groups, l.fnat[s.ServiceKey].LGroup)
	case c.set.has(colLGroup):
		groups = namedGroups(groups, c.group)
		if len(groups) == 0 {
			return &failure{code: 1, text: commandText(cmdGetLaddr, syscall.ENOENT), ends: true}
		}
	default:
		if services, err = a.kernel.Services(ctx); err != nil {
			return listFailed(err)
		}
		sortServices(services)
	}
	if c.set.has(colJSON) {
		return l.groupsJSON(ctx, groups)
	}
	fmt.Fprintf(l.w, laddrHead, "VIP:VPORT", "TOTAL", "SNAT_IP", "CONFLICTS", "CONNS", "FULL", "RECLAIM", "PORTS", "FLAGS")
	used := map[string]bool{}
	forecasts := map[string]string{}
	for _, g := range groups {
		forecasts[g.Name] = l.forecast(ctx, g)
	}
	for i := range services {
		key := services[i].ServiceKey
		name := l.fnat[key].LGroup
		if name == "" {
			continue
		}
		used[name] = true
		title := l.endpointText(ctx, key.Addr, key.Port, key.Protocol, l.numeric)
		if key.FWMark != 0 {
			title = l.serviceName(ctx, &services[i])
		}
		if err := l.laddrs(ctx, title, name, forecasts[name]); err != nil {
			return err
		}
	}
	for _, g := range groups {
		if used[g.Name] {
			continue
		}
		if err := l.laddrs(ctx, "-", g.Name, forecasts[g.Name]); err != nil {
			return err
		}
	}
	return nil
}

// forecast says how far the group is from its end: a port can be used once
// towards each real server, so the fullest of them decides.
func (l *lister) forecast(ctx context.Context, g ipvs.LGroup) string {
	if !g.RS.IsValid() {
		return ""
	}
	return fmt.Sprintf(", %d of %d ports (%.0f%%) to %s %s", g.PortsUsed, g.Ports, 100*g.Used(),
		strings.ToUpper(protocolWord(g.RSProtocol)), l.endpointText(ctx, g.RS.Addr(), g.RS.Port(), g.RSProtocol, l.numeric))
}

// laddrs writes a line for a service or group, then one for each address.
func (l *lister) laddrs(ctx context.Context, title, group, forecast string) error {
	laddrs, err := l.kernel.Laddrs(ctx, group)
	if errors.Is(err, syscall.ENOENT) {
		return nil // gone since the groups were read
	}
	if err != nil {
		return listFailed(err)
	}
	fmt.Fprintf(l.w, "%-20s %-8d lgroup %s%s\n", title, len(laddrs), group, forecast)
	for _, a := range laddrs {
		ports := fmt.Sprintf("%d-%d", a.PortMin, a.PortMax)
		flags := laddrFlagText(a.Flags)
		if a.CPUs != "" {
			flags = strings.TrimPrefix(flags+",cpus="+a.CPUs, ",")
		}
		if flags == "" {
			flags = "-"
		}
		addr := a.Addr.String()
		if !l.numeric {
			addr = l.names.host(ctx, a.Addr)
		}
		fmt.Fprintf(l.w, laddrLine, "", "", addr, a.Conflict, a.Conns, a.Full, a.Reclaim, ports, flags)
	}
	return nil
}
