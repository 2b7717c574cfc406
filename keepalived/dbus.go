// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"syscall"

	"github.com/lvs-fnat/lvs/internal/busapi"
	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/vrrp"
)

// requestLimit is how many requests of the bus may wait.
const requestLimit = 16

// openBus appears on D-Bus. A host without one gets a line in the log.
func (r *routers) openBus(context.Context) error {
	d := &r.cfg.Global.DBus
	if !d.Enable {
		return nil
	}
	r.requests = make(chan busapi.Request, requestLimit)
	bus, err := busapi.Open(busapi.Options{
		Name: d.ServiceName, NoInterface: d.NoInterfaceName,
		Ask: func(q busapi.Request) {
			select {
			case r.requests <- q:
			default: // as many wait as make sense
			}
		},
		SendGARP: r.busGARP,
	})
	if err != nil {
		r.warn(err)
		return nil
	}
	r.log.Info(fmt.Sprintf("Acquired DBus bus %s", orDefault(d.ServiceName, busapi.DefaultName)))
	r.bus = bus
	return nil
}

func (r *routers) closeBus(context.Context) error {
	if r.bus == nil {
		return nil
	}
	defer r.log.Info("Released DBus")
	return r.bus.Close()
}

// busFollow has the instances of a configuration on the bus.
func (r *routers) busFollow(cfg *config.Config) {
	if r.bus == nil {
		return
	}
	var list []busapi.Instance
	for i := range cfg.VRRP.Instances {
		in := &cfg.VRRP.Instances[i]
		list = append(list, busapi.Instance{Name: in.Machine.Name, Interface: in.Interface, VRID: in.Machine.VRID, IPv6: in.Family == config.IPv6})
	}
	r.warn(r.bus.Set(list))
}

// busChanged tells a state on the bus.
func (r *routers) busChanged(name string, state vrrp.State) {
	if r.bus != nil {
		r.bus.Changed(name, busapi.State(state))
	}
}

func (r *routers) busGARP(instance string) {
	r.log.Info(fmt.Sprintf("Sending garps on %s on DBus request", instance))
	r.engine.Announce(instance)
}

// answer does what the bus asks for.
func (r *routers) answer(ctx context.Context, q busapi.Request) {
	switch q {
	case busapi.ReloadConfig: // of all processes, as by a user's signal to the parent
		r.warn(syscall.Kill(os.Getppid(), syscall.SIGHUP))
	case busapi.PrintData:
		r.warn(r.dump(ctx, syscall.SIGUSR1))
	case busapi.PrintStats:
		r.warn(r.dump(ctx, syscall.SIGUSR2))
	case busapi.PrintStatsClear:
		r.warn(r.dump(ctx, signalClear))
	}
}
