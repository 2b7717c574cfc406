// SPDX-License-Identifier: Apache-2.0

package install

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lvs-fnat/lvs/internal/testvm"
)

// headers is one row of headers.txt.
type headers struct{ pkg, version string }

func (h headers) release() string { return strings.TrimPrefix(h.pkg, "linux-headers-") }

// source is the package with this kernel's sources.
func (h headers) source() string {
	part := strings.SplitN(h.release(), ".", 3)
	return "linux-source-" + part[0] + "." + part[1]
}

func known(t *testing.T) []headers {
	t.Helper()
	text, err := os.ReadFile("headers.txt")
	if err != nil {
		t.Fatal(err)
	}
	var all []headers
	for l := range strings.Lines(string(text)) {
		if f := strings.Fields(l); len(f) == 2 {
			all = append(all, headers{f[0], f[1]})
		}
	}
	return all
}

// TestDKMS builds by DKMS for every kernel in headers.txt if LVS_DKMS=all says so
// (`make dkms-check`). Otherwise it only looks whether the list has the kernels that
// TestInstall builds for: those of kmod/kernels.
func TestDKMS(t *testing.T) {
	all := known(t)
	for _, line := range testvm.Kernels() {
		release, err := testvm.Release(line)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(all, func(h headers) bool { return h.release() == release }) {
			t.Errorf("headers.txt has no %s, which kmod/kernels pins", release)
		}
	}
	if os.Getenv("LVS_DKMS") == "" {
		t.Logf("%d kernels are listed; `make dkms-check` builds for each", len(all))
		return
	}
	t.Run("list", func(t *testing.T) { wantComplete(t, all) })
	debs := build(t, "1.0")
	byVersion := map[string][]headers{}
	for _, h := range all {
		byVersion[h.version] = append(byVersion[h.version], h)
	}
	for _, h := range all {
		if rows := byVersion[h.version]; rows != nil {
			delete(byVersion, h.version)
			t.Run(h.version, func(t *testing.T) { buildFor(t, debs, rows) })
		}
	}
}

// wantComplete compares the list with what the archive has.
func wantComplete(t *testing.T, all []headers) {
	out, err := exec.CommandContext(t.Context(), "sh", "-c", `
		apt-cache madison $(apt-cache search --names-only '^linux-headers-6\.(1|12)\.[0-9].*-amd64$' | awk '{print $1}') |
			awk '{print $1, $3}' | sort -u`).Output()
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(out)) {
		f := strings.Fields(l)
		if len(f) == 2 && !slices.Contains(all, headers{f[0], f[1]}) {
			t.Errorf("the archive has %s %s, which headers.txt has not", f[0], f[1])
		}
	}
}

// buildFor installs the headers of one version's flavours, its sources, then ours.
func buildFor(t *testing.T, debs string, rows []headers) {
	m := &machine{root: newRoot(t)}
	// A directory of debs that holds the modules' package alone: the commands are
	// the same on each kernel.
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"lvs-dkms", "lvs-toa"} {
		data, err := os.ReadFile(deb(debs, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, filepath.Base(deb(debs, name))), data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	want := []string{fmt.Sprintf("%s=%s", rows[0].source(), rows[0].version)}
	var releases []string
	for _, h := range rows {
		want = append(want, fmt.Sprintf("%s=%s", h.pkg, h.version))
		releases = append(releases, h.release())
	}
	// Other kernels that this Debian came with are not built for.
	m.run(t, dir, "cd /lib/modules && for k in *; do case ' "+strings.Join(releases, " ")+" ' in *\" $k \"*) ;; *) rm $k/build ;; esac; done; apt-get -qq update && apt-get -qq -o Dpkg::Use-Pty=0 install -y --no-install-recommends --allow-downgrades "+strings.Join(want, " ")+" </dev/null")
	out := m.apt(t, dir)
	for _, h := range rows {
		t.Run(h.release(), func(t *testing.T) {
			for _, module := range []string{"ip_vs", "toa"} {
				got, err := m.try(t.Context(), dir, fmt.Sprintf("modinfo -k %s -n %s", h.release(), module))
				if err != nil || !strings.Contains(got, "/updates/dkms/"+module+".ko") {
					t.Errorf("%s: %s\n%s", module, got, out)
				}
			}
		})
	}
}
