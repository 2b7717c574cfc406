// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/lvs-fnat/lvs/internal/config"
)

// TestCheckAgrees: -t and the reading that a start and each reload do say the same of
// every case of testdata/original, line by line, to a daemon that knows an earlier
// text and to one that does not; and what keeps a reload from happening is never
// exit code 0 of -t. The links of the host, which -t asks for and a running daemon
// follows, are the same for both here.
func TestCheckAgrees(t *testing.T) {
	archives, err := filepath.Glob("testdata/original/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	cases, refusals := 0, 0
	for _, name := range archives {
		ar, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var former config.Former
		dir := t.TempDir()
		for _, f := range ar.Files {
			path := filepath.Join(dir, f.Name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, f.Data, 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		for _, f := range ar.Files {
			if strings.Contains(f.Name, "/") {
				continue // one that others include
			}
			cases++
			var said, remarks bytes.Buffer
			o := &options{file: filepath.Join(dir, f.Name)}
			a := testApp(io.Discard, &said)
			code := a.checkConfig(t.Context(), o)
			for _, known := range []*config.Former{nil, &former} {
				remarks.Reset()
				daemon := testApp(io.Discard, io.Discard)
				daemon.config.Former, daemon.config.Link = known, daemon.hasLink
				_, diags, err := config.Load(t.Context(), o.file, daemon.config)
				if err != nil {
					t.Fatal(err)
				}
				for _, d := range diags {
					fmt.Fprintln(&remarks, d)
				}
				if d := cmp.Diff(said.String(), remarks.String()); d != "" {
					t.Errorf("%s of %s, -check +reload:\n%s", f.Name, name, d)
				}
			}
			a.config.Link = a.hasLink
			_, err := a.loadConfig(t.Context(), o, slog.New(slog.DiscardHandler), false)
			if err != nil {
				refusals++
			}
			if err := startable(t.Context(), o.file); err != nil {
				t.Errorf("%s of %s: %v", f.Name, name, err)
			}
			if err != nil && code == exitOK {
				t.Errorf("%s of %s: a reload is refused: %v; -t says nothing", f.Name, name, err)
			}
		}
	}
	if cases < 300 || refusals < 10 {
		t.Errorf("%d cases, %d of them refused at a reload: too few to say anything", cases, refusals)
	}
	t.Logf("%d cases, %d of them refused at a reload", cases, refusals)
}
