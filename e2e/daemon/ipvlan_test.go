// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testvm"
)

// original is where guests have keepalived 2.2.7, with its libraries.
const original = "/usr/lib/original"

// originalFiles are those of the original: in the guest by name, on the host where
// its loader finds them.
func originalFiles(t *testing.T) map[string]string {
	t.Helper()
	root := filepath.Join(testvm.Cache(), "guest")
	loader, program := root+"/lib64/ld-linux-x86-64.so.2", root+"/usr/sbin/keepalived.stock"
	out, err := exec.CommandContext(t.Context(), loader, "--library-path", root+"/lib/x86_64-linux-gnu:"+root+"/usr/lib/x86_64-linux-gnu", "--list", program).Output()
	testnet.Must(t, err)
	files := map[string]string{original + "/ld.so": loader, original + "/keepalived": program, original + "/busybox": root + "/bin/busybox"}
	for line := range strings.Lines(string(out)) {
		if name, path, ok := strings.Cut(strings.TrimSpace(line), " => "); ok {
			path, _, _ = strings.Cut(path, " ")
			files[original+"/"+name], err = filepath.EvalSymlinks(path)
			testnet.Must(t, err)
		}
	}
	return files
}

// TestOnStockKeepalivedIPVLANResigns: a backup hears that a master on an ipvlan stops,
// also if the kernel's worker, which sends what an ipvlan has to send to a group, has no
// turn before the link is removed: on one processor none has as long as a process of
// real time goes on.
//
//	node eth0 .1 ── 192.168.50.0/24 ── eth0 peer, who listens
func TestOnStockKeepalivedIPVLANResigns(t *testing.T) {
	testnet.Must(t, testvm.Modprobe("ipvlan"))
	const conf = `global_defs {
 vrrp_rt_priority 50
}
vrrp_instance VI {
 interface eth0
 virtual_router_id 51
 priority 200
 %s
}
`
	for name, words := range map[string]string{
		"v4": "use_ipvlan 192.168.50.77/24\n virtual_ipaddress {\n 192.168.50.100\n }",
		"v6": "version 3\n use_ipvlan fe80::77\n virtual_ipaddress {\n fe80::50:64\n }",
	} {
		t.Run(name, func(t *testing.T) {
			node, peer := testnet.New(t, name+"n"), testnet.New(t, name+"p")
			testnet.Must(t, testnet.Veth(node, "eth0", peer, "eth0"))
			testnet.Must(t, node.AddAddr("eth0", netip.MustParsePrefix("192.168.50.1/24"), netip.MustParsePrefix("fe80::1/64")))
			wire := listen(t, peer, "eth0")
			d := start(t, node, []string{"/usr/sbin/keepalived"}, fmt.Sprintf(conf, words))
			wire.await("advert of 200 ", 1)
			testnet.Must(t, d.cmd.Process.Signal(syscall.SIGTERM), <-d.done)
			wire.await("advert of 0 ", 1)
		})
	}
}

// TestOnStockKeepalivedIPVLAN: use_ipvlan as keepalived 2.2.7 has it: what the link is
// like, which addresses are on it and which below, from where and with which hardware
// address is advertised and announced; and nothing of it is left at the end.
//
//	node eth0 .1 ── 192.168.50.0/24 ── eth0 peer, who listens
func TestOnStockKeepalivedIPVLAN(t *testing.T) {
	testnet.Must(t, testvm.Modprobe("ipvlan"))
	instance := func(words, vips string) string {
		return "vrrp_instance VI {\n interface eth0\n virtual_router_id 51\n priority 200\n " + words + "\n virtual_ipaddress {\n " + vips + "\n }\n}\n"
	}
	for name, s := range map[string]struct {
		conf   string
		master bool
	}{
		"address":   {instance("use_ipvlan ipv 192.168.50.77/24 private", "192.168.50.100"), true},
		"noaddress": {instance("use_ipvlan", "192.168.50.100"), false},
		"v6":        {instance("version 3\n use_ipvlan", "fe80::50:64\n 2001:db8:50::64"), true},
		"v6address": {instance("version 3\n use_ipvlan fe80::77 vepa", "fe80::50:64"), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			type seen struct{ Running, Ended, Wire string }
			var got [2]seen
			t.Run("programs", func(t *testing.T) {
				for i, program := range [][]string{
					{original + "/ld.so", "--library-path", original, original + "/keepalived"}, {"/usr/sbin/keepalived"},
				} {
					t.Run([]string{"original", "ours"}[i], func(t *testing.T) {
						t.Parallel()
						node, peer := testnet.New(t, fmt.Sprintf("%s%d", name, i)), testnet.New(t, fmt.Sprintf("%s%dp", name, i))
						testnet.Must(t, testnet.Veth(node, "eth0", peer, "eth0"))
						testnet.Must(t, node.AddAddr("eth0", netip.MustParsePrefix("192.168.50.1/24"), netip.MustParsePrefix("fe80::1/64")))
						wire := listen(t, peer, "eth0")
						mac, err := node.MAC("eth0")
						testnet.Must(t, err)
						d := start(t, node, program, s.conf)
						if s.master {
							wire.await("advert of 200 ", 3)
						} else {
							d.wait("setting instance to fault state")
							testnet.Eventually(t, time.Minute, func() error {
								if links := own(t, node); !strings.Contains(links, "ipvlan up true") {
									return fmt.Errorf("no ipvlan that is up:\n%s", links)
								}
								return nil
							})
						}
						got[i].Running = own(t, node)
						testnet.Must(t, d.cmd.Process.Signal(syscall.SIGTERM), <-d.done)
						if s.master && i == 1 {
							wire.await("advert of 0 ", 1)
						}
						got[i].Ended = own(t, node)
						got[i].Wire = strings.ReplaceAll(wire.resigned(), mac.String(), "BASE")
					})
				}
			})
			if d := cmp.Diff(got[0], got[1]); d != "" {
				t.Errorf("-original +ours:\n%s", d)
			}
			if !s.master == strings.Contains(got[1].Wire, "advert") {
				t.Errorf("on the wire:\n%s", got[1].Wire)
			}
		})
	}
}

// hide names a link local address that the kernel has made out of that of the link.
func hide(address string) string {
	if strings.HasPrefix(address, "fe80::") && len(address) > len("fe80::50:64/128") {
		return "KERNEL'S"
	}
	return address
}

// start runs the routers of a program as launch does.
func start(t *testing.T, ns *testnet.NS, program []string, conf string) *daemon {
	t.Helper()
	return startPart(t, ns, "-P", program, conf)
}

// startPart is start for the part of the program that an option chooses.
func startPart(t *testing.T, ns *testnet.NS, part string, program []string, conf string) *daemon {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "k.conf")
	testnet.Must(t, os.WriteFile(file, []byte(conf), 0o600))
	d := &daemon{t: t, done: make(chan error, 1)}
	args := append(slices.Clone(program[1:]), "-n", "-l", "-D", part, "-f", file, "-p", dir+"/pid", "-r", dir+"/vrrp", "-c", dir+"/checkers", "-b", dir+"/bfd")
	d.cmd = exec.Command(program[0], args...)
	d.cmd.Stdout, d.cmd.Stderr, d.cmd.Env = d, d, append(os.Environ(), "TMPDIR="+dir)
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	testnet.Must(t, ns.Start(d.cmd))
	go func() { d.done <- d.cmd.Wait() }()
	t.Cleanup(func() {
		d.kill()
		if t.Failed() {
			t.Logf("log of %s:\n%s", program[0], d.text())
		}
	})
	return d
}

// own tells of the links of a node.
func own(t *testing.T, n *testnet.NS) string {
	t.Helper()
	links, err := n.Link.LinkList()
	testnet.Must(t, err)
	var out strings.Builder
	for _, l := range links {
		a := l.Attrs()
		if a.Name == "lo" {
			continue
		}
		fmt.Fprintf(&out, "%s %s up %t", a.Name, l.Type(), a.Flags&net.FlagUp != 0)
		if v, ok := l.(*netlink.IPVlan); ok {
			fmt.Fprintf(&out, " mode %d flag %d", v.Mode, v.Flag)
		}
		addrs, err := n.Link.AddrList(l, netlink.FAMILY_ALL)
		testnet.Must(t, err)
		var lines []string
		for _, x := range addrs {
			lines = append(lines, fmt.Sprintf("\n  %s flags %#x scope %d", hide(x.IPNet.String()), x.Flags, x.Scope))
		}
		slices.Sort(lines)
		for _, key := range []string{"ipv4/conf/%s/arp_ignore", "ipv4/conf/%s/rp_filter", "ipv4/conf/%s/accept_local", "ipv6/conf/%s/disable_ipv6", "ipv6/conf/%s/addr_gen_mode"} {
			testnet.Must(t, n.Do(func() error {
				path := fmt.Sprintf(key, a.Name)
				b, err := os.ReadFile("/proc/sys/net/" + path)
				lines = append(lines, fmt.Sprintf("\n  %s %s", path, strings.TrimSpace(string(b))))
				return err
			}))
		}
		out.WriteString(strings.Join(lines, "") + "\n")
	}
	return out.String()
}

// listener records adverts and announcements that reach a link.
type listener struct {
	t    *testing.T
	f    *os.File
	seen chan string
	all  []string
}

func listen(t *testing.T, n *testnet.NS, link string) *listener {
	t.Helper()
	w := &listener{t: t, seen: make(chan string, 4096)}
	testnet.Must(t, n.Do(func() error {
		dev, err := n.Link.LinkByName(link)
		if err != nil {
			return err
		}
		const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, all)
		if err != nil {
			return err
		}
		w.f = os.NewFile(uintptr(fd), link)
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: dev.Attrs().Index})
	}))
	go func() {
		defer close(w.seen)
		buf := make([]byte, 2048)
		for {
			k, err := w.f.Read(buf)
			if err != nil {
				return
			}
			if line := heard(buf[:k]); line != "" {
				w.seen <- line
			}
		}
	}()
	t.Cleanup(func() { w.f.Close() })
	return w
}

// heard is a line about a frame of interest.
func heard(b []byte) string {
	if len(b) < 14+28 {
		return ""
	}
	mac, body := net.HardwareAddr(b[6:12]), b[14:]
	switch binary.BigEndian.Uint16(b[12:]) {
	case unix.ETH_P_IP:
		if body[9] == 112 {
			return fmt.Sprintf("advert of %d at %s from %s", body[22], mac, netip.AddrFrom4([4]byte(body[12:16])))
		}
	case unix.ETH_P_ARP:
		if string(body[14:18]) == string(body[24:28]) {
			return fmt.Sprintf("announcement of %s at %s", netip.AddrFrom4([4]byte(body[14:18])), mac)
		}
	case unix.ETH_P_IPV6:
		if len(body) < 64 {
			return ""
		}
		switch {
		case body[6] == 112:
			return fmt.Sprintf("advert of %d at %s from %s", body[42], mac, hide(netip.AddrFrom16([16]byte(body[8:24])).String()))
		case body[6] == unix.IPPROTO_ICMPV6 && body[40] == 136 && body[24] == 0xff:
			if target := netip.AddrFrom16([16]byte(body[48:64])); len(target.String()) <= len("2001:db8:50::64") { // not the kernel's own
				return fmt.Sprintf("announcement of %s at %s", target, mac)
			}
		}
	}
	return ""
}

// await waits for that many lines that begin so.
func (w *listener) await(begin string, n int) {
	w.t.Helper()
	deadline := time.After(time.Minute)
	for n > 0 {
		select {
		case line := <-w.seen:
			w.all = append(w.all, line)
			if strings.HasPrefix(line, begin) {
				n--
			}
		case <-deadline:
			w.t.Fatalf("%d more of %q are missing after %v", n, begin, w.all)
		}
	}
}

// resigned is all different lines so far, in the order of the alphabet, without the
// adverts of priority 0, which must come from where the others do: the original removes
// its link without waiting for them to leave.
func (w *listener) resigned() string {
	w.t.Helper()
	w.f.Close()
	for line := range w.seen {
		w.all = append(w.all, line)
	}
	var lines []string
	for _, line := range w.all {
		if from, zero := strings.CutPrefix(line, "advert of 0 "); !zero {
			lines = append(lines, line)
		} else if !slices.Contains(w.all, "advert of 200 "+from) {
			w.t.Errorf("priority 0 is from elsewhere: %s", from)
		}
	}
	slices.Sort(lines)
	return strings.Join(slices.Compact(lines), "\n")
}
