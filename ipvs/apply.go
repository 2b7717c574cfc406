// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"github.com/lvs-fnat/lvs/ipvs/uapi"
	"github.com/mdlayher/netlink"
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
	err := c.exclusive(ctx, func() error { return c.apply(&b) })
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
	err := c.exclusive(ctx, func() error { return c.apply(&b) })
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

func (c *Client) apply(b *batch) error {
	msgs, err := c.encodeAll(b)
	if err != nil {
		return err
	}
	retried := false
	for next := 0; next < len(msgs); {
		end := chunk(b.ops, msgs, next)
		acked, refused, broken := c.send(msgs[next:end])
		b.acked += acked
		if broken == nil && refused == nil {
			next = end
			continue
		}
		at, err := 0, broken
		if refused != nil {
			at, err = refused[0].at, refused[0].err
		}
		b.at = next + at
		// Only if nothing behind the failure was done may it be done again.
		if moved, gone := c.moved(err, b.ops[b.at].Kind.Ext()); gone != nil {
			return gone
		} else if !moved || retried || acked != at {
			if b.failed == nil || refused == nil {
				return err
			}
			for _, r := range refused {
				b.failed(next+r.at, b.ops[next+r.at].Failed(r.err))
			}
			if broken != nil {
				return broken
			}
			next = end
			continue
		}
		retried = true
		next = b.at
		if msgs, err = c.encodeAll(b); err != nil {
			return err
		}
	}
	return nil
}

// encodeAll leaves in b.at the operation that cannot be sent.
func (c *Client) encodeAll(b *batch) ([]netlink.Message, error) {
	msgs := make([]netlink.Message, len(b.ops))
	e := encoder{b: make([]byte, 0, opBytes*len(b.ops))}
	for i := range b.ops {
		msg, err := c.encodeOp(&e, &b.ops[i])
		if err != nil {
			b.at = i
			return nil, err
		}
		msgs[i] = msg
	}
	return msgs, nil
}

// opBytes is about what an operation takes.
const opBytes = 128

// chunk returns the end of the send that begins at next.
func chunk(ops []Op, msgs []netlink.Message, next int) int {
	size := 0
	for i := next; i < len(ops); i++ {
		size += len(msgs[i].Data)
		full := i-next >= sendMessages || i > next && size > sendBytes
		if full || i > next && ops[i-1].Kind.Ext() && !ops[i].Kind.Ext() {
			return i
		}
	}
	return len(ops)
}

// send returns how many of msgs were carried out and which were refused; its
// error is of the socket: then nothing behind the first refusal, or nothing at
// all, is known. The kernel works in order and reports every failure unasked,
// with one exception: of an EINTR (a daemon that is stopped before its thread
// ran, say) it says nothing, acknowledgement asked for or not. So none is, but
// for a no-op at the end: when that is acknowledged, all without a refusal is
// done.
func (c *Client) send(msgs []netlink.Message) (acked int, refused []refusal, err error) {
	last := uint32(len(msgs))
	sent, err := c.conn.SendMessages(append(slices.Clip(msgs), noop))
	if err != nil {
		return 0, nil, err
	}
	begin := sent[0].Header.Sequence // they follow each other: nobody else sends
	for done := false; !done; {
		for m, err := range c.conn.ReceiveIter() {
			seq := m.Header.Sequence
			if err != nil {
				var op *netlink.OpError
				if !errors.As(err, &op) || op.Sequence == 0 {
					// What was carried out is not known: before the first
					// refusal that did arrive, if any, all was.
					c.dirty = true
					if refused != nil {
						return refused[0].at, refused[:1], err
					}
					return 0, nil, err
				}
				seq = op.Sequence
			}
			i := seq - begin
			if i > last {
				continue // an answer to an abandoned request
			}
			done = done || i == last
			if err != nil {
				refused = append(refused, refusal{int(i), err})
			}
		}
	}
	return len(msgs) - len(refused), refused, nil
}

// noop is acknowledged and does nothing.
var noop = netlink.Message{Header: netlink.Header{Type: netlink.Noop, Flags: netlink.Request | netlink.Acknowledge}}

// Ext tells whether the operation goes to IPVS_EXT.
func (k OpKind) Ext() bool {
	switch k {
	case SetExt, AddLGroup, DelLGroup, AddLaddr, SetLaddr, DelLaddr, ZeroExt, SetExtConfig:
		return true
	}
	return false
}

func (c *Client) encodeOp(e *encoder, op *Op) (netlink.Message, error) {
	cmd, ok := commands[op.Kind]
	if !ok {
		return netlink.Message{}, fmt.Errorf("%w: operation %d is unknown", errInvalid, op.Kind)
	}
	family, err := c.need(op.Kind.Ext())
	if err != nil {
		return netlink.Message{}, err
	}
	version := uint8(uapi.GenlVersion)
	if op.Kind.Ext() {
		version = uapi.ExtGenlVersion
		if err := c.info.check(op.Needs()); err != nil {
			return netlink.Message{}, err
		}
	}
	return e.message(family, 0, cmd, version, op.encode)
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
var commands = map[OpKind]uint8{
	AddService: uapi.CmdNewService, SetService: uapi.CmdSetService, DelService: uapi.CmdDelService,
	AddDest: uapi.CmdNewDest, SetDest: uapi.CmdSetDest, DelDest: uapi.CmdDelDest,
	SetTimeouts: uapi.CmdSetConfig, StartDaemon: uapi.CmdNewDaemon, StopDaemon: uapi.CmdDelDaemon,
	Zero: uapi.CmdZero, Flush: uapi.CmdFlush,
	SetExt: uapi.ExtCmdSetService, AddLGroup: uapi.ExtCmdNewLgroup, DelLGroup: uapi.ExtCmdDelLgroup,
	AddLaddr: uapi.ExtCmdNewLaddr, SetLaddr: uapi.ExtCmdSetLaddr, DelLaddr: uapi.ExtCmdDelLaddr,
	ZeroExt: uapi.ExtCmdZeroStats, SetExtConfig: uapi.ExtCmdSetConfig,
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
