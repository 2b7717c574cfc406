// SPDX-License-Identifier: Apache-2.0

package config

import (
	"slices"
	"strings"
	"time"

	"github.com/lvs-fnat/lvs/parser"
)

// Reload is how a new configuration is taken over.
type Reload struct {
	Check    bool   // any remark of -t keeps the running configuration
	CheckLog string // where the remarks go then; "": the log
	TimeFile string // holds the time of a reload
	Repeat   bool   // every day at that time
	File     bool   // reload_file: exists while a reload runs
	FilePath string // "": beside the pid file
	SaveDir  string // copies of loaded configurations
	TmpDir   string
	Include  []string // words of include_check with their sign
}

// Dump is where state and statistics are written on demand.
type Dump struct {
	State, Stats, JSON string // paths; "": below /tmp
	UseInstance        bool   // the instance's name in the paths
	JSONVersion        int
}

// SNMP is the AgentX subagent.
type SNMP struct {
	Socket                             string
	Traps, VRRP, RFCv2, RFCv3, Checker bool
	VSInterval                         time.Duration
	RSInterval                         time.Duration // 0: as VSInterval
}

// DBus is the D-Bus service.
type DBus struct {
	Enable          bool
	ServiceName     string // "": org.keepalived.Vrrp1
	NoInterfaceName string // "": none
}

var reloadKeywords = keywords[Global]{
	"reload_check_config": {read: func(_ *loader, n *parser.Node, g *Global) {
		g.Reload.Check, g.Reload.CheckLog = true, n.Arg(1)
	}},
	"reload_time_file": stringInto(func(g *Global, v string) { g.Reload.TimeFile = v }),
	"reload_repeat":    flagInto(func(g *Global) { g.Reload.Repeat = true }),
	"reload_file": {read: func(_ *loader, n *parser.Node, g *Global) {
		g.Reload.File, g.Reload.FilePath = true, n.Arg(1)
	}},
	"config_save_dir": stringInto(func(g *Global, v string) { g.Reload.SaveDir = v }),
	// There the original has an unlinked file for its children. Ours get the text through memory.
	"tmp_config_directory": stringInto(func(g *Global, v string) { g.Reload.TmpDir = v }),
	"include_check":        {read: readIncludeCheck},
	"iproute_usr_dir":      stringInto(func(g *Global, v string) { g.IPRoute.UsrDir = v }),
	"iproute_etc_dir":      stringInto(func(g *Global, v string) { g.IPRoute.EtcDir = v }),
	"lvs_max_changes":      intInto(1, 100, func(g *Global, v int) { g.LVSMaxChanges = v }),
	"lvs_repair":           boolInto(func(g *Global, v bool) { g.LVSRepair = v }),
}

var includeChecks = []string{"read", "readable", "match", "wildcard_match", "brace_match"}

func readIncludeCheck(l *loader, n *parser.Node, g *Global) {
	for i := 1; i < len(n.Words); i++ {
		w := n.Arg(i)
		if !slices.Contains(includeChecks, strings.TrimLeft(w, "+-")) {
			l.error(n.ArgPos(i), "include_check: unknown word '%s': expected %s", w, strings.Join(includeChecks, ", "))
			continue
		}
		g.Reload.Include = append(g.Reload.Include, w)
	}
}

var dumpKeywords = keywords[Global]{
	"state_dump_file":   stringInto(func(g *Global, v string) { g.Dump.State = v }),
	"stats_dump_file":   stringInto(func(g *Global, v string) { g.Dump.Stats = v }),
	"json_dump_file":    stringInto(func(g *Global, v string) { g.Dump.JSON = v }),
	"data_use_instance": boolInto(func(g *Global, v bool) { g.Dump.UseInstance = v }),
	"json_version":      intInto(1, 2, func(g *Global, v int) { g.Dump.JSONVersion = v }),
}

var snmpKeywords = keywords[Global]{
	"snmp_socket":            stringInto(func(g *Global, v string) { g.SNMP.Socket = v }),
	"enable_traps":           flagInto(func(g *Global) { g.SNMP.Traps = true }),
	"enable_snmp_vrrp":       flagInto(func(g *Global) { g.SNMP.VRRP = true }),
	"enable_snmp_keepalived": flagInto(func(g *Global) { g.SNMP.VRRP = true }),
	"enable_snmp_rfc":        flagInto(func(g *Global) { g.SNMP.RFCv2, g.SNMP.RFCv3 = true, true }),
	"enable_snmp_rfcv2":      flagInto(func(g *Global) { g.SNMP.RFCv2 = true }),
	"enable_snmp_rfcv3":      flagInto(func(g *Global) { g.SNMP.RFCv3 = true }),
	"enable_snmp_checker":    flagInto(func(g *Global) { g.SNMP.Checker = true }),
	"snmp_vs_stats_update_interval": secondsInto(time.Millisecond, 30*time.Second, func(g *Global, v time.Duration) {
		g.SNMP.VSInterval = v
	}),
	"snmp_rs_stats_update_interval": secondsInto(time.Millisecond, 30*time.Second, func(g *Global, v time.Duration) {
		g.SNMP.RSInterval = v
	}),
	"enable_dbus":            flagInto(func(g *Global) { g.DBus.Enable = true }),
	"dbus_service_name":      stringInto(func(g *Global, v string) { g.DBus.ServiceName = v }),
	"dbus_no_interface_name": stringInto(func(g *Global, v string) { g.DBus.NoInterfaceName = v }),
}
