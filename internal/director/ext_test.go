// SPDX-License-Identifier: Apache-2.0

package director

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/ipvs/ipvstest"
)

// extended is a service with the words of the extended module in it.
func extended(words string) string {
	return "local_address_group g {\n10.0.2.201\n10.0.2.202\n}\n" +
		"virtual_server 10.0.1.100 80 {\nlb_algo rr\nlb_kind FNAT\nprotocol TCP\nladdr_group_name g\n" + words +
		"\nreal_server 10.0.2.11 80 {\n}\n}\n"
}

const extPlain = `-P --lgroup g
-P --lgroup g -z 10.0.2.201
-P --lgroup g -z 10.0.2.202
-A -t 10.0.1.100:80 -s rr
-E -t 10.0.1.100:80 --lgroup g --fullnat --toa
-a -t 10.0.1.100:80 -r 10.0.2.11:80 -m -w 1
`

// TestExtSettings writes words, wants them in the kernel, takes them out again
// by a reload and wants the kernel as if they had never been there. Nothing is
// sent when nothing is new.
func TestExtSettings(t *testing.T) {
	for words, want := range map[string]string{
		"syn_proxy": "--synproxy",
		"syn_proxy auto\nsynproxy_auto_on 9\nsynproxy_auto_off 3": "--synproxy auto",
		"syn_proxy\nsynproxy_ttl 63\nsynproxy_defer":              "--synproxy-ttl 63",
		"syn_proxy\nsynproxy_wscale off":                          "--synproxy-wscale off",
		"syn_proxy\nsynproxy_options none":                        "--synproxy-opts no-sack",
		"cps 1000 50\nconn_limit 7":                               "--cps 1000 --cps-burst 50 --conn-limit 7",
		"bps_in 5\nbps_out 6":                                     "--bps-in 5 --bps-out 6",
		"est_timeout 900":                                         "--est-timeout 900",
		"rst_on_expire":                                           "--rst-on-expire",
		"invalid drop":                                            "--invalid drop",
		"acl white\nacl_set4 office":                              "--acl white --acl-set4 office",
		"daddr_group_name bad\n":                                  "--acl black --acl-set4 office",
		"mss_clamp 1380\nladdr_select source\nfast":               "--laddr-select source",
	} {
		t.Run(strings.ReplaceAll(words, "\n", ";"), func(t *testing.T) {
			table := ipvstest.New()
			table.AddSet("office", ipvs.IPv4)
			text := "deny_address_group bad {\nipset:office\n}\n"
			if strings.Contains(words, "fast") && !slices.Contains(ipvs.FeatureNames(features(t, table)), "FAST") {
				words = strings.Replace(words, "\nfast", "", 1)
			}
			w, _ := start(t, table, text+extended(words))
			if got := table.String(); !strings.Contains(got, want) {
				t.Errorf("no %q in\n%s", want, got)
			}
			if _, done := w.reload(text + extended(words)); len(done) > 0 {
				t.Errorf("a reload without a change did %q", done)
			}
			w.reload(text + extended(""))
			if d := cmp.Diff(extPlain, table.String()); d != "" && !strings.Contains(words, "synproxy_") {
				t.Errorf("without the words: -want +got:\n%s", d)
			}
			w.reload(text + extended(words))
			if got := table.String(); !strings.Contains(got, want) {
				t.Errorf("back again: no %q in\n%s", want, got)
			}
		})
	}
}

func features(t *testing.T, table *ipvstest.Table) uint64 {
	t.Helper()
	info, err := table.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return info.Extended.Features
}

// TestLaddrDrains: the file drains an address and takes it back; a drain by
// hand is nobody else's business.
func TestLaddrDrains(t *testing.T) {
	table := ipvstest.New()
	w, _ := start(t, table, extended(""))
	drained := strings.Replace(extended(""), "10.0.2.202", "10.0.2.202 drain", 1)
	steps := []struct {
		text, want string
	}{
		{drained, "-P --lgroup g -z 10.0.2.202 --laddr-flags no-new --laddr-cpus ''"},
		{drained, ""},
		{extended(""), "-P --lgroup g -z 10.0.2.202 --laddr-flags none --laddr-cpus ''"},
	}
	for i, s := range steps {
		if _, done := w.reload(s.text); strings.Join(done, "\n") != s.want {
			t.Errorf("step %d: %q, want %q", i, done, s.want)
		}
	}
	hand := ipvs.Op{Kind: ipvs.SetLaddr, LGroup: ipvs.LGroup{Name: "g"}, Laddr: ipvs.Laddr{Addr: netip.MustParseAddr("10.0.2.201"), Flags: ipvs.LaddrNoNew}}
	if err := table.Apply(t.Context(), hand); err != nil {
		t.Fatal(err)
	}
	if _, done := w.reload(extended("")); len(done) > 0 {
		t.Errorf("a drain by hand is undone: %q", done)
	}
	_, done := w.reload(strings.Replace(extended(""), "10.0.2.201", "10.0.2.201 cpu 0", 1))
	if want := []string{"-P --lgroup g -z 10.0.2.201 --laddr-flags no-new --laddr-cpus 0"}; !slices.Equal(done, want) {
		t.Errorf("a change beside a drain by hand did %q, want %q", done, want)
	}
}
