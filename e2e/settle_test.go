// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lvs-fnat/lvs/healthcheck"
	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/director"
	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/ipvs"
)

// settleWords are the keywords of a service, each with the feature of the module
// that it needs.
var settleWords = []struct{ feature, words string }{
	{"FNAT", "laddr_select source\nexhaust_rst"},
	{"TOA", "toa_kind4 252\ntoa_kind6 251\ntoa_syn"},
	{"MSS", "mss_clamp 1380"},
	{"SYNPROXY", "syn_proxy auto\nsynproxy_defer\nsynproxy_mss 1400\nsynproxy_wscale off\nsynproxy_options sack\nsynproxy_window 5840\n" +
		"synproxy_ttl 63\nsynproxy_retries 1\nsynproxy_queue 4\nsynproxy_auto_on 100\nsynproxy_auto_off 10"},
	{"LIMITS", "established_timeout 900\ncps 1000 50\nbps_in 1000000\nbps_out 2000000\nconn_limit 5000"},
	{"FLOOD", "invalid drop"},
	{"EXPIRE_RST", "rst_on_expire"},
}

// TestSynproxySettles: what a configuration asks for is what the kernel then
// reports, so that neither a reload nor the comparison of each minute finds
// anything to do; and it comes back whole when somebody has made the service anew.
func TestSynproxySettles(t *testing.T) {
	needOurs(t)
	each(t, "settles", func(t *testing.T, r *rig) {
		info, err := r.x.Info(t.Context())
		testnet.Must(t, err)
		have := ipvs.FeatureNames(info.Extended.Features)
		var words []string
		for _, w := range settleWords {
			if slices.Contains(have, w.feature) {
				words = append(words, w.words)
			}
		}
		mirror := director.NewMirror(r.x)
		var dir *director.Director
		for _, step := range []string{strings.Join(words, "\n"), "", strings.Join(words, "\n")} {
			cfg, diags, err := config.Parse(t.Context(), "k.conf", r.config(step), config.Options{})
			testnet.Must(t, err)
			if w, _ := config.Worst(diags); w > config.Info {
				t.Fatal(diags)
			}
			if dir == nil {
				dir = director.New(cfg)
			} else {
				dir, _ = dir.Reload(cfg)
			}
			dir.Observe(make([]healthcheck.Status, len(dir.Targets())))
			testnet.Must(t, mirror.Sync(t.Context(), dir.Tables()))
			ops, err := mirror.Plan(t.Context(), dir.Tables())
			testnet.Must(t, err)
			if len(ops) > 0 {
				t.Errorf("with %q the kernel has something else than was asked for: %v", step, ops)
			}
		}
		services, err := r.x.Services(t.Context())
		testnet.Must(t, err)
		again := ipvs.Service{ServiceKey: services[0].ServiceKey, Scheduler: "rr", Netmask: services[0].Netmask}
		r.apply(t, ipvs.Op{Kind: ipvs.DelService, Service: again}, ipvs.Op{Kind: ipvs.AddService, Service: again})
		ops, err := mirror.Watch()(t.Context())
		testnet.Must(t, err)
		if len(ops) < 2 || ops[0].Kind != ipvs.SetExt || ops[0].Ext.Flags&ipvs.ExtFNAT == 0 {
			t.Errorf("a service made anew lacks %v", ops)
		}
		testnet.Must(t, mirror.Sync(t.Context(), dir.Tables()))
		ops, err = mirror.Watch()(t.Context())
		testnet.Must(t, err)
		if len(ops) > 0 {
			t.Errorf("after the repair there is still %v", ops)
		}
		testnet.Must(t, mirror.Remove(t.Context()))
	})
}

// config is a configuration of one FNAT service with words in it.
func (r *rig) config(words string) string {
	return fmt.Sprintf("local_address_group g {\n%s\n%s\n}\nvirtual_server %s 80 {\nlb_algo rr\nlb_kind FNAT\nprotocol TCP\nladdr_group_name g\n%s\nreal_server %s %d {\n}\n}\n",
		r.lip[0], r.lip[1], r.vip, words, r.rip[0], rport)
}
