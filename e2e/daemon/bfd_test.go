// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testvm"
	"github.com/lvs-fnat/lvs/ipvs"
)

// launch runs keepalived in a namespace until the test or the caller ends it.
func launch(t *testing.T, ns *testnet.NS, conf string) *daemon {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "k.conf")
	testnet.Must(t, os.WriteFile(file, []byte(conf), 0o600))
	d := &daemon{t: t, done: make(chan error, 1)}
	d.cmd = exec.Command("/usr/sbin/keepalived", "-n", "-l", "-D", "-f", file, "-p", dir+"/pid", "-r", dir+"/vrrp", "-c", dir+"/checkers", "-b", dir+"/bfd")
	d.cmd.Stderr = d
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	testnet.Must(t, ns.Start(d.cmd))
	go func() { d.done <- d.cmd.Wait() }()
	t.Cleanup(func() {
		d.kill()
		if t.Failed() {
			t.Logf("log of keepalived in %s:\n%s", ns.Name, d.text())
		}
	})
	return d
}

func (d *daemon) kill() { _ = syscall.Kill(-d.cmd.Process.Pid, syscall.SIGKILL) }

const bfdSession = `bfd_instance PEER {
    neighbor_ip %s
    min_rx 100
    min_tx 100
    multiplier 3
}
`

// TestKeepalivedBFD: a real server is in the kernel's table while its session of
// BFD is up, and leaves it when the host falls silent.
//
//	d1 .1 ── 10.0.2.0/24 ── .11 r1
func TestKeepalivedBFD(t *testing.T) {
	director, server := testnet.New(t, "d1"), testnet.New(t, "r1")
	testnet.Must(t, testnet.Veth(director, "back", server, "eth0"),
		director.AddAddr("back", netip.MustParsePrefix("10.0.2.1/24")), server.AddAddr("eth0", netip.MustParsePrefix("10.0.2.11/24")))
	peer := launch(t, server, fmt.Sprintf(bfdSession, "10.0.2.1"))
	launch(t, director, fmt.Sprintf(bfdSession, "10.0.2.11")+`virtual_server 10.0.1.100 80 {
    lb_algo rr
    lb_kind NAT
    protocol TCP
    real_server 10.0.2.11 80 {
        alpha
        BFD_CHECK {
            name PEER
        }
    }
}
`)
	has := func(want int) time.Duration {
		t.Helper()
		began := time.Now()
		testnet.Eventually(t, 30*time.Second, func() error {
			return director.Do(func() error {
				k, err := ipvs.Dial(t.Context())
				if err != nil {
					return err
				}
				defer k.Close()
				services, err := k.Services(t.Context())
				if err != nil || len(services) != 1 {
					return fmt.Errorf("services %v, %w", services, err)
				}
				dests, err := k.Dests(t.Context(), services[0].ServiceKey)
				if err == nil && len(dests) != want {
					err = fmt.Errorf("%d real servers, want %d", len(dests), want)
				}
				return err
			})
		})
		return time.Since(began)
	}
	has(1)
	peer.kill()
	if took := has(0); took > 5*time.Second {
		t.Errorf("it is there for %v after its end", took)
	}
	launch(t, server, fmt.Sprintf(bfdSession, "10.0.2.1"))
	has(1)
}

// TestKeepalivedVRF: routers that have no interface of their own but a VRF speak
// through it, and a route can name it for its table.
//
//	n1 eth0 .1 ── 10.0.9.0/24 ── .2 eth0 n2     eth0 belongs to the VRF "blue"
func TestKeepalivedVRF(t *testing.T) {
	testnet.Must(t, testvm.Modprobe("vrf"))
	const table = 77
	nodes := [2]*testnet.NS{testnet.New(t, "n1"), testnet.New(t, "n2")}
	testnet.Must(t, testnet.Veth(nodes[0], "eth0", nodes[1], "eth0"))
	var logs [2]*daemon
	for i, n := range nodes {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "blue"
		testnet.Must(t, n.AddLink(&netlink.Vrf{LinkAttrs: attrs, Table: table}))
		blue, err := n.Link.LinkByName("blue")
		testnet.Must(t, err)
		eth0, err := n.Link.LinkByName("eth0")
		testnet.Must(t, err, n.Link.LinkSetMaster(eth0, blue), n.Up("blue"), n.AddAddr("eth0", netip.MustParsePrefix(fmt.Sprintf("10.0.9.%d/24", i+1))))
	}
	for i, n := range nodes {
		logs[i] = launch(t, n, fmt.Sprintf(`vrrp_instance VI {
    vrf blue
    virtual_router_id 51
    priority %d
    advert_int 1
    unicast_src_ip 10.0.9.%d
    unicast_peer {
        10.0.9.%d
    }
    virtual_ipaddress {
        10.0.9.100/24 dev eth0
    }
    virtual_routes {
        10.8.0.0/16 via 10.0.9.254 dev eth0 vrf blue
    }
}
`, 150-50*i, i+1, 2-i))
	}
	holds := func(i int) error {
		addrs, err := nodes[i].Link.AddrList(nil, netlink.FAMILY_V4)
		if err != nil || !slices.ContainsFunc(addrs, func(a netlink.Addr) bool { return a.IP.String() == "10.0.9.100" }) {
			return fmt.Errorf("node %d does not have the address: %v", i+1, err)
		}
		routes, err := nodes[i].Link.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: table}, netlink.RT_FILTER_TABLE)
		if err != nil || !slices.ContainsFunc(routes, func(r netlink.Route) bool { return r.Dst != nil && r.Dst.String() == "10.8.0.0/16" }) {
			return fmt.Errorf("node %d has %v in the table of the VRF: %v", i+1, routes, err)
		}
		return nil
	}
	testnet.Eventually(t, 30*time.Second, func() error { return holds(0) })
	logs[1].wait("Entering BACKUP STATE")
	if holds(1) == nil {
		t.Error("both are master")
	}
	logs[0].kill()
	testnet.Eventually(t, 30*time.Second, func() error { return holds(1) })
}
