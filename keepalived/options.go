// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/logline"
	"github.com/lvs-fnat/lvs/internal/popt"
)

// options is the command line.
type options struct {
	file string
	// pidFile and the children's are "" unless an option gives them; see pidFileOf.
	pidFile     string
	vrrpPID     string
	checkersPID string
	bfdPID      string
	foreground  bool
	console     bool
	detail      bool
	facility    int // of syslog, as logline.Syslog wants it
	keepTable   bool
	check       bool
	checkFile   string // where -t writes; "" is standard error
	plan        bool
	doctor      string // how --doctor writes; "": it is not asked for
	reload      bool
	forceReload bool
	version     bool
	help        bool
	signal      string
	unexpected  []string
	// subsystems are the children that may run, all of them unless an option
	// names some; all has them run even without work.
	subsystems  subsystem
	all         bool
	dontRespawn bool

	logFile      string // "" for none
	flushLog     bool   // write each line of it through to the disk
	noSyslog     bool
	dumpConf     bool
	namespace    string // overrides net_namespace
	configID     string
	allConfig    bool // every include must be there
	umask        int  // -1: that of the configuration
	coreDump     bool
	corePattern  string
	ignoreSIGINT bool
	snmp         bool   // enable every MIB
	snmpSocket   string // overrides snmp_socket
	// keepAddresses, releaseVIPs and monitor are for the child process of VRRP.
	keepAddresses, releaseVIPs, monitor bool
}

const (
	defaultFile        = "/etc/keepalived/keepalived.conf"
	defaultPIDFile     = "/run/keepalived.pid"
	defaultVRRPPID     = "/run/vrrp.pid"
	defaultCheckersPID = "/run/checkers.pid"
	defaultBFDPID      = "/run/bfd.pid"
)

// Numbers of options, by the letter where there is one.
const (
	optFile        = 'f'
	optVRRP        = 'P'
	optCheck       = 'C'
	optNoBFD       = 'B'
	optDontRespawn = 'R'
	optVRRPPID     = 'r'
	optCheckersPID = 'c'
	optBFDPID      = 'b'
	optConsole     = 'l'
	optDetail      = 'D'
	optFacility    = 'S'
	optKeepTable   = 'I'
	optDontFork    = 'n'
	optPID         = 'p'
	optTest        = 't'
	optVersion     = 'v'
	optHelp        = 'h'
	optLogFile     = 'g'
	optNoSyslog    = 'G'
	optDumpConf    = 'd'
	optNamespace   = 's'
	optConfigID    = 'i'
	optAllConfig   = 'e'
	optUmask       = 'u'
	optCoreDump    = 'm'
	optCorePattern = 'M'
	optReleaseVIPs = 'X'
	optSNMP        = 'x'
	optSNMPSocket  = 'A'
	optKeepVRRP    = 'V'
	optMonitor     = 'a'
	optGenhash     = 'T'
	optSignum      = 256 + iota
	optAll
	optFlushLog
	optIgnoreSIGINT
	optPlan
	optReload
	optForceReload
	optDoctor
)

// optionRow is an option with its line in the help.
type optionRow struct {
	popt.Option
	value, text string
}

func row(id int, long string, arg popt.Arg, value, text string) optionRow {
	o := popt.Option{Long: long, Arg: arg, ID: id}
	if id < 256 {
		o.Short = byte(id)
	}
	return optionRow{o, value, text}
}

var optionRows = []optionRow{
	row(optFile, "use-file", popt.Required, "FILE", "read this configuration (default "+defaultFile+")"),
	row(optVRRP, "vrrp", popt.None, "", "run VRRP only; with -C the two of them"),
	row(optCheck, "check", popt.None, "", "run the health checkers and the balancer only"),
	row(optNoBFD, "no_bfd", popt.None, "", "do not run BFD"),
	row(optAll, "all", popt.None, "", "run every child process, also those the configuration has no work for"),
	row(optConsole, "log-console", popt.None, "", "log to standard error, and to syslog if there is one"),
	row(optDetail, "log-detail", popt.None, "", "log more"),
	row(optFacility, "log-facility", popt.Required, "NAME", "log to syslog as local0 to local7 (or 0 to 7), user or daemon"),
	row(optLogFile, "log-file", popt.Required, "FILE", "log to FILE, the children to files named after it"),
	row(optFlushLog, "flush-log-file", popt.None, "", "write each line of the log file through to the disk"),
	row(optNoSyslog, "no-syslog", popt.None, "", "do not log to syslog"),
	row(optKeepTable, "dont-release-ipvs", popt.None, "", "leave the kernel's tables as they are at the end"),
	row(optKeepVRRP, "dont-release-vrrp", popt.None, "", "leave addresses and routes of VRRP as they are at the end"),
	row(optReleaseVIPs, "release-vips", popt.None, "", "remove the addresses of VRRP when it begins"),
	row(optMonitor, "address-monitoring", popt.None, "", "log every address that comes or goes"),
	row(optDontFork, "dont-fork", popt.None, "", "stay in the foreground"),
	row(optDontRespawn, "dont-respawn", popt.None, "", "end when a child process dies, instead of starting it again"),
	row(optPID, "pid", popt.Required, "FILE", "pid file (default "+defaultPIDFile+")"),
	row(optVRRPPID, "vrrp_pid", popt.Required, "FILE", "pid file of the VRRP child process (default "+defaultVRRPPID+")"),
	row(optCheckersPID, "checkers_pid", popt.Required, "FILE", "pid file of the checkers' child process (default "+defaultCheckersPID+")"),
	row(optBFDPID, "bfd_pid", popt.Required, "FILE", "pid file of the BFD child process (default "+defaultBFDPID+")"),
	row(optSNMP, "snmp", popt.None, "", "answer SNMP through the agent of this host, with every MIB"),
	row(optSNMPSocket, "snmp-agent-socket", popt.Required, "SOCKET", "where that agent listens: unix:PATH or tcp:HOST:PORT"),
	row(optNamespace, "namespace", popt.Required, "NAME", "run in this network namespace"),
	row(optConfigID, "config-id", popt.Required, "ID", "what @ID lines of the configuration are compared with"),
	row(optAllConfig, "all-config", popt.None, "", "refuse a configuration whose includes are not all there"),
	row(optUmask, "umask", popt.Required, "MASK", "of files that are made, octal or as IRWXG|IRWXO"),
	row(optCoreDump, "core-dump", popt.None, "", "leave a core file when a process crashes"),
	row(optCorePattern, "core-dump-pattern", popt.Required, "PATTERN", "set the host's pattern of core files, and leave them"),
	row(optIgnoreSIGINT, "ignore-sigint", popt.None, "", "do not end at SIGINT"),
	row(optDumpConf, "dump-conf", popt.None, "", "write the state into the log when everything has started"),
	row(optTest, "config-test", popt.Optional, "FILE", "check the configuration and exit; remarks go to FILE or standard error"),
	row(optPlan, "plan", popt.None, "", "print what a reload would do; exit with 0 for nothing, 2 for changes"),
	row(optDoctor, "doctor", popt.Optional, "json", "tell what of this host cannot serve the configuration, and the remedy; exit with 1 if something cannot"),
	row(optReload, "reload", popt.None, "", "have the daemon reload; exit with 1 and the reason if it would refuse"),
	row(optForceReload, "force-reload", popt.None, "", "reload, whatever lvs_max_changes says"),
	row(optSignum, "signum", popt.Required, "NAME", "print the number of the signal for STOP, RELOAD, DATA, STATS, STATS_CLEAR or JSON"),
	row(optGenhash, genhashName, popt.None, "", "as the first word: print the digest of a page, see genhash(1)"),
	row(optVersion, "version", popt.None, "", "print the version"),
	row(optHelp, "help", popt.None, "", "print this"),
}

func optionTable() []popt.Option {
	table := make([]popt.Option, len(optionRows))
	for i, r := range optionRows {
		table[i] = r.Option
	}
	return table
}

// parseOptions reads the words behind the program's name.
func parseOptions(args []string) (*options, error) {
	o := &options{
		file: defaultFile, facility: logline.Daemon, umask: -1,
	}
	noBFD := subsystem(0)
	s := popt.New(popt.GetoptLong, popt.NewTable(optionTable()), args)
	for {
		m, err := s.Next()
		if errors.Is(err, io.EOF) {
			o.unexpected = s.Words()
			if o.subsystems == 0 {
				o.subsystems = subsystems
			}
			o.subsystems |= subsystemBFD // -P and -C do not speak of it
			o.subsystems &^= noBFD
			return o, nil
		}
		if err != nil {
			return nil, err
		}
		if m.ID == optNoBFD {
			noBFD = subsystemBFD // wherever it stands
		}
		if err := o.take(m); err != nil {
			return nil, err
		}
	}
}

func (o *options) take(m popt.Match) error {
	switch m.ID {
	case optFile:
		o.file = m.Value
	case optCheck:
		o.subsystems |= subsystemChecker
	case optVRRP:
		o.subsystems |= subsystemVRRP
	case optAll:
		o.all = true
	case optDontRespawn:
		o.dontRespawn = true
	case optVRRPPID:
		o.vrrpPID = m.Value
	case optCheckersPID:
		o.checkersPID = m.Value
	case optBFDPID:
		o.bfdPID = m.Value
	case optConsole:
		o.console = true
	case optDetail:
		o.detail = true
	case optFacility:
		n, ok := logFacility(m.Value)
		if !ok {
			return fmt.Errorf("invalid log facility '%s': expected 0 to 7, local0 to local7, user or daemon", m.Value)
		}
		o.facility = n
	case optLogFile:
		o.logFile = m.Value
	case optFlushLog:
		o.flushLog = true
	case optNoSyslog:
		o.noSyslog = true
	case optDumpConf:
		o.dumpConf = true
	case optNamespace:
		o.namespace = m.Value
	case optConfigID:
		o.configID = m.Value
	case optAllConfig:
		o.allConfig = true
	case optUmask:
		mask, ok := config.ParseUmask(m.Value)
		if !ok {
			return fmt.Errorf("invalid umask '%s': expected an octal number up to 0777, or bits such as IRWXG|IRWXO", m.Value)
		}
		o.umask = mask
	case optCoreDump:
		o.coreDump = true
	case optCorePattern:
		o.coreDump, o.corePattern = true, m.Value
	case optIgnoreSIGINT:
		o.ignoreSIGINT = true
	case optSNMP:
		o.snmp = true
	case optSNMPSocket:
		o.snmpSocket = m.Value
	case optReleaseVIPs:
		o.releaseVIPs = true
	case optKeepVRRP:
		o.keepAddresses = true
	case optMonitor:
		o.monitor = true
	case optKeepTable:
		o.keepTable = true
	case optDontFork:
		o.foreground = true
	case optPID:
		o.pidFile = m.Value
	case optTest:
		o.check, o.checkFile = true, m.Value
	case optPlan:
		o.plan = true
	case optDoctor:
		switch m.Value {
		case "", doctorText:
			o.doctor = doctorText
		case doctorJSON:
			o.doctor = doctorJSON
		default:
			return fmt.Errorf("invalid format '%s' of --doctor: expected text or json", m.Value)
		}
	case optReload:
		o.reload = true
	case optForceReload:
		o.forceReload = true
	case optSignum:
		o.signal = m.Value
	case optGenhash:
		return errors.New("-T, --genhash must be the first word")
	case optVersion:
		o.version = true
	case optHelp:
		o.help = true
	}
	return nil
}

// logFacility reads the word behind -S: the number of local0 to local7, or those
// of logline for user and daemon.
func logFacility(word string) (int, bool) {
	switch word {
	case "daemon":
		return logline.Daemon, true
	case "user":
		return logline.User, true
	}
	n, err := strconv.Atoi(strings.TrimPrefix(word, "local"))
	return n, err == nil && n >= 0 && n <= 7
}

// usage is the text of --help.
func usage(program string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage: %s [OPTION...]\n\n", program)
	writeRows(&b, optionRows)
	return b.String()
}

// writeRows writes a line for each option.
func writeRows(b *strings.Builder, rows []optionRow) {
	for _, r := range rows {
		short := "    "
		if r.Short != 0 {
			short = fmt.Sprintf("-%c, ", r.Short)
		}
		long := "--" + r.Long
		switch r.Arg {
		case popt.Required:
			long += "=" + r.value
		case popt.Optional:
			long += "[=" + r.value + "]"
		}
		fmt.Fprintf(b, "  %s%-22s %s\n", short, long, r.text)
	}
}

// signalNumbers are those that scripts send, by the words of --signum.
var signalNumbers = map[string]int{"STOP": 15, "RELOAD": 1, "DATA": 10, "STATS": 12, "STATS_CLEAR": 63, "JSON": 36}
