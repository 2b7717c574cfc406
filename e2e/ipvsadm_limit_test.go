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
	"time"

	"golang.org/x/sys/unix"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testpkt"
)

// TestLimitTyped: what is typed to ipvsadm about limits, lists, connections and
// local addresses is what happens to packets.
func TestLimitTyped(t *testing.T) {
	needOurs(t)
	each(t, "limits", caseTypedLimits)
	each(t, "list", caseTypedList)
	each(t, "kill", caseTypedKill)
	each(t, "forecast", caseTypedForecast)
	t.Run("every_word", func(t *testing.T) { caseTypedWords(t, newRig(t, fam4)) })
}

// typed makes the service of port 80 by ipvsadm alone, with one server, and
// returns the option that names it.
func (r *rig) typed(t *testing.T, option, ports string) string {
	t.Helper()
	vip := option + " " + netip.AddrPortFrom(r.vip, 80).String()
	lip := r.lip[0].String()
	if r.v6() && ports != "" {
		lip = "[" + lip + "]"
	}
	for _, line := range []string{
		"-A " + vip + " -s rr",
		"-P " + vip + " -z " + lip + ports,
		"-a " + vip + " -b -r " + netip.AddrPortFrom(r.rip[0], rport).String(),
	} {
		r.admin(t, "ipvsadm", 0, line, "")
	}
	return vip
}

// offer sends the SYNs from to to-1 and returns how many passed.
func (r *rig) offer(t *testing.T, from, to int) int {
	t.Helper()
	for i := from; i < to; i++ {
		r.front.Send(t, r.syns(i))
	}
	return len(r.back.Rest())
}

func caseTypedLimits(t *testing.T, r *rig) {
	vip := r.typed(t, "-t", "")
	edit := func(words string) {
		t.Helper()
		r.admin(t, "ipvsadm", 0, "-E "+vip+" "+words, "")
	}
	saved := func() string {
		t.Helper()
		_, line, _ := strings.Cut(r.admin(t, "ipvsadm", 0, "-S -n", "").out, "\n-A ")
		line, _, _ = strings.Cut(line, "\n")
		return line
	}
	before := saved()
	edit("--cps 100 --cps-burst 5")
	if n := r.offer(t, 0, 20); n < 5 || n > 7 {
		t.Errorf("%d of 20 SYNs at once passed a burst of 5", n)
	}
	if got := r.admin(t, "ipvsadm", 0, "-L -n --stats-ext "+vip, "").out; !regexp.MustCompile(`(?m)^  cps_drop +1[345]$`).MatchString(got) {
		t.Errorf("--stats-ext does not tell of them:\n%s", got)
	}
	if got := saved(); got != before+" --cps 100 --cps-burst 5" {
		t.Errorf("-E of limits made %q of %q", got, before)
	}
	edit("--cps 0 --cps-burst 0 --conn-limit 3")
	r.admin(t, "ipvsadm", 0, "--kill --vip "+r.vip.String(), "")
	if n := r.offer(t, 1000, 1010); n != 3 {
		t.Errorf("%d of 10 SYNs passed a limit of 3 connections", n)
	}
	edit("--conn-limit 0")
	if n := r.offer(t, 2000, 2010); n != 10 {
		t.Errorf("%d of 10 SYNs passed without a limit", n)
	}
	if got := saved(); got != before {
		t.Errorf("without limits again it is %q, not %q", got, before)
	}
	r.admin(t, "ipvsadm", 0, "-C", "")

	vip = r.typed(t, "-u", "")
	for _, c := range []struct {
		limit     string
		low, high int
	}{{"100000", 5, 20}, {"0", 100, 100}} { // a tenth of a second's worth at once
		edit("--bps-in " + c.limit)
		for range 100 {
			r.front.Send(t, testpkt.Datagram(netip.AddrPortFrom(r.cip[0], 4000), netip.AddrPortFrom(r.vip, 80), strings.Repeat("q", 900)))
		}
		if n := len(r.back.Rest()); n < c.low || n > c.high {
			t.Errorf("%d of 100 datagrams passed --bps-in %s, want %d to %d", n, c.limit, c.low, c.high)
		}
	}
}

func caseTypedList(t *testing.T, r *rig) {
	set := "--acl-set4"
	if r.nf() == unix.NFPROTO_IPV6 {
		set = "--acl-set6"
	}
	vip := r.typed(t, "-t", "")
	if got := r.admin(t, "ipvsadm", 255, "-E "+vip+" --acl white "+set+" clients", "").stderr; !strings.Contains(got, "make it first: ipset create NAME") {
		t.Errorf("of a set that is not there it says %q", got)
	}
	r.makeSet(t, "clients", "hash:net", r.nf(), r.cip[0], r.cip[1])
	for mode, want := range map[string][]int{"white": {0, 1}, "black": {2, 3}, "off": {0, 1, 2, 3}} {
		r.admin(t, "ipvsadm", 0, "-E "+vip+" --acl "+mode+" "+set+" clients", "")
		var passed []int
		for n := range 4 {
			if r.offer(t, n, n+1) == 1 {
				passed = append(passed, n)
			}
		}
		r.admin(t, "ipvsadm", 0, "--kill --vip "+r.vip.String(), "")
		if !slices.Equal(passed, want) {
			t.Errorf("--acl %s lets the clients %v pass, want %v", mode, passed, want)
		}
	}
}

// caseTypedKill: --kill ends what the same filter lists, and nothing else.
func caseTypedKill(t *testing.T, r *rig) {
	r.typed(t, "-t", "")
	var flows []*flow
	for n := range 5 {
		flows = append(flows, r.open(t, n, 4000))
	}
	half := r.dial(t, 5, 4000)
	left := func() (clients []string) {
		for _, line := range strings.Split(r.admin(t, "ipvsadm", 0, "-L -n -c", "").out, "\n") {
			if f := strings.Fields(line); len(f) > 4 && f[0] == "TCP" {
				clients = append(clients, f[3])
			}
		}
		slices.Sort(clients)
		return clients
	}
	want := []string{half.c.Local.String()}
	for _, f := range flows {
		want = append(want, f.c.Local.String())
	}
	kill := func(filter string, gone ...*flow) {
		t.Helper()
		says := strconv.Itoa(len(gone)) + " connections ended\n"
		if len(gone) == 1 {
			says = "1 connection ended\n"
		}
		if got := r.admin(t, "ipvsadm", 0, "--kill "+filter, "").out; got != says {
			t.Errorf("--kill %s says %q, want %d", filter, got, len(gone))
		}
		want = slices.DeleteFunc(want, func(c string) bool {
			return slices.ContainsFunc(gone, func(f *flow) bool { return f.c.Local.String() == c })
		})
		slices.Sort(want)
		if got := left(); !slices.Equal(got, want) {
			t.Errorf("--kill %s leaves %q, want %q", filter, got, want)
		}
	}
	kill("--client "+r.cip[19].String(), []*flow{}...)
	kill("--client "+flows[0].c.Local.String(), flows[0])
	kill("--lip "+flows[1].lip.String(), flows[1])
	kill("--state SYN_RECV --vip "+r.vip.String(), half)
	kill("--protocol udp --vip "+r.vip.String(), []*flow{}...)
	for _, f := range flows[2:] {
		f.talk(t) // untouched
	}
	late := flows[0].s.Data("late") // of a connection that is gone
	r.back.Send(t, late)
	expectReset(t, r.back, late)
	kill("--rip "+flows[2].s.Local.String(), flows[2:]...)
	if got := r.admin(t, "ipvsadm", 2, "--kill", "").stderr; !strings.Contains(got, "needs a filter") {
		t.Errorf("--kill without a filter says %q", got)
	}
}

// caseTypedForecast: -G tells how many ports are in use, what was tried in vain and
// how far the group is from its end.
func caseTypedForecast(t *testing.T, r *rig) {
	vip := r.typed(t, "-t", ":5000-5009")
	group := func() string {
		t.Helper()
		return r.admin(t, "ipvsadm", 0, "-G -n "+vip, "").out
	}
	server := regexp.QuoteMeta(netip.AddrPortFrom(r.rip[0], rport).String())
	lip := regexp.QuoteMeta(r.lip[0].String())
	if got := group(); !regexp.MustCompile(`(?m)^ +`+lip+` +0 +0 +0 +0 +5000-5009 +-$`).MatchString(got) || strings.Contains(got, " ports (") {
		t.Errorf("an idle group is\n%s", got)
	}
	if n := r.offer(t, 0, 8); n != 8 {
		t.Fatalf("%d of 8 SYNs passed", n)
	}
	if got := group(); !regexp.MustCompile(`, 8 of 10 ports \(80%\) to TCP ` + server + `\n +` + lip + ` +\d+ +8 +0 +0 +5000-5009 +-\n`).MatchString(got) {
		t.Errorf("with 8 connections the group is\n%s", got)
	}
	if n := r.offer(t, 8, 12); n != 2 {
		t.Errorf("%d of 4 SYNs passed where 2 ports are left", n)
	}
	if got := group(); !regexp.MustCompile(`, 10 of 10 ports \(100%\) to TCP ` + server + `\n +` + lip + ` +[1-9]\d* +10 +2 +0 +5000-5009 +-\n`).MatchString(got) {
		t.Errorf("a full group is\n%s", got)
	}
	if got := r.admin(t, "ipvsadm", 0, "-L -n --stats-ext", "").out; !regexp.MustCompile(`(?m)^  lport_ok +10\n  lport_conflict +\d+\n  lport_full +2\n`).MatchString(got) {
		t.Errorf("--stats-ext does not tell of them:\n%s", got)
	}
	testnet.Eventually(t, 2*time.Minute, func() error { // half open, they expire
		groups, err := r.x.LGroups(t.Context())
		testnet.Must(t, err)
		for _, g := range groups {
			if g.Used() > 0 {
				return fmt.Errorf("%s is used by %.0f %%", g.Name, 100*g.Used())
			}
		}
		return nil
	})
	if got := group(); strings.Contains(got, " ports (") {
		t.Errorf("idle again the group is\n%s", got)
	}
}

// caseTypedWords: all that the help text has of FNAT goes through -S and -R, and
// stock's -R of it does nothing.
func caseTypedWords(t *testing.T, r *rig) {
	r.makeSet(t, "good", "hash:net", unix.NFPROTO_IPV4)
	r.makeSet(t, "good6", "hash:net", unix.NFPROTO_IPV6)
	table := fmt.Sprintf(`--set-ext --laddr-probes 9 --no-laddr-reclaim --synproxy-memory 1048576 --synproxy-early off --drop-vip
--add-laddr --lgroup pool --local-address %v:2000-2999 --laddr-flags no-new --laddr-cpus 0
-A -t 192.0.2.77:80 -s wrr --lgroup pool --fullnat --toa --toa-syn --no-seq-adjust --toa-kind4 253 --toa-kind6 252 --timestamps keep --mss 1400 --laddr-select source --exhaust-rst
-a -t 192.0.2.77:80 -r 10.0.2.11:8080 --fullnat -w 3
-A -t 192.0.2.78:80 -s rr --lgroup pool --fullnat --synproxy auto --synproxy-defer --synproxy-mss 1300 --synproxy-wscale 5 --synproxy-opts no-sack,ts --synproxy-window 4096 --synproxy-ttl 33 --synproxy-retries 2 --synproxy-queue 5 --synproxy-auto-on 900 --synproxy-auto-off 100
-A -t 192.0.2.79:80 -s rr --lgroup pool --fullnat --rst-on-expire --invalid rst --est-timeout 77 --cps 100 --cps-burst 7 --bps-in 1000 --bps-out 2000 --conn-limit 99 --acl white --acl-set4 good --acl-set6 good6
`, r.lip[0])
	r.admin(t, "ipvsadm", 0, "-R", table)
	saved := r.admin(t, "ipvsadm", 0, "-S -n", "").out
	words := func(text string) []string {
		list := regexp.MustCompile(`--[a-z][a-z0-9-]*(?: [^-\s][^\s]*)?`).FindAllString(text, -1)
		slices.Sort(list)
		return list
	}
	if got, want := words(saved), words(table); !slices.Equal(got, want) {
		t.Errorf("saved are the words\n%q\nwant\n%q", got, want)
	}
	r.restoresWhatItSaves(t, func() string {
		t.Helper()
		all, err := r.x.ExtServices(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := r.x.ExtConfig(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, s := range all {
			s.Stats = nil
			lines = append(lines, fmt.Sprintf("%+v", s))
		}
		slices.Sort(lines)
		return fmt.Sprintf("%+v\n%s", cfg, strings.Join(lines, "\n"))
	}, "--set-ext --laddr-probes 64 --laddr-reclaim --synproxy-memory 16777216 --synproxy-early auto --no-drop-vip")

	// -E of words of ours alone leaves all else, ours and stock's.
	r.admin(t, "ipvsadm", 0, "-E -t 192.0.2.77:80 --mss 1200", "")
	if got, want := r.admin(t, "ipvsadm", 0, "-S -n", "").out, strings.Replace(saved, "--mss 1400", "--mss 1200", 1); got != want {
		t.Errorf("-E --mss made\n%s\nwant\n%s", got, want)
	}
	r.admin(t, "ipvsadm", 0, "-e -t 192.0.2.77:80 -r 10.0.2.11:8080 -b", "")
	if got := r.admin(t, "ipvsadm", 0, "-S -n", "").out; !strings.Contains(got, "-r 10.0.2.11:8080 --fullnat -w 3\n") {
		t.Errorf("-e -b does not leave the weight:\n%s", got)
	}

	// Nothing of the help text is missing above: what follows is what a service
	// begins with, secrets, and what only lists.
	help := r.admin(t, "ipvsadm", 0, "-h", "").out
	_, help, _ = strings.Cut(help, "\nOptions of FNAT")
	all := regexp.MustCompile(`(?m)^ +(?:-\w, +)?--([a-z0-9-]+)`).FindAllStringSubmatch(help, -1)
	if len(all) < 45 {
		t.Errorf("the help text has %d options of FNAT: has its form changed?\n%s", len(all), help)
	}
	for _, m := range all {
		switch name := m[1]; {
		case slices.Contains([]string{"seq-adjust", "laddr-reclaim", "cookie-key", "previous-cookie-key", "ext", "stats-ext"}, name):
		case strings.HasPrefix(name, "no-") && name != "no-seq-adjust" && name != "no-laddr-reclaim":
		case !strings.Contains(table, "--"+name):
			t.Errorf("--%s is not in the table", name)
		}
	}
}
