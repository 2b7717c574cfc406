// SPDX-License-Identifier: Apache-2.0

package netif

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Route asks the kernel where a packet to dst goes: the link, and whether the host
// itself takes it, also by a route such as 'local 192.0.2.0/24 dev lo'.
func (h *Host) Route(dst netip.Addr) (link string, local bool, err error) {
	routes, err := h.nl.RouteGet(dst.AsSlice())
	if err == nil && len(routes) == 0 {
		err = unix.ENETUNREACH
	}
	if err != nil {
		return "", false, fmt.Errorf("route to %s: %w", dst, err)
	}
	l, err := h.nl.LinkByIndex(routes[0].LinkIndex)
	if err != nil {
		return "", false, fmt.Errorf("route to %s: %w", dst, err)
	}
	return l.Attrs().Name, routes[0].Type == unix.RTN_LOCAL, nil
}

// LRO tells whether the link merges TCP segments that it receives, which only a
// host may do that keeps them (linux/ethtool.h, ETH_FLAG_LRO). Links that know
// nothing of it do not.
func (h *Host) LRO(link string) (bool, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	const flagLRO = 1 << 15
	value := struct{ cmd, data uint32 }{cmd: unix.ETHTOOL_GFLAGS}
	request := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte // the rest of struct ifreq
	}{data: unsafe.Pointer(&value)}
	copy(request.name[:unix.IFNAMSIZ-1], link)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	switch errno {
	case 0:
		return value.data&flagLRO != 0, nil
	case unix.EOPNOTSUPP:
		return false, nil
	}
	return false, fmt.Errorf("flags of %s: %w", link, errno)
}

// IPSet tells the family of an ipset (AF_INET, AF_INET6), 0 for one of links or ports alone;
// fs.ErrNotExist if there is none of the name.
func IPSet(name string) (family uint16, err error) {
	nl, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
	if err != nil {
		return 0, fmt.Errorf("open netfilter's netlink: %w", err)
	}
	defer nl.Close()
	set, err := nl.IpsetList(name)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EINVAL): // the latter: no ip_set in the kernel, nor any that can be loaded
		return 0, fmt.Errorf("ipset %s: %w", name, fs.ErrNotExist)
	case err != nil:
		return 0, fmt.Errorf("ipset %s: %w", name, err)
	}
	return uint16(set.Family), nil
}
