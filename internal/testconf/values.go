// SPDX-License-Identifier: Apache-2.0

package testconf

import (
	"fmt"
	"math"
	"strings"
)

// value writes what stands behind a keyword.
type value func(g *gen) string

// none is for words that stand alone.
func none(*gen) string { return "" }

func (g *gen) pick(words ...string) string { return words[g.IntN(len(words))] }

// wrong tells whether the next value is to be a bad one.
func (g *gen) wrong() bool { return g.Float64() < g.faults }

// edge tells whether the next value is to be one that is only just allowed.
func (g *gen) edge() bool { return g.IntN(8) == 0 }

// whole is a whole number from lo to hi.
func whole(lo, hi uint64) value {
	return func(g *gen) string {
		switch {
		case g.wrong():
			bad := []string{fmt.Sprint(hi + 1), "x", "5x", "-1", "", "99999999999999999999", "0x10", "1.5", "1e3", "5,", "- 5", "5-"}
			if lo > 0 {
				bad = append(bad, fmt.Sprint(lo-1))
			}
			return g.pick(bad...)
		case g.edge():
			return g.pick(fmt.Sprint(lo), fmt.Sprint(hi), fmt.Sprintf("00%d", max(lo, 7)), fmt.Sprintf("+%d", max(lo, 5)), fmt.Sprintf("%q", fmt.Sprint(max(lo, 3))))
		}
		return fmt.Sprint(lo + g.Uint64N(min(hi-lo+1, 5)))
	}
}

// signed is a whole number from lo to hi.
func signed(lo, hi int64) value {
	return func(g *gen) string {
		switch {
		case g.wrong():
			return g.pick(fmt.Sprint(hi+1), fmt.Sprint(lo-1), "x", "5x", "", "--5", "1.5")
		case g.edge():
			return g.pick(fmt.Sprint(lo), fmt.Sprint(hi), "0", "-1", "+1")
		}
		return fmt.Sprint(lo + g.Int64N(hi-lo+1))
	}
}

// seconds is a decimal number from lo to hi.
func seconds(lo, hi string) value {
	return func(g *gen) string {
		switch {
		case g.wrong():
			return g.pick("x", "5x", "-1", "", "1e3", "1.2.3", "99999999999999999999999", ".", "0x5", "1,5", "-0.5", "5 s")
		case g.edge():
			return g.pick(lo, hi, "0.5", "7.", ".5", "007", "1.123456", "1.1234567", "0.000001", "2.50")
		}
		return g.pick("1", "2", "3", "1.5", "6", "10", "2.25")
	}
}

func boolean(g *gen) string {
	if g.wrong() {
		return g.pick("maybe", "ON", "1", "0", "True", "onn")
	}
	return g.pick("", "on", "off", "true", "false", "yes", "no", `"on"`)
}

// oneOf is one of words, in their letters.
func oneOf(words string) value {
	return func(g *gen) string {
		if g.wrong() {
			return g.pick("x", "", strings.ToLower(words), g.pick(strings.Fields(words)...)+"x", strings.ToLower(g.pick(strings.Fields(words)...)), strings.ToUpper(g.pick(strings.Fields(words)...)))
		}
		return g.pick(strings.Fields(words)...)
	}
}

func text(g *gen) string {
	if g.wrong() {
		return g.pick("", `"`, `"a b`, `a"b`, "''", `""`)
	}
	return g.pick("name", "a.example", `"two words"`, "a-b_c", "é", "'quoted'", `a\b`)
}

// ip is an address of one family.
func (g *gen) ip(v6 bool) string {
	if g.wrong() {
		return g.pick("10.0.0", "10.0.0.256", "x", "", "10.0.0.1.2", "fd00::g", "::1::2", "10.0.0.0x1", "localhost", "010.0.0.1", "10.0.0.1/33", "1:2:3:4:5:6:7:8:9", "[fd00::1]")
	}
	if v6 {
		return fmt.Sprintf("fd00::%x", 1+g.IntN(40))
	}
	return fmt.Sprintf("10.0.%d.%d", g.IntN(3), 1+g.IntN(40))
}

func ip(g *gen) string { return g.ip(g.v6) }

func port(g *gen) string {
	if g.wrong() {
		return g.pick("65536", "-1", "x", "http", "80x", "0x50", "80 90", "99999999999")
	}
	return fmt.Sprint(8000 + g.IntN(30))
}

func address(g *gen) string {
	a := g.ip(g.v6)
	if g.wrong() {
		return g.pick(a+":80", a+"/24 80", a+" 0", a+" "+port(g), "fwmark 5", a+"-9 80")
	}
	if g.IntN(6) == 0 {
		return a
	}
	return a + " " + port(g)
}

func method(g *gen) string {
	if g.wrong() {
		return g.pick("", "nat", "FNATT", "TUN type", "TUN type x", "TUN type gue port", "TUN type gue", "TUN type gue port 0", "TUN type gue port x", "TUN type gre remcsum", "TUN port 5", "DR type ipip", "NAT NAT", "TUN csum nocsum", "ROUTE", "TUN type ipip csum")
	}
	if g.IntN(3) > 0 {
		return "NAT"
	}
	return g.pick("NAT", "DR", "TUN", "TUN type ipip", "TUN type gue port 5555", "TUN type gue port 5555 remcsum", "TUN type gre csum", "TUN type gre nocsum", "TUN type gue port 1 csum")
}

func granularity(g *gen) string {
	if g.wrong() {
		return g.pick("", "x", "255.255.255", "129", "-1", "300.0.0.0", "33")
	}
	if g.v6 {
		return g.pick("64", "128", "1", "48")
	}
	return g.pick("255.255.255.0", "255.255.255.255", "255.0.0.0")
}

func script(g *gen) string {
	if g.rates.Settled {
		return "/bin/sh"
	}
	if g.wrong() {
		return g.pick("", "/none/at/all", `"/bin/true`, `'/bin/true'`, "/etc/passwd", "/bin", `""`, `"/bin/true" nobodyx`, `"/bin/true" root nogroupx`, "true", `"/bin/true \"a"`)
	}
	return g.pick("/bin/true", `"/bin/true a b"`, `"/bin/true" root`, `"/bin/true" root root`, `"/bin/true 'a b' c"`)
}

func hex(g *gen) string {
	if g.wrong() {
		return g.pick("", "6", "6g", "616", "0x61", "XX")
	}
	return g.pick("61", "6162", "61 62", `"61 62"`, "DEADbeef", "00")
}

func reply(g *gen) string {
	if g.wrong() {
		return g.pick("6", "6g", "616", "0x61")
	}
	return g.pick("", "61", "6X62", "61 62", "XX", "xx61")
}

func codes(g *gen) string {
	if g.wrong() {
		return g.pick("", "99", "600", "200-", "-200", "300-200", "x", "200,201", "200-600", "2xx")
	}
	return g.pick("200", "200-299", "200 301-302 404", "100", "599", "100-599", "200-200")
}

func digest(g *gen) string {
	if g.wrong() {
		return g.pick("", "abc", strings.Repeat("g", 32), strings.Repeat("a", 33), strings.Repeat("a", 31))
	}
	return g.pick(strings.Repeat("a", 32), "0123456789abcdef0123456789ABCDEF")
}

func regex(g *gen) string {
	if g.wrong() {
		return g.pick("", `"("`, "[", `"a`, "*")
	}
	return g.pick("abc", `"a b"`, `"a.*b"`, "^x$", `"\\d+"`)
}

func regexOptions(g *gen) string {
	if g.wrong() {
		return g.pick("", "nocase", "caseless x")
	}
	return g.pick("caseless", "multiline dotall", "utf", "extended ungreedy")
}

func path(g *gen) string {
	if g.wrong() {
		return g.pick("", `"/a`)
	}
	return g.pick("/", "/a?b=c", `"/a b"`, "a", "/é")
}

func timeouts(g *gen) string {
	if g.wrong() {
		return g.pick("", "tcp", "tcp x", "tcp -1", "tcp 2678401", "foo 5", "tcp 5 udp", "5")
	}
	return g.pick("tcp 5", "tcp 900 tcpfin 120 udp 300", "udp 0", "tcp 2678400", "tcpfin 7 tcp 3")
}

func fileWeight(g *gen) string {
	if g.wrong() {
		return g.pick("", "x", "5x", "2147483648", "1 reversed", "1 1")
	}
	return g.pick("1", "-1", "0", "254", "-254", "2 reverse", "+3")
}

func initFile(g *gen) string {
	if g.wrong() {
		return g.pick("x", "5 5", "5x", "overwritten", "99999999999")
	}
	return g.pick("", "5", "-3", "7 overwrite", "overwrite", "overwrite 7")
}

func dnsType(g *gen) string {
	if g.wrong() {
		return g.pick("", "PTR", "x", "ANY", "SRV", "28")
	}
	return g.pick("A", "a", "NS", "CNAME", "SOA", "MX", "TXT", "AAAA", "aaaa", "RRSIG", "DNSKEY")
}

func dnsName(g *gen) string {
	if g.wrong() {
		return g.pick("", "a..b", strings.Repeat("a", 64)+".b", "..")
	}
	return g.pick(".", "example.com", "example.com.", "a", "_x.example", strings.Repeat("a", 63)+".b")
}

// groupEntry is a line of a virtual_server_group.
func groupEntry(g *gen) string {
	if g.wrong() {
		return g.pick("fwmark", "fwmark x", "fwmark 5 inet7", "10.0.0.9-5 80", "10.0.0.1-256 80", "10.0.0.1 x", "10.0.0.1 80-70", "10.0.0.1-fd00::5 80", "x 80", "10.0.0.1 70000", "10.0.0.0/24 80", "10.0.0.1-x 80", "10.0.0.1 80 90", "fd00::1-5g 80")
	}
	if g.v6 {
		n := 0x100 + g.IntN(0x100)
		return g.pick(fmt.Sprintf("fd01::%x 80", n), fmt.Sprintf("fd01::%x-%x 80", n, n+3), fmt.Sprintf("fwmark %d inet6", n), fmt.Sprintf("fd01::%x", n))
	}
	n := g.IntN(200)
	return g.pick(fmt.Sprintf("10.1.1.%d 80", n), fmt.Sprintf("10.1.2.%d-%d 80", n, n+3), fmt.Sprintf("fwmark %d", 1+n),
		fmt.Sprintf("10.1.4.%d", n), fmt.Sprintf("fwmark %d inet", 1+n), fmt.Sprintf("10.1.5.%d-10.1.5.%d 80", n, n+2))
}

var (
	anyInt    = whole(0, math.MaxUint32)
	positive  = whole(1, math.MaxUint32)
	weight    = whole(0, math.MaxInt32)
	delay     = seconds("0", "18446744073709")
	loop      = seconds("0.000001", "18446744073709")
	connect   = seconds("0.000001", "4294.967295")
	fileLimit = whole(0, 65535)
)
