// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/director"
)

// dumpFile is where a process writes its state: keepalived_NAME.data in $TMPDIR
// or /tmp, with the daemon's own suffix if the configuration says so.
func dumpFile(name string, p place, d *config.Dump) string {
	return dumpPath(name, ".data", p, d)
}

// dumpPath is dumpFile for other kinds of files.
func dumpPath(name, ext string, p place, d *config.Dump) string {
	dir := os.Getenv("TMPDIR")
	if dir == "" {
		dir = "/tmp"
	}
	base := "keepalived" + name
	if d.UseInstance {
		base += p.suffix()
	}
	return filepath.Join(dir, base+ext)
}

// writeDump replaces the file at path by what write says, at once and whole. A
// link that somebody has laid there is replaced and not followed.
func writeDump(path string, write func(io.Writer)) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	var b strings.Builder
	write(&b)
	_, err = f.WriteString(b.String())
	if err = errors.Join(err, f.Chmod(0o600), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func orDefault(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

// dumpGlobal writes global_defs as the original's dumps begin.
func dumpGlobal(w io.Writer, cfg *config.Config) {
	g := &cfg.Global
	fmt.Fprintln(w, "------< Global definitions >------")
	for _, kv := range [][2]any{
		{"Network namespace", orDefault(cfg.Root.NetNamespace, "(default)")},
		{"Network namespace ipvs", orDefault(cfg.Root.NetNamespaceIPVS, "(main namespace)")},
		{"Instance name", cfg.Root.Instance},
		{"Router ID", orDefault(g.RouterID, hostname())},
		{"Smtp server", g.Mail.Server},
		{"Smtp server port", g.Mail.Port},
		{"Smtp HELO name", g.Mail.Helo},
		{"Smtp server connection timeout", g.Mail.ConnectTimeout.Seconds()},
		{"Email notification from", g.Mail.From},
		{"Email notification", strings.Join(g.Mail.To, " ")},
		{"Checkers log all failures", g.CheckerLogAllFailures},
		{"LVS flush", g.LVSFlush},
		{"LVS flush on stop", [...]string{"disabled", "full", "VS"}[g.LVSFlushOnStop]},
		{"Global notify fifo", g.FIFOs.All.Path},
		{"LVS notify fifo", g.FIFOs.LVS.Path},
		{"Checker process priority", g.Processes.Checker.Nice},
		{"Checker don't swap", g.Processes.Checker.NoSwap},
		{"Checker realtime priority", g.Processes.Checker.RTPriority},
		{"Script security", map[bool]string{true: "enabled", false: "disabled"}[g.Scripts.Security]},
		{"Default script user", orDefault(g.Scripts.User, "keepalived_script or root")},
		{"rs_init_notifies", g.RSInitNotifies},
		{"no_checker_emails", g.Mail.NoChecker},
		{"umask", fmt.Sprintf("%04o", orUmask(g.Processes.Umask))},
	} {
		if kv[1] != "" && kv[1] != uint16(0) {
			fmt.Fprintf(w, " %s = %v\n", kv[0], kv[1])
		}
	}
}

func orUmask(m int) int {
	if m == 0 {
		return defaultUmask
	}
	return m
}

// dump writes what the parent knows.
func (p *parent) dump(w io.Writer) {
	dumpGlobal(w, p.cfg)
	fmt.Fprintln(w, "------< Processes >------")
	for _, s := range p.slots {
		pid := 0
		if s.proc != nil {
			pid = s.proc.Pid()
		}
		fmt.Fprintf(w, " %s\n   wanted = %s\n   pid = %d\n   ready = %s\n", s.kind.name, yesNo(s.wanted), pid, yesNo(s.ready))
	}
}

// dump writes configuration and state of the balancer.
func (b *balancer) dump(w io.Writer) {
	dumpGlobal(w, b.dir.Config())
	fmt.Fprintln(w, "------< LVS Topology >------")
	for _, v := range b.dir.Report() {
		dumpVirtual(w, v)
	}
	fmt.Fprintln(w, "------< Health checkers >------")
	fmt.Fprintf(w, " Longest delay of a check since the last dump = %f\n", b.checks.Late().Seconds())
	status := b.checks.Status()
	for i, t := range b.dir.Targets() {
		s, c := status[i], &t.Spec
		fmt.Fprintf(w, " Health checker for service %s of VS %s\n   Keepalive method = %s\n", t.Server, t.Service, c.Kind)
		if c.Conn.Addr.IsValid() {
			fmt.Fprintf(w, "   Connection dest = %s\n", c.Conn.Addr)
		}
		fmt.Fprintf(w, "   Connection timeout = %f\n   Alpha = %s\n   Delay loop = %f\n   Retry count = %d\n   Retry delay = %f\n   Warmup = %f\n",
			c.Timing.ConnectTimeout.Seconds(), yesNo(c.Timing.Alpha), c.Timing.DelayLoop.Seconds(), c.Timing.Retry,
			c.Timing.DelayBeforeRetry.Seconds(), c.Timing.Warmup.Seconds())
		fmt.Fprintf(w, "   Has run = %s\n   Currently up = %s\n", yesNo(s.Known), yesNo(s.Up))
	}
}

func dumpVirtual(w io.Writer, r director.VirtualReport) {
	v := r.Config
	fmt.Fprintf(w, " Virtual server = %s\n", v.Name)
	for _, e := range v.Endpoints {
		if e.FWMark != 0 {
			fmt.Fprintf(w, "   FWMARK = %d, %s\n", e.FWMark, e.Family)
		} else {
			fmt.Fprintf(w, "   VIP = %s\n", e.Addr)
		}
	}
	fmt.Fprintf(w, "   protocol = %s\n   lvs_sched = %s\n   LVS method = %s\n   persistence timeout = %d\n",
		v.Protocol, v.Scheduler, v.Method, int(v.PersistenceTimeout.Seconds()))
	fmt.Fprintf(w, "   alpha is %s, omega is %s\n   quorum = %d, hysteresis = %d\n   quorum state = %s\n",
		onOff(v.Alpha), onOff(v.Omega), v.Quorum, v.Hysteresis, map[bool]string{true: "UP", false: "DOWN"}[r.Quorum])
	if v.SorryServer != nil {
		fmt.Fprintf(w, "   sorry server = %s, in use = %s\n", v.SorryServer.Addr, yesNo(r.Sorry))
	}
	for _, s := range r.Servers {
		fmt.Fprintf(w, "   RIP = %s\n     weight = %d (configured %d)\n     alive = %s\n     inhibit on failure = %s\n     checks = %d\n",
			s.Config.Addr, s.Weight, s.Config.Weight, yesNo(s.Alive), yesNo(s.Config.InhibitOnFailure), len(s.Config.Checkers))
	}
}

func onOff(b bool) string {
	if b {
		return "ON"
	}
	return "OFF"
}
