// SPDX-License-Identifier: Apache-2.0

package bfd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/internal/testnet"
)

// end is an engine in a namespace.
type end struct {
	t  *testing.T
	ns *testnet.NS
	e  *Engine

	mu      sync.Mutex // guards what follows
	log     bytes.Buffer
	reports []Report
}

// Write implements io.Writer for the log.
func (x *end) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.log.Write(p)
}

func (x *end) run(list ...Config) {
	x.t.Helper()
	log := slog.New(slog.NewTextHandler(x, &slog.HandlerOptions{Level: slog.LevelDebug}))
	testnet.Must(x.t, x.ns.Do(func() (err error) {
		x.e, err = Open(list, Options{Log: log, Changed: func(r Report) {
			x.mu.Lock()
			defer x.mu.Unlock()
			x.reports = append(x.reports, r)
		}})
		return err
	}))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- x.e.Run(ctx) }()
	x.t.Cleanup(func() {
		cancel()
		testnet.Must(x.t, <-done, x.e.Close())
	})
}

func (x *end) reload(list ...Config) {
	x.t.Helper()
	testnet.Must(x.t, x.e.Do(context.Background(), func() error {
		return x.ns.Do(func() error { return x.e.Reload(list) })
	}))
}

// said waits for a text in the log.
func (x *end) said(text string) {
	x.t.Helper()
	testnet.Eventually(x.t, time.Minute, func() error {
		x.mu.Lock()
		defer x.mu.Unlock()
		if !strings.Contains(x.log.String(), text) {
			return fmt.Errorf("no %q in\n%s", text, x.log.String())
		}
		return nil
	})
}

// told waits until the last report is this one.
func (x *end) told(up, fresh bool) {
	x.t.Helper()
	testnet.Eventually(x.t, time.Minute, func() error {
		x.mu.Lock()
		defer x.mu.Unlock()
		n := len(x.reports)
		if n == 0 || x.reports[n-1].Up != up || x.reports[n-1].Fresh != fresh {
			return fmt.Errorf("reports %+v, log\n%s", x.reports, x.log.String())
		}
		return nil
	})
}

// ends are two namespaces with a link between them, 10.0.0.1 and 10.0.0.2.
func ends(t *testing.T, name string) (a, b *end) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to make namespaces")
	}
	a, b = &end{t: t, ns: testnet.New(t, name+"a")}, &end{t: t, ns: testnet.New(t, name+"b")}
	testnet.Must(t, testnet.Veth(a.ns, "eth0", b.ns, "eth0"))
	for i, x := range []*end{a, b} {
		testnet.Must(t, x.ns.AddAddr("eth0", netip.MustParsePrefix(fmt.Sprintf("10.0.0.%d/24", i+1))))
	}
	return a, b
}

func toward(i int) Config {
	c := fast("P")
	c.Neighbor, c.Source = netip.MustParseAddr(fmt.Sprintf("10.0.0.%d", 3-i)), netip.MustParseAddr(fmt.Sprintf("10.0.0.%d", i))
	c.MinRx, c.MinTx, c.Multiplier = 300*time.Millisecond, 300*time.Millisecond, 5
	return c
}

// TestEngine: packets that come from too far away are not for a session; a reload
// changes what it sends with.
func TestEngine(t *testing.T) {
	t.Parallel()
	a, b := ends(t, "bfde")
	far := toward(2)
	far.TTL = 254
	a.run(toward(1))
	a.told(false, true)
	b.run(far)
	a.said("Discarding packet from 10.0.0.2:")
	a.said("Packet ttl(254) < 255 - discarding")
	a.told(false, false) // it had its time
	b.reload(toward(2))
	a.told(true, false)
	b.told(true, false)
	open := toward(1)
	open.MaxHops = -1
	a.reload(open)
	b.reload(far)
	b.reload() // the session ends in silence
	a.said("Control Detection Time Expired")
	a.told(false, false)
	b.reload(far)
	a.told(true, false)
	err := a.ns.Do(func() error {
		_, err := Open([]Config{toward(1)}, Options{Log: slog.Default()})
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "UDP port 3784") {
		t.Errorf("a second engine: %v", err)
	}
}

// TestMultihop: such a session has a port of its own, and does not hear what comes
// to the other.
func TestMultihop(t *testing.T) {
	t.Parallel()
	a, b := ends(t, "bfdm")
	far := toward(1)
	far.Multihop = true
	a.run(far)
	b.run(toward(2))
	b.told(false, false)
	a.told(false, false)
	near := toward(2)
	near.Multihop = true
	b.reload(near)
	a.told(true, false)
	b.told(true, false)
}

// TestStrangers: a packet for a session that comes from another address, or names a
// discriminator that nobody has, changes nothing.
func TestStrangers(t *testing.T) {
	e := &Engine{opts: Options{Changed: func(Report) {}}, log: slog.New(slog.DiscardHandler)}
	c := toward(1)
	e.peers = []*peer{{e: e, s: New(c, 11, middle)}}
	p := Packet{State: Down, Multiplier: 3, My: 22, MinTx: time.Second, MinRx: time.Second}
	neighbor, other := c.Neighbor, netip.MustParseAddr("10.0.0.77")
	for _, s := range []struct {
		name     string
		your     uint32
		src, dst netip.Addr
		port     int
		want     Fault
	}{
		{"another address", 0, other, c.Source, Port, FaultSession},
		{"another address, our discriminator", 11, other, c.Source, Port, FaultSession},
		{"to another address", 0, neighbor, other, Port, FaultSession},
		{"nobody's discriminator", 12, neighbor, c.Source, Port, FaultSession},
		{"the other port", 11, neighbor, c.Source, PortMultihop, FaultSession},
		{"a hop away", 11, neighbor, c.Source, Port, FaultTTL},
	} {
		p.Your = s.your
		d := datagram{src: s.src, dst: s.dst, port: 50000, ttl: 254, payload: p.Append(nil)}
		err := e.receive(&d, &listener{port: s.port})
		if m := (*Malformed)(nil); !errors.As(err, &m) || m.Fault != s.want {
			t.Errorf("%s: %v", s.name, err)
		}
		if e.peers[0].s.remote != 0 {
			t.Fatalf("%s: it was heard", s.name)
		}
	}
}
