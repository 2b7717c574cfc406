// SPDX-License-Identifier: Apache-2.0

package firewall

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/lvs-fnat/lvs/internal/testnet"
)

func mark(protocol uint8, first, last string, port uint16, n uint32) Mark {
	return Mark{protocol, netip.MustParseAddr(first), netip.MustParseAddr(last), port, n}
}

// TestNetnsMarks: what is set is what is read, by another process too; it is
// replaced as a whole, is told when it is damaged, and tables of others stay.
func TestNetnsMarks(t *testing.T) {
	ns := testnet.New(t, "marks")
	testnet.Must(t, ns.Do(func() error {
		c, err := nftables.New()
		testnet.Must(t, err)
		c.AddTable(&nftables.Table{Name: "others", Family: nftables.TableFamilyIPv4})
		testnet.Must(t, c.Flush())
		m, err := NewMarker(MarkOptions{Priority: -1, Counters: true})
		testnet.Must(t, err)
		holds := func(what string, want []Mark) {
			t.Helper()
			other, err := NewMarker(MarkOptions{})
			testnet.Must(t, err)
			got, err := other.Read()
			if d := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" || err != nil {
				t.Errorf("%s: %v, -want +got:\n%s", what, err, d)
			}
		}
		holds("before", nil)
		testnet.Must(t, m.Set(nil))
		both := []Mark{
			mark(unix.IPPROTO_TCP, "192.0.2.1", "192.0.2.1", 80, 1000),
			mark(unix.IPPROTO_TCP, "192.0.2.9", "192.0.2.40", 80, 4294967295),
			mark(unix.IPPROTO_TCP, "192.0.2.1", "192.0.2.1", 443, 1000),
			mark(unix.IPPROTO_UDP, "192.0.2.1", "192.0.2.1", 53, 7),
			mark(unix.IPPROTO_SCTP, "192.0.2.1", "192.0.2.1", 53, 8),
			mark(unix.IPPROTO_TCP, "2001:db8::1", "2001:db8::1f", 80, 1000),
		}
		slices.SortFunc(both, Mark.Compare)
		testnet.Must(t, m.Set(both))
		holds("set", both)
		many := []Mark{}
		for i := range 3000 {
			a := netip.AddrFrom4([4]byte{10, 0, byte(i >> 7), byte(i&127) * 2})
			many = append(many, Mark{unix.IPPROTO_TCP, a, a, 80, uint32(1000 + i)})
		}
		testnet.Must(t, m.Set(many))
		holds("replaced", many)
		table := &nftables.Table{Name: marksTable, Family: nftables.TableFamilyIPv4}
		c.FlushChain(&nftables.Chain{Name: chainName, Table: table})
		testnet.Must(t, c.Flush())
		holds("without its rule", nil)
		c.DelTable(table)
		testnet.Must(t, c.Flush())
		testnet.Must(t, m.Set(both))
		holds("after somebody flushed", both)
		testnet.Must(t, m.Set(nil))
		if d := cmp.Diff("2 others", rules(t)); d != "" {
			t.Errorf("at the end, -want +got:\n%s", d)
		}
		return nil
	}))
}
