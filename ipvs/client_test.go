// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/lvs-fnat/lvs/ipvs/uapi"
	"github.com/mdlayher/netlink"
)

const (
	mainID = 0x20
	extID  = 0x21
)

// wire is a kernel end: each request of a send goes to answer, whose replies
// wait as one datagram each, as acknowledgements do.
type wire struct {
	mu     sync.Mutex
	answer func(netlink.Message) []netlink.Message
	queue  []netlink.Message
	sends  [][]netlink.Message
	main   uint16 // 0 = absent
	ext    uint16
	// features of ext; 0 is FNAT and TOA
	features uint64
}

// beside is a further socket of the same kernel.
func (w *wire) beside() (socket, error) {
	return &wire{main: w.main, ext: w.ext, answer: w.answer}, nil
}

func (w *wire) Close() error            { return nil }
func (w *wire) setReadBuffer(int) error { return nil }

func (w *wire) send(b []byte) error {
	var ms []netlink.Message
	for len(b) > 0 {
		n := (binary.NativeEndian.Uint32(b) + 3) &^ 3
		var m netlink.Message
		if err := m.UnmarshalBinary(b[:n]); err != nil {
			return err
		}
		ms, b = append(ms, m), b[n:]
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	// What looks the families up is not counted.
	first := ms[0]
	if first.Header.Type != controller && !(uint16(first.Header.Type) == w.ext && first.Data[0] == uapi.ExtCmdGetInfo) {
		w.sends = append(w.sends, ms)
	}
	for _, m := range ms {
		for _, r := range w.reply(m) {
			unasked := m.Header.Flags&netlink.Acknowledge == 0
			if r.Header.Type == netlink.Error && binary.NativeEndian.Uint32(r.Data) == 0 && unasked {
				continue // as the kernel: refusals always, acknowledgements on demand
			}
			r.Header.Sequence = m.Header.Sequence
			w.queue = append(w.queue, r)
		}
	}
	return nil
}

func (w *wire) receive(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 {
		return 0, syscall.EAGAIN
	}
	m := w.queue[0]
	w.queue = w.queue[1:]
	m.Header.Length = uint32(nlHeader+len(m.Data)+3) &^ 3
	datagram, err := m.MarshalBinary()
	return copy(b, datagram), err
}

// genlMessage is a generic netlink message of a command.
func genlMessage(id uint16, cmd uint8, f func(*encoder) error) (netlink.Message, error) {
	var e encoder
	err := e.message(0, id, 0, cmd, 1, f)
	return netlink.Message{Header: netlink.Header{Type: netlink.HeaderType(id)}, Data: e.b[nlHeader:]}, err
}

func (w *wire) reply(m netlink.Message) []netlink.Message {
	switch id := uint16(m.Header.Type); {
	case m.Header.Type == netlink.Noop:
		return ack(m)
	case id == 0x10: // the controller: CTRL_CMD_GETFAMILY, whose attributes are id 1, name 2, version 3
		ad, _ := netlink.NewAttributeDecoder(m.Data[4:])
		var name string
		for ad.Next() {
			if ad.Type() == 2 {
				name = ad.String()
			}
		}
		var found []netlink.Message
		for _, f := range []struct {
			name   string
			number uint16
		}{{uapi.GenlName, w.main}, {uapi.ExtGenlName, w.ext}} {
			if f.number != 0 && (name == "" || name == f.name) {
				found = append(found, genl(0x10, 1, func(ae *encoder) {
					ae.Uint16(1, f.number)
					ae.String(2, f.name)
					ae.Uint32(3, 1)
				}))
			}
		}
		switch {
		case name == "":
			for i := range found {
				found[i].Header.Flags = netlink.Multi
			}
			return append(found, dumpEnd)
		case len(found) == 0:
			return refuse(m, syscall.ENOENT, "")
		}
		return found
	case id != w.main && id != w.ext:
		return refuse(m, syscall.ENOENT, "")
	case id == w.ext && m.Data[0] == uapi.ExtCmdGetInfo:
		return append([]netlink.Message{genl(id, 1, func(ae *encoder) {
			ae.Uint32(uapi.ExtAAbi, 1)
			features := w.features
			if features == 0 {
				features = uapi.ExtFeatFnat | uapi.ExtFeatToa
			}
			ae.Uint64(uapi.ExtAFeatures, features)
		})}, ack(m)...)
	}
	return w.answer(m)
}

func genl(id uint16, cmd uint8, f func(*encoder)) netlink.Message {
	m, err := genlMessage(id, cmd, func(ae *encoder) error { f(ae); return nil })
	if err != nil {
		panic(err)
	}
	return m
}

func ack(m netlink.Message) []netlink.Message { return refuse(m, 0, "") }

// refuse is struct nlmsgerr, with the text as NLMSGERR_ATTR_MSG.
func refuse(m netlink.Message, errno syscall.Errno, text string) []netlink.Message {
	r := netlink.Message{Header: netlink.Header{Type: netlink.Error, PID: 1}}
	r.Data = binary.NativeEndian.AppendUint32(nil, uint32(-int32(errno)))
	head := make([]byte, 16)
	binary.NativeEndian.PutUint32(head, 16)
	r.Data = append(r.Data, head...)
	if text != "" {
		r.Header.Flags = netlink.AcknowledgeTLVs
		ae := netlink.NewAttributeEncoder()
		ae.String(1, text)
		b, _ := ae.Encode()
		r.Data = append(r.Data, b...)
	}
	return []netlink.Message{r}
}

func dial(t *testing.T, w *wire) *Client {
	t.Helper()
	c, err := newClient(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func svc(addr string, port uint16) Service {
	a := netip.MustParseAddr(addr)
	return Service{ServiceKey: ServiceKey{Family: FamilyOf(a), Protocol: TCP, Addr: a, Port: port}, Scheduler: "rr"}
}

func TestDialWithoutModule(t *testing.T) {
	_, err := newClient(t.Context(), &wire{})
	if !errors.Is(err, ErrNoIPVS) {
		t.Fatalf("got %v", err)
	}
}

func TestStockModuleHasNoFNAT(t *testing.T) {
	w := &wire{main: mainID, answer: ack}
	c := dial(t, w)
	op := Op{Kind: AddLGroup, LGroup: LGroup{Name: "g", Family: IPv4}}
	if err := c.Apply(t.Context(), op); !errors.Is(err, ErrNoExt) {
		t.Fatalf("got %v", err)
	}
	if len(w.sends) != 0 {
		t.Errorf("sent %d messages", len(w.sends))
	}
	w.ext = extID
	if err := c.Apply(t.Context(), op); err != nil {
		t.Errorf("after the module came: %v", err)
	}
}

func TestAddServiceBytes(t *testing.T) {
	w := &wire{main: mainID, answer: ack}
	if err := dial(t, w).Apply(t.Context(), Op{Kind: AddService, Service: svc("10.0.0.1", 80)}); err != nil {
		t.Fatal(err)
	}
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the bytes below are those of a little-endian machine")
	}
	want := []byte{
		1, 1, 0, 0,
		76, 0, 1, 0x80,
		6, 0, 1, 0, 2, 0, 0, 0,
		6, 0, 2, 0, 6, 0, 0, 0,
		8, 0, 3, 0, 10, 0, 0, 1,
		6, 0, 4, 0, 0, 80, 0, 0,
		7, 0, 6, 0, 'r', 'r', 0, 0,
		12, 0, 7, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff,
		8, 0, 8, 0, 0, 0, 0, 0,
		8, 0, 9, 0, 0xff, 0xff, 0xff, 0xff,
	}
	want[4] = byte(len(want) - 4)
	if diff := cmp.Diff(want, w.sends[0][0].Data); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestBatchNamesTheFirstFailure(t *testing.T) {
	n := 0
	w := &wire{main: mainID, answer: func(m netlink.Message) []netlink.Message {
		if n++; n == 200 {
			return refuse(m, syscall.EEXIST, "already there")
		}
		return ack(m)
	}}
	var ops []Op
	for i := range uint16(600) {
		ops = append(ops, Op{Kind: AddService, Service: svc("10.0.0.1", i+1)})
	}
	err := dial(t, w).Apply(t.Context(), ops...)
	var b *BatchError
	var op *OpError
	if !errors.As(err, &b) || b.Index != 199 || b.Acked != 255 || !errors.As(err, &op) {
		t.Fatalf("got %#v", err)
	}
	if !errors.Is(err, fs.ErrExist) || !errors.Is(err, syscall.EEXIST) || op.Message != "already there" ||
		!strings.Contains(err.Error(), "10.0.0.1:200: add service: already there: file exists") {
		t.Errorf("got %v", err)
	}
	if len(w.sends) != 2 {
		t.Errorf("%d sends for the two that were due", len(w.sends))
	}
}

// TestUnansweredOperationIsDone: the kernel does not answer an EINTR, as it
// comes of stopping a daemon whose thread never ran.
func TestUnansweredOperationIsDone(t *testing.T) {
	w := &wire{main: mainID, answer: func(netlink.Message) []netlink.Message { return nil }}
	if err := dial(t, w).Apply(t.Context(), Op{Kind: StopDaemon, Daemon: Daemon{State: SyncMaster}}); err != nil {
		t.Error(err)
	}
}

func TestNoDestBehindRefusedFNAT(t *testing.T) {
	var seen []uint8
	w := &wire{main: mainID, ext: extID, answer: func(m netlink.Message) []netlink.Message {
		seen = append(seen, m.Data[0])
		if uint16(m.Header.Type) == extID {
			return refuse(m, syscall.EINVAL, "FNAT needs a local address group")
		}
		return ack(m)
	}}
	s := svc("10.0.0.1", 80)
	err := dial(t, w).Apply(t.Context(), Op{Kind: AddService, Service: s},
		Op{Kind: SetExt, Service: s, Ext: Ext{Set: ExtFieldFlags, Flags: ExtFNAT, FlagsMask: ExtFNAT}},
		Op{Kind: AddDest, Service: s, Dest: Dest{DestKey: DestKey{Addr: s.Addr, Port: 1}}})
	if !errors.Is(err, syscall.EINVAL) {
		t.Fatalf("got %v", err)
	}
	if diff := cmp.Diff([]uint8{uapi.CmdNewService, uapi.ExtCmdSetService}, seen); diff != "" {
		t.Errorf("commands -want +got:\n%s", diff)
	}
}

func TestReloadedModuleIsFoundAgain(t *testing.T) {
	w := &wire{main: mainID, answer: ack}
	c := dial(t, w)
	w.main = 0x77
	if err := c.Apply(t.Context(), Op{Kind: Flush}); err != nil {
		t.Errorf("after a reload: %v", err)
	}
	w.main = 0
	if err := c.Apply(t.Context(), Op{Kind: Flush}); !errors.Is(err, ErrNoIPVS) {
		t.Errorf("after unloading: %v", err)
	}
}

func TestUnknownFeatureIsNotSent(t *testing.T) {
	w := &wire{main: mainID, ext: extID, answer: ack}
	err := dial(t, w).Apply(t.Context(), Op{Kind: SetExt, Service: svc("10.0.0.1", 80),
		Ext: Ext{Set: ExtFieldFlags, Flags: ExtSynproxy, FlagsMask: ExtSynproxy}})
	if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "SYNPROXY") {
		t.Errorf("got %v", err)
	}
	for _, s := range w.sends {
		if s[0].Data[0] == uapi.ExtCmdSetService {
			t.Error("it was sent")
		}
	}
}

// TestCodecKeepsEverything sends what was encoded back as the kernel's list.
func TestCodecKeepsEverything(t *testing.T) {
	v6 := svc("2001:db8::1", 443)
	v6.Flags, v6.Timeout, v6.Netmask, v6.PEName = FlagPersistent|FlagSched1, 90*time.Second, 64, "sip"
	v4 := svc("10.0.0.1", 80)
	v4.Netmask, v4.Flags = 0xffffff00, FlagPersistent
	want := []Service{v6, v4, {ServiceKey: ServiceKey{Family: IPv6, FWMark: 7}, Netmask: 128}}
	dests := []Dest{
		{DestKey: DestKey{Family: IPv6, Addr: netip.MustParseAddr("2001:db8::77"), Port: 80}, Forward: Tunnel,
			Weight: 100000, UpperThreshold: 9, LowerThreshold: 3, TunType: TunnelGUE, TunPort: 6080, TunFlags: 1},
	}
	w := &wire{main: mainID, answer: func(m netlink.Message) (out []netlink.Message) {
		if m.Data[0] == uapi.CmdGetDest {
			out = append(out, genl(mainID, uapi.CmdNewDest, func(ae *encoder) { ae.Nested(uapi.AttrDest, dests[0].encode) }))
		} else {
			for _, s := range want {
				out = append(out, genl(mainID, uapi.CmdNewService, func(ae *encoder) { ae.Nested(uapi.AttrService, s.encode) }))
			}
		}
		for i := range out {
			out[i].Header.Flags = netlink.Multi
		}
		return append(out, netlink.Message{Header: netlink.Header{Type: netlink.Done, Flags: netlink.Multi}, Data: make([]byte, 4)})
	}}
	c := dial(t, w)
	cmpAddr := cmpopts.EquateComparable(netip.Addr{})
	got, err := c.Services(t.Context())
	if diff := cmp.Diff(want, got, cmpAddr); err != nil || diff != "" {
		t.Errorf("%v -want +got:\n%s", err, diff)
	}
	gotDests, err := c.Dests(t.Context(), v4.ServiceKey)
	if diff := cmp.Diff(dests, gotDests, cmpAddr); err != nil || diff != "" {
		t.Errorf("%v -want +got:\n%s", err, diff)
	}
}
