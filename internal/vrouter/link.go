// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"fmt"
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
		if in.base != nil && in.base.Index == a.Link || in.cfg.TrackSource {
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
		e.links.byIndex[x.Index] = &x
	}
	if x.Up != was && !e.delay(&x, was) {
		e.log.Info(fmt.Sprintf("Netlink reports %s %s", x.Name, map[bool]string{true: "up", false: "down"}[x.Up]))
	}
	for _, in := range e.instances() {
		switch {
		case in.vmac != nil && in.vmac.Index == x.Index:
			if ev.Gone { // somebody has removed it
				in.vmac = nil
				in.attach()
			} else {
				in.vmac = e.links.byIndex[x.Index]
				in.refresh()
			}
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

// refresh follows base and vmac, whose Links are new with every event.
func (in *instance) refresh() {
	if in.link, in.via = in.base, in.base; in.vmac != nil {
		if in.link = in.vmac; !in.cfg.VMAC.XmitBase {
			in.via = in.vmac
		}
	}
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
