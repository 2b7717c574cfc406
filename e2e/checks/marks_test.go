// SPDX-License-Identifier: Apache-2.0

package checks

import (
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testvm"
)

// markedServer is a group with its virtual server; more are lines of the latter.
func markedServer(name, kind, addresses, real, more string) string {
	return fmt.Sprintf("virtual_server_group %s {\n%s\n}\nvirtual_server group %s {\nlb_algo rr\nlb_kind %s\n%s\nreal_server %s {\nweight 1\n}\n}\n",
		name, strings.ReplaceAll(addresses, ", ", "\n"), name, kind, more, real)
}

// marksText is what nft(8) and the distribution's ipvsadm show of a director, elements
// in order: that of the original is the order of their coming.
func marksText(t *testing.T) string {
	t.Helper()
	var text string
	for _, command := range [][]string{{"/usr/sbin/nft", "list", "ruleset"}, {"/sbin/ipvsadm.stock", "-Ln"}} {
		out, err := exec.CommandContext(t.Context(), command[0], command[1:]...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v\n%s", command, err, out)
		}
		text += string(out)
	}
	return regexp.MustCompile(`elements = {[^}]*}`).ReplaceAllStringFunc(text, func(list string) string {
		_, list, _ = strings.Cut(strings.TrimSuffix(list, " }"), "{ ")
		var elements []string
		for e := range strings.SplitSeq(list, ",") {
			elements = append(elements, strings.TrimSpace(e))
		}
		slices.Sort(elements)
		return strings.Join(elements, "\n")
	})
}

// TestServersMarks: nftables_ipvs as keepalived 2.2.7 has it, to the letter of nft's
// listing and of ipvsadm's: tables, maps, chains with their priority, rules, the
// marks and how they are given, at the start, after reloads and at the end.
func TestServersMarks(t *testing.T) {
	testnet.Must(t, testvm.Modprobe("ip_vs"))
	testnet.Must(t, testvm.Modprobe("ip_vs_rr"))
	testnet.Must(t, testvm.Modprobe("nf_tables"))
	globals := func(words string) string { return "global_defs {\n" + words + "\n}\n" }
	one := markedServer("one", "NAT", "10.9.0.1 80", "10.0.2.11 80", "protocol TCP")
	many := markedServer("many", "NAT", "10.9.1.1 80, 10.9.1.3-9 80, 10.9.1.1 443", "10.0.2.11", "protocol TCP\npersistence_timeout 60")
	six := markedServer("six", "NAT", "2001:db8:9::1 80, 2001:db8:9::20-2f 81", "2001:db8:2::11 80", "protocol TCP")
	both := markedServer("both", "TUN", "10.9.2.1 80, 2001:db8:9::3 80", "10.0.2.11 80", "protocol TCP")
	udp := markedServer("udp", "NAT", "10.9.3.1-3 53, 10.9.3.9 53", "10.0.2.11 53", "protocol UDP")
	sctp := markedServer("sctp", "NAT", "10.9.4.1 80", "10.0.2.11 80", "protocol SCTP")
	mixed := markedServer("mixed", "NAT", "10.9.5.1 80, fwmark 7", "10.0.2.11 80", "protocol TCP")
	direct := markedServer("direct", "DR", "10.9.6.1 80", "10.0.2.11 80", "protocol TCP")
	plain := "virtual_server 10.9.9.1 80 {\nlb_algo rr\nlb_kind NAT\nprotocol TCP\nreal_server 10.0.2.11 80 {\nweight 1\n}\n}\n" +
		"virtual_server fwmark 33 {\nlb_algo rr\nlb_kind DR\nreal_server 10.0.2.11 {\nweight 1\n}\n}\n"
	const usual, own = "nftables_ipvs", "nftables_ipvs TT\nnftables_ipvs_priority 17\nnftables_ipvs_start_fwmark 4000\nnftables_counters"
	for _, run := range [][]string{
		{globals(usual) + one + many + six + both + udp + sctp + mixed + direct + plain, globals(usual) + many + both + udp + sctp + markedServer("new", "NAT", "10.9.7.1 80", "10.0.2.11 80", "protocol TCP")},
		{globals(own) + one + udp + plain, globals(own) + one + udp},
		{globals("nftables_ipvs_start_fwmark 9") + one},
	} {
		var seen [2][]string
		for i, path := range []string{stock, ours} {
			p := runProgram(t, path, run[0])
			p.cpu() // until it is idle
			seen[i] = append(seen[i], marksText(t))
			for _, conf := range run[1:] {
				p.reload(conf)
				seen[i] = append(seen[i], marksText(t))
			}
			testnet.Must(t, p.cmd.Process.Signal(syscall.SIGTERM))
			testnet.Must(t, p.cmd.Wait())
			seen[i] = append(seen[i], marksText(t))
		}
		for k := range seen[0] {
			if d := cmp.Diff(seen[0][k], seen[1][k]); d != "" {
				t.Errorf("state %d of\n%s\n-original +ours:\n%s", k, run[0], d)
			}
		}
	}
}
