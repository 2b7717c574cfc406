// SPDX-License-Identifier: Apache-2.0

package director

import (
	"fmt"

	"github.com/lvs-fnat/lvs/internal/config"
)

// The lines of this file are keepalived's, word for word where its users'
// scripts look for them.

// Notice is something that happened: a line to log and a command to run, in
// that order. Either may be empty.
type Notice struct {
	Text   string
	Script config.Script
}

func (v *virtual) serverName(rs *config.RealServer) string {
	return fmt.Sprintf("[%s]:%s:%d", rs.Addr.Addr(), v.cfg.Protocol, rs.Addr.Port())
}

// pick says the word for a server that stays in the table with weight 0, or
// that for one that comes and goes.
func pick(inhibit bool, stays, comes string) string {
	if inhibit {
		return stays
	}
	return comes
}

func (v *virtual) msgUp(s *server) string {
	return fmt.Sprintf("%s service %s to VS %s", pick(s.cfg.InhibitOnFailure, "Enabling", "Adding"), v.serverName(s.cfg), v.cfg.Name)
}

func (v *virtual) msgDown(s *server) string {
	return fmt.Sprintf("%s service %s from VS %s", pick(s.cfg.InhibitOnFailure, "Disabling", "Removing"), v.serverName(s.cfg), v.cfg.Name)
}

func (v *virtual) msgSorryIn() string {
	return fmt.Sprintf("%s sorry server %s to VS %s", pick(v.cfg.SorryServerInhibit, "Enabling", "Adding"), v.serverName(v.cfg.SorryServer), v.cfg.Name)
}

func (v *virtual) msgSorryOut() string {
	return fmt.Sprintf("%s sorry server %s from VS %s", pick(v.cfg.SorryServerInhibit, "Disabling", "Removing"), v.serverName(v.cfg.SorryServer), v.cfg.Name)
}

func (v *virtual) msgGained(weight int) string {
	return fmt.Sprintf("Gained quorum %d+%d=%d <= %d for VS %s", v.cfg.Quorum, v.cfg.Hysteresis, v.cfg.Quorum+v.cfg.Hysteresis, weight, v.cfg.Name)
}

func (v *virtual) msgLost(weight int) string {
	return fmt.Sprintf("Lost quorum %d-%d=%d > %d for VS %s", v.cfg.Quorum, v.cfg.Hysteresis, v.cfg.Quorum-v.cfg.Hysteresis, weight, v.cfg.Name)
}

func (v *virtual) msgWeight(s *server, from int) string {
	return fmt.Sprintf("Changing weight from %d to %d for %s service %s of VS %s", from, s.weight(),
		pick(s.alive, "active", "inactive"), v.serverName(s.cfg), v.cfg.Name)
}

func (v *virtual) msgServerGone(s *server) string {
	return fmt.Sprintf("service %s no longer exist", v.serverName(s.cfg))
}

func (v *virtual) msgShutdown(s *server) string {
	return fmt.Sprintf("Shutting down service %s from VS %s", v.serverName(s.cfg), v.cfg.Name)
}

func (v *virtual) msgGone() string {
	return fmt.Sprintf("Virtual server %s no longer exist", v.cfg.Name)
}
