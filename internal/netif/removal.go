// SPDX-License-Identifier: Apache-2.0

package netif

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Removals hears of routes and rules that go.
type Removals struct {
	s    *nl.NetlinkSocket
	done chan struct{}
}

// WatchRemovals calls gone, from a goroutine of its own, when routes or rules have
// been removed, or may have been.
func WatchRemovals(gone func()) (*Removals, error) {
	s, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE)
	if err != nil {
		return nil, fmt.Errorf("watch routes and rules: %w", err)
	}
	r := &Removals{s, make(chan struct{})}
	go func() {
		defer close(r.done)
		r.listen(gone)
	}()
	return r, nil
}

func (r *Removals) listen(gone func()) {
	for {
		messages, _, err := r.s.Receive()
		switch {
		case errors.Is(err, unix.ENOBUFS): // the kernel has dropped some
			gone()
			continue
		case err != nil:
			return // closed
		}
		for _, m := range messages {
			if m.Header.Type == unix.RTM_DELROUTE || m.Header.Type == unix.RTM_DELRULE {
				gone()
				break
			}
		}
	}
}

// Close ends the watch and waits for its goroutine.
func (r *Removals) Close() {
	r.s.Close()
	<-r.done
}
