// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testvm"
)

// TestNoMemory: allocations of the module fail, one at a time, in the module that
// `make sanitize` builds (kmod/sanitize/ip_vs_x_fail.h): each on loading, and each in
// a new namespace. There is none then, and nothing is lost.
func TestNoMemory(t *testing.T) {
	needOurs(t)
	if _, err := os.Stat(failParam); err != nil {
		t.Fatalf("%v: this module's allocations do not fail on demand", err)
	}
	t.Run("72_module_load", caseFailLoad)
	t.Run("72_namespace", caseFailNamespace)
}

const failParam = "/sys/module/ip_vs/parameters/fail"

// failAfter makes the nth allocation from now on fail; 0 lets all succeed.
func failAfter(t *testing.T, n int) {
	t.Helper()
	testnet.Must(t, os.WriteFile(failParam, []byte(strconv.Itoa(n)), 0))
}

// failed reports whether the one has failed, and lets all succeed again.
func failed(t *testing.T) bool {
	t.Helper()
	text, err := os.ReadFile(failParam)
	testnet.Must(t, err)
	failAfter(t, 0)
	return strings.TrimSpace(string(text)) == "0"
}

// caseFailLoad: without memory the module does not load, and leaves nothing that
// would keep it from loading the next time.
func caseFailLoad(t *testing.T) {
	testnet.Must(t, unloadSchedulers(), testvm.Rmmod("ip_vs", 30*time.Second))
	for n := 1; ; n++ {
		if n > 200 {
			t.Fatal("loading takes more allocations than this test can believe")
		}
		err := testvm.Modprobe("ip_vs", "fail="+strconv.Itoa(n))
		if err == nil {
			if failed(t) {
				t.Errorf("the module is loaded, though allocation %d failed", n)
				continue
			}
			t.Logf("%d allocations", n-1)
			break
		}
		if loaded, lerr := testvm.Loaded(); lerr != nil || slices.Contains(loaded, "ip_vs") {
			t.Fatalf("modprobe failed, %v, and the module is there: %v", err, lerr)
		}
	}
}

// caseFailNamespace: there is no namespace, or all of it.
func caseFailNamespace(t *testing.T) {
	for n := 1; ; n++ {
		failAfter(t, n)
		ns, err := testnet.Open("short")
		missed := !failed(t)
		if (err == nil) != missed {
			t.Errorf("allocation %d failed: %v, the namespace: %v", n, !missed, err)
		}
		if err == nil {
			testnet.Must(t, ns.Close())
		} else if !errors.Is(err, syscall.ENOMEM) {
			t.Errorf("allocation %d: %v, want %v", n, err, syscall.ENOMEM)
		}
		if missed {
			t.Logf("%d allocations", n-1)
			return
		}
	}
}
