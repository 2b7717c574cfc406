// SPDX-License-Identifier: Apache-2.0

package netif

import (
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Event is a change of a link or of an address.
type Event struct {
	Link *Link // the link as it is now; nil for an address
	Addr *Addr
	Gone bool // the link or address was deleted
}

// Watcher hands out the events of the namespace it was opened in.
type Watcher struct {
	stop chan struct{}
	wg   sync.WaitGroup
}

// watchBuffer holds the events of a burst, such as a link with many addresses
// that goes down, while the reader is busy; in bytes.
const watchBuffer = 4 << 20

// Watch calls post for every event, from goroutines of its own, in the
// kernel's order for links and for addresses each. When the kernel has dropped
// events, lost is called, and events may have been missed. buffer is the size in
// bytes of what the kernel may hold back; 0 is one for large bursts. force takes more than
// the host's limit.
func Watch(buffer int, force bool, post func(Event), lost func(error)) (*Watcher, error) {
	if buffer == 0 {
		buffer = watchBuffer
	}
	w := &Watcher{stop: make(chan struct{})}
	links, addrs := make(chan netlink.LinkUpdate, 64), make(chan netlink.AddrUpdate, 256)
	err := netlink.LinkSubscribeWithOptions(links, w.stop, netlink.LinkSubscribeOptions{
		ErrorCallback: lost, ReceiveBufferSize: buffer, ReceiveBufferForceSize: force,
	})
	if err != nil {
		return nil, err
	}
	w.wg.Go(func() {
		for u := range links {
			l := linkOf(u.Link)
			post(Event{Link: &l, Gone: u.Header.Type == unix.RTM_DELLINK})
		}
	})
	err = netlink.AddrSubscribeWithOptions(addrs, w.stop, netlink.AddrSubscribeOptions{
		ErrorCallback: lost, ReceiveBufferSize: buffer, ReceiveBufferForceSize: force,
	})
	if err != nil {
		w.Close()
		return nil, err
	}
	w.wg.Go(func() {
		for u := range addrs {
			a := addrOf(u.LinkIndex, &u.LinkAddress, u.Flags)
			if a.Prefix.IsValid() {
				post(Event{Addr: &a, Gone: !u.NewAddr})
			}
		}
	})
	return w, nil
}

// Close ends the watch and waits for its goroutines.
func (w *Watcher) Close() {
	close(w.stop)
	w.wg.Wait()
}
