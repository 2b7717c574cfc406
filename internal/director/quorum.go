// SPDX-License-Identifier: Apache-2.0

package director

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
func (v *virtual) vote() []Notice {
	w := v.weight()
	switch {
	case !v.quorum && w >= v.cfg.Quorum+v.cfg.Hysteresis:
		v.quorum = true
		notices := []Notice{{v.msgGained(w), v.cfg.QuorumUp}}
		if v.cfg.SorryServer != nil {
			notices = append(notices, Notice{Text: v.msgSorryOut()})
		}
		return notices
	case v.quorum && (w == 0 || w < v.cfg.Quorum-v.cfg.Hysteresis):
		v.quorum = false
		notices := []Notice{{v.msgLost(w), v.cfg.QuorumDown}}
		if v.cfg.SorryServer != nil {
			notices = append(notices, Notice{Text: v.msgSorryIn()})
		}
		return notices
	}
	return nil
}

// sorry tells whether the sorry server stands in for the real servers.
// Without one, the servers that are alive stay, however few.
func (v *virtual) sorry() bool { return !v.quorum && v.cfg.SorryServer != nil }
