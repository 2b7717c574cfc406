// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lvs-fnat/lvs/internal/agentx"
	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/netif"
	"github.com/lvs-fnat/lvs/vrrp"
)

// trapped is an instance in BACKUP on link 3, and the events it has told.
func trapped(t *testing.T, version int, snmp config.SNMP) (*instance, *[]string) {
	t.Helper()
	var told []string
	e := &Engine{cfg: &config.Config{}, opts: Options{
		Trap: func(x agentx.Trap) {
			line := x.Event.String()
			for _, o := range x.Objects {
				line += fmt.Sprintf(" %v = %v", o.Name, o.Value)
			}
			told = append(told, line)
		},
		RouterID: func(*config.Config) string { return "router" },
	}}
	e.cfg.Global.SNMP = snmp
	m := vrrp.Config{Name: "VI", Version: version, VRID: 51, Priority: 100, Interval: time.Second,
		Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.100")}, Source: netip.MustParseAddr("192.0.2.1")}
	in := &instance{e: e, cfg: &config.Instance{Machine: m, Family: config.IPv4, SourceAddr: m.Source}, link: &netif.Link{Index: 3}, next: noResponse}
	var err error
	if in.m, err = vrrp.New(m); err != nil {
		t.Fatal(err)
	}
	in.m.Handle(time.Now(), vrrp.Start{})
	return in, &told
}

// TestNewMaster: why an instance has become master is what it has heard last.
func TestNewMaster(t *testing.T) {
	in, _ := trapped(t, 3, config.SNMP{})
	for _, tc := range []struct {
		heard []uint8
		want  newMaster
	}{
		{nil, noResponse}, {[]uint8{150}, noResponse}, {[]uint8{150, 0}, byPriority}, {[]uint8{50}, preempted}, {[]uint8{0, 150}, noResponse},
	} {
		for _, p := range tc.heard {
			in.learn(&vrrp.Advert{Priority: p})
		}
		if in.entered(vrrp.Master); in.reason != tc.want {
			t.Errorf("after adverts of %v: %d, want %d", tc.heard, in.reason, tc.want)
		}
		if in.entered(vrrp.Backup); in.reason != notMaster {
			t.Errorf("in BACKUP: %d", in.reason)
		}
	}
}

// TestTraps: the events of each MIB, and none that is not asked for.
func TestTraps(t *testing.T) {
	const (
		state    = "1.3.6.1.4.1.9586.100.5.2.10.0.2 1.3.6.1.4.1.9586.100.5.2.3.1.2 = STRING: \"VI\" 1.3.6.1.4.1.9586.100.5.2.3.1.4 = INTEGER: 2 1.3.6.1.4.1.9586.100.5.2.3.1.5 = INTEGER: 1 1.3.6.1.4.1.9586.100.5.1.2.0 = STRING: \"router\""
		master2  = "1.3.6.1.2.1.68.0.1 1.3.6.1.2.1.68.1.3.1.7.3.51 = kind 64: c0000201"
		master3  = "1.3.6.1.2.1.207.0.1 1.3.6.1.2.1.207.1.1.1.1.3.3.51.1 = STRING: \"\\xc0\\x00\\x02\\x01\" 1.3.6.1.2.1.207.1.2.5.1.2.3.51.1 = INTEGER: 0"
		auth     = "1.3.6.1.2.1.68.0.2 1.3.6.1.2.1.68.1.5.0 = kind 64: c0000209 1.3.6.1.2.1.68.1.6.0 = INTEGER: 3"
		checksum = "1.3.6.1.2.1.207.0.2 1.3.6.1.2.1.207.1.2.5.1.6.3.51.1 = INTEGER: 3"
	)
	all := config.SNMP{Traps: true, VRRP: true, RFCv2: true, RFCv3: true}
	for name, tc := range map[string]struct {
		version int
		snmp    config.SNMP
		want    []string
	}{
		"version 2": {2, all, []string{state, master2, master3, auth, checksum}},
		"version 3": {3, all, []string{state, master3, checksum}},
		"VRRP":      {2, config.SNMP{Traps: true, VRRP: true}, []string{state}},
		"rfcv2":     {2, config.SNMP{Traps: true, RFCv2: true}, []string{master2, auth}},
		"rfcv3":     {2, config.SNMP{Traps: true, RFCv3: true}, []string{master3, checksum}},
		"no traps":  {2, config.SNMP{VRRP: true, RFCv2: true, RFCv3: true}, nil},
	} {
		in, told := trapped(t, tc.version, tc.snmp)
		in.trapInstance(int(vrrp.Master))
		src := netip.MustParseAddr("192.0.2.9")
		for _, err := range []error{&vrrp.Malformed{Class: vrrp.ErrAuth}, fmt.Errorf("odd: %w", &vrrp.Malformed{Class: vrrp.ErrChecksum}), &vrrp.Malformed{Class: vrrp.ErrLength}, errors.New("other")} {
			in.refused(src, err)
		}
		if d := cmp.Diff(strings.Join(tc.want, "\n"), strings.Join(*told, "\n")); d != "" {
			t.Errorf("%s, -want +got:\n%s", name, d)
		}
		if in.protoFault != protoErrors[vrrp.ErrChecksum] {
			t.Errorf("%s: the last error is %d", name, in.protoFault)
		}
	}
}
