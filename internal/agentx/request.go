// SPDX-License-Identifier: Apache-2.0

package agentx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"syscall"
)

const (
	// maxRepetitions bounds the rows of an answer; who wants more asks again.
	maxRepetitions = 256
	// maxTransactions bounds the sets that are begun and not ended.
	maxTransactions = 16
)

// handle answers one message of the master agent. An error ends the connection.
func (s *Session) handle(ctx context.Context, in incoming) error {
	var bad *ParseError
	switch {
	case errors.As(in.err, &bad):
		if in.m.Verb == VerbResponse {
			return in.err
		}
		r := in.m.reply(nil)
		r.Status = StatusParseError
		return s.send(r)
	case errors.Is(in.err, io.EOF) || errors.Is(in.err, io.ErrUnexpectedEOF) || errors.Is(in.err, syscall.ECONNRESET):
		return errors.New("it has closed the connection")
	case in.err != nil:
		return in.err
	}
	m := in.m
	switch m.Verb {
	case VerbResponse: // to a notification, or too late
		return nil
	case VerbClose:
		return fmt.Errorf("it has closed the session, reason %d", m.Reason)
	case VerbCleanupSet: // has no response
		delete(s.changes, m.Transaction)
		return nil
	}
	r := m.reply(nil)
	if m.Context != "" {
		r.Status = StatusUnsupportedContext
		return s.send(r)
	}
	s.answer(ctx, m, r)
	return s.send(r)
}

// answer fills the response to a request.
func (s *Session) answer(ctx context.Context, m, r *Message) {
	switch m.Verb {
	case VerbCommitSet:
		s.view = nil
		r.Status, r.Index = s.commit(ctx, m.Transaction)
		return
	case VerbUndoSet:
		s.view = nil
		r.Status = s.undo(ctx, m.Transaction)
		return
	case VerbGet, VerbGetNext, VerbGetBulk, VerbTestSet:
	default:
		r.Status = StatusProcessingError
		return
	}
	view, err := s.look(ctx)
	if err != nil {
		if ctx.Err() == nil {
			s.opts.Log.Warn(fmt.Sprintf("SNMP: %v", err))
		}
		r.Status, r.Index = StatusGenErr, 1
		return
	}
	switch m.Verb {
	case VerbGet:
		for _, x := range m.Ranges {
			r.VarBinds = append(r.VarBinds, view.Get(x.Start))
		}
	case VerbGetNext:
		for _, x := range m.Ranges {
			r.VarBinds = append(r.VarBinds, view.Next(x))
		}
	case VerbGetBulk:
		r.VarBinds = bulk(view, m)
	case VerbTestSet:
		r.Status, r.Index = s.test(view, m)
	}
}

// bulk answers with several steps of GetNext at once (RFC 2741, 7.2.3.3).
func bulk(view *View, m *Message) (out []VarBind) {
	single := min(m.NonRepeaters, len(m.Ranges))
	for _, x := range m.Ranges[:single] {
		out = append(out, view.Next(x))
	}
	list := slices.Clone(m.Ranges[single:])
	for range min(m.Repetitions, maxRepetitions) {
		ended := true
		for i := range list {
			b := view.Next(list[i])
			out = append(out, b)
			if b.Value.Kind != KindEndOfView {
				ended = false
				list[i].Start, list[i].Include = b.Name, false
			}
		}
		if ended {
			break
		}
	}
	return out
}

// test takes a set of changes on, if all can be.
func (s *Session) test(view *View, m *Message) (Status, int) {
	if len(s.changes) >= maxTransactions {
		return StatusGenErr, 1
	}
	t := &transaction{}
	for i, b := range m.VarBinds {
		c, status := view.test(b)
		if status != StatusOK {
			return status, i + 1
		}
		t.changes = append(t.changes, c)
	}
	s.changes[m.Transaction] = t
	return StatusOK, 0
}

func (s *Session) commit(ctx context.Context, id uint32) (Status, int) {
	t := s.changes[id]
	if t == nil {
		return StatusCommitFailed, 0
	}
	for i, c := range t.changes {
		if err := c.Do(ctx); err != nil {
			s.opts.Log.Warn(fmt.Sprintf("SNMP: set: %v", err))
			return StatusCommitFailed, i + 1
		}
		t.done++
	}
	return StatusOK, 0
}

// undo takes back what commit has done.
func (s *Session) undo(ctx context.Context, id uint32) Status {
	t := s.changes[id]
	if t == nil {
		return StatusOK
	}
	delete(s.changes, id)
	for _, c := range slices.Backward(t.changes[:t.done]) {
		if c.Undo == nil {
			return StatusUndoFailed
		}
		if err := c.Undo(ctx); err != nil {
			s.opts.Log.Warn(fmt.Sprintf("SNMP: undo: %v", err))
			return StatusUndoFailed
		}
	}
	return StatusOK
}
