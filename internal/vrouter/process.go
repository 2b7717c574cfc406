// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/poll"
)

// processInterval is how often /proc is read. The kernel's process events would
// be quicker, but they do not reach into network namespaces.
const processInterval = time.Second

// processWatch counts the processes that are tracked.
type processWatch struct {
	e       *Engine
	list    []*processState
	timer   poll.Timer
	reading bool
	wg      sync.WaitGroup
}

type processState struct {
	cfg   config.TrackProcess
	known bool
	up    bool
	count int       // of processes, last
	since time.Time // when it began to be otherwise
}

func (t *tracks) buildProcesses(list []config.TrackProcess) {
	old := t.processes
	w := &processWatch{e: t.e}
	t.processes = w
	for _, cfg := range list {
		s := &processState{cfg: cfg}
		if old != nil {
			if i := slices.IndexFunc(old.list, func(o *processState) bool { return same(o.cfg, cfg) }); i >= 0 {
				*s = *old.list[i]
			}
		}
		w.list = append(w.list, s)
	}
	old.close()
	w.timer.E = w
	if len(w.list) > 0 {
		w.count(scanProcesses(w.list), time.Now())
		t.e.loop.Arm(&w.timer, processInterval)
	}
}

// Expire reads /proc beside the loop.
func (w *processWatch) Expire() {
	w.e.loop.Arm(&w.timer, processInterval)
	if w.reading {
		return
	}
	w.reading = true
	w.wg.Go(func() {
		counts := scanProcesses(w.list)
		w.e.loop.Post(func() {
			w.reading = false
			w.count(counts, time.Now())
		})
	})
}

// count believes a change after its delay.
func (w *processWatch) count(counts []int, now time.Time) {
	for i, s := range w.list {
		s.count = counts[i]
		up := counts[i] >= s.cfg.Quorum && counts[i] <= s.cfg.QuorumMax
		if s.known && up == s.up {
			s.since = time.Time{}
			continue
		}
		delay := s.cfg.TerminateDelay
		if up {
			delay = s.cfg.ForkDelay
		}
		if s.since.IsZero() {
			s.since = now
		}
		if s.known && now.Sub(s.since) < delay {
			continue
		}
		s.known, s.up, s.since = true, up, time.Time{}
		w.e.tracks.changed(kindProcess, s.cfg.Name)
	}
}

func (w *processWatch) up(name string) (up, known bool) {
	for _, s := range w.list {
		if s.cfg.Name == name {
			return s.up, s.known
		}
	}
	return false, false
}

func (w *processWatch) close() {
	if w == nil {
		return
	}
	if w.timer.Armed() {
		w.e.loop.Stop(&w.timer)
	}
	w.wg.Wait()
}

// scanProcesses counts, for each of the list, the processes that match.
func scanProcesses(list []*processState) []int {
	counts := make([]int, len(list))
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return counts
	}
	for _, dir := range dirs {
		if _, err := strconv.Atoi(filepath.Base(dir)); err != nil {
			continue
		}
		comm, err := os.ReadFile(dir + "/comm")
		if err != nil {
			continue // it has ended
		}
		var args []string
		for i, s := range list {
			if args == nil && (s.cfg.FullCommand || s.cfg.ParamMatch != "") {
				line, err := os.ReadFile(dir + "/cmdline")
				if err != nil {
					break
				}
				args = strings.Split(string(bytes.TrimSuffix(line, []byte{0})), "\x00")
			}
			if matches(&s.cfg, strings.TrimSpace(string(comm)), args) {
				counts[i]++
			}
		}
	}
	return counts
}

// commMax is what the kernel keeps of a name.
const commMax = 15

func matches(c *config.TrackProcess, comm string, args []string) bool {
	if c.FullCommand {
		if len(args) == 0 || args[0] != c.Process {
			return false
		}
	} else if name := filepath.Base(c.Process); comm != name[:min(len(name), commMax)] {
		return false
	}
	if c.ParamMatch == "" {
		return true
	}
	if len(args) == 0 {
		return false
	}
	args = args[1:]
	switch c.ParamMatch {
	case "exact":
		return slices.Equal(args, c.Params)
	case "initial":
		return len(args) >= len(c.Params) && slices.Equal(args[:len(c.Params)], c.Params)
	}
	for i := 0; i+len(c.Params) <= len(args); i++ {
		if slices.Equal(args[i:i+len(c.Params)], c.Params) {
			return true
		}
	}
	return false
}
