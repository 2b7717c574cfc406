// SPDX-License-Identifier: Apache-2.0

package testvm

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
)

// result is one test of the guest.
type result struct {
	name    string
	outcome string // PASS, FAIL, SKIP; "" while it runs
	took    string
	output  []string
	kernel  []string // what the kernel complained about meanwhile
	subs    []*result
}

func (r *result) base() string { return r.name[strings.LastIndexByte(r.name, '/')+1:] }

// all returns the output of r and its subtests.
func (r *result) all() []string {
	out := append(slices.Clone(r.output), r.kernel...)
	for _, s := range r.subs {
		out = append(append(out, s.name+":"), s.all()...)
	}
	return out
}

// parser reads what -test.v=test2json prints: framing lines start with ^V, all
// others are output of the test named last. It is a writer; top-level results
// appear on done as they end. One goroutine writes, then calls end.
type parser struct {
	done chan *result
	tops map[string]*result

	partial []byte
	all     map[string]*result
	current *result
	stray   []string // output before, between and after tests
	kernel  []string // complaints of the kernel outside tests
	fails   []string
	boot    string
	exit    *int
}

func newParser() *parser {
	return &parser{done: make(chan *result, 1024), tops: map[string]*result{}, all: map[string]*result{}}
}

const framing = "\x16"

var (
	endLine  = regexp.MustCompile(`^ *--- (PASS|FAIL|SKIP): (.+) \(([0-9.]+s)\)$`)
	moveLine = regexp.MustCompile(`^=== (RUN|NAME|CONT|PAUSE) +(.*)$`)
)

// Write implements io.Writer.
func (p *parser) Write(b []byte) (int, error) {
	p.partial = append(p.partial, b...)
	for {
		i := strings.IndexByte(string(p.partial), '\n')
		if i < 0 {
			return len(b), nil
		}
		line := strings.TrimSuffix(string(p.partial[:i]), "\r")
		p.partial = p.partial[i+1:]
		p.line(line)
	}
}

// end closes done; call it once nothing is written any more.
func (p *parser) end() {
	if len(p.partial) > 0 {
		p.line(string(p.partial))
		p.partial = nil
	}
	close(p.done)
}

func (p *parser) line(l string) {
	if text, ok := strings.CutPrefix(l, eventMark); ok {
		p.event(text)
		return
	}
	// Framing may follow an unfinished line of output.
	before, frame, framed := strings.Cut(l, framing)
	if !framed {
		p.output(l)
		return
	}
	if before != "" {
		p.output(before)
	}
	frame = strings.TrimLeft(frame, framing)
	if m := moveLine.FindStringSubmatch(frame); m != nil {
		p.move(m[1], m[2])
	} else if m := endLine.FindStringSubmatch(frame); m != nil {
		p.finish(m[1], m[2], m[3])
	} else if frame != "PASS" && frame != "FAIL" {
		p.output(frame)
	}
}

func (p *parser) output(l string) {
	switch {
	case p.current != nil:
		p.current.output = append(p.current.output, l)
	case l != "" && l != "PASS" && l != "FAIL":
		p.stray = append(p.stray, l)
	}
}

func (p *parser) move(verb, name string) {
	switch {
	case name == "":
		p.current = nil
	case verb == "RUN":
		r := &result{name: name}
		p.all[name] = r
		if up := strings.LastIndexByte(name, '/'); up < 0 {
			p.tops[name] = r
		} else if parent := p.all[name[:up]]; parent != nil {
			parent.subs = append(parent.subs, r)
		}
		p.current = r
	case verb != "PAUSE":
		p.current = p.all[name]
	}
}

func (p *parser) finish(outcome, name, took string) {
	r := p.all[name]
	if r == nil {
		return
	}
	r.outcome, r.took = outcome, took
	// Output that follows a result line belongs to it (a failure's text may).
	p.current = r
	if p.tops[name] == r {
		p.current = nil
		p.done <- r
	}
}

func (p *parser) event(text string) {
	var e event
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		p.fails = append(p.fails, "unreadable event: "+text)
		return
	}
	switch {
	case e.Boot != "":
		p.boot = e.Boot
	case e.Fail != "":
		p.fails = append(p.fails, e.Fail)
	case e.Exit != nil:
		p.exit = e.Exit
	case e.Kernel != "" && p.current != nil:
		p.current.kernel = append(p.current.kernel, e.Kernel)
	case e.Kernel != "":
		p.kernel = append(p.kernel, e.Kernel)
	}
}

func (p *parser) anyFailed() bool {
	for _, r := range p.all {
		if r.outcome != "PASS" && r.outcome != "SKIP" {
			return true
		}
	}
	return false
}
