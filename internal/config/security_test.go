// SPDX-License-Identifier: Apache-2.0

package config

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
)

// TestNobodyToRunAs: with enable_script_security a command without a user is left out
// where there is no script_user and no keepalived_script, as the original does it: it is
// not run as root, and nothing is judged by it. One that names its user stays.
func TestNobodyToRunAs(t *testing.T) {
	const text = `global_defs {
SECURITY
startup_script /bin/true
lvs_notify_fifo /run/x
lvs_notify_fifo_script /bin/true
}
virtual_server 10.0.0.1 80 {
    lb_algo rr
    lb_kind NAT
    protocol TCP
    quorum_up /bin/true
    quorum_down "/bin/true" root
    real_server 10.0.2.1 80 {
        notify_up /bin/true
        notify_down "/bin/true" root
        MISC_CHECK {
            misc_path /bin/true
        }
        MISC_CHECK {
            misc_path /bin/false
            user root
        }
    }
}
vrrp_script one {
    script /bin/true
}
vrrp_script two {
    user root
    script "/bin/true"
}
vrrp_instance v {
    interface eth0
    virtual_router_id 5
    virtual_ipaddress {
        10.0.0.1
    }
    notify_master /bin/true
    track_script {
        one
        two
    }
}
`
	for security, all := range map[string]bool{
		"enable_script_security": false, "": true, "enable_script_security\nscript_user root": true,
	} {
		c, diags, err := Parse(context.Background(), "k.conf", strings.ReplaceAll(text, "SECURITY", security), Options{User: func(name string) (string, error) {
			if name != "root" {
				return "", errors.New("unknown user " + name)
			}
			return "0", nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		vs, in := c.VirtualServers[0], c.VRRP.Instances[0]
		rs := &vs.RealServers[0]
		for what, there := range map[string]bool{
			"startup_script": c.Global.Scripts.Startup.Command != "", "lvs_notify_fifo_script": c.Global.FIFOs.LVS.Script.Command != "",
			"quorum_up": vs.QuorumUp.Command != "", "notify_up": rs.NotifyUp.Command != "", "MISC_CHECK": len(rs.Checkers) == 2,
			"notify_master": in.Notify.Master.Command != "", "vrrp_script": len(in.Track.Scripts) == 2,
		} {
			if there != all {
				t.Errorf("%q: %s is there: %t, want %t", security, what, there, all)
			}
		}
		if vs.QuorumDown.Command == "" || rs.NotifyDown.Command == "" || rs.Checkers[len(rs.Checkers)-1].Misc.Args[0] != "/bin/false" || in.Track.Scripts[len(in.Track.Scripts)-1].Name != "two" {
			t.Errorf("%q: a command that names its user is gone: %+v", security, vs)
		}
		told := 0
		for _, d := range diags {
			if strings.Contains(d.Text, "is left out: no user keepalived_script") {
				told++
			}
		}
		if want := map[bool]int{false: 6, true: 0}[all]; told != want {
			t.Errorf("%q: %d lines say so, want %d: %v", security, told, want, diags)
		}
		if _, refused := Refused(diags); refused {
			t.Errorf("%q: a reload is refused", security)
		}
	}
}

// TestUnfitCommands: what cannot run is neither tracked by nor checked with, and has a line in
// the log: a program that is not there, and under enable_script_security one that not root alone
// can change. Words of a shell always can, and are no violation.
func TestUnfitCommands(t *testing.T) {
	const text = `global_defs {
    script_user USER
    SECURITY
}
virtual_server 10.0.0.1 80 {
    lb_algo rr
    lb_kind NAT
    protocol TCP
    real_server 10.0.2.1 80 {
        MISC_CHECK {
            misc_path "COMMAND"
        }
    }
}
vrrp_script s {
    script "COMMAND"
}
vrrp_instance v {
    interface eth0
    virtual_router_id 5
    virtual_ipaddress {
        10.0.0.1
    }
    track_script {
        s
    }
}
`
	for _, c := range []struct {
		command, user, security string
		left                    bool
		told                    string // "" for nothing
		code                    int
	}{
		{"/good a", "root", "", true, "SECURITY VIOLATION - scripts are", 6},
		{"/good a", "nobody", "", true, "", 0},
		{"/good a", "root", "enable_script_security", true, "", 0},
		{"/shared a", "root", "", true, "SECURITY VIOLATION - check scripts are", 6},
		{"/shared a", "root", "enable_script_security", false, "Disabling track script s due to insecure: not root's alone", 5},
		{"/shared a", "nobody", "enable_script_security", true, "", 0},
		{"/none a", "root", "", false, "Disabling track script s since not found/accessible", 5},
		{"/none a", "root", "enable_script_security", false, "Disabling misc script '/none' 'a' since not found/accessible", 5},
		{"</none a", "root", "", true, "", 0},
		{"</none a", "root", "enable_script_security", true, "", 0},
		{"'<  /none && a'", "root", "", true, "", 0},
		{"< /none", "root", "", false, "Disabling track script s since not found/accessible", 5},
	} {
		cfg, diags, err := Parse(context.Background(), "k.conf", strings.NewReplacer("USER", c.user, "SECURITY", c.security, "COMMAND", c.command).Replace(text), Options{
			User: func(name string) (string, error) { return map[string]string{"root": "0"}[name], nil },
			Command: func(name string) (string, error) {
				if name == "/good" || name == "/shared" {
					return name, nil
				}
				return "", os.ErrNotExist
			},
			Trusted: func(path string) error {
				if path == "/shared" {
					return errors.New("not root's alone")
				}
				return nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		checked := len(cfg.VirtualServers[0].RealServers[0].Checkers) == 1
		tracked := len(cfg.VRRP.Scripts) == 1 && len(cfg.VRRP.Instances[0].Track.Scripts) == 1
		if checked != c.left || tracked != c.left {
			t.Errorf("%+v: checked %t, tracked %t", c, checked, tracked)
		}
		told := c.told == "" && len(diags) == 0
		for _, d := range diags {
			told = told || c.told != "" && strings.Contains(d.Text, c.told)
		}
		if code := ExitCode(diags); !told || code != c.code {
			t.Errorf("%+v: code %d, told %v", c, code, diags)
		}
	}
}

// TestMissingCommand: a MISC_CHECK whose program is not there is left out with a line in
// the log, as by the original, and does not take its server out, unless alpha waits for
// it; one in $PATH stays.
func TestMissingCommand(t *testing.T) {
	const text = `virtual_server 10.0.0.1 80 {
    lb_algo rr
    lb_kind NAT
    protocol TCP
    @VS
    real_server 10.0.2.1 80 {
        @RS
        MISC_CHECK {
            misc_path "/none/at/all x"
            @CHECK
        }
        MISC_CHECK {
            misc_path "sh -c true"
            user nobody
        }
    }
}
`
	for _, c := range []struct {
		vs, rs, check string
		held          bool
	}{
		{"", "", "", false},
		{"", "", "alpha", true},
		{"", "alpha", "", true},
		{"alpha", "", "", true},
		{"alpha", "alpha", "alpha false", false},
	} {
		cfg, diags, err := Parse(context.Background(), "k.conf", strings.NewReplacer("@VS", c.vs, "@RS", c.rs, "@CHECK", c.check).Replace(text), Options{})
		if err != nil {
			t.Fatal(err)
		}
		rs := cfg.VirtualServers[0].RealServers[0]
		if len(rs.Checkers) != 1 || rs.Checkers[0].Misc.Args[0] != "sh" || rs.Held != c.held {
			t.Errorf("%+v: checks: %+v, held: %v", c, rs.Checkers, rs.Held)
		}
		told := "Disabling misc script '/none/at/all' 'x' since not found/accessible"
		if c.held {
			told += ": with alpha its server stays out"
		}
		if code := ExitCode(diags); code != 0 || len(diags) != 1 || diags[0].Text != told {
			t.Errorf("%+v: code %d: %v", c, code, diags)
		}
	}
}
