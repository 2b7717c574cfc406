// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"os/exec"
	"os/user"
	"runtime"
	"slices"
	"strings"
)

// defaultScriptUser runs the commands of a configuration without script_user, if it exists.
const defaultScriptUser = "keepalived_script"

// lookupUser gives the uid of a user, by name or number, as text.
func lookupUser(name string) (uid string, err error) {
	u, err := user.Lookup(name)
	if err != nil {
		u, err = user.LookupId(name)
	}
	if err != nil {
		return "", err
	}
	return u.Uid, nil
}

// lookupGroup gives the gid of a group, by name or number, as text.
func lookupGroup(name string) (gid string, err error) {
	g, err := user.LookupGroup(name)
	if err != nil {
		g, err = user.LookupGroupId(name)
	}
	if err != nil {
		return "", err
	}
	return g.Gid, nil
}

// security remarks that commands run as root without enable_script_security,
// once for those of the balancer, once for those of virtual routers and once for the
// program's own.
func (l *loader) security() {
	g := &l.cfg.Global.Scripts
	if g.User != "" {
		_, err := l.user(g.User)
		if err == nil && g.Group != "" {
			_, err = l.opts.Group(g.Group)
		}
		if err != nil {
			l.warn(l.scriptUserAt, "script_user: %v", err)
		}
	}
	if g.Security {
		l.withholdRest()
		return
	}
	own := l.asRoot(g.Startup) || l.asRoot(g.Shutdown)
	if own {
		l.insecure("start/shutdown scripts")
	}
	if l.rootRuns {
		l.insecure("check scripts")
	}
	if !l.vrrp.unlinked && l.routersAsRoot() {
		l.insecure("scripts")
	}
}

func (l *loader) insecure(kind string) {
	d := l.report(Pos{}, Info, "SECURITY VIOLATION - %s are being executed but script_security not enabled.", kind)
	d.Class = Security
}

func (l *loader) rootCommands(vs *VirtualServer) bool {
	if l.cfg.Global.Scripts.Security {
		return false
	}
	if l.asRoot(vs.QuorumUp) || l.asRoot(vs.QuorumDown) {
		return true
	}
	for _, rs := range vs.RealServers {
		if l.asRoot(rs.NotifyUp) || l.asRoot(rs.NotifyDown) {
			return true
		}
		for _, c := range rs.Checkers {
			if c.Misc != nil && c.Misc.Shell == "" && l.runsAsRoot(c.Misc.Args[0], c.Misc.User) {
				return true
			}
		}
	}
	return false
}

// routersAsRoot tells whether a command of a virtual router runs as root.
func (l *loader) routersAsRoot() bool {
	v := &l.cfg.VRRP
	for i := range v.Scripts {
		if l.asRoot(v.Scripts[i].Script) {
			return true
		}
	}
	for _, n := range v.notifies() {
		if slices.ContainsFunc(n.commands(), func(s *Script) bool { return l.asRoot(*s) }) {
			return true
		}
	}
	return false
}

// notifies gives what instances and groups notify.
func (v *VRRP) notifies() []*Notify {
	var list []*Notify
	for i := range v.Instances {
		list = append(list, &v.Instances[i].Notify)
	}
	for i := range v.Groups {
		list = append(list, &v.Groups[i].Notify)
	}
	return list
}

// commands gives all commands of n, those that are not set too.
func (n *Notify) commands() []*Script {
	return []*Script{&n.Master, &n.Backup, &n.Fault, &n.Stop, &n.Deleted, &n.Any, &n.RxLowerPrio}
}

// ownerless tells whether a command that names a user or none has nobody to run as:
// with enable_script_security it does not fall back to root.
func (l *loader) ownerless(name string) bool {
	g := &l.cfg.Global.Scripts
	if name != "" || !g.Security || g.User != "" {
		return false
	}
	_, err := l.user(defaultScriptUser)
	return err != nil
}

// userID is what Options.User says of a name.
type userID struct {
	uid string
	err error
}

// user is Options.User, which is asked once for each name: commands are many.
func (l *loader) user(name string) (uid string, err error) {
	known, ok := l.users[name]
	if !ok {
		known.uid, known.err = l.opts.User(name)
		l.users[name] = known
	}
	return known.uid, known.err
}

const ownerlessRemedy = "no user " + defaultScriptUser + ", and root is not taken with enable_script_security: write script_user, or a user behind it"

// withhold takes commands away that have nobody to run as, so that nothing waits for
// them or is judged by them. at is what they belong to.
func (l *loader) withhold(at Pos, scripts ...*Script) {
	for _, s := range scripts {
		if s.Command != "" && l.ownerless(s.User) {
			l.warn(at, "command '%s' is left out: %s", s.Command, ownerlessRemedy)
			*s = Script{}
		}
	}
}

// missing tells of each command whose program is not there, and leaves a MISC_CHECK out:
// the server is not judged by a command that cannot run, but for the success that alpha
// waits for.
func (l *loader) missing(vs *VirtualServer) {
	l.absent(vs.Pos, &vs.QuorumUp, &vs.QuorumDown)
	for i := range vs.RealServers {
		rs := &vs.RealServers[i]
		l.absent(rs.Pos, &rs.NotifyUp, &rs.NotifyDown)
		rs.withoutMisc(func(c *Checker) bool {
			if c.Misc.Shell != "" {
				return false
			}
			why := l.unfitProgram(c.Misc.Args[0], c.Misc.User)
			if why != "" {
				l.info(c.Pos, "Disabling misc script '%s' %s%s", strings.Join(c.Misc.Args, "' '"), why, c.heldBy())
			}
			return why != ""
		})
	}
}

// unfit says why a command that something is judged by cannot run, "" if it can: nothing is then.
func (l *loader) unfit(s Script) string {
	args, err := s.Args()
	if _, ok := shellText(args); ok || err != nil || len(args) == 0 {
		return ""
	}
	return l.unfitProgram(args[0], s.User)
}

// nobody says that a command names a user or a group that is not there, "" if not.
func (l *loader) nobody(s Script) string {
	if s.User == "" {
		return ""
	}
	_, err := l.user(s.User)
	if err == nil && s.Group != "" {
		_, err = l.opts.Group(s.Group)
	}
	if err != nil {
		return fmt.Sprintf("as nobody could run it: %v", err)
	}
	return ""
}

func (l *loader) unfitProgram(program, name string) string {
	if !l.exists(program) {
		return "since not found/accessible"
	}
	if !l.cfg.Global.Scripts.Security || l.opts.Trusted == nil || !l.isRoot(name) {
		return ""
	}
	path, err := l.opts.Command(program)
	if err == nil {
		err = l.opts.Trusted(path)
	}
	if err != nil {
		return "due to insecure: " + err.Error()
	}
	return ""
}

// absent tells of commands whose program is not there. They are kept: it may come.
func (l *loader) absent(at Pos, scripts ...*Script) {
	for _, s := range scripts {
		if args, err := s.Args(); err == nil && len(args) > 0 && !l.exists(args[0]) {
			l.info(at, "Script %s cannot be accessed - No such file or directory", args[0])
		}
	}
}

// withoutMisc leaves out each MISC_CHECK that is gone.
func (rs *RealServer) withoutMisc(gone func(*Checker) bool) {
	if !rs.hasMisc() {
		return
	}
	rs.Checkers = slices.DeleteFunc(rs.Checkers, func(c Checker) bool {
		out := c.Misc != nil && gone(&c)
		rs.Held = rs.Held || out && c.Alpha
		return out
	})
}

func (rs *RealServer) hasMisc() bool {
	for i := range rs.Checkers {
		if rs.Checkers[i].Misc != nil {
			return true
		}
	}
	return false
}

// heldBy says what comes of a check that is left out.
func (c *Checker) heldBy() string {
	if c.Alpha {
		return ": with alpha its server stays out"
	}
	return ""
}

// exists tells whether there is a program of that name or path.
func (l *loader) exists(command string) bool {
	known, ok := l.commands[command]
	if !ok {
		_, err := l.opts.Command(command)
		known = err == nil
		l.commands[command] = known
	}
	return known
}

// withholdServer is withhold for the commands of a virtual server.
func (l *loader) withholdServer(vs *VirtualServer) {
	if !l.cfg.Global.Scripts.Security {
		return
	}
	l.withhold(vs.Pos, &vs.QuorumUp, &vs.QuorumDown)
	for i := range vs.RealServers {
		rs := &vs.RealServers[i]
		l.withhold(rs.Pos, &rs.NotifyUp, &rs.NotifyDown)
		rs.withoutMisc(func(c *Checker) bool {
			gone := l.ownerless(c.Misc.User)
			if gone {
				l.warn(c.Pos, "MISC_CHECK '%s' is left out: %s%s", strings.Join(c.Misc.Args, " "), ownerlessRemedy, c.heldBy())
			}
			return gone
		})
	}
}

// withholdRest is withhold for the commands of virtual routers and of the program.
func (l *loader) withholdRest() {
	g, v := &l.cfg.Global, &l.cfg.VRRP
	for _, s := range []*Script{&g.Scripts.Startup, &g.Scripts.Shutdown, &g.FIFOs.All.Script, &g.FIFOs.LVS.Script, &g.FIFOs.VRRP.Script} {
		l.withhold(l.securityAt, s)
	}
	for i := range v.Instances {
		l.withhold(v.Instances[i].Pos, v.Instances[i].Notify.commands()...)
	}
	for i := range v.Groups {
		l.withhold(v.Groups[i].Pos, v.Groups[i].Notify.commands()...)
	}
}

// asRoot is false for words of a shell, of which nobody knows what they run.
func (l *loader) asRoot(s Script) bool {
	args, err := s.Args()
	if _, ok := shellText(args); ok || err != nil || len(args) == 0 {
		return false
	}
	return l.runsAsRoot(args[0], s.User)
}

// runsAsRoot is false for a command that does not exist: it will not run.
func (l *loader) runsAsRoot(command, name string) bool {
	return l.isRoot(name) && l.exists(command)
}

// isRoot tells whether a command that names a user or none runs as root.
func (l *loader) isRoot(name string) bool {
	if name == "" {
		name = l.cfg.Global.Scripts.User
	}
	if name == "" {
		name = defaultScriptUser
		if _, err := l.user(name); err != nil {
			name = "root"
		}
	}
	uid, err := l.user(name)
	return err == nil && uid == "0"
}

func (o *Options) fill() {
	if o.User == nil {
		o.User = lookupUser
	}
	if o.Group == nil {
		o.Group = lookupGroup
	}
	if o.CPUs == 0 {
		o.CPUs = runtime.NumCPU()
	}
	if o.KeyFile == nil {
		o.KeyFile = readKeyFile
	}
	if o.Command == nil {
		o.Command = exec.LookPath
	}
}
