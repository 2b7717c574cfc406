// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"testing"

	"github.com/mdlayher/netlink"
)

// BenchmarkEncode makes the message of one service, the bulk of what a batch
// costs outside the kernel.
func BenchmarkEncode(b *testing.B) {
	w := &wire{main: mainID, answer: ack}
	c, err := newClient(b.Context(), netlink.NewConn(w, 1), w.second)
	if err != nil {
		b.Fatal(err)
	}
	op := Op{Kind: AddService, Service: svc("10.0.0.1", 80)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.encodeOp(&encoder{}, &op); err != nil {
			b.Fatal(err)
		}
	}
}
