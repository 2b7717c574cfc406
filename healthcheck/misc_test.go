// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func shell(script string, dynamic bool) Spec {
	return Spec{Kind: MiscCheck, Misc: &Misc{Args: []string{"/bin/sh", "-c", script}, Dynamic: dynamic}}
}

func TestMisc(t *testing.T) {
	t.Parallel()
	bare := filepath.Join(t.TempDir(), "bare")
	if err := os.WriteFile(bare, []byte("exit 1\n"), 0o700); err != nil { // without #!
		t.Fatal(err)
	}
	r := verdicts(t, map[string]struct {
		spec Spec
		up   bool
	}{
		"true":            {shell("exit 0", false), true},
		"false":           {shell("exit 1", false), false},
		"two":             {shell("exit 2", false), false},
		"dynamic one":     {shell("exit 1", true), false},
		"dynamic two":     {shell("exit 2", true), true},
		"killed":          {shell("kill -9 $$", true), false},
		"no such command": {Spec{Kind: MiscCheck, Misc: &Misc{Args: []string{"/no/such"}}}, true},
		"no program":      {Spec{Kind: MiscCheck, Misc: &Misc{Args: []string{bare}}}, true},
		"shell":           {Spec{Kind: MiscCheck, Misc: &Misc{Args: []string{"</etc/passwd", "false"}, Shell: "</etc/passwd 'false'"}}, false},
		"shell, nothing":  {Spec{Kind: MiscCheck, Misc: &Misc{Args: []string{"</etc/passwd", "/no/such"}, Shell: "</etc/passwd '/no/such'"}}, true},
	})
	if got := strings.Join(r.log.lines(), "\n"); !strings.Contains(got, "Misc check for [false VS [192.0.2.1]:tcp:80] by [/bin/sh] failed after 1 retry (exited with status 1).") {
		t.Errorf("log %s", got)
	}
}

// TestMiscRetryDisabled: the words that scripts look for when retry is 0.
func TestMiscRetryDisabled(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{Shards: 1})
	timing := quick
	timing.Retry = 0
	spec := shell("exit 1", false)
	spec.Timing = timing
	if _, err := r.Set([]Target{{Service: "V", Server: "S", Spec: spec}}); err != nil {
		t.Fatal(err)
	}
	r.next(t)
	if want := "Misc check for [S VS V] by [/bin/sh] failed with retry disabled (exited with status 1)."; !slices.Contains(r.log.lines(), want) {
		t.Errorf("log %q, want %q", r.log.lines(), want)
	}
}

// TestMiscTimeout: a command that ignores SIGTERM is killed with all its
// children, and a failure.
func TestMiscTimeout(t *testing.T) {
	t.Parallel()
	pids := filepath.Join(t.TempDir(), "pids")
	spec := shell(fmt.Sprintf(`trap "" TERM; sleep 1000 & echo $$ $! >%s; wait; sleep 1000`, pids), false)
	spec.Timing = quick
	spec.Timing.ConnectTimeout, spec.Timing.DelayLoop = 3*time.Second, time.Hour // the shell needs some of it
	r := newRig(t, Options{Shards: 1})
	if _, err := r.Set([]Target{{Service: "V", Server: "S", Spec: spec}}); err != nil {
		t.Fatal(err)
	}
	if got := r.next(t); got != "DOWN S" {
		t.Error(got)
	}
	text, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range strings.Fields(string(text)) {
		pid, _ := strconv.Atoi(word)
		await(t, "end of process "+word, func() bool {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			return err != nil || strings.Contains(string(stat), ") Z ")
		})
	}
	if got := strings.Join(r.log.lines(), "\n"); !strings.Contains(got, "timed out") {
		t.Errorf("log %s", got)
	}
}

// TestMiscWeight: a new exit status is told at once; a failure takes the
// weight back.
func TestMiscWeight(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "status")
	say := func(n int) {
		t.Helper()
		if err := os.WriteFile(file+".new", []byte(strconv.Itoa(n)+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	say(12)
	spec := shell(`read s <`+file+`; exit $s`, true)
	spec.Timing = quick
	r := newRig(t, Options{Shards: 1})
	if _, err := r.Set([]Target{{Service: "V", Server: "S", Spec: spec}}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		status int
		event  string
		want   Status
	}{
		{12, "UP S", Status{Up: true, Known: true, Weighted: true, Weight: 10}},
		{255, "UP S", Status{Up: true, Known: true, Weighted: true, Weight: 253}},
		{0, "UP S", Status{Up: true, Known: true}},
		{2, "UP S", Status{Up: true, Known: true, Weighted: true}},
		{1, "DOWN S", Status{Known: true}},
		{3, "UP S", Status{Up: true, Known: true, Weighted: true, Weight: 1}},
	} {
		say(c.status)
		if got := r.next(t); got != c.event {
			t.Errorf("status %d: event %s", c.status, got)
		}
		if got := r.Status()[0]; got != c.want {
			t.Errorf("status %d: %+v, want %+v", c.status, got, c.want)
		}
	}
}

// TestMiscCredential: who the engine says runs the command; an unknown user is
// a failure, not the daemon's own rights.
func TestMiscCredential(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("another user needs root")
	}
	r := newRig(t, Options{Shards: 1, Credential: func(m *Misc) (*syscall.Credential, error) {
		if m.User != "nobody" {
			return nil, errors.New("unknown user")
		}
		return &syscall.Credential{Uid: 65534, Gid: 65534}, nil
	}})
	var targets []Target
	for _, user := range []string{"nobody", "nowhere"} {
		spec := shell(`test $(id -u) = 65534`, false)
		spec.Misc.User = user
		spec.Timing = quick
		spec.Timing.Alpha = user == "nobody"
		targets = append(targets, Target{Service: "V", Server: user, Spec: spec})
	}
	if _, err := r.Set(targets); err != nil {
		t.Fatal(err)
	}
	got := []string{r.next(t), r.next(t)}
	slices.Sort(got)
	if want := []string{"DOWN nowhere", "UP nobody"}; !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
}

// TestPool: never more at a time than the limit, and every job is done.
func TestPool(t *testing.T) {
	p := newPool(3)
	var mu sync.Mutex
	now, most, done := 0, 0, 0
	var first sync.WaitGroup // three, which wait for each other
	first.Add(3)
	for i := range 50 {
		p.submit(func() {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			if i < 3 {
				first.Done()
				first.Wait()
			}
			mu.Lock()
			now--
			done++
			mu.Unlock()
		})
	}
	p.close()
	if most != 3 || done != 50 {
		t.Errorf("%d at a time, %d done, want 3 and 50", most, done)
	}
}
