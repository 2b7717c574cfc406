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
	file        string
	pidFile     string
	foreground  bool
	console     bool
	detail      bool
	facility    int // of syslog: local0 to local7, -1 for daemon
	keepTable   bool
	check       bool
	checkFile   string // where -t writes; "" is standard error
	version     bool
	help        bool
	signal      string
	unexpected  []string
	checkerOnly bool
}

const (
	defaultFile    = "/etc/keepalived/keepalived.conf"
	defaultPIDFile = "/run/keepalived.pid"
)

// Numbers of options, by the letter where there is one.
const (
	optFile      = 'f'
	optCheck     = 'C'
	optConsole   = 'l'
	optDetail    = 'D'
	optFacility  = 'S'
	optKeepTable = 'I'
	optDontFork  = 'n'
	optPID       = 'p'
	optTest      = 't'
	optVersion   = 'v'
	optHelp      = 'h'
	optSignum    = 256
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
	row(optCheck, "check", popt.None, "", "run the health checkers and the balancer only; there is nothing else yet"),
	row(optConsole, "log-console", popt.None, "", "log to standard error, and to syslog if there is one"),
	row(optDetail, "log-detail", popt.None, "", "log more"),
	row(optFacility, "log-facility", popt.Required, "0-7", "log to syslog as local0 to local7 instead of daemon"),
	row(optKeepTable, "dont-release-ipvs", popt.None, "", "leave the kernel's tables as they are at the end"),
	row(optDontFork, "dont-fork", popt.None, "", "stay in the foreground"),
	row(optPID, "pid", popt.Required, "FILE", "pid file (default "+defaultPIDFile+")"),
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
	o := &options{file: defaultFile, pidFile: defaultPIDFile, facility: -1}
	s := popt.New(popt.GetoptLong, optionTable(), args)
	for {
		m, err := s.Next()
		if errors.Is(err, io.EOF) {
			o.unexpected = s.Words()
			return o, nil
		}
		if err != nil {
			return nil, err
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
		o.checkerOnly = true
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
