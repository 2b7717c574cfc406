// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lvs-fnat/lvs/internal/firewall"
	"github.com/lvs-fnat/lvs/ipvs/ipvstest"
)

// fakeMarker is nftables of a namespace, which outlives daemons.
type fakeMarker struct {
	mu      sync.Mutex
	have    []firewall.Mark
	opts    firewall.MarkOptions
	sets    int
	refused error
}

func (m *fakeMarker) open(o firewall.MarkOptions) (marker, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.opts = o
	return m, nil
}

func (m *fakeMarker) Set(want []firewall.Mark) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refused != nil {
		return m.refused
	}
	m.have, m.sets = slices.Clone(want), m.sets+1
	return nil
}

func (m *fakeMarker) Read() ([]firewall.Mark, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.have), nil
}

func (m *fakeMarker) priority() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.opts.Priority
}

// count is how often the rules were made.
func (m *fakeMarker) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sets
}

// meddle is somebody else with nft(8).
func (m *fakeMarker) meddle(change func([]firewall.Mark) []firewall.Mark) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.have = change(m.have)
}

// refuse has Set fail with err, nil for not.
func (m *fakeMarker) refuse(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refused = err
}

// lines are the elements of all maps.
func (m *fakeMarker) lines() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var b strings.Builder
	for _, k := range m.have {
		b.WriteString(k.String() + "\n")
	}
	return b.String()
}

// markedGroup is a group and its virtual server.
func markedGroup(name, addresses string) string {
	return "virtual_server_group " + name + " {\n" + addresses + "\n}\nvirtual_server group " + name + " {\n    lb_algo rr\n    lb_kind NAT\n    protocol TCP\n" +
		"    real_server 10.0.2.11 80 {\n        weight 1\n    }\n}\n"
}

const marking = "global_defs {\n    nftables_ipvs\n}\n"

// markedDaemon runs on m.
func markedDaemon(t *testing.T, table *ipvstest.Table, m *fakeMarker, conf string) *testDaemon {
	t.Helper()
	d := newDaemon(t, table, conf)
	d.app.marker = m.open
	return d
}

// TestMarks: with nftables_ipvs a group is one service of each family, by a mark that
// stays its own across reloads and new starts.
func TestMarks(t *testing.T) {
	m, table := &fakeMarker{}, ipvstest.NewStock()
	a, b := markedGroup("A", "10.0.1.1 80\n10.0.1.2-9 443"), markedGroup("B", "10.0.1.20 80")
	d := markedDaemon(t, table, m, marking+a+b)
	d.start()
	service := func(mark string) string {
		return "-A -f " + mark + " -s rr\n-a -f " + mark + " -r 10.0.2.11:80 -m -w 1\n"
	}
	d.holds(service("1000") + service("1001"))
	marks := func(what, want string) {
		t.Helper()
		if diff := cmp.Diff(want, m.lines()); diff != "" {
			t.Errorf("%s, -want +got:\n%s", what, diff)
		}
	}
	const ofB = "10.0.1.20 . 80 : 1001\n"
	marks("at the start", "10.0.1.1 . 80 : 1000\n"+ofB+"10.0.1.2-10.0.1.9 . 443 : 1000\n")

	// What goes leaves its number free, what stays keeps it, what comes gets a new one.
	c := markedGroup("C", "10.0.1.30 80")
	d.reload(marking+c+b, msgReloaded)
	d.holds(service("1001") + service("1002"))
	marks("after a reload", ofB+"10.0.1.30 . 80 : 1002\n")
	d.write(marking + markedGroup("C", "10.0.1.31 80") + b)
	if code, out, _ := d.command("--plan"); code != exitChanges ||
		out != "nft delete element ip keepalived_ipvs tcp_map { 10.0.1.30 . 80 : 1002 }\nnft add element ip keepalived_ipvs tcp_map { 10.0.1.31 . 80 : 1002 }\n"+
			"checks: 0 started, 0 stopped, 0 with another timing, 0 kept\n" {
		t.Errorf("--plan: code %d\n%s", code, out)
	}
	d.write(marking + c + b)

	// A configuration that needs the number for itself has it.
	own := "virtual_server fwmark 1001 {\n    lb_algo rr\n    lb_kind NAT\n    real_server 10.0.2.12 80 {\n        weight 1\n    }\n}\n"
	d.reload(marking+c+b+own, msgReloaded)
	marks("beside a mark of one's own", "10.0.1.20 . 80 : 1003\n10.0.1.30 . 80 : 1002\n")
	d.reload(marking+c+b, msgReloaded)

	// Who starts after a crash goes on with the numbers; nothing is set again.
	left, sets := m.lines(), m.count()
	d.checks.runErr <- errors.New("broken")
	d.waitAll("died: Respawning", "for VS [C]:0", "for VS [B]:0")
	marks("after a crash", left)
	if m.count() != sets {
		t.Error("what was there was set again")
	}
	d.holds(service("1002") + service("1003"))

	// nftables was started anew meanwhile: that is told, and a reload sets all again.
	m.meddle(func([]firewall.Mark) []firewall.Mark { return nil })
	d.signals <- syscall.SIGUSR1
	d.wait("IPVS: 'kill -HUP ")
	d.reload(marking+c+b, msgReloaded)
	marks("after somebody flushed and a reload", left)
	m.meddle(func(have []firewall.Mark) []firewall.Mark { return have[1:] })
	d.signals <- syscall.SIGUSR1
	d.wait("IPVS: 'nft add element ip keepalived_ipvs tcp_map { 10.0.1.20 . 80 : 1003 }' would bring back what is configured")
	repair := strings.Replace(marking, "}", "    lvs_repair\n    nftables_ipvs_priority 7\n}", 1)
	d.reload(repair+c+b, msgReloaded)
	marks("with another priority", left)
	if m.priority() != 7 {
		t.Errorf("priority %d", m.priority())
	}
	m.meddle(func(have []firewall.Mark) []firewall.Mark { return have[:1] })
	d.signals <- syscall.SIGUSR1
	d.wait(msgRepaired)
	marks("repaired", left)

	// What cannot be set leaves all as it was; so does another table.
	m.refuse(errors.New("no room"))
	d.reload(repair+a+c+b, "no room")
	m.refuse(nil)
	marks("refused", left)
	d.holds(service("1002") + service("1003"))
	for _, words := range []string{"", "global_defs {\n    nftables_ipvs other\n}\n"} {
		d.reload(words+c+b, "Cannot change IPVS nftables table name at a reload - please restart keepalived")
	}
	marks("another table", left)
	d.stop()
	d.holds("")
	marks("at the end", "")
}

// TestMarksNot: groups that no mark can stand for, and a start that fails.
func TestMarksNot(t *testing.T) {
	m, table := &fakeMarker{}, ipvstest.NewStock()
	d := markedDaemon(t, table, m, strings.Replace(marking, "nftables_ipvs", "nftables_ipvs_start_fwmark 5\nnftables_ipvs", 1)+
		markedGroup("A", "10.0.1.1\n10.0.1.2 80")+markedGroup("B", "10.0.1.20 80\nfwmark 5")+markedGroup("C", "10.0.1.30 80"))
	d.start()
	if got := m.lines(); got != "10.0.1.30 . 80 : 6\n" {
		t.Errorf("marks:\n%s", got)
	}
	if n := strings.Count(d.table.String(), "-A "); n != 5 {
		t.Errorf("%d services:\n%s", n, d.table.String())
	}
	d.stop()
	m.refuse(errors.New("no room"))
	d = markedDaemon(t, table, m, marking+markedGroup("C", "10.0.1.30 80"))
	d.run()
	d.ends(exitFatal)
	d.wait("no room")
	d.holds("")
}
