// SPDX-License-Identifier: Apache-2.0

package testvm

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"
)

// TestHostPlaces: there are as many as processors; who comes later gets one when it
// is left, or gives up with its context.
func TestHostPlaces(t *testing.T) {
	for name, dir := range map[string]string{"shared": t.TempDir(), "own": ""} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(PlacesEnv, dir)
			var leave []func()
			for range runtime.NumCPU() {
				l, err := place(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				leave = append(leave, l)
			}
			short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			if _, err := place(short); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("one more: %v", err)
			}
			late := make(chan error, 1)
			go func() {
				l, err := place(t.Context())
				if err == nil {
					l()
				}
				late <- err
			}()
			for _, l := range leave {
				l()
			}
			if err := <-late; err != nil {
				t.Errorf("with all left: %v", err)
			}
		})
	}
}
