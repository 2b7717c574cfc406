// SPDX-License-Identifier: Apache-2.0

package director

import (
	"cmp"
	"slices"

	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/firewall"
)

// Marks are those of all virtual servers, in order. It is not to be changed.
func (d *Director) Marks() []firewall.Mark { return d.marks }

// Marked tells whether the configuration asks for marks.
func (d *Director) Marked() bool { return marked(d.cfg) }

func marked(cfg *config.Config) bool { return cfg.Global.NFTables != nil && cfg.Global.NFTables.On }

// Adopt takes over the marks that a former run has left, so that connections and
// persistence, which go by mark, stay with their services. It must be called before
// Tables.
func (d *Director) Adopt(left []firewall.Mark) {
	if len(left) == 0 {
		return
	}
	// The ranges of one protocol and port do not overlap.
	left = slices.SortedFunc(slices.Values(left), firewall.Mark.Compare)
	d.number(func(v *virtual) uint32 {
		a := v.cfg.Endpoints[0].Addr
		want := firewall.Mark{Protocol: uint8(v.cfg.Protocol), First: a.Addr(), Port: a.Port()}
		i, _ := slices.BinarySearchFunc(left, want, func(m, w firewall.Mark) int {
			return cmp.Or(cmp.Compare(m.First.BitLen(), w.First.BitLen()), cmp.Compare(m.Protocol, w.Protocol), cmp.Compare(m.Port, w.Port), m.Last.Compare(w.First))
		})
		if i == len(left) || left[i].Protocol != want.Protocol || left[i].Port != want.Port || left[i].First.Compare(want.First) > 0 || left[i].First.BitLen() != want.First.BitLen() {
			return 0
		}
		return left[i].Mark
	})
}

// number gives each group that is marked its mark: that of former, or, where that
// is 0 or taken, the next that nothing else has. Numbers are not given again until
// they have run out.
func (d *Director) number(former func(*virtual) uint32) {
	d.marks = nil
	if !marked(d.cfg) {
		return
	}
	taken := map[uint32]bool{0: true}
	for _, v := range d.virtuals {
		for _, e := range v.cfg.Endpoints {
			if e.FWMark != 0 {
				taken[e.FWMark] = true
			}
		}
	}
	var rest []*virtual
	for _, v := range d.virtuals {
		if !byMark(v.cfg) {
			continue
		}
		m := former(v)
		if taken[m] {
			rest = append(rest, v)
			continue
		}
		taken[m] = true
		v.marked(m)
		d.nextMark = max(d.nextMark, m+1)
	}
	for _, v := range rest {
		m := max(d.nextMark, d.cfg.Global.NFTables.StartFWMark)
		for taken[m] {
			m++ // 0 comes behind the last, and is taken
		}
		taken[m] = true
		v.marked(m)
		d.nextMark = m + 1
	}
	for _, v := range d.virtuals {
		d.marks = append(d.marks, v.marks...)
	}
	slices.SortFunc(d.marks, firewall.Mark.Compare)
}

// byMark tells whether a mark can stand for the endpoints of vs. A group with marks
// of its own, or an address for every port, is one service per endpoint, as without
// nftables: a mark would take packets away from the services of single ports.
func byMark(vs *config.VirtualServer) bool {
	return vs.Group != "" && !slices.ContainsFunc(vs.Endpoints, func(e config.Endpoint) bool { return e.FWMark != 0 || e.Addr.Port() == 0 })
}

// marked makes v one service of each family.
func (v *virtual) marked(m uint32) {
	if v.mark == m {
		return
	}
	v.mark, v.made, v.endpoints, v.marks = m, nil, nil, nil
	for _, e := range v.cfg.Endpoints {
		if !slices.ContainsFunc(v.endpoints, func(o config.Endpoint) bool { return o.Family == e.Family }) {
			v.endpoints = append(v.endpoints, config.Endpoint{FWMark: m, Family: e.Family, LaddrGroup: e.LaddrGroup, Pos: v.cfg.Pos})
		}
		a := e.Addr
		v.marks = append(v.marks, firewall.Mark{Protocol: uint8(v.cfg.Protocol), First: a.Addr(), Last: a.Addr(), Port: a.Port(), Mark: m})
	}
	slices.SortFunc(v.marks, firewall.Mark.Compare)
	n := 0
	for _, k := range v.marks[1:] {
		if l := &v.marks[n]; l.Port == k.Port && l.Last.Next() == k.First {
			l.Last = k.Last
			continue
		}
		n++
		v.marks[n] = k
	}
	v.marks = v.marks[:n+1]
}

// served are the endpoints that v has services for.
func (v *virtual) served() []config.Endpoint {
	if v.mark != 0 {
		return v.endpoints
	}
	return v.cfg.Endpoints
}
