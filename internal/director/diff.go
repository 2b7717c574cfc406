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
	var d differ
	d.all(have, want)
	return d.ops
}

// portion is how many operations [Mirror] has at once. An operation takes up 800
// bytes: of a large configuration all of them together would be most of the memory,
// and of the work, of a start.
const portion = 512

// diffInto calls pass with the operations of [Diff], a portion at a time, and ends
// with its first error. What pass is given is overwritten afterwards.
func diffInto(have, want Tables, pass func([]ipvs.Op) error) error {
	d := differ{pass: pass}
	d.all(have, want)
	d.flush()
	return d.err
}

// all gives next all that there is to do.
func (d *differ) all(have, want Tables) {
	have.Services, want.Services = differing(have.Services, want.Services)
	d.haveGroups, d.wantGroups = byKey(have.Groups, groupName), byKey(want.Groups, groupName)
	d.haveServices, d.wantServices = servicesByKey(have.Services), servicesByKey(want.Services)
	d.timeouts(have.Timeouts, want.Timeouts)
	d.config(have.Config, want.Config)
	d.growGroups(have.Groups, want.Groups)
	once := len(d.wantServices) == len(want.Services)
	for _, w := range want.Services {
		if d.err != nil {
			return
		}
		if once || d.wantServices[w.ServiceKey] == w {
			d.growService(w)
		}
	}
	d.shrinkServices(have.Services)
	d.shrinkGroups(have.Groups)
}

// differing leaves out the services of two lists in the same order that are the
// same, as nearly all of two tables that one program has wanted one after the other
// are.
func differing(have, want []*Service) (h, w []*Service) {
	if len(have) != len(want) {
		return have, want
	}
	for i := range have {
		a, b := have[i], want[i]
		if a == b {
			continue
		}
		if a.ServiceKey != b.ServiceKey {
			return have, want
		}
		if len(a.Dests) > 0 && len(a.Dests) == len(b.Dests) && &a.Dests[0] == &b.Dests[0] && (a.Settings == b.Settings || a.Main == b.Main) {
			if _, change := diffExt(&a.Ext, &b.Ext); !change {
				continue
			}
		}
		h, w = append(h, a), append(w, b)
	}
	return h, w
}

type differ struct {
	haveGroups, wantGroups     map[string]*Group
	haveServices, wantServices map[ipvs.ServiceKey]*Service
	ops                        []ipvs.Op
	// pass takes portions of ops; nil: they are kept. err is its first error.
	pass func([]ipvs.Op) error
	err  error
}

// next is the next operation, zero, to be filled in.
func (d *differ) next() *ipvs.Op {
	n := len(d.ops)
	if n == portion {
		if d.flush(); d.pass != nil {
			n = 0
		}
	}
	if n < cap(d.ops) {
		d.ops = d.ops[:n+1]
		wipe(&d.ops[n])
	} else {
		d.ops = append(d.ops, ipvs.Op{})
	}
	return &d.ops[n]
}

// wipe zeroes an operation that was used before. Nearly all are about services and
// dests, which are two fifths of one.
func wipe(op *ipvs.Op) {
	switch op.Kind {
	case ipvs.AddService, ipvs.SetService, ipvs.DelService, ipvs.AddDest, ipvs.SetDest, ipvs.DelDest:
		op.Kind, op.Service, op.Dest = 0, ipvs.Service{}, ipvs.Dest{}
	default:
		*op = ipvs.Op{}
	}
}

func (d *differ) emit(op ipvs.Op) { *d.next() = op }

// flush passes on what there is. After an error nothing goes any more.
func (d *differ) flush() {
	if d.pass == nil {
		return
	}
	if d.err == nil && len(d.ops) > 0 {
		d.err = d.pass(d.ops)
	}
	d.ops = d.ops[:0]
}

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
		{ipvs.ExtConfigSPEarly, have.SPEarly == want.SPEarly},
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
		h = &none
		op := d.next()
		op.Kind, op.Service = ipvs.AddService, w.main()
	}
	var edit []ipvs.Op
	if !fresh && h.Settings != w.Settings && !sameService(&h.Main, &w.Main) {
		edit = append(edit, ipvs.Op{Kind: ipvs.SetService, Service: w.main()})
	}
	if !untouched(&h.Ext) || !untouched(&w.Ext) {
		if e, change := diffExt(&h.Ext, &w.Ext); change {
			edit = append(edit, ipvs.Op{Kind: ipvs.SetExt, Service: keyOnly(w.ServiceKey), Ext: e})
		}
	}
	if h.Ext.Flags&ipvs.ExtFNAT != 0 && w.Ext.Flags&ipvs.ExtFNAT == 0 {
		slices.Reverse(edit)
	}
	for _, op := range edit {
		d.emit(op)
	}
	d.growDests(h, w)
}

// none is a service of which nothing is there.
var none = Service{Settings: &Settings{}}

func (d *differ) growDests(h, w *Service) {
	if sameDests(h.Dests, w.Dests) {
		return
	}
	have, want := indexDests(h.Dests), indexDests(w.Dests)
	for i := range w.Dests {
		dest := &w.Dests[i]
		if want.find(dest.DestKey) != dest {
			continue
		}
		kind := ipvs.AddDest
		if old := have.find(dest.DestKey); old != nil {
			if sameDest(old, dest) {
				continue
			}
			kind = ipvs.SetDest
		}
		op := d.next()
		op.Kind, op.Service.ServiceKey, op.Dest = kind, w.ServiceKey, dest.dest()
	}
}

// destIndex finds a dest of a list by its key; of equal keys the first.
type destIndex struct {
	list  []Dest
	byKey map[ipvs.DestKey]*Dest // of a long list
}

// fewDests are found sooner by looking at each.
const fewDests = 16

func indexDests(list []Dest) destIndex {
	x := destIndex{list: list}
	if len(list) > fewDests {
		x.byKey = byKey(list, destKey)
	}
	return x
}

func (x *destIndex) find(k ipvs.DestKey) *Dest {
	if x.byKey != nil {
		return x.byKey[k]
	}
	for i := range x.list {
		if d := &x.list[i]; d.DestKey == k {
			return d
		}
	}
	return nil
}

// sameDests tells that nothing is to be done, which is so for nearly every service.
func sameDests(have, want []Dest) bool {
	if len(have) != len(want) {
		return false
	}
	for i := range have {
		if !sameDest(&have[i], &want[i]) {
			return false
		}
	}
	return true
}

// shrinkServices removes dests and services that are not wanted.
func (d *differ) shrinkServices(have []*Service) {
	for _, h := range have {
		if d.err != nil {
			return
		}
		w := d.wantServices[h.ServiceKey]
		if w != nil && sameDests(h.Dests, w.Dests) {
			continue
		}
		var keep destIndex
		if w != nil {
			keep = indexDests(w.Dests)
		}
		for k := range h.Dests {
			if key := h.Dests[k].DestKey; keep.find(key) == nil {
				op := d.next()
				op.Kind, op.Service.ServiceKey, op.Dest.DestKey = ipvs.DelDest, h.ServiceKey, key
			}
		}
		if w == nil {
			op := d.next()
			op.Kind, op.Service.ServiceKey = ipvs.DelService, h.ServiceKey
		}
	}
}
