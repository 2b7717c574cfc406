// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"syscall"

	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/supervise"
)

// errParentGone is why a child's context ends.
var errParentGone = errors.New("the parent process is gone")

// relayQueue is how many words of others may wait for a child.
const relayQueue = 1024

// child is a child process at work: what its kind's run is given.
type child struct {
	*app
	kind  *kind
	opts  *options
	birth birth
	log   *slog.Logger
	// text is the configuration that the parent has found good, until the child is
	// ready.
	text *config.Text
	// heard are the signals to this process.
	heard <-chan os.Signal
	// relayed are words of other children; see relay.
	relayed <-chan supervise.Message
	conn    *supervise.Conn
	former  config.Former
	reloads int // that the parent has asked for
}

// ready tells the parent that the work is being done.
func (c *child) ready() error {
	c.text = nil
	return c.conn.Send(supervise.Message{Verb: supervise.VerbUp})
}

// reloaded tells the parent how a reload went: err is why the running
// configuration stays in force.
func (c *child) reloaded(err error) {
	m := supervise.Message{Verb: supervise.VerbReloaded}
	if err != nil {
		m = supervise.Message{Verb: supervise.VerbKept, Text: err.Error()}
	}
	c.warn(c.conn.Send(m))
}

// relay says data to the child named to. It finds it in its relayed, with the
// sender's name in From.
func (c *child) relay(to string, data []byte) error {
	return c.conn.Send(supervise.Message{Verb: supervise.VerbRelay, To: to, Data: data})
}

// loadConfig reads what the parent has read, until the child is ready: one that is
// started again must not meet a file that was refused meanwhile. Later it reads the
// files.
func (c *child) loadConfig(ctx context.Context, o *options, log *slog.Logger, tell bool) (*config.Config, error) {
	a := *c.app
	a.config.Verdict, a.config.Former = !c.kind.balances, &c.former
	if c.text != nil {
		a.config = a.config.Replay(c.text)
	}
	return a.loadConfig(ctx, o, log, tell)
}

func (c *child) logger() *slog.Logger { return c.log }

func (c *child) warn(err error) {
	if err != nil {
		c.log.Warn(err.Error())
	}
}

// childProcess is the whole life of the child named name; it returns the exit
// code.
func (a *app) childProcess(ctx context.Context, o *options, name string, conn *supervise.Conn) int {
	heard, unhear := a.signals(true)
	defer unhear()
	data, err := supervise.ChildData()
	if err != nil {
		fmt.Fprintf(a.stderr, "%s: %v\n", name, err)
		return exitFatal
	}
	return a.childRun(ctx, o, name, conn, heard, data)
}

// childRun is childProcess with what it has from its surroundings; data is what
// the parent has encoded.
func (a *app) childRun(ctx context.Context, o *options, name string, conn *supervise.Conn, heard <-chan os.Signal, data []byte) int {
	k := a.kindOf(name)
	if k == nil {
		fmt.Fprintf(a.stderr, "there is no child process %q\n", name)
		return exitFatal
	}
	b, err := beBorn(conn)
	if err != nil {
		fmt.Fprintf(a.stderr, "%s: %v\n", name, err)
		return exitFatal
	}
	text, err := decodeText(data)
	if err != nil {
		fmt.Fprintf(a.stderr, "%s: %v\n", name, err)
		return exitFatal
	}
	log, closeLog := a.logger(o, b.Ident, b.LogFile)
	defer closeLog()
	if err := a.embody(b); err != nil {
		log.Warn(err.Error())
	}
	ctx, cancel := context.WithCancelCause(ctx)
	relayed := make(chan supervise.Message, relayQueue)
	listening := make(chan struct{})
	go func() {
		defer close(listening)
		listen(log, conn, relayed, cancel)
	}()
	c := &child{app: a, kind: k, opts: o, birth: b, text: text, log: log, heard: heard, relayed: relayed, conn: conn}
	err = c.life(ctx)
	if err != nil {
		log.Error(err.Error())
	}
	log.Info(stopped())
	cancel(nil)
	if closeErr := conn.Close(); closeErr != nil {
		log.Warn(closeErr.Error())
	}
	<-listening
	return exitCode(err)
}

// life is run within what every child has.
func (c *child) life(ctx context.Context) error {
	var pid *supervise.PIDFile
	return runSteps(ctx, c.logger, []step{{
		do: func(ctx context.Context) (err error) {
			// A child whose parent was killed may not have ended yet.
			pid, err = supervise.WaitPIDFile(ctx, c.birth.PIDFile, childPatience)
			if errors.Is(err, supervise.ErrRunning) {
				c.log.Error(msgRunning)
			}
			return err
		},
		undo: func(context.Context) error { return pid.Remove() },
	}}, func(ctx context.Context) error { return c.kind.run(ctx, c) })
}

// listen passes on what the parent says, until it is gone.
func listen(log *slog.Logger, conn *supervise.Conn, relayed chan<- supervise.Message, gone context.CancelCauseFunc) {
	for {
		m, err := conn.Receive()
		if err != nil {
			gone(errParentGone)
			return
		}
		if m.Verb == supervise.VerbSilence {
			if err := supervise.Silence(); err != nil {
				log.Warn(err.Error())
			}
			continue
		}
		select {
		case relayed <- m:
		default: // the parent must never wait for a child that does not listen
			log.Warn(fmt.Sprintf(msgRelayLost, m.From))
		}
	}
}

func (a *app) kindOf(name string) *kind {
	for _, k := range a.kinds {
		if k.name == name {
			return k
		}
	}
	return nil
}

// stopped is the last line of a child, with the CPU time it has used.
func stopped() string {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return "Stopped"
	}
	return fmt.Sprintf(msgChildStopped, float64(u.Utime.Nano())/1e9, float64(u.Stime.Nano())/1e9)
}
