// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"errors"
	"net/netip"
	"syscall"
	"testing"

	"github.com/lvs-fnat/lvs/ipvs/uapi"
	"github.com/mdlayher/netlink"
)

// extWire answers GET_INFO with features, and all else as answer does.
func extWire(features uint64, answer func(netlink.Message) []netlink.Message) *wire {
	return &wire{main: mainID, ext: extID, features: features, answer: answer}
}

// TestDeleteConns: the filter is always said, so that nothing is deleted by an
// omission, and the kernel's count comes back.
func TestDeleteConns(t *testing.T) {
	w := extWire(uapi.ExtFeatDelConn, func(m netlink.Message) []netlink.Message {
		return append([]netlink.Message{genl(extID, uapi.ExtCmdDelConn, func(ae *encoder) { ae.Uint64(uapi.ExtACount, 3) })}, ack(m)...)
	})
	c := dial(t, w)
	for _, f := range []ConnFilter{{}, {Client: netip.MustParsePrefix("192.0.2.0/24")}} {
		n, err := c.DeleteConns(t.Context(), f)
		if err != nil || n != 3 {
			t.Errorf("%d, %v", n, err)
		}
		sent := w.sends[len(w.sends)-1][0]
		if err := (message{data: sent.Data}).decode(new(decoder), inside(uapi.ExtAFilter, func(ad *decoder) error {
			for ad.Next() {
			}
			return nil
		})); err != nil || sent.Data[0] != uapi.ExtCmdDelConn {
			t.Errorf("sent %v: %v", sent, err)
		}
	}
	old := dial(t, extWire(uapi.ExtFeatFnat, ack))
	if _, err := old.DeleteConns(t.Context(), ConnFilter{}); !errors.Is(err, syscall.EOPNOTSUPP) {
		t.Errorf("without the feature: %v", err)
	}
}

// TestFeaturesOfLimits: nothing is sent that the module does not know.
func TestFeaturesOfLimits(t *testing.T) {
	for _, tc := range []struct {
		op   Op
		need uint64
	}{
		{Op{Kind: SetExt, Ext: Ext{Set: ExtFieldInvalid}}, uapi.ExtFeatFlood},
		{Op{Kind: SetExt, Ext: Ext{Set: ExtFieldCPS}}, uapi.ExtFeatLimits},
		{Op{Kind: SetExt, Ext: Ext{Set: ExtFieldBPSOut | ExtFieldACLSet6}}, uapi.ExtFeatLimits | uapi.ExtFeatAcl},
		{Op{Kind: SetExt, Ext: Ext{Set: ExtFieldFlags, FlagsMask: ExtRSTOnExpire}}, uapi.ExtFeatExpireRst},
		{Op{Kind: SetExtConfig, Config: ExtConfig{Set: ExtConfigDropVIP}}, uapi.ExtFeatFnat | uapi.ExtFeatFlood},
		{Op{Kind: SetExtConfig, Config: ExtConfig{Set: ExtConfigSPEarly}}, uapi.ExtFeatFnat | uapi.ExtFeatSpEarly},
		{Op{Kind: SetExtConfig, Config: ExtConfig{Set: ExtConfigProbes}}, uapi.ExtFeatFnat},
	} {
		if got := tc.op.Needs(); got != tc.need {
			t.Errorf("%v needs %v, want %v", tc.op, FeatureNames(got), FeatureNames(tc.need))
		}
	}
}

// TestShareOfPorts: never above 1, and 0 without ports.
func TestShareOfPorts(t *testing.T) {
	for _, tc := range []struct {
		used, ports uint32
		want        float64
	}{{0, 0, 0}, {4, 0, 0}, {1, 4, 0.25}, {4, 4, 1}, {5, 4, 1}} {
		if got := (LGroup{Ports: tc.ports, PortsUsed: tc.used}).Used(); got != tc.want {
			t.Errorf("%d of %d: %v, want %v", tc.used, tc.ports, got, tc.want)
		}
	}
}
