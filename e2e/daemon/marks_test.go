// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/internal/firewall"
	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testvm"
)

// TestKeepalivedMarks: with nftables_ipvs two ports of a virtual_server_group, and two
// addresses, are one FNAT service by a firewall mark, which serves them all; with the
// rules gone nothing is served until a reload puts them back.
func TestKeepalivedMarks(t *testing.T) {
	testnet.Must(t, testvm.Modprobe("nf_tables"))
	b := newBalanced(t)
	demo := b.read()
	group := "virtual_server_group four {\n    10.0.1.100 80\n    10.0.1.100 8080\n}\nvirtual_server_group six {\n    2001:db8:1::100 80\n    2001:db8:1::100 8080\n}\n"
	b.write(group + strings.NewReplacer("router_id demo", "nftables_ipvs", "virtual_server 10.0.1.100 80", "virtual_server group four",
		"virtual_server 2001:db8:1::100 80", "virtual_server group six").Replace(demo))
	d := b.run()
	d.wait("Startup complete")
	if services, _ := b.left(); len(services) != 4 { // two of them for UDP
		t.Errorf("services: %v", services)
	}
	ask := func(what string, port uint16, want bool) {
		t.Helper()
		for _, vip := range []netip.Addr{testnet.VIP4, testnet.VIP6} {
			client := &http.Client{Transport: &http.Transport{DialContext: b.C[0].DialContext, DisableKeepAlives: true}, Timeout: 5 * time.Second}
			resp, err := client.Get("http://" + netip.AddrPortFrom(vip, port).String() + "/")
			if err == nil {
				resp.Body.Close()
			}
			if (err == nil) != want {
				t.Errorf("%s: port %d of %s: %v", what, port, vip, err)
			}
		}
	}
	for _, vip := range []netip.Addr{testnet.VIP4, testnet.VIP6} {
		b.both("by marks", vip, 4)
	}
	ask("at the start", 8080, true)
	ask("no service", 81, false)
	m, err := firewall.NewMarker(firewall.MarkOptions{NetNS: b.D.FD()})
	testnet.Must(t, err)
	testnet.Must(t, m.Set(nil))
	d.signal(syscall.SIGUSR1)
	d.wait("IPVS: somebody has changed the tables in 1 places")
	ask("without the rules", 80, false)
	d.signal(syscall.SIGHUP)
	d.wait("Reload complete")
	ask("after a reload", 80, true)
	d.signal(syscall.SIGTERM)
	d.ends(0)
	b.empty()
	if left, err := m.Read(); len(left) > 0 || err != nil {
		t.Errorf("left of the marks: %v %v", left, err)
	}
}
