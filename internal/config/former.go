// SPDX-License-Identifier: Apache-2.0

package config

import (
	"hash/maphash"
	"slices"
	"strings"

	"github.com/lvs-fnat/lvs/parser"
)

// Former is what one Load leaves for the next: the virtual servers, by their text.
// One that stands in the next text to the byte, with all else around the virtual
// servers the same, is not read again, and the next Config has the same
// *VirtualServer, unless other text has moved it to another line. The zero value
// knows nothing. It is not safe for concurrent use.
//
// Only what the text alone decides is taken over: not what has remarks, commands,
// track files, sessions of BFD, or addresses of a group or local ones that stand
// elsewhere and may have moved.
//
// Of texts it keeps hashes, with a seed of this process's own: that two texts of one
// length have the same is a matter of 2^-64, whoever writes them.
type Former struct {
	around uint64            // all but the virtual servers, as Tree.Format has it
	blocks map[uint64]*block // by first line
	turn   int               // of Loads
}

var textSeed = maphash.MakeSeed()

func hashOf(text string) uint64 { return maphash.String(textSeed, text) }

// block is a virtual server with its text.
type block struct {
	sum  uint64 // of the text
	size int    // likewise
	vs   *VirtualServer
	// laddrs is the name of its group of local addresses, or "".
	laddrs string
	turn   int // of the Load that saw it last
}

// known is the parser's.
func (f *Former) known() func(text string) int {
	if f == nil {
		return nil
	}
	return func(text string) int {
		if b := f.blocks[hashOf(firstLine(text))]; b != nil && len(text) >= b.size && hashOf(text[:b.size]) == b.sum {
			return b.size
		}
		return 0
	}
}

func (f *Former) forget() { *f = Former{turn: f.turn} }

// empty tells whether nothing is known.
func (f *Former) empty() bool { return f == nil || len(f.blocks) == 0 }

// holds tells whether a tree that was read with what is known can be used: the rest
// is as it was, and it is worth it. Text that is hardly the same is read as a
// whole, for blocks that are taken one by one are larger.
func (f *Former) holds(tree *parser.Tree) bool {
	if f == nil {
		return true
	}
	if f.turn++; f.empty() {
		return true
	}
	known, all := 0, 0
	for i, n := range tree.Nodes {
		if n.Key() == serverWord {
			if all++; f.find(tree.Blocks[i]) != nil {
				known++
			}
		}
	}
	return 2*known >= all && surroundings(tree) == f.around
}

const serverWord = "virtual_server"

// surroundings are all of a tree but the virtual servers.
func surroundings(tree *parser.Tree) uint64 {
	var rest parser.Tree
	for _, n := range tree.Nodes {
		if n.Key() != serverWord {
			rest.Nodes = append(rest.Nodes, n)
		}
	}
	return hashOf(rest.Format())
}

// serverTexts are the texts of l.servers, which are of tree, nil if that has none of
// any block.
func (l *loader) serverTexts(tree *parser.Tree) []string {
	if tree.Blocks == nil {
		return nil
	}
	texts := make([]string, 0, len(l.servers))
	for i, n := range tree.Nodes {
		if k := len(texts); k < len(l.servers) && l.servers[k] == n {
			texts = append(texts, tree.Blocks[i])
		}
	}
	return texts
}

// find gives what is known of the virtual server with a text.
func (f *Former) find(text string) *block {
	if text == "" || f.empty() {
		return nil
	}
	b := f.blocks[hashOf(firstLine(text))]
	if b == nil || b.size != len(text) || b.sum != hashOf(text) {
		return nil
	}
	return b
}

func firstLine(text string) string { return text[:strings.IndexByte(text, '\n')+1] }

func (f *Former) put(text string, vs *VirtualServer, laddrs string) {
	if f.blocks == nil {
		f.blocks = map[uint64]*block{}
	}
	f.blocks[hashOf(firstLine(text))] = &block{sum: hashOf(text), size: len(text), vs: vs, laddrs: strings.Clone(laddrs), turn: f.turn}
}

// keep ends a Load: what it has not seen is gone.
func (f *Former) keep(tree *parser.Tree) {
	if f == nil {
		return
	}
	f.around = surroundings(tree)
	for line, b := range f.blocks {
		if b.turn != f.turn {
			delete(f.blocks, line)
		}
	}
}

// alone tells whether d is what its own text and the surroundings make it.
func (d *draft) alone() bool {
	own := func(r *realDraft) bool {
		return r == nil || r.rs.NotifyUp.Command == "" && r.rs.NotifyDown.Command == "" && len(r.files) == 0 && len(r.bfds) == 0 &&
			!slices.ContainsFunc(r.checks, func(c *checkDraft) bool { return c.c.Kind == MiscCheck })
	}
	vs := &d.vs
	return len(vs.Endpoints) == 1 && vs.Group == "" && d.inline == nil && vs.QuorumUp.Command == "" && vs.QuorumDown.Command == "" &&
		own(d.sorry) && !slices.ContainsFunc(d.reals, func(r *realDraft) bool { return !own(r) })
}

// whole tells whether the local addresses of b are those it had.
func (b *block) whole(l *loader) bool {
	if b.laddrs == "" || b.vs.Method != FNAT {
		return true
	}
	s := l.byName[b.laddrs]
	return s != nil && !s.broken && !slices.ContainsFunc(b.vs.Endpoints, func(e Endpoint) bool { return s.kernel[e.Family] != e.LaddrGroup })
}

// again gives the virtual server of b, which is whole, for the place of n; nil:
// another one has its endpoint, which is said.
func (l *loader) again(b *block, n *parser.Node, seen map[serviceID]Pos) *VirtualServer {
	vs := b.vs.at(n.Pos())
	if !l.claim(vs, &vs.Endpoints[0], seen) {
		return nil
	}
	b.vs, b.turn = vs, l.former.turn
	return vs
}

// at gives vs for another place.
func (vs *VirtualServer) at(p Pos) *VirtualServer {
	if vs.Pos == p {
		return vs
	}
	move := func(to *Pos) { to.File, to.Line = p.File, to.Line+p.Line-vs.Pos.Line }
	moved := func(rs *RealServer) {
		move(&rs.Pos)
		rs.Checkers = slices.Clone(rs.Checkers)
		for i := range rs.Checkers {
			c := &rs.Checkers[i]
			move(&c.Pos)
			if c.HTTP != nil {
				h, own := *c.HTTP, *c.Probe
				h.URLs = slices.Clone(h.URLs)
				for k := range h.URLs {
					move(&h.URLs[k].Pos)
				}
				own.HTTP = &h
				c.Probe = &own
			}
		}
	}
	c := *vs
	move(&c.Pos)
	c.Endpoints, c.RealServers = slices.Clone(vs.Endpoints), slices.Clone(vs.RealServers)
	for i := range c.Endpoints {
		move(&c.Endpoints[i].Pos)
	}
	for i := range c.RealServers {
		moved(&c.RealServers[i])
	}
	if vs.SorryServer != nil {
		own := *vs.SorryServer
		moved(&own)
		c.SorryServer = &own
	}
	return &c
}
