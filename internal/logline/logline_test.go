// SPDX-License-Identifier: Apache-2.0

package logline

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func record(level slog.Level, msg string, attrs ...slog.Attr) slog.Record {
	r := slog.NewRecord(time.Date(2026, 11, 22, 10, 29, 33, 0, time.UTC), level, msg, 0)
	r.AddAttrs(attrs...)
	return r
}

func TestConsole(t *testing.T) {
	var out strings.Builder
	h := New(slog.LevelInfo, Console(&out))
	if h.Enabled(context.Background(), slog.LevelDebug) {
		t.Error("debug lines without being asked for")
	}
	ctx := context.Background()
	if err := h.Handle(ctx, record(slog.LevelInfo, "Gained quorum\n1", slog.Int("n", 2))); err != nil {
		t.Fatal(err)
	}
	with := h.WithAttrs([]slog.Attr{slog.String("vs", "a")}).WithGroup("g")
	if err := with.Handle(ctx, record(slog.LevelError, "text", slog.Int("n", 3))); err != nil {
		t.Fatal(err)
	}
	want := "Sun Nov 22 10:29:33 2026: Gained quorum 1 n=2\nSun Nov 22 10:29:33 2026: text vs=a g.n=3\n"
	if out.String() != want {
		t.Errorf("got:\n%swant:\n%s", out.String(), want)
	}
}

type broken struct{}

func (broken) WriteLine(time.Time, slog.Level, string) error { return errors.New("full") }

// TestEveryWriter: one that fails does not keep the line from the others.
func TestEveryWriter(t *testing.T) {
	var out strings.Builder
	err := New(slog.LevelInfo, broken{}, Plain(&out)).Handle(context.Background(), record(slog.LevelInfo, "text"))
	if err == nil || out.String() != "text\n" {
		t.Errorf("error %v, output %q", err, out.String())
	}
}

func TestSyslogFacility(t *testing.T) {
	if _, err := Syslog("x", 8); err == nil || !strings.Contains(err.Error(), "0 to 7") {
		t.Errorf("facility 8: %v", err)
	}
}
