// SPDX-License-Identifier: Apache-2.0

// Package logline is a slog handler that writes the lines of keepalived: a
// text without level, to syslog, or with the date in front to a console.
package logline

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// Writer takes one line. It is called by one goroutine at a time.
type Writer interface {
	WriteLine(at time.Time, level slog.Level, line string) error
}

// Handler writes records to all its writers. It is safe for concurrent use.
type Handler struct {
	out   *output
	level slog.Leveler
	attrs string
	group string
}

type output struct {
	mu      sync.Mutex
	writers []Writer
}

// New returns a handler of records of at least level.
func New(level slog.Leveler, writers ...Writer) *Handler {
	return &Handler{out: &output{writers: writers}, level: level}
}

// Enabled implements slog.Handler.
func (h *Handler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

// Handle implements slog.Handler. Every writer gets the line, even if another
// fails; the first failure is returned.
func (h *Handler) Handle(_ context.Context, r slog.Record) error {
	var line strings.Builder
	line.WriteString(r.Message)
	line.WriteString(h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		line.WriteString(h.format(a))
		return true
	})
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	var first error
	for _, w := range h.out.writers {
		// A line break would let a text look like two.
		if err := w.WriteLine(r.Time, r.Level, strings.ReplaceAll(line.String(), "\n", " ")); err != nil && first == nil {
			first = err
		}
	}
	return first
}

func (h *Handler) format(a slog.Attr) string {
	if a.Equal(slog.Attr{}) {
		return ""
	}
	return fmt.Sprintf(" %s%s=%v", h.group, a.Key, a.Value.Resolve())
}

// WithAttrs implements slog.Handler.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	n := *h
	for _, a := range attrs {
		n.attrs += h.format(a)
	}
	return &n
}

// WithGroup implements slog.Handler.
func (h *Handler) WithGroup(name string) slog.Handler {
	n := *h
	if name != "" {
		n.group += name + "."
	}
	return &n
}

// Console writes lines as keepalived's -l does: "Sun Nov 22 10:29:33 2026: text".
func Console(w io.Writer) Writer { return console{w} }

type console struct{ w io.Writer }

func (c console) WriteLine(at time.Time, _ slog.Level, line string) error {
	_, err := io.WriteString(c.w, consoleLine(at, line))
	return err
}

func consoleLine(at time.Time, line string) string {
	return fmt.Sprintf("%s: %s\n", at.Format(time.ANSIC), line)
}

// Plain writes lines as they are, as -t does.
func Plain(w io.Writer) Writer { return plain{w} }

type plain struct{ w io.Writer }

func (p plain) WriteLine(_ time.Time, _ slog.Level, line string) error {
	_, err := fmt.Fprintln(p.w, line)
	return err
}
