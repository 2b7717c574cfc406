// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/lvs-fnat/lvs/internal/netif"
)

// suspension has checks of virtual servers with ha_suspend rest while none of
// their addresses is on this host. It belongs to the goroutine of the balancer.
type suspension struct {
	// moved holds a token when addresses may have changed.
	moved chan struct{}
	watch *netif.Watcher
	// off is what the engine was told last.
	off bool
}

// follow opens or closes the watch as the configuration wants it, and has the
// checks rest that shall.
func (b *balancer) followAddresses() {
	s := &b.suspension
	wanted := b.dir.Suspends()
	switch {
	case wanted && s.watch == nil:
		if err := s.open(b.dir.Config().Global.LVSNetlink.Monitor); err != nil {
			b.warn(fmt.Errorf("ha_suspend: %w", err))
			return
		}
	case !wanted && s.watch != nil:
		s.close()
	}
	b.suspend()
}

func (s *suspension) open(buffer int) error {
	s.moved = make(chan struct{}, 1)
	token := func() {
		select {
		case s.moved <- struct{}{}:
		default:
		}
	}
	var err error
	s.watch, err = netif.Watch(buffer, true, func(netif.Event) { token() }, func(error) { token() })
	return err
}

func (s *suspension) close() {
	if s.watch != nil {
		s.watch.Close()
		s.watch = nil
	}
}

// suspend tells the engine which checks rest now.
func (b *balancer) suspend() {
	if !b.dir.Suspends() && !b.suspension.off {
		return
	}
	here, err := b.localAddresses()
	if err != nil {
		b.warn(fmt.Errorf("ha_suspend: %w", err))
		return
	}
	off := b.dir.Suspended(func(a netip.Addr) bool { return here[a] })
	b.suspension.off = b.dir.Suspends()
	b.checks.Suspend(off)
}

// localAddresses are those of this host's network namespace.
func localAddresses() (map[netip.Addr]bool, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	here := make(map[netip.Addr]bool, len(list))
	for _, a := range list {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok {
				here[ip.Unmap()] = true
			}
		}
	}
	return here, nil
}
