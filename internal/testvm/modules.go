// SPDX-License-Identifier: Apache-2.0

package testvm

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// moduleSet is a choice of kernel modules, complete with what they need.
type moduleSet struct {
	host    map[string]string   // name to the file on this host
	guest   map[string]string   // name to its path below /lib/modules/RELEASE
	needs   map[string][]string // name to the names it imports from
	shadow  map[string]string   // guest path to host file: ours hides these
	builtin string              // text of modules.builtin
	alias   []string            // lines of modules.alias about these modules
}

func moduleName(file string) string {
	name := path.Base(file)
	if i := strings.Index(name, ".ko"); i >= 0 {
		name = name[:i]
	}
	return strings.ReplaceAll(name, "-", "_")
}

// chooseModules collects names and all they need from the unpacked kernel of
// release; every module in ours, if not empty, is added and wins.
func chooseModules(kernel, release, ours string, names []string) (*moduleSet, error) {
	dir := filepath.Join(kernel, "lib", "modules", release)
	dep, err := os.ReadFile(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return nil, err
	}
	builtin, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return nil, err
	}
	stock := map[string]string{}
	for l := range strings.Lines(string(dep)) {
		file, _, _ := strings.Cut(l, ":")
		stock[moduleName(file)] = file
	}
	s := &moduleSet{
		host: map[string]string{}, guest: map[string]string{}, needs: map[string][]string{},
		shadow: map[string]string{}, builtin: string(builtin),
	}
	if ours != "" {
		files, _ := filepath.Glob(filepath.Join(ours, "*.ko"))
		if len(files) == 0 {
			return nil, fmt.Errorf("no modules in %s; run: make kmod KVER=%s", ours, release)
		}
		for _, f := range files {
			n := moduleName(f)
			s.host[n], s.guest[n] = f, path.Join("updates", path.Base(f))
			if file, ok := stock[n]; ok {
				s.shadow[file] = filepath.Join(dir, file)
			}
		}
	}
	for _, n := range append(slices.Sorted(maps.Keys(s.host)), names...) {
		if err := s.add(dir, stock, strings.ReplaceAll(n, "-", "_")); err != nil {
			return nil, err
		}
	}
	return s, s.readAliases(filepath.Join(dir, "modules.alias"))
}

func (s *moduleSet) add(dir string, stock map[string]string, name string) error {
	if _, done := s.needs[name]; done || isBuiltin(s.builtin, name) {
		return nil
	}
	if s.host[name] == "" {
		file, ok := stock[name]
		if !ok {
			return fmt.Errorf("no kernel module %s in %s", name, dir)
		}
		s.host[name], s.guest[name] = filepath.Join(dir, file), file
	}
	info, err := moduleInfo(s.host[name])
	if err != nil {
		return err
	}
	s.needs[name] = nil
	for n := range strings.SplitSeq(info["depends"], ",") {
		n = strings.ReplaceAll(n, "-", "_")
		if n == "" {
			continue
		}
		s.needs[name] = append(s.needs[name], n)
		if err := s.add(dir, stock, n); err != nil {
			return fmt.Errorf("%s needs %w", name, err)
		}
	}
	return nil
}

// readAliases keeps the stock aliases of chosen modules and adds those of ours.
func (s *moduleSet) readAliases(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for l := range strings.Lines(string(text)) {
		f := strings.Fields(l)
		if len(f) == 3 && f[0] == "alias" && s.guest[f[2]] != "" && !strings.HasPrefix(s.guest[f[2]], "updates/") {
			s.alias = append(s.alias, f[1]+" "+f[2])
		}
	}
	for _, n := range slices.Sorted(maps.Keys(s.guest)) {
		if !strings.HasPrefix(s.guest[n], "updates/") {
			continue
		}
		info, err := moduleInfo(s.host[n])
		if err != nil {
			return err
		}
		for a := range strings.FieldsSeq(info["alias"]) {
			s.alias = append(s.alias, a+" "+n)
		}
	}
	return nil
}

// order returns name and all it needs, what must be loaded first first.
func (s *moduleSet) order(name string) []string {
	var out []string
	var visit func(string)
	visit = func(n string) {
		if _, here := s.needs[n]; !here || slices.Contains(out, n) {
			return
		}
		for _, d := range s.needs[n] {
			visit(d)
		}
		out = append(out, n)
	}
	visit(name)
	return out
}

// write puts the modules and the lists our modprobe and kmod's tools read into a.
func (s *moduleSet) write(a *archive, release string) {
	base := "lib/modules/" + release
	var dep, alias strings.Builder
	for _, n := range slices.Sorted(maps.Keys(s.needs)) {
		a.file(path.Join(base, s.guest[n]), s.host[n])
		// depmod's order: what must be loaded first comes last.
		fmt.Fprintf(&dep, "%s:", s.guest[n])
		order := s.order(n)
		for _, d := range slices.Backward(order[:len(order)-1]) {
			fmt.Fprintf(&dep, " %s", s.guest[d])
		}
		dep.WriteByte('\n')
	}
	for _, g := range slices.Sorted(maps.Keys(s.shadow)) {
		a.file(path.Join(base, g), s.shadow[g])
	}
	for _, l := range s.alias {
		fmt.Fprintf(&alias, "alias %s\n", l)
	}
	a.data(base+"/modules.dep", 0o644, []byte(dep.String()))
	a.data(base+"/modules.alias", 0o644, []byte(alias.String()))
	a.data(base+"/modules.builtin", 0o644, []byte(s.builtin))
}

func isBuiltin(list, name string) bool {
	for l := range strings.Lines(list) {
		if moduleName(strings.TrimSpace(l)) == name {
			return true
		}
	}
	return false
}

// moduleInfo reads the .modinfo section; values of repeated keys are joined by
// blanks.
func moduleInfo(file string) (map[string]string, error) {
	f, err := elf.Open(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	defer f.Close()
	sec := f.Section(".modinfo")
	if sec == nil {
		return nil, fmt.Errorf("%s: no .modinfo section; not a kernel module?", file)
	}
	data, err := sec.Data()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	info := map[string]string{}
	for entry := range bytes.SplitSeq(data, []byte{0}) {
		k, v, ok := strings.Cut(string(entry), "=")
		if !ok {
			continue
		}
		if old, twice := info[k]; twice {
			v = old + " " + v
		}
		info[k] = v
	}
	return info, nil
}

// --- in the guest -----------------------------------------------------------

// Modprobe loads a module by name or alias, and what it needs first, as modprobe
// does. Loading what is loaded is no error. Params go to the named module only.
func Modprobe(name string, params ...string) error {
	release, err := kernelRelease()
	if err != nil {
		return err
	}
	base := "/lib/modules/" + release
	want := strings.ReplaceAll(name, "-", "_")
	line, err := findDep(base, want)
	if err != nil {
		return err
	}
	if line == "" {
		builtin, err := os.ReadFile(base + "/modules.builtin")
		if err != nil {
			return err
		}
		if isBuiltin(string(builtin), want) {
			return nil
		}
		target, err := findAlias(base, name)
		if err != nil {
			return err
		}
		if target == "" {
			return fmt.Errorf("modprobe %s: this guest has no such module; list it in Config.Modules", name)
		}
		return Modprobe(target, params...)
	}
	file, deps, _ := strings.Cut(line, ":")
	for _, d := range slices.Backward(strings.Fields(deps)) {
		if err := Insmod(path.Join(base, d)); err != nil {
			return fmt.Errorf("modprobe %s: %w", name, err)
		}
	}
	return Insmod(path.Join(base, file), params...)
}

func findDep(base, want string) (string, error) {
	dep, err := os.ReadFile(base + "/modules.dep")
	if err != nil {
		return "", err
	}
	for l := range strings.Lines(string(dep)) {
		if file, _, _ := strings.Cut(l, ":"); moduleName(file) == want {
			return strings.TrimSpace(l), nil
		}
	}
	return "", nil
}

func findAlias(base, name string) (string, error) {
	alias, err := os.ReadFile(base + "/modules.alias")
	if err != nil {
		return "", err
	}
	for l := range strings.Lines(string(alias)) {
		f := strings.Fields(l)
		if len(f) != 3 {
			continue
		}
		if ok, _ := path.Match(f[1], name); ok || f[1] == name {
			return f[2], nil
		}
	}
	return "", nil
}

// Insmod loads one module file. Loading a module whose name is loaded is no error.
func Insmod(file string, params ...string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.FinitModule(int(f.Fd()), strings.Join(params, " "), 0)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("load %s: %w; see the kernel log", file, err)
	}
	return nil
}

// Rmmod unloads a module. While its reference count is not zero it tries again
// until wait is over: namespaces let go of ip_vs some time after they are deleted.
// A module that is not loaded is no error.
func Rmmod(name string, wait time.Duration) error {
	for deadline := time.Now().Add(wait); ; time.Sleep(20 * time.Millisecond) {
		err := unix.DeleteModule(name, unix.O_NONBLOCK)
		switch {
		case err == nil || errors.Is(err, unix.ENOENT):
			return nil
		case (errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EBUSY)) && time.Now().Before(deadline):
			continue
		}
		refs, _ := os.ReadFile("/sys/module/" + name + "/refcnt")
		return fmt.Errorf("unload %s: %w (reference count %s)", name, err, strings.TrimSpace(string(refs)))
	}
}

// Loaded returns the names of loaded modules, the latest first.
func Loaded() ([]string, error) {
	text, err := os.ReadFile("/proc/modules")
	if err != nil {
		return nil, err
	}
	var names []string
	for l := range strings.Lines(string(text)) {
		name, _, _ := strings.Cut(l, " ")
		names = append(names, name)
	}
	return names, nil
}

func kernelRelease() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", err
	}
	return unix.ByteSliceToString(u.Release[:]), nil
}

// modprobeCommand is what the guest's /sbin/modprobe does: the kernel calls it as
// `modprobe -q -- ALIAS`, people as `modprobe [-r] NAME [PARAM=VALUE]`.
func modprobeCommand(args []string) error {
	var remove, quiet bool
	var rest []string
	for _, a := range args {
		switch {
		case a == "-r":
			remove = true
		case a == "-q":
			quiet = true
		case strings.HasPrefix(a, "-"):
		default:
			rest = append(rest, a)
		}
	}
	if len(rest) == 0 {
		return errors.New("modprobe: which module?")
	}
	var err error
	if remove {
		err = Rmmod(strings.ReplaceAll(rest[0], "-", "_"), 0)
	} else {
		err = Modprobe(rest[0], rest[1:]...)
	}
	if err != nil && quiet {
		return errQuiet
	}
	return err
}

var errQuiet = errors.New("")
