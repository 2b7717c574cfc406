// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/lvs-fnat/lvs/internal/config"
)

// schedule is reload_time_file: a reload at the time that a file says, once,
// after which the file is removed, or every day with reload_repeat. Only the
// goroutine of serve touches it.
type schedule struct {
	path   string
	repeat bool
	at     time.Time        // zero: none
	due    <-chan time.Time // when to look at the clock again

	moved  chan struct{} // the file may say something else
	notify *fsnotify.Watcher
	wg     sync.WaitGroup
}

// clockStep is the longest time that a clock which somebody sets can be wrong for.
const clockStep = time.Minute

const scheduleTime = "2006-01-02 15:04:05"

// followSchedule has the schedule be that of the configuration.
func (p *parent) followSchedule(r *config.Reload) {
	s := &p.schedule
	if r.TimeFile != s.path {
		p.warn(s.close())
		*s = schedule{path: r.TimeFile}
		p.warn(s.watch())
	}
	s.repeat = r.Repeat
	p.readSchedule()
}

// watch begins to follow the file. Its folder is what is watched: editors
// replace files.
func (s *schedule) watch() error {
	if s.path == "" {
		return nil
	}
	n, err := fsnotify.NewWatcher()
	if err == nil {
		if err = n.Add(filepath.Dir(s.path)); err != nil {
			err = errors.Join(err, n.Close())
		}
	}
	if err != nil {
		return fmt.Errorf("reload_time_file: %s is read at a reload only: %w", s.path, err)
	}
	moved, base := make(chan struct{}, 1), filepath.Base(s.path)
	s.notify, s.moved = n, moved
	s.wg.Go(func() {
		for events, faults := n.Events, n.Errors; ; {
			select {
			case ev, ok := <-events:
				if !ok {
					return
				}
				if filepath.Base(ev.Name) != base {
					continue
				}
			case _, ok := <-faults: // events may be missing
				if !ok {
					return
				}
			}
			select {
			case moved <- struct{}{}:
			default:
			}
		}
	})
	return nil
}

func (s *schedule) close() error {
	if s.notify == nil {
		return nil
	}
	err := s.notify.Close()
	s.wg.Wait()
	s.notify = nil
	return err
}

// readSchedule looks into the file.
func (p *parent) readSchedule() {
	s := &p.schedule
	if s.path == "" {
		return
	}
	text, err := os.ReadFile(s.path)
	var at time.Time
	if err == nil {
		if len(text) == 0 {
			return // it is being written
		}
		at, err = reloadTime(strings.TrimSpace(string(text)), p.now(), s.repeat)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		p.log.Warn(fmt.Sprintf("reload_time_file %s: %v", s.path, err))
	}
	const scheduled = "Scheduling reload for "
	switch old := s.at; {
	case at.Equal(old):
	case at.IsZero():
		p.log.Info("The reload of " + old.Format(scheduleTime) + " is cancelled")
	case old.IsZero():
		p.log.Info(scheduled + at.Format(scheduleTime))
	default:
		p.log.Info("Reload time updated from " + old.Format(scheduleTime) + " to " + at.Format(scheduleTime))
	}
	s.at = at
	p.armSchedule()
}

func (p *parent) armSchedule() {
	s := &p.schedule
	if s.due = nil; !s.at.IsZero() {
		s.due = p.after(max(0, min(s.at.Sub(p.now()), clockStep)))
	}
}

// reloadTime reads [YYYY-MM-DD ]HH:MM:SS[Z]. Without a date it is the next
// time the clock shows that; repeat allows no date.
func reloadTime(s string, now time.Time, repeat bool) (time.Time, error) {
	zone := now.Location()
	bare, utc := strings.CutSuffix(s, "Z")
	if utc {
		zone = time.UTC
	}
	if at, err := time.ParseInLocation(scheduleTime, bare, zone); err == nil {
		switch {
		case repeat:
			return time.Time{}, fmt.Errorf("'%s' has a date: reload_repeat needs HH:MM:SS alone", s)
		case !at.After(now):
			return time.Time{}, fmt.Errorf("'%s' has passed: write a time to come", s)
		}
		return at.In(now.Location()), nil
	}
	t, err := time.ParseInLocation(time.TimeOnly, bare, zone)
	if err != nil {
		return time.Time{}, fmt.Errorf("'%s' is no time: expected [YYYY-MM-DD ]HH:MM:SS, and Z for UTC", s)
	}
	y, m, d := now.In(zone).Date()
	at := time.Date(y, m, d, t.Hour(), t.Minute(), t.Second(), 0, zone)
	if !at.After(now) {
		at = time.Date(y, m, d+1, t.Hour(), t.Minute(), t.Second(), 0, zone)
	}
	return at.In(now.Location()), nil
}

// onSchedule reloads if it is time.
func (p *parent) onSchedule(ctx context.Context) {
	s := &p.schedule
	if p.now().Before(s.at) {
		p.armSchedule()
		return
	}
	if s.at = (time.Time{}); !s.repeat {
		if err := os.Remove(s.path); err != nil {
			p.log.Log(ctx, slog.LevelWarn, fmt.Sprintf("reload_time_file: %v", err))
		}
	}
	s.due = nil
	p.reload(ctx) // which schedules the next
}
