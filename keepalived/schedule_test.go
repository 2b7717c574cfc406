// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/ipvs/ipvstest"
)

func TestReloadTime(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.FixedZone("there", 3600))
	for text, want := range map[string]string{
		"12:00:01":             "2026-03-01 12:00:01",
		"12:00:00":             "2026-03-02 12:00:00",
		"11:59:59":             "2026-03-02 11:59:59",
		"11:00:01Z":            "2026-03-01 12:00:01",
		"10:59:59Z":            "2026-03-02 11:59:59",
		"2026-04-01 00:00:00":  "2026-04-01 00:00:00",
		"2026-04-01 00:00:00Z": "2026-04-01 01:00:00",
		"2026-03-01 12:00:00":  "'2026-03-01 12:00:00' has passed: write a time to come",
		"noon":                 "'noon' is no time: expected [YYYY-MM-DD ]HH:MM:SS, and Z for UTC",
		"25:00:00":             "'25:00:00' is no time: expected [YYYY-MM-DD ]HH:MM:SS, and Z for UTC",
	} {
		at, err := reloadTime(text, now, false)
		got := at.Format(scheduleTime)
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
	if _, err := reloadTime("2026-04-01 00:00:00", now, true); err == nil || !strings.Contains(err.Error(), "reload_repeat") {
		t.Errorf("a date to be repeated: %v", err)
	}
}

// TestSchedule: the file's time is met once, and follows the file; with
// reload_repeat it is met every day.
func TestSchedule(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "when")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("12:00:10\n")
	conf := "global_defs {\nreload_time_file " + file + "\n}\n" + nat
	d := newDaemon(t, ipvstest.NewStock(), conf)
	var clock atomic.Int64
	clock.Store(time.Date(2026, 3, 1, 12, 0, 0, 0, time.Local).Unix())
	d.app.now = func() time.Time { return time.Unix(clock.Load(), 0) }
	d.run()
	d.wait("Scheduling reload for 2026-03-01 12:00:10")
	d.wait(msgStarted)
	write("12:00:20")
	d.wait("Reload time updated from 2026-03-01 12:00:10 to 2026-03-01 12:00:20")
	d.retry <- time.Time{} // too early
	d.retry <- time.Time{} // the one before is worked off
	if n := strings.Count(strings.Join(d.log.all(), "\n"), msgReloading); n != 0 {
		t.Errorf("%d reloads before it is time", n)
	}
	d.signals <- syscall.SIGUSR1 // and this one, too
	clock.Add(20)
	d.retry <- time.Time{}
	d.wait(msgReloaded)
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file of a reload that is done: %v", err)
	}
	if n := strings.Count(strings.Join(d.log.all(), "\n"), msgReloaded); n != 1 {
		t.Errorf("%d reloads", n)
	}
	write("soon")
	d.wait("'soon' is no time")
	write("12:00:30")
	d.wait("Scheduling reload for 2026-03-01 12:00:30")
	d.reload(strings.Replace(conf, "global_defs {\n", "global_defs {\nreload_repeat\n", 1), msgReloaded)
	clock.Add(10)
	d.retry <- time.Time{}
	d.wait("Scheduling reload for 2026-03-02 12:00:30")
	d.wait(msgReloaded)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	d.wait("The reload of 2026-03-02 12:00:30 is cancelled")
	d.stop()
}

// TestSaveDir: each configuration that is loaded is kept, with what it includes,
// and the state of the checkers around each reload.
func TestSaveDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "saved")
	inc := filepath.Join(t.TempDir(), "inc.conf")
	if err := os.WriteFile(inc, []byte(nat), 0o600); err != nil {
		t.Fatal(err)
	}
	conf := "global_defs {\nconfig_save_dir " + dir + "\n}\ninclude " + inc + "\n"
	d := newDaemon(t, ipvstest.NewStock(), conf)
	d.start()
	d.reload(conf+"# again\n", msgReloaded)
	d.stop()
	for name, want := range map[string]string{
		"keepalived.conf.%d.0":       "# " + d.file + "\n" + conf + "\n# " + inc + "\n" + nat + "\n",
		"keepalived.conf.%d.1":       "# " + d.file + "\n" + conf + "# again\n\n# " + inc + "\n" + nat + "\n",
		"keepalived_check.%d.1.pre":  "LVS Topology",
		"keepalived_check.%d.1.post": "LVS Topology",
	} {
		name = fmt.Sprintf(name, os.Getpid())
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: %v\n%s\nwant\n%s", name, err, text, want)
		}
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 4 {
		t.Errorf("%v: %v", err, files)
	}
}
