// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/lvs-fnat/lvs/internal/testvm"
)

// TestAgainstOriginal has keepalived 2.2.7 and ours read the cases of
// testdata/original with -t. They must end with the same code, and where the
// original finds fault with a line, ours must have found one there or before:
// it says at the first line of a block what the original says at the last, and
// skips an unknown block whole. Where an archive's comment says
//
//	differs CASE OURS ORIGINAL: why
//
// the codes may be these two; -1 is a crash. Each case is a configuration of its own, with the
// files it includes beside it.
func TestAgainstOriginal(t *testing.T) {
	original := stockKeepalived(t)
	archives, err := filepath.Glob("testdata/original/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, name := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			compareAll(t, original, ar)
		})
	}
}

// stockKeepalived gives the command of the distribution's keepalived: it is
// unpacked for the guests, with its libraries beside it.
func stockKeepalived(t *testing.T) []string {
	t.Helper()
	root := filepath.Join(testvm.Cache(), "guest")
	program := filepath.Join(root, "usr", "sbin", "keepalived.stock")
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("%v: run 'make deps'", err)
	}
	libs := filepath.Join(root, "usr/lib/x86_64-linux-gnu") + ":" + filepath.Join(root, "lib/x86_64-linux-gnu")
	return []string{filepath.Join(root, "lib64/ld-linux-x86-64.so.2"), "--library-path", libs, program}
}

type verdict struct {
	code int
	said string
}

var differs = regexp.MustCompile(`(?m)^differs (\S+) (-?\d+) (-?\d+): \S`)

func compareAll(t *testing.T, original []string, ar *txtar.Archive) {
	dir := t.TempDir()
	var cases []string
	for _, f := range ar.Files {
		name, inside, nested := strings.Cut(f.Name, "/")
		path := filepath.Join(dir, name, "main")
		if nested {
			path = filepath.Join(dir, name, inside)
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
		if !nested || inside == "main" {
			cases = append(cases, name)
		}
	}
	known := map[string][2]int{}
	for _, m := range differs.FindAllStringSubmatch(string(ar.Comment), -1) {
		a, _ := strconv.Atoi(m[2])
		b, _ := strconv.Atoi(m[3])
		known[m[1]] = [2]int{a, b}
		if !slices.Contains(cases, m[1]) {
			t.Errorf("there is no case %s to differ", m[1])
		}
	}
	var wg sync.WaitGroup
	work := make(chan string)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for name := range work {
				file := filepath.Join(dir, name, "main")
				theirs, err := readByOriginal(t.Context(), original, file)
				if err != nil {
					t.Errorf("%s: %v", name, err)
					continue
				}
				compare(t, name, known, readByUs(t.Context(), file), theirs)
			}
		})
	}
	for _, name := range cases {
		work <- name
	}
	close(work)
	wg.Wait()
}

func compare(t *testing.T, name string, known map[string][2]int, ours, theirs verdict) {
	k, differs := known[name]
	if differs && k == [2]int{ours.code, theirs.code} {
		return
	}
	if ours.code != theirs.code {
		t.Errorf("%s: code %d, original %d\nours:\n%soriginal:\n%s", name, ours.code, theirs.code, ours.said, theirs.said)
		return
	}
	first := slices.Min(append(faultLines(ours.said), 1<<30))
	for _, line := range faultLines(theirs.said) {
		if first > line {
			t.Errorf("%s: the original says something about line %d, ours nothing up to there\nours:\n%soriginal:\n%s", name, line, ours.said, theirs.said)
		}
	}
}

// TestSamples has both read the samples of Debian's package, with the links that
// this host has. The verdict must be the same.
func TestSamples(t *testing.T) {
	original := stockKeepalived(t)
	files, err := filepath.Glob(filepath.Join(testvm.Cache(), "guest/usr/share/doc/keepalived/samples/keepalived.conf.*"))
	if err != nil || len(files) < 25 {
		t.Fatalf("%d samples, %v: run 'make deps'", len(files), err)
	}
	for _, file := range files {
		theirs, err := readByOriginal(t.Context(), original, file)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		a := testApp(&out, &out)
		a.hasLink = hasLink
		if code := a.run(t.Context(), []string{"keepalived", "-t", "-f", file}); code != theirs.code {
			t.Errorf("%s: code %d, original %d\nours:\n%soriginal:\n%s", filepath.Base(file), code, theirs.code, out.Bytes(), theirs.said)
		}
	}
}

// TestBadFiles counts the cases that have faults, which all name a line, and none
// of which is a panic.
func TestBadFiles(t *testing.T) {
	archives, err := filepath.Glob("testdata/original/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	bad := 0
	for _, name := range archives {
		ar, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range ar.Files {
			if strings.Contains(f.Name, "/") {
				continue // one that others include
			}
			file := filepath.Join(t.TempDir(), "k.conf")
			if err := os.WriteFile(file, f.Data, 0o600); err != nil {
				t.Fatal(err)
			}
			v := readByUs(t.Context(), file)
			// Commands that run as root are no fault of the text.
			if v.code == exitOK || strings.Contains(v.said, "SECURITY VIOLATION") {
				continue
			}
			if bad++; len(faultLines(v.said)) == 0 {
				t.Errorf("%s of %s: no line with code %d: %s", f.Name, name, v.code, v.said)
			}
		}
	}
	if bad < 300 {
		t.Errorf("%d bad files, want 300", bad)
	}
	t.Logf("%d bad files", bad)
}

// TestMissingWords writes each keyword of the balancer without its words, at
// its place: where the original ends at once, ours must, and where it grumbles,
// too. Keywords that release 2.2.7 does not know are left out.
func TestMissingWords(t *testing.T) {
	list, err := os.ReadFile("../internal/config/keywords.txt")
	if err != nil {
		t.Fatal(err)
	}
	original, dir, n := stockKeepalived(t), t.TempDir(), 0
	for path := range strings.FieldsSeq(string(list)) {
		balancer := slices.ContainsFunc([]string{"virtual_server/", "global_defs/lvs", "global_defs/notif", "global_defs/s", "SSL/", "track_file/"},
			func(prefix string) bool { return strings.HasPrefix(path, prefix) })
		// These crash the original.
		if !balancer || strings.Count(path, "/") > 3 || strings.Contains(path, "_GET") {
			continue
		}
		file := filepath.Join(dir, strings.ReplaceAll(path, "/", "-"))
		if err := os.WriteFile(file, []byte(bare(path)), 0o600); err != nil {
			t.Fatal(err)
		}
		theirs, err := readByOriginal(t.Context(), original, file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(theirs.said, "Unknown keyword") {
			continue
		}
		n++
		compare(t, path, map[string][2]int{
			"virtual_server/real_server":             {5, 2}, // the missing block comes first
			"virtual_server/sorry_server_lvs_method": {2, 5}, // so does the missing word, before the missing server
		}, readByUs(t.Context(), file), theirs)
	}
	if n < 120 {
		t.Errorf("%d keywords were compared", n)
	}
}

// bare is a configuration with the keyword of path alone on its line.
func bare(path string) string {
	parts := strings.Split(path, "/")
	inner := parts[len(parts)-1] + "\n"
	for i := len(parts) - 2; i > 0; i-- {
		arg := ""
		if parts[i] == "real_server" {
			arg = " 10.0.2.1 80"
		}
		inner = parts[i] + arg + " {\n" + inner + "}\n"
	}
	switch parts[0] {
	case "virtual_server":
		if len(parts) < 3 || parts[1] != "real_server" {
			inner += "real_server 10.0.2.1 80 {\nweight 1\n}\n"
		}
		return "virtual_server 10.0.0.1 80 {\ndelay_loop 3\nlb_algo rr\nlb_kind NAT\nprotocol TCP\n" + inner + "}\n"
	case "track_file":
		if parts[1] != "file" {
			inner = "file /x\n" + inner
		}
		return "track_file f {\n" + inner + "}\n"
	}
	return parts[0] + " {\n" + inner + "}\n"
}

var atLine = regexp.MustCompile(`(?m)^\((?:\S+: )?Line (\d+)\)`)

func faultLines(text string) []int {
	var lines []int
	for _, m := range atLine.FindAllStringSubmatch(text, -1) {
		n, _ := strconv.Atoi(m[1])
		lines = append(lines, n)
	}
	return lines
}

func readByOriginal(ctx context.Context, original []string, file string) (verdict, error) {
	cmd := exec.CommandContext(ctx, original[0], append(original[1:], "-t", "-f", file)...)
	cmd.Dir = filepath.Dir(file)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return verdict{}, fmt.Errorf("%w\n%s", err, out)
	}
	return verdict{cmd.ProcessState.ExitCode(), string(out)}, nil
}

func readByUs(ctx context.Context, file string) verdict {
	var out bytes.Buffer
	code := testApp(&out, &out).run(ctx, []string{"keepalived", "-t", "-f", file})
	return verdict{code, out.String()}
}
