// SPDX-License-Identifier: Apache-2.0

package testvm

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// guestConfig is where a guest finds what it has to do.
const guestConfig = "/testvm.json"

// mission is what the host tells the guest.
type mission struct {
	Kernel  string   // line, as the tests know it
	Mode    string   // Mode.String()
	Ours    bool     // our modules are in the image
	Load    []string // modules to load before Argv
	Argv    []string // what to run: /init as the test binary, or a shell
	Env     []string
	Console bool // Argv talks to the console, not to the result port
}

// event is one line "@@testvm {…}" among the tests' output.
type event struct {
	Boot   string `json:"boot,omitempty"`   // guest time at which init started
	Kernel string `json:"kernel,omitempty"` // a line of the kernel log that must not be
	Fail   string `json:"fail,omitempty"`   // the run as a whole fails
	Exit   *int   `json:"exit,omitempty"`   // last line: status of Argv
}

// A record of /dev/kmsg without newline is not readable before the next one.
const (
	eventMark = "@@testvm "
	beginMark = "testvm: begin"
	endMark   = "testvm: end"
)

// suspicious is what a healthy kernel never logs while tests run. What kmemleak says
// of itself is none of it: in user-mode Linux it does not know the memory of modules.
var suspicious = regexp.MustCompile(`BUG|WARNING|UBSAN|refcount_t|unregister_netdevice|[^m]leak|Objects remaining|Oops|KFENCE|suspicious|general protection|stack guard|list_(add|del) corruption|hung_task|blocked for more than|rcu.*stall|scheduling while atomic`)

// Taint bits of include/linux/panic.h: out-of-tree and unsigned module.
const taintOurs = 1<<12 | 1<<13

// InGuest reports whether this process runs in a guest of this package.
func InGuest() bool { return os.Getenv("TESTVM") != "" }

// Kernel returns the kernel line of the guest this runs in, "" on the host.
func Kernel() string { return os.Getenv("TESTVM_KERNEL") }

// HasOurs reports whether our modules are what Modprobe loads in this guest.
func HasOurs() bool { return os.Getenv("TESTVM_MODULE") == "ours" }

// IsSMP reports whether this guest runs in SMP mode.
func IsSMP() bool { return os.Getenv("TESTVM_MODE") == SMP.String() }

// supervisor is pid 1 of a guest. It must not return and never trusts its child.
type supervisor struct {
	out  *os.File
	todo mission
	kmsg chan struct{} // closed when the log watcher has seen the end mark
}

// Setup prepares a guest before its command runs and returns what takes that away
// again afterwards, so that modules can be unloaded.
type Setup func() (undo func() error, err error)

// guestInit runs a guest to its end. setup is called before the child starts.
func guestInit(setup Setup) {
	s := &supervisor{out: os.Stderr, kmsg: make(chan struct{})}
	status, err := s.run(setup)
	if err != nil {
		s.emit(event{Fail: err.Error()})
		status = max(status, 1)
	}
	s.emit(event{Exit: &status})
	unix.Sync()
	// A Linux that is a process starts again when it is told to restart.
	end := unix.LINUX_REBOOT_CMD_RESTART
	if s.todo.Mode == Sanitized.String() {
		end = unix.LINUX_REBOOT_CMD_POWER_OFF
	}
	if err := unix.Reboot(end); err != nil {
		fmt.Fprintln(os.Stderr, "reboot:", err)
	}
	select {}
}

func (s *supervisor) emit(e event) {
	text, err := json.Marshal(e)
	if err != nil {
		text = []byte(`{"fail":"event does not encode"}`)
	}
	// A newline first: the child may have left a line unfinished.
	fmt.Fprintf(s.out, "\n%s%s\n", eventMark, text)
}

func (s *supervisor) run(setup Setup) (int, error) {
	if err := mountAll(); err != nil {
		return 1, err
	}
	port, err := openRaw("/dev/ttyS1")
	if err != nil {
		return 1, err
	}
	s.out = port
	s.emit(event{Boot: uptime()})
	text, err := os.ReadFile(guestConfig)
	if err != nil {
		return 1, err
	}
	if err := json.Unmarshal(text, &s.todo); err != nil {
		return 1, fmt.Errorf("%s: %w", guestConfig, err)
	}
	if s.todo.Mode == Sanitized.String() {
		// Where idle time is skipped, its thread would look without end.
		if err := kmemleak("scan=off", "clear"); err != nil {
			return 1, err
		}
	}
	if err := s.watchLog(); err != nil {
		return 1, err
	}
	if err := loopbackUp(); err != nil {
		return 1, err
	}
	for _, m := range s.todo.Load {
		if err := Modprobe(m); err != nil {
			return 1, err
		}
	}
	if err := applets(); err != nil {
		return 1, err
	}
	if setup == nil {
		setup = func() (func() error, error) { return func() error { return nil }, nil }
	}
	undo, err := setup()
	if err != nil {
		return 1, err
	}
	status, err := s.child()
	return status, errors.Join(err, s.inspect(undo))
}

func mountAll() error {
	for _, m := range []struct{ source, target, kind string }{
		{"proc", "/proc", "proc"}, {"sys", "/sys", "sysfs"}, {"dev", "/dev", "devtmpfs"},
		{"pts", "/dev/pts", "devpts"}, {"run", "/run", "tmpfs"}, {"tmp", "/tmp", "tmpfs"},
		{"cgroup", "/sys/fs/cgroup", "cgroup2"}, {"bpf", "/sys/fs/bpf", "bpf"},
		{"debug", "/sys/kernel/debug", "debugfs"}, {"trace", "/sys/kernel/tracing", "tracefs"},
	} {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return err
		}
		err := unix.Mount(m.source, m.target, m.kind, 0, "")
		if err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	for _, d := range []string{"/run/netns", "/run/lock"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	_ = os.Symlink("/proc/self/fd", "/dev/fd")
	_ = os.Symlink("/run", "/var/run")
	return unix.Sethostname([]byte("guest"))
}

// applets makes busybox' programs callable, after all others in PATH.
func applets() error {
	const busybox, dir = "/bin/busybox", "/usr/lib/busybox"
	if _, err := os.Stat(busybox); err != nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if out, err := exec.Command(busybox, "--install", "-s", dir).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", busybox, err, out)
	}
	return nil
}

// openRaw opens a serial port that changes no byte of what it is given.
func openRaw(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	t, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ICANON | unix.ISIG
	t.Iflag = 0
	return f, unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, t)
}

func uptime() string {
	text, _ := os.ReadFile("/proc/uptime")
	up, _, _ := strings.Cut(string(text), " ")
	return up
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
}

// watchLog follows the kernel's log from here to the end mark and reports what a
// healthy kernel does not say, with the lines that follow it (its stack).
func (s *supervisor) watchLog() error {
	fd, err := unix.Open("/dev/kmsg", unix.O_RDWR, 0)
	if err != nil {
		return err
	}
	if _, err := unix.Seek(fd, 0, unix.SEEK_END); err != nil {
		return fmt.Errorf("/dev/kmsg: %w", err)
	}
	if _, err := unix.Write(fd, []byte(beginMark+"\n")); err != nil {
		return fmt.Errorf("/dev/kmsg: %w", err)
	}
	go func() {
		defer close(s.kmsg)
		defer unix.Close(fd)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		s.followLog(fd)
	}()
	return nil
}

func (s *supervisor) followLog(fd int) {
	buf := make([]byte, 16<<10)
	var c complaint
	for {
		n, err := unix.Read(fd, buf)
		switch {
		case errors.Is(err, unix.EPIPE):
			s.emit(event{Fail: "the kernel log overran its buffer; lines are lost"})
			continue
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			s.emit(event{Fail: "read /dev/kmsg: " + err.Error()})
			return
		}
		at, msg := splitRecord(string(buf[:n]))
		if msg == endMark {
			return
		}
		if c.has(at, msg) {
			s.emit(event{Kernel: msg})
		}
	}
}

// splitRecord returns the time since boot and the text of a record of /dev/kmsg:
// "PRIORITY,SEQUENCE,MICROSECONDS,FLAGS;TEXT\n" and continuation lines (kernel:
// Documentation/ABI/testing/dev-kmsg).
func splitRecord(record string) (time.Duration, string) {
	head, msg, _ := strings.Cut(record, ";")
	msg, _, _ = strings.Cut(msg, "\n")
	var us int64
	if f := strings.Split(head, ","); len(f) > 2 {
		us, _ = strconv.ParseInt(f[2], 10, 64)
	}
	return time.Duration(us) * time.Microsecond, msg
}

// complaint follows a suspicious line and its stack, which comes in one go: what
// the kernel says later has other reasons.
type complaint struct {
	left int // lines that may still belong to it
	last time.Duration
}

func (c *complaint) has(at time.Duration, msg string) bool {
	if at-c.last > 300*time.Millisecond {
		c.left = 0
	}
	if suspicious.MatchString(msg) {
		c.left = 60
	}
	if c.left == 0 {
		return false
	}
	c.left--
	c.last = at
	return true
}

// child runs Argv and reaps whatever else ends meanwhile.
func (s *supervisor) child() (int, error) {
	attr := &os.ProcAttr{
		Dir: "/work", Env: s.env(), Files: []*os.File{nil, s.out, s.out},
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 1, err
	}
	defer null.Close()
	attr.Files[0] = null
	if s.todo.Console {
		tty, err := os.OpenFile("/dev/ttyS0", os.O_RDWR, 0)
		if err != nil {
			return 1, err
		}
		defer tty.Close()
		attr.Files = []*os.File{tty, tty, tty}
		attr.Dir = "/root"
		attr.Sys = &unix.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	}
	p, err := os.StartProcess(s.todo.Argv[0], s.todo.Argv, attr)
	if err != nil {
		return 1, err
	}
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 1, fmt.Errorf("wait: %w", err)
		case pid == p.Pid && ws.Signaled():
			return 128 + int(ws.Signal()), fmt.Errorf("%s: killed by %v", s.todo.Argv[0], ws.Signal())
		case pid == p.Pid:
			return ws.ExitStatus(), nil
		}
	}
}

func (s *supervisor) env() []string {
	module := "stock"
	if s.todo.Ours {
		module = "ours"
	}
	return append([]string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/busybox", "HOME=/root", "TERM=linux", "LANG=C.UTF-8",
		"TESTVM=1", "TESTVM_KERNEL=" + s.todo.Kernel, "TESTVM_MODE=" + s.todo.Mode, "TESTVM_MODULE=" + module,
	}, s.todo.Env...)
}

// inspect looks at what the tests left behind.
func (s *supervisor) inspect(undo func() error) error {
	killOthers()
	undoErr := undo()
	taintErr := s.checkTaint()
	patience := 30 * time.Second
	if s.todo.Mode == SMP.String() {
		patience = 2 * time.Minute // of the host, which may be busy
	}
	err := errors.Join(undoErr, taintErr, unloadAll(patience))
	if s.todo.Mode == Sanitized.String() {
		err = errors.Join(err, checkLeaks())
	}
	if werr := os.WriteFile("/dev/kmsg", []byte(endMark+"\n"), 0); werr != nil {
		return errors.Join(err, werr)
	}
	<-s.kmsg
	return err
}

const kmemleakFile = "/sys/kernel/debug/kmemleak"

// kmemleak gives commands to the kernel's search for memory that nothing points at
// (kernel: Documentation/dev-tools/kmemleak.rst).
func kmemleak(commands ...string) error {
	for _, c := range commands {
		if err := os.WriteFile(kmemleakFile, []byte(c), 0); err != nil {
			return fmt.Errorf("%s: %s: %w", kmemleakFile, c, err)
		}
	}
	return nil
}

// checkLeaks is the last look, with the modules gone: what was theirs is lost now.
func checkLeaks() error {
	// Only what is some seconds old counts, and only what two searches find unchanged.
	time.Sleep(10 * time.Second)
	if err := kmemleak("scan"); err != nil {
		return err
	}
	time.Sleep(10 * time.Second)
	if err := kmemleak("scan"); err != nil {
		return err
	}
	found, err := os.ReadFile(kmemleakFile)
	if err != nil {
		return err
	}
	if len(found) > 0 {
		return fmt.Errorf("kmemleak found memory that nothing points at:\n%s", found)
	}
	return nil
}

// killOthers ends whatever tests left running, so that it does not hold modules.
func killOthers() {
	_ = unix.Kill(-1, unix.SIGKILL)
	for {
		if _, err := unix.Wait4(-1, nil, 0, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// checkTaint: the kernel is tainted exactly by what was loaded.
func (s *supervisor) checkTaint() error {
	text, err := os.ReadFile("/proc/sys/kernel/tainted")
	if err != nil {
		return err
	}
	got, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return err
	}
	return s.todo.judgeTaint(got)
}

// judgeTaint: modules of ours that the mission loads must show in the taint. If it
// loads none, a test may have, which shows in the taint alike, or may not have.
func (m *mission) judgeTaint(got int) error {
	want, ours := 0, taintOurs
	if m.Mode == Sanitized.String() {
		ours = 1 << 12 // that kernel asks for no signatures
	}
	if m.Ours && (got != 0 || slices.Contains(m.Load, "ip_vs") || slices.Contains(m.Load, "toa")) {
		want = ours
	}
	if got != want {
		return fmt.Errorf("kernel taint is %d, want %d; see Documentation/admin-guide/tainted-kernels", got, want)
	}
	return nil
}

// unloadAll removes ip_vs, what stands on it, and toa; it is done when none is
// left or wait is over. kmem_cache_destroy() then complains about leaked objects.
func unloadAll(wait time.Duration) error {
	bound, _ := filepath.Glob("/run/netns/*")
	for _, ns := range bound {
		_ = unix.Unmount(ns, unix.MNT_DETACH)
	}
	loaded, err := Loaded()
	if err != nil {
		return err
	}
	// /proc/modules has the latest first, so users come before what they use.
	var errs []error
	for _, name := range loaded {
		if strings.HasPrefix(name, "ip_vs") || name == "toa" || name == "xt_ipvs" {
			errs = append(errs, Rmmod(name, wait))
		}
	}
	return errors.Join(errs...)
}
