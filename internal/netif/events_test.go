// SPDX-License-Identifier: Apache-2.0

package netif

import (
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// TestWatchBuffer: both sockets of a watch have the buffer that is asked for, of
// which the kernel makes twice as much.
func TestWatchBuffer(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("buffers beyond the host's limit need root")
	}
	const size = 3 << 20
	w, err := Watch(size, true, func(Event) {}, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, f := range files {
		fd, err := strconv.Atoi(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
		if err != nil || family != unix.AF_NETLINK {
			continue
		}
		if n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF); err == nil && n == 2*size {
			found++
		}
	}
	if found != 2 {
		t.Errorf("%d sockets have the buffer, want 2", found)
	}
}
