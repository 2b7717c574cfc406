// SPDX-License-Identifier: Apache-2.0

package testvm

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Mode says how a guest's processors and clock work.
type Mode int

const (
	// Counted is one processor under instruction counting: deterministic, idle
	// time is free, guest nanoseconds are instructions.
	Counted Mode = iota
	// SMP is two processors in parallel threads with a fully preemptible kernel
	// and the host's clock: not repeatable, made to find races.
	SMP
	// Sanitized is the user-mode Linux of kmod/sanitize with KASAN, UBSAN, lockdep and
	// kmemleak: one processor, idle time is free. Config.Kernel is SanitizedKernel.
	Sanitized
)

// SanitizedKernel is the kernel line of Sanitized guests; `make sanitize` builds it.
const SanitizedKernel = "6.1-sanitize"

// String returns the name that test names and messages use.
func (m Mode) String() string { return [...]string{"counted", "smp", "sanitized"}[m] }

// Module says whose ip_vs a guest has.
type Module int

const (
	// Stock is the distribution's ip_vs.
	Stock Module = iota
	// Ours is what `make kmod` left in kmod/build/RELEASE. Its modules lie below
	// /lib/modules/RELEASE/updates and win over the distribution's, as after an
	// installation; the distribution's are still there for Insmod.
	Ours
)

// Config describes a guest. The zero value of each field but Kernel is usable.
type Config struct {
	// Kernel is a line of kmod/kernels ("6.1") or a release in the cache.
	Kernel string
	Mode   Mode
	Module Module

	// Run and Skip are regular expressions that choose among the guest tests of
	// the package, as -run and -skip do for top-level tests. Empty Run is all.
	Run, Skip string

	// Files maps paths in the guest to files on the host, copied with their
	// permission bits. They replace what is there.
	Files map[string]string
	// Programs adds the distribution's programs (bash, ip, tcpdump, curl, nginx,
	// nft, ethtool, busybox for the rest; the stock ipvsadm and keepalived as
	// ipvsadm.stock and keepalived.stock) and bin/* of this tree if built.
	Programs bool
	// Modules are further kernel modules to have at hand, besides DefaultModules.
	Modules []string
	// Load is loaded before the first test; nil means ip_vs.
	Load []string
	// Bare leaves out slub_debug and KFENCE: to count what a kernel does that
	// nobody watches.
	Bare bool
	// Patches says that the tests make the kernel rewrite functions while they run
	// (toa.ko, ftrace, kprobes). The processors of an SMP guest then take turns
	// where QEMU gets that wrong; see threads.
	Patches bool
	// Processors is how many a Counted guest's host has; 0 is 1. One of them runs, for
	// two runs to be equal, but the kernel lays its memory out for all.
	Processors int
	// Args are further arguments of the test binary ("-test.bench=.").
	Args []string
	// Env are further "NAME=value" of the tests.
	Env []string
	// Output, if not nil, gets a copy of all that the tests print, in Run.
	Output io.Writer
	// Memory in MiB; 0 is 768, or 1024 with Programs.
	Memory int
	// Timeout is -test.timeout on the guest's clock; 0 is two hours, which a
	// Counted guest idles away in seconds.
	Timeout time.Duration
	// Quiet is for how long the guest may be silent on the host's clock before it
	// counts as hung; 0 is ten minutes.
	Quiet time.Duration
}

// loads returns what is loaded before the first test.
func (c Config) loads() []string {
	if c.Load == nil {
		return []string{"ip_vs"}
	}
	return c.Load
}

// DefaultModules are in every guest, with what they depend on.
var DefaultModules = []string{
	"crc32c_generic",
	"ip_vs", "ip_vs_rr", "ip_vs_wrr", "ip_vs_lc", "ip_vs_wlc", "ip_vs_lblc", "ip_vs_lblcr",
	"ip_vs_dh", "ip_vs_sh", "ip_vs_mh", "ip_vs_sed", "ip_vs_nq", "ip_vs_fo", "ip_vs_ovf",
	"ip_vs_ftp", "ip_vs_pe_sip",
	"nf_conntrack", "nf_conntrack_netlink", "nf_nat", "nf_tables",
	"nft_chain_nat", "nft_ct", "nft_nat", "nft_masq", "nft_log", "nft_limit", "nft_reject_inet",
	"veth", "bridge", "dummy", "macvlan", "8021q", "ifb", "vxlan",
	"ipip", "ip6_tunnel", "sit", "ip_gre", "ip6_gre", "fou", "fou6",
	"sch_netem", "sch_ingress", "cls_bpf", "cls_u32", "act_mirred",
	"inet_diag", "tcp_diag", "udp_diag",
}

// line is one row of kmod/kernels.
type line struct{ name, release, version string }

// Root returns the top folder of this source tree, found from the working
// directory upwards.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, "kmod", "kernels")); err == nil {
			return d, nil
		}
		if d == filepath.Dir(d) {
			return "", fmt.Errorf("%s: not inside the source tree of lvs", dir)
		}
	}
}

// Kernels returns the kernel lines to test on: those of kmod/kernels, or what
// LVS_KERNELS lists ("6.1,6.12"). It panics when the tree has no kmod/kernels.
func Kernels() []string {
	if s := os.Getenv("LVS_KERNELS"); s != "" {
		return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
	}
	lines, err := pins()
	if err != nil {
		panic("testvm: " + err.Error())
	}
	var names []string
	for _, l := range lines {
		names = append(names, l.name)
	}
	return names
}

func pins() ([]line, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(root, "kmod", "kernels"))
	if err != nil {
		return nil, err
	}
	var lines []line
	for s := range strings.Lines(string(text)) {
		if f := strings.Fields(s); len(f) == 3 && f[0] != "#" {
			lines = append(lines, line{f[0], f[1], f[2]})
		}
	}
	return lines, nil
}

// Cache returns the folder that packaging/fetch.sh fills.
func Cache() string {
	if dir := os.Getenv("LVS_CACHE"); dir != "" {
		return dir
	}
	if dir := os.Getenv("XDG_CACHE_HOME"); dir != "" {
		return filepath.Join(dir, "lvs-fnat")
	}
	home := os.Getenv("HOME")
	if home == "" {
		home = "/root"
	}
	return filepath.Join(home, ".cache", "lvs-fnat")
}

// Release returns the kernel release that stands for a line in the cache, or for
// itself if kernel is a release.
func Release(kernel string) (string, error) {
	dir := filepath.Join(Cache(), "kernel", kernel)
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", fmt.Errorf("kernel %s is not in %s; run: make deps (or packaging/fetch.sh kernel %s)", kernel, Cache(), kernel)
	}
	return filepath.Base(real), nil
}
