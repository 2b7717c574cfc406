// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"context"
	"crypto/md5"
	"crypto/tls"
	"errors"
	"fmt"
	"hash"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// Errors of [Digest] about what came from the server.
var (
	// ErrNoAnswer is an end before the head of an answer was complete.
	ErrNoAnswer = errors.New("no complete head of an HTTP answer")
	// ErrNoStatus is a head that does not begin with a status line of HTTP, or
	// has no end; a check takes its server for dead.
	ErrNoStatus = errors.New("no status line of HTTP")
)

// Step is a part of fetching a page.
type Step uint8

// The steps, in their order.
const (
	Connecting Step = iota
	Handshake
	Writing
	Reading
)

// String returns what is done in the step.
func (s Step) String() string { return [...]string{"connect", "handshake", "write", "read"}[s] }

// FetchError tells in which step fetching a page has failed.
type FetchError struct {
	Step Step
	// Began is whether the step was Reading and something had been read.
	Began bool
	Err   error // os.ErrDeadlineExceeded when the time was over
}

// Error implements error.
func (e *FetchError) Error() string { return e.Step.String() + ": " + e.Err.Error() }

// Unwrap returns the reason.
func (e *FetchError) Unwrap() error { return e.Err }

// Trace is told of an answer as it comes. What its functions are given is theirs
// until they return.
type Trace struct {
	// Head gets the status line and headers with the empty line behind them.
	Head func([]byte)
	// Body gets the pieces of what the digest is made of.
	Body func([]byte)
}

// teller is a hash that tells a trace what it is given.
type teller struct {
	hash.Hash
	x     *exchange
	trace *Trace
	told  bool
}

// Write implements io.Writer. The first call, with an empty piece if there is no
// body, comes when the head is complete.
func (t *teller) Write(p []byte) (int, error) {
	if !t.told {
		t.told = true
		t.trace.Head(t.x.head[:headEnd(t.x.head)])
	}
	if len(p) > 0 {
		t.trace.Body(p)
	}
	return t.Hash.Write(p)
}

// placeholder has a check take any status, as one with a digest does.
var placeholder = strings.Repeat("0", 2*md5.Size)

// Digest fetches the first URL of s, which is an HTTPGet or an SSLGet, once and
// returns what such a check compares with the digest of the URL, as hex digits.
// Each step, and each wait for more of the answer, may take the ConnectTimeout of
// s. A nil trace is told nothing. Errors but those of a wrong s are a
// [*FetchError]. It blocks, and may be called by several goroutines at a time.
func Digest(ctx context.Context, s Spec, trace *Trace) (string, error) {
	if s.Kind != HTTPGet && s.Kind != SSLGet {
		return "", fmt.Errorf("%s fetches no page", s.Kind)
	}
	if err := s.validate(); err != nil {
		return "", err
	}
	url := s.HTTP.URLs[0]
	url.Digest, url.Status, url.Regex = placeholder, nil, ""
	s.HTTP.URLs = []URL{url}
	x := newExchange(&Target{Spec: s}, 0, nil)
	if trace != nil {
		x.sum = &teller{Hash: x.sum, x: x, trace: trace}
	}
	conn, err := open(ctx, &s)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	f := fetch{exchange: x, conn: conn, wait: s.Timing.ConnectTimeout, secure: s.Kind == SSLGet}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if err := f.run(ctx, &s); err != nil {
		return "", err
	}
	return x.digest(), nil
}

// open connects to the server of s.
func open(ctx context.Context, s *Spec) (net.Conn, error) {
	d := net.Dialer{Timeout: s.Timing.ConnectTimeout, Control: func(_, _ string, raw syscall.RawConn) error {
		if s.Conn.FwMark == 0 {
			return nil
		}
		var err error
		return errors.Join(raw.Control(func(fd uintptr) {
			err = os.NewSyscallError("firewall mark", syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_MARK, int(s.Conn.FwMark)))
		}), err)
	}}
	conn, err := d.DialContext(ctx, "tcp", s.Conn.Addr.String())
	if err == nil {
		return conn, nil
	}
	var op *net.OpError
	switch {
	case errors.As(err, &op) && op.Timeout():
		err = os.ErrDeadlineExceeded
	case errors.As(err, &op):
		err = op.Err
	}
	return nil, &FetchError{Step: Connecting, Err: err}
}

// fetch is one page on its way.
type fetch struct {
	*exchange
	conn   net.Conn
	wait   time.Duration
	secure bool
}

// extend gives the next step, or piece of the answer, its time.
func (f *fetch) extend() error { return f.conn.SetDeadline(time.Now().Add(f.wait)) }

// fault makes the error of a step.
func (f *fetch) fault(step Step, err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = os.ErrDeadlineExceeded
	}
	return &FetchError{Step: step, Began: step == Reading && len(f.head) > 0, Err: err}
}

func (f *fetch) run(ctx context.Context, s *Spec) error {
	if f.secure {
		conf, err := s.TLS.config(&s.HTTP)
		if err != nil {
			return err
		}
		conf.ServerName = s.TLS.serverName(&s.HTTP, f.url)
		if err := f.extend(); err != nil {
			return f.fault(Handshake, err)
		}
		t := tls.Client(f.conn, conf)
		if err := t.HandshakeContext(ctx); err != nil {
			return f.fault(Handshake, err)
		}
		f.conn = t
	}
	if err := f.extend(); err != nil {
		return f.fault(Writing, err)
	}
	if _, err := f.conn.Write(f.request); err != nil {
		return f.fault(Writing, err)
	}
	buf := make([]byte, readBuffer)
	for {
		if err := f.extend(); err != nil {
			return f.fault(Reading, err)
		}
		n, err := f.conn.Read(buf)
		if n > 0 {
			if _, done := f.take(buf[:n]); done {
				return f.judge()
			}
		}
		switch {
		case err == nil:
		case f.over(err):
			return f.judge()
		default:
			return f.fault(Reading, err)
		}
	}
}

// over tells whether err is the end of the answer, as the checks see it.
func (f *fetch) over(err error) bool {
	return ends(err) && (f.secure || !errors.Is(err, syscall.ECONNRESET))
}

// judge tells whether the answer is one a check would take a digest of.
func (f *fetch) judge() error {
	switch {
	case !f.inBody && len(f.head) <= headLimit:
		return f.fault(Reading, ErrNoAnswer)
	case !f.inBody || f.code == 0:
		return f.fault(Reading, ErrNoStatus)
	}
	return nil
}
