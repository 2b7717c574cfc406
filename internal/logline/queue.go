// SPDX-License-Identifier: Apache-2.0

package logline

import (
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// queueLength is how many lines may wait for a slow reader of the log.
const queueLength = 16384

// flushTime bounds what Close waits for a log that nobody reads.
const flushTime = 2 * time.Second

// Queue is a Writer that never blocks: lines wait for a goroutine of its own to
// write them. When more wait than it can hold, new ones are dropped, as are those that
// cannot be written, and a line says how many once there is room.
type Queue struct {
	w     Writer
	lines chan queuedLine
	done  chan struct{}

	mu     sync.Mutex // guards what follows
	lost   int
	closed bool
}

type queuedLine struct {
	at    time.Time
	level slog.Level
	text  string
}

// NewQueue puts a queue before w. The caller must Close it.
func NewQueue(w Writer) *Queue { return newQueue(w, queueLength) }

func newQueue(w Writer, length int) *Queue {
	q := &Queue{w: w, lines: make(chan queuedLine, length), done: make(chan struct{})}
	go func() {
		defer close(q.done)
		q.write()
	}()
	return q
}

// write writes the lines. A log that cannot be written has no better place to say so than
// itself, once it can.
func (q *Queue) write() {
	failed, why := 0, error(nil)
	for l := range q.lines {
		if failed > 0 && q.w.WriteLine(l.at, slog.LevelWarn, fmt.Sprintf("%d lines of the log were lost: %v", failed, why)) == nil {
			failed = 0
		}
		if err := q.w.WriteLine(l.at, l.level, l.text); err != nil {
			failed, why = failed+1, err
		}
	}
}

// WriteLine implements Writer. After Close it drops.
func (q *Queue) WriteLine(at time.Time, level slog.Level, text string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return nil
	}
	if q.lost > 0 && len(q.lines) < cap(q.lines)-1 {
		q.lines <- queuedLine{at, slog.LevelWarn, fmt.Sprintf("%d lines of the log were lost: it was not read fast enough", q.lost)}
		q.lost = 0
	}
	if q.lost > 0 || len(q.lines) == cap(q.lines) {
		q.lost++
		return nil
	}
	q.lines <- queuedLine{at, level, text}
	return nil
}

// CloseAll closes all queues and waits for them as [Queue.Close] does, at the same time.
func CloseAll(queues []*Queue) {
	var all sync.WaitGroup
	for _, q := range queues {
		all.Go(q.Close)
	}
	all.Wait()
}

// Close waits until all lines are written, but no longer than two seconds.
func (q *Queue) Close() {
	q.mu.Lock()
	closed := q.closed
	q.closed = true
	q.mu.Unlock()
	if closed {
		return
	}
	close(q.lines)
	select {
	case <-q.done:
	case <-time.After(flushTime):
	}
}
