// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/lvs-fnat/lvs/internal/testnet"
)

// readBuffers gives what the sockets of a process may hold back, by domain, protocol and
// the size in bytes: sockets that share those are listed once.
func readBuffers(t *testing.T, pid int) []string {
	t.Helper()
	process, err := unix.PidfdOpen(pid, 0)
	testnet.Must(t, err)
	defer unix.Close(process)
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	testnet.Must(t, err)
	var out []string
	for _, e := range list {
		n, err := strconv.Atoi(e.Name())
		testnet.Must(t, err)
		fd, err := unix.PidfdGetfd(process, n, 0)
		if err != nil {
			continue // closed meanwhile
		}
		domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
		proto, err2 := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
		size, err3 := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
		testnet.Must(t, unix.Close(fd))
		if err == nil && err2 == nil && err3 == nil && domain != unix.AF_UNIX {
			out = append(out, fmt.Sprintf("%d %d %d", domain, proto, size))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// TestReadBuffers: the socket of advertisements has the buffer that policy, multiplier and
// instances ask for together, that of netlink the one of the file, forced or up to the
// host's limit; as from the original.
func TestReadBuffers(t *testing.T) {
	t.Parallel()
	many := []string{vip}
	for i := range 200 {
		many = append(many, fmt.Sprintf("10.9.0.%d", i+1))
	}
	for name, v := range map[string]vi{
		"mtu":        {globalDefs: "vrrp_rx_bufs_policy MTU", outside: another("O", "eth0", 52, 2, "192.168.50.101", "")},
		"multiplier": {globalDefs: "vrrp_rx_bufs_policy mtu\n vrrp_rx_bufs_multiplier 5"},
		"advert":     {globalDefs: "vrrp_rx_bufs_policy ADVERT\n vrrp_rx_bufs_multiplier 7", vips: many},
		"advert3":    {globalDefs: "vrrp_rx_bufs_policy ADVERT\n vrrp_rx_bufs_multiplier 7", vips: many, version: 3},
		"AH":         {globalDefs: "vrrp_rx_bufs_policy ADVERT\n vrrp_rx_bufs_multiplier 7", vips: many, more: "authentication {\n auth_type AH\n auth_pass x\n }"},
		"IPv6":       {globalDefs: "vrrp_rx_bufs_policy ADVERT\n vrrp_rx_bufs_multiplier 90", version: 3, vips: vips6},
		"size":       {globalDefs: "vrrp_rx_bufs_policy 20000\n vrrp_rx_bufs_multiplier 2", outside: another("O", "eth0", 52, 2, "192.168.50.101", "kernel_rx_buf_size 30000")},
		"netlink":    {globalDefs: "vrrp_netlink_cmd_rcv_bufs 50000\n vrrp_netlink_monitor_rcv_bufs 60000"},
		"forced": {globalDefs: "vrrp_netlink_cmd_rcv_bufs 50000000\n vrrp_netlink_cmd_rcv_bufs_force\n" +
			" vrrp_netlink_monitor_rcv_bufs 60000000\n vrrp_netlink_monitor_rcv_bufs_force"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			type seen struct {
				program
				list []string
			}
			results := make(chan seen, 2)
			t.Run("nodes", func(t *testing.T) {
				each(t, func(t *testing.T, b *bed, n *node) {
					v.prio = 100
					n.start(v.conf())
					n.until("Entering BACKUP STATE", 1+strings.Count(v.outside, "vrrp_instance"))
					var list []string
					for _, s := range readBuffers(t, n.child()) {
						var domain, proto, size int
						_, err := fmt.Sscan(s, &domain, &proto, &size)
						testnet.Must(t, err)
						// The original sends by a socket of its own, with the smallest buffer there is; ours
						// has more of netlink, and a large buffer for what is not said.
						asked := strings.Contains(v.globalDefs, "netlink")
						if proto == 112 && size > 2304 || proto == 51 && size > 2304 || domain == unix.AF_NETLINK && asked && (size == 100000 || size == 120000 || size > 90000000) {
							list = append(list, s)
						}
					}
					if len(list) == 0 {
						t.Errorf("no socket of interest: %v", readBuffers(t, n.child()))
					}
					results <- seen{n.program, list}
				})
			})
			close(results)
			all := map[program][]string{}
			for s := range results {
				all[s.program] = s.list
			}
			if d := cmp.Diff(all[c], all[ours]); d != "" {
				t.Errorf("domain, protocol and bytes, -original +ours:\n%s", d)
			}
		})
	}
}
