// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testvm"
	"github.com/lvs-fnat/lvs/ipvs"
)

// TestUnload ends every run on our ip_vs, being last by the name of its file: no
// test left a connection in memory, and the module goes, under load, with
// connections, groups and local addresses in place, and comes back.
func TestUnload(t *testing.T) {
	needOurs(t)
	noConnections(t)
	for _, f := range fams {
		t.Run("34_rmmod_under_load_"+f.name, func(t *testing.T) {
			r := buildRig(t, f)
			r.bothServices(t)
			stop := make(chan struct{})
			wg := r.load(t, stop)
			testnet.Eventually(t, 2*time.Minute, func() error {
				if n := len(r.conns(t)); n < 200 {
					return fmt.Errorf("%d connections, want 200", n)
				}
				return nil
			})
			if err := testvm.Rmmod("ip_vs", 0); err == nil {
				t.Error("ip_vs was unloaded below a service")
			}
			testnet.Must(t, r.x.Apply(t.Context(), ipvs.Op{Kind: ipvs.Flush}), unloadSchedulers(), testvm.Rmmod("ip_vs", 2*time.Minute))
			testnet.Must(t, testvm.Modprobe("ip_vs"))
			// The same namespace, as new.
			r.bothServices(t)
			testnet.Eventually(t, 2*time.Minute, func() error {
				if n := len(r.conns(t)); n < 50 {
					return fmt.Errorf("%d connections with the module loaded again, want 50", n)
				}
				return nil
			})
			close(stop)
			wg.Wait()
			testnet.Must(t, r.x.Apply(t.Context(), ipvs.Op{Kind: ipvs.Flush}), unloadSchedulers(), testvm.Rmmod("ip_vs", 2*time.Minute))
			testnet.Must(t, r.front.Close(), r.back.Close(), r.x.Close(), r.d.Close(), r.w.Close(), testvm.Modprobe("ip_vs"))
		})
	}
}

// unloadSchedulers removes what stands on ip_vs.
func unloadSchedulers() error {
	loaded, err := testvm.Loaded()
	if err != nil {
		return err
	}
	for _, m := range loaded {
		if m == "xt_ipvs" || strings.HasPrefix(m, "ip_vs_") {
			if err := testvm.Rmmod(m, time.Minute); err != nil {
				return err
			}
		}
	}
	return nil
}
