// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Op is one change of the kernel's tables, as data: the unit that a batch is
// made of, that the fake table of ipvstest applies and that prints as the
// ipvsadm line a person would type.
type Op struct {
	Kind    OpKind
	Service Service   // AddService, SetService; only the key for all others
	Dest    Dest      // *Dest
	Ext     Ext       // SetExt
	LGroup  LGroup    // *LGroup, and the group of *Laddr
	Laddr   Laddr     // *Laddr
	Times   Timeouts  // SetTimeouts
	Daemon  Daemon    // StartDaemon, StopDaemon
	Config  ExtConfig // SetExtConfig
}

// OpKind says what an [Op] does.
type OpKind uint8

// Kinds of operations.
const (
	AddService OpKind = iota + 1
	SetService
	DelService
	AddDest
	SetDest
	DelDest
	SetExt
	AddLGroup
	DelLGroup
	AddLaddr
	SetLaddr
	DelLaddr
	SetTimeouts
	StartDaemon
	StopDaemon
	Zero    // one service, or all when Service.ServiceKey is zero
	Flush   // mainline services only; groups stay
	ZeroExt // the extension's counters; one service's, or the namespace's with all services'
	SetExtConfig
)

var kindNames = [...]string{
	AddService: "add service", SetService: "edit service", DelService: "delete service",
	AddDest: "add dest", SetDest: "edit dest", DelDest: "delete dest",
	SetExt:    "set extended service",
	AddLGroup: "add local address group", DelLGroup: "delete local address group",
	AddLaddr: "add local address", SetLaddr: "edit local address", DelLaddr: "delete local address",
	SetTimeouts: "set timeouts", StartDaemon: "start daemon", StopDaemon: "stop daemon",
	Zero: "zero counters", Flush: "flush", ZeroExt: "zero extended counters",
	SetExtConfig: "set extended configuration",
}

// String returns the verb of error messages: "add service".
func (k OpKind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return fmt.Sprintf("operation %d", uint8(k))
}

// String writes the service as addresses do: "192.0.2.1:80", "fwmark 7".
func (k ServiceKey) String() string {
	if k.FWMark != 0 {
		return fmt.Sprintf("fwmark %d", k.FWMark)
	}
	return netip.AddrPortFrom(k.Addr, k.Port).String()
}

// String writes the dest as addresses do: "10.0.0.7:80".
func (k DestKey) String() string { return netip.AddrPortFrom(k.Addr, k.Port).String() }

// option is the service as an option of ipvsadm.
func (k ServiceKey) option() string {
	switch {
	case k.FWMark != 0 && k.Family == IPv6:
		return fmt.Sprintf("-f %d -6", k.FWMark)
	case k.FWMark != 0:
		return fmt.Sprintf("-f %d", k.FWMark)
	case k.Protocol == UDP:
		return "-u " + k.String()
	case k.Protocol == SCTP:
		return "--sctp-service " + k.String()
	}
	return "-t " + k.String()
}

// String writes op as the ipvsadm line, without the command's name, that a
// person would type for it. ZeroExt prints as Zero: -Z is the word for both.
// SetExtConfig, for which ipvsadm has no words, prints its verb and settings.
func (op Op) String() string {
	key := op.Service.ServiceKey
	switch op.Kind {
	case AddService:
		return "-A " + op.Service.line()
	case SetService:
		return "-E " + op.Service.line()
	case DelService:
		return "-D " + key.option()
	case AddDest:
		return "-a " + key.option() + " " + op.Dest.line()
	case SetDest:
		return "-e " + key.option() + " " + op.Dest.line()
	case DelDest:
		return "-d " + key.option() + " -r " + op.Dest.DestKey.String()
	case SetExt:
		return "-E " + key.option() + op.Ext.options()
	case AddLGroup:
		return "-P --lgroup " + op.LGroup.Name + familyOption(op.LGroup.Family)
	case DelLGroup:
		return "-Q --lgroup " + op.LGroup.Name
	case AddLaddr, SetLaddr:
		return "-P --lgroup " + op.LGroup.Name + " " + op.Laddr.line(op.Kind == SetLaddr)
	case DelLaddr:
		return "-Q --lgroup " + op.LGroup.Name + " -z " + op.Laddr.Addr.String()
	case SetTimeouts:
		t := op.Times
		return fmt.Sprintf("--set %d %d %d", t.TCP/time.Second, t.TCPFin/time.Second, t.UDP/time.Second)
	case StartDaemon:
		return "--start-daemon " + op.Daemon.line()
	case StopDaemon:
		return "--stop-daemon " + op.Daemon.State.String()
	case Zero, ZeroExt:
		if key == (ServiceKey{}) {
			return "-Z"
		}
		return "-Z " + key.option()
	case Flush:
		return "-C"
	case SetExtConfig:
		return "--set-ext" + op.Config.options()
	}
	return op.Kind.String()
}

func familyOption(f Family) string {
	if f == IPv6 {
		return " -6"
	}
	return ""
}

func (s Service) line() string {
	var b strings.Builder
	scheduler := s.Scheduler
	if scheduler == "" {
		scheduler = noScheduler
	}
	fmt.Fprintf(&b, "%s -s %s", s.option(), scheduler)
	if s.Flags&FlagPersistent != 0 {
		fmt.Fprintf(&b, " -p %d", s.Timeout/time.Second)
	}
	switch m := s.Netmask; {
	case s.Family == IPv6:
		if m != 0 && m != 128 {
			fmt.Fprintf(&b, " -M %d", m)
		}
	case m != 0xffffffff && (m != 0 || s.NoMask || s.Flags&FlagPersistent != 0):
		fmt.Fprintf(&b, " -M %d.%d.%d.%d", m>>24, m>>16&0xff, m>>8&0xff, m&0xff)
	}
	if s.PEName != "" {
		b.WriteString(" --pe " + s.PEName)
	}
	if s.Flags&FlagOnePacket != 0 {
		b.WriteString(" -o")
	}
	var sched []string
	for i, f := range []ServiceFlags{FlagSched1, FlagSched2, FlagSched3} {
		if s.Flags&f != 0 {
			sched = append(sched, schedFlagWord(s.Scheduler, i))
		}
	}
	if len(sched) > 0 {
		b.WriteString(" -b " + strings.Join(sched, ","))
	}
	return b.String()
}

// schedFlagWord is the word of ipvsadm for the i-th flag of a scheduler.
func schedFlagWord(scheduler string, i int) string {
	if words := [...]string{"-fallback", "-port"}; i < len(words) && (scheduler == "sh" || scheduler == "mh") {
		return scheduler + words[i]
	}
	return "flag-" + strconv.Itoa(i+1)
}

func (d Dest) line() string {
	var b strings.Builder
	b.WriteString("-r " + d.DestKey.String() + " ")
	switch d.Forward {
	case Masq, LocalNode:
		b.WriteString("-m")
	case Tunnel:
		b.WriteString("-i")
	default:
		b.WriteString("-g")
	}
	fmt.Fprintf(&b, " -w %d", d.Weight)
	if d.UpperThreshold != 0 {
		fmt.Fprintf(&b, " -x %d", d.UpperThreshold)
	}
	if d.LowerThreshold != 0 {
		fmt.Fprintf(&b, " -y %d", d.LowerThreshold)
	}
	if d.Forward == Tunnel {
		b.WriteString(d.tunnel())
	}
	return b.String()
}

func (d Dest) tunnel() string {
	csum := [...]string{" --tun-nocsum", " --tun-csum", " --tun-remcsum"}[min(d.TunFlags, 2)]
	switch d.TunType {
	case TunnelGUE:
		return fmt.Sprintf(" --tun-type gue --tun-port %d%s", d.TunPort, csum)
	case TunnelGRE:
		return " --tun-type gre" + csum
	}
	return " --tun-type ipip"
}

// options are the settings in Set, each with a blank before it.
func (e Ext) options() string {
	var b strings.Builder
	if e.Set&ExtFieldLGroup != 0 {
		name := e.LGroup
		if name == "" {
			name = "''"
		}
		b.WriteString(" --lgroup " + name)
	}
	if e.Set&ExtFieldFlags != 0 {
		for _, f := range extWords {
			switch {
			case f.flag == ExtSynproxy && e.FlagsMask&(ExtSynproxy|ExtSPAuto) != 0:
				b.WriteString(" --" + f.word + " " + e.Flags.Synproxy().String())
			case e.FlagsMask&f.flag == 0:
			case e.Flags&f.flag != 0:
				b.WriteString(" --" + f.word)
			default:
				b.WriteString(" --no-" + f.word)
			}
		}
	}
	word := func(field ExtField, option string, value uint8, words ...string) {
		if e.Set&field == 0 {
			return
		}
		w := strconv.Itoa(int(value))
		if int(value) < len(words) {
			w = words[value]
		}
		b.WriteString(" --" + option + " " + w)
	}
	word(ExtFieldSelect, "laddr-select", uint8(e.Select), "rr", "source", "cpu")
	word(ExtFieldInvalid, "invalid", uint8(e.Invalid), "accept", "drop", "rst")
	word(ExtFieldTSMode, "timestamps", uint8(e.TSMode), "keep", "strip", "rebase")
	if e.Set&ExtFieldMSSClamp != 0 {
		fmt.Fprintf(&b, " --mss %d", e.MSSClamp)
	}
	word(ExtFieldTOAKind4, "toa-kind4", e.TOAKind4)
	word(ExtFieldTOAKind6, "toa-kind6", e.TOAKind6)
	b.WriteString(e.SP.options(e.Set))
	b.WriteString(e.Limits.options(e.Set))
	return b.String()
}

func (c ExtConfig) options() string {
	var b strings.Builder
	if c.Set&ExtConfigProbes != 0 {
		fmt.Fprintf(&b, " --laddr-probes %d", c.Probes)
	}
	if c.Set&ExtConfigReclaim != 0 {
		b.WriteString(map[bool]string{true: " --laddr-reclaim", false: " --no-laddr-reclaim"}[c.Reclaim])
	}
	if c.Set&ExtConfigSPQMem != 0 {
		fmt.Fprintf(&b, " --synproxy-memory %d", c.SPQMem)
	}
	if c.Set&ExtConfigCookieKey != 0 {
		fmt.Fprintf(&b, " --cookie-key %v", c.CookieKey)
	}
	if c.Set&ExtConfigCookieKeyPrev != 0 {
		fmt.Fprintf(&b, " --previous-cookie-key %v", c.CookieKeyPrev)
	}
	if c.Set&ExtConfigSPEarly != 0 {
		fmt.Fprintf(&b, " --synproxy-early %v", c.SPEarly)
	}
	if c.Set&ExtConfigDropVIP != 0 {
		b.WriteString(map[bool]string{true: " --drop-vip", false: " --no-drop-vip"}[c.DropVIP])
	}
	return b.String()
}

// extWords are the long options of the extension's flags, in printing order.
var extWords = []struct {
	flag ExtFlags
	word string
}{
	{ExtFNAT, "fullnat"}, {ExtTOA, "toa"}, {ExtTOASyn, "toa-syn"}, {ExtSeq, "seq-adjust"},
	{ExtExhaustRST, "exhaust-rst"}, {ExtSynproxy, "synproxy"}, {ExtSPDefer, "synproxy-defer"},
	{ExtRSTOnExpire, "rst-on-expire"}, {ExtFast, "fast"},
}

// line of a change (set) names the flags and CPUs even where there are none.
func (l Laddr) line(set bool) string {
	var b strings.Builder
	addr := l.Addr.String()
	switch ports := fmt.Sprintf(":%d-%d", l.PortMin, l.PortMax); {
	case l.PortMin == 0 && l.PortMax == 0:
	case l.Addr.Is6():
		addr = "[" + addr + "]" + ports
	default:
		addr += ports
	}
	b.WriteString("-z " + addr)
	var flags []string
	for i, w := range []string{"no-new", "foreign", "force"} {
		if l.Flags>>i&1 != 0 {
			flags = append(flags, w)
		}
	}
	switch {
	case len(flags) > 0:
		b.WriteString(" --laddr-flags " + strings.Join(flags, ","))
	case set:
		b.WriteString(" --laddr-flags none")
	}
	switch {
	case l.CPUs != "":
		b.WriteString(" --laddr-cpus " + l.CPUs)
	case set:
		b.WriteString(" --laddr-cpus ''")
	}
	return b.String()
}

// String returns "master" or "backup".
func (s SyncState) String() string {
	switch s {
	case SyncMaster:
		return "master"
	case SyncBackup:
		return "backup"
	}
	return strconv.Itoa(int(s))
}

func (d Daemon) line() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s --mcast-interface %s --syncid %d", d.State, d.Interface, d.SyncID)
	if d.MaxLen != 0 {
		fmt.Fprintf(&b, " --sync-maxlen %d", d.MaxLen)
	}
	if d.Group.IsValid() {
		b.WriteString(" --mcast-group " + d.Group.String())
	}
	if d.Port != 0 {
		fmt.Fprintf(&b, " --mcast-port %d", d.Port)
	}
	if d.TTL != 0 {
		fmt.Fprintf(&b, " --mcast-ttl %d", d.TTL)
	}
	return b.String()
}
