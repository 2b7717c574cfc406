// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testvm"
	"github.com/lvs-fnat/lvs/ipvs"
)

// guideSection is a part of a guide whose commands caseGuide runs as they stand there.
type guideSection struct {
	page, from, to string
	atLeast        int // commands
}

var (
	limitsGuide   = guideSection{"fnat.md", "## Floods, limits, lists\n", "\n## Limits\n", 12}
	synproxyGuide = guideSection{"synproxy.md", "## Use\n", "\n## What clients notice\n", 12}
)

// of returns the section's commands.
func (s guideSection) of(t *testing.T, text string) []string {
	t.Helper()
	_, section, found := strings.Cut(text, s.from)
	section, _, ended := strings.Cut(section, s.to)
	if !found || !ended {
		t.Fatalf("%s has no section from %q to %q any more", s.page, s.from, s.to)
	}
	all := guideCommands(section)
	if len(all) < s.atLeast {
		t.Errorf("%d commands between %q and %q of %s", len(all), s.from, s.to, s.page)
	}
	return all
}

// run runs the section's commands, as they stand there, and wants something to come
// of those that only look.
func (s guideSection) run(t *testing.T, r *rig) {
	t.Helper()
	text, err := os.ReadFile("/" + s.page)
	testnet.Must(t, err)
	for _, command := range s.of(t, string(text)) {
		looks := strings.HasPrefix(command, "ipvsadm -L") || !strings.Contains(command, "ipvsadm")
		if strings.TrimSpace(r.d.Exec(t, "bash", "-c", command)) == "" && looks {
			t.Errorf("nothing comes of %q", command)
		}
	}
}

// guideCommands are the commands of a page: lines that are set off and begin with a
// program. Pieces of configuration and drawings are set off, too.
func guideCommands(text string) []string {
	var all []string
	for line := range strings.Lines(text) {
		command, set := strings.CutPrefix(line, "    ")
		command, _, _ = strings.Cut(strings.TrimRight(command, "\n"), "  #")
		word, _, _ := strings.Cut(strings.TrimLeft(command, " ("), " ")
		if set && slices.Contains(guidePrograms, filepath.Base(word)) {
			all = append(all, strings.TrimSpace(command))
		}
	}
	return all
}

// guideInline are the commands that a page shows within its sentences: what is set as
// code there, begins with a program and has more words.
func guideInline(text string) []string {
	var all []string
	for _, m := range inlineCode.FindAllStringSubmatch(text, -1) {
		if word, _, more := strings.Cut(m[1], " "); more && slices.Contains(guidePrograms, filepath.Base(word)) {
			all = append(all, m[1])
		}
	}
	return all
}

var inlineCode = regexp.MustCompile("`([^`\n]+)`")

// guidePrograms are the first words of commands in the guides.
var guidePrograms = []string{
	"apt-get", "cat", "dkms", "dkms-build", "echo", "ethtool", "ip", "ipvsadm", "keepalived", "ls", "make", "modinfo", "modprobe", "mokutil", "nft", "rmmod", "ss",
	"sysctl", "toa-bpf", "umask",
}

// guideRunners tells, for each page, which of its commands are typed where: a command
// that contains the words on the left by the test on the right, with names and
// addresses of that test's bed. Those of a section in caseGuide are run verbatim.
var guideRunners = map[string][]struct{ words, test string }{
	"fnat.md": {
		{"notrack", "e2e.TestTools"}, {"ethtool -K", "e2e.TestWatch"}, {"ip addr add", "e2e.TestWatch"}, {"ip_local_reserved_ports=", "e2e.TestWatch"},
		{"ipvsadm -G", "e2e.TestWatch"}, {"ipvsadm --rate", "e2e.TestWatch"}, {"ipvsadm --set", "e2e.TestWatch"}, {"ipvsadm -E -s", "e2e.TestWatch"},
	},
	"synproxy.md": {
		{"ipvsadm --set-ext --synproxy-early", "e2e.TestWatch"}, {"nft list", "e2e.TestWatch"}, {"ss -ti", "e2e.TestWatch"},
		{"keepalived --doctor", "e2e/daemon.TestKeepalivedDoctor"},
	},
	"toa.md": {
		{"--toa", "e2e.TestWatch"}, {"rmmod toa", "e2e.TestToaModuleUnload"},
		{"toa-bpf run", "e2e.TestToaBPFReceive"}, {"toa-bpf stats", "e2e.TestToaBPFReceive"}, {"toa-bpf detach", "e2e.TestToaBPFReceive"},
		{"toa-bpf list", "kmod/toa/bpf.TestNetnsPinned"}, {"toa-bpf trust", "kmod/toa/bpf.TestNetnsPinned"},
		{"modprobe toa trust=", "e2e.TestToaModuleReceive"}, {"/proc/net/toa_stats", "e2e.TestToaModuleReceive"}, {"/proc/net/toa", "e2e.TestToaModuleTrust"},
	},
	"kernel-module.md": {
		{"apt-get install", "e2e/install.TestInstall"}, {"apt-get remove", "e2e/install.TestInstall"},
		{"apt-get purge", "e2e/install.TestInstall"}, {"make deb", "e2e/install.TestFromClone"},
		{"ipvsadm --clear", "e2e.TestWatch"},
		{"make install", "e2e/install.TestFromClone"}, {"make dkms-install", "e2e/install.TestFromClone"},
		{"modprobe ip_vs", "e2e.TestUnload"}, {"dkms-build lvs", "e2e/install.TestInstall"}, {"dkms status", "e2e/install.TestInstall"},
		{"modinfo ", "e2e/install.TestInstall"}, {"keepalived --doctor", "e2e/daemon.TestKeepalivedDoctor"},
		{"mokutil --import", "e2e/install.TestInstall"},
	},
}

// guideCalls are functions by which tests do what a program does.
var guideCalls = map[string][]string{"cat": {"ReadFile", "Open"}, "echo": {"WriteFile"}, "modprobe": {"Modprobe"}, "rmmod": {"DeleteModule", "Rmmod"}}

// TestHostGuides: each command of the guides is typed by a test: run as it stands in
// the guide, or with its program, subcommands and options among the words of one
// function of the test that guideRunners names.
func TestHostGuides(t *testing.T) {
	sources := map[string]map[string]*guideSource{}
	for page, runners := range guideRunners {
		text, err := os.ReadFile(filepath.Join("../docs", page))
		testnet.Must(t, err)
		verbatim := map[string]bool{}
		for _, s := range []guideSection{limitsGuide, synproxyGuide} {
			if s.page == page {
				for _, command := range s.of(t, string(text)) {
					verbatim[command] = true
				}
			}
		}
		used := map[string]bool{}
		for _, command := range slices.Concat(guideCommands(string(text)), guideInline(string(text))) {
			if verbatim[command] {
				continue
			}
			i := slices.IndexFunc(runners, func(r struct{ words, test string }) bool { return strings.Contains(command, r.words) })
			if i < 0 {
				t.Errorf("%s shows %q, which no test runs", page, command)
				continue
			}
			used[runners[i].words] = true
			dir, test, _ := strings.Cut(runners[i].test, ".")
			if sources[dir] == nil {
				sources[dir] = guideSources(t, filepath.Join("..", dir))
			}
			if err := typed(sources[dir], test, command); err != nil {
				t.Errorf("%s shows %q, which %s does not type: %v", page, command, runners[i].test, err)
			}
		}
		for _, r := range runners {
			if !used[r.words] {
				t.Errorf("%s shows nothing with %q any more", page, r.words)
			}
		}
	}
}

// guideSource is what a function, variable or constant of a package's tests is made of.
type guideSource struct {
	words map[string]bool // of its string literals
	names map[string]bool // identifiers
}

var guideSeparator = regexp.MustCompile("[ \t\n;,<>\"'`(){}]+")

func guideSources(t *testing.T, dir string) map[string]*guideSource {
	t.Helper()
	all := map[string]*guideSource{}
	files, err := fs.Glob(os.DirFS(dir), "*_test.go")
	testnet.Must(t, err)
	add := func(name string, n ast.Node) {
		s := all[name]
		if s == nil {
			s = &guideSource{map[string]bool{}, map[string]bool{}}
			all[name] = s
		}
		ast.Inspect(n, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.Ident:
				s.names[n.Name] = true
			case *ast.BasicLit:
				if text, err := strconv.Unquote(n.Value); err == nil && n.Kind == token.STRING {
					for _, w := range guideSeparator.Split(text, -1) {
						s.words[w] = true
					}
				}
			}
			return true
		})
	}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, file), nil, 0)
		testnet.Must(t, err)
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				add(d.Name.Name, d)
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if v, ok := spec.(*ast.ValueSpec); ok {
						for _, name := range v.Names {
							add(name.Name, v)
						}
					}
				}
			}
		}
	}
	return all
}

// reach is a function and all that it names, and so on.
func reach(all map[string]*guideSource, from string) map[string]bool {
	reached, queue := map[string]bool{from: true}, []string{from}
	for ; len(queue) > 0; queue = queue[1:] {
		for name := range all[queue[0]].names {
			if all[name] != nil && !reached[name] {
				reached[name] = true
				queue = append(queue, name)
			}
		}
	}
	return reached
}

// typed says what of a command is not typed by a test, or by what it calls: its words
// stand together in a function that runs the program, or has it run by one it calls.
func typed(all map[string]*guideSource, test, command string) error {
	if all[test] == nil {
		return fmt.Errorf("there is no such test")
	}
	reached := reach(all, test)
	program, rest := guideWords(command)
	does := func(s *guideSource) bool {
		return slices.ContainsFunc(guideCalls[program], func(name string) bool { return s.names[name] }) ||
			slices.ContainsFunc(slices.Collect(maps.Keys(s.words)), func(w string) bool { return filepath.Base(w) == program })
	}
	if !slices.ContainsFunc(slices.Collect(maps.Keys(reached)), func(name string) bool { return does(all[name]) }) {
		return fmt.Errorf("not %s", program)
	}
	least := rest
	for name := range reached {
		var missing []string
		for _, w := range rest {
			if !slices.ContainsFunc(slices.Collect(maps.Keys(all[name].words)), func(have string) bool {
				return have == w || strings.HasSuffix(w, "=") && strings.HasPrefix(have, w)
			}) {
				missing = append(missing, w)
			}
		}
		if len(missing) == 0 {
			if slices.ContainsFunc(slices.Collect(maps.Keys(reach(all, name))), func(name string) bool { return does(all[name]) }) {
				return nil
			}
			missing = append(missing, program)
		}
		if len(missing) < len(least) {
			least = missing
		}
	}
	return fmt.Errorf("no function has %q", least)
}

var guidePackage = regexp.MustCompile(`^[a-z]+(-[a-z]+)*-[0-9.]+$`)

// guideWords are the program of a command, and those of its other words that are no
// names: options, subcommands, parameters, and paths that are no option's value.
func guideWords(command string) (program string, rest []string) {
	option := false
	for i, w := range strings.FieldsFunc(command, func(c rune) bool { return strings.ContainsRune(" ()>\"'{},", c) }) {
		if i == 0 {
			program = filepath.Base(w)
			continue
		}
		name, _, parameter := strings.Cut(w, "=")
		switch {
		case parameter && guidePackage.MatchString(name): // in a version
		case parameter && name == strings.ToLower(name):
			rest = append(rest, name+"=")
		case strings.HasPrefix(w, "-"):
			rest = append(rest, w)
		case strings.ContainsAny(w, "0123456789*.…") || w != strings.ToLower(w) || option && strings.HasPrefix(w, "/"):
		default:
			rest = append(rest, w)
		}
		option = strings.HasPrefix(w, "--")
	}
	return program, rest
}

// TestHostGuideWords: a command that a test leaves out, or types with another option,
// is noticed.
func TestHostGuideWords(t *testing.T) {
	source := &guideSource{map[string]bool{"tool": true, "add": true, "--to": true}, map[string]bool{"ReadFile": true, "TestA": true, "words": true, "helper": true}}
	all := map[string]*guideSource{
		"TestA": source, "other": {map[string]bool{"--from": true}, map[string]bool{}},
		"words": {map[string]bool{"purge": true}, map[string]bool{}}, "helper": {map[string]bool{"remove": true}, map[string]bool{"run": true}},
		"run": {map[string]bool{"/bin/tool": true}, map[string]bool{}},
	}
	for command, want := range map[string]string{
		"tool add 10.0.0.1 --to /some/where": "",
		"/usr/bin/tool add --to NAME":        "",
		"tool del 10.0.0.1":                  `no function has ["del"]`,
		"tool add 10.0.0.1 --from x":         `no function has ["--from" "x"]`,
		"cat /proc/net/x":                    `no function has ["/proc/net/x"]`,
		"tool purge":                         `no function has ["purge"]`, // the word is another's
		"tool remove":                        "",
		"modprobe add":                       "not modprobe",
	} {
		got := ""
		if err := typed(all, "TestA", command); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: %q, want %q", command, got, want)
		}
	}
	if err := typed(all, "TestB", "tool"); err == nil {
		t.Error("a test that does not exist types something")
	}
}

// guideTyped are commands that the guides show within their sentences, with names and
// addresses of a rig, and what must come of them; lines are the kernels that can do
// it, if not all.
var guideTyped = []struct{ command, want, lines string }{
	{"ip addr add 10.9.9.9/32 dev back", "", ""},
	{"busybox sysctl net.ipv4.ip_local_reserved_ports=40000-40009", "", ""},
	{"ethtool -K front lro off", "", ""},
	{"ipvsadm --set 900 120 300", "", ""},
	{"ipvsadm -E -t 10.0.1.100:80 -s wlc", "", ""},
	{"ipvsadm -E -t 10.0.1.100:80 --toa", "", ""},
	{"ipvsadm --set-ext --synproxy-early auto", "", ""},
	{"ipvsadm -G", "lgroup g\n", ""},
	{"ipvsadm -L -n --rate", "InBPS", ""},
	{"nft list hooks", "ip_vs_in_hook", "6.12"},
	{"nft list ruleset", "", ""},
	{"ss -ti", "wscale:", "6.1 6.12"},
	{"ipvsadm --clear", "", ""},
}

// caseGuideInline runs them.
func caseGuideInline(t *testing.T, r *rig) {
	l, err := r.d.Listen(t.Context(), "tcp", "127.0.0.1:0")
	testnet.Must(t, err)
	defer l.Close()
	c, err := r.d.DialContext(t.Context(), "tcp", l.Addr().String()) // for ss to tell of
	testnet.Must(t, err)
	defer c.Close()
	for _, g := range guideTyped {
		if g.lines != "" && !slices.Contains(strings.Fields(g.lines), testvm.Kernel()) {
			continue
		}
		if got := r.d.Exec(t, "bash", "-c", g.command); !strings.Contains(got, g.want) {
			t.Errorf("%q prints no %q:\n%s", g.command, g.want, got)
		}
	}
	s, err := r.x.ExtServices(t.Context())
	if err != nil || len(s) != 0 {
		t.Errorf("all is cleared, and left are %+v, %v", s, err)
	}
}

// caseGuide runs the commands of the guides about limits, about SYNPROXY and about
// what to look at, as they stand there.
func caseGuide(t *testing.T, r *rig) {
	tracefs(t)
	r.serve(t, setup{})
	r.makeSet(t, "crawlers", "hash:net", r.nf(), r.cip[0])
	limitsGuide.run(t, r)
	s, err := r.x.ExtService(t.Context(), r.key(ipvs.TCP, 80))
	want := ipvs.Limits{TimeoutEst: 5 * time.Minute, CPS: 100, CPSBurst: 20, BPSIn: 12500000, BPSOut: 125000000, ConnLimit: 100000,
		ACL: ipvs.ACLBlack, ACLSet4: "crawlers"}
	if err != nil || s.Limits != want || s.Invalid != ipvs.InvalidDrop || s.Flags&ipvs.ExtRSTOnExpire == 0 {
		t.Errorf("the commands leave %+v, %v; want %+v", s.Ext, err, want)
	}
	cfg, err := r.x.ExtConfig(t.Context())
	if err != nil || !cfg.DropVIP {
		t.Errorf("the commands leave %+v, %v", cfg, err)
	}

	synproxyGuide.run(t, r)
	s, err = r.x.ExtService(t.Context(), r.key(ipvs.TCP, 80))
	if err != nil || s.Flags&(ipvs.ExtSynproxy|ipvs.ExtSPAuto|ipvs.ExtSPDefer) != ipvs.ExtSynproxy|ipvs.ExtSPDefer || s.SP.AutoOn != 4096 || s.SP.AutoOff != 1024 || s.SP.WScale != 9 || s.SP.Window != 14600 {
		t.Errorf("the commands leave %+v, %v", s.Ext, err)
	}
	cfg, err = r.x.ExtConfig(t.Context())
	if err != nil || cfg.SPQMem != 33554432 {
		t.Errorf("the commands leave %+v, %v", cfg, err)
	}
	caseGuideInline(t, r)
}
