// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lvs-fnat/lvs/internal/testnet"
)

// TestNotifications: scripts get the same arguments, and the FIFO the same lines in
// the same order, as from the original in the same scenario: start, take-over, an
// advert of lower priority, a fault and its end, a change of priority, the stop.
func TestNotifications(t *testing.T) {
	t.Parallel()
	type told struct{ FIFO, Scripts []string }
	all := combinations(t, func(t *testing.T, b *bed) told {
		n := b.nodes[0]
		out, fifo, weight := n.path("told"), n.path("fifo"), n.path("weight")
		testnet.Must(t,
			os.WriteFile(n.path("tell"), []byte("#!/bin/sh\necho \"$*\" >> "+out+"\n"), 0o755),
			os.WriteFile(weight, []byte("0\n"), 0o644))
		script := func(word, args string) string { return fmt.Sprintf(" %s \"%s %s\"\n", word, n.path("tell"), args) }
		scripts := func(who string) string {
			s := script("notify", who+" any")
			for _, word := range []string{"master", "backup", "fault", "stop"} {
				s += script("notify_"+word, who+" 'own "+word+"'")
			}
			return s
		}
		n.start(vi{
			prio:       150,
			globalDefs: "vrrp_notify_fifo " + fifo,
			outside:    "track_file w {\n file " + weight + "\n weight 1\n}\nvrrp_sync_group G {\n group {\n VI\n }\n sync_group_tracking_weight\n" + scripts("group") + "}",
			more:       "track_file {\n w\n }\n notify_priority_changes\n" + scripts("instance") + script("notify_master_rx_lower_pri", "lower"),
		}.conf())
		var pipe *os.File
		testnet.Eventually(t, limit, func() (err error) {
			pipe, err = os.OpenFile(fifo, os.O_RDWR, 0)
			return err
		})
		defer pipe.Close()
		lines := make(chan string, 100)
		go func() {
			buf := make([]byte, 4096)
			for {
				k, err := pipe.Read(buf)
				if err != nil {
					close(lines)
					return
				}
				for line := range strings.Lines(string(buf[:k])) {
					lines <- strings.TrimSuffix(line, "\n")
				}
			}
		}()
		var got []string
		// until waits for a line that only the step under way brings.
		until := func(line string) {
			t.Helper()
			deadline := time.After(limit)
			for !slices.Contains(got, line) {
				select {
				case l := <-lines:
					got = append(got, l)
				case <-deadline:
					t.Fatalf("the FIFO had no %q: %q", line, got)
				}
			}
		}
		until(`GROUP "G" MASTER 0`)
		// A lower master, whom ours does not reach, for one advert.
		var lower bool
		b.set(func(from, _ int, f *frame) []time.Duration {
			if from == 0 || from == 1 && lower {
				return nil
			}
			lower = lower || f.what == advert
			return []time.Duration{0}
		})
		b.nodes[1].start(vi{prio: 100}.conf())
		until(`INSTANCE "VI" MASTER_RX_LOWER_PRI 150`)
		b.nodes[1].kill()
		b.set(nil)
		testnet.Must(t, os.WriteFile(weight, []byte("7\n"), 0o644))
		until(`INSTANCE "VI" MASTER_PRIORITY 157`)
		testnet.Must(t, n.Down("eth0"))
		until(`GROUP "G" FAULT 0`)
		before := len(got)
		testnet.Must(t, n.Up("eth0"))
		testnet.Eventually(t, limit, func() error {
			for len(lines) > 0 {
				got = append(got, <-lines)
			}
			if !slices.Contains(got[before:], `GROUP "G" MASTER 0`) {
				return fmt.Errorf("not master again: %q", got)
			}
			return nil
		})
		n.stop()
		until(`GROUP "G" STOP 0`)
		// Scripts run beside each other and beside the end: two for each of twelve
		// states, and that of the lower master.
		var calls []string
		testnet.Eventually(t, limit, func() error {
			text, err := os.ReadFile(out)
			if calls = strings.Split(strings.TrimSpace(string(text)), "\n"); err == nil && len(calls) < 2*12+1 {
				err = fmt.Errorf("%d scripts have told: %q", len(calls), calls)
			}
			return err
		})
		slices.Sort(calls)
		return told{got, calls}
	})
	for _, pair := range []string{"ours-C", "ours-ours"} {
		if d := cmp.Diff(all["C-C"], all[pair]); d != "" {
			t.Errorf("%s, -original +ours:\n%s", pair, d)
		}
	}
}
