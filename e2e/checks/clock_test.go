// SPDX-License-Identifier: Apache-2.0

package checks

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lvs-fnat/lvs/internal/testnet"
)

// router is one of a pair of VRRP.
type router struct {
	*testnet.NS
	log string
}

func (r *router) said() string {
	text, _ := os.ReadFile(r.log)
	return string(text)
}

// has tells whether the router has the address.
func (r *router) has(t *testing.T) bool {
	t.Helper()
	list, err := r.Link.AddrList(nil, netlink.FAMILY_V4)
	testnet.Must(t, err)
	return slices.ContainsFunc(list, func(a netlink.Addr) bool { return a.IP.String() == "10.9.0.100" })
}

const routerConf = `vrrp_instance VI {
    interface eth0
    virtual_router_id 51
    priority %d
    advert_int 1
    virtual_ipaddress {
        10.9.0.100
    }
}
`

// newRouter runs a program in a namespace.
func newRouter(t *testing.T, n *testnet.NS, program string, priority int) *router {
	t.Helper()
	dir := t.TempDir()
	conf, r := filepath.Join(dir, "k.conf"), &router{n, filepath.Join(dir, "log")}
	testnet.Must(t, os.WriteFile(conf, fmt.Appendf(nil, routerConf, priority), 0o600))
	out, err := os.Create(r.log)
	testnet.Must(t, err)
	defer out.Close()
	cmd := exec.Command(program, "-n", "-l", "-D", "-P", "-f", conf, "-p", dir+"/pid", "-r", dir+"/vrrp")
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	testnet.Must(t, n.Start(cmd))
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("log of %s in %s:\n%s", program, n.Name, r.said())
		}
	})
	return r
}

// TestClock: the clock of the host jumps an hour on and two back; nothing of a pair of
// routers, ours and the original in each order, goes by it.
func TestClock(t *testing.T) {
	pairs := [][2]string{{ours, stock}, {stock, ours}, {ours, ours}, {stock, stock}}
	var all []*router
	for i, programs := range pairs {
		var ns [2]*testnet.NS
		for k := range ns {
			ns[k] = testnet.New(t, fmt.Sprintf("clock%d%d", i, k))
		}
		testnet.Must(t, testnet.Veth(ns[0], "eth0", ns[1], "eth0"))
		for k, n := range ns {
			testnet.Must(t, n.AddAddr("eth0", netip.MustParsePrefix(fmt.Sprintf("10.9.0.%d/24", k+1))))
			all = append(all, newRouter(t, n, programs[k], 150-50*k))
		}
	}
	// The backup of a pair may have been the first to come up.
	for _, i := range []int{0, 2, 4, 6, 1, 3, 5, 7} {
		r := all[i]
		want := []string{"Entering MASTER STATE", "Entering BACKUP STATE"}[i%2]
		testnet.Eventually(t, time.Minute, func() error {
			if !strings.Contains(r.said(), want) || r.has(t) != (i%2 == 0) {
				return fmt.Errorf("%s has not said %q", r.Name, want)
			}
			return nil
		})
	}
	before := make([]string, len(all))
	for i, r := range all {
		before[i] = r.said()
	}
	for _, jump := range []time.Duration{time.Hour, -2 * time.Hour, time.Hour} {
		now := unix.NsecToTimeval(time.Now().Add(jump).UnixNano())
		testnet.Must(t, unix.Settimeofday(&now))
		time.Sleep(5 * time.Second) // longer than a backup waits for its master
		for i, r := range all {
			if said := strings.TrimPrefix(r.said(), before[i]); strings.Contains(said, " STATE") {
				t.Errorf("after a jump of %v %s of a pair %v has changed its state: %s", jump, r.Name, pairs[i/2], said)
			}
			if has := r.has(t); has != (i%2 == 0) {
				t.Errorf("after a jump of %v %s of a pair %v has the address: %v", jump, r.Name, pairs[i/2], has)
			}
		}
	}
}
