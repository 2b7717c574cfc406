// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"maps"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/lvs-fnat/lvs/internal/testvm"
)

// packetObjects are the module's files that every packet of a connection runs
// through, and packetLocked the functions in them that may hold a locked instruction.
var (
	packetObjects = []string{"xmit", "tcp", "toa", "limit"}
	packetLocked  = map[string]string{
		"ip_vs_x_mark":     "lets go of conntrack's entry, if the packet has one",
		"ip_vs_x_pass":     "the same",
		"ip_vs_x_response": "the same, inlined",
		"ip_vs_x_toa":      "the carrier takes a reference on the route",
		"x_take_shared":    "the shared bucket of a limit, once for a quantum of packets",
	}
)

// TestHostShared: packets of a connection that is there write nothing that another
// processor writes, too: no atomic counter, no lock. With one, more processors make
// each packet slower, which no count of instructions shows.
func TestHostShared(t *testing.T) {
	root, err := testvm.Root()
	if err != nil {
		t.Fatal(err)
	}
	for _, kernel := range testvm.Kernels() {
		release, err := testvm.Release(kernel)
		if err != nil {
			t.Fatal(err)
		}
		locked := map[string]int{}
		for _, name := range packetObjects {
			object := filepath.Join(root, "kmod/build", release, "ip_vs", "ip_vs_x_"+name+".o")
			out, err := exec.CommandContext(t.Context(), "objdump", "-d", "--no-show-raw-insn", object).Output()
			if err != nil {
				t.Fatalf("objdump %s: %v; is it there? run: make kmod", object, err)
			}
			found, functions := lockedIn(string(out))
			if functions < 2 {
				t.Errorf("%s has %d functions", object, functions)
			}
			maps.Copy(locked, found)
		}
		for function, n := range locked {
			if packetLocked[function] == "" || n > 1 {
				t.Errorf("%s: %s has %d locked instructions, which each packet may pay for on every processor", kernel, function, n)
			}
		}
		if locked["x_take_shared"] == 0 {
			t.Errorf("%s: none is found where one must be; found %v", kernel, locked)
		}
	}
}

var functionHead = regexp.MustCompile(`^[0-9a-f]+ <([^>]+)>:`)

// lockedIn counts the locked instructions of each function of a listing, and the
// functions.
func lockedIn(listing string) (locked map[string]int, functions int) {
	locked = map[string]int{}
	function := ""
	for line := range strings.Lines(listing) {
		if m := functionHead.FindStringSubmatch(line); m != nil {
			function, _, _ = strings.Cut(m[1], ".")
			functions++
		}
		if _, instruction, _ := strings.Cut(line, "\t"); strings.HasPrefix(instruction, "lock ") {
			locked[function]++
		}
	}
	return locked, functions
}
