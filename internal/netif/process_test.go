// SPDX-License-Identifier: Apache-2.0

package netif

import (
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// processPacket is what the kernel sends: netlink's header, the connector's, that of the
// event, and its numbers (linux/cn_proc.h).
func processPacket(change ProcessChange, words ...uint32) (b []byte) {
	for _, w := range append([]uint32{0, 3, 0, 0, connectorIndex, connectorValue, 0, 0, 0, uint32(change), 0, 0, 0}, words...) {
		b = binary.NativeEndian.AppendUint32(b, w)
	}
	return b
}

// TestProcessEvents: processes come out of packets with their numbers, threads do not.
func TestProcessEvents(t *testing.T) {
	for name, c := range map[string]struct {
		packet []byte
		change ProcessChange
		want   *ProcessEvent
	}{
		"answer": {packet: processPacket(processAck, 0)},
		"fork":   {processPacket(ProcessFork, 11, 10, 20, 20), ProcessFork, &ProcessEvent{Change: ProcessFork, PID: 20, Parent: 10}},
		"thread": {processPacket(ProcessFork, 11, 10, 21, 20), ProcessFork, nil},
		"exec":   {processPacket(ProcessExec, 20, 20), ProcessExec, &ProcessEvent{Change: ProcessExec, PID: 20}},
		"name":   {processPacket(ProcessRename, 20, 20, 0x61616161), ProcessRename, &ProcessEvent{Change: ProcessRename, PID: 20}},
		"its":    {processPacket(ProcessRename, 21, 20), ProcessRename, nil},
		"exit":   {processPacket(ProcessExit, 20, 20, 0, 17), ProcessExit, &ProcessEvent{Change: ProcessExit, PID: 20}},
		"other":  {processPacket(4, 20, 20, 0, 0), 4, nil},
	} {
		change, ev, ok := parseProcess(c.packet)
		if !ok || change != c.change {
			t.Errorf("%s: change %#x, %t", name, change, ok)
		}
		if d := cmp.Diff(c.want, ev); d != "" {
			t.Errorf("%s, -want +got:\n%s", name, d)
		}
	}
	if _, _, ok := parseProcess(processPacket(ProcessExec)[:processHead-1]); ok {
		t.Error("half a packet is one")
	}
}

// FuzzProcess: no packet makes the reader panic.
func FuzzProcess(f *testing.F) {
	f.Add(processPacket(ProcessFork, 11, 10, 20, 20))
	f.Add(processPacket(ProcessExit, 20))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, ev, ok := parseProcess(b); ev != nil && (!ok || ev.PID < 0) {
			t.Error(ev, ok)
		}
	})
}
