// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"errors"
	"io"
	"log/slog"
	"testing"

	"github.com/lvs-fnat/lvs/internal/config"
)

func TestEffect(t *testing.T) {
	for _, c := range []struct {
		weight  int
		reverse bool
		up      bool
		fault   bool
		delta   int
	}{
		{0, false, true, false, 0}, {0, false, false, true, 0}, {0, true, true, true, 0}, {0, true, false, false, 0},
		{10, false, true, false, 10}, {10, false, false, false, 0}, {-10, false, true, false, 0}, {-10, false, false, false, -10},
		{10, true, true, false, -10}, {10, true, false, false, 0}, {-10, true, true, false, 0}, {-10, true, false, false, 10},
	} {
		fault, delta := effect(config.Tracked{Weight: c.weight, Reverse: c.reverse}, c.up)
		if fault != c.fault || delta != c.delta {
			t.Errorf("%+v: fault %v, delta %d", c, fault, delta)
		}
	}
}

func TestFileEffect(t *testing.T) {
	for _, c := range []struct {
		weight  int
		reverse bool
		value   int
		fault   bool
		delta   int
	}{
		{1, false, 7, false, 7}, {2, false, -3, false, -6}, {1, true, 7, false, -7}, {1, false, 1000, false, 253},
		{1, false, -253, false, -253}, {1, false, -254, true, 0}, {2, true, 127, true, 0},
		{0, false, 0, false, 0}, {0, false, 1, true, 0}, {0, true, 0, true, 0}, {0, true, 1, false, 0},
	} {
		fault, delta := fileEffect(config.Tracked{Weight: c.weight, Reverse: c.reverse}, c.value)
		if fault != c.fault || delta != c.delta {
			t.Errorf("%+v: fault %v, delta %d", c, fault, delta)
		}
	}
}

// TestScriptCounts: the first result decides; after it rise or fall results in a
// row do, and one result as before begins the count anew.
func TestScriptCounts(t *testing.T) {
	e := &Engine{log: slog.New(slog.NewTextHandler(io.Discard, nil)), cfg: &config.Config{}}
	s := &scriptState{t: &tracks{e: e}, cfg: config.TrackScript{Name: "s", Rise: 2, Fall: 3}}
	bad := errors.New("exited with status 1")
	for i, step := range []struct {
		err error
		up  bool
	}{
		{bad, false}, {nil, false}, {nil, true}, {bad, true}, {bad, true}, {nil, true}, {bad, true}, {bad, true}, {bad, false},
		{nil, false}, {bad, false}, {nil, false}, {nil, true},
	} {
		code := 0
		if step.err != nil {
			code = 1
		}
		s.result(code, step.err)
		if !s.known || s.up != step.up {
			t.Fatalf("step %d: up %v, want %v", i, s.up, step.up)
		}
	}
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		cfg  config.TrackProcess
		comm string
		args []string
		want bool
	}{
		{config.TrackProcess{Process: "nginx"}, "nginx", nil, true},
		{config.TrackProcess{Process: "/usr/sbin/nginx"}, "nginx", nil, true},
		{config.TrackProcess{Process: "nginx"}, "nginx2", nil, false},
		{config.TrackProcess{Process: "a-name-longer-than-fifteen"}, "a-name-longer-t", nil, true},
		{config.TrackProcess{Process: "/usr/sbin/nginx", FullCommand: true}, "nginx", []string{"/usr/sbin/nginx"}, true},
		{config.TrackProcess{Process: "/usr/sbin/nginx", FullCommand: true}, "nginx", []string{"nginx"}, false},
		{config.TrackProcess{Process: "x", Params: []string{"-a", "b"}, ParamMatch: "exact"}, "x", []string{"x", "-a", "b"}, true},
		{config.TrackProcess{Process: "x", Params: []string{"-a", "b"}, ParamMatch: "exact"}, "x", []string{"x", "-a", "b", "c"}, false},
		{config.TrackProcess{Process: "x", Params: []string{"-a"}, ParamMatch: "initial"}, "x", []string{"x", "-a", "b"}, true},
		{config.TrackProcess{Process: "x", Params: []string{"b"}, ParamMatch: "initial"}, "x", []string{"x", "-a", "b"}, false},
		{config.TrackProcess{Process: "x", Params: []string{"b"}, ParamMatch: "partial"}, "x", []string{"x", "-a", "b"}, true},
		{config.TrackProcess{Process: "x", Params: []string{"b"}, ParamMatch: "partial"}, "x", []string{""}, false},
	} {
		if got := matches(&c.cfg, c.comm, c.args); got != c.want {
			t.Errorf("%+v against %s %q: %v", c.cfg, c.comm, c.args, got)
		}
	}
}
