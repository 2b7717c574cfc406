// SPDX-License-Identifier: Apache-2.0

package schedule

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"

	"github.com/lvs-fnat/lvs/ipvs"
)

// Sizes of the tables in Debian's kernels (CONFIG_IP_VS_SH_TAB_BITS,
// CONFIG_IP_VS_DH_TAB_BITS, CONFIG_IP_VS_MH_TAB_INDEX=12).
const (
	hashBits  = 8
	mhSize    = 4093 // the prime of that index
	mhMaxBits = 6    // of a weight's turns
)

// fold is an address as one number: IPv6's four words, exclusive or.
func fold(a netip.Addr) uint32 {
	var n uint32
	for b := a.AsSlice(); len(b) >= 4; b = b[4:] {
		n ^= binary.BigEndian.Uint32(b)
	}
	return n
}

// golden is multiplicative hashing by the golden ratio (linux/hash.h, hash_32).
func golden(n uint32) int { return int(n * 0x61c88647 >> (32 - hashBits)) }

// sourceHash: buckets are dealt to the dests in their order, as many in a row as
// a dest has weight, at least one.
func (c *Choice) sourceHash(s *ipvs.Service, dests []ipvs.Dest, usable []bool, p Packet) {
	var table [1 << hashBits]int
	at, dealt := 0, 0
	for i := range table {
		table[i] = at
		if dealt++; dealt >= int(int32(dests[at].Weight)) {
			at, dealt = (at+1)%len(dests), 0
		}
	}
	key, of := clientKey(s, p)
	home := golden(key)
	c.bucket(dests, table[home], usable, of+" (sh)", "sh-fallback", s.Flags&ipvs.FlagSched1 != 0, func(yield func(int) bool) {
		for offset := range table {
			if !yield(table[(offset+home+home)%len(table)]) {
				return
			}
		}
	})
}

// destHash: buckets are dealt one by one, weights do not count.
func (c *Choice) destHash(dests []ipvs.Dest, usable []bool, p Packet) {
	c.bucket(dests, golden(fold(p.Virtual))%len(dests), usable, "the hash of the virtual address (dh)", "", false, nil)
}

// clientKey is what sh and mh hash, as a number and in words.
func clientKey(s *ipvs.Service, p Packet) (key uint32, of string) {
	key, of = fold(p.Client.Addr()), "the hash of the client's address"
	if s.Flags&ipvs.FlagSched2 != 0 {
		key += uint32(p.Client.Port())
		of += " and port"
	}
	return key, of
}

// bucket takes the dest that the hash says; if that is not usable, the first
// usable one of others, if the service falls back.
func (c *Choice) bucket(dests []ipvs.Dest, home int, usable []bool, hash, flag string, fallback bool, others func(func(int) bool)) {
	for i := range c.Against {
		c.Against[i] = hash + " is another server's"
	}
	mine := fmt.Sprintf("%s is that of %v", hash, dests[home].DestKey)
	switch {
	case usable[home]:
		c.one(home, hash+" is this server's")
		return
	case !fallback:
		c.Certain, c.Because = true, mine+", which takes no new connections"
		if flag != "" {
			c.Because += ", and the service does not fall back on others (" + flag + ")"
		}
		return
	}
	for i := range others {
		if usable[i] {
			c.one(i, fmt.Sprintf("%s, which takes no new connections; this one is next by the hash (%s)", mine, flag))
			return
		}
	}
}

// maglev fills the table of mh. A dest that has weight 0 now keeps the places
// of the weight it had, which the tables do not tell: then nothing is certain.
func (c *Choice) maglev(s *ipvs.Service, dests []ipvs.Dest, usable []bool, p Packet) {
	table := maglevTable(dests)
	key, of := clientKey(s, p)
	home := mhHash(key, mhKey1) % mhSize
	c.bucket(dests, table[home], usable, of+" (mh)", "mh-fallback", s.Flags&ipvs.FlagSched1 != 0, func(yield func(int) bool) {
		for offset := range uint32(mhSize) {
			if !yield(table[mhHash(key+(offset+home)%mhSize, mhKey1)%mhSize]) {
				return
			}
		}
	})
	for i := range dests {
		if dests[i].Weight == 0 {
			c.Certain = false
			c.Because += fmt.Sprintf("; %v has weight 0 and keeps the places of the weight it had, taken for 1 here", dests[i].DestKey)
			return
		}
	}
}

func maglevTable(dests []ipvs.Dest) []int {
	weights := make([]int, len(dests))
	divisor, heaviest := 0, 0
	for i := range dests {
		weights[i] = max(1, int(dests[i].Weight))
		divisor = gcd(divisor, weights[i])
		heaviest = max(heaviest, weights[i])
	}
	shift := max(0, bits.Len(uint(heaviest/divisor))-mhMaxBits)
	type filler struct{ at, skip, turns int }
	fill := make([]filler, len(dests))
	for i := range dests {
		key := fold(dests[i].Addr) + uint32(dests[i].Port)
		fill[i] = filler{int(mhHash(key, mhKey1) % mhSize), int(mhHash(key, mhKey2)%(mhSize-1)) + 1,
			max(1, weights[i]/divisor>>shift)}
	}
	table := make([]int, mhSize)
	for i := range table {
		table[i] = -1
	}
	for left := mhSize; left > 0; {
		for i := range fill {
			f := &fill[i]
			for turn := 0; turn < f.turns && left > 0; turn++ {
				for table[f.at] >= 0 {
					f.at = (f.at + f.skip) % mhSize
				}
				table[f.at] = i
				left--
			}
		}
	}
	return table
}

func gcd(a, b int) int {
	for a != 0 {
		a, b = b%a, a
	}
	return b
}

// Both halves of a key of mh's are the same number.
const (
	mhKey1 = 2654435761
	mhKey2 = 2654446892
)

// mhHash is SipHash-1-3 of one word under a key of two equal halves, folded to
// 32 bits: the kernel's hsiphash on 64-bit machines.
func mhHash(word uint32, key uint64) uint32 {
	v0, v1 := 0x736f6d6570736575^key, 0x646f72616e646f6d^key
	v2, v3 := 0x6c7967656e657261^key, 0x7465646279746573^key
	round := func() {
		v0 += v1
		v1 = bits.RotateLeft64(v1, 13) ^ v0
		v0 = bits.RotateLeft64(v0, 32)
		v2 += v3
		v3 = bits.RotateLeft64(v3, 16) ^ v2
		v0 += v3
		v3 = bits.RotateLeft64(v3, 21) ^ v0
		v2 += v1
		v1 = bits.RotateLeft64(v1, 17) ^ v2
		v2 = bits.RotateLeft64(v2, 32)
	}
	m := uint64(4)<<56 | uint64(word)
	v3 ^= m
	round()
	v0 ^= m
	v2 ^= 0xff
	for range 3 {
		round()
	}
	return uint32(v0 ^ v1 ^ v2 ^ v3)
}

// LaddrOf returns which of n usable local addresses a client gets first where a
// service selects by source (kmod/src/ip_vs_x_laddr.c: Jenkins' hash, no seed).
func LaddrOf(client netip.Addr, n int) int {
	const golden = 0xdeadbeef
	b := client.AsSlice()
	var words [4]uint32
	for i := range len(b) / 4 {
		words[i] = binary.NativeEndian.Uint32(b[4*i:])
	}
	if client.Is4() {
		init := uint32(golden + 4)
		return int(jenkinsFinal(words[0]+init, init, init) % uint32(n))
	}
	x, y, z := jenkinsMix(words[0]+golden+16, words[1]+golden+16, words[2]+golden+16)
	return int(jenkinsFinal(x+words[3], y, z) % uint32(n))
}

// jenkinsMix and jenkinsFinal are the rounds of Bob Jenkins' lookup3.
func jenkinsMix(a, b, c uint32) (uint32, uint32, uint32) {
	for _, r := range [6]int{4, 6, 8, 16, 19, 4} {
		a -= c
		a ^= bits.RotateLeft32(c, r)
		c += b
		a, b, c = b, c, a
	}
	return a, b, c
}

func jenkinsFinal(a, b, c uint32) uint32 {
	for _, r := range [7]int{14, 11, 25, 16, 4, 14, 24} {
		c ^= b
		c -= bits.RotateLeft32(b, r)
		a, b, c = b, c, a
	}
	return b
}
