// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/ipvs"
)

// inNamespace tells whether the process of a pid file is in a network namespace.
func inNamespace(pidFile string, ns *testnet.NS) (bool, error) {
	text, err := os.ReadFile(pidFile)
	if err != nil {
		return false, err
	}
	var here, there syscall.Stat_t
	err = errors.Join(syscall.Stat("/proc/"+strings.TrimSpace(string(text))+"/ns/net", &here), syscall.Fstat(ns.FD(), &there))
	return here.Ino == there.Ino, err
}

// servicesOf counts what the table of a namespace has.
func servicesOf(t *testing.T, ns *testnet.NS) int {
	t.Helper()
	c, err := ipvs.Config{NetNS: ns.FD()}.Dial(t.Context())
	testnet.Must(t, err)
	defer c.Close()
	services, err := c.Services(t.Context())
	testnet.Must(t, err)
	return len(services)
}

// TestNamespaces: a daemon that is started in one namespace, and has net_namespace for
// another, has its children, its checks and the kernel's table there, and names for its
// files; with net_namespace_ipvs the table alone.
func TestNamespaces(t *testing.T) {
	b := newBalanced(t)
	home, demo := testnet.New(t, "home"), b.read()
	b.write("net_namespace " + b.D.Name + "\n" + demo)
	d := b.runIn(home)
	d.wait("Startup complete")
	b.both("at the start", testnet.VIP4, 4)
	if here, there := servicesOf(t, home), servicesOf(t, b.D.NS); here != 0 || there != 4 {
		t.Errorf("%d services where it was started, want 0; %d in its namespace, want 4", here, there)
	}
	folder := "/run/keepalived/" + b.D.Name
	parent, child := folder+"/keepalived.pid", folder+"/checkers.pid"
	if text, err := os.ReadFile(parent); err != nil || string(text) != fmt.Sprintln(d.cmd.Process.Pid) {
		t.Errorf("%s: %q %v", parent, text, err)
	}
	if in, err := inNamespace(child, b.D.NS); err != nil || !in {
		t.Errorf("the checks are in the namespace: %v %v", in, err)
	}
	b.servers[0].sick.Store(true) // which checks see only from there
	d.waitAny("Removing service [10.0.2.11]:tcp:80 from VS")
	if got, err := b.get(testnet.VIP4, 4); err != nil || got["r2"] != 4 {
		t.Errorf("with r1 sick: %v %v", got, err)
	}
	b.servers[0].sick.Store(false)
	d.waitAny("Adding service [10.0.2.11]:tcp:80 to VS")
	d.signal(syscall.SIGHUP)
	d.waitAny("Reload complete")
	if in, err := inNamespace(child, b.D.NS); err != nil || !in {
		t.Errorf("after a reload the checks are in the namespace: %v %v", in, err)
	}
	before, err := os.ReadFile(child)
	testnet.Must(t, err)
	var pid int
	_, err = fmt.Sscan(string(before), &pid)
	testnet.Must(t, err, syscall.Kill(pid, syscall.SIGKILL))
	testnet.Eventually(t, time.Minute, func() error {
		now, err := os.ReadFile(child)
		if err == nil && (len(now) == 0 || string(now) == string(before)) {
			err = errors.New("no other process has the checks")
		}
		return err
	})
	if in, err := inNamespace(child, b.D.NS); err != nil || !in {
		t.Errorf("those that came for killed ones are in the namespace: %v %v", in, err)
	}
	d.waitAny("Startup complete")
	d.signal(syscall.SIGTERM)
	d.ends(0)
	b.empty()
	if _, err := os.Lstat(folder); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is left: %v", folder, err)
	}

	b.write("net_namespace_ipvs " + b.D.Name + "\n" + demo)
	d = b.runIn(home)
	d.wait("Startup complete")
	if here, there := servicesOf(t, home), servicesOf(t, b.D.NS); here != 0 || there != 4 {
		t.Errorf("net_namespace_ipvs: %d services where it was started, want 0; %d there, want 4", here, there)
	}
	if in, err := inNamespace("/run/checkers.pid", home); err != nil || !in {
		t.Errorf("net_namespace_ipvs: the checks are where it was started: %v %v", in, err)
	}
	d.signal(syscall.SIGTERM)
	d.ends(0)
	b.empty()
}
