// SPDX-License-Identifier: Apache-2.0

package director

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/ipvs/ipvstest"
)

// TestConfigOfAllServices: what global_defs says of all services is set where it is
// not so, found by a comparison when somebody has changed it, and left alone when
// the line goes; a kernel without the extension is told at once.
func TestConfigOfAllServices(t *testing.T) {
	ctx := context.Background()
	load := func(words string) *config.Config {
		t.Helper()
		cfg, diags, err := config.Parse(ctx, "k.conf", "global_defs {\n"+words+"}\n", config.Options{})
		if err != nil || len(diags) > 0 {
			t.Fatal(err, diags)
		}
		return cfg
	}
	table := ipvstest.New()
	m := NewMirror(table)
	sync := func(words string, want ...string) {
		t.Helper()
		table.Forget()
		if err := m.Sync(ctx, New(load(words)).Tables()); err != nil {
			t.Fatal(err)
		}
		if got := table.Lines(); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", words, got, want)
		}
	}
	words := "laddr_probes 128\nladdr_reclaim\nsynproxy_memory 4096\nsynproxy_early on\ndrop_vip\n"
	sync(words, "--set-ext --laddr-probes 128 --synproxy-memory 4096 --synproxy-early on --drop-vip")
	sync(words)
	if err := table.Apply(ctx, ipvs.Op{Kind: ipvs.SetExtConfig, Config: ipvs.ExtConfig{Set: ipvs.ExtConfigDropVIP}}); err != nil {
		t.Fatal(err)
	}
	ops, err := m.Watch()(ctx)
	if err != nil || len(ops) != 1 || ops[0].String() != "--set-ext --drop-vip" {
		t.Errorf("a comparison gives %v %v, want the one setting that was changed", ops, err)
	}
	sync("")
	if d, missing := Unsupported(load(words), ipvs.Info{}); !missing || d.Pos.Line != 2 || !strings.Contains(d.Text, "global_defs") {
		t.Errorf("without the extension: %v %v", d, missing)
	}
}
