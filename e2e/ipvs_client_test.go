// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	moby "github.com/moby/ipvs"
	"github.com/vishvananda/netlink"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testvm"
	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/ipvs/ipvstest"
)

// client returns our IPVS client on n's tables.
func client(t *testing.T, n *testnet.NS) *ipvs.Client {
	t.Helper()
	c, err := ipvs.Config{NetNS: n.FD()}.Dial(t.Context())
	testnet.Must(t, err)
	t.Cleanup(func() { testnet.Must(t, c.Close()) })
	return c
}

// emptied flushes c's table at the end of the test. The kernel takes the services of
// a namespace down some time after its end, and a listing elsewhere that is under
// way then skips as many: its place is a count of those of all namespaces.
func emptied(t *testing.T, c *ipvs.Client) *ipvs.Client {
	t.Cleanup(func() { testnet.Must(t, c.Apply(context.Background(), ipvs.Op{Kind: ipvs.Flush})) })
	return c
}

// service is a service with round robin at addr ("192.0.2.1:80").
func service(p ipvs.Protocol, addr string) ipvs.Service {
	a := netip.MustParseAddrPort(addr)
	s := ipvs.Service{Scheduler: "rr", Netmask: 0xffffffff, ServiceKey: ipvs.ServiceKey{
		Family: ipvs.FamilyOf(a.Addr()), Protocol: p, Addr: a.Addr(), Port: a.Port()}}
	if a.Addr().Is6() {
		s.Netmask = 128
	}
	return s
}

func dest(addr string, forward ipvs.Forward, weight uint32) ipvs.Dest {
	a := netip.MustParseAddrPort(addr)
	return ipvs.Dest{Forward: forward, Weight: weight,
		DestKey: ipvs.DestKey{Family: ipvs.FamilyOf(a.Addr()), Addr: a.Addr(), Port: a.Port()}}
}

func addDests(s ipvs.Service, dests ...ipvs.Dest) []ipvs.Op {
	ops := []ipvs.Op{{Kind: ipvs.AddService, Service: s}}
	for _, d := range dests {
		ops = append(ops, ipvs.Op{Kind: ipvs.AddDest, Service: s, Dest: d})
	}
	return ops
}

// sameForBoth are services with dests that both clients can write and read.
func sameForBoth() []ipvs.ServiceDests {
	persistent := service(ipvs.TCP, "192.0.2.1:443")
	persistent.Scheduler, persistent.Flags = "sh", ipvs.FlagPersistent|ipvs.FlagSched1
	persistent.Timeout, persistent.Netmask = 300*time.Second, 0xffffff00
	anyPort := service(ipvs.TCP, "[2001:db8::1]:0")
	anyPort.Flags, anyPort.Timeout, anyPort.Netmask = ipvs.FlagPersistent, 90*time.Second, 64
	onePacket := service(ipvs.UDP, "192.0.2.1:53")
	onePacket.Flags, onePacket.Scheduler = ipvs.FlagOnePacket, "wrr"
	mark := ipvs.Service{ServiceKey: ipvs.ServiceKey{Family: ipvs.IPv4, FWMark: 7}, Scheduler: "wlc", Netmask: 0xffffffff}
	mark6 := ipvs.Service{ServiceKey: ipvs.ServiceKey{Family: ipvs.IPv6, FWMark: 7}, Scheduler: "fo", Netmask: 128}
	limited := dest("10.0.0.2:8080", ipvs.Masq, 65535)
	limited.UpperThreshold, limited.LowerThreshold = 1000, 800
	return []ipvs.ServiceDests{
		{Service: service(ipvs.TCP, "192.0.2.1:80"), Dests: []ipvs.Dest{dest("10.0.0.1:8080", ipvs.Masq, 0), limited}},
		{Service: persistent, Dests: []ipvs.Dest{dest("10.0.0.1:443", ipvs.DirectRoute, 1), dest("10.0.0.2:443", ipvs.Tunnel, 2)}},
		{Service: anyPort, Dests: []ipvs.Dest{dest("[2001:db8:1::1]:0", ipvs.Masq, 3)}},
		{Service: onePacket, Dests: []ipvs.Dest{dest("10.0.0.1:53", ipvs.Masq, 1)}},
		{Service: service(ipvs.SCTP, "192.0.2.1:9")},
		{Service: mark, Dests: []ipvs.Dest{dest("10.0.0.1:0", ipvs.DirectRoute, 1)}},
		{Service: mark6, Dests: []ipvs.Dest{dest("[2001:db8:1::2]:0", ipvs.Tunnel, 1)}},
	}
}

// mobyMask is a netmask as the witness has it: the kernel's number as it lies
// in memory.
func mobyMask(s ipvs.Service) uint32 {
	if s.Family == ipvs.IPv6 {
		return s.Netmask
	}
	return binary.NativeEndian.Uint32(binary.BigEndian.AppendUint32(nil, s.Netmask))
}

func mobyService(s ipvs.Service) *moby.Service {
	return &moby.Service{AddressFamily: uint16(s.Family), Protocol: uint16(s.Protocol), Address: net.IP(s.Addr.AsSlice()),
		Port: s.Port, FWMark: s.FWMark, SchedName: s.Scheduler, Flags: uint32(s.Flags),
		Timeout: uint32(s.Timeout / time.Second), Netmask: mobyMask(s), PEName: s.PEName}
}

func mobyDest(d ipvs.Dest) *moby.Destination {
	return &moby.Destination{AddressFamily: uint16(d.Family), Address: net.IP(d.Addr.AsSlice()), Port: d.Port,
		Weight: int(d.Weight), ConnectionFlags: uint32(d.Forward), UpperThreshold: d.UpperThreshold, LowerThreshold: d.LowerThreshold}
}

const (
	serviceLine = "%d %d %v:%d mark %d %s flags %#x timeout %d mask %#x"
	destLine    = " -> %v:%d method %d weight %d up %d low %d"
)

// ourLines lists what c reads, a line for each service and dest.
func ourLines(t *testing.T, c *ipvs.Client) []string {
	t.Helper()
	var all []ipvs.ServiceDests
	for s, err := range c.Table(t.Context()) {
		testnet.Must(t, err)
		all = append(all, s)
	}
	return linesOf(all)
}

// linesOf lists services as the kernel has them, whether written or read.
func linesOf(all []ipvs.ServiceDests) []string {
	var blocks []string
	for _, s := range all {
		addr := "-"
		if s.FWMark == 0 {
			addr = s.Addr.String()
		}
		b := fmt.Sprintf(serviceLine, s.Family, s.Protocol, addr, s.Port, s.FWMark, s.Scheduler,
			uint32(s.Flags|ipvs.FlagHashed), uint32(s.Timeout/time.Second), mobyMask(s.Service))
		for _, d := range s.Dests {
			b += "\n" + fmt.Sprintf(destLine, d.Addr, d.Port, d.Forward, d.Weight, d.UpperThreshold, d.LowerThreshold)
		}
		blocks = append(blocks, sortedLines(b))
	}
	slices.Sort(blocks)
	return blocks
}

// theirLines lists what the witness reads, in the form of ourLines.
func theirLines(t *testing.T, w *moby.Handle) []string {
	t.Helper()
	services, err := w.GetServices()
	testnet.Must(t, err)
	var blocks []string
	for _, s := range services {
		addr := "-"
		if s.FWMark == 0 {
			addr = s.Address.String()
		}
		b := fmt.Sprintf(serviceLine, s.AddressFamily, s.Protocol, addr, s.Port, s.FWMark, s.SchedName, s.Flags, s.Timeout, s.Netmask)
		dests, err := w.GetDestinations(s)
		testnet.Must(t, err)
		for _, d := range dests {
			b += "\n" + fmt.Sprintf(destLine, d.Address, d.Port, d.ConnectionFlags, d.Weight, d.UpperThreshold, d.LowerThreshold)
		}
		blocks = append(blocks, sortedLines(b))
	}
	slices.Sort(blocks)
	return blocks
}

// sortedLines sorts the lines behind the first.
func sortedLines(block string) string {
	lines := strings.Split(block, "\n")
	slices.Sort(lines[1:])
	return strings.Join(lines, "\n")
}

// sameLines wants both clients to list what was written.
func sameLines(t *testing.T, want []ipvs.ServiceDests, ours, theirs []string) {
	t.Helper()
	if diff := gocmp.Diff(linesOf(want), ours); diff != "" {
		t.Errorf("-written +listed:\n%s", diff)
	}
	if diff := gocmp.Diff(theirs, ours); diff != "" {
		t.Errorf("what the clients list, -witness +ours:\n%s", diff)
	}
}

// TestStockClientAndWitness: what either client writes, edits and deletes, both
// list alike.
func TestStockClientAndWitness(t *testing.T) {
	all := sameForBoth()
	edited := func(s ipvs.ServiceDests) ipvs.ServiceDests {
		s.Scheduler, s.Dests = "lc", slices.Clone(s.Dests)
		for i := range s.Dests {
			s.Dests[i].Weight = (s.Dests[i].Weight + 1000) % 65536
			s.Dests[i].UpperThreshold = 9
			s.Dests[i].LowerThreshold = 0
		}
		return s
	}
	t.Run("ours writes", func(t *testing.T) {
		n := testnet.New(t, "ipvs1")
		c, w := client(t, n), witness(t, n)
		var add, edit []ipvs.Op
		var changed []ipvs.ServiceDests
		for _, s := range all {
			add = append(add, addDests(s.Service, s.Dests...)...)
			e := edited(s)
			changed = append(changed, e)
			edit = append(edit, ipvs.Op{Kind: ipvs.SetService, Service: e.Service})
			for _, d := range e.Dests {
				edit = append(edit, ipvs.Op{Kind: ipvs.SetDest, Service: e.Service, Dest: d})
			}
		}
		testnet.Must(t, c.Apply(t.Context(), add...))
		sameLines(t, all, ourLines(t, c), theirLines(t, w))
		testnet.Must(t, c.Apply(t.Context(), edit...))
		sameLines(t, changed, ourLines(t, c), theirLines(t, w))
		testnet.Must(t, c.Apply(t.Context(),
			ipvs.Op{Kind: ipvs.DelDest, Service: all[0].Service, Dest: all[0].Dests[0]},
			ipvs.Op{Kind: ipvs.DelService, Service: all[1].Service}))
		changed[0].Dests = changed[0].Dests[1:]
		sameLines(t, slices.Delete(changed, 1, 2), ourLines(t, c), theirLines(t, w))
		testnet.Must(t, c.Apply(t.Context(), ipvs.Op{Kind: ipvs.Flush}))
		sameLines(t, nil, ourLines(t, c), theirLines(t, w))
	})
	t.Run("witness writes", func(t *testing.T) {
		n := testnet.New(t, "ipvs2")
		c, w := client(t, n), witness(t, n)
		for _, s := range all {
			testnet.Must(t, w.NewService(mobyService(s.Service)))
			for _, d := range s.Dests {
				testnet.Must(t, w.NewDestination(mobyService(s.Service), mobyDest(d)))
			}
		}
		sameLines(t, all, ourLines(t, c), theirLines(t, w))
		for _, s := range all {
			one, err := c.Service(t.Context(), s.ServiceKey)
			testnet.Must(t, err)
			one.Flags &^= ipvs.FlagHashed
			if one.Stats = (ipvs.Stats{}); one != s.Service {
				t.Errorf("read %+v, the witness wrote %+v", one, s.Service)
			}
		}
	})
}

// TestStockClientDiffersFromWitness: the faults known of the witness are still
// there, and are not ours. When one of these fails the witness has learned.
func TestStockClientDiffersFromWitness(t *testing.T) {
	n := testnet.New(t, "ipvs1")
	c, w := client(t, n), witness(t, n)
	v4 := service(ipvs.TCP, "192.0.2.1:80")
	testnet.Must(t, c.Apply(t.Context(), ipvs.Op{Kind: ipvs.AddService, Service: v4}))
	dests := func() (ds []ipvs.Dest) {
		ds, err := c.Dests(t.Context(), v4.ServiceKey)
		testnet.Must(t, err)
		return ds
	}

	t.Run("IPv6 dest of an IPv4 service", func(t *testing.T) {
		d := dest("[2001:db8::77]:80", ipvs.Tunnel, 1)
		testnet.Must(t, w.NewDestination(mobyService(v4), mobyDest(d)))
		ds := dests()
		if len(ds) != 1 || ds[0].Addr != netip.MustParseAddr("32.1.13.184") {
			t.Fatalf("the witness' dest is %+v", ds)
		}
		testnet.Must(t, c.Apply(t.Context(), ipvs.Op{Kind: ipvs.DelDest, Service: v4, Dest: ds[0]}, ipvs.Op{Kind: ipvs.AddDest, Service: v4, Dest: d}))
		if ds = dests(); len(ds) != 1 || ds[0].DestKey != d.DestKey {
			t.Errorf("our dest is %+v", ds)
		}
		testnet.Must(t, c.Apply(t.Context(), ipvs.Op{Kind: ipvs.DelDest, Service: v4, Dest: d}))
	})
	t.Run("new weight of a GUE tunnel", func(t *testing.T) {
		d := dest("10.0.0.1:80", ipvs.Tunnel, 1)
		d.TunType, d.TunPort, d.TunFlags = ipvs.TunnelGUE, 6080, 1
		testnet.Must(t, c.Apply(t.Context(), ipvs.Op{Kind: ipvs.AddDest, Service: v4, Dest: d}))
		d.Weight = 2
		testnet.Must(t, c.Apply(t.Context(), ipvs.Op{Kind: ipvs.SetDest, Service: v4, Dest: d}))
		if ds := dests(); len(ds) != 1 || ds[0].Weight != 2 || ds[0].TunType != ipvs.TunnelGUE || ds[0].TunPort != 6080 || ds[0].TunFlags != 1 {
			t.Errorf("after our edit: %+v", ds)
		}
		d.Weight = 3
		testnet.Must(t, w.UpdateDestination(mobyService(v4), mobyDest(d)))
		if ds := dests(); len(ds) != 1 || ds[0].Weight != 3 || ds[0].TunType != ipvs.TunnelIPIP {
			t.Errorf("after the witness' edit: %+v, want an IPIP tunnel", ds)
		}
		testnet.Must(t, c.Apply(t.Context(), ipvs.Op{Kind: ipvs.DelDest, Service: v4, Dest: d}))
	})
	t.Run("weight above 65535", func(t *testing.T) {
		d := dest("10.0.0.1:80", ipvs.Masq, 100000)
		testnet.Must(t, c.Apply(t.Context(), ipvs.Op{Kind: ipvs.AddDest, Service: v4, Dest: d}))
		theirs, err := w.GetDestinations(mobyService(v4))
		testnet.Must(t, err)
		if ds := dests(); len(ds) != 1 || ds[0].Weight != 100000 || len(theirs) != 1 || theirs[0].Weight != 100000-65536 {
			t.Errorf("we read %+v, the witness %+v", ds, theirs)
		}
	})
	t.Run("persistence engine", func(t *testing.T) {
		sip := service(ipvs.UDP, "192.0.2.1:5060")
		sip.Flags, sip.Timeout, sip.PEName = ipvs.FlagPersistent, time.Minute, "sip"
		testnet.Must(t, w.NewService(mobyService(sip)))
		theirs, err := w.GetService(mobyService(sip))
		testnet.Must(t, err)
		ours, err := c.Service(t.Context(), sip.ServiceKey)
		testnet.Must(t, err)
		if ours.PEName != "sip" || theirs.PEName != "" {
			t.Errorf("we read %q, the witness %q", ours.PEName, theirs.PEName)
		}
	})
}

// witnessAlone marks the child process of TestReloadClient.
const witnessAlone = "LVS_WITNESS_ALONE"

// TestGuestsReload runs the tests after which the witness is of no use to a
// process: it keeps the number the family had before.
func TestGuestsReload(t *testing.T) {
	t.Parallel()
	for _, kernel := range testvm.Kernels() {
		t.Run(kernel, func(t *testing.T) {
			t.Parallel()
			testvm.Run(t, testvm.Config{Kernel: kernel, Run: "^TestReload"})
		})
	}
}

// TestReloadClient: without ip_vs our client says so, where the
// witness reports a success; a client that was open finds the module again.
func TestReloadClient(t *testing.T) {
	if os.Getenv(witnessAlone) != "" {
		w, err := moby.New("")
		fmt.Println("new:", err)
		fmt.Println("write:", w.NewService(mobyService(service(ipvs.TCP, "192.0.2.1:80"))))
		return
	}
	n := testnet.New(t, "ipvs1")
	c := client(t, n)
	add := ipvs.Op{Kind: ipvs.AddService, Service: service(ipvs.TCP, "192.0.2.1:80")}
	testnet.Must(t, c.Apply(t.Context(), add, ipvs.Op{Kind: ipvs.Flush}))
	testnet.Must(t, unloadIPVS())
	// Looking a family up loads its module; here nobody shall.
	const loader = "/proc/sys/kernel/modprobe"
	was, err := os.ReadFile(loader)
	testnet.Must(t, err, os.WriteFile(loader, []byte("/nowhere\n"), 0o644))
	t.Cleanup(func() { testnet.Must(t, os.WriteFile(loader, was, 0o644)) })

	if _, err := ipvs.Dial(t.Context()); !errors.Is(err, ipvs.ErrNoIPVS) {
		t.Errorf("dial: %v", err)
	}
	if err := c.Apply(t.Context(), add); !errors.Is(err, ipvs.ErrNoIPVS) {
		t.Errorf("write: %v", err)
	}
	if _, err := c.Services(t.Context()); !errors.Is(err, ipvs.ErrNoIPVS) {
		t.Errorf("read: %v", err)
	}
	// A family's number is kept for the life of a process by the witness: its
	// own process, and no modprobe within its reach.
	child := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$")
	child.Env = append(os.Environ(), witnessAlone+"=1", "PATH=/nowhere")
	out, err := child.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("new: <nil>\nwrite: <nil>\n")) {
		t.Errorf("the witness without ip_vs (%v):\n%s", err, out)
	}

	testnet.Must(t, testvm.Modprobe("ip_vs"), testvm.Modprobe("ip_vs_rr"), c.Apply(t.Context(), add))
	if got := ourLines(t, c); len(got) != 1 {
		t.Errorf("after the module came back: %v", got)
	}
}

// unloadIPVS removes ip_vs and all that stands on it.
func unloadIPVS() error {
	loaded, err := testvm.Loaded()
	if err != nil {
		return err
	}
	// The latest comes first: users before what they use.
	var errs []error
	for _, m := range loaded {
		if strings.HasPrefix(m, "ip_vs") {
			errs = append(errs, testvm.Rmmod(m, 30*time.Second))
		}
	}
	return errors.Join(errs...)
}

// TestStockClientTunnels: every kind of tunnel comes back as it was written.
func TestStockClientTunnels(t *testing.T) {
	n := testnet.New(t, "ipvs1")
	c := client(t, n)
	s := service(ipvs.TCP, "192.0.2.1:80")
	tunnel := func(addr string, typ ipvs.TunnelType, port, flags uint16) ipvs.Dest {
		d := dest(addr, ipvs.Tunnel, 1)
		d.TunType, d.TunPort, d.TunFlags = typ, port, flags
		return d
	}
	want := []ipvs.Dest{
		tunnel("10.0.0.1:80", ipvs.TunnelIPIP, 0, 0),
		tunnel("10.0.0.2:80", ipvs.TunnelGUE, 6080, 0),
		tunnel("10.0.0.3:80", ipvs.TunnelGUE, 6081, 1),
		tunnel("10.0.0.4:80", ipvs.TunnelGUE, 65535, 2),
		tunnel("10.0.0.5:80", ipvs.TunnelGRE, 0, 0),
		tunnel("10.0.0.6:80", ipvs.TunnelGRE, 0, 1),
		tunnel("[2001:db8::7]:80", ipvs.TunnelGUE, 6080, 1),
	}
	testnet.Must(t, c.Apply(t.Context(), addDests(s, want...)...))
	got, err := c.Dests(t.Context(), s.ServiceKey)
	testnet.Must(t, err)
	slices.SortFunc(got, func(a, b ipvs.Dest) int { return a.Addr.Compare(b.Addr) })
	if !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// TestStockClientTimeouts: each client sees the other's timeouts; a zero leaves
// the kernel's.
func TestStockClientTimeouts(t *testing.T) {
	n := testnet.New(t, "ipvs1")
	c, w := client(t, n), witness(t, n)
	testnet.Must(t, c.Apply(t.Context(), ipvs.Op{Kind: ipvs.SetTimeouts, Times: ipvs.Timeouts{TCP: 800 * time.Second, TCPFin: 100 * time.Second, UDP: 200 * time.Second}}),
		c.Apply(t.Context(), ipvs.Op{Kind: ipvs.SetTimeouts, Times: ipvs.Timeouts{TCPFin: 77 * time.Second}}))
	theirs, err := w.GetConfig()
	testnet.Must(t, err)
	if want := (moby.Config{TimeoutTCP: 800 * time.Second, TimeoutTCPFin: 77 * time.Second, TimeoutUDP: 200 * time.Second}); *theirs != want {
		t.Errorf("the witness reads %+v, want %+v", *theirs, want)
	}
	testnet.Must(t, w.SetConfig(&moby.Config{TimeoutTCP: 11 * time.Second, TimeoutTCPFin: 12 * time.Second, TimeoutUDP: 13 * time.Second}))
	ours, err := c.Timeouts(t.Context())
	testnet.Must(t, err)
	if want := (ipvs.Timeouts{TCP: 11 * time.Second, TCPFin: 12 * time.Second, UDP: 13 * time.Second}); ours != want {
		t.Errorf("we read %+v, want %+v", ours, want)
	}
}

// TestStockClientDaemons: sync daemons start, are listed with all they were
// given or with the kernel's choices, and stop.
func TestStockClientDaemons(t *testing.T) {
	n := testnet.New(t, "ipvs1")
	c := client(t, n)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "sync0"
	testnet.Must(t, n.AddLink(&netlink.Dummy{LinkAttrs: attrs}),
		n.AddAddr("sync0", netip.MustParsePrefix("10.9.0.1/24"), netip.MustParsePrefix("2001:db8:9::1/64")))
	start := func(d ipvs.Daemon) error { return c.Apply(t.Context(), ipvs.Op{Kind: ipvs.StartDaemon, Daemon: d}) }
	stop := func(s ipvs.SyncState, id uint32) error {
		return c.Apply(t.Context(), ipvs.Op{Kind: ipvs.StopDaemon, Daemon: ipvs.Daemon{State: s, Interface: "sync0", SyncID: id}})
	}
	daemons := func() map[ipvs.SyncState]ipvs.Daemon {
		list, err := c.Daemons(t.Context())
		testnet.Must(t, err)
		by := map[ipvs.SyncState]ipvs.Daemon{}
		for _, d := range list {
			by[d.State] = d
		}
		return by
	}
	full := ipvs.Daemon{State: ipvs.SyncMaster, Interface: "sync0", SyncID: 42, MaxLen: 1000,
		Group: netip.MustParseAddr("224.0.0.90"), Port: 9000, TTL: 3}
	full6 := ipvs.Daemon{State: ipvs.SyncBackup, Interface: "sync0", SyncID: 43, MaxLen: 1100,
		Group: netip.MustParseAddr("ff02::90"), Port: 9001, TTL: 4}
	testnet.Must(t, start(full), start(full6))
	if got := daemons(); len(got) != 2 || got[ipvs.SyncMaster] != full || got[ipvs.SyncBackup] != full6 {
		t.Errorf("running: %+v", got)
	}
	if err := start(full); !errors.Is(err, syscall.EEXIST) {
		t.Errorf("a second master: %v", err)
	}
	testnet.Must(t, stop(ipvs.SyncMaster, 42), stop(ipvs.SyncBackup, 43))
	if got := daemons(); len(got) != 0 {
		t.Errorf("after stopping: %+v", got)
	}
	if err := stop(ipvs.SyncMaster, 42); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("stop without daemon: %v", err)
	}
	testnet.Must(t, start(ipvs.Daemon{State: ipvs.SyncMaster, Interface: "sync0", SyncID: 1}))
	got := daemons()[ipvs.SyncMaster]
	if got.MaxLen == 0 || got.Group != netip.MustParseAddr("224.0.0.81") || got.Port != 8848 || got.TTL != 1 {
		t.Errorf("the kernel's choices are %+v", got)
	}
	testnet.Must(t, stop(ipvs.SyncMaster, 1))
	if err := start(ipvs.Daemon{State: ipvs.SyncMaster, Interface: "none0"}); !errors.Is(err, syscall.ENODEV) {
		t.Errorf("on a link that is not there: %v", err)
	}
}

// TestStockClientCounters: counters of services and dests are what passed and
// what the witness reads; Zero and Flush take away what they name.
func TestStockClientCounters(t *testing.T) {
	top := testnet.NewTopology(t, testnet.Plan{Gateway: true, Neighbours: true})
	c, w := client(t, top.D.NS), witness(t, top.D.NS)
	var services []ipvs.Service
	for _, port := range []uint16{80, 81} {
		s := service(ipvs.TCP, netip.AddrPortFrom(testnet.VIP4, port).String())
		services = append(services, s)
		d := dest(netip.AddrPortFrom(top.R[0].V4, 8080).String(), ipvs.Masq, 1)
		testnet.Must(t, c.Apply(t.Context(), addDests(s, d)...))
	}
	greeter(t, top.R[0].NS, netip.AddrPortFrom(top.R[0].V4, 8080), "r1")
	for range 3 {
		for _, s := range services {
			ask(t, top.C[0].NS, netip.AddrPortFrom(s.Addr, s.Port))
		}
	}
	read := func(s ipvs.Service) (ipvs.Stats, ipvs.Dest) {
		t.Helper()
		got, err := c.Service(t.Context(), s.ServiceKey)
		testnet.Must(t, err)
		ds, err := c.Dests(t.Context(), s.ServiceKey)
		testnet.Must(t, err)
		return got.Stats, ds[0]
	}
	// The kernel adds its processors' counters up every two seconds.
	testnet.Eventually(t, 5*time.Second, func() error {
		for _, s := range services {
			ours, d := read(s)
			theirs, err := w.GetService(mobyService(s))
			if err != nil {
				return err
			}
			if ours.Conns != 3 || ours.InPkts < 9 || ours.OutPkts < 9 || ours.InBytes < 9*40 || ours.OutBytes < 9*40 || d.Stats.Conns != 3 {
				return fmt.Errorf("port %d: %+v, dest %+v", s.Port, ours, d)
			}
			same := ours.Conns == uint64(theirs.Stats.Connections) && ours.InPkts == uint64(theirs.Stats.PacketsIn) &&
				ours.OutPkts == uint64(theirs.Stats.PacketsOut) && ours.InBytes == theirs.Stats.BytesIn && ours.OutBytes == theirs.Stats.BytesOut
			if !same {
				return fmt.Errorf("port %d: we read %+v, the witness %+v", s.Port, ours, theirs.Stats)
			}
			if d.ActiveConns+d.InactConns != 3 {
				return fmt.Errorf("port %d: %d active and %d inactive connections, want 3", s.Port, d.ActiveConns, d.InactConns)
			}
		}
		return nil
	})
	testnet.Must(t, c.Apply(t.Context(), ipvs.Op{Kind: ipvs.Zero, Service: services[0]}))
	if s, d := read(services[0]); s.Conns != 0 || s.InBytes != 0 || d.Stats.Conns != 0 {
		t.Errorf("zeroed: %+v, dest %+v", s, d)
	}
	if s, _ := read(services[1]); s.Conns != 3 {
		t.Errorf("the other service: %+v", s)
	}
	testnet.Must(t, c.Apply(t.Context(), ipvs.Op{Kind: ipvs.Zero}))
	if s, _ := read(services[1]); s.Conns != 0 || s.OutBytes != 0 {
		t.Errorf("all zeroed: %+v", s)
	}
	testnet.Must(t, c.Apply(t.Context(), ipvs.Op{Kind: ipvs.Flush}))
	sameLines(t, nil, ourLines(t, c), theirLines(t, w))

	info, err := c.Info(t.Context())
	testnet.Must(t, err)
	if info.Version < 0x010201 || info.TabSize < 256 {
		t.Errorf("info: %+v", info)
	}
	if (info.Extended != nil) != testvm.HasOurs() {
		t.Errorf("IPVS_EXT: %+v in a guest whose ip_vs is ours: %v", info.Extended, testvm.HasOurs())
	}
}

// manyServices are n services that differ in their port.
func manyServices(n int) (ops []ipvs.Op) {
	s := service(ipvs.TCP, "192.0.2.1:1")
	for i := range n {
		s.Port = uint16(i + 1)
		ops = append(ops, ipvs.Op{Kind: ipvs.AddService, Service: s})
	}
	return ops
}

// TestStockClientBatchError: the kernel's refusal of one operation in many is
// reported with its place, and what was acknowledged is there.
func TestStockClientBatchError(t *testing.T) {
	n := testnet.New(t, "ipvs1")
	c := emptied(t, client(t, n))
	for _, tc := range []struct {
		name  string
		bad   ipvs.Op
		errno syscall.Errno
	}{
		{"service twice", ipvs.Op{Kind: ipvs.AddService, Service: manyServices(1)[0].Service}, syscall.EEXIST},
		{"dest without service", ipvs.Op{Kind: ipvs.AddDest, Service: service(ipvs.UDP, "192.0.2.9:9"), Dest: dest("10.0.0.1:1", ipvs.Masq, 1)}, syscall.ESRCH},
		{"no such scheduler", ipvs.Op{Kind: ipvs.AddService, Service: ipvs.Service{ServiceKey: service(ipvs.UDP, "192.0.2.9:9").ServiceKey, Scheduler: "nonesuch"}}, syscall.ENOENT},
		{"no such dest", ipvs.Op{Kind: ipvs.DelDest, Service: manyServices(1)[0].Service, Dest: dest("10.0.0.1:1", ipvs.Masq, 1)}, syscall.ENOENT},
		{"weight below zero", ipvs.Op{Kind: ipvs.AddDest, Service: manyServices(1)[0].Service, Dest: dest("10.0.0.1:1", ipvs.Masq, 1<<31)}, syscall.ERANGE},
	} {
		for _, at := range []int{0, 63, 150, 300} {
			t.Run(fmt.Sprintf("%s/%d", tc.name, at), func(t *testing.T) {
				testnet.Must(t, c.Apply(t.Context(), ipvs.Op{Kind: ipvs.Flush}))
				ops := manyServices(300)
				if at == 0 {
					testnet.Must(t, c.Apply(t.Context(), ops[0]))
					ops = ops[1:]
				}
				ops = slices.Insert(ops, at, tc.bad)
				err := c.Apply(t.Context(), ops...)
				b, ok := errors.AsType[*ipvs.BatchError](err)
				if !ok || b.Index != at || !errors.Is(err, tc.errno) {
					t.Fatalf("got %v, want index %d and %v", err, at, tc.errno)
				}
				services, err := c.Services(t.Context())
				testnet.Must(t, err)
				if was := btoi(at == 0); len(services) != b.Acked+was || b.Acked < at || b.Acked >= at+128 {
					t.Errorf("%d services there, %d acknowledged, failure at %d", len(services), b.Acked, at)
				}
			})
		}
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TestStockClientBatchIsCheap: to edit 2,000 services in one call costs a third
// of 2,000 calls or less. Nanoseconds of this guest are instructions, the
// kernel's and the client's.
//
// Edits are compared because all that they cost is the way into the kernel and
// back. An added service also takes per-CPU memory, and whether the kernel then
// has pages for it at hand depends on what it did in the seconds before: that
// alone can double what a batch of additions costs.
func TestStockClientBatchIsCheap(t *testing.T) {
	if testvm.IsSMP() {
		t.Skip("time is the host's in an SMP guest: nothing to compare")
	}
	n := testnet.New(t, "ipvs1")
	c := emptied(t, client(t, n))
	ops := manyServices(2000)
	testnet.Must(t, c.Apply(t.Context(), ops...))
	seconds := time.Duration(0)
	took := func(f func()) time.Duration {
		seconds += time.Second
		for i := range ops {
			ops[i].Kind = ipvs.SetService
			ops[i].Service.Flags, ops[i].Service.Timeout = ipvs.FlagPersistent, seconds
		}
		runtime.GC()
		start := time.Now()
		f()
		d := time.Since(start)
		services, err := c.Services(t.Context())
		testnet.Must(t, err)
		if len(services) != len(ops) {
			t.Fatalf("%d services, want %d", len(services), len(ops))
		}
		for _, s := range services {
			if s.Timeout != seconds {
				t.Fatalf("service %v has the timeout %v, want %v", s.ServiceKey, s.Timeout, seconds)
			}
		}
		return d
	}
	// The least of three rounds: a timer of the kernel may fall into any one.
	single, batch := time.Hour, time.Hour
	for range 3 {
		single = min(single, took(func() {
			for _, op := range ops {
				testnet.Must(t, c.Apply(t.Context(), op))
			}
		}))
		batch = min(batch, took(func() { testnet.Must(t, c.Apply(t.Context(), ops...)) }))
		t.Logf("one by one %v, in one call %v: %.1f times less", single, batch, float64(single)/float64(batch))
	}
	if single < 3*batch {
		t.Errorf("a batch of %d took %v, one by one %v: want a third or less", len(ops), batch, single)
	}
}

// TestStockClientIsShared: eight goroutines use one client, and a loop over a
// listing may use it too.
func TestStockClientIsShared(t *testing.T) {
	n := testnet.New(t, "ipvs1")
	c := emptied(t, client(t, n))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 50 {
				s := service(ipvs.TCP, fmt.Sprintf("192.0.2.%d:%d", g+1, i+1))
				d := dest("10.0.0.1:80", ipvs.Masq, uint32(g*1000+i))
				if err := c.Apply(ctx, addDests(s, d)...); err != nil {
					t.Error(err)
					return
				}
				ds, err := c.Dests(ctx, s.ServiceKey)
				if err != nil || len(ds) != 1 || ds[0].Weight != d.Weight {
					t.Errorf("%v: %+v, %v", s.ServiceKey, ds, err)
					return
				}
			}
		})
	}
	wg.Wait()
	seen := 0
	for s, err := range c.StreamServices(ctx) {
		testnet.Must(t, err)
		if _, err := c.Dests(ctx, s.ServiceKey); err != nil {
			t.Fatal(err)
		}
		seen++
	}
	if seen != 8*50 {
		t.Errorf("%d services streamed, want 400", seen)
	}
	for range c.StreamServices(ctx) {
		break
	}
	if got, err := c.Services(ctx); err != nil || len(got) != 8*50 {
		t.Errorf("after a loop that was left: %d services, %v", len(got), err)
	}
}

// TestGuestsClient runs the client against the family IPVS_EXT, and what the
// TestStockClient tests say once more on our module.
func TestGuestsClient(t *testing.T) {
	t.Parallel()
	for _, kernel := range testvm.Kernels() {
		t.Run(kernel, func(t *testing.T) {
			t.Parallel()
			testvm.Run(t, testvm.Config{Kernel: kernel, Module: testvm.Ours, Run: "^Test(Ext|Stock)Client"})
		})
	}
}

var extGroup = ipvs.LGroup{Name: "back", Family: ipvs.IPv4}

// extDirector is a director with three local addresses on a link.
func extDirector(t *testing.T) (*testnet.NS, *ipvs.Client) {
	t.Helper()
	n := testnet.New(t, "ipvs1")
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "back0"
	testnet.Must(t, n.AddLink(&netlink.Dummy{LinkAttrs: attrs}))
	for i := range 3 {
		testnet.Must(t, n.AddAddr("back0", netip.MustParsePrefix(fmt.Sprintf("10.0.2.20%d/24", i+1)), netip.MustParsePrefix(fmt.Sprintf("2001:db8:2::20%d/64", i+1))))
	}
	return n, client(t, n)
}

func laddr(addr string, min, max uint16) ipvs.Laddr {
	return ipvs.Laddr{Addr: netip.MustParseAddr(addr), PortMin: min, PortMax: max}
}

func fnat(s ipvs.Service, flags ipvs.ExtFlags) ipvs.Op {
	return ipvs.Op{Kind: ipvs.SetExt, Service: s, Ext: ipvs.Ext{Set: ipvs.ExtFieldFlags | ipvs.ExtFieldLGroup,
		Flags: ipvs.ExtFNAT | flags, FlagsMask: ipvs.ExtFNAT | flags, LGroup: extGroup.Name}}
}

// TestExtClientTwin: our module and the fake of package ipvstest carry the same
// operations out, refuse the same ones with the same errno and text, and list
// the same afterwards. Every test that trusts the fake trusts this one.
func TestExtClientTwin(t *testing.T) {
	_, c := extDirector(t)
	info, err := c.Info(t.Context())
	testnet.Must(t, err)
	twin := ipvstest.NewWith(info.Extended.Features)
	tcp, tcp6 := service(ipvs.TCP, "192.0.2.1:80"), service(ipvs.TCP, "[2001:db8::1]:80")
	udp, sctp, ftp := service(ipvs.UDP, "192.0.2.1:80"), service(ipvs.SCTP, "192.0.2.1:80"), service(ipvs.TCP, "192.0.2.1:21")
	second, ops := service(ipvs.TCP, "192.0.2.1:81"), service(ipvs.UDP, "192.0.2.1:53")
	ops.Flags = ipvs.FlagOnePacket
	sip := service(ipvs.UDP, "192.0.2.1:5060")
	sip.Flags, sip.Timeout, sip.PEName = ipvs.FlagPersistent, time.Minute, "sip"
	mark := ipvs.Service{ServiceKey: ipvs.ServiceKey{Family: ipvs.IPv4, FWMark: 7}, Scheduler: "rr", Netmask: 0xffffffff}
	none := service(ipvs.TCP, "192.0.2.99:80")
	group6 := ipvs.LGroup{Name: "back/6", Family: ipvs.IPv6}
	add := func(s ipvs.Service) ipvs.Op { return ipvs.Op{Kind: ipvs.AddService, Service: s} }
	ext := func(s ipvs.Service, e ipvs.Ext) ipvs.Op { return ipvs.Op{Kind: ipvs.SetExt, Service: s, Ext: e} }
	flags := func(s ipvs.Service, on, mask ipvs.ExtFlags) ipvs.Op {
		return ext(s, ipvs.Ext{Set: ipvs.ExtFieldFlags, Flags: on, FlagsMask: mask})
	}
	group := func(k ipvs.OpKind, g ipvs.LGroup) ipvs.Op { return ipvs.Op{Kind: k, LGroup: g} }
	lip := func(k ipvs.OpKind, g ipvs.LGroup, l ipvs.Laddr) ipvs.Op {
		return ipvs.Op{Kind: k, LGroup: g, Laddr: l}
	}
	draining := laddr("10.0.2.201", 0, 0)
	draining.Flags = ipvs.LaddrNoNew
	pinned := laddr("10.0.2.201", 2000, 2999)
	pinned.CPUs = "0"
	foreign := laddr("10.0.9.9", 40000, 50000)
	foreign.Flags = ipvs.LaddrForeign
	low := laddr("10.0.2.203", 1, 1023)
	low.Flags = ipvs.LaddrForce
	config := func(set ipvs.ExtConfigField, probes uint8, reclaim bool) ipvs.Op {
		return ipvs.Op{Kind: ipvs.SetExtConfig, Config: ipvs.ExtConfig{Set: set, Probes: probes, Reclaim: reclaim}}
	}

	limit := func(s ipvs.Service, set ipvs.ExtField, l ipvs.Limits) ipvs.Op {
		return ext(s, ipvs.Ext{Set: set, Limits: l})
	}

	for _, op := range []ipvs.Op{
		add(tcp), add(tcp6), add(udp), add(sctp), add(ftp), add(second), add(ops), add(sip), add(mark),
		flags(none, ipvs.ExtFNAT, ipvs.ExtFNAT),
		flags(tcp, ipvs.ExtFNAT, ipvs.ExtFNAT),
		fnat(tcp, 0), // no such group
		group(ipvs.AddLGroup, extGroup), group(ipvs.AddLGroup, group6), group(ipvs.AddLGroup, extGroup),
		fnat(tcp, 0), // empty group
		lip(ipvs.AddLaddr, ipvs.LGroup{Name: "none"}, laddr("10.0.2.201", 0, 0)),
		lip(ipvs.AddLaddr, extGroup, laddr("10.0.2.201", 0, 0)), lip(ipvs.AddLaddr, extGroup, laddr("10.0.2.201", 0, 0)),
		lip(ipvs.AddLaddr, extGroup, laddr("2001:db8:2::201", 0, 0)),
		lip(ipvs.AddLaddr, extGroup, laddr("10.0.2.202", 9000, 8000)),
		lip(ipvs.AddLaddr, extGroup, laddr("10.0.2.202", 0, 8000)),
		lip(ipvs.AddLaddr, extGroup, laddr("10.0.2.202", 1000, 8000)),
		lip(ipvs.AddLaddr, extGroup, laddr("10.0.2.202", 30000, 40000)),
		lip(ipvs.AddLaddr, extGroup, laddr("10.0.2.202", 5000, 6000)),
		lip(ipvs.AddLaddr, extGroup, foreign), lip(ipvs.AddLaddr, extGroup, low),
		lip(ipvs.AddLaddr, group6, laddr("2001:db8:2::201", 61000, 65535)),
		lip(ipvs.AddLaddr, ipvs.LGroup{Name: "back/6"}, laddr("10.0.2.202", 0, 0)),
		flags(tcp, ipvs.ExtTOA, ipvs.ExtTOA), flags(tcp, ipvs.ExtTOASyn, ipvs.ExtTOASyn),
		fnat(tcp6, 0), fnat(sctp, 0), fnat(ftp, 0), fnat(ops, 0), fnat(sip, 0), fnat(udp, ipvs.ExtTOA),
		fnat(tcp, ipvs.ExtTOA), fnat(udp, 0), fnat(mark, ipvs.ExtTOA|ipvs.ExtExhaustRST),
		ext(second, ipvs.Ext{Set: ipvs.ExtFieldTSMode}), flags(second, 0, ipvs.ExtSeq), fnat(second, 0),
		ext(tcp, ipvs.Ext{Set: ipvs.ExtFieldSelect, Select: ipvs.SelectSrc}),
		ext(tcp, ipvs.Ext{Set: ipvs.ExtFieldTSMode, TSMode: ipvs.TSRebase}),
		ext(tcp, ipvs.Ext{Set: ipvs.ExtFieldMSSClamp, MSSClamp: 87}), ext(tcp, ipvs.Ext{Set: ipvs.ExtFieldMSSClamp, MSSClamp: 1400}),
		ext(tcp, ipvs.Ext{Set: ipvs.ExtFieldTOAKind4 | ipvs.ExtFieldTOAKind6, TOAKind4: 253, TOAKind6: 200}),
		ext(tcp, ipvs.Ext{Set: ipvs.ExtFieldLGroup}), // detach below FNAT
		limit(tcp, ipvs.ExtFieldCPS|ipvs.ExtFieldCPSBurst|ipvs.ExtFieldConnLimit, ipvs.Limits{CPS: 100, CPSBurst: 9, ConnLimit: 7}),
		limit(udp, ipvs.ExtFieldBPSIn|ipvs.ExtFieldBPSOut, ipvs.Limits{BPSIn: 1 << 33, BPSOut: ipvs.MaxBPS}),
		limit(udp, ipvs.ExtFieldBPSIn, ipvs.Limits{BPSIn: ipvs.MaxBPS + 1}), limit(sctp, ipvs.ExtFieldBPSIn, ipvs.Limits{BPSIn: 1}),
		limit(tcp, ipvs.ExtFieldTimeoutEst, ipvs.Limits{TimeoutEst: ipvs.MaxTimeoutEst}), limit(tcp6, ipvs.ExtFieldTimeoutEst, ipvs.Limits{TimeoutEst: time.Second}),
		limit(tcp, ipvs.ExtFieldTimeoutEst, ipvs.Limits{TimeoutEst: ipvs.MaxTimeoutEst + time.Second}),
		limit(tcp, ipvs.ExtFieldACLMode, ipvs.Limits{ACL: ipvs.ACLWhite}), limit(tcp, ipvs.ExtFieldACLMode, ipvs.Limits{ACL: 3}),
		limit(tcp6, ipvs.ExtFieldACLMode|ipvs.ExtFieldACLSet6, ipvs.Limits{ACL: ipvs.ACLWhite, ACLSet6: "none"}), limit(tcp, ipvs.ExtFieldACLSet4, ipvs.Limits{}),
		ext(second, ipvs.Ext{Set: ipvs.ExtFieldInvalid, Invalid: ipvs.InvalidRST}), ext(udp, ipvs.Ext{Set: ipvs.ExtFieldInvalid, Invalid: ipvs.InvalidDrop}),
		ext(second, ipvs.Ext{Set: ipvs.ExtFieldInvalid, Invalid: 3}), flags(second, ipvs.ExtRSTOnExpire, ipvs.ExtRSTOnExpire),
		flags(udp, ipvs.ExtRSTOnExpire, ipvs.ExtRSTOnExpire), flags(tcp6, ipvs.ExtRSTOnExpire, ipvs.ExtRSTOnExpire),
		limit(tcp6, ipvs.ExtFieldConnLimit, ipvs.Limits{ConnLimit: 1}), limit(mark, ipvs.ExtFieldCPS, ipvs.Limits{CPS: 1}),
		group(ipvs.DelLGroup, extGroup), group(ipvs.DelLGroup, ipvs.LGroup{Name: "none"}),
		lip(ipvs.SetLaddr, extGroup, draining), lip(ipvs.SetLaddr, extGroup, pinned), lip(ipvs.SetLaddr, extGroup, laddr("10.0.9.1", 0, 0)),
		lip(ipvs.SetLaddr, extGroup, laddr("10.0.2.202", 30000, 40000)), lip(ipvs.SetLaddr, extGroup, laddr("10.0.2.202", 0, 0)),
		lip(ipvs.DelLaddr, extGroup, laddr("10.0.9.1", 0, 0)), lip(ipvs.DelLaddr, extGroup, foreign),
		config(ipvs.ExtConfigProbes, 9, false), config(ipvs.ExtConfigReclaim, 0, false), config(ipvs.ExtConfigProbes, 0, false),
		{Kind: ipvs.SetExtConfig, Config: ipvs.ExtConfig{Set: ipvs.ExtConfigDropVIP, DropVIP: true}},
		{Kind: ipvs.SetExtConfig, Config: ipvs.ExtConfig{Set: ipvs.ExtConfigSPEarly, SPEarly: ipvs.SynproxyOn}},
		{Kind: ipvs.SetExtConfig, Config: ipvs.ExtConfig{Set: ipvs.ExtConfigSPEarly, SPEarly: ipvs.SynproxyAuto + 1}},
		{Kind: ipvs.ZeroExt}, {Kind: ipvs.ZeroExt, Service: tcp}, {Kind: ipvs.ZeroExt, Service: none},
		flags(udp, 0, ipvs.ExtFNAT), limit(udp, ipvs.ExtFieldBPSIn|ipvs.ExtFieldBPSOut, ipvs.Limits{}), flags(udp, 0, ipvs.ExtFNAT), ext(udp, ipvs.Ext{Set: ipvs.ExtFieldLGroup}),
		{Kind: ipvs.SetService, Service: tcp}, {Kind: ipvs.DelService, Service: mark},
		{Kind: ipvs.AddDest, Service: tcp, Dest: dest("10.0.2.11:80", ipvs.Masq, 1)},
	} {
		ours, theirs := reason(c.Apply(t.Context(), op)), reason(twin.Apply(t.Context(), op))
		if ours != theirs {
			t.Errorf("%v:\n\tthe kernel: %s\n\tthe fake:   %s", op, ours, theirs)
		}
		if diff := gocmp.Diff(listExt(t, twin), listExt(t, c)); diff != "" {
			t.Fatalf("after %v, -fake +kernel:\n%s", op, diff)
		}
	}
}

// reason is errno and extended text, or "" for none.
func reason(err error) string {
	op, ok := errors.AsType[*ipvs.OpError](err)
	if !ok {
		return fmt.Sprint(err)
	}
	return fmt.Sprintf("%v %q", op.Err, op.Message)
}

// extReader is what client and fake read of the extension.
type extReader interface {
	ipvs.Reader
	ExtConfig(context.Context) (ipvs.ExtConfig, error)
	ServiceExtStats(context.Context, ipvs.ServiceKey) (ipvs.ExtStats, error)
}

// listExt lists what the extension knows, in an order of its own.
func listExt(t *testing.T, r extReader) []string {
	t.Helper()
	services, err := r.ExtServices(t.Context())
	testnet.Must(t, err)
	var lines []string
	for _, s := range services {
		s.Stats = nil
		lines = append(lines, fmt.Sprintf("service %v/%d %+v", s.ServiceKey, s.Protocol, s.Ext))
	}
	groups, err := r.LGroups(t.Context())
	testnet.Must(t, err)
	for _, g := range groups {
		lines = append(lines, fmt.Sprintf("group %+v", g))
		laddrs, err := r.Laddrs(t.Context(), g.Name)
		testnet.Must(t, err)
		for _, l := range laddrs {
			lines = append(lines, fmt.Sprintf("group %s address %+v", g.Name, l))
		}
	}
	slices.Sort(lines)
	cfg, err := r.ExtConfig(t.Context())
	testnet.Must(t, err)
	return append(lines, fmt.Sprintf("config %+v", cfg))
}

// TestExtClientReads: every read of IPVS_EXT answers, and says so when what it is
// asked for is not there.
func TestExtClientReads(t *testing.T) {
	n, c := extDirector(t)
	s, none := service(ipvs.TCP, "192.0.2.1:80"), service(ipvs.TCP, "192.0.2.99:80")
	testnet.Must(t, c.Apply(t.Context(), ipvs.Op{Kind: ipvs.AddLGroup, LGroup: extGroup},
		ipvs.Op{Kind: ipvs.AddLaddr, LGroup: extGroup, Laddr: laddr("10.0.2.201", 5000, 6000)},
		ipvs.Op{Kind: ipvs.AddService, Service: s}, fnat(s, ipvs.ExtTOA)))

	info, err := c.Info(t.Context())
	if x := info.Extended; err != nil || x == nil || x.ABI != 1 || x.Build == "" || x.TabBits < 8 || x.ConnSize < 300 ||
		!gocmp.Equal(ipvs.FeatureNames(x.Features), []string{"FNAT", "TOA", "TS_MODE", "MSS", "GET_CONN", "SYNPROXY", "LIMITS", "ACL", "EVENTS", "EXPIRE_RST", "DEL_CONN", "FLOOD", "FORECAST", "SP_EARLY"}) {
		t.Errorf("info %+v, %v", x, err)
	}
	one, err := c.ExtService(t.Context(), s.ServiceKey)
	if err != nil || one.ServiceKey != s.ServiceKey || one.LGroup != "back" || len(one.Stats) != listed {
		t.Errorf("service %+v, %v", one, err)
	}
	stats, err := c.ExtStats(t.Context())
	if err != nil || len(stats) != listed {
		t.Errorf("%d counters, %v", len(stats), err)
	}
	stats, err = c.ServiceExtStats(t.Context(), s.ServiceKey)
	if err != nil || len(stats) != listed {
		t.Errorf("%d counters of the service, %v", len(stats), err)
	}
	g, err := c.LGroup(t.Context(), "back")
	if want := (ipvs.LGroup{Name: "back", Family: ipvs.IPv4, Refs: 1, Ports: 1001}); err != nil || g != want {
		t.Errorf("group %+v, %v", g, err)
	}
	l, err := c.Laddr(t.Context(), "back", netip.MustParseAddr("10.0.2.201"))
	if want := laddr("10.0.2.201", 5000, 6000); err != nil || l != want {
		t.Errorf("address %+v, %v", l, err)
	}
	for conn, err := range c.Conns(t.Context(), ipvs.ConnFilter{Local: netip.MustParsePrefix("10.0.2.0/24"), Protocol: ipvs.TCP, VirtualPort: 80}) {
		t.Errorf("a connection out of nothing: %+v, %v", conn, err)
	}

	_, errService := c.ExtService(t.Context(), none.ServiceKey)
	_, errStats := c.ServiceExtStats(t.Context(), none.ServiceKey)
	_, errGroup := c.LGroup(t.Context(), "none")
	_, errLaddrs := c.Laddrs(t.Context(), "none")
	_, errLaddr := c.Laddr(t.Context(), "back", netip.MustParseAddr("10.0.2.202"))
	for i, err := range []error{errService, errStats, errGroup, errLaddrs, errLaddr} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("read %d of what is not there: %v", i, err)
		}
	}

	// To others the service is a plain one.
	w := witness(t, n)
	theirs, err := w.GetService(mobyService(s))
	if err != nil || theirs.SchedName != "rr" || theirs.Flags != uint32(ipvs.FlagHashed) {
		t.Errorf("the witness reads %+v, %v", theirs, err)
	}
	// The forwarding method of other FNATs is no dest that drops everything.
	if err := w.NewDestination(mobyService(s), mobyDest(dest("10.0.2.11:80", 5, 1))); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("dest with method 5: %v", err)
	}
	// A namespace of its own has nothing of it.
	other := client(t, testnet.New(t, "ipvs2"))
	groups, err := other.LGroups(t.Context())
	services, err2 := other.ExtServices(t.Context())
	if err != nil || err2 != nil || len(groups) != 0 || len(services) != 0 {
		t.Errorf("another namespace: %+v, %+v, %v, %v", groups, services, err, err2)
	}
}

// TestExtClientManyAddresses: lists longer than a message come whole.
func TestExtClientManyAddresses(t *testing.T) {
	_, c := extDirector(t)
	var ops []ipvs.Op
	for g := range 300 {
		lg := ipvs.LGroup{Name: fmt.Sprintf("group%d", g), Family: ipvs.IPv4}
		ops = append(ops, ipvs.Op{Kind: ipvs.AddLGroup, LGroup: lg})
	}
	for i := range 1000 {
		l := ipvs.Laddr{Addr: netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)}), PortMin: 1024, PortMax: 65535, Flags: ipvs.LaddrForce}
		ops = append(ops, ipvs.Op{Kind: ipvs.AddLaddr, LGroup: ipvs.LGroup{Name: "group7"}, Laddr: l})
	}
	testnet.Must(t, c.Apply(t.Context(), ops...))
	groups, err := c.LGroups(t.Context())
	laddrs, err2 := c.Laddrs(t.Context(), "group7")
	testnet.Must(t, err, err2)
	seen := map[netip.Addr]bool{}
	for _, l := range laddrs {
		seen[l.Addr] = true
	}
	if len(groups) != 300 || len(laddrs) != 1000 || len(seen) != 1000 {
		t.Errorf("%d groups, %d addresses, %d of them different", len(groups), len(laddrs), len(seen))
	}
}

// TestExtClientConnections: what FNAT forwards is listed with all four ends, by
// filter too, and counted in service, namespace and address until zeroed.
func TestExtClientConnections(t *testing.T) {
	top := testnet.NewTopology(t, testnet.Plan{Neighbours: true})
	c := client(t, top.D.NS)
	s := service(ipvs.TCP, netip.AddrPortFrom(testnet.VIP4, 80).String())
	real := netip.AddrPortFrom(top.R[0].V4, 8080)
	lip := testnet.LIP4[0]
	testnet.Must(t, c.Apply(t.Context(), ipvs.Op{Kind: ipvs.AddLGroup, LGroup: extGroup},
		ipvs.Op{Kind: ipvs.AddLaddr, LGroup: extGroup, Laddr: ipvs.Laddr{Addr: lip, PortMin: 5000, PortMax: 5999}},
		ipvs.Op{Kind: ipvs.AddService, Service: s}, fnat(s, 0),
		ipvs.Op{Kind: ipvs.AddDest, Service: s, Dest: dest(real.String(), ipvs.Masq, 1)}))
	greeter(t, top.R[0].NS, real, "r1")
	for range 3 {
		if _, peer := ask(t, top.C[0].NS, netip.AddrPortFrom(testnet.VIP4, 80)); peer != lip {
			t.Errorf("the real server saw %v, want %v", peer, lip)
		}
	}
	list := func(f ipvs.ConnFilter) (conns []ipvs.Conn) {
		t.Helper()
		for conn, err := range c.Conns(t.Context(), f) {
			testnet.Must(t, err)
			// The client may be used inside the loop.
			if _, err := c.Service(t.Context(), s.ServiceKey); err != nil {
				t.Fatal(err)
			}
			if !f.Match(conn) {
				t.Errorf("%+v does not match %+v", conn, f)
			}
			conns = append(conns, conn)
		}
		return conns
	}
	all := list(ipvs.ConnFilter{})
	if len(all) != 3 {
		t.Fatalf("%d connections, want 3: %+v", len(all), all)
	}
	for _, conn := range all {
		ok := conn.Protocol == ipvs.TCP && conn.Client.Addr() == top.C[0].V4 && conn.Virtual == netip.AddrPortFrom(testnet.VIP4, 80) &&
			conn.Dest == real && conn.Local.Addr() == lip && conn.Local.Port() >= 5000 && conn.Local.Port() < 6000 &&
			conn.State != "" && conn.Expires > 0 && conn.Expires < 20*time.Minute && conn.InPkts > 2
		if !ok {
			t.Errorf("connection %+v", conn)
		}
	}
	one := all[1]
	for _, tc := range []struct {
		name string
		f    ipvs.ConnFilter
		want int
	}{
		{"client's port", ipvs.ConnFilter{ClientPort: one.Client.Port()}, 1},
		{"local port", ipvs.ConnFilter{Local: netip.PrefixFrom(lip, 32), LocalPort: one.Local.Port()}, 1},
		{"network of clients", ipvs.ConnFilter{Client: netip.PrefixFrom(top.C[0].V4, 24).Masked(), Protocol: ipvs.TCP}, 3},
		{"dest", ipvs.ConnFilter{Dest: netip.PrefixFrom(real.Addr(), 32), DestPort: 8080}, 3},
		{"another dest", ipvs.ConnFilter{Dest: netip.PrefixFrom(top.R[1].V4, 32)}, 0},
		{"UDP", ipvs.ConnFilter{Protocol: ipvs.UDP}, 0},
		{"IPv6", ipvs.ConnFilter{Family: ipvs.IPv6}, 0},
		{"another service", ipvs.ConnFilter{Virtual: netip.PrefixFrom(testnet.VIP4, 32), VirtualPort: 81}, 0},
	} {
		if got := list(tc.f); len(got) != tc.want {
			t.Errorf("by %s: %d connections, want %d", tc.name, len(got), tc.want)
		}
	}
	const portsGiven = 1 // IPVS_EXT_STAT_LPORT_OK
	counted := func() (ofService, ofAll uint64, ofAddr uint32) {
		of, err := c.ServiceExtStats(t.Context(), s.ServiceKey)
		all, err2 := c.ExtStats(t.Context())
		l, err3 := c.Laddr(t.Context(), "back", lip)
		testnet.Must(t, err, err2, err3)
		return of[portsGiven], all[portsGiven], l.Conns
	}
	if a, b, conns := counted(); a != 3 || b != 3 || conns != 3 {
		t.Errorf("ports given: %d by service, %d by namespace; %d connections of the address, want 3 each", a, b, conns)
	}
	testnet.Must(t, c.Apply(t.Context(), ipvs.Op{Kind: ipvs.ZeroExt, Service: s}))
	if a, b, _ := counted(); a != 0 || b != 3 {
		t.Errorf("service zeroed: %d and %d, want 0 and 3", a, b)
	}
	testnet.Must(t, c.Apply(t.Context(), ipvs.Op{Kind: ipvs.ZeroExt}))
	if a, b, conns := counted(); a != 0 || b != 0 || conns != 3 {
		t.Errorf("all zeroed: %d and %d, %d connections; want 0, 0 and 3", a, b, conns)
	}
}
