// SPDX-License-Identifier: Apache-2.0

package director

import (
	"fmt"
	"strings"

	"github.com/lvs-fnat/lvs/healthcheck"
	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/firewall"
	"github.com/lvs-fnat/lvs/ipvs"
)

// Plan is what taking over a configuration would do.
type Plan struct {
	Ops              []ipvs.Op
	Marks            []string // commands of nft(8)
	Started, Stopped []*healthcheck.Target
	Retimed          []*healthcheck.Target // kept, with another timing
	Kept             int                   // checks that go on as they are
}

// Preview returns a director for a configuration as it would be right after a
// reload, and what would become of the checks. status are the states of the
// checks of d. d may be nil: then it is a start, which finds the marks that are left.
func (d *Director) Preview(cfg *config.Config, status []healthcheck.Status, left []firewall.Mark) (next *Director, p Plan) {
	was := map[any]int{}
	var old []*healthcheck.Target
	if d != nil {
		next, _ = d.Reload(cfg)
		old = d.targets
	} else {
		next = New(cfg)
		next.Adopt(left)
	}
	for i := range old {
		was[old[i].Key()] = i
	}
	states := make([]healthcheck.Status, len(next.targets))
	seen := map[any]bool{}
	for i := range next.targets {
		t := next.targets[i]
		key := t.Key()
		k, known := was[key]
		if states[i] = (healthcheck.Status{Up: !t.Spec.Timing.Alpha}); known {
			states[i] = status[k]
		}
		switch {
		case seen[key]:
		case !known:
			p.Started = append(p.Started, t)
		case old[k].Spec.Timing != t.Spec.Timing:
			p.Retimed = append(p.Retimed, t)
		default:
			p.Kept++
		}
		seen[key] = true
	}
	for i := range old {
		if key := old[i].Key(); !seen[key] {
			seen[key] = true
			p.Stopped = append(p.Stopped, old[i])
		}
	}
	next.Observe(states)
	return next, p
}

// Nothing tells whether the plan changes nothing.
func (p *Plan) Nothing() bool {
	return len(p.Ops)+len(p.Marks)+len(p.Started)+len(p.Stopped)+len(p.Retimed) == 0
}

// String writes an ipvsadm line per operation, a line per check that starts,
// stops or gets another timing, and one with their number.
func (p *Plan) String() string {
	var b strings.Builder
	for _, op := range p.Ops {
		fmt.Fprintf(&b, "ipvsadm %s\n", op)
	}
	for _, l := range p.Marks {
		fmt.Fprintf(&b, "%s\n", l)
	}
	for _, l := range []struct {
		verb    string
		targets []*healthcheck.Target
	}{{"start", p.Started}, {"stop", p.Stopped}, {"retime", p.Retimed}} {
		for _, t := range l.targets {
			fmt.Fprintf(&b, "%s %s of %s in VS %s\n", l.verb, t.Spec.Kind, t.Server, t.Service)
		}
	}
	fmt.Fprintf(&b, "checks: %d started, %d stopped, %d with another timing, %d kept\n",
		len(p.Started), len(p.Stopped), len(p.Retimed), p.Kept)
	return b.String()
}
