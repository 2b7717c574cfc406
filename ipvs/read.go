// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"errors"
	"iter"
	"net/netip"
	"slices"

	"github.com/lvs-fnat/lvs/ipvs/uapi"
	"golang.org/x/sys/unix"
)

// dumpTries bounds how often a table that changes under a dump is read again.
const dumpTries = 10

// query is one read request.
type query struct {
	ext   bool
	cmd   uint8
	dump  bool
	attrs func(*encoder) error
	each  func(*decoder) error
	// again empties what each has gathered; nil forbids a second try.
	again func()
}

// ask runs q, twice if the module was reloaded since the last request.
func (c *Client) ask(ctx context.Context, op OpError, q query) error {
	err := c.exclusive(ctx, func() error {
		err := c.askOnce(ctx, q)
		moved, gone := c.moved(ctx, err, q.ext)
		if gone != nil {
			return gone
		}
		if moved {
			err = c.askOnce(ctx, q)
		}
		for try := 1; errors.Is(err, ErrInterrupted) && q.again != nil && try < dumpTries; try++ {
			q.again()
			err = c.askOnce(ctx, q)
		}
		return err
	})
	if err != nil && err != errStop {
		return op.fill(err)
	}
	return nil
}

func (c *Client) askOnce(ctx context.Context, q query) error {
	family, err := c.need(ctx, q.ext)
	if err != nil {
		return err
	}
	flags, version := uint16(0), uint8(uapi.GenlVersion)
	if q.dump {
		flags = unix.NLM_F_DUMP
	}
	if q.ext {
		version = uapi.ExtGenlVersion
	}
	msg, err := c.encode(family, flags, q.cmd, version, q.attrs)
	if err != nil {
		return err
	}
	return c.exchange(ctx, msg, q.each)
}

// gather reads the nest typ of every answer of a dump into a list.
func gather[T any](c *Client, ctx context.Context, op OpError, q query, typ uint16, decode func(*decoder) (T, error)) ([]T, error) {
	var list []T
	q.dump = true
	q.again = func() { list = nil }
	q.each = inside(typ, func(ad *decoder) error {
		v, err := decode(ad)
		list = append(list, v)
		return err
	})
	if err := c.ask(ctx, op, q); err != nil {
		return nil, err
	}
	return list, nil
}

// nest returns the nest typ, which must be there.
func nest(ad *decoder, typ uint16) (b []byte, err error) {
	seen := false
	for ad.Next() {
		if ad.Type() == typ {
			b, seen = ad.Bytes(), true
		}
	}
	if err := ad.Err(); err != nil {
		return nil, err
	}
	if !seen {
		return nil, errMissing
	}
	return b, nil
}

// inside calls f with the nest typ, which must be there.
func inside(typ uint16, f func(*decoder) error) func(*decoder) error {
	return func(ad *decoder) error {
		b, err := nest(ad, typ)
		if err != nil {
			return err
		}
		in := decoder{b: b}
		if err := f(&in); err != nil {
			return err
		}
		return in.Err()
	}
}

func nested(typ uint16, f func(*encoder) error) func(*encoder) error {
	return func(ae *encoder) error {
		ae.Nested(typ, f)
		return nil
	}
}

// Info asks the mainline family for its version, and the extension, if it is
// there, what it can do; Extended is nil on a stock module.
func (c *Client) Info(ctx context.Context) (Info, error) {
	info, err := c.Version(ctx)
	if err != nil {
		return Info{}, err
	}
	err = c.exclusive(ctx, func() error {
		_, err := c.need(ctx, true)
		if err == nil {
			// Both families come with one module: what answered is what was looked up.
			ext := c.info
			info.Extended = &ext
		}
		return err
	})
	if err != nil && !errors.Is(err, ErrNoExt) {
		return Info{}, (&OpError{Op: "read info"}).fill(err)
	}
	return info, nil
}

// Version is Info without Extended, and without looking for the extension.
func (c *Client) Version(ctx context.Context) (Info, error) {
	var info Info
	err := c.ask(ctx, OpError{Op: "read info"}, query{cmd: uapi.CmdGetInfo, each: func(ad *decoder) error {
		for ad.Next() {
			switch ad.Type() {
			case uapi.InfoVersion:
				info.Version = ad.Uint32()
			case uapi.InfoConnTabSize:
				info.TabSize = ad.Uint32()
			}
		}
		return ad.Err()
	}})
	return info, err
}

// Services lists the services in the kernel's order. A dump of the mainline
// family goes on, from one message to the next, behind as many services as it
// has counted: one that is added before that place meanwhile, in any network
// namespace, makes it tell a service twice, which is once here.
func (c *Client) Services(ctx context.Context) ([]Service, error) {
	var list []Service
	err := c.ask(ctx, OpError{Op: "list services"}, query{
		cmd: uapi.CmdGetService, dump: true, again: func() { list = nil },
		each: func(ad *decoder) error {
			b, err := nest(ad, uapi.AttrService)
			if err != nil {
				return err
			}
			s, err := decodeService(&decoder{b: b})
			if len(list) == cap(list) { // append alone grows a big list by a quarter, ten times over
				list = slices.Grow(list, max(len(list), 8))
			}
			list = append(list, s)
			return err
		},
	})
	if err != nil {
		return nil, err
	}
	seen := make(map[ServiceKey]struct{}, len(list))
	return slices.DeleteFunc(list, func(s Service) bool {
		before := len(seen)
		seen[s.ServiceKey] = struct{}{}
		return len(seen) == before
	}), nil
}

// Service reads one service; fs.ErrNotExist if there is none.
func (c *Client) Service(ctx context.Context, key ServiceKey) (Service, error) {
	var s Service
	err := c.ask(ctx, OpError{Op: "read service", Service: key}, query{
		cmd: uapi.CmdGetService, attrs: nested(uapi.AttrService, key.encode),
		each: inside(uapi.AttrService, func(ad *decoder) (err error) {
			s, err = decodeService(ad)
			return err
		}),
	})
	return s, err
}

// Dests lists the dests of a service; fs.ErrNotExist if there is no such
// service, which the kernel itself answers with an empty list.
func (c *Client) Dests(ctx context.Context, key ServiceKey) ([]Dest, error) {
	dests, err := c.AppendDests(ctx, nil, key, true)
	if err != nil || len(dests) > 0 {
		return dests, err
	}
	if _, err := c.Service(ctx, key); err != nil {
		var e *OpError
		if errors.As(err, &e) {
			e.Op = listDests
		}
		return nil, err
	}
	return nil, nil
}

const listDests = "list dests"

// AppendDests is Dests behind those in to, and none for a service that is not
// there: a listing that goes through services reads all dests to one place.
// Without stats the counters may be zero.
func (c *Client) AppendDests(ctx context.Context, to []Dest, key ServiceKey, stats bool) ([]Dest, error) {
	family := key.Family
	if family == 0 && key.Addr.IsValid() {
		family = FamilyOf(key.Addr)
	}
	begin := len(to)
	err := c.ask(ctx, OpError{Op: listDests, Service: key}, query{
		cmd: uapi.CmdGetDest, dump: true, attrs: nested(uapi.AttrService, key.encode),
		again: func() { to = to[:begin] },
		each: func(ad *decoder) error {
			b, err := nest(ad, uapi.AttrDest)
			if err != nil {
				return err
			}
			d, err := decodeDest(&decoder{b: b}, family, stats) // no function between, and it needs no memory
			to = append(to, d)
			return err
		},
	})
	if err != nil {
		return nil, err
	}
	return to, nil
}

// ServiceDests is a service with its dests.
type ServiceDests struct {
	Service
	Dests []Dest
}

// Table reads all services with their dests, one service at a time: memory
// does not grow with the number of dests. A service that goes away meanwhile
// is left out. The client may be used inside the loop.
func (c *Client) Table(ctx context.Context) iter.Seq2[ServiceDests, error] {
	return func(yield func(ServiceDests, error) bool) {
		services, err := c.Services(ctx)
		if err != nil {
			yield(ServiceDests{}, err)
			return
		}
		for _, s := range services {
			dests, err := c.Dests(ctx, s.ServiceKey)
			if isMissing(err) {
				continue
			}
			if !yield(ServiceDests{s, dests}, err) || err != nil {
				return
			}
		}
	}
}

// Timeouts reads the timeouts of connections.
func (c *Client) Timeouts(ctx context.Context) (Timeouts, error) {
	var t Timeouts
	err := c.ask(ctx, OpError{Op: "read timeouts"}, query{cmd: uapi.CmdGetConfig,
		each: func(ad *decoder) (err error) {
			t, err = decodeTimeouts(ad)
			return err
		}})
	return t, err
}

// Daemons lists the running sync daemons, none to two.
func (c *Client) Daemons(ctx context.Context) ([]Daemon, error) {
	return gather(c, ctx, OpError{Op: "list daemons"}, query{cmd: uapi.CmdGetDaemon}, uapi.AttrDaemon, decodeDaemon)
}

// ExtServices lists what the extension knows of the services; [ErrNoExt] on a
// stock module, as with all methods below.
func (c *Client) ExtServices(ctx context.Context) ([]ExtService, error) {
	var list []ExtService
	err := c.ask(ctx, OpError{Op: "list extended services"}, query{
		ext: true, cmd: uapi.ExtCmdGetService, dump: true, again: func() { list = nil },
		each: func(ad *decoder) error {
			s, err := decodeExtService(ad)
			list = append(list, s)
			return err
		},
	})
	return list, err
}

// ExtService reads what the extension knows of one service.
func (c *Client) ExtService(ctx context.Context, key ServiceKey) (ExtService, error) {
	var s ExtService
	err := c.ask(ctx, OpError{Op: "read extended service", Service: key}, query{
		ext: true, cmd: uapi.ExtCmdGetService, attrs: nested(uapi.ExtASvc, key.encode),
		each: func(ad *decoder) (err error) {
			s, err = decodeExtService(ad)
			return err
		},
	})
	return s, err
}

// LGroups lists the local address groups.
func (c *Client) LGroups(ctx context.Context) ([]LGroup, error) {
	return gather(c, ctx, OpError{Op: "list local address groups"},
		query{ext: true, cmd: uapi.ExtCmdGetLgroup}, uapi.ExtALgroup, decodeLGroup)
}

// Laddrs lists the local addresses of a group.
func (c *Client) Laddrs(ctx context.Context, group string) ([]Laddr, error) {
	return gather(c, ctx, OpError{Op: "list local addresses", LGroup: group},
		query{ext: true, cmd: uapi.ExtCmdGetLaddr, attrs: nested(uapi.ExtALgroup, encodeGroupName(group))},
		uapi.ExtALaddr, decodeLaddr)
}

// ExtStats reads the extension's counters of the network namespace.
func (c *Client) ExtStats(ctx context.Context) (ExtStats, error) {
	var stats ExtStats
	err := c.ask(ctx, OpError{Op: "read extended counters"}, query{
		ext: true, cmd: uapi.ExtCmdGetStats,
		each: inside(uapi.ExtAStats, func(ad *decoder) (err error) {
			stats, err = decodeExtStats(ad)
			return err
		}),
	})
	return stats, err
}

// ServiceExtStats reads the extension's counters of one service.
func (c *Client) ServiceExtStats(ctx context.Context, key ServiceKey) (ExtStats, error) {
	var stats ExtStats
	err := c.ask(ctx, OpError{Op: "read extended counters", Service: key}, query{
		ext: true, cmd: uapi.ExtCmdGetStats, attrs: nested(uapi.ExtASvc, key.encode),
		each: inside(uapi.ExtAStats, func(ad *decoder) (err error) {
			stats, err = decodeExtStats(ad)
			return err
		}),
	})
	return stats, err
}

// ExtConfig reads the extension's settings of the network namespace.
func (c *Client) ExtConfig(ctx context.Context) (ExtConfig, error) {
	var cfg ExtConfig
	err := c.ask(ctx, OpError{Op: "read extended configuration"}, query{
		ext: true, cmd: uapi.ExtCmdGetConfig,
		each: inside(uapi.ExtAConfig, func(ad *decoder) (err error) {
			cfg, err = decodeExtConfig(ad)
			return err
		}),
	})
	return cfg, err
}

// LGroup reads one group; fs.ErrNotExist if there is none.
func (c *Client) LGroup(ctx context.Context, name string) (LGroup, error) {
	var g LGroup
	err := c.ask(ctx, OpError{Op: "read local address group", LGroup: name}, query{
		ext: true, cmd: uapi.ExtCmdGetLgroup, attrs: nested(uapi.ExtALgroup, encodeGroupName(name)),
		each: inside(uapi.ExtALgroup, func(ad *decoder) (err error) {
			g, err = decodeLGroup(ad)
			return err
		}),
	})
	return g, err
}

// Laddr reads one local address; fs.ErrNotExist if the group has it not.
func (c *Client) Laddr(ctx context.Context, group string, addr netip.Addr) (Laddr, error) {
	var l Laddr
	err := c.ask(ctx, OpError{Op: "read local address", LGroup: group, Laddr: addr}, query{
		ext: true, cmd: uapi.ExtCmdGetLaddr, attrs: func(ae *encoder) error {
			ae.Nested(uapi.ExtALgroup, encodeGroupName(group))
			ae.Nested(uapi.ExtALaddr, Laddr{Addr: addr}.encodeKey)
			return nil
		},
		each: inside(uapi.ExtALaddr, func(ad *decoder) (err error) {
			l, err = decodeLaddr(ad)
			return err
		}),
	})
	return l, err
}

// Conns streams the connections that the extension forwards, as the kernel
// sends them: none is kept. A table that grows meanwhile may show a connection
// twice or not at all; [ErrInterrupted] at the end says that it did. The client
// may be used inside the loop; leaving the loop ends the dump.
func (c *Client) Conns(ctx context.Context, filter ConnFilter) iter.Seq2[Conn, error] {
	q := query{ext: true, cmd: uapi.ExtCmdGetConn}
	if filter != (ConnFilter{}) {
		q.attrs = nested(uapi.ExtAFilter, filter.complete().encode)
	}
	return stream(c, ctx, OpError{Op: "list connections"}, q, uapi.ExtAConn, decodeConn)
}

// DeleteConns ends the connections that the extension forwards and the filter
// selects, all of them with the zero filter, and returns how many. They are gone
// a moment later; those of services with [ExtRSTOnExpire] end with an RST to both
// sides. What a persistence template has decided stays.
func (c *Client) DeleteConns(ctx context.Context, filter ConnFilter) (uint64, error) {
	op := OpError{Op: "delete connections"}
	err := c.exclusive(ctx, func() error {
		if _, err := c.need(ctx, true); err != nil {
			return err
		}
		return c.info.check(uapi.ExtFeatDelConn)
	})
	if err != nil {
		return 0, op.fill(err)
	}
	var n uint64
	seen := false
	err = c.ask(ctx, op, query{ext: true, cmd: uapi.ExtCmdDelConn,
		attrs: nested(uapi.ExtAFilter, filter.complete().encode),
		each: func(ad *decoder) error {
			for ad.Next() {
				if ad.Type() == uapi.ExtACount {
					n, seen = ad.Uint64(), true
				}
			}
			if err := ad.Err(); err != nil || seen {
				return err
			}
			return errMissing
		}})
	return n, err
}

// StreamServices is [Client.Services] for tables too big to hold: none is kept.
// The client may be used inside the loop; leaving the loop ends the dump.
func (c *Client) StreamServices(ctx context.Context) iter.Seq2[Service, error] {
	return stream(c, ctx, OpError{Op: "list services"}, query{cmd: uapi.CmdGetService}, uapi.AttrService, decodeService)
}

// StreamExtServices is [Client.ExtServices] for tables too big to hold: none is
// kept. The client may be used inside the loop; leaving the loop ends the dump.
func (c *Client) StreamExtServices(ctx context.Context) iter.Seq2[ExtService, error] {
	return stream(c, ctx, OpError{Op: "list extended services"}, query{ext: true, cmd: uapi.ExtCmdGetService}, 0, decodeExtService)
}

// stream hands out the nest typ of every answer of a dump, or all of it if typ
// is 0; the dump runs on a socket of its own.
func stream[T any](c *Client, ctx context.Context, op OpError, q query, typ uint16, decode func(*decoder) (T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		side, err := c.beside(ctx, q.ext)
		if err != nil {
			yield(none, op.fill(err))
			return
		}
		defer side.Close()
		stopped := false
		q := q
		q.dump = true
		q.each = func(ad *decoder) error {
			v, err := decode(ad)
			switch {
			case err != nil:
				return err
			case !yield(v, nil):
				stopped = true
				return errStop
			}
			return nil
		}
		if typ != 0 {
			q.each = inside(typ, q.each)
		}
		if err := side.ask(ctx, op, q); err != nil && !stopped {
			yield(none, err)
		}
	}
}

// beside returns a client with a socket of its own; the caller closes it.
func (c *Client) beside(ctx context.Context, ext bool) (*Client, error) {
	var side *Client
	err := c.exclusive(ctx, func() error {
		if _, err := c.need(ctx, ext); err != nil {
			return err
		}
		sock, err := c.sock.beside()
		side = &Client{sock: sock, main: c.main, ext: c.ext, info: c.info}
		return err
	})
	return side, err
}
