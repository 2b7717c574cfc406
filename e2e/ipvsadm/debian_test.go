// SPDX-License-Identifier: Apache-2.0

package ipvsadm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/lvs-fnat/lvs/internal/testnet"
)

// debianFiles are what Debian's package of ipvsadm has beside the program, and what
// these need, at their places.
var debianFiles = []string{"/sbin/ipvsadm-save", "/sbin/ipvsadm-restore", "/etc/init.d/ipvsadm", "/lib/lsb/init-functions"}

// installedProgram is where these look for it, rulesFile and defaultsFile what they read.
const (
	installedProgram = "/sbin/ipvsadm"
	rulesFile        = "/etc/ipvsadm.rules"
	defaultsFile     = "/etc/default/ipvsadm"
	unitScript       = "/usr/lib/lvs-ipvsadm/ipvsadm-rules"
)

// TestDebian: the distribution's wrappers, its init script and what our unit runs do
// the same, word by word, with the stock program and with ours.
func TestDebian(t *testing.T) {
	const rules = "# a comment\n-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.1:80 -r 10.1.0.1:8080 -m -w 5\n-A -f 7 -s wlc -p 60\n"
	for _, c := range []struct {
		name, rules, defaults string
		calls                 []string // a script and its argument; behind <, its input
	}{
		{"wrappers", "", "", []string{
			"ipvsadm-restore < " + rules, "ipvsadm-save", "ipvsadm-save -n", "ipvsadm-save -n more words", "ipvsadm-save -x", "ipvsadm-save --numeric",
			// The second call of the program says what the wrapper exits with.
			"ipvsadm-restore < -A -t 10.0.0.2:80 -s rr\n-A -t 10.0.0.2:80 -s rr\n", "ipvsadm-save -n",
			"ipvsadm-restore < -A -t 10.0.0.2:80 -s rr\n-A -t 10.0.0.2:80 -s rr\n-A -t 10.0.0.3:80\n",
			"ipvsadm-restore < -A -t 10.0.0.2\n-A -t 10.0.0.3:80\n", "ipvsadm-save -n",
			"ipvsadm-restore < -A -t 10.0.0.2:80 --no-such\n-x\n", "ipvsadm-restore -n < #\n\n  \n", "ipvsadm-restore < ", "ipvsadm-save",
		}},
		{"not configured", rules, "", []string{
			"init start", "init stop", "init restart", "init reload", "init force-reload", "init status", "init load", "init status", "init rate", "init save", "init", "init other",
			"unit start", "unit save", "unit stop", "unit reload",
		}},
		{"automatic", rules, "AUTO=true\nDAEMON=both\nIFACE=lo\nSYNCID=3\n", []string{
			"init start", "init status", "init start", "init reload", "init restart", "init stop", "init stop", "init status",
			"unit start", "unit reload", "unit stop", "unit stop",
		}},
		{"saved", rules, "AUTO=true\nDAEMON=both\nIFACE=lo\nSYNCID=3\n", []string{
			"unit start", "unit save", "unit stop", "unit start", "unit reload", "unit save", "unit stop", "unit start",
		}},
		{"saved by the init script", rules, "AUTO=\"true\"\nDAEMON='both' # both\nIFACE=lo\nSYNCID=3\n", []string{
			"init start", "init save", "init stop", "init start", "init reload", "init save", "init restart", "init stop",
		}},
		{"saved with one daemon", rules, "AUTO=true\nDAEMON=backup\nIFACE=lo\n", []string{"init start", "init save", "init stop", "init start", "init stop"}},
		{"one daemon", rules, "AUTO=false\nDAEMON=master\nIFACE=lo\n", []string{"init start", "init restart", "init stop", "init stop", "unit start", "unit start", "unit stop", "unit stop"}},
		{"no interface", rules, "AUTO=true\nDAEMON=backup\nIFACE=none0\n", []string{"init start", "init status", "init stop", "unit start", "unit stop"}},
		{"a line that is wrong", rules + "-A -t 10.0.0.9\n-A -t 10.0.0.4:80\n", "AUTO=true\n", []string{"init start", "init status", "init save", "unit start", "unit reload", "unit stop"}},
		{"no rules", "", "AUTO=true\n", []string{"init start", "init status", "init save", "unit start", "unit stop"}},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			var got [2][]string
			for i, program := range []string{stockProgram, ourProgram} {
				for file, text := range map[string]string{rulesFile: c.rules, defaultsFile: c.defaults} {
					_ = os.Remove(file)
					if text != "" {
						testnet.Must(t, os.MkdirAll("/etc/default", 0o755), os.WriteFile(file, []byte(text), 0o644))
					}
				}
				_ = os.Remove(installedProgram)
				testnet.Must(t, os.Symlink(program, installedProgram))
				n, err := newSpace()
				testnet.Must(t, err)
				for _, call := range c.calls {
					o, err := script(t.Context(), n, call)
					testnet.Must(t, err)
					table, err := n.table()
					testnet.Must(t, err)
					left, _ := os.ReadFile(rulesFile) // may not be there
					got[i] = append(got[i], fmt.Sprintf("%s: %v\nfile of rules:\n%s\n%s", call, o, left, table))
				}
				testnet.Must(t, n.close(), os.Remove(installedProgram))
			}
			if diff := gocmp.Diff(got[0], got[1]); diff != "" {
				t.Errorf("-with the stock program +with ours:\n%s", diff)
			}
		})
	}
}

// script makes a call of TestDebian in a namespace.
func script(ctx context.Context, n *space, call string) (outcome, error) {
	call, stdin, _ := strings.Cut(call, " < ")
	words := strings.Fields(call)
	path, ok := map[string]string{"init": "/etc/init.d/ipvsadm", "unit": unitScript}[words[0]]
	if !ok {
		path = "/sbin/" + words[0]
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute) // of the guest's clock
	defer cancel()
	cmd := exec.CommandContext(ctx, path, words[1:]...)
	cmd.Env = []string{"PATH=/sbin:/usr/sbin:/bin:/usr/bin:/usr/lib/busybox"}
	var out, stderr strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &stderr
	if err := n.do(cmd.Start); err != nil {
		return outcome{}, err
	}
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return outcome{}, fmt.Errorf("%s: %w", call, err)
	}
	return outcome{cmd.ProcessState.ExitCode(), out.String(), stderr.String()}, nil
}
