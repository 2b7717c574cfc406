// SPDX-License-Identifier: Apache-2.0

package bfd

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// WriteData writes configuration and state of all sessions, in keepalived's form.
// It belongs to the loop: see [Engine.Do].
func (e *Engine) WriteData(w io.Writer, hears func(name string) (vrrp, checker bool)) error {
	var b strings.Builder
	b.WriteString("------< BFD Topology >------\n")
	for _, p := range e.peers {
		p.writeData(&b, hears)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (p *peer) writeData(b *strings.Builder, hears func(name string) (vrrp, checker bool)) {
	s, c := p.s, p.s.Config()
	line := func(format string, args ...any) { fmt.Fprintf(b, "   "+format+"\n", args...) }
	us := func(what string, d time.Duration) { line("%s = %d us", what, d.Microseconds()) }
	yes := map[bool]string{true: "Yes", false: "No"}
	bit := map[bool]string{true: "", false: "!"}
	number := map[bool]int{true: 1}
	fmt.Fprintf(b, " BFD Instance = %s\n", c.Name)
	line("Neighbor IP = %s", c.Neighbor)
	if c.Source.IsValid() {
		line("Source IP = %s", c.Source)
	}
	us("Required min RX interval", c.MinRx)
	us("Desired min TX interval", c.MinTx)
	us("Desired idle TX interval", c.IdleTx)
	line("Detection multiplier = %d", c.Multiplier)
	line("%s = %d", map[bool]string{true: "hoplimit", false: "TTL"}[c.Neighbor.Is6()], c.TTL)
	line("max_hops = %d", c.MaxHops)
	if c.Multihop {
		line("multihop = true")
	}
	line("passive = %t", c.Passive)
	toVRRP, toChecker := hears(c.Name)
	line("send event to VRRP process = %s", yes[toVRRP])
	line("send event to checker process = %s", yes[toChecker])
	line("send error = %t", p.failing)
	line("local state = %v", s.state)
	line("remote state = %v", s.remoteState)
	line("local discriminator = 0x%x", s.local)
	line("remote discriminator = 0x%x", s.remote)
	line("local diag = %v", s.diag)
	line("remote diag = %v", s.remoteDiag)
	us("remote min tx intv", s.remoteMinTx)
	us("remote min rx intv", s.remoteMinRx)
	line("local demand = 0")
	line("remote demand = %d", number[s.remoteDemand])
	line("remote detect multiplier = %d", s.remoteMultiplier)
	line("%spoll, %sfinal", bit[s.polling], bit[false])
	us("local tx intv", s.TxInterval())
	us("remote tx intv", max(s.remoteMinTx, s.minRx))
	us("local detection time", s.DetectionTime())
	us("remote detection time", s.remoteDetectionTime())
	if s.lastSeen.IsZero() {
		line("last_seen = [never]")
		return
	}
	micros := s.lastSeen.UnixMicro()
	line("last seen = %d.%06d (%s.%06d)", micros/1e6, micros%1e6, s.lastSeen.Format("Mon Jan _2 15:04:05 2006"), micros%1e6)
}
