// SPDX-License-Identifier: Apache-2.0

// Command testsum runs go test over two lists of packages and closes with one
// line that counts what passed, failed and was skipped.
//
// Usage: testsum [-race] UNIT... -- GUEST...
//
// The packages before "--" run together, with the race detector if asked; those
// after it boot guests and run two at a time, in the order given, without it. They
// share the processors: no more guests run than there are. Neither is vetted, which
// `make lint` does. A skip is printed with its reason, and more skips than the allowance below are a
// failure: a test that stops running must not go unnoticed.
//
// A few tests that fail are run once more (again.go), and named before the closing
// line, where they count as passed if they did.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/lvs-fnat/lvs/internal/testvm"
)

// allowedSkips is how many tests may skip where everything is installed.
const allowedSkips = 0

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout))
}

func run(ctx context.Context, args []string, out io.Writer) int {
	race, unit, guest := split(args)
	sum := newSummary(out)
	places, err := os.MkdirTemp("", "places")
	if err == nil {
		defer os.RemoveAll(places)
		err = os.Setenv(testvm.PlacesEnv, places)
	}
	if err != nil {
		fmt.Fprintf(out, "testsum: %v\n", err)
		return 1
	}
	ok := true
	if len(unit) > 0 {
		flags := []string{"-timeout", "30m"}
		if race {
			flags = append(flags, "-race")
		}
		ok = goTest(ctx, sum, flags, unit...)
	}
	if len(guest) > 0 {
		ok = goTest(ctx, sum, []string{"-timeout", "60m", "-count", "1", "-p", "2"}, guest...) && ok
	}
	if !ok {
		ok = sum.again(ctx, goTest)
	}
	return sum.close(ok)
}

func split(args []string) (race bool, unit, guest []string) {
	list := &unit
	for _, a := range args {
		switch a {
		case "-race":
			race = true
		case "--":
			list = &guest
		default:
			*list = append(*list, a)
		}
	}
	return race, unit, guest
}

// goTest runs go test with flags, and args after them, and feeds its events to sum.
// False means that go itself says that something failed.
func goTest(ctx context.Context, sum *summary, flags []string, args ...string) bool {
	sum.flags = flags
	cmd := exec.CommandContext(ctx, "go", slices.Concat([]string{"test", "-json", "-vet=off"}, flags, args)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	cmd.Stderr = sum.out
	pipe, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintf(sum.out, "testsum: go test: %v\n", err)
		return false
	}
	readErr := sum.read(pipe)
	return errors.Join(readErr, cmd.Wait()) == nil
}

// event is a line of go test -json (go doc test2json).
type event struct {
	Action, Package, Test, Output, ImportPath string
	Elapsed                                   float64
}

// summary collects the events of several runs. Not safe for concurrent use.
type summary struct {
	out                  io.Writer
	output               map[string]*strings.Builder // of tests that still run
	parents              map[string]bool             // tests with subtests: not counted themselves
	passed, fails, skips int

	flags    []string  // of the run that is on
	failures []failure // in the order in which they ended, subtests without the tests they are in
	failed   []string  // packages
	lost     string    // why nothing is run again
	forgiven []failure // passed when run again
}

func newSummary(out io.Writer) *summary {
	return &summary{out: out, output: map[string]*strings.Builder{}, parents: map[string]bool{}}
}

func (s *summary) read(r io.Reader) error {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) == nil {
				s.add(e)
			} else {
				s.out.Write(line)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read events: %w", err)
		}
	}
}

func (s *summary) add(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "run":
		if i := strings.LastIndexByte(e.Test, '/'); i > 0 {
			s.parents[e.Package+" "+e.Test[:i]] = true
		}
	case "output", "build-output":
		if e.Test == "" {
			s.packageLine(e)
			return
		}
		if s.output[key] == nil {
			s.output[key] = &strings.Builder{}
		}
		s.output[key].WriteString(e.Output)
	case "pass", "fail", "skip":
		switch {
		case e.Test != "":
			s.end(key, e)
		case e.Action == "fail":
			s.failed = append(s.failed, e.Package)
		}
	}
}

// packageLine prints what go test prints of a package as a whole: "ok …", "FAIL …",
// build errors, panics.
func (s *summary) packageLine(e event) {
	if grave.MatchString(e.Output) {
		s.lost = strings.TrimSpace(e.Output)
	}
	if e.Output != "PASS\n" && !strings.HasPrefix(e.Output, "coverage:") {
		io.WriteString(s.out, e.Output)
	}
}

func (s *summary) end(key string, e event) {
	if !s.parents[key] {
		switch e.Action {
		case "pass":
			s.passed++
		case "fail":
			s.fails++
		case "skip":
			s.skips++
		}
	}
	var out string
	if s.output[key] != nil {
		out = s.output[key].String()
	}
	if e.Action != "pass" {
		io.WriteString(s.out, out)
	}
	if e.Action == "fail" {
		s.note(e, out)
	}
	delete(s.output, key)
}

// close prints the closing line and returns the exit code.
func (s *summary) close(ok bool) int {
	for _, f := range s.forgiven {
		fmt.Fprintf(s.out, "testsum: failed, and passed when run again: %s %s\n", f.pkg, f.test)
	}
	fmt.Fprintf(s.out, "%d passed, %d failed, %d skipped\n", s.passed, s.fails, s.skips)
	if s.skips > allowedSkips {
		fmt.Fprintf(os.Stderr, "testsum: %d tests skipped, %d allowed: see the reasons above\n", s.skips, allowedSkips)
		return 1
	}
	if !ok || s.fails > 0 || s.passed == 0 {
		return 1
	}
	return 0
}
