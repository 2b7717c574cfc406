// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"sync"
	"syscall"

	"github.com/lvs-fnat/lvs/ipvs/uapi"
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

// Counters of ExtStats that say how the SYN proxy fares: SYNs that came to it, and
// packets of handshakes that were dealt with before they were routed.
const (
	StatSPSyn   = uapi.ExtStatSpSyn
	StatSPEarly = uapi.ExtStatSpEarly
)

// Client speaks to the IPVS of one network namespace. It is safe for
// concurrent use: one request, batch or dump is on the socket at a time.
// Streams have a socket each, so a loop over one may use the client.
// The kernel carries a request out while it is sent: a context that ends keeps
// requests from being sent and listings from going on, and wakes a stream of events.
type Client struct {
	// mu is held from the first byte sent to the last one received: replies
	// on one socket can only be told apart when nobody else reads them.
	mu   sync.Mutex
	sock socket
	seq  uint32  // of the last message
	buf  []byte  // see room
	ad   decoder // of the message at hand
	// request and out are where a request and a batch are encoded; sends are
	// the datagrams of that.
	request, out []byte
	sends        []sending
	// dirty means that replies of an abandoned request may be on the way.
	dirty bool
	// main and ext are the families' numbers; 0 is "not looked up, or absent"
	// and is never kept as an answer.
	main, ext uint16
	info      ExtInfo // of ext
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

// Dial opens a client. The error is [ErrNoIPVS] when the kernel has no ip_vs.
// IPVS_EXT is looked for when something needs it, [Client.Info] at the latest.
func (cfg Config) Dial(ctx context.Context) (*Client, error) {
	sock, err := openSocket(cfg.NetNS)
	if err != nil {
		return nil, err
	}
	c, err := newClient(ctx, sock)
	if err != nil {
		return nil, errors.Join(err, sock.Close())
	}
	return c, nil
}

// SetReadBuffer sets the receive buffer of the client's socket, in bytes; beyond
// net.core.rmem_max where the process may.
func (c *Client) SetReadBuffer(bytes int) error {
	if err := c.sock.setReadBuffer(bytes); err != nil {
		return fmt.Errorf("set the receive buffer of generic netlink: %w", err)
	}
	return nil
}

// newClient looks the mainline family up on sock.
func newClient(ctx context.Context, sock socket) (*Client, error) {
	c := &Client{sock: sock}
	if err := c.exclusive(ctx, func() error { return c.resolve(ctx) }); err != nil {
		return nil, (&OpError{Op: "dial"}).fill(err)
	}
	return c, nil
}

// Close closes the socket.
func (c *Client) Close() error { return c.sock.Close() }

// exclusive runs f with the socket to itself.
func (c *Client) exclusive(ctx context.Context, f func() error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := c.drain(); err != nil {
		return err
	}
	return f()
}

// Of the controller of generic netlink (linux/genetlink.h).
const (
	controller     = 0x10
	ctrlGetFamily  = 3
	ctrlVersion    = 1
	ctrlFamilyID   = 1
	ctrlFamilyName = 2
)

// resolve looks the mainline family up, as whose number it forgets the others.
func (c *Client) resolve(ctx context.Context) error {
	c.main, c.ext, c.info = 0, 0, ExtInfo{}
	msg, err := c.encode(controller, 0, ctrlGetFamily, ctrlVersion, func(e *encoder) error {
		e.String(ctrlFamilyName, uapi.GenlName)
		return nil
	})
	if err != nil {
		return err
	}
	err = c.exchange(ctx, msg, func(ad *decoder) error {
		c.main = family(ad, uapi.GenlName)
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNoIPVS
	}
	if err == nil && c.main == 0 {
		return errMissing
	}
	return err
}

// family is the number in the controller's answer if it is about name.
func family(ad *decoder, name string) (id uint16) {
	named := false
	for ad.Next() {
		switch ad.Type() {
		case ctrlFamilyID:
			id = ad.Uint16()
		case ctrlFamilyName:
			named = string(ad.text()) == name
		}
	}
	if !named {
		return 0
	}
	return id
}

// resolveExt finds IPVS_EXT in the list of all families. To ask for it by name
// where it is absent would make the kernel run modprobe, each time, in vain:
// the module is loaded, or the mainline family would not be there.
func (c *Client) resolveExt(ctx context.Context) error {
	msg, err := c.encode(controller, unix.NLM_F_DUMP, ctrlGetFamily, ctrlVersion, nil)
	if err != nil {
		return err
	}
	var id uint16
	if err := c.exchange(ctx, msg, func(ad *decoder) error {
		if f := family(ad, uapi.ExtGenlName); f != 0 {
			id = f
		}
		return nil
	}); err != nil || id == 0 {
		return err
	}
	msg, err = c.encode(id, 0, uapi.ExtCmdGetInfo, uapi.ExtGenlVersion, nil)
	if err != nil {
		return err
	}
	var info ExtInfo
	if err := c.exchange(ctx, msg, func(ad *decoder) (err error) {
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
func (c *Client) need(ctx context.Context, ext bool) (uint16, error) {
	if !ext {
		if c.main == 0 {
			if err := c.resolve(ctx); err != nil {
				return 0, err
			}
		}
		return c.main, nil
	}
	if c.ext == 0 {
		if err := c.resolveExt(ctx); err != nil {
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
func (c *Client) moved(ctx context.Context, err error, ext bool) (bool, error) {
	var refusal *kernelError
	if !errors.As(err, &refusal) || refusal.errno != syscall.ENOENT {
		return false, nil
	}
	oldMain, oldExt := c.main, c.ext
	if err := c.resolve(ctx); err != nil {
		return false, err
	}
	if !ext {
		return c.main != oldMain, nil
	}
	if _, err := c.need(ctx, true); err != nil {
		return false, err
	}
	return c.ext != oldExt, nil
}

// encode makes one message of a command, the next in sequence, which is
// overwritten by the one behind it; attrs may be nil.
func (c *Client) encode(family, flags uint16, cmd, version uint8, attrs func(*encoder) error) ([]byte, error) {
	e := encoder{b: c.request[:0]}
	c.seq++
	err := e.message(c.seq, family, flags, cmd, version, attrs)
	c.request = e.b
	return e.b, err
}

// errStop marks a stream whose consumer has seen enough.
var errStop = errors.New("stop")
