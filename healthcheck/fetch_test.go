// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestDigest fetches pages, and has checks look for the digest it gives: each must
// pass with it, and fail with another.
func TestDigest(t *testing.T) {
	t.Parallel()
	const body = "<html>hello</html>"
	big := strings.Repeat("0123456789abcdef", 100_000)
	conf := &tls.Config{Certificates: []tls.Certificate{certificate(t, time.Now().Add(time.Hour))}}
	timing := quick
	timing.Alpha = true // so that success is an event, too
	var targets []Target
	var want []string
	for _, tt := range []struct {
		name, body string
		serve      func(net.Conn)
	}{
		{"to the end", body, reply("HTTP/1.0 200 OK\r\n\r\n" + body)},
		{"error", body, reply("HTTP/1.0 503 No\r\n\r\n" + body)},
		{"redirect", body, reply("HTTP/1.0 302 Found\r\nLocation: /x\r\n\r\n" + body)},
		{"length", "<html>", reply("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n" + body)},
		{"less than the length", body, reply("HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n" + body)},
		{"chunks", "3\r\nabc\r\n0\r\n\r\n", reply("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")},
		{"no body", "", reply("HTTP/1.1 200 OK\r\n\r\n")},
		{"204", "", reply("HTTP/1.1 204 No\r\n\r\n" + body)},
		{"LF", body, reply("HTTP/1.0 200 OK\nA: b\n\n" + body)},
		{"large", big, reply("HTTP/1.0 200 OK\r\n\r\n" + big)},
		{"kept open", body, func(c net.Conn) {
			readHead(c)
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			hold(c)
		}},
	} {
		for _, kind := range []Kind{HTTPGet, SSLGet} {
			label, serve := kind.String()+" "+tt.name, tt.serve
			if kind == SSLGet {
				serve = func(c net.Conn) {
					s := tls.Server(c, conf)
					tt.serve(s)
					s.Close()
				}
			}
			target := httpTarget(server(t, "127.0.0.1:0", serve), timing, URL{Path: "/"})
			target.Spec.Kind, target.Spec.TLS = kind, new(TLS)
			got, err := Digest(t.Context(), target.Spec, nil)
			if want := md5hex(tt.body); err != nil || got != want {
				t.Errorf("%s: digest %s, %v; want %s", label, got, err, want)
			}
			for event, digest := range map[string]string{"UP " + label: got, "DOWN " + label + ", wrong": md5hex("another")} {
				_, target.Server, _ = strings.Cut(event, " ")
				target.Spec.Timing.Alpha = strings.HasPrefix(event, "UP")
				target.Spec.HTTP.URLs = []URL{{Path: "/", Digest: digest}}
				targets, want = append(targets, target), append(want, event)
			}
		}
	}
	r := newRig(t, Options{Shards: 1})
	if _, err := r.Set(targets); err != nil {
		t.Fatal(err)
	}
	var events []string
	for range want {
		events = append(events, r.next(t))
	}
	slices.Sort(events)
	slices.Sort(want)
	if !slices.Equal(events, want) {
		t.Errorf("events\n got %q\nwant %q", events, want)
	}
}

// TestDigestFails: what is wrong, and in which step.
func TestDigestFails(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		serve func(net.Conn)
		step  Step
		began bool
		err   error
	}{
		{"closed", func(c net.Conn) { readHead(c) }, Reading, false, ErrNoAnswer},
		{"half a head", reply("HTTP/1.0 200 OK\r\n"), Reading, true, ErrNoAnswer},
		{"no status line", reply("220 mail ESMTP\r\n\r\n"), Reading, true, ErrNoStatus},
		{"endless head", reply("HTTP/1.0 200 OK\r\nA: " + strings.Repeat("x", 1<<20)), Reading, true, ErrNoStatus},
		{"reset", func(c net.Conn) { readHead(c); c.(*net.TCPConn).SetLinger(0) }, Reading, false, syscall.ECONNRESET},
		{"mute", hold, Reading, false, os.ErrDeadlineExceeded},
		{"stalls", func(c net.Conn) { readHead(c); io.WriteString(c, page); hold(c) }, Reading, true, os.ErrDeadlineExceeded},
		{"refused", nil, Connecting, false, syscall.ECONNREFUSED},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var addr netip.AddrPort
			if tt.serve == nil {
				addr = netip.MustParseAddrPort("127.0.0.1:1")
			} else {
				addr = server(t, "127.0.0.1:0", tt.serve)
			}
			timing := quick
			if errors.Is(tt.err, os.ErrDeadlineExceeded) {
				timing.ConnectTimeout = 2 * time.Second
			}
			_, err := Digest(t.Context(), httpTarget(addr, timing, URL{Path: "/"}).Spec, nil)
			var fault *FetchError
			if !errors.As(err, &fault) || fault.Step != tt.step || fault.Began != tt.began || !errors.Is(err, tt.err) {
				t.Errorf("%#v, want %s, begun %t, %v", err, tt.step, tt.began, tt.err)
			}
		})
	}
	t.Run("cancelled", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		addr := server(t, "127.0.0.1:0", func(c net.Conn) { readHead(c); cancel(); hold(c) })
		if _, err := Digest(ctx, httpTarget(addr, quick, URL{Path: "/"}).Spec, nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%v", err)
		}
	})
	for _, s := range []Spec{
		tcpTarget(netip.MustParseAddrPort("127.0.0.1:1"), quick).Spec,
		httpTarget(netip.MustParseAddrPort("127.0.0.1:1"), quick, URL{Path: "/a b"}).Spec,
		httpTarget(netip.MustParseAddrPort("127.0.0.1:1"), quick).Spec,
	} {
		var fault *FetchError
		if _, err := Digest(t.Context(), s, nil); err == nil || errors.As(err, &fault) {
			t.Errorf("%v", err)
		}
	}
}
