// SPDX-License-Identifier: Apache-2.0

package config

import (
	"net"
	"net/netip"
	"strconv"

	"github.com/lvs-fnat/lvs/parser"
)

// VMAC is use_vmac or use_ipvlan: a link of the virtual router's own.
type VMAC struct {
	Name     string // "": Prefix, a dot and the VRID
	Prefix   string // vmac_prefix; "": vrrp
	Group    int64  // of links; -1: that of the interface
	XmitBase bool   // vmac_xmit_base

	MAC    [6]byte
	OwnMAC bool // MAC is not the one of RFC 5798 7.3
	Notify bool // netlink_notify_msg

	IPVLAN bool         // use_ipvlan; the fields of hardware addresses do not count
	Mode   IPVLANMode   // what its neighbours on the interface hear
	Addr   netip.Prefix // of the link for itself; zero: none
}

// IPVLANMode is a word of use_ipvlan.
type IPVLANMode int

// The words of use_ipvlan; bridge is the default.
const (
	IPVLANBridge IPVLANMode = iota
	IPVLANPrivate
	IPVLANVEPA
)

var ipvlanModes = map[string]IPVLANMode{"bridge": IPVLANBridge, "private": IPVLANPrivate, "vepa": IPVLANVEPA}

const (
	linkNameMax = 15
	// prefixMax leaves room for a dot and a VRID.
	prefixMax = linkNameMax - len(".255")
)

// linkName reads a name that a link is to have.
func (w *words) linkName(name string) (string, bool) {
	if len(name) > linkNameMax {
		w.l.error(w.at(), "%s: the name '%s' has more than %d characters", w.n.Key(), name, linkNameMax)
		return "", false
	}
	return name, true
}

// group reads a group of links, by number or as the host names it.
func (w *words) group() (int64, bool) {
	s, ok := w.value()
	if !ok {
		return 0, false
	}
	if v, err := strconv.ParseUint(s, 0, 32); err == nil {
		return int64(v), true
	}
	if v, ok := w.l.hostName("group", s); ok {
		return int64(v), true
	}
	w.l.error(w.at(), "%s: unknown group '%s': expected a number, or a name of /etc/iproute2/group", w.n.Key(), s)
	return 0, false
}

// shared takes the words that use_vmac and use_ipvlan have in common.
func (v *VMAC) shared(w *words) {
	switch w.key() {
	case "name":
		if name, ok := w.value(); ok {
			v.Name, _ = w.linkName(name)
		}
	case "group":
		if group, ok := w.group(); ok {
			v.Group = group
		}
	default:
		v.Name, _ = w.linkName(w.key())
	}
}

// readVMAC takes [NAME] [MAC] [name NAME] [group NAME|INT] [netlink_notify_msg].
func readVMAC(l *loader, n *parser.Node, d *instanceDraft) {
	v := &VMAC{Group: -1}
	if !d.ownLink(l, n, v) {
		return
	}
	for w := (words{l: l, n: n}); w.next(); {
		mac, err := net.ParseMAC(w.key())
		switch {
		case w.key() == "netlink_notify_msg":
			v.Notify = true
		case err != nil || len(mac) != len(v.MAC):
			v.shared(&w)
		case mac[0]&1 != 0:
			l.error(w.at(), "use_vmac: %s is a multicast address", w.key())
		default:
			v.MAC, v.OwnMAC = [6]byte(mac), true
		}
	}
}

// readIPVLAN takes [NAME] [ADDRESS[/LENGTH]] [bridge|private|vepa] [name NAME] [group NAME|INT].
func readIPVLAN(l *loader, n *parser.Node, d *instanceDraft) {
	v := &VMAC{IPVLAN: true, Group: -1}
	if !d.ownLink(l, n, v) {
		return
	}
	for w := (words{l: l, n: n}); w.next(); {
		mode, isMode := ipvlanModes[w.key()]
		addr, isAddr := parsePrefix(w.key())
		switch {
		case isMode:
			v.Mode = mode
		case isAddr:
			v.Addr = addr
		default:
			v.shared(&w)
		}
	}
}

// ownLink takes over the one link that an instance may have for itself.
func (d *instanceDraft) ownLink(l *loader, n *parser.Node, v *VMAC) bool {
	if d.VMAC != nil {
		l.error(n.Pos(), "(%s) %s: an instance has one use_vmac or use_ipvlan", d.Machine.Name, n.Key())
		return false
	}
	d.VMAC = v
	return true
}

// completeVMAC checks and fills in what concerns links of the instance's own.
func (l *loader) completeVMAC(d *instanceDraft) bool {
	v, name := d.VMAC, d.Machine.Name
	g := &l.cfg.Global.VRRP
	if v == nil {
		if d.xmitBase {
			l.warn(d.Pos, "(%s) vmac_xmit_base is only valid with use_vmac: ignored", name)
		}
		return true
	}
	v.Prefix = g.VMACPrefix
	// The way to a peer is one of the interface.
	v.XmitBase = d.xmitBase || d.Unicast && !v.IPVLAN
	what := "use_vmac"
	if v.IPVLAN {
		what = "use_ipvlan"
	}
	if d.Interface == "" {
		l.error(d.Pos, "(%s) %s needs an interface", name, what)
		return false
	}
	if v.Addr.IsValid() && FamilyOf(v.Addr.Addr()) != d.Family {
		l.error(d.Pos, "(%s) use_ipvlan: %s is not %s as the instance is", name, v.Addr.Addr(), d.Family)
		return false
	}
	if v.IPVLAN && d.Family == IPv4 && !v.Addr.IsValid() && !d.SourceAddr.IsValid() {
		l.warn(d.Pos, "(%s) IPv4 ipvlan requires a source ip address to be configured. setting instance to fault state", name)
	}
	return true
}

// prefixInto reads vmac_prefix and its kin.
func prefixInto(of func(*VRRPGlobal) *string) keyword[Global] {
	return keyword[Global]{read: func(l *loader, n *parser.Node, g *Global) {
		v, ok := l.word(n, 1, "prefix")
		switch {
		case !ok:
		case len(v) > prefixMax:
			l.error(n.ArgPos(1), "%s: '%s' has more than %d characters", n.Key(), v, prefixMax)
		case *of(&g.VRRP) != "":
			l.warn(n.Pos(), "%s has already been specified: %s is ignored", n.Key(), v)
		default:
			*of(&g.VRRP) = v
		}
	}}
}
