// SPDX-License-Identifier: Apache-2.0

package config

import (
	"time"

	"github.com/lvs-fnat/lvs/parser"
)

var rootKeywords keywords[Config]

// Filled here and not in the declaration, which would be a cycle: a block's reader walks its own table.
func init() {
	rootKeywords = keywords[Config]{
		"global_defs": {block: true, read: func(l *loader, n *parser.Node, c *Config) {
			walk(l, n.Children, "global_defs", globalKeywords, &c.Global)
		}},
		"local_address_group":  {block: true, read: readLaddrGroup},
		"virtual_server_group": {block: true, read: readServerGroup},
		"virtual_server":       {block: true, read: readVirtualServer},
	}
}

var globalKeywords = keywords[Global]{
	"router_id":                stringInto(func(g *Global, v string) { g.RouterID = v }),
	"checker_log_all_failures": boolInto(func(g *Global, v bool) { g.CheckerLogAllFailures = v }),
	"lvs_flush":                flagInto(func(g *Global) { g.LVSFlush = true }),
	"lvs_flush_on_stop":        {read: readFlushOnStop},
	"lvs_flush_onstop":         {read: readFlushOnStop},
	"lvs_timeouts":             {read: readTimeouts},
}

func readFlushOnStop(l *loader, n *parser.Node, g *Global) {
	switch n.Arg(1) {
	case "":
		g.LVSFlushOnStop = FlushAll
	case "VS":
		g.LVSFlushOnStop = FlushVS
	default:
		l.error(n.ArgPos(1), "%s: invalid value '%s': expected VS or nothing", n.Key(), n.Arg(1))
	}
}

// readTimeouts takes pairs of name and seconds, 0 to 31 days.
func readTimeouts(l *loader, n *parser.Node, g *Global) {
	t := LVSTimeouts{}
	if len(n.Words) == 1 {
		l.error(n.Pos(), "lvs_timeouts: expected at least one of tcp, tcpfin, udp with seconds")
		return
	}
	for i := 1; i < len(n.Words); i += 2 {
		to := map[string]*time.Duration{"tcp": &t.TCP, "tcpfin": &t.TCPFin, "udp": &t.UDP}[n.Arg(i)]
		if to == nil {
			l.error(n.ArgPos(i), "lvs_timeouts: unknown word '%s': expected tcp, tcpfin or udp", n.Arg(i))
			return
		}
		v, ok := l.int(n, i+1, 0, int64(longTime/time.Second))
		if !ok {
			return
		}
		*to = time.Duration(v) * time.Second
	}
	g.LVSTimeouts = &t
}
