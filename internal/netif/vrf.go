// SPDX-License-Identifier: Apache-2.0

package netif

import (
	"fmt"

	"github.com/vishvananda/netlink"
)

// VRFTable gives the routing table of a VRF.
func (h *Host) VRFTable(name string) (uint32, error) {
	link, err := h.nl.LinkByName(name)
	if err != nil {
		return 0, fmt.Errorf("vrf %s: %w", name, err)
	}
	vrf, ok := link.(*netlink.Vrf)
	if !ok {
		return 0, fmt.Errorf("%s is a %s and no vrf", name, link.Type())
	}
	return vrf.Table, nil
}
