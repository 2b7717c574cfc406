// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"

	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/netif"
)

// statics are the static objects that instances need.
type statics struct {
	failed map[string]string // track groups of which something is missing, and what
	// refused are routes and rules that could not be set, by their line.
	refused map[string]bool
	watch   *netif.Removals // nil while no route or rule has a track group
}

// faultStatic is the reason for FAULT when a static object is missing.
const faultStatic = "static objects of "

// static goes from one set of static objects to another: new ones first, in the
// order of addresses, routes, rules, then what is no longer wanted, in reverse.
func (e *Engine) static(_ context.Context, from, to config.Static) {
	from, to = untracked(from), untracked(to)
	for _, a := range to.Addrs {
		if !has(from.Addrs, a) {
			e.warn(e.staticAddr(a, e.host.AddAddr))
		}
	}
	for _, r := range to.Routes {
		if !has(from.Routes, r) {
			e.warn(e.statics.note(routeLine(r), e.host.AddRoute(r, e.links.index)))
		}
	}
	for _, r := range to.Rules {
		if !has(from.Rules, r) {
			e.warn(e.statics.note(ruleLine(r), e.host.AddRule(r)))
		}
	}
	for _, r := range slices.Backward(from.Rules) {
		if !has(to.Rules, r) {
			e.warn(e.host.DelRule(r))
		}
	}
	for _, r := range slices.Backward(from.Routes) {
		if !has(to.Routes, r) {
			e.warn(e.host.DelRoute(r, e.links.index))
		}
	}
	for _, a := range slices.Backward(from.Addrs) {
		if !has(to.Addrs, a) {
			e.warn(e.staticAddr(a, e.host.DelAddr))
		}
	}
}

// note keeps whether a route or rule is set; it returns err.
func (s *statics) note(line string, err error) error {
	if s.refused == nil {
		s.refused = map[string]bool{}
	}
	s.refused[line] = err != nil
	return err
}

// staticLink is the link of a static address.
func staticLink(a config.Address) string {
	return cmp.Or(a.Interface, "eth0") // default_interface's own default
}

func (e *Engine) staticAddr(a config.Address, do func(int, config.Address) error) error {
	index, err := e.links.index(staticLink(a))
	if err != nil {
		return fmt.Errorf("static address %s: %w", a.Prefix, err)
	}
	return do(index, a)
}

// untracked is s without track groups: to be in another one changes no object.
func untracked(s config.Static) config.Static {
	s.Addrs, s.Routes, s.Rules = slices.Clone(s.Addrs), slices.Clone(s.Routes), slices.Clone(s.Rules)
	for i := range s.Addrs {
		s.Addrs[i].TrackGroup = ""
	}
	for i := range s.Routes {
		s.Routes[i].TrackGroup = ""
	}
	for i := range s.Rules {
		s.Rules[i].TrackGroup = ""
	}
	return s
}

// trackStatic follows the static objects with a track group, after a configuration
// was taken over.
func (e *Engine) trackStatic() {
	s := &e.cfg.VRRP.Static
	routes := slices.ContainsFunc(s.Routes, func(r config.Route) bool { return r.TrackGroup != "" }) ||
		slices.ContainsFunc(s.Rules, func(r config.Rule) bool { return r.TrackGroup != "" })
	switch w := e.statics.watch; {
	case routes && w == nil:
		var err error
		e.statics.watch, err = netif.WatchRemovals(func() { e.loop.Post(e.restoreStatic) })
		e.warn(err)
	case !routes && w != nil:
		w.Close()
		e.statics.watch = nil
	}
	e.restoreStatic()
}

// restoreStatic puts back what is missing of static objects with a track group. What
// cannot be is a fault of the group's instances. It is called when something went, and
// when a link has changed, which may be what a route waits for.
func (e *Engine) restoreStatic() {
	if e.stopping {
		return
	}
	s := &e.cfg.VRRP.Static
	failed := map[string]string{}
	try := func(group string, do func() error) {
		if group == "" {
			return
		}
		if err := do(); err != nil && failed[group] == "" {
			failed[group] = err.Error()
		}
	}
	for _, a := range s.Addrs {
		try(a.TrackGroup, func() error { return e.staticAddr(a, e.host.AddAddr) })
	}
	for _, r := range s.Routes {
		try(r.TrackGroup, func() error { return e.statics.note(routeLine(r), e.host.AddRoute(r, e.links.index)) })
	}
	for _, r := range s.Rules {
		try(r.TrackGroup, func() error { return e.statics.note(ruleLine(r), e.host.AddRule(r)) })
	}
	old := e.statics.failed
	e.statics.failed = failed
	for _, g := range e.cfg.VRRP.TrackGroups {
		now, was := failed[g.Name], old[g.Name]
		if now != "" && now != was {
			e.log.Info(fmt.Sprintf("Track group %s: %s", g.Name, now))
		}
		for _, name := range g.Instances {
			if in := e.byName[name]; in != nil {
				in.fault(faultStatic+g.Name, now != "")
			}
		}
	}
}

// ofGroups calls f with the track groups that the instance is in.
func (in *instance) ofGroups(f func(name string)) {
	for _, g := range in.e.cfg.VRRP.TrackGroups {
		if slices.Contains(g.Instances, in.name()) {
			f(g.Name)
		}
	}
}

// has compares without the place in the file.
func has[T any](list []T, x T) bool {
	return slices.ContainsFunc(list, func(y T) bool { return same(x, y) })
}

// same is equality of two configured things wherever they stand.
func same[T any](a, b T) bool {
	for _, v := range []reflect.Value{reflect.ValueOf(&a).Elem(), reflect.ValueOf(&b).Elem()} {
		if pos := v.FieldByName("Pos"); pos.IsValid() {
			pos.SetZero()
		}
	}
	return reflect.DeepEqual(a, b)
}
