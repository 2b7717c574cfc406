// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"encoding/binary"
	"syscall"
	"testing"

	"github.com/lvs-fnat/lvs/ipvs/uapi"
	"golang.org/x/sys/unix"
)

// canned answers each request with the same datagrams.
type canned struct {
	datagrams [][]byte
	next      int
	seq       uint32
}

func (c *canned) Close() error            { return nil }
func (c *canned) setReadBuffer(int) error { return nil }
func (c *canned) beside() (socket, error) { return c, nil }

func (c *canned) send(b []byte) error {
	c.next, c.seq = 0, binary.NativeEndian.Uint32(b[8:])
	return nil
}

func (c *canned) receive(b []byte) (int, error) {
	if c.next == len(c.datagrams) {
		return 0, syscall.EAGAIN
	}
	n := copy(b, c.datagrams[c.next])
	c.next++
	for at := 0; at < n; at += int(binary.NativeEndian.Uint32(b[at:])+3) &^ 3 {
		binary.NativeEndian.PutUint32(b[at+8:], c.seq)
	}
	return n, nil
}

// BenchmarkDests reads ten dests, what a listing does for each service.
func BenchmarkDests(b *testing.B) {
	var list, end encoder
	key := svc("10.0.0.1", 80).ServiceKey
	for i := range uint16(10) {
		d := Dest{DestKey: DestKey{Family: IPv4, Addr: key.Addr, Port: 8080 + i}, Weight: 1}
		if err := list.message(0, mainID, unix.NLM_F_MULTI, uapi.CmdNewDest, 1, func(e *encoder) error {
			e.Nested(uapi.AttrDest, func(e *encoder) error {
				err := d.encode(e)
				e.Uint32(uapi.DestActiveConns, 1)
				e.Uint32(uapi.DestInactConns, 1)
				e.Uint32(uapi.DestPersistConns, 1)
				e.Nested(uapi.DestStats, packStats(Stats{}))
				e.Nested(uapi.DestStats64, packStats(Stats{}))
				return err
			})
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
	at := end.header(0, unix.NLMSG_DONE, unix.NLM_F_MULTI)
	end.b = append(end.b, 0, 0, 0, 0)
	binary.NativeEndian.PutUint32(end.b[at:], uint32(len(end.b)))
	c := &Client{sock: &canned{datagrams: [][]byte{list.b, end.b}}, main: mainID}
	var dests []Dest
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if dests, err = c.AppendDests(b.Context(), dests[:0], key, true); err != nil || len(dests) != 10 {
			b.Fatal(len(dests), err)
		}
	}
}
