// SPDX-License-Identifier: Apache-2.0

package config

import (
	"context"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"unsafe"

	"github.com/lvs-fnat/lvs/parser"
)

// Options are the surroundings of a Load. The zero value reads the host.
type Options struct {
	Parser parser.Options

	// Ephemeral gives the ports the host's own sockets use; nil: ReadEphemeral.
	// It is called at most once, and only when a local address has a port range.
	Ephemeral func() (Ephemeral, error)
	// User gives the uid of a user; nil: the host's users.
	User func(name string) (uid string, err error)
	// Group gives the gid of a group; nil: the host's groups.
	Group func(name string) (gid string, err error)
	// CPUs is the number of processors; 0: the host's.
	CPUs int
	// Verdict says that of virtual servers only the diagnostics and their number
	// are wanted: the Config has none then.
	Verdict bool
	// Former has what the Load before found, for this one to take over, and is given
	// what this one finds; nil: everything is read.
	Former *Former
	// Link tells whether the host has a link of that name; nil: it is not asked.
	Link func(name string) bool
	// KeyFile reads a file with a key and gives its mode; nil: the host's files.
	KeyFile func(path string) ([]byte, fs.FileMode, error)
	// Command finds the program of a command; nil: exec.LookPath.
	Command func(name string) (path string, err error)
	// Trusted says what is wrong with a program for root to run under
	// enable_script_security; nil: it is not asked.
	Trusted func(path string) error
}

// RequireIncludes has every include that does not find all its files be fatal.
func (o *Options) RequireIncludes() { o.Parser.Include = parser.IncludeAll }

// Text is a configuration as it was read.
type Text = parser.Text

// Record returns options that note in t what Load reads.
func (o Options) Record(t *Text) Options {
	o.Parser = o.Parser.Record(t)
	return o
}

// Replay returns options with which Load reads t and no file.
func (o Options) Replay(t *Text) Options {
	o.Parser = o.Parser.Replay(t)
	return o
}

// loader is the state of one Load.
type loader struct {
	opts   Options
	cfg    Config
	diags  []Diagnostic
	noted  map[string]bool   // paths of keywords already said to be not in force
	hints  map[string]string // of unknown keywords, by path: one wrong word often stands in every server
	groups []*laddrSource    // local_address_group blocks, in order
	byName map[string]*laddrSource
	vsGrp  map[string]*serverGroup
	timed  *Timing // the last of shared
	vrrp   vrrpDraft

	servers   []*parser.Node // virtual_server blocks, which are read last
	grouped   groupTable
	realsSeen map[netip.AddrPort]Pos // of one virtual server
	former    *Former
	virtuals  arena[VirtualServer]
	reals     arena[RealServer]
	checkers  arena[Checker]

	virtualTraits shelf[VirtualTraits]
	realTraits    shelf[RealTraits]
	checkTraits   shelf[CheckTraits]

	hostly   bool // the last virtual server may be another one next time with the same text
	rootRuns bool // commands of virtual servers run as root, and nobody has allowed it

	tracks *trackNames // nil until asked for

	clients map[string]*clientGroup

	ephemeral *Ephemeral // nil until asked for

	scriptUserAt Pos
	securityAt   Pos             // of enable_script_security
	commands     map[string]bool // whether they exist
	users        map[string]userID
}

// Load reads the configuration at path and everything it includes. The error
// is non-nil only when the file cannot be read or ctx ends; the Config then is
// nil. Otherwise the Config holds every object that is sound, and the
// diagnostics, in reading order, say what is wrong with the rest.
func Load(ctx context.Context, path string, opts Options) (*Config, []Diagnostic, error) {
	return opts.load(func(o parser.Options) (*parser.Tree, []*parser.Fault, error) { return parser.Load(ctx, path, o) })
}

// Parse is Load for text already read; name stands in the diagnostics.
func Parse(ctx context.Context, name, text string, opts Options) (*Config, []Diagnostic, error) {
	return opts.load(func(o parser.Options) (*parser.Tree, []*parser.Fault, error) { return parser.Parse(ctx, name, text, o) })
}

// load reads with what is known from before, and if that does not hold, without.
func (o Options) load(read func(parser.Options) (*parser.Tree, []*parser.Fault, error)) (*Config, []Diagnostic, error) {
	for {
		o.Parser.Known, o.Parser.Later = o.Former.known(), serverWord
		tree, faults, err := read(o.Parser)
		if err != nil {
			return nil, nil, err
		}
		if o.Former.holds(tree) {
			if cfg, diags, ok := build(tree, faults, o); ok {
				return cfg, diags, nil
			}
		}
		o.Former.forget()
	}
}

// build makes a configuration of a tree. Not ok: something in it is not as it was
// when former found the virtual servers that the tree has not read.
func build(tree *parser.Tree, faults []*parser.Fault, opts Options) (cfg *Config, diags []Diagnostic, ok bool) {
	opts.fill()
	l := &loader{
		opts:      opts,
		former:    opts.Former,
		commands:  map[string]bool{},
		users:     map[string]userID{},
		clients:   map[string]*clientGroup{},
		noted:     map[string]bool{},
		hints:     map[string]string{},
		byName:    map[string]*laddrSource{},
		vsGrp:     map[string]*serverGroup{},
		grouped:   newGroupTable(),
		realsSeen: map[netip.AddrPort]Pos{},
		vrrp:      vrrpDraft{byName: map[string]*instanceDraft{}},
	}
	for _, f := range faults {
		d := l.report(f.Pos, severities[f.Severity], "%s", f.Text)
		switch d.Severity {
		case Error:
			l.cfg.Lost = append(l.cfg.Lost, Lost{Pos: f.Pos})
		case Fatal:
			d.Class = Include
		}
	}
	l.cfg.setDefaults()
	if !l.former.empty() {
		l.virtuals.exact, l.reals.exact, l.checkers.exact = true, true, true
	}
	walk(l, tree.Nodes, "", rootKeywords, &l.cfg)
	if !l.finish(l.serverTexts(tree)) {
		return nil, nil, false
	}
	l.security()
	addWords(l.diags, tree.Nodes)
	l.diags = once(l.diags)
	sortDiagnostics(l.diags, tree.Files)
	l.former.keep(tree)
	own := l.cfg // who keeps it must not keep the whole tree, nor its text
	own.VirtualServers = nil
	detach(&own)
	own.VirtualServers = l.cfg.VirtualServers
	return &own, l.diags, true
}

// severities of the parser's.
var severities = map[parser.Severity]Severity{
	parser.Note: Info, parser.Warning: Warning, parser.Error: Error, parser.Fatal: Fatal,
}

// finish does what needs the whole file: references may point forward. texts are
// those of l.servers, or none. It is false if a virtual server of the last Load is
// not what it was.
func (l *loader) finish(texts []string) bool {
	for _, s := range l.groups {
		l.kernelGroups(s)
	}
	seen := make(map[serviceID]Pos, len(l.servers))
	if len(l.servers) > 0 && !l.opts.Verdict {
		l.cfg.VirtualServers = make([]*VirtualServer, 0, len(l.servers))
	}
	var d draft
	var again parser.Rereader
	for i, n := range l.servers {
		text := ""
		if texts != nil {
			text = texts[i]
		}
		if b := l.former.find(text); b != nil {
			if !b.whole(l) {
				return false
			}
			if vs := l.again(b, n, seen); vs != nil {
				l.serve(vs)
			}
			continue
		}
		if text != "" {
			n = again.Read(n, text)
		}
		before := len(l.diags)
		l.hostly = false
		readServer(l, n, &d)
		sound := l.server(&d, seen)
		addWords(l.diags[before:], []*parser.Node{n})
		if !sound {
			continue
		}
		l.missing(&d.vs)
		l.withholdServer(&d.vs)
		l.rootRuns = l.rootRuns || l.rootCommands(&d.vs)
		keep := text != "" && l.former != nil && len(l.diags) == before && !l.hostly && d.alone()
		if l.opts.Verdict {
			l.reals.reset()
			l.checkers.reset()
			d.vs.RealServers, d.vs.SorryServer = nil, nil
			if !keep {
				l.cfg.Services++
				continue
			}
		}
		vs := &l.virtuals.take(1)[:1][0]
		*vs = d.vs
		vs.VirtualTraits = l.virtualTraits.get(&d.traits)
		if vs.Group != "" {
			vs.Name = strings.Clone(vs.Group)
			vs.Group = vs.Name
		}
		l.serve(vs)
		if keep {
			l.former.put(text, vs, d.groupName)
		}
	}
	l.dropUnused()
	l.finishVRRP()
	return true
}

func (l *loader) serve(vs *VirtualServer) {
	l.cfg.Services++
	if !l.opts.Verdict {
		l.cfg.VirtualServers = append(l.cfg.VirtualServers, vs)
	}
}

// server resolves a virtual server; false: it is left out.
func (l *loader) server(d *draft, seen map[serviceID]Pos) bool {
	if d.foreign {
		return false // and nothing is lost: no configuration can have it
	}
	if !l.identify(d) {
		l.cfg.Lost = append(l.cfg.Lost, Lost{Pos: d.vs.Pos, Service: d.vs.Group})
		return false
	}
	if l.inlineAddresses(d); d.inline != nil {
		l.kernelGroups(d.inline)
	}
	if !l.complete(d) {
		if !d.hollow() {
			l.cfg.Lost = append(l.cfg.Lost, Lost{Pos: d.vs.Pos, Service: d.vs.Name})
		}
		return false
	}
	return l.unique(d, seen)
}

// arena hands out slices that lie side by side: ten thousand small ones cost
// the garbage collector more than a few large ones.
type arena[T any] struct {
	free  []T
	exact bool // each by itself, for a few that stay while others go
}

// arenaSize is in bytes: the size of a span of the heap that nothing is lost of.
const arenaSize = 32 << 10

// take gives an empty slice with room for n.
func (a *arena[T]) take(n int) []T {
	if n == 0 {
		return nil
	}
	if cap(a.free)-len(a.free) < n {
		var one T
		size := max(n, arenaSize/int(unsafe.Sizeof(one)))
		if a.exact {
			size = n
		}
		a.free = make([]T, 0, size)
	}
	at := len(a.free)
	a.free = a.free[:at+n]
	return a.free[at : at : at+n]
}

// reset takes back all that was handed out.
func (a *arena[T]) reset() { a.free = a.free[:0] }

// hollow says that nothing was written that could serve.
func (d *draft) hollow() bool { return len(d.reals)+len(d.unread) == 0 && d.sorry == nil }

// dropUnused removes inline groups whose virtual server was left out.
func (l *loader) dropUnused() {
	used := map[string]bool{}
	for _, vs := range l.cfg.VirtualServers {
		for _, e := range vs.Endpoints {
			used[e.LaddrGroup] = true
		}
	}
	l.cfg.LaddrGroups = slices.DeleteFunc(l.cfg.LaddrGroups, func(g LaddrGroup) bool {
		return g.Source == "" && !used[g.Name]
	})
}
