// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"fmt"
	"net/netip"
	"testing"
)

func TestServiceGroup(t *testing.T) {
	v4, v6 := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8::1")
	for _, tc := range []struct {
		key  ServiceKey
		want string
	}{
		{ServiceKey{Family: IPv4, Protocol: TCP, Addr: v4, Port: 80}, "@t0a000001-0050"},
		{ServiceKey{Family: IPv4, Protocol: UDP, Addr: v4, Port: 65535}, "@u0a000001-ffff"},
		{ServiceKey{Family: IPv4, FWMark: 7}, "@f00000007"},
		{ServiceKey{Family: IPv6, FWMark: 7}, "@F00000007"},
		{ServiceKey{Family: IPv6, Protocol: TCP, Addr: v6, Port: 80}, "@T"},
		{ServiceKey{Family: IPv6, Protocol: UDP, Addr: v6, Port: 80}, "@U"},
	} {
		got := ServiceGroup(tc.key)
		if len(got) > 15 {
			t.Errorf("%+v: %q is longer than the kernel takes", tc.key, got)
		}
		if got != tc.want && got[:2] != tc.want {
			t.Errorf("%+v: got %q, want %q", tc.key, got, tc.want)
		}
		if !IsServiceGroup(got) {
			t.Errorf("%q is not recognised", got)
		}
	}
}

func TestServiceGroupsDiffer(t *testing.T) {
	seen := map[string]ServiceKey{}
	for i := range 256 {
		for port := range uint16(256) {
			for _, p := range []Protocol{TCP, UDP} {
				a := netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", i))
				k := ServiceKey{Family: IPv6, Protocol: p, Addr: a, Port: port}
				g := ServiceGroup(k)
				if old, ok := seen[g]; ok {
					t.Fatalf("%+v and %+v share %q", old, k, g)
				}
				seen[g] = k
			}
		}
	}
}
