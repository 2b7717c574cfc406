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

	"github.com/google/nftables"

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

// TestAcceptLinkLocal: no_accept is about the link local address of the instance's link;
// the same one of another link, where it means another host, answers, whether the rules
// know the link by its name or by its index.
//
//	node eth0 .1 ── switch ── eth0 peer
//	     eth1 ─────────────── eth1
func TestAcceptLinkLocal(t *testing.T) {
	const address = "fe80::50:64"
	for _, p := range []program{c, ours} {
		for words, kind := range map[string]nftables.SetDatatype{"": nftables.TypeIFName, "nftables_ifindex": nftables.TypeIFIndex} {
			t.Run(fmt.Sprintf("%s-%s", p, words), func(t *testing.T) {
				t.Parallel()
				b := newBed(t, p, p) // the second runs nothing: it is who asks
				n, peer := b.nodes[0], b.nodes[1]
				testnet.Must(t, testnet.Veth(n.NS, "eth1", peer.NS, "eth1"))
				testnet.Must(t, n.AddAddr("eth1", prefix(address+"/64")), peer.AddAddr("eth1", prefix("fe80::60:2/64")))
				began := time.Now()
				n.start(vi{prio: 150, version: 3, vips: []string{address}, more: "no_accept", globalDefs: words}.conf())
				b.await("node 0 is master", func(f []frame) bool { return masterSince(f, 0, began) })
				if err := dial(t, peer, address+"%eth1", limit); !errors.Is(err, syscall.ECONNREFUSED) {
					t.Errorf("the other link's answers %v", err)
				}
				if err := dial(t, peer, address+"%eth0", 2*time.Second); errors.Is(err, syscall.ECONNREFUSED) {
					t.Error("the address of no_accept answers")
				}
				if mac, err := n.MAC("eth0"); err != nil || !peer.knows(address, mac) {
					t.Error("the neighbour has not found it")
				}
				if got := n.keyed(kind); got != 1 && p == ours {
					t.Errorf("%d elements by %s, want 1", got, kind.Name)
				}
				n.stop()
				if got := n.keyed(kind); got != 0 {
					t.Errorf("%d elements are left", got)
				}
			})
		}
	}
}

// keyed counts the elements of sets of an IPv6 address with a link, in that form.
func (n *node) keyed(link nftables.SetDatatype) (count int) {
	n.t.Helper()
	kind := nftables.MustConcatSetType(nftables.TypeIP6Addr, link)
	testnet.Must(n.t, n.Do(func() error {
		conn, err := nftables.New()
		testnet.Must(n.t, err)
		tables, err := conn.ListTables()
		testnet.Must(n.t, err)
		for _, table := range tables {
			sets, err := conn.GetSets(table)
			testnet.Must(n.t, err)
			for _, set := range sets {
				if set.KeyType.GetNFTMagic() == kind.GetNFTMagic() {
					elements, err := conn.GetSetElements(set)
					testnet.Must(n.t, err)
					count += len(elements)
				}
			}
		}
		return nil
	}))
	return count
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
