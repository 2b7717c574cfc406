// SPDX-License-Identifier: Apache-2.0

package director

import (
	"fmt"
	"net/netip"

	"github.com/lvs-fnat/lvs/internal/config"
)

// Removed is what a configuration takes away from the one in force.
type Removed struct {
	Services []string // virtual servers, by name
	Servers  []Server // real servers, those of Services included
	Total    int      // real servers in force
}

// Server is a real server of a virtual one, by their names.
type Server struct {
	Service string
	Addr    netip.AddrPort
	Gone    bool // with its virtual server
}

// Removed tells what of d is not in cfg.
func (d *Director) Removed(cfg *config.Config) Removed {
	same := d.same(cfg)
	stays := make(map[virtualKey]*config.VirtualServer)
	for _, vs := range cfg.VirtualServers {
		if same[vs] == nil {
			stays[keyOf(vs)] = vs
		}
	}
	var r Removed
	for _, v := range d.virtuals {
		r.Total += len(v.servers)
		if same[v.cfg] != nil {
			continue
		}
		w := stays[v.key()]
		if w == nil {
			r.Services = append(r.Services, v.cfg.Name)
		}
		r.Servers = append(r.Servers, v.without(w)...)
	}
	return r
}

// without gives the servers of v that w, which may be nil, does not have.
func (v *virtual) without(w *config.VirtualServer) []Server {
	have := map[netip.AddrPort]bool{}
	if w != nil {
		for _, rs := range w.RealServers {
			have[rs.Addr] = true
		}
	}
	var gone []Server
	for _, s := range v.servers {
		if !have[s.cfg.Addr] {
			gone = append(gone, Server{Service: v.cfg.Name, Addr: s.cfg.Addr, Gone: w == nil})
		}
	}
	return gone
}

// Spoilt returns a diagnostic if cfg would take something away because its
// definition has an error, and false if all that goes is meant to go.
func (r *Removed) Spoilt(cfg *config.Config) (config.Diagnostic, bool) {
	for _, l := range cfg.Lost {
		if what, hit := r.lost(l); hit {
			return config.Diagnostic{Pos: l.Pos, Severity: config.Fatal,
				Text: fmt.Sprintf("an error here would take %s out of service: correct it, or remove the definition", what)}, true
		}
	}
	return config.Diagnostic{}, false
}

// TooMany returns a diagnostic if more than percent of the real servers in
// force would go; 0 percent allows all.
func (r *Removed) TooMany(percent int) (text string, tooMany bool) {
	if n := len(r.Servers); percent == 0 || n*100 <= percent*r.Total {
		return "", false
	}
	return fmt.Sprintf("it would take away %d of %d real servers, and lvs_max_changes allows %d%%: look at 'keepalived --plan', then 'keepalived --force-reload'",
		len(r.Servers), r.Total, percent), true
}

func (r *Removed) lost(l config.Lost) (what string, hit bool) {
	for _, name := range r.Services {
		if l.Service == "" || l.Server == "" && l.Service == name {
			return "virtual server " + name, true
		}
	}
	for _, s := range r.Servers {
		if !s.Gone && (l.Service == "" || l.Service == s.Service && (l.Server == "?" || l.Server == s.Addr.String())) {
			return fmt.Sprintf("real server %s of %s", s.Addr, s.Service), true
		}
	}
	return "", false
}
