// SPDX-License-Identifier: Apache-2.0

package testvm

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

const (
	hostPrefix  = "^TestHost|^TestGuests"
	entryPrefix = "^TestGuests"
)

// guestFilter is the part of -run that chooses guest tests, when it named them
// directly.
var guestFilter string

// Main runs the tests of a package with guests: call it from TestMain. On the host
// it runs the tests named TestGuests… and TestHost…; as pid 1 it is a guest's init;
// in the guest it runs the tests Run asked for. It does not return.
func Main(m *testing.M) {
	Guest(nil)
	if InGuest() {
		os.Exit(m.Run())
	}
	flag.Parse()
	whole := true
	for _, f := range []string{"test.list", "test.run", "test.skip"} {
		whole = whole && flag.Lookup(f).Value.String() == ""
	}
	if flag.Lookup("test.list").Value.String() == "" {
		chooseHostTests()
	}
	// Guests wait for a place of their own.
	if err := flag.Set("test.parallel", "64"); err != nil {
		panic(err)
	}
	status := m.Run()
	if whole && status == 0 {
		status = reportForgotten()
	}
	for _, f := range cleanups {
		f()
	}
	os.Exit(status)
}

// Guest turns the calling process into what it must be in a guest: init if it is
// pid 1, modprobe if it was started under that name. Otherwise it returns. setup,
// if not nil, runs in init once modules are loaded, before the shell or script of a
// lab guest starts.
func Guest(setup Setup) {
	switch {
	case os.Getpid() == 1 && os.Getenv("TESTVM") == "":
		guestInit(setup)
	case filepath.Base(os.Args[0]) == "modprobe":
		if err := modprobeCommand(os.Args[1:]); err != nil {
			if !errors.Is(err, errQuiet) {
				fmt.Fprintln(os.Stderr, err)
			}
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// asked are the guest tests that some guest was asked to run.
var asked struct {
	sync.Mutex
	names map[string]bool
}

func ask(names ...string) {
	asked.Lock()
	defer asked.Unlock()
	if asked.names == nil {
		asked.names = map[string]bool{}
	}
	for _, n := range names {
		asked.names[n] = true
	}
}

// reportForgotten returns 1 if a test of this package runs neither here nor in any
// guest: nobody would notice.
func reportForgotten() int {
	self, err := os.Executable()
	if err != nil {
		fmt.Println("testvm:", err)
		return 1
	}
	names, err := listTests(self)
	if err != nil {
		fmt.Println("testvm:", err)
		return 1
	}
	asked.Lock()
	defer asked.Unlock()
	status := 0
	for _, n := range names {
		if !asked.names[n] {
			fmt.Printf("testvm: %s runs nowhere: no Config.Run of a TestGuests… matches it, and its name does not start with TestHost\n", n)
			status = 1
		}
	}
	return status
}

// listTests returns the guest tests in a test binary.
func listTests(program string) ([]string, error) {
	out, err := exec.Command(program, "-test.list", "^Test").Output()
	if err != nil {
		return nil, fmt.Errorf("list tests: %w", err)
	}
	host := regexp.MustCompile(hostPrefix)
	var names []string
	for name := range strings.FieldsSeq(string(out)) {
		if strings.HasPrefix(name, "Test") && !host.MatchString(name) {
			names = append(names, name)
		}
	}
	return names, nil
}

// chooseHostTests rewrites -run: `-run FNAT` means guest tests, which on the host
// are reached through TestGuests….
func chooseHostTests() {
	run := flag.Lookup("test.run")
	pattern := run.Value.String()
	first, _, _ := strings.Cut(pattern, "/")
	re, err := regexp.Compile(first)
	switch {
	case err != nil || strings.HasPrefix(strings.TrimPrefix(first, "^"), "TestHost"):
		return
	case re.MatchString("TestGuests") || strings.Contains(first, "TestGuests"):
		// Everything, or entries by name: keep guest tests off the host.
		if !strings.Contains(first, "TestGuests") {
			_ = run.Value.Set(hostPrefix)
		}
	default:
		guestFilter = pattern
		_ = run.Value.Set(entryPrefix)
	}
}

// testPattern is the -run pattern for guest tests below the host test called name.
func testPattern(name string) string {
	if guestFilter != "" {
		return guestFilter
	}
	parts := splitPattern(flag.Lookup("test.run").Value.String())
	if depth := strings.Count(name, "/") + 1; len(parts) > depth {
		return strings.Join(parts[depth:], "/")
	}
	return ""
}

// splitPattern cuts at slashes outside brackets, as package testing does.
func splitPattern(s string) []string {
	var parts []string
	depth, from := 0, 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '[', '(':
			depth++
		case ']', ')':
			depth--
		case '/':
			if depth <= 0 {
				parts = append(parts, s[from:i])
				from = i + 1
			}
		}
	}
	return append(parts, s[min(from, len(s)):])
}
