// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"github.com/lvs-fnat/lvs/ipvs"
)

// The order of work below never opens a window in which a connection could
// leave as plain NAT: group, address, service, its settings, destination.
// What fails on the way is taken back, so that nothing stays half configured.

// needExt refuses what the running module cannot do before anything is done.
func (a *app) needExt(ctx context.Context) error {
	ours, err := a.extended(ctx)
	if err != nil {
		return listFailed(err)
	}
	if !ours {
		return &failure{code: 255, text: msgNoExt, err: ipvs.ErrNoExt}
	}
	return nil
}

// isErrno tells whether the kernel's answer was one of these.
func isErrno(err error, errnos ...syscall.Errno) bool {
	return slices.ContainsFunc(errnos, func(e syscall.Errno) bool { return errors.Is(err, e) })
}

// extRefused is a call that the extension refused: the kernel's own words and
// what to do, on one line.
func extRefused(cmd command, err error) error {
	if errors.Is(err, ipvs.ErrNoExt) {
		return &failure{code: 255, text: msgNoExt, err: err}
	}
	var batch *ipvs.BatchError
	var op *ipvs.OpError
	var about ipvs.Op
	if errors.As(err, &batch) {
		about = batch.Op
	}
	text := ""
	switch {
	case isErrno(err, syscall.ESRCH) && (cmd == cmdEdit || cmd == cmdGetLaddr):
		text = kernelText(cmd, err)
	case !errors.As(err, &op) || op.Message == "":
		text = kernelText(cmd, err)
	default:
		about.LGroup.Name = cmp.Or(about.LGroup.Name, op.LGroup)
		text = cmp.Or(remedyFor(cmd, op.Message, about), op.Message)
	}
	return &failure{code: 255, text: text, err: err}
}

func setExt(key ipvs.ServiceKey, ext ipvs.Ext) ipvs.Op {
	return ipvs.Op{Kind: ipvs.SetExt, Service: ipvs.Service{ServiceKey: key}, Ext: ext}
}

// addService takes the service back if its settings are refused: without
// them its destinations would be plain NAT.
func (a *app) addService(ctx context.Context, c *call) error {
	if c.ext.Set == 0 {
		return a.kernel.Apply(ctx, ipvs.Op{Kind: ipvs.AddService, Service: c.service})
	}
	if err := a.needExt(ctx); err != nil {
		return err
	}
	if err := a.kernel.Apply(ctx, ipvs.Op{Kind: ipvs.AddService, Service: c.service}); err != nil {
		return err
	}
	key := c.service.ServiceKey
	if err := a.kernel.Apply(ctx, setExt(key, c.ext)); err != nil {
		return a.takeBack(ctx, extRefused(c.cmd, err), ipvs.Op{Kind: ipvs.DelService, Service: c.service})
	}
	return nil
}

// editService sets our settings first: if stock's are refused then, ours go
// back to what they were.
func (a *app) editService(ctx context.Context, c *call) error {
	edit := ipvs.Op{Kind: ipvs.SetService, Service: c.service}
	if c.ext.Set == 0 {
		return a.kernel.Apply(ctx, edit)
	}
	if err := a.needExt(ctx); err != nil {
		return err
	}
	key := c.service.ServiceKey
	before, err := a.kernel.ExtService(ctx, key)
	if err != nil {
		return extRefused(c.cmd, err)
	}
	if err := a.kernel.Apply(ctx, setExt(key, c.ext)); err != nil {
		return extRefused(c.cmd, err)
	}
	if c.onlyExt() {
		return nil
	}
	if err := a.kernel.Apply(ctx, edit); err != nil {
		old := before.Ext
		old.Set, old.FlagsMask = c.ext.Set, c.ext.FlagsMask
		return a.takeBack(ctx, refusedBy(c.cmd, err), setExt(key, old))
	}
	return nil
}

// deleteService deletes the service's own group with it; a group that others
// came to use stays.
func (a *app) deleteService(ctx context.Context, key ipvs.ServiceKey) error {
	err := a.kernel.Apply(ctx, ipvs.Op{Kind: ipvs.DelService, Service: ipvs.Service{ServiceKey: key}})
	if err != nil {
		return err
	}
	if ours, err := a.extended(ctx); err != nil || !ours {
		return err
	}
	err = a.delGroup(ctx, ipvs.ServiceGroup(key))
	if isErrno(err, syscall.ENOENT, syscall.EBUSY) {
		return nil
	}
	return err
}

// flush clears the groups too, so that a saved table can be restored after it.
func (a *app) flush(ctx context.Context) error {
	if err := a.kernel.Apply(ctx, ipvs.Op{Kind: ipvs.Flush}); err != nil {
		return err
	}
	if ours, err := a.extended(ctx); err != nil || !ours {
		return err
	}
	groups, err := a.kernel.LGroups(ctx)
	if err != nil {
		return err
	}
	for _, g := range groups {
		if err := a.delGroup(ctx, g.Name); err != nil && !isErrno(err, syscall.ENOENT, syscall.EBUSY) {
			return err
		}
	}
	return nil
}

func (a *app) delGroup(ctx context.Context, name string) error {
	return a.kernel.Apply(ctx, ipvs.Op{Kind: ipvs.DelLGroup, LGroup: ipvs.LGroup{Name: name}})
}

// putDest is -a and -e. With -b the service gets FNAT before the destination
// is there, in a batch of its own: a batch may go on behind an error.
func (a *app) putDest(ctx context.Context, c *call) error {
	op := ipvs.Op{Kind: ipvs.AddDest, Service: c.service, Dest: c.dest}
	if c.cmd == cmdEditDest {
		op.Kind = ipvs.SetDest
	}
	if !c.fullNAT {
		return a.serverRefused(ctx, &op, a.kernel.Apply(ctx, op))
	}
	if err := a.needExt(ctx); err != nil {
		return err
	}
	key := c.service.ServiceKey
	if c.onlyFullNAT() {
		dests, err := a.kernel.Dests(ctx, key)
		if err != nil {
			return err
		}
		at := slices.IndexFunc(dests, func(d ipvs.Dest) bool { return d.DestKey == c.dest.DestKey })
		if at < 0 {
			return syscall.ENOENT
		}
		op.Dest = viaFullNAT(dests[at])
	}
	before, err := a.kernel.ExtService(ctx, key)
	if err != nil {
		return extRefused(c.cmd, err)
	}
	flag := ipvs.Ext{Set: ipvs.ExtFieldFlags, Flags: ipvs.ExtFNAT, FlagsMask: ipvs.ExtFNAT}
	was := before.Flags&ipvs.ExtFNAT != 0
	if !was {
		if err := a.kernel.Apply(ctx, setExt(key, flag)); err != nil {
			return extRefused(c.cmd, err)
		}
	}
	err = a.kernel.Apply(ctx, op)
	if err != nil && !was {
		flag.Flags = 0
		return a.takeBack(ctx, refusedBy(c.cmd, err), setExt(key, flag))
	}
	return err
}

// serverRefused says why a SYNPROXY service takes no such server, which the
// mainline family cannot.
func (a *app) serverRefused(ctx context.Context, op *ipvs.Op, err error) error {
	if !isErrno(err, syscall.EOPNOTSUPP) || op.Dest.Forward == ipvs.Masq {
		return err
	}
	if ours, findErr := a.extended(ctx); findErr != nil || !ours {
		return err
	}
	key := op.Service.ServiceKey
	s, findErr := a.kernel.ExtService(ctx, key)
	if findErr != nil || s.Flags&ipvs.ExtSynproxy == 0 {
		return err
	}
	return &failure{code: 255, text: fmt.Sprintf(msgSPServer, serviceWords(key)), err: err}
}

// addLaddr is -P.
func (a *app) addLaddr(ctx context.Context, c *call) error {
	if err := a.needExt(ctx); err != nil {
		return err
	}
	key := c.service.ServiceKey
	name, attached, err := a.groupOf(ctx, c)
	if err != nil {
		return err
	}
	group := ipvs.LGroup{Name: name, Family: ipvs.IPv4}
	if c.laddr.Addr.IsValid() {
		group.Family = ipvs.FamilyOf(c.laddr.Addr)
	}
	if c.set.has(colService) && group.Family != c.service.Family {
		return usagef(msgLaddrFamily)
	}
	var undo []ipvs.Op
	err = a.kernel.Apply(ctx, ipvs.Op{Kind: ipvs.AddLGroup, LGroup: group})
	switch {
	case err == nil:
		undo = append(undo, ipvs.Op{Kind: ipvs.DelLGroup, LGroup: group})
	case !isErrno(err, syscall.EEXIST) || !c.set.has(colLocalAddress):
		return extRefused(c.cmd, err)
	}
	if c.set.has(colLocalAddress) {
		added, err := a.putLaddr(ctx, c, group, attached != name)
		if err != nil {
			return a.takeBack(ctx, err, undo...)
		}
		if added {
			undo = append(undo, ipvs.Op{Kind: ipvs.DelLaddr, LGroup: group, Laddr: c.laddr})
		}
	}
	if !c.set.has(colService) || attached == name {
		return nil
	}
	attach := ipvs.Ext{Set: ipvs.ExtFieldLGroup, LGroup: name}
	if err := a.kernel.Apply(ctx, setExt(key, attach)); err != nil {
		return a.takeBack(ctx, extRefused(c.cmd, err), undo...)
	}
	return nil
}

// takeBack undoes, last first, what a call did before it was refused. The
// user hears of it if that does not work either.
func (a *app) takeBack(ctx context.Context, refused error, undo ...ipvs.Op) error {
	for _, op := range slices.Backward(undo) {
		err := a.kernel.Apply(ctx, op)
		var f *failure
		if err != nil && errors.As(refused, &f) {
			refused = &failure{code: f.code, text: f.text + "; taking back what was done before failed: " + err.Error(), err: errors.Join(f, err)}
		}
	}
	return refused
}

// groupOf finds the group that -P and -Q mean: the one named, else the one
// that the service uses, else the service's own.
func (a *app) groupOf(ctx context.Context, c *call) (name, attached string, err error) {
	if !c.set.has(colService) {
		return c.group, c.group, nil
	}
	key := c.service.ServiceKey
	s, err := a.kernel.ExtService(ctx, key)
	if err != nil {
		return "", "", extRefused(c.cmd, err)
	}
	switch {
	case c.group != "":
		return c.group, s.LGroup, nil
	case s.LGroup != "":
		return s.LGroup, s.LGroup, nil
	}
	return ipvs.ServiceGroup(key), "", nil
}

// putLaddr adds the address. One that is in the group already is changed if
// the call says what to change, and is no error if a service is to be attached.
func (a *app) putLaddr(ctx context.Context, c *call, group ipvs.LGroup, attaching bool) (added bool, err error) {
	op := ipvs.Op{Kind: ipvs.AddLaddr, LGroup: group, Laddr: c.laddr}
	err = a.kernel.Apply(ctx, op)
	if err == nil {
		return true, nil
	}
	if !isErrno(err, syscall.EEXIST) {
		return false, extRefused(c.cmd, err)
	}
	old, elsewhere, findErr := a.findLaddr(ctx, group.Name, c.laddr)
	switch {
	case findErr != nil:
		return false, extRefused(c.cmd, findErr)
	case elsewhere != "":
		text := fmt.Sprintf(msgLaddrElsewhere, c.laddr.Addr, elsewhere)
		return false, &failure{code: 255, text: text, err: err}
	case c.setFlags || c.setCPUs || c.laddr.PortMin != 0:
		op.Kind, op.Laddr = ipvs.SetLaddr, merge(old, c)
		if err := a.kernel.Apply(ctx, op); err != nil {
			return false, extRefused(c.cmd, err)
		}
		return false, nil
	case attaching:
		return false, nil
	}
	return false, extRefused(c.cmd, err)
}

// merge is the address as it was, with what the call names changed. Ports that
// are not named stay unsent, which leaves them: they need not pass the kernel's
// checks again for an address to be drained.
func merge(old ipvs.Laddr, c *call) ipvs.Laddr {
	l := ipvs.Laddr{Addr: old.Addr, PortMin: c.laddr.PortMin, PortMax: c.laddr.PortMax, CPUs: old.CPUs, Flags: old.Flags}
	if c.setFlags {
		l.Flags = c.laddr.Flags
	}
	if c.setCPUs {
		l.CPUs = c.laddr.CPUs
	}
	return l
}

// findLaddr looks for the address in group, then in the other groups.
func (a *app) findLaddr(ctx context.Context, group string, l ipvs.Laddr) (old ipvs.Laddr, elsewhere string, err error) {
	groups, err := a.kernel.LGroups(ctx)
	if err != nil {
		return old, "", err
	}
	for _, g := range groups {
		laddrs, err := a.kernel.Laddrs(ctx, g.Name)
		if err != nil {
			return old, "", err
		}
		for _, other := range laddrs {
			if other.Addr != l.Addr {
				continue
			}
			if g.Name == group {
				return other, "", nil
			}
			elsewhere = g.Name
		}
	}
	return l, elsewhere, nil
}

// delLaddr is -Q.
func (a *app) delLaddr(ctx context.Context, c *call) error {
	if err := a.needExt(ctx); err != nil {
		return err
	}
	key := c.service.ServiceKey
	if !c.set.has(colLocalAddress) {
		err := a.delGroup(ctx, c.group)
		if err != nil {
			return extRefused(c.cmd, err)
		}
		return nil
	}
	name, attached, err := a.groupOf(ctx, c)
	if err != nil {
		return err
	}
	group := ipvs.LGroup{Name: name, Family: ipvs.FamilyOf(c.laddr.Addr)}
	err = a.kernel.Apply(ctx, ipvs.Op{Kind: ipvs.DelLaddr, LGroup: group, Laddr: c.laddr})
	switch {
	case isErrno(err, syscall.ENOENT) && c.set.has(colService):
		return refusedBy(c.cmd, err) // the group is none that the user named
	case err != nil:
		return extRefused(c.cmd, err)
	}
	if !c.set.has(colService) || attached != name || name != ipvs.ServiceGroup(key) {
		return nil
	}
	return a.dropEmpty(ctx, c, name)
}

// dropEmpty detaches and deletes a service's own group that has no address
// left. With FNAT on it stays: the service must not fall back to plain NAT.
func (a *app) dropEmpty(ctx context.Context, c *call, name string) error {
	key := c.service.ServiceKey
	left, err := a.kernel.Laddrs(ctx, name)
	if err != nil {
		return extRefused(c.cmd, err)
	}
	s, err := a.kernel.ExtService(ctx, key)
	if err != nil {
		return extRefused(c.cmd, err)
	}
	if len(left) > 0 || s.Flags&ipvs.ExtFNAT != 0 {
		return nil
	}
	if err := a.kernel.Apply(ctx, setExt(key, ipvs.Ext{Set: ipvs.ExtFieldLGroup})); err != nil {
		return extRefused(c.cmd, err)
	}
	if err := a.delGroup(ctx, name); err != nil && !isErrno(err, syscall.EBUSY) {
		return extRefused(c.cmd, err)
	}
	return nil
}
