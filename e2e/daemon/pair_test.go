// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/ipvs"
)

// director is one of a pair.
type director struct {
	*testnet.NS
	cmd *exec.Cmd
	log *daemon
}

// pairConf is what both directors run, but for priority and local address.
const pairConf = `global_defs {
    lvs_sync_daemon back inst VI
}
vrrp_instance VI {
    interface front
    virtual_router_id 51
    priority %d
    advert_int 1
    virtual_ipaddress {
        10.0.1.100/24
    }
}
local_address_group back {
    %s
}
virtual_server 10.0.1.100 80 {
    delay_loop 1
    lb_algo rr
    lb_kind FNAT
    protocol TCP
    laddr_group_name back
    real_server 10.0.2.11 80 {
        TCP_CHECK {
            connect_timeout 1
            warmup 0
        }
    }
}
`

// TestKeepalivedPair: two FNAT directors share an address by VRRP; new connections
// go on when the master ends, and when it is killed, after the time that the
// protocol takes.
//
//	c .2 ── front 10.0.1.0/24 ── .11 d1 .1 ── back 10.0.2.0/24 ── .11 r1
//	                          └─ .12 d2 .2 ─┘
func TestKeepalivedPair(t *testing.T) {
	sw, client, server := testnet.New(t, "sw"), testnet.New(t, "c"), testnet.New(t, "r1")
	for _, name := range []string{"front", "back"} {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		testnet.Must(t, sw.AddLink(&netlink.Bridge{LinkAttrs: attrs}))
	}
	join := func(n *testnet.NS, link, bridge string, addrs ...string) {
		t.Helper()
		port := n.Name + link
		testnet.Must(t, testnet.Veth(n, link, sw, port))
		br, err := sw.Link.LinkByName(bridge)
		testnet.Must(t, err)
		p, err := sw.Link.LinkByName(port)
		testnet.Must(t, err, sw.Link.LinkSetMaster(p, br))
		for _, a := range addrs {
			testnet.Must(t, n.AddAddr(link, netip.MustParsePrefix(a)))
		}
	}
	join(client, "eth0", "front", "10.0.1.2/24")
	join(server, "eth0", "back", "10.0.2.11/24", "2001:db8:2::11/64")
	r := &realServer{host: &testnet.Host{NS: server, V4: netip.MustParseAddr("10.0.2.11"), V6: netip.MustParseAddr("2001:db8:2::11")}}
	r.start(t)
	t.Cleanup(r.stop)

	var pair [2]*director
	start := func(i int) {
		d := pair[i]
		dir := t.TempDir()
		conf := filepath.Join(dir, "k.conf")
		testnet.Must(t, os.WriteFile(conf, fmt.Appendf(nil, pairConf, 150-50*i, fmt.Sprintf("10.0.2.%d", 201+i)), 0o600))
		d.log = &daemon{t: t, done: make(chan error, 1)}
		d.cmd = exec.Command("/usr/sbin/keepalived", "-n", "-l", "-D", "-f", conf, "-p", dir+"/pid", "-r", dir+"/vrrp", "-c", dir+"/checkers", "-b", dir+"/bfd")
		d.cmd.Stderr = d.log
		d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		testnet.Must(t, d.Start(d.cmd))
		cmd, log := d.cmd, d.log
		go func() { log.done <- cmd.Wait() }()
	}
	for i := range pair {
		pair[i] = &director{NS: testnet.New(t, fmt.Sprintf("d%d", i+1))}
		join(pair[i].NS, "front", "front", fmt.Sprintf("10.0.1.%d/24", 11+i))
		join(pair[i].NS, "back", "back", fmt.Sprintf("10.0.2.%d/24", 1+i), fmt.Sprintf("10.0.2.%d/32", 201+i))
		testnet.Must(t, pair[i].Sysctl("net.ipv4.ip_forward", "1"))
		start(i)
		t.Cleanup(func() {
			_ = syscall.Kill(-pair[i].cmd.Process.Pid, syscall.SIGKILL)
			if t.Failed() {
				t.Logf("log of director %d:\n%s", i+1, pair[i].log.text())
			}
		})
	}

	// Each try is a connection of its own; its end and whether it went well.
	type try struct {
		at time.Time
		ok bool
	}
	var mu sync.Mutex
	var tries []try
	http1 := &http.Client{Transport: &http.Transport{DialContext: client.DialContext, DisableKeepAlives: true}, Timeout: 300 * time.Millisecond}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for tick := time.NewTicker(50 * time.Millisecond); ; {
			select {
			case <-stop:
				tick.Stop()
				return
			case <-tick.C:
			}
			resp, err := http1.Get("http://10.0.1.100/")
			if err == nil {
				resp.Body.Close()
			}
			mu.Lock()
			tries = append(tries, try{time.Now(), err == nil})
			mu.Unlock()
		}
	}()
	defer func() { close(stop); <-done }()
	// flows waits for ten good tries in a row that began after a time, and returns
	// how long after it the first of them ended.
	flows := func(what string, since time.Time) time.Duration {
		t.Helper()
		var first time.Duration
		testnet.Eventually(t, 30*time.Second, func() error {
			mu.Lock()
			defer mu.Unlock()
			run := 0
			for _, x := range tries {
				if x.at.Sub(since) < 400*time.Millisecond {
					continue
				}
				if run++; !x.ok {
					run = 0
				} else if run == 1 {
					first = x.at.Sub(since)
				}
			}
			if run < 10 {
				return fmt.Errorf("%s: %d good connections in a row", what, run)
			}
			return nil
		})
		return first
	}
	at := time.Now()
	flows("start", at)
	pair[0].log.wait("Entering MASTER STATE")

	daemons := func(want ...ipvs.SyncState) {
		t.Helper()
		for i, w := range want {
			testnet.Eventually(t, 30*time.Second, func() error {
				var list []ipvs.Daemon
				err := pair[i].Do(func() error {
					k, err := ipvs.Dial(t.Context())
					if err != nil {
						return err
					}
					defer k.Close()
					list, err = k.Daemons(t.Context())
					return err
				})
				if err == nil && (len(list) != 1 || list[0].State != w || list[0].SyncID != 51 || list[0].Interface != "back") {
					err = fmt.Errorf("director %d runs %+v, want state %d", i+1, list, w)
				}
				return err
			})
		}
	}
	daemons(ipvs.SyncMaster, ipvs.SyncBackup)

	at = time.Now()
	testnet.Must(t, pair[0].cmd.Process.Signal(syscall.SIGTERM))
	if d := flows("after the end of the master", at); d > 3*time.Second {
		t.Errorf("connections stood for %v after an orderly end", d)
	}
	<-pair[0].log.done

	start(0)
	pair[0].log.wait("Entering MASTER STATE")
	flows("after preemption", time.Now())
	daemons(ipvs.SyncMaster, ipvs.SyncBackup)

	// The clock of the host jumps, for both: nothing of theirs goes by it.
	before := [2]string{pair[0].log.text(), pair[1].log.text()}
	for _, jump := range []time.Duration{time.Hour, -2 * time.Hour, time.Hour} {
		now := unix.NsecToTimeval(time.Now().Add(jump).UnixNano())
		testnet.Must(t, unix.Settimeofday(&now))
		flows("after a jump of the clock", time.Now().Add(4*time.Second)) // longer than a backup waits
	}
	for i, d := range pair {
		said := strings.TrimPrefix(d.log.text(), before[i])
		if strings.Contains(said, " STATE") {
			t.Errorf("director %d has changed its state with the clock: %s", i+1, said)
		}
	}

	at = time.Now()
	testnet.Must(t, syscall.Kill(-pair[0].cmd.Process.Pid, syscall.SIGKILL))
	// Its connections go on without it until the other takes the address.
	pair[1].log.wait("Entering MASTER STATE")
	pair[1].log.wait("Entering MASTER STATE")
	if d := time.Since(at); d > 5*time.Second {
		t.Errorf("the backup has waited %v", d)
	}
	flows("after a death", time.Now())
}
