// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/ipvs"
)

// client reaches the director's tables.
func (b *balanced) client() *ipvs.Client {
	b.t.Helper()
	c, err := ipvs.Config{NetNS: b.D.FD()}.Dial(b.t.Context())
	testnet.Must(b.t, err)
	b.t.Cleanup(func() { c.Close() })
	return c
}

// settings is what both families say of a service and its real servers, without
// what only counts.
func (b *balanced) settings(c *ipvs.Client, key ipvs.ServiceKey) string {
	b.t.Helper()
	s, err := c.Service(b.t.Context(), key)
	testnet.Must(b.t, err)
	x, err := c.ExtService(b.t.Context(), key)
	testnet.Must(b.t, err)
	x.NConn, x.Stats = 0, ipvs.ExtStats{}
	dests, err := c.Dests(b.t.Context(), key)
	testnet.Must(b.t, err)
	var servers []string
	for _, d := range dests {
		servers = append(servers, fmt.Sprintf("%v weight %d %v", d.DestKey, d.Weight, d.Forward))
	}
	slices.Sort(servers)
	return fmt.Sprintf("%s %+v %v", s.Scheduler, x.Ext, servers)
}

// remedies are the commands of a report of drift, the first in the log behind from.
func (d *daemon) remedies(from int) []string {
	d.t.Helper()
	var commands []string
	testnet.Eventually(d.t, 30*time.Second, func() error {
		_, report, _ := strings.Cut(d.text()[from:], "IPVS: somebody has changed the tables in ")
		var n int
		if _, err := fmt.Sscan(report, &n); err != nil {
			return err
		}
		commands = nil
		for line := range strings.Lines(report) {
			if _, command, ok := strings.Cut(line, "IPVS: '"); ok && strings.HasSuffix(line, "\n") {
				commands = append(commands, command[:strings.LastIndex(command, "'")])
			}
		}
		if len(commands) != n {
			return fmt.Errorf("%d commands, want %d", len(commands), n)
		}
		return nil
	})
	return commands
}

// TestKeepalivedRepair: somebody deletes a service, or makes it anew as plain
// NAT, the way kube-proxy cleans up. The daemon says what is missing, in commands
// that bring it back; with lvs_repair the service is whole again, FNAT and all else
// it has.
func TestKeepalivedRepair(t *testing.T) {
	b := newBalanced(t)
	demo := strings.Replace(b.read(), "    toa on\n", "    toa on\n    toa_kind4 252\n    mss_clamp 1380\n    cps 1000 50\n    rst_on_expire\n", 1)
	demo = strings.Replace(demo, "router_id demo", "router_id demo\n    drop_vip\n    laddr_probes 100", 1)
	b.write(demo)
	d := b.run()
	d.wait("Startup complete")
	c := b.client()
	key := ipvs.ServiceKey{Family: ipvs.IPv4, Protocol: ipvs.TCP, Addr: testnet.VIP4, Port: 80}
	want := b.settings(c, key)
	whole, err := c.Service(t.Context(), key)
	testnet.Must(t, err)
	plain := ipvs.Service{ServiceKey: key, Scheduler: "rr", Netmask: whole.Netmask}
	addr := netip.MustParseAddr("10.0.2.202")
	testnet.Must(t, c.Apply(t.Context(), ipvs.Op{Kind: ipvs.DelService, Service: plain},
		ipvs.Op{Kind: ipvs.SetExtConfig, Config: ipvs.ExtConfig{Set: ipvs.ExtConfigProbes | ipvs.ExtConfigDropVIP, Probes: 9}},
		ipvs.Op{Kind: ipvs.DelLaddr, LGroup: ipvs.LGroup{Name: "back"}, Laddr: ipvs.Laddr{Addr: addr}}))
	from := len(d.text())
	d.signal(syscall.SIGUSR1)
	d.wait("IPVS: somebody has changed the tables")
	if s, err := c.Service(t.Context(), key); err == nil {
		t.Errorf("without lvs_repair there is %+v", s)
	}
	for _, command := range d.remedies(from) {
		if out, err := b.D.Run(t.Context(), "/sbin/"+strings.Fields(command)[0], strings.Fields(command)[1:]...); err != nil {
			t.Errorf("%s: %v\n%s", command, err, out)
		}
	}
	if got := b.settings(c, key); got != want {
		t.Errorf("brought back by hand:\n%s\nwant\n%s", got, want)
	}
	if cfg, err := c.ExtConfig(t.Context()); err != nil || !cfg.DropVIP || cfg.Probes != 100 {
		t.Errorf("settings of all services: %+v %v", cfg, err)
	}
	b.both("brought back by hand", testnet.VIP4, 4)
	d.signal(syscall.SIGUSR1)
	d.wait("IPVS: the tables are as they should be again")
	b.write(strings.Replace(demo, "router_id demo", "lvs_repair", 1))
	d.signal(syscall.SIGHUP)
	d.wait("Reload complete")
	for what, ops := range map[string][]ipvs.Op{
		"deleted":            {{Kind: ipvs.DelService, Service: plain}},
		"deleted, made anew": {{Kind: ipvs.DelService, Service: plain}, {Kind: ipvs.AddService, Service: plain}},
		"flushed":            {{Kind: ipvs.Flush}},
	} {
		testnet.Must(t, c.Apply(t.Context(), ops...))
		d.signal(syscall.SIGUSR1)
		d.wait("IPVS: the tables are repaired")
		if got := b.settings(c, key); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", what, got, want)
		}
		b.both(what, testnet.VIP4, 4)
	}
	d.signal(syscall.SIGTERM)
	d.ends(0)
	b.empty()
}

// TestKeepalivedResets: a server that goes down loses the connections it has,
// and the others keep theirs.
func TestKeepalivedResets(t *testing.T) {
	b := newBalanced(t)
	b.write(strings.Replace(b.read(), "    toa on\n", "    toa on\n    rst_on_failure\n    rst_on_expire\n", 1))
	d := b.run()
	d.wait("Startup complete")
	conns := map[string]net.Conn{}
	for len(conns) < 2 {
		c, err := b.C[0].DialContext(t.Context(), "tcp", netip.AddrPortFrom(testnet.VIP4, 80).String())
		testnet.Must(t, err)
		t.Cleanup(func() { c.Close() })
		conns[answer(t, c)] = c
	}
	b.servers[0].sick.Store(true)
	d.wait("Ended 1 connections to 10.0.2.11 port 80, which is down")
	testnet.Must(t, conns["r1"].SetReadDeadline(time.Now().Add(10*time.Second)))
	if _, err := conns["r1"].Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the connection to the server that is down ends with %v", err)
	}
	if who := answer(t, conns["r2"]); who != "r2" {
		t.Errorf("the other is answered by %q", who)
	}
	d.signal(syscall.SIGTERM)
	d.ends(0)
}

// answer asks over a connection that stays open, and gives the server's name.
func answer(t *testing.T, c net.Conn) string {
	t.Helper()
	testnet.Must(t, c.SetDeadline(time.Now().Add(5*time.Second)))
	_, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	testnet.Must(t, err)
	buf := make([]byte, 1000)
	n, err := c.Read(buf)
	testnet.Must(t, err)
	_, body, _ := strings.Cut(string(buf[:n]), "\r\n\r\n")
	name, _, _ := strings.Cut(body, " ")
	return name
}
