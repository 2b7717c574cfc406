// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/firewall"
	"github.com/lvs-fnat/lvs/internal/netif"
	"github.com/lvs-fnat/lvs/internal/poll"
	"github.com/lvs-fnat/lvs/vrrp"
)

// instance is one virtual router. It is the vrrp.Host of its machine.
type instance struct {
	e      *Engine
	cfg    *config.Instance
	m      *vrrp.Machine
	accept vrrp.Receiver
	heard  vrrp.Received // last

	unit   *unit
	member int

	base *netif.Link // the interface; nil: any, or not there
	mute bool        // it has had no multicast since it came, which is the only way to speak
	vmac *ownLink    // the link of use_vmac or use_ipvlan, nil without
	link *netif.Link // where the addresses belong: vmac or else base
	via  *netif.Link // where advertisements come and go
	rx   *socket     // nil while there is no link
	id   uint16      // of the last IPv4 packet sent
	buf  []byte
	held map[heldKey]config.Address // addresses put there by us

	sendFault      string              // of the last advertisement, so that one text is logged once
	masterPriority uint8               // last heard
	aside          map[string]*ownLink // links for addresses on another link, by its name
	changed        time.Time           // last change of state
	lastAddrs      string              // complaint about the list of addresses, likewise
	oldSettings    map[string]string   // sysctls to restore, by path
	weights        map[string]int      // as the machine was told, by object
	extra          poll.Timer          // of garp_extra_if, while master

	routed     map[string]bool // routes and rules that are set, by their line
	born       time.Time
	reason     newMaster  // of the present state
	next       newMaster  // if it became master now
	protoFault protoError // of the last packet that was refused for such a reason
}

// heldKey is where an address is.
type heldKey struct {
	link int
	addr netip.Addr
}

// newInstance makes an instance that is not yet in any unit.
func (e *Engine) newInstance(cfg *config.Instance) (*instance, error) {
	in := &instance{e: e, aside: map[string]*ownLink{}, held: map[heldKey]config.Address{}, oldSettings: map[string]string{}, weights: map[string]int{},
		routed: map[string]bool{}, born: time.Now(), next: noResponse}
	in.extra.E = expirer(in.announceExtra)
	in.set(cfg)
	m, err := vrrp.New(in.machineConfig())
	if err != nil {
		return nil, err
	}
	in.m = m
	in.attach()
	in.assess()
	e.byName[cfg.Machine.Name] = in
	return in, nil
}

// set takes over the rules for packets.
func (in *instance) set(cfg *config.Instance) {
	in.cfg = cfg
	m := &cfg.Machine
	in.accept.Rules = vrrp.Rules{
		Version: m.Version, VRID: m.VRID, Auth: cfg.Auth, Password: cfg.Password, HMAC: cfg.HMAC, Interval: m.Interval, Addrs: m.Addrs,
		Peers: cfg.Peers, CheckUnicastSrc: cfg.CheckUnicastSrc, SkipCheckAdvAddr: cfg.SkipCheckAdvAddr,
		Checksum: cfg.Checksum, OldUnicastChecksum: cfg.Unicast && cfg.OldUnicastChecksum, Multicast: cfg.Multicast,
	}
	if !cfg.Unicast {
		in.accept.Peers = nil
	}
}

func (in *instance) machineConfig() vrrp.Config {
	c := in.cfg.Machine
	c.KeepAddressesWhenStop = in.e.opts.KeepAddresses
	c.Source = in.source()
	if !c.Source.IsValid() { // until the link has an address; the machine is in FAULT meanwhile
		c.Source = unspecified(in.six())
	}
	return c
}

func unspecified(six bool) netip.Addr {
	if six {
		return netip.IPv6Unspecified()
	}
	return netip.IPv4Unspecified()
}

func (in *instance) name() string { return in.cfg.Machine.Name }
func (in *instance) six() bool    { return in.cfg.Family == config.IPv6 }

// attach finds the links and opens the socket of the instance.
func (in *instance) attach() {
	in.detach()
	in.base, in.link, in.via = nil, nil, nil
	if in.cfg.Interface != "" {
		if in.base = in.e.links.named(in.cfg.Interface); in.base == nil {
			if in.vmac != nil { // it has gone with its base
				in.forget(in.vmac)
				in.vmac = nil
			}
			return
		}
	}
	if in.mute = in.base != nil && !in.base.Multicast && !in.cfg.Unicast; in.mute {
		in.e.log.Warn(fmt.Sprintf("(%s) interface %s does not support multicast, specify unicast peers - disabling", in.name(), in.base.Name))
	}
	in.addVMAC()
	in.addAside()
	in.vmacSource()
	if in.e.prepared {
		in.raise()
	}
	if in.cfg.VMAC != nil && in.vmac == nil {
		return
	}
	in.refresh()
	if in.cfg.Interface == "" && in.cfg.VRF != "" && in.via == nil {
		return
	}
	s, err := in.e.listen(in)
	if err != nil {
		in.e.warn(fmt.Errorf("(%s) %w", in.name(), err))
		return
	}
	in.rx = s
}

func (in *instance) detach() {
	if in.rx != nil {
		in.rx.release(in)
		in.rx = nil
	}
}

// source is what adverts are sent from: what is configured, else the first
// address of the link that is no virtual one. An ipvlan has its own; over IPv4 only
// one that is configured.
func (in *instance) source() netip.Addr {
	switch v := in.cfg.VMAC; {
	case in.cfg.SourceAddr.IsValid():
		return in.cfg.SourceAddr
	case v != nil && v.IPVLAN && v.Addr.IsValid():
		return v.Addr.Addr()
	case v != nil && v.IPVLAN && in.vmac != nil && in.six():
		return in.e.sourceOf(in.vmac.Link, true)
	case in.base == nil || v != nil && v.IPVLAN:
		return netip.Addr{}
	}
	return in.e.sourceOf(in.base, in.six())
}

// virtual tells whether some instance has addr as a virtual address.
func (e *Engine) virtual(addr netip.Addr) bool { return e.virtuals[addr] }

// use makes cfg the configuration in force.
func (e *Engine) use(cfg *config.Config) {
	e.cfg, e.virtuals = cfg, map[netip.Addr]bool{}
	for i := range cfg.VRRP.Instances {
		in := &cfg.VRRP.Instances[i]
		for _, list := range [][]config.Address{in.Addrs, in.Excluded} {
			for _, a := range list {
				e.virtuals[a.Prefix.Addr()] = true
			}
		}
	}
}

// Reasons for FAULT that are no tracked object.
const (
	faultLink   = "interface"
	faultSource = "no source address"
	faultPeers  = "no unicast peer"
)

// assess compares what the host has with what the instance needs.
func (in *instance) assess() {
	src := in.source()
	if src.IsValid() {
		in.m.SetSource(src)
	}
	in.vmacSource()
	gone := in.cfg.Interface != "" && in.link == nil
	down := in.base != nil && !in.e.links.up(in.base.Index) && !in.cfg.NoTrackPrimary
	if in.vmac != nil { // always tracked
		down = down || !in.e.links.up(in.vmac.Index)
	}
	in.mute = in.mute && in.base != nil && !in.base.Multicast // what a link loses later is no matter
	in.fault(faultLink, gone || down || in.mute || in.rx == nil)
	lost := in.cfg.TrackSource && in.cfg.SourceAddr.IsValid() && !in.e.links.has(in.cfg.SourceAddr)
	in.fault(faultSource, !src.IsValid() || lost)
	in.fault(faultPeers, in.cfg.Unicast && len(in.cfg.Peers) == 0)
}

// fault hands a change of one reason to the machine.
func (in *instance) fault(what string, down bool) {
	if slices.Contains(in.m.Faults(), what) == down {
		return
	}
	if down {
		in.event(vrrp.Down{What: what})
	} else {
		in.event(vrrp.Up{What: what})
	}
}

// event goes through the unit where there is one.
func (in *instance) event(ev vrrp.Event) {
	if in.unit == nil {
		in.apply(in.m.Handle(in.e.now(), ev)...)
		return
	}
	in.unit.handle(in.member, ev)
}

func (in *instance) apply(actions ...vrrp.Action) {
	if len(actions) == 0 { // as after most packets
		return
	}
	if err := vrrp.Apply(context.Background(), in, in.m.Config(), actions); err != nil {
		in.e.warn(err)
	}
}

// received handles one packet for the instance.
func (in *instance) received(d vrrp.Datagram) {
	if s := in.m.State(); s == vrrp.Init || s == vrrp.Fault {
		return
	}
	a, notice, err := in.accept.Accept(d)
	if err != nil {
		in.e.log.Info(fmt.Sprintf("(%s) received an invalid advert from %s: %v", in.name(), d.Src, err))
		in.refused(d.Src, err)
		return
	}
	if notice.Addrs != nil {
		in.complain(d.Src, notice.Addrs)
	}
	in.masterPriority = a.Priority
	in.learn(&a)
	in.heard = vrrp.Received{Advert: a, Src: d.Src}
	in.event(&in.heard)
}

// complain says once per text what is odd about the adverts of a master.
func (in *instance) complain(src netip.Addr, odd error) {
	text := fmt.Sprintf("(%s) advert from %s: %v", in.name(), src, odd)
	if text != in.lastAddrs {
		in.lastAddrs = text
		in.e.log.Info(text)
	}
}

// SendAdvert implements vrrp.Host.
func (in *instance) SendAdvert(_ context.Context, cfg vrrp.Config, priority uint8) error {
	if in.rx == nil || cfg.Source.IsUnspecified() {
		return nil // in FAULT, on the way there
	}
	var err error
	seal := in.accept.Seal()
	if in.cfg.Unicast {
		for _, p := range in.cfg.Peers {
			if !in.e.links.has(p.Addr) { // a file shared by all nodes lists every one
				err = errors.Join(err, in.send(&cfg, priority, p.Addr, seal))
			}
		}
	} else {
		err = in.send(&cfg, priority, in.cfg.Multicast, seal)
	}
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text == in.sendFault {
		return nil
	}
	in.sendFault = text
	return err
}

func (in *instance) send(cfg *vrrp.Config, priority uint8, dst netip.Addr, seal *vrrp.Seal) (err error) {
	a := cfg.Advert(priority, in.cfg.Auth, in.cfg.Password)
	a.Seal = seal
	ttl := vrrp.TTL
	if in.cfg.Unicast && (in.cfg.UnicastTTL >= 0 || in.six()) {
		ttl = in.cfg.UnicastTTL
	}
	if in.six() {
		if in.buf, err = a.Append(in.buf[:0], cfg.Source, dst, in.cfg.Checksum); err != nil {
			return err
		}
		index := 0
		if in.via != nil {
			index = in.via.Index
		}
		return in.rx.Send6(in.buf, cfg.Source, dst, index, ttl)
	}
	in.id++
	sequence := uint32(0)
	if a.Auth == vrrp.AuthAH {
		sequence = in.accept.NextSequence()
	}
	in.buf, err = a.AppendIPv4(in.buf[:0], cfg.Source, dst, in.id, uint8(ttl), in.cfg.Checksum, in.cfg.Password, sequence)
	if err != nil {
		return err
	}
	return in.rx.Send4(in.buf, dst)
}

// addresses are all of the instance, the advertised ones first.
func (in *instance) addresses() []config.Address {
	return append(slices.Clone(in.cfg.Addrs), in.cfg.Excluded...)
}

// place is the link an address belongs on, nil if it does not exist.
func (in *instance) place(a config.Address) *netif.Link {
	if name, ok := in.asideOf(a); ok {
		if own := in.aside[name]; own != nil {
			return own.Link
		}
		return nil
	}
	if in.vmac != nil && (a.Interface == "" || a.Interface == in.cfg.Interface) {
		if a.Family() != in.cfg.Family { // it has the hardware address of one family
			return in.base
		}
		return in.link
	}
	if a.Interface != "" {
		return in.e.links.named(a.Interface)
	}
	return in.link
}

// AddAddrs implements vrrp.Host.
func (in *instance) AddAddrs(_ context.Context, _ vrrp.Config) error {
	in.e.log.Debug(fmt.Sprintf("(%s) setting VIPs.", in.name()))
	if in.cfg.PromoteSecondaries && in.link != nil {
		in.setting("ipv4", in.link.Name, "promote_secondaries", "1")
	}
	var errs []error
	for _, a := range in.addresses() {
		errs = append(errs, in.add(a))
	}
	for _, r := range in.cfg.Routes {
		errs = append(errs, in.addRoute(r))
	}
	for _, r := range in.cfg.Rules {
		errs = append(errs, in.addRule(r))
	}
	in.armExtra()
	return errors.Join(errs...)
}

func (in *instance) addRoute(r config.Route) error {
	err := in.e.host.AddRoute(in.route(r), in.e.links.index)
	in.routed[routeLine(r)] = err == nil
	return err
}

func (in *instance) addRule(r config.Rule) error {
	err := in.e.host.AddRule(r)
	in.routed[ruleLine(r)] = err == nil
	return err
}

// armExtra begins to announce on further links, where garp_extra_if asks for it.
func (in *instance) armExtra() {
	if in.e.loop.Stop(&in.extra); in.cfg.GARPExtra > 0 {
		in.e.loop.Arm(&in.extra, in.cfg.GARPExtra)
	}
}

// announceExtra reminds the switches of links that no advertisement passes: one
// announcement on each link that has addresses of the instance. Without "all" those
// of virtual routers alone, whose hardware address nothing else may be sent from.
func (in *instance) announceExtra() {
	done := map[int]bool{}
	for _, a := range in.addresses() {
		link := in.place(a)
		if link == nil || !link.Ethernet || done[link.Index] || in.via != nil && link.Index == in.via.Index || !in.cfg.GARPExtraAll && link.Kind != netif.KindVMAC {
			continue
		}
		done[link.Index] = true
		in.e.announce(link, a.Prefix.Addr())
	}
	in.armExtra()
}

func (in *instance) add(a config.Address) error {
	link := in.place(a)
	if link == nil {
		return fmt.Errorf("add address %s: no interface %s", a.Prefix, a.Interface)
	}
	var guard error
	if in.cfg.NoAccept && in.e.guard != nil { // before the address: not one packet is let in
		guard = in.e.guard.Add(a.Prefix.Addr(), guardedAt(link))
	}
	in.held[heldKey{link.Index, a.Prefix.Addr()}] = a
	return errors.Join(guard, in.e.host.AddAddr(link.Index, a))
}

func guardedAt(link *netif.Link) firewall.Link {
	return firewall.Link{Index: link.Index, Name: link.Name}
}

// DelAddrs implements vrrp.Host.
func (in *instance) DelAddrs(_ context.Context, _ vrrp.Config) error {
	in.e.log.Debug(fmt.Sprintf("(%s) removing VIPs.", in.name()))
	var errs []error
	for _, r := range slices.Backward(in.cfg.Rules) {
		errs = append(errs, in.e.host.DelRule(r))
	}
	for _, r := range slices.Backward(in.cfg.Routes) {
		errs = append(errs, in.e.host.DelRoute(in.route(r), in.e.links.index))
	}
	clear(in.routed)
	for _, a := range slices.Backward(in.addresses()) {
		if link := in.place(a); link != nil {
			errs = append(errs, in.del(link.Index, a))
		}
	}
	in.restore()
	in.e.loop.Stop(&in.extra)
	return errors.Join(errs...)
}

// del forgets the address first: the kernel's report of it is no news then.
func (in *instance) del(link int, a config.Address) error {
	delete(in.held, heldKey{link, a.Prefix.Addr()})
	err := in.e.host.DelAddr(link, a)
	if in.e.guard != nil {
		err = errors.Join(err, in.e.guard.Del(a.Prefix.Addr(), link))
	}
	return err
}

// clean removes what a dead process has left, also on a link of its own that the
// configuration of today has no more.
func (in *instance) clean(ctx context.Context) {
	in.e.warn(in.DelAddrs(ctx, in.cfg.Machine))
	for index, list := range in.e.links.addrs {
		link := in.e.links.byIndex[index]
		if link == nil || in.base == nil || link.Kind != netif.KindVMAC || link.Parent != in.base.Index {
			continue
		}
		for _, a := range in.addresses() {
			if slices.ContainsFunc(list, func(x netif.Addr) bool { return x.Prefix.Addr() == a.Prefix.Addr() }) {
				in.e.warn(in.e.host.DelAddr(index, a))
			}
		}
	}
}

// gone is the end of the instance.
func (in *instance) gone(context.Context) {
	in.restore()
	in.e.loop.Stop(&in.extra)
	in.drain()
	in.detach()
	if !in.e.opts.KeepAddresses {
		in.delOwns()
	}
}

// route has the instance's link where a route needs one.
func (in *instance) route(r config.Route) config.Route {
	if r.Interface == "" && !r.Via.IsValid() && len(r.NextHops) == 0 && r.Type == "unicast" {
		r.Interface = in.cfg.Interface
		if in.link != nil {
			r.Interface = in.link.Name
		}
	}
	return r
}

func (in *instance) setting(family, link, key, value string) {
	old, err := netif.Sysctl(family, link, key, value)
	if err != nil {
		in.e.warn(fmt.Errorf("(%s) %s of %s: %w", in.name(), key, link, err))
		return
	}
	path := family + " " + link + " " + key
	if _, ok := in.oldSettings[path]; !ok {
		in.oldSettings[path] = old
	}
}

func (in *instance) restore() {
	for path, old := range in.oldSettings {
		var family, link, key string
		if _, err := fmt.Sscan(path, &family, &link, &key); err == nil {
			if _, err := netif.Sysctl(family, link, key, old); err != nil {
				in.e.warn(fmt.Errorf("(%s) restore %s of %s: %w", in.name(), key, link, err))
			}
		}
	}
	clear(in.oldSettings)
}

// Announce implements vrrp.Host: rounds outer, addresses inner.
func (in *instance) Announce(_ context.Context, _ vrrp.Config, rounds int) error {
	for range rounds {
		for _, a := range in.addresses() {
			if link := in.place(a); link != nil && link.Ethernet {
				in.e.announce(link, a.Prefix.Addr())
			}
		}
	}
	return nil
}
