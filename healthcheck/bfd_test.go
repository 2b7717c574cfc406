// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"testing"
	"time"
)

// TestBFDCheck: a check follows its session, and has not run before it hears of
// it; one that comes later knows what was told before.
func TestBFDCheck(t *testing.T) {
	target := func(server, session string, alpha bool) Target {
		return Target{Service: "v", Server: server, Spec: Spec{Kind: BFDCheck, BFD: &BFD{Session: session},
			Timing: Timing{DelayLoop: time.Hour, ConnectTimeout: time.Second, Alpha: alpha}}}
	}
	a, b, other := target("[192.0.2.1]:tcp:80", "A", false), target("[192.0.2.2]:tcp:80", "A", true), target("[192.0.2.3]:tcp:80", "B", false)
	r := newRig(t, Options{Shards: 2})
	status, err := r.Set([]Target{a, b, other})
	if err != nil {
		t.Fatal(err)
	}
	if !status[0].Up || status[1].Up || status[0].Known {
		t.Fatalf("before anything is known: %+v", status)
	}
	is := func(up ...bool) func() bool {
		return func() bool {
			s := r.Status()
			for i, u := range up {
				if s[i].Up != u || s[i].Known != (i < 2) {
					return false
				}
			}
			return true
		}
	}
	r.Session("A", true)
	await(t, "A up", is(true, true, true))
	r.Session("A", false)
	await(t, "A down", is(false, false, true))
	r.Session("A", true)
	await(t, "A up again", is(true, true, true))
	r.Session("A", false)
	late := target("[192.0.2.4]:tcp:80", "A", false)
	if _, err := r.Set([]Target{late}); err != nil {
		t.Fatal(err)
	}
	await(t, "a check that comes later", func() bool { s := r.Status()[0]; return s.Known && !s.Up })
	if _, err := r.Set([]Target{target("x", "", false)}); err == nil {
		t.Error("a check without session is taken")
	}
}
