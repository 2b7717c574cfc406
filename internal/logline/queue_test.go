// SPDX-License-Identifier: Apache-2.0

package logline

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"
)

// slow is a log that takes a line only when it is let.
type slow struct {
	let   chan struct{}
	lines []string
}

func (s *slow) WriteLine(_ time.Time, _ slog.Level, line string) error {
	<-s.let
	s.lines = append(s.lines, line)
	return nil
}

// TestQueueNeverBlocks: a reader that stalls costs lines, and these are counted;
// it never costs time.
func TestQueueNeverBlocks(t *testing.T) {
	s := &slow{let: make(chan struct{})}
	q := newQueue(s, 4)
	write := func(text string) {
		if err := q.WriteLine(time.Time{}, slog.LevelInfo, text); err != nil {
			t.Fatal(err)
		}
	}
	write("0")
	for len(q.lines) > 0 { // until the goroutine stands in the writer
		time.Sleep(time.Millisecond)
	}
	for i := range 9 {
		write(fmt.Sprint(i + 1))
	}
	for range 4 {
		s.let <- struct{}{}
	}
	for len(q.lines) > 0 {
		time.Sleep(time.Millisecond)
	}
	write("late")
	close(s.let)
	q.Close()
	write("after the end")
	want := []string{"0", "1", "2", "3", "4", "5 lines of the log were lost: it was not read fast enough", "late"}
	if !slices.Equal(s.lines, want) {
		t.Errorf("log:\n%q\nwant\n%q", s.lines, want)
	}
}
