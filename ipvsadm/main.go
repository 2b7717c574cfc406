// SPDX-License-Identifier: Apache-2.0

// Command ipvsadm shows and changes the tables of the kernel's load balancer.
// It is a drop-in for ipvsadm 1.31 that knows FNAT too.
package main

import (
	"bufio"
	"context"
	"os"
	"runtime/debug"
	"time"
)

func main() {
	// A table is read once and forgotten: less memory is worth more than the
	// little time that the collector takes. Of a thousand services it takes none.
	debug.SetGCPercent(40)
	_, posix := os.LookupEnv("POSIXLY_CORRECT")
	a := &app{
		posix:    posix,
		stdin:    os.Stdin,
		stdout:   bufio.NewWriterSize(os.Stdout, 64<<10),
		stderr:   os.Stderr,
		names:    systemNames(),
		connFile: "/proc/net/ip_vs_conn",
		defaults: defaultsFile,
		dial:     dial,
		load:     loadModule,
		now:      time.Now,
		openTTY:  systemTerminal,
	}
	os.Exit(a.main(context.Background(), os.Args))
}
