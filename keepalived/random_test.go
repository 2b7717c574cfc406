// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/director"
	"github.com/lvs-fnat/lvs/internal/testconf"
)

// stricter are faults that only ours tells with -t, by a part of each.
var stricter = []string{
	"hysteresis",                          // the original corrects it without a word
	"is above uthreshold",                 // the kernel refuses the real server
	"has no port to connect to",           // the check would never succeed
	"no such virtual_server_group",        // the virtual server would not be there
	"regex is not in force here",          // it does not compile
	"number '0' outside range [1, 429496", // fwmark 0
	"has a zone",
	"No config files matched",
	": invalid value '10.0", ": invalid value 'fd00", // of a range it takes the first, without a word
	"all real servers have weight 0",
	"is not a whole byte", "are not whole bytes", // of hex digits
	"cannot be asked for", // a name of DNS
	"persistence_granularity: number '129'", "invalid number '.'",
	"has a blank or a control character", "is empty", "SSL needs both", "regex_options: option missing",
	"regex_min_offset: ", "regex_max_offset: ", // the original takes any word for a number
}

// milder are what only the original finds fault with.
var milder = []string{
	"nb_get_retry is deprecated",
	"Invalid virtual server IP address", "Invalid real server ip address/port", // ADDRESS:PORT in one word is understood here
	"Unable to set default user", // said of each command; ours says it of what the command belongs to
}

// byName is what the original tells of a virtual server by its name, without a line, or
// as a remark of ours.
var byName = []string{
	"cannot change the port", "protocol will be ignored", "must be persistent", "one packet scheduling", "above the weight of all real servers",
	"no scheduler set", "no protocol set", "no forwarding method set", "has no real servers", "already defined at", "stands already at",
	"is ignored", "block is deprecated", "must be greater than 0", "must be of one family",
	"has no path", "has no url", "has no file", "has no command", "is above max_reply_length", "is not defined", // which it says at the end of a block
	"asked for as %20", "has no effect with lb_algo", "is left out: no user", "cannot be accessed", "Disabling misc script", // said of the command itself
}

// atTheEnd is what ours says at the beginning of a block, and the original at its end.
var atTheEnd = []string{
	"has no path - ignoring", "has no urls specified", "No file set for track_file", "has no track_file specified", "not found", "Missing '{'", "has no entries",
	"No script path has been specified", "don't match - skipping real server", "will always fail",
}

// TestRandom has keepalived 2.2.7 and ours read random configurations with -t. Both find
// fault with one or neither does; where the original ends at once, ours says so; and
// but for what is listed above, ours has something to say about each line that the
// original has, and has nothing against values that the original takes.
//
// LVS_RANDOM is how many, LVS_SEED the first seed.
func TestRandom(t *testing.T) {
	original, dir := stockKeepalived(t), t.TempDir()
	first, count := testconf.Seeds(t, 400)
	seeds := make(chan uint64)
	var wg sync.WaitGroup
	var mu sync.Mutex // guards the counters
	compared, faulty := 0, 0
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for seed := range seeds {
				rates := []testconf.Rates{{}, {Values: 0.005}, {Values: 0.02}, {Words: 0.02}, {Braces: 0.03}, {Values: 0.01, Words: 0.01, Braces: 0.01}}[seed%6]
				files := testconf.Random(seed, rates)
				main, err := files.Write(filepath.Join(dir, fmt.Sprint(seed)))
				if err != nil {
					t.Error(err)
					continue
				}
				// Some crash the original, and some have it run for ever.
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				theirs, err := readByOriginal(ctx, original, main)
				over := errors.Is(ctx.Err(), context.DeadlineExceeded)
				cancel()
				if over || err == nil && theirs.code == -1 {
					continue
				}
				if err != nil {
					t.Errorf("seed %d: %v", seed, err)
					continue
				}
				ours := readByUs(t.Context(), main)
				mu.Lock()
				compared++
				if theirs.code != exitOK {
					faulty++
				}
				mu.Unlock()
				why := differ(ours, theirs, rates)
				if err := startable(t.Context(), main); why == "" && err != nil {
					why = err.Error()
				}
				if why != "" {
					t.Errorf("seed %d: %s\ncode %d, original %d\nours:\n%soriginal:\n%s%s", seed, why, ours.code, theirs.code, ours.said, theirs.said, files)
				}
			}
		})
	}
	for i := range count {
		seeds <- first + i
	}
	close(seeds)
	wg.Wait()
	if want := int(count) * 2 / 3; compared < want || faulty == 0 || faulty == compared {
		t.Errorf("%d of %d were compared, %d of them with faults", compared, count, faulty)
	}
	t.Logf("%d compared, %d with faults", compared, faulty)
}

// startable tells why a daemon would not start, or not reload, with a configuration that
// loading has taken.
func startable(ctx context.Context, file string) error {
	cfg, diags, err := config.Load(ctx, file, testApp(io.Discard, io.Discard).config)
	if err != nil {
		return err
	}
	if _, refused := config.Refused(diags); refused {
		return nil
	}
	targets := director.New(cfg).Targets()
	for i := range targets {
		if err := targets[i].Validate(); err != nil {
			return fmt.Errorf("a start is refused, which -t has not told: %w", err)
		}
	}
	return nil
}

// differ says in what the verdicts on a text with faults at these rates differ and should
// not, or nothing.
func differ(ours, theirs verdict, rates testconf.Rates) string {
	mine, their := remarksAt(ours.said), remarksAt(theirs.said)
	is := func(list []string, text string) bool {
		return slices.ContainsFunc(list, func(s string) bool { return strings.Contains(text, s) })
	}
	excused := func(said string, list []string) bool {
		return slices.ContainsFunc(strings.Split(said, "\n"), func(l string) bool { return is(list, l) })
	}
	switch {
	case ours.code != exitOK && theirs.code == exitOK && !excused(ours.said, stricter):
		return "only ours finds fault"
	case ours.code == exitOK && theirs.code != exitOK && !excused(theirs.said, milder):
		return "only the original finds fault"
	}
	if rates.Words+rates.Braces > 0 {
		return "" // what one fault makes of the rest differs
	}
	// The original does not look into a block whose first line is wrong.
	skipped := excused(theirs.said, []string{" - skipping", "must be in [0, 4294967295] - ignoring"})
	if fatal := theirs.code == exitConfig; fatal != (ours.code == exitConfig) && !excused(theirs.said, []string{"nmatched quote"}) && !skipped {
		return "a missing word"
	}
	for at, text := range their {
		if mine[at] == "" && !is(milder, text) && !is(atTheEnd, text) {
			return "ours says nothing about " + at + ": " + text
		}
	}
	// What the parent alone reads, it tells without the name of the file.
	named := map[string]bool{}
	for _, line := range faultLines(theirs.said) {
		named[fmt.Sprintf("main:%d", line)] = true
	}
	for at, text := range mine {
		if theirs.code != exitConfig && !skipped && their[at] == "" && !named[at] && !is(stricter, text) && !is(byName, text) {
			return "the original says nothing about " + at + ": " + text
		}
	}
	return ""
}

var remark = regexp.MustCompile(`(?m)^\((?:(\S+): )?Line (\d+)\) (.*)$`)

// remarksAt gives what is said, by file and line.
func remarksAt(text string) map[string]string {
	m := map[string]string{}
	for _, f := range remark.FindAllStringSubmatch(text, -1) {
		if f[1] != "" {
			m[filepath.Base(f[1])+":"+f[2]] += f[3] + "; "
		}
	}
	return m
}
