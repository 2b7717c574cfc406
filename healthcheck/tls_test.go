// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// certificate makes one that was valid before the given time.
func certificate(t *testing.T, end time.Time) tls.Certificate {
	t.Helper()
	cert, err := newCertificate(end)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func newCertificate(end time.Time) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    end.Add(-48 * time.Hour),
		NotAfter:     end,
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

const page = "HTTP/1.0 200 OK\r\n\r\nhello"

func TestSSL(t *testing.T) {
	t.Parallel()
	valid, expired := certificate(t, time.Now().Add(time.Hour)), certificate(t, time.Now().Add(-time.Hour))
	var mu sync.Mutex
	names, resumed := map[string]bool{}, false
	secure := func(cert tls.Certificate, curves []tls.CurveID, serve func(*tls.Conn, net.Conn)) netip.AddrPort {
		conf := &tls.Config{
			Certificates:     []tls.Certificate{cert},
			CurvePreferences: curves,
			GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
				mu.Lock()
				defer mu.Unlock()
				names[h.ServerName] = true
				return nil, nil
			},
		}
		return server(t, "127.0.0.1:0", func(c net.Conn) {
			s := tls.Server(c, conf)
			if s.Handshake() != nil {
				return
			}
			mu.Lock()
			resumed = resumed || s.ConnectionState().DidResume
			mu.Unlock()
			if _, err := s.Read(make([]byte, 4096)); err == nil {
				serve(s, c)
			}
		})
	}
	says := func(text string) netip.AddrPort {
		return secure(valid, nil, func(s *tls.Conn, _ net.Conn) { io.WriteString(s, text); s.Close() })
	}
	rude := secure(valid, nil, func(s *tls.Conn, _ net.Conn) { io.WriteString(s, page) }) // no close_notify
	spec := func(a netip.AddrPort, s TLS, url URL) Spec {
		url.Path = "/"
		return Spec{Kind: SSLGet, Conn: Conn{Addr: a}, TLS: &s, HTTP: HTTP{URLs: []URL{url}, VirtualHost: "vhost.example:443"}}
	}
	type verdict = struct {
		spec Spec
		up   bool
	}
	verdicts(t, map[string]verdict{
		"expired certificate":      {spec(secure(expired, nil, func(s *tls.Conn, _ net.Conn) { io.WriteString(s, page); s.Close() }), TLS{}, URL{}), true},
		"SNI of the host":          {spec(says(page), TLS{SNI: true}, URL{}), true},
		"SNI named":                {spec(says(page), TLS{SNI: true, ServerName: "sni.example"}, URL{}), true},
		"old curve":                {spec(secure(valid, []tls.CurveID{tls.CurveP256}, func(s *tls.Conn, _ net.Conn) { io.WriteString(s, page); s.Close() }), TLS{}, URL{}), true},
		"digest":                   {spec(says(page), TLS{}, URL{Digest: "5d41402abc4b2a76b9719d911017c592"}), true},
		"wrong digest":             {spec(says(page), TLS{}, URL{Digest: "5d41402abc4b2a76b9719d911017c593"}), false},
		"wrong status":             {spec(says("HTTP/1.0 503 no\r\n\r\n"), TLS{}, URL{}), false},
		"half a head":              {spec(says("HTTP/1.0 200 OK\r\nX"), TLS{}, URL{}), false},
		"no notify":                {spec(rude, TLS{}, URL{}), true},
		"no notify, compliant":     {spec(rude, TLS{Compliant: true}, URL{}), false},
		"no notify, of this url":   {spec(rude, TLS{}, URL{Compliant: 1}), false},
		"no notify, but this url":  {spec(rude, TLS{Compliant: true}, URL{Compliant: 2}), true},
		"compliant":                {spec(says(page), TLS{Compliant: true}, URL{}), true},
		"reset":                    {spec(secure(valid, nil, func(_ *tls.Conn, c net.Conn) { c.(*net.TCPConn).SetLinger(0) }), TLS{}, URL{}), false},
		"not TLS":                  {spec(server(t, "127.0.0.1:0", func(c net.Conn) { io.WriteString(c, page) }), TLS{}, URL{}), false},
		"refuses":                  {spec(unused(t), TLS{}, URL{}), false},
		"mute":                     {spec(server(t, "127.0.0.1:0", hold), TLS{}, URL{}), false},
		"mute after the handshake": {spec(secure(valid, nil, func(_ *tls.Conn, c net.Conn) { hold(c) }), TLS{}, URL{}), false},
	})
	// The second run of a check may come after all have had their first.
	await(t, "a resumed session", func() bool { mu.Lock(); defer mu.Unlock(); return resumed })
	mu.Lock()
	defer mu.Unlock()
	if len(names) != 3 || !names[""] || !names["vhost.example"] || !names["sni.example"] {
		t.Errorf("server names %v", names)
	}
}

// TestResumption: of each check only the first handshake with a name is a whole one,
// whatever becomes of the certificate.
func TestResumption(t *testing.T) {
	t.Parallel()
	valid, expired := certificate(t, time.Now().Add(time.Hour)), certificate(t, time.Now().Add(-time.Hour))
	type counts struct{ whole, resumed int }
	var mu sync.Mutex
	seen := map[string]*counts{}
	count := func(what string, s tls.ConnectionState) {
		mu.Lock()
		defer mu.Unlock()
		if seen[what] == nil {
			seen[what] = &counts{}
		}
		if s.DidResume {
			seen[what].resumed++
		} else {
			seen[what].whole++
		}
	}
	serve := func(what string, conf *tls.Config) netip.AddrPort {
		return server(t, "127.0.0.1:0", func(c net.Conn) {
			s := tls.Server(c, conf)
			if s.Handshake() == nil {
				count(what, s.ConnectionState())
				s.Read(make([]byte, 4096))
				io.WriteString(s, page)
				s.Close()
			}
		})
	}
	h := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		count("GRPC_CHECK", *r.TLS)
		(&healthServer{code: 200, status: "0", body: answerOf(1)}).ServeHTTP(w, r)
	}))
	h.EnableHTTP2 = true
	h.StartTLS()
	defer h.Close()

	one, two := []URL{{Path: "/"}}, []URL{{Path: "/", VirtualHost: "a.example"}, {Path: "/", VirtualHost: "b.example"}}
	names := map[string]int{"TLS 1.3": 1, "TLS 1.2": 1, "expired certificate": 1, "two names": 2, "GRPC_CHECK": 1}
	specs := []Spec{
		{Kind: SSLGet, Conn: Conn{Addr: serve("TLS 1.3", &tls.Config{Certificates: []tls.Certificate{valid}, MinVersion: tls.VersionTLS13})}, TLS: &TLS{}, HTTP: HTTP{URLs: one}},
		{Kind: SSLGet, Conn: Conn{Addr: serve("TLS 1.2", &tls.Config{Certificates: []tls.Certificate{valid}, MaxVersion: tls.VersionTLS12})}, TLS: &TLS{}, HTTP: HTTP{URLs: one}},
		{Kind: SSLGet, Conn: Conn{Addr: serve("expired certificate", &tls.Config{Certificates: []tls.Certificate{expired}})}, TLS: &TLS{}, HTTP: HTTP{URLs: one}},
		{Kind: SSLGet, Conn: Conn{Addr: serve("two names", &tls.Config{Certificates: []tls.Certificate{valid}})}, TLS: &TLS{SNI: true}, HTTP: HTTP{URLs: two}},
		{Kind: GRPCCheck, Conn: Conn{Addr: netip.MustParseAddrPort(h.Listener.Addr().String())}, GRPC: &GRPC{TLS: true}},
	}
	targets := make([]Target, len(specs))
	for i, s := range specs {
		s.Timing = quick
		s.Timing.ConnectTimeout = time.Minute // one that is given up would be whole again
		targets[i] = Target{Service: "service", Server: "server", Spec: s}
	}
	r := newRig(t, Options{Shards: 1})
	if _, err := r.Set(targets); err != nil {
		t.Fatal(err)
	}
	await(t, "five resumed sessions of each", func() bool {
		mu.Lock()
		defer mu.Unlock()
		for what := range names {
			if seen[what] == nil || seen[what].resumed < 5 {
				return false
			}
		}
		return true
	})
	mu.Lock()
	defer mu.Unlock()
	for what, n := range names {
		if seen[what].whole != n {
			t.Errorf("%s: %d whole handshakes and %d resumed sessions, want %d whole", what, seen[what].whole, seen[what].resumed, n)
		}
	}
}

// TestClientCertificate: a server that asks for one is shown that of the SSL
// block; files that cannot be used say nothing about the server.
func TestClientCertificate(t *testing.T) {
	cert := certificate(t, time.Now().Add(time.Hour))
	shown := make(chan int, 1000)
	at := server(t, "127.0.0.1:0", func(c net.Conn) {
		s := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert})
		if s.Handshake() == nil {
			select {
			case shown <- len(s.ConnectionState().PeerCertificates):
			default:
			}
			s.Read(make([]byte, 4096))
			io.WriteString(s, page)
			s.Close()
		}
	})
	der, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	own := TLS{Certificate: filepath.Join(t.TempDir(), "cert"), Key: filepath.Join(t.TempDir(), "key")}
	for file, block := range map[string]*pem.Block{own.Certificate: {Type: "CERTIFICATE", Bytes: cert.Certificate[0]}, own.Key: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	gone := own
	gone.Key += ".gone"
	r := newRig(t, Options{Shards: 1})
	targets := make([]Target, 3)
	for i, s := range []TLS{own, {}, gone} {
		targets[i] = httpTarget(at, quick, URL{Path: "/"})
		targets[i].Spec.Kind, targets[i].Spec.TLS = SSLGet, &s
	}
	if _, err := r.Set(targets); err != nil {
		t.Fatal(err)
	}
	if n := <-shown; n != 1 {
		t.Errorf("%d certificates were shown", n)
	}
	await(t, "results", func() bool {
		s := r.Status()
		return s[0].Known && s[0].Up && s[1].Known && !s[1].Up && !s[2].Known && r.Stats().Postponed > 0
	})
}
