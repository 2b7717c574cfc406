// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// GRPC is what a GRPC_CHECK asks (grpc.health.v1.Health, method Check).
type GRPC struct {
	// Service is the name asked for; empty is the server as a whole.
	Service string
	// Authority is the name of the server in the request; empty is its address.
	Authority string
	// TLS has the connection be encrypted. The certificate is not verified.
	TLS bool
}

func (g *GRPC) validate() error {
	switch {
	case g == nil:
		return errors.New("nothing about gRPC is given")
	case len(g.Service) > 1<<12:
		return errors.New("service is longer than 4096 bytes")
	case !Clean(g.Authority):
		return errors.New("authority has a blank or control character")
	}
	return nil
}

// grpcLimit bounds an answer, in bytes.
const grpcLimit = 4 << 10

// grpcServing is the one good value of HealthCheckResponse.ServingStatus.
const grpcServing = 1

var grpcStatus = []string{"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"}

// request is the message HealthCheckRequest{service} behind gRPC's prefix.
func (g *GRPC) request() []byte {
	var m []byte
	if g.Service != "" {
		m = append(m, 1<<3|2) // field 1, of bytes
		m = binary.AppendUvarint(m, uint64(len(g.Service)))
		m = append(m, g.Service...)
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(m))), m...)
}

var errGRPC = errors.New("the reply is no health message")

// grpcAnswer reads the status out of a HealthCheckResponse behind its prefix.
func grpcAnswer(p []byte) (status int, err error) {
	if len(p) < 5 || p[0] != 0 || uint64(binary.BigEndian.Uint32(p[1:])) != uint64(len(p)-5) {
		return 0, errGRPC
	}
	for p = p[5:]; len(p) > 0; {
		tag, n := binary.Uvarint(p)
		if n <= 0 {
			return 0, errGRPC
		}
		p = p[n:]
		v, n := binary.Uvarint(p)
		if n <= 0 {
			return 0, errGRPC
		}
		p = p[n:]
		switch tag & 7 {
		case 0:
		case 2: // a field of a later version
			if v > uint64(len(p)) {
				return 0, errGRPC
			}
			p = p[v:]
		default:
			return 0, errGRPC
		}
		if tag == 1<<3 {
			status = int(min(v, 1<<16))
		}
	}
	return status, nil
}

// handOverGRPC gives the connection to the pool: HTTP/2 is a conversation.
func (c *check) handOverGRPC() {
	s := &c.target.Spec
	c.shard.loop.Stop(&c.timer)
	conn, err := adopt(c.shard.loop, int(c.fd))
	c.fd = -1
	if err != nil {
		c.finish(result{local: err})
		return
	}
	g, timeout, addr := s.GRPC, s.Timing.ConnectTimeout, s.Conn.Addr.String()
	if g.TLS && c.tls == nil {
		c.own().tls = handshakes(1)
	}
	conf := c.tls
	c.delegate(c.shard.sessions, func(ctx context.Context) result { return g.run(ctx, conn, conf, addr, timeout) })
}

// run asks once; conf is for handshakes, nil without TLS.
func (g *GRPC) run(ctx context.Context, conn net.Conn, conf *tls.Config, addr string, timeout time.Duration) result {
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	// Also while a handshake reads.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	t := &http.Transport{
		Protocols:          new(http.Protocols),
		DisableCompression: true,
		// The one connection is there already.
		DialContext:     once(conn),
		TLSClientConfig: conf,
	}
	defer t.CloseIdleConnections()
	scheme := "http"
	if g.TLS {
		scheme = "https"
		t.Protocols.SetHTTP2(true)
	} else {
		t.Protocols.SetUnencryptedHTTP2(true)
	}
	what, ok := g.ask(ctx, t, scheme+"://"+addr)
	if ok {
		return passed()
	}
	return failed(func(t *Target) string { return msgGRPC(t, what) })
}

// once dials to conn.
func once(conn net.Conn) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		if conn == nil {
			return nil, errors.New("the connection was lost")
		}
		c := conn
		conn = nil
		return c, nil
	}
}

// ask tells whether the server serves, or what is wrong.
func (g *GRPC) ask(ctx context.Context, t *http.Transport, url string) (what string, ok bool) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/grpc.health.v1.Health/Check", bytes.NewReader(g.request()))
	if err != nil {
		return err.Error(), false
	}
	if g.Authority != "" {
		req.Host = g.Authority
	}
	req.Header = http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}, "User-Agent": {"KeepAliveClient"}}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return g.fault(ctx, err), false
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, grpcLimit))
	if err != nil {
		return g.fault(ctx, err), false
	}
	// A refusal has the status in the header, an answer behind the message.
	code := resp.Trailer.Get("Grpc-Status") + resp.Header.Get("Grpc-Status")
	switch {
	case resp.StatusCode != http.StatusOK:
		return fmt.Sprintf("HTTP status %d", resp.StatusCode), false
	case code != "0":
		return fmt.Sprintf("gRPC status %s %.100q", code, resp.Trailer.Get("Grpc-Message")+resp.Header.Get("Grpc-Message")), false
	}
	status, err := grpcAnswer(body)
	switch {
	case err != nil:
		return err.Error(), false
	case status == grpcServing:
		return "", true
	case status < len(grpcStatus):
		return grpcStatus[status], false
	}
	return fmt.Sprintf("serving status %d", status), false
}

func (g *GRPC) fault(ctx context.Context, err error) string {
	if ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return "timeout"
	}
	return strings.TrimSuffix(err.Error(), ".")
}
