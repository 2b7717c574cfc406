// SPDX-License-Identifier: Apache-2.0

package supervise

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// holds are the calls of HoldMemory in force, and what they have put aside.
var holds struct {
	sync.Mutex
	n, percent int
}

// HoldMemory has nothing collected until the function it returns is called: of
// what a start or a reload makes nearly all is in use until it is over, and to
// look for garbage meanwhile costs more than the work. Holds may overlap.
func HoldMemory() (release func()) {
	holds.Lock()
	defer holds.Unlock()
	if holds.n++; holds.n == 1 {
		holds.percent = debug.SetGCPercent(-1)
	}
	return sync.OnceFunc(func() {
		holds.Lock()
		defer holds.Unlock()
		if holds.n--; holds.n == 0 {
			debug.SetGCPercent(holds.percent)
		}
	})
}

// ReleaseMemory gives back what a start or a reload has taken and the work does
// not need: garbage of the heap, and the pages of the program's own file, most of
// which hold code and tables that are used once. What is used again is mapped
// again from the page cache, at the price of a minor fault.
func ReleaseMemory() error {
	debug.FreeOSMemory()
	ranges, err := ownFile()
	errs := []error{err}
	for _, r := range ranges {
		// By the system call, for no slice of Go's is this memory.
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, r.from, r.to-r.from, unix.MADV_DONTNEED); errno != 0 {
			errs = append(errs, fmt.Errorf("release %x-%x: %w", r.from, r.to, errno))
		}
	}
	return errors.Join(errs...)
}

// mapping is a range of addresses.
type mapping struct{ from, to uintptr }

// ownFile finds where the program's file is mapped and cannot be written, so that
// nothing can be lost there.
func ownFile() ([]mapping, error) {
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil, fmt.Errorf("release memory: %w", err)
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return nil, fmt.Errorf("release memory: %w", err)
	}
	defer maps.Close()
	var out []mapping
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		fields := strings.SplitN(lines.Text(), " ", 6)
		if len(fields) < 6 || strings.TrimLeft(fields[5], " ") != self || strings.Contains(fields[1], "w") {
			continue
		}
		var m mapping
		if _, err := fmt.Sscanf(fields[0], "%x-%x", &m.from, &m.to); err != nil {
			return out, fmt.Errorf("release memory: %s: %w", lines.Text(), err)
		}
		out = append(out, m)
	}
	return out, lines.Err()
}
