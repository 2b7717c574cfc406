// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/ipvs/ipvstest"
	"golang.org/x/term"
)

// busy is a table with n services of two servers each; the first has the least
// connections per second, the most bytes and the most connections.
func busy(t *testing.T, n int) *ipvstest.Table {
	t.Helper()
	k := ipvstest.New()
	for i := range n {
		key := ipvs.ServiceKey{Family: ipvs.IPv4, Protocol: ipvs.TCP, Addr: netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), Port: 80}
		ops := []ipvs.Op{{Kind: ipvs.AddService, Service: ipvs.Service{ServiceKey: key, Scheduler: "rr"}}}
		for j := range 2 {
			d := ipvs.Dest{DestKey: ipvs.DestKey{Family: ipvs.IPv4, Addr: netip.AddrFrom4([4]byte{10, 1, byte(i), byte(j + 1)}), Port: 8080}, Weight: 1}
			ops = append(ops, ipvs.Op{Kind: ipvs.AddDest, Service: ipvs.Service{ServiceKey: key}, Dest: d})
		}
		errs := []error{k.Apply(t.Context(), ops...), k.SetStats(key, nil, ipvs.Stats{CPS: uint64(10 * i), InPPS: 7, OutPPS: 5, InBPS: 1000, OutBPS: uint64(1_000_000 * (n - i))})}
		for j := range 2 {
			d := ops[j+1].Dest.DestKey
			errs = append(errs, k.SetStats(key, &d, ipvs.Stats{CPS: uint64(i * (j + 1))}), k.SetDestConns(key, d, uint32(n-i), uint32(j)))
		}
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	return k
}

func TestTopText(t *testing.T) {
	k := busy(t, 3)
	run := func(args ...string) string {
		t.Helper()
		code, out, stderr := runOn(k, t.TempDir(), "", append([]string{"--top", "-n"}, args...)...)
		if code != 0 || stderr != "" {
			t.Fatalf("--top %q: %d, %s", args, code, stderr)
		}
		return out
	}
	want := `03:04:05  3 services, by cps: 30 cps, 36 pps, 6.00MB/s
SERVICE                                 CPS      PPS  BYTES/S   ACTIVE    INACT
TCP  192.0.2.3:80                        20       12    1.00M        2        1
  -> 10.1.2.2:8080                        4        0        0        1        1
  -> 10.1.2.1:8080                        2        0        0        1        0
TCP  192.0.2.2:80                        10       12    2.00M        4        1
  -> 10.1.1.2:8080                        2        0        0        2        1
  -> 10.1.1.1:8080                        1        0        0        2        0
TCP  192.0.2.1:80                         0       12    3.00M        6        1
  -> 10.1.0.1:8080                        0        0        0        3        0
  -> 10.1.0.2:8080                        0        0        0        3        1
`
	if got := run(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	order := func(text string) (vips []string) {
		for _, m := range regexp.MustCompile(`(?m)^TCP  192.0.2.(\d)`).FindAllStringSubmatch(text, -1) {
			vips = append(vips, m[1])
		}
		return vips
	}
	for by, want := range map[string]string{"cps": "321", "bps": "123", "conns": "123", "pps": "123"} {
		if got := strings.Join(order(run("--by", by)), ""); got != want {
			t.Errorf("by %s: services %s, want %s", by, got, want)
		}
	}
	if got := run("-t", "192.0.2.2:80"); !slices.Equal(order(got), []string{"2"}) || !strings.Contains(got, " 1 service,") {
		t.Errorf("of one service:\n%s", got)
	}
	if got := order(run("--count", "2", "--interval", "1")); len(got) != 6 {
		t.Errorf("two tables have services %q", got)
	}
	for _, tc := range []struct {
		line, says string
		code       int
	}{
		{"--top --by weight", "illegal key `weight': use cps, pps, bps or conns\n", 2},
		{"--top --interval 0", "illegal interval specified: `0' (1 to 3600)\n", 2},
		{"--top --count x", "illegal count specified: `x' (1 to 2147483647)\n", 2},
		{"--top -t 192.0.2.9:80", "No such service\n", 1},
	} {
		code, _, stderr := runOn(k, t.TempDir(), "", strings.Fields(tc.line)...)
		if code != tc.code || stderr != tc.says {
			t.Errorf("%s: %d, %q", tc.line, code, stderr)
		}
	}
}

func TestShortNumber(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0", 99_999: "99999", 100_000: "100K", 999_499: "999K", 999_500: "1.00M", 1_234_567: "1.23M", 9_994_999: "9.99M", 9_995_000: "10.0M",
		99_950_000: "100M", 123_456_789_012: "123G", 1 << 63: "9.22E",
	} {
		if got := shortNumber(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

// watcher keeps what a program draws on a terminal.
type watcher struct {
	t     *testing.T
	ptmx  *os.File
	drawn chan []byte
	all   bytes.Buffer
}

// screens returns the screens drawn so far, as lines without control sequences.
func (w *watcher) screens() (screens [][]string) {
	frames := strings.Split(w.all.String(), cursorHome)[1:]
	for _, f := range frames {
		if !strings.Contains(f, clearBelow) {
			break // not whole yet
		}
		f, _, _ = strings.Cut(f, clearBelow)
		screens = append(screens, strings.Split(regexp.MustCompile("\x1b\\[[?0-9;]*[a-zA-Z]").ReplaceAllString(f, ""), "\r\n"))
	}
	return screens
}

// until waits for a screen drawn from now on that fits.
func (w *watcher) until(what string, fits func(lines []string) bool) []string {
	w.t.Helper()
	seen := len(w.screens())
	limit := time.After(time.Minute)
	for {
		if s := w.screens(); len(s) > seen {
			if last := s[len(s)-1]; fits(last) {
				return last
			}
			seen = len(s)
		}
		select {
		case b, ok := <-w.drawn:
			if !ok {
				w.t.Fatalf("%s: the program has ended; it drew\n%q", what, w.all.String())
			}
			w.all.Write(b)
		case <-limit:
			w.t.Fatalf("%s: not drawn:\n%q", what, w.all.String())
		}
	}
}

func (w *watcher) press(keys string) {
	w.t.Helper()
	if _, err := io.WriteString(w.ptmx, keys); err != nil {
		w.t.Fatal(err)
	}
}

// TestTopOnATerminal uses a pseudo terminal of 80 columns as a person would.
func TestTopOnATerminal(t *testing.T) {
	ptmx, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer ptmx.Close()
	defer tty.Close()
	if err := pty.Setsize(ptmx, &pty.Winsize{Rows: 24, Cols: 80}); err != nil {
		t.Fatal(err)
	}
	before, err := term.GetState(int(tty.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	k := busy(t, 30)
	a := testApp(k, t.TempDir(), strings.NewReader(""), io.Discard, io.Discard)
	a.now = time.Now
	a.openTTY = func() terminal {
		s, err := openScreen(tty.Name())
		if err != nil {
			t.Error(err)
			return nil
		}
		return s
	}
	w := &watcher{t: t, ptmx: ptmx, drawn: make(chan []byte)}
	done := make(chan int)
	go func() { done <- a.run(context.Background(), []string{"ipvsadm", "--top", "-n", "--interval", "3600"}) }()
	go func() {
		defer close(w.drawn)
		for {
			b := make([]byte, 4096)
			n, err := ptmx.Read(b)
			if n > 0 {
				w.drawn <- b[:n]
			}
			if err != nil {
				return
			}
		}
	}()
	first := func(vip string) func([]string) bool {
		return func(lines []string) bool { return len(lines) > 3 && strings.HasPrefix(lines[3], "TCP  "+vip+" ") }
	}
	check := func(lines []string) {
		t.Helper()
		if len(lines) > 24 {
			t.Errorf("%d lines", len(lines))
		}
		for _, l := range lines {
			if len(l) > 79 {
				t.Errorf("%d columns: %s", len(l), l)
			}
		}
	}
	lines := w.until("the first screen", first("192.0.2.30:80"))
	check(lines)
	if len(lines) != 24 || !strings.HasPrefix(lines[4], "  -> 10.1.29.2:8080 ") {
		t.Errorf("got\n%s", strings.Join(lines, "\n"))
	}
	w.press("b")
	check(w.until("sorted by bytes", first("192.0.2.1:80")))
	w.press("v")
	lines = w.until("without servers", func(l []string) bool { return strings.HasPrefix(l[4], "TCP  192.0.2.2:80 ") })
	check(lines)
	w.press("j")
	w.until("scrolled", first("192.0.2.2:80"))
	w.press("\x1b[6~")
	w.until("a page further", first("192.0.2.23:80"))
	w.press("\x1b[6~")
	w.until("the end", first("192.0.2.30:80"))
	w.press("g")
	w.until("the beginning", first("192.0.2.1:80"))
	w.press(" ")
	w.until("paused", func(l []string) bool { return strings.HasPrefix(l[1], "paused") })
	w.press("v")
	lines = w.until("paused, with servers", func(l []string) bool { return strings.HasPrefix(l[4], "  -> 10.1.0.1:8080 ") })
	first1 := ipvs.ServiceKey{Family: ipvs.IPv4, Protocol: ipvs.TCP, Addr: netip.MustParseAddr("192.0.2.1"), Port: 80}
	if err := k.SetStats(first1, &ipvs.DestKey{Family: ipvs.IPv4, Addr: netip.MustParseAddr("10.1.0.1"), Port: 8080}, ipvs.Stats{CPS: 77}); err != nil {
		t.Fatal(err)
	}
	w.press("j")
	if again := w.until("scrolled in a pause", func(l []string) bool { return strings.HasPrefix(l[3], "  -> 10.1.0.1:8080 ") }); again[3] != lines[4] {
		t.Errorf("a pause shows\n%s\nthen\n%s", lines[4], again[3])
	}
	w.press("v")
	w.until("without servers", func(l []string) bool { return strings.HasPrefix(l[4], "TCP  192.0.2.2:80 ") })
	w.press("c")
	w.until("paused, and sorted anew", func(l []string) bool {
		return strings.HasPrefix(l[1], "paused") && strings.HasPrefix(l[3], "TCP  192.0.2.30:80 ")
	})
	w.press(" n\x1b[B")
	w.until("by connections, and scrolled", first("192.0.2.2:80"))
	if err := pty.Setsize(ptmx, &pty.Winsize{Rows: 6, Cols: 60}); err != nil {
		t.Fatal(err)
	}
	// The kernel tells whoever the terminal belongs to: no key, and an hour to the next table.
	if err := syscall.Kill(os.Getpid(), syscall.SIGWINCH); err != nil {
		t.Fatal(err)
	}
	lines = w.until("small", func(l []string) bool { return len(l) == 6 })
	for _, l := range lines {
		if len(l) > 59 {
			t.Errorf("%d columns of 60: %s", len(l), l)
		}
	}
	w.press("q")
	for code := -1; code < 0; {
		select {
		case code = <-done:
			if code != 0 {
				t.Errorf("exit code %d", code)
			}
		case b := <-w.drawn:
			w.all.Write(b)
		case <-time.After(time.Minute):
			t.Fatal("q does not end it")
		}
	}
	after, err := term.GetState(int(tty.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(*before) != fmt.Sprint(*after) {
		t.Errorf("the terminal was %v, is %v", *before, *after)
	}
	tty.Close()
	for b := range w.drawn {
		w.all.Write(b)
	}
	if got := w.all.String(); !strings.HasPrefix(got, otherScreen) || !strings.HasSuffix(got, firstScreen) {
		t.Errorf("begins %q, ends %q", got[:20], got[len(got)-20:])
	}
}
