// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/lvs-fnat/lvs/ipvs"
)

// progName is dropped wherever it stands in a line of a restore.
const progName = "ipvsadm"

// queued is the most that waits for one send; each takes about a kilobyte, and
// more at a time would save next to nothing.
const queued = 64

// restore is -R: each line of standard input is a call of its own. What we
// refuse ends it; what the kernel or the scanner refuses is reported and the
// rest goes on. The last line decides the exit code.
//
// Lines that are one operation wait for each other and go to the kernel in one
// send; all that can be told from outside is as if they had not: none waits
// while more input is to come, or behind it for a line of another kind.
func (a *app) restore(ctx context.Context) error {
	in := lineReader{in: bufio.NewReaderSize(a.stdin, 16<<10)}
	q := queue{app: a, cmds: make([]command, 0, queued), ops: make([]ipvs.Op, 0, queued)}
	var last error
	var words []string
	var c call
	for {
		if !in.ready() {
			last = q.flush(ctx, last)
		}
		line, readErr := in.next()
		if words = appendWords(words[:0], line); len(words) > 0 {
			err := a.read(ctx, &c, words)
			op, single := ipvs.Op{}, false
			if err == nil {
				op, single = c.single()
			}
			if single {
				last = q.add(ctx, c.cmd, op)
			} else {
				q.flush(ctx, nil)
				switch {
				case err != nil:
				case c.cmd == cmdRestore:
					err = a.tryHelp()
				default:
					err = a.execute(ctx, &c)
				}
				last = err
				var f *failure
				if errors.Is(last, errHelped) || errors.As(last, &f) && f.ends {
					return last
				}
				if last != nil {
					a.report(last)
				}
			}
		}
		switch {
		case errors.Is(readErr, io.EOF):
			return said(q.flush(ctx, last))
		case readErr != nil:
			q.flush(ctx, nil)
			return &failure{code: 2, text: fmt.Sprintf("standard input: %v", readErr), ends: true}
		}
	}
}

// lineReader reads lines, with one copy of all that have come rather than one of each.
type lineReader struct {
	in  *bufio.Reader
	has string // whole lines that have been read
}

// ready tells whether the next line is there, so that nobody need wait for it.
func (r *lineReader) ready() bool {
	if r.has != "" {
		return true
	}
	waiting, _ := r.in.Peek(r.in.Buffered())
	end := bytes.LastIndexByte(waiting, '\n') + 1
	r.has = string(waiting[:end])
	_, _ = r.in.Discard(end) // of what is buffered: it cannot fail
	return end > 0
}

// next returns a line with its end, which the last may lack; it then comes with io.EOF.
func (r *lineReader) next() (string, error) {
	if !r.ready() {
		return r.in.ReadString('\n')
	}
	end := strings.IndexByte(r.has, '\n') + 1
	line := r.has[:end]
	r.has = r.has[end:]
	return line, nil
}

// single returns the one operation that a call is, if it is one.
func (c *call) single() (op ipvs.Op, ok bool) {
	if c.ext.Set != 0 || c.fullNAT {
		return op, false
	}
	switch c.cmd {
	case cmdAdd:
		op.Kind = ipvs.AddService
	case cmdEdit:
		op.Kind = ipvs.SetService
	case cmdAddDest:
		op.Kind = ipvs.AddDest
	case cmdEditDest:
		op.Kind = ipvs.SetDest
	case cmdDelDest:
		op.Kind = ipvs.DelDest
	default:
		return op, false
	}
	op.Service, op.Dest = c.service, c.dest
	return op, true
}

// queue holds calls that the kernel has not seen yet.
type queue struct {
	*app
	cmds []command
	ops  []ipvs.Op
}

// add returns the error of the last call that was carried out, this or none.
func (q *queue) add(ctx context.Context, cmd command, op ipvs.Op) error {
	q.cmds, q.ops = append(q.cmds, cmd), append(q.ops, op)
	if len(q.ops) < queued {
		return nil
	}
	return q.flush(ctx, nil)
}

// flush carries out what waits, reports what fails, and returns the error of
// the last call, which is last if none waits.
func (q *queue) flush(ctx context.Context, last error) error {
	if len(q.ops) == 0 {
		return last
	}
	last = nil
	type refusal struct {
		at  int
		err error
	}
	var refusals []refusal // the kernel may only be asked again when all are there
	err := q.kernel.Each(ctx, q.ops, func(i int, err *ipvs.OpError) {
		refusals = append(refusals, refusal{i, err})
	})
	batch, broken := errors.AsType[*ipvs.BatchError](err)
	if broken {
		refusals = append(refusals, refusal{batch.Index, batch})
	}
	for _, r := range refusals {
		cmd, err := q.cmds[r.at], r.err
		if cmd == cmdAddDest || cmd == cmdEditDest {
			err = q.serverRefused(ctx, &q.ops[r.at], err)
		}
		err = worded(cmd, err)
		q.report(err)
		if r.at == len(q.ops)-1 || broken {
			last = err
		}
	}
	q.cmds, q.ops = q.cmds[:0], q.ops[:0]
	return last
}

// said keeps the exit code of an error that has been printed already.
func said(err error) error {
	var f *failure
	if errors.As(err, &f) {
		return &failure{code: f.code, err: err}
	}
	return err
}

// splitLine cuts a line into words. There are no quotes and no comments.
func splitLine(line string) []string { return appendWords(nil, line) }

func appendWords(words []string, line string) []string {
	for at := 0; ; {
		for at < len(line) && separates(line[at]) {
			at++
		}
		begin := at
		for at < len(line) && !separates(line[at]) {
			at++
		}
		if begin == at {
			return words
		}
		if word := line[begin:at]; word != progName {
			words = append(words, word)
		}
	}
}

// separates tells whether words end at b. Most bytes are told by the first comparison.
func separates(b byte) bool { return b <= ' ' && (b == ' ' || b == '\t' || b == '\r' || b == '\n') }
