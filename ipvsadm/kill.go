// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"net/netip"

	"github.com/lvs-fnat/lvs/ipvs"
)

// kill is --kill: it ends the connections of FNAT and SYNPROXY that the filter
// selects, and says how many.
func (a *app) kill(ctx context.Context, c *call) error {
	if err := a.needExt(ctx); err != nil {
		return err
	}
	n, err := a.deleteConns(ctx, c.filter)
	if err != nil {
		return extRefused(c.cmd, err)
	}
	a.stdout.WriteString(counted(n, "connection") + " ended\n")
	return nil
}

// deleteConns leaves to the kernel what it can select; of states it knows
// nothing, so those connections are named one by one.
func (a *app) deleteConns(ctx context.Context, f connFilter) (uint64, error) {
	if len(f.states) == 0 {
		return a.kernel.DeleteConns(ctx, f.ConnFilter)
	}
	var n uint64
	for c, err := range a.kernel.Conns(ctx, f.ConnFilter) {
		if err != nil {
			return n, err
		}
		if !f.inState(c.State) {
			continue
		}
		gone, err := a.kernel.DeleteConns(ctx, exactly(c))
		if n += gone; err != nil {
			return n, err
		}
	}
	return n, nil
}

// exactly selects one connection.
func exactly(c ipvs.Conn) ipvs.ConnFilter {
	host := func(ap netip.AddrPort) netip.Prefix { return netip.PrefixFrom(ap.Addr(), ap.Addr().BitLen()) }
	return ipvs.ConnFilter{
		Family: ipvs.FamilyOf(c.Client.Addr()), Protocol: c.Protocol,
		Client: host(c.Client), ClientPort: c.Client.Port(), Virtual: host(c.Virtual), VirtualPort: c.Virtual.Port(),
		Local: host(c.Local), LocalPort: c.Local.Port(), Dest: host(c.Dest), DestPort: c.Dest.Port(),
	}
}
