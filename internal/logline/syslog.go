// SPDX-License-Identifier: Apache-2.0

package logline

import (
	"fmt"
	"log/slog"
	"log/syslog"
	"time"
)

// Facilities beside local0 to local7, which are 0 to 7.
const (
	Daemon = -1
	User   = -2
)

// Syslog connects to the host's syslog under a name such as Keepalived.
// facility is [Daemon], [User], or 0 to 7 for local0 to local7.
func Syslog(ident string, facility int) (Writer, error) {
	f := syslog.LOG_DAEMON
	switch {
	case facility > 7:
		return nil, fmt.Errorf("syslog facility %d is not one of 0 to 7", facility)
	case facility == User:
		f = syslog.LOG_USER
	case facility >= 0:
		f = syslog.LOG_LOCAL0 + syslog.Priority(facility)<<3
	}
	w, err := syslog.New(f|syslog.LOG_INFO, ident)
	if err != nil {
		return nil, fmt.Errorf("connect to syslog: %w", err)
	}
	return system{w}, nil
}

type system struct{ w *syslog.Writer }

func (s system) WriteLine(_ time.Time, level slog.Level, line string) error {
	switch {
	case level >= slog.LevelError:
		return s.w.Err(line)
	case level >= slog.LevelWarn:
		return s.w.Warning(line)
	case level >= slog.LevelInfo:
		return s.w.Info(line)
	}
	return s.w.Debug(line)
}
