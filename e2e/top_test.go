// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"

	"github.com/lvs-fnat/lvs/internal/testnet"
)

// control are sequences that move the cursor or clear.
var control = regexp.MustCompile("\x1b\\[[?0-9;]*[a-zA-Z]")

// TestIpvsadmTop starts --top as a shell on a terminal does: it draws there, anew when the
// terminal's size changes, ends with q or a signal, and gives the terminal back. To a pipe
// it writes text.
func TestIpvsadmTop(t *testing.T) {
	ns, err := testnet.Open("top")
	testnet.Must(t, err)
	t.Cleanup(func() { testnet.Must(t, ns.Close()) })
	adm := func(line, stdin string) outcome {
		o, err := runIpvsadm(t.Context(), ns.Start, "ipvsadm", stdin, strings.Fields(line))
		testnet.Must(t, err)
		return o
	}
	const row = "TCP  192.0.2.1:80 "
	adm("-R", "-A -t 192.0.2.1:80\n-a -t 192.0.2.1:80 -r 10.1.0.1 -m\n")
	if o := adm("--top -n", ""); o.code != 0 || !strings.Contains(o.out, row) || strings.Contains(o.out, "\x1b") {
		t.Errorf("to a pipe: %v", o)
	}

	ptmx, tty, err := pty.Open()
	testnet.Must(t, err)
	defer ptmx.Close()
	testnet.Must(t, pty.Setsize(ptmx, &pty.Winsize{Rows: 24, Cols: 80}))
	start := func() *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), "/usr/local/sbin/ipvsadm", "--top", "-n", "--interval", "3600")
		cmd.Env = []string{"TERM=xterm"}
		cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		testnet.Must(t, ns.Start(cmd))
		return cmd
	}
	defer tty.Close()
	cmd := start()
	var drawn strings.Builder
	read := func(until string) {
		t.Helper()
		buf := make([]byte, 4096)
		for !strings.Contains(drawn.String(), until) {
			n, err := ptmx.Read(buf)
			drawn.Write(buf[:n])
			if err != nil {
				t.Fatalf("no %q in %q: %v", until, drawn.String(), err)
			}
		}
	}
	read(row)
	if strings.Contains(drawn.String(), "\x1b[?1049l") {
		t.Errorf("left the screen too early: %q", drawn.String())
	}
	// The terminal becomes smaller: seen at once, not with the next table in an hour.
	drawn.Reset()
	testnet.Must(t, pty.Setsize(ptmx, &pty.Winsize{Rows: 24, Cols: 50}))
	read("TCP  192.0.2.1:80 ")
	read("\x1b[J")
	for line := range strings.Lines(drawn.String()) {
		if line = control.ReplaceAllString(line, ""); len(strings.TrimRight(line, "\r\n")) > 49 {
			t.Errorf("%d columns of 50: %q", len(line), line)
		}
	}
	_, err = ptmx.Write([]byte("q"))
	testnet.Must(t, err)
	read("\x1b[?1049l")
	testnet.Must(t, cmd.Wait())

	drawn.Reset()
	cmd = start()
	read("\x1b[J")
	testnet.Must(t, cmd.Process.Signal(syscall.SIGTERM))
	read("\x1b[?1049l")
	testnet.Must(t, cmd.Wait())
}
