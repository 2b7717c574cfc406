// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"syscall"

	"github.com/lvs-fnat/lvs/healthcheck"
	"github.com/lvs-fnat/lvs/internal/agentx"
	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/director"
	"github.com/lvs-fnat/lvs/internal/notify"
)

// policy is what the configuration says about running commands.
func policy(g *config.Global) notify.Policy {
	s := &g.Scripts
	return notify.Policy{User: s.User, Group: s.Group, Security: s.Security, SymlinkPaths: s.SymlinkPaths, SupplementaryGroups: s.SupplementaryGroups}
}

// command is a script of the configuration, ready to run; the error is that of its
// quotes, which loading has found right.
func command(sc config.Script) (notify.Command, error) {
	args, err := sc.Args()
	return notify.Command{Name: sc.Command, Args: args, User: sc.User, Group: sc.Group}, err
}

// judged is command for a script whose end is waited for: some are words of a shell.
func judged(sc config.Script) (notify.Command, error) {
	c, err := command(sc)
	if text, ok := sc.Shell(); ok {
		c.Args = []string{"/bin/sh", "-c", text}
	}
	return c, err
}

// pipe is an open FIFO with the program that reads it.
type pipe struct {
	cfg    config.FIFO
	fifo   *notify.FIFO
	reader *notify.Reader
}

// openPipe opens cfg; read has its script started.
func openPipe(cfg config.FIFO, p notify.Policy, read bool, log *slog.Logger) (*pipe, error) {
	cred, err := p.Credential(cfg.User, cfg.Group)
	if err != nil {
		return nil, fmt.Errorf("notify fifo %s: %w", cfg.Path, err)
	}
	f, err := notify.OpenFIFO(cfg.Path, cred, log)
	if err != nil {
		return nil, err
	}
	o := &pipe{cfg: cfg, fifo: f}
	if cmd, err := command(cfg.Script); err != nil {
		log.Error(err.Error())
	} else if read && len(cmd.Args) > 0 {
		o.reader = notify.StartReader(p, cmd, cfg.Path, log)
	}
	return o, nil
}

// follow opens and closes *at so that it is what cfg says. One that stays, stays
// open: its reader sees no end.
func follow(at **pipe, cfg config.FIFO, p notify.Policy, read bool, log *slog.Logger) {
	if *at != nil && (*at).cfg == cfg {
		return
	}
	(*at).close(true, log)
	*at = nil
	if cfg.Path == "" {
		return
	}
	o, err := openPipe(cfg, p, read, log)
	if err != nil {
		log.Error(err.Error())
		return
	}
	*at = o
}

func (o *pipe) close(remove bool, log *slog.Logger) {
	if o == nil {
		return
	}
	if o.reader != nil {
		o.reader.Close()
	}
	if err := o.fifo.Close(remove); err != nil {
		log.Warn(err.Error())
	}
}

// herald says what has happened to the log, to scripts, to FIFOs and by mail. It
// belongs to one goroutine, but for policy.
type herald struct {
	log     *slog.Logger
	scripts *notify.Scripts
	mailer  *notify.Mailer
	mail    notify.Mail
	router  string // router_id, "" for none
	all     *pipe  // of all children; its reader is the parent's
	own     *pipe  // of this child
	ownOf   func(*config.FIFOs) config.FIFO
	policy  *atomic.Pointer[notify.Policy]
	// trap tells an event by SNMP; of who has notices with one.
	trap func(agentx.Trap)
}

func newHerald(log *slog.Logger, p *atomic.Pointer[notify.Policy], own func(*config.FIFOs) config.FIFO) *herald {
	return &herald{log: log, ownOf: own, scripts: notify.NewScripts(log), mailer: notify.NewMailer(log), policy: p}
}

// follow takes over what a configuration says.
func (h *herald) follow(cfg *config.Config) {
	g := &cfg.Global
	p := policy(g)
	h.policy.Store(&p)
	h.scripts.SetPolicy(p)
	h.router = g.RouterID
	m := &g.Mail
	h.mail = notify.Mail{Server: m.Server, Port: m.Port, From: m.From, To: m.To, Helo: m.Helo, Timeout: m.ConnectTimeout}
	follow(&h.all, g.FIFOs.All, p, false, h.log)
	follow(&h.own, h.ownOf(&g.FIFOs), p, true, h.log)
}

func (h *herald) close(remove bool) {
	h.scripts.Close()
	h.mailer.Close()
	h.all.close(remove, h.log)
	h.own.close(remove, h.log)
}

// tell logs notices, execute does the rest: first what happened, then the change
// of the tables, then who asked to be told.
func (h *herald) tell(notices []director.Notice) {
	for _, n := range notices {
		if n.Text != "" {
			h.log.Info(n.Text)
		}
		if n.Trap.Event != nil {
			h.trap(n.Trap)
		}
	}
}

func (h *herald) execute(notices []director.Notice) {
	for _, n := range notices {
		if n.Script.Command != "" {
			cmd, err := command(n.Script)
			if err != nil {
				h.log.Error(err.Error())
			}
			h.scripts.Start(cmd)
		}
		if n.FIFO != "" {
			for _, p := range []*pipe{h.all, h.own} {
				if p != nil {
					p.fifo.Write(n.FIFO)
				}
			}
		}
		if n.Mail.Subject != "" {
			h.mailer.Send(h.mail, notify.Alert(n.Mail))
		}
	}
}

// credential is whom the command of a MISC_CHECK runs as, under the policy of the
// moment.
func credential(p *atomic.Pointer[notify.Policy], m *healthcheck.Misc) (*syscall.Credential, error) {
	now := p.Load()
	if now == nil {
		now = &notify.Policy{}
	}
	cred, err := now.Credential(m.User, m.Group)
	if err == nil && m.Shell == "" {
		err = now.Check(m.Args[0], cred)
	}
	return cred, err
}

// hostname is the router_id of who has none.
func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
}
