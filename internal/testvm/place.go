// SPDX-License-Identifier: Apache-2.0

package testvm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// PlacesEnv names a folder by which the test binaries of several packages share the
// processors of this host. Without it each has them for itself.
const PlacesEnv = "LVS_GUEST_PLACES"

var (
	// queue lets the guests of this process wait in the order in which they came.
	queue = make(chan struct{}, 1)
	// ownPlaces are those of a process that shares with none.
	ownPlaces = make(chan struct{}, runtime.NumCPU())
)

// place waits until fewer guests run than there are processors. The caller calls
// leave when its guest has ended; for a process that dies the kernel does.
func place(ctx context.Context) (leave func(), err error) {
	dir := os.Getenv(PlacesEnv)
	if dir == "" {
		select {
		case ownPlaces <- struct{}{}:
			return func() { <-ownPlaces }, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	select {
	case queue <- struct{}{}:
		defer func() { <-queue }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for {
		for i := range runtime.NumCPU() {
			f, err := lock(filepath.Join(dir, strconv.Itoa(i)))
			if err == nil {
				return func() { f.Close() }, nil
			}
			if !errors.Is(err, unix.EWOULDBLOCK) {
				return nil, fmt.Errorf("a place for a guest: %w", err)
			}
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// takePlace is place for a test, which fails without one.
func takePlace(t *testing.T) (leave func()) {
	t.Helper()
	leave, err := place(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return leave
}

// lock takes a file, which closing it gives back.
func lock(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
