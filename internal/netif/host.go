// SPDX-License-Identifier: Apache-2.0

package netif

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lvs-fnat/lvs/internal/config"
)

// Host speaks rtnetlink. It belongs to one goroutine.
type Host struct{ nl *netlink.Handle }

// Open opens the namespace of the calling thread. Close it.
func Open() (*Host, error) {
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink: %w", err)
	}
	return &Host{nl}, nil
}

// Close closes the sockets.
func (h *Host) Close() { h.nl.Close() }

// SetReadBuffer asks for a receive buffer of that many bytes; force takes more than the
// host's limit.
func (h *Host) SetReadBuffer(n int, force bool) error {
	if err := h.nl.SetSocketReceiveBufferSize(n, force); err != nil {
		return fmt.Errorf("buffer of rtnetlink: %w", err)
	}
	return nil
}

// Link is one interface at a moment.
type Link struct {
	Index    int
	Name     string
	MAC      [6]byte // zero unless Ethernet
	Ethernet bool
	Loopback bool
	// Multicast says that groups can be joined there.
	Multicast bool
	MTU       int
	Up        bool   // administratively up, with carrier
	Kind      string // of rtnetlink: veth, macvlan, ""
	Parent    int    // index of the link below, 0 for none
	Group     uint32 // of links
}

func linkOf(l netlink.Link) Link {
	a := l.Attrs()
	const running = unix.IFF_UP | unix.IFF_RUNNING
	out := Link{
		Index: a.Index, Name: a.Name, MTU: a.MTU, Parent: a.ParentIndex, Kind: l.Type(), Group: a.Group,
		Up: a.RawFlags&running == running, Loopback: a.Flags&net.FlagLoopback != 0, Multicast: a.Flags&net.FlagMulticast != 0,
	}
	if out.Ethernet = a.EncapType == "ether" && len(a.HardwareAddr) == 6; out.Ethernet {
		out.MAC = [6]byte(a.HardwareAddr)
	}
	return out
}

// Links lists all interfaces.
func (h *Host) Links() ([]Link, error) {
	list, err := h.nl.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	out := make([]Link, 0, len(list))
	for _, l := range list {
		out = append(out, linkOf(l))
	}
	return out, nil
}

// Addr is an address that a link has.
type Addr struct {
	Link   int
	Prefix netip.Prefix
	// Ready is false while duplicate address detection runs or after it failed.
	Ready     bool
	Secondary bool // IPv4: not the first of its network
}

func addrOf(link int, n *net.IPNet, flags int) Addr {
	ip, ok := netip.AddrFromSlice(n.IP)
	if !ok {
		return Addr{}
	}
	ones, _ := n.Mask.Size()
	ip = ip.Unmap()
	return Addr{
		Link: link, Prefix: netip.PrefixFrom(ip, ones),
		Ready:     flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) == 0 || flags&unix.IFA_F_OPTIMISTIC != 0,
		Secondary: ip.Is4() && flags&unix.IFA_F_SECONDARY != 0,
	}
}

// Addrs lists the addresses of all links, in the kernel's order.
func (h *Host) Addrs() ([]Addr, error) {
	list, err := h.nl.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var out []Addr
	for _, a := range list {
		if x := addrOf(a.LinkIndex, a.IPNet, a.Flags); x.Prefix.IsValid() {
			out = append(out, x)
		}
	}
	return out, nil
}

// AddAddr puts an address on the link with that index. One that is there
// already is no error.
func (h *Host) AddAddr(link int, a config.Address) error {
	n := netlinkAddr(link, a)
	n.Flags = unix.IFA_F_NODAD
	if a.DAD {
		n.Flags = 0
	}
	for flag, on := range map[int]bool{
		unix.IFA_F_HOMEADDRESS: a.Home, unix.IFA_F_MANAGETEMPADDR: a.MngTmpAddr,
		unix.IFA_F_NOPREFIXROUTE: a.NoPrefixRoute, unix.IFA_F_MCAUTOJOIN: a.AutoJoin,
	} {
		if on {
			n.Flags |= flag
		}
	}
	if a.Prefix.Addr().Is4() {
		n.Flags &^= unix.IFA_F_NODAD
		n.Label, n.Scope = a.Label, a.Scope
		if a.Broadcast.IsValid() {
			n.Broadcast = a.Broadcast.AsSlice()
		}
	}
	if a.Deprecated || a.PreferredLft > 0 {
		n.PreferedLft, n.ValidLft = int(a.PreferredLft), 1<<32-1
	}
	if err := h.nl.AddrReplace(&netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: link}}, n); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add address %s: %w", a.Prefix, err)
	}
	return nil
}

// netlinkAddr has what identifies an address.
func netlinkAddr(link int, a config.Address) *netlink.Addr {
	n := &netlink.Addr{IPNet: ipNet(a.Prefix), LinkIndex: link}
	if a.Peer.IsValid() {
		n.Peer = ipNet(a.Peer)
	}
	// The library computes a broadcast address where none is given; all zeros
	// on the wire mean none.
	if a.Prefix.Addr().Is4() && !a.AutoBroadcast {
		n.Broadcast = net.IPv4zero
	}
	return n
}

// DelAddr takes an address away. One that is not there is no error.
func (h *Host) DelAddr(link int, a config.Address) error {
	err := h.nl.AddrDel(&netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: link}}, netlinkAddr(link, a))
	if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove address %s: %w", a.Prefix, err)
	}
	return nil
}

// HasAddr asks the kernel whether the link has the address.
func (h *Host) HasAddr(link int, a config.Address) (bool, error) {
	all, err := h.Addrs()
	if err != nil {
		return false, err
	}
	for _, x := range all {
		if x.Link == link && x.Prefix.Addr() == a.Prefix.Addr() {
			return true, nil
		}
	}
	return false, nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// GlobalSysctl writes a setting below net, such as ipv4/igmp_link_local_mcast_reports, and
// returns the old value.
func GlobalSysctl(key, value string) (old string, err error) {
	path := filepath.Join("/proc/sys/net", key)
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(b)), os.WriteFile(path, []byte(value), 0)
}

// ReadSysctl reads a per-link setting of a family (ipv4 or ipv6).
func ReadSysctl(family, link, key string) (string, error) {
	b, err := os.ReadFile(filepath.Join("/proc/sys/net", family, "conf", link, key))
	return strings.TrimSpace(string(b)), err
}

// Sysctl writes a per-link setting of a family (ipv4 or ipv6) and returns the old value.
func Sysctl(family, link, key, value string) (old string, err error) {
	return GlobalSysctl(filepath.Join(family, "conf", link, key), value)
}
