// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"fmt"
	"net/netip"

	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/netif"
)

// routerMAC is the address of RFC 5798 7.3.
func routerMAC(six bool, vrid uint8) [6]byte {
	mac := [6]byte{0, 0, 0x5e, 0, 1, vrid}
	if six {
		mac[4] = 2
	}
	return mac
}

// vmacName is what keepalived calls the link, too.
func (in *instance) vmacName() string {
	if name := in.cfg.VMAC.Name; name != "" {
		return name
	}
	name := fmt.Sprintf("vrrp.%d", in.cfg.Machine.VRID)
	for _, other := range in.e.byName {
		if other != in && other.vmac != nil && other.vmac.Name == name {
			return fmt.Sprintf("vrrp6.%d", in.cfg.Machine.VRID)
		}
	}
	return name
}

// addVMAC makes the link of an instance, and has the base leave the answers for
// virtual addresses to it.
func (in *instance) addVMAC() {
	if in.cfg.VMAC == nil || in.base == nil || in.vmac != nil {
		return
	}
	mac := routerMAC(in.six(), in.cfg.Machine.VRID)
	if in.cfg.VMAC.OwnMAC {
		mac = in.cfg.VMAC.MAC
	}
	link, err := in.e.host.AddVMAC(in.vmacName(), in.base, mac)
	if err != nil {
		in.e.warn(fmt.Errorf("(%s) %w", in.name(), err))
		return
	}
	in.e.log.Info(fmt.Sprintf("(%s): Success creating VMAC interface %s", in.name(), link.Name))
	in.vmac = link
	in.e.links.byIndex[link.Index] = link
	if in.six() {
		in.vmacSource()
		return
	}
	for _, s := range [][3]string{
		{link.Name, "arp_ignore", "1"}, {link.Name, "accept_local", "1"}, {link.Name, "rp_filter", "0"}, {link.Name, "promote_secondaries", "1"},
	} {
		if _, err := netif.Sysctl("ipv4", s[0], s[1], s[2]); err != nil {
			in.e.warn(fmt.Errorf("(%s) %s of %s: %w", in.name(), s[1], s[0], err))
		}
	}
	// Some hosts have no IPv6.
	_, _ = netif.Sysctl("ipv6", link.Name, "disable_ipv6", "1")
	in.e.share(in.base.Name)
}

// vmacSource gives the link the source address of the advertisements: the kernel
// sends no link local address from another.
func (in *instance) vmacSource() {
	src := in.source()
	if in.vmac == nil || !in.six() || !src.Is6() || src == in.vmacAddr {
		return
	}
	if in.vmacAddr.IsValid() {
		in.e.warn(in.e.host.DelAddr(in.vmac.Index, hostAddress(in.vmacAddr)))
	}
	in.vmacAddr = src
	in.e.warn(in.e.host.AddAddr(in.vmac.Index, hostAddress(src)))
}

func hostAddress(a netip.Addr) config.Address {
	return config.Address{Prefix: netip.PrefixFrom(a, a.BitLen()), Deprecated: true}
}

// delVMAC removes the link, and what was set for it.
func (in *instance) delVMAC() {
	if in.vmac == nil {
		return
	}
	in.e.warn(in.e.host.DelLink(in.vmac.Index))
	delete(in.e.links.byIndex, in.vmac.Index)
	if !in.six() && in.base != nil {
		in.e.unshare(in.base.Name)
	}
	in.vmac, in.vmacAddr = nil, netip.Addr{}
}

// shared are the settings of a base before the first virtual router came onto it.
type shared struct {
	users  int
	before map[string]string
}

// share has a base answer ARP for its own addresses only.
func (e *Engine) share(base string) {
	s := e.shared[base]
	if s == nil {
		s = &shared{before: map[string]string{}}
		e.shared[base] = s
		for _, key := range []string{"arp_ignore", "arp_filter"} {
			old, err := netif.Sysctl("ipv4", base, key, "1")
			if err != nil {
				e.warn(fmt.Errorf("%s of %s: %w", key, base, err))
				continue
			}
			s.before[key] = old
		}
	}
	s.users++
}

func (e *Engine) unshare(base string) {
	s := e.shared[base]
	if s == nil {
		return
	}
	if s.users--; s.users > 0 {
		return
	}
	delete(e.shared, base)
	for key, old := range s.before {
		if _, err := netif.Sysctl("ipv4", base, key, old); err != nil {
			e.warn(fmt.Errorf("restore %s of %s: %w", key, base, err))
		}
	}
}
