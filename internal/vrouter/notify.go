// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/vrrp"
)

// Notice is something that the outside is to be told. Fields that do not apply
// are zero.
type Notice struct {
	Scripts []Call
	FIFO    string // a line of the notify FIFOs, with its end
	Subject string // of a mail, without the name of the router
	Body    string
}

// Call is a script with further arguments.
type Call struct {
	Script config.Script
	Args   []string
}

// Notify implements vrrp.Host.
func (in *instance) Notify(_ context.Context, cfg vrrp.Config, a vrrp.Action) error {
	n := &in.cfg.Notify
	switch a.Kind {
	case vrrp.Log:
		in.e.log.Info(a.Text)
	case vrrp.Notify:
		in.changed = time.Now()
		in.entered(a.State)
		in.e.opts.Changed(in.name(), in.cfg.Machine.VRID, a.State)
		in.trapInstance(int(a.State))
		in.e.tell(n, kindInstance, in.name(), a.State.String(), in.m.Priority())
	case vrrp.NotifyStop:
		in.trapInstance(trapStop)
		in.e.tell(n, kindInstance, in.name(), stateStop, in.m.Priority())
	case vrrp.NotifyLowerPrio:
		// One line per advertisement would fill the pipes of those who never asked.
		if n.RxLowerPrio.Command != "" {
			in.e.opts.Tell(Notice{
				Scripts: []Call{{Script: n.RxLowerPrio}},
				FIFO:    fifoLine(kindInstance, in.name(), "MASTER_RX_LOWER_PRI", in.m.Priority()),
			})
		}
	case vrrp.NotifyPriority:
		if s := in.m.State(); n.PriorityChanges && (s == vrrp.Master || s == vrrp.Backup) {
			// Scripts hear nothing of it: keepalived 2.2.7 tells FIFOs only.
			in.e.opts.Tell(Notice{FIFO: fifoLine(kindInstance, in.name(), s.String()+"_PRIORITY", a.Priority)})
		}
	}
	return nil
}

// Words of scripts and FIFO lines.
const (
	kindInstance = "INSTANCE"
	kindGroup    = "GROUP"
	stateStop    = "STOP"
	stateDeleted = "DELETED"
)

func fifoLine(kind, name, state string, priority uint8) string {
	return fmt.Sprintf("%s \"%s\" %s %d\n", kind, name, state, priority)
}

// notice has the script of the state, the one of all states, and the line.
func notice(n *config.Notify, own config.Script, kind, name, state string, priority uint8) Notice {
	return Notice{
		Scripts: []Call{{Script: own}, {Script: n.Any, Args: []string{kind, name, state, strconv.Itoa(int(priority))}}},
		FIFO:    fifoLine(kind, name, state, priority),
	}
}

// notifyGroup tells the state of a group, whose priority is 0 by convention.
func (e *Engine) notifyGroup(u *unit, state string) {
	e.tell(&u.cfg.Notify, kindGroup, u.name, state, 0)
}

// tell says that an instance or a group has a new state.
func (e *Engine) tell(n *config.Notify, kind, name, state string, priority uint8) {
	own := map[string]config.Script{"MASTER": n.Master, "BACKUP": n.Backup, "FAULT": n.Fault, stateStop: n.Stop, stateDeleted: n.Deleted}[state]
	out := notice(n, own, kind, name, state, priority)
	// Of the end of the program there is no mail: nobody would be left to try again.
	if n.SMTPAlert && state != stateStop && !(state == "FAULT" && e.cfg.Global.Mail.NoFaults) {
		out.Subject, out.Body = mail(kind, name, state)
	}
	e.opts.Tell(out)
}

// mail has the original's words: filters of mailboxes match them.
func mail(kind, name, state string) (subject, body string) {
	title, body := "Instance", "VRRP Instance is no longer owning VRRP VIPs"
	switch {
	case kind == kindGroup:
		title, body = "Group", fmt.Sprintf("All VRRP group instances are now in %s state", state)
	case state == "MASTER":
		body = "VRRP Instance is now owning VRRP VIPs"
	}
	return fmt.Sprintf("VRRP %s %s - Entering %s state", title, name, state), "=> " + body + " <=\n"
}
