// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/netif"
	"github.com/lvs-fnat/lvs/internal/poll"
)

// TestBeat: a link whose driver has lost its partner is down whatever netlink says;
// without an answer netlink's word stands, and is said once.
func TestBeat(t *testing.T) {
	loop, err := poll.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer loop.Close()
	var log bytes.Buffer
	e := &Engine{loop: loop, log: slog.New(slog.NewTextHandler(&log, nil)), cfg: &config.Config{}}
	e.tracks.e = e
	e.cfg.VRRP.Linkbeats = []config.Linkbeat{{}, {Interface: "eth1", Method: config.BeatIOCTL}}
	e.links = links{byIndex: map[int]*netif.Link{
		1: {Index: 1, Name: "lo", Loopback: true, Up: true}, 2: {Index: 2, Name: "eth0", Up: true}, 3: {Index: 3, Name: "eth1", Up: true},
	}, held: map[int]*linkDelay{}, dead: map[int]bool{}}
	up, broken := true, error(nil)
	asked := map[string]config.BeatMethod{}
	e.beats.ask = func(link string, m config.BeatMethod) (bool, config.BeatMethod, error) {
		asked[link] = m
		if link == "eth1" {
			return true, m, nil
		}
		return up, config.BeatEthtool, broken
	}
	e.beats.follow(e)
	if len(asked) != 2 || asked["eth1"] != config.BeatIOCTL || asked["eth0"] != 0 {
		t.Fatalf("asked %v", asked)
	}
	for _, step := range []struct {
		up     bool
		broken error
		want   bool
	}{{true, nil, true}, {false, nil, false}, {true, nil, true}, {false, nil, false}, {false, errors.New("gone"), true}, {false, errors.New("gone"), true}} {
		up, broken = step.up, step.broken
		e.beats.Expire()
		if e.links.up(2) != step.want || !e.links.up(3) {
			t.Errorf("%+v: eth0 up %v, eth1 up %v", step, e.links.up(2), e.links.up(3))
		}
	}
	if asked["eth0"] != config.BeatEthtool {
		t.Errorf("asked %v after ETHTOOL was found", asked)
	}
	if n := strings.Count(log.String(), "linkbeat of eth0: gone"); n != 1 {
		t.Errorf("%d complaints in\n%s", n, log.String())
	}
	up, broken = false, nil
	e.beats.Expire()
	e.cfg.VRRP.Linkbeats = nil
	e.beats.follow(e)
	if !e.links.up(2) {
		t.Error("a link that is not asked any more stays down")
	}
}
