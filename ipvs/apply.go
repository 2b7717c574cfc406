// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/lvs-fnat/lvs/ipvs/uapi"
	"golang.org/x/sys/unix"
)

// Limits of one send. Should all be refused, the refusals wait in the receive
// buffer, of 208 kilobytes by default: each costs about one and carries its
// request back.
const (
	sendMessages = 128
	sendBytes    = 32 << 10
)

// Apply carries ops out in order, many to a send. The first that fails ends it
// with a [*BatchError]. Operations behind it in the same send may have been
// carried out; those of later sends have not. No dest or service travels in one
// send behind an operation of the extension: when a service cannot be given
// FNAT, the dests behind that were never added.
//
// All operations are checked before the first is sent. Safe for concurrent
// use; two batches do not mix.
func (c *Client) Apply(ctx context.Context, ops ...Op) error {
	if len(ops) == 0 {
		return ctx.Err()
	}
	b := batch{ops: ops}
	err := c.exclusive(ctx, func() error { return c.apply(ctx, &b) })
	if err == nil {
		return nil
	}
	return &BatchError{Index: b.at, Op: ops[b.at], Acked: b.acked, Err: ops[b.at].Failed(err)}
}

// Each carries ops out in order, many to a send, and goes on behind those that
// the kernel refuses: failed is told of each, in order, with its error. A batch
// that cannot be sent, or is not answered, ends it with a [*BatchError]; what
// failed was told of counts. Safe for concurrent use.
func (c *Client) Each(ctx context.Context, ops []Op, failed func(i int, err *OpError)) error {
	if len(ops) == 0 {
		return ctx.Err()
	}
	b := batch{ops: ops, failed: failed}
	err := c.exclusive(ctx, func() error { return c.apply(ctx, &b) })
	if err == nil {
		return nil
	}
	return &BatchError{Index: b.at, Op: ops[b.at], Acked: b.acked, Err: ops[b.at].Failed(err)}
}

// batch is the state of one Apply or, with failed, one Each.
type batch struct {
	ops    []Op
	at     int // the operation that err is about
	acked  int
	failed func(i int, err *OpError)
}

// refusal is what the kernel says of one message of a send.
type refusal struct {
	at  int
	err error
}

func (c *Client) apply(ctx context.Context, b *batch) error {
	sends, err := c.encodeAll(ctx, b, 0)
	if err != nil {
		return err
	}
	retried := false
	for len(sends) > 0 {
		if err := ctx.Err(); err != nil {
			b.at = sends[0].first
			return err
		}
		s := sends[0]
		sends = sends[1:]
		acked, refused, broken := c.transmit(&s)
		b.acked += acked
		if broken == nil && refused == nil {
			continue
		}
		at, err := 0, broken
		if refused != nil {
			at, err = refused[0].at, refused[0].err
		}
		b.at = s.first + at
		// Only if nothing behind the failure was done may it be done again.
		if moved, gone := c.moved(ctx, err, b.ops[b.at].Kind.Ext()); gone != nil {
			return gone
		} else if !moved || retried || acked != at {
			if b.failed == nil || refused == nil {
				return err
			}
			for _, r := range refused {
				b.failed(s.first+r.at, b.ops[s.first+r.at].Failed(r.err))
			}
			if broken != nil {
				return broken
			}
			continue
		}
		retried = true
		if sends, err = c.encodeAll(ctx, b, b.at); err != nil {
			return err
		}
	}
	return nil
}

// sending is a datagram of one or more operations with a no-op behind them.
type sending struct {
	first, ops int // of batch.ops
	seq        uint32
	from, to   int // of Client.out
}

// encodeAll encodes into c.out, and leaves in b.at the operation that cannot be
// sent.
func (c *Client) encodeAll(ctx context.Context, b *batch, from int) ([]sending, error) {
	e := encoder{b: c.out[:0]}
	sends := c.sends[:0]
	for next := from; next < len(b.ops); {
		s := sending{first: next, seq: c.seq + 1, from: len(e.b)}
		for ; next < len(b.ops) && !full(b.ops, &s, len(e.b)-s.from); next++ {
			// A family that is looked up meanwhile takes numbers of these, and is done with them.
			if err := c.encodeOp(ctx, &e, s.seq+uint32(s.ops), &b.ops[next]); err != nil {
				b.at = next
				return nil, err
			}
			s.ops++
		}
		c.seq = s.seq + uint32(s.ops)
		e.noop(c.seq)
		s.to = len(e.b)
		sends = append(sends, s)
	}
	c.out, c.sends = e.b, sends
	return sends, nil
}

// full tells whether s, of size bytes, goes without the operation behind it.
func full(ops []Op, s *sending, size int) bool {
	if s.ops == 0 {
		return false
	}
	next := s.first + s.ops
	return s.ops >= sendMessages || size > sendBytes || ops[next-1].Kind.Ext() && !ops[next].Kind.Ext()
}

// transmit returns how many of the operations were carried out and which were
// refused; its error is of the socket: then nothing behind the first refusal, or
// nothing at all, is known. The kernel works in order and reports every failure
// unasked, with one exception: of an EINTR (a daemon that is stopped before its
// thread ran, say) it says nothing, acknowledgement asked for or not. So none is,
// but for the no-op at the end: when that is acknowledged, all without a refusal
// is done.
func (c *Client) transmit(s *sending) (acked int, refused []refusal, err error) {
	if err := c.sock.send(c.out[s.from:s.to]); err != nil {
		return 0, nil, err
	}
	for {
		n, err := c.sock.receive(c.room())
		if errors.Is(err, syscall.EAGAIN) {
			err = errUnanswered
		}
		for b := c.buf[:n]; err == nil && len(b) > 0; {
			var m message
			if m, b, err = cutMessage(b); err != nil {
				break
			}
			i := m.seq - s.seq
			if m.typ != unix.NLMSG_ERROR || i > uint32(s.ops) {
				continue // an answer to an abandoned request
			}
			if err := m.refused(); err != nil {
				refused = append(refused, refusal{int(i), err})
			}
			if i == uint32(s.ops) {
				return s.ops - len(refused), refused, nil
			}
		}
		if err != nil {
			// What was carried out is not known: before the first refusal that
			// did arrive, if any, all was.
			c.dirty = true
			if refused != nil {
				return refused[0].at, refused[:1], err
			}
			return 0, nil, err
		}
	}
}

// Ext tells whether the operation goes to IPVS_EXT.
func (k OpKind) Ext() bool {
	switch k {
	case SetExt, AddLGroup, DelLGroup, AddLaddr, SetLaddr, DelLaddr, ZeroExt, SetExtConfig:
		return true
	}
	return false
}

func (c *Client) encodeOp(ctx context.Context, e *encoder, seq uint32, op *Op) error {
	cmd, ok := op.Kind.command()
	if !ok {
		return fmt.Errorf("%w: operation %d is unknown", errInvalid, op.Kind)
	}
	family, err := c.need(ctx, op.Kind.Ext())
	if err != nil {
		return err
	}
	version := uint8(uapi.GenlVersion)
	if op.Kind.Ext() {
		version = uapi.ExtGenlVersion
		if err := c.info.check(op.Needs()); err != nil {
			return err
		}
	}
	return e.message(seq, family, 0, cmd, version, op.encode)
}

// Needs returns the features of the extension, IPVS_EXT_FEAT_*, that op rests on.
func (op *Op) Needs() uint64 {
	switch op.Kind {
	case SetExt:
		return op.Ext.needs()
	case AddLGroup, DelLGroup, AddLaddr, SetLaddr, DelLaddr:
		return uapi.ExtFeatFnat
	case SetExtConfig:
		return op.Config.needs()
	}
	return 0
}

// commands of the families; the one is told from the other by OpKind.Ext.
var commands = [...]uint8{
	AddService: uapi.CmdNewService, SetService: uapi.CmdSetService, DelService: uapi.CmdDelService,
	AddDest: uapi.CmdNewDest, SetDest: uapi.CmdSetDest, DelDest: uapi.CmdDelDest,
	SetTimeouts: uapi.CmdSetConfig, StartDaemon: uapi.CmdNewDaemon, StopDaemon: uapi.CmdDelDaemon,
	Zero: uapi.CmdZero, Flush: uapi.CmdFlush,
	SetExt: uapi.ExtCmdSetService, AddLGroup: uapi.ExtCmdNewLgroup, DelLGroup: uapi.ExtCmdDelLgroup,
	AddLaddr: uapi.ExtCmdNewLaddr, SetLaddr: uapi.ExtCmdSetLaddr, DelLaddr: uapi.ExtCmdDelLaddr,
	ZeroExt: uapi.ExtCmdZeroStats, SetExtConfig: uapi.ExtCmdSetConfig,
}

func (k OpKind) command() (cmd uint8, ok bool) {
	if int(k) < len(commands) {
		cmd = commands[k]
	}
	return cmd, cmd != 0
}

func (op *Op) encode(ae *encoder) error {
	key := op.Service.ServiceKey
	switch op.Kind {
	case AddService, SetService:
		ae.Nested(uapi.AttrService, op.Service.encode)
	case DelService:
		ae.Nested(uapi.AttrService, key.encode)
	case AddDest, SetDest:
		ae.Nested(uapi.AttrService, key.encode)
		ae.Nested(uapi.AttrDest, op.Dest.encode)
	case DelDest:
		ae.Nested(uapi.AttrService, key.encode)
		ae.Nested(uapi.AttrDest, op.Dest.DestKey.encode)
	case Zero:
		if key != (ServiceKey{}) {
			ae.Nested(uapi.AttrService, key.encode)
		}
	case SetTimeouts:
		return op.Times.encode(ae)
	case StartDaemon, StopDaemon:
		ae.Nested(uapi.AttrDaemon, op.Daemon.encode)
	case SetExt:
		ae.Nested(uapi.ExtASvc, key.encode)
		ae.Nested(uapi.ExtAExt, op.Ext.encode)
	case ZeroExt:
		if key != (ServiceKey{}) {
			ae.Nested(uapi.ExtASvc, key.encode)
		}
	case SetExtConfig:
		ae.Nested(uapi.ExtAConfig, op.Config.encode)
	case AddLGroup:
		ae.Nested(uapi.ExtALgroup, op.LGroup.encode)
	case DelLGroup:
		ae.Nested(uapi.ExtALgroup, encodeGroupName(op.LGroup.Name))
	case AddLaddr, SetLaddr, DelLaddr:
		ae.Nested(uapi.ExtALgroup, encodeGroupName(op.LGroup.Name))
		ae.Nested(uapi.ExtALaddr, op.encodeLaddr)
	}
	return nil
}

func (op *Op) encodeLaddr(ae *encoder) error {
	switch op.Kind {
	case SetLaddr:
		return op.Laddr.encodeSet(ae)
	case DelLaddr:
		return op.Laddr.encodeKey(ae)
	}
	return op.Laddr.encode(ae)
}

// Failed is err as the error of op; an *OpError stays as it is.
func (op Op) Failed(err error) *OpError {
	var done *OpError
	if errors.As(err, &done) {
		return done
	}
	e := &OpError{Op: op.Kind.String(), Service: op.Service.ServiceKey}
	switch op.Kind {
	case AddDest, SetDest, DelDest:
		e.Dest = op.Dest.DestKey
	case AddLGroup, DelLGroup:
		e.LGroup = op.LGroup.Name
	case AddLaddr, SetLaddr, DelLaddr:
		e.LGroup, e.Laddr = op.LGroup.Name, op.Laddr.Addr
	}
	return e.fill(err)
}

// Fail is the error that a table gives for op: errno, and the extended text
// or "". Fake tables use it to answer as the kernel does.
func (op Op) Fail(errno syscall.Errno, text string) *OpError {
	return op.Failed(&kernelError{errno: errno, text: text})
}
