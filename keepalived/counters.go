// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"syscall"
	"time"

	"github.com/lvs-fnat/lvs/internal/agentx"
	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/director"
	"github.com/lvs-fnat/lvs/ipvs"
)

// counters are those of the kernel as they were read last, which SNMP is told. They
// belong to the goroutine of the session, so that reading them holds up nothing else.
type counters struct {
	services map[ipvs.ServiceKey]ipvs.Stats
	read     time.Time // when services were
	dests    map[ipvs.ServiceKey]destCounters
	said     string // of what cannot be read
}

// destCounters are those of one service's real servers.
type destCounters struct {
	read time.Time
	of   map[ipvs.DestKey]ipvs.Dest
}

// counterTime bounds one reading: the master agent does not wait longer for an answer.
const counterTime = 10 * time.Second

// follow gives the counters in the tables of k, nil for none: each is read when it is
// asked for, and again if it is as old then as the configuration lets it be.
func (c *counters) follow(ctx context.Context, k kernel, s config.SNMP, now func() time.Time, log *slog.Logger) director.Counters {
	every, destsEvery := s.VSInterval, s.RSInterval
	if destsEvery == 0 {
		destsEvery = every
	}
	maps.DeleteFunc(c.dests, func(_ ipvs.ServiceKey, d destCounters) bool { return now().Sub(d.read) >= destsEvery })
	return director.Counters{
		Service: func(key ipvs.ServiceKey) ipvs.Stats {
			if k != nil && (c.services == nil || now().Sub(c.read) >= every) {
				c.read, c.services = now(), map[ipvs.ServiceKey]ipvs.Stats{}
				bounded, cancel := context.WithTimeout(ctx, counterTime)
				defer cancel()
				list, err := k.Services(bounded)
				for _, x := range list {
					c.services[x.ServiceKey] = x.Stats
				}
				c.note(ctx, log, err)
			}
			return c.services[key]
		},
		Dest: func(key ipvs.ServiceKey, dest ipvs.DestKey) ipvs.Dest {
			d, ok := c.dests[key]
			if k != nil && (!ok || now().Sub(d.read) >= destsEvery) {
				d = destCounters{now(), map[ipvs.DestKey]ipvs.Dest{}}
				bounded, cancel := context.WithTimeout(ctx, counterTime)
				defer cancel()
				list, err := k.Dests(bounded, key)
				for _, x := range list {
					d.of[x.DestKey] = x
				}
				if errors.Is(err, syscall.ESRCH) || errors.Is(err, syscall.ENOENT) {
					err = nil // it has gone, or is not there yet
				}
				c.note(ctx, log, err)
				if c.dests == nil {
					c.dests = map[ipvs.ServiceKey]destCounters{}
				}
				c.dests[key] = d
			}
			return d.of[dest]
		},
	}
}

// note logs why counters cannot be read, once.
func (c *counters) note(ctx context.Context, log *slog.Logger, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != c.said && ctx.Err() == nil {
		log.Warn(fmt.Sprintf("SNMP: counters: %s", text))
	}
	c.said = text
}

// openSNMP begins to tell what virtual servers are. It stands before the first of them
// is there, whose events it hears.
func (b *balancer) openSNMP(context.Context) error {
	b.snmp.log, b.snmp.view = b.log, b.objects
	b.calls = make(chan func(context.Context))
	b.followSNMP()
	return nil
}

func (b *balancer) closeSNMP(context.Context) error {
	b.snmp.close()
	return nil
}

// followSNMP has the session that the configuration in force asks for.
func (b *balancer) followSNMP() {
	s := &b.dir.Config().Global.SNMP
	var regions []agentx.Region
	if s.Checker {
		regions = []agentx.Region{globalRegion, {OID: director.CheckMIB, Text: "The MIB module for KEEPALIVED-CHECKER"}}
	}
	b.snmp.follow(s.Socket, regions)
}

// call has serve do f, and waits for that as long as ctx lives.
func (b *balancer) call(ctx context.Context, f func(context.Context) error) error {
	done := make(chan error, 1)
	select {
	case b.calls <- func(ctx context.Context) { done <- f(ctx) }:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// objects copies what virtual servers are; the session's goroutine calls it.
func (b *balancer) objects(ctx context.Context) (*agentx.View, error) {
	var view *agentx.View
	err := b.call(ctx, func(context.Context) error {
		view = &agentx.View{}
		cfg := b.dir.Config()
		addProgram(view, programRow{cfg, placeOf(b.opts, &cfg.Root).netns})
		b.dir.Objects(view, b.counters.follow(ctx, b.kernel, cfg.Global.SNMP, b.now, b.log), b.weigh)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return view, nil
}

// weigh sets the weight of a real server; the session's goroutine calls it.
func (b *balancer) weigh(ctx context.Context, w director.WeightOf) error {
	return b.call(ctx, func(ctx context.Context) error {
		notices, err := b.dir.Weigh(w)
		if err != nil {
			return err
		}
		b.herald.tell(notices)
		b.follow(ctx)
		return nil
	})
}
