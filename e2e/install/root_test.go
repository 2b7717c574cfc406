// SPDX-License-Identifier: Apache-2.0

// Package install tests what users install: the packages of `make deb` in a Debian
// 12 that debootstrap made, and the build of the modules for each kernel of Debian.
package install

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lvs-fnat/lvs/internal/testvm"
)

// root is a Debian of its own: what packaging/fetch.sh root made, read only, below
// an overlay that goes with the test.
type root struct {
	dir string // holds upper, work and mnt
}

func newRoot(t *testing.T) *root {
	t.Helper()
	base := filepath.Join(testvm.Cache(), "root")
	if _, err := os.Stat(base); err != nil {
		t.Fatalf("%v; run: make deps (or packaging/fetch.sh root)", err)
	}
	r := &root{t.TempDir()}
	for _, d := range []string{"upper", "work", "mnt"} {
		if err := os.Mkdir(filepath.Join(r.dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// enter mounts the overlay, for this command alone, and runs it there. $0 is the
// folder of the overlay, $1 the base, $2 the folder seen as /debs.
const enter = `
mount -t overlay overlay -o "lowerdir=$1,upperdir=$0/upper,workdir=$0/work" "$0/mnt"
mount -t proc proc "$0/mnt/proc"
mkdir -p "$0/mnt/debs" && mount --bind "$2" "$0/mnt/debs"
root=$0/mnt
shift 2
exec chroot "$root" /bin/sh -c "$1"`

// try runs a shell command in the root; debs is what it sees as /debs.
func (r *root) try(ctx context.Context, debs, command string) (string, error) {
	cmd := exec.CommandContext(ctx, "unshare", "--mount", "sh", "-euc", enter, r.dir, filepath.Join(testvm.Cache(), "root"), debs, command)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C"}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// run is try for what must succeed.
func (r *root) run(t *testing.T, debs, command string) string {
	t.Helper()
	out, err := r.try(t.Context(), debs, command)
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return out
}

// write puts a file into the root while no command runs there.
func (r *root) write(t *testing.T, name, text string, mode os.FileMode) {
	t.Helper()
	file := filepath.Join(r.dir, "upper", name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// want fails t unless text contains each of what.
func want(t *testing.T, text string, what ...string) {
	t.Helper()
	for _, w := range what {
		if !strings.Contains(text, w) {
			t.Errorf("%q is not in:\n%s", w, text)
		}
	}
}
