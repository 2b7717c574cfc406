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

// queued is the most that waits for one send; each takes about 2 kB.
const queued = 128

// restore is -R: each line of standard input is a call of its own. What we
// refuse ends it; what the kernel or the scanner refuses is reported and the
// rest goes on. The last line decides the exit code.
//
// Lines that are one operation wait for each other and go to the kernel in one
// send; all that can be told from outside is as if they had not: none waits
// while more input is to come, or behind it for a line of another kind.
func (a *app) restore(ctx context.Context) error {
	in := bufio.NewReaderSize(a.stdin, 16<<10)
	q := queue{app: a}
	var last error
	for {
		if waiting, _ := in.Peek(in.Buffered()); bytes.IndexByte(waiting, '\n') < 0 {
			last = q.flush(ctx, last)
		}
		line, readErr := in.ReadString('\n')
		if args := splitLine(line); len(args) > 0 {
			c, err := a.read(ctx, args)
			if op, ok := a.single(c); err == nil && ok {
				last = q.add(ctx, c, op)
			} else {
				q.flush(ctx, nil)
				switch {
				case err != nil:
				case c.cmd == cmdRestore:
					err = a.tryHelp()
				default:
					err = a.execute(ctx, c)
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

// single returns the one operation that a call is, if it is one.
func (a *app) single(c *call) (ipvs.Op, bool) {
	if c == nil || c.ext.Set != 0 || c.fullNAT {
		return ipvs.Op{}, false
	}
	kind := map[command]ipvs.OpKind{
		cmdAdd: ipvs.AddService, cmdEdit: ipvs.SetService,
		cmdAddDest: ipvs.AddDest, cmdEditDest: ipvs.SetDest, cmdDelDest: ipvs.DelDest,
	}[c.cmd]
	return ipvs.Op{Kind: kind, Service: c.service, Dest: c.dest}, kind != 0
}

// queue holds calls that the kernel has not seen yet.
type queue struct {
	*app
	calls []*call
	ops   []ipvs.Op
}

// add returns the error of the last call that was carried out, c or none.
func (q *queue) add(ctx context.Context, c *call, op ipvs.Op) error {
	q.calls, q.ops = append(q.calls, c), append(q.ops, op)
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
		c, err := q.calls[r.at], r.err
		if c.cmd == cmdAddDest || c.cmd == cmdEditDest {
			err = q.serverRefused(ctx, c, err)
		}
		err = worded(c.cmd, err)
		q.report(err)
		if r.at == len(q.ops)-1 || broken {
			last = err
		}
	}
	clear(q.calls)
	q.calls, q.ops = q.calls[:0], q.ops[:0]
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
func splitLine(line string) []string {
	var args []string
	for _, word := range strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t\r\n", r) }) {
		if word != progName {
			args = append(args, word)
		}
	}
	return args
}
