// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/vrrp"
)

// inject sends an IPv4 packet to a node as if another had.
func (b *bed) inject(node int, packet []byte) {
	b.t.Helper()
	frame := []byte{1, 0, 0x5e, 0, 0, 18, 2, 0, 0, 0, 0, 9, 8, 0}
	for _, p := range b.ports {
		if p.node == node {
			p.send(append(frame, packet...))
		}
	}
}

// reseal repairs the checksums of a packet of version 2 after a change.
func reseal(p []byte) []byte {
	sum := func(b []byte, at int) {
		b[at], b[at+1] = 0, 0
		var s uint32
		for i := 0; i+1 < len(b); i += 2 {
			s += uint32(binary.BigEndian.Uint16(b[i:]))
		}
		for s>>16 != 0 {
			s = s>>16 + s&0xffff
		}
		binary.BigEndian.PutUint16(b[at:], ^uint16(s))
	}
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	sum(p[:20], 10)
	if len(p) >= 28 {
		sum(p[20:], 6)
	}
	return p
}

// TestMalformed: packets that are wrong are counted as the original counts them,
// and not one of them, better priority or not, changes the state.
func TestMalformed(t *testing.T) {
	src, dst := netip.MustParseAddr("192.168.50.9"), vrrp.MulticastIPv4
	good := vrrp.Advert{Version: 2, VRID: 51, Priority: 200, Interval: time.Second, Addrs: []netip.Addr{netip.MustParseAddr(vip)}}
	pass := good
	pass.Auth = vrrp.AuthPass
	copy(pass.Password[:], "secret")
	build := func(a vrrp.Advert, change func([]byte) []byte) []byte {
		p, err := a.AppendIPv4(nil, src, dst, 1, vrrp.TTL, vrrp.ChecksumPseudo, [8]byte{}, 0)
		testnet.Must(t, err)
		return change(p)
	}
	set := func(at int, v byte) func([]byte) []byte {
		return func(p []byte) []byte { p[at] = v; return reseal(p) }
	}
	plain := map[string][]byte{
		"TTL":         build(good, set(8, 254)),
		"short":       build(good, func(p []byte) []byte { return reseal(p[:24]) }),
		"no auth":     build(good, func(p []byte) []byte { return reseal(p[:32]) }),
		"addresses":   build(good, func(p []byte) []byte { p[23] = 3; return reseal(p) }),
		"type":        build(good, set(20, 0x22)),
		"checksum":    build(good, func(p []byte) []byte { p[30] ^= 1; return p }),
		"interval":    build(good, set(25, 2)),
		"auth type":   build(good, set(24, 1)),
		"auth type 7": build(good, set(24, 7)),
		"version":     build(good, set(20, 0x31)),
		"other VRID":  build(good, set(21, 52)),
	}
	wrong := pass
	copy(wrong.Password[:], "wrong!")
	for name, v := range map[string]struct {
		more    string
		packets map[string][]byte
	}{
		"plain": {"", plain},
		"PASS": {"authentication {\n auth_type PASS\n auth_pass secret\n }", map[string][]byte{
			"password": build(wrong, reseal), "none": build(good, reseal), "type 2": build(pass, set(24, 2)),
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			type counted struct {
				name, stats string
			}
			results := make(chan counted, 2)
			t.Run("nodes", func(t *testing.T) {
				for _, p := range []program{c, ours} {
					t.Run(string(p), func(t *testing.T) {
						t.Parallel()
						b := newBed(t, p)
						n := b.nodes[0]
						began := time.Now()
						n.start(vi{prio: 150, more: v.more}.conf())
						b.await("node 0 is master", func(f []frame) bool { return masterSince(f, 0, began) })
						at := time.Now()
						for _, packet := range v.packets {
							b.inject(0, packet)
						}
						frames := b.await("it goes on", func(f []frame) bool { return len(pick(f, from(0), prio(150), after(at))) >= 3 })
						if list := pick(frames, from(0), prio(0)); len(list) > 0 {
							t.Errorf("it resigned: %v", list)
						}
						if !n.has(vip) {
							t.Error("it has given its address up")
						}
						n.signal(syscall.SIGUSR2)
						var text string
						testnet.Eventually(t, limit, func() error {
							b, err := os.ReadFile(n.path("keepalived.stats"))
							if text = string(b); err == nil && !strings.Contains(text, "Priority Zero") {
								err = fmt.Errorf("incomplete: %s", text)
							}
							return err
						})
						_, text, _ = strings.Cut(text, "Packet Errors")
						results <- counted{string(p), text}
					})
				}
			})
			close(results)
			all := map[string]string{}
			for r := range results {
				all[r.name] = r.stats
			}
			// The original drops an interval other than its own without counting it.
			if ours := all["ours"]; name == "plain" {
				counted := strings.Replace(ours, "Advertisement Interval: 1", "Advertisement Interval: 0", 1)
				if counted == ours {
					t.Errorf("the interval was not counted: %s", ours)
				}
				all["ours"] = counted
			}
			if d := cmp.Diff(all["C"], all["ours"]); d != "" {
				t.Errorf("-original +ours:\n%s", d)
			}
		})
	}
}
