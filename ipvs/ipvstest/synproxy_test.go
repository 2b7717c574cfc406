// SPDX-License-Identifier: Apache-2.0

package ipvstest

import (
	"errors"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/lvs-fnat/lvs/ipvs"
)

func synproxyMode(m ipvs.SynproxyMode) ipvs.Ext {
	var e ipvs.Ext
	e.SetSynproxy(m)
	return e
}

func setExt(e ipvs.Ext) ipvs.Op { return ipvs.Op{Kind: ipvs.SetExt, Service: vip, Ext: e} }

func spOpts(on, mask ipvs.SPOpts) ipvs.Ext {
	return ipvs.Ext{Set: ipvs.ExtFieldSPOpts, SP: ipvs.Synproxy{Opts: on, OptsMask: mask}}
}

// TestSynproxyModes: each mode is read back as it was asked for, and prints
// as the options that ask for it again.
func TestSynproxyModes(t *testing.T) {
	for _, tc := range []struct {
		mode  ipvs.SynproxyMode
		words string
	}{
		{ipvs.SynproxyOn, " --synproxy on"},
		{ipvs.SynproxyAuto, " --synproxy auto"},
		{ipvs.SynproxyOff, ""},
	} {
		table := New()
		if err := table.Apply(t.Context(), append(build(), setExt(synproxyMode(ipvs.SynproxyOn)), setExt(synproxyMode(tc.mode)))...); err != nil {
			t.Fatal(err)
		}
		got, err := table.ExtService(t.Context(), vip.ServiceKey)
		if err != nil || got.Flags.Synproxy() != tc.mode || got.SP.Active != (tc.mode == ipvs.SynproxyOn) {
			t.Errorf("%v: read back as %v, active %t, %v", tc.mode, got.Flags.Synproxy(), got.SP.Active, err)
		}
		if want := "--lgroup g --fullnat" + tc.words + "\n"; !strings.Contains(table.String(), want) {
			t.Errorf("%v prints as\n%s", tc.mode, table)
		}
		if m, err := ipvs.ParseSynproxyMode(tc.mode.String()); m != tc.mode || err != nil {
			t.Errorf("%v: parsed as %v, %v", tc.mode, m, err)
		}
	}
	if _, err := ipvs.ParseSynproxyMode("yes"); err == nil {
		t.Error("a mode that is none was taken")
	}
}

// TestSynproxySettings: what is set is read back and printed, the rest stays.
func TestSynproxySettings(t *testing.T) {
	table := New()
	e := ipvs.Ext{Set: ipvs.ExtFieldSP &^ (ipvs.ExtFieldSPTTL | ipvs.ExtFieldSPQueue), SP: ipvs.Synproxy{
		MSS: 1300, WScale: ipvs.SPWScaleOff, Opts: ipvs.SPOptTS, OptsMask: ipvs.SPOptTS | ipvs.SPOptSACK,
		Window: 0, SYNRetries: 5, AutoOn: 100, AutoOff: 10}}
	if err := table.Apply(t.Context(), append(build(), setExt(e))...); err != nil {
		t.Fatal(err)
	}
	const want = " --synproxy-mss 1300 --synproxy-wscale off --synproxy-opts no-sack,ts --synproxy-window 0 " +
		"--synproxy-retries 5 --synproxy-auto-on 100 --synproxy-auto-off 10\n"
	if !strings.Contains(table.String(), want) {
		t.Errorf("got\n%swant %s", table, want)
	}
	got, err := table.ExtService(t.Context(), vip.ServiceKey)
	if err != nil || got.SP.TTL != 64 || got.SP.Queue != 16 || got.SP.Opts != ipvs.SPOptTS {
		t.Errorf("got %+v, %v", got.SP, err)
	}
}

func TestSynproxyRefusals(t *testing.T) {
	udp, ops, ftp := vip, vip, vip
	udp.Protocol, ops.Flags, ftp.Port = ipvs.UDP, ipvs.FlagOnePacket, 21
	dr := dest
	dr.Addr, dr.Forward = netip.MustParseAddr("10.1.0.2"), ipvs.DirectRoute
	on := synproxyMode(ipvs.SynproxyOn)
	sp := func(field ipvs.ExtField, s ipvs.Synproxy) ipvs.Ext { return ipvs.Ext{Set: field, SP: s} }
	for _, tc := range []struct {
		first []ipvs.Op
		op    ipvs.Op
		errno syscall.Errno
		text  string
	}{
		{[]ipvs.Op{{Kind: ipvs.AddService, Service: udp}}, ipvs.Op{Kind: ipvs.SetExt, Service: udp, Ext: on}, syscall.EPROTONOSUPPORT, "SYNPROXY is TCP only"},
		{[]ipvs.Op{{Kind: ipvs.SetService, Service: ops}}, setExt(on), syscall.EOPNOTSUPP, "one-packet scheduling has no reply path for SYNPROXY"},
		{[]ipvs.Op{{Kind: ipvs.AddService, Service: ftp}}, ipvs.Op{Kind: ipvs.SetExt, Service: ftp, Ext: on}, syscall.EOPNOTSUPP, "not with application helpers"},
		{[]ipvs.Op{{Kind: ipvs.AddDest, Service: vip, Dest: dr}}, setExt(on), syscall.EOPNOTSUPP, "SYNPROXY needs NAT or FNAT destinations: dest 10.1.0.2:8080 is DR"},
		{[]ipvs.Op{setExt(on)}, ipvs.Op{Kind: ipvs.AddDest, Service: vip, Dest: dr}, syscall.EOPNOTSUPP, ""},
		{nil, setExt(ipvs.Ext{Set: ipvs.ExtFieldFlags, Flags: ipvs.ExtSPAuto, FlagsMask: ipvs.ExtSPAuto}), syscall.EINVAL, "SP_DEFER and SP_AUTO need SYNPROXY"},
		{nil, setExt(sp(ipvs.ExtFieldSPMSS, ipvs.Synproxy{MSS: 87})), syscall.ERANGE, "SP_MSS is 0 or 88 to 65495"},
		{nil, setExt(sp(ipvs.ExtFieldSPWScale, ipvs.Synproxy{WScale: 15})), syscall.ERANGE, "SP_WSCALE is 0 to 14, or 255 for none"},
		{nil, setExt(sp(ipvs.ExtFieldSPTTL, ipvs.Synproxy{})), syscall.ERANGE, "integer out of range"},
		{nil, setExt(spOpts(ipvs.SPOptECN, ipvs.SPOptECN)), syscall.EOPNOTSUPP, "a cookie has no room for ECN"},
		{nil, setExt(sp(ipvs.ExtFieldSPAutoOff, ipvs.Synproxy{AutoOff: 1024})), syscall.EINVAL, "SP_AUTO_OFF must be less than SP_AUTO_ON"},
	} {
		table := New()
		if err := table.Apply(t.Context(), append(build(), tc.first...)...); err != nil {
			t.Fatal(err)
		}
		before := table.String()
		err := table.Apply(t.Context(), tc.op)
		var op *ipvs.OpError
		if !errors.Is(err, tc.errno) || !errors.As(err, &op) || op.Message != tc.text {
			t.Errorf("%v: %v", tc.op, err)
		}
		if table.String() != before {
			t.Errorf("%v changed the table", tc.op)
		}
	}
}

// TestCookieKeyStaysHidden: nothing that prints an operation prints the key.
func TestCookieKeyStaysHidden(t *testing.T) {
	key, err := ipvs.ParseCookieKey("000102030405060708090a0b0c0d0eff")
	if err != nil || key[15] != 0xff {
		t.Fatal(key[15], err)
	}
	for _, bad := range []string{"", "00", "000102030405060708090a0b0c0d0eff00", "zz0102030405060708090a0b0c0d0eff"} {
		if _, err := ipvs.ParseCookieKey(bad); err == nil || bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	op := ipvs.Op{Kind: ipvs.SetExtConfig, Config: ipvs.ExtConfig{Set: ipvs.ExtConfigCookieKey | ipvs.ExtConfigSPQMem, SPQMem: 4096, CookieKey: key}}
	table := New()
	if err := table.Apply(t.Context(), op); err != nil {
		t.Fatal(err)
	}
	if want := "--set-ext --synproxy-memory 4096 --cookie-key (hidden)"; op.String() != want {
		t.Errorf("got %s", op)
	}
	got, err := table.ExtConfig(t.Context())
	if err != nil || got.SPQMem != 4096 || got.CookieKey != (ipvs.CookieKey{}) || got.Set&ipvs.ExtConfigCookieKey != 0 {
		t.Errorf("got %+v, %v", got, err)
	}
}
