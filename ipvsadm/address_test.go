// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strings"
	"testing"

	"github.com/lvs-fnat/lvs/ipvs"
)

func TestEndpoint(t *testing.T) {
	n := testNames(t.TempDir())
	for _, tc := range []struct {
		in    string
		proto ipvs.Protocol
		want  string // "" is refused
		port  uint16
		has   bool
	}{
		{"10.0.0.1:80", ipvs.TCP, "10.0.0.1", 80, true},
		{"10.0.0.1", ipvs.TCP, "10.0.0.1", 0, false},
		{"10.0.0.1:http", ipvs.TCP, "10.0.0.1", 80, true},
		{"10.0.0.1:www", ipvs.TCP, "10.0.0.1", 80, true},
		{"10.0.0.1:HTTP", ipvs.TCP, "", 0, false},
		{"10.0.0.1:http", ipvs.UDP, "", 0, false},
		{"10.0.0.1:http", 0, "", 0, false},
		{"10.0.0.1:", ipvs.TCP, "", 0, false},
		{"10.0.0.1:1-2", ipvs.TCP, "", 0, false},
		{"10.0.0.1:65536", ipvs.TCP, "", 0, false},
		{"10.0.0.1:010", ipvs.TCP, "10.0.0.1", 10, true},
		{"10.0.0.1: +7", ipvs.TCP, "10.0.0.1", 7, true},
		{"", ipvs.TCP, "", 0, false},
		{"80", ipvs.TCP, "", 0, false},
		{"123:80", ipvs.TCP, "0.0.0.123", 80, true},
		{"10.1:80", ipvs.TCP, "10.0.0.1", 80, true},
		{"0x0a000001:80", ipvs.TCP, "10.0.0.1", 80, true},
		{"010.0.0.1:80", ipvs.TCP, "8.0.0.1", 80, true},
		{"10.0.0.256:80", ipvs.TCP, "", 0, false},
		{"10.0.0.1 x:80", ipvs.TCP, "10.0.0.1", 80, true},
		{"[2001:db8::1]:80", ipvs.TCP, "2001:db8::1", 80, true},
		{"[2001:db8::1]", ipvs.TCP, "", 0, false},
		{"[2001:db8::1]80", ipvs.TCP, "", 0, false},
		{"[2001:db8::1]:", ipvs.TCP, "", 0, false},
		{"2001:db8::1", ipvs.TCP, "2001:db8::1", 0, false},
		{"2001:db8::1:80", ipvs.TCP, "2001:db8::1:80", 0, false},
		{"[fe80::1%eth0]:80", ipvs.TCP, "", 0, false},
		{"[10.0.0.1]:80", ipvs.TCP, "10.0.0.1", 0, false},
		{"web.example:80", ipvs.TCP, "10.9.9.9", 80, true},
		{"nosuch.example:80", ipvs.TCP, "", 0, false},
		{":80", ipvs.TCP, "", 0, false},
		{"-s", ipvs.TCP, "", 0, false},
	} {
		e, ok := n.endpoint(context.Background(), tc.in, tc.proto)
		switch {
		case tc.want == "" && ok:
			t.Errorf("%q: took %v", tc.in, e)
		case tc.want != "" && (!ok || e.addr.String() != tc.want || e.port != tc.port || e.hasPort != tc.has):
			t.Errorf("%q: got %v %v, want %s %d %v", tc.in, ok, e, tc.want, tc.port, tc.has)
		}
	}
}

// TestAtoi: as C does on 64 bits.
func TestAtoi(t *testing.T) {
	for text, want := range map[string]int64{
		"64": 64, " \t+64abc": 64, "-1": -1, "": 0, "x": 0, "+-1": 0, "2147483647": 2147483647, "2147483648": -2147483648,
		"4294967360": 64, "-4294967232": 64, "9223372036854775807": -1, "18446744073709551680": -1, "-99999999999999999999": 0,
	} {
		if got := atoi(text); got != want {
			t.Errorf("atoi(%q) = %d, want %d", text, got, want)
		}
	}
}

func TestNumber(t *testing.T) {
	for _, s := range []string{"10", " 10", "+10", "010", "\t+010"} {
		if n, ok := number(s, 0, 100); !ok || n != 10 {
			t.Errorf("%q: got %d, %v", s, n, ok)
		}
	}
	for _, s := range []string{"", " ", "0x10", "10 ", "10a", "+", "+-1", "--1", "99999999999999999999", "101", "-1", "1_0"} {
		if n, ok := number(s, 0, 100); ok {
			t.Errorf("%q: took it as %d", s, n)
		}
	}
}

func TestLocalAddress(t *testing.T) {
	for in, want := range map[string]string{
		"10.0.0.1":                 "10.0.0.1",
		"10.0.0.1:1024-2000":       "10.0.0.1:1024-2000",
		"2001:db8::1":              "2001:db8::1",
		"[2001:db8::1]":            "2001:db8::1",
		"[2001:db8::1]:1024-65535": "[2001:db8::1]:1024-65535",
	} {
		l, ok := laddr(in)
		if !ok || laddrText(l) != want {
			t.Errorf("%q: got %v %q, want %q", in, ok, laddrText(l), want)
		}
	}
	for _, in := range []string{"", "x", "10.0.0.1:80", "10.0.0.1:2-1", "10.0.0.1:0-5", "10.0.0.1:1-65536", "[2001:db8::1", "[2001:db8::1]80-90", "0.0.0.0", "224.0.0.1", "fe80::1%eth0", "::ffff:10.0.0.1", "10.0.0.1:1-2-3", strings.Repeat("1", 99)} {
		if l, ok := laddr(in); ok {
			t.Errorf("%q: took it as %+v", in, l)
		}
	}
}

// TestDotted: the short way reads what nearly all addresses are, and leaves alone
// what it would read otherwise than the long way.
func TestDotted(t *testing.T) {
	for s, want := range map[string]bool{
		"1.2.3.4": true, "255.255.255.255": true, "0.0.0.0": true, "10.20.30.40": true,
		"256.1.1.1": false, "01.2.3.4": false, "1.2.3": false, "1.2.3.4.5": false, "1..2.3": false, "": false,
		"1.2.3.": false, "1.2.3.4 ": false, "1.2.3.4x": false, ".1.2.3": false, "-1.2.3.4": false,
	} {
		if a, ok := dotted(s); ok != want || ok && a.String() != s {
			t.Errorf("%q: %v, %t", s, a, ok)
		}
	}
}
