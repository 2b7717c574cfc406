// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/lvs-fnat/lvs/internal/config"
)

// kind is a sort of child process. There is at most one child of each.
type kind struct {
	// name is what the processes call it among themselves, such as "checkers".
	name string
	// title stands in lines such as "Starting Healthcheck child process".
	title string
	// ident is the name of its lines in syslog.
	ident string
	// option is the bit of --vrrp, --check or --bfd that wants it to run.
	option subsystem
	// comm is the name of its process under process_names, at most 15 bytes.
	comm string
	// pidFile is the path of its pid file if an option gives it; else it is made of
	// name.
	pidFile func(*options) string
	// process finds its settings in global_defs.
	process func(*config.Processes) *config.Process
	// balances says that it has to do with virtual servers, which the others read for
	// their faults alone.
	balances bool
	// traces says that a process which is killed leaves on the host what its configuration
	// alone tells of: only who begins with that can take it back.
	traces bool
	// wanted tells whether cfg gives it work. It runs while that is so.
	wanted func(cfg *config.Config) bool
	// run does the work: it says c.ready once, then follows c.heard, in which
	// SIGHUP asks for a reload (answered by c.reloaded) and SIGTERM for the end.
	// The end of ctx means that the parent is gone: then it returns without
	// taking anything back, for the next start adopts what is there. An error
	// that an [exit] gives a code ends the whole daemon if the child has never
	// been ready.
	run func(ctx context.Context, c *child) error
}

// kinds are all there are, in the order they are started. Another sort of child
// is one more row.
func kinds() []*kind {
	return []*kind{
		{
			name: childCheckers, title: "Healthcheck", ident: "Keepalived_healthcheckers", option: subsystemChecker,
			pidFile: func(o *options) string { return o.checkersPID },
			comm:    "keepalived_lvs",
			process: func(p *config.Processes) *config.Process { return &p.Checker },
			wanted:  needsKernel, balances: true,
			run: func(ctx context.Context, c *child) error { return (&balancer{child: c}).run(ctx) },
		},
		{
			name: childVRRP, title: "VRRP", ident: "Keepalived_vrrp", option: subsystemVRRP,
			pidFile: func(o *options) string { return o.vrrpPID },
			comm:    "keepalived_vrrp",
			process: func(p *config.Processes) *config.Process { return &p.VRRP },
			wanted:  needsVRRP, traces: true,
			run: func(ctx context.Context, c *child) error { return (&routers{child: c}).run(ctx) },
		},
		{
			name: childBFD, title: "BFD", ident: "Keepalived_bfd", option: subsystemBFD,
			pidFile: func(o *options) string { return o.bfdPID },
			comm:    "keepalived_bfd",
			process: func(p *config.Processes) *config.Process { return &p.BFD },
			wanted:  needsBFD,
			run:     func(ctx context.Context, c *child) error { return (&sessions{child: c}).run(ctx) },
		},
	}
}

// subsystem is a set of what the options -P, -C and -B choose.
type subsystem uint8

const (
	subsystemVRRP subsystem = 1 << iota
	subsystemChecker
	subsystemBFD
	// subsystems is all of them, which is also what no option chooses.
	subsystems = subsystemVRRP | subsystemChecker | subsystemBFD
)
