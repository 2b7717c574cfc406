// SPDX-License-Identifier: Apache-2.0

package checks

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testvm"
)

// change is what a reload makes of a virtual server; without after it is gone.
type change struct {
	name          string
	before, after *play
	// not is what only the original says.
	not []string
}

// The check of each server asks an address of its own: equal checks are one, with ours,
// and who comes to it later finds a server that is known.
const (
	goodCheck  = "TCP_CHECK {\ndelay_loop 2\nconnect_ip 127.1.0.NUMBER\nconnect_port 2500\n}"
	badCheck   = "TCP_CHECK {\ndelay_loop 2\nconnect_ip 127.1.0.NUMBER\nconnect_port 9\n}"
	goodSecond = "TCP_CHECK {\ndelay_loop 2\nconnect_ip 127.2.0.NUMBER\nconnect_port 2500\n}"
	badSecond  = "TCP_CHECK {\ndelay_loop 2\nconnect_ip 127.2.0.NUMBER\nconnect_port 9\n}"
	lostCheck  = "MISC_CHECK {\nmisc_path \"DIR/none\"\n}"
)

// second is another real server, which tells.
func second(lines string) string {
	return "real_server 127.0.0.2 80 {\nsmtp_alert\nnotify_up \"DIR/tell NUMBER second up\"\nnotify_down \"DIR/tell NUMBER second down\"\n" + lines + "\n}\n"
}

func changes() []change {
	const sorry, inhibit = "sorry_server 10.251.0.9 80\n", "inhibit_on_failure\n"
	one := func(vs, rs, check string) *play { return &play{tells: true, vs: vs, rs: rs, check: check} }
	two := func(vs, lines string) *play {
		return &play{tells: true, vs: vs, check: goodCheck, more: second(lines)}
	}
	return []change{
		{"nothing changes", one("", "", goodCheck), one("", "", goodCheck), nil},
		{"nothing changes, down", one("", "", badCheck), one("", "", badCheck), nil},
		{"nothing changes, down, sorry server", one(sorry, "", badCheck), one(sorry, "", badCheck), nil},
		{"another scheduler", one("", "", goodCheck), one("lb_algo wrr", "", goodCheck), nil},
		{"another weight", one("", "", goodCheck), one("", "weight 5", goodCheck), nil},
		{"another weight, down", one("", "", badCheck), one("", "weight 5", badCheck), nil},
		{"weight 0", one("", "", goodCheck), one("", "weight 0", goodCheck), []string{"Starting with quorum down"}},
		{"a server goes that is up", two("", goodSecond), one("", "", goodCheck), nil},
		{"a server goes that has no check", two("", ""), one("", "", goodCheck), nil},
		{"a server goes that is down", two("", badSecond), one("", "", goodCheck), nil},
		{"a server goes that is down and inhibited", two("", inhibit+badSecond), one("", "", goodCheck), nil},
		{"a server goes that is up, inhibit_on_failure", two("", inhibit+goodSecond), one("", "", goodCheck), nil},
		{"a server goes, and the quorum", two("quorum 2", goodSecond), one("quorum 2", "", goodCheck), []string{"2 pipe: VS", "2 script: quorum down"}},
		{"a server comes", one("", "", goodCheck), two("", goodSecond), nil},
		{"a server comes that is down", one("", "", goodCheck), two("", badSecond), nil},
		{"a server comes, alpha", one("", "", goodCheck), two("", "alpha\n"+goodSecond), nil},
		{"a server comes, alpha, that is down", one("", "", goodCheck), two("", "alpha\n"+badSecond), nil},
		{"a server comes, and the quorum with it", one("quorum 2", "", goodCheck), two("quorum 2", goodSecond), nil},
		{"a check comes that fails", one("", "", goodCheck), one("", "", goodCheck+"\n"+badSecond), nil},
		{"a check goes that fails", one("", "", goodCheck+"\n"+badSecond), one("", "", goodCheck), nil},
		{"another check, which succeeds", one("", "", badCheck), one("", "", goodCheck), nil},
		{"a check loses its program", one("", "", goodCheck), one("", "", lostCheck), nil},
		{"a check loses its program, alpha", one("", "alpha", goodCheck), one("", "alpha", lostCheck), nil},
		{"alpha comes", one("", "", goodCheck), one("alpha", "", goodCheck), nil},
		{"the quorum rises", two("quorum 1", badSecond), two("quorum 2", badSecond), []string{"Starting with quorum down"}},
		{"the quorum falls", two("quorum 2", badSecond), two("quorum 1", badSecond), nil},
		{"a sorry server comes, up", one("", "", goodCheck), one(sorry, "", goodCheck), nil},
		{"a sorry server comes, down", one("", "", badCheck), one(sorry, "", badCheck), []string{"2 pipe: VS", "2 script: quorum down", "Starting with quorum down", "Removing alive servers"}},
		{"a sorry server goes, up", one(sorry, "", goodCheck), one("", "", goodCheck), nil},
		{"a sorry server goes, down", one(sorry, "", badCheck), one("", "", badCheck), nil},
		{"inhibit_on_failure comes, down", one("", "", badCheck), one("", inhibit, badCheck), nil},
		{"inhibit_on_failure goes, down", one("", inhibit, badCheck), one("", "", badCheck), nil},
		{"the virtual server goes", one("", "", goodCheck), nil, nil},
		{"the virtual server goes, smtp_alert", one("smtp_alert", "", goodCheck), nil, nil},
		{"the virtual server goes, omega", one("omega", "", goodCheck), nil, nil},
		{"the virtual server goes, down", one("", "", badCheck), nil, nil},
		{"the virtual server goes, down, inhibited", one("", inhibit, badCheck), nil, nil},
		{"the virtual server goes, down, sorry server", one(sorry, "", badCheck), nil, nil},
	}
}

// TestServersReload: keepalived 2.2.7 and ours with the same virtual servers, which a
// reload changes: the kernel's tables before and after it, and what is told by pipe,
// command, mail and log.
func TestServersReload(t *testing.T) {
	for _, module := range []string{"ip_vs", "ip_vs_rr", "ip_vs_wrr", "nf_tables"} {
		testnet.Must(t, testvm.Modprobe(module))
	}
	list := changes()
	plays := make([]*play, len(list))
	for i, c := range list {
		p := *c.before
		p.name, p.kind, p.script, p.goes, p.not = c.name, clockPlay, "kk", c.after == nil, c.not
		p.step = func(*stage, *playing, byte) error { return nil }
		plays[i] = &p
	}
	plays[0].script = "krk"
	plays[0].step = func(s *stage, _ *playing, letter byte) error {
		if letter != 'r' {
			return nil
		}
		time.Sleep(stepTime / 10) // of the guest: behind the moments of the other plays
		text := s.head()
		for i, c := range list {
			if c.after != nil {
				text += s.server(s.all[i], c.after)
			}
		}
		s.prog.write(text)
		return s.prog.cmd.Process.Signal(syscall.SIGHUP)
	}
	var stages [2]*stage
	for i, path := range []string{stock, ours} {
		stages[i] = newStage(t, []string{"theirs", "mine"}[i], plays, nil)
		stages[i].start(path)
	}
	for _, s := range stages {
		s.finish()
		if !strings.Contains(s.prog.text(), "Reload complete") && !strings.Contains(s.prog.text(), "Reload finished") {
			t.Errorf("no reload:\n%s", s.prog.text())
		}
	}
	compareStories(t, stages, 400*time.Millisecond)
}
