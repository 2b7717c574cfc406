// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lvs-fnat/lvs/parser"
)

var update = flag.Bool("update", false, "rewrite the expected half of testdata/*.golden")

// testPorts is a host with the kernel's default ephemeral range and a few reserved ports.
func testPorts() (Ephemeral, error) {
	return Ephemeral{
		Local:    parser.PortRange{Min: 32768, Max: 60999},
		Reserved: []parser.PortRange{{Min: 45000, Max: 49999}, {Min: 40000, Max: 44999}},
	}, nil
}

func parse(t testing.TB, text string) (*Config, []Diagnostic) {
	t.Helper()
	c, diags, err := Parse(context.Background(), "k.conf", text, Options{
		Ephemeral: testPorts,
		User:      func(string) (string, error) { return "1000", nil },
		Command:   func(name string) (string, error) { return name, nil },
		Group:     func(string) (string, error) { return "1000", nil },
		CPUs:      8,
		KeyFile: func(path string) ([]byte, fs.FileMode, error) {
			mode, ok := map[string]fs.FileMode{"/etc/key": 0o600, "/etc/open": 0o640}[path]
			if !ok {
				return nil, 0, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
			}
			return bytes.Repeat([]byte("key\n"), 10), mode, nil
		},
		Parser: parser.Options{
			ReadFile: func(string) ([]byte, error) { return nil, os.ErrNotExist },
			Glob:     func(string) ([]string, error) { return nil, nil },
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c, diags
}

// TestGolden reads files of two halves, parted by a line of three dashes: a
// configuration, and the diagnostics and the Config it must give.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.golden")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".golden"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			input, want, ok := strings.Cut(string(text), "\n---\n")
			if !ok && !*update {
				t.Fatal("no --- line")
			}
			c, diags := parse(t, input)
			var b strings.Builder
			for _, d := range diags {
				fmt.Fprintf(&b, "%s %s\n", d.Severity, d)
			}
			var plain Config
			plain.setDefaults()
			blank(reflect.ValueOf(c).Elem(), reflect.ValueOf(plain))
			dump(&b, reflect.ValueOf(*c), 0)
			got := strings.TrimPrefix(b.String(), "\n")
			if *update {
				if err := os.WriteFile(file, []byte(input+"\n---\n"+got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

// blank makes zero what has its default.
func blank(v, def reflect.Value) {
	for i := range v.NumField() {
		switch f := v.Field(i); {
		case reflect.DeepEqual(f.Interface(), def.Field(i).Interface()):
			f.SetZero()
		case f.Kind() == reflect.Struct:
			blank(f, def.Field(i))
		}
	}
}

// dump prints every field that is not zero, one a line.
func dump(b *strings.Builder, v reflect.Value, level int) {
	switch x := v.Interface().(type) {
	case netip.Addr, netip.AddrPort, netip.Prefix, parser.PortRange, time.Duration, Family, Protocol, Method, TSMode, LaddrSelect:
		fmt.Fprintf(b, " %v\n", x)
		return
	case Pos:
		fmt.Fprintf(b, " %d:%d\n", x.Line, x.Column)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		dump(b, v.Elem(), level)
	case reflect.Struct:
		b.WriteByte('\n')
		dumpFields(b, v, level)
	case reflect.Slice:
		b.WriteByte('\n')
		for i := range v.Len() {
			fmt.Fprintf(b, "%s-", strings.Repeat("  ", level))
			dump(b, v.Index(i), level+1)
		}
	default:
		fmt.Fprintf(b, " %#v\n", v.Interface())
	}
}

// dumpFields prints those of a struct, with those of what it embeds.
func dumpFields(b *strings.Builder, v reflect.Value, level int) {
	for i := range v.NumField() {
		f := v.Field(i)
		if f.Kind() == reflect.Pointer && v.Type().Field(i).Anonymous && !f.IsNil() {
			dumpFields(b, f.Elem(), level)
			continue
		}
		if !f.IsZero() {
			fmt.Fprintf(b, "%s%s:", strings.Repeat("  ", level), v.Type().Field(i).Name)
			dump(b, f, level+1)
		}
	}
}
