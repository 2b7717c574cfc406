// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/healthcheck"
	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/notify"
	"github.com/lvs-fnat/lvs/ipvs/ipvstest"
)

const followed = `
bfd_instance NEIGHBOR {
	neighbor_ip 10.0.2.11
	min_rx 100
	min_tx 100
	checker
}
bfd_instance ROUTER {
	neighbor_ip 10.0.2.12
	vrrp
}
` + nat

// TestBFDCheck: a server leaves the table while its session is down, by the words
// of the BFD process; a new process of the checkers asks for them.
func TestBFDCheck(t *testing.T) {
	conf := strings.Replace(followed, "TCP_CHECK {\n", "BFD_CHECK {\nname NEIGHBOR\n", 1)
	d := newDaemon(t, ipvstest.NewStock(), conf)
	d.app.engine = func(log *slog.Logger, _ *atomic.Pointer[notify.Policy], _ *config.Processes) (engine, error) {
		return healthcheck.New(healthcheck.Options{Log: log})
	}
	says := make(chan bool)
	asked := make(chan struct{}, 16)
	for _, k := range d.app.kinds {
		if k.name != childBFD {
			continue
		}
		k.run = func(ctx context.Context, c *child) error {
			if err := c.ready(); err != nil {
				return err
			}
			for {
				select {
				case <-ctx.Done():
					return nil
				case up := <-says:
					c.sayBFD(childCheckers, bfdWord{Name: "NEIGHBOR", Up: up, At: time.Now()})
				case <-c.relayed:
					asked <- struct{}{}
				case sig := <-c.heard:
					if sig == syscall.SIGTERM {
						return nil
					}
					c.reloaded(nil)
				}
			}
		}
	}
	d.start("-b", d.childPID+".bfd", "-D")
	<-asked
	d.holds(natLines)
	says <- false
	d.wait("Received BFD event: instance NEIGHBOR is in state Down")
	d.wait("BFD check of [NEIGHBOR] RS([10.0.2.11]:tcp:80) is DOWN")
	d.holds("-A -t 10.0.1.100:80 -s rr\n-a -t 10.0.1.100:80 -r 10.0.2.12:80 -m -w 1\n")
	says <- true
	d.wait("BFD check of [NEIGHBOR] RS([10.0.2.11]:tcp:80) is UP")
	d.holds(natLines)
	d.stop()
}
