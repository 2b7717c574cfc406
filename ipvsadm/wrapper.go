// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
)

// Names of the two wrappers of the distributions; called by one of them, as
// links to it make it, the program does what they do.
const (
	saveName    = "ipvsadm-save"
	restoreName = "ipvsadm-restore"
)

const saveUsage = "%s: writes the IPVS tables to standard output\n" +
	"   -n: addresses and ports as numbers\n"

// main does what the program's name and args say and returns the exit code.
func (a *app) main(ctx context.Context, args []string) int {
	name := ""
	if len(args) > 0 {
		name = filepath.Base(args[0])
	}
	switch name {
	case saveName:
		return a.runSave(ctx, name, args[1:])
	case restoreName:
		return a.runRestore(ctx)
	}
	return a.run(ctx, args)
}

// runSave is `ipvsadm -S`, with -n if that is given; words mean nothing.
func (a *app) runSave(ctx context.Context, name string, args []string) int {
	call := []string{progName, "-S"}
	for _, arg := range args {
		switch {
		case arg == "-n":
			call = []string{progName, "-S", "-n"}
		case strings.HasPrefix(arg, "-"):
			fmt.Fprintf(a.stderr, saveUsage, name)
			return 1
		}
	}
	return a.run(ctx, call)
}

// runRestore reads all of standard input, then makes the calls `ipvsadm -C` and
// `ipvsadm -R`; the second decides the exit code, whatever came of the first.
// Lines that begin with # are comments.
func (a *app) runRestore(ctx context.Context) int {
	var lines bytes.Buffer
	in := bufio.NewReader(a.stdin)
	for {
		line, err := in.ReadString('\n')
		if !strings.HasPrefix(line, "#") {
			lines.WriteString(line)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			fmt.Fprintf(a.stderr, "standard input: %v\n", err)
			return 2
		}
	}
	lines.WriteByte('\n')
	a.run(ctx, []string{progName, "-C"})
	a.stdin = &lines
	return a.run(ctx, []string{progName, "-R"})
}
