// SPDX-License-Identifier: Apache-2.0

package install

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/internal/testvm"
)

var names = []string{"lvs-dkms", "lvs-ipvsadm", "lvs-keepalived", "lvs-toa"}

// build makes the packages in a version and returns their folder.
func build(t *testing.T, version string) string {
	t.Helper()
	top, err := testvm.Root()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(top, "packaging", "deb.sh"), version, dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("deb.sh: %v (commands must be built: make)\n%s", err, out)
	}
	return dir
}

func deb(dir, name string) string {
	files, _ := filepath.Glob(filepath.Join(dir, name+"_*.deb"))
	if len(files) != 1 {
		return filepath.Join(dir, name+".deb")
	}
	return files[0]
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s%s", name, args, err, out, &stderr)
	}
	return string(out)
}

// TestPackages: what is in them, before anybody installs them.
func TestPackages(t *testing.T) {
	dir := build(t, "1.0")
	for _, c := range []struct {
		name, conffiles string
		fields          []string
		files           []string
	}{
		{"lvs-dkms", "/etc/kernel/header_postinst.d/lvs-dkms /etc/kernel/postinst.d/lvs-dkms",
			[]string{"Depends: dkms", "linux-source-6.1 | linux-source-6.12", "linux-headers-amd64 |"},
			[]string{"-rw-r--r-- root/root ./usr/src/lvs-1.0/dkms.conf", "-rwxr-xr-x root/root ./usr/src/lvs-1.0/prepare.sh", "-rwxr-xr-x root/root ./usr/lib/lvs-dkms/dkms-build"}},
		{"lvs-ipvsadm", "/etc/default/ipvsadm /etc/ipvsadm.rules",
			[]string{"Provides: ipvsadm (= 1:1.31)", "Conflicts: ipvsadm", "Replaces: ipvsadm"},
			[]string{"-rwxr-xr-x root/root ./usr/sbin/ipvsadm", "-rw-r--r-- root/root ./lib/systemd/system/ipvsadm.service", "./usr/share/man/man8/ipvsadm.8.gz"}},
		{"lvs-keepalived", "/etc/default/keepalived",
			[]string{"Provides: keepalived (= 1:2.2.7)", "Conflicts: keepalived", "Replaces: keepalived"},
			[]string{"-rwxr-xr-x root/root ./usr/sbin/keepalived", "lrwxrwxrwx root/root ./usr/bin/genhash -> ../sbin/keepalived", "./usr/share/man/man1/genhash.1.gz", "-rw-r--r-- root/root ./lib/systemd/system/keepalived.service", "./usr/share/man/man5/keepalived.conf.5.gz"}},
		{"lvs-toa", "/etc/default/toa-bpf /etc/kernel/header_postinst.d/lvs-toa /etc/kernel/postinst.d/lvs-toa",
			nil,
			[]string{"-rwxr-xr-x root/root ./usr/sbin/toa-bpf", "-rw-r--r-- root/root ./lib/systemd/system/toa-bpf.service", "./usr/src/lvs-toa-1.0/toa.c"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := deb(dir, c.name)
			want(t, output(t, "dpkg-deb", "-f", file), c.fields...)
			if got := strings.Join(strings.Fields(output(t, "dpkg-deb", "-I", file, "conffiles")), " "); got != c.conffiles {
				t.Errorf("conffiles are %s, want %s", got, c.conffiles)
			}
			listing := regexp.MustCompile(` +\d+ [\d-]+ [\d:]+ `).ReplaceAllString(output(t, "dpkg-deb", "-c", file), " ")
			want(t, listing, c.files...)
			if strings.Contains(listing, "@") || regexp.MustCompile(`\./usr/local|\.(orig|rej|ko)\b`).MatchString(listing) {
				t.Errorf("what is that?\n%s", listing)
			}
		})
	}
	t.Run("lintian", func(t *testing.T) {
		args := []string{"--fail-on", "error", "--allow-root"}
		for _, n := range names {
			args = append(args, deb(dir, n))
		}
		if tags := output(t, "lintian", args...); strings.Contains(tags, "E: ") {
			t.Error(tags)
		}
	})
	t.Run("version_of_a_commit", func(t *testing.T) {
		if f := deb(build(t, "0a1b2c3-dirty"), "lvs-toa"); !regexp.MustCompile(`_0~git\d{8}\.0a1b2c3\.dirty_`).MatchString(f) {
			t.Errorf("%s: want 0~git, the date and the commit, which sorts below any release", f)
		}
	})
}

// mok is a machine owner's key as DKMS looks for it.
func mok(t *testing.T, r *root) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "the owner of this machine"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true, SubjectKeyId: []byte{1, 2, 3, 4},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	r.write(t, "var/lib/dkms/mok.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), 0o600)
	r.write(t, "var/lib/dkms/mok.pub", string(cert), 0o644)
}

// machine is a Debian that goes through the life of the packages.
type machine struct {
	*root
	old, new string // folders with the packages of two versions
	// kernels by line: the one that is there from the start, and the one whose
	// headers come later
	first, second string
}

// apt installs the packages of a folder, as a user does who has downloaded them.
func (m *machine) apt(t *testing.T, debs string) string {
	t.Helper()
	return m.run(t, debs, "apt-get -qq -o Dpkg::Use-Pty=0 install -y --no-install-recommends /debs/*.deb </dev/null")
}

// loads returns what modprobe loads for a module on a kernel.
func (m *machine) loads(t *testing.T, module, kernel string) string {
	t.Helper()
	out := m.run(t, "/tmp", fmt.Sprintf("modprobe -S %s --show-depends %s", kernel, module))
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return strings.TrimPrefix(strings.TrimSpace(lines[len(lines)-1]), "insmod ")
}

func (m *machine) wantOurs(t *testing.T, kernel string) {
	t.Helper()
	if got := m.loads(t, "ip_vs", kernel); !strings.Contains(got, "/updates/dkms/ip_vs.ko") {
		t.Errorf("on %s modprobe loads %s, want the one in updates/dkms", kernel, got)
	}
}

func (m *machine) wantStock(t *testing.T, kernel string) {
	t.Helper()
	if got := m.loads(t, "ip_vs", kernel); !strings.Contains(got, "/kernel/net/netfilter/ipvs/ip_vs.ko") {
		t.Errorf("on %s modprobe loads %s, want the kernel's own", kernel, got)
	}
}

const build2 = "dkms-build lvs 1.1 "

// TestInstall: a machine with the distribution's commands gets ours, other kernels,
// other versions, and sources that do not fit.
func TestInstall(t *testing.T) {
	m := &machine{root: newRoot(t), old: build(t, "1.0"), new: build(t, "1.1")}
	var err error
	if m.first, err = testvm.Release("6.1"); err != nil {
		t.Fatal(err)
	}
	if m.second, err = testvm.Release("6.12"); err != nil {
		t.Fatal(err)
	}
	mok(t, m.root)
	m.write(t, "etc/keepalived/keepalived.conf", "virtual_server 192.0.2.1 80 {\n    lb_algo rr\n    lb_kind NAT\n    protocol TCP\n    real_server 192.0.2.2 80 {\n        TCP_CHECK { connect_timeout 3 }\n    }\n}\n", 0o644)
	m.run(t, "/tmp", fmt.Sprintf("mv /lib/modules/%s/build /lib/modules/%[1]s/later", m.second))

	for _, step := range []struct {
		name string
		run  func(*testing.T, *machine)
	}{
		{"install", stepInstall},
		{"secure_boot", stepSecureBoot},
		{"headers_come", stepHeaders},
		{"upgrade", stepUpgrade},
		{"does_not_compile", stepNoCompile},
		{"sources_of_another_version", stepOtherSources},
		{"remove", stepRemove},
		{"purge", stepPurge},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.run(t, m) }) {
			return // the later steps stand on it
		}
	}
}

func stepInstall(t *testing.T, m *machine) {
	out := m.apt(t, m.old)
	want(t, out, "Removing ipvsadm", "Removing keepalived")
	m.wantOurs(t, m.first)
	if got := m.loads(t, "toa", m.first); !strings.Contains(got, "/updates/dkms/toa.ko") {
		t.Errorf("modprobe loads %s for toa", got)
	}
	m.wantStock(t, m.second)
	// The kernel's schedulers stand on ours: depmod found the symbols there.
	want(t, m.run(t, "/tmp", "modprobe -S "+m.first+" --show-depends ip_vs_wlc"), "/updates/dkms/ip_vs.ko", "/kernel/net/netfilter/ipvs/ip_vs_wlc.ko")
	for _, module := range []string{"ip_vs", "toa"} {
		want(t, m.run(t, "/tmp", "modinfo -k "+m.first+" -n "+module), "/updates/dkms/"+module+".ko")
		if got := m.run(t, "/tmp", "modinfo -k "+m.first+" -F signer "+module); strings.TrimSpace(got) != "the owner of this machine" {
			t.Errorf("%s is signed by %q", module, got)
		}
	}
	want(t, m.run(t, "/tmp", "keepalived -v 2>&1"), "lvs-fnat")
	want(t, m.run(t, "/tmp", "genhash -h 2>&1 || echo $?"), "Usage: genhash ", "--use-virtualhost", "\n1")
	m.run(t, "/tmp", "keepalived -t")
	want(t, m.run(t, "/tmp", "ls /etc/systemd/system/multi-user.target.wants"), "ipvsadm.service", "keepalived.service")
	if out, err := m.try(t.Context(), "/tmp", "test -e /etc/systemd/system/multi-user.target.wants/toa-bpf.service"); err == nil {
		t.Errorf("toa-bpf.service is enabled, though nobody has named a director: %s", out)
	}
	want(t, m.run(t, "/tmp", "dpkg -s lvs-keepalived"), "Status: install ok installed")
	want(t, m.run(t, "/tmp", "/usr/lib/lvs-ipvsadm/ipvsadm-rules start && echo nothing to do"), "nothing to do")
	m.run(t, "/tmp", "apt-get -qq check")
}

// The firmware, which keeps its variables in a folder here, is asked to know the key
// by which the module is signed, with the command of the guide.
func stepSecureBoot(t *testing.T, m *machine) {
	const firmware = "EFIVARFS_PATH=/root/firmware/ "
	m.run(t, "/tmp", `mkdir /root/firmware && printf '\006\000\000\000\001' >/root/firmware/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c`)
	m.run(t, "/tmp", "printf 'a word\\na word\\n' | "+firmware+"mokutil --import /var/lib/dkms/mok.pub")
	want(t, m.run(t, "/tmp", firmware+"mokutil --list-new"), "Subject: CN=the owner of this machine")
}

func stepHeaders(t *testing.T, m *machine) {
	m.run(t, "/tmp", fmt.Sprintf("mv /lib/modules/%s/later /lib/modules/%[1]s/build", m.second))
	// As the package of the headers does.
	out := m.run(t, "/tmp", "run-parts --exit-on-error --arg="+m.second+" /etc/kernel/header_postinst.d")
	want(t, out, "building ip_vs.ko for Linux "+m.second)
	m.wantOurs(t, m.second)
	m.wantOurs(t, m.first)
	if again := m.run(t, "/tmp", "/usr/lib/lvs-dkms/dkms-build lvs 1.0"); again != "" {
		t.Errorf("all is built, yet it says: %s", again)
	}
	m.run(t, "/tmp", fmt.Sprintf("mv /lib/modules/%s/build /lib/modules/%[1]s/later", m.second))
}

func stepUpgrade(t *testing.T, m *machine) {
	m.run(t, "/tmp", "echo 'DAEMON_ARGS=\"-D\"' >/etc/default/keepalived")
	m.apt(t, m.new)
	want(t, m.run(t, "/tmp", "cat /etc/default/keepalived"), `DAEMON_ARGS="-D"`)
	m.wantOurs(t, m.first)
	status := m.run(t, "/tmp", "dkms status 2>/dev/null")
	want(t, status, "lvs/1.1, "+m.first+", x86_64: installed", "lvs-toa/1.1, "+m.first)
	if strings.Contains(status, "/1.0,") || strings.Contains(status, "WARNING") {
		t.Errorf("the old version is still there, or DKMS complains:\n%s", status)
	}
	if out, err := m.try(t.Context(), "/tmp", "ls -d /usr/src/lvs-1.0 /usr/src/lvs-toa-1.0"); err == nil {
		t.Errorf("sources of the old version are still there: %s", out)
	}
}

// A compiler that fails stops nothing: the hook of the kernel's package succeeds,
// stock ip_vs is what loads, and the message says so, why, and what to do.
func stepNoCompile(t *testing.T, m *machine) {
	const source = "/usr/src/lvs-1.1/src/ip_vs_x.h"
	m.run(t, "/tmp", "dkms remove -m lvs -v 1.1 --all && cp "+source+" /root/right.h && echo '#error no such kernel' >>"+source)
	out := m.run(t, "/tmp", "run-parts --exit-on-error --arg="+m.first+" /etc/kernel/header_postinst.d 2>&1")
	want(t, out, "lvs-dkms: no ip_vs.ko for Linux "+m.first, "#error no such kernel", "own ip_vs stays in use", "FNAT is refused",
		"please report it with the whole of /var/lib/dkms/lvs/1.1/build/make.log", build2+m.first)
	m.wantStock(t, m.first)
	m.run(t, "/tmp", "test -s /var/lib/dkms/lvs/1.1/build/make.log && apt-get -qq check")
	want(t, m.run(t, "/tmp", "modprobe -S "+m.first+" --show-depends ip_vs_wlc"), "/kernel/net/netfilter/ipvs/ip_vs.ko", "/kernel/net/netfilter/ipvs/ip_vs_wlc.ko")
	// An update that comes meanwhile is installed none the less.
	want(t, m.run(t, "/tmp", "dpkg-reconfigure -f noninteractive lvs-dkms 2>&1; dpkg -s lvs-dkms"), "no ip_vs.ko for Linux", "Status: install ok installed")
	m.run(t, "/tmp", "cp /root/right.h "+source)
}

// After a removal everything is the distribution's again, but the settings.
func stepRemove(t *testing.T, m *machine) {
	m.wantOurs(t, m.first)
	m.run(t, "/tmp", "echo '-A -t 192.0.2.1:80 -s rr' >>/etc/ipvsadm.rules")
	m.run(t, "/tmp", "apt-get -qq -o Dpkg::Use-Pty=0 remove -y "+strings.Join(names, " ")+" </dev/null 2>&1")
	for _, kernel := range []string{m.first, m.second} {
		m.wantStock(t, kernel)
		want(t, m.run(t, "/tmp", "modprobe -S "+kernel+" --show-depends ip_vs_wlc"), "/kernel/net/netfilter/ipvs/ip_vs.ko")
	}
	if out := m.run(t, "/tmp", "dkms status 2>&1; find / -xdev \\( -path '/lib/modules/*/updates/dkms/*' -o -path '/usr/src/lvs-*' -o -path /usr/sbin/keepalived -o -path '/usr/sbin/ipvsadm*' -o -path /usr/sbin/toa-bpf -o -path '/usr/lib/lvs-*' -o -path '*/keepalived.service' -o -path '*/man/*/ipvsadm*' \\) ! -path '/etc/*' ! -path '/var/lib/systemd/*' ! -type d"); strings.TrimSpace(out) != "" {
		t.Errorf("left behind:\n%s", out)
	}
	want(t, m.run(t, "/tmp", "cat /etc/default/keepalived /etc/ipvsadm.rules /etc/keepalived/keepalived.conf"), `DAEMON_ARGS="-D"`, "-A -t 192.0.2.1:80 -s rr", "real_server 192.0.2.2 80")
	// The hooks of kernels are settings; without the package they do nothing.
	if out := m.run(t, "/tmp", "run-parts --exit-on-error --arg="+m.first+" /etc/kernel/header_postinst.d 2>&1"); strings.Contains(out, "lvs") {
		t.Errorf("a hook of what was removed says:\n%s", out)
	}
	want(t, m.run(t, "/tmp", "dpkg -s lvs-dkms"), "Status: deinstall ok config-files")
}

// After a purge the settings that came with the packages are gone, too; what the
// user wrote in a file of his own stays, as do the init scripts of the distribution's
// packages, which are removed and not purged.
func stepPurge(t *testing.T, m *machine) {
	m.run(t, "/tmp", "apt-get -qq -o Dpkg::Use-Pty=0 purge -y "+strings.Join(names, " ")+" </dev/null 2>&1")
	out := m.run(t, "/tmp", "find / -xdev \\( -path '/etc/*lvs*' -o -path '/var/lib/lvs-dkms*' -o -path '/var/lib/dkms/lvs*' -o -path /etc/default/keepalived -o -path '/etc/*ipvsadm*' -o -path '/etc/*toa-bpf*' -o -path '/etc/systemd/*/keepalived.service' -o -path '/var/lib/systemd/*keepalived*' -o -path '/var/lib/systemd/*ipvsadm*' -o -path '/usr/*lvs-*' \\) ! -path '/etc/init.d/*' ! -path '/etc/rc*' ! -path '/usr/include/*'")
	if strings.TrimSpace(out) != "" {
		t.Errorf("left behind:\n%s", out)
	}
	want(t, m.run(t, "/tmp", "cat /etc/keepalived/keepalived.conf"), "real_server 192.0.2.2 80")
	if out, err := m.try(t.Context(), "/tmp", "dpkg -s "+strings.Join(names, " ")+" 2>/dev/null | grep -q ^Package"); err == nil {
		t.Errorf("dpkg still knows of them: %s", out)
	}
	m.run(t, "/tmp", "apt-get -qq check")
}

// The headers are those of one version, the sources of another, as between two
// steps of an upgrade: nothing fails, and somebody says what is missing. Once the
// sources come, the module is built without anybody asking.
func stepOtherSources(t *testing.T, m *machine) {
	m.run(t, "/tmp", "dkms remove -m lvs -v 1.1 --all && mv /var/lib/lvs-dkms /var/lib/aside && cp /var/lib/dpkg/status /var/lib/dpkg/right")
	m.run(t, "/tmp", "sed -i '/^Package: linux-source-6.1$/,/^$/s/^Version: .*/Version: 6.1.1-1/' /var/lib/dpkg/status")
	m.wantStock(t, m.first)
	out := m.run(t, "/tmp", "run-parts --exit-on-error --arg="+m.first+" /etc/kernel/header_postinst.d 2>&1")
	want(t, out, "lvs-dkms: no ip_vs.ko for Linux "+m.first, "the ipvs sources here are 6.1.1-1", "install linux-source-6.1=",
		"own ip_vs stays in use", build2+m.first)
	m.wantStock(t, m.first)
	if out, err := m.try(t.Context(), "/tmp", "/usr/lib/lvs-dkms/"+build2); err == nil {
		t.Errorf("somebody asks for the build, it cannot be, and the status is 0:\n%s", out)
	}
	m.run(t, "/tmp", "mv /var/lib/dpkg/right /var/lib/dpkg/status && mv /var/lib/aside /var/lib/lvs-dkms")
	m.run(t, "/tmp", "dpkg-trigger --by-package=linux-source-6.1 --no-await /usr/src/linux-source-6.1.tar.xz && dpkg --triggers-only lvs-dkms")
	m.wantOurs(t, m.first)
}
