// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/ipvs/ipvstest"
)

func TestConnect(t *testing.T) {
	const sure = "\nAre you sure that IP Virtual Server is built in the kernel or as module?\n"
	for _, tc := range []struct {
		name    string
		first   error // of the first dial
		second  error // after modprobe
		modprob error
		loads   int
		code    int
		stderr  string
	}{
		{"there", nil, nil, nil, 0, 0, ""},
		{"loaded", ipvs.ErrNoIPVS, nil, nil, 1, 0, ""},
		{"absent", ipvs.ErrNoIPVS, ipvs.ErrNoIPVS, nil, 1, 2, "Can't initialize ipvs: Protocol not available" + sure},
		{"modprobe fails", ipvs.ErrNoIPVS, nil, errors.New("exit status 1"), 1, 2, "Can't initialize ipvs: Protocol not available" + sure},
		{"no privilege", syscall.EPERM, syscall.EPERM, errors.New("exit status 1"), 1, 2, "Can't initialize ipvs: Permission denied (you must be root)" + sure},
	} {
		t.Run(tc.name, func(t *testing.T) {
			k := ipvstest.New()
			a, stderr, _ := newTestApp(t, k, "")
			loads := 0
			a.load = func(context.Context) error { loads++; return tc.modprob }
			a.dial = func(context.Context) (kernel, error) {
				err := tc.first
				if loads > 0 {
					err = tc.second
				}
				return k, err
			}
			// Even a call that needs no kernel does not go on without one.
			if code := a.run(context.Background(), []string{"ipvsadm", "-h"}); code != tc.code {
				t.Errorf("exit code %d, want %d", code, tc.code)
			}
			if loads != tc.loads || stderr.String() != tc.stderr {
				t.Errorf("%d loads and %q, want %d and %q", loads, stderr, tc.loads, tc.stderr)
			}
		})
	}
}

// The program is called as argv[0] in the texts, also within a restore.
func TestArgv0(t *testing.T) {
	a, stderr, _ := newTestApp(t, ipvstest.New(), "-x\n")
	a.run(context.Background(), []string{"/sbin/ipvsadm", "-R"})
	if want := "Try `/sbin/ipvsadm -h' or '/sbin/ipvsadm --help' for more information.\n"; stderr.String() != want {
		t.Errorf("got %q, want %q", stderr, want)
	}
}

// FNAT is switched on in a batch before the one that adds a server: a batch
// may go on behind an error, and the server would be plain NAT.
func TestFNATBeforeServer(t *testing.T) {
	k := ipvstest.New()
	lines := "-A -t 192.0.2.1:80\n-P -t 192.0.2.1:80 -z 10.0.0.1\n-a -t 192.0.2.1:80 -r 10.1.0.1 -b\n"
	a, stderr, _ := newTestApp(t, k, lines)
	if code := a.run(context.Background(), []string{"ipvsadm", "-R"}); code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	want := `-A -t 192.0.2.1:80 -s wlc
-P --lgroup @tc0000201-0050
-P --lgroup @tc0000201-0050 -z 10.0.0.1
-E -t 192.0.2.1:80 --lgroup @tc0000201-0050
-E -t 192.0.2.1:80 --fullnat
-a -t 192.0.2.1:80 -r 10.1.0.1:80 -m -w 1`
	if got := strings.Join(k.Lines(), "\n"); got != want {
		t.Errorf("operations\n%s\nwant\n%s", got, want)
	}
}

// The counters of the extension go back to zero with the others.
func TestZero(t *testing.T) {
	for _, tc := range []struct {
		k    *ipvstest.Table
		want []ipvs.OpKind
	}{
		{ipvstest.New(), []ipvs.OpKind{ipvs.Zero, ipvs.ZeroExt}},
		{ipvstest.NewStock(), []ipvs.OpKind{ipvs.Zero}},
	} {
		a, stderr, _ := newTestApp(t, tc.k, "")
		if code := a.run(t.Context(), []string{"ipvsadm", "-Z"}); code != 0 {
			t.Fatalf("exit code %d: %s", code, stderr)
		}
		var got []ipvs.OpKind
		for _, op := range tc.k.Applied() {
			got = append(got, op.Kind)
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("operations %v, want %v", got, tc.want)
		}
	}
}

// Whatever is fed to -R, it ends, and what -S then prints makes the same table.
func FuzzRestore(f *testing.F) {
	f.Add("-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.1:80 -r 10.1.0.1 -m -w 5\n")
	f.Add("--add-laddr --lgroup g --local-address 10.0.0.9\n-A -t 10.0.0.1:80 --lgroup g --fullnat --toa\n-a -t 10.0.0.1:80 -r 10.1.0.1 --fullnat\n")
	f.Add("-A -f 7 -6 -p -M 64\n-a -f 7 -6 -r [2001:db8::1]:80 -i --tun-type gue --tun-port 1 --tun-csum\r\n-S")
	f.Add("-A -f 3000000000 -s mh -b mh-port,flag-3 -M 255.0.0.0\n-a -f 3000000000 -r 10.1.0.1 -x 9 -y 3\n--start-daemon backup --mcast-interface ipvsadm")
	f.Add("-A -u 10.0.0.1:53 -o -s sh -b sh-port,flag-3\n--set 1 2 3\n-C\n-Ln --stats\n-h")
	f.Fuzz(func(t *testing.T, input string) {
		if len(input) > 4096 {
			return
		}
		k := ipvstest.New()
		a, _, _ := newTestApp(t, k, input)
		switch code := a.run(context.Background(), []string{"ipvsadm", "-R"}); code {
		case 0, 1, 2, 255:
		default:
			t.Fatalf("exit code %d", code)
		}
		save := func(k kernel) string {
			a, _, out := newTestApp(t, k, "")
			a.run(context.Background(), []string{"ipvsadm", "-S", "-n"})
			return out.String()
		}
		saved := save(k)
		if regexp.MustCompile(`(?m)^--add-laddr --lgroup[ =]\S+( -6)?$`).MatchString(saved) {
			return // a service that has lost its last address cannot come back with FNAT
		}
		copied := ipvstest.New()
		a, stderr, _ := newTestApp(t, copied, saved)
		if code := a.run(context.Background(), []string{"ipvsadm", "-R"}); code != 0 {
			t.Fatalf("cannot restore:\n%s%s", saved, stderr)
		}
		if again := save(copied); again != saved {
			t.Fatalf("saved\n%s\nrestored\n%s", saved, again)
		}
	})
}

// TestOrderOfOutput: where both outputs go to one file, errors stand where they
// happened. The stock program's stand before all that it lists.
func TestOrderOfOutput(t *testing.T) {
	var both bytes.Buffer
	in := "-A -t 192.0.2.1:80 -s rr\n-S -n\n-A -t 192.0.2.1:80\n-A -t 192.0.2.2:80 -s wlc\n-S -n\n"
	a := testApp(ipvstest.New(), t.TempDir(), strings.NewReader(in), &both, &both)
	if code := a.run(t.Context(), []string{"ipvsadm", "-R"}); code != 0 {
		t.Errorf("exit code %d", code)
	}
	want := "-A -t 192.0.2.1:80 -s rr\nService already exists\n-A -t 192.0.2.1:80 -s rr\n-A -t 192.0.2.2:80 -s wlc\n"
	if both.String() != want {
		t.Errorf("got\n%swant\n%s", &both, want)
	}
}
