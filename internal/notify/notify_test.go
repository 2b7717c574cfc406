// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// logbook collects a log.
type logbook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logbook) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// eventually waits until ok.
func eventually(t *testing.T, what func() string, ok func() bool) {
	t.Helper()
	for range 12_000 {
		if ok() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal(what())
}

func TestFIFO(t *testing.T) {
	var log logbook
	path := filepath.Join(t.TempDir(), "fifo")
	p, err := OpenFIFO(path, nil, log.logger())
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != os.ModeNamedPipe|0o600 {
		t.Errorf("made %v %v", info.Mode(), err)
	}
	want := "VS [10.0.0.1]:tcp:80 UP\n\x00"
	p.Write(want)
	r, err := os.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	if n, err := r.Read(buf); string(buf[:n]) != want || err != nil {
		t.Errorf("read %q %v", buf[:n], err)
	}
	r.Close()
	// With no reader left lines still go in, until the pipe is full; the writer
	// never waits, and says once that lines are lost.
	line := strings.Repeat("x", 4095) + "\n"
	for range 100 {
		p.Write(line)
	}
	if n := strings.Count(log.String(), "lines are lost"); n != 1 {
		t.Errorf("%d remarks:\n%s", n, log.String())
	}
	again, err := OpenFIFO(path, nil, log.logger())
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(true); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("who has not made it has removed it: %v", err)
	}
	if err := p.Close(true); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the fifo is left")
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFIFO(file, nil, log.logger()); err == nil || !strings.Contains(err.Error(), "is no fifo") {
		t.Errorf("a file: %v", err)
	}
}

// TestReader: the program gets the path, and is started again when it ends.
func TestReader(t *testing.T) {
	var log logbook
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	r := StartReader(Policy{User: "root"}, Command{Name: "reader", Args: []string{"/bin/sh", "-c", "echo $0 >>" + out}}, dir+"/fifo", log.logger())
	text := func() string { b, _ := os.ReadFile(out); return string(b) }
	eventually(t, text, func() bool { return strings.Count(text(), dir+"/fifo\n") >= 2 })
	r.Close()
	if !strings.Contains(log.String(), "notify fifo script reader terminated") {
		t.Errorf("log: %s", log.String())
	}
}

func TestScripts(t *testing.T) {
	var log logbook
	out := filepath.Join(t.TempDir(), "out")
	s := NewScripts(log.logger())
	s.SetPolicy(Policy{User: "root"})
	s.Start(Command{})
	s.Start(Command{Name: "good", Args: []string{"/bin/sh", "-c", "echo \"$@\" >" + out, "0", "a b", "c"}})
	s.Start(Command{Name: "bad", Args: []string{"/bin/sh", "-c", "exit 3"}})
	s.Start(Command{Name: "none", Args: []string{"/does/not/exist"}})
	s.Start(Command{Name: "who", Args: []string{"/bin/true"}, User: "nobody-of-this-name"})
	s.Close()
	if b, err := os.ReadFile(out); err != nil || string(b) != "a b c\n" {
		t.Errorf("wrote %q %v", b, err)
	}
	for _, want := range []string{"'bad' failed: exit status 3", "'none' failed", "'who' failed"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %q in\n%s", want, log.String())
		}
	}
}

// TestScriptUser: a command runs as the user and group that it names, else as those of the
// policy, and by its own without either.
func TestScriptUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can run a command as another user")
	}
	dir := t.TempDir()
	for at := dir; at != os.TempDir(); at = filepath.Dir(at) { // others have to get there
		if err := os.Chmod(at, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		p           Policy
		user, group string
		want        string
	}{
		"own":             {Policy{User: "root"}, "nobody", "", "65534 65534\n"},
		"own, with group": {Policy{User: "root"}, "nobody", "daemon", "65534 1\n"},
		"script_user":     {Policy{User: "daemon"}, "", "", "1 1\n"},
		"both of it":      {Policy{User: "daemon", Group: "bin"}, "", "", "1 2\n"},
		"root":            {Policy{User: "daemon"}, "root", "", "0 0\n"},
	} {
		out := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
		if err := os.WriteFile(out, nil, 0o666); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(out, 0o666); err != nil {
			t.Fatal(err)
		}
		s := NewScripts(slog.New(slog.DiscardHandler))
		s.SetPolicy(c.p)
		s.Start(Command{Name: name, Args: []string{"/bin/sh", "-c", "echo $(id -u) $(id -g) >" + out}, User: c.user, Group: c.group})
		s.Close()
		if b, err := os.ReadFile(out); err != nil || string(b) != c.want {
			t.Errorf("%s: ran as %q, want %q; %v", name, b, c.want, err)
		}
	}
}

func TestRunInTime(t *testing.T) {
	p := Policy{User: "root"}
	if err := p.Run(t.Context(), Command{Args: []string{"/bin/true"}}, time.Minute); err != nil {
		t.Error(err)
	}
	if err := p.Run(t.Context(), Command{Args: []string{"/bin/sh", "-c", "sleep 100; true"}}, 50*time.Millisecond); err == nil || !strings.Contains(err.Error(), "timed out") {
		t.Errorf("a command without end: %v", err)
	}
}

// TestSecurity: root does not run what others could have written.
func TestSecurity(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("who owns a file matters to root only")
	}
	dir, err := os.MkdirTemp("/root", "notify") // t.TempDir is below a folder of everybody
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "script")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	strict, root, other := Policy{Security: true}, &syscall.Credential{}, &syscall.Credential{Uid: 1}
	check := func(what, path string, cred *syscall.Credential, refused bool) {
		t.Helper()
		if err := strict.Check(path, cred); errors.Is(err, ErrInsecure) != refused {
			t.Errorf("%s: %v", what, err)
		}
	}
	check("root's own", file, root, false)
	check("through a link that leads to it", link, root, false)
	check("a program of the system", "/bin/true", nil, false)
	change := func(mode os.FileMode, path string, uid int) {
		t.Helper()
		if err := errors.Join(os.Chmod(path, mode), os.Chown(path, uid, 0)); err != nil {
			t.Fatal(err)
		}
	}
	change(0o702, file, 0)
	check("anybody can write", file, root, true)
	check("anybody can write, but it does not run as root", file, other, false)
	if err := (&Policy{}).Check(file, root); err != nil {
		t.Errorf("without security: %v", err)
	}
	change(0o700, file, 1)
	check("another's file", file, root, true)
	change(0o700, file, 0)
	change(0o777, dir, 0)
	check("a folder of everybody", file, root, true)
}

// mailServer answers as told and records what it hears.
func mailServer(t *testing.T, refuse int) (netip.AddrPort, func() string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	var mu sync.Mutex
	var heard strings.Builder
	go func() {
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if n < refuse {
				c.Close()
				continue
			}
			r := bufio.NewReader(c)
			fmt.Fprint(c, "220 here\r\n")
			data := false
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					break
				}
				mu.Lock()
				heard.WriteString(line)
				mu.Unlock()
				switch {
				case data && line == ".\r\n":
					data = false
					fmt.Fprint(c, "250 taken\r\n")
				case data:
				case strings.HasPrefix(line, "EHLO"):
					fmt.Fprint(c, "500 what\r\n") // then HELO
				case line == "DATA\r\n":
					data = true
					fmt.Fprint(c, "354 go on\r\n")
				case line == "QUIT\r\n":
					fmt.Fprint(c, "221 bye\r\n")
				default:
					fmt.Fprint(c, "250 ok\r\n")
				}
			}
			c.Close()
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String()), func() string {
		mu.Lock()
		defer mu.Unlock()
		return heard.String()
	}
}

func TestMail(t *testing.T) {
	var log logbook
	at, heard := mailServer(t, 1) // the first try fails
	m := NewMailer(log.logger())
	m.pause = time.Millisecond
	m.now = func() time.Time { return time.Date(2026, 11, 26, 9, 8, 7, 0, time.FixedZone("", 3600)) }
	to := Mail{Server: at.Addr().String(), Port: at.Port(), From: "Lvs <lvs@example.org>", To: []string{"a@example.org", "b@example.org"},
		Helo: "director", Timeout: 10 * time.Second}
	m.Send(Mail{}, Alert{Subject: "to nobody"})
	m.Send(to, Alert{"[r1] Realserver [10.0.0.1]:tcp:80 - DOWN\r\nEvil: x", "=> TCP CHECK failed on service <="})
	m.Close()
	want := `EHLO director
HELO director
MAIL FROM:<lvs@example.org>
RCPT TO:<a@example.org>
RCPT TO:<b@example.org>
DATA
Date: Thu, 26 Nov 2026 09:08:07 +0100
From: Lvs <lvs@example.org>
Subject: [r1] Realserver [10.0.0.1]:tcp:80 - DOWN  Evil: x
X-Mailer: Keepalived
To: a@example.org, b@example.org

=> TCP CHECK failed on service <=
.
QUIT
`
	if got := strings.ReplaceAll(heard(), "\r\n", "\n"); got != want {
		t.Errorf("the server heard\n%s\nwant\n%s", got, want)
	}
	if log.String() != "" {
		t.Errorf("log: %s", log.String())
	}
}

// TestMailIsLost: after some tries the log says so.
func TestMailIsLost(t *testing.T) {
	var log logbook
	at, _ := mailServer(t, 100)
	m := NewMailer(log.logger())
	m.pause = time.Millisecond
	m.Send(Mail{Server: at.Addr().String(), Port: at.Port(), To: []string{"a@example.org"}, Timeout: 10 * time.Second}, Alert{Subject: "s"})
	m.Close()
	if !strings.Contains(log.String(), "SMTP alert 's' is lost") {
		t.Errorf("log: %s", log.String())
	}
}
