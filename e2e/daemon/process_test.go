// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/internal/testnet"
)

// TestOnStockKeepalivedProcess: the kernel tells of the start and the end of a
// tracked process, also to a daemon in a network namespace, and the router follows at
// once; with terminate_delay after that.
func TestOnStockKeepalivedProcess(t *testing.T) {
	node, peer := testnet.New(t, "processes"), testnet.New(t, "processesp")
	testnet.Must(t, testnet.Veth(node, "eth0", peer, "eth0"), node.AddAddr("eth0", netip.MustParsePrefix("192.168.50.1/24")))
	program := t.TempDir() + "/tracked"
	testnet.Must(t, os.Symlink(original+"/busybox", program))
	d := launch(t, node, `global_defs {
    process_monitor_rcv_bufs 300000
    process_monitor_rcv_bufs_force
}
vrrp_track_process p {
    process tracked
}
vrrp_track_process q {
    process tracked
    terminate_delay 3
}
vrrp_instance NOW {
    interface eth0
    virtual_router_id 51
    track_process {
        p
    }
    virtual_ipaddress {
        192.168.50.100
    }
}
vrrp_instance LATER {
    interface eth0
    virtual_router_id 52
    track_process {
        q
    }
    virtual_ipaddress {
        192.168.50.101
    }
}
`)
	d.wait("(NOW) Entering FAULT STATE")
	begin := func() (end func()) {
		cmd := &exec.Cmd{Path: program, Args: []string{"cat"}} // what busybox is to be
		in, err := cmd.StdinPipe()
		testnet.Must(t, err, cmd.Start())
		return func() { testnet.Must(t, in.Close(), cmd.Wait()) }
	}
	const slack = 200 * time.Millisecond // of the guest's own time
	// Readings of /proc would see it after half a second, at the mean.
	soon := func(what, text string, least time.Duration, do func()) {
		t.Helper()
		at := time.Now()
		do()
		d.wait(text)
		if took := time.Since(at); took < least || took > least+2*slack {
			t.Errorf("%s: %q after %v, want %v", what, text, took, least)
		}
	}
	for range 3 {
		var end func()
		soon("start", "(NOW) Entering BACKUP STATE", 0, func() { end = begin() })
		soon("end", "(NOW) Entering FAULT STATE", 0, end)
		soon("end with a delay", "(LATER) Entering FAULT STATE", 3*time.Second-slack, func() {})
	}
	if strings.Contains(d.text(), "/proc is read") {
		t.Error("the kernel has told of no processes")
	}
}
