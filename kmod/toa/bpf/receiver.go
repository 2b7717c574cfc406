// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
)

// The object needs clang and the headers of libbpf to make, and only to make.
//
//go:generate clang -fdebug-compilation-dir=. -O2 -g -Wall -Werror -target bpf -mcpu=v3 -I/usr/include/x86_64-linux-gnu -c toa.bpf.c -o toa.bpf.o
//go:generate llvm-strip -g toa.bpf.o

//go:embed toa.bpf.o
var object []byte

// attachments are the programs of the object and where the kernel calls them.
var attachments = []struct {
	program string
	attach  ebpf.AttachType
}{
	// The names are shown before the connections are: a client that is
	// remembered can be shown from the first moment.
	{"toa_getpeername4", ebpf.AttachCgroupInet4GetPeername},
	{"toa_getpeername6", ebpf.AttachCgroupInet6GetPeername},
	{"toa_sockops", ebpf.AttachCGroupSockOps},
}

// counters in the order of enum counter in toa.bpf.c.
var counters = []string{
	"accepted", "none", "untrusted", "malformed", "no_memory",
	"from_syn", "shown", "mismatch",
}

const (
	mapTrust4   = "toa_trust4"
	mapTrust6   = "toa_trust6"
	mapCounters = "toa_counters"
)

// config is what a receiver is started with. The zero value but for Cgroup is
// good: it understands the kinds of the object and trusts nobody.
type config struct {
	Cgroup   string         // directory in a cgroup v2 tree
	Trust    []netip.Prefix // of directors
	Kinds    []byte         // at most eight; none: those of the object
	SavedSYN bool           // look into the SYN as well
	Pin      string         // directory in a BPF file system; empty: not pinned
}

// A receiver is a set of loaded and attached programs. Unless it is pinned, it
// ends with the process or with Close. It is not safe for concurrent use.
type receiver struct {
	coll  *ebpf.Collection
	links []link.Link
	pin   string
}

// start loads, fills and attaches a receiver. On error nothing is left behind.
func start(c config) (_ *receiver, err error) {
	if err := checkCgroup(c.Cgroup); err != nil {
		return nil, err
	}
	if err := checkPin(c.Pin); err != nil {
		return nil, err
	}
	r := &receiver{pin: c.Pin}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.undo())
		}
	}()
	if r.coll, err = load(c); err != nil {
		return nil, err
	}
	for _, p := range c.Trust {
		if err := addTrust(r.table(), p); err != nil {
			return nil, err
		}
	}
	if err := r.attach(c.Cgroup); err != nil {
		return nil, err
	}
	if c.Pin != "" {
		err = r.pinAll()
	}
	return r, err
}

func load(c config) (*ebpf.Collection, error) {
	// Before 5.11 maps counted against the limit of locked memory.
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("lift the limit of locked memory: %w (needs root)", err)
	}
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
	if err != nil {
		return nil, fmt.Errorf("embedded object: %w", err)
	}
	if err := c.set(spec.Variables["config"]); err != nil {
		return nil, fmt.Errorf("embedded object: config: %w", err)
	}
	coll, err := ebpf.NewCollection(spec)
	switch {
	case errors.Is(err, syscall.EPERM):
		return nil, fmt.Errorf("load programs: %w (needs root, or CAP_BPF and CAP_NET_ADMIN)", err)
	case err != nil:
		return nil, fmt.Errorf("load programs: %w (needs Linux 5.17 with CONFIG_BPF_SYSCALL, CONFIG_CGROUP_BPF and CONFIG_INET; where that is not to be had, load the module toa.ko)", err)
	}
	return coll, nil
}

// objectConfig is config of toa.bpf.c.
type objectConfig struct {
	Kinds    [8]byte
	SavedSYN bool
}

// set changes what the object comes with where c says something else.
func (c config) set(v *ebpf.VariableSpec) error {
	var o objectConfig
	if err := v.Get(&o); err != nil {
		return err
	}
	if len(c.Kinds) > 0 {
		o.Kinds = [8]byte{}
		copy(o.Kinds[:], c.Kinds)
	}
	o.SavedSYN = c.SavedSYN
	return v.Set(o)
}

// checkCgroup turns the kernel's EBADF and EINVAL into words.
func checkCgroup(dir string) error {
	const cgroup2 = 0x63677270 // magic of linux/magic.h
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return fmt.Errorf("--cgroup %s: %w", dir, err)
	}
	if int64(st.Type) != cgroup2 {
		return fmt.Errorf("--cgroup %s: not in a cgroup v2 tree; mount one (mount -t cgroup2 none DIR) or, on a hybrid host, use /sys/fs/cgroup/unified", dir)
	}
	return nil
}

// checkPin makes the directory and refuses one that is in use.
func checkPin(dir string) error {
	if dir == "" {
		return nil
	}
	const bpffs = 0xcafe4a11 // magic of linux/magic.h
	var st syscall.Statfs_t
	if err := syscall.Statfs(filepath.Dir(dir), &st); err != nil {
		return fmt.Errorf("--pin %s: %w", dir, err)
	}
	if int64(st.Type) != bpffs {
		return fmt.Errorf("--pin %s: %s is not a BPF file system; mount it (mount -t bpf bpf /sys/fs/bpf) and name a directory in it", dir, filepath.Dir(dir))
	}
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("--pin %s: a receiver is pinned there already; detach it first (toa-bpf detach --pin %s)", dir, dir)
	}
	if err != nil {
		return fmt.Errorf("--pin %s: %w", dir, err)
	}
	return nil
}

func (r *receiver) attach(cgroup string) error {
	for _, a := range attachments {
		l, err := link.AttachCgroup(link.CgroupOptions{
			Path: cgroup, Attach: a.attach, Program: r.coll.Programs[a.program],
		})
		if err != nil {
			return fmt.Errorf("attach %s to %s: %w (needs Linux 5.8 with CONFIG_CGROUP_BPF; another program attached there without BPF_F_ALLOW_MULTI also refuses)", a.program, cgroup, err)
		}
		r.links = append(r.links, l)
	}
	return nil
}

func (r *receiver) pinAll() error {
	for _, name := range []string{mapTrust4, mapTrust6, mapCounters} {
		if err := r.coll.Maps[name].Pin(filepath.Join(r.pin, name)); err != nil {
			return fmt.Errorf("--pin %s: %w", r.pin, err)
		}
	}
	for i, l := range r.links {
		if err := l.Pin(filepath.Join(r.pin, attachments[i].program)); err != nil {
			return fmt.Errorf("--pin %s: %w", r.pin, err)
		}
	}
	return nil
}

// undo takes back what start did.
func (r *receiver) undo() error {
	err := r.Close()
	if r.pin != "" {
		err = errors.Join(err, os.RemoveAll(r.pin))
	}
	return err
}

// Close lets go of the programs. Pinned ones stay attached.
func (r *receiver) Close() error {
	var err error
	for _, l := range r.links {
		err = errors.Join(err, l.Close())
	}
	if r.coll != nil {
		r.coll.Close()
	}
	return err
}

// detach takes away a pinned receiver.
func detach(pin string) error {
	if _, err := os.Stat(filepath.Join(pin, mapCounters)); err != nil {
		return notPinned(pin, err)
	}
	// Stop remembering first; connections then show the director.
	for _, a := range slices.Backward(attachments) {
		if err := os.Remove(filepath.Join(pin, a.program)); err != nil {
			return err
		}
	}
	return os.RemoveAll(pin)
}

func notPinned(pin string, err error) error {
	return fmt.Errorf("--pin %s: no receiver is pinned there (start one with toa-bpf run --pin %s): %w", pin, pin, err)
}

// table is the part of a receiver that can be read and changed while it works.
type table struct{ trust4, trust6, counters *ebpf.Map }

func (r *receiver) table() table {
	m := r.coll.Maps
	return table{m[mapTrust4], m[mapTrust6], m[mapCounters]}
}

// open finds the table of a pinned receiver. The caller closes it.
func open(pin string) (table, error) {
	var t table
	for name, m := range map[string]**ebpf.Map{
		mapTrust4: &t.trust4, mapTrust6: &t.trust6, mapCounters: &t.counters,
	} {
		var err error
		if *m, err = ebpf.LoadPinnedMap(filepath.Join(pin, name), nil); err != nil {
			return table{}, errors.Join(notPinned(pin, err), t.Close())
		}
	}
	return t, nil
}

func (t table) Close() error {
	return errors.Join(t.trust4.Close(), t.trust6.Close(), t.counters.Close())
}

type key4 struct {
	Len  uint32
	Addr [4]byte
}

type key6 struct {
	Len  uint32
	Addr [16]byte
}

func (t table) trustOf(p netip.Prefix) (*ebpf.Map, any) {
	if p.Addr().Is4() {
		return t.trust4, key4{uint32(p.Bits()), p.Addr().As4()}
	}
	return t.trust6, key6{uint32(p.Bits()), p.Addr().As16()}
}

func addTrust(t table, p netip.Prefix) error {
	m, k := t.trustOf(p)
	if err := m.Put(k, uint8(1)); err != nil {
		return fmt.Errorf("trust %v: %w", p, err)
	}
	return nil
}

func delTrust(t table, p netip.Prefix) error {
	m, k := t.trustOf(p)
	err := m.Delete(k)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("trust %v: not in the list; prefixes are deleted as they were added (toa-bpf list shows them)", p)
	}
	if err != nil {
		return fmt.Errorf("trust %v: %w", p, err)
	}
	return nil
}

// listTrust returns the prefixes, IPv4 first, each family in order.
func listTrust(t table) ([]netip.Prefix, error) {
	var all []netip.Prefix
	var one uint8
	it := t.trust4.Iterate()
	for k := (key4{}); it.Next(&k, &one); {
		all = append(all, netip.PrefixFrom(netip.AddrFrom4(k.Addr), int(k.Len)))
	}
	if err := it.Err(); err != nil {
		return nil, fmt.Errorf("list of trusted directors: %w", err)
	}
	it = t.trust6.Iterate()
	for k := (key6{}); it.Next(&k, &one); {
		all = append(all, netip.PrefixFrom(netip.AddrFrom16(k.Addr), int(k.Len)))
	}
	if err := it.Err(); err != nil {
		return nil, fmt.Errorf("list of trusted directors: %w", err)
	}
	slices.SortFunc(all, netip.Prefix.Compare)
	return all, nil
}

// stats returns the counters, summed over the CPUs, in the order of counters.
func stats(t table) (iter.Seq2[string, uint64], error) {
	sums := make([]uint64, len(counters))
	for i := range counters {
		var perCPU []uint64
		if err := t.counters.Lookup(uint32(i), &perCPU); err != nil {
			return nil, fmt.Errorf("counter %s: %w", counters[i], err)
		}
		for _, n := range perCPU {
			sums[i] += n
		}
	}
	return func(yield func(string, uint64) bool) {
		for i, name := range counters {
			if !yield(name, sums[i]) {
				return
			}
		}
	}, nil
}
