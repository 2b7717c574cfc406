// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
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

	drawn, cmd := onTerminal(t, ns)
	drawn.until(row)
	drawn.until(whole)
	if strings.Contains(drawn.String(), firstScreen) {
		t.Errorf("left the screen too early: %q", drawn.String())
	}
	// The terminal becomes smaller: seen at once, not with the next table in an hour.
	drawn.Reset()
	testnet.Must(t, pty.Setsize(drawn.ptmx, &pty.Winsize{Rows: 24, Cols: 70}))
	drawn.until("TCP  192.0.2.1:80 ")
	drawn.until(whole)
	for line := range strings.Lines(strings.ReplaceAll(drawn.String(), home, "\n")) {
		if line = strings.TrimRight(control.ReplaceAllString(line, ""), "\r\n"); len(line) > 69 {
			t.Errorf("%d columns of 70: %q", len(line), line)
		}
	}
	_, err = drawn.ptmx.WriteString("q")
	testnet.Must(t, err)
	drawn.until(firstScreen)
	testnet.Must(t, cmd.Wait())

	drawn, cmd = onTerminal(t, ns)
	drawn.until(whole)
	testnet.Must(t, cmd.Process.Signal(syscall.SIGTERM))
	drawn.until(firstScreen)
	testnet.Must(t, cmd.Wait())
}

// What --top writes before a screen, when it is whole, and when it gives the terminal back.
const home, whole, firstScreen = "\x1b[H", "\x1b[J", "\x1b[?1049l"

// drawing is what a program draws on a terminal of 80 columns.
type drawing struct {
	strings.Builder
	t    *testing.T
	ptmx *os.File
}

// onTerminal starts --top on a terminal of its own, with an hour from table to table.
func onTerminal(t *testing.T, ns *testnet.NS) (*drawing, *exec.Cmd) {
	ptmx, tty, err := pty.Open()
	testnet.Must(t, err)
	t.Cleanup(func() { testnet.Must(t, ptmx.Close()) })
	testnet.Must(t, pty.Setsize(ptmx, &pty.Winsize{Rows: 24, Cols: 80}))
	cmd := exec.CommandContext(t.Context(), "/usr/local/sbin/ipvsadm", "--top", "-n", "--interval", "3600")
	cmd.Env = []string{"TERM=xterm"}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	testnet.Must(t, ns.Start(cmd))
	testnet.Must(t, tty.Close())
	return &drawing{t: t, ptmx: ptmx}, cmd
}

// until reads what is drawn until it contains text.
func (d *drawing) until(text string) {
	d.t.Helper()
	buf := make([]byte, 4096)
	for !strings.Contains(d.String(), text) {
		n, err := d.ptmx.Read(buf)
		d.Write(buf[:n])
		if err != nil {
			d.t.Fatalf("no %q in %q: %v", text, d.String(), err)
		}
	}
}
