// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lvs-fnat/lvs/internal/testnet"
)

// TestOnStockKeepalivedGenhash: genhash of keepalived 2.2.7 and ours say the same where
// no network leads to, where nobody answers, and of a server that only packets with a
// mark reach.
func TestOnStockKeepalivedGenhash(t *testing.T) {
	t.Parallel()
	n, peer := testnet.New(t, "genhash"), testnet.New(t, "genhashpeer")
	marked := netip.MustParsePrefix("198.51.100.1/32")
	testnet.Must(t, testnet.Veth(n, "eth0", peer, "eth0"), peer.AddAddr("lo", marked),
		n.AddAddr("eth0", netip.MustParsePrefix("10.8.0.1/24")), peer.AddAddr("eth0", netip.MustParsePrefix("10.8.0.2/24")))
	testnet.Must(t, n.AddLink(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: "silent"}}),
		n.AddAddr("silent", netip.MustParsePrefix("192.0.2.1/24"), netip.MustParsePrefix("2001:db8:9::1/64")))
	rule, all := netlink.NewRule(), ^uint32(0)
	rule.Mark, rule.Mask, rule.Table, rule.Family, rule.Priority = 7, &all, 100, unix.AF_INET, 100
	testnet.Must(t, n.Link.RuleAdd(rule), n.Link.RouteAdd(&netlink.Route{
		Table: 100, Dst: &net.IPNet{IP: marked.Addr().AsSlice(), Mask: net.CIDRMask(32, 32)}, Gw: net.IPv4(10, 8, 0, 2),
	}))
	l, err := peer.Listen(t.Context(), "tcp", ":80")
	testnet.Must(t, err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello\n") }), ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() { _ = server.Serve(l); close(done) }()
	t.Cleanup(func() { server.Close(); <-done })

	run := func(line ...string) (code int, out, errs string) {
		t.Helper()
		cmd := exec.Command(line[0], line[1:]...)
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err := n.Start(cmd)
		if err == nil {
			err = cmd.Wait()
		}
		if exited := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exited) {
			t.Fatal(err)
		}
		return cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()
	}
	for _, tt := range []struct{ args, want string }{
		{"-s 203.0.113.1", "HTTP_CHECK - network unreachable\n"},
		{"-S -s 203.0.113.1", "HTTP_CHECK - network unreachable\n"},
		{"-s 2001:db8:8::1", "HTTP_CHECK - network unreachable\n"},
		{"-s 192.0.2.9 -t 2", "Timeout connecting\n"},
		{"-S -s 192.0.2.9 -t 1", "Timeout connecting\n"},
		{"-s 2001:db8:9::9 -t 1", "Timeout connecting\n"},
		{"-s 198.51.100.1", "HTTP_CHECK - network unreachable\n"},
		{"-s 198.51.100.1 -m 7", "b1946ac92492d2347c6235b4d2611184\n"},
		{"-s 198.51.100.1 --fwmark=8", "HTTP_CHECK - network unreachable\n"},
	} {
		args := append(strings.Fields(tt.args), "-p", "80", "-u", "/")
		code, out, errs := run(append([]string{original + "/ld.so", "--library-path", original, "--argv0", "genhash", original + "/keepalived"}, args...)...)
		ourCode, ourOut, ourErrs := run(append([]string{"/usr/sbin/keepalived", "-T"}, args...)...)
		if code != ourCode || out != ourOut || ourOut != tt.want {
			t.Errorf("%s: exit code %d, %q, %q; the original's %d, %q, %q; want %q", tt.args, ourCode, ourOut, ourErrs, code, out, errs, tt.want)
		}
	}
}
