// SPDX-License-Identifier: Apache-2.0

package testvm

import (
	"cmp"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Run boots a guest, runs the tests of the calling package in it and reports each
// as a subtest of t, with its output. It fails t when the guest itself is at fault
// and does nothing when no test matches. No more guests run at a time than there are
// processors; tests with guests are made to be parallel.
//
// LVS_GUEST_LOGS names a folder in which console and results of every guest are
// kept.
func Run(t *testing.T, c Config) {
	t.Helper()
	release, err := Release(c.Kernel)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath(qemuProgram); err != nil && c.Mode != Sanitized {
		t.Fatalf("%v; run: make deps", err)
	}
	program := testProgram(t)
	names, sub := chooseTests(t, program, c)
	if len(names) == 0 {
		t.Log("no guest test matches")
		return
	}
	defer takePlace(t)()
	todo := mission{
		Kernel: c.Kernel, Mode: c.Mode.String(), Ours: c.Module == Ours, Load: c.loads(), Env: c.Env,
		Argv: append([]string{"/init", "-test.v=test2json", "-test.run=^(" + strings.Join(names, "|") + ")$" + sub,
			"-test.timeout=" + cmp.Or(c.Timeout, 2*time.Hour).String(), "-test.paniconexit0"}, c.Args...),
	}
	g := boot(t, prepare(t, c, release, program, todo), c.Output)
	for r := range g.p.done {
		replay(t, r)
	}
	g.keepLogs(t)
	t.Logf("%v of this host's processors", g.m.used.Round(time.Second))
	if bad := g.verdict(names); len(bad) > 0 {
		t.Errorf("guest: %s\n--- output outside tests:\n%s\n--- end of its console:\n%s",
			strings.Join(bad, "\nguest: "), strings.Join(g.p.stray, "\n"), g.console.tail(120))
	}
}

// guest is a running machine and what came out of it.
type guest struct {
	console, raw logBuffer
	p            *parser
	ended        chan error // one value, before p.done is closed
	m            *machine
}

// boot starts m. The caller drains p.done, which ends when the guest has. What the
// tests print goes to out as well unless that is nil.
func boot(t *testing.T, m *machine, out io.Writer) *guest {
	g := &guest{p: newParser(), ended: make(chan error, 1), m: m}
	m.console, m.results = &g.console, io.MultiWriter(&g.raw, g.p, cmp.Or(out, io.Discard))
	ctx, cancel := hostDeadline(t)
	go func() {
		defer cancel()
		err := m.run(ctx)
		g.ended <- err
		g.p.end()
	}()
	return g
}

// hostDeadline leaves time to print the log before go test gives up.
func hostDeadline(t *testing.T) (context.Context, context.CancelFunc) {
	if d, ok := t.Deadline(); ok {
		return context.WithDeadline(t.Context(), d.Add(-10*time.Second))
	}
	return context.WithCancel(t.Context())
}

func prepare(t *testing.T, c Config, release, program string, todo mission) *machine {
	t.Helper()
	conf, err := json.Marshal(todo)
	if err != nil {
		t.Fatal(err)
	}
	c.Files = withTestdata(t, c.Files)
	initrd := filepath.Join(t.TempDir(), "initrd")
	if err := image(initrd, program, c, release, conf); err != nil {
		t.Fatalf("image of guest %s: %v", c.Kernel, err)
	}
	return c.machine(release, initrd)
}

func (c Config) machine(release, initrd string) *machine {
	memory := c.Memory
	if memory == 0 {
		memory = 768
		if c.Programs {
			memory = 1024
		}
	}
	return &machine{
		kernel: filepath.Join(Cache(), "kernel", release, "boot", "vmlinuz-"+release), initrd: initrd,
		release: release, mode: c.Mode, patches: c.Patches, bare: c.Bare, memory: memory, processors: max(1, c.Processors), quiet: cmp.Or(c.Quiet, 10*time.Minute),
	}
}

// withTestdata adds the package's testdata folder at the tests' working directory.
func withTestdata(t *testing.T, files map[string]string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir("testdata", func(p string, d os.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err == nil && d.Type().IsRegular() {
			out["/work/"+filepath.ToSlash(p)] = p
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for g, h := range files {
		out[g] = h
	}
	return out
}

var build struct {
	sync.Once
	file string
	err  error
}

// testProgram is the test binary of this package in a form that runs without
// libraries: this process' own file if it is, or one built once for all guests.
func testProgram(t *testing.T) string {
	t.Helper()
	build.Do(func() {
		if self, err := os.Executable(); err == nil && isStatic(self) {
			build.file = self
			return
		}
		dir, err := os.MkdirTemp("", "testvm")
		if err != nil {
			build.err = err
			return
		}
		cleanups = append(cleanups, func() { os.RemoveAll(dir) })
		build.file = filepath.Join(dir, "init")
		build.err = goBuild(t.Context(), "test", "-c", "-vet=off", "-o", build.file, ".")
	})
	if build.err != nil {
		t.Fatal(build.err)
	}
	return build.file
}

// cleanups run before Main ends the process.
var cleanups []func()

// goBuild runs the go command so that what it makes needs no library.
func goBuild(ctx context.Context, verb string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{verb, "-ldflags=-s -w"}, args...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w\n%s", cmd.Args, err, out)
	}
	return nil
}

func isStatic(file string) bool {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "-race" && s.Value == "true" {
				return false
			}
		}
	}
	f, err := elf.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	return !slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
}

// Elsewhere says that a guest like c runs its tests at another time, by a command of
// its own: they are not forgotten.
func Elsewhere(t *testing.T, c Config) {
	t.Helper()
	chooseTests(t, testProgram(t), c)
}

// chooseTests returns the names of guest tests c and -run choose, and what -run
// says about their subtests ("" or "/pattern").
func chooseTests(t *testing.T, program string, c Config) (names []string, sub string) {
	t.Helper()
	all, err := listTests(program)
	if err != nil {
		t.Fatal(err)
	}
	parts := splitPattern(testPattern(t.Name()))
	if len(parts) > 1 {
		sub = "/" + strings.Join(parts[1:], "/")
	}
	want := []*regexp.Regexp{compile(t, c.Run), compile(t, parts[0])}
	skip := compile(t, c.Skip)
	for _, name := range all {
		if c.Skip != "" && skip.MatchString(name) {
			continue
		}
		if want[0].MatchString(name) && want[1].MatchString(name) {
			names = append(names, name)
		}
	}
	ask(names...)
	return names, sub
}

func compile(t *testing.T, s string) *regexp.Regexp {
	t.Helper()
	re, err := regexp.Compile(s)
	if err != nil {
		t.Fatalf("pattern of guest tests: %v", err)
	}
	return re
}

// verdict says what is wrong with a guest, after its end, beyond tests that failed.
// Tests without a result are reported as failed on the way.
func (g *guest) verdict(names []string) []string {
	var bad []string
	p := g.p
	if err := <-g.ended; err != nil {
		bad = append(bad, err.Error())
	} else if p.exit == nil {
		bad = append(bad, "the guest ended without a word: panic or reset")
	}
	bad = append(bad, p.fails...)
	// Of a test that panics only its end is told as its own.
	if slices.ContainsFunc(p.stray, func(l string) bool { return strings.HasPrefix(l, "panic: ") }) {
		bad = append(bad, "the test binary panicked")
	}
	if p.exit != nil && *p.exit != 0 && !p.anyFailed() {
		bad = append(bad, fmt.Sprintf("the test binary ended with status %d although no test failed", *p.exit))
	}
	for _, n := range names {
		if r := p.tops[n]; r == nil {
			bad = append(bad, n+": did not run")
		} else if r.outcome == "" {
			bad = append(bad, fmt.Sprintf("%s: did not end; so far:\n%s", n, strings.Join(r.all(), "\n")))
		}
	}
	if len(p.kernel) > 0 {
		bad = append(bad, "outside any test the kernel said:\n\t"+strings.Join(p.kernel, "\n\t"))
	}
	return bad
}

// replay reports a guest's test, and its subtests, as subtests of t.
func replay(t *testing.T, r *result) {
	t.Run(r.base(), func(t *testing.T) {
		out := t.Output()
		for _, l := range r.output {
			fmt.Fprintln(out, l)
		}
		for _, s := range r.subs {
			replay(t, s)
		}
		if r.took != "" {
			fmt.Fprintf(out, "guest time %s\n", r.took)
		}
		if len(r.kernel) > 0 {
			t.Errorf("while this test ran, the kernel said:\n\t%s", strings.Join(r.kernel, "\n\t"))
		}
		switch r.outcome {
		case "PASS":
		case "SKIP":
			t.SkipNow()
		case "FAIL":
			t.Fail()
		default:
			t.Error("the guest ended before this test did")
		}
	})
}

func (g *guest) keepLogs(t *testing.T) {
	t.Helper()
	dir := os.Getenv("LVS_GUEST_LOGS")
	if dir == "" {
		return
	}
	name := filepath.Join(dir, strings.ReplaceAll(t.Name(), "/", "_"))
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(name+".console", g.console.bytes(), 0o644),
		os.WriteFile(name+".results", g.raw.bytes(), 0o644)); err != nil {
		t.Error(err)
	}
}

// logBuffer keeps what is written to it. Safe for concurrent use.
type logBuffer struct {
	mu sync.Mutex // guards b
	b  []byte
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b = append(l.b, p...)
	return len(p), nil
}

func (l *logBuffer) bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.b)
}

func (l *logBuffer) tail(lines int) string {
	all := strings.Split(strings.ReplaceAll(strings.TrimRight(string(l.bytes()), "\r\n"), "\r", ""), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
