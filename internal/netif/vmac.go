// SPDX-License-Identifier: Apache-2.0

package netif

import (
	"bytes"
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Own is a link that a virtual router makes for itself, on top of another.
type Own struct {
	Name string
	MAC  [6]byte // not with IPVLAN, which has the address of the link below
	// IPVLAN makes an ipvlan in layer 2 mode, not a private macvlan.
	IPVLAN bool
	Flag   IPVLANFlag
	Group  uint32 // of links, for rules by group; 0: the default one
	// Notify has the kernel tell of the link below once more: some drivers change
	// without a word when a link with another hardware address comes on top.
	Notify bool
}

// IPVLANFlag says what the ipvlan links of one parent hear of each other
// (linux/if_link.h, IPVLAN_F_*).
type IPVLANFlag = netlink.IPVlanFlag

// The flags of ipvlan.
const (
	IPVLANBridge  = netlink.IPVLAN_FLAG_BRIDGE
	IPVLANPrivate = netlink.IPVLAN_FLAG_PRIVATE
	IPVLANVEPA    = netlink.IPVLAN_FLAG_VEPA
)

// Kinds of links that virtual routers make.
const (
	KindVMAC   = "macvlan"
	KindIPVLAN = "ipvlan"
)

// Kind is what rtnetlink calls it.
func (o *Own) Kind() string {
	if o.IPVLAN {
		return KindIPVLAN
	}
	return KindVMAC
}

// MayHave tells whether a virtual router on parent may have the name: no link has
// it, or one of the same kind on the same parent, which a dead process has left.
func (h *Host) MayHave(name, kind string, parent *Link) bool {
	old, err := h.nl.LinkByName(name)
	return err != nil || old.Type() == kind && old.Attrs().ParentIndex == parent.Index
}

// AddOwn makes a link of a virtual router on top of parent. It is down, and a macvlan
// will have no IPv6 address of its own making. A link of that name that a dead process
// has left is replaced.
func (h *Host) AddOwn(o Own, parent *Link) (*Link, error) {
	if old, err := h.nl.LinkByName(o.Name); err == nil {
		if old.Type() != o.Kind() {
			return nil, fmt.Errorf("add %s: there is a %s of that name", o.Name, old.Type())
		}
		if err := h.nl.LinkDel(old); err != nil {
			return nil, fmt.Errorf("replace %s: %w", o.Name, err)
		}
	}
	if err := h.delTwin(&o, parent); err != nil {
		return nil, err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex, attrs.Group = o.Name, parent.Index, o.Group
	var link netlink.Link = &netlink.IPVlan{LinkAttrs: attrs, Mode: netlink.IPVLAN_MODE_L2, Flag: o.Flag}
	if !o.IPVLAN {
		attrs.HardwareAddr = net.HardwareAddr(o.MAC[:])
		link = &netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_PRIVATE}
	}
	if err := h.nl.LinkAdd(link); err != nil {
		return nil, fmt.Errorf("add %s on %s: %w", o.Name, parent.Name, err)
	}
	if o.Notify {
		below := &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: parent.Index}}
		if err := h.nl.LinkSetGroup(below, int(parent.Group)); err != nil {
			return nil, errors.Join(fmt.Errorf("tell of %s: %w", parent.Name, err), h.nl.LinkDel(link))
		}
	}
	if !o.IPVLAN { // without IPv6 there is nothing to set
		_, _ = Sysctl("ipv6", o.Name, "addr_gen_mode", "1")
	}
	return h.named(o.Name)
}

// delTwin removes a macvlan with the same hardware address on the same parent, which the
// kernel allows once: a dead process has left it, under the name that it had then.
func (h *Host) delTwin(o *Own, parent *Link) error {
	if o.IPVLAN {
		return nil
	}
	list, err := h.nl.LinkList()
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	for _, l := range list {
		a := l.Attrs()
		if l.Type() != KindVMAC || a.ParentIndex != parent.Index || !bytes.Equal(a.HardwareAddr, o.MAC[:]) {
			continue
		}
		if err := h.nl.LinkDel(l); err != nil {
			return fmt.Errorf("replace %s: %w", a.Name, err)
		}
	}
	return nil
}

// SetUp has a link go up, and gives it as it is then.
func (h *Host) SetUp(link *Link) (*Link, error) {
	if err := h.nl.LinkSetUp(&netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: link.Index}}); err != nil {
		return nil, fmt.Errorf("%s up: %w", link.Name, err)
	}
	return h.named(link.Name)
}

// LinkAt is the link with that index as it is now.
func (h *Host) LinkAt(index int) (*Link, error) {
	found, err := h.nl.LinkByIndex(index)
	if err != nil {
		return nil, fmt.Errorf("find link %d: %w", index, err)
	}
	l := linkOf(found)
	return &l, nil
}

func (h *Host) named(name string) (*Link, error) {
	found, err := h.nl.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", name, err)
	}
	l := linkOf(found)
	return &l, nil
}

// DelLink removes a link. One that is not there is no error.
func (h *Host) DelLink(index int) error {
	err := h.nl.LinkDel(&netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: index}})
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove link %d: %w", index, err)
	}
	return nil
}
