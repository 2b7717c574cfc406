// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/vrrp"
)

// The forms of all dumps are those of keepalived: monitoring parses them.

// WriteStats writes the counters of all instances, and sets them to zero after
// it if clear is set. The loop calls it, or [Engine.Do].
func (e *Engine) WriteStats(w io.Writer, clear bool) error {
	var b strings.Builder
	for _, in := range e.instances() {
		c, t := &in.accept.Counters, in.m.Totals()
		fmt.Fprintf(&b, `VRRP Instance: %s
  Advertisements:
    Received: %d
    Sent: %d
  Became master: %d
  Released master: %d
  Packet Errors:
    Length: %d
    TTL: %d
    Invalid Type: %d
    Advertisement Interval: %d
    Address List: %d
  Authentication Errors:
    Invalid Type: %d
    Type Mismatch: %d
    Failure: %d
  Priority Zero:
    Received: %d
    Sent: %d
`, in.name(), c.Received, t.Sent, t.BecameMaster, t.ReleasedMaster, c.Length, c.TTL, c.Type, c.Interval, c.Addrs,
			c.AuthType, c.AuthMatch, c.AuthFailure, c.PriorityZero, t.PriorityZeroSent)
		if clear {
			in.accept.Counters = vrrp.Counters{}
			in.m.ClearTotals()
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// jsonInstance is one element of the JSON dump.
type jsonInstance struct {
	Data  jsonData  `json:"data"`
	Stats jsonStats `json:"stats"`
}

type jsonData struct {
	Name             string   `json:"iname"`
	NoTrackPrimary   int      `json:"dont_track_primary"`
	SkipCheckAdvAddr int      `json:"skip_check_adv_addr"`
	Strict           int      `json:"strict_mode"`
	VMAC             string   `json:"vmac_ifname"`
	Interface        string   `json:"ifp_ifname"`
	MasterPriority   int      `json:"master_priority"`
	LastTransition   float64  `json:"last_transition"`
	GARPDelay        float64  `json:"garp_delay"`
	GARPRefresh      float64  `json:"garp_refresh"`
	GARPRep          int      `json:"garp_rep"`
	GARPRefreshRep   int      `json:"garp_refresh_rep"`
	GARPLowerDelay   float64  `json:"garp_lower_prio_delay"`
	GARPLowerRep     int      `json:"garp_lower_prio_rep"`
	LowerNoAdvert    int      `json:"lower_prio_no_advert"`
	HigherSendAdvert int      `json:"higher_prio_send_advert"`
	VRID             int      `json:"vrid"`
	BasePriority     int      `json:"base_priority"`
	Priority         int      `json:"effective_priority"`
	VIPSet           bool     `json:"vipset"`
	Promote          bool     `json:"promote_secondaries"`
	Interval         float64  `json:"adver_int"`
	MasterInterval   float64  `json:"master_adver_int"`
	Accept           int      `json:"accept"`
	NoPreempt        bool     `json:"nopreempt"`
	PreemptDelay     float64  `json:"preempt_delay"`
	State            int      `json:"state"`
	WantState        int      `json:"wantstate"`
	Version          int      `json:"version"`
	SMTPAlert        bool     `json:"smtp_alert"`
	NotifyDeleted    bool     `json:"notify_deleted"`
	ScriptBackup     string   `json:"script_backup,omitempty"`
	ScriptMaster     string   `json:"script_master,omitempty"`
	ScriptFault      string   `json:"script_fault,omitempty"`
	ScriptStop       string   `json:"script_stop,omitempty"`
	ScriptDeleted    string   `json:"script_deleted,omitempty"`
	Script           string   `json:"script,omitempty"`
	ScriptRxLower    string   `json:"script_master_rx_lower_pri,omitempty"`
	VIPs             []string `json:"vips,omitempty"`
	EVIPs            []string `json:"evips,omitempty"`
	Routes           []string `json:"vroutes,omitempty"`
	Rules            []string `json:"vrules,omitempty"`
	TrackInterfaces  []string `json:"track_ifp,omitempty"`
	TrackScripts     []string `json:"track_script,omitempty"`
	TrackProcesses   []string `json:"track_process,omitempty"`
	AuthType         int      `json:"auth_type"`
	AuthData         string   `json:"auth_data,omitempty"`
}

type jsonStats struct {
	Received         uint64 `json:"advert_rcvd"`
	Sent             uint64 `json:"advert_sent"`
	BecomeMaster     uint64 `json:"become_master"`
	ReleaseMaster    uint64 `json:"release_master"`
	Length           uint64 `json:"packet_len_err"`
	Interval         uint64 `json:"advert_interval_err"`
	TTL              uint64 `json:"ip_ttl_err"`
	Type             uint64 `json:"invalid_type_rcvd"`
	Addrs            uint64 `json:"addr_list_err"`
	AuthType         uint64 `json:"invalid_authtype"`
	AuthMatch        uint64 `json:"authtype_mismatch"`
	AuthFailure      uint64 `json:"auth_failure"`
	PriorityZero     uint64 `json:"pri_zero_rcvd"`
	PriorityZeroSent uint64 `json:"pri_zero_sent"`
}

// jsonProcess is as keepalived 2.3.3 has it; it knows each by its name in the file.
type jsonProcess struct {
	Name           string  `json:"process"`
	Params         string  `json:"parameters,omitempty"`
	ParamMatch     string  `json:"param_match"`
	Quorum         int     `json:"min_processes"`
	QuorumMax      int     `json:"max_processes,omitempty"`
	Count          int     `json:"current_processes"`
	Up             bool    `json:"have_quorum"`
	Weight         int     `json:"weight"`
	TerminateDelay float64 `json:"terminate_delay"`
	ForkDelay      float64 `json:"fork_delay"`
	Forking        bool    `json:"fork_delay_timer_running"`
	Terminating    bool    `json:"terminate_delay_timer_running"`
	FullCommand    bool    `json:"full_command"`
}

// anyNumber is quorum_max where none is set.
const anyNumber = 65535

// json is the process as the dump has it.
func (s *processState) json() jsonProcess {
	cfg, waits := &s.cfg, !s.since.IsZero()
	p := jsonProcess{
		Name: cfg.Name, Params: strings.Join(cfg.Params, " "), ParamMatch: cmp.Or(cfg.ParamMatch, "none"), Quorum: cfg.Quorum,
		Count: s.count, Up: s.up, Weight: cfg.Weight, TerminateDelay: cfg.TerminateDelay.Seconds(), ForkDelay: cfg.ForkDelay.Seconds(),
		Forking: waits && !s.up, Terminating: waits && s.up, FullCommand: cfg.FullCommand,
	}
	if cfg.QuorumMax < anyNumber {
		p.QuorumMax = cfg.QuorumMax
	}
	return p
}

// hidden stands for a password: a dump is for monitoring.
const hidden = "********"

// WriteJSON writes all instances; version 2 has them in an object, beside the
// tracked processes.
func (e *Engine) WriteJSON(w io.Writer, version int) error {
	list := []jsonInstance{}
	for _, in := range e.instances() {
		list = append(list, in.json())
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	if version < 2 {
		return enc.Encode(list)
	}
	processes := []jsonProcess{}
	for _, s := range e.tracks.processes.list {
		processes = append(processes, s.json())
	}
	return enc.Encode(struct {
		VRRP      []jsonInstance `json:"vrrp"`
		Processes []jsonProcess  `json:"track_process"`
	}{list, processes})
}

func number(on bool) int {
	if on {
		return 1
	}
	return 0
}

func (in *instance) json() jsonInstance {
	cfg, m, c, t := in.cfg, in.m.Config(), &in.accept.Counters, in.m.Totals()
	d := jsonData{
		Name: in.name(), NoTrackPrimary: number(cfg.NoTrackPrimary), SkipCheckAdvAddr: number(cfg.SkipCheckAdvAddr), Strict: number(cfg.Strict),
		Interface: cfg.Interface, MasterPriority: int(in.masterPriority), LastTransition: float64(in.changed.UnixMicro()) / 1e6,
		GARPDelay: m.GARPMasterDelay.Seconds(), GARPRefresh: m.GARPMasterRefresh.Seconds(), GARPRep: m.GARPMasterRepeat,
		GARPRefreshRep: m.GARPRefreshRepeat, GARPLowerDelay: m.GARPLowerPrioDelay.Seconds(), GARPLowerRep: m.GARPLowerPrioRepeat,
		LowerNoAdvert: number(m.LowerPrioNoAdvert), HigherSendAdvert: number(m.HigherPrioSendAdvert), VRID: int(m.VRID),
		BasePriority: int(m.Priority), Priority: int(in.m.Priority()), VIPSet: in.m.State() == vrrp.Master, Promote: cfg.PromoteSecondaries,
		Interval: m.Interval.Seconds(), MasterInterval: in.m.MasterInterval().Seconds(), Accept: number(!cfg.NoAccept), NoPreempt: m.NoPreempt,
		PreemptDelay: m.PreemptDelay.Seconds(), State: int(in.m.State()), WantState: int(in.m.State()), Version: m.Version,
		SMTPAlert: cfg.Notify.SMTPAlert, NotifyDeleted: cfg.Notify.Deleted.Command != "",
		ScriptBackup: command(cfg.Notify.Backup), ScriptMaster: command(cfg.Notify.Master), ScriptFault: command(cfg.Notify.Fault),
		ScriptStop: command(cfg.Notify.Stop), ScriptDeleted: command(cfg.Notify.Deleted), Script: command(cfg.Notify.Any),
		ScriptRxLower: command(cfg.Notify.RxLowerPrio),
		VIPs:          in.addrLines(cfg.Addrs), EVIPs: in.addrLines(cfg.Excluded), AuthType: int(cfg.Auth),
	}
	if in.vmac != nil {
		d.VMAC = in.vmac.Name
	}
	for _, r := range cfg.Routes {
		d.Routes = append(d.Routes, routeLine(r))
	}
	for _, r := range cfg.Rules {
		d.Rules = append(d.Rules, ruleLine(r))
	}
	for _, x := range cfg.Track.Interfaces {
		d.TrackInterfaces = append(d.TrackInterfaces, x.Name)
	}
	for _, x := range cfg.Track.Scripts {
		if s := in.e.tracks.scripts[x.Name]; s != nil {
			d.TrackScripts = append(d.TrackScripts, command(s.cfg.Script))
		}
	}
	for _, x := range cfg.Track.Processes {
		d.TrackProcesses = append(d.TrackProcesses, x.Name)
	}
	if cfg.Auth != vrrp.AuthNone {
		d.AuthData = hidden
	}
	return jsonInstance{d, jsonStats{
		c.Received, t.Sent, t.BecameMaster, t.ReleasedMaster, c.Length, c.Interval, c.TTL, c.Type, c.Addrs, c.AuthType, c.AuthMatch,
		c.AuthFailure, c.PriorityZero, t.PriorityZeroSent,
	}}
}

// command is a script with each word in quotes.
func command(s config.Script) string {
	words, err := s.Args()
	if err != nil || len(words) == 0 {
		return ""
	}
	return "'" + strings.Join(words, "' '") + "'"
}

func (in *instance) addrLines(list []config.Address) []string {
	var out []string
	for _, a := range list {
		line := a.Prefix.String()
		if a.Prefix.IsSingleIP() {
			line = a.Prefix.Addr().String()
		}
		if a.Peer.IsValid() {
			line += " peer " + a.Peer.String()
		}
		dev := a.Interface
		if dev == "" {
			if dev = in.cfg.Interface; in.link != nil {
				dev = in.link.Name
			}
		}
		line += " dev " + dev + " scope " + scopeName(a.Scope)
		if a.Label != "" {
			line += " label " + a.Label
		}
		if a.Prefix.Addr().Is6() {
			switch {
			case a.Deprecated:
				line += " deprecated"
			case a.PreferredLft > 0:
				line += fmt.Sprintf(" preferred_lft %d", a.PreferredLft)
			default:
				line += " preferred_lft forever"
			}
		}
		if link := in.place(a); link != nil {
			if _, ok := in.held[heldKey{link.Index, a.Prefix.Addr()}]; ok {
				line += " set"
			}
		}
		out = append(out, line)
	}
	return out
}

func scopeName(s int) string {
	if name, ok := map[int]string{0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}[s]; ok {
		return name
	}
	return fmt.Sprint(s)
}

func routeLine(r config.Route) string {
	var b strings.Builder
	if r.Type != "unicast" {
		b.WriteString(r.Type + " ")
	}
	if r.Dest.Bits() == 0 {
		b.WriteString("default")
	} else {
		b.WriteString(r.Dest.String())
	}
	if r.Via.IsValid() {
		fmt.Fprintf(&b, " via %s %s", map[bool]string{true: "inet6", false: "inet"}[r.Via.Is6()], r.Via)
	}
	if r.Interface != "" {
		b.WriteString(" dev " + r.Interface)
	}
	if r.Source.IsValid() {
		b.WriteString(" src " + r.Source.String())
	}
	if r.Table != 0 {
		fmt.Fprintf(&b, " table %d", r.Table)
	}
	fmt.Fprintf(&b, " proto %d", r.Protocol)
	if r.Metric != 0 {
		fmt.Fprintf(&b, " metric %d", r.Metric)
	}
	for _, h := range r.NextHops {
		fmt.Fprintf(&b, " nexthop via %s weight %d", h.Via, h.Weight)
	}
	return b.String()
}

func ruleLine(r config.Rule) string {
	var b strings.Builder
	if r.Not {
		b.WriteString("not ")
	}
	from := "all"
	if r.From.IsValid() {
		from = prefixLine(r.From.String(), r.From.IsSingleIP())
	}
	b.WriteString("from " + from)
	if r.To.IsValid() {
		b.WriteString(" to " + prefixLine(r.To.String(), r.To.IsSingleIP()))
	}
	fmt.Fprintf(&b, " priority %d tos %#x", r.Preference, r.TOS)
	if r.MarkSet {
		fmt.Fprintf(&b, " fwmark %#x/%#x", r.Mark, r.Mask)
	}
	if r.In != "" {
		b.WriteString(" iif " + r.In)
	}
	if r.Out != "" {
		b.WriteString(" oif " + r.Out)
	}
	fmt.Fprintf(&b, " protocol %d", r.Protocol)
	switch {
	case r.Goto > 0:
		fmt.Fprintf(&b, " goto %d", r.Goto)
	case r.Type != "":
		b.WriteString(" " + r.Type)
	default:
		fmt.Fprintf(&b, " lookup %d", r.Table)
	}
	return b.String()
}

func prefixLine(s string, single bool) string {
	if single {
		s, _, _ = strings.Cut(s, "/")
	}
	return s
}

// stamp is a time as dumps have it.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	micros := t.UnixMicro()
	return fmt.Sprintf("%d.%06d (%s.%06d %s)", micros/1e6, micros%1e6, t.Format("Mon Jan _2 15:04:05"), micros%1e6, t.Format("2006"))
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func able(b bool) string {
	if b {
		return "enabled"
	}
	return "disabled"
}

// WriteData writes state and configuration of everything.
func (e *Engine) WriteData(w io.Writer) error {
	var b strings.Builder
	g := &e.cfg.Global
	fmt.Fprintf(&b, "------< Global definitions >------\n Router ID = %s\n Dynamic interfaces = %t\n Gratuitous ARP interval = %.6f\n Gratuitous NA interval = %.6f\n",
		g.RouterID, g.VRRP.DynamicInterfaces, g.VRRP.GARPInterval.Seconds(), g.VRRP.GNAInterval.Seconds())
	b.WriteString("------< VRRP Topology >------\n")
	for _, in := range e.instances() {
		in.writeData(&b)
	}
	e.writeSockets(&b)
	e.writeGroups(&b)
	e.tracks.writeData(&b)
	e.tracks.writeSessions(&b)
	e.writeLinks(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

func (in *instance) writeData(b *strings.Builder) {
	cfg, m := in.cfg, in.m.Config()
	line := func(format string, args ...any) { fmt.Fprintf(b, "   "+format+"\n", args...) }
	list := func(title string, items []string) {
		if len(items) == 0 {
			return
		}
		line("%s", title)
		for _, x := range items {
			line("  %s", x)
		}
	}
	fmt.Fprintf(b, " VRRP Instance = %s\n", in.name())
	line("VRRP Version = %d", m.Version)
	if in.unit != nil && in.unit.cfg != nil {
		line("Sync group = %s", in.unit.name)
	}
	line("State = %v", in.m.State())
	if cfg.Unicast {
		list("Flags:", []string{"Using unicast"})
	} else {
		line("Flags: none")
	}
	line("Wantstate = %v", in.m.State())
	line("Number of interface and track script faults = %d", len(in.m.Faults()))
	list("Faults :", in.m.Faults())
	line("Last transition = %s", stamp(in.changed))
	if next := in.m.Next(); next.IsZero() {
		line("Read timeout = DISABLED")
	} else {
		line("Read timeout = %s", stamp(next))
	}
	line("Master down timer = %d usecs", in.m.MasterDown().Microseconds())
	line("Interface = %s", cfg.Interface)
	configured := ""
	if cfg.SourceAddr.IsValid() {
		configured = " (from configuration)"
	}
	line("Using src_ip = %s%s", in.source(), configured)
	if !cfg.Unicast {
		line("Multicast address %s", cfg.Multicast)
	}
	line("Gratuitous ARP delay = %g", m.GARPMasterDelay.Seconds())
	line("Gratuitous ARP repeat = %d", m.GARPMasterRepeat)
	line("Gratuitous ARP refresh = %g", m.GARPMasterRefresh.Seconds())
	line("Gratuitous ARP refresh repeat = %d", m.GARPRefreshRepeat)
	line("Gratuitous ARP lower priority delay = %g", m.GARPLowerPrioDelay.Seconds())
	line("Gratuitous ARP lower priority repeat = %d", m.GARPLowerPrioRepeat)
	if cfg.GARPExtra > 0 {
		line("Gratuitous ARP for each secondary %s = %d", map[bool]string{true: "i/f", false: "VMAC"}[cfg.GARPExtraAll], int(cfg.GARPExtra.Seconds()))
	}
	line("Down timer adverts = %d", m.DownTimerAdverts)
	line("Send advert after receive lower priority advert = %t", !m.LowerPrioNoAdvert)
	line("Send advert after receive higher priority advert = %t", m.HigherPrioSendAdvert)
	line("Virtual Router ID = %d", m.VRID)
	line("Priority = %d", m.Priority)
	line("Effective priority = %d", in.m.Priority())
	if m.Version == 2 {
		line("Advert interval = %g sec", m.Interval.Seconds())
	} else {
		line("Advert interval = %d milli-sec", m.Interval.Milliseconds())
		line("Master advert interval = %d milli-sec", in.m.MasterInterval().Milliseconds())
	}
	line("Accept = %s", able(!cfg.NoAccept))
	line("Preempt = %s", able(!m.NoPreempt))
	if m.PreemptDelay > 0 {
		line("Preempt delay = %g secs", m.PreemptDelay.Seconds())
	}
	line("Promote_secondaries = %s", able(cfg.PromoteSecondaries))
	if m.Version == 2 {
		line("Authentication type = %s", map[vrrp.AuthType]string{vrrp.AuthNone: "none", vrrp.AuthPass: "SIMPLE_PASSWORD", vrrp.AuthAH: "IPSEC_AH"}[cfg.Auth])
		if cfg.Auth != vrrp.AuthNone {
			line("Password = %s", hidden)
		}
	}
	if h := cfg.HMAC; h != nil {
		how := "time"
		if h.Monotonic {
			how = "monotonic"
		}
		line("Authentication extension = HMAC-SHA256, %v, %d key(s), active %d, anti replay by %s, window %g sec", h.Mode, len(h.Keys), h.Active, how, h.Window.Seconds())
	}
	list(fmt.Sprintf("Virtual IP (%d):", len(cfg.Addrs)), in.addrLines(cfg.Addrs))
	list("Virtual IP Excluded :", in.addrLines(cfg.Excluded))
	if cfg.Unicast {
		line("Check unicast src : %s", yes(cfg.CheckUnicastSrc))
		var peers []string
		for _, p := range cfg.Peers {
			peers = append(peers, fmt.Sprintf("%s min_ttl %d max_ttl %d", p.Addr, p.MinTTL, p.MaxTTL))
		}
		list("Unicast Peer :", peers)
	}
	data := in.json().Data
	list("Virtual Routes :", data.Routes)
	list("Virtual Rules :", data.Rules)
	list("Tracked interfaces :", trackedLines(cfg.Track.Interfaces, " weight"))
	list("Tracked scripts :", trackedLines(cfg.Track.Scripts, " weight"))
	list("Tracked files :", trackedLines(cfg.Track.Files, ", weight"))
	list("Tracked processes :", trackedLines(cfg.Track.Processes, ", weight"))
	list("Tracked BFDs :", trackedLines(cfg.Track.Sessions, ": weight"))
	line("Using smtp notification = %s", yes(cfg.Notify.SMTPAlert))
	line("Notify deleted = %s", map[bool]string{true: "Deleted", false: "Fault"}[data.NotifyDeleted])
	for _, s := range []struct{ title, command string }{
		{"Backup state transition", data.ScriptBackup}, {"Master state transition", data.ScriptMaster}, {"Fault state transition", data.ScriptFault},
		{"Stop state transition", data.ScriptStop}, {"Deleted state transition", data.ScriptDeleted}, {"Generic state transition", data.Script},
		{"Master rx lower pri state transition", data.ScriptRxLower},
	} {
		if s.command != "" {
			line("%s script = %s", s.title, s.command)
		}
	}
	line("Notify priority changes = %t", cfg.Notify.PriorityChanges)
}

func trackedLines(list []config.Tracked, word string) []string {
	var out []string
	for _, x := range list {
		s := fmt.Sprintf("%s%s %d", x.Name, word, x.Weight)
		if x.Reverse {
			s += " reverse"
		}
		out = append(out, s)
	}
	return out
}

func (e *Engine) writeSockets(b *strings.Builder) {
	b.WriteString("------< VRRP Sockpool >------\n")
	var list []*socket
	for _, in := range e.instances() {
		if in.rx != nil && !slices.Contains(list, in.rx) {
			list = append(list, in.rx)
		}
	}
	for _, s := range list {
		fmt.Fprintf(b, " fd_in %d fd_out = %d\n", s.FD, s.FD)
		if link := e.links.byIndex[s.key.link]; link != nil {
			fmt.Fprintf(b, "   Interface = %s\n", link.Name)
		}
		fmt.Fprintf(b, "   Family = %s\n   Protocol = %s\n   VRRP instances\n",
			map[bool]string{true: "IPv6", false: "IPv4"}[s.key.six], map[int]string{vrrp.Protocol: "VRRP", vrrp.ProtocolAH: "AH"}[s.key.proto])
		for _, in := range s.users {
			fmt.Fprintf(b, "     %s vrid %d\n", in.name(), in.cfg.Machine.VRID)
		}
	}
}

func (e *Engine) writeGroups(b *strings.Builder) {
	first := true
	for _, u := range e.units {
		if u.group == nil {
			continue
		}
		if first {
			b.WriteString("------< VRRP Sync groups >------\n")
			first = false
		}
		fmt.Fprintf(b, " VRRP Sync Group = %s, %v\n   VRRP member instances :\n", u.name, u.group.State())
		for _, in := range u.members {
			fmt.Fprintf(b, "     %s\n", in.name())
		}
		fmt.Fprintf(b, "   Using smtp notification = %s\n", yes(u.cfg.Notify.SMTPAlert))
	}
}

func (t *tracks) writeData(b *strings.Builder) {
	cfg := &t.e.cfg.VRRP
	if len(cfg.Scripts) > 0 {
		b.WriteString("------< VRRP Scripts >------\n")
	}
	for i := range cfg.Scripts {
		c := &cfg.Scripts[i]
		s := t.scripts[c.Name]
		status := "NOT_SET"
		if s.known {
			status = map[bool]string{true: "GOOD", false: "BAD"}[s.up]
		}
		fmt.Fprintf(b, " VRRP Script = %s\n   Command = %s\n   Interval = %g sec\n   Timeout = %g sec\n   Weight = %d\n   Rise = %d\n   Fall = %d\n   Result = %d\n   Status = %s\n   State = %s\n",
			c.Name, command(c.Script), c.Interval.Seconds(), c.Timeout.Seconds(), c.Weight, c.Rise, c.Fall, max(s.last, 0), status,
			map[bool]string{true: "running", false: "idle"}[s.running])
	}
	if len(t.files.paths) > 0 {
		b.WriteString("------< VRRP Track files >------\n")
	}
	for _, c := range t.e.cfg.TrackFiles {
		if _, ok := t.files.paths[c.Path]; ok {
			fmt.Fprintf(b, " Track file = %s\n   File = %s\n   Status = %d\n   Weight = %d\n", c.Name, c.Path, t.files.value(c.Name), c.Weight)
		}
	}
	if len(t.processes.list) > 0 {
		b.WriteString("------< VRRP Track processes >------\n")
	}
	for _, s := range t.processes.list {
		c := &s.cfg
		fmt.Fprintf(b, " VRRP Track process = %s\n   Process = %s\n   Min processes = %d\n   Have quorum = %t\n   Weight = %d\n   Terminate delay = %.6fs\n   Fork delay = %.6fs\n   Full command = %t\n",
			c.Name, c.Process, c.Quorum, s.up, c.Weight, c.TerminateDelay.Seconds(), c.ForkDelay.Seconds(), c.FullCommand)
	}
}

// writeSessions writes what is known of BFD, if anybody listens to it.
func (t *tracks) writeSessions(b *strings.Builder) {
	first := true
	for i := range t.e.cfg.BFD.Sessions {
		c := &t.e.cfg.BFD.Sessions[i]
		if !c.VRRP {
			continue
		}
		if first {
			b.WriteString("------< VRRP Track BFDs >------\n")
			first = false
		}
		name := c.Session.Name
		fmt.Fprintf(b, " VRRP Track BFD = %s\n   Weight = %d\n   Bfd is %s\n   Tracking VRRP instances :\n", name, c.Weight,
			map[bool]string{true: "up", false: "down"}[t.sessions[name]])
		for _, in := range t.e.instances() {
			for _, tr := range in.tracked() {
				for _, x := range tr.Sessions {
					if x.Name == name {
						fmt.Fprintf(b, "     %s, weight %d\n", in.name(), x.Weight)
					}
				}
			}
		}
	}
}

func (e *Engine) writeLinks(b *strings.Builder) {
	b.WriteString("------< Interfaces >------\n")
	var indexes []int
	for i := range e.links.byIndex {
		indexes = append(indexes, i)
	}
	slices.Sort(indexes)
	for _, i := range indexes {
		l := e.links.byIndex[i]
		fmt.Fprintf(b, " Name = %s\n   index = %d\n", l.Name, l.Index)
		for _, a := range e.links.addrs[i] {
			fmt.Fprintf(b, "   %s address = %s\n", config.FamilyOf(a.Prefix.Addr()), a.Prefix.Addr())
		}
		if l.Ethernet {
			fmt.Fprintf(b, "   MAC = %02x:%02x:%02x:%02x:%02x:%02x\n", l.MAC[0], l.MAC[1], l.MAC[2], l.MAC[3], l.MAC[4], l.MAC[5])
		}
		state := "DOWN"
		if l.Up {
			state = "UP, RUNNING"
		}
		fmt.Fprintf(b, "   State = %s\n   MTU = %d\n", state, l.MTU)
	}
}
