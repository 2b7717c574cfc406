// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"context"
	"errors"
	"fmt"
)

// Host carries out what a [Machine] asks for. An implementation need not be
// safe for concurrent use: one goroutine owns it and its machines.
type Host interface {
	// SendAdvert sends an advertisement of the given priority to the group, or
	// to each unicast peer.
	SendAdvert(ctx context.Context, cfg Config, priority uint8) error
	// AddAddrs and DelAddrs put the addresses, routes and rules of the instance
	// there and take them away; what is already so is no error.
	AddAddrs(ctx context.Context, cfg Config) error
	DelAddrs(ctx context.Context, cfg Config) error
	// Announce sends gratuitous ARP or neighbour advertisements: rounds outer,
	// addresses inner.
	Announce(ctx context.Context, cfg Config, rounds int) error
	// Notify runs scripts, writes FIFOs and logs: all kinds of actions but
	// those above. It must not wait for a script.
	Notify(ctx context.Context, cfg Config, a Action) error
}

// Apply carries out actions in their order. An error does not stop it, for a
// master without one of its addresses is still better than a half-made step
// down; all errors come back joined.
func Apply(ctx context.Context, host Host, cfg Config, actions []Action) error {
	var errs []error
	for _, a := range actions {
		var err error
		switch a.Kind {
		case SendAdvert:
			err = host.SendAdvert(ctx, cfg, a.Priority)
		case AddAddrs:
			err = host.AddAddrs(ctx, cfg)
		case DelAddrs:
			err = host.DelAddrs(ctx, cfg)
		case Announce:
			err = host.Announce(ctx, cfg, a.Repeat)
		default:
			err = host.Notify(ctx, cfg, a)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %v: %w", cfg.Name, a, err))
		}
	}
	return errors.Join(errs...)
}

// Advert is what the instance sends with that priority.
func (c *Config) Advert(priority uint8, auth AuthType, password [8]byte) Advert {
	return Advert{Version: c.Version, VRID: c.VRID, Priority: priority, Auth: auth, Password: password, Interval: c.Interval, Addrs: c.Addrs}
}
