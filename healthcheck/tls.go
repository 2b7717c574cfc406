// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/lvs-fnat/lvs/internal/poll"
)

// TLS is what an SSL_GET adds to an HTTP_GET.
type TLS struct {
	// SNI has the handshake name the server: ServerName, or else the virtual
	// host of the request.
	SNI        bool
	ServerName string
	// Compliant has a stream that ends without close_notify be a failure.
	Compliant bool
	// Certificate and Key are files of the certificate to show, both or neither
	// (SSL block), and Password what opens the key.
	Certificate, Key, Password string
}

func (t *TLS) validate() error {
	switch {
	case t == nil:
		return errors.New("nothing about TLS is given")
	case !Clean(t.ServerName):
		return errors.New("sni_name has a blank or control character")
	case (t.Certificate == "") != (t.Key == ""):
		return errors.New("SSL needs both a certificate and a key, or neither")
	}
	return nil
}

// began is where the clock of handshakes starts.
var began = time.Now()

// handshakes is what those of one check have in common, with the sessions that make
// the next ones cheap, one for each of so many names. Nothing verifies the
// certificate, as in keepalived: a check asks whether the server serves, not who it
// is. Nor may a certificate that has expired cost the session, which crypto/tls
// forgets then: on the clock of handshakes, which measures the age of sessions, it is
// the day of 1970 on which the process began.
func handshakes(names int) *tls.Config {
	return &tls.Config{
		InsecureSkipVerify: true,
		CurvePreferences:   []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521},
		ClientSessionCache: tls.NewLRUClientSessionCache(names),
		Time:               func() time.Time { return time.Unix(0, 0).Add(time.Since(began)) },
	}
}

// config is for checks of h.
func (t *TLS) config(h *HTTP) (*tls.Config, error) {
	c := handshakes(max(1, len(h.URLs)))
	if t.Certificate != "" {
		pair, err := t.pair()
		if err != nil {
			return nil, fmt.Errorf("SSL certificate: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// compliant tells whether an answer of u must end with close_notify.
func compliant(t *TLS, u *URL) bool {
	if u.Compliant == 0 {
		return t.Compliant
	}
	return u.Compliant == 1
}

// serverName is the name for the handshake, empty for none.
func (t *TLS) serverName(h *HTTP, u *URL) string {
	switch {
	case !t.SNI:
		return ""
	case t.ServerName != "":
		return t.ServerName
	case u.VirtualHost != "":
		return hostOnly(u.VirtualHost)
	}
	return hostOnly(h.VirtualHost)
}

// hostOnly removes the port that a Host header may have.
func hostOnly(s string) string {
	if host, _, err := net.SplitHostPort(s); err == nil {
		return host
	}
	return s
}

// session is one run of SSL_GET after its connection stands. It belongs to a
// goroutine of the pool.
type session struct {
	*exchange
	timeout   time.Duration
	config    *tls.Config
	compliant bool
	proxy     []byte // goes before the handshake
}

// handOver gives the connection to the pool: a handshake takes a millisecond
// of CPU, in which the loop could finish many checks.
func (c *check) handOver() {
	s := &c.target.Spec
	if c.tls == nil {
		var err error
		if c.own().tls, err = s.TLS.config(&s.HTTP); err != nil {
			c.finish(result{local: err})
			return
		}
	}
	job := &session{
		exchange:  newExchange(c.target, int(c.state.url), c.patterns),
		timeout:   s.Timing.ConnectTimeout,
		config:    c.tls,
		compliant: compliant(s.TLS, &s.HTTP.URLs[c.state.url]),
		proxy:     proxyHeader(s.Conn.Proxy),
	}
	if name := s.TLS.serverName(&s.HTTP, job.url); name != "" {
		job.config = c.tls.Clone()
		job.config.ServerName = name
	}
	c.shard.loop.Stop(&c.timer)
	conn, err := adopt(c.shard.loop, int(c.fd))
	c.fd = -1
	if err != nil {
		c.finish(result{local: err})
		return
	}
	c.delegate(c.shard.sessions, func(ctx context.Context) result { return job.run(ctx, conn) })
}

// adopt takes a socket from the loop and makes it one of package net.
func adopt(l *poll.Loop, fd int) (net.Conn, error) {
	err := l.Release(fd)
	f := os.NewFile(uintptr(fd), "check")
	conn, fileErr := net.FileConn(f)
	if err = errors.Join(err, fileErr, f.Close()); err != nil && conn != nil {
		conn.Close()
		return nil, err
	}
	return conn, err
}

func (s *session) run(ctx context.Context, conn net.Conn) result {
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(s.timeout)); err != nil {
		return result{local: err}
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if len(s.proxy) > 0 {
		if _, err := conn.Write(s.proxy); err != nil {
			return failed(s.fault(err, s.lineWrite))
		}
	}
	raw := &ending{Conn: conn}
	secure := tls.Client(raw, s.config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return failed(func(t *Target) string { return msgTLS(t, err) })
	}
	if _, err := secure.Write(s.request); err != nil {
		return failed(s.fault(err, s.lineWrite))
	}
	s.request = nil
	return s.read(secure, raw)
}

// ends tells whether err is the end of a stream. Unlike without TLS a reset is one
// as well, as it is for keepalived 2.2.7.
func ends(err error) bool {
	return err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)
}

// ending notes the end of a stream. TLS does not read that far when the peer
// has said close_notify, and takes an end without for a good one.
type ending struct {
	net.Conn
	seen bool
}

func (e *ending) Read(p []byte) (int, error) {
	n, err := e.Conn.Read(p)
	e.seen = e.seen || ends(err)
	return n, err
}

// pieces are what sessions read into.
var pieces = sync.Pool{New: func() any { return new([16 << 10]byte) }} // a record of TLS

func (s *session) read(r io.Reader, raw *ending) result {
	buf := pieces.Get().(*[16 << 10]byte)
	defer pieces.Put(buf)
	for {
		n, err := r.Read(buf[:])
		if n > 0 {
			if r, done := s.take(buf[:n]); done {
				return r
			}
		}
		switch {
		case err == nil:
		case ends(err) && !(raw.seen && s.compliant):
			s.ended = true
			return s.end()
		default:
			return failed(s.fault(err, s.lineRead))
		}
	}
}

// fault is the line of an error while the exchange goes on.
func (s *session) fault(err error, other func(*Target) string) func(*Target) string {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return s.lineTimeout
	}
	return other
}
