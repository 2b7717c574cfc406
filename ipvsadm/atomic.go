// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"

	"github.com/lvs-fnat/lvs/ipvs"
)

// restoreAtomic is -R --atomic: the whole of standard input is read and judged
// as one description of the tables before anything is changed. What differs is
// then changed, additions first; if the kernel refuses any of it, the tables go
// back to what they were.
func (a *app) restoreAtomic(ctx context.Context, c *call) error {
	want, err := a.readTables(ctx)
	if err != nil {
		return err
	}
	before, err := a.present(ctx)
	if err != nil {
		return listFailed(err)
	}
	p := difference(before, want)
	if c.set.has(colDryRun) {
		for _, s := range p.steps() {
			fmt.Fprintln(a.stdout, s.op)
		}
		return nil
	}
	if failed := a.carryOut(ctx, p); failed != nil {
		return a.goBack(ctx, before, failed)
	}
	return nil
}

// atLine is a refusal of what line says.
func atLine(line int, err error) error {
	var f *failure
	if !errors.As(err, &f) {
		f = &failure{code: 255, text: err.Error()}
	}
	return &failure{code: f.code, text: fmt.Sprintf(msgLine, line, strings.TrimSuffix(f.text, "\n")), ends: true, err: err}
}

// readTables reads standard input, which must have a line at least. Unlike -R
// alone it takes comments.
func (a *app) readTables(ctx context.Context) (*tables, error) {
	ours, err := a.extended(ctx)
	if err != nil {
		return nil, listFailed(err)
	}
	t, empty := &tables{ext: ours}, true
	in := bufio.NewReader(a.stdin)
	for line := 1; ; line++ {
		text, readErr := in.ReadString('\n')
		if args := splitLine(text); len(args) > 0 && !strings.HasPrefix(args[0], "#") {
			var c call
			empty = false
			err := a.read(ctx, &c, args)
			if err == nil {
				err = a.enter(ctx, t, &c, line)
			}
			if err != nil {
				return nil, atLine(line, err)
			}
		}
		switch {
		case errors.Is(readErr, io.EOF) && empty:
			return nil, usagef(msgNoTables) // a file that was cut off, or a program that failed
		case errors.Is(readErr, io.EOF):
			return t, nil
		case readErr != nil:
			return nil, &failure{code: 2, text: fmt.Sprintf("standard input: %v", readErr), ends: true, err: readErr}
		}
	}
}

// refuse is an answer that the kernel would give to cmd.
func refuse(cmd command, errno syscall.Errno) error { return refusedBy(cmd, errno) }

// refuseExt is one of the extension, in its own words.
func refuseExt(cmd command, op ipvs.Op, errno syscall.Errno, text string) error {
	return extRefused(cmd, &ipvs.BatchError{Op: op, Err: op.Fail(errno, text)})
}

// enter changes the description as c would change the kernel's tables.
func (a *app) enter(ctx context.Context, t *tables, c *call, line int) error {
	if c.ext.Set != 0 || c.fullNAT || c.cmd == cmdAddLaddr || c.cmd == cmdDelLaddr || c.cmd == cmdSetExt {
		if err := a.needExt(ctx); err != nil {
			return err
		}
	}
	key := c.service.ServiceKey
	s := t.services.get(key)
	switch c.cmd {
	case cmdAdd:
		if s != nil {
			return refuse(c.cmd, syscall.EEXIST)
		}
		s = t.services.put(key, tableService{line: line, extLine: line, service: settingsOf(c.service), ext: newExt()})
		return t.enterExt(c, s, c.ext, line)
	case cmdFlush:
		t.services, t.groups = ordered[ipvs.ServiceKey, tableService]{}, ordered[string, tableGroup]{}
		return nil
	case cmdAddLaddr, cmdDelLaddr:
		if c.set.has(colService) && s == nil {
			return refuse(c.cmd, syscall.ESRCH)
		}
		if c.cmd == cmdAddLaddr {
			return t.enterLaddr(c, s, line)
		}
		return t.leaveLaddr(c, s)
	case cmdTimeout:
		t.enterTimeouts(c.timeouts, line)
		return nil
	case cmdStartDaemon, cmdStopDaemon:
		d := tableDaemon{line: line, runs: c.cmd == cmdStartDaemon, daemon: c.daemon}
		if d.daemon.Interface == "" {
			d.daemon.Interface = "eth0"
		}
		t.daemons.put(c.daemon.State, d)
		return nil
	case cmdSetExt:
		t.enterConfig(c.config, line)
		return nil
	case cmdEdit, cmdDelete, cmdAddDest, cmdEditDest, cmdDelDest:
		if s == nil {
			return refuse(c.cmd, syscall.ESRCH)
		}
		return t.enterService(c, s, line)
	}
	return usagef(msgNotAtomic, c.cmd)
}

func (t *tables) enterService(c *call, s *tableService, line int) error {
	key := c.service.ServiceKey
	switch c.cmd {
	case cmdEdit:
		if !c.onlyExt() {
			s.service, s.line = settingsOf(c.service), line
		}
		return t.enterExt(c, s, c.ext, line)
	case cmdDelete:
		t.services.drop(key)
		if own := ipvs.ServiceGroup(key); !t.inUse(own) {
			t.groups.drop(own)
		}
		return nil
	}
	d := s.dests.get(c.dest.DestKey)
	switch {
	case c.cmd == cmdAddDest && d != nil:
		return refuse(c.cmd, syscall.EEXIST)
	case c.cmd != cmdAddDest && d == nil:
		return refuse(c.cmd, syscall.ENOENT)
	case c.cmd == cmdDelDest:
		s.dests.drop(c.dest.DestKey)
		return nil
	case c.dest.LowerThreshold > c.dest.UpperThreshold:
		return refuse(c.cmd, syscall.ERANGE)
	}
	if c.fullNAT && s.ext.Flags&fnat == 0 {
		on := ipvs.Ext{Set: ipvs.ExtFieldFlags, Flags: fnat, FlagsMask: fnat}
		if err := t.enterExt(c, s, on, line); err != nil {
			return err
		}
	}
	dest := destSettings(c.dest)
	if c.onlyFullNAT() {
		dest = viaFullNAT(d.dest)
	}
	s.dests.put(c.dest.DestKey, tableDest{line, dest})
	return nil
}

func (t *tables) inUse(group string) bool {
	for _, s := range t.services.all() {
		if s.ext.LGroup == group {
			return true
		}
	}
	return false
}

// enterExt judges what can be judged of the description alone; the kernel
// judges the rest.
func (t *tables) enterExt(c *call, s *tableService, in ipvs.Ext, line int) error {
	if in.Set == 0 {
		return nil
	}
	s.setExt(in)
	s.extLine = line
	key := s.service.ServiceKey
	op := setExt(key, in)
	g := t.groups.get(s.ext.LGroup)
	switch {
	case s.ext.LGroup != "" && g == nil:
		return refuseExt(c.cmd, op, syscall.ENOENT, "no such local address group")
	case g != nil && g.family != key.Family:
		return refuseExt(c.cmd, op, syscall.EAFNOSUPPORT,
			fmt.Sprintf("local address group is %s, service is %s", familyName(g.family), familyName(key.Family)))
	case s.ext.Flags&fnat != 0 && (g == nil || len(g.laddrs.keys) == 0):
		return refuseExt(c.cmd, op, syscall.EINVAL, "FNAT needs a local address group")
	}
	return nil
}

func familyName(f ipvs.Family) string {
	if f == ipvs.IPv6 {
		return "IPv6"
	}
	return "IPv4"
}

// groupOf is the group that -P and -Q mean, see [app.groupOf].
func (t *tables) groupOf(c *call, s *tableService) string {
	switch {
	case c.group != "" || s == nil:
		return c.group
	case s.ext.LGroup != "":
		return s.ext.LGroup
	}
	return ipvs.ServiceGroup(c.service.ServiceKey)
}

func (t *tables) enterLaddr(c *call, s *tableService, line int) error {
	name, hasAddr := t.groupOf(c, s), c.set.has(colLocalAddress)
	family := ipvs.IPv4
	if c.laddr.Addr.IsValid() {
		family = ipvs.FamilyOf(c.laddr.Addr)
	}
	if s != nil && family != s.service.Family {
		return usagef(msgLaddrFamily)
	}
	op := ipvs.Op{Kind: ipvs.AddLaddr, LGroup: ipvs.LGroup{Name: name, Family: family}, Laddr: c.laddr}
	g := t.groups.get(name)
	switch {
	case g == nil:
		g = t.groups.put(name, tableGroup{line: line, family: family})
	case !hasAddr:
		return refuseExt(c.cmd, op, syscall.EEXIST, "local address group exists")
	case g.family != family:
		return refuseExt(c.cmd, op, syscall.EAFNOSUPPORT,
			fmt.Sprintf("local address group is %s, address is %s", familyName(g.family), familyName(family)))
	}
	if hasAddr {
		if err := t.enterAddr(c, g, op, line); err != nil {
			return err
		}
	}
	if s != nil && s.ext.LGroup != name {
		return t.enterExt(c, s, ipvs.Ext{Set: ipvs.ExtFieldLGroup, LGroup: name}, line)
	}
	return nil
}

func (t *tables) enterAddr(c *call, g *tableGroup, op ipvs.Op, line int) error {
	old := g.laddrs.get(c.laddr.Addr)
	if old == nil {
		for name, other := range t.groups.all() {
			if other.laddrs.get(c.laddr.Addr) != nil {
				return &failure{code: 255, text: fmt.Sprintf(msgLaddrElsewhere, c.laddr.Addr, name)}
			}
		}
		g.laddrs.put(c.laddr.Addr, tableLaddr{line, laddrSettings(c.laddr)})
		return nil
	}
	if !c.setFlags && !c.setCPUs && c.laddr.PortMin == 0 {
		return refuseExt(c.cmd, op, syscall.EEXIST, "address is in the group already")
	}
	l := merge(old.laddr, c)
	if l.PortMin == 0 {
		l.PortMin, l.PortMax = old.laddr.PortMin, old.laddr.PortMax
	}
	old.laddr, old.line = l, line
	return nil
}

func (t *tables) leaveLaddr(c *call, s *tableService) error {
	name := t.groupOf(c, s)
	op := ipvs.Op{Kind: ipvs.DelLaddr, LGroup: ipvs.LGroup{Name: name}, Laddr: c.laddr}
	g := t.groups.get(name)
	switch {
	case g == nil:
		return refuseExt(c.cmd, op, syscall.ENOENT, "no such local address group")
	case !c.set.has(colLocalAddress) && t.inUse(name):
		return refuseExt(c.cmd, op, syscall.EBUSY, "used by services")
	case !c.set.has(colLocalAddress):
		t.groups.drop(name)
		return nil
	case g.laddrs.get(c.laddr.Addr) == nil:
		return refuseExt(c.cmd, op, syscall.ENOENT, "no such local address in the group")
	}
	g.laddrs.drop(c.laddr.Addr)
	if s != nil && len(g.laddrs.keys) == 0 && s.ext.LGroup == ipvs.ServiceGroup(c.service.ServiceKey) && s.ext.Flags&fnat == 0 {
		s.ext.LGroup = ""
		if !t.inUse(name) {
			t.groups.drop(name)
		}
	}
	return nil
}

func (t *tables) enterTimeouts(set ipvs.Timeouts, line int) {
	t.timeoutsLine = line
	if set.TCP != 0 {
		t.timeouts.TCP = set.TCP
	}
	if set.TCPFin != 0 {
		t.timeouts.TCPFin = set.TCPFin
	}
	if set.UDP != 0 {
		t.timeouts.UDP = set.UDP
	}
}

func (t *tables) enterConfig(set ipvs.ExtConfig, line int) {
	t.configLine = line
	t.config = mergeConfig(t.config, set)
}

func mergeConfig(to, from ipvs.ExtConfig) ipvs.ExtConfig {
	for _, f := range configFields() {
		if from.Set&f.field != 0 {
			f.set(&to, &from)
		}
	}
	to.Set |= from.Set
	return to
}

// carryOut applies a plan; its error names the line of what was refused.
func (a *app) carryOut(ctx context.Context, p plan) error {
	for _, steps := range [][]step{p.moves, p.adds, p.removes} {
		ops := make([]ipvs.Op, len(steps))
		for i, s := range steps {
			ops[i] = s.op
		}
		err := a.kernel.Apply(ctx, ops...)
		var batch *ipvs.BatchError
		switch {
		case err == nil:
		case errors.As(err, &batch) && batch.Index < len(steps):
			return refusedStep(steps[batch.Index], err)
		default:
			return refusedBy(cmdRestore, err)
		}
	}
	return nil
}

// stepCommands are the commands whose texts fit the operations.
var stepCommands = [...]command{
	ipvs.AddService: cmdAdd, ipvs.SetService: cmdEdit, ipvs.DelService: cmdDelete, ipvs.AddDest: cmdAddDest, ipvs.SetDest: cmdEditDest,
	ipvs.DelDest: cmdDelDest, ipvs.SetExt: cmdEdit, ipvs.AddLGroup: cmdAddLaddr, ipvs.DelLGroup: cmdDelLaddr, ipvs.AddLaddr: cmdAddLaddr,
	ipvs.SetLaddr: cmdAddLaddr, ipvs.DelLaddr: cmdDelLaddr, ipvs.SetTimeouts: cmdTimeout, ipvs.StartDaemon: cmdStartDaemon,
	ipvs.StopDaemon: cmdStopDaemon, ipvs.SetExtConfig: cmdSetExt,
}

func refusedStep(s step, err error) error {
	cmd := stepCommands[s.op.Kind]
	var refused error
	if s.op.Kind.Ext() {
		refused = extRefused(cmd, err)
	} else {
		refused = refusedBy(cmd, err)
	}
	if s.line == 0 {
		return &failure{code: 255, text: fmt.Sprintf("%s: %s", s.op, refused), ends: true, err: err}
	}
	return atLine(s.line, refused)
}

// goBack makes the tables what they were before.
func (a *app) goBack(ctx context.Context, before *tables, failed error) error {
	now, err := a.present(ctx)
	if err == nil {
		err = a.carryOut(ctx, difference(now, before))
	}
	var f *failure
	if err != nil && errors.As(failed, &f) {
		return &failure{code: f.code, text: f.text + "; going back to the tables before failed: " + err.Error(), ends: true, err: errors.Join(f, err)}
	}
	return failed
}

// step is one operation of a plan and the line it comes from, 0 for none.
type step struct {
	op   ipvs.Op
	line int
}

// plan is what makes one description of another: first local addresses leave
// the groups they move from, last goes what is no longer wanted.
type plan struct{ moves, adds, removes []step }

func (p plan) steps() []step { return slices.Concat(p.moves, p.adds, p.removes) }

func (p *plan) add(line int, op ipvs.Op)    { p.adds = append(p.adds, step{op, line}) }
func (p *plan) remove(line int, op ipvs.Op) { p.removes = append(p.removes, step{op, line}) }
