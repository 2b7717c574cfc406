// SPDX-License-Identifier: Apache-2.0

package director

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/firewall"
)

// TestNumber: marks begin where the configuration says, pass by what is taken, come
// round behind the last, and are those that an earlier run has left.
func TestNumber(t *testing.T) {
	load := func(start int64, groups string) *config.Config {
		t.Helper()
		var b strings.Builder
		fmt.Fprintf(&b, "global_defs {\nnftables_ipvs\nnftables_ipvs_start_fwmark %d\n}\n", start)
		for i, g := range strings.Fields(groups) {
			fmt.Fprintf(&b, "virtual_server_group %s {\n10.0.%d.1-9 80\nfd00:%d::1 80\n}\nvirtual_server group %s {\nlb_algo rr\nlb_kind TUN\nprotocol TCP\nreal_server 10.1.0.1 80 {\n}\n}\n",
				g, g[0], g[0], g)
			fmt.Fprintf(&b, "virtual_server fwmark %d {\nlb_algo rr\nlb_kind NAT\nreal_server 10.1.0.1 80 {\n}\n}\n", 5+10*i)
		}
		cfg, diags, err := config.Parse(context.Background(), "k.conf", b.String(), config.Options{})
		if err != nil || len(diags) > 0 {
			t.Fatal(err, diags)
		}
		return cfg
	}
	is := func(what string, d *Director, want string) {
		t.Helper()
		var got []string
		for _, v := range d.virtuals {
			if v.mark != 0 {
				got = append(got, fmt.Sprint(v.cfg.Name, v.mark))
			}
		}
		if s := strings.Join(got, " "); s != want || len(d.Marks()) != 2*len(got) {
			t.Errorf("%s: %s with %d ranges, want %s", what, s, len(d.Marks()), want)
		}
	}
	is("past one's own", New(load(5, "a b")), "a6 b7")
	last := New(load(1<<32-1, "a b c"))
	is("round the end", last, "a4294967295 b1 c2")
	next, _ := last.Reload(load(1<<32-1, "c d"))
	is("after that", next, "c2 d4294967295")

	old := New(load(1000, "a b c"))
	left := slices.Clone(old.Marks())
	slices.Reverse(left) // as a kernel may give them
	adopted := New(load(1000, "c a d"))
	adopted.Adopt(left)
	is("left by another", adopted, "c1002 a1000 d1003")
	adopted.Adopt([]firewall.Mark{})
	is("nothing left", adopted, "c1002 a1000 d1003")
}
