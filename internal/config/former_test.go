// SPDX-License-Identifier: Apache-2.0

package config

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lvs-fnat/lvs/parser"
)

// formerParts are texts that a file may be made of, in any order and number: what
// can be taken over from a former Load, what must not be, and what that hangs on.
var formerParts = []string{
	"global_defs {\n    checker_log_all_failures\n}\n",
	"global_defs {\n    smtp_alert\n    router_id a\n}\n",
	"local_address_group G {\n    192.0.2.1-3\n}\n",
	"local_address_group G {\n    192.0.2.7 port 1-2\n}\n",
	"local_address_group H {\n    192.0.2.4\n}\n",
	"virtual_server_group VG {\n    10.9.9.9 80\n    fwmark 9\n}\n",
	"$P=80\n", "# a remark\n\n", "@other virtual_server 10.0.0.1 80 {\n",
	"virtual_server 10.0.0.1 80 {\n    lb_algo wrr\n    lb_kind NAT\n    protocol TCP\n    real_server 10.1.0.1 80 {\n        weight 3\n        TCP_CHECK {\n            connect_port 80\n        }\n    }\n}\n",
	"virtual_server 10.0.0.1 80 {\n    lb_algo rr\n    lb_kind NAT\n    protocol TCP\n    real_server 10.1.0.1 80 {\n    }\n}\n",
	"virtual_server 10.0.0.2 $P {\n    lb_algo rr\n    lb_kind NAT\n    protocol TCP\n    real_server 10.1.0.1 80 {\n    }\n}\n",
	"virtual_server 10.0.0.3 80 {\n    lb_algo rr\n    lb_kind FNAT\n    protocol TCP\n    laddr_group_name G\n    sorry_server 10.1.0.9 80\n    real_server 10.1.0.1 80 {\n        HTTP_GET {\n            url {\n                path /\n                status_code 200\n            }\n        }\n    }\n}\n",
	"virtual_server 10.0.0.4 80 {\n    lb_algo rr\n    lb_kind FNAT\n    protocol TCP\n    local_address {\n        192.0.2.9\n    }\n    real_server 10.1.0.1 80 {\n    }\n}\n",
	"virtual_server 10.0.0.5 80 {\n    lb_kind NAT\n    snmp_name a\n    lb_algo rr\n    protocol TCP\n    real_server 10.1.0.1 80 {\n        snmp_name b\n    }\n}\n",
	"virtual_server 10.0.0.6 80 {\n    lb_algo nonsense\n    lb_kind NAT\n    protocol TCP\n    real_server 10.1.0.1 80 {\n        wieght 1\n    }\n}\n",
	"virtual_server group VG {\n    lb_algo rr\n    lb_kind NAT\n    protocol TCP\n    real_server 10.1.0.1 80 {\n    }\n}\n",
	"virtual_server fwmark 7 {\n    lb_algo rr\n    lb_kind DR\n    quorum_up \"/bin/true\" root\n    real_server 10.1.0.1 80 {\n        MISC_CHECK {\n            misc_path /bin/true\n        }\n    }\n}\n",
	"virtual_server 10.0.0.8 80\n",
	"virtual_server fwmark 8 {\n    lb_algo rr\n    lb_kind DR\n    quorum 2\n    real_server 10.1.0.1 80 {\n        weight 2\n    }\n}\n",
	"virtual_server 2001:db8::1 80\n{\n    lb_algo rr\n    lb_kind NAT\n    protocol TCP\n    real_server 2001:db8::2 80 {\n    }\n}\n",
	"virtual_server 10.0.0.7 80 {\n    lb_algo rr\n    lb_kind NAT\n    protocol TCP\n    real_server 10.1.0.1 80 {\n", "    }\n}\n", "}\n",
}

// everything is a value as text, places included.
func everything(c *Config) string {
	whole := *c
	whole.VirtualServers = nil
	text := fmt.Sprintf("%+v", whole)
	for _, vs := range c.VirtualServers {
		var b strings.Builder
		dump(&b, reflect.ValueOf(*vs), 0)
		text += b.String()
	}
	return strings.ReplaceAll(text, " ", "\n")
}

func serversText(n int, weight func(i int) int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "virtual_server 10.7.%d.%d 80 {\n    lb_algo wrr\n    lb_kind NAT\n    protocol TCP\n    real_server 10.1.0.1 80 {\n        weight %d\n        TCP_CHECK {\n        }\n    }\n}\n", i>>8, i&255, weight(i))
	}
	return b.String()
}

// TestFormer: what is loaded with what former loads have left is what is loaded
// without, remarks and places included, whatever was edited in between.
func TestFormer(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 8 {
		var f, verdicts Former
		parts := []string{}
		for range 12 {
			parts = append(parts, formerParts[rng.IntN(len(formerParts))])
		}
		for step := range 20 {
			switch i := rng.IntN(len(parts)); rng.IntN(5) {
			case 0:
				parts = slices.Delete(parts, i, i+1)
			case 1, 2:
				parts = slices.Insert(parts, i, formerParts[rng.IntN(len(formerParts))])
			case 3:
				parts[i] = formerParts[rng.IntN(len(formerParts))]
			}
			if len(parts) == 0 {
				parts = append(parts, formerParts[0])
			}
			text := strings.Join(parts, "")
			for _, verdict := range []bool{false, true} {
				load := func(f *Former) (*Config, []Diagnostic) {
					cfg, diags, err := Parse(context.Background(), "k.conf", text, Options{Former: f, Verdict: verdict, Ephemeral: func() (Ephemeral, error) { return Ephemeral{}, nil }})
					if err != nil {
						t.Fatal(err)
					}
					return cfg, diags
				}
				from := &f
				if verdict {
					from = &verdicts
				}
				cfg, diags := load(from)
				fresh, freshDiags := load(nil)
				if d := cmp.Diff(freshDiags, diags); !reflect.DeepEqual(fresh, cfg) || d != "" {
					t.Fatalf("round %d, step %d, verdict only %v: -without +with former loads:\n%s%s\n%s", round, step, verdict, cmp.Diff(everything(fresh), everything(cfg)), d, text)
				}
			}
		}
	}
}

// TestFormerKeeps: a virtual server whose text is the same is the same one, one
// whose text is not, or all of them when what is around them differs, are others.
func TestFormerKeeps(t *testing.T) {
	var f Former
	load := func(text string) []*VirtualServer {
		t.Helper()
		cfg, diags, err := Parse(context.Background(), "k.conf", text, Options{Former: &f})
		if err != nil || len(diags) > 0 {
			t.Fatal(err, diags)
		}
		return cfg.VirtualServers
	}
	same := func(a, b []*VirtualServer) (n int) {
		for _, vs := range b {
			if slices.Contains(a, vs) {
				n++
			}
		}
		return n
	}
	one := func(int) int { return 1 }
	first := load(serversText(10, one))
	if n := same(first, load(serversText(10, one))); n != 10 {
		t.Errorf("%d of 10 are the same after no change", n)
	}
	changed := load(serversText(10, func(i int) int { return 1 + i/9 }))
	if n := same(first, changed); n != 9 || changed[9].RealServers[0].Weight != 2 {
		t.Errorf("%d of 10 are the same after the change of one, which weighs %d", n, changed[9].RealServers[0].Weight)
	}
	if n := same(changed, load("global_defs {\n    smtp_alert\n}\n"+serversText(10, one))); n != 0 {
		t.Errorf("%d are the same although the global settings are not", n)
	}
}

// TestTextGoes: neither a configuration nor what is left for the next Load keeps the
// text of the file.
func TestTextGoes(t *testing.T) {
	const wide = "global_defs {\n    router_id someone\n    smtp_server 192.0.2.1\n    notify_fifo /run/some/fifo\n}\ntrack_file FILE {\n    file /run/some/file\n}\n" +
		"local_address_group GROUP {\n    192.0.2.7\n}\nvirtual_server_group VG {\n    10.0.0.9 80\n}\nvrrp_instance VI {\n    interface lo\n    virtual_router_id 7\n    virtual_ipaddress {\n        192.0.2.8\n    }\n    notify_master \"/bin/true a\" root\n}\n"
	for _, verdict := range []bool{false, true} {
		var f Former
		gone := make(chan struct{})
		load := func() *Config {
			text := []byte(wide + strings.Join(formerParts, "") + serversText(100, func(int) int { return 1 }))
			runtime.AddCleanup(&text[0], func(gone chan struct{}) { close(gone) }, gone)
			cfg, _, err := Load(context.Background(), "k.conf", Options{Former: &f, Verdict: verdict, Ephemeral: func() (Ephemeral, error) { return Ephemeral{}, nil },
				Parser: parser.Options{ReadFile: func(string) ([]byte, error) { return text, nil }}})
			if err != nil {
				t.Fatal(err)
			}
			return cfg
		}
		cfg := load()
		for end := time.Now().Add(time.Minute); ; {
			runtime.GC()
			select {
			case <-gone:
			case <-time.After(10 * time.Millisecond):
				if time.Now().After(end) {
					t.Errorf("verdict only %v: the text is kept", verdict)
				} else {
					continue
				}
			}
			break
		}
		if cfg.Global.RouterID == "" || len(f.blocks) < 100 {
			t.Errorf("router_id %q, %d virtual servers known", cfg.Global.RouterID, len(f.blocks))
		}
	}
}
