// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/lvs-fnat/lvs/parser"
	"github.com/lvs-fnat/lvs/vrrp"
)

// vrrpDraft is everything of VRRP while the file is read.
type vrrpDraft struct {
	defaults  vrrpDefaults
	version   int
	mcast4    netip.Addr
	mcast6    netip.Addr
	ifDefault string
	instances []*instanceDraft
	byName    map[string]*instanceDraft
	groups    []*groupDraft
	scripts   []*TrackScript
	processes []*TrackProcess

	unlinked bool // an instance has a link that is not there, before which the original looks at no command

	plainRules int // rules without preference so far
}

// vrrpDefaults are what global_defs may say for all instances and an instance
// for itself; there without the leading vrrp_.
type vrrpDefaults struct {
	garpDelay, garpRefresh, lowerDelay, garpExtra opt[time.Duration]
	garpRepeat, refreshRepeat, lowerRepeat        opt[int]
	downAdverts                                   opt[int]
	lowerNoAdvert, higherAdvert, skipAddrs        opt[bool]
	checkSrc, plainSum, ownerIgnores, strict      opt[bool]
	priorityNotify, smtp, minGARP, garpExtraAll   opt[bool]
}

// instanceDraft is a vrrp_instance while it is read.
type instanceDraft struct {
	Instance
	vrrpDefaults
	broken    bool
	vrid      int
	version   opt[int]
	interval  opt[time.Duration]
	priority  opt[int]
	master    opt[bool]
	accept    opt[bool]
	noPreempt opt[bool]
	unicast   opt[bool] // unicast_peer is there, even empty
	noVIP     bool
	xmitBase  bool
	password  string
	hmac      *hmacDraft
	polled    bool   // linkbeat_use_polling
	syncOn    string // lvs_sync_daemon_interface
	track     trackDraft
}

const (
	garpSecondsMax = 4294 * time.Second
	vridMax        = 255
	passwordMax    = 8
)

// defaultKeywords are those of vrrpDefaults, with the prefix that global_defs has.
func defaultKeywords[T any](prefix string, of func(*loader, *T) *vrrpDefaults) keywords[T] {
	seconds := func(lo, hi time.Duration, field func(*vrrpDefaults) *opt[time.Duration]) keyword[T] {
		return keyword[T]{read: func(l *loader, n *parser.Node, t *T) {
			if v, ok := l.int(n, 1, int64(lo/time.Second), int64(hi/time.Second)); ok {
				field(of(l, t)).put(time.Duration(v) * time.Second)
			}
		}}
	}
	number := func(lo, hi int64, field func(*vrrpDefaults) *opt[int]) keyword[T] {
		return keyword[T]{read: func(l *loader, n *parser.Node, t *T) {
			if v, ok := l.int(n, 1, lo, hi); ok {
				field(of(l, t)).put(int(v))
			}
		}}
	}
	flag := func(field func(*vrrpDefaults) *opt[bool]) keyword[T] {
		return keyword[T]{read: func(l *loader, n *parser.Node, t *T) {
			if v, ok := l.bool(n, 1); ok {
				field(of(l, t)).put(v)
			}
		}}
	}
	const day = 24 * time.Hour
	table := keywords[T]{
		"garp_master_delay":          seconds(0, garpSecondsMax, func(d *vrrpDefaults) *opt[time.Duration] { return &d.garpDelay }),
		"garp_master_repeat":         number(0, math.MaxUint32, func(d *vrrpDefaults) *opt[int] { return &d.garpRepeat }),
		"garp_master_refresh":        seconds(0, math.MaxUint32*time.Second, func(d *vrrpDefaults) *opt[time.Duration] { return &d.garpRefresh }),
		"garp_master_refresh_repeat": number(0, math.MaxUint32, func(d *vrrpDefaults) *opt[int] { return &d.refreshRepeat }),
		"garp_lower_prio_delay":      seconds(0, garpSecondsMax, func(d *vrrpDefaults) *opt[time.Duration] { return &d.lowerDelay }),
		"garp_lower_prio_repeat":     number(0, math.MaxInt32, func(d *vrrpDefaults) *opt[int] { return &d.lowerRepeat }),
		"down_timer_adverts":         number(1, 100, func(d *vrrpDefaults) *opt[int] { return &d.downAdverts }),
		"lower_prio_no_advert":       flag(func(d *vrrpDefaults) *opt[bool] { return &d.lowerNoAdvert }),
		"higher_prio_send_advert":    flag(func(d *vrrpDefaults) *opt[bool] { return &d.higherAdvert }),
		"skip_check_adv_addr":        flag(func(d *vrrpDefaults) *opt[bool] { return &d.skipAddrs }),
		"owner_ignore_adverts":       flag(func(d *vrrpDefaults) *opt[bool] { return &d.ownerIgnores }),
		"notify_priority_changes":    flag(func(d *vrrpDefaults) *opt[bool] { return &d.priorityNotify }),
		"check_unicast_src":          flag(func(d *vrrpDefaults) *opt[bool] { return &d.checkSrc }),
		"garp_extra_if": {read: func(l *loader, n *parser.Node, t *T) {
			i := 1
			if n.Arg(1) == "all" {
				i = 2
			}
			if v, ok := l.int(n, i, 0, int64(day/time.Second)); ok {
				of(l, t).garpExtra.put(time.Duration(v) * time.Second)
				of(l, t).garpExtraAll.put(i == 2)
			}
		}},
	}
	out := keywords[T]{}
	for w, k := range table {
		out[prefix+w] = k
	}
	out["v3_checksum_as_v2"] = flag(func(d *vrrpDefaults) *opt[bool] { return &d.plainSum })
	out[prefix+"vmac_garp_intvl"] = table["garp_extra_if"]
	return out
}

var instanceKeywords keywords[instanceDraft]

func init() {
	instanceKeywords = keywords[instanceDraft]{
		"interface":         stringInto(func(d *instanceDraft, v string) { d.Interface = v }),
		"virtual_router_id": intInto(1, vridMax, func(d *instanceDraft, v int) { d.vrid = v }),
		"priority":          intInto(1, 255, func(d *instanceDraft, v int) { d.priority.put(v) }),
		"version":           intInto(2, 3, func(d *instanceDraft, v int) { d.version.put(v) }),
		"advert_int":        secondsInto(10*time.Millisecond, 255*time.Second, func(d *instanceDraft, v time.Duration) { d.interval.put(v) }),
		"state": {read: func(l *loader, n *parser.Node, d *instanceDraft) {
			if k, ok := l.oneOf(n, 1, "MASTER", "BACKUP"); ok {
				d.master = opt[bool]{v: k == 0, set: true, at: n.Pos()}
			}
		}},
		"virtual_ipaddress": {block: true, read: func(l *loader, n *parser.Node, d *instanceDraft) {
			readAddresses(l, n, &d.Addrs)
		}},
		"virtual_ipaddress_excluded": {block: true, read: func(l *loader, n *parser.Node, d *instanceDraft) {
			readAddresses(l, n, &d.Excluded)
		}},
		"virtual_routes":       {block: true, read: func(l *loader, n *parser.Node, d *instanceDraft) { readRoutes(l, n, &d.Routes) }},
		"virtual_rules":        {block: true, read: func(l *loader, n *parser.Node, d *instanceDraft) { readRules(l, n, &d.Rules) }},
		"no_virtual_ipaddress": flagInto(func(d *instanceDraft) { d.noVIP = true }),
		"promote_secondaries":  flagInto(func(d *instanceDraft) { d.PromoteSecondaries = true }),
		"accept":               flagInto(func(d *instanceDraft) { d.accept.put(true) }),
		"no_accept":            flagInto(func(d *instanceDraft) { d.accept.put(false) }),
		"preempt":              flagInto(func(d *instanceDraft) { d.noPreempt.put(false) }),
		"nopreempt":            flagInto(func(d *instanceDraft) { d.noPreempt.put(true) }),
		"preempt_delay":        secondsInto(0, 1000*time.Second, func(d *instanceDraft, v time.Duration) { d.Machine.PreemptDelay = v }),
		"linkbeat_use_polling": {read: func(l *loader, n *parser.Node, d *instanceDraft) {
			l.warn(n.Pos(), "linkbeat_use_polling of an instance is deprecated: write 'linkbeat_interfaces' outside")
			d.polled = true
		}},
		"lvs_sync_daemon_interface": {read: func(l *loader, n *parser.Node, d *instanceDraft) {
			if v, ok := l.word(n, 1, "interface"); ok {
				l.warn(n.Pos(), "lvs_sync_daemon_interface is deprecated: write 'lvs_sync_daemon %s %s' in global_defs", v, d.Machine.Name)
				d.syncOn = v
			}
		}},
		"vrf":                  stringInto(func(d *instanceDraft, v string) { d.VRF = v }),
		"timer_expired_backup": {read: readTimerExpired},
		"thread_timer_expired": {read: readTimerExpired},
		// Without a debugging build the original keeps the number and does nothing with it.
		"debug":              intInto(0, 4, func(*instanceDraft, int) {}),
		"dont_track_primary": flagInto(func(d *instanceDraft) { d.NoTrackPrimary = true }),
		"track_src_ip":       flagInto(func(d *instanceDraft) { d.TrackSource = true }),
		"native_ipv6":        flagInto(func(*instanceDraft) {}),
		"mcast_src_ip":       {read: readSource},
		"unicast_src_ip":     {read: readSource},
		"mcast_dst_ip":       {read: readGroupAddr(func(d *instanceDraft) *netip.Addr { return &d.Multicast })},
		"unicast_peer":       {block: true, read: readPeers},
		"unicast_fault_no_peer": flagInto(func(d *instanceDraft) {
			d.FaultNoPeer = true
		}),
		"unicast_ttl":          intInto(0, 255, func(d *instanceDraft, v int) { d.UnicastTTL = v }),
		"kernel_rx_buf_size":   intInto(1, math.MaxInt32, func(d *instanceDraft, v int) { d.RxBufSize = v }),
		"strict_mode":          boolInto(func(d *instanceDraft, v bool) { d.strict.put(v) }),
		"smtp_alert":           boolInto(func(d *instanceDraft, v bool) { d.smtp.put(v) }),
		"authentication":       {block: true, read: readAuthentication},
		"auth_hmac":            {block: true, read: readHMAC},
		"old_unicast_checksum": {read: func(_ *loader, n *parser.Node, d *instanceDraft) { d.OldUnicastChecksum = n.Arg(1) != "never" }},
		"use_vmac":             {read: readVMAC},
		"use_ipvlan":           {read: readIPVLAN},
		"use_vmac_addr":        flagInto(func(d *instanceDraft) { d.AddrVMAC = true }),
		"vmac_xmit_base":       flagInto(func(d *instanceDraft) { d.xmitBase = true }),

		"notify_master":              scriptInto(func(d *instanceDraft) *Script { return &d.Notify.Master }),
		"notify_backup":              scriptInto(func(d *instanceDraft) *Script { return &d.Notify.Backup }),
		"notify_fault":               scriptInto(func(d *instanceDraft) *Script { return &d.Notify.Fault }),
		"notify_stop":                scriptInto(func(d *instanceDraft) *Script { return &d.Notify.Stop }),
		"notify_deleted":             scriptInto(func(d *instanceDraft) *Script { return &d.Notify.Deleted }),
		"notify":                     scriptInto(func(d *instanceDraft) *Script { return &d.Notify.Any }),
		"notify_master_rx_lower_pri": scriptInto(func(d *instanceDraft) *Script { return &d.Notify.RxLowerPrio }),
	}
	instanceKeywords.with(defaultKeywords("", func(_ *loader, d *instanceDraft) *vrrpDefaults { return &d.vrrpDefaults }))
	instanceKeywords.with(trackKeywords(func(d *instanceDraft) *trackDraft { return &d.track }))
}

func readGroupAddr[T any](of func(*T) *netip.Addr) func(*loader, *parser.Node, *T) {
	return func(l *loader, n *parser.Node, to *T) {
		a, ok := l.addr(n, 1)
		if ok && !a.IsMulticast() {
			l.error(n.ArgPos(1), "%s: %s is no multicast address", n.Key(), a)
			return
		}
		if ok {
			*of(to) = a
		}
	}
}

// readTimerExpired takes the priority that other routers have at most; without one
// that which takes over soonest.
func readTimerExpired(l *loader, n *parser.Node, d *instanceDraft) {
	d.Machine.TimerExpiredBackup = vrrp.Owner - 1
	if len(n.Words) < 2 {
		return
	}
	if v, ok := l.int(n, 1, 1, vrrp.Owner-1); ok {
		d.Machine.TimerExpiredBackup = uint8(v)
	}
}

func readSource(l *loader, n *parser.Node, d *instanceDraft) {
	if a, ok := l.addr(n, 1); ok {
		d.SourceAddr = a
	}
}

func readPeers(l *loader, n *parser.Node, d *instanceDraft) {
	d.unicast.put(true)
	for _, c := range n.Children {
		if c.Key() == "" {
			continue
		}
		a, err := netip.ParseAddr(c.Key())
		if err != nil {
			l.error(c.Pos(), "unicast_peer: invalid address '%s'", c.Key())
			continue
		}
		p := vrrp.Peer{Addr: a.Unmap(), MaxTTL: 255}
		ok := true
		for w := (words{l: l, n: c}); ok && w.next(); {
			var v int64
			switch key := w.key(); key {
			case "min_ttl":
				v, ok = w.number(0, 255)
				p.MinTTL = uint8(v)
			case "max_ttl":
				v, ok = w.number(0, 255)
				p.MaxTTL = uint8(v)
			default:
				l.error(w.at(), "unicast_peer: unknown word '%s': expected min_ttl or max_ttl; one peer a line", key)
				ok = false
			}
		}
		if ok {
			d.Peers = append(d.Peers, p)
		}
	}
}

var authKeywords = keywords[instanceDraft]{
	"auth_type": {read: func(l *loader, n *parser.Node, d *instanceDraft) {
		if k, ok := l.oneOf(n, 1, "PASS", "AH"); ok {
			d.Auth = [...]vrrp.AuthType{vrrp.AuthPass, vrrp.AuthAH}[k]
		}
	}},
	"auth_pass": {read: func(l *loader, n *parser.Node, d *instanceDraft) {
		s, ok := l.word(n, 1, "password")
		if !ok {
			return
		}
		if len(s) > passwordMax {
			l.warn(n.ArgPos(1), "Truncating auth_pass to %d characters", passwordMax)
			s = s[:passwordMax]
		}
		d.password = s
	}},
}

func readAuthentication(l *loader, n *parser.Node, d *instanceDraft) {
	walk(l, n.Children, "vrrp_instance/authentication", authKeywords, d)
	if d.Auth != vrrp.AuthNone && d.password == "" {
		l.warn(n.Pos(), "(%s) authentication without auth_pass: none is used", d.Machine.Name)
		d.Auth = vrrp.AuthNone
	}
	clear(d.Password[:])
	copy(d.Password[:], d.password)
}

func readInstance(l *loader, n *parser.Node, _ *Config) {
	name, ok := l.word(n, 1, "name of the instance")
	if !ok {
		return
	}
	d := &instanceDraft{}
	d.Pos, d.Machine.Name, d.UnicastTTL = n.Pos(), name, -1
	if first, dup := l.vrrp.byName[name]; dup {
		l.warn(n.ArgPos(1), "vrrp_instance %s is already defined at line %d of %s: this one is ignored", name, first.Pos.Line, first.Pos.File)
		d.broken = true
	} else {
		l.vrrp.byName[name] = d
	}
	walk(l, n.Children, "vrrp_instance", instanceKeywords, d)
	l.vrrp.instances = append(l.vrrp.instances, d)
}

// noteFaults adds the errors since there were before diagnostics.
func (l *loader) noteFaults(to *[]string, before int) {
	for _, d := range l.diags[before:] {
		if d.Severity >= Error {
			*to = append(*to, d.Text)
		}
	}
}

// finishVRRP resolves what needs the whole file.
func (l *loader) finishVRRP() {
	defer l.noteFaults(&l.cfg.VRRP.Faults, len(l.diags))
	type id struct {
		vrid   uint8
		family Family
		where  string
	}
	seen := map[id]string{}
	for _, d := range l.vrrp.instances {
		if d.broken || !l.completeInstance(d) {
			d.broken = true
			continue
		}
		key := id{d.Machine.VRID, d.Family, d.Interface}
		if d.Interface == "" {
			key.where = d.SourceAddr.String()
		}
		if other, dup := seen[key]; dup {
			l.report(d.Pos, Fatal, "(%s) duplicate VRID %d on interface %s, also used by %s: choose another", d.Machine.Name, d.Machine.VRID, d.Interface, other)
			continue
		}
		seen[key] = d.Machine.Name
		d.Track = l.resolveTrack(&d.track, d.Machine.Name)
		d.implied()
		l.cfg.VRRP.Instances = append(l.cfg.VRRP.Instances, d.Instance)
	}
	l.finishGroups()
	l.finishTrack()
	l.finishStatic()
	l.finishDeprecated()
	for i := range l.cfg.VRRP.Instances {
		if in := &l.cfg.VRRP.Instances[i]; in.Interface != "" && l.lacksLink(in.Interface) {
			l.vrrp.unlinked = true
			l.warn(in.Pos, "(%s) interface %s does not exist: create it, or write dynamic_interfaces", in.Machine.Name, in.Interface)
		}
	}
}

// lacksLink tells that the host has no link of that name, and needs one.
func (l *loader) lacksLink(name string) bool {
	return l.opts.Link != nil && l.cfg.Root.NetNamespace == "" && !l.cfg.Global.VRRP.DynamicInterfaces && !l.opts.Link(name)
}

// finishDeprecated has the words of instances that are for the whole host now do
// what their successors do.
func (l *loader) finishDeprecated() {
	for _, d := range l.vrrp.instances {
		if d.broken {
			continue
		}
		if _, asked := l.cfg.VRRP.Beat(d.Interface); d.polled && !asked && d.Interface != "" {
			l.cfg.VRRP.Linkbeats = append(l.cfg.VRRP.Linkbeats, Linkbeat{Interface: d.Interface})
		}
		if d.syncOn != "" && l.cfg.Global.LVSSyncDaemon == nil {
			l.cfg.Global.LVSSyncDaemon = &SyncDaemon{Pos: d.Pos, Interface: d.syncOn, Instance: d.Machine.Name, ID: -1}
		}
	}
}

func (l *loader) completeInstance(d *instanceDraft) bool {
	m, g := &d.Machine, &l.vrrp.defaults
	fail := func(format string, args ...any) bool {
		l.report(d.Pos, Fatal, "(%s) %s", m.Name, fmt.Sprintf(format, args...))
		return false
	}
	if d.vrid == 0 {
		return fail("the virtual router id must be set: add virtual_router_id 1 to 255")
	}
	m.VRID = uint8(d.vrid)
	if d.Interface == "" {
		d.Interface = l.vrrp.ifDefault
	}
	l.family(d)
	if d.Interface == "" && (!d.unicast.v || !d.SourceAddr.IsValid()) {
		return fail("no interface: add interface NAME")
	}
	if d.SourceAddr.IsValid() && FamilyOf(d.SourceAddr) != d.Family {
		return fail("source address %s is not %s as its addresses are", d.SourceAddr, d.Family)
	}
	d.Strict = d.strict.or(false, g.strict)
	if !l.timing(d) || !l.standing(d) {
		return false
	}
	l.announcements(d)
	d.CheckUnicastSrc = d.checkSrc.or(false, g.checkSrc)
	d.SkipCheckAdvAddr = d.skipAddrs.or(false, g.skipAddrs)
	if d.plainSum.or(false, g.plainSum) {
		d.Checksum = vrrp.ChecksumPlain
	}
	m.LowerPrioNoAdvert = d.lowerNoAdvert.or(false, g.lowerNoAdvert)
	m.HigherPrioSendAdvert = d.higherAdvert.or(false, g.higherAdvert)
	m.OwnerIgnoreAdverts = d.ownerIgnores.or(false, g.ownerIgnores)
	d.Notify.PriorityChanges = d.priorityNotify.or(false, g.priorityNotify)
	d.Notify.SMTPAlert = d.smtp.or(l.cfg.Global.Mail.alertVRRP())
	d.NoAccept = !d.accept.or(!d.Strict) && m.Priority != vrrp.Owner
	if m.Version == 3 && d.Auth != vrrp.AuthNone {
		l.warn(d.Pos, "(%s) authentication is for version 2: ignored", m.Name)
		d.Auth = vrrp.AuthNone
	}
	if !l.completeHMAC(d) {
		return false
	}
	if d.Auth == vrrp.AuthAH && d.Family == IPv6 {
		return fail("auth_type AH is for IPv4: use version 3 without authentication")
	}
	if !l.destination(d) {
		return false
	}
	if !l.completeVMAC(d) {
		return false
	}
	if d.Strict {
		l.strict(d)
	}
	if len(d.Addrs) == 0 && !d.noVIP {
		if m.Version == 3 {
			return fail("version 3 needs an address: add virtual_ipaddress")
		}
		l.warn(d.Pos, "(%s) No VIP specified; at least one is recommended", m.Name)
	}
	m.Addrs = nil
	for _, a := range d.Addrs {
		m.Addrs = append(m.Addrs, a.Prefix.Addr())
		m.IgnoreDeletedAddress = m.IgnoreDeletedAddress || a.NoTrack
	}
	return true
}

// family is that of the first address; the others move to the excluded ones.
func (l *loader) family(d *instanceDraft) {
	switch {
	case len(d.Addrs) > 0:
		d.Family = d.Addrs[0].Family()
	case d.SourceAddr.IsValid():
		d.Family = FamilyOf(d.SourceAddr)
	case len(d.Peers) > 0:
		d.Family = FamilyOf(d.Peers[0].Addr)
	default:
		d.Family = IPv4
	}
	d.Addrs = slices.DeleteFunc(d.Addrs, func(a Address) bool {
		if a.Family() == d.Family {
			return false
		}
		l.warn(a.Pos, "(%s) %s is not %s as the first address is: ignored; put it into virtual_ipaddress_excluded", d.Machine.Name, a.Prefix, d.Family)
		return true
	})
	d.Peers = slices.DeleteFunc(d.Peers, func(p vrrp.Peer) bool {
		if FamilyOf(p.Addr) == d.Family {
			return false
		}
		l.warn(d.Pos, "(%s) unicast peer %s is not %s: ignored", d.Machine.Name, p.Addr, d.Family)
		return true
	})
}

// timing settles version and interval.
func (l *loader) timing(d *instanceDraft) bool {
	m := &d.Machine
	m.Version = d.version.or(max(l.vrrp.version, 2))
	if d.Family == IPv6 && m.Version == 2 {
		if d.version.set {
			l.warn(d.Pos, "(%s) version 2 has no IPv6: using version 3", m.Name)
		}
		m.Version = 3
	}
	m.Interval = d.interval.or(time.Second)
	limit, unit := 255*time.Second, time.Second
	if m.Version == 3 {
		limit, unit = 4095*10*time.Millisecond, 10*time.Millisecond
	}
	if m.Interval > limit || m.Interval%unit != 0 {
		was := m.Interval
		m.Interval = min(limit, max(unit, m.Interval.Round(unit)))
		l.warn(d.Pos, "(%s) advert_int %s: version %d needs a multiple of %s up to %s: using %s", m.Name, plainSeconds(was), m.Version, plainSeconds(unit), plainSeconds(limit), plainSeconds(m.Interval))
	}
	m.DownTimerAdverts = d.downAdverts.or(3, l.vrrp.defaults.downAdverts)
	return true
}

// standing settles priority, initial state and preemption.
func (l *loader) standing(d *instanceDraft) bool {
	m := &d.Machine
	priority := 100
	if d.master.v && d.Auth == vrrp.AuthAH && m.Version != 3 {
		l.warn(d.master.at, "(%s) Initial state master is incompatible with AH authentication - clearing: write 'state BACKUP'", m.Name)
		d.master = opt[bool]{}
	}
	if d.master.v && d.Strict {
		priority = vrrp.Owner
	}
	m.Priority = uint8(d.priority.or(priority))
	d.WantMaster = d.master.or(m.Priority == vrrp.Owner)
	m.NoPreempt = d.noPreempt.v
	if d.WantMaster && m.NoPreempt {
		l.warn(d.Pos, "(%s) Warning - nopreempt will not work with initial state MASTER - clearing", m.Name)
		m.NoPreempt = false
	}
	if m.PreemptDelay > 0 && (m.NoPreempt || d.WantMaster) {
		l.warn(d.Pos, "(%s) Warning - preempt delay will not work with initial state MASTER or nopreempt - clearing", m.Name)
		m.PreemptDelay = 0
	}
	return true
}

func (l *loader) announcements(d *instanceDraft) {
	m, g := &d.Machine, &l.vrrp.defaults
	delay, repeat := 5*time.Second, 5
	if d.minGARP.or(false, g.minGARP) {
		delay, repeat = 0, 1
	}
	m.GARPMasterDelay = d.garpDelay.or(delay, g.garpDelay)
	m.GARPMasterRepeat = max(1, d.garpRepeat.or(repeat, g.garpRepeat))
	m.GARPMasterRefresh = d.garpRefresh.or(0, g.garpRefresh)
	m.GARPRefreshRepeat = max(1, d.refreshRepeat.or(1, g.refreshRepeat))
	m.GARPLowerPrioDelay = d.lowerDelay.or(m.GARPMasterDelay, g.lowerDelay)
	m.GARPLowerPrioRepeat = d.lowerRepeat.or(m.GARPMasterRepeat, g.lowerRepeat)
	d.GARPExtra = d.garpExtra.or(0, g.garpExtra)
	d.GARPExtraAll = d.garpExtraAll.or(false, g.garpExtraAll)
}

// destination settles where advertisements go.
func (l *loader) destination(d *instanceDraft) bool {
	m := &d.Machine
	d.Unicast = d.unicast.v
	if d.Unicast && len(d.Peers) == 0 && !d.FaultNoPeer {
		l.warn(d.Pos, "(%s) unicast_peer is empty: multicast is used; this fall-back is deprecated", m.Name)
		d.Unicast = false
	}
	if d.Unicast {
		return true
	}
	group := map[Family]netip.Addr{IPv4: vrrp.MulticastIPv4, IPv6: vrrp.MulticastIPv6}[d.Family]
	if g := map[Family]netip.Addr{IPv4: l.vrrp.mcast4, IPv6: l.vrrp.mcast6}[d.Family]; g.IsValid() {
		group = g
	}
	if !d.Multicast.IsValid() {
		d.Multicast = group
	}
	if FamilyOf(d.Multicast) != d.Family {
		l.error(d.Pos, "(%s) mcast_dst_ip %s is not %s as its addresses are", m.Name, d.Multicast, d.Family)
		return false
	}
	return true
}

// strict takes back what RFC 3768 and RFC 5798 do not know, but for unicast, which
// keepalived 2.2.7 and 2.3.3 let pass.
func (l *loader) strict(d *instanceDraft) {
	m := &d.Machine
	say := func(what string) { l.warn(d.Pos, "(%s) Strict mode: %s", m.Name, what) }
	if d.Auth != vrrp.AuthNone {
		say("authentication is not allowed: resetting")
		d.Auth = vrrp.AuthNone
	}
	if m.PreemptDelay != 0 {
		say("preempt_delay is not allowed: resetting")
		m.PreemptDelay = 0
	}
	if m.DownTimerAdverts != 3 {
		say("down_timer_adverts must be 3: resetting")
		m.DownTimerAdverts = 3
	}
	if m.HigherPrioSendAdvert {
		say("higher_prio_send_advert is not allowed: resetting")
	}
	// RFC 3768 and RFC 5798 6.4.3: a master only discards what is lower.
	m.LowerPrioNoAdvert, m.HigherPrioSendAdvert = true, false
	m.GARPLowerPrioRepeat = 0
	m.OwnerIgnoreAdverts = m.Priority == vrrp.Owner
	switch owner := m.Priority == vrrp.Owner; {
	case d.WantMaster && !owner:
		say("initial state MASTER is for priority 255: using BACKUP")
		d.WantMaster = false
	case !d.WantMaster && owner:
		d.WantMaster = true
	}
	if m.Version == 2 && d.accept.v {
		say("version 2 has no accept: resetting")
		d.NoAccept = m.Priority != vrrp.Owner
	}
	if d.VMAC != nil && d.VMAC.OwnMAC {
		say("use_vmac with an address of its own is not allowed: using the virtual router's")
		d.VMAC.OwnMAC = false
	}
}

// garpGroupKeywords of garp_group.
type garpGroup struct {
	LinkInterval
	links []string
}

var garpGroupKeywords = keywords[garpGroup]{
	"garp_interval": secondsInto(tick, longTime, func(g *garpGroup, v time.Duration) { g.GARP = v }),
	"gna_interval":  secondsInto(tick, longTime, func(g *garpGroup, v time.Duration) { g.GNA = v }),
	"interface":     stringInto(func(g *garpGroup, v string) { g.links = append(g.links, v) }),
	"interfaces": {block: true, read: func(_ *loader, n *parser.Node, g *garpGroup) {
		g.links = append(g.links, listWords(n)...)
	}},
}

func readGARPGroup(l *loader, n *parser.Node, c *Config) {
	var g garpGroup
	walk(l, n.Children, "garp_group", garpGroupKeywords, &g)
	if len(g.links) == 0 {
		l.warn(n.Pos(), "garp_group without interface: ignored")
		return
	}
	if c.Global.VRRP.LinkIntervals == nil {
		c.Global.VRRP.LinkIntervals = map[string]LinkInterval{}
	}
	for _, link := range g.links {
		c.Global.VRRP.LinkIntervals[link] = g.LinkInterval
	}
}

// listWords are the words of a block that is one list, however it breaks its lines.
func listWords(n *parser.Node) []string {
	var out []string
	for _, c := range n.Children {
		for _, w := range c.Words {
			out = append(out, w.Text)
		}
	}
	return out
}

// groupDraft is a vrrp_sync_group while it is read.
type groupDraft struct {
	SyncGroup
	track trackDraft
	smtp  opt[bool]
}

var groupKeywords = keywords[groupDraft]{
	"group": {block: true, read: func(_ *loader, n *parser.Node, g *groupDraft) {
		g.Members = append(g.Members, listWords(n)...)
	}},
	"sync_group_tracking_weight": flagInto(func(g *groupDraft) { g.TrackingWeight = true }),
	"global_tracking":            flagInto(func(*groupDraft) {}),
	"smtp_alert":                 boolInto(func(g *groupDraft, v bool) { g.smtp.put(v) }),
	"notify_priority_changes":    boolInto(func(g *groupDraft, v bool) { g.Notify.PriorityChanges = v }),
	"notify_master":              scriptInto(func(g *groupDraft) *Script { return &g.Notify.Master }),
	"notify_backup":              scriptInto(func(g *groupDraft) *Script { return &g.Notify.Backup }),
	"notify_fault":               scriptInto(func(g *groupDraft) *Script { return &g.Notify.Fault }),
	"notify_stop":                scriptInto(func(g *groupDraft) *Script { return &g.Notify.Stop }),
	"notify":                     scriptInto(func(g *groupDraft) *Script { return &g.Notify.Any }),
}.with(trackKeywords(func(g *groupDraft) *trackDraft { return &g.track }))

func readSyncGroup(l *loader, n *parser.Node, _ *Config) {
	name, ok := l.word(n, 1, "name of the group")
	if !ok {
		return
	}
	for _, g := range l.vrrp.groups {
		if g.Name == name {
			l.warn(n.ArgPos(1), "vrrp_sync_group %s is already defined at line %d of %s: this one is ignored", name, g.Pos.Line, g.Pos.File)
			return
		}
	}
	g := &groupDraft{SyncGroup: SyncGroup{Pos: n.Pos(), Name: name}}
	walk(l, n.Children, "vrrp_sync_group", groupKeywords, g)
	l.vrrp.groups = append(l.vrrp.groups, g)
}

// implied tracks the other links that addresses, routes and rules are bound to,
// without weight whatever track_interface says, as the original does.
func (d *Instance) implied() {
	add := func(link string, noTrack bool) {
		if link == "" || link == d.Interface || noTrack {
			return
		}
		is := func(x Tracked) bool { return x.Name == link }
		if i := slices.IndexFunc(d.Track.Interfaces, is); i >= 0 {
			d.Track.Interfaces[i] = Tracked{Name: link, Implied: d.Track.Interfaces[i].Implied}
		} else {
			d.Track.Interfaces = append(d.Track.Interfaces, Tracked{Name: link, Implied: true})
		}
	}
	for _, a := range append(slices.Clone(d.Addrs), d.Excluded...) {
		add(a.Interface, a.NoTrack)
	}
	for _, r := range d.Routes {
		add(r.Interface, r.NoTrack)
	}
	for _, r := range d.Rules {
		add(r.In, r.NoTrack)
		add(r.Out, r.NoTrack)
	}
}

// dropWeights takes from a member what would give it a priority of its own: as
// the original does, scripts and BFD sessions with a weight altogether, and the
// weight of the rest.
func (l *loader) dropWeights(d *Instance, group string) {
	drop := func(list []Tracked, kind string) []Tracked {
		return slices.DeleteFunc(list, func(x Tracked) bool {
			if x.Weight != 0 {
				l.warn(d.Pos, "(%s) ignoring tracked %s %s with weights due to SYNC group %s; write sync_group_tracking_weight there to have them", d.Machine.Name, kind, x.Name, group)
			}
			return x.Weight != 0
		})
	}
	d.Track.Scripts = drop(d.Track.Scripts, "script")
	d.Track.Sessions = drop(d.Track.Sessions, "bfd")
	for kind, list := range map[string][]Tracked{"interface": d.Track.Interfaces, "file": d.Track.Files, "process": d.Track.Processes} {
		for i := range list {
			if list[i].Weight != 0 {
				l.warn(d.Pos, "(%s) ignoring weight from tracked %s %s due to SYNC group %s: it counts as weight 0", d.Machine.Name, kind, list[i].Name, group)
				list[i].Weight = 0
			}
		}
	}
}

// finishGroups drops members that do not exist, and groups without any.
func (l *loader) finishGroups() {
	in := map[string]string{}
	for _, g := range l.vrrp.groups {
		g.Members = slices.DeleteFunc(g.Members, func(m string) bool {
			d, ok := l.vrrp.byName[m]
			switch other, taken := in[m]; {
			case !ok:
				l.error(g.Pos, "vrrp_sync_group %s: no such vrrp_instance %s%s", g.Name, m, defined(maps.Keys(l.vrrp.byName)))
			case d.broken:
			case taken:
				l.warn(g.Pos, "vrrp_sync_group %s: %s is already in group %s: ignored here", g.Name, m, other)
			default:
				in[m] = g.Name
				return false
			}
			return true
		})
		switch len(g.Members) {
		case 0:
			l.warn(g.Pos, "vrrp_sync_group %s has no members: ignored", g.Name)
			continue
		case 1:
			l.warn(g.Pos, "vrrp_sync_group %s has one member only", g.Name)
		}
		for i := range l.cfg.VRRP.Instances {
			if d := &l.cfg.VRRP.Instances[i]; slices.Contains(g.Members, d.Machine.Name) {
				d.Machine.SyncTrackingWeight = g.TrackingWeight
				if !d.Machine.SyncTrackingWeight {
					l.dropWeights(d, g.Name)
				}
			}
		}
		g.Notify.SMTPAlert = g.smtp.or(l.cfg.Global.Mail.alertVRRP())
		g.Track = l.resolveTrack(&g.track, g.Name)
		l.cfg.VRRP.Groups = append(l.cfg.VRRP.Groups, g.SyncGroup)
	}
}
