// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/vrrp"
)

// syncDaemons runs the kernel's daemons that copy connections to a peer: the one
// that sends while its instance is the master, the one that receives else, or
// both where no instance is named. The kernel takes its time to stop one, so a
// goroutine of its own speaks to it.
type syncDaemons struct {
	log   *slog.Logger
	dial  func(context.Context) (kernel, error)
	queue chan syncWish
	wg    sync.WaitGroup
}

// syncWish is what is to run; nothing without daemons.
type syncWish struct{ daemons []ipvs.Daemon }

// syncWishes is how many changes may wait for the kernel.
const syncWishes = 64

func newSyncDaemons(log *slog.Logger, dial func(context.Context) (kernel, error)) *syncDaemons {
	s := &syncDaemons{log: log, dial: dial, queue: make(chan syncWish, syncWishes)}
	s.wg.Go(s.work)
	return s
}

// follow has run what belongs to a state of the instance; it never waits, and
// when the kernel is far behind only the last wish counts.
func (s *syncDaemons) follow(c *config.SyncDaemon, vrid uint8, state vrrp.State) {
	w := syncWish{}
	if c != nil {
		d := ipvs.Daemon{Interface: c.Interface, SyncID: uint32(max(c.ID, 0)), MaxLen: c.MaxLen, Port: c.Port, TTL: c.TTL, Group: c.Group}
		if c.ID < 0 {
			d.SyncID = uint32(vrid)
		}
		if c.Instance == "" || state == vrrp.Master {
			d.State = ipvs.SyncMaster
			w.daemons = append(w.daemons, d)
		}
		if c.Instance == "" || state != vrrp.Master {
			d.State = ipvs.SyncBackup
			w.daemons = append(w.daemons, d)
		}
	}
	for {
		select {
		case s.queue <- w:
			return
		default:
		}
		select {
		case <-s.queue:
		default:
		}
	}
}

// close stops what runs and waits.
func (s *syncDaemons) close() {
	s.follow(nil, 0, vrrp.Init)
	close(s.queue)
	s.wg.Wait()
}

func (s *syncDaemons) work() {
	var running []ipvs.Daemon
	var k kernel
	for w := range s.queue {
		if len(w.daemons) == 0 && len(running) == 0 {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), kernelTime)
		var err error
		if k == nil {
			k, err = s.dial(ctx)
		}
		if err == nil {
			running, err = change(ctx, k, running, w.daemons)
		}
		cancel()
		if err != nil {
			s.log.Error(fmt.Sprintf("IPVS sync daemon: %v", err))
		}
	}
	if k != nil {
		if err := k.Close(); err != nil {
			s.log.Warn(err.Error())
		}
	}
}

// change stops what is not wanted before it starts what is: the kernel has room
// for one of each kind. One that a dead process has left is in the way, too.
func change(ctx context.Context, k kernel, from, to []ipvs.Daemon) ([]ipvs.Daemon, error) {
	wanted := func(list []ipvs.Daemon, d ipvs.Daemon) bool {
		for _, x := range list {
			if x == d {
				return true
			}
		}
		return false
	}
	first := from == nil
	if first {
		from = []ipvs.Daemon{{State: ipvs.SyncMaster}, {State: ipvs.SyncBackup}}
	}
	running := []ipvs.Daemon{}
	for _, d := range from {
		if wanted(to, d) {
			running = append(running, d)
			continue
		}
		if err := k.Apply(ctx, ipvs.Op{Kind: ipvs.StopDaemon, Daemon: d}); err != nil && !first {
			return append(running, d), fmt.Errorf("stop: %w", err)
		}
	}
	for _, d := range to {
		if wanted(running, d) {
			continue
		}
		if err := k.Apply(ctx, ipvs.Op{Kind: ipvs.StartDaemon, Daemon: d}); err != nil {
			return running, fmt.Errorf("start on %s: %w", d.Interface, err)
		}
		running = append(running, d)
	}
	return running, nil
}
