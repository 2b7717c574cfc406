// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/netif"
	"github.com/lvs-fnat/lvs/internal/poll"
	"github.com/lvs-fnat/lvs/vrrp"
)

// links is what is known of the host's links and addresses.
type links struct {
	byIndex map[int]*netif.Link
	addrs   map[int][]netif.Addr // in the kernel's order
	held    map[int]*linkDelay   // links whose change is not believed yet
	dead    map[int]bool         // links whose driver says that there is no partner (linkbeat)
}

// linkDelay holds back a change of one link's state (interface_up_down_delays).
type linkDelay struct {
	up    bool // as believed
	timer poll.Timer
}

func (l *links) read(h *netif.Host) error {
	list, err := h.Links()
	if err != nil {
		return err
	}
	addrs, err := h.Addrs()
	if err != nil {
		return err
	}
	l.byIndex, l.addrs = map[int]*netif.Link{}, map[int][]netif.Addr{}
	for i := range list {
		l.byIndex[list[i].Index] = &list[i]
	}
	for _, a := range addrs {
		l.addrs[a.Link] = append(l.addrs[a.Link], a)
	}
	if l.held == nil {
		l.held, l.dead = map[int]*linkDelay{}, map[int]bool{}
	}
	return nil
}

func (l *links) named(name string) *netif.Link {
	for _, x := range l.byIndex {
		if x.Name == name {
			return x
		}
	}
	return nil
}

func (l *links) index(name string) (int, error) {
	if x := l.named(name); x != nil {
		return x.Index, nil
	}
	return 0, fmt.Errorf("no interface %s", name)
}

// up is the state as believed: a change may wait for its delay.
func (l *links) up(index int) bool {
	if d := l.held[index]; d != nil && d.timer.Armed() {
		return d.up
	}
	x := l.byIndex[index]
	return x != nil && x.Up && !l.dead[index]
}

// has tells whether the host has the address on some link.
func (l *links) has(addr netip.Addr) bool {
	for _, list := range l.addrs {
		if slices.ContainsFunc(list, func(a netif.Addr) bool { return a.Prefix.Addr() == addr }) {
			return true
		}
	}
	return false
}

// hasOn tells whether one link has the address.
func (l *links) hasOn(index int, addr netip.Addr) bool {
	return slices.ContainsFunc(l.addrs[index], func(a netif.Addr) bool { return a.Prefix.Addr() == addr })
}

// forwards tells whether the host routes IPv6 on the link.
func (l *links) forwards(x *netif.Link) bool {
	b, err := os.ReadFile("/proc/sys/net/ipv6/conf/" + x.Name + "/forwarding")
	return err == nil && strings.TrimSpace(string(b)) == "1"
}

// event takes in a change of the host.
func (e *Engine) event(ev netif.Event) {
	if e.stopping {
		return
	}
	if ev.Link != nil {
		e.linkEvent(ev)
		return
	}
	a := *ev.Addr
	list := slices.DeleteFunc(e.links.addrs[a.Link], func(x netif.Addr) bool { return x.Prefix == a.Prefix })
	if !ev.Gone {
		list = append(list, a)
	}
	e.links.addrs[a.Link] = list
	if x := e.links.byIndex[a.Link]; e.opts.LogAddresses && x != nil {
		e.log.Info(fmt.Sprintf("Netlink reflector reports IP %s %s %s", a.Prefix.Addr(), map[bool]string{true: "removed from", false: "added to"}[ev.Gone], x.Name))
	}
	if ev.Gone {
		e.lost(a)
		e.restoreStatic()
	}
	if e.virtual(a.Prefix.Addr()) {
		return // it is nobody's source
	}
	for _, in := range e.instances() {
		if in.cfg.TrackSource || in.sends(a.Link) {
			in.assess()
		}
	}
}

// lost tells the instance whose address somebody else has removed.
func (e *Engine) lost(a netif.Addr) {
	for _, in := range e.instances() {
		held, ok := in.held[heldKey{a.Link, a.Prefix.Addr()}]
		if !ok || held.NoTrack {
			continue
		}
		// The report may be old: of a removal before we put the address back.
		if there, err := e.host.HasAddr(a.Link, held); err != nil || there {
			e.warn(err)
			continue
		}
		in.event(vrrp.AddressLost{Addr: a.Prefix.Addr()})
	}
}

func (e *Engine) linkEvent(ev netif.Event) {
	x := *ev.Link
	before := e.links.byIndex[x.Index]
	was := e.links.up(x.Index)
	if ev.Gone {
		delete(e.links.byIndex, x.Index)
		delete(e.links.addrs, x.Index)
		x.Up = false
	} else {
		// The report of its creation is no news of a link that we have raised since.
		if own := e.own(x.Index); own != nil && own.up && !x.Up {
			if now, err := e.host.LinkAt(x.Index); err == nil {
				x = *now
			}
		}
		e.links.byIndex[x.Index] = &x
	}
	if x.Up != was && !e.delay(&x, was) {
		e.log.Info(fmt.Sprintf("Netlink reports %s %s", x.Name, map[bool]string{true: "up", false: "down"}[x.Up]))
	}
	for _, in := range e.instances() {
		switch {
		case in.vmac != nil && in.vmac.Index == x.Index:
			if ev.Gone { // somebody has removed it
				in.forget(in.vmac)
				in.vmac = nil
				in.attach()
			} else {
				in.vmac.Link = e.links.byIndex[x.Index]
				in.refresh()
			}
		case in.followAside(&x, ev.Gone):
		case in.cfg.Interface == "" && in.cfg.VRF == x.Name:
			if ev.Gone || before == nil || before.Name != x.Name {
				in.attach()
			}
		case in.cfg.Interface != x.Name:
			continue
		case ev.Gone || before == nil || before.Name != x.Name:
			in.attach()
		default:
			in.base = e.links.byIndex[x.Index]
			in.refresh()
		}
		in.assess()
	}
	e.tracks.link(x.Name)
	e.restoreStatic()
	e.beats.follow(e)
}

// refresh follows base and vmac, whose Links are new with every event. With an ipvlan
// the addresses stay on the base.
func (in *instance) refresh() {
	switch in.link, in.via = in.base, in.base; {
	case in.cfg.Interface == "" && in.cfg.VRF != "":
		in.via = in.e.links.named(in.cfg.VRF)
	case in.vmac == nil:
	case in.cfg.VMAC.IPVLAN:
		in.via = in.vmac.Link
	case in.cfg.VMAC.XmitBase:
		in.link = in.vmac.Link
	default:
		in.link, in.via = in.vmac.Link, in.vmac.Link
	}
}

// sends tells whether the instance sends from addresses of that link.
func (in *instance) sends(index int) bool {
	if in.base != nil && in.base.Index == index || in.vmac != nil && in.vmac.Index == index {
		return true
	}
	for _, own := range in.aside {
		if own.base.Index == index {
			return true
		}
	}
	return false
}

// followAside takes in a change of a link that addresses of the instance have for
// themselves, or of the one below.
func (in *instance) followAside(x *netif.Link, gone bool) bool {
	for name, own := range in.aside {
		switch {
		case own.Index == x.Index && !gone:
			own.Link = in.e.links.byIndex[x.Index]
			return true
		case own.Index == x.Index: // somebody has removed it
			in.forget(own)
			delete(in.aside, name)
			in.e.warn(in.restoreAside())
			return true
		}
	}
	if !gone && in.lacksAside(x.Name) {
		in.e.warn(in.restoreAside())
	}
	return false
}

// lacksAside tells whether a link on the one with that name is wanted and not there.
func (in *instance) lacksAside(base string) bool {
	return in.aside[base] == nil && slices.ContainsFunc(in.addresses(), func(a config.Address) bool {
		name, wanted := in.asideOf(a)
		return wanted && name == base
	})
}

// restoreAside makes the links that addresses need and that are not there, and puts
// the addresses of a master on them.
func (in *instance) restoreAside() error {
	had := maps.Clone(in.aside)
	in.addAside()
	in.vmacSource()
	if in.e.prepared {
		in.raise()
	}
	var errs []error
	for _, a := range in.addresses() {
		if name, ok := in.asideOf(a); ok && in.m.State() == vrrp.Master && had[name] == nil && in.aside[name] != nil {
			errs = append(errs, in.add(a))
		}
	}
	return errors.Join(errs...)
}

// sourceOf is the first address of a link that is ready and no virtual one; over IPv6
// a link local one.
func (e *Engine) sourceOf(x *netif.Link, six bool) netip.Addr {
	for _, a := range e.links.addrs[x.Index] {
		addr := a.Prefix.Addr()
		if addr.Is6() == six && a.Ready && (!six || addr.IsLinkLocalUnicast()) && !e.virtual(addr) {
			return addr
		}
	}
	return netip.Addr{}
}

// delay holds a change of state back where the file says so.
func (e *Engine) delay(x *netif.Link, was bool) bool {
	i := slices.IndexFunc(e.cfg.VRRP.Delays, func(d config.LinkDelay) bool { return d.Interface == x.Name })
	if i < 0 {
		return false
	}
	wait := map[bool]time.Duration{true: e.cfg.VRRP.Delays[i].Up, false: e.cfg.VRRP.Delays[i].Down}[x.Up]
	if wait == 0 {
		return false
	}
	d := e.links.held[x.Index]
	if d == nil {
		d = &linkDelay{}
		e.links.held[x.Index] = d
	}
	d.up = was
	index, name := x.Index, x.Name
	d.timer.E = expirer(func() {
		for _, in := range e.instances() {
			if in.base != nil && in.base.Index == index {
				in.assess()
			}
		}
		e.tracks.link(name)
	})
	e.loop.Arm(&d.timer, wait)
	return true
}

// resync reads everything anew after the kernel has dropped events.
func (e *Engine) resync(cause error) {
	if e.stopping {
		return
	}
	e.log.Warn(fmt.Sprintf("netlink: %v; reading links and addresses anew", cause))
	if err := e.links.read(e.host); err != nil {
		e.warn(err)
		return
	}
	for _, in := range e.instances() {
		if in.cfg.Interface != "" {
			x := e.links.named(in.cfg.Interface)
			if x == nil || in.base == nil || x.Index != in.base.Index {
				in.attach()
			} else {
				in.base = x
				in.refresh()
			}
		}
		in.assess()
		for key, a := range in.held {
			if there, err := e.host.HasAddr(key.link, a); err == nil && !there && !a.NoTrack {
				in.event(vrrp.AddressLost{Addr: key.addr})
				break
			}
		}
	}
	e.tracks.links()
	e.restoreStatic()
	e.beats.follow(e)
}

// instances are all of them in the order of the file.
func (e *Engine) instances() []*instance { return e.order }
