// SPDX-License-Identifier: Apache-2.0

package director

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/lvs-fnat/lvs/healthcheck"
	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/ipvs/ipvstest"
	"github.com/lvs-fnat/lvs/ipvs/uapi"
)

// world is a director with its kernel, and the states of its checks by name of
// server; one that is not in the map has the state a new check has.
type world struct {
	t     *testing.T
	table *ipvstest.Table
	d     *Director
	m     *Mirror
	state map[string]bool
}

func parse(t *testing.T, text string) *config.Config {
	t.Helper()
	cfg, diags, err := config.Parse(context.Background(), "k.conf", text, config.Options{
		Command: func(name string) (string, error) {
			if strings.HasPrefix(name, "/none/") {
				return "", os.ErrNotExist
			}
			return name, nil
		},
		Ephemeral: func() (config.Ephemeral, error) { return config.Ephemeral{}, nil },
	})
	if w, _ := config.Worst(diags); err != nil || w >= config.Error {
		t.Fatalf("%v %v", err, diags)
	}
	return cfg
}

func start(t *testing.T, table *ipvstest.Table, text string) (*world, []string) {
	t.Helper()
	w := &world{t: t, table: table, d: New(parse(t, text)), m: NewMirror(table), state: map[string]bool{}}
	notices := w.d.Observe(w.status())
	if err := w.m.Sync(context.Background(), w.d.Tables()); err != nil {
		t.Fatal(err)
	}
	return w, texts(notices)
}

func (w *world) status() []healthcheck.Status {
	var status []healthcheck.Status
	for _, target := range w.d.Targets() {
		up, known := w.state[target.Server]
		if !known {
			up = !target.Spec.Timing.Alpha
		}
		status = append(status, healthcheck.Status{Up: up, Known: known})
	}
	return status
}

// set moves the checks of one server and returns what is said and what the
// kernel was told.
func (w *world) set(server string, up bool) (said, done []string) {
	w.t.Helper()
	w.state[server] = up
	w.table.Forget()
	notices := w.d.Observe(w.status())
	if err := w.m.Update(context.Background(), w.d.Tables()); err != nil {
		w.t.Fatal(err)
	}
	return texts(notices), w.table.Lines()
}

func (w *world) reload(text string) (said, done []string) {
	w.t.Helper()
	w.table.Forget()
	next, notices := w.d.Reload(parse(w.t, text))
	w.d = next
	notices = append(notices, w.d.Observe(w.status())...)
	if err := w.m.Sync(context.Background(), w.d.Tables()); err != nil {
		w.t.Fatal(err)
	}
	return texts(notices), w.table.Lines()
}

// texts gives the lines, and the commands with a "$ " in front.
func texts(notices []Notice) []string {
	var list []string
	for _, n := range notices {
		if n.Text != "" {
			list = append(list, n.Text)
		}
		if n.Script.Command != "" {
			list = append(list, "$ "+n.Script.Command)
		}
	}
	return list
}

func same(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got: %s\nwant: %s", what, strings.Join(got, "\n      "), strings.Join(want, "\n      "))
	}
}

const two = `
virtual_server 10.0.1.100 80 {
	lb_algo rr
	lb_kind NAT
	protocol TCP
	quorum 2
	quorum_up "/bin/up vs"
	quorum_down "/bin/down vs"
	real_server 10.0.2.11 80 {
		notify_up /bin/up1
		notify_down /bin/down1
		TCP_CHECK {
		}
	}
	real_server 10.0.2.12 80 {
		weight 2
		TCP_CHECK {
		}
	}
}
`

func TestHealth(t *testing.T) {
	w, said := start(t, ipvstest.NewStock(), two)
	same(t, "start", said, "Gained quorum 2+0=2 <= 3 for VS [10.0.1.100]:tcp:80", "$ /bin/up vs")
	said, done := w.set("[10.0.2.11]:tcp:80", false)
	same(t, "one down", said, "Removing service [10.0.2.11]:tcp:80 from VS [10.0.1.100]:tcp:80", "$ /bin/down1")
	same(t, "one down", done, "-d -t 10.0.1.100:80 -r 10.0.2.11:80")
	said, done = w.set("[10.0.2.11]:tcp:80", false)
	same(t, "told again", append(said, done...))
	said, done = w.set("[10.0.2.11]:tcp:80", true)
	same(t, "up again", said, "Adding service [10.0.2.11]:tcp:80 to VS [10.0.1.100]:tcp:80", "$ /bin/up1")
	same(t, "up again", done, "-a -t 10.0.1.100:80 -r 10.0.2.11:80 -m -w 1")
	said, done = w.set("[10.0.2.12]:tcp:80", false)
	same(t, "quorum lost", said, "Removing service [10.0.2.12]:tcp:80 from VS [10.0.1.100]:tcp:80",
		"Lost quorum 2-0=2 > 1 for VS [10.0.1.100]:tcp:80", "$ /bin/down vs")
	// Without a sorry server those that are left stay.
	same(t, "quorum lost", done, "-d -t 10.0.1.100:80 -r 10.0.2.12:80")
}

// TestEveryCheck: a server is up only while none of its checks fails.
func TestEveryCheck(t *testing.T) {
	d := New(parse(t, strings.Replace(two, "TCP_CHECK {\n", "TCP_CHECK {\n connect_port 81\n}\n TCP_CHECK {\n", 1)))
	up, down := healthcheck.Status{Up: true}, healthcheck.Status{}
	if n := len(d.Targets()); n != 3 {
		t.Fatalf("%d targets, want 3", n)
	}
	d.Observe([]healthcheck.Status{up, up, up})
	for _, c := range []struct {
		a, b healthcheck.Status
		want int
	}{{down, up, 1}, {down, down, 1}, {up, down, 1}, {up, up, 2}} {
		d.Observe([]healthcheck.Status{c.a, c.b, up})
		if got := len(d.Tables().Services[0].Dests); got != c.want {
			t.Errorf("checks %v and %v: %d dests, want %d", c.a.Up, c.b.Up, got, c.want)
		}
	}
}

func TestSorryServer(t *testing.T) {
	conf := strings.Replace(two, "quorum 2\n", "quorum 2\nsorry_server 10.0.2.99 80\n", 1)
	conf = strings.Replace(conf, "weight 2\n", "weight 2\ninhibit_on_failure\n", 1)
	w, _ := start(t, ipvstest.NewStock(), conf)
	said, done := w.set("[10.0.2.12]:tcp:80", false)
	same(t, "lost", said, "Disabling service [10.0.2.12]:tcp:80 of VS [10.0.1.100]:tcp:80",
		"Lost quorum 2-0=2 > 1 for VS [10.0.1.100]:tcp:80", "$ /bin/down vs",
		"Adding sorry server [10.0.2.99]:tcp:80 to VS [10.0.1.100]:tcp:80",
		"Removing alive servers from the pool for VS [10.0.1.100]:tcp:80")
	same(t, "lost: the sorry server first", done,
		"-a -t 10.0.1.100:80 -r 10.0.2.99:80 -m -w 1",
		"-e -t 10.0.1.100:80 -r 10.0.2.12:80 -m -w 0",
		"-d -t 10.0.1.100:80 -r 10.0.2.11:80")
	said, done = w.set("[10.0.2.12]:tcp:80", true)
	same(t, "gained", said, "Enabling service [10.0.2.12]:tcp:80 of VS [10.0.1.100]:tcp:80",
		"Gained quorum 2+0=2 <= 3 for VS [10.0.1.100]:tcp:80", "$ /bin/up vs",
		"Removing sorry server [10.0.2.99]:tcp:80 from VS [10.0.1.100]:tcp:80",
		"Adding alive servers to the pool for VS [10.0.1.100]:tcp:80")
	same(t, "gained: the sorry server last", done,
		"-a -t 10.0.1.100:80 -r 10.0.2.11:80 -m -w 1",
		"-e -t 10.0.1.100:80 -r 10.0.2.12:80 -m -w 2",
		"-d -t 10.0.1.100:80 -r 10.0.2.99:80")
}

// TestHysteresis: between quorum - hysteresis and quorum + hysteresis nothing moves.
func TestHysteresis(t *testing.T) {
	vs := &config.VirtualServer{VirtualTraits: &config.VirtualTraits{Quorum: 3, Hysteresis: 1}}
	v := &virtual{cfg: vs}
	rs := &config.RealServer{RealTraits: &config.RealTraits{}}
	v.servers = []*server{{cfg: rs, alive: true}}
	// However large the hysteresis, nothing left is no quorum.
	vs.Quorum, rs.Weight = 1, 2
	d := New(&config.Config{})
	d.vote(v)
	rs.Weight = 0
	if d.vote(v); v.quorum {
		t.Error("quorum without any server")
	}
	vs.Quorum = 3
	for _, c := range []struct {
		weight int
		want   bool
	}{{3, false}, {4, true}, {3, true}, {2, true}, {1, false}, {3, false}, {4, true}, {0, false}} {
		rs.Weight = c.weight
		d.vote(v)
		if v.quorum != c.want {
			t.Errorf("weight %d: quorum %v, want %v", c.weight, v.quorum, c.want)
		}
	}
}

func TestAlpha(t *testing.T) {
	conf := strings.Replace(two, "quorum 2\n", "quorum 1\nalpha\n", 1)
	w, said := start(t, ipvstest.NewStock(), conf)
	same(t, "start", said)
	if n := len(w.m.Have().Services[0].Dests); n != 0 {
		t.Errorf("%d dests before any check has succeeded", n)
	}
	said, done := w.set("[10.0.2.12]:tcp:80", true)
	same(t, "first", said, "Adding service [10.0.2.12]:tcp:80 to VS [10.0.1.100]:tcp:80",
		"Gained quorum 1+0=1 <= 2 for VS [10.0.1.100]:tcp:80", "$ /bin/up vs")
	same(t, "first", done, "-a -t 10.0.1.100:80 -r 10.0.2.12:80 -m -w 2")
}

// TestHeld: a server that alpha keeps out, as a check of it can never run, comes in with
// none of its others, and only a configuration that can run it changes that. A reload
// that loses the check of a server that is up leaves it up.
func TestHeld(t *testing.T) {
	const missing = "MISC_CHECK {\nmisc_path /none/at/all\nalpha\n}\n"
	good := strings.Replace(two, "quorum 2\n", "quorum 1\n", 1)
	held := strings.Replace(good, "real_server 10.0.2.12 80 {\n", "real_server 10.0.2.12 80 {\n"+missing, 1)
	if held == good {
		t.Fatal("the configuration has another form")
	}
	w, _ := start(t, ipvstest.NewStock(), held)
	only := func(when string, want int) {
		t.Helper()
		if n := len(w.m.Have().Services[0].Dests); n != want {
			t.Errorf("%s: %d real servers, want %d", when, n, want)
		}
	}
	only("at the start", 1)
	w.set("[10.0.2.12]:tcp:80", false)
	said, done := w.set("[10.0.2.12]:tcp:80", true)
	same(t, "another check succeeds", said)
	same(t, "another check succeeds", done)
	w.reload(held)
	only("reloaded", 1)
	w.reload(good)
	only("without the check", 2)
	w.reload(held)
	only("the check is gone from under a server that is up", 2)
}

const fnat = `
local_address_group back {
	10.0.2.201-202
	2001:db8:2::201
}
virtual_server 10.0.1.100 80 {
	lb_algo rr
	lb_kind FNAT
	protocol TCP
	laddr_group_name back
	real_server 10.0.2.11 8080 {
		TCP_CHECK {
		}
	}
}
virtual_server 2001:db8:1::100 53 {
	lb_algo wlc
	lb_kind FNAT
	protocol UDP
	laddr_group_name back
	real_server 2001:db8:2::11 53 {
	}
}
`

func TestFNAT(t *testing.T) {
	w, _ := start(t, ipvstest.New(), fnat)
	before := w.table.String()
	for _, want := range []string{"back", "10.0.2.201", "10.0.2.202", "back/6", "2001:db8:2::201", "-r 10.0.2.11:8080 -m"} {
		if !strings.Contains(before, want) {
			t.Errorf("no %q in\n%s", want, before)
		}
	}
	_, done := w.reload(fnat)
	same(t, "unchanged reload", done)

	// A second daemon finds what the first left, as after a crash.
	second, _ := start(t, w.table, fnat)
	if got := w.table.String(); got != before {
		t.Errorf("restart changed the tables:\n%s", got)
	}
	if err := second.m.Remove(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := w.table.String(); got != "" {
		t.Errorf("left at the end:\n%s", got)
	}
}

// TestForeign: what others made stays, at start, at reload and at the end.
func TestForeign(t *testing.T) {
	table := ipvstest.New()
	ctx := context.Background()
	foreign := Tables{Services: []*Service{{
		ServiceKey: ipvs.ServiceKey{Family: ipvs.IPv4, FWMark: 9},
		Settings:   &Settings{Main: ipvs.Service{Scheduler: "rr", Netmask: netmask(2, 0, netip.Addr{})}},
	}}, Groups: []Group{{Name: "other", Family: ipvs.IPv4}}}
	apply(t, table, Diff(Tables{}, foreign))
	before := table.String()
	w, _ := start(t, table, fnat)
	w.reload(two)
	if err := w.m.Remove(ctx); err != nil {
		t.Fatal(err)
	}
	if got := table.String(); got != before {
		t.Errorf("got\n%swant\n%s", got, before)
	}
}

// TestLeftoverGroup: the group of an inline block is named after its lowest
// address, so a former run may have left the addresses under another name.
func TestLeftoverGroup(t *testing.T) {
	inline := func(addrs string) string {
		return "virtual_server 10.0.1.100 80 {\nlb_algo rr\nlb_kind FNAT\nprotocol TCP\nlocal_address {\n" + addrs +
			"\n}\nreal_server 10.0.2.11 80 {\n}\n}\n"
	}
	table := ipvstest.New()
	start(t, table, inline("10.0.2.202")) // and crashes
	w, _ := start(t, table, inline("10.0.2.201\n10.0.2.202"))
	if got := table.String(); strings.Contains(got, "--lgroup 10.0.2.202") || !strings.Contains(got, "--lgroup 10.0.2.201") {
		t.Errorf("tables:\n%s", got)
	}
	if err := w.m.Remove(context.Background()); err != nil || table.String() != "" {
		t.Errorf("%v; left:\n%s", err, table.String())
	}
}

func TestReload(t *testing.T) {
	w, _ := start(t, ipvstest.NewStock(), two)
	w.set("[10.0.2.11]:tcp:80", false)
	conf := strings.Replace(two, "weight 2", "weight 5", 1)
	conf = strings.Replace(conf, "lb_algo rr", "lb_algo wrr", 1)
	conf += "virtual_server 10.0.1.101 80 {\nlb_algo rr\nlb_kind NAT\nprotocol TCP\nreal_server 10.0.2.13 80 {\n}\n}\n"
	said, done := w.reload(conf)
	same(t, "reload", said, "Changing weight from 2 to 5 for active service [10.0.2.12]:tcp:80 of VS [10.0.1.100]:tcp:80",
		"Gained quorum 1+0=1 <= 1 for VS [10.0.1.101]:tcp:80")
	// The server that is down stays out.
	same(t, "reload", done, "-E -t 10.0.1.100:80 -s wrr", "-e -t 10.0.1.100:80 -r 10.0.2.12:80 -m -w 5",
		"-A -t 10.0.1.101:80 -s rr", "-a -t 10.0.1.101:80 -r 10.0.2.13:80 -m -w 1")
	said, done = w.reload(two)
	same(t, "and back", said, "Changing weight from 5 to 2 for active service [10.0.2.12]:tcp:80 of VS [10.0.1.100]:tcp:80",
		"Removing Virtual Server [10.0.1.101]:tcp:80", "Removing service [10.0.2.13]:tcp:80 from VS [10.0.1.101]:tcp:80")
	same(t, "and back", done, "-E -t 10.0.1.100:80 -s rr", "-e -t 10.0.1.100:80 -r 10.0.2.12:80 -m -w 2",
		"-d -t 10.0.1.101:80 -r 10.0.2.13:80", "-D -t 10.0.1.101:80")
}

// TestReloadTells: what a reload takes away is told as if it had gone down, if it was up.
func TestReloadTells(t *testing.T) {
	conf := strings.Replace(two, "quorum 2\n", "quorum 1\nsmtp_alert\n", 1)
	only := "virtual_server 10.0.1.101 80 {\nlb_algo rr\nlb_kind NAT\nprotocol TCP\nreal_server 10.0.2.13 80 {\n}\n}\n"
	begin, end := strings.Index(conf, "\treal_server 10.0.2.11"), strings.Index(conf, "\treal_server 10.0.2.12")
	for _, c := range []struct {
		what, next string
		down       bool // the first server is
		said, fifo []string
	}{
		{"a server", conf[:begin] + conf[end:], false,
			[]string{"service [10.0.2.11]:tcp:80 no longer exist", "Removing service [10.0.2.11]:tcp:80 from VS [10.0.1.100]:tcp:80", "$ /bin/down1"},
			[]string{"RS [10.0.2.11]:tcp:80 [10.0.1.100]:tcp:80 DOWN", "[host] Realserver [10.0.2.11]:tcp:80 of virtual server [10.0.1.100]:tcp:80 - DOWN"}},
		{"a server that is down", conf[:begin] + conf[end:], true, []string{"service [10.0.2.11]:tcp:80 no longer exist"}, nil},
		{"a virtual server", only, true,
			[]string{"Removing Virtual Server [10.0.1.100]:tcp:80", "Removing service [10.0.2.12]:tcp:80 from VS [10.0.1.100]:tcp:80", "$ /bin/down vs",
				"Gained quorum 1+0=1 <= 1 for VS [10.0.1.101]:tcp:80"},
			[]string{"RS [10.0.2.12]:tcp:80 [10.0.1.100]:tcp:80 DOWN", "[host] Realserver [10.0.2.12]:tcp:80 of virtual server [10.0.1.100]:tcp:80 - DOWN",
				"VS [10.0.1.100]:tcp:80 DOWN", "[host] Virtualserver [10.0.1.100]:tcp:80 - DOWN", "VS [10.0.1.101]:tcp:80 UP"}},
	} {
		w, _ := start(t, ipvstest.NewStock(), conf)
		w.d.Named("host")
		if c.down {
			w.set("[10.0.2.11]:tcp:80", false)
		}
		next, notices := w.d.Reload(parse(t, c.next))
		w.d = next
		notices = append(notices, next.Observe(w.status())...)
		same(t, c.what, texts(notices), c.said...)
		var told []string
		for _, n := range notices {
			for _, line := range []string{strings.TrimRight(n.FIFO, "\n\x00"), n.Mail.Subject} {
				if line != "" {
					told = append(told, line)
				}
			}
		}
		same(t, c.what, told, c.fifo...)
	}
}

// TestReloadRepairs: what was deleted by hand comes back at a reload.
func TestReloadRepairs(t *testing.T) {
	w, _ := start(t, ipvstest.NewStock(), two)
	before := w.table.String()
	apply(t, w.table, []ipvs.Op{{Kind: ipvs.Flush}})
	w.reload(two)
	if got := w.table.String(); got != before {
		t.Errorf("got\n%swant\n%s", got, before)
	}
}

// TestSyncFails: whatever operation is refused, the tables are as before.
func TestSyncFails(t *testing.T) {
	w, _ := start(t, ipvstest.New(), fnat)
	before := w.table.String()
	conf := strings.Replace(fnat, "10.0.2.201-202", "10.0.2.202-204", 1)
	conf = strings.Replace(conf, "virtual_server 10.0.1.100 80", "virtual_server 10.0.1.101 80", 1)
	want := New(parse(t, conf))
	want.Observe(w.status())
	n := len(Diff(w.m.Have(), want.Tables()))
	if n < 6 {
		t.Fatalf("%d operations, too few to say anything", n)
	}
	for i := range n {
		w.table.FailAt(i, syscall.ENOMEM)
		err := w.m.Sync(context.Background(), want.Tables())
		if !errors.Is(err, syscall.ENOMEM) {
			t.Fatalf("operation %d: %v", i, err)
		}
		if got := w.table.String(); got != before {
			t.Fatalf("operation %d: got\n%swant\n%s", i, got, before)
		}
	}
	if err := w.m.Sync(context.Background(), want.Tables()); err != nil {
		t.Fatal(err)
	}
}

// TestUpdateAfterTampering: a dest that somebody deleted does not keep the
// others from being right.
func TestUpdateAfterTampering(t *testing.T) {
	w, _ := start(t, ipvstest.NewStock(), two)
	apply(t, w.table, []ipvs.Op{{Kind: ipvs.DelDest, Service: keyOnly(w.m.Have().Services[0].ServiceKey),
		Dest: ipvs.Dest{DestKey: w.m.Have().Services[0].Dests[0].DestKey}}})
	w.set("[10.0.2.11]:tcp:80", false)
	w.set("[10.0.2.11]:tcp:80", true)
	if got := w.table.String(); strings.Count(got, "-a ") != 2 {
		t.Errorf("tables:\n%s", got)
	}
}

func TestUnsupported(t *testing.T) {
	info := func(table *ipvstest.Table) ipvs.Info {
		i, err := table.Info(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	stock, ours := info(ipvstest.NewStock()), info(ipvstest.New())
	d, missing := Unsupported(parse(t, fnat), stock)
	const want = "(k.conf: Line 6) Virtual server [10.0.1.100]:tcp:80 needs FNAT: the running ip_vs has no FNAT; " +
		"install the package lvs-dkms and load its ip_vs module (and 1 more) (column 1)"
	if !missing || d.String() != want {
		t.Errorf("got  %s\nwant %s", d, want)
	}
	if d, missing := Unsupported(parse(t, fnat), ours); missing {
		t.Errorf("on our module: %s", d)
	}
	if d, missing := Unsupported(parse(t, two), stock); missing {
		t.Errorf("plain NAT on stock: %s", d)
	}
	syn := strings.Replace(fnat, "protocol TCP\n", "protocol TCP\nsyn_proxy\n", 1)
	if d, missing := Unsupported(parse(t, syn), ours); missing {
		t.Errorf("syn_proxy on our module: %s", d)
	}
	ours.Extended.Features &^= uapi.ExtFeatSynproxy
	if d, missing := Unsupported(parse(t, syn), ours); !missing || !strings.Contains(d.Text, "needs syn_proxy, which the running ip_vs (ipvstest) does not have") {
		t.Errorf("syn_proxy: %s", d)
	}
}

// TestExplain: an error of the kernel names the line it comes from.
func TestExplain(t *testing.T) {
	table := ipvstest.New()
	apply(t, table, Diff(Tables{}, Tables{Groups: []Group{{Name: "other", Family: ipvs.IPv4,
		Laddrs: []ipvs.Laddr{{Addr: parse(t, fnat).LaddrGroups[0].Addrs[1].Addr}}}},
		Services: []*Service{{ServiceKey: ipvs.ServiceKey{Family: ipvs.IPv4, FWMark: 9},
			Settings: &Settings{Main: ipvs.Service{Scheduler: "rr"}, Ext: ipvs.Ext{Flags: ipvs.ExtFNAT, LGroup: "other"}}}}}))
	d := New(parse(t, fnat))
	d.Observe([]healthcheck.Status{{Up: true}})
	err := NewMirror(table).Sync(context.Background(), d.Tables())
	if err == nil {
		t.Fatal("an address of another's group was taken")
	}
	got := d.Explain(err)
	if !strings.HasPrefix(got, "(k.conf: Line 3) ") || !strings.Contains(got, "'ipvsadm -G' shows which") {
		t.Errorf("%s", got)
	}
}

func TestEndpoints(t *testing.T) {
	conf := `
virtual_server_group web {
	10.0.1.100-101 80
	10.0.1.102 8080
}
virtual_server group web {
	lb_algo sh
	sh-port
	lb_kind DR
	protocol TCP
	persistence_timeout 60
	persistence_granularity 255.255.255.0
	real_server 10.0.2.11 {
		uthreshold 100
		lthreshold 50
	}
}
virtual_server fwmark 7 {
	lb_algo rr
	lb_kind TUN type gue port 6080 csum
	real_server 10.0.2.12 {
	}
}
`
	table := ipvstest.NewStock()
	w, _ := start(t, table, conf)
	const want = `-A -f 7 -s rr
-a -f 7 -r 10.0.2.12:0 -i -w 1 --tun-type gue --tun-port 6080 --tun-csum
-A -t 10.0.1.100:80 -s sh -p 60 -M 255.255.255.0 -b sh-port
-a -t 10.0.1.100:80 -r 10.0.2.11:80 -g -w 1 -x 100 -y 50
-A -t 10.0.1.101:80 -s sh -p 60 -M 255.255.255.0 -b sh-port
-a -t 10.0.1.101:80 -r 10.0.2.11:80 -g -w 1 -x 100 -y 50
-A -t 10.0.1.102:8080 -s sh -p 60 -M 255.255.255.0 -b sh-port
-a -t 10.0.1.102:8080 -r 10.0.2.11:8080 -g -w 1 -x 100 -y 50
`
	if got := table.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	w.reload(strings.NewReplacer("uthreshold 100", "uthreshold 200", "lthreshold 50", "lthreshold 60").Replace(conf))
	if got := table.String(); got != strings.ReplaceAll(want, "-x 100 -y 50", "-x 200 -y 60") {
		t.Errorf("a reload has other thresholds, and the table is\n%s", got)
	}
}

// TestMail: one alert for a server that turns, with the check that decided, and
// one for each further check; of quorums only when it is asked for.
func TestMail(t *testing.T) {
	vs := config.VirtualServer{Name: "[10.0.1.1]:tcp:80", Endpoints: []config.Endpoint{{FWMark: 1, Family: config.IPv4}},
		VirtualTraits: &config.VirtualTraits{Protocol: config.TCP, Quorum: 1, SMTPAlert: true}}
	vs.RealServers = []config.RealServer{{
		Addr: netip.MustParseAddrPort("10.0.2.1:80"), RealTraits: &config.RealTraits{Weight: 1, SMTPAlert: true},
		Checkers: []config.Checker{checker(config.TCPCheck, netip.AddrPort{}), checker(config.HTTPGet, netip.AddrPort{})},
	}}
	cfg := &config.Config{VirtualServers: []*config.VirtualServer{&vs}}
	d := New(cfg)
	d.Named("director")
	mails := func(up ...bool) (list []string) {
		status := make([]healthcheck.Status, len(up))
		for i, u := range up {
			status[i] = healthcheck.Status{Up: u, Known: true}
		}
		for _, n := range d.Observe(status) {
			if n.Mail.Subject != "" {
				list = append(list, n.Mail.Subject+"|"+n.Mail.Body)
			}
		}
		return list
	}
	const rs, quorum = "[director] Realserver [10.0.2.1]:tcp:80 of virtual server [10.0.1.1]:tcp:80 - ", "[director] Virtualserver [10.0.1.1]:tcp:80 - "
	for i, c := range []struct {
		up   []bool
		want []string
	}{
		{[]bool{true, true}, []string{quorum + "UP|=> Starting with quorum up 1+0=1 <= 1 <="}},
		{[]bool{true, false}, []string{rs + "DOWN|=> CHECK failed on service : HTTP request failed <=", quorum + "DOWN|=> Lost quorum 1-0=1 > 0 <="}},
		{[]bool{false, false}, []string{rs + "DOWN|=> TCP CHECK failed on service <="}},
		{[]bool{false, false}, nil},
		{[]bool{false, true}, []string{rs + "DOWN|=> CHECK succeed on service <="}}, // the server is still down
		{[]bool{true, true}, []string{rs + "UP|=> TCP CHECK succeed on service <=", quorum + "UP|=> Gained quorum 1+0=1 <= 1 <="}},
	} {
		if got := mails(c.up...); !slices.Equal(got, c.want) {
			t.Errorf("step %d: %q, want %q", i, got, c.want)
		}
	}
	cfg.Global.Mail.NoChecker = true
	mails(true, false)
	if got := mails(false, false); got != nil {
		t.Errorf("no_checker_emails: %q", got)
	}
	cfg.VirtualServers[0].RealServers[0].SMTPAlert, cfg.VirtualServers[0].SMTPAlert = false, false
	if got := mails(true, true); got != nil {
		t.Errorf("without smtp_alert: %q", got)
	}
}

// TestBornDown: who begins as down is said to be so once a check has found it.
func TestBornDown(t *testing.T) {
	vs := config.VirtualServer{Name: "v", VirtualTraits: &config.VirtualTraits{Quorum: 1}, Endpoints: []config.Endpoint{{FWMark: 1, Family: config.IPv4}}}
	vs.RealServers = []config.RealServer{{
		Addr: netip.MustParseAddrPort("10.0.2.1:80"), RealTraits: &config.RealTraits{Weight: 1, NotifyDown: config.Script{Command: "down"}},
		Checkers: []config.Checker{checker(config.TCPCheck, netip.AddrPort{})},
	}}
	d := New(&config.Config{VirtualServers: []*config.VirtualServer{&vs}})
	said := ""
	for _, s := range []healthcheck.Status{{}, {Known: true}, {Known: true}, {Up: true, Known: true}} {
		for _, n := range d.Observe([]healthcheck.Status{s}) {
			said += n.FIFO + n.Script.Command
		}
		said += "/"
	}
	if want := "/RS [10.0.2.1]:none:80 v DOWN\n\x00down//RS [10.0.2.1]:none:80 v UP\n\x00VS v UP\n\x00/"; said != want {
		t.Errorf("said %q, want %q", said, want)
	}
}

// countingKernel counts how often real servers are read.
type countingKernel struct {
	*ipvstest.Table
	dests int
}

func (k *countingKernel) Dests(ctx context.Context, key ipvs.ServiceKey) ([]ipvs.Dest, error) {
	k.dests++
	return k.Table.Dests(ctx, key)
}

// TestMirrorReload: a reload reads no real servers, puts back a service that is
// gone, and finds out when its trust was wrong.
func TestMirrorReload(t *testing.T) {
	ctx := t.Context()
	w, _ := start(t, ipvstest.New(), fnat)
	k := &countingKernel{Table: w.table}
	w.m.k = k
	want := w.d.Tables()
	reload := func(what string, dests int) {
		t.Helper()
		k.dests = 0
		if err := w.m.Reload(ctx, want); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if k.dests != dests {
			t.Errorf("%s: real servers of %d services were read, want %d", what, k.dests, dests)
		}
	}
	whole := w.table.String()
	reload("unchanged", 0)
	key := want.Services[0].ServiceKey
	if err := w.table.Apply(ctx, ipvs.Op{Kind: ipvs.DelService, Service: keyOnly(key)}); err != nil {
		t.Fatal(err)
	}
	reload("a service is gone", 0)
	if got := w.table.String(); got != whole {
		t.Errorf("a service is gone: got\n%swant\n%s", got, whole)
	}
	dest := want.Services[0].Dests[0]
	if err := w.table.Apply(ctx, ipvs.Op{Kind: ipvs.DelDest, Service: keyOnly(key), Dest: dest.dest()}); err != nil {
		t.Fatal(err)
	}
	want.Services = slices.Clone(want.Services)
	changed := *want.Services[0]
	changed.Dests = slices.Clone(changed.Dests)
	changed.Dests[0].Weight++
	want.Services[0] = &changed
	reload("a real server is gone", 2*len(want.Services)) // to take back, and to see what there is
	found, err := w.table.Dests(ctx, key)
	if err != nil || len(found) != len(want.Services[0].Dests) {
		t.Errorf("a real server is gone: %v %v", found, err)
	}
}
