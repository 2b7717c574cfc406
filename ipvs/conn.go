// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/lvs-fnat/lvs/ipvs/uapi"
	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Applier is the write side of a [Client]; ipvstest.Table is another.
type Applier interface {
	Apply(ctx context.Context, ops ...Op) error
}

// ConnDeleter ends connections; a [Client] and ipvstest.Table do.
type ConnDeleter interface {
	DeleteConns(ctx context.Context, filter ConnFilter) (uint64, error)
}

// Reader is the read side of a [Client]; ipvstest.Table is another.
type Reader interface {
	Info(ctx context.Context) (Info, error)
	Services(ctx context.Context) ([]Service, error)
	Service(ctx context.Context, key ServiceKey) (Service, error)
	Dests(ctx context.Context, key ServiceKey) ([]Dest, error)
	Timeouts(ctx context.Context) (Timeouts, error)
	Daemons(ctx context.Context) ([]Daemon, error)
	ExtServices(ctx context.Context) ([]ExtService, error)
	ExtService(ctx context.Context, key ServiceKey) (ExtService, error)
	LGroups(ctx context.Context) ([]LGroup, error)
	Laddrs(ctx context.Context, group string) ([]Laddr, error)
	Conns(ctx context.Context, filter ConnFilter) iter.Seq2[Conn, error]
	Events(ctx context.Context, ready func()) iter.Seq2[Event, error]
	ExtStats(ctx context.Context) (ExtStats, error)
}

// ExtInfo is what IPVS_EXT tells about itself (GET_INFO).
type ExtInfo struct {
	ABI      uint32
	Features uint64 // IPVS_EXT_FEAT_*, see [FeatureNames]
	Build    string
	TabBits  uint32 // log2 of the heads of the out table
	ConnSize uint32 // bytes
}

// ExtStats are the extension's counters by number (IPVS_EXT_STAT_*); names
// come from [ExtStatName].
type ExtStats map[uint16]uint64

// Client speaks to the IPVS of one network namespace. It is safe for
// concurrent use: one request, batch or dump is on the socket at a time.
// Streams have a socket each, so a loop over one may use the client.
// A request ends with the context's error when the context does.
type Client struct {
	// mu is held from the first byte sent to the last one received: replies
	// on one socket can only be told apart when nobody else reads them.
	mu   sync.Mutex
	conn *netlink.Conn
	// dirty means that replies of an abandoned request may be on the way.
	dirty bool
	// main and ext are the families' numbers; 0 is "not looked up, or absent"
	// and is never kept as an answer.
	main, ext uint16
	info      ExtInfo // of ext
	// second opens another socket in the namespace of this one, for streams.
	second func() (*netlink.Conn, error)
}

var (
	_ Applier = (*Client)(nil)
	_ Reader  = (*Client)(nil)

	_ ConnDeleter = (*Client)(nil)
)

// Config tells how to dial. The zero value is good.
type Config struct {
	// NetNS is an open file of a network namespace; 0 is the namespace of the
	// calling thread. The caller may close it after Dial.
	NetNS int
}

// Dial opens a client in the network namespace of the calling thread.
func Dial(ctx context.Context) (*Client, error) { return Config{}.Dial(ctx) }

// Dial opens a client. The error is [ErrNoIPVS] when the kernel has no ip_vs;
// an absent IPVS_EXT is no error, see [Client.HasExt].
func (cfg Config) Dial(ctx context.Context) (*Client, error) {
	conn, err := open(cfg.NetNS)
	if err != nil {
		return nil, err
	}
	c, err := newClient(ctx, conn, func() (*netlink.Conn, error) { return openBeside(conn) })
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return c, nil
}

// SetReadBuffer sets the receive buffer of the client's socket, in bytes; beyond
// net.core.rmem_max where the process may.
func (c *Client) SetReadBuffer(bytes int) error {
	if err := c.conn.SetReadBuffer(bytes); err != nil {
		return fmt.Errorf("set the receive buffer of generic netlink: %w", err)
	}
	return nil
}

func open(netns int) (*netlink.Conn, error) {
	conn, err := netlink.Dial(syscall.NETLINK_GENERIC, &netlink.Config{NetNS: netns})
	if err != nil {
		return nil, fmt.Errorf("open generic netlink: %w", err)
	}
	if err := conn.SetOption(netlink.ExtendedAcknowledge, true); err != nil {
		return nil, errors.Join(fmt.Errorf("ask for netlink's extended errors: %w", err), conn.Close())
	}
	return conn, nil
}

// openBeside asks conn's socket for its namespace, so that none need be kept.
func openBeside(conn *netlink.Conn) (*netlink.Conn, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var netns int
	var failed error
	if err := raw.Control(func(fd uintptr) { netns, failed = unix.IoctlRetInt(int(fd), unix.SIOCGSKNS) }); err != nil {
		return nil, err
	}
	if failed != nil {
		return nil, fmt.Errorf("find the network namespace of a socket: %w", failed)
	}
	defer unix.Close(netns)
	return open(netns)
}

// newClient looks the families up on conn.
func newClient(ctx context.Context, conn *netlink.Conn, second func() (*netlink.Conn, error)) (*Client, error) {
	c := &Client{conn: conn, second: second}
	if err := c.exclusive(ctx, c.resolve); err != nil {
		return nil, (&OpError{Op: "dial"}).fill(err)
	}
	return c, nil
}

// Close closes the socket; a request that waits fails.
func (c *Client) Close() error { return c.conn.Close() }

// HasExt tells whether the ip_vs in the kernel is ours, as of the last look-up.
func (c *Client) HasExt() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ext != 0
}

// exclusive runs f with the socket to itself and the context's end as deadline.
func (c *Client) exclusive(ctx context.Context, f func() error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := c.conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	// A deadline in the past is how a blocked socket is woken.
	wake := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(wake)
		_ = c.conn.SetDeadline(time.Unix(1, 0)) // fails only on a closed socket
	})
	defer func() {
		if !stop() {
			<-wake
		}
	}()
	err := c.drain()
	if err == nil {
		err = f()
	}
	if err != nil && ctx.Err() != nil {
		c.dirty = true
		return ctx.Err()
	}
	return err
}

// drain reads what an abandoned request left behind. A no-op with an ack marks
// the end: the kernel answers in order.
func (c *Client) drain() error {
	if !c.dirty {
		return nil
	}
	sent, err := c.conn.Send(noop)
	if err != nil {
		return err
	}
	for {
		for m, err := range c.conn.ReceiveIter() {
			var op *netlink.OpError
			switch {
			case err != nil && !(errors.As(err, &op) && op.Sequence != 0):
				return err
			case err == nil && m.Header.Sequence == sent.Header.Sequence:
				c.dirty = false
			}
		}
		if !c.dirty {
			return nil
		}
	}
}

// resolve looks both families up, and what the second can do.
func (c *Client) resolve() error {
	c.main, c.ext, c.info = 0, 0, ExtInfo{}
	f, err := genetlink.NewConn(c.conn).GetFamily(uapi.GenlName)
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNoIPVS
	}
	if err != nil {
		return err
	}
	c.main = f.ID
	return c.resolveExt()
}

// resolveExt finds IPVS_EXT in the list of all families. To ask for it by name
// where it is absent would make the kernel run modprobe, each time, in vain:
// the module is loaded, or the mainline family would not be there.
func (c *Client) resolveExt() error {
	families, err := genetlink.NewConn(c.conn).ListFamilies()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(families, func(f genetlink.Family) bool { return f.Name == uapi.ExtGenlName })
	if i < 0 {
		return nil
	}
	id := families[i].ID
	msg, err := encode(id, netlink.Acknowledge, uapi.ExtCmdGetInfo, uapi.ExtGenlVersion, nil)
	if err != nil {
		return err
	}
	var info ExtInfo
	if err := c.exchange(msg, func(ad *netlink.AttributeDecoder) (err error) {
		info, err = decodeExtInfo(ad)
		return err
	}); err != nil {
		return fmt.Errorf("ask IPVS_EXT what it can do: %w", err)
	}
	c.ext, c.info = id, info
	return nil
}

// need returns the family's number, looking an absent IPVS_EXT up again: the
// module may have come since.
func (c *Client) need(ext bool) (uint16, error) {
	if !ext {
		if c.main == 0 {
			if err := c.resolve(); err != nil {
				return 0, err
			}
		}
		return c.main, nil
	}
	if c.ext == 0 {
		if err := c.resolveExt(); err != nil {
			return 0, err
		}
	}
	if c.ext == 0 {
		return 0, ErrNoExt
	}
	return c.ext, nil
}

// moved tells, after an ENOENT, whether the module was reloaded: then the
// families have other numbers, and the request reached nobody. That ip_vs is
// gone altogether is an error.
func (c *Client) moved(err error, ext bool) (bool, error) {
	var op *netlink.OpError
	if !errors.As(err, &op) || op.Err != syscall.ENOENT {
		return false, nil
	}
	oldMain, oldExt := c.main, c.ext
	if err := c.resolve(); err != nil {
		return false, err
	}
	if !ext {
		return c.main != oldMain, nil
	}
	if c.ext == 0 {
		return false, ErrNoExt
	}
	return c.ext != oldExt, nil
}

// encode makes one message of a command; attrs may be nil.
func encode(family uint16, flags netlink.HeaderFlags, cmd, version uint8, attrs func(*encoder) error) (netlink.Message, error) {
	var e encoder
	return e.message(family, flags, cmd, version, attrs)
}

// genlHeader is the length of struct genlmsghdr.
const genlHeader = 4

// exchange sends msg and gives each answer's attributes to each, until the
// acknowledgement, or for a dump its end.
func (c *Client) exchange(msg netlink.Message, each func(*netlink.AttributeDecoder) error) error {
	dump := msg.Header.Flags&netlink.Dump == netlink.Dump
	sent, err := c.conn.Send(msg)
	if err != nil {
		return err
	}
	var interrupted bool
	for {
		var failed error
		for m, err := range c.conn.ReceiveIter() {
			if err != nil {
				var op *netlink.OpError
				if errors.As(err, &op) && op.Sequence != 0 && op.Sequence != sent.Header.Sequence {
					break
				}
				return err
			}
			switch {
			case m.Header.Sequence != sent.Header.Sequence:
				continue
			case m.Header.Type == netlink.Error:
				return nil
			}
			interrupted = interrupted || m.Header.Flags&netlink.DumpInterrupted != 0
			// Even after a failure the rest must be read off the socket.
			if failed == nil {
				failed = decodeMessage(m, each)
			}
			if failed == errStop {
				_ = c.conn.Close() // a stream's own: what is left need not be read
			}
		}
		switch {
		case failed != nil && !dump:
			c.dirty = true
			return failed
		case failed != nil:
			return failed
		case interrupted:
			return ErrInterrupted
		case dump:
			return nil
		}
	}
}

// errStop marks a stream whose consumer has seen enough.
var errStop = errors.New("stop")

func decodeMessage(m netlink.Message, each func(*netlink.AttributeDecoder) error) error {
	if len(m.Data) < genlHeader {
		return fmt.Errorf("a generic netlink message of %d bytes", len(m.Data))
	}
	ad, err := netlink.NewAttributeDecoder(m.Data[genlHeader:])
	if err != nil {
		return err
	}
	if err := each(ad); err != nil {
		return err
	}
	return ad.Err()
}
