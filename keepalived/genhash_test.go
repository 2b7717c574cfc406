// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// origin is a server that genhash fetches a page from.
type origin struct {
	name string
	// answer gets the connection behind the request; say is the whole answer
	// if there is none.
	say    string
	answer func(net.Conn)
	args   []string
	secure bool // speaks TLS
	six    bool
	// ours is what our standard output is, where that differs; "-" is nothing.
	ours string
}

const (
	pageHead = "HTTP/1.0 200 OK\r\nServer: x\r\n"
	hello    = "hello\n"
	helloSum = "b1946ac92492d2347c6235b4d2611184\n"
)

// linger keeps the connection until the client ends it.
func linger(text string) func(net.Conn) {
	return func(c net.Conn) {
		_, _ = io.WriteString(c, text)
		_, _ = io.Copy(io.Discard, c)
	}
}

// resets ends the connection by RST behind a text.
func resets(text string) func(net.Conn) {
	return func(c net.Conn) {
		_, _ = io.WriteString(c, text)
		if t, ok := c.(*tls.Conn); ok {
			c = t.NetConn()
		}
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	}
}

func allBytes() string {
	var b strings.Builder
	for i := range 256 {
		b.WriteByte(byte(i))
	}
	return b.String()
}

var origins = []origin{
	{name: "plain", say: pageHead + "\r\n" + hello},
	{name: "1.0", say: pageHead + "\r\n" + hello, args: []string{"-P", "1.0"}},
	{name: "1.0c", say: pageHead + "\r\n" + hello, args: []string{"-P", "1.0C"}},
	{name: "1.1", say: pageHead + "\r\n" + hello, args: []string{"--proto=1.1"}},
	{name: "the last protocol counts", say: pageHead + "\r\n" + hello, args: []string{"-P1.1", "-P", "1.0"}},
	{name: "virtual host", say: pageHead + "\r\n" + hello, args: []string{"-V", "a.example:99"}},
	{name: "virtual host, 1.1", say: pageHead + "\r\n" + hello, args: []string{"--use-v", "a.example", "-P", "1.1"}},
	{name: "path without a slash", say: pageHead + "\r\n" + hello, args: []string{"-u", "x"}},
	{name: "path of two", say: pageHead + "\r\n" + hello, args: []string{"-u", "/a", "--url", "/b?c=d"}},
	{name: "numbers with zeros", say: pageHead + "\r\n" + hello, args: []string{"-t", "010", "-m", "00"}},
	{name: "IPv6", say: pageHead + "\r\n" + hello, six: true},
	{name: "IPv6, virtual host", say: pageHead + "\r\n" + hello, six: true, args: []string{"-V", "a.example"}},
	{name: "TLS flags without TLS", say: pageHead + "\r\n" + hello, args: []string{"-I"}},
	{name: "verbose", say: pageHead + "\r\n" + hello, args: []string{"-v"}},
	{name: "verbose, a whole row", say: pageHead + "\r\n0123456789abcdef", args: []string{"-v"}},
	{name: "verbose, nearly a row", say: pageHead + "\r\n0123456789abcde", args: []string{"-v"}},
	{name: "verbose, half a row", say: pageHead + "\r\n01234567", args: []string{"-v"}},
	{name: "verbose, no body", say: pageHead + "\r\n", args: []string{"-v"}},
	{name: "verbose, all bytes", say: pageHead + "\r\n" + allBytes(), args: []string{"--v"}},
	{name: "verbose, length", say: pageHead + "Content-Length: 3\r\n\r\n" + hello, args: []string{"-v"}},
	{name: "verbose, closed", say: "", args: []string{"-v"}, ours: "\nGlobal response time for [/x] = N usecs\n"},
	{name: "verbose, reset", answer: resets(""), args: []string{"-v"}},
	{name: "length", say: pageHead + "Content-Length: 6\r\n\r\n" + hello},
	{name: "more than the length", say: pageHead + "Content-Length: 3\r\n\r\n" + hello},
	{name: "length in small letters", say: pageHead + "content-length: 3\r\n\r\n" + hello, ours: "46356afe55fa3cea9cbe73ad442cad47\n"},
	{name: "less than the length", say: pageHead + "Content-Length: 30\r\n\r\n" + hello},
	{name: "no length but a word", say: pageHead + "Content-Length: zz\r\n\r\n" + hello},
	{name: "length below 0", say: pageHead + "Content-Length: -3\r\n\r\n" + hello},
	{name: "length of 0", say: pageHead + "Content-Length: 0\r\n\r\n" + hello},
	{name: "whole, and open", answer: linger(pageHead + "Content-Length: 6\r\n\r\n" + hello), args: []string{"-t", "2"}, ours: helloSum},
	{name: "chunks", say: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n" + hello + "\r\n0\r\n\r\n", args: []string{"-P", "1.1"}},
	{name: "chunks and length", say: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n" + hello, ours: helloSum},
	{name: "404", say: "HTTP/1.0 404 No\r\n\r\n" + hello},
	{name: "500", say: "HTTP/1.0 500 No\r\n\r\n" + hello},
	{name: "redirect", say: "HTTP/1.0 302 Found\r\nLocation: /y\r\n\r\n" + hello},
	{name: "304", say: "HTTP/1.0 304 No\r\n\r\n"},
	{name: "204 with a body", say: "HTTP/1.0 204 No\r\n\r\n" + hello, ours: "d41d8cd98f00b204e9800998ecf8427e\n"},
	{name: "head in LF", say: "HTTP/1.0 200 OK\nA: b\n\n" + hello, ours: helloSum},
	{name: "no status line", say: "blah\r\n\r\n" + hello, ours: "-"},
	{name: "no head", say: hello},
	{name: "half a head", say: pageHead},
	{name: "long head", say: pageHead + "A: " + strings.Repeat("x", 6000) + "\r\n\r\n" + hello, ours: helloSum},
	{name: "endless head", say: pageHead + "A: " + strings.Repeat("x", 300_000) + "\r\n\r\n" + hello},
	{name: "nothing", say: ""},
	{name: "no body", say: pageHead + "\r\n"},
	{name: "binary", say: pageHead + "\r\n" + allBytes()},
	{name: "large", say: pageHead + "\r\n" + strings.Repeat("0123456789abcde\n", 60_000)},
	{name: "reset", answer: resets("")},
	{name: "reset in the head", answer: resets(pageHead)},
	{name: "reset in the body", answer: resets(pageHead + "\r\n" + hello)},
	{name: "stalls", answer: linger(""), args: []string{"-t", "2"}},
	{name: "stalls in the head", answer: linger(pageHead), args: []string{"--timeout=2"}},
	{name: "stalls in the body", answer: linger(pageHead + "\r\n" + hello), args: []string{"-t2"}},
	{name: "TLS", say: pageHead + "\r\n" + hello, secure: true, args: []string{"-S"}},
	{name: "TLS, name", say: pageHead + "\r\n" + hello, secure: true, args: []string{"-SI", "-V", "a.example"}},
	{name: "TLS, name not sent", say: pageHead + "\r\n" + hello, secure: true, args: []string{"--use-ssl", "-V", "a.example"}},
	{name: "TLS, no name", say: pageHead + "\r\n" + hello, secure: true, args: []string{"-S", "--use-sni"}},
	{name: "TLS, length", say: pageHead + "Content-Length: 3\r\n\r\n" + hello, secure: true, args: []string{"-S"}},
	{name: "TLS, verbose", say: pageHead + "\r\n" + hello, secure: true, args: []string{"-Sv"}},
	{name: "TLS, stalls in the body", answer: linger(pageHead + "\r\n" + hello), secure: true, args: []string{"-S", "-t", "3"}},
	{name: "TLS, reset in the body", answer: resets(pageHead + "\r\n" + hello), secure: true, args: []string{"-S"}},
	{name: "TLS, nothing", say: "", secure: true, args: []string{"-S"}, ours: "-"},
}

// listen serves o and gives its address, its port, and what came in.
func (o *origin) listen(t *testing.T, conf *tls.Config) (host, port string, seen *lockedList) {
	host = "127.0.0.1"
	if o.six {
		host = "::1"
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	seen = new(lockedList)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { o.serve(c, conf, seen) })
		}
	})
	t.Cleanup(func() { l.Close(); all.Wait() })
	_, port, err = net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return host, port, seen
}

func (o *origin) serve(c net.Conn, conf *tls.Config, seen *lockedList) {
	defer c.Close()
	name := ""
	if o.secure {
		s := tls.Server(c, conf)
		defer s.Close()
		if s.Handshake() != nil {
			return
		}
		name, c = "name "+s.ConnectionState().ServerName+"\n", s
	}
	var request strings.Builder
	for r := bufio.NewReader(c); ; {
		line, err := r.ReadString('\n')
		request.WriteString(line)
		if err != nil {
			return
		}
		if strings.TrimSpace(line) == "" {
			break
		}
	}
	seen.add(name + request.String())
	if o.answer != nil {
		o.answer(c)
		return
	}
	_, _ = io.WriteString(c, o.say)
}

// lockedList is a list that servers add to.
type lockedList struct {
	mu   sync.Mutex
	list []string
}

func (l *lockedList) add(s string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, s)
}

func (l *lockedList) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.list)
}

// stockGenhash runs the original's genhash.
func stockGenhash(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	stock := stockKeepalived(t)
	line := slices.Concat(stock[:len(stock)-1], []string{"--argv0", "genhash"}, stock[len(stock)-1:], args)
	cmd := exec.CommandContext(t.Context(), line[0], line[1:]...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exited := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exited) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

func ourGenhash(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	a := &app{stdout: &out, stderr: &errs, now: time.Now}
	return a.run(t.Context(), append([]string{"/usr/bin/genhash"}, args...)), out.String(), errs.String()
}

var usecs = regexp.MustCompile(`= \d+ usecs`)

// TestGenhash has the original's genhash and ours fetch the same pages: request,
// standard output and exit code are the same, but where a case says.
func TestGenhash(t *testing.T) {
	t.Parallel()
	conf := selfSigned(t)
	for _, o := range origins {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			host, port, seen := o.listen(t, conf)
			args := append([]string{"-s", host, "-p", port, "-u", "/x"}, o.args...)
			var ourCode int
			var ourOut, ourErrs string
			var both sync.WaitGroup
			both.Go(func() { ourCode, ourOut, ourErrs = ourGenhash(t, args...) })
			code, out, errs := stockGenhash(t, args...)
			both.Wait()
			if asked := seen.all(); len(asked) != 2 || asked[0] != asked[1] {
				t.Errorf("the servers were asked %q, want two equal requests", asked)
			}
			if code != ourCode {
				t.Errorf("exit code %d, want %d", ourCode, code)
			}
			want := usecs.ReplaceAllString(out, "= N usecs")
			if o.ours != "" {
				if want = strings.TrimPrefix(o.ours, "-"); want == out {
					t.Error("the original does not differ here")
				}
			}
			if got := usecs.ReplaceAllString(ourOut, "= N usecs"); got != want {
				t.Errorf("standard output\n got %q\nwant %q\nstandard error %q, of the original %q", got, want, ourErrs, errs)
			}
		})
	}
}

// TestGenhashWords compares command lines that fetch nothing: exit code, standard
// output and the complaints in front of the usage.
func TestGenhashWords(t *testing.T) {
	t.Parallel()
	good := []string{"-s", "127.0.0.1", "-p", "1", "-u", "/"}
	for _, tt := range []struct {
		line string // behind good; "!" in front: alone
		ours string // complaints, where they differ
	}{
		{"", ""}, {"-h", ""}, {"-vh", ""}, {"!-h", ""}, {"--help", ""},
		{"!", "-s is missing\n-p is missing\n-u is missing\n"},
		{"!-s 127.0.0.1 -p 1", "-u is missing\n"},
		{"!-s", "option -s needs a value\n"},
		{"!-s 127.0.0.1 -p 1 --url", "option --url needs a value\n"},
		{"-x", ""}, {"-x -y", ""}, {"-vx", ""}, {"--nope", ""}, {"--use", ""}, {"--verbose=1", ""}, {"-x z", ""}, {"-T", ""},
		{"z", ""}, {"a b", ""}, {"-- -v w", ""}, {"-", ""},
		{"-s localhost", ""}, {"-s ", ""}, {"--server=", ""}, {"-s 127.1", ""}, {"-s [127.0.0.1]", ""}, {"-s 127.0.0.01", ""}, {"-s fe80::1%lo", ""},
		{"-s localhost -s 127.0.0.1", ""},
		{"-s ::1", ""}, {"-s ::ffff:127.0.0.1", ""},
		{"-p abc", ""}, {"-p 0", ""}, {"-p 65536", ""}, {"-p -1", ""}, {"-p ", ""}, {"-p 0x50", ""}, {"-p 1x", ""}, {"-p abc -s foo", "invalid port number 'abc'\nserver should be an IP, not foo\n"}, {"-p -v", ""},
		{"-p 01", ""}, {"-p +1", "invalid port number '+1'\n"},
		{"-t abc", ""}, {"-t -1", ""}, {"-t 1.5", ""}, {"-t 2s", ""}, {"-t 0x2", ""}, {"-t ", ""}, {"-t abc -h", ""}, {"-t 2147483647", ""},
		{"-t 0", "invalid timeout '0'\n"}, {"-t 99999999999", "invalid timeout '99999999999'\n"},
		{"-m abc", ""}, {"-m -1", ""}, {"-m 0x10", ""}, {"-m 010", ""}, {"-m 4294967295", ""},
		{"-m 4294967296", "invalid fwmark '4294967296'\n"}, {"-m ", "invalid fwmark ''\n"},
		{"-P 2", ""}, {"-P ", ""}, {"-P=1.1", ""}, {"-P 1.0C", ""}, {"-S", ""}, {"-I", ""},
	} {
		t.Run(tt.line, func(t *testing.T) {
			t.Parallel()
			var args []string
			if words, alone := strings.CutPrefix(tt.line, "!"); alone {
				args = strings.Fields(words)
			} else if args = slices.Clone(good); tt.line != "" {
				args = append(args, strings.Split(tt.line, " ")...)
			}
			code, out, errs := stockGenhash(t, args...)
			ourCode, ourOut, ourErrs := ourGenhash(t, args...)
			complaints, _, usage := strings.Cut(errs, "Usage: genhash COMMAND")
			if tt.ours != "" {
				code, out, complaints, usage = exitFatal, "", tt.ours, true
			}
			ourComplaints, _, ourUsage := strings.Cut(ourErrs, "Usage: /usr/bin/genhash ")
			if code != ourCode || out != ourOut || usage != ourUsage {
				t.Errorf("exit code %d, output %q, usage %t; want %d, %q, %t", ourCode, ourOut, ourUsage, code, out, usage)
			}
			if usage && complaints != ourComplaints {
				t.Errorf("complaints\n got %q\nwant %q", ourComplaints, complaints)
			}
			if !usage && !strings.Contains(ourErrs, "refused") {
				t.Errorf("standard error does not say why: %q", ourErrs)
			}
		})
	}
	for _, tt := range []struct{ args, want string }{
		{"-u /a%b\x01", "path"}, {"-V a\x01b", "virtualhost"},
	} {
		code, out, errs := ourGenhash(t, append(slices.Clone(good), strings.Fields(tt.args)...)...)
		if code != exitFatal || out != "" || !strings.Contains(errs, tt.want) {
			t.Errorf("%q: exit code %d, %q, %q", tt.args, code, out, errs)
		}
	}
}

// TestGenhashName: how keepalived becomes genhash.
func TestGenhashName(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		line, want string
	}{
		{"genhash -h", "Usage: genhash "},
		{"/usr/bin/genhash -T", "Unknown option -T\nUsage: /usr/bin/genhash "},
		{"keepalived -T", "-s is missing\n-p is missing\n-u is missing\nUsage: keepalived --genhash "},
		{"keepalived --genhash -h", "Usage: keepalived --genhash "},
		{"keepalived --genh -h", "Usage: keepalived --genhash "},
		{"keepalived -n -T", "keepalived: -T, --genhash must be the first word\n"},
	} {
		var out, errs bytes.Buffer
		a := &app{stdout: &out, stderr: &errs, now: time.Now}
		code := a.run(context.Background(), strings.Fields(tt.line))
		if code != exitFatal || out.Len() > 0 || !strings.HasPrefix(errs.String(), tt.want) {
			t.Errorf("%s: exit code %d, %q, %q; want %q", tt.line, code, &out, &errs, tt.want)
		}
	}
}

// selfSigned is what a server needs for TLS.
func selfSigned(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}
