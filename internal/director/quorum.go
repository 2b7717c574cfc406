// SPDX-License-Identifier: Apache-2.0

package director

import (
	"slices"

	"github.com/lvs-fnat/lvs/internal/config"
)

// weight is the weight of the servers alive.
func (v *virtual) weight() int {
	sum := 0
	for _, s := range v.servers {
		if s.alive {
			sum += s.weight()
		}
	}
	return sum
}

// vote moves the quorum. It is gained at quorum + hysteresis and lost below
// quorum - hysteresis, or when nothing is left; a virtual server begins
// without.
func (d *Director) vote(v *virtual) []Notice {
	w, first := v.weight(), !v.voted
	v.voted = true
	switch {
	case !v.quorum && w >= v.cfg.Quorum+v.cfg.Hysteresis:
		v.quorum = true
		notices := []Notice{d.turned(v, v.msgGained(w), v.cfg.QuorumUp)}
		if first && v.cfg.SMTPAlert {
			notices[0].Mail = d.mailQuorum(v, true, v.msgBegun(w))
		}
		if v.cfg.SorryServer != nil && !first {
			notices = append(notices, Notice{Text: v.msgSorryOut()}, Notice{Text: v.msgServersIn()})
		}
		return notices
	case v.quorum && (w == 0 || w < v.cfg.Quorum-v.cfg.Hysteresis):
		v.quorum = false
		notices := []Notice{d.turned(v, v.msgLost(w), v.cfg.QuorumDown)}
		if v.cfg.SorryServer != nil {
			notices = append(notices, Notice{Text: v.msgSorryIn()}, Notice{Text: v.msgServersOut()})
		}
		return notices
	case first && v.sorry():
		return []Notice{d.turned(v, v.msgBegun(w), v.cfg.QuorumDown), {Text: v.msgSorryIn()}, {Text: v.msgServersOut()}}
	case first && d.traps() && slices.ContainsFunc(v.cfg.RealServers, func(rs config.RealServer) bool { return rs.Weight > 0 }):
		// Who begins without it says so to nobody else; who can never have it, to nobody.
		return []Notice{{Trap: d.trapQuorum(v, quorumNotMet, v.up())}}
	}
	return nil
}

// turned is the notice about a quorum that has changed.
func (d *Director) turned(v *virtual, text string, script config.Script) Notice {
	n := Notice{Text: text, Script: script, FIFO: v.fifoQuorum(v.quorum), Mail: d.mailQuorum(v, v.quorum, text)}
	if d.traps() {
		status := quorumNotMet
		if v.quorum {
			status = quorumMet
		}
		n.Trap = d.trapQuorum(v, status, v.up())
	}
	return n
}

// sorry tells whether the sorry server stands in for the real servers.
// Without one, the servers that are alive stay, however few.
func (v *virtual) sorry() bool { return !v.quorum && v.cfg.SorryServer != nil }
