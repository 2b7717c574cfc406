// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the table of states into docs/vrrp.md")

var epoch = time.Unix(1_000_000, 0)

func config() Config {
	return Config{
		Name: "V", Version: 2, VRID: 51, Priority: 150, Interval: time.Second,
		Addrs: addrs("192.168.50.100"), Source: vrrpSrc,
		GARPMasterDelay: 5 * time.Second, GARPMasterRepeat: 5,
		GARPLowerPrioDelay: 5 * time.Second, GARPLowerPrioRepeat: 5,
	}
}

func newMachine(t testing.TB, change func(*Config)) *Machine {
	t.Helper()
	c := config()
	if change != nil {
		change(&c)
	}
	m, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func heard(priority uint8) Event {
	return Received{Advert{Version: 2, VRID: 51, Priority: priority, Interval: time.Second}, vrrpPeer}
}

// seen is what the world sees of actions: all but log lines.
func seen(actions []Action) string {
	var out []string
	for _, a := range actions {
		if a.Kind != Log {
			out = append(out, a.String())
		}
	}
	return strings.Join(out, ", ")
}

func timers(m *Machine, now time.Time) string {
	var out []string
	for _, t := range []struct {
		name string
		at   time.Time
	}{{"advert", m.advert}, {"down", m.down}, {"garp", m.garp}, {"refresh", m.refresh}} {
		if !t.at.IsZero() {
			out = append(out, fmt.Sprintf("%s %.2fs", t.name, t.at.Sub(now).Seconds()))
		}
	}
	return strings.Join(out, ", ")
}

// A step happens after a time.
type step struct {
	after time.Duration
	ev    Event
}

var (
	toBackup = []step{{0, Start{}}}
	toMaster = []step{{0, Start{}}, {3500 * time.Millisecond, Timeout{}}}
	toFault  = []step{{0, Down{"eth0"}}, {0, Start{}}}
)

// transitions are the rows of the table in docs/vrrp.md: the last step is the row.
var transitions = []struct {
	event, condition string
	change           func(*Config)
	before           []step
	last             step
}{
	{"start", "priority < 255", nil, nil, step{0, Start{}}},
	{"start", "priority 255", func(c *Config) { c.Priority = Owner }, nil, step{0, Start{}}},
	{"start", "something tracked is down", nil, []step{{0, Down{"eth0"}}}, step{0, Start{}}},
	{"advert", "", nil, nil, step{0, heard(200)}},

	{"timeout", "down timer", nil, toBackup, step{3500 * time.Millisecond, Timeout{}}},
	{"timeout", "not due", nil, toBackup, step{time.Second, Timeout{}}},
	{"advert", "priority 0", nil, toBackup, step{time.Second, heard(0)}},
	{"advert", "higher", nil, toBackup, step{time.Second, heard(200)}},
	{"advert", "equal", nil, toBackup, step{time.Second, heard(150)}},
	{"advert", "lower", nil, toBackup, step{time.Second, heard(100)}},
	{"advert", "lower, nopreempt", func(c *Config) { c.NoPreempt = true }, toBackup, step{time.Second, heard(100)}},
	{"advert", "lower, within preempt_delay", func(c *Config) { c.PreemptDelay = 3 * time.Second }, toBackup, step{time.Second, heard(100)}},
	{"advert", "lower, preempt_delay over", func(c *Config) { c.PreemptDelay = 3 * time.Second },
		[]step{{0, Start{}}, {time.Second, heard(100)}, {2 * time.Second, heard(100)}}, step{time.Second, heard(100)}},
	{"advert", "higher, version 3, interval 2 s", func(c *Config) { c.Version = 3 }, toBackup,
		step{time.Second, Received{Advert{Version: 3, Priority: 200, Interval: 2 * time.Second}, vrrpPeer}}},
	{"down", "", nil, toBackup, step{time.Second, Down{"eth0"}}},
	{"weight", "", nil, toBackup, step{time.Second, Weight{"s", -20}}},
	{"address lost", "", nil, toBackup, step{time.Second, AddressLost{vrrpSrc}}},
	{"stop", "", nil, toBackup, step{time.Second, Stop{}}},

	{"timeout", "advert timer", nil, toMaster, step{time.Second, Timeout{}}},
	{"timeout", "3 s late, timer_expired_backup", func(c *Config) { c.TimerExpiredBackup = 254 }, toMaster, step{4 * time.Second, Timeout{}}},
	{"timeout", "2 s late, timer_expired_backup", func(c *Config) { c.TimerExpiredBackup = 254 }, toMaster, step{3 * time.Second, Timeout{}}},
	{"advert", "lower, 3 s late, timer_expired_backup, nopreempt", func(c *Config) { c.TimerExpiredBackup, c.NoPreempt = 254, true }, toMaster,
		step{4 * time.Second, heard(100)}},
	{"timeout", "3 s late", nil, toMaster, step{4 * time.Second, Timeout{}}},
	{"timeout", "second burst, advert due too", nil, toMaster, step{5 * time.Second, Timeout{}}},
	{"timeout", "garp_master_refresh, advert due too", func(c *Config) { c.GARPMasterDelay, c.GARPMasterRefresh = 0, 10*time.Second }, toMaster, step{10 * time.Second, Timeout{}}},
	{"advert", "priority 0", nil, toMaster, step{time.Second / 2, heard(0)}},
	{"advert", "higher", nil, toMaster, step{time.Second / 2, heard(200)}},
	{"advert", "higher, higher_prio_send_advert", func(c *Config) { c.HigherPrioSendAdvert = true }, toMaster, step{time.Second / 2, heard(200)}},
	{"advert", "equal, higher address", nil, toMaster, step{time.Second / 2, heard(150)}},
	{"advert", "equal, lower address", func(c *Config) { c.Source = addrs("192.168.50.3")[0] }, toMaster, step{time.Second / 2, heard(150)}},
	{"advert", "equal, own address", func(c *Config) { c.Source = vrrpPeer }, toMaster, step{time.Second / 2, heard(150)}},
	{"advert", "lower", nil, append(toMaster[:2:2], step{6 * time.Second, Timeout{}}), step{time.Second / 2, heard(100)}},
	{"advert", "lower, lower_prio_no_advert", func(c *Config) { c.LowerPrioNoAdvert = true }, append(toMaster[:2:2], step{6 * time.Second, Timeout{}}), step{time.Second / 2, heard(100)}},
	{"advert", "lower, garp_lower_prio_delay 0", func(c *Config) { c.GARPLowerPrioDelay = 0 }, toMaster, step{time.Second / 2, heard(100)}},
	{"advert", "255, we own too, higher address", func(c *Config) { c.Priority = Owner }, toBackup, step{time.Second / 2, heard(255)}},
	{"advert", "255, we own too, owner_ignore_adverts", func(c *Config) { c.Priority, c.OwnerIgnoreAdverts = Owner, true }, toBackup, step{time.Second / 2, heard(255)}},
	{"down", "", nil, toMaster, step{time.Second / 2, Down{"eth0"}}},
	{"weight", "", nil, toMaster, step{time.Second / 2, Weight{"s", -20}}},
	{"weight", "priority 255", func(c *Config) { c.Priority = Owner }, toBackup, step{time.Second / 2, Weight{"s", -20}}},
	{"address lost", "", nil, toMaster, step{time.Second / 2, AddressLost{vrrpSrc}}},
	{"address lost", "no_track", func(c *Config) { c.IgnoreDeletedAddress = true }, toMaster, step{time.Second / 2, AddressLost{vrrpSrc}}},
	{"stop", "", nil, toMaster, step{time.Second / 2, Stop{}}},
	{"stop", "option -V", func(c *Config) { c.KeepAddressesWhenStop = true }, toMaster, step{time.Second / 2, Stop{}}},

	{"advert", "", nil, toFault, step{time.Second, heard(0)}},
	{"up", "another is still down", nil, append([]step{{0, Down{"eth1"}}}, toFault...), step{time.Second, Up{"eth0"}}},
	{"up", "the last", nil, toFault, step{time.Second, Up{"eth0"}}},
	{"up", "the last, priority 255", func(c *Config) { c.Priority = Owner }, toFault, step{time.Second, Up{"eth0"}}},
	{"stop", "", nil, toFault, step{time.Second, Stop{}}},
}

const tableFrom, tableTo = "<!-- states: written by go test ./vrrp -run TestTable -update -->\n", "<!-- end of states -->\n"

// TestTable: what docs/vrrp.md prints is what the machine does.
func TestTable(t *testing.T) {
	var b strings.Builder
	b.WriteString("\n| state | event | condition | does, in this order | next | timers then |\n|---|---|---|---|---|---|\n")
	for _, row := range transitions {
		m, now := newMachine(t, row.change), epoch
		for _, s := range row.before {
			now = now.Add(s.after)
			m.Handle(now, s.ev)
		}
		from := m.State()
		now = now.Add(row.last.after)
		actions := m.Handle(now, row.last.ev)
		fmt.Fprintf(&b, "| %v | %s | %s | %s | %v | %s |\n", from, row.event, row.condition, seen(actions), m.State(), timers(m, now))
	}
	b.WriteString("\n")
	const name = "../docs/vrrp.md"
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(text), tableFrom)
	table, tail, ok2 := strings.Cut(rest, tableTo)
	if !ok || !ok2 {
		t.Fatalf("%s: no lines %q and %q", name, tableFrom, tableTo)
	}
	if *update {
		if err := os.WriteFile(name, []byte(head+tableFrom+b.String()+tableTo+tail), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, want := strings.Split(b.String(), "\n"), strings.Split(table, "\n")
	for i := range max(len(got), len(want)) {
		g, w := "", ""
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			t.Errorf("line %d\n-%s in docs/vrrp.md\n+%s by the code", i, w, g)
		}
	}
}

// TestTimers against the formulas, and the one that was measured.
func TestTimers(t *testing.T) {
	for _, c := range []struct {
		name       string
		change     func(*Config)
		skew, down time.Duration
	}{
		{"v2 150", nil, 414062500, 3414062500},
		{"v2 100", func(c *Config) { c.Priority = 100 }, 609375000, 3609375000},
		{"v2 254 advert_int 3", func(c *Config) { c.Priority, c.Interval = 254, 3*time.Second }, 7812500, 9007812500},
		{"v3 100 ms", func(c *Config) { c.Version, c.Interval = 3, 100*time.Millisecond }, 41406250, 341406250},
		{"five adverts", func(c *Config) { c.DownTimerAdverts = 5 }, 414062500, 5414062500},
	} {
		m := newMachine(t, c.change)
		if m.Skew() != c.skew || m.MasterDown() != c.down {
			t.Errorf("%s: skew %v down %v, want %v %v", c.name, m.Skew(), m.MasterDown(), c.skew, c.down)
		}
	}
}

func TestPriority(t *testing.T) {
	m := newMachine(t, nil)
	for _, c := range []struct {
		w    Weight
		want uint8
	}{
		{Weight{"a", -20}, 130}, {Weight{"b", -200}, 1}, {Weight{"b", 0}, 130}, {Weight{"a", 253}, 254},
		{Weight{"a", 10}, 160}, {Weight{"a", 0}, 150},
	} {
		if m.Handle(epoch, c.w); m.Priority() != c.want {
			t.Errorf("after %+v: %d, want %d", c.w, m.Priority(), c.want)
		}
	}
}

// TestLearnedInterval: a backup of version 3 waits by the master's interval,
// and as master sends by its own again.
func TestLearnedInterval(t *testing.T) {
	m := newMachine(t, func(c *Config) { c.Version = 3 })
	m.Handle(epoch, Start{})
	m.Handle(epoch, Received{Advert{Version: 3, Priority: 200, Interval: 4 * time.Second}, vrrpPeer})
	if want := epoch.Add(12*time.Second + 4*time.Second*106/256); m.Next() != want {
		t.Errorf("down at %v, want %v", m.Next().Sub(epoch), want.Sub(epoch))
	}
	now := m.Next()
	m.Handle(now, Timeout{})
	if m.State() != Master || m.Next() != now.Add(time.Second) {
		t.Errorf("%v, next in %v", m.State(), m.Next().Sub(now))
	}
	if m.MasterInterval() != time.Second {
		t.Errorf("as master: interval %v", m.MasterInterval())
	}
	m.Handle(now, Received{Advert{Version: 3, Priority: 200, Interval: 2 * time.Second}, vrrpPeer})
	if want := now.Add(6*time.Second + 2*time.Second*106/256); m.State() != Backup || m.Next() != want {
		t.Errorf("%v, down in %v, want %v", m.State(), m.Next().Sub(now), want.Sub(now))
	}
}

// TestPreemptDelayBeginsAnew when a better master was there, or the lower one
// left, in between.
func TestPreemptDelayBeginsAnew(t *testing.T) {
	for _, between := range []Event{heard(200), heard(0)} {
		m, now := newMachine(t, func(c *Config) { c.PreemptDelay = 3 * time.Second }), epoch
		m.Handle(now, Start{})
		m.Handle(now, heard(100))
		now = now.Add(2 * time.Second)
		m.Handle(now, between)
		now = now.Add(200 * time.Millisecond)
		m.Handle(now, heard(100))
		now = now.Add(2 * time.Second)
		m.Handle(now, heard(100))
		if want := now.Add(m.MasterDown()); m.Next() != want {
			t.Errorf("after %v: down in %v, want %v", between, m.Next().Sub(now), want.Sub(now))
		}
	}
}

func TestTotals(t *testing.T) {
	m, now := newMachine(t, nil), epoch
	for _, s := range []step{{0, Start{}}, {4 * time.Second, Timeout{}}, {time.Second, Timeout{}}, {0, heard(200)}, {4 * time.Second, Timeout{}}, {0, Stop{}}} {
		now = now.Add(s.after)
		m.Handle(now, s.ev)
	}
	if want := (Totals{Sent: 4, PriorityZeroSent: 1, BecameMaster: 2, ReleasedMaster: 2}); m.Totals() != want {
		t.Errorf("got %+v, want %+v", m.Totals(), want)
	}
}

// TestMessages are those scripts look for.
func TestMessages(t *testing.T) {
	m, now := newMachine(t, nil), epoch
	var got []string
	for _, s := range []step{{0, Start{}}, {time.Second, heard(0)}, {3 * time.Second, Timeout{}}, {time.Second, heard(100)}, {0, heard(200)}, {0, Down{"eth0"}}} {
		now = now.Add(s.after)
		for _, a := range m.Handle(now, s.ev) {
			if a.Kind == Log {
				got = append(got, a.Text)
			}
		}
	}
	want := `(V) Entering BACKUP STATE (init)
(V) Backup received priority 0 advertisement
(V) Receive advertisement timeout
(V) Entering MASTER STATE
(V) Received advert from 192.168.50.2 with lower priority 100, ours 150, forcing new election
(V) Master received advert from 192.168.50.2 with higher priority 200, ours 150
(V) Entering BACKUP STATE
(V) Entering FAULT STATE`
	if strings.Join(got, "\n") != want {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
}

func TestNewRefuses(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"version":  func(c *Config) { c.Version = 4 },
		"vrid":     func(c *Config) { c.VRID = 0 },
		"priority": func(c *Config) { c.Priority = 0 },
		"interval": func(c *Config) { c.Interval = time.Millisecond },
		"adverts":  func(c *Config) { c.DownTimerAdverts = 101 },
		"delay":    func(c *Config) { c.PreemptDelay = -1 },
		"source":   func(c *Config) { c.Source = vrrpSrc6 },
	} {
		c := config()
		change(&c)
		if _, err := New(c); err == nil || !strings.HasPrefix(err.Error(), "V: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
