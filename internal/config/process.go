// SPDX-License-Identifier: Apache-2.0

package config

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/lvs-fnat/lvs/parser"
)

// Processes is how the parent and its children appear to the system.
type Processes struct {
	Names                bool   // name the children after what they do
	Name                 string // of all; "": keepalived
	Checker, VRRP, BFD   Process
	MaxAutoPriority      int // -1 and 0: real-time priority is not raised by itself
	MinAutoPriorityDelay time.Duration
	Monitor              Buffers // of process events; only the Monitor fields count
	Umask                int     // 0: the default, 0177
	RandomSeed           *uint32
}

// Process is one child.
type Process struct {
	Name        string
	Nice        int
	NoSwap      bool
	RTPriority  int   // 0: not real-time
	CPUAffinity []int // nil: every processor
	RTLimit     time.Duration
}

var processKeywords = keywords[Global]{
	"process_names":                  flagInto(func(g *Global) { g.Processes.Names = true }),
	"process_name":                   processName(func(p *Processes) *string { return &p.Name }),
	"lvs_process_name":               processName(func(p *Processes) *string { return &p.Checker.Name }),
	"max_auto_priority":              {read: readMaxAutoPriority},
	"min_auto_priority_delay":        intInto(1, 10_000_000, func(g *Global, v int) { g.Processes.MinAutoPriorityDelay = time.Duration(v) * time.Microsecond }),
	"process_monitor_rcv_bufs":       intInto(0, math.MaxInt32, func(g *Global, v int) { g.Processes.Monitor.Monitor = v }),
	"process_monitor_rcv_bufs_force": boolInto(func(g *Global, v bool) { g.Processes.Monitor.MonitorForce = v }),
	"umask":                          {read: readUmask},
	"random_seed": intInto(0, math.MaxUint32, func(g *Global, v int) {
		seed := uint32(v)
		g.Processes.RandomSeed = &seed
	}),
}.with(childKeywords("checker", func(p *Processes) *Process { return &p.Checker })).
	with(childKeywords("vrrp", func(p *Processes) *Process { return &p.VRRP })).
	with(childKeywords("bfd", func(p *Processes) *Process { return &p.BFD }))

// processNameMax is what the kernel keeps of a process's name.
const processNameMax = 15

func processName(of func(*Processes) *string) keyword[Global] {
	return keyword[Global]{read: func(l *loader, n *parser.Node, g *Global) {
		v, ok := l.word(n, 1, "name")
		if ok && len(v) > processNameMax {
			l.error(n.ArgPos(1), "%s: '%s' is longer than %d bytes", n.Key(), v, processNameMax)
			return
		}
		if ok {
			*of(&g.Processes) = v
		}
	}}
}

// childKeywords are the six or seven words that each child has.
func childKeywords(child string, of func(*Processes) *Process) keywords[Global] {
	limit := intInto(1, math.MaxUint32, func(g *Global, v int) {
		of(&g.Processes).RTLimit = time.Duration(max(v, 2)) * time.Microsecond
	})
	return keywords[Global]{
		child + "_process_name":  processName(func(p *Processes) *string { return &of(p).Name }),
		child + "_priority":      intInto(-20, 19, func(g *Global, v int) { of(&g.Processes).Nice = v }),
		child + "_no_swap":       flagInto(func(g *Global) { of(&g.Processes).NoSwap = true }),
		child + "_rlimit_rttime": limit,
		child + "_rlimit_rtime":  limit,
		child + "_rt_priority": keyword[Global]{read: func(l *loader, n *parser.Node, g *Global) {
			v, ok := l.int(n, 1, math.MinInt32, math.MaxInt32)
			if !ok {
				return
			}
			if clipped := min(max(v, 1), 99); clipped != v {
				l.warn(n.ArgPos(1), "%s: %d outside range [1, 99]: setting %d", n.Key(), v, clipped)
				v = clipped
			}
			of(&g.Processes).RTPriority = int(v)
		}},
		child + "_cpu_affinity": keyword[Global]{read: func(l *loader, n *parser.Node, g *Global) {
			if _, ok := l.word(n, 1, "number of a processor"); !ok {
				return
			}
			var cpus []int
			for i := 1; i < len(n.Words); i++ {
				v, ok := l.int(n, i, 0, int64(l.opts.CPUs-1))
				if !ok {
					return
				}
				cpus = append(cpus, int(v))
			}
			of(&g.Processes).CPUAffinity = cpus
		}},
	}
}

func readMaxAutoPriority(l *loader, n *parser.Node, g *Global) {
	if len(n.Words) < 2 {
		g.Processes.MaxAutoPriority = 99
		return
	}
	if v, ok := l.int(n, 1, -1, 99); ok {
		g.Processes.MaxAutoPriority = int(v)
	}
}

// permissionBits are the words of umask.
var permissionBits = map[string]int{
	"IRUSR": 0o400, "IWUSR": 0o200, "IXUSR": 0o100, "IRWXU": 0o700,
	"IRGRP": 0o040, "IWGRP": 0o020, "IXGRP": 0o010, "IRWXG": 0o070,
	"IROTH": 0o004, "IWOTH": 0o002, "IXOTH": 0o001, "IRWXO": 0o007,
}

// ParseUmask reads an octal number up to 0777, or names of bits such as
// IRWXG|IRWXO.
func ParseUmask(s string) (int, bool) {
	if v, err := strconv.ParseUint(s, 8, 16); err == nil {
		return int(v), v <= 0o777
	}
	mask := 0
	for bit := range strings.SplitSeq(s, "|") {
		b, ok := permissionBits[strings.TrimSpace(bit)]
		if !ok {
			return 0, false
		}
		mask |= b
	}
	return mask, true
}

func readUmask(l *loader, n *parser.Node, g *Global) {
	s, ok := l.word(n, 1, "mask")
	if !ok {
		return
	}
	for i := 2; i < len(n.Words); i++ {
		s += n.Arg(i) // blanks beside the bars
	}
	mask, ok := ParseUmask(s)
	if !ok {
		l.error(n.ArgPos(1), "umask: invalid value '%s': expected an octal number up to 0777, or bits such as IRWXG|IRWXO", s)
		return
	}
	g.Processes.Umask = mask
}
