// SPDX-License-Identifier: Apache-2.0

// Command keepalived balances: it reads keepalived.conf, checks the real
// servers, and keeps the kernel's tables as the two say. It is a drop-in for
// the checkers of keepalived that knows FNAT too.
package main

import (
	"context"
	"os"
)

// version is set by the linker.
var version = "unknown"

func main() {
	a := newApp(os.Stdout, os.Stderr)
	os.Exit(a.run(context.Background(), os.Args))
}
