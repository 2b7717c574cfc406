// SPDX-License-Identifier: Apache-2.0

package director

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"

	"github.com/lvs-fnat/lvs/ipvs"
)

// Kernel is what the director needs of a kernel's tables. [*ipvs.Client] is
// one.
type Kernel interface {
	ipvs.Applier
	Info(context.Context) (ipvs.Info, error)
	Services(context.Context) ([]ipvs.Service, error)
	Dests(context.Context, ipvs.ServiceKey) ([]ipvs.Dest, error)
	Timeouts(context.Context) (ipvs.Timeouts, error)
	ExtServices(context.Context) ([]ipvs.ExtService, error)
	LGroups(context.Context) ([]ipvs.LGroup, error)
	Laddrs(ctx context.Context, group string) ([]ipvs.Laddr, error)
	ExtConfig(context.Context) (ipvs.ExtConfig, error)
}

// Mirror brings a kernel to the tables it is given, and knows what it has
// brought it to. Services and groups that no table named are never touched.
// It is not safe for concurrent use.
type Mirror struct {
	k Kernel
	// have is what the kernel holds of ours as of the last success. What it
	// refers to is never changed.
	have Tables
	rev  uint64
}

// NewMirror returns a mirror of k that answers for nothing yet.
func NewMirror(k Kernel) *Mirror { return &Mirror{k: k} }

// Have is what the mirror answers for.
func (m *Mirror) Have() Tables { return m.have }

// Rev is another number after each call that has tried to change the kernel.
func (m *Mirror) Rev() uint64 { return m.rev }

// apply sends operations.
func (m *Mirror) apply(ctx context.Context, ops ...ipvs.Op) error {
	m.rev++
	return m.k.Apply(ctx, ops...)
}

// turn sends what turns have into want.
func (m *Mirror) turn(ctx context.Context, have, want Tables) error {
	return diffInto(have, want, func(ops []ipvs.Op) error { return m.apply(ctx, ops...) })
}

// Plan returns what Sync would do.
func (m *Mirror) Plan(ctx context.Context, want Tables) ([]ipvs.Op, error) {
	found, err := m.read(ctx, want, nil)
	if err != nil {
		return nil, err
	}
	return Diff(found, want), nil
}

// Watch returns a function that reads the kernel and gives what would bring it
// back to what the mirror answers for now. It may be called while the mirror is
// in use; if Rev is another afterwards, its answer says nothing.
func (m *Mirror) Watch() func(context.Context) ([]ipvs.Op, error) {
	still := &Mirror{k: m.k, have: m.have}
	return func(ctx context.Context) ([]ipvs.Op, error) { return still.Plan(ctx, still.have) }
}

// Update applies the difference between the last tables and want, without
// reading the kernel. If that fails, for instance because somebody has changed
// the tables meanwhile, it does what Sync does.
func (m *Mirror) Update(ctx context.Context, want Tables) error {
	if m.turn(ctx, m.have, want) != nil {
		return m.Sync(ctx, want)
	}
	m.have = want
	return nil
}

// Reload is Sync for a mirror that answers for what is in the kernel: of a
// service that is there as it should be the real servers are taken to be as they
// were brought there, and not read one service at a time. Where that is not so,
// and matters, the kernel refuses, and Sync is done after all.
func (m *Mirror) Reload(ctx context.Context, want Tables) error {
	found, err := m.read(ctx, want, servicesByKey(m.have.Services))
	if err != nil {
		return err
	}
	err = m.bring(ctx, found, want)
	for _, mistaken := range []error{syscall.ENOENT, syscall.ESRCH, syscall.EEXIST} {
		if errors.Is(err, mistaken) {
			return m.Sync(ctx, want)
		}
	}
	return err
}

// Sync reads the kernel and applies the difference to want. Services and
// groups of want that are in the kernel already are adopted: they are changed
// in place, and the mirror answers for them from now on. On error the part
// that was applied is taken back as far as the kernel lets it, and the mirror
// answers for what it did before.
func (m *Mirror) Sync(ctx context.Context, want Tables) error {
	found, err := m.read(ctx, want, nil)
	if err != nil {
		return err
	}
	return m.bring(ctx, found, want)
}

// bring applies the difference between what was found and want, or takes back what
// it has done of it.
func (m *Mirror) bring(ctx context.Context, found, want Tables) error {
	err := m.turn(ctx, found, want)
	if err == nil {
		m.have = want
		return nil
	}
	now, readErr := m.read(ctx, union(want, found), nil)
	if readErr != nil {
		return errors.Join(err, fmt.Errorf("read the tables to take back what was done: %w", readErr))
	}
	if undoErr := m.turn(ctx, now, found); undoErr != nil {
		return errors.Join(err, fmt.Errorf("take back what was done: %w", undoErr))
	}
	return err
}

// Remove takes down everything the mirror answers for, in the reverse of the
// order it was made in. It goes on where something is gone already.
func (m *Mirror) Remove(ctx context.Context) error {
	if m.turn(ctx, m.have, Tables{}) == nil {
		m.have = Tables{}
		return nil
	}
	found, err := m.read(ctx, m.have, nil)
	if err != nil {
		return err
	}
	if err := m.turn(ctx, found, Tables{}); err != nil {
		return err
	}
	m.have = Tables{}
	return nil
}

// Flush empties the whole table of services, others' included.
func (m *Mirror) Flush(ctx context.Context) error {
	if err := m.apply(ctx, ipvs.Op{Kind: ipvs.Flush}); err != nil {
		return err
	}
	m.have.Services = nil
	return nil
}

// union names the services and groups of both.
func union(a, b Tables) Tables {
	return Tables{
		Timeouts: a.Timeouts,
		Config:   a.Config,
		Groups:   slices.Concat(a.Groups, b.Groups),
		Services: slices.Concat(a.Services, b.Services),
	}
}

// read returns what the kernel holds of the services and groups named in want
// or in m.have. The real servers of trusted services are not read if the service
// is as it should be.
func (m *Mirror) read(ctx context.Context, want Tables, trusted map[ipvs.ServiceKey]*Service) (Tables, error) {
	info, err := m.k.Info(ctx)
	if err != nil {
		return Tables{}, err
	}
	var found Tables
	if want.Timeouts != (ipvs.Timeouts{}) {
		if found.Timeouts, err = m.k.Timeouts(ctx); err != nil {
			return Tables{}, err
		}
	}
	if err := m.readServices(ctx, &found, want, trusted, info.Extended != nil); err != nil {
		return Tables{}, err
	}
	if info.Extended == nil {
		return found, nil
	}
	if want.Config.Set != 0 {
		if found.Config, err = m.k.ExtConfig(ctx); err != nil {
			return Tables{}, err
		}
	}
	return found, m.readGroups(ctx, &found, slices.Concat(want.Groups, m.have.Groups))
}

func (m *Mirror) readServices(ctx context.Context, found *Tables, want Tables, trusted map[ipvs.ServiceKey]*Service, extended bool) error {
	services, err := m.k.Services(ctx)
	if err != nil || len(services) == 0 {
		return err
	}
	scope := make(map[ipvs.ServiceKey]bool, len(want.Services))
	for _, list := range [][]*Service{want.Services, m.have.Services} {
		for i := range list {
			scope[list[i].ServiceKey] = true
		}
	}
	exts := map[ipvs.ServiceKey]ipvs.Ext{}
	if extended {
		list, err := m.k.ExtServices(ctx)
		if err != nil {
			return err
		}
		for _, s := range list {
			exts[s.ServiceKey] = s.Ext
		}
	}
	if m.intact(services, exts, scope, trusted) {
		found.Services = m.have.Services
		return nil
	}
	for _, s := range services {
		if !scope[s.ServiceKey] {
			continue
		}
		var dests []Dest
		if t := trusted[s.ServiceKey]; t != nil && sameService(&s, &t.Main) {
			dests = t.Dests
		} else {
			list, err := m.k.Dests(ctx, s.ServiceKey)
			if err != nil {
				return err
			}
			dests = foundDests(list)
		}
		found.Services = append(found.Services, foundService(s, exts[s.ServiceKey], dests))
	}
	*found = found.sorted()
	return nil
}

// intact tells whether all that is trusted, which is what m has brought there, is
// there as it should be, and nothing else of scope.
func (m *Mirror) intact(services []ipvs.Service, exts map[ipvs.ServiceKey]ipvs.Ext, scope map[ipvs.ServiceKey]bool, trusted map[ipvs.ServiceKey]*Service) bool {
	n := 0
	for i := range services {
		key := services[i].ServiceKey
		t := trusted[key]
		if t == nil {
			if scope[key] {
				return false
			}
			continue
		}
		ext := exts[key]
		_, change := diffExt(&ext, &t.Ext)
		if change || !sameService(&services[i], &t.Main) {
			return false
		}
		n++
	}
	return len(trusted) > 0 && n == len(m.have.Services)
}

// readGroups reads the groups of scope, those of m.have behind others, and those that are left over from an
// earlier run under another name: they hold an address of scope, and nobody
// but services of scope uses them.
func (m *Mirror) readGroups(ctx context.Context, found *Tables, scope []Group) error {
	groups, err := m.k.LGroups(ctx)
	if err != nil {
		return err
	}
	names := byKey(scope, groupName)
	ours := map[string]uint32{}
	for _, s := range found.Services {
		ours[s.Ext.LGroup]++
	}
	asked := m.asked(scope)
	for _, g := range groups {
		laddrs, err := m.k.Laddrs(ctx, g.Name)
		if err != nil {
			return err
		}
		if names[g.Name] == nil && (g.Refs > ours[g.Name] || !holdsAny(laddrs, asked)) {
			continue
		}
		to := Group{Name: g.Name, Family: g.Family, Laddrs: laddrs, Hand: map[netip.Addr]ipvs.LaddrFlags{}}
		for i, a := range laddrs {
			laddrs[i] = undefault(a, asked)
			if flags := a.Flags &^ laddrs[i].Flags; flags != 0 {
				to.Hand[a.Addr] = flags
			}
		}
		found.Groups = append(found.Groups, to)
	}
	*found = found.sorted()
	return nil
}

// asked gives the addresses as they were last asked for, those of m.have first.
func (m *Mirror) asked(scope []Group) map[netip.Addr]ipvs.Laddr {
	asked := map[netip.Addr]ipvs.Laddr{}
	for _, groups := range [][]Group{scope, m.have.Groups} {
		for _, g := range groups {
			for _, a := range g.Laddrs {
				asked[a.Addr] = a
			}
		}
	}
	return asked
}

func holdsAny(laddrs []ipvs.Laddr, asked map[netip.Addr]ipvs.Laddr) bool {
	return slices.ContainsFunc(laddrs, func(a ipvs.Laddr) bool { _, ok := asked[a.Addr]; return ok })
}

// undefault puts back what was left to the kernel, which reports the ports and
// CPUs that it chose, and takes out flags that nobody of ours asked for.
func undefault(a ipvs.Laddr, asked map[netip.Addr]ipvs.Laddr) ipvs.Laddr {
	want, ok := asked[a.Addr]
	a.Flags &= want.Flags
	if ok && want.PortMin == 0 && want.PortMax == 0 {
		a.PortMin, a.PortMax = 0, 0
	}
	if ok && want.CPUs == "" {
		a.CPUs = ""
	}
	return a
}
