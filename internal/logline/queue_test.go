// SPDX-License-Identifier: Apache-2.0

package logline

import (
	"errors"
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

// full is a log on a file system that is full at times.
type full struct {
	let   chan bool // whether there is room for the line
	lines []string
}

func (f *full) WriteLine(_ time.Time, _ slog.Level, line string) error {
	if !<-f.let {
		return errors.New("no space left on device")
	}
	f.lines = append(f.lines, line)
	return nil
}

// TestQueueTellsLosses: lines that could not be written are told once one can.
func TestQueueTellsLosses(t *testing.T) {
	f := &full{let: make(chan bool, 10)}
	q := newQueue(f, 10)
	for _, let := range []bool{true, false, false, false, true, true, true} { // the third line is preceded by what was lost
		f.let <- let
	}
	for _, text := range []string{"0", "1", "2", "3", "4"} {
		if err := q.WriteLine(time.Time{}, slog.LevelInfo, text); err != nil {
			t.Fatal(err)
		}
	}
	q.Close()
	// For line 2 there was no room for the loss of line 1, and then none for the line.
	want := []string{"0", "2 lines of the log were lost: no space left on device", "3", "4"}
	if !slices.Equal(f.lines, want) {
		t.Errorf("log:\n%q\nwant\n%q", f.lines, want)
	}
}
