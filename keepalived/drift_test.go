// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/ipvs/ipvstest"
)

// meddle is what somebody else does to the tables.
func (d *testDaemon) meddle(ops ...ipvs.Op) {
	d.t.Helper()
	if err := d.table.Apply(context.Background(), ops...); err != nil {
		d.t.Fatal(err)
	}
}

// service gives the key of the first service of the table.
func (d *testDaemon) service() ipvs.Service {
	d.t.Helper()
	services, err := d.table.Services(context.Background())
	if err != nil || len(services) == 0 {
		d.t.Fatal(services, err)
	}
	return ipvs.Service{ServiceKey: services[0].ServiceKey, Scheduler: services[0].Scheduler, Netmask: services[0].Netmask}
}

// TestDrift: what others change in the kernel is told once, each minute and on
// SIGUSR1, and left alone.
func TestDrift(t *testing.T) {
	d := newDaemon(t, ipvstest.NewStock(), nat)
	d.start()
	s := d.service()
	d.meddle(ipvs.Op{Kind: ipvs.DelService, Service: s})
	d.tick <- time.Time{}
	d.wait("IPVS: somebody has changed the tables in 3 places")
	d.wait("IPVS: 'ipvsadm -A -t 10.0.1.100:80 -s rr' would bring back what is configured")
	d.holds("")
	d.tick <- time.Time{}
	d.signals <- syscall.SIGUSR1
	s.Scheduler = "wlc"
	d.meddle(ipvs.Op{Kind: ipvs.AddService, Service: s})
	d.signals <- syscall.SIGUSR1
	d.wait("'ipvsadm -E -t 10.0.1.100:80 -s rr' would bring back")
	if n := strings.Count(strings.Join(d.log.all(), "\n"), "ipvsadm -A -t"); n != 1 {
		t.Errorf("the same was said %d times", n)
	}
	from := d.seen
	d.reload(nat, msgReloaded) // puts back what is missing, as ever
	d.holds(natLines)
	d.tick <- time.Time{}
	d.seen = from // the comparison that SIGUSR1 began may have been the first to see it
	d.wait(msgApplied)
	d.stop()
}

// TestRepair: with lvs_repair all of it comes back, FNAT and local addresses
// included, also of a service that somebody has deleted and made anew.
func TestRepair(t *testing.T) {
	conf := "global_defs {\nlvs_repair\n}\n" + strings.Replace(nat, "lb_kind NAT", "lb_kind FNAT\nlocal_address {\n10.0.2.201\n}", 1)
	d := newDaemon(t, ipvstest.New(), conf)
	d.start()
	s := d.service()
	want := d.table.String()
	if !strings.Contains(want, "--fullnat") {
		t.Fatal(want)
	}
	for name, ops := range map[string][]ipvs.Op{
		"deleted":            {{Kind: ipvs.DelService, Service: s}},
		"deleted, made anew": {{Kind: ipvs.DelService, Service: s}, {Kind: ipvs.AddService, Service: s}},
		"FNAT off":           {{Kind: ipvs.SetExt, Service: s, Ext: ipvs.Ext{Set: ipvs.ExtFieldFlags, FlagsMask: ipvs.ExtFNAT | ipvs.ExtTOA}}},
		"flushed":            {{Kind: ipvs.Flush}},
	} {
		d.meddle(ops...)
		d.tick <- time.Time{}
		d.wait(msgRepaired)
		if got := d.table.String(); got != want {
			t.Errorf("%s:\n%swant:\n%s", name, got, want)
		}
	}
	d.stop()
}
