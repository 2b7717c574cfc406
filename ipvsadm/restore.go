// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

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
	var words []string
	var c call
	for {
		if waiting, _ := in.Peek(in.Buffered()); bytes.IndexByte(waiting, '\n') < 0 {
			last = q.flush(ctx, last)
		}
		line, readErr := readLine(in)
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

// readLine is in.ReadString of a line, without a copy of what fits into the buffer.
func readLine(in *bufio.Reader) (string, error) {
	line, err := in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		begin := string(line)
		rest, err := in.ReadString('\n')
		return begin + rest, err
	}
	return string(line), err
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
	begin := -1
	for i := 0; i <= len(line); i++ {
		if i < len(line) && line[i] != ' ' && line[i] != '\t' && line[i] != '\r' && line[i] != '\n' {
			if begin < 0 {
				begin = i
			}
			continue
		}
		if begin >= 0 && line[begin:i] != progName {
			words = append(words, line[begin:i])
		}
		begin = -1
	}
	return words
}
