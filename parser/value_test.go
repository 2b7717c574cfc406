// SPDX-License-Identifier: Apache-2.0

package parser

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
)

// A value starting with "!" must be refused at the byte the number gives.
func TestValues(t *testing.T) {
	parse := map[string]func(string) (string, error){
		"range": func(s string) (string, error) {
			r, err := ParseAddrRange(s)
			return r.From.String() + " " + r.To.String(), err
		},
		"endpoint": func(s string) (string, error) { r, err := ParseAddrPort(s); return r.String(), err },
		"ports":    func(s string) (string, error) { r, err := ParsePortRange(s); return fmt.Sprint(r.Min, r.Max), err },
		"prefix":   func(s string) (string, error) { r, err := ParsePrefix(s); return r.String(), err },
		"addr":     func(s string) (string, error) { r, err := ParseAddr(s); return r.String(), err },
	}
	for _, c := range []struct{ kind, in, want string }{
		{"range", "10.0.0.1", "10.0.0.1 10.0.0.1"},
		{"range", "10.0.0.1-5", "10.0.0.1 10.0.0.5"},
		{"range", "10.0.0.1-10.0.1.7", "10.0.0.1 10.0.1.7"},
		{"range", "10.0.0.9/29", "10.0.0.9 10.0.0.14"},
		{"range", "10.0.0.9/31", "10.0.0.8 10.0.0.9"},
		{"range", "2001:db8::1-1f", "2001:db8::1 2001:db8::1f"},
		{"range", "2001:db8::1-10", "2001:db8::1 2001:db8::10"},
		{"range", "2001:db8::/126", "2001:db8:: 2001:db8::3"},
		{"range", "10.0.0.9-3", "!9"},
		{"range", "10.0.0.9-256", "!9"},
		{"range", "10.0.0.9-2001:db8::1", "!9"},
		{"range", "10.0.0.9/33", "!9"},
		{"range", "10.0.0.256", "!0"},
		{"range", "10.0.0", "!2"},
		{"range", "", "!0"},
		{"range", "example.com", "!1"},
		{"range", "10.0.0.1-", "!9"},
		{"endpoint", "10.0.0.1", "10.0.0.1:0"},
		{"endpoint", "10.0.0.1:80", "10.0.0.1:80"},
		{"endpoint", "[2001:db8::1]:80", "[2001:db8::1]:80"},
		{"endpoint", "[2001:db8::1]", "[2001:db8::1]:0"},
		{"endpoint", "2001:db8::1", "[2001:db8::1]:0"},
		{"endpoint", "10.0.0.1:65536", "!9"},
		{"endpoint", "10.0.0.1:", "!9"},
		{"endpoint", "host:80", "!0"},
		{"ports", "80", "80 80"},
		{"ports", "1024-32767", "1024 32767"},
		{"ports", "0", "!0"},
		{"ports", "9-3", "!2"},
		{"ports", "1-65536", "!2"},
		{"ports", "+5", "!0"},
		{"ports", "1-2-3", "!3"},
		{"prefix", "10.0.0.1", "10.0.0.1/32"},
		{"prefix", "2001:db8::/32", "2001:db8::/32"},
		{"prefix", "10.0.0.0/64", "!0"},
		{"addr", "fe80::1%eth0", "fe80::1%eth0"},
		{"addr", "010.0.0.1", "!0"},
	} {
		got, err := parse[c.kind](c.in)
		if err != nil {
			ve, ok := errors.AsType[*ValueError](err)
			if !ok {
				t.Errorf("%s %q: error without place: %v", c.kind, c.in, err)
				continue
			}
			got = fmt.Sprintf("!%d", ve.Offset)
		}
		if got != c.want {
			t.Errorf("%s %q: %s, want %s (%v)", c.kind, c.in, got, c.want, err)
		}
	}
}

func TestRangeAll(t *testing.T) {
	r, err := ParseAddrRange("10.0.0.254-10.0.1.1")
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(slices.Collect(r.All()))
	if want := "[10.0.0.254 10.0.0.255 10.0.1.0 10.0.1.1]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	last := netip.MustParseAddr("255.255.255.255")
	if got := len(slices.Collect(AddrRange{last, last}.All())); got != 1 {
		t.Errorf("range at the end of the address space has %d addresses", got)
	}
}
