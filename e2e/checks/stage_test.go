// SPDX-License-Identifier: Apache-2.0

package checks

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/ipvs"
)

// play is a virtual server whose real server turns good and bad by a script.
type play struct {
	name string
	// vs and rs are further lines of the virtual server and of the real server that
	// the script is for; check is its check. PORT stands for its port, DIR for a
	// folder, NAME for the play's name.
	vs, rs, check string
	// more are further real servers.
	more string
	// tells has commands and mails besides the pipe.
	tells bool
	kind  kind
	// script has a letter for each time the server is asked; the last goes on.
	//
	//	k good   x wrong   m mute   e closed without an answer   r reset
	//	c refused   d what comes is dropped   digits: exit status of a command
	script string
	// says is what the server says instead of the usual, by letter.
	says map[byte]string
	// steps are for a play by the clock: one every stepTime, with its letter.
	step func(s *stage, p *playing, letter byte) error
	// not are lines that the original has and ours is not to have, by a part of each.
	not []string
	// goes has a reload take the virtual server away.
	goes bool
	// silence is how long the check waits for an answer, 1 s if 0.
	silence time.Duration
}

type kind int

const (
	tcpPlay kind = iota // accepts, and closes
	httpPlay
	sslPlay
	smtpPlay
	dnsPlay
	udpPlay
	miscPlay
	pingPlay
	clockPlay
)

// stepTime is longer than what a check of these takes to decide.
const stepTime = 3 * time.Second

// playing is a play of one program.
type playing struct {
	*play
	number  int
	port    uint16
	silence time.Duration

	mu      sync.Mutex // guards the rest
	changed *sync.Cond
	letters map[uint16]byte // of a connection, by its source port
	moments []time.Time     // when the server was asked, or a step began
	tables  []string        // real servers of the kernel then
	told    []note
	closed  func() // the server is not there now; nil: it is
}

// note is something that was told.
type note struct {
	at   time.Time
	what string
}

// count is how often the server has been asked.
func (p *playing) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.moments)
}

func (p *playing) tell(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.told = append(p.told, note{time.Now(), fmt.Sprintf(format, args...)})
}

func (p *playing) vip() string { return fmt.Sprintf("10.250.0.%d", p.number) }

// letter is that of the n-th time, from 0.
func (p *playing) letter(n int) byte { return p.script[min(n, len(p.script)-1)] }

// over tells whether enough has been seen.
func (p *playing) over() bool { return p.count() >= len(p.script)+2 }

// stage is a namespace with a keepalived, the servers it asks, and those it tells.
type stage struct {
	t        *testing.T
	ns       *testnet.NS
	dir      string
	kernel   *ipvs.Client
	kernelMu sync.Mutex // guards kernel
	tls      *tls.Config
	all      []*playing
	ended    chan struct{}
	works    sync.WaitGroup
	prog     *program
	end      time.Time // of the plays
}

// muteSet is where nft drops what comes to a port.
const muteRules = "add table ip mute\nadd set ip mute ports { type inet_service; }\n" +
	"add chain ip mute in { type filter hook input priority 0; }\n" +
	"add rule ip mute in tcp dport @ports tcp flags & (syn | ack) == syn drop\nadd rule ip mute in udp dport @ports drop\n" +
	"add rule ip mute in ip daddr 127.0.0.9 icmp type echo-request meta mark set 0 counter\n"

func newStage(t *testing.T, name string, plays []*play, conf *tls.Config) *stage {
	t.Helper()
	s := &stage{t: t, ns: testnet.New(t, name), dir: t.TempDir(), tls: conf, ended: make(chan struct{})}
	var err error
	s.kernel, err = ipvs.Config{NetNS: s.ns.FD()}.Dial(t.Context())
	testnet.Must(t, err)
	t.Cleanup(func() { s.kernel.Close() })
	s.nft(muteRules)
	testnet.Must(t, os.WriteFile(s.dir+"/tell", []byte("#!/bin/sh\necho \"$@\" >"+s.dir+"/scripts\n"), 0o700))
	testnet.Must(t, os.WriteFile(s.dir+"/yes", []byte("#!/bin/sh\n"), 0o700))
	testnet.Must(t, os.WriteFile(s.dir+"/bare", []byte("exit 1\n"), 0o700))
	testnet.Must(t, os.WriteFile(s.dir+"/misc", []byte("#!/bin/sh\ncode=$(cat "+s.dir+"/code.$1)\necho $1 asked >"+s.dir+"/scripts\nsleep 0.1\n[ $code = m ] && exec sleep 100\nexit $code\n"), 0o700))
	for i, p := range plays {
		q := &playing{play: p, number: i + 1, port: uint16(8001 + i), letters: map[uint16]byte{}}
		if q.silence = p.silence; q.silence == 0 {
			q.silence = time.Second
		}
		q.changed = sync.NewCond(&q.mu)
		s.all = append(s.all, q)
	}
	t.Cleanup(func() {
		close(s.ended)
		for _, p := range s.all {
			p.mu.Lock()
			p.changed.Broadcast()
			p.mu.Unlock()
		}
		s.works.Wait()
	})
	s.pipe("scripts", s.scripted)
	s.pipe("fifo", s.piped)
	s.sniff()
	s.takeMail()
	for _, p := range s.all {
		s.prepare(p, 0)
	}
	return s
}

func (s *stage) nft(rules string) {
	s.t.Helper()
	cmd := exec.Command("/usr/sbin/nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	err := s.ns.Start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		s.t.Errorf("nft: %v: %s", err, &out)
	}
}

// pipe makes one and reads it by lines.
func (s *stage) pipe(name string, line func(string)) {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	testnet.Must(s.t, unix.Mkfifo(path, 0o600))
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	testnet.Must(s.t, err)
	s.works.Go(func() {
		for r := bufio.NewReader(f); ; {
			text, err := r.ReadString('\n')
			if err != nil {
				return
			}
			line(strings.Trim(text, "\x00\n"))
		}
	})
	s.t.Cleanup(func() { f.Close() })
}

// piped takes a line of keepalived's own pipe.
func (s *stage) piped(line string) {
	for _, p := range s.all {
		if strings.Contains(line, "["+p.vip()+"]") {
			p.tell("pipe: %s", line)
		}
	}
}

// scripted takes what a command says: the name of its play, and the rest.
func (s *stage) scripted(line string) {
	name, text, _ := strings.Cut(line, " ")
	for _, p := range s.all {
		switch {
		case fmt.Sprint(p.number) != name:
		case text == "asked":
			s.asked(p, 0, time.Now())
			s.prepare(p, p.count())
		default:
			p.tell("script: %s", text)
		}
	}
}

// asked notes that the server of a play is asked at a moment, by a connection from a
// port, and how the kernel's table is once that has been judged.
func (s *stage) asked(p *playing, from uint16, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, again := p.letters[from]; again && from != 0 {
		return // the same connection once more
	}
	n := len(p.moments)
	p.letters[from] = p.letter(n)
	p.moments = append(p.moments, at)
	p.tables = append(p.tables, "")
	p.changed.Broadcast()
	// Silence is judged after a second, and the next time is one after that.
	wait := 700 * time.Millisecond
	switch {
	case p.kind == clockPlay:
		wait = stepTime - time.Second
	case p.letter(n) == 'm', p.letter(n) == 'd':
		wait = p.silence + 500*time.Millisecond
	}
	s.works.Go(func() {
		select {
		case <-time.After(wait):
		case <-s.ended:
			return
		}
		table := s.table(p)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.tables[n] = table
	})
}

// table is what the kernel has of a play's virtual server.
func (s *stage) table(p *playing) string {
	key := ipvs.ServiceKey{Family: ipvs.IPv4, Protocol: ipvs.TCP, Addr: netip.MustParseAddr(p.vip()), Port: 80}
	s.kernelMu.Lock()
	defer s.kernelMu.Unlock()
	dests, err := s.kernel.Dests(context.Background(), key)
	if p.goes && errors.Is(err, os.ErrNotExist) {
		return "no service"
	}
	if err != nil && !p.over() {
		s.t.Errorf("%s: %v", p.name, err)
	}
	lines := make([]string, len(dests))
	for i, d := range dests {
		lines[i] = fmt.Sprintf("%v:%d %d", d.Addr, d.Port, d.Weight)
	}
	slices.Sort(lines)
	return strings.Join(lines, ", ")
}

// sniff watches what comes in, also to ports that nobody listens on.
func (s *stage) sniff() {
	s.t.Helper()
	fd := -1
	testnet.Must(s.t, s.ns.Do(func() (err error) {
		const ip = unix.ETH_P_IP<<8&0xff00 | unix.ETH_P_IP>>8
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, ip)
		return err
	}))
	testnet.Must(s.t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1))
	testnet.Must(s.t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 200_000}))
	s.works.Go(func() {
		defer unix.Close(fd)
		buf, control := make([]byte, 2048), make([]byte, 256)
		for {
			n, k, _, _, err := unix.Recvmsg(fd, buf, control, 0)
			select {
			case <-s.ended:
				return
			default:
			}
			if err == nil && n >= 28 {
				s.packet(buf[:n], stamp(control[:k]))
			}
		}
	})
}

// stamp is when the kernel had a packet.
func stamp(control []byte) time.Time {
	list, err := unix.ParseSocketControlMessage(control)
	if err != nil || len(list) == 0 || len(list[0].Data) < 16 {
		return time.Now()
	}
	d := list[0].Data
	return time.Unix(int64(binary.NativeEndian.Uint64(d)), int64(binary.NativeEndian.Uint64(d[8:])))
}

func (s *stage) packet(b []byte, when time.Time) {
	at := int(b[0]&15) * 4
	if len(b) < at+8 {
		return
	}
	l4 := b[at:]
	from, to := binary.BigEndian.Uint16(l4), binary.BigEndian.Uint16(l4[2:])
	for _, p := range s.all {
		switch {
		case p.kind == pingPlay && b[9] == unix.IPPROTO_ICMP && l4[0] == 8,
			(p.kind == udpPlay || p.kind == dnsPlay) && b[9] == unix.IPPROTO_UDP && to == p.port:
			from = uint16(p.count() + 1) // a socket may send twice
		case p.kind < dnsPlay && b[9] == unix.IPPROTO_TCP && to == p.port && len(l4) >= 14 && l4[13]&0x12 == 2:
		default:
			continue
		}
		n := p.count()
		s.asked(p, from, when)
		if p.count() == n {
			return
		}
		switch p.letter(n) {
		case 'c':
			s.prepare(p, n+1)
		case 'd': // not before the check has given up
			s.works.Go(func() {
				select {
				case <-time.After(p.silence + 400*time.Millisecond):
					s.prepare(p, n+1)
				case <-s.ended:
				}
			})
		default:
			if p.kind == pingPlay {
				s.prepare(p, n+1)
			}
		}
	}
}

// prepare has the server of a play ready for the n-th time that it is asked.
func (s *stage) prepare(p *playing, n int) {
	select {
	case <-s.ended:
		return
	default:
	}
	letter := p.letter(n)
	last := byte('c')
	if n > 0 {
		last = p.letter(n - 1)
	}
	switch p.kind {
	case clockPlay:
		return
	case miscPlay:
		code := map[byte]string{'k': "0", 'x': "1"}[letter]
		if code == "" {
			code = string(letter)
		}
		if err := os.WriteFile(fmt.Sprintf("%s/code.%d", s.dir, p.number), []byte(code), 0o600); err != nil {
			s.t.Error(err)
		}
		return
	case pingPlay:
		value := "0"
		if letter == 'd' {
			value = "1"
		}
		if err := s.ns.Sysctl("net.ipv4.icmp_echo_ignore_all", value); err != nil {
			s.t.Error(err)
		}
		return
	}
	switch {
	case letter == 'd' && last != 'd':
		s.nft(fmt.Sprintf("add element ip mute ports { %d }\n", p.port))
	case letter != 'd' && last == 'd':
		s.nft(fmt.Sprintf("delete element ip mute ports { %d }\n", p.port))
	}
	here := letter != 'c'
	switch {
	case here && p.closed == nil && (p.kind == udpPlay || p.kind == dnsPlay):
		s.datagrams(p)
	case here && p.closed == nil:
		s.listen(p)
	case !here && p.closed != nil:
		p.closed()
		p.closed = nil
	}
}

// attend does work until the socket of p, which it uses, is closed: by the play, or at
// the end.
func (s *stage) attend(p *playing, socket io.Closer, work func()) {
	done := make(chan struct{})
	p.closed = func() { socket.Close(); <-done }
	s.works.Go(func() {
		<-s.ended
		socket.Close()
	})
	s.works.Go(func() {
		defer close(done)
		work()
	})
}

// listen serves connections.
func (s *stage) listen(p *playing) {
	l, err := s.ns.Listen(context.Background(), "tcp", fmt.Sprintf("127.0.0.1:%d", p.port))
	if err != nil {
		s.t.Errorf("%s: %v", p.name, err)
		return
	}
	s.attend(p, l, func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.works.Go(func() { s.serve(p, c) })
		}
	})
}

// serve gives a connection what its letter says.
func (s *stage) serve(p *playing, c net.Conn) {
	defer c.Close()
	from := uint16(c.RemoteAddr().(*net.TCPAddr).Port)
	p.mu.Lock()
	for p.letters[from] == 0 { // until it has been seen
		select {
		case <-s.ended:
			p.mu.Unlock()
			return
		default:
		}
		p.changed.Wait()
	}
	letter, n := p.letters[from], len(p.moments)
	p.mu.Unlock()
	defer s.prepare(p, n)
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	name := ""
	if p.kind == sslPlay && letter != 'e' && letter != 'r' && letter != 'm' {
		conf := s.tls.Clone()
		conf.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) { name = h.ServerName; return nil, nil }
		c = tls.Server(c, conf)
	}
	switch {
	case letter == 'm':
		_, _ = io.Copy(io.Discard, c)
	case letter == 'e':
	case letter == 'r':
		if p.kind != smtpPlay && p.kind != tcpPlay {
			_, _ = c.Read(make([]byte, 1))
		}
		reset(c)
	case p.kind == httpPlay, p.kind == sslPlay:
		var request strings.Builder
		r := bufio.NewReader(c)
		for line := "-"; strings.TrimSpace(line) != ""; {
			var err error
			if line, err = r.ReadString('\n'); err != nil {
				break
			}
			request.WriteString(strings.ReplaceAll(line, "\r\n", "|"))
		}
		p.tell("asked: %s%s", name, request.String())
		text := p.says[letter]
		if text == "" {
			text = map[byte]string{'k': "HTTP/1.0 200 OK\r\n\r\nhello world\n", 'x': "HTTP/1.0 500 No\r\n\r\nno\n"}[letter]
		}
		_, _ = io.WriteString(c, text)
		if t, ok := c.(*tls.Conn); ok {
			_ = t.CloseWrite()
		}
	case p.kind == smtpPlay:
		r := bufio.NewReader(c)
		answers := []string{"220 one\r\n", "250 two\r\n", "221 three\r\n"}
		if letter == 'x' {
			answers[1] = "550 no\r\n"
		}
		var said []string
		for _, a := range answers {
			_, _ = io.WriteString(c, a)
			line, _ := r.ReadString('\n')
			said = append(said, strings.TrimSpace(line))
		}
		p.tell("asked: %q", said)
	}
}

// datagrams serves them.
func (s *stage) datagrams(p *playing) {
	c, err := s.ns.ListenPacket(context.Background(), "udp", fmt.Sprintf("127.0.0.1:%d", p.port))
	if err != nil {
		s.t.Errorf("%s: %v", p.name, err)
		return
	}
	already := p.count()
	s.attend(p, c, func() {
		buf := make([]byte, 600)
		for n := already; ; {
			k, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			p.mu.Lock()
			for len(p.letters) <= n { // until it has been seen
				select {
				case <-s.ended:
					p.mu.Unlock()
					return
				default:
				}
				p.changed.Wait()
			}
			n = len(p.letters)
			letter := p.letter(n - 1)
			p.mu.Unlock()
			out := slices.Clone(buf[:k])
			if p.kind == dnsPlay {
				p.tell("asked: %q", out[2:])
				out[2] |= 0x80 // a response
				if letter == 'x' {
					out[3] |= 2 // SERVFAIL
				}
			} else {
				p.tell("asked: %q", out)
				out = []byte(p.says[letter])
			}
			if letter != 'm' {
				_, _ = c.WriteTo(out, from)
			}
			if p.letter(n) == 'c' { // from another goroutine: it waits for this one
				s.works.Go(func() { s.prepare(p, n) })
			}
		}
	})
}

// takeMail is a mail server.
func (s *stage) takeMail() {
	l, err := s.ns.Listen(context.Background(), "tcp", ":2500")
	testnet.Must(s.t, err)
	s.t.Cleanup(func() { l.Close() })
	s.works.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.works.Go(func() { s.mail(c) })
		}
	})
}

func (s *stage) mail(c net.Conn) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	var text []string
	_, _ = io.WriteString(c, "220 hello\r\n")
	data := false
	for r := bufio.NewReader(c); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		switch {
		case data && line == ".":
			data = false
			_, _ = io.WriteString(c, "250 taken\r\n")
			mail := strings.Join(text, "\n")
			for _, p := range s.all {
				if strings.Contains(mail, p.vip()+"]") {
					p.tell("mail: %s", mail)
				}
			}
		case data:
			if !strings.HasPrefix(line, "Date:") {
				text = append(text, line)
			}
		case line == "DATA":
			data = true
			_, _ = io.WriteString(c, "354 go on\r\n")
		case line == "QUIT":
			_, _ = io.WriteString(c, "221 bye\r\n")
			return
		default: // the original says HELO at once
			text = append(text, strings.Replace(line, "EHLO", "HELO", 1))
			_, _ = io.WriteString(c, "250 ok\r\n")
		}
	}
}

// config is what the program gets.
func (s *stage) config() string {
	var b strings.Builder
	b.WriteString(s.head())
	for _, p := range s.all {
		b.WriteString(s.server(p, p.play))
	}
	return b.String()
}

// head is what stands before the virtual servers.
func (s *stage) head() string {
	var b strings.Builder
	fmt.Fprintf(&b, "global_defs {\nrouter_id test\nscript_user root\nlvs_notify_fifo %s/fifo\nsmtp_server 127.0.0.1 2500\nsmtp_helo_name test.example\n"+
		"notification_email {\nadmin@example.com\n}\nnotification_email_from lvs@example.com\n}\n", s.dir)
	fmt.Fprintf(&b, "vrrp_track_file number {\nfile %s/number\nweight 0\n}\n", s.dir)
	return b.String()
}

// server is the virtual server of p as play has it.
func (s *stage) server(p *playing, play *play) string {
	tell := func(word, text string) string {
		return fmt.Sprintf("%s \"%s/tell %d %s\"\n", word, s.dir, p.number, text)
	}
	if !play.tells {
		tell = func(string, string) string { return "" }
	}
	vs := "delay_loop 1\nlb_algo rr\nlb_kind NAT\nprotocol TCP\nconnect_timeout 1\nretry 1\ndelay_before_retry 1\nwarmup 0\n" + play.vs + "\n" +
		tell("quorum_up", "quorum up") + tell("quorum_down", "quorum down")
	rs := fmt.Sprintf("weight 1\nsmtp_alert %t\n", play.tells) + play.rs + "\n" + tell("notify_up", "server up") + tell("notify_down", "server down") + play.check + "\n"
	text := fmt.Sprintf("virtual_server %s 80 {\n%sreal_server 127.0.0.1 %d {\n%s}\n%s\n}\n", p.vip(), vs, p.port, rs, play.more)
	return strings.NewReplacer("PORT", fmt.Sprint(p.port), "DIR", s.dir, "NUMBER", fmt.Sprint(p.number)).Replace(text)
}

// start runs the program, and the plays that go by the clock.
func (s *stage) start(path string) {
	s.t.Helper()
	testnet.Must(s.t, os.WriteFile(s.dir+"/number", []byte("0\n"), 0o600))
	testnet.Must(s.t, s.ns.Do(func() error { s.prog = startProgram(s.t, path, s.config()); return nil }))
	s.t.Cleanup(func() {
		if s.t.Failed() {
			s.t.Logf("log of %s:\n%s", path, s.prog.text())
		}
	})
	s.prog.wait("Startup complete")
	for _, p := range s.all {
		if p.kind != clockPlay {
			continue
		}
		s.works.Go(func() {
			for !p.over() {
				s.asked(p, 0, time.Now())
				if err := p.step(s, p, p.letter(p.count()-1)); err != nil {
					s.t.Errorf("%s: %v", p.name, err)
				}
				select {
				case <-time.After(stepTime):
				case <-s.ended:
					return
				}
			}
		})
	}
}

func (p *program) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// finish waits until all plays are over, and ends the program.
func (s *stage) finish() {
	s.t.Helper()
	testnet.Eventually(s.t, 10*time.Minute, func() error {
		for _, p := range s.all {
			if !p.over() {
				return fmt.Errorf("%s: asked %d times, want %d", p.name, p.count(), len(p.script)+2)
			}
		}
		return nil
	})
	s.end = time.Now()
	testnet.Must(s.t, s.prog.cmd.Process.Signal(syscall.SIGTERM))
	if err := s.prog.cmd.Wait(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Errorf("%v", err)
	}
	time.Sleep(2 * time.Second) // of the guest: for what was sent last
}

// story is what happened in a play, as far as it does not depend on chance: the
// tables, and what was told, after the server had been asked how often; the mails; the
// log.
type story struct{ tables, told, mails, log []string }

// mailsDiffer are words of the original's mails that ours has in another way.
var mailsDiffer = []struct{ theirs, ours string }{
	// It names the trouble, and ours the kind of check; the log names the trouble.
	{"MISC CHECK timed out", "MISC CHECK failed"},
	{`CHECK failed on service : .* server \[.*\]:\d+ <=`, "CHECK failed on service : SMTP request failed <="},
	// Its sum is not the one it has compared.
	{`quorum( down)? (\d+)\+(\d+)=(\d+) <= 0 <=`, "quorum$1 $2-$3=$4 > 0 <="},
}

// likeOurs puts ours for what differs. That a command has found a server well which
// was taken for that, the original mails, too, and ours does not.
func likeOurs(mails []string) []string {
	downs, ups := 0, 0
	for i, m := range mails {
		for _, d := range mailsDiffer {
			mails[i] = regexp.MustCompile(d.theirs).ReplaceAllString(mails[i], d.ours)
		}
		if strings.Contains(m, "MISC CHECK succeeded") {
			ups++
		} else if strings.Contains(m, "MISC CHECK failed") || strings.Contains(m, "MISC CHECK timed out") {
			downs++
		}
	}
	first := true
	return slices.DeleteFunc(mails, func(m string) bool {
		drop := first && ups > downs && strings.Contains(m, "MISC CHECK succeeded")
		first = first && !drop
		return drop
	})
}

// story is what has happened, and the moments of it.
func (s *stage) story(p *playing) (out story, moments []time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.script) + 1
	for i, text := range p.tables[:n] {
		out.tables = append(out.tables, fmt.Sprintf("%d table: %s", i+1, text))
	}
	for _, x := range p.told {
		after := 0
		for _, m := range p.moments {
			if !m.After(x.at) {
				after++
			}
		}
		if p.kind == clockPlay { // whose first step comes some time after the start
			after = max(after, 1)
		}
		text := strings.ReplaceAll(x.what, s.dir, "DIR")
		switch {
		case strings.HasPrefix(text, "mail: "):
			switch text = strings.TrimSpace(text); {
			case x.at.After(s.end):
				out.mails = append(out.mails, "at the end "+text)
			case after <= n:
				out.mails = append(out.mails, text)
			}
		case x.at.After(s.end) && strings.HasPrefix(text, "asked"), p.kind == clockPlay && slices.Contains(out.told, fmt.Sprintf("%d %s", after, text)):
		case x.at.After(s.end):
			out.told = append(out.told, "at the end "+text)
		case after <= n:
			out.told = append(out.told, fmt.Sprintf("%d %s", after, text))
		}
	}
	// Pipe, commands and the server are not in step with each other, nor are commands.
	key := func(s string) (turn int, way string) {
		if _, err := fmt.Sscan(s, &turn); err != nil {
			turn = 1 << 20
		}
		before, after, _ := strings.Cut(s, ": ")
		if strings.HasSuffix(before, "script") {
			before += after
		}
		return turn, before
	}
	slices.SortStableFunc(out.told, func(a, b string) int {
		at, aw := key(a)
		bt, bw := key(b)
		return cmp.Or(at-bt, strings.Compare(aw, bw))
	})
	slices.Sort(out.mails) // each has a connection of its own
	out.mails = likeOurs(out.mails)
	for line := range strings.Lines(s.prog.text()) {
		if _, line, ok := strings.Cut(line, "2026: "); ok && (strings.Contains(line, fmt.Sprintf(":%d", p.port)) || strings.Contains(line, p.vip()+"]")) {
			out.log = append(out.log, strings.ReplaceAll(strings.TrimSpace(line), s.dir, "DIR"))
		}
	}
	return out, p.moments[:n]
}
