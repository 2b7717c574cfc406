// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/lvs-fnat/lvs/internal/popt"
)

// options is the command line.
type options struct {
	file          string
	pidFile       string
	vrrpPID       string
	checkersPID   string
	bfdPID        string
	foreground    bool
	console       bool
	detail        bool
	facility      int // of syslog: local0 to local7, -1 for daemon
	keepTable     bool
	keepAddresses bool // of virtual routers, at the end
	check         bool
	checkFile     string // where -t writes; "" is standard error
	version       bool
	help          bool
	signal        string
	unexpected    []string
	// subsystems are the children that may run, all of them unless an option
	// names some; all has them run even without work.
	subsystems  subsystem
	all         bool
	dontRespawn bool
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
	optKeepVIPs    = 'V'
	optDontFork    = 'n'
	optPID         = 'p'
	optTest        = 't'
	optVersion     = 'v'
	optHelp        = 'h'
	optSignum      = 256 + iota
	optAll
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
	row(optFacility, "log-facility", popt.Required, "0-7", "log to syslog as local0 to local7 instead of daemon"),
	row(optKeepTable, "dont-release-ipvs", popt.None, "", "leave the kernel's tables as they are at the end"),
	row(optKeepVIPs, "dont-release-vrrp", popt.None, "", "leave the addresses of virtual routers where they are at the end"),
	row(optDontFork, "dont-fork", popt.None, "", "stay in the foreground"),
	row(optDontRespawn, "dont-respawn", popt.None, "", "end when a child process dies, instead of starting it again"),
	row(optPID, "pid", popt.Required, "FILE", "pid file (default "+defaultPIDFile+")"),
	row(optVRRPPID, "vrrp_pid", popt.Required, "FILE", "pid file of the VRRP child process (default "+defaultVRRPPID+")"),
	row(optCheckersPID, "checkers_pid", popt.Required, "FILE", "pid file of the checkers' child process (default "+defaultCheckersPID+")"),
	row(optBFDPID, "bfd_pid", popt.Required, "FILE", "pid file of the BFD child process (default "+defaultBFDPID+")"),
	row(optTest, "config-test", popt.Optional, "FILE", "check the configuration and exit; remarks go to FILE or standard error"),
	row(optSignum, "signum", popt.Required, "NAME", "print the number of the signal for STOP, RELOAD, DATA, STATS, STATS_CLEAR or JSON"),
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
		file: defaultFile, facility: -1, pidFile: defaultPIDFile,
		vrrpPID: defaultVRRPPID, checkersPID: defaultCheckersPID, bfdPID: defaultBFDPID,
	}
	noBFD := subsystem(0)
	s := popt.New(popt.GetoptLong, optionTable(), args)
	for {
		m, err := s.Next()
		if errors.Is(err, io.EOF) {
			o.unexpected = s.Words()
			if o.subsystems == 0 {
				o.subsystems = subsystems
			}
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
		n, err := strconv.Atoi(m.Value)
		if err != nil || n < 0 || n > 7 {
			return fmt.Errorf("invalid log facility '%s': expected 0 to 7", m.Value)
		}
		o.facility = n
	case optKeepTable:
		o.keepTable = true
	case optKeepVIPs:
		o.keepAddresses = true
	case optDontFork:
		o.foreground = true
	case optPID:
		o.pidFile = m.Value
	case optTest:
		o.check, o.checkFile = true, m.Value
	case optSignum:
		o.signal = m.Value
	case optVersion:
		o.version = true
	case optHelp:
		o.help = true
	}
	return nil
}

// usage is the text of --help.
func usage(program string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage: %s [OPTION...]\n\n", program)
	for _, r := range optionRows {
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
		fmt.Fprintf(&b, "  %s%-22s %s\n", short, long, r.text)
	}
	return b.String()
}

// signalNumbers are those that scripts send, by the words of --signum.
var signalNumbers = map[string]int{"STOP": 15, "RELOAD": 1, "DATA": 10, "STATS": 12, "STATS_CLEAR": 63, "JSON": 36}
