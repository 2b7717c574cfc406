// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"

	"github.com/lvs-fnat/lvs/internal/testnet"
)

// TestIpvsadmTop starts --top as a shell on a terminal does: it draws there, ends
// with q, and gives the terminal back. To a pipe it writes text.
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
	cmd := exec.CommandContext(t.Context(), "/usr/local/sbin/ipvsadm", "--top", "-n")
	cmd.Env = []string{"TERM=xterm"}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	testnet.Must(t, ns.Start(cmd))
	testnet.Must(t, tty.Close())
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
	_, err = ptmx.Write([]byte("q"))
	testnet.Must(t, err)
	read("\x1b[?1049l")
	testnet.Must(t, cmd.Wait())
}
