// SPDX-License-Identifier: Apache-2.0

package main

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// found collects what the first group of the patterns matches in text, with
// mark in front.
func found(text, mark string, patterns ...string) map[string]bool {
	m := map[string]bool{}
	for _, p := range patterns {
		for _, s := range regexp.MustCompile(p).FindAllStringSubmatch(text, -1) {
			m[mark+s[1]] = true
		}
	}
	return m
}

// TestOptionsAgree reads help, manual page and completions for the options
// they name, and wants those of the table: no more, no fewer.
func TestOptionsAgree(t *testing.T) {
	agree(t, "keepalived", "man/keepalived.8", optionRows, usage("keepalived"))
	agree(t, "genhash", "man/genhash.1", genhashRows, genhashUsage("genhash"))
}

func agree(t *testing.T, command, manual string, rows []optionRow, help string) {
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	all, long := map[string]bool{}, map[string]bool{}
	for _, o := range rows {
		all["--"+o.Long], long["--"+o.Long] = true, true
		if o.Short != 0 {
			all["-"+string(rune(o.Short))] = true
		}
	}
	var items strings.Builder
	for line := range strings.Lines(read(manual)) {
		if strings.HasPrefix(line, ".It Fl ") {
			items.WriteString(line)
		}
	}
	fish := found(read("completion/"+command+".fish"), "--", ` -l ([\w-]+)`)
	maps.Copy(fish, found(read("completion/"+command+".fish"), "-", ` -s (\w)\b`))
	for name, sides := range map[string][2]map[string]bool{
		"--help":      {found(help, "", `(?m)^  (-\w),`, `(?m)^  .{4}(--[\w-]+)`), all},
		"manual page": {found(items.String(), "-", ` Fl (-?[\w-]+)`), all},
		"zsh":         {found(read("completion/_"+command), "", `(?m)^  '(?:\([^)]*\))?(--[a-z_-]*[a-z]|-\w)[-=]*\[`), all},
		"fish":        {fish, all},
		"bash":        {found(read("completion/"+command+".bash"), "", `(--\w[\w-]*)`), long},
	} {
		got, want := slices.Sorted(maps.Keys(sides[0])), slices.Sorted(maps.Keys(sides[1]))
		if !slices.Equal(got, want) {
			t.Errorf("%s of %s:\n got %s\nwant %s", name, command, got, want)
		}
	}
}
