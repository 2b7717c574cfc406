// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testvm"
)

// findsIn waits until the doctor says all of lines: counters follow packets.
func (b *balanced) findsIn(limit time.Duration, lines ...string) {
	b.t.Helper()
	testnet.Eventually(b.t, limit, func() error {
		out, _ := b.doctor()
		if left := unsaid(out, lines); len(left) > 0 {
			return fmt.Errorf("--doctor does not say %q:\n%s", left, out)
		}
		return nil
	})
}

// number reads a setting of the director.
func (b *balanced) number(file string) int {
	b.t.Helper()
	var text []byte
	testnet.Must(b.t, b.D.Do(func() (err error) {
		text, err = os.ReadFile(file)
		return err
	}))
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	testnet.Must(b.t, err)
	return n
}

// tracked puts a filter at the director's LOCAL_IN that asks for connections' states.
func (b *balanced) tracked() {
	b.t.Helper()
	testnet.Must(b.t, b.D.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		table := c.AddTable(&nftables.Table{Name: "filter", Family: nftables.TableFamilyINet})
		chain := c.AddChain(&nftables.Chain{Name: "in", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter})
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{&expr.Ct{Key: expr.CtKeySTATE, Register: 1}}})
		return c.Flush()
	}))
}

// TestKeepalivedDoctorTraffic: what the doctor learns from packets: a strict filter
// that drops them, a SYN proxy behind somebody else's hooks, connection tracking
// that fills.
func TestKeepalivedDoctorTraffic(t *testing.T) {
	testnet.Must(t, testvm.Modprobe("nf_tables"))
	b := newBalanced(t)
	b.write(strings.ReplaceAll(b.read(), "    protocol TCP\n", "    protocol TCP\n    syn_proxy\n"))
	d := b.run()
	d.wait("Startup complete")
	b.both("through the SYN proxy", testnet.VIP4, 4)
	b.wantFindings(0, "ok rp_filter no strict filter on back, front", "ok conntrack connection tracking is not in the way", "ok synproxy synproxy_early is auto, ")

	testnet.Must(t, b.D.Sysctl("net.ipv4.conf.back.rp_filter", "1"))
	b.wantFindings(0, "note rp_filter strict on back, which has dropped nothing")
	stray := netip.MustParseAddr("10.0.1.77") // whose place is in front
	testnet.Must(t, b.R[0].AddAddr("eth0", netip.PrefixFrom(stray, 32)))
	var c net.Conn
	testnet.Must(t, b.R[0].Do(func() (err error) {
		c, err = net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(stray, 0)), net.UDPAddrFromAddrPort(netip.AddrPortFrom(testnet.DirectorBack4, 9)))
		return err
	}))
	defer c.Close()
	_, err := c.Write([]byte("by another way"))
	testnet.Must(t, err)
	b.findsIn(10*time.Second, "warning rp_filter strict on back, and it has dropped 1 packets", "remedy: sysctl -w net.ipv4.conf.all.rp_filter=2")
	testnet.Must(t, b.D.Sysctl("net.ipv4.conf.back.rp_filter", "0"))

	b.tracked()
	for _, vip := range []netip.Addr{testnet.VIP4, testnet.VIP6} {
		b.both("behind a filter that tracks", vip, 20)
	}
	const count, limit = "/proc/sys/net/netfilter/nf_conntrack_count", "/proc/sys/net/netfilter/nf_conntrack_max"
	for range 20 {
		c, err := b.C[0].DialContext(t.Context(), "udp", netip.AddrPortFrom(testnet.DirectorFront4, 9).String())
		testnet.Must(t, err)
		defer c.Close()
		_, err = c.Write([]byte("tracked"))
		testnet.Must(t, err)
	}
	testnet.Eventually(t, 10*time.Second, func() error {
		if used := b.number(count); used < 20 {
			return fmt.Errorf("%d connections are tracked", used)
		}
		return nil
	})
	b.wantFindings(0, "note synproxy synproxy_early is auto, and", "other hooks of netfilter are in the way", "remedy: 'nft list hooks' tells whose (Debian's 6.1 cannot; 'nft list ruleset' tells of rules); 'synproxy_early on' in global_defs",
		"note conntrack connections are tracked here, those of FNAT are not", "remedy: nft add rule inet FILTER PREROUTING ip daddr { LOCAL ADDRESSES, SERVICES } notrack")

	// Nothing comes while it is full: the kernel would say so for each packet.
	d.signal(syscall.SIGTERM)
	d.ends(0)
	before, err := os.ReadFile(limit)
	testnet.Must(t, err)
	defer func() { testnet.Must(t, os.WriteFile(limit, before, 0)) }()
	used := b.number(count)
	testnet.Must(t, os.WriteFile(limit, fmt.Appendf(nil, "%d", used+1), 0))
	b.wantFindings(0, "warning conntrack ", fmt.Sprintf(" of %d entries of connection tracking are in use", used+1), "remedy: sysctl -w net.netfilter.nf_conntrack_max=")
	testnet.Must(t, os.WriteFile(limit, []byte("1"), 0))
	b.wantFindings(1, "error conntrack ", " of 1 entries of connection tracking are in use: when it is full, new connections are dropped", "remedy: sysctl -w net.netfilter.nf_conntrack_max=2,")
}

// TestKeepalivedDoctorCapacity: what is too small, or merges what it should not, as
// the kernel tells it.
func TestKeepalivedDoctorCapacity(t *testing.T) {
	b := newBalanced(t)
	demo := b.read()
	b.write(strings.Replace(strings.Replace(demo, "    protocol TCP\n", "    protocol TCP\n    conn_limit 100000\n", 1), "router_id demo", "router_id demo\n    lvs_sync_daemon front", 1))
	d := b.run()
	d.wait("Startup complete")
	text, err := os.ReadFile("/run/checkers.pid")
	testnet.Must(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	testnet.Must(t, err)
	// 8 checks, and what else the daemon has open.
	testnet.Must(t, unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 71, Max: 71}, nil))
	b.wantFindings(0, "warning conn_tab_bits the table has 4096 heads (conn_tab_bits=12), and the limits of the configuration allow 100000 connections",
		"remedy: echo 'options ip_vs conn_tab_bits=17' >/etc/modprobe.d/ip_vs.conf, and load ip_vs anew",
		"warning nofile the daemon may open 71 files, and 8 checks may need one each at once", "remedy: LimitNOFILE=144 in keepalived.service",
		"note sync lvs_sync_daemon copies no connections of FNAT", "ok lro no link merges packets by LRO")

	// A host that forwards switches LRO off; FNAT needs no forwarding. A bond can
	// merge as soon as it is there.
	testnet.Must(t, b.D.Sysctl("net.ipv4.ip_forward", "0"), b.D.Sysctl("net.ipv6.conf.all.forwarding", "0"))
	testnet.Must(t, testvm.Modprobe("bonding"), b.D.AddLink(netlink.NewLinkBond(netlink.LinkAttrs{Name: "merging"})))
	b.wantFindings(1, "error lro LRO is on at merging: FNAT drops what it merges", "remedy: ethtool -K LINK lro off")
	d.signal(syscall.SIGTERM)
	d.ends(0)
}
