// SPDX-License-Identifier: Apache-2.0

// Package testconf writes random configurations of a balancer, out of the grammar of
// keepalived 2.2.7, for tests that hold two programs to the same text.
package testconf

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Config is a configuration: the text of each file by its name; "main" is the first one to be read.
type Config map[string]string

// Write puts the files into a new folder, and gives the path of the first.
func (c Config) Write(dir string) (main string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	for name, text := range c {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	return filepath.Join(dir, "main"), nil
}

// String is all of it with the numbers of lines.
func (c Config) String() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(c)) {
		fmt.Fprintf(&b, "-- %s --\n", name)
		n := 0
		for l := range strings.Lines(c[name]) {
			n++
			fmt.Fprintf(&b, "%3d %s", n, l)
		}
	}
	return b.String()
}

// Rates are how often something is not as it should be, each from 0 to 1.
type Rates struct {
	Values float64 // a bad value
	Words  float64 // a keyword that does not exist, or not there
	Braces float64 // a brace too many or too few, a quote without its other
	// Settled is for those who run it and look at the kernel's table: all in one file, and
	// no check happens for days.
	Settled bool
}

// Random writes a configuration by seed; the same seed and rates give the same text.
func Random(seed uint64, r Rates) Config {
	g := &gen{Rand: rand.New(rand.NewPCG(seed, 0)), faults: r.Values, rates: r, files: Config{}}
	g.config()
	g.files["main"] = g.out.String()
	return g.files
}

type gen struct {
	*rand.Rand
	faults float64
	rates  Rates
	files  Config
	out    strings.Builder
	depth  int
	v6     bool
	vars   int

	tracks []string
	groups []string
}

// line writes one, as people do.
func (g *gen) line(format string, args ...any) {
	s := fmt.Sprintf(format, args...)
	indent := strings.Repeat(g.pick("    ", "\t", "  ", "    "), g.depth)
	end := "\n"
	switch g.IntN(40) {
	case 0:
		end = " # a comment\n"
	case 1:
		end = "\t! another { comment\n"
	case 2:
		end = "  \n"
	case 3:
		end = "\r\n"
	case 4:
		end = "\n\n"
	}
	switch g.IntN(60) {
	case 0:
		if !strings.HasPrefix(s, "include") { // which the original then reads twice
			indent = "@^elsewhere " + indent
		}
	case 1:
		g.out.WriteString(indent + "@elsewhere this is { for another host\n")
	case 2:
		g.out.WriteString("# " + s + "\n")
	}
	g.out.WriteString(indent + s + end)
}

// block writes one; what says what stands before its brace.
func (g *gen) block(what string, inner func()) {
	open, shut := true, true
	if g.Float64() < g.rates.Braces {
		open, shut = g.IntN(2) == 0, g.IntN(2) == 0
	}
	switch {
	case !open:
		g.line("%s", what)
	case g.IntN(8) == 0:
		g.line("%s", what)
		g.line("{")
	default:
		g.line("%s {", what)
	}
	g.depth++
	if g.depth < 5 && g.IntN(30) == 0 && !g.rates.Settled {
		g.include(inner)
	} else {
		inner()
	}
	g.depth--
	if shut {
		g.line("}")
	}
	if g.Float64() < g.rates.Braces {
		g.line("%s", g.pick("}", "{", `"`, "foo {", "{ }"))
	}
}

// include has inner written into a file of its own.
func (g *gen) include(inner func()) {
	name := fmt.Sprintf("part%d.conf", len(g.files))
	g.files[name] = ""
	outer := g.out.String()
	g.out.Reset()
	inner()
	g.files[name] = g.out.String()
	g.out.Reset()
	g.out.WriteString(outer)
	if g.wrong() {
		g.line("%s", g.pick("include none.conf", "include", "includer none*", "include \"part", "includem "+name))
	}
	g.line("%s %s", g.pick("include", "include", "includer", "includea"), name)
}

// statement writes a keyword with its value, which may come by a name.
func (g *gen) statement(word string, v value) {
	s := strings.TrimSuffix(word+" "+v(g), " ")
	w, rest, _ := strings.Cut(s, " ")
	switch {
	case g.Float64() < g.rates.Words:
		g.line("%s", g.pick(strings.ToUpper(word), word+"x", "no_such_word 5", "interface eth0", "}"+word, word+";"))
		return
	case rest != "" && !strings.Contains(rest, `"`) && g.IntN(25) == 0:
		g.vars++
		fmt.Fprintf(&g.out, "$V%d=%s\n", g.vars, rest)
		s = fmt.Sprintf("%s %s", w, g.pick(fmt.Sprintf("$V%d", g.vars), fmt.Sprintf("${V%d}", g.vars)))
	case g.IntN(60) == 0:
		g.vars++
		fmt.Fprintf(&g.out, "$W%d=\\\n%s\\\n%s\n", g.vars, s, s)
		s = fmt.Sprintf("$W%d", g.vars)
	case g.Float64() < g.faults*g.faults:
		s += g.pick(" and more", ` "`)
	}
	g.line("%s", s)
}

// unsettling are words that have checks done soon, or that the kernel may refuse.
var unsettling = strings.Fields("warmup lthreshold lvs_netlink_cmd_rcv_bufs lvs_netlink_monitor_rcv_bufs nftables_ipvs_priority nftables_ipvs_start_fwmark checker_rlimit_rttime max_auto_priority")

// some writes n statements of a table at random.
func (g *gen) some(n int, table map[string]value) {
	words := slices.Sorted(maps.Keys(table))
	for range n {
		w := words[g.IntN(len(words))]
		if g.rates.Settled && slices.Contains(unsettling, w) {
			continue
		}
		g.statement(w, table[w])
	}
}

func (g *gen) config() {
	g.v6 = g.IntN(4) == 0
	if g.IntN(3) == 0 {
		g.block("global_defs", func() { g.some(1+g.IntN(5), globals) })
	}
	if g.IntN(8) == 0 {
		g.block("SSL", func() { g.some(1+g.IntN(2), map[string]value{"password": text}) })
	}
	for i := range g.IntN(3) {
		name := fmt.Sprintf("file%d", i)
		g.tracks = append(g.tracks, name)
		g.block(g.pick("track_file ", "vrrp_track_file ")+name, func() {
			if !g.wrong() {
				g.line("file /tmp/none/%s", name)
			}
			g.some(g.IntN(3), map[string]value{"weight": fileWeight, "init_file": initFile})
		})
	}
	if g.IntN(3) == 0 {
		name := g.pick("group", "G-1", `"a group"`)
		g.groups = append(g.groups, name)
		g.block("virtual_server_group "+name, func() {
			for range 1 + g.IntN(3) {
				if g.IntN(8) == 0 && !g.v6 {
					g.line("~SEQ(n, %s) 10.1.9.$n 80", g.pick("1, 3", "1, 2, 6", "9, -3, 1"))
					continue
				}
				g.line("%s", groupEntry(g))
			}
		})
	}
	for range 1 + g.IntN(3) {
		g.virtualServer()
	}
	if g.IntN(6) == 0 && !g.rates.Settled {
		g.include(g.virtualServer)
	}
}

func (g *gen) virtualServer() {
	what := address(g)
	switch k := g.IntN(8); {
	case k == 0 && len(g.groups) > 0:
		what = "group " + g.pick(g.groups...)
	case k == 1:
		what = "fwmark " + whole(1, 1<<32-1)(g)
	case g.wrong():
		what = g.pick("", "group", "group nogroup", "fwmark", "fwmark 0", "x", "10.0.0.1 80 90")
	}
	g.block("virtual_server "+what, func() {
		for _, usual := range []string{"delay_loop", "lb_algo", "lb_kind", "protocol"} {
			if !g.wrong() {
				g.statement(usual, servers[usual])
			}
		}
		g.some(g.IntN(5), servers)
		if g.rates.Settled {
			g.line("warmup 10000000")
		}
		for range 1 + g.IntN(3) {
			g.realServer()
		}
		if g.IntN(6) == 0 {
			g.some(1, servers)
		}
	})
}

func (g *gen) realServer() {
	if g.Float64() < g.faults*g.faults {
		g.line("real_server %s", address(g))
		return
	}
	g.block("real_server "+address(g), func() {
		g.some(g.IntN(4), reals)
		for range g.IntN(3) {
			g.check()
		}
	})
}

func (g *gen) check() {
	kind := g.pick("TCP_CHECK", "TCP_CHECK", "HTTP_GET", "SSL_GET", "SMTP_CHECK", "DNS_CHECK", "MISC_CHECK", "UDP_CHECK", "PING_CHECK", "FILE_CHECK")
	if kind == "FILE_CHECK" && len(g.tracks) == 0 {
		kind = "TCP_CHECK"
	}
	g.block(kind, func() {
		n := g.IntN(4)
		switch kind {
		case "MISC_CHECK":
			if !g.wrong() {
				g.statement("misc_path", script)
			}
			g.some(n, misc)
			return
		case "FILE_CHECK":
			if !g.wrong() {
				g.line("track_file %s", g.pick(g.tracks...))
			}
			g.some(g.IntN(2), map[string]value{"weight": fileWeight})
			return
		}
		g.some(n, common)
		switch kind {
		case "SMTP_CHECK":
			g.some(g.IntN(2), map[string]value{"helo_name": text})
			if g.IntN(6) == 0 {
				g.block("host", func() { g.some(1+g.IntN(2), common) })
			}
		case "DNS_CHECK":
			g.some(g.IntN(3), map[string]value{"type": dnsType, "name": dnsName})
		case "UDP_CHECK":
			g.some(g.IntN(3), map[string]value{"payload": hex, "require_reply": reply, "min_reply_length": fileLimit, "max_reply_length": fileLimit})
		case "HTTP_GET", "SSL_GET":
			g.some(g.IntN(3), web)
			for range 1 + g.IntN(2) {
				if g.wrong() {
					continue
				}
				g.block("url", func() {
					if !g.wrong() {
						g.statement("path", path)
					}
					g.some(g.IntN(3), urls)
				})
			}
		}
	})
}
