// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/internal/testnet"
)

// TestAccept: a master answers for its addresses, unless no_accept; then neighbours
// still find them, so that what is routed through the router goes on. The rules
// are gone with the program.
func TestAccept(t *testing.T) {
	for _, p := range []program{c, ours} {
		for _, accept := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s-%v", p, accept), func(t *testing.T) {
				t.Parallel()
				b := newBed(t, p, p) // the second runs nothing: it is who asks
				n, peer := b.nodes[0], b.nodes[1]
				more := "virtual_ipaddress_excluded {\n 2001:db8:50::100/64\n }"
				if !accept {
					more += "\n no_accept"
				}
				testnet.Must(t, peer.AddAddr("eth0", prefix("2001:db8:50::2/64")))
				began := time.Now()
				n.start(vi{prio: 150, more: more}.conf())
				b.await("node 0 is master", func(f []frame) bool { return masterSince(f, 0, began) })
				b.holds("2001:db8:50::100", 0)
				for _, to := range []string{vip, "2001:db8:50::100"} {
					patience := limit
					if !accept {
						patience = 2 * time.Second // for an answer that does not come
					}
					err := dial(t, peer, to, patience)
					if refused := errors.Is(err, syscall.ECONNREFUSED); refused != accept {
						t.Errorf("accept %v: %s answers %v", accept, to, err)
					}
					if mac, err := n.MAC("eth0"); err != nil || !peer.knows(to, mac) {
						t.Errorf("accept %v: the neighbour has not found %s", accept, to)
					}
				}
				n.stop()
				testnet.Must(t, n.AddAddr("eth0", prefix(vip+"/32")))
				if err := dial(t, peer, vip, limit); !errors.Is(err, syscall.ECONNREFUSED) {
					t.Errorf("after the end the address answers %v", err)
				}
			})
		}
	}
}

// dial tries a port that nobody listens on, for so long.
func dial(t *testing.T, n *node, addr string, patience time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := n.DialContext(ctx, "tcp", net.JoinHostPort(addr, "9"))
	if err == nil {
		conn.Close()
	}
	return err
}
