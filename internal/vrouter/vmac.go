// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/firewall"
	"github.com/lvs-fnat/lvs/internal/netif"
)

// routerMAC is the address of RFC 5798 7.3.
func routerMAC(six bool, vrid uint8) [6]byte {
	mac := [6]byte{0, 0, 0x5e, 0, 1, vrid}
	if six {
		mac[4] = 2
	}
	return mac
}

// ownLink is a link that an instance has made for itself.
type ownLink struct {
	*netif.Link
	base   *netif.Link
	source netip.Prefix // put there to send from; no virtual address
	shared bool         // the settings of the base are changed for it
	up     bool         // it was told to go up
}

// prefixes are how the names of links begin: of those that advertise, and of those
// that have addresses only.
func (e *Engine) prefixes() (link, addrs string) {
	g := &e.cfg.Global.VRRP
	link = cmp.Or(g.VMACPrefix, "vrrp")
	return link, cmp.Or(g.VMACAddrPrefix, link)
}

// linkName finds a name as keepalived does: the prefix, a dot and the VRID; over
// IPv6 with a 6 before the dot if that is taken; then with 1, 2 and so on.
func (in *instance) linkName(prefix, kind string, base *netif.Link) string {
	free := func(name string) bool {
		return in.ownedBy(func(own *ownLink) bool { return own.Name == name }) == nil && in.e.host.MayHave(name, kind, base)
	}
	vrid := in.cfg.Machine.VRID
	name := fmt.Sprintf("%s.%d", prefix, vrid)
	if free(name) {
		return name
	}
	if six := fmt.Sprintf("%s6.%d", prefix, vrid); in.six() && free(six) {
		return six
	}
	for i := 1; !free(name); i++ {
		name = fmt.Sprintf("%s%d.%d", prefix, i, vrid)
	}
	return name
}

// ownLinks are all that the instance has made.
func (in *instance) ownLinks() func(yield func(*ownLink) bool) {
	return func(yield func(*ownLink) bool) {
		if in.vmac != nil && !yield(in.vmac) {
			return
		}
		for _, own := range in.aside {
			if !yield(own) {
				return
			}
		}
	}
}

// ownedBy finds the instance that has made a link of which is holds.
func (in *instance) ownedBy(is func(*ownLink) bool) *instance {
	for other := range maps.Values(in.e.byName) {
		for own := range other.ownLinks() {
			if is(own) {
				return other
			}
		}
	}
	for own := range in.ownLinks() { // not yet in byName
		if is(own) {
			return in
		}
	}
	return nil
}

// own is the link with that index, if an instance has made it.
func (e *Engine) own(index int) *ownLink {
	for _, in := range e.byName {
		for own := range in.ownLinks() {
			if own.Index == index {
				return own
			}
		}
	}
	return nil
}

// families tells which of IPv4 and IPv6 the instance has addresses of.
func (in *instance) families() (four, six bool) {
	four, six = !in.six(), in.six()
	for _, a := range in.addresses() {
		four, six = four || a.Prefix.Addr().Is4(), six || a.Prefix.Addr().Is6()
	}
	return four, six
}

// addVMAC makes the link that the instance advertises from.
func (in *instance) addVMAC() {
	v := in.cfg.VMAC
	if v == nil || in.base == nil || in.vmac != nil {
		return
	}
	o := netif.Own{
		Name: v.Name, MAC: routerMAC(in.six(), in.cfg.Machine.VRID), Notify: v.Notify, IPVLAN: v.IPVLAN, Group: in.base.Group,
		Flag: map[config.IPVLANMode]netif.IPVLANFlag{
			config.IPVLANBridge: netif.IPVLANBridge, config.IPVLANPrivate: netif.IPVLANPrivate, config.IPVLANVEPA: netif.IPVLANVEPA,
		}[v.Mode],
	}
	if v.OwnMAC {
		o.MAC = v.MAC
	}
	if v.Group >= 0 {
		o.Group = uint32(v.Group)
	}
	if o.Name == "" {
		o.Name = in.linkName(cmp.Or(v.Prefix, "vrrp"), o.Kind(), in.base)
	}
	in.vmac = in.addOwn(o, in.base)
}

// asideOf is the link that an address outside of the instance's interface has its
// place on in place of the link called name: with use_vmac_addr or the address's own
// use_vmac. nil: the address stays where it is.
func (in *instance) asideOf(a config.Address) (name string, wanted bool) {
	name = cmp.Or(a.Interface, in.cfg.Interface)
	switch {
	case name == in.cfg.Interface && in.cfg.VMAC != nil, name == "":
		return "", false
	case name == in.cfg.Interface:
		return name, a.UseVMAC
	}
	return name, a.UseVMAC || in.cfg.AddrVMAC
}

// addAside makes the links that addresses need, and removes what none needs any more.
func (in *instance) addAside() {
	wanted := map[string]bool{}
	for _, a := range in.addresses() {
		if name, ok := in.asideOf(a); ok {
			wanted[name] = true
		}
	}
	for name, own := range in.aside {
		if !wanted[name] {
			in.delOwn(own)
			delete(in.aside, name)
		}
	}
	for _, a := range in.addresses() {
		name, ok := in.asideOf(a)
		base := in.e.links.named(name)
		if !ok || base == nil || in.aside[name] != nil {
			continue
		}
		_, prefix := in.e.prefixes()
		o := netif.Own{MAC: routerMAC(in.six(), in.cfg.Machine.VRID), Group: base.Group}
		if v := in.cfg.VMAC; v != nil && v.OwnMAC {
			o.MAC = v.MAC
		}
		o.Name = in.linkName(prefix, o.Kind(), base)
		if own := in.addOwn(o, base); own != nil {
			in.aside[name] = own
		}
	}
}

// addOwn makes a link, which stays down until the rules for it are there.
func (in *instance) addOwn(o netif.Own, base *netif.Link) *ownLink {
	twin := in.ownedBy(func(own *ownLink) bool {
		return !o.IPVLAN && own.Kind == netif.KindVMAC && own.base.Index == base.Index && own.MAC == o.MAC
	})
	if twin != nil {
		in.e.warn(fmt.Errorf("(%s) %s already has hardware address %v on %s: give one of them another virtual_router_id", in.name(), twin.name(), net.HardwareAddr(o.MAC[:]), base.Name))
		return nil
	}
	link, err := in.e.host.AddOwn(o, base)
	if err != nil {
		in.e.warn(fmt.Errorf("(%s) %w", in.name(), err))
		return nil
	}
	in.e.log.Info(fmt.Sprintf("(%s): Success creating %s interface %s", in.name(), map[bool]string{false: "VMAC", true: "ipvlan"}[o.IPVLAN], link.Name))
	own := &ownLink{Link: link, base: base}
	in.e.links.byIndex[link.Index] = link
	in.settle(own)
	return own
}

// settle has a link answer for what is on it and for nothing else, and the base leave
// that to it. An ipvlan only advertises: the addresses are on the base.
func (in *instance) settle(own *ownLink) {
	four, six := in.families()
	ipvlan := own.Kind == netif.KindIPVLAN
	if ipvlan {
		six = in.six()
	}
	if four && !ipvlan && !own.shared {
		in.e.share(own.base.Name) // before the link's own filter by source
		own.shared = true
		for _, s := range [][2]string{{"arp_ignore", "1"}, {"accept_local", "1"}, {"rp_filter", "0"}, {"promote_secondaries", "1"}} {
			if _, err := netif.Sysctl("ipv4", own.Name, s[0], s[1]); err != nil {
				in.e.warn(fmt.Errorf("(%s) %s of %s: %w", in.name(), s[0], own.Name, err))
			}
		}
	}
	// Some hosts have no IPv6.
	_, _ = netif.Sysctl("ipv6", own.Name, "disable_ipv6", map[bool]string{true: "0", false: "1"}[six])
}

// raise has the links of the instance go up, after the rules for them are there. A
// host without nftables sends reports of membership from them.
func (in *instance) raise() {
	for own := range in.ownLinks() {
		if own.up {
			continue
		}
		own.up = true
		in.e.divert(in, own)
		link, err := in.e.host.SetUp(own.Link)
		if err != nil {
			in.e.warn(fmt.Errorf("(%s) %w", in.name(), err))
			continue
		}
		own.Link = link
		in.e.links.byIndex[link.Index] = link
		in.refresh()
	}
}

// divert keeps what is not for virtual routers from leaving by a link of ours.
func (e *Engine) divert(in *instance, own *ownLink) {
	if e.guard == nil || own.Kind != netif.KindVMAC { // an ipvlan has the base's hardware address
		return
	}
	var errs []error
	four, six := in.families()
	o := firewall.Own{Link: own.Index, Base: own.base.Index, Local: own.source.Addr()}
	if four && !e.cfg.Global.VRRP.DisableLocalIGMP {
		errs = append(errs, e.guard.AddOwn(o, false))
	}
	if six {
		errs = append(errs, e.guard.AddOwn(o, true))
	}
	if err := errors.Join(errs...); err != nil && !e.undiverted {
		e.undiverted = true
		e.warn(fmt.Errorf("reports of group membership leave from links of virtual routers: %w", err))
	}
}

// vmacSource gives each link the address that it sends from: over IPv6 the kernel
// sends no link local address from another link, and an ipvlan sends and hears only
// what it has.
func (in *instance) vmacSource() {
	if in.vmac != nil {
		switch v := in.cfg.VMAC; {
		case v.IPVLAN:
			if v.Addr.IsValid() {
				in.settleSource(in.vmac, v.Addr)
			}
		case in.six() && !v.XmitBase:
			if src := in.source(); src.Is6() {
				in.settleSource(in.vmac, netip.PrefixFrom(src, linkLocalBits))
			}
		}
	}
	for _, own := range in.aside {
		if src := in.e.sourceOf(own.base, true); in.six() && src.IsValid() {
			in.settleSource(own, netip.PrefixFrom(src, linkLocalBits))
		}
	}
}

// linkLocalBits is the prefix of link local addresses, RFC 4291 2.5.6.
const linkLocalBits = 64

// settleSource goes from one address of a link to another.
func (in *instance) settleSource(own *ownLink, want netip.Prefix) {
	if own.source == want {
		return
	}
	if own.source.IsValid() {
		in.e.warn(in.e.host.DelAddr(own.Index, sourceAddress(own.source)))
	}
	own.source = want
	in.e.warn(in.e.host.AddAddr(own.Index, sourceAddress(want)))
	if own.up { // the rules know the old one
		in.e.divert(in, own)
	}
}

// sourceAddress is what nothing but advertisements is sent from.
func sourceAddress(p netip.Prefix) config.Address {
	return config.Address{Prefix: p, Deprecated: p.Addr().Is6()}
}

// How long a link that goes is waited for at most, all links of one stop or reload
// together. A reload holds up the adverts of the routers that stay.
const (
	drainAtStop   = time.Second
	drainAtReload = 50 * time.Millisecond
)

// drain lets the last adverts leave. A work item of the kernel sends the multicast of an
// ipvlan, and what it has not yet sent when the last ipvlan of a base goes is thrown
// away (ipvlan_multicast_enqueue and ipvlan_port_destroy, drivers/net/ipvlan): backups
// would never hear of the priority 0. A macvlan queues nothing.
func (in *instance) drain() {
	if in.vmac == nil || in.vmac.Kind != netif.KindIPVLAN || in.rx == nil {
		return
	}
	for {
		// The kernel tells nobody when the last byte is gone.
		unsent, err := in.rx.Unsent()
		if err != nil {
			in.e.warn(fmt.Errorf("(%s) what waits to be sent on %s: %w", in.name(), in.vmac.Name, err))
			return
		}
		if unsent == 0 || !time.Now().Before(in.e.drainUntil) {
			return
		}
		time.Sleep(drainPause)
	}
}

// drainPause is between two looks: an idle kernel is done in less.
const drainPause = time.Millisecond

// delOwn removes a link, and what was set for it.
func (in *instance) delOwn(own *ownLink) {
	if err := in.e.host.DelLink(own.Index); err != nil {
		in.e.warn(fmt.Errorf("(%s) %w", in.name(), err))
	} else {
		in.e.log.Info(fmt.Sprintf("(%s) Success removing VMAC interface %s", in.name(), own.Name))
	}
	in.forget(own)
}

// forget is the end of a link that is gone.
func (in *instance) forget(own *ownLink) {
	delete(in.e.links.byIndex, own.Index)
	if in.e.guard != nil {
		o := firewall.Own{Link: own.Index}
		in.e.warn(errors.Join(in.e.guard.DelOwn(o, false), in.e.guard.DelOwn(o, true)))
	}
	if own.shared {
		in.e.unshare(own.base.Name)
	}
}

// delOwns removes all links of the instance.
func (in *instance) delOwns() {
	if in.vmac != nil {
		in.delOwn(in.vmac)
		in.vmac = nil
	}
	for name, own := range in.aside {
		in.delOwn(own)
		delete(in.aside, name)
	}
}

// shared are the settings of a base before the first virtual router came onto it.
type shared struct {
	users  int
	before map[string]string
}

// share has a base answer ARP for its own addresses only.
func (e *Engine) share(base string) {
	s := e.shared[base]
	if s == nil {
		s = &shared{before: map[string]string{}}
		e.shared[base] = s
		for _, key := range []string{"arp_ignore", "arp_filter"} {
			old, err := netif.Sysctl("ipv4", base, key, "1")
			if err != nil {
				e.warn(fmt.Errorf("%s of %s: %w", key, base, err))
				continue
			}
			s.before[key] = old
		}
	}
	s.users++
	e.freeReversePath()
}

func (e *Engine) unshare(base string) {
	s := e.shared[base]
	if s == nil {
		return
	}
	if s.users--; s.users > 0 {
		return
	}
	delete(e.shared, base)
	for key, old := range s.before {
		if _, err := netif.Sysctl("ipv4", base, key, old); err != nil && e.links.named(base) != nil {
			e.warn(fmt.Errorf("restore %s of %s: %w", key, base, err))
		}
	}
	if len(e.shared) == 0 {
		e.restoreReversePath()
	}
}

// freeReversePath lets links of virtual routers hear what comes from the network of
// the base: the filter of "all" holds for every link, so what it says moves to each of
// the others, and to those to come.
func (e *Engine) freeReversePath() {
	if e.reverse != nil {
		return
	}
	e.reverse = map[string]string{}
	all, err := netif.ReadSysctl("ipv4", "all", rpFilter)
	if err != nil || all == "0" {
		return
	}
	names := []string{"default"}
	for _, x := range e.links.byIndex {
		names = append(names, x.Name)
	}
	slices.Sort(names)
	for _, name := range append(names, "all") {
		old, err := netif.ReadSysctl("ipv4", name, rpFilter)
		want := all
		if name == "all" {
			want = "0"
		}
		if err != nil || name != "all" && old >= all {
			continue
		}
		if _, err := netif.Sysctl("ipv4", name, rpFilter, want); err != nil {
			e.warn(fmt.Errorf("%s of %s: %w", rpFilter, name, err))
			continue
		}
		e.reverse[name] = old
	}
}

const rpFilter = "rp_filter"

// restoreReversePath puts back "all" first: no link is without its filter meanwhile.
func (e *Engine) restoreReversePath() {
	for _, name := range append([]string{"all"}, slices.Sorted(maps.Keys(e.reverse))...) {
		old, ok := e.reverse[name]
		if !ok {
			continue
		}
		delete(e.reverse, name)
		if _, err := netif.Sysctl("ipv4", name, rpFilter, old); err != nil && (name == "all" || name == "default" || e.links.named(name) != nil) {
			e.warn(fmt.Errorf("restore %s of %s: %w", rpFilter, name, err))
		}
	}
	e.reverse = nil
}
