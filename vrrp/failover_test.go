// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestFailoverOfKeepalived puts our backup in the place of keepalived's in a
// recorded session: hearing the same master it has to send the same bytes at
// the same time: late by what its process took, early by how exact the recorder's
// clock was.
func TestFailoverOfKeepalived(t *testing.T) {
	const late, early = 60 * time.Millisecond, 5 * time.Millisecond
	text, err := os.ReadFile("testdata/failover-ah.txt")
	if err != nil {
		t.Fatal(err)
	}
	m := newMachine(t, func(c *Config) { c.Priority, c.Source = 100, vrrpPeer })
	r := receiverOf(captures4[3].advert)
	cfg := m.Config()
	id, now := uint16(0), epoch
	m.Handle(now, Start{})
	send := func(a Action) []byte {
		advert := cfg.Advert(a.Priority, AuthAH, secret)
		id++
		b, err := advert.AppendIPv4(nil, cfg.Source, MulticastIPv4, id, TTL, ChecksumPseudo, secret, r.NextSequence())
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	adverts := func(actions []Action) (out []Action) {
		for _, a := range actions {
			if a.Kind == SendAdvert {
				out = append(out, a)
			}
		}
		return out
	}
	ours, theirs := 0, 0
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		at, packet, _ := strings.Cut(strings.TrimSpace(line), " ")
		seconds, err := strconv.ParseFloat(at, 64)
		if err != nil {
			t.Fatal(err)
		}
		now = epoch.Add(time.Duration(seconds * float64(time.Second)))
		d, err := ParseIPv4(unhex(t, packet))
		if err != nil {
			t.Fatal(err)
		}
		if d.Src != cfg.Source {
			a, n, err := r.Accept(d)
			if err != nil || n != (Notice{}) {
				t.Fatalf("%s: %v %v", at, err, n)
			}
			if out := adverts(m.Handle(now, Received{a, d.Src})); len(out) != 0 {
				t.Fatalf("%s: answered %v", at, out)
			}
			theirs++
			continue
		}
		var out []Action
		if stopping := d.Payload[24+2] == ReleasePriority; stopping {
			out = adverts(m.Handle(now, Stop{}))
		} else {
			due := m.advert
			if m.State() == Backup {
				due = m.down
			}
			if d := now.Sub(due); d < -early || d > late {
				t.Fatalf("%s: keepalived sent %v after our time", at, d)
			}
			if now.Before(due) {
				now = due
			}
			out = adverts(m.Handle(now, Timeout{}))
		}
		if len(out) != 1 {
			t.Fatalf("%s: %v", at, out)
		}
		if got := send(out[0]); !bytes.Equal(got, d.IP) {
			t.Fatalf("%s:\n got %x\nwant %x", at, got, d.IP)
		}
		ours++
	}
	if ours != 9 || theirs != 10 {
		t.Errorf("%d packets of ours, %d of the peer", ours, theirs)
	}
}
