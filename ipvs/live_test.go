// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"errors"
	"testing"
)

// TestDialThisKernel asserts the honest half of Dial on whatever runs the
// tests: a client that answers, or ErrNoIPVS, and nothing between.
func TestDialThisKernel(t *testing.T) {
	c, err := Dial(t.Context())
	if errors.Is(err, ErrNoIPVS) {
		t.Logf("this kernel has no ip_vs: %v", err)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	info, err := c.Info(t.Context())
	if err != nil || info.Version == 0 {
		t.Errorf("got %+v, %v", info, err)
	}
	switch _, err := c.ExtStats(t.Context()); {
	case info.Extended == nil && !errors.Is(err, ErrNoExt), info.Extended != nil && err != nil:
		t.Errorf("Extended %v, its counters: %v", info.Extended, err)
	}
}
