// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"testing"
)

// FuzzEndNet: what is taken selects something, and reads back from what it means.
func FuzzEndNet(f *testing.F) {
	for _, s := range []string{"10.0.0.1", "10.0.0.0/8:80", "[2001:db8::/32]:80", "[2001:db8::]/32:80", "2001:db8::1", ":80", "::/0", "[::]:1", "1.2.3.4/33", "[", "]:", ":0", "fe80::1%eth0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, port, ok := endNet(s)
		if !ok {
			return
		}
		if !p.IsValid() && port == 0 {
			t.Fatalf("%q selects nothing", s)
		}
		again := fmt.Sprintf(":%d", port)
		switch {
		case p.IsValid() && port == 0:
			again = p.String()
		case p.IsValid():
			again = fmt.Sprintf("[%v]:%d", p, port)
		}
		if q, qport, ok := endNet(again); !ok || q != p || qport != port {
			t.Fatalf("%q is %v %d, %q is %v %d %v", s, p, port, again, q, qport, ok)
		}
	})
}
