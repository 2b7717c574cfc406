// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/internal/testnet"
)

// dialects are whole files as they are written for other programs, the services that come
// of each, and what is said about the rest: one line for each word and place.
var dialects = []struct {
	name     string
	code     int // of -t
	services []string
	told     []string // in the order of the file, by "line: text"
}{
	{
		"dpvs", 5,
		[]string{"-A -t 10.0.1.100:80 ", "-A -t [2001:db8:1::100]:80 ", "-A -u 10.0.1.100:53 "},
		[]string{
			"13: interface name 'dpdk0' behind a local address is ignored",
			"28: Keyword 'tunnel_group' is known but not in force",
			"40: Keyword 'dpdk_interface' is known but not in force",
			"59: daddr_group_name: not in force",
			"62: Keyword 'expire_quiescent_conn' is known but not in force",
			"63: Keyword 'proxy_protocol' is known but not in force",
			"64: Keyword 'bps' is known but not in force",
			"65: Keyword 'limit_proportion' is known but not in force",
			"93: lb_algo conhash: 'mh' does the same here, and is used",
			"97: Keyword 'vip_bind_dev' is known but not in force",
			"110: Keyword 'quic' is known but not in force",
			"111: Keyword 'hash_target' is known but not in force",
			"124: waddr_group_name: not in force",
			"124: Virtual server [10.0.1.101]:tcp:80: waddr_group_name is not in force, and without it everybody would be served: the service is left out",
			"130: virtual_server match: SNAT services of dpvs are not supported",
			"133: lb_kind: unknown [SNAT] routing method",
			"134: Keyword 'src-range' is known but not in force",
			"135: Keyword 'oif' is known but not in force",
		},
	},
	{
		"alibaba", 5,
		[]string{"-A -t 10.0.1.100:80 ", "-A -t 10.0.1.100:8080 ", "-A -t 10.0.1.100:8081 "},
		[]string{
			"18: Script ip cannot be accessed", // nor is it in this guest
			"22: Keyword 'nat_mask' is known but not in force",
			"28: Keyword 'vip_bind_dev' is known but not in force",
			"33: quorum_up: no shell is between: 'lo;ip' is an argument of ip",
			"34: quorum_down: no shell is between: 'lo;ip' is an argument of ip",
			"40: Keyword 'snat_rule' is known but not in force",
			"8: Unknown keyword 'connet_port'; did you mean 'connect_port'?",
		},
	},
}

// command runs keepalived in the director with the configuration, and gives what it says
// and its exit status.
func (b *balanced) command(args ...string) (out string, code int) {
	b.t.Helper()
	out, err := b.D.Run(b.t.Context(), "/usr/sbin/keepalived", append(args, "-f", b.conf)...)
	var e *exec.ExitError
	if errors.As(err, &e) {
		return out, e.ExitCode()
	}
	testnet.Must(b.t, err)
	return out, 0
}

// TestDialects: files for alibaba/LVS and dpvs, whole. -t says once of each word
// what it cannot do, --plan what would be done, and the daemon does it: clients are served
// by way of the local addresses, and a reload keeps their connections.
func TestDialects(t *testing.T) {
	for _, c := range dialects {
		t.Run(c.name, func(t *testing.T) {
			b := newBalanced(t)
			dir := t.TempDir()
			testnet.Must(t, os.CopyFS(dir, os.DirFS("/etc/dialects")))
			b.conf = filepath.Join(dir, c.name+".conf")
			pids := []string{"-c", dir + "/checkers.pid", "-r", dir + "/vrrp.pid"}
			plan := func(when string, want int) string {
				t.Helper()
				out, code := b.command(append([]string{"--plan"}, pids...)...)
				if code != want {
					t.Errorf("--plan %s ends with %d, want %d:\n%s", when, code, want, out)
				}
				return out
			}
			out, code := b.command("-t")
			if code != c.code {
				t.Errorf("-t ends with %d, want %d", code, c.code)
			}
			var lines []string
			for line := range strings.Lines(out) {
				if !strings.HasPrefix(line, "("+dir+"/") {
					t.Errorf("-t says %s", line)
				}
				_, text, _ := strings.Cut(line, ": Line ")
				lines = append(lines, strings.Replace(text, ") ", ": ", 1))
			}
			for i, want := range c.told {
				if i >= len(lines) || !strings.HasPrefix(lines[i], want) {
					t.Errorf("line %d of what -t says is not %q:\n%s", i+1, want, out)
					break
				}
			}
			if len(lines) != len(c.told) {
				t.Errorf("-t says %d lines, want %d:\n%s", len(lines), len(c.told), out)
			}

			start := plan("before the start", 2)
			for _, service := range c.services {
				if !strings.Contains(start, "ipvsadm "+service) {
					t.Errorf("--plan without %q", service)
				}
			}
			if n := strings.Count(start, "ipvsadm -A "); t.Failed() || n != len(c.services) {
				t.Errorf("--plan with %d services, want %d:\n%s", n, len(c.services), start)
			}
			d := b.run(pids...)
			d.wait("Startup complete")
			d.wait("Gained quorum")
			if services, groups := b.left(); len(services) != len(c.services) || len(groups) == 0 {
				t.Errorf("services: %v, groups: %v", services, groups)
			}
			testnet.Eventually(t, 30*time.Second, func() error {
				got, err := b.get(testnet.VIP4, 4)
				if err == nil && c.name == "dpvs" && len(got) < 2 { // the other is persistent
					err = fmt.Errorf("answers: %v", got)
				}
				return err
			})
			held := b.hold(testnet.VIP4)
			held("before a reload")
			plan("of what runs", 0)
			d.signal(syscall.SIGHUP)
			d.wait("Reload complete")
			held("after a reload")
			// What no configuration can have is no error that would keep a removal back.
			for _, file := range []string{b.conf, dir + "/alibaba.d/rs.conf"} {
				text, err := os.ReadFile(file)
				testnet.Must(t, err)
				testnet.Must(t, os.WriteFile(file, []byte(second.ReplaceAllString(string(text), "$1")), 0o600))
			}
			if less := plan("without the second server", 2); !strings.Contains(less, "10.0.2.12") { // to be removed, or only not asked any more
				t.Errorf("--plan without the second server:\n%s", less)
			}
			d.signal(syscall.SIGHUP)
			d.wait("Reload complete")
			testnet.Eventually(t, 30*time.Second, func() error {
				got, err := b.get(testnet.VIP4, 2)
				if err == nil && got["r1"] != 2 {
					err = fmt.Errorf("answers without the second server: %v", got)
				}
				return err
			})
			d.signal(syscall.SIGTERM)
			d.ends(0)
			b.empty()
		})
	}
}

// second is the block of a second real server over IPv4, behind the end of the one before.
var second = regexp.MustCompile(`(?s)(\n    \}\n)    real_server 10\.0\.2\.12 .*?\n    \}\n`)
