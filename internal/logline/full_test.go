// SPDX-License-Identifier: Apache-2.0

package logline

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// onSmallDisk runs what in a folder that holds two pages, on a thread that alone has it
// mounted and ends behind that.
func onSmallDisk(t *testing.T, what func(dir string) error) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a file system is mounted")
	}
	dir, page := t.TempDir(), os.Getpagesize()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
				return err
			}
			if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
				return err
			}
			if err := unix.Mount("small", dir, "tmpfs", 0, fmt.Sprintf("size=%d", 2*page)); err != nil {
				return err
			}
			return what(dir)
		}()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestFullDisk: of a line that has room for its first half alone, nothing stays, so that
// the next one begins on a line of its own once there is room.
func TestFullDisk(t *testing.T) {
	onSmallDisk(t, func(dir string) error {
		filler, log := filepath.Join(dir, "filler"), filepath.Join(dir, "log")
		if err := os.WriteFile(filler, []byte("x"), 0o600); err != nil { // one page of the two
			return err
		}
		f, err := OpenFile(log, true)
		if err != nil {
			return err
		}
		defer f.Close()
		at := time.Date(2026, 11, 22, 10, 29, 33, 0, time.UTC)
		first, second := strings.Repeat("1", os.Getpagesize()/2), strings.Repeat("2", os.Getpagesize()/2)
		if err := f.WriteLine(at, slog.LevelInfo, first); err != nil {
			return err
		}
		for range 2 { // the second time there is no room either, and nothing to take back twice
			if err := f.WriteLine(at, slog.LevelInfo, second); !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("a line without room: %v", err)
			}
		}
		if err := os.Remove(filler); err != nil {
			return err
		}
		if err := f.WriteLine(at, slog.LevelInfo, "third"); err != nil {
			return err
		}
		text, err := os.ReadFile(log)
		const date = "Sun Nov 22 10:29:33 2026: "
		if want := date + first + "\n" + date + "third\n"; string(text) != want {
			t.Errorf("the log has %d bytes %q, want %d", len(text), text, len(want))
		}
		return err
	})
}
