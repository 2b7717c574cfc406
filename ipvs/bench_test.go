// SPDX-License-Identifier: Apache-2.0

package ipvs

import "testing"

// BenchmarkEncode makes the message of one service, the bulk of what a batch
// costs outside the kernel.
func BenchmarkEncode(b *testing.B) {
	w := &wire{main: mainID, answer: ack}
	c, err := newClient(b.Context(), w)
	if err != nil {
		b.Fatal(err)
	}
	op := Op{Kind: AddService, Service: svc("10.0.0.1", 80)}
	b.ReportAllocs()
	var e encoder
	for b.Loop() {
		e.b = e.b[:0]
		if err := c.encodeOp(b.Context(), &e, 1, &op); err != nil {
			b.Fatal(err)
		}
	}
}
