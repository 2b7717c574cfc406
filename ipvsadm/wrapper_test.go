// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/ipvs/ipvstest"
)

// The program is the distributions' wrappers when it is called by their names.
func TestWrappers(t *testing.T) {
	const web = "-A -t 10.9.9.9:80 -s rr\n"
	for _, tc := range []struct {
		args, stdin string
		code        int
		out, stderr string
		becomes     string
		withoutIPVS bool
	}{
		{args: "/sbin/ipvsadm-save", out: "-A -t web.example:http -s rr\n", becomes: web},
		{args: "ipvsadm-save word -n", out: web, becomes: web},
		{args: "ipvsadm-save -x", code: 1, stderr: "ipvsadm-save: writes the IPVS tables to standard output\n   -n: addresses and ports as numbers\n", becomes: web},
		{args: "ipvsadm-restore", becomes: ""},
		{args: "ipvsadm-restore -n", stdin: "# of today\n-A -t 10.0.0.1:80 -s wlc\n#-A -t 10.0.0.2:80", becomes: "-A -t 10.0.0.1:80 -s wlc\n"},
		{args: "/usr/sbin/ipvsadm-restore", stdin: "-A -t 10.0.0.1:80 -s wlc\n-x\n-A -t 10.0.0.2:80", code: 255,
			stderr: "Try `ipvsadm -h' or 'ipvsadm --help' for more information.\n", becomes: "-A -t 10.0.0.1:80 -s wlc\n"},
		{args: "ipvsadm-restore", stdin: "-A -t 10.0.0.1:80 -s wlc", code: 2, withoutIPVS: true, becomes: web,
			stderr: strings.Repeat("Can't initialize ipvs: Protocol not available\nAre you sure that IP Virtual Server is built in the kernel or as module?\n", 2)},
	} {
		k := ipvstest.NewStock()
		if err := k.Apply(t.Context(), ipvs.Op{Kind: ipvs.AddService, Service: ipvs.Service{
			ServiceKey: ipvs.ServiceKey{Family: ipvs.IPv4, Protocol: ipvs.TCP, Addr: netip.MustParseAddr("10.9.9.9"), Port: 80}, Scheduler: "rr", Netmask: fullMask4,
		}}); err != nil {
			t.Fatal(err)
		}
		a, stderr, out := newTestApp(t, k, tc.stdin)
		if tc.withoutIPVS {
			a.dial = func(context.Context) (kernel, error) { return nil, ipvs.ErrNoIPVS }
			a.load = func(context.Context) error { return errors.New("no module") }
		}
		code := a.main(t.Context(), strings.Fields(tc.args))
		if code != tc.code || out.String() != tc.out || stderr.String() != tc.stderr {
			t.Errorf("%s: exit %d, %q, %q; want %d, %q, %q", tc.args, code, out, stderr, tc.code, tc.out, tc.stderr)
		}
		a, _, out = newTestApp(t, k, "")
		if a.run(t.Context(), []string{"ipvsadm", "-S", "-n"}); out.String() != tc.becomes {
			t.Errorf("%s: the table is\n%swant\n%s", tc.args, out, tc.becomes)
		}
	}
}
