// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/internal/config"
)

// TestAutoPriorityRises: by one for each late timer, from the configured one to the
// highest; a reload does not take it back.
func TestAutoPriorityRises(t *testing.T) {
	p := &config.Processes{MaxAutoPriority: 3, MinAutoPriorityDelay: time.Second}
	p.VRRP.RTPriority = 1
	var a autoPriority
	if _, ok := a.late(time.Hour); ok {
		t.Error("late without a configuration")
	}
	a.follow(p)
	for i, c := range []struct {
		late     time.Duration
		priority int
		ok       bool
	}{{time.Second, 0, false}, {time.Second + 1, 2, true}, {time.Minute, 3, true}, {time.Minute, 0, true}} {
		if i == 2 {
			a.follow(p)
		}
		if priority, ok := a.late(c.late); priority != c.priority || ok != c.ok {
			t.Errorf("%v late: %d %t, want %d %t", c.late, priority, ok, c.priority, c.ok)
		}
	}
	p.MaxAutoPriority = -1
	a.follow(p)
	if _, ok := a.late(time.Hour); ok {
		t.Error("late though nobody asks")
	}
}
