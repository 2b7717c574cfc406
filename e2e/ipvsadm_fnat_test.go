// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testvm"
	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/ipvs/uapi"
)

// scriptAddrs are the director's in the scripts of ipvsadm. Others of the same
// nets are not.
var scriptAddrs = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.11/32"), netip.MustParsePrefix("10.0.0.12/32"), netip.MustParsePrefix("10.0.0.50/32"),
	netip.MustParsePrefix("2001:db8::7/128"),
}

// TestIpvsadmScripts runs the scripts of ipvsadm for whose module the guest has:
// the same that run on the fake kernel of its own tests, which so is none.
func TestIpvsadmScripts(t *testing.T) {
	type state struct {
		ns  *testnet.NS
		out outcome
	}
	of := func(ts *testscript.TestScript) *state { return ts.Value("state").(*state) }
	spaces := 0
	testscript.Run(t, testscript.Params{
		Dir: ipvsadmScripts,
		Setup: func(env *testscript.Env) error {
			spaces++
			ns, err := testnet.Open(fmt.Sprintf("script%d", spaces))
			if err != nil {
				return err
			}
			env.Defer(func() { ns.Close() })
			env.Values["state"] = &state{ns: ns}
			return ns.AddAddr("lo", scriptAddrs...)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"run": func(ts *testscript.TestScript, _ bool, args []string) {
				want, stdin := args[0], ""
				args = args[1:]
				if last := len(args) - 1; last >= 0 && strings.HasPrefix(args[last], "<") {
					stdin, args = ts.ReadFile(args[last][1:]), args[:last]
				}
				s := of(ts)
				out, err := runIpvsadm(t.Context(), s.ns.Start, "ipvsadm", stdin, args)
				ts.Check(err)
				s.out = out
				fmt.Fprint(ts.Stdout(), out.out)
				fmt.Fprint(ts.Stderr(), out.stderr)
				if got := strconv.Itoa(out.code); got != want {
					ts.Fatalf("exit code %s, want %s", got, want)
				}
			},
			"same": func(ts *testscript.TestScript, _ bool, args []string) {
				want := ""
				if args[0] != "-" {
					want = strings.ReplaceAll(ts.ReadFile(args[0]), "$\n", "\n")
				}
				if got := of(ts).out.out; got != want {
					ts.Fatalf("standard output:\n%s\nwant:\n%s", got, want)
				}
			},
			"said": func(ts *testscript.TestScript, _ bool, args []string) {
				want := ""
				if len(args) > 0 && args[0] != "" {
					want = strings.Join(args, "\n") + "\n"
				}
				if got := of(ts).out.stderr; got != want {
					ts.Fatalf("standard error:\n%q\nwant:\n%q", got, want)
				}
			},
			"stock": func(ts *testscript.TestScript, _ bool, _ []string) {
				if testvm.HasOurs() {
					ts.Fatalf("this script is for the distribution's module")
				}
			},
		},
	})
}

// admin runs an ipvsadm in the director; it fails t unless code is its exit code.
func (r *rig) admin(t *testing.T, program string, code int, line, stdin string) outcome {
	t.Helper()
	o, err := runIpvsadm(t.Context(), r.d.Start, program, stdin, strings.Fields(line))
	testnet.Must(t, err)
	if o.code != code {
		t.Errorf("%s %s: want exit %d, got %v", program, line, code, o)
	}
	return o
}

// TestIpvsadmFNAT: what the commands do to packets and leave in the kernel.
func TestIpvsadmFNAT(t *testing.T) {
	needOurs(t)
	each(t, "connection", caseAdminConnection)
	each(t, "own_group", caseAdminOwnGroup)
	each(t, "kernel_texts", caseAdminTexts)
	each(t, "explain", caseAdminExplain)
	t.Run("save_restore", func(t *testing.T) { caseAdminSave(t, newRig(t, fam4)) })
}

// A service made by ipvsadm alone carries a connection, and the listings show it.
func caseAdminConnection(t *testing.T, r *rig) {
	vip, rip := netip.AddrPortFrom(r.vip, 80), netip.AddrPortFrom(r.rip[0], rport)
	for _, line := range []string{
		fmt.Sprintf("-A -t %v -s rr", vip),
		fmt.Sprintf("-P -t %v -z %v", vip, r.lip[0]),
		fmt.Sprintf("-a -t %v -r %v -b", vip, rip),
	} {
		r.admin(t, "ipvsadm", 0, line, "")
	}
	f := r.open(t, 0, 4000)
	f.talk(t)

	want := fmt.Sprintf(`(?m)^TCP  %s rr\n  -> %s +FullNat 1      1          0 +\n`, regexp.QuoteMeta(vip.String()), regexp.QuoteMeta(rip.String()))
	if got := r.admin(t, "ipvsadm", 0, "-L -n", "").out; !regexp.MustCompile(want).MatchString(got) {
		t.Errorf("no FullNat with one connection:\n%s", got)
	}
	conns := r.admin(t, "ipvsadm", 0, "-L -n -c", "").out
	row := fmt.Sprintf(`\nTCP 1[45]:\d\d  ESTABLISHED %s +%s +%s +%s\n$`, regexp.QuoteMeta(f.c.Local.String()),
		regexp.QuoteMeta(vip.String()), regexp.QuoteMeta(rip.String()), regexp.QuoteMeta(f.lip.String()))
	if !strings.Contains(conns, " local\n") || !regexp.MustCompile(row).MatchString(conns) {
		t.Errorf("no line as %s in\n%s", row, conns)
	}
	for filter, want := range map[string]bool{
		"--client " + f.c.Local.String(): true, "--client " + r.cip[1].String(): false,
		"--vip " + vip.String() + " --state ESTABLISHED,CLOSE": true, "--state CLOSE": false,
		"--lip " + f.lip.String(): true, "--lip " + r.lip[1].String(): false,
		"--rip " + rip.String() + " --protocol tcp": true, "--protocol udp": false,
	} {
		if got := r.admin(t, "ipvsadm", 0, "-L -n -c "+filter, "").out; regexp.MustCompile(row).MatchString(got) != want {
			t.Errorf("-L -c %s: want the connection: %v\n%s", filter, want, got)
		}
	}
	laddrs := r.admin(t, "ipvsadm", 0, "-G -n", "").out
	if !regexp.MustCompile(`(?m)^ +` + regexp.QuoteMeta(r.lip[0].String()) + ` +0 +1 +0 +0 +1024-32767 +-$`).MatchString(laddrs) {
		t.Errorf("-G does not count the connection:\n%s", laddrs)
	}
	// The stock tool is told nothing of all that, and its column fits no more.
	if got := r.admin(t, "ipvsadm.stock", 0, "-L -n -c", "").out; strings.Contains(got, f.lip.String()) {
		t.Errorf("stock lists\n%s", got)
	}
	if n := r.stat(t, uapi.ExtStatLportOk); n != 1 {
		t.Errorf("%d connections counted, want 1", n)
	}
	r.admin(t, "ipvsadm", 0, "-Z", "")
	if n := r.stat(t, uapi.ExtStatLportOk); n != 0 {
		t.Errorf("%d connections counted after -Z, want 0", n)
	}
	f.talk(t)
}

// -D and -C take a service's own group away with its addresses, whoever else
// has deleted the service; FNAT brings what TCP needs with it.
func caseAdminOwnGroup(t *testing.T, r *rig) {
	key := r.key(ipvs.TCP, 80)
	vip, own := key.String(), ipvs.ServiceGroup(key)
	groups := func(when string, want ...string) {
		t.Helper()
		list, err := r.x.LGroups(t.Context())
		testnet.Must(t, err)
		var got []string
		for _, g := range list {
			got = append(got, g.Name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: groups %q, want %q", when, got, want)
		}
	}
	settings := func(when string, flags ipvs.ExtFlags, ts ipvs.TSMode, group string) {
		t.Helper()
		s, err := r.x.ExtService(t.Context(), key)
		testnet.Must(t, err)
		if s.Flags != flags || s.TSMode != ts || s.LGroup != group {
			t.Errorf("%s: %+v", when, s.Ext)
		}
	}
	r.admin(t, "ipvsadm", 0, "-A -t "+vip, "")
	settings("new", 0, ipvs.TSKeep, "")
	r.admin(t, "ipvsadm", 0, fmt.Sprintf("-P -t %s -z %v", vip, r.lip[0]), "")
	settings("with a group, FNAT off", 0, ipvs.TSKeep, own)
	r.admin(t, "ipvsadm", 0, fmt.Sprintf("-a -t %s -r %v -b", vip, netip.AddrPortFrom(r.rip[0], rport)), "")
	settings("FNAT on", ipvs.ExtFNAT|ipvs.ExtSeq, ipvs.TSStrip, own)
	r.admin(t, "ipvsadm", 0, "-E -t "+vip+" --no-fullnat", "")
	settings("FNAT off", ipvs.ExtSeq, ipvs.TSStrip, own)
	groups("in use", own)
	r.admin(t, "ipvsadm", 0, "-D -t "+vip, "")
	groups("after -D")

	// What stock leaves is found again.
	r.admin(t, "ipvsadm", 0, "-A -t "+vip, "")
	r.admin(t, "ipvsadm", 0, fmt.Sprintf("-P -t %s -z %v", vip, r.lip[0]), "")
	r.admin(t, "ipvsadm.stock", 0, "-D -t "+vip, "")
	groups("after stock's -D", own)
	r.admin(t, "ipvsadm", 0, "-A -t "+vip, "")
	r.admin(t, "ipvsadm", 0, fmt.Sprintf("-P -t %s -z %v", vip, r.lip[0]), "")
	settings("attached again", 0, ipvs.TSKeep, own)
	r.admin(t, "ipvsadm", 0, "-C", "")
	groups("after -C")
}

// --explain knows the local address that a client gets by its own.
func caseAdminExplain(t *testing.T, r *rig) {
	vip := netip.AddrPortFrom(r.vip, 80)
	r.admin(t, "ipvsadm", 0, fmt.Sprintf("-A -t %v -s rr", vip), "")
	for _, lip := range r.lip {
		r.admin(t, "ipvsadm", 0, fmt.Sprintf("-P -t %v -z %v", vip, lip), "")
	}
	r.admin(t, "ipvsadm", 0, fmt.Sprintf("-a -t %v -r %v -b", vip, netip.AddrPortFrom(r.rip[0], rport)), "")
	r.admin(t, "ipvsadm", 0, fmt.Sprintf("-E -t %v --laddr-select source", vip), "")
	for i := range 6 {
		client := netip.AddrPortFrom(r.cip[i], 4000)
		said := r.admin(t, "ipvsadm", 0, fmt.Sprintf("--explain -n -t %v --client %v", vip, client), "").out
		f := r.open(t, i, client.Port())
		if want := "\nfrom             " + f.lip.Addr().String(); !strings.Contains(strings.ReplaceAll(said, "[", ""), want) || !strings.Contains(said, " accepted, certain\n") {
			t.Errorf("%v got %v:\n%s", client, f.lip, said)
		}
		said = r.admin(t, "ipvsadm", 0, fmt.Sprintf("--explain -n -t %v --client %v", vip, client), "").out
		if !strings.Contains(said, " connected, certain\nbecause          the packet belongs to a connection in state ESTABLISHED\n") || !strings.Contains(said, f.lip.String()) {
			t.Errorf("%v has %v:\n%s", client, f.lip, said)
		}
	}
}

// Refusals that only a real kernel knows, each on one line with what to do, and
// nothing of the call is left.
func caseAdminTexts(t *testing.T, r *rig) {
	key := r.key(ipvs.TCP, 80)
	r.admin(t, "ipvsadm", 0, "-A -t "+key.String(), "")
	bad, badText := "255.255.255.255", "not a unicast address: 255.255.255.255; use an address of this host"
	ports := func(a netip.Addr, ports string) string { return a.String() + ":" + ports }
	if r.v6() {
		bad, badText = "fe80::1", "not a global unicast address: fe80::1; use an address of this host that is not link-local"
		ports = func(a netip.Addr, ports string) string { return "[" + a.String() + "]:" + ports }
	}
	before := r.table(t)
	for _, c := range []struct{ line, says string }{
		{"-P -t VIP -z " + r.rip[0].String(), "address " + r.rip[0].String() + " is not local; give it to an interface of this host first, or use --laddr-flags foreign or force"},
		{"-P -t VIP -z " + ports(r.lip[0], "32000-33000"), "range overlaps net.ipv4.ip_local_port_range; reserve it: sysctl net.ipv4.ip_local_reserved_ports=32000-33000"},
		{"-P --lgroup new -z " + bad, badText},
		{"-P --lgroup new -z " + r.lip[0].String() + " --laddr-cpus 8000", "CPU"},
		{"-P --lgroup n\x01 -z " + r.lip[0].String(), "a group name is 1 to 15 printable characters without blanks: n\x01"},
	} {
		got := r.admin(t, "ipvsadm", 255, strings.ReplaceAll(c.line, "VIP", key.String()), "").stderr
		if !strings.Contains(got, c.says) || strings.Count(got, "\n") != 1 {
			t.Errorf("ipvsadm %s says %q, want %q", c.line, got, c.says)
		}
		if after := r.table(t); after != before {
			t.Errorf("ipvsadm %s changed\n%s\nto\n%s", c.line, before, after)
		}
	}
}

// caseAdminSave: what -S prints makes the same table again, down to what the
// kernel tells of it; stock's -R stops at the first line, with nothing done.
func caseAdminSave(t *testing.T, r *rig) {
	l, l6 := r.lip, fam6.lip
	table := fmt.Sprintf(`--add-laddr --lgroup empty -6
--add-laddr --lgroup pool --local-address %v:2000-2999 --laddr-cpus 0
--add-laddr --lgroup pool --local-address %v:1024-32767 --laddr-flags no-new
--add-laddr --lgroup six --local-address [%v]:1024-32767 --laddr-flags foreign
--add-laddr --lgroup six --local-address [%v]:100-40000 --laddr-flags force
-A -t 192.0.2.77:80 -s rr --lgroup pool --fullnat --toa --no-seq-adjust --toa-kind4 253 --timestamps keep --mss 1400 --laddr-select source
-a -t 192.0.2.77:80 -r 10.0.2.11:8080 --fullnat -w 1
-a -t 192.0.2.77:80 -r 10.0.2.12:80 -g -w 7
-A -t 192.0.2.77:443 -s sh -p 300 -b sh-port --lgroup pool
-a -t 192.0.2.77:443 -r 10.0.2.11:8443 -m -w 1
-A -u 192.0.2.77:53 -s wlc --lgroup pool --fullnat --exhaust-rst
-A -u 192.0.2.77:54 -s wlc -o
-A -t [2001:db8::77]:80 -s wlc --lgroup six --fullnat --toa --toa-syn --toa-kind6 253
-A -f 7 -s wlc --lgroup pool --fullnat --timestamps rebase --laddr-select cpu
-A -f 7 -6 -s wlc --lgroup six
`, l[0], l[1], l6[0], l6[1])
	r.admin(t, "ipvsadm", 0, "-R", table)
	if got := r.admin(t, "ipvsadm", 0, "-S -n", "").out; got != table {
		t.Errorf("saved\n%s\nwant\n%s", got, table)
	}
	r.restoresWhatItSaves(t, func() string {
		lines := strings.Split(r.table(t), "\n")
		slices.Sort(lines)
		return strings.Join(lines, "\n")
	})
}

// restoresWhatItSaves clears the tables, makes the calls of undo, and wants -R of
// what -S printed before to bring back what kernel tells of them. Stock's -R stops
// at the first line, with nothing done.
func (r *rig) restoresWhatItSaves(t *testing.T, kernel func() string, undo ...string) {
	t.Helper()
	saved, before := r.admin(t, "ipvsadm", 0, "-S -n", "").out, kernel()
	for _, call := range append([]string{"-C"}, undo...) {
		r.admin(t, "ipvsadm", 0, call, "")
	}
	if got := strings.TrimSpace(r.table(t)); got != "" {
		t.Errorf("-C leaves\n%s", got)
	}
	stock := r.admin(t, "ipvsadm.stock", 255, "-R", saved)
	if !strings.Contains(stock.stderr, "Try `ipvsadm -h'") || strings.TrimSpace(r.table(t)) != "" {
		t.Errorf("stock's -R says %q and makes\n%s", stock.stderr, r.table(t))
	}
	r.admin(t, "ipvsadm", 0, "-R", saved)
	if got := r.admin(t, "ipvsadm", 0, "-S -n", "").out; got != saved {
		t.Errorf("saved again\n%s\nwant\n%s", got, saved)
	}
	if after := kernel(); after != before {
		t.Errorf("the kernel has\n%s\nwant\n%s", after, before)
	}
}
