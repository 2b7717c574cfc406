// SPDX-License-Identifier: Apache-2.0

package install

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lvs-fnat/lvs/internal/testvm"
)

// TestFromClone follows docs/kernel-module.md without packages: make install, make deb
// and make dkms-install in a clone, as it comes.
func TestFromClone(t *testing.T) {
	top, err := testvm.Root()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	clone := filepath.Join(dir, "lvs")
	output(t, "git", "clone", "-q", top, clone)
	t.Run("install", func(t *testing.T) { installFromClone(t, clone) })
	t.Run("dkms_install", func(t *testing.T) { dkmsFromClone(t, clone) })
}

func installFromClone(t *testing.T, clone string) {
	dest := t.TempDir()
	output(t, "make", "-s", "-C", clone, "install", "DESTDIR="+dest)
	for _, file := range []string{
		"usr/local/sbin/ipvsadm", "usr/local/sbin/ipvsadm-save", "usr/local/sbin/ipvsadm-restore", "usr/local/sbin/keepalived", "usr/local/bin/genhash", "usr/local/sbin/toa-bpf",
		"usr/local/share/man/man1/genhash.1", "usr/local/share/man/man8/ipvsadm.8", "usr/local/share/man/man5/keepalived.conf.5", "usr/local/lib/systemd/system/keepalived.service",
		"etc/default/keepalived", "etc/ipvsadm.rules", "usr/local/share/bash-completion/completions/keepalived", "usr/local/share/doc/lvs-dkms/kernel-module.md",
	} {
		if info, err := os.Stat(filepath.Join(dest, file)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", file, err)
		}
	}
	version := strings.TrimSpace(output(t, "git", "-C", clone, "describe", "--tags", "--always"))
	out, err := exec.CommandContext(t.Context(), filepath.Join(dest, "usr/local/sbin/keepalived"), "-v").CombinedOutput()
	if err != nil || !strings.Contains(string(out), version) {
		t.Errorf("keepalived -v: %v\n%swant version %s", err, out, version)
	}
	// Nothing that is installed names a place where packages put things, or a
	// word that should have been replaced.
	err = filepath.WalkDir(dest, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.Contains(path, "/share/") || strings.HasSuffix(path, "/keepalived") && strings.Contains(path, "/sbin/") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil || strings.HasPrefix(string(text), "\x7fELF") {
			return err
		}
		for _, bad := range []string{"/usr/sbin/", "/usr/lib/lvs-", "@VERSION@", "@PACKAGE@"} {
			if strings.Contains(string(text), bad) {
				t.Errorf("%s names %s", path, bad)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	// A second time settings stay as they are.
	settings := filepath.Join(dest, "etc/default/keepalived")
	if err := os.WriteFile(settings, []byte("mine\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	output(t, "make", "-s", "-C", clone, "install", "DESTDIR="+dest)
	if text, err := os.ReadFile(settings); err != nil || string(text) != "mine\n" {
		t.Errorf("the settings are %q, %v", text, err)
	}
	output(t, "make", "-s", "-C", clone, "deb")
	for _, name := range names {
		if info, err := os.Stat(deb(filepath.Join(clone, "bin/deb"), name)); err != nil || info.Size() == 0 {
			t.Errorf("make deb makes no %s: %v", name, err)
		}
	}
}

// dkmsFromClone runs on a machine without headers: what is built, and how, is
// TestInstall's. Headers that come then find a hook in place.
func dkmsFromClone(t *testing.T, clone string) {
	m := &machine{root: newRoot(t)}
	m.run(t, "/tmp", "for d in /lib/modules/*; do mv $d/build $d/later; done")
	for range 2 { // as after a pull
		m.run(t, clone, "make -s -C /debs dkms-install VERSION=1.2 2>&1")
		status := m.run(t, "/tmp", "dkms status 2>/dev/null")
		want(t, status, "lvs/1.2: added", "lvs-toa/1.2: added")
	}
	want(t, m.run(t, "/tmp", "cat /etc/kernel/header_postinst.d/lvs-dkms /etc/kernel/postinst.d/lvs-toa"), "/usr/local/lib/lvs-dkms/dkms-build lvs 1.2", "/usr/local/lib/lvs-toa/dkms-build lvs-toa 1.2")
	m.run(t, "/tmp", "test -s /usr/src/lvs-1.2/dkms.conf && test -x /usr/src/lvs-1.2/prepare.sh && test -x /usr/local/lib/lvs-dkms/dkms-build")
	first, err := testvm.Release("6.1")
	if err != nil {
		t.Fatal(err)
	}
	// Headers of a kernel that this version does not know: the hook says so, and
	// the installation of the kernel goes on.
	out := m.run(t, "/tmp", "mkdir -p /lib/modules/5.10.0-1-amd64/build/include && run-parts --exit-on-error --arg=5.10.0-1-amd64 /etc/kernel/header_postinst.d 2>&1")
	want(t, out, "lvs-dkms: no ip_vs.ko for Linux 5.10.0-1-amd64", "this version knows the kernels 6.1 and 6.12 of Debian")
	m.wantStock(t, first)
}
