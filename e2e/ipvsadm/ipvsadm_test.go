// SPDX-License-Identifier: Apache-2.0

// Package ipvsadm compares our ipvsadm with the stock one, call by call, in
// guests: what they print, how they exit and what is in the kernel afterwards.
package ipvsadm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	moby "github.com/moby/ipvs"

	"github.com/lvs-fnat/lvs/internal/testconf"
	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testvm"
)

func TestMain(m *testing.M) {
	if how := os.Getenv(confinement); how != "" {
		err := confine(how, os.Args[1:])
		fmt.Fprintln(os.Stderr, "confine:", err)
		os.Exit(125)
	}
	testvm.Main(m)
}

const stockProgram, ourProgram = "/sbin/ipvsadm.stock", "/usr/local/sbin/ipvsadm"

// emptyProgram is written in Go and ends at once.
const emptyProgram = "/usr/local/sbin/empty"

// tracedProgram starts another to be traced.
const tracedProgram = "/usr/local/sbin/traced"

// guestFiles builds our ipvsadm and returns what a guest needs to compare it.
func guestFiles(t *testing.T) map[string]string {
	t.Helper()
	root, err := testvm.Root()
	testnet.Must(t, err)
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	testnet.Must(t, err)
	link := regexp.MustCompile(`(?m)^bin/ipvsadm: LINK = (.*)`).FindSubmatch(makefile)
	if link == nil {
		t.Fatal("the Makefile links ipvsadm with no flags of its own")
	}
	dir := t.TempDir()
	files := map[string]string{}
	for place, what := range map[string]struct{ source, link string }{
		ourProgram: {"./ipvsadm", string(link[1])}, emptyProgram: {"./e2e/ipvsadm/testdata/empty.go", string(link[1])},
		tracedProgram: {"./e2e/ipvsadm/testdata/traced", ""},
	} {
		file := filepath.Join(dir, filepath.Base(place))
		build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-s -w "+what.link, "-o", file, what.source)
		build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", what.source, err, out)
		}
		files[place] = file
	}
	for _, name := range []string{"hosts", "services", "nsswitch.conf", "resolv.conf"} {
		files["/etc/"+name] = filepath.Join("testdata/etc", name)
	}
	for _, name := range debianFiles {
		files[name] = filepath.Join(testvm.Cache(), "root", name)
	}
	files[unitScript] = filepath.Join(root, "packaging/ipvsadm-rules")
	return files
}

// wholeSet marks the guest that plays all cases.
const wholeSet = "LVS_ALL_CASES"

// TestGuestsIpvsadm compares on the distribution's ip_vs and on ours.
func TestGuestsIpvsadm(t *testing.T) {
	t.Parallel()
	files := guestFiles(t)
	kernels := testvm.Kernels()
	for _, kernel := range kernels {
		for _, module := range []testvm.Module{testvm.Stock, testvm.Ours} {
			name := map[testvm.Module]string{testvm.Stock: "stock", testvm.Ours: "ours"}[module]
			t.Run(kernel+"/"+name, func(t *testing.T) {
				t.Parallel()
				var env []string
				run := "^TestCases$"
				// Most cases end before the kernel is asked, or ask it what it
				// always answers alike.
				if kernel == kernels[len(kernels)-1] && module == testvm.Ours {
					run, env = "^Test(Cases|Debian|Missing)$", []string{wholeSet + "=1"}
				}
				if kernel == kernels[len(kernels)-1] && module == testvm.Stock {
					run, env = "^Test(Cases|Costs|Random|Missing)$", append(testconf.SeedsEnv(), bigTables+"="+os.Getenv(bigTables))
				}
				testvm.Run(t, testvm.Config{Env: env, Kernel: kernel, Module: module, Run: run, Programs: true, Files: files, Bare: true, Load: loaded})
			})
		}
	}
}

// loaded are all modules that a case makes the kernel load. It would load some
// while a namespace of another case goes away, and with a scheduler that has
// something of its own in each namespace (lblc) both then wait for each other
// for ever: stock 6.1 and 6.12 do.
var loaded = []string{
	"ip_vs", "ip_vs_rr", "ip_vs_wrr", "ip_vs_lc", "ip_vs_wlc", "ip_vs_lblc", "ip_vs_lblcr", "ip_vs_dh", "ip_vs_sh",
	"ip_vs_mh", "ip_vs_sed", "ip_vs_nq", "ip_vs_fo", "ip_vs_ovf", "ip_vs_pe_sip",
}

// TestCases plays every case with both programs.
func TestCases(t *testing.T) {
	everything := os.Getenv(wholeSet) != ""
	calls, cases := 0, readCases(t)
	for _, c := range cases {
		if calls += len(c.calls); everything || c.in("everywhere") {
			t.Run(c.name(), func(t *testing.T) { c.compare(t) })
		}
	}
	if len(cases) < 500 {
		t.Errorf("%d cases with %d calls, want 500 cases", len(cases), calls)
	}
}

// compare plays a case with both programs and says how they differ.
func (c *testCase) compare(t *testing.T) {
	n := c.space(t, stockProgram)
	stock := c.play(t, n, stockProgram)
	// Not in two at a time: /proc/net/ip_vs skips services where other
	// namespaces have some.
	if !c.in("same") {
		testnet.Must(t, n.close())
		n = c.space(t, ourProgram)
	}
	ours := c.play(t, n, ourProgram)
	for i, k := range c.calls {
		got, want := ours.outcomes[i], stock.outcomes[i]
		if c.in("same") && c.busy() && got != want && k.differ == "" {
			got, want = c.again(t, n, i)
		}
		switch {
		case k.want != nil && got != *k.want:
			t.Errorf("ipvsadm %s, -want +ours:\n%s", k.line, gocmp.Diff(k.want.String(), got.String()))
		case k.differ != "" && got == want:
			t.Errorf("ipvsadm %s: no difference %q, both\n%s", k.line, k.differ, got)
		case k.want == nil && k.differ != "" && got.code != want.code:
			t.Errorf("ipvsadm %s\n got exit %d\nstock exit %d", k.line, got.code, want.code)
		case k.differ == "" && got != want:
			t.Errorf("ipvsadm %s, -stock +ours:\n%s", k.line, gocmp.Diff(want.String(), got.String()))
		}
	}
	switch diff := gocmp.Diff(stock.table, ours.table); {
	case diff != "" && c.differ == "":
		t.Errorf("the kernel's table, -stock +ours:\n%s", diff)
	case diff == "" && c.differ != "":
		t.Errorf("the kernel's tables do not differ, %q notwithstanding", c.differ)
	}
	testnet.Must(t, n.close())
}

// again repeats a call of a case in one namespace that came out differently, where a
// second may have passed in between, for both programs in turn.
func (c *testCase) again(t *testing.T, n *space, i int) (ours, stock outcome) {
	t.Helper()
	for range 5 {
		var errs [2]error
		stock, errs[0] = c.run(t, n, stockProgram, &c.calls[i])
		ours, errs[1] = c.run(t, n, ourProgram, &c.calls[i])
		testnet.Must(t, errs[:]...)
		if ours == stock {
			break
		}
	}
	return ours, stock
}

// played is what came out of a case.
type played struct {
	outcomes []outcome
	table    string
}

// space makes a namespace, and in it the table of the case with program.
func (c *testCase) space(t *testing.T, program string) *space {
	t.Helper()
	n, err := newSpace()
	testnet.Must(t, err)
	if table := c.lines(t); len(table) > 0 {
		k := call{args: []string{"-R"}, stdin: strings.Join(table, "\n") + "\n"}
		o, err := (&testCase{}).run(t, n, program, &k)
		if err != nil || o != (outcome{}) {
			t.Fatalf("%s: the table of the case: %v, %v", program, o, err)
		}
	}
	if c.in("down") {
		testnet.Must(t, n.do(func() error { return loopback(0) }))
	}
	if c.in("dns") {
		testnet.Must(t, n.do(func() (err error) {
			n.dns, err = serveDNS("testdata/dns.zone")
			return err
		}))
	}
	mark := 0
	if m := c.value("mark"); m != "" {
		mark, err = strconv.Atoi(m)
		testnet.Must(t, err)
	}
	for key, send := range senders {
		if to := c.value(key); to != "" {
			testnet.Must(t, n.do(func() error { return send(strings.Split(to, ","), mark) }))
		}
	}
	if c.value("floods") != "" {
		testnet.Must(t, n.counted())
	}
	return n
}

// play makes the calls of a case in n and reads the table they leave.
func (c *testCase) play(t *testing.T, n *space, program string) (p played) {
	t.Helper()
	for i := range c.calls {
		o, err := c.run(t, n, program, &c.calls[i])
		testnet.Must(t, err)
		p.outcomes = append(p.outcomes, o)
	}
	table, err := n.table()
	testnet.Must(t, err)
	p.table = table
	return p
}

// lines are those that make the table before the first call.
func (c *testCase) lines(t *testing.T) []string {
	lines := c.table
	if many := c.value("many"); many != "" {
		var services, dests int
		if _, err := fmt.Sscanf(many, "%d,%d", &services, &dests); err != nil {
			t.Fatalf("many=%s: %v", many, err)
		}
		lines = append(lines, manyLines(services, dests)...)
	}
	return lines
}

// manyLines make services with dests each.
func manyLines(services, dests int) (lines []string) {
	for s := range services {
		vip := fmt.Sprintf("10.%d.%d.%d:80", 20+s>>16, s>>8&255, s&255)
		lines = append(lines, "-A -t "+vip+" -s rr")
		for d := range dests {
			lines = append(lines, fmt.Sprintf("-a -t %s -r 10.%d.%d.%d:8080 -m -w %d", vip, 200+d>>8, s&255, d&255, d+1))
		}
	}
	return lines
}

// expiry is when a connection expires, where -L -c tells it.
var expiry = regexp.MustCompile(`(?m)^((?:TCP|UDP|SCTP|IP) +)\d+:\d\d `)

// run makes one call. When connections expire differs between two namespaces.
func (c *testCase) run(t *testing.T, n *space, program string, k *call) (outcome, error) {
	argv0 := c.value("argv0")
	if argv0 == "" {
		argv0 = "ipvsadm"
	}
	// Of the guest's clock: what does not end is told by name, and the others go on.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, program)
	cmd.Args = append([]string{argv0}, k.args...)
	cmd.Env = []string{"PATH=/usr/bin:/bin"}
	if e := c.value("env"); e != "" {
		cmd.Env = append(cmd.Env, e)
	}
	for _, how := range []string{"nonetlink", "nosocket", "closed=" + c.value("closed"), "nsswitch=" + c.value("nsswitch")} {
		if c.in(how) {
			cmd.Path = "/proc/self/exe"
			cmd.Args = append([]string{"confine", program}, cmd.Args...)
			cmd.Env = append(cmd.Env, confinement+"="+how)
		}
	}
	if c.in("nobody") {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	var out, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(k.stdin), &out, &stderr
	if file := c.value("stdin"); file != "" {
		in, err := os.Open(file)
		if err != nil {
			return outcome{}, err
		}
		defer in.Close()
		cmd.Stdin = in
	}
	if c.in("full") {
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			return outcome{}, err
		}
		defer full.Close()
		cmd.Stdout = full
	}
	var code int
	var err error
	if words := c.value("kernel"); words != "" {
		err = n.do(func() (err error) {
			code, err = pretend(words, cmd)
			return err
		})
	} else if err = n.do(cmd.Start); err == nil {
		var exit *exec.ExitError
		if err = cmd.Wait(); errors.As(err, &exit) {
			err = nil
		}
		code = cmd.ProcessState.ExitCode()
	}
	if err != nil {
		return outcome{}, fmt.Errorf("%s %v: %w", program, k.args, err)
	}
	o := outcome{code, out.String(), stderr.String()}
	if c.busy() && !c.in("same") && strings.HasPrefix(o.out, "IPVS connection entries") {
		o.out = expiry.ReplaceAllString(o.out, "${1}mm:ss ")
	}
	return o, nil
}

// table is what other programs read of the table: the kernel's own text, which
// knows weights beyond 16 bits, and the witness' settings, thresholds, masks.
func (s *space) table() (text string, err error) {
	raw, err := s.text()
	if raw == "" || err != nil {
		return "no ip_vs", err
	}
	err = s.do(func() error {
		w, err := moby.New("")
		if err != nil {
			return err
		}
		defer w.Close()
		witness, err := witnessed(w)
		text = blocks(raw) + witness
		return err
	})
	return text, err
}

// text is the kernel's own of the table, "" without ip_vs.
func (s *space) text() (text string, err error) {
	err = s.do(func() error {
		raw, err := os.ReadFile("/proc/thread-self/net/ip_vs")
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		text = string(raw)
		return err
	})
	return text, err
}

// blocks sorts a table's services, and their dests.
func blocks(table string) string {
	var list [][]string
	for line := range strings.Lines(table) {
		if strings.HasPrefix(line, "  ->") && len(list) > 0 {
			list[len(list)-1] = append(list[len(list)-1], line)
		} else {
			list = append(list, []string{line})
		}
	}
	var joined []string
	for _, b := range list {
		slices.Sort(b[1:])
		joined = append(joined, strings.Join(b, ""))
	}
	slices.Sort(joined)
	return strings.Join(joined, "")
}

func witnessed(w *moby.Handle) (string, error) {
	cfg, err := w.GetConfig()
	if err != nil {
		return "", err
	}
	services, err := w.GetServices()
	if err != nil {
		return "", err
	}
	var lines []string
	for _, s := range services {
		lines = append(lines, fmt.Sprintf("service %d %d %v:%d mark %d %s flags %#x timeout %d mask %#x\n",
			s.AddressFamily, s.Protocol, s.Address, s.Port, s.FWMark, s.SchedName, s.Flags, s.Timeout, s.Netmask))
		dests, err := w.GetDestinations(s)
		if err != nil {
			return "", err
		}
		for _, d := range dests {
			lines = append(lines, fmt.Sprintf("service %d %d %v:%d mark %d dest %d %v:%d flags %#x up %d low %d\n",
				s.AddressFamily, s.Protocol, s.Address, s.Port, s.FWMark, d.AddressFamily, d.Address, d.Port, d.ConnectionFlags, d.UpperThreshold, d.LowerThreshold))
		}
	}
	slices.Sort(lines)
	return fmt.Sprintf("timeouts %v\n%s", *cfg, strings.Join(lines, "")), nil
}
