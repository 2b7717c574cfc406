// SPDX-License-Identifier: Apache-2.0

package director

import "net/netip"

// suspends tells whether the checks of v follow its addresses: ha_suspend has no
// meaning for groups and marks.
func (v *virtual) suspends() bool {
	return v.cfg.HASuspend && v.cfg.Group == "" && v.cfg.Endpoints[0].FWMark == 0
}

// Suspends tells whether some checks rest while an address is elsewhere.
func (d *Director) Suspends() bool {
	for _, v := range d.virtuals {
		if v.suspends() {
			return true
		}
	}
	return false
}

// Suspended tells for each of Targets whether it rests, given which addresses are
// on this host.
func (d *Director) Suspended(here func(netip.Addr) bool) []bool {
	off := make([]bool, len(d.targets))
	for _, v := range d.virtuals {
		if !v.suspends() || here(v.cfg.Endpoints[0].Addr.Addr()) {
			continue
		}
		for _, s := range v.servers {
			for i := range s.count {
				off[s.first+i] = true
			}
		}
	}
	return off
}
