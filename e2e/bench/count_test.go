// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"bufio"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testpkt"
	"github.com/lvs-fnat/lvs/internal/testvm"
	"github.com/lvs-fnat/lvs/ipvs"
)

const (
	many = 4000 // flows, and packets of a round
	// repeats of what cannot be sent twice on one bed, rounds of what can
	repeats, rounds = 3, 2
	// Client ports: of the one flow, and the first of many.
	onePort, manyPorts = 900, 2000
)

// path is a way through the director, with its name in the table.
type path struct {
	name string
	ext  ipvs.ExtFlags
}

// kind is a protocol in a family, with its name in the table.
type kind struct {
	name  string
	proto ipvs.Protocol
	net   network
}

var kinds = []kind{{"udp", ipvs.UDP, net4}, {"tcp", ipvs.TCP, net4}, {"tcp6", ipvs.TCP, net6}}

// TestCount measures, in this order: no ip_vs, the distribution's, ours before its
// extension is in use, the extension, and plain NAT again now that it is in use.
func TestCount(t *testing.T) {
	// Garbage is collected when flood says so, not beside it.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	testnet.Must(t, softirqFirst(), seedRandom())
	t.Run("forward", countForward)
	t.Run("stock", func(t *testing.T) {
		testnet.Must(t, testvm.Insmod(stockModule(t)))
		count(t, path{name: "stock"})
		reportSize(t, "ip_vs_conn", "stock")
		testnet.Must(t, unloadIPVS())
	})
	t.Run("ours", func(t *testing.T) {
		testnet.Must(t, testvm.Modprobe("ip_vs"))
		count(t, path{"nat", 0})
		count(t, path{"fnat", ipvs.ExtFNAT})
		count(t, path{"toa", ipvs.ExtFNAT | ipvs.ExtTOA})
		for _, k := range kinds {
			if k.proto == ipvs.TCP {
				t.Run("synproxy_"+k.name, func(t *testing.T) { countSynproxy(t, k) })
			}
		}
		count(t, path{"nat-ext", 0})
		reportSize(t, "ip_vs_conn", "nat")
		reportSize(t, "ip_vs_x_conn", "fnat")
		saysSize(t)
	})
}

// seedRandom gives the kernel entropy, as any host has that is up for a while: before,
// each new page of objects pays for a seed of its own.
func seedRandom() error {
	f, err := os.OpenFile("/dev/urandom", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	// struct rand_pool_info of linux/random.h: bits, bytes, and these.
	info := struct {
		bits, size int32
		bytes      [64]byte
	}{bits: 512, size: 64}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.RNDADDENTROPY, uintptr(unsafe.Pointer(&info))); errno != 0 {
		return fmt.Errorf("RNDADDENTROPY: %w", errno)
	}
	return nil
}

// softirqFirst puts the kernel's thread for packets before flood, which is before
// all others: what it takes over from flood it does at once.
func softirqFirst() error {
	names, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return err
	}
	for _, name := range names {
		comm, err := os.ReadFile(name)
		if err != nil || string(comm) != "ksoftirqd/0\n" {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if err != nil {
			return err
		}
		return unix.SchedSetAttr(pid, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 2}, 0)
	}
	return errors.New("the kernel has no ksoftirqd/0")
}

// stockModule is the file that ours hides from modprobe.
func stockModule(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob("/lib/modules/*/kernel/net/netfilter/ipvs/ip_vs.ko*")
	if err != nil || len(files) != 1 {
		t.Fatalf("the distribution's ip_vs.ko is %v, %v; want one", files, err)
	}
	return files[0]
}

// unloadIPVS makes room for another ip_vs.
func unloadIPVS() error {
	return errors.Join(testvm.Rmmod("ip_vs_rr", time.Minute), testvm.Rmmod("ip_vs", time.Minute))
}

// countForward counts packets that the director routes without ip_vs, and SYNs on a
// frame for somebody else: what the bed costs up to where IP begins.
func countForward(t *testing.T) {
	for _, k := range kinds {
		b := newBed(t, k.net)
		f := newFlows(b, k, path{name: "forward"}, manyPorts, many)
		f.report("request", f.request(t, segment, rounds))
		f.report("reply", f.reply(t, segment, rounds))
		if k.proto == ipvs.TCP {
			b.heads["front"] = append([]byte{2, 0, 0, 0, 0, 2}, b.heads["front"][6:]...)
			syn := f.packet(netip.AddrPortFrom(f.client, manyPorts), netip.AddrPortFrom(f.vip, vport), opening)
			f.report("elsewhere", b.flood(t, "front", nowhere, []testpkt.Packet{syn}, f.n, rounds))
		}
		b.close(t)
	}
}

// count counts all kinds of packets on one path.
func count(t *testing.T, p path) {
	for _, k := range kinds {
		if k.proto == ipvs.UDP && p.ext&ipvs.ExtTOA != 0 {
			continue // TOA is a TCP option
		}
		t.Run(p.name+"_"+k.name, func(t *testing.T) {
			countMany(t, p, k)
			countOne(t, p, k)
		})
	}
}

// countMany counts the packets of 4,000 flows from the first on. What a flow sends
// once is the least of several beds.
func countMany(t *testing.T, p path, k kind) {
	once := map[string]float64{}
	keep := func(what string, per float64) {
		if old, ok := once[what]; !ok || per < old {
			once[what] = per
		}
	}
	for i := range repeats {
		b := newBed(t, k.net)
		key := b.serve(t, k.proto, p.ext)
		f := newFlows(b, k, p, manyPorts, many)
		keep("new", f.request(t, opening, 1))
		f.learn(t)
		keep("answer", f.reply(t, opening, 1))
		if k.proto == ipvs.TCP {
			keep("handshake", f.request(t, segment, 1))
		}
		if i == repeats-1 {
			f.established(t)
			for what, per := range once {
				f.report(what, per)
			}
		}
		f.verify(t, key)
		b.close(t)
	}
}

// countOne counts packets of a flow that is alone.
func countOne(t *testing.T, p path, k kind) {
	b := newBed(t, k.net)
	key := b.serve(t, k.proto, p.ext)
	f := newFlows(b, k, p, onePort, 1)
	f.request(t, opening, 1)
	f.learn(t)
	f.reply(t, opening, 1)
	f.request(t, segment, 1)
	f.established(t)
	f.verify(t, key)
	b.close(t)
}

// slab returns what /proc/slabinfo says of a cache: bytes of an object, and its
// share of the pages it is in.
func slab(t *testing.T, cache string) (size, share int) {
	t.Helper()
	file, err := os.Open("/proc/slabinfo")
	testnet.Must(t, err)
	defer file.Close()
	for s := bufio.NewScanner(file); s.Scan(); {
		rest, ok := strings.CutPrefix(s.Text(), cache+" ")
		if !ok {
			continue
		}
		var active, all, perSlab, pages int
		_, err := fmt.Sscan(rest, &active, &all, &size, &perSlab, &pages)
		testnet.Must(t, err)
		return size, pages * os.Getpagesize() / perSlab
	}
	t.Fatalf("no slab cache %s", cache)
	return 0, 0
}

// reportSize reports what a connection takes.
func reportSize(t *testing.T, cache, path string) {
	t.Helper()
	size, share := slab(t, cache)
	report(path+" connection size", float64(size), "bytes")
	report(path+" connection memory", float64(share), "bytes")
}

// saysSize: the size that IPVS_EXT tells is the one the slab has.
func saysSize(t *testing.T) {
	t.Helper()
	b := newBed(t, net4)
	defer b.close(t)
	info, err := b.x.Info(t.Context())
	testnet.Must(t, err)
	size, _ := slab(t, "ip_vs_x_conn")
	if info.Extended == nil || info.Extended.ConnSize != uint32(size) {
		t.Errorf("GET_INFO says %+v, the slab %d bytes", info.Extended, size)
	}
}
