// SPDX-License-Identifier: Apache-2.0

package supervise

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Verb says what a [Message] is about.
type Verb string

// What is said.
const (
	// Up, from a child, follows the start: the child does its work. It is said once.
	VerbUp Verb = "up"
	// Reloaded and Kept answer a SIGHUP: the new configuration is in force, or
	// the old one stays, and Text says why.
	VerbReloaded Verb = "reloaded"
	VerbKept     Verb = "kept"
	// Relay is for another child, whose name is in To: the parent passes it on,
	// with the sender's name in From. It is lost when that child does not run.
	VerbRelay Verb = "relay"
	// Begin, from the parent, is the first word to a child; Data says how it is to
	// live.
	VerbBegin Verb = "begin"
	// Silence, from the parent, has the child close its standard streams: the
	// start is over, and whoever waits for their end need not.
	VerbSilence Verb = "silence"
)

// Message is one word between a parent and a child.
type Message struct {
	Verb Verb   `json:"verb"`
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	Text string `json:"text,omitempty"`
	Data []byte `json:"data,omitempty"`
}

// MaxMessage bounds an encoded message, in bytes.
const MaxMessage = 64 << 10

// Conn is one end of the socket between a parent and a child. Its methods may be
// called from several goroutines, Receive from one at a time.
type Conn struct {
	c   *net.UnixConn
	buf []byte
	mu  sync.Mutex // orders Send against Close
}

// Pair makes both ends. far is for the child; it survives the exec of no other
// program.
func Pair() (near *Conn, far *os.File, err error) {
	// Whole messages (SOCK_SEQPACKET), and an end of the stream when the other
	// process dies, however it dies.
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	a, b := os.NewFile(uintptr(fds[0]), "parent"), os.NewFile(uintptr(fds[1]), "child")
	near, err = NewConn(a)
	if err != nil {
		return nil, nil, errors.Join(err, b.Close())
	}
	return near, b, nil
}

// NewConn takes over the end f; it closes f.
func NewConn(f *os.File) (*Conn, error) {
	c, err := net.FileConn(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("%s is no Unix socket", f.Name()), c.Close())
	}
	return &Conn{c: u, buf: make([]byte, MaxMessage)}, nil
}

// Send says m. It blocks while the other end does not listen.
func (c *Conn) Send(m Message) error {
	p, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if len(p) > MaxMessage {
		return fmt.Errorf("message %s of %d bytes is longer than %d", m.Verb, len(p), MaxMessage)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err = c.c.Write(p)
	return err
}

// Receive waits for a message. Its error is io.EOF when the other end is gone.
func (c *Conn) Receive() (Message, error) {
	n, err := c.c.Read(c.buf)
	if err == nil && n == 0 || errors.Is(err, unix.ECONNRESET) {
		err = io.EOF // a socket of packets has no other sign of it
	}
	if err != nil {
		return Message{}, err
	}
	var m Message
	if err := json.Unmarshal(c.buf[:n], &m); err != nil {
		return Message{}, fmt.Errorf("message of %d bytes: %w", n, err)
	}
	return m, nil
}

// Close ends the conversation; the other end finds io.EOF.
func (c *Conn) Close() error { return c.c.Close() }
