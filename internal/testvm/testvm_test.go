// SPDX-License-Identifier: Apache-2.0

package testvm

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { Main(m) }

// TestGuestsHealthy: what passes in a guest does so here, under its name. 6.1 runs
// counted and SMP, the other lines counted.
func TestGuestsHealthy(t *testing.T) {
	t.Parallel()
	ask("TestPartOrphan")
	for i, kernel := range Kernels() {
		modes := []Mode{Counted, SMP}
		if i > 0 {
			modes = modes[:1]
		}
		for _, mode := range modes {
			t.Run(kernel+"/"+mode.String(), func(t *testing.T) {
				t.Parallel()
				Run(t, Config{Kernel: kernel, Mode: mode, Run: "^TestGood"})
			})
		}
	}
}

func TestGoodProcessors(t *testing.T) {
	online, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err != nil {
		t.Fatal(err)
	}
	want := map[bool]string{true: "0-1", false: "0"}[IsSMP()]
	if got := strings.TrimSpace(string(online)); got != want {
		t.Errorf("processors %s, want %s", got, want)
	}
}

func TestGoodModuleByAlias(t *testing.T) {
	// The kernel itself asks modprobe for the type of this link.
	if err := Modprobe("rtnl-link-veth"); err != nil {
		t.Fatal(err)
	}
	loaded, err := Loaded()
	if err != nil || !slices.Contains(loaded, "veth") {
		t.Errorf("loaded: %v, %v; want veth among them", loaded, err)
	}
	if err := Rmmod("veth", time.Minute); err != nil {
		t.Error(err)
	}
	err = Modprobe("no_such_module")
	if err == nil || !strings.Contains(err.Error(), "Config.Modules") {
		t.Errorf("got %v, want an error that says where to list it", err)
	}
}

func TestGoodZombiesAreReaped(t *testing.T) {
	// A child that leaves a grandchild behind: init inherits and must reap it.
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestPartOrphan$")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscan(string(out), &pid); err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	for range 1200 {
		if unix.Kill(pid, 0) != nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("process %d is still there", pid)
}

// TestPartOrphan is the child of TestGoodZombiesAreReaped, by which alone it is
// asked for.
func TestPartOrphan(t *testing.T) {
	onlyInGuest(t)
	cmd := exec.Command("/proc/self/exe", "-test.list=^$")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	fmt.Println(cmd.Process.Pid)
	os.Exit(0)
}

// TestGuestsBroken: each way a guest can be wrong is noticed, charged rightly, and
// nothing else is claimed.
func TestGuestsBroken(t *testing.T) {
	t.Parallel()
	const mute = "the guest ended without a word: panic or reset"
	for _, c := range []struct {
		name    string
		tests   []string
		want    []string // outcome per test, "" for none
		verdict []string // the guest's, line by line
		quiet   time.Duration
	}{
		{name: "failures", tests: []string{"TestBadFails", "TestBadKernelWarns", "TestBadSlabHeld", "TestBadPanics"},
			want: []string{"FAIL", "PASS", "PASS", "FAIL"}, verdict: []string{
				"unload ip_vs_rr: resource temporarily unavailable (reference count 1)",
				"unload ip_vs: resource temporarily unavailable (reference count 3)",
				"the test binary panicked"}},
		{name: "exit", tests: []string{"TestBadExits"}, want: []string{""}, verdict: []string{"TestBadExits: did not end; so far:", ""}},
		{name: "crash", tests: []string{"TestBadCrashes"}, want: []string{""},
			verdict: []string{mute, "TestBadCrashes: did not end; so far:", ""}},
		{name: "hang", tests: []string{"TestBadHangs"}, want: []string{""}, quiet: 40 * time.Second,
			verdict: []string{"guest hung: silent for 40s", "TestBadHangs: did not end; so far:", ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			defer takePlace(t)()
			g := bootTests(t, c.tests, c.quiet)
			for range g.p.done {
			}
			g.keepLogs(t)
			for i, n := range c.tests {
				if r := g.p.tops[n]; r == nil || r.outcome != c.want[i] {
					t.Errorf("%s: got %+v, want outcome %q", n, r, c.want[i])
				}
			}
			if got, want := strings.Join(g.verdict(c.tests), "\n"), strings.Join(c.verdict, "\n"); got != want {
				t.Errorf("verdict:\n%s\nwant:\n%s\n--- end of its console:\n%s", got, want, g.console.tail(40))
			}
			if r := g.p.tops["TestBadKernelWarns"]; r != nil && (len(r.kernel) == 0 || !strings.Contains(r.kernel[0], "WARNING: planted")) {
				t.Errorf("the kernel's warning was not charged to its test: %+v", r)
			}
		})
	}
}

func bootTests(t *testing.T, names []string, quiet time.Duration) *guest {
	t.Helper()
	c := Config{Kernel: Kernels()[0], Quiet: quiet}
	release, err := Release(c.Kernel)
	if err != nil {
		t.Fatal(err)
	}
	ask(names...)
	program := testProgram(t)
	return boot(t, prepare(t, c, release, program, mission{
		Kernel: c.Kernel, Mode: c.Mode.String(), Load: c.loads(),
		Argv: []string{"/init", "-test.v=test2json", "-test.run=^(" + strings.Join(names, "|") + ")$", "-test.paniconexit0"},
	}), nil)
}

// onlyInGuest guards what would do harm to the host.
func onlyInGuest(t *testing.T) {
	t.Helper()
	if !InGuest() {
		t.Fatal("this is a part of another test; it runs in a guest only")
	}
}

func TestBadFails(t *testing.T) { onlyInGuest(t); t.Error("as it should") }

func TestBadKernelWarns(t *testing.T) {
	onlyInGuest(t)
	if err := os.WriteFile("/dev/kmsg", []byte("<4>WARNING: planted\n"), 0); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
}

// A service in the initial namespace, where nothing takes it away, holds ip_vs.
func TestBadSlabHeld(t *testing.T) {
	onlyInGuest(t)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
	if err != nil {
		t.Fatal(err)
	}
	if err := Modprobe("ip_vs_rr"); err != nil {
		t.Fatal(err)
	}
	// struct ip_vs_service_user: protocol, address, port, fwmark, name, flags,
	// timeout, netmask (include/uapi/linux/ip_vs.h); IP_VS_SO_SET_ADD is 0x482.
	svc := make([]byte, 44)
	svc[0] = unix.IPPROTO_TCP
	copy(svc[4:], []byte{127, 0, 0, 1})
	svc[9] = 80
	copy(svc[16:], "rr")
	copy(svc[40:], []byte{255, 255, 255, 255})
	if err := unix.SetsockoptString(fd, unix.IPPROTO_IP, 0x482, string(svc)); err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
}

func TestBadPanics(t *testing.T) { onlyInGuest(t); panic("as it should") }

func TestBadExits(t *testing.T) { onlyInGuest(t); os.Exit(3) }

func TestBadCrashes(t *testing.T) {
	onlyInGuest(t)
	t.Log(os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0))
}

func TestBadHangs(t *testing.T) {
	onlyInGuest(t)
	for range time.Tick(time.Hour) {
	}
}

func TestHostTaint(t *testing.T) {
	loads := &mission{Ours: true, Load: []string{"ip_vs"}}
	for _, c := range []struct {
		m    *mission
		got  int
		good bool
	}{
		{&mission{Load: []string{"ip_vs"}}, 0, true},
		{&mission{Load: []string{"ip_vs"}}, 12288, false}, // ours where stock was asked for
		{loads, 12288, true},
		{loads, 0, false},     // stock where ours was asked for
		{loads, 12800, false}, // and a warning
		{&mission{Ours: true}, 0, true},
		{&mission{Ours: true}, 12288, true},
		{&mission{Ours: true}, 512, false},
	} {
		if err := c.m.judgeTaint(c.got); (err == nil) != c.good {
			t.Errorf("%+v with taint %d: %v, want good: %v", *c.m, c.got, err, c.good)
		}
	}
}

func TestHostComplaints(t *testing.T) {
	var c complaint
	var got []string
	for _, record := range []string{
		"6,1,1000000,-;IPVS: fine\n", "4,2,2000000,-;WARNING: at x\n SUBSYSTEM=net\n", "4,3,2200000,-;Call Trace:\n",
		"4,4,2450000,-; f+0x1\n", "6,5,3000000,-;IPVS: fine again\n", "4,6,3000001,-;BUG: y\n", "6,7,3000002,c;z\n",
	} {
		if at, msg := splitRecord(record); c.has(at, msg) {
			got = append(got, msg)
		}
	}
	if want := "WARNING: at x|Call Trace:| f+0x1|BUG: y|z"; strings.Join(got, "|") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, "|"), want)
	}
}

func TestHostParser(t *testing.T) {
	p := newParser()
	text := "\n@@testvm {\"boot\":\"1.5\"}\r\nstray\n" +
		"\x16=== RUN   TestA\nsome\x16=== RUN   TestA/b\ninner\n\x16    --- SKIP: TestA/b (0.10s)\n" +
		"\x16=== NAME  TestA\nouter\n\n@@testvm {\"kernel\":\"BUG: x\"}\n\x16--- FAIL: TestA (1.00s)\n" +
		"\x16=== RUN   TestC\n\n@@testvm {\"exit\":1}\nlast"
	for i := range text {
		if _, err := p.Write([]byte{text[i]}); err != nil {
			t.Fatal(err)
		}
	}
	p.end()
	a := <-p.done
	if a.name != "TestA" || a.outcome != "FAIL" || strings.Join(a.output, "|") != "some|outer|" || a.kernel[0] != "BUG: x" {
		t.Errorf("TestA: %+v", a)
	}
	if b := a.subs[0]; b.base() != "b" || b.outcome != "SKIP" || b.took != "0.10s" || b.output[0] != "inner" {
		t.Errorf("TestA/b: %+v", b)
	}
	if c := p.tops["TestC"]; c == nil || c.outcome != "" {
		t.Errorf("TestC: %+v", c)
	}
	if p.boot != "1.5" || p.exit == nil || *p.exit != 1 || p.stray[0] != "stray" {
		t.Errorf("parser: %+v", p)
	}
}

func TestHostSplitPattern(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "A": "A", "A/b/c": "A b c", "A/(x/y)/z": "A (x/y) z", "A/[/]/z": "A [/] z", "A/": "A ",
	} {
		if got := strings.Join(splitPattern(in), " "); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestHostForgotten(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	names, err := listTests(self)
	if err != nil || !slices.Contains(names, "TestPartOrphan") || slices.Contains(names, "TestHostForgotten") {
		t.Errorf("guest tests: %v, %v", names, err)
	}
}

func TestHostMissingKernelNamesRemedy(t *testing.T) {
	t.Setenv("LVS_CACHE", t.TempDir())
	if _, err := Release("6.1"); err == nil || !strings.Contains(err.Error(), "make deps") {
		t.Errorf("got %v, want a hint at make deps", err)
	}
	_, err := Shell(t.Context(), "/none", Config{Kernel: "6.1"}, nil)
	if err == nil {
		t.Error("no error without a kernel")
	}
}

// The archive is what the kernel reads; cpio, where installed, must agree.
func TestHostArchive(t *testing.T) {
	dir := t.TempDir()
	host := filepath.Join(dir, "odd")
	if err := os.WriteFile(host, []byte("12345"), 0o751); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "a.cpio")
	a, err := createArchive(file)
	if err != nil {
		t.Fatal(err)
	}
	a.file("/x/y/odd", host)
	a.symlink("x/link", "y/odd")
	a.data("x/z", 0o600, nil)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for off := 0; ; {
		var size, nameLen int
		if _, err := fmt.Sscanf(string(raw[off+54:off+62]), "%x", &size); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Sscanf(string(raw[off+94:off+102]), "%x", &nameLen); err != nil {
			t.Fatal(err)
		}
		name := string(raw[off+110 : off+110+nameLen-1])
		if name == "TRAILER!!!" {
			break
		}
		names = append(names, name+" "+string(raw[off+14:off+22]))
		off = (off + 110 + nameLen + 3) &^ 3
		off = (off + size + 3) &^ 3
	}
	want := "x 000041ed x/y 000041ed x/y/odd 000081e9 x/link 0000a1ff x/z 00008180"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	b, _ := createArchive(filepath.Join(dir, "b.cpio"))
	b.file("gone", filepath.Join(dir, "gone"))
	if err := b.Close(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: got %v", err)
	}
}

func TestHostCopierTakesEventsOut(t *testing.T) {
	var out strings.Builder
	c := &copier{out: &out}
	exit, _ := json.Marshal(event{Exit: new(int)})
	fmt.Fprintf(c, "one\n\ntwo\n\n%s{\"fail\":\"f\"}\nthree\n\n%s%s\n", eventMark, eventMark, exit)
	c.flush()
	if out.String() != "one\n\ntwo\nthree\n" || c.exit == nil || len(c.fails) != 1 {
		t.Errorf("out %q exit %v fails %v", out.String(), c.exit, c.fails)
	}
}
