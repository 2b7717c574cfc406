// SPDX-License-Identifier: Apache-2.0

package checks

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testvm"
)

// half is a server that answers in part, and the check that meets it.
type half struct {
	name   string
	check  string // block of the real server; PORT stands for the server's
	answer func(net.Conn)
	mail   bool // the server speaks first
	tls    bool
	seen   atomic.Int64 // connections
	port   int
	ended  chan struct{}
}

// say sends texts, one packet each.
func say(texts ...string) func(net.Conn) {
	return func(c net.Conn) {
		for _, s := range texts {
			_, _ = io.WriteString(c, s)
		}
	}
}

// then does one after the other.
func then(parts ...func(net.Conn)) func(net.Conn) {
	return func(c net.Conn) {
		for _, p := range parts {
			p(c)
		}
	}
}

// stall waits until the other side has had enough.
func stall(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// reset ends the connection by RST.
func reset(c net.Conn) {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
}

// cut closes what is below TLS, so that the end is not announced.
func cut(c net.Conn) { _ = c.(*tls.Conn).NetConn().Close() }

// slowly sends a text byte by byte.
func slowly(text string, pause time.Duration) func(net.Conn) {
	return func(c net.Conn) {
		for i := range text {
			if _, err := io.WriteString(c, text[i:i+1]); err != nil {
				return
			}
			time.Sleep(pause)
		}
	}
}

// hear reads a line of a mail client.
func hear(c net.Conn) { _, _ = bufio.NewReader(c).ReadString('\n') }

func (h *half) serve(t *testing.T, conf *tls.Config) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	testnet.Must(t, err)
	h.port, h.ended = l.Addr().(*net.TCPAddr).Port, make(chan struct{})
	t.Cleanup(func() { l.Close(); <-h.ended })
	go func() {
		defer close(h.ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			h.seen.Add(1)
			if h.tls {
				c = tls.Server(c, conf)
			}
			if !h.mail {
				head := bufio.NewReader(c)
				for line := "-"; strings.TrimSpace(line) != "" && err == nil; {
					line, err = head.ReadString('\n')
				}
			}
			if err == nil {
				h.answer(c)
			}
			_ = c.Close()
		}
	}()
}

const (
	okHead   = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
	openHead = "HTTP/1.0 200 OK\r\n\r\n"
	somePage = "half of a page"
)

func halves() []*half {
	get := func(kind, more string) string {
		return kind + " {\nurl {\npath /\n" + more + "}\nconnect_port PORT\n}\n"
	}
	status, digest := "status_code 200\n", "digest "+md5hex(somePage)+"\n"
	var list []*half
	for _, b := range []struct {
		name, kind string
		tls        bool
	}{{"HTTP_GET", "HTTP_GET", false}, {"SSL_GET", "SSL_GET", true}} {
		for _, what := range []struct {
			name, more string
			answer     func(net.Conn)
		}{
			{"half a body, closed; status", status, say(okHead, somePage)},
			{"half a body, closed; digest of the half", digest, say(okHead, somePage)},
			{"half a body, closed; neither", "", say(okHead, somePage)},
			{"half a body, stalled; status", status, then(say(okHead, somePage), stall)},
			{"half a body, stalled; digest of the half", digest, then(say(okHead, somePage), stall)},
			{"body without length, closed; digest", digest, say(openHead, somePage)},
			{"body without length, stalled; status", status, then(say(openHead, somePage), stall)},
			{"half a body, reset; status", status, then(say(okHead, somePage), reset)},
			{"half a body, reset; digest of the half", digest, then(say(okHead, somePage), reset)},
			{"body without length, reset; digest", digest, then(say(openHead, somePage), reset)},
			{"half a head, closed", status, say("HTTP/1.1 200 OK\r\nContent-Le")},
			{"half a head, stalled", status, then(say("HTTP/1.1 200 OK\r\nContent-Le"), stall)},
			{"half a status line, closed", status, say("HTTP/1.1 20")},
			{"head alone, closed; status", status, say(okHead)},
			{"head alone, reset; status", status, then(say(okHead), reset)},
			{"nothing, closed", status, say()},
			{"half of the chunks, closed; status", status, say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "64\r\n"+somePage)},
			{"byte by byte in time; status", status, slowly("HTTP/1.0 200 OK\r\n\r\nx", 2*time.Millisecond)},
			{"byte by byte, longer than the time; status", status, slowly("HTTP/1.0 200 OK\r\n\r\nx", 100*time.Millisecond)},
			{"more than the length; status", status, say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", somePage)},
		} {
			list = append(list, &half{name: b.name + ": " + what.name, check: get(b.kind, what.more), answer: what.answer, tls: b.tls})
		}
	}
	for _, cutOff := range []struct{ name, more string }{{"status", status}, {"digest of the half", digest}} {
		list = append(list, &half{name: "SSL_GET: cut off in a body without length; " + cutOff.name, check: get("SSL_GET", cutOff.more), answer: then(say(openHead, somePage), cut), tls: true})
	}
	for _, what := range []struct {
		name   string
		answer func(net.Conn)
	}{
		{"half a greeting, closed", say("22")},
		{"half a greeting, stalled", then(say("22"), stall)},
		{"half a greeting, reset", then(say("22"), reset)},
		{"half of the lines, closed", say("220-one\r\n")},
		{"half of the lines, stalled", then(say("220-one\r\n"), stall)},
		{"greeting, closed", say("220 one\r\n")},
		{"half an answer to HELO, closed", then(say("220 one\r\n"), hear, say("25"))},
		{"half an answer to HELO, stalled", then(say("220 one\r\n"), hear, say("25"), stall)},
		{"reset after HELO", then(say("220 one\r\n"), hear, reset)},
		{"closed before QUIT", then(say("220 one\r\n"), hear, say("250 two\r\n"))},
		{"closed at QUIT", then(say("220 one\r\n"), hear, say("250 two\r\n"), hear)},
		{"reset at QUIT", then(say("220 one\r\n"), hear, say("250 two\r\n"), hear, reset)},
		{"half an answer to QUIT, closed", then(say("220 one\r\n"), hear, say("250 two\r\n"), hear, say("22"))},
		{"QUIT refused", then(say("220 one\r\n"), hear, say("250 two\r\n"), hear, say("500 three\r\n"))},
		{"no answer to QUIT, stalled", then(say("220 one\r\n"), hear, say("250 two\r\n"), hear, stall)},
		{"byte by byte, longer than the time", then(slowly("220 one two three\r\n", 100*time.Millisecond), hear, say("250 two\r\n"), hear, say("221 three\r\n"))},
		{"byte by byte in time", then(slowly("220 one\r\n", 5*time.Millisecond), hear, slowly("250 two\r\n", 5*time.Millisecond), hear, say("221 three\r\n"))},
	} {
		list = append(list, &half{name: "SMTP_CHECK: " + what.name, check: "SMTP_CHECK {\nconnect_port PORT\n}\n", answer: what.answer, mail: true})
	}
	return list
}

// TestServersHalf: both programs judge servers alike that answer in part, and
// close, stall or reset then.
func TestServersHalf(t *testing.T) {
	testnet.Must(t, testvm.Modprobe("ip_vs"))
	testnet.Must(t, testvm.Modprobe("ip_vs_rr"))
	cert, key := certificate(t, t.TempDir(), time.Now().Add(time.Hour))
	pair, err := tls.LoadX509KeyPair(cert, key)
	testnet.Must(t, err)
	conf := &tls.Config{Certificates: []tls.Certificate{pair}}
	list := halves()
	var text strings.Builder
	for i, h := range list {
		h.serve(t, conf)
		fmt.Fprintf(&text, "virtual_server 10.250.0.%d 80 {\ndelay_loop 1\nlb_algo rr\nlb_kind NAT\nprotocol TCP\nreal_server 127.0.0.1 %d {\nweight 1\nconnect_timeout 1\nretry 1\ndelay_before_retry 1\nwarmup 1\n%s}\n}\n",
			i+1, h.port, strings.ReplaceAll(h.check, "PORT", fmt.Sprint(h.port)))
	}
	judge := func(path string) []bool {
		p := runProgram(t, path, text.String())
		from := make([]int64, len(list))
		for i, h := range list {
			from[i] = h.seen.Load()
		}
		// The fourth begins when the third is judged, and two decide.
		testnet.Eventually(t, time.Minute, func() error {
			for i, h := range list {
				if n := h.seen.Load() - from[i]; n < 4 {
					return fmt.Errorf("%s: %d connections, want 4", h.name, n)
				}
			}
			return nil
		})
		out, err := exec.Command("/sbin/ipvsadm.stock", "-L", "-n").CombinedOutput()
		testnet.Must(t, err)
		up := make([]bool, len(list))
		for i, h := range list {
			up[i] = strings.Contains(string(out), fmt.Sprintf("-> 127.0.0.1:%d ", h.port))
		}
		p.stop()
		return up
	}
	theirs, mine := judge(stock), judge(ours)
	for i, h := range list {
		t.Logf("%-60s original up: %-5v ours up: %v", h.name, theirs[i], mine[i])
		if mine[i] != theirs[i] {
			t.Errorf("%s: up is %v, the original says %v", h.name, mine[i], theirs[i])
		}
	}
}
