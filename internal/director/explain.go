// SPDX-License-Identifier: Apache-2.0

package director

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"syscall"

	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/ipvs"
)

// needs are what a virtual server may ask of the kernel beyond stock ip_vs: the
// keyword, the feature as [ipvs.FeatureNames] has it, and who asks.
var needs = []struct {
	word, feature string
	of            func(*config.VirtualServer) bool
}{
	{"FNAT", "FNAT", func(vs *config.VirtualServer) bool { return vs.Method == config.FNAT }},
	{"syn_proxy", "SYNPROXY", func(vs *config.VirtualServer) bool { return vs.Ext.Synproxy != ipvs.SynproxyOff }},
	{"toa", "TOA", func(vs *config.VirtualServer) bool { return vs.Ext.TOA }},
	{"timestamps", "TS_MODE", func(vs *config.VirtualServer) bool { return vs.Ext.Timestamps != config.TSKeep }},
	{"mss_clamp", "MSS", func(vs *config.VirtualServer) bool { return vs.Ext.MSSClamp != 0 }},
	{"limits", "LIMITS", func(vs *config.VirtualServer) bool { return limited(vs.Ext.Limits) }},
	{"acl", "ACL", func(vs *config.VirtualServer) bool { return vs.Ext.Limits.ACL != ipvs.ACLOff }},
	{"invalid", "FLOOD", func(vs *config.VirtualServer) bool { return vs.Ext.Invalid != ipvs.InvalidAccept }},
	{"rst_on_expire", "EXPIRE_RST", func(vs *config.VirtualServer) bool { return vs.Ext.RSTOnExpire }},
	{"fast", "FAST", func(vs *config.VirtualServer) bool { return vs.Ext.Fast }},
}

// Lack is something that virtual servers need and the kernel has not.
type Lack struct {
	Word  string                // the keyword, or FNAT
	First *config.VirtualServer // that needs it
	More  int                   // others that do
}

// Lacking lists what cfg needs and a kernel with info has not.
func Lacking(cfg *config.Config, info ipvs.Info) []Lack {
	var features []string
	if info.Extended != nil {
		features = ipvs.FeatureNames(info.Extended.Features)
	}
	var all []Lack
	for _, n := range needs {
		if slices.Contains(features, n.feature) {
			continue
		}
		l := Lack{Word: n.word}
		for i := range cfg.VirtualServers {
			switch vs := cfg.VirtualServers[i]; {
			case !n.of(vs):
			case l.First == nil:
				l.First = vs
			default:
				l.More++
			}
		}
		if l.First != nil {
			all = append(all, l)
		}
	}
	return all
}

// Unsupported returns one diagnostic about the first setting or virtual server of
// cfg that a kernel with info cannot serve, and false if it can serve all. It is to
// be asked before anything is changed.
func Unsupported(cfg *config.Config, info ipvs.Info) (config.Diagnostic, bool) {
	if g := &cfg.Global; g.Ext.Set != 0 && info.Extended == nil {
		return config.Diagnostic{Pos: g.ExtPos, Severity: config.Error, Text: fmt.Sprintf("global_defs sets what holds for all services: %v", ipvs.ErrNoExt)}, true
	}
	all := Lacking(cfg, info)
	if len(all) == 0 {
		return config.Diagnostic{}, false
	}
	l := all[0]
	d := config.Diagnostic{Pos: l.First.Pos, Severity: config.Error}
	if info.Extended == nil {
		d.Text = fmt.Sprintf("Virtual server %s needs %s: %v", l.First.Name, l.Word, ipvs.ErrNoExt)
	} else {
		d.Text = fmt.Sprintf("Virtual server %s needs %s, which the running ip_vs (%s) does not have: remove it, or install a newer lvs-dkms",
			l.First.Name, l.Word, info.Extended.Build)
	}
	if l.More > 0 {
		d.Text += fmt.Sprintf(" (and %d more)", l.More)
	}
	return d, true
}

// limited tells whether anything but the list of clients is set.
func limited(l ipvs.Limits) bool {
	l.ACL, l.ACLSet4, l.ACLSet6 = 0, "", ""
	return l != (ipvs.Limits{})
}

// Explain words an error of a [Mirror] for the log, with the place in the
// configuration that the refused operation comes from.
func (d *Director) Explain(err error) string {
	var batch *ipvs.BatchError
	if !errors.As(err, &batch) {
		return err.Error()
	}
	pos, ok := d.where(batch.Op)
	if !ok {
		return err.Error()
	}
	text := batch.Err.Error() // the number of the operation says nothing to a person
	if batch.Op.Kind == ipvs.AddLaddr {
		switch {
		case errors.Is(err, fs.ErrExist):
			text += ": another group has this address; 'ipvsadm -G' shows which"
		case errors.Is(err, syscall.EADDRNOTAVAIL):
			text += ": give the address to an interface of this host first"
		}
	}
	return config.Diagnostic{Pos: pos, Text: text}.String()
}

// where is the place that op comes from.
func (d *Director) where(op ipvs.Op) (config.Pos, bool) {
	switch op.Kind {
	case ipvs.AddLGroup, ipvs.DelLGroup, ipvs.AddLaddr, ipvs.SetLaddr, ipvs.DelLaddr:
		return d.whereGroup(op)
	}
	for _, v := range d.virtuals {
		for _, e := range v.served() {
			if endpointKey(v.cfg, e) == op.Service.ServiceKey {
				return v.whereDest(op, e), true
			}
		}
	}
	return config.Pos{}, false
}

func (d *Director) whereGroup(op ipvs.Op) (config.Pos, bool) {
	for _, g := range d.cfg.LaddrGroups {
		if g.Name != op.LGroup.Name {
			continue
		}
		for _, a := range g.Addrs {
			if a.Addr == op.Laddr.Addr {
				return a.Pos, true
			}
		}
		return g.Pos, true
	}
	return config.Pos{}, false
}

func (v *virtual) whereDest(op ipvs.Op, e config.Endpoint) config.Pos {
	for _, s := range v.servers {
		if op.Dest.Addr.IsValid() && wantedDest(s.cfg, e, 0).DestKey == op.Dest.DestKey {
			return s.cfg.Pos
		}
	}
	return v.cfg.Pos
}
