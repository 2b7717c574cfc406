// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/lvs-fnat/lvs/internal/netif"
	"github.com/lvs-fnat/lvs/internal/poll"
	"github.com/lvs-fnat/lvs/vrrp"
)

// announceQueue holds back the announcements of one link whose gap is not over.
type announceQueue struct {
	e       *Engine
	link    int
	waiting []netip.Addr
	free    time.Time // when the next one may go
	timer   poll.Timer
}

// gap is what has to lie between two announcements on a link.
func (e *Engine) gap(link *netif.Link, six bool) time.Duration {
	g := &e.cfg.Global.VRRP
	both := map[bool]time.Duration{false: g.GARPInterval, true: g.GNAInterval}
	if own, ok := g.LinkIntervals[link.Name]; ok {
		both = map[bool]time.Duration{false: own.GARP, true: own.GNA}
	}
	return both[six]
}

// announce sends at once, or when those before have had their gap. An address that
// waits already stays where it is: the repeats of one must not keep the others waiting.
func (e *Engine) announce(link *netif.Link, addr netip.Addr) {
	q := e.queues[link.Index]
	if q == nil {
		q = &announceQueue{e: e, link: link.Index}
		q.timer.E = q
		e.queues[link.Index] = q
	}
	if slices.Contains(q.waiting, addr) {
		return
	}
	q.waiting = append(q.waiting, addr)
	if !q.timer.Armed() {
		q.Expire()
	}
}

// Expire sends what may go now.
func (q *announceQueue) Expire() {
	for len(q.waiting) > 0 {
		now := time.Now()
		if now.Before(q.free) {
			q.e.loop.Arm(&q.timer, q.free.Sub(now))
			return
		}
		addr := q.waiting[0]
		q.waiting = q.waiting[1:]
		link := q.e.links.byIndex[q.link]
		if link == nil || !q.e.announced(q.link, addr) {
			continue // the link or the address went while it waited
		}
		q.free = now.Add(q.e.gap(link, addr.Is6()))
		q.e.log.Debug(fmt.Sprintf("Sending %s on %s for %s", map[bool]string{false: "gratuitous ARP", true: "unsolicited neighbour advert"}[addr.Is6()], link.Name, addr))
		q.e.warn(q.e.ann.Announce(link, addr, q.e.links.forwards(link)))
	}
	q.waiting = nil
}

// Announce has the instance announce its addresses again, if it is a master. It
// may be called from any goroutine, and does not wait.
func (e *Engine) Announce(name string) {
	e.loop.Post(func() {
		if in := e.byName[name]; in != nil && in.m.State() == vrrp.Master {
			e.warn(in.Announce(context.Background(), in.m.Config(), max(1, in.cfg.Machine.GARPMasterRepeat)))
		}
	})
}

// announced tells whether some master of ours holds addr on that link.
func (e *Engine) announced(link int, addr netip.Addr) bool {
	for _, in := range e.byName {
		if _, ok := in.held[heldKey{link, addr}]; ok {
			return true
		}
	}
	return false
}
