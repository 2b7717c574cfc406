// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
)

// healthServer answers as a gRPC server does, with what say gives: the message, the
// status behind it, or the one instead of it.
type healthServer struct {
	mu     sync.Mutex
	body   []byte
	status string
	header bool // the status stands in the header
	code   int
	asked  string
}

func (h *healthServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p, _ := io.ReadAll(r.Body)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked = fmt.Sprintf("%s %s %s %s %q", r.Proto, r.Method, r.URL.Path, r.Header.Get("Content-Type"), p)
	w.Header().Set("Content-Type", "application/grpc")
	if h.header {
		w.Header().Set("Grpc-Status", h.status)
	} else {
		w.Header().Set("Trailer", "Grpc-Status")
	}
	w.WriteHeader(h.code)
	w.Write(h.body)
	if !h.header {
		w.Header().Set("Grpc-Status", h.status)
	}
}

// answerOf is a HealthCheckResponse with its prefix.
func answerOf(status byte) []byte { return []byte{0, 0, 0, 0, 2, 8, status} }

func TestGRPC(t *testing.T) {
	for _, secure := range []bool{false, true} {
		h := &healthServer{code: 200, status: "0", body: answerOf(1)}
		s := httptest.NewUnstartedServer(h)
		s.Config.Protocols = new(http.Protocols)
		if secure {
			s.Config.Protocols.SetHTTP2(true)
			s.EnableHTTP2 = true
			s.TLS = &tls.Config{NextProtos: []string{"h2"}}
			s.StartTLS()
		} else {
			s.Config.Protocols.SetUnencryptedHTTP2(true)
			s.Start()
		}
		r := newRig(t, Options{Shards: 1})
		target := tcpTarget(netip.MustParseAddrPort(s.Listener.Addr().String()), quick)
		target.Spec.Kind, target.Spec.GRPC = GRPCCheck, &GRPC{Service: "shop", TLS: secure}
		target.Spec.Timing.Retry = 0
		target.Spec.Timing.LogAllFailures = true
		if _, err := r.Set([]Target{target}); err != nil {
			t.Fatal(err)
		}
		await(t, "a good result", func() bool { st := r.Status()[0]; return st.Known && st.Up })
		h.mu.Lock()
		if want := `HTTP/2.0 POST /grpc.health.v1.Health/Check application/grpc "\x00\x00\x00\x00\x06\n\x04shop"`; h.asked != want {
			t.Errorf("asked %s, want %s", h.asked, want)
		}
		h.mu.Unlock()
		for _, c := range []struct {
			edit func()
			said string
		}{
			{func() { h.body = answerOf(2) }, "NOT_SERVING"},
			{func() { h.body = answerOf(3) }, "SERVICE_UNKNOWN"},
			{func() { h.body = answerOf(9) }, "serving status 9"},
			{func() { h.body = nil }, "the reply is no health message"},
			{func() { h.body, h.status = answerOf(1), "14" }, "gRPC status 14"},
			{func() { h.body, h.status, h.header = nil, "5", true }, "gRPC status 5"},
			{func() { h.code, h.status = 503, "0" }, "HTTP status 503"},
		} {
			h.mu.Lock()
			c.edit()
			h.mu.Unlock()
			await(t, c.said, func() bool {
				return !r.Status()[0].Up && strings.Contains(strings.Join(r.log.lines(), "\n"), "gRPC health of "+target.Server+": "+c.said)
			})
		}
		s.Close()
	}
}

// TestGRPCNotSpoken: a server of another kind, one that closes and one that says
// nothing are down.
func TestGRPCNotSpoken(t *testing.T) {
	for what, at := range map[string]netip.AddrPort{
		"another protocol": server(t, "127.0.0.1:0", reply("220 mail\r\n")),
		"silence":          server(t, "127.0.0.1:0", hold),
	} {
		r := newRig(t, Options{Shards: 1})
		target := tcpTarget(at, hasty)
		target.Spec.Kind, target.Spec.GRPC = GRPCCheck, &GRPC{}
		if _, err := r.Set([]Target{target}); err != nil {
			t.Fatal(err)
		}
		if got := r.next(t); !strings.HasPrefix(got, "DOWN") {
			t.Errorf("%s: %s", what, got)
		}
	}
}

// frame is one of HTTP/2 (RFC 9113, 4.1).
func frame(kind, flags byte, stream uint32, payload string) string {
	head := binary.BigEndian.AppendUint32(nil, uint32(len(payload)))[1:]
	return string(binary.BigEndian.AppendUint32(append(head, kind, flags), stream)) + payload
}

// asked reads what a client of HTTP/2 says, up to the data of its request.
func asked(c net.Conn) error {
	r := bufio.NewReader(c)
	if _, err := r.Discard(len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")); err != nil {
		return err
	}
	for {
		head := make([]byte, 9)
		if _, err := io.ReadFull(r, head); err != nil {
			return err
		}
		if _, err := r.Discard(int(binary.BigEndian.Uint32(head) >> 8)); err != nil || head[3] == 0 {
			return err
		}
	}
}

// TestGRPCCutShort: a message that serves counts for nothing without what has to follow
// it, and a server that is about to close is down.
func TestGRPCCutShort(t *testing.T) {
	const data, headers, reset, settings, goAway = 0, 1, 3, 4, 7
	const endStream, endHeaders = 1, 4
	begin, message := frame(headers, endHeaders, 1, "\x88"), string(answerOf(1)) // :status 200
	answer := begin + frame(data, 0, 1, message)
	trailers := frame(headers, endHeaders|endStream, 1, "\x00\x0bgrpc-status\x010")
	for what, said := range map[string]string{
		"whole":                         answer + trailers,
		"reset behind the message":      answer + frame(reset, 0, 1, "\x00\x00\x00\x02"),
		"no trailers":                   begin + frame(data, endStream, 1, message),
		"closed behind the message":     answer,
		"refused stream":                frame(reset, 0, 1, "\x00\x00\x00\x07"),
		"going away":                    frame(goAway, 0, 0, strings.Repeat("\x00", 8)),
		"going away behind the message": answer + frame(goAway, 0, 0, "\x00\x00\x00\x01\x00\x00\x00\x01"),
		"longer than its head says":     begin + frame(data, 0, 1, message+"x") + trailers,
	} {
		at := server(t, "127.0.0.1:0", func(c net.Conn) {
			_, _ = io.WriteString(c, frame(settings, 0, 0, ""))
			if asked(c) != nil {
				return
			}
			_, _ = io.WriteString(c, said)
			if !strings.HasPrefix(what, "closed") {
				_, _ = io.Copy(io.Discard, c)
			}
		})
		r := newRig(t, Options{Shards: 1})
		target := tcpTarget(at, hasty)
		target.Spec.Kind, target.Spec.GRPC = GRPCCheck, &GRPC{}
		target.Spec.Timing.Alpha = what == "whole"
		if _, err := r.Set([]Target{target}); err != nil {
			t.Fatal(err)
		}
		want := "DOWN"
		if what == "whole" {
			want = "UP"
		}
		if got := r.next(t); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s", what, got)
		}
	}
}

func FuzzGRPCAnswer(f *testing.F) {
	f.Add(answerOf(1))
	f.Add([]byte{0, 0, 0, 0, 5, 0x12, 1, 'x', 8, 1})
	f.Fuzz(func(t *testing.T, p []byte) {
		if status, err := grpcAnswer(p); err == nil && status == grpcServing && !bytes.Contains(p, []byte{8, 1}) &&
			!bytes.Contains(p, []byte{0x88}) && !bytes.Contains(p, []byte{0x81}) {
			t.Errorf("%q serves", p)
		}
	})
}
