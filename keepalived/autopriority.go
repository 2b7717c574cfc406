// SPDX-License-Identifier: Apache-2.0

package main

import (
	"time"

	"github.com/lvs-fnat/lvs/internal/config"
)

// autoPriority is max_auto_priority: the real-time priority of the routers' process goes
// up by one each time it has been late, and never down.
type autoPriority struct {
	now, max int
	delay    time.Duration // what is late
	limit    time.Duration // vrrp_rlimit_rttime
}

// follow takes over a configuration.
func (a *autoPriority) follow(p *config.Processes) {
	a.now = max(a.now, p.VRRP.RTPriority)
	a.max, a.delay, a.limit = p.MaxAutoPriority, p.MinAutoPriorityDelay, p.VRRP.RTLimit
}

// late tells whether a timer was late, and then which priority to have from now on; 0: the
// present one is the highest.
func (a *autoPriority) late(d time.Duration) (priority int, ok bool) {
	if a.max <= 0 || d <= a.delay {
		return 0, false
	}
	if a.now >= a.max {
		return 0, true
	}
	a.now++
	return a.now, true
}
