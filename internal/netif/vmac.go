// SPDX-License-Identifier: Apache-2.0

package netif

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// AddVMAC makes the link of a virtual router on top of parent: a macvlan with the
// router's hardware address, of which no other on that parent hears. It has no
// IPv6 address of its own making. A link of that name that a dead process has
// left is replaced.
func (h *Host) AddVMAC(name string, parent *Link, mac [6]byte) (*Link, error) {
	if old, err := h.nl.LinkByName(name); err == nil {
		if old.Type() != "macvlan" {
			return nil, fmt.Errorf("add %s: there is a %s of that name", name, old.Type())
		}
		if err := h.nl.LinkDel(old); err != nil {
			return nil, fmt.Errorf("replace %s: %w", name, err)
		}
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex, attrs.HardwareAddr = name, parent.Index, net.HardwareAddr(mac[:])
	if err := h.nl.LinkAdd(&netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_PRIVATE}); err != nil {
		return nil, fmt.Errorf("add %s on %s: %w", name, parent.Name, err)
	}
	added, err := h.nl.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", name, err)
	}
	// Without IPv6 there is nothing to set.
	_, _ = Sysctl("ipv6", name, "addr_gen_mode", "1")
	if err := h.nl.LinkSetUp(added); err != nil {
		return nil, errors.Join(fmt.Errorf("%s up: %w", name, err), h.nl.LinkDel(added))
	}
	if added, err = h.nl.LinkByName(name); err != nil {
		return nil, fmt.Errorf("find %s: %w", name, err)
	}
	l := linkOf(added)
	return &l, nil
}

// DelLink removes a link. One that is not there is no error.
func (h *Host) DelLink(index int) error {
	err := h.nl.LinkDel(&netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: index}})
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove link %d: %w", index, err)
	}
	return nil
}
