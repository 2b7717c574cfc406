// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/lvs-fnat/lvs/ipvs"
)

// The order of a listing is part of the contract, and it is not transitive:
// differences are taken in 32-bit signed arithmetic, so what is more than 2^31
// away comes first. Hence the algorithm counts too: a merge sort that takes
// from the left half unless it is greater.

// mergeSort sorts list as described above. buf has the length of list.
func mergeSort[T any](list, buf []T, compare func(a, b *T) int) {
	if len(list) < 2 {
		return
	}
	half := len(list) / 2
	mergeSort(list[:half], buf[:half], compare)
	mergeSort(list[half:], buf[half:], compare)
	left, right := list[:half], list[half:]
	for i := range buf {
		switch {
		case len(left) > 0 && (len(right) == 0 || compare(&left[0], &right[0]) <= 0):
			buf[i], left = left[0], left[1:]
		default:
			buf[i], right = right[0], right[1:]
		}
	}
	copy(list, buf)
}

// sortServices and sortDests sort by way of indexes, which are kept in spare: what is
// long is moved once.
func sortServices(list []ipvs.Service) { sortLong(list, nil, compareServices) }

func sortDests(list []ipvs.Dest, spare []int32) []int32 { return sortLong(list, spare, compareDests) }

func sortLong[T any](list []T, spare []int32, compare func(a, b *T) int) []int32 {
	spare = slices.Grow(spare[:0], 2*len(list))[:2*len(list)]
	from, buf := spare[:len(list)], spare[len(list):]
	for i := range from {
		from[i] = int32(i)
	}
	mergeSort(from, buf, func(a, b *int32) int { return compare(&list[*a], &list[*b]) })
	for i := range from {
		if int(from[i]) == i {
			continue
		}
		first, at := list[i], i
		for int(from[at]) != i {
			next := int(from[at])
			list[at], from[at] = list[next], int32(at)
			at = next
		}
		list[at], from[at] = first, int32(at)
	}
	return spare
}

func compareServices(a, b *ipvs.Service) int {
	if d := int32(a.FWMark - b.FWMark); d != 0 {
		return int(d)
	}
	if d := int(a.Family) - int(b.Family); d != 0 {
		return d
	}
	if d := int(a.Protocol) - int(b.Protocol); d != 0 {
		return d
	}
	if d := compareAddrs(a.Addr, b.Addr); d != 0 {
		return d
	}
	return int(a.Port) - int(b.Port)
}

// compareDests does not tell families apart.
func compareDests(a, b *ipvs.Dest) int {
	if d := compareAddrs(a.Addr, b.Addr); d != 0 {
		return d
	}
	return int(a.Port) - int(b.Port)
}

// compareAddrs compares the words of a and b, only the first one if a is IPv4.
func compareAddrs(a, b netip.Addr) int {
	if a.Is4() && b.Is4() {
		x, y := a.As4(), b.As4()
		return int(int32(binary.BigEndian.Uint32(x[:]) - binary.BigEndian.Uint32(y[:])))
	}
	x, y := padded(a), padded(b)
	for i := 0; i == 0 || a.Is6() && i < len(x); i += 4 {
		if d := int32(binary.BigEndian.Uint32(x[i:]) - binary.BigEndian.Uint32(y[i:])); d != 0 {
			return int(d)
		}
	}
	return 0
}

// padded is an address as it lies in the kernel's union.
func padded(a netip.Addr) (b [16]byte) {
	copy(b[:], a.AsSlice())
	return b
}
