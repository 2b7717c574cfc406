// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/vrrp"
)

// inject sends an IP packet to a node as if another had.
func (b *bed) inject(node int, packet []byte) {
	b.t.Helper()
	mac, err := b.nodes[node].MAC("eth0")
	testnet.Must(b.t, err)
	frame := append([]byte(mac), 2, 0, 0, 0, 0, 9, 8, 0)
	switch six := packet[0]>>4 == 6; {
	case six && packet[24] == 0xff:
		copy(frame, []byte{0x33, 0x33, 0, 0, 0, 0x12})
	case !six && packet[16] == 224:
		copy(frame, []byte{1, 0, 0x5e, 0, 0, 18})
	}
	if packet[0]>>4 == 6 {
		frame[12], frame[13] = 0x86, 0xdd
	}
	for _, p := range b.ports {
		if p.node == node {
			p.send(append(frame, packet...))
		}
	}
}

// forgery makes packets that are right but for what a test changes.
type forgery struct {
	vrrp.Advert
	src, dst netip.Addr
	sequence uint32 // of AH
	key      [8]byte
}

// packet has the message changed, its checksum made right again, and then the whole
// packet changed; what IP itself checks is right in any case. Nil changes nothing.
func (f forgery) packet(t testing.TB, message func([]byte) []byte, whole func([]byte)) []byte {
	t.Helper()
	if f.Auth == vrrp.AuthAH { // whose digest covers all
		p, err := f.AppendIPv4(nil, f.src, f.dst, 1, vrrp.TTL, vrrp.ChecksumPseudo, f.key, f.sequence)
		testnet.Must(t, err)
		if whole != nil {
			whole(p)
		}
		binary.BigEndian.PutUint16(p[10:], 0)
		binary.BigEndian.PutUint16(p[10:], internetSum(p[:20], 0))
		return p
	}
	m, err := f.Append(nil, f.src, f.dst, vrrp.ChecksumPseudo)
	testnet.Must(t, err)
	if message != nil {
		m = message(m)
	}
	if len(m) >= 8 {
		m[6], m[7] = 0, 0
		before := uint32(0)
		if m[0]>>4 == 3 || f.src.Is6() {
			before = uint32(len(m)) + vrrp.Protocol
			for _, a := range []netip.Addr{f.src, f.dst} {
				before += ^uint32(0) & uint32(^internetSum(a.AsSlice(), 0))
			}
		}
		binary.BigEndian.PutUint16(m[6:], internetSum(m, before))
	}
	var p []byte
	if f.src.Is6() {
		p = []byte{0x60, 0, 0, 0, 0, byte(len(m)), vrrp.Protocol, vrrp.TTL}
		p = append(append(p, f.src.AsSlice()...), f.dst.AsSlice()...)
	} else {
		p = []byte{0x45, 0xc0, 0, byte(20 + len(m)), 0, 1, 0, 0, vrrp.TTL, vrrp.Protocol, 0, 0}
		p = append(append(p, f.src.AsSlice()...), f.dst.AsSlice()...)
	}
	p = append(p, m...)
	if whole != nil {
		whole(p)
	}
	if !f.src.Is6() {
		binary.BigEndian.PutUint16(p[10:], 0)
		binary.BigEndian.PutUint16(p[10:], internetSum(p[:20], 0))
	}
	return p
}

// internetSum is the checksum of RFC 1071.
func internetSum(b []byte, before uint32) uint16 {
	for i := 0; i+1 < len(b); i += 2 {
		before += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for before>>16 != 0 {
		before = before>>16 + before&0xffff
	}
	return ^uint16(before)
}

// class is one way for a packet to be wrong, with the counters for it, "" for none.
type class struct {
	name         string
	ours, theirs string
	packet       func(t testing.TB, f forgery) []byte
}

// both have the same counter for a class.
func both(name, counter string, packet func(testing.TB, forgery) []byte) class {
	return class{name, counter, counter, packet}
}

// believed is the counter of a class that the original takes for right.
const believed = "believed"

// Counters of the statistics.
const (
	cLength    = "Packet Errors: Length"
	cTTL       = "Packet Errors: TTL"
	cType      = "Packet Errors: Invalid Type"
	cInterval  = "Packet Errors: Advertisement Interval"
	cAddresses = "Packet Errors: Address List"
	cAuthType  = "Authentication Errors: Invalid Type"
	cAuthMatch = "Authentication Errors: Type Mismatch"
	cAuth      = "Authentication Errors: Failure"
)

// in changes one byte of the message.
func in(at int, v byte) func(testing.TB, forgery) []byte {
	return func(t testing.TB, f forgery) []byte {
		return f.packet(t, func(m []byte) []byte { m[at] = v; return m }, nil)
	}
}

// cut leaves so many bytes of the message.
func cut(n int) func(testing.TB, forgery) []byte {
	return func(t testing.TB, f forgery) []byte {
		return f.packet(t, func(m []byte) []byte { return m[:n] }, nil)
	}
}

// lists are lists of addresses other than ours, which are counted. Ours believes such a
// packet, as keepalived does since 2.3.3, and so they are of a priority below all.
func lists(f forgery) []class {
	with := func(addrs ...netip.Addr) func(testing.TB, forgery) []byte {
		return func(t testing.TB, f forgery) []byte {
			f.Priority, f.Addrs = 1, addrs
			f.sequence += uint32(len(addrs)) << 10 // beyond what is sent meanwhile
			return f.packet(t, nil, nil)
		}
	}
	return []class{
		both("another address", cAddresses, with(f.src)),
		both("one address more", cAddresses, with(f.Addrs[0], f.src)),
	}
}

// classes are those of a version and family that every variant has.
func classes(f forgery) []class {
	ttl, checksum := 8, 20+6
	if f.src.Is6() {
		ttl, checksum = 7, 40+6
	}
	all := []class{
		{"less than a header", cLength, "", cut(7)},
		both("an address is missing", cLength, cut(8)),
		both("more addresses said than there are", cLength, in(3, 9)),
		both("type", cType, in(0, byte(f.Version)<<4|2)),
		both("other VRID", "", in(1, 99)),
		both("VRID 0", "", in(1, 0)),
		both("checksum", "", func(t testing.TB, f forgery) []byte {
			return f.packet(t, nil, func(p []byte) { p[checksum] ^= 0x55 })
		}),
	}
	if f.dst.IsMulticast() {
		all = append(all, both("TTL", cTTL, func(t testing.TB, f forgery) []byte {
			return f.packet(t, nil, func(p []byte) { p[ttl] = 254 })
		}))
	}
	// The original takes the message of another version for one of a wrong length, where
	// that differs.
	theirs := ""
	if f.Version == 2 {
		theirs = cLength
	}
	for _, v := range []byte{1, 4, 5 - byte(f.Version)} {
		if v != 2 { // which would end before its authentication data
			all = append(all, class{fmt.Sprintf("version %d", v), "", theirs, in(0, v<<4|1)})
		}
	}
	if f.Version == 3 {
		return append(all, class{"interval 0", cInterval, believed, in(5, 0)})
	}
	all = append(all,
		class{"interval", cInterval, "", in(5, 2)},
		both("no authentication data", cLength, cut(12)),
		both("auth type 7", cAuthType, in(4, 7)),
		both("auth type of AH", cAuthMatch, in(4, 2)))
	if f.Auth != vrrp.AuthPass {
		return append(all, both("auth type of PASS", cAuthMatch, in(4, 1)))
	}
	return append(all, both("no auth type", cAuthMatch, in(4, 0)), both("password", cAuth, func(t testing.TB, f forgery) []byte {
		copy(f.Password[:], "wrong!")
		return f.packet(t, nil, nil)
	}))
}

// ahClasses are those of an authentication header: whatever is changed after it was
// made spoils the digest.
func ahClasses() []class {
	whole := func(change func(p []byte)) func(testing.TB, forgery) []byte {
		return func(t testing.TB, f forgery) []byte { return f.packet(t, nil, change) }
	}
	return []class{
		both("TTL", cTTL, whole(func(p []byte) { p[8] = 254 })),
		both("digest", cAuth, whole(func(p []byte) { p[20+12] ^= 1 })),
		both("security index", cAuth, whole(func(p []byte) { p[20+4] ^= 1 })),
		both("message", cAuth, whole(func(p []byte) { p[44+2]-- })),
		both("key", cAuth, func(t testing.TB, f forgery) []byte { copy(f.key[:], "wrong!"); return f.packet(t, nil, nil) }),
		both("replayed", cAuth, func(t testing.TB, f forgery) []byte { f.sequence = 0; return f.packet(t, nil, nil) }),
	}
}

// TestMalformed: packets that are wrong are counted as the original counts them,
// and not one of them changes the state: neither does a better priority end the
// master, nor a resignation make a backup take over.
func TestMalformed(t *testing.T) {
	pass, ah := vrrp.AuthPass, vrrp.AuthAH
	var secret [8]byte
	copy(secret[:], "secret")
	for name, v := range map[string]struct {
		version int
		six     bool
		unicast bool
		auth    vrrp.AuthType
	}{
		"v2": {version: 2}, "v2 unicast": {version: 2, unicast: true}, "PASS": {version: 2, auth: pass}, "AH": {version: 2, auth: ah},
		"v3": {version: 3}, "v3 unicast": {version: 3, unicast: true},
		"IPv6": {version: 3, six: true}, "IPv6 unicast": {version: 3, six: true, unicast: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			net, group := "192.168.50.", vrrp.MulticastIPv4
			router := vi{version: v.version, vips: []string{vip}}
			if v.six {
				net, group, router.vips = "fe80::50:", vrrp.MulticastIPv6, []string{"fe80::50:64"}
			}
			if v.auth != vrrp.AuthNone {
				router.more = fmt.Sprintf("authentication {\n auth_type %v\n auth_pass secret\n }", v.auth)
			}
			// forge is what would end the reign of node 0, or make node 1 begin one.
			forge := func(node int) forgery {
				f := forgery{src: netip.MustParseAddr(net + "9"), dst: group, sequence: 1 << 28, key: secret,
					Advert: vrrp.Advert{Version: v.version, VRID: 51, Interval: time.Second, Auth: v.auth, Addrs: []netip.Addr{netip.MustParseAddr(router.vips[0])}}}
				if v.auth == vrrp.AuthPass {
					f.Password = secret
				}
				if node == 0 {
					f.Priority = 200
				}
				if v.unicast {
					f.dst = netip.MustParseAddr(net + strconv.Itoa(node+1))
				}
				return f
			}
			list := classes(forge(0))
			if v.auth == vrrp.AuthAH {
				list = ahClasses()
			}
			// A backup that has believed the number of one would refuse its master's.
			sent := [2][]class{append(lists(forge(0)), list...), list}
			want := func(p program, node int) map[string]int {
				m := map[string]int{cLength: 0, cTTL: 0, cType: 0, cInterval: 0, cAddresses: 0, cAuthType: 0, cAuthMatch: 0, cAuth: 0}
				for _, k := range sent[node] {
					counter := k.ours
					if p == c {
						counter = k.theirs
					}
					if counter != "" && counter != believed {
						m[counter]++
					}
				}
				return m
			}
			type counted struct {
				program  program
				counters [2]map[string]int
			}
			results := make(chan counted, 2)
			t.Run("nodes", func(t *testing.T) {
				for _, p := range []program{c, ours} {
					t.Run(string(p), func(t *testing.T) {
						t.Parallel()
						b := newBed(t, p, p)
						for i, n := range b.nodes {
							r := router
							r.prio = 150 - 50*i
							if v.unicast {
								r.more += fmt.Sprintf("\n unicast_src_ip %s%d\n unicast_peer {\n %s%d\n }", net, i+1, net, 2-i)
							}
							began := time.Now()
							n.start(r.conf())
							if i == 0 {
								b.await("node 0 is master", func(f []frame) bool { return masterSince(f, 0, began) })
							}
						}
						b.nodes[1].until("Entering BACKUP STATE", 1)
						for i := range b.nodes {
							for _, k := range sent[i] {
								if p == ours || k.theirs != believed {
									b.inject(i, k.packet(t, forge(i)))
								}
							}
						}
						// Longer than a resignation that is believed would have node 1 wait.
						b.quiet(0, 3)
						b.holds(router.vips[0], 0)
						for _, f := range pick(b.all(), from(0), is(advert)) {
							if f.prio != 150 {
								t.Errorf("it has sent %v", f)
							}
						}
						out := counted{program: p}
						for i, n := range b.nodes {
							out.counters[i] = n.counters()
						}
						results <- out
					})
				}
			})
			close(results)
			for r := range results {
				for i, got := range r.counters {
					if d := cmp.Diff(want(r.program, i), got); d != "" {
						t.Errorf("%s, node %d, -want +got:\n%s", r.program, i, d)
					}
				}
			}
		})
	}
}

// counters are the errors of the statistics of the only router.
func (n *node) counters() map[string]int {
	n.t.Helper()
	var text string
	n.signal(syscall.SIGUSR2)
	testnet.Eventually(n.t, limit, func() error {
		b, err := os.ReadFile(n.path("keepalived.stats"))
		if text = string(b); err == nil && !strings.Contains(text, "Priority Zero") {
			err = fmt.Errorf("incomplete: %s", text)
		}
		return err
	})
	out, block := map[string]int{}, ""
	for line := range strings.Lines(text) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), ":")
		count, err := strconv.Atoi(strings.TrimSpace(v))
		if err != nil {
			block = k
		} else if strings.HasSuffix(block, "Errors") {
			out[block+": "+k] = count
		}
	}
	return out
}
