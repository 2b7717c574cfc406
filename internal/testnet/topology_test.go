// SPDX-License-Identifier: Apache-2.0

package testnet

import (
	"bufio"
	"context"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to make namespaces")
	}
}

// greet serves one connection on addr inside n: it sends name and the peer's address.
func greet(t *testing.T, n *NS, addr netip.AddrPort, name string) {
	t.Helper()
	l, err := n.Listen(t.Context(), "tcp", addr.String())
	Must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte(name + " " + c.RemoteAddr().String() + "\n"))
			c.Close()
		}
	}()
}

func ask(t *testing.T, n *NS, addr netip.AddrPort) (string, error) {
	t.Helper()
	// a link that has just come up may lose the first question for a neighbour, asked again after 1 s
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := n.DialContext(ctx, "tcp", addr.String())
	if err != nil {
		return "", err
	}
	defer c.Close()
	return bufio.NewReader(c).ReadString('\n')
}

func TestNetnsTopologyRoutesWithGateway(t *testing.T) {
	needRoot(t)
	for _, neighbours := range []bool{false, true} {
		top := NewTopology(t, Plan{Gateway: true, Neighbours: neighbours})
		for i, r := range top.R {
			for _, a := range []netip.Addr{r.V4, r.V6} {
				to := netip.AddrPortFrom(a, 80)
				greet(t, r.NS, to, r.Name)
				got, err := ask(t, top.C[0].NS, to)
				if err != nil {
					t.Fatalf("client to server %d: %v", i+1, err)
				}
				from, _ := netip.ParseAddrPort(got[len(r.Name)+1 : len(got)-1])
				if from.Addr() != top.C[0].V4 && from.Addr() != top.C[0].V6 {
					t.Errorf("server %d sees %q, want the client's address", i+1, got)
				}
			}
		}
		Must(t, top.Close())
	}
}

func TestNetnsServersHaveNoWayToClients(t *testing.T) {
	needRoot(t)
	top := NewTopology(t, Plan{Clients: 2, Servers: 3})
	if len(top.C) != 2 || len(top.R) != 3 {
		t.Fatalf("got %d clients and %d servers", len(top.C), len(top.R))
	}
	for _, a := range []netip.Addr{top.C[1].V4, top.C[1].V6} {
		_, err := ask(t, top.R[2].NS, netip.AddrPortFrom(a, 80))
		if op, ok := err.(*net.OpError); !ok || op.Timeout() {
			t.Errorf("server to client %v: %v, want no route", a, err)
		}
	}
}

func TestNetnsCloseRemovesName(t *testing.T) {
	needRoot(t)
	n, err := Open("gone")
	Must(t, err)
	if _, err := os.Stat("/run/netns/" + n.Name); err != nil {
		t.Error(err)
	}
	Must(t, n.Close())
	if _, err := os.Stat("/run/netns/" + n.Name); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", n.Name, err)
	}
}

func TestNetnsErrorsNamePlaceAndCommand(t *testing.T) {
	needRoot(t)
	n := New(t, "wrong")
	for want, err := range map[string]error{
		n.Name + ": link nosuch: Link not found": n.Up("nosuch"),
		n.Name + ": sysctl no/such=1":            n.Sysctl("no.such", "1"),
		n.Name + ": false : exit status 1: ":     func() error { _, err := n.Run(t.Context(), "false"); return err }(),
	} {
		if err == nil || len(err.Error()) < len(want) || err.Error()[:len(want)] != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
