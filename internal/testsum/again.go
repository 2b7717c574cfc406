// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// mostAgain is how many tests may fail once and be forgiven. More are no accident
// of the host.
const mostAgain = 3

// grave is what no second run makes good: what it tells of has happened.
var grave = regexp.MustCompile(`DATA RACE|panic: |fatal error: |the kernel said|guest: |the guest ended`)

// failure is a test that failed and the flags of go test it ran with.
type failure struct {
	pkg, test string
	flags     []string
}

// whole is the smallest test that runs by itself and holds f: one of a guest, else
// one of the package, as the subtests of one may need each other.
func (f failure) whole() string {
	parts := strings.Split(f.test, "/")
	if strings.HasPrefix(f.test, "TestGuests") {
		return strings.Join(parts[:min(4, len(parts))], "/")
	}
	return parts[0]
}

// pattern makes -run choose just the test called name.
func pattern(name string) string {
	parts := strings.Split(name, "/")
	for i, p := range parts {
		parts[i] = "^" + regexp.QuoteMeta(p) + "$"
	}
	return strings.Join(parts, "/")
}

// note takes down that a test, whose output was out, has failed. Its subtests
// ended before.
func (s *summary) note(e event, out string) {
	if m := grave.FindString(out); m != "" {
		s.lost = fmt.Sprintf("%s %s: %q", e.Package, e.Test, m)
	}
	under := func(f failure) bool { return f.pkg == e.Package && strings.HasPrefix(f.test, e.Test+"/") }
	if !slices.ContainsFunc(s.failures, under) {
		s.failures = append(s.failures, failure{e.Package, e.Test, s.flags})
	}
}

// again runs each test that failed once more, alone, when all others have ended:
// some live beside another program or against the clock, and a host that stands
// still can make them fail. It reports whether all passed, and says of each that
// it failed first. Nothing is run when so many failed, or in such a way, that the
// host is not to blame.
func (s *summary) again(ctx context.Context, test func(context.Context, *summary, []string, ...string) bool) bool {
	var tests []failure
	for _, f := range s.failures {
		f.test = f.whole()
		if !slices.ContainsFunc(tests, func(o failure) bool { return o.pkg == f.pkg && o.test == f.test }) {
			tests = append(tests, f)
		}
	}
	for _, pkg := range s.failed {
		if !slices.ContainsFunc(tests, func(f failure) bool { return f.pkg == pkg }) {
			s.lost = pkg + ": failed, but none of its tests did"
		}
	}
	switch {
	case len(tests) == 0:
		return false
	case s.lost != "":
		fmt.Fprintf(s.out, "testsum: nothing is run again: %s\n", s.lost)
		return false
	case len(tests) > mostAgain:
		fmt.Fprintf(s.out, "testsum: nothing is run again: %d tests failed, %d at most may\n", len(tests), mostAgain)
		return false
	}
	for _, f := range tests {
		fmt.Fprintf(s.out, "testsum: run again, alone: %s %s\n", f.pkg, f.test)
		second := newSummary(s.out)
		if !test(ctx, second, f.flags, "-run", pattern(f.test), f.pkg) || second.fails > 0 || second.skips > 0 || second.passed == 0 {
			return false
		}
		s.forgiven = append(s.forgiven, f)
	}
	s.passed, s.fails = s.passed+s.fails, 0
	return true
}
