// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// ipvsadmScripts is where ipvsadmFiles puts scripts in the guest.
const ipvsadmScripts = "/work/ipvsadm"

// ipvsadmFiles builds our ipvsadm and returns what a guest needs to test it: the
// command, and the scripts for whose module the guest has, "ours" or "stock".
func ipvsadmFiles(t *testing.T, whose string) map[string]string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "ipvsadm")
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", program, "../ipvsadm")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build ipvsadm: %v\n%s", err, out)
	}
	files := map[string]string{"/usr/local/sbin/ipvsadm": program}
	scripts, err := filepath.Glob("../ipvsadm/testdata/" + whose + "/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("scripts for ipvsadm on the module %s: %v, %v", whose, scripts, err)
	}
	for _, s := range scripts {
		files[filepath.Join(ipvsadmScripts, filepath.Base(s))] = s
	}
	return files
}

// outcome is all that a caller of a command sees.
type outcome struct {
	code        int
	out, stderr string
}

// ipvsadm runs program as "ipvsadm"; words are cut at blanks, two quotes are an
// empty one. What stands behind " <<< " is its standard input, with ";" for
// newlines.
func ipvsadm(t *testing.T, program, line string) outcome {
	t.Helper()
	line, stdin, _ := strings.Cut(line, " <<< ")
	args := strings.Fields(line)
	for i := range args {
		if args[i] == "''" {
			args[i] = ""
		}
	}
	o, err := runIpvsadm(t.Context(), (*exec.Cmd).Start, program, strings.ReplaceAll(stdin, ";", "\n"), args)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// runIpvsadm runs program as "ipvsadm" by way of how, and waits for it.
func runIpvsadm(ctx context.Context, how func(*exec.Cmd) error, program, stdin string, args []string) (outcome, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return outcome{}, err
	}
	var out, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, path)
	cmd.Args = append([]string{"ipvsadm"}, args...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := how(cmd); err != nil {
		return outcome{}, err
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return outcome{}, fmt.Errorf("%s %v: %w", program, args, err)
	}
	return outcome{cmd.ProcessState.ExitCode(), out.String(), stderr.String()}, nil
}

// ipvsadmSessions are calls made one after the other on an empty table.
var ipvsadmSessions = map[string][]string{
	"services": {
		"-A -t 10.0.0.1:80 -s rr", "-A -t 10.0.0.1:80", "-A -u 10.0.0.1:53 -o", "-A -t 10.0.0.2:80 -p", "-A -t 10.0.0.3:80 -p 60 -M 255.255.0.0",
		"-A -t 10.0.0.4 -p 5", "-A -t 10.0.0.4", "-A -t 192.168.0.1:80", "-A --sctp-service 10.0.0.1:80", "-A -f 5", "-A -f 5 -6 -p -M 64", "-A -f 3000000000",
		"-A -t [2001:db8::1]:80 -s wrr", "-A -t [2001:db8::1]:443 -p 7 -M 24", "-A -t 10.0.0.5:80 -s nosuch", "-A -t 10.0.0.5:80 -s none", "-A -t 10.0.0.6:80 -s ''",
		"-A -t 10.0.0.7:80 -s sh -b sh-port", "-A -t 10.0.0.8:80 -s sh -b flag-3", "-A -t 10.0.0.9:80 -s mh -b mh-fallback,mh-port", "-A -t 10.0.0.10:80 -b flag-1,flag-2,flag-3",
		"-A -t 10.0.0.11:80 --pe sip", "-A -u 10.0.0.11:5060 --pe sip -p 60", "-A -t 0.0.0.0:80", "-A -t 224.0.0.1:80", "-A -t 10.1:8080", "-A -t 010.0.0.1:80",
		"-E -t 10.0.0.1:80", "-E -t 10.0.0.99:80", "-D -t 10.0.0.2:80", "-D -t 10.0.0.2:80", "-Z", "-Z -t 10.0.0.1:80", "-Z -t 10.0.0.99:80", "-Z -t 0.0.0.0",
		"-L -n", "-Ln --stats", "-Ln --rate", "-Ln --thresholds", "-Ln --persistent-conn", "-Ln --tun-info", "-Ln --stats --exact", "-Ln -t 10.0.0.1:80", "-Ln -t 10.0.0.99:80",
		"-Ln -f 5 -6", "-S -n", "-Sn", "-Ln --rate --stats", "-Ln --sort",
	},
	"servers": {
		"-A -t 10.0.0.1:80 -s rr", "-A -f 7", "-A -t [2001:db8::1]:80",
		"-a -t 10.0.0.1:80 -r 10.1.0.1 -m", "-a -t 10.0.0.1:80 -r 10.1.0.1:8080 -m -w 5 -x 9 -y 3", "-a -t 10.0.0.1:80 -r 10.1.0.1:8080 -m", "-a -t 10.0.0.1:80 -r 10.1.0.2:99 -g",
		"-a -t 10.0.0.1:80 -r 192.168.3.3 -i", "-a -t 10.0.0.1:80 -r 10.1.0.4 -i --tun-type gue --tun-port 6080", "-a -t 10.0.0.1:80 -r 10.1.0.5 -i --tun-type gue --tun-port 6080 --tun-remcsum",
		"-a -t 10.0.0.1:80 -r 10.1.0.6 -i --tun-type gre --tun-csum", "-a -t 10.0.0.1:80 -r [2001:db8::5]:80 -i", "-a -t 10.0.0.1:80 -r [2001:db8::5]:80 -m",
		"-a -t 10.0.0.1:80 -r 224.0.0.1 -m", "-a -t 10.0.0.1:80 -r 0.0.0.0 -m", "-a -t 10.0.0.1:80 -r 10.1.0.7 -y 5", "-a -t 10.0.0.1:80 -r 10.1.0.8 -m -w 2147483647",
		"-a -t 10.0.0.9:80 -r 10.1.0.1 -m", "-a -f 7 -r 10.1.0.1", "-a -f 7 -r 10.1.0.1:80 -m", "-a -t [2001:db8::1]:80 -r [2001:db8::9]:80", "-a -t [2001:db8::1]:80 -r 10.1.0.1:80 -i",
		"-a -r 10.1.0.20 -t 10.0.0.1:80 -m", "-a -r 10.1.0.21 -t 10.0.0.1:80", "-e -t 10.0.0.1:80 -r 10.1.0.1 -m -w 3", "-e -t 10.0.0.1:80 -r 10.1.0.2 -w 4", "-e -t 10.0.0.1:80 -r 10.9.0.1",
		"-d -t 10.0.0.1:80 -r 10.1.0.1", "-d -t 10.0.0.1:80 -r 10.1.0.1", "-d -t 10.0.0.99:80 -r 10.1.0.1",
		"-Ln", "-Ln --stats", "-Ln --rate", "-Ln --thresholds", "-Ln --persistent-conn", "-Ln --tun-info", "-Ln --tun-info -t 10.0.0.1:80", "-Sn", "-Lnc", "-Lnc --persistent-conn",
	},
	"words": {
		"", "-n", "--", "word", "-q", "--list=1", "--start-daemon", "--start-daemon x", "--stop-daemon x", "-A -h", "-L -v", "-Ll", "-C --start-daemon master", "-Lnq", "-L --numeric=1",
		"-A -t", "-L --num", "-L word", "-L --", "-L -- -n", "-A -n", "-A -s rr", "-C -n", "-L --daemon --timeout", "-L -t 10.0.0.1:80 -c", "-L -c --stats", "-L --daemon --persistent-conn",
		"-L -c --persistent-conn -n", "-a -t 10.0.0.1:80", "-A -6 -f 1", "-A -f 0", "-A -f -1", "-A -f 0x5", "-A -f 1a", "-A -t 10.0.0.1:80 -p 0", "-A -t 10.0.0.1:80 -p ''", "-A -t 10.0.0.1:80 -p 2678401",
		"-A -t 10.0.0.1:80 -p -5", "-A -p 10.0.0.1:80", "-A -t 10.0.0.1:80 -ps rr", "-A -t 10.0.0.1:80 -w 5", "-a -t 10.0.0.1:80 -r 10.1.0.1 -w 0x5", "-a -t 10.0.0.1:80 -r 10.1.0.1 -w -1", "-a -t 10.0.0.1:80 -r 10.1.0.1 -x a",
		"-a -t 10.0.0.1:80 -r 10.1.0.1 -y a", "-A -t 80", "-A -t ''", "-A -t [2001:db8::1]", "-A -t 10.0.0.1:80:80", "-A -t 10.0.0.1:65536", "-A -t 10.0.0.1:", "-a -t 10.0.0.1:80 -r [2001:db8::1]", "-A -t 10.0.0.1:80 -M 24 -p",
		"-E -t 10.0.0.1:80 -M x -p", "-A -t [2001:db8::1]:80 -M 129", "-A -t [2001:db8::1]:80 -M 64abc -p", "-A -M 64 -t [2001:db8::2]:80 -p", "-A -t 10.0.0.3:80 -b nosuch", "-A -t 10.0.0.3:80 -b sh-port", "-A -b sh-port -t 10.0.0.3:80 -s sh",
		"-A -t 10.0.0.4:80 -o", "-A -t 10.0.0.4 -o", "-a -t 10.0.0.1:80 -r 10.1.0.1 -m --tun-type gue", "-a -t 10.0.0.1:80 -r 10.1.0.1 -i --tun-type gue", "-a -t 10.0.0.1:80 -r 10.1.0.1 -i --tun-type x", "-a -t 10.0.0.1:80 -r 10.1.0.1 -i --tun-port 0",
		"-a -t 10.0.0.1:80 -r 10.1.0.1 -i --tun-port 5", "-a -t 10.0.0.1:80 -r 10.1.0.1 -i --tun-type gue --tun-port 5 --tun-nocsum --tun-csum", "-a -t 10.0.0.1:80 -r 10.1.0.1 -i --tun-type gre --tun-remcsum",
		"-A -t 10.0.0.1:80 -t 10.0.0.2:80", "-A -t 10.0.0.1:80 -u x", "-A -s=rr -t=10.0.0.40:80", "-A -s==rr -t 10.0.0.41:80", "-At 10.0.0.42:80 -srr", "-Af7 -6p", "-D -t 10.0.0.42:80 -b nosuch", "-L --syncid 5", "-L --syncid 256", "-L --sort --sort -n",
		"--set 1 2", "--set 1 2 x", "--set 1 2 3 4", "5 --set 6 7", "--set 0 0 0", "--set 0 0 2678401", "-L --timeout", "-L --timeout -n", "-L --timeout --stats", "-Sn",
		"-A -t 10.0.0.1:http", "-A -t 10.0.0.1:HTTP", "-A -t 10.0.0.1:nosuch", "-A -t localhost:80", "-A -t nosuch.invalid:80", "-S", "-D -t 10.0.0.1:http", "-Ln",
	},
	"daemons": {
		"-L --daemon", "--start-daemon master --mcast-interface lo --syncid 3", "--start-daemon master --mcast-interface lo", "-L --daemon", "--start-daemon backup --mcast-interface lo --sync-maxlen 100 --mcast-port 9000 --mcast-ttl 3 --mcast-group 224.0.0.90",
		"-L --daemon", "--stop-daemon master --syncid 9", "--stop-daemon master", "--stop-daemon backup", "-L --daemon", "--start-daemon master --mcast-interface nosuch", "--start-daemon master --syncid 256", "--start-daemon master --mcast-group 10.0.0.1",
		"--start-daemon master --mcast-group x", "--start-daemon master --mcast-group 2001::1", "--start-daemon master --mcast-port 0", "--start-daemon master --mcast-ttl 0", "--start-daemon master --sync-maxlen 0", "--stop-daemon master --mcast-interface lo",
	},
	"restore": {
		"-R", "-R <<< -A -t 10.0.0.1:80 -s rr;-a -t 10.0.0.1:80 -r 10.1.0.1 -m;", "-R -n", "-R <<< ipvsadm -A -t 10.0.0.2:80;;ipvsadm;  -a -t ipvsadm 10.0.0.2:80 -r 10.1.0.1 -m", "-R <<< -A -t 10.0.0.1:80;-A -t 10.0.0.3:80", "-R <<< -A -t 10.0.0.1:80",
		"-R <<< -A --nosuch;-A -t 10.0.0.4:80", "-R <<< # c;-A -t 10.0.0.5:80", "-R <<< -A -t 10.0.0.5:80 # c;-A -t 10.0.0.6:80", "-R <<< -R;-A -t 10.0.0.5:80", "-R <<< -L -n -t 10.0.0.99:80;-A -t 10.0.0.5:80", "-R <<< -a -t 10.0.0.1:80 -r 1.2.3.4 -w x;-A -t 10.0.0.5:80",
		"-R <<< -L -n;-S -n;--set 1 2 3;-C;-Z", "-R <<< -A -t 10.0.0.1:80\r;-Ln", "-Sn",
	},
}

// TestIpvsadmAgrees wants the same outcome of each call from both programs.
func TestIpvsadmAgrees(t *testing.T) {
	for name, session := range ipvsadmSessions {
		t.Run(name, func(t *testing.T) {
			play := func(program string) []outcome {
				ipvsadm(t, "ipvsadm.stock", "-C")
				ipvsadm(t, "ipvsadm.stock", "--set 900 120 300")
				var outcomes []outcome
				for _, line := range session {
					outcomes = append(outcomes, ipvsadm(t, program, line))
				}
				ipvsadm(t, "ipvsadm.stock", "-C")
				return outcomes
			}
			want, got := play("ipvsadm.stock"), play("ipvsadm")
			for i, line := range session {
				if got[i] != want[i] {
					t.Errorf("ipvsadm %s\n got %s\nwant %s", line, got[i], want[i])
				}
			}
		})
	}
}

// TestIpvsadmAgreesOnConnections lists a connection that an engine keeps.
func TestIpvsadmAgreesOnConnections(t *testing.T) {
	for _, args := range []string{"link set lo up", "addr add 10.0.0.11/32 dev lo"} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v\n%s", args, err, out)
		}
	}
	for _, line := range []string{"-C", "--set 900 120 60", "-A -u 10.0.0.11:5060 --pe sip -p 60", "-a -u 10.0.0.11:5060 -r 127.0.0.1:5061 -m"} {
		if got := ipvsadm(t, "ipvsadm.stock", line); got.code != 0 {
			t.Fatalf("ipvsadm %s: %v", line, got)
		}
	}
	c, err := net.Dial("udp", "10.0.0.11:5060")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "INVITE sip:x@example SIP/2.0\r\nCall-ID: abc@def\r\n\r\n")
	for _, line := range []string{"-Lnc", "-Lnc --persistent-conn", "-Ln", "-Ln --persistent-conn"} {
		got, want := ipvsadm(t, "ipvsadm", line), ipvsadm(t, "ipvsadm.stock", line)
		for range 4 { // seconds pass between two calls, but not in each of a few
			if got == want {
				break
			}
			got, want = ipvsadm(t, "ipvsadm", line), ipvsadm(t, "ipvsadm.stock", line)
		}
		if got != want {
			t.Errorf("ipvsadm %s\n got %s\nwant %s", line, got, want)
		}
		if line == "-Lnc --persistent-conn" && !strings.Contains(want.out, "abc@def") {
			t.Errorf("no connection with data of an engine to compare:\n%s", want.out)
		}
	}
	ipvsadm(t, "ipvsadm.stock", "-C")
	// The engine's module cannot go before its last connection; idle time is free.
	time.Sleep(5 * time.Minute)
	if left := ipvsadm(t, "ipvsadm.stock", "-Lnc"); strings.Count(left.out, "\n") > 2 {
		t.Errorf("connections left:\n%s", left.out)
	}
	ipvsadm(t, "ipvsadm.stock", "--set 900 120 300")
}

// String shows an outcome on a few lines.
func (o outcome) String() string {
	return fmt.Sprintf("exit %d, stderr %q, stdout\n%s", o.code, o.stderr, o.out)
}
