// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// fakeHost writes down what it was told, and fails to add addresses on demand.
type fakeHost struct {
	lines []string
	fail  error
}

func (h *fakeHost) SendAdvert(_ context.Context, c Config, priority uint8) error {
	h.lines = append(h.lines, fmt.Sprintf("vrrp send vrid %d priority %d", c.VRID, priority))
	return nil
}

func (h *fakeHost) AddAddrs(_ context.Context, c Config) error {
	h.lines = append(h.lines, fmt.Sprintf("ip addr add %v", c.Addrs))
	return h.fail
}

func (h *fakeHost) DelAddrs(_ context.Context, c Config) error {
	h.lines = append(h.lines, fmt.Sprintf("ip addr del %v", c.Addrs))
	return nil
}

func (h *fakeHost) Announce(_ context.Context, c Config, rounds int) error {
	h.lines = append(h.lines, fmt.Sprintf("arping -c %d %v", rounds, c.Addrs))
	return nil
}

func (h *fakeHost) Notify(_ context.Context, c Config, a Action) error {
	if a.Kind != Log {
		h.lines = append(h.lines, fmt.Sprintf("notify INSTANCE %s %v", c.Name, a.State))
	}
	return nil
}

// TestApply: the order of a take-over, and that one failed address neither
// stops it nor is forgotten.
func TestApply(t *testing.T) {
	m := newMachine(t, nil)
	m.Handle(epoch, Start{})
	host := &fakeHost{fail: errors.New("no such device")}
	err := Apply(t.Context(), host, m.Config(), m.Handle(epoch.Add(4*time.Second), Timeout{}))
	if !errors.Is(err, host.fail) || !strings.HasPrefix(err.Error(), "V: add: ") {
		t.Errorf("error %v", err)
	}
	want := `vrrp send vrid 51 priority 150
ip addr add [192.168.50.100]
arping -c 5 [192.168.50.100]
notify INSTANCE V MASTER`
	if got := strings.Join(host.lines, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
