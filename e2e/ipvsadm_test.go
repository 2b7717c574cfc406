// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// ipvsadmScripts is where ipvsadmFiles puts scripts in the guest.
const ipvsadmScripts = "/work/ipvsadm"

// ipvsadmFiles builds our ipvsadm and returns what a guest needs to test it: the
// command, and the scripts for whose module the guest has, "ours" or "stock".
func ipvsadmFiles(t *testing.T, whose string) map[string]string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "ipvsadm")
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", program, "../ipvsadm")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build ipvsadm: %v\n%s", err, out)
	}
	files := map[string]string{"/usr/local/sbin/ipvsadm": program, programsFile: programsRun}
	scripts, err := filepath.Glob("../ipvsadm/testdata/" + whose + "/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("scripts for ipvsadm on the module %s: %v, %v", whose, scripts, err)
	}
	for _, s := range scripts {
		files[filepath.Join(ipvsadmScripts, filepath.Base(s))] = s
	}
	return files
}

// outcome is all that a caller of a command sees.
type outcome struct {
	code        int
	out, stderr string
}

// ipvsadm runs program as "ipvsadm"; words are cut at blanks, two quotes are an
// empty one. What stands behind " <<< " is its standard input, with ";" for
// newlines.
func ipvsadm(t *testing.T, program, line string) outcome {
	t.Helper()
	line, stdin, _ := strings.Cut(line, " <<< ")
	args := strings.Fields(line)
	for i := range args {
		if args[i] == "''" {
			args[i] = ""
		}
	}
	o, err := runIpvsadm(t.Context(), (*exec.Cmd).Start, program, strings.ReplaceAll(stdin, ";", "\n"), args)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// runIpvsadm runs program as "ipvsadm" by way of how, and waits for it.
func runIpvsadm(ctx context.Context, how func(*exec.Cmd) error, program, stdin string, args []string) (outcome, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return outcome{}, err
	}
	var out, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, path)
	cmd.Args = append([]string{"ipvsadm"}, args...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := how(cmd); err != nil {
		return outcome{}, err
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return outcome{}, fmt.Errorf("%s %v: %w", program, args, err)
	}
	return outcome{cmd.ProcessState.ExitCode(), out.String(), stderr.String()}, nil
}

// TestIpvsadmAgreesOnConnections lists a connection that an engine keeps.
func TestIpvsadmAgreesOnConnections(t *testing.T) {
	for _, args := range []string{"link set lo up", "addr add 10.0.0.11/32 dev lo"} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v\n%s", args, err, out)
		}
	}
	for _, line := range []string{"-C", "--set 900 120 60", "-A -u 10.0.0.11:5060 --pe sip -p 60", "-a -u 10.0.0.11:5060 -r 127.0.0.1:5061 -m"} {
		if got := ipvsadm(t, "ipvsadm.stock", line); got.code != 0 {
			t.Fatalf("ipvsadm %s: %v", line, got)
		}
	}
	c, err := net.Dial("udp", "10.0.0.11:5060")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "INVITE sip:x@example SIP/2.0\r\nCall-ID: abc@def\r\n\r\n")
	for _, line := range []string{"-Lnc", "-Lnc --persistent-conn", "-Ln", "-Ln --persistent-conn"} {
		got, want := ipvsadm(t, "ipvsadm", line), ipvsadm(t, "ipvsadm.stock", line)
		for range 4 { // seconds pass between two calls, but not in each of a few
			if got == want {
				break
			}
			got, want = ipvsadm(t, "ipvsadm", line), ipvsadm(t, "ipvsadm.stock", line)
		}
		if got != want {
			t.Errorf("ipvsadm %s\n got %s\nwant %s", line, got, want)
		}
		if line == "-Lnc --persistent-conn" && !strings.Contains(want.out, "abc@def") {
			t.Errorf("no connection with data of an engine to compare:\n%s", want.out)
		}
	}
	ipvsadm(t, "ipvsadm.stock", "-C")
	// The engine's module cannot go before its last connection; idle time is free.
	time.Sleep(5 * time.Minute)
	if left := ipvsadm(t, "ipvsadm.stock", "-Lnc"); strings.Count(left.out, "\n") > 2 {
		t.Errorf("connections left:\n%s", left.out)
	}
	ipvsadm(t, "ipvsadm.stock", "--set 900 120 300")
}

// String shows an outcome on a few lines.
func (o outcome) String() string {
	return fmt.Sprintf("exit %d, stderr %q, stdout\n%s", o.code, o.stderr, o.out)
}
