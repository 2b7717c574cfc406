// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"context"
	"reflect"
	"slices"
	"time"

	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/vrrp"
)

// Reload takes over a new configuration while the routers run: an instance that
// has the same virtual router id, family and interface as before keeps its
// state. On an error, a *ConfigError where cfg is to blame, nothing has changed.
func (e *Engine) Reload(ctx context.Context, cfg *config.Config) error {
	return e.Do(ctx, func() error { return e.reload(ctx, cfg) })
}

func (e *Engine) reload(ctx context.Context, cfg *config.Config) error {
	if err := e.check(cfg); err != nil {
		return err
	}
	if err := e.tryMachines(cfg); err != nil {
		return err
	}
	if cfg.Global.VRRP.DisableLocalIGMP != e.cfg.Global.VRRP.DisableLocalIGMP {
		return &ConfigError{[]string{"Cannot change disable_local_igmp at a reload - please restart keepalived"}}
	}
	e.opts.Adopt(cfg)
	old, before := e.cfg, slices.Clone(e.instances())
	for _, u := range e.units {
		e.loop.Stop(&u.timer)
		if u.group != nil {
			u.group.Release()
		}
		for _, in := range u.members {
			in.unit = nil
		}
	}
	match := map[*config.Instance]*instance{}
	for i := range cfg.VRRP.Instances {
		c := &cfg.VRRP.Instances[i]
		if k := slices.IndexFunc(before, func(in *instance) bool { return in.is(c) }); k >= 0 {
			match[c] = before[k]
			before = slices.Delete(before, k, k+1)
		}
	}
	// First what goes: an address may move to another instance.
	e.drainUntil = time.Now().Add(drainAtReload)
	for _, in := range before {
		in.remove(ctx)
	}
	e.use(cfg)
	e.guardFor(cfg)
	e.byName = map[string]*instance{}
	for i := range cfg.VRRP.Instances {
		c := &cfg.VRRP.Instances[i]
		in := match[c]
		if in == nil {
			var err error
			if in, err = e.newInstance(c); err != nil {
				return err // tryMachines has made the same machine
			}
			in.clean(ctx)
			continue
		}
		e.byName[c.Machine.Name] = in
		if err := in.reconfigure(c); err != nil {
			return err
		}
	}
	for _, s := range e.sockets {
		s.resize()
	}
	e.warn(e.bufferCommands(cfg))
	if err := e.regroup(); err != nil {
		return err
	}
	e.static(ctx, old.VRRP.Static, cfg.VRRP.Static)
	e.tracks.build(e, cfg)
	e.trackStatic()
	e.beats.follow(e)
	for _, u := range e.units {
		u.start()
		u.arm()
	}
	if cfg.Global.FIFOs.VRRPStatesOnReload {
		for _, in := range e.instances() {
			e.opts.Tell(Notice{FIFO: fifoLine(kindInstance, in.name(), in.m.State().String(), in.m.Priority())})
		}
	}
	return nil
}

// tryMachines makes the machines of cfg and throws them away: what can be
// refused is refused before anything changes.
func (e *Engine) tryMachines(cfg *config.Config) error {
	var errs []string
	for i := range cfg.VRRP.Instances {
		c := cfg.VRRP.Instances[i].Machine
		c.Source = cfg.VRRP.Instances[i].SourceAddr
		if !c.Source.IsValid() {
			c.Source = unspecified(cfg.VRRP.Instances[i].Family == config.IPv6)
		}
		if _, err := vrrp.New(c); err != nil {
			errs = append(errs, err.Error())
		}
	}
	if len(errs) > 0 {
		return &ConfigError{errs}
	}
	return nil
}

// is tells whether c is the same virtual router.
func (in *instance) is(c *config.Instance) bool {
	o := in.cfg
	return o.Machine.VRID == c.Machine.VRID && o.Family == c.Family && o.Interface == c.Interface &&
		(o.Interface != "" || o.SourceAddr == c.SourceAddr) && reflect.DeepEqual(o.VMAC, c.VMAC) && o.AddrVMAC == c.AddrVMAC
}

// remove ends an instance that the file no longer has.
func (in *instance) remove(ctx context.Context) {
	if in.m.State() != vrrp.Init {
		state := in.m.State()
		var acts []vrrp.Action
		for _, a := range in.m.Handle(in.e.now(), vrrp.Stop{}) {
			if a.Kind != vrrp.NotifyStop {
				acts = append(acts, a)
			}
		}
		in.apply(acts...)
		n := &in.cfg.Notify
		if n.Deleted.Command != "" {
			in.e.tell(n, kindInstance, in.name(), stateDeleted, in.m.Priority())
		} else if state != vrrp.Fault {
			in.e.tell(n, kindInstance, in.name(), vrrp.Fault.String(), in.m.Priority())
		}
	}
	in.gone(ctx)
}

// reconfigure goes from the old to the new configuration in the present state.
func (in *instance) reconfigure(c *config.Instance) error {
	old, master := in.cfg, in.m.State() == vrrp.Master
	gone := func(list []config.Address, a config.Address) bool { return !has(list, a) }
	next := append(slices.Clone(c.Addrs), c.Excluded...)
	was := in.addresses()
	if master {
		for _, r := range slices.Backward(old.Rules) {
			if !has(c.Rules, r) {
				in.e.warn(in.e.host.DelRule(r))
			}
		}
		for _, r := range slices.Backward(old.Routes) {
			if !has(c.Routes, r) {
				in.e.warn(in.e.host.DelRoute(in.route(r), in.e.links.index))
			}
		}
		for _, a := range slices.Backward(was) {
			if link := in.place(a); link != nil && gone(next, a) {
				in.e.log.Info("(" + c.Machine.Name + ") ip address " + a.Prefix.String() + " no longer exists")
				in.e.warn(in.del(link.Index, a))
			}
		}
	}
	in.set(c)
	in.addAside() // what is no longer wanted goes
	for own := range in.ownLinks() {
		in.settle(own)
		if own.up {
			in.e.divert(in, own)
		}
	}
	in.vmacSource()
	in.raise()
	if old.Auth != c.Auth || old.Unicast != c.Unicast || old.Multicast != c.Multicast || old.RxBufSize != c.RxBufSize || in.rx == nil {
		in.attach()
	}
	actions, err := in.m.Reconfigure(in.e.now(), in.machineConfig())
	if err != nil {
		return err
	}
	in.apply(actions...)
	if master && in.e.guard != nil && old.NoAccept != c.NoAccept {
		for _, a := range next {
			switch link := in.place(a); {
			case link == nil:
			case c.NoAccept:
				in.e.warn(in.e.guard.Add(a.Prefix.Addr(), guardedAt(link)))
			default:
				in.e.warn(in.e.guard.Del(a.Prefix.Addr(), link.Index))
			}
		}
	}
	if master {
		in.armExtra()
		for _, a := range next {
			if !gone(was, a) {
				continue
			}
			in.e.warn(in.add(a))
			for range max(1, c.Machine.GARPMasterRepeat) {
				if link := in.place(a); link != nil && link.Ethernet {
					in.e.announce(link, a.Prefix.Addr())
				}
			}
		}
		for _, r := range c.Routes {
			if !has(old.Routes, r) {
				in.e.warn(in.addRoute(r))
			}
		}
		for _, r := range c.Rules {
			if !has(old.Rules, r) {
				in.e.warn(in.addRule(r))
			}
		}
	}
	in.assess()
	return nil
}
