// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/ipvs"
)

// suspendConf is a service that follows its address. With alpha a real server waits for
// its first good check.
const suspendConf = `vrrp_instance VI {
    interface front
    virtual_router_id 51
    priority 100
    advert_int 1
    virtual_ipaddress {
        10.0.1.101/24
    }
}
local_address_group back {
    10.0.2.201
}
virtual_server 10.0.1.101 80 {
    delay_loop 1
    lb_algo rr
    lb_kind FNAT
    protocol TCP
    laddr_group_name back
    alpha
    ha_suspend
    real_server 10.0.2.11 80 {
        TCP_CHECK {
            connect_port 8080
            connect_timeout 5
            warmup 0
        }
    }
}
`

// TestKeepalivedTakeOver: a node that takes over has the address first; then the checks
// of the service begin, and then it has real servers. A backup asks no server, and when
// the node ends, address and service go.
func TestKeepalivedTakeOver(t *testing.T) {
	b := newBalanced(t)
	vip := netip.MustParseAddr("10.0.1.101")
	here := func() (bool, error) {
		list, err := b.D.Link.AddrList(nil, netlink.FAMILY_V4)
		for _, a := range list {
			if a.IP.Equal(vip.AsSlice()) {
				return true, err
			}
		}
		return false, err
	}
	l, err := b.R[0].Listen(t.Context(), "tcp", netip.AddrPortFrom(b.R[0].V4, 8080).String())
	testnet.Must(t, err)
	var asked, early atomic.Int32
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					t.Error(err)
				}
				return
			}
			c.Close()
			if ok, err := here(); err != nil || !ok {
				early.Add(1)
			}
			asked.Add(1)
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })

	c := b.client()
	key := ipvs.ServiceKey{Family: ipvs.IPv4, Protocol: ipvs.TCP, Addr: vip, Port: 80}
	servers := func() int {
		list, err := c.Dests(t.Context(), key)
		testnet.Must(t, err)
		return len(list)
	}
	b.write(suspendConf)
	d := b.run("-D")
	d.wait("Entering BACKUP STATE")
	d.wait("Entering MASTER STATE")
	testnet.Eventually(t, 30*time.Second, func() error {
		n := servers() // before the address is looked for, which came earlier
		ok, err := here()
		if n > 0 && !ok {
			t.Fatalf("%d real servers, and no address", n)
		} else if n == 0 {
			return fmt.Errorf("no real server yet; the address is here: %v", ok)
		}
		return err
	})
	if n := early.Load(); n > 0 || asked.Load() == 0 {
		t.Errorf("of %d checks %d came before the address", asked.Load(), n)
	}
	if got, err := b.get(vip, 2); err != nil || got["r1"] != 2 {
		t.Errorf("answers: %v, %v", got, err)
	}
	d.signal(syscall.SIGTERM)
	d.ends(0)
	if ok, err := here(); err != nil || ok {
		t.Errorf("after the end the address is here: %v, %v", ok, err)
	}
	b.empty()
}
