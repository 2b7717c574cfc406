// SPDX-License-Identifier: Apache-2.0

package supervise

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Tuning is how the kernel treats this process. Zero values leave things as they
// are.
type Tuning struct {
	Name       string // comm, at most 15 bytes
	Nice       int
	RTPriority int           // of SCHED_RR
	RTLimit    time.Duration // CPU time without a pause under RTPriority (RLIMIT_RTTIME)
	CPUs       []int
	NoSwap     bool
}

// Apply does what t says. Everything is tried; the error names what failed.
func (t *Tuning) Apply() error {
	var errs []error
	if t.Name != "" {
		errs = append(errs, os.WriteFile("/proc/self/comm", []byte(t.Name), 0))
	}
	if t.RTLimit > 0 {
		n := uint64(t.RTLimit / time.Microsecond)
		if err := unix.Setrlimit(unix.RLIMIT_RTTIME, &unix.Rlimit{Cur: n, Max: n}); err != nil {
			errs = append(errs, fmt.Errorf("limit real-time CPU time: %w", err))
		}
	}
	if t.Nice != 0 || t.RTPriority > 0 || len(t.CPUs) > 0 {
		errs = append(errs, t.threads())
	}
	if t.NoSwap {
		if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE); err != nil {
			errs = append(errs, fmt.Errorf("lock memory: %w", err))
		}
	}
	return errors.Join(errs...)
}

// threads sets what Linux keeps by thread. A new thread takes it from the one that
// makes it, so two rounds reach those that came up meanwhile, too.
func (t *Tuning) threads() error {
	var set unix.CPUSet
	for _, c := range t.CPUs {
		set.Set(c)
	}
	for range 2 {
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		for _, task := range tasks {
			tid, err := strconv.Atoi(task.Name())
			if err != nil {
				return err
			}
			// A thread may be gone by now.
			if err := t.thread(tid, &set); err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
		}
	}
	return nil
}

func (t *Tuning) thread(tid int, set *unix.CPUSet) error {
	if t.Nice != 0 {
		if err := unix.Setpriority(unix.PRIO_PROCESS, tid, t.Nice); err != nil {
			return fmt.Errorf("set priority %d: %w", t.Nice, err)
		}
	}
	if len(t.CPUs) > 0 {
		if err := unix.SchedSetaffinity(tid, set); err != nil {
			return fmt.Errorf("set CPU affinity to %v: %w", t.CPUs, err)
		}
	}
	if t.RTPriority > 0 {
		a := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: uint32(t.RTPriority)}
		if err := unix.SchedSetAttr(tid, &a, 0); err != nil {
			return fmt.Errorf("set real-time priority %d: %w", t.RTPriority, err)
		}
	}
	return nil
}

// CoreDump has a crash of this process, and of its children, leave a core file;
// pattern, unless empty, becomes the host's (core(5)).
func CoreDump(pattern string) error {
	debug.SetTraceback("crash")
	err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY})
	if pattern != "" {
		err = errors.Join(err, os.WriteFile("/proc/sys/kernel/core_pattern", []byte(pattern), 0))
	}
	return err
}

// Umask sets the mask of files that this process makes.
func Umask(mask int) { unix.Umask(mask) }
