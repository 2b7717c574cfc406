// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// However its input comes, a lineReader hands out every line, the longest and
// one without an end too.
func TestLineReader(t *testing.T) {
	long := strings.Repeat("x", 40)
	want := []string{"one\n", "\n", long + "\n", long + long + "\n", "two\r\n", "last"}
	text := strings.Join(want, "")
	for name, in := range map[string]io.Reader{
		"at once": strings.NewReader(text), "byte by byte": iotest.OneByteReader(strings.NewReader(text)),
		"by halves": iotest.HalfReader(strings.NewReader(text)), "with its end": iotest.DataErrReader(strings.NewReader(text)),
	} {
		r := lineReader{in: bufio.NewReaderSize(in, 16)}
		var got []string
		for {
			line, err := r.next()
			got = append(got, line)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

// A line that has come is ready, half a line is not: who waits for the rest must
// not hold back what came before.
func TestLineReaderReady(t *testing.T) {
	in, out := io.Pipe()
	r := lineReader{in: bufio.NewReader(in)}
	if r.ready() {
		t.Error("ready before anything came")
	}
	go func() {
		_, _ = io.WriteString(out, "one\ntwo\nthr")
		_, _ = io.WriteString(out, "ee\n")
		_ = out.Close()
	}()
	for i, want := range []struct {
		line  string
		ready bool // the next
	}{{"one\n", true}, {"two\n", false}, {"three\n", false}} {
		line, err := r.next()
		if err != nil || line != want.line || r.ready() != want.ready {
			t.Errorf("line %d: %q, %v, the next ready %t; want %q, ready %t", i, line, err, r.ready(), want.line, want.ready)
		}
	}
	if line, err := r.next(); line != "" || !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %q, %v", line, err)
	}
}
