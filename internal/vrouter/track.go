// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"fmt"
	"slices"

	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/vrrp"
)

// Kinds of tracked objects, as faults and weights name them.
const (
	kindInterface = "interface"
	kindScript    = "script"
	kindFile      = "file"
	kindProcess   = "process"
	kindSession   = "bfd"
)

// tracks watches everything that instances and groups track.
type tracks struct {
	e         *Engine
	scripts   map[string]*scriptState
	files     *fileWatch
	processes *processWatch
	sessions  map[string]bool // of BFD: whether they are up, as far as was heard
}

// build takes over a configuration; objects that stay keep what is known of them.
func (t *tracks) build(e *Engine, cfg *config.Config) {
	t.e = e
	t.buildScripts(cfg.VRRP.Scripts)
	t.buildFiles(cfg)
	t.buildProcesses(cfg.VRRP.Processes)
	for _, in := range e.instances() {
		t.assess(in)
	}
}

// start runs the scripts for the first time.
func (t *tracks) start() {
	for _, s := range t.scripts {
		s.start()
	}
}

func (t *tracks) stop() {
	for _, s := range t.scripts {
		s.stop()
	}
}

// close ends what watches; it is the last call.
func (t *tracks) close() {
	t.files.close()
	t.processes.close()
}

// of gives what an instance tracks, by itself and by its group.
func (in *instance) tracked() []config.Track {
	list := []config.Track{in.cfg.Track}
	if in.unit != nil && in.unit.cfg != nil {
		list = append(list, in.unit.cfg.Track)
	}
	return list
}

// pending tells whether the instance waits for the first result of a script
// whose failure would be a fault.
func (t *tracks) pending(in *instance) bool {
	return slices.ContainsFunc(in.tracked(), func(tr config.Track) bool {
		return slices.ContainsFunc(tr.Scripts, func(x config.Tracked) bool {
			s := t.scripts[x.Name]
			return x.Weight == 0 && s != nil && !s.known
		})
	})
}

// assess tells the machine of an instance the state of all it tracks.
func (t *tracks) assess(in *instance) {
	keep := map[string]bool{faultLink: true, faultSource: true, faultPeers: true}
	in.ofGroups(func(name string) { keep[faultStatic+name] = true })
	tell := func(kind string, list []config.Tracked) {
		for _, x := range list {
			keep[kind+" "+x.Name] = true
			t.tell(in, kind, x)
		}
	}
	for _, tr := range in.tracked() {
		tell(kindInterface, tr.Interfaces)
		tell(kindScript, tr.Scripts)
		tell(kindFile, tr.Files)
		tell(kindProcess, tr.Processes)
		tell(kindSession, tr.Sessions)
	}
	// After a reload: what is no longer tracked holds nothing back.
	for what := range in.weights {
		if !keep[what] {
			delete(in.weights, what)
			in.event(vrrp.Weight{What: what})
		}
	}
	for _, what := range in.m.Faults() {
		if !keep[what] {
			in.event(vrrp.Up{What: what})
		}
	}
}

// changed tells all instances that track the object.
func (t *tracks) changed(kind, name string) {
	for _, in := range t.e.instances() {
		for _, tr := range in.tracked() {
			list := map[string][]config.Tracked{
				kindInterface: tr.Interfaces, kindScript: tr.Scripts, kindFile: tr.Files, kindProcess: tr.Processes, kindSession: tr.Sessions,
			}[kind]
			for _, x := range list {
				if x.Name == name {
					t.tell(in, kind, x)
				}
			}
		}
		if in.unit != nil {
			in.unit.start()
		}
	}
}

// tell hands the effect of one object to one machine.
func (t *tracks) tell(in *instance, kind string, x config.Tracked) {
	what := kind + " " + x.Name
	fault, delta, known := t.effect(kind, x)
	if !known {
		return
	}
	in.fault(what, fault)
	if in.weights[what] != delta {
		in.weights[what] = delta
		in.event(vrrp.Weight{What: what, Delta: delta})
	}
}

func (t *tracks) effect(kind string, x config.Tracked) (fault bool, delta int, known bool) {
	switch kind {
	case kindInterface:
		link := t.e.links.named(x.Name)
		fault, delta = effect(x, link != nil && t.e.links.up(link.Index))
		return fault, delta, true
	case kindScript:
		s := t.scripts[x.Name]
		if s == nil || !s.known {
			return false, 0, false
		}
		fault, delta = effect(x, s.up)
		return fault, delta, true
	case kindFile:
		fault, delta = fileEffect(x, t.files.value(x.Name))
		return fault, delta, true
	case kindSession:
		fault, delta = effect(x, t.sessions[x.Name])
		return fault, delta, true
	}
	up, known := t.processes.up(x.Name)
	fault, delta = effect(x, up)
	return fault, delta, known
}

// effect of an object that is up or down: without weight its failure is a
// fault; a weight above 0 counts while it is up, one below while it is down.
// Reversed, it is a fault while it is up, and the weight counts at the same time with
// the other sign, as in keepalived 2.2.7.
func effect(x config.Tracked, up bool) (fault bool, delta int) {
	switch {
	case x.Weight == 0:
		return up == x.Reverse, 0
	case x.Weight > 0 != up:
		return false, 0
	case x.Reverse:
		return false, -x.Weight
	}
	return false, x.Weight
}

// faultValue is the product of value and weight from which on a file is a fault.
const faultValue = -254

// fileEffect is value times weight; without weight any value but 0 is a fault.
func fileEffect(x config.Tracked, value int) (fault bool, delta int) {
	if x.Weight == 0 {
		return (value != 0) != x.Reverse, 0
	}
	delta = value * x.Weight
	if x.Reverse {
		delta = -delta
	}
	if delta <= faultValue {
		return true, 0
	}
	return false, min(delta, -faultValue-1)
}

// session is called with what the BFD process says.
func (t *tracks) session(name string, up bool) {
	if t.sessions[name] == up {
		return // it was taken for down before anything was heard
	}
	t.sessions[name] = up
	for _, in := range t.e.instances() {
		for _, tr := range in.tracked() {
			if slices.ContainsFunc(tr.Sessions, func(x config.Tracked) bool { return x.Name == name }) {
				t.e.log.Info(fmt.Sprintf("VRRP_Instance(%s) Tracked BFD instance %s is %s", in.name(), name, map[bool]string{true: "UP", false: "DOWN"}[up]))
			}
		}
	}
	t.changed(kindSession, name)
}

// link is called when the state of a link may have changed.
func (t *tracks) link(name string) { t.changed(kindInterface, name) }

// links is link for all that are tracked.
func (t *tracks) links() {
	for _, in := range t.e.instances() {
		for _, tr := range in.tracked() {
			for _, x := range tr.Interfaces {
				t.tell(in, kindInterface, x)
			}
		}
	}
}
