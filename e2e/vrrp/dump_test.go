// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lvs-fnat/lvs/internal/testnet"
)

// dumped is what one node writes on signals.
type dumped struct {
	json  []any
	stats string
	data  string
}

// dumps runs one router with much configuration, and asks it for everything.
func dumps(t *testing.T, p program) dumped {
	b := newBed(t, p)
	n := b.nodes[0]
	b.wire(n, "eth1", "10.1.1.7/24")
	weight := "/tmp/vrrp-dump-weight" // in the dump, and so the same for both
	testnet.Must(t, os.WriteFile(weight, []byte("3\n"), 0o644))
	script := func(word string) string { return fmt.Sprintf(" %s \"/usr/bin/true %s\"\n", word, word) }
	conf := vi{
		prio: 150, version: 3, interval: "0.5", noPreempt: true, vips: []string{"10.1.1.1/24 dev eth1 label eth1:x", "10.1.1.3"},
		outside: "vrrp_script chk {\n script \"/usr/bin/true 1\"\n interval 1\n weight -10\n}\ntrack_file w {\n file " + weight + "\n weight 1\n}",
		more: "unicast_src_ip 192.168.50.1\n unicast_peer {\n 192.168.50.2 min_ttl 3\n }\n" +
			" virtual_ipaddress_excluded {\n 2001:db8::1/64\n }\n virtual_routes {\n 192.0.2.0/24 via 10.1.1.254 dev eth1 metric 3\n }\n" +
			" virtual_rules {\n from 10.1.1.1 table 100 preference 33\n }\n track_interface {\n eth1 weight 5\n }\n" +
			" track_script {\n chk\n }\n track_file {\n w\n }\n" + script("notify_master") + script("notify_backup") + script("notify_fault") +
			script("notify_stop") + script("notify_deleted") + script("notify") + script("notify_master_rx_lower_pri"),
	}.conf() + vi{
		name: "VI2", link: "eth1", id: 52, prio: 100, vips: []string{"10.1.1.9"},
		more: "authentication {\n auth_type PASS\n auth_pass secret\n }\n preempt_delay 4",
	}.conf()
	began := time.Now()
	n.start(conf)
	// The peer of the first does not exist: nobody answers for its address.
	b.await("the second is master", func(f []frame) bool { return masterSince(pick(f, vrrpID(52)), 0, began) })
	b.holds("10.1.1.3", 0)
	read := func(name string, sig syscall.Signal) string {
		n.signal(sig)
		var text []byte
		testnet.Eventually(t, limit, func() (err error) {
			if _, err = os.Stat(n.path(name)); err == nil && n.writes(n.path(name)) {
				err = fmt.Errorf("%s is not whole", name)
			}
			if err == nil {
				text, err = os.ReadFile(n.path(name))
			}
			return err
		})
		if st, err := os.Stat(n.path(name)); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v %v", name, st.Mode(), err)
		}
		return string(text)
	}
	var d dumped
	text := read("keepalived.json", 36)
	if err := json.Unmarshal([]byte(text), &d.json); err != nil {
		t.Errorf("JSON: %v\n%s", err, text)
	}
	d.stats = read("keepalived.stats", syscall.SIGUSR2)
	d.data = read("keepalived.data", syscall.SIGUSR1)
	return d
}

// writes tells whether the VRRP process has the file open.
func (n *node) writes(file string) bool {
	n.t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", n.child())
	list, err := os.ReadDir(dir)
	testnet.Must(n.t, err)
	return slices.ContainsFunc(list, func(e os.DirEntry) bool {
		to, err := os.Readlink(filepath.Join(dir, e.Name()))
		return err == nil && to == file
	})
}

var digits = regexp.MustCompile(`\d+`)

// TestDumps: the dumps have what the original's have, where monitoring looks.
func TestDumps(t *testing.T) {
	t.Parallel()
	results := map[program]dumped{}
	t.Run("nodes", func(t *testing.T) {
		both := make(chan func(), 2)
		t.Run("run", func(t *testing.T) {
			for _, p := range []program{c, ours} {
				t.Run(string(p), func(t *testing.T) {
					t.Parallel()
					d := dumps(t, p)
					both <- func() { results[p] = d }
				})
			}
		})
		close(both)
		for f := range both {
			f()
		}
	})
	if len(results) < 2 {
		t.FailNow()
	}
	// What is told otherwise with intent: passwords, and how a route is written.
	told := cmp.FilterPath(func(p cmp.Path) bool {
		last, ok := p.Index(-2).(cmp.MapIndex)
		if !ok {
			last, ok = p.Last().(cmp.MapIndex)
		}
		if !ok {
			return false
		}
		switch last.Key().String() {
		case "last_transition", "auth_data", "vroutes", "advert_sent":
			return true
		}
		return false
	}, cmp.Comparer(func(a, b any) bool { return a != nil && b != nil }))
	if d := cmp.Diff(results[c].json, results[ours].json, told); d != "" {
		t.Errorf("JSON, -original +ours:\n%s", d)
	}
	if d := cmp.Diff(digits.ReplaceAllString(results[c].stats, "N"), digits.ReplaceAllString(results[ours].stats, "N")); d != "" {
		t.Errorf("statistics, -original +ours:\n%s", d)
	}
	if strings.Contains(results[ours].data, "secret") {
		t.Error("the dump has a password")
	}
	// The keys that exporters look for.
	have := map[string]bool{}
	for line := range strings.Lines(results[ours].data) {
		have[keyOf(line)] = true
	}
	for line := range strings.Lines(results[c].data) {
		if k := keyOf(line); exported[k] && !have[k] {
			t.Errorf("the dump has no %q", k)
		}
	}
}

// keyOf is what stands before the value, with its indent.
func keyOf(line string) string {
	k, _, ok := strings.Cut(line, "=")
	if !ok {
		k, _, _ = strings.Cut(line, "(")
	}
	return strings.TrimRight(k, " :\n")
}

var exported = func() map[string]bool {
	m := map[string]bool{}
	for _, k := range []string{
		" VRRP Instance", "   VRRP Version", "   State", "   Wantstate", "   Last transition", "   Interface", "   Using src_ip",
		"   Gratuitous ARP delay", "   Gratuitous ARP repeat", "   Gratuitous ARP refresh", "   Gratuitous ARP refresh repeat",
		"   Gratuitous ARP lower priority delay", "   Gratuitous ARP lower priority repeat", "   Virtual Router ID", "   Priority",
		"   Effective priority", "   Advert interval", "   Accept", "   Preempt", "   Authentication type", "   Virtual IP",
		"   Virtual IP Excluded", " VRRP Script", "   Command", "   Interval", "   Timeout", "   Weight", "   Rise", "   Fall", "   Result", "   Status",
	} {
		m[k] = true
	}
	return m
}()

// exporters are what gen2brain's and mehdy's exporter decode of an instance; who
// decodes a number where there is a word fails as a whole.
type exporters struct {
	Data struct {
		Name       string   `json:"iname"`
		Link       string   `json:"ifp_ifname"`
		Transition float64  `json:"last_transition"`
		VRID       int      `json:"vrid"`
		State      int      `json:"state"`
		WantState  int      `json:"wantstate"`
		GARPDelay  int      `json:"garp_delay"`
		VIPs       []string `json:"vips"`
	} `json:"data"`
	Stats map[string]int `json:"stats"`
}

// TestJSON: both versions have the same of instances, which exporters decode; the second
// has it beside tracked processes, as recorded from keepalived 2.3.3.
func TestJSON(t *testing.T) {
	t.Parallel()
	type dump struct {
		VRRP      []exporters      `json:"vrrp"`
		Processes []map[string]any `json:"track_process"`
	}
	b := newBed(t, ours)
	n := b.nodes[0]
	conf := func(version int) string {
		return vi{prio: 150, globalDefs: fmt.Sprintf("json_version %d", version),
			outside: "vrrp_track_process p {\n process vrnobody\n weight 10\n}\nvrrp_track_process q {\n process vrnobody \"a b\" c\n param_match initial\n quorum 2\n quorum_max 3\n terminate_delay 1.5\n fork_delay 2\n full_command\n}",
			more:    "track_process {\n p\n q weight 5\n }"}.conf()
	}
	read := func(into any) {
		t.Helper()
		_ = os.Remove(n.path("keepalived.json"))
		n.signal(36)
		testnet.Eventually(t, limit, func() error {
			text, err := os.ReadFile(n.path("keepalived.json"))
			if err == nil {
				err = json.Unmarshal(text, into)
			}
			return err
		})
	}
	began := time.Now()
	n.start(conf(1))
	b.await("master", func(f []frame) bool { return masterSince(f, 0, began) })
	var first []exporters
	read(&first)
	if len(first) != 1 || first[0].Data.Name != "VI" || first[0].Data.Link != "eth0" || first[0].Data.VRID != 51 || first[0].Data.State != 2 || first[0].Data.WantState != 2 ||
		first[0].Data.GARPDelay != 5 || first[0].Data.Transition == 0 || len(first[0].Data.VIPs) != 1 || !strings.HasPrefix(first[0].Data.VIPs[0], vip+" dev eth0 ") {
		t.Errorf("version 1: %+v", first)
	}
	for _, k := range []string{"advert_rcvd", "advert_sent", "become_master", "release_master", "packet_len_err", "advert_interval_err", "ip_ttl_err", "invalid_type_rcvd",
		"addr_list_err", "invalid_authtype", "authtype_mismatch", "auth_failure", "pri_zero_rcvd", "pri_zero_sent"} {
		if _, ok := first[0].Stats[k]; !ok {
			t.Errorf("no %s in %v", k, first[0].Stats)
		}
	}
	n.reload(conf(2))
	var second dump
	read(&second)
	if d := cmp.Diff(first[0].Data, second.VRRP[0].Data); d != "" {
		t.Errorf("-version 1 +version 2:\n%s", d)
	}
	process := func(extra map[string]any) map[string]any {
		m := map[string]any{"process": "p", "param_match": "none", "min_processes": 1.0, "current_processes": 0.0, "have_quorum": false, "weight": 10.0, "terminate_delay": 0.0,
			"fork_delay": 0.0, "fork_delay_timer_running": false, "terminate_delay_timer_running": false, "full_command": false}
		maps.Copy(m, extra)
		return m
	}
	want := []map[string]any{process(nil), process(map[string]any{"process": "q", "parameters": "a b c", "param_match": "initial", "min_processes": 2.0, "max_processes": 3.0, "weight": 0.0,
		"terminate_delay": 1.5, "fork_delay": 2.0, "full_command": true})}
	if d := cmp.Diff(want, second.Processes); d != "" {
		t.Errorf("processes, -keepalived 2.3.3 +ours:\n%s", d)
	}
}
