// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// progName is dropped wherever it stands in a line of a restore.
const progName = "ipvsadm"

// restore is -R: each line of standard input is a call of its own. What we
// refuse ends it; what the kernel or the scanner refuses is reported and the
// rest goes on. The last line decides the exit code.
func (a *app) restore(ctx context.Context) error {
	in := bufio.NewReader(a.stdin)
	var last error
	for {
		line, readErr := in.ReadString('\n')
		if args := splitLine(line); len(args) > 0 {
			last = a.do(ctx, args, true)
			var f *failure
			if errors.Is(last, errHelped) || errors.As(last, &f) && f.ends {
				return last
			}
			if last != nil {
				a.report(last)
			}
		}
		switch {
		case errors.Is(readErr, io.EOF):
			return said(last)
		case readErr != nil:
			return &failure{code: 2, text: fmt.Sprintf("standard input: %v", readErr), ends: true}
		}
	}
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
