// SPDX-License-Identifier: Apache-2.0

package checks

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testvm"
	"github.com/lvs-fnat/lvs/ipvs"
)

// samples is where Debian's package has its samples.
const samples = "/usr/share/doc/keepalived/samples"

// sampleFiles gives the samples of the package, for a guest.
func sampleFiles(t *testing.T) map[string]string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(testvm.Cache(), "guest", samples, "keepalived.conf.*"))
	if err != nil || len(list) < 25 {
		t.Fatalf("%d samples, %v: run 'make deps'", len(list), err)
	}
	files := map[string]string{}
	for _, path := range list {
		files[filepath.Join(samples, filepath.Base(path))] = path
	}
	return files
}

// told are the lines of a log that scripts look for.
var told = regexp.MustCompile(`STATE|\b(Remov|Add|Enabl|Disabl)ing |quorum|Changing weight|failed|succe|VRRP_Group|Shutting down|no longer`)

// host is a namespace for one of the two programs, what runs there, and what that has
// made of it.
type host struct {
	ns    *testnet.NS
	path  string
	p     *program
	state [2]string // after the start, and when all checks have decided
	code  int
}

// newHost has the links that samples name, each with an address.
func newHost(t *testing.T, name, path string, links []string) *host {
	t.Helper()
	h := &host{ns: testnet.New(t, name), path: path}
	for i, link := range links {
		l := &netlink.Dummy{LinkAttrs: netlink.NewLinkAttrs()}
		l.Name = link
		testnet.Must(t, h.ns.AddLink(l), h.ns.Do(func() error { return netlink.LinkSetMulticastOn(l) }), h.ns.Up(link),
			h.ns.AddAddr(link, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 240, byte(i), 1}), 24)))
	}
	return h
}

// start runs the program with a sample.
func (h *host) start(t *testing.T, sample string) {
	t.Helper()
	p := &program{t: t, dir: t.TempDir(), conf: sample}
	p.cmd = exec.Command(h.path, "-n", "-l", "-G", "-i", "master", "-f", sample, "-p", p.dir+"/pid", "-c", p.dir+"/checkers", "-r", p.dir+"/vrrp", "-b", p.dir+"/bfd")
	p.cmd.Env = append(os.Environ(), "TMPDIR="+p.dir)
	p.cmd.Stderr, p.cmd.Stdout = p, p
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	testnet.Must(t, h.ns.Start(p.cmd))
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
			_ = p.cmd.Wait()
		}
	})
	h.p = p
}

// look gives the services and real servers, addresses, routes and rules of the host.
func (h *host) look(t *testing.T) string {
	t.Helper()
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	ctx := context.Background()
	client, err := ipvs.Config{NetNS: h.ns.FD()}.Dial(ctx)
	testnet.Must(t, err)
	defer client.Close()
	services, err := client.Services(ctx)
	testnet.Must(t, err)
	for _, s := range services {
		add("%v %s %v timeout %d mask %v", s.ServiceKey, s.Scheduler, s.Flags, s.Timeout, s.Netmask)
		dests, err := client.Dests(ctx, s.ServiceKey)
		testnet.Must(t, err)
		for _, d := range dests {
			add("%v of %v: %v weight %d, %d to %d", d.DestKey, s.ServiceKey, d.Forward, d.Weight, d.LowerThreshold, d.UpperThreshold)
		}
	}
	testnet.Must(t, h.ns.Do(func() error {
		links, err := netlink.LinkList()
		for _, l := range links {
			list, err := netlink.AddrList(l, netlink.FAMILY_ALL)
			if err != nil {
				return err
			}
			for _, a := range list {
				if !a.IP.IsLinkLocalUnicast() && !strings.HasPrefix(a.IP.String(), "10.240.") {
					add("address %v of %s label %s", a.IPNet, l.Attrs().Name, a.Label)
				}
			}
		}
		routes, routeErr := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{}, netlink.RT_FILTER_TABLE)
		for _, r := range routes {
			if r.Table != unix.RT_TABLE_LOCAL { // which of equal addresses is the first is chance
				add("route to %v by %v %v in table %d", r.Dst, r.LinkIndex, r.Gw, r.Table)
			}
		}
		rules, ruleErr := netlink.RuleList(netlink.FAMILY_ALL)
		for _, r := range rules {
			add("%v", r)
		}
		return errors.Join(err, routeErr, ruleErr)
	}))
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// place is what ours has around a line about a configuration.
var place = regexp.MustCompile(`^\(\S+: Line \d+\) | \(column [^)]*\)$`)

// log gives the lines that scripts look for.
func (h *host) log() []string {
	var lines []string
	for line := range strings.Lines(h.p.text()) {
		_, text, ok := strings.Cut(strings.TrimSpace(line), "2026: ")
		if ok && told.MatchString(text) && !strings.HasPrefix(text, " ") { // as the original shows its arguments
			lines = append(lines, place.ReplaceAllString(text, ""))
		}
	}
	return lines
}

// notOfSamples are lines of the original's that ours has not, by sample: docs/compatibility.md
// says why.
var notOfSamples = map[string][]string{
	"SMTP_CHECK":      {"Checker bind failed", "socket bind failed", "[172.16.1.12]:tcp:25 from", "Lost quorum"},
	"vrrp.localcheck": {"VRRP_Script("},
}

// TestServersSamples starts keepalived 2.2.7 and ours with each sample of Debian's package,
// on hosts that have the links it names: the kernel's services, addresses, routes and
// rules are the same after the start, when all checks have decided, and at the end, and what
// scripts look for in the log is in both. LVS_BENCH=1 has all of them run; without it those
// of virtual routers alone are left out, but for two.
func TestServersSamples(t *testing.T) {
	for _, module := range strings.Fields("ip_vs ip_vs_rr ip_vs_wrr ip_vs_wlc dummy macvlan nf_tables") {
		testnet.Must(t, testvm.Modprobe(module))
	}
	list, err := filepath.Glob(samples + "/keepalived.conf.*")
	testnet.Must(t, err)
	if len(list) < 25 {
		t.Fatalf("%d samples", len(list))
	}
	var links []string
	for _, sample := range list {
		text, err := os.ReadFile(sample)
		testnet.Must(t, err)
		links = append(links, regexp.MustCompile(`\beth\d(\.\d)?`).FindAllString(string(text), -1)...)
	}
	slices.Sort(links)
	links = slices.Compact(links)
	hosts := [2]*host{newHost(t, "theirs", stock, links), newHost(t, "mine", ours, links)}
	empty := hosts[0].look(t)
	for _, sample := range list {
		name := strings.TrimPrefix(filepath.Base(sample), "keepalived.conf.")
		text, err := os.ReadFile(sample)
		testnet.Must(t, err)
		routersOnly := !strings.Contains(string(text), "virtual_server") && name != "vrrp" && name != "vrrp.sync"
		if routersOnly && os.Getenv("LVS_BENCH") == "" {
			continue // what they have, the tests of virtual routers hold to the original
		}
		t.Run(name, func(t *testing.T) { compareSample(t, name, hosts, sample, empty) })
	}
}

// decided is when all checks of a sample have: the first run comes within delay_loop, and
// its retries behind it.
func decided(t *testing.T, sample string) time.Duration {
	t.Helper()
	text, err := os.ReadFile(sample)
	testnet.Must(t, err)
	longest := 4 // of virtual routers: until they have no master
	for _, m := range regexp.MustCompile(`(?m)^\s*delay_loop (\d+)`).FindAllSubmatch(text, -1) {
		v, err := strconv.Atoi(string(m[1]))
		testnet.Must(t, err)
		longest = max(longest, v+15)
	}
	return time.Duration(longest+2) * time.Second
}

func compareSample(t *testing.T, name string, hosts [2]*host, sample, empty string) {
	for _, h := range hosts {
		h.start(t, sample)
	}
	for _, h := range hosts {
		h.p.wait("Startup complete")
	}
	for _, h := range hosts {
		h.state[0] = h.look(t)
	}
	time.Sleep(decided(t, sample)) // of the guest
	for _, h := range hosts {
		h.state[1] = h.look(t)
		testnet.Must(t, h.p.cmd.Process.Signal(syscall.SIGTERM))
	}
	for _, h := range hosts {
		_ = h.p.cmd.Wait()
		h.code = h.p.cmd.ProcessState.ExitCode()
		if d := gocmp.Diff(empty, h.look(t)); d != "" {
			t.Errorf("left by %s:\n%s", h.path, d)
		}
	}
	for i, when := range []string{"after the start", "in the end"} {
		if d := gocmp.Diff(hosts[0].state[i], hosts[1].state[i]); d != "" && (name != "SMTP_CHECK" || i == 0) {
			t.Errorf("%s: -original +ours:\n%s", when, d)
		}
	}
	if hosts[0].code != hosts[1].code {
		t.Errorf("exit code %d, original %d", hosts[1].code, hosts[0].code)
	}
	only := &play{not: notOfSamples[name]}
	if missing := lacks(hosts[1].log(), only.without(hosts[0].log())); len(missing) > 0 {
		t.Errorf("the original's log has besides\n%s", strings.Join(missing, "\n"))
	}
	if t.Failed() {
		t.Logf("the original says\n%s\nours says\n%s", hosts[0].p.text(), hosts[1].p.text())
	}
}
