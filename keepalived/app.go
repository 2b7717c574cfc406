// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/lvs-fnat/lvs/healthcheck"
	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/doctor"
	"github.com/lvs-fnat/lvs/internal/firewall"
	"github.com/lvs-fnat/lvs/internal/logline"
	"github.com/lvs-fnat/lvs/internal/notify"
	"github.com/lvs-fnat/lvs/internal/supervise"
)

// app is the program with its surroundings, which tests replace.
type app struct {
	stdout, stderr io.Writer
	config         config.Options
	dial           func(ctx context.Context, netns string) (kernel, error)
	load           func(context.Context) error // loads the kernel module
	marker         func(firewall.MarkOptions) (marker, error)
	engine         func(*slog.Logger, *atomic.Pointer[notify.Policy], *config.Processes) (engine, error)
	syslog         func(ident string, facility int) (logline.Writer, error)
	signals        func(inChild bool) (<-chan os.Signal, func())
	now            func() time.Time
	after          func(time.Duration) <-chan time.Time
	every          func(time.Duration) (<-chan time.Time, func())
	kill           func(pid int, sig syscall.Signal) error
	detach         func() (code int, err error)
	kinds          []*kind
	start          func(k *kind, o *options, netns string, text []byte) (process, error) // a child
	embody         func(birth) error
	// localAddresses are those of this host.
	localAddresses func() (map[netip.Addr]bool, error)
	// system is the host that --doctor looks at, with what closes it.
	system func(context.Context, *options, *config.Config) (*doctor.System, func(), error)
	// hasLink tells whether this host has a link of that name.
	hasLink func(string) bool
}

// engine is what the daemon needs of [healthcheck.Engine].
type engine interface {
	Set([]*healthcheck.Target) ([]healthcheck.Status, error)
	Status() []healthcheck.Status
	Suspend(off []bool)
	Late() time.Duration
	Session(name string, up bool)
	Run(context.Context, func([]healthcheck.Event)) error
	Close() error
}

func newApp(stdout, stderr *os.File) *app {
	return &app{
		stdout: stdout, stderr: stderr,
		hasLink: hasLink,
		config: config.Options{Trusted: func(path string) error {
			return (&notify.Policy{Security: true}).Check(path, &syscall.Credential{})
		}},
		dial: dial, load: loadModule, marker: openMarker,
		engine: func(log *slog.Logger, p *atomic.Pointer[notify.Policy], g *config.Processes) (engine, error) {
			loops := runtime.GOMAXPROCS(0)
			runtime.GOMAXPROCS(processorsFor(loops))
			return healthcheck.New(healthcheck.Options{Log: log, Shards: loops, Seed: g.RandomSeed, Credential: func(m *healthcheck.Misc) (*syscall.Credential, error) {
				return credential(p, m)
			}})
		},
		syslog:  logline.Syslog,
		signals: systemSignals,
		now:     time.Now,
		after:   time.After,
		every: func(d time.Duration) (<-chan time.Time, func()) {
			t := time.NewTicker(d)
			return t.C, t.Stop
		},
		kill:   syscall.Kill,
		detach: func() (int, error) { return supervise.Detach(stderr) },
		kinds:  kinds(),
		start: func(k *kind, _ *options, netns string, text []byte) (process, error) {
			return supervise.Start(supervise.Spec{Name: k.name, NetNS: netns, Data: text})
		},
		embody: embody,

		localAddresses: localAddresses,
		system:         systemOf,
	}
}

// processorsFor is how many processors of Go's so many loops of checks need. One more
// than loops: what a reload computes must not keep a loop from its checks until the
// scheduler takes turns. And so many that a quarter, the share of the collector of
// garbage, is about a whole number: else it takes its share in turns on each of them,
// ahead of whoever waits and without a look at sockets, for 90 ms over a reload of 40,000
// virtual servers (startCycle and findRunnableGCWorker in the runtime's mgcpacer.go).
func processorsFor(loops int) int {
	switch n := loops + 1; n {
	case 2, 3:
		return 4
	case 6:
		return 7
	default:
		return n
	}
}

// hasLink tells whether this host has a link of that name.
func hasLink(name string) bool {
	_, err := net.InterfaceByName(name)
	return err == nil
}

// Signals that scripts may send and that would end the process if nobody
// listened: 36 is SIGRTMIN+2, 63 SIGRTMAX-1.
var foreign = []os.Signal{syscall.SIGUSR1, syscall.SIGUSR2, syscall.Signal(36), syscall.Signal(63)}

// systemSignals takes this process's signals. A terminal sends SIGINT to all
// processes at once; to a child it is the parent who says what to do.
func systemSignals(inChild bool) (<-chan os.Signal, func()) {
	c := make(chan os.Signal, 16)
	signal.Notify(c, append(foreign, syscall.SIGHUP, syscall.SIGTERM)...)
	signal.Ignore(syscall.SIGPIPE)
	if inChild {
		signal.Ignore(syscall.SIGINT)
	} else {
		signal.Notify(c, syscall.SIGINT)
	}
	return c, func() { signal.Stop(c) }
}

// exit is an error with the code to end with.
type exit struct {
	code int
	err  error
}

func (e *exit) Error() string { return e.err.Error() }
func (e *exit) Unwrap() error { return e.err }

// run returns the exit code.
func (a *app) run(ctx context.Context, args []string) int {
	if program, rest, ok := genhashArgs(args); ok {
		return a.genhash(ctx, program, rest)
	}
	program := filepath.Base(args[0])
	o, err := parseOptions(args[1:])
	if err != nil {
		fmt.Fprintf(a.stderr, "%s: %v\n", program, err)
		return exitFatal
	}
	if a.config.Parser.ConfigID = o.configID; o.configID == "" {
		a.config.Parser.ConfigID, _, _ = strings.Cut(hostname(), ".")
	}
	if o.allConfig {
		a.config.RequireIncludes()
	}
	if name, conn, ok, err := supervise.Child(); ok {
		if err != nil {
			fmt.Fprintf(a.stderr, "%s: %v\n", program, err)
			return exitFatal
		}
		return a.childProcess(ctx, o, name, conn)
	}
	switch {
	case o.help:
		fmt.Fprint(a.stderr, usage(program))
	case o.version:
		fmt.Fprintf(a.stderr, "Keepalived v%s (lvs-fnat)\n", version)
	case o.signal != "":
		return a.signum(o.signal)
	case len(o.unexpected) > 0:
		fmt.Fprintf(a.stderr, "Unexpected argument(s): %q\n", o.unexpected)
	case o.check:
		return a.checkConfig(ctx, o)
	case o.plan:
		return a.plan(ctx, o)
	case o.doctor != "":
		return a.examine(ctx, o)
	case o.reload, o.forceReload:
		return a.reloadDaemon(ctx, o)
	case !o.foreground && !supervise.Detached():
		code, err := a.detach()
		if err != nil {
			fmt.Fprintf(a.stderr, "%s: %v\n", program, err)
		}
		return code
	default:
		return a.parentProcess(ctx, o)
	}
	return exitOK
}

func (a *app) signum(name string) int {
	n, ok := signalNumbers[name]
	if !ok {
		fmt.Fprintf(a.stderr, "Unknown sigfunc %s\n", name)
		return exitFatal
	}
	fmt.Fprintln(a.stdout, n)
	return exitOK
}

// checkConfig is -t. A file that is missing is no fault, as with the original.
func (a *app) checkConfig(ctx context.Context, o *options) int {
	out := a.stderr
	if o.checkFile != "" {
		f, err := openRemarks(o.checkFile)
		if err != nil {
			fmt.Fprintf(a.stderr, "Unable to open config-test log file: %v\n", err)
			return exitFatal
		}
		defer f.Close()
		out = f
	}
	opts := a.config
	opts.Verdict = true
	opts.Link = a.hasLink
	// What is read is in use until all of it is judged: there is nothing to collect.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	_, diags, err := config.Load(ctx, o.file, opts)
	if err != nil {
		fmt.Fprintf(out, msgNoFile+"\n", err)
		return exitOK
	}
	for _, d := range diags {
		fmt.Fprintln(out, d)
	}
	return config.ExitCode(diags)
}

func openRemarks(file string) (*os.File, error) {
	return os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
}

// writeRemarks adds the remarks to file.
func writeRemarks(file string, diags []config.Diagnostic) error {
	f, err := openRemarks(file)
	if err != nil {
		return err
	}
	for _, d := range diags {
		if _, err = fmt.Fprintln(f, d); err != nil {
			break
		}
	}
	return errors.Join(err, f.Close())
}

// logger opens the log under the name ident. Without syslog the lines go to
// standard error, so that they are not lost. Whoever logs never waits for the
// log; the function that is returned waits for the last lines.
func (a *app) logger(o *options, ident, file string) (*slog.Logger, func()) {
	level := slog.LevelInfo
	if o.detail {
		level = slog.LevelDebug
	}
	var queues []*logline.Queue
	var writers []logline.Writer
	add := func(w logline.Writer) {
		q := logline.NewQueue(w)
		queues, writers = append(queues, q), append(writers, q)
	}
	var faults []error
	if !o.noSyslog {
		sys, err := a.syslog(ident, o.facility)
		if err == nil {
			add(sys)
		} else if !o.console {
			faults = append(faults, fmt.Errorf("no syslog, logging to standard error: %w", err))
		}
	}
	var out *logline.File
	if file != "" {
		var err error
		if out, err = logline.OpenFile(file, o.flushLog); err == nil {
			add(out)
		} else {
			out, faults = nil, append(faults, err)
		}
	}
	if o.console || len(writers) == 0 && !o.noSyslog {
		add(logline.Console(a.stderr))
	}
	log := slog.New(logline.New(level, writers...))
	for _, err := range faults {
		log.Warn(err.Error())
	}
	return log, func() {
		logline.CloseAll(queues)
		if out != nil {
			_ = out.Close() // the log is where its faults would go
		}
	}
}

// exitCode sorts an error that ends the daemon.
func exitCode(err error) int {
	var e *exit
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &e):
		return e.code
	case errors.Is(err, fs.ErrPermission):
		return exitPermission
	}
	return exitFatal
}
