// SPDX-License-Identifier: Apache-2.0

package logline

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"
)

// File is a log file. It is opened anew when somebody has moved or removed it,
// as logrotate does, so that no signal is needed.
type File struct {
	path  string
	flush bool
	f     *os.File
	info  os.FileInfo
}

// OpenFile appends to the file at path, making it if it is not there. With flush
// each line is written through to the disk.
func OpenFile(path string, flush bool) (*File, error) {
	l := &File{path: path, flush: flush}
	return l, l.open()
}

func (l *File) open() error {
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("log file: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	l.f, l.info = f, info
	return nil
}

// WriteLine implements Writer, in the form of [Console].
func (l *File) WriteLine(at time.Time, level slog.Level, line string) error {
	if now, err := os.Stat(l.path); err != nil || !os.SameFile(now, l.info) {
		old := l.f
		if err := l.open(); err != nil {
			l.f = old // better a file without a name than none
		} else if err := old.Close(); err != nil {
			return err
		}
	}
	text := consoleLine(at, line)
	n, err := l.f.WriteString(text)
	if err != nil && n > 0 {
		// Half a line would be the beginning of the next one's.
		if info, statErr := l.f.Stat(); statErr == nil {
			err = errors.Join(err, l.f.Truncate(max(0, info.Size()-int64(n))))
		}
	}
	if err == nil && l.flush {
		err = l.f.Sync()
	}
	return err
}

// Close closes the file.
func (l *File) Close() error { return l.f.Close() }
