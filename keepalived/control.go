// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// control is the socket beside the pid file of the checkers: what --plan and
// --force-reload speak to. A request is one line, an answer one with an exit
// code and then text. Only who may write to the socket's folder and is its
// owner reaches it.
type control struct {
	log      *slog.Logger
	listener *net.UnixListener
	asked    chan question
	closed   chan struct{}
	wg       sync.WaitGroup
}

// question is a request, with where the answer goes.
type question struct {
	verb, argument string
	answer         chan<- answer
}

type answer struct {
	code int
	text string
}

// controlPatience bounds the exchange with one client.
const controlPatience = time.Minute

// maxRequest is the longest request: a verb and a path.
const maxRequest = 8 << 10

// controlPath is where the checkers with that pid file listen.
func controlPath(pidFile string) string { return strings.TrimSuffix(pidFile, ".pid") + ".sock" }

// openControl listens at path. A socket that is there belongs to nobody: the pid
// file beside it is locked by this process.
func openControl(log *slog.Logger, path string) (*control, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	c := &control{log: log, listener: l, asked: make(chan question), closed: make(chan struct{})}
	c.wg.Go(c.accept)
	return c, nil
}

// close waits for all that is under way. The zero control is closed already.
func (c *control) close() error {
	if c.listener == nil {
		return nil
	}
	close(c.closed)
	err := c.listener.Close()
	c.wg.Wait()
	return err
}

func (c *control) accept() {
	for {
		conn, err := c.listener.AcceptUnix()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				c.log.Error(fmt.Sprintf("control socket: %v", err))
			}
			return
		}
		c.wg.Go(func() { c.attend(conn) })
	}
}

// attend serves one client. It ends with the client, or with the socket.
func (c *control) attend(conn net.Conn) {
	defer conn.Close()
	// The deadline of a local socket cannot fail to be set while it is open.
	_ = conn.SetDeadline(time.Now().Add(controlPatience))
	request, err := bufio.NewReader(io.LimitReader(conn, maxRequest)).ReadString('\n')
	if err != nil {
		return
	}
	verb, argument, _ := strings.Cut(strings.TrimSuffix(request, "\n"), " ")
	answers := make(chan answer, 1)
	select {
	case c.asked <- question{verb, argument, answers}:
	case <-c.closed:
		return
	}
	select {
	case a := <-answers:
		// A client that has gone needs no answer.
		_, _ = fmt.Fprintf(conn, "%d\n%s", a.code, a.text)
	case <-c.closed:
	}
}

// errNoDaemon says that nobody listens at the control socket.
var errNoDaemon = errors.New("no daemon is running")

// ask sends a request to the daemon.
func ask(ctx context.Context, path, request string) (answer, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return answer{}, fmt.Errorf("%w (%w)", errNoDaemon, err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(controlPatience)); err != nil {
		return answer{}, err
	}
	if _, err := fmt.Fprintln(conn, request); err != nil {
		return answer{}, fmt.Errorf("%s: %w", path, err)
	}
	b, err := io.ReadAll(conn)
	if err != nil {
		return answer{}, fmt.Errorf("%s: %w", path, err)
	}
	code, text, _ := strings.Cut(string(b), "\n")
	n, err := strconv.Atoi(code)
	if err != nil {
		return answer{}, fmt.Errorf("%s: the daemon has hung up", path)
	}
	return answer{n, text}, nil
}
