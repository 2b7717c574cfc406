// SPDX-License-Identifier: Apache-2.0

package supervise

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestReleaseMemory: the pages of the program's file are no longer resident, and
// the program goes on.
func TestReleaseMemory(t *testing.T) {
	ranges, err := ownFile()
	if err != nil || len(ranges) == 0 {
		t.Fatalf("the program's file is mapped at %v: %v", ranges, err)
	}
	mem, err := os.Open("/proc/self/mem")
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	size := 0
	for _, r := range ranges { // which makes them resident
		n, err := mem.ReadAt(make([]byte, r.to-r.from), int64(r.from))
		if err != nil {
			t.Fatal(err)
		}
		size += n >> 10
	}
	before := residentFile(t)
	if before < size {
		t.Fatalf("%d KiB resident after %d KiB were read", before, size)
	}
	if err := ReleaseMemory(); err != nil {
		t.Fatal(err)
	}
	if after := residentFile(t); after > before-size/4 {
		t.Errorf("%d KiB of files resident before, %d after", before, after)
	}
}

// residentFile is what the process has of files, in KiB.
func residentFile(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "RssFile:")
	n := 0
	if _, err := fmt.Sscan(rest, &n); err != nil {
		t.Fatal(err)
	}
	return n
}
