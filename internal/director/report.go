// SPDX-License-Identifier: Apache-2.0

package director

import "github.com/lvs-fnat/lvs/internal/config"

// VirtualReport is the state of a virtual server at one moment.
type VirtualReport struct {
	Config *config.VirtualServer
	// Quorum is set while enough servers are alive, Sorry while the sorry server
	// stands in for them.
	Quorum, Sorry bool
	Servers       []ServerReport
}

// ServerReport is the state of a real server.
type ServerReport struct {
	Config *config.RealServer
	Alive  bool
	Weight int // in force
}

// Report tells where everything stands, in the order of the configuration.
func (d *Director) Report() []VirtualReport {
	list := make([]VirtualReport, 0, len(d.virtuals))
	for _, v := range d.virtuals {
		r := VirtualReport{Config: v.cfg, Quorum: v.quorum, Sorry: v.sorry()}
		for _, s := range v.servers {
			r.Servers = append(r.Servers, ServerReport{Config: s.cfg, Alive: s.alive, Weight: s.weight()})
		}
		list = append(list, r)
	}
	return list
}
