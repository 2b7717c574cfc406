// SPDX-License-Identifier: Apache-2.0

package director

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/lvs-fnat/lvs/healthcheck"
	"github.com/lvs-fnat/lvs/internal/agentx"
	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/ipvs"
)

// The lines of this file are keepalived's, word for word where its users'
// scripts look for them.

// Notice is something that happened: a line to log, a command to run, a line for
// the FIFOs, a mail, and an event, in that order. Each may be empty.
type Notice struct {
	Text   string
	Script config.Script
	FIFO   string
	Mail   Mail
	Trap   agentx.Trap
	// Drop selects connections to end once the tables are changed.
	Drop []ipvs.ConnFilter
}

// Mail is an alert; without Subject there is none.
type Mail struct{ Subject, Body string }

// name is v in the lines of the log and of FIFOs, and in subjects of mails.
func (v *virtual) name() string {
	if v.cfg.Group != "" {
		return fmt.Sprintf("[%s]:0", v.cfg.Group)
	}
	return v.cfg.Name
}

// state is the word of FIFOs and mails.
func state(up bool) string {
	if up {
		return "UP"
	}
	return "DOWN"
}

// The original ends these lines with a NUL behind the line break; readers count
// on it or skip it.
func (v *virtual) fifoQuorum(up bool) string {
	return "VS " + v.name() + " " + state(up) + "\n\x00"
}

func (v *virtual) fifoServer(s *server, up bool) string {
	return "RS " + v.serverName(s.cfg) + " " + v.name() + " " + state(up) + "\n\x00"
}

// mailQuorum tells of a quorum. Its subject names the service, its body does not.
func (d *Director) mailQuorum(v *virtual, up bool, text string) Mail {
	if !v.cfg.SMTPAlert {
		return Mail{}
	}
	text, _, _ = strings.Cut(text, " for VS ")
	return Mail{fmt.Sprintf("[%s] Virtualserver %s - %s", d.name, v.name(), state(up)), "=> " + text + " <="}
}

// mailServer tells of a server, or of one of its checks alone; kind is the check
// that decided, empty if none has. The subject is about the server: it can be down while
// a check of it succeeds.
func (d *Director) mailServer(v *virtual, s *server, up bool, kind healthcheck.Kind) Mail {
	if !s.cfg.SMTPAlert {
		return Mail{}
	}
	return Mail{d.subject(v, s, s.alive), "=> " + mailBody(kind, up) + " <="}
}

// mailRemoved tells of a server that was up and that a reload has taken away.
func (d *Director) mailRemoved(v *virtual, s *server) Mail {
	if !s.cfg.SMTPAlert {
		return Mail{}
	}
	return Mail{d.subject(v, s, false), "=> Removing <="}
}

func (d *Director) subject(v *virtual, s *server, up bool) string {
	return fmt.Sprintf("[%s] Realserver %s of virtual server %s - %s", d.name, v.serverName(s.cfg), v.name(), state(up))
}

func mailBody(kind healthcheck.Kind, up bool) string {
	what := map[bool]string{true: "succeed", false: "failed"}[up]
	switch kind {
	case 0:
		return "CHECK " + what + " on service"
	case healthcheck.HTTPGet, healthcheck.SSLGet, healthcheck.SMTPCheck:
		if up {
			return "CHECK succeed on service"
		}
		protocol := "HTTP"
		if kind == healthcheck.SMTPCheck {
			protocol = "SMTP"
		}
		return "CHECK failed on service : " + protocol + " request failed"
	case healthcheck.DNSCheck:
		return "DNS_CHECK: " + what + " on service"
	case healthcheck.PingCheck:
		return "ICMP CHECK " + what + " on service"
	case healthcheck.MiscCheck:
		return "MISC CHECK " + strings.Replace(what, "succeed", "succeeded", 1) + " on service"
	}
	return strings.ReplaceAll(kind.String(), "_", " ") + " " + what + " on service"
}

func (v *virtual) serverName(rs *config.RealServer) string {
	return config.NameOf(rs.Addr, v.cfg.Protocol)
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
	return fmt.Sprintf(pick(s.cfg.InhibitOnFailure, "Enabling service %s of VS %s", "Adding service %s to VS %s"), v.serverName(s.cfg), v.name())
}

func (v *virtual) msgDown(s *server) string {
	return fmt.Sprintf(pick(s.cfg.InhibitOnFailure, "Disabling service %s of VS %s", "Removing service %s from VS %s"), v.serverName(s.cfg), v.name())
}

func (v *virtual) msgTurn(s *server) string {
	if s.alive {
		return v.msgUp(s)
	}
	return v.msgDown(s)
}

func (v *virtual) msgSorryIn() string {
	return fmt.Sprintf("%s sorry server %s to VS %s", pick(v.cfg.SorryServerInhibit, "Enabling", "Adding"), v.serverName(v.cfg.SorryServer), v.name())
}

func (v *virtual) msgSorryOut() string {
	return fmt.Sprintf("%s sorry server %s from VS %s", pick(v.cfg.SorryServerInhibit, "Disabling", "Removing"), v.serverName(v.cfg.SorryServer), v.name())
}

func (v *virtual) msgServersOut() string {
	return fmt.Sprintf("Removing alive servers from the pool for VS %s", v.name())
}

func (v *virtual) msgServersIn() string {
	return fmt.Sprintf("Adding alive servers to the pool for VS %s", v.name())
}

// msgBegun is how a service begins: with its quorum, which is a mail only, or with its
// sorry server.
func (v *virtual) msgBegun(weight int) string {
	if v.quorum {
		return "Starting with quorum up" + strings.TrimPrefix(v.msgGained(weight), "Gained quorum")
	}
	return "Starting with quorum down" + strings.TrimPrefix(v.msgLost(weight), "Lost quorum")
}

func (v *virtual) msgGained(weight int) string {
	return fmt.Sprintf("Gained quorum %d+%d=%d <= %d for VS %s", v.cfg.Quorum, v.cfg.Hysteresis, v.cfg.Quorum+v.cfg.Hysteresis, weight, v.name())
}

func (v *virtual) msgLost(weight int) string {
	return fmt.Sprintf("Lost quorum %d-%d=%d > %d for VS %s", v.cfg.Quorum, v.cfg.Hysteresis, v.cfg.Quorum-v.cfg.Hysteresis, weight, v.name())
}

func (v *virtual) msgWeight(s *server, from int) string {
	return fmt.Sprintf("Changing weight from %d to %d for %s service %s of VS %s", from, s.weight(),
		pick(s.alive, "active", "inactive"), v.serverName(s.cfg), v.name())
}

func (v *virtual) msgServerGone(s *server) string {
	return fmt.Sprintf("service %s no longer exist", v.serverName(s.cfg))
}

func (v *virtual) msgShutdown(s *server) string {
	return fmt.Sprintf("Shutting down %sservice %s from VS %s", s.inhibited(), v.serverName(s.cfg), v.name())
}

// inhibited is a word about a server that is down and in the table.
func (s *server) inhibited() string {
	if s.cfg.InhibitOnFailure && !s.alive {
		return "(inhibited) "
	}
	return ""
}

func (v *virtual) msgGone() string {
	return fmt.Sprintf("Removing Virtual Server %s", v.name())
}

func (v *virtual) msgRemoved(s *server) string {
	return fmt.Sprintf("Removing %sservice %s from VS %s", s.inhibited(), v.serverName(s.cfg), v.name())
}

// dropped selects the connections of s, which is down, one filter per endpoint.
func (v *virtual) dropped(s *server) []ipvs.ConnFilter {
	var list []ipvs.ConnFilter
	for _, e := range v.cfg.Endpoints {
		if e.FWMark != 0 {
			continue // any address may have it
		}
		d := wantedDest(s.cfg, e, 0)
		a := e.Addr.Addr()
		list = append(list, ipvs.ConnFilter{
			Family: ipvs.Family(e.Family), Protocol: ipvs.Protocol(v.cfg.Protocol),
			Virtual: netip.PrefixFrom(a, a.BitLen()), VirtualPort: e.Addr.Port(),
			Dest: netip.PrefixFrom(d.Addr, d.Addr.BitLen()), DestPort: d.Port,
		})
	}
	return list
}
