// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"
	"maps"
	"math"
	"net/netip"
	"strings"
	"time"

	"github.com/lvs-fnat/lvs/parser"
)

// trackedDraft is a line of a track_ block: what it does not say comes from the
// object it names.
type trackedDraft struct {
	name    string
	at      Pos
	weight  opt[int]
	reverse opt[bool]
}

// trackDraft are the track_ blocks of an instance or group.
type trackDraft struct {
	interfaces, scripts, files, processes, sessions []trackedDraft
}

// trackNames are the objects that the whole file defines.
type trackNames struct {
	scripts   map[string]*TrackScript
	files     map[string]*TrackFile
	processes map[string]*TrackProcess
	used      map[string]bool // kind and name
	// out are scripts that cannot run: nothing is tracked by them.
	out map[string]bool
}

const (
	weightMax     = 253
	fileWeightMax = 254
)

func trackKeywords[T any](of func(*T) *trackDraft) keywords[T] {
	list := func(limit int64, field func(*trackDraft) *[]trackedDraft) keyword[T] {
		return keyword[T]{block: true, read: func(l *loader, n *parser.Node, t *T) {
			to := field(of(t))
			for _, c := range n.Children {
				if d := (trackedDraft{name: c.Key(), at: c.Pos()}); d.name != "" && l.trackedWords(c, &d, limit) {
					*to = append(*to, d)
				}
			}
		}}
	}
	return keywords[T]{
		"track_interface": list(weightMax, func(d *trackDraft) *[]trackedDraft { return &d.interfaces }),
		"track_script":    list(weightMax, func(d *trackDraft) *[]trackedDraft { return &d.scripts }),
		"track_file":      list(fileWeightMax, func(d *trackDraft) *[]trackedDraft { return &d.files }),
		"track_process":   list(fileWeightMax, func(d *trackDraft) *[]trackedDraft { return &d.processes }),
		"track_bfd":       list(weightMax, func(d *trackDraft) *[]trackedDraft { return &d.sessions }),
	}
}

// trackedWords reads [weight N] [reverse|noreverse] behind a name.
func (l *loader) trackedWords(n *parser.Node, d *trackedDraft, limit int64) bool {
	for w := (words{l: l, n: n}); w.next(); {
		switch key := w.key(); key {
		case "weight":
			v, ok := w.number(-limit, limit)
			if !ok {
				return false
			}
			d.weight.put(int(v))
		case "reverse", "noreverse":
			d.reverse.put(key == "reverse")
		default:
			l.error(w.at(), "unknown word '%s' behind %s: expected weight NUMBER or reverse; one object a line", key, d.name)
			return false
		}
	}
	return true
}

// weightWords reads the value of weight: NUMBER [reverse].
func weightWords[T any](limit int64, set func(*T, int, bool)) keyword[T] {
	return keyword[T]{read: func(l *loader, n *parser.Node, to *T) {
		if v, reverse, ok := l.trackWeight(n, 1, limit); ok {
			set(to, v, reverse)
		}
	}}
}

const scriptTimeMax = 4294 * time.Second

var trackScriptCommand = scriptInto(func(s *TrackScript) *Script { return &s.Script })

var trackScriptKeywords = keywords[TrackScript]{
	// Who runs it has a line of its own, before this one or behind it; words behind the command are passed over.
	"script": {read: func(l *loader, n *parser.Node, s *TrackScript) {
		user, group := s.Script.User, s.Script.Group
		trackScriptCommand.read(l, n, s)
		s.Script.User, s.Script.Group = user, group
	}},
	"interval":  secondsInto(time.Millisecond, scriptTimeMax, func(s *TrackScript, v time.Duration) { s.Interval = v }),
	"timeout":   secondsInto(time.Millisecond, scriptTimeMax, func(s *TrackScript, v time.Duration) { s.Timeout = v }),
	"weight":    weightWords(weightMax, func(s *TrackScript, v int, r bool) { s.Weight, s.Reverse = v, r }),
	"rise":      intInto(1, math.MaxInt32, func(s *TrackScript, v int) { s.Rise = v }),
	"fall":      intInto(1, math.MaxInt32, func(s *TrackScript, v int) { s.Fall = v }),
	"init_fail": flagInto(func(s *TrackScript) { s.InitFail = true }),
	"user": {read: func(l *loader, n *parser.Node, s *TrackScript) {
		if v, ok := l.word(n, 1, "user"); ok {
			s.Script.User, s.Script.Group = v, n.Arg(2)
		}
	}},
}

func readTrackScript(l *loader, n *parser.Node, _ *Config) {
	name, ok := l.word(n, 1, "name of the script")
	if !ok {
		return
	}
	s := &TrackScript{Pos: n.Pos(), Name: name, Interval: time.Second, Rise: 1, Fall: 1}
	walk(l, n.Children, "vrrp_script", trackScriptKeywords, s)
	if s.Timeout == 0 {
		s.Timeout = s.Interval
	}
	if s.Script.Command == "" {
		l.warn(s.Pos, "vrrp_script %s has no script: ignored", name)
		return
	}
	l.vrrp.scripts = append(l.vrrp.scripts, s)
}

var trackProcessKeywords = keywords[TrackProcess]{
	"process": {read: func(l *loader, n *parser.Node, p *TrackProcess) {
		words, err := parser.Unquote(n.Raw)
		if err != nil {
			l.error(n.ArgPos(1), "process: %v", err)
			return
		}
		if len(words) == 0 {
			l.error(n.Pos(), "process: name missing")
			return
		}
		p.Process, p.Params = words[0], words[1:]
		if len(p.Params) > 0 && p.ParamMatch == "" {
			p.ParamMatch = "exact"
		}
	}},
	"param_match": {read: func(l *loader, n *parser.Node, p *TrackProcess) {
		if p.ParamMatch = "exact"; len(n.Words) > 1 {
			if k, ok := l.oneOf(n, 1, "initial", "partial"); ok {
				p.ParamMatch = [...]string{"initial", "partial"}[k]
			}
		}
	}},
	"weight":          weightWords(fileWeightMax, func(p *TrackProcess, v int, r bool) { p.Weight, p.Reverse = v, r }),
	"quorum":          intInto(1, 65535, func(p *TrackProcess, v int) { p.Quorum = v }),
	"quorum_max":      intInto(0, 65535, func(p *TrackProcess, v int) { p.QuorumMax = v }),
	"full_command":    flagInto(func(p *TrackProcess) { p.FullCommand = true }),
	"delay":           secondsInto(tick, time.Hour, func(p *TrackProcess, v time.Duration) { p.TerminateDelay, p.ForkDelay = v, v }),
	"terminate_delay": secondsInto(tick, time.Hour, func(p *TrackProcess, v time.Duration) { p.TerminateDelay = v }),
	"fork_delay":      secondsInto(tick, time.Hour, func(p *TrackProcess, v time.Duration) { p.ForkDelay = v }),
}

func readTrackProcess(l *loader, n *parser.Node, _ *Config) {
	name, ok := l.word(n, 1, "name of the process")
	if !ok {
		return
	}
	p := &TrackProcess{Pos: n.Pos(), Name: name, Quorum: 1, QuorumMax: 65535}
	walk(l, n.Children, "vrrp_track_process", trackProcessKeywords, p)
	if p.Process == "" {
		l.warn(p.Pos, "vrrp_track_process %s has no process: ignored", name)
		return
	}
	l.vrrp.processes = append(l.vrrp.processes, p)
}

// resolveTrack finds what the lines name; owner is the instance or group.
func (l *loader) resolveTrack(d *trackDraft, owner string) Track {
	names := l.trackNames()
	var t Track
	for _, x := range d.interfaces {
		t.Interfaces = append(t.Interfaces, Tracked{Name: x.name, Weight: x.weight.or(0), Reverse: x.reverse.or(false)})
	}
	for _, x := range d.scripts {
		if names.out[x.name] {
			continue
		}
		s, ok := names.scripts[x.name]
		if !ok {
			l.error(x.at, "(%s) track_script %s: no such vrrp_script%s", owner, x.name, defined(maps.Keys(names.scripts)))
			continue
		}
		names.used["script "+x.name] = true
		t.Scripts = append(t.Scripts, Tracked{Name: x.name, Weight: x.weight.or(s.Weight), Reverse: x.reverse.or(s.Reverse)})
	}
	for _, x := range d.files {
		f, ok := names.files[x.name]
		if !ok {
			l.error(x.at, "(%s) track_file %s: no such track_file block%s", owner, x.name, defined(maps.Keys(names.files)))
			continue
		}
		t.Files = append(t.Files, Tracked{Name: x.name, Weight: x.weight.or(f.Weight), Reverse: x.reverse.or(f.Reverse)})
	}
	for _, x := range d.processes {
		p, ok := names.processes[x.name]
		if !ok {
			l.error(x.at, "(%s) track_process %s: no such vrrp_track_process%s", owner, x.name, defined(maps.Keys(names.processes)))
			continue
		}
		names.used["process "+x.name] = true
		t.Processes = append(t.Processes, Tracked{Name: x.name, Weight: x.weight.or(p.Weight), Reverse: x.reverse.or(p.Reverse)})
	}
	for _, x := range d.sessions {
		if b := l.session(x.name, x.at, "("+owner+") track_bfd", func(b *BFDInstance) bool { return b.VRRP }); b != nil {
			t.Sessions = append(t.Sessions, Tracked{Name: x.name, Weight: x.weight.or(b.Weight), Reverse: x.reverse.or(b.Reverse)})
		}
	}
	return t
}

func (l *loader) trackNames() *trackNames {
	if l.tracks != nil {
		return l.tracks
	}
	t := &trackNames{map[string]*TrackScript{}, map[string]*TrackFile{}, map[string]*TrackProcess{}, map[string]bool{}, map[string]bool{}}
	for _, s := range l.vrrp.scripts {
		if l.ownerless(s.Script.User) {
			l.warn(s.Pos, "vrrp_script %s is left out: %s", s.Name, ownerlessRemedy)
			t.out[s.Name] = true
			continue
		}
		if why := cmp.Or(l.nobody(s.Script), l.unfit(s.Script)); why != "" {
			l.warn(s.Pos, "Disabling track script %s %s", s.Name, why)
			t.out[s.Name] = true
			continue
		}
		first(l, t.scripts, s.Name, s, s.Pos, "vrrp_script")
	}
	for i := range l.cfg.TrackFiles {
		t.files[l.cfg.TrackFiles[i].Name] = &l.cfg.TrackFiles[i]
	}
	for _, p := range l.vrrp.processes {
		first(l, t.processes, p.Name, p, p.Pos, "vrrp_track_process")
	}
	l.tracks = t
	return t
}

func first[T any](l *loader, m map[string]T, name string, v T, at Pos, kind string) {
	if _, dup := m[name]; dup {
		l.warn(at, "%s %s is already defined: this one is ignored", kind, name)
		return
	}
	m[name] = v
}

// finishTrack keeps what somebody tracks.
func (l *loader) finishTrack() {
	names, out := l.trackNames(), &l.cfg.VRRP
	unused := func(at Pos, kind, name string) { l.warn(at, "%s %s is not used: ignored", kind, name) }
	for _, s := range l.vrrp.scripts {
		switch {
		case names.scripts[s.Name] != s:
		case names.used["script "+s.Name]:
			out.Scripts = append(out.Scripts, *s)
		default:
			unused(s.Pos, "vrrp_script", s.Name)
		}
	}
	for _, p := range l.vrrp.processes {
		switch {
		case names.processes[p.Name] != p:
		case names.used["process "+p.Name]:
			out.Processes = append(out.Processes, *p)
		default:
			unused(p.Pos, "vrrp_track_process", p.Name)
		}
	}
}

// readLinkDelays takes lines of IFNAME DOWN [UP], in seconds.
func readLinkDelays(l *loader, n *parser.Node, c *Config) {
	for _, line := range n.Children {
		down, ok := l.seconds(line, 1, 0, 255*time.Second)
		if !ok {
			continue
		}
		d := LinkDelay{Interface: line.Key(), Down: down}
		if len(line.Words) > 2 {
			if d.Up, ok = l.seconds(line, 2, 0, 255*time.Second); !ok {
				continue
			}
		}
		c.VRRP.Delays = append(c.VRRP.Delays, d)
	}
}

// vrrpRoots are the blocks of virtual routers.
var vrrpRoots = func() keywords[Config] {
	for w, k := range vrrpBlocks {
		read := k.read
		k.read = func(l *loader, n *parser.Node, c *Config) {
			defer l.noteFaults(&l.cfg.VRRP.Faults, len(l.diags))
			read(l, n, c)
		}
		vrrpBlocks[w] = k
	}
	return vrrpBlocks
}()

var vrrpBlocks = keywords[Config]{
	"vrrp_instance":        {block: true, read: readInstance},
	"vrrp_sync_group":      {block: true, read: readSyncGroup},
	"vrrp_script":          {block: true, read: readTrackScript},
	"vrrp_track_process":   {block: true, read: readTrackProcess},
	"garp_group":           {block: true, read: readGARPGroup},
	"track_group":          {block: true, read: readTrackGroup},
	"linkbeat_interfaces":  {block: true, read: readLinkbeats},
	"linkbeat_use_polling": {read: readLinkbeat},
	"static_ipaddress": {block: true, read: func(l *loader, n *parser.Node, c *Config) {
		readAddresses(l, n, &c.VRRP.Static.Addrs)
	}},
	"static_routes":            {block: true, read: func(l *loader, n *parser.Node, c *Config) { readRoutes(l, n, &c.VRRP.Static.Routes) }},
	"static_rules":             {block: true, read: func(l *loader, n *parser.Node, c *Config) { readRules(l, n, &c.VRRP.Static.Rules) }},
	"interface_up_down_delays": {block: true, read: readLinkDelays},
}

// vrrpGlobals are the words of global_defs for virtual routers.
func vrrpGlobals() keywords[Global] {
	k := keywords[Global]{
		"vrrp_version": {read: func(l *loader, n *parser.Node, _ *Global) {
			if v, ok := l.int(n, 1, 2, 3); ok {
				l.vrrp.version = int(v)
			}
		}},
		"vrrp_mcast_group4": {read: func(l *loader, n *parser.Node, _ *Global) {
			readGroupAddr(func(d *vrrpDraft) *netip.Addr { return &d.mcast4 })(l, n, &l.vrrp)
		}},
		"vrrp_mcast_group6": {read: func(l *loader, n *parser.Node, _ *Global) {
			readGroupAddr(func(d *vrrpDraft) *netip.Addr { return &d.mcast6 })(l, n, &l.vrrp)
		}},
		"vrrp_strict":                         {read: func(l *loader, _ *parser.Node, _ *Global) { l.vrrp.defaults.strict.put(true) }},
		"vrrp_min_garp":                       {read: func(l *loader, n *parser.Node, _ *Global) { l.vrrpBool(n, &l.vrrp.defaults.minGARP) }},
		"default_interface":                   {read: func(l *loader, n *parser.Node, _ *Global) { l.vrrp.ifDefault, _ = l.word(n, 1, "interface") }},
		"vrrp_garp_interval":                  secondsInto(tick, longTime, func(g *Global, v time.Duration) { g.VRRP.GARPInterval = v }),
		"vrrp_gna_interval":                   secondsInto(tick, longTime, func(g *Global, v time.Duration) { g.VRRP.GNAInterval = v }),
		"vrrp_startup_delay":                  secondsInto(time.Millisecond, longestConnect, func(g *Global, v time.Duration) { g.VRRP.StartupDelay = v }),
		"vrrp_delay_after_boot":               secondsInto(time.Millisecond, longestConnect, func(g *Global, v time.Duration) { g.VRRP.DelayAfterBoot = v }),
		"dynamic_interfaces":                  {read: func(_ *loader, _ *parser.Node, g *Global) { g.VRRP.DynamicInterfaces = true }},
		"log_unknown_vrids":                   flagInto(func(g *Global) { g.VRRP.LogUnknownVRIDs = true }),
		"disable_local_igmp":                  flagInto(func(g *Global) { g.VRRP.DisableLocalIGMP = true }),
		"vrrp_netlink_cmd_rcv_bufs":           intInto(1, math.MaxInt32, func(g *Global, v int) { g.VRRP.Netlink.Command = v }),
		"vrrp_netlink_cmd_rcv_bufs_force":     boolInto(func(g *Global, v bool) { g.VRRP.Netlink.CommandForce = v }),
		"vrrp_netlink_monitor_rcv_bufs":       intInto(1, math.MaxInt32, func(g *Global, v int) { g.VRRP.Netlink.Monitor = v }),
		"vrrp_netlink_monitor_rcv_bufs_force": boolInto(func(g *Global, v bool) { g.VRRP.Netlink.MonitorForce = v }),
		"vrrp_rx_bufs_policy":                 {read: readRxPolicy},
		"vrrp_rx_bufs_multiplier":             intInto(1, math.MaxInt32, func(g *Global, v int) { g.VRRP.RxBufs.Multiplier = v }),
		"vmac_prefix":                         prefixInto(func(g *VRRPGlobal) *string { return &g.VMACPrefix }),
		"vmac_addr_prefix":                    prefixInto(func(g *VRRPGlobal) *string { return &g.VMACAddrPrefix }),
	}
	k.with(keywords[Global]{
		"nftables": {read: func(_ *loader, n *parser.Node, g *Global) {
			if n.Arg(1) != "" {
				g.VRRP.Firewall.Table = n.Arg(1)
			}
		}},
		"nftables_priority": intInto(math.MinInt32, math.MaxInt32, func(g *Global, v int) { g.VRRP.Firewall.Priority = v }),
		// The Debian package is built without iptables, too.
		"vrrp_iptables":     {read: useNFTables},
		"vrrp_ipsets":       {read: useNFTables},
		"nftables_counters": flagInto(func(g *Global) { g.VRRP.Firewall.Counters = true }),
		"nftables_ifindex":  flagInto(func(g *Global) { g.VRRP.Firewall.ByIndex = true }),
	})
	k.with(defaultKeywords("vrrp_", func(l *loader, _ *Global) *vrrpDefaults { return &l.vrrp.defaults }))
	return k
}

// useNFTables says that what is asked of iptables is done by nftables.
func useNFTables(l *loader, n *parser.Node, _ *Global) {
	l.note(n.Pos(), "iptables", "iptables not supported, using nftables instead. Please replace 'vrrp_iptables and 'vrrp_ipsets' with 'nftables' config option")
}

// readRxPolicy takes MTU, ADVERT or bytes.
func readRxPolicy(l *loader, n *parser.Node, g *Global) {
	v, ok := l.word(n, 1, "MTU, ADVERT or bytes")
	if !ok {
		return
	}
	r := &g.VRRP.RxBufs
	switch strings.ToUpper(v) {
	case "MTU":
		r.Policy = RxMTU
	case "ADVERT":
		r.Policy = RxAdvert
	default:
		if size, ok := l.int(n, 1, 1, math.MaxInt32); ok {
			r.Policy, r.Size = RxSize, int(size)
		}
	}
}

func (l *loader) vrrpBool(n *parser.Node, to *opt[bool]) {
	if v, ok := l.bool(n, 1); ok {
		to.put(v)
	}
}
