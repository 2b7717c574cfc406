// SPDX-License-Identifier: Apache-2.0

package director

import (
	"slices"

	"github.com/lvs-fnat/lvs/ipvs"
)

// Diff returns the operations that turn have into want, in an order that is
// safe at each step:
//
//   - groups, their addresses, the service, its FNAT settings, then its dests;
//     and the reverse to take down. So no flow of an FNAT service is ever
//     forwarded as plain NAT in between.
//   - Everything that is added or changed comes before everything that goes.
//   - What stays is changed in place: connections survive.
//
// Equal tables give no operation.
func Diff(have, want Tables) []ipvs.Op {
	have.Services, want.Services = differing(have.Services, want.Services)
	d := differ{
		haveGroups:   byKey(have.Groups, groupName),
		wantGroups:   byKey(want.Groups, groupName),
		haveServices: byKey(have.Services, serviceKey),
		wantServices: byKey(want.Services, serviceKey),
	}
	d.timeouts(have.Timeouts, want.Timeouts)
	d.config(have.Config, want.Config)
	d.growGroups(have.Groups, want.Groups)
	for i := range want.Services {
		if w := &want.Services[i]; d.wantServices[w.ServiceKey] == w {
			d.growService(w)
		}
	}
	d.shrinkServices(have.Services)
	d.shrinkGroups(have.Groups)
	return d.ops
}

// differing leaves out the services of two lists in the same order that are the
// same, as nearly all of two tables that one program has wanted one after the other
// are.
func differing(have, want []Service) (h, w []Service) {
	if len(have) != len(want) {
		return have, want
	}
	for i := range have {
		a, b := &have[i], &want[i]
		if a.ServiceKey != b.ServiceKey {
			return have, want
		}
		if len(a.Dests) > 0 && len(a.Dests) == len(b.Dests) && &a.Dests[0] == &b.Dests[0] && a.Service == b.Service {
			if _, change := diffExt(a.Ext, b.Ext); !change {
				continue
			}
		}
		h, w = append(h, *a), append(w, *b)
	}
	return h, w
}

type differ struct {
	haveGroups, wantGroups     map[string]*Group
	haveServices, wantServices map[ipvs.ServiceKey]*Service
	ops                        []ipvs.Op
}

func (d *differ) emit(op ipvs.Op) { d.ops = append(d.ops, op) }

func (d *differ) timeouts(have, want ipvs.Timeouts) {
	keep := func(h, w *ipvs.Timeouts) bool {
		return (w.TCP == 0 || w.TCP == h.TCP) && (w.TCPFin == 0 || w.TCPFin == h.TCPFin) && (w.UDP == 0 || w.UDP == h.UDP)
	}
	if !keep(&have, &want) {
		d.emit(ipvs.Op{Kind: ipvs.SetTimeouts, Times: want})
	}
}

// config sets what is wanted and not so. What nobody wants any more stays: there is
// no telling what it was before.
func (d *differ) config(have, want ipvs.ExtConfig) {
	for _, f := range []struct {
		field ipvs.ExtConfigField
		same  bool
	}{
		{ipvs.ExtConfigProbes, have.Probes == want.Probes},
		{ipvs.ExtConfigReclaim, have.Reclaim == want.Reclaim},
		{ipvs.ExtConfigSPQMem, have.SPQMem == want.SPQMem},
		{ipvs.ExtConfigDropVIP, have.DropVIP == want.DropVIP},
	} {
		if f.same && have.Set&f.field != 0 {
			want.Set &^= f.field
		}
	}
	if want.Set != 0 {
		d.emit(ipvs.Op{Kind: ipvs.SetExtConfig, Config: want})
	}
}

func keyOnly(k ipvs.ServiceKey) ipvs.Service { return ipvs.Service{ServiceKey: k} }

// growService makes or changes one service and adds to its dests. Between FNAT
// and the flags it forbids, each of which is refused while the other is set,
// the one that goes is taken off first.
func (d *differ) growService(w *Service) {
	h := d.haveServices[w.ServiceKey]
	fresh := h == nil
	if fresh {
		h = &Service{}
		d.emit(ipvs.Op{Kind: ipvs.AddService, Service: w.Service})
	}
	var edit []ipvs.Op
	if !fresh && !sameService(h.Service, w.Service) {
		edit = append(edit, ipvs.Op{Kind: ipvs.SetService, Service: w.Service})
	}
	if e, change := diffExt(h.Ext, w.Ext); change {
		edit = append(edit, ipvs.Op{Kind: ipvs.SetExt, Service: keyOnly(w.ServiceKey), Ext: e})
	}
	if h.Ext.Flags&ipvs.ExtFNAT != 0 && w.Ext.Flags&ipvs.ExtFNAT == 0 {
		slices.Reverse(edit)
	}
	d.ops = append(d.ops, edit...)
	d.growDests(h, w)
}

func (d *differ) growDests(h, w *Service) {
	if sameDests(h.Dests, w.Dests) {
		return
	}
	have := byKey(h.Dests, destKey)
	want := byKey(w.Dests, destKey)
	for i := range w.Dests {
		dest := &w.Dests[i]
		if want[dest.DestKey] != dest {
			continue
		}
		op := ipvs.Op{Kind: ipvs.AddDest, Service: keyOnly(w.ServiceKey), Dest: *dest}
		if old := have[dest.DestKey]; old != nil {
			if sameDest(*old, *dest) {
				continue
			}
			op.Kind = ipvs.SetDest
		}
		d.emit(op)
	}
}

// sameDests tells that nothing is to be done, which is so for nearly every service.
func sameDests(have, want []ipvs.Dest) bool {
	return slices.EqualFunc(have, want, func(h, w ipvs.Dest) bool { return h.DestKey == w.DestKey && sameDest(h, w) })
}

// shrinkServices removes dests and services that are not wanted.
func (d *differ) shrinkServices(have []Service) {
	for i := range have {
		h := &have[i]
		w := d.wantServices[h.ServiceKey]
		if w != nil && sameDests(h.Dests, w.Dests) {
			continue
		}
		var keep map[ipvs.DestKey]*ipvs.Dest
		if w != nil {
			keep = byKey(w.Dests, destKey)
		}
		for _, dest := range h.Dests {
			if keep[dest.DestKey] == nil {
				d.emit(ipvs.Op{Kind: ipvs.DelDest, Service: keyOnly(h.ServiceKey), Dest: ipvs.Dest{DestKey: dest.DestKey}})
			}
		}
		if w == nil {
			d.emit(ipvs.Op{Kind: ipvs.DelService, Service: keyOnly(h.ServiceKey)})
		}
	}
}
