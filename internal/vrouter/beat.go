// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"fmt"
	"time"

	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/netif"
	"github.com/lvs-fnat/lvs/internal/poll"
)

// beatInterval is how often drivers are asked (linkbeat).
const beatInterval = time.Second

// beats asks the drivers of links for their state, where the file says that netlink
// does not tell. Asking takes microseconds, so the loop does it itself.
type beats struct {
	e      *Engine
	ask    func(link string, method config.BeatMethod) (up bool, used config.BeatMethod, err error)
	method map[string]config.BeatMethod // of the links that are asked, by name
	failed map[string]string            // what was said of those that do not answer
	timer  poll.Timer
}

// follow takes over the configuration and the links that there are.
func (b *beats) follow(e *Engine) {
	b.e, b.timer.E = e, b
	old := b.method
	b.method = map[string]config.BeatMethod{}
	for _, x := range e.links.byIndex {
		if m, ok := e.cfg.VRRP.Beat(x.Name); ok && !x.Loopback && x.Kind != netif.KindVMAC {
			if used, asked := old[x.Name]; asked && m == 0 {
				m = used // as found before
			}
			b.method[x.Name] = m
		}
	}
	for index := range e.links.dead {
		if x := e.links.byIndex[index]; x == nil {
			delete(e.links.dead, index)
		} else if _, asked := b.method[x.Name]; !asked {
			b.believe(index, x.Name, true)
		}
	}
	if b.failed == nil {
		b.failed = map[string]string{}
	}
	switch {
	case len(b.method) == 0:
		e.loop.Stop(&b.timer)
	case !b.timer.Armed():
		b.Expire()
	}
}

// Expire asks for all.
func (b *beats) Expire() {
	b.e.loop.Arm(&b.timer, beatInterval)
	for name, m := range b.method {
		x := b.e.links.named(name)
		if x == nil {
			continue
		}
		up, used, err := b.ask(name, m)
		text := ""
		if err != nil {
			// Netlink's word stands.
			up, text = true, err.Error()
		}
		if text != b.failed[name] {
			if b.failed[name] = text; text != "" {
				b.e.log.Warn(fmt.Sprintf("linkbeat of %s: %s", name, text))
			}
		}
		if err == nil && used != m {
			b.e.log.Info(fmt.Sprintf("linkbeat of %s: using %v", name, used))
			b.method[name] = used
		}
		b.believe(x.Index, name, up)
	}
}

// believe takes over an answer.
func (b *beats) believe(index int, name string, up bool) {
	e := b.e
	if e.links.dead[index] == !up {
		return
	}
	if up {
		delete(e.links.dead, index)
	} else {
		e.links.dead[index] = true
	}
	if x := e.links.byIndex[index]; x == nil || !x.Up {
		return // netlink has said so already
	}
	e.log.Info(fmt.Sprintf("Linkbeat reports %s %s", name, map[bool]string{true: "up", false: "down"}[up]))
	for _, in := range e.instances() {
		if in.base != nil && in.base.Index == index || in.vmac != nil && in.vmac.Index == index {
			in.assess()
		}
	}
	e.tracks.link(name)
}

// polled tells whether the link of that name is asked.
func (b *beats) polled(name string) bool {
	_, ok := b.method[name]
	return ok
}
