// SPDX-License-Identifier: Apache-2.0

// Package testnet makes network namespaces for tests, in a guest or as root on the
// host: links, addresses, routes, sockets and commands inside them, and the
// topology most tests use. Everything it makes goes away with its namespaces.
//
// Namespaces are bound below /run/netns, so `ip netns exec` finds them: under their
// plain name in a guest, with the process id appended on a host, where several test
// runs may share the machine. Tests of one guest therefore do not run in parallel.
package testnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// NS is a network namespace. Its methods may be called from several goroutines.
type NS struct {
	// Name is the name under /run/netns.
	Name string
	// Link speaks rtnetlink inside the namespace, for whatever NS has no method for.
	Link *netlink.Handle

	fd netns.NsHandle
}

// Open makes a namespace with its loopback up and IPv6 without duplicate address
// detection or router solicitations. Close it.
func Open(name string) (*NS, error) {
	if os.Getenv("TESTVM") == "" && os.Getpid() != 1 {
		name = fmt.Sprintf("%s-%d", name, os.Getpid())
	}
	n := &NS{Name: name}
	if err := n.create(); err != nil {
		return nil, fmt.Errorf("namespace %s: %w", name, err)
	}
	var err error
	if n.Link, err = netlink.NewHandleAt(n.fd, unix.NETLINK_ROUTE); err != nil {
		return nil, errors.Join(fmt.Errorf("namespace %s: %w", name, err), n.Close())
	}
	if err := errors.Join(n.quietIPv6(), n.Up("lo")); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

func (n *NS) create() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := netns.Get()
	if err != nil {
		return err
	}
	defer here.Close()
	// NewNamed leaves this thread in the new namespace.
	n.fd, err = netns.NewNamed(n.Name)
	return errors.Join(err, netns.Set(here))
}

func (n *NS) quietIPv6() error {
	if _, err := os.Stat("/proc/sys/net/ipv6"); err != nil {
		return nil
	}
	var errs []error
	for _, scope := range []string{"all", "default"} {
		for _, key := range []string{"accept_dad", "dad_transmits", "router_solicitations", "accept_ra"} {
			errs = append(errs, n.Sysctl("net/ipv6/conf/"+scope+"/"+key, "0"))
		}
	}
	return errors.Join(errs...)
}

// Close removes the namespace's name; the kernel removes the namespace and all in
// it when its last socket and process are gone.
func (n *NS) Close() error {
	if n.Link != nil {
		n.Link.Close()
	}
	return errors.Join(n.fd.Close(), netns.DeleteNamed(n.Name))
}

// New is Open for a test: it fails t on errors and closes when t ends.
func New(t testing.TB, name string) *NS {
	t.Helper()
	n, err := Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("namespace %s: %v", name, err)
		}
	})
	return n
}

// Do calls f with the calling goroutine's thread inside the namespace. Goroutines
// that f starts are not inside. Calls may nest.
func (n *NS) Do(f func() error) error {
	runtime.LockOSThread()
	here, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("namespace %s: %w", n.Name, err)
	}
	if err := netns.Set(n.fd); err != nil {
		here.Close()
		runtime.UnlockOSThread()
		return fmt.Errorf("namespace %s: %w", n.Name, err)
	}
	defer func() {
		// A thread that cannot go back stays locked and dies with its goroutine.
		if netns.Set(here) == nil {
			runtime.UnlockOSThread()
		}
		here.Close()
	}()
	return f()
}

// FD returns the namespace's file descriptor, for libraries that enter by
// themselves. It is valid until Close.
func (n *NS) FD() int { return int(n.fd) }

// Start starts cmd inside the namespace.
func (n *NS) Start(cmd *exec.Cmd) error { return n.Do(cmd.Start) }

// Run runs a command inside the namespace and returns its standard output and
// standard error together; its error names command and output.
func (n *NS) Run(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := n.Start(cmd); err != nil {
		return "", err
	}
	if err := cmd.Wait(); err != nil {
		return out.String(), fmt.Errorf("%s: %s %s: %w: %s", n.Name, name, strings.Join(args, " "), err, strings.TrimSpace(out.String()))
	}
	return out.String(), nil
}

// Exec is Run for a test: it fails t when the command fails.
func (n *NS) Exec(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := n.Run(t.Context(), name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// DialContext connects from inside the namespace; it fits http.Transport. Addresses
// must be numeric.
func (n *NS) DialContext(ctx context.Context, network, address string) (c net.Conn, err error) {
	return n.Dial(ctx, &net.Dialer{}, network, address)
}

// Dial is DialContext with a dialer, whose Control also runs inside.
func (n *NS) Dial(ctx context.Context, d *net.Dialer, network, address string) (c net.Conn, err error) {
	err = n.Do(func() error {
		c, err = d.DialContext(ctx, network, address)
		return err
	})
	return c, err
}

// Listen listens on a stream address inside the namespace.
func (n *NS) Listen(ctx context.Context, network, address string) (l net.Listener, err error) {
	err = n.Do(func() error {
		l, err = (&net.ListenConfig{}).Listen(ctx, network, address)
		return err
	})
	return l, err
}

// ListenPacket opens a datagram socket inside the namespace.
func (n *NS) ListenPacket(ctx context.Context, network, address string) (p net.PacketConn, err error) {
	err = n.Do(func() error {
		p, err = (&net.ListenConfig{}).ListenPacket(ctx, network, address)
		return err
	})
	return p, err
}

// Sysctl sets a kernel parameter of the namespace ("net.ipv4.ip_forward", or with
// slashes where a name contains dots).
func (n *NS) Sysctl(key, value string) error {
	if !strings.Contains(key, "/") {
		key = strings.ReplaceAll(key, ".", "/")
	}
	return n.Do(func() error {
		if err := os.WriteFile(filepath.Join("/proc/sys", key), []byte(value), 0); err != nil {
			return fmt.Errorf("%s: sysctl %s=%s: %w", n.Name, key, value, err)
		}
		return nil
	})
}

// SysFS writes a file below /sys as the namespace has it: class/net shows its links.
// The test fails if that cannot be.
func (n *NS) SysFS(t testing.TB, file, value string) {
	t.Helper()
	dir := t.TempDir()
	Must(t, n.Do(func() error {
		if err := unix.Mount("sysfs", dir, "sysfs", 0, ""); err != nil {
			return fmt.Errorf("%s: mount sysfs: %w", n.Name, err)
		}
		return errors.Join(os.WriteFile(filepath.Join(dir, file), []byte(value), 0), unix.Unmount(dir, 0))
	}))
}

// Up brings a link up.
func (n *NS) Up(link string) error {
	l, err := n.link(link)
	if err != nil {
		return err
	}
	return n.wrap(n.Link.LinkSetUp(l), "link %s up", link)
}

// Down takes a link down.
func (n *NS) Down(link string) error {
	l, err := n.link(link)
	if err != nil {
		return err
	}
	return n.wrap(n.Link.LinkSetDown(l), "link %s down", link)
}

// AddLink adds a link that needs no peer: &netlink.Dummy, &netlink.Bridge, tunnels.
func (n *NS) AddLink(l netlink.Link) error {
	if err := n.Link.LinkAdd(l); err != nil {
		return n.wrap(err, "add link %s", l.Attrs().Name)
	}
	return n.Up(l.Attrs().Name)
}

// AddAddr adds addresses to a link, usable at once.
func (n *NS) AddAddr(link string, prefixes ...netip.Prefix) error {
	l, err := n.link(link)
	if err != nil {
		return err
	}
	for _, p := range prefixes {
		a := &netlink.Addr{IPNet: ipNet(p)}
		if p.Addr().Is6() {
			a.Flags = unix.IFA_F_NODAD
		}
		if err := n.Link.AddrAdd(l, a); err != nil {
			return n.wrap(err, "add %v to %s", p, link)
		}
		if err := n.awaitLocal(l, a.IPNet); err != nil {
			return n.wrap(err, "add %v to %s", p, link)
		}
	}
	return nil
}

// awaitLocal waits for the route to an IPv6 address of a link that is up: a worker
// of the kernel adds it, also where nothing is to be detected (addrconf_dad_work),
// and what comes before is not for this host.
func (n *NS) awaitLocal(l netlink.Link, addr *net.IPNet) error {
	if up := uint32(unix.IFF_UP | unix.IFF_LOWER_UP); addr.IP.To4() != nil || l.Attrs().RawFlags&up != up {
		return nil
	}
	host := &net.IPNet{IP: addr.IP, Mask: net.CIDRMask(128, 128)}
	want := &netlink.Route{Dst: host, Type: unix.RTN_LOCAL}
	return await("route to it", func() (bool, error) {
		routes, err := n.Link.RouteListFiltered(netlink.FAMILY_V6, want, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_TYPE|netlink.RT_FILTER_DST)
		return len(routes) > 0, err
	})
}

// await looks each millisecond whether a worker of the kernel has brought something
// about, at most 5000 times.
func await(what string, there func() (bool, error)) error {
	for range 5000 {
		if ok, err := there(); ok || err != nil {
			return err
		}
		time.Sleep(time.Millisecond)
	}
	return fmt.Errorf("no %s after 5 s", what)
}

// DelAddr removes an address from a link.
func (n *NS) DelAddr(link string, p netip.Prefix) error {
	l, err := n.link(link)
	if err != nil {
		return err
	}
	return n.wrap(n.Link.AddrDel(l, &netlink.Addr{IPNet: ipNet(p)}), "remove %v from %s", p, link)
}

// AddRoute sends what goes to dst to via, a neighbour on some link.
func (n *NS) AddRoute(dst netip.Prefix, via netip.Addr) error {
	err := n.Link.RouteReplace(&netlink.Route{Dst: ipNet(dst), Gw: via.AsSlice()})
	return n.wrap(err, "add route to %v via %v", dst, via)
}

// DelRoute undoes AddRoute.
func (n *NS) DelRoute(dst netip.Prefix, via netip.Addr) error {
	err := n.Link.RouteDel(&netlink.Route{Dst: ipNet(dst), Gw: via.AsSlice()})
	return n.wrap(err, "remove route to %v via %v", dst, via)
}

// AddNeighbour makes a permanent neighbour entry: nothing is asked on the wire.
func (n *NS) AddNeighbour(link string, addr netip.Addr, mac net.HardwareAddr) error {
	l, err := n.link(link)
	if err != nil {
		return err
	}
	err = n.Link.NeighSet(&netlink.Neigh{
		LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT, IP: addr.AsSlice(), HardwareAddr: mac,
	})
	return n.wrap(err, "add neighbour %v on %s", addr, link)
}

// MAC returns a link's hardware address.
func (n *NS) MAC(link string) (net.HardwareAddr, error) {
	l, err := n.link(link)
	if err != nil {
		return nil, err
	}
	return l.Attrs().HardwareAddr, nil
}

// MTU sets a link's MTU in bytes.
func (n *NS) MTU(link string, mtu int) error {
	l, err := n.link(link)
	if err != nil {
		return err
	}
	return n.wrap(n.Link.LinkSetMTU(l, mtu), "mtu %d on %s", mtu, link)
}

// Veth joins two namespaces by a pair of links, both up and ready to send.
func Veth(a *NS, aLink string, b *NS, bLink string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = aLink
	pair := &netlink.Veth{LinkAttrs: attrs, PeerName: bLink, PeerNamespace: netlink.NsFd(int(b.fd))}
	if err := a.Link.LinkAdd(pair); err != nil {
		return a.wrap(err, "add veth %s to %s in %s", aLink, bLink, b.Name)
	}
	return errors.Join(a.Up(aLink), b.Up(bLink), a.awaitUp(aLink))
}

// awaitUp waits until a link sends that has got its carrier only after it was set
// up: a worker of the kernel gives it its queue then (linkwatch_do_dev), and what is
// sent before is dropped in silence.
func (n *NS) awaitUp(link string) error {
	return await("carrier of "+link+" in "+n.Name, func() (bool, error) {
		l, err := n.link(link)
		return err == nil && l.Attrs().OperState == netlink.OperUp, err
	})
}

func (n *NS) link(name string) (netlink.Link, error) {
	l, err := n.Link.LinkByName(name)
	return l, n.wrap(err, "link %s", name)
}

func (n *NS) wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %s: %w", n.Name, fmt.Sprintf(format, args...), err)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// Must fails t for any error among errs.
func Must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// Eventually calls check until it returns nil, or fails t with its last error when
// limit is over.
func Eventually(t testing.TB, limit time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %v", limit, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
