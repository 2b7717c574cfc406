// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"testing"
)

// FuzzDecode looks for messages of the kernel that crash a decoder.
func FuzzDecode(f *testing.F) {
	service := svc("2001:db8::1", 80)
	for _, enc := range []func(*encoder) error{
		(&service).encode,
		(&Dest{DestKey: DestKey{Addr: svc("10.0.0.1", 0).Addr}, Forward: Tunnel}).encode,
		Laddr{Addr: svc("10.0.0.1", 0).Addr, CPUs: "0-3"}.encode,
		LGroup{Name: "g", Family: IPv4}.encode,
	} {
		m, err := genlMessage(1, 1, enc)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(m.Data)
	}
	f.Fuzz(func(_ *testing.T, data []byte) {
		for _, decode := range []func(*decoder) error{
			func(ad *decoder) error { _, err := decodeService(ad); return err },
			func(ad *decoder) error { _, err := decodeDest(ad, IPv4, true); return err },
			func(ad *decoder) error { _, err := decodeDaemon(ad); return err },
			func(ad *decoder) error { _, err := decodeTimeouts(ad); return err },
			func(ad *decoder) error { _, err := decodeExtService(ad); return err },
			func(ad *decoder) error { _, err := decodeExtInfo(ad); return err },
			func(ad *decoder) error { _, err := decodeLGroup(ad); return err },
			func(ad *decoder) error { _, err := decodeLaddr(ad); return err },
			func(ad *decoder) error { _, err := decodeConn(ad); return err },
			func(ad *decoder) error { _, err := decodeExtStats(ad); return err },
			func(ad *decoder) error { _, err := decodeEvent(ad); return err },
		} {
			_ = message{data: data}.decode(new(decoder), decode)
		}
	})
}
