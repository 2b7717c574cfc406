// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/ipvs/ipvstest"
)

// -S leaves out the daemons that the host starts by itself, and no other.
func TestSaveLeavesOutWhatTheHostStarts(t *testing.T) {
	const (
		master = "--start-daemon master --mcast-interface none0 --syncid 3"
		backup = "--start-daemon backup --mcast-interface none0 --syncid 3"
	)
	for _, tc := range []struct{ name, defaults, running, saved string }{
		{"no file", "", master, "master"},
		{"none", "DAEMON=none\nIFACE=none0\nSYNCID=3\n", master, "master"},
		{"the other", "DAEMON=backup\nIFACE=none0\nSYNCID=3\n", master, "master"},
		{"master", "AUTO=\"true\"\n\n# the roles\nDAEMON=\"master\"\nIFACE='none0'\nSYNCID=3 # ours\n", master, ""},
		{"backup", "DAEMON=backup;\n IFACE=none0\nSYNCID=03\n", backup, ""},
		{"both", "DAEMON=none\nDAEMON=both\nIFACE=none0\nSYNCID=3\n", master + "\n" + backup, ""},
		{"one of two", "DAEMON=master\nIFACE=none0\nSYNCID=3\n", master + "\n" + backup, "backup"},
		{"another interface", "DAEMON=master\nSYNCID=3\n", master, "master"},
		{"another number", "DAEMON=master\nIFACE=none0\n", master, "master"},
		{"another group", "DAEMON=master\nIFACE=none0\nSYNCID=3\n", master + " --mcast-group 224.0.0.90", "master"},
		{"another port", "DAEMON=both\nIFACE=none0\nSYNCID=3\n", backup + " --mcast-port 9000", "backup"},
		{"another length", "DAEMON=master\nIFACE=none0\nSYNCID=3\n", master + " --sync-maxlen 1000", "master"},
		{"worked out", "DAEMON=$ROLE\nIFACE=none0\nSYNCID=3\n", master, "master"},
		{"no number", "DAEMON=master\nIFACE=none0\nSYNCID=x\n", master, "master"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			k := ipvstest.NewStock()
			a, stderr, _ := newTestApp(t, k, tc.running+"\n")
			if code := a.run(t.Context(), []string{"ipvsadm", "-R"}); code != 0 {
				t.Fatalf("exit %d, %s", code, stderr)
			}
			a, stderr, out := newTestApp(t, k, "")
			a.defaults = filepath.Join(t.TempDir(), "ipvsadm")
			if tc.defaults != "" {
				if err := os.WriteFile(a.defaults, []byte(tc.defaults), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if code := a.run(t.Context(), []string{"ipvsadm", "-S", "-n"}); code != 0 {
				t.Fatalf("exit %d, %s", code, stderr)
			}
			var saved []string
			for line := range strings.Lines(out.String()) {
				role, _, _ := strings.Cut(strings.TrimPrefix(line, "--start-daemon "), " ")
				saved = append(saved, role)
			}
			if got := strings.Join(saved, " "); got != tc.saved {
				t.Errorf("saved are %q, want %q:\n%s", got, tc.saved, out)
			}
		})
	}
}

// What a socket option tells of a daemon is its interface and number alone.
func TestStartedByHostWithoutDetails(t *testing.T) {
	a := &app{defaults: filepath.Join(t.TempDir(), "ipvsadm")}
	if err := os.WriteFile(a.defaults, []byte("DAEMON=backup\nIFACE=lo\nSYNCID=7\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	want := ipvs.Daemon{State: ipvs.SyncBackup, Interface: "lo", SyncID: 7}
	if got := a.startedByHost(); len(got) != 2 || got[0] != want || got[1].MaxLen < 1472 {
		t.Errorf("got %+v, want %+v and the same with what the kernel chooses", got, want)
	}
}
