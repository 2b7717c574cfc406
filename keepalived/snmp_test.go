// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lvs-fnat/lvs/internal/agentx"
	"github.com/lvs-fnat/lvs/internal/config"
)

// TestSubagent: a session lives on while what it is made of stays, an event reaches it,
// and another place or other regions begin another; none is left at the end. A place
// that cannot be is logged and harms nothing.
func TestSubagent(t *testing.T) {
	dir := t.TempDir()
	masters := map[string]net.Listener{}
	for _, name := range []string{"one", "two"} {
		l, err := net.Listen("unix", filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		masters[name] = l
	}
	s := &subagent{log: slog.New(slog.DiscardHandler), view: func(context.Context) (*agentx.View, error) { return &agentx.View{}, nil }}
	region := func(n uint32) []agentx.Region { return []agentx.Region{{OID: agentx.OID{1, 3, 6, 1, 4, 1, n}}} }
	follow := func(name string, regions []agentx.Region) { s.follow("unix:"+filepath.Join(dir, name), regions) }
	// open answers the beginning of a session, and says what it asks for.
	open := func(name string) (net.Conn, string) {
		t.Helper()
		conn, err := masters[name].Accept()
		if err != nil {
			t.Fatal(err)
		}
		said := ""
		for range 2 {
			said += reply(t, conn).ID.String()
		}
		// Its answer says that it has heard all of that.
		if _, err := conn.Write((&agentx.Message{Verb: agentx.VerbGet, Session: 1, Packet: 99}).Append(nil)); err != nil {
			t.Fatal(err)
		}
		if m, err := agentx.Read(conn); err != nil || m.Packet != 99 {
			t.Fatalf("it answers %+v, %v", m, err)
		}
		return conn, said
	}
	gone := func(conn net.Conn) {
		t.Helper()
		if m := reply(t, conn); m.Verb != agentx.VerbClose {
			t.Errorf("it says %+v, want a goodbye", m)
		}
	}

	follow("one", region(7))
	first, said := open("one")
	if said != "1.3.6.1.4.1.7" {
		t.Errorf("it registers %s", said)
	}
	follow("one", region(7)) // nothing new
	s.notify(agentx.Trap{Event: agentx.OID{1, 3}})
	if m := reply(t, first); m.Verb != agentx.VerbNotify {
		t.Errorf("it says %+v, want an event", m)
	}
	follow("one", region(8))
	gone(first)
	second, said := open("one")
	if said != "1.3.6.1.4.1.8" {
		t.Errorf("it registers %s", said)
	}
	follow("two", region(8))
	gone(second)
	third, _ := open("two")
	follow("two", nil)
	gone(third)
	s.notify(agentx.Trap{Event: agentx.OID{1, 3}}) // nobody hears it
	s.follow("udp:127.0.0.1:705", region(7))
	follow("one", region(7))
	fourth, _ := open("one")
	s.close()
	gone(fourth)
	s.close()
}

// reply answers one message that things are well.
func reply(t *testing.T, conn net.Conn) *agentx.Message {
	t.Helper()
	m, err := agentx.Read(conn)
	if err != nil {
		t.Fatal(err)
	}
	if m.Verb != agentx.VerbClose {
		r := &agentx.Message{Verb: agentx.VerbResponse, Session: 1, Transaction: m.Transaction, Packet: m.Packet}
		if _, err := conn.Write(r.Append(nil)); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// TestSNMPOptions: -x enables every MIB but no event; -A wins over the file.
func TestSNMPOptions(t *testing.T) {
	o, err := parseOptions([]string{"-x", "-A", "tcp:127.0.0.1:705"})
	if err != nil {
		t.Fatal(err)
	}
	cfg := &config.Config{}
	cfg.Global.SNMP.Socket = "unix:/file"
	o.enableSNMP(cfg)
	want := config.SNMP{Socket: "tcp:127.0.0.1:705", VRRP: true, RFCv2: true, RFCv3: true, Checker: true}
	if d := cmp.Diff(want, cfg.Global.SNMP); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	none := &config.Config{}
	(&options{}).enableSNMP(none)
	if none.Global.SNMP != (config.SNMP{}) {
		t.Errorf("without options: %+v", none.Global.SNMP)
	}
}

// TestProgramObjects: with a mail server and without.
func TestProgramObjects(t *testing.T) {
	no := false
	for name, tc := range map[string]struct {
		mail config.Mail
		want []string
	}{
		"none": {config.Mail{}, []string{"INTEGER: 2", `STRING: "\x00\x00\x00\x00"`, "kind 66: 0", "kind 66: 0", "INTEGER: 1", "INTEGER: 3"}},
		"one":  {config.Mail{Server: "192.0.2.9", Port: 25, NoFaults: true, Alert: &no}, []string{"INTEGER: 1", `STRING: "\xc0\x00\x02\t"`, "kind 66: 0", "kind 66: 25", "INTEGER: 2", "INTEGER: 2"}},
		"v6":   {config.Mail{Server: "::1", Port: 25}, []string{"INTEGER: 2", `STRING: "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"`, "kind 66: 0", "kind 66: 25", "INTEGER: 1", "INTEGER: 3"}},
	} {
		cfg := &config.Config{}
		cfg.Global.Mail = tc.mail
		v := &agentx.View{}
		addProgram(v, programRow{cfg: cfg})
		var got []string
		for _, id := range []uint32{1, 2, 3, 6, 7, 8} {
			got = append(got, v.Get(globalRegion.OID.Append(3, id, 0)).Value.String())
		}
		if d := cmp.Diff(tc.want, got); d != "" {
			t.Errorf("%s, -want +got:\n%s", name, d)
		}
	}
}

// TestWhoTellsOfTheProgram: one child, that of the checkers if it runs and speaks SNMP.
func TestWhoTellsOfTheProgram(t *testing.T) {
	for name, c := range map[string]struct {
		snmp     config.SNMP
		services int
		run      subsystem
		want     bool
	}{
		"routers alone":         {config.SNMP{VRRP: true}, 1, subsystems, true},
		"nobody":                {config.SNMP{RFCv3: true}, 1, subsystems, false},
		"checkers, too":         {config.SNMP{VRRP: true, Checker: true}, 1, subsystems, false},
		"no virtual servers":    {config.SNMP{VRRP: true, Checker: true}, 0, subsystems, true},
		"checkers do not run":   {config.SNMP{VRRP: true, Checker: true}, 1, subsystemVRRP, true},
		"routers do not answer": {config.SNMP{Checker: true}, 0, subsystems, false},
	} {
		cfg := &config.Config{Services: c.services}
		cfg.Global.SNMP = c.snmp
		r := &routers{child: &child{opts: &options{subsystems: c.run}}, cfg: cfg}
		if got := r.tellsProgram(); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
