// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"bufio"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// md5hex is what genhash prints for a body.
func md5hex(body string) string {
	sum := md5.Sum([]byte(body))
	return hex.EncodeToString(sum[:])
}

// readHead reads a request to its empty line.
func readHead(c net.Conn) string {
	var head strings.Builder
	for r := bufio.NewReader(c); ; {
		line, err := r.ReadString('\n')
		head.WriteString(line)
		if err != nil || strings.TrimSpace(line) == "" {
			return head.String()
		}
	}
}

// reply serves the same bytes to everybody, then closes.
func reply(text string) func(net.Conn) {
	return func(c net.Conn) {
		readHead(c)
		io.WriteString(c, text)
	}
}

// TestHTTPReplies gives a check one kind of server each and looks at the
// outcome of its first run, and at the line that explains it.
func TestHTTPReplies(t *testing.T) {
	t.Parallel()
	const page = "<html>hello</html>"
	good := "HTTP/1.0 200 OK\r\nServer: x\r\n\r\n" + page
	right := md5hex(page)
	big := strings.Repeat("0123456789abcdef", 100_000)
	for _, tt := range []struct {
		name  string
		serve func(net.Conn)
		url   URL
		line  string // the line of a failure, %s for the server; "" is success
	}{
		{"ok", reply(good), URL{}, ""},
		{"any 2xx", reply("HTTP/1.1 204 No Content\r\n\r\n"), URL{}, ""},
		{"no reason phrase", reply("HTTP/1.1 200\r\n\r\n"), URL{}, ""},
		{"odd header", reply("HTTP/1.0 200 OK\r\nbroken header : x\r\n nonsense\r\n\r\n"), URL{}, ""},
		{"bare LF", reply("HTTP/1.0 200 OK\nA: b\n\n" + page), URL{Digest: right}, ""},
		{"redirect", reply("HTTP/1.0 302 Found\r\n\r\n"), URL{},
			"HTTP status code error to %s url(/), status_code [302]."},
		{"status wanted", reply("HTTP/1.0 404 Gone\r\n\r\n"), URL{Status: []StatusRange{{200, 200}, {400, 410}}}, ""},
		{"status not wanted", reply(good), URL{Status: []StatusRange{{201, 299}}},
			"HTTP status code error to %s url(/), status_code [200]."},
		{"digest", reply(good), URL{Digest: strings.ToUpper(right)}, ""},
		{"digest, any status", reply("HTTP/1.0 500 No\r\n\r\n" + page), URL{Digest: right}, ""},
		{"digest and status", reply("HTTP/1.0 500 No\r\n\r\n" + page), URL{Digest: right, Status: []StatusRange{{200, 299}}},
			"HTTP status code error to %s url(/), status_code [500]."},
		{"wrong digest", reply(good), URL{Digest: md5hex("x")},
			"MD5 digest error to %s url(/), MD5SUM [" + right + "]."},
		{"large body", reply("HTTP/1.0 200 OK\r\n\r\n" + big), URL{Digest: md5hex(big)}, ""},
		{"in pieces", func(c net.Conn) {
			readHead(c)
			for _, b := range []byte(good) {
				c.Write([]byte{b})
				time.Sleep(time.Millisecond)
			}
		}, URL{Digest: right}, ""},
		{"connection kept open", func(c net.Conn) {
			readHead(c)
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(page), page)
			hold(c)
		}, URL{Digest: right}, ""},
		{"half a body", reply("HTTP/1.0 200 OK\r\nContent-Length: 100\r\n\r\n" + page), URL{Digest: right}, ""},
		{"half a head", reply("HTTP/1.0 200 OK\r\nServ"), URL{},
			"HTTP status code error to %s url(/), the reply is not HTTP."},
		{"not http", reply("220 mail.example ESMTP\r\n\r\n"), URL{},
			"HTTP status code error to %s url(/), the reply is not HTTP."},
		{"endless head", func(c net.Conn) {
			readHead(c)
			for {
				if _, err := io.WriteString(c, "X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n"); err != nil {
					return
				}
			}
		}, URL{}, "HTTP status code error to %s url(/), the reply is not HTTP."},
		{"closed", func(c net.Conn) { readHead(c) }, URL{}, "Read failure from server %s."},
		{"reset", func(c net.Conn) { readHead(c); c.(*net.TCPConn).SetLinger(0) }, URL{}, "Read failure from server %s."},
		{"mute", hold, URL{}, "Read timeout from server %s."},
		{"stalls in body", func(c net.Conn) {
			readHead(c)
			io.WriteString(c, good)
			hold(c)
		}, URL{Digest: right}, "Read timeout from server %s."},
		{"too slow", func(c net.Conn) {
			readHead(c)
			for {
				if _, err := io.WriteString(c, "H"); err != nil {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		}, URL{}, "Read timeout from server %s."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.url.Path = "/"
			r := newRig(t, Options{Shards: 1})
			addr := server(t, "127.0.0.1:0", tt.serve)
			timing := quick
			if strings.Contains(tt.line, "timeout") {
				timing = hasty
			}
			timing.Alpha = tt.line == "" // so that success is an event, too
			if _, err := r.Set([]Target{httpTarget(addr, timing, tt.url)}); err != nil {
				t.Fatal(err)
			}
			what := "HTTP status code"
			if tt.url.Digest != "" {
				what = "MD5 digest"
			}
			event, want := r.next(t), []string{what + " success to " + name(addr) + " url(/)", "Remote Web server " + name(addr) + " succeed on service."}
			if tt.line != "" {
				want = []string{fmt.Sprintf(tt.line, name(addr)), fmt.Sprintf("HTTP_CHECK on service %s failed after %d retries.", name(addr), timing.Retry)}
			}
			if up := strings.HasPrefix(event, "UP"); up != (tt.line == "") {
				t.Errorf("event %s", event)
			}
			got := slices.DeleteFunc(r.log.lines(), func(s string) bool { return strings.Contains(s, "content_length") })
			if !slices.Equal(got[:min(len(got), len(want))], want) {
				t.Errorf("log\n got %q\nwant %q", got, want)
			}
		})
	}
}

// TestHTTPRequest asserts the bytes a server gets.
func TestHTTPRequest(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		addr string
		http HTTP
		want string // %s is address and port
	}{
		{"plain", "127.0.0.1:0", HTTP{URLs: []URL{{Path: "/a?b=c"}}},
			"GET /a?b=c HTTP/1.0\r\nUser-Agent: KeepAliveClient\r\nHost: %s\r\n\r\n"},
		{"ipv6", "[::1]:0", HTTP{URLs: []URL{{Path: "/"}}},
			"GET / HTTP/1.0\r\nUser-Agent: KeepAliveClient\r\nHost: %s\r\n\r\n"},
		{"1.0C and host of the check", "127.0.0.1:0", HTTP{URLs: []URL{{Path: "/"}}, VirtualHost: "a.example", Protocol: HTTP10Close},
			"GET / HTTP/1.0\r\nUser-Agent: KeepAliveClient\r\nConnection: close\r\nHost: a.example\r\n\r\n"},
		{"1.1 and host of the url", "127.0.0.1:0", HTTP{URLs: []URL{{Path: "/", VirtualHost: "b.example"}}, VirtualHost: "a.example", Protocol: HTTP11},
			"GET / HTTP/1.1\r\nUser-Agent: KeepAliveClient\r\nConnection: close\r\nHost: b.example\r\n\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			heads := make(chan string, 100)
			addr := server(t, tt.addr, func(c net.Conn) {
				heads <- readHead(c)
				io.WriteString(c, "HTTP/1.0 200 OK\r\n\r\n")
			})
			r := newRig(t, Options{Shards: 1})
			target := httpTarget(addr, quick)
			target.Spec.HTTP = tt.http
			if _, err := r.Set([]Target{target}); err != nil {
				t.Fatal(err)
			}
			want := tt.want
			if strings.Contains(want, "%s") {
				want = fmt.Sprintf(want, addr)
			}
			if got := <-heads; got != want {
				t.Errorf("request\n got %q\nwant %q", got, want)
			}
		})
	}
}

// TestHTTPRounds: the URLs are asked one after the other; a server that failed
// is asked for the URL that failed and then for all of them.
func TestHTTPRounds(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var asked []string
	broken := true
	addr := server(t, "127.0.0.1:0", func(c net.Conn) {
		path := strings.Fields(readHead(c) + " ? ?")[1]
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, path)
		if len(asked) == 6 {
			broken = false
		}
		if broken && path == "/b" {
			io.WriteString(c, "HTTP/1.0 503 No\r\n\r\n")
			return
		}
		io.WriteString(c, "HTTP/1.0 200 OK\r\n\r\n")
	})
	r := newRig(t, Options{Shards: 1})
	if _, err := r.Set([]Target{httpTarget(addr, quick, URL{Path: "/a"}, URL{Path: "/b"})}); err != nil {
		t.Fatal(err)
	}
	got := []string{r.next(t), r.next(t)}
	mu.Lock()
	defer mu.Unlock()
	if want := []string{"DOWN " + name(addr), "UP " + name(addr)}; !slices.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
	// a, b and its one retry: down. b while down, twice; b answers as the
	// sixth; then a and b once more.
	if got, want := strings.Join(asked[:8], ""), "/a/b/b/b/b/b/a/b"; got != want {
		t.Errorf("asked %s, want %s", got, want)
	}
}

// TestShortBody: less than Content-Length promised is logged, as keepalived
// does, and alone no failure.
func TestShortBody(t *testing.T) {
	t.Parallel()
	addr := server(t, "127.0.0.1:0", reply("HTTP/1.0 200 OK\r\nContent-Length: 100\r\n\r\nhalf"))
	r := newRig(t, Options{Shards: 1})
	if _, err := r.Set([]Target{httpTarget(addr, quick, URL{Path: "/x"})}); err != nil {
		t.Fatal(err)
	}
	await(t, "a line", func() bool { return len(r.log.lines()) > 0 })
	want := "http_check for RS " + name(addr) + " VS [192.0.2.1]:tcp:80 url /x: content_length (100) does not match received bytes (4)"
	if got := r.log.lines()[0]; got != want {
		t.Errorf("log %q, want %q", got, want)
	}
	r.quiet(t, 50*time.Millisecond)
}

// FuzzReply feeds a reply in two pieces; the verdict must not depend on where
// it is cut.
func FuzzReply(f *testing.F) {
	f.Add([]byte("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc"), uint8(20), true)
	f.Add([]byte("HTTP/1.1 204 No\r\n\r\nrest"), uint8(3), true)
	f.Add([]byte("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n3\r\nabc"), uint8(30), false)
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"), uint8(9), false)
	f.Add([]byte("\n\n"), uint8(1), false)
	f.Fuzz(func(t *testing.T, reply []byte, cut uint8, digest bool) {
		u := URL{Path: "/"}
		if digest {
			u.Digest = md5hex("abc")
		}
		target := Target{Spec: Spec{Kind: HTTPGet, HTTP: HTTP{URLs: []URL{u}}}}
		run := func(pieces ...[]byte) bool {
			x := newExchange(&target, 0, nil)
			for _, p := range pieces {
				if r, done := x.take(p); done {
					return r.ok
				}
			}
			return x.end().ok
		}
		at := min(int(cut), len(reply))
		if one, two := run(reply), run(reply[:at], reply[at:]); one != two {
			t.Errorf("whole %v, cut at %d %v", one, at, two)
		}
	})
}
