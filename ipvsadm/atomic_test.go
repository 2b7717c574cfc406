// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/lvs-fnat/lvs/ipvs/ipvstest"
	"pgregory.net/rapid"
)

// anyInput draws a description that the kernel accepts.
func anyInput(t *rapid.T) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	oneOf := func(words ...string) string { return rapid.SampledFrom(words).Draw(t, "word") }
	maybe := func(words ...string) string {
		if w := oneOf(append(words, "")...); w != "" {
			return " " + w
		}
		return ""
	}
	if rapid.Bool().Draw(t, "settings") {
		line("--set-ext --laddr-probes %d", rapid.IntRange(1, 3).Draw(t, "probes"))
		line("--set %d 0 %d", rapid.IntRange(1, 3).Draw(t, "tcp"), rapid.IntRange(0, 3).Draw(t, "udp"))
	}
	if rapid.Bool().Draw(t, "daemon") {
		line("--start-daemon %s --mcast-interface %s", oneOf("master", "backup"), oneOf("lo", "eth1"))
	}
	// g1 and g2 always have an address of their own, and share what is left.
	for i, g := range []string{"g1", "g2"} {
		line("-P --lgroup %s -z 10.0.0.%d:%s%s", g, i, oneOf("2000-3000", "4000-5000"), maybe("--laddr-flags no-new", "--laddr-cpus 0"))
	}
	for i := range 3 {
		if g := oneOf("g1", "g2", ""); g != "" {
			line("-P --lgroup %s -z 10.0.1.%d:2000-3000", g, i)
		}
	}
	if rapid.Bool().Draw(t, "six") {
		line("-P --lgroup six%s", maybe("-6"))
	}
	for _, s := range []string{"-t 192.0.2.1:80", "-t 192.0.2.2:80", "-u 192.0.2.1:53", "-f 7"} {
		if !rapid.Bool().Draw(t, "service") {
			continue
		}
		ext, forward := "", []string{"-m", "-g"}
		tcp := s[:2] != "-u"
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			ext = maybe("-o")
			if tcp {
				ext = maybe("-p 300", "-p 300 -M 255.255.255.0", "-b flag-1")
			}
		case 1:
			ext = " --fullnat --lgroup " + oneOf("g1", "g2") + maybe("--laddr-select source", "--exhaust-rst", "--bps-in 5 --cps 7")
			if tcp {
				ext += maybe("--toa", "--toa --toa-syn --toa-kind4 253") + maybe("--no-seq-adjust", "--seq-adjust") +
					maybe("--timestamps keep", "--timestamps rebase") + maybe("--mss 1400", "--rst-on-expire --est-timeout 60")
			}
		case 2:
			if tcp {
				ext = " --synproxy " + oneOf("on", "auto") + maybe("--synproxy-wscale off", "--synproxy-opts ts,no-sack", "--synproxy-auto-on 2000") + maybe("--invalid drop")
				forward = []string{"-m"}
			}
		}
		line("-A %s -s %s%s", s, oneOf("rr", "wlc", "none"), ext)
		for i := range rapid.IntRange(0, 3).Draw(t, "dests") {
			line("-a %s -r 10.1.0.%d %s -w %d%s", s, i, oneOf(forward...), rapid.IntRange(0, 3).Draw(t, "weight"), maybe("-x 10 -y 5"))
		}
	}
	return b.String()
}

// runOn runs ipvsadm on k.
func runOn(k *ipvstest.Table, dir, stdin string, args ...string) (code int, out, stderr string) {
	var o, e bytes.Buffer
	code = testApp(k, dir, strings.NewReader(stdin), &o, &e).run(context.Background(), append([]string{"ipvsadm"}, args...))
	return code, o.String(), e.String()
}

// sortedLines: the kernel lists local addresses in the order they came.
func sortedLines(text string) string {
	lines := strings.Split(text, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// withoutLine drops the lines that begin with begin.
func withoutLine(text, begin string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, begin) {
			b.WriteString(line)
		}
	}
	return b.String()
}

// TestAtomicMakesAnyTableAnyOther: what is there becomes what is described, a
// second time nothing is left to do, and if the kernel refuses anything on the
// way, all is as before.
func TestAtomicMakesAnyTableAnyOther(t *testing.T) {
	dir := t.TempDir()
	whole := func(t *rapid.T, k *ipvstest.Table) string {
		code, out, stderr := runOn(k, dir, "", "-S", "-n")
		if code != 0 {
			t.Fatalf("-S: %d, %s", code, stderr)
		}
		_, timeouts, _ := runOn(k, dir, "", "-L", "--timeout")
		_, daemons, _ := runOn(k, dir, "", "-L", "--daemon")
		return sortedLines(out + timeouts + daemons + k.String())
	}
	rapid.Check(t, func(t *rapid.T) {
		from, to := anyInput(t), anyInput(t)
		k, fresh := ipvstest.New(), ipvstest.New()
		for _, c := range []struct {
			k     *ipvstest.Table
			input string
		}{{k, from}, {fresh, to}} {
			if code, _, stderr := runOn(c.k, dir, c.input, "-R"); code != 0 || stderr != "" {
				t.Fatalf("-R of\n%s: %d, %s", c.input, code, stderr)
			}
		}
		before := whole(t, k)

		k.FailAt(rapid.IntRange(0, 20).Draw(t, "failing"), syscall.ENOMEM)
		k.Forget()
		code, _, stderr := runOn(k, dir, to, "-R", "--atomic")
		if code != 0 {
			if got := whole(t, k); got != before {
				t.Fatalf("after a refusal (%s):\n%s\nwant\n%s", stderr, got, before)
			}
			if strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "Memory allocation problem") {
				t.Fatalf("says %q", stderr)
			}
		}
		k.FailAt(-1, nil)
		if code, _, stderr := runOn(k, dir, to, "-R", "--atomic"); code != 0 || stderr != "" {
			t.Fatalf("-R --atomic of\n%s\non\n%s: %d, %s", to, before, code, stderr)
		}
		// What the input does not name of settings stays.
		_, got, _ := runOn(k, dir, "", "-S", "-n")
		_, want, _ := runOn(fresh, dir, "", "-S", "-n")
		if !strings.Contains(to, "--set-ext") {
			got = withoutLine(got, "--set-ext")
		}
		for _, stays := range []string{"--set ", "--start-daemon "} {
			got, want = withoutLine(got, stays), withoutLine(want, stays)
		}
		if sortedLines(got) != sortedLines(want) {
			t.Fatalf("\n%s\nbecame\n%s\nwant\n%s", before, got, want)
		}
		k.Forget()
		if code, _, stderr := runOn(k, dir, to, "-R", "--atomic"); code != 0 {
			t.Fatalf("the second time: %d, %s", code, stderr)
		}
		if lines := k.Lines(); len(lines) != 0 {
			t.Fatalf("the second time does %q", lines)
		}
	})
}
