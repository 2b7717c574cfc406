// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/lvs-fnat/lvs/internal/bfd"
	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/supervise"
)

// Names of children that speak to each other.
const (
	childBFD      = "bfd"
	childCheckers = "checkers"
	childVRRP     = "vrrp"
)

// bfdWord is what the BFD process says about a session, to the process that
// follows it. Without a name it is a question: a process that begins asks for all.
type bfdWord struct {
	Name string    `json:"name,omitempty"`
	Up   bool      `json:"up,omitempty"`
	At   time.Time `json:"at,omitzero"`
}

// askBFD has the BFD process say all it knows. One that does not run yet will say
// so at its start.
func (c *child) askBFD() {
	c.sayBFD(childBFD, bfdWord{})
}

func (c *child) sayBFD(to string, w bfdWord) {
	data, err := json.Marshal(w)
	if err == nil {
		err = c.relay(to, data)
	}
	c.warn(err)
}

// hearBFD reads a word of the BFD process; false: it is none.
func (c *child) hearBFD(m supervise.Message) (w bfdWord, ok bool) {
	if m.From != childBFD {
		return w, false
	}
	if err := json.Unmarshal(m.Data, &w); err != nil {
		c.warn(fmt.Errorf("a word of the BFD process: %w", err))
		return w, false
	}
	state := bfd.Down
	if w.Up {
		state = bfd.Up
	}
	c.log.Debug(fmt.Sprintf("Received BFD event: instance %s is in state %v (delivered in %d usec)", w.Name, state, time.Since(w.At).Microseconds()))
	return w, w.Name != ""
}

// sessions is the child process of BFD at work.
type sessions struct {
	*child
	cfg    *config.Config
	engine *bfd.Engine
	// sessions of the configuration in force, by name; the loop's while it runs.
	hears  map[string]*config.BFDInstance
	cancel context.CancelFunc
	done   chan error
}

// needsBFD tells whether cfg has anything for the child.
func needsBFD(cfg *config.Config) bool { return len(cfg.BFD.Sessions) > 0 }

// run is the life of the process.
func (s *sessions) run(ctx context.Context) error {
	return runSteps(ctx, s.logger, []step{
		{do: s.readConfig},
		{do: s.open, undo: func(context.Context) error { return s.engine.Close() }},
		{do: s.start, undo: s.stop},
	}, func(ctx context.Context) error {
		if err := s.ready(); err != nil {
			return err
		}
		return s.serve(ctx)
	})
}

func (s *sessions) readConfig(ctx context.Context) (err error) {
	s.cfg, err = s.loadConfig(ctx, s.opts, s.log, false)
	return err
}

func (s *sessions) open(context.Context) (err error) {
	s.follow(s.cfg)
	s.engine, err = bfd.Open(s.cfg.BFD.Configs(), bfd.Options{Log: s.log, Changed: s.changed})
	return err
}

func (s *sessions) follow(cfg *config.Config) {
	s.hears = make(map[string]*config.BFDInstance, len(cfg.BFD.Sessions))
	for i := range cfg.BFD.Sessions {
		b := &cfg.BFD.Sessions[i]
		s.hears[b.Session.Name] = b
	}
}

// changed passes a report on. Routers take a session that has just begun for one
// that is down, as keepalived's do; a real server is not taken out before it is
// known to be.
func (s *sessions) changed(r bfd.Report) {
	b := s.hears[r.Name]
	w := bfdWord{Name: r.Name, Up: r.Up, At: r.At}
	if b.VRRP {
		s.sayBFD(childVRRP, w)
	}
	if b.Checker && !r.Fresh {
		s.sayBFD(childCheckers, w)
	}
}

func (s *sessions) start(context.Context) error {
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel, s.done = cancel, make(chan error, 1)
	go func() { s.done <- s.engine.Run(ctx) }()
	return nil
}

func (s *sessions) stop(context.Context) error {
	s.cancel()
	return <-s.done
}

func (s *sessions) serve(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-s.done:
			s.done <- err
			return err
		case sig := <-s.heard:
			switch sig {
			case syscall.SIGTERM, syscall.SIGINT:
				return nil
			case syscall.SIGHUP:
				s.log.Info(msgChildReloading)
				s.reloaded(s.reload(ctx))
			case syscall.SIGUSR1:
				s.warn(s.dump(ctx))
			}
		case <-s.relayed: // somebody begins
			s.warn(s.engine.Do(ctx, func() error { s.engine.Tell(); return nil }))
		}
	}
}

// reload reads the file beside the running sessions. One with errors in the part
// for them that they do not run with already changes nothing.
func (s *sessions) reload(ctx context.Context) error {
	cfg, err := s.loadConfig(ctx, s.opts, s.log, false)
	if err == nil {
		if faults := config.NewFaults(s.cfg.BFD.Faults, cfg.BFD.Faults); len(faults) > 0 {
			err = fmt.Errorf("%s has %d new error(s) for BFD, see above", s.opts.file, len(faults))
		}
	}
	if err != nil {
		return err
	}
	old := s.cfg
	err = s.engine.Do(ctx, func() error {
		s.follow(cfg)
		err := s.engine.Reload(cfg.BFD.Configs())
		if err != nil {
			s.follow(old)
		}
		return err
	})
	if err == nil {
		s.cfg = cfg
	}
	return err
}

// dump writes what SIGUSR1 asks for.
func (s *sessions) dump(ctx context.Context) error {
	s.log.Info(fmt.Sprintf(msgDump, "BFD", os.Getpid()))
	var b bytes.Buffer
	err := s.engine.Do(ctx, func() error {
		return s.engine.WriteData(&b, func(name string) (vrrp, checker bool) {
			c := s.hears[name]
			return c.VRRP, c.Checker
		})
	})
	if err != nil {
		return err
	}
	return writeDump(dumpFile("_bfd", placeOf(s.opts, &s.cfg.Root), &s.cfg.Global.Dump), func(w io.Writer) { _, _ = b.WriteTo(w) })
}
