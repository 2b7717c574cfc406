// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"unsafe"

	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/ipvs/ipvstest"
)

const connHead = "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData\n"

// kernelLine writes c as the kernel does.
func kernelLine(c connLine) string {
	end := func(ap netip.AddrPort) string {
		if ap.Addr().Is4() {
			b := ap.Addr().As4()
			return fmt.Sprintf("%02X%02X%02X%02X %04X", b[0], b[1], b[2], b[3], ap.Port())
		}
		return fmt.Sprintf("%s %04X", ap.Addr().StringExpanded(), ap.Port())
	}
	line := fmt.Sprintf("%-3s %s %s %s %-11s %7d", c.protocol, end(c.client), end(c.virtual), end(c.server), c.state, c.expires)
	if c.pe != "" {
		line += " " + c.pe + " " + c.peData
	}
	return line
}

// A line of any bytes is read or refused; one that is read says the same when
// it is written as the kernel writes.
func FuzzParseConn(f *testing.F) {
	f.Add("TCP C0A80001 D431 0A000001 0050 0A010001 1F90 ESTABLISHED     899")
	f.Add("UDP C0A80001 D431 0A000001 13C4 0A010001 13C4 UDP             300 sip abc@def")
	f.Add("TCP 2001:0db8:0000:0000:0000:0000:0000:0001 D431 2001:0db8:0000:0000:0000:0000:0000:0002 0050 [::1] 0050 CLOSE 1")
	f.Add("TCP C0A80001 D431 0A000001 0050 0A010001 1F90 NONE -5")
	f.Add("")
	f.Fuzz(func(t *testing.T, line string) {
		c, ok := parseConn(line)
		if !ok || strings.Contains(line, "%") {
			return
		}
		if again, ok := parseConn(kernelLine(c)); !ok || again != c {
			t.Fatalf("%q is %+v, written %q is %+v, %t", line, c, kernelLine(c), again, ok)
		}
	})
}

// Lines that are longer than the pieces stock reads them in are listed whole;
// what is no connection is passed over.
func TestLongConnections(t *testing.T) {
	data := strings.Repeat("d", 100_000)
	a, stderr, out := newTestApp(t, ipvstest.New(), "")
	text := connHead + "UDP C0A80001 D431 0A000001 13C4 0A010001 13C4 UDP             300 sip " + data + "\n" +
		"short\n\n" + strings.Repeat("x", 70_000) + "\n" +
		"TCP C0A80001 D431 0A000001 0050 0A010001 1F90 ESTABLISHED     899"
	if err := os.WriteFile(a.connFile, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	code := a.run(t.Context(), []string{"ipvsadm", "-Lnc", "--persistent-conn"})
	if code != 0 || strings.Count(out.String(), "\n") != 4 || !strings.Contains(out.String(), " sip                "+data+"\n") ||
		!strings.HasSuffix(out.String(), "TCP 14:59  ESTABLISHED 192.168.0.1:54321  10.0.0.1:80        10.1.0.1:8080\n") {
		t.Errorf("exit %d, %s:\n%.300s", code, stderr, strings.ReplaceAll(out.String(), data, "DATA"))
	}
}

// TestLocalTable: each connection has the address that it was given, in no more
// than 16 bytes for each and what their growing takes.
func TestLocalTable(t *testing.T) {
	if size := unsafe.Sizeof(localEntry{}); size > 16 {
		t.Errorf("an entry takes %d bytes", size)
	}
	key := func(i int) connKey {
		end := func(n int) netip.AddrPort {
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(n), byte(i >> 8), byte(i)}), uint16(i))
		}
		return connKey{ipvs.TCP, end(1), end(2), end(3)}
	}
	local := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i % 7)}), uint16(40000-i))
	}
	const n = 20000
	l := newLocalTable()
	for i := range n {
		l.add(key(i), local(i))
	}
	l.sort()
	for i := range n {
		if got := l.find(key(i)); got != local(i) {
			t.Fatalf("connection %d has %v, want %v", i, got, local(i))
		}
	}
	if got := l.find(key(n)); got.IsValid() {
		t.Errorf("a connection that is not there has %v", got)
	}
	var none *localTable
	if got := none.find(key(0)); got.IsValid() {
		t.Errorf("without our module a connection has %v", got)
	}
}
