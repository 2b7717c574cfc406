// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/netif"
	"github.com/lvs-fnat/lvs/internal/poll"
)

// processInterval is how often /proc is read where the kernel tells of no processes.
const processInterval = time.Second

// processWatch counts the processes that are tracked.
type processWatch struct {
	e      *Engine
	list   []*processState
	timer  poll.Timer            // of a delay; without events of the next reading
	events *netif.ProcessWatcher // nil: /proc is read
	last   []int

	mu      sync.Mutex // guards table, which the goroutine of events works with
	table   processTable
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
	if len(w.list) == 0 {
		return
	}
	w.table.list = list
	w.mu.Lock() // events wait for the first reading
	buffers := &t.e.cfg.Global.Processes.Monitor
	var err error
	if w.events, err = netif.WatchProcesses(buffers.Monitor, buffers.MonitorForce, w.event, w.lost); err != nil {
		t.e.log.Info(fmt.Sprintf("%v: /proc is read every %v", err, processInterval))
	}
	counts := w.table.scan()
	w.mu.Unlock()
	w.count(counts, time.Now())
}

// event is called by the watcher's goroutine.
func (w *processWatch) event(ev netif.ProcessEvent) {
	w.mu.Lock()
	changed := w.table.event(ev)
	counts := slices.Clone(w.table.counts)
	w.mu.Unlock()
	if changed {
		w.e.loop.Post(func() { w.count(counts, time.Now()) })
	}
}

// lost is called by the watcher's goroutine: which events, only /proc can tell.
func (w *processWatch) lost(error) {
	w.mu.Lock()
	counts := w.table.scan()
	w.mu.Unlock()
	w.e.loop.Post(func() { w.count(counts, time.Now()) })
}

// Expire is the end of a delay. Without events it reads /proc, beside the loop.
func (w *processWatch) Expire() {
	if w.events != nil {
		w.count(w.last, time.Now())
		return
	}
	w.e.loop.Arm(&w.timer, processInterval)
	if w.reading {
		return
	}
	w.reading = true
	w.wg.Go(func() {
		w.mu.Lock()
		counts := w.table.scan()
		w.mu.Unlock()
		w.e.loop.Post(func() {
			w.reading = false
			w.count(counts, time.Now())
		})
	})
}

// count believes a change after its delay.
func (w *processWatch) count(counts []int, now time.Time) {
	if w.e.tracks.processes != w {
		return // of a configuration that is no more
	}
	w.last = counts
	next := time.Duration(0)
	if w.events == nil {
		next = processInterval
	}
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
		if left := delay - now.Sub(s.since); s.known && left > 0 {
			if next == 0 || left < next {
				next = left
			}
			continue
		}
		s.known, s.up, s.since = true, up, time.Time{}
		w.e.tracks.changed(kindProcess, s.cfg.Name)
	}
	switch {
	case w.e.stopping:
	case next == 0:
		w.e.loop.Stop(&w.timer)
	default:
		w.e.loop.Arm(&w.timer, next)
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
	if w.events != nil {
		w.e.warn(w.events.Close())
	}
	w.wg.Wait()
}

// processTable is who of the host's processes matches what is tracked.
type processTable struct {
	list   []config.TrackProcess
	match  map[int][]bool // by number of the process: what of list it is; none: not there
	counts []int
}

// scan reads all of /proc.
func (t *processTable) scan() []int {
	t.match, t.counts = map[int][]bool{}, make([]int, len(t.list))
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err == nil {
		for _, dir := range dirs {
			if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil {
				t.set(pid, t.look(pid))
			}
		}
	}
	return slices.Clone(t.counts)
}

// event takes in a change, and says whether a count is another one now. The child of a
// process is like it until it runs something else.
func (t *processTable) event(ev netif.ProcessEvent) bool {
	switch ev.Change {
	case netif.ProcessFork:
		return t.set(ev.PID, t.match[ev.Parent])
	case netif.ProcessExit:
		return t.set(ev.PID, nil)
	}
	return t.set(ev.PID, t.look(ev.PID))
}

func (t *processTable) set(pid int, now []bool) bool {
	old := t.match[pid]
	if slices.Equal(old, now) {
		return false
	}
	for i := range t.list {
		if old != nil && old[i] {
			t.counts[i]--
		}
		if now != nil && now[i] {
			t.counts[i]++
		}
	}
	if now == nil {
		delete(t.match, pid)
	} else {
		t.match[pid] = now
	}
	return true
}

// look reads what a process is now; nil: it has ended, or is nothing of the list.
func (t *processTable) look(pid int) (match []bool) {
	dir := "/proc/" + strconv.Itoa(pid)
	comm, err := os.ReadFile(dir + "/comm")
	if err != nil {
		return nil
	}
	var args []string
	for i := range t.list {
		c := &t.list[i]
		if args == nil && (c.FullCommand || c.ParamMatch != "") {
			line, err := os.ReadFile(dir + "/cmdline")
			if err != nil {
				return nil
			}
			args = strings.Split(string(bytes.TrimSuffix(line, []byte{0})), "\x00")
		}
		if matches(c, strings.TrimSpace(string(comm)), args) {
			if match == nil {
				match = make([]bool, len(t.list))
			}
			match[i] = true
		}
	}
	return match
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
