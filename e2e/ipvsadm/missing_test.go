// SPDX-License-Identifier: Apache-2.0

package ipvsadm

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testvm"
)

// loader is where both programs and the kernel look for modprobe.
const loader = "/sbin/modprobe"

// TestMissing: without ip_vs both load it, or say alike that they cannot, whatever
// modprobe does. It is the last test of its guest, by the name of its file: it leaves
// nothing loaded.
func TestMissing(t *testing.T) {
	const real = loader + ".real"
	testnet.Must(t, os.Rename(loader, real))
	t.Cleanup(func() {
		testnet.Must(t, unload(), os.Remove(loader), os.Rename(real, loader))
	})
	for _, c := range []struct {
		name, script string
		loads        bool
	}{
		{"no modprobe", "", false},
		{"modprobe fails", "#!/bin/sh\necho \"modprobe: FATAL: $*\" >&2\necho out\nexit 1\n", false},
		{"modprobe does nothing", "#!/bin/sh\nexit 0\n", false},
		{"modprobe loads when asked by the program", "#!/bin/sh\n[ \"$1\" = -q ] && exit 1\nexec -a modprobe " + real + " \"$@\"\n", true},
		{"modprobe loads when asked by the kernel", "#!/bin/sh\n[ \"$1\" = -q ] || exit 1\nexec -a modprobe " + real + " \"$@\"\n", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := os.Remove(loader); !errors.Is(err, os.ErrNotExist) {
				testnet.Must(t, err)
			}
			if c.script != "" {
				script := strings.Replace(c.script, "/bin/sh", "/bin/bash", 1)
				testnet.Must(t, os.WriteFile(loader, []byte(script), 0o755))
			}
			for _, args := range []string{"-L -n", "-h", "", "-A -t 10.0.0.1:80", "-R"} {
				if args == "-h" && c.loads {
					continue // the help texts differ
				}
				for _, place := range []string{"", "nobody"} {
					var got []outcome
					for _, program := range []string{stockProgram, ourProgram} {
						testnet.Must(t, unload())
						n, err := newSpace()
						testnet.Must(t, err)
						o, err := (&testCase{places: []string{place}}).run(t, n, program, &call{args: strings.Fields(args)})
						testnet.Must(t, err, n.fd.Close())
						got = append(got, o)
						// The program's modprobe has its caller's privileges.
						want := c.loads && (place == "" || strings.Contains(c.name, "kernel"))
						if want != loadedNow(t) {
							t.Errorf("%s %s %s: ip_vs is loaded: %t", program, args, place, !want)
						}
					}
					if got[0] != got[1] {
						t.Errorf("ipvsadm %s %s, -stock +ours:\n%s", args, place, gocmp.Diff(got[0].String(), got[1].String()))
					}
				}
			}
		})
	}
}

func loadedNow(t *testing.T) bool {
	names, err := testvm.Loaded()
	testnet.Must(t, err)
	return slices.Contains(names, "ip_vs")
}

// unload removes ip_vs and the schedulers that stand on it.
func unload() error {
	names, err := testvm.Loaded()
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range names { // the latest comes first
		if strings.HasPrefix(m, "ip_vs") {
			errs = append(errs, testvm.Rmmod(m, time.Minute))
		}
	}
	return errors.Join(errs...)
}
