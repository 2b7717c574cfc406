// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/lvs-fnat/lvs/internal/popt"
	"github.com/lvs-fnat/lvs/ipvs"
)

// extABI is the version of IPVS_EXT that this program speaks.
const extABI = 1

// app is one run of the program with all it touches.
type app struct {
	argv0    string
	posix    bool // the environment has POSIXLY_CORRECT
	stdin    io.Reader
	stdout   *bufio.Writer
	stderr   io.Writer
	names    *names
	connFile string // /proc/net/ip_vs_conn
	defaults string // defaultsFile
	dial     func(context.Context) (kernel, error)
	load     func(context.Context) error // loads the module
	now      func() time.Time
	openTTY  func() terminal // the user's, nil if there is none to draw on

	kernel        kernel
	info          ipvs.Info // Extended only if extendedKnown
	extendedKnown bool
}

// run does what args say, which include the program's name, and returns the
// exit code.
func (a *app) run(ctx context.Context, args []string) int {
	if len(args) > 0 {
		a.argv0, args = args[0], args[1:]
	}
	if err := a.connect(ctx); err != nil {
		return a.report(err)
	}
	defer a.kernel.Close()
	if a.info.Version < oldestVersion {
		fmt.Fprintf(a.stderr, msgOldKernel+"\n", versionText(a.info.Version))
	}
	if len(args) == 0 {
		args = []string{"-L"}
	}
	err := a.do(ctx, args)
	if errors.Is(err, errHelped) {
		err = nil
	}
	return a.report(err)
}

// errHelped says that -h or -v was served, which ends a restore as well.
var errHelped = errors.New("helped")

// report writes what is left of the listing, then the error, and returns the
// exit code.
func (a *app) report(err error) int {
	a.stdout.Flush()
	var f *failure
	switch {
	case err == nil:
		return 0
	case errors.As(err, &f):
		if f.text != "" {
			fmt.Fprintln(a.stderr, f.text)
		}
		return f.code
	}
	fmt.Fprintln(a.stderr, err)
	return 255
}

// do reads and carries out one call. Its error is a *failure or errHelped.
func (a *app) do(ctx context.Context, args []string) error {
	var c call
	if err := a.read(ctx, &c, args); err != nil {
		return err
	}
	return a.execute(ctx, &c)
}

// read reads one call into c. Its error is a *failure.
func (a *app) read(ctx context.Context, c *call, args []string) error {
	err := c.parse(ctx, a.names, a.posix, args)
	if err == nil {
		return nil
	}
	var bad *popt.Error
	switch {
	case errors.Is(err, errTry):
		return a.tryHelp()
	case errors.As(err, &bad):
		return &failure{code: 255, text: bad.Error(), err: bad}
	}
	return err
}

func (a *app) tryHelp() error {
	return &failure{code: 255, text: fmt.Sprintf(msgTry, a.argv0), ends: true}
}

func (a *app) execute(ctx context.Context, c *call) error {
	switch c.cmd {
	case cmdHelp:
		a.stdout.WriteString(usage(a.argv0))
		return errHelped
	case cmdVersion:
		fmt.Fprintf(a.stdout, versionLine, version, extABI)
		return errHelped
	case cmdList:
		return a.list(ctx, c)
	case cmdSave:
		return a.save(ctx, c)
	case cmdRestore:
		if c.set.has(colAtomic) {
			return a.restoreAtomic(ctx, c)
		}
		return a.restore(ctx)
	case cmdGetLaddr:
		return a.listLaddrs(ctx, c)
	case cmdKill:
		return a.kill(ctx, c)
	case cmdTop:
		return a.runTop(ctx, c)
	case cmdExplain:
		return a.explain(ctx, c)
	}
	return worded(c.cmd, a.change(ctx, c))
}

// worded is the failure that err is, or as which cmd words it; nil for nil.
func worded(cmd command, err error) error {
	var f *failure
	if err == nil || errors.As(err, &f) {
		return err
	}
	return refusedBy(cmd, err)
}

// change carries out a command that changes the tables.
func (a *app) change(ctx context.Context, c *call) error {
	op := ipvs.Op{Service: c.service, Dest: c.dest, Times: c.timeouts, Daemon: c.daemon}
	switch c.cmd {
	case cmdAdd:
		return a.addService(ctx, c)
	case cmdEdit:
		return a.editService(ctx, c)
	case cmdDelete:
		return a.deleteService(ctx, c.service.ServiceKey)
	case cmdFlush:
		return a.flush(ctx)
	case cmdAddDest, cmdEditDest:
		return a.putDest(ctx, c)
	case cmdDelDest:
		op.Kind = ipvs.DelDest
	case cmdTimeout:
		op.Kind = ipvs.SetTimeouts
	case cmdStartDaemon:
		op.Kind = ipvs.StartDaemon
		if op.Daemon.Interface == "" {
			op.Daemon.Interface = "eth0"
		}
	case cmdStopDaemon:
		op.Kind = ipvs.StopDaemon
	case cmdZero:
		op.Kind = ipvs.Zero
		// A service without mark, port and address is "all".
		if s := c.service; !c.set.has(colService) || s.FWMark == 0 && s.Port == 0 && s.Addr.IsUnspecified() {
			op.Service = ipvs.Service{}
		}
	case cmdAddLaddr:
		return a.addLaddr(ctx, c)
	case cmdDelLaddr:
		return a.delLaddr(ctx, c)
	case cmdSetExt:
		return a.setExtConfig(ctx, c)
	}
	if err := a.kernel.Apply(ctx, op); err != nil || op.Kind != ipvs.Zero {
		return err
	}
	if ours, err := a.extended(ctx); err != nil || !ours {
		return err
	}
	op.Kind = ipvs.ZeroExt
	return a.kernel.Apply(ctx, op)
}
