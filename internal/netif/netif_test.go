// SPDX-License-Identifier: Apache-2.0

package netif

import (
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/vrrp"
)

const wait = 30 * time.Second

// wire makes two namespaces with a link between them.
func wire(t *testing.T, name string) (a, b *testnet.NS) {
	t.Helper()
	a, b = testnet.New(t, name+"a"), testnet.New(t, name+"b")
	testnet.Must(t, testnet.Veth(a, "eth0", b, "eth0"))
	for i, n := range []*testnet.NS{a, b} {
		testnet.Must(t, n.AddAddr("eth0", netip.MustParsePrefix(fmt.Sprintf("192.0.2.%d/24", i+1)), netip.MustParsePrefix(fmt.Sprintf("fe80::%d/64", i+1))))
	}
	return a, b
}

// within runs f in a namespace with a Host of it and its eth0.
func within(t *testing.T, n *testnet.NS, f func(h *Host, link *Link)) {
	t.Helper()
	testnet.Must(t, n.Do(func() error {
		h, err := Open()
		if err != nil {
			return err
		}
		defer h.Close()
		list, err := h.Links()
		for i := range list {
			if list[i].Name == "eth0" {
				f(h, &list[i])
			}
		}
		return err
	}))
}

// TestNetnsSocket: packets come in the order they were sent, a full inbox and
// more at a time, with addresses and TTL, over IPv4 and IPv6; one that is longer
// than can be is refused.
func TestNetnsSocket(t *testing.T) {
	for _, six := range []bool{false, true} {
		t.Run(fmt.Sprintf("six %v", six), func(t *testing.T) {
			a, b := wire(t, fmt.Sprintf("sock%v", map[bool]int{false: 4, true: 6}[six]))
			src, dst := netip.MustParseAddr("192.0.2.1"), vrrp.MulticastIPv4
			if six {
				src, dst = netip.MustParseAddr("fe80::1"), vrrp.MulticastIPv6
			}
			var from, to *Socket
			open := func(n *testnet.NS, s **Socket) (link int) {
				within(t, n, func(_ *Host, l *Link) {
					var err error
					*s, err = Listen(six, vrrp.Protocol, l)
					testnet.Must(t, err, (*s).Join(dst, l.Index), (*s).Join(dst, l.Index))
					link = l.Index
				})
				return link
			}
			index := open(a, &from)
			open(b, &to)
			defer func() { testnet.Must(t, from.Close(), to.Close()) }()
			const count = 2*InboxSize + 3
			advert := vrrp.Advert{Version: 3, VRID: 7, Interval: time.Second}
			for i := range count {
				advert.Priority = byte(i + 1)
				if six {
					p, err := advert.Append(nil, src, dst, vrrp.ChecksumPseudo)
					testnet.Must(t, err, from.Send6(p, src, dst, index, vrrp.TTL))
				} else {
					p, err := advert.AppendIPv4(nil, src, dst, 1, vrrp.TTL, vrrp.ChecksumPseudo, [8]byte{}, 0)
					testnet.Must(t, err, from.Send4(p, dst))
				}
			}
			var in Inbox
			got, turns := 0, 0
			testnet.Eventually(t, wait, func() error {
				n, err := to.Receive(&in)
				testnet.Must(t, err)
				for i := range n {
					d, err := in.Packet(i)
					testnet.Must(t, err)
					x, err := vrrp.Parse(d.Payload, d.Src)
					got++
					if err != nil || int(x.Priority) != got || d.Src != src || d.Dst != dst || d.TTL != vrrp.TTL {
						t.Errorf("packet %d: %+v of %v to %v, TTL %d: %v", got, x, d.Src, d.Dst, d.TTL, err)
					}
				}
				if n > 0 {
					turns++
				}
				if got < count {
					return fmt.Errorf("%d of %d packets", got, count)
				}
				return nil
			})
			if turns < 3 {
				t.Errorf("%d packets in %d turns of at most %d", count, turns, InboxSize)
			}
			if n, err := to.Receive(&in); n != 0 || err != nil {
				t.Errorf("an empty socket gives %d packets: %v", n, err)
			}

			testnet.Must(t, a.MTU("eth0", 9000), b.MTU("eth0", 9000))
			long := make([]byte, maxPacket+100)
			if six {
				testnet.Must(t, from.Send6(long, src, dst, index, vrrp.TTL))
			} else {
				p, err := advert.AppendIPv4(nil, src, dst, 1, vrrp.TTL, vrrp.ChecksumPseudo, [8]byte{}, 0)
				testnet.Must(t, err)
				copy(long, p)
				long[2], long[3] = byte(len(long)>>8), byte(len(long)&0xff)
				testnet.Must(t, from.Send4(long, dst))
			}
			testnet.Eventually(t, wait, func() error {
				if n, err := to.Receive(&in); n != 1 || err != nil {
					return fmt.Errorf("%d packets: %v", n, err)
				}
				return nil
			})
			var bad *vrrp.Malformed
			if _, err := in.Packet(0); !errors.As(err, &bad) || bad.Class != vrrp.ErrLength {
				t.Errorf("a packet of %d bytes: %v", len(long), err)
			}
		})
	}
}

// TestNetnsAddresses: an address is put there and taken away, twice as once, and
// both are told to who watches.
func TestNetnsAddresses(t *testing.T) {
	a, _ := wire(t, "addr")
	within(t, a, func(h *Host, link *Link) {
		events := make(chan Event, 100)
		var ending atomic.Bool
		w, err := Watch(0, true, func(ev Event) { events <- ev }, func(err error) {
			if !ending.Load() { // at the end the sockets are closed under their readers
				t.Error(err)
			}
		})
		testnet.Must(t, err)
		defer func() { ending.Store(true); w.Close() }()
		until := func(what string, match func(Event) bool) {
			t.Helper()
			for deadline := time.After(wait); ; {
				select {
				case ev := <-events:
					if match(ev) {
						return
					}
				case <-deadline:
					t.Fatalf("nothing was told of %s", what)
				}
			}
		}
		for _, text := range []string{"192.0.2.100/32", "192.0.2.101/24", "2001:db8::100/128"} {
			x := config.Address{Prefix: netip.MustParsePrefix(text)}
			has := func(want bool) {
				t.Helper()
				if there, err := h.HasAddr(link.Index, x); err != nil || there != want {
					t.Errorf("%s is there: %v, want %v (%v)", text, there, want, err)
				}
			}
			of := func(gone bool) func(Event) bool {
				return func(ev Event) bool { return ev.Addr != nil && ev.Addr.Prefix == x.Prefix && ev.Gone == gone }
			}
			testnet.Must(t, h.AddAddr(link.Index, x), h.AddAddr(link.Index, x))
			has(true)
			until(text, of(false))
			testnet.Must(t, h.DelAddr(link.Index, x))
			has(false)
			until("the end of "+text, of(true))
			testnet.Must(t, h.DelAddr(link.Index, x))
		}
		if err := h.AddAddr(link.Index+1000, config.Address{Prefix: netip.MustParsePrefix("192.0.2.102/32")}); !errors.Is(err, unix.ENODEV) {
			t.Errorf("an address on no link: %v", err)
		}
		testnet.Must(t, a.Down("eth0"))
		until("the link down", func(ev Event) bool { return ev.Link != nil && ev.Link.Index == link.Index && !ev.Link.Up })
		testnet.Must(t, a.Up("eth0"))
		until("the link up", func(ev Event) bool { return ev.Link != nil && ev.Link.Index == link.Index && ev.Link.Up })
	})
}

// TestNetnsVMAC: the link of a virtual router has its hardware address; one that
// a dead process has left is replaced, whatever its name is, and a link of another
// kind is not.
func TestNetnsVMAC(t *testing.T) {
	a, _ := wire(t, "vmac")
	within(t, a, func(h *Host, link *Link) {
		o := Own{Name: "vrrp.51", MAC: [6]byte{0, 0, 0x5e, 0, 1, 51}, Group: 7, Notify: true}
		first, err := h.AddOwn(o, link)
		testnet.Must(t, err)
		if first.MAC != o.MAC || first.Kind != KindVMAC || first.Parent != link.Index || first.Group != 7 || first.Up {
			t.Errorf("the link is %+v", first)
		}
		up, err := h.SetUp(first)
		testnet.Must(t, err)
		if up.Index != first.Index || !up.Up {
			t.Errorf("the link is %+v, want it up", up)
		}
		for _, c := range []struct {
			name, kind string
			may        bool
		}{{"vrrp.51", KindVMAC, true}, {"vrrp.51", KindIPVLAN, false}, {"eth0", KindVMAC, false}, {"other", KindVMAC, true}} {
			if may := h.MayHave(c.name, c.kind, link); may != c.may {
				t.Errorf("%s may be called %s: %t", c.kind, c.name, may)
			}
		}
		second, err := h.AddOwn(o, link)
		testnet.Must(t, err)
		if second.Index == first.Index {
			t.Error("the link of a dead process was kept")
		}
		o.Name = "mine.51"
		third, err := h.AddOwn(o, link)
		testnet.Must(t, err)
		if _, err := h.named("vrrp.51"); err == nil {
			t.Error("the link of a dead process has kept the hardware address")
		}
		o.Name = "eth0"
		if _, err := h.AddOwn(o, link); err == nil {
			t.Error("a link of another kind was replaced")
		}
		testnet.Must(t, h.DelLink(third.Index), h.DelLink(third.Index))
	})
}

// TestAnnouncement: the bytes on the wire (RFC 5227 3, RFC 4861 4.4, RFC 2464 7).
func TestAnnouncement(t *testing.T) {
	link := &Link{Name: "eth0", Ethernet: true, MAC: [6]byte{2, 0, 0, 0, 0, 1}}
	for _, c := range []struct{ addr, want string }{
		{"192.0.2.1", "ffffffffffff020000000001080600010800060400010200000000" + "01c0000201ffffffffffffc0000201"},
		{"fe80::1", "33330000000102000000000186dd6000000000203afffe800000000000000000000000000001ff020000000000000000000000000001" +
			"8800"},
	} {
		frame, err := announcement(link, netip.MustParseAddr(c.addr), true)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%x", frame); len(got) < len(c.want) || got[:len(c.want)] != c.want {
			t.Errorf("%s: %s, want %s", c.addr, got, c.want)
		}
	}
	if _, err := announcement(&Link{Name: "tun0"}, netip.MustParseAddr("192.0.2.1"), false); err == nil {
		t.Error("a link without hardware addresses announces")
	}
}
