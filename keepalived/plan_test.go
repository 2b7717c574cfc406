// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lvs-fnat/lvs/ipvs/ipvstest"
)

// command runs the program beside the daemon.
func (d *testDaemon) command(args ...string) (code int, out, err string) {
	d.t.Helper()
	var stdout, stderr bytes.Buffer
	a := testApp(&stdout, &stderr)
	a.dial, a.marker = d.app.dial, d.app.marker
	a.kill = func(pid int, sig syscall.Signal) error {
		if pid != os.Getpid() || sig != syscall.SIGHUP {
			return fmt.Errorf("signal %v to process %d", sig, pid)
		}
		d.signals <- sig
		return nil
	}
	code = a.run(context.Background(), append([]string{"keepalived", "-f", d.file, "-p", d.pid, "-c", d.childPID}, args...))
	return code, stdout.String(), stderr.String()
}

// doesAsTold reloads with conf and fails t unless the kernel is asked for what out, that
// of --plan, says.
func (d *testDaemon) doesAsTold(name, conf, out string) {
	d.t.Helper()
	d.table.Forget()
	d.reload(conf, msgReloaded)
	var told []string
	for l := range strings.Lines(out) {
		if op, ok := strings.CutPrefix(strings.TrimSuffix(l, "\n"), "ipvsadm "); ok {
			told = append(told, op)
		}
	}
	if diff := cmp.Diff(told, d.table.Lines()); diff != "" {
		d.t.Errorf("%s: -told +done:\n%s", name, diff)
	}
}

// TestPlan: what a reload would do is told and not done; and what is told is
// what the reload then does.
func TestPlan(t *testing.T) {
	d := newDaemon(t, ipvstest.NewStock(), nat)
	d.start()
	d.checks.turn("[10.0.2.11]:tcp:80", false)
	d.wait("Removing service")
	down := "-A -t 10.0.1.100:80 -s rr\n-a -t 10.0.1.100:80 -r 10.0.2.12:80 -m -w 1\n"
	d.holds(down)
	if code, out, err := d.command("--plan"); code != exitOK || err != "" ||
		out != "checks: 0 started, 0 stopped, 0 with another timing, 2 kept\n" {
		t.Errorf("nothing to do: code %d\n%s%s", code, out, err)
	}
	conf := strings.NewReplacer("10.0.2.12 80", "10.0.2.13 80", "lb_algo rr", "lb_algo wlc").Replace(nat)
	d.write(conf)
	want := `ipvsadm -E -t 10.0.1.100:80 -s wlc
ipvsadm -a -t 10.0.1.100:80 -r 10.0.2.13:80 -m -w 1
ipvsadm -d -t 10.0.1.100:80 -r 10.0.2.12:80
start TCP_CHECK of [10.0.2.13]:tcp:80 in VS [10.0.1.100]:tcp:80
stop TCP_CHECK of [10.0.2.12]:tcp:80 in VS [10.0.1.100]:tcp:80
checks: 1 started, 1 stopped, 0 with another timing, 1 kept
`
	code, out, err := d.command("--plan")
	if diff := cmp.Diff(want, out); code != exitChanges || err != "" || diff != "" {
		t.Errorf("code %d, -want +got:\n%s%s", code, diff, err)
	}
	d.holds(down)
	d.doesAsTold("changes", conf, out)
	d.write(strings.Replace(conf, "10.0.2.13 80", "10.0.2.300 80", 1))
	if code, out, err := d.command("--plan"); code != exitFatal || out != "" || !strings.Contains(err, "a reload would be refused: ") {
		t.Errorf("a file with an error: code %d\n%s%s", code, out, err)
	}
	d.write(conf)
	other := filepath.Join(t.TempDir(), "other.conf")
	if err := os.WriteFile(other, []byte(strings.Replace(conf, "TCP_CHECK {", "TCP_CHECK {\ndelay_loop 9", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, _ := d.command("--plan", "-f", other); code != exitChanges || !strings.Contains(out, "retime TCP_CHECK of [10.0.2.11]") {
		t.Errorf("another file: code %d\n%s", code, out)
	}
	d.stop()
	if code, out, _ := d.command("--plan"); code != exitChanges || !strings.HasPrefix(out, "ipvsadm -A -t 10.0.1.100:80 -s wlc\n") {
		t.Errorf("without a daemon: code %d\n%s", code, out)
	}
}

// TestReloadByCommand: --reload fails, with the reason, where the daemon would
// refuse, and else has it reload; reload_file is there meanwhile only.
func TestReloadByCommand(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "reload")
	conf := "global_defs {\nreload_file " + mark + "\n}\n"
	d := newDaemon(t, ipvstest.NewStock(), conf+nat)
	d.start()
	d.write(conf + strings.Replace(nat, "10.0.2.12 80", "10.0.2.300 80", 1))
	if code, _, err := d.command("--reload"); code != exitFatal || !strings.Contains(err, "an error here would take real server 10.0.2.12:80") {
		t.Errorf("a bad file: code %d, %s", code, err)
	}
	d.write(conf + strings.Replace(nat, "lb_algo rr", "lb_algo wlc", 1))
	if code, _, err := d.command("--reload"); code != exitOK {
		t.Errorf("code %d, %s", code, err)
	}
	d.wait(msgReloaded)
	d.holds(strings.Replace(natLines, "-s rr", "-s wlc", 1))
	if d.exists(mark) {
		t.Error("the mark of a reload is left")
	}
	// The folder may be everybody's: a link there is not followed, and holds no reload up.
	victim := mark + ".victim"
	if err := os.Symlink(victim, mark); err != nil {
		t.Fatal(err)
	}
	d.reload(conf+nat, msgReloaded)
	d.holds(natLines)
	if d.exists(victim) {
		t.Error("a link was followed")
	}
	d.stop()
}

// TestReloadChecked: with reload_check_config, what -t finds fault with is not
// taken over, and what it says is in the file.
func TestReloadChecked(t *testing.T) {
	remarks := filepath.Join(t.TempDir(), "remarks")
	check := "global_defs {\nreload_check_config " + remarks + "\n}\n"
	d := newDaemon(t, ipvstest.NewStock(), check+nat)
	d.start()
	d.reload(check+"frobnicate\n"+strings.Replace(nat, "lb_algo rr", "lb_algo wlc", 1), "reload_check_config: the configuration has faults, -t ends with 5")
	d.holds(natLines)
	if b, err := os.ReadFile(remarks); err != nil || !strings.Contains(string(b), "Unknown keyword 'frobnicate'") {
		t.Errorf("remarks: %v\n%s", err, b)
	}
	d.reload(strings.Replace(nat, "lb_algo rr", "lb_algo wlc", 1), msgReloaded)
	d.holds(strings.Replace(natLines, "-s rr", "-s wlc", 1))
	d.reload("frobnicate\n"+nat, msgReloaded)
	d.holds(natLines)
	d.stop()
}

// TestBrake: a reload that takes away too many servers is refused, until it is
// forced; so is one whose file has been emptied.
func TestBrake(t *testing.T) {
	brake := "global_defs {\nlvs_max_changes 40\n}\n"
	d := newDaemon(t, ipvstest.NewStock(), brake+nat)
	d.start()
	d.holds(natLines)
	half := strings.Replace(nat, "10.0.2.12 80", "10.0.2.13 80", 1)
	said := "it would take away 1 of 2 real servers, and lvs_max_changes allows 40%"
	d.reload(brake+half, said)
	d.reload(half, said) // the brake in force counts
	d.reload("\n", "it would take away 2 of 2 real servers")
	d.holds(natLines)
	d.write(brake + half)
	if code, _, err := d.command("--plan"); code != exitFatal || !strings.Contains(err, said) {
		t.Errorf("--plan: code %d, %s", code, err)
	}
	if code, _, err := d.command("--force-reload"); code != exitOK {
		t.Errorf("--force-reload: code %d, %s", code, err)
	}
	d.wait(msgReloaded)
	d.holds(strings.ReplaceAll(natLines, "10.0.2.12", "10.0.2.13"))
	d.reload(brake+nat, said) // force holds for one reload
	d.reload(half, msgReloaded)
	d.reload("\n", msgReloaded)
	d.holds("")
	d.stop()
	if code, _, err := d.command("--force-reload"); code != exitFatal || !strings.Contains(err, "no daemon is running") {
		t.Errorf("without a daemon: code %d, %s", code, err)
	}
}

// fnatPlan is a file as alibaba/LVS has them.
const fnatPlan = `
global_defs {
	lvs_max_changes 60
}
local_address_group laddr_g1 {
	192.168.10.1-2
}
virtual_server_group shop {
	203.0.113.1 80
	203.0.113.2 80
}
virtual_server group shop {
	lb_algo rr
	lb_kind FNAT
	protocol TCP
	syn_proxy
	laddr_group_name laddr_g1
	est_timeout 900
	real_server 10.20.0.1 80 {
		weight 100
		TCP_CHECK {
		}
	}
	real_server 10.20.0.2 80 {
		weight 50
		TCP_CHECK {
		}
	}
}
`

// TestForeignServices: what only another program can have is told, is no service, and does not
// keep a reload from taking something away.
func TestForeignServices(t *testing.T) {
	const foreign = "virtual_server match out {\nlb_kind SNAT\n}\nvirtual_server fwmark 1 {\nsnat_rule {\nfrom 10.0.0.0/8\n}\n}\n"
	d := newDaemon(t, ipvstest.NewStock(), nat+foreign)
	d.start()
	d.holds(natLines)
	begin, end := strings.Index(nat, "\treal_server 10.0.2.12"), strings.LastIndex(nat, "}")
	d.reload(nat[:begin]+nat[end:]+foreign, msgReloaded)
	d.holds("-A -t 10.0.1.100:80 -s rr\n-a -t 10.0.1.100:80 -r 10.0.2.11:80 -m -w 1\n")
	d.stop()
}

// TestPlanFNAT: a plan of what alibaba's and dpvs' words ask for is in commands of
// ipvsadm, in the order in which a reload then does it; its checks are named.
func TestPlanFNAT(t *testing.T) {
	d := newDaemon(t, ipvstest.New(), fnatPlan)
	d.write(fnatPlan)
	code, out, errs := d.command("--plan")
	const start = "ipvsadm -P --lgroup laddr_g1\nipvsadm -P --lgroup laddr_g1 -z 192.168.10.1\nipvsadm -P --lgroup laddr_g1 -z 192.168.10.2\n" +
		"ipvsadm -A -t 203.0.113.1:80 -s rr\nipvsadm -E -t 203.0.113.1:80 --lgroup laddr_g1 --fullnat "
	if code != exitChanges || errs != "" || !strings.HasPrefix(out, start) {
		t.Errorf("a start: code %d\n%s%s", code, out, errs)
	}
	d.start()
	for _, change := range []struct{ from, to, want string }{
		{"192.168.10.1-2", "192.168.10.2-3", "ipvsadm -P --lgroup laddr_g1 -z 192.168.10.3\nipvsadm -Q --lgroup laddr_g1 -z 192.168.10.1\n"},
		{"weight 50", "weight 7", "ipvsadm -e -t 203.0.113.1:80 -r 10.20.0.2:80 -m -w 7\nipvsadm -e -t 203.0.113.2:80 -r 10.20.0.2:80 -m -w 7\n"},
		{"\tsyn_proxy\n", "", "ipvsadm -E -t 203.0.113.1:80 --synproxy off\nipvsadm -E -t 203.0.113.2:80 --synproxy off\n"},
		{"est_timeout 900", "establish_timeout 60\n\tcps 1000", "ipvsadm -E -t 203.0.113.1:80 --est-timeout 60 --cps 1000\nipvsadm -E -t 203.0.113.2:80 --est-timeout 60 --cps 1000\n"},
		{"203.0.113.2 80", "203.0.113.3 443", "ipvsadm -A -t 203.0.113.3:443 -s rr\nipvsadm -E -t 203.0.113.3:443 --lgroup laddr_g1 --fullnat "},
		{"10.20.0.2 80", "10.20.0.3 80", "ipvsadm -a -t 203.0.113.1:80 -r 10.20.0.3:80 -m -w 50\nipvsadm -a -t 203.0.113.2:80 -r 10.20.0.3:80 -m -w 50\nipvsadm -d -t 203.0.113.1:80 -r 10.20.0.2:80\n"},
	} {
		conf := strings.Replace(fnatPlan, change.from, change.to, 1)
		d.write(conf)
		code, out, errs := d.command("--plan")
		if code != exitChanges || errs != "" || !strings.HasPrefix(out, change.want) {
			t.Errorf("%s: code %d\n%s%s", change.to, code, out, errs)
		}
		d.doesAsTold(change.to, conf, out)
		d.reload(fnatPlan, msgReloaded)
	}
	d.stop()
}
