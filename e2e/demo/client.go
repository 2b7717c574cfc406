// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/lvs-fnat/lvs/internal/testnet"
)

// request is one of curl's, each over a connection of its own.
type request struct {
	server string // who answered
	from   netip.AddrPort
	fault  string // "" for an answer with status 200
	batch  time.Time
}

// curl asks the web service at vip n times, with one process.
func curl(ctx context.Context, c *testnet.Host, vip netip.Addr, n int) ([]request, error) {
	begin := time.Now()
	host := vip.String()
	if vip.Is6() {
		host = "[" + host + "]"
	}
	out, err := c.Run(ctx, "curl", "--silent", "--connect-timeout", "3", "--max-time", "5", "--header", "Connection: close",
		"--write-out", `= %{http_code} %{local_ip} %{local_port} %{exitcode}\n`, fmt.Sprintf("http://%s/?[1-%d]", host, n))
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return nil, err
	}
	var all []request
	r := request{batch: begin}
	for line := range strings.Lines(out) {
		var code, port, status, addr string
		if rest, ok := strings.CutPrefix(line, "= "); !ok {
			r.server = strings.TrimSpace(line)
			continue
		} else if f := strings.Fields(rest); len(f) == 4 {
			code, addr, port, status = f[0], f[1], f[2], f[3]
			if r.from, err = addrPort(addr, port); err != nil {
				return nil, fmt.Errorf("curl wrote %q: %w", line, err)
			}
		} else if len(f) > 1 {
			// Without a connection there is no local address.
			code, status = f[0], f[len(f)-1]
		}
		if code != "200" || status != "0" {
			r.fault = fmt.Sprintf("HTTP status %s, curl's status %s", code, status)
		}
		all = append(all, r)
		r = request{batch: begin}
	}
	if len(all) != n {
		return nil, fmt.Errorf("curl made %d of %d requests: %q", len(all), n, out)
	}
	return all, nil
}

// failed counts the requests without an answer.
func failed(rs []request) (n int, example string) {
	for _, r := range rs {
		if r.fault != "" {
			n, example = n+1, r.fault
		}
	}
	return n, example
}

// load asks both addresses of the web service in turn until it is stopped.
type load struct {
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu   sync.Mutex
	done []request
	err  error
}

// A load that nobody stops ends after maxBatches.
const (
	maxBatches, batchSize = 500, 10
	batchPause            = 50 * time.Millisecond
)

func startLoad(ctx context.Context, c *testnet.Host) *load {
	l := &load{}
	stopped, stop := context.WithCancel(ctx)
	l.stop = stop
	l.wg.Go(func() {
		for i := 0; i < maxBatches && stopped.Err() == nil; i++ {
			vip := testnet.VIP4
			if i%2 == 1 {
				vip = testnet.VIP6
			}
			// A batch that has begun is finished: stopping fails no request.
			rs, err := curl(ctx, c, vip, batchSize)
			l.mu.Lock()
			l.done = append(l.done, rs...)
			l.err = errors.Join(l.err, err)
			l.mu.Unlock()
			if err != nil {
				return
			}
			time.Sleep(batchPause)
		}
	})
	return l
}

// more returns when n further requests have been made.
func (l *load) more(ctx context.Context, n int) error {
	l.mu.Lock()
	want := len(l.done) + n
	l.mu.Unlock()
	return wait(ctx, "requests under load", func() (bool, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.done) >= want, l.err
	})
}

// end stops the load and returns its requests.
func (l *load) end() ([]request, error) {
	l.stop()
	l.wg.Wait()
	return l.done, l.err
}

// datagrams sends n of them from as many sockets to the UDP service at vip and
// counts the answers per real server.
func datagrams(ctx context.Context, c *testnet.Host, vip netip.Addr, n int) (map[string]int, error) {
	count := map[string]int{}
	for range n {
		name, err := ask(ctx, c, vip)
		if err != nil {
			return count, fmt.Errorf("UDP to %v: %w", vip, err)
		}
		count[name]++
	}
	return count, nil
}

func ask(ctx context.Context, c *testnet.Host, vip netip.Addr) (string, error) {
	conn, err := c.DialContext(ctx, "udp", netip.AddrPortFrom(vip, 53).String())
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", err
	}
	if _, err := conn.Write([]byte("who are you?")); err != nil {
		return "", err
	}
	buf := make([]byte, 100)
	n, err := conn.Read(buf)
	return string(buf[:n]), err
}

// wait calls check until it reports true.
func wait(ctx context.Context, what string, check func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		ok, err := check()
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: waited for a minute in vain", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
