// SPDX-License-Identifier: Apache-2.0

package checks

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/internal/testnet"
)

// The distribution's keepalived and ours, in the guest.
const (
	stock = "/usr/sbin/keepalived.stock"
	ours  = "/usr/sbin/keepalived"
)

// virtualServers is a file of n virtual servers with two real servers and
// their checks, 0.6 KB each.
func virtualServers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "virtual_server 10.%d.%d.%d 80 {\n    delay_loop 7\n    lb_algo wrr\n    lb_kind NAT\n    protocol TCP\n    quorum 1\n", i>>16, i>>8&255, i&255)
		for r := range 2 {
			fmt.Fprintf(&b, "    real_server 172.16.%d.%d 8080 {\n        weight 100\n        inhibit_on_failure\n        TCP_CHECK {\n            connect_timeout 3\n            retry 2\n            delay_before_retry 1\n            connect_port 8080\n        }\n    }\n", i>>8&255, r+1)
		}
		b.WriteString("}\n")
	}
	return b.String()
}

// cost is what a command takes.
type cost struct {
	cpu    time.Duration // that is, instructions: this guest counts them
	memory float64       // at the peak, in a unit of busybox' time
}

// measure runs a command to its end. A process begins with the peak of the one
// that started it, so it is a small one that does.
func measure(t *testing.T, command ...string) cost {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/bin/busybox", append([]string{"time", "-f", "%M"}, command...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", command, err, out)
	}
	memory, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
	testnet.Must(t, err)
	return cost{cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), memory}
}

// TestCostOfConfigTest holds -t of 10,000 virtual servers to a fifth of the
// original's instructions, which on real processors is a third of its time, and
// to two and a half times its memory.
func TestCostOfConfigTest(t *testing.T) {
	file := filepath.Join(t.TempDir(), "k.conf")
	testnet.Must(t, os.WriteFile(file, []byte(virtualServers(10_000)), 0o600))
	o, c := measure(t, stock, "-t", "-f", file), measure(t, ours, "-t", "-f", file)
	cpu, memory := c.cpu.Seconds()/o.cpu.Seconds(), c.memory/o.memory
	t.Logf("-t of 10,000 virtual servers: %v for instructions, original %v: %.2f; %.2f of its memory", c.cpu, o.cpu, cpu, memory)
	if cpu > 0.2 || memory > 2.5 {
		t.Errorf("%.2f of the original's instructions and %.2f of its memory, want at most 0.2 and 2.5", cpu, memory)
	}
}
