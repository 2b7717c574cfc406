// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/logline"
	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/ipvs/ipvstest"
)

const nat = `
virtual_server 10.0.1.100 80 {
	lb_algo rr
	lb_kind NAT
	protocol TCP
	sorry_server 10.0.2.99 80
	real_server 10.0.2.11 80 {
		TCP_CHECK {
		}
	}
	real_server 10.0.2.12 80 {
		TCP_CHECK {
		}
	}
}
`

const natLines = `-A -t 10.0.1.100:80 -s rr
-a -t 10.0.1.100:80 -r 10.0.2.11:80 -m -w 1
-a -t 10.0.1.100:80 -r 10.0.2.12:80 -m -w 1
`

func demo(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../testdata/demo/keepalived.conf")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestLife(t *testing.T) {
	d := newDaemon(t, ipvstest.NewStock(), nat)
	d.start()
	d.holds(natLines)
	if b, err := os.ReadFile(d.pid); err != nil || string(b) != fmt.Sprintf("%d\n", os.Getpid()) {
		t.Errorf("pid file: %q %v", b, err)
	}
	d.checks.turn("[10.0.2.11]:tcp:80", false)
	d.wait("Removing service [10.0.2.11]:tcp:80 from VS [10.0.1.100]:tcp:80")
	d.holds("-A -t 10.0.1.100:80 -s rr\n-a -t 10.0.1.100:80 -r 10.0.2.12:80 -m -w 1\n")
	d.checks.turn("[10.0.2.12]:tcp:80", false)
	d.wait("Lost quorum")
	d.holds("-A -t 10.0.1.100:80 -s rr\n-a -t 10.0.1.100:80 -r 10.0.2.99:80 -m -w 1\n")
	d.checks.turn("[10.0.2.11]:tcp:80", true)
	d.wait("Gained quorum")
	d.holds("-A -t 10.0.1.100:80 -s rr\n-a -t 10.0.1.100:80 -r 10.0.2.11:80 -m -w 1\n")
	d.stop()
	d.holds("")
	if _, err := os.Stat(d.pid); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("pid file is left: %v", err)
	}
	if !d.checks.closed {
		t.Error("the checks are not closed")
	}
}

// TestDemo runs the configuration of the demo on a fake of our module.
func TestDemo(t *testing.T) {
	d := newDaemon(t, ipvstest.New(), demo(t))
	d.start()
	got := d.table.String()
	for _, want := range []string{"10.0.2.201", "10.0.2.202", "2001:db8:2::201", "-A -t 10.0.1.100:80", "-A -u 10.0.1.100:53",
		"-A -t [2001:db8:1::100]:80", "-A -u [2001:db8:1::100]:53", "--fullnat"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if n := strings.Count(got, "-a "); n != 8 {
		t.Errorf("%d real servers, want 8", n)
	}
	d.checks.turn("[10.0.2.11]:tcp:80", false)
	d.wait("Removing service [10.0.2.11]:tcp:80")
	d.stop()
	d.holds("")
}

func TestReload(t *testing.T) {
	d := newDaemon(t, ipvstest.NewStock(), nat)
	d.start()
	d.checks.turn("[10.0.2.11]:tcp:80", false)
	d.wait("Removing service")
	d.holds("-A -t 10.0.1.100:80 -s rr\n-a -t 10.0.1.100:80 -r 10.0.2.12:80 -m -w 1\n")
	d.table.Forget()
	d.reload(nat, msgReloaded)
	if done := d.table.Lines(); len(done) != 0 {
		t.Errorf("an unchanged reload does\n%s", strings.Join(done, "\n"))
	}
	d.reload(strings.Replace(nat, "lb_algo rr", "lb_algo wrr", 1), msgReloaded)
	if got := strings.Join(d.table.Lines(), "\n"); got != "-E -t 10.0.1.100:80 -s wrr" {
		t.Errorf("a changed scheduler does\n%s", got)
	}
	d.checks.turn("[10.0.2.11]:tcp:80", true) // counts for the new configuration
	d.holds(strings.Replace(natLines, "-s rr", "-s wrr", 1))
	d.stop()
	d.holds("")
}

// TestReloadKeeps: whatever is wrong with the new configuration, tables,
// checks and the process go on with the old one.
func TestReloadKeeps(t *testing.T) {
	for name, c := range map[string]struct {
		conf, said string
		failAt     int
	}{
		"bad address":      {strings.Replace(nat, "10.0.2.12 80", "10.0.2.300 80", 1), "Line 11) an error here would take real server 10.0.2.12:80", 0},
		"bad address, all": {strings.Replace(nat, "10.0.1.100 80", "10.0.1.300 80", 1), "Line 2) an error here would take virtual server [10.0.1.100]:tcp:80", 0},
		"bad method": {strings.Replace(nat, "real_server 10.0.2.12 80 {", "real_server 10.0.2.12 80 {\nlvs_method FNAT", 1),
			"Line 11) an error here would take real server 10.0.2.12:80", 0},
		"extra brace":  {strings.Replace(nat, "real_server 10.0.2.12", "}\nreal_server 10.0.2.12", 1), "an error here would take real server 10.0.2.12:80", 0},
		"missing word": {strings.Replace(nat, "lb_algo rr", "lb_algo", 1), "lb_algo: scheduler missing", 0},
		"FNAT on stock": {strings.Replace(nat, "lb_kind NAT", "lb_kind FNAT\nlocal_address {\n10.0.2.201\n}", 1),
			"Line 2) Virtual server [10.0.1.100]:tcp:80 needs FNAT: the running ip_vs has no FNAT; install the package lvs-dkms", 0},
		"refused by the kernel": {strings.Replace(nat, "10.0.2.12 80", "10.0.2.13 80", 1), "out of memory", 2},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDaemon(t, ipvstest.NewStock(), nat)
			d.start()
			d.checks.turn("[10.0.2.11]:tcp:80", false)
			d.wait("Removing service")
			d.holds("-A -t 10.0.1.100:80 -s rr\n-a -t 10.0.1.100:80 -r 10.0.2.12:80 -m -w 1\n")
			if c.failAt > 0 {
				d.table.FailAt(c.failAt-1, syscall.ENOMEM)
			}
			d.reload(c.conf, "Reload failed, the running configuration stays in force")
			if all := strings.Join(d.log.all(), "\n"); c.said != "out of memory" && !strings.Contains(all, c.said) {
				t.Errorf("no %q in\n%s", c.said, all)
			}
			d.holds("-A -t 10.0.1.100:80 -s rr\n-a -t 10.0.1.100:80 -r 10.0.2.12:80 -m -w 1\n")
			d.checks.turn("[10.0.2.11]:tcp:80", true)
			d.holds(natLines)
			d.checks.turn("[10.0.2.12]:tcp:80", false) // which the refused configuration does not have
			d.holds("-A -t 10.0.1.100:80 -s rr\n-a -t 10.0.1.100:80 -r 10.0.2.11:80 -m -w 1\n")
			d.stop()
			d.holds("")
		})
	}
}

// TestReloadTolerates: what the original only grumbles about is taken over, as
// is an error in something that was not in force before.
func TestReloadTolerates(t *testing.T) {
	d := newDaemon(t, ipvstest.NewStock(), nat)
	d.start()
	d.reload(strings.Replace(nat, "lb_algo rr", "frobnicate\nlb_algo wrr\nquorum x", 1)+"virtual_server 10.0.1.300 80 {\n}\n", "Reload complete")
	d.holds(strings.Replace(natLines, "-s rr", "-s wrr", 1))
	d.stop()
}

// TestRefusals: each ends the start with its exit code and one line, and
// leaves nothing in the tables.
func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		conf   string
		change func(*testDaemon)
		code   int
		said   string
	}{
		"no file":      {nat, func(d *testDaemon) { d.file += ".gone" }, exitNoConfig, "Unable to find configuration file"},
		"missing word": {"virtual_server {\n}\n", nil, exitConfig, "Line 1) virtual_server: address missing"},
		"no include":   {"includea nowhere.conf\n", nil, exitNoConfig, "Line 1) Config files missing 'nowhere.conf'."},
		"FNAT on stock": {demo(t), nil, exitFatal,
			"Virtual server [10.0.1.100]:tcp:80 needs FNAT: the running ip_vs has no FNAT; install the package lvs-dkms and load its ip_vs module (and 3 more)"},
		"no ip_vs": {nat, func(d *testDaemon) {
			d.app.dial = func(context.Context, string) (kernel, error) { return nil, ipvs.ErrNoIPVS }
		}, exitFatal, "IPVS: Can't initialize ipvs: ip_vs is not in the kernel; load it with 'modprobe ip_vs' (/sbin/modprobe: no module here)"},
		"no right":    {nat, func(d *testDaemon) { d.table.FailAt(0, syscall.EPERM) }, exitPermission, "Line 2)"},
		"refused":     {nat, func(d *testDaemon) { d.table.FailAt(2, syscall.ENOMEM) }, exitFatal, "Line 11)"},
		"no pid file": {nat, func(d *testDaemon) { d.pid = filepath.Join(d.pid, "x") }, exitFatal, "pid file"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDaemon(t, ipvstest.NewStock(), c.conf)
			if c.change != nil {
				c.change(d)
			}
			d.run()
			d.ends(c.code)
			if all := strings.Join(d.log.all(), "\n"); !strings.Contains(all, c.said) {
				t.Errorf("no %q in\n%s", c.said, all)
			}
			d.holds("")
			if _, err := os.Stat(d.pid); err == nil {
				t.Error("the pid file is left")
			}
		})
	}
}

// TestModuleIsLoaded: a kernel without ip_vs gets it, once.
func TestModuleIsLoaded(t *testing.T) {
	d := newDaemon(t, ipvstest.NewStock(), nat)
	loads := 0
	dial := d.app.dial
	d.app.dial = func(ctx context.Context, ns string) (kernel, error) {
		if loads == 0 {
			return nil, ipvs.ErrNoIPVS
		}
		return dial(ctx, ns)
	}
	d.app.load = func(context.Context) error { loads++; return nil }
	d.start()
	d.holds(natLines)
	d.stop()
	if loads != 1 {
		t.Errorf("loaded %d times", loads)
	}
}

// TestNoKernelNeeded: without a virtual server the daemon idles, and reaches
// for the kernel when a reload brings one.
func TestNoKernelNeeded(t *testing.T) {
	d := newDaemon(t, ipvstest.NewStock(), "global_defs {\nrouter_id x\n}\n")
	dials, dial := 0, d.app.dial
	d.app.dial = func(ctx context.Context, ns string) (kernel, error) { dials++; return dial(ctx, ns) }
	d.start()
	d.reload(nat, msgReloaded)
	d.holds(natLines)
	d.reload("", msgReloaded)
	d.holds("")
	d.stop()
	if dials != 1 {
		t.Errorf("dialed %d times, want once, at the first reload", dials)
	}
}

// TestRestart: a second start after a kill finds the tables as they should be.
func TestRestart(t *testing.T) {
	table := ipvstest.New()
	first := newDaemon(t, table, demo(t))
	first.start("-I") // leaves the tables
	first.stop()
	left := table.String()
	if left == "" {
		t.Fatal("-I has removed the tables")
	}
	table.Forget()
	second := newDaemon(t, table, demo(t))
	second.start()
	if done := table.Lines(); len(done) != 0 {
		t.Errorf("the second start does\n%s", strings.Join(done, "\n"))
	}
	second.stop()
	second.holds("")
}

// TestTriesAgain: after a refusal the tables are read and the change made anew.
func TestTriesAgain(t *testing.T) {
	d := newDaemon(t, ipvstest.NewStock(), nat)
	d.start()
	d.table.FailAt(0, syscall.ENOMEM)
	d.checks.turn("[10.0.2.11]:tcp:80", false)
	// The first try fails, the one after reading the tables succeeds.
	d.holds("-A -t 10.0.1.100:80 -s rr\n-a -t 10.0.1.100:80 -r 10.0.2.12:80 -m -w 1\n")
	d.stop()
}

// TestRetryTimer: what is refused even then is tried again until it is done.
func TestRetryTimer(t *testing.T) {
	d := newDaemon(t, ipvstest.NewStock(), nat)
	flaky := &flakyKernel{Table: d.table}
	d.app.dial = func(context.Context, string) (kernel, error) { return flaky, nil }
	d.start()
	flaky.fail(2)
	d.checks.turn("[10.0.2.11]:tcp:80", false)
	d.wait("IPVS: (" + d.file + ": Line 7) ")
	d.holds(natLines)
	d.retry <- time.Time{}
	d.wait(msgApplied)
	d.holds("-A -t 10.0.1.100:80 -s rr\n-a -t 10.0.1.100:80 -r 10.0.2.12:80 -m -w 1\n")
	d.stop()
}

func TestAlreadyRunning(t *testing.T) {
	first := newDaemon(t, ipvstest.NewStock(), nat)
	first.start()
	second := newDaemon(t, ipvstest.NewStock(), nat)
	second.pid = first.pid
	second.run()
	second.ends(exitFatal)
	if all := strings.Join(second.log.all(), "\n"); !strings.Contains(all, msgRunning) {
		t.Errorf("log:\n%s", all)
	}
	if _, err := os.Stat(first.pid); err != nil {
		t.Errorf("the pid file of the first is gone: %v", err)
	}
	second.holds("")
	first.stop()
}

// TestScripts: commands run in the order of events, and the daemon waits for
// the last at its end.
func TestScripts(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	say := func(what string) string { return fmt.Sprintf("\"/bin/sh -c 'echo %s >> %s'\" root", what, out) }
	conf := strings.Replace(nat, "sorry_server 10.0.2.99 80",
		"omega\nquorum 2\nquorum_up "+say("up")+"\nquorum_down "+say("down"), 1)
	d := newDaemon(t, ipvstest.NewStock(), conf)
	if os.Geteuid() != 0 {
		t.Skip("commands run as a named user, which needs root")
	}
	d.start()
	until := func(want string) {
		t.Helper()
		for range 12_000 {
			if b, _ := os.ReadFile(out); string(b) == want {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
		b, _ := os.ReadFile(out)
		t.Fatalf("commands said %q, want %q; log:\n%s", b, want, strings.Join(d.log.all(), "\n"))
	}
	until("up\n")
	d.checks.turn("[10.0.2.11]:tcp:80", false)
	until("up\ndown\n")
	d.checks.turn("[10.0.2.11]:tcp:80", true)
	until("up\ndown\nup\n")
	d.stop()
	if b, _ := os.ReadFile(out); string(b) != "up\ndown\nup\ndown\n" {
		t.Errorf("at the end: %q", b)
	}
}

// TestDump: the signal of DATA has each process write its state, for its owner
// alone.
func TestDump(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	d := newDaemon(t, ipvstest.NewStock(), nat)
	d.start()
	d.checks.turn("[10.0.2.11]:tcp:80", false)
	d.wait("Removing service")
	if err := os.Symlink(filepath.Join(dir, "victim"), filepath.Join(dir, "keepalived_check.data")); err != nil {
		t.Fatal(err)
	}
	d.signals <- syscall.SIGUSR1
	d.waitAny("Printing parent data for process(")
	d.waitAny("Printing checker data for process(")
	for name, want := range map[string]string{
		"keepalived_parent.data": "------< Global definitions >------\n Network namespace = (default)\n",
		"keepalived_check.data":  "------< Health checkers >------\n Longest delay of a check since the last dump = 0.007000\n",
		"keepalived_check.data ": "   RIP = 10.0.2.11:80\n     weight = 1 (configured 1)\n     alive = no\n",
	} {
		path := filepath.Join(dir, strings.TrimSpace(name))
		var b []byte
		for range 12_000 {
			if b, _ = os.ReadFile(path); strings.Contains(string(b), want) {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		if !strings.Contains(string(b), want) {
			t.Errorf("%s has no %q:\n%s", name, want, b)
		}
		if info, err := os.Lstat(path); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s is %v %v", name, info.Mode(), err)
		}
	}
	if d.exists(filepath.Join(dir, "victim")) {
		t.Error("a link was followed")
	}
	d.stop()
}

// TestDumpFiles: state_dump_file and its kin name the files of the routers.
func TestDumpFiles(t *testing.T) {
	t.Setenv("TMPDIR", "/t")
	named := config.Dump{State: "/a/state", Stats: "/a/stats", JSON: "/a/json"}
	for _, c := range []struct {
		sig      os.Signal
		own, def string
	}{
		{syscall.SIGUSR1, "/a/state", "/t/keepalived.data"},
		{syscall.SIGUSR2, "/a/stats", "/t/keepalived.stats"},
		{signalClear, "/a/stats", "/t/keepalived.stats"},
		{signalJSON, "/a/json", "/t/keepalived.json"},
	} {
		own, _ := routersDump(c.sig, place{}, &named)
		plain, _ := routersDump(c.sig, place{}, &config.Dump{})
		if own != c.own || plain != c.def {
			t.Errorf("%v writes %s and %s, want %s and %s", c.sig, own, plain, c.own, c.def)
		}
	}
}

// bufferedKernel notes the size of its socket's buffer.
type bufferedKernel struct {
	*ipvstest.Table
	size int
}

func (k *bufferedKernel) SetReadBuffer(bytes int) error { k.size = bytes; return nil }

// TestBuffers: lvs_netlink_cmd_rcv_bufs is the buffer of the socket to the kernel.
func TestBuffers(t *testing.T) {
	d := newDaemon(t, ipvstest.NewStock(), "global_defs {\nlvs_netlink_cmd_rcv_bufs 123456\n}\n"+nat)
	k := &bufferedKernel{Table: d.table}
	d.app.dial = func(context.Context, string) (kernel, error) { return k, nil }
	d.start()
	if k.size != 123456 {
		t.Errorf("the buffer is %d", k.size)
	}
	d.stop()
}

// TestStartupScript: it has run when the first child starts, and the shutdown
// script runs when the last has ended; failing stops nothing.
func TestStartupScript(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("commands run as a named user, which needs root")
	}
	out := filepath.Join(t.TempDir(), "out")
	say := func(what string) string { return fmt.Sprintf("\"/bin/sh -c 'echo %s >> %s; exit 1'\" root", what, out) }
	a := &player{name: "a"}
	a.play = func(ctx context.Context, c *child, n int) error {
		err := serve(ctx, c)
		b, readErr := os.ReadFile(out)
		if string(b) != "up\n" {
			t.Errorf("while the child ran: %q", b)
		}
		return errors.Join(err, readErr)
	}
	d := newFamily(t, "a", a)
	d.write("global_defs {\nrouter_id a\nstartup_script " + say("up") + "\nshutdown_script " + say("down") + "\n}\n")
	d.start()
	d.stop()
	if b, _ := os.ReadFile(out); string(b) != "up\ndown\n" {
		t.Errorf("scripts said %q; log:\n%s", b, strings.Join(d.log.all(), "\n"))
	}
	d.waitAny("startup script /bin/sh -c ")
}

// TestLogStalls: while nobody reads the log, on any of its ways, checks, reloads and the end
// go on.
func TestLogStalls(t *testing.T) {
	dir := t.TempDir()
	full := func(fd int) { // writes until there is no room
		t.Helper()
		if err := syscall.SetNonblock(fd, true); err != nil {
			t.Fatal(err)
		}
		for {
			if _, err := syscall.Write(fd, make([]byte, 512)); err != nil {
				break
			}
		}
		if err := syscall.SetNonblock(fd, false); err != nil {
			t.Fatal(err)
		}
	}
	var pipe [2]int
	if err := syscall.Pipe(pipe[:]); err != nil {
		t.Fatal(err)
	}
	stderr := os.NewFile(uintptr(pipe[1]), "stderr")
	full(pipe[1])
	listener, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: dir + "/log", Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	socket, err := net.Dial("unixgram", dir+"/log")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := socket.(*net.UnixConn).SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) {
			for syscall.Sendto(int(fd), []byte("x"), syscall.MSG_DONTWAIT, nil) == nil {
			}
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/k.log", "/k_checkers.log"} {
		if err := os.Symlink("/dev/full", dir+name); err != nil {
			t.Fatal(err)
		}
	}
	d := newDaemon(t, ipvstest.NewStock(), nat)
	d.app.stderr = stderr
	d.app.syslog = func(string, int) (logline.Writer, error) { return logline.Plain(socket), nil }
	d.run("-g", dir+"/k.log")
	d.holds(natLines)
	d.checks.turn("[10.0.2.11]:tcp:80", false)
	d.holds("-A -t 10.0.1.100:80 -s rr\n-a -t 10.0.1.100:80 -r 10.0.2.12:80 -m -w 1\n")
	d.write(strings.Replace(nat, "lb_algo rr", "lb_algo wrr", 1))
	d.signals <- syscall.SIGHUP
	d.holds("-A -t 10.0.1.100:80 -s wrr\n-a -t 10.0.1.100:80 -r 10.0.2.12:80 -m -w 1\n")
	d.checks.turn("[10.0.2.11]:tcp:80", true)
	d.holds(strings.Replace(natLines, "-s rr", "-s wrr", 1))
	d.stop()
	d.holds("")
	// What still waits to be written fails now.
	if err := errors.Join(syscall.Close(pipe[0]), socket.Close(), listener.Close()); err != nil {
		t.Error(err)
	}
}

// TestScriptTimeout: scripts of the start and the end that do not end are ended when their
// time is over, and the daemon goes on.
func TestScriptTimeout(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("commands run as a named user, which needs root")
	}
	d := newFamily(t, "a", &player{name: "a", play: always})
	d.write("global_defs {\nrouter_id a\nstartup_script \"/bin/sleep 1000\" root\nstartup_script_timeout 1\n" +
		"shutdown_script \"/bin/sleep 1000\" root\nshutdown_script_timeout 1\n}\n")
	d.start()
	d.stop()
	d.waitAny("startup script /bin/sleep 1000 failed: timed out")
	d.waitAny("shutdown script /bin/sleep 1000 failed: timed out")
}

// TestSlowStart: a server that has come back grows with the clock, and its
// connections ended when it went.
func TestSlowStart(t *testing.T) {
	d := newDaemon(t, ipvstest.New(), strings.Replace(nat, "lb_algo rr", "lb_algo rr\nslow_start 10\nrst_on_failure", 1))
	d.write(strings.ReplaceAll(strings.Replace(nat, "lb_algo rr", "lb_algo rr\nslow_start 10\nrst_on_failure", 1), "TCP_CHECK", "weight 100\nTCP_CHECK"))
	now := time.Unix(1000, 0)
	clock := make(chan time.Time, 1)
	clock <- now
	d.app.now = func() time.Time { t := <-clock; clock <- t; return t }
	pass := func(by time.Duration) {
		t := <-clock
		clock <- t.Add(by)
		d.retry <- time.Time{}
	}
	d.start()
	lines := func(w1 int) string {
		return fmt.Sprintf("-A -t 10.0.1.100:80 -s rr\n-a -t 10.0.1.100:80 -r 10.0.2.11:80 -m -w %d\n-a -t 10.0.1.100:80 -r 10.0.2.12:80 -m -w 100\n", w1)
	}
	d.holds(lines(100))
	d.checks.turn("[10.0.2.11]:tcp:80", false)
	d.wait("Removing service")
	d.wait("Ended 0 connections to 10.0.2.11 port 80, which is down")
	d.checks.turn("[10.0.2.11]:tcp:80", true)
	d.holds(lines(1))
	pass(4 * time.Second)
	d.holds(lines(40))
	pass(6 * time.Second)
	d.holds(lines(100))
	d.stop()
}

// TestSuspend: the checks are told to rest while the address is elsewhere.
func TestSuspend(t *testing.T) {
	d := newDaemon(t, ipvstest.NewStock(), strings.Replace(nat, "lb_algo rr", "lb_algo rr\nha_suspend", 1))
	here := make(chan map[netip.Addr]bool, 1)
	here <- nil
	d.app.localAddresses = func() (map[netip.Addr]bool, error) { m := <-here; here <- m; return m, nil }
	d.start()
	rests := func(want ...bool) {
		t.Helper()
		d.checks.mu.Lock()
		defer d.checks.mu.Unlock()
		if !slices.Equal(d.checks.off, want) {
			t.Errorf("resting: %v, want %v", d.checks.off, want)
		}
	}
	rests(true, true)
	<-here
	here <- map[netip.Addr]bool{netip.MustParseAddr("10.0.1.100"): true}
	d.reload(strings.Replace(nat, "lb_algo rr", "lb_algo wrr\nha_suspend", 1), msgReloaded)
	rests(false, false)
	<-here
	here <- nil
	d.reload(nat, msgReloaded)
	rests(false, false)
	d.stop()
}

// TestPlace: who is one of several daemons has names of its own.
func TestPlace(t *testing.T) {
	for _, c := range []struct {
		args           []string
		root           config.Root
		pid, log, name string
	}{
		{nil, config.Root{}, "/run/vrrp.pid", "/var/log/k_vrrp.log", ""},
		{nil, config.Root{UsePIDDir: true}, "/run/keepalived/vrrp.pid", "/var/log/k_vrrp.log", ""},
		{nil, config.Root{Instance: "one", NetNamespace: "blue"}, "/run/keepalived/blue/vrrp_one.pid", "/var/log/k_vrrp_blue_one.log", "_blue_one"},
		{[]string{"-s", "red", "-r", "/x"}, config.Root{NetNamespace: "blue"}, "/x", "/var/log/k_vrrp_red.log", "_red"},
	} {
		o, err := parseOptions(append(c.args, "-g", "/var/log/k.log"))
		if err != nil {
			t.Fatal(err)
		}
		p := placeOf(o, &c.root)
		if pid, log := p.pidFile(o.vrrpPID, "vrrp"), p.logFile(o.logFile, "vrrp"); pid != c.pid || log != c.log || p.suffix() != c.name {
			t.Errorf("%v %+v: %s %s %s", c.args, c.root, pid, log, p.suffix())
		}
	}
}

// TestRespawnAfterRefusal: a child that is started again takes up what is in force,
// and not the file that was refused, or is gone, meanwhile.
func TestRespawnAfterRefusal(t *testing.T) {
	d := newDaemon(t, ipvstest.NewStock(), nat)
	d.start()
	good := strings.Replace(nat, "lb_algo rr", "lb_algo wrr", 1)
	d.reload(good, msgReloaded)
	d.reload(strings.Replace(nat, "lb_algo rr", "lb_algo", 1), "Reload failed")
	if err := os.Remove(d.file); err != nil {
		t.Fatal(err)
	}
	d.table.Forget()
	d.checks.runErr <- errors.New("epoll broke")
	d.waitAll("died: Respawning", "Gained quorum")
	d.checks.turn("[10.0.2.11]:tcp:80", false)
	d.holds("-A -t 10.0.1.100:80 -s wrr\n-a -t 10.0.1.100:80 -r 10.0.2.12:80 -m -w 1\n")
	if got := d.table.Lines(); len(got) != 1 {
		t.Errorf("the tables were changed more than by the check:\n%s", strings.Join(got, "\n"))
	}
	d.reload(nat, msgReloaded)
	d.holds("-A -t 10.0.1.100:80 -s rr\n-a -t 10.0.1.100:80 -r 10.0.2.12:80 -m -w 1\n")
	d.stop()
}

// TestFIFO: lines for both pipes in the words of the original, also over a reload,
// with the first state if it is asked for; at the end with omega.
func TestFIFO(t *testing.T) {
	dir := t.TempDir()
	conf := "global_defs {\nrs_init_notifies\nnotify_fifo " + dir + "/all root\nlvs_notify_fifo " + dir + "/lvs root\nlvs_notify_fifo_script \"/bin/cp /dev/null " +
		dir + "/ran\" root\n}\n" + strings.Replace(nat, "sorry_server 10.0.2.99 80", "omega\nquorum 2", 1)
	d := newDaemon(t, ipvstest.NewStock(), conf)
	if os.Geteuid() != 0 {
		t.Skip("pipes have a named owner, which needs root")
	}
	d.start()
	all, err := os.OpenFile(dir+"/all", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer all.Close()
	lvs, err := os.OpenFile(dir+"/lvs", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer lvs.Close()
	says := func(lines ...string) {
		t.Helper()
		want := strings.Join(lines, "\n\x00") + "\n\x00"
		for _, f := range []*os.File{all, lvs} {
			buf := make([]byte, len(want))
			if _, err := io.ReadFull(f, buf); err != nil || string(buf) != want {
				t.Fatalf("%s: %q %v, want %q", f.Name(), buf, err, want)
			}
		}
	}
	const vs, one, two = "[10.0.1.100]:tcp:80", "[10.0.2.11]:tcp:80", "[10.0.2.12]:tcp:80"
	says("RS "+one+" "+vs+" UP", "RS "+two+" "+vs+" UP", "VS "+vs+" UP")
	d.checks.turn(one, false)
	says("RS "+one+" "+vs+" DOWN", "VS "+vs+" DOWN")
	d.reload(strings.Replace(conf, "lb_algo rr", "lb_algo wrr", 1), msgReloaded)
	d.checks.turn(one, true)
	says("RS "+one+" "+vs+" UP", "VS "+vs+" UP")
	d.stop()
	says("RS "+one+" "+vs+" DOWN", "RS "+two+" "+vs+" DOWN", "VS "+vs+" DOWN")
	if d.exists(dir+"/all") || d.exists(dir+"/lvs") {
		t.Error("the pipes are left")
	}
}

// TestEngineFails: without checks a child must not pretend. It ends, the services
// stay, and its successor takes them over.
func TestEngineFails(t *testing.T) {
	d := newDaemon(t, ipvstest.NewStock(), nat)
	d.start()
	d.table.Forget()
	d.checks.runErr <- errors.New("epoll broke")
	d.wait("health checks ended: epoll broke")
	d.waitAll("died: Respawning", "Gained quorum")
	d.checks.turn("[10.0.2.11]:tcp:80", false)
	d.wait("Removing service [10.0.2.11]:tcp:80")
	d.holds("-A -t 10.0.1.100:80 -s rr\n-a -t 10.0.1.100:80 -r 10.0.2.12:80 -m -w 1\n")
	if got := d.table.Lines(); len(got) != 1 {
		t.Errorf("the tables were changed more than by the check:\n%s", strings.Join(got, "\n"))
	}
	d.stop()
	d.holds("")
}

func TestFlush(t *testing.T) {
	table := ipvstest.NewStock()
	foreign := ipvs.Op{Kind: ipvs.AddService, Service: ipvs.Service{ServiceKey: ipvs.ServiceKey{Family: ipvs.IPv4, FWMark: 9}, Scheduler: "rr"}}
	for _, c := range []struct {
		defs              string
		atStart, atTheEnd bool
	}{
		{"", true, true}, {"lvs_flush", false, false},
		{"lvs_flush_on_stop", true, false}, {"lvs_flush_onstop", true, false}, {"lvs_flush_on_stop VS", true, true}, {"lvs_flush_onstop VS", true, true},
	} {
		if err := table.Apply(context.Background(), ipvs.Op{Kind: ipvs.Flush}, foreign); err != nil {
			t.Fatal(err)
		}
		d := newDaemon(t, table, "global_defs {\n"+c.defs+"\n}\n"+nat)
		d.start()
		if got := strings.Contains(table.String(), "-f 9"); got != c.atStart {
			t.Errorf("%q: another's service at the start: %v", c.defs, got)
		}
		d.stop()
		if got := strings.Contains(table.String(), "-f 9"); got != c.atTheEnd {
			t.Errorf("%q: another's service at the end: %v", c.defs, got)
		}
		if strings.Contains(table.String(), "10.0.1.100") {
			t.Errorf("%q: left:\n%s", c.defs, table.String())
		}
	}
}

// TestTimeouts: lvs_timeouts are the kernel's, and follow a reload; those that are not named
// stay as they are.
func TestTimeouts(t *testing.T) {
	d := newDaemon(t, ipvstest.NewStock(), "global_defs {\nlvs_timeouts tcp 100 udp 30\n}\n"+nat)
	was, err := d.table.Timeouts(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	holds := func(tcp, udp time.Duration) {
		t.Helper()
		if got, err := d.table.Timeouts(context.Background()); err != nil || got.TCP != tcp || got.UDP != udp || got.TCPFin != was.TCPFin {
			t.Errorf("timeouts: %+v %v", got, err)
		}
	}
	d.start()
	holds(100*time.Second, 30*time.Second)
	d.reload("global_defs {\nlvs_timeouts tcp 200\n}\n"+nat, msgReloaded)
	holds(200*time.Second, 30*time.Second)
	d.stop()
}

// flakyKernel refuses as many batches as it is told.
type flakyKernel struct {
	*ipvstest.Table
	left chan struct{}
}

func (k *flakyKernel) fail(n int) {
	left := make(chan struct{}, n)
	for range n {
		left <- struct{}{}
	}
	k.left = left
}

func (k *flakyKernel) Apply(ctx context.Context, ops ...ipvs.Op) error {
	select {
	case <-k.left:
		return &ipvs.BatchError{Op: ops[0], Err: ops[0].Fail(syscall.ENOMEM, "")}
	default:
		return k.Table.Apply(ctx, ops...)
	}
}
