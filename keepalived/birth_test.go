// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lvs-fnat/lvs/internal/config"
)

// TestText: a child gets every byte of what the parent has read, under any name; what
// is cut short anywhere is an error.
func TestText(t *testing.T) {
	want := &config.Text{
		Files: map[string][]byte{"/a": []byte("one\x00\xff\n"), "/\xff\xfe": {}, "/b": []byte("two")},
		Globs: map[string][]string{"/*": {"/a", "/\xff\xfe"}, "/none": {}},
		Order: []string{"/b", "/\xff\xfe", "/a"},
	}
	p, err := encodeText(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeText(p)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want.Files, got.Files) + cmp.Diff(want.Order, got.Order); d != "" || len(got.Globs) != 2 || len(got.Globs["/*"]) != 2 {
		t.Errorf("-want +got:\n%s%q", d, got.Globs)
	}
	for n := 1; n < len(p); n++ {
		if _, err := decodeText(p[:n]); err == nil {
			t.Fatalf("%d of %d bytes are taken for all", n, len(p))
		}
	}
}
