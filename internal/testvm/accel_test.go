// SPDX-License-Identifier: Apache-2.0

package testvm

import "testing"

func TestHostLocksPages(t *testing.T) {
	for _, c := range []struct {
		version  string
		ok, fail bool
	}{
		{version: "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)\nCopyright"},
		{version: "QEMU emulator version 8.0.5"},
		{version: "QEMU emulator version 8.1.0", ok: true},
		{version: "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)", ok: true},
		{version: "qemu: not found", fail: true},
	} {
		ok, err := locksPages(c.version)
		if ok != c.ok || err != nil != c.fail {
			t.Errorf("%q: %v, %v", c.version, ok, err)
		}
	}
}
