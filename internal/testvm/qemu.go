// SPDX-License-Identifier: Apache-2.0

package testvm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const qemuProgram = "qemu-system-x86_64"

// machine is one boot: the guest's first serial port is its console, the second
// carries the results.
type machine struct {
	kernel     string // vmlinuz
	initrd     string
	release    string
	mode       Mode
	patches    bool          // the kernel's code changes under load
	threads    string        // multi or single, of SMP; run sets it
	bare       bool          // no checkers of memory
	memory     int           // MiB
	processors int           // that the kernel finds; in counted mode one runs
	quiet      time.Duration // silence after which it is killed; 0: never
	used       time.Duration // of the host's processors; run sets it

	stdin   *os.File  // the console's keyboard, nil for none
	console io.Writer // what the kernel says
	results io.Writer // what the tests say
}

// errHung is a guest that stopped talking.
var errHung = errors.New("guest hung")

// args is the command line of QEMU. The flags of counted mode are what makes two
// runs equal to the byte: no host entropy (rdrand, rdseed), no host clock, no
// string instructions that the emulator counts byte by byte (erms, fsrm).
func (m *machine) args() []string {
	a := []string{
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
		"-m", strconv.Itoa(m.memory), "-kernel", m.kernel, "-initrd", m.initrd,
		"-append", m.append(),
		"-chardev", "file,id=results,path=/dev/fd/3",
	}
	if m.stdin != nil {
		// Ctrl-C goes to the guest; Ctrl-A X ends it.
		a = append(a, "-chardev", "stdio,id=console,signal=off,mux=on", "-mon", "chardev=console")
	} else {
		a = append(a, "-chardev", "stdio,id=console,signal=off")
	}
	a = append(a, "-serial", "chardev:console", "-serial", "chardev:results")
	if m.mode == SMP {
		return append(a, "-accel", "tcg,thread="+m.threads, "-smp", "2", "-cpu", "max")
	}
	return append(a, "-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off", "-smp", strconv.Itoa(m.processors),
		"-cpu", "max,-rdrand,-rdseed,-erms,-fsrm", "-rtc", "base=2026-01-01T00:00:00,clock=vm", "-seed", "1")
}

// userMode is the command line of a Linux that is a process: its first console
// line is the console, its second serial line carries the results.
func (m *machine) userMode(dir string) []string {
	return []string{
		"mem=" + strconv.Itoa(m.memory) + "M", "initrd=" + m.initrd, "uml_dir=" + dir, "time-travel",
		"con=null", "con0=null,fd:1", "ssl=null", "ssl1=null,fd:3", "console=tty0",
		"quiet", "panic=-1", "panic_on_oops=1", "slab_nomerge", "slub_debug=FZPU,ip_vs*", "kmemleak=on", "random.trust_cpu=off",
	}
}

func (m *machine) append() string {
	a := []string{
		"console=ttyS0", "quiet", "panic=-1", "oops=panic", "no_timer_check", "log_buf_len=4M",
		// Merged caches have neither names of their own nor debugging.
		"slab_nomerge",
	}
	if !m.bare {
		// ip_vs' caches and ours: all of the kernel's would double the time.
		a = append(a, "slub_debug=FZPU,ip_vs*,toa*")
	}
	if strings.HasPrefix(m.release, "6.1.") {
		// KFENCE came to Debian's cloud kernels after 6.1.
	} else if m.bare {
		a = append(a, "kfence.sample_interval=0")
	} else if m.mode == SMP {
		a = append(a, "kfence.sample_interval=10")
	} else {
		a = append(a, "kfence.sample_interval=50")
	}
	if m.mode == SMP {
		a = append(a, "preempt=full", "random.trust_cpu=on")
	} else {
		a = append(a, "nokaslr", "norandmaps", "mitigations=off", "clocksource=tsc", "tsc=reliable",
			"nowatchdog", "random.trust_cpu=off")
		if m.processors > 1 {
			a = append(a, "maxcpus=1")
		}
	}
	return strings.Join(a, " ")
}

// progress is a writer that counts, for the watchdog.
type progress struct {
	w io.Writer
	n *atomic.Int64
}

func (p progress) Write(b []byte) (int, error) {
	p.n.Add(int64(len(b)))
	return p.w.Write(b)
}

// command is what to start, with its arguments.
func (m *machine) command(ctx context.Context) (string, []string, error) {
	if m.mode == Sanitized {
		return m.kernel, m.userMode(filepath.Dir(m.initrd)), nil
	}
	program, err := exec.LookPath(qemuProgram)
	if err != nil {
		return "", nil, fmt.Errorf("%w; run: make deps", err)
	}
	if m.threads, err = threads(ctx, program, m.patches); err != nil {
		return "", nil, err
	}
	return program, m.args(), nil
}

// run boots the guest and returns when QEMU has ended: nil when the guest reset or
// powered off (what it had to say is in results), errHung, ctx's error, or QEMU's.
func (m *machine) run(ctx context.Context) error {
	program, args, err := m.command(ctx)
	if err != nil {
		return err
	}
	out, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer out.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	var said atomic.Int64
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdin, cmd.Stdout = nil, progress{m.console, &said}
	if m.stdin != nil {
		cmd.Stdin, cmd.Stdout = m.stdin, os.Stdout
	}
	var complaint strings.Builder
	cmd.Stderr = &complaint
	cmd.ExtraFiles = []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}

	// Pdeathsig is tied to the thread that starts the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = cmd.Start()
	w.Close()
	if err != nil {
		return err
	}
	copied := make(chan error, 1)
	go func() {
		_, err := io.Copy(progress{m.results, &said}, out)
		copied <- err
	}()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		m.watch(ctx, cancel, &said)
	}()
	err = cmd.Wait()
	m.used = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	cancelled := context.Cause(ctx)
	cancel(nil)
	<-watched
	copyErr := <-copied
	switch {
	case cancelled != nil:
		return cancelled
	case err != nil:
		return fmt.Errorf("%s: %w: %s", filepath.Base(program), err, strings.TrimSpace(complaint.String()))
	}
	return copyErr
}

// bootQuiet is what a guest gets until its first word at least: nothing is printed
// until init runs, on a busy host for a minute.
const bootQuiet = 10 * time.Minute

// watch ends a guest that says nothing for too long.
func (m *machine) watch(ctx context.Context, kill context.CancelCauseFunc, said *atomic.Int64) {
	if m.quiet == 0 {
		return
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	last, since := said.Load(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			limit := m.quiet
			if last == 0 {
				limit = max(limit, bootQuiet)
			}
			if n := said.Load(); n != last {
				last, since = n, now
			} else if now.Sub(since) > limit {
				kill(fmt.Errorf("%w: silent for %v", errHung, limit))
				return
			}
		}
	}
}

// image writes the initramfs of a guest whose init is the program at init and
// which finds conf at guestConfig.
func image(file, init string, c Config, release string, conf []byte) error {
	root, err := Root()
	if err != nil {
		return err
	}
	ours := ""
	if c.Module == Ours {
		ours = filepath.Join(root, "kmod", "build", release)
		// Without this, the distribution's module would pass for ours.
		if _, err := os.Stat(filepath.Join(ours, "ip_vs.ko")); err != nil && slices.Contains(c.loads(), "ip_vs") {
			return fmt.Errorf("%w; run: make kmod KVER=%s", err, release)
		}
	}
	set, err := chooseModules(filepath.Join(Cache(), "kernel", release), release, ours, append(DefaultModules, c.Modules...))
	if err != nil {
		return err
	}
	a, err := createArchive(file)
	if err != nil {
		return err
	}
	for _, d := range []string{"proc", "sys", "dev", "run", "tmp", "root", "etc", "var/log", "var/lib", "mnt", "sbin", "usr/local/sbin", "work"} {
		a.dir(d)
	}
	if c.Programs {
		a.addPrograms(root)
	}
	a.data("etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\nwww-data:x:33:33:www-data:/:/bin/false\ntcpdump:x:104:104::/:/bin/false\n"))
	a.data("etc/group", 0o644, []byte("root:x:0:\nnogroup:x:65534:\nwww-data:x:33:\ntcpdump:x:104:\n"))
	a.data("etc/hosts", 0o644, []byte("127.0.0.1 localhost\n::1 localhost\n"))
	a.data("etc/protocols", 0o644, []byte("ip 0 IP\nicmp 1 ICMP\ntcp 6 TCP\nudp 17 UDP\nipv6-icmp 58 IPv6-ICMP\nsctp 132 SCTP\n"))
	a.data("etc/services", 0o644, []byte("http 80/tcp\nhttps 443/tcp\ndomain 53/udp\ndomain 53/tcp\n"))
	a.data("etc/nsswitch.conf", 0o644, []byte("passwd: files\ngroup: files\nhosts: files\n"))
	a.data(guestConfig, 0o644, conf)
	a.file("init", init)
	// The kernel asks this for modules.
	a.symlink("sbin/modprobe", "/init")
	set.write(a, release)
	for guest, host := range c.Files {
		a.file(guest, host)
	}
	return a.Close()
}

func (a *archive) addPrograms(root string) {
	guest := filepath.Join(Cache(), "guest")
	if _, err := os.Stat(guest); err != nil {
		a.err = errors.Join(a.err, fmt.Errorf("the guest's programs are not in %s; run: make deps", Cache()))
		return
	}
	a.tree("", guest)
	bins, _ := filepath.Glob(filepath.Join(root, "bin", "*"))
	for _, b := range bins {
		// bin/deb, where packages are made
		if fi, err := os.Stat(b); err == nil && fi.IsDir() {
			continue
		}
		a.file("usr/local/sbin/"+filepath.Base(b), b)
	}
}
