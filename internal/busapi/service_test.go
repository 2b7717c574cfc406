// SPDX-License-Identifier: Apache-2.0

package busapi

import (
	"testing"

	"github.com/godbus/dbus/v5"
)

// TestPath: what a path of the bus cannot have becomes an underscore.
func TestPath(t *testing.T) {
	s := &Service{opts: Options{NoInterface: "no-where"}}
	for want, in := range map[string]Instance{
		"eth0/51/IPv4":       {Interface: "eth0", VRID: 51},
		"bond0_100/255/IPv6": {Interface: "bond0.100", VRID: 255, IPv6: true},
		"vlan_a_b/1/IPv4":    {Interface: "vlan-a@b", VRID: 1},
		"no_where/7/IPv4":    {VRID: 7},
	} {
		if got := s.path(in); got != dbus.ObjectPath(instancePath+"/"+want) || !got.IsValid() {
			t.Errorf("%+v: %s, want %s", in, got, want)
		}
	}
}
