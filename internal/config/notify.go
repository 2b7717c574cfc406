// SPDX-License-Identifier: Apache-2.0

package config

import (
	"math"
	"net/netip"
	"strconv"
	"time"

	"github.com/lvs-fnat/lvs/parser"
)

// Scripts is who runs the commands of the configuration, and those of the
// program's own start and end.
type Scripts struct {
	User, Group         string // script_user; "": keepalived_script if there is one, else root
	Security            bool   // enable_script_security
	SymlinkPaths        bool   // do not resolve links in a command's path
	SupplementaryGroups bool

	Startup, Shutdown               Script
	StartupTimeout, ShutdownTimeout time.Duration
}

// FIFO is a named pipe that events are written to, and the program that reads it.
type FIFO struct {
	Path        string // "": none
	User, Group string // owner; "": that of the scripts
	Script      Script // gets Path as its last argument
}

// FIFOs are the pipes of all events, and of those of one child.
type FIFOs struct {
	All, LVS, VRRP FIFO
	// VRRPStatesOnReload writes the states once more after a reload.
	VRRPStatesOnReload bool
}

// Mail is where mail about events goes to.
type Mail struct {
	From           string // "": USER@HOST of the process
	To             []string
	Server         string // host name or address; "": no mail
	Port           uint16 // 25 unless given
	Helo           string // "": the local host's name
	ConnectTimeout time.Duration
	// Alert, AlertVRRP and AlertChecker are the defaults of smtp_alert; nil: not written.
	Alert, AlertVRRP, AlertChecker *bool
	NoFaults                       bool // none for an instance that goes to FAULT
	NoChecker                      bool // none for a single checker, only for the real server
}

var scriptKeywords = keywords[Global]{
	"script_user": {read: func(l *loader, n *parser.Node, g *Global) {
		if user, ok := l.word(n, 1, "user"); ok {
			g.Scripts.User, g.Scripts.Group = user, n.Arg(2)
			l.scriptUserAt = n.ArgPos(1)
		}
	}},
	"enable_script_security": {read: func(l *loader, n *parser.Node, g *Global) {
		g.Scripts.Security, l.securityAt = true, n.Pos()
	}},
	"use_symlink_paths":        boolInto(func(g *Global, v bool) { g.Scripts.SymlinkPaths = v }),
	"set_supplementary_groups": boolInto(func(g *Global, v bool) { g.Scripts.SupplementaryGroups = v }),
	"startup_script":           scriptInto(func(g *Global) *Script { return &g.Scripts.Startup }),
	"shutdown_script":          scriptInto(func(g *Global) *Script { return &g.Scripts.Shutdown }),
	"startup_script_timeout": intInto(1, 1000, func(g *Global, v int) {
		g.Scripts.StartupTimeout = time.Duration(v) * time.Second
	}),
	"shutdown_script_timeout": intInto(1, 1000, func(g *Global, v int) {
		g.Scripts.ShutdownTimeout = time.Duration(v) * time.Second
	}),
}

var fifoKeywords = keywords[Global]{
	"notify_fifo":             fifoPath(func(f *FIFOs) *FIFO { return &f.All }),
	"lvs_notify_fifo":         fifoPath(func(f *FIFOs) *FIFO { return &f.LVS }),
	"vrrp_notify_fifo":        fifoPath(func(f *FIFOs) *FIFO { return &f.VRRP }),
	"notify_fifo_script":      scriptInto(func(g *Global) *Script { return &g.FIFOs.All.Script }),
	"lvs_notify_fifo_script":  scriptInto(func(g *Global) *Script { return &g.FIFOs.LVS.Script }),
	"vrrp_notify_fifo_script": scriptInto(func(g *Global) *Script { return &g.FIFOs.VRRP.Script }),
	"fifo_write_vrrp_states_on_reload": flagInto(func(g *Global) {
		g.FIFOs.VRRPStatesOnReload = true
	}),
}

// fifoPath reads PATH [USER [GROUP]].
func fifoPath(of func(*FIFOs) *FIFO) keyword[Global] {
	return keyword[Global]{read: func(l *loader, n *parser.Node, g *Global) {
		path, ok := l.word(n, 1, "path")
		if !ok {
			return
		}
		f := of(&g.FIFOs)
		if f.Path != "" {
			l.warn(n.Pos(), "%s is already set: this one is ignored", n.Key())
			return
		}
		f.Path, f.User, f.Group = path, n.Arg(2), n.Arg(3)
	}}
}

// smtpTimeoutMax is the longest time the original's microseconds can hold.
const smtpTimeoutMax = math.MaxUint32 / 1_000_000

var mailKeywords = keywords[Global]{
	"notification_email": {block: true, read: func(l *loader, n *parser.Node, g *Global) {
		if len(n.Children) == 0 {
			l.warn(n.Pos(), "Warning - empty notification_email block")
		}
		for _, c := range n.Children {
			for i := range c.Words {
				g.Mail.To = append(g.Mail.To, c.Arg(i))
			}
		}
	}},
	"notification_email_from": stringInto(func(g *Global, v string) { g.Mail.From = v }),
	"smtp_server":             {read: readSMTPServer},
	"smtp_helo_name": {read: func(_ *loader, n *parser.Node, g *Global) {
		g.Mail.Helo = n.Arg(1) // without a word it is the default
	}},
	"smtp_connect_timeout": {read: func(l *loader, n *parser.Node, g *Global) {
		v, ok := l.int(n, 1, 0, smtpTimeoutMax)
		if ok && v == 0 {
			l.warn(n.ArgPos(1), "smtp_connect_timeout must be greater than 0: setting 1")
			v = 1
		}
		if ok {
			g.Mail.ConnectTimeout = time.Duration(v) * time.Second
		}
	}},
	"smtp_alert":         boolInto(func(g *Global, v bool) { g.Mail.Alert = &v }),
	"smtp_alert_vrrp":    boolInto(func(g *Global, v bool) { g.Mail.AlertVRRP = &v }),
	"smtp_alert_checker": boolInto(func(g *Global, v bool) { g.Mail.AlertChecker = &v }),
	"no_email_faults":    flagInto(func(g *Global) { g.Mail.NoFaults = true }),
	"no_checker_emails":  flagInto(func(g *Global) { g.Mail.NoChecker = true }),
}

// readSMTPServer takes HOST or ADDRESS, and a port, a number or smtp.
func readSMTPServer(l *loader, n *parser.Node, g *Global) {
	host, ok := l.word(n, 1, "host or address")
	if !ok {
		return
	}
	port := uint16(25)
	if len(n.Words) > 2 {
		v, err := strconv.ParseUint(n.Arg(2), 10, 16)
		if err != nil || v == 0 {
			l.error(n.ArgPos(2), "smtp_server: invalid port '%s': expected 1 to 65535", n.Arg(2))
			return
		}
		port = uint16(v)
	}
	if a, err := netip.ParseAddr(host); err == nil {
		host = a.String()
	}
	g.Mail.Server, g.Mail.Port = host, port
}

// alertVRRP gives smtp_alert of an instance or group that does not say.
func (m *Mail) alertVRRP() bool {
	for _, p := range []*bool{m.AlertVRRP, m.Alert} {
		if p != nil {
			return *p
		}
	}
	return false
}

// alert gives smtp_alert of an object of the checkers that does not say.
func (m *Mail) alert(def bool) bool {
	for _, p := range []*bool{m.AlertChecker, m.Alert} {
		if p != nil {
			return *p
		}
	}
	return def
}
