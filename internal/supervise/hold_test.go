// SPDX-License-Identifier: Apache-2.0

package supervise

import (
	"runtime/debug"
	"testing"
)

// TestHoldMemory: nothing is collected while one hold is in force, and afterwards
// as before, in whatever order holds end and however often.
func TestHoldMemory(t *testing.T) {
	percent := func() int {
		p := debug.SetGCPercent(-1)
		debug.SetGCPercent(p)
		return p
	}
	defer debug.SetGCPercent(debug.SetGCPercent(70))
	first, second := HoldMemory(), HoldMemory()
	for _, release := range []func(){first, first, second} {
		if p := percent(); p != -1 {
			t.Errorf("collected at %d%% with a hold in force", p)
		}
		release()
	}
	if p := percent(); p != 70 {
		t.Errorf("collected at %d%% after the last hold, want 70", p)
	}
}
