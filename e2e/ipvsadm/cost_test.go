// SPDX-License-Identifier: Apache-2.0

package ipvsadm

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lvs-fnat/lvs/internal/testnet"
)

// bigTables marks the guest that also measures tables of 10,000 services with
// the stock program, which takes minutes: make bench.
const bigTables = "LVS_BENCH"

// price is what one call costs: processor time, which in these guests counts
// instructions, and where it was measured, in KiB, resident memory at the peak and how
// much of it was pages of files, the program's own, at the end.
type price struct {
	user, system  time.Duration
	memory, files int64
}

func (p price) cpu() float64 { return float64(p.user+p.system) / 1e6 }

func (p price) String() string {
	text := fmt.Sprintf("%8.2f ms (%.2f in the kernel)", p.cpu(), float64(p.system)/1e6)
	if p.memory != 0 {
		text += fmt.Sprintf(" %d KiB, %d of files", p.memory, p.files)
	}
	return text
}

// cost makes one call and wants it to succeed.
func cost(t *testing.T, n *space, program, stdin string, args ...string) price {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Args, cmd.Env = append([]string{"ipvsadm"}, args...), []string{"PATH=/bin"}
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = strings.NewReader(stdin), &stderr
	testnet.Must(t, n.do(cmd.Start))
	defer alive(t, program, args)()
	if err := cmd.Wait(); err != nil || stderr.Len() > 0 {
		t.Fatalf("%s %v: %v, %s", program, args, err, &stderr)
	}
	return price{user: cmd.ProcessState.UserTime(), system: cmd.ProcessState.SystemTime()}
}

// alive says every two seconds of the guest's clock that a call is not back yet, until
// what it returns is called: the stock program's -R of a big table takes minutes of
// the host's, and a guest that is silent for long counts as hung.
func alive(t *testing.T, program string, args []string) (back func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick, since := time.NewTicker(2*time.Second), time.Now()
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case now := <-tick.C:
				t.Logf("%s %s: not back after %.0f s", program, strings.Join(args, " "), now.Sub(since).Seconds())
			}
		}
	}()
	return func() { cancel(); <-done }
}

// peak makes one call as cost does and returns its peak memory, too. What wait(2)
// says of that is no less than what this process had when it forked; so the kernel
// stops the child as it exits, to be asked, which costs some tens of thousands of
// instructions: not for calls that take few.
func peak(t *testing.T, n *space, program, stdin string, args ...string) (p price) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Args, cmd.Env = append([]string{"ipvsadm"}, args...), []string{"PATH=/bin"}
	cmd.Stdin, cmd.SysProcAttr = strings.NewReader(stdin), &syscall.SysProcAttr{Ptrace: true}
	defer alive(t, program, args)()
	testnet.Must(t, n.do(func() error { // all requests come from the thread that started it
		if err := cmd.Start(); err != nil {
			return err
		}
		pid, first := cmd.Process.Pid, true
		for {
			var status unix.WaitStatus
			var used unix.Rusage
			if _, err := unix.Wait4(pid, &status, unix.WALL, &used); err != nil {
				return err
			}
			signal := 0
			switch {
			case status.Exited() && status.ExitStatus() == 0:
				p.user, p.system = time.Duration(used.Utime.Nano()), time.Duration(used.Stime.Nano())
				return nil
			case status.Exited() || status.Signaled():
				return fmt.Errorf("%s %v: status %#x", program, args, status)
			case first:
				first = false
				if err := unix.PtraceSetOptions(pid, unix.PTRACE_O_TRACEEXIT|unix.PTRACE_O_EXITKILL); err != nil {
					return err
				}
			case status.TrapCause() == unix.PTRACE_EVENT_EXIT:
				text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
				if err != nil {
					return err
				}
				var memory int64 // pages of files in memory, as all of a guest's are
				for name, n := range map[string]*int64{"VmHWM:": &p.memory, "RssFile:": &p.files, "RssShmem:": &memory} {
					_, text, _ := bytes.Cut(text, []byte(name))
					if _, err := fmt.Sscan(string(text), n); err != nil {
						return err
					}
				}
				p.files += memory
			default:
				signal = int(status.StopSignal())
			}
			if err := unix.PtraceCont(pid, signal); err != nil {
				return err
			}
		}
	}))
	_ = cmd.Wait() // its status is read; what fed it ends
	return p
}

// bounds of the ratios to the stock program, at 1,000 services with 10 servers each.
// Instructions are counted, not time: a table's are the same within a tenth, a
// single call's within a fifth, as what the runtime's threads do depends on when they
// wake, so the least of some counts. A program in Go that ends at once (emptyProgram) takes as much as a whole call
// of the stock program (docs/scaling.md).
var bounds = []struct {
	call   string
	most   float64
	memory int64 // at any size; KiB
}{
	{"-A", 1.8, 0}, {"-D", 1.8, 0}, {"-L -n, empty", 1.8, 0}, {"-L -n -t 10.20.0.5:80", 2.2, 0},
	{"-R", 0.18, 7 << 10}, {"-L -n", 0.5, 16 << 10}, {"-S -n", 0.5, 16 << 10}, {"-L -n --stats", 0.5, 16 << 10},
}

// TestCosts compares what calls cost with the stock program, which does the
// same in the same guest.
func TestCosts(t *testing.T) {
	compareCosts(t, 1000, func(call string, ours, stock price, most float64) string {
		if ours.cpu() > most*stock.cpu() {
			return fmt.Sprintf("want %.2f at most", most)
		}
		return ""
	})
	if os.Getenv(bigTables) != "" {
		compareCosts(t, 10000, func(call string, ours, stock price, most float64) string {
			switch {
			case call == "-R" && ours.memory > stock.memory:
				return "want no more memory"
			// There the kernel's own estimators weigh, which both wait for.
			case call != "-R" && ours.cpu() > most*stock.cpu():
				return fmt.Sprintf("want %.2f at most", most)
			}
			return ""
		})
	}
}

func compareCosts(t *testing.T, services int, judge func(call string, ours, stock price, most float64) string) {
	lines := strings.Join(manyLines(services, 10), "\n") + "\n"
	// The first table of its size makes the kernel fetch memory that it then keeps
	// for the next, 70 to 90 million instructions' worth at 1,000 services: neither pays.
	n, err := newSpace()
	testnet.Must(t, err)
	cost(t, n, ourProgram, lines, "-R")
	testnet.Must(t, n.close())
	ours, stock := costs(t, ourProgram, lines), costs(t, stockProgram, lines)
	for _, b := range bounds {
		ours, stock := ours[b.call], stock[b.call]
		text := fmt.Sprintf("%5d x 10  %-22s ours %v, stock %v: %.2f of its instructions", services, b.call, ours, stock, ours.cpu()/stock.cpu())
		if bad := judge(b.call, ours, stock, b.most); bad != "" {
			t.Errorf("%s, %s", text, bad)
		} else {
			t.Log(text)
		}
		if b.memory != 0 && ours.memory > b.memory {
			t.Errorf("%s, want %d KiB at most", text, b.memory)
		}
	}
	t.Logf("a Go program that ends at once: %v", costs1(t, emptyProgram))
}

// costs makes the calls of bounds with a table of lines.
func costs(t *testing.T, program, lines string) map[string]price {
	n, err := newSpace()
	testnet.Must(t, err)
	prices := map[string]price{}
	// The least of five: the first of all fetches the program's pages, and a timer
	// may fall into any one.
	for range 5 {
		for _, c := range []struct{ call, args string }{{"-A", "-A -t 10.0.0.1:80"}, {"-D", "-D -t 10.0.0.1:80"}, {"-L -n, empty", "-L -n"}} {
			p := cost(t, n, program, "", strings.Fields(c.args)...)
			if least, seen := prices[c.call]; !seen || p.cpu() < least.cpu() {
				prices[c.call] = p
			}
		}
	}
	prices["-R"] = peak(t, n, program, lines, "-R")
	for _, args := range []string{"-L -n", "-S -n", "-L -n --stats", "-L -n -t 10.20.0.5:80"} {
		prices[args] = peak(t, n, program, "", strings.Fields(args)...)
	}
	testnet.Must(t, n.close())
	return prices
}

// costs1 is what a program costs that is given nothing to do.
func costs1(t *testing.T, program string) price {
	n, err := newSpace()
	testnet.Must(t, err)
	p := cost(t, n, program, "")
	at := peak(t, n, program, "")
	p.memory, p.files = at.memory, at.files
	testnet.Must(t, n.close())
	return p
}
