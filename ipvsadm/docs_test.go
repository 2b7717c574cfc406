// SPDX-License-Identifier: Apache-2.0

package main

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/lvs-fnat/lvs/internal/popt"
)

// tableOptions are all options as they are typed, from the scanner's tables.
func tableOptions() map[string]bool {
	all := map[string]bool{}
	for _, table := range []*popt.Table{plainOptions.get(), destOptions.get()} {
		for _, o := range table.Rows() {
			if o.Long != "" {
				all["--"+o.Long] = true
			}
			if o.Short != 0 {
				all["-"+string(rune(o.Short))] = true
			}
		}
	}
	return all
}

func longOnly(all map[string]bool) map[string]bool {
	long := map[string]bool{}
	for o := range all {
		if strings.HasPrefix(o, "--") {
			long[o] = true
		}
	}
	return long
}

// TestOptionsAgree reads help, manual page and completions for the options
// they name, and wants those of the table: no more, no fewer.
func TestOptionsAgree(t *testing.T) {
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	find := func(text, pattern string) map[string]bool {
		found := map[string]bool{}
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			found[m[1]] = true
		}
		return found
	}
	all := tableOptions()
	help := usage("ipvsadm")
	_, lines, _ := strings.Cut(help, "Commands")
	inHelp := find(lines, `(?m)^  (-\w)  --`)
	maps.Copy(inHelp, find(lines, `(?m)^  (?:-\w|  )  (--[\w-]+)`))
	maps.Copy(inHelp, find(lines, `also (-\w)\)`))

	inMan := map[string]bool{}
	for o := range find(read("man/ipvsadm.8"), `(?m)^\.It( Fl .*)$`) {
		for _, m := range regexp.MustCompile(` Fl (-?[\w-]+)`).FindAllStringSubmatch(o, -1) {
			inMan["-"+m[1]] = true
		}
	}
	inFish := find(read("completion/ipvsadm.fish"), ` -l ([\w-]+)`)
	fish := map[string]bool{}
	for o := range inFish {
		fish["--"+o] = true
	}
	for o := range find(read("completion/ipvsadm.fish"), ` -s (\w)\b`) {
		fish["-"+o] = true
	}
	for o := range find(read("completion/ipvsadm.fish"), ` -s \w -s (\w)\b`) {
		fish["-"+o] = true
	}
	zsh := find(read("completion/_ipvsadm"), `(?m)^  '(?:\([^)]*\))?(--?[\w-]+)\[`)
	bash := find(read("completion/ipvsadm.bash"), `(--[\w][\w-]*)`)

	for name, sides := range map[string][2]map[string]bool{
		"--help":      {inHelp, all},
		"manual page": {inMan, all},
		"zsh":         {zsh, all},
		"fish":        {fish, all},
		"bash":        {bash, longOnly(all)},
	} {
		got, want := slices.Sorted(maps.Keys(sides[0])), slices.Sorted(maps.Keys(sides[1]))
		for _, o := range want {
			if !sides[0][o] {
				t.Errorf("%s does not have %s", name, o)
			}
		}
		for _, o := range got {
			if !sides[1][o] {
				t.Errorf("%s has %s, which is no option", name, o)
			}
		}
	}
}

// TestFNATWords wants each option of our own in the guide, and in the scripts
// that run on real kernels.
func TestFNATWords(t *testing.T) {
	read := func(pattern string) (text string) {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			text += string(b)
		}
		return text
	}
	guide, stock := read("../docs/ipvsadm-fnat.md"), read("testdata/stock/*")
	ours := read("testdata/ours/*") + read("testdata/script/*")
	for _, row := range optionRows {
		if !row.own {
			continue
		}
		word := regexp.MustCompile(`(?m)^run .* --` + row.long + `( |$)`)
		for name, has := range map[string]bool{
			"docs/ipvsadm-fnat.md":  strings.Contains(guide, "`--"+row.long+"`"),
			"testdata/ours, script": word.MatchString(ours),
			"testdata/stock":        word.MatchString(stock) || row.long == "local-address",
		} {
			if !has {
				t.Errorf("%s does not have --%s", name, row.long)
			}
		}
	}
}

// TestManualPagesAgree: pages are named as they say, and those that they name
// are there.
func TestManualPagesAgree(t *testing.T) {
	pages, err := filepath.Glob("../man/ipvsadm*.8")
	if err != nil || len(pages) != 3 {
		t.Fatalf("%q, %v", pages, err)
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(page), ".8")
		for _, line := range []string{".Dt " + strings.ToUpper(name) + " 8\n", ".Sh NAME\n.Nm " + name + "\n.Nd "} {
			if !strings.Contains(string(text), line) {
				t.Errorf("%s has no %q", page, line)
			}
		}
		for _, m := range regexp.MustCompile(`(?m)^\.Xr ([\w-]+) (\d)`).FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat("../man/" + m[1] + "." + m[2]); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
}

// TestLinksNoServers keeps the command small: what it imports decides.
func TestLinksNoServers(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for _, dep := range strings.Fields(string(out)) {
		if dep == "net/http" || dep == "crypto/tls" || strings.Contains(dep, "prometheus") || strings.Contains(dep, "logrus") {
			t.Errorf("links %s", dep)
		}
	}
}

// maxSize is the most that the stripped command may take, in bytes.
const maxSize = 6_000_000

func TestSize(t *testing.T) {
	program := filepath.Join(t.TempDir(), "ipvsadm")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	info, err := os.Stat(program)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > maxSize {
		t.Errorf("%d bytes, at most %d", info.Size(), maxSize)
	}
}

func TestNoColumnHasARuleTooMany(t *testing.T) {
	for _, row := range columnRows {
		if len(row.rules) > int(cmdHelp) || row.name == "" {
			t.Errorf("%q: %d rules, want at most %d", row.name, len(row.rules), cmdHelp)
		}
	}
}
