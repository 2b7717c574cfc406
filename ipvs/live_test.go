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
	if (info.Extended != nil) != c.HasExt() {
		t.Errorf("Extended %v, HasExt %v", info.Extended, c.HasExt())
	}
}
