// SPDX-License-Identifier: Apache-2.0

package director

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lvs-fnat/lvs/healthcheck"
	"github.com/lvs-fnat/lvs/internal/agentx"
	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/ipvs"
)

const objectConf = `global_defs {
 router_id test
 enable_snmp_checker
 enable_traps
 lvs_sync_daemon eth0 VI id 7 maxlen 100
}
virtual_server_group g {
 10.0.1.2-3 81
 fwmark 7
}
virtual_server 10.0.1.1 80 {
 protocol TCP
 lb_algo rr
 lb_kind NAT
 alpha
 sorry_server 10.1.0.9 80
 real_server 10.1.0.1 80 {
  weight 5
  TCP_CHECK {
  }
 }
 real_server 10.1.0.2 80 {
  TCP_CHECK {
  }
 }
}
virtual_server group g {
 protocol UDP
 lb_algo rr
 lb_kind TUN type gue port 6080 remcsum
 real_server 10.1.0.1 81 {
 }
}
`

// objects gives what SNMP is told of d, as "object = value" by the end of its name.
func objects(d *Director, c Counters, weigh func(context.Context, WeightOf) error) (*agentx.View, map[string]string) {
	v, out := &agentx.View{}, map[string]string{}
	d.Objects(v, c, weigh)
	for r := (agentx.Range{Start: CheckMIB}); ; r.Include = false {
		b := v.Next(r)
		if b.Value.Kind == agentx.KindEndOfView {
			return v, out
		}
		r.Start = b.Name
		out[strings.TrimPrefix(b.Name.String(), CheckMIB.String())] = b.Value.String()
	}
}

// counted gives counters that differ in each number.
func counted() Counters {
	stats := func(n uint64) ipvs.Stats {
		return ipvs.Stats{Conns: n + 1, InPkts: n + 2, OutPkts: n + 3, InBytes: n + 4, OutBytes: n + 5, CPS: 1<<32 + n + 6, InPPS: n + 7, OutPPS: n + 8, InBPS: n + 9, OutBPS: 2<<32 + n + 10}
	}
	return Counters{
		Service: func(k ipvs.ServiceKey) ipvs.Stats {
			return stats(map[string]uint64{"10.0.1.1": 100, "10.0.1.2": 200, "10.0.1.3": 300}[k.Addr.String()])
		},
		Dest: func(k ipvs.ServiceKey, d ipvs.DestKey) ipvs.Dest {
			if d != (ipvs.DestKey{Family: ipvs.IPv4, Addr: netip.MustParseAddr("10.1.0.1"), Port: 80}) {
				return ipvs.Dest{}
			}
			return ipvs.Dest{ActiveConns: 11, InactConns: 12, PersistConns: 13, Stats: stats(1000)}
		},
	}
}

// TestObjects: the counters are those of the right service and server, summed over a
// group, each in its column; what a sync daemon and a tunnel are is told, too. All the
// rest is compared with the original in TestOnStockKeepalivedSNMP.
func TestObjects(t *testing.T) {
	d := New(parse(t, objectConf))
	d.Observe(make([]healthcheck.Status, len(d.Targets())))
	_, got := objects(d, counted(), nil)
	want := map[string]string{
		".3.1.27.1": "kind 66: 101", ".3.1.28.1": "kind 65: 102", ".3.1.29.1": "kind 65: 103", ".3.1.30.1": "kind 70: 104", ".3.1.31.1": "kind 70: 105",
		".3.1.32.1": "kind 66: 106", ".3.1.33.1": "kind 66: 107", ".3.1.34.1": "kind 66: 108", ".3.1.35.1": "kind 66: 109", ".3.1.36.1": "kind 66: 110",
		".3.1.38.1": "kind 70: 101", ".3.1.39.1": "kind 70: 102", ".3.1.40.1": "kind 70: 103",
		".3.1.41.1": "kind 66: 106", ".3.1.42.1": "kind 66: 1", ".3.1.43.1": "kind 66: 107", ".3.1.44.1": "kind 66: 0", ".3.1.45.1": "kind 66: 108",
		".3.1.47.1": "kind 66: 109", ".3.1.49.1": "kind 66: 110", ".3.1.50.1": "kind 66: 2",
		".3.1.38.2":   "kind 70: 503", // of two addresses, and of the mark that nobody has counted
		".4.1.14.1.2": "kind 66: 1001", ".4.1.15.1.2": "kind 66: 11", ".4.1.16.1.2": "kind 66: 12", ".4.1.17.1.2": "kind 66: 13",
		".4.1.18.1.2": "kind 65: 1002", ".4.1.19.1.2": "kind 65: 1003", ".4.1.20.1.2": "kind 70: 1004", ".4.1.21.1.2": "kind 70: 1005",
		".4.1.22.1.2": "kind 66: 1006", ".4.1.26.1.2": "kind 66: 1010", ".4.1.27.1.2": "kind 70: 1001", ".4.1.29.1.2": "kind 70: 1003",
		".4.1.30.1.2": "kind 66: 1006", ".4.1.31.1.2": "kind 66: 1", ".4.1.38.1.2": "kind 66: 1010", ".4.1.39.1.2": "kind 66: 2",
		".4.1.14.1.3": "kind 66: 0", ".4.1.13.1.2": "kind 66: 1",
		".6.1.0": "INTEGER: 1", ".6.2.0": `STRING: "eth0"`, ".6.3.0": `STRING: "VI"`, ".6.4.0": "INTEGER: 7", ".6.5.0": "INTEGER: 100",
		".3.1.68.2": "INTEGER: 2", ".3.1.69.2": "kind 66: 6080", ".3.1.70.2": "INTEGER: 3", ".4.1.53.2.1": "kind 66: 6080",
		".2.1.2.1.1": "INTEGER: 1", ".2.1.2.1.2": "INTEGER: 3", ".2.1.7.1.2": `STRING: "\n\x00\x01\x03"`,
	}
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s = %s, want %s", name, got[name], value)
		}
	}
}

// TestWeigh: a weight that SNMP sets counts for quorum and tables, is taken back by a
// reload, and can only be that of a server that is still there.
func TestWeigh(t *testing.T) {
	cfg := parse(t, objectConf)
	d := New(cfg)
	up := []healthcheck.Status{{Up: true, Known: true}, {Up: true, Known: true}}
	d.Observe(up)
	asked := errors.New("asked")
	var w WeightOf
	view, _ := objects(d, counted(), func(_ context.Context, to WeightOf) error { w = to; return asked })
	name := CheckMIB.Append(4, 1, 7, 1, 2)
	if v := view.Get(name).Value; v.Int() != 5 {
		t.Fatalf("the weight is %v", v)
	}
	row := &serverRow{v: &virtualRow{cfg: cfg.VirtualServers[0]}, cfg: &cfg.VirtualServers[0].RealServers[0], weight: 5, weigh: func(_ context.Context, to WeightOf) error { w = to; return asked }}
	if _, status := setWeight(row, agentx.Integer(-1)); status != agentx.StatusWrongValue {
		t.Errorf("-1: %v", status)
	}
	change, status := setWeight(row, agentx.Integer(9))
	if status != agentx.StatusOK || !errors.Is(change.Do(t.Context()), asked) || w.Weight != 9 {
		t.Fatalf("9: %v, %+v", status, w)
	}
	notices, err := d.Weigh(w)
	if err != nil || len(notices) != 1 || notices[0].Text != "Changing weight from 5 to 9 for active service [10.1.0.1]:tcp:80 of VS [10.0.1.1]:tcp:80" {
		t.Errorf("it says %+v, %v", notices, err)
	}
	if notices, err = d.Weigh(w); err != nil || notices != nil {
		t.Errorf("again it says %+v, %v", notices, err)
	}
	d.Observe(up)
	weight := func(d *Director) uint32 { return d.Tables().Services[0].Dests[0].Weight }
	if weight(d) != 9 || d.virtuals[0].weight() != 10 {
		t.Errorf("the weight is %d, all %d", weight(d), d.virtuals[0].weight())
	}
	if !errors.Is(change.Undo(t.Context()), asked) || w.Weight != 5 {
		t.Errorf("undo asks for %d", w.Weight)
	}
	for what, next := range map[string]*Director{"the same": reloaded(d, up, d.cfg), "another": reloaded(d, up, parse(t, objectConf))} {
		if weight(next) != 5 {
			t.Errorf("%s configuration: the weight is %d", what, weight(next))
		}
		if _, err := next.Weigh(w); (err == nil) != (what == "the same") {
			t.Errorf("%s configuration: %v", what, err)
		}
	}
}

// TestTraps: the events of servers and quorums, in their order, with what they count.
func TestTraps(t *testing.T) {
	d := New(parse(t, objectConf))
	var got []string
	note := func(notices []Notice) {
		for _, n := range notices {
			if n.Trap.Event == nil {
				continue
			}
			var values []string
			for _, b := range n.Trap.Objects {
				values = append(values, strings.TrimPrefix(b.Name.String(), CheckMIB.String())+"="+b.Value.String())
			}
			got = append(got, fmt.Sprint(n.Trap.Event[len(n.Trap.Event)-1], ": ", strings.Join(values, " ")))
		}
	}
	status := func(up ...bool) []healthcheck.Status {
		var list []healthcheck.Status
		for _, u := range up {
			list = append(list, healthcheck.Status{Up: u, Known: true})
		}
		return list
	}
	note(d.Observe(make([]healthcheck.Status, 2)))
	note(d.Observe(status(true, false)))
	note(d.Observe(status(true, false))) // nothing new
	note(d.Stop())
	server := func(addr, status, up string) string {
		return fmt.Sprintf(`1: .4.1.3=INTEGER: 1 .4.1.4=STRING: "\n\x01\x00\x0%s" .4.1.5=kind 66: 80 .4.1.6=INTEGER: %s .3.1.2=INTEGER: 2 .3.1.5=INTEGER: 1 .3.1.6=STRING: "\n\x00\x01\x01" `+
			`.3.1.7=kind 66: 80 .3.1.8=INTEGER: 1 .3.1.21=kind 66: %s .3.1.20=kind 66: 2 1.3.6.1.4.1.9586.100.5.1.2.0=STRING: "test"`, addr, status, up)
	}
	quorum := func(status, up string) string {
		return fmt.Sprintf(`2: .3.1.2=INTEGER: 2 .3.1.5=INTEGER: 1 .3.1.6=STRING: "\n\x00\x01\x01" .3.1.7=kind 66: 80 .3.1.8=INTEGER: 1 .3.1.23=INTEGER: %s .3.1.22=kind 66: 1 `+
			`.3.1.21=kind 66: %s .3.1.20=kind 66: 2 1.3.6.1.4.1.9586.100.5.1.2.0=STRING: "test"`, status, up)
	}
	group := func(status, up string) string {
		return fmt.Sprintf(`2: .3.1.2=INTEGER: 3 .3.1.3=STRING: "g" .3.1.8=INTEGER: 2 .3.1.23=INTEGER: %s .3.1.22=kind 66: 1 .3.1.21=kind 66: %s .3.1.20=kind 66: 1 1.3.6.1.4.1.9586.100.5.1.2.0=STRING: "test"`, status, up)
	}
	want := []string{
		quorum("2", "0"), group("1", "1"), // at the start: alpha begins without
		server("1", "1", "1"), server("2", "2", "1"), quorum("1", "1"),
		server("1", "2", "0"), quorum("3", "0"),
		`1: .4.1.3=INTEGER: 1 .4.1.4=STRING: "\n\x01\x00\x01" .4.1.5=kind 66: 81 .4.1.6=INTEGER: 2 .3.1.2=INTEGER: 3 .3.1.3=STRING: "g" .3.1.8=INTEGER: 2 .3.1.21=kind 66: 0 .3.1.20=kind 66: 1 1.3.6.1.4.1.9586.100.5.1.2.0=STRING: "test"`,
		group("3", "0"),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	// Who is gone after a reload is down; without enable_traps there is no event.
	got = nil
	d = New(parse(t, objectConf))
	d.Observe(status(true, true))
	less := strings.Replace(objectConf, " real_server 10.1.0.1 80 {\n  weight 5\n  TCP_CHECK {\n  }\n }\n", "", 1)
	less = less[:strings.Index(less, "virtual_server group")]
	_, notices := d.Reload(parse(t, less))
	note(notices)
	if diff := cmp.Diff([]string{server("1", "2", "1"), want[7], group("2", "0")}, got); diff != "" {
		t.Errorf("reload: -want +got:\n%s", diff)
	}
	got = nil
	d = New(parse(t, strings.Replace(objectConf, " enable_traps\n", "", 1)))
	note(slices.Concat(d.Observe(status(true, true)), d.Observe(status(false, false)), d.Stop()))
	if got != nil {
		t.Errorf("without enable_traps: %q", got)
	}
}

// reloaded is d after a reload.
func reloaded(d *Director, status []healthcheck.Status, cfg *config.Config) *Director {
	next, _ := d.Reload(cfg)
	next.Observe(status)
	return next
}
